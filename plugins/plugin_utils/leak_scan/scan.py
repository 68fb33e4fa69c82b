# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scan as a whole: what commits bring, held against everything that must not be in them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan import commits, needles, search
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.needles import Secret
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.search import Hit, Text

_FIX = {
    "known-secret": "Take it out of the commit (git commit --amend, git rebase -i), and change it where it has left this machine",
    "private-key": "Take it out of the commit, and replace the key where it has left this machine",
    "secret-in-clear": "Seal it (sealed_secret), or encrypt it with SOPS, and take it out of the commit",
}


@dataclass(frozen=True)
class Finding:
    """One thing that must not be pushed. `file` is "commit" or "tag" for a message; `commit` is short."""

    file: str
    line: int
    commit: str
    rule: str
    message: str

    def text(self) -> str:
        """One line, as compilers write theirs."""
        return f"{self.file}:{self.line}: error: {self.message} [{self.rule}] (commit {self.commit or '?'})"


@dataclass(frozen=True)
class Report:
    """What was found. `warnings` are sentences about secrets that are weak or shared."""

    findings: tuple[Finding, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    objects: int
    bytes: int


def scan(
    root: Path,
    selection: Sequence[str],
    secrets: Sequence[Secret],
    shared: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Report:
    """Search everything that the commits of a selection (arguments of rev-list) bring. Raises LeakScanError.

    `shared` names secrets that environments may have in common; `ignore` are ``RULE:GLOB`` for files. A file that stands at
    several paths is left out where all of them may be.
    """
    found = list(commits.objects(root, selection)) if selection else []
    hits = search_all(commits.texts(found), secrets)
    by = {one.identity: one for one in found}
    also = commits.paths_of(root, selection) if hits and ignore else {}
    findings = []
    for hit in hits:
        one = by[hit.where]
        paths = [one.path, *sorted(also.get(one.identity, set()) - {one.path})]
        told = next((path for path in paths if not is_ignored(hit.rule, path, ignore)), None)
        if told is None:
            continue
        # a commit or tag is found by its message, of which the first lines are Git's own
        is_file = one.kind in ("blob", "tree")
        commit = commits.commit_of(root, selection, one.identity) if is_file else one.identity[:8]
        what = f"{hit.what}, in the name of a file" if one.kind == "tree" else hit.what
        file = told or (one.kind if not is_file else ".")
        findings.append(Finding(file, hit.line, commit, hit.rule, f"{what}. {_FIX[hit.rule]}"))
    problems, warnings = judge(secrets, shared)
    findings.sort(key=lambda one: (one.file, one.line, one.rule, one.message))
    return Report(tuple(findings), tuple(problems), tuple(warnings), len(found), sum(len(one.data) for one in found))


def search_all(texts: Sequence[Text], secrets: Iterable[Secret]) -> list[Hit]:
    """Search texts for known secrets, private keys and Secrets in clear; for those who have texts without commits."""
    wanted = needles.needles(secrets)
    return [*search.known(texts, wanted), *search.private_keys(texts), *search.clear_secrets(texts)]


def judge(secrets: Sequence[Secret], allowed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what is wrong with secrets among themselves, and what is worth a warning."""
    problems = [
        f"{' and '.join(str(one) for one in group)} are the same secret: who reads one environment reads the other. Give each"
        " its own, or declare the name as shared"
        for group in needles.shared(secrets, allowed)
    ]
    short = needles.weak(secrets)
    warnings = (
        [f"too short to be looked for (fewer than {needles.SHORTEST} bytes): {', '.join(map(str, short))}"]
        if short
        else []
    )
    return problems, warnings


def as_result(report: Report) -> dict[str, Any]:
    """Return a report as plain values."""
    return {
        "findings": [vars(one) for one in report.findings],
        "problems": list(report.problems),
        "weak": list(report.warnings),
        "objects": report.objects,
        "bytes": report.bytes,
    }


def environments(values: Mapping[str, Any]) -> list[Secret]:
    """Return the secrets of a mapping of environments. Raises LeakScanError."""
    return needles.read(values)


def is_ignored(rule: str, path: str, ignore: Sequence[str]) -> bool:
    """Say whether a rule is left out for a file, by ``RULE`` or ``RULE:GLOB``."""
    pairs = ((one, glob or "*") for one, _colon, glob in (word.partition(":") for word in ignore))
    return any(rule == one and fnmatch.fnmatchcase(path, glob) for one, glob in pairs)
