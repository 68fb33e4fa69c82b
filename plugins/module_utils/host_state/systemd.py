# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd units: what they are now, and the verbs that change them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import HostStateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .spec import Unit
    from .system import System

PROPERTIES = "Id,Names,LoadState,ActiveState,SubState,MainPID,UnitFileState,NeedDaemonReload,Result"
ENABLED_STATES = frozenset({"enabled", "enabled-runtime", "static", "alias", "indirect", "generated", "linked"})
POLL_SECONDS = 0.1
JOURNAL_LINES = 15


@dataclass(frozen=True)
class UnitStatus:
    """A unit as systemd sees it; `exe` is the running program, with " (deleted)" when its file was replaced."""

    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    pid: int = 0
    exe: str = ""
    enabled: str = ""
    need_reload: bool = False
    result: str = ""

    @property
    def exists(self) -> bool:
        """Say whether systemd knows a file for it."""
        return self.load not in ("not-found", "")


def is_running(system: System) -> bool:
    """Whether systemd is PID 1 here."""
    return system.stat("/run/systemd/system") is not None


def parse_show(text: str) -> list[dict[str, str]]:
    """Return the blocks of `systemctl show`, one per unit asked for, in order."""
    blocks: list[dict[str, str]] = []
    for block in text.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values:
            blocks.append(values)
    return blocks


def observe_units(system: System, names: Sequence[str]) -> dict[str, UnitStatus]:
    """Status of all units by one command."""
    if not names:
        return {}
    done = system.query(["systemctl", "show", "--no-pager", f"--property={PROPERTIES}", "--", *names])
    if done.rc != 0:
        raise HostStateError(f"systemctl show {' '.join(names)} failed (rc {done.rc}): {done.output}")
    blocks = parse_show(done.stdout)
    if len(blocks) != len(names):
        raise HostStateError(f"systemctl show answered for {len(blocks)} of {len(names)} units: {done.output}")
    found = {}
    for name, values in zip(names, blocks):
        pid = int(values.get("MainPID", "0") or 0)
        found[name] = UnitStatus(
            load=values.get("LoadState", "not-found"),
            active=values.get("ActiveState", "inactive"),
            sub=values.get("SubState", ""),
            pid=pid,
            exe=_program(system, pid) if pid else "",
            enabled=values.get("UnitFileState", ""),
            need_reload=values.get("NeedDaemonReload", "no") == "yes",
            result=values.get("Result", ""),
        )
    return found


def _program(system: System, pid: int) -> str:
    """Return what a process runs; "" for one that systemd has forked and that has not become its program yet."""
    exe = system.readlink(f"/proc/{pid}/exe") or ""
    return "" if exe.rsplit("/", 1)[-1] in ("systemd", "systemd-executor") else exe


def control(system: System, verb: str, names: Iterable[str], timeout: float = 300.0) -> None:
    """Run `systemctl VERB UNIT…`; raises HostStateError quoting systemd and the journal."""
    units = list(names)
    done = system.command(["systemctl", verb, *(["--", *units] if units else [])], timeout=timeout)
    if done.rc != 0:
        tail = "".join("\n" + journal_tail(system, unit) for unit in units)
        raise HostStateError(f"systemctl {verb} {' '.join(units)} failed (rc {done.rc}): {done.output}{tail}")


def journal_tail(system: System, unit: str) -> str:
    """Return the last lines that a unit logged, for a message."""
    done = system.query(["journalctl", "-u", unit, "-n", str(JOURNAL_LINES), "--no-pager", "-o", "cat"])
    text = done.stdout.strip() if done.rc == 0 else f"(journal not readable: {done.output})"
    return f"last lines of journalctl -u {unit}:\n{text or '(nothing logged)'}"


def wait_active(system: System, units: Sequence[Unit]) -> list[str]:
    """Poll until every unit is active with the same main PID in two looks running; returns what does not hold."""
    begin = system.now()
    waiting = {unit.name: unit for unit in units}
    last: dict[str, int | None] = dict.fromkeys(waiting)
    problems: list[str] = []
    while waiting:
        status = observe_units(system, list(waiting))
        for name, found in status.items():
            if found.active == "active" and last[name] == found.pid:
                del waiting[name]
                continue
            last[name] = found.pid if found.active == "active" else None
            over = system.now() - begin > waiting[name].start_timeout
            if over or found.active == "failed":
                limit = f" within {waiting[name].start_timeout:.0f} s" if over else ""
                problems.append(
                    f"{name} did not become active{limit}: it is {found.active} ({found.sub}, "
                    f"result {found.result or 'unknown'})\n{journal_tail(system, name)}"
                )
                del waiting[name]
        if waiting:
            system.pause(POLL_SECONDS)
    return problems
