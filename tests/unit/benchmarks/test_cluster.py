# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rows of kube_apply measure, by the commands that they would run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.benchmarks import cluster
from tests.benchmarks.hosts import Run

RECAP = "localhost : ok=1 changed=1 unreachable=0 failed=0 skipped=0"
#: Seconds that each way takes, by what its options say of a look beforehand.
SECONDS: dict[Any, float] = {False: 1.0, "default": 3.0, "other": 10.0}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Each command that is measured, as the name of its log and its preflight."""
    found: list[tuple[str, Any]] = []

    @contextlib.contextmanager
    def no_cluster(**_: bool) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(kubeconfig=Path("config"))

    def timed(command: Sequence[str], log: str) -> Run:
        preflight: Any = "other"
        if "ansible-playbook" in command[0]:
            (task,) = yaml.safe_load(Path(command[-1]).read_text())[0]["tasks"]
            ((module, options),) = task.items()
            preflight = options.get("preflight", "default") if module.startswith("stagecraft.") else "other"
        if not log.endswith("-first"):
            found.append((log, preflight))
        seconds = SECONDS[preflight]
        changed = RECAP.replace("changed=1", "changed=0") if "same" in log else RECAP
        return Run(seconds, f'"seconds": {seconds}\n{changed}\n')

    monkeypatch.setattr(cluster, "cluster", no_cluster)
    monkeypatch.setattr(cluster, "timed", timed)
    monkeypatch.setattr(cluster, "find_program", Path)
    return found


@pytest.mark.parametrize("name", ["apply-new", "apply-playbook"])
def test_new_objects_are_applied_by_default_as_well_and_the_row_says_so(ran: list[tuple[str, Any]], name: str) -> None:
    row = (cluster.apply_new if name == "apply-new" else cluster.apply_playbook)(2)
    assert sorted(ran, key=str) == [
        (f"{name}-{who}-{number}", preflight)
        for who, preflight in (("default", "default"), ("other", "other"), ("ours", False))
        for number in range(2)
    ]
    assert (list(row.ours), list(row.other)) == ([1.0, 1.0], [10.0, 10.0])
    assert row.what.endswith("; ours with preflight: false, with the default it takes 3.00")
    assert not row.broken_rules


def test_objects_that_are_there_are_applied_by_default(ran: list[tuple[str, Any]]) -> None:
    row = cluster.apply_same(1)
    assert ran == [("apply-same-ours-0", "default"), ("apply-same-other-0", "other")]
    assert "preflight" not in row.what
    assert not row.broken_rules
