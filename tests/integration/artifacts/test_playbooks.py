# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks as an admin runs them: a mirror, a bundle of it, and a set-up's artefacts from it without a network."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.cache import sha256_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import (
    BUNDLE_LOCK,
    MIRROR_LOCK,
    Lock,
    LockedFile,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.oci_archive import (
    Blob,
    digest_of,
    write_archive,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .servers import Mirror

ROOT = Path(__file__).resolve().parents[3]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ENTRIES = load_catalogue().environment("kubeadm", "1.36.3", ["amd64"], {"cni": "flannel", "network_policy": "none"})


def _image(file: Path, reference: str) -> None:
    config = json.dumps({"architecture": "amd64", "os": "linux", "of": reference}).encode()
    manifest = {"config": {"digest": digest_of(config), "size": len(config)}, "layers": []}
    body = json.dumps(manifest).encode()
    descriptor = {"mediaType": MANIFEST, "digest": digest_of(body), "size": len(body)}
    write_archive(file, reference, descriptor, [Blob(digest_of(body), body), Blob(digest_of(config), config)])


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A mirror that was built from sources, with everything but a network policy engine."""
    root = tmp_path / "mirror"
    lock = Lock(root / MIRROR_LOCK, origin="built", built_by="the test")
    for entry in ENTRIES:
        file = root / entry.path
        file.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "image":
            _image(file, entry.reference)
        else:
            file.write_bytes(random.Random(entry.key).randbytes(20_000))
        lock.record(entry.path, LockedFile(sha256_of(file), file.stat().st_size))
    lock.write()
    return root


class Environment:
    """An inventory of its own, and ansible-playbook on it."""

    def __init__(self, root: Path, **variables: Any) -> None:
        self.inventory = root / "inventory"
        self.inventory.mkdir(parents=True)
        groups = {"control_plane": {"hosts": {"cp1": None}}, "workers": {"hosts": {"w1": None}}}
        tree = {"all": {"children": groups}}
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(tree))
        (self.inventory / "group_vars").mkdir()
        everything = {
            "stagecraft_environment": "test",
            "stagecraft_distribution": "kubeadm",
            "stagecraft_kubernetes_version": "1.36.3",
            "artifacts_cache": str(root / "cache"),
            "artifacts_bundle_packages": False,
            **variables,
        }
        (self.inventory / "group_vars" / "all.yml").write_text(yaml.safe_dump(everything))

    def run(self, playbook: Path, *arguments: str, prefix: Sequence[str] = (), fails: bool = False) -> str:
        """Run a playbook and return what it printed, every run of spaces as one."""
        command = [*prefix, str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self.inventory)]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        finished = subprocess.run(
            [*command, str(playbook), *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        text = finished.stdout + finished.stderr
        assert (finished.returncode != 0) == fails, text
        return re.sub(r" +", " ", text)


BUNDLE = ROOT / "playbooks" / "bundle.yml"


def _tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def _setup(root: Path, state: str) -> Path:
    """A play that takes the role as set-ups do, and then fetches all that the environment needs."""
    play = {
        "hosts": "all",
        "gather_facts": False,
        "roles": ["stagecraft.gitops.artifacts"],
        "tasks": [
            {
                "name": "Take everything",
                "stagecraft.gitops.artifacts": {
                    "state": state,
                    "distribution": "kubeadm",
                    "options": {"cni": "flannel", "network_policy": "auto"},
                    "artifact_source": "{{ artifacts_source }}",
                },
                "run_once": True,
                "register": "result",
            },
            {
                "name": "Write the result down",
                "ansible.builtin.copy": {
                    "content": "{{ result | to_json }}",
                    "dest": str(root / "result.json"),
                    "mode": "0600",
                },
                "delegate_to": "localhost",
                "run_once": True,
                "check_mode": False,
            },
        ],
    }
    file = root / "setup.yml"
    file.write_text(yaml.safe_dump([play]))
    return file


def test_a_bundle_is_made_once_and_used_without_a_network(built: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "stick" / "production"
    environment = Environment(tmp_path / "here", artifacts_mirror=str(built), artifacts_trust_built_mirror=True)
    destination = ("-e", f"artifacts_destination={bundle}")

    checked = environment.run(BUNDLE, *destination, "--check", "--diff")
    assert "changed=1 " in checked
    assert f"+ {ENTRIES[0].path}" in checked
    assert not bundle.exists()
    assert not (tmp_path / "here" / "cache").exists()

    assert "changed=1 " in environment.run(BUNDLE, *destination)
    assert _tree(bundle) == {BUNDLE_LOCK, *(entry.path for entry in ENTRIES)}
    assert "changed=0 " in environment.run(BUNDLE, *destination)
    assert "changed=0 " in environment.run(BUNDLE, *destination, "--check")

    far = Environment(tmp_path / "there", artifacts_bundle=str(bundle), artifacts_trust_built_mirror=True)
    setup = _setup(tmp_path / "there", "fetched")
    without_network = _without_network()
    far.run(setup, prefix=without_network)
    result = json.loads((tmp_path / "there" / "result.json").read_text())
    assert result["changed"] is True
    assert {item["name"] for item in result["artifacts"]} == {entry.name for entry in ENTRIES}
    for item in result["artifacts"]:
        assert sha256_of(Path(item["path"])) == item["sha256"]
    far.run(setup, prefix=without_network)
    assert json.loads((tmp_path / "there" / "result.json").read_text())["changed"] is False


def test_a_bundle_needs_to_know_for_which_release_its_packages_are(built: Path, tmp_path: Path) -> None:
    environment = Environment(
        tmp_path / "here",
        artifacts_mirror=str(built),
        artifacts_trust_built_mirror=True,
        artifacts_bundle_packages=True,
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
    )
    destination = ("-e", f"artifacts_destination={tmp_path / 'bundle'}")
    # the hosts are this machine, so they answer with its release
    text = environment.run(BUNDLE, *destination, "--check", "--diff")
    assert re.search(r"\+ packages/[a-z]+/[a-z]+/amd64\.tar", text), text
    unreachable = ("-e", json.dumps({"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}))
    text = environment.run(BUNDLE, *destination, *unreachable, fails=True)
    assert "no host could be asked which release it runs. Set artifacts_package_releases" in text
    named = ("-e", json.dumps({"artifacts_package_releases": ["debian/trixie"], "artifacts_architectures": ["amd64"]}))
    text = environment.run(BUNDLE, *destination, *unreachable, *named, "--check", "--diff")
    assert "+ packages/debian/trixie/amd64.tar" in text
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_with_packages_is_made_once(built: Path, tmp_path: Path) -> None:
    environment = Environment(
        tmp_path / "here",
        artifacts_mirror=str(built),
        artifacts_trust_built_mirror=True,
        artifacts_bundle_packages=True,
        artifacts_package_releases=["debian/bookworm"],
    )
    bundle = tmp_path / "bundle"
    assert "changed=1 " in environment.run(BUNDLE, "-e", f"artifacts_destination={bundle}")
    with tarfile.open(bundle / "packages" / "debian" / "bookworm" / "amd64.tar") as tar:
        names = {name.partition("_")[0] for name in tar.getnames()}
    assert {"conntrack", "haproxy", "libc6", "Packages"} <= names
    assert "changed=0 " in environment.run(BUNDLE, "-e", f"artifacts_destination={bundle}")


def _without_network() -> list[str]:
    """The start of a command that runs in a network namespace without any interface that is up."""
    prefix = [shutil.which("unshare") or "unshare", "--net"]
    tried = subprocess.run(
        [*prefix, sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 1), 1)"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unreachable" not in tried.stderr:
        pytest.skip(f"network namespaces cannot be made here: {tried.stderr.strip().splitlines()[-1:]}")
    return prefix


def test_a_bundle_needs_a_destination(built: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "here", artifacts_mirror=str(built), artifacts_trust_built_mirror=True)
    assert "artifacts_destination" in environment.run(BUNDLE, fails=True)
    text = environment.run(BUNDLE, "-e", "artifacts_destination=/x", "-e", "artifacts_jobs=many", fails=True)
    assert "Validating arguments against arg spec" in text
    assert "artifacts_jobs" in text


def test_check_mode_says_what_would_be_downloaded(built: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "here", artifacts_mirror=str(built), artifacts_trust_built_mirror=True)
    setup = _setup(tmp_path / "here", "fetched")
    text = environment.run(setup, "--check", "--diff")
    assert f"+ {ENTRIES[0].key} from {built / ENTRIES[0].path}" in text
    result = json.loads((tmp_path / "here" / "result.json").read_text())
    assert result["changed"] is True
    assert [step["target"] for step in result["plan"]] == [entry.key for entry in ENTRIES]
    assert not (tmp_path / "here" / "cache").exists()


def test_a_built_mirror_is_refused_before_anything_happens(built: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "here", artifacts_mirror=str(built))
    text = environment.run(_setup(tmp_path / "here", "fetched"), fails=True)
    assert "artifacts_trust_built_mirror: true" in text
    assert not (tmp_path / "here" / "cache").exists()


def test_everything_that_a_mirror_lacks_is_named_before_anything_happens(built: Path, tmp_path: Path) -> None:
    lock = Lock.load(built / MIRROR_LOCK)
    for name in ("runc", "coredns"):
        lock.forget(next(entry.path for entry in ENTRIES if entry.name == name))
    lock.write()
    environment = Environment(
        tmp_path / "here",
        artifacts_mirror=str(built),
        artifacts_trust_built_mirror=True,
        cni_network_policy="kube-router",
    )
    text = environment.run(_setup(tmp_path / "here", "resolved"), fails=True)
    for name in ("runc", "coredns", "kube-router"):
        assert f"{name} " in text
    assert "3 of " in text
    assert not (tmp_path / "here" / "cache").exists()


def test_the_lock_file_is_not_taken_for_an_inventory(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "here")
    defaults = yaml.safe_load((ROOT / "roles" / "artifacts" / "defaults" / "main.yml").read_text())
    file = Path(defaults["artifacts_lock"].replace("{{ inventory_dir }}", str(environment.inventory)))
    lock = Lock.load(file)
    lock.record(ENTRIES[0].path, LockedFile("a" * 64))
    lock.save()
    assert environment.inventory in file.parents
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(environment.inventory), "--graph"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert finished.stderr == ""
    assert re.findall(r"@(\w+)", finished.stdout) == ["all", "ungrouped", "control_plane", "workers"]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"stagecraft_kubernetes_version": "1.36.99"}, "version '1.36.99' is not in the catalogue"),
        ({"artifacts_versions": {"containred": "1.0"}}, "did you mean containerd"),
        ({"containerd_version": "9.9.9"}, "containerd: version '9.9.9' is not in the catalogue"),
        ({"artifacts_jobs": 99}, "from 1 to 32"),
        ({"artifacts_bundle": "/nowhere"}, "both a mirror"),
        ({"artifacts_architectures": ["arm64"]}, "does not hold it"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    built: Path, tmp_path: Path, variables: dict[str, Any], words: str
) -> None:
    environment = Environment(
        tmp_path / "here", artifacts_mirror=str(built), artifacts_trust_built_mirror=True, **variables
    )
    assert words in environment.run(_setup(tmp_path / "here", "resolved"), fails=True)


def test_a_mirror_over_http_serves_a_set_up(built: Path, mirror: Mirror, tmp_path: Path) -> None:
    for path in _tree(built):
        mirror.put(path, (built / path).read_bytes())
    environment = Environment(tmp_path / "here", artifacts_mirror=mirror.url, artifacts_trust_built_mirror=True)
    setup = _setup(tmp_path / "here", "fetched")
    assert f"[{len(ENTRIES)}/{len(ENTRIES)}]" in environment.run(setup)
    asked = len(mirror.log)
    assert f"/{len(ENTRIES)}]" not in environment.run(setup)
    assert {path for path, _headers in mirror.log[asked:]} == {f"/{MIRROR_LOCK}"}
