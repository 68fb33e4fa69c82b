# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the collection with every supported minor version of ansible-core, as far as that goes without hosts.

Each has a virtual environment under ``.dev/compat`` that holds ansible-core alone, in front of everything else of
``.dev/venv``. Versions that do not run on this Python are named and left out.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from tools.check import PYTHON, REPORTS, environment
from tools.dev import REQUIREMENTS, digest, make, run
from tools.stages import ROOT, Outcome, Stage, run_stage, summary, total

#: The minor version of ansible-core and the oldest Python that it runs on.
VERSIONS = {"2.18": (3, 11), "2.19": (3, 11), "2.20": (3, 12), "2.21": (3, 12)}
TESTS = ["tests/unit/test_plugins.py", "tests/unit/host_state/test_action.py", "tests/integration/kube"]


def virtual_environment(version: str) -> Path:
    """Make ``.dev/compat/VERSION`` from its hash-checked pin; return its directory of programs."""
    home = ROOT / ".dev" / "compat" / version
    pin = REQUIREMENTS / f"compat-{version}.txt"

    def build() -> None:
        shutil.rmtree(home, ignore_errors=True)
        run(PYTHON, "-m", "venv", home)
        python = home / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--requirement", pin)
        (packages,) = home.glob("lib/python3.*/site-packages")
        (packages / "development.pth").write_text(sysconfig.get_path("purelib") + "\n")

    make(f"ansible-core {version}", home / ".stamp", digest(f"{PYTHON} {sys.version} {home}", pin), build)
    return home / "bin"


def stage(version: str, programs: Path) -> Stage:
    """Return what is checked with one version."""
    report = REPORTS / f"compat-{version}.xml"
    playbooks = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "playbooks").glob("*.yml"))]
    python = str(programs / "python")
    return Stage(
        f"ansible-core {version}",
        "playbooks, documentation, and what actions do without a host",
        [
            [python, "-m", "ansible", "playbook", "--version"],
            [python, "-m", "ansible", "playbook", "--syntax-check", "-i", "inventories/production", *playbooks],
            ["sh", "-c", f"{python} -m ansible doc --metadata-dump stagecraft.gitops >{REPORTS}/compat-{version}.json"],
            [python, "-m", "pytest", "-q", f"--junitxml={report}", *TESTS],
        ],
        report=report,
    )


def check(version: str) -> Outcome:
    """Check one version."""
    programs = virtual_environment(version)
    variables = environment([])
    return run_stage(
        stage(version, programs), {**variables, "PATH": os.pathsep.join([str(programs), variables["PATH"]])}
    )


def main() -> int:
    """Check all versions that this Python can run; return 1 if any of them failed."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for version, oldest in VERSIONS.items():
        if sys.version_info[:2] < oldest:
            print(f"ansible-core {version} needs Python {oldest[0]}.{oldest[1]}: left out", flush=True)
        else:
            outcomes.append(check(version))
    print(f"\n{summary(outcomes)}\n\n{total(outcomes)}", flush=True)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
