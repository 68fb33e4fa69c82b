# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in to a real sshd: whom we trust, what is said when we do not, jump hosts and channels."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh import preflight
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.connection import (
    connect,
    open_channel,
    run,
    run_script,
    target_from_vars,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import (
    AuthenticationError,
    ChangedHostKeyError,
    RemoteCommandError,
    TargetError,
    UnknownHostKeyError,
    UnreachableError,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.host_keys import scan_host_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Server


def test_a_command_gives_status_and_both_outputs(server: Server) -> None:
    with connect(server.target()) as client:
        result = run(client, "cat; echo problem >&2; exit 3", stdin="text in", check_status=False)
        assert (result.status, result.stdout, result.stderr) == (3, "text in", "problem\n")
        with pytest.raises(RemoteCommandError, match=r"ended with status 3 .*problem"):
            run(client, "echo problem >&2; exit 3")


def test_much_input_and_output_at_once_does_not_block(server: Server) -> None:
    text = "0123456789abcdef" * 400_000
    with connect(server.target()) as client:
        assert run(client, "tee /dev/stderr", stdin=text).stdout == text


def test_a_changed_host_key_is_refused_before_any_password_is_sent(server: Server, new_key: str) -> None:
    server.known_hosts.write_text(f"# mine\n[127.0.0.1]:{server.port} {new_key}\n")
    shown = scan_host_key("127.0.0.1", server.port).fingerprint
    with pytest.raises(ChangedHostKeyError) as caught:
        connect(server.target(password="secret"))
    message = str(caught.value)
    assert shown in message
    assert message.count("SHA256:") == 3
    assert f"{server.known_hosts}:2" in message
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in message
    with pytest.raises(ChangedHostKeyError):
        connect(server.target(policy="accept-new"))
    log = (server.directory / "sshd.log").read_text()
    assert "Accepted" not in log
    assert "Failed password" not in log


def test_an_unknown_host_is_refused_or_pinned_as_the_policy_says(server: Server, tmp_path: Path) -> None:
    files = (str(tmp_path / "new" / "known_hosts"),)
    with pytest.raises(UnknownHostKeyError, match="no known_hosts file has a key"):
        connect(server.target(known_hosts=files))
    assert not Path(files[0]).exists()
    connect(server.target(known_hosts=files, policy="accept-new")).close()
    assert Path(files[0]).read_text() == server.known_hosts.read_text()
    connect(server.target(known_hosts=files)).close()
    connect(server.target(known_hosts=("/dev/null",), policy="off")).close()


def test_refused_logins_name_what_was_offered(server: Server, tmp_path: Path) -> None:
    with pytest.raises(AuthenticationError, match=r"refused the login. Offered: a password. The host takes: publickey"):
        connect(server.target(key_file=None, password="wrong"))
    with pytest.raises(TargetError, match="does not exist on the controller"):
        connect(server.target(key_file=str(tmp_path / "none")))
    with pytest.raises(UnreachableError, match="no SSH server answers"):
        connect(server.target(port=1))


def test_what_answers_without_speaking_ssh_is_named(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n" * 99)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(UnreachableError, match="no SSH session came about"):
            connect(server.target(port=port, timeout=3.0))
        thread.join(5)


def test_variables_of_an_ansible_host_lead_there(server: Server) -> None:
    target = target_from_vars(
        {
            "inventory_hostname": "node1",
            "ansible_host": "127.0.0.1",
            "ansible_port": server.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(server.key_file),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile='{server.known_hosts}' -oGlobalKnownHostsFile=none",
        },
        ssh_config=None,
    )
    with connect(target) as client:
        assert run(client, "echo yes").stdout == "yes\n"


def test_a_host_behind_a_jump_host_is_checked_by_its_own_key(server: Server, new_key: str) -> None:
    common = f"-o UserKnownHostsFile='{server.known_hosts}' -o ProxyJump=root@127.0.0.1:{server.port}"
    variables = {
        "inventory_hostname": "inner",
        "ansible_host": "localhost",
        "ansible_port": server.port,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(server.key_file),
        "ansible_ssh_common_args": common,
    }
    target = target_from_vars(variables, ssh_config=None)
    with pytest.raises(UnknownHostKeyError, match=r"\[localhost\]"):
        connect(target)
    text = server.known_hosts.read_text()
    server.known_hosts.write_text(text + text.replace("127.0.0.1", "localhost"))
    with connect(target) as client:
        # Seen from the host, the connection comes from the jump host's sshd, not from us.
        assert run(client, "echo $SSH_CONNECTION").stdout.split()[3] == str(server.port)
    server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {new_key}\n")
    with pytest.raises(ChangedHostKeyError, match=r"\[127\.0\.0\.1\]"):
        connect(target)


@pytest.fixture
def echo_port() -> Iterator[int]:
    """Serve on loopback: what comes in goes back in capitals, until the other side has said all."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data.upper())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.close()


def test_a_channel_is_a_socket_to_a_port_of_the_host(server: Server, echo_port: int) -> None:
    with connect(server.target()) as client:
        channel = open_channel(client, "127.0.0.1", echo_port)
        channel.sendall(b"abc")
        assert channel.recv(10) == b"ABC"
        channel.close()
        with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1: nothing accepts connections there"):
            open_channel(client, "127.0.0.1", 1)
    with pytest.raises(UnreachableError, match="is closed"):
        open_channel(client, "127.0.0.1", echo_port)


def test_a_host_that_forbids_forwarding_is_named(sshd_program: str, tmp_path: Path, start_server: object) -> None:
    server: Server = start_server(["AllowTcpForwarding no"])  # type: ignore[operator]
    with connect(server.target()) as client, pytest.raises(UnreachableError, match="forbids forwarding"):
        open_channel(client, "127.0.0.1", 22)


def test_the_preflight_script_describes_this_machine(server: Server) -> None:
    with connect(server.target()) as client:
        answer = run_script(client, preflight.script(["overlay", "no_such_module"]))
    facts = preflight.parse(answer.stdout, 0, 0)
    assert answer.stderr == ""
    assert facts.kernel == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert facts.cpus >= 1
    assert facts.memory_mb > 100
    assert facts.disk_mb > 0
    assert facts.architecture in {"amd64", "arm64"}
    assert facts.os_id in Path("/etc/os-release").read_text()
    assert facts.sysctl["net.ipv4.ip_forward"] == Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()
    assert facts.kernel_modules["no_such_module"] in {"missing", "unknown"}
    listener = next(item for item in facts.listening if item.port == server.port)
    assert (listener.protocol, listener.address, listener.process) == ("tcp", "127.0.0.1", "sshd")


def test_the_preflight_finds_leftovers_and_changes_nothing(bare_host: Server) -> None:
    with connect(bare_host.target(key_file=None, password="first-login")) as client:
        run(client, "mkdir -p /etc/kubernetes/manifests /var/lib/etcd/member; >/etc/kubernetes/admin.conf")
        # What was written since the host came up, seen from below its overlay.
        written = "find /written -not -path '*/var/log/*' -printf '%p %s %C@\\n' | sort"
        before = run(client, written).stdout.splitlines()
        assert any("/written/etc/kubernetes/admin.conf" in line for line in before)
        facts = preflight.parse(run_script(client, preflight.script()).stdout, 0, 0)
        assert set(run(client, written).stdout.splitlines()) ^ set(before) == set()
        assert {"kubernetes", "etcd"} <= set(facts.leftovers)
        assert facts.marker is None
        run(client, 'mkdir -p /var/lib/stagecraft; echo \'{"environment": "x"}\' >/var/lib/stagecraft/cluster.json')
        facts = preflight.parse(run_script(client, preflight.script()).stdout, 0, 0)
        assert facts.marker == {"environment": "x"}
