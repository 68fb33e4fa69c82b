# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bare repository with two environments, and somebody who commits to it by hand."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.operation import Place
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Options, Run

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
AUTHOR = Author("Ada", "ada@example.com")
A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
IMAGE = "ghcr.io/x/podinfo"
SELECTOR = f"images[{IMAGE}]"
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: podinfo
spec:
  replicas: 1
  selector:
    matchLabels: {app: podinfo}
  template:
    metadata:
      labels: {app: podinfo}
    spec:
      containers:
        - name: podinfo
          image: ghcr.io/x/podinfo
          resources:
            requests: {cpu: 10m, memory: 16Mi}
"""


def kustomization(tag: str, digest: str = "", replicas: int = 1, marker: str = "") -> str:
    """An overlay as people write it."""
    said = f"    newTag: {tag}{marker}\n" + (f"    digest: {digest}\n" if digest else "")
    return (
        "# the overlay of this environment\n\n"
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: apps   # its own\n"
        "resources: [../../base/podinfo]\nimages:\n"
        "  - name: ghcr.io/x/zebra\n    newTag: '9'   # a sidecar\n"
        f"    digest: {C}\n"
        f"  - name: {IMAGE}\n{said}"
        f"replicas:\n  - {{name: podinfo, count: {replicas}}}\n"
    )


class Lab:
    """The repository, and runs on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = directory / "server.git"
        self.work = directory / "work"
        self._time = itertools.count(1_795_000_000, 60)
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.server), cwd=directory)
        self.git("clone", "--quiet", str(self.server), str(self.work), cwd=directory)
        self.git("checkout", "--quiet", "-B", "main")
        self.first = self.commit(
            {
                "clusters/base/podinfo/kustomization.yaml": "resources: [deployment.yaml]\n",
                "clusters/base/podinfo/deployment.yaml": DEPLOYMENT,
                "clusters/staging/podinfo/kustomization.yaml": kustomization("6.6.0", B),
                "clusters/production/podinfo/kustomization.yaml": kustomization("6.5.4", A, replicas=3),
                "README.md": "hello\n",
            },
            "feat: begin",
        )

    @property
    def url(self) -> str:
        return f"file://{self.server}"

    def git(self, *arguments: str, cwd: Path | None = None, **environment: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=Bob", "-c", "user.email=bob@example.com", *arguments],
            cwd=cwd or self.work,
            check=True,
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.directory), **environment},
        )
        return done.stdout.strip()

    def commit(self, files: Mapping[str, str | None], message: str = "chore: by hand") -> str:
        """Commit to the branch by hand, a minute after the commit before."""
        if self.git("ls-remote", str(self.server)):
            self.git("pull", "--quiet", "--rebase", "origin", "main")
        for path, text in files.items():
            target = self.work / path
            if text is None:
                target.unlink()
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
        self.git("add", "-A")
        when = f"{next(self._time)} +0000"
        self.git("commit", "--quiet", "--allow-empty", "-m", message, GIT_AUTHOR_DATE=when, GIT_COMMITTER_DATE=when)
        self.git("push", "--quiet", "origin", "main")
        return self.git("rev-parse", "HEAD")

    def head(self, branch: str = "main") -> str:
        return self.git("rev-parse", branch, cwd=self.server)

    def text(self, path: str, revision: str = "main") -> str:
        """The bytes of a file on the server."""
        done = subprocess.run(
            ["git", "cat-file", "blob", f"{revision}:{path}"], cwd=self.server, check=True, capture_output=True
        )
        return done.stdout.decode()

    def message(self, revision: str = "main") -> str:
        return self.git("log", "-1", "--format=%B", revision, cwd=self.server)

    def tree(self, revision: str = "main") -> dict[str, str]:
        """All files of a commit with their content's ids."""
        lines = self.git("ls-tree", "-r", revision, cwd=self.server).splitlines()
        return {line.partition("\t")[2]: line.split()[2] for line in lines}

    def place(self, **changes: Any) -> Place:
        given = {"actor": "ada (laptop)", "cache": self.directory / "cache", **changes}
        return Place(Remote(self.url, "main"), AUTHOR, **given)

    def run(self, place: Mapping[str, Any] | None = None, now: datetime = NOW, **options: Any) -> Run:
        given = {"verify": verify.Options(enabled=False), **options}
        return Run(self.place(**(place or {})), Options(**given), now)

    def promote(self, *components: str, place: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        how = {key: options.pop(key) for key in ("what", "truth", "pin_digest") if key in options}
        source, target = options.pop("source", "staging"), options.pop("target", "production")
        run = self.run(place, options.pop("now", NOW), **options)
        try:
            return run.promote(source, target, components or ("podinfo",), ask_registry=False, **how)
        finally:
            run.close()

    def rollback(
        self, to: str = "previous", *components: str, place: Mapping[str, Any] | None = None, **options: Any
    ) -> dict[str, Any]:
        how = {key: options.pop(key) for key in ("hold", "until") if key in options}
        environment = options.pop("environment", "production")
        method = options.pop("method", "restore")
        run = self.run(place, options.pop("now", NOW), **{"reason": "it is broken", **options})
        try:
            if method == "ref":
                return run.move(environment, to)
            return run.rollback(environment, components or ("podinfo",), to, revert_all=method == "revert", **how)
        finally:
            run.close()
