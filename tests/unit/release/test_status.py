# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of all releases, as data, as a table and as a page that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import page, status
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Clusters

from tests.unit.flux.objects import condition, release
from tests.unit.release.lab import AUTHOR, NOW, A, C, Lab, kustomization

STAGING = "clusters/staging/podinfo/kustomization.yaml"
PRODUCTION = "clusters/production/podinfo/kustomization.yaml"


def rows(lab: Lab, versions: int = 0) -> dict[str, status.Row]:
    found = status.collect(lab.place(), Clusters({}), [], ["podinfo"], NOW, versions)
    return {row.environment: row for row in found}


def test_versions_since_by_whom_and_how_far_behind(lab: Lab) -> None:
    found = rows(lab)
    assert list(found) == ["staging", "production"]
    assert (found["production"].behind, found["production"].behind_of) == (None, "staging")
    lab.promote()
    lab.commit({STAGING: kustomization("6.7.0", C)})
    now = rows(lab, versions=5)["production"]
    assert (now.version, now.behind, now.action, now.by) == ("9, 6.6.0", 1, "promote", "ada (laptop)")
    assert now.commit == lab.head("main~1")
    assert [one["version"] for one in now.versions] == ["9, 6.6.0", "9, 6.5.4"]
    assert [one["by"] for one in now.versions] == ["ada (laptop)", "Bob <bob@example.com>"]
    assert (now.verified, now.healthy, now.held) == (None, None, "")


def test_verified_and_held(lab: Lab) -> None:
    lab.promote()
    with lab.place().open() as repository:
        repository.fetch(["main"])
        repository.add_note(lab.head(), '{"verified": true}', AUTHOR)
    assert rows(lab)["production"].verified is True
    lab.rollback()
    now = rows(lab)["production"]
    assert now.verified is None
    assert now.held.startswith("podinfo is held in production since 2026-11-21")
    assert now.action == "rollback"


def test_a_hold_that_ran_out_and_left_a_marker_hidden_is_told(lab: Lab) -> None:
    marker = '      # {"$imagepolicy": "flux-system:podinfo:tag"}'
    lab.commit({PRODUCTION: kustomization("6.5.4", A, marker=marker)})
    lab.promote()
    lab.rollback(until="2026-11-21T13:00:00Z")
    (before,) = status.collect(lab.place(), Clusters({}), ["production"], ["podinfo"], NOW)
    assert (bool(before.held), before.ran_out) == (True, "")
    later = NOW + timedelta(hours=2)
    (after,) = status.collect(lab.place(), Clusters({}), ["production"], ["podinfo"], later)
    assert after.held == ""
    assert after.ran_out.startswith(
        "the hold on podinfo in production ran out at 2026-11-21T13:00:00Z, and its marker is still"
    )
    assert "playbooks/hold.yml -e environment=production -e component=podinfo -e state=absent" in after.ran_out
    assert status.table([after]).splitlines()[1].endswith("ran out")
    text = page.render([after], later, "Releases")
    assert "hold ran out" in text
    assert "state=absent" in text
    lab.run().hold("production", ["podinfo"], "absent")
    (lifted,) = status.collect(lab.place(), Clusters({}), ["production"], ["podinfo"], later)
    assert (lifted.held, lifted.ran_out) == ("", "")


def test_a_hold_that_ran_out_without_a_marker_needs_nobody(lab: Lab) -> None:
    lab.promote()
    lab.rollback(until="2026-11-21T13:00:00Z")
    (row,) = status.collect(lab.place(), Clusters({}), ["production"], ["podinfo"], NOW + timedelta(hours=2))
    assert (row.held, row.ran_out) == ("", "")


def test_the_last_verified_version_is_gone_back_to(lab: Lab) -> None:
    lab.promote()
    with lab.place().open() as repository:
        repository.fetch(["main"])
        repository.add_note(lab.head("main~1"), '{"verified": true}', AUTHOR)
    lab.commit({STAGING: kustomization("6.7.0", C)})
    lab.promote()
    lab.rollback("last_verified")
    assert lab.text(PRODUCTION) == kustomization("6.5.4", A, replicas=3)


def test_a_table(lab: Lab) -> None:
    lab.promote()
    lines = status.table(list(rows(lab).values())).splitlines()
    assert lines[0].split() == [
        "environment",
        "component",
        "version",
        "since",
        "by",
        "verified",
        "healthy",
        "behind",
        "held",
    ]
    assert lines[2].split()[:4] == ["production", "podinfo", "9,", "6.6.0"]
    assert lines[2].split()[-5:] == ["ada", "-", "-", "0", "-"]


class Outline(HTMLParser):
    """Opens and closes every element, and notes what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link"):
            self.open.append(tag)
        links = [str(value) for key, value in attrs if key in ("src", "href", "action")]
        self.fetched += [link for link in links if link != "data:," and not link.startswith("#")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_that_fetches_nothing_and_escapes_everything(lab: Lab) -> None:
    lab.promote()
    lab.rollback(reason="<script>alert(1)</script>")
    text = page.render(list(rows(lab).values()), NOW, "Releases & more")
    outline = Outline()
    outline.feed(text)
    assert (outline.open, outline.fetched) == ([], [])
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert (len(scripts), text.count("<script")) == (1, 1)
    assert f"script-src 'sha256-{digest}';" in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"https?://|@import|url\(", text)
    for said in (
        "Releases &amp; more",
        "prefers-color-scheme:dark",
        "max-width:52rem",
        'content="60"',
        "not of staging",
        "held",
    ):
        assert said in text
    assert 'http-equiv="refresh"' not in page.render([], NOW, "x", 0)


def test_the_page_tells_first_what_needs_somebody(lab: Lab) -> None:
    (staging, production) = rows(lab).values()
    bad = replace(production, healthy=False, trouble=("pod apps/podinfo is not ready",))
    text = page.render(
        [staging, bad, replace(staging, component="shop", held="shop is held in staging")], NOW, "Releases"
    )
    needs = re.findall(r'<li class="(bad|warn)"><a href="#([^"]+)">([^<]+)</a><span>([^<]*)</span>', text)
    assert needs == [
        ("bad", "production/podinfo", "podinfo in production", "pod apps/podinfo is not ready"),
        ("warn", "staging/shop", "shop in staging", "shop is held in staging"),
    ]
    assert 'id="production/podinfo"' in text
    assert 'aria-label="shop is not in production"' in text
    assert "<title>Releases: 1 not well, 1 held</title>" in text
    assert "No release was found" in page.render([], NOW, "Releases")


def test_holds_are_set_and_lifted(lab: Lab) -> None:
    def hold(state: str, **options: object) -> dict[str, object]:
        return lab.run(reason="wait").hold("production", ["podinfo"], state, **options)  # type: ignore[arg-type]

    first = hold("present")
    assert first["changed"]
    assert hold("present")["changed"] is False
    assert "6.5.4" in str(first["holds"])
    lab.promote()
    assert "clusters/production/gitops-holds.yaml" not in lab.tree()
    hold("present", deny="6.5.4", until="2026-12-24")
    assert "until 2026-12-24" in rows(lab)["production"].held
    before = lab.head()
    run = lab.run(check_mode=True)
    assert run.hold("production", [], "absent")["changed"]
    assert lab.head() == before
    assert lab.run().hold("production", [], "absent")["holds"] == []
    assert hold("absent")["changed"] is False
    with pytest.raises(ReleaseError, match="no version of it is found in production"):
        lab.run().hold("production", ["nope"], "present")


WELL = condition("Ready", "True", "InstallSucceeded")
FAILED = condition("Ready", "False", "InstallFailed", "Helm install failed: no space")


@pytest.mark.parametrize(
    ("item", "version", "said"),
    [
        (release(WELL), "1.2.3", ""),
        (release(WELL), "1.x", ""),
        (release(WELL), "1.3.0", "HelmRelease flux-system/web: chart 1.2.3 is deployed, Git says 1.3.0"),
        (release(FAILED), "1.2.3", "Helm install failed: no space"),
        (release(WELL, suspend=True), "1.2.3", ""),
        (None, "1.2.3", "HelmRelease web is not in the cluster"),
    ],
)
def test_the_health_of_a_chart_is_what_flux_says(item: dict[str, object] | None, version: str, said: str) -> None:
    found = status.flux_trouble("HelmRelease", "web", version, [item] if item else [], ("shop",))
    assert said in "; ".join(found)
    assert bool(found) is bool(said)


def test_a_chart_is_on_the_board(lab: Lab) -> None:
    text = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web, namespace: apps}\nspec:\n"
    lab.commit({"clusters/production/web.yaml": f"{text}  chart: {{spec: {{chart: web, version: 1.2.4}}}}\n"})

    class Cluster:
        def flux(self, _kind: str) -> list[dict[str, object]]:
            return [release(WELL)]

    class Known(Clusters):
        def of(self, one: object) -> Cluster:  # type: ignore[override]
            return Cluster()

    (row,) = status.collect(lab.place(), Known({}), ["production"], ["web"], NOW)
    assert (row.version, row.healthy) == ("1.2.4", False)
    assert row.trouble == ("HelmRelease flux-system/web: chart 1.2.3 is deployed, Git says 1.2.4",)
