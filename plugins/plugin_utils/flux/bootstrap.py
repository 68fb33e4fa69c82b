# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a cluster follow a repository: what is left to do, doing it, and whether it holds.

Each step can be the last one of a run that is killed: the next run plans what is left. Flux manages itself from the
repository once it follows it, so the cluster is written to directly only until then.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._addresses import without_credentials
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import deploy_key, kinds, readiness, state
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.cluster import Cluster, migrate
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.manifests import REQUIRED
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.readiness import Asked
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.status import status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiClient

Object = dict[str, Any]

_SOURCE = {"apiVersion": f"{kinds.SOURCE}/v1", "kind": "GitRepository"}
_ROOT = {"apiVersion": f"{kinds.KUSTOMIZE}/v1", "kind": "Kustomization"}
#: What may be taken away where the repository leaves it out.
_REMOVABLE = (
    "ClusterRole",
    "ClusterRoleBinding",
    "Deployment",
    "NetworkPolicy",
    "ResourceQuota",
    "Service",
    "ServiceAccount",
)
_DEFINITIONS_READY = 60.0
_LONGEST_PAUSE = 2.0
_KEY_REFUSED = ("unable to authenticate", "permission denied", "authentication required")
#: For how many seconds trouble may last that time may heal, as flux_wait has it; how often Flux is asked meanwhile.
_GRACE = 30.0
_ASK_AGAIN = 5.0
#: In how many looks in a row a failure must stand that no time heals.
_PATIENCE = 3


@dataclass(frozen=True)
class Wanted:
    """A bootstrapped environment. `components` are the installation's objects; `known_hosts` is "" where no key is used."""

    environment: str
    namespace: str
    version: str
    sync: state.Sync
    known_hosts: str
    components: tuple[Object, ...]
    follow: tuple[Object, ...]
    takeover: bool = False

    @property
    def uses_key(self) -> bool:
        """Whether the repository is read over SSH."""
        return self.sync.url.startswith("ssh://")


@dataclass(frozen=True)
class Step:
    """Something that is to be done: to what, and what it is before and after, fit for an admin's eyes."""

    action: str
    target: str
    before: str
    after: str


@dataclass(frozen=True)
class Plan:
    """What is left to do; the flags choose the steps that `apply` carries out, in their order."""

    state: state.State
    steps: tuple[Step, ...]
    migrate: bool = False
    install: bool = False
    make_key: bool = False
    pin_hosts: bool = False
    commit: bool = False
    follow: bool = False
    release: bool = False
    adopt: bool = False


def plan(seen: state.Observed, wanted: Wanted, changes: Mapping[str, bytes | None]) -> Plan:
    """Compare what was observed with what is wanted; `changes` is what the repository lacks. Raises FluxError."""
    kind = state.classify(seen, wanted.sync)
    problems = state.refusals(seen, kind, wanted.sync, takeover=wanted.takeover)
    if problems:
        raise FluxError("Flux was left as it is:\n" + "\n".join(f"- {problem}" for problem in problems))
    running = {item["metadata"]["name"] for item in seen.deployments}
    lacking = [
        item["metadata"]["name"]
        for item in wanted.components
        if item["kind"] == "Deployment" and item["metadata"]["name"] not in running and not _left_out(item, seen.sync)
    ]
    applied = ((seen.sync or {}).get("status") or {}).get("lastAppliedRevision")
    install = bool(lacking) or seen.crd is None or not applied or kind in ("plain", "helm")
    migrate = seen.crd is not None and seen.version != wanted.version
    make_key = wanted.uses_key and (seen.key is None or not seen.key.complete)
    pin = (
        wanted.uses_key
        and not make_key
        and seen.key is not None
        and not deploy_key.same_hosts(seen.key.known_hosts, wanted.known_hosts)
    )
    follow = seen.follows != wanted.sync or not applied
    release = bool(seen.crd) and state.ours(seen.crd or {})
    # also where a run that adopted it was killed after its commit
    adopt = seen.applied_by_cli
    steps: list[Step] = []
    if install:
        what = f"Flux {wanted.version}, namespace {wanted.namespace}"
        steps.append(Step("install", what, kind if kind != "bootstrapped" else "incomplete", "installed"))
    elif migrate and changes:
        steps.append(Step("upgrade", "Flux", seen.version or "unknown", wanted.version))
    if make_key:
        steps.append(Step("create", f"deploy key, Secret {wanted.namespace}/{wanted.namespace}", "absent", "ed25519"))
    if pin:
        steps.append(
            Step("update", f"known_hosts, Secret {wanted.namespace}/{wanted.namespace}", "other keys", "pinned")
        )
    if changes:
        steps += [
            Step("commit", path, "in the repository", "absent" if text is None else "written")
            for path, text in sorted(changes.items())
        ]
    if follow:
        before = str(seen.follows) if seen.follows else "nothing"
        steps.append(Step("follow", "repository", before, str(wanted.sync)))
    if release and not install:
        steps.append(Step("hand over", "Flux", "owned by stagecraft.gitops", "managed from the repository"))
    if adopt:
        steps.append(Step("adopt", "Flux", "owned by the flux command line", "managed from the repository"))
    return Plan(
        kind,
        tuple(steps),
        migrate=migrate,
        install=install,
        make_key=make_key,
        pin_hosts=pin,
        commit=bool(changes),
        follow=follow,
        release=release or install or adopt,
        adopt=adopt,
    )


@dataclass(frozen=True)
class Verdict:
    """What does not hold yet, a sentence each; `terminal` says that waiting does not help.

    `passing` are the kinds of those root objects that are in trouble which time may heal, such as a Git host's restart.
    """

    problems: tuple[str, ...] = ()
    terminal: bool = False
    passing: frozenset[str] = frozenset()


def judge(seen: state.Observed, wanted: Wanted, commit: str, asked: str) -> Verdict:
    """Say whether Flux runs and has applied `commit` from the repository.

    `asked` is the token with which Flux was asked to look again, "" for not yet: what it says of a failure counts only
    after it has looked.
    """
    problems: list[str] = []
    terminal = False
    for item in wanted.components:
        if item["kind"] == "Deployment" and not _left_out(item, seen.sync):
            name = item["metadata"]["name"]
            problems += _deployment_problem(name, seen.deployments)
    source, root = seen.source or {}, seen.sync or {}
    name = f"{wanted.namespace}/{wanted.namespace}"
    if suspended := [
        f"{kind} {name} is suspended: nothing new of the repository reaches the cluster. Let it go on by resume.yml "
        f"(resume_objects: [{kind}/{wanted.namespace}]), then run this again"
        for kind, item in (("GitRepository", source), ("Kustomization", root))
        if (item.get("spec") or {}).get("suspend")
    ]:
        return Verdict((*problems, *suspended), terminal=True)
    passing = set()
    revision = _fetched(source)
    judged = readiness.source({**_SOURCE, **source}, Asked())
    if judged.state in ("failed", "passing"):
        if any(sign in judged.message.lower() for sign in _KEY_REFUSED):
            public = seen.key.public if seen.key else ""
            judged = replace(judged, advice=f"Allow this key to read {wanted.sync.url}: {public}")
        problems.append(f"GitRepository {name}: {_said(judged)}")
        terminal = judged.state == "failed" and _looked(source, asked)
        passing |= {"GitRepository"} if judged.state == "passing" and _looked(source, asked) else set()
    elif not revision.endswith(commit):
        problems.append(f"GitRepository {name} has {revision or 'nothing'}, wanted commit {commit}")
    applied = str((root.get("status") or {}).get("lastAppliedRevision") or "")
    since = str(((source.get("status") or {}).get("artifact") or {}).get("lastUpdateTime") or "")
    judged = readiness.kustomization({**_ROOT, **root}, Asked(commit, since=since))
    if judged.state in ("failed", "passing"):
        problems.append(f"Kustomization {name}: {_said(judged)}")
        terminal = terminal or (judged.state == "failed" and _looked(root, asked))
        passing |= {"Kustomization"} if judged.state == "passing" and _looked(root, asked) else set()
    elif judged.state != "ready":
        why = _said(judged) if root else "not looked at yet"
        problems.append(f"Kustomization {name} has applied {applied or 'nothing'}, wanted commit {commit} ({why})")
    return Verdict(tuple(problems), terminal, frozenset(passing))


def _said(judged: readiness.Verdict) -> str:
    return str(replace(judged, message=_line(judged.message)))


def _fetched(source: Mapping[str, Any]) -> str:
    """The revision that a source has, "" for none."""
    return str(((source.get("status") or {}).get("artifact") or {}).get("revision") or "")


def _looked(item: Mapping[str, Any], asked: str) -> bool:
    """Whether Flux has looked since it was `asked`; somebody else's later question takes the place of ours."""
    handled = str((item.get("status") or {}).get("lastHandledReconcileAt") or "")
    if not asked or not handled:
        return False
    try:
        return datetime.fromisoformat(handled) >= datetime.fromisoformat(asked)
    except (ValueError, TypeError):
        return handled == asked


def _left_out(item: Mapping[str, Any], root: Mapping[str, Any] | None) -> bool:
    """Whether the root has applied something, and this is not among it: a patch of the repository deletes it."""
    applied = kinds.inventory(root or {})
    return bool(applied) and ref(item) not in applied


def _deployment_problem(name: str, deployments: tuple[Object, ...]) -> list[str]:
    found = next((item for item in deployments if item["metadata"]["name"] == name), None)
    if found is None:
        return [f"Deployment {name} is not there"]
    # Available alone is true of the old pod, too, while a new version's does not start.
    judged = status({"apiVersion": "apps/v1", "kind": "Deployment", **found})
    if judged.state == "Current":
        return []
    return [f"Deployment {name} is not available: {_line(judged.message) or 'no word of it yet'}"]


def _line(text: Any) -> str:
    return without_credentials(" ".join(str(text or "").split()))[:600]


@dataclass(frozen=True)
class Verified:
    """Flux has applied `commit`; `seconds` is how long that took."""

    commit: str
    seconds: float


class Bootstrap:
    """Carries out a plan against one API server. `tell` is told what is being done."""

    def __init__(self, api: ApiClient, wanted: Wanted, tell: Callable[[str], None]) -> None:
        self._cluster = Cluster(api)
        self._api = api
        self._wanted = wanted
        self._tell = tell

    def prepare(self, chosen: Plan) -> str:
        """Do what comes before the repository is written to; return the public half of the deploy key, if any."""
        if chosen.migrate:
            migrate(self._cluster, self._wanted.components, self._tell)
        if chosen.install:
            self._tell(f"installing Flux {self._wanted.version}")
            for item in self._wanted.components:
                self._cluster.apply(item)
        return self._key(chosen)

    def follow(self, chosen: Plan) -> None:
        """Make the cluster follow the repository, which has all it needs by now."""
        if not chosen.follow:
            return
        self._tell(f"following {self._wanted.sync}")
        for item in self._wanted.follow:
            self._cluster.wait_for_kind(item, _DEFINITIONS_READY)
            self._cluster.apply(item)

    def _ask(self) -> str:
        """Have the repository looked at now, not at the next interval; return the token that says so."""
        now = datetime.now(UTC).isoformat()
        body = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": now}}}
        for path in (state.source_path(self._wanted.namespace), state.sync_path(self._wanted.namespace)):
            self._api.request("PATCH", path, body=body, content_type="application/merge-patch+json")
        return now

    def release(self, *, adopt: bool = False) -> None:
        """Give up our share of what Flux owns now, and take away what the repository's kustomization.yaml leaves out.

        With `adopt` the flux command line's share goes as well, by which one would see its bootstrap.

        Only what is in the root's inventory is Flux's: of the rest nothing but our own installation is left, in nobody's
        care. Namespaces, definitions and the root objects are never deleted: too much would go with them. Raises FluxError
        where the repository does not bring the controllers that nothing comes without.
        """
        self._tell("handing Flux over to its own repository")
        root = self._api.get(state.sync_path(self._wanted.namespace))
        items = [*self._wanted.components, *self._wanted.follow]
        missing = [
            item["metadata"]["name"]
            for item in items
            if item["kind"] == "Deployment" and item["metadata"]["name"] in REQUIRED and _left_out(item, root)
        ]
        if missing:
            raise FluxError(
                f"{self._wanted.sync}: wanted Flux to bring itself from there, and its Kustomization does not apply"
                f" {' and '.join(missing)}. List gotk-components.yaml in kustomization.yaml beside it, and run this again;"
                " nothing was taken away"
            )
        # by this one the next run sees whether anything is left to do, so it is the last
        for item in sorted(items, key=lambda item: item["metadata"]["name"] == state.SOURCE_CRD):
            if not _left_out(item, root):
                if adopt:
                    self._cluster.release(item, state.CLI_MANAGER)
                self._cluster.release(item)
            elif item["kind"] in _REMOVABLE:
                self._cluster.remove_ours(item)

    def verify(self, commit: str, timeout: float, newer: Callable[[str], str | None], *, new_key: bool) -> Verified:
        """Wait until Flux has applied `commit`, or one that was pushed on top of it meanwhile.

        `newer` reads the branch: its newest commit if that is the given one or comes after it, else None. After a
        `new_key` Flux has to have read the repository with it: what it says of the time before proves nothing.
        Raises FluxError naming what does not hold.
        """
        start = time.monotonic()
        pause, strikes, told, elsewhere = 0.1, 0, "", ""
        asked = self._ask() if new_key else ""
        last_asked = start
        troubled: dict[str, float] = {}
        while True:
            seen = state.observe(self._api, self._wanted.namespace)
            verdict = judge(seen, self._wanted, commit, asked)
            if new_key and not verdict.problems and not _looked(seen.source or {}, asked):
                verdict = Verdict(("Flux has not read the repository with its new key yet",))
            elapsed = time.monotonic() - start
            if not verdict.problems:
                return Verified(commit, elapsed)
            found = _fetched(seen.source or {})
            # once it was asked it has the newest commit: another one than ours is somebody's push, and comes after ours
            if found and found != elsewhere and not found.endswith(commit) and _looked(seen.source or {}, asked):
                latest = newer(commit)
                elsewhere = found if latest else ""
                if latest and latest != commit:
                    self._tell(f"somebody pushed meanwhile: waiting for commit {latest} instead of {commit}")
                    commit, asked, strikes = latest, self._ask(), 0
                    continue
            if not asked:
                asked, last_asked = self._ask(), time.monotonic()
            elif verdict.passing and time.monotonic() - last_asked >= _ASK_AGAIN:
                # its controllers try again after ever longer pauses
                self._ask()
                last_asked = time.monotonic()
            strikes = strikes + 1 if verdict.terminal else 0
            # between its tries the root says nothing of its trouble, so that counts from when it was told first
            troubled = {
                kind: troubled.get(kind, elapsed)
                for kind in ("GitRepository", "Kustomization")
                if kind in verdict.passing or (kind == "Kustomization" and kind in troubled)
            }
            lasting = any(elapsed - troubled[kind] >= _GRACE for kind in verdict.passing)
            text = "; ".join(verdict.problems)
            if strikes >= _PATIENCE or lasting or elapsed + pause > timeout:
                listed = "\n".join(f"- {problem}" for problem in verdict.problems)
                raise FluxError(f"Flux does not follow the repository after {elapsed:.0f} s:\n{listed}")
            if text != told:
                told = text
                self._tell(text)
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _key(self, chosen: Plan) -> str:
        """Make the Secret where it is missing; one that somebody else made in the same moment is taken as it is."""
        namespace = self._wanted.namespace
        path = f"/api/v1/namespaces/{namespace}/secrets"
        if chosen.make_key:
            self._tell("making a deploy key")
            key = deploy_key.generate(f"flux-{self._wanted.environment}")
            item = deploy_key.secret(namespace, namespace, key, self._wanted.known_hosts)
            try:
                self._api.request("POST", path, body=item, query={"fieldManager": state.FIELD_MANAGER})
            except ApiError as error:
                if error.status != 409:
                    raise
                self._adopt(path, item)
        elif chosen.pin_hosts:
            body = {"stringData": {"known_hosts": self._wanted.known_hosts}}
            self._api.request("PATCH", f"{path}/{namespace}", body=body, content_type="application/merge-patch+json")
        if not self._wanted.uses_key:
            return ""
        found = deploy_key.read(self._api.get(f"{path}/{namespace}"))
        return found.public if found else ""

    def _adopt(self, path: str, item: Object) -> None:
        """Replace a Secret without a whole key by ours, whatever else it held: old credentials must not stay."""
        name = item["metadata"]["name"]
        found = self._api.get(f"{path}/{name}")
        seen = deploy_key.read(found)
        if seen is not None and seen.complete:
            return
        item["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
        self._api.request("PUT", f"{path}/{name}", body=item, query={"fieldManager": state.FIELD_MANAGER})
