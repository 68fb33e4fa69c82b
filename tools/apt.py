# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install those Debian packages of ``tools/apt-packages.txt`` that are missing (nothing at all when none is)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

LIST = Path(__file__).with_name("apt-packages.txt")
# Debian's own switch: while the file is there, neither the installation nor a boot starts the machine's sshd.
NO_SSHD = Path("/etc/ssh/sshd_not_to_be_run")
# What Debian asks before it makes a database of the machine's own, and starts it.
CLUSTERS = Path("/etc/postgresql-common/createcluster.conf")


def wanted_packages(text: str) -> list[str]:
    """Return the package names of a list with one name a line and ``#`` comments."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def missing_packages(wanted: list[str]) -> list[str]:
    """Return those of ``wanted`` that dpkg does not have installed."""
    answer = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    installed = {line.split()[0] for line in answer.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


def keep_sshd_off(missing: list[str]) -> None:
    """See to it that an SSH server which is installed for the tests alone does not let anybody in."""
    if "openssh-server" in missing:
        NO_SSHD.parent.mkdir(exist_ok=True)
        NO_SSHD.touch()
        print(f"openssh-server is only for tests here: it is not started while {NO_SSHD} is there", flush=True)


def keep_postgresql_off(missing: list[str]) -> None:
    """See to it that PostgreSQL, which is installed for the tests alone, makes no database of its own and starts none."""
    if "postgresql" in missing and not CLUSTERS.exists():
        CLUSTERS.parent.mkdir(exist_ok=True)
        CLUSTERS.write_text("create_main_cluster = false\n", encoding="utf-8")
        print(f"postgresql is only for tests here: {CLUSTERS} says that it makes no database of its own", flush=True)


def main() -> None:
    """Install what is missing, or say which command does it."""
    wanted = wanted_packages(LIST.read_text())
    if not shutil.which("dpkg-query") or not shutil.which("apt-get"):
        raise SystemExit(
            f"wanted Debian or a relative of it, found no apt-get: install the like of {' '.join(wanted)}"
            " and run the stages one by one (`make help`)"
        )
    missing = missing_packages(wanted)
    if not missing:
        return
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        raise SystemExit(f"these Debian packages are missing; run as root: {' '.join(install)}")
    print(f"installing {' '.join(missing)}", flush=True)
    keep_sshd_off(missing)
    keep_postgresql_off(missing)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "--quiet", "update"], install):
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
