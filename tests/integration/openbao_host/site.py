# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An environment's OpenBao on a host of a sandbox, declared as an admin does it: what is secret stands in a vault, and nowhere in clear."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyrage
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import admin, escrow
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.api import Api
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Reply, Server
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.escrow import Escrow
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.integration.canary import encodings
from tests.integration.cluster.lab import Run, run_playbook
from tests.integration.kube.api_server import issue
from tests.integration.openbao.bao import program

PLAYBOOK = "playbooks/openbao.yml"
DRILL = "playbooks/drill-openbao.yml"
PATH = "apps/shop"
SUBJECT = "system:serviceaccount:external-secrets:eso"


class Site:
    """What an admin keeps: an authority, two age identities (one in a safe), and a vault for each environment."""

    def __init__(self, directory: Path) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700, parents=True)
        self.directory = directory
        self.authority = issue("site")
        self.ca_file = directory / "ca.crt"
        self.ca_file.write_bytes(self.authority.pem)
        self.admin, self.safe = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
        self.identity_file = directory / "identity.txt"
        self.identity_file.write_text(str(self.admin))
        self.vault = VaultSecret(secrets.token_hex(16).encode())
        self.password_file = directory / "vault-password"
        self.password_file.write_bytes(self.vault.bytes)
        self.temporary = directory / "tmp"
        self.facts = directory / "facts"
        for made in (self.temporary, self.facts):
            made.mkdir()
        self.environment = {
            "TMPDIR": str(self.temporary),
            "ANSIBLE_LOCAL_TEMP": str(self.temporary / "ansible"),
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(self.facts),
        }


def static_seal() -> dict[str, Any]:
    """A seal by a key that the host has."""
    return {"type": "static", "settings": {"current_key_id": "1", "current_key": os.urandom(32).hex()}}


@dataclass
class Bao:
    """The server of one environment. `known` is all that must be seen nowhere, by what it is; `outputs` what the runs showed."""

    site: Site
    environment: str
    host: str
    address: str
    inventory: Path
    known: dict[str, str] = field(default_factory=dict, repr=False)
    outputs: list[str] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.signing = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.serving = issue("bao", self.site.authority, (self.address,))
        self.url = f"https://{self.address}:8200"
        self.escrow_file = self.site.directory / f"{self.environment}-keys.age"
        self.snapshot_file = self.site.directory / f"{self.environment}.snap.age"
        self.known |= {
            "secret": f"canary-{secrets.token_hex(12)}",
            "reviewer's token": f"reviewer-{secrets.token_hex(12)}",
        }
        key = self.serving.key_pem.decode().splitlines()
        self.known |= {f"line {number} of the TLS key": line for number, line in enumerate(key) if len(line) == 64}

    def declare(self, seal: Mapping[str, Any], **more: Any) -> None:
        """Put everything that is declared of the server into the environment's vault."""
        declared = {**self._declared(), "openbao_seal": dict(seal), **more}
        for name in ("current_key", "token"):
            if value := (seal.get("settings") or {}).get(name):
                self.known[f"{name} of the seal"] = value
        text = VaultLib([("default", self.site.vault)]).encrypt(yaml.safe_dump(declared), self.site.vault)
        self._vault.write_bytes(text)

    @property
    def _vault(self) -> Path:
        return self.site.directory / f"{self.environment}-vault.yml"

    def _declared(self) -> dict[str, Any]:
        public = self.signing.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        audience = f"openbao-{self.environment}"
        return {
            "openbao_escrow": str(self.escrow_file),
            "openbao_recipients": [str(self.site.admin.to_public()), str(self.site.safe.to_public())],
            "openbao_identity_files": [str(self.site.identity_file)],
            "openbao_tls_certificate": self.serving.pem.decode(),
            "openbao_tls_key": self.serving.key_pem.decode(),
            "openbao_ca_file": str(self.site.ca_file),
            "openbao_snapshot": str(self.snapshot_file),
            "openbao_drill_program": str(program()),
            "openbao_mounts": [{"path": "kv", "max_versions": 10}, {"path": "transit", "type": "transit"}],
            "openbao_policies": {
                "eso": 'path "kv/data/apps/*" {\n  capabilities = ["read"]\n}\n',
                "seal": 'path "transit/+/seal" {\n  capabilities = ["update"]\n}\n',
            },
            "openbao_secrets": [{"mount": "kv", "path": PATH, "data": {"password": self.known["secret"]}}],
            "openbao_auth_methods": [
                {
                    "path": f"kubernetes-{self.environment}",
                    "type": "kubernetes",
                    "config": {
                        "kubernetes_host": "https://192.0.2.1:6443",
                        "kubernetes_ca_cert": self.site.authority.pem.decode(),
                        "token_reviewer_jwt": self.known["reviewer's token"],
                        "disable_local_ca_jwt": True,
                    },
                    "roles": {
                        "eso": {
                            "bound_service_account_names": ["eso"],
                            "bound_service_account_namespaces": ["external-secrets"],
                            "audience": audience,
                            "token_policies": ["eso"],
                            "token_ttl": "20m",
                        }
                    },
                },
                {
                    "path": f"jwt-{self.environment}",
                    "type": "jwt",
                    "config": {"jwt_validation_pubkeys": [public.decode()], "bound_issuer": "https://cluster"},
                    "roles": {
                        "eso": {
                            "user_claim": "sub",
                            "bound_audiences": [audience],
                            "bound_subject": SUBJECT,
                            "token_policies": ["eso"],
                            "token_ttl": "10m",
                        }
                    },
                },
            ],
        }

    def arguments(self, playbook: str, *options: str) -> list[str]:
        """Return what ansible-playbook is given."""
        vault = ["--vault-password-file", str(self.site.password_file), "-e", f"@{self._vault}"]
        return ["-i", str(self.inventory), *vault, *options, playbook]

    def run(self, playbook: str = PLAYBOOK, *options: str) -> Run:
        """Run a playbook with all it can say, and keep that."""
        done = run_playbook(self.arguments(playbook, "-vvvv", "--diff", *options), 300, self.site.environment)
        self.outputs.append(done.output)
        return done

    def kept(self) -> Escrow:
        """What the escrow holds; opened by the identity in the safe, which the runs have not got."""
        found = escrow.read(self.escrow_file, [self.site.safe], self.environment)
        assert found is not None
        self.known |= {f"key {number}": key for number, key in enumerate(found.keys)}
        self.known |= {
            name: value
            for name, value in {"root token": found.root_token, "credential": found.secret_id}.items()
            if value
        }
        return found

    def server(self) -> Server:
        return Server(self.url, str(self.site.ca_file), 5.0)

    def wait_until_active(self, seconds: float) -> float:
        """Wait until it serves requests; return the monotonic clock of that moment, which the hosts share."""
        deadline = time.monotonic() + seconds
        while self.sealed():
            assert time.monotonic() < deadline, f"{self.environment}: it does not serve after {seconds:g} s"
            time.sleep(0.02)
        return time.monotonic()

    def sealed(self) -> bool:
        """Say whether it is there and serves nothing, or is not there at all."""
        try:
            return self.server().send("GET", "sys/health").status != 200
        except OpenBaoError:
            return True

    def api(self) -> Api:
        """A login as the collection does it."""
        return admin.enter(self.server(), self.kept()).api

    def login(self, audience: str) -> Reply:
        """Log in with an account's token, as External Secrets does where the API server cannot be reached."""
        now = int(time.time())
        claims = {
            "iss": "https://cluster",
            "sub": SUBJECT,
            "aud": [f"openbao-{audience}"],
            "iat": now,
            "exp": now + 600,
        }
        signed = f"{_encoded({'alg': 'RS256', 'typ': 'JWT'})}.{_encoded(claims)}"
        signature = self.signing.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        body = {"role": "eso", "jwt": f"{signed}.{_base64(signature)}"}
        return self.server().send("POST", f"auth/jwt-{self.environment}/login", body)

    def serves(self) -> None:
        """Be sure that an application gets its secret."""
        done = self.login(self.environment)
        assert done.status == 200, done.errors
        token = done.body["auth"]["client_token"]
        found = self.server().send("GET", f"kv/data/{PATH}", token=token)
        assert found.data["data"] == {"password": self.known["secret"]}

    def seal_for(self, other: str) -> dict[str, Any]:
        """Make a key and a token by which another environment's server unseals itself."""
        with self.api() as api:
            api.write("POST", "transit/keys/seal", {}, "make the key")
            body = {"policies": ["seal"], "no_default_policy": False, "period": "24h", "display_name": f"seal-{other}"}
            made = api.write("POST", "auth/token/create-orphan", body, "make the token")
        return {
            "type": "transit",
            "settings": {
                "address": self.url,
                "token": made.body["auth"]["client_token"],
                "key_name": "seal",
                "mount_path": "transit/",
            },
        }


def _encoded(value: Mapping[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def said(run: Run) -> str:
    """Return what a run printed without its line breaks, which are wherever a line was full."""
    return " ".join(run.output.split())


def shown(known: Mapping[str, str], texts: Iterable[bytes]) -> set[str]:
    """Return what of it is to be seen in the texts, as it is or encoded."""
    forms = {what: list(encodings(value)) for what, value in known.items()}
    # all at once: who looks on may add to it meanwhile
    return {what for text in list(texts) for what, several in forms.items() if any(form in text for form in several)}
