# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line: ``build``, ``status``, ``key``, ``program``."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING

from tests.mirror import toolchain
from tests.mirror.build import Builder, Plan, Progress, carry_out, plan
from tests.mirror.errors import BuildError, RefusedError
from tests.mirror.keys import overall_key, step_keys
from tests.mirror.localprogram import LocalBuilder
from tests.mirror.programs import find_program
from tests.mirror.recipes import DebianPackages, GoPrograms, PauseProgram, Recipe, is_part, needs, recipes
from tests.mirror.run import Runner
from tests.mirror.store import LOCK_FILE, Store, default_layout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

FREE_BYTES = 16 << 30
"""What a cold build needs: Go's caches, parts and the mirror itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0 when all is well, 1 when something is missing or failed, 2 for a refusal."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if options.verb == "build":
            return _build(options.only, options.rebuild, options.jobs)
        if options.verb == "program":
            return _program(options.names)
        return _status() if options.verb == "status" else _key()
    except RefusedError as refusal:
        print(f"mirror: {refusal}", file=sys.stderr)
        return 2
    except BuildError as error:
        print(f"mirror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mirror: interrupted; what was finished is kept, the next call goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.mirror", description="Build the artefact mirror from package registries."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", help="build what is missing or out of date")
    build.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="an artefact, or all below NAME/ (repeatable)"
    )
    build.add_argument(
        "--rebuild", action="append", default=[], metavar="NAME", help="build it again although it is up to date"
    )
    build.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processors to use (default: all)"
    )
    verbs.add_parser("status", help="what the mirror holds and what is missing; status 1 when something is")
    verbs.add_parser("key", help="one digest of all inputs, for a cache of the mirror directory")
    program = verbs.add_parser("program", help="where programs are that images are made from, for tests that run them")
    program.add_argument("names", nargs="+", metavar="NAME", help="e.g. flux-2.9.4/source-controller, etcd-3.6.8/etcd")
    return parser


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def select(everything: Sequence[Recipe], names: Sequence[str]) -> list[Recipe]:
    """Choose the artefacts that ``names`` mean, with the parts they are made from; all when there are no names."""
    if not names:
        return list(everything)
    if unknown := [name for name in names if not any(_matches(recipe, name) for recipe in everything)]:
        known = ", ".join(sorted({recipe.name.split("/")[0] for recipe in everything if not is_part(recipe)}))
        raise RefusedError(
            f"wanted artefacts, found unknown names {unknown}: use one of {known} or a name that `status` shows"
        )
    by_name = {recipe.name: recipe for recipe in everything}
    chosen = {recipe.name for recipe in everything if any(_matches(recipe, name) for name in names)}
    queue = list(chosen)
    while queue:
        for need in needs(by_name[queue.pop()]):
            if need not in chosen:
                chosen.add(need)
                queue.append(need)
    return [recipe for recipe in everything if recipe.name in chosen]


def _matches(recipe: Recipe, name: str) -> bool:
    """Whether ``name`` means this recipe: an artefact, the part it is made from, or a group of them."""
    own = recipe.name.removeprefix("part/")
    return own == name or own.startswith(f"{name}/")


def _build(only: Sequence[str], rebuild: Sequence[str], jobs: int) -> int:
    if jobs < 1:
        raise RefusedError(f"wanted --jobs of at least 1, found {jobs}")
    toolchain.refuse_other_machines()
    everything = recipes()
    chosen = select(everything, [*only, *rebuild] if only else [])
    again = frozenset(recipe.name for recipe in everything if any(_matches(recipe, name) for name in rebuild))
    if rebuild:
        select(everything, rebuild)
    layout = default_layout()
    store = Store(layout)
    runner = Runner()
    store.refuse_foreign_mirror()
    with store.exclusive():
        store.remove_leftovers()
        go = toolchain.find_go(layout) or toolchain.install_go(layout, runner)
        keys = step_keys(everything, go.version)
        todo = plan(chosen, keys, store, again)
        artefacts = [recipe.name for recipe in everything if not is_part(recipe)]
        built_by = f"tests/mirror with {go.version}"
        store.forget_unknown({recipe.name for recipe in everything})
        if not todo.steps:
            store.write_lock(artefacts, built_by)
            print(f"mirror: up to date, {layout.mirror}")
            return 0
        _prepare_machine(todo, store, runner)
        count = sum(not is_part(step) for step in todo.steps)
        print(f"mirror: {count} artefacts to build into {layout.mirror} with {go.version}, {jobs} jobs", flush=True)
        builder = Builder(store, keys, runner, LocalBuilder(go.program, layout.go_cache, jobs, runner))
        failed = carry_out(
            todo,
            builder.run,
            progress=Progress(len(todo.steps)),
            jobs=jobs,
            published=lambda _: store.write_lock(artefacts, built_by),
            stop=runner.stop,
        )
    for name, reason in failed.items():
        print(f"\nmirror: {name} FAILED: {reason}", file=sys.stderr)
    if failed:
        print(
            f"\nmirror: {len(failed)} of {len(todo.steps)} steps failed; call again to go on from here", file=sys.stderr
        )
        return 1
    print(f"mirror: complete, {layout.mirror / LOCK_FILE}")
    return 0


def _prepare_machine(todo: Plan, store: Store, runner: Runner) -> None:
    """See that the machine has the packages and the room that the steps need."""
    compiles = any(
        isinstance(step, PauseProgram) or (isinstance(step, GoPrograms) and step.static_cgo) for step in todo.steps
    )
    downloads = any(isinstance(step, DebianPackages) for step in todo.steps)
    if (compiles or downloads) and (missing := toolchain.missing_packages()):
        toolchain.install_packages(missing, runner, store.layout.work / "logs" / "build-packages.log")
    if any(isinstance(step, GoPrograms) for step in todo.steps) and not store.layout.go_cache.exists():
        free = shutil.disk_usage(store.layout.work).free
        if free < FREE_BYTES:
            wanted = f"wanted {FREE_BYTES >> 30} GiB free at {store.layout.cache}, found {free >> 30}"
            raise RefusedError(f"{wanted}: make room, or set STAGECRAFT_CACHE to a directory on a larger disk")


def _status() -> int:
    layout = default_layout()
    store = Store(layout)
    go = toolchain.find_go(layout)
    everything = recipes()
    keys = step_keys(everything, go.version if go else "")
    complete = True
    print(f"{layout.mirror}: built with {go.version if go else 'a Go that is not here yet'}")
    for recipe in everything:
        if is_part(recipe):
            continue
        stamp = store.stamp(recipe.name)
        current = store.is_current(recipe.name, keys[recipe.name])
        complete = complete and current
        state = "ready" if current else "missing" if stamp is None else "out of date"
        size = sum(file.size for file in stamp.files.values()) / 1e6 if stamp else 0.0
        print(f"  {recipe.name:48} {state:12} {size:8.1f} MB")
    return 0 if complete else 1


def _program(names: Sequence[str]) -> int:
    for name in names:
        print(find_program(name))
    return 0


def _key() -> int:
    go = toolchain.find_go(default_layout())
    print(overall_key(step_keys(recipes(), go.version if go else toolchain.go_package())))
    return 0
