# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Primitives on the machine: commands, mounts, control groups, network namespaces, locks; and how each is undone."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import SandboxError
from .journal import Journal, Resource

CGROUP_ROOT = Path("/sys/fs/cgroup")
NETNS_ROOT = Path("/run/netns")
NSPAWN_PROPAGATE = Path("/run/systemd/nspawn/propagate")


def run(arguments: Sequence[str], text: str | None = None) -> str:
    """Run a command and return its standard output.

    Raises SandboxError with the command and what it said when it fails.
    """
    finished = subprocess.run(  # pylint: disable=ansible-bad-function
        list(arguments),
        input=text,
        stdin=None if text is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        said = (finished.stderr or finished.stdout).strip()
        raise SandboxError(f"`{' '.join(arguments)}` ended with {finished.returncode}: {said or 'no output'}")
    return finished.stdout


class Lock:
    """An advisory lock on a file; the kernel frees it when its holder dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def acquire(self, wait: bool = True) -> bool:
        """Take the lock, making its file; return False when another process holds it and ``wait`` is false."""
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(descriptor)
                return False
            try:
                same = os.path.samestat(os.fstat(descriptor), os.stat(self.path))
            except FileNotFoundError:
                same = False
            if same:
                self._descriptor = descriptor
                return True
            os.close(descriptor)  # its last holder removed the file while we waited

    def release(self, remove: bool = False) -> None:
        """Give the lock back; with ``remove`` its file goes too."""
        if remove:
            self.path.unlink()
        os.close(self._descriptor)

    def held(self) -> bool:
        """Say whether any process holds the lock; writes nothing."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


# -- mounts
# ------------------------------------------------------------------------------------------------------------------


def _unescape(field: str) -> str:
    return field.encode().decode("unicode_escape") if "\\" in field else field


def mounts_below(directory: Path) -> list[Path]:
    """Return the mount points at and below ``directory``, newest first."""
    prefix = str(directory)
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        for line in stream:
            point = _unescape(line.split(" ")[4])
            if point == prefix or point.startswith(prefix + "/"):
                found.append(Path(point))
    return found[::-1]


def unmount_below(directory: Path, seconds: float = 5.0) -> None:
    """Unmount everything at and below ``directory``; what is still busy after ``seconds`` is detached."""
    deadline = time.monotonic() + seconds
    while True:
        points = mounts_below(directory)
        if not points:
            return
        late = time.monotonic() > deadline
        for point in points:
            subprocess.run(  # pylint: disable=ansible-bad-function
                ["umount", *(["-l"] if late else []), str(point)], capture_output=True, check=False
            )
        if mounts_below(directory):
            if late:
                raise SandboxError(f"cannot unmount {mounts_below(directory)[0]}: see `findmnt {directory}`")
            time.sleep(0.05)


def remove_tree(directory: Path) -> None:
    """Delete ``directory``.  Refuses to while anything is mounted below it."""
    if not directory.exists():
        return
    points = mounts_below(directory)
    if points:
        raise SandboxError(f"{directory} is not deleted: {points[0]} is mounted below it")
    shutil.rmtree(directory)


# -- control groups
# ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hierarchy:
    """One mounted control group hierarchy and the place of a process in it.

    controllers is empty for a named v1 hierarchy; version is 1 or 2.
    """

    mount: Path
    version: int
    controllers: tuple[str, ...]
    place: str

    @property
    def directory(self) -> Path:
        """The control group of the process."""
        return self.mount / self.place.lstrip("/")


def parse_hierarchies(cgroup: str, mountinfo: str) -> list[Hierarchy]:
    """Combine the texts of /proc/self/cgroup and /proc/self/mountinfo; what is not mounted is left out."""
    mounts: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        before, _unused, after = line.partition(" - ")
        kind, _unused, options = after.split(" ")[:3]
        point = Path(_unescape(before.split(" ")[4]))
        if kind == "cgroup2":
            mounts.setdefault("", point)
        elif kind == "cgroup":
            for option in options.split(","):
                mounts.setdefault(option, point)
    found = []
    for line in cgroup.splitlines():
        _unused, names, place = line.split(":", 2)
        controllers = tuple(name for name in names.split(",") if name and not name.startswith("name="))
        mount = mounts.get(names.split(",")[0])
        if mount is not None:
            found.append(Hierarchy(mount, 1 if names else 2, controllers, place))
    return found


def hierarchies() -> list[Hierarchy]:
    """Return the hierarchies of this process."""
    return parse_hierarchies(
        Path("/proc/self/cgroup").read_text("utf-8"), Path("/proc/self/mountinfo").read_text("utf-8")
    )


def processes_in(cgroups: Iterable[Path]) -> set[int]:
    """Return the processes in these control groups and below them, seen from this process id namespace."""
    found: set[int] = set()
    for cgroup in cgroups:
        for directory, _unused, files in os.walk(cgroup):
            if "cgroup.procs" in files:
                try:
                    text = Path(directory, "cgroup.procs").read_text("utf-8")
                except OSError:
                    continue
                found.update(int(line) for line in text.split())
    return found - {0}


def processes_with(words: Sequence[str], start: int) -> list[int]:
    """Return the processes whose arguments, from number ``start`` on, begin with ``words``."""
    wanted = [word.encode() for word in words]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                if arguments[start : start + len(wanted)] == wanted:
                    found.append(int(entry.name))
    return found


def guest_init(cgroups: Iterable[Path]) -> int | None:
    """Return PID 1 of the guest in these control groups, as its number outside."""
    for process in sorted(processes_in(cgroups)):
        try:
            status = Path(f"/proc/{process}/status").read_text("utf-8")
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("NSpid:"):
                numbers = line.split()[1:]
                if len(numbers) == 2 and numbers[1] == "1":
                    return process
    return None


def kill(process: int, number: int) -> None:
    """Send a signal; a process that is gone already is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, process ``parent``, ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def empty_cgroups(cgroups: Sequence[Path], seconds: float = 10.0) -> None:
    """Kill everything in these control groups, the guest's PID 1 first.

    Killing systemd-nspawn alone leaves the guest running.
    """
    deadline = time.monotonic() + seconds
    while True:
        first = guest_init(cgroups)
        if first is not None:
            kill(first, signal.SIGKILL)
        remaining = processes_in(cgroups)
        if not remaining:
            return
        for process in remaining:
            kill(process, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise SandboxError(
                f"processes {sorted(remaining)} do not die after SIGKILL: they hang in the kernel; see /proc/PID/stack"
            )
        time.sleep(0.02)


def remove_cgroup(cgroup: Path, seconds: float = 5.0) -> None:
    """Remove a control group and those below it; whatever is in them is killed."""
    deadline = time.monotonic() + seconds
    while cgroup.exists():
        for process in processes_in([cgroup]):
            kill(process, signal.SIGKILL)
        for directory, _names, _files in os.walk(cgroup, topdown=False):
            remove_empty(Path(directory))
        if cgroup.exists():
            if time.monotonic() > deadline:
                raise SandboxError(f"cannot remove the control group {cgroup}: see its cgroup.procs")
            time.sleep(0.02)


# -- network
# -----------------------------------------------------------------------------------------------------------------


def netns_exists(name: str) -> bool:
    """Say whether a network namespace of this name exists."""
    return (NETNS_ROOT / name).exists()


def link_exists(name: str) -> bool:
    """Say whether the machine has a network interface of this name."""
    return Path("/sys/class/net", name).exists()


def link_is_up(name: str) -> bool:
    """Say whether the machine has a network interface of this name, and it is switched on (IFF_UP)."""
    try:
        return bool(int(Path("/sys/class/net", name, "flags").read_text("ascii"), 16) & 1)
    except OSError:
        return False


# -- undoing
# -----------------------------------------------------------------------------------------------------------------


def unmake(resources: Sequence[Resource]) -> None:
    """Remove resources, newest first.  What is gone already, or was never made, is no error."""
    empty_cgroups([Path(resource.name) for resource in resources if resource.kind == "cgroup"])
    for resource in reversed(resources):
        _unmake_one(resource)


def _unmake_one(resource: Resource) -> None:
    path = Path(resource.name)
    if resource.kind == "netns":
        if netns_exists(resource.name):
            run(["ip", "netns", "del", resource.name])
    elif resource.kind == "link":
        if link_exists(resource.name):
            run(["ip", "link", "del", resource.name])
    elif resource.kind == "cgroup":
        remove_cgroup(path)
    elif resource.kind == "mount":
        unmount_below(path)
    elif resource.kind == "machine":
        remove_empty(NSPAWN_PROPAGATE / resource.name)
    elif resource.kind == "file":
        path.unlink(missing_ok=True)
    elif resource.kind == "directory":
        remove_empty(path)
    else:
        raise SandboxError(
            f"the journal names a resource of an unknown kind, {resource.kind} {resource.name}: it "
            f"was written by another version"
        )


def remove_empty(directory: Path) -> None:
    """Remove ``directory`` if it is there and empty."""
    try:
        directory.rmdir()
    except OSError:
        return


def clear(journal: Journal) -> None:
    """Remove all that a journal names."""
    entries = journal.entries()
    unmake(entries)
    journal.forget(entries)


def poll(seconds: float, step: float = 0.05) -> Iterator[None]:
    """Yield until ``seconds`` have passed, once every ``step`` seconds; at least once."""
    deadline = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() > deadline:
            return
        time.sleep(step)
