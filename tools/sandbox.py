# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make throw-away hosts on this machine, turn them into a cluster, twice (the second run must change nothing), and release on it."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import load_catalogue

from tests.mirror.store import default_layout
from tools.check import SET_UP, environment
from tools.recap import recaps
from tools.stages import ROOT, Outcome, Stage, run_stage, run_stages, summary

INVENTORY = "inventories/sandbox"
ORDER = ("local", "staging", "production")
SET_UPS = {"local": "setup-local.yml", "staging": "setup-staging.yml"}
FORGE = ["ansible-playbook", "-i", f"{INVENTORY}/hosts.yml", "playbooks/sandbox-forge.yml"]
SECRETS = "playbooks/sandbox-secrets.yml"
HOSTS = ["ansible-playbook", "playbooks/sandbox.yml"]
AGAIN = "again"


def inventories(root: Path = ROOT) -> dict[str, str]:
    """Return the inventories of the sandbox's clusters by environment: of each, or one of an environment without a name."""
    found = {path.parent.name for path in (root / INVENTORY).glob("*/hosts.yml")}
    ordered = sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return {name: f"{INVENTORY}/{name}/hosts.yml" for name in ordered} or {"": f"{INVENTORY}/hosts.yml"}


def changed_hosts(output: str) -> dict[str, int]:
    """Return how many tasks changed each host, from ansible-playbook's recap; unchanged hosts left out."""
    return {host: recap.changed for host, recap in recaps(output).items() if recap.changed}


def run_again(stage: Stage, environment: Mapping[str, str]) -> Outcome:
    """Run a stage; for a second set-up also read its recap, and fail it where something changed."""
    if not stage.name.startswith(AGAIN):
        return run_stage(stage, environment)
    log = ROOT / ".dev" / "reports" / "again.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    outcome = run_stage(stage, {**environment, "ANSIBLE_LOG_PATH": str(log)})
    # ansible-playbook's log has a prefix on every line, which the recap's pattern does not expect
    lines = [line.partition("| ")[2] for line in log.read_text().splitlines()] if log.exists() else []
    recap = "\n".join(lines)
    changed = changed_hosts(recap)
    if outcome.ok and (changed or not recaps(recap)):
        found = ", ".join(f"{host} changed={count}" for host, count in changed.items()) or "no recap"
        print(f"wanted changed=0 on every host in the second run, found {found}", flush=True)
        return Outcome(stage, 1, outcome.seconds, None)
    return outcome


def host_stages(extra: list[str]) -> list[Stage]:
    """Return the stages of `make sandbox` that make the hosts; ``extra`` goes to their playbook."""
    return [
        *SET_UP[:1],
        Stage(SET_UP[1].name, SET_UP[1].purpose, SET_UP[1].commands, required=True),
        Stage("hosts", "throw-away hosts with systemd and sshd", [[*HOSTS, *extra]], required=True),
        Stage("forge", "a Git server on the host of that name", [FORGE], required=True),
    ]


def cluster_stages(clusters: Mapping[str, str]) -> list[Stage]:
    """Return the stages that make clusters of the hosts, by inventory (see `inventories`), and use them."""
    stages = []
    for name, inventory in clusters.items():
        run = ["ansible-playbook", "-i", inventory]
        command = [*run, f"playbooks/{SET_UPS.get(name, 'setup-production.yml')}"]
        called = f" {name}" if name else ""
        purpose = "from bare hosts to a cluster that follows its repository"
        stages += [
            Stage(f"set-up{called}", purpose, [[*run, SECRETS], command], required=True),
            Stage(f"{AGAIN}{called}", "the same command once more, nothing to do", [command]),
        ]
    if len(clusters) > 1:
        command = [sys.executable, "-m", "tools.apart", *clusters.values()]
        stages.append(Stage("apart", "nothing that opens one environment opens another", [command]))
    # An environment of the story that has no cluster of its own is a namespace of the first one.
    first = next(iter(clusters.values()))
    story = [sys.executable, "-m", "tools.story", *(clusters.get(name, first) for name in ORDER)]
    return [*stages, Stage("story", "a release from one environment to the next, and back where it is bad", [story])]


def main() -> int:
    """Run the stages; return 1 if any of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["up", "down"])
    parser.add_argument("extra", nargs="*", help="more arguments for the playbook that makes the hosts")
    arguments = parser.parse_args()
    if arguments.verb == "down":
        stages = [Stage("hosts", "remove them", [[*HOSTS, "-e", "sandbox_state=absent", *arguments.extra]])]
    else:
        stages = host_stages(arguments.extra)
    outcomes = run_stages(stages, environment(stages))
    if arguments.verb == "up" and all(outcome.ok for outcome in outcomes):
        outcomes += run_stages(cluster_stages(inventories()), environment(stages), run_again)
    print(f"\n{summary(outcomes)}", flush=True)
    if not all(outcome.ok for outcome in outcomes):
        return 1
    if arguments.verb == "up":
        print(f"\n{farewell(inventories())}", flush=True)
    return 0


def farewell(clusters: Mapping[str, str]) -> str:
    """Say how to look at what runs."""
    entry = load_catalogue().resolve("kubectl", None, platform.machine())
    kubectl = "kubectl" if shutil.which("kubectl") else default_layout().mirror / entry.path
    lines = []
    for name, inventory in clusters.items():
        lines += [
            f"{name or 'The cluster'} runs. Look at it:  {kubectl} --context {'-'.join(filter(None, ['sandbox', name]))} get nodes,pods -A",
            f"    what Flux has brought into it:  ansible-playbook -i {inventory} playbooks/status.yml",
        ]
    return "\n".join([*lines, "Remove everything:  make sandbox-down"])


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
