# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that change under a running cluster, each with no more disturbance than it needs."""

from __future__ import annotations

import dataclasses
import ssl
import subprocess
from pathlib import Path

from tests.integration.cluster.lab import Lab, not_ready, until

NAME = "api.single.sandbox.test"
FLAG = {"name": "event-ttl", "value": "2h0m0s"}


def served_names(address: str, directory: Path) -> str:
    """The names in the certificate that an API server shows."""
    shown = directory / "served.crt"
    shown.write_text(ssl.get_server_certificate((address, 6443)))
    done = subprocess.run(
        ["openssl", "x509", "-in", str(shown), "-noout", "-ext", "subjectAltName"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_certificate_name_is_added_without_a_restart(lab: Lab, tmp_path: Path) -> None:
    changed = dataclasses.replace(lab, variables={"kubeadm_certificate_sans": [NAME]})
    before = lab.pids("cp1")
    address = lab.hosts["cp1"]
    assert NAME not in served_names(address, tmp_path)
    run = changed.setup().must_work()
    assert run.changed, "the run says that nothing was changed"
    assert NAME in served_names(address, tmp_path)
    assert lab.pids("cp1") == before
    changed.setup().must_not_change()


def test_flag_restarts_the_api_server_alone(lab: Lab) -> None:
    settings = {"kubeadm_certificate_sans": [NAME], "kubeadm_cluster_config": {"apiServer": {"extraArgs": [FLAG]}}}
    changed = dataclasses.replace(lab, variables=settings)
    before = lab.pids("cp1")
    assert changed.setup().must_work().changed
    after = lab.pids("cp1")
    assert [name for name in before if after.get(name) != before[name]] == ["kube-apiserver"]
    arguments = lab.read("cp1", f"/proc/{after['kube-apiserver'][0]}/cmdline").decode().split("\0")
    assert f"--{FLAG['name']}={FLAG['value']}" in arguments
    until("the node is Ready", 60, lambda: not not_ready(lab))
    changed.setup().must_not_change()
    assert lab.pids("cp1") == after
