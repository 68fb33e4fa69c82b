# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""reset.yml asks for the environment's name, and leaves a host on which the next set-up works; that one is looked at closely."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.cluster.guard import Guard, watched
from tests.integration.cluster.lab import JOIN_TOKEN, SETUP, Lab, not_ready, until

RESET = "playbooks/reset.yml"


@pytest.fixture(scope="module")
def guard(lab: Lab) -> Iterator[Guard]:
    """Looks on while the cluster is taken away and made again."""
    with watched(lab, lab.nodes) as (directory, watch):
        yield Guard(lab, directory, watch)


def test_wrong_name_is_refused(lab: Lab) -> None:
    before = lab.pids("cp1")
    run = lab.playbook(RESET, "-e", "reset_environment=production")
    assert run.rc != 0
    assert f"is not the name of this inventory's environment ({lab.context})" in " ".join(run.output.split())
    assert not run.changed
    assert lab.pids("cp1") == before


def test_right_name_leaves_a_bare_host(lab: Lab, guard: Guard) -> None:
    guard.learn(lab.secrets_of("cp1"))
    guard.learn_kubeconfig()
    run = guard.playbook(RESET, reset_environment=lab.context).must_work()
    assert set(run.changed) == {"cp1"}
    assert not {"kubelet", "kube-apiserver", "etcd"} & set(lab.processes("cp1"))
    left = lab.ssh(
        "cp1", "find /etc/kubernetes/pki /etc/kubernetes/manifests /var/lib/etcd /etc/kubernetes -maxdepth 1 -type f"
    )
    assert not left
    lab.playbook(RESET, "-e", f"reset_environment={lab.context}").must_not_change()


def test_set_up_works_again_and_shows_no_secret(lab: Lab, guard: Guard) -> None:
    """With the fullest output there is: no private key, no encryption key, no bootstrap token, neither of this cluster nor of the last."""
    run = guard.playbook(SETUP, vaulted=guard.canary).must_work()
    until("the node is Ready", 60, lambda: not not_ready(lab))
    secrets = lab.secrets_of("cp1")
    assert len(secrets) > 100, "too few secrets were found to say anything"
    guard.learn(secrets)
    guard.learn_kubeconfig()
    guard.must_not_show()
    assert not JOIN_TOKEN.findall(run.output)
    lab.setup().must_not_change()
