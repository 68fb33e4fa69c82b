# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real SSH servers on loopback, as children of the test: a plain one, and a throw-away host of its own.

The throw-away host is an overlay over this machine's root in a private mount namespace: users, sshd's configuration and
a small disk are its own, and all of it is gone when its sshd ends.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.connection import SshTarget

from tests.programs import lacking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SSHD = "/usr/sbin/sshd"
PASSWORD = "first-login"
# A host does not have the PATH of the developer's shell.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass(frozen=True)
class Server:
    """A running sshd: where it listens, the key that opens it, and the known_hosts file that pins it."""

    port: int
    key_file: Path
    known_hosts: Path
    directory: Path
    process: subprocess.Popen[bytes]
    root: str = ""

    def target(self, **more: object) -> SshTarget:
        values: dict[str, object] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "root" if os.geteuid() == 0 else Path.home().name,
            "key_file": str(self.key_file),
            "known_hosts": (str(self.known_hosts),),
        }
        return SshTarget(**{**values, **more})  # type: ignore[arg-type]

    def public_key(self, name: str = "host_key") -> str:
        return " ".join((self.directory / f"{name}.pub").read_text().split()[:2])


@pytest.fixture(scope="session")
def sshd_program() -> str:
    if not Path(SSHD).exists():
        lacking(f"{SSHD} is missing: install the package openssh-server")
    return SSHD


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for_ssh(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as probe:
                if probe.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.02)
    text = log.read_text() if log.exists() else ""
    pytest.fail(f"sshd on port {port} did not come up: {text}")


def make_key(path: Path, kind: str = "ed25519") -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", str(path)], check=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server and all sessions of its own process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
        return


def start(directory: Path, lines: list[str], prefix: list[str] | None = None, key: str = "host_key") -> Server:
    """Start an sshd of its own in a directory that holds its keys; ``prefix`` is a command to run it under."""
    port = free_port()
    for name in (key, "user_key"):
        if not (directory / name).exists():
            make_key(directory / name)
    authorized = directory / "authorized_keys"
    authorized.write_text((directory / "user_key.pub").read_text())
    authorized.chmod(0o600)
    known_hosts = directory / "known_hosts"
    public = " ".join((directory / f"{key}.pub").read_text().split()[:2])
    known_hosts.write_text(f"[127.0.0.1]:{port} {public}\n")
    config = directory / "sshd_config"
    config.write_text(
        "\n".join(
            [
                f"Port {port}",
                "ListenAddress 127.0.0.1",
                f"HostKey {directory / key}",
                f"PidFile {directory / 'sshd.pid'}",
                "StrictModes no",
                "UsePAM no",
                *lines,
                "",
            ]
        )
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    log = directory / "sshd.log"
    command = [*(prefix or []), SSHD, "-D", "-f", str(config), "-E", str(log)]
    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, env=ENVIRONMENT)
    wait_for_ssh(port, process, log)
    return Server(port, directory / "user_key", known_hosts, directory, process)


@pytest.fixture
def server(sshd_program: str, tmp_path: Path) -> Iterator[Server]:
    """Run an sshd that lets us in by key, with the OpenSSH SFTP server."""
    directory = tmp_path / "sshd"
    directory.mkdir()
    made = start(
        directory,
        [
            f"AuthorizedKeysFile {directory / 'authorized_keys'}",
            "PasswordAuthentication no",
            "PermitRootLogin prohibit-password",
            "Subsystem sftp internal-sftp",
        ],
    )
    yield made
    end(made.process)


_HOST = r"""
set -e
mount -t tmpfs -o size=256m tmpfs DIR/host
cd DIR/host
mkdir up work root
mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root
mount -t proc proc root/proc
mount --bind /dev root/dev
mkdir -p root/small root/written root/run/sshd
mount --bind up root/written
mount -t tmpfs -o size=8m tmpfs root/small
rm -rf root/root/.ssh root/root/.bashrc root/root/.bash_profile root/root/.profile root/etc/ssh/sshd_config.d/*
install -d -m 700 root/root/.ssh
cp DIR/sshd_config root/etc/ssh/sshd_config
cp DIR/host_key DIR/host_key.pub root/etc/ssh/
chroot root sh -c 'echo root:PASSWORD | chpasswd'
exec chroot root /usr/sbin/sshd -D -E /var/log/sshd-test.log
"""


@pytest.fixture
def bare_host(sshd_program: str, tmp_path: Path) -> Iterator[Server]:
    """Run a throw-away host on which root logs in by password, as a provider hands it over."""
    if os.geteuid() != 0:
        pytest.skip("a throw-away host needs root")
    directory = tmp_path / "bare"
    (directory / "host").mkdir(parents=True)
    port = free_port()
    for name in ("host_key", "user_key"):
        make_key(directory / name)
    public = " ".join((directory / "host_key.pub").read_text().split()[:2])
    known_hosts = directory / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {public}\n")
    (directory / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey /etc/ssh/host_key\nPidFile /run/sshd.pid\nUsePAM no\n"
        "Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin yes\nPasswordAuthentication yes\n"
        "Subsystem sftp internal-sftp\n"
    )
    script = _HOST.replace("DIR", shlex.quote(str(directory))).replace("PASSWORD", PASSWORD)
    process = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    wait_for_ssh(port, process, directory / "none")
    yield Server(port, directory / "user_key", known_hosts, directory, process)
    end(process)


class Cutter:
    """A TCP relay to a port that breaks every connection once a number of bytes has gone to the server."""

    def __init__(self, port: int, after: int) -> None:
        self.target = port
        self.left = after
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self._up, args=(near, far), daemon=True).start()
            threading.Thread(target=self._down, args=(near, far), daemon=True).start()

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        try:
            while data := near.recv(65536):
                far.sendall(data)
                self.left -= len(data)
                if self.left <= 0:
                    break
        except OSError:
            pass
        for side in (near, far):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _down(self, near: socket.socket, far: socket.socket) -> None:
        try:
            while data := far.recv(65536):
                near.sendall(data)
        except OSError:
            return

    def close(self) -> None:
        self.listener.close()


@pytest.fixture
def cutter_type() -> type[Cutter]:
    return Cutter


@pytest.fixture
def new_key(tmp_path: Path) -> str:
    """Type and text of a public key that no server has."""
    make_key(tmp_path / "other_key")
    return " ".join((tmp_path / "other_key.pub").read_text().split()[:2])


@pytest.fixture
def start_server(sshd_program: str, tmp_path: Path) -> Iterator[Callable[[list[str]], Server]]:
    """Start servers with lines of configuration of the test's own."""
    started: list[Server] = []

    def make(lines: list[str]) -> Server:
        directory = tmp_path / f"sshd{len(started)}"
        directory.mkdir()
        keys = f"AuthorizedKeysFile {directory / 'authorized_keys'}"
        started.append(start(directory, [keys, "PermitRootLogin prohibit-password", *lines]))
        return started[-1]

    yield make
    for server in started:
        end(server.process)
