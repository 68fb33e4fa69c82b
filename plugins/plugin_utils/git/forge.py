# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of a Git host: deploy keys of a repository."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._addresses import has_credentials, without_credentials
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError

try:
    import urllib3
except ImportError as error:
    urllib3 = missing("urllib3", error)

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT = 20.0
#: What Gitea gives at most, by default.
_PER_PAGE = 50


@dataclass(frozen=True)
class Gitea:
    """A Gitea or Forgejo server: `url` is its root, `token` may administer the repository."""

    url: str
    token: str = field(repr=False)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Gitea:
        """Read the dict {url, token_file}. Raises GitError."""
        url, file = str(options.get("url") or ""), Path(str(options.get("token_file") or "")).expanduser()
        if urlsplit(url).scheme not in ("http", "https"):
            raise GitError(f"the forge's address {without_credentials(url)!r} is none: write https://HOST.")
        if has_credentials(url):
            raise GitError(
                f"the forge's address {without_credentials(url)} carries credentials: token_file is for them."
            )
        try:
            token = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise GitError(f"the forge's token cannot be read from {file}: {error}.") from error
        return cls(url.rstrip("/"), token)

    def has_key(self, repository: str, public: str) -> bool:
        """Say whether a repository (``owner/name``) lets this key read. Raises GitError."""
        return self.title_of(repository, public) is not None

    def allow_key(self, repository: str, public: str, title: str) -> None:
        """Let a key read a repository, in the place of the one that had its title before. Raises GitError."""
        for key in self._keys(repository):
            if _bare(str(key.get("key"))) == _bare(public):
                return
            if key.get("title") == title:
                self._ask("DELETE", repository, number=int(key["id"]))
        self._ask("POST", repository, {"title": title, "key": public, "read_only": True})

    def title_of(self, repository: str, public: str) -> str | None:
        """Return the title under which a repository lets a key in; None where it does not. Raises GitError."""
        wanted = _bare(public)
        found = (str(key.get("title") or "") for key in self._keys(repository) if _bare(str(key.get("key"))) == wanted)
        return next(found, None)

    def forget_key(self, repository: str, public: str) -> None:
        """Let a key in no more; one that is not let in is no error. Raises GitError."""
        for key in self._keys(repository):
            if _bare(str(key.get("key"))) == _bare(public):
                self._ask("DELETE", repository, number=int(key["id"]))

    def _keys(self, repository: str) -> list[dict[str, Any]]:
        """Return all keys of a repository. The server decides how many are in a page, so only an empty one is the last.

        One that knows no pages gives the same again.
        """
        found: dict[int, dict[str, Any]] = {}
        for page in itertools.count(1):
            listed = self._ask("GET", repository, query=f"?page={page}&limit={_PER_PAGE}") or []
            new = {int(key["id"]): key for key in listed if int(key["id"]) not in found}
            if not new:
                break
            found |= new
        return list(found.values())

    def _ask(
        self,
        method: str,
        repository: str,
        body: Mapping[str, Any] | None = None,
        number: int | None = None,
        query: str = "",
    ) -> Any:
        address = f"{self.url}/api/v1/repos/{quote(repository)}/keys" + (query if number is None else f"/{number}")
        headers = {"Authorization": f"token {self.token}", "Accept": "application/json"}
        try:
            answer = urllib3.request(
                method,
                address,
                headers=headers | ({"Content-Type": "application/json"} if body else {}),
                body=json.dumps(body).encode() if body else None,
                timeout=_TIMEOUT,
                retries=False,
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise GitError(f"{method} {address}: no answer: {error}. Check the address of the forge.") from error
        if not 200 <= answer.status < 300:
            said = " ".join(answer.data.decode("utf-8", "replace").split())[:400].replace(self.token, "(token)")
            advice = {
                401: " The token is not valid.",
                403: " The token may not administer this repository.",
                404: " There is no such repository, or the token does not show it.",
            }.get(answer.status, "")
            raise GitError(f"{method} {address}: {answer.status}: {said}.{advice}")
        return json.loads(answer.data) if answer.data else None


def repository_of(url: str) -> str:
    """Return ``owner/name`` of an address of a repository. Raises GitError."""
    path = urlsplit(url).path.strip("/").removesuffix(".git")
    if path.count("/") < 1:
        raise GitError(f"{url}: wanted an address that ends in OWNER/NAME.git.")
    return path


def _bare(public: str) -> str:
    """Return a public key without its comment."""
    return " ".join(public.split()[:2])
