# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who decides which sha256 an artefact must have, and what happens when two disagree."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import Entry, load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.digests import expected_sha256, parse_checksum
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import (
    DigestMismatch,
    DigestUnknown,
    MissingArtifact,
    SourceError,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import (
    BUNDLE_LOCK,
    MIRROR_LOCK,
    Lock,
    LockedFile,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Source
from hypothesis import given
from hypothesis import strategies as st

A, B, C = "a" * 64, "b" * 64, "c" * 64
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
KUBELET = dataclasses.replace(load_catalogue().resolve("kubelet", "1.36.3", "amd64"), sha256=A)
K3S = load_catalogue().resolve("k3s", None, "amd64")
PAUSE = load_catalogue().resolve("pause", None, "amd64")


def _root(tmp_path: Path, entry: Entry, sha256: str, name: str = MIRROR_LOCK, **head: Any) -> Path:
    files = {entry.path: {"sha256": sha256, "size": 1}}
    (tmp_path / name).write_text(json.dumps({"schema": 1, **head, "files": files}), encoding="utf-8")
    return tmp_path


def test_upstream_is_held_against_the_catalogue() -> None:
    assert expected_sha256(KUBELET, Source.upstream(), Lock()) == A


def test_what_was_locked_once_is_not_asked_again() -> None:
    lock = Lock(files={K3S.path: LockedFile(C)})
    assert expected_sha256(K3S, Source.upstream(), lock) == C


def test_catalogue_and_lock_must_agree() -> None:
    lock = Lock(Path("x.json"), files={KUBELET.path: LockedFile(B)})
    with pytest.raises(DigestMismatch, match=f"catalogue has sha256 {A}, the lock file x.json {B}"):
        expected_sha256(KUBELET, Source.upstream(), lock)


def test_an_image_that_was_never_pulled_has_no_digest_yet() -> None:
    with pytest.raises(DigestUnknown):
        expected_sha256(PAUSE, Source.upstream(), Lock())


def test_a_built_mirror_is_refused_unless_trusted(tmp_path: Path) -> None:
    root = _root(tmp_path, KUBELET, B, origin="built", built_by="go1.26.8")
    with pytest.raises(SourceError, match=r"built from sources \(go1\.26\.8\).*artifacts_trust_built_mirror: true"):
        expected_sha256(KUBELET, Source.mirror(root), Lock())
    lock = Lock()
    assert expected_sha256(KUBELET, Source.mirror(root, trust_built=True), lock) == B
    assert lock.files == {}, "a built mirror's hashes are its own affair and change when it is built again"


def test_trusting_a_built_mirror_does_not_loosen_a_downloaded_one(tmp_path: Path) -> None:
    root = _root(tmp_path, KUBELET, B, origin="downloaded")
    with pytest.raises(DigestMismatch, match=f"catalogue has sha256 {A}, mirror {root} {B}"):
        expected_sha256(KUBELET, Source.mirror(root, trust_built=True), Lock())


def test_a_downloaded_mirror_that_agrees_is_used(tmp_path: Path) -> None:
    assert expected_sha256(KUBELET, Source.mirror(_root(tmp_path, KUBELET, A, origin="downloaded")), Lock()) == A


def test_a_mirror_that_does_not_say_what_it_is_counts_as_downloaded(tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch):
        expected_sha256(KUBELET, Source.mirror(_root(tmp_path, KUBELET, B)), Lock())


def test_a_downloaded_mirror_must_agree_with_what_was_locked_earlier(tmp_path: Path) -> None:
    source = Source.mirror(_root(tmp_path, PAUSE, B, origin="downloaded"))
    lock = Lock()
    assert expected_sha256(PAUSE, source, lock) == B
    assert lock.files[PAUSE.path].sha256 == B
    with pytest.raises(DigestMismatch, match=f"{C}.*{B}"):
        expected_sha256(PAUSE, source, Lock(files={PAUSE.path: LockedFile(C)}))


def test_another_image_digest_than_the_catalogues_is_refused(tmp_path: Path) -> None:
    entry = load_catalogue().resolve("kube-router", None, "amd64")
    files = {entry.path: {"sha256": B, "digest": "sha256:" + C}}
    (tmp_path / MIRROR_LOCK).write_text(json.dumps({"schema": 1, "origin": "downloaded", "files": files}))
    with pytest.raises(DigestMismatch, match=f"image digest {entry.digest}.*{C}"):
        expected_sha256(entry, Source.mirror(tmp_path), Lock())


def test_what_a_source_does_not_hold_is_named(tmp_path: Path) -> None:
    root = _root(tmp_path, KUBELET, A, origin="downloaded")
    with pytest.raises(MissingArtifact, match=rf"mirror {root} does not hold it.*{PAUSE.path}"):
        expected_sha256(PAUSE, Source.mirror(root), Lock())


def test_a_mirror_without_lock_file_serves_what_the_catalogue_knows(tmp_path: Path) -> None:
    assert expected_sha256(KUBELET, Source.mirror(tmp_path), Lock()) == A
    with pytest.raises(MissingArtifact, match="no lock file"):
        expected_sha256(PAUSE, Source.mirror(tmp_path), Lock())


def test_a_mirrors_copy_of_the_checksum_file_is_read(tmp_path: Path) -> None:
    assert K3S.checksum_url is not None
    file = tmp_path / K3S.checksum_url.removeprefix("https://")
    file.parent.mkdir(parents=True)
    file.write_text(f"{B}  k3s-airgap-images-amd64.tar.zst\n{C}  k3s\n")
    lock = Lock()
    assert expected_sha256(K3S, Source.mirror(tmp_path), lock) == C
    assert lock.files[K3S.path].checked == f"upstream's checksum file {K3S.checksum_url}"


def test_a_bundle_needs_its_lock_file_and_the_same_trust(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="never finished"):
        expected_sha256(KUBELET, Source.bundle(tmp_path), Lock())
    _root(tmp_path, KUBELET, B, BUNDLE_LOCK, origin="built")
    with pytest.raises(SourceError, match="was built from sources"):
        expected_sha256(KUBELET, Source.bundle(tmp_path), Lock())
    assert expected_sha256(KUBELET, Source.bundle(tmp_path, trust_built=True), Lock()) == B


def test_a_source_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such directory"):
        expected_sha256(KUBELET, Source.mirror(tmp_path / "none"), Lock())


def test_checksums_match_by_exact_name() -> None:
    text = f"{A}  k3s-armhf\n{B}  k3s-arm64\n{C} *./k3s\n"
    assert parse_checksum(text, "k3s", "x") == C
    assert parse_checksum(text, "k3s-arm64", "x") == B
    with pytest.raises(MissingArtifact, match="no line for a file called exactly 'k3s-arm'"):
        parse_checksum(text, "k3s-arm", "x")


def test_a_bare_hash_counts_only_when_it_is_alone() -> None:
    assert parse_checksum(f"{A.upper()}\n", "kubelet", "x") == A
    with pytest.raises(MissingArtifact):
        parse_checksum(f"{A}\n{B}\n", "kubelet", "x")


def test_two_hashes_for_one_name_are_refused() -> None:
    with pytest.raises(DigestMismatch, match=f"{A} and {B}"):
        parse_checksum(f"{A}  f\n{B}  f\n", "f", "x")
    assert parse_checksum(f"{A}  f\n{A}  f\n", "f", "x") == A


NAMES = st.from_regex(r"[A-Za-z0-9._+-]{1,20}", fullmatch=True)


@given(
    st.dictionaries(NAMES, HEX, min_size=1), st.sampled_from(["{1}  {0}", "{1} *{0}", "SHA256 ({0}) = {1}", "{1}\t{0}"])
)
def test_every_line_of_a_checksum_file_is_found(lines: dict[str, str], form: str) -> None:
    text = "\n".join(form.format(name, digest) for name, digest in lines.items())
    for name, digest in lines.items():
        assert parse_checksum(text, name, "x") == digest


@given(st.text())
def test_no_text_is_taken_for_a_checksum_by_accident(text: str) -> None:
    try:
        found = parse_checksum(text, "kubelet", "x")
    except (MissingArtifact, DigestMismatch):
        return
    assert found in text.lower()
