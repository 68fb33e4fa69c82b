# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of three forges' APIs that deals with pull requests, served on loopback, with their paging, limits and errors.

The shapes are those of the forges' own documentation: GitHub REST 2022-11-28, GitLab v4, Gitea v1.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "t0k3n"  # of the servers below
REPOSITORY = "infra/environments"
_AUTHORIZATION = {
    "github": ("Authorization", f"Bearer {TOKEN}"),
    "gitlab": ("PRIVATE-TOKEN", TOKEN),
    "gitea": ("Authorization", f"token {TOKEN}"),
}
_LISTS = {
    "github": f"/repos/{REPOSITORY}/pulls",
    "gitlab": f"/api/v4/projects/{REPOSITORY}/merge_requests",
    "gitea": f"/api/v1/repos/{REPOSITORY}/pulls",
}
PAGE = 2


class ForgeServer:
    """One forge of a kind. `fail` holds answers that are given first: (status, headers).

    `checks` says what it makes of the wish to merge: some are `open`, so it is scheduled; all are `passed`, so it is merged;
    or it is `refused`. With `git` it looks at that repository for commits to merge. `merging` holds the messages that it was
    given, by the pull request's number.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.pulls: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.fail: list[tuple[int, dict[str, str]]] = []
        self.checks = "open"
        self.git: Path | None = None
        self.merging: dict[int, str] = {}
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
                status, headers, content = server.answer(self.command, self.path, dict(self.headers.items()), body)
                data = b"" if content is None else json.dumps(content).encode()
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one  # noqa: N815  # as the server looks for them

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def open(self, head: str, base: str = "main", title: str = "t", body: str = "b") -> dict[str, Any]:
        """Open a pull request, as somebody else does."""
        number = len(self.pulls) + 1
        if self.kind == "gitlab":
            one = {
                "iid": number,
                "web_url": f"{self.url}/mr/{number}",
                "title": title,
                "description": body,
                "state": "opened",
            }
            one |= {"source_branch": head, "target_branch": base}
        else:
            one = {
                "number": number,
                "html_url": f"{self.url}/pr/{number}",
                "title": title,
                "body": body,
                "state": "open",
            }
            one |= {"head": {"ref": head}, "base": {"ref": base}, "node_id": f"PR_{number}"}
        self.pulls.append(one)
        return one

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: Mapping[str, Any]
    ) -> tuple[int, dict[str, str], Any]:
        with self._lock:
            parts = urlsplit(target)
            path, query = unquote(parts.path), {key: value[0] for key, value in parse_qs(parts.query).items()}
            self.requests.append((method, path))
            name, wanted = _AUTHORIZATION[self.kind]
            if headers.get(name) != wanted:
                return 401, {}, {"message": f"Bad credentials: {headers.get(name)}"}
            if self.fail:
                status, more = self.fail.pop(0)
                return status, more, {"message": "API rate limit exceeded" if status in (403, 429) else "trouble"}
            return self._do(method, path, query, body)

    def _do(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any]
    ) -> tuple[int, dict[str, str], Any]:
        if path == "/graphql":
            return 200, {}, self._mutate(str(body["query"]), body["variables"])
        root = _LISTS[self.kind]
        if path == root:
            return self._page(root, query) if method == "GET" else self._create(body)
        found = re.fullmatch(rf"{re.escape(root)}/(\d+)(/merge|/cancel_merge_when_pipeline_succeeds)?", path)
        if found is None or int(found[1]) > len(self.pulls):
            return 404, {}, {"message": "Not Found"}
        if found[2]:
            number = int(found[1])
            cancel = method == "DELETE" or found[2].startswith("/cancel")
            return self._cancel(number) if cancel else self._merge(number, body)
        self.pulls[int(found[1]) - 1] |= dict(body)
        return 200, {}, self.pulls[int(found[1]) - 1]

    def _mutate(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        number = int(str(variables["id"]).removeprefix("PR_"))
        said = {"passed": "Pull request Pull request is in clean status", "refused": "not allowed"}.get(self.checks, "")
        if "disablePullRequestAutoMerge" in query:
            self._cancel(number)
        elif said:
            return {"data": None, "errors": [{"message": said}]}
        else:
            self._schedule(number, f"{variables['title']}\n\n{variables['text']}")
        return {"data": {}}

    def _schedule(self, number: int, message: str) -> None:
        self.merging[number] = message
        self.pulls[number - 1] |= {"auto_merge": {"merge_method": "merge"}, "merge_when_pipeline_succeeds": True}

    def _cancel(self, number: int) -> tuple[int, dict[str, str], Any]:
        if self.merging.pop(number, None) is None:
            return (406 if self.kind == "gitlab" else 404), {}, {"message": "not scheduled"}
        self.pulls[number - 1] |= {"auto_merge": None, "merge_when_pipeline_succeeds": False}
        return (201 if self.kind == "gitlab" else 204), {}, None

    def _merge(self, number: int, body: Mapping[str, Any]) -> tuple[int, dict[str, str], Any]:
        if self.checks == "refused" or not (body.get("sha") or body.get("head_commit_id")):
            return 405, {}, {"message": "not mergeable"}
        if self.kind == "gitea" and number in self.merging:
            said = f"pull request is already scheduled to auto merge when checks succeed [pull_id: {number}]"
            return 409, {}, {"message": said}
        texts = {
            "github": ("commit_title", "commit_message"),
            "gitlab": ("merge_commit_message",),
            "gitea": ("MergeTitleField", "MergeMessageField"),
        }[self.kind]
        message = "\n\n".join(str(body[key]) for key in texts)
        if self.checks == "open" and self.kind == "github":
            return 405, {}, {"message": "Required status check is expected."}
        if self.checks == "open":
            self._schedule(number, message)
            return (201 if self.kind == "gitea" else 200), {}, self.pulls[number - 1]
        self.merging[number] = message
        self.pulls[number - 1]["state"] = "merged" if self.kind == "gitlab" else "closed"
        return 200, {}, None if self.kind == "gitea" else self.pulls[number - 1]

    def _page(self, root: str, query: Mapping[str, str]) -> tuple[int, dict[str, str], Any]:
        """Filter as the forge does: GitHub and GitLab by branch, Gitea not at all. Pages are small."""
        found = [one for one in self.pulls if one["state"] in ("open", "opened")]
        if self.kind == "github":
            owner, _, head = query["head"].partition(":")
            found = [one for one in found if one["head"]["ref"] == head and owner == REPOSITORY.partition("/")[0]]
            found = [one for one in found if one["base"]["ref"] == query["base"]]
        elif self.kind == "gitlab":
            found = [one for one in found if one["source_branch"] == query["source_branch"]]
            found = [one for one in found if one["target_branch"] == query["target_branch"]]
        page = int(query.get("page", "1"))
        headers = {}
        if page * PAGE < len(found):
            rest = "&".join(f"{key}={value}" for key, value in query.items() if key != "page")
            headers["Link"] = f'<{self.url}{root}?{rest}&page={page + 1}>; rel="next", <{self.url}{root}>; rel="first"'
        return 200, headers, found[(page - 1) * PAGE : page * PAGE]

    def _create(self, body: Mapping[str, Any]) -> tuple[int, dict[str, str], Any]:
        head = body["source_branch" if self.kind == "gitlab" else "head"]
        base = body["target_branch" if self.kind == "gitlab" else "base"]
        for one in self.pulls:
            same = (
                (one.get("source_branch") or one["head"]["ref"]) == head
                if self.kind == "gitlab"
                else one["head"]["ref"] == head
            )
            if same and one["state"] in ("open", "opened"):
                return (422 if self.kind == "github" else 409), {}, {"message": "a pull request already exists"}
        if self.git is not None:
            count = ["git", "rev-list", "--count", f"{base}..{head}"]
            if subprocess.run(count, cwd=self.git, check=True, capture_output=True, text=True).stdout.strip() == "0":
                return 422, {}, {"message": f"No commits between {base} and {head}"}
        text = body.get("description") if self.kind == "gitlab" else body.get("body")
        return 201, {}, self.open(head, base, body["title"], str(text))


def in_seconds(seconds: float) -> str:
    """A time for a header."""
    return str(int(time.time() + seconds))
