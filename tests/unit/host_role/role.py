# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Template the tasks of the role host as ansible-playbook does, for one host of an inventory, without a connection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLE = Path(__file__).parents[3] / "roles" / "host"


def requirements(inventory: Mapping[str, Any], host: str, directory: Path) -> dict[str, Any]:
    """What the role asks of `host` before anything is changed; `directory` takes the inventory."""
    loader = DataLoader()
    (look,) = _read(loader, "tasks/preflight.yml")
    wanted: dict[str, Any] = _templar(loader, inventory, host, directory).template(
        look["stagecraft.gitops.host_preflight"]["requirements"]
    )
    return wanted


def firewall(inventory: Mapping[str, Any], host: str, directory: Path, **facts: Any) -> str:
    """The rules that `host` gets for nftables; `facts` is what the preflight found, `directory` takes the inventory."""
    text = trust_as_template((ROLE / "templates" / "firewall.nft.j2").read_text())
    return str(_templar(DataLoader(), inventory, host, directory, host__preflight={"facts": facts}).template(text))


def _read(loader: DataLoader, name: str) -> Any:
    return loader.load_from_file(str(ROLE / name), trusted_as_template=True)


def _templar(
    loader: DataLoader, inventory: Mapping[str, Any], host: str, directory: Path, **registered: Any
) -> Templar:
    path = directory / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": inventory}))
    hosts = InventoryManager(loader=loader, sources=[str(path)])
    manager = VariableManager(loader=loader, inventory=hosts)
    HostVars(inventory=hosts, variable_manager=manager, loader=loader)
    own = manager.get_vars(host=hosts.get_host(host))
    return Templar(
        loader, variables={**_read(loader, "defaults/main.yml"), **own, **_read(loader, "vars/main.yml"), **registered}
    )
