# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upstream's own kubeseal opens what we seal, and we open what it seals."""

from __future__ import annotations

import base64
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import backup as backups
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import keys, manifest, seal, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import KeyRecord
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.crypto import SCOPES, Scope
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import SealingKey
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.manifest import Declared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.seal import Sealer

VALUES = {
    "ascii": b"correct horse",
    "empty": b"",
    "text": "pä\nß\n".encode(),
    "binary": bytes(range(256)),
    "long": b"x" * 70000,
}


@pytest.fixture(scope="module", params=[2048, 4096])
def key(request: pytest.FixtureRequest) -> SealingKey:
    return keys.generate("staging", datetime.now(tz=UTC) - timedelta(minutes=1), size=request.param)


def run(program: Path, *arguments: str, data: bytes = b"") -> bytes:
    done = subprocess.run([str(program), *arguments], input=data, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("scope", SCOPES)
def test_we_open_what_kubeseal_seals(kubeseal: Path, tmp_path: Path, key: SealingKey, scope: Scope) -> None:
    (tmp_path / "crt").write_text(key.certificate.pem)
    plain = backups.secret(KeyRecord(key, "active", "db", "shop"), "staging")
    plain |= {
        "type": "Opaque",
        "data": {name: base64.b64encode(v).decode() for name, v in VALUES.items()},
    }
    for style in ("yaml", "json"):
        sealed = run(
            kubeseal,
            "--cert",
            str(tmp_path / "crt"),
            "--scope",
            scope,
            "--format",
            style,
            data=json.dumps(plain).encode(),
        )
        (found,) = manifest.find(sealed.decode(), "x")
        assert (found.scope, found.problems) == (scope, ())
        assert verify.opened(found, [key]) == VALUES


@pytest.mark.parametrize("scope", SCOPES)
def test_kubeseal_opens_what_we_seal(kubeseal: Path, tmp_path: Path, key: SealingKey, scope: Scope) -> None:
    declared = Declared(
        "x", "db", "shop", VALUES, scope, "example.com/odd", {"app": "y"}, {"note": "1e3"}, {"conf": "{{ .ascii }}"}
    )
    text = seal.plan(declared, None, Sealer("staging", key.certificate, (key,))).after
    assert text is not None
    # the key as kubectl would save it, which is also what a backup holds
    (tmp_path / "key.json").write_text(
        json.dumps(backups.secret(KeyRecord(key, "active", "k", "kube-system"), "staging"))
    )
    opened = run(
        kubeseal, "--recovery-unseal", "--recovery-private-key", str(tmp_path / "key.json"), data=text.encode()
    )
    secret: dict[str, Any] = yaml.safe_load(opened)
    data = {name: base64.b64decode(value or "") for name, value in secret["data"].items()}
    assert {name: data[name] for name in VALUES} == VALUES
    assert secret["type"] == "example.com/odd"
    assert secret["metadata"]["labels"] == {"app": "y"}
    assert secret["metadata"]["annotations"]["note"] == "1e3"


def test_kubeseal_takes_a_whole_backup_for_the_recovery(kubeseal: Path, tmp_path: Path, key: SealingKey) -> None:
    older = keys.generate("staging", datetime.now(tz=UTC) - timedelta(days=9), size=2048)
    text = (
        seal.plan(Declared("x", "db", "shop", VALUES), None, Sealer("staging", older.certificate, (older,))).after or ""
    )
    items = [
        backups.secret(KeyRecord(one, "active", f"k{n}", "kube-system"), "staging")
        for n, one in enumerate((key, older))
    ]
    (tmp_path / "list.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    opened = run(
        kubeseal, "--recovery-unseal", "--recovery-private-key", str(tmp_path / "list.json"), data=text.encode()
    )
    assert set(yaml.safe_load(opened)["data"]) == set(VALUES)


def test_a_value_sealed_raw_by_kubeseal_can_be_put_beside_ours(kubeseal: Path, tmp_path: Path, key: SealingKey) -> None:
    (tmp_path / "crt").write_text(key.certificate.pem)
    (tmp_path / "value").write_bytes(b"raw")
    sealer = Sealer("staging", key.certificate, (key,))
    text = seal.plan(Declared("x", "db", "shop", {"a": b"1"}), None, sealer).after or ""
    raw = run(
        kubeseal, "--raw", "--cert", str(tmp_path / "crt"), "--name", "db", "--namespace", "shop",
        "--from-file", str(tmp_path / "value"),
    )  # fmt: skip
    (found,) = manifest.find(text, "x")
    changed = manifest.replace(text, {found.spans["a"]: raw.decode().strip()})
    assert verify.opened(manifest.find(changed, "x")[0], [key]) == {"a": b"raw"}
