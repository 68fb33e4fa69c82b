# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the canary tests look for, what they watch, and that each playbook has one."""

from __future__ import annotations

import ast
import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.canary import TESTS, Watch, forms_of, in_files
from tools.stages import ROOT

CANARY = 'kanarienvogel-4711-ß "quoted"/?'


def in_base64(before: int, text: str) -> str:
    return base64.b64encode(b"u:x"[:before] + text.encode() + b"!").decode()


def test_every_playbook_has_a_test_that_looks_for_a_canary() -> None:
    playbooks = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    assert set(TESTS) == playbooks, "write such a test, and name it in tests/integration/canary.py"


@pytest.mark.parametrize("playbook", TESTS)
def test_the_test_is_there_and_names_the_playbook(playbook: str) -> None:
    name, _, function = TESTS[playbook].partition("::")
    file = ROOT / name
    functions = {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}
    assert function in functions
    # the playbook may be named by what the test's directory says of its runs
    texts = [path.read_text() for path in file.parent.glob("*.py")]
    assert any(f'"{playbook}"' in text or f"playbooks/{playbook}.yml" in text for text in texts)


@pytest.mark.parametrize(
    "encode",
    [
        str,
        lambda text: text.encode().hex(),
        lambda text: text.encode().hex().upper(),
        lambda text: quote(text, safe=""),
        quote,
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        *(partial(in_base64, before) for before in range(3)),
    ],
)
@pytest.mark.parametrize("value", [CANARY, CANARY[:16]])
def test_each_form_is_found(encode: Callable[[str], str], value: str) -> None:
    shown = f"before {encode(value)} behind".encode()
    assert any(form in shown for form in forms_of(CANARY))
    assert not any(form in b"nothing of it, kanarien" for form in forms_of(CANARY))


def test_a_form_in_a_file_is_named_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(f"x {CANARY}")
    (tmp_path / "given").write_text(CANARY)
    (found, *_) = in_files(forms_of(CANARY), [tmp_path], ["given"])
    assert found.startswith(f"{tmp_path / 'a'}: ")


def test_arguments_and_files_of_a_moment_are_seen(tmp_path: Path) -> None:
    with Watch(forms_of(CANARY), [tmp_path, tmp_path / "not there yet"]) as watch:
        file = tmp_path / "moment"
        file.write_text(CANARY)
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)", CANARY])
        try:
            deadline = time.monotonic() + 20
            while len(watch.found) < 2 and time.monotonic() < deadline:
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
        file.unlink()
    assert watch.found == {str(file), f"/proc/{process.pid}/cmdline"}
