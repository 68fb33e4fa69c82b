# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal, locks, control groups, preflight, the base's inputs, and what the programs are started with."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox import (
    base,
    engine,
    inventory,
    machine,
    preflight,
    repository,
    shared,
    supervisor,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox.errors import SandboxError
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox.journal import (
    Journal,
    Resource,
    read_json,
    write_text,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox.layout import Layout, SharedLayout
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox.spec import HostRecord, SandboxRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

# -- journal -----------------------------------------------------------------------------------------------------------


def test_journal_keeps_order_and_knows_each_thing_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.json")
    first, second, third = (Resource("directory", str(tmp_path / name)) for name in "abc")
    assert journal.entries() == []
    journal.record([first, second])
    journal.record([second, third])
    assert Journal(journal.path).entries() == [first, second, third]
    journal.forget([second])
    assert journal.entries() == [first, third]


def test_clear_removes_newest_first_and_what_was_never_made(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.json")
    outer, inner, file = tmp_path / "outer", tmp_path / "outer" / "inner", tmp_path / "outer" / "inner" / "file"
    journal.record([Resource("directory", str(outer)), Resource("directory", str(inner)), Resource("file", str(file))])
    inner.mkdir(parents=True)
    machine.clear(journal)
    assert not outer.exists()
    assert journal.entries() == []


def test_clear_leaves_what_others_put_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.json")
    journal.record([Resource("directory", str(tmp_path / "kept"))])
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "foreign").touch()
    machine.clear(journal)
    assert (tmp_path / "kept" / "foreign").exists()


def test_unknown_kind_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="another version"):
        machine.unmake([Resource("volume", str(tmp_path))])


def test_damaged_journal_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal.json").write_text("[{")
    with pytest.raises(SandboxError, match="damaged"):
        Journal(tmp_path / "journal.json").entries()


def test_replaced_file_has_its_mode_and_leaves_no_other(tmp_path: Path) -> None:
    write_text(tmp_path / "key", "a", 0o600)
    write_text(tmp_path / "key", "b", 0o640)
    assert (tmp_path / "key").read_text() == "b"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["key"]


# -- locks -------------------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox.machine import Lock
Lock(Path(sys.argv[1])).acquire(); print("held", flush=True); time.sleep(60)
"""


def test_lock_goes_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not machine.Lock(path).held()
    assert not path.exists(), "asking writes nothing"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert machine.Lock(path).held()
        assert not machine.Lock(path).acquire(wait=False)
        holder.kill()
    assert not machine.Lock(path).held()
    assert machine.Lock(path).acquire(wait=False)


def test_removed_lock_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = machine.Lock(path), machine.Lock(path)
    first.acquire()
    waiting = threading.Thread(target=second.acquire)
    waiting.start()
    first.release(remove=True)
    waiting.join(5)
    assert path.exists()
    assert machine.Lock(path).held()
    second.release()


# -- control groups ----------------------------------------------------------------------------------------------------

V1_CGROUP = "3:cpuset:/\n2:cpu,cpuacct:/a/b\n1:name=systemd:/\n0::/\n"
V1_MOUNTS = """\
30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
"""
V2_MOUNTS = "31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"


def test_hierarchies_of_version_1() -> None:
    found = machine.parse_hierarchies(V1_CGROUP, V1_MOUNTS)
    assert [(str(item.directory), item.version, item.controllers) for item in found] == [
        ("/sys/fs/cgroup/cpuset", 1, ("cpuset",)),
        ("/sys/fs/cgroup/cpu,cpuacct/a/b", 1, ("cpu", "cpuacct")),
        ("/sys/fs/cgroup/systemd", 1, ()),
    ]


def test_hierarchy_of_version_2() -> None:
    (found,) = machine.parse_hierarchies("0::/system.slice/x.service\n", V2_MOUNTS)
    assert (str(found.directory), found.version) == ("/sys/fs/cgroup/system.slice/x.service", 2)


def fake_v2(directory: Path, controllers: str, processes: str) -> Path:
    directory.mkdir(parents=True)
    (directory / "cgroup.controllers").write_text(controllers)
    (directory / "cgroup.procs").write_text(processes)
    (directory / "cgroup.subtree_control").write_text("")
    return directory


def test_delegated_group_is_emptied_before_its_controllers_are_handed_down(tmp_path: Path) -> None:
    unit = fake_v2(tmp_path / "x.service", "cpu memory pids\n", "41\n42\n")
    found = machine.Hierarchy(tmp_path, 2, (), "/x.service")
    assert supervisor.delegated_parents([found], "stagecraft-a.b") == [unit]
    assert (unit / "stagecraft-a.b.supervisor" / "cgroup.procs").read_text() == "42"
    assert (unit / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


def test_supervisor_that_boots_again_stays_where_it_is(tmp_path: Path) -> None:
    unit = fake_v2(tmp_path / "x.service", "cpu memory\n", "")
    fake_v2(unit / "stagecraft-a.b.supervisor", "cpu memory\n", "41\n")
    found = machine.Hierarchy(tmp_path, 2, (), "/x.service/stagecraft-a.b.supervisor")
    assert supervisor.delegated_parents([found], "stagecraft-a.b") == [unit]


def test_empty_hierarchy_of_version_2_is_used_like_version_1(tmp_path: Path) -> None:
    place = fake_v2(tmp_path / "place", "\n", "41\n")
    assert supervisor.delegated_parents([machine.Hierarchy(tmp_path, 2, (), "/place")], "leaf") == [place]
    assert (place / "cgroup.subtree_control").read_text() == ""


def test_limits_of_both_versions() -> None:
    files = supervisor.limit_files(512, 1.5, available=4)
    assert files["memory.limit_in_bytes"] == files["memory.max"] == str(512 << 20)
    assert (files["cpu.cfs_quota_us"], files["cpu.max"]) == ("150000", "150000 100000")
    none = supervisor.limit_files(0, 4, available=4)
    assert (none["memory.limit_in_bytes"], none["memory.max"]) == ("-1", "max")
    assert (none["cpu.cfs_quota_us"], none["cpu.max"]) == ("-1", "max 100000")


def test_limits_in_force_are_compared(tmp_path: Path) -> None:
    (tmp_path / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert supervisor.limits_in_force([tmp_path], 0, 0)
    assert not supervisor.limits_in_force([tmp_path], 512, 0)
    supervisor.set_limits([tmp_path], 512, 0)
    assert supervisor.limits_in_force([tmp_path], 512, 0)
    assert os.listdir(tmp_path) == ["memory.limit_in_bytes"], "only what the kernel offers is written"


def test_modules_that_are_built_in() -> None:
    index = supervisor.builtin_index(
        "CONFIG_OVERLAY_FS=y\n# CONFIG_IP_VS is not set\nCONFIG_VXLAN=m\nCONFIG_BRIDGE=y\n"
    )
    assert index == "kernel/fs/overlayfs/overlay.ko\nkernel/net/bridge/bridge.ko\n"


# -- preflight ---------------------------------------------------------------------------------------------------------

ABLE = preflight.Facts(
    system="Linux",
    architecture="amd64",
    uid=0,
    capabilities=(1 << 41) - 1,
    file_systems=["ext4", "overlay"],
    state_file_system="ext4",
    namespaces=["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"],
    v1_controllers=[],
    v2_controllers=["cpuset", "cpu", "io", "memory", "pids"],
    apt=True,
)


def test_able_machines() -> None:
    v1 = replace(ABLE, v1_controllers=["cpu", "cpuset", "memory", "pids", "devices", "freezer"], v2_controllers=[])
    assert preflight.problems(ABLE, [], install=True) == []
    assert preflight.problems(v1, [], install=True) == []
    assert preflight.problems(ABLE, ["debootstrap"], install=True) == []


@pytest.mark.parametrize(
    ("facts", "packages", "install", "words"),
    [
        (replace(ABLE, system="Darwin"), [], True, "needs Linux"),
        (replace(ABLE, architecture=None), [], True, "neither amd64 nor arm64"),
        (replace(ABLE, uid=1000), [], True, "with sudo"),
        (replace(ABLE, capabilities=0), [], True, "CAP_SYS_ADMIN"),
        (ABLE, ["debootstrap", "systemd-container"], False, "apt-get install --no-install-recommends debootstrap systemd-container"),
        (replace(ABLE, apt=False), ["debootstrap"], True, "no apt-get"),
        (replace(ABLE, file_systems=["ext4"]), [], True, "no overlayfs"),
        (replace(ABLE, state_file_system="overlay"), [], True, "lies on overlay"),
        (replace(ABLE, namespaces=["mnt"]), [], True, "net, pid"),
        (replace(ABLE, v2_controllers=["io"]), [], True, "cpu, cpuset, memory, pids"),
    ],
)  # fmt: skip
def test_unable_machines(facts: preflight.Facts, packages: list[str], install: bool, words: str) -> None:
    (problem, *others) = preflight.problems(facts, packages, install)
    assert words in problem
    assert others == [preflight.INSTEAD]


def test_all_reasons_at_once() -> None:
    facts = replace(ABLE, uid=1000, file_systems=[], state_file_system="nfs", apt=False)
    assert len(preflight.problems(facts, ["debootstrap"], install=True)) == 5


def test_modules_to_load(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text(
        "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/net/bridge/br_netfilter.ko: kernel/net/bridge/bridge.ko\n"
        "kernel/net/bridge/bridge.ko:\nkernel/drivers/net/vxlan/vxlan.ko.zst:\n"
    )
    (tmp_path / "loaded" / "bridge").mkdir(parents=True)
    assert preflight.missing_modules(tmp_path, tmp_path / "loaded") == ["overlay", "br_netfilter", "vxlan"]
    assert preflight.missing_modules(None) == []
    assert "overlay" in preflight.loadable(tmp_path)
    assert preflight.loadable(tmp_path / "none") == set()


def test_file_system_of_a_directory_that_is_yet_to_be() -> None:
    mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /proc rw - proc proc rw\n"
    assert preflight.file_system_of(Path("/proc/sandbox/none"), mounts) == "proc"
    assert preflight.file_system_of(Path("/procession/none"), mounts) == "ext4"


def test_oom_score() -> None:
    assert not preflight.lacks_resource_capability(ABLE)
    assert preflight.lacks_resource_capability(replace(ABLE, capabilities=ABLE.capabilities & ~(1 << 24)))


# -- base --------------------------------------------------------------------------------------------------------------

DEB822 = """\
Types: deb
# http://snapshot.example.org/archive/debian/20250520T000000Z
URIs: http://deb.example.org/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb deb-src
URIs: http://deb.example.org/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example.org/debian
Suites: bookworm
Components: main
"""
ONE_LINE = """\
# deb http://comment.example.org/debian bookworm main
deb-src http://source.example.org/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] https://apt.example.org/cloud cloud main
deb [trusted=yes] http://deb.example.org/debian/ trixie main contrib # a note
"""


def test_mirror_of_the_machine_deb822() -> None:
    assert base.choose_mirror(base.parse_deb822(DEB822), "bookworm") == "http://deb.example.org/debian"


def test_mirror_of_the_machine_one_line() -> None:
    sources = base.parse_sources_list(ONE_LINE)
    assert [source.uri for source in sources] == ["https://apt.example.org/cloud", "http://deb.example.org/debian/"]
    assert base.choose_mirror(sources, "bookworm") == "http://deb.example.org/debian", (
        "another suite of the same archive"
    )


def test_no_mirror() -> None:
    assert base.choose_mirror(base.parse_sources_list("deb file:///media/cd bookworm main\n"), "bookworm") is None


def test_sources_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "old.list.save").write_text("deb http://saved.example.org/debian bookworm main\n")
    assert len(base.read_sources(tmp_path)) == 4


def test_key_of_a_base_follows_its_inputs() -> None:
    inputs = base.BaseInputs("http://deb.example.org/debian", "bookworm", "amd64")
    keys = {
        inputs.key,
        replace(inputs, suite="trixie").key,
        replace(inputs, architecture="arm64").key,
        replace(inputs, packages=("dbus",)).key,
    }
    assert len(keys) == 4
    assert inputs.key == base.BaseInputs("http://deb.example.org/debian", "bookworm", "amd64").key


# -- records, inventory, ledger ----------------------------------------------------------------------------------------

CP1 = HostRecord("cp1", ("control_plane", "workers"), 512, 1.0, "10.87.9.11", "/cache/base-1", "0" * 32)


def test_record_round_trip() -> None:
    record = SandboxRecord("s", "10.87.9.0/24", 8480, {"cp1": CP1})
    assert SandboxRecord.from_json(record.to_json()) == record
    with pytest.raises(ValueError, match="schema 9"):
        SandboxRecord.from_json({**record.to_json(), "schema": 9})


def test_inventory_is_yaml_that_pins_host_keys() -> None:
    text = inventory.render_inventory(Layout("s"), [CP1], {"sandbox_name": "s", "flag": True})
    document = yaml.safe_load(text)["all"]
    assert document["hosts"] == {"cp1": {"ansible_host": "10.87.9.11"}}
    assert set(document["children"]) == {"control_plane", "workers"}
    assert document["vars"]["flag"] is True
    assert "StrictHostKeyChecking=yes" in document["vars"]["ansible_ssh_common_args"]
    assert str(Layout("s").known_hosts) in document["vars"]["ansible_ssh_common_args"]


def test_each_environment_has_its_own_hosts_and_the_shared_ones() -> None:
    hosts = [
        replace(CP1, name=name, environment=of)
        for name, of in (("s1", "staging"), ("cp1", "production"), ("forge", ""))
    ]
    found = inventory.by_environment(hosts)
    assert {of: [host.name for host in its] for of, its in found.items()} == {
        "": ["forge"],
        "production": ["cp1", "forge"],
        "staging": ["s1", "forge"],
    }
    assert inventory.by_environment([]) == {"": []}


def test_a_record_from_before_environments_is_read() -> None:
    old = SandboxRecord("s", "10.87.9.0/24", 8480, {"cp1": CP1}).to_json()
    del old["hosts"]["cp1"]["environment"]
    assert SandboxRecord.from_json(old).hosts["cp1"] == CP1


def test_inventory_without_hosts_is_yaml() -> None:
    assert yaml.safe_load(inventory.render_inventory(Layout("s"), [], {}))["all"]["hosts"] == {}


def test_known_hosts() -> None:
    assert inventory.render_known_hosts({"10.87.9.11": "ssh-ed25519 AAAA cp1\n"}) == "10.87.9.11 ssh-ed25519 AAAA\n"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> shared.Ledger:
    (tmp_path / "sys" / "fs").mkdir(parents=True)
    (tmp_path / "sys" / "fs" / "limit").write_text("128\n")
    (tmp_path / "state").mkdir()
    monkeypatch.setattr(shared, "SYSCTL_ROOT", tmp_path / "sys")
    monkeypatch.setattr(shared, "DIRECTORIES", (str(tmp_path / "run"),))
    return shared.Ledger(SharedLayout(tmp_path / "state"))


def test_limit_is_put_back_to_what_it_was_first(ledger: shared.Ledger) -> None:
    ledger.begin()
    ledger.raise_sysctl("fs.limit", 1024)
    ledger.begin()
    ledger.raise_sysctl("fs.limit", 2048)
    assert shared.read_sysctl("fs.limit") == 2048
    assert ledger.end() == []
    assert shared.read_sysctl("fs.limit") == 128
    assert not ledger.layout.ledger.exists()


def test_limit_of_somebody_else_stays(ledger: shared.Ledger) -> None:
    ledger.begin()
    ledger.raise_sysctl("fs.limit", 1024)
    shared.sysctl_path("fs.limit").write_text("4096")
    assert ledger.end() == ["fs.limit"]
    assert shared.read_sysctl("fs.limit") == 4096


def test_only_directories_that_were_not_there_go(ledger: shared.Ledger, tmp_path: Path) -> None:
    ledger.begin()
    (tmp_path / "run").mkdir()
    ledger.end()
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    ledger.begin()
    ledger.end()
    assert (tmp_path / "run").exists()


def test_other_sandboxes(ledger: shared.Ledger) -> None:
    for name in ("a", "b", ".hidden"):
        (ledger.layout.state_root / name).mkdir()
    assert ledger.others("a") == ["b"]


# -- programs ----------------------------------------------------------------------------------------------------------


def test_programs_run_without_ansible(tmp_path: Path) -> None:
    """The copy in the state directory needs nothing but the standard library."""
    library = engine.install_library(tmp_path)
    assert engine.install_library(tmp_path) == library
    for module in ("supervisor", "repository"):
        command = [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path[:0] = [{str(library)!r}]; import {engine.PACKAGE}.{module}",
        ]
        subprocess.run(command, check=True)


def test_service_outlives_the_session_and_is_delegated() -> None:
    command = engine.service_command("u", ["python3", "-m", "x"], Path("/log"), {"PATH": "/bin"})
    assert command[0] == "systemd-run"
    assert {"--property=Delegate=yes", "--property=KillMode=process", "--setenv=PATH=/bin", "--unit=u"} <= set(command)
    assert command[-3:] == ["python3", "-m", "x"]


def test_program_of_another_sandbox_is_not_mistaken() -> None:
    name = f"{engine.PACKAGE}.supervisor"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "-m", name, "/s/a"]) as process:
        assert engine.programs("supervisor", "/s/a") == [], "-m must be the interpreter's own"
        process.kill()


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, int]]:
    (tmp_path / "mirror" / "apt").mkdir(parents=True)
    (tmp_path / "mirror" / "apt" / "Packages").write_text("hello")
    (tmp_path / "mirror" / "inside").symlink_to("apt/Packages")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "mirror" / "outside").symlink_to("../secret")
    server = repository.make_server("127.0.0.1", 0, str(tmp_path / "mirror"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield "127.0.0.1", server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/apt/Packages", 200),
        ("HEAD", "/apt/Packages", 200),
        ("GET", "/inside", 200),
        ("GET", "/outside", 404),
        ("GET", "/../secret", 404),
        ("GET", "/%2e%2e/secret", 404),
        ("GET", "/", 404),
        ("GET", "/apt/", 404),
        ("PUT", "/apt/Packages", 501),
        ("DELETE", "/apt/Packages", 501),
    ],
)
def test_repository_serves_files_of_the_mirror_only(
    mirror: tuple[str, int], method: str, path: str, status: int
) -> None:
    connection = http.client.HTTPConnection(*mirror, timeout=5)
    connection.request(method, path)
    answer = connection.getresponse()
    assert answer.status == status
    if (method, status) == ("GET", 200):
        assert answer.read() == b"hello"
    connection.close()


def test_read_json_of_nothing(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none") is None
