# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a transport says when it cannot even begin."""

from __future__ import annotations

import sys

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import DownloadFailed
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.transport import Transport, redacted


def test_a_missing_library_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(DownloadFailed, match=r"requests.*pip install requests.*or use a mirror directory or a bundle"):
        Transport().get("http://127.0.0.1:1/x")


@pytest.mark.parametrize("url", ["no-such-scheme://x", "http://", "nothing"])
def test_an_address_that_cannot_be_one_is_refused_at_once(url: str) -> None:
    waits: list[float] = []
    with pytest.raises(DownloadFailed):
        Transport(sleep=waits.append).get(url)
    assert waits == []


def test_passwords_are_taken_out_of_addresses() -> None:
    assert redacted("https://me:secret@h.example:8443/a?b=c") == "https://h.example:8443/a?b=c"
    assert redacted("https://h.example/@scope") == "https://h.example/@scope"
