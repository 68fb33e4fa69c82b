# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kube_wait's engine against real controllers."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import wait
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

from tests.integration.controlplane.control_plane import ControlPlane, send
from tests.integration.controlplane.site import deployment

HOME = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "waiting"}}


def deployed(name: str) -> wait.Wanted:
    return wait.Wanted(Ref("apps", "Deployment", "waiting", name), "apps/v1")


def test_what_becomes_ready_is_seen_at_once(session: Session) -> None:
    send(session, [HOME])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait.wait, session, [deployed("web"), deployed("two")], "current", 20.0)
        time.sleep(0.5)
        send(session, [yaml.safe_load(deployment(name, "waiting")) for name in ("web", "two")])
        outcome = waiting.result()
    assert outcome.ok, wait.summary(outcome)
    assert outcome.seconds < 8


def test_a_deployment_past_its_deadline_ends_the_wait_with_its_pod(session: Session) -> None:
    send(session, [HOME])
    manifest = yaml.safe_load(deployment("never", "waiting", "example.com/app:missing"))
    manifest["spec"]["progressDeadlineSeconds"] = 4  # a busy machine takes a second or two to start the pod
    send(session, [manifest])
    outcome = wait.wait(session, [deployed("never")], "current", 20.0)
    assert not outcome.ok
    assert outcome.seconds < 10
    said = wait.summary(outcome)
    assert "waiting is of no use" in said
    assert "Deployment waiting/never: Failed: ProgressDeadlineExceeded" in said
    assert "ImagePullBackOff" in said


def test_absence_is_waited_for(session: Session) -> None:
    send(session, [HOME, yaml.safe_load(deployment("leaves", "waiting"))])
    assert wait.wait(session, [deployed("leaves")], "current", 10.0).ok
    not_yet = wait.wait(session, [deployed("leaves")], "absent", 0.0)
    assert not not_yet.ok
    session.api().request("DELETE", "/apis/apps/v1/namespaces/waiting/deployments/leaves")
    assert wait.wait(session, [deployed("leaves")], "absent", 10.0).ok


def test_a_restart_of_the_api_server_is_lived_through(plane: ControlPlane) -> None:
    with plane.session() as session:
        send(session, [HOME])
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait.wait, session, [deployed("late")], "current", 40.0)
            time.sleep(0.5)
            plane.kill("kube-apiserver")
            plane.start("kube-apiserver")
            with plane.session(2.0) as other:
                plane.wait_for("the API server", lambda: other.call(lambda api: api.text("/readyz")) == "ok")
                send(other, [yaml.safe_load(deployment("late", "waiting"))])
            outcome = waiting.result()
    assert outcome.ok, wait.summary(outcome)
