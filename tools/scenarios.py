# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the Molecule scenarios one after the other (they share two cores' worth of hosts), each with its time.

Every scenario counts as one test in the JUnit report ``.dev/reports/molecule.xml``.
"""

from __future__ import annotations

import argparse
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import yaml

from tools.stages import ROOT, Outcome, Stage, run_stages, summary

REPORT = ROOT / ".dev" / "reports" / "molecule.xml"
# Molecule looks for its shared settings where .git is a directory, which it is not in a worktree.
MOLECULE = ["molecule", "--base-config", ".config/molecule/config.yml", "test", "--destroy=always", "--scenario-name"]


def scenarios(root: Path = ROOT) -> list[str]:
    """Return the names of the scenarios that stand under ``molecule``."""
    return sorted(path.parent.name for path in (root / "molecule").glob("*/molecule.yml"))


def missing_playbooks(scenario: Path) -> list[str]:
    """Return the playbooks that a scenario's sequence needs and does not have: Molecule passes over them with a warning.

    A step may name its playbook (``verify reset.yml``); Molecule asks for the step's own one all the same.
    """
    sequence = yaml.safe_load((scenario / "molecule.yml").read_text())["scenario"]["test_sequence"]
    wanted: dict[str, None] = {}
    for step in sequence:
        action, *named = step.split()
        own = "converge" if action in ("check", "idempotence") else action
        wanted |= dict.fromkeys([f"{own}.yml", *named])
    return [name for name in wanted if not (scenario / name).is_file()]


def write_report(outcomes: Sequence[Outcome], path: Path = REPORT) -> None:
    """Write each scenario's result and time as a test case."""
    failed = [outcome for outcome in outcomes if not outcome.ok]
    attributes = {"name": "molecule", "tests": str(len(outcomes)), "failures": str(len(failed))}
    suite = ET.Element("testsuite", {**attributes, "errors": "0", "skipped": "0"})
    for outcome in outcomes:
        case = ET.SubElement(suite, "testcase", {"name": outcome.stage.name, "time": f"{outcome.seconds:.1f}"})
        if not outcome.ok:
            ET.SubElement(case, "failure", {"message": outcome.word})
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(path, encoding="unicode")


def main() -> int:
    """Run the named scenarios, or all; return 1 if any of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help=f"{', '.join(scenarios())} (all)")
    arguments = parser.parse_args()
    known = scenarios()
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"wanted scenarios out of {', '.join(known)}, found {', '.join(unknown)}")
    names = arguments.names or known
    missing = {name: absent for name in names if (absent := missing_playbooks(ROOT / "molecule" / name))}
    if missing:
        parser.error(f"scenarios without a playbook of their sequence, which would test nothing: {missing}")
    environment = {**os.environ, "MOLECULE_GLOB": "molecule/*/molecule.yml"}
    stages = [Stage(name, "Molecule scenario", [[*MOLECULE, name]]) for name in names]
    outcomes = run_stages(stages, environment)
    write_report(outcomes)
    print(f"\n{summary(outcomes)}", flush=True)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
