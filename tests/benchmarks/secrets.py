# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of sealed secrets and of the leak scan."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import keys

from tests.benchmarks.hosts import BenchError
from tests.benchmarks.report import Row, Target
from tests.integration.play import Play
from tests.mirror.errors import RefusedError
from tests.mirror.programs import find_program

ITEMS = 1000
SECRETS = 200
MEGABYTES = 5
_LEAK_SCAN = "ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan"
#: How many items kubeseal seals; its time is the same for each.
_SAMPLE = 50


def seal_task(directory: Path, certificate: str, files: int) -> list[dict[str, Any]]:
    """A playbook's task that has ITEMS items, on so many files."""
    each = ITEMS // files
    options = {
        "environment": "bench",
        "certificate": certificate,
        "mac_key": base64.b64encode(b"m" * 32).decode(),
        "directory": str(directory),
        "secrets": [
            {
                "name": f"s{n}",
                "namespace": "bench",
                "string_data": {f"k{i}": f"value {n} {i} of a benchmark" for i in range(each)},
            }
            for n in range(files)
        ],
    }
    return [{"name": "Seal", "stagecraft.gitops.sealed_secret": options}]


def seal(play: Play, tasks: list[dict[str, Any]], unchanged: int) -> float:
    """Return the seconds that the module says it took."""
    done = play.run(tasks)
    result = play.result() if not done["code"] else {}
    if result.get("unchanged") != unchanged:
        raise BenchError(f"sealed_secret: wanted {unchanged} unchanged items, found {play.output[-800:]}")
    return float(result["seconds"])


def _in_turns(measure: Callable[[Path, Play, str], tuple[list[float], list[float]]]) -> tuple[list[float], list[float]]:
    own = keys.generate("bench", datetime.now(tz=UTC) - timedelta(minutes=1))
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        place = Path(work, "play")
        place.mkdir()
        return measure(Path(work), Play(place), own.certificate.pem)


def seal_1000(rounds: int) -> Row:
    """Seal 1,000 items into 100 files, against kubeseal called for each item, as its users do to keep the others."""

    def measure(work: Path, play: Play, certificate: str) -> tuple[list[float], list[float]]:
        ours, other = [], []
        for number in range(rounds):
            directory = work / f"repository-{number}"
            directory.mkdir()
            ours.append(seal(play, seal_task(directory, certificate, 100), 0))
            other.append(_kubeseal(work, certificate) * ITEMS / _SAMPLE)
        return ours, other

    ours, other = _in_turns(measure)
    return Row(
        "seal-1000", Target(0.05, "ratio"), ours, other, f"kubeseal 0.40.0 for each item, {_SAMPLE} of them timed"
    )


def _kubeseal(work: Path, certificate: str) -> float:
    try:
        program = find_program("sealed-secrets-0.40.0/kubeseal")
    except RefusedError as refused:
        raise BenchError(str(refused)) from refused
    path = work / "bench.crt"
    path.write_text(certificate)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "bench"},
        "stringData": {"k": "v" * 30},
    }
    data = json.dumps(secret).encode()
    started = time.monotonic()
    for _ in range(_SAMPLE):
        subprocess.run([program, "--cert", str(path), "--format", "yaml"], input=data, capture_output=True, check=True)
    return time.monotonic() - started


def seal_noop(rounds: int) -> Row:
    """Find 1,000 sealed files as declared, without the private key."""

    def measure(work: Path, play: Play, certificate: str) -> tuple[list[float], list[float]]:
        directory = work / "repository"
        directory.mkdir()
        tasks = seal_task(directory, certificate, ITEMS)
        seal(play, tasks, 0)
        return [seal(play, tasks, ITEMS) for _ in range(rounds)], []

    ours, _ = _in_turns(measure)
    return Row("seal-noop", Target(1.0, "seconds"), ours)


def leak(rounds: int) -> Row:
    """Scan 5 MB of new files in a commit for 200 secrets, one of which is in it; the command from its start to its end."""
    chance = random.Random(7)
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        root = Path(work, "repository")
        secrets = {"staging": {f"secret{n}": base64.b64encode(chance.randbytes(18)).decode() for n in range(SECRETS)}}
        Path(work, "secrets.json").write_text(json.dumps(secrets))
        _repository(root, chance, secrets["staging"]["secret7"])
        times = []
        for _ in range(rounds):
            started = time.monotonic()
            argv = [
                sys.executable,
                "-m",
                _LEAK_SCAN,
                "--repository",
                str(root),
                "--secrets",
                str(Path(work, "secrets.json")),
            ]
            answer = subprocess.run(argv, capture_output=True, text=True, check=False)
            times.append(time.monotonic() - started)
            if answer.returncode != 1 or "the secret staging: secret7 stands here (base64)" not in answer.stdout:
                raise BenchError(f"the scan: wanted one finding, found: {answer.stdout[-500:]}{answer.stderr[-500:]}")
    return Row("leak", Target(1.0, "seconds"), times)


def _repository(root: Path, chance: random.Random, secret: str) -> None:
    """Commit manifests of 5 MB, a third of them ciphertexts."""
    root.mkdir()
    words = [
        "app",
        "web",
        "service",
        "port",
        "name",
        "image",
        "replicas",
        "limits",
        "memory",
        "deployment",
        "namespace",
        "metadata",
        "labels",
    ]
    size = number = 0
    while size < MEGABYTES * 1_000_000:
        lines = [
            f"{chance.choice(words)}-{chance.randrange(999)}: {chance.choice(words)}/{chance.choice(words)}"
            for _ in range(180)
        ]
        sealed = base64.b64encode(chance.randbytes(1800)).decode()
        text = yaml.safe_dump({"spec": {"encryptedData": {"password": sealed}}}, width=9999) + "\n".join(lines) + "\n"
        if number == 300:
            text += f"leak: {base64.b64encode(f'user:{secret}'.encode()).decode()}\n"
        path = root / f"d{number % 40}" / f"{number}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        size += len(text)
        number += 1
    for arguments in (["init", "--quiet"], ["add", "-A"], ["commit", "--quiet", "-m", "bench"]):
        command = ["git", "-c", "user.name=b", "-c", "user.email=b@localhost", "-c", "commit.gpgsign=false", *arguments]
        subprocess.run(command, cwd=root, check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull})
