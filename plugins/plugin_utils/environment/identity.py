# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about what an environment is: its name, its distribution, its versions, its domain."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.hosts import is_dns_name
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PROTECTION = {
    "kubeadm_encryption_at_rest": "Secrets lie readable in etcd and its backups",
    "kubeadm_audit_log": "nobody can say later who did what",
    "k3s_secrets_encryption": "Secrets lie readable in the datastore and its backups",
}
DISTRIBUTIONS = ("minikube", "k3s", "kubeadm")
ENVIRONMENTS = ("local", "staging", "production")
_ENVIRONMENT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
#: Whose versions stagecraft_kubernetes_version must be among.
_RELEASES = {"kubeadm": "kubelet", "minikube": "kubelet", "k3s": "k3s"}
_VERSIONS = {
    "kubeadm_version": "kubelet",
    "k3s_version": "k3s",
    "minikube_version": "minikube",
    "minikube_kubernetes_version": "kubelet",
    "containerd_version": "containerd",
    "containerd_runc_version": "runc",
    "containerd_crictl_version": "crictl",
    "cni_plugins_version": "cni-plugins",
    "cni_flannel_version": "flannel",
    "cni_kube_router_version": "kube-router",
}


def environment(inventory: Inventory) -> Iterator[Problem]:
    """Find an environment without a name, or with one that cannot be used."""
    if not inventory.hosts:
        return
    settings = inventory.settings("stagecraft_environment")
    if not settings or settings[0].value in (None, ""):
        yield Problem(
            "environment-missing",
            "stagecraft_environment",
            "it is not set",
            "Set it in group_vars/all.yml to the environment's name: local, staging or production",
        )
        return
    setting = settings[0]
    name = setting.value
    if not isinstance(name, str) or not _ENVIRONMENT.fullmatch(name):
        yield Problem(
            "environment-invalid",
            setting.name,
            f"{name!r} cannot be the name of an environment",
            "Use lower-case letters, digits and '-', at most 63, beginning and ending with a letter or digit, for "
            "example production",
            setting.origin,
        )
    elif name not in ENVIRONMENTS and get_close_matches(name, ENVIRONMENTS, n=1, cutoff=0.8):
        (near,) = get_close_matches(name, ENVIRONMENTS, n=1, cutoff=0.8)
        yield Problem(
            "environment-unusual",
            setting.name,
            f"{name!r} is nearly {near!r}, but not it, so what holds for {near} alone does not hold here",
            f"If {near} is meant, write {near}",
            setting.origin,
            "warning",
        )


def distribution(inventory: Inventory) -> Iterator[Problem]:
    """Find a distribution that is missing, unknown, or cannot run on these hosts."""
    if not inventory.hosts:
        return
    name = inventory.of("stagecraft_distribution")
    origin = inventory.origin("stagecraft_distribution")
    if name in (None, ""):
        fix = "Set it in group_vars/all.yml to kubeadm, k3s or minikube"
        yield Problem("distribution-missing", "stagecraft_distribution", "it is not set", fix)
    elif name not in DISTRIBUTIONS:
        yield Problem(
            "distribution-unknown",
            "stagecraft_distribution",
            f"{name!r} is unknown",
            _instead(str(name), DISTRIBUTIONS),
            origin,
        )
    elif name == "minikube" and len(inventory.nodes) > 1:
        yield Problem(
            "distribution-several-hosts",
            "stagecraft_distribution",
            f"minikube runs on one machine; the inventory has {len(inventory.nodes)} ({', '.join(inventory.nodes)})",
            "Leave one host in control_plane, or use k3s or kubeadm",
            origin,
        )


def versions(inventory: Inventory) -> Iterator[Problem]:
    """Find versions that the catalogue does not have."""
    if not inventory.hosts:
        return
    wanted = inventory.of("stagecraft_kubernetes_version")
    chosen = inventory.of("stagecraft_distribution")
    origin = inventory.origin("stagecraft_kubernetes_version")
    if wanted in (None, ""):
        usual = inventory.known.defaults.get(_RELEASES.get(str(chosen), "kubelet"), "")
        yield Problem(
            "version-missing",
            "stagecraft_kubernetes_version",
            "it is not set",
            f'Set it in group_vars/all.yml, for example "{usual}"',
        )
    else:
        release = _RELEASES.get(str(chosen), "kubelet")
        others = {r: d for d, r in _RELEASES.items() if r != release}
        yield from _version(
            inventory, "stagecraft_kubernetes_version", wanted, artifact=release, origin=origin, others=others
        )
    for name, artifact in _VERSIONS.items():
        for setting in inventory.settings(name):
            yield from _version(
                inventory, setting.subject, setting.value, artifact=artifact, origin=setting.origin, others={}
            )


def _version(
    inventory: Inventory, subject: str, value: Any, *, artifact: str, origin: str, others: dict[str, str]
) -> Iterator[Problem]:
    known = inventory.known.versions.get(artifact, ())
    if not isinstance(value, str):
        found = f"{value!r} is a number, and 1.40 would be read as 1.4"
        yield Problem("version-not-text", subject, found, f'Put it in quotes: "{_near(str(value), known)[0]}"', origin)
        return
    if value in known or value.removeprefix("v") in known or f"v{value}" in known or not known:
        return
    for other, name in others.items():
        if value in inventory.known.versions.get(other, ()) or f"v{value}" in inventory.known.versions.get(other, ()):
            yield Problem(
                "version-of-other-distribution",
                subject,
                f"{value} is a version of {name}; stagecraft_distribution is {inventory.of('stagecraft_distribution')}",
                f"Use {inventory.known.defaults.get(artifact, known[0])}, or set stagecraft_distribution: {name}",
                origin,
            )
            return
    found = f"{artifact} {value} is not in the catalogue"
    yield Problem(
        "version-unknown", subject, found, f"Use one of the nearest: {', '.join(_near(value, known))}", origin
    )


def _near(value: str, known: Sequence[str]) -> list[str]:
    """Return up to three versions, that whose numbers differ least from `value` (the first counting most) first."""
    wanted = [int(number) for number in re.findall(r"\d+", value)][:3]

    def distance(candidate: str) -> tuple[int, ...]:
        return tuple(abs(a - int(b)) for a, b in zip(wanted, re.findall(r"\d+", candidate), strict=False))

    return sorted(known, key=distance)[:3] or [value]


def domains(inventory: Inventory) -> Iterator[Problem]:
    """Find domains that are no DNS names."""
    for setting in inventory.settings("stagecraft_domain"):
        value = str(setting.value or "")
        if not is_dns_name(value) or "." not in value:
            what = "is a URL" if "://" in value else "is no DNS name of two parts or more, in lower case"
            fix = "Write the domain alone, for example staging.example.com"
            yield Problem("domain-invalid", setting.subject, f"{value!r} {what}", fix, setting.origin)
    for setting in (*inventory.settings("kubeadm_service_domain"), *inventory.settings("k3s_service_domain")):
        if not is_dns_name(str(setting.value)):
            found = f"{setting.value!r} is no DNS name"
            fix = "Write a domain that is used nowhere else, for example cluster.local"
            yield Problem("service-domain-invalid", setting.subject, found, fix, setting.origin)


def secrets(inventory: Inventory) -> Iterator[Problem]:
    """Find passwords of production that stand in the inventory for everybody to read, and programs of other origin."""
    if inventory.of("stagecraft_environment") != "production":
        return
    by_name: dict[str, list[str]] = {}
    for host, names in inventory.clear_secrets.items():
        for name in names:
            by_name.setdefault(name, []).append(host)
    for name, hosts in by_name.items():
        yield Problem(
            "password-in-clear",
            f"{name} of {', '.join(hosts)}",
            "a password of production stands unencrypted in the inventory",
            "Log in by key and remove it, or encrypt it: ansible-vault encrypt_string",
            inventory.origin(name, hosts[0]),
        )
    for setting in inventory.settings("artifacts_trust_built_mirror"):
        if setting.value is True:
            found = "it is on in production, so programs with other checksums than upstream's would be installed"
            fix = "Remove it, and use a mirror that was filled by download"
            yield Problem("built-mirror-in-production", setting.subject, found, fix, setting.origin)


def protection(inventory: Inventory) -> Iterator[Problem]:
    """Find protection that is switched off where it would be missed: everywhere but in local and staging."""
    if inventory.of("stagecraft_environment") in ("local", "staging"):
        return
    for name, so in _PROTECTION.items():
        for setting in inventory.settings(name):
            if setting.value is False:
                found = f"it is off, so {so}"
                yield Problem(
                    "protection-off", setting.subject, found, "Remove the line to have it on", setting.origin, "warning"
                )


def _instead(value: str, known: Sequence[str]) -> str:
    near = get_close_matches(value.lower(), known, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}? There are {', '.join(known)}" if near else f"There are {', '.join(known)}"
