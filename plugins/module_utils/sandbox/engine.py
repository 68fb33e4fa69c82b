# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe, plan, apply, verify: the four steps of ``stagecraft.gitops.sandbox_hosts``."""

from __future__ import annotations

import ipaddress
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable

from . import addressing, base, errors, inventory, journal, layout, machine, preflight, repository, shared, supervisor
from .errors import SandboxError
from .journal import Journal, Resource, read_json, write_json, write_text
from .layout import STATE_ROOT, HostLayout, Layout, SharedLayout, digest
from .plan import Change, Observed, ObservedHost, Wanted, WantedHost, make_plan
from .spec import HostRecord, HostSpec, SandboxRecord, check_names

LIBRARY = (errors, journal, layout, machine, repository, supervisor)
"""Modules of this package that the programs of a sandbox consist of."""

PACKAGE = "stagecraft_sandbox"

GRACE = 10.0
"""Seconds without a supervisor and without a guest after which a host is held to be dead: a busy machine is slow to start one."""


@dataclass(frozen=True)
class Request:
    """The module's options.  timeout: seconds that hosts get to answer SSH; minimum: least values of kernel limits."""

    name: str
    state: str
    hosts: tuple[HostSpec, ...]
    only: tuple[str, ...]
    mirror: Path
    cache: Path
    inventory: Path | None
    group_vars: Path | None
    debian_mirror: str | None
    suite: str
    port: int
    install_packages: bool
    minimum: dict[str, int]
    timeout: float
    state_root: Path = STATE_ROOT


@dataclass
class Outcome:
    """What a run found and did; seconds by step."""

    plan: list[Change] = field(default_factory=list)
    record: SandboxRecord | None = None
    warnings: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    restrict_oom_score_adj: bool = False
    inventory: Path | None = None


class Engine:
    """One run of the module for one sandbox."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.layout = Layout(request.name, request.state_root)
        self.shared_layout = SharedLayout(request.state_root)
        self.ledger = shared.Ledger(self.shared_layout)
        self.journal = Journal(self.layout.journal)
        self.inventory = request.inventory or self.layout.inventory
        self.outcome = Outcome(inventory=self.inventory)

    def run(self, check: bool) -> Outcome:
        """Do what the request says; with ``check`` only observe and plan.

        Raises SandboxError with all problems, before anything is changed.
        """
        problems = check_names(self.request.name, self.request.hosts, (), ())
        if problems:
            raise SandboxError("\n".join(problems))
        if check:
            record = self._read_record()
            observed, wanted = self._observe(record)
            self.outcome.plan = make_plan(observed, wanted)
            return self.outcome
        if self.request.state == "present":
            self.request.state_root.mkdir(parents=True, exist_ok=True)
        if not self.request.state_root.is_dir():
            return self.outcome  # no sandbox has ever been here: absent and off already
        lock = machine.Lock(self.layout.lock)
        lock.acquire()
        try:
            started = time.monotonic()
            record = self._read_record()
            observed, wanted = self._observe(record)
            self.outcome.plan = make_plan(observed, wanted)
            self._timed("observe", started)
            started = time.monotonic()
            self._apply(wanted)
            self._timed("apply", started)
            started = time.monotonic()
            self._verify(wanted)
            self._timed("verify", started)
        finally:
            lock.release(remove=True)
            self._forget_root()
        return self.outcome

    def _timed(self, step: str, started: float) -> None:
        self.outcome.seconds[step] = round(time.monotonic() - started, 2)

    # -- observe
    # -------------------------------------------------------------------------------------------------------------

    def _read_record(self) -> SandboxRecord | None:
        value = read_json(self.layout.record)
        try:
            return SandboxRecord.from_json(value) if value else None
        except (ValueError, KeyError, TypeError) as error:
            raise SandboxError(
                f"{self.layout.record} cannot be read ({error}): remove the sandbox with the version "
                f"that made it, or restore the file"
            ) from error

    def _observe(self, record: SandboxRecord | None) -> tuple[Observed, Wanted]:
        """Read the machine and work out what is wanted of it; refuse with all problems at once."""
        request = self.request
        going_up = request.state in ("present", "rebooted")
        facts = preflight.gather(request.state_root)
        self.outcome.restrict_oom_score_adj = preflight.lacks_resource_capability(facts)
        packages = preflight.missing_packages() if going_up else []
        problems = preflight.problems(facts, packages, request.install_packages) if going_up else []
        if facts.uid != 0 and not problems:
            problems.append("this is not root: run the playbook as root, for example with sudo")
        recorded = record.hosts if record else {}
        directories = (
            [entry.name for entry in self.layout.hosts.iterdir() if entry.is_dir()]
            if self.layout.hosts.is_dir()
            else []
        )
        everything = sorted({*recorded, *directories})
        listed = [host.name for host in request.hosts]
        known = listed if request.state == "present" else everything
        problems += check_names(request.name, request.hosts, () if request.state == "absent" else request.only, known)
        if request.state == "rebooted" and not known:
            problems.append(f"there is no sandbox {request.name} to reboot: sandbox_state=present makes it")
        specs = {host.name: host for host in request.hosts}
        names = [name for name in known if not request.only or name in request.only]
        if request.state != "present":
            specs = {name: as_spec(recorded[name]) if name in recorded else HostSpec(name) for name in names}

        mirror = request.debian_mirror or base.choose_mirror(base.read_sources(), request.suite)
        new = [name for name in names if name not in recorded]
        if going_up and new and mirror is None:
            problems.append(
                "no Debian archive is among this machine's apt sources, so there is nothing to make hosts from: "
                "name one by sandbox_debian_mirror (what a sources.list line of Debian has after `deb`)"
            )
        inputs = base.BaseInputs(mirror or "", request.suite, facts.architecture or "amd64")
        if going_up:
            problems += gone_bases(recorded[name] for name in names if name in recorded)
        subnet = ipaddress.IPv4Network(record.subnet) if record else self._choose_subnet(going_up, problems)
        addresses: dict[str, str] = {}
        if subnet is not None:
            addresses, trouble = addressing.allocate(
                subnet,
                {name: host.address for name, host in recorded.items()},
                {name: specs[name].address for name in names},
            )
            problems += trouble
        if problems:
            raise SandboxError("\n".join(problems))

        hosts: dict[str, HostRecord] = dict(recorded)
        wanted_hosts = []
        for name in names:
            spec, old = specs[name], recorded.get(name)
            host = HostRecord(
                name=name,
                groups=tuple(spec.groups),
                memory_mb=spec.memory_mb,
                cpus=spec.cpus,
                address=addresses.get(name, ""),
                base=old.base if old else str(base.path_of(request.cache, inputs)),
                machine_id=old.machine_id if old else uuid.uuid4().hex,
                environment=spec.environment,
            )
            hosts[name] = host
            wanted_hosts.append(
                WantedHost(
                    name,
                    host.address,
                    host.base,
                    host.groups,
                    (host.memory_mb, host.cpus),
                    old is not None,
                    old.groups if old else (),
                    host.environment,
                    old.environment if old else "",
                )
            )
        rest = [name for name in everything if name not in names]
        if request.state == "absent":
            hosts = {name: host for name, host in recorded.items() if name in rest}
        if request.state == "present" and not request.only:
            self._note_unlisted(rest)
        planned = SandboxRecord(request.name, str(subnet or ""), record.port if record else request.port, hosts)
        self.outcome.record = planned
        files = self._files(planned) if (hosts and (going_up or rest)) else {}
        wanted = Wanted(
            state=request.state,
            name=request.name,
            subnet=planned.subnet,
            link=self.layout.link,
            repository=f"{addressing.gateway(subnet)}:{planned.port}" if subnet else "",
            hosts=wanted_hosts,
            rest=rest,
            files=files,
            minimum=request.minimum,
        )
        return self._observe_machine(packages, everything, recorded, files, wanted_hosts), wanted

    def _note_unlisted(self, rest: list[str]) -> None:
        self.outcome.unlisted = rest
        if rest:
            self.outcome.warnings.append(
                f"{', '.join(rest)}: exists but is not in sandbox_hosts, and stays as it is; to remove it: "
                f"-e sandbox_state=absent -e sandbox_only={','.join(rest)}"
            )

    def _observe_machine(
        self,
        packages: Sequence[str],
        everything: Sequence[str],
        recorded: dict[str, HostRecord],
        files: dict[str, str],
        wanted_hosts: Sequence[WantedHost],
    ) -> Observed:
        ledger = self.ledger.read()
        return Observed(
            exists=self.layout.record.exists() or (self.request.state == "absent" and self.layout.directory.exists()),
            hosts={name: self._observe_host(self.layout.host(name), recorded.get(name)) for name in everything},
            missing_packages=packages,
            missing_modules=preflight.missing_modules(supervisor.loadable_modules()),
            bases=sorted({host.base for host in wanted_hosts if Path(host.base).is_dir()}),
            key=self.layout.key.exists(),
            switch=machine.netns_exists(self.layout.switch) and machine.link_is_up(self.layout.link),
            repository=machine.Lock(self.layout.repository_lock).held(),
            files={path: Path(path).read_text("utf-8") for path in files if Path(path).is_file()},
            sysctl={name: shared.read_sysctl(name) for name in self.request.minimum},
            ledger={name: (pair[0], pair[1]) for name, pair in ledger["sysctl"].items()},
            shared_leftovers=self.shared_layout.ledger.exists(),
            others=self.ledger.others(self.request.name),
        )

    def _observe_host(self, layout: HostLayout, record: HostRecord | None) -> ObservedHost:
        entries = Journal(layout.journal).entries()
        cgroups = [Path(entry.name) for entry in entries if entry.kind == "cgroup"]
        running = machine.guest_init(cgroups) is not None
        limits = None
        if running and record is not None:
            in_force = supervisor.limits_in_force(cgroups, record.memory_mb, record.cpus)
            limits = (record.memory_mb, record.cpus) if in_force else (-1, -1.0)
        supervised = machine.Lock(layout.lock).held()
        return ObservedHost(running, supervised, bool(entries) and not running, limits)

    def _choose_subnet(self, going_up: bool, problems: list[str]) -> ipaddress.IPv4Network | None:
        if not going_up or preflight.missing_packages({"ip": "iproute2"}, {}):
            return None
        subnet = addressing.choose_subnet(self.request.name, self._taken())
        if subnet is None:
            problems.append(
                f"no /24 of {addressing.POOL} is free: see `ip route`, and remove sandboxes that are not needed"
            )
        return subnet

    def _taken(self) -> list[ipaddress.IPv4Network]:
        """Subnets that the machine has routes for, and those of the other sandboxes, which may be switched off."""
        taken = addressing.parse_routes(machine.run(["ip", "-4", "route", "show", "table", "all"]))
        for other in self.ledger.others(self.request.name):
            value = read_json(Layout(other, self.request.state_root).record)
            if value:
                taken.append(ipaddress.IPv4Network(value["subnet"]))
        return taken

    def _files(self, record: SandboxRecord) -> dict[str, str]:
        variables = {
            "sandbox_name": record.name,
            "stagecraft_sandbox_restrict_oom_score_adj": self.outcome.restrict_oom_score_adj,
        }
        files = {}
        for environment, hosts in inventory.by_environment(record.hosts.values()).items():
            own = {**variables, "stagecraft_sandbox_environment": environment} if environment else variables
            path = self._inventory_of(environment)
            files[str(path)] = inventory.render_inventory(self.layout, hosts, own)
        keys = {}
        for name, host in record.hosts.items():
            public = self.layout.host(name).host_key.with_suffix(".pub")
            if public.exists():
                keys[host.address] = public.read_text("utf-8")
        files[str(self.layout.known_hosts)] = inventory.render_known_hosts(keys)
        return files

    def _inventory_of(self, environment: str) -> Path:
        """Return the inventory of one environment: in a directory of its own beside that of the shared hosts."""
        return self.inventory.parent / environment / self.inventory.name

    # -- apply
    # ---------------------------------------------------------------------------------------------------------------

    def _apply(self, wanted: Wanted) -> None:
        record = self.outcome.record
        if record is None or not self.outcome.plan:
            return
        by_host: dict[str, list[Change]] = {}
        hosts = {host.name: host for host in wanted.hosts}
        done_hosts = False
        for change in self.outcome.plan:
            if change.kind == "host":
                by_host.setdefault(change.target, []).append(change)
        self._begin()
        for change in self.outcome.plan:
            if change.kind == "host":
                if not done_hosts:
                    done_hosts = True
                    self._apply_hosts(by_host, hosts, record)
                continue
            self._apply_shell(change, record)

    def _begin(self) -> None:
        """Open the ledger, and be seen by whoever looks for the last sandbox."""

        def begin() -> None:
            self.ledger.begin()
            self.layout.hosts.mkdir(parents=True, exist_ok=True)
            self.layout.directory.chmod(0o711)

        if self.request.state in ("present", "rebooted"):
            with_shared_lock(self.shared_layout, begin)

    def _apply_shell(self, change: Change, record: SandboxRecord) -> None:
        kind, action = change.kind, change.action
        if kind == "package":
            packages = [item.target for item in self.outcome.plan if item.kind == "package"]
            if change.target == packages[0]:
                install_packages(packages)
        elif kind == "sysctl" and action == "raise":
            with_shared_lock(
                self.shared_layout, lambda: self.ledger.raise_sysctl(change.target, int(change.after or 0))
            )
        elif kind == "module":
            with_shared_lock(self.shared_layout, lambda: self.ledger.load_module(change.target))
        elif kind == "base":
            base.build(self.request.cache, self._inputs())
        elif kind == "sandbox" and action == "create":
            self._create(record)
        elif kind == "key":
            machine.run(
                [
                    "ssh-keygen",
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    "",
                    "-C",
                    f"sandbox {record.name}",
                    "-f",
                    str(self.layout.key),
                ]
            )
        elif kind == "switch":
            self._make_switch(record)
        elif kind == "repository":
            self._start_repository(record)
        elif kind == "file":
            self._write_files(record)
        elif kind == "sandbox" and action == "remove":
            self._remove()

    def _inputs(self) -> base.BaseInputs:
        mirror = self.request.debian_mirror or base.choose_mirror(base.read_sources(), self.request.suite) or ""
        return base.BaseInputs(mirror, self.request.suite, preflight.DEBIAN_ARCHITECTURES[os.uname().machine])

    def _create(self, record: SandboxRecord) -> None:
        """Take the subnet: it is chosen again under the lock, as another sandbox may have taken it since."""

        def take() -> None:
            subnet = addressing.choose_subnet(record.name, self._taken())
            if str(subnet) != record.subnet:
                raise SandboxError(f"another sandbox took {record.subnet} at the same moment: run the playbook again")
            write_json(self.layout.record, replace(record, hosts={}).to_json())

        with_shared_lock(self.shared_layout, take)

    def _make_switch(self, record: SandboxRecord) -> None:
        """Make the bridge in a name space of its own, and one interface of the machine on it.

        Nothing that comes from the hosts is forwarded, however the machine is set up.  The interface is switched on
        last: that it is on says that nothing is missing.
        """
        layout = self.layout
        subnet = ipaddress.IPv4Network(record.subnet)
        resources = [Resource("netns", layout.switch), Resource("link", layout.link)]
        machine.unmake(resources)
        self.journal.record(resources)
        machine.run(["ip", "netns", "add", layout.switch])
        machine.run(
            ["ip", "link", "add", layout.link, "type", "veth", "peer", "name", "uplink", "netns", layout.switch]
        )
        for name, value in (("ipv4/conf/{}/forwarding", "0"), ("ipv6/conf/{}/disable_ipv6", "1")):
            setting = Path("/proc/sys/net", name.format(layout.link))
            if setting.exists():
                setting.write_text(value, "ascii")
        machine.run(
            ["ip", "-n", layout.switch, "-batch", "-"],
            "link add name bridge type bridge\nlink set lo up\n"
            "link set uplink master bridge\nlink set uplink up\nlink set bridge up\n",
        )
        for host in record.hosts.values():
            if machine.netns_exists(layout.host(host.name).machine):
                config = supervisor.HostConfig.from_json(read_json(layout.host(host.name).config))
                supervisor.plug_in(layout.host(host.name), config)
        machine.run(
            ["ip", "-batch", "-"],
            f"addr add {addressing.gateway(subnet)}/{subnet.prefixlen} dev {layout.link}\nlink set {layout.link} up\n",
        )

    def _start_repository(self, record: SandboxRecord) -> None:
        stop_programs("repository", str(self.layout.repository_lock))
        address = addressing.gateway(ipaddress.IPv4Network(record.subnet))
        self._start_program(
            "repository",
            [str(self.layout.repository_lock), address, str(record.port), str(self.request.mirror)],
            self.layout.repository_log,
            f"{self.layout.switch}.repository",
        )

    def _start_program(self, module: str, arguments: list[str], log: Path, unit: str) -> None:
        """Start a program of the sandbox so that it outlives the play."""
        library = install_library(self.layout.library)
        command = [sys.executable, "-m", f"{PACKAGE}.{module}", *arguments]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = {"PATH": path, "LANG": "C.UTF-8", "PYTHONPATH": str(library), "PYTHONDONTWRITEBYTECODE": "1"}
        if Path("/run/systemd/system").is_dir():
            # the unit of a killed supervisor stays for as long as its guest runs: each start has a name of its own
            machine.run(service_command(f"{unit}-{uuid.uuid4().hex[:8]}", command, log, environment))
            return
        with open(log, "ab") as stream:
            subprocess.Popen(  # pylint: disable=ansible-bad-function
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env=environment,
                cwd="/",
            )

    def _write_files(self, record: SandboxRecord) -> None:
        for environment in inventory.by_environment(record.hosts.values()):
            path = self._inventory_of(environment)
            link = path.with_name("group_vars")
            # An inventory that lies elsewhere has its settings beside it, if it is not one of several.
            linked = self.request.group_vars is not None and (bool(environment) or self.request.inventory is None)
            if self.request.inventory is not None:
                made = [Resource("directory", str(path.parent))] if environment else []
                self.journal.record(
                    [*made, Resource("file", str(path)), *([Resource("file", str(link))] if linked else [])]
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            if linked and not link.is_symlink():
                link.symlink_to(str(self.request.group_vars))
        for path_text, text in self._files(record).items():
            write_text(Path(path_text), text, 0o644)
        self._forget_environments({host.environment for host in record.hosts.values()})

    def _forget_environments(self, known: set[str]) -> None:
        """Remove the inventories of environments whose last host is gone."""
        for path in self.inventory.parent.glob(f"*/{self.inventory.name}"):
            if path.parent.name not in known and path.read_text("utf-8").startswith(inventory.HEADER):
                path.unlink()
                if path.with_name("group_vars").is_symlink():
                    path.with_name("group_vars").unlink()
                machine.remove_empty(path.parent)

    def _apply_hosts(
        self, changes: dict[str, list[Change]], wanted: dict[str, WantedHost], record: SandboxRecord
    ) -> None:
        going_up = self.request.state in ("present", "rebooted")
        if going_up:
            self._write_record(record)

        def work(name: str) -> None:
            for change in changes[name]:
                self._apply_host(change, record)

        with ThreadPoolExecutor(max_workers=max(1, len(changes))) as pool:
            errors = [future.exception() for future in [pool.submit(work, name) for name in changes]]
        known = [str(error) for error in errors if isinstance(error, SandboxError)]
        for error in errors:
            if error is not None and not isinstance(error, SandboxError):
                raise error
        if known:
            raise SandboxError("\n".join(known))
        if not going_up:
            self._write_record(replace(record, hosts=record.hosts))

    def _write_record(self, record: SandboxRecord) -> None:
        if self.layout.directory.is_dir():
            write_json(self.layout.record, record.to_json())

    def _apply_host(self, change: Change, record: SandboxRecord) -> None:
        layout = self.layout.host(change.target)
        if change.action == "create":
            create_host(layout)
        elif change.action == "power-on":
            self._power_on(layout, record)
        elif change.action == "adopt":
            self._supervise(layout)
        elif change.action == "limit":
            host = record.hosts[change.target]
            self._write_config(layout, record)
            supervisor.set_limits(cgroups_of(layout), host.memory_mb, host.cpus)
        elif change.action == "reboot":
            reboot(layout, self.request.timeout)
        elif change.action == "power-off":
            pull_the_plug(layout)
        elif change.action == "remove":
            pull_the_plug(layout)
            machine.remove_tree(layout.directory)

    def _write_config(self, layout: HostLayout, record: SandboxRecord) -> None:
        host = record.hosts[layout.name]
        subnet = ipaddress.IPv4Network(record.subnet)
        gateway = addressing.gateway(subnet)
        config = supervisor.HostConfig(
            sandbox=record.name,
            name=host.name,
            address=host.address,
            prefix=subnet.prefixlen,
            gateway=gateway,
            switch=self.layout.switch,
            lower=host.base,
            memory_mb=host.memory_mb,
            cpus=host.cpus,
            authorized_key=self.layout.key.with_suffix(".pub").read_text("utf-8").strip(),
            machine_id=host.machine_id,
            apt_source=f"deb [trusted=yes] http://{gateway}:{record.port}/apt/debian/{self.request.suite} ./",
        )
        write_json(layout.config, vars(config))

    def _power_on(self, layout: HostLayout, record: SandboxRecord) -> None:
        create_host(layout)
        self._write_config(layout, record)
        self._supervise(layout)

    def _supervise(self, layout: HostLayout) -> None:
        stop_programs("supervisor", str(layout.directory))
        self._start_program("supervisor", [str(layout.directory)], layout.console, layout.machine)

    def _remove(self) -> None:
        """Remove what the sandbox has besides its hosts; its directory last, so that a killed removal is resumed."""
        stop_programs("repository", str(self.layout.repository_lock))
        machine.clear(self.journal)
        last = self.layout.record.with_name(".removed.json")
        if self.layout.record.exists():
            self.layout.record.rename(last)
        machine.remove_tree(self.layout.directory)

    def _forget_root(self) -> None:
        """With the last sandbox gone, or never made, put the machine back as it was; take away what a killed build left."""
        base.sweep_if_idle(self.request.cache)
        root = self.request.state_root
        if self.ledger.others(""):
            return
        lock = machine.Lock(self.shared_layout.lock)
        lock.acquire()
        try:
            if self.ledger.others(""):
                return
            for name in self.ledger.end():
                self.outcome.warnings.append(
                    f"{name} was changed by somebody else since the sandbox raised it, and stays as it is"
                )
            for unfinished in root.glob(".*.tmp"):
                unfinished.unlink()
        finally:
            lock.release(remove=True)
        machine.remove_empty(root)
        machine.remove_empty(root.parent)

    # -- verify
    # --------------------------------------------------------------------------------------------------------------

    def _verify(self, wanted: Wanted) -> None:
        if self.request.state in ("present", "rebooted"):
            changed = {change.target for change in self.outcome.plan if change.kind == "host"}
            with ThreadPoolExecutor(max_workers=max(1, len(wanted.hosts))) as pool:
                found = list(pool.map(lambda host: self._reach(host, login=host.name in changed), wanted.hosts))
            problems = [problem for problem in found if problem]
            if problems:
                raise SandboxError("\n".join(problems))

    def _reach(self, host: WantedHost, login: bool) -> str:
        """Wait until a host answers SSH, and with ``login`` lets us in; return the problem, empty if none."""
        layout = self.layout.host(host.name)
        problem = f"it never listened on {host.address}:22"
        seen = time.monotonic()
        for _unused in machine.poll(self.request.timeout):
            if not answers_ssh(host.address):
                if machine.Lock(layout.lock).held() or machine.guest_init(cgroups_of(layout)) is not None:
                    seen = time.monotonic()
                elif time.monotonic() - seen > GRACE:
                    problem = "it is not running"
                    break
                continue
            problem = self._log_in(host.address) if login else ""
            if not problem:
                return ""
        tail = layout.console.read_text("utf-8", errors="replace").splitlines()[-8:] if layout.console.exists() else []
        return f"host {host.name} does not answer SSH: {problem}; the end of {layout.console}:\n" + "\n".join(tail)

    def _log_in(self, address: str) -> str:
        options = [
            f"UserKnownHostsFile={self.layout.known_hosts}",
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            "ConnectTimeout=5",
            "ControlMaster=no",
            "ControlPath=none",
        ]
        arguments = [item for option in options for item in ("-o", option)]
        finished = subprocess.run(  # pylint: disable=ansible-bad-function
            ["ssh", "-F", "/dev/null", "-i", str(self.layout.key), *arguments, f"root@{address}", "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return "" if finished.returncode == 0 else finished.stderr.strip() or f"ssh ended with {finished.returncode}"


# -- pieces
# ------------------------------------------------------------------------------------------------------------------


def as_spec(record: HostRecord) -> HostSpec:
    """Return the spec that a recorded host fulfils."""
    return HostSpec(record.name, record.groups, record.memory_mb, record.cpus, record.address, record.environment)


def gone_bases(hosts: Iterable[HostRecord]) -> list[str]:
    """Return a problem for each host whose disk is the difference to a base that is gone."""
    return [
        f"host {host.name} was made from {host.base}, which is gone: put it back, or remove the host "
        f"(-e sandbox_state=absent -e sandbox_only={host.name}) and make it anew"
        for host in hosts
        if not Path(host.base).is_dir()
    ]


def with_shared_lock(layout: SharedLayout, action: Callable[[], None]) -> None:
    """Do something while no other sandbox of the machine is being made or removed."""
    lock = machine.Lock(layout.lock)
    lock.acquire()
    try:
        action()
    finally:
        lock.release()


def install_packages(packages: Sequence[str]) -> None:
    """Install Debian packages of the machine's own archive."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *packages]
    finished = subprocess.run(  # pylint: disable=ansible-bad-function
        install, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if finished.returncode != 0:  # the package lists may be old, or absent
        subprocess.run(  # pylint: disable=ansible-bad-function
            ["apt-get", "update", "--quiet"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        finished = subprocess.run(  # pylint: disable=ansible-bad-function
            install, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    if finished.returncode != 0:
        raise SandboxError(
            f"`{' '.join(install)}` failed: {finished.stderr.strip()}; install the packages by hand and run again"
        )


def install_library(library: Path) -> Path:
    """Put the programs of the sandbox where they outlive this module; return the directory to import them from."""
    sources = {}
    for name in ("__init__", *(module.__name__.rpartition(".")[2] for module in LIBRARY)):
        data = pkgutil.get_data(__package__, f"{name}.py")
        if data is None:
            raise SandboxError(f"the source of {__package__}.{name} cannot be read")
        sources[name] = data.decode()
    target = library / digest("\0".join(sources.values()), 12)
    package = target / PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    for name, text in sources.items():
        path = package / f"{name}.py"
        if not path.exists():
            write_text(path, text, 0o644)
    return target


def service_command(unit: str, command: Sequence[str], log: Path, environment: dict[str, str]) -> list[str]:
    """Return the command that starts a program as a transient service with a delegated control group of its own."""
    properties = [
        "Delegate=yes",
        "KillMode=process",
        "TasksMax=infinity",
        f"StandardOutput=append:{log}",
        f"StandardError=append:{log}",
    ]
    return [
        "systemd-run", "--quiet", "--collect", f"--unit={unit}", "--working-directory=/",
        *(f"--property={item}" for item in properties),
        *(f"--setenv={name}={value}" for name, value in environment.items()),
        *command,
    ]  # fmt: skip


def programs(module: str, argument: str) -> list[int]:
    """Return the processes that run a program of a sandbox with ``argument`` as its first."""
    return machine.processes_with(["-m", f"{PACKAGE}.{module}", argument], 1)


def stop_programs(module: str, argument: str) -> None:
    """Kill a program of a sandbox, wherever it was started from."""
    stop(f"{module} {argument}", lambda: programs(module, argument))


def stop(what: str, find: Callable[[], list[int]]) -> None:
    """Kill processes until ``find`` finds none."""
    for _unused in machine.poll(5.0, 0.02):
        found = find()
        if not found:
            return
        for process in found:
            machine.kill(process, signal.SIGKILL)
    raise SandboxError(f"{what} does not die after SIGKILL: processes {find()}; see /proc/PID/stack")


def cgroups_of(layout: HostLayout) -> list[Path]:
    """Return the control groups of a host."""
    return [Path(entry.name) for entry in Journal(layout.journal).entries() if entry.kind == "cgroup"]


def create_host(layout: HostLayout) -> None:
    """Make the directory of a host and its SSH host key."""
    layout.directory.mkdir(parents=True, exist_ok=True)
    layout.directory.chmod(0o700)
    public = layout.host_key.with_suffix(".pub")
    if not public.exists():
        layout.host_key.unlink(missing_ok=True)
        machine.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", layout.name, "-f", str(layout.host_key)])


def pull_the_plug(layout: HostLayout) -> None:
    """Power a host off as a power cut does, and remove all that it has outside its directory."""
    stop_programs("supervisor", str(layout.directory))
    stop(f"{supervisor.REPORTER} {layout.exit_code}", lambda: supervisor.reporters(layout))
    machine.clear(Journal(layout.journal))
    layout.exit_code.unlink(missing_ok=True)


def reboot(layout: HostLayout, seconds: float) -> None:
    """Reboot a guest in an orderly way, and wait for its next boot."""
    before = boots(layout)
    guest = machine.guest_init(cgroups_of(layout))
    if guest is not None:
        machine.kill(guest, signal.SIGRTMIN + 5)
    for _unused in machine.poll(seconds):
        if boots(layout) > before:
            return
    raise SandboxError(
        f"host {layout.name} did not reboot within {seconds:g} s: see {layout.console}; "
        f"sandbox_state=powered-off cuts its power"
    )


def boots(layout: HostLayout) -> int:
    """Return how often a host has been booted."""
    return int((read_json(layout.status) or {}).get("boots", 0))


def answers_ssh(address: str) -> bool:
    """Say whether an SSH server greets at the address."""
    try:
        with socket.create_connection((address, 22), timeout=1.0) as connection:
            connection.settimeout(2.0)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def describe(plan: Sequence[Change]) -> list[dict[str, Any]]:
    """Return a plan as plain values, without the content of files."""
    hidden = ("file",)
    return [
        {
            "kind": change.kind,
            "target": change.target,
            "action": change.action,
            "before": None if change.kind in hidden else change.before,
            "after": None if change.kind in hidden else change.after,
        }
        for change in plan
    ]
