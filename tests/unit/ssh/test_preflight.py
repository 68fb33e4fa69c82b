# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what a host says of itself, and what speaks against it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.preflight import (
    LEFTOVERS,
    HostFacts,
    Listener,
    Requirements,
    evaluate,
    parse,
    script,
    wanted_ports,
)

# A Debian host as the script describes it, shortened.
ANSWER = r"""@started 1000.250000000
@uid 0
@hostname node1
@machine_id 3d1219c7c4c5404aaa1f6d2a48adfda4
@kernel 6.1.0-40-amd64
@machine x86_64
@cpus 8
@cpu_limit max 100000
@memory_kb 32870400
@memory_limit max
@disk_kb 191488000
@cgroup cgroup2fs
@systemd yes
@selinux 0
@firewall ufw
@python /usr/bin/python3 3.11.2
@tool sudo
@tool apt-get
@os PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
@os VERSION_ID="12"
@os ID=debian
@swap /dev/vda2
@marker {"environment": "production",  "role": "control_plane"}
@module overlay loaded
@module br_netfilter available
@sysctl /proc/sys/net/ipv4/ip_forward:1
@sysctl /proc/sys/net/ipv4/ip_local_port_range:32768	60999
@leftover kubernetes /etc/kubernetes/admin.conf
@leftover kubernetes /etc/kubernetes/kubelet.conf
@net tcp    0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
@net tcp    1: 0100007F:1234 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 112 1 0 100 0 0 10 0
@net tcp6   0: 00000000000000000000000000000000:192B 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 222 1 0 100
@net udp    5: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 333 2 0 0
@owner 111 700 sshd
@owner 222 800 kube-apiserver
@pod 800
@finished 1000.450000000
"""

GOOD = HostFacts(
    os_id="debian",
    os_version="12",
    os_name="Debian GNU/Linux 12 (bookworm)",
    os_family="Debian",
    architecture="amd64",
    cpus=8,
    memory_mb=32000,
    disk_mb=100_000,
    cgroup_version=2,
    systemd=True,
    root=True,
    python="/usr/bin/python3",
    python_version="3.11.2",
    kernel_modules={"overlay": "loaded", "br_netfilter": "available"},
)


def codes(facts: HostFacts, wanted: Requirements | None = None, environment: str = "production") -> list[str]:
    return [problem.code for problem in evaluate(facts, wanted or Requirements(), environment).problems]


def test_the_answer_becomes_facts() -> None:
    facts = parse(ANSWER, 1000.2, 1000.5)
    assert (facts.hostname, facts.os_id, facts.os_version, facts.os_family) == ("node1", "debian", "12", "Debian")
    assert (facts.machine, facts.architecture, facts.cpus) == ("x86_64", "amd64", 8)
    assert (facts.memory_mb, facts.disk_mb) == (32100, 187000)
    assert (facts.cgroup_version, facts.systemd, facts.root) == (2, True, True)
    assert (facts.selinux, facts.firewall_manager) == ("permissive", "ufw")
    assert (facts.python, facts.python_version) == ("/usr/bin/python3", "3.11.2")
    assert (facts.tools, facts.swap) == (("sudo", "apt-get"), ("/dev/vda2",))
    assert facts.marker == {"environment": "production", "role": "control_plane"}
    assert facts.kernel_modules == {"overlay": "loaded", "br_netfilter": "available"}
    assert facts.sysctl["net.ipv4.ip_local_port_range"] == "32768 60999"
    assert facts.leftovers == {"kubernetes": ["/etc/kubernetes/admin.conf", "/etc/kubernetes/kubelet.conf"]}
    assert facts.listening == (
        Listener("tcp", "127.0.0.1", 22, "sshd", 700),
        Listener("tcp", "::", 6443, "kube-apiserver", 800, pod=True),
        Listener("udp", "0.0.0.0", 68),
    )
    assert facts.as_dict()["listening"][1]["process"] == "kube-apiserver"


def test_an_answer_that_was_cut_short_is_refused() -> None:
    with pytest.raises(SshError, match="incomplete"):
        parse(ANSWER.partition("@net")[0], 0, 0)


@pytest.mark.parametrize(
    ("lines", "cpus", "memory"),
    [
        ("@cpus 8\n@cpu_limit 250000 100000\n@memory_kb 2097152\n@memory_limit 1073741824\n", 2, 1024),
        ("@cpus 8\n@cpu_limit 50000 100000\n@memory_kb 2097152\n@memory_limit max\n", 1, 2048),
        ("@cpus 2\n@cpu_limit -1 100000\n@memory_kb 2097152\n@memory_limit 9223372036854771712\n", 2, 2048),
        ("@cpus 4\n@memory_kb 2097152\n", 4, 2048),
    ],
)
def test_limits_of_a_cgroup_count(lines: str, cpus: int, memory: int) -> None:
    facts = parse(lines + "@finished 0\n", 0, 0)
    assert (facts.cpus, facts.memory_mb) == (cpus, memory)


@pytest.mark.parametrize(
    ("started", "finished", "expected"),
    [
        # The controller sent at 1000.0 and had the answer at 1000.4.
        ("1000.1", "1000.3", 0.0),
        ("1000.3", "1000.5", 0.2),
        ("1010.1", "1010.3", 10.0),
        ("940.1", "940.3", -60.0),
        ("1000.%N", "1000.%N", 0.3),
        ("", "", 0.0),
    ],
)
def test_the_clocks_are_compared_as_exactly_as_the_round_trip_allows(
    started: str, finished: str, expected: float
) -> None:
    facts = parse(f"@started {started}\n@finished {finished}\n", 1000.0, 1000.4)
    assert facts.time_skew == pytest.approx(expected, abs=0.11)


def test_a_marker_that_cannot_be_read_belongs_to_nobody() -> None:
    for text in ("{damaged", '"text"', "[]"):
        facts = parse(f"@marker {text}\n@finished 0\n", 0, 0)
        assert facts.marker == {"environment": None}
        assert "environment" in codes(replace(GOOD, marker=facts.marker))


def test_a_good_host_has_no_problem() -> None:
    report = evaluate(GOOD, Requirements(minimum_cpus=8, minimum_memory_mb=32000, minimum_disk_mb=100_000), "x")
    assert (report.problems, report.warnings) == ((), ())


@pytest.mark.parametrize(
    ("changes", "wanted", "code"),
    [
        ({"os_id": "debian", "os_version": "11"}, {}, "os"),
        ({"os_id": "arch", "os_version": ""}, {}, "os"),
        ({"architecture": "riscv64"}, {}, "architecture"),
        ({"architecture": "arm64"}, {"architectures": ("amd64",)}, "architecture"),
        ({"systemd": False}, {}, "systemd"),
        ({"root": False}, {}, "root"),
        ({"time_skew": 2.1}, {}, "time"),
        ({"time_skew": -2.1}, {}, "time"),
        ({"cpus": 1}, {"minimum_cpus": 2}, "cpus"),
        ({"memory_mb": 1699}, {"minimum_memory_mb": 1700}, "memory"),
        ({"disk_mb": 9}, {"minimum_disk_mb": 10}, "disk"),
        ({"kernel_modules": {"overlay": "missing"}}, {}, "kernel modules"),
        ({"cgroup_version": 1}, {"minimum_cgroup_version": 2}, "cgroup"),
        ({"python": "", "python_version": ""}, {}, "python"),
        ({"python_version": "3.6.9"}, {}, "python"),
        ({"listening": (Listener("tcp", "::", 6443, "x", 1),)}, {"free_ports": ("6443",)}, "port"),
        ({"listening": (Listener("tcp", "::", 2380),)}, {"free_ports": ("2379-2380",)}, "port"),
        ({"leftovers": {"k3s": ["/etc/rancher/k3s"]}}, {}, "leftovers"),
        ({"marker": {"environment": "staging"}}, {}, "environment"),
    ],
)
def test_each_thing_that_speaks_against_a_host(
    changes: dict[str, object], wanted: dict[str, object], code: str
) -> None:
    assert codes(replace(GOOD, **changes), Requirements(**wanted)) == [code]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"os_id": "debian", "os_version": "13"}, {}),
        ({"os_id": "ubuntu", "os_version": "22.04"}, {}),
        ({"os_id": "ubuntu", "os_version": "24.04"}, {}),
        ({"os_id": "ubuntu", "os_version": "26.04"}, {}),
        ({"os_id": "rocky", "os_version": "9.6"}, {"supported_os": ("rocky 9",)}),
        ({"os_id": "debian", "os_version": ""}, {"supported_os": ("debian",)}),
        ({"time_skew": 1.9}, {}),
        ({"kernel_modules": {"overlay": "builtin", "br_netfilter": "unknown"}}, {}),
        ({"python_version": "3.9"}, {}),
        ({"python": "", "python_version": ""}, {"minimum_python": ""}),
        ({"python_version": "3.14.0"}, {}),
        ({"listening": (Listener("udp", "::", 6443),)}, {"free_ports": ("6443",)}),
        ({"listening": (Listener("tcp", "::", 22),)}, {"free_ports": ("6443",)}),
        ({"leftovers": {"docker": ["/usr/bin/dockerd"]}}, {"ignored_leftovers": ("docker",)}),
    ],
)
def test_what_is_no_problem(changes: dict[str, object], wanted: dict[str, object]) -> None:
    assert codes(replace(GOOD, **changes), Requirements(**wanted)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "os_id", "version"),
    [
        ("Debian GNU/Linux 11 (bullseye)", "debian", "11"),
        ("Ubuntu 20.04.6 LTS", "ubuntu", "20.04"),
        ("Ubuntu 23.10", "ubuntu", "23.10"),
        ("Red Hat Enterprise Linux 9.6 (Plow)", "rhel", "9.6"),
        ("Rocky Linux 10.0 (Red Quartz)", "rocky", "10.0"),
        ("AlmaLinux 9.6 (Sage Margay)", "almalinux", "9.6"),
        ("openSUSE Leap 15.6", "opensuse-leap", "15.6"),
    ],
)
def test_a_system_that_the_roles_do_not_know_is_refused_with_the_names_of_those_they_do(
    name: str, os_id: str, version: str
) -> None:
    facts = replace(GOOD, os_id=os_id, os_version=version, os_name=name)
    (problem,) = evaluate(facts, Requirements(), "x").problems
    assert str(problem) == (
        "os: wanted one of debian 12, debian 13, ubuntu 22.04, ubuntu 24.04, ubuntu 26.04, "
        f"found {name}. Install one of these on the host."
    )


def test_all_problems_come_at_once_each_with_its_fix() -> None:
    facts = HostFacts(leftovers={left.name: [left.paths[0]] for left in LEFTOVERS})
    report = evaluate(facts, Requirements(minimum_cpus=2, minimum_memory_mb=1, minimum_disk_mb=1), "production")
    assert {"os", "architecture", "systemd", "root", "cpus", "memory", "disk", "cgroup", "python"} <= set(
        codes(facts)
    ) | {"cpus", "memory", "disk"}
    assert len([problem for problem in report.problems if problem.code == "leftovers"]) == len(LEFTOVERS)
    for problem in report.problems:
        assert problem.wanted
        assert problem.found
        assert problem.fix
        assert str(problem).endswith(".")


def test_ports_and_leftovers_of_our_own_cluster_are_no_problem_but_everything_else_is() -> None:
    ours = replace(
        GOOD,
        marker={"environment": "production"},
        listening=(Listener("tcp", "::", 6443, "kube-apiserver", 1),),
        leftovers={"kubernetes": ["/etc/kubernetes/admin.conf"]},
        cpus=1,
    )
    wanted = Requirements(minimum_cpus=2, free_ports=("6443",))
    assert codes(ours, wanted) == ["cpus"]
    assert codes(ours, wanted, "staging") == ["cpus", "port", "leftovers", "environment"]


def test_a_port_that_somebody_else_took_before_our_cluster_came_to_it_is_told() -> None:
    """The marker is there from the first change on, and the cluster is not."""
    listening = (
        Listener("tcp", "0.0.0.0", 80, "nginx", 5),
        Listener("tcp", "0.0.0.0", 443, "traefik", 6, pod=True),
        Listener("tcp", "::", 6443, "k3s-server", 7),
        Listener("tcp", "::", 10250),
    )
    ours = replace(GOOD, marker={"environment": "production"}, listening=listening)
    (problem,) = evaluate(ours, Requirements(free_ports=("80", "443", "6443", "10250")), "production").problems
    assert problem.wanted == "TCP port 80 free"
    assert problem.found == "nginx (pid 5) listens on it"


def test_one_process_on_both_families_is_said_once() -> None:
    both = tuple(Listener("tcp", address, 10250, "kubelet", 7) for address in ("0.0.0.0", "::"))
    assert codes(replace(GOOD, listening=both), Requirements(free_ports=("10250",))) == ["port"]


def test_what_the_admin_should_know_is_noted() -> None:
    facts = replace(GOOD, cgroup_version=1, selinux="enforcing", firewall_manager="firewalld")
    notes = " ".join(evaluate(facts, Requirements(cgroup_v1_setting="failCgroupV1: false"), "x").warnings)
    for word in ("starts there only with failCgroupV1: false", "SELinux", "firewalld"):
        assert word in notes
    # where the setting is made there is nothing to be told
    assert "cgroup" not in " ".join(evaluate(facts, Requirements(), "x").warnings)


def test_who_refuses_control_groups_of_version_1_is_told_both_ways_out() -> None:
    wanted = Requirements(minimum_cgroup_version=2, cgroup_v1_setting="failCgroupV1: false")
    judged = evaluate(replace(GOOD, cgroup_version=1), wanted, "x")
    assert [problem.fix for problem in judged.problems] == [
        "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line; or, as long as the kubelet takes it, set "
        "failCgroupV1: false"
    ]
    assert judged.warnings == ()


def test_where_another_firewall_manager_is_in_charge_it_is_said_what_to_open_there() -> None:
    facts = replace(GOOD, firewall_manager="ufw")
    wanted = Requirements(open_ports=("22/tcp (SSH)", "2379-2380/tcp (etcd) from 192.0.2.11"))
    assert evaluate(facts, wanted, "x").warnings == (
        "ufw manages the firewall: no rules are set beside it; let in there: 22/tcp (SSH); "
        "2379-2380/tcp (etcd) from 192.0.2.11",
    )


def test_ports_and_ranges() -> None:
    assert wanted_ports(["6443", "2379-2380", " 10 - 12 "]) == {6443, 2379, 2380, 10, 11, 12}


@pytest.mark.parametrize("entry", ["0", "65536", "2380-2379", "http", "", "-5", "1-65536"])
def test_what_is_no_port_is_refused(entry: str) -> None:
    with pytest.raises(SshError, match="not a port"):
        wanted_ports([entry])


@pytest.mark.parametrize("module", ["a b", "x;reboot", "$(id)", ""])
def test_module_names_cannot_carry_commands(module: str) -> None:
    with pytest.raises(SshError, match="not the name of a kernel module"):
        script([module])


def test_the_script_writes_nothing() -> None:
    """Every redirection of its output leads to /dev/null or to another program."""
    text = script(["overlay"])
    for part in text.split(">")[1:]:
        assert part.startswith(("/dev/null", "&"))
    for word in (" rm ", " mkdir ", " touch ", "modprobe", " tee ", "sysctl -w"):
        assert word not in text
