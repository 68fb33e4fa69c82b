# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load an inventory as ansible-playbook does, and check it as the action does, without starting a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.stagecraft.gitops.plugins.action import environment_check
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.check import check

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import Problem


def problems(path: Path) -> list[Problem]:
    """Everything that the rules find in the inventory at `path`. Origins are relative to the working directory."""
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(path)])
    variables = VariableManager(loader=loader, inventory=inventory)
    hostvars = HostVars(inventory=inventory, variable_manager=variables, loader=loader)
    return check(environment_check.collect(inventory.get_groups_dict(), hostvars))


def told(path: Path) -> list[str]:
    """The messages as an admin reads them, a line each; the inventory's directory stands as DIR."""
    lines = [f"{'warning: ' if p.level == 'warning' else ''}{p}" for p in problems(path)]
    return [line.replace(str(path.parent), "DIR") for line in lines]
