# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that talk to an OpenBao or Vault server."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments `stagecraft.gitops.openbao` and `stagecraft.gitops.openbao.server`."""

    DOCUMENTATION = r"""
requirements:
  - hvac >= 2.4 (on the controller)
  - pyrage >= 1.2 (on the controller)
options:
  ca_file:
    description: A file with the certificate of the authority that signed the server's; without it the system's authorities count.
    type: path
    default: ""
  environment:
    description: The environment that the server belongs to. Without it C(stagecraft_environment) is taken. An escrow of another one is refused.
    type: str
"""

    SERVER = r"""
options:
  url:
    description: The server's address. Plain HTTP is refused but on this machine itself.
    type: str
    required: true
"""
