# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a name serves is judged as a client would, and every way not to be accepted has its words."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.node import tls

from tests.integration.kube.api_server import issue


@pytest.fixture
def served(tmp_path: Path) -> Iterator[int]:
    """Serve a certificate for localhost that ends tomorrow; gives the port."""
    authority = issue("authority")
    shown = issue("localhost", authority, ("localhost",))
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    (tmp_path / "served.pem").write_bytes(shown.pem + shown.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "served.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            with line, contextlib.suppress(OSError), context.wrap_socket(line, server_side=True) as safe:
                safe.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def look(port: int, ca_file: Path | None, name: str = "localhost", days: int = 0) -> dict[str, object]:
    return tls.look(f"{name}:{port}", str(ca_file) if ca_file else None, days, 5.0, time.time())


def test_a_certificate_is_judged_as_a_client_does(served: int, tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    good = look(served, authority)
    assert good["problem"] == ""
    assert 0 < float(str(good["not_after"])) - time.time() <= tls.DAY
    assert str(look(served, authority, days=2)["problem"]).startswith("its certificate ends on 20")
    assert look(served, None) == {
        "name": f"localhost:{served}",
        "not_after": 0,
        "problem": "its certificate is not accepted: unable to get local issuer certificate",
    }
    other = look(served, authority, "127.0.0.1")["problem"]
    assert "IP address mismatch, certificate is not valid for '127.0.0.1'" in str(other)


def test_who_does_not_speak_tls_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = tls.look(f"127.0.0.1:{silent.getsockname()[1]}", None, 0, 0.2, 0.0)
        assert "it does not answer by TLS" in found["problem"]
        assert "timed out" in found["problem"]
    assert "Connection refused" in tls.look("127.0.0.1:1", None, 0, 5.0, 0.0)["problem"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("shop.example.com", ("shop.example.com", 443)),
        ("shop.example.com:8443", ("shop.example.com", 8443)),
        ("[2001:db8::1]:8443", ("2001:db8::1", 8443)),
    ],
)
def test_names_are_read(name: str, found: tuple[str, int]) -> None:
    assert tls.split(name) == found


@pytest.mark.parametrize("name", ["", "https://shop.example.com", "shop:0", "shop:70000", "2001:db8::1"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(tls.TlsError, match="wanted HOST or HOST:PORT"):
        tls.split(name)


def test_authorities_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    options = {"names": ["localhost:1"], "ca_file": str(tmp_path / "none"), "days": 1, "timeout": 1.0}
    with pytest.raises(tls.TlsError, match="none cannot be read"):
        tls.info_result(options)
