# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows: what is run on which hosts, and what besides the time must hold."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import Entry, load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.transfer import digest

from tests.benchmarks import openbao, releases
from tests.benchmarks.check import check_1pct, check_1000
from tests.benchmarks.cluster import apply_new, apply_playbook, apply_same, flux_noop, push_ready
from tests.benchmarks.hosts import (
    BenchError,
    Run,
    Sandbox,
    connections,
    control_plane,
    create,
    remove,
    sandbox,
    timed,
    worker,
)
from tests.benchmarks.report import Row, Target
from tests.benchmarks.secrets import leak, seal_1000, seal_noop
from tests.mirror.store import default_layout
from tools.recap import recaps
from tools.stages import ROOT

HERE = Path(__file__).resolve().parent
MAXIMUM_TASKS = 20
#: What the roles have written on a host; the admin who does it by hand gets the same files.
CONFIGURATION = (
    "etc/cni/net.d",
    "etc/containerd",
    "etc/crictl.yaml",
    "etc/kubernetes/kubelet.conf.d",
    "etc/kubernetes/stagecraft",
    "etc/modules-load.d/stagecraft-host.conf",
    "etc/stagecraft",
    "etc/sysctl.d/99-stagecraft-host.conf",
    "etc/systemd/system/*.service",
)
NOISE_BYTES = 300_000
#: Environment variables: a clone of k3s-io/k3s-ansible, and the directory that it calls airgap_dir.
K3S_ANSIBLE, K3S_ANSIBLE_AIRGAP = "K3S_ANSIBLE", "K3S_ANSIBLE_AIRGAP"


def mirrored() -> dict[str, tuple[Entry, Path]]:
    """Return what one control plane alone is made of, by the catalogue's name, with its file in the mirror."""
    options = {"cni": "bridge", "network_policy": "none"}
    mirror = default_layout().mirror
    entries = load_catalogue().environment("kubeadm", None, ("amd64",), options, {})
    found = {entry.name: (entry, mirror / entry.path) for entry in entries}
    missing = [str(path) for _entry, path in found.values() if not path.is_file()]
    if missing:
        raise BenchError(f"the mirror lacks {', '.join(missing)}: run `make mirror`")
    return found


def warm(paths: Sequence[Path]) -> None:
    """Read files once, so that the disk counts for nobody."""
    for path in paths:
        with path.open("rb") as stream:
            while stream.read(1 << 24):
                pass


# -- noop --------------------------------------------------------------------------------------------------------------


def broken_rules(
    run: Run, hosts: Sequence[str], before: Mapping[str, str], after: Mapping[str, str], maximum: int = MAXIMUM_TASKS
) -> list[str]:
    """Return what a second run must not do and did; fewer or more tasks are said as they are."""
    found = recaps(run.output)
    problems = []
    for host in hosts:
        if host not in found:
            problems.append(f"{host} is not in the recap")
            continue
        if found[host].changed:
            problems.append(f"{host}: changed={found[host].changed}, wanted 0")
        if found[host].tasks > maximum:
            problems.append(f"{host}: {found[host].tasks} tasks, wanted at most {maximum}")
        if before[host] != after[host]:
            problems.append(f"{host}: daemons were restarted: {before[host]!r} became {after[host]!r}")
    return problems


def noop(
    name: str,
    limit: float,
    hosts: Sequence[Mapping[str, Any]],
    rounds: int,
    playbook: str = "setup-production.yml",
    maximum: int = MAXIMUM_TASKS,
    **variables: str,
) -> Row:
    """Time the second run of a set-up, which must change nothing."""
    times, problems = [], []
    with sandbox(name, *hosts) as place:
        names = list(place.hosts())
        place.set_up(f"{name}-first", playbook, **variables)
        for number in range(rounds):
            before = {host: place.processes(host) for host in names}
            run = place.set_up(f"{name}-{number}", playbook, **variables)
            after = {host: place.processes(host) for host in names}
            problems += broken_rules(run, names, before, after, maximum)
            times.append(run.seconds)
    return Row(name, Target(limit, "seconds"), times, broken_rules=list(dict.fromkeys(problems)))


def noop_1(rounds: int) -> Row:
    """One control plane."""
    return noop("noop-1", 4.0, [control_plane("cp1")], rounds)


def noop_3(rounds: int) -> Row:
    """One control plane and two workers."""
    return noop("noop-3", 6.0, [control_plane("cp1"), worker("w1"), worker("w2")], rounds)


def noop_k3s(rounds: int) -> Row:
    """One server of K3s, or of its stand-in; against k3s-ansible where K3S_ANSIBLE names a clone of it."""
    name = "noop-k3s"
    row = noop(name, 5.0, [control_plane("s1")], rounds, "setup-staging.yml", 15, stagecraft_distribution="k3s")
    clone = os.environ.get(K3S_ANSIBLE)
    if not clone:
        print_note(f"{name}: no rival, since {K3S_ANSIBLE} names no clone of k3s-io/k3s-ansible")
        return row
    row = replace(row, other=k3s_ansible(name, Path(clone), rounds), what="site.yml of k3s-ansible on such a host")
    wanted = 0.2
    problems = [f"ratio {row.ratio:.2f}, wanted {wanted:g}"] if row.ratio is not None and row.ratio > wanted else []
    return replace(row, broken_rules=[*row.broken_rules, *problems])


def k3s_ansible(row: str, clone: Path, rounds: int) -> list[float]:
    """Return the seconds of second runs of the official collection's site.yml.

    The collections that it needs are looked for where ansible-galaxy installs them, and netaddr, which one of them
    needs, must be importable. It takes the binary and the images from the directory that K3S_ANSIBLE_AIRGAP names, and
    upstream's install script, which it downloads to there where it is missing.
    """
    airgap = os.environ.get(K3S_ANSIBLE_AIRGAP)
    if not airgap:
        raise BenchError(f"{K3S_ANSIBLE} is set, but {K3S_ANSIBLE_AIRGAP} names no directory with k3s and its images")
    with sandbox(row, control_plane("s1")) as place, tempfile.TemporaryDirectory(prefix="bench-") as work:
        variables = {
            **place.variables["vars"],
            "k3s_version": load_catalogue().default_version("k3s"),
            "token": secrets.token_hex(16),
            "api_endpoint": place.hosts()["s1"],
            "airgap_dir": airgap,
            "kubeconfig": f"{work}/config",
            # As inventories/sandbox has it for ours.
            "server_config_yaml": "kubelet-arg: [fail-cgroupv1=false]",
        }
        hosts = {"s1": {"ansible_host": place.hosts()["s1"]}}
        groups = {"k3s_cluster": {"children": {"server": {"hosts": hosts}, "agent": {"hosts": {}}}, "vars": variables}}
        inventory = Path(work, "inventory.yml")
        inventory.write_text(yaml.safe_dump(groups))
        settings = {"ANSIBLE_CONFIG": f"{clone}/ansible.cfg", "ANSIBLE_ROLES_PATH": f"{clone}/roles"}
        settings |= {"ANSIBLE_COLLECTIONS_PATH": os.path.expanduser("~/.ansible/collections")}

        def run(log: str) -> float:
            command = ["ansible-playbook", "-i", str(inventory), f"{clone}/playbooks/site.yml"]
            with connections() as control:
                return timed(command, f"{row}-{log}", **settings, ANSIBLE_SSH_CONTROL_PATH_DIR=control).seconds

        run("other-first")
        return [run(f"other-{number}") for number in range(rounds)]


def noop_minikube(rounds: int) -> Row:
    """One machine with Minikube, the driver none."""
    name, playbook = "noop-minikube", "setup-local.yml"
    return noop(name, 4.0, [control_plane("m1")], rounds, playbook, stagecraft_distribution="minikube")


# -- three environments ------------------------------------------------------------------------------------------------


def three_up(rounds: int) -> Row:
    """From no hosts at all to three environments whose Flux is ready, with their secrets, and the Git server that they follow.

    The hosts are those of ``make sandbox``. None can use more memory than it is given, so that is what they take at most.
    """
    clusters = {"local": "setup-local.yml", "staging": "setup-staging.yml", "production": "setup-production.yml"}
    hosts = yaml.safe_load((ROOT / "roles/sandbox/defaults/main.yml").read_text("utf-8"))["sandbox_hosts"]
    memory = sum(host["memory_mb"] for host in hosts) * 1024**2 / 1e9
    broken = [f"the hosts may take {memory:.1f} GB, wanted 10"] if memory > 10 else []
    name, times = "three-up", []
    remove(f"bench-{name}")
    for number in range(rounds):
        try:
            started = time.monotonic()
            place, _unused = create(f"bench-{name}", hosts)
            place.set_up(f"{name}-{number}-forge", "sandbox-forge.yml")
            for of, playbook in clusters.items():
                place.of(of).set_up(f"{name}-{number}-{of}-secrets", "sandbox-secrets.yml")
                place.of(of).set_up(f"{name}-{number}-{of}", playbook)
            times.append(time.monotonic() - started)
        finally:
            remove(f"bench-{name}")
    return Row(name, Target(360.0, "seconds"), times, broken_rules=broken)


# -- ready -------------------------------------------------------------------------------------------------------------


def take_configuration(place: Sandbox, host: str, directory: Path) -> None:
    """Copy the files that the roles wrote on a host."""
    command = f"cd / && tar -c --exclude=sshd.service {' '.join(CONFIGURATION)}"
    argv = ["ssh", *place.ssh_options(), f"root@{place.hosts()[host]}", command]
    archive = subprocess.run(argv, capture_output=True, check=False)
    if archive.returncode:
        raise BenchError(f"the configuration could not be read from {host}: {archive.stderr.decode()}")
    subprocess.run(["tar", "-x", "-C", directory], input=archive.stdout, check=True)


def by_hand(place: Sandbox, host: str, configuration: Path, log: str) -> Run:
    """Run what an admin types; the cluster has the same images, settings and files as ours."""
    parts = mirrored()
    images = [str(path) for entry, path in parts.values() if entry.kind == "image"]
    files = {
        name.upper().replace("-", "_"): str(path) for name, (entry, path) in parts.items() if entry.kind != "image"
    }
    packages = yaml.safe_load((ROOT / "roles/host/vars/main.yml").read_text())["host__packages"]
    return timed(
        ["bash", str(HERE / "by_hand.sh"), f"root@{place.hosts()[host]}", str(configuration), *place.ssh_options()],
        log,
        **files,
        IMAGES=" ".join(images),
        PACKAGES=" ".join([*packages, "haproxy"]),
    )


def ready_after(place: Sandbox, host: str, started: float) -> float:
    """Seconds from ``started`` (epoch) until the API server saw the node Ready; it counts whole seconds."""
    path = '{.items[0].status.conditions[?(@.type=="Ready")].lastTransitionTime}'
    said = place.ssh(host, f"kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes -o jsonpath={shlex.quote(path)}")
    return datetime.fromisoformat(said.strip()).timestamp() - started


def ready_1(rounds: int) -> Row:
    """From a bare host to a node that is Ready, on hosts that are made anew for each turn."""
    name = "ready-1"
    warm([path for _entry, path in mirrored().values()])
    ours, other, notes = [], [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        for number in range(rounds):
            configuration = Path(work, str(number))
            configuration.mkdir()
            with sandbox(name, control_plane("cp1")) as place:
                started = epoch()
                run = place.set_up(f"{name}-ours-{number}")
                notes.append(f"ours Ready after {ready_after(place, 'cp1', started):.0f} s")
                take_configuration(place, "cp1", configuration)
                address = place.hosts()["cp1"]
            ours.append(run.seconds)
            with sandbox(name, control_plane("cp1")) as place:
                replace_address(configuration, address, place.hosts()["cp1"])
                started = epoch()
                run = by_hand(place, "cp1", configuration, f"{name}-other-{number}")
                notes.append(f"other Ready after {ready_after(place, 'cp1', started):.0f} s")
            other.append(run.seconds)
    print_note(f"{name}: {', '.join(notes)}")
    return Row(name, Target(1.3, "ratio"), ours, other, "kubeadm and the same imports typed by hand")


def replace_address(directory: Path, old: str, new: str) -> None:
    """Let configuration that was written for one host serve another."""
    for path in directory.rglob("*"):
        if path.is_file():
            path.write_text(path.read_text().replace(old, new))


def epoch() -> float:
    """Return the wall clock, which is the hosts' own."""
    return datetime.now(tz=UTC).timestamp()


def print_note(text: str) -> None:
    """Say something that is not a row."""
    print(text, file=sys.stderr, flush=True)


# -- push --------------------------------------------------------------------------------------------------------------


def push(rounds: int) -> Row:
    """Put the binaries of a node (300 MB) on a host by artifact_push and by ansible.builtin.copy, in turns."""
    name = "push"
    sources = [path for entry, path in mirrored().values() if entry.kind != "image" or entry.name == "pause"]
    warm(sources)
    size = sum(path.stat().st_size for path in sources) / 1e6
    # With the digests, as the roles have them from the download's lock.
    files = [
        {"src": str(path), "dest": f"/var/lib/bench/{number}", "sha256": digest(path)}
        for number, path in enumerate(sources)
    ]
    ours, other, problems = [], [], []
    with sandbox(name, control_plane("h1")) as place:

        def run(playbook: str, log: str) -> Run:
            place.ssh("h1", "mkdir -p /var/lib/bench")
            command = ["ansible-playbook", "-i", str(place.inventory), str(HERE / playbook)]
            with connections() as control:
                given = json.dumps({"bench_files": files})
                return timed([*command, "-e", given], log, ANSIBLE_SSH_CONTROL_PATH_DIR=control)

        for number in range(rounds):
            place.ssh("h1", "rm -rf /var/lib/bench; sync")
            ours.append(run("push.yml", f"{name}-ours-{number}").seconds)
            received = place.received("h1")
            again = run("push.yml", f"{name}-again-{number}")
            received = place.received("h1") - received
            sent = re.search(r"sent_bytes=(\d+)", again.output)
            if sent is None or int(sent[1]) or received > NOISE_BYTES:
                said = sent[0] if sent else "nothing"
                problems.append(f"the second push said {said} and the host received {received} bytes, wanted 0")
            print_note(
                f"{name}: the second push took {again.seconds:.2f} s, {sent and sent[0]}, {received} bytes received"
            )
            place.ssh("h1", "rm -rf /var/lib/bench; sync")
            other.append(run("push_by_copy.yml", f"{name}-other-{number}").seconds)
    what = f"ansible.builtin.copy of the same {len(files)} files, {size:.0f} MB"
    return Row(name, Target(0.33, "ratio"), ours, other, what, problems)


# -- hosts -------------------------------------------------------------------------------------------------------------


def hosts_2(rounds: int) -> Row:
    """Two hosts up and answering SSH; the base has been built."""
    name = "hosts-2"
    pair = [control_plane("h1"), worker("h2")]
    with sandbox(name, *pair):
        pass
    times = []
    for _ in range(rounds):
        try:
            started = time.monotonic()
            place, _seconds = create(f"bench-{name}", pair)
            for host in place.hosts():
                place.ssh(host, "true")
            times.append(time.monotonic() - started)
        finally:
            remove(f"bench-{name}")
    return Row(name, Target(5.0, "seconds"), times)


@dataclass(frozen=True)
class Bench:
    """How a row is measured, and how often."""

    measure: Callable[[int], Row]
    rounds: int


BENCHES = {
    "noop-1": Bench(noop_1, 5),
    "noop-3": Bench(noop_3, 5),
    "noop-k3s": Bench(noop_k3s, 5),
    "noop-minikube": Bench(noop_minikube, 5),
    "three-up": Bench(three_up, 1),
    "ready-1": Bench(ready_1, 2),
    "push": Bench(push, 3),
    "hosts-2": Bench(hosts_2, 3),
    "apply-new": Bench(apply_new, 5),
    "apply-same": Bench(apply_same, 5),
    "apply-playbook": Bench(apply_playbook, 3),
    "push-ready": Bench(push_ready, 5),
    "flux-noop": Bench(flux_noop, 5),
    "check-1000": Bench(check_1000, 3),
    "check-1pct": Bench(check_1pct, 3),
    "plan": Bench(releases.plan, 5),
    "land": Bench(releases.land, 5),
    "noop": Bench(releases.noop, 5),
    "writers-50": Bench(releases.writers, 2),
    "mttr": Bench(releases.mttr, 3),
    "history": Bench(releases.versions, 3),
    "seal-1000": Bench(seal_1000, 3),
    "seal-noop": Bench(seal_noop, 5),
    "leak": Bench(leak, 5),
    "bao-back": Bench(openbao.bao_back, 3),
    "bao-back-transit": Bench(openbao.bao_back_transit, 3),
    "drill": Bench(openbao.drill, 3),
}
