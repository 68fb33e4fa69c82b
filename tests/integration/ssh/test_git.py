# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Git over a line that goes silent in the middle: it ends by itself, says what to do, and leaves nothing half done."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.branch import Branch, Changes, Snapshot, publish
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.repository import Repository as Clone

from tests.integration.controlplane.git_server import GitServer, Repository, git
from tests.integration.controlplane.line import Line
from tests.integration.ssh.conftest import Server

ADA = Author("Ada", "ada@example.com")
NOISE = random.Random(4).randbytes(300_000)
#: What ssh says of a server that is gone, and what we say of one that sends nothing while ssh still has to log in.
SILENT = r"127\.0\.0\.1:\d+/.*, branch main: (it stopped answering|git \w+ did not end within 20 s)\. The line to the server is cut"


@pytest.fixture
def line(server: Server) -> Iterator[Line]:
    with Line(server.port) as made:
        yield made


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "git", "env")
    made.push({"noise": NOISE.hex()})
    return made


def remote(server: Server, line: Line, repository: Repository) -> Remote:
    known = server.known_hosts.read_text().replace(f":{server.port} ", f":{line.port} ")
    url = f"ssh://{server.target().user}@127.0.0.1:{line.port}{repository.bare}"
    return Remote(url, "main", key_file=str(server.key_file), known_hosts=known, timeout=20)


def test_a_fetch_that_is_cut_in_the_middle_ends(server: Server, line: Line, repository: Repository) -> None:
    where = remote(server, line, repository)
    with Branch(where) as branch:
        line.cut_after(100_000)
        with pytest.raises(GitError, match=SILENT):
            branch.fetch()
        assert line.cut_off.is_set()
        line.mend()
        assert branch.fetch().commit == git(repository.bare, "rev-parse", "main")


def test_a_push_that_is_cut_in_the_middle_is_made_by_the_next_run(
    server: Server, line: Line, repository: Repository
) -> None:
    where = remote(server, line, repository)
    before = git(repository.bare, "rev-parse", "main")
    cuts = [100_000]

    def plan(branch: Branch, base: Snapshot) -> Changes:
        if cuts:
            line.cut_after(cuts.pop())
        return {} if branch.read(base, ["more"]) else {"more": NOISE[::-1]}

    with pytest.raises(GitError, match=SILENT):
        publish(where, plan, lambda _: "feat: more", ADA)
    assert line.cut_off.is_set()
    assert git(repository.bare, "rev-parse", "main") == before
    line.mend()
    for _ in range(2):
        publish(where, plan, lambda _: "feat: more", ADA)
        assert git(repository.bare, "rev-list", "--count", f"{before}..main") == "1"


def test_a_connection_that_was_kept_and_is_cut_since_is_told(
    server: Server, line: Line, repository: Repository
) -> None:
    where = remote(server, line, repository)
    with tempfile.TemporaryDirectory(prefix="g") as cache:  # a socket's path is short
        with Clone(where, Path(cache)) as clone:
            tip = clone.fetch(["main"])["main"]
            made = clone.commit(tip, {"more": b"1"}, "feat: more", ADA, {})
            assert list(Path(cache).glob("ssh-*"))
            line.cut()
            with pytest.raises(GitError, match=r"nothing answers at its address in time\. Check the address"):
                clone.push(made, "main", tip)
        line.mend()
        with Clone(where, Path(cache)) as clone:
            assert clone.fetch(["main"])["main"] == tip
            clone.push(made, "main", tip)
    assert git(repository.bare, "rev-parse", "main") == made


#: How busy the machine is decides which of the two is the first.
CUT = r"(git fetch did not end within 6 s|it stopped answering).*is cut"


def test_a_server_that_is_silent_over_http_is_told_by_gits_limit_or_our_timeout(repository: Repository) -> None:
    server = GitServer(repository.bare.parent)
    try:
        with Line(int(server.url.rpartition(":")[2])) as line:
            line.cut_after(100_000)
            where = Remote(f"http://127.0.0.1:{line.port}/env.git", "main", timeout=6)
            with Branch(where) as branch, pytest.raises(GitError, match=CUT):
                branch.fetch()
            assert line.cut_off.is_set()
    finally:
        server.close()
