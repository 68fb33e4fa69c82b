# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real control plane as plain processes on loopback: etcd, API server, controllers, scheduler, kwok and Flux.

Nodes and pods are kwok's: a pod becomes ready unless its image's tag is `missing`. Everything lives in one temporary
directory, and kustomize-controller's scratch space in memory. Every process is written down before it is used, so that
the next run ends what a crashed one left.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiAccess
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.integration.kube.api_server import issue
from tests.mirror.store import default_layout

KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
FLUX = ("source-controller", "kustomize-controller", "helm-controller", "notification-controller")
PROGRAMS = ("etcd", *KUBERNETES, "kwok", *FLUX)
_PREFIX = "stagecraft-controlplane-"
_STAGES = Path(__file__).with_name("stages.yaml")
_START = 60.0


class Missing(Exception):
    """A program that the mirror's builder has not made."""


def find_program(name: str) -> Path:
    """The newest build of a program that tests/mirror keeps, or one's own of STAGECRAFT_CONTROLPLANE. Raises Missing."""
    own = Path(os.environ.get("STAGECRAFT_CONTROLPLANE", os.devnull), name)
    if own.is_file():
        return own
    found = [p for p in (default_layout().work / "parts").glob(f"*/*/{name}") if os.access(p, os.X_OK) and p.is_file()]
    if not found:
        raise Missing(f"{name} has not been built: run `python -m tests.mirror build`")
    return max(found, key=lambda p: _version(p.parent.parent.name))


def _version(part: str) -> tuple[int, ...]:
    """The version in a part's name, such as part_kubernetes-1.36.3_kube-apiserver."""
    digits = part.partition("-")[2].partition("_")[0] if "kubernetes" in part or "etcd" in part else part
    return tuple(int(number) for number in digits.split(".") if number.isdigit())


def flux_definitions() -> list[dict[str, Any]]:
    """The CustomResourceDefinitions of the manifests that tests/mirror builds. Raises Missing."""
    found = []
    for name in FLUX:
        own = Path(os.environ.get("STAGECRAFT_CONTROLPLANE", os.devnull), "crds", name)
        paths = sorted(own.glob("*.yaml")) or sorted(
            (default_layout().work / "parts").glob(f"*_manifests/*/{name}.yaml")
        )
        if not paths:
            raise Missing(f"{name}'s manifests have not been built: run `python -m tests.mirror build`")
        documents = (d for path in paths for d in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader))
        found += [d for d in documents if d and d["kind"] == "CustomResourceDefinition"]
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment, and that the kernel gives to no outgoing connection."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    candidates = list(range(20000, first)) or list(range(1024, 20000))
    random.shuffle(candidates)
    ports: list[int] = []
    for port in candidates:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise AssertionError(f"of {count} ports only {len(ports)} are free")


@dataclass(frozen=True)
class Process:
    """A process of ours; the start time tells it from another one that got its number later."""

    name: str
    pid: int
    started: str

    @classmethod
    def of(cls, name: str, pid: int) -> Process:
        return cls(name, pid, _started(pid))

    def alive(self) -> bool:
        return self.started != "" and _started(self.pid) == self.started

    def end(self, number: int = signal.SIGKILL) -> None:
        if self.alive():
            os.kill(self.pid, number)
        deadline = time.monotonic() + 10
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.01)


def _started(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def sweep() -> None:
    """End what test runs left that are no more."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            written = json.loads((directory / "processes.json").read_text())
            owner, *others = [Process(**one) for one in written["processes"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if not owner.alive():
            _end(others)
            for path in (directory, Path(written["memory"])):
                shutil.rmtree(path, ignore_errors=True)


def _end(processes: Iterable[Process]) -> None:
    """Kill processes, the API server and etcd last: others retry and log for seconds without them."""
    last = ("kube-apiserver", "etcd")
    for process in sorted(processes, key=lambda p: last.index(p.name) + 1 if p.name in last else 0):
        process.end()


@dataclass
class ControlPlane:
    """The running processes. `kubeconfig` opens the API server as admin."""

    directory: Path
    memory: Path
    ports: dict[str, int]
    processes: dict[str, Process] = field(default_factory=dict)
    commands: dict[str, tuple[list[str], dict[str, str]]] = field(default_factory=dict)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    def session(self, timeout: float = 10.0) -> Session:
        return Session(ApiAccess(self.kubeconfig, timeout=timeout))

    def address(self, what: str) -> str:
        return f"127.0.0.1:{self.ports[what]}"

    def spawn(self, name: str, arguments: Sequence[object], environment: dict[str, str] | None = None) -> None:
        """Start a program that dies with us, and write it down."""
        argv = ["setpriv", "--pdeathsig", "KILL", "--", str(find_program(name)), *map(str, arguments)]
        self.commands[name] = (argv, environment or {})
        self.start(name)

    def start(self, name: str) -> None:
        """Start a program again, as it was started before."""
        argv, environment = self.commands[name]
        with (self.directory / "log" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.children.append(process)
        self.processes[name] = Process.of(name, process.pid)
        self._write_down()

    def kill(self, name: str) -> None:
        """Pull a process's plug."""
        self.processes[name].end()
        self.reap()

    def reap(self) -> None:
        """Wait for those that were ended; a leader is gone from /proc before all its threads are."""
        gone = {process.pid for process in self.processes.values() if not process.alive()}
        for child in [child for child in self.children if child.pid in gone]:
            child.wait(10)
            self.children.remove(child)

    def down(self) -> None:
        """End everything and remove what it wrote."""
        _end(self.processes.values())
        self.reap()
        for path in (self.memory, self.directory):
            shutil.rmtree(path, ignore_errors=True)

    def _write_down(self) -> None:
        all_of = [Process.of("owner", os.getpid()), *self.processes.values()]
        target = self.directory / "processes.json"
        unfinished = target.with_suffix(".new")
        unfinished.write_text(
            json.dumps({"memory": str(self.memory), "processes": [vars(one) for one in all_of]}), encoding="utf-8"
        )
        unfinished.replace(target)

    def wait_for(self, what: str, holds: Callable[[], object], seconds: float = _START) -> None:
        """Look until something holds; at once no longer when `what` is a process that has ended."""
        deadline = time.monotonic() + seconds
        last: object = None
        while time.monotonic() < deadline:
            try:
                if holds():
                    return
            except (OSError, KubeError, KeyError, TypeError, StopIteration) as error:
                last = error
            if what in self.processes and not self.processes[what].alive():
                raise AssertionError(f"{what} has ended; the end of its log:\n{self._end_of_log(what)}")
            time.sleep(0.05)
        raise AssertionError(f"{what}: not after {seconds:g} s ({last}); logs in {self.directory / 'log'}")

    def _end_of_log(self, name: str) -> str:
        try:
            return (self.directory / "log" / f"{name}.log").read_text(errors="replace")[-2000:]
        except OSError as error:
            return f"(gone: {error})"


def up(*, workloads: bool = True, flux: bool = True) -> ControlPlane:
    """Start a control plane: with `workloads` pods run (so to say), with `flux` its controllers do. Raises Missing."""
    sweep()
    for name in ("etcd", KUBERNETES[0], *((*KUBERNETES[1:], "kwok") if workloads else ()), *(FLUX if flux else ())):
        find_program(name)
    names = ["api", "etcd", "peer", "kcm", "scheduler", "kwok", "storage", "events", "receiver"]
    names += [f"{name}-{what}" for name in FLUX for what in ("metrics", "health")]
    scratch = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    plane = ControlPlane(
        directory=Path(tempfile.mkdtemp(prefix=_PREFIX)),
        memory=Path(tempfile.mkdtemp(prefix=_PREFIX, dir=scratch)),
        ports=dict(zip(names, free_ports(len(names)), strict=True)),
    )
    try:
        _core(plane)
        if workloads:
            _workloads(plane)
        if flux:
            _flux(plane)
    except BaseException:
        _end(plane.processes.values())
        plane.reap()
        raise
    return plane


def _core(plane: ControlPlane) -> None:
    (plane.directory / "log").mkdir()
    pki = plane.directory / "pki"
    pki.mkdir()
    authority = issue("kubernetes")
    serving = issue("kube-apiserver", authority, ("127.0.0.1", "10.96.0.1", "localhost", "kubernetes.default.svc"))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    account = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    token = secrets.token_hex(16)
    files = {
        "ca.crt": authority.pem,
        "ca.key": authority.key_pem,
        "api.crt": serving.pem,
        "api.key": serving.key_pem,
        "sa.key": account,
        "tokens.csv": f'{token},admin,0,"system:masters"\n'.encode(),
    }
    for name, content in files.items():
        (pki / name).write_bytes(content)
        (pki / name).chmod(0o600)
    cluster = {
        "server": f"https://{plane.address('api')}",
        "certificate-authority-data": base64.b64encode(authority.pem).decode(),
    }
    plane.kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": "test", "user": {"token": token}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            }
        )
    )
    plane.kubeconfig.chmod(0o600)
    etcd, peer = f"http://{plane.address('etcd')}", f"http://{plane.address('peer')}"
    plane.spawn(
        "etcd",
        [
            f"--data-dir={plane.directory}/etcd",
            "--name=e",
            "--unsafe-no-fsync",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=e={peer}",
        ],
    )
    plane.spawn(
        "kube-apiserver",
        [
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={plane.ports['api']}",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={pki}/api.crt",
            f"--tls-private-key-file={pki}/api.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--token-auth-file={pki}/tokens.csv",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/sa.key",
            f"--service-account-signing-key-file={pki}/sa.key",
            "--profiling=false",
            "--shutdown-delay-duration=0s",
        ],
    )
    with plane.session(2.0) as session:
        plane.wait_for("the API server", lambda: session.call(lambda api: api.text("/readyz")) == "ok")


def _workloads(plane: ControlPlane) -> None:
    pki, login = plane.directory / "pki", f"--kubeconfig={plane.kubeconfig}"
    fast = ["--kube-api-qps=200", "--kube-api-burst=400", "--leader-elect=false"]
    plane.spawn(
        "kube-controller-manager",
        [
            login,
            "--bind-address=127.0.0.1",
            f"--secure-port={plane.ports['kcm']}",
            f"--cert-dir={pki}/kcm",
            f"--service-account-private-key-file={pki}/sa.key",
            f"--root-ca-file={pki}/ca.crt",
            *fast,
        ],
    )
    plane.spawn(
        "kube-scheduler",
        [
            login,
            "--bind-address=127.0.0.1",
            f"--secure-port={plane.ports['scheduler']}",
            f"--cert-dir={pki}/scheduler",
            *fast,
        ],
    )
    plane.spawn(
        "kwok",
        [
            login,
            "--manage-all-nodes=true",
            "--node-lease-duration-seconds=40",
            f"--config={_STAGES}",
            f"--server-address={plane.address('kwok')}",
        ],
    )
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": "n1",
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/os": "linux", "kubernetes.io/hostname": "n1"},
        },
    }
    with plane.session() as session:
        session.call(lambda api: api.request("POST", "/api/v1/nodes", body=node))
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        plane.wait_for("the default service account", lambda: session.find(account))


def _flux(plane: ControlPlane) -> None:
    with plane.session() as session:
        send(session, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flux-system"}}])
        send(session, flux_definitions())
        plane.wait_for("Flux's definitions", lambda: established(session))
    start_flux(plane)
    for name in FLUX:
        plane.wait_for(name, partial(_answers, f"http://{plane.address(f'{name}-health')}/readyz"))


def start_flux(plane: ControlPlane) -> None:
    """Start Flux's controllers; they end at once where their definitions are not served yet."""
    environment = {
        "KUBECONFIG": str(plane.kubeconfig),
        "RUNTIME_NAMESPACE": "flux-system",
        "TUF_ROOT": str(plane.directory / "tuf"),
        "HOME": str(plane.directory),
        "TMPDIR": str(plane.memory),
    }
    events = f"--events-addr=http://{plane.address('events')}/"
    storage = plane.directory / "storage"
    storage.mkdir()
    quick = ["--kube-api-qps=500", "--kube-api-burst=1000", "--requeue-dependency=1s"]
    # the gate as the flux role sets it: without it a rollback waits for the health check of the bad release
    cancel = "--feature-gates=CancelHealthCheckOnNewRevision=true"
    own: dict[str, list[str]] = {
        "source-controller": [
            events,
            f"--storage-path={storage}",
            f"--storage-addr={plane.address('storage')}",
            f"--storage-adv-addr={plane.address('storage')}",
        ],
        "kustomize-controller": [events, *quick, "--concurrent=8", cancel],
        "helm-controller": [events, *quick],
        "notification-controller": [
            f"--events-addr={plane.address('events')}",
            f"--receiverAddr={plane.address('receiver')}",
        ],
    }
    for name, arguments in own.items():
        plane.spawn(
            name,
            [
                "--watch-all-namespaces=true",
                "--log-encoding=json",
                f"--metrics-addr={plane.address(f'{name}-metrics')}",
                f"--health-addr={plane.address(f'{name}-health')}",
                *arguments,
            ],
            environment,
        )


def _answers(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=2) as response:
        return bool(response.status == 200)


def established(session: Session) -> bool:
    """Whether all of Flux's definitions are there and served."""
    found = session.items("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    served = {
        d["metadata"]["name"]
        for d in found
        if any(c["type"] == "Established" and c["status"] == "True" for c in d["status"].get("conditions") or [])
    }
    return served >= {d["metadata"]["name"] for d in flux_definitions()}


def send(session: Session, objects: Iterable[dict[str, Any]]) -> None:
    """Server-side apply as a user would by hand, without any code that is tested."""

    def one(item: dict[str, Any]) -> None:
        served = session.resource(item["apiVersion"], item["kind"], fresh=True)
        assert served is not None, item["kind"]
        path = served.path(item["metadata"].get("namespace", ""), item["metadata"]["name"])
        session.call(
            lambda api: api.request(
                "PATCH",
                path,
                query={"fieldManager": "test", "force": "true"},
                body=item,
                content_type="application/apply-patch+yaml",
            )
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, objects))
