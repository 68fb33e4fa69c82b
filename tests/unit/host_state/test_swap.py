# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swap lines of real fstab files: commented out, and nothing else about the file changes."""

from __future__ import annotations

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import swap

from .fake_host import FakeHost

DEBIAN = """\
# /etc/fstab: static file system information.
#
# <file system> <mount point>   <type>  <options>       <dump>  <pass>
# / was on /dev/vda1 during installation
UUID=6c2c3a5e-8d0f-4d0c-9d2a-1f4c8a1b2c3d /               ext4    errors=remount-ro 0       1
# swap was on /dev/vda5 during installation
UUID=0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0 none            swap    sw              0       0
/dev/sr0        /media/cdrom0   udf,iso9660 user,noauto     0       0
"""
UBUNTU = """\
# /etc/fstab: static file system information.
/dev/disk/by-id/dm-uuid-LVM-abc / ext4 defaults 0 1
/swap.img\tnone\tswap\tsw\t0\t0
"""
RHEL = """\
/dev/mapper/rl-root     /                       xfs     defaults        0 0
/dev/mapper/rl-swap     none                    swap    defaults        0 0
"""
CLOUD = "LABEL=cloudimg-rootfs\t/\t ext4\tdiscard\t0 1\n/dev/vdb none swap sw,pri=5,comment=cloudconfig 0 2"
LABEL = "  LABEL=my\\040swap swap swap defaults 0 0\n//srv/swap /mnt cifs ro 0 0\n/dev/sdb1 /swap ext4 defaults 0 0\n"
CRLF = "UUID=x none swap sw 0 0\r\nUUID=y / ext4 defaults 0 1\r\n"


@pytest.mark.parametrize(
    ("text", "device"),
    [
        (DEBIAN, "UUID=0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"),
        (UBUNTU, "/swap.img"),
        (RHEL, "/dev/mapper/rl-swap"),
        (CLOUD, "/dev/vdb"),
        (LABEL, "LABEL=my\\040swap"),
        (CRLF, "UUID=x"),
    ],
    ids=["debian", "ubuntu", "rhel", "cloud", "label", "crlf"],
)
def test_exactly_the_swap_line_is_commented_and_stays_readable(text: str, device: str) -> None:
    before, after = text.split("\n"), swap.without_swap(text).split("\n")
    different = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert different == [(old, "# " + old) for old in before if old.split()[:1] == [device]]
    assert len(different) == 1
    assert swap.swap_lines(swap.without_swap(text)) == ()
    assert swap.without_swap(swap.without_swap(text)) == swap.without_swap(text)


@pytest.mark.parametrize(
    "text", ["", "\n", "# UUID=x none swap sw 0 0\n", "/dev/vda1 / ext4 defaults 0 1", "swap swap\n"]
)
def test_other_files_stay_as_they_are(text: str) -> None:
    assert swap.without_swap(text) == text


def test_devices_of_proc_swaps() -> None:
    text = "Filename\t\tType\tSize\tUsed\tPriority\n/dev/vda5  partition 1 0 -2\n/my\\040swap\\011file file 1 0 -3\n"
    assert [swap.device_path(name) for name in swap.active_devices(text)] == ["/dev/vda5", "/my swap\tfile"]


def test_bytes_that_are_no_utf8_and_the_mode_survive(host: FakeHost) -> None:
    host.write("/etc/fstab", b"# caf\xe9\nUUID=x none swap sw 0 0\n")
    host.path("/etc/fstab").chmod(0o600)
    host.apply({"swap": "disabled"})
    assert host.path("/etc/fstab").read_bytes() == b"# caf\xe9\n# UUID=x none swap sw 0 0\n"
    assert host.path("/etc/fstab").stat().st_mode & 0o777 == 0o600


def test_a_link_to_fstab_stays_one(host: FakeHost) -> None:
    host.write("/usr/share/fstab", RHEL)
    host.path("/etc/fstab").symlink_to("/usr/share/fstab")
    host.apply({"swap": "disabled"})
    assert host.path("/etc/fstab").is_symlink()
    assert "# /dev/mapper/rl-swap" in host.read("/usr/share/fstab")


def test_swap_that_is_to_be_kept_is_not_touched(host: FakeHost) -> None:
    host.write("/etc/fstab", DEBIAN)
    host.write("/proc/swaps", "Filename Type Size Used Priority\n/dev/vda5 partition 1 0 -2\n")
    before = host.snapshot()
    assert host.apply({"swap": "keep"})["plan"] == []
    assert host.snapshot() == before
    assert host.commands == []


def test_active_swap_is_turned_off_and_named(host: FakeHost) -> None:
    host.write(
        "/proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n/dev/vda5 partition 1 0 -2\n"
    )
    result = host.apply({"swap": "disabled"})
    assert [(change["target"], change["action"]) for change in result["plan"]] == [
        ("/dev/zram0", "off"),
        ("/dev/vda5", "off"),
    ]
    assert [command for command in host.commands if command[0] == "swapoff"] == [
        ("swapoff", "--", "/dev/zram0"),
        ("swapoff", "--", "/dev/vda5"),
    ]
    assert host.apply({"swap": "disabled"})["plan"] == []
