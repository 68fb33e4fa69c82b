# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pull requests of GitHub, merge requests of GitLab, pull requests of Gitea and Forgejo: one each for a branch, kept up to date."""

from __future__ import annotations

import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlencode, urlsplit

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.forge import repository_of

try:
    import urllib3
except ImportError as error:
    urllib3 = missing("urllib3", error)

_TIMEOUT = 20.0
_ATTEMPTS = 4
#: The longest time in seconds that a rate limit is waited for.
_PATIENCE = 60.0
_PAGES = 100
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


@dataclass(frozen=True)
class PullRequest:
    """An open pull request; `key` is what the forge's API calls it by. `scheduled`: the forge says that it will merge it."""

    number: int
    url: str
    title: str
    body: str
    key: str = ""
    scheduled: bool = False


@dataclass(frozen=True)
class Merging:
    """What a forge has done about merging: it has `merged`, or it is `scheduled`, or `refused` says why neither.

    `new` says that it was not so before.
    """

    merged: bool = False
    scheduled: bool = False
    refused: str = ""
    new: bool = True


@dataclass(frozen=True)
class Answer:
    """An answer of an API."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass
class Forge(ABC):
    """A Git host with pull requests. `url` is the root of its API, `repository` the path of the repository there."""

    url: str
    repository: str
    token: str = field(repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    name: ClassVar[str]
    default_url: ClassVar[str] = ""

    # -- what differs between them -----------------------------------------------------------------------------------------

    @abstractmethod
    def authorization(self) -> dict[str, str]:
        """Return the headers that carry the token."""

    @abstractmethod
    def list_path(self, head: str, base: str) -> str:
        """Return the path and query of the list of open pull requests."""

    @abstractmethod
    def read(self, item: Mapping[str, Any]) -> tuple[str, str, PullRequest]:
        """Return head branch, base branch and the pull request of an entry of the list."""

    @abstractmethod
    def create_request(self, head: str, base: str, title: str, body: str) -> tuple[str, dict[str, Any]]:
        """Return path and body of the request that opens one."""

    @abstractmethod
    def update_request(self, one: PullRequest, title: str, body: str) -> tuple[str, str, dict[str, Any]]:
        """Return method, path and body of the request that changes title and text."""

    @abstractmethod
    def schedule(self, one: PullRequest, commit: str, message: str) -> Merging:
        """Ask the forge to merge `commit` when its conditions are met. `message` is what the merge says: a line, and text."""

    @abstractmethod
    def cancel(self, one: PullRequest) -> None:
        """Take back `schedule`; one that is not scheduled is no error."""

    # -- what they share ---------------------------------------------------------------------------------------------------

    def ensure(self, head: str, base: str, title: str, body: str) -> tuple[PullRequest, bool]:
        """Return the open pull request of `head` into `base`, with this text; whether anything was changed. GitError."""
        found = self.find(head, base)
        if found is None:
            path, data = self.create_request(head, base, title, body)
            answer = self.ask("POST", path, data, accept=(409, 422))
            if answer.status < 300:
                return self.read(answer.body)[2], True
            found = self.find(head, base)  # somebody else has opened it at the same moment
            if found is None:
                raise self.refused("POST", path, answer)
        if (found.title, _plain(found.body)) == (title, _plain(body)):
            return found, False
        method, path, data = self.update_request(found, title, body)
        return self.read(self.ask(method, path, data).body)[2], True

    def find(self, head: str, base: str) -> PullRequest | None:
        """Return the open pull request of `head` into `base`, or None. Raises GitError."""
        for item in self.pages(self.list_path(head, base)):
            source, target, one = self.read(item)
            if (source, target) == (head, base):
                return one
        return None

    def auto_merge(self, one: PullRequest, commit: str, message: str, *, renew: bool = False) -> Merging:
        """Let the forge merge with this message when its conditions are met, if `commit` is still its head. Raises GitError.

        With `renew` anew where it was to be merged already: forges keep the message that they were given first.
        """
        if renew:
            self.cancel(one)
        elif one.scheduled:
            return Merging(scheduled=True, new=False)
        return self.schedule(one, commit, message)

    def pages(self, path: str) -> Iterator[Mapping[str, Any]]:
        """Yield the entries of all pages of a list."""
        following: str | None = path
        for _page in range(_PAGES):
            if following is None:
                return
            answer = self.ask("GET", following)
            yield from answer.body or []
            link = _NEXT.search(answer.headers.get("link", ""))
            # only path and query: a proxy in between may know the forge by another name
            parts = urlsplit(link[1]) if link else None
            following = self._below(parts.path, parts.query) if parts else None
        raise GitError(f"{self.url}: the list of pull requests has no end.")

    def _below(self, path: str, query: str) -> str:
        root = urlsplit(self.url).path.rstrip("/")
        return f"{path.removeprefix(root)}?{query}"

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, accept: tuple[int, ...] = ()
    ) -> Answer:
        """Send a request; wait for rate limits, and repeat what a server in trouble did not do. Raises GitError."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = self._send(method, path, body)
            except urllib3.exceptions.HTTPError as error:
                if attempt == _ATTEMPTS or method == "POST":
                    raise GitError(
                        f"{method} {self.url}{path}: no answer: {error}. Check the address of the forge."
                    ) from error
                self.sleep(0.5 * attempt)
                continue
            if 200 <= answer.status < 300 or answer.status in accept:
                return answer
            pause = self._pause(answer, attempt, method)
            if pause is None or attempt == _ATTEMPTS:
                break
            self.sleep(pause)
        raise self.refused(method, path, answer)

    def _pause(self, answer: Answer, attempt: int, method: str) -> float | None:
        """Return for how long to wait before asking again; None where that is of no use."""
        limited = answer.status == 429 or (answer.status == 403 and answer.headers.get("x-ratelimit-remaining") == "0")
        if limited or (answer.status == 403 and "retry-after" in answer.headers):
            wait = answer.headers.get("retry-after", "")
            reset = answer.headers.get("x-ratelimit-reset") or answer.headers.get("ratelimit-reset") or ""
            seconds = (
                float(wait) if wait.isdigit() else float(reset) - time.time() if reset.isdigit() else float(attempt)
            )
            return max(seconds, 0.1) if seconds <= _PATIENCE else None
        if answer.status in (500, 502, 503, 504) and method != "POST":
            return 0.5 * attempt
        return None

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        headers = {"Accept": "application/json", "User-Agent": "stagecraft.gitops", **self.authorization()}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        answer = urllib3.request(
            method, f"{self.url}{path}", headers=headers, body=data, timeout=_TIMEOUT, retries=False, redirect=False
        )
        try:
            content = json.loads(answer.data) if answer.data else None
        except ValueError:
            content = answer.data.decode("utf-8", "replace")
        return Answer(answer.status, {key.lower(): value for key, value in answer.headers.items()}, content)

    def refused(self, method: str, path: str, answer: Answer) -> GitError:
        """Return the error for an answer that is no success; it never carries the token."""
        said = answer.body
        if isinstance(said, Mapping):
            said = said.get("message") or said.get("error") or said
            said = said if isinstance(said, str) else json.dumps(said)
        said = " ".join(str(said or "").split())[:400].replace(self.token, "(token)")
        advice = {
            401: " The token is not valid.",
            403: " The token may not do this, or the rate limit is used up: wait, or use a token that may write pull requests.",
            404: " There is no such repository, or the token does not show it.",
            429: " The rate limit is used up for longer than is waited for. Run it again later; it goes on where it was.",
        }.get(answer.status, "")
        return GitError(f"{self.name}: {method} {self.url}{path.partition('?')[0]}: {answer.status}: {said}.{advice}")


class GitHub(Forge):
    """GitHub, and GitHub Enterprise with ``https://HOST/api/v3``."""

    name = "GitHub"
    default_url = "https://api.github.com"

    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "X-GitHub-Api-Version": "2022-11-28"}

    def list_path(self, head: str, base: str) -> str:
        owner = self.repository.partition("/")[0]
        query = {"state": "open", "head": f"{owner}:{head}", "base": base, "per_page": 100}
        return f"/repos/{quote(self.repository)}/pulls?{urlencode(query)}"

    def read(self, item: Mapping[str, Any]) -> tuple[str, str, PullRequest]:
        one = PullRequest(
            int(item["number"]),
            str(item["html_url"]),
            str(item["title"]),
            str(item.get("body") or ""),
            str(item.get("node_id") or ""),
            bool(item.get("auto_merge")),
        )
        return str(item["head"]["ref"]), str(item["base"]["ref"]), one

    def create_request(self, head: str, base: str, title: str, body: str) -> tuple[str, dict[str, Any]]:
        return f"/repos/{quote(self.repository)}/pulls", {"head": head, "base": base, "title": title, "body": body}

    def update_request(self, one: PullRequest, title: str, body: str) -> tuple[str, str, dict[str, Any]]:
        return "PATCH", f"/repos/{quote(self.repository)}/pulls/{one.number}", {"title": title, "body": body}

    def schedule(self, one: PullRequest, commit: str, message: str) -> Merging:
        title, _end, text = message.partition("\n")
        query = (
            "mutation($id: ID!, $title: String!, $text: String!) { enablePullRequestAutoMerge(input: {pullRequestId: $id,"
            " mergeMethod: MERGE, commitHeadline: $title, commitBody: $text}) { clientMutationId } }"
        )
        said = self._mutate(query, {"id": one.key, "title": title, "text": text.strip()})
        if "clean status" in said:
            # nothing is left to wait for, and GitHub schedules no such thing; what protects the branch is asked here as well
            data = {"sha": commit, "merge_method": "merge", "commit_title": title, "commit_message": text.strip()}
            path = f"/repos/{quote(self.repository)}/pulls/{one.number}/merge"
            answer = self.ask("PUT", path, data, accept=(403, 404, 405, 409, 422))
            if answer.status < 300:
                return Merging(merged=True)
            why = answer.body.get("message") if isinstance(answer.body, Mapping) else ""
            said = f"{why or f'status {answer.status}'}"
        return Merging(refused=f"GitHub does not merge it by itself: {said}") if said else Merging(scheduled=True)

    def cancel(self, one: PullRequest) -> None:
        query = "mutation($id: ID!) { disablePullRequestAutoMerge(input: {pullRequestId: $id}) { clientMutationId } }"
        self._mutate(query, {"id": one.key})

    def _mutate(self, query: str, variables: Mapping[str, str]) -> str:
        """Ask for a change by GraphQL. Return "" or why it was not done."""
        path = "/graphql" if not self.url.endswith("/v3") else "/../graphql"
        answer = self.ask("POST", path, {"query": query, "variables": variables}, accept=(403, 404, 422))
        problems = answer.body.get("errors") if isinstance(answer.body, Mapping) else None
        if answer.status < 300 and not problems:
            return ""
        said = problems[0].get("message") if isinstance(problems, list) and problems else ""
        return str(said or f"status {answer.status}")


class GitLab(Forge):
    """GitLab, at its own address."""

    name = "GitLab"
    default_url = "https://gitlab.com"

    def _root(self) -> str:
        return f"/api/v4/projects/{quote(self.repository, safe='')}/merge_requests"

    def authorization(self) -> dict[str, str]:
        return {"PRIVATE-TOKEN": self.token}

    def list_path(self, head: str, base: str) -> str:
        query = {"state": "opened", "source_branch": head, "target_branch": base, "per_page": 100}
        return f"{self._root()}?{urlencode(query)}"

    def read(self, item: Mapping[str, Any]) -> tuple[str, str, PullRequest]:
        number = int(item["iid"])
        one = PullRequest(
            number,
            str(item["web_url"]),
            str(item["title"]),
            str(item.get("description") or ""),
            str(number),
            bool(item.get("merge_when_pipeline_succeeds")),
        )
        return str(item["source_branch"]), str(item["target_branch"]), one

    def create_request(self, head: str, base: str, title: str, body: str) -> tuple[str, dict[str, Any]]:
        text = {"title": title, "description": body, "remove_source_branch": True}
        return self._root(), {"source_branch": head, "target_branch": base, **text}

    def update_request(self, one: PullRequest, title: str, body: str) -> tuple[str, str, dict[str, Any]]:
        return "PUT", f"{self._root()}/{one.number}", {"title": title, "description": body}

    def schedule(self, one: PullRequest, commit: str, message: str) -> Merging:
        # the name until GitLab 17.10, and the one since
        when = {"merge_when_pipeline_succeeds": True, "auto_merge": True, "should_remove_source_branch": True}
        data = {**when, "sha": commit, "merge_commit_message": message, "squash_commit_message": message}
        answer = self.ask("PUT", f"{self._root()}/{one.number}/merge", data, accept=(401, 403, 405, 406, 409, 422))
        if answer.status >= 300:
            return Merging(refused=f"GitLab does not merge it by itself: status {answer.status}")
        merged = isinstance(answer.body, Mapping) and answer.body.get("state") == "merged"
        return Merging(merged=merged, scheduled=not merged)

    def cancel(self, one: PullRequest) -> None:
        path = f"{self._root()}/{one.number}/cancel_merge_when_pipeline_succeeds"
        self.ask("POST", path, accept=(401, 403, 404, 405, 406))


class Gitea(Forge):
    """Gitea and Forgejo, at their own address."""

    name = "Gitea"

    def _root(self) -> str:
        return f"/api/v1/repos/{quote(self.repository)}/pulls"

    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"}

    def list_path(self, head: str, base: str) -> str:
        return f"{self._root()}?{urlencode({'state': 'open', 'limit': 50})}"

    def read(self, item: Mapping[str, Any]) -> tuple[str, str, PullRequest]:
        number = int(item["number"])
        one = PullRequest(number, str(item["html_url"]), str(item["title"]), str(item.get("body") or ""), str(number))
        return str(item["head"]["ref"]), str(item["base"]["ref"]), one

    def create_request(self, head: str, base: str, title: str, body: str) -> tuple[str, dict[str, Any]]:
        return self._root(), {"head": head, "base": base, "title": title, "body": body}

    def update_request(self, one: PullRequest, title: str, body: str) -> tuple[str, str, dict[str, Any]]:
        return "PATCH", f"{self._root()}/{one.number}", {"title": title, "body": body}

    def schedule(self, one: PullRequest, commit: str, message: str) -> Merging:
        title, _end, text = message.partition("\n")
        said = {"head_commit_id": commit, "MergeTitleField": title, "MergeMessageField": text.strip()}
        data = {"Do": "merge", "merge_when_checks_succeed": True, "delete_branch_after_merge": True, **said}
        path = f"{self._root()}/{one.number}/merge"
        for attempt in range(1, _ATTEMPTS + 1):
            answer = self.ask("POST", path, data, accept=(403, 405, 409, 422))
            if answer.status < 300:
                return Merging(merged=answer.status != 201, scheduled=answer.status == 201)
            # 405 at first: the forge has not looked at the new commit yet
            if answer.status != 405:
                break
            self.sleep(0.5 * attempt)
        why = str(answer.body.get("message") or "") if isinstance(answer.body, Mapping) else ""
        if answer.status == 409 and "already scheduled" in why:
            return Merging(scheduled=True, new=False)
        return Merging(refused=f"Gitea does not merge it by itself: {why or f'status {answer.status}'}")

    def cancel(self, one: PullRequest) -> None:
        self.ask("DELETE", f"{self._root()}/{one.number}/merge", accept=(403, 404))


KINDS: dict[str, type[Forge]] = {"github": GitHub, "gitlab": GitLab, "gitea": Gitea, "forgejo": Gitea}


def from_options(options: Mapping[str, Any], remote_url: str) -> Forge:
    """Read the dict {type, url, token_file, repository}. Raises GitError with everything that is wrong."""
    problems = []
    kind = KINDS.get(str(options.get("type") or ""))
    if kind is None:
        problems.append(f"the forge's type is {options.get('type')!r}; wanted {', '.join(KINDS)}")
    url = str(options.get("url") or (kind.default_url if kind else "")).rstrip("/")
    if kind is not None and urlsplit(url).scheme not in ("http", "https"):
        problems.append(f"the forge's address {url!r} is none: write https://HOST")
    file = Path(str(options.get("token_file") or "")).expanduser()
    token = ""
    try:
        token = file.read_text(encoding="ascii").strip()
        if not token:
            problems.append(f"the forge's token file {file} is empty")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"the forge's token cannot be read from {file}: {error}")
    repository = str(options.get("repository") or "")
    if not repository:
        try:
            repository = repository_of(
                remote_url if "://" in remote_url else f"ssh://{remote_url.replace(':', '/', 1)}"
            )
        except GitError as error:
            problems.append(str(error).rstrip("."))
    if problems or kind is None:
        raise GitError("; ".join(problems) + ".")
    return kind(url, repository, token)


def _plain(text: str) -> str:
    """Return text as forges store it: without carriage returns, and without white space around."""
    return text.replace("\r\n", "\n").strip()
