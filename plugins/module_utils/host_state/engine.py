# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe, plan, apply, verify: the four steps in their order."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import facts, store
from .apply import Applied, Applier
from .diff import diff_of
from .errors import HostStateError, ProblemsError
from .observe import Observed, observe
from .plan import Plan, plan
from .spec import STATE_DIR, Spec, parse
from .system import System
from .verify import require_empty

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOCK = STATE_DIR + "/lock"
LOCK_SECONDS = 300.0
ROUNDS = 3


@contextmanager
def exclusive(system: System) -> Iterator[None]:
    """One run at a time changes a host; waits for another one, up to LOCK_SECONDS."""
    system.ensure_directory(STATE_DIR)
    handle = os.open(system.path(LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    begin = system.now()
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if system.now() - begin > LOCK_SECONDS:
                    raise HostStateError(
                        f"another run has been changing this host for more than {LOCK_SECONDS:.0f} s (lock {LOCK})"
                    ) from None
                system.pause(0.2)
        yield
    finally:
        os.close(handle)


def _refuse(found: Plan, check: bool) -> None:
    problems = [*found.problems, *(() if check else found.unmet)]
    if problems:
        raise ProblemsError("The host cannot be brought to the declared state, nothing was changed:", problems)


def _result(first: Plan, seen: Observed, spec: Spec) -> dict[str, Any]:
    return {
        "changed": False,
        "plan": [change.public() for change in first.changes],
        "diff": diff_of(first),
        "missing_packages": list(seen.packages.missing),
        "needs": [vars(need) for need in first.needs],
        "unmet": list(first.unmet),
        "restarted": [],
        "started": [],
        "stopped": [],
        "disk": {name: dict(values) for name, values in seen.disk.items()},
        "facts": facts_of(seen),
    }


def facts_of(seen: Observed) -> dict[str, Any]:
    """Facts of the host with stored versions and units."""
    return {
        **seen.facts,
        "versions": {name: list(versions) for name, versions in seen.store_versions.items()},
        "units": {
            name: {"pid": unit.pid, "exe": unit.exe, "active": unit.active, "enabled": unit.enabled}
            for name, unit in seen.units.items()
        },
    }


def run(system: System, spec: Spec, check: bool = False) -> dict[str, Any]:
    """Bring the host to the declared state and return the result of the module.

    With `check` nothing is changed. With `needs` in the result nothing was changed either: these artefacts have to be
    pushed first. Raises HostStateError.
    """
    seen = observe(system, spec)
    found = plan(spec, seen)
    _refuse(found, check)
    result = _result(found, seen, spec)
    if check:
        result["changed"] = not found.empty
        return result
    if found.needs:
        return result
    if found.empty and not found.settled_markers:
        _tidy(system, spec, seen)
        return result
    with exclusive(system):
        _converge(system, spec, result)
    return result


def _converge(system: System, spec: Spec, result: dict[str, Any]) -> None:
    """Apply and look again; a second round only follows where packages or modules brought new things along."""
    for number in range(ROUNDS):
        seen = observe(system, spec)
        found = plan(spec, seen)
        _refuse(found, False)
        if found.needs:
            raise HostStateError(
                f"artefacts vanished while they were being installed: {', '.join(n.key for n in found.needs)}"
            )
        if number == 0:
            result.update(plan=[change.public() for change in found.changes], diff=diff_of(found))
        elif not found.empty:
            result["plan"] += [change.public() for change in found.changes]
            result["diff"] += diff_of(found)
        done: Applied = Applier(system, spec).apply(found)
        result["changed"] = result["changed"] or not found.empty
        for key in ("restarted", "started", "stopped"):
            result[key] += [name for name in vars(done)[key] if name not in result[key]]
        seen = observe(system, spec)
        after = plan(spec, seen)
        result["facts"] = facts_of(seen)
        if after.empty and not after.problems and not after.unmet:
            _tidy(system, spec, seen)
            return
        if not any(change.kind in ("packages", "kernel_module") for change in found.changes):
            break
    require_empty(after)


def _tidy(system: System, spec: Spec, seen: Observed) -> None:
    """Renew remembered stat values of files that were touched but not changed, and drop pushed files no longer needed.

    The host's state stays the same, so this is no change.
    """
    for artifact in spec.artifacts:
        status = seen.artifacts.get(artifact.place)
        digest = artifact.digests.get(seen.arch)
        if status is not None and digest is not None and status.refreshed is not None:
            store.write_stamp(system, artifact, digest.sha256, status.refreshed)
    store.tidy_incoming(system, spec.artifacts, seen.arch)


def engine_result(options: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Tell what the module calls: checked options in, result out, on the host that this runs on."""
    system = System()
    found = facts.architecture(os.uname().machine)
    if options.get("arch") and options["arch"] != found:
        raise HostStateError(
            f"wrong architecture: {options['arch']} was declared for this host, it is {found}; correct the option arch"
        )
    spec = parse(options["state"], options.get("digests") or {})
    try:
        return run(system, spec, check)
    except PermissionError as error:
        raise HostStateError(
            f"{error.filename}: {error.strerror}; the state of a host needs root: log in as root or set become: true"
        ) from error
    except OSError as error:
        raise HostStateError(f"{error.filename or 'the host'}: {error.strerror or error}") from error
