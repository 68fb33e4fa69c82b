# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Applications of Argo CD (argoproj.io/v1alpha1, as of v3.5): which of them bring files of a repository, and how they do. Pure.

The rules are those of its own controller and command line: ``controller/state.go``, ``controller/sync.go`` and
``cmd/argocd/commands/app.go`` (waitOnApplicationStatus).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.files import innermost
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import (
    Object,
    Ref,
    listed,
    mapping,
    one_line,
    ref,
    text,
)

GROUP, KIND = "argoproj.io", "Application"
REFRESH = "argocd.argoproj.io/refresh"
State = Literal["ready", "waiting", "out of sync", "passing", "failed"]
_SCP = re.compile(r"^(?:[^@/]+@)?(?P<host>[^:/]+):(?!//)(?P<path>.+)$")
_URL = re.compile(r"^[a-z+]+://(?:[^@/]+@)?(?P<host>[^:/]+)(?::\d+)?/(?P<path>.+)$")
#: What a comparison cannot be made for though the commit may be well: what Go, Git and ssh say of the way to a server.
_PASSING = re.compile(
    r"dial tcp|connection (refused|reset|timed out)|i/o timeout|no such host|DeadlineExceeded|code = Unavailable|\bEOF\b"
    r"|failed to list refs|context deadline|TLS handshake"
    r"|could not resolve host|failed to connect|authentication required|permission denied|remote end hung up"
    r"|unable to access|could not read from remote repository",
    re.IGNORECASE,
)
_BLOCKED = "blocked by sync window"


@dataclass(frozen=True)
class Verdict:
    """How an Application does. ``passing`` says nothing about the commit; ``out of sync`` waits for somebody to sync it."""

    state: State
    said: str = ""


def source_paths(item: Object, url: str, branch: str, default: str = "") -> dict[int, tuple[str, ...]]:
    """Return what an Application follows of a repository's branch, directories and files, by the source's number.

    `default` is the branch that HEAD, or no targetRevision, means ("" for `branch` itself).
    A source that others refer to (``ref``) brings the files of it that they name; without a path of its own only these.
    """
    sources = listed(item, "spec", "sources") or [mapping(item, "spec", "source")]
    called = (branch, "", "HEAD") if default in ("", branch) else (branch,)
    found = {}
    for number, source in enumerate(sources):
        at = text(source, "targetRevision").removeprefix("refs/heads/")
        if repository(text(source, "repoURL")) == repository(url) and at in called:
            own = text(source, "path") or ("" if text(source, "ref") else ".")
            found[number] = (*([_path(own)] if own else []), *_referred(sources, text(source, "ref")))
    return found


def _referred(sources: Iterable[Any], name: str) -> list[str]:
    """Return the files of the source called `name` that the Helm charts of an Application take their values from."""
    prefix = f"${name}/"
    files = [str(one) for source in sources for one in listed(source, "helm", "valueFiles")] if name else []
    return [_path(one.removeprefix(prefix)) for one in files if one.startswith(prefix)]


def _path(path: str) -> str:
    return posixpath.normpath(path).lstrip("/")


def repository(url: str) -> str:
    """Return a repository's address in one form for all protocols: HOST/PATH, without user, port and ``.git``."""
    url = url.strip().rstrip("/").removesuffix(".git")
    found = _URL.match(url) or _SCP.match(url)
    return f"{found['host'].lower()}/{found['path'].strip('/')}" if found else url


@dataclass(frozen=True)
class Delivering:
    """The Applications that bring files, each with its source's number.

    `guessed` says that no path of theirs has all of the files: they are those that follow the repository.
    """

    numbers: Mapping[Ref, int]
    guessed: bool = False


def delivering(items: Iterable[Object], url: str, branch: str, files: Sequence[str], default: str = "") -> Delivering:
    """Return the Applications that bring these files, of each those with the innermost path.

    All that follow the repository are guessed where there are no files, or one comes from elsewhere, such as a base.
    """
    paths = {ref(item): found for item in items if (found := source_paths(item, url, branch, default))}
    followed = {(named, number): several for named, found in paths.items() for number, several in found.items()}
    everything = Delivering({named: next(iter(found)) for named, found in paths.items()}, guessed=True)
    chosen: dict[Ref, int] = {}
    for file in files:
        inner = innermost(file, followed)
        if not inner:
            return everything
        chosen |= dict(inner)
    return Delivering(chosen) if chosen else everything


def at_revision(item: Object, number: int) -> str:
    """Return the commit that an Application was last compared with, of its source with this number."""
    several = listed(item, "status", "sync", "revisions")
    return str(several[number]) if number < len(several) else text(item, "status", "sync", "revision")


def judge(item: Object, number: int, commit: str, comes_after: Callable[[str, str], bool]) -> Verdict:
    """Say how an Application does with a commit ("" for any); ``comes_after(found, commit)`` accepts one that followed it.

    Nothing of its status counts before it has looked at Git, and no health that is older than its last sync. One that does
    not get to the commit says nothing about it: a controller that is down is no reason to go back.
    """
    if REFRESH in mapping(item, "metadata", "annotations"):
        return Verdict("passing", "it has not looked at Git yet")
    conditions = {text(one, "type"): one_line(text(one, "message")) for one in listed(item, "status", "conditions")}
    if said := conditions.get("InvalidSpecError"):
        return Verdict("failed", said)
    if said := conditions.get("ComparisonError"):
        return Verdict("passing" if _PASSING.search(said) else "failed", said)
    at = at_revision(item, number)
    if commit and not (at.startswith(commit) or (at and comes_after(at, commit))):
        return Verdict("passing", f"it is at {at[:12] or 'no commit'}")
    return _synced(item, at, conditions)


def _synced(item: Object, at: str, conditions: Mapping[str, str]) -> Verdict:
    """Judge an Application that has seen the commit."""
    operation = mapping(item, "status", "operationState")
    phase, said = text(operation, "phase"), one_line(text(operation, "message"))
    if mapping(item, "operation") or phase in ("Running", "Terminating"):
        return Verdict("passing" if _BLOCKED in said else "waiting", said or "its sync is under way")
    gave_up = conditions.get("SyncError", "")
    if phase in ("Failed", "Error") and at in _operated(operation):
        return Verdict("failed", f"its sync failed: {said}")
    if gave_up and at[:7] in gave_up:
        return Verdict("failed", gave_up)
    if text(item, "status", "sync", "status") != "Synced":
        return Verdict("out of sync", "it is not synced")
    if text(operation, "finishedAt") > (text(item, "status", "reconciledAt") or "~"):
        return Verdict("waiting", "it was not compared since its sync")
    return _healthy(item)


def _healthy(item: Object) -> Verdict:
    health = text(item, "status", "health", "status")
    why = one_line(text(item, "status", "health", "message"))
    if health == "Healthy":
        return Verdict("ready")
    return Verdict("passing" if health == "Suspended" else "waiting", f"it is {health}{f': {why}' if why else ''}")


def _operated(operation: Mapping[str, Any]) -> list[str]:
    """Return the commits that a sync was for."""
    result, asked = mapping(operation, "syncResult"), mapping(operation, "operation", "sync")
    several = [*listed(result, "revisions"), *listed(asked, "revisions")]
    return [found for found in (text(result, "revision"), text(asked, "revision"), *map(str, several)) if found]


def automated(item: Object) -> bool:
    """Say whether Argo CD syncs an Application by itself."""
    policy = mapping(item, "spec", "syncPolicy").get("automated")
    return isinstance(policy, Mapping) and policy.get("enabled") is not False


def workloads(item: Object) -> list[Ref]:
    """Return the objects of an Application."""
    return [
        Ref(text(one, "group"), text(one, "kind"), text(one, "namespace"), text(one, "name"))
        for one in listed(item, "status", "resources")
    ]


def refresh() -> dict[str, Any]:
    """Return the merge patch that has an Application look at Git; its controller takes the annotation away again."""
    return {"metadata": {"annotations": {REFRESH: "normal"}}}


def with_sync(item: Object, number: int, revision: str) -> dict[str, Any] | None:
    """Return an Application with a sync to a commit begun, as Argo CD's server begins one; None where one is under way.

    What the last operation left is taken away, as ``SetAppOperation`` does: its phase would be taken for the new one's.
    """
    if mapping(item, "operation"):
        return None
    status = {key: value for key, value in mapping(item, "status").items() if key != "operationState"}
    policy = mapping(item, "spec", "syncPolicy")
    sync: dict[str, Any] = {"syncOptions": listed(policy, "syncOptions")} if listed(policy, "syncOptions") else {}
    if several := listed(item, "status", "sync", "revisions"):
        sync["revisions"] = [revision if place == number else str(one) for place, one in enumerate(several)]
    else:
        sync["revision"] = revision
    operation: dict[str, Any] = {"initiatedBy": {"username": "stagecraft.gitops"}, "sync": sync}
    if retry := mapping(policy, "retry"):
        operation["retry"] = dict(retry)
    return {**item, "operation": operation, "status": status}
