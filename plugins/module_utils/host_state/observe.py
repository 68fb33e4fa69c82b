# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a host: everything that a declaration could change, in one go, changing nothing."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import facts as host_facts
from . import images, kernel, packages, store, swap, systemd
from .packages import PackageState
from .spec import PENDING, STATE_DIR, STORE, Digest, Spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .system import System
    from .systemd import UnitStatus

RELOAD_MARKER = "daemon-reload"
CONTENT_LIMIT = 16 << 20


@dataclass(frozen=True)
class Entry:
    """One path of the file system. `kind` is absent, file, directory, link or other; `content` of files only."""

    kind: str = "absent"
    mode: int = 0
    uid: int = 0
    gid: int = 0
    content: bytes | None = field(default=None, repr=False)
    target: str = ""


ABSENT = Entry()


@dataclass(frozen=True)
class Observed:
    """A host as it was found; plain data for the planner."""

    arch: str
    entries: Mapping[str, Entry] = field(default_factory=dict)
    ids: Mapping[tuple[str, str], int | None] = field(default_factory=dict)
    artifacts: Mapping[str, store.ArtifactStatus] = field(default_factory=dict)
    store_versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    images: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    images_recorded: Mapping[str, str] = field(default_factory=dict)
    missing_modules: tuple[str, ...] = ()
    sysctl: Mapping[str, str | None] = field(default_factory=dict)
    swap_active: tuple[str, ...] = ()
    fstab: str | None = None
    packages: PackageState = field(default_factory=PackageState)
    repository: int | None = None
    systemd: bool = False
    units: Mapping[str, UnitStatus] = field(default_factory=dict)
    resolved: Mapping[str, str] = field(default_factory=dict)
    pending: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    disk: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def observe_entry(system: System, path: str, follow: bool = False) -> Entry:
    """Tell what is at a path; `follow` looks through a link (for directories)."""
    found = system.stat(path) if follow else system.lstat(path)
    if found is None:
        return ABSENT
    if stat.S_ISLNK(found.st_mode):
        return Entry("link", 0o777, found.st_uid, found.st_gid, target=system.readlink(path) or "")
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISDIR(found.st_mode):
        return Entry("directory", mode, found.st_uid, found.st_gid)
    if not stat.S_ISREG(found.st_mode):
        return Entry("other", mode, found.st_uid, found.st_gid)
    content = system.read(path) if found.st_size <= CONTENT_LIMIT else None
    return Entry("file", mode, found.st_uid, found.st_gid, content)


def _entries(system: System, spec: Spec) -> dict[str, Entry]:
    entries = {directory.path: observe_entry(system, directory.path, follow=True) for directory in spec.directories}
    entries.update((file.path, observe_entry(system, file.path)) for file in spec.all_files)
    entries.update((link.path, observe_entry(system, link.path)) for link in spec.all_links)
    return entries


def _ids(system: System, spec: Spec) -> dict[tuple[str, str], int | None]:
    ids: dict[tuple[str, str], int | None] = {}
    owners = [(directory.owner, directory.group) for directory in spec.directories]
    owners += [(file.owner, file.group) for file in spec.all_files]
    for user, group in dict.fromkeys(owners):
        ids["user", user] = system.uid(user)
        ids["group", group] = system.gid(group)
    return ids


def _pending(system: System) -> dict[str, str]:
    return {name: (system.read_text(f"{PENDING}/{name}") or "").strip() for name in system.listdir(PENDING)}


def _disk(system: System, spec: Spec) -> dict[str, dict[str, int]]:
    places = {"state": STATE_DIR, "store": STORE, "images": "/var/lib/containerd"}
    places.update((a.directory, a.directory) for a in spec.artifacts if a.directory)
    disk = {}
    for name, path in places.items():
        device, free = system.free_bytes(path)
        disk[name] = {"device": device, "free_bytes": free}
    return disk


def observe(system: System, spec: Spec) -> Observed:
    """Look at everything that `spec` names."""
    facts = host_facts.gather(system)
    arch = str(facts["arch"])
    artifacts = {}
    for artifact in spec.artifacts:
        digest = artifact.digests.get(arch)
        if artifact.install == "image":
            waiting = system.lstat(store.incoming_path(digest.sha256)) if digest else None
            artifacts[artifact.place] = store.ArtifactStatus(False, incoming=waiting.st_size if waiting else None)
        elif digest is not None:
            artifacts[artifact.place] = store.observe_artifact(system, artifact, digest.sha256)
    namespaces = {artifact.images_namespace for artifact in spec.artifacts if artifact.install == "image"}
    has_systemd = systemd.is_running(system)
    units = spec.all_units
    programs = [*(unit.exe for unit in units if unit.exe), *(link.target for link in spec.all_links)]
    stored = [artifact for artifact in spec.artifacts if artifact.install != "image" and not artifact.directory]
    return Observed(
        arch=arch,
        entries=_entries(system, spec),
        ids=_ids(system, spec),
        artifacts=artifacts,
        store_versions={artifact.name: store.installed_versions(system, artifact.name) for artifact in stored},
        images={name: images.listed(system, spec.ctr, name) for name in sorted(namespaces)},
        images_recorded=images.recorded(system) if namespaces else {},
        missing_modules=kernel.missing_modules(system, spec.kernel_modules),
        sysctl=kernel.observe_sysctl(system, list(spec.sysctl)),
        swap_active=swap.active_devices(system.read_text("/proc/swaps") or "") if spec.swap == "disabled" else (),
        fstab=_fstab(system) if spec.swap == "disabled" else None,
        packages=packages.observe_packages(system, spec.packages),
        repository=_size(system, spec.repositories.get(host_facts.release_of(facts))),
        systemd=has_systemd,
        units=systemd.observe_units(system, [unit.name for unit in units]) if has_systemd else {},
        resolved={path: system.resolve(path) for path in programs if path.startswith("/")},
        pending=_pending(system),
        facts=facts,
        disk=_disk(system, spec),
    )


def _size(system: System, pushed: Digest | None) -> int | None:
    """Size in bytes of a pushed file that waits to be used, None without one."""
    found = system.lstat(store.incoming_path(pushed.sha256)) if pushed else None
    return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else None


def _fstab(system: System) -> str | None:
    data = system.read(system.resolve(swap.FSTAB))
    return None if data is None else data.decode("utf-8", "surrogateescape")
