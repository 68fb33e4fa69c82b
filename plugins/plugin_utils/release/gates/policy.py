# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates on what would be applied: that it builds, fits the schemas, and keeps the rules for workloads. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import CheckError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import group_version
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.schemas import Schemas, installed_versions
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, listed, mapping, text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.render import Rendered

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod")
_LEVELS = ("privileged", "baseline", "restricted")
_MOST = 10
#: Capabilities that the level baseline lets a container add (Pod Security Standards, v1.36).
_BASELINE_CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
    "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip
#: Sysctls and SELinux types that baseline lets a pod set (Pod Security Standards, v1.36).
_BASELINE_SYSCTLS = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
})  # fmt: skip
_BASELINE_SELINUX = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_RESTRICTED_VOLUMES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
})  # fmt: skip


def builds(before: Rendered, after: Rendered, options: Mapping[str, Any]) -> Verdict:
    """Refuse what does not build, or does not fit the schemas of Kubernetes any more.

    What was wrong before the plan is told, and does not keep it from being carried out.
    """
    version = str(options.get("kubernetes_version") or "")
    old, new = ([*one.problems, *_schema_problems(one, version)] for one in (before, after))
    own = [said for said in new if said not in old]
    notes = [f"not built: {one}" for one in after.unsupported]
    if new and not own:
        notes.append(f"was broken before: {'; '.join(new[:_MOST])}")
    return Verdict(not own, "; ".join((own or notes)[:_MOST]))


def _schema_problems(rendered: Rendered, version: str) -> list[str]:
    try:
        schemas = Schemas(version or installed_versions()[-1], {})
    except CheckError as error:
        raise ReleaseError(str(error)) from error
    said = []
    for name, content in rendered.objects.items():
        gvk = (*group_version(str(content.get("apiVersion") or "")), str(content.get("kind") or ""))
        for path, words in schemas.check(gvk, content) or ():
            if "${" not in str(_value(content, path)):
                said.append(f"{name}: {'.'.join(map(str, path))}: {words}")
    return said


def _value(content: Any, path: Any) -> Any:
    for step in path:
        try:
            content = content[step]
        except (KeyError, IndexError, TypeError):
            return ""
    return content


# -- workloads -----------------------------------------------------------------------------------------------------------------


def workloads(rendered: Rendered) -> dict[str, Object]:
    """Return the objects that run pods, by name."""
    return {name: one for name, one in rendered.objects.items() if one.get("kind") in WORKLOADS}


def changed_workloads(before: Rendered, after: Rendered) -> dict[str, Object]:
    """Return those of `after` that are new, or not what they were."""
    return {name: one for name, one in workloads(after).items() if before.objects.get(name) != one}


def judge(rendered: Rendered, options: Mapping[str, Any]) -> Verdict:
    """Hold workloads against a Pod Security level, and against house rules for requests and network policies.

    Options: ``pod_security`` (privileged, baseline, restricted; baseline without it), ``requests`` (CPU and memory are
    asked for), ``network_policy`` (each namespace of a workload has one among the rendered objects).
    """
    level = str(options.get("pod_security") or "baseline")
    if level not in _LEVELS:
        raise ReleaseError(f"gate policy: pod_security: wanted {', '.join(_LEVELS)}, found {level!r}")
    said: list[str] = []
    found = workloads(rendered)
    for name, one in found.items():
        pod = pod_spec(one)
        said += [f"{name}: {reason}" for reason in security(pod, level)]
        if options.get("requests", True):
            said += [
                f"{name}: container {text(container, 'name')} asks for no {what}"
                for container in listed(pod, "containers")
                for what in ("cpu", "memory")
                if not text(container, "resources", "requests", what)
            ]
    if options.get("network_policy"):
        covered = {_namespace(one) for one in rendered.objects.values() if one.get("kind") == "NetworkPolicy"}
        said += [
            f"namespace {namespace} has no NetworkPolicy"
            for namespace in sorted({_namespace(one) for one in found.values()} - covered)
        ]
    more = f"; and {len(said) - _MOST} more" if len(said) > _MOST else ""
    return Verdict(not said, "; ".join(said[:_MOST]) + more)


def pod_spec(workload: Object) -> Mapping[str, Any]:
    """Return the spec of the pods that a workload makes."""
    if workload.get("kind") == "Pod":
        return mapping(workload, "spec")
    if workload.get("kind") == "CronJob":
        return mapping(workload, "spec", "jobTemplate", "spec", "template", "spec")
    return mapping(workload, "spec", "template", "spec")


def security(pod: Mapping[str, Any], level: str) -> list[str]:
    """Return what a pod must not do at a Pod Security level."""
    if level == "privileged":
        return []
    said = [f"it uses {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key) is True]
    for volume in listed(pod, "volumes"):
        if isinstance(volume, Mapping) and "hostPath" in volume:
            said.append(f"volume {volume.get('name')} is a hostPath")
        elif level == "restricted" and isinstance(volume, Mapping) and not (volume.keys() & _RESTRICTED_VOLUMES):
            said.append(f"volume {volume.get('name')} is of a kind that restricted does not allow")
    own = mapping(pod, "securityContext")
    said += [f"it {reason}" for reason in _context(own)]
    names = [text(one, "name") for one in listed(own, "sysctls")]
    said += [f"it sets the sysctl {name}" for name in names if name not in _BASELINE_SYSCTLS]
    if level == "restricted" and own.get("runAsUser") == 0:
        said.append("it runs as user 0")
    for container in [*listed(pod, "initContainers"), *listed(pod, "containers")]:
        said += [f"container {text(container, 'name')} {reason}" for reason in _container(container, own, level)]
    return said


def _context(context: Mapping[str, Any]) -> list[str]:
    """Return what neither a pod nor a container may say of its security at the level baseline."""
    said = ["is a host process of Windows"] if mapping(context, "windowsOptions").get("hostProcess") is True else []
    if text(context, "appArmorProfile", "type") == "Unconfined":
        said.append("is unconfined by AppArmor")
    options = mapping(context, "seLinuxOptions")
    if text(options, "type") not in _BASELINE_SELINUX or text(options, "user") or text(options, "role"):
        said.append("sets SELinux options of its own")
    if text(context, "procMount") not in ("", "Default"):
        said.append(f"mounts /proc {text(context, 'procMount')}")
    return said


def _container(container: Mapping[str, Any], pod: Mapping[str, Any], level: str) -> list[str]:
    context = mapping(container, "securityContext")
    said = ["is privileged"] if context.get("privileged") is True else []
    said += _context(context)
    added = {str(one) for one in listed(context, "capabilities", "add")}
    allowed = {"NET_BIND_SERVICE"} if level == "restricted" else _BASELINE_CAPABILITIES
    said += [f"adds {', '.join(sorted(added - allowed))}"] if added - allowed else []
    said += [
        "has a hostPort" for port in listed(container, "ports") if isinstance(port, Mapping) and port.get("hostPort")
    ]
    profile = text(context, "seccompProfile", "type") or text(pod, "seccompProfile", "type")
    if profile == "Unconfined":
        said.append("is unconfined by seccomp")
    if level == "restricted":
        said += ["may run as root"] if context.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True else []
        said += ["runs as user 0"] if context.get("runAsUser") == 0 else []
        said += ["may gain privileges"] if context.get("allowPrivilegeEscalation") is not False else []
        said += ["does not drop ALL"] if "ALL" not in listed(context, "capabilities", "drop") else []
        said += ["sets no seccompProfile"] if not profile else []
    return said


def _namespace(one: Object) -> str:
    return text(one, "metadata", "namespace") or "default"
