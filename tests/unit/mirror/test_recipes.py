# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recipes fit together, and with the layout of the mirror."""

from __future__ import annotations

import re

from tests.mirror.keys import HERE, step_keys
from tests.mirror.oci import mirror_path
from tests.mirror.recipes import (
    FLUX,
    KUBERNETES,
    Archive,
    FluxManifests,
    GoPrograms,
    Image,
    LocalProgram,
    ModuleFiles,
    PauseProgram,
    PlainFile,
    TreeArchive,
    is_part,
    needs,
    recipes,
)

ALL = recipes()
FLUX_SETS = {recipe.module_set for recipe in ALL if isinstance(recipe, FluxManifests)}


def test_names_are_unique_and_parts_come_first() -> None:
    names = [recipe.name for recipe in ALL]
    assert len(names) == len(set(names))
    for number, recipe in enumerate(ALL):
        for need in needs(recipe):
            assert need in names[:number], f"{recipe.name} stands before {need}"
            assert is_part(ALL[names.index(need)])
    assert len(step_keys(ALL, "go1.26.8")) == len(ALL)


def test_no_two_artefacts_write_the_same_file() -> None:
    paths = [recipe.path for recipe in ALL if isinstance(recipe, PlainFile | Archive | TreeArchive)]
    paths += [mirror_path(name, "amd64") for recipe in ALL if isinstance(recipe, Image) for name in recipe.references]
    assert len(paths) == len(set(paths))


def test_each_part_is_used() -> None:
    used = {need for recipe in ALL for need in needs(recipe)}
    assert {recipe.name for recipe in ALL if is_part(recipe)} == used


def test_module_sets_hold_the_versions_that_the_recipes_name() -> None:
    for recipe in ALL:
        if (
            not isinstance(recipe, GoPrograms | LocalProgram | PauseProgram | ModuleFiles)
            or recipe.module_set in FLUX_SETS
        ):
            continue
        text = (HERE / "go" / recipe.module_set / "go.mod").read_text()
        _, _, version = recipe.module_set.rpartition("-")
        assert (HERE / "go" / recipe.module_set / "go.sum").exists()
        if isinstance(recipe, GoPrograms) and recipe.copied is not None:
            assert recipe.copied.version == f"v{version}"
            assert f"{recipe.copied.module} => ./src" in text
            continue
        assert re.search(rf"^\s*\S+ v{re.escape(version)}( |$)", text, re.MULTILINE), recipe.name
    used = {recipe.module_set for recipe in ALL if isinstance(recipe, GoPrograms | LocalProgram | PauseProgram)}
    assert {path.name for path in (HERE / "go").iterdir()} == used


def test_the_set_of_flux_holds_the_controllers_of_the_release() -> None:
    for module_set in FLUX_SETS:
        text = (HERE / "go" / module_set / "go.mod").read_text()
        for name, version in FLUX.controllers:
            assert re.search(rf"^\s*github.com/fluxcd/{name} v{re.escape(version)}( |$)", text, re.MULTILINE), name


def test_flux_images_carry_the_release_as_its_manifests_call_it() -> None:
    references = {name for recipe in ALL if isinstance(recipe, Image) for name in recipe.references}
    assert {f"ghcr.io/fluxcd/{name}:v{version}" for name, version in FLUX.controllers} <= references
    manifests = next(recipe for recipe in ALL if isinstance(recipe, FluxManifests))
    assert [name for name, _ in manifests.components] == [name for name, _ in FLUX.controllers]


def test_programs_are_tools_of_their_module_set() -> None:
    for recipe in ALL:
        if isinstance(recipe, GoPrograms):
            text = (HERE / "go" / recipe.module_set / "go.mod").read_text()
            for _, package in recipe.packages:
                assert re.search(rf"^(tool )?\s*{re.escape(package)}$", text, re.MULTILINE), package


def test_each_release_has_the_images_its_kubeadm_is_asked_for() -> None:
    references = {name for recipe in ALL if isinstance(recipe, Image) for name in recipe.references}
    for release in KUBERNETES:
        kubeadm = next(recipe for recipe in ALL if recipe.name == f"part/kubernetes-{release.version}/kubeadm")
        assert isinstance(kubeadm, GoPrograms)
        listed = next(probe for probe in kubeadm.probes if probe.arguments[:2] == ("config", "images"))
        assert set(listed.expects) <= references
        assert len(listed.expects) == 7
