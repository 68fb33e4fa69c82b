# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Distribution packages out of an air-gap bundle. Imported only where there is something to install."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import archive, packages
from .spec import REPOSITORY

if TYPE_CHECKING:
    from .packages import PackageState
    from .system import System


def install(system: System, state: PackageState, pushed: str) -> None:
    """Install what is missing from the pushed file, whose digest the caller has checked, and take all of it away again.

    It is a tar archive of a flat apt repository. The host's own sources are not looked at. Raises HostStateError.
    """
    system.remove_tree(REPOSITORY)
    system.ensure_directory(REPOSITORY)
    try:
        archive.unpack(system.path(pushed), system.path(REPOSITORY), 0, (), "the repository of packages")
        system.ensure_directory(REPOSITORY + "/lists/partial")
        # trusted: apt has checked the archive's signatures when the bundle was made, we the bundle's digest
        system.write_file(f"{REPOSITORY}/sources.list", f"deb [trusted=yes] file:{REPOSITORY} ./\n".encode())
        settings = {
            "Dir::Etc::sourcelist": f"{REPOSITORY}/sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": f"{REPOSITORY}/lists",
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "APT::Sandbox::User": "root",
        }
        only = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        packages.finish_interrupted(system, state)
        packages.apt_update(system, only)
        packages.must(packages.apt_get_install(system, state.missing, only), state.missing)
    finally:
        system.remove_tree(REPOSITORY)
