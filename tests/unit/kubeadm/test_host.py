# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on the host: the journal, what is judged from it, and what a cut-short run leaves behind."""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm import (
    converge,
    initialize,
    join,
    node,
    observe,
    reset,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.api import LocalApi
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import (
    Completed,
    Host,
    KubeadmError,
    read_json,
    remove_file,
    write_file,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.node import inspect
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import begin

MEMBER = {"environment": "production", "role": "control_plane", "kubernetes_version": "1.36.3", "settings_digest": "d1"}


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


class FakeApi(LocalApi):
    """The API server of a host that has none: counts what it was asked."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, "127.0.0.1", 0)
        self.removals = 0

    def remove_bootstrap_tokens(self) -> int:
        self.removals += 1
        return 1


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


@pytest.mark.parametrize(
    ("begun", "member", "traces", "expected"),
    [
        (None, None, [], "absent"),
        (None, None, ["/etc/kubernetes/admin.conf"], "foreign"),
        ({}, None, [], "interrupted"),
        ({}, {}, ["/etc/kubernetes/kubelet.conf"], "interrupted"),
        (None, {}, ["/etc/kubernetes/kubelet.conf"], "member"),
        (None, {}, [], "damaged"),
    ],
)
def test_membership(begun: Any, member: Any, traces: list[str], expected: str) -> None:
    assert observe.membership(begun, member, traces) == expected


def test_a_finished_initialization_is_a_member(host: FakeHost) -> None:
    write_file(host.kubernetes / "kubelet.conf", b"")
    api = FakeApi(host)
    initialize.initialize(host, MEMBER, api, encrypt=False, timeout=1)
    assert api.removals == 1, "kubeadm's own token is left"
    assert read_json(host.state / "member.json") == MEMBER
    assert read_json(host.state / "begun.json") is None


def test_a_failed_initialization_is_interrupted_and_says_why(host: FakeHost) -> None:
    host.answers["kubeadm init"] = Completed(1, "", "[ERROR Port-6443]: Port 6443 is in use")
    with pytest.raises(KubeadmError, match="Port 6443 is in use"):
        initialize.initialize(host, MEMBER, FakeApi(host), encrypt=False, timeout=1)
    assert read_json(host.state / "member.json") is None
    assert (read_json(host.state / "begun.json") or {})["verb"] == "init"


def test_power_lost_during_initialization_leaves_it_begun(host: FakeHost) -> None:
    def cut(_argv: Any) -> Completed:
        raise KeyboardInterrupt

    host.answers["kubeadm init"] = cut
    with pytest.raises(KeyboardInterrupt):
        initialize.initialize(host, MEMBER, FakeApi(host), encrypt=True, timeout=1)
    assert observe.membership(read_json(host.state / "begun.json"), None, []) == "interrupted"


def test_power_lost_between_the_two_journal_entries_counts_as_interrupted(host: FakeHost) -> None:
    begin(host.state, {"verb": "init", "environment": "production"})
    write_file(host.state / "member.json", json.dumps(MEMBER).encode())
    entries = read_json(host.state / "begun.json"), read_json(host.state / "member.json")
    assert observe.membership(*entries, ["/etc/kubernetes/kubelet.conf"]) == "interrupted"


def test_a_torn_journal_entry_is_none(host: FakeHost) -> None:
    host.state.mkdir(parents=True)
    (host.state / "member.json").write_text('{"environment": "prod')
    assert read_json(host.state / "member.json") is None


def test_the_encryption_key_is_made_once_and_readable_by_root_only(host: FakeHost) -> None:
    initialize.ensure_encryption_key(host)
    path = host.path(observe.ENCRYPTION_FILE)
    first = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    initialize.ensure_encryption_key(host)
    assert path.read_text() == first


def test_a_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        initialize.encryption_configuration(b"short")


def test_the_token_lies_on_the_host_during_the_join_only(host: FakeHost) -> None:
    seen: dict[str, Any] = {}

    def run(argv: Any) -> Completed:
        seen["argv"] = argv
        seen["mode"] = host.path(join.JOIN_FILE).stat().st_mode & 0o777
        seen["text"] = host.path(join.JOIN_FILE).read_text()
        return Completed(0, "joined", "")

    host.answers["kubeadm join"] = run
    token = "abcdef.0123456789abcdef"
    join.join(host, MEMBER, {"discovery": {"tlsBootstrapToken": token}}, "CA", "127.0.0.1:7443", None, 1)
    assert token in seen["text"]
    assert seen["mode"] == 0o600
    assert token not in " ".join(seen["argv"])
    assert not host.path(join.JOIN_FILE).exists()
    assert not host.path(join.DISCOVERY_FILE).exists()


def test_a_failed_join_hides_the_token_and_leaves_no_file(host: FakeHost) -> None:
    host.answers["kubeadm join"] = Completed(1, "", "bad token abcdef.0123456789abcdef")
    with pytest.raises(KubeadmError) as failed:
        join.join(host, MEMBER, {}, "CA", "127.0.0.1:7443", None, 1)
    assert "0123456789abcdef" not in str(failed.value)
    assert not host.path(join.JOIN_FILE).exists()
    assert read_json(host.state / "begun.json") is not None


def test_keys_arrive_with_their_modes(host: FakeHost) -> None:
    files = [
        {"path": "/etc/kubernetes/pki/ca.key", "content": base64.b64encode(b"key").decode()},
        {"path": "/etc/kubernetes/pki/ca.crt", "content": base64.b64encode(b"crt").decode()},
    ]
    join.join(host, MEMBER, {}, "CA", "127.0.0.1:7443", files, 1)
    assert host.path("/etc/kubernetes/pki/ca.key").read_bytes() == b"key"
    assert host.path("/etc/kubernetes/pki/ca.key").stat().st_mode & 0o777 == 0o600
    assert host.path("/etc/kubernetes/pki/ca.crt").stat().st_mode & 0o777 == 0o644


def test_half_of_the_keys_are_not_given_away(host: FakeHost) -> None:
    write_file(host.path("/etc/kubernetes/pki/ca.crt"), b"crt")
    with pytest.raises(KubeadmError, match=r"lacks .*ca\.key"):
        join.shared_files(host, encrypt=False)


def test_a_lost_member_of_etcd_is_removed_by_its_name(host: FakeHost) -> None:
    listing = json.dumps({"members": [{"ID": 255, "name": "cp2"}, {"ID": 16, "name": "cp1"}]})

    def crictl(argv: Any) -> Completed:
        return Completed(0, "c0ffee\n" if "ps" in argv else listing if "list" in argv else "", "")

    host.answers["crictl"] = crictl
    host.answers["kubectl"] = Completed(0, 'node "cp2" deleted\n', "")
    assert node.forget_member(host, "cp2") == ["etcd member cp2", "node cp2"]
    assert all(call[2] == "c0ffee" for call in host.calls if "exec" in call), "another container was asked"
    removals = [call[-1] for call in host.calls if "remove" in call]
    assert removals == ["ff"]


def test_without_a_running_etcd_no_member_is_called_lost(host: FakeHost) -> None:
    host.answers["crictl"] = Completed(0, "", "")
    with pytest.raises(KubeadmError, match="no etcd container runs on this host"):
        node.forget_member(host, "cp2")
    assert not [call for call in host.calls if "kubectl" in call]


def test_reset_removes_what_kubeadm_left_and_the_journal_last(host: FakeHost) -> None:
    begin(host.state, {"verb": "init", "environment": "production"})
    for path in ("/etc/kubernetes/admin.conf", "/etc/kubernetes/pki/ca.key", "/var/lib/etcd/member/wal"):
        write_file(host.path(path), b"x")
    keep = host.path("/etc/kubernetes/stagecraft/kubeadm.yaml")
    write_file(keep, b"x")
    assert "/etc/kubernetes/admin.conf" in reset.reset(host, 1)
    assert [path for path in observe.TRACES if host.exists(path)] == []
    assert host.path("/var/lib/etcd").is_dir()
    assert keep.exists()
    assert read_json(host.state / "begun.json") is None


def test_a_failed_reset_keeps_the_host_interrupted(host: FakeHost) -> None:
    begin(host.state, {"verb": "init", "environment": "production"})
    host.answers["kubeadm reset"] = Completed(1, "", "container runtime is not running")
    with pytest.raises(KubeadmError, match="systemctl status containerd"):
        reset.reset(host, 1)
    assert read_json(host.state / "begun.json") is not None


OPENSSL = """notAfter=Nov 21 10:00:00 2027 GMT
X509v3 Subject Alternative Name:
    DNS:cp1, DNS:kubernetes.default, IP Address:10.96.0.1, IP Address:FD00:0:0:0:0:0:0:1
"""


def test_names_and_end_of_a_certificate_are_read() -> None:
    parsed = inspect.parse_certificate(OPENSSL)
    assert parsed["sans"] == ["10.96.0.1", "cp1", "fd00::1", "kubernetes.default"]
    assert parsed["not_after"] == 1826791200


def test_names_are_compared_in_their_normal_form() -> None:
    assert inspect.missing_names(["fd00:0::1", "CP1", "api.example.com"], ["fd00::1", "cp1"]) == ["api.example.com"]


def test_an_encryption_key_that_is_there_is_never_replaced(host: FakeHost) -> None:
    write_file(host.path(observe.ENCRYPTION_FILE), b"mine")
    converge.provide_encryption_key(host, base64.b64encode(b"other").decode(), first=False)
    converge.provide_encryption_key(host, None, first=True)
    assert host.path(observe.ENCRYPTION_FILE).read_bytes() == b"mine"


def test_a_further_control_plane_takes_the_key_of_the_first(host: FakeHost) -> None:
    converge.provide_encryption_key(host, base64.b64encode(b"key").decode(), first=False)
    assert host.path(observe.ENCRYPTION_FILE).read_bytes() == b"key"


def test_a_further_control_plane_never_makes_a_key_of_its_own(host: FakeHost) -> None:
    with pytest.raises(KubeadmError, match="gave none"):
        converge.provide_encryption_key(host, None, first=False)


def test_a_node_that_cannot_be_emptied_is_told_with_the_way_back(host: FakeHost) -> None:
    host.answers["kubectl"] = Completed(1, "", "error when evicting pods/db: disruption budget")
    with pytest.raises(KubeadmError, match=r"(?s)disruption budget.*reset_drain: false"):
        node.drain(host, "w1", 5)


class Killed(BaseException):
    """The process is gone: nothing of it runs after this."""


@pytest.mark.parametrize("moment", range(9))
def test_a_renewal_that_is_cut_short_anywhere_leaves_a_whole_pair(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Every write and removal of the renewal, and kubeadm's two writes, may be the last thing that happens."""
    pki = host.path("/etc/kubernetes/pki")
    for name in ("apiserver.crt", "apiserver.key"):
        write_file(pki / name, f"old {name}".encode())
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps > moment:
            raise Killed

    def counted(operation: Any) -> Any:
        def run(*arguments: Any, **options: Any) -> Any:
            step()
            return operation(*arguments, **options)

        return run

    def kubeadm(_argv: Any) -> Completed:
        for name in ("apiserver.key", "apiserver.crt"):
            step()
            (pki / name).write_text(f"new {name}")
        return Completed(0, "", "")

    host.answers["kubeadm init phase certs apiserver"] = kubeadm
    with monkeypatch.context() as patched:
        patched.setattr(converge, "write_file", counted(write_file))
        patched.setattr(converge, "remove_file", counted(remove_file))
        patched.setattr(Path, "unlink", counted(Path.unlink))
        patched.setattr(converge, "_first_certificate", lambda text: text)
        patched.setattr(ssl, "PEM_cert_to_DER_cert", lambda text: text.encode())
        patched.setattr(converge, "_served", lambda _address, _port: b"new apiserver.crt")
        if moment < 8:
            with pytest.raises(Killed):
                converge.renew_serving_certificate(host, "192.0.2.11", 6443)
        else:
            converge.renew_serving_certificate(host, "192.0.2.11", 6443)
    converge.restore_serving_certificate(host)
    found = {path.name: path.read_text().split()[0] for path in pki.iterdir()}
    assert set(found) == {"apiserver.crt", "apiserver.key"}
    assert len(set(found.values())) == 1, f"a pair of two halves: {found}"
    if moment == 8:
        assert set(found.values()) == {"new"}
