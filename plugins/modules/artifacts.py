#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.artifacts, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: artifacts
short_description: Resolve, download, mirror or bundle what goes on hosts
version_added: 0.1.0
description:
  - Knows by the collection's catalogue everything that its roles put on a host, with upstream's address and checksum.
  - Brings artefacts to the controller in parallel, from upstream, a mirror or an air-gap bundle. An interrupted
    download is resumed. Nothing is kept or used that does not have the expected sha256.
  - Where the catalogue has no checksum, upstream's own checksum file is asked at the first download, and for an image
    the registry. What they said is recorded in the lock file, and every later run holds upstream to it.
  - All artefacts that cannot be had are reported together.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
requirements:
  - requests (on the controller, unless everything comes from a directory)
attributes:
  check_mode:
    support: full
    details: Nothing is downloaded but checksum files and the lock file of a mirror, and nothing is written.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - V(resolved) only makes sure that everything is in the catalogue and that the source holds it. Nothing is
        downloaded or changed; at most the lock file learns what a checksum file says.
      - V(fetched) brings everything into the controller's cache.
      - V(mirrored) adds everything to the mirror in O(directory), under the names of the upstream hosts.
      - V(bundled) makes O(directory) an air-gap bundle that holds exactly this.
    type: str
    choices: [resolved, fetched, mirrored, bundled]
    default: fetched
  artifacts:
    description:
      - Single artefacts.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The name in the catalogue.
        type: str
        required: true
      version:
        description:
          - The version, with or without a leading V(v). When it is empty, the catalogue's default.
        type: str
        default: ""
  distribution:
    description:
      - Everything that an environment of this kind needs, V(kubeadm), V(k3s) or V(minikube), besides O(artifacts).
    type: str
    default: ""
  kubernetes_version:
    description:
      - The Kubernetes version of that environment. When it is empty, the catalogue's default.
    type: str
    default: ""
  options:
    description:
      - What the environment chooses, for V(kubeadm) C(cni) (V(bridge), V(flannel), V(manifest)), C(network_policy)
        (V(kube-router), V(none)), C(etcd_tools) and C(checks) (V(present), V(absent)).
      - V(auto) for C(network_policy) takes V(kube-router) where the source holds it.
    type: dict
    default: {}
  versions:
    description:
      - Versions by name of the artefact that are not to be the catalogue's choice.
    type: dict
    default: {}
  architectures:
    description:
      - The architectures of the hosts, C(amd64) or C(arm64).
    type: list
    elements: str
    default: [amd64]
  directory:
    description:
      - The directory of the mirror or bundle. Required with O(state=mirrored) and O(state=bundled).
    type: path
  packages:
    description:
      - Packages of a distribution for the bundle, with all that they depend on, which hosts then install from it. They are made once;
        as long as the same ones are wanted, the bundle keeps those that it has.
      - Needs C(apt-get) on the controller, and the keyring of the distribution's archive, by which apt verifies them.
    type: dict
    suboptions:
      names:
        description:
          - The packages.
        type: list
        elements: str
        required: true
      releases:
        description:
          - Releases of Debian or Ubuntu, V(debian/bookworm) for example.
        type: list
        elements: str
        required: true
      archives:
        description:
          - Addresses of archives by C(debian), C(debian-security), C(ubuntu) or C(ubuntu-security). Those that the controller's
            own apt uses need not be named.
        type: dict
        default: {}
  artifact_source:
    description:
      - Where artefacts come from; the role P(stagecraft.gitops.artifacts#role) has it as the variable
        C(artifacts_source).
      - Without a mirror or a bundle they come from upstream.
    type: dict
    default: {}
    suboptions:
      mirror:
        description:
          - A directory or an http(s) URL that keeps the upstream host names as top folders.
        type: str
        default: ""
      bundle:
        description:
          - The directory of an air-gap bundle. Nothing is taken from the network then.
        type: str
        default: ""
      cache:
        description:
          - The download cache on the controller. When it is empty, C(artifacts) below E(STAGECRAFT_CACHE), or else
            below C(stagecraft) in E(XDG_CACHE_HOME) or C(~/.cache).
        type: str
        default: ""
      lock:
        description:
          - The lock file of the environment. When it is empty, nothing is recorded.
        type: str
        default: ""
      trust_built_mirror:
        description:
          - Accept a mirror or bundle whose files were built from sources, and so have other checksums than upstream's.
        type: bool
        default: false
      jobs:
        description:
          - How many downloads run at the same time, 1 to 32.
        type: int
        default: 4
seealso:
  - module: stagecraft.gitops.host_state
"""

EXAMPLES = r"""
- name: Fetch two artefacts into the controller's cache
  stagecraft.gitops.artifacts:
    artifacts:
      - {name: kubelet, version: 1.36.3}
      - {name: runc}
    artifact_source: "{{ artifacts_source }}"

- name: See whether a mirror holds all that production needs
  stagecraft.gitops.artifacts:
    state: resolved
    distribution: kubeadm
    kubernetes_version: 1.36.3
    options: {cni: flannel}
    architectures: [amd64, arm64]
    artifact_source:
      mirror: https://mirror.example.com/artefacts

- name: Make an air-gap bundle of it
  stagecraft.gitops.artifacts:
    state: bundled
    directory: /media/stick/production
    distribution: kubeadm
    kubernetes_version: 1.36.3
    options: {cni: flannel}
"""

RETURN = r"""
source:
  description: Where the artefacts come from, without a password in its URL.
  returned: success
  type: str
  sample: mirror https://mirror.example.com/artefacts
artifacts:
  description: Every artefact that was asked for.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: Name in the catalogue., type: str, returned: always}
    version: {description: Version., type: str, returned: always}
    arch: {description: Architecture., type: str, returned: always}
    kind: {description: "V(binary), V(archive), V(file) or V(image).", type: str, returned: always}
    reference: {description: Full name of an image., type: str, returned: always}
    origin: {description: Address or file that it comes from., type: str, returned: always}
    mirror_path: {description: Its path in mirrors and bundles., type: str, returned: always}
    sha256: {description: "Checksum of the file, empty for an image never pulled.", type: str, returned: always}
    size: {description: "Size in bytes, where it is known.", type: int, returned: always}
    licence: {description: Licence., type: str, returned: always}
    here: {description: Whether it is in the controller's cache., type: bool, returned: always}
    path:
      description: The file in the controller's cache.
      type: str
      returned: with O(state=fetched) outside of check mode
plan:
  description: What was done, or would be in check mode.
  returned: unless O(state=resolved)
  type: list
  elements: dict
  sample: [{kind: artifact, target: kubelet/1.36.3/amd64, action: fetch, before: absent, after: 46707a53…}]
directory:
  description: The mirror or bundle.
  returned: with O(state=mirrored) and O(state=bundled)
  type: str
lock_file:
  description: The lock file in it.
  returned: with O(state=mirrored) and O(state=bundled)
  type: str
"""
