# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe, plan, apply, verify: the four steps in their order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import facts, store
from .diff import diff_of
from .errors import HostStateError, ProblemsError
from .observe import Observed, observe
from .plan import Plan, plan
from .spec import REPOSITORY, Spec, parse
from .system import System

if TYPE_CHECKING:
    from collections.abc import Mapping


def refuse(found: Plan, check: bool) -> None:
    """Raise ProblemsError when a plan must not be carried out; in check mode what is unmet is no obstacle."""
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
    refuse(found, check)
    result = _result(found, seen, spec)
    if check:
        result["changed"] = not found.empty
        return result
    if found.needs:
        return result
    if found.empty and not found.settled_markers:
        tidy(system, spec, seen)
        return result
    from .converge import converge, exclusive  # noqa: PLC0415 - most runs change nothing and need not load it

    with exclusive(system):
        converge(system, spec, result)
    return result


def tidy(system: System, spec: Spec, seen: Observed) -> None:
    """Renew remembered stat values of files that were touched but not changed, and drop pushed files no longer needed.

    The host's state stays the same, so this is no change.
    """
    for artifact in spec.artifacts:
        status = seen.artifacts.get(artifact.place)
        digest = artifact.digests.get(seen.arch)
        if status is not None and digest is not None and status.refreshed is not None:
            store.write_stamp(system, artifact, digest.sha256, status.refreshed)
    store.tidy_incoming(system, spec.artifacts, seen.arch)
    if spec.repositories and not seen.packages.missing:
        system.remove_tree(REPOSITORY)
        for repository in spec.repositories.values():
            system.unlink(store.incoming_path(repository.sha256))


def engine_result(options: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Tell what the module calls: checked options in, result out, on the host that this runs on."""
    system = System()
    found = facts.architecture(os.uname().machine)
    if options.get("arch") and options["arch"] != found:
        raise HostStateError(
            f"wrong architecture: {options['arch']} was declared for this host, it is {found}; correct the option arch"
        )
    spec = parse(options["state"], options.get("digests") or {}, options.get("package_repositories") or {})
    try:
        return run(system, spec, check)
    except PermissionError as error:
        raise HostStateError(
            f"{error.filename}: {error.strerror}; the state of a host needs root: log in as root or set become: true"
        ) from error
    except OSError as error:
        raise HostStateError(f"{error.filename or 'the host'}: {error.strerror or error}") from error
