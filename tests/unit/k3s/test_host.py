# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on a host: the journal and what is judged from it, secrets, nodes, snapshots, and a host that is bare again."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s import (
    member,
    node,
    observe,
    reset,
    snapshot,
    snapshots,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import (
    AGENT_TOKEN_FILE,
    DATA,
    SERVER_TOKEN,
    TOKEN_FILE,
    Completed,
    Host,
    NodeError,
    read_json,
    write_file,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.api import CORDONED
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import begin, finish

ENTRY = {"environment": "staging", "role": "server", "version": "v1.36.3+k3s1", "server": ""}
HASH = "a" * 64


class FakeHost(Host):
    """A host below a directory whose programs are recorded and answered by ``answers`` (first words → outcome)."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        object.__setattr__(self, "calls", [])
        object.__setattr__(self, "answers", {})

    calls: list[list[str]]
    answers: dict[str, Any]

    def run(self, argv: Any, timeout: float = 60.0, input_text: str | None = None) -> Completed:
        self.calls.append(list(argv))
        for start, answer in self.answers.items():
            if " ".join(argv).startswith(start):
                done: Completed = answer(argv) if callable(answer) else answer
                return done
        return Completed(0, "", "")

    def called(self, *words: str) -> bool:
        return any(all(word in call for word in words) for call in self.calls)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def put(host: Host, path: str, text: str = "x") -> None:
    write_file(host.path(path), text.encode())


# -- the journal


@pytest.mark.parametrize(
    ("begun", "entry", "traces", "wanted"),
    [
        (None, None, [], "absent"),
        (None, None, ["a"], "foreign"),
        ({}, None, [], "interrupted"),
        ({}, {}, ["a", "b"], "interrupted"),
        (None, {}, ["a", "b"], "member"),
        (None, {}, ["a"], "damaged"),
    ],
)
def test_membership_follows_from_the_journal_and_the_traces(
    begun: Any, entry: Any, traces: list[str], wanted: str
) -> None:
    assert observe.membership(begun, entry, traces, ("a", "b")) == wanted


def test_a_host_is_a_node_only_between_finish_and_the_next_beginning(host: FakeHost) -> None:
    begin(host.state, ENTRY)
    assert read_json(host.state / "member.json") is None
    finish(host.state, ENTRY)
    assert read_json(host.state / "begun.json") is None
    assert read_json(host.state / "member.json") == ENTRY


def test_a_torn_journal_counts_as_none(host: FakeHost) -> None:
    put(host, "/var/lib/stagecraft/k3s/member.json", '{"role": "ser')
    assert read_json(host.state / "member.json") is None


# -- versions and datastores


def test_the_running_version_is_asked_of_the_program_in_memory(host: FakeHost) -> None:
    (host.path("/proc/7")).mkdir(parents=True)
    os.symlink("/var/lib/rancher/k3s/data/d/bin/k3s", str(host.path("/proc/7/exe")))
    host.answers["/proc/7/exe --version"] = Completed(0, "k3s version v1.35.8+k3s1 (abc)\ngo version go1.26.1\n", "")
    assert observe.running_version(host, 7) == "v1.35.8+k3s1"
    assert observe.running_version(host, 0) == ""


def test_a_process_that_is_not_yet_its_program_has_no_version(host: FakeHost) -> None:
    host.path("/proc/7").mkdir(parents=True)
    os.symlink("/usr/lib/systemd/systemd-executor", str(host.path("/proc/7/exe")))
    assert observe.running_version(host, 7) == ""


def test_the_installed_version_is_read_from_the_link(host: FakeHost) -> None:
    host.path("/usr/local/bin").mkdir(parents=True)
    os.symlink("/opt/stagecraft/k3s/v1.36.3+k3s1/k3s", str(host.path("/usr/local/bin/k3s")))
    assert observe.installed_version(host) == "v1.36.3+k3s1"
    assert host.calls == []


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ([], ""),
        (["/server/db/state.db"], "sqlite"),
        (["/server/db/etcd/member/x", "/server/db/state.db.migrated"], "etcd"),
        (["/server/tls/server-ca.key"], "external"),
        # a restore was killed: K3s had renamed what there was, or had begun to make it anew
        (["/server/tls/server-ca.key", "/server/db/etcd-old-1790000000/member/x"], "etcd"),
        (["/server/tls/server-ca.key", "/server/db/etcd/name"], "etcd"),
        (["/server/tls/server-ca.key", "/server/db/state.db", "/server/db/etcd/name"], "sqlite"),
    ],
)
def test_the_datastore_is_told_from_its_files(host: FakeHost, files: list[str], wanted: str) -> None:
    for file in files:
        put(host, DATA + file)
    assert observe.datastore(host) == wanted


# -- tokens


@pytest.mark.parametrize(
    ("token", "password"),
    [
        ("abc", "abc"),
        (f"K10{HASH}::server:abc\n", "abc"),
        ("server:abc", "abc"),
        (f"K10{HASH}::node:a:b", "a:b"),
        ("a:b", "a:b"),
    ],
)
def test_the_password_of_every_form_of_a_token(token: str, password: str) -> None:
    assert observe.password_of(token) == password


def test_a_token_fits_where_there_is_nothing_to_compare(host: FakeHost) -> None:
    assert observe.token_fits(host, "abc")
    put(host, SERVER_TOKEN, f"K10{HASH}::server:abc\n")
    assert observe.token_fits(host, "abc")
    assert observe.token_fits(host, "")
    assert not observe.token_fits(host, "other")


def test_the_server_that_makes_a_cluster_gets_a_token_for_agents_of_its_own(host: FakeHost) -> None:
    member.prepare(host, ENTRY, {})
    made = host.path(AGENT_TOKEN_FILE)
    first = made.read_text()
    assert len(first.strip()) == 64
    assert made.stat().st_mode & 0o777 == 0o600
    assert not host.path(TOKEN_FILE).exists()
    member.prepare(host, ENTRY, {})
    assert made.read_text() == first


def test_a_newcomer_gets_what_it_joins_by_and_an_agent_no_more(host: FakeHost) -> None:
    member.prepare(host, {**ENTRY, "role": "agent"}, {"token": "secret"})
    assert host.path(TOKEN_FILE).read_text() == "secret\n"
    assert host.path(TOKEN_FILE).stat().st_mode & 0o777 == 0o600
    assert not host.path(AGENT_TOKEN_FILE).exists()


def test_secrets_of_a_server_that_is_none_are_refused(host: FakeHost) -> None:
    with pytest.raises(NodeError, match="nobody can join by it"):
        member.cluster_secrets(host)
    put(host, SERVER_TOKEN, f"K10{HASH}::server:abc\n")
    put(host, AGENT_TOKEN_FILE, "agents\n")
    assert member.cluster_secrets(host) == {"token": f"K10{HASH}::server:abc", "agent_token": "agents"}


# -- waiting


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "no node s1"),
        ({"ready": False, "kubelet_version": "1.36.3+k3s1", "voter": None}, "not Ready"),
        ({"ready": True, "kubelet_version": "1.35.8+k3s1", "voter": None}, "runs v1.35.8+k3s1"),
        ({"ready": True, "kubelet_version": "1.36.3+k3s1", "voter": False}, "no vote yet"),
        ({"ready": True, "kubelet_version": "1.36.3+k3s1", "voter": True}, ""),
        ({"ready": True, "kubelet_version": "1.36.3+k3s1", "voter": None}, ""),
    ],
)
def test_a_node_is_ready_when_version_readiness_and_vote_are_right(found: Any, words: str) -> None:
    problem = member.node_problem(found, "s1", "v1.36.3+k3s1")
    assert words in problem
    assert bool(problem) is bool(words)


def test_waiting_ends_with_what_does_not_hold_and_the_log(host: FakeHost) -> None:
    host.answers["systemctl show"] = Completed(0, "ActiveState=activating\nMainPID=0\n", "")
    host.answers["journalctl"] = Completed(0, 'time="x" level=fatal msg="token"\nkubelet: noise\n', "")
    with pytest.raises(NodeError, match="activating, not active") as told:
        member.wait(host, "server", "s1", "v1.36.3+k3s1", 6443, 0.0)
    assert 'msg="token"' in str(told.value)
    assert "noise" not in str(told.value)


# -- nodes


def shown(*, unschedulable: bool = False, marked: bool = False) -> Completed:
    annotations = {CORDONED: "true"} if marked else {}
    text = {"metadata": {"name": "a1", "annotations": annotations}, "spec": {"unschedulable": unschedulable}}
    return Completed(0, json.dumps(text), "")


GET = " ".join([*node.KUBECTL, "get node a1"])
DRAIN = " ".join([*node.KUBECTL[:-1], "drain a1"])


def test_a_node_is_marked_before_it_is_cordoned_and_given_back_by_the_mark(host: FakeHost) -> None:
    host.answers[GET] = shown()
    assert node.drain(host, "a1", 60)
    verbs = [call[5] if call[4].startswith("--request") else call[4] for call in host.calls]
    assert verbs == ["get", "annotate", "drain"]
    host.answers[GET] = shown(unschedulable=True, marked=True)
    assert node.uncordon(host, "a1")
    assert host.called("uncordon")


def test_a_node_that_somebody_else_cordoned_stays_cordoned(host: FakeHost) -> None:
    host.answers[GET] = shown(unschedulable=True)
    assert not node.drain(host, "a1", 60)
    assert not node.uncordon(host, "a1")
    assert not host.called("annotate")
    assert not host.called("uncordon")


def test_a_drain_that_fails_gives_the_node_back_and_says_how_to_go_on(host: FakeHost) -> None:
    answers = [shown(), shown(unschedulable=True, marked=True)]
    host.answers[GET] = lambda _argv: answers.pop(0)
    host.answers[DRAIN] = Completed(1, "", "error: a budget forbids it")
    with pytest.raises(NodeError, match="takes new pods again") as told:
        node.drain(host, "a1", 60)
    assert "a budget forbids it" in str(told.value)
    assert host.called("uncordon")


def test_forgetting_removes_the_node_and_waits_for_its_password(host: FakeHost) -> None:
    host.answers[GET] = shown()
    assert node.forget(host, "a1") == ["node a1"]
    assert host.called("delete", "node", "a1")
    assert host.called("secret", "a1.node-password.k3s")


def test_forgetting_a_node_that_is_not_there_changes_nothing(host: FakeHost) -> None:
    assert node.forget(host, "a1") == []
    assert not host.called("delete")


# -- snapshots


def test_etcd_is_saved_while_it_runs_under_the_name_of_the_version(host: FakeHost) -> None:
    put(host, DATA + "/server/db/etcd/member/x")

    def saved(_argv: list[str]) -> Completed:
        put(host, DATA + "/server/db/snapshots/stagecraft-v1.35.8-k3s1-s1-17")
        return Completed(0, "Snapshot saved.", "")

    host.answers["/usr/local/bin/k3s etcd-snapshot save --name stagecraft-v1.35.8-k3s1"] = saved
    assert snapshot.save(host, "v1.35.8+k3s1", 60) == "stagecraft-v1.35.8-k3s1-s1-17"
    assert not host.called("systemctl", "stop")
    assert snapshots.listed(host)[0]["version"] == "v1.35.8+k3s1"


def test_a_snapshot_that_was_not_made_is_an_error_whatever_the_program_says(host: FakeHost) -> None:
    put(host, DATA + "/server/db/etcd/member/x")
    with pytest.raises(NodeError, match="there is none"):
        snapshot.save(host, "v1.35.8+k3s1", 60)


OLD_PROGRAM = Completed(0, "k3s version v1.35.8+k3s1 (x)", "")
NAME = "stagecraft-v1.35.8-k3s1-s1-17"
FILE = f"{DATA}/server/db/snapshots/{NAME}"


def of_etcd(host: Host, path: str = FILE, content: bytes = b"x" * 1024) -> bytes:
    """A snapshot as etcd writes it: pages, and the digest of them at its end."""
    put(host, SERVER_TOKEN, f"K10{HASH}::server:abc\n")
    whole = content + hashlib.sha256(content).digest()
    write_file(host.path(path), whole)
    return whole


def of_sqlite(host: FakeHost) -> str:
    """A saved SQLite, and what came after it."""
    put(host, SERVER_TOKEN, f"K10{HASH}::server:abc\n")
    put(host, DATA + "/server/db/state.db", "before")
    name = snapshot.save(host, "v1.35.8+k3s1", 60)
    put(host, DATA + "/server/db/state.db", "after")
    put(host, DATA + "/server/db/state.db-wal", "newer")
    put(host, DATA + "/server/db/snapshots/by-hand-s1-1", "of etcd")
    host.answers["/usr/local/bin/k3s --version"] = OLD_PROGRAM
    return name


def test_sqlite_is_copied_whole_while_k3s_is_stopped_and_comes_back_whole(host: FakeHost) -> None:
    name = of_sqlite(host)
    assert host.called("systemctl", "stop", "k3s.service")
    snapshot.restore(host, name, "v1.35.8+k3s1", 60)
    assert host.called("systemctl", "disable", "--now", "k3s.service")
    assert host.read_text(DATA + "/server/db/state.db") == "before"
    assert not host.exists(DATA + "/server/db/state.db-wal")
    assert {entry["name"] for entry in snapshots.listed(host)} == {name, "by-hand-s1-1"}
    assert {entry.name for entry in host.path(DATA + "/server").iterdir()} == {"db", "stagecraft-snapshots", "token"}


class Killed(BaseException):
    """What no handler of the code under test catches."""


@pytest.mark.parametrize("call", range(1, 12))
def test_a_restore_of_sqlite_that_is_killed_at_any_step_is_done_again(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Also the look that comes before it must still see SQLite, and not a datastore that is somewhere else."""
    name = of_sqlite(host)
    put(host, DATA + "/server/tls/server-ca.key")
    steps = [
        (shutil, "copytree"),
        (shutil, "rmtree"),
        (os, "replace"),
        (os, "sync"),
        (os, "chmod"),
    ]
    seen = 0
    for module, function in steps:
        plain = getattr(module, function)

        def stepping(*args: Any, plain: Any = plain, **more: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == call:
                raise Killed
            return plain(*args, **more)

        monkeypatch.setattr(module, function, stepping)
    with pytest.raises(Killed):
        snapshot.restore(host, name, "v1.35.8+k3s1", 60)
    monkeypatch.undo()
    assert observe.datastore(host) == "sqlite"
    snapshot.restore(host, name, "v1.35.8+k3s1", 60)
    assert host.read_text(DATA + "/server/db/state.db") == "before"
    assert not host.exists(DATA + "/server/db/state.db-wal")
    assert host.read_text(DATA + "/server/db/snapshots/by-hand-s1-1") == "of etcd"
    assert not host.exists(observe.RESTORED)
    assert not host.exists(observe.BEFORE)


STAYS = "K3s stays stopped and disabled on all servers; put this right and run again"


@pytest.mark.parametrize(
    ("module", "function", "error"),
    [
        (shutil, "copytree", shutil.Error([("state.db", "there", os.strerror(errno.ENOSPC))])),
        (os, "replace", OSError(errno.EBUSY, os.strerror(errno.EBUSY), "db")),
    ],
)
def test_a_copy_that_cannot_be_put_back_is_told_with_what_is_to_be_done(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, module: Any, function: str, error: OSError
) -> None:
    name = of_sqlite(host)

    def fails(*_args: Any, **_more: Any) -> None:
        raise error

    monkeypatch.setattr(module, function, fails)
    with pytest.raises(NodeError, match="could not be put into") as told:
        snapshot.restore(host, name, "v1.35.8+k3s1", 60)
    assert STAYS in str(told.value)
    assert str(error.strerror or os.strerror(errno.ENOSPC)) in str(told.value)
    assert host.read_text(DATA + "/server/db/state.db") == "after"


@pytest.mark.parametrize("place", [DATA + "/server/db", observe.BEFORE])
def test_snapshots_on_a_file_system_of_their_own_do_not_go_with_what_is_given_up(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    put(host, DATA + "/server/db/snapshots/earlier", "of etcd")
    name = of_sqlite(host)
    put(host, place + "/snapshots/mounted", "of etcd")
    point = str(host.path(place + "/snapshots"))
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == point)
    with pytest.raises(NodeError, match="a mount point is in the way, unmount it first") as told:
        snapshot.restore(host, name, "v1.35.8+k3s1", 60)
    assert STAYS in str(told.value)
    assert host.read_text(place + "/snapshots/mounted") == "of etcd"
    assert host.read_text(DATA + "/server/db/state.db") == "after"


def test_k3s_starts_again_where_its_database_cannot_be_copied(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    put(host, DATA + "/server/db/state.db")

    def full(*_args: Any, **_more: Any) -> None:
        raise shutil.Error([("state.db", "there", os.strerror(errno.ENOSPC))])

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(NodeError, match=r"could not be copied.*No space left.*started again"):
        snapshot.save(host, "v1.35.8+k3s1", 60)
    assert host.calls[-1] == ["systemctl", "start", "--no-block", "k3s.service"]
    assert snapshots.listed(host) == []


def test_the_wrong_program_restores_nothing(host: FakeHost) -> None:
    of_etcd(host)
    host.answers["/usr/local/bin/k3s --version"] = Completed(0, "k3s version v1.36.3+k3s1 (x)", "")
    with pytest.raises(NodeError, match="nothing was restored"):
        snapshot.restore(host, NAME, "v1.35.8+k3s1", 60)
    assert not host.called("systemctl", "disable")
    with pytest.raises(NodeError, match=r"no snapshot 'x' on this server; there are stagecraft-v1\.35\.8-k3s1-s1-17"):
        snapshot.restore(host, "x", "v1.35.8+k3s1", 60)


def test_etcd_goes_back_by_the_program_on_disk_with_k3s_stopped_for_good(host: FakeHost) -> None:
    of_etcd(host)
    put(host, DATA + "/server/db/reset-flag")
    host.answers["/usr/local/bin/k3s --version"] = OLD_PROGRAM
    snapshot.restore(host, NAME, "v1.35.8+k3s1", 60)
    reset = ["/usr/local/bin/k3s", "server", "--cluster-reset", f"--cluster-reset-restore-path={host.path(FILE)}"]
    reset.append("--etcd-s3=false")
    assert host.calls.index(["systemctl", "disable", "--now", "k3s.service"]) < host.calls.index(reset)
    assert not host.exists(DATA + "/server/db/reset-flag")
    host.answers["/usr/local/bin/k3s server --cluster-reset"] = Completed(1, "", "no such member")
    with pytest.raises(NodeError, match="ended with 1: no such member") as told:
        snapshot.restore(host, NAME, "v1.35.8+k3s1", 60)
    assert STAYS in str(told.value)


def test_what_is_wrong_with_a_snapshot_is_told_before_anything_is_stopped(host: FakeHost) -> None:
    whole = of_etcd(host)
    assert snapshot.verify(host, NAME) == host.path(FILE)
    archive, other = FILE + ".zip", f"{snapshots.COPIES}/stagecraft-v1.35.8-k3s1-1"
    with zipfile.ZipFile(str(host.path(archive)), "w") as target:
        target.writestr(NAME, whole)
    assert snapshot.verify(host, NAME + ".zip") == host.path(archive)
    put(host, other + "/state.db")
    assert snapshot.verify(host, "stagecraft-v1.35.8-k3s1-1") == host.path(other)
    host.path(other + "/state.db").unlink()
    for path, content, words in (
        (FILE, whole[:-1], "is incomplete: it has 1055 bytes"),
        (FILE, b"y" + whole[1:], "is damaged: its content"),
        (FILE, b"", "is incomplete: it has 0 bytes"),
        (archive, host.path(archive).read_bytes()[:200], "is no readable archive"),
        (archive, host.path(archive).read_bytes().replace(b"xxx", b"xyx", 1), "is damaged in"),
        (other + "/note", b"", r"holds no state\.db"),
    ):
        kept = host.path(path).read_bytes() if host.exists(path) else b""
        write_file(host.path(path), content)
        name = "stagecraft-v1.35.8-k3s1-1" if path.startswith(other) else path.rpartition("/")[2]
        with pytest.raises(NodeError, match=words) as told:
            snapshot.verify(host, name)
        assert "nothing was stopped or restored" in str(told.value)
        write_file(host.path(path), kept)
    host.path(SERVER_TOKEN).unlink()
    with pytest.raises(NodeError, match="opens the snapshot's keys with it"):
        snapshot.verify(host, NAME)
    assert host.calls == []


def test_a_server_that_does_not_stop_is_told(host: FakeHost) -> None:
    host.answers["systemctl show"] = Completed(0, "ActiveState=active\nMainPID=7\n", "")
    with pytest.raises(NodeError, match="could not be stopped"):
        snapshot.stop(host, 60)
    host.answers["systemctl show"] = Completed(0, "ActiveState=inactive\nMainPID=0\n", "")
    assert not snapshot.stop(host, 60)


@pytest.mark.parametrize(
    ("recorded", "installed", "wanted"),
    [
        ("v1.35.8+k3s1", "v1.36.3+k3s1", "v1.36.3+k3s1"),
        ("v1.35.8+k3s1", "v1.35.10+k3s1", "v1.35.10+k3s1"),
        ("v1.35.8+k3s1", "v1.35.8+k3s2", "v1.35.8+k3s2"),
        # the second time, the older program is on disk already
        ("v1.36.3+k3s1", "v1.35.8+k3s1", "v1.36.3+k3s1"),
        ("v1.35.8+k3s1", "", "v1.35.8+k3s1"),
    ],
)
def test_a_newer_version_that_failed_is_in_the_journal_before_the_older_program_takes_its_place(
    host: FakeHost, recorded: str, installed: str, wanted: str
) -> None:
    finish(host.state, {**ENTRY, "version": recorded})
    host.path("/usr/local/bin").mkdir(parents=True)
    if installed:
        os.symlink(f"/opt/stagecraft/k3s/{installed}/k3s", str(host.path("/usr/local/bin/k3s")))
    snapshot.stop(host, 60)
    assert read_json(host.state / "member.json") == {**ENTRY, "version": wanted}


def test_the_newest_snapshots_of_each_version_are_kept_and_all_others(host: FakeHost) -> None:
    put(host, DATA + "/server/db/state.db")
    put(host, DATA + "/server/db/snapshots/etcd-snapshot-s1-1")
    for number, version in enumerate(["v1.35.8"] * 5 + ["v1.36.3"] * 4):
        path = f"{snapshots.COPIES}/stagecraft-{version}-k3s1-{number}"
        put(host, path + "/state.db")
        os.utime(host.path(path), (number, number))
    snapshot._tidy(host)
    names = {entry["name"] for entry in snapshots.listed(host)}
    assert names == {
        "etcd-snapshot-s1-1",
        *(f"stagecraft-v1.35.8-k3s1-{n}" for n in (2, 3, 4)),
        *(f"stagecraft-v1.36.3-k3s1-{n}" for n in (6, 7, 8)),
    }


def test_the_age_of_our_snapshots_is_told_by_their_names(host: FakeHost) -> None:
    """A copy of SQLite has the time of the directory that was copied, which may be years before."""
    copies = [f"{snapshots.COPIES}/stagecraft-v1.35.8-k3s1-{time}" for time in (1790000001, 1790000003, 1790000005)]
    for number, path in enumerate(copies):
        put(host, path + "/state.db")
        os.utime(host.path(path), (100 - number, 100 - number))
    of_others = {"stagecraft-v1.35.8-k3s1-s1-1790000002.zip": 7, "by-hand-s1-1": 1790000004}
    for name, time in of_others.items():
        put(host, f"{DATA}/server/db/snapshots/{name}")
        os.utime(host.path(f"{DATA}/server/db/snapshots/{name}"), (time, time))
    assert [entry["name"].rpartition("-")[2] for entry in snapshots.listed(host)] == [
        "1790000001",
        "1790000002.zip",
        "1790000003",
        "1",
        "1790000005",
    ]


# -- a bare host again


def test_reset_leaves_nothing_and_takes_the_journal_last(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(host.state, ENTRY)
    for path in (
        DATA + "/server/token",
        "/etc/rancher/k3s/config.yaml",
        "/etc/rancher/node/password",
        "/var/lib/kubelet/x",
    ):
        put(host, path)
    host.path("/usr/local/bin").mkdir(parents=True)
    os.symlink("/opt/stagecraft/k3s/v1.36.3+k3s1/k3s", str(host.path("/usr/local/bin/k3s")))
    os.symlink("/usr/bin/kubectl", str(host.path("/usr/local/bin/kubectl")))
    host.path("/proc").mkdir()
    host.answers["iptables-save"] = Completed(
        0, "*filter\n:KUBE-FORWARD - [0:0]\n-A INPUT -s 10.0.0.1 -j ACCEPT\nCOMMIT\n", ""
    )
    restored: list[str | None] = []
    plain = FakeHost.run

    def run(self: FakeHost, argv: Any, timeout: float = 60.0, input_text: str | None = None) -> Completed:
        if argv[0] == "iptables-restore":
            restored.append(input_text)
        return plain(self, argv, timeout, input_text)

    monkeypatch.setattr(FakeHost, "run", run)
    removed = reset.reset(host, 60)
    assert DATA in removed
    assert not host.exists("/etc/rancher")
    assert not host.exists(DATA)
    assert not host.path("/usr/local/bin/k3s").is_symlink()
    assert host.path("/usr/local/bin/kubectl").is_symlink()
    assert restored == ["*filter\n-A INPUT -s 10.0.0.1 -j ACCEPT\nCOMMIT\n"]
    assert not list(host.state.iterdir())


@pytest.mark.parametrize("step", ["disable", "umount", "ip", "iptables-save", "daemon-reload"])
def test_a_reset_that_is_killed_at_any_step_is_done_again(host: FakeHost, step: str) -> None:
    finish(host.state, ENTRY)
    put(host, DATA + "/server/token")
    put(host, "/proc/self/mounts", "tmpfs /run/k3s/x tmpfs rw 0 0\n")

    class Killed(BaseException):
        pass

    def kill(_argv: list[str]) -> Completed:
        raise Killed

    key = {"disable": "systemctl disable", "daemon-reload": "systemctl daemon-reload"}.get(step, step)
    host.answers[key] = kill
    with pytest.raises(Killed):
        reset.reset(host, 60)
    assert read_json(host.state / "member.json") is not None
    del host.answers[key]
    reset.reset(host, 60)
    assert not list(host.state.iterdir())
    assert not host.exists(DATA)


def test_a_reset_that_is_killed_among_the_data_leaves_no_member(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is still there: a server without its database would else be told as one whose database is outside."""
    finish(host.state, ENTRY)
    for path in ("/agent/kubelet.kubeconfig", "/server/tls/server-ca.crt", "/server/tls/server-ca.key", "/server/db/x"):
        put(host, DATA + path)
    host.path("/proc").mkdir()
    assert observe.observe(host, "server", "127.0.0.1", 6443)["membership"] == "member"

    class Killed(BaseException):
        pass

    def kill(_directory: Path) -> bool:
        shutil.rmtree(host.path(DATA + "/server/db"))
        raise Killed

    with monkeypatch.context() as once:
        once.setattr(reset, "empty", kill)
        with pytest.raises(Killed):
            reset.reset(host, 60)
    assert observe.observe(host, "server", "127.0.0.1", 6443)["membership"] == "damaged"
    reset.reset(host, 60)
    assert observe.observe(host, "server", "127.0.0.1", 6443)["membership"] == "absent"


def test_mounts_of_pods_are_taken_off_deepest_first_and_others_stay(host: FakeHost) -> None:
    put(
        host,
        "/proc/self/mounts",
        "a /run/k3s/one x rw 0 0\na /run/k3s/one/two x rw 0 0\na /home x rw 0 0\na /var/lib/kubelet x rw 0 0\n"
        "a /var/lib/kubelet/pods/p/with\\040space x rw 0 0\na /run/netns/cni-1 x rw 0 0\n",
    )
    reset._unmount(host)
    points = [call[-1] for call in host.calls if call[0] == "umount"]
    assert points == ["/var/lib/kubelet/pods/p/with space", "/run/netns/cni-1", "/run/k3s/one/two", "/run/k3s/one"]
