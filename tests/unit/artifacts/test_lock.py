# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock files: one format, nothing lost when several write, contradictions are errors."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import DigestMismatch, LockError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import Lock, LockedFile
from hypothesis import given
from hypothesis import strategies as st

A, B = "a" * 64, "b" * 64
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
PATHS = st.from_regex(r"[a-z]+\.[a-z]+(/[a-z0-9+._-]*[a-z0-9])+", fullmatch=True)


@given(
    st.dictionaries(
        PATHS,
        st.builds(LockedFile, HEX, st.none() | st.integers(0), st.none() | HEX.map("sha256:{}".format), st.text()),
    ),
    st.sampled_from(["", "built", "downloaded"]),
    st.text(),
)
def test_what_is_written_is_read_again(files: dict[str, LockedFile], origin: str, built_by: str) -> None:
    text = Lock(origin=origin, built_by=built_by, files=files).as_text()
    again = Lock.parse(text, "here")
    assert again.files == files
    assert (again.origin, again.built_by) == (origin, built_by)
    assert again.as_text() == text


def test_a_missing_file_is_an_empty_lock_and_nothing_is_written_for_nothing(tmp_path: Path) -> None:
    lock = Lock.load(tmp_path / "none.json")
    assert lock.files == {}
    assert lock.save() is False
    assert list(tmp_path.iterdir()) == []


def test_saving_merges_with_what_others_saved(tmp_path: Path) -> None:
    file = tmp_path / "lock.json"
    first, second = Lock.load(file), Lock.load(file)
    first.record("h.io/a", LockedFile(A))
    second.record("h.io/b", LockedFile(B, 3))
    assert first.save() is True
    assert second.save() is True
    assert set(Lock.load(file).files) == {"h.io/a", "h.io/b"}
    assert second.save() is False
    assert [path.name for path in tmp_path.iterdir()] == ["lock.json"], "nothing is left beside it"


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "lock.json"

    def write(number: int) -> None:
        lock = Lock.load(file)
        lock.record(f"h.io/{number}", LockedFile(f"{number:064x}"))
        lock.save()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Lock.load(file).files) == 16


def test_another_digest_for_the_same_file_names_both(tmp_path: Path) -> None:
    lock = Lock.load(tmp_path / "lock.json")
    lock.record("h.io/a", LockedFile(A))
    with pytest.raises(DigestMismatch, match=f"{A}.*{B}"):
        lock.record("h.io/a", LockedFile(B))


def test_another_digest_saved_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "lock.json"
    mine, theirs = Lock.load(file), Lock.load(file)
    mine.record("h.io/a", LockedFile(A))
    theirs.record("h.io/a", LockedFile(B))
    theirs.save()
    with pytest.raises(DigestMismatch):
        mine.save()
    assert Lock.load(file).files["h.io/a"].sha256 == B


def test_details_are_added_to_an_entry_that_agrees(tmp_path: Path) -> None:
    lock = Lock.load(tmp_path / "lock.json")
    lock.record("h.io/a", LockedFile(A, checked="upstream"))
    lock.record("h.io/a", LockedFile(A, 7, "sha256:" + B))
    assert lock.files["h.io/a"] == LockedFile(A, 7, "sha256:" + B, "upstream")


def test_a_read_only_lock_is_never_written(tmp_path: Path) -> None:
    file = tmp_path / "lock.json"
    lock = Lock.load(file, read_only=True)
    lock.record("h.io/a", LockedFile(A))
    assert lock.save() is False
    assert not file.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "schema 1"),
        ('{"schema": 2, "files": {}}', "schema 1"),
        (json.dumps({"schema": 1, "files": {"a/b": {"sha256": "12"}}}), "a/b: no sha256"),
        (json.dumps({"schema": 1, "files": {"../../etc/passwd": {"sha256": A}}}), "not a path below the root"),
        (json.dumps({"schema": 1, "files": {"/etc/passwd": {"sha256": A}}}), "not a path below the root"),
        (json.dumps({"schema": 1, "files": {}, "origin": "found"}), "neither built nor downloaded"),
        (json.dumps({"schema": 1, "files": {"a/b": {"sha256": A, "size": "3"}}}), "size is not a number"),
    ],
)
def test_damaged_lock_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "lock.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(LockError, match=message):
        Lock.load(file)
