# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine that is sent to a host: the host's own Python needs nothing else, and nothing is left there."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.action import host_state, k3s_info, kubeadm_info
from ansible_collections.stagecraft.gitops.plugins.plugin_utils import _host_engine
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import HostEngine
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._host_engine import HostEngineError

MODULE_UTILS = Path(_host_engine.__file__).resolve().parent.parent / "module_utils"
ENGINES = sorted(path.name for path in MODULE_UTILS.iterdir() if (path / "__init__.py").is_file())


def run(directory: Path, *job: Any, python: str = sys.executable) -> Any:
    done = subprocess.run(
        ["sh", "-c", _host_engine.command(python)],
        input=_host_engine.job(*job),
        capture_output=True,
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": "/nowhere"},
        check=False,
    )
    return _host_engine.answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_it_runs_where_nothing_is_installed_and_leaves_nothing(tmp_path: Path) -> None:
    found = run(tmp_path, ["host_state"], "facts.architecture", "HostStateError", {"machine": "aarch64"})
    assert found == "arm64"
    assert list(tmp_path.iterdir()) == []


def test_its_own_error_is_a_failed_result(tmp_path: Path) -> None:
    options = {"options": {"state": {"files": [{"path": "relative", "content": ""}]}}, "check": True}
    found = run(tmp_path, ["host_state"], "engine.engine_result", "HostStateError", options)
    assert found["failed"]
    assert "relative" in found["msg"]


def test_any_other_error_is_shown_as_python_says_it(tmp_path: Path) -> None:
    with pytest.raises(HostEngineError, match=r"(?s)status 1 and said:.*TypeError.*no_such"):
        run(tmp_path, ["host_state"], "facts.architecture", "HostStateError", {"no_such": 1})


def test_a_python_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostEngineError, match=r"status 127 and said:\n.*/no/python3"):
        run(tmp_path, ["host_state"], "facts.architecture", "HostStateError", {}, python="/no/python3")


def test_what_is_said_before_and_after_the_answer_is_passed_over() -> None:
    said = f'Welcome!\n{_host_engine._MARK}{{"changed": true}}\nBye\n'
    assert _host_engine.answer(0, said, "") == {"changed": True}
    with pytest.raises(HostEngineError, match="status 0 and said:\nWelcome"):
        _host_engine.answer(0, "Welcome!\n", "")


def test_the_environment_of_the_task_stands_before_it() -> None:
    assert _host_engine.command("/usr/bin/python3", "A=b").startswith("A=b /usr/bin/python3 -I -c ")


@pytest.mark.parametrize("engine", [kubeadm_info.ENGINE, k3s_info.ENGINE, host_state.ENGINE], ids=str)
def test_every_engine_that_is_sent_has_all_that_it_imports(tmp_path: Path, engine: HostEngine) -> None:
    with pytest.raises(HostEngineError, match="missing 2 required positional arguments: 'options' and 'check'"):
        run(tmp_path, engine.packages, engine.function, engine.error, {})


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_is_whole_and_the_same_each_time(engine: str) -> None:
    sent = _host_engine.package(engine)
    with zipfile.ZipFile(io.BytesIO(sent)) as archive:
        names = {Path(name).name for name in archive.namelist() if f"/{engine}/" in name}
    assert names == {path.name for path in (MODULE_UTILS / engine).glob("*.py")}
    _host_engine.package.cache_clear()
    assert _host_engine.package(engine) == sent


@pytest.mark.parametrize("program", ["python3.9", "python3.10", "python3.11", "python3.12", "python3.13"])
def test_every_supported_python_takes_it(tmp_path: Path, program: str) -> None:
    python = shutil.which(program)
    if python is None or subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"{program} is not installed")
    found = run(tmp_path, ["host_state"], "facts.architecture", "HostStateError", {"machine": "x86_64"}, python=python)
    assert found == "amd64"
