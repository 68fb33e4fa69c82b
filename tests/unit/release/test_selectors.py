# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where versions stand, in every kind of manifest that has them; and where none is looked for."""

from __future__ import annotations

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import Declared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.selectors import (
    matches,
    may_have,
    occurrences,
    semver,
    shown,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.edit import apply
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.errors import YamlEditError

KUSTOMIZATION = """\
resources:
- https://github.com/x/thing//deploy?ref=v1.2&timeout=90s
- plain
images:
- name: ghcr.io/x/app
  newName: mirror.example.com/app
  newTag: "1.0"
- {name: other, digest: sha256:abc}
- name: nothing
"""
MANIFESTS = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: web}
spec:
  chart: {spec: {chart: web, version: 1.x}}
  values: {image: {tag: v7}, password: x}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {name: charts}
spec: {url: oci://x, ref: {tag: 3.1.0, digest: sha256:d}}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: lib}
spec: {url: ssh://x, ref: {branch: main, commit: 4be1c0d}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps}
spec: {images: [{name: app, newTag: v5}]}
---
apiVersion: fluxcd.controlplane.io/v1
kind: ResourceSet
metadata: {name: set}
spec: {inputs: [{name: a, tag: v1, replicas: 3}, {tenant: b, version: v2}]}
---
apiVersion: fluxcd.controlplane.io/v1
kind: ResourceSetInputProvider
metadata: {name: provider}
spec: {filter: {semver: ">=1"}, defaultValues: {tag: v9, host: x}}
---
apiVersion: argoproj.io/v1alpha1
kind: ApplicationSet
metadata: {name: many}
spec: {generators: [{list: {elements: [{cluster: one, version: 1.2.3}]}}]}
---
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: one}
spec: {source: {repoURL: x, targetRevision: v4}}
---
apiVersion: helm.cattle.io/v1
kind: HelmChart
metadata: {name: traefik}
spec: {chart: traefik, version: 27.0.2, set: {replicas: 2}}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {images: x}
---
kind: HelmRelease
metadata: {name: hidden}
spec: {chart: {spec: {version: "ENC[AES256_GCM,data:x]"}}}
---
kind: HelmRelease
metadata: {name: hidden}
spec: {chart: {spec: {version: 1.0.0}}}
sops: {mac: x}
"""


def test_a_kustomization() -> None:
    found = {
        one.selector: (one.label, one.kind, one.version)
        for one in occurrences("a/kustomization.yaml", KUSTOMIZATION.encode())
    }
    assert found == {
        "images[ghcr.io/x/app]": ("app", "image", (("newName", "mirror.example.com/app"), ("newTag", "1.0"))),
        "images[other]": ("other", "image", (("digest", "sha256:abc"),)),
        "resources[https://github.com/x/thing//deploy?timeout=90s]": ("deploy", "ref", (("ref", "v1.2"),)),
    }


def test_objects_of_flux_and_argo() -> None:
    declared = [Declared("HelmRelease", "web", ("spec", "values", "image", "tag"))]
    found = {one.selector: shown(one.version) for one in occurrences("x.yaml", MANIFESTS.encode(), declared)}
    assert found == {
        "HelmRelease/web chart": "1.x",
        "HelmRelease/web spec.values.image.tag": "v7",
        "OCIRepository/charts ref": "3.1.0@sha256:d",
        "GitRepository/lib ref": "4be1c0d",
        "Kustomization/apps images[app]": "v5",
        "ResourceSet/set inputs[a]": "v1",
        "ResourceSet/set inputs[1]": "v2",
        "ResourceSetInputProvider/provider filter": ">=1",
        "ResourceSetInputProvider/provider defaultValues": "v9",
        "ApplicationSet/many elements[one]": "1.2.3",
        "Application/one source": "v4",
        "HelmChart/traefik chart": "27.0.2",
    }


def test_every_occurrence_can_be_given_another_version() -> None:
    for path, text in (("kustomization.yaml", KUSTOMIZATION), ("x.yaml", MANIFESTS)):
        for one in occurrences(path, text.encode()):
            wanted = tuple((key, f"{value[:1]}9z") for key, value in one.version)
            after = apply(text.encode(), one.edits(wanted))
            (moved,) = [other for other in occurrences(path, after) if other.selector == one.selector]
            assert moved.version == wanted, one.selector
            assert apply(after, moved.edits(one.version)) == text.encode()


def test_patches_and_other_files_have_none() -> None:
    assert occurrences("deployment.yaml", b"kind: Deployment\nimages: [{name: x, newTag: v1}]\n") == []
    assert occurrences("kustomization.yaml", b"patches: [{patch: 'images: [{name: x, newTag: v1}]'}]\n") == []
    assert not may_have("README.md", b"images:")
    assert not may_have("a.yaml", b"kind: ConfigMap")
    assert may_have("Kustomization", b"images: []")
    assert may_have("a.yaml", b"kind: Other", [Declared("Other", "", ("spec", "x"))])


def test_what_cannot_be_read_names_the_file() -> None:
    with pytest.raises(YamlEditError, match=r"x\.yaml: line 1: it is no YAML"):
        occurrences("x.yaml", b"a: b: c")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("6.6.0", True),
        ("6.6.0@sha256:0123456789abcdef", True),
        ("sha256:0123456", True),
        ("sha256:01", False),
        ("6.6", False),
    ],
)
def test_versions_are_named_in_many_ways(wanted: str, *, found: bool) -> None:
    version = (("newName", "x"), ("newTag", "6.6.0"), ("digest", "sha256:0123456789abcdef"))
    assert matches(version, wanted) is found


def test_versions_are_ordered_as_semver_says() -> None:
    order = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "v1.0.0",
        "1.0.1",
        "1.10",
    ]
    keys = [semver(one) for one in order]
    assert None not in keys
    assert sorted(keys, key=lambda one: one or ((), 0, ())) == keys
    assert semver("latest") is None
    assert semver("1.0.0+build") == semver("1.0")
