# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Go is called, and how a module's tree is copied without what cannot be had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mirror.errors import BuildError
from tests.mirror.gobuild import GoBuilder, build_arguments, executable_name, without_direct
from tests.mirror.recipes import CopiedModule, GoPrograms, Probe
from tests.mirror.run import Runner
from tests.mirror.toolchain import parse_go_version

MODULE_H1 = "h1:abc="
COPIED = CopiedModule(
    "example.com/app",
    "v1.0.0",
    MODULE_H1,
    removed=("backend/bad",),
    edited=(("main.go", ('/backend/bad"',)),),
)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://one.example,direct", "https://one.example"),
        ("https://one.example|https://two.example,direct", "https://one.example,https://two.example"),
        ("direct", "direct"),
        ("off", "off"),
    ],
)
def test_no_fall_back_to_version_control(given: str, kept: str) -> None:
    assert without_direct(given) == kept


def test_names_of_programs() -> None:
    assert executable_name("go.etcd.io/etcd/server/v3") == "server"
    assert executable_name("github.com/containerd/containerd/v2/cmd/ctr") == "ctr"
    assert executable_name("example.com/v1") == "v1"


def test_versions_of_go() -> None:
    assert parse_go_version("go1.26.8") == (1, 26)
    assert parse_go_version("go1.26rc1") == (1, 26)
    assert parse_go_version("devel") is None


def test_the_version_is_stamped() -> None:
    recipe = GoPrograms(
        "part/x", "x", (("x", "example.com/x"),), variables=(("example.com/x.v", "1.0"),), tags=("a", "b")
    )
    arguments = build_arguments(recipe)
    assert arguments[:3] == ["-trimpath", "-tags", "a,b"]
    assert arguments[-1] == "-s -w -X example.com/x.v=1.0"


FAKE_GO = """#!/bin/sh
case "$1" in
  env) echo https://proxy.example,direct ;;
  mod) cat {module}/answer.json ;;
  build)
    [ "$GOPROXY" = https://proxy.example ] || exit 9
    while [ "$1" != -o ]; do shift; done
    cp {module}/program "$2/app"
    pwd > {module}/built-in ;;
esac
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A module's tree, a module set, a fake ``go`` that knows them, and a program that it 'builds'."""
    tree = tmp_path / "tree"
    (tree / "backend/bad").mkdir(parents=True)
    (tree / "backend/good").mkdir()
    (tree / "main.go").write_text(
        'import (\n\t_ "example.com/app/backend/bad"\n\t_ "example.com/app/backend/good"\n)\n'
    )
    (tree / "main.go").chmod(0o444)
    (tree / "backend").chmod(0o555)
    (tmp_path / "set").mkdir()
    (tmp_path / "set/go.mod").write_text("module set\n")
    (tmp_path / "set/go.sum").write_text("")
    (tmp_path / "answer.json").write_text(json.dumps({"Dir": str(tree), "Sum": MODULE_H1}))
    (tmp_path / "program").write_text("#!/bin/sh\necho app version 1.0.0\n")
    (tmp_path / "program").chmod(0o755)
    (tmp_path / "go").write_text(FAKE_GO.format(module=tmp_path))
    (tmp_path / "go").chmod(0o755)
    for name in ("output", "scratch"):
        (tmp_path / name).mkdir()
    return tmp_path


def build(module: Path, copied: CopiedModule | None = COPIED, expects: tuple[str, ...] = ("version 1.0.0",)) -> Path:
    recipe = GoPrograms(
        "part/app",
        "app",
        (("appd", "example.com/app"),),
        copied=copied,
        probes=(Probe("appd", ("--version",), expects),),
    )
    builder = GoBuilder(module / "go", module / "cache", 2, Runner())
    builder.build(recipe, module / "set", module / "output", scratch=module / "scratch", log=module / "log")
    return Path((module / "built-in").read_text().strip())


def test_the_program_gets_its_name_and_is_built_in_the_set(module: Path) -> None:
    assert build(module, copied=None) == module / "set"
    assert [path.name for path in (module / "output").iterdir()] == ["appd"]


def test_a_copied_tree_lacks_what_was_taken_out(module: Path) -> None:
    directory = build(module)
    assert not (directory / "src/backend/bad").exists()
    assert (directory / "src/backend/good").is_dir()
    assert (directory / "src/main.go").read_text() == 'import (\n\t_ "example.com/app/backend/good"\n)\n'
    assert (directory / "go.mod").read_text() == "module set\n"
    assert (module / "tree/backend/bad").is_dir()


def test_a_module_with_another_checksum_is_refused(module: Path) -> None:
    (module / "answer.json").write_text(json.dumps({"Dir": str(module / "tree"), "Sum": "h1:other="}))
    with pytest.raises(BuildError, match="wanted checksum h1:abc=, found h1:other="):
        build(module)


def test_an_edit_that_finds_nothing_is_refused(module: Path) -> None:
    (module / "tree/main.go").chmod(0o644)
    (module / "tree/main.go").write_text("package main\n")
    with pytest.raises(BuildError, match=r"main\.go: wanted lines with"):
        build(module)


def test_a_program_of_another_version_is_refused(module: Path) -> None:
    with pytest.raises(
        BuildError, match=r"(?s)wanted \['version 2.0.0'\] in the output of .*found:\napp version 1.0.0"
    ):
        build(module, expects=("version 2.0.0",))
