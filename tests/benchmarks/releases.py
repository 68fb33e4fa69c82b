# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of releases: a repository of 10,000 files over SSH on this machine, and a history of 10,000 commits."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import history, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import Component, Environment
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.operation import Place
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Options, Run
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.state import Reader

from tests.benchmarks.hosts import BenchError
from tests.benchmarks.report import Row, Target
from tests.integration.controlplane import control_plane
from tests.integration.controlplane.git_server import GitServer
from tests.integration.controlplane.site import Site
from tests.integration.controlplane.test_release import Releases
from tests.integration.gitops_check import kustomize
from tests.integration.ssh.conftest import end, start

APPLICATIONS = 500
FILES = 10
COMMITS = 10_000
EVERY = 25
WRITERS = 50
MOST_RATIO = 0.5
_MANIFEST = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app{app}-{number}\n  labels: {{app: app{app}}}\ndata:\n  key: value\n"
_SCRIPT = """\
set -e
git clone --quiet --depth 1 "$URL" "$WORK/clone"
cd "$WORK/clone/clusters/production/app$NUMBER"
"$KUSTOMIZE" edit set image "example.com/app$NUMBER:$TAG"
git -c user.name=x -c user.email=x@example.com commit --quiet -am "promote app$NUMBER"
git push --quiet
"""


def overlay(app: int, tag: str) -> str:
    """A kustomization with one image."""
    files = "".join(f"- {number}.yaml\n" for number in range(FILES - 1))
    return (
        f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{files}"
        f"images:\n- name: example.com/app{app}\n  newTag: {tag}\n"
    )


def stream(commits: int) -> Iterator[bytes]:
    """What git fast-import reads: both environments in one commit, and then commits of which some change app0."""

    def blob(text: str) -> bytes:
        return f"data {len(text.encode())}\n{text}\n".encode()

    yield b"commit refs/heads/main\ncommitter x <x@example.com> 1700000000 +0000\ndata 5\nbegin\n"
    for name, tag in (("staging", "v2"), ("production", "v1")):
        for app in range(APPLICATIONS):
            root = f"clusters/{name}/app{app}"
            yield f"M 100644 inline {root}/kustomization.yaml\n".encode() + blob(overlay(app, tag))
            for number in range(FILES - 1):
                text = _MANIFEST.format(app=app, number=number)
                yield f"M 100644 inline {root}/{number}.yaml\n".encode() + blob(text)
    for number in range(1, commits):
        yield f"commit refs/heads/main\ncommitter x <x@example.com> {1_700_000_000 + number} +0000\ndata 4\nnext\n".encode()
        if number % EVERY:
            path, text = f"clusters/production/app{1 + number % (APPLICATIONS - 1)}/0.yaml", f"# {number}\n"
        else:
            path, text = "clusters/production/app0/kustomization.yaml", overlay(0, f"v1.{number}")
        yield f"M 100644 inline {path}\n".encode() + blob(text)


@dataclass(frozen=True)
class SshSite:
    """A repository behind an SSH server of this machine."""

    url: str
    directory: Path
    key_file: Path
    known_hosts: Path

    def place(self) -> Place:
        remote = Remote(self.url, "main", str(self.key_file), self.known_hosts.read_text())
        return Place(remote, Author("Ada", "ada@example.com"), "bench", cache=self.directory / "cache")

    def promote(self, app: int, **options: Any) -> dict[str, Any]:
        run = Run(self.place(), Options(verify=verify.Options(enabled=False), **options))
        result = run.promote("staging", "production", [f"app{app}"], ask_registry=False)
        if result.get("failed"):
            raise BenchError(result["msg"])
        return result

    def environment(self) -> dict[str, str]:
        ssh = f"ssh -i {self.key_file} -o IdentitiesOnly=yes -o UserKnownHostsFile={self.known_hosts}"
        return {**os.environ, "GIT_SSH_COMMAND": ssh, "URL": self.url}


@contextmanager
def site(commits: int = 1) -> Iterator[SshSite]:
    """Make the repository and its server."""
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        root = Path(work)
        bare, sshd = root / "server.git", root / "sshd"
        sshd.mkdir()
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(bare)], check=True)
        subprocess.run(["git", "fast-import", "--quiet"], cwd=bare, input=b"".join(stream(commits)), check=True)
        options = [f"AuthorizedKeysFile {sshd / 'authorized_keys'}", "PasswordAuthentication no"]
        # Git hosts run git, and not what a user of this machine has in ~/.bashrc, which bash reads at the first level
        # below sshd: that alone can take half a second, for us and for the script.
        server = start(sshd, [*options, "SetEnv SHLVL=2"])
        try:
            user = "root" if os.geteuid() == 0 else Path.home().name
            yield SshSite(f"ssh://{user}@127.0.0.1:{server.port}{bare}", root, server.key_file, server.known_hosts)
        finally:
            end(server.process)


def timed(do: Any) -> float:
    """Return the wall seconds of a call."""
    started = time.monotonic()
    do()
    return time.monotonic() - started


def plan(rounds: int) -> Row:
    """Check mode of one promotion."""
    with site() as place:
        place.promote(0, check_mode=True)
        return Row(
            "plan", Target(0.3, "seconds"), [timed(lambda: place.promote(0, check_mode=True)) for _ in range(rounds)]
        )


def land(rounds: int) -> Row:
    """One promotion, in turns with a script that does the same, without a gate or a look at what it changes."""
    program = kustomize.program()
    if program is None:
        raise BenchError("kustomize is not here, and no Go to build it with")
    ours, other = [], []
    with site() as place:
        place.promote(0, check_mode=True)
        for number in range(rounds):
            ours.append(timed(lambda app=number: place.promote(app)))
            other.append(by_script(place, program, number + 100))
    ratio = statistics.median(ours) / statistics.median(other)
    broken = [f"{ratio:.2f} of the script, wanted at most {MOST_RATIO}"] if ratio > MOST_RATIO else []
    what = "a script: shallow clone, kustomize edit set image, commit, push"
    return Row("land", Target(1.0, "seconds"), ours, other, what, broken)


def by_script(place: SshSite, program: Path, app: int) -> float:
    """Return the wall seconds of the script for one application."""
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        environment = {**place.environment(), "WORK": work, "KUSTOMIZE": str(program), "NUMBER": str(app), "TAG": "v2"}
        command = ["bash", "-c", _SCRIPT]
        return timed(lambda: subprocess.run(command, env=environment, check=True, capture_output=True))


def noop(rounds: int) -> Row:
    """A promotion that has been done."""
    with site() as place:
        place.promote(0)
        return Row("noop", Target(0.2, "seconds"), [timed(lambda: place.promote(0)) for _ in range(rounds)])


def writers(rounds: int) -> Row:
    """Promotions of different components at the same moment; all must land, one after the other."""
    times, broken = [], []
    for _ in range(rounds):
        with site() as place, ThreadPoolExecutor(WRITERS) as pool:
            place.promote(0, check_mode=True)
            started = time.monotonic()
            done = list(pool.map(place.promote, range(WRITERS)))
            times.append(time.monotonic() - started)
            bare = place.directory / "server.git"
            count = subprocess.run(
                ["git", "rev-list", "--count", "--no-merges", "main"],
                cwd=bare,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            if count != str(WRITERS + 1) or not all(one["changed"] for one in done):
                broken.append(f"{count} commits, wanted {WRITERS + 1}")
    return Row("writers-50", Target(60.0, "seconds"), times, broken_rules=broken)


def mttr(rounds: int) -> Row:
    """From the push of a release that cannot start to the version before serving again, verified, on the real Flux."""
    times, broken = [], []
    try:
        plane = control_plane.up()
    except control_plane.Missing as missing:
        raise BenchError(str(missing)) from missing
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as work, plane.session() as session:
            root = Path(work)
            server = GitServer(root / "git")
            for number in range(rounds):
                own = root / str(number)
                own.mkdir()
                releases = Releases(Site(plane, session, server, f"bench{number}", own))
                releases.deliver()
                releases.site.wait(releases.push("staging", "missing"))
                done = releases.promote(gates={"source_healthy": "off"})
                if not done["rolled_back"] or "where it is well" not in done["msg"]:
                    broken.append(done.get("msg", "it was not rolled back"))
                parts = ("verify", "rollback", "verify_rollback")
                times.append(sum(done["durations"].get(part, 0.0) for part in parts))
            server.close()
    finally:
        plane.down()
    return Row("mttr", Target(15.0, "seconds"), times, broken_rules=broken)


def versions(rounds: int) -> Row:
    """All versions of one component, out of a clone that is there."""
    times, broken = [], []
    with site(COMMITS) as place:
        for _ in range(rounds + 1):
            with place.place().open() as repository:
                tip = repository.fetch(["main"])["main"]
                started = time.monotonic()
                environment = Environment("production", "clusters/production")
                found = history.versions(repository, Reader(repository), tip, environment, Component("app0"))
                times.append(time.monotonic() - started)
                if len(found) != COMMITS // EVERY:
                    broken.append(f"{len(found)} versions, wanted {COMMITS // EVERY}")
    return Row("history", Target(1.0, "seconds"), times[1:], broken_rules=list(dict.fromkeys(broken)))
