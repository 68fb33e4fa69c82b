# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate `signature` with the real cosign and a real registry: what is signed, by whom, and what is not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.artifacts.test_docker_registry import running
from tests.integration.release.test_retag import PRODUCTION, push
from tests.programs import go_program, lacking
from tests.unit.release.lab import Lab

VERSION = "v3.1.3"
#: The registry speaks HTTP, and nobody here keeps a transparency log.
ARGUMENTS = ["--allow-http-registry", "--insecure-ignore-tlog"]


@dataclass(frozen=True)
class Signed:
    """A registry with three images: signed by us, by somebody else, and by nobody."""

    image: str
    digests: dict[str, str]
    key: Path


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    program = go_program("github.com/sigstore/cosign/v3/cmd/cosign", VERSION)
    if program is None:
        lacking("cosign is built with Go, and there is none here")
    with pytest.MonkeyPatch.context() as patch, running(tmp_path_factory.mktemp("registry")) as address:
        patch.setenv("PATH", str(program.parent), prepend=os.pathsep)
        patch.setenv("COSIGN_PASSWORD", "")
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        image = f"{address}/x/podinfo"
        digests = {tag: push(address, "x/podinfo", tag, tag) for tag in ("6.6.0", "6.7.0", "6.8.0")}
        keys = {}
        for tag in ("6.6.0", "6.7.0"):
            keys[tag] = tmp_path_factory.mktemp("key")
            cosign("generate-key-pair", directory=keys[tag])
            arguments = ["--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false"]
            cosign("sign", *arguments, ARGUMENTS[0], f"{image}@{digests[tag]}", directory=keys[tag])
        yield Signed(image, digests, keys["6.6.0"] / "cosign.pub")


def cosign(*arguments: str, directory: Path) -> None:
    done = subprocess.run(["cosign", *arguments], cwd=directory, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def promote(lab: Lab, signed: Signed, tag: str) -> dict[str, Any]:
    images = f"images:\n- name: podinfo\n  newName: {signed.image}\n  newTag: {tag}\n"
    lab.commit(
        {
            "clusters/staging/podinfo/kustomization.yaml": images,
            PRODUCTION: images.replace(tag, "6.5.0"),
        }
    )
    gates = {"policy": "off", "signature": {"mode": "enforce", "key": str(signed.key), "arguments": ARGUMENTS}}
    return lab.run(gates=gates).promote("staging", "production", ["podinfo"], ask_registry=True)


def test_an_image_that_we_signed_is_promoted(signed: Signed, tmp_path: Path) -> None:
    result = promote(Lab(tmp_path), signed, "6.6.0")
    assert result["changed"]
    assert {"name": "signature", "mode": "enforce", "status": "pass", "detail": ""} in result["gates"]


@pytest.mark.parametrize(
    ("tag", "reason"),
    [("6.7.0", "failed to verify signature"), ("6.8.0", "no signatures found")],
    ids=["another key", "unsigned"],
)
def test_another_one_is_not(tag: str, reason: str, signed: Signed, tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    result = promote(lab, signed, tag)
    assert result["failed"]
    assert not result["changed"]
    (found,) = (one for one in result["gates"] if one["name"] == "signature")
    assert found["status"] == "fail"
    assert found["detail"].startswith(f"{signed.image}@{signed.digests[tag]}: ")
    assert reason in found["detail"]
    assert "6.5.0" in lab.text(PRODUCTION)
