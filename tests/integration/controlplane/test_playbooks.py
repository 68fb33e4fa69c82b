# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules and playbooks as a user runs them, against the real control plane, directly and through SSH."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import apply, manifests, wait
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiAccess
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

from tests.integration.controlplane.control_plane import ControlPlane
from tests.integration.controlplane.line import Line
from tests.integration.controlplane.site import Site, config_map, deployment, take_away
from tests.integration.kube.api_server import issue
from tests.integration.ssh.conftest import SSHD, Server, end, start
from tests.programs import lacking

COLLECTION = Path(__file__).parents[3]


class Ansible:
    """Runs ansible-playbook for an environment whose API server is the control plane's; `gate` is one more host's.

    `cp1` are the variables of its control plane host, of this machine without any.
    """

    def __init__(
        self,
        plane: ControlPlane,
        directory: Path,
        gate: dict[str, Any] | None = None,
        cp1: dict[str, Any] | None = None,
    ) -> None:
        self.directory = directory
        # ssh puts a socket there, whose path must be short
        self.sockets = Path(tempfile.mkdtemp(prefix="ssh-"))
        weakref.finalize(self, shutil.rmtree, self.sockets, ignore_errors=True)
        hosts = {"cp1": cp1 or {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}
        variables = {"kubeconfig_path": str(plane.kubeconfig), "kubeconfig_name": "test"}
        others = {"gate": gate} if gate else {}
        inventory = {
            "all": {"vars": variables, "hosts": others, "children": {"control_plane": {"hosts": hosts}, "workers": {}}}
        }
        (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))

    def run(self, playbook: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = shutil.which("ansible-playbook") or str(Path(sys.executable).with_name("ansible-playbook"))
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTION / ".dev" / "collections"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.sockets),
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


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The result of the last task of a run with -v."""
    found: dict[str, Any] = json.JSONDecoder().raw_decode("{" + done.stdout.rpartition(" => {")[2])[0]
    return found


@pytest.fixture
def ansible(plane: ControlPlane, session: Session, tmp_path: Path) -> Ansible:
    """Playbooks look at the whole cluster, so what other tests have left of Flux goes first."""
    take_away(session)
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
        own, site.session = site.session, session
        site.ready(commit)
        site.session = own  # which takes away afterwards what was made


def by_ssh(sshd: Server) -> dict[str, Any]:
    """Variables of a host that is reached by SSH."""
    return {
        "ansible_host": "127.0.0.1",
        "ansible_port": sshd.port,
        "ansible_user": getpass.getuser(),
        "ansible_ssh_private_key_file": str(sshd.key_file),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={sshd.known_hosts} -o StrictHostKeyChecking=yes",
        "ansible_python_interpreter": sys.executable,
    }


def test_modules_of_flux_go_through_ssh(plane: ControlPlane, site: Site, sshd: Server, tmp_path: Path) -> None:
    gate = by_ssh(sshd)
    directory = tmp_path / "play"
    directory.mkdir()
    # a name of the API server's that only its own host can do something with
    config = plane.kubeconfig.read_text().replace("https://127.0.0.1:", "https://kubernetes.default.svc:")
    (directory / "far").write_text(config)
    through = {"kubeconfig": str(directory / "far"), "api_access": "ssh", "ssh_host": "gate"}
    ansible = Ansible(plane, directory, gate)
    commit = site.repository.push({"apps/a.yaml": site.config_map("a")})
    site.follow()
    site.kustomization("apps")
    source, app = f"GitRepository/{site.name}", f"Kustomization/{site.name}-apps"
    wanted = {"source": source, "revision": commit, "timeout": 40}
    waited = ansible.task("flux_wait", wanted | through)
    assert waited.returncode == 0, waited.stdout
    told = ansible.task("flux_info", {"object": app} | through, "-v")
    assert [(row["ready"], row["revision"]) for row in result(told)["objects"]] == [(True, f"main@sha1:{commit}")]
    asked = ansible.task("flux_reconcile", {"objects": [app], "timeout": 40} | through)
    assert asked.returncode == 0, asked.stdout
    for changed in (1, 0):
        assert (
            f"changed={changed}"
            in ansible.task("flux_suspend", {"objects": [app], "state": "suspended"} | through).stdout
        )
    directly = ansible.task("flux_wait", wanted | through | {"api_access": "direct", "timeout": 1})
    assert directly.returncode != 0
    assert "kubernetes.default.svc" in directly.stdout


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

    told = result(ansible.task("flux_info", {"gather": ["events"], "object": app}, "-v"))["events"]
    assert {row["object"] for row in told} == {f"Kustomization flux-system/{site.name}-apps"}
    assert [row["last"] for row in told] == sorted((row["last"] for row in told), reverse=True)
    done = next(row for row in told if row["reason"] == "ReconciliationSucceeded")
    assert (done["type"], done["revision"]) == ("Normal", f"main@sha1:{commit}")
    everything = result(ansible.task("flux_info", {"gather": ["events"]}, "-v"))["events"]
    assert {row["object"] for row in everything} >= {told[0]["object"], f"GitRepository flux-system/{site.name}"}
    assert not [row for row in everything if row["object"].startswith(("Pod ", "Deployment "))]

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


#: A control plane's files over those of this machine, for one sshd only.
_MEMBER = """
set -e
mount -t tmpfs tmpfs DIR
cd DIR
for part in etc var; do
  mkdir -p $part/up $part/work
done
mkdir -p etc/up/kubernetes/pki etc/up/kubernetes/manifests var/up/stagecraft/kubeadm
touch etc/up/kubernetes/kubelet.conf etc/up/kubernetes/manifests/kube-apiserver.yaml
echo '{}' > var/up/stagecraft/kubeadm/member.json
cp CERTIFICATE etc/up/kubernetes/pki/apiserver.crt
mount -t overlay overlay -o lowerdir=/etc,upperdir=etc/up,workdir=etc/work /etc
mount -t overlay overlay -o lowerdir=/var/lib,upperdir=var/up,workdir=var/work /var/lib
exec "$@"
"""


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Server]:
    """Give a host on which kubeadm has made a control plane, by its files; its certificate ends tomorrow."""
    if not Path(SSHD).exists() or os.geteuid() != 0:
        lacking("a host with files of its own needs openssh-server and root")
    directory = tmp_path / "member"
    (directory / "over").mkdir(parents=True)
    (directory / "api.crt").write_bytes(issue("kube-apiserver", issue("kubernetes")).pem)
    script = _MEMBER.replace("DIR", str(directory / "over")).replace("CERTIFICATE", str(directory / "api.crt"))
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    keys = f"AuthorizedKeysFile {directory / 'authorized_keys'}"
    running = start(directory, [keys, "PermitRootLogin prohibit-password"], prefix)
    yield running
    end(running.process)


@pytest.fixture
def ingress(tmp_path: Path) -> Iterator[str]:
    """Give a server of TLS whose authority is `authority.crt`, as HOST:PORT."""
    authority = issue("shop's authority")
    served = issue("localhost", authority, ("localhost",))
    (tmp_path / "authority.crt").write_bytes(authority.pem)
    (tmp_path / "served.pem").write_bytes(served.pem + served.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "served.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


ROWS = ("hosts", "cluster", "DNS", "GitOps", "certificates", "TLS")


def test_an_environment_that_holds_is_green_in_every_row(
    plane: ControlPlane, ansible: Ansible, site: Site, member: Server, ingress: str, tmp_path: Path
) -> None:
    del ansible  # takes away what others left of Flux
    commit = site.repository.push({"apps/a.yaml": site.config_map("a")})
    site.follow(interval="5m")
    site.kustomization("apps")
    site.ready(commit)
    (tmp_path / "play").mkdir()
    environment = Ansible(plane, tmp_path / "play", cp1=by_ssh(member))
    variables = {"verify_dns": ["localhost"], "verify_tls": [ingress], "verify_tls_ca": str(tmp_path / "authority.crt")}
    done = environment.playbook("verify-environment", "-e", json.dumps({**variables, "verify_certificate_days": 0}))
    assert done.returncode == 0, done.stdout + done.stderr
    for row in ROWS:
        assert f"{row}: ok" in done.stdout, done.stdout


def test_one_list_of_what_holds_and_what_does_not(
    plane: ControlPlane, ansible: Ansible, member: Server, ingress: str, tmp_path: Path
) -> None:
    del ansible
    (tmp_path / "play").mkdir()
    environment = Ansible(plane, tmp_path / "play", cp1=by_ssh(member))
    variables = {
        "verify_dns": ["localhost", "nobody.invalid"],
        "verify_tls": [ingress],
        "verify_tls_ca": str(tmp_path / "authority.crt"),
    }
    done = environment.playbook("verify-environment", "-e", json.dumps(variables))
    assert done.returncode != 0
    for part in (
        "hosts: ok",
        "cluster: ok",
        "GitOps: ok",
        "DNS: FAILED: nobody.invalid. Add the records",
        "certificates: FAILED: cp1: it ends on 20",
        "Renew them: kubeadm certs renew all",
        f"TLS: FAILED: {ingress}: its certificate ends on 20",
        "DNS, certificates, TLS: see the list",
    ):
        assert part in done.stdout, done.stdout + done.stderr


def test_a_host_that_is_not_reached_is_one_row_of_the_list(
    plane: ControlPlane, ansible: Ansible, ingress: str, tmp_path: Path
) -> None:
    """Also the first one, on which the list is put together."""
    del ansible
    (tmp_path / "play").mkdir()
    gone = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_user": "root"}
    variables = {"verify_dns": ["localhost"], "verify_tls": [ingress, "localhost:1"]}
    environment = Ansible(plane, tmp_path / "play", cp1=gone)
    done = environment.playbook("verify-environment", "-e", json.dumps(variables))
    assert done.returncode != 0
    for part in (
        # Ansible says it in one of two ways, whichever of its steps comes to it first
        "hosts: FAILED: cp1: ",
        "connect to host 127.0.0.1 port 1: Connection refused",
        "Check that they are up and that ansible_host, the user and the key are right.",
        "cluster: ok",
        "DNS: ok",
        "GitOps: ok",
        "certificates: FAILED: cp1: it could not be read: the host is not reached. Let the hosts be reached",
        f"TLS: FAILED: {ingress}: its certificate is not accepted: unable to get local issuer certificate",
        "localhost:1: it does not answer by TLS: ",
        "Look at the Ingress or Gateway of the name",
        "hosts, certificates, TLS: see the list",
    ):
        assert part in done.stdout, done.stdout + done.stderr


# Its one node is the machine itself, whose certificate Minikube renews.
HOLDS = json.dumps({"verify_dns": ["localhost"], "stagecraft_distribution": "minikube"})


def test_what_does_not_come_up_is_told_by_every_playbook_until_it_is_repaired(ansible: Ansible, site: Site) -> None:
    site.repository.push({"apps/a.yaml": site.deployment("web", "example.com/app:missing")})
    site.follow(interval="5m")
    site.kustomization("apps", wait=True, timeout="2m")

    def checking() -> bool:
        said = [condition["message"] for condition in site.live(site.ref("apps"))["status"]["conditions"]]
        return any("Running health checks" in message for message in said)

    site.plane.wait_for("health checks", checking)
    site.plane.wait_for("the pod's trouble", lambda: "ImagePullBackOff" in ansible.playbook("diagnose").stdout)
    why = f"Deployment {site.name}/web: InProgress"
    for playbook, words in (("diagnose", "HealthCheck: "), ("verify-environment", "GitOps: FAILED: "), ("status", "")):
        done = ansible.playbook(playbook, *(("-e", HOLDS) if playbook == "verify-environment" else ()))
        assert done.returncode != 0, done.stdout
        for part in (words, why, "ImagePullBackOff"):
            assert part in done.stdout, (playbook, done.stdout)
    every = {"validate_namespaces": [site.name], "validate_timeout": 2}
    one = {"validate_workloads": [{"namespace": site.name, "name": "web"}], "validate_timeout": 2}
    typo = {"validate_namespaces": [f"{site.name}-typo"], "validate_timeout": 2}
    done = ansible.playbook("validate-deployment", "-e", json.dumps(typo))
    assert done.returncode != 0, done.stdout
    assert f"namespace {site.name}-typo: not in the cluster" in done.stdout
    for variables in (every, one):
        done = ansible.playbook("validate-deployment", "-e", json.dumps(variables))
        assert done.returncode != 0, done.stdout
        assert f"{site.name}/web" in done.stdout
        assert "ImagePullBackOff" in done.stdout

    commit = site.repository.push({"apps/a.yaml": site.deployment("web")})
    wanted = {"source": f"GitRepository/{site.name}", "revision": commit, "timeout": 150}
    waited = ansible.task("flux_wait", wanted)
    assert waited.returncode == 0, waited.stdout
    for variables in (every, one):
        done = ansible.playbook("validate-deployment", "-e", json.dumps({**variables, "validate_timeout": 30}))
        assert done.returncode == 0, done.stdout
    diagnosed = ansible.playbook("diagnose")
    assert diagnosed.returncode == 0, diagnosed.stdout
    assert "Nothing blocks" in diagnosed.stdout, diagnosed.stdout
    verified = ansible.playbook("verify-environment", "-e", HOLDS)
    assert verified.returncode == 0, verified.stdout
    for what in ("hosts", "cluster", "DNS", "GitOps"):
        assert f"{what}: ok" in verified.stdout


@pytest.mark.parametrize("wanted", [{"status": 204}, {"contains": "nobody writes this"}])
def test_a_request_that_is_answered_otherwise_fails(ansible: Ansible, site: Site, wanted: dict[str, Any]) -> None:
    site.repository.push({"apps/a.yaml": site.config_map("a")})
    url = f"{site.server.url}/{site.name}.git/info/refs?service=git-upload-pack"
    variables = {"validate_requests": [{"url": url, **wanted}], "validate_timeout": 2}
    done = ansible.playbook("validate-deployment", "-e", json.dumps(variables))
    assert done.returncode != 0
    assert url in done.stdout


def test_an_object_of_two_kustomizations_is_told_with_both(ansible: Ansible, site: Site) -> None:
    commit = site.repository.push({"apps/a.yaml": site.config_map("shared")})
    site.follow(interval="5m")
    for name in ("one", "two"):
        site.kustomization(name, path="apps")
    site.ready(commit)
    done = ansible.playbook("diagnose")
    assert done.returncode != 0
    both = f"Kustomization flux-system/{site.name}-one and by Kustomization flux-system/{site.name}-two"
    assert f"ConfigMap {site.name}/shared: applied by {both}: each undoes" in done.stdout


def test_a_line_that_loses_every_packet_is_told_by_status_and_diagnosis(ansible: Ansible, site: Site) -> None:
    first = site.repository.push({"apps/a.yaml": site.config_map("a")})
    with Line(int(site.server.url.rpartition(":")[2])) as line:
        site.follow(url=f"http://127.0.0.1:{line.port}/{site.name}.git", timeout="3s", interval="5m")
        site.kustomization("apps")
        site.ready(first)
        line.cut()
        pushed = site.repository.push({"apps/a.yaml": site.config_map("a", n="2")})
        assert not site.wait(pushed, seconds=6, grace=60.0).ok
        diagnosed, status = ansible.playbook("diagnose"), ansible.playbook("status")
    for done in (diagnosed, status):
        assert done.returncode != 0, done.stdout
        for part in ("deadline exceeded, since 20", "The Git host does not answer", "It heals by itself"):
            assert part in done.stdout, done.stdout
    assert f"NOT READY  GitRepository flux-system/{site.name}  main@sha1:{first}" in status.stdout
    assert pushed not in status.stdout
