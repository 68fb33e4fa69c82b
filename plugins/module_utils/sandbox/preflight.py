# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Can hosts be made on this machine?  All reasons against it at once, each with what to do instead."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from . import machine

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "systemd-nspawn": "systemd-container",
        "debootstrap": "debootstrap",
        "ip": "iproute2",
        "ssh-keygen": "openssh-client",
        "ssh": "openssh-client",
        "mount": "mount",
        "unshare": "util-linux",
        "setpriv": "util-linux",
    }
)
"""Commands that are needed, and the Debian packages that have them."""

FILES: Mapping[str, str] = MappingProxyType(
    {"/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring"}
)
"""Files that are needed, and the Debian packages that have them."""

MODULES = ("overlay", "bridge", "br_netfilter", "nf_conntrack", "nf_tables", "vxlan")
"""Kernel modules that roles ask for; a host may not load any."""

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_CHROOT": 18, "CAP_SYS_ADMIN": 21, "CAP_MKNOD": 27}
CAP_SYS_RESOURCE = 24

V1_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "devices", "freezer")
V2_CONTROLLERS = ("cpu", "cpuset", "memory", "pids")

UNFIT_FILE_SYSTEMS = ("overlay", "nfs", "nfs4", "cifs", "vfat", "fuse", "9p", "ecryptfs")
"""File systems on which the upper directory of an overlay does not work, or not reliably."""

INSTEAD = (
    "where this machine cannot be changed, use virtual machines of your own: "
    "list them in inventories/production and run playbooks/setup-production.yml"
)


@dataclass(frozen=True)
class Facts:
    """What decides whether hosts can be made.

    capabilities is the bit mask of CapEff; file_systems are those that the kernel has or can load.
    """

    system: str
    architecture: str | None
    uid: int
    capabilities: int
    file_systems: Sequence[str]
    state_file_system: str
    namespaces: Sequence[str]
    v1_controllers: Sequence[str]
    v2_controllers: Sequence[str]
    apt: bool


DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def file_system_of(path: Path, mountinfo: str) -> str:
    """Return the type of the file system that holds ``path`` or would hold it."""
    while not path.exists():
        path = path.parent
    best, kind = "", ""
    for line in mountinfo.splitlines():
        before, _unused, after = line.partition(" - ")
        point = before.split(" ")[4]
        inside = point == "/" or str(path) == point or str(path).startswith(point + "/")
        if inside and len(point) >= len(best):
            best, kind = point, after.split(" ")[0]
    return kind


def gather(state_root: Path) -> Facts:
    """Read the facts; changes nothing."""
    status = Path("/proc/self/status").read_text("utf-8")
    capabilities = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    found = machine.hierarchies()
    v2: list[str] = []
    for hierarchy in found:
        if hierarchy.version == 2:
            v2 = (hierarchy.mount / "cgroup.controllers").read_text("ascii").split()
    listed = Path("/proc/filesystems").read_text("ascii")
    return Facts(
        system=os.uname().sysname,
        architecture=DEBIAN_ARCHITECTURES.get(os.uname().machine),
        uid=os.geteuid(),
        capabilities=capabilities,
        file_systems=[
            *(line.split()[-1] for line in listed.splitlines() if line.strip()),
            *loadable(Path("/lib/modules", os.uname().release)),
        ],
        state_file_system=file_system_of(state_root, Path("/proc/self/mountinfo").read_text("utf-8")),
        namespaces=[entry.name for entry in Path("/proc/self/ns").iterdir()],
        v1_controllers=[name for hierarchy in found if hierarchy.version == 1 for name in hierarchy.controllers],
        v2_controllers=v2,
        apt=shutil.which("apt-get") is not None,
    )


def loadable(directory: Path) -> set[str]:
    """Return the names of the kernel modules that can be loaded from a directory; none where there is no modules.dep."""
    try:
        text = (directory / "modules.dep").read_text("utf-8")
    except OSError:
        return set()
    return {Path(line.partition(":")[0]).name.partition(".")[0].replace("-", "_") for line in text.splitlines()}


def missing_modules(directory: Path | None, loaded: Path = Path("/sys/module")) -> list[str]:
    """Return the modules that hosts need and cannot load themselves; none where everything is built in."""
    if directory is None:
        return []
    available = loadable(directory)
    return [name for name in MODULES if name in available and not (loaded / name).exists()]


def missing_packages(commands: Mapping[str, str] = COMMANDS, files: Mapping[str, str] = FILES) -> list[str]:
    """Return the Debian packages whose commands or files are not there."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
    missing = {package for command, package in commands.items() if shutil.which(command, path=path) is None}
    return sorted(missing | {package for file, package in files.items() if not Path(file).exists()})


def problems(facts: Facts, packages: Sequence[str], install: bool) -> list[str]:
    """Return every reason why hosts cannot be made, each with what to do; packages are those that are missing."""
    found = []
    if facts.system != "Linux":
        found.append(f"this machine runs {facts.system}; systemd-nspawn needs Linux")
    if facts.architecture is None:
        found.append("this machine's processor is neither amd64 nor arm64, for which the collection has artefacts")
    if facts.uid != 0:
        found.append(
            f"this is not root (effective user id {facts.uid}): run the playbook as root, for example with sudo"
        )
    else:
        lacking = [name for name, bit in CAPABILITIES.items() if not facts.capabilities >> bit & 1]
        if lacking:
            found.append(
                f"root lacks {', '.join(lacking)}: this is an unprivileged container; use a virtual "
                f"machine, or a privileged container"
            )
    if packages and not (install and facts.apt):
        line = f"apt-get install --no-install-recommends {' '.join(packages)}"
        why = "sandbox_install_packages is false" if facts.apt else "there is no apt-get to install them with"
        found.append(f"packages are missing and {why}: run `{line}`, or its like for this distribution")
    if "overlay" not in facts.file_systems:
        found.append("the kernel has no overlayfs: use one with CONFIG_OVERLAY_FS, as all distributions have")
    if facts.state_file_system in UNFIT_FILE_SYSTEMS:
        found.append(
            f"/var/lib/stagecraft lies on {facts.state_file_system}, where an overlay cannot be kept: "
            f"mount ext4 or xfs there"
        )
    absent = [name for name in ("net", "pid", "mnt", "uts", "ipc", "cgroup") if name not in facts.namespaces]
    if absent:
        found.append(
            f"the kernel has no {', '.join(absent)} namespaces: use one with CONFIG_NAMESPACES and CONFIG_NET_NS"
        )
    have = set(facts.v1_controllers) | set(facts.v2_controllers)
    wanted = V1_CONTROLLERS if facts.v1_controllers else V2_CONTROLLERS
    without = [name for name in wanted if name not in have]
    if without:
        found.append(
            f"the control group controllers {', '.join(without)} are not mounted below "
            f"/sys/fs/cgroup: the kubelet cannot work without"
        )
    return [*found, INSTEAD] if found else []


def lacks_resource_capability(facts: Facts) -> bool:
    """Say whether root may not lower oom_score_adj: containerd then needs restrict_oom_score_adj."""
    return not facts.capabilities >> CAP_SYS_RESOURCE & 1
