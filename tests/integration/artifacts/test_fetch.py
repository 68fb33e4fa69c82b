# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetching over HTTP: in parallel, over cut connections, never keeping a wrong byte, and telling of all that failed."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.cache import sha256_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import Entry, load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import (
    DigestMismatch,
    FetchFailed,
    SourceError,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.fetch import fetch, plan_fetch
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import Lock
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Source
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.transport import Policy, Transport

from .servers import Fault, Mirror

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.progress import Event

NAMES = ("kubelet", "kubeadm", "runc", "containerd", "crictl", "helm")


def _data(name: str, size: int = 300_000) -> bytes:
    return random.Random(name).randbytes(size)


def _entry(name: str) -> Entry:
    return load_catalogue().resolve(name, None, "amd64")


def _filled(mirror: Mirror, *names: str, origin: str = "built") -> list[Entry]:
    entries = [_entry(name) for name in names]
    for entry in entries:
        mirror.put(entry.path, _data(entry.name))
    mirror.lock(origin)
    return entries


def _cached(cache: Path) -> list[Path]:
    return [path for path in (cache / "sha256").rglob("*") if path.is_file()] if cache.exists() else []


def test_everything_arrives_and_nothing_is_asked_twice(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    entries = _filled(mirror, *NAMES)
    source = Source.mirror(mirror.url, trust_built=True)
    first = fetch(entries, source, tmp_path, Lock(), jobs=4, transport=transport)
    assert {key: fetched.path.read_bytes() for key, fetched in first.items()} == {e.key: _data(e.name) for e in entries}
    assert not any(fetched.cached for fetched in first.values())
    asked = len(mirror.log)
    again = fetch(entries, source, tmp_path, Lock(), jobs=4, transport=transport)
    assert all(fetched.cached for fetched in again.values())
    assert len(mirror.log) == asked
    assert list((tmp_path / "partial").iterdir()) == []


def test_downloads_run_in_parallel(mirror: Mirror, tmp_path: Path) -> None:
    entries = _filled(mirror, "kubelet", "runc", "helm")
    waiting: set[str] = set()
    all_there = threading.Event()
    serve = mirror.answer

    def answer(handler: Any) -> None:
        if not handler.path.endswith(".json"):
            waiting.add(handler.path)
            if len(waiting) == 3:
                all_there.set()
            if not all_there.wait(5):
                handler.send(404)
                return
        serve(handler)

    mirror.answer = answer  # type: ignore[method-assign]
    patient = Transport(Policy(read_timeout=20))
    fetch(entries, Source.mirror(mirror.url, trust_built=True), tmp_path, Lock(), jobs=3, transport=patient)


def test_a_server_that_cuts_every_connection_is_resumed(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    (entry,) = _filled(mirror, "kubelet")
    mirror.faults[entry.path] = Fault(cut=40_000)
    events: list[Event] = []
    source = Source.mirror(mirror.url, trust_built=True)
    fetched = fetch([entry], source, tmp_path, Lock(), transport=transport, progress=events.append)
    assert fetched[entry.key].path.read_bytes() == _data("kubelet")
    assert mirror.asked("/" + entry.path) == 8
    assert mirror.sent[entry.path] == 300_000, "no byte was sent twice"
    assert {event.what for event in events} == {"start", "bytes", "retry", "done"}


def test_an_interrupted_download_goes_on_in_the_next_run(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    (entry,) = _filled(mirror, "kubelet")
    mirror.faults[entry.path] = Fault(cut=100_000)
    source = Source.mirror(mirror.url, trust_built=True)
    hasty = Transport(Policy(most=1))
    with pytest.raises(FetchFailed, match="run again to continue"):
        fetch([entry], source, tmp_path, Lock(), transport=hasty)
    assert _cached(tmp_path) == []
    mirror.faults.clear()
    fetch([entry], source, tmp_path, Lock(), transport=transport)
    assert mirror.sent[entry.path] == 300_000


def test_a_server_that_sends_less_than_asked_for_is_asked_for_more(
    mirror: Mirror, transport: Transport, tmp_path: Path
) -> None:
    (entry,) = _filled(mirror, "kubelet")
    mirror.faults[entry.path] = Fault(cut=100_000, portion=60_000)
    source = Source.mirror(mirror.url, trust_built=True)
    assert fetch([entry], source, tmp_path, Lock(), transport=transport)[entry.key].path.read_bytes() == _data(
        "kubelet"
    )
    assert mirror.sent[entry.path] == 300_000


def test_a_server_without_ranges_starts_over(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    (entry,) = _filled(mirror, "kubelet")
    source = Source.mirror(mirror.url, trust_built=True)
    mirror.faults[entry.path] = Fault(cut=100_000, ranges=False)
    with pytest.raises(FetchFailed, match="gave up after"):
        fetch([entry], source, tmp_path, Lock(), transport=transport)
    mirror.faults[entry.path] = Fault(ranges=False)
    assert fetch([entry], source, tmp_path, Lock(), transport=transport)[entry.key].path.read_bytes() == _data(
        "kubelet"
    )


@pytest.mark.parametrize("left", [b"from an older file", _data("kubelet") + b"too long", _data("kubelet")[:-1] + b"X"])
def test_a_stale_partial_file_is_noticed(mirror: Mirror, transport: Transport, tmp_path: Path, left: bytes) -> None:
    (entry,) = _filled(mirror, "kubelet")
    source = Source.mirror(mirror.url, trust_built=True)
    mirror.faults[entry.path] = Fault(statuses=[403])
    with pytest.raises(FetchFailed, match="HTTP 403"):
        fetch([entry], source, tmp_path, Lock(), transport=transport)
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.cache import Cache

    sha256 = hashlib.sha256(_data("kubelet")).hexdigest()
    Cache(tmp_path).partial(source.url(entry.path, entry.url), sha256).write_bytes(left)
    assert fetch([entry], source, tmp_path, Lock(), transport=transport)[entry.key].path.read_bytes() == _data(
        "kubelet"
    )


def test_a_range_that_was_not_asked_for_is_not_trusted(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    (entry,) = _filled(mirror, "kubelet")
    mirror.faults[entry.path] = Fault(cut=200_000, lie=True)
    source = Source.mirror(mirror.url, trust_built=True)
    with pytest.raises(FetchFailed, match=r"gave up after|starting over"):
        fetch([entry], source, tmp_path, Lock(), transport=transport)
    assert _cached(tmp_path) == []


def test_passing_faults_are_ridden_out(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    (entry,) = _filled(mirror, "kubelet")
    mirror.faults[entry.path] = Fault(statuses=[503, 429])
    fetch([entry], Source.mirror(mirror.url, trust_built=True), tmp_path, Lock(), transport=transport)


def test_a_silent_server_is_left_and_resumed(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    (entry,) = _filled(mirror, "kubelet")
    mirror.faults[entry.path] = Fault(stall=1.5)
    begun = time.monotonic()
    fetched = fetch([entry], Source.mirror(mirror.url, trust_built=True), tmp_path, Lock(), transport=transport)
    assert fetched[entry.key].path.read_bytes() == _data("kubelet")
    assert mirror.log[-1][1]["Range"] == "bytes=131072-", "at most one piece of 64 KiB is asked for twice"
    assert time.monotonic() - begun < 20, "the policy's read_timeout of half a second counts, not the network's own"


def test_wrong_bytes_never_enter_the_cache(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    (entry,) = _filled(mirror, "kubelet")
    wanted = hashlib.sha256(_data("kubelet")).hexdigest()
    found = mirror.put(entry.path, _data("kubelet")[:-1] + b"X")
    with pytest.raises(FetchFailed) as caught:
        fetch([entry], Source.mirror(mirror.url, trust_built=True), tmp_path, Lock(), transport=transport)
    assert isinstance(caught.value.errors[0], DigestMismatch)
    assert wanted in str(caught.value)
    assert found in str(caught.value)
    assert mirror.url in str(caught.value)
    assert _cached(tmp_path) == []
    assert [path for path in (tmp_path / "partial").iterdir() if path.suffix == ".part"] == []
    assert mirror.asked("/" + entry.path) == 1, "asking again would bring the same"


def test_all_failures_are_told_together_and_the_rest_arrives(
    mirror: Mirror, transport: Transport, tmp_path: Path
) -> None:
    entries = _filled(mirror, *NAMES)
    by_name = {entry.name: entry for entry in entries}
    del mirror.files[by_name["runc"].path]
    mirror.put(by_name["helm"].path, b"something else")
    mirror.faults[by_name["crictl"].path] = Fault(statuses=[500] * 50)
    events: list[Event] = []
    with pytest.raises(FetchFailed) as caught:
        fetch(
            entries,
            Source.mirror(mirror.url, trust_built=True),
            tmp_path,
            Lock(),
            transport=transport,
            progress=events.append,
        )
    text = str(caught.value)
    assert text.startswith("3 of 6 artefacts could not be fetched:")
    assert "HTTP 404" in text
    assert "HTTP 500" in text
    assert "helm 3.18.4 (amd64)" in text
    assert len(_cached(tmp_path)) == 3
    assert sorted(event.key.split("/")[0] for event in events if event.what == "failed") == ["crictl", "helm", "runc"]


def test_nobody_there_is_said_plainly(transport: Transport, tmp_path: Path) -> None:
    with Mirror() as gone:
        address = gone.address
    with pytest.raises(FetchFailed, match=address):
        fetch([_entry("kubelet")], _quietly(address), tmp_path, Lock(), transport=transport)


def _quietly(address: str) -> Source:
    source = Source.mirror(f"http://{address}")
    source.lock = lambda transport: None  # type: ignore[method-assign]
    return source


def test_a_mirror_that_cannot_be_asked_for_its_lock_is_no_mirror_without_one(
    transport: Transport, tmp_path: Path
) -> None:
    with Mirror() as gone:
        url = gone.url
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import DownloadFailed

    with pytest.raises(DownloadFailed, match=r"stagecraft-mirror\.lock\.json"):
        fetch([_entry("kubelet")], Source.mirror(url), tmp_path, Lock(), transport=transport)


def test_a_built_mirror_is_refused_once_for_all(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    entries = _filled(mirror, *NAMES)
    with pytest.raises(SourceError, match="artifacts_trust_built_mirror: true"):
        fetch(entries, Source.mirror(mirror.url), tmp_path, Lock(), transport=transport)
    assert len(mirror.log) == 1


def test_a_downloaded_mirror_with_other_files_is_refused(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    entries = _filled(mirror, "kubelet", "runc", origin="downloaded")
    with pytest.raises(FetchFailed) as caught:
        fetch(entries, Source.mirror(mirror.url, trust_built=True), tmp_path, Lock(), transport=transport)
    for entry in entries:
        assert str(entry.sha256) in str(caught.value)
        assert hashlib.sha256(_data(entry.name)).hexdigest() in str(caught.value)
    assert mirror.asked("/" + entries[0].path) == 0


def test_an_image_archive_that_is_none_is_refused_even_when_its_digest_fits(
    mirror: Mirror, transport: Transport, tmp_path: Path
) -> None:
    (entry,) = _filled(mirror, "pause")
    with pytest.raises(FetchFailed, match="it is not an OCI archive"):
        fetch([entry], Source.mirror(mirror.url, trust_built=True), tmp_path, Lock(), transport=transport)


def test_upstreams_checksum_file_is_asked_once_and_locked(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    k3s = _entry("k3s")
    base = f"{mirror.url}/k3s-io"
    entry = dataclasses.replace(k3s, url=f"{base}/k3s", checksum_url=f"{base}/sha256sum-amd64.txt")
    other = "f" * 64
    sha256 = mirror.put("k3s-io/k3s", _data("k3s"))
    mirror.put("k3s-io/sha256sum-amd64.txt", f"{other}  k3s-armhf\n{sha256}  k3s\n".encode())
    file = tmp_path / "env" / "artifacts.lock.json"
    for _run in range(2):
        fetched = fetch([entry], Source.upstream(), tmp_path / "cache", Lock.load(file), transport=transport)
        assert fetched[entry.key].sha256 == sha256
    assert mirror.asked("/k3s-io/sha256sum-amd64.txt") == 1
    assert "sha256sum-amd64.txt" in Lock.load(file).files[entry.path].checked


def test_an_upstream_that_changes_a_locked_file_is_refused(
    mirror: Mirror, transport: Transport, tmp_path: Path
) -> None:
    test_upstreams_checksum_file_is_asked_once_and_locked(mirror, transport, tmp_path)
    base = f"{mirror.url}/k3s-io"
    entry = dataclasses.replace(_entry("k3s"), url=f"{base}/k3s", checksum_url=f"{base}/sha256sum-amd64.txt")
    changed = mirror.put("k3s-io/k3s", b"changed under the same version")
    mirror.put("k3s-io/sha256sum-amd64.txt", f"{changed}  k3s\n".encode())
    lock = Lock.load(tmp_path / "env" / "artifacts.lock.json")
    with pytest.raises(FetchFailed, match=changed):
        fetch([entry], Source.upstream(), tmp_path / "other-cache", lock, transport=transport)


def test_a_damaged_cache_is_repaired(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    (entry,) = _filled(mirror, "kubelet")
    source = Source.mirror(mirror.url, trust_built=True)
    path = fetch([entry], source, tmp_path, Lock(), transport=transport)[entry.key].path
    path.write_bytes(b"damaged")
    fetched = fetch([entry], source, tmp_path, Lock(), transport=transport)[entry.key]
    assert not fetched.cached
    assert fetched.path.read_bytes() == _data("kubelet")


def test_several_processes_share_one_cache(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    entries = _filled(mirror, *NAMES)
    source = Source.mirror(mirror.url, trust_built=True)
    children = []
    for _number in range(3):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                fetched = fetch(entries, source, tmp_path, Lock(), transport=transport)
                status = 0 if all(sha256_of(f.path) == f.sha256 for f in fetched.values()) else 2
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert all(mirror.sent[entry.path] == 300_000 for entry in entries), "each file was downloaded once in all"


def test_a_plan_downloads_nothing(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    entries = _filled(mirror, "kubelet", "runc")
    source = Source.mirror(mirror.url, trust_built=True)
    planned = plan_fetch(entries, source, tmp_path, Lock(), transport)
    assert [(p.cached, p.size, p.origin) for p in planned] == [
        (False, 300_000, f"{mirror.url}/{entry.path}") for entry in entries
    ]
    assert not tmp_path.joinpath("sha256").exists()
    assert len(mirror.log) == 1
    fetch(entries, source, tmp_path, Lock(), transport=transport)
    assert all(p.cached for p in plan_fetch(entries, source, tmp_path, Lock(), transport))


def test_a_compressing_server_does_not_change_the_bytes(mirror: Mirror, transport: Transport, tmp_path: Path) -> None:
    (entry,) = _filled(mirror, "crictl")
    source = Source.mirror(mirror.url, trust_built=True)
    fetch([entry], source, tmp_path, Lock(), transport=transport)
    assert mirror.log[-1][1]["Accept-Encoding"] == "identity"
