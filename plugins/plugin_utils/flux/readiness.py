# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say of one object of Flux whether it is ready at a commit, may still get there, or will not. Pure.

Readiness in Flux is more than the condition Ready: after a push it stays True for the commit before, a failing object
does not count its generation as observed, a path that does not exist is never attempted, an object that is waiting or
suspended has handled a request without having applied anything, and a Helm release that was rolled back runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import graph, revision
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.kinds import BY_NAME, IMAGE, SOURCE
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import (
    Object,
    condition,
    generation,
    is_false,
    is_true,
    listed,
    mapping,
    one_line,
    ref,
    text,
)

#: `passing` is a failure that time may heal (a network, an API that another object brings); the others end a wait.
State = Literal["ready", "waiting", "passing", "failed"]

REQUESTED = "reconcile.fluxcd.io/requestedAt"
#: Our own words for what Flux has none for.
OTHER = "OtherRevision"
FETCHING = "Fetching"
#: spec.timeout of a source that does not say it, as Flux's definitions have it.
_FETCH_TIMEOUT = "1m0s"
_PATIENCE = "Where that lasts, its server does not answer: Flux gives up after {limit} (spec.timeout), says why, and tries again."
_UNMET = (
    "It goes on by itself once this expression (spec.dependsOn[].readyExpr) is true, whatever else the dependency says of "
    "itself: look at the fields that it asks for, and correct them, or the expression, by a commit."
)
_RESUME = "Resume it by flux_suspend."
_RESET = "Fix it by a commit; without one, flux_reconcile with reset lets it try again."

_PASSING = re.compile(
    r"connection refused|connection reset|i/o timeout|no such host|no route to host|network is unreachable"
    r"|context deadline exceeded|TLS handshake|server misbehaving|EOF|too many requests|service unavailable"
    r"|bad gateway|gateway timeout|etcdserver|failed calling webhook|the object has been modified|broken pipe",
    re.IGNORECASE,
)
#: A Kustomization of which the source has brought nothing yet; what is the matter there, the source itself tells.
_NO_ARTIFACT = re.compile(r"Source (?:artifact not found|is not ready, artifact not found), retrying")
_NOT_THERE_YET = re.compile(
    r"no matches for kind|could not find the requested resource|namespaces? \"[^\"]*\" not found", re.IGNORECASE
)


@dataclass(frozen=True)
class Verdict:
    """What an object is like: `reason` is Flux's word for it, `message` what it said, `advice` what to do."""

    state: State
    reason: str = ""
    message: str = ""
    advice: str = ""

    def __str__(self) -> str:
        """`reason: message; advice`."""
        said = ": ".join(part for part in (self.reason, one_line(self.message)) if part) or self.state
        return f"{said.rstrip('.')}. {self.advice}" if self.advice else said


READY = Verdict("ready")


@dataclass(frozen=True)
class Asked:
    """What is waited for: the digest `target` ("" for any commit), and the `token` of our own request to this object.

    Where a token is given, only what the object says after having handled that request counts as a failure. `since` is
    when the source's artefact became the one that is waited for, as its status says it.
    """

    target: str = ""
    token: str = ""
    since: str = ""


def source(item: Object, asked: Asked) -> Verdict:
    """Judge a source: ready when its artefact is of the commit, whatever else it may be doing."""
    found = text(item, "status", "artifact", "revision")
    there = bool(found) and _is_current(item) and (not asked.target or revision.same(found, asked.target))
    stuck = _stalled(item)
    if stuck is not None or (there and asked.target):
        return stuck or READY
    if suspended(item):
        return Verdict("failed", "Suspended", f"it is suspended at {revision.short(found)}", _RESUME)
    failing, ready = condition(item, "FetchFailed"), condition(item, "Ready")
    bad = failing if is_true(failing) else ready
    if (is_true(failing) or is_false(ready)) and _counts(item, asked, bad):
        return _fetch_problem(item, text(bad, "reason"), text(bad, "message"))
    if not is_true(ready) or not _is_current(item) or not _handled(item, asked):
        return _underway(item, bad)
    if there:
        return READY
    return Verdict("waiting", OTHER, f"the newest that it found is {revision.short(found)}, not {asked.target[:12]}")


def _underway(item: Object, said: Mapping[str, Any]) -> Verdict:
    """Say what a source is doing that has neither fetched nor failed since it was asked."""
    if fetching_since(item):
        return fetching(item)
    if is_true(said) and text(said, "type") == "Ready":
        return Verdict("waiting", "NotReconciled", "not asked yet")
    reason, message = text(said, "reason") or "NotReconciled", text(said, "message") or "not fetched yet"
    return Verdict("waiting", reason, message, _advice(item, reason, message))


def fetching_since(item: Object) -> str:
    """Return when a source began with a fetch that it was asked for, "" where there is none or the one before failed."""
    at_work = condition(item, "Reconciling")
    failed = is_true(condition(item, "FetchFailed")) or is_false(condition(item, "Ready"))
    return text(at_work, "lastTransitionTime") if is_true(at_work) and not failed else ""


def fetching(item: Object) -> Verdict:
    """Judge a source whose fetch has not ended."""
    at = text(item, "status", "artifact", "revision")
    limit = text(item, "spec", "timeout") or _FETCH_TIMEOUT
    said = f"it is being fetched, since {fetching_since(item)}" + (
        f"; it is at {revision.short(at)} still" if at else ""
    )
    return Verdict("waiting", FETCHING, said, _PATIENCE.format(limit=limit))


def kustomization(item: Object, asked: Asked) -> Verdict:
    """Judge a Kustomization: ready when it has applied the commit, pruned, and its health checks passed."""
    ready = condition(item, "Ready")
    applied, attempted = text(item, "status", "lastAppliedRevision"), text(item, "status", "lastAttemptedRevision")
    there = revision.same(applied, asked.target) if asked.target else bool(applied)
    early = _stopped(item) or _newer(item, ready)
    if early is not None:
        done = there and is_true(ready) and early.reason == "Suspended" and _is_current(item)
        return READY if done else early
    if is_true(ready):
        if there and (asked.target or _handled(item, asked)):
            return READY
        return Verdict("waiting", OTHER, f"it is ready at {revision.short(applied)} still")
    reason, message = text(ready, "reason"), text(ready, "message")
    if not is_false(ready):
        message = text(condition(item, "Reconciling"), "message") or message
    waits = reason in ("DependencyNotReady", "Progressing", "HealthCheckCanceled") or _NO_ARTIFACT.match(message)
    if not is_false(ready) or waits:
        return _waiting(item, reason, message)
    # A path or an artefact that is not there is never attempted: then the time of the failure has to tell.
    tried = not asked.target or revision.same(attempted, asked.target)
    recent = bool(asked.token) or (reason == "ArtifactFailed" and _since(ready, asked.since))
    if not _counts(item, asked, ready) or not (tried or recent):
        return Verdict("waiting", reason, message)
    return _apply_problem(item, reason, message)


def helm_release(item: Object, asked: Asked) -> Verdict:
    """Judge a HelmRelease: ready when its newest release is deployed and was not put back to an older one."""
    ready, remediated = condition(item, "Ready"), condition(item, "Remediated")
    early = _stopped(item) or _newer(item, ready)
    if early is not None:
        if early.reason == "Suspended":
            return READY if is_true(ready) and _is_current(item) else early
        if is_true(remediated) and early.state == "failed":
            said = f"{text(remediated, 'message')}: what runs is not what was wanted; {_release_failure(item)}"
            return Verdict("failed", text(remediated, "reason"), said, _RESET)
        return early
    if is_true(ready):
        newest: Mapping[str, Any] = next(iter(listed(item, "status", "history")), {})
        if text(newest, "status") not in ("", "deployed"):
            return Verdict("waiting", "NotDeployed", f"its newest release is {text(newest, 'status')}")
        return READY if _handled(item, asked) else Verdict("waiting", "NotReconciled", "not asked yet")
    return _unready_release(item, asked, ready, remediated)


def _unready_release(item: Object, asked: Asked, ready: Mapping[str, Any], remediated: Mapping[str, Any]) -> Verdict:
    reason, message = text(ready, "reason"), text(ready, "message")
    if is_true(remediated):
        return Verdict(
            "waiting", text(remediated, "reason"), f"{text(remediated, 'message')}; {_release_failure(item)}"
        )
    if is_false(ready) and reason == "ArtifactFailed" and _counts(item, asked, ready):
        return _apply_problem(item, reason, message)
    return _waiting(item, reason, message)


def message_of(item: Object) -> str:
    """Return what an object says of being ready, with the expression that it waits for, which Flux does not name."""
    said, expression = text(condition(item, "Ready"), "message"), graph.unmet(item)
    return said if expression is None or expression.text in said else f"{said}: {expression.text}"


def _waiting(item: Object, reason: str, message: str) -> Verdict:
    if graph.unmet(item) is not None:
        return Verdict("waiting", reason, message_of(item), _UNMET)
    return Verdict("waiting", reason or "NotReconciled", message or "not reconciled yet")


def other(item: Object, asked: Asked) -> Verdict:
    """Judge any other kind by its conditions."""
    kind = BY_NAME.get(text(item, "kind"))
    if kind is not None and not kind.status:
        return READY
    ready = condition(item, "Ready")
    early = _stopped(item) or _newer(item, ready)
    if early is not None:
        return early
    if is_true(ready) and _handled(item, asked):
        return READY
    if is_false(ready) and _counts(item, asked, ready):
        return _fetch_problem(item, text(ready, "reason"), text(ready, "message"))
    return Verdict("waiting", text(ready, "reason") or "NotReconciled", text(ready, "message") or "not reconciled yet")


def judge(item: Object, asked: Asked) -> Verdict:
    """Judge an object of any kind of Flux. A commit is asked of sources and Kustomizations only."""
    if text(item, "metadata", "deletionTimestamp"):
        held = ", ".join(map(str, listed(item, "metadata", "finalizers")))
        return Verdict("failed", "Terminating", f"it is being deleted{' and waits for ' + held if held else ''}")
    named = ref(item)
    kind = BY_NAME.get(named.kind)
    if kind is not None and kind.source:
        return source(item, asked)
    if named.kind == "Kustomization":
        return kustomization(item, asked)
    if named.kind == "HelmRelease":
        return helm_release(item, Asked("", asked.token))
    return other(item, Asked("", asked.token))


def handled(item: Object, token: str) -> bool:
    """Say whether a request has been taken up. Handled is not applied: a suspended object handles requests as well."""
    return text(item, "status", "lastHandledReconcileAt") == token


def suspended(item: Object) -> bool:
    """Say whether an object is suspended."""
    return mapping(item, "spec").get("suspend") is True


def _handled(item: Object, asked: Asked) -> bool:
    return not asked.token or handled(item, asked.token)


def _is_current(item: Object) -> bool:
    """Say whether what the status tells is about the newest generation."""
    seen = condition(item, "Ready").get("observedGeneration") or mapping(item, "status").get("observedGeneration")
    return seen is None or int(seen) == generation(item)


def _since(said: Mapping[str, Any], since: str) -> bool:
    """Say whether a condition became what it is after a point in time; both are of the API server's clock."""
    return bool(since) and text(said, "lastTransitionTime") > since


def _counts(item: Object, asked: Asked, said: Mapping[str, Any]) -> bool:
    """Say whether a failure is one of the newest generation, and one after our request if there was one."""
    seen = said.get("observedGeneration")
    return (seen is None or int(seen) == generation(item)) and _handled(item, asked)


def _stopped(item: Object) -> Verdict | None:
    if suspended(item):
        at = text(item, "status", "lastAppliedRevision")
        where = f" at {revision.short(at)}" if at else ""
        return Verdict("failed", "Suspended", f"it is suspended{where}", _RESUME)
    return _stalled(item)


def _stalled(item: Object) -> Verdict | None:
    stalled = condition(item, "Stalled")
    if not is_true(stalled) or not _counts(item, Asked(), stalled):
        return None
    reason, message = text(stalled, "reason"), text(stalled, "message")
    if reason == "RetriesExceeded":
        return Verdict(
            "failed",
            reason,
            f"{message}; {_release_failure(item)}",
            _RESET,
        )
    return Verdict("failed", reason, message, _advice(item, reason, message))


def _newer(item: Object, ready: Mapping[str, Any]) -> Verdict | None:
    seen = ready.get("observedGeneration")
    if seen is None and not ready:
        return Verdict("waiting", "NotReconciled", "its controller has not seen it yet")
    if seen is not None and int(seen) != generation(item):
        return Verdict("waiting", "NewGeneration", "its controller has not seen its newest version yet")
    return None


def _release_failure(item: Object) -> str:
    """Return what made a release fail: the condition that says so outlives the rollback."""
    for kind in ("Released", "TestSuccess"):
        found = condition(item, kind)
        if is_false(found):
            return text(found, "message")
    return text(condition(item, "Ready"), "message")


def _fetch_problem(item: Object, reason: str, message: str) -> Verdict:
    if not _PASSING.search(message):
        return Verdict("failed", reason, message, _advice(item, reason, message))
    # The failure itself is as old as its newest words; the retrying began with the first one.
    kinds = ("FetchFailed", "Reconciling", *(["Ready"] if is_false(condition(item, "Ready")) else []))
    times = [text(condition(item, kind), "lastTransitionTime") for kind in kinds]
    began = min((time for time in times if time), default="")
    said = f"{message.rstrip('.')}, since {began}" if began else message
    return Verdict("passing", reason, said, _advice(item, reason, message))


def _apply_problem(item: Object, reason: str, message: str) -> Verdict:
    passing = reason not in ("BuildFailed", "HealthCheckFailed") and (
        _PASSING.search(message) or _NOT_THERE_YET.search(message)
    )
    return Verdict("passing" if passing else "failed", reason, message, _advice(item, reason, message))


_NO_ANSWER = (
    r"connection refused|no such host|i/o timeout|no route to host|network is unreachable|context deadline exceeded"
)
#: Flux's pauses between tries grow to the --max-retry-delay of its source-controller.
_HEALS = "It heals by itself when that is back: Flux tries again within 15 minutes, flux_reconcile at once."
#: What to do about what a source says, the first that fits; then what holds for sources of Git only.
_SOURCE_ADVICE = (
    (
        r"unable to authenticate|authentication|handshake failed: ssh|permission denied|authorization failed|unauthorized",
        "What the source's Secret holds is not accepted: check its user, password or token.",
    ),
    (
        _NO_ANSWER,
        "The server does not answer from within the cluster: check that it is up, its name, and the network. " + _HEALS,
    ),
)
_GIT_ADVICE = (
    (
        r"unable to authenticate|authentication|handshake failed: ssh|permission denied|authorization failed",
        "The deploy key or password in the source's Secret is not accepted: check that its public half is registered "
        "at the Git host, with read access.",
    ),
    (
        r"knownhosts|host key|known_hosts|hostkey",
        "The Git host's key is not the pinned one in known_hosts of the source's Secret: verify it with the host's "
        "admin before it is replaced.",
    ),
    (
        r"couldn't find remote ref|reference not found|unable to find remote",
        "The branch or tag does not exist: push it, or correct spec.ref of the source.",
    ),
    (r"repository not found", "The repository does not exist, or the deploy key has no access to it: check spec.url."),
    (
        _NO_ANSWER,
        "The Git host does not answer from within the cluster: check that it is up, its name, and the network between. "
        + _HEALS,
    ),
)
#: What to do about what a Kustomization or a Helm release says, the first that fits.
_APPLY_ADVICE = (
    (
        r"InvalidCELExpression",
        "Flux does not try this again: correct the expression (readyExpr of spec.dependsOn, or healthCheckExprs) by a commit.",
    ),
    (
        r"failed calling webhook",
        "The named admission webhook does not answer: look at the pods behind its Service. Where the same repository "
        "installs it, let that Kustomization come first, by dependsOn and wait: true.",
    ),
    (
        rf"ArtifactFailed: .*({_NO_ANSWER})",
        "source-controller does not answer within the cluster: look at its pod, and at NetworkPolicies of its namespace.",
    ),
    (
        r"path not found|no such file or directory.*kustomiz|kustomization path",
        "The path is not in the repository at this commit: check spec.path, and that it was committed.",
    ),
    (
        r"variable substitution failed|variable not set|post build failed",
        "A variable has neither value nor default: add it to postBuild.substitute or substituteFrom, write "
        "${NAME:=default}, or $${NAME} for what is not a variable.",
    ),
    (
        r"no matches for kind|could not find the requested resource",
        "The CustomResourceDefinition is not in the cluster: let the Kustomization that installs it come first, by "
        "dependsOn and wait: true.",
    ),
    (r"namespaces? \"[^\"]*\" not found", "The namespace is not in the cluster: add it to the manifests."),
    (
        r"conflict with|conflicts with",
        "Another field manager owns the field: take it out of one of the two, or let Flux override it.",
    ),
    (r"field is immutable", "The field cannot be changed: delete the object, or annotate it with force: enabled."),
    (r"yaml|mapping values|did not find expected|json:", "What was pushed is not valid: correct the file by a commit."),
    (
        r"health check failed|timeout waiting for",
        "The commit is applied, but what it runs does not become ready: look at the named workload.",
    ),
)


def _advice(item: Object, reason: str, message: str) -> str:
    """Say what to do. Words of a network mean another server in a source than where something is applied."""
    group, kind = ref(item).group, text(item, "kind")
    fetches = group in (SOURCE, IMAGE)
    known = _GIT_ADVICE if kind == "GitRepository" else _SOURCE_ADVICE if fetches else _APPLY_ADVICE
    said = f"{reason}: {message}"
    return next((advice for pattern, advice in known if re.search(pattern, said, re.IGNORECASE)), "")
