# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sandbox's story writes, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.oci_archive import check_archive
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import model

from tests.mirror.oci import FileEntry, ImageConfig, write_archive
from tools import sandbox, story

HOSTS = """\
all:
  hosts: {cp1: {ansible_host: 10.0.0.2}, w1: {ansible_host: 10.0.0.3}, forge: {ansible_host: 10.0.0.4}}
  vars: {sandbox_name: NAME, ansible_ssh_private_key_file: /x/id_ed25519, ansible_ssh_common_args: -o A=b -o C=d}
  children: {control_plane: {hosts: {cp1: {}}}, workers: {hosts: {w1: {}}}, git_hosts: {hosts: {forge: {}}}}
"""


def cluster(directory: Path, name: str) -> story.Cluster:
    file = directory / f"{name}.yml"
    file.write_text(HOSTS.replace("NAME", name))
    return story.Cluster.of(file, "~/.kube/config")


def test_a_cluster_is_read_from_its_inventory(tmp_path: Path) -> None:
    found = cluster(tmp_path, "default")
    assert (found.name, found.context) == ("sandbox", "sandbox")
    assert (found.forge, found.forge_directory) == ("10.0.0.4", Path("/x/forge"))
    assert found.hosts == {"cp1": "10.0.0.2", "w1": "10.0.0.3"}
    assert found.ssh[-4:] == ("-o", "A=b", "-o", "C=d")
    assert cluster(tmp_path, "two").name == "sandbox-two"
    staging = cluster(tmp_path, "two, stagecraft_sandbox_environment: staging")
    assert (staging.name, staging.context) == ("staging", "sandbox-two-staging")
    with pytest.raises(story.StoryError, match="Run `make sandbox`"):
        story.Cluster.of(tmp_path / "none.yml", "")


@pytest.mark.parametrize("count", [1, 3])
def test_one_cluster_follows_all_environments_and_three_one_each(tmp_path: Path, count: int) -> None:
    clusters = [cluster(tmp_path, f"c{number}") for number in range(count)]
    environments = [story.Environment(name, clusters[n % count]) for n, name in enumerate(story.ORDER)]
    listed = {f"clusters/{one.name}/kustomization.yaml": "resources:\n  - stages.yaml\n" for one in clusters}
    files = story.beginning(environments, listed, "3.0.0")
    followed = []
    for one in clusters:
        text = files[f"clusters/{one.name}/story.yaml"]
        assert text is not None
        paths = [document["spec"]["path"] for document in yaml.safe_load_all(text)]
        assert len(paths) == len(story.ORDER) / count
        followed += paths
        assert "- story.yaml" in str(files[f"clusters/{one.name}/kustomization.yaml"])
    assert followed == [f"./clusters/{name}/shop" for name in story.ORDER]
    assert [name for name, text in files.items() if text is None] == [
        f"clusters/{name}/gitops-holds.yaml" for name in story.ORDER
    ]
    described = str(files[".stagecraft/releases.yaml"]).encode()
    assert [one.namespaces for one in model.load(described).environments.values()] == [
        (f"shop-{name}",) for name in story.ORDER
    ]
    again = story.beginning(environments, {path: str(files[path]) for path in listed}, "3.0.0")
    assert again == files


def test_versions_of_a_telling_were_never_told_before() -> None:
    assert story.Versions.of(1) == story.Versions("1.0.0", "1.1.0", "1.2.0")
    assert story.Versions.of(2).first == "2.0.0"


def test_an_image_of_its_own_for_each_version(tmp_path: Path) -> None:
    base = tmp_path / "base.tar"
    write_archive(base, "docker.io/library/busybox:1", ImageConfig("amd64"), {"bin/busybox": FileEntry(b"x", 0o755)})
    digests = {story.image(v, base, tmp_path / v, broken=v == "1.2.0") for v in ("1.0.0", "1.1.0", "1.2.0")}
    assert len(digests) == 3
    for version in ("1.0.0", "1.2.0"):
        check_archive(tmp_path / version, f"registry.sandbox.test/shop:{version}", "amd64")
    assert b"no payment service" in (tmp_path / "1.2.0").read_bytes()
    assert b"no payment service" not in (tmp_path / "1.1.0").read_bytes()


def test_the_sandbox_ends_with_it() -> None:
    stages = sandbox.cluster_stages({"staging": "s.yml", "production": "p.yml"})
    assert [one.name for one in stages] == [
        "set-up staging",
        "again staging",
        "set-up production",
        "again production",
        "apart",
        "story",
    ]
    run = ["ansible-playbook", "-i", "p.yml"]
    assert stages[2].commands == [[*run, "playbooks/sandbox-secrets.yml"], [*run, "playbooks/setup-production.yml"]]
    assert stages[3].commands == [[*run, "playbooks/setup-production.yml"]]
    assert stages[-1].commands[0][-3:] == ["s.yml", "s.yml", "p.yml"]
    assert sandbox.cluster_stages({"": "hosts.yml"})[-1].commands[0][-3:] == ["hosts.yml"] * 3


def test_the_inventories_of_a_sandbox_are_found(tmp_path: Path) -> None:
    assert sandbox.inventories(tmp_path) == {"": "inventories/sandbox/hosts.yml"}
    for name in ("production", "qa", "local"):
        (tmp_path / "inventories/sandbox" / name).mkdir(parents=True)
        (tmp_path / "inventories/sandbox" / name / "hosts.yml").touch()
    assert [*sandbox.inventories(tmp_path)] == ["local", "production", "qa"]


def test_a_value_is_changed_at_its_source_alone(tmp_path: Path) -> None:
    vault, password = tmp_path / "vault.yml", VaultSecret(b"p")
    vault.write_bytes(VaultLib().encrypt(yaml.safe_dump({"hello_token": "old", "seal_mac_key": "k"}), password))
    vault.chmod(0o600)
    story.put_into_vault(vault, b"p", "hello_token", "canary")
    assert b"canary" not in vault.read_bytes()
    opened = VaultLib([("default", password)]).decrypt(vault.read_bytes())
    assert yaml.safe_load(opened) == {"hello_token": "canary", "seal_mac_key": "k"}
    assert vault.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [vault]


@pytest.mark.parametrize("form", ["canary-0815", "Y2FuYXJ5LTA4MTU="])
def test_a_value_is_seen_in_what_was_said(form: str) -> None:
    with pytest.raises(story.StoryError, match="the output of x shows the secret") as raised:
        story.keep_secret("canary-0815", {"the output of x": f"a\n{form}\n", "Git": "b"})
    assert "canary-0815" not in str(raised.value)
    story.keep_secret("canary-0815", {"the output of x": "a"})
