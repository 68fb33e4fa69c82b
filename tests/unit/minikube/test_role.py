# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role gives to `minikube start` for each driver, and whom it runs Minikube as; templated as ansible-playbook does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLE = Path(__file__).parents[3] / "roles" / "minikube"
#: What every driver gets.
COMMON = ["--container-runtime=containerd", "--kubernetes-version=v1.36.3", "--apiserver-port=8443"]
SANS = ["--apiserver-ips=192.0.2.31", "--apiserver-names=m1.example.com"]
SIZES = ["--cpus=2", "--memory=4096mb"]


def template(name: str, **variables: Any) -> Any:
    """Return a variable of the role for a machine, at which SSH logs in as ada."""
    loader = DataLoader()
    read = [
        loader.load_from_file(str(ROLE / part / "main.yml"), trusted_as_template=True) for part in ("defaults", "vars")
    ]
    host = {
        "inventory_hostname": "m1.example.com",
        "stagecraft_kubernetes_version": "v1.36.3",
        "stagecraft_environment": "local",
        "minikube_certificate_sans": ["192.0.2.31"],
        "minikube__login": {"stdout": "ada"},
    }
    templar = Templar(loader, variables={**read[0], **host, **variables, **read[1]})
    return templar.template(read[1][name])


@pytest.mark.parametrize(
    ("driver", "more"),
    [
        ("docker", SIZES),
        ("podman", SIZES),
        ("kvm2", [*SIZES, "--disk-size=20000mb"]),
        (
            "ssh",
            ["--ssh-ip-address=192.0.2.77", "--ssh-user=eve", "--ssh-port=2222", "--ssh-key=/home/ada/.ssh/id_ed25519"],
        ),
        ("none", ["--preload=false", "--cache-images=false", "--force-systemd=true"]),
    ],
)
def test_each_driver_gets_what_it_takes_and_nothing_else(driver: str, more: list[str]) -> None:
    machine = {"address": "192.0.2.77", "user": "eve", "port": 2222, "key": "/home/ada/.ssh/id_ed25519"}
    found = template("minikube__arguments", minikube_driver=driver, minikube_ssh=machine)
    assert found == ["--force", f"--driver={driver}", *COMMON, *more, *SANS]


def test_the_machine_of_the_driver_ssh_has_defaults() -> None:
    found = template("minikube__arguments", minikube_driver="ssh", minikube_ssh={"address": "192.0.2.77"})
    assert [word for word in found if word.startswith("--ssh")] == [
        "--ssh-ip-address=192.0.2.77",
        "--ssh-user=root",
        "--ssh-port=22",
    ]


@pytest.mark.parametrize("driver", ["docker", "podman", "kvm2", "ssh", "none"])
def test_mirrors_settings_and_more_arguments_are_given_to_every_driver(driver: str) -> None:
    found = template(
        "minikube__arguments",
        minikube_driver=driver,
        minikube_ssh={"address": "192.0.2.77"},
        minikube_binary_mirror="https://mirror.example.com/dl.k8s.io/release",
        minikube_image_repository="mirror.example.com/k8s",
        minikube_extra_config=["kubelet.max-pods=60"],
        minikube_start_arguments=["--registry-mirror=https://mirror.example.com"],
    )
    assert [word for word in found if "mirror.example.com" in word or "extra-config" in word] == [
        "--binary-mirror=https://mirror.example.com/dl.k8s.io/release",
        "--image-repository=mirror.example.com/k8s",
        "--extra-config=kubelet.max-pods=60",
        "--registry-mirror=https://mirror.example.com",
    ]


@pytest.mark.parametrize(
    ("variables", "user"),
    [
        ({"minikube_driver": "docker"}, "ada"),
        ({"minikube_driver": "docker", "minikube_user": "eve"}, "eve"),
        # a variable says whom SSH is asked for, and the machine whom it let in
        ({"minikube_driver": "kvm2", "ansible_user": "someone"}, "ada"),
        ({"minikube_driver": "none"}, "root"),
        ({"minikube_driver": "none", "minikube__login": {"skipped": True}}, "root"),
    ],
)
def test_minikube_runs_as_whom_the_machine_has_let_in(
    variables: dict[str, Any], user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "of-the-controller")
    assert template("minikube__user", **variables) == user


@pytest.mark.parametrize("tasks", ["plan", "reset"])
def test_the_machine_is_asked_before_the_answer_is_used(tasks: str) -> None:
    first = yaml.safe_load((ROLE / "tasks" / f"{tasks}.yml").read_text())[0]
    assert first["ansible.builtin.import_tasks"] == "user.yml"
    (asks,) = yaml.safe_load((ROLE / "tasks" / "user.yml").read_text())
    assert (asks["become"], asks["check_mode"], asks["register"]) == (False, False, "minikube__login")
