# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.controlplane import control_plane
from tests.integration.controlplane.control_plane import ControlPlane, Missing
from tests.integration.sealed_secrets.controller import Controller, definition
from tests.mirror.errors import RefusedError
from tests.mirror.programs import find_program
from tests.programs import lacking

SET = "sealed-secrets-0.40.0"


@pytest.fixture(scope="session")
def kubeseal() -> Path:
    """Upstream's own program, built from its module."""
    try:
        return find_program(f"{SET}/kubeseal")
    except RefusedError as refused:
        lacking(str(refused))


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """An API server with the definition of SealedSecrets that the role applies; nodes and pods are not wanted."""
    if not shutil.which("setpriv"):
        lacking("setpriv is missing: install the package util-linux")
    try:
        running = control_plane.up(workloads=False, flux=False)
    except Missing as missing:
        lacking(str(missing))
    try:
        with running.session() as session:
            control_plane.send(session, [definition()])
            running.wait_for(
                "the definition", lambda: session.resource("bitnami.com/v1alpha1", "SealedSecret", fresh=True)
            )
        yield running
    finally:
        running.down()


@pytest.fixture
def controller(plane: ControlPlane) -> Iterator[Controller]:
    """The real controller, which the test starts. It gets a namespace of its own for its keys."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        lacking(
            "the controller believes to be in a pod only in a mount namespace of its own, which takes root and unshare"
        )
    try:
        program = find_program(f"{SET}/sealed-secrets-controller")
    except RefusedError as refused:
        lacking(str(refused))
    made = Controller(plane, program)
    yield made
    made.stop()
