# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate as a program: for a shell, for CI, and as Git's pre-push hook."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check import hook
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.cache import default_directory
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.check import Options, Report, check
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.commits import pushed, top, tree_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import CheckError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.schemas import installed_versions
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan import command as leak_scan
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.errors import LeakScanError

OK, FOUND, FAILED = 0, 1, 2
_SETTINGS = ".gitops-check.json"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog="gitops-check",
        description="Check a GitOps repository without a cluster: build every overlay, substitute, hold against schemas.",
        epilog=f"Exit status: {OK} nothing wrong (warnings at most), {FOUND} errors found, {FAILED} the check could not be done.",
    )
    found.add_argument(
        "paths", nargs="*", metavar="PATH", help="cluster paths, such as clusters/production (all of clusters/)"
    )
    found.add_argument(
        "--repository", type=Path, default=None, metavar="DIR", help="the repository (that of the directory)"
    )
    found.add_argument("--commit", metavar="REV", help="check this commit instead of the files that are there")
    found.add_argument(
        "--kubernetes-version", metavar="VERSION", help="Kubernetes of the cluster (newest that is known)"
    )
    found.add_argument(
        "--crds", type=Path, action="append", default=[], metavar="PATH", help="file or directory with CRDs; repeatable"
    )
    found.add_argument(
        "--ignore", action="append", default=[], metavar="RULE[:GLOB]", help="leave a rule out; repeatable"
    )
    found.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (number of processors)")
    found.add_argument(
        "--cache", type=Path, default=None, metavar="DIR", help=f"results of earlier checks ({default_directory()})"
    )
    found.add_argument("--no-cache", action="store_true", help="do not use or keep results")
    found.add_argument("--format", choices=("text", "json"), default="text")
    found.add_argument(
        "--pre-push", action="store_true", help="be Git's pre-push hook: check the commits named on standard input"
    )
    found.add_argument("--remote", default="", metavar="NAME", help="with --pre-push: the remote that is pushed to")
    found.add_argument("--install-hook", action="store_true", help="write Git's pre-push hook into the repository")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    given = parser().parse_args(arguments)
    try:
        root = given.repository or top(Path.cwd())
        if given.install_hook:
            path, written = hook.install(root)
            print(f"{path}: {'written' if written else 'is up to date'}")
            return OK
        if given.pre_push:
            lines = list(sys.stdin)
            # what must not leave this machine counts even where nothing can be built from it
            leaks = leak_scan.pre_push(root, lines, given.remote)
            return max(leaks, _pre_push(given, root, lines))
        if given.commit:
            with tree_of(root, given.commit) as tree:
                return _check(_options(given, tree), given.format)
        return _check(_options(given, root), given.format)
    except (CheckError, LeakScanError) as error:
        print(f"gitops-check: {error}", file=sys.stderr)
        return FAILED


def _options(given: argparse.Namespace, root: Path) -> Options:
    """Return what is checked and how: `root` holds the files, and with them the settings that count for them."""
    stored = _settings(root)
    return Options(
        root=root,
        paths=cluster_paths(root, given.paths or stored.get("paths", ())),
        kubernetes_version=given.kubernetes_version or stored.get("kubernetes_version") or installed_versions()[-1],
        crds=(*given.crds, *(root / path for path in stored.get("crds", ()))),
        ignore=(*given.ignore, *stored.get("ignore", ())),
        cache=None if given.no_cache else given.cache or default_directory(),
        jobs=max(given.jobs, 1),
    )


def _settings(root: Path) -> dict[str, Any]:
    """Return the repository's own settings: kubernetes_version, paths, crds and ignore, as on the command line."""
    path = root / _SETTINGS
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise CheckError(f"{_SETTINGS}: wanted JSON, found: {error}") from None
    lists = ("crds", "ignore", "paths")
    known = {"kubernetes_version", *lists}
    if not isinstance(found, dict) or set(found) - known:
        raise CheckError(f"{_SETTINGS}: wanted a mapping with {', '.join(sorted(known))}, found something else")
    wrong = [name for name in lists if not _is_list_of_texts(found.get(name, []))]
    if wrong:
        raise CheckError(f"{_SETTINGS}: wanted lists of texts, found something else in {', '.join(wrong)}")
    return found


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def cluster_paths(root: Path, given: Sequence[str]) -> tuple[str, ...]:
    """Return the cluster paths to check: those given, or each directory of clusters/ but base."""
    found = tuple(given) or _usual_paths(root)
    if not found:
        raise CheckError(
            f"wanted a cluster path, found none given and no directory {root / 'clusters'}. Name one, such as"
            " clusters/production"
        )
    return found


def _usual_paths(root: Path) -> tuple[str, ...]:
    clusters = root / "clusters"
    names = [path.name for path in clusters.iterdir() if path.is_dir()] if clusters.is_dir() else []
    return tuple(f"clusters/{name}" for name in sorted(names) if name != "base")


def _check(options: Options, style: str) -> int:
    report = check(options)
    _print(report, style)
    return FOUND if report.errors else OK


def _print(report: Report, style: str) -> None:
    if style == "json":
        print(json.dumps(as_result(report), indent=2))
        return
    for finding in report.findings:
        print(finding.text())
    warnings = len(report.findings) - len(report.errors)
    print(
        f"{len(report.kustomizations)} Kustomizations, {report.objects} objects:"
        f" {len(report.errors)} errors, {warnings} warnings"
    )
    for text in report.not_built:
        print(f"not built, since its source is not this repository: {text}")
    if report.unchecked_kinds:
        print(f"no schema for: {', '.join(report.unchecked_kinds)} (give their CRDs by --crds)")


def as_result(report: Report) -> dict[str, object]:
    """Return a report as plain values."""
    return {
        "findings": [finding._asdict() for finding in report.findings],
        "kustomizations": report.kustomizations,
        "objects": report.objects,
        "not_built": report.not_built,
        "unchecked_kinds": report.unchecked_kinds,
    }


def _pre_push(given: argparse.Namespace, root: Path, source: Iterable[str]) -> int:
    status = OK
    for ref, commit in pushed(source):
        print(f"gitops-check: {ref} at {commit[:12]}", file=sys.stderr)
        with tree_of(root, commit) as tree:
            if given.paths or _settings(tree).get("paths") or _usual_paths(tree):
                status = max(status, _check(_options(given, tree), given.format))
            else:
                # a branch of documentation, say: nothing that a cluster follows could be wrong in it
                print(
                    f"gitops-check: {ref}: nothing is built, since it has neither clusters/NAME nor paths in {_SETTINGS}",
                    file=sys.stderr,
                )
    if status != OK:
        print("gitops-check: the push is refused. Correct the errors, or push with --no-verify", file=sys.stderr)
    return status
