# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Git's pre-push hook: the script that calls the gate, and its place in a repository."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.commits import git
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import CheckError

_MARK = "# Written by gitops-check of stagecraft.gitops."


def script(python: str, engine: Path) -> str:
    """Return the hook. Git gives it the remote's name and URL, and on standard input what is pushed."""
    call = f"{shlex.quote(python)} {shlex.quote(str(engine))}"
    return f"""\
#!/bin/sh
{_MARK} It refuses to push secrets, and commits that a cluster could not apply.
if [ ! -x {shlex.quote(python)} ] || [ ! -e {shlex.quote(str(engine))} ]; then
    echo "pre-push: gitops-check is not at" {shlex.quote(str(engine))} "any more: install the hook again" >&2
    exit 1
fi
exec {call} --pre-push --remote "$1"
"""


def install(root: Path) -> tuple[Path, bool]:
    """Write the hook into a repository; return its path and whether it was written. Another's hook is left alone."""
    directory = Path(git(root, "rev-parse", "--git-path", "hooks").decode().strip())
    path = (directory if directory.is_absolute() else root / directory) / "pre-push"
    engine = Path(__file__).absolute().parent
    wanted, call = script(sys.executable, engine), f"{shlex.quote(sys.executable)} {shlex.quote(str(engine))}"
    there = path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
    if there is not None and _MARK not in there:
        raise CheckError(
            f"{path}: wanted to write the pre-push hook, found one that somebody else wrote."
            f' Remove it, or call from it: {call} --pre-push --remote "$1"'
        )
    if there == wanted:
        return path, False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(wanted, encoding="utf-8")
    path.chmod(0o755)
    return path, True
