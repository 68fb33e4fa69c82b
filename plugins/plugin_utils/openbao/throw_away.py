# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that lives for one restore: on loopback, with a certificate that was made for it, in a directory that goes with it.

It dies with the process that started it. What is secret of its configuration it reads from memory, not from a disk.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Server
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as error:
    x509 = hashes = serialization = ec = missing("cryptography", error)

_START = 30.0
_PR_SET_PDEATHSIG = 1
_MEMORY = "/dev/shm"  # noqa: S108 - a directory with a name of its own is made in it
_LIBC = ctypes.CDLL(None)


class ThrowAwayServer:
    """A context: the server runs inside of it. `seal` is (type, settings) as the other server has it; None for keys."""

    def __init__(self, program: str, seal: tuple[str, Mapping[str, Any]] | None, timeout: float) -> None:
        self._program, self._seal, self._timeout = program, seal, timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = Path()
        self.server: Server

    def __enter__(self) -> Server:
        memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
        self._directory = Path(tempfile.mkdtemp(prefix="stagecraft-openbao-drill-", dir=memory))
        try:
            self._start()
        except BaseException:
            self._remove()
            raise
        return self.server

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _start(self) -> None:
        port, cluster = _free_ports()
        certificate(self._directory)
        url = f"https://127.0.0.1:{port}"
        (self._directory / "data").mkdir()
        config = {
            "api_addr": url,
            "cluster_addr": f"https://127.0.0.1:{cluster}",
            "disable_mlock": True,
            "storage": {"raft": {"path": f"{self._directory}/data", "node_id": "drill", "performance_multiplier": 1}},
            "listener": {
                "tcp": {
                    "address": f"127.0.0.1:{port}",
                    "cluster_address": f"127.0.0.1:{cluster}",
                    "tls_cert_file": f"{self._directory}/tls.crt",
                    "tls_key_file": f"{self._directory}/tls.key",
                }
            },
            **({"seal": {self._seal[0]: dict(self._seal[1])}} if self._seal else {}),
        }
        self.server = Server(url, f"{self._directory}/tls.crt", self._timeout)
        descriptor = os.memfd_create("openbao.json")
        try:
            os.write(descriptor, json.dumps(config).encode())
            os.lseek(descriptor, 0, os.SEEK_SET)
            with (self._directory / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [self._program, "server", f"-config=/proc/self/fd/{descriptor}"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[descriptor],
                    env={"PATH": os.environ.get("PATH", ""), "HOME": str(self._directory)},
                    preexec_fn=_die_with_parent,  # noqa: PLW1509 - one call of libc, no lock is taken
                )
        except OSError as error:
            raise OpenBaoError(f"{self._program}: wanted to start it for the drill: {error.strerror}") from None
        finally:
            os.close(descriptor)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + _START
        while True:
            try:
                self.server.status()
            except OpenBaoError:
                ended = self._process is None or self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    said = (self._directory / "log").read_text(errors="replace")[-800:]
                    raise OpenBaoError(f"{self._program}: the server of the drill does not start:\n{said}") from None
                time.sleep(0.05)
            else:
                return

    def _remove(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self._directory, ignore_errors=True)


def certificate(directory: Path) -> None:
    """Write ``tls.crt`` and ``tls.key`` for 127.0.0.1, valid for a day, into a directory that only its owner can read."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stagecraft drill")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "tls.key").write_bytes(pem)
    (directory / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
