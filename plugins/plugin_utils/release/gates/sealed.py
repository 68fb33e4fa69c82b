# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate on sealed secrets: all that the target applies open with its own keys, and what the workloads need is made.

The objects are judged as they arrive in the target, for name and namespace are part of what a ciphertext is bound to.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import DEFAULT_NAMESPACE, Resource
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, mapping, text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.applied import Applied, has_variables
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import cluster, policy
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.render import CommitTree, Rendered
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import custody, manifest, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import Backup
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError

_MOST = 10

#: Namespace and name of a Secret.
Name = tuple[str, str]
#: Secrets, and the keys of them that are asked for.
Needed = Mapping[Name, set[str]]


def judge(
    found: Applied,
    hidden: tuple[list[str], list[str]],
    needed: Needed,
    backup: Backup,
    elsewhere: Iterable[str] = (),
    there: Callable[[Name], bool] | None = None,
) -> Verdict:
    """Refuse sealed secrets that the target's controller cannot open, and needed Secrets that nothing makes.

    `hidden` is what `unseen` tells of files. `elsewhere` are patterns of Secrets (``namespace/name``) that something
    else makes; `there` says whether the target has one. No value is in the answer.
    """
    unreadable, blind = hidden
    said, opened = list(unreadable), list[str]()
    made: dict[Name, set[str]] = {}
    own = [one for one in found.objects if _is_sealed(one.content)]
    beside = [one for one in found.beside if _is_sealed(one.content)]
    # who leads to a file beside what is applied is not known here: it counts where it is needed
    known = {_named(one.content) for one in own}
    for one in [*own, *(one for one in beside if _named(one.content) in needed.keys() - known)]:
        if has_variables(one.content):
            blind.append(f"{one.file}: the name or namespace of a SealedSecret is a variable")
            continue
        items, wrong = _look(one, backup)
        wanted = needed.get(_named(one.content), set())
        where = f"SealedSecret {'/'.join(_named(one.content))} ({one.file}:{one.line})"
        wrong += [f"{where}: it has no item {key}" for key in sorted(wanted - items - {""})]
        made[_named(one.content)] = items
        said += wrong
        if not wrong:
            opened.append("/".join(_named(one.content)))
    others = {_made(one.content) for one in [*found.objects, *found.beside]}
    outside = []
    for namespace, name in sorted(needed.keys() - made.keys() - others):
        shown = f"{namespace}/{name}"
        if any(fnmatch.fnmatchcase(shown, pattern) for pattern in elsewhere):
            continue
        try:
            live = there is not None and there((namespace, name))
        except KubeError as error:
            said.append(f"nothing in Git makes the Secret {shown}, and whether the target has it is not known: {error}")
            continue
        if live:
            outside.append(shown)
            continue
        asked = "" if there is not None else ", and no cluster is named that could have it"
        said.append(
            f"nothing makes the Secret {shown}, which a workload needs{asked}. Seal it with sealed_secret, or name it in"
            " the gate's elsewhere"
        )
    notes = [f"{len(opened)} open{_listed(sorted(opened))}"]
    notes += [f"in the target and not in Git{_listed(outside)}"] if outside else []
    notes += [f"not looked into: {one}" for one in blind[:_MOST]]
    more = [f"and {len(said) - _MOST} more"] if len(said) > _MOST else []
    return Verdict(False if said else None if blind else True, "; ".join([*said[:_MOST], *more, *notes]))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f": {', '.join(names[:_MOST])}{more}" if names else ""


def _look(one: Resource, backup: Backup) -> tuple[set[str], list[str]]:
    """Return the items of the Secret that a SealedSecret becomes, and why the controller would not make it."""
    namespace, name = _named(one.content)
    content = {**one.content, "metadata": {**mapping(one.content, "metadata"), "namespace": namespace}}
    try:
        (sealed,) = manifest.find(manifest.render(content), one.file)
    except (SealError, ValueError):
        return set(), [f"SealedSecret {namespace}/{name} ({one.file}:{one.line}): it cannot be read"]
    status = verify.status(replace(sealed, line=one.line), backup.keys)
    states = {record.fingerprint: record.state for record in backup.records}
    wrong = list(status.problems)
    wrong += [
        f"{status.sealed}, item {item}: only a key that is {states[key]} opens it ({key}), which the controller does not"
        " load. Seal it for the current one with sealed_secret_reseal"
        for item, key in status.keys.items()
        if key and states[key] != "active"
    ]
    return set(sealed.items) | set(map(str, mapping(content, "spec", "template", "data"))), wrong


def _is_sealed(one: Object) -> bool:
    return one.get("kind") == manifest.KIND and str(one.get("apiVersion")).partition("/")[0] == manifest.GROUP


def _named(one: Object) -> Name:
    return text(one, "metadata", "namespace") or DEFAULT_NAMESPACE, text(one, "metadata", "name")


def _made(one: Object) -> Name:
    """Return the Secret that an object is, or that another controller makes of it; one without a name where there is none."""
    namespace, name = _named(one)
    if one.get("kind") == "Secret":
        return namespace, name
    if one.get("kind") == "ExternalSecret":
        return namespace, text(one, "spec", "target", "name") or name
    if one.get("kind") == "Certificate":
        return namespace, text(one, "spec", "secretName")
    return "", ""


def needed(found: Applied, after: Rendered) -> dict[Name, set[str]]:
    """Return the Secrets that the workloads of `after` need, in the namespaces in which the target gets them."""
    workloads = list(policy.workloads(after).values())
    touched = {(str(one.get("kind")), text(one, "metadata", "name")) for one in workloads}
    pairs = list(zip(found.objects, found.written, strict=True))
    there = {(one.kind, written) for one, written in pairs}
    objects: list[Any] = [one.content for one, written in pairs if (one.kind, written) in touched]
    objects += [one for one in workloads if (str(one.get("kind")), text(one, "metadata", "name")) not in there]
    judged = Rendered({str(number): one for number, one in enumerate(objects) if not has_variables(one)})
    return {
        (namespace, name): keys
        for (kind, namespace, name), keys in cluster.references(judged).items()
        if kind == "Secret"
    }


def unseen(found: Applied, tree: CommitTree, paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """Say what is wrong with files that hold sealed secrets, and which directories with some could not be built."""
    word = manifest.KIND.encode()
    files = {one.file for one in found.findings}
    mentions = {path for path in files if word in (tree.read(path) or b"")}
    unreadable = [f"{one.file}:{one.line}: {one.message}" for one in found.findings if one.file in mentions]
    known = list(paths)
    blind = [
        f"{directory}: {reason}"
        for directory, reason in found.unbuilt.items()
        if any(
            word in (tree.read(path) or b"")
            for path in known
            if path.endswith((".yaml", ".yml")) and (directory == "." or path.startswith(f"{directory}/"))
        )
    ]
    return unreadable, blind


def elsewhere_of(options: Mapping[str, Any]) -> list[str]:
    """Return the patterns of Secrets that something else makes. Raises ReleaseError."""
    given = options.get("elsewhere") or []
    if not isinstance(given, list) or not all(isinstance(one, str) and "/" in one for one in given):
        raise ReleaseError(f"gate sealed: wanted elsewhere, a list of namespace/name, found {given!r}")
    return given


def backup_of(options: Mapping[str, Any], environment: str) -> Backup:
    """Return the sealing keys of the target: `backup` is its backup, `identity_files` open it. Raises ReleaseError."""
    where = Path(str(options["backup"])).expanduser()
    files = options.get("identity_files")
    if not isinstance(files, list) or not files:
        raise ReleaseError("gate sealed: wanted identity_files, a list of files that open the backup")
    try:
        found = custody.read_backup(where, file.identities_of([str(one) for one in files]))
    except (AgeError, SealError) as error:
        raise ReleaseError(f"gate sealed: {error}") from error
    if found is None:
        raise ReleaseError(f"gate sealed: {where}: wanted a backup of sealing keys, found no file")
    if found.environment != environment:
        raise ReleaseError(
            f"gate sealed: {where}: it holds the keys of {found.environment}, wanted those of {environment}. Name its own backup"
        )
    return found
