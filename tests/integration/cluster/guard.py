# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of playbooks on a sandbox with the fullest output there is, looked at for what nobody may see.

What is secret may be known after the runs only, such as the token that a cluster makes itself: all that was to be seen is kept until then.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.integration.canary import Sampler
from tests.integration.cluster.lab import Lab, Run, run_playbook
from tests.integration.openbao_host.site import shown
from tools.story import put_into_vault

_IDENTITY = re.compile(r"^AGE-SECRET-KEY-\w+$", re.MULTILINE)


class Watch(Sampler):
    """Keeps the arguments of processes, and the files of directories that may live for a moment only, each with its path."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self.arguments: set[bytes] = set()
        self.files: dict[bytes, str] = {}
        super().__init__(lambda _process, words: self.arguments.add(words), self._keep, directories)

    def __enter__(self) -> Watch:
        super().__enter__()
        return self

    def _keep(self, path: str, content: bytes) -> None:
        self.files.setdefault(content, path)


class Guard:
    """What is known to be secret, by what it is, and what runs showed: in their output, facts, temporary files and arguments."""

    def __init__(self, lab: Lab, directory: Path, watch: Watch) -> None:
        self.lab, self.directory, self.watch = lab, directory, watch
        self.known = {"of the inventory": f"canary-{secrets.token_hex(16)}"}
        self.outputs: list[bytes] = []

    @property
    def canary(self) -> str:
        """Return the value that the inventory gives."""
        return self.known["of the inventory"]

    def run(
        self, inventory: str, playbook: str, *options: str, variables: Mapping[str, Any], timeout: float = 900
    ) -> Run:
        """Run a playbook; keep what it says. The variables go into a file, for an argument is there for all to see."""
        file = self.directory / "variables.json"
        file.write_text(json.dumps(dict(variables)))
        extra = {
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(self.directory / "facts"),
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"),
            "TMPDIR": str(self.directory / "tmp"),
        }
        done = run_playbook(["-i", inventory, "-vvvv", "--diff", "-e", f"@{file}", *options, playbook], timeout, extra)
        self.outputs.append(done.output.encode())
        return done

    def playbook(self, playbook: str, *options: str, **variables: Any) -> Run:
        """Run a playbook on the cluster, as ``Lab.playbook`` does."""
        return self.run(str(self.lab.inventory), playbook, *options, variables={**self.lab.settings(), **variables})

    def learn(self, found: Mapping[str, str]) -> None:
        """Take in what else is secret: what it is, by its value."""
        self.known |= {
            f"{what} ({len(self.known) + count})": value for count, (value, what) in enumerate(found.items())
        }

    def learn_kubeconfig(self) -> None:
        """Take in the private key that opens the cluster now."""
        (user,) = yaml.safe_load(self.lab.kubeconfig.read_text())["users"]
        key = base64.b64decode(user["user"]["client-key-data"]).decode().splitlines()
        self.learn({line: "key of the admin" for line in key[1:-1] if len(line) == 64})

    def learn_vault(self, place: Path) -> None:
        """Take in what playbooks/sandbox-secrets.yml has made in `place`, and put the canary into the vault."""
        for name in ("admin", "safe"):
            (identity,) = _IDENTITY.findall((place / f"{name}.txt").read_text())
            self.known[f"{place.name}: identity {name}"] = identity
        password = (place / "vault-password").read_text().strip()
        self.known[f"{place.name}: password of the vault"] = password
        opened = VaultLib([("default", VaultSecret(password.encode()))]).decrypt((place / "vault.yml").read_bytes())
        self.known[f"{place.name}: MAC key"] = yaml.safe_load(opened)["seal_mac_key"]
        put_into_vault(place / "vault.yml", password.encode(), "hello_token", self.canary)

    def must_not_show(self, in_files: Sequence[str] = ()) -> None:
        """Fail where something secret was to be seen up to now; `in_files` may lie in a file for a moment."""
        assert shown({"options": "--diff"}, self.watch.arguments), "no run was seen"
        assert self.watch.files, "no temporary file was seen"
        allowed = {name: value for name, value in self.known.items() if name not in in_files}
        facts = {path.read_bytes(): str(path) for path in (self.directory / "facts").rglob("*") if path.is_file()}
        found = {f"output: {what}" for what in shown(self.known, self.outputs)}
        found |= {f"an argument: {what}" for what in shown(self.known, self.watch.arguments)}
        for known, files in ((allowed, self.watch.files), (self.known, facts)):
            found |= {f"{path}: {what}" for content, path in files.copy().items() for what in shown(known, [content])}
        assert not found, f"it was to be seen in {sorted(found)}"


@contextmanager
def watched(lab: Lab, hosts: Sequence[str]) -> Iterator[tuple[Path, Watch]]:
    """Yield a directory for Ansible's own files, and what looks on, there and where hosts have temporary files."""
    # Ansible puts sockets there, whose paths must be short.
    directory = Path(tempfile.mkdtemp(prefix="guard-"))
    (directory / "tmp").mkdir()
    uppers = [lab.directory / "hosts" / host / "disk" / "upper" for host in hosts]
    places = [upper / path for upper in uppers for path in ("root/.ansible", "tmp", "var/tmp")]
    try:
        with Watch([directory / "tmp", *places]) as watch:
            yield directory, watch
    finally:
        shutil.rmtree(directory, ignore_errors=True)
