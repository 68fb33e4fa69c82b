# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository is read with its history and changed without a work tree; a broken cache costs time only."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import BranchMovedError, GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.program import Program, is_race
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.repository import Repository

AUTHOR = Author("Ada", "ada@example.com")


def run(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A repository with one commit: a plain file, a program and a link."""
    work, directory = tmp_path / "work", tmp_path / "server.git"
    work.mkdir()
    run("init", "--quiet", "--initial-branch=main", cwd=work)
    (work / "a.yaml").write_text("a: 1\n")
    (work / "run").write_text("#!/bin/sh\n")
    (work / "run").chmod(0o755)
    (work / "link").symlink_to("a.yaml")
    run("add", "-A", cwd=work)
    run("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "feat: begin", cwd=work)
    run("clone", "--quiet", "--bare", str(work), str(directory), cwd=tmp_path)
    return directory


def opened(server: Path, tmp_path: Path) -> Repository:
    return Repository(Remote(f"file://{server}", "main"), tmp_path / "cache")


def change(repository: Repository, path: str, content: bytes | None, message: str = "change") -> str:
    base = repository.fetch(["main"])["main"]
    modes = {name: file.mode for name, file in repository.files(base).items()}
    made = repository.commit(base, {path: content}, message, AUTHOR, modes)
    repository.push(made, "main", base)
    return made


def test_files_are_read_with_their_modes(server: Path, tmp_path: Path) -> None:
    with opened(server, tmp_path) as repository:
        files = repository.files(repository.fetch(["main"])["main"])
        assert {path: file.mode for path, file in files.items()} == {"a.yaml": "100644", "run": "100755"}
        assert repository.read([files["run"].blob, files["a.yaml"].blob]) == {
            files["run"].blob: b"#!/bin/sh\n",
            files["a.yaml"].blob: b"a: 1\n",
        }
        assert repository.read([]) == {}


def test_a_commit_changes_its_files_and_no_mode(server: Path, tmp_path: Path) -> None:
    with opened(server, tmp_path) as repository:
        made = change(repository, "run", b"#!/bin/bash\n", "feat: bash\n\nWhy: so\n")
    assert run("rev-parse", "main", cwd=server) == made
    assert run("log", "-1", "--format=%an|%B", "main", cwd=server) == "Ada|feat: bash\n\nWhy: so"
    assert run("ls-tree", "main", "run", cwd=server).startswith("100755 ")
    assert run("show", "--stat", "--format=", "main", cwd=server).splitlines()[-1].strip() == (
        "1 file changed, 1 insertion(+), 1 deletion(-)"
    )


def test_who_is_too_late_is_told_so_and_nothing_is_lost(server: Path, tmp_path: Path) -> None:
    with opened(server, tmp_path) as repository:
        base = repository.fetch(["main"])["main"]
        other = change(repository, "other", b"1")
        late = repository.commit(base, {"mine": b"2"}, "late", AUTHOR, {})
        with pytest.raises(BranchMovedError):
            repository.push(late, "main", base)
        with pytest.raises(BranchMovedError):
            repository.push(late, "main", None)
        assert run("rev-parse", "main", cwd=server) == other
        repository.push(late, "new", None)
        assert repository.heads() == {"main": other, "new": late}
        assert repository.fetch_commit("new") == late
        assert repository.fetch_commit("none") is None


def test_history_is_that_of_the_paths(server: Path, tmp_path: Path) -> None:
    with opened(server, tmp_path) as repository:
        two = change(repository, "a.yaml", b"a: 2\n", "two\n\nGitops-Plan: abc\n")
        change(repository, "b.yaml", b"b\n")
        gone = change(repository, "a.yaml", None, "gone")
        log = repository.log(gone, ["a.yaml"])
        assert [(one.subject, list(one.blobs)) for one in log] == [
            ("gone", ["a.yaml"]),
            ("two", ["a.yaml"]),
            ("feat: begin", ["a.yaml"]),
        ]
        assert log[0].blobs == {"a.yaml": None}
        assert repository.read([log[1].blobs["a.yaml"] or ""]) == {log[1].blobs["a.yaml"]: b"a: 2\n"}
        assert [one.id for one in repository.log(gone, grep="Gitops-Plan: abc")] == [two]
        assert [one.subject for one in repository.log(gone, ["*.yaml"], limit=1)] == ["gone"]
        assert log[1].author == "Ada <ada@example.com>"
        assert repository.at_time(gone, log[-1].time - 5) is None
        assert repository.at_time(gone, log[0].time + 5) == gone
        assert repository.is_ancestor(two, gone)
        assert not repository.is_ancestor(gone, two)
        assert repository.changed(two, gone)["b.yaml"][0] is None
        assert repository.parent(two) == log[2].id
        assert repository.commit_of(two[:9]) == two
        assert repository.commit_of("--all") is None


def test_changes_of_different_lines_merge(server: Path, tmp_path: Path) -> None:
    base = b"a\n\n\n\nb\n"
    with opened(server, tmp_path) as repository:
        assert repository.merge_file(b"A\n\n\n\nb\n", base, b"a\n\n\n\nB\n") == b"A\n\n\n\nB\n"
        assert repository.merge_file(b"A\n", b"a\n", b"x\n") is None


def test_notes_leave_the_branch_alone(server: Path, tmp_path: Path) -> None:
    with opened(server, tmp_path) as repository:
        tip = repository.fetch(["main"])["main"]
        repository.add_note(tip, '{"verified": true}', AUTHOR)
    with Repository(Remote(f"file://{server}", "main"), tmp_path / "another cache") as repository:
        repository.add_note(tip, "two", AUTHOR)
    with opened(server, tmp_path) as repository:
        assert repository.fetch(["main"]) == {"main": tip}
        assert repository.note(tip) == '{"verified": true}\ntwo\n'
        assert list(repository.notes()) == [tip]
        assert repository.note("0" * 40) == ""


@pytest.mark.parametrize("damage", ["lock", "empty", "objects"])
def test_a_broken_clone_is_made_anew(server: Path, tmp_path: Path, damage: str) -> None:
    with opened(server, tmp_path) as repository:
        repository.fetch(["main"])
        directory = repository.directory
    (lost,) = (tmp_path / "cache").glob("*.git")
    assert lost == directory
    with opened(server, tmp_path) as repository:
        change(repository, "x", b"1")
    if damage == "lock":
        (directory / "refs/stagecraft/heads/main.lock").touch()
        run("update-ref", "refs/heads/main", "main~1", cwd=server)
    elif damage == "empty":
        (directory / "HEAD").write_text("")
    else:
        for pack in (directory / "objects").rglob("*"):
            if pack.is_file():
                pack.unlink()
    with opened(server, tmp_path) as repository:
        tip = repository.fetch(["main"])["main"]
        assert "a.yaml" in repository.files(tip)


def test_a_missing_branch_is_named(server: Path, tmp_path: Path) -> None:
    with opened(server, tmp_path) as repository, pytest.raises(GitError, match="lacks a branch of mian; it has main"):
        repository.fetch(["mian"])


@pytest.mark.parametrize(
    ("said", "race"),
    [
        ("!\tx:refs/heads/main\t[rejected] (fetch first)", True),
        ("!\tx:refs/heads/main\t[rejected] (non-fast-forward)", True),
        ("!\tx:refs/heads/main\t[rejected] (stale info)", True),
        ("!\tx:refs/heads/main\t[remote rejected] (cannot lock ref 'refs/heads/main': is at a but expected b)", True),
        ("!\tx:refs/heads/main\t[remote rejected] (incorrect old value provided)", True),
        (
            "!\tx:refs/heads/main\t[remote rejected] (failed to update ref)\n"
            "remote: error: cannot lock ref 'refs/heads/main': is at a but expected b",
            True,
        ),
        (
            "!\tx:refs/heads/main\t[remote rejected] (failed to update ref)\n"
            "remote: error: cannot lock ref 'refs/heads/main': reference already exists",
            True,
        ),
        (
            "!\tx:refs/heads/main\t[remote rejected] (failed to update ref)\n"
            "remote: error: cannot lock ref 'refs/heads/main': Unable to create x: Permission denied",
            False,
        ),
        ("!\tx:refs/heads/main\t[remote rejected] (pre-receive hook declined)", False),
        ("remote: fetch first, says the hook\n!\tx:y\t[remote rejected] (hook declined)", False),
        ("!\tx:refs/heads/main\t[remote rejected] (protected branch hook declined; non-fast-forward)", False),
        ("fatal: Authentication failed for https://x (stale info)", False),
    ],
)
def test_only_races_are_tried_again(said: str, *, race: bool) -> None:
    assert is_race(said) is race


def test_a_token_is_in_no_argument_variable_or_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git is started with is written down by a program in its place."""
    programs, seen, token = tmp_path / "bin", tmp_path / "seen", tmp_path / "token"
    programs.mkdir()
    token.write_text("s3cret-t0ken\n")
    (programs / "git").write_text(
        f'#!/bin/sh\n{{ echo "$@"; env; echo; "$GIT_ASKPASS" Username; }} >> {seen}\nexec "$REAL_GIT" "$@"\n'
    )
    (programs / "git").chmod(0o755)
    real = subprocess.run(["sh", "-c", "command -v git"], capture_output=True, text=True, check=True).stdout.strip()
    monkeypatch.setenv("REAL_GIT", real)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    remote = Remote("http://127.0.0.1:1/x.git", "main", token_file=str(token), user="ada", timeout=20)
    with Repository(remote, tmp_path / "cache") as repository, pytest.raises(GitError) as caught:
        repository.fetch(["main"])
    assert "s3cret" not in str(caught.value)
    text = seen.read_text()
    assert "ada" in text
    assert "s3cret" not in text


def test_runs_share_a_connection_that_logs_in_by_the_same_means(tmp_path: Path) -> None:
    def command(remote: Remote, sockets: Path | None) -> str:
        return Program(remote, tmp_path / "r.git", tmp_path, sockets).environment["GIT_SSH_COMMAND"]

    short, key = Path("/run/x"), tmp_path / "key"
    key.touch()
    plain = Remote("ssh://git@example.com/x.git", "main", known_hosts="a")
    assert "ControlMaster" not in command(plain, None)
    assert "ControlMaster" not in command(plain, Path("/" + "x" * 80))
    first = command(plain, short)
    assert "ControlPath=/run/x/ssh-" in first
    assert first == command(plain, short)
    other = Remote("ssh://git@example.com/x.git", "main", str(key), "a")
    paths = {re.search(r"ControlPath=\S+", one) for one in (first, command(other, short))}
    assert len({found[0] for found in paths if found}) == 2
