# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import backup as backups
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import custody
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import Backup, KeyRecord
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import BackupError, SealError

from tests.unit.sealed_secrets.samples import key

ADMIN, SAFE, STRANGER = (pyrage.x25519.Identity.generate() for _ in range(3))
RECIPIENTS = [str(ADMIN.to_public()), str(SAFE.to_public())]


def record(number: int = 0, state: backups.State = "active") -> KeyRecord:
    return KeyRecord(key("staging", number), state, f"key-{number}", "kube-system")


def encrypted(backup: Backup, recipients: list[str]) -> bytes:
    return file.encrypt(backups.encode(backup), recipients)


def opened(data: bytes, identities: list[Any], where: str) -> Backup:
    return backups.decode(file.decrypt(data, identities, where), where)


def same(one: Backup, other: Backup) -> bool:
    """With the private halves, which are no part of a comparison, and without the note of the recipients."""
    return backups.encode(replace(one, recipients=())) == backups.encode(replace(other, recipients=()))


BACKUP = Backup("staging", (record(), record(1, "retired"), record(2, "compromised")))


def test_each_recipient_alone_can_restore_it() -> None:
    data = encrypted(BACKUP, RECIPIENTS)
    for identity in (ADMIN, SAFE):
        found = opened(data, [identity], "b")
        assert same(found, BACKUP)
        assert [one.key.pem for one in found.records] == [one.key.pem for one in BACKUP.records]
    assert b"PRIVATE" not in data


def test_what_age_decrypts_is_a_list_that_kubectl_applies() -> None:
    text = json.loads(pyrage.decrypt(encrypted(BACKUP, RECIPIENTS), [SAFE]))
    assert (text["apiVersion"], text["kind"]) == ("v1", "List")
    first = text["items"][0]
    assert first["metadata"]["labels"] == {"sealedsecrets.bitnami.com/sealed-secrets-key": "active"}
    assert first["type"] == "kubernetes.io/tls"
    assert base64.b64decode(first["data"]["tls.key"]).decode() == key().pem
    assert [item["metadata"]["labels"][backups.LABEL] for item in text["items"]] == ["active", "retired", "compromised"]


def test_whom_it_is_encrypted_to_is_noted_in_it(tmp_path: Path) -> None:
    path = tmp_path / "staging.age"
    custody.write_backup(path, Backup("staging", (record(),), ("age1old",)), RECIPIENTS, [ADMIN])
    found = custody.read_backup(path, [SAFE])
    assert found is not None
    assert found.recipients == tuple(sorted(RECIPIENTS))
    assert opened(encrypted(BACKUP, RECIPIENTS), [SAFE], "b").recipients == (), "that of an older version notes none"


def test_recipients_are_compared_without_order_comments_and_repetition() -> None:
    assert file.comparable(["ssh-ed25519 AAAA ada@work ", " age1b", "age1b"]) == ("age1b", "ssh-ed25519 AAAA")
    same_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0vjn0yEaO4AoRvTbPR1bHNWM9lpYmHDYzWo8GZPdHr"
    with pytest.raises(AgeError, match="wanted 2 different recipients at least, found 1"):
        file.check_recipients([f"{same_key} ada@work", f"{same_key} ada@home"])


def test_the_current_key_is_the_newest_active_one() -> None:
    assert BACKUP.current == record()
    assert Backup("staging", (record(0), record(1))).current == record(1)
    assert Backup("staging", (record(0, "retired"),)).current is None


def flipped(data: bytes) -> bytes:
    """Change one byte in the middle of what is encrypted, and armour it again."""
    lines = data.strip().splitlines()
    binary = bytearray(base64.b64decode(b"".join(lines[1:-1])))
    binary[len(binary) // 2] ^= 1
    text = base64.b64encode(binary)
    return b"\n".join([lines[0], *(text[i : i + 64] for i in range(0, len(text), 64)), lines[-1], b""])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[: len(data) // 2], "b: the backup ends in the middle"),
        (lambda data: data[:-1][:-30], "b: the backup ends in the middle"),
        (lambda data: b"", "b: wanted a backup .* found something else"),
        (lambda data: b"apiVersion: v1\nkind: Secret\n", "found something else"),
        (flipped, "b: the backup was changed or damaged"),
        (lambda data: data.replace(b"\n", b"\nA", 3), "b: the backup was changed or damaged"),
        (lambda data: bytes(pyrage.encrypt(b"hello", [ADMIN.to_public()], armored=True)), "holds no sealing keys"),
        (lambda data: bytes(pyrage.encrypt(b'{"items": []}', [ADMIN.to_public()], armored=True)), "found 0"),
        (lambda data: bytes(pyrage.encrypt(b'{"items": [5]}', [ADMIN.to_public()], armored=True)), "holds no sealing"),
    ],
    ids=["half", "end-missing", "empty", "clear", "changed", "lines", "other-text", "no-keys", "no-secret"],
)
def test_a_backup_that_cannot_be_used_says_why(change: Any, words: str) -> None:
    with pytest.raises((BackupError, AgeError), match=words):
        opened(change(encrypted(BACKUP, RECIPIENTS)), [ADMIN], "b")


def test_another_identity_is_told_from_damage() -> None:
    with pytest.raises((BackupError, AgeError), match="not encrypted to the identities at hand"):
        opened(encrypted(BACKUP, RECIPIENTS), [STRANGER], "b")


@pytest.mark.parametrize(
    ("recipients", "words"),
    [
        ([], "wanted 2 different recipients at least, found 0"),
        (RECIPIENTS[:1], "found 1"),
        ([RECIPIENTS[0], f" {RECIPIENTS[0]}\n"], "found 1"),
        ([RECIPIENTS[0], "age1nonsense", "ssh-rsa x"], "'age1nonsense' is no age recipient .*; 'ssh-rsa x' is no"),
        ([RECIPIENTS[0], str(STRANGER)], "is no age recipient"),
    ],
)
def test_one_recipient_is_not_enough(recipients: list[str], words: str) -> None:
    with pytest.raises((BackupError, AgeError), match=words) as caught:
        encrypted(BACKUP, recipients)
    assert str(STRANGER)[30:] not in str(caught.value)


def test_an_empty_backup_is_none() -> None:
    with pytest.raises(
        (BackupError, AgeError), match=r"found none: it would be empty. Is it the controller's namespace"
    ):
        encrypted(Backup("staging", ()), RECIPIENTS)


def test_identities_are_read_from_a_file_as_age_writes_it() -> None:
    text = f"# created: 2026-05-01\n# public key: {ADMIN.to_public()}\n{ADMIN}\n\n{SAFE}\n"
    assert len(file.read_identities(text, "f")) == 2
    for wrong, words in (
        ("", "found none"),
        ("hunter2", "wanted lines AGE-SECRET-KEY"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nx", "SSH"),
    ):
        with pytest.raises((BackupError, AgeError), match=words) as caught:
            file.read_identities(wrong, "f")
        assert "hunter2" not in str(caught.value)


def test_a_secret_that_is_no_key_is_refused() -> None:
    with pytest.raises(SealError, match=r"cluster, Secret n/x: wanted tls.key and tls.crt"):
        backups.read_secret({"metadata": {"namespace": "n", "name": "x"}, "data": {"tls.key": "?"}}, "cluster")


class TestWrite:
    def write(self, path: Path, backup: Backup = BACKUP) -> None:
        custody.write_backup(path, backup, RECIPIENTS, [ADMIN])

    def test_it_is_private_and_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "keys" / "staging.age"
        self.write(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert [entry.name for entry in path.parent.iterdir()] == ["staging.age"]
        found = custody.read_backup(path, [SAFE])
        assert found is not None
        assert same(found, BACKUP)

    def test_there_may_be_none_yet(self, tmp_path: Path) -> None:
        assert custody.read_backup(tmp_path / "none.age", [ADMIN]) is None

    @pytest.mark.parametrize("step", ["fsync", "decrypt", "replace"])
    def test_killed_at_any_step_the_old_one_is_whole(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        path = tmp_path / "staging.age"
        older = Backup("staging", (record(),))
        self.write(path, older)

        def fail(*_arguments: object, **_options: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            if step == "fsync":
                patch.setattr(os, "fsync", fail)
            elif step == "decrypt":
                patch.setattr(file, "decrypt", fail)
            else:
                patch.setattr(Path, "replace", fail)
            with pytest.raises(KeyboardInterrupt):
                self.write(path)
        found = custody.read_backup(path, [ADMIN])
        assert found is not None
        assert same(found, older)
        assert [entry.name for entry in tmp_path.iterdir()] == ["staging.age"]

    def test_what_cannot_be_opened_again_does_not_take_the_old_ones_place(self, tmp_path: Path) -> None:
        path = tmp_path / "staging.age"
        with pytest.raises((BackupError, AgeError), match="not encrypted to the identities at hand"):
            custody.write_backup(path, BACKUP, RECIPIENTS, [STRANGER])
        assert list(tmp_path.iterdir()) == []

    def test_a_disk_that_loses_bytes_is_noticed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "staging.age"
        other = encrypted(Backup("staging", (record(),)), RECIPIENTS)
        monkeypatch.setattr(file, "encrypt", lambda *_: other)
        with pytest.raises((BackupError, AgeError), match="what was written is not what is read back"):
            self.write(path)
        assert list(tmp_path.iterdir()) == []
