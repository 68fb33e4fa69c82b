# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packages: which archive, where their files lie, what a repository of them says."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.mirror import debian
from tests.mirror.errors import BuildError, RefusedError
from tests.mirror.run import Output, Runner

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")


@pytest.mark.parametrize(
    ("repositories", "archive"),
    [
        (["http://a.example/debian-security/", "http://a.example/debian/"], "http://a.example/debian"),
        (["https://b.example/archive/debian/20250520T000000Z/"], "https://b.example/archive/debian/20250520T000000Z"),
        (["https://c.example/node_20.x/", "https://c.example/ubuntu/"], None),
        ([], None),
    ],
)
def test_the_archive_among_the_apt_sources(repositories: list[str], archive: str | None) -> None:
    assert debian.debian_archive(repositories) == archive


def test_the_archive_from_the_environment(tmp_path: Path) -> None:
    chosen = {debian.ARCHIVE_VARIABLE: "http://d.example/debian/"}
    assert debian.find_archive(Runner(), tmp_path / "log", chosen) == "http://d.example/debian"


def test_without_an_archive_the_refusal_names_the_variable(tmp_path: Path) -> None:
    class NoSources(Runner):
        def run(self, *_: object, **__: object) -> Output:
            return Output("https://c.example/ubuntu/\n", "")

    with pytest.raises(RefusedError, match=r"found \['https://c.example/ubuntu/'\]: set STAGECRAFT_DEBIAN_ARCHIVE=URL"):
        debian.find_archive(NoSources(), tmp_path / "log", {})


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("./bin/kmod", "usr/bin/kmod"),
        ("./usr/sbin/nft", "usr/sbin/nft"),
        ("/lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("./etc/passwd", "etc/passwd"),
        ("./library/x", "library/x"),
    ],
)
def test_paths_of_a_merged_usr(name: str, path: str) -> None:
    assert debian.merged_path(name) == path


def test_links_are_followed_inside_the_tree(tmp_path: Path) -> None:
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/bin/tool").write_text("")
    (tmp_path / "usr/sbin/absolute").symlink_to("/bin/tool")
    (tmp_path / "usr/sbin/relative").symlink_to("../bin/tool")
    (tmp_path / "usr/sbin/round").symlink_to("round")
    assert debian.resolve(tmp_path, "usr/sbin/absolute") == "usr/bin/tool"
    assert debian.resolve(tmp_path, "sbin/relative") == "usr/bin/tool"
    with pytest.raises(BuildError, match="wanted usr/sbin/none"):
        debian.resolve(tmp_path, "usr/sbin/none")
    with pytest.raises(BuildError, match="in a circle"):
        debian.resolve(tmp_path, "usr/sbin/round")


def make_package(directory: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    root = directory / f"{name}.root"
    for path, content in {
        "DEBIAN/control": (
            f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: Nobody <n@example.com>\n"
            "Description: a package\n of a test\n"
        ).encode(),
        **files,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    package = directory / f"{name}_{version.replace(':', '%3A')}_amd64.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "-b", root, package], check=True, stdout=subprocess.DEVNULL
    )
    shutil.rmtree(root)
    return package


@needs_dpkg
def test_a_repository_says_what_it_holds(tmp_path: Path) -> None:
    packages, output = tmp_path / "packages", tmp_path / "output"
    packages.mkdir()
    output.mkdir()
    first = make_package(packages, "one", "1:1.0-1", {"bin/one": b"one"})
    make_package(packages, "two", "2.0", {"usr/bin/two": b"two"})
    debian.write_repository(packages, "bookworm", output, Runner(), tmp_path / "log")
    index = (output / "Packages").read_bytes()
    stanzas = index.decode().strip().split("\n\n")
    assert len(stanzas) == 2
    fields = dict(line.split(": ", 1) for line in stanzas[0].splitlines() if not line.startswith(" "))
    assert (fields["Package"], fields["Version"]) == ("one", "1:1.0-1")
    content = (output / fields["Filename"]).read_bytes()
    assert content == first.read_bytes()
    assert "%" not in fields["Filename"]
    assert (fields["Size"], fields["SHA256"]) == (str(len(content)), hashlib.sha256(content).hexdigest())
    assert gzip.decompress((output / "Packages.gz").read_bytes()) == index
    assert (
        f" {hashlib.sha256(index).hexdigest()} {len(index)} Packages" in (output / "Release").read_text().splitlines()
    )


@needs_dpkg
def test_a_tree_holds_programs_and_one_file_of_certificates(tmp_path: Path) -> None:
    packages, output = tmp_path / "packages", tmp_path / "output"
    packages.mkdir()
    make_package(
        packages,
        "one",
        "1",
        {
            "bin/one": b"one",
            "usr/share/doc/one/copyright": b"",
            "usr/share/ca-certificates/b.crt": b"B\n",
            "usr/share/ca-certificates/a.crt": b"A",
        },
    )
    debian.unpack_tree(packages, output)
    assert (output / "usr/bin/one").read_bytes() == b"one"
    assert (output / "bin/one").read_bytes() == b"one"
    assert not (output / "usr/share/doc").exists()
    assert (output / debian.CERTIFICATES).read_bytes() == b"A\nB\n"


@needs_dpkg
def test_a_damaged_package_is_an_error(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    package = make_package(packages, "one", "1", {"bin/one": b"one" * 100_000})
    package.write_bytes(package.read_bytes()[:100_000])
    with pytest.raises((BuildError, tarfile.TarError)):
        debian.unpack_tree(packages, tmp_path / "output")
