# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set up the development environment under ``.dev`` (`make dev`); run by the Python that it is to be built on.

Each part keeps a stamp: the digest of everything that it was made from. A part whose stamp agrees is left alone,
so a second call takes a fraction of a second; a part that was interrupted has no stamp and is made again.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEV = ROOT / ".dev"
REQUIREMENTS = ROOT / "requirements"
COLLECTIONS = DEV / "collections" / "ansible_collections"


def digest(*parts: str | Path) -> str:
    """Return one SHA-256 over texts and the contents of files, each with its length."""
    total = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode()
        total.update(f"{len(data)}:".encode())
        total.update(data)
    return total.hexdigest()


def make(what: str, stamp: Path, key: str, build: Callable[[], None]) -> None:
    """Run ``build`` unless ``stamp`` says that it was already made from ``key``; say how long it took."""
    if stamp.is_file() and stamp.read_text().strip() == key:
        return
    stamp.unlink(missing_ok=True)
    print(f"{what} ...", flush=True)
    started = time.monotonic()
    build()
    stamp.write_text(key + "\n")
    print(f"{what}: {time.monotonic() - started:.1f} s", flush=True)


def run(*command: str | Path) -> None:
    """Run a command with its output shown; a failure ends the program with the command's own words."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_REQUIRE_VIRTUALENV": "0"}
    finished = subprocess.run([str(word) for word in command], cwd=ROOT, env=environment, check=False)
    if finished.returncode:
        raise SystemExit(f"this command failed (exit {finished.returncode}): {' '.join(map(str, command))}")


def virtual_environment(name: str, requirements: str) -> Path:
    """Make ``.dev/NAME`` from the hash-checked ``requirements/REQUIREMENTS.txt``; return its Python."""
    home = DEV / name
    pins = REQUIREMENTS / f"{requirements}.txt"

    def build() -> None:
        shutil.rmtree(home, ignore_errors=True)
        run(sys.executable, "-m", "venv", home)
        python = home / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--requirement", pins)

    key = digest(f"{sys.executable} {sys.version} {home}", pins)
    make(f"virtual environment .dev/{name} on Python {sys.version.split()[0]}", home / ".stamp", key, build)
    return home / "bin" / "python"


def wanted_collections() -> list[str]:
    """Return the names under ``dependencies`` in galaxy.yml and in requirements/collections.yml, in order.

    Reads the two files as text: they are ours and simple, and this must run before any package is installed.
    """
    name = r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*"
    block = re.search(r"^dependencies:\n((?:  .+\n)*)", (ROOT / "galaxy.yml").read_text(), re.MULTILINE)
    users = re.findall(rf"^  [\"']?({name})[\"']?:", block.group(1), re.MULTILINE) if block else []
    developers = re.findall(rf"^  - ({name})\s*(?:#.*)?$", (REQUIREMENTS / "collections.yml").read_text(), re.MULTILINE)
    return sorted({*users, *developers})


def unpack_collections(names: list[str], python: Path) -> None:
    """Replace the third-party collections under ``.dev/collections`` by ``names`` out of the `ansible` wheel."""
    for namespace in COLLECTIONS.iterdir():
        # what a link leads to belongs to another checkout
        if namespace.is_symlink():
            namespace.unlink()
    for directory in COLLECTIONS.glob("*/*"):
        if not directory.is_symlink():
            shutil.rmtree(directory)
    for namespace in COLLECTIONS.iterdir():
        if not any(namespace.iterdir()):
            namespace.rmdir()
    if not names:
        return
    with tempfile.TemporaryDirectory(dir=DEV) as temporary:
        # The wheel's own floor for Python is ansible-core's; the collections in it support older ones.
        run(
            *(python, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"),
            *("--ignore-requires-python", "--require-hashes", "--dest", temporary),
            *("--requirement", REQUIREMENTS / "collections.txt"),
        )
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            missing = set(names)
            for member in archive.namelist():
                parts = member.split("/")
                if parts[0] == "ansible_collections" and ".".join(parts[1:3]) in names:
                    missing.discard(".".join(parts[1:3]))
                    archive.extract(member, COLLECTIONS.parent)
    if missing:
        raise SystemExit(
            f"galaxy.yml or requirements/collections.yml wants {', '.join(sorted(missing))}, which the `ansible` wheel"
            " of requirements/collections.txt does not carry: remove the name or pin a wheel that has it"
        )


def link_checkout() -> None:
    """Let the checkout be found as the collection stagecraft.gitops."""
    link = COLLECTIONS / "stagecraft" / "gitops"
    target = os.path.relpath(ROOT, link.parent)
    if link.is_symlink() and os.readlink(link) == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


@contextmanager
def only_one() -> Iterator[None]:
    """Hold the lock of ``.dev``: two calls at once must not build the same thing."""
    DEV.mkdir(exist_ok=True)
    with (DEV / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another call is setting up .dev: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Make what is missing; with ``--importer`` also galaxy-importer's own environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--importer", action="store_true", help="also make .dev/importer for galaxy-importer")
    arguments = parser.parse_args()
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise SystemExit(f"wanted Python 3.11 to 3.13, this is {sys.version.split()[0]}: run `make dev`")
    with only_one():
        python = virtual_environment("venv", "dev")
        names = wanted_collections()
        COLLECTIONS.mkdir(parents=True, exist_ok=True)
        make(
            f"collections {', '.join(names) or 'none'}",
            COLLECTIONS.parent / ".stamp",
            digest(json.dumps(names), REQUIREMENTS / "collections.txt"),
            lambda: unpack_collections(names, python),
        )
        link_checkout()
        if arguments.importer:
            virtual_environment("importer", "importer")


if __name__ == "__main__":
    main()
