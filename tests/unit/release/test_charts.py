# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback to a chart that nobody has any more is refused before it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import charts
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Change

from tests.serving import serving
from tests.unit.release.lab import Lab

INDEX = b"apiVersion: v1\nentries:\n  web:\n  - {version: 1.2.4}\n  - {version: v1.2.3}\n"
MANIFEST = b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}'
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
CHART = "clusters/production/web.yaml"
RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: web, namespace: web}}
spec:
  chart:
    spec: {{chart: web, version: "{0}", sourceRef: {{kind: HelmRepository, name: charts, namespace: flux-system}}}}
"""
SOURCE = """\
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {{name: charts, namespace: {1}}}
spec: {{url: "{0}"}}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A repository of charts, and a registry: both have version 1.2.3."""
    there = {
        "/charts/index.yaml": INDEX,
        "/broken/index.yaml": b"{",
        "/v2/charts/web/manifests/1.2.3": MANIFEST,
        "/v2/charts/web/manifests/1.2.3_7": MANIFEST,
        f"/v2/app/manifests/{DIGEST}": MANIFEST,
        "/v2/app/manifests/v1": MANIFEST,
    }

    def answer(path: str) -> tuple[int, bytes]:
        body = there.get(path, b"")
        return 200 if body else 404, body

    with serving(answer) as address:
        yield address


@pytest.mark.parametrize(
    ("url", "chart", "version", "digest", "there"),
    [
        ("http://{}/charts/", "web", "1.2.3", "", True),
        ("http://{}/charts", "web", "v1.2.4", "", True),
        ("http://{}/charts", "web", "1.2.5", "", False),
        ("http://{}/charts", "other", "1.2.3", "", False),
        ("http://{}/gone", "web", "1.2.3", "", False),
        ("oci://{}/charts", "web", "1.2.3", "", True),
        ("oci://{}/charts", "web", "1.2.3+7", "", True),
        ("oci://{}/charts", "web", "1.2.4", "", False),
        ("oci://{}/app", "", "v1", "", True),
        ("oci://{}/app", "", "v2", "", False),
        ("oci://{}/app", "", "", DIGEST, True),
        ("oci://{}/app", "", "v1", "sha256:" + "0" * 64, False),
    ],
)
def test_what_is_there(server: str, url: str, chart: str, version: str, digest: str, *, there: bool) -> None:
    one = charts.Wanted("it", url.format(server), chart, version, digest)
    missing, silent = charts.gone([one])
    assert silent == []
    assert missing == ([] if there else [f"it: {one.url} has it no more"])


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/charts", "oci://127.0.0.1:1/charts", "http://{}/broken", "oci://x"]
)
def test_who_does_not_tell_keeps_nobody_back(server: str, url: str) -> None:
    missing, silent = charts.gone([charts.Wanted("it", url.format(server), "web", "1.2.3")])
    assert missing == []
    assert silent[0].startswith("whether it can still be fetched is not known: ")


def change(selector: str, **after: str) -> Change:
    return Change("web", "production", "x.yaml", selector, (), tuple(after.items()))


def test_only_exact_versions_can_be_looked_for() -> None:
    every = [
        change("HelmRelease/web chart", version=version)
        for version in ("1.2.3", "v1.2.3-rc.1+7", "1.2", "1.x", ">=1.2.3", "*")
    ]
    every += [change("OCIRepository/app ref", **fields) for fields in ({"tag": "v1"}, {"semver": "1.x"})]
    every += [change("images[x]", newTag="1.2.3"), change("GitRepository/x ref", tag="v1")]
    said = [dict(one.after) for one in charts.concerned(every)]
    assert said == [{"version": "1.2.3"}, {"version": "v1.2.3-rc.1+7"}, {"tag": "v1"}]


def test_sources_are_told_apart_by_their_namespace_and_doubtful_ones_not_asked() -> None:
    own = charts.documents(RELEASE.format("1.2.3").encode())
    one = change("HelmRelease/web chart", version="1.2.3")

    def find(*sources: tuple[str, str]) -> Any:
        found = [item for source in sources for item in charts.documents(SOURCE.format(*source).encode())]
        return charts.wanted(one, own, found)

    assert find(("http://a", "flux-system"), ("http://b", "web")) == charts.Wanted(
        "chart web 1.2.3", "http://a", "web", "1.2.3"
    )
    assert find(("http://b", "apps")).url == "http://b"
    assert find(("http://a", "apps"), ("http://b", "web")) is None
    assert find() is None
    assert charts.documents(b"{") == []


def test_a_rollback_to_a_chart_that_is_gone_needs_force(lab: Lab, server: str) -> None:
    files = {"infrastructure/charts.yaml": SOURCE.format(f"http://{server}/charts", "flux-system")}
    lab.commit({**files, CHART: RELEASE.format("1.2.2")})
    lab.commit({CHART: RELEASE.format("1.2.3")})
    lab.commit({CHART: RELEASE.format("1.2.4")})

    def rollback(to: str, **options: Any) -> dict[str, Any]:
        run = lab.run(reason="test", **options)
        return run.rollback("production", ["web"], to, ask_registry=True)

    refused = rollback("1.2.2")
    assert refused["failed"]
    assert f"chart web 1.2.2: http://{server}/charts has it no more" in refused["msg"]
    assert lab.text(CHART) == RELEASE.format("1.2.4")
    assert rollback("1.2.3")["changed"]
    assert lab.text(CHART) == RELEASE.format("1.2.3")
    assert rollback("1.2.2", force=True)["changed"]
    assert lab.text(CHART) == RELEASE.format("1.2.2")
