# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line of a row, and the arithmetic behind it."""

from __future__ import annotations

import re

import pytest

from tests.benchmarks.hosts import Run
from tests.benchmarks.report import Row, Target, load_report
from tests.benchmarks.rows import BENCHES, broken_rules
from tools.recap import recaps

LINE = re.compile(r"^(\S+) ours=(\S+) other=(\S+) \((.+)\) ratio=(\S+) target=(\S+) (ok|short)$")
RECAP = """
PLAY RECAP ***
cp1                        : ok=18   changed=0    unreachable=0    failed=0    skipped=2    rescued=0    ignored=0
w1                         : ok=17   changed=1    unreachable=0    failed=0    skipped=4    rescued=0    ignored=0
"""


def test_a_row_with_a_rival() -> None:
    row = Row("push", Target(0.33, "ratio"), [3.0, 2.0, 9.0], [10.0, 12.0, 8.0], "copy, 300 MB")
    assert row.line() == "push ours=3.00 other=10.00 (copy, 300 MB) ratio=0.30 target=0.33 ok"
    assert LINE.match(row.line())


def test_a_row_without_a_rival() -> None:
    row = Row("noop-1", Target(4.0, "seconds"), [3.9, 5.0, 3.1, 3.2, 8.0])
    assert row.line() == "noop-1 ours=3.90 other=- (no rival) ratio=- target=4 ok"
    assert LINE.match(row.line())


def test_the_median_of_an_even_number_of_runs_lies_between_the_two_in_the_middle() -> None:
    assert " ours=3.00 " in Row("noop-1", Target(4.0, "seconds"), [1.0, 2.0, 4.0, 90.0]).line()


def test_the_ratio_is_that_of_the_medians() -> None:
    row = Row("ready-1", Target(1.3, "ratio"), [10.0, 30.0, 20.0], [40.0, 10.0, 16.0], "by hand")
    assert row.ratio == pytest.approx(1.25)


@pytest.mark.parametrize(("seconds", "word"), [(4.0, "ok"), (4.001, "short")])
def test_a_limit_is_met_exactly_and_before_rounding(seconds: float, word: str) -> None:
    assert Row("noop-1", Target(4.0, "seconds"), [seconds]).line().endswith(word)


def test_a_ratio_target_ignores_how_long_it_took() -> None:
    assert Row("ready-1", Target(1.3, "ratio"), [100.0], [90.0], "by hand").ok
    assert not Row("ready-1", Target(1.3, "ratio"), [1.4], [1.0], "by hand").ok


def test_a_quick_row_that_broke_a_rule_is_short_and_says_which() -> None:
    row = Row("noop-1", Target(4.0, "seconds"), [1.0], broken_rules=["cp1: changed=1, wanted 0"])
    assert row.line().endswith(" short")
    assert row.details() == "ours 1.00; cp1: changed=1, wanted 0"


def test_nothing_measured_is_no_row() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Row("noop-1", Target(4.0, "seconds"), [])
    with pytest.raises(ValueError, match="needs a rival"):
        Row("push", Target(0.33, "ratio"), [1.0])


def test_load_is_warned_of_above_one() -> None:
    assert "too long" in load_report(1.2, 2)
    assert load_report(0.4, 2) == "load 0.40 on 2 cores"


def test_the_recap_counts_skipped_tasks_too() -> None:
    assert {host: (recap.tasks, recap.changed) for host, recap in recaps(RECAP).items()} == {
        "cp1": (20, 0),
        "w1": (21, 1),
    }


def test_every_rule_of_a_second_run() -> None:
    same = {"cp1": "kubelet 1", "w1": "kubelet 2", "w2": "kubelet 3"}
    run = Run(1.0, RECAP)
    assert broken_rules(run, ["cp1"], same, same) == []
    problems = broken_rules(run, ["cp1", "w1", "w2"], same, {**same, "cp1": "kubelet 9"})
    assert problems == [
        "cp1: daemons were restarted: 'kubelet 1' became 'kubelet 9'",
        "w1: changed=1, wanted 0",
        "w1: 21 tasks, wanted at most 20",
        "w2 is not in the recap",
    ]


def test_the_rows_are_those_of_the_issues() -> None:
    rows = [
        "noop-1",
        "noop-3",
        "noop-k3s",
        "noop-minikube",
        "three-up",
        "ready-1",
        "push",
        "hosts-2",
        "apply-new",
        "apply-same",
        "apply-playbook",
        "push-ready",
        "flux-noop",
        "check-1000",
        "check-1pct",
        "plan",
        "land",
        "noop",
        "writers-50",
        "mttr",
        "history",
        "seal-1000",
        "seal-noop",
        "leak",
        "bao-back",
        "bao-back-transit",
        "drill",
    ]
    assert list(BENCHES) == rows
