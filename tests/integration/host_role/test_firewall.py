# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nft itself reads the firewall's rules, in a network namespace of its own. Debian's package is unpacked, not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.host_role.inventories import cluster
from tests.unit.host_role.role import firewall


def _run(command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


@pytest.fixture(scope="module")
def nft(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The beginning of a command that runs nft where it can do no harm."""
    directory = tmp_path_factory.mktemp("nft")
    command = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    program = shutil.which("nft") or _unpacked(directory)
    libraries = ":".join(str(path) for path in directory.glob("usr/lib/*-linux-gnu"))
    command += ["env", f"LD_LIBRARY_PATH={libraries}", program]
    tried = _run([*command, "--check", "--file", "-"], input="table inet x { }\n")
    if tried.returncode:
        pytest.skip(f"nft cannot be run here: {tried.stderr.strip()}")
    return command


def _unpacked(directory: Path) -> str:
    (directory / "archives" / "partial").mkdir(parents=True)
    options = ["APT::Sandbox::User=root", "Debug::NoLocking=1", f"Dir::Cache::archives={directory / 'archives'}"]
    # What is installed already is not fetched. Nothing is installed, so apt needs no lock.
    command = ["apt-get", "--quiet", "--yes", "--no-install-recommends", "--download-only", "install", "nftables"]
    got = _run([*command, *(f"--option={option}" for option in options)])
    packages = sorted((directory / "archives").glob("*.deb"))
    if got.returncode or not packages:
        pytest.skip(f"there is no nft, and apt-get has no package nftables here: {got.stderr.strip()}")
    for package in packages:
        subprocess.run(["dpkg-deb", "--extract", package, directory], check=True)
    return str(directory / "usr" / "sbin" / "nft")


ALLOW = [
    {"port": 443},
    {"port": "8000-8010", "protocol": "udp", "from": "10.0.0.0/8"},
    {"port": 1, "from": "2001:db8::7"},
]


@pytest.mark.parametrize(
    ("inventory", "host"),
    [
        (cluster(), "cp1"),
        (cluster(), "worker1"),
        (cluster(1, 0), "cp1"),
        (cluster(1, 1, cni_plugin="manifest", host_firewall_allow=ALLOW), "worker1"),
    ],
)
def test_nft_understands_the_rules(nft: list[str], inventory: dict[str, Any], host: str, tmp_path: Path) -> None:
    rules = tmp_path / "firewall.nft"
    rules.write_text(firewall(inventory, host, tmp_path))
    checked = _run([*nft, "--check", "--file", str(rules)])
    assert (checked.returncode, checked.stderr) == (0, "")
