# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try with everything that opens one environment of a sandbox whether it opens another one; nothing may.

For each ordered pair: the admin's credentials and a service account's token of the one at the API server of the other,
the other's server certificate against the one's CA, the one's deploy key on the other's repository, and the one's age
identities, vault password and sealing keys on the other's backup, vault and sealed secrets. Each thing is tried at home
first, where it has to work, so that a refusal says something. A repository that both follow opens to both by right; that
is said.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import permutations, product
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.program import Program
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Remote
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiAccess
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import backup as backups
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import custody, manifest, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import SealingKey
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.manifest import SealedSecret

from tools.stages import ROOT
from tools.story import Cluster

DEPLOY_KEY = "/api/v1/namespaces/flux-system/secrets/flux-system"
SOURCE = "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/flux-system"
TOKEN = "/api/v1/namespaces/default/serviceaccounts/default/token"
FOR_ADMINS = "/api/v1/namespaces/kube-system"
FOR_ALL_USERS = "/apis"
# Some servers look at a client's certificate before they answer at all, others after.
STRANGER = ("401", "UNKNOWN_CA")


@dataclass(frozen=True)
class Keys:
    """What opens an environment: entries of a kubeconfig, and a service account's token."""

    cluster: Mapping[str, Any]
    user: Mapping[str, Any]
    token: str


@dataclass(frozen=True)
class Deploy:
    """The repository that an environment follows, and the key that opens it."""

    url: str
    public: str
    private: str = field(repr=False)
    known_hosts: str


@dataclass(frozen=True)
class Sealing:
    """What seals the secrets of an environment, and what is sealed."""

    identities: tuple[str, ...]
    """Identity files' text."""
    backup: bytes
    in_cluster: tuple[SealingKey, ...]
    sealed: tuple[SealedSecret, ...]
    password: bytes
    vault: bytes


Try = Callable[[Mapping[str, Any], Mapping[str, Any], str], str]
"""Ask an API server (entry of a kubeconfig) as a user (likewise) for a path; "" where it answers, else how it refuses."""
Clone = Callable[[Deploy, str], str]
"""Ask for the branches of what is followed, with a private key; "" where it answers, else how it refuses."""


def entries(kubeconfig: Mapping[str, Any], context: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the cluster and the user of a context. Raises StopIteration where it is not there."""
    named = next(one["context"] for one in kubeconfig["contexts"] if one["name"] == context)
    cluster = next(one["cluster"] for one in kubeconfig["clusters"] if one["name"] == named["cluster"])
    user = next(one["user"] for one in kubeconfig["users"] if one["name"] == named["user"])
    return cluster, user


def problems(environments: Mapping[str, Keys], attempt: Try) -> list[str]:
    """Return what opens more than its own environment, or not even that."""
    found = []
    for (mine, own), (name, other) in product(environments.items(), repeat=2):
        home = mine == name
        foreign_ca = {**other.cluster, "certificate-authority-data": own.cluster["certificate-authority-data"]}
        tried = {
            "the admin's credentials": (attempt(other.cluster, own.user, FOR_ADMINS), STRANGER),
            "a service account's token": (attempt(other.cluster, {"token": own.token}, FOR_ALL_USERS), STRANGER),
            "the CA": (attempt(foreign_ca, other.user, FOR_ADMINS), ("certificate",)),
        }
        for what, (refusal, expected) in tried.items():
            if home and refusal:
                found.append(f"{what} of {mine} does not work there: {refusal}")
            elif not home and not refusal:
                found.append(f"{what} of {mine} is accepted in {name}")
            elif not home and not any(words in refusal for words in expected):
                found.append(
                    f"{what} of {mine} in {name}: wanted a refusal with {' or '.join(expected)}, found: {refusal}"
                )
    return found


def deploy_problems(environments: Mapping[str, Deploy], attempt: Clone) -> list[str]:
    """Return which deploy key opens another environment's repository, or not its own."""
    found = []
    for (mine, own), (name, other) in product(environments.items(), repeat=2):
        if mine < name and own.public == other.public:
            found.append(f"{mine} and {name} have one deploy key")
        if mine != name and own.url == other.url:
            continue
        refusal = attempt(other, own.private)
        if mine == name and refusal:
            found.append(f"the deploy key of {mine} does not open its repository: {refusal}")
        elif mine != name and not refusal:
            found.append(f"the deploy key of {mine} opens the repository of {name}")
    return found


def told(environments: Mapping[str, Deploy]) -> list[str]:
    """Say what was tried where nothing was found, and what could not be."""
    names, count = ", ".join(environments), len(environments)
    pairs = count * (count - 1)
    what = "credentials, token, CA, age identity, vault password or sealing key"
    lines = [f"no {what} of {names} opens another one: {pairs} pairs tried, and each thing at home"]
    shared = sum(a.url == b.url for a, b in permutations(environments.values(), 2))
    if shared < pairs:
        lines.append(
            f"no deploy key opens the repository of another one: {pairs - shared} pairs tried, and each at home"
        )
    for url in dict.fromkeys(one.url for one in environments.values()):
        same = [name for name, one in environments.items() if one.url == url]
        if len(same) > 1:
            lines.append(
                f"{', '.join(same)} follow one repository, {url}: each has a deploy key of its own, and each key reads the"
                " directories of the others"
            )
    return lines


def sealing_problems(environments: Mapping[str, Sealing]) -> list[str]:
    """Return what unseals more than its own environment, or not even that."""
    found = []
    for (mine, own), (name, other) in product(environments.items(), repeat=2):
        tried: dict[tuple[str, str], bool] = {
            (f"age identity {number}", "the backup"): bool(keys_of(other.backup, identity))
            for number, identity in enumerate(own.identities, 1)
        }
        saved = next(filter(None, (keys_of(own.backup, identity) for identity in own.identities)), ())
        for what, keys in (("a key of the backup", saved), ("a key of the controller", own.in_cluster)):
            tried |= {(what, f"{one.namespace}/{one.name}"): opens(one, keys) for one in other.sealed}
        tried["the password", "the vault"] = decrypts(other.vault, own.password)
        if mine == name and not own.sealed:
            found.append(f"{mine} has no sealed secret that could be tried")
        for (what, target), opened in tried.items():
            if mine == name and not opened:
                found.append(f"{what} of {mine} does not open {target} there")
            elif mine != name and opened:
                found.append(f"{what} of {mine} opens {target} of {name}")
    return found


def keys_of(backup: bytes, identity: str) -> tuple[SealingKey, ...]:
    """Return the keys in a backup, none where the identity does not open it."""
    try:
        return backups.decode(file.decrypt(backup, file.read_identities(identity, "identity"), "backup"), "backup").keys
    except AgeError:
        return ()


def opens(sealed: SealedSecret, keys: Sequence[SealingKey]) -> bool:
    """Return whether any item of a sealed secret opens with any of the keys."""
    for item in sealed.items:
        with suppress(SealError):
            verify.unsealed(sealed, item, keys)
            return True
    return False


def decrypts(vault: bytes, password: bytes) -> bool:
    """Return whether a password opens a file of ansible-vault."""
    try:
        VaultLib([("default", VaultSecret(password))]).decrypt(vault)
    except AnsibleError:
        return False
    return True


def collect_sealing(cluster: Cluster) -> Sealing:
    """Read what seals the secrets of a cluster. Raises KubeError, OSError."""
    with Session(ApiAccess(Path(cluster.kubeconfig).expanduser(), context=cluster.context)) as session:
        objects = session.items("/apis/bitnami.com/v1alpha1/sealedsecrets")
        secrets = custody.key_secrets(session, "kube-system")
    head = {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret"}
    text = yaml.safe_dump_all([{**head, **one} for one in objects])
    place = cluster.secrets
    return Sealing(
        tuple((place / name).read_text(encoding="utf-8") for name in ("admin.txt", "safe.txt")),
        (place / "sealing-keys.age").read_bytes(),
        tuple(backups.read_secret(one, cluster.name).key for one in secrets),
        tuple(manifest.find(text, cluster.name)),
        (place / "vault-password").read_bytes().strip(),
        (place / "vault.yml").read_bytes(),
    )


def collect(cluster: Cluster, kubeconfig: Mapping[str, Any]) -> Keys:
    """Read what opens a cluster. Raises KubeError."""
    with Session(ApiAccess(Path(cluster.kubeconfig).expanduser(), context=cluster.context)) as session:
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        issued = session.call(lambda api: api.request("POST", TOKEN, body=request))
    return Keys(*entries(kubeconfig, cluster.context), issued["status"]["token"])


def collect_deploy(cluster: Cluster) -> Deploy:
    """Read what a cluster follows. Raises KubeError."""
    with Session(ApiAccess(Path(cluster.kubeconfig).expanduser(), context=cluster.context)) as session:
        data = session.call(lambda api: api.get(DEPLOY_KEY))["data"]
        source = session.call(lambda api: api.get(SOURCE))
    public, private, known_hosts = (
        base64.b64decode(data[name]).decode() for name in ("identity.pub", "identity", "known_hosts")
    )
    return Deploy(source["spec"]["url"], public.strip(), private, known_hosts)


def clone(followed: Deploy, private: str) -> str:
    """Ask a real Git server, see `Clone`."""
    with tempfile.TemporaryDirectory(prefix="apart-") as directory:
        home = Path(directory)
        key = home / "key"
        key.touch(mode=0o600)
        key.write_text(private, encoding="utf-8")
        remote = Remote(followed.url, "main", key_file=str(key), known_hosts=followed.known_hosts)
        try:
            Program(remote, home / "none", home).run("ls-remote", "--heads", followed.url)
        except GitError as error:
            return str(error)
    return ""


def ask(cluster: Mapping[str, Any], user: Mapping[str, Any], path: str) -> str:
    """Ask a real API server, see `Try`."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "x", "cluster": dict(cluster)}],
        "users": [{"name": "x", "user": dict(user)}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "current-context": "x",
    }
    with tempfile.NamedTemporaryFile("w", prefix="apart-", encoding="utf-8") as file:
        yaml.safe_dump(document, file)
        file.flush()
        try:
            with Session(ApiAccess(Path(file.name))) as session:
                session.call(lambda api: api.get(path))
        except ApiError as error:
            return f"{error.status}: {error}"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all pairs; return 1 where something opens what it must not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inventory", nargs="+", type=Path, help="of a cluster each")
    parser.add_argument("--kubeconfig", default="~/.kube/config", help="where the clusters' credentials are")
    options = parser.parse_args(arguments)
    clusters = [Cluster.of(inventory, options.kubeconfig) for inventory in options.inventory]
    kubeconfig = yaml.safe_load(Path(options.kubeconfig).expanduser().read_text(encoding="utf-8"))
    try:
        found = problems({one.name: collect(one, kubeconfig) for one in clusters}, ask)
        deploys = {one.name: collect_deploy(one) for one in clusters}
        found += deploy_problems(deploys, clone)
        found += sealing_problems({one.name: collect_sealing(one) for one in clusters})
    except (KubeError, GitError, OSError) as error:
        found = [str(error)]
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print("\n".join(told(deploys)))
    return 1 if found else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
