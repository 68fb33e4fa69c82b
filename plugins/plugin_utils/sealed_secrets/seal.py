# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file lacks to hold a declared Secret, and its text then. Two runs with the same values give the same bytes.

The cipher is random, so a ciphertext is kept as long as it is known to hold the value: by opening it where the private
key is at hand, else by a MAC that binds ciphertext and value to each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import crypto, mac, manifest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError, UnsealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import Certificate, SealingKey
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.mac import Context, MacKey
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.manifest import Declared, SealedSecret

Action = Literal["add", "reseal", "remove", "keep"]


@dataclass(frozen=True)
class Sealer:
    """What an environment's ciphertexts are made and judged with. `keys` are the private keys at hand, if any."""

    environment: str
    certificate: Certificate
    keys: tuple[SealingKey, ...] = ()
    mac_key: MacKey | None = None

    def __post_init__(self) -> None:
        """Refuse what could judge nothing."""
        if self.own_key is None and self.mac_key is None:
            raise SealError(
                f"to tell whether a ciphertext still holds its value, wanted the private key"
                f" {self.certificate.fingerprint} of {self.environment} or a mac_key, found neither"
            )

    @property
    def own_key(self) -> SealingKey | None:
        """The private key of the certificate, where it is at hand."""
        return next((key for key in self.keys if key.fingerprint == self.certificate.fingerprint), None)

    def context(self, scope: str, bound_to: bytes) -> Context:
        """What a MAC binds besides the item."""
        return Context(self.environment, self.certificate.fingerprint, scope, bound_to)

    def why_not(self, scope: str, bound_to: bytes, item: str, ciphertext: str, plaintext: bytes, found_mac: str) -> str:
        """Say why a ciphertext cannot stay, "" where it can."""
        own = self.own_key
        if own is not None:
            try:
                opened, _place = crypto.unseal([own.key], crypto.decode(ciphertext), bound_to)
            except UnsealError:
                return "sealed for another key, name, namespace or scope, or changed since"
            except SealError as error:
                return str(error)
            return "" if opened == plaintext else "another value"
        if self.mac_key is None or not found_mac:
            return "no MAC beside it, and no private key at hand"
        context = self.context(scope, bound_to)
        if mac.matches(self.mac_key, context, item, ciphertext, plaintext, found_mac):
            return ""
        return "its MAC does not fit: another value, key, environment, name, namespace or scope, or changed since"

    def seal(self, bound_to: bytes, plaintext: bytes) -> str:
        """Return a new ciphertext."""
        return crypto.encode(crypto.seal(self.certificate.key, plaintext, bound_to))


@dataclass(frozen=True)
class ItemChange:
    """What becomes of one item, and why."""

    item: str
    action: Action
    reason: str = ""


@dataclass(frozen=True)
class FilePlan:
    """A file as it is and as it is to be; None where it is not there. Both hold ciphertexts only."""

    path: str
    secret: str
    before: str | None
    after: str | None
    items: tuple[ItemChange, ...]
    #: What of the object besides its ciphertexts changes.
    rest: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Say whether the file is to be written."""
        return self.before != self.after


def plan(declared: Declared, present: str | None, sealer: Sealer, *, purge: bool = True) -> FilePlan:
    """Compare a file with what it is to hold. With `purge` items that are no longer declared go. Raises SealError."""
    old = _only(present, declared)
    judged: list[ItemChange] = []
    ciphertexts: dict[str, str] = {}
    for item, plaintext in sorted(declared.items.items()):
        change = _judge(item, plaintext, declared, old, sealer)
        judged.append(change)
        kept = change.action == "keep" and old is not None
        ciphertexts[item] = old.items[item] if kept and old is not None else sealer.seal(declared.label, plaintext)
    for item in sorted(set(old.items) - set(declared.items)) if old is not None else ():
        judged.append(ItemChange(item, "remove" if purge else "keep", "not declared"))
        if not purge and old is not None:
            ciphertexts[item] = old.items[item]
    content = manifest.build(declared, ciphertexts, _macs(declared, ciphertexts, old, sealer))
    if old is not None and present is not None and old.content == content:
        return FilePlan(declared.path, str(declared), present, present, tuple(judged))
    return FilePlan(declared.path, str(declared), present, manifest.render(content), tuple(judged), _rest(old, content))


def removal(path: str, secret: str, present: str | None) -> FilePlan:
    """The plan of taking a SealedSecret's file away. Raises SealError where the file holds something else."""
    namespace, _slash, name = secret.partition("/")
    old = _only(present, Declared(path, name, namespace, {}))
    items = tuple(ItemChange(item, "remove", "absent is wanted") for item in sorted(old.items)) if old else ()
    return FilePlan(path, secret, present, None, items)


def _only(present: str | None, declared: Declared) -> SealedSecret | None:
    """The SealedSecret that a file holds; it may hold nothing else."""
    if present is None or not present.strip():
        return None
    found = manifest.find(present, declared.path)
    if len(found) != 1 or (found[0].namespace, found[0].name) != (declared.namespace, declared.name):
        held = ", ".join(str(one) for one in found) or "none"
        raise SealError(
            f"{declared.path}: wanted the file of SealedSecret {declared} alone, found {held}. Name another path, or"
            " move the file"
        )
    if _documents(present) != 1:
        raise SealError(f"{declared.path}: wanted SealedSecret {declared} alone, found other documents beside it")
    return found[0]


def _documents(text: str) -> int:
    return sum(1 for part in f"\n{text}".split("\n---") if part.strip() and not _comments_only(part))


def _comments_only(text: str) -> bool:
    return all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines())


def _judge(item: str, plaintext: bytes, declared: Declared, old: SealedSecret | None, sealer: Sealer) -> ItemChange:
    if old is None or item not in old.items:
        return ItemChange(item, "add", "new")
    if old.scope != declared.scope:
        return ItemChange(item, "reseal", f"the scope becomes {declared.scope}, it was {old.scope}")
    reason = sealer.why_not(declared.scope, declared.label, item, old.items[item], plaintext, old.macs.get(item, ""))
    return ItemChange(item, "reseal", reason) if reason else ItemChange(item, "keep")


def _macs(
    declared: Declared, ciphertexts: Mapping[str, str], old: SealedSecret | None, sealer: Sealer
) -> dict[str, str]:
    """The MACs that are to stand in the annotation; without a key for them those that are still right stay."""
    if sealer.mac_key is None:
        kept = old.macs if old is not None else {}
        return {
            item: found
            for item, found in kept.items()
            if old is not None and ciphertexts.get(item) == old.items.get(item)
        }
    context = sealer.context(declared.scope, declared.label)
    made = {
        item: mac.compute(sealer.mac_key, context, item, ciphertexts[item], plaintext)
        for item, plaintext in declared.items.items()
    }
    undeclared = set(ciphertexts) - set(declared.items)
    return {**{item: old.macs[item] for item in undeclared if old is not None and item in old.macs}, **made}


def _rest(old: SealedSecret | None, content: Mapping[str, object]) -> tuple[str, ...]:
    """Name the parts of the object that change besides ciphertexts."""
    if old is None:
        return ()
    new = manifest.find(manifest.render(content), old.path)[0]
    parts = {
        "metadata": (old.content.get("metadata"), new.content["metadata"]),
        "spec.template": ((old.content.get("spec") or {}).get("template"), new.content["spec"]["template"]),
    }
    return tuple(name for name, (before, after) in parts.items() if before != after)


def summary(plans: Iterable[FilePlan]) -> dict[str, list[str]]:
    """Return what was done by action, as `path item`; for results and messages."""
    found: dict[str, list[str]] = {"added": [], "resealed": [], "removed": []}
    names = {"add": "added", "reseal": "resealed", "remove": "removed"}
    for one in plans:
        for change in one.items:
            if change.action in names:
                found[names[change.action]].append(f"{one.path} {change.item}")
    return found
