# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out a plan. Decides nothing; every step may be the last one before the host is killed.

What makes that safe: a marker per unit to be restarted is on disk before the first change that calls for the
restart and goes after it; files, links and versions appear by rename; stamps are written last.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import images, install, kernel, packages, repository, store, swap, systemd
from .errors import HostStateError, ProblemsError
from .observe import RELOAD_MARKER
from .spec import PENDING, Directory, File, Link, Spec, Unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from .plan import Change, Plan
    from .system import System

COMMAND_SECONDS = 60.0
IMPORTS_AT_ONCE = 2


@dataclass
class Applied:
    """What was done to units."""

    restarted: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)


def _pushed(change: Change) -> tuple[str, str]:
    """Name and digest of the pushed file that a change uses, ("", "") where it uses none."""
    if change.kind == "packages":
        return "the repository of packages", change.payload[1]
    if change.kind in ("artifact", "image") and change.action in ("install", "import"):
        return f"artifact {change.payload[0].key}", change.payload[1]
    return "", ""


class Applier:
    """Carries out one plan on one host."""

    def __init__(self, system: System, spec: Spec) -> None:
        self.system = system
        self.spec = spec
        self.done = Applied()
        self._handlers: dict[str, Callable[[Change], None]] = {
            "packages": self._packages,
            "directory": self._directory,
            "kernel_module": self._kernel_module,
            "file": self._file,
            "sysctl": self._sysctl,
            "swap": self._swap,
            "artifact": self._artifact,
            "link": self._link,
            "systemd": self._systemd,
            "unit": self._unit,
        }

    def apply(self, plan: Plan) -> Applied:
        """Carry out everything; raises HostStateError at the first step that fails."""
        self._check_incoming(plan)
        self._write_markers(plan)
        for change in plan.changes:
            if change.kind not in ("image", "artifact") or change.action == "install":
                self._handlers[change.kind](change)
        self._settle_units()
        self._import_images([change for change in plan.changes if change.kind == "image"])
        for change in plan.changes:
            if change.kind == "artifact" and change.action == "remove":
                install.remove_version(self.system, *change.payload)
        for name in plan.settled_markers:
            self._drop_marker(name)
        return self.done

    def _check_incoming(self, plan: Plan) -> None:
        refused = []
        for change in plan.changes:
            what, sha256 = _pushed(change)
            if sha256:
                try:
                    install.check_incoming(self.system, what, sha256)
                except HostStateError as error:
                    refused.append(str(error))
        if refused:
            raise ProblemsError("Pushed artefacts cannot be used, nothing was changed:", refused)

    def _write_markers(self, plan: Plan) -> None:
        for name, verb in sorted(plan.markers.items()):
            if verb == "reload" and (self.system.read(f"{PENDING}/{name}") or b"").strip() == b"restart":
                continue
            self.system.write_file(f"{PENDING}/{name}", (verb + "\n").encode())

    def _drop_marker(self, name: str) -> None:
        self.system.unlink(f"{PENDING}/{name}")

    # -- handlers, one per kind ------------------------------------------------------------------------------------

    def _packages(self, change: Change) -> None:
        state, sha256 = change.payload
        if sha256:
            repository.install(self.system, state, store.incoming_path(sha256))
        else:
            packages.install(self.system, state)

    def _owner(self, holder: Directory | File) -> tuple[int, int]:
        uid, gid = self.system.uid(holder.owner), self.system.gid(holder.group)
        if uid is None or gid is None:
            what = f"user {holder.owner!r}" if uid is None else f"group {holder.group!r}"
            raise HostStateError(f"{holder.path}: there is no {what} on this host")
        return uid, gid

    def _directory(self, change: Change) -> None:
        wanted: Directory = change.payload
        self.system.ensure_directory(wanted.path)
        self.system.set_owner_and_mode(wanted.path, wanted.mode, *self._owner(wanted))

    def _file(self, change: Change) -> None:
        wanted: File = change.payload
        if wanted.absent:
            self.system.unlink(wanted.path)
        else:
            self.system.write_file(wanted.path, wanted.content.encode(), wanted.mode, *self._owner(wanted))

    def _link(self, change: Change) -> None:
        wanted: Link = change.payload
        self.system.symlink(wanted.path, wanted.target)

    def _kernel_module(self, change: Change) -> None:
        done = self.system.command(["modprobe", "--", change.payload], timeout=COMMAND_SECONDS)
        if done.rc != 0:
            raise HostStateError(
                f"kernel module {change.payload} cannot be loaded (rc {done.rc}): {done.output}; "
                "the running kernel must have it, as a module or built in"
            )

    def _sysctl(self, change: Change) -> None:
        key, value = change.payload
        path = kernel.sysctl_path(key)
        try:
            self.system.write_value(path, value)
        except FileNotFoundError as error:
            raise HostStateError(f"sysctl {key}: this kernel has no such key ({path})") from error
        except OSError as error:
            raise HostStateError(
                f"sysctl {key} cannot be set to {value!r} (is {change.before!r}): the kernel says {error.strerror}; "
                f"{path} is read-only here or the value is out of range: set it outside, or leave the key out"
            ) from error

    def _swap(self, change: Change) -> None:
        if change.action == "off":
            done = self.system.command(["swapoff", "--", change.payload])
            if done.rc != 0:
                raise HostStateError(f"swap on {change.target} cannot be turned off (rc {done.rc}): {done.output}")
            return
        path = self.system.resolve(swap.FSTAB)
        found = self.system.stat(path)
        mode, uid, gid = (found.st_mode & 0o7777, found.st_uid, found.st_gid) if found else (0o644, -1, -1)
        self.system.write_file(path, change.payload.encode("utf-8", "surrogateescape"), mode, uid, gid)

    def _artifact(self, change: Change) -> None:
        artifact, sha256 = change.payload
        try:
            install.install(self.system, artifact, sha256)
        except OSError as error:
            _device, free = self.system.free_bytes(artifact.base)
            raise HostStateError(
                f"artifact {artifact.key} cannot be installed in {artifact.base}: {error.strerror or error}; "
                f"{free} bytes are free there"
            ) from error

    def _systemd(self, _change: Change) -> None:
        systemd.control(self.system, "daemon-reload", ())
        self._drop_marker(RELOAD_MARKER)

    def _unit(self, change: Change) -> None:
        unit: Unit = change.payload
        if change.action in ("restart", "start") and change.before == "failed":
            systemd.control(self.system, "reset-failed", [unit.name])
        verb = "reload-or-restart" if change.action == "reload" else change.action
        systemd.control(self.system, verb, [unit.name], timeout=unit.start_timeout + 30)
        if change.action in ("restart", "reload"):
            self.done.restarted.append(unit.name)
        elif change.action == "start":
            self.done.started.append(unit.name)
        elif change.action == "stop":
            self.done.stopped.append(unit.name)
        if change.action in ("restart", "reload", "start"):
            self._drop_marker(unit.name)

    def _settle_units(self) -> None:
        touched = {*self.done.restarted, *self.done.started}
        units = [unit for unit in self.spec.all_units if unit.name in touched and unit.state == "started"]
        problems = systemd.wait_active(self.system, units) if units else []
        if problems:
            raise ProblemsError("Units were started, but do not run:", problems)

    def _import_images(self, changes: list[Change]) -> None:
        def one(change: Change) -> None:
            artifact, sha256, reference = change.payload
            images.import_archive(
                self.system, self.spec.ctr, artifact.images_namespace, store.incoming_path(sha256), reference
            )

        if not changes:
            return
        with ThreadPoolExecutor(max_workers=min(IMPORTS_AT_ONCE, len(changes), os.cpu_count() or 1)) as pool:
            outcomes = [(change, pool.submit(one, change)) for change in changes]
            for change, outcome in outcomes:
                outcome.result()
                artifact, sha256, reference = change.payload
                images.record(self.system, [(artifact.images_namespace, reference, sha256)])
                self.system.unlink(store.incoming_path(sha256))
