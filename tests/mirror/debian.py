# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Take packages from the Debian archive that this machine itself uses, without touching the machine's own packages."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tests.mirror.errors import BuildError, RefusedError
from tests.mirror.recipes import ARCHITECTURE, DebianPackages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.mirror.run import Runner

ARCHIVE_VARIABLE = "STAGECRAFT_DEBIAN_ARCHIVE"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
LIBRARY_DIRECTORY = "usr/lib/x86_64-linux-gnu"
LOADER = "usr/lib64/ld-linux-x86-64.so.2"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"

_MERGED = ("bin", "sbin", "lib", "lib64")
_WANTED = ("usr/bin/", "usr/sbin/", "usr/lib64/", f"{LIBRARY_DIRECTORY}/", "usr/share/ca-certificates/")


def debian_archive(repositories: Iterable[str]) -> str | None:
    """Find the first Debian archive among URLs: a path that ends in /debian, also one of a snapshot service."""
    for repository in repositories:
        if re.fullmatch(r"https?://\S+?/debian(/\d{8}T\d{6}Z)?/?", repository):
            return repository.rstrip("/")
    return None


def find_archive(runner: Runner, log: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Return the archive's URL: from the environment, else from this machine's apt sources."""
    if chosen := environment.get(ARCHIVE_VARIABLE):
        return chosen.rstrip("/")
    answer = runner.run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"], log=log)
    archive = debian_archive(answer.stdout.split())
    if archive is None:
        raise RefusedError(
            "wanted a Debian archive among this machine's apt sources (a URL that ends in /debian), found "
            f"{sorted(set(answer.stdout.split())) or 'none'}: set {ARCHIVE_VARIABLE}=URL"
        )
    return archive


def download(recipe: DebianPackages, output: Path, *, scratch: Path, runner: Runner, log: Path) -> None:
    """Download the recipe's packages and all they depend on, down to libc, into ``output``."""
    archive = find_archive(runner, log)
    for directory in ("lists/partial", "cache/archives/partial"):
        (scratch / directory).mkdir(parents=True)
    (scratch / "status").touch()
    suites = (recipe.suite, f"{recipe.suite}-updates")
    (scratch / "sources.list").write_text(
        "".join(f"deb [signed-by={KEYRING}] {archive} {name} main\n" for name in suites)
    )
    options = {
        "Dir::Etc::sourcelist": f"{scratch}/sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": "-",
        "Dir::Etc::preferencesparts": "-",
        "Dir::State": str(scratch),
        "Dir::State::lists": f"{scratch}/lists",
        "Dir::State::status": f"{scratch}/status",
        "Dir::Cache": f"{scratch}/cache",
        "Debug::NoLocking": "true",
        "APT::Architecture": ARCHITECTURE,
        "APT::Architectures": ARCHITECTURE,
        "APT::Sandbox::User": "",
        "Acquire::Check-Valid-Until": "false",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    apt = ["apt-get", "-q", "-y", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    runner.run([*apt, "update"], log=log)
    runner.run([*apt, "install", "--no-install-recommends", "--download-only", *recipe.packages], log=log)
    found = sorted((scratch / "cache" / "archives").glob("*.deb"))
    names = {path.name.split("_")[0] for path in found}
    if absent := sorted(set(recipe.packages) - names):
        raise BuildError(f"wanted the packages {absent} of {archive} {recipe.suite}, found {len(found)} others")
    for path in found:
        shutil.move(path, output / path.name.replace("%3a", "%3A"))


def write_repository(packages: Path, suite: str, output: Path, runner: Runner, log: Path) -> None:
    """Write a flat apt repository of all ``.deb`` files in ``packages`` into ``output``."""
    stanzas: list[str] = []
    for path in sorted(packages.glob("*.deb")):
        name = path.name.replace("%3A", "_").replace("%3a", "_")
        shutil.copyfile(path, output / name)
        control = runner.run(["dpkg-deb", "-f", str(path)], log=log).stdout.rstrip("\n")
        data = path.read_bytes()
        stanzas.append(
            f"{control}\nFilename: ./{name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
    index = "\n".join(stanzas).encode()
    packed = gzip.compress(index, mtime=0)
    (output / "Packages").write_bytes(index)
    (output / "Packages.gz").write_bytes(packed)
    lines = [
        "Origin: stagecraft mirror",
        "Label: stagecraft mirror",
        f"Suite: {suite}",
        f"Codename: {suite}",
        f"Architectures: {ARCHITECTURE} all",
        "Date: Thu, 01 Jan 1970 00:00:00 UTC",
        "SHA256:",
        *(
            f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}"
            for name, data in (("Packages", index), ("Packages.gz", packed))
        ),
    ]
    (output / "Release").write_text("\n".join(lines) + "\n")


# ------------------------------------------------------------------------------------------------- a tree for images


def merged_path(name: str) -> str:
    """Return the path of a package's member on a system with a merged /usr, relative to the root."""
    path = name.removeprefix("./").strip("/")
    first = path.split("/", 1)[0]
    return f"usr/{path}" if first in _MERGED else path


def unpack_tree(packages: Path, output: Path) -> None:
    """Unpack programs, libraries and certificates of all packages into ``output``, as one tree with a merged /usr.

    The certificates are put together as Debian's own tool does it: one file with all of them.
    """
    for name in _MERGED:
        (output / "usr" / name).mkdir(parents=True, exist_ok=True)
        (output / name).symlink_to(f"usr/{name}")
    for path in sorted(packages.glob("*.deb")):
        _unpack(path, output)
    authorities = sorted((output / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = output / CERTIFICATES
    bundle.parent.mkdir(parents=True)
    bundle.write_bytes(b"".join(path.read_bytes().rstrip(b"\n") + b"\n" for path in authorities))


def _unpack(package: Path, output: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                name = merged_path(member.name)
                if not name.startswith(_WANTED) or member.isdir():
                    continue
                target = output / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                if member.issym():
                    target.symlink_to(_merged_target(member.linkname))
                elif member.islnk():
                    os.link(output / merged_path(member.linkname), target)
                elif member.isreg() and (content := archive.extractfile(member)) is not None:
                    with target.open("wb") as out:
                        shutil.copyfileobj(content, out)
                    target.chmod(member.mode & 0o777)
    if process.returncode != 0:
        raise BuildError(f"dpkg-deb --fsys-tarfile {package}: status {process.returncode}")


def _merged_target(target: str) -> str:
    """Return an absolute link's target on a system with a merged /usr; a relative one stays."""
    return "/" + merged_path(target) if target.startswith("/") else target


def resolve(tree: Path, name: str) -> str:
    """Find the file that ``name`` is in the tree, after following symbolic links inside the tree.

    Raises BuildError when there is no such file.
    """
    path = PurePosixPath(name)
    for _ in range(16):
        place = tree / merged_path(str(path))
        if not place.is_symlink():
            if not place.is_file():
                raise BuildError(f"wanted {name} among the Debian packages, found none")
            return merged_path(str(path))
        above = PurePosixPath("/", merged_path(str(path))).parent
        path = PurePosixPath(os.path.normpath(above / place.readlink()).lstrip("/"))
    raise BuildError(f"{name}: symbolic links of the Debian packages go round in a circle")


def tree_command(tree: Path, program: str, *loader_options: str) -> list[str]:
    """Return the command that runs a program of the tree with the tree's own loader and libraries."""
    loader = str(tree / resolve(tree, LOADER))
    return [
        loader,
        "--inhibit-cache",
        "--library-path",
        str(tree / LIBRARY_DIRECTORY),
        *loader_options,
        str(tree / program),
    ]


def shared_objects(tree: Path, name: str, runner: Runner, log: Path) -> list[str]:
    """Paths in the tree of the shared objects that the program or library ``name`` needs, the loader included.

    The tree's own loader answers, so nothing of this machine's libraries gets in; a static program needs none.
    """
    answer = runner.run(tree_command(tree, name, "--list"), log=log, check=False)
    if "statically linked" in answer.both or "not a dynamic executable" in answer.both:
        return []
    found = [LOADER]
    for line in answer.stdout.splitlines():
        library, arrow, place = line.strip().partition(" => ")
        if not arrow:
            continue
        path = place.rsplit(" (", 1)[0]
        if not path.startswith(f"{tree}/"):
            raise BuildError(f"{name}: wanted {library} among the Debian packages, found {place}")
        found.append(merged_path(path[len(str(tree)) + 1 :]))
    if len(found) == 1:
        raise BuildError(f"{name}: wanted the list of its shared objects, found:\n{answer.both}")
    return found
