# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows that need a cluster and no host: a control plane of processes, and what is applied and pushed to it."""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.hosts import BenchError, timed
from tests.benchmarks.report import Row, Target
from tests.integration.controlplane import control_plane
from tests.integration.controlplane.control_plane import ControlPlane, Missing, find_program
from tests.integration.controlplane.git_server import GitServer
from tests.integration.controlplane.site import Site
from tests.integration.controlplane.world import World
from tools.recap import recaps

OBJECTS = 1000
_SECONDS = re.compile(r'"?seconds"?: ([0-9.]+)')


@contextlib.contextmanager
def cluster(*, workloads: bool, flux: bool) -> Iterator[ControlPlane]:
    """Give a control plane that is gone afterwards."""
    try:
        plane = control_plane.up(workloads=workloads, flux=flux)
    except Missing as missing:
        raise BenchError(str(missing)) from missing
    try:
        yield plane
    finally:
        plane.down()


def a_thousand(namespace: str) -> str:
    """Objects of four kinds, as a user has them in a file; the namespace is the first."""
    name = {"namespace": namespace}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
    kinds: tuple[dict[str, Any], ...] = (
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {"key": "value", "file": "line\n" * 10}},
        {"apiVersion": "v1", "kind": "Secret", "data": {"key": "dmFsdWU="}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": False},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rules},
    )
    items = [
        {**kinds[number % len(kinds)], "metadata": {**name, "name": f"m{number}"}} for number in range(OBJECTS - 1)
    ]
    return yaml.safe_dump_all([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, *items])


def play(module: str, options: dict[str, Any], directory: Path) -> list[str]:
    """Write a playbook of one task and return the command that runs it."""
    path = directory / f"{module}.yml"
    # Modules of the controller find their libraries where ours do.
    variables = {"ansible_python_interpreter": sys.executable}
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [{module: options}]}
    path.write_text(yaml.safe_dump([play]))
    return [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", "-v", str(path)]


def module_seconds(output: str) -> float:
    """Return the time that the module says it took."""
    found = _SECONDS.search(output)
    if found is None:
        raise BenchError("the module did not say how long it took")
    return float(found[1])


def with_default(what: str, seconds: Sequence[float]) -> str:
    """Say of a row that ours asks nothing beforehand, as the other does, and what it takes as it is without that option."""
    return f"{what}; ours with preflight: false, with the default it takes {statistics.median(seconds):.2f}"


def apply_rows(name: str, rounds: int) -> Row:
    """Apply a set of objects, new or unchanged, by kube_apply and by kubectl, in turns.

    New ones by kube_apply twice: as kubectl does it, and as it does by default. Of those that are there the API server
    is asked in either case.
    """
    same = name == "apply-same"
    ways: dict[str, dict[str, Any]] = {"ours": {}} if same else {"ours": {"preflight": False}, "default": {}}
    times: dict[str, list[float]] = {who: [] for who in (*ways, "other")}
    problems: list[str] = []
    with cluster(workloads=False, flux=False) as plane, tempfile.TemporaryDirectory(prefix="bench-") as work:
        kubectl = [str(find_program("kubectl")), f"--kubeconfig={plane.kubeconfig}", "apply", "--server-side", "-f"]
        for number in range(rounds):
            for who, seconds in times.items():
                path = Path(work, f"{who}.yaml")
                path.write_text(a_thousand(f"{who}-{number}"))
                options = {"src": [str(path)], "kubeconfig": str(plane.kubeconfig), **ways.get(who, {})}
                command = (
                    play("stagecraft.gitops.kube_apply", options, Path(work)) if who in ways else [*kubectl, str(path)]
                )
                if same:
                    timed(command, f"{name}-{who}-{number}-first")
                run = timed(command, f"{name}-{who}-{number}")
                seconds.append(module_seconds(run.output) if who in ways else run.seconds)
                if who in ways:
                    changed = recaps(run.output)["localhost"].changed
                    problems += [f"changed={changed}, wanted {int(not same)}"] if changed == same else []
    limit = 0.1 if same else 0.5
    what = f"kubectl apply --server-side of the same {OBJECTS} objects in one file"
    what = what if same else with_default(what, times["default"])
    return Row(name, Target(limit, "ratio"), times["ours"], times["other"], what, problems)


def apply_new(rounds: int) -> Row:
    """Objects that are not there."""
    return apply_rows("apply-new", rounds)


def apply_same(rounds: int) -> Row:
    """Objects that are there as they are wanted."""
    return apply_rows("apply-same", rounds)


def apply_playbook(rounds: int) -> Row:
    """Objects that are not there, by a whole playbook with one task: ours, and one of kubernetes.core.k8s."""
    ours, other = "stagecraft.gitops.kube_apply", "kubernetes.core.k8s"
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "ours": (ours, {"preflight": False}),
        "default": (ours, {}),
        # Python 3.13 wants more of a certificate than the stand-in's CA puts into it; ours does without.
        "other": (other, {"apply": True, "validate_certs": False}),
    }
    times: dict[str, list[float]] = {who: [] for who in ways}
    with cluster(workloads=False, flux=False) as plane, tempfile.TemporaryDirectory(prefix="bench-") as work:
        for number in range(rounds):
            for who, (module, more) in ways.items():
                path = Path(work, f"{who}.yaml")
                path.write_text(a_thousand(f"{who}-{number}"))
                options = {"src": str(path), "kubeconfig": str(plane.kubeconfig), **more}
                run = timed(play(module, options, Path(work)), f"apply-playbook-{who}-{number}")
                times[who].append(run.seconds)
    what = f"a playbook with one task of kubernetes.core.k8s for the same {OBJECTS} objects"
    what = with_default(what, times["default"])
    return Row("apply-playbook", Target(0.25, "ratio"), times["ours"], times["other"], what)


def push_ready(rounds: int) -> Row:
    """From the moment a Deployment of a pushed commit is Ready to the return of flux_wait."""
    late = []
    with cluster(workloads=True, flux=True) as plane, tempfile.TemporaryDirectory(prefix="bench-") as work:
        server = GitServer(Path(work))
        with plane.session() as session:
            site = Site(plane, session, server, "bench", Path(work))
            site.repository.push({"apps/a.yaml": site.config_map("a", n="first")})
            site.follow()
            site.kustomization("apps", wait=True)
            site.wait()
            for number in range(rounds):
                commit = site.repository.push({"apps/a.yaml": site.config_map("a", n=str(number))})
                outcome = site.wait(commit, seconds=60)
                returned = time.time()
                if not outcome.ok:
                    raise BenchError("; ".join(outcome.sentences()))
                late.append(returned - ready_at(site, commit))
        server.close()
    return Row("push-ready", Target(1.0, "seconds"), late)


def flux_noop(rounds: int) -> Row:
    """Time the playbook of a second bootstrap, which must change nothing."""
    times, problems = [], []
    with cluster(workloads=True, flux=False) as plane, tempfile.TemporaryDirectory(prefix="bench-") as work:
        server = GitServer(Path(work, "git"))
        world = World(plane, server, Path(work))
        try:
            first = world.bootstrap()
            if not first["changed"]:
                raise BenchError(f"the first bootstrap: {first.get('msg')}")
            for number in range(rounds):
                run = timed(world.command("again"), f"flux-noop-{number}")
                times.append(run.seconds)
                changed = recaps(run.output)["localhost"].changed
                problems += [f"changed={changed}, wanted 0"] if changed else []
        finally:
            world.close()
            server.close()
    return Row("flux-noop", Target(3.0, "seconds"), times, broken_rules=list(dict.fromkeys(problems)))


def ready_at(site: Site, commit: str) -> float:
    """Return when kustomize-controller wrote down that the commit is applied, as its log says (to the millisecond)."""
    log = site.plane.directory / "log" / "kustomize-controller.log"
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for line in reversed(log.read_text().splitlines()):
            with contextlib.suppress(ValueError, KeyError):
                entry = json.loads(line)
                if "Reconciliation finished" in entry["msg"] and commit in str(entry.get("revision")):
                    return datetime.fromisoformat(entry["ts"]).astimezone(UTC).timestamp()
        time.sleep(0.1)
    raise BenchError(f"kustomize-controller did not say that it finished {commit}")
