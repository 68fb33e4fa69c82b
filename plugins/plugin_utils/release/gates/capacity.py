# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate on room in the target: nodes for the pods, also while they are replaced, disks for images, and volumes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, listed, mapping, text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.quantity import quantity
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import live
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import placement, policy
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.placement import Node
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.render import Rendered

_MOST = 10
_MOST_NODES = 20
_GIB = 1024.0**3
#: What an image takes on a node by the bytes that its registry has: these are kept, and unpack to about three times as much.
_UNPACKED = 4.0
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
#: Provisioners that put volumes on the disk of a node and say nothing of the room there.
_LOCAL_DISKS = ("rancher.io/local-path", "k8s.io/minikube-hostpath", "microk8s.io/hostpath", "openebs.io/local")

#: Tells for which architectures an image is there, with its bytes in the registry for those asked for (0 for others);
#: None where nobody knows.
Facts = Callable[[live.Image, Collection[str]], Mapping[str, int] | None]


@dataclass(frozen=True)
class Claim:
    """A volume that is asked for: `storage_class` None means the target's default one. `size` is in bytes."""

    name: str
    storage_class: str | None
    size: float


def capacity(cluster: live.Cluster, before: Rendered, after: Rendered, facts: Facts) -> Verdict:
    """Refuse what the target has no room for: nodes that take the pods, with their architecture and disk, and volumes."""
    pods = cluster.pods()
    nodes = placement.nodes_of(cluster.session.items("/api/v1/nodes"), pods)
    if not nodes:
        return Verdict(False, "no node is ready")
    changed = {name: (before.objects.get(name), one) for name, one in policy.changed_workloads(before, after).items()}
    said = placement.place(changed, nodes)
    said += total(before, after, nodes) if not said else []
    disks: dict[str, float | None] = {}

    def free_disk(node: Node) -> float | None:
        if node.name not in disks:
            disks[node.name] = _free_disk(cluster, node) if len(disks) < _MOST_NODES else None
        return disks[node.name]

    unknown: list[str] = []
    for name, (old, new) in changed.items():
        said += _images(name, old, new, nodes, facts, free_disk, unknown)
    said += _volumes(cluster, claims(before, nodes), claims(after, nodes), nodes, free_disk)
    unset = [name for name, (_old, new) in changed.items() if not set(asked(new)) & {"cpu", "memory"}]
    notes = [f"not known, no requests are set: {', '.join(unset[:3])}"] if unset else []
    notes += [f"not known is for which nodes and how large: {', '.join(unknown[:3])}"] if unknown else []
    if said:
        return Verdict(False, "; ".join(list(dict.fromkeys(said))[:_MOST]))
    return Verdict(None if unset else True, "; ".join(notes))


def asked(workload: Object) -> placement.Resources:
    """Return what one pod of a workload asks for, its place on a node left out."""
    found = placement.requests(policy.pod_spec(workload))
    return {what: amount for what, amount in found.items() if what != "pods" and amount}


def total(before: Rendered, after: Rendered, nodes: Sequence[Node]) -> list[str]:
    """Say of what the nodes together have too little once all is rolled out."""
    said = []
    for what, unit, scale in (("cpu", "cores", 1.0), ("memory", "MiB", 1024.0**2)):
        free = sum(node.free.get(what, 0.0) for node in nodes)
        sides = [
            sum(
                asked(one).get(what, 0.0) * placement.replicas(one, nodes)
                for one in policy.workloads(rendered).values()
            )
            for rendered in (before, after)
        ]
        more = sides[1] - sides[0]
        if more > max(free, 0.0):
            said.append(f"{more / scale:.2f} {unit} of {what} more are needed, {max(free, 0.0) / scale:.2f} are free")
    return said


# -- images ----------------------------------------------------------------------------------------------------------------


def _images(
    name: str,
    old: Object | None,
    new: Object,
    nodes: Sequence[Node],
    facts: Facts,
    free_disk: Callable[[Node], float | None],
    unknown: list[str],
) -> list[str]:
    """Say which new images the nodes cannot run, or have no room for."""
    there = set() if old is None else set(placement.images(old))
    eligible = [node for node in nodes if not placement.unfit(new, node)]
    archs = {node.arch for node in eligible if node.arch}
    said, needed = [], dict.fromkeys((node.name for node in eligible), 0.0)
    for image in placement.images(new):
        found = facts(image, archs) if image not in there and archs else {}
        if found is None:
            unknown.append(image.name)
        if not found:
            continue
        wrong = [node for node in eligible if node.arch and node.arch not in found]
        if wrong:
            where = ", ".join(f"{node.name} ({node.arch})" for node in wrong[:3])
            said.append(f"{name}: {image.name} is for {', '.join(sorted(found))}, and may come to {where}")
        for node in eligible:
            if not placement.has_image(node, image):
                needed[node.name] += found.get(node.arch, 0) * _UNPACKED
    rooms = {node.name: free_disk(node) for node in eligible if needed[node.name]}
    known = {called: room for called, room in rooms.items() if room is not None}
    if known and len(known) == len(rooms) and all(room < needed[called] for called, room in known.items()):
        best = max(known, key=lambda called: known[called])
        said.append(
            f"{name}: its images take about {needed[best] / _GIB:.1f} GiB, and {best} has {known[best] / _GIB:.1f} GiB free"
        )
    return said


def _free_disk(cluster: live.Cluster, node: Node) -> float | None:
    """Ask a kubelet for the free bytes of the disk with images; None where it does not tell, or we may not ask."""
    try:
        told = cluster.session.get(f"/api/v1/nodes/{node.name}/proxy/stats/summary")
    except ApiError:
        return None
    for place in (mapping(told, "node", "runtime", "imageFs"), mapping(told, "node", "fs")):
        free = place.get("availableBytes")
        if isinstance(free, int | float):
            return float(free)
    return None


# -- volumes ---------------------------------------------------------------------------------------------------------------


def claims(rendered: Rendered, nodes: Sequence[Node]) -> dict[str, Claim]:
    """Return the volumes that are asked for; those of a StatefulSet once for each of its pods."""
    found = {}
    for name, one in rendered.objects.items():
        if one.get("kind") == "PersistentVolumeClaim":
            found[name] = _claim(name, mapping(one, "spec"))
        elif one.get("kind") == "StatefulSet":
            for template in listed(one, "spec", "volumeClaimTemplates"):
                for number in range(placement.replicas(one, nodes)):
                    called = f"{name} {text(template, 'metadata', 'name')}-{number}"
                    found[called] = _claim(called, mapping(template, "spec"))
    return {name: claim for name, claim in found.items() if claim is not None}


def _claim(name: str, spec: Mapping[str, Any]) -> Claim | None:
    """Return a claim; None for one that somebody has made the volume of."""
    called = spec.get("storageClassName")
    if text(spec, "volumeName") or called == "" or "${" in str(called):
        return None
    size = quantity(text(spec, "resources", "requests", "storage"))
    return Claim(name, None if called is None else str(called), size)


def _volumes(
    cluster: live.Cluster,
    before: Mapping[str, Claim],
    after: Mapping[str, Claim],
    nodes: Sequence[Node],
    free_disk: Callable[[Node], float | None],
) -> list[str]:
    """Say which volumes the target cannot make, or make larger."""
    changed = {name: one for name, one in after.items() if name not in before or before[name].size < one.size}
    if not changed:
        return []
    classes = {
        text(one, "metadata", "name"): one for one in cluster.session.items("/apis/storage.k8s.io/v1/storageclasses")
    }
    default = [name for name, one in classes.items() if text(one, "metadata", "annotations", _DEFAULT_CLASS) == "true"]
    said, wanted = [], {}
    for name, claim in changed.items():
        called = claim.storage_class or next(iter(default), "")
        if not called:
            said.append(f"{name} names no StorageClass, and the target has no default one")
        elif called not in classes:
            said.append(f"{name}: the target has no StorageClass {called}; it has {', '.join(classes) or 'none'}")
        elif name in before:
            if classes[called].get("allowVolumeExpansion") is not True:
                sizes = " to ".join(f"{one.size / _GIB:.1f} GiB" for one in (before[name], claim))
                said.append(f"{name} grows from {sizes}, and StorageClass {called} lets no volume grow")
        else:
            wanted[claim] = called
    for claim, called in wanted.items():
        room = _room(cluster, classes[called], called, nodes, free_disk)
        if room is not None and room < claim.size:
            said.append(
                f"{claim.name} wants {claim.size / _GIB:.1f} GiB, and no node has more than {room / _GIB:.1f} GiB"
            )
    return said


def _room(
    cluster: live.Cluster,
    storage_class: Object,
    name: str,
    nodes: Sequence[Node],
    free_disk: Callable[[Node], float | None],
) -> float | None:
    """Return how large a volume of a class can be, in bytes; None where nobody tells."""
    if text(storage_class, "provisioner") in _LOCAL_DISKS:
        known = [room for node in nodes if (room := free_disk(node)) is not None]
        return max(known, default=None)
    told = cluster.session.items("/apis/storage.k8s.io/v1/csistoragecapacities")
    sizes = [
        quantity(text(one, "maximumVolumeSize") or text(one, "capacity"))
        for one in told
        if text(one, "storageClassName") == name and (text(one, "maximumVolumeSize") or text(one, "capacity"))
    ]
    return max(sizes, default=None)
