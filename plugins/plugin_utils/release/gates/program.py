# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates that programs of the admin's machine answer, such as conftest."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import selectors
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Change
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.render import Rendered

_SECONDS = 60.0
_MOST_CHARACTERS = 400
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def command(options: Mapping[str, Any], changes: Sequence[Change], after: Rendered) -> Verdict:
    """Run a program of the admin's, or several, which refuse by their status.

    Options: ``argv``, and what they get on their standard input, ``stdin``: the ``plan`` as JSON (without a word), or the
    manifests as they will be, ``rendered`` to a stream of YAML documents, as conftest and kubeconform read them.
    """
    argv = options.get("argv")
    several: list[Any] = argv if isinstance(argv, list) and argv and isinstance(argv[0], list) else [argv]
    if not all(isinstance(one, list) and one for one in several):
        raise ReleaseError("gate command: wanted argv, a list, or a list of such lists")
    wanted = options.get("stdin") or "plan"
    if wanted == "rendered":
        given = yaml.safe_dump_all(list(after.objects.values()), sort_keys=False)
    elif wanted == "plan":
        given = json.dumps([{**change.as_dict(), "version": selectors.shown(change.after)} for change in changes])
    else:
        raise ReleaseError(f"gate command: stdin: wanted plan or rendered, found {wanted!r}")
    said = []
    for one in several:
        done = run([str(part) for part in one], given)
        said += [last_words(done)] if done.returncode else []
    return Verdict(not said, "; ".join(said))


def run(argv: Sequence[str], data: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Raises ReleaseError where it is not there, or takes longer than a minute."""
    try:
        return subprocess.run(argv, input=data, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except FileNotFoundError as error:
        raise ReleaseError(f"wanted the program {argv[0]}, found none") from error
    except subprocess.TimeoutExpired as error:
        raise ReleaseError(f"{argv[0]} did not end within {_SECONDS:g} s") from error


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Return the end of what a program said, in one line and without its colours."""
    said = " ".join(_COLOUR.sub("", done.stderr.strip() or done.stdout.strip()).split())
    return said[-_MOST_CHARACTERS:] or f"it ended with {done.returncode}"
