# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take K3s off a host: programs, containers, mounts, rules and files, with the journal last."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import (
    AGENT_TOKEN_FILE,
    DATA,
    TOKEN_FILE,
    UNITS,
    Host,
    NodeError,
    remove_file,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.observe import CREDENTIALS
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import forget

#: Where mounts of pods and containers are, deepest first within each.
MOUNTS = ("/run/k3s", "/var/lib/kubelet/pods", "/var/lib/kubelet/plugins", "/run/netns/cni-", DATA)
#: Directories whose content goes; they may be mount points themselves and stay.
CONTENT = (DATA, "/var/lib/kubelet", "/var/lib/cni", "/run/k3s", "/run/flannel", "/etc/rancher/k3s")
FILES = (
    # before any content: what a cleaning that was cut short leaves is told from a member by its absence
    CREDENTIALS,
    "/etc/systemd/system/k3s.service.env",
    "/etc/systemd/system/k3s-agent.service.env",
    "/etc/systemd/system/k3s.service",
    "/etc/systemd/system/k3s-agent.service",
    "/etc/rancher/node/password",
    TOKEN_FILE,
    AGENT_TOKEN_FILE,
)
LINKS = ("cni0", "flannel.1", "flannel-v6.1", "kube-ipvs0", "flannel-wg", "flannel-wg-v6")
#: Rules of Kubernetes, CNI plugins and flannel, as their comments and chains name them.
RULES = re.compile(r"KUBE-|CNI-|flannel|cni0", re.IGNORECASE)


def reset(host: Host, timeout: float) -> list[str]:
    """Remove everything of K3s from the host; returns what was removed.

    The journal goes last: killed in between, the host still counts as unfinished and is cleaned again.
    """
    removed = []
    for unit in UNITS.values():
        host.run(["systemctl", "disable", "--now", unit], timeout=timeout)
        host.run(["systemctl", "reset-failed", unit])
    if _end_containers(host):
        removed.append("containers")
    _unmount(host)
    for link in LINKS:
        host.run(["ip", "link", "delete", link])
    for tables in ("iptables", "ip6tables"):
        _clean_rules(host, tables)
    for path in FILES:
        if host.exists(path):
            removed.append(path)
        remove_file(host.path(path))
    removed += [directory for directory in CONTENT if empty(host.path(directory))]
    for name in ("k3s", "kubectl", "crictl", "ctr"):
        program = host.path(f"/usr/local/bin/{name}")
        if program.is_symlink() and "k3s" in os.readlink(str(program)):
            program.unlink()
            removed.append(str(program))
    for directory in (*CONTENT, "/etc/rancher/node", "/etc/rancher"):
        _drop(host.path(directory))
    host.run(["systemctl", "daemon-reload"])
    forget(host.state)
    return removed


def _end_containers(host: Host) -> bool:
    """Kill the shims of K3s' containerd with all that runs below them: they outlive the unit by design."""
    ended = False
    for _round in range(20):
        shims = _shims(host)
        if not shims:
            return ended
        ended = True
        for pid in _with_children(host, shims):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    raise NodeError(f"containers of K3s did not end: processes {', '.join(map(str, _shims(host)))}")


def _shims(host: Host) -> list[int]:
    found = []
    for entry in host.path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if line.startswith(f"{DATA}/data/".encode()) and b"/bin/containerd-shim" in line.split(b"\0")[0]:
            found.append(int(entry.name))
    return found


def _with_children(host: Host, pids: list[int]) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in host.path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    todo, found = list(pids), []
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += parents.get(pid, [])
    return found


def _unmount(host: Host) -> None:
    """Unmount what pods and containers mounted; a directory of ours that is a mount point itself stays."""
    points = [line.split()[1] for line in (host.read_text("/proc/self/mounts") or "").splitlines() if line.strip()]
    for point in sorted(set(points), reverse=True):
        path = point.replace("\\040", " ")
        if any(path.startswith(start if start.endswith("-") else start + "/") for start in MOUNTS):
            host.run(["umount", "--lazy", path])


def _clean_rules(host: Host, program: str) -> None:
    """Take the rules of Kubernetes and flannel out; those of others stay as they are."""
    saved = host.run([f"{program}-save"])
    if saved.rc != 0:
        return
    kept = [line for line in saved.stdout.splitlines() if not RULES.search(line)]
    if len(kept) == len(saved.stdout.splitlines()):
        return
    done = host.run([f"{program}-restore"], input_text="\n".join(kept) + "\n")
    if done.rc != 0:
        raise NodeError(f"{program}-restore refused the rules without those of Kubernetes: {done.stderr.strip()}")


def _drop(directory: Path) -> None:
    """Remove a directory that is empty; a mount point, or one that somebody else uses, stays."""
    with contextlib.suppress(OSError):
        directory.rmdir()


def empty(directory: Path) -> bool:
    """Remove what is in ``directory``; the directory itself stays. Says whether there was anything."""
    if not directory.is_dir():
        return False
    found = False
    for entry in directory.iterdir():
        found = True
        if entry.is_dir() and not entry.is_symlink():
            if os.path.ismount(str(entry)):
                empty(entry)
            else:
                shutil.rmtree(str(entry))
        else:
            entry.unlink()
    return found
