#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.promote, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: promote
short_description: Bring a release from one environment to the next by one commit to Git
version_added: 0.1.0
description:
  - Reads the versions of components in one environment of a GitOps repository and writes them into another one. Only the bytes of the versions change, and
    nothing that belongs to an environment (replicas, resources, hosts, Secrets, ...).
  - Versions are images of kustomizations, charts of HelmReleases, references of OCIRepositories and GitRepositories, remote bases, inputs of ResourceSets,
    elements of ApplicationSets, and what a component declares.
  - Asks all gates of the target and tells everything that refuses at once. Then pushes one commit for all components, and verifies it in the cluster. What does
    not get well is rolled back by another commit in the same run, and the task fails with both commits named. Where that one cannot be pushed, the task
    says that the first one stands, with RV(rolled_back) false, and the next run tries again. A version that cannot be undone (C(irreversible)) is not rolled
    back without somebody's word.
  - Needs no work tree and no server. A run that is killed leaves no trace or a whole commit, and the next one finishes.
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
    details: Makes the same plan, asks the same gates, and pushes nothing.
  diff_mode:
    support: full
  idempotent:
    support: full
    details: A commit that was not verified yet is verified by the next run.
options:
  from:
    description: The environment that has the release.
    type: str
    required: true
  to:
    description: The environment that is to have it.
    type: str
    required: true
  component:
    description: What is promoted, all or nothing. Without it, or with V(all), everything that both environments have.
    type: list
    elements: str
    default: []
  what:
    description: Which kinds of versions.
    type: str
    choices: [images, charts, refs, subtree, all]
    default: all
  source_of_truth:
    description: Whether pods of the source that run another digest than Git says are refused (V(running)).
    type: str
    choices: [git, running]
    default: git
  pin_digest:
    description: Whether images that Git names by their tag alone get the digest that the source's pods run, or that the registry says.
    type: bool
    default: true
  ask_registry:
    description: Whether registries are asked for digests.
    type: bool
    default: true
  gates:
    description:
      - Modes of gates, in the place of the target's own. V(enforce) refuses, V(warn) tells, V(off) does not ask. A dict has C(mode) and the gate's options.
      - C(hold) versions that are held; C(freeze) windows without changes; C(versions) of tags (C(match), C(deny), C(semver)); C(no_downgrade); C(soak) how long
        the source has had it (C(hours)); C(source_healthy) and running what Git says; C(digest) undisputed, and with C(required) known; C(signature) by cosign
        (C(key), or C(identity) and C(issuer); C(arguments)) of each image that comes; C(leak) of something secret by the commit (C(ignore),
        C(shared), as M(stagecraft.gitops.secrets_leak_scan) has them); C(render) builds and fits the schemas; C(policy) of workloads
        (C(pod_security), C(requests), C(network_policy)); C(server_dry_run) on the target; C(secrets) that are referenced exist (and SOPS has
        encrypted them for C(recipients)); C(sealed) ones of the whole target open with its keys (C(backup), C(identity_files)), and something makes
        what is needed (C(elsewhere)); C(capacity) of the target, its nodes, disks and volumes; C(connectivity) of the target (C(hosts),
        C(registries), C(image)); C(command) (C(argv), C(stdin)).
    type: dict
    default: {}
  secrets:
    description:
      - Secrets that must not get into Git, by environment, then by name, as M(stagecraft.gitops.secrets_leak_scan) takes them. The gate C(leak) looks for
        them in the files that the commit changes, and in its message, and never tells a value. Without any it looks for private keys, access tokens and
        Secrets that can be read.
    type: dict
    default: {}
  retag:
    description:
      - Tags that the promoted images get in their registry once the commit does well, such as V(production-latest). The manifest stays the same,
        and so its digest. Images of a component that stay as they are get none. Where nothing is left to promote, those of its newest version get what
        they lack.
      - In check mode, and with O(strategy=plan), registries are asked and nothing is written.
      - A tag that is a version is made, and never moved.
    type: dict
    suboptions:
      tags:
        description: The tags.
        type: list
        elements: str
        required: true
      user:
        description: The user of the registry.
        type: str
        default: ""
      password_file:
        description: A file with the user's password or token.
        type: str
        default: ""
"""

EXAMPLES = r"""
- name: See what would be promoted
  stagecraft.gitops.promote:
    repository: {url: "ssh://git@git.example.com/infra.git"}
    from: staging
    to: production
    component: podinfo
  check_mode: true
  diff: true

- name: Promote, and go back if the error rate rises
  stagecraft.gitops.promote:
    repository: {url: "ssh://git@git.example.com/infra.git"}
    from: staging
    to: production
    component: [podinfo, web]
    clusters:
      staging: {context: staging}
      production: {context: production}
    gates:
      soak: {mode: enforce, hours: 24}
      versions: {semver: ">=6.0.0 <7.0.0"}
    verify:
      http: [{url: "https://podinfo.example.com/healthz"}]
      promql:
        - url: https://prometheus.example.com
          name: error rate
          query: sum(rate(http_requests_total{code=~"5.."}[2m])) / sum(rate(http_requests_total[2m]))
          max: 0.01
"""

RETURN = r"""
changed:
  description: Whether a commit was made or a tag given, or would be.
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
  description: The commit that was made.
  returned: always
  type: str
  sample: 9d2f6b1c0e3a4958b7c6d5e4f3a2b1c0d9e8f7a6
branch:
  description: The branch of the pull request.
  returned: with O(strategy=pull_request)
  type: str
  sample: gitops/promote/production/podinfo
pr_url:
  description: The address of the pull request.
  returned: with O(strategy=pull_request)
  type: str
  sample: https://git.example.com/infra/environments/pulls/42
merged:
  description: Whether the forge has merged the pull request at once, as O(forge.auto_merge) lets it. Run the same again then, which verifies it.
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
  sample: {look: 0.12, plan: 0.01, gates: 0.02, land: 0.15}
gates:
  description: Each gate with its mode, status (V(pass), V(fail), V(warn), V(unknown), V(forced), V(off)) and what it says.
  returned: always
  type: list
  elements: dict
  sample: [{name: soak, mode: enforce, status: pass, detail: 26.0h of 24h}]
retagged:
  description: The tags that images have got, or would get, with the digest, and whether that is new.
  returned: with O(retag)
  type: list
  elements: dict
  sample: [{image: ghcr.io/x/podinfo, tag: production-latest, digest: "sha256:bb", changed: true}]
rolled_back:
  description: Whether the commit was rolled back because it did not get well.
  returned: always
  type: bool
  sample: false
rollback_commit:
  description: The commit that rolled it back.
  returned: always
  type: str
  sample: ""
warnings:
  description: What is to be known and is no reason to fail, such as that a pull request is verified only by the run after its merge.
  returned: always
  type: list
  elements: str
  sample: []
unpromoted_differences:
  description: What differs between the component's files of the two environments and is no version. It is never copied.
  returned: always
  type: list
  elements: str
  sample: ["podinfo/kustomization.yaml: replicas.podinfo.count: 1 in staging and 3 in production"]
skipped_selectors:
  description: Versions that only one of the environments has.
  returned: always
  type: list
  elements: str
  sample: []
"""
