# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a plan, carried out: a profile is deleted, started, stopped, its addons and names are switched."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.minikube import names
from ansible_collections.stagecraft.gitops.plugins.module_utils.minikube.host import (
    Completed,
    Host,
    NodeError,
    forget,
    read_json,
    remove_file,
    write_file,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.minikube.observe import observe, summary
from ansible_collections.stagecraft.gitops.plugins.module_utils.node import host as journal

PAUSE = 0.5


def _check(done: Completed, what: str, remedy: str) -> None:
    if done.rc != 0:
        said = journal.last_lines(f"{done.stdout}\n{done.stderr}")
        raise NodeError(f"minikube {what} ended with {done.rc}:\n{said}\n{remedy}")


def delete(host: Host, timeout: float) -> None:
    """Delete the profile with everything in it; one that does not exist is fine."""
    _check(host.minikube(["delete"], timeout), "delete", "Run the playbook again; it goes on where this ended.")
    path = host.path(host.kubeconfig)
    if path.exists():
        path.unlink()


def start(host: Host, entry: Mapping[str, Any], arguments: Sequence[str], timeout: float) -> None:
    """Make the profile, or start the one that there is with these settings, and wait until its node is ready."""
    journal.begin(host.state, entry)
    directory = host.path(host.kubeconfig).parent
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _own(host)
    words = ["start", *arguments, "--interactive=false", "--embed-certs=true", "--delete-on-failure=false"]
    done = host.minikube(
        [*words, "--wait=apiserver,node_ready,default_sa", f"--wait-timeout={timeout:.0f}s"], timeout + 60.0
    )
    _check(done, "start", "minikube logs says more. What it began, the next run finishes.")
    wait(host, timeout)


def _own(host: Host) -> None:
    """Give the directories that were just made to the user whom Minikube runs as."""
    if host.user == "root":
        return
    owner = os.stat(str(host.path(host.home)))
    for path in (host.path(host.directory), host.path(host.kubeconfig).parent):
        os.chown(str(path), owner.st_uid, owner.st_gid)


def wait(host: Host, timeout: float) -> None:
    """Return when the cluster works; raise NodeError with what is missing after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        observed = observe(host)
        if observed["running"]:
            return
        if time.monotonic() >= deadline:
            waiting = [node["name"] for node in observed["api"]["nodes"] if not node["ready"]]
            problem = observed["api"]["problem"] or f"not ready: {', '.join(waiting) or 'the API server'}"
            raise NodeError(f"profile {host.profile} was started, and {problem} (waited {timeout:.0f} s)")
        time.sleep(PAUSE)


def stop(host: Host, timeout: float) -> None:
    """Stop the cluster; everything in it stays."""
    _check(host.minikube(["stop"], timeout), "stop", "Run the playbook again.")


def switch_addons(host: Host, wanted: Sequence[str], timeout: float) -> list[str]:
    """Enable what is wanted and not there, disable what is there and not wanted; returns what was done."""
    record = read_json(host.record)
    enabled = set(summary(record)["addons"]) if record else set()
    todo = [("enable", name) for name in wanted if name not in enabled]
    todo += [("disable", name) for name in sorted(enabled - set(wanted))]
    for verb, name in todo:
        done = host.minikube(["addons", verb, name], timeout)
        _check(done, f"addons {verb} {name}", "minikube addons list names those that there are.")
    return [f"addon {name} {verb}d" for verb, name in todo]


def write_names(host: Host, wanted: Sequence[str]) -> bool:
    """Put the names of the cluster into /etc/hosts; says whether that changed it.

    The file is written in place: it may be a mount of its own, over which nothing can be renamed.
    """
    record = read_json(host.record)
    address = summary(record)["address"] if record else ""
    path = host.path(names.HOSTS)
    old = host.read_text(names.HOSTS) or ""
    new = names.write(old, host.profile, address, wanted if address else ())
    if new == old:
        return False
    if os.path.ismount(str(path)):
        path.write_text(new, encoding="utf-8")
    else:
        write_file(path, new.encode(), mode=0o644)
    return True


def carry_out(host: Host, steps: Sequence[str], wanted: Mapping[str, Any], timeout: float) -> list[str]:
    """Carry the steps of a plan out, in this order whatever theirs; returns what was done, in words.

    ``wanted`` holds ``entry`` (for the journal), ``arguments`` (of minikube start), ``addons`` and ``names``.
    """
    did = []
    if "delete" in steps:
        # from here on nobody takes what is left for whole: a run that is killed in between deletes once more
        journal.begin(host.state, wanted["entry"])
        remove_file(host.state / "member.json")
        delete(host, timeout)
        did.append(f"deleted profile {host.profile}")
    if "start" in steps:
        start(host, wanted["entry"], wanted["arguments"], timeout)
        did.append(f"started profile {host.profile}")
    if "stop" in steps:
        stop(host, timeout)
        did.append(f"stopped profile {host.profile}")
    if "addons" in steps or "start" in steps:
        did += switch_addons(host, wanted["addons"], timeout)
    if ("names" in steps or "start" in steps) and write_names(host, wanted["names"]):
        did.append(f"wrote {names.HOSTS}")
    if "start" in steps:
        known = read_json(host.state / "member.json") or {}
        journal.finish(host.state, {**wanted["entry"], "since": known.get("since", int(time.time()))})
    return did


def remove(host: Host, timeout: float) -> list[str]:
    """Delete the profile and what was written for it; the journal goes last. Returns what was done, in words."""
    # whose it is stays known: one that was never finished is not anybody's when a run is killed here
    known = read_json(host.state / "member.json") or read_json(host.state / "begun.json") or {}
    journal.begin(host.state, known)
    did = []
    if read_json(host.record) is not None or host.exists(host.kubeconfig):
        delete(host, timeout)
        did.append(f"deleted profile {host.profile}")
    if write_names(host, ()):
        did.append(f"wrote {names.HOSTS}")
    forget(host)
    return did
