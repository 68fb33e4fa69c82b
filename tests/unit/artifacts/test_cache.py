# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache: only verified files count, damaged ones vanish, and a partial file belongs to one at a time."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.cache import Cache, sha256_of

if TYPE_CHECKING:
    from pathlib import Path

DATA = b"some artefact" * 1000
SHA = hashlib.sha256(DATA).hexdigest()


def _filled(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "cache")
    part = cache.partial("url", SHA)
    part.write_bytes(DATA)
    cache.adopt(part, SHA)
    return cache


def test_an_adopted_file_is_found_by_its_digest(tmp_path: Path) -> None:
    cache = _filled(tmp_path)
    path = cache.verified(SHA)
    assert path == tmp_path / "cache" / "sha256" / SHA[:2] / SHA
    assert path.read_bytes() == DATA
    assert cache.holds(SHA)
    assert list((tmp_path / "cache" / "partial").iterdir()) == []


def test_a_damaged_file_is_thrown_away(tmp_path: Path) -> None:
    cache = _filled(tmp_path)
    cache.path(SHA).write_bytes(DATA[:-1] + b"X")
    assert cache.verified(SHA) is None
    assert not cache.holds(SHA)


def test_partial_files_are_kept_apart_by_url_and_digest(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.partial("u", "1") == cache.partial("u", "1")
    assert (
        len({cache.partial("u", "1"), cache.partial("u", "2"), cache.partial("v", "1"), cache.partial("u1", "")}) == 4
    )


def test_what_is_lent_has_the_same_bytes_and_replaces_what_was_there(tmp_path: Path) -> None:
    cache = _filled(tmp_path)
    target = tmp_path / "elsewhere" / "file"
    target.parent.mkdir()
    target.write_bytes(b"older")
    cache.lend(SHA, target)
    assert sha256_of(target) == SHA
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_only_one_at_a_time_holds_a_partial_file(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    part = cache.partial("u", "1")
    inside: list[int] = []
    most = 0

    def work(number: int) -> None:
        nonlocal most
        with Cache(tmp_path).hold(part):
            inside.append(number)
            most = max(most, len(inside))
            time.sleep(0.01)
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert not part.with_suffix(".lock").exists()
