# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the Molecule scenarios one after the other, each with its time.

A second run with ``--beside`` takes from the same list: whoever is free claims the next scenario. Every scenario counts
as one test in the JUnit report of its run, ``.dev/reports/molecule.xml`` or ``molecule-beside.xml``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from tools.stages import ROOT, Outcome, Stage, run_stage, run_stages, summary

REPORT = ROOT / ".dev" / "reports" / "molecule.xml"
REPORT_BESIDE = REPORT.with_name("molecule-beside.xml")
CLAIMS = ROOT / ".dev" / "claims"
# Molecule looks for its shared settings where .git is a directory, which it is not in a worktree.
MOLECULE = ["molecule", "--base-config", ".config/molecule/config.yml", "test", "--destroy=always", "--scenario-name"]


def sequence(scenario: Path) -> list[str]:
    """Return the steps of a scenario, in order."""
    steps: list[str] = yaml.safe_load((scenario / "molecule.yml").read_text())["scenario"]["test_sequence"]
    return steps


def scenarios(root: Path = ROOT) -> list[str]:
    """Return the names of the scenarios that stand under ``molecule``, those that verify most first.

    So two runs that share them end at about the same time.
    """
    found = {
        path.parent.name: sum(step.startswith("verify") for step in sequence(path.parent))
        for path in (root / "molecule").glob("*/molecule.yml")
    }
    return sorted(found, key=lambda name: (-found[name], name))


def missing_playbooks(scenario: Path) -> list[str]:
    """Return the playbooks that a scenario's sequence needs and does not have: Molecule passes over them with a warning.

    A step may name its playbook (``verify reset.yml``); Molecule asks for the step's own one all the same.
    """
    wanted: dict[str, None] = {}
    for step in sequence(scenario):
        action, *named = step.split()
        own = "converge" if action in ("check", "idempotence") else action
        wanted |= dict.fromkeys([f"{own}.yml", *named])
    return [name for name in wanted if not (scenario / name).is_file()]


def forget_claims(directory: Path = CLAIMS) -> None:
    """Make all scenarios to be had again: no run is under way."""
    shutil.rmtree(directory, ignore_errors=True)


def unclaimed(names: Sequence[str], directory: Path = CLAIMS) -> Iterator[str]:
    """Yield the scenarios that no other run has taken, each once it is ours."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        try:
            (directory / name).touch(exist_ok=False)
        except FileExistsError:
            continue
        yield name


def wait_for_first_claim(directory: Path = CLAIMS, seconds: float = 3600.0) -> None:
    """Wait until the other run makes hosts: what comes before it wants the machine's sandboxes for itself.

    Raises TimeoutError where there is no other run.
    """
    deadline = time.monotonic() + seconds
    while not any(directory.glob("*")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no run of the scenarios has begun within {seconds:g} s: --beside is for a second one")
        time.sleep(min(1.0, seconds))


def write_report(outcomes: Sequence[Outcome], path: Path = REPORT) -> None:
    """Write each scenario's result and time as a test case."""
    failed = [outcome for outcome in outcomes if not outcome.ok]
    attributes = {"name": "molecule", "tests": str(len(outcomes)), "failures": str(len(failed))}
    suite = ET.Element("testsuite", {**attributes, "errors": "0", "skipped": "0"})
    for outcome in outcomes:
        case = ET.SubElement(suite, "testcase", {"name": outcome.stage.name, "time": f"{outcome.seconds:.1f}"})
        if not outcome.ok:
            ET.SubElement(case, "failure", {"message": f"{outcome.word}: {outcome.reason}".rstrip(": ")})
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(path, encoding="unicode")


def run_scenario(stage: Stage, environment: Mapping[str, str]) -> Outcome:
    """Run one scenario with its output shown as it comes, and the reason of a failure kept for the report."""
    return run_stage(stage, environment, sys.stdout)


def main() -> int:
    """Run the named scenarios, or all; return 1 if any of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help=f"{', '.join(scenarios())} (all)")
    parser.add_argument("--beside", action="store_true", help="take what another run has not come to yet")
    arguments = parser.parse_args()
    known = scenarios()
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"wanted scenarios out of {', '.join(known)}, found {', '.join(unknown)}")
    names = arguments.names or known
    missing = {name: absent for name in names if (absent := missing_playbooks(ROOT / "molecule" / name))}
    if missing:
        parser.error(f"scenarios without a playbook of their sequence, which would test nothing: {missing}")
    if arguments.beside:
        wait_for_first_claim()
    else:
        forget_claims()
    environment = {**os.environ, "MOLECULE_GLOB": "molecule/*/molecule.yml"}
    if sys.stdout.isatty():
        environment |= {"FORCE_COLOR": "1", "ANSIBLE_FORCE_COLOR": "1"}
    outcomes = [
        outcome
        for name in unclaimed(names)
        for outcome in run_stages([Stage(name, "Molecule scenario", [[*MOLECULE, name]])], environment, run_scenario)
    ]
    write_report(outcomes, REPORT_BESIDE if arguments.beside else REPORT)
    print(f"\n{summary(outcomes)}", flush=True)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
