# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client's key on its way into the TLS settings."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.credentials import Login, tls_context
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeconfigError

from tests.integration.kube.api_server import issue

AUTHORITY, CLIENT = issue("kubernetes"), issue("kubernetes-admin")


def login(key: str) -> Login:
    certificate, authority = CLIENT.pem.decode(), AUTHORITY.pem.decode()
    return Login("https://127.0.0.1:6443", "context 'x' of y", authority, certificate, key)


def test_a_key_gets_into_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file is made")

    for name in ("NamedTemporaryFile", "TemporaryFile", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    assert len(tls_context(login(CLIENT.key_pem.decode())).get_ca_certs()) == 1
    with pytest.raises(KubeconfigError, match=r"^context 'x' of y: its certificates or key cannot be used: "):
        tls_context(login(AUTHORITY.key_pem.decode()))


def test_where_there_are_no_files_in_memory_one_is_made_and_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert len(tls_context(login(CLIENT.key_pem.decode())).get_ca_certs()) == 1
    assert list(tmp_path.iterdir()) == []
