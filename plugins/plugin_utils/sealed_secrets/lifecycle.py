# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to become of an environment's sealing keys: made, restored, replaced, retired. Pure but for making a key.

Three places know keys: the backup, the cluster, and the certificate that is sealed with. The backup comes first: a key is
used by nobody before it can be restored. A run may be killed anywhere; the next one reads both places and goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import (
    ENVIRONMENT,
    STATES,
    Backup,
    KeyRecord,
    State,
    merge,
    read_secret,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import SealingKey

Goal = Literal["present", "retired", "compromised", "verified"]
Action = Literal["generate", "back up", "encrypt backup anew", "apply", "retire", "mark compromised"]


@dataclass(frozen=True)
class Wanted:
    """What an environment's keys are to be.

    `fingerprints` are those to retire or to mark. `replace` names the key that is to be the current one no longer;
    `max_age` does so for one of that age. `namespace` is the controller's. `recipients` are those of the backup, as
    `file.comparable` writes them.
    """

    environment: str
    goal: Goal
    namespace: str
    fingerprints: tuple[str, ...] = ()
    replace: str = ""
    max_age: timedelta | None = None
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """A step, and the key that it is about ("" for one that is not made yet, and for the backup as a whole)."""

    action: Action
    fingerprint: str
    detail: str = ""
    before: str = ""


@dataclass(frozen=True)
class Plan:
    """What is to be done, in this order: `backup` is written where `write_backup`, then `apply` goes to the cluster."""

    changes: tuple[Change, ...]
    backup: Backup = field(repr=False)
    write_backup: bool
    apply: tuple[KeyRecord, ...] = field(repr=False)


def observed(
    items: Iterable[Mapping[str, Any]],
    environment: str,
    where: str,
    saved: Backup | None = None,
    *,
    adopt: bool = False,
) -> tuple[KeyRecord, ...]:
    """Return the keys of a cluster's Secrets. Raises SealError, also where they are those of another environment.

    A key that a controller made says of no environment that it is its own. It is taken where the cluster is known to be
    the environment's, by another key or by what is `saved`, or where that is asked for (`adopt`).
    """
    records, problems, ours = [], [], adopt
    known = {record.fingerprint for record in saved.records} if saved is not None else set[str]()
    for item in items:
        said = ((item.get("metadata") or {}).get("annotations") or {}).get(ENVIRONMENT)
        if said not in (None, environment):
            problems.append(
                f"{where} has a sealing key of {said}, wanted {environment}: it is another cluster than meant. Check the"
                " context of the kubeconfig"
            )
            continue
        try:
            records.append(read_secret(item, where))
            ours = ours or said == environment or records[-1].fingerprint in known
        except SealError as error:
            problems.append(str(error))
    if problems:
        raise SealError("; ".join(dict.fromkeys(problems)))
    if records and not ours:
        found = ", ".join(f"{record.namespace}/{record.name} ({record.fingerprint})" for record in records)
        raise SealError(
            f"{where} has sealing keys that a controller made, and nothing tells that they are those of {environment}:"
            f" {found}. No backup of {environment} has one of them. Is the context of the kubeconfig that of {environment}?"
            " If it is, take them once with adopt (sealed_secrets_adopt_keys)"
        )
    return merge(records)


def plan(
    wanted: Wanted,
    cluster: Sequence[KeyRecord],
    saved: Backup | None,
    now: datetime,
    generate: Callable[[datetime], SealingKey] | None,
) -> Plan:
    """Decide what is to be done. Without `generate` (check mode) a key that is to be made is only named.

    Raises SealError where it must not be done.
    """
    if saved is not None and saved.environment != wanted.environment:
        raise SealError(
            f"the backup holds the keys of {saved.environment}, wanted those of {wanted.environment}. Name its own backup"
        )
    before = saved.records if saved is not None else ()
    known = _with_strictest_state(cluster, before, wanted.namespace)
    if wanted.goal == "verified":
        _verify(wanted, cluster, saved)
        return Plan((), Backup(wanted.environment, before, saved.recipients if saved is not None else ()), False, ())
    changes: list[Change] = []
    if wanted.goal in ("retired", "compromised"):
        known = _in_state(known, wanted, wanted.goal, changes)
    elif _needs_new(Backup(wanted.environment, known), wanted, now):
        known = _with_new(known, wanted, now, generate, changes)
    backup = Backup(wanted.environment, known, wanted.recipients)
    missing = [record for record in known if _entry(record) not in map(_entry, before)]
    changes += [Change("back up", record.fingerprint, record.state) for record in missing]
    others_read_it = saved is not None and saved.recipients != wanted.recipients
    if saved is not None and others_read_it:
        changes.append(Change("encrypt backup anew", "", "\n".join(wanted.recipients), _recipients(saved)))
    there = {record.fingerprint: record for record in cluster}
    # a key that is not to be loaded need not come back into a cluster that was made anew
    lacking = tuple(
        record
        for record in known
        if (there[record.fingerprint].state if record.fingerprint in there else None) != record.state
        and (record.fingerprint in there or record.state == "active")
    )
    changes += [Change("apply", record.fingerprint, record.state) for record in lacking]
    return Plan(tuple(changes), backup, bool(missing) or others_read_it, lacking)


def digest(records: Iterable[KeyRecord]) -> str:
    """Return what changes with the set of keys that the controller has to load: it reads them only when it starts."""
    active = sorted(record.fingerprint for record in records if record.state == "active")
    return hashlib.sha256("\n".join(active).encode()).hexdigest()[:16]


def secret_name(fingerprint: str) -> str:
    """Return the name of a key's Secret: always the same for the same key, so that applying it twice makes one."""
    return f"sealed-secrets-key-{hashlib.sha256(fingerprint.encode()).hexdigest()[:10]}"


def _with_strictest_state(
    cluster: Sequence[KeyRecord], saved: Sequence[KeyRecord], namespace: str
) -> tuple[KeyRecord, ...]:
    """All keys; where the places disagree the key is as little trusted as either says, and lives where the cluster has it."""
    records = {record.fingerprint: replace(record, namespace=namespace) for record in saved}
    for record in cluster:
        other = records.get(record.fingerprint)
        state = record.state if other is None else max(record.state, other.state, key=STATES.index)
        records[record.fingerprint] = replace(record, state=state)
    return merge(records.values())


def _needs_new(backup: Backup, wanted: Wanted, now: datetime) -> bool:
    current = backup.current
    if wanted.replace and wanted.replace not in {record.fingerprint for record in backup.records}:
        raise SealError(
            f"wanted to replace the sealing key {wanted.replace} of {wanted.environment}, which has no such key; the"
            f" current one is {current.fingerprint if current else 'missing'}"
        )
    if current is None or current.fingerprint == wanted.replace or now > current.key.certificate.not_after:
        return True
    return wanted.max_age is not None and now - current.key.certificate.not_before > wanted.max_age


def _with_new(
    known: tuple[KeyRecord, ...],
    wanted: Wanted,
    now: datetime,
    generate: Callable[[datetime], SealingKey] | None,
    changes: list[Change],
) -> tuple[KeyRecord, ...]:
    # the controller seals with the key whose certificate begins last, counted in seconds
    latest = max((record.key.certificate.not_before for record in known), default=None)
    start = now if latest is None else max(now, latest + timedelta(seconds=1))
    if generate is None:
        changes.append(Change("generate", "", "not made in check mode"))
        return known
    key = generate(start)
    changes.append(Change("generate", key.fingerprint))
    return merge(known, [KeyRecord(key, "active", secret_name(key.fingerprint), wanted.namespace)])


def _in_state(
    known: tuple[KeyRecord, ...], wanted: Wanted, state: State, changes: list[Change]
) -> tuple[KeyRecord, ...]:
    by = {record.fingerprint: record for record in known}
    current = Backup(wanted.environment, known).current
    problems = []
    if not wanted.fingerprints:
        problems.append("say which: fingerprints")
    for fingerprint in wanted.fingerprints:
        if fingerprint not in by:
            problems.append(f"{wanted.environment} has no key {fingerprint}; it has {', '.join(by) or 'none'}")
        elif current is not None and fingerprint == current.fingerprint:
            problems.append(f"{fingerprint} is the key that {wanted.environment} seals with. Replace it first")
    if problems:
        raise SealError(f"no key was marked as {state}: " + "; ".join(problems))
    for fingerprint in wanted.fingerprints:
        record = by[fingerprint]
        if STATES.index(record.state) < STATES.index(state):
            by[fingerprint] = replace(record, state=state)
            action: Action = "retire" if state == "retired" else "mark compromised"
            changes.append(Change(action, fingerprint, f"it was {record.state}"))
    return merge(by.values())


def _verify(wanted: Wanted, cluster: Sequence[KeyRecord], saved: Backup | None) -> None:
    """Raise SealError unless the backup can bring back all keys of the cluster."""
    before = {record.fingerprint: record for record in (saved.records if saved is not None else ())}
    problems = []
    if not cluster:
        problems.append(f"the namespace {wanted.namespace} holds no sealing key. Is it the controller's?")
    for record in cluster:
        if record.fingerprint not in before:
            problems.append(f"the {record.state} key {record.fingerprint} is not in the backup: it would be lost")
        elif before[record.fingerprint].state != record.state:
            problems.append(
                f"the key {record.fingerprint} is {record.state}, the backup has it as {before[record.fingerprint].state}"
            )
    here = {record.fingerprint for record in cluster}
    problems += [
        f"the active key {fingerprint} of the backup is not in the cluster"
        for fingerprint, record in before.items()
        if record.state == "active" and fingerprint not in here
    ]
    if saved is not None and wanted.recipients and saved.recipients != wanted.recipients:
        problems.append(
            f"wanted it encrypted to {', '.join(wanted.recipients)}, found {', '.join(_recipients(saved).splitlines())}: run"
            " this with state present"
        )
    if problems:
        raise SealError(f"the backup of {wanted.environment} is out of date: " + "; ".join(problems))


def _recipients(saved: Backup) -> str:
    return "\n".join(saved.recipients) or "not noted in it"


def _entry(record: KeyRecord) -> tuple[str, State, str, str]:
    return record.fingerprint, record.state, record.name, record.namespace
