# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pull request for a branch, whatever the forge: opened once, kept up to date, with patience for its limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.pull_requests import (
    KINDS,
    Forge,
    Merging,
    from_options,
)

from tests.unit.git.forges import REPOSITORY, TOKEN, ForgeServer, in_seconds

HEAD = "gitops/promote/production/podinfo"
COMMIT = "4be1c0de9a0b3d5f7c6e8a1b2c3d4e5f60718293"
MESSAGE = "promote(podinfo): staging -> production\n\nGitops-Action: promote\nGitops-Plan: 3f9c0a7e51d2\n"


@pytest.fixture(params=["github", "gitlab", "gitea"])
def server(request: pytest.FixtureRequest) -> Iterator[ForgeServer]:
    made = ForgeServer(request.param)
    yield made
    made.close()


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def forge(server: ForgeServer, slept: list[float]) -> Forge:
    return KINDS[server.kind](server.url, REPOSITORY, TOKEN, slept.append)


def test_it_is_opened_once_and_then_brought_up_to_date(server: ForgeServer, forge: Forge) -> None:
    one, changed = forge.ensure(HEAD, "main", "promote", "text")
    assert changed
    assert one.url.startswith(server.url)
    again, changed = forge.ensure(HEAD, "main", "promote", "text\r\n")
    assert (again.number, changed) == (one.number, False)
    other, changed = forge.ensure(HEAD, "main", "promote more", "text")
    assert (other.number, changed) == (one.number, True)
    assert [pull["title"] for pull in server.pulls] == ["promote more"]


def test_it_is_found_on_a_later_page_and_told_from_others(server: ForgeServer, forge: Forge) -> None:
    for number in range(5):
        server.open(f"other-{number}")
    server.open(HEAD, base="live")
    closed = server.open(HEAD)
    closed["state"] = "closed"
    wanted = server.open(HEAD)
    one = forge.find(HEAD, "main")
    assert one is not None
    assert one.number == (wanted.get("number") or wanted["iid"])
    assert forge.find("none", "main") is None


def test_one_that_somebody_opens_at_the_same_moment_is_not_doubled(server: ForgeServer, forge: Forge) -> None:
    real, calls = server.answer, [0]

    def answer(method: str, *rest: object) -> object:
        calls[0] += 1
        if method == "POST" and calls[0] == 2:
            server.open(HEAD)
        return real(method, *rest)  # type: ignore[arg-type]

    server.answer = answer  # type: ignore[assignment, method-assign]
    _, changed = forge.ensure(HEAD, "main", "promote", "text")
    assert changed
    assert len(server.pulls) == 1
    assert server.pulls[0]["title"] == "promote"


@pytest.mark.parametrize(
    ("status", "headers", "waited"),
    [
        (429, {"Retry-After": "7"}, 7),
        (403, {"Retry-After": "3"}, 3),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "in 20"}, 20),
        (429, {}, 1),
        (502, {}, 0.5),
    ],
)
def test_limits_are_waited_for(
    server: ForgeServer, forge: Forge, slept: list[float], status: int, headers: dict[str, str], waited: float
) -> None:
    server.fail = [(status, {key: in_seconds(20) if value == "in 20" else value for key, value in headers.items()})]
    assert forge.find(HEAD, "main") is None
    assert slept == [pytest.approx(waited, abs=2)]


def test_a_limit_that_lasts_is_told(server: ForgeServer, forge: Forge, slept: list[float]) -> None:
    server.fail = [(429, {"Retry-After": "3600"})]
    with pytest.raises(GitError, match=r"429: API rate limit exceeded\. The rate limit is used up for longer"):
        forge.find(HEAD, "main")
    assert slept == []


def test_what_is_no_limit_is_not_repeated(server: ForgeServer, forge: Forge, slept: list[float]) -> None:
    server.fail = [(403, {})]
    with pytest.raises(GitError, match=r"403: .*The token may not do this"):
        forge.ensure(HEAD, "main", "promote", "text")
    server.fail = [(500, {})] * 9
    with pytest.raises(GitError, match="500: trouble"):
        forge.find(HEAD, "main")
    assert len(slept) == 3


def test_a_wrong_token_is_told_and_not_shown(server: ForgeServer) -> None:
    with pytest.raises(GitError, match=r"401: .*The token is not valid") as caught:
        KINDS[server.kind](server.url, REPOSITORY, "wr0ng").find(HEAD, "main")
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(GitError, match=r"404: .*There is no such repository"):
        KINDS[server.kind](server.url, "infra/other", TOKEN).find(HEAD, "main")
    with pytest.raises(GitError, match="no answer"):
        KINDS[server.kind]("http://127.0.0.1:1", REPOSITORY, TOKEN, lambda _: None).find(HEAD, "main")


def test_the_forge_merges_by_itself_or_says_why_not(server: ForgeServer, forge: Forge) -> None:
    one, _ = forge.ensure(HEAD, "main", "promote", "text")
    assert forge.auto_merge(one, COMMIT, MESSAGE) == Merging(scheduled=True)
    assert server.merging == {one.number: MESSAGE.strip()} | ({one.number: MESSAGE} if server.kind == "gitlab" else {})
    server.checks = "refused"
    assert "does not merge it by itself" in forge.auto_merge(one, COMMIT, MESSAGE).refused


def test_what_is_scheduled_is_so_once_and_with_the_newest_message(server: ForgeServer, forge: Forge) -> None:
    one, _ = forge.ensure(HEAD, "main", "promote", "text")
    forge.auto_merge(one, COMMIT, MESSAGE)
    found = forge.find(HEAD, "main")
    assert found is not None
    assert forge.auto_merge(found, COMMIT, "other\n\nother") == Merging(scheduled=True, new=False)
    assert server.merging[one.number].startswith("promote(podinfo)")
    assert forge.auto_merge(found, COMMIT, "other\n\nother", renew=True) == Merging(scheduled=True)
    assert server.merging[one.number] == "other\n\nother"


def test_what_nothing_holds_up_is_merged_at_once(server: ForgeServer, forge: Forge) -> None:
    one, _ = forge.ensure(HEAD, "main", "promote", "text")
    server.checks = "passed"
    assert forge.auto_merge(one, COMMIT, MESSAGE) == Merging(merged=True)
    assert server.merging[one.number].strip() == MESSAGE.strip()
    assert forge.find(HEAD, "main") is None


def test_only_what_is_scheduled_already_is_no_refusal(slept: list[float]) -> None:
    server = ForgeServer("gitea")
    try:
        forge = KINDS["gitea"](server.url, REPOSITORY, TOKEN, slept.append)
        one, _ = forge.ensure(HEAD, "main", "promote", "text")
        server.fail = [(409, {})]  # as where it conflicts
        assert forge.auto_merge(one, COMMIT, MESSAGE).refused == "Gitea does not merge it by itself: trouble"
    finally:
        server.close()


def test_options_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    made = from_options({"type": "github", "token_file": str(file)}, "git@github.com:infra/environments.git")
    assert (made.url, made.repository) == ("https://api.github.com", REPOSITORY)
    assert TOKEN not in repr(made)
    made = from_options({"type": "forgejo", "url": "https://x/", "token_file": str(file)}, "ssh://git@x/a/b.git")
    assert (type(made).__name__, made.url, made.repository) == ("Gitea", "https://x", "a/b")
    with pytest.raises(GitError) as caught:
        from_options({"type": "svn", "url": "x", "token_file": str(tmp_path / "none")}, "file:///x.git")
    for said in ("type is 'svn'", "token cannot be read", "OWNER/NAME"):
        assert said in str(caught.value)
    with pytest.raises(GitError, match="address '' is none"):
        from_options({"type": "gitea", "token_file": str(file)}, "ssh://git@x/a/b.git")
