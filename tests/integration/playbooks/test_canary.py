# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks with the fullest output there is: nothing secret is in it, in facts, in temporary files or in arguments.

The others have their canary where they are tested; tests/integration/canary.py says where.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.host_keys import scan_host_key

from tests.integration.canary import Watch, forms_of, in_files
from tests.integration.controlplane.control_plane import ControlPlane
from tests.integration.controlplane.site import Site
from tests.integration.play import COLLECTION, Play
from tests.integration.ssh.conftest import PASSWORD, Server
from tests.unit.release.lab import Lab

CANARY = "kanarienvogel-4712-ß"
#: What the tests themselves write: the inventory and its variables.
GIVEN = ("hosts.yml", "play.yml", "variables.json", "git_key")


def must_not_show(play: Play, forms: Sequence[bytes], done: dict[str, Any], works: bool = True) -> None:
    """Fail where the run did not end as it was to, and where a secret is in its output, its facts or its files."""
    assert (done["code"] == 0) is works, play.output[-6000:]
    assert [form for form in forms if form in play.output.encode()] == []
    assert in_files(forms, (play.directory, *play.temporary), GIVEN) == []


def test_the_verbs_on_a_cluster_show_nothing(play: Play, plane: ControlPlane, site: Site) -> None:
    """Neither what opens the API server, nor a Secret that Flux brings into the cluster, nor what the inventory has besides."""
    token = yaml.safe_load(plane.kubeconfig.read_text())["users"][0]["user"]["token"]
    forms = forms_of(token) + forms_of(CANARY)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": site.name}}
    commit = site.repository.push(
        {
            "apps/a.yaml": site.deployment("web"),
            "apps/b.yaml": yaml.safe_dump({**secret, "stringData": {"password": CANARY}}),
        }
    )
    site.follow()
    site.kustomization("apps", wait=True)
    assert site.wait(commit).ok
    app = f"Kustomization/{site.name}-apps"
    variables = {
        "kubeconfig_path": str(plane.kubeconfig),
        "kubeconfig_name": "test",
        "vaulted": CANARY,
        "sealed_secrets_secrets": [{"name": "db", "namespace": site.name, "string_data": {"password": CANARY}}],
    }
    runs: list[tuple[str, dict[str, Any], bool, str]] = [
        ("suspend", {"suspend_objects": [app]}, True, "changed=1"),
        ("diagnose", {}, False, f"{site.name}-apps: Suspended"),
        ("resume", {"resume_objects": [app]}, True, "changed=1"),
        ("validate-deployment", {"validate_workloads": [{"namespace": site.name, "name": "web"}]}, True, "ok="),
    ]
    with Watch(forms, play.temporary) as watch:
        for name, options, works, words in runs:
            done = play.playbook(name, "-vvvv", "--diff", variables={**variables, **options})
            must_not_show(play, forms, done, works)
            assert words in play.output, f"{name}: {play.output[-6000:]}"
    assert watch.found == set()


def test_artefacts_and_holds_show_nothing(play: Play, built: Path, tmp_path: Path) -> None:
    """They need none of the environment's secrets, and show none although the inventory has them."""
    (tmp_path / "lab").mkdir()
    lab = Lab(tmp_path / "lab")
    # the key that opens the repository; a file: URL needs none
    key = play.directory / "git_key"
    key.write_text(CANARY)
    variables = {
        "stagecraft_environment": "production",
        "stagecraft_distribution": "kubeadm",
        "stagecraft_kubernetes_version": "1.36.3",
        "cni_plugin": "flannel",
        "artifacts_cache": str(tmp_path / "cache"),
        "artifacts_mirror": str(built),
        "artifacts_trust_built_mirror": True,
        "release_repository": {"url": lab.url, "branch": "main"},
        "flux_git_key_file": str(key),
        "vaulted": CANARY,
        "sealed_secrets_mac_key": CANARY,
        "openbao_secrets": [{"mount": "kv", "path": "apps/shop", "data": {"password": CANARY}}],
        "release_secrets": {"production": {"shop": CANARY}},
    }
    held = ["-e", "environment=production", "-e", "component=podinfo", "-e", "reason=test"]
    runs = [
        ("bundle", ["-e", f"artifacts_destination={tmp_path / 'bundle'}", "-e", "artifacts_bundle_packages=false"], 1),
        ("mirror", ["-e", f"artifacts_destination={tmp_path / 'mirror-of-it'}"], 1),
        ("hold", held, 1),
        ("hold", held, 0),
        ("hold", [*held, "-e", "state=absent"], 1),
    ]
    forms = forms_of(CANARY)
    with Watch(forms, play.temporary) as watch:
        for name, arguments, changed in runs:
            done = play.playbook(name, "-vvvv", "--diff", *arguments, variables=variables)
            must_not_show(play, forms, done)
            assert done["changed"] == changed, f"{name}: {play.output[-6000:]}"
    assert watch.found == set()
    assert in_files(forms, [lab.server, tmp_path / "bundle"]) == []


def test_the_first_login_is_not_shown(play: Play, bare_host: Server) -> None:
    """The provider's password, which is the way in, and the key that takes its place."""
    body = [line for line in bare_host.key_file.read_text().splitlines() if not line.startswith("-----")]
    # The fourth line of an Ed25519 key has its secret half; the lines before are what such keys have in common, and the public one.
    forms = [*forms_of(PASSWORD), body[3].encode()]
    host = {
        "ansible_connection": "ansible.builtin.ssh",
        "ansible_port": bare_host.port,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(bare_host.key_file),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile='{bare_host.known_hosts}' -o GlobalKnownHostsFile=none",
        "access_login_password": PASSWORD,
        "access_host_fingerprint": scan_host_key("127.0.0.1", bare_host.port).fingerprint,
    }
    playbook = str(COLLECTION / "playbooks/bootstrap-access.yml")
    bare_host.known_hosts.unlink()
    with Watch(forms, play.temporary) as watch:
        for arguments, changed in ((["--check"], 1), ([], 2), ([], 0)):
            done = play.run([], "-vvvv", "--diff", "--limit", "cp1", *arguments, cp1=host, playbook=playbook)
            must_not_show(play, forms, done)
            assert done["changed"] == changed, play.output[-6000:]
    assert watch.found == set()


def test_wrong_arguments_do_not_show_what_else_was_given(play: Play) -> None:
    """A refusal quotes what was wrong, and nothing beside it."""
    forms = forms_of(CANARY)
    runs: list[tuple[str, dict[str, Any]]] = [
        ("suspend", {}),
        ("resume", {"resume_objects": ["apps"]}),
        ("validate-deployment", {}),
        ("hold", {"component": "podinfo"}),
    ]
    for name, options in runs:
        done = play.playbook(name, "-vvvv", variables={"vaulted": CANARY, **options})
        must_not_show(play, forms, done, works=False)
