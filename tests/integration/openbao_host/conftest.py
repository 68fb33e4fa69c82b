# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenBao on sandbox hosts. Molecule calls these tests; a run without a sandbox leaves them out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import pytest

from tests.integration.cluster.conftest import lab
from tests.integration.cluster.lab import Lab
from tests.integration.openbao.bao import Missing, program
from tests.integration.openbao_host.site import Bao, Site
from tests.integration.openbao_host.watch import Watch
from tests.programs import lacking

if "STAGECRAFT_TEST_SANDBOX" not in os.environ:
    collect_ignore_glob = ["test_*.py"]

__all__ = ["lab", "production", "site", "staging", "watch"]


@pytest.fixture(scope="session")
def site(lab: Lab) -> Site:
    try:
        program()
    except Missing as missing:
        lacking(str(missing))
    return Site(lab.state / "site")


def bao_of(lab: Lab, site: Site, environment: str, host: str) -> Bao:
    inventory = lab.inventory.parent / environment / lab.inventory.name
    return Bao(site, environment, host, lab.hosts[host], inventory)


@pytest.fixture(scope="session")
def staging(lab: Lab, site: Site) -> Bao:
    return bao_of(lab, site, "staging", "b1")


@pytest.fixture(scope="session")
def production(lab: Lab, site: Site) -> Bao:
    return bao_of(lab, site, "production", "b2")


def watch_over(lab: Lab, site: Site, hosts: Iterable[str]) -> Watch:
    """Return what looks on where the controller and hosts have files for a moment."""
    uppers = [lab.directory / "hosts" / host / "disk" / "upper" for host in hosts]
    places = [upper / path for upper in uppers for path in ("root/.ansible", "tmp", "var/tmp")]
    return Watch([site.temporary, site.facts, *places])


@pytest.fixture(scope="session", autouse=True)
def watch(lab: Lab, site: Site) -> Iterator[Watch]:
    """Looks on from the first run to the last."""
    with watch_over(lab, site, lab.hosts) as running:
        yield running
