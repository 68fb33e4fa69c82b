# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import kubeconfig, kubeconfig_file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeconfigError

from .kubeconfigs import ADMIN_CONF, FOREIGN, KEY

CREDENTIALS = kubeconfig.read_source(ADMIN_CONF, "source")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def snapshot(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(p.relative_to(directory)): (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes())
        for p in directory.rglob("*")
        if p.is_file()
    }


def test_new_file_and_directory_are_for_the_admin_only(tmp_path: Path) -> None:
    path = tmp_path / "home" / ".kube" / "config"
    outcome = kubeconfig_file.converge(path, "prod", CREDENTIALS)
    assert outcome.changes
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert [p.name for p in path.parent.iterdir()] == ["config"]


def test_second_run_and_check_mode_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(FOREIGN)
    path.chmod(0o600)
    before = snapshot(tmp_path)
    assert kubeconfig_file.converge(path, "prod", CREDENTIALS, check_mode=True).changes
    assert snapshot(tmp_path) == before
    kubeconfig_file.converge(path, "prod", CREDENTIALS)
    before = snapshot(tmp_path)
    assert not kubeconfig_file.converge(path, "prod", CREDENTIALS).changes
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "none").exists()
    kubeconfig_file.converge(tmp_path / "none" / "config", "prod", CREDENTIALS, check_mode=True)
    assert not (tmp_path / "none").exists()


def test_loose_mode_is_tightened_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "config"
    kubeconfig_file.converge(path, "prod", CREDENTIALS)
    path.chmod(0o644)
    outcome = kubeconfig_file.converge(path, "prod", CREDENTIALS)
    assert [(c.kind, c.name) for c in outcome.changes] == [("mode", "0644 -> 0600")]
    assert mode(path) == 0o600


def test_symbolic_link_stays_one(tmp_path: Path) -> None:
    target = tmp_path / "dotfiles" / "kubeconfig"
    target.parent.mkdir()
    target.write_text(FOREIGN)
    link = tmp_path / "config"
    link.symlink_to("dotfiles/kubeconfig")
    kubeconfig_file.converge(link, "prod", CREDENTIALS)
    assert link.is_symlink()
    assert "prod-admin" in target.read_text()
    kubeconfig_file.converge(link, "prod", None)
    assert target.read_text() == FOREIGN


def test_backup_holds_what_was_there_and_no_removed_credentials(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(FOREIGN)
    outcome = kubeconfig_file.converge(path, "prod", CREDENTIALS)
    assert outcome.backup is not None
    assert (outcome.backup.read_text(), mode(outcome.backup)) == (FOREIGN, 0o600)
    kubeconfig_file.converge(path, "other", CREDENTIALS)
    assert KEY in outcome.backup.read_text()
    kubeconfig_file.converge(path, "other", None)
    kubeconfig_file.converge(path, "prod", None)
    assert KEY not in outcome.backup.read_text()
    assert path.read_text() == FOREIGN


def test_file_that_was_only_ours_goes(tmp_path: Path) -> None:
    path = tmp_path / "config"
    kubeconfig_file.converge(path, "prod", CREDENTIALS)
    kubeconfig_file.converge(path, "prod", CREDENTIALS, set_current=True)
    kubeconfig_file.converge(path, "prod", None)
    assert list(tmp_path.iterdir()) == []
    assert not kubeconfig_file.converge(path, "prod", None).changes


def test_damaged_file_is_left_and_the_backup_named(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(FOREIGN)
    backup = kubeconfig_file.converge(path, "prod", CREDENTIALS).backup
    path.write_text("kind: Config\nclusters: [\n")
    before = snapshot(tmp_path)
    with pytest.raises(KubeconfigError, match=r"config:3:1: not valid YAML") as caught:
        kubeconfig_file.converge(path, "prod", CREDENTIALS)
    assert str(backup) in str(caught.value)
    assert snapshot(tmp_path) == before


def test_binary_file_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(b"kind: Config\n\xff\xfe\n")
    with pytest.raises(KubeconfigError, match=r"config:2: not UTF-8"):
        kubeconfig_file.converge(path, "prod", CREDENTIALS)


def test_directory_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="cannot be read: Is a directory"):
        kubeconfig_file.converge(tmp_path, "prod", CREDENTIALS)


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.write_text(FOREIGN)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KubeconfigError, match="cannot be written: No space left"):
        kubeconfig_file.converge(path, "prod", CREDENTIALS)
    assert path.read_text() == FOREIGN
    assert [p.name for p in tmp_path.iterdir()] == ["config"]


def test_writers_do_not_lose_each_others_entries(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(FOREIGN)
    names = [f"cluster{number}" for number in range(8)]
    threads = [threading.Thread(target=kubeconfig_file.converge, args=(path, name, CREDENTIALS)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = yaml.safe_load(path.read_text())
    assert {"work", "home", *names} == {entry["name"] for entry in data["clusters"]}
    assert {p.name for p in tmp_path.iterdir()} == {"config", "config.stagecraft.bak"}


def test_lock_of_another_program_is_waited_for_and_never_broken(tmp_path: Path) -> None:
    path = tmp_path / "config"
    lock = tmp_path / "config.lock"
    lock.touch()
    with pytest.raises(KubeconfigError, match="another program has been writing"):
        kubeconfig_file.converge(path, "prod", CREDENTIALS, lock_timeout=0.2)
    assert lock.exists()
    threading.Timer(0.3, lock.unlink).start()
    kubeconfig_file.converge(path, "prod", CREDENTIALS, lock_timeout=20)
    assert not lock.exists()


def test_lock_of_a_killed_run_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "config"
    child = os.fork()
    if child == 0:
        with kubeconfig_file.locked(path):
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    with pytest.raises(KubeconfigError, match="another program has been writing"):
        kubeconfig_file.converge(path, "prod", CREDENTIALS, lock_timeout=0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / "config.lock").exists()
    start = time.monotonic()
    kubeconfig_file.converge(path, "prod", CREDENTIALS, lock_timeout=20)
    assert time.monotonic() - start < 10
    assert [p.name for p in tmp_path.iterdir()] == ["config"]
