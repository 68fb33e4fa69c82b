# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a release on the sandbox, by the commands that an admin types; a line for each step, with its time.

A change in local goes to staging and to production, a bad one is rolled back there by itself and held, and released.
A secret is changed at its source and comes into the cluster.
Each step is looked at in Git and in the clusters before the next one begins. Environments are data: each names the
inventory of the cluster that runs it, so three of one cluster (in three namespaces) and three clusters are told alike.
It can be told again: it begins by bringing all environments to a version that none has had.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import secrets
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.oci_archive import (
    Blob,
    digest_of,
    write_archive,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiAccess
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import (
    delivery,
    live,
    model,
    page,
    status,
    verify,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.operation import Place
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Clusters

from tests.mirror.store import default_layout
from tools.check import REPORTS, environment
from tools.stages import ROOT

COMPONENT = "shop"
IMAGE = f"registry.sandbox.test/{COMPONENT}"
BEGIN = f"chore({COMPONENT}): begin the story"
ORDER = ("local", "staging", "production")
BOARD = REPORTS / "releases.html"
#: What the application does: it serves its version; the bad one cannot in production, as real ones do.
_SERVE = (
    f"mkdir -p /tmp/page; echo {COMPONENT} $VERSION >/tmp/page/index.html; exec busybox httpd -f -p 8080 -h /tmp/page"
)
_BREAK = 'case "$NAMESPACE" in *-production) echo "no payment service in $NAMESPACE" >&2; exit 1;; esac; '
_BASE = f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {COMPONENT}
spec:
  replicas: 1
  selector:
    matchLabels:
      app.kubernetes.io/name: {COMPONENT}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: {COMPONENT}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      securityContext:
        runAsNonRoot: true
        runAsUser: 65534
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: {COMPONENT}
          image: {IMAGE}
          env:
            - name: NAMESPACE
              valueFrom:
                fieldRef:
                  fieldPath: metadata.namespace
          ports:
            - name: http
              containerPort: 8080
          readinessProbe:
            httpGet:
              path: /
              port: http
            periodSeconds: 1
          resources:
            requests:
              cpu: 10m
              memory: 16Mi
            limits:
              memory: 32Mi
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          volumeMounts:
            - name: page
              mountPath: /tmp
      volumes:
        - name: page
          emptyDir: {{}}
"""


class StoryError(Exception):
    """The story went another way; the text says where, and what was found."""


@dataclass(frozen=True)
class Cluster:
    """A cluster of a sandbox, by its inventory: what it follows, how it is reached, the hosts that run pods."""

    name: str
    context: str
    kubeconfig: str
    hosts: Mapping[str, str]
    ssh: tuple[str, ...]
    forge: str
    forge_directory: Path
    inventory: Path

    @property
    def secrets(self) -> Path:
        """What playbooks/sandbox-secrets.yml and the set-up have made for this environment."""
        return self.forge_directory.parent / "secrets" / self.name

    @classmethod
    def of(cls, inventory: Path, kubeconfig: str) -> Cluster:
        """Read an inventory that playbooks/sandbox.yml has written. Raises StoryError."""
        try:
            everything = yaml.safe_load(inventory.read_text(encoding="utf-8"))["all"]
        except OSError as error:
            raise StoryError(f"wanted the inventory of a sandbox, found none: {error}. Run `make sandbox`") from error
        variables, addresses = (
            everything["vars"],
            {name: of["ansible_host"] for name, of in everything["hosts"].items()},
        )
        groups = {name: list(of["hosts"]) for name, of in everything["children"].items()}
        if not groups.get("git_hosts"):
            raise StoryError(f"{inventory}: wanted a host in git_hosts, found none")
        nodes = [*groups.get("control_plane", []), *groups.get("workers", [])]
        sandbox, key = variables["sandbox_name"], Path(variables["ansible_ssh_private_key_file"])
        called = "sandbox" if sandbox == "default" else f"sandbox-{sandbox}"
        environment = variables.get("stagecraft_sandbox_environment")
        ssh = ("ssh", "-q", "-i", str(key), "-o", "BatchMode=yes", *shlex.split(variables["ansible_ssh_common_args"]))
        return cls(
            environment or called,
            f"{called}-{environment}" if environment else called,
            kubeconfig,
            {node: addresses[node] for node in nodes},
            ssh,
            addresses[groups["git_hosts"][0]],
            key.parent / "forge",
            inventory,
        )


@dataclass(frozen=True)
class Versions:
    """What runs at first, what is better, and what breaks in production."""

    first: str
    good: str
    bad: str

    @classmethod
    def of(cls, telling: int) -> Versions:
        """Return the versions of a telling, counted from 1: a version that was rolled back is not rolled back again."""
        return cls(f"{telling}.0.0", f"{telling}.1.0", f"{telling}.2.0")


@dataclass(frozen=True)
class Environment:
    """An environment of the story, and the cluster that runs it."""

    name: str
    cluster: Cluster

    @property
    def namespace(self) -> str:
        return f"{COMPONENT}-{self.name}"

    @property
    def file(self) -> str:
        return f"clusters/{self.name}/{COMPONENT}/kustomization.yaml"


# -- what is written -----------------------------------------------------------------------------------------------------


def overlay(one: Environment, version: str) -> str:
    """Return the kustomization of an environment."""
    return (
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"namespace: {one.namespace}\nresources:\n  - namespace.yaml\n  - ../../base/{COMPONENT}\n"
        f"images:\n  - name: {IMAGE}\n    newTag: {version}\n"
    )


def namespace(one: Environment) -> str:
    """Return the manifest of an environment's namespace."""
    label = "pod-security.kubernetes.io/enforce: restricted"
    return f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {one.namespace}\n  labels:\n    {label}\n"


def follower(one: Environment) -> str:
    """Return the Flux Kustomization by which a cluster follows an environment's directory."""
    return (
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n"
        f"metadata:\n  name: {one.namespace}\n  namespace: flux-system\n"
        "spec:\n  interval: 10m\n  retryInterval: 10s\n  timeout: 1m\n  prune: true\n  wait: true\n"
        f"  path: ./clusters/{one.name}/{COMPONENT}\n  sourceRef:\n    kind: GitRepository\n    name: flux-system\n"
    )


def description(environments: Iterable[Environment]) -> str:
    """Return the description of the releases: each environment's pods are in a namespace of its own."""
    content = {
        "environments": [{"name": one.name, "namespaces": [one.namespace]} for one in environments],
        "components": [{"name": COMPONENT, "paths": [f"{COMPONENT}/**"]}],
    }
    return yaml.safe_dump(content, sort_keys=False)


def beginning(environments: Sequence[Environment], listed: Mapping[str, str], version: str) -> dict[str, str | None]:
    """Return the files with which the story begins at a version; `listed` are the kustomizations that the clusters follow, by path.

    A file is None where it has to go: what an earlier telling has held.
    """
    base = "resources:\n  - deployment.yaml\n"
    files: dict[str, str | None] = {
        ".stagecraft/releases.yaml": description(environments),
        f"clusters/base/{COMPONENT}/deployment.yaml": _BASE,
        f"clusters/base/{COMPONENT}/kustomization.yaml": f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n{base}",
    }
    for one in environments:
        files |= {one.file: overlay(one, version), f"clusters/{one.name}/{COMPONENT}/namespace.yaml": namespace(one)}
        files[f"clusters/{one.name}/gitops-holds.yaml"] = None
        path = f"clusters/{one.cluster.name}/story.yaml"
        files[path] = "---\n".join([*filter(None, [files.get(path)]), follower(one)])
    for path, text in listed.items():
        files[path] = text if "- story.yaml" in text else f"{text.rstrip()}\n  - story.yaml\n"
    return files


def image(version: str, base: Path, file: Path, *, broken: bool) -> str:
    """Write the image of a version, with all that is in the archive `base`; return its digest. A broken one fails in production."""
    with tarfile.open(base) as archive:

        def blob(digest: str) -> bytes:
            handle = archive.extractfile("blobs/" + digest.replace(":", "/"))
            return b"" if handle is None else handle.read()

        index = archive.extractfile("index.json")
        descriptor = json.loads(index.read() if index else b"")["manifests"][0]
        manifest = json.loads(blob(descriptor["digest"]))
        config = json.loads(blob(manifest["config"]["digest"]))
        layers = [Blob(layer["digest"], blob(layer["digest"])) for layer in manifest["layers"]]
    script = f"{_BREAK if broken else ''}{_SERVE}"
    own = {**config.get("config", {}), "Entrypoint": ["busybox", "sh", "-c", script]}
    own["Env"] = [*own.get("Env", []), f"VERSION={version}"]
    body = json.dumps({**config, "config": own}, sort_keys=True).encode()
    manifest["config"] |= {"digest": digest_of(body), "size": len(body)}
    top = json.dumps(manifest, sort_keys=True).encode()
    found = {**descriptor, "digest": digest_of(top), "size": len(top)}
    found.pop("annotations", None)
    blobs = [*layers, Blob(digest_of(body), body), Blob(digest_of(top), top)]
    write_archive(file, f"{IMAGE}:{version}", found, blobs)
    return digest_of(top)


# -- how it is told ------------------------------------------------------------------------------------------------------


class Story:
    """The steps, and what they share. `say` is given each line."""

    def __init__(self, environments: Sequence[Environment], work: Path, say: Callable[[str], None] = print) -> None:
        self.environments = {one.name: one for one in environments}
        self.work, self.clone, self.say = work, work / "clone", say
        forge = environments[0].cluster
        self.url = f"ssh://git@{forge.forge}:2222/stagecraft/environments.git"
        key, known = forge.forge_directory / "id_ed25519", forge.forge_directory / "known_hosts"
        self.remote = Remote(self.url, "main", str(key), known.read_text(encoding="utf-8"))
        ssh = ["ssh", "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
        ssh += ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"]
        self.variables = {**environment([]), "GIT_SSH_COMMAND": shlex.join(ssh)}
        self.clusters = {
            one.name: {"kubeconfig": one.cluster.kubeconfig, "context": one.cluster.context} for one in environments
        }
        given = {
            "release_repository": {"url": self.url, "branch": "main"},
            "release_git": {"key_file": str(key), "known_hosts": self.remote.known_hosts},
            "release_clusters": self.clusters,
            "release_verify": {"settle": 2, "timeout": 120},
        }
        self.given = work / "variables.json"
        self.given.write_text(json.dumps(given), encoding="utf-8")
        self.place = Place(self.remote, Author("Ada", "ada@sandbox.test"))

    def tell(self) -> None:
        """Tell it all. Raises StoryError at the first step that goes another way."""
        local, staging, production = ORDER
        self.git("clone", "--quiet", self.url, str(self.clone), at=self.work)
        told = self.git("log", "--oneline", "--fixed-strings", f"--grep={BEGIN}").splitlines()
        now = Versions.of(len(told) + 1)
        steps: list[tuple[str, Callable[[], None]]] = [
            (f"{COMPONENT} {now.first} in {local}, {staging} and {production}", lambda: self.begin(now)),
            (f"{now.good} committed to {local}", lambda: self.commit(now.good)),
            (f"promoted to {staging}, verified", lambda: self.promote(local, staging, now.good)),
            (f"promoted to {production}, verified", lambda: self.promote(staging, production, now.good)),
            (f"{now.bad}, which cannot run in {production}, committed to {local}", lambda: self.commit(now.bad)),
            (f"promoted to {staging}, verified", lambda: self.promote(local, staging, now.bad)),
            (
                f"promoted to {production}: broken, rolled back by itself to {now.good}, held",
                lambda: self.break_down(now.good),
            ),
            (f"promoted to {production} again: refused, because it is held", self.refuse),
            ("hold released", lambda: self.release(now.good)),
            (
                f"a secret of {production} changed in its vault, sealed, committed, unsealed in the cluster",
                self.change_secret,
            ),
        ]
        started = time.monotonic()
        for number, (words, step) in enumerate(steps, 1):
            began = time.monotonic()
            step()
            self.say(f"{number:>3}  {time.monotonic() - began:6.1f} s  {words}")
        moment = datetime.now(UTC)
        BOARD.parent.mkdir(parents=True, exist_ok=True)
        BOARD.write_text(page.render(self.rows(), moment, "Releases", refresh=0), encoding="utf-8")
        self.say(f"     {time.monotonic() - started:6.1f} s  in all; the board of it: {BOARD.relative_to(ROOT)}")

    # -- steps

    def begin(self, versions: Versions) -> None:
        """Bring images to the hosts and the first version to all environments."""
        entry = load_catalogue().resolve("busybox", None, platform.machine())
        base = default_layout().mirror / entry.path
        clusters = list(dict.fromkeys(one.cluster.name for one in self.environments.values()))
        by_name = {one.cluster.name: one for one in self.environments.values()}
        for version in (versions.first, versions.good, versions.bad):
            archive = self.work / f"{version}.tar"
            digest = image(version, base, archive, broken=version == versions.bad)
            for name in clusters:
                for address in by_name[name].cluster.hosts.values():
                    put(by_name[name].cluster, address, archive, version, digest)
        listed = {
            path: (self.clone / path).read_text(encoding="utf-8")
            for path in (f"clusters/{name}/kustomization.yaml" for name in clusters)
        }
        files = beginning(list(self.environments.values()), listed, versions.first)
        commit = self.push(files, BEGIN)
        for name in clusters:
            # what follows the environments' directories has to be there before they can be asked about
            self.settle(by_name[name], commit, f"clusters/{name}/story.yaml", ())
        for one in self.environments.values():
            self.settle(one, commit, one.file, (live.Image(IMAGE, versions.first),))

    def commit(self, version: str) -> None:
        """Do what a developer does: another version, by hand, into the first environment."""
        one = self.environments[ORDER[0]]
        commit = self.push({one.file: overlay(one, version)}, f"feat({COMPONENT}): {version}")
        self.settle(one, commit, one.file, (live.Image(IMAGE, version),))

    def promote(self, source: str, target: str, version: str) -> None:
        """Promote, which has to go well."""
        self.playbook("promote.yml", f"component={COMPONENT}", f"from={source}", f"to={target}", fails="")
        self.expect(target, version, held=False)

    def break_down(self, version: str) -> None:
        """Promote what breaks: the playbook fails, and production runs the version that it ran."""
        arguments = (f"component={COMPONENT}", f"from={ORDER[1]}", f"to={ORDER[2]}")
        self.playbook("promote.yml", *arguments, fails="It was rolled back by commit")
        self.expect(ORDER[2], version, held=True)

    def refuse(self) -> None:
        """Promote the held version: nothing is pushed."""
        before = self.head()
        arguments = (f"component={COMPONENT}", f"from={ORDER[1]}", f"to={ORDER[2]}")
        self.playbook("promote.yml", *arguments, fails=f"is held in {ORDER[2]}")
        if self.head() != before:
            raise StoryError(f"a promotion that was refused has moved the branch from {before} to {self.head()}")

    def release(self, version: str) -> None:
        """Lift the hold."""
        self.playbook("hold.yml", f"environment={ORDER[2]}", f"component={COMPONENT}", "state=absent", fails="")
        self.expect(ORDER[2], version, held=False)

    def change_secret(self) -> None:
        """Change a secret at its one source; the cluster gets it, and nothing else shows it."""
        cluster = self.environments[ORDER[2]].cluster
        value, vault = secrets.token_hex(16), cluster.secrets / "vault.yml"
        try:
            password = (cluster.secrets / "vault-password").read_bytes().strip()
            put_into_vault(vault, password, "hello_token", value)
        except OSError as error:
            raise StoryError(f"wanted the vault of {cluster.name}, found none: {error}. Run `make sandbox`") from error
        seal = ["-i", str(cluster.inventory), "-e", f"kubeconfig_path={cluster.kubeconfig}", "-vvvv"]
        said = self.run(["ansible-playbook", "playbooks/seal-secrets.yml", *seal], fails="")
        with Session(ApiAccess(Path(cluster.kubeconfig).expanduser(), context=cluster.context)) as session:
            found = session.call(lambda api: api.get("/api/v1/namespaces/applications/secrets/hello"))
        if base64.b64decode(found["data"]["token"]).decode() != value:
            raise StoryError(f"{cluster.name}: Secret applications/hello has not the value that was sealed for it")
        self.git("fetch", "--quiet", "origin", "main")
        keep_secret(value, {"the output of seal-secrets.yml": said, "Git": self.git("log", "-p", "-1", "origin/main")})

    # -- means

    def playbook(self, name: str, *variables: str, fails: str) -> None:
        """Run a playbook as an admin does; it has to work, or to fail with the words `fails`."""
        command = ["ansible-playbook", f"playbooks/{name}", "-e", f"@{self.given}"]
        for one in variables:
            command += ["-e", one]
        self.run(command, fails=fails)

    def run(self, command: Sequence[str], *, fails: str) -> str:
        """Run a command of an admin, see `playbook`; return what it said."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**environment([]), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        if bool(done.returncode) != bool(fails) or fails not in " ".join(said.split()):
            wanted = f"wanted it to fail with {fails!r}" if fails else "wanted it to work"
            raise StoryError(f"{shlex.join(command)}: {wanted}, it ended with {done.returncode}:\n{said[-6000:]}")
        return said

    def expect(self, name: str, version: str, *, held: bool) -> None:
        """Look whether an environment has and runs a version."""
        (row,) = (row for row in self.rows() if row.environment == name)
        found = (row.version, row.healthy, bool(row.held))
        if found != (version, True, held):
            raise StoryError(
                f"{name}: wanted version, healthy, held {(version, True, held)}, found {found}: {row.trouble}"
            )

    def rows(self) -> list[status.Row]:
        """Return what runs where."""
        clusters = Clusters(self.clusters)
        try:
            return status.collect(self.place, clusters, [], [COMPONENT], datetime.now(UTC))
        finally:
            clusters.close()

    def settle(self, one: Environment, commit: str, file: str, images: tuple[live.Image, ...]) -> None:
        """Wait until a cluster does well at a commit, as far as what brings this file to it goes."""
        clusters = Clusters(self.clusters)
        try:
            where = clusters.of(model.Environment(one.name, f"clusters/{one.name}"))
            if where is None:
                raise StoryError(f"{one.name} has no cluster")
            subject = delivery.Subject(commit, (file,), images, (one.namespace,) if images else ())
            found = verify.verify(where, subject, verify.Options(timeout=120, settle=1), None)
        finally:
            clusters.close()
        if not found.verified:
            raise StoryError(f"{one.name} does not get well at commit {commit}: {found.text()}")

    def push(self, files: Mapping[str, str | None], message: str) -> str:
        """Commit files by hand on top of the branch, if they change anything, and return its commit."""
        self.git("fetch", "--quiet", "origin", "main")
        self.git("reset", "--quiet", "--hard", "origin/main")
        for path, text in files.items():
            file = self.clone / path
            if text is None:
                file.unlink(missing_ok=True)
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        self.git("add", "--all")
        if self.git("status", "--porcelain"):
            self.git("commit", "--quiet", "--message", message)
            self.git("push", "--quiet", "origin", "HEAD:main")
        return self.head()

    def head(self) -> str:
        """Return the commit that the server's branch is at."""
        return self.git("ls-remote", self.url, "refs/heads/main", at=self.work).split()[0]

    def git(self, *words: str, at: Path | None = None) -> str:
        command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@sandbox.test", *words]
        done = subprocess.run(
            command, cwd=at or self.clone, env=self.variables, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise StoryError(f"git {shlex.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()


def put_into_vault(vault: Path, password: bytes, name: str, value: str) -> None:
    """Change one value in a file of ansible-vault, as `ansible-vault edit` does. Raises OSError."""
    secret = VaultSecret(password)
    library = VaultLib([("default", secret)])
    content = {**yaml.safe_load(library.decrypt(vault.read_bytes())), name: value}
    # Ciphertext alone is written, and never half of it.
    beside = vault.with_name(f"{vault.name}.new")
    beside.write_bytes(library.encrypt(yaml.safe_dump(content), secret))
    beside.chmod(0o600)
    beside.replace(vault)


def keep_secret(value: str, places: Mapping[str, str]) -> None:
    """Be sure that none of the texts, by what they are, shows a value. Raises StoryError, without the value."""
    forms = (value, base64.b64encode(value.encode()).decode())
    for place, text in places.items():
        if any(form in text for form in forms):
            raise StoryError(f"{place} shows the secret that was changed")


def put(cluster: Cluster, address: str, archive: Path, version: str, digest: str) -> None:
    """Bring an image to a host, by its tag and by its digest; a sandbox has no registry to pull it from."""
    script = (
        'set -e; ctr() { if command -v k3s >/dev/null; then k3s ctr -n k8s.io "$@"; else command ctr -n k8s.io "$@"; fi; }; '
        f"ctr images import - >/dev/null; ctr images tag --force {IMAGE}:{version} {IMAGE}@{digest} >/dev/null"
    )
    with archive.open("rb") as stream:
        done = subprocess.run(
            [*cluster.ssh, f"root@{address}", script], stdin=stream, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise StoryError(
            f"{address}: image {version} could not be imported: {done.stderr.strip() or done.stdout.strip()}"
        )


def main() -> int:
    """Tell the story; return 1 if it goes another way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "inventory",
        nargs="*",
        default=[Path("inventories/sandbox/hosts.yml")],
        type=Path,
        help=f"of the clusters that run {', '.join(ORDER)}; one for all, or one for each",
    )
    parser.add_argument("--kubeconfig", default="~/.kube/config", help="where the clusters' credentials are")
    arguments = parser.parse_args()
    if len(arguments.inventory) not in (1, len(ORDER)):
        parser.error(f"wanted 1 inventory or {len(ORDER)}, found {len(arguments.inventory)}")
    try:
        clusters = [Cluster.of(one, arguments.kubeconfig) for one in arguments.inventory]
        environments = [Environment(name, clusters[number % len(clusters)]) for number, name in enumerate(ORDER)]
        with tempfile.TemporaryDirectory(prefix="story-") as work:
            Story(environments, Path(work), lambda line: print(line, flush=True)).tell()
    except StoryError as error:
        print(f"the story went another way: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
