# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases of Debian that live as long as a test, in a directory of their own and as a user without rights."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.integration.k3s_server.host import Network, Program
from tests.programs import lacking

USER = "nobody"
PASSWORD = "correct-horse"


@dataclass(frozen=True)
class Database:
    """How K3s reaches it (``{}`` is the password's place), how it is started, and what K3s does without it."""

    port: int
    endpoint: str
    command: tuple[str, ...]
    wrong_password: str
    waited_for: bool
    """Whether K3s tries again while nobody answers; else it ends, and systemd starts it again."""

    def address(self, password: str = PASSWORD) -> str:
        return self.endpoint.format(password)

    def start(self, directory: Path, network: Network) -> Program:
        """Start it; it answers some time later."""
        return Program(network.inside(_without_rights(self.command)), directory / "database.log")


def _without_rights(command: Sequence[str]) -> list[str]:
    """Neither database runs as root."""
    return ["setpriv", f"--reuid={USER}", f"--regid={_group()}", "--clear-groups", *command]


def _group() -> str:
    return subprocess.run(["id", "-gn", USER], capture_output=True, text=True, check=True).stdout.strip()


def _make(directory: Path, command: Sequence[str]) -> None:
    done = subprocess.run(_without_rights(command), cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def postgresql(directory: Path) -> Database:
    """Make an empty PostgreSQL that takes passwords alone."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not programs or not (programs[-1] / "initdb").exists():
        lacking("PostgreSQL is missing: install the package postgresql")
    data, secret = directory / "data", directory / "password"
    secret.write_text(PASSWORD)
    shutil.chown(secret, USER)
    options = ["--username=k3s", f"--pwfile={secret}", "--auth=scram-sha-256", "--no-sync", "--locale=C"]
    _make(directory, [str(programs[-1] / "initdb"), "--pgdata", str(data), *options])
    settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
    return Database(
        5432,
        "postgres://k3s:{}@127.0.0.1:5432/postgres?sslmode=disable",
        (str(programs[-1] / "postgres"), "-D", str(data), *(word for one in settings for word in ("-c", one))),
        "password authentication failed for user",
        waited_for=True,
    )


def mariadb(directory: Path) -> Database:
    """Make an empty MariaDB with one user."""
    server, install = shutil.which("mariadbd", path="/usr/sbin:/usr/bin"), shutil.which("mariadb-install-db")
    if not server or not install:
        lacking("MariaDB is missing: install the packages mariadb-server-core and mariadb-client-core")
    data, first = directory / "data", directory / "first.sql"
    first.write_text(
        "CREATE DATABASE IF NOT EXISTS kubernetes;\n"
        f"CREATE USER IF NOT EXISTS 'k3s'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
        "GRANT ALL ON kubernetes.* TO 'k3s'@'127.0.0.1';\n"
    )
    _make(directory, [install, "--no-defaults", f"--datadir={data}", "--skip-test-db", "--skip-name-resolve"])
    return Database(
        3306,
        "mysql://k3s:{}@tcp(127.0.0.1:3306)/kubernetes",
        (
            server,
            "--no-defaults",
            f"--datadir={data}",
            f"--socket={directory / 'socket'}",
            "--bind-address=127.0.0.1",
            f"--init-file={first}",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
        ),
        "Access denied for user 'k3s'",
        waited_for=False,
    )
