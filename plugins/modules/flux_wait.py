#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.flux_wait, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flux_wait
short_description: Wait until Flux has brought a commit into the cluster, or say what blocks it
version_added: 0.1.0
description:
  - Asks the source to look for the commit, waits until it has it, and until every Kustomization that follows the source, everything that these have applied
    (Kustomizations and HelmReleases), and all that these depend on, is ready at it.
  - Does not mistake for readiness what is none. The condition C(Ready) of the commit before, a request that was handled by a suspended
    object, and a Helm release that was rolled back are not ready. Nor does it take for a failure what was said before the commit arrived.
  - Fails at once where waiting is of no use, with one sentence for each object. That is a wrong key, branch or path, invalid YAML, a
    variable without a value, a health check that failed, a suspended object, a dependency that is missing, failed or part of a circle, and
    everything that Flux calls stalled.
  - Watches, and so returns within a moment of readiness. Goes on through restarts of the API server.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.api_access
attributes:
  check_mode:
    support: full
    details: Looks once, asks for nothing, and never fails, so that a cluster that does not exist yet can be planned.
  diff_mode:
    support: N/A
    details: Nothing is changed.
  idempotent:
    support: full
options:
  source:
    description: The source to wait for, as V(KIND/NAME) or V(KIND/NAMESPACE/NAME).
    type: str
    default: GitRepository/flux-system
  namespace:
    description: The namespace of what is named without one.
    type: str
    default: flux-system
  revision:
    description:
      - The commit to wait for, in hexadecimal (7 digits or more), or a revision as Flux writes it, such as V(main@sha1:4f9c6f2).
      - Without it the newest that the source finds when it is asked.
    type: str
  objects:
    description:
      - Kustomizations or HelmReleases that must be ready, as V(KIND/NAME) or V(KIND/NAMESPACE/NAME).
      - Without it all that follow O(source).
    type: list
    elements: str
    default: []
  recurse:
    description: Whether what Kustomizations have applied must be ready too, where it is a Kustomization or a HelmRelease.
    type: bool
    default: true
  poke:
    description: Whether to ask for reconciliations instead of waiting for intervals.
    type: bool
    default: true
  superseded:
    description:
      - What to do where the source has gone on to a newer commit than O(revision). V(accept) waits for that one, V(fail) fails.
      - That it is newer has to be proven, by O(clone), by the source having been at O(revision) during the wait, or by the history of a Kustomization.
    type: str
    choices: [accept, fail]
    default: accept
  clone:
    description: A clone of the repository on the controller that has both commits.
    type: path
  grace:
    description: For how many seconds a failure may last that time may heal, such as a Git host that does not answer, or a kind that is not defined yet.
    type: float
    default: 30
  timeout:
    description: For how many seconds to wait. V(0) looks once.
    type: float
    default: 300
"""

EXAMPLES = r"""
- name: Wait until what was pushed runs
  stagecraft.gitops.flux_wait:
    context: production
    revision: "{{ pushed.commit }}"
    clone: "{{ playbook_dir }}"
"""

RETURN = r"""
ready:
  description: Whether the source and all that follows it are ready.
  returned: always
  type: bool
  sample: true
revision:
  description: The revision that the source is at.
  returned: always
  type: str
  sample: main@sha1:4f9c6f2b0c1de2a7f4f6b6e3a2f8a0f8a1c2d3e4
superseded_by:
  description: The newer revision that was waited for instead, or empty.
  returned: success
  type: str
  sample: ""
objects:
  description: Each object with its state (V(ready), V(waiting), V(passing) for a failure that may pass, V(failed)), the reason and the message of Flux.
  returned: always
  type: list
  elements: dict
  sample: [{object: Kustomization flux-system/apps, state: ready, reason: "", message: ""}]
problems:
  description: What is not ready and why, one sentence each.
  returned: always
  type: list
  elements: str
  sample: []
seconds:
  description: How long it took.
  returned: always
  type: float
  sample: 1.4
"""
