# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenBao whose seal is nobody's but the admin's: from a bare host through a power cut to a restore, and what it writes down."""

from __future__ import annotations

import pytest

from tests.integration.cluster.lab import Lab
from tests.integration.openbao_host.conftest import bao_of, watch_over
from tests.integration.openbao_host.site import DRILL, PATH, PLAYBOOK, Bao, Site, said, shown

HOST = "h1"


@pytest.fixture(scope="module")
def shamir(lab: Lab, site: Site) -> Bao:
    """A bare host of an environment of its own, and what is declared of it."""
    host = {"name": HOST, "environment": "development", "groups": ["openbao"], "memory_mb": 768}
    lab.power("present", listed=[*lab.specification(), host])
    bao = bao_of(lab, site, "development", HOST)
    bao.declare({"type": "shamir"})
    return bao


def test_after_a_power_cut_the_playbook_unseals_it_and_does_nothing_else(lab: Lab, site: Site, shamir: Bao) -> None:
    with watch_over(lab, site, [HOST]) as watch:
        shamir.run().must_work()
        kept = shamir.kept()
        assert (kept.root_token, kept.seal, len(kept.keys)) == ("", "shamir", 3)
        shamir.serves()
        shamir.run().must_not_change()

        lab.power("powered-off", HOST)
        lab.power("present", HOST)
        assert shamir.sealed(), "it serves although nobody unsealed it"
        assert shamir.run(PLAYBOOK, "--check").must_work().changed == {HOST: 1}
        assert shamir.sealed(), "check mode unsealed it"
        assert shamir.run().must_work().changed == {HOST: 1}, "unsealing is all that is to be done"
        shamir.serves()
        shamir.run().must_not_change()
        assert "was restored in" in said(shamir.run(DRILL).must_work())

    journal = lab.ssh(HOST, "journalctl --no-pager -a -o cat")
    assert f"kv/data/{PATH}" in journal, "the audit device writes down what is asked for"
    shamir.kept()
    texts = [journal.encode(), *(output.encode() for output in shamir.outputs), *watch.arguments, *watch.files]
    assert shown(shamir.known, texts) == set()
