# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scan as a program: for a shell, for CI, and as a part of Git's pre-push hook."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan import commits
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.errors import LeakScanError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.needles import Secret, read
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.scan import Report, as_result, scan

OK, FOUND, FAILED = 0, 1, 2
#: Git's configuration of one clone, which no commit can change: a command that prints the secrets must not come from one.
COMMAND = "stagecraft.secretsCommand"
#: A source of one environment's secrets: ``staging=ansible-vault view staging.yml``, ``staging=FILE``.
_OF_ONE = re.compile(r"([A-Za-z0-9_.-]+)=(.*)", re.DOTALL)
SHARED = "stagecraft.sharedSecret"
IGNORE = "stagecraft.leakIgnore"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog="secrets-leak-scan",
        description="Search commits for known secrets in any encoding, for Secrets in clear, and for private keys.",
        epilog=f"Exit status: {OK} nothing found, {FOUND} something found, {FAILED} the scan could not be done.",
    )
    found.add_argument(
        "revision", nargs="?", default="HEAD", help="a range, or a revision without what remotes have (HEAD)"
    )
    found.add_argument(
        "--all", action="store_true", help="all history of the revision, also what remotes have (for CI)"
    )
    found.add_argument("--repository", type=Path, default=Path(), metavar="DIR", help="the repository (the directory)")
    found.add_argument(
        "--secrets",
        action="append",
        default=[],
        metavar="[ENVIRONMENT=]FILE",
        help="YAML or JSON: environment, name, value (or of ENVIRONMENT: name, value); - is standard input; repeatable",
    )
    found.add_argument("--shared", action="append", default=[], metavar="NAME", help="may be the same in environments")
    found.add_argument(
        "--ignore", action="append", default=[], metavar="RULE[:GLOB]", help="leave a rule out; repeatable"
    )
    found.add_argument("--format", choices=("text", "json"), default="text")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    given = parser().parse_args(arguments)
    try:
        secrets = [one for name in given.secrets for one in _read(name)]
        secrets = secrets if given.secrets else configured_secrets(given.repository)
        shared, ignore = _settings(given.repository)
        selection = commits.unpushed(given.repository, given.revision, given.all)
        report = scan(given.repository, selection, secrets, (*given.shared, *shared), (*given.ignore, *ignore))
    except LeakScanError as error:
        print(f"secrets-leak-scan: {error}", file=sys.stderr)
        return FAILED
    if given.format == "json":
        print(json.dumps(as_result(report), indent=2))
    else:
        show(report, len(secrets))
    return FOUND if report.findings or report.problems else OK


def pre_push(root: Path, lines: Iterable[str], remote: str) -> int:
    """Be a part of Git's pre-push hook: scan what is pushed to `remote`. Raises LeakScanError."""
    secrets = configured_secrets(root)
    shared, ignore = _settings(root)
    report = scan(root, commits.pushed(root, lines, remote), secrets, shared, ignore)
    show(report, len(secrets), sys.stderr)
    return FOUND if report.findings or report.problems else OK


def show(report: Report, count: int, stream: Any = None) -> None:
    """Print a report."""
    out = stream or sys.stdout
    for finding in report.findings:
        print(finding.text(), file=out)
    for problem in report.problems:
        print(f"error: {problem} [secret-shared]", file=out)
    for warning in report.warnings:
        print(f"warning: {warning} [secret-weak]", file=out)
    if not count:
        print(f"warning: no known secrets to look for: set git config {COMMAND}, or give --secrets", file=out)
    print(f"{report.objects} objects, {count} secrets: {len(report.findings) + len(report.problems)} errors", file=out)


def configured_secrets(root: Path) -> list[Secret]:
    """Return what the configured commands print; none without a command. Raises LeakScanError.

    A command prints all environments (``sops decrypt FILE``), or those of one (``staging=ansible-vault view FILE``).
    """
    said = commits.git(root, "config", "--get-all", COMMAND, check=False).decode()
    return [one for line in said.split("\n") if line.strip() for one in _printed(root, line.strip())]


def _printed(root: Path, command: str) -> list[Secret]:
    environment, command = _source(command)
    try:
        argv = shlex.split(command)
        if not argv:
            raise LeakScanError(f"git config {COMMAND}: wanted a command behind {environment}=, found none")
        answer = subprocess.run(argv, cwd=root, stdout=subprocess.PIPE, check=False)
    except (OSError, ValueError) as error:
        raise LeakScanError(f"git config {COMMAND}: the command cannot be run: {error}") from None
    if answer.returncode:
        raise LeakScanError(f"git config {COMMAND}: {argv[0]} failed with status {answer.returncode}")
    return _parse(answer.stdout, f"what {argv[0]} prints", environment)


def _source(text: str) -> tuple[str, str]:
    """Return the environment that a source of secrets is of ("" for one that names them itself), and the source."""
    one = _OF_ONE.fullmatch(text)
    return (one[1], one[2]) if one else ("", text)


def _settings(root: Path) -> tuple[list[str], list[str]]:
    found = (
        commits.git(root, "config", "--get-all", name, check=False).decode().split("\n") for name in (SHARED, IGNORE)
    )
    shared, ignore = ([line for line in lines if line] for lines in found)
    return shared, ignore


def _read(name: str) -> list[Secret]:
    environment, name = _source(name)
    if name == "-":
        return _parse(sys.stdin.buffer.read(), "standard input", environment)
    try:
        return _parse(Path(name).read_bytes(), name, environment)
    except OSError as error:
        raise LeakScanError(f"{name}: {error.strerror}") from None


def _parse(data: bytes, where: str, environment: str) -> list[Secret]:
    try:
        content = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError):
        # what the parser says of it may quote a secret
        raise LeakScanError(f"{where}: wanted YAML or JSON with secrets, found something that cannot be read") from None
    try:
        return read({environment: content} if environment else content)
    except LeakScanError as error:
        raise LeakScanError(f"{where}: {error}") from None
