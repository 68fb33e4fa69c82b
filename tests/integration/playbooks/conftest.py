# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from tests.integration.artifacts.test_playbooks import built
from tests.integration.controlplane.conftest import git_server, plane, session, site
from tests.integration.ssh.conftest import bare_host, sshd_program

__all__ = ["bare_host", "built", "git_server", "plane", "session", "site", "sshd_program"]
