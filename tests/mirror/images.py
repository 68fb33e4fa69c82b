# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put together what images hold: built programs, programs of Debian with their libraries, a few files of /etc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.mirror import debian
from tests.mirror.errors import BuildError
from tests.mirror.oci import DirectoryEntry, Entry, FileEntry, ImageConfig, LinkEntry
from tests.mirror.recipes import ARCHITECTURE, DEBIAN_TREE, Image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.mirror.run import Runner

BUSYBOX = "usr/bin/busybox"
_XTABLES = f"{debian.LIBRARY_DIRECTORY}/xtables"
_NAME_SERVICE = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")
"""What glibc loads at run time to look up names: no program lists them."""

_BASE_FILES: Mapping[str, Entry] = {
    "etc/passwd": FileEntry(
        b"root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
    ),
    "etc/group": FileEntry(b"root:x:0:\nnogroup:x:65534:\n"),
    "etc/nsswitch.conf": FileEntry(b"passwd: files\ngroup: files\nhosts: files dns\n"),
    "root": DirectoryEntry(0o700),
    "tmp": DirectoryEntry(0o1777),
    "var/run": LinkEntry("../run"),
    "run": DirectoryEntry(),
}
_MERGED_LINKS: Mapping[str, Entry] = {name: LinkEntry(f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")}


def image_config(recipe: Image) -> ImageConfig:
    """Return the configuration that the image of a recipe carries."""
    return ImageConfig(ARCHITECTURE, recipe.entrypoint, recipe.command, user=recipe.user)


def image_tree(recipe: Image, parts: Mapping[str, Path], runner: Runner, log: Path) -> dict[str, Entry]:
    """Return the content of the image of a recipe; ``parts`` maps the parts it needs to their directories."""
    tree: dict[str, Entry] = dict(_BASE_FILES)
    for path, (part, member) in recipe.programs:
        tree[path] = FileEntry(parts[part] / member, 0o755)
    if recipe.debian or recipe.busybox:
        tree |= _MERGED_LINKS
        tree |= _debian_entries(recipe, parts[DEBIAN_TREE], runner, log)
    if recipe.certificates:
        tree[debian.CERTIFICATES] = FileEntry(parts[DEBIAN_TREE] / debian.CERTIFICATES)
    for path, target in recipe.links:
        tree[path] = LinkEntry(target)
    return tree


def _debian_entries(recipe: Image, root: Path, runner: Runner, log: Path) -> dict[str, Entry]:
    """Return programs of Debian with all libraries they need, iptables' extensions, and links for busybox's applets."""
    programs = list(recipe.debian)
    wanted = set(programs)
    if recipe.busybox:
        wanted |= {BUSYBOX, *(f"{debian.LIBRARY_DIRECTORY}/{name}" for name in _NAME_SERVICE)}
    if any("xtables" in program for program in programs):
        wanted |= {f"{_XTABLES}/{path.name}" for path in (root / _XTABLES).glob("*.so")}
    for name in sorted(wanted):
        wanted |= set(debian.shared_objects(root, debian.resolve(root, name), runner, log))
    entries: dict[str, Entry] = {
        name: FileEntry(
            root / debian.resolve(root, name), 0o644 if name.startswith(debian.LIBRARY_DIRECTORY) else 0o755
        )
        for name in wanted
    }
    if recipe.busybox:
        taken = {name.rsplit("/", 1)[-1] for name in (*entries, *(path for path, _ in recipe.links))}
        applets = _busybox_applets(recipe.busybox, root, runner, log)
        entries |= {f"usr/bin/{applet}": LinkEntry("busybox") for applet in applets if applet not in taken}
    return entries


def _busybox_applets(version: str, root: Path, runner: Runner, log: Path) -> list[str]:
    """Ask Debian's busybox for its applets; BuildError unless it has the wanted version."""
    busybox = debian.tree_command(root, BUSYBOX)
    said = runner.run([*busybox, "--help"], log=log, check=False).both
    if f"BusyBox v{version} " not in said:
        raise BuildError(
            f"wanted busybox {version}, found {said.splitlines()[:1]}: correct BUSYBOX_VERSION in recipes.py"
        )
    return runner.run([*busybox, "--list"], log=log).stdout.split()
