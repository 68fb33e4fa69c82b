# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate on signatures: images that the plan brings into the target are verified by the program cosign (2 or 3)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import live
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import placement, policy
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.program import (
    NoAnswerError,
    last_words,
    run,
    verdict,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Change
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.render import Rendered

#: Tells the digest of a name and tag, where somebody knows it.
Digests = Callable[[str, str], str | None]


def signature(
    options: Mapping[str, Any], changes: Sequence[Change], before: Rendered, after: Rendered, digests: Digests
) -> Verdict:
    """Let cosign verify all images that the plan brings: those it names, and those that its workloads would newly run.

    Options: the public key ``key``, or ``identity`` and ``issuer`` (regular expression, URL); ``arguments`` are further
    ones of ``cosign verify``, such as ``--insecure-ignore-tlog`` for keys without a transparency log. What runs with an
    image that is in no manifest, such as that of a chart, cannot be verified here, and is told. Nobody knows of an image
    with a variable that a new or changed workload names.
    """
    how = _how(options)
    if shutil.which("cosign") is None:
        return Verdict(None, "wanted the program cosign, found none. Install it, or switch the gate off")
    said, unknown = [], []
    for image in brought(changes, before, after):
        reference = _reference(image, digests)
        try:
            done = run(["cosign", "verify", *how, reference])
        except NoAnswerError as error:
            unknown.append(f"{reference}: {error}")
        else:
            said += [f"{reference}: {_why(done)}"] if done.returncode else []
    unknown += [f"{one}: its variable is set in the cluster, it was not verified" for one in _variable(before, after)]
    unseen = sorted({one.selector for one in changes if live.image(one.selector, one.after) is None})
    if said or unknown or not unseen:
        return verdict(said, unknown)
    return Verdict(True, f"images that come with {', '.join(unseen)} are in no manifest, and are not verified")


def brought(changes: Sequence[Change], before: Rendered, after: Rendered) -> list[live.Image]:
    """Return the images that a plan brings, each once."""
    named = [live.image(one.selector, one.after) for one in changes]
    old, new = (
        [image for one in policy.workloads(rendered).values() for image in placement.images(one)]
        for rendered in (before, after)
    )
    found = [image for image in named if image is not None and (image.tag or image.digest)]
    return list(dict.fromkeys([*found, *(image for image in new if image not in old)]))


def _variable(before: Rendered, after: Rendered) -> list[str]:
    """Return the images with a variable of workloads that are new or changed."""
    changed = policy.changed_workloads(before, after)
    return sorted({image for one in changed.values() for image in placement.variable_images(one)})


def _how(options: Mapping[str, Any]) -> list[str]:
    arguments = options.get("arguments") or []
    if not isinstance(arguments, list):
        raise ReleaseError(f"gate signature: arguments: wanted a list, found {arguments!r}")
    more = [str(one) for one in arguments]
    if options.get("key"):
        return ["--key", str(options["key"]), *more]
    if options.get("identity") and options.get("issuer"):
        identity = ["--certificate-identity-regexp", str(options["identity"])]
        return [*identity, "--certificate-oidc-issuer", str(options["issuer"]), *more]
    raise ReleaseError("gate signature: wanted key, or identity and issuer")


def _reference(image: live.Image, digests: Digests) -> str:
    """Return an image by its digest, as a pod of it would be pinned; by its tag where nobody knows the digest."""
    digest = image.digest or digests(image.name, image.tag)
    return f"{image.name}@{digest}" if digest else f"{image.name}:{image.tag or 'latest'}"


def _why(done: subprocess.CompletedProcess[str]) -> str:
    """Return cosign's reason; it says ``main.go:…: error during command execution`` after it once more."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    return lines[-1].removeprefix("Error: ") if lines else last_words(done)
