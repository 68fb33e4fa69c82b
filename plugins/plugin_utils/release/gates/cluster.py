# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates that only a running cluster, a registry or a program can answer. They change nothing."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import apply
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import (
    Object,
    Ref,
    listed,
    mapping,
    text,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import delivery, holds, live, model, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import placement, policy, rules
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.render import Rendered

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Remote
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.digests import Resolver
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.operation import Observation

_MOST = 10
_INSIDE_SECONDS = 60.0
#: For how long a source is waited for that is in the middle of something: each of its intervals it is so for a moment.
_UNDER_WAY_SECONDS = 15.0
#: Looks up names and knocks at ports, all of them, and leaves what is wrong where the kubelet reads it.
_INSIDE = """\
said=
for one; do
  rest=${one#*:}
  case $one in
    dns:*) nslookup "$rest" >/dev/null 2>&1 || said="$said; the name $rest is not known there" ;;
    tcp:*) nc -w 5 "${rest%:*}" "${rest##*:}" </dev/null >/dev/null 2>&1 || said="$said; nothing answers there at $rest" ;;
  esac
done
printf %s "${said#; }" >/dev/termination-log
[ -z "$said" ]
"""
_DOCKER_HUB = "registry-1.docker.io"
_ROUTES = ("HTTPRoute", "GRPCRoute", "TLSRoute")
#: Where SOPS tells for whom a file is encrypted: the kind of key, and its field.
_SOPS_KEYS = {"age": "recipient", "pgp": "fp", "kms": "arn", "gcp_kms": "resource_id", "hc_vault": "key_name"}
_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
_OLD_CLASS = "kubernetes.io/ingress.class"


def digest(found: Resolver, options: Mapping[str, Any]) -> Verdict:
    """Refuse images whose digest is disputed; tell those that go by their tag alone, or refuse them (`required`)."""
    if found.problems:
        return Verdict(False, "; ".join(found.problems))
    if found.unknown:
        said = f"no digest is known of {', '.join(found.unknown)}"
        if options.get("required"):
            return Verdict(False, said)
        return Verdict(None, f"{said}; the tag alone is promoted", mild=True)
    return Verdict(True)


# -- the source ----------------------------------------------------------------------------------------------------------------


def source_healthy(cluster: live.Cluster, seen: Observation, remote: Remote) -> Verdict:
    """Refuse what the source does not run healthily, at the digest that Git says."""
    files = tuple(path for wish in seen.wishes for path in wish.source.files)
    branch = cluster.environment.branch or remote.branch
    subject = delivery.Subject("", files, url=remote.url, branch=branch, default=remote.branch)
    said = delivery.troubles(cluster, subject, _UNDER_WAY_SECONDS)
    for wish in seen.wishes:
        found = live.images(wish.source.occurrences)
        running = cluster.running(
            [one.name for one in found], model.namespaces(wish.source.environment, wish.source.component)
        )
        name = wish.source.component.name
        if found and not running:
            said.append(f"{name}: no pod in {wish.source.environment.name} runs {', '.join(one.name for one in found)}")
        said += [f"{name}: {reason}" for reason in mismatches(found, running)]
    return Verdict(not said, "; ".join(said))


def mismatches(wanted: Iterable[live.Image], running: Sequence[live.Container]) -> list[str]:
    """Say which containers are not ready, or run something else than Git says."""
    by_name = {one.name: one for one in wanted}
    said = []
    for one in running:
        image = by_name.get(one.wanted.name)
        if image is None:
            continue
        if not one.ready:
            said.append(f"pod {one.pod} is not ready")
        elif image.digest and one.digest and one.digest != image.digest:
            said.append(f"pod {one.pod} runs {one.digest[:19]}, Git says {image.digest[:19]}")
        elif image.tag and one.wanted.tag and one.wanted.tag != image.tag:
            said.append(f"pod {one.pod} runs the tag {one.wanted.tag}, Git says {image.tag}")
    return list(dict.fromkeys(said))


def soak(since: datetime, cluster: live.Cluster | None, seen: Observation, hours: float, now: datetime) -> Verdict:
    """Refuse what has not been in the source for so long, by Git and, with a cluster, by pods that did not restart."""
    times, said = [since], []
    if cluster is not None:
        for wish in seen.wishes:
            names = [one.name for one in live.images(wish.source.occurrences)]
            for one in cluster.running(names, model.namespaces(wish.source.environment, wish.source.component)):
                if one.restarts:
                    said.append(f"pod {one.pod} has restarted {one.restarts} times")
                if one.since:
                    times.append(holds.moment(one.since))
    verdict = rules.soaked(max(times), hours, now)
    return Verdict(bool(verdict.ok) and not said, "; ".join([verdict.detail, *said]))


# -- the target ----------------------------------------------------------------------------------------------------------------


def server_dry_run(cluster: live.Cluster, after: Rendered) -> Verdict:
    """Let the target's API server judge the objects, without keeping them. Those with variables are left out."""
    objects = [one for one in after.objects.values() if "${" not in json.dumps(one) and one.get("kind") != "Secret"]
    left = len(after.objects) - len(objects)
    note = f"{left} objects with variables or secrets were not asked about" if left else ""
    if not objects:
        return Verdict(True, note)
    try:
        apply.Applier(cluster.session, apply.Options(manager="stagecraft.gitops-preview", force=True)).plan(objects)
    except ApiError as error:
        if error.status is None or error.transient:
            raise
        return Verdict(False, str(error))
    except KubeError as error:
        return Verdict(False, str(error))
    return Verdict(True, note)


def secrets(cluster: live.Cluster, after: Rendered, options: Mapping[str, Any]) -> Verdict:
    """Refuse what needs Secrets, ConfigMaps or keys of them that neither Git nor the target has. Values are not read.

    With the option `recipients`, the public keys (or fingerprints) of the target, also what SOPS has encrypted for others.
    """
    rendered = {
        (str(one.get("kind")), text(one, "metadata", "namespace") or "default", text(one, "metadata", "name")): _keys(
            one
        )
        for one in after.objects.values()
        if one.get("kind") in ("Secret", "ConfigMap")
    }
    # what makes a Secret of the same name in the cluster
    made = {
        (
            text(one, "metadata", "namespace") or "default",
            text(one, "spec", "target", "name") or text(one, "metadata", "name"),
        )
        for one in after.objects.values()
        if one.get("kind") in ("SealedSecret", "ExternalSecret")
    }
    said = _foreign(after, options)
    # of a sealed secret the items are known without opening it; whether it opens is asked by the gate sealed
    for one in after.objects.values():
        if one.get("kind") == "SealedSecret":
            own = (text(one, "metadata", "namespace") or "default", text(one, "metadata", "name"))
            made.discard(own)
            items = {*mapping(one, "spec", "encryptedData"), *mapping(one, "spec", "template", "data")}
            rendered.setdefault(("Secret", *own), set()).update(map(str, items))
    for (kind, namespace, name), keys in sorted(references(after).items()):
        if kind == "Secret" and (namespace, name) in made:
            continue
        there = rendered.get((kind, namespace, name))
        if there is None:
            live_object = cluster.session.object(Ref("", kind, namespace, name))
            there = None if live_object is None else _keys(live_object)
        if there is None:
            said.append(f"{kind} {namespace}/{name} is neither in Git nor in the target")
        else:
            said += [f"{kind} {namespace}/{name} has no key {key}" for key in sorted(keys - there)]
    return Verdict(not said, "; ".join(said[:_MOST]))


def _foreign(after: Rendered, options: Mapping[str, Any]) -> list[str]:
    """Say which Secrets SOPS has encrypted for others than the target."""
    own = options.get("recipients")
    if own is None:
        return []
    if not isinstance(own, list) or not own:
        raise ReleaseError("gate secrets: wanted recipients, a list of the target's public keys")
    said = []
    for name, one in sorted(after.objects.items()):
        sops = mapping(one, "sops")
        groups = [sops, *(group for group in listed(sops, "key_groups") if isinstance(group, Mapping))]
        found = {
            text(entry, key)
            for group in groups
            for kind, key in _SOPS_KEYS.items()
            for entry in listed(group, kind)
        }  # fmt: skip
        if sops and not found & {str(each) for each in own}:
            said.append(f"{name} is encrypted for {', '.join(sorted(found)) or 'nobody'}, and not for the target")
    return said


def _keys(one: Object) -> set[str]:
    return {str(key) for part in ("data", "stringData", "binaryData") for key in mapping(one, part)}


def references(rendered: Rendered) -> dict[tuple[str, str, str], set[str]]:
    """Return the Secrets and ConfigMaps that workloads need: (kind, namespace, name) → keys. Optional ones are none."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for one in policy.workloads(rendered).values():
        namespace = text(one, "metadata", "namespace") or "default"
        pod = policy.pod_spec(one)
        for kind, name, keys in _needs(pod):
            if name and "${" not in name:
                found.setdefault((kind, namespace, name), set()).update(keys)
    return found


def _needs(pod: Mapping[str, Any]) -> Iterable[tuple[str, str, set[str]]]:
    containers = [*listed(pod, "containers"), *listed(pod, "initContainers")]
    sources: list[tuple[str, Mapping[str, Any], str, list[Any]]] = []
    for variable in (one for container in containers for one in listed(container, "env")):
        for key, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
            source = mapping(variable, "valueFrom", key)
            sources.append((kind, source, "name", [source]))
    for entry in (one for container in containers for one in listed(container, "envFrom")):
        sources += [
            ("Secret", mapping(entry, "secretRef"), "name", []),
            ("ConfigMap", mapping(entry, "configMapRef"), "name", []),
        ]
    for volume in listed(pod, "volumes"):
        for part in [volume, *listed(volume, "projected", "sources")]:
            secret, config = mapping(part, "secret"), mapping(part, "configMap")
            sources.append(
                ("Secret", secret, "secretName" if "secretName" in secret else "name", listed(secret, "items"))
            )
            sources.append(("ConfigMap", config, "name", listed(config, "items")))
    for kind, source, field, items in sources:
        if source and source.get("optional") is not True:
            yield kind, text(source, field), {text(item, "key") for item in items}
    for entry in listed(pod, "imagePullSecrets"):
        yield "Secret", text(entry, "name"), set()


def connectivity(
    cluster: live.Cluster, after: Rendered, options: Mapping[str, Any], *, carried_out: bool = False
) -> Verdict:
    """Refuse where the target cannot be reached or would not serve: API server, its own DNS, ways in, registries.

    Of DNS and ways in the target itself is asked. Names and registries are looked up in a pod of the target where
    `image` names one to run (with sh, nslookup and nc; nothing runs before a plan is carried out), else from here.
    """
    cluster.session.get("/version")
    said = [*_dns_inside(cluster), *_ways_in(cluster, after)]
    hosts = {
        host for one in after.objects.values() for host in ingress_hosts(one) if "${" not in host and "*" not in host
    }
    hosts |= {str(host) for host in options.get("hosts") or ()}
    registries = [_host_and_port(str(address)) for address in _registries(after, options)]
    if options.get("image") and (hosts or registries):
        if not carried_out:
            return Verdict(not said, "; ".join([*said, "a pod of the target is asked when it is carried out"]))
        failures, unknown = verify.run_job(cluster, inside(options, sorted(hosts), registries), _INSIDE_SECONDS)
        said += failures
        return Verdict(False if said else None if unknown else True, "; ".join([*said, *unknown]))
    for host in sorted(hosts):
        try:
            socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
        except OSError as error:
            said.append(f"{host} is not known to DNS here ({error.strerror or error})")
    for host, port in registries:
        try:
            socket.create_connection((host, port), 3.0).close()
        except OSError as error:
            said.append(f"nothing answers at {host}:{port} ({error.strerror or error})")
    return Verdict(not said, "; ".join(said))


def _registries(after: Rendered, options: Mapping[str, Any]) -> list[str]:
    """Return the registries to ask: those that are named, else from inside the target those of the images."""
    if "registries" in options or not options.get("image"):
        return [str(one) for one in options.get("registries") or ()]
    hosts = {image.registry for one in policy.workloads(after).values() for image in placement.images(one)}
    return sorted(_DOCKER_HUB if host == "docker.io" else host for host in hosts)


def inside(options: Mapping[str, Any], hosts: Sequence[str], registries: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Return the Job that looks from inside; what it finds is its container's last message."""
    wanted = [f"dns:{host}" for host in hosts] + [f"tcp:{host}:{port}" for host, port in registries]
    container = {
        "name": "connectivity",
        "image": str(options["image"]),
        "command": ["sh", "-c", _INSIDE, "sh", *wanted],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {
        "metadata": {"name": "connectivity", "namespace": str(options.get("namespace") or "default")},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def _dns_inside(cluster: live.Cluster) -> list[str]:
    """Say whether the target's DNS has nobody to answer; a cluster whose DNS has another name is not judged."""
    slices = cluster.session.items(
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices",
        labelSelector="kubernetes.io/service-name=kube-dns",
    )
    answering = [
        endpoint
        for one in slices
        for endpoint in listed(one, "endpoints")
        # the API's own rule: a condition that is not set means ready
        if mapping(endpoint, "conditions").get("ready", True) is not False
    ]
    return (
        ["the target's own DNS (Service kube-system/kube-dns) has no ready endpoint"]
        if slices and not answering
        else []
    )


def _ways_in(cluster: live.Cluster, after: Rendered) -> list[str]:
    """Say which ingresses and routes nobody in the target would serve: no such class, or no such gateway."""
    ingresses = {name: one for name, one in after.objects.items() if one.get("kind") == "Ingress"}
    said = []
    if ingresses:
        classes = {
            text(one, "metadata", "name"): text(one, "metadata", "annotations", _DEFAULT_CLASS) == "true"
            for one in cluster.session.items("/apis/networking.k8s.io/v1/ingressclasses")
        }
        for name, one in sorted(ingresses.items()):
            wanted = text(one, "spec", "ingressClassName") or text(one, "metadata", "annotations", _OLD_CLASS)
            if wanted and "${" not in wanted and wanted not in classes:
                said.append(f"{name}: the target has no IngressClass {wanted}; it has {', '.join(classes) or 'none'}")
            elif not wanted and not any(classes.values()):
                said.append(f"{name} names no class, and the target has no default IngressClass")
    rendered = {
        (text(one, "metadata", "namespace") or "default", text(one, "metadata", "name"))
        for one in after.objects.values()
        if one.get("kind") == "Gateway"
    }
    for name, one in sorted(after.objects.items()):
        if one.get("kind") not in _ROUTES:
            continue
        for parent in listed(one, "spec", "parentRefs"):
            namespace = text(parent, "namespace") or text(one, "metadata", "namespace") or "default"
            gateway = text(parent, "name")
            if text(parent, "kind") not in ("", "Gateway") or (namespace, gateway) in rendered or "${" in gateway:
                continue
            if cluster.session.object(Ref("gateway.networking.k8s.io", "Gateway", namespace, gateway)) is None:
                said.append(f"{name}: there is no Gateway {namespace}/{gateway}, neither in Git nor in the target")
    return said[:_MOST]


def ingress_hosts(one: Object) -> list[str]:
    """Return the names that an Ingress or a route is for."""
    if one.get("kind") == "Ingress":
        return [text(rule, "host") for rule in listed(one, "spec", "rules") if text(rule, "host")]
    if one.get("kind") in _ROUTES:
        return [str(host) for host in listed(one, "spec", "hostnames")]
    return []


def _host_and_port(address: str) -> tuple[str, int]:
    parts = urlsplit(address if "://" in address else f"https://{address}")
    return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
