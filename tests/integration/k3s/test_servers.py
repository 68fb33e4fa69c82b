# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three servers with etcd, the first of which was replaced: to a newer version one after the other, and back to a snapshot."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.k3s.lab import DATA, NEW, OLD, K3sLab

SERVERS = {"s1", "s2", "s3"}
#: Seconds in which etcd elects another leader when the one that has it ends; until then no server answers.
ELECTION = 20.0
READY = ("get", "--raw=/readyz", "--request-timeout=3s")


@contextmanager
def thinnest(lab: K3sLab) -> Iterator[list[float]]:
    """Ask all API servers again and again; give the longest time in seconds during which fewer than two answered."""
    longest, done = [0.0], threading.Event()

    def watch() -> None:
        since: float | None = None
        while not done.is_set():
            began = time.monotonic()
            ready = sum(lab.kubectl(*READY, via=host, check=False) == "ok" for host in SERVERS)
            since = None if ready > 1 else since or began
            longest[0] = max(longest[0], time.monotonic() - since if since else 0.0)
            time.sleep(0.5)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield longest
    finally:
        done.set()
        thread.join()


def snapshots(lab: K3sLab) -> dict[str, str]:
    """The snapshots of ours by name, each with its server."""
    directory = f"{DATA}/server/db/snapshots"
    found = {host: lab.ssh(host, f"ls {directory} 2>/dev/null; true").split() for host in SERVERS}
    return {name: host for host, names in found.items() for name in names if name.startswith("stagecraft-")}


def test_one_after_the_other_gets_the_new_version_and_the_others_answer(lab: K3sLab) -> None:
    lab.kubectl("create", "configmap", "before", "--from-literal=version=old")
    with thinnest(lab) as seconds:
        lab.at(NEW).must_work()
    assert seconds[0] < ELECTION
    assert {lab.running(host) for host in SERVERS} == {NEW}
    assert lab.voters("s2") == SERVERS
    assert len(snapshots(lab)) == 1, "the datastore is saved once for an upgrade, by one server"


def test_a_damaged_snapshot_is_told_before_anything_is_stopped(lab: K3sLab) -> None:
    ((name, host),) = snapshots(lab).items()
    file = f"{DATA}/server/db/snapshots/{name}"
    before = {one: lab.pids(one) for one in SERVERS}
    lab.ssh(host, f"cp -p {file} /tmp/whole; printf damaged | dd of={file} bs=1 seek=4096 conv=notrunc status=none")
    try:
        run = lab.at(OLD, k3s_restore_snapshot=name)
    finally:
        lab.ssh(host, f"cp -p /tmp/whole {file}")
    assert run.rc != 0
    assert "nothing was stopped or restored" in " ".join(run.output.split())
    assert {one: lab.pids(one) for one in SERVERS} == before


def test_all_go_back_to_the_snapshot_though_its_server_had_joined_by_another(lab: K3sLab) -> None:
    """K3s resets no cluster by a server whose configuration names another one to join by, as those of all do that were not there first."""
    ((name, saved),) = snapshots(lab).items()
    assert "server: https://" in lab.ssh(saved, "cat /etc/rancher/k3s/config.yaml")
    lab.kubectl("create", "configmap", "after", "--from-literal=version=new")
    lab.at(OLD, k3s_restore_snapshot=name).must_work()
    assert {lab.running(host) for host in SERVERS} == {OLD}
    for host in sorted(SERVERS):
        assert lab.voters(host) == SERVERS, host
        found = lab.kubectl("get", "configmap", "before", "after", "--ignore-not-found", "-o", "name", via=host).split()
        assert found == ["configmap/before"], host
        assert lab.ssh(host, "systemctl is-enabled k3s").strip() == "enabled"
    lab.at(OLD, k3s_restore_snapshot=name).must_not_change()
