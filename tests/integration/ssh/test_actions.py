# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions as a playbook runs them, against a real sshd and a throw-away host."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.connection import connect, run
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import AuthenticationError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.host_keys import scan_host_key

from tests.programs import lacking

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server

ROOT = Path(__file__).parents[3]


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run one task on a host; returns its result, with `rc` of the run and the `text` that the admin saw."""

    def run_task(server: Server, module: str, options: dict[str, Any], *flags: str, **more: Any) -> dict[str, Any]:
        variables = {
            "ansible_host": "127.0.0.1",
            "ansible_port": server.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(server.key_file),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile='{server.known_hosts}' -o GlobalKnownHostsFile=none",
            "stagecraft_environment": "staging",
            **more,
        }
        inventory = tmp_path / "hosts.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"node1": variables}}}))
        task = {"name": "Run", f"stagecraft.gitops.{module}": options, "register": "result"}
        dump = {
            "name": "Dump",
            "ansible.builtin.copy": {
                "content": "{{ result | to_json }}",
                "dest": str(tmp_path / "result.json"),
                "mode": "0600",
            },
            "delegate_to": "localhost",
            "vars": {"ansible_connection": "local"},
            "check_mode": False,
            "diff": False,
        }
        play_file = tmp_path / "play.json"
        play_file.write_text(
            json.dumps(
                [{"name": "T", "hosts": "all", "gather_facts": False, "tasks": [{**task, "ignore_errors": True}, dump]}]
            )
        )
        done = subprocess.run(
            ["ansible-playbook", "-i", str(inventory), str(play_file), *flags],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert (tmp_path / "result.json").exists(), done.stdout + done.stderr
        result: dict[str, Any] = json.loads((tmp_path / "result.json").read_text())
        (tmp_path / "result.json").unlink()
        return {**result, "text": done.stdout + done.stderr}

    return run_task


def test_a_host_key_is_pinned_only_by_fingerprint_or_on_trust_and_a_changed_one_fails(
    server: Server, play: Callable[..., dict[str, Any]], new_key: str
) -> None:
    pinned = server.known_hosts.read_text()
    shown = scan_host_key("127.0.0.1", server.port).fingerprint
    server.known_hosts.write_text("# the admin's own\n")

    unknown = play(server, "ssh_host_key", {})
    assert unknown["failed"]
    assert shown in unknown["msg"]
    wrong = play(server, "ssh_host_key", {"fingerprint": "SHA256:" + "A" * 43})
    assert "is of another host" in wrong["msg"]
    checked = play(server, "ssh_host_key", {"fingerprint": shown}, "--check", "--diff")
    assert checked["changed"]
    assert checked["diff"]["after"] == "# the admin's own\n" + pinned
    assert server.known_hosts.read_text() == "# the admin's own\n"

    assert play(server, "ssh_host_key", {"fingerprint": shown})["changed"]
    assert server.known_hosts.read_text() == "# the admin's own\n" + pinned
    assert not play(server, "ssh_host_key", {"fingerprint": shown})["changed"]

    server.known_hosts.write_text(f"# one\n\n[127.0.0.1]:{server.port} {new_key}\n")
    changed = play(server, "ssh_host_key", {"trust_on_first_use": True})
    assert changed["failed"]
    assert "has CHANGED" in changed["msg"]
    assert changed["msg"].count(shown) == 2
    assert f"{server.known_hosts}:3" in changed["msg"]
    assert "has CHANGED" in play(server, "ssh_host_key", {"fingerprint": shown})["msg"]
    assert play(server, "ssh_host_key", {"fingerprint": shown, "replace": True})["changed"]
    assert server.known_hosts.read_text() == "# one\n\n" + pinned
    assert play(server, "ssh_host_key", {"state": "absent"})["changed"]
    assert server.known_hosts.read_text() == "# one\n\n"
    assert play(server, "ssh_host_key", {"trust_on_first_use": True})["changed"]


def test_artefacts_are_pushed_once(server: Server, play: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    local = tmp_path / "artefact"
    local.write_bytes(os.urandom(3_000_000))
    digest = hashlib.sha256(local.read_bytes()).hexdigest()
    files = {"files": [{"src": str(local), "dest": str(tmp_path / "far" / "x"), "sha256": digest, "mode": "0750"}]}
    checked = play(server, "artifact_push", files, "--check", "--diff")
    assert (checked["changed"], checked["sent_bytes"]) == (True, 3_000_000)
    assert not (tmp_path / "far").exists()
    first = play(server, "artifact_push", files)
    assert (first["changed"], first["sent_bytes"]) == (True, 3_000_000)
    assert (tmp_path / "far" / "x").read_bytes() == local.read_bytes()
    second = play(server, "artifact_push", files)
    assert (second["changed"], second["sent_bytes"]) == (False, 0)
    local.write_bytes(b"damaged")
    assert "not the file that was asked for" in play(server, "artifact_push", files)["msg"]
    twice = {"files": files["files"] * 2}
    assert "the same dest" in play(server, "artifact_push", twice)["msg"]


def test_preflight_says_everything_at_once_and_lets_our_own_host_pass(
    bare_host: Server, play: Callable[..., dict[str, Any]]
) -> None:
    login = {"ansible_password": "first-login", "ansible_ssh_private_key_file": ""}
    demands = {
        "minimum_memory_mb": 99_000_000,
        "minimum_disk_mb": 99_000_000,
        "free_ports": [str(bare_host.port)],
        "supported_os": ["plan9"],
        "architectures": ["riscv64"],
    }
    with connect(bare_host.target(key_file=None, password="first-login")) as client:
        run(client, "mkdir -p /etc/rancher/k3s")
        refused = play(bare_host, "host_preflight", {"requirements": demands}, "--check", **login)
        assert refused["failed"]
        codes = [problem["code"] for problem in refused["problems"]]
        assert {"memory", "disk", "port", "os", "architecture", "leftovers"} <= set(codes)
        assert "k3s-uninstall.sh" in refused["msg"]
        run(
            client,
            'mkdir -p /var/lib/stagecraft; echo \'{"environment": "staging"}\' >/var/lib/stagecraft/cluster.json',
        )
        ours = play(bare_host, "host_preflight", {"requirements": demands, "fail_on_problems": False}, **login)
        assert not ours.get("failed")
        codes = [problem["code"] for problem in ours["problems"]]
        assert "port" in codes, "what holds it is no program of our cluster"
        assert "leftovers" not in codes
        foreign = play(bare_host, "host_preflight", {"environment": "production"}, **login)
        assert "found a host of 'staging'" in foreign["msg"]
    bad = play(bare_host, "host_preflight", {"requirements": {"free_ports": ["http"]}}, **login)
    assert "not a port" in bad["msg"]


@pytest.mark.parametrize("user", ["root", "admin"])
def test_a_first_login_by_password_becomes_one_by_key_and_passwords_are_refused(
    bare_host: Server, play: Callable[..., dict[str, Any]], user: str
) -> None:
    with connect(bare_host.target(key_file=None, password="first-login")) as first:
        if user != "root" and run(first, "command -v sudo", check_status=False).status:
            lacking("sudo is missing: install the package sudo")
        options = {"user": user, "login_user": "root", "login_password": "first-login"}
        checked = play(bare_host, "bootstrap_user", options, "--check", "--diff")
        steps = [change["step"] for change in checked["changes"]]
        assert steps == (["keys", "sshd"] if user == "root" else ["user", "keys", "sudo", "sshd"])
        assert run(first, "find /root/.ssh /etc/ssh/sshd_config.d -type f; getent passwd admin || true").stdout == ""

        done = play(bare_host, "bootstrap_user", options)
        assert "changes" in done, done["text"]
        assert done["changes"] == checked["changes"]
        assert done["logged_in_by"] == "first login"
        assert "first-login" not in done["text"]
    target = bare_host.target(user=user, become=user != "root")
    with connect(target) as client:
        assert run(client, "sudo -n id -u" if user != "root" else "id -u").stdout == "0\n"
        assert run(client, "stat -c %a ~/.ssh ~/.ssh/authorized_keys").stdout.split() == ["700", "600"]
    with pytest.raises(AuthenticationError, match="The host takes: publickey"):
        connect(bare_host.target(key_file=None, password="first-login"))
    again = play(bare_host, "bootstrap_user", options)
    assert (again["changed"], again["logged_in_by"]) == (False, "key")


def test_a_key_that_does_not_open_the_host_leaves_the_password_login(
    bare_host: Server, play: Callable[..., dict[str, Any]], new_key: str
) -> None:
    options = {"login_password": "first-login", "public_keys": [new_key]}
    failed = play(bare_host, "bootstrap_user", options)
    assert failed["failed"]
    assert "password logins were left as they are" in failed["msg"]
    with connect(bare_host.target(key_file=None, password="first-login")) as client:
        assert run(client, "ls -A /etc/ssh/sshd_config.d").stdout == ""


def test_an_sshd_that_ignores_the_new_settings_is_put_back_and_named(
    bare_host: Server, play: Callable[..., dict[str, Any]]
) -> None:
    with connect(bare_host.target(key_file=None, password="first-login")) as client:
        # A setting before the Include line wins over what is included.
        run(client, "sed -i '1i PasswordAuthentication yes' /etc/ssh/sshd_config; kill -HUP $(cat /run/sshd.pid)")
        before = run(client, "cat /etc/ssh/sshd_config").stdout
        failed = play(bare_host, "bootstrap_user", {"login_password": "first-login"})
        assert failed["failed"]
        assert "passwordauthentication yes" in failed["msg"]
        assert run(client, "cat /etc/ssh/sshd_config").stdout == before
        assert run(client, "ls -A /etc/ssh/sshd_config.d").stdout == ""
    connect(bare_host.target(key_file=None, password="first-login")).close()


def test_an_old_configuration_without_include_is_extended(
    bare_host: Server, play: Callable[..., dict[str, Any]]
) -> None:
    with connect(bare_host.target(key_file=None, password="first-login")) as client:
        run(client, "sed -i '/^Include/d' /etc/ssh/sshd_config; kill -HUP $(cat /run/sshd.pid)")
        assert play(bare_host, "bootstrap_user", {"login_password": "first-login"})["changed"]
    assert not play(bare_host, "bootstrap_user", {"login_password": "first-login"})["changed"]
    with pytest.raises(AuthenticationError):
        connect(bare_host.target(key_file=None, password="first-login"))


def test_the_playbook_opens_a_fresh_host_and_then_finds_nothing_to_do(bare_host: Server, tmp_path: Path) -> None:
    pinned = bare_host.known_hosts.read_text()
    bare_host.known_hosts.unlink()
    variables = {
        "ansible_host": "127.0.0.1",
        "ansible_port": bare_host.port,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(bare_host.key_file),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile='{bare_host.known_hosts}' -o GlobalKnownHostsFile=none",
        "access_login_password": "first-login",
        "access_host_fingerprint": scan_host_key("127.0.0.1", bare_host.port).fingerprint,
    }
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"node1": variables}}}))

    def run_playbook(*flags: str) -> str:
        command = ["ansible-playbook", "-i", str(inventory), "playbooks/bootstrap-access.yml", *flags]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=180
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "changed=1 " in run_playbook("--check")
    assert not bare_host.known_hosts.exists()
    assert "changed=2 " in run_playbook()
    assert bare_host.known_hosts.read_text() == pinned
    assert "changed=0 " in run_playbook()
    assert "changed=0 " in run_playbook("--check")


def test_a_host_is_asked_the_same_with_and_without_pipelining(
    server: Server, play: Callable[..., dict[str, Any]]
) -> None:
    """With it the engine alone is sent; without it, or with a Python still to be found, it comes in a module."""
    answers = []
    for pipelining, python, by_module in (
        (True, "/usr/bin/python3", False),
        (False, "/usr/bin/python3", True),
        (True, "auto_silent", True),
    ):
        variables: dict[str, Any] = {"ansible_pipelining": pipelining, "ansible_python_interpreter": python}
        variables["ansible_interpreter_python_fallback"] = ["/usr/bin/python3"]
        done = play(server, "kubeadm_info", {"address": "127.0.0.1"}, "-vvv", **variables)
        assert not done.get("failed"), done["text"]
        assert ("Using module file" in done["text"].partition("TASK [Dump]")[0]) == by_module
        answers.append({key: done[key] for key in ("membership", "traces", "address_is_local", "changed")})
        looked = play(server, "host_preflight", {"fail_on_problems": False}, **variables)
        assert looked["facts"]["architecture"], looked["text"]
    assert answers[0]["address_is_local"] is True
    assert answers[1:] == answers[:1] * 2
