# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a branch is, how to get there, and who commits to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._addresses import has_credentials, without_credentials
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError

_URL = re.compile(r"(?:ssh|https?|file)://\S+|[\w.-]+@[\w.-]+:\S+")
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|@\{|\.lock(?:/|$)))[^\s~^:?*\[\\/.-][^\s~^:?*\[\\]*(?<![/.])")


@dataclass(frozen=True)
class Remote:
    """Where a branch is and how to get there.

    `key_file` is a private key on the controller ("" leaves the choice to ssh: its agent and configuration).
    `known_hosts` are the lines that pin the server's host keys ("" leaves it to the user's own known_hosts; an unknown
    host is refused either way). `token_file` holds the password or token of `user` for an http(s) address; neither is
    ever part of an argument or of the environment. `timeout` is in seconds, for each contact with the server.
    """

    url: str
    branch: str
    key_file: str = ""
    known_hosts: str = ""
    timeout: float = 60.0
    token_file: str = ""
    user: str = "git"

    def __post_init__(self) -> None:
        """Refuse what git would misunderstand."""
        problems = []
        if not _URL.fullmatch(self.url):
            problems.append(f"the address {without_credentials(self.url)!r} is none: write ssh://git@HOST/PATH.git")
        if has_credentials(self.url):
            problems.append(
                f"the address {without_credentials(self.url)} carries credentials, which everybody who reads the inventory,"
                " the repository or the cluster would see: take them out, and use an ssh:// address with a key, or"
                " token_file"
            )
        if not _BRANCH.fullmatch(self.branch):
            problems.append(f"{self.branch!r} is no name of a branch")
        if self.key_file and not Path(self.key_file).expanduser().is_file():
            problems.append(f"there is no private key {self.key_file}")
        if self.token_file and not Path(self.token_file).expanduser().is_file():
            problems.append(f"there is no file {self.token_file} with a token")
        if problems:
            raise GitError("; ".join(problems) + ".")

    def __str__(self) -> str:
        """`ADDRESS, branch NAME`, without credentials."""
        return f"{without_credentials(self.url)}, branch {self.branch}"


@dataclass(frozen=True)
class Author:
    """Who a commit is by."""

    name: str
    email: str

    def __str__(self) -> str:
        """As git writes it."""
        return "{} <{}>".format(*(re.sub(r"[<>\n]", "", part) for part in (self.name, self.email)))
