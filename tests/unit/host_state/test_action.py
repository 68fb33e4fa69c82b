# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half: digests, what is announced, room, the order of module runs and pushes."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.action import host_state as action
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import options, room
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.errors import HostStateError
from ansible_collections.stagecraft.gitops.plugins.modules import host_state as module
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts import oci_archive
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.fetch import Fetched
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import BUNDLE_LOCK, Lock, LockedFile
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Settings
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.host_state import wanted

from .fake_host import ARCH, FakeHost, tar_of

KUBELET = "dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet"
PLUGINS = "github.com/containernetworking/plugins/releases/download/v1.9.1/cni-plugins-linux-amd64-v1.9.1.tgz"
PAUSE = "registry.k8s.io/pause/3.10.2/amd64.oci.tar"
GIB = 1 << 30


def _image(file: Path, reference: str) -> bytes:
    config = b'{"architecture":"amd64","os":"linux"}'
    part = {"digest": oci_archive.digest_of(config), "size": len(config)}
    manifest = json.dumps({"config": part, "layers": []}).encode()
    descriptor = {"digest": oci_archive.digest_of(manifest), "size": len(manifest)}
    blobs = [oci_archive.Blob(oci_archive.digest_of(data), data) for data in (config, manifest)]
    oci_archive.write_archive(file, reference, descriptor, blobs)
    return file.read_bytes()


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror of three artefacts, for amd64 only."""
    members = load_catalogue().resolve("cni-plugins", "1.9.1", "amd64").members or ("bridge",)
    blobs = {
        KUBELET: b"kubelet",
        PLUGINS: tar_of({f"./{name}": name for name in members}),
        PAUSE: _image(tmp_path / "image", "registry.k8s.io/pause:3.10.2"),
    }
    root = tmp_path / "mirror"
    for path, data in blobs.items():
        file = root / path
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
    files = {path: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for path, data in blobs.items()}
    lock = {"schema": 1, "origin": "built", "built_by": "a test", "created": "2026-01-01T00:00:00Z", "files": files}
    (root / "stagecraft-mirror.lock.json").write_text(json.dumps(lock))
    return root


@pytest.fixture
def source(mirror: Path, tmp_path: Path) -> dict[str, Any]:
    """The option artifact_source for that mirror."""
    return {
        "mirror": str(mirror),
        "trust_built_mirror": True,
        "cache": str(tmp_path / "cache"),
        "lock": str(tmp_path / "lock.json"),
    }


def _resolved(state: dict[str, Any], source: dict[str, Any]) -> wanted.Wanted:
    found = wanted.resolve(state, None, load_catalogue())
    settings = Settings.from_options(source)
    wanted.expect_all(found, settings, Lock.load(settings.lock))
    return found


def test_digests_come_from_the_source_for_each_architecture_that_it_has(source: dict[str, Any]) -> None:
    state = {"artifacts": [{"name": "kubelet", "version": "v1.36.3", "install": "binary"}]}
    found = _resolved(state, source)
    assert state["artifacts"][0]["version"] == "1.36.3"
    sha256 = hashlib.sha256(b"kubelet").hexdigest()
    assert found.digests == {"kubelet/1.36.3": {"amd64": {"sha256": sha256, "size": 7, "reference": None}}}
    (reason,) = found.reasons("no checksum is known for this host's architecture arm64; known are amd64")
    assert "does not hold it" in reason
    assert found.reasons("no checksum is known for this host's architecture amd64; known are arm64") == []


def test_stripping_and_members_come_from_the_catalogue_unless_given(source: dict[str, Any]) -> None:
    entry = load_catalogue().resolve("containerd", "2.3.4", "amd64")
    state: dict[str, Any] = {"artifacts": [{"name": "containerd", "version": "2.3.4", "install": "archive"}]}
    wanted.resolve(state, None, load_catalogue())
    assert state["artifacts"][0]["strip"] == entry.strip
    assert state["artifacts"][0]["members"] == list(entry.members)
    state = {"artifacts": [{"name": "containerd", "version": "2.3.4", "install": "archive", "strip": 0, "members": []}]}
    wanted.resolve(state, None, load_catalogue())
    assert (state["artifacts"][0]["strip"], state["artifacts"][0]["members"]) == (0, [])


def test_everything_that_cannot_be_resolved_is_told_at_once() -> None:
    artifacts = [
        {"name": "kubelett", "version": "1.36.3", "install": "binary"},
        {"name": "kubelet", "version": "0.1", "install": "binary"},
        {"name": "kubelet", "version": "1.36.3", "install": "image"},
    ]
    with pytest.raises(
        HostStateError, match=r"(?s)did you mean kubelet.*'0\.1' is not in the catalogue.*install is image, but"
    ):
        wanted.resolve({"artifacts": artifacts}, "amd64", load_catalogue())


def test_room_is_counted_per_file_system() -> None:
    disk = {
        "state": {"device": 1, "free_bytes": GIB},
        "store": {"device": 1, "free_bytes": GIB},
        "images": {"device": 2, "free_bytes": 10 * GIB},
        "/opt/cni/bin": {"device": 1, "free_bytes": GIB},
    }
    small = [room.Load("a", "binary", 100 << 20), room.Load("b", "archive", 50 << 20, 200 << 20, "/opt/cni/bin")]
    assert room.shortages(small, disk) == []
    images = [room.Load("i", "image", 900 << 20)]
    assert room.shortages(images, disk) == []
    (sentence,) = room.shortages([*small, *images], disk)
    needed = (100 + 250 + 900) << 20
    assert sentence == (
        f"the file system of /var/lib/stagecraft, /opt/stagecraft, /opt/cni/bin has {GIB} bytes free, "
        f"{needed + room.MARGIN} bytes are needed ({needed} for artefacts, {room.MARGIN} as a margin)"
    )


def test_a_binary_needs_its_size_twice_only_across_file_systems() -> None:
    def disk(store: int) -> dict[str, dict[str, int]]:
        return {
            "state": {"device": 1, "free_bytes": GIB},
            "store": {"device": store, "free_bytes": 1},
            "images": {"device": 1, "free_bytes": GIB},
        }

    load = [room.Load("a", "binary", 100)]
    assert len(room.shortages(load, disk(2))) == 1
    assert room.shortages([room.Load("a", "image", 100)], disk(2)) == []


def test_unpacked_size_of_archives(tmp_path: Path) -> None:
    file = tmp_path / "archive"
    file.write_bytes(gzip.compress(b"x" * 12345))
    assert wanted.unpacked_size(file) == 12345
    file.write_bytes(b"tar" * 10)
    assert wanted.unpacked_size(file) == 90


def test_the_options_are_documented_as_they_are() -> None:
    def compare(documented: dict[str, Any], spec: dict[str, Any], where: str) -> None:
        assert set(documented) == set(spec), where
        for name, text in documented.items():
            entry = spec[name]
            for key in ("type", "default", "choices", "elements"):
                assert text.get(key) == entry.get(key), f"{where}.{name}: {key}"
            assert text.get("required", False) == entry.get("required", False), f"{where}.{name}"
            if "options" in entry:
                compare(text["suboptions"], entry["options"], f"{where}.{name}")

    compare(yaml.safe_load(module.DOCUMENTATION)["options"], options.argument_spec(), "")


def test_examples_are_valid_declarations() -> None:
    for task in yaml.safe_load(module.EXAMPLES):
        from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import spec

        state = task["stagecraft.gitops.host_state"]["state"]
        wanted.resolve(state, "amd64", load_catalogue())
        spec.parse(state)


def test_options_are_shown_without_secrets() -> None:
    shown = options.without_contents(
        {"state": {"files": [{"path": "/a", "content": "s3cr3t", "sensitive": True}, {"content": "x"}]}}
    )
    assert "s3cr3t" not in repr(shown)
    assert shown["state"]["files"][1] == {"content": "x"}


# -- the action on a fake host ---------------------------------------------------------------------------------------


class _Task:
    """What the action asks of a task."""

    action = "stagecraft.gitops.host_state"
    async_val = 0
    check_mode = False
    args: dict[str, Any]


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, host: FakeHost, source: dict[str, Any]) -> Run:
    """Run the action; the engine runs on the fake host, files are put there by hand. run.log lists what happened."""
    log: list[str] = []

    class OnFakeHost(action.ActionModule):
        free: int | None = None

        def run_engine(self, engine: Any, options: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
            log.append("engine")
            try:
                result = host.apply(
                    options["state"],
                    options.get("digests"),
                    self.check_mode,
                    repositories=options.get("package_repositories"),
                )
            except HostStateError as error:
                return {"failed": True, "msg": str(error)}
            if self.free is not None:
                result["disk"] = {name: {**values, "free_bytes": self.free} for name, values in result["disk"].items()}
            return result

        def _push(self, fetched: Mapping[str, Fetched], task_vars: Mapping[str, Any]) -> dict[str, int]:
            log.append(f"push {len(fetched)}")
            for file in fetched.values():
                host.push(file.path.read_bytes())
            return {"files": len(fetched), "bytes": 1}

    def run_action(state: dict[str, Any], *, check: bool = False, free: int | None = None) -> dict[str, Any]:
        plugin = OnFakeHost.__new__(OnFakeHost)
        plugin.free = free
        plugin._task = _Task()
        plugin._task.check_mode = check
        plugin._task.args = {"state": state, "artifact_source": source}
        log.clear()
        return plugin.act(plugin._options(), {})

    run_action.log = log  # type: ignore[attr-defined]
    return run_action


STATE: dict[str, Any] = {
    "artifacts": [
        {"name": "kubelet", "version": "1.36.3", "install": "binary", "links": {"/usr/local/bin/kubelet": "kubelet"}},
        {"name": "cni-plugins", "version": "1.9.1", "install": "archive", "directory": "/opt/cni/bin"},
    ],
}


def test_a_push_lies_between_two_runs_and_a_no_op_is_one_run(run: Any, host: FakeHost) -> None:
    first = run(STATE)
    assert run.log == ["engine", "push 2", "engine"]
    assert first["changed"]
    assert [entry["kind"] for entry in first["plan"][:2]] == ["fetch", "fetch"]
    assert first["pushed"]["files"] == 2
    assert host.read("/opt/stagecraft/kubelet/1.36.3/kubelet") == "kubelet"
    second = run(STATE)
    assert run.log == ["engine"]
    assert (second["changed"], second["plan"]) == (False, [])
    assert "disk" not in second


def test_check_mode_says_what_would_be_fetched_and_fetches_nothing(run: Any, host: FakeHost, tmp_path: Path) -> None:
    before = host.snapshot()
    result = run(STATE, check=True)
    assert run.log == ["engine"]
    assert host.snapshot() == before
    assert result["plan"][0]["after"].startswith("would fetch ")
    assert result["plan"][0]["after"].endswith("kubelet (0.0 MB)")
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "lock.json").exists()


def test_a_host_without_room_is_refused_before_the_push(run: Any, host: FakeHost) -> None:
    with pytest.raises(
        HostStateError, match=r"nothing was pushed: the file system of .* has 1000 bytes free, \d+ bytes are needed"
    ):
        run(STATE, free=1000)
    assert run.log == ["engine"]
    assert not host.path("/var/lib/stagecraft").exists()


def test_a_host_of_another_architecture_is_told_what_the_mirror_lacks(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.facts.ARCHITECTURES",
        dict.fromkeys(["x86_64", "aarch64"], "arm64"),
    )
    result = run(STATE)
    assert result["failed"]
    assert "no checksum is known for this host's architecture arm64" in result["msg"]
    assert "kubelet 1.36.3 (arm64)" in result["msg"]
    assert "does not hold it" in result["msg"]


def test_a_corrupted_artefact_of_the_mirror_never_reaches_the_host(run: Any, host: FakeHost, mirror: Path) -> None:
    (mirror / KUBELET).write_bytes(b"kubeleX")
    with pytest.raises(Exception, match="sha256"):
        run(STATE)
    assert run.log == ["engine"]
    assert not host.path("/opt").exists()


def test_images_are_resolved_with_their_reference(run: Any, host: FakeHost) -> None:
    host.write("/usr/local/bin/ctr", "")
    host.set_unit("containerd.service", active="active")
    state = {"artifacts": [{"name": "pause", "version": "3.10.2", "install": "image"}]}
    assert run(state)["changed"]
    assert host.state["images"] == ["registry.k8s.io/pause:3.10.2"]
    assert not run(state)["changed"]


def test_a_declaration_that_cannot_be_used_contacts_nobody(run: Any) -> None:
    with pytest.raises(HostStateError, match="must be an absolute path"):
        run({"directories": [{"path": "x"}]})
    with pytest.raises(HostStateError, match="did you mean kubelet"):
        run({"artifacts": [{"name": "kubelett", "version": "1", "install": "binary"}]})
    assert run.log == []


def test_options_that_do_not_exist_are_all_named(run: Any) -> None:
    with pytest.raises(Exception, match="misspelt"):
        run({"misspelt": [], "directories": []})


def test_without_artifacts_the_source_is_not_looked_at(run: Any, source: dict[str, Any]) -> None:
    source["mirror"] = "/no/such/mirror"
    assert run({"directories": [{"path": "/srv/x"}]})["changed"]


def test_the_packages_of_a_bundle_are_pushed_like_artefacts(
    run: Any, host: FakeHost, source: dict[str, Any], tmp_path: Path
) -> None:
    bundle, data = tmp_path / "bundle", tar_of({"Packages": ""})
    path = f"packages/debian/bookworm/{ARCH}.tar"
    (bundle / path).parent.mkdir(parents=True)
    (bundle / path).write_bytes(data)
    lock = Lock(bundle / BUNDLE_LOCK, origin="downloaded")
    lock.record(path, LockedFile(hashlib.sha256(data).hexdigest(), len(data)))
    lock.write()
    source.update(mirror="", bundle=str(bundle))
    announced = run({"packages": ["chrony"]}, check=True)
    assert run.log == ["engine"]
    assert [entry["kind"] for entry in announced["plan"]] == ["fetch", "packages"]
    with pytest.raises(HostStateError, match=r"no room .*packages of debian/bookworm"):
        run({"packages": ["chrony"]}, free=len(data))
    done = run({"packages": ["chrony"]})
    assert run.log == ["engine", "push 1", "engine"]
    assert done["changed"]
    assert not run({"packages": ["chrony"]})["changed"]
    assert run.log == ["engine"]


def test_a_bundle_without_packages_leaves_them_to_the_hosts_own_sources(
    run: Any, source: dict[str, Any], tmp_path: Path
) -> None:
    Lock(tmp_path / "bundle" / BUNDLE_LOCK, origin="downloaded").write()
    source.update(mirror="", bundle=str(tmp_path / "bundle"))
    assert run({"packages": ["chrony"]})["changed"]
    assert run.log == ["engine"]
