# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where things are, and the files of the mirror: atomic placement, the lock file, one builder at a time."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.mirror.errors import RefusedError
from tests.mirror.oci import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOCK_FILE = "stagecraft-mirror.lock.json"
LOCK_SCHEMA = 1


@dataclass(frozen=True)
class Layout:
    """The directories in use; all lie below ``cache``, outside the checkout."""

    cache: Path

    @property
    def mirror(self) -> Path:
        """The mirror's root: what the roles read."""
        return self.cache / "mirror"

    @property
    def work(self) -> Path:
        """Parts, stamps and logs: what only the builder reads."""
        return self.cache / "mirror-build"

    @property
    def go_cache(self) -> Path:
        """Go's build cache."""
        return self.cache / "go-build"

    @property
    def toolchain(self) -> Path:
        """The virtual environment that holds Go where PATH has none."""
        return self.cache / "go-toolchain"


def default_layout(environment: Mapping[str, str] = os.environ) -> Layout:
    """Return the layout that ``STAGECRAFT_CACHE``, else ``XDG_CACHE_HOME``, else the home directory gives."""
    if chosen := environment.get("STAGECRAFT_CACHE"):
        return Layout(Path(chosen).expanduser().absolute())
    base = environment.get("XDG_CACHE_HOME")
    return Layout((Path(base) if base else Path.home() / ".cache") / "stagecraft")


@dataclass(frozen=True)
class Published:
    """A file in the mirror as it was when it was put there; ``size`` in bytes, ``mtime_ns`` since 1970."""

    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Stamp:
    """What an artefact was built from (``key``), when, how long it took (seconds) and the mirror's files it made."""

    key: str
    seconds: float
    files: Mapping[str, Published]


class Store:
    """The mirror and the builder's own directory on disk."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    # -- one builder at a time

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the builder's lock; wait, and say so, while another build holds it. The kernel frees it when we die."""
        self.layout.work.mkdir(parents=True, exist_ok=True)
        with (self.layout.work / "build.lock").open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                owner = handle.read().strip() or "unknown"
                print(
                    f"mirror: another build (process {owner}) is at work, waiting for it", file=sys.stderr, flush=True
                )
                fcntl.flock(handle, fcntl.LOCK_EX)
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield

    def remove_leftovers(self) -> None:
        """Delete what a killed build left half done. Call only while holding the lock."""
        shutil.rmtree(self.layout.work / "incoming", ignore_errors=True)
        for directory in (self.layout.mirror, self.layout.work / "stamps"):
            for path in directory.glob(".*.json.*"):
                path.unlink(missing_ok=True)

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Give a fresh directory that is gone afterwards."""
        parent = self.layout.work / "incoming"
        parent.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix=f"{_flat(name)}-", dir=parent))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    # -- parts: results that other steps are made from

    def part(self, name: str, key: str) -> Path:
        """Where the part ``name`` with this key is, or will be. It is complete when the directory exists."""
        return self.layout.work / "parts" / _flat(name) / key[:16]

    def keep_part(self, name: str, key: str, directory: Path) -> None:
        """Move a finished ``directory`` into place as the part, and drop its older versions."""
        target = self.part(name, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        directory.replace(target)
        for other in target.parent.iterdir():
            if other != target:
                shutil.rmtree(other, ignore_errors=True)

    def kept(self, name: str, member: str) -> Path | None:
        """Return a file of the part ``name`` in whichever version is there, the newest one first; None without any."""
        found = [path for path in (self.layout.work / "parts" / _flat(name)).glob(f"*/{member}") if path.is_file()]
        return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)

    # -- artefacts: files of the mirror

    def _stamp_file(self, name: str) -> Path:
        return self.layout.work / "stamps" / f"{_flat(name)}.json"

    def stamp(self, name: str) -> Stamp | None:
        """Read the stamp of an artefact, or None when it was never built (or the stamp is unreadable)."""
        try:
            data = json.loads(self._stamp_file(name).read_text())
            files = {path: Published(**value) for path, value in data["files"].items()}
            return Stamp(data["key"], data["seconds"], files)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def is_current(self, name: str, key: str) -> bool:
        """Whether the artefact was built with this key and its files in the mirror are still as they were put there."""
        stamp = self.stamp(name)
        if stamp is None or stamp.key != key:
            return False
        for path, published in stamp.files.items():
            try:
                found = (self.layout.mirror / path).stat()
            except OSError:
                return False
            if (found.st_size, found.st_mtime_ns) != (published.size, published.mtime_ns):
                return False
        return True

    def publish(self, name: str, key: str, seconds: float, staged: Mapping[str, Path]) -> Stamp:
        """Move ``staged`` files (mirror path → finished file) into the mirror, then write the stamp.

        Each file appears whole or not at all; one that is there already stays untouched: somebody may read it.
        Files that only an older version of the artefact had are removed.
        """
        before = self.stamp(name)
        files: dict[str, Published] = {}
        for path, source in sorted(staged.items()):
            target = self.layout.mirror / path
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = file_digest(source)
            if not (target.is_file() and file_digest(target) == digest):
                source.replace(target)
            files[path] = Published(digest.sha256, digest.size, target.stat().st_mtime_ns)
        for path in set(before.files if before else ()) - set(files):
            (self.layout.mirror / path).unlink(missing_ok=True)
        stamp = Stamp(key, round(seconds, 1), files)
        _write_json(self._stamp_file(name), asdict(stamp))
        return stamp

    def forget_unknown(self, known: set[str]) -> None:
        """Remove artefacts and parts that no recipe makes any more; ``known`` are the names of all recipes."""
        names = {_flat(name) for name in known}
        for path in (self.layout.work / "parts").glob("*"):
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)
        for path in (self.layout.work / "stamps").glob("*.json"):
            if path.stem in names:
                continue
            for file in json.loads(path.read_text()).get("files", {}):
                (self.layout.mirror / file).unlink(missing_ok=True)
            path.unlink()

    # -- the lock file

    def refuse_foreign_mirror(self) -> None:
        """Refuse to build into a mirror that was downloaded: its files are upstream's own."""
        lock = self.layout.mirror / LOCK_FILE
        if not lock.exists():
            return
        try:
            origin = json.loads(lock.read_text()).get("origin")
        except ValueError:
            origin = "unreadable"
        if origin != "built":
            raise RefusedError(
                f"{lock}: wanted a mirror of origin 'built', found origin {origin!r}. "
                "Use that mirror as it is, or move it away and build again."
            )

    def write_lock(self, names: list[str], built_by: str) -> None:
        """Write the lock file from the stamps of the artefacts in ``names``, unless it says the same already."""
        files = {
            path: {"sha256": published.sha256, "size": published.size}
            for name in names
            if (stamp := self.stamp(name)) is not None
            for path, published in stamp.files.items()
            if (self.layout.mirror / path).exists()
        }
        content: dict[str, object] = {
            "schema": LOCK_SCHEMA,
            "origin": "built",
            "built_by": built_by,
            "files": dict(sorted(files.items())),
        }
        target = self.layout.mirror / LOCK_FILE
        try:
            present = json.loads(target.read_text())
            present.pop("created", None)
        except (FileNotFoundError, ValueError):
            present = None
        if present != content:
            created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            _write_json(target, {**content, "created": created})


def _flat(name: str) -> str:
    """Return a recipe's name as the name of a file."""
    return name.replace("/", "_")


def _write_json(path: Path, value: object) -> None:
    """Write ``value`` so that the file is always either the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as out:
            json.dump(value, out, indent=1, sort_keys=True)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
