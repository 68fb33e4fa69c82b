# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real server that gets another seal: refused until it was moved there by hand, in both directions."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import initialize, seal
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Reply
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError

from tests.integration.cluster.lab import until
from tests.integration.openbao.bao import Bao
from tests.integration.openbao.site import Sealing, kept_of


def restart(bao: Bao, text: str) -> None:
    """Start the server with `text` behind the configuration that it began with."""
    bao.kill()
    configuration = bao.directory / "bao.hcl"
    original = configuration.with_suffix(".first")
    if not original.exists():
        original.write_text(configuration.read_text())
    configuration.write_text(original.read_text() + text)
    bao.start()


def says_seal(bao: Bao, wanted: str) -> None:
    """Wait until the server tells the seal of its configuration: it answers a moment before it has read its own data."""
    until(f"the server says {wanted}", 30, lambda: bao.server().status().seal == wanted, pause=0.1)


def is_refused(bao: Bao, text: str) -> str:
    """Start the server with a configuration that it refuses; it may answer before it ends. Returns its log."""
    with contextlib.suppress(AssertionError):
        restart(bao, text)
        until("the server ends", 30, lambda: not bao.lives(), pause=0.1)
    bao.kill()
    return (bao.directory / "log").read_text()


def send_keys(bao: Bao, **more: bool) -> Reply:
    *_, last = [bao.server().send("PUT", "sys/unseal", {"key": key, **more}) for key in kept_of(bao).keys[:2]]
    return last


def migrate(bao: Bao) -> None:
    """Give the keys to a server that is to take them for another seal; one that has no leader yet refuses them."""

    def taken() -> bool:
        if send_keys(bao, migrate=True).status == 200:
            return True
        bao.server().reset_unseal()
        return False

    until("the keys are taken", 30, taken)


def is_moved(bao: Bao, wanted: str) -> bool:
    try:
        seal.check_moved(kept_of(bao), bao.server().status(), wanted, Path("keys.age"))
    except OpenBaoError:
        return False
    return True


def test_a_server_is_moved_to_another_seal_by_hand_only(bao: Bao, sealing: Sealing) -> None:
    assert not is_moved(bao, sealing.type)
    restart(bao, sealing.stanza)
    says_seal(bao, sealing.type)  # before it was moved
    assert not is_moved(bao, sealing.type)
    assert "migrate option not provided" in send_keys(bao).errors
    bao.server().reset_unseal()

    migrate(bao)
    bao.server().wait_until_active(30)
    assert is_moved(bao, sealing.type)
    restart(bao, sealing.stanza)
    bao.server().wait_until_active(30)

    assert "no disabled seal in configuration" in is_refused(bao, "")
    restart(bao, sealing.stanza.replace("{\n", '{\ndisabled = "true"\n', 1))
    assert bao.server().status().sealed
    migrate(bao)
    bao.server().wait_until_active(30)
    says_seal(bao, "shamir")
    restart(bao, "")
    initialize.unseal(bao.server(), bao.server().status(), kept_of(bao), ["unseal"], 30)
