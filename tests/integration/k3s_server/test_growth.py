# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SQLite that becomes etcd, with the configuration that role k3s writes and as its modules see the server."""

from __future__ import annotations

from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s import snapshot
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.observe import datastore

from tests.integration.k3s.lab import NEW
from tests.integration.k3s_server.host import K3s, Managed
from tests.integration.play import Play


def test_what_sqlite_held_is_in_etcd(k3s: K3s, play: Play) -> None:
    host = Managed.of(k3s)
    k3s.configure(play, "sqlite")
    k3s.ready()
    k3s.write("kept")
    assert datastore(host) == "sqlite"
    k3s.stop()

    k3s.configure(play, "etcd")
    k3s.ready()
    assert k3s.read("kept") == "kept"
    assert datastore(host) == "etcd"
    assert snapshot.save(host, NEW, 120)
