# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about the checkout as a whole."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tools.package import tracked_files

ROOT = Path(__file__).resolve().parents[2]
# Put together so that this file does not find itself.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("proxy", "golang", "org"),
        ("sum", "golang", "org"),
        ("deb", "debian", "org"),
        ("registry", "npmjs", "org"),
        ("crates", "io"),
    )
]
# Where checkouts and homes lie on any machine, and what examples and hosts have too.
COMMON = {Path("/", name) for name in ("", "home", "home/admin", "mnt", "opt", "root", "srv", "tmp", "usr", "var")}
LICENCE = "SPDX-License-Identifier: GPL-3.0-or-later"


def texts() -> list[tuple[Path, str]]:
    """Every tracked text file, relative to the root, with its content."""
    result = []
    for name in tracked_files(ROOT):
        try:
            result.append((name, (ROOT / name).read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return result


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts()
        if pattern.search(text)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is the machine's business: a mirror there must hold for this project too."""
    assert lines_with(re.compile("|".join(rf"\b{re.escape(host)}\b" for host in REGISTRY_HOSTS))) == []


def of_one_machine(checkout: Path, home: Path) -> re.Pattern[str]:
    """Match paths below the directory that holds the checkout, and below the home of whoever works on it."""
    places = {checkout.parent, home, home / ".cache", home / ".local", home / ".pyenv"} - COMMON
    names = "|".join(re.escape(str(place)) for place in sorted(places))
    return re.compile(rf"(?<![\w.{{}}$-])(?:{names})/")


def test_no_file_names_a_directory_of_one_machine() -> None:
    assert lines_with(of_one_machine(ROOT, Path.home())) == []


@pytest.mark.parametrize(
    ("checkout", "home", "text", "found"),
    [
        ("/data/code/gitops", "/root", "see {checkout}/x and {checkout}s/../notes", True),
        ("/data/code/gitops", "/root", "{home}/.pyenv/shims", True),
        ("/data/code/gitops", "/root", "{home}/.ssh, /data/coder/x, {{ x }}{checkout}/x", False),
        ("/home/x/gitops", "/home/x", "cd {home}/gitops", True),
        ("/home/x/gitops", "/home/x", "/home/y/gitops", False),
        ("/srv/gitops", "/srv", "{checkout}", False),
        ("/tmp/gitops", "/root", "{checkout}/x", False),
    ],
)
def test_a_directory_of_one_machine_is_told_from_a_common_one(
    checkout: str, home: str, text: str, *, found: bool
) -> None:
    text = text.replace("{checkout}", checkout).replace("{home}", home)
    assert bool(of_one_machine(Path(checkout), Path(home)).search(text)) is found


def test_every_python_file_says_its_licence() -> None:
    without = [str(name) for name, text in texts() if name.suffix == ".py" and text and LICENCE not in text]
    assert without == []


def test_no_test_is_ignored_by_ansible_test() -> None:
    assert [str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "sanity").glob("ignore*")] == []


def test_requirements_are_pinned_and_hashed() -> None:
    files = sorted((ROOT / "requirements").glob("*.txt"))
    assert {path.stem for path in files} == {path.stem for path in (ROOT / "requirements").glob("*.in")}
    for path in files:
        blocks = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE))
        for block in filter(None, (block.strip() for block in blocks)):
            assert re.match(r"[\w.\[\],-]+==\S+", block), f"{path.name}: not pinned: {block[:60]}"
            assert "--hash=sha256:" in block, f"{path.name}: no hash: {block[:60]}"


def test_development_and_run_time_have_the_same_pins() -> None:
    def pins(name: str) -> set[tuple[str, str]]:
        text = (ROOT / "requirements" / name).read_text()
        return set(re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE))

    assert pins("runtime.txt") - pins("dev.txt") == set()


def test_collections_that_content_uses_are_declared() -> None:
    declared = {"ansible.builtin", "stagecraft.gitops"}
    declared |= set(yaml.safe_load((ROOT / "galaxy.yml").read_text())["dependencies"])
    development = declared | set(yaml.safe_load((ROOT / "requirements" / "collections.yml").read_text())["collections"])
    undeclared = set()
    for name, text in texts():
        if name.suffix not in (".yml", ".yaml") or name.parts[0] not in ("roles", "playbooks", "molecule"):
            continue
        known = declared if name.parts[0] in ("roles", "playbooks") else development
        for used in re.findall(r"^\s*(?:- )?([a-z_]+\.[a-z_]+)\.[a-z_0-9]+:\s*$", text, re.MULTILINE):
            if used not in known:
                undeclared.add(f"{name}: {used}")
    assert undeclared == set()


def test_ansible_cfg_is_strict_and_fast() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "ansible.cfg")
    assert settings["defaults"].getboolean("host_key_checking") is True
    assert settings["defaults"].getboolean("inject_facts_as_vars") is False
    assert settings["defaults"]["gathering"] == "explicit"
    assert settings["connection"].getboolean("pipelining") is True


@pytest.mark.parametrize("target", ["help", "dev", "sandbox", "sandbox-down", "test", "lint", "unit", "bench", "docs"])
def test_make_help_lists_every_target(target: str) -> None:
    answer = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(rf"^  make {target} ", answer.stdout, re.MULTILINE)
