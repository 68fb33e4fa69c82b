#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.rollback, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback
short_description: Give components of an environment an earlier version, by a commit that stays
version_added: 0.1.0
description:
  - Takes the versions that components had at an earlier commit and writes them into the environment as it is now, by a new commit. Later changes of
    anything else stay.
  - The versions that are left are held. Promotion refuses them, and a marker of Flux's image automation behind them is hidden until another version is
    promoted or the hold is lifted. What else may bring them back is named. So O(to=previous) goes further back each time.
  - Works without a cluster, and verifies where the environment names one.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.release
  - stagecraft.gitops.release.carry_out
attributes:
  check_mode:
    support: full
    details: Makes the same plan and pushes nothing.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details: With O(to=previous) or O(to=last_verified) each run goes further back; with any other target a second run changes nothing.
options:
  environment:
    description: The environment.
    type: str
    required: true
  component:
    description: What is rolled back, all or nothing.
    type: list
    elements: str
    required: true
  to:
    description:
      - V(previous), the newest other version that is not held. V(last_verified), the newest of these that did well.
      - A version, a tag, a digest (V(sha256:...), or its beginning), a commit, a Git tag, a plan's id, or V(@{2026-11-20 12:00}) for a point in time.
    type: str
    default: previous
  method:
    description:
      - V(restore) takes versions back, and nothing else.
      - V(revert) undoes all that the commits of the plan O(to) have changed, files that came and went included. Where others have changed the same lines since,
        nothing is done.
      - V(ref) moves the branch of an environment that has one of its own to the commit or tag O(to). What the branch has got since is not in it any more.
        It makes no plan, so it goes with O(strategy=push) and without O(approved_plan) only; it holds nothing and verifies nothing, and says so.
    type: str
    choices: [restore, revert, ref]
    default: restore
  hold:
    description: Whether the versions that are left are held.
    type: bool
    default: true
  hold_until:
    description:
      - From when on the versions may be promoted again, such as V(2026-12-24T18:00:00Z).
      - A marker that was hidden stays so until another version is promoted or the hold is lifted; M(stagecraft.gitops.release_info) tells of it.
    type: str
    default: ""
  ask_registry:
    description:
      - Whether registries are asked if they still have the images. One that they have no more is not gone back to without O(force); where a registry does not
        answer, that is told and nothing more.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Go back to the version before
  stagecraft.gitops.rollback:
    repository: {url: "ssh://git@git.example.com/infra.git"}
    environment: production
    component: podinfo
    reason: it loses sessions

- name: Go back to a version, without a cluster
  stagecraft.gitops.rollback:
    repository: {url: /srv/git/infra.git}
    environment: production
    component: podinfo
    to: 6.5.4
    reason: it loses sessions
"""

RETURN = r"""
changed:
  description: Whether a commit was made, or would be.
  returned: always
  type: bool
  sample: true
plan_id:
  description: The id of the plan, for O(approved_plan). Empty where there is nothing to do.
  returned: always
  type: str
  sample: 3f9c0a7e51d2
base:
  description: The commit that the plan was made on.
  returned: always
  type: str
  sample: 4be1c0de9a0b3d5f7c6e8a1b2c3d4e5f60718293
commit:
  description: The commit that was made; with O(method=ref) the one that the branch points to then.
  returned: always
  type: str
  sample: 9d2f6b1c0e3a4958b7c6d5e4f3a2b1c0d9e8f7a6
branch:
  description: The branch of the pull request, or the one that was moved.
  returned: with O(strategy=pull_request) or O(method=ref)
  type: str
  sample: gitops/promote/production/podinfo
pr_url:
  description: The address of the pull request.
  returned: with O(strategy=pull_request)
  type: str
  sample: https://git.example.com/infra/environments/pulls/42
merged:
  description: Whether the forge has merged the pull request at once, as O(forge.auto_merge) lets it.
  returned: with O(strategy=pull_request)
  type: bool
  sample: false
scheduled:
  description: Whether the forge merges the pull request by itself when its conditions are met.
  returned: with O(strategy=pull_request)
  type: bool
  sample: true
edits:
  description: Each version that changes, with the place where it stands.
  returned: always
  type: list
  elements: dict
  sample:
    - component: podinfo
      environment: production
      file: clusters/production/podinfo/kustomization.yaml
      selector: images[ghcr.io/x/podinfo]
      before: 6.5.4@sha256:aa
      after: 6.6.0@sha256:bb
rendered_diff:
  description: The difference of what the cluster gets. Contents of Secrets are not shown.
  returned: always
  type: str
  sample: ""
verified:
  description: Whether the commit does well in the cluster; null where nobody asked, or nobody knows.
  returned: always
  type: bool
  sample: true
health:
  description: What verification found, C(failures), C(unknown), C(revision), and C(seconds).
  returned: always
  type: dict
  sample: {failures: [], unknown: [], revision: "main@sha1:9d2f6b1c0e3a", seconds: 21.4}
attempts:
  description: How many pushes it took.
  returned: always
  type: int
  sample: 1
durations:
  description: Seconds that the parts took.
  returned: always
  type: dict
  sample: {plan: 0.01, land: 0.15, verify: 21.4}
gates:
  description: Empty. No gate keeps a rollback from being made; it is there so that results of promotions and rollbacks can be read alike.
  returned: always
  type: list
  elements: dict
  sample: []
rolled_back:
  description: Always V(false). A rollback that does not get well stays, as somebody has to look at it.
  returned: always
  type: bool
  sample: false
rollback_commit:
  description: Empty, as RV(rolled_back) is V(false).
  returned: always
  type: str
  sample: ""
skipped_selectors:
  description: Versions that only one of the two commits has.
  returned: always
  type: list
  elements: str
  sample: []
warnings:
  description: What is to be known and is no reason to fail, such as what may bring the version back by itself.
  returned: always
  type: list
  elements: str
  sample: ["clusters/production/sources.yaml has a ResourceSetInputProvider, which can bring a newer version back; suspend it, or narrow its filter"]
"""
