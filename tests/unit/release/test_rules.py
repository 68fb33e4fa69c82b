# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates that Git and the clock answer, and how all answers become one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import gate, rules
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Change

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # a Saturday


def change(before: str, after: str) -> Change:
    return Change(
        "app",
        "production",
        "x.yaml",
        "images[app]",
        (("newTag", before),),
        (("newTag", after), ("digest", "sha256:0-rc")),
    )


@pytest.mark.parametrize(
    ("after", "options", "said"),
    [
        ("1.2.0", {}, ""),
        ("1.2.0-rc.1", {"deny": rules.PRE_RELEASE}, "app: 1.2.0-rc.1 is denied by"),
        ("1.2.0", {"deny": rules.PRE_RELEASE}, ""),
        ("abc", {"match": r"^v?\d"}, "app: abc does not match"),
        ("2.0.0", {"semver": ">=1.0 <2"}, "app: 2.0.0 is not within >=1.0 <2"),
        ("1.9.9", {"semver": ">=1.0 <2"}, ""),
        ("1.9.9", {"semver": "^1.2"}, ""),
        ("2.0.0", {"semver": "^1.2"}, "is not within"),
        ("0.3.0", {"semver": "^0.2.1"}, "is not within"),
        ("1.3.0", {"semver": "~1.2.0"}, "is not within"),
        ("1.2.9", {"semver": "~1.2.0"}, ""),
        ("3.0.0", {"semver": "1.x || >=3"}, ""),
        ("latest", {"semver": ">=1"}, "is not within"),
    ],
)
def test_rules_for_versions(after: str, options: dict[str, str], said: str) -> None:
    if "1.x" in options.get("semver", ""):
        options = {"semver": "=1.0.0 || >=3"}
    verdict = rules.versions([change("1.0.0", after)], options)
    assert verdict.ok is not bool(said)
    assert said in verdict.detail


def test_rules_that_cannot_be_read() -> None:
    for options in ({"match": "("}, {"semver": "newest"}):
        with pytest.raises(ReleaseError, match="gate versions"):
            rules.versions([change("1.0.0", "1.1.0")], options)


def test_older_is_refused_and_incomparable_is_told() -> None:
    assert rules.no_downgrade([change("1.2.0", "1.1.9")]).ok is False
    assert "use rollback" in rules.no_downgrade([change("1.2.0", "1.2.0-rc.1")]).detail
    assert rules.no_downgrade([change("1.2.0", "1.10.0")]) == Verdict(True, "")
    assert rules.no_downgrade([change("abc", "1.0.0")]) == Verdict(True, "not to be compared: images[app]")


@pytest.mark.parametrize(
    ("window", "end"),
    [
        ({"from": "2026-11-21T11:00:00Z", "until": "2026-11-22"}, "2026-11-22T00:00+00:00"),
        ({"from": "2026-11-21T12:30", "until": "2026-11-22"}, None),
        ({"from": "2026-11-21T12:30", "until": "2026-11-22", "timezone": "Europe/Berlin"}, "2026-11-22T00:00+01:00"),
        ({"cron": "0 18 * * fri", "duration": "2d12h"}, "2026-11-23T06:00+00:00"),
        ({"cron": "0 18 * * fri", "duration": "12h"}, None),
        ({"cron": "0 18 * * 5", "duration": "2d", "timezone": "America/New_York"}, "2026-11-22T18:00-05:00"),
        ({"cron": "*/15 9-17 * * 1-5", "duration": "15m"}, None),
        ({"cron": "*/15 9-17 * * 6,7", "duration": "15m"}, "2026-11-21T12:15+00:00"),
        ({"cron": "0 0 20 12 *", "duration": "20d"}, None),
        ({"cron": "0 0 20 11 *", "duration": "20d"}, "2026-12-10T00:00+00:00"),
        ({"cron": "0 0 1 * sat", "duration": "1d"}, "2026-11-22T00:00+00:00"),
    ],
)
def test_windows(window: dict[str, str], end: str | None) -> None:
    found = rules.window_end(window, NOON)
    assert (found.isoformat(timespec="minutes") if found else None) == end
    assert rules.freeze([window], None, NOON).ok is (end is None)


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ({"cron": "0 18 * *", "duration": "1h"}, "wanted minute hour day month weekday"),
        ({"cron": "0 25 * * *", "duration": "1h"}, "wanted 0 to 23"),
        ({"cron": "0 x * * *", "duration": "1h"}, "no field of cron"),
        ({"cron": "0 1 * * *", "duration": "soon"}, "wanted a duration such as 2d12h"),
        ({"cron": "0 1 * * *"}, "wanted a duration"),
        ({"from": "noon", "until": "x"}, "'noon' is no point in time"),
        ({"from": "2026-01-01"}, "needs from and until"),
        ({"from": "2026-01-01", "until": "2026-01-02", "timezone": "Mars/X"}, "no timezone 'Mars/X'"),
        ({"form": "2026-01-01"}, "there is no form"),
    ],
)
def test_windows_that_cannot_be_read(window: dict[str, str], said: str) -> None:
    with pytest.raises(ReleaseError, match=said):
        rules.window_end(window, NOON)


def test_somebody_stops_the_line_until_he_does_not() -> None:
    stopped = {"reason": "fire", "by": "eve", "until": "2026-11-21T13:00:00Z"}
    assert rules.freeze([], stopped, NOON).detail == "eve has stopped it until 2026-11-21T13:00:00Z: fire"
    assert rules.freeze([], stopped, NOON + timedelta(hours=1)).ok
    assert rules.freeze([], {}, NOON).detail == "somebody has stopped it: no reason given"


def test_soak() -> None:
    assert rules.soaked(NOON - timedelta(hours=26), 24, NOON) == Verdict(True, "26.0h of 24h")
    assert rules.soaked(NOON - timedelta(hours=2), 24, NOON).ok is False


# -- all of them -----------------------------------------------------------------------------------------------------------


def test_settings_are_layered_and_wrong_ones_all_told() -> None:
    found = gate.settings(
        {"soak": {"mode": "enforce", "hours": 24}}, {"soak": {"hours": 2}, "capacity": False, "freeze": "warn"}
    )
    assert found["soak"] == gate.Setting("enforce", {"hours": 2})
    assert (found["capacity"].mode, found["freeze"].mode, found["render"].mode) == ("off", "warn", "enforce")
    with pytest.raises(ReleaseError) as caught:
        gate.settings({"soaks": "warn", "freeze": "maybe", "hold": {"mode": 5}})
    for said in (
        "there is no gate 'soaks'; write soak",
        "gate freeze: wanted enforce, warn, off, found 'maybe'",
        "gate hold",
    ):
        assert said in str(caught.value)


def test_all_gates_are_asked_and_all_refusals_told() -> None:
    def broken(_: object) -> Verdict:
        raise OSError("nobody answers")

    questions = {
        "hold": lambda _: Verdict(False, "it is held"),
        "freeze": lambda _: Verdict(True),
        "capacity": lambda _: Verdict(False, "no room"),
        "secrets": broken,
        "render": lambda _: Verdict(False, "does not build"),
        "digest": lambda _: Verdict(None, "no digest is known", mild=True),
    }
    answers = gate.ask(gate.settings(), questions, (OSError,), {"connectivity": "no cluster"})
    status = {one.name: one.status for one in answers}
    assert status["hold"] == "fail"
    assert status["capacity"] == "warn"
    assert (status["secrets"], status["digest"]) == ("unknown", "unknown")
    assert status["connectivity"] == "off"
    refused = gate.refusal(answers)
    assert refused.startswith("3 of the gates refuse it, nothing was pushed:")
    for said in ("- hold: it is held", "- render: does not build", "- secrets: not known: nobody answers"):
        assert said in refused
    assert refused.endswith("With force and a reason hold can be passed over.")
    forced = gate.ask(gate.settings(), questions, (OSError,), force=True)
    assert {one.name: one.status for one in forced}["hold"] == "forced"
    assert "- hold" not in gate.refusal(forced)
    assert "- render" in gate.refusal(forced)
    assert "hold=forced" in gate.words(forced)
