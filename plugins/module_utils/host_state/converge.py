# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Applying plans until the host is as declared.

Imported only where something has to be changed, for a module's code is compiled from source at every run.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .apply import Applied, Applier
from .diff import diff_of
from .engine import facts_of, refuse, tidy
from .errors import HostStateError
from .observe import observe
from .plan import plan
from .spec import STATE_DIR, Spec
from .verify import require_empty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .system import System

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


def converge(system: System, spec: Spec, result: dict[str, Any]) -> None:
    """Apply and look again; a second round only follows where packages or modules brought new things along."""
    for number in range(ROUNDS):
        seen = observe(system, spec)
        found = plan(spec, seen)
        refuse(found, False)
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
            tidy(system, spec, seen)
            return
        if not any(change.kind in ("packages", "kernel_module") for change in found.changes):
            break
    require_empty(after)
