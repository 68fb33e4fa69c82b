# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates that Git and the clock can answer: holds, freezes, rules for versions, downgrades. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import holds, selectors
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Change
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.state import Vector

#: What a release of one's own is called before it is one.
PRE_RELEASE = r"-(?:rc|alpha|beta|dev|snapshot|pre)\b"
_CONSTRAINT = re.compile(r"(>=|<=|!=|=|>|<|\^|~)?\s*(v?\d[\w.+-]*)")
_LONGEST = timedelta(days=366)
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?")


def hold(held: Iterable[holds.Hold], after: Mapping[str, Vector], environment: str, now: datetime) -> Verdict:
    """Refuse versions that are held. `after` are the vectors that the components would have."""
    said = []
    for component, vector in after.items():
        found = holds.of(held, environment, component, now)
        if found is not None and found.denies(vector):
            said.append(f"{found}. Promote another version, or lift it with release_hold")
    return Verdict(not said, "; ".join(said))


def versions(changes: Sequence[Change], options: Mapping[str, Any]) -> Verdict:
    """Hold the new tags against `match` and `deny` (regular expressions) and `semver` (such as ``>=1.2 <3``)."""
    said = []
    for change in changes:
        for key, value in change.after:
            if key in ("digest", "newName", "blob", "commit"):
                continue
            reason = _against(value, options)
            said += [f"{change.component}: {value} {reason}"] if reason else []
    return Verdict(not said, "; ".join(dict.fromkeys(said)))


def _against(value: str, options: Mapping[str, Any]) -> str:
    for key in ("match", "deny"):
        try:
            found = re.search(str(options[key]), value) if options.get(key) else None
        except re.error as error:
            raise ReleaseError(f"gate versions: {key} {options[key]!r} is no regular expression: {error}") from error
        if key == "match" and options.get(key) and not found:
            return f"does not match {options[key]}"
        if key == "deny" and found:
            return f"is denied by {options[key]}"
    if options.get("semver") and not satisfies(value, str(options["semver"])):
        return f"is not within {options['semver']}"
    return ""


def satisfies(value: str, constraint: str) -> bool:
    """Say whether a version is within a range: comparisons that must all hold, ``^1.2``, ``~1.2``, and ``||`` between."""
    own = selectors.semver(value)
    if own is None:
        return False
    return any(_all(own, part) for part in constraint.split("||"))


def _all(own: selectors.Order, part: str) -> bool:
    found = _CONSTRAINT.findall(part.replace(",", " "))
    if not found:
        raise ReleaseError(f"gate versions: {part.strip()!r} is no range of versions; write >=1.2.0 <2.0.0")
    for sign, text in found:
        limit = selectors.semver(text)
        if limit is None:
            raise ReleaseError(f"gate versions: {text!r} is no version")
        numbers = limit[0]
        # ^1.2 goes up to the next first number that is not zero, ~1.2 to the next second one
        place = next((i for i, n in enumerate(numbers) if n), 0) if sign == "^" else min(1, text.count("."))
        above = (*numbers[:place], numbers[place] + 1, *([0] * len(numbers[place + 1 :])))
        holds_good = {
            ">=": own >= limit, "<=": own <= limit, ">": own > limit, "<": own < limit, "!=": own != limit,
            "^": own >= limit and own[0] < above, "~": own >= limit and own[0] < above,
        }.get(sign, own == limit)  # fmt: skip
        if not holds_good:
            return False
    return True


def no_downgrade(changes: Sequence[Change]) -> Verdict:
    """Refuse what is older than what is there, as far as the two can be compared."""
    said, unknown = [], []
    for change in changes:
        old, new = (selectors.semver_of(version) for version in (change.before, change.after))
        if old is not None and new is not None and new < old:
            said.append(
                f"{change.component}: {selectors.shown(change.after)} is older than {selectors.shown(change.before)}; use rollback"
            )
        elif (old is None or new is None) and change.before and change.after:
            unknown.append(change.selector)
    compared = f"not to be compared: {', '.join(dict.fromkeys(unknown))}" if unknown else ""
    return Verdict(not said, "; ".join(said) or compared)


# -- freezes -----------------------------------------------------------------------------------------------------------------


def freeze(windows: Iterable[Mapping[str, Any]], stopped: Mapping[str, Any] | None, now: datetime) -> Verdict:
    """Refuse changes within a window, and while somebody has stopped the line (`stopped`: reason, until, by)."""
    said = []
    if stopped is not None and not (stopped.get("until") and holds.moment(str(stopped["until"])) <= now):
        until = f" until {stopped['until']}" if stopped.get("until") else ""
        said.append(
            f"{stopped.get('by') or 'somebody'} has stopped it{until}: {stopped.get('reason') or 'no reason given'}"
        )
    for window in windows:
        ends = window_end(window, now)
        if ends is not None:
            why = f": {window['reason']}" if window.get("reason") else ""
            said.append(f"there are no changes until {ends.isoformat(timespec='minutes')}{why}")
    return Verdict(not said, "; ".join(said))


def window_end(window: Mapping[str, Any], now: datetime) -> datetime | None:
    """Return when the window ends that `now` lies in, or None.

    A window is ``from`` and ``until``, or ``cron`` (minute hour day month weekday) and ``duration`` (``2d12h30m``), in
    ``timezone`` (UTC without it).
    """
    unknown = window.keys() - {"from", "until", "cron", "duration", "timezone", "reason"}
    if unknown:
        raise ReleaseError(
            f"freeze: there is no {', '.join(sorted(map(str, unknown)))}; write from and until, or cron and duration"
        )
    try:
        zone = ZoneInfo(str(window.get("timezone") or "UTC"))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ReleaseError(f"freeze: there is no timezone {window.get('timezone')!r}; write Europe/Berlin") from error
    if "cron" in window:
        return _cron_end(str(window["cron"]), _duration(window.get("duration")), now.astimezone(zone))
    if "from" not in window or "until" not in window:
        raise ReleaseError("freeze: a window needs from and until, or cron and duration")
    start, end = (_local(window[key], zone) for key in ("from", "until"))
    return end if start <= now < end else None


def _local(value: Any, zone: ZoneInfo) -> datetime:
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ReleaseError(f"freeze: {text!r} is no point in time; write 2026-12-24T18:00") from error
    return found if found.tzinfo else found.replace(tzinfo=zone)


def _duration(value: Any) -> timedelta:
    found = _DURATION.fullmatch(str(value or ""))
    days, hours, minutes = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    length = timedelta(days=days, hours=hours, minutes=minutes)
    if not timedelta() < length <= _LONGEST:
        raise ReleaseError(f"freeze: wanted a duration such as 2d12h, found {value!r}")
    return length


def _cron_end(cron: str, length: timedelta, now: datetime) -> datetime | None:
    parts = cron.lower().split()
    if len(parts) != 5:
        raise ReleaseError(f"freeze: wanted minute hour day month weekday, found {cron!r}")
    minutes, hours, days, months = (
        _field(part, low, high)
        for part, (low, high) in zip(parts[:4], ((0, 59), (0, 23), (1, 31), (1, 12)), strict=True)
    )
    for number, name in enumerate(_DAYS):
        parts[4] = parts[4].replace(name, str(number))
    weekdays = {day % 7 for day in _field(parts[4], 0, 7)}
    # cron's own rule: where both days are given, one of them is enough
    either = parts[2] != "*" and parts[4] != "*"
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    latest: datetime | None = None
    while day + timedelta(days=1) > now - length and latest is None:
        fits = (day.day in days, day.isoweekday() % 7 in weekdays)
        if day.month in months and (any(fits) if either else all(fits)):
            starts = (day.replace(hour=hour, minute=minute) for hour in hours for minute in minutes)
            latest = max((start for start in starts if start <= now < start + length), default=None)
        day -= timedelta(days=1)
    return latest + length if latest else None


def _field(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        try:
            begin = low if span == "*" else int(first)
            end = high if span == "*" or (step and not dash) else int(last) if dash else begin
            numbers = range(begin, end + 1, int(step or 1))
        except ValueError as error:
            raise ReleaseError(f"freeze: {text!r} is no field of cron") from error
        if not numbers or begin < low or end > high:
            raise ReleaseError(f"freeze: {text!r} is no field of cron; wanted {low} to {high}")
        found |= set(numbers)
    return found


def soaked(since: datetime, hours: float, now: datetime) -> Verdict:
    """Refuse what has not been in the source for so many hours."""
    passed = (now - since).total_seconds() / 3600
    return Verdict(passed >= hours, f"{passed:.1f}h of {hours:g}h")


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(tz=UTC)
