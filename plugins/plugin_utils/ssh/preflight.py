# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a host fit for what is planned? One POSIX sh script looks, before Python exists there; the judgement is pure.

`SCRIPT` reads and changes nothing. `parse` makes `HostFacts` of its output, `evaluate` says all that is wrong at once.
"""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from .errors import SshError

MARKER = "/var/lib/stagecraft/cluster.json"

SUPPORTED_OS = (
    "debian 12",
    "debian 13",
    "ubuntu 22.04",
    "ubuntu 24.04",
    "ubuntu 26.04",
)
_FAMILIES = {
    "debian": "Debian",
    "ubuntu": "Debian",
    "rhel": "RedHat",
    "fedora": "RedHat",
    "centos": "RedHat",
    "rocky": "RedHat",
    "almalinux": "RedHat",
    "suse": "Suse",
    "opensuse": "Suse",
    "opensuse-leap": "Suse",
    "sles": "Suse",
}
_SELINUX = {"1": "enforcing", "0": "permissive"}
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Leftover:
    """Traces of something that would be in a cluster's way: where they are, and how the admin gets rid of it."""

    name: str
    what: str
    paths: tuple[str, ...]
    fix: str


LEFTOVERS = (
    Leftover(
        "kubernetes",
        "a Kubernetes node",
        ("/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/admin.conf", "/etc/kubernetes/kubelet.conf"),
        "if it is not needed any more, run `kubeadm reset` there and remove /etc/kubernetes",
    ),
    Leftover(
        "etcd",
        "an etcd member's data",
        ("/var/lib/etcd/member",),
        "save what is needed (`etcdctl snapshot save`), stop etcd and remove /var/lib/etcd",
    ),
    Leftover("kubelet", "a kubelet", ("/var/lib/kubelet/config.yaml",), "stop the kubelet and remove /var/lib/kubelet"),
    Leftover(
        "k3s",
        "K3s",
        ("/etc/rancher/k3s", "/var/lib/rancher/k3s", "/etc/systemd/system/k3s.service"),
        "run /usr/local/bin/k3s-uninstall.sh (or k3s-agent-uninstall.sh)",
    ),
    Leftover("rke2", "RKE2", ("/etc/rancher/rke2", "/var/lib/rancher/rke2"), "run rke2-uninstall.sh"),
    Leftover("microk8s", "MicroK8s", ("/var/snap/microk8s", "/snap/microk8s"), "run `snap remove --purge microk8s`"),
    Leftover("k0s", "k0s", ("/var/lib/k0s", "/etc/k0s"), "run `k0s stop` and `k0s reset`"),
    Leftover("minikube", "Minikube", ("/var/lib/minikube",), "run `minikube delete` as the user who made it"),
    Leftover(
        "docker",
        "the Docker engine",
        ("/var/run/docker.sock", "/etc/docker/daemon.json", "/usr/bin/dockerd"),
        "remove it (`apt-get remove docker.io docker-ce containerd.io`), for it brings a containerd of its own",
    ),
    Leftover(
        "podman-cni", "CNI configuration of others", ("/etc/cni/net.d/87-podman-bridge.conflist",), "remove podman"
    ),
)
_MODULE_SIGNS = {"overlay": "fs", "br_netfilter": "/proc/sys/net/bridge", "ip_tables": "/proc/net/ip_tables_names"}
SYSCTLS = (
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
    "net.bridge.bridge-nf-call-iptables",
    "net.netfilter.nf_conntrack_max",
    "fs.inotify.max_user_instances",
    "fs.inotify.max_user_watches",
    "vm.overcommit_memory",
    "kernel.panic",
    "kernel.keys.root_maxkeys",
)

#: What a cluster of ours listens by, as the kernel cuts the names of programs (15 characters).
CLUSTER_PROGRAMS = {
    "containerd", "cri-dockerd", "dockerd", "etcd", "flanneld", "haproxy", "k3s",
    "k3s-agent", "k3s-server", "kube-apiserver", "kube-controller", "kube-proxy", "kube-scheduler", "kubelet",
}  # fmt: skip

_SCRIPT = r"""
LC_ALL=C; export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH
now() { date +%s.%N 2>/dev/null; }
say() { printf '@%s %s\n' "$1" "$2"; }
# The first line of a file into $line, by the shell alone: a process for each would cost more than all the rest.
first() { line=; [ -r "$1" ] && { read -r line <"$1"; } 2>/dev/null; [ -n "$line" ]; }
tell() { first "$2" && say "$1" "$line"; }
say started "$(now)"
say uid "$(id -u)"
say hostname "$(uname -n)"
tell machine_id /etc/machine-id
say kernel "$(uname -r)"
say machine "$(uname -m)"
say cpus "$(getconf _NPROCESSORS_ONLN 2>/dev/null || nproc)"
cgroup=/sys/fs/cgroup
v1=$cgroup/cpu/cpu.cfs
tell cpu_limit $cgroup/cpu.max ||
  { first ${v1}_quota_us && quota=$line && first ${v1}_period_us && say cpu_limit "$quota $line"; }
say memory_kb "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
tell memory_limit $cgroup/memory.max || tell memory_limit $cgroup/memory/memory.limit_in_bytes
for where in /var/lib /var /; do [ -d "$where" ] && break; done
say disk_kb "$(df -Pk "$where" | sed -n '$s/^.* \([0-9][0-9]*\)  *[0-9-][0-9-]*%  *\/.*$/\1/p')"
say cgroup "$(stat -fc %T /sys/fs/cgroup 2>/dev/null)"
[ -d /run/systemd/system ] && say systemd yes
tell selinux /sys/fs/selinux/enforce
[ -r /etc/ufw/ufw.conf ] && grep -qi '^ENABLED=yes' /etc/ufw/ufw.conf && say firewall ufw
for unit in firewalld shorewall; do
  [ -e "/run/$unit" ] || [ -e "/run/$unit.pid" ] || continue
  systemctl is-active --quiet "$unit.service" 2>/dev/null && say firewall "$unit"
done
python=$(command -v python3) &&
  say python "$python $("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)"
for tool in sudo apt-get dnf zypper; do command -v "$tool" >/dev/null 2>&1 && say tool "$tool"; done
grep -E '^(ID|ID_LIKE|VERSION_ID|PRETTY_NAME)=' /etc/os-release 2>/dev/null | sed 's/^/@os /'
sed 1d /proc/swaps 2>/dev/null | sed 's/[[:space:]].*//; s/^/@swap /'
if [ -r MARKER ]; then say marker "$(tr -d '\n' <MARKER)"; fi
release=/lib/modules/$(uname -r)
module() {
  if [ -n "$3" ] && [ "$3" != fs ] && [ -e "$3" ]; then state=loaded
  elif [ "$3" = fs ] && grep -qw "$1" /proc/filesystems 2>/dev/null; then state=loaded
  elif grep -q "^$1 " /proc/modules 2>/dev/null; then state=loaded
  elif [ ! -d "$release" ]; then state=unknown
  elif grep -qE "/($1|$2)\.ko" "$release/modules.builtin" 2>/dev/null; then state=builtin
  elif grep -qE "/($1|$2)\.ko[^:]*:" "$release/modules.dep" 2>/dev/null; then state=available
  else state=missing; fi
  say module "$1 $state"
}
leftover() { name=$1; shift; for path in "$@"; do [ -e "$path" ] && say leftover "$name $path"; done; }
CALLS
for kind in tcp tcp6 udp udp6; do
  [ -r "/proc/net/$kind" ] && sed "1d; s/^/@net $kind /" "/proc/net/$kind"
done
ls -l /proc/[0-9]*/fd 2>/dev/null |
  sed -n 's/^\/proc\/\([0-9]*\)\/fd:$/@process \1/p; s/^.*socket:\[\([0-9]*\)\]$/@socket \1/p' | PAIRS
say finished "$(now)"
"""
# Only processes with sockets, with their names, each inode on a line of its own.
_PAIRS = r"""while read -r word number; do
  if [ "$word" = @process ]; then pid=$number name=
  else
    [ -n "$name" ] || {
      first "/proc/$pid/cgroup"
      case $line in *kubepods*) say pod "$pid" ;; esac
      first "/proc/$pid/comm"; name=$line
    }
    say owner "$number $pid $name"
  fi
done"""


def script(kernel_modules: tuple[str, ...] | list[str] = ()) -> str:
    """Build the script for a host; ``kernel_modules`` are looked for by name."""
    calls = [
        f"module {name} {name.replace('_', '-')} '{_MODULE_SIGNS.get(name, '')}'" for name in map(_name, kernel_modules)
    ]
    # By a program: a shell reads byte by byte, and the kernel answers only the first byte's read of these.
    files = " ".join(f"/proc/sys/{name.replace('.', '/')}" for name in SYSCTLS)
    calls += [f"grep -H '' {files} 2>/dev/null | sed 's/^/@sysctl /'"]
    calls += [f"leftover {left.name} {' '.join(left.paths)}" for left in LEFTOVERS]
    return _SCRIPT.replace("MARKER", MARKER).replace("CALLS", "\n".join(calls)).replace("PAIRS", _PAIRS)


def _name(module: str) -> str:
    name = module.replace("-", "_")
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise SshError(f"{module!r} is not the name of a kernel module.")
    return name


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that something on the host listens on. ``process`` is empty where it could not be seen; ``pod``: it runs in one."""

    protocol: Literal["tcp", "udp"]
    address: str
    port: int
    process: str = ""
    pid: int | None = None
    pod: bool = False


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a host is. Sizes in MiB, ``time_skew`` in seconds (positive: the host's clock is ahead)."""

    hostname: str = ""
    machine_id: str = ""
    os_id: str = ""
    os_version: str = ""
    os_name: str = ""
    os_family: str = ""
    kernel: str = ""
    machine: str = ""
    architecture: str = ""
    cpus: int = 0
    memory_mb: int = 0
    disk_mb: int = 0
    cgroup_version: int = 0
    systemd: bool = False
    root: bool = False
    selinux: str = "disabled"
    firewall_manager: str = ""
    python: str = ""
    python_version: str = ""
    tools: tuple[str, ...] = ()
    swap: tuple[str, ...] = ()
    time_skew: float = 0.0
    kernel_modules: dict[str, str] = field(default_factory=dict)
    sysctl: dict[str, str] = field(default_factory=dict)
    leftovers: dict[str, list[str]] = field(default_factory=dict)
    listening: tuple[Listener, ...] = ()
    marker: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give plain dicts and lists, as Ansible takes them."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a host must have. Sizes in MiB, ``max_time_skew`` in seconds; ports are numbers or ranges (2379-2380).

    ``open_ports`` are words for the admin of a host whose firewall somebody else manages.
    """

    minimum_cpus: int = 1
    minimum_memory_mb: int = 0
    minimum_disk_mb: int = 0
    max_time_skew: float = 2.0
    free_ports: tuple[str, ...] = ()
    open_ports: tuple[str, ...] = ()
    supported_os: tuple[str, ...] = SUPPORTED_OS
    architectures: tuple[str, ...] = ("amd64", "arm64")
    minimum_cgroup_version: int = 1
    cgroup_v1_setting: str = ""
    kernel_modules: tuple[str, ...] = ("overlay", "br_netfilter")
    minimum_python: str = "3.9"
    ignored_leftovers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a host is not fit: a stable ``code``, and what was wanted, what was found, what to do."""

    code: str
    wanted: str
    found: str
    fix: str

    def __str__(self) -> str:
        return f"{self.code}: wanted {self.wanted}, found {self.found}. {self.fix[:1].upper()}{self.fix[1:]}."


@dataclass(frozen=True, slots=True)
class Report:
    """The judgement: a host with ``problems`` must not be touched; ``warnings`` are for the admin to know."""

    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]


def parse(text: str, sent: float, received: float) -> HostFacts:
    """Read the script's output. ``sent`` and ``received`` are the controller's clock around it, in seconds.

    SshError when the output does not end as it should, for then something cut it short.
    """
    lines = [line[1:].partition(" ")[::2] for line in text.splitlines() if line.startswith("@")]
    single: dict[str, str] = {}
    for key, value in lines:
        single.setdefault(key, value.strip())
    if "finished" not in single:
        raise SshError(f"the host's answer to the preflight script is incomplete; it ends with {text[-200:]!r}.")

    def every(key: str) -> list[str]:
        return [value.strip() for name, value in lines if name == key]

    release = dict(_os_release(line) for line in every("os"))
    python = single.get("python", "").split()
    leftovers: dict[str, list[str]] = {}
    for line in every("leftover"):
        name, _unused, path = line.partition(" ")
        leftovers.setdefault(name, []).append(path)
    return HostFacts(
        hostname=single.get("hostname", ""),
        machine_id=single.get("machine_id", ""),
        os_id=release.get("ID", ""),
        os_version=release.get("VERSION_ID", ""),
        os_name=release.get("PRETTY_NAME", ""),
        os_family=_family(release),
        kernel=single.get("kernel", ""),
        machine=single.get("machine", ""),
        architecture=_ARCHITECTURES.get(single.get("machine", ""), single.get("machine", "")),
        cpus=_cpus(single),
        memory_mb=_memory_mb(single),
        disk_mb=_number(single.get("disk_kb")) // 1024,
        cgroup_version=2 if single.get("cgroup") == "cgroup2fs" else 1,
        systemd=single.get("systemd") == "yes",
        root=single.get("uid") == "0",
        selinux=_SELINUX.get(single.get("selinux", ""), "disabled"),
        firewall_manager=next((name for name in every("firewall") if name in {"ufw", "firewalld", "shorewall"}), ""),
        python=python[0] if python else "",
        python_version=python[1] if len(python) > 1 else "",
        tools=tuple(every("tool")),
        swap=tuple(line for line in every("swap") if line),
        time_skew=skew(single, sent, received),
        kernel_modules=dict(_pair(line) for line in every("module")),
        sysctl=dict(_sysctl(line) for line in every("sysctl")),
        leftovers=leftovers,
        listening=_listeners(every("net"), every("owner"), {_number(pid) for pid in every("pod")}),
        marker=_marker(single.get("marker")),
    )


def skew(single: dict[str, str], sent: float, received: float) -> float:
    """How far the host's clock is ahead, in seconds: the middle of what the two clock pairs leave possible."""
    started, finished = _clock(single.get("started")), _clock(single.get("finished"))
    if started is None or finished is None:
        return 0.0
    least, most = finished - received, started - sent
    if least <= 0 <= most:
        return 0.0
    return round((least + most) / 2, 3)


def evaluate(facts: HostFacts, wanted: Requirements, environment: str) -> Report:
    """Say everything that speaks against the host, at once.

    Leftovers of a cluster that carries our marker with the same environment are our own and no problem, and so are ports that
    its programs and its pods listen on. The marker comes before the cluster: what others took in the meantime is told.
    """
    ours = facts.marker is not None and facts.marker.get("environment") == environment
    problems = [
        *_system(facts, wanted),
        *_sizes(facts, wanted),
        *_kernel(facts, wanted),
        *_python(facts, wanted),
        *_occupied(facts, wanted, ours=ours),
        *([] if ours else _leftovers(facts, wanted)),
    ]
    if facts.marker is not None and not ours:
        problems.append(
            Problem(
                "environment",
                f"a host of {environment!r} or of no environment",
                f"a host of {facts.marker.get('environment')!r} ({MARKER})",
                "check the inventory for a wrong address; if the host is really to change sides, run "
                "playbooks/reset.yml for its old environment first",
            )
        )
    return Report(tuple(problems), tuple(_warnings(facts, wanted)))


def _system(facts: HostFacts, wanted: Requirements) -> list[Problem]:
    problems = []
    if not any(_os_matches(entry, facts) for entry in wanted.supported_os):
        problems.append(
            Problem(
                "os",
                f"one of {', '.join(wanted.supported_os)}",
                facts.os_name or f"{facts.os_id} {facts.os_version}".strip() or "no /etc/os-release",
                "install one of these on the host",
            )
        )
    if facts.architecture not in wanted.architectures:
        known = facts.architecture in _ARCHITECTURES.values()
        problems.append(
            Problem(
                "architecture",
                " or ".join(wanted.architectures),
                facts.architecture or "unknown",
                "take a machine of that architecture"
                + (f", or add {facts.architecture} to artifacts_architectures" if known else ""),
            )
        )
    if not facts.systemd:
        problems.append(Problem("systemd", "systemd as PID 1", "something else", "take a host that boots with systemd"))
    if not facts.root:
        problems.append(
            Problem("root", "commands run as root", "another user", "set become: true, or ansible_user: root")
        )
    if abs(facts.time_skew) > wanted.max_time_skew:
        problems.append(
            Problem(
                "time",
                f"a clock within {wanted.max_time_skew:g} s of the controller's",
                f"{abs(facts.time_skew):.1f} s {'ahead' if facts.time_skew > 0 else 'behind'}",
                "certificates fail on wrong clocks: enable time synchronisation on the host (or on the controller, if "
                "that is the one that is wrong), e.g. `timedatectl set-ntp true`",
            )
        )
    return problems


def _sizes(facts: HostFacts, wanted: Requirements) -> list[Problem]:
    rows = (
        ("cpus", facts.cpus, wanted.minimum_cpus, "CPUs", "take a bigger machine"),
        ("memory", facts.memory_mb, wanted.minimum_memory_mb, "MiB of memory", "take a machine with more memory"),
        ("disk", facts.disk_mb, wanted.minimum_disk_mb, "MiB free below /var", "free some space or enlarge the disk"),
    )
    return [
        Problem(
            code,
            f"at least {least} {unit}",
            f"{found}",
            f"{fix}, or lower what the environment declares (host_minimum) if less will do",
        )
        for code, found, least, unit, fix in rows
        if found < least
    ]


def _kernel(facts: HostFacts, wanted: Requirements) -> list[Problem]:
    problems = []
    missing = [name for name in map(_name, wanted.kernel_modules) if facts.kernel_modules.get(name) == "missing"]
    if missing:
        problems.append(
            Problem(
                "kernel modules",
                ", ".join(missing),
                f"a kernel {facts.kernel} without them",
                "install the distribution's full kernel package (Ubuntu: linux-modules-extra) and reboot",
            )
        )
    if facts.cgroup_version < wanted.minimum_cgroup_version:
        problems.append(
            Problem(
                "cgroup",
                f"cgroup version {wanted.minimum_cgroup_version}",
                f"version {facts.cgroup_version}",
                "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line"
                + (
                    f"; or, as long as the kubelet takes it, set {wanted.cgroup_v1_setting}"
                    if wanted.cgroup_v1_setting
                    else ""
                ),
            )
        )
    return problems


def _python(facts: HostFacts, wanted: Requirements) -> list[Problem]:
    if not wanted.minimum_python or _version(facts.python_version) >= _version(wanted.minimum_python):
        return []
    return [
        Problem(
            "python",
            f"python3 {wanted.minimum_python} or newer",
            f"{facts.python} {facts.python_version}".strip() or "none",
            "run playbooks/bootstrap-access.yml, which installs it, or install the package python3 on the host",
        )
    ]


def _occupied(facts: HostFacts, wanted: Requirements, *, ours: bool) -> list[Problem]:
    problems = []
    ports = wanted_ports(wanted.free_ports)
    taken: dict[tuple[int, str, int | None], None] = {}
    for listener in facts.listening:
        own = listener.pod or not listener.process or listener.process in CLUSTER_PROGRAMS
        if listener.protocol == "tcp" and listener.port in ports and not (ours and own):
            taken[listener.port, listener.process, listener.pid] = None
    for port, process, pid in sorted(taken, key=lambda key: key[0]):
        who = f"{process} (pid {pid})" if process else "a process that cannot be seen"
        problems.append(
            Problem(
                "port",
                f"TCP port {port} free",
                f"{who} listens on it",
                f"stop {process or 'it'} or move it to another port",
            )
        )
    return problems


def _leftovers(facts: HostFacts, wanted: Requirements) -> list[Problem]:
    problems = []
    for left in LEFTOVERS:
        paths = facts.leftovers.get(left.name)
        if paths and left.name not in wanted.ignored_leftovers:
            problems.append(
                Problem(
                    "leftovers",
                    "a host without another cluster or container engine",
                    f"traces of {left.what} ({', '.join(paths)})",
                    f"{left.fix}; or, to leave it there, add {left.name} to ignored_leftovers",
                )
            )
    return problems


def _warnings(facts: HostFacts, wanted: Requirements) -> list[str]:
    warnings = []
    if facts.cgroup_version == 1 and wanted.minimum_cgroup_version == 1 and wanted.cgroup_v1_setting:
        warnings.append(
            "the host has cgroup version 1: the kubelet of Kubernetes 1.35 and newer starts there only with "
            f"{wanted.cgroup_v1_setting}"
        )
    if facts.selinux == "enforcing":
        warnings.append("SELinux is enforcing: containers need container-selinux; without it set it to permissive")
    if facts.firewall_manager:
        ports = "; ".join(wanted.open_ports) or "the cluster's ports"
        warnings.append(
            f"{facts.firewall_manager} manages the firewall: no rules are set beside it; let in there: {ports}"
        )
    return warnings


def wanted_ports(entries: tuple[str, ...] | list[str]) -> set[int]:
    """Numbers of all ports in a list of numbers and ranges. SshError on anything else."""
    ports: set[int] = set()
    for entry in entries:
        found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", str(entry))
        if found is None or not 0 < int(found[1]) <= int(found[2] or found[1]) < 65536:
            raise SshError(f"{entry!r} is not a port or a range of ports (1 to 65535, for example 2379-2380).")
        ports.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    return ports


def _os_matches(entry: str, facts: HostFacts) -> bool:
    name, _unused, version = entry.strip().lower().partition(" ")
    if name != facts.os_id.lower():
        return False
    return not version or facts.os_version == version or facts.os_version.startswith(version + ".")


def _os_release(line: str) -> tuple[str, str]:
    key, _unused, value = line.partition("=")
    return key, value.strip().strip("\"'")


def _family(release: dict[str, str]) -> str:
    for name in [release.get("ID", ""), *release.get("ID_LIKE", "").split()]:
        if name.lower() in _FAMILIES:
            return _FAMILIES[name.lower()]
    return ""


def _cpus(single: dict[str, str]) -> int:
    cpus = _number(single.get("cpus"))
    quota, _unused, period = single.get("cpu_limit", "").partition(" ")
    if _number(quota) > 0 and _number(period) > 0:
        return max(1, min(cpus, _number(quota) // _number(period)))
    return cpus


def _memory_mb(single: dict[str, str]) -> int:
    memory = _number(single.get("memory_kb")) * 1024
    limit = _number(single.get("memory_limit"))
    return (min(memory, limit) if limit > 0 else memory) // (1024 * 1024)


def _number(text: str | None) -> int:
    return int(text) if text and re.fullmatch(r"-?\d+", text) else 0


def _clock(text: str | None) -> float | None:
    # A date without %N (busybox) leaves the letter: whole seconds then, half a second off on average.
    found = re.match(r"(\d+)(?:\.(\d+))?", text or "")
    if found is None:
        return None
    return float(f"{found[1]}.{found[2]}") if found[2] else int(found[1]) + 0.5


def _pair(line: str) -> tuple[str, str]:
    name, _unused, value = line.partition(" ")
    return name, re.sub(r"\s+", " ", value.strip())


def _sysctl(line: str) -> tuple[str, str]:
    path, _unused, value = line.partition(":")
    return path.removeprefix("/proc/sys/").replace("/", "."), re.sub(r"\s+", " ", value.strip())


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def _marker(text: str | None) -> dict[str, Any] | None:
    """The cluster's marker; one that cannot be read stands for an unknown environment, never for none."""
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return {"environment": None}
    return found if isinstance(found, dict) else {"environment": None}


def _listeners(lines: list[str], owners: list[str], pods: set[int]) -> tuple[Listener, ...]:
    names: dict[str, tuple[int, str]] = {}
    for line in owners:
        inode, _unused, rest = line.partition(" ")
        number, _unused, name = rest.partition(" ")
        names.setdefault(inode, (_number(number), name))
    found = []
    for line in lines:
        fields = line.split()
        # kind, slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode
        if len(fields) < 11 or fields[4] != ("0A" if fields[0].startswith("tcp") else "07"):
            continue
        address, _unused, port = fields[2].partition(":")
        pid, process = names.get(fields[10], (0, ""))
        protocol: Literal["tcp", "udp"] = "tcp" if fields[0].startswith("tcp") else "udp"
        found.append(Listener(protocol, _address(address), int(port, 16), process, pid or None, pid in pods))
    return tuple(sorted(found, key=lambda item: (item.protocol, item.port, item.address)))


def _address(text: str) -> str:
    """An address of /proc/net: hex, each group of four bytes in the host's (little-endian) order."""
    raw = b"".join(bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8))
    return str(ipaddress.ip_address(raw))
