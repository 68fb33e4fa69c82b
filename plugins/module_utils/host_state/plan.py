# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: a pure function of what was observed and what is declared.

The changes of a plan stand in the order in which they are carried out:
stop → packages → directories → kernel modules → files → sysctl → swap → artefacts → links → daemon-reload →
enable → restart, reload, start → images → old versions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import swap
from .facts import release_of
from .images import record_key
from .observe import ABSENT, RELOAD_MARKER, Entry, Observed
from .spec import STORE, Artifact, Directory, File, Link, Spec, Unit
from .systemd import ENABLED_STATES, UnitStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .store import ArtifactStatus

LIVE_STATES = ("active", "reloading", "activating", "deactivating", "refreshing")
VERSIONS_KEPT = 2


@dataclass(frozen=True)
class Change:
    """One thing to do. `before` and `after` are words for people; `payload` is what `apply` needs.

    `texts` is a pair of whole texts for a diff, only where their content may be shown.
    """

    kind: str
    target: str
    action: str
    before: str = ""
    after: str = ""
    payload: Any = field(default=None, repr=False, compare=False)
    texts: tuple[str, str] | None = field(default=None, repr=False, compare=False)

    def public(self) -> dict[str, str]:
        """Return the form that is returned to Ansible."""
        return {
            "kind": self.kind,
            "target": self.target,
            "action": self.action,
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True)
class Need:
    """An artefact that has to be pushed before the plan can be carried out; `size` in bytes if known."""

    key: str
    arch: str
    sha256: str
    install: str
    size: int | None
    reason: str


@dataclass(frozen=True)
class Plan:
    """What to do.

    `markers` maps a unit that something notifies (or daemon-reload) to restart or reload: written before the first
    change. `settled_markers` were left by an earlier run and have nothing to do any more. `problems` forbid any
    change; `unmet` forbid it too, except in check mode, where earlier steps may still bring what is missing.
    """

    changes: tuple[Change, ...] = ()
    markers: Mapping[str, str] = field(default_factory=dict)
    settled_markers: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    problems: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Say whether there is nothing to do."""
        return not self.changes


class _Planner:
    def __init__(self, spec: Spec, seen: Observed) -> None:
        self.spec = spec
        self.seen = seen
        self.problems: list[str] = []
        self.unmet: list[str] = []
        self.needs: list[Need] = []
        self.notified: dict[str, str] = {}
        self.installed_bases: list[str] = []
        self.reload_units = False

    def notify(self, units: tuple[str, ...], verb: str) -> None:
        declared = {unit.name: unit for unit in self.spec.units}
        for name in units:
            wanted = verb or (declared[name].on_change if name in declared else "restart")
            if self.notified.get(name) != "restart":
                self.notified[name] = wanted

    # -- files -----------------------------------------------------------------------------------------------------

    def owner_text(self, holder: Any) -> str:
        return f"{holder.owner}:{holder.group} {holder.mode:04o}"

    def ids(self, holder: Any, where: str) -> tuple[int, int]:
        uid, gid = self.seen.ids[("user", holder.owner)], self.seen.ids[("group", holder.group)]
        for what, name, number in (("user", holder.owner, uid), ("group", holder.group, gid)):
            if number is None and not self.seen.packages.missing:
                self.unmet.append(f"{where}: there is no {what} {name!r} on this host")
        return (-1 if uid is None else uid, -1 if gid is None else gid)

    def attributes(self, entry: Entry) -> str:
        names = {(kind, number): name for (kind, name), number in self.seen.ids.items() if number is not None}
        owner = names.get(("user", entry.uid), str(entry.uid))
        group = names.get(("group", entry.gid), str(entry.gid))
        return f"{owner}:{group} {entry.mode:04o}"

    def directory(self, wanted: Directory) -> list[Change]:
        entry = self.seen.entries.get(wanted.path, ABSENT)
        uid, gid = self.ids(wanted, wanted.path)
        if entry.kind not in ("absent", "directory"):
            self.problems.append(f"{wanted.path} must be a directory, found a {entry.kind}; move it away")
            return []
        if entry.kind == "absent":
            return [Change("directory", wanted.path, "create", "absent", self.owner_text(wanted), wanted)]
        if (entry.mode, entry.uid, entry.gid) == (wanted.mode, uid, gid):
            return []
        return [Change("directory", wanted.path, "update", self.attributes(entry), self.owner_text(wanted), wanted)]

    def file(self, wanted: File) -> list[Change]:
        entry = self.seen.entries.get(wanted.path, ABSENT)
        if entry.kind in ("directory", "other"):
            self.problems.append(f"{wanted.path} must be a file, found a {entry.kind}; move it away")
            return []
        if wanted.absent:
            if entry.kind == "absent":
                return []
            change = Change("file", wanted.path, "remove", entry.kind, "absent", wanted, self.texts(wanted, entry, ""))
        else:
            uid, gid = self.ids(wanted, wanted.path)
            content = wanted.content.encode()
            same_content = entry.kind == "file" and entry.content == content
            if same_content and (entry.mode, entry.uid, entry.gid) == (wanted.mode, uid, gid):
                return []
            action = "create" if entry.kind == "absent" else "update"
            before = entry.kind if entry.kind != "file" else self.attributes(entry)
            after = self.owner_text(wanted)
            if entry.kind == "file" and not same_content:
                after += ", content differs"
            texts = None if same_content else self.texts(wanted, entry, wanted.content)
            change = Change("file", wanted.path, action, before, after, wanted, texts)
        if wanted.is_unit_file:
            self.reload_units = True
        self.notify(wanted.notify, "restart" if wanted.is_unit_file else "")
        return [change]

    @staticmethod
    def texts(wanted: File, entry: Entry, after: str) -> tuple[str, str] | None:
        if wanted.sensitive:
            return None
        return ((entry.content or b"").decode("utf-8", "replace"), after)

    def link(self, wanted: Link) -> list[Change]:
        entry = self.seen.entries.get(wanted.path, ABSENT)
        if entry.kind in ("directory", "other"):
            self.problems.append(f"{wanted.path} must be a link, found a {entry.kind}; move it away")
            return []
        if entry.kind == "link" and entry.target == wanted.target:
            return []
        before = entry.target if entry.kind == "link" else entry.kind
        return [
            Change("link", wanted.path, "create" if before == "absent" else "switch", before, wanted.target, wanted)
        ]

    # -- kernel, swap, packages ------------------------------------------------------------------------------------

    def kernel_modules(self) -> list[Change]:
        return [
            Change("kernel_module", name, "load", "not loaded", "loaded", name) for name in self.seen.missing_modules
        ]

    def sysctl(self) -> list[Change]:
        changes = []
        for key, value in sorted(self.spec.sysctl.items()):
            found = self.seen.sysctl.get(key)
            if found is None and not self.seen.missing_modules:
                self.unmet.append(
                    f"sysctl {key}: this kernel has no such key; load the module that brings it (kernel_modules) "
                    "or leave it out"
                )
            if found != value:
                changes.append(Change("sysctl", key, "set", "absent" if found is None else found, value, (key, value)))
        return changes

    def swap(self) -> list[Change]:
        if self.spec.swap != "disabled":
            return []
        changes = [
            Change("swap", device, "off", "active", "off", swap.device_path(device)) for device in self.seen.swap_active
        ]
        lines = swap.swap_lines(self.seen.fstab or "")
        if self.seen.fstab is not None and lines:
            after = swap.without_swap(self.seen.fstab)
            shown = (self.seen.fstab.encode("utf-8", "replace").decode(), after.encode("utf-8", "replace").decode())
            before, words = f"{len(lines)} swap line(s)", "commented out"
            changes.append(Change("swap", swap.FSTAB, "comment", before, words, after, shown))
        return changes

    def packages(self) -> list[Change]:
        state = self.seen.packages
        if not state.missing:
            return []
        if state.manager == "none":
            self.unmet.append(
                f"packages {' '.join(state.missing)} are missing and the host has none of apt, dnf, zypper "
                "to install them"
            )
        sha256 = self.repository() if self.spec.repositories else ""
        return [Change("packages", " ".join(state.missing), "install", "missing", "installed", (state, sha256))]

    def repository(self) -> str:
        """Digest of the repository of packages for this host, which has to be pushed; there may be none."""
        release = release_of(self.seen.facts)
        wanted = self.spec.repositories.get(release)
        if wanted is None:
            self.unmet.append(
                f"packages {' '.join(self.seen.packages.missing)} are missing, and the bundle has none for {release}, only "
                f"for {', '.join(sorted(self.spec.repositories))}: make the bundle again with "
                f"artifacts_package_releases: [{release.rpartition('/')[0]}], or install them from a source of yours"
            )
            return ""
        if self.seen.repository != wanted.size:
            self.needs.append(
                Need(f"packages of {release}", self.seen.arch, wanted.sha256, "packages", wanted.size, "missing")
            )
        return wanted.sha256

    # -- artefacts -------------------------------------------------------------------------------------------------

    def artifact(self, wanted: Artifact) -> list[Change]:
        digest = wanted.digests.get(self.seen.arch)
        if digest is None:
            self.unmet.append(
                f"artifact {wanted.key}: no checksum is known for this host's architecture {self.seen.arch}; "
                f"known are {', '.join(sorted(wanted.digests)) or 'none'}"
            )
            return []
        status = self.seen.artifacts[wanted.place]
        if wanted.install == "image":
            return self.image(wanted, status)
        if status.present:
            return []
        self.need(wanted, status, status.found)
        self.notify(wanted.notify, "restart")
        self.installed_bases.append(wanted.base)
        after = f"{wanted.base}, sha256 {digest.sha256[:12]}…"
        return [Change("artifact", wanted.key, "install", status.found, after, (wanted, digest.sha256))]

    def image(self, wanted: Artifact, status: ArtifactStatus) -> list[Change]:
        digest = wanted.digests[self.seen.arch]
        reference = digest.reference
        if not reference:
            self.problems.append(
                f"artifact {wanted.key}: install is image, but the catalogue names no image reference for it"
            )
            return []
        there = self.seen.images.get(wanted.images_namespace)
        recorded = self.seen.images_recorded.get(record_key(wanted.images_namespace, reference))
        if there is None:
            before = "unknown, containerd not running"
        elif reference not in there:
            before = "absent"
        elif recorded != digest.sha256:
            before = f"another archive, sha256 {recorded[:12]}…" if recorded else "there, of unknown origin"
        else:
            return []
        self.need(wanted, status, before)
        after = f"imported, sha256 {digest.sha256[:12]}…"
        return [Change("image", reference, "import", before, after, (wanted, digest.sha256, reference))]

    def need(self, wanted: Artifact, status: ArtifactStatus, reason: str) -> None:
        digest = wanted.digests[self.seen.arch]
        if status.incoming is None or digest.size not in (None, status.incoming):
            known = {need.sha256 for need in self.needs}
            if digest.sha256 not in known:
                self.needs.append(Need(wanted.key, self.seen.arch, digest.sha256, wanted.install, digest.size, reason))

    def artifact_links(self) -> list[Change]:
        changes = []
        holders = {path: artifact for artifact in self.spec.artifacts for path, _target in artifact.links}
        for wanted in self.spec.all_links:
            found = self.link(wanted)
            changes += found
            if found and wanted.path in holders:
                self.notify(holders[wanted.path].notify, "restart")
        return changes

    def old_versions(self) -> list[Change]:
        changes = []
        running = [status.exe for status in self.seen.units.values()]
        stored = [
            artifact for artifact in self.spec.artifacts if artifact.install != "image" and not artifact.directory
        ]
        for name in dict.fromkeys(artifact.name for artifact in stored):
            declared = {artifact.version for artifact in stored if artifact.name == name}
            others = [version for version in self.seen.store_versions.get(name, ()) if version not in declared]
            for version in others[VERSIONS_KEPT - 1 :]:
                path = f"{STORE}/{name}/{version}"
                if not any(exe.startswith(path + "/") for exe in running):
                    changes.append(Change("artifact", f"{name}/{version}", "remove", path, "absent", (name, version)))
        return changes

    # -- units -----------------------------------------------------------------------------------------------------

    def desired_exe(self, exe: str) -> str:
        targets = {link.path: link.target for link in self.spec.all_links}
        for _hop in range(10):
            if exe not in targets:
                break
            target = targets[exe]
            exe = target if target.startswith("/") else f"{exe.rsplit('/', 1)[0]}/{target}"
        return self.seen.resolved.get(exe, exe)

    def stops(self, unit: Unit) -> list[Change]:
        status = self.seen.units.get(unit.name, UnitStatus())
        changes = []
        if unit.state in ("stopped", "absent") and status.active in LIVE_STATES:
            changes.append(Change("unit", unit.name, "stop", status.active, "inactive", unit))
        if unit.enabled is False and status.enabled in ("enabled", "enabled-runtime", "linked", "linked-runtime"):
            changes.append(Change("unit", unit.name, "disable", status.enabled, "disabled", unit))
        return changes

    def enables(self, unit: Unit) -> list[Change]:
        status = self.seen.units.get(unit.name, UnitStatus())
        wanted = unit.enabled is True or unit.state == "started"
        if wanted and (status.enabled.startswith("masked") or status.load == "masked"):
            self.problems.append(f"unit {unit.name} is masked; run `systemctl unmask {unit.name}` if it may be used")
            return []
        if wanted and not status.exists and not self.provided(unit):
            self.unmet.append(f"unit {unit.name} does not exist here and no declared file or package would bring it")
        if unit.enabled is not True or status.enabled in ENABLED_STATES:
            return []
        return [Change("unit", unit.name, "enable", status.enabled or "absent", "enabled", unit)]

    def provided(self, unit: Unit) -> bool:
        return self.has_file(unit) or bool(self.seen.packages.missing)

    def has_file(self, unit: Unit) -> bool:
        names = {file.path.rsplit("/", 1)[-1] for file in self.spec.files if file.is_unit_file and not file.absent}
        template = unit.name.split("@", 1)[0] + "@." + unit.name.rsplit(".", 1)[-1] if "@" in unit.name else unit.name
        return unit.name in names or template in names

    def starts(self, unit: Unit) -> list[Change]:
        status = self.seen.units.get(unit.name, UnitStatus())
        if unit.state in ("stopped", "absent"):
            return []
        verb, reason = self.verb(unit, status)
        if unit.state == "started" and status.active not in ("active", "reloading"):
            # A package that is installed first may start it with a configuration that is not ours yet.
            if verb and (status.active in LIVE_STATES or self.seen.packages.missing):
                return [Change("unit", unit.name, "restart", status.active, f"active, {reason}", unit)]
            return [Change("unit", unit.name, "start", status.active, "active", unit)]
        if verb and status.active in LIVE_STATES:
            return [Change("unit", unit.name, verb, f"{status.active}, pid {status.pid}", f"active, {reason}", unit)]
        return []

    def verb(self, unit: Unit, status: UnitStatus) -> tuple[str, str]:
        if unit.exe and status.pid and status.exe:
            exe = self.desired_exe(unit.exe)
            if status.exe != exe:
                return "restart", f"runs {status.exe}, wanted {exe}"
            if any(exe.startswith(base + "/") for base in self.installed_bases):
                return "restart", f"{exe} is replaced"
        notified, pending = self.notified.get(unit.name), self.seen.pending.get(unit.name)
        if notified is None and pending is None:
            return "", ""
        reason = (
            "something it depends on changed"
            if notified
            else f"{pending or 'restart'} left over from an interrupted run"
        )
        return ("restart" if "restart" in (notified, pending) or not (notified or pending) else "reload"), reason

    def daemon_reload(self) -> list[Change]:
        stale = sorted(
            unit.name for unit in self.spec.all_units if self.seen.units.get(unit.name, UnitStatus()).need_reload
        )
        if self.reload_units:
            reason = "unit files changed"
        elif RELOAD_MARKER in self.seen.pending:
            reason = "left over from an interrupted run"
        elif stale:
            reason = f"{' '.join(stale)} changed on disk"
        else:
            return []
        return [Change("systemd", "units", RELOAD_MARKER, "outdated", f"reloaded, {reason}")]

    def plan(self) -> Plan:
        spec, units = self.spec, self.spec.all_units
        if not self.seen.systemd and (any(unit.state != "any" or unit.enabled for unit in spec.units)):
            self.unmet.append("units are declared, but systemd is not PID 1 of this host")
        head = self.packages()
        for directory in spec.directories:
            head += self.directory(directory)
        head += self.kernel_modules()
        for file in spec.all_files:
            head += self.file(file)
        head += self.sysctl() + self.swap()
        images: list[Change] = []
        for artifact in spec.artifacts:
            (images if artifact.install == "image" else head).extend(self.artifact(artifact))
        head += self.artifact_links()
        stops = [change for unit in units for change in self.stops(unit)]
        head = stops + head
        markers = dict(self.notified) if self.seen.systemd else {}
        tail: list[Change] = []
        if self.seen.systemd:
            tail += self.daemon_reload()
            tail += [change for unit in units for change in self.enables(unit)]
            tail += [change for unit in units for change in self.starts(unit)]
        if self.reload_units and self.seen.systemd:
            markers[RELOAD_MARKER] = "reload"
        changes = (*head, *tail, *images, *self.old_versions())
        return Plan(
            changes=changes,
            markers=markers,
            settled_markers=self.settled(changes),
            needs=tuple(self.needs),
            problems=tuple(self.problems),
            unmet=tuple(self.unmet),
        )

    def settled(self, changes: tuple[Change, ...]) -> tuple[str, ...]:
        verbs = ("restart", "reload", "start")
        busy = {change.target for change in changes if change.kind == "unit" and change.action in verbs}
        if not self.seen.systemd:
            return ()
        # a package that is installed now may start its unit before our files are there: the next run restarts that one
        return tuple(
            unit.name
            for unit in self.spec.all_units
            if unit.name not in busy
            and (unit.name in self.seen.pending or unit.name in self.notified)
            and (self.has_file(unit) or not self.seen.packages.missing)
        )


def plan(spec: Spec, seen: Observed) -> Plan:
    """Compare and say what to do; empty when the host is as declared."""
    return _Planner(spec, seen).plan()
