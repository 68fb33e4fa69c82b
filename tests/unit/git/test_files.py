# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git import files
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.branch import Changes
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.files import View, innermost
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote

AUTHOR = Author("t", "t@localhost")


def bare(directory: Path) -> Remote:
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(directory)], check=True)
    return Remote(f"file://{directory}", "main")


def change(place: Path | Remote, changes: Changes, *, dry: bool = False) -> files.Done:
    def plan(view: View) -> Changes:
        return {path: data for path, data in changes.items() if view.read([path]).get(path) != data}

    return files.change(place, plan, lambda _: "change\n", AUTHOR, dry=dry)


PLACES: list[Callable[[Path], Path | Remote]] = [
    lambda directory: directory / "clone",
    lambda directory: bare(directory / "server.git"),
]


@pytest.mark.parametrize("make", PLACES, ids=["directory", "branch"])
def test_both_places_are_changed_alike(make: Callable[[Path], Path | Remote], tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    place = make(tmp_path)
    first: Changes = {"a/b.yaml": b"1\n", "a/c.txt": b"\xff\0", "d.yaml": b""}
    assert change(place, first, dry=True).changes == first
    assert files.look(place)[0].paths == ()
    done = change(place, first)
    assert done.changes == first
    view, commit = files.look(place)
    assert commit == done.commit
    assert view.paths == ("a/b.yaml", "a/c.txt", "d.yaml")
    assert view.read(["a/c.txt", "none"]) == {"a/c.txt": b"\xff\0"}
    assert view.below("a", (".yaml",)) == ["a/b.yaml"]
    assert view.below("", (".yaml",)) == ["a/b.yaml", "d.yaml"]
    assert view.below("/a/", (".yaml", ".txt")) == ["a/b.yaml", "a/c.txt"]
    again = change(place, first)
    assert (again.changes, again.commit) == ({}, commit)
    change(place, {"a/b.yaml": None})
    assert files.look(place)[0].paths == ("a/c.txt", "d.yaml")


def test_a_file_keeps_its_mode_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "a").chmod(0o640)
    change(tmp_path, {"a": b"2", "b": b"3"})
    assert [(p.name, p.stat().st_mode & 0o777) for p in sorted(tmp_path.iterdir())] == [("a", 0o640), ("b", 0o644)]


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "link/x", ".git/hooks/pre-push"])
def test_nothing_is_written_outside(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(GitError, match="is no path inside of"):
        change(root, {path: b"x"})
    assert not (tmp_path / "x").exists()
    assert sorted(entry.name for entry in root.iterdir()) == ["link"]


def test_killed_in_the_middle_of_a_file_the_old_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        change(tmp_path, {"a": b"new"})
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("a", "old")]


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="wanted a directory with a repository's files, found none at"):
        files.look(tmp_path / "none")


def test_files_of_git_itself_are_none_of_the_repository(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert files.look(tmp_path)[0].paths == ()


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("a/b/c.yaml", ["inner"]),
        ("a/c.yaml", ["outer"]),
        ("c.yaml", ["all"]),
        ("ab/c.yaml", ["all"]),
        ("values/x.yaml", ["file"]),
    ],
)
def test_who_follows_the_innermost_directory_has_a_file(file: str, found: list[str]) -> None:
    # the one-letter directory is as long as ".", and yet further in
    followed = {"all": ["."], "outer": ["a"], "inner": ["a/b", "elsewhere"], "file": ["zz", "values/x.yaml"]}
    assert innermost(file, followed) == found
