#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a host to a declared state."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_state
short_description: Bring files, software, kernel settings and services of a host to a declared state
version_added: 0.1.0
description:
  - Takes everything that a role wants of a host in one declaration, looks at all of it in one round trip, plans,
    carries the plan out and looks again. A second run with the same declaration finds nothing to do, in one module run.
  - The order of the changes survives being killed between any two of them. Files, links and versions of software
    appear by rename; what is to be restarted is noted on disk before the first change that calls for it, so that the
    next run completes what an interrupted one began.
  - The order is C(units) that stop, C(packages), C(directories), C(kernel_modules), C(files), C(sysctl), C(swap),
    C(artifacts), C(links), reload of systemd, C(units) that are enabled, restarted or started, images, removal of
    old versions.
  - Artefacts are fetched and checked on the controller and pushed to C(/var/lib/stagecraft/incoming), only those
    that the host lacks. The host checks the sha256 again before it installs anything. A host without room for them is
    refused before anything is pushed.
  - Needs Python 3.9 or newer on the host and root rights (C(become) where the login is not root).
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  action:
    description: Has a part that runs on the controller.
    support: full
  check_mode:
    support: full
    details: Nothing is written, on the host or on the controller. Nothing is downloaded.
  diff_mode:
    support: full
    details: Content of files that are O(state.files[].sensitive) is not part of it.
  idempotent:
    support: full
  platform:
    description: Platforms that it works for.
    support: full
    platforms: posix
options:
  state:
    description:
      - What the host is to be like. What is not named stays as it is.
    type: dict
    required: true
    suboptions:
      directories:
        description: Directories. Missing ones above them are made with mode 0755.
        type: list
        elements: dict
        suboptions:
          path:
            description: Absolute path.
            type: str
            required: true
          mode:
            description: Permission bits as quoted octal text; V("0755") when not given.
            type: raw
          owner:
            description: Name or number of the owner.
            type: str
            default: root
          group:
            description: Name or number of the group.
            type: str
            default: root
      files:
        description: Regular files, each replaced as a whole and atomically.
        type: list
        elements: dict
        suboptions:
          path:
            description: Absolute path. A symbolic link there is replaced by the file.
            type: str
            required: true
          content:
            description: The whole content. Required unless O(state.files[].absent).
            type: str
          mode:
            description: Permission bits as quoted octal text; V("0644") when not given.
            type: raw
          owner:
            description: Name or number of the owner.
            type: str
            default: root
          group:
            description: Name or number of the group.
            type: str
            default: root
          sensitive:
            description: The content is a secret. Neither it nor a digest of it is ever shown, returned or logged.
            type: bool
            default: false
          notify:
            description:
              - Units to restart (or reload, see O(state.units[].on_change)) when this file changes.
              - A unit file, or a drop-in, always leads to a restart.
              - A unit that is not in O(state.units) is restarted if it is active.
            type: list
            elements: str
            default: []
          absent:
            description: The file is to be removed.
            type: bool
            default: false
      links:
        description: Symbolic links. A file in the place of one is replaced.
        type: list
        elements: dict
        suboptions:
          path:
            description: Absolute path of the link.
            type: str
            required: true
          target:
            description: Where it points, written as given.
            type: str
            required: true
      artifacts:
        description: Versioned software of the collection's catalogue.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name in the catalogue.
            type: str
            required: true
          version:
            description: Version in the catalogue, as it is written there.
            type: str
            required: true
          install:
            description:
              - V(binary) puts one executable to C(/opt/stagecraft/NAME/VERSION/NAME).
              - V(archive) unpacks into C(/opt/stagecraft/NAME/VERSION/), or places the files in
                O(state.artifacts[].directory).
              - V(image) imports a container image into containerd when it is missing or came from another archive.
              - V(none) puts the file, not executable, to C(/opt/stagecraft/NAME/VERSION/NAME).
              - Of each artefact the declared version and the one before it are kept.
            type: str
            required: true
            choices: [binary, archive, image, none]
          links:
            description: >-
              Links to files of the artefact, path of the link to path inside the artefact. Switching one notifies
              as well.
            type: dict
            default: {}
          strip:
            description: Leading path parts of an archive's members to drop. The catalogue's own value when not given.
            type: int
          members:
            description: >-
              Files of an archive to install, named without the stripped parts. The catalogue's own when not given,
              all with an empty list.
            type: list
            elements: str
          notify:
            description: Units to restart when the artefact is installed or one of its links is switched.
            type: list
            elements: str
            default: []
          images_namespace:
            description: Namespace of containerd.
            type: str
            default: k8s.io
          directory:
            description: Unpack an archive here, file by file, without a directory per version.
            type: str
      kernel_modules:
        description: >-
          Modules to load now unless they are loaded or built in. For the next boot declare a file in
          C(/etc/modules-load.d).
        type: list
        elements: str
        default: []
      sysctl:
        description: Kernel settings, key to value, set now and kept in O(state.sysctl_file).
        type: dict
        default: {}
      sysctl_file:
        description: File below C(/etc/sysctl.d) that keeps O(state.sysctl) over a reboot. Required with it.
        type: str
      swap:
        description:
          - V(disabled) turns swap off and comments out its lines in C(/etc/fstab), which stay as they are behind
            the C(#).
          - V(keep) leaves swap alone.
        type: str
        choices: [disabled, keep]
        default: keep
      packages:
        description: >-
          Distribution packages, C(name) or C(name=version). Missing ones are installed by apt, dnf or zypper
          without recommended ones.
        type: list
        elements: str
        default: []
      units:
        description:
          - Units of systemd. One is restarted if and only if something that notifies it changed, its running
            program is not
            O(state.units[].exe), or an interrupted run left the restart undone.
          - They are started and restarted in the order of this list. One that does not stay active fails the task
            with the end of its journal.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name, C(.service) may be left out.
            type: str
            required: true
          enabled:
            description: >-
              Whether it starts at boot. V(true) when not given, V(false) with O(state.units[].state=absent).
            type: bool
          state:
            description:
              - V(started) and V(stopped) say what they mean.
              - V(absent) stops and disables it; its files are removed by O(state.files[].absent).
              - V(any) neither starts nor stops it, but restarts a running one when needed.
            type: str
            choices: [started, stopped, absent, any]
            default: started
          exe:
            description: >-
              The program that has to be running, by C(/proc/PID/exe). A link is followed, also one of this
              declaration.
            type: str
          on_change:
            description: What a changed file leads to.
            type: str
            choices: [restart, reload]
            default: restart
          start_timeout:
            description: Seconds within which it has to be active.
            type: int
            default: 90
      ctr:
        description: Path of containerd's C(ctr) on the host.
        type: str
        default: /usr/local/bin/ctr
  arch:
    description: >-
      Architecture of the host. Without it the host says so itself; with it another architecture is refused.
    type: str
    choices: [amd64, arm64]
  artifact_source:
    description: Where the controller takes artefacts from; upstream when neither mirror nor bundle is given.
    type: dict
    suboptions:
      mirror:
        description: Directory or URL that keeps the upstream host names as top folders.
        type: str
        default: ""
      bundle:
        description: Directory of an air-gap bundle.
        type: str
        default: ""
      cache:
        description: Download cache on the controller.
        type: str
        default: ""
      lock:
        description: Lock file of checksums on the controller.
        type: str
        default: ""
      trust_built_mirror:
        description: Take the checksums of a mirror that was built from source, which differ from upstream's.
        type: bool
        default: false
      jobs:
        description: Downloads at a time.
        type: int
        default: 4
  digests:
    description: >-
      Expected checksums by C(name/version) and architecture. Filled in by the controller's part from the catalogue.
    type: dict
    default: {}
  package_repositories:
    description: >-
      Checksum and size of the packages of each release of a distribution, such as C(debian/bookworm/amd64), that a bundle
      has. Filled in by the controller's part from the bundle.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Install containerd and keep it running
  stagecraft.gitops.host_state:
    artifact_source:
      mirror: https://mirror.example.com/stagecraft
    state:
      directories:
        - path: /etc/containerd
      files:
        - path: /etc/containerd/config.toml
          content: "{{ lookup('ansible.builtin.template', 'config.toml.j2') }}"
          notify: [containerd]
        - path: /etc/systemd/system/containerd.service
          content: "{{ lookup('ansible.builtin.file', 'containerd.service') }}"
          notify: [containerd]
      artifacts:
        - name: containerd
          version: 2.3.4
          install: archive
          links:
            /usr/local/bin/containerd: containerd
            /usr/local/bin/ctr: ctr
          notify: [containerd]
        - name: cni-plugins
          version: 1.9.1
          install: archive
          directory: /opt/cni/bin
      units:
        - name: containerd
          exe: /usr/local/bin/containerd

- name: Prepare the kernel
  stagecraft.gitops.host_state:
    state:
      kernel_modules: [overlay, br_netfilter]
      sysctl:
        net.ipv4.ip_forward: "1"
      sysctl_file: /etc/sysctl.d/99-stagecraft-host.conf
      swap: disabled
      packages: [iptables, conntrack]

- name: Import the images of the control plane
  stagecraft.gitops.host_state:
    state:
      artifacts:
        - name: kube-apiserver
          version: 1.36.3
          install: image
"""

RETURN = r"""
plan:
  description: What was done, or would be in check mode, in this order. Empty when nothing was to do.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: What is changed, for example V(file), V(artifact) or V(unit).
      type: str
      returned: always
    target:
      description: Path or name.
      type: str
      returned: always
    action:
      description: The verb, for example V(create), V(install) or V(restart).
      type: str
      returned: always
    before:
      description: How it was found, in words.
      type: str
      returned: always
    after:
      description: How it is wanted, in words.
      type: str
      returned: always
  sample:
    - kind: unit
      target: containerd.service
      action: restart
      before: active, pid 612
      after: active, something it depends on changed
missing_packages:
  description: Declared packages that were missing when the host was looked at.
  returned: always
  type: list
  elements: str
  sample: [conntrack]
unmet:
  description: In check mode, what is missing for the plan to work now and earlier steps may bring.
  returned: always
  type: list
  elements: str
needs:
  description: In check mode, the artefacts that would be fetched and pushed.
  returned: always
  type: list
  elements: dict
restarted:
  description: Units that were restarted or reloaded.
  returned: always
  type: list
  elements: str
  sample: [containerd.service]
started:
  description: Units that were started.
  returned: always
  type: list
  elements: str
stopped:
  description: Units that were stopped.
  returned: always
  type: list
  elements: str
pushed:
  description: What went over the line for artefacts.
  returned: when the host lacked artefacts
  type: dict
  sample: {files: 4, bytes: 301989888}
disk:
  description: Free bytes on the file systems of the state directory, the store and the images.
  returned: always
  type: dict
facts:
  description: What the host is.
  returned: always
  type: dict
  sample:
    arch: amd64
    os: {id: debian, version: "12", codename: bookworm, like: [], name: Debian GNU/Linux 12 (bookworm)}
    kernel: 6.1.0-28-amd64
    hostname: node1
    memory_mb: 7941
    cpus: 2
    versions: {containerd: ["2.3.4"]}
    units:
      containerd.service: {pid: 612, exe: /opt/stagecraft/containerd/2.3.4/containerd, active: active, enabled: enabled}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.engine import engine_result
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.errors import HostStateError
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.options import (
    argument_spec,
    without_contents,
)


def main() -> None:
    # no_log keeps file contents out of the system log; the results hold none of sensitive files.
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True, no_log=True)
    invocation = {"module_args": without_contents(module.params)}
    try:
        result = engine_result(module.params, module.check_mode)
    except HostStateError as error:
        module.fail_json(msg=str(error), invocation=invocation)
    module.exit_json(**result, invocation=invocation)


if __name__ == "__main__":
    main()
