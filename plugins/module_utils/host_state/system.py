# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access to one host: files, processes, commands. The only place that does I/O; tests give it a root and a runner."""

from __future__ import annotations

import contextlib
import errno
import grp
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Protocol

from .errors import HostStateError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHUNK = 1 << 20
TEMPORARY_SUFFIX = ".stagecraft-new"


@dataclass(frozen=True)
class Completed:
    """Outcome of a command: return code and decoded output."""

    rc: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both streams for a message, shortened to their end."""
        text = "\n".join(part.strip() for part in (self.stdout, self.stderr) if part.strip())
        return text[-2000:]


class Runner(Protocol):
    """Runs a command given as argv; never raises for a return code."""

    def __call__(self, argv: Sequence[str], env: Mapping[str, str], timeout: float) -> Completed:
        """Run `argv` with `env` added to the environment; `timeout` in seconds."""
        raise NotImplementedError


def run_command(argv: Sequence[str], env: Mapping[str, str], timeout: float) -> Completed:
    """Run `argv` without a shell and without input; `timeout` in seconds."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            list(argv),
            env={**os.environ, "LC_ALL": "C", **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        return Completed(127, "", f"{argv[0]}: command not found")
    except subprocess.TimeoutExpired as error:
        return Completed(124, "", f"{' '.join(argv)}: no end after {error.timeout:.0f} s")
    return Completed(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


class System:
    """A host as seen from `root` (tests give a directory); `before_change` is called ahead of every change."""

    def __init__(
        self,
        root: str = "/",
        runner: Runner = run_command,
        before_change: Callable[[str], None] | None = None,
    ) -> None:
        self.root = root.rstrip("/")
        self._runner = runner
        self._before_change = before_change or (lambda _what: None)

    # -- reading ---------------------------------------------------------------------------------------------------

    def path(self, path: str) -> str:
        """Return the real path of a host path."""
        return self.root + path if self.root else path

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes; None when there is no such file."""
        try:
            with open(self.path(path), "rb") as stream:
                return stream.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_text(self, path: str) -> str | None:
        """Return a file's text; None when there is no such file or it may not be read."""
        try:
            data = self.read(path)
        except OSError:
            return None
        return None if data is None else data.decode("utf-8", "replace")

    def lstat(self, path: str) -> os.stat_result | None:
        """Return the entry itself, links not followed; None when absent."""
        try:
            return os.lstat(self.path(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def stat(self, path: str) -> os.stat_result | None:
        """Return the entry that a path leads to; None when absent or a dangling link."""
        try:
            return os.stat(self.path(self.resolve(path)))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def readlink(self, path: str) -> str | None:
        """Target text of a symbolic link; None when it is none (or may not be read)."""
        try:
            return os.readlink(self.path(path))
        except OSError:
            return None

    def listdir(self, path: str) -> list[str]:
        """Sorted names; empty when there is no such directory."""
        try:
            return sorted(os.listdir(self.path(path)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def resolve(self, path: str) -> str:
        """Return the host path that `path` leads to, links followed within the root; dangling ends stay as they are."""
        if not self.root:
            return os.path.realpath(path)
        done: list[str] = []
        todo = [part for part in path.split("/") if part]
        hops = 0
        while todo:
            part = todo.pop(0)
            if part == "..":
                done = done[:-1]
                continue
            if part == ".":
                continue
            target = self.readlink("/" + "/".join([*done, part]))
            if target is None or hops > 40:
                done.append(part)
                continue
            hops += 1
            if target.startswith("/"):
                done = []
            todo = [piece for piece in target.split("/") if piece] + todo
        return "/" + "/".join(done)

    def sha256(self, path: str) -> str:
        """Digest of a file's content, as hexadecimal digits."""
        digest = hashlib.sha256()
        with open(self.path(path), "rb", buffering=0) as stream:
            while True:
                chunk = stream.read(CHUNK)
                if not chunk:
                    return digest.hexdigest()
                digest.update(chunk)

    def uid(self, name: str) -> int | None:
        """Return number of a user name (or of digits); None when there is no such user."""
        if name.isdigit():
            return int(name)
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            return None

    def gid(self, name: str) -> int | None:
        """Return number of a group name (or of digits); None when there is no such group."""
        if name.isdigit():
            return int(name)
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            return None

    def existing_parent(self, path: str) -> str:
        """Return the path itself or its nearest ancestor that exists."""
        while self.stat(path) is None and path != "/":
            path = os.path.dirname(path)
        return path

    def free_bytes(self, path: str) -> tuple[int, int]:
        """(device number, bytes free for root) of the file system that holds `path` or will."""
        real = self.path(self.resolve(self.existing_parent(path))) or "/"
        usage = os.statvfs(real)
        return os.stat(real).st_dev, usage.f_bfree * usage.f_frsize

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """Wait between two looks at something that changes by itself."""
        time.sleep(seconds)

    def query(self, argv: Sequence[str], timeout: float = 30.0) -> Completed:
        """Run a command that changes nothing."""
        return self._runner(argv, {}, timeout)

    # -- changing --------------------------------------------------------------------------------------------------

    def command(self, argv: Sequence[str], env: Mapping[str, str] | None = None, timeout: float = 300.0) -> Completed:
        """Run a command that changes the host; the caller judges the return code."""
        self._before_change(" ".join(argv))
        return self._runner(argv, env or {}, timeout)

    def sync_directory(self, path: str) -> None:
        """Make entries of a directory survive a power cut."""
        handle = os.open(self.path(path) or "/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def ensure_directory(self, path: str, mode: int = 0o755) -> None:
        """Create a directory and what is missing above it; existing ones are left as they are."""
        if self.stat(path) is not None:
            return
        parent = os.path.dirname(path)
        if parent != path:
            self.ensure_directory(parent)
        self._before_change(f"mkdir {path}")
        try:
            os.mkdir(self.path(path))
        except FileExistsError:
            return
        os.chmod(self.path(path), mode)
        self.sync_directory(parent)

    def set_owner_and_mode(self, path: str, mode: int, uid: int, gid: int) -> None:
        """Owner first, for chown clears setuid bits."""
        self._before_change(f"chmod {path}")
        found = os.stat(self.path(path))
        if (found.st_uid, found.st_gid) != (uid, gid):
            os.chown(self.path(path), uid, gid)
        os.chmod(self.path(path), mode)

    def write_file(self, path: str, data: bytes, mode: int = 0o644, uid: int = -1, gid: int = -1) -> None:
        """Replace a file as a whole: temporary file beside it, fsync, rename, fsync of the directory.

        `uid` or `gid` -1 keeps that of the process. Raises HostStateError on a full disk, naming needed and free bytes.
        """
        parent, name = os.path.split(path)
        self.ensure_directory(parent)
        temporary = f"{parent.rstrip('/')}/.{name}{TEMPORARY_SUFFIX}"
        self._before_change(f"write {path}")
        try:
            self._write_new(self.path(temporary), data, mode, uid, gid)
        except OSError as error:
            self._remove_quietly(temporary)
            raise self._disk_error(error, path, len(data)) from error
        self.rename(temporary, path)

    @staticmethod
    def _write_new(real: str, data: bytes, mode: int, uid: int, gid: int) -> None:
        if os.path.lexists(real):
            os.unlink(real)
        handle = os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            if uid != -1 or gid != -1:
                os.fchown(handle, uid, gid)
            os.fchmod(handle, mode)
            os.fsync(handle)

    def _disk_error(self, error: OSError, path: str, needed: int) -> HostStateError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _device, free = self.free_bytes(os.path.dirname(path))
            return HostStateError(
                f"no space left for {path}: {needed} bytes needed, {free} bytes free; free some space and run again"
            )
        return HostStateError(f"cannot write {path}: {error.strerror}")

    def copy_file(self, source: str, target: str, mode: int) -> None:
        """Copy a file of any size to its place on another file system, as `write_file` does."""
        parent, name = os.path.split(target)
        temporary = f"{parent.rstrip('/')}/.{name}{TEMPORARY_SUFFIX}"
        self._before_change(f"copy {source} to {target}")
        self._remove_quietly(temporary)
        try:
            with open(self.path(source), "rb") as stream, open(self.path(temporary), "xb") as copy:
                shutil.copyfileobj(stream, copy, CHUNK)
                copy.flush()
                os.fchmod(copy.fileno(), mode)
                os.fsync(copy.fileno())
        except OSError as error:
            self._remove_quietly(temporary)
            raise self._disk_error(error, target, os.stat(self.path(source)).st_size) from error
        self.rename(temporary, target)

    def rename(self, source: str, target: str) -> None:
        """Put `source` in the place of `target` and make it last."""
        self._before_change(f"rename {source} to {target}")
        os.replace(self.path(source), self.path(target))
        self.sync_directory(os.path.dirname(target))

    def symlink(self, path: str, target: str) -> None:
        """Create or switch a link, never leaving a moment without it."""
        parent, name = os.path.split(path)
        self.ensure_directory(parent)
        temporary = f"{parent.rstrip('/')}/.{name}{TEMPORARY_SUFFIX}"
        self._remove_quietly(temporary)
        self._before_change(f"link {path}")
        os.symlink(target, self.path(temporary))
        self.rename(temporary, path)

    def unlink(self, path: str) -> None:
        """Remove a file or link; nothing to do when it is gone."""
        if self.lstat(path) is None:
            return
        self._before_change(f"remove {path}")
        self._remove_quietly(path)
        self.sync_directory(os.path.dirname(path))

    def _remove_quietly(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(path))

    def remove_tree(self, path: str) -> None:
        """Remove a directory with all it holds; nothing to do when it is gone."""
        found = self.lstat(path)
        if found is None:
            return
        if not stat.S_ISDIR(found.st_mode):
            self.unlink(path)
            return
        self._before_change(f"remove {path}")
        shutil.rmtree(self.path(path))

    def write_value(self, path: str, value: str) -> None:
        """Write into a kernel file such as those below /proc/sys; raises OSError as the kernel says."""
        self._before_change(f"write {path}")
        with open(self.path(path), "w", encoding="ascii") as stream:
            stream.write(value + "\n")
