# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages in a bundle: what is asked for, where it comes from, and what keeps a bundle from being made again."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts import packages
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.bundle import bundle
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.cache import Cache
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import DownloadFailed, SourceError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import Lock, LockedFile
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Source

ROOT = Path(__file__).resolve().parents[3]
BOOKWORM = packages.Repository("debian/bookworm", "amd64", ("conntrack", "socat"))


def variables(role: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "roles" / role / "vars" / "main.yml").read_text("utf-8"))
    return found


def test_the_bundle_has_every_package_that_a_role_installs() -> None:
    bundled = set(re.findall(r"'([a-z]+)'", variables("artifacts")["artifacts__package_names"]))
    used = set(variables("host")["host__packages"])
    for role in (ROOT / "roles").iterdir():
        file = role / "vars" / "main.yml"
        for line in file.read_text("utf-8").splitlines() if file.is_file() and role.name != "artifacts" else ():
            # packages: "{{ ['haproxy'] if … }}", or the line below it
            if "packages" in line:
                used |= set(re.findall(r"\['([a-z]+)'\] if", line))
    assert {"chrony", "haproxy", "conntrack"} <= used
    assert used <= bundled


def test_each_release_and_architecture_has_a_repository_of_its_own() -> None:
    found = packages.wanted(["debian/bookworm", "ubuntu/noble", "debian/bookworm"], ["amd64", "arm64"], ["b", "a", "b"])
    assert [one.key for one in found] == [
        "debian/bookworm/amd64",
        "debian/bookworm/arm64",
        "ubuntu/noble/amd64",
        "ubuntu/noble/arm64",
    ]
    assert found[0].names == ("a", "b")
    assert found[0].path == "packages/debian/bookworm/amd64.tar"


def test_every_release_that_is_none_is_named() -> None:
    with pytest.raises(SourceError, match=r"packages of fedora/41, bookworm cannot .* such as debian/bookworm"):
        packages.wanted(["fedora/41", "debian/bookworm", "bookworm"], ["amd64"], ["a"])


TARGETS = """\
Debian|bookworm-security|https://apt.example.com/debian-security/
Debian|bookworm-updates|https://apt.example.com/debian/
Debian|bookworm|https://apt.example.com/debian/
Kubernetes|stable|https://other.example.com/
Ubuntu|noble|https://apt.example.com/ubuntu
|incomplete
"""


def test_a_machines_own_archives_are_known_by_their_origin() -> None:
    assert packages.own_archives(TARGETS) == {
        "debian": "https://apt.example.com/debian",
        "debian-security": "https://apt.example.com/debian-security",
        "ubuntu": "https://apt.example.com/ubuntu",
    }


@pytest.mark.parametrize(
    ("release", "archives", "expected"),
    [
        (
            "debian/trixie",
            {"debian": "https://a/d", "debian-security": "https://a/s", "ubuntu": "https://a/u"},
            ["https://a/d trixie main", "https://a/d trixie-updates main", "https://a/s trixie-security main"],
        ),
        (
            "ubuntu/noble",
            {"ubuntu": "https://a/u"},
            ["https://a/u noble main universe", "https://a/u noble-updates main universe"],
        ),
    ],
)
def test_where_packages_come_from(release: str, archives: dict[str, str], expected: list[str]) -> None:
    text = packages.sources(packages.Repository(release, "amd64", ("a",)), archives, "/keys.gpg")
    assert text == "".join(f"deb [signed-by=/keys.gpg] {line}\n" for line in expected)


def test_a_machine_without_apt_or_without_the_key_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_KEYRINGS", {"debian": str(tmp_path / "none.gpg")})
    with pytest.raises(SourceError, match=r"none\.gpg, which is missing here: install debian-archive-keyring, or set"):
        packages.download(BOOKWORM, {}, tmp_path, tmp_path / "x.tar")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match=r"no apt-get and no dpkg-deb: make the bundle on one with Debian or Ubuntu"):
        packages.download(BOOKWORM, {}, tmp_path, tmp_path / "x.tar")


@pytest.mark.parametrize(
    ("archives", "error", "said"),
    [
        (
            {},
            SourceError,
            r"no archive of debian among its sources\. Name one by artifacts_package_archives: \{debian: URL",
        ),
        ({"debian": "https://a/d"}, DownloadFailed, r"debian/bookworm/amd64 could not be had(.|\n)*package nonsense"),
    ],
)
def test_what_apt_says_is_passed_on(
    archives: dict[str, str], error: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, scratch = tmp_path / "bin", tmp_path / "scratch"
    programs.mkdir()
    scratch.mkdir()
    for name in ("apt-get", "dpkg-deb"):
        (programs / name).write_text(
            '#!/bin/sh\n[ "$1" != indextargets ] || exit 0\necho "E: Unable to locate package nonsense" >&2\nexit 100\n'
        )
        (programs / name).chmod(0o755)
    keyring = tmp_path / "keys.gpg"
    keyring.write_bytes(b"")
    monkeypatch.setattr(packages, "_KEYRINGS", {"debian": str(keyring)})
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    with pytest.raises(error, match=said):
        packages.download(BOOKWORM, archives, scratch, tmp_path / "x.tar")


def deb(directory: Path, name: str) -> Path:
    """A package without anything in it."""
    tree = directory / "tree" / name
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1:1.0\nArchitecture: all\nMaintainer: t <t@example.com>\nDescription: test\n"
    )
    made = directory / f"{name}_1%3a1.0_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", str(tree), str(made)], check=True, capture_output=True)
    return made


def test_the_repository_is_one_that_apt_can_read_and_the_same_every_time(tmp_path: Path) -> None:
    found = [deb(tmp_path, "a"), deb(tmp_path, "b")]
    for name in ("one.tar", "two.tar"):
        packages.write_repository(found, tmp_path / name)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert tar.getnames() == ["a_1_1.0_all.deb", "b_1_1.0_all.deb", "Packages"]
        index = tar.extractfile("Packages")
        assert index is not None
        stanzas = index.read().decode().split("\n\n")
    assert [line for line in stanzas[1].splitlines() if line.startswith(("Package:", "Filename:", "SHA256:"))] == [
        "Package: b",
        "Filename: ./b_1_1.0_all.deb",
        f"SHA256: {hashlib.sha256(found[1].read_bytes()).hexdigest()}",
    ]


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Cache, LockedFile]:
    """A cache with a repository in it, and the place of a bundle."""
    cache = Cache(tmp_path / "cache")
    cache.root.mkdir()
    file = tmp_path / "cache" / "new"
    file.write_bytes(b"packages")
    sha256 = hashlib.sha256(b"packages").hexdigest()
    cache.adopt(file, sha256)
    return tmp_path / "bundle", cache, LockedFile(sha256, 8, checked=BOOKWORM.checked)


def test_a_bundle_keeps_its_packages_while_they_are_wanted(
    made: tuple[Path, Cache, LockedFile], tmp_path: Path
) -> None:
    root, cache, locked = made
    source, more = Source.upstream(), {BOOKWORM.path: locked}
    assert packages.held(root, bundle(root).lock(), BOOKWORM) is None
    assert bundle(root).plan([], source, cache.root, Lock(), more={BOOKWORM.path: None}).put == (BOOKWORM.path,)
    assert bundle(root).fill([], source, cache.root, Lock(), more=more).put == (BOOKWORM.path,)
    held = packages.held(root, bundle(root).lock(), BOOKWORM)
    assert held == locked
    assert packages.available(bundle(root).lock()) == {"debian/bookworm/amd64": locked}
    # the cache may be gone by now
    assert not bundle(root).fill([], source, tmp_path / "another", Lock(), more={BOOKWORM.path: held})
    assert not bundle(root).plan([], source, cache.root, Lock(), more={BOOKWORM.path: held})

    another = packages.Repository("debian/bookworm", "amd64", ("conntrack",))
    assert packages.held(root, bundle(root).lock(), another) is None
    (root / BOOKWORM.path).write_bytes(b"short")
    assert packages.held(root, bundle(root).lock(), BOOKWORM) is None

    assert bundle(root).fill([], source, cache.root, Lock()).removed == (BOOKWORM.path,)
    assert not (root / packages.FOLDER).exists()


def test_an_interrupted_bundle_with_packages_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "packages" / "debian").mkdir(parents=True)
    assert bundle(tmp_path).lock().files == {}
    (tmp_path / "holiday").mkdir()
    with pytest.raises(SourceError, match=r"holds other things \(holiday\)"):
        bundle(tmp_path)
