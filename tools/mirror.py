# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill the mirror that sandbox hosts are set up from: by download where upstream answers, else built from sources.

Says which of the two it does and why. A mirror that is there already keeps its kind: the two have different checksums.
The Debian packages of the sandbox's hosts are always taken from the machine's own apt sources.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import Entry, load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import ArtifactError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import MIRROR_LOCK, Lock
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.mirror import mirror, unreachable
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.progress import reporter
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Source

from tests.mirror.store import Layout, default_layout
from tools.stages import ROOT

#: The versions of K3s that the tests start with and go to.
K3S_VERSIONS = ("v1.36.3+k3s1", "v1.35.8+k3s1")


def wanted() -> list[Entry]:
    """Return what the sandbox's clusters can ask for, with either network, on this machine's architecture."""
    options = {"network_policy": "kube-router", "etcd_tools": "present", "checks": "present", "gitops": "flux"}
    catalogue, here = load_catalogue(), (platform.machine(),)
    entries = catalogue.environment("kubeadm", None, here, {"cni": "flannel", **options})
    for version in K3S_VERSIONS:
        entries += catalogue.environment("k3s", version, here)
    entries += catalogue.environment("minikube", None, here, {"driver": "none", "checks": "present", "gitops": "flux"})
    return entries


def build(layout: Layout, *only: str) -> None:
    """Run tests/mirror, which prints its own progress; ``only`` restricts it to parts."""
    arguments = [word for name in only for word in ("--only", name)]
    command = [sys.executable, "-m", "tests.mirror", "build", *arguments]
    finished = subprocess.run(command, cwd=ROOT, env={**os.environ, "STAGECRAFT_CACHE": str(layout.cache)}, check=False)
    if finished.returncode:
        raise SystemExit(finished.returncode)


def download(layout: Layout, entries: list[Entry]) -> None:
    """Download every entry into the mirror, verified, and put the apt repository beside them."""
    lock = Lock.load(layout.cache / "upstream.lock.json")
    progress = reporter(sys.stdout, len(entries))
    change = mirror(layout.mirror).fill(
        entries, Source.upstream(), layout.cache / "artifacts", lock, progress=progress, jobs=os.cpu_count() or 1
    )
    print(f"mirror: {len(change.put)} artefacts downloaded, {len(entries) - len(change.put)} were there", flush=True)
    # What tests/mirror builds must not mix with upstream's files: it gets a place of its own, shown here by a link.
    packages = Layout(layout.cache / "packages")
    build(packages, "apt")
    link = layout.mirror / "apt"
    if not link.is_symlink():
        link.symlink_to(packages.mirror / "apt")


def main() -> None:
    """Choose, say so, do it."""
    layout = default_layout()
    kind = Lock.load(layout.mirror / MIRROR_LOCK).origin
    if kind == "built":
        print(f"mirror: {layout.mirror} was built from sources and stays so", flush=True)
        build(layout)
        return
    entries = wanted()
    problems = unreachable(entries)
    if not problems:
        print(f"mirror: the download sites answer: downloading into {layout.mirror}", flush=True)
        download(layout, entries)
    elif kind == "downloaded":
        print(
            f"mirror: {layout.mirror} was downloaded before and the sites do not answer now: used as it is", flush=True
        )
    else:
        print(
            f"mirror: {', '.join(sorted(problems))} cannot be reached: building from the sources that the package"
            f" registries have, into {layout.mirror}",
            flush=True,
        )
        build(layout)


if __name__ == "__main__":
    try:
        main()
    except ArtifactError as error:
        raise SystemExit(f"mirror: {error}") from error
