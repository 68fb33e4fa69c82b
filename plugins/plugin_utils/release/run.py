# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole promotion or rollback: look, plan, ask the gates, land or open a pull request, verify, and go back if it fails."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.pull_requests import Forge
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.repository import Repository
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.needles import Secret
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import (
    applied,
    charts,
    delivery,
    history,
    holds,
    live,
    message,
    model,
    pull_request,
    reappliers,
    render,
    retag,
    revert,
    target,
    verify,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import (
    plan as planning,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.digests import Resolver, gone
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import (
    capacity,
    gate,
    leak,
    policy,
    program,
    rules,
    sealed,
    signature,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import cluster as cluster_gates
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.message import Record
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import Environment
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.operation import (
    Holding,
    Job,
    Landed,
    Observation,
    Place,
    Promotion,
    Rollback,
    land,
    look,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Plan
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.errors import YamlEditError

Strategy = Literal["push", "pull_request", "plan"]
_ERRORS = (KubeError, GitError, OSError)


@dataclass(frozen=True)
class Options:
    """How a job is carried out; what each means is told by the modules' documentation. Times are in seconds.

    `verify_given` are the options of `verify` that the run has set itself, which an environment's own do not replace.
    `secrets` are values that must not get into Git.
    """

    check_mode: bool = False
    strategy: Strategy = "push"
    approved_plan: str = ""
    approved_by: str = ""
    gates: Mapping[str, Any] = field(default_factory=dict)
    verify: verify.Options = field(default_factory=verify.Options)
    verify_given: frozenset[str] = frozenset()
    force: bool = False
    reason: str = ""
    message: str = ""
    retries: int = 25
    forge: Forge | None = None
    auto_merge: bool = False
    clusters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    retag: retag.Options = field(default_factory=retag.Options)
    secrets: tuple[Secret, ...] = ()


class Clusters:
    """The clusters of environments; None for one that nobody has named."""

    def __init__(self, named: Mapping[str, Mapping[str, Any]]) -> None:
        """Take them by their environment's name: `kubeconfig`, `context`, `source`, and `ssh`, an SshTarget to go through."""
        self._named = named
        self._open: dict[str, live.Cluster] = {}

    def environment(self, one: Environment) -> Environment:
        """Return an environment with the way to its cluster that variables gave."""
        given = self._named.get(one.name)
        if given is None:
            return one
        return replace(
            one,
            kubeconfig=given.get("kubeconfig") or one.kubeconfig,
            context=given.get("context") or one.context,
            source=given.get("source") or one.source,
        )

    def of(self, one: Environment) -> live.Cluster | None:
        """Return the cluster of an environment."""
        complete = self.environment(one)
        if not complete.has_cluster:
            return None
        if one.name not in self._open:
            self._open[one.name] = live.Cluster(complete, self._named.get(one.name, {}).get("ssh"))
        return self._open[one.name]

    def close(self) -> None:
        """Close all connections."""
        for one in self._open.values():
            one.close()


@dataclass
class Clock:
    """How long the parts of a run took, in seconds."""

    taken: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.monotonic)

    def lap(self, name: str) -> None:
        """Note what has passed since the last lap."""
        now = time.monotonic()
        self.taken[name] = round(self.taken.get(name, 0.0) + now - self._last, 3)
        self._last = now


class Run:
    """One run of a module. Use `promote` or `rollback` once; `close` afterwards."""

    def __init__(self, place: Place, options: Options, now: datetime | None = None) -> None:
        self.place, self.options = place, options
        self.now = now or rules.utc_now()
        self.clusters = Clusters(options.clusters)
        self.clock = Clock()

    def close(self) -> None:
        """Close the connections to clusters."""
        self.clusters.close()

    # -- promote ---------------------------------------------------------------------------------------------------------

    def promote(
        self,
        source: str,
        environment: str,
        components: Sequence[str],
        what: planning.What = "all",
        truth: Literal["git", "running"] = "git",
        *,
        pin_digest: bool = True,
        ask_registry: bool = True,
    ) -> dict[str, Any]:
        """Promote; return the result as the module gives it. Raises ReleaseError, GitError: nothing was pushed then."""
        digests = Resolver(truth, pin=pin_digest, ask_registry=ask_registry)
        job = Promotion(self.place, self.now, source, environment, components, what, digests)
        seen = look(job)
        self.clock.lap("look")
        states = [wish.source for wish in seen.wishes]
        digests.prepare(states, self.clusters.of(states[0].environment) if states else None)
        made = job.plan(seen)
        self.clock.lap("plan")
        if made.problems:
            raise ReleaseError("nothing was pushed:\n" + "\n".join(f"- {one}" for one in made.problems))
        settings = gate.settings(_defaults(seen), self.clusters.environment(seen.environment).gates, self.options.gates)
        result = self._result(seen, made, settings)
        result["unpromoted_differences"] = [said for wish in seen.wishes for said in planning.differences(wish)]
        if not made.files:
            resumed = self._resume(job, seen, result)
            return self._retagged(seen, made, resumed)
        self._need_reason(seen)
        self._need_programs(seen)
        before, after, diff = self._render(job, seen, made)
        result["rendered_diff"] = diff
        questions, absent = self._questions(seen, made, before, after, digests, source)
        answers = gate.ask(settings, questions, _ERRORS, absent, force=self.options.force)
        self.clock.lap("gates")
        result["gates"] = [one.as_dict() for one in answers]
        if any(one.name == "leak" and one.status not in ("pass", "off") for one in answers):
            # what must not be seen may stand in the lines around the edits, or be what differs
            result |= {"diff": [], "rendered_diff": "", "unpromoted_differences": []}
        refused = gate.refusal(answers) or self._not_approved(result["plan_id"], seen)
        if refused:
            return {**result, "failed": True, "msg": refused}
        if self.options.check_mode or self.options.strategy == "plan":
            told = {**result, "changed": True}
            return told if self.options.strategy == "pull_request" else self._retagged(seen, made, told)

        def record(now: Observation, final: Plan) -> str:
            return self._record("promote", now, final, gate.words(answers), source=source).message()

        def recheck(now: Observation, final: Plan) -> None:
            again = gate.ask(settings, self._rules(now, final), _ERRORS, force=self.options.force)
            if gate.refusal(again):
                raise ReleaseError(gate.refusal(again))

        if self.options.strategy == "pull_request":
            return self._propose(job, seen, made, record, result, gate.words(answers))
        landed = self._land(job, seen, made, record, settings, recheck)
        result |= {"changed": landed.commit is not None, "commit": landed.commit or "", "attempts": landed.attempts}
        result = self._verified(job, landed, result)
        return self._retagged(landed.observation, landed.plan, result)

    def _retagged(self, seen: Observation, made: Plan, result: dict[str, Any]) -> dict[str, Any]:
        """Give the images that were promoted the tags of the environment, if they do well; else tell what would be done."""
        options = self.options
        if result.get("failed") or not options.retag.tags:
            return result
        images = _promoted(made) if made.files else self._newest(seen)
        try:
            done = retag.retag(images, options.retag, check_mode=options.check_mode or options.strategy == "plan")
        except ReleaseError as error:
            there = f"commit {result['commit']} was promoted, and " if result["commit"] else ""
            return {**result, "failed": True, "msg": f"{there}its images did not get all tags: {error}"}
        return {**result, "retagged": done, "changed": result["changed"] or any(one["changed"] for one in done)}

    def _newest(self, seen: Observation) -> list[live.Image]:
        """Return the images that the newest version of each component has brought; there is nothing left to promote."""
        found = []
        with self.place.open() as repository:
            reader = seen.reader.on(repository)
            for wish in seen.wishes:
                one = wish.target.component
                entries = history.versions(repository, reader, seen.base, seen.environment, one)
                now, before = [*(entry.vector for entry in entries), {}, {}][:2]
                found += [live.image(key, version) for key, version in now.items() if version != before.get(key)]
        return [one for one in dict.fromkeys(found) if one is not None]

    # -- rollback --------------------------------------------------------------------------------------------------------

    def rollback(
        self,
        environment: str,
        components: Sequence[str],
        to: str,
        *,
        hold: bool = True,
        until: str = "",
        revert_all: bool = False,
        ask_registry: bool = False,
    ) -> dict[str, Any]:
        """Roll back; return the result as the module gives it. Raises ReleaseError, GitError."""
        kind = revert.Revert if revert_all else Rollback
        job = kind(
            self.place, self.now, environment, components, to, hold=hold, until=until, reason=self.options.reason
        )
        seen = look(job)
        made = job.plan(seen)
        self.clock.lap("plan")
        if made.problems:
            raise ReleaseError("nothing was pushed:\n" + "\n".join(f"- {one}" for one in made.problems))
        settings = gate.settings(dict.fromkeys(gate.DEFAULTS, "off"), {"render": "warn"})
        result = self._result(seen, made, settings)
        result["warnings"] += self._reappliers(seen, hidden=hold)
        if not made.files:
            return self._resume(job, seen, result, wait_for_cluster=False)
        self._need_reason(seen)
        self._need_programs(seen)
        missing, quiet = self._gone(seen, made) if ask_registry else ([], [])
        result["warnings"] += quiet
        refused = [*self._guards(seen), *missing]
        if refused and not (self.options.force and self.options.reason):
            return {**result, "failed": True, "msg": _refused(refused)}
        before, after, diff = self._render(job, seen, made)
        result["rendered_diff"] = diff
        problems = [one for one in after.problems if one not in before.problems]
        result["warnings"] += [f"the kustomization will not build: {one}" for one in problems]
        approval = self._not_approved(result["plan_id"], seen)
        if approval:
            return {**result, "failed": True, "msg": approval}
        if self.options.check_mode or self.options.strategy == "plan":
            return {**result, "changed": True}

        def record(now: Observation, final: Plan) -> str:
            return self._record("rollback", now, final, ()).message()

        if self.options.strategy == "pull_request":
            return self._propose(job, seen, made, record, result, ())
        landed = self._land(job, seen, made, record, settings)
        result |= {"changed": landed.commit is not None, "commit": landed.commit or "", "attempts": landed.attempts}
        # A rollback that does not get well is not rolled back in turn: somebody has to look at it.
        return self._verified(job, landed, result, on_failure="keep", wait_for_cluster=False)

    def move(self, environment: str, to: str) -> dict[str, Any]:
        """Move the branch of an environment to an older commit. Raises ReleaseError, GitError."""
        if not self.options.reason:
            raise ReleaseError("method ref needs a reason: it takes back everything that the branch has got since.")
        if self.options.strategy != "push" or self.options.approved_plan:
            raise ReleaseError(
                "method ref makes no plan that could be approved, and no commit for a pull request: it goes with the strategy"
                " push and without approved_plan only. Nothing was moved. Use the method restore or revert."
            )
        job = Rollback(self.place, self.now, environment, (), to)
        seen = revert.look_back(job)
        changed = seen.source_commit != seen.base
        result = {**self._result(seen, Plan(), {}), "commit": seen.source_commit, "branch": seen.branch}
        if not changed:
            return result
        result["warnings"] = [
            "method ref holds nothing: a promotion or automation may bring the versions back",
            f"{seen.environment.name} was not verified: method ref waits for no cluster",
            *self._reappliers(seen),
        ]
        refused = _irreversible(seen)
        if refused and not self.options.force:
            return {**result, "failed": True, "msg": _refused(refused)}
        if not self.options.check_mode:
            revert.move_branch(job, seen)
        return {**result, "changed": True}

    def _gone(self, seen: Observation, made: Plan) -> tuple[list[str], list[str]]:
        """Say which images and charts nobody has any more, and of which nobody tells."""
        images, quiet = gone(made.changes)
        changes = charts.concerned(made.changes)
        if not changes:
            return images, quiet
        with self.place.open() as repository:
            if repository.commit_of(seen.base) is None:
                repository.fetch([seen.branch])
            reader = seen.reader.on(repository)
            files = {
                path: one.blob for path, one in reader.files(seen.base).items() if path.endswith((".yaml", ".yml"))
            }
            contents = reader.contents(files.values())
        sources = [
            one
            for content in contents.values()
            if b"HelmRepository" in content
            for one in charts.documents(content)
            if one.get("kind") == "HelmRepository"
        ]
        own = {path: charts.documents(made.files.get(path) or b"") for path in {change.file for change in changes}}
        wanted = [charts.wanted(change, own[change.file], sources) for change in changes]
        missing, silent = charts.gone(one for one in wanted if one is not None)
        return [*images, *missing], [*quiet, *silent]

    def _guards(self, seen: Observation) -> list[str]:
        return [
            *_irreversible(seen),
            *(f"{name}: {seen.environment.name} has never had this version" for name in seen.foreign),
        ]

    # -- hold ------------------------------------------------------------------------------------------------------------

    def hold(
        self, environment: str, components: Sequence[str], state: str, *, deny: str = "", until: str = ""
    ) -> dict[str, Any]:
        """Hold versions, or lift holds; return the result as the module gives it. Raises ReleaseError, GitError."""
        job = Holding(
            self.place, self.now, environment, components, state, deny=deny, until=until, reason=self.options.reason
        )
        seen = look(job)
        made = job.plan(seen)
        if made.problems:
            raise ReleaseError("nothing was pushed:\n" + "\n".join(f"- {one}" for one in made.problems))
        held = holds.parse(
            made.files.get(seen.holds_path, seen.reader.content(seen.base, seen.holds_path)), seen.holds_path
        )
        result: dict[str, Any] = {
            "changed": bool(made.files),
            "commit": "",
            "base": seen.base,
            "holds": [str(one) for one in held if one.active(self.now)],
            "diff": made.diffs(),
            "warnings": self._reappliers(seen, hidden=True) if state == "present" else [],
        }
        if not made.files or self.options.check_mode:
            return result

        def record(now: Observation, _final: Plan) -> str:
            return Record(
                "hold" if state == "present" else "release",
                "",
                now.environment.name,
                now.components,
                actor=self.place.actor,
                reason=self.options.reason,
                text=self.options.message,
            ).message()

        def identity(one: Plan) -> str:
            return str(sorted(one.files))

        landed = land(job, seen, made, record, identity, self.options.retries)
        return {**result, "changed": landed.commit is not None, "commit": landed.commit or ""}

    # -- both ------------------------------------------------------------------------------------------------------------

    def _result(self, seen: Observation, made: Plan, settings: Mapping[str, gate.Setting]) -> dict[str, Any]:
        return {
            "changed": False,
            "plan_id": self._identity(made, seen, settings) if made.files else "",
            "base": seen.base,
            "commit": "",
            "edits": [change.as_dict() for change in made.changes],
            "diff": made.diffs(),
            "rendered_diff": "",
            "gates": [],
            "skipped_selectors": list(made.skipped),
            "verified": None,
            "health": {},
            "rolled_back": False,
            "rollback_commit": "",
            "attempts": 0,
            "warnings": [],
            "durations": self.clock.taken,
        }

    def _identity(self, made: Plan, seen: Observation, settings: Mapping[str, gate.Setting]) -> str:
        return made.identity(seen.environment.name, gate.as_plan(settings))

    def _not_approved(self, found: str, seen: Observation) -> str:
        if not self.options.approved_plan or self.options.approved_plan == found:
            return ""
        return (
            f"plan_changed: approved was the plan {self.options.approved_plan}, and what would be done to"
            f" {seen.environment.name} now is the plan {found}. Nothing was pushed. Look at it, and approve it anew."
        )

    def _need_reason(self, seen: Observation) -> None:
        rollback = seen.source_commit == "" and seen.environment.reason_required
        if (self.options.force or rollback) and not self.options.reason:
            why = "force" if self.options.force else f"a rollback of {seen.environment.name}"
            raise ReleaseError(f"{why} needs a reason, which goes into the commit.")

    def _need_programs(self, seen: Observation) -> None:
        checks = self._checks(seen)
        lacking = verify.lacking(checks) if checks.enabled and self.clusters.of(seen.environment) is not None else []
        if lacking:
            raise ReleaseError(f"nothing was pushed: {'; '.join(lacking)}.")

    def _record(
        self, action: message.Action, seen: Observation, made: Plan, gates: Sequence[str], *, source: str = ""
    ) -> Record:
        settings = gate.settings(_defaults(seen), self.clusters.environment(seen.environment).gates, self.options.gates)
        if action != "promote":
            settings = gate.settings(dict.fromkeys(gate.DEFAULTS, "off"), {"render": "warn"})
        return Record(
            action=action,
            plan=self._identity(made, seen, settings),
            environment=seen.environment.name,
            components=tuple(dict.fromkeys(change.component for change in made.changes)) or seen.components,
            source_environment=source,
            source_commit=seen.source_commit,
            changes=made.changes,
            gates=tuple(gates),
            actor=self.place.actor,
            approved_by=self.options.approved_by or ("plan" if self.options.approved_plan else ""),
            reason=self.options.reason,
            text=self.options.message,
        )

    def _render(self, job: Job, seen: Observation, made: Plan) -> tuple[render.Rendered, render.Rendered, str]:
        """Build what the plan touches, before and after it."""
        with job.place.open() as repository:
            trees = [_tree(repository, seen, changed)[0] for changed in ({}, made.files)]
            touched = [path for path in made.files if path != seen.holds_path]
            built = []
            for tree in trees:
                places = render.directories(tree, touched, seen.environment.path)
                built.append(render.render(tree, places))
        return built[0], built[1], render.diff(built[0], built[1])

    def _rules(self, seen: Observation, made: Plan) -> dict[str, Callable[[Mapping[str, Any]], gate.Verdict]]:
        """Return the gates that Git and the clock answer."""
        after: dict[str, Any] = {}
        for change in made.changes:
            after.setdefault(change.component, {})[change.selector] = change.after
        for wish in seen.wishes:
            name = wish.target.component.name
            if name in after:
                after[name] = {**wish.target.vector, **after[name]}
        words = f"{self.options.reason}\n{self.options.message}"
        windows = self.clusters.environment(seen.environment).freeze
        stopped = _stopped(seen)
        return {
            "hold": lambda _: rules.hold(seen.held, after, seen.environment.name, self.now),
            "freeze": lambda _: rules.freeze(windows, stopped, self.now),
            "versions": lambda options: rules.versions(made.changes, options),
            "no_downgrade": lambda _: rules.no_downgrade(made.changes),
            "leak": lambda options: leak.nothing_secret(made.files, words, self.options.secrets, options),
        }

    def _questions(
        self,
        seen: Observation,
        made: Plan,
        before: render.Rendered,
        after: render.Rendered,
        digests: Resolver,
        source: str,
    ) -> tuple[dict[str, Callable[[Mapping[str, Any]], gate.Verdict]], dict[str, str]]:
        """Return all gates that can be asked, and why the others cannot."""
        questions = self._rules(seen, made)
        questions |= {
            "digest": lambda options: cluster_gates.digest(digests, options),
            "render": lambda options: policy.builds(before, after, options),
            "policy": lambda options: policy.judge(after, options),
            "signature": lambda options: signature.signature(options, made.changes, before, after, digests),
        }
        absent = {}
        if "argv" in _options("command", seen, self):
            questions["command"] = lambda options: program.command(options, made.changes, after)
        if "backup" in _options("sealed", seen, self):
            questions["sealed"] = lambda options: self._sealed(seen, made, after, options)
        from_cluster = self.clusters.of(seen.wishes[0].source.environment) if seen.wishes else None
        to_cluster = self.clusters.of(seen.environment)
        if from_cluster is not None:
            asked = from_cluster
            questions["source_healthy"] = lambda _: cluster_gates.source_healthy(asked, seen, self.place.remote)
        else:
            absent["source_healthy"] = f"no cluster is named for {source}"
        questions["soak"] = lambda options: cluster_gates.soak(
            self._since(seen), from_cluster, seen, float(options.get("hours", 24)), self.now
        )
        carried_out = not self.options.check_mode and self.options.strategy != "plan"
        if to_cluster is not None:
            there = to_cluster
            questions |= {
                "server_dry_run": lambda _: cluster_gates.server_dry_run(there, after),
                "secrets": lambda options: cluster_gates.secrets(there, after, options),
                "capacity": lambda _: capacity.capacity(there, before, after, digests.facts),
                "connectivity": lambda options: cluster_gates.connectivity(
                    there, after, options, carried_out=carried_out
                ),
            }
        else:
            for name in ("server_dry_run", "secrets", "capacity", "connectivity"):
                absent[name] = f"no cluster is named for {seen.environment.name}"
        return questions, absent

    def _sealed(
        self, seen: Observation, made: Plan, after: render.Rendered, options: Mapping[str, Any]
    ) -> gate.Verdict:
        """Open the sealed secrets of the whole target, as Git has it with the plan's files."""
        backup, elsewhere = sealed.backup_of(options, seen.environment.name), sealed.elsewhere_of(options)
        with self.place.open() as repository:
            tree, files = _tree(repository, seen, made.files)
            paths = [*(path for path in files if path not in made.files), *made.files]
            touched = [path for path in made.files if path != seen.holds_path]
            found = applied.applied(tree, paths, seen.environment.path, touched)
            hidden = sealed.unseen(found, tree, paths)
        where = self.clusters.of(seen.environment)

        def there(one: sealed.Name) -> bool:
            return where is not None and where.session.object(Ref("", "Secret", *one)) is not None

        needed = sealed.needed(found, after)
        return sealed.judge(found, hidden, needed, backup, elsewhere, None if where is None else there)

    def _since(self, seen: Observation) -> datetime:
        """Return when the newest of the promoted versions came to the source, by Git."""
        newest = 0
        with self.place.open() as repository:
            reader = seen.reader.on(repository)
            for wish in seen.wishes:
                found = history.versions(
                    repository, reader, seen.source_commit, wish.source.environment, wish.source.component
                )
                newest = max(newest, found[0].commit.time if found else 0)
        return datetime.fromtimestamp(newest, tz=UTC)

    def _land(
        self,
        job: Job,
        seen: Observation,
        made: Plan,
        record: Callable[[Observation, Plan], str],
        settings: Mapping[str, gate.Setting],
        recheck: Callable[[Observation, Plan], None] | None = None,
    ) -> Landed:
        landed = land(
            job,
            seen,
            made,
            record,
            lambda one: self._identity(one, seen, settings),
            self.options.retries,
            recheck,
        )
        self.clock.lap("land")
        return landed

    def _propose(
        self,
        job: Job,
        seen: Observation,
        made: Plan,
        record: Callable[[Observation, Plan], str],
        result: dict[str, Any],
        words: Sequence[str],
    ) -> dict[str, Any]:
        """Bring the plan into a pull request of its own branch, or the open one up to date."""
        done = pull_request.propose(
            job,
            seen,
            made,
            record(seen, made),
            result["plan_id"],
            [one for one in result["gates"] if one["status"] != "off"],
            self.options.forge,
            auto_merge=self.options.auto_merge,
        )
        self.clock.lap("land")
        later = []
        if seen.source_commit and self._checks(seen).enabled and self.clusters.of(seen.environment) is not None:
            said = "is verified by the next run after the merge: run the same again then; nothing goes back before that"
            later = [f"{seen.environment.name} {said}"]
        return {
            **result,
            "changed": done.changed,
            "commit": done.commit,
            "branch": done.branch,
            "pr_url": done.url,
            "merged": done.merged,
            "scheduled": done.scheduled,
            "warnings": [*result["warnings"], *done.warnings, *later],
        }

    # -- verification ------------------------------------------------------------------------------------------------------

    def _checks(self, seen: Observation) -> verify.Options:
        """Return what has to hold in an environment: what it says itself, and what this run asks for."""
        return verify.combined(self.options.verify, self.options.verify_given, seen.environment.verify)

    def _resume(
        self, job: Job, seen: Observation, result: dict[str, Any], *, wait_for_cluster: bool = True
    ) -> dict[str, Any]:
        """Nothing is to be done in Git; a commit that was not verified yet is verified now."""
        if self.options.check_mode or not self._checks(seen).enabled or self.clusters.of(seen.environment) is None:
            return result
        with self.place.open() as repository:
            reader = seen.reader.on(repository)
            found = [
                (entries[0].commit, wish)
                for wish in seen.wishes
                if (entries := history.versions(repository, reader, seen.base, seen.environment, wish.target.component))
            ]
            if not found:
                return result
            newest = max((commit for commit, _wish in found), key=lambda one: one.time)
            said = history.verification(repository.note(newest.id))
            parent = repository.parent(newest.id)
            wishes = tuple(wish for commit, wish in found if commit.id == newest.id)
            names = [wish.target.component.name for wish in wishes]
            text = history.said(repository, newest, seen.environment.name, names)
        if said is not None and said["verified"] is True:
            return {**result, "verified": True, "commit": newest.id}
        # The run that made it was interrupted: this one does what that one would have done.
        ours = message.trailer(text, "Gitops-Action") == "promote" and parent is not None
        then = replace(seen, base=parent or seen.base, wishes=wishes)
        result = {**result, "commit": newest.id, "plan_id": message.trailer(text, "Gitops-Plan")}
        on_failure = None if ours else "keep"
        landed = Landed(newest.id, then, Plan(), 0)
        return self._verified(job, landed, result, on_failure, wait_for_cluster=wait_for_cluster)

    def _verified(
        self,
        job: Job,
        landed: Landed,
        result: dict[str, Any],
        on_failure: str | None = None,
        *,
        wait_for_cluster: bool = True,
    ) -> dict[str, Any]:
        """Verify a commit in the cluster, note the answer, and go back where it is bad.

        A rollback needs Git alone: it does not `wait_for_cluster` that is down.
        """
        seen = landed.observation
        where = self.clusters.of(seen.environment)
        commit = landed.commit or seen.base
        checks = self._checks(seen)
        if not checks.enabled:
            return result
        silent = "no cluster is named for it" if where is None else "" if wait_for_cluster else where.silence()
        if where is None or silent:
            said = f"{seen.environment.name} was not verified: {silent}"
            return {**result, "warnings": [*result["warnings"], said]}
        found = verify.verify(where, _subject(commit, landed, job.place), checks, delivery.Clone(job.place))
        self.clock.lap("verify")
        result |= {"verified": found.verified, "health": found.as_dict()}
        result["warnings"] = [*result["warnings"], *found.warnings]
        self._note(commit, result["plan_id"], found, result)
        if found.verified is not False:
            if found.verified is None:
                return {**result, "failed": True, "msg": f"commit {commit} could not be verified: {found.text()}"}
            return result
        action = on_failure or checks.on_failure
        said = f"commit {commit} does not get well in {seen.environment.name}: {found.text()}"
        if action != "rollback" or landed.commit is None:
            return {**result, "failed": True, "msg": f"{said}. It was left as it is."}
        return self._undo(landed, result, said, found)

    def _back(self, landed: Landed, plan_id: str, found: verify.Verification) -> Landed | str:
        """Push the way back of what does not get well, once for each plan; or return the sentence why there is none.

        Raises what Git and the planning of a rollback raise: nothing more was pushed then.
        """
        seen = landed.observation
        names = tuple(dict.fromkeys(change.component for change in landed.plan.changes)) or seen.components
        reason = message.one_line(f"{plan_id} does not get well: {found.text()}")[:500]
        place = self.place
        undo = Rollback(place, self.now, seen.environment.name, names, seen.base, hold=True, reason=reason)
        with place.open() as repository:
            now = undo.observe(repository)
            done = [one.id for one in repository.log(now.base, grep=f"Gitops-Undoes: {plan_id}", limit=1)]
        if done:
            return f"It was rolled back before, by {done[0]}, and is not a second time; look at it by hand."
        made = undo.plan(now)
        if made.problems or not made.changes:
            why = "; ".join(made.problems) or "somebody else has changed the version meanwhile"
            return f"It was not rolled back: {why}."
        crossed = _irreversible(now)
        if crossed:
            # what has migrated its data is not taken back without somebody's word
            way = f"go back by {_by_hand(seen)} -e release_force=true"
            return f"It was not rolled back, and stands in {seen.environment.name}: {'; '.join(crossed)}. If it is meant, {way}."

        def record(one: Observation, final: Plan) -> str:
            own = self._record("auto-rollback", one, final, ())
            return replace(own, undoes=plan_id, reason=reason).message()

        settings = gate.settings(dict.fromkeys(gate.DEFAULTS, "off"), {"render": "warn"})
        return land(undo, now, made, record, lambda one: self._identity(one, now, settings), self.options.retries)

    def _undo(self, landed: Landed, result: dict[str, Any], said: str, found: verify.Verification) -> dict[str, Any]:
        """Roll back by a new commit what does not get well; where that cannot be done, say what stands."""
        seen, place = landed.observation, self.place
        back: Landed | str
        try:
            back = self._back(landed, result["plan_id"], found)
        except (ReleaseError, YamlEditError, *_ERRORS) as error:
            # what is wrong with the way back must not hide that the commit is there
            ways = f"run it again, or go back by {_by_hand(seen)}"
            back = (
                f"It could not be rolled back, and stands in {seen.environment.name}; {ways}. What was wrong: {error}"
            )
        if isinstance(back, str):
            return {**result, "failed": True, "msg": f"{said}. {back}"}
        self.clock.lap("rollback")
        result |= {"rolled_back": True, "rollback_commit": back.commit or ""}
        where = self.clusters.of(seen.environment)
        after = "which is not verified"
        if where is not None and back.commit:
            clone = delivery.Clone(place)
            well = verify.verify(where, _subject(back.commit, back, place), self._checks(seen), clone)
            self.clock.lap("verify_rollback")
            self._note(back.commit, "", well, result)
            bad = "does not get well either" if well.verified is False else "could not be verified"
            after = "where it is well" if well.verified else f"but that {bad}: {well.text()}"
        return {
            **result,
            "failed": True,
            "msg": f"{said}. It was rolled back by commit {back.commit} to the versions before, {after}. The versions of"
            f" {landed.commit} are held; release_hold lifts that.",
        }

    def _note(self, commit: str, plan_id: str, found: verify.Verification, result: dict[str, Any]) -> None:
        note = {
            "verified": found.verified,
            "at": rules.utc_now().isoformat(timespec="seconds"),
            "plan": plan_id,
            "by": self.place.actor,
            "detail": found.text()[:500],
        }
        try:
            with self.place.open() as repository:
                repository.fetch([self.place.remote.branch])
                repository.add_note(commit, json.dumps(note, sort_keys=True), self.place.author)
        except GitError as error:
            result["warnings"] = [*result["warnings"], f"the verification could not be noted in Git: {error}"]

    def _reappliers(self, seen: Observation, *, hidden: bool = False) -> list[str]:
        """Name what in the repository would bring the denied version back by itself; a hold keeps markers `hidden`."""
        with self.place.open() as repository:
            reader = seen.reader.on(repository)
            return reappliers.named(reader, seen, markers_hidden=hidden)


def _tree(
    repository: Repository, seen: Observation, changed: Mapping[str, bytes | None]
) -> tuple[render.CommitTree, Collection[str]]:
    """Return the files of the base with some of them changed, and the paths of the base. Read it while the repository is open."""
    if repository.commit_of(seen.base) is None:
        repository.fetch([seen.branch])
    reader = seen.reader.on(repository)
    files = reader.files(seen.base)

    def read(paths: Iterable[str]) -> dict[str, bytes]:
        wanted = {path: files[path].blob for path in paths}
        contents = reader.contents(wanted.values())
        return {path: contents[blob] for path, blob in wanted.items()}

    return render.CommitTree(files, read, changed), files


def _by_hand(before: Observation) -> str:
    """Return what somebody calls to go back to the versions that were observed before a plan."""
    where = f"-e environment={before.environment.name} -e component={','.join(before.components)}"
    return f"playbooks/rollback.yml {where} -e version={before.base} -e \"reason='…'\""


def _refused(why: Sequence[str]) -> str:
    said = "\n".join(f"- {one}" for one in why)
    return f"it was not rolled back, nothing was pushed:\n{said}\nGive force and a reason if it is meant."


def _irreversible(seen: Observation) -> list[str]:
    """Say which versions that cannot be undone lie between what is there and what is wished for."""
    return [
        f"{wish.target.component.name}: {said}"
        for wish in seen.wishes
        for said in target.irreversible(wish.target.component.irreversible, wish.target.vector, wish.source.vector)
    ]


def _options(name: str, seen: Observation, run: Run) -> Mapping[str, Any]:
    layers = (_defaults(seen), run.clusters.environment(seen.environment).gates, run.options.gates)
    return gate.settings(*layers)[name].options


def _defaults(seen: Observation) -> dict[str, Any]:
    """Return the gates that are other by default where an environment counts as production."""
    return {"versions": {"deny": rules.PRE_RELEASE}} if seen.environment.reason_required else {}


def _stopped(seen: Observation) -> Mapping[str, Any] | None:
    """Read the file by which somebody stops all changes to an environment."""
    content = seen.reader.content(seen.base, model.freeze_file(seen.environment))
    if content is None:
        return None
    try:
        found = yaml.safe_load(content)
    except yaml.YAMLError:
        found = None
    return found if isinstance(found, dict) else {"reason": "the file cannot be read"}


def _expected(landed: Landed) -> list[live.Image]:
    """Return the images that are to run after a plan."""
    found = []
    for wish in landed.observation.wishes:
        for one in wish.target.occurrences:
            changed = [c for c in landed.plan.changes if (c.file, c.selector) == (one.file, one.selector)]
            version = changed[0].after if changed else one.version
            image = live.image_of(replace(one, version=version))
            found += [image] if image else []
    return list(dict.fromkeys(found))


def _promoted(made: Plan) -> list[live.Image]:
    """Return the images that a plan changes."""
    found = (live.image(change.selector, change.after) for change in made.changes)
    return [one for one in dict.fromkeys(found) if one is not None]


def _subject(commit: str, landed: Landed, place: Place) -> delivery.Subject:
    """Return what is to be looked at after a plan."""
    wishes = landed.observation.wishes
    files = dict.fromkeys(change.file for change in landed.plan.changes) or dict.fromkeys(
        path for wish in wishes for path in wish.target.files
    )
    own = [model.namespaces(wish.target.environment, wish.target.component) for wish in wishes]
    namespaces = tuple(name for one in own for name in one) if all(own) else ()
    remote, branch = place.remote, landed.observation.branch
    return delivery.Subject(
        commit, tuple(files), tuple(_expected(landed)), namespaces, remote.url, branch, default=remote.branch
    )
