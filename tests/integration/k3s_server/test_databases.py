# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server whose objects are in PostgreSQL or MySQL, with the configuration that role k3s writes for it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.k3s_server.databases import PASSWORD, Database, mariadb, postgresql
from tests.integration.k3s_server.host import READY, K3s, ending, until
from tests.integration.play import Play


@pytest.mark.parametrize("make", [postgresql, mariadb])
def test_objects_are_in_the_database(make: Callable[[Path], Database], k3s: K3s, foreign: Path, play: Play) -> None:
    database = make(foreign)
    k3s.configure(play, "external", k3s_datastore_endpoint=database.address())
    assert PASSWORD not in k3s.config.read_text()
    assert k3s.secrets.stat().st_mode & 0o777 == 0o600

    server = k3s.start()
    server.says("connection refused")
    assert READY not in server.output()
    with ending(database.start(foreign, k3s.network)):
        if not database.waited_for:
            assert server.process.wait(60) == 1
            until("the database answers", lambda: k3s.network.answers(database.port))
            server = k3s.start()
        server.says(READY)
        k3s.write("kept")
        processes = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
        assert "kine" in processes
        assert PASSWORD not in processes

        # what a server knows is in the database too: one that lost its disk is of the same cluster
        authority = (k3s.data / "server/tls/server-ca.crt").read_text()
        k3s.forget()
        again = k3s.ready()
        assert k3s.read("kept") == "kept"
        assert (k3s.data / "server/tls/server-ca.crt").read_text() == authority
        assert PASSWORD not in again.output()

        k3s.stop()
        k3s.secrets.write_text(k3s.secrets.read_text().replace(PASSWORD, "wrong-horse"))
        refused = k3s.start()
        refused.says(database.wrong_password)
        assert "wrong-horse" not in refused.output()
