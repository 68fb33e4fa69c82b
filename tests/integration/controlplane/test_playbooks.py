# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules and playbooks as a user runs them, against the real control plane, directly and through SSH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import apply, manifests, wait
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiAccess
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

from tests.integration.controlplane.control_plane import ControlPlane
from tests.integration.controlplane.site import Site, config_map, deployment
from tests.integration.ssh.conftest import Server

COLLECTION = Path(__file__).parents[3]


class Ansible:
    """Runs ansible-playbook for an environment whose API server is the control plane's."""

    def __init__(self, plane: ControlPlane, directory: Path) -> None:
        self.directory = directory
        hosts = {"cp1": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}
        variables = {"kubeconfig_path": str(plane.kubeconfig), "kubeconfig_name": "test"}
        inventory = {"all": {"vars": variables, "children": {"control_plane": {"hosts": hosts}, "workers": {}}}}
        (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))

    def run(self, playbook: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = shutil.which("ansible-playbook") or str(Path(sys.executable).with_name("ansible-playbook"))
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTION / ".dev" / "collections"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
            "HOME": str(self.directory),
        }
        return subprocess.run(
            [program, "-i", "hosts.yml", str(playbook), *arguments],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def playbook(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(COLLECTION / "playbooks" / f"{name}.yml", *arguments)

    def task(self, module: str, options: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
        task = {f"stagecraft.gitops.{module}": options}
        play = {"hosts": "control_plane", "gather_facts": False, "tasks": [task]}
        path = self.directory / "play.yml"
        path.write_text(yaml.safe_dump([play]))
        return self.run(path, *arguments)


@pytest.fixture
def ansible(plane: ControlPlane, tmp_path: Path) -> Ansible:
    return Ansible(plane, tmp_path)


def test_apply_shows_no_secret_and_is_idempotent(ansible: Ansible, site: Site) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "k", "namespace": site.name}}
    options = {
        "manifests": [{**secret, "stringData": {"password": "canary-4711"}}, config_map("m", site.name, key="1")]
    }
    checked = ansible.task("kube_apply", options, "--check", "--diff", "-vvv")
    assert checked.returncode == 0, checked.stdout
    assert "changed=1" in checked.stdout
    first = ansible.task("kube_apply", options, "--diff", "-vvv")
    assert "changed=1" in first.stdout
    shown = "".join(line for line in (checked.stdout + first.stdout).splitlines() if "+" in line[:2])
    assert "canary-4711" not in shown
    assert "Y2FuYXJ5LTQ3MTE" not in checked.stdout + first.stdout
    assert "(hidden)" in first.stdout
    second = ansible.task("kube_apply", options)
    assert "changed=0" in second.stdout


def test_everything_works_through_ssh(plane: ControlPlane, site: Site, sshd: Server) -> None:
    through = ApiAccess(plane.kubeconfig, access="ssh", ssh=sshd.target())
    with Session(through) as session:
        objects = manifests.parse([config_map("m", site.name), deployment("web", site.name)])
        applier = apply.Applier(session, apply.Options())
        applier.apply(objects, applier.plan(objects))
        assert applier.plan(objects).changes == ()
        wanted = wait.Wanted(Ref("apps", "Deployment", site.name, "web"), "apps/v1")
        outcome = wait.wait(session, [wanted], "current", 20.0)
        assert outcome.ok, wait.summary(outcome)
        commit = site.repository.push({"apps/a.yaml": site.config_map("a")})
        site.follow()
        site.kustomization("apps")
        site.session = session
        site.ready(commit)


def test_the_users_verbs(ansible: Ansible, site: Site) -> None:
    commit = site.repository.push({"apps/a.yaml": site.deployment("web"), "apps/b.yaml": site.config_map("b")})
    site.follow(interval="5m")
    site.kustomization("apps", wait=True)
    source, app = f"GitRepository/{site.name}", f"Kustomization/{site.name}-apps"
    waited = ansible.task("flux_wait", {"source": source, "revision": commit, "timeout": 40})
    assert waited.returncode == 0, waited.stdout

    traced = ansible.task(
        "flux_info",
        {
            "gather": ["trace", "tree", "graph", "events"],
            "object": f"Deployment/{site.name}/web",
            "api_version": "apps/v1",
        },
        "-v",
    )
    for part in (f"Deployment {site.name}/web", f"Kustomization flux-system/{site.name}-apps", commit):
        assert part in traced.stdout

    suspended = ansible.playbook("suspend", "-e", json.dumps({"suspend_objects": [app]}))
    assert "changed=1" in suspended.stdout, suspended.stdout + suspended.stderr
    assert "changed=0" in ansible.playbook("suspend", "-e", json.dumps({"suspend_objects": [app]})).stdout
    diagnosed = ansible.playbook("diagnose")
    assert diagnosed.returncode != 0
    assert f"{site.name}-apps: Suspended: it is suspended at" in diagnosed.stdout
    elsewhere = ansible.task("flux_info", {"gather": ["diagnosis"], "namespace": site.name}, "-v")
    assert elsewhere.returncode == 0
    assert '"blocked": false' in elsewhere.stdout
    newer = site.repository.push({"apps/b.yaml": site.config_map("b", n="2")})
    refused = ansible.task("flux_wait", {"source": source, "revision": newer, "timeout": 40})
    assert refused.returncode != 0
    assert "Resume it by flux_suspend" in refused.stdout
    assert ansible.task("flux_reconcile", {"objects": [app]}).returncode != 0

    assert "changed=1" in ansible.playbook("resume", "-e", json.dumps({"resume_objects": [app]})).stdout
    asked = ansible.task("flux_reconcile", {"objects": [app], "with_source": True, "timeout": 40}, "-v")
    assert asked.returncode == 0, asked.stdout
    status = ansible.playbook("status", "-e", "status_fail=false")
    assert status.returncode == 0, status.stdout
    assert f"Kustomization flux-system/{site.name}-apps  main@sha1:{newer}" in status.stdout
    request = {
        "url": f"{site.server.url}/{site.name}.git/info/refs?service=git-upload-pack",
        "contains": "refs/heads/main",
    }
    valid = {"validate_workloads": [{"namespace": site.name, "name": "web"}], "validate_requests": [request]}
    done = ansible.playbook("validate-deployment", "-e", json.dumps(valid))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("playbook", "arguments", "words"),
    [
        ("suspend", {}, "Say which"),
        ("suspend", {"suspend_objects": ["apps"]}, "'apps' names no object of Flux"),
        ("validate-deployment", {}, "Say what to validate"),
        ("validate-deployment", {"validate_workloads": [{"name": "web"}]}, "missing required arguments: namespace"),
        ("status", {"status_fail": "perhaps"}, "status_fail"),
    ],
)
def test_wrong_arguments_are_told(ansible: Ansible, playbook: str, arguments: dict[str, Any], words: str) -> None:
    done = ansible.playbook(playbook, "-e", json.dumps(arguments))
    assert done.returncode != 0
    assert words in done.stdout


def test_one_list_of_what_holds(ansible: Ansible) -> None:
    done = ansible.playbook("verify-environment", "-e", json.dumps({"verify_dns": ["localhost"]}))
    assert done.returncode != 0
    for what in ("hosts: ok", "DNS: ok", "cluster: ", "GitOps: ", "certificates: FAILED: cp1: it could not be read"):
        assert what in done.stdout, done.stdout + done.stderr
