# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster that Flux is to be brought into by flux_bootstrap.

The controllers that it installs are kwok's pods; processes do their work as soon as their definitions are served.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.branch import publish
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError

from tests.integration.controlplane import control_plane
from tests.integration.controlplane.control_plane import ControlPlane, Missing
from tests.integration.controlplane.git_server import GitServer
from tests.mirror.store import default_layout

COLLECTION = Path(__file__).parents[3]
VERSION = "2.9.4"
NAMESPACE = "flux-system"
SOURCE = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{NAMESPACE}/gitrepositories/{NAMESPACE}"
ROOT = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{NAMESPACE}/kustomizations/{NAMESPACE}"


class World:
    """A cluster without Flux, an empty repository, and a play that brings them together."""

    def __init__(self, plane: ControlPlane, server: GitServer, directory: Path) -> None:
        self.plane = plane
        self.server = server
        self.directory = directory
        self.repository = server.create("infra/environments.git")
        self.over = threading.Event()
        self._watcher = threading.Thread(target=self._start_controllers, daemon=True)
        self._watcher.start()

    def close(self) -> None:
        self.over.set()
        self._watcher.join()
        self.plane.down()

    def _start_controllers(self) -> None:
        with self.plane.session() as session:
            while not self.over.wait(0.1):
                with contextlib.suppress(KubeError, OSError):
                    if control_plane.established(session) and session.find(f"/api/v1/namespaces/{NAMESPACE}"):
                        control_plane.start_flux(self.plane)
                        self.over.wait()  # the controllers die with the thread that has started them

    def command(self, name: str = "play", *arguments: str, **options: Any) -> list[str]:
        wanted: dict[str, Any] = {
            "environment": "staging",
            "version": VERSION,
            "manifests": str(archive()),
            "repository": {"url": f"{self.server.url}/infra/environments.git", "path": "clusters/staging"},
            "kubeconfig": str(self.plane.kubeconfig),
            "context": "test",
            "timeout": 60,
        }
        tasks = [{"stagecraft.gitops.flux_bootstrap": wanted | options}]
        path = self.directory / f"{name}.yml"
        path.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        return [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            "localhost,",
            "-c",
            "local",
            str(path),
            *arguments,
        ]

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTION / ".dev" / "collections"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"),
            "HOME": str(self.directory),
        }
        return subprocess.Popen(
            command,
            cwd=self.directory,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def bootstrap(self, *arguments: str, **options: Any) -> dict[str, Any]:
        """Run the play and return the task's result, a failed one too."""
        return self.result(self.start(self.command("play", *arguments, **options)))

    def result(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        output, _ = process.communicate(timeout=150)
        found: dict[str, Any] = json.JSONDecoder().raw_decode(output[output.index("{") :])[0]
        answer: dict[str, Any] = found["plays"][0]["tasks"][0]["hosts"]["localhost"]
        return answer

    def commits(self) -> list[str]:
        argv = ["git", "log", "--format=%s", "main"]
        done = subprocess.run(argv, cwd=self.repository, capture_output=True, text=True, check=False)
        return done.stdout.splitlines()

    def head(self) -> str:
        argv = ["git", "rev-parse", "main"]
        return subprocess.run(argv, cwd=self.repository, capture_output=True, text=True, check=True).stdout.strip()

    def parent(self, commit: str) -> str:
        argv = ["git", "rev-parse", f"{commit}^"]
        return subprocess.run(argv, cwd=self.repository, capture_output=True, text=True, check=True).stdout.strip()

    def push(self, path: str, text: str) -> str:
        """Commit a file as somebody else, on the server itself; return the commit."""
        remote, author = Remote(f"file://{self.repository}", "main"), Author("Ada", "ada@example.com")
        done = publish(remote, lambda *_: {path: text.encode()}, lambda _: f"feat: {path}\n", author)
        assert done.commit is not None
        return done.commit

    def get(self, path: str) -> Any:
        with self.plane.session() as session:
            return session.find(path)

    def follows(self, commit: str) -> None:
        """Both objects are ready at a commit, by what the cluster itself says."""
        source, root = self.get(SOURCE), self.get(ROOT)
        assert source["status"]["artifact"]["revision"] == f"main@sha1:{commit}"
        assert root["status"]["lastAppliedRevision"] == f"main@sha1:{commit}"
        for item in (source, root):
            ready = next(c for c in item["status"]["conditions"] if c["type"] == "Ready")
            assert ready["status"] == "True", ready


def archive() -> Path:
    """The manifests that tests/mirror builds. Raises Missing."""
    found = default_layout().mirror / load_catalogue().resolve("flux-manifests", VERSION, "amd64").path
    if not found.is_file():
        raise Missing(f"{found} is missing: run `make mirror`")
    return found
