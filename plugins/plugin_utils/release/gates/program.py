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


class NoAnswerError(Exception):
    """A program has not answered: nobody knows what it would have said."""


def command(options: Mapping[str, Any], changes: Sequence[Change], after: Rendered) -> Verdict:
    """Run a program of the admin's, or several, which refuse by their status. Nobody knows where one cannot be run.

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
    said, unknown = [], []
    for one in several:
        try:
            done = run([str(part) for part in one], given)
        except NoAnswerError as error:
            unknown.append(str(error))
        else:
            said += [last_words(done)] if done.returncode else []
    return verdict(said, unknown)


def verdict(failures: Sequence[str], unknown: Sequence[str]) -> Verdict:
    """Return what several answers come to: who has refused is heard first, and then who has not answered."""
    return Verdict(False if failures else None if unknown else True, "; ".join(failures or unknown))


def run(argv: Sequence[str], data: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Raises NoAnswerError where it cannot be run, or takes longer than a minute."""
    try:
        return subprocess.run(
            argv,
            input=data,
            capture_output=True,
            encoding="utf-8",
            # what a program says is for people: one byte that is no text must not cost its answer
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise NoAnswerError(f"wanted the program {argv[0]}, found none. Install it, or switch the gate off") from error
    except OSError as error:
        raise NoAnswerError(f"{argv[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise NoAnswerError(f"{argv[0]} did not end within {_SECONDS:g} s") from error


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Return the end of what a program said, in one line and without its colours."""
    said = " ".join(_COLOUR.sub("", done.stderr.strip() or done.stdout.strip()).split())
    return said[-_MOST_CHARACTERS:] or f"it ended with {done.returncode}"
