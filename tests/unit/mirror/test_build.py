# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan holds what is out of date; carrying it out keeps order, keeps what was finished, and reports what failed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mirror.build import Builder, Plan, Progress, carry_out, plan
from tests.mirror.cli import select
from tests.mirror.errors import BuildError, RefusedError
from tests.mirror.localprogram import LocalBuilder
from tests.mirror.recipes import Archive, GoPrograms, PlainFile, Recipe, is_part, recipes
from tests.mirror.run import Runner
from tests.mirror.store import Layout, Store

ROOT = Path(__file__).resolve().parents[3]
PART_ONE = GoPrograms("part/one", "one", (("one", "example.com/one"),))
PART_TWO = GoPrograms("part/two", "two", (("two", "example.com/two"),))
FILE_ONE = PlainFile("one", "example.com/one", "part/one", "one")
ARCHIVE_ONE = Archive("one/archive", "example.com/one.tar.gz", "part/one", ("one",), "")
FILE_TWO = PlainFile("two", "example.com/two", "part/two", "two")
RECIPES: tuple[Recipe, ...] = (PART_ONE, FILE_ONE, ARCHIVE_ONE, PART_TWO, FILE_TWO)
KEYS = {recipe.name: f"{recipe.name:x<64}" for recipe in RECIPES}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Layout(tmp_path / "cache"))


class Workshop:
    """A builder whose parts come from nowhere; artefacts are made and published for real."""

    def __init__(self, store: Store, keys: dict[str, str]) -> None:
        self.store, self.keys = store, keys
        runner = Runner()
        self._builder = Builder(store, keys, runner, LocalBuilder(Path("no-go"), Path("no-cache"), 1, runner))
        self.ran: list[str] = []

    def run(self, recipe: Recipe) -> None:
        self.ran.append(recipe.name)
        if not is_part(recipe):
            self._builder.run(recipe)
            return
        assert isinstance(recipe, GoPrograms)
        with self.store.scratch(recipe.name) as scratch:
            for program, _ in recipe.packages:
                (scratch / program).write_text(f"program {program}")
            self.store.keep_part(recipe.name, self.keys[recipe.name], scratch)


def names(todo: Plan) -> list[str]:
    return [recipe.name for recipe in todo.steps]


def go(todo: Plan, run: Callable[[Recipe], object], jobs: int = 2) -> dict[str, str]:
    return carry_out(
        todo,
        run,
        progress=Progress(len(todo.steps), io.StringIO()),
        jobs=jobs,
        published=lambda _: None,
        stop=lambda: None,
    )


def build(store: Store, keys: dict[str, str]) -> list[str]:
    workshop = Workshop(store, keys)
    assert go(plan(RECIPES, keys, store), workshop.run) == {}
    return workshop.ran


def test_everything_is_built_once_and_then_nothing(store: Store) -> None:
    assert sorted(build(store, KEYS)) == sorted(KEYS)
    assert (store.layout.mirror / "example.com/one").read_text() == "program one"
    assert names(plan(RECIPES, KEYS, store)) == []
    assert build(store, KEYS) == []


def test_a_changed_recipe_rebuilds_only_itself(store: Store) -> None:
    build(store, KEYS)
    keys = {**KEYS, "one/archive": "y" * 64}
    assert build(store, keys) == ["one/archive"]


def test_a_changed_part_rebuilds_what_is_made_from_it(store: Store) -> None:
    build(store, KEYS)
    keys = {**KEYS, **dict.fromkeys(("part/one", "one", "one/archive"), "y" * 64)}
    assert sorted(build(store, keys)) == ["one", "one/archive", "part/one"]


def test_a_lost_file_is_made_again_from_the_kept_part(store: Store) -> None:
    build(store, KEYS)
    (store.layout.mirror / "example.com/two").unlink()
    assert build(store, KEYS) == ["two"]


def test_rebuild_on_demand(store: Store) -> None:
    build(store, KEYS)
    assert names(plan(RECIPES, KEYS, store, frozenset({"part/one"}))) == ["part/one", "one", "one/archive"]
    assert names(plan(RECIPES, KEYS, store, frozenset({"one"}))) == ["one"]


def test_a_failure_stops_only_what_is_made_from_it(store: Store) -> None:
    workshop = Workshop(store, KEYS)

    def run(recipe: Recipe) -> None:
        if recipe.name == "part/one":
            raise BuildError("the compiler said no")
        workshop.run(recipe)

    failed = go(plan(RECIPES, KEYS, store), run)
    assert failed == {
        "part/one": "the compiler said no",
        "one": "not made, for it needs part/one",
        "one/archive": "not made, for it needs part/one",
    }
    assert store.is_current("two", KEYS["two"])
    assert names(plan(RECIPES, KEYS, store)) == ["part/one", "one", "one/archive"]


def test_parts_are_done_before_what_needs_them_and_compile_one_at_a_time(store: Store) -> None:
    lock = threading.Lock()
    compiling: set[str] = set()
    done: list[str] = []

    def run(recipe: Recipe) -> None:
        if is_part(recipe):
            with lock:
                assert not compiling, f"{recipe.name} is compiled beside {compiling}"
                compiling.add(recipe.name)
            time.sleep(0.02)
            with lock:
                compiling.remove(recipe.name)
        else:
            assert {"one": "part/one", "one/archive": "part/one", "two": "part/two"}[recipe.name] in done
        done.append(recipe.name)

    assert go(plan(RECIPES, KEYS, store), run, jobs=3) == {}
    assert sorted(done) == sorted(KEYS)


def test_progress_says_when_a_step_ends_and_now_and_then_what_runs() -> None:
    now = [0.0]
    out = io.StringIO()
    progress = Progress(2, out, lambda: now[0])
    progress.start("part/one")
    now[0] = 19.0
    progress.heartbeat()
    assert out.getvalue() == ""
    now[0] = 21.0
    progress.heartbeat()
    assert out.getvalue().split() == ["…", "part/one", "21", "s", "(total", "0:21)"]
    now[0] = 75.0
    assert progress.finish("part/one", "done") == 75.0
    assert out.getvalue().splitlines()[1].split() == ["[", "1/2]", "part/one", "done", "75.0", "s", "(total", "1:15)"]


INTERRUPTED = """
import signal, sys
from pathlib import Path
from tests.mirror.build import Plan, Progress, carry_out
from tests.mirror.recipes import PlainFile
from tests.mirror.run import Runner
from tests.mirror.store import Layout, Store
# A shell starts what runs in the background with SIGINT ignored, and Python leaves it at that.
signal.signal(signal.SIGINT, signal.default_int_handler)
store, runner = Store(Layout(Path(sys.argv[1]))), Runner()
recipe = PlainFile("slow", "example.com/slow", "part/slow", "slow")

def run(recipe):
    with store.scratch(recipe.name) as scratch:
        print("begun", flush=True)
        script = f"echo half > {scratch}/slow; echo $$ > {sys.argv[1]}/pid; sleep 60; echo whole > {scratch}/slow"
        runner.run(["sh", "-c", script], log=store.layout.work / "log")
        store.publish("slow", "k", 1.0, {"example.com/slow": scratch / "slow"})

with store.exclusive():
    carry_out(Plan((recipe,), {}), run, progress=Progress(1), jobs=1, published=lambda _: None, stop=runner.stop)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_leaves_no_half_artefact(store: Store, number: signal.Signals) -> None:
    cache = store.layout.cache
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(cache)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        deadline = time.monotonic() + 10
        while not (pid_file := cache / "pid").exists() or not pid_file.read_text().strip():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        tool = int(pid_file.read_text())
        process.send_signal(number)
        assert process.wait(20) != 0
    if number is signal.SIGKILL:  # nobody was left to end the tool
        os.killpg(tool, signal.SIGKILL)
    with pytest.raises(ProcessLookupError):
        wait_for_end(tool)
    assert not (store.layout.mirror / "example.com").exists()
    assert store.stamp("slow") is None
    with store.exclusive():
        store.remove_leftovers()
    assert not list((store.layout.work).glob("incoming/*"))


def wait_for_end(process: int) -> None:
    """Raise ProcessLookupError as soon as the process is gone; return after ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        os.kill(process, 0)
        time.sleep(0.02)


def test_a_tool_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"status 3: sh -c .*\n(.*\n)*it broke"):
        Runner().run(["sh", "-c", "echo it broke >&2; exit 3"], log=tmp_path / "log")
    assert "it broke" in (tmp_path / "log").read_text()
    with pytest.raises(BuildError, match="cannot start: no-such-tool"):
        Runner().run(["no-such-tool"], log=tmp_path / "log")
    with pytest.raises(BuildError, match="took longer than 0 s: sleep 60"):
        Runner().run(["sleep", "60"], log=tmp_path / "log", timeout=0.05)


def test_selection_by_name() -> None:
    everything = recipes()
    assert select(everything, []) == list(everything)
    chosen = {recipe.name for recipe in select(everything, ["kubernetes-1.36.3"])}
    assert {"kubernetes-1.36.3/kubelet", "part/kubernetes-1.36.3/kubelet", "part/debian-tree"} <= chosen
    assert not any("1.35" in name for name in chosen)
    with pytest.raises(RefusedError, match=r"unknown names \['kubelet'\]: use one of apt, busybox"):
        select(everything, ["kubelet"])
