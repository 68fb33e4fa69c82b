# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# A program of its own, not part of a module: it prints, starts programs and exits as programs do.
# pylint: disable=ansible-bad-function
"""The supervisor of one host: power, disks, network and limits of a machine that is really a container.

Run as ``python3 -m sandbox.supervisor HOST_DIRECTORY``.  It holds ``supervisor.lock`` while it lives, starts the
guest again when it reboots, and removes all that it made when the guest powers off.  Started beside a guest that runs
already (its supervisor was killed), it takes that guest over.  SIGTERM powers the guest off in an orderly way.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from . import machine
from .errors import SandboxError
from .journal import Journal, Resource, read_json, write_json, write_text
from .layout import HostLayout

REBOOT = 133
"""Exit code of ``systemd-nspawn --keep-unit`` when its guest asked for a reboot."""

REPORTER = "stagecraft-sandbox-reporter"
REPORT = 'code=$1; shift; "$@"; printf "%s\\n" $? >"$code.new" && mv "$code.new" "$code"'
"""Shell that outlives the supervisor and writes the guest's last word into the file that is its first argument."""

ENTER = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'
"""Shell that enters control groups and becomes a command.

The reporter stays outside: in version 2 no process may be beside the groups that systemd-nspawn makes in there.
"""

VOLUMES = ("containerd", "kubelet", "etcd", "rancher")

CPU_PERIOD = 100_000
"""Length of a scheduling period in microseconds."""

LOOK_ALIKES = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "vm/swappiness",
    "vm/max_map_count",
    "vm/dirty_ratio",
    "vm/dirty_background_ratio",
    "vm/min_free_kbytes",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "kernel/pid_max",
    "kernel/threads-max",
    "kernel/sysrq",
    "kernel/core_pattern",
    "kernel/core_uses_pid",
    "kernel/kptr_restrict",
    "kernel/dmesg_restrict",
    "kernel/printk",
    "kernel/unprivileged_bpf_disabled",
    "kernel/yama/ptrace_scope",
    "fs/inotify/max_user_instances",
    "fs/inotify/max_user_watches",
    "fs/file-max",
    "fs/aio-max-nr",
    "fs/protected_fifos",
    "fs/protected_hardlinks",
    "fs/protected_regular",
    "fs/protected_symlinks",
]
"""Kernel-wide settings of which a guest gets private copies that it may write; those below net/ are its own anyway."""

INIT = """#!/bin/sh
# PID 1 before systemd: what a rented machine has and a container lacks.
for directory in /sys/fs/cgroup /sys/fs/cgroup/*; do
  mountpoint -q "$directory" && [ ! -L "$directory" ] && mount -o remount,rw,bind "$directory"
done
mount --make-rshared /
for key in {keys}; do
  [ -e "/proc/sys/$key" ] || continue
  copy="/run/stagecraft-sandbox/sysctl/$key"
  mkdir -p "${{copy%/*}}"
  cat "/proc/sys/$key" >"$copy" 2>/dev/null || : >"$copy"
  mount --bind "$copy" "/proc/sys/$key"
done
exec /lib/systemd/systemd "$@"
"""

BUILT_IN = {
    "OVERLAY_FS": "fs/overlayfs/overlay",
    "BRIDGE": "net/bridge/bridge",
    "BRIDGE_NETFILTER": "net/bridge/br_netfilter",
    "NF_CONNTRACK": "net/netfilter/nf_conntrack",
    "NF_TABLES": "net/netfilter/nf_tables",
    "NETFILTER_XTABLES": "net/netfilter/x_tables",
    "IP_NF_IPTABLES": "net/ipv4/netfilter/ip_tables",
    "IP_NF_NAT": "net/ipv4/netfilter/iptable_nat",
    "IP_NF_FILTER": "net/ipv4/netfilter/iptable_filter",
    "IP6_NF_IPTABLES": "net/ipv6/netfilter/ip6_tables",
    "IP_SET": "net/netfilter/ipset/ip_set",
    "IP_VS": "net/netfilter/ipvs/ip_vs",
    "IP_VS_RR": "net/netfilter/ipvs/ip_vs_rr",
    "IP_VS_WRR": "net/netfilter/ipvs/ip_vs_wrr",
    "IP_VS_SH": "net/netfilter/ipvs/ip_vs_sh",
    "VXLAN": "drivers/net/vxlan/vxlan",
    "WIREGUARD": "drivers/net/wireguard/wireguard",
    "DUMMY": "drivers/net/dummy",
    "VETH": "drivers/net/veth",
    "TUN": "drivers/net/tun",
}
"""Modules that roles ask for: the option of the kernel's configuration and the path that modprobe knows them by."""


@dataclass(frozen=True)
class HostConfig:
    """What the module tells the supervisor.  Limits may change while the host runs; the rest is for life.

    memory_mb in MiB; cpus as a number of cores; both 0 for no limit.  lower is the base root.
    """

    sandbox: str
    name: str
    address: str
    prefix: int
    gateway: str
    switch: str
    lower: str
    memory_mb: int
    cpus: float
    authorized_key: str
    machine_id: str
    apt_source: str

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> HostConfig:
        """Build it from host.json."""
        return cls(**value)


def cpu_quota(cpus: float, available: int) -> int:
    """Return the microseconds per period for ``cpus`` cores, or -1 (no limit) where the machine has no more."""
    return -1 if not cpus or cpus >= available else int(cpus * CPU_PERIOD)


def builtin_index(kernel_config: str) -> str:
    """Return the text of modules.builtin for the modules that a kernel configuration has built in."""
    enabled = {
        line[len("CONFIG_") : -len("=y")]
        for line in kernel_config.splitlines()
        if line.startswith("CONFIG_") and line.endswith("=y")
    }
    return "".join(f"kernel/{path}.ko\n" for option, path in BUILT_IN.items() if option in enabled)


def nspawn_command(layout: HostLayout, config: HostConfig, modules: Path | None) -> list[str]:
    """Return the command that runs the guest; modules is the machine's directory of loadable modules, if any."""
    command = [
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--keep-unit",
        f"--machine={layout.machine}",
        f"--hostname={config.name}",
        f"--uuid={config.machine_id}",
        f"--directory={layout.root}",
        f"--network-namespace-path={machine.NETNS_ROOT / layout.machine}",
        "--capability=all",
        "--drop-capability=CAP_SYS_MODULE,CAP_SYS_TIME",
        "--kill-signal=SIGRTMIN+3",
        "--console=read-only",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--bind=/dev/kmsg",
        "--bind-ro=/sys/module",
    ]
    command += [f"--bind={layout.volumes / volume}:/var/lib/{volume}" for volume in VOLUMES]
    if modules is not None:
        command.append(f"--bind-ro={modules}")
    return [*command, "/usr/local/sbin/stagecraft-sandbox-init"]


class Supervisor:
    """Runs one host until it powers off."""

    def __init__(self, layout: HostLayout) -> None:
        self.layout = layout
        self.config = HostConfig.from_json(read_json(layout.config))
        self.journal = Journal(layout.journal)
        self.child: subprocess.Popen[bytes] | None = None
        self.boots = int((read_json(layout.status) or {}).get("boots", 0))

    def run(self) -> None:
        """Take a running guest over, or boot; again for as long as the guest reboots."""
        signal.signal(signal.SIGTERM, self._power_off)
        code = self._wait() if self._guest() is not None else REBOOT
        while code == REBOOT:
            machine.clear(self.journal)  # also what a power cut left
            cgroups = self._prepare()
            self._start(cgroups)
            code = self._wait()
        machine.clear(self.journal)
        print(f"{time.strftime('%T')} powered off ({code})", flush=True)

    def _cgroups(self) -> list[Path]:
        return [Path(entry.name) for entry in self.journal.entries() if entry.kind == "cgroup"]

    def _guest(self) -> int | None:
        return machine.guest_init(self._cgroups())

    def _power_off(self, _number: int, _frame: FrameType | None) -> None:
        guest = self._guest()
        if guest is not None:
            machine.kill(guest, signal.SIGRTMIN + 4)

    # -- before a boot --

    def _prepare(self) -> list[Path]:
        layout, config = self.layout, self.config
        parents = delegated_parents(machine.hierarchies(), layout.machine)
        cgroups = [parent / layout.machine for parent in parents]
        self.journal.record(
            [
                *(Resource("cgroup", str(cgroup)) for cgroup in cgroups),
                Resource("mount", str(layout.root)),
                Resource("netns", layout.machine),
                Resource("machine", layout.machine),
            ]
        )
        for cgroup in cgroups:
            make_cgroup(cgroup)
        set_limits(cgroups, config.memory_mb, config.cpus)
        self._mount()
        self._seed()
        self._connect()
        return cgroups

    def _mount(self) -> None:
        layout = self.layout
        for directory in (layout.upper, layout.work, layout.root, *(layout.volumes / volume for volume in VOLUMES)):
            directory.mkdir(parents=True, exist_ok=True)
        layout.upper.chmod(0o755)
        options = f"lowerdir={self.config.lower},upperdir={layout.upper},workdir={layout.work}"
        machine.run(["mount", "-t", "overlay", "-o", options, "overlay", str(layout.root)])

    def _seed(self) -> None:
        """Give the disk its identity at first boot, as cloud-init does; and at each boot what depends on the kernel."""
        layout, config, root = self.layout, self.config, self.layout.root
        init = root / "usr/local/sbin/stagecraft-sandbox-init"
        write_text(init, INIT.format(keys=" ".join(LOOK_ALIKES)), 0o755)
        if loadable_modules() is None:
            index_built_in_modules(root)
        if layout.seeded.exists():
            return
        (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        files = {
            "root/.ssh/authorized_keys": (config.authorized_key + "\n", 0o600),
            "etc/hostname": (config.name + "\n", 0o644),
            "etc/hosts": (f"127.0.0.1 localhost\n{config.address} {config.name}\n", 0o644),
            "etc/machine-id": (config.machine_id + "\n", 0o444),
            "etc/apt/sources.list": (config.apt_source + "\n", 0o644),
            # nobody answers there: a lookup is refused at once, and nothing leaves the machine
            "etc/resolv.conf": (f"nameserver {config.gateway}\noptions timeout:1 attempts:1\n", 0o644),
            # processes that ignore SIGTERM make a reboot wait 90 s else
            "etc/systemd/system.conf.d/50-sandbox.conf": ("[Manager]\nDefaultTimeoutStopSec=10s\n", 0o644),
        }
        for name, (text, mode) in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            write_text(path, text, mode)
        for suffix, mode in (("", 0o600), (".pub", 0o644)):
            key = layout.host_key.with_name(layout.host_key.name + suffix)
            write_text(root / "etc/ssh" / key.name, key.read_text("utf-8"), mode)
        layout.seeded.touch()

    def _connect(self) -> None:
        layout, config = self.layout, self.config
        machine.run(["ip", "netns", "add", layout.machine])
        machine.run(["ip", "-n", layout.machine, "link", "set", "lo", "up"])
        plug_in(layout, config)

    # -- a boot --

    def _start(self, cgroups: list[Path]) -> None:
        """Start systemd-nspawn inside the control groups, by a shell that writes down its exit code.

        So whoever supervises at that time learns whether the guest wants to boot again.
        """
        layout = self.layout
        layout.exit_code.unlink(missing_ok=True)
        self.boots += 1
        command = nspawn_command(layout, self.config, loadable_modules())
        enter = ["/bin/sh", "-c", ENTER, "enter", *map(str, cgroups), "--"]
        self.child = subprocess.Popen(
            ["/bin/sh", "-c", REPORT, REPORTER, str(layout.exit_code), *enter, *command],
            stdin=subprocess.DEVNULL,
            env={
                **os.environ,
                "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
                "SYSTEMD_SECCOMP": "0",
                "SYSTEMD_NSPAWN_LOCK": "0",
            },
            start_new_session=True,
        )
        write_json(layout.status, {"boots": self.boots, "started": time.time(), "process": self.child.pid})

    def _wait(self) -> int:
        """Wait until the guest is gone; return the exit code of systemd-nspawn, or -1 where it left none."""
        if self.child is not None:
            self.child.wait()
        else:
            for process in reporters(self.layout):
                wait_for(process)
        while self._guest() is not None:  # systemd-nspawn was killed, and its guest runs on
            time.sleep(0.5)
        try:
            return int(self.layout.exit_code.read_text("ascii"))
        except FileNotFoundError:
            return -1


def plug_in(layout: HostLayout, config: HostConfig) -> None:
    """Connect a host's network namespace to the switch.

    The interface to a switch that was lost goes first: the kernel takes its time with a deleted namespace's devices.
    """
    with contextlib.suppress(SandboxError):  # there was none, or it has just gone
        machine.run(["ip", "-n", layout.machine, "link", "del", "eth0"])
    machine.run(
        [
            "ip",
            "-n",
            config.switch,
            "link",
            "add",
            layout.port,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "address",
            layout.mac,
            "netns",
            layout.machine,
        ]
    )
    machine.run(["ip", "-n", config.switch, "link", "set", layout.port, "master", "bridge", "up"])
    machine.run(
        ["ip", "-n", layout.machine, "-batch", "-"],
        f"addr add {config.address}/{config.prefix} dev eth0\nlink set eth0 up\nroute add default via "
        f"{config.gateway}\n",
    )


def reporters(layout: HostLayout) -> list[int]:
    """Return the shells that wait for a host's systemd-nspawn to write its exit code down."""
    return machine.processes_with([REPORTER, str(layout.exit_code)], 3)


def wait_for(process: int) -> None:
    """Wait until a process that is not our child has ended."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    with select.epoll() as poll:
        poll.register(descriptor, select.EPOLLIN)
        poll.poll()
    os.close(descriptor)


def loadable_modules() -> Path | None:
    """Return the machine's directory of loadable kernel modules, or None where everything is built in."""
    directory = Path("/lib/modules", os.uname().release)
    return directory if (directory / "modules.dep").exists() else None


def index_built_in_modules(root: Path) -> None:
    """Let the guest's modprobe succeed for what the kernel has built in, and for nothing else."""
    release = os.uname().release
    directory = root / "lib/modules" / release
    if (directory / "modules.builtin.bin").exists():
        return
    try:
        kernel_config = gzip.decompress(Path("/proc/config.gz").read_bytes()).decode()
    except FileNotFoundError:
        kernel_config = ""
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "modules.order", "", 0o644)
    write_text(directory / "modules.builtin", builtin_index(kernel_config), 0o644)
    machine.run(["chroot", str(root), "depmod", release])


def delegated_parents(found: list[machine.Hierarchy], leaf: str) -> list[Path]:
    """Return the control group below which the guest's own goes, for each hierarchy.

    Hierarchies of version 1 and a version 2 without controllers: the caller's own group.  A version 2 that carries
    the controllers forbids processes beside sub-groups, so this process moves into a sub-group of its own first
    (systemd has delegated the unit's group to us); the root group is exempt from that rule.
    """
    parents = []
    for hierarchy in found:
        directory = hierarchy.directory
        available = (directory / "cgroup.controllers").read_text("ascii").split() if hierarchy.version == 2 else []
        if available:
            if hierarchy.place != "/":
                own = directory / f"{leaf}.supervisor" if directory.name != f"{leaf}.supervisor" else directory
                directory = own.parent
                own.mkdir(exist_ok=True)
                for process in (directory / "cgroup.procs").read_text("ascii").split():
                    (own / "cgroup.procs").write_text(process, "ascii")
            wanted = " ".join(f"+{controller}" for controller in available)
            (directory / "cgroup.subtree_control").write_text(wanted, "ascii")
        parents.append(directory)
    return parents


def make_cgroup(cgroup: Path) -> None:
    """Make a control group; one of cpuset version 1 starts empty and is filled from its parent."""
    cgroup.mkdir(exist_ok=True)
    for name in ("cpuset.cpus", "cpuset.mems"):
        parent = cgroup.parent / name
        if parent.exists() and (cgroup / "cgroup.clone_children").exists():
            (cgroup / name).write_text(parent.read_text("ascii"), "ascii")
            (cgroup / "cgroup.clone_children").write_text("1", "ascii")


def set_limits(cgroups: list[Path], memory_mb: int, cpus: float) -> None:
    """Write the limits of a host to whichever of its control groups carries the controller."""
    for cgroup in cgroups:
        for name, text in limit_files(memory_mb, cpus, os.cpu_count() or 1).items():
            if (cgroup / name).exists():
                (cgroup / name).write_text(text, "ascii")


def limits_in_force(cgroups: list[Path], memory_mb: int, cpus: float) -> bool:
    """Say whether these limits are what the control groups hold."""
    unlimited_v1 = 1 << 60
    for cgroup in cgroups:
        for name, text in limit_files(memory_mb, cpus, os.cpu_count() or 1).items():
            if (cgroup / name).exists():
                now = (cgroup / name).read_text("ascii").strip()
                if now != text and not (text == "-1" and int(now) > unlimited_v1):
                    return False
    return True


def limit_files(memory_mb: int, cpus: float, available: int) -> dict[str, str]:
    """Return the content of the control files of both versions for these limits (MiB, cores; 0 is no limit)."""
    quota = cpu_quota(cpus, available)
    return {
        "memory.limit_in_bytes": str(memory_mb * 1024 * 1024) if memory_mb else "-1",
        "memory.max": str(memory_mb * 1024 * 1024) if memory_mb else "max",
        "cpu.cfs_period_us": str(CPU_PERIOD),
        "cpu.cfs_quota_us": str(quota),
        "cpu.max": f"{quota if quota > 0 else 'max'} {CPU_PERIOD}",
    }


def main() -> int:
    """Supervise the host whose directory is the first argument."""
    directory = Path(sys.argv[1])
    layout = HostLayout(directory.parent.parent.name, directory.name, directory)
    lock = machine.Lock(layout.lock)
    if not any(
        lock.acquire(wait=False) for _unused in machine.poll(1.0)
    ):  # whoever asks if the lock is held, holds it for a moment
        print(f"{layout.name} has a supervisor already", flush=True)
        return 3
    if shutil.which("systemd-nspawn") is None:
        print("systemd-nspawn is not installed", flush=True)
        return 1
    try:
        Supervisor(layout).run()
    except SandboxError as error:
        print(f"{time.strftime('%T')} {error}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
