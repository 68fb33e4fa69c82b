# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Artefacts on the host: stamps, replacement, several places, images."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import errors
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.system import Completed, System

from .fake_host import FakeHost, digest, tar_of

BINARY = b"tool 1"
TOOL = {"name": "tool", "version": "1", "install": "binary"}
TOOL_PATH = "/opt/stagecraft/tool/1/tool"
STAMP = "/var/lib/stagecraft/artifacts/tool@1.json"
ARCHIVE = tar_of({"x/bin/a": "A", "x/bin/b": "B"})
KIT = {"name": "kit", "version": "1", "install": "archive", "strip": 1}
IMAGE = {"name": "pause", "version": "3", "install": "image"}
REFERENCE = "registry.k8s.io/pause:3"


def _install(host: FakeHost, artifact: dict[str, Any], data: bytes, reference: str | None = None) -> dict[str, Any]:
    host.push(data)
    return host.apply({"artifacts": [artifact]}, {f"{artifact['name']}/{artifact['version']}": digest(data, reference)})


def _plan(host: FakeHost, artifact: dict[str, Any], data: bytes, reference: str | None = None) -> list[dict[str, str]]:
    digests = {f"{artifact['name']}/{artifact['version']}": digest(data, reference)}
    plan: list[dict[str, str]] = host.apply({"artifacts": [artifact]}, digests, check=True)["plan"]
    return plan


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read for a digest."""
    paths: list[str] = []
    original = System.sha256

    def count(self: System, path: str) -> str:
        paths.append(path)
        return original(self, path)

    monkeypatch.setattr(System, "sha256", count)
    return paths


def test_a_no_op_hashes_nothing(host: FakeHost, hashed: list[str]) -> None:
    _install(host, TOOL, BINARY)
    _install(host, KIT, ARCHIVE)
    hashed.clear()
    assert _plan(host, TOOL, BINARY) == _plan(host, KIT, ARCHIVE) == []
    assert hashed == []


def test_a_touched_file_is_hashed_once_and_remembered(host: FakeHost, hashed: list[str]) -> None:
    _install(host, TOOL, BINARY)
    os.utime(host.path(TOOL_PATH), (1, 1))
    hashed.clear()
    before = host.read(STAMP)
    assert _plan(host, TOOL, BINARY) == []
    assert host.read(STAMP) == before, "check mode writes nothing"
    assert host.apply({"artifacts": [TOOL]}, {"tool/1": digest(BINARY)})["plan"] == []
    assert hashed == [TOOL_PATH, TOOL_PATH]
    assert _plan(host, TOOL, BINARY) == []
    assert len(hashed) == 2


def test_the_stamp_holds_what_identifies_the_file(host: FakeHost) -> None:
    _install(host, TOOL, BINARY)
    status = host.path(TOOL_PATH).stat()
    assert json.loads(host.read(STAMP))["files"] == {
        "tool": {
            "sha256": digest(BINARY)[next(iter(digest(BINARY)))]["sha256"],
            "size": len(BINARY),
            "mtime_ns": status.st_mtime_ns,
            "inode": status.st_ino,
            "mode": 0o755,
        }
    }


def test_a_binary_without_its_stamp_is_recognised(host: FakeHost) -> None:
    _install(host, TOOL, BINARY)
    host.path(STAMP).unlink()
    assert _plan(host, TOOL, BINARY) == []


@pytest.mark.parametrize("stamp", ["", "{", "[]", '{"schema": 2}', '{"schema": 1, "files": []}'])
def test_a_damaged_stamp_counts_as_none(host: FakeHost, stamp: str) -> None:
    _install(host, TOOL, BINARY)
    _install(host, KIT, ARCHIVE)
    host.write(STAMP, stamp)
    host.write("/var/lib/stagecraft/artifacts/kit@1.json", stamp)
    assert _plan(host, TOOL, BINARY) == []
    assert [change["kind"] for change in _plan(host, KIT, ARCHIVE)] == ["artifact"]


@pytest.mark.parametrize("damage", ["content", "mode", "gone", "link"])
def test_a_changed_binary_is_installed_again(host: FakeHost, damage: str) -> None:
    _install(host, TOOL, BINARY)
    path = host.path(TOOL_PATH)
    if damage == "mode":
        path.chmod(0o644)
    else:
        path.unlink()
    if damage == "content":
        path.write_bytes(b"tool X")
    if damage == "link":
        path.symlink_to("/bin/sh")
    assert _install(host, TOOL, BINARY)["changed"]
    assert path.read_bytes() == BINARY
    assert path.stat().st_mode & 0o777 == 0o755
    assert _plan(host, TOOL, BINARY) == []


def test_one_changed_file_of_an_archive_is_seen(host: FakeHost) -> None:
    _install(host, KIT, ARCHIVE)
    host.write("/opt/stagecraft/kit/1/bin/b", "X")
    assert "kit/1/bin/b was changed" in _plan(host, KIT, ARCHIVE)[0]["before"]
    _install(host, KIT, ARCHIVE)
    assert host.read("/opt/stagecraft/kit/1/bin/b") == "B"


def test_another_build_of_the_same_version_replaces_the_directory_as_a_whole(host: FakeHost) -> None:
    _install(host, KIT, ARCHIVE)
    assert "another build" in _plan(host, KIT, tar_of({"x/bin/a": "A2"}))[0]["before"]
    _install(host, KIT, tar_of({"x/bin/a": "A2"}))
    assert sorted(os.listdir(host.path("/opt/stagecraft/kit/1/bin"))) == ["a"]
    assert os.listdir(host.path("/opt/stagecraft/kit")) == ["1"]


def test_other_members_or_stripping_install_again(host: FakeHost) -> None:
    _install(host, KIT, ARCHIVE)
    assert _plan(host, {**KIT, "members": ["bin/a"]}, ARCHIVE) != []
    assert _plan(host, {**KIT, "strip": 2}, ARCHIVE) != []


def test_a_directory_keeps_what_others_put_there(host: FakeHost) -> None:
    host.write("/opt/cni/bin/flannel", "theirs")
    _install(host, {**KIT, "strip": 2, "directory": "/opt/cni/bin"}, ARCHIVE)
    assert sorted(os.listdir(host.path("/opt/cni/bin"))) == ["a", "b", "flannel"]


def test_one_artifact_may_go_to_two_places(host: FakeHost) -> None:
    both = [KIT, {**KIT, "directory": "/srv/kit"}]
    host.push(ARCHIVE)
    state = {"artifacts": both}
    digests = {"kit/1": digest(ARCHIVE)}
    host.apply({"artifacts": both[:1]}, digests)
    host.push(ARCHIVE)
    host.apply(state, digests)
    assert host.apply(state, digests)["plan"] == []


def test_an_archive_with_bad_paths_installs_nothing(host: FakeHost) -> None:
    with pytest.raises(errors.HostStateError, match="artifact kit/1: refused"):
        _install(host, KIT, tar_of({"x/good": "g", "x/../../../../evil": "e"}))
    assert not host.path("/opt/stagecraft/kit/1").exists()
    assert os.listdir(host.path("/opt/stagecraft/kit")) == []
    assert not host.path("/evil").exists()


def test_a_file_that_is_no_program_is_not_executable(host: FakeHost) -> None:
    _install(host, {**TOOL, "install": "none"}, BINARY)
    assert host.path(TOOL_PATH).stat().st_mode & 0o777 == 0o644


def test_no_checksum_for_this_architecture_is_refused_but_may_be_planned(host: FakeHost) -> None:
    digests = {"tool/1": {"other": {"sha256": "0" * 64}}}
    assert host.apply({"artifacts": [TOOL]}, digests, check=True)["unmet"]
    with pytest.raises(
        errors.ProblemsError, match=r"no checksum is known for this host's architecture .*known are other"
    ):
        host.apply({"artifacts": [TOOL]}, digests)


def test_a_file_too_large_for_the_disk_names_both_sizes(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(System, "_write_new", staticmethod(full))
    with pytest.raises(errors.HostStateError, match=r"no space left for /etc/big: 3 bytes needed, \d+ bytes free"):
        host.apply({"files": [{"path": "/etc/big", "content": "big"}]})


# -- images ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def containerd(host: FakeHost) -> FakeHost:
    """The same host with containerd."""
    host.write("/usr/local/bin/ctr", "")
    host.set_unit("containerd.service", active="active")
    return host


def test_an_image_is_imported_once(containerd: FakeHost) -> None:
    data = f"IMAGE {REFERENCE} 1".encode()
    assert _install(containerd, IMAGE, data, REFERENCE)["changed"]
    assert _plan(containerd, IMAGE, data, REFERENCE) == []
    assert containerd.state["imports"] == [REFERENCE]


def test_another_archive_with_the_same_tag_is_imported_again(containerd: FakeHost) -> None:
    _install(containerd, IMAGE, f"IMAGE {REFERENCE} 1".encode(), REFERENCE)
    data = f"IMAGE {REFERENCE} 2".encode()
    assert "another archive" in _plan(containerd, IMAGE, data, REFERENCE)[0]["before"]
    _install(containerd, IMAGE, data, REFERENCE)
    assert containerd.state["imports"] == [REFERENCE, REFERENCE]
    assert _plan(containerd, IMAGE, data, REFERENCE) == []


def test_an_image_that_somebody_removed_or_brought_is_imported(containerd: FakeHost) -> None:
    data = f"IMAGE {REFERENCE} 1".encode()
    containerd.replace_state({**containerd.state, "images": [REFERENCE]})
    assert "of unknown origin" in _plan(containerd, IMAGE, data, REFERENCE)[0]["before"]
    _install(containerd, IMAGE, data, REFERENCE)
    containerd.replace_state({**containerd.state, "images": []})
    assert _plan(containerd, IMAGE, data, REFERENCE)[0]["before"] == "absent"


def test_without_containerd_all_images_are_planned(host: FakeHost) -> None:
    change = _plan(host, IMAGE, b"IMAGE x", REFERENCE)[0]
    assert (change["kind"], change["before"]) == ("image", "unknown, containerd not running")


def test_an_archive_with_another_image_in_it_is_told(containerd: FakeHost) -> None:
    with pytest.raises(errors.HostStateError, match=rf"has no {REFERENCE}; ctr said: unpacking other:1"):
        _install(containerd, IMAGE, b"IMAGE other:1 1", REFERENCE)
    assert not containerd.path("/var/lib/stagecraft/images.json").exists()


def test_a_failing_import_is_quoted(containerd: FakeHost) -> None:
    containerd.answers["/usr/local/bin/ctr -n k8s.io images import"] = Completed(1, "", "unexpected media type")
    with pytest.raises(errors.HostStateError, match=r"could not be imported .*unexpected media type"):
        _install(containerd, IMAGE, b"IMAGE x", REFERENCE)


def test_images_are_listed_once_for_all_and_only_when_declared(containerd: FakeHost) -> None:
    containerd.apply({"directories": [{"path": "/x"}]})
    assert containerd.commands == []
    images = [{"name": f"i{number}", "version": "1", "install": "image"} for number in range(8)]
    digests = {f"i{number}/1": digest(b"x", f"r/i{number}:1") for number in range(8)}
    containerd.apply({"artifacts": images}, digests, check=True)
    assert len(containerd.commands) == 1


def test_images_of_several_declarations_are_remembered_together(containerd: FakeHost) -> None:
    other = {"name": "etcd", "version": "3", "install": "image"}
    _install(containerd, IMAGE, f"IMAGE {REFERENCE} 1".encode(), REFERENCE)
    _install(containerd, other, b"IMAGE r/etcd:3 1", "r/etcd:3")
    assert _plan(containerd, IMAGE, f"IMAGE {REFERENCE} 1".encode(), REFERENCE) == []
    assert _plan(containerd, other, b"IMAGE r/etcd:3 1", "r/etcd:3") == []
