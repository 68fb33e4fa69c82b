# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scan on real repositories: what counts is everything that a push brings, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan import command, commits, scan
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.errors import LeakScanError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.needles import Secret
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.scan import Report

ROOT = Path(__file__).parents[3]
ENGINE = Path(command.__file__).parents[1]
TOKEN = "zQ8vN3kLp0sWx7Rt"
SECRETS = [Secret("staging", "token", TOKEN.encode())]


class Repository:
    """A clone of a bare repository that has one commit."""

    def __init__(self, directory: Path) -> None:
        self.remote, self.root = directory / "remote.git", directory / "clone"
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", self.remote], check=True)
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main", self.root], check=True)
        for name, value in (("user.name", "t"), ("user.email", "t@localhost"), ("commit.gpgsign", "false")):
            self.git("config", name, value)
        self.git("remote", "add", "origin", str(self.remote))
        self.commit({"README": "hello\n"})
        self.git("push", "--quiet", "-u", "origin", "main")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, files: dict[str, str | bytes | None], message: str = "change") -> str:
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "-A")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def scan(self, revision: str = "HEAD", secrets: list[Secret] | None = None, **options: list[str]) -> Report:
        given = SECRETS if secrets is None else secrets
        return scan.scan(self.root, commits.unpushed(self.root, revision), given, **options)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_what_is_new_is_scanned_and_told_by_file_line_and_commit(repository: Repository) -> None:
    repository.commit({"a/b.yaml": "x: 1\n"})
    leak = repository.commit({"a/b.yaml": f"x: 1\ntoken: {TOKEN}\n"})
    repository.commit({"a/c.yaml": "y: 1\n"})
    (found,) = repository.scan().findings
    assert (found.file, found.line, found.rule) == ("a/b.yaml", 2, "known-secret")
    assert leak.startswith(found.commit)
    assert len(found.commit) >= 7
    assert found.text().startswith("a/b.yaml:2: error: the secret staging: token stands here (as it is). Take it out")
    assert TOKEN not in repr(repository.scan())


def test_what_a_later_commit_takes_out_again_counts(repository: Repository) -> None:
    leak = repository.commit({"b": TOKEN})
    repository.commit({"b": None})
    assert [leak[:7] == found.commit[:7] for found in repository.scan().findings] == [True]


def test_what_the_remote_has_already_does_not_count(repository: Repository) -> None:
    repository.commit({"b": TOKEN})
    repository.git("push", "--quiet")
    repository.commit({"c": "x"})
    assert repository.scan().findings == ()
    assert len(repository.scan("HEAD~2..HEAD").findings) == 1


def test_what_only_a_merge_has_counts(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "side")
    repository.commit({"side": "1"})
    repository.git("checkout", "--quiet", "main")
    repository.commit({"main": "1"})
    repository.git("merge", "--quiet", "--no-commit", "--no-ff", "side")
    repository.commit({"evil": TOKEN}, "merge")
    assert [found.file for found in repository.scan().findings] == ["evil"]


def test_binary_files_messages_tags_and_names_are_scanned(repository: Repository) -> None:
    repository.commit({"image.bin": b"\0\1\2" + TOKEN.encode() + b"\xff\n"})
    assert [found.file for found in repository.scan().findings] == ["image.bin"]
    repository.git("push", "--quiet")
    repository.commit({"x": "1"}, f"Set it\n\nto {TOKEN}")
    (message,) = repository.scan().findings
    assert message.text().startswith("commit:")
    assert repository.git("rev-parse", "HEAD").startswith(message.commit)
    repository.git("push", "--quiet")
    repository.commit({**{f"dir/{number}": str(number) for number in range(60)}, f"dir/{TOKEN}.yaml": "1"})
    (name,) = repository.scan().findings
    assert "the secret staging: token stands here (as it is), in the name of a file" in name.message
    assert (name.file, name.line) == ("dir", 1)
    repository.git("push", "--quiet")
    repository.git("tag", "-a", "v1", "-m", TOKEN)
    assert len(repository.scan("v1").findings) == 1


def test_rules_can_be_left_out_for_files(repository: Repository) -> None:
    key = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEowIBAAKCAQEAy\n"
    repository.commit({"tests/key.pem": key, "prod/key.pem": key + "x"})
    assert [found.rule for found in repository.scan().findings] == ["private-key", "private-key"]
    left = repository.scan(ignore=["private-key:tests/*"])
    assert [found.file for found in left.findings] == ["prod/key.pem"]
    assert repository.scan(ignore=["private-key"]).findings == ()


@pytest.mark.parametrize("later", [False, True])
def test_a_file_at_two_paths_is_left_out_only_where_both_may_be(repository: Repository, later: bool) -> None:
    """Git has one object for both, and tells the first path alone."""
    key = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEowIBAAKCAQEAy\n"
    repository.commit({"a tests/key.pem": key, **({} if later else {"prod/new\nline.pem": key})})
    if later:
        repository.git("checkout", "--quiet", "-b", "side", "HEAD~1")
        repository.commit({"side": "1"})
        repository.git("merge", "--quiet", "--no-commit", "--no-ff", "main")
        repository.commit({"prod/new\nline.pem": key}, "only the merge has it")
    repository.git("config", "log.showRoot", "false")
    for _ in range(2):
        left = repository.scan(ignore=["private-key:a tests/*"])
        assert [found.file for found in left.findings] == ["prod/new\nline.pem"]
        assert repository.scan(ignore=["private-key:a tests/*", "private-key:prod/*"]).findings == ()
        # as a repository without a remote: its first commit is new, too
        repository.git("remote", "remove", "origin")
        repository.git("remote", "add", "origin", str(repository.remote))


def test_a_folder_at_two_paths_is_left_out_only_where_both_may_be(repository: Repository) -> None:
    repository.commit({f"a/{TOKEN}.yaml": "1", f"b/c/{TOKEN}.yaml": "1"})
    left = repository.scan(ignore=["known-secret:a"])
    assert [found.file for found in left.findings] == ["b/c"]
    assert repository.scan(ignore=["known-secret:a", "known-secret:b/c"]).findings == ()


def test_secrets_in_clear_of_a_commit_are_found(repository: Repository) -> None:
    repository.commit({"s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {a: b}\n"})
    (found,) = repository.scan(secrets=[]).findings
    assert (found.rule, found.line) == ("secret-in-clear", 1)


def test_a_revision_that_is_an_option_is_refused(repository: Repository) -> None:
    with pytest.raises(LeakScanError, match="wanted a revision or a range of commits, found --all"):
        repository.scan("--all")
    with pytest.raises(LeakScanError, match="git rev-list"):
        repository.scan("nonsense")


class TestPushed:
    ZERO = "0" * 40

    def lines(self, repository: Repository, new: str, old: str) -> list[str]:
        return commits.pushed(repository.root, [f"refs/heads/main {new} refs/heads/main {old}\n"], "origin")

    def test_an_update_is_what_the_remote_lacks(self, repository: Repository) -> None:
        old = repository.git("rev-parse", "HEAD")
        new = repository.commit({"b": TOKEN})
        assert self.lines(repository, new, old) == [new, "--not", old, "--remotes=origin"]

    def test_a_new_branch_is_what_no_branch_of_the_remote_has(self, repository: Repository) -> None:
        new = repository.git("rev-parse", "HEAD")
        assert self.lines(repository, new, self.ZERO) == [new, "--not", "--remotes=origin"]

    def test_of_an_unknown_remote_all_history_counts(self, repository: Repository) -> None:
        new = repository.commit({"b": TOKEN})
        given = [f"refs/heads/main {new} refs/heads/main {self.ZERO}\n"]
        selection = commits.pushed(repository.root, given, "https://git.example.com/other.git")
        assert selection == [new, "--not"]
        assert scan.scan(repository.root, selection, SECRETS).objects > 3

    def test_an_object_that_is_not_here_says_nothing(self, repository: Repository) -> None:
        new = repository.git("rev-parse", "HEAD")
        assert self.lines(repository, new, "1" * 40) == [new, "--not", "--remotes=origin"]

    def test_a_deletion_pushes_nothing(self, repository: Repository) -> None:
        assert self.lines(repository, self.ZERO, repository.git("rev-parse", "HEAD")) == []
        assert scan.scan(repository.root, [], SECRETS).objects == 0


class TestCommand:
    def run(self, repository: Repository, *arguments: str) -> int:
        return command.main(["--repository", str(repository.root), *arguments])

    def test_secrets_come_from_a_file(
        self, repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        repository.commit({"b": TOKEN})
        (tmp_path / "s.yaml").write_text(f"staging: {{token: {TOKEN}, pin: '1'}}\nproduction: {{token: {TOKEN}}}\n")
        assert self.run(repository, "--secrets", str(tmp_path / "s.yaml")) == command.FOUND
        out = capsys.readouterr().out
        assert "b:1: error: the secret staging: token stands here" in out
        assert "staging: token and production: token are the same secret" in out
        assert "warning: too short to be looked for (fewer than 8 bytes): staging: pin" in out
        assert TOKEN not in out
        assert (
            self.run(repository, "--secrets", str(tmp_path / "s.yaml"), "--shared", "token", "--ignore", "known-secret")
            == command.OK
        )
        assert self.run(repository, "--secrets", str(tmp_path / "s.yaml"), "--format", "json") == command.FOUND
        assert json.loads(capsys.readouterr().out.rpartition("\n{\n")[2].join(["{\n", ""]))["objects"] > 0

    def test_secrets_come_from_a_command_of_this_clone(
        self, repository: Repository, capsys: pytest.CaptureFixture[str]
    ) -> None:
        repository.commit({"b": TOKEN})
        assert self.run(repository) == command.OK
        assert "no known secrets to look for: set git config stagecraft.secretsCommand" in capsys.readouterr().out
        printer = f"{sys.executable} -c \"print('staging: {{token: {TOKEN[:8]}' '{TOKEN[8:]}}}')\""
        repository.git("config", "stagecraft.secretsCommand", printer)
        assert self.run(repository) == command.FOUND
        repository.git("config", "stagecraft.leakIgnore", "known-secret:b")
        assert self.run(repository) == command.OK

    @pytest.mark.parametrize(
        ("printer", "words"),
        [
            ("false", "git config stagecraft.secretsCommand: false failed with status 1"),
            ("/nowhere/sops -d", "the command cannot be run"),
            (
                "echo a: [hunter22",
                "what echo prints: wanted YAML or JSON with secrets, found something that cannot be read",
            ),
            ("echo hunter22", "what echo prints: secrets: wanted a mapping of environments"),
            ("staging=echo hunter22", "what echo prints: secrets: wanted a mapping of environments"),
            ("staging=", "wanted a command behind staging=, found none"),
            ("staging=false", "git config stagecraft.secretsCommand: false failed with status 1"),
        ],
    )
    def test_a_command_that_fails_stops_the_scan(
        self, repository: Repository, capsys: pytest.CaptureFixture[str], printer: str, words: str
    ) -> None:
        repository.git("config", "stagecraft.secretsCommand", printer)
        assert self.run(repository) == command.FAILED
        said = capsys.readouterr().err
        assert words in said
        assert "hunter22" not in said

    def test_each_environment_may_have_a_vault_of_its_own(
        self, repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As the operator guide has them: flat, and encrypted by ansible-vault."""
        program = Path(sys.executable).with_name("ansible-vault")
        (tmp_path / "password").write_text("of the vault\n")
        own = {"staging": TOKEN, "production": "Tq4xLw8bRn2ZkM6v"}
        for name, value in own.items():
            vault = tmp_path / f"{name}.yml"
            vault.write_text(f"vault_{name}_db_password: |\n  {value}\n")
            options = f"--vault-password-file {tmp_path / 'password'} {vault}"
            subprocess.run([program, "encrypt", *options.split()], check=True, capture_output=True)
            assert value not in vault.read_text()
            view = f"{name}={program} view {options}"
            repository.git("config", "--add", "stagecraft.secretsCommand", view)
        repository.commit({**own})
        assert self.run(repository) == command.FOUND
        out = capsys.readouterr().out
        for name, value in own.items():
            assert f"{name}:1: error: the secret {name}: vault_{name}_db_password stands here (as it is)" in out
            assert value not in out
        assert "2 secrets: 2 errors" in out

    def test_files_may_be_of_one_environment(
        self, repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        repository.commit({"b": TOKEN})
        for name, content in (("one", f"token: {TOKEN}"), ("all", "production: {token: another-one-4711}")):
            (tmp_path / name).write_text(content)
        found = self.run(repository, "--secrets", f"staging={tmp_path / 'one'}", "--secrets", str(tmp_path / "all"))
        assert found == command.FOUND
        out = capsys.readouterr().out
        assert "the secret staging: token stands here" in out
        assert "2 secrets: 1 errors" in out

    def test_the_pre_push_hook_refuses_a_leak(self, repository: Repository) -> None:
        """The hook of gitops_check, run by git itself."""
        engine = Path(command.__file__).parents[1] / "flux" / "check"
        repository.commit({"clusters/production/kustomization.yaml": "resources: []\n"})
        argv = [sys.executable, str(engine), "--install-hook"]
        install = subprocess.run(argv, cwd=repository.root, capture_output=True, text=True, check=False)
        assert install.returncode == 0, install.stderr
        repository.git("config", "stagecraft.secretsCommand", f"echo 'staging: {{token: {TOKEN}}}'")
        repository.git("push", "--quiet")
        repository.commit({"notes.txt": f"remember {TOKEN}\n"})
        refused = subprocess.run(
            ["git", "push", "--quiet"], cwd=repository.root, capture_output=True, text=True, check=False
        )
        assert refused.returncode != 0
        assert "notes.txt:1: error: the secret staging: token stands here (as it is)" in refused.stderr
        assert TOKEN not in refused.stderr + refused.stdout
        assert repository.git("rev-parse", "origin/main") == repository.git("rev-parse", "HEAD~1")


class TestProgram:
    """As CI calls it: a process of its own, by its module and by its path."""

    ENTRIES = (
        ["-m", "ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan"],
        [str(ENGINE / "leak_scan")],
    )

    @pytest.mark.parametrize("entry", ENTRIES)
    def test_its_status_tells_what_came_out(self, repository: Repository, entry: list[str]) -> None:
        def run(*arguments: str, secrets: str = "{}") -> subprocess.CompletedProcess[str]:
            argv = [sys.executable, *entry, "--secrets", "-", *arguments]
            return subprocess.run(argv, cwd=repository.root, input=secrets, capture_output=True, text=True, check=False)

        assert run().returncode == command.OK
        repository.commit({"b": TOKEN})
        found = run(secrets=f"staging: {{token: {TOKEN}}}")
        assert (found.returncode, found.stderr) == (command.FOUND, "")
        assert "b:1: error: the secret staging: token stands here (as it is)" in found.stdout
        assert TOKEN not in found.stdout
        failed = run("nonsense")
        assert (failed.returncode, failed.stdout) == (command.FAILED, "")
        assert "secrets-leak-scan: git rev-list" in failed.stderr

    def test_in_a_clone_that_ci_made_the_remote_has_everything(self, repository: Repository) -> None:
        key = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEowIBAAKCAQEAy\n"
        repository.commit({"key.pem": key})
        repository.commit({"key.pem": None})
        repository.git("push", "--quiet")
        argv = ["--repository", str(repository.root)]
        assert command.main(argv) == command.OK, "nothing is new"
        assert command.main([*argv, "--all"]) == command.FOUND
        assert command.main([*argv, "--all", "HEAD~2"]) == command.OK

    def test_the_workflow_of_the_guide_refuses_a_leak_and_a_broken_overlay(
        self, repository: Repository, tmp_path: Path
    ) -> None:
        guide = (ROOT / "docs" / "operator.md").read_text()
        (block,) = [part for part in guide.split("```yaml\n") if part.startswith("name: gitops\n")]
        steps = yaml.safe_load(block.partition("```")[0])["jobs"]["gitops"]["steps"]
        assert steps[0]["with"] == {"fetch-depth": 0}
        collections = tmp_path / ".ansible" / "collections"
        collections.parent.mkdir()
        collections.symlink_to(ENGINE.parents[4])
        environment = {
            **os.environ,
            "HOME": str(tmp_path),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache")}

        def run() -> tuple[int, str]:
            argv = ["bash", "-e", "-c", steps[-1]["run"]]
            done = subprocess.run(
                argv, cwd=repository.root, env=environment, capture_output=True, text=True, check=False
            )
            return done.returncode, done.stdout + done.stderr

        overlay = "clusters/production/kustomization.yaml"
        repository.commit({overlay: "resources: []\n"})
        status, said = run()
        assert status == 0, said
        repository.commit({overlay: "resources: [missing.yaml]\n"})
        status, said = run()
        assert (status, "[file-not-found]" in said) == (1, True), said
        key = "AGE-SECRET-KEY-1" + "Q" * 58
        repository.commit({overlay: "resources: []\n", "notes": key})
        repository.git("push", "--quiet")
        status, said = run()
        assert (status, "notes:1: error:" in said, key in said) == (1, True, False), said
