# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the project's checks and tests: all of them (`make test`), or those named.

Prints each stage's time, a table of all, and as the last line how many tests passed and failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools import scenarios
from tools.stages import ROOT, Outcome, Stage, failures, run_lanes, run_stages, summary, total

REPORTS = ROOT / ".dev" / "reports"
COLLECTION = "ansible_collections.stagecraft.gitops"
PYTHON = sys.executable


#: What looks like a Secret or a key in this project's own files, and is none: tests, code that writes Secrets, pages that show one.
NO_LEAKS = [
    "private-key:tests/fixtures/sealed_secrets/vectors.json",
    "secret-in-clear:tests/*",
    "secret-in-clear:docs/*",
    "secret-in-clear:plugins/plugin_utils/flux/deploy_key.py",
    "secret-in-clear:plugins/plugin_utils/sealed_secrets/backup.py",
]
INTEGRATION = "tests/integration"
# These make sandbox hosts, and look at what there is of sandboxes on the machine: nothing else may make any meanwhile.
ON_HOSTS = [f"{INTEGRATION}/sandbox", f"{INTEGRATION}/host_state"]


def pytest_stage(name: str, purpose: str, *arguments: str) -> Stage:
    """Return the stage that runs pytest with these arguments and writes a JUnit report."""
    report = REPORTS / f"{name}.xml"
    command = [PYTHON, "-m", "pytest", "-q", "--durations=10", "--durations-min=1.0", f"--junitxml={report}"]
    return Stage(name, purpose, [[*command, *arguments]], report=report)


SET_UP = [
    Stage("apt", "Debian packages that are missing", [[PYTHON, "-m", "tools.apt"]], required=True),
    Stage("mirror", "everything that goes on a host, downloaded or built", [[PYTHON, "-m", "tools.mirror"]]),
]
LINT = [
    Stage("ruff", "Python style and format", [["ruff", "check", "."], ["ruff", "format", "--check", "."]]),
    Stage(
        "mypy",
        "types, strict",
        [["mypy", "-p", f"{COLLECTION}.plugins", "-p", "tests", "-p", "tools"]],
    ),
    Stage("imports", "dependencies point one way (import-linter)", [["lint-imports"]]),
    Stage(
        "ansible-lint",
        "roles and playbooks, production profile",
        [["ansible-lint", "--offline", "--profile", "production"]],
    ),
    Stage(
        "docs",
        "documentation of the collection (antsibull-docs) and of the roles",
        [
            ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=dependent", "."],
            [PYTHON, "-m", "tools.role_readmes", "--check"],
        ],
    ),
    Stage("changelog", "changelog fragments (antsibull-changelog)", [["antsibull-changelog", "lint"]]),
    Stage(
        "leak-scan",
        "private keys, tokens and Secrets in clear in all commits, by the project's own scan",
        [
            [
                *(PYTHON, "-m", f"{COLLECTION}.plugins.plugin_utils.leak_scan", "--all"),
                *(word for rule in NO_LEAKS for word in ("--ignore", rule)),
            ]
        ],
    ),
]
SHIPPED = [
    Stage("sanity", "ansible-test sanity on the built collection, no ignore entries", [[PYTHON, "-m", "tools.sanity"]]),
    Stage("importer", "galaxy-importer on the built collection", [[PYTHON, "-m", "tools.importer"]]),
]
TESTS = [
    pytest_stage("unit", "the engine and the project's rules, no I/O beyond a temporary directory", "tests/unit"),
    pytest_stage(
        "integration",
        "real servers and processes on loopback",
        INTEGRATION,
        *(f"--ignore={directory}" for directory in ON_HOSTS),
    ),
]
HOSTS = [pytest_stage("hosts", "sandbox hosts themselves, and the state of one", *ON_HOSTS)]
SCENARIOS = os.environ.get("SCENARIO", "").split()
MOLECULE = [
    Stage(
        "molecule",
        "the roles on sandbox hosts",
        [[PYTHON, "-m", "tools.scenarios", *SCENARIOS]],
        report=scenarios.REPORT,
    )
]
BESIDE = [
    Stage(
        "molecule-beside",
        "scenarios that the stage molecule has not come to yet",
        [[PYTHON, "-m", "tools.scenarios", "--beside", *SCENARIOS]],
        report=scenarios.REPORT_BESIDE,
        may_be_idle=True,
    )
]

# Most of the time is spent waiting for hosts, so what needs hosts runs beside what does not, and then shares the rest.
LANES = [LINT + TESTS + SHIPPED + BESIDE, HOSTS + MOLECULE]
GROUPS = {
    "lint": LINT + SHIPPED,
    "all": [*SET_UP, *(stage for lane in LANES for stage in lane)],
}
STAGES = {stage.name: stage for stage in GROUPS["all"]}


def select(names: Iterable[str]) -> list[Stage]:
    """Return the stages of the named groups and stages, each once, in the order of the whole run."""
    wanted = {stage.name for name in names for stage in GROUPS.get(name, [STAGES[name]] if name in STAGES else [])}
    return [stage for stage in GROUPS["all"] if stage.name in wanted]


def environment(stages: Iterable[Stage]) -> dict[str, str]:
    """Return the environment of every stage: the checkout's own tools and collections, one locale, no user settings."""
    collections = ROOT / ".dev" / "collections"
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        "PATH": os.pathsep.join([str(Path(PYTHON).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(collections),
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "LC_ALL": "C.UTF-8",
        **({"STAGECRAFT_TEST_PROGRAMS": "installed"} if STAGES["apt"] in stages else {}),
    }


def run(stages: Sequence[Stage]) -> list[Outcome]:
    """Run the set-up among the stages, then what is left of the lanes beside each other."""
    names = {stage.name for stage in stages}
    lanes = [[stage for stage in lane if stage.name in names] for lane in LANES]
    scenarios.forget_claims()
    outcomes = run_stages([stage for stage in SET_UP if stage.name in names], environment(stages))
    if any(outcome.stage.required and not outcome.ok for outcome in outcomes):
        return outcomes + [Outcome(stage, None, 0.0, None) for lane in lanes for stage in lane]
    return outcomes + run_lanes(lanes, environment(stages))


def main() -> int:
    """Run the stages; return 1 if any of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    choices = [*GROUPS, *STAGES]
    parser.add_argument("stages", nargs="*", default=["all"], metavar="STAGE", help=f"{', '.join(choices)} (all)")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.stages if name not in choices]:
        parser.error(f"wanted stages out of {', '.join(choices)}, found {', '.join(unknown)}")
    REPORTS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    outcomes = run(select(arguments.stages))
    print(f"\n{summary(outcomes, time.monotonic() - started)}", flush=True)
    if told := failures(outcomes):
        print(f"\n{told}", flush=True)
    if any(outcome.stage.report for outcome in outcomes):
        print(f"\n{total(outcomes)}", flush=True)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
