# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deploy key is allowed once; its successor takes its place."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git import forge
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError

TOKEN = "t0k3n"  # of the server below
REPOSITORY = "infra/environments"


class Server:
    """Keys of one repository, as Gitea's API has them."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.page = 3
        self.pages = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, status: int, body: Any = None) -> None:
                self.send_response(status)
                data = json.dumps(body).encode() if body is not None else b""
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def handle_one(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
                if self.headers["Authorization"] != f"token {TOKEN}":
                    self.answer(401, {"message": "invalid " + self.headers["Authorization"]})
                elif not self.path.startswith(f"/api/v1/repos/{REPOSITORY}/keys"):
                    self.answer(404, {"message": "no"})
                elif self.command == "GET":
                    asked = parse_qs(urlsplit(self.path).query)
                    start = (int(asked.get("page", ["1"])[0]) - 1) * server.page
                    self.answer(200, server.keys[start : start + server.page] if server.pages else server.keys)
                elif self.command == "POST":
                    server.keys.append({"id": len(server.keys) + 1, **body})
                    self.answer(201, server.keys[-1])
                else:
                    server.keys = [key for key in server.keys if not self.path.endswith(f"/{key['id']}")]
                    self.answer(204)

            do_GET = do_POST = do_DELETE = handle_one  # noqa: N815  # as the server looks for them

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_a_key_is_allowed_to_read_once(server: Server) -> None:
    api = forge.Gitea(server.url, TOKEN)
    assert not api.has_key(REPOSITORY, "ssh-ed25519 AAAA me")
    api.allow_key(REPOSITORY, "ssh-ed25519 AAAA me", "flux-staging")
    api.allow_key(REPOSITORY, "ssh-ed25519 AAAA another comment", "flux-staging")
    assert api.has_key(REPOSITORY, "ssh-ed25519 AAAA")
    assert server.keys == [{"id": 1, "title": "flux-staging", "key": "ssh-ed25519 AAAA me", "read_only": True}]


def test_a_new_key_takes_the_place_of_the_old_one_and_of_no_other(server: Server) -> None:
    api = forge.Gitea(server.url, TOKEN)
    api.allow_key(REPOSITORY, "ssh-ed25519 OTHER", "flux-production")
    api.allow_key(REPOSITORY, "ssh-ed25519 OLD", "flux-staging")
    api.allow_key(REPOSITORY, "ssh-ed25519 NEW", "flux-staging")
    assert [key["key"] for key in server.keys] == ["ssh-ed25519 OTHER", "ssh-ed25519 NEW"]


def test_one_key_is_forgotten_and_no_other(server: Server) -> None:
    api = forge.Gitea(server.url, TOKEN)
    for number in range(4):
        api.allow_key(REPOSITORY, f"ssh-ed25519 KEY{number}", f"flux-{number}")
    assert api.title_of(REPOSITORY, "ssh-ed25519 KEY3 comment") == "flux-3"
    assert api.title_of(REPOSITORY, "ssh-ed25519 KEY") is None
    for _ in range(2):
        api.forget_key(REPOSITORY, "ssh-ed25519 KEY3 comment")
        assert [key["title"] for key in server.keys] == ["flux-0", "flux-1", "flux-2"]


@pytest.mark.parametrize("pages", [True, False])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_a_key_is_found_on_any_page(server: Server, count: int, pages: bool) -> None:
    server.pages = pages
    server.keys = [{"id": n, "title": f"flux-{n}", "key": f"ssh-ed25519 KEY{n}"} for n in range(1, count + 1)]
    api = forge.Gitea(server.url, TOKEN)
    assert api.has_key(REPOSITORY, f"ssh-ed25519 KEY{count}")
    assert not api.has_key(REPOSITORY, "ssh-ed25519 KEY0")
    api.allow_key(REPOSITORY, f"ssh-ed25519 KEY{count}", "another title")
    assert len(server.keys) == count
    api.allow_key(REPOSITORY, "ssh-ed25519 NEW", f"flux-{count}")
    assert [key["key"] for key in server.keys[count - 1 :]] == ["ssh-ed25519 NEW"]


def test_refusals_are_quoted_without_the_token(server: Server) -> None:
    with pytest.raises(GitError, match=r"401: .*The token is not valid") as caught:
        forge.Gitea(server.url, "wr0ng").has_key(REPOSITORY, "x")
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(GitError, match=r"404: .*There is no such repository"):
        forge.Gitea(server.url, TOKEN).has_key("infra/other", "x")
    with pytest.raises(GitError, match="no answer"):
        forge.Gitea("http://127.0.0.1:1", TOKEN).has_key(REPOSITORY, "x")


def test_options_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert forge.Gitea.from_options({"url": "https://git.example.com/", "token_file": str(file)}) == forge.Gitea(
        "https://git.example.com", TOKEN
    )
    assert TOKEN not in repr(forge.Gitea("https://x", TOKEN))
    with pytest.raises(GitError, match=r"'git\.example\.com' is none"):
        forge.Gitea.from_options({"url": "git.example.com", "token_file": str(file)})
    with pytest.raises(GitError, match=r"//\(hidden\)@x carries credentials"):
        forge.Gitea.from_options({"url": "https://ada@x", "token_file": str(file)})
    with pytest.raises(GitError, match="token cannot be read"):
        forge.Gitea.from_options({"url": "https://x", "token_file": str(tmp_path / "none")})


def test_a_repository_is_named_by_its_address() -> None:
    assert forge.repository_of("ssh://git@h:2222/infra/environments.git") == REPOSITORY
    with pytest.raises(GitError, match="OWNER/NAME"):
        forge.repository_of("ssh://git@h/x.git")
