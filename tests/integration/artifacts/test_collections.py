# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors filled from upstream and air-gap bundles made from either; a bundle is used without opening a socket."""

from __future__ import annotations

import dataclasses
import os
import random
import socket
from typing import TYPE_CHECKING

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.bundle import bundle
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.cache import sha256_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import Entry, load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import FetchFailed, SourceError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.fetch import fetch
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import BUNDLE_LOCK, MIRROR_LOCK, Lock
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.mirror import mirror as open_mirror
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.mirror import unreachable
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.collection import Collection
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.transport import Transport

    from .servers import FakeRegistry, Mirror


def _upstream(files: Mirror, registry: FakeRegistry) -> list[Entry]:
    """Some entries whose upstream is on loopback, files as well as images."""
    entries = []
    for name in ("kubelet", "runc", "helm"):
        entry = load_catalogue().resolve(name, None, "amd64")
        sha256 = files.put(f"upstream/{name}", random.Random(name).randbytes(100_000))
        entries.append(dataclasses.replace(entry, url=f"{files.url}/upstream/{name}", sha256=sha256))
    registry.add("pause", "3.10.2", {"amd64": [b"pause"]})
    pause = load_catalogue().resolve("pause", None, "amd64")
    reference = f"{registry.address}/pause:3.10.2"
    return [*entries, dataclasses.replace(pause, reference=reference)]


def _tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_mirror_is_filled_under_the_upstream_names(
    mirror: Mirror, registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    entries = _upstream(mirror, registry)
    lock = Lock(tmp_path / "lock.json")
    filled = open_mirror(tmp_path / "mirror")
    plan = filled.plan(entries, Source.upstream(), tmp_path / "cache", lock, transport)
    assert _tree(tmp_path) == set(), "a plan writes nothing"
    change = filled.fill(entries, Source.upstream(), tmp_path / "cache", lock, transport=transport)
    assert change == plan
    assert _tree(tmp_path / "mirror") == {MIRROR_LOCK, *(entry.path for entry in entries)}
    own = filled.lock()
    assert own.origin == "downloaded"
    for entry in entries:
        assert own.files[entry.path].sha256 == sha256_of(tmp_path / "mirror" / entry.path)
    assert own.files[entries[0].path].checked == "the catalogue"
    assert own.files[entries[3].path].digest


def test_filling_again_changes_nothing_and_more_is_added(
    mirror: Mirror, registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    entries = _upstream(mirror, registry)
    lock = Lock(tmp_path / "lock.json")
    filled = open_mirror(tmp_path / "mirror")
    filled.fill(entries[:2], Source.upstream(), tmp_path / "cache", lock, transport=transport)
    before = (tmp_path / "mirror" / MIRROR_LOCK).stat()
    assert not filled.fill(entries[:2], Source.upstream(), tmp_path / "cache", lock, transport=transport)
    assert (tmp_path / "mirror" / MIRROR_LOCK).stat().st_ino == before.st_ino
    change = filled.fill(entries[2:], Source.upstream(), tmp_path / "cache", lock, transport=transport)
    assert set(change.put) == {entry.path for entry in entries[2:]}
    assert set(filled.lock().files) == {entry.path for entry in entries}


def test_a_damaged_file_of_a_mirror_is_put_right(
    mirror: Mirror, registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    entries = _upstream(mirror, registry)
    lock = Lock(tmp_path / "lock.json")
    filled = open_mirror(tmp_path / "mirror")
    filled.fill(entries, Source.upstream(), tmp_path / "cache", lock, transport=transport)
    damaged = tmp_path / "mirror" / entries[0].path
    contents = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(contents[:-1] + b"X")
    change = filled.fill(entries, Source.upstream(), tmp_path / "cache", lock, transport=transport)
    assert change.put == (entries[0].path,)
    assert damaged.read_bytes() == contents


def test_a_corrupted_mirror_directory_is_noticed_in_use(
    mirror: Mirror, registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    entries = _upstream(mirror, registry)
    open_mirror(tmp_path / "mirror").fill(
        entries, Source.upstream(), tmp_path / "cache", Lock(tmp_path / "lock.json"), transport=transport
    )
    file = tmp_path / "mirror" / entries[1].path
    contents = file.read_bytes()
    file.unlink()
    file.write_bytes(b"X" + contents[1:])
    with pytest.raises(FetchFailed) as caught:
        fetch(entries, Source.mirror(tmp_path / "mirror"), tmp_path / "other", Lock(), transport=transport)
    assert len(caught.value.errors) == 1
    assert str(file) in str(caught.value)
    assert str(entries[1].sha256) in str(caught.value)


def test_a_built_mirror_is_not_filled_by_download(tmp_path: Path) -> None:
    Lock(tmp_path / MIRROR_LOCK, origin="built").write()
    with pytest.raises(SourceError, match="must not mix"):
        open_mirror(tmp_path)


def test_a_bundle_holds_exactly_what_was_asked_for_last(
    mirror: Mirror, registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    entries = _upstream(mirror, registry)
    lock = Lock(tmp_path / "lock.json")
    made = bundle(tmp_path / "bundle")
    made.fill(entries, Source.upstream(), tmp_path / "cache", lock, transport=transport)
    assert _tree(tmp_path / "bundle") == {BUNDLE_LOCK, *(entry.path for entry in entries)}
    plan = bundle(tmp_path / "bundle").plan(entries[1:], Source.upstream(), tmp_path / "cache", lock, transport)
    change = bundle(tmp_path / "bundle").fill(
        entries[1:], Source.upstream(), tmp_path / "cache", lock, transport=transport
    )
    assert change == plan
    assert change.removed == (entries[0].path,)
    assert _tree(tmp_path / "bundle") == {BUNDLE_LOCK, *(entry.path for entry in entries[1:])}
    assert not (tmp_path / "bundle" / "dl.k8s.io").exists(), "empty folders go as well"


def test_a_bundle_is_used_without_any_socket(
    mirror: Mirror,
    registry: FakeRegistry,
    transport: Transport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = _upstream(mirror, registry)
    made = bundle(tmp_path / "bundle")
    made.fill(entries, Source.upstream(), tmp_path / "cache", Lock(tmp_path / "lock.json"), transport=transport)
    _no_sockets(monkeypatch)
    with pytest.raises(AssertionError, match="a socket was opened"):
        socket.socket()
    fetched = fetch(entries, Source.bundle(tmp_path / "bundle"), tmp_path / "other", Lock(tmp_path / "env.json"))
    assert {key: sha256_of(f.path) for key, f in fetched.items()} == {key: f.sha256 for key, f in fetched.items()}
    assert len(fetched) == 4


def test_the_test_that_forbids_sockets_can_fail(
    mirror: Mirror, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = _upstream(mirror, registry)
    _no_sockets(monkeypatch)
    with pytest.raises(AssertionError, match="a socket was opened"):
        fetch(entries, Source.upstream(), tmp_path / "cache", Lock())


def test_a_bundle_of_a_built_mirror_needs_the_same_trust(
    mirror: Mirror, registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    entries = _upstream(mirror, registry)
    filled = open_mirror(tmp_path / "mirror")
    filled.fill(entries, Source.upstream(), tmp_path / "cache", Lock(tmp_path / "l.json"), transport=transport)
    own = filled.lock()
    Lock(own.path, origin="built", built_by="go1.26.8", files=own.files).write()
    built = Source.mirror(tmp_path / "mirror", trust_built=True)
    bundle(tmp_path / "bundle").fill(entries, built, tmp_path / "cache", Lock(), transport=transport)
    made = Lock.load(tmp_path / "bundle" / BUNDLE_LOCK)
    assert (made.origin, made.built_by) == ("built", "go1.26.8")
    with pytest.raises(SourceError, match="artifacts_trust_built_mirror"):
        fetch(entries, Source.bundle(tmp_path / "bundle"), tmp_path / "other", Lock())
    assert len(fetch(entries, Source.bundle(tmp_path / "bundle", trust_built=True), tmp_path / "other", Lock())) == 4


def test_an_interrupted_bundle_is_finished_by_the_next_run(
    mirror: Mirror, registry: FakeRegistry, transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = _upstream(mirror, registry)
    lock = Lock(tmp_path / "lock.json")
    writes = Lock.write

    def killed(_self: Lock) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lock, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        bundle(tmp_path / "bundle").fill(entries, Source.upstream(), tmp_path / "cache", lock, transport=transport)
    monkeypatch.setattr(Lock, "write", writes)
    with pytest.raises(SourceError, match="never finished"):
        fetch(entries, Source.bundle(tmp_path / "bundle"), tmp_path / "other", Lock())
    bundle(tmp_path / "bundle").fill(entries, Source.upstream(), tmp_path / "cache", lock, transport=transport)
    assert len(fetch(entries, Source.bundle(tmp_path / "bundle"), tmp_path / "other", Lock())) == 4


def test_foreign_directories_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters.txt").write_text("dear all")
    with pytest.raises(SourceError, match=r"letters\.txt"):
        bundle(tmp_path / "home")
    Lock(tmp_path / "mirror" / MIRROR_LOCK, origin="downloaded").write()
    with pytest.raises(SourceError, match="is a mirror"):
        bundle(tmp_path / "mirror")
    Lock(tmp_path / "bundle" / BUNDLE_LOCK, origin="downloaded").write()
    with pytest.raises(SourceError, match="is a bundle"):
        open_mirror(tmp_path / "bundle")


@pytest.mark.parametrize("opened", [bundle, open_mirror])
def test_a_directory_that_cannot_be_one_is_refused(opened: Callable[[Path | str], Collection], tmp_path: Path) -> None:
    for nothing in ("", " "):
        with pytest.raises(SourceError, match="artifacts_destination"):
            opened(nothing)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SourceError, match="is not a directory"):
        opened(tmp_path / "file")


def test_hosts_that_do_not_serve_are_named(
    mirror: Mirror, registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    entries = _upstream(mirror, registry)
    checksums = f"{mirror.url}/upstream/kubelet.sha256"
    kubelet = dataclasses.replace(entries[0], checksum_url=checksums)
    pause = dataclasses.replace(entries[3], url=f"http://{registry.address}/v2/pause/manifests/3.10.2")
    mirror.put("upstream/kubelet.sha256", b"x")
    assert unreachable([kubelet, pause], transport) == {}
    del mirror.files["upstream/kubelet.sha256"]
    registry.manifests.clear()
    problems = unreachable([kubelet, pause], transport)
    assert set(problems) == {mirror.address, registry.address}
    assert os.listdir(tmp_path) == []
