# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All rules, applied to one inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment import (
    hosts,
    identity,
    k3s,
    minikube,
    networks,
    repository,
    settings,
    sources,
    variables,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import Inventory, Problem

RULES: tuple[Callable[[Inventory], Iterator[Problem]], ...] = (
    identity.environment,
    identity.distribution,
    identity.versions,
    identity.domains,
    hosts.groups,
    hosts.names,
    hosts.addresses,
    hosts.connections,
    variables.names,
    variables.types,
    variables.agreement,
    networks.families,
    networks.networks,
    networks.api_server,
    settings.managed,
    settings.swap,
    settings.preflight,
    settings.labels,
    settings.firewall,
    settings.minimum,
    settings.pod_network,
    k3s.flags,
    k3s.datastore,
    k3s.token,
    k3s.registries,
    k3s.nodes,
    minikube.driver,
    minikube.sizes,
    minikube.names,
    minikube.arguments,
    sources.artifacts,
    sources.api_access,
    repository.repository,
    identity.secrets,
    identity.protection,
)


def check(inventory: Inventory) -> list[Problem]:
    """Return everything that is wrong with `inventory`, each thing once, errors before warnings. Pure."""
    found = dict.fromkeys(problem for rule in RULES for problem in rule(inventory))
    return sorted(found, key=lambda problem: problem.level != "error")
