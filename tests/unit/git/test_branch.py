# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A branch is read, and changed by one commit, or by none; what goes wrong is said in words."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git import branch as git
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import BranchMovedError, GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote

AUTHOR = Author("Ada", "ada@example.com")


def run(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def server(tmp_path: Path) -> Path:
    directory = tmp_path / "server.git"
    directory.mkdir()
    run("init", "--quiet", "--bare", "--initial-branch=main", cwd=directory)
    return directory


def remote(server: Path, branch: str = "main") -> Remote:
    return Remote(f"file://{server}", branch)


def put(server: Path, changes: git.Changes, message: str = "test: change") -> git.Published:
    def plan(branch: git.Branch, snapshot: git.Snapshot) -> git.Changes:
        present = branch.read(snapshot, changes)
        return {path: text for path, text in changes.items() if present.get(path) != text}

    return git.publish(remote(server), plan, lambda _: message, AUTHOR)


def test_an_empty_repository_gets_its_first_commit(server: Path) -> None:
    with git.Branch(remote(server)) as branch:
        assert branch.fetch() == git.Snapshot(None)
    done = put(server, {"a/b.yaml": b"x: 1\n", "c": b""}, "feat: begin\n\nWhy.")
    assert run("rev-parse", "main", cwd=server) == done.commit
    assert run("log", "--format=%an <%ae>|%B", "main", cwd=server) == "Ada <ada@example.com>|feat: begin\n\nWhy."
    assert run("ls-tree", "-r", "--name-only", "main", cwd=server).split() == ["a/b.yaml", "c"]


def test_nothing_to_do_makes_no_commit(server: Path) -> None:
    first = put(server, {"a": b"1"})
    again = put(server, {"a": b"1"})
    assert again == git.Published(first.commit, {})
    assert run("rev-list", "--count", "main", cwd=server) == "1"


def test_other_files_stay_and_removed_ones_go(server: Path) -> None:
    put(server, {"keep me": b"1", "go": b"2", 'quo"ted\\': b"3"})
    put(server, {"go": None, "new": b"\x00\xff\n"})
    with git.Branch(remote(server)) as branch:
        snapshot = branch.fetch()
        assert branch.read(snapshot, [*snapshot.blobs, "absent"]) == {
            "keep me": b"1",
            "new": b"\x00\xff\n",
            'quo"ted\\': b"3",
        }


def test_a_branch_that_moved_is_planned_anew(server: Path) -> None:
    put(server, {"a": b"1"})
    looks = []

    def plan(branch: git.Branch, snapshot: git.Snapshot) -> git.Changes:
        looks.append(snapshot.commit)
        if len(looks) == 1:
            put(server, {"other": b"2"})
        return {"mine": b"3"}

    done = git.publish(remote(server), plan, lambda _: "mine", AUTHOR)
    assert len(looks) == 2
    assert run("ls-tree", "-r", "--name-only", done.commit or "", cwd=server).split() == ["a", "mine", "other"]


def test_a_newer_commit_is_one_that_comes_after_ours(server: Path) -> None:
    for number in range(3):
        put(server, {"a": str(number).encode()})
    with git.Branch(remote(server)) as branch:
        base = branch.fetch().commit
        ours = put(server, {"a": b"ours"}).commit
        assert ours is not None
        assert branch.newer(ours) == ours
        theirs = put(server, {"b": b"theirs"}).commit
        assert branch.newer(ours) == theirs
        run("update-ref", "refs/heads/main", base or "", cwd=server)
        put(server, {"c": b"instead"})
        assert branch.newer(ours) is None
        assert branch.newer("1" * 40) is None


def test_files_take_whole_pages(server: Path) -> None:
    put(server, {"a": b"1", "b": b"", "c": b"x" * 4097, "not asked for": b"x"})
    with git.Branch(remote(server)) as branch:
        snapshot = branch.fetch()
        assert branch.unpacked(snapshot, ["a", "b", "c", "absent"]) == 3 * 4096
        assert branch.unpacked(snapshot, []) == 0


def test_an_empty_repository_has_newer_commits_too(server: Path) -> None:
    with git.Branch(remote(server)) as branch:
        branch.fetch()
        ours = put(server, {"a": b"ours"}).commit
        theirs = put(server, {"b": b"theirs"}).commit
        assert branch.newer(ours or "") == theirs


def test_who_never_gets_through_is_told_so(server: Path) -> None:
    put(server, {"a": b"1"})
    count = [0]

    def plan(branch: git.Branch, snapshot: git.Snapshot) -> git.Changes:
        count[0] += 1
        put(server, {"other": str(count[0]).encode()})
        return {"mine": b"3"}

    with pytest.raises(BranchMovedError, match="branch main: somebody else pushed to it at the same time"):
        git.publish(remote(server), plan, lambda _: "mine", AUTHOR)
    assert count[0] == 5


def test_a_branch_that_is_made_while_we_look_is_read(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def heads(branch: git.Branch) -> list[str]:
        monkeypatch.undo()
        put(server, {"a": b"1"})
        return ["main"]

    monkeypatch.setattr(git.Branch, "_heads", heads)
    with git.Branch(remote(server)) as branch:
        assert "a" in branch.fetch().blobs


def test_a_wrong_branch_is_named_beside_those_that_there_are(server: Path) -> None:
    put(server, {"a": b"1"})
    with (
        git.Branch(remote(server, "mian")) as branch,
        pytest.raises(GitError, match="branch mian: the repository has no such branch; it has main"),
    ):
        branch.fetch()


def test_a_server_that_refuses_is_quoted(server: Path, tmp_path: Path) -> None:
    hook = server / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho GL: protected branch >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(GitError, match=r"the server protects the branch\..*protected branch"):
        put(server, {"a": b"1"})
    with (
        git.Branch(remote(tmp_path / "none.git")) as branch,
        pytest.raises(GitError, match="the server knows no such repository"),
    ):
        branch.fetch()


def test_nobody_listens() -> None:
    nobody = Remote("ssh://git@127.0.0.1:1/x.git", "main", known_hosts="127.0.0.1 ssh-ed25519 AAAA", timeout=8)
    with git.Branch(nobody) as branch, pytest.raises(GitError, match="nothing answers at its address and port"):
        branch.fetch()


@pytest.mark.parametrize(
    ("url", "branch", "said"),
    [
        ("/srv/git", "main", r"the address '/srv/git' is none: write ssh://git@HOST/PATH\.git"),
        ("ssh://git@example.com/x.git", "a..b", "'a..b' is no name of a branch"),
        ("ssh://git@example.com/x.git", "-x", "'-x' is no name of a branch"),
        ("--upload-pack=x", "main", "is none"),
    ],
)
def test_what_git_would_misunderstand_is_refused(url: str, branch: str, said: str) -> None:
    with pytest.raises(GitError, match=said):
        Remote(url, branch)


@pytest.mark.parametrize("who", ["ada:s3cret", "s3cret", "ada:s3@cret", ":s3cret"])
@pytest.mark.parametrize("scheme", ["http", "https", "HTTPS"])
def test_credentials_in_an_address_are_refused_and_in_no_message(scheme: str, who: str) -> None:
    with pytest.raises(GitError, match=r"//\(hidden\)@example\.com/x\.git.* carries credentials") as caught:
        Remote(f"{scheme}://{who}@example.com/x.git", "main")
    assert "s3" not in str(caught.value)
    assert "ada" not in str(caught.value)


def test_the_user_of_ssh_is_no_secret_and_its_password_is() -> None:
    assert str(Remote("ssh://git@example.com/x.git", "main")) == "ssh://git@example.com/x.git, branch main"
    assert str(Remote("ssh://git:s3cret@example.com/x.git", "main")) == "ssh://git@example.com/x.git, branch main"


def test_paths_stay_inside(server: Path) -> None:
    with pytest.raises(GitError, match=r"'\.\./x' is no path inside of a repository"):
        put(server, {"../x": b""})
