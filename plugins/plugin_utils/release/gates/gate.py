# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gate is, how an environment sets it, and how the answers become one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import MODES

Mode = Literal["enforce", "warn", "off"]
Status = Literal["pass", "fail", "warn", "unknown", "off", "forced"]
#: All gates, in the order in which they are told, with their mode where nobody sets one. Those of a cluster are off
#: where the environment names none.
DEFAULTS: Mapping[str, Mode] = {
    "hold": "enforce",
    "freeze": "enforce",
    "versions": "enforce",
    "no_downgrade": "enforce",
    "soak": "off",
    "source_healthy": "enforce",
    "digest": "enforce",
    "signature": "off",
    "leak": "enforce",
    "render": "enforce",
    "policy": "warn",
    "server_dry_run": "enforce",
    "secrets": "enforce",
    "sealed": "enforce",
    "capacity": "warn",
    "connectivity": "warn",
    "command": "enforce",
}
#: What somebody may take the responsibility for; the others tell that the target would break.
FORCEABLE = frozenset(
    {"hold", "freeze", "versions", "no_downgrade", "soak", "source_healthy", "digest", "signature", "policy"}
)


@dataclass(frozen=True)
class Setting:
    """How an environment has set a gate; `options` are the gate's own."""

    mode: Mode
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """A gate's answer: `ok` is None where it cannot be known. One that is `mild` is told and keeps nobody back."""

    ok: bool | None
    detail: str = ""
    mild: bool = False


@dataclass(frozen=True)
class Gate:
    """An answered gate."""

    name: str
    mode: Mode
    status: Status
    detail: str = ""

    @property
    def blocks(self) -> bool:
        return self.mode == "enforce" and self.status in ("fail", "unknown")

    def as_dict(self) -> dict[str, str]:
        """Return the gate as a module's result has it."""
        return {"name": self.name, "mode": self.mode, "status": self.status, "detail": self.detail}


def settings(*layers: Mapping[str, Any]) -> dict[str, Setting]:
    """Return the settings of all gates; a later layer wins. Raises ReleaseError with everything that is wrong.

    A layer maps names to a mode, or to a dict with ``mode`` and options of the gate.
    """
    found = {name: Setting(mode) for name, mode in DEFAULTS.items()}
    problems = []
    for layer in layers:
        for name, value in layer.items():
            if name not in DEFAULTS:
                close = difflib.get_close_matches(str(name), list(DEFAULTS), n=1)
                problems.append(
                    f"there is no gate {name!r}" + (f"; write {close[0]}" if close else f" in {', '.join(DEFAULTS)}")
                )
                continue
            options = dict(value) if isinstance(value, Mapping) else {"mode": value}
            mode = _mode(options.pop("mode", found[name].mode))
            if mode is None:
                problems.append(f"gate {name}: wanted {', '.join(MODES)}, found {value!r}")
                continue
            found[name] = Setting(mode, {**found[name].options, **options})
    if problems:
        raise ReleaseError("\n".join(problems))
    return found


def _mode(value: Any) -> Mode | None:
    # YAML reads a bare off as false
    modes: dict[Any, Mode] = {"enforce": "enforce", "warn": "warn", "off": "off", False: "off"}
    return modes.get(value) if isinstance(value, str | bool) else None


def ask(
    settings: Mapping[str, Setting],
    questions: Mapping[str, Callable[[Mapping[str, Any]], Verdict]],
    errors: tuple[type[Exception], ...],
    absent: Mapping[str, str] | None = None,
    *,
    force: bool = False,
) -> list[Gate]:
    """Ask all gates. `errors` are exceptions that mean that nobody knows; `absent` says why a gate cannot be asked."""
    answered = []
    for name in DEFAULTS:
        setting = settings[name]
        question = questions.get(name)
        if setting.mode == "off" or question is None:
            answered.append(Gate(name, "off", "off", (absent or {}).get(name, "") if setting.mode != "off" else ""))
            continue
        try:
            verdict = question(setting.options)
        except errors as error:
            verdict = Verdict(None, str(error))
        answered.append(_gate(name, setting.mode, verdict, force=force))
    return answered


def _gate(name: str, mode: Mode, verdict: Verdict, *, force: bool) -> Gate:
    status: Status = "pass"
    mode = "warn" if verdict.mild else mode
    if verdict.ok is None:
        status = "unknown"
    elif not verdict.ok:
        status = "fail" if mode == "enforce" else "warn"
    if force and name in FORCEABLE and mode == "enforce" and status in ("fail", "unknown"):
        status = "forced"
    return Gate(name, mode, status, verdict.detail)


def refusal(gates: Sequence[Gate]) -> str:
    """Return what keeps a promotion from going on, all of it; "" where nothing does."""
    blocking = [one for one in gates if one.blocks]
    if not blocking:
        return ""
    listed = "\n".join(
        f"- {one.name}: {'not known: ' if one.status == 'unknown' else ''}{one.detail}" for one in blocking
    )
    forced = [one.name for one in blocking if one.name in FORCEABLE]
    advice = f"\nWith force and a reason {', '.join(forced)} can be passed over." if forced else ""
    return f"{len(blocking)} of the gates {'refuses' if len(blocking) == 1 else 'refuse'} it, nothing was pushed:\n{listed}{advice}"


def as_plan(settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Return the settings as the id of a plan counts them in."""
    return {name: [one.mode, dict(one.options)] for name, one in settings.items()}


def words(gates: Sequence[Gate]) -> tuple[str, ...]:
    """Return the answers as a commit tells them: ``soak=pass``."""
    return tuple(f"{one.name}={one.status}" for one in gates if one.status != "off")
