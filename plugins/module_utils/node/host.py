# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths, programs, atomic writes and the lock that only one run may hold."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


class NodeError(Exception):
    """What was wanted, what was found, where, and what to do; shown to the admin as it is."""


@dataclasses.dataclass(frozen=True)
class Completed:
    """The outcome of one program: exit status and both outputs as text."""

    rc: int
    stdout: str
    stderr: str


@dataclasses.dataclass(frozen=True)
class Host:
    """Where things are on a host. ``root`` is ``/`` but for tests, which give a directory of their own."""

    root: Path = Path("/")

    def path(self, absolute: str) -> Path:
        """``absolute`` below the root."""
        return self.root / absolute.lstrip("/")

    def read_text(self, absolute: str) -> str | None:
        """The file's text, or None where there is no such file."""
        try:
            return self.path(absolute).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, absolute: str) -> bool:
        return self.path(absolute).exists()

    def run(self, argv: Sequence[str], timeout: float = 60.0, input_text: str | None = None) -> Completed:
        """Run a program. A missing program is rc 127, one that did not end within ``timeout`` seconds rc 124."""
        environment = {
            **os.environ,
            "LC_ALL": "C",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                list(argv),
                capture_output=True,
                text=True,
                timeout=timeout,
                input=input_text,
                env=environment,
                check=False,
            )
        except FileNotFoundError:
            return Completed(127, "", f"{argv[0]} is not installed")
        except subprocess.TimeoutExpired as expired:
            partial = (
                expired.stderr.decode("utf-8", "replace")
                if isinstance(expired.stderr, bytes)
                else (expired.stderr or "")
            )
            return Completed(124, "", f"{argv[0]} did not end within {timeout:.0f} s\n{partial}")
        return Completed(done.returncode, done.stdout, done.stderr)


def write_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` by ``content``: written beside it, flushed to the disk, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=str(path.parent), prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, str(path))
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_directory(path.parent)


def remove_file(path: Path) -> None:
    """Remove ``path`` if it is there, and make the removal durable."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Flush a directory's entries: without it a rename may be lost with the power."""
    descriptor = os.open(str(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Mapping[str, Any] | None:
    """The JSON object in ``path``; None where the file is missing, empty or torn."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return loaded if isinstance(loaded, dict) else None


def begin(state: Path, entry: Mapping[str, Any]) -> None:
    """Write into the journal ``state`` what is about to be made: until ``finish`` no later run takes it for whole."""
    write_file(state / "begun.json", json.dumps({**entry, "at": int(time.time())}, sort_keys=True).encode())


def finish(state: Path, entry: Mapping[str, Any]) -> None:
    """Write down what is there now, then strike the beginning out. Killed in between, the host is cleaned again."""
    write_file(state / "member.json", json.dumps(dict(entry), sort_keys=True).encode())
    remove_file(state / "begun.json")


def forget(state: Path) -> None:
    """Strike out what was there; the beginning goes last, so that a run that is killed here is cleaned up once more."""
    remove_file(state / "member.json")
    remove_file(state / "begun.json")


def last_lines(text: str, count: int = 15) -> str:
    """The last ``count`` lines that say something."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:])


@contextlib.contextmanager
def exclusive(lock: Path, what: str, patience: float = 300.0) -> Iterator[None]:
    """Hold the host's ``lock``; ``what`` names the program that works under it.

    A controller that was killed leaves its module running on the host for a while; the next run waits for that one to
    end, at most ``patience`` seconds, instead of working beside it. The kernel drops the lock with its holder.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(str(lock), "a+", encoding="utf-8") as stream:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise NodeError(
                        f"another run has been working on this host for more than {patience:.0f} s (lock {lock}). "
                        f"Wait for it, or end the {what} process that holds it."
                    ) from None
                time.sleep(0.2)
        yield
