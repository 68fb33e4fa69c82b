# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole repositories: a good one, and copies of it that are wrong in one way each."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check import program
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.check import Options, Report, check
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.command import FAILED, FOUND, OK, main
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.commits import pushed
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import CheckError

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "gitops_check"
BAD = sorted(path.name for path in FIXTURES.iterdir() if path.name != "good")
CLUSTER = "clusters/production"
EXPECTED = "expected.txt"


def repository(tmp_path: Path, name: str) -> Path:
    root = tmp_path / "infra"
    shutil.copytree(FIXTURES / "good", root)
    if name != "good":
        shutil.copytree(FIXTURES / name, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(EXPECTED))
    return root


def run(root: Path, cache: Path | None = None, jobs: int = 1, ignore: tuple[str, ...] = ()) -> Report:
    return check(Options(root, (CLUSTER,), "1.36.3", cache=cache, jobs=jobs, ignore=ignore))


def texts(report: Report) -> list[str]:
    return [finding.text() for finding in report.findings]


def test_a_good_repository_passes(tmp_path: Path) -> None:
    report = run(repository(tmp_path, "good"))
    assert texts(report) == []
    assert report.kustomizations == [
        "flux-system/applications",
        "flux-system/flux-system",
        "flux-system/infrastructure",
    ]
    assert report.unchecked_kinds == ["bitnami.com/v1alpha1 SealedSecret"]


@pytest.mark.parametrize(("need", "said"), [("infrastructure", []), ("ghost", ["dependency-missing"])])
def test_an_expression_decides_about_what_is_there(tmp_path: Path, need: str, said: list[str]) -> None:
    root = repository(tmp_path, "good")
    file = root / CLUSTER / "applications.yaml"
    expression = "readyExpr: dep.status.observedGeneration == dep.metadata.generation"
    file.write_text(file.read_text().replace("- name: infrastructure\n", f"- name: {need}\n      {expression}\n"))
    assert [finding.rule for finding in run(root).findings] == said


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_with_file_and_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program.command.cache_clear()
    found = texts(run(repository(tmp_path, name)))
    program.command.cache_clear()
    assert found == (FIXTURES / name / EXPECTED).read_text().splitlines()


@pytest.mark.parametrize("name", ["secret-in-clear", "secret-without-decryption"])
def test_no_secret_is_told_or_kept(name: str, tmp_path: Path) -> None:
    root = repository(tmp_path, name)
    path = root / "infrastructure/production/credentials.yaml"
    path.write_text(path.read_text().replace("DATABASE_USER: shop", "DATABASE_USER: not-a-real-one\n  PIN: 7317317"))
    report = run(root, tmp_path / "cache")
    kept = "".join(one.read_text() for one in (tmp_path / "cache").iterdir())
    for secret in ("not-a-real-one", "7317317"):
        assert secret not in "".join(texts(report))
    assert "7317317" not in kept
    assert all(one.stat().st_mode & 0o077 == 0 for one in (tmp_path / "cache").iterdir())


def test_everything_is_found_at_once_and_in_order(tmp_path: Path) -> None:
    root = repository(tmp_path, "removed-api")
    shutil.copytree(FIXTURES / "schema", root, dirs_exist_ok=True)
    shutil.copytree(FIXTURES / "duplicate-key", root, dirs_exist_ok=True)
    report = run(root)
    assert {"duplicate-key", "removed-api", "schema"} <= {finding.rule for finding in report.findings}
    assert report.findings == sorted(report.findings)


def test_rules_are_ignored_by_name_and_file(tmp_path: Path) -> None:
    root = repository(tmp_path, "schema")
    assert {finding.file for finding in run(root, ignore=("schema:applications/*",)).findings} == {
        "clusters/production/infrastructure.yaml"
    }
    assert run(root, ignore=("schema",)).findings == []


class TestCache:
    def test_finds_the_same_again(self, tmp_path: Path) -> None:
        root = repository(tmp_path, "schema")
        first, again = run(root, tmp_path / "cache"), run(root, tmp_path / "cache")
        assert first == again
        assert first.errors

    @pytest.mark.parametrize(
        ("path", "text", "rule"),
        [
            ("applications/base/service.yaml", "a: 1\n", "not-an-object"),
            ("applications/production/replicas.yaml", "a: 1\n", "patch-failed"),
            ("infrastructure/production/.env.production", "A=1\n", "variable-unset"),
            ("applications/base/kustomization.yaml", "resources: [gone.yaml]\n", "file-not-found"),
            ("clusters/production/more.yaml", "a: 1\n", "not-an-object"),
        ],
    )
    def test_does_not_hide_a_change(self, tmp_path: Path, path: str, text: str, rule: str) -> None:
        root = repository(tmp_path, "good")
        assert run(root, tmp_path / "cache").findings == []
        (root / path).write_text(text)
        changed = run(root, tmp_path / "cache")
        assert rule in {finding.rule for finding in changed.findings}
        assert changed == run(root, None)

    def test_does_not_hide_a_file_that_is_gone(self, tmp_path: Path) -> None:
        root = repository(tmp_path, "good")
        run(root, tmp_path / "cache")
        (root / "applications/base/service.yaml").unlink()
        assert [finding.rule for finding in run(root, tmp_path / "cache").findings] == ["file-not-found"]

    def test_does_without_one_that_is_damaged(self, tmp_path: Path) -> None:
        root = repository(tmp_path, "good")
        run(root, tmp_path / "cache")
        for path in (tmp_path / "cache").iterdir():
            path.write_text("{")
        assert run(root, tmp_path / "cache").findings == []


def test_several_processes_find_what_one_finds(tmp_path: Path) -> None:
    root = repository(tmp_path, "dependency-missing")
    flux = (root / "clusters/production/applications.yaml").read_text()
    for number in range(45):
        name = f"copy-{number}"
        text = flux.replace("  name: applications\n", f"  name: {name}\n").replace(
            "  prune: true", f"  prune: true\n  namePrefix: {name}-"
        )
        (root / f"clusters/production/{name}.yaml").write_text(text)
    assert run(root, jobs=2) == run(root, jobs=1)


@pytest.mark.parametrize(
    ("path", "version", "message"),
    [
        ("clusters/nowhere", "1.36.3", "there is no directory clusters/nowhere"),
        ("../..", "1.36.3", "there is no directory"),
        (CLUSTER, "1.2", "wanted schemas of Kubernetes 1.2"),
        (CLUSTER, "newest", "wanted a version such as 1.36.3"),
    ],
)
def test_what_cannot_be_checked_is_said(tmp_path: Path, path: str, version: str, message: str) -> None:
    root = repository(tmp_path, "good")
    with pytest.raises(CheckError, match=message):
        check(Options(root, (path,), version))


# -- command line and hook -------------------------------------------------------------------------------------------------


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.com", "-c", "init.defaultBranch=main"]
    answer = subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, text=True)
    return answer.stdout.strip()


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    root = repository(tmp_path, "good")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def command(root: Path, *words: str) -> int:
    return main(["--repository", str(root), "--no-cache", "--kubernetes-version", "1.36", *words])


def test_the_status_says_what_was_found(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(committed) == OK
    assert "3 Kustomizations, 16 objects: 0 errors, 0 warnings" in capsys.readouterr().out
    (committed / "applications/base/service.yaml").write_text("a: 1\n")
    assert command(committed, CLUSTER) == FOUND
    assert "applications/base/service.yaml:1: error: " in capsys.readouterr().out
    assert command(committed, "clusters/nowhere") == FAILED
    assert "there is no directory clusters/nowhere" in capsys.readouterr().err


def test_a_commit_is_checked_whatever_the_files_are(committed: Path) -> None:
    (committed / "applications/base/service.yaml").write_text("a: 1\n")
    assert command(committed, "--commit", "HEAD") == OK
    git(committed, "commit", "-qam", "worse")
    git(committed, "checkout", "-q", "HEAD~1")
    assert command(committed, "--commit", "main") == FOUND


def test_pushed_commits_are_read_as_git_writes_them() -> None:
    one, two, none = "1" * 40, "2" * 40, "0" * 40
    lines = [
        f"refs/heads/a {one} refs/heads/a {two}\n",
        f"(delete) {none} refs/heads/b {two}\n",
        f"HEAD {one} refs/tags/c {none}\n",
    ]
    assert pushed(lines) == [("refs/tags/c", one)]


def test_the_settings_of_a_repository_are_used(committed: Path) -> None:
    (committed / "applications/base/ingress.yaml").write_text("kind: Nothing\n")
    (committed / "applications/base/service.yaml").write_text("a: 1\n")
    (committed / ".gitops-check.json").write_text('{"ignore": ["not-an-object"]}')
    assert command(committed) == OK
    for wrong in ('{"ignored": []}', '{"paths": "clusters/production"}', '{"crds": [1]}', "[]", "{"):
        (committed / ".gitops-check.json").write_text(wrong)
        assert command(committed) == FAILED


def test_the_settings_name_cluster_paths(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (committed / ".gitops-check.json").write_text('{"paths": ["clusters/nowhere"]}')
    assert command(committed) == FAILED
    assert "there is no directory clusters/nowhere" in capsys.readouterr().err
    assert command(committed, CLUSTER) == OK, "what is given goes before"


def test_a_commit_is_held_against_the_settings_that_it_has(committed: Path) -> None:
    (committed / "applications/base/service.yaml").write_text("a: 1\n")
    git(committed, "commit", "-qam", "worse")
    (committed / ".gitops-check.json").write_text('{"ignore": ["not-an-object"]}')
    assert command(committed, "--commit", "HEAD") == FOUND
    git(committed, "add", "-A")
    git(committed, "commit", "-qm", "leave it out")
    (committed / ".gitops-check.json").unlink()
    assert command(committed, "--commit", "HEAD") == OK


def test_the_hook_checks_what_is_pushed(committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGECRAFT_CACHE", str(tmp_path / "kept"))
    git(committed, "init", "-q", "--bare", str(tmp_path / "remote.git"))
    assert command(committed, "--install-hook") == OK
    assert command(committed, "--install-hook") == OK
    (committed / "applications/base/service.yaml").write_text("a: 1\n")
    git(committed, "push", "-q", str(tmp_path / "remote.git"), "main")
    git(committed, "commit", "-qam", "worse")
    (committed / "applications/base/service.yaml").write_text(
        (FIXTURES / "good/applications/base/service.yaml").read_text()
    )
    with pytest.raises(subprocess.CalledProcessError) as refused:
        git(committed, "push", "-q", str(tmp_path / "remote.git"), "main")
    assert (
        "applications/base/service.yaml:1: error: this is no Kubernetes object"
        in refused.value.stdout + refused.value.stderr
    )
    assert "the push is refused" in refused.value.stderr
    git(committed, "push", "-q", str(tmp_path / "remote.git"), "HEAD~1:refs/heads/other")
    git(committed, "push", "-q", str(tmp_path / "remote.git"), ":refs/heads/other")


def pushes(root: Path, monkeypatch: pytest.MonkeyPatch, reference: str = "main") -> int:
    """Run the hook as Git does for a branch that the remote does not have yet."""
    line = f"refs/heads/{reference} {git(root, 'rev-parse', reference)} refs/heads/{reference} {'0' * 40}\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    return command(root, "--pre-push", "--remote", "origin")


def test_the_hook_goes_by_the_settings_of_the_commit(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (committed / "applications/base/service.yaml").write_text("a: 1\n")
    git(committed, "commit", "-qam", "worse")
    (committed / ".gitops-check.json").write_text('{"ignore": ["not-an-object"]}')
    assert pushes(committed, monkeypatch) == FOUND
    git(committed, "add", "-A")
    git(committed, "commit", "-qm", "leave it out")
    assert pushes(committed, monkeypatch) == OK


def test_the_hook_checks_clusters_that_lie_elsewhere(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(committed, "mv", "clusters", "fleet")
    sync = committed / "fleet/production/flux-system/gotk-sync.yaml"
    sync.write_text(sync.read_text().replace("./clusters/", "./fleet/"))
    (committed / ".gitops-check.json").write_text('{"paths": ["fleet/production"]}')
    git(committed, "add", "-A")
    git(committed, "commit", "-qm", "move")
    (committed / "fleet/production/more.yaml").write_text("a: 1\n")
    assert pushes(committed, monkeypatch) == OK
    git(committed, "add", "-A")
    git(committed, "commit", "-qm", "worse")
    assert pushes(committed, monkeypatch) == FOUND


def test_the_hook_lets_pass_what_no_cluster_follows(
    committed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    git(committed, "checkout", "-q", "--orphan", "pages")
    git(committed, "rm", "-qrf", ".")
    (committed / "index.html").write_text("<h1>Shop</h1>")
    git(committed, "add", "-A")
    git(committed, "commit", "-qm", "pages")
    assert pushes(committed, monkeypatch, "pages") == OK
    assert "refs/heads/pages: nothing is built, since it has neither clusters/NAME nor paths" in capsys.readouterr().err
    assert command(committed) == FAILED, "who asks for a check is told that there is nothing to check"
    key = "-----BEGIN OPENSSH PRIVATE KEY-----"
    (committed / "key").write_text(f"{key}\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n")
    git(committed, "add", "-A")
    git(committed, "commit", "-qm", "key")
    assert pushes(committed, monkeypatch, "pages") == FOUND


def test_the_hook_of_somebody_else_stays(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = committed / ".git/hooks/pre-push"
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\nexit 0\n")
    assert command(committed, "--install-hook") == FAILED
    assert "found one that somebody else wrote" in capsys.readouterr().err
    assert path.read_text() == "#!/bin/sh\nexit 0\n"
