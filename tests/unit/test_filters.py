# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that calculate with networks."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.stagecraft.gitops.plugins.filter.stagecraft import first_address, first_subnet


@pytest.mark.parametrize(
    ("cidr", "address"), [("10.96.0.0/16", "10.96.0.1"), ("10.0.0.0/30", "10.0.0.1"), ("fd00:96::/112", "fd00:96::1")]
)
def test_the_first_address_is_the_apis(cidr: str, address: str) -> None:
    assert first_address(cidr) == address


@pytest.mark.parametrize(("prefix", "subnet"), [(24, "10.244.0.0/24"), (16, "10.244.0.0/16"), (8, "10.244.0.0/16")])
def test_the_first_subnet_is_never_larger_than_the_network(prefix: int, subnet: str) -> None:
    assert first_subnet("10.244.0.0/16", prefix) == subnet


@pytest.mark.parametrize("cidr", ["", "10.96.0.1/16", "services"])
def test_what_is_no_network_is_named(cidr: str) -> None:
    with pytest.raises(AnsibleFilterError, match="is no network"):
        first_address(cidr)
    with pytest.raises(AnsibleFilterError, match="is no network"):
        first_subnet(cidr, 24)
