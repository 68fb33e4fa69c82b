# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files by which Flux manages itself, and the one line that names them."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import state, sync
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from hypothesis import given
from hypothesis import strategies as st

FOLLOWS = state.Sync("ssh://git@git.example.com/infra/environments.git", "main", "clusters/staging")
FILES = sync.own_files("clusters/staging", "flux-system", [{"kind": "A"}], [{"kind": "B"}])
HOME = "clusters/staging/flux-system"


def test_the_root_objects_are_named_like_the_namespace() -> None:
    source, root = sync.objects("flux-system", FOLLOWS, sync.Intervals(), secret=True)
    assert source["spec"] == {
        "interval": "1m0s",
        "ref": {"branch": "main"},
        "url": FOLLOWS.url,
        "secretRef": {"name": "flux-system"},
    }
    assert root["spec"]["path"] == "./clusters/staging"
    assert root["spec"]["prune"] is True
    assert {item["metadata"]["name"] for item in (source, root)} == {"flux-system"}
    assert "secretRef" not in sync.objects("flux-system", FOLLOWS, sync.Intervals(), secret=False)[0]["spec"]


def test_an_empty_repository_gets_all_three_files() -> None:
    changes = sync.changes("clusters/staging", "flux-system", FILES, {})
    assert set(changes) == {f"{HOME}/{name}.yaml" for name in ("gotk-components", "gotk-sync", "kustomization")}
    present = {path: text for path, text in changes.items() if text is not None}
    assert sync.changes("clusters/staging", "flux-system", FILES, present) == {}


def test_the_admins_patches_stay() -> None:
    own = {f"{HOME}/kustomization.yaml": b"resources: [gotk-components.yaml]\npatches: []\n", **FILES}
    assert sync.changes("clusters/staging", "flux-system", FILES, own) == {}


def test_the_environment_names_the_directory() -> None:
    present = {
        **FILES,
        f"{HOME}/kustomization.yaml": b"x",
        "clusters/staging/kustomization.yaml": b"resources:\n- a.yaml\n",
    }
    changes = sync.changes("clusters/staging", "flux-system", FILES, present)
    assert changes == {"clusters/staging/kustomization.yaml": b"resources:\n- flux-system\n- a.yaml\n"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("resources:\n  - a.yaml\n", "resources:\n  - flux-system\n  - a.yaml\n"),
        ("# c\nresources: # why\n# d\n\n- a\nx: 1\n", "# c\nresources: # why\n# d\n\n- flux-system\n- a\nx: 1\n"),
        ("resources:\n- ./flux-system/\n", None),
        ("resources:\n- flux-system\n", None),
    ],
)
def test_one_line_is_added_and_nothing_else_changes(before: str, after: str | None) -> None:
    assert sync.with_resource(before, "flux-system", "x") == after


@given(st.lists(st.sampled_from(["a.yaml", "b", "../c"]), min_size=1), st.sampled_from(["", "  "]), st.booleans())
def test_the_added_line_is_a_resource(resources: list[str], indent: str, commented: bool) -> None:
    lines = "".join(f"{indent}- {name}\n" for name in resources)
    text = f"kind: Kustomization\nresources:\n{'# first' + chr(10) if commented else ''}{lines}patches: []\n"
    added = sync.with_resource(text, "flux-system", "x")
    assert added is not None
    assert yaml.safe_load(added) == {**yaml.safe_load(text), "resources": ["flux-system", *resources]}
    assert sync.with_resource(added, "flux-system", "x") is None


@pytest.mark.parametrize("text", ["resources: [a.yaml]\n", "bases: []\n", "- a\n", "resources: {}\n", ""])
def test_what_has_no_list_is_named(text: str) -> None:
    with pytest.raises(FluxError, match=r"clusters/x/kustomization\.yaml has to name flux-system among its resources"):
        sync.with_resource(text, "flux-system", "clusters/x/kustomization.yaml")
    with pytest.raises(FluxError, match="is no YAML"):
        sync.with_resource("a: [", "flux-system", "x")


def test_flux_kustomizations_are_counted_and_plain_ones_are_not() -> None:
    ours = b"apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n"
    assert sync.kustomizations([ours + b"---\n" + ours, b"apiVersion: kustomize.config.k8s.io/v1beta1\n", ours]) == 3


@pytest.mark.parametrize("path", ["clusters/staging", "./clusters/staging", "clusters/staging/", "/clusters//staging"])
def test_a_path_has_one_form(path: str) -> None:
    assert state.clean_path(path) == "clusters/staging"


@pytest.mark.parametrize("who", ["ada:s3cret", "s3cret"])
def test_what_somebody_elses_flux_logs_in_with_is_not_shown(who: str) -> None:
    shown = str(state.Sync(f"https://{who}@example.com/x.git", "main", "clusters/x"))
    assert shown == "https://(hidden)@example.com/x.git, branch main, path clusters/x"
