# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files: atomic replacement, durability, owners, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import converge, errors
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.system import System, run_command

from .fake_host import FakeHost


def test_a_file_is_written_beside_synced_and_renamed(host: FakeHost, synced: list[int]) -> None:
    steps: list[str] = []
    host.write("/etc/x", "old")
    synced.clear()
    before = host.path("/etc/x").stat().st_ino
    host.system(steps.append).write_file("/etc/x", b"new", 0o600)
    assert steps == ["write /etc/x", "rename /etc/.x.stagecraft-new to /etc/x"]
    assert len(synced) == 2, "the file, then the directory"
    assert host.path("/etc/x").stat().st_ino != before
    assert host.path("/etc/x").stat().st_mode & 0o777 == 0o600


def test_a_secret_is_never_readable_for_others_on_its_way(host: FakeHost) -> None:
    modes: list[int] = []

    def look(what: str) -> None:
        if what.startswith("rename"):
            modes.append(host.path("/etc/.secret.stagecraft-new").stat().st_mode & 0o777)

    old = os.umask(0)
    try:
        host.system(look).write_file("/etc/secret", b"s3cr3t", 0o600)
    finally:
        os.umask(old)
    assert modes == [0o600]


def test_a_planted_temporary_file_is_not_written_through(host: FakeHost) -> None:
    host.write("/etc/passwd", "root")
    host.path("/etc/.x.stagecraft-new").symlink_to(host.path("/etc/passwd"))
    host.system().write_file("/etc/x", b"x")
    assert host.read("/etc/passwd") == "root"


def test_missing_directories_are_made(host: FakeHost) -> None:
    host.apply({"files": [{"path": "/srv/a/b/c", "content": "x"}], "links": [{"path": "/srv/l/m", "target": "../a"}]})
    assert host.read("/srv/a/b/c") == "x"
    assert os.readlink(host.path("/srv/l/m")) == "../a"


@pytest.mark.parametrize("there", ["file", "dangling", "other"])
def test_a_link_replaces_a_file_or_another_link(host: FakeHost, there: str) -> None:
    path = host.path("/usr/local/bin/tool")
    path.parent.mkdir(parents=True)
    if there == "file":
        path.write_text("by hand")
    else:
        path.symlink_to("/nowhere" if there == "dangling" else "/etc")
    result = host.apply({"links": [{"path": "/usr/local/bin/tool", "target": "/opt/tool"}]})
    assert result["plan"][0]["action"] == "switch"
    assert os.readlink(path) == "/opt/tool"


def test_a_file_replaces_a_link_and_not_its_target(host: FakeHost) -> None:
    host.write("/etc/target", "theirs")
    host.path("/etc/x").symlink_to("target")
    host.apply({"files": [{"path": "/etc/x", "content": "ours"}]})
    assert host.read("/etc/target") == "theirs"
    assert not host.path("/etc/x").is_symlink()


def test_a_directory_may_be_a_link_to_one(host: FakeHost) -> None:
    host.path("/srv/real").mkdir(parents=True, mode=0o755)
    host.path("/srv/link").symlink_to("real")
    assert host.apply({"directories": [{"path": "/srv/link", "mode": "0755"}]})["plan"] == []


def test_everything_in_the_way_is_told_at_once_and_nothing_is_changed(host: FakeHost) -> None:
    host.write("/a", "file")
    for name in ("/b", "/c"):
        host.path(name).mkdir()
    before = host.snapshot()
    state = {
        "directories": [{"path": "/a"}, {"path": "/new"}],
        "files": [{"path": "/b", "content": "x"}],
        "links": [{"path": "/c", "target": "x"}],
    }
    for check in (True, False):
        with pytest.raises(errors.ProblemsError) as caught:
            host.apply(state, check=check)
        assert [problem.split(",")[0] for problem in caught.value.problems] == [
            "/a must be a directory",
            "/b must be a file",
            "/c must be a link",
        ]
    assert host.snapshot() == before


def test_an_unknown_owner_is_refused_unless_a_package_may_bring_it(host: FakeHost) -> None:
    state = {"files": [{"path": "/etc/x", "content": "x", "owner": "_chrony"}]}
    with pytest.raises(errors.ProblemsError, match="/etc/x: there is no user '_chrony' on this host"):
        host.apply(state)
    assert host.apply({**state, "packages": ["chrony"]}, check=True)["unmet"] == []


def test_mode_only(host: FakeHost) -> None:
    host.write("/etc/x", "x")
    host.path("/etc/x").chmod(0o600)
    result = host.apply({"files": [{"path": "/etc/x", "content": "x", "mode": "0640"}]})
    assert "0600" in result["plan"][0]["before"]
    assert "content differs" not in result["plan"][0]["after"]
    assert result["diff"][0]["before"].endswith("0600\n")
    assert host.path("/etc/x").stat().st_mode & 0o777 == 0o640


def test_diff_shows_contents_but_not_secrets(host: FakeHost) -> None:
    host.write("/etc/x", "old\n")
    host.write("/etc/s", "old-s3cr3t\n")
    files = [
        {"path": "/etc/x", "content": "new\n"},
        {"path": "/etc/s", "content": "new-s3cr3t\n", "sensitive": True},
        {"path": "/etc/gone-s", "content": "new-s3cr3t\n", "sensitive": True},
    ]
    diff = host.apply({"files": files}, check=True)["diff"]
    assert (diff[0]["before"], diff[0]["after"]) == ("old\n", "new\n")
    assert "s3cr3t" not in repr(diff)


def test_only_one_run_at_a_time(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converge, "LOCK_SECONDS", 0.0)
    with (
        converge.exclusive(host.system()),
        pytest.raises(errors.HostStateError, match="another run has been changing this host"),
        converge.exclusive(host.system()),
    ):
        raise AssertionError("two at a time")
    with converge.exclusive(host.system()):
        pass


def test_links_are_resolved_within_the_root(host: FakeHost) -> None:
    host.write("/opt/real/tool", "x")
    host.path("/opt/current").symlink_to("/opt/real")
    host.path("/opt/loop").symlink_to("/opt/loop")
    system = host.system()
    assert system.resolve("/opt/current/tool") == "/opt/real/tool"
    assert system.resolve("/opt/current/../real/./tool") == "/opt/real/tool"
    assert system.resolve("/opt/current/missing") == "/opt/real/missing"
    assert system.resolve("/opt/loop").startswith("/opt/loop")


def test_commands_of_the_real_runner(tmp_path: Path) -> None:
    done = run_command(["sh", "-c", "echo out $X $LC_ALL; echo err >&2; exit 3"], {"X": "1"}, 10)
    assert (done.rc, done.stdout, done.stderr) == (3, "out 1 C\n", "err\n")
    assert done.output == "out 1 C\nerr"
    assert run_command(["/no/such/program"], {}, 10).rc == 127
    slow = run_command(["sleep", "9"], {}, 0.05)
    assert slow.rc == 124
    assert "no end after" in slow.stderr


def test_a_copy_to_another_file_system_is_as_durable(host: FakeHost, synced: list[int]) -> None:
    host.write("/a", "content")
    synced.clear()
    host.system().copy_file("/a", "/b", 0o755)
    assert host.read("/b") == "content"
    assert host.path("/b").stat().st_mode & 0o777 == 0o755
    assert len(synced) == 2


def test_the_root_is_the_hosts_own_by_default() -> None:
    system = System()
    assert system.path("/etc") == "/etc"
    assert system.existing_parent("/no/such/place") == "/"
    assert system.uid("0") == 0
    assert system.uid("no-such-user") is None
    assert system.gid("no-such-group") is None
