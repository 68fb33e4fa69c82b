# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that reads or changes releases in a GitOps repository."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments `stagecraft.gitops.release` and `stagecraft.gitops.release.carry_out`."""

    DOCUMENTATION = r"""
requirements:
  - git >= 2.39 (on the controller)
  - PyYAML (on the controller)
  - urllib3 >= 2 (on the controller)
options:
  repository:
    description: The GitOps repository.
    type: dict
    required: true
    suboptions:
      url:
        description:
          - Its address, such as V(ssh://git@git.example.com/infra.git). A directory is a bare repository, or a clone whose origin is meant.
          - Nothing is ever written to a clone of yours.
        type: str
        required: true
      branch:
        description: The branch of environments that do not name their own, and of the description of the releases.
        type: str
        default: main
      path:
        description: Not used. It is there so that the variable C(stagecraft_repository) can be given as it is.
        type: str
  git:
    description: How the repository is reached and how commits are made.
    type: dict
    default: {}
    suboptions:
      key_file:
        description: The private SSH key on the controller. Without it ssh chooses, by its agent and configuration.
        type: str
        default: ""
      known_hosts:
        description: The lines that pin the Git host's keys. Without it your own C(known_hosts) counts; an unknown host is refused either way.
        type: str
        default: ""
      token_file:
        description: A file with the password or token for an C(https://) address. It is never part of an argument, an address or a message.
        type: str
        default: ""
      user:
        description: The user that O(git.token_file) belongs to.
        type: str
        default: git
      author_name:
        description: Whose name commits carry.
        type: str
        default: stagecraft.gitops
      author_email:
        description: Whose address commits carry.
        type: str
        default: stagecraft@localhost
      sign:
        description: Sign commits, with V(default) by the key that git chooses, else by the key of this name.
        type: str
        default: ""
      timeout:
        description: For how many seconds one contact with the Git host may last.
        type: float
        default: 60
      cache:
        description: Where bare clones are kept between runs. Without it C(git) in C(STAGECRAFT_CACHE), or in C(~/.cache/stagecraft).
        type: path
  environments:
    description:
      - The environments, as a list of dicts, in the order of a release. In the place of what C(.stagecraft/releases.yaml) in the repository says.
      - Each has C(name), and may have C(path) (V(clusters/NAME) without it), C(branch), C(kubeconfig) and C(context) of its cluster, C(gitops)
        (C(flux), or C(argocd)), C(source) (the object of Flux, or the Application, that delivers it), C(namespaces) of its pods (where environments share
        a cluster), C(order), C(reason_required), C(freeze), C(gates), and C(verify).
      - Without any description each directory below C(clusters) is an environment.
    type: raw
  components:
    description:
      - The components, as a list of dicts. In the place of what C(.stagecraft/releases.yaml) in the repository says.
      - Each has C(name), and may have C(paths) (globs below an environment's path, or a dict of globs from the root by environment), C(select) (scalars
        that are versions as well, by C(kind), C(name), C(path)), C(exclude) (globs of C(SELECTOR.FIELD) that stay),
        C(subtree) (globs of files that are copied whole), C(irreversible) (versions that cannot be undone), and C(namespaces) of its pods.
      - One that is not described is all that has its name, as an image's, an object's or a directory's name.
    type: raw
  clusters:
    description:
      - The clusters of environments, by the environment's name, with C(kubeconfig), C(context) and C(source). They complete O(environments).
      - With C(api_access) V(ssh) the API server is reached through SSH, by the host C(ssh_host) of the inventory, or the play's first control plane.
    type: dict
    default: {}
  actor:
    description: Who does it, as commits tell it. Without it the user and machine that run Ansible.
    type: str
    default: ""
"""

    CARRY_OUT = r"""
options:
  strategy:
    description:
      - V(push) pushes one commit to the branch. V(pull_request) pushes it to a branch of its own, opens a pull request, and brings the open one up to date
        the next time; run again after the merge it verifies what was merged. V(plan) only plans.
    type: str
    choices: [push, pull_request, plan]
    default: push
  approved_plan:
    description: The RV(plan_id) that was approved. Another plan is not carried out. Commits that have nothing to do with it do not change it.
    type: str
    default: ""
  approved_by:
    description: Who approved it, as the commit tells it.
    type: str
    default: ""
  force:
    description: Go on where only somebody's word is against it. It needs O(reason). What would break the target is not passed over.
    type: bool
    default: false
  reason:
    description: Why, as the commit tells it.
    type: str
    default: ""
  message:
    description: More text for the commit.
    type: str
    default: ""
  retries:
    description: How often to try where others push at the same time. Each time it is planned anew, and only the same plan is carried out.
    type: int
    default: 25
  forge:
    description: The Git host's API, for O(strategy=pull_request).
    type: dict
    suboptions:
      type:
        description: Its kind.
        type: str
        required: true
        choices: [github, gitlab, gitea, forgejo]
      url:
        description: Its address, such as V(https://git.example.com). For GitHub Enterprise with C(/api/v3).
        type: str
      repository:
        description: The repository there, as V(OWNER/NAME). Without it what the repository's address says.
        type: str
      token_file:
        description: A file with a token that may write pull requests.
        type: str
        required: true
      auto_merge:
        description:
          - Let the forge merge as soon as its conditions are met, where it can do that, also what an earlier run has opened.
          - The merge says what the commit says.
        type: bool
        default: false
  verify:
    description:
      - What has to hold in the cluster after the commit. Flux at the commit, workloads current, the promoted digest in every ready pod, for a while; then the
        probes. A container of the new version that runs out of memory once, or restarts three times meanwhile, is a failure, ready or not.
      - Probes that the environment has in its description are asked as well, and its other settings of C(verify) count where none is given here.
      - What cannot be known (an API server, Git host or registry that does not answer, a metric without data) is told, and is no reason to roll back.
    type: dict
    default: {}
    suboptions:
      enabled:
        description: Whether to verify, where the environment names a cluster. V(true) without it.
        type: bool
      timeout:
        description: For how many seconds it may take to become well. V(600) without it.
        type: float
      settle:
        description: For how many seconds all must be well together. V(10) without it.
        type: float
      http:
        description: Requests that are sent from the controller.
        type: list
        elements: dict
        default: []
        suboptions:
          url:
            description: The address.
            type: str
            required: true
          status:
            description: The right status codes.
            type: list
            elements: int
            default: [200]
          contains:
            description: Text that the answer must contain.
            type: str
            default: ""
          headers:
            description: Headers to send.
            type: dict
            default: {}
          ca_file:
            description: Certificates to trust, in the place of the controller's own.
            type: path
          count:
            description: How often to ask.
            type: int
            default: 5
          least:
            description: How many answers must be right. Without it all but O(verify.http[].failures) less one.
            type: int
          failures:
            description: How many wrong answers, one after the other, end it.
            type: int
            default: 3
          interval:
            description: Seconds between two requests.
            type: float
            default: 1
          timeout:
            description: Seconds that one request may last.
            type: float
            default: 5
      promql:
        description: Metrics of a Prometheus, such as an error rate or a latency.
        type: list
        elements: dict
        default: []
        suboptions:
          url:
            description: The address of Prometheus.
            type: str
            required: true
          query:
            description: The query.
            type: str
            required: true
          name:
            description: What messages call it.
            type: str
          max:
            description: The largest value that is well.
            type: float
          min:
            description: The smallest value that is well.
            type: float
          headers:
            description: Headers to send.
            type: dict
            default: {}
          ca_file:
            description: Certificates to trust, in the place of the controller's own.
            type: path
          timeout:
            description: Seconds that the answer may take.
            type: float
            default: 10
      job:
        description: >-
          A Job (metadata and spec) that is run in the cluster, under a name of its own, and must complete. It is removed afterwards; where
          the run is killed, Kubernetes ends it (C(activeDeadlineSeconds)) and removes it (C(ttlSecondsAfterFinished)).
        type: dict
      command:
        description: A program and its arguments, run on the controller, that must end with 0.
        type: list
        elements: str
        default: []
      on_failure:
        description: V(rollback), as it is without it, goes back to the versions before by another commit, and holds the bad ones. V(keep) leaves them.
        type: str
        choices: [rollback, keep]
"""
