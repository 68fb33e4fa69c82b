# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and replace the admin's kubeconfig file: whole or not at all, 0600, one writer at a time.

The lock is the file `<kubeconfig>.lock` that kubectl and the other programs built on client-go use, so that they and we
exclude each other. A lock of ours whose holder died is taken over; a lock of another program is waited for, never
broken.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import kubeconfig
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeconfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_MODE = 0o600
BACKUP_SUFFIX = ".stagecraft.bak"
_LOCK_MARK = b"stagecraft "


@dataclass(frozen=True)
class Observed:
    """The file as it is: `path` with symbolic links resolved, its text and mode, both None where there is no file."""

    path: Path
    text: str | None = field(default=None, repr=False)
    mode: int | None = None
    owner: tuple[int, int] | None = None


@dataclass(frozen=True)
class Outcome:
    """What `converge` did, or would do: the plan, all changes (the file's mode included), and the backup it kept."""

    path: Path
    plan: kubeconfig.Plan
    changes: tuple[kubeconfig.Change, ...]
    backup: Path | None = None


def observe(path: Path) -> Observed:
    """Read the kubeconfig at `path` (`~` allowed). Raises KubeconfigError when it is there but cannot be read."""
    try:
        resolved = Path(os.path.realpath(path.expanduser()))
        with resolved.open("rb") as stream:
            status = os.fstat(stream.fileno())
            text = stream.read().decode("utf-8")
    except FileNotFoundError:
        return Observed(resolved)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise KubeconfigError(
            f"{resolved}:{line}: not UTF-8 text (byte 0x{error.object[error.start]:02x}). It was left as it is. "
            f"Repair that line or restore the file from a backup{_backup_hint(resolved)}."
        ) from error
    except OSError as error:
        raise KubeconfigError(
            f"{path}: the kubeconfig cannot be read: {error.strerror}. Set `path` to a file that this user may "
            "read and write."
        ) from error
    return Observed(resolved, text, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid))


def converge(
    path: Path,
    name: str,
    credentials: kubeconfig.Credentials | None,
    *,
    set_current: bool = False,
    check_mode: bool = False,
    backup: bool = True,
    lock_timeout: float = 10.0,
) -> Outcome:
    """Make the file at `path` hold `credentials` under `name` (None: nothing under `name`), and say what changed.

    The plan is made without a lock; when there is something to do it is made again under the lock, from the file as it
    is then. `lock_timeout` is in seconds. Raises KubeconfigError.
    """
    seen = observe(path)
    outcome = _plan(seen, name, credentials, set_current)
    if check_mode or not outcome.changes:
        return outcome
    _make_directory(seen.path.parent)
    with locked(seen.path, lock_timeout):
        seen = observe(path)
        outcome = _plan(seen, name, credentials, set_current)
        kept = _apply(seen, outcome, backup, removing=credentials is None) if outcome.changes else None
    return Outcome(outcome.path, outcome.plan, outcome.changes, kept)


def _plan(seen: Observed, name: str, credentials: kubeconfig.Credentials | None, set_current: bool) -> Outcome:
    try:
        plan = kubeconfig.plan(seen.text, str(seen.path), name, credentials, set_current)
    except KubeconfigError as error:
        raise KubeconfigError(f"{error}{_backup_hint(seen.path)}") from error
    changes = plan.changes
    if seen.mode is not None and seen.mode & ~FILE_MODE and (credentials is not None or changes):
        changes += (kubeconfig.Change("mode", f"{seen.mode:04o} -> {FILE_MODE:04o}", "update"),)
    return Outcome(seen.path, plan, changes)


def _apply(seen: Observed, outcome: Outcome, backup: bool, removing: bool) -> Path | None:
    """Carry out `outcome`; the caller holds the lock."""
    copy = seen.path.with_name(seen.path.name + BACKUP_SUFFIX)
    try:
        if not outcome.plan.changes:
            seen.path.chmod(FILE_MODE)
            return None
        if outcome.plan.text is None and not seen.path.is_symlink():
            copy.unlink(missing_ok=True)
            seen.path.unlink(missing_ok=True)
            _sync_directory(seen.path.parent)
            return None
        text = outcome.plan.text or ""
        if removing:
            # A backup from before the removal would keep the credentials that are to go.
            if copy.exists():
                _replace(copy, text, seen.owner)
            copied = None
        else:
            copied = copy if backup and seen.text else None
            if copied:
                _replace(copied, seen.text or "", seen.owner)
        _replace(seen.path, text, seen.owner)
    except OSError as error:
        raise KubeconfigError(
            f"{seen.path}: the kubeconfig cannot be written: {error.strerror or error}. It is as it was before. "
            "Free space, or make its directory writable for this user."
        ) from error
    return copied


def _replace(path: Path, text: str, owner: tuple[int, int] | None) -> None:
    """Write `text` to a new file beside `path` and rename it over `path`: a reader sees the old file or the new one."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), FILE_MODE)
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                # Only root can give a file back to its owner; for others the rename makes it theirs, as an editor does.
                with contextlib.suppress(PermissionError):
                    os.fchown(stream.fileno(), *owner)
            stream.write(text.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KubeconfigError(
            f"{directory}: the directory of the kubeconfig cannot be made: {error.strerror}. Set `path` to a place "
            "that this user may write."
        ) from error


@contextlib.contextmanager
def locked(path: Path, timeout: float = 10.0) -> Iterator[None]:
    """Hold the lock of the kubeconfig at `path` (resolved). Wait for at most `timeout` seconds.

    Raises KubeconfigError when another program keeps it that long.
    """
    lock = path.with_name(path.name + ".lock")
    deadline = time.monotonic() + timeout
    try:
        descriptor = _acquire(lock)
        while descriptor is None:
            if time.monotonic() >= deadline:
                raise KubeconfigError(
                    f"{lock}: another program has been writing this kubeconfig for {timeout:g} s. Wait until it is "
                    "done; when none is running (kubectl leaves its lock behind when it is killed), remove that file."
                )
            time.sleep(0.05)
            descriptor = _acquire(lock)
    except OSError as error:
        raise KubeconfigError(
            f"{lock}: the lock cannot be made: {error.strerror}. Make the directory writable for this user."
        ) from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(lock: Path) -> int | None:
    """Make the lock file, or take over one of ours whose holder died; None while somebody else has it.

    The file appears with its content and its flock already in place (hard link), so that nobody can mistake it for a
    lock that was left behind.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{lock.name}.", dir=lock.parent)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, _LOCK_MARK + str(os.getpid()).encode() + b"\n")
        os.link(temporary, lock)
    except FileExistsError:
        os.close(descriptor)
        return _take_over(lock)
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        Path(temporary).unlink()
    return descriptor


def _take_over(lock: Path) -> int | None:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.read(descriptor, len(_LOCK_MARK)) == _LOCK_MARK
        status = lock.stat()
        opened = os.fstat(descriptor)
        if ours and (status.st_dev, status.st_ino) == (opened.st_dev, opened.st_ino):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _backup_hint(path: Path) -> str:
    copy = path.with_name(path.name + BACKUP_SUFFIX)
    return f" The last good version that this collection saw is in {copy}." if copy.exists() else ""
