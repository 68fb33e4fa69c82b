# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is rendered, taken by a real API server with upstream's own definitions. The operator itself is not there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.external_secrets.render import render
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.cache import default_directory
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError

from tests.integration.controlplane import control_plane
from tests.integration.controlplane.control_plane import ControlPlane, Missing, send
from tests.integration.play import Play
from tests.programs import lacking
from tests.unit.external_secrets.declared import SECRETS, STORES

MODULE, VERSION = "github.com/external-secrets/external-secrets", "v1.3.2"
SUM = "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ="
KINDS = ("clustersecretstores", "secretstores", "externalsecrets")


def definitions() -> list[dict[str, Any]]:
    """Upstream's definitions, out of its Go module, which is kept outside of the checkout."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not Path(go).exists():
        lacking("go is missing, which fetches the module with the definitions")
    place = default_directory().parent / "tools" / f"external-secrets-{VERSION}"
    proxy = subprocess.run([go, "env", "GOPROXY"], capture_output=True, text=True, check=True).stdout
    environment = {
        **os.environ,
        "GOMODCACHE": str(place),
        "GOFLAGS": "-modcacherw",
        # the proxy alone: what it does not have is not to be had
        "GOPROXY": proxy.strip().replace("|", ",").split(",")[0],
    }
    done = subprocess.run(
        [go, "mod", "download", "-json", f"{MODULE}@{VERSION}"],
        cwd=Path("/"),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lacking(f"{MODULE} cannot be had: {done.stdout[-300:]}{done.stderr[-300:]}")
    found = json.loads(done.stdout)
    assert found["Sum"] == SUM
    bases = Path(found["Dir"], "config", "crds", "bases")
    return [yaml.safe_load((bases / f"external-secrets.io_{kind}.yaml").read_text()) for kind in KINDS]


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """An API server that knows the kinds."""
    kinds = definitions()
    for kind in kinds:
        # a conversion webhook of the operator would be asked, which does not run
        kind["spec"].pop("conversion", None)
    try:
        running = control_plane.up(workloads=False, flux=False)
    except Missing as missing:
        lacking(str(missing))
    try:
        with running.session() as session:
            send(session, kinds)
            running.wait_for(
                "the definitions",
                lambda: all(
                    session.resource("external-secrets.io/v1", kind, fresh=True)
                    for kind in ("ClusterSecretStore", "SecretStore", "ExternalSecret")
                ),
            )
            names = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in ("shop", "ci")]
            send(session, names)
        yield running
    finally:
        running.down()


def test_the_api_server_takes_all_of_it_and_drops_nothing(plane: ControlPlane) -> None:
    with plane.session() as session:
        for one in render("staging", STORES, SECRETS):
            served = session.resource(one["apiVersion"], one["kind"], fresh=True)
            assert served is not None
            metadata = one["metadata"]
            path = served.path(metadata.get("namespace", ""), metadata["name"]).rpartition("/")[0]
            made = session.call(
                lambda api, path=path, one=one: api.request(  # type: ignore[misc]
                    "POST", path, query={"fieldValidation": "Strict", "dryRun": "All"}, body=one
                )
            )
            assert contains(made["spec"], one["spec"]), (made["spec"], one["spec"])
        wrong = render("staging", STORES[:1], [])[0]
        wrong["spec"]["provider"]["vault"]["auth"]["kubernetes"]["rolle"] = "x"
        with pytest.raises(ApiError, match="rolle"):
            session.call(
                lambda api: api.request(
                    "POST",
                    "/apis/external-secrets.io/v1/clustersecretstores",
                    query={"fieldValidation": "Strict", "dryRun": "All"},
                    body=wrong,
                )
            )


def contains(found: Any, wanted: Any) -> bool:
    """Whether all that was sent is there; the API server adds its defaults."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(contains(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(contains, found, wanted))
    return bool(found == wanted)


def test_the_role_brings_them_into_the_cluster_and_changes_nothing_twice(plane: ControlPlane, tmp_path: Path) -> None:
    play = Play(tmp_path)
    (tmp_path / "manifests").mkdir()
    tasks: list[dict[str, Any]] = [
        {"name": "Role", "ansible.builtin.include_role": {"name": "stagecraft.gitops.external_secrets"}}
    ]
    variables = {
        "stagecraft_environment": "staging",
        "kubeconfig_path": str(plane.kubeconfig),
        "kubeconfig_name": "test",
        "external_secrets_stores": STORES,
        "external_secrets_secrets": SECRETS,
        "external_secrets_directory": str(tmp_path / "manifests"),
        # nobody is there to say that a store is ready
        "external_secrets_wait": False,
    }
    first = play.run(tasks, variables=variables)
    assert first["code"] == 0, play.output
    assert first["changed"] == 3
    again = play.run(tasks, variables=variables)
    assert (again["code"], again["changed"]) == (0, 0), play.output
    written = list(yaml.safe_load_all((tmp_path / "manifests" / "stores.yaml").read_text()))
    assert [one["metadata"]["name"] for one in written] == ["openbao", "openbao", "aws", "aws-key"]
    refused = play.run(tasks, variables={**variables, "external_secrets_stores": []})
    assert refused["code"] != 0
    assert "there is no store" in play.output
