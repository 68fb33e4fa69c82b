# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seal for a newer key, or for another environment, what is sealed already.

Only ciphertexts change, and only those that have to: the rest of each file stays byte for byte. The controller's own way
(``kubeseal --re-encrypt``) seals everything anew and loses labels and annotations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import mac, manifest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import SealingKey
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.manifest import SealedSecret, Span
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.seal import (
    FilePlan,
    ItemChange,
    Sealer,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.verify import opened


@dataclass(frozen=True)
class Job:
    """A text whose ciphertexts `sources` open, to stand at `path` sealed for the target.

    `present` is what stands there now: the text itself where a newer key is the target, another environment's file or
    None where something is promoted.
    """

    path: str
    text: str
    present: str | None


def plan(job: Job, sources: Sequence[SealingKey], target: Sealer) -> FilePlan | None:
    """Return what becomes of the file at `path`; None where the text has no SealedSecret.

    Raises SealError with everything that cannot be opened; nothing of the file is re-sealed then.
    """
    found = manifest.find(job.text, job.path)
    if not found:
        return None
    there = {} if job.present is None else {(o.namespace, o.name): o for o in manifest.find(job.present, job.path)}
    replaced: dict[Span, str] = {}
    items: list[ItemChange] = []
    wanted: list[Mapping[str, str]] = []
    problems: list[str] = []
    for sealed in found:
        own = [f"{sealed}: {problem}" for problem in sealed.problems]
        if sealed.macs and target.mac_key is None:
            own.append(f"{sealed}: its annotation {mac.ANNOTATION} has to change with it. Give the mac_key")
        problems += own
        try:
            if not own:
                wanted.append(
                    _one(sealed, there.get((sealed.namespace, sealed.name)), sources, target, replaced, items)
                )
        except SealError as error:
            problems.append(str(error))
    if problems:
        raise SealError("\n".join(problems))
    after = manifest.replace(job.text, replaced)
    _nothing_else(found, manifest.find(after, job.path), wanted)
    names = ", ".join(f"{sealed.namespace}/{sealed.name}" for sealed in found)
    return FilePlan(job.path, names, job.present, after, tuple(items))


def _one(
    sealed: SealedSecret,
    there: SealedSecret | None,
    sources: Sequence[SealingKey],
    target: Sealer,
    replaced: dict[Span, str],
    items: list[ItemChange],
) -> Mapping[str, str]:
    """Decide on every item of one SealedSecret, note which scalars are replaced by what, and return its ciphertexts."""
    plaintexts = opened(sealed, sources)
    ciphertexts: dict[str, str] = {}
    for item, plaintext in plaintexts.items():
        kept, reason = _kept(item, plaintext, sealed, there, target)
        ciphertexts[item] = kept or target.seal(sealed.label, plaintext)
        name = f"{sealed.namespace}/{sealed.name} {item}"
        items.append(ItemChange(name, "keep") if kept else ItemChange(name, "reseal" if there else "add", reason))
        if ciphertexts[item] != sealed.items[item]:
            replaced[sealed.spans[item]] = ciphertexts[item]
    if sealed.mac_span is not None and target.mac_key is not None:
        context = target.context(sealed.scope, sealed.label)
        macs = {
            item: mac.compute(target.mac_key, context, item, ciphertexts[item], plaintext)
            for item, plaintext in plaintexts.items()
        }
        if macs != sealed.macs:
            replaced[sealed.mac_span] = manifest.mac_text(macs)
    return ciphertexts


def _kept(
    item: str, plaintext: bytes, sealed: SealedSecret, there: SealedSecret | None, target: Sealer
) -> tuple[str, str]:
    """Return the target's ciphertext that can stay, or "" with the reason why none can."""
    if there is None or item not in there.items:
        return "", "new"
    if there.label != sealed.label:
        return "", f"the scope becomes {sealed.scope}, it was {there.scope}"
    ciphertext = there.items[item]
    reason = target.why_not(sealed.scope, sealed.label, item, ciphertext, plaintext, there.macs.get(item, ""))
    return ("", reason) if reason else (ciphertext, "")


def _nothing_else(
    before: Sequence[SealedSecret], after: Sequence[SealedSecret], wanted: Sequence[Mapping[str, str]]
) -> None:
    """Make sure, by reading it, that a text has the wanted ciphertexts and differs in them and the MACs alone."""
    rest, rest_after = ([manifest.without_ciphertexts(one) for one in side] for side in (before, after))
    if rest != rest_after or [one.items for one in after] != wanted:
        raise SealError(
            f"{before[0].path}: its YAML cannot be edited in place (anchors, tags or an unusual style of its"
            " ciphertexts?). Write the ciphertexts as plain text, each on one line"
        )
