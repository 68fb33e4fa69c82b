# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of the mirror appear whole or not at all, and the lock file says what is there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mirror.errors import RefusedError
from tests.mirror.store import LOCK_FILE, Layout, Store, default_layout

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Layout(tmp_path / "cache"))


def publish(store: Store, name: str, key: str, files: dict[str, bytes]) -> None:
    with store.scratch(name) as scratch:
        staged = {}
        for number, (path, content) in enumerate(files.items()):
            staged[path] = scratch / str(number)
            staged[path].write_bytes(content)
        store.publish(name, key, 1.0, staged)


def lock(store: Store) -> dict[str, object]:
    data: dict[str, object] = json.loads((store.layout.mirror / LOCK_FILE).read_text())
    return data


def test_the_lock_file_says_what_is_there(store: Store) -> None:
    publish(store, "one", "k1", {"example.com/one": b"first"})
    publish(store, "two/image", "k2", {"example.com/two/a": b"second", "example.com/two/b": b""})
    store.write_lock(["one", "two/image", "never-built"], "a test")
    found = lock(store)
    assert {name: found[name] for name in ("schema", "origin", "built_by")} == {
        "schema": 1,
        "origin": "built",
        "built_by": "a test",
    }
    assert found["files"] == {
        path: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for path, content in {
            "example.com/one": b"first",
            "example.com/two/a": b"second",
            "example.com/two/b": b"",
        }.items()
    }
    for path, entry in found["files"].items():
        content = (store.layout.mirror / path).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def test_the_lock_file_is_left_alone_when_it_would_say_the_same(store: Store) -> None:
    publish(store, "one", "k1", {"example.com/one": b"first"})
    store.write_lock(["one"], "a test")
    before = (store.layout.mirror / LOCK_FILE).stat().st_mtime_ns
    store.write_lock(["one"], "a test")
    assert (store.layout.mirror / LOCK_FILE).stat().st_mtime_ns == before


def test_a_file_that_was_changed_behind_our_back_is_out_of_date(store: Store) -> None:
    publish(store, "one", "k1", {"example.com/one": b"first"})
    assert store.is_current("one", "k1")
    assert not store.is_current("one", "k2")
    path = store.layout.mirror / "example.com/one"
    path.write_bytes(b"fIrst")
    os.utime(path, ns=(1, 1))
    assert not store.is_current("one", "k1")
    path.unlink()
    assert not store.is_current("one", "k1")


def test_the_same_content_again_does_not_touch_the_file(store: Store) -> None:
    publish(store, "one", "k1", {"example.com/one": b"first"})
    before = (store.layout.mirror / "example.com/one").stat()
    publish(store, "one", "k2", {"example.com/one": b"first"})
    after = (store.layout.mirror / "example.com/one").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert store.is_current("one", "k2")


def test_files_of_an_older_version_go(store: Store) -> None:
    publish(store, "one", "k1", {"example.com/one/1.0": b"old"})
    publish(store, "one", "k2", {"example.com/one/2.0": b"new"})
    assert not (store.layout.mirror / "example.com/one/1.0").exists()
    assert (store.layout.mirror / "example.com/one/2.0").exists()


def test_artefacts_without_a_recipe_go_and_others_stay(store: Store) -> None:
    publish(store, "old/image", "k1", {"example.com/old": b"old"})
    publish(store, "one/image", "k1", {"example.com/one": b"one"})
    for name in ("part/old", "part/one"):
        with store.scratch(name) as scratch:
            store.keep_part(name, "k" * 64, scratch)
    store.forget_unknown({"one/image", "part/one"})
    assert not (store.layout.mirror / "example.com/old").exists()
    assert store.stamp("old/image") is None
    assert store.is_current("one/image", "k1")
    assert not store.part("part/old", "k" * 64).exists()
    assert store.part("part/one", "k" * 64).is_dir()


def test_a_new_part_replaces_the_old_one(store: Store) -> None:
    for key in ("a" * 64, "b" * 64):
        with store.scratch("part/one") as scratch:
            (scratch / "program").write_text(key)
            store.keep_part("part/one", key, scratch)
    assert not store.part("part/one", "a" * 64).exists()
    assert (store.part("part/one", "b" * 64) / "program").read_text() == "b" * 64


def test_an_unreadable_stamp_means_build_again(store: Store) -> None:
    publish(store, "one", "k1", {"example.com/one": b"first"})
    (stamp,) = (store.layout.work / "stamps").iterdir()
    stamp.write_text("{")
    assert store.stamp("one") is None
    assert not store.is_current("one", "k1")


@pytest.mark.parametrize("content", ['{"origin": "downloaded"}', "{"])
def test_a_downloaded_mirror_is_refused(store: Store, content: str) -> None:
    store.refuse_foreign_mirror()
    store.layout.mirror.mkdir(parents=True)
    (store.layout.mirror / LOCK_FILE).write_text(content)
    with pytest.raises(RefusedError, match="wanted a mirror of origin 'built'"):
        store.refuse_foreign_mirror()


def test_leftovers_of_a_killed_build_are_removed(store: Store) -> None:
    publish(store, "one", "k1", {"example.com/one": b"first"})
    store.write_lock(["one"], "a test")
    half = store.layout.work / "incoming" / "one-x"
    half.mkdir(parents=True)
    (half / "output").write_text("half")
    (store.layout.mirror / f".{LOCK_FILE}.abc").write_text("half")
    store.remove_leftovers()
    assert not half.exists()
    assert sorted(path.name for path in store.layout.mirror.iterdir()) == ["example.com", LOCK_FILE]
    assert store.is_current("one", "k1")


HOLDER = """
import sys
from pathlib import Path
from tests.mirror.store import Layout, Store
with Store(Layout(Path(sys.argv[1]))).exclusive():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_builds_take_turns_and_a_killed_one_blocks_nobody(store: Store) -> None:
    def hold() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(store.layout.cache)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    with hold() as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with hold() as second:
            assert second.stderr is not None
            assert second.stdout is not None
            assert f"another build (process {first.pid}) is at work" in second.stderr.readline()
            first.kill()
            assert second.stdout.readline() == "held\n"
            second.kill()


def test_where_the_cache_is() -> None:
    assert default_layout({"STAGECRAFT_CACHE": "/big/disk", "XDG_CACHE_HOME": "/x"}).mirror == Path("/big/disk/mirror")
    assert default_layout({"XDG_CACHE_HOME": "/x"}).mirror == Path("/x/stagecraft/mirror")
    assert default_layout({}).mirror == Path.home() / ".cache/stagecraft/mirror"
