# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions and the role, by ansible-playbook, against a stand-in API server; and the real kubectl on what they write."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.integration.kube.api_server import deployment, items, node
from tests.programs import lacking

if TYPE_CHECKING:
    from tests.integration.kube.api_server import ApiServer
    from tests.integration.play import Play
    from tests.integration.ssh.conftest import Server


def health(**options: Any) -> list[dict[str, Any]]:
    return [{"name": "Look", "stagecraft.gitops.cluster_health": options}]


def test_health_of_a_healthy_cluster(api: ApiServer, play: Play) -> None:
    options = {
        "nodes": ["cp1"],
        "control_plane": ["cp1"],
        "version": "1.36.3",
        "workloads": ["Deployment/kube-system/coredns", "DaemonSet/kube-system/kube-proxy"],
    }
    ran = play.run(health(kubeconfig=str(api.kubeconfig()), context="admin", **options))
    assert (ran["code"], ran["changed"]) == (0, 0), play.output
    found = play.result()
    assert found["healthy"] is True
    assert found["nodes"] == {"cp1": {"ready": True, "problem": "", "version": "v1.36.3", "unschedulable": False}}
    assert found["seconds"] > 0
    assert api.connections == 1


def test_health_waits_until_it_holds(api: ApiServer, play: Play) -> None:
    api.answers["/api/v1/nodes"] = (200, items(node("cp1", ready="False", reason="KubeletNotReady")))
    api.answers["/readyz"] = (500, "[-]etcd failed")
    watch = threading.Timer(4.0, api.healthy)
    watch.start()
    ran = play.run(health(kubeconfig=str(api.kubeconfig()), context="admin", nodes=["cp1"], timeout=60))
    watch.cancel()
    assert ran["code"] == 0, play.output
    assert play.result()["healthy"] is True


def test_health_says_everything_that_does_not_hold(api: ApiServer, play: Play) -> None:
    api.answers["/apis/apps/v1/namespaces/kube-system/deployments"] = (200, items(deployment("coredns", 2, 0)))
    ran = play.run(health(kubeconfig=str(api.kubeconfig()), context="admin", nodes=["cp1", "w1"], timeout=0.5))
    assert ran["code"] != 0
    assert play.result()["msg"].splitlines()[1:] == [
        "- node w1: not in the cluster (it has cp1)",
        "- Deployment kube-system/coredns: 0 of 2 available",
    ]


def test_a_namespace_that_is_not_there_does_not_pass(api: ApiServer, play: Play) -> None:
    for kind in ("apps/v1/namespaces/typo/daemonsets", "apps/v1/namespaces/typo/deployments"):
        api.answers[f"/apis/{kind}"] = (200, items())
    api.answers["/apis/apps/v1/namespaces/typo/statefulsets"] = (200, items())
    api.answers["/api/v1/namespaces/typo/pods"] = (200, items())
    ran = play.run(health(kubeconfig=str(api.kubeconfig()), context="admin", namespaces=["typo"], timeout=0))
    assert ran["code"] != 0
    assert play.result()["problems"] == ["namespace typo: not in the cluster"]


def test_refused_credentials_are_not_waited_for(api: ApiServer, play: Play) -> None:
    path = api.kubeconfig(user_token="wrong")
    data = yaml.safe_load(path.read_text())
    del data["users"][0]["user"]["client-certificate-data"], data["users"][0]["user"]["client-key-data"]
    path.write_text(yaml.safe_dump(data))
    ran = play.run(health(kubeconfig=str(path), context="admin", timeout=100))
    assert ran["code"] != 0
    assert "401 Unauthorized" in play.result()["msg"]


def test_check_mode_looks_once_and_does_not_fail(api: ApiServer, play: Play) -> None:
    ran = play.run(health(kubeconfig=str(play.directory / "none")), "--check")
    assert ran["code"] == 0, play.output
    assert "there is no kubeconfig" in play.result()["problems"][0]
    api.answers["/api/v1/nodes"] = (200, items())
    play.run(health(kubeconfig=str(api.kubeconfig()), context="admin", nodes=["cp1"]), "--check")
    assert play.result()["healthy"] is False
    assert [path for _, path in api.asked].count("/api/v1/nodes") == 1


def test_wrong_workloads_and_access_are_refused(api: ApiServer, play: Play) -> None:
    play.run(health(kubeconfig=str(api.kubeconfig()), workloads=["coredns"]))
    assert "wanted KIND/NAMESPACE/NAME" in play.result()["msg"]
    play.run(health(kubeconfig=str(api.kubeconfig())), variables={"stagecraft_api_access": "tunnel"})
    assert "wanted direct or ssh" in play.result()["msg"]


def test_health_through_ssh_by_the_hosts_own_variables(api: ApiServer, play: Play, sshd: Server) -> None:
    gate = {
        "ansible_host": "127.0.0.1",
        "ansible_port": sshd.port,
        "ansible_user": "{{ lookup('ansible.builtin.pipe', 'id -un') }}",
        "ansible_ssh_private_key_file": str(sshd.key_file),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={sshd.known_hosts} -o StrictHostKeyChecking=yes",
    }
    options = {"kubeconfig": str(api.kubeconfig(server=f"https://kubernetes:{api.port}")), "context": "admin"}
    tasks = health(nodes=["cp1"], ssh_host="gate", timeout=0, **options)
    ran = play.run(tasks, variables={"stagecraft_api_access": "ssh"}, gate=gate)
    assert ran["code"] == 0, play.output
    assert play.result()["healthy"] is True
    play.run(tasks, variables={"stagecraft_api_access": "direct"}, gate=gate)
    assert "no API server answers at kubernetes" in play.result()["msg"]


@pytest.mark.parametrize("said_by", ["command line", "ansible.cfg"])
def test_health_through_ssh_without_a_variable_of_the_hosts(
    api: ApiServer, play: Play, sshd: Server, said_by: str
) -> None:
    options = {"kubeconfig": str(api.kubeconfig(server=f"https://kubernetes:{api.port}")), "context": "admin"}
    tasks = health(nodes=["cp1"], ssh_host="gate", timeout=0, api_access="ssh", **options)
    gate = {"ansible_host": "127.0.0.1", "ansible_port": sshd.port}
    common = f"-o UserKnownHostsFile={sshd.known_hosts} -o StrictHostKeyChecking=yes"
    # What is meant for the task's own host is not for the one that is gone through.
    own = {"ansible_user": "somebody-else", "ansible_password": "not-for-the-gate"}

    def run(user: str) -> int:
        arguments = ["--user", user, "--private-key", str(sshd.key_file), "--ssh-common-args", common]
        if said_by == "ansible.cfg":
            (play.directory / "ansible.cfg").write_text(
                f"[defaults]\nremote_user = {user}\nprivate_key_file = {sshd.key_file}\n"
                f"[ssh_connection]\nssh_common_args = {common}\n"
            )
            arguments = []
        code: int = play.run(tasks, *arguments, gate=gate, cp1=own)["code"]
        return code

    assert run(getpass.getuser()) == 0, play.output
    assert play.result()["healthy"] is True
    assert run("nobody-here") != 0
    assert "nobody-here@127.0.0.1" in play.result()["msg"]


ROLE = [{"name": "Role", "ansible.builtin.include_role": {"name": "stagecraft.gitops.kubeconfig"}}]


def test_role_gives_access_that_works_and_takes_it_back(api: ApiServer, play: Play) -> None:
    source = play.directory / "admin.conf"
    config = play.directory / ".kube" / "config"
    variables = {
        "stagecraft_environment": "testing",
        "kubeconfig_source": str(source),
        "kubeconfig_path": str(config),
        "kubeconfig_port": api.port,
        "ansible_become": False,
        "ansible_become_method": "ansible.builtin.su",
    }
    key = yaml.safe_load(api.admin_conf())["users"][0]["user"]["client-key-data"]

    ran = play.run(ROLE, "--check", "--diff", variables=variables)
    assert (ran["code"], ran["changed"], config.parent.exists()) == (0, 1, False), play.output
    assert play.run(ROLE, variables=variables)["code"] != 0
    assert (
        f"wanted the cluster's admin kubeconfig in {source} on this machine, found no such file" in play.result()["msg"]
    )

    source.write_text(api.admin_conf(server="https://10.0.0.1:6443"))
    for arguments in (["--check", "--diff"], ["--diff"]):
        ran = play.run(ROLE, *arguments, variables=variables)
        assert (ran["code"], ran["changed"]) == (0, 1), play.output
        assert key not in play.output
        assert f"+  server: https://127.0.0.1:{api.port}" in play.output
    ran = play.run([*ROLE, *health(nodes=["cp1"])], variables=variables)
    assert (ran["code"], ran["changed"]) == (0, 0), play.output
    assert key not in play.output

    ran = play.run(ROLE, variables=variables | {"kubeconfig_state": "absent"})
    assert (ran["code"], ran["changed"], config.exists()) == (0, 1, False)
    assert play.run(ROLE, variables=variables | {"kubeconfig_state": "absent"})["changed"] == 0


@pytest.fixture
def kubectl() -> str:
    cache = Path(
        os.environ.get("STAGECRAFT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "stagecraft"
    )
    built = sorted(cache.expanduser().glob("mirror/dl.k8s.io/release/*/bin/linux/*/kubectl"))
    program = shutil.which("kubectl") or (str(built[-1]) if built else "")
    if not program:
        lacking("no kubectl on the PATH or in the mirror: run `make mirror`")
    return program


def test_kubectl_understands_the_file_and_we_understand_kubectls(api: ApiServer, play: Play, kubectl: str) -> None:
    config = play.directory / "config"
    program = play.directory / "kubectl"
    shutil.copy(kubectl, program)
    program.chmod(0o755)

    def run(*arguments: str) -> str:
        command = [str(program), f"--kubeconfig={config}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    run("config", "set-cluster", "work", "--server=https://work.example.com")
    run("config", "set-context", "work", "--cluster=work", "--user=me")
    task = [{"name": "Merge", "stagecraft.gitops.kubeconfig": {"path": str(config), "name": "testing", "source": ""}}]
    task[0]["stagecraft.gitops.kubeconfig"] |= {"source": api.admin_conf()}  # type: ignore[operator]
    assert play.run(task)["changed"] == 1, play.output
    assert run("config", "get-contexts", "-o", "name").split() == ["testing", "work"]
    assert run("config", "current-context").strip() == "testing"
    assert run("get", "--raw", "/version") == json.dumps({"gitVersion": "v1.36.3"})

    run("config", "set-context", "testing", "--namespace=shop")
    run("config", "use-context", "work")
    assert play.run(task)["changed"] == 0, play.output
    assert play.run([{"name": "Drop", "stagecraft.gitops.kubeconfig": {
        "path": str(config), "name": "testing", "state": "absent"}}])["changed"] == 1  # fmt: skip
    assert run("config", "get-contexts", "-o", "name").split() == ["work"]
    assert run("config", "current-context").strip() == "work"


def test_what_is_applied_to_a_cluster_to_come_counts_as_new(play: Play) -> None:
    manifests = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "a"}} for name in "xy"
    ]
    tasks = [
        {"stagecraft.gitops.kube_apply": {"kubeconfig": str(play.directory / "none"), "manifests": manifests}},
    ]
    checked = play.run(tasks, "--check")
    assert (checked["code"], checked["changed"]) == (0, 1), play.output
    assert [one["action"] for one in play.result()["objects"]] == ["create", "create"]
    assert play.run(tasks)["code"] != 0
    assert "there is no kubeconfig" in play.output
    assert "ConfigMap a/x" not in play.output, "it is told once, not for each"
