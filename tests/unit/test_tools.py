# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools that run everything else: a stage that fails must never look like one that passed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tools import apt, check, dev, package, sandbox, sanity, scenarios
from tools.stages import (
    Count,
    Outcome,
    Stage,
    failures,
    read_report,
    reason,
    run_lanes,
    run_stage,
    run_stages,
    summary,
    total,
)

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = dict(os.environ)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def stage(name: str, code: str, *, required: bool = False, report: Path | None = None) -> Stage:
    return Stage(name, "a test", [python(code)], required=required, report=report)


def junit(path: Path, **counts: int) -> Path:
    words = " ".join(f'{key}="{value}"' for key, value in counts.items())
    path.write_text(f'<testsuites><testsuite name="x" {words}/><testsuite tests="1"/></testsuites>')
    return path


class TestStages:
    def test_a_failure_does_not_stop_the_others(self) -> None:
        outcomes = run_stages([stage("a", "raise SystemExit(3)"), stage("b", "pass")], ENVIRONMENT)
        assert [outcome.exit_code for outcome in outcomes] == [3, 0]

    def test_a_required_failure_does(self) -> None:
        outcomes = run_stages([stage("a", "raise SystemExit(3)", required=True), stage("b", "pass")], ENVIRONMENT)
        assert [outcome.exit_code for outcome in outcomes] == [3, None]
        assert not outcomes[1].ok

    def test_lanes_run_beside_each_other_and_each_in_its_order(self, tmp_path: Path) -> None:
        """Each first stage waits for a sign of the other lane's."""
        wait = "import pathlib, sys, time; d = pathlib.Path(sys.argv[1]); (d / sys.argv[2]).touch()\n"
        wait += (
            "end = time.monotonic() + 20\nwhile not (d / sys.argv[3]).exists(): time.monotonic() > end and sys.exit(7)"
        )

        def meets(own: str, other: str) -> Stage:
            return Stage(own, "a test", [[*python(wait), str(tmp_path), own, other]])

        lanes = [[meets("a", "b"), stage("c", "raise SystemExit(3)")], [meets("b", "a"), stage("d", "pass")]]
        outcomes = run_lanes(lanes, ENVIRONMENT)
        assert [(outcome.stage.name, outcome.exit_code) for outcome in outcomes] == [
            ("a", 0),
            ("c", 3),
            ("b", 0),
            ("d", 0),
        ]

    def test_what_stages_of_lanes_print_is_not_mixed(self, capfd: pytest.CaptureFixture[str]) -> None:
        code = "import sys, time\nfor _ in range(50): print('{}', flush=True); print('{}', file=sys.stderr, flush=True)"
        run_lanes([[stage(name, code.format(name, name))] for name in ("one", "two")], ENVIRONMENT)
        lines = [line for line in capfd.readouterr().out.splitlines() if line in {"one", "two"}]
        assert len(lines) == 200
        assert lines == sorted(lines) or lines == sorted(lines, reverse=True)

    def test_commands_stop_at_the_first_failure(self, tmp_path: Path) -> None:
        mark = tmp_path / "mark"
        commands = [python("raise SystemExit(4)"), python(f"open({str(mark)!r}, 'w')")]
        assert run_stage(Stage("a", "a test", commands), ENVIRONMENT).exit_code == 4
        assert not mark.exists()

    def test_a_missing_command_is_a_failure(self) -> None:
        assert run_stage(Stage("a", "a test", [["no-such-command-anywhere"]]), ENVIRONMENT).exit_code == 127

    def test_success_without_a_test_is_a_failure(self, tmp_path: Path) -> None:
        outcome = run_stage(stage("a", "pass", report=tmp_path / "missing.xml"), ENVIRONMENT)
        assert outcome.exit_code == 5

    def test_the_report_of_an_earlier_run_does_not_count(self, tmp_path: Path) -> None:
        old = junit(tmp_path / "old.xml", tests=9, failures=0, errors=0, skipped=0)
        assert run_stage(stage("a", "pass", report=old), ENVIRONMENT).exit_code == 5

    def test_reports_are_summed_over_suites(self, tmp_path: Path) -> None:
        path = junit(tmp_path / "r.xml", tests=10, failures=1, errors=2, skipped=3)
        assert read_report(path) == Count(passed=5, failed=3, skipped=3)

    def test_a_report_cut_short_counts_as_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.xml"
        path.write_text("<testsuites><testsuite tests=")
        assert read_report(path) == Count()

    def test_the_total_counts_a_failed_stage_without_tests(self) -> None:
        any_stage = stage("a", "pass")
        outcomes = [
            Outcome(any_stage, 0, 1.0, Count(7, 0, 1)),
            Outcome(any_stage, 1, 1.0, Count(2, 2, 0)),
            Outcome(any_stage, 1, 1.0, None),
            Outcome(any_stage, None, 0.0, None),
            Outcome(any_stage, 2, 0.0, Count(4, 0, 0)),
        ]
        assert total(outcomes) == Count(passed=13, failed=5, skipped=1)
        assert str(total(outcomes)) == "13 passed, 5 failed, 1 skipped"

    def test_the_table_has_a_line_for_each_and_one_for_all(self) -> None:
        outcomes = [
            Outcome(stage("first", "pass"), 0, 1.25, Count(7)),
            Outcome(stage("second", "pass"), 9, 60.0, None),
        ]
        assert summary(outcomes).splitlines() == [
            "first        1.2 s  ok  (7 passed, 0 failed)",
            "second      60.0 s  FAILED (exit 9)",
            "total       61.2 s  1 of 2 stages FAILED or not run",
        ]


class TestCheck:
    def test_the_projects_own_commits_are_searched_but_for_named_files(self, tmp_path: Path) -> None:
        """The stage as it is, on a repository with keys beside those that may be there."""
        assert check.STAGES["leak-scan"] in check.LINT
        (argv,) = check.STAGES["leak-scan"].commands
        assert [rule for rule in check.NO_LEAKS if ":" not in rule] == [], "no rule is left out for all files"
        for word in ("init --quiet", "config user.name t", "config user.email t@localhost"):
            subprocess.run(["git", *word.split()], cwd=tmp_path, check=True)
        key = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEowIBAAKCAQEAy\n"
        for name, status in (("tests/fixtures/sealed_secrets/vectors.json", 0), ("tests/fixtures/other.pem", 1)):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(key + name)
            for words in (["add", "--all"], ["commit", "--quiet", "-m", "x"]):
                subprocess.run(["git", *words], cwd=tmp_path, check=True)
            done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert done.returncode == status, done.stdout + done.stderr

    def test_every_stage_can_be_named(self) -> None:
        names = [item.name for item in check.select(["all"])]
        assert names[:2] == ["apt", "mirror"]
        assert len(names) == len(set(names))
        assert set(names) == set(check.STAGES)
        assert [item.name for item in check.select(["unit", "apt"])] == ["apt", "unit"]

    def test_a_missing_program_counts_as_failed_only_where_programs_were_installed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("STAGECRAFT_TEST_PROGRAMS", raising=False)
        assert check.environment(check.select(["unit"])).get("STAGECRAFT_TEST_PROGRAMS") is None
        assert check.environment(check.select(["all"]))["STAGECRAFT_TEST_PROGRAMS"] == "installed"

    def test_an_unknown_stage_is_refused(self) -> None:
        command = [sys.executable, "-m", "tools.check", "no-such-stage"]
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert answer.returncode == 2
        assert "no-such-stage" in answer.stderr


class TestApt:
    def test_comments_are_no_packages(self) -> None:
        assert apt.wanted_packages("# a list\none\n\ntwo # why\n") == ["one", "two"]

    def test_the_list_is_sensible(self) -> None:
        wanted = apt.wanted_packages(apt.LIST.read_text())
        assert len(wanted) == len(set(wanted))
        assert {"systemd-container", "openssh-server", "openssl", "sudo"} <= set(wanted)

    @pytest.mark.parametrize(("name", "package"), [("NO_SSHD", "openssh-server"), ("CLUSTERS", "postgresql")])
    @pytest.mark.parametrize("off", [True, False])
    def test_a_server_that_is_only_for_tests_is_off_before_it_is_installed(
        self, name: str, package: str, *, off: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        missing = [package, "sudo"] if off else ["sudo"]
        switch = tmp_path / "etc" / "switch"
        seen: list[tuple[str, bool]] = []
        monkeypatch.setattr(apt, name, switch)
        monkeypatch.setattr(apt, "missing_packages", lambda _wanted: missing)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(
            subprocess, "run", lambda command, **_more: seen.append((" ".join(command), switch.exists()))
        )
        apt.main()
        command, was_off = seen[-1]
        assert command.endswith(" ".join(missing))
        assert was_off is off


class TestSandbox:
    RECAP = (
        "PLAY RECAP ****\n"
        "cp1              : ok=12   changed=0    unreachable=0    failed=0    skipped=3    rescued=0    ignored=0\n"
        "w-1.example      : ok=9    changed=10   unreachable=0    failed=0    skipped=3    rescued=0    ignored=0\n"
    )

    def test_changes_are_read_from_the_recap(self) -> None:
        assert sandbox.changed_hosts(self.RECAP) == {"w-1.example": 10}

    @pytest.mark.parametrize(
        ("changed", "recap", "exit_code"), [(0, True, 0), (2, True, 1), (0, False, 1)], ids=["same", "changed", "none"]
    )
    def test_the_second_run_fails_unless_it_changed_nothing(
        self, changed: int, recap: bool, exit_code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sandbox, "ROOT", tmp_path)
        line = f"cp1  : ok=1  changed={changed}  unreachable=0  failed=0" if recap else "nothing"
        code = (
            f"import os; open(os.environ['ANSIBLE_LOG_PATH'], 'w').write('2026 p=1 u=root n=ansible INFO| {line}\\n')"
        )
        outcome = sandbox.run_again(stage(sandbox.AGAIN, code), ENVIRONMENT)
        assert outcome.exit_code == exit_code


class TestDevelopmentSetUp:
    def test_collections_are_read_from_both_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "galaxy.yml").write_text(
            'name: x\ndependencies:\n  a.b: ">=1"\n  "c.d": "*"\nbuild_ignore:\n  - e\n'
        )
        (tmp_path / "collections.yml").write_text("collections:\n  - f.g # why\n  - a.b\n")
        monkeypatch.setattr(dev, "ROOT", tmp_path)
        monkeypatch.setattr(dev, "REQUIREMENTS", tmp_path)
        assert dev.wanted_collections() == ["a.b", "c.d", "f.g"]

    def test_collections_of_another_checkout_that_are_linked_stay_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here, there = tmp_path / "here", tmp_path / "there"
        for made in (here / "old" / "one", here / "stagecraft", there / "posix"):
            made.mkdir(parents=True)
        (here / "ansible").symlink_to(there)
        (here / "stagecraft" / "gitops").symlink_to(tmp_path)
        monkeypatch.setattr(dev, "COLLECTIONS", here)
        dev.unpack_collections([], Path(sys.executable))
        assert (there / "posix").is_dir()
        assert {path.relative_to(here).as_posix() for path in here.rglob("*")} == {"stagecraft", "stagecraft/gitops"}

    def test_a_part_is_made_once_for_one_key(self, tmp_path: Path) -> None:
        made: list[str] = []
        for key in ("one", "one", "two"):
            dev.make("it", tmp_path / "stamp", key, partial(made.append, key))
        assert made == ["one", "two"]

    def test_a_part_that_failed_is_made_again(self, tmp_path: Path) -> None:
        def fail() -> None:
            raise SystemExit("no")

        stamp = tmp_path / "stamp"
        dev.make("it", stamp, "one", lambda: None)
        with pytest.raises(SystemExit):
            dev.make("it", stamp, "two", fail)
        assert not stamp.exists()

    def test_the_python_it_finds_really_runs(self) -> None:
        found = subprocess.run([ROOT / "tools" / "find-python"], capture_output=True, text=True, check=True).stdout
        code = "import sys; print(sys.version_info[:2] in ((3, 11), (3, 12), (3, 13)), sys.prefix == sys.base_prefix)"
        answer = subprocess.run([found.strip(), "-c", code], capture_output=True, text=True, check=True)
        assert answer.stdout.split() == ["True", "True"]

    def test_a_shim_that_fails_is_passed_over(self, tmp_path: Path) -> None:
        for name in ("python3.13", "python3.12"):
            shim = tmp_path / name
            shim.write_text("#!/bin/sh\nexit 127\n")
            shim.chmod(0o755)
        (tmp_path / "python3.11").symlink_to(sys.executable)
        search = {**ENVIRONMENT, "PATH": f"{tmp_path}:/usr/bin:/bin"}
        answer = subprocess.run(
            [ROOT / "tools" / "find-python"], env=search, capture_output=True, text=True, check=True
        )
        assert str(tmp_path) not in answer.stdout


def test_sanity_sees_the_files_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every supported Python: Debian 12's 3.11.2 has no filters for archives, which mypy does not know."""
    archive = tmp_path / "stagecraft-gitops-0.1.0.tar.gz"
    (tmp_path / "galaxy.yml").write_text("name: gitops\n")
    subprocess.run(["tar", "-C", tmp_path, "-czf", archive, "galaxy.yml"], check=True)
    monkeypatch.setattr(package, "build", lambda: archive)
    monkeypatch.setattr(sanity, "WORK", tmp_path / "work")
    target = sanity.unpack()
    assert target.parts[-3:] == ("ansible_collections", "stagecraft", "gitops")
    assert (target / "galaxy.yml").read_text() == "name: gitops\n"


def test_scenarios_are_counted_as_tests(tmp_path: Path) -> None:
    outcomes = [Outcome(stage("a", ""), 0, 1.0, None), Outcome(stage("b", ""), 2, 1.0, None)]
    scenarios.write_report(outcomes, tmp_path / "m.xml")
    assert read_report(tmp_path / "m.xml") == Count(passed=1, failed=1)


def test_what_failed_is_named_with_its_reason_after_the_table(tmp_path: Path) -> None:
    """The end of a log is often all that is kept of a run."""
    said = "TASK [k3s : Start it] ****\\nfatal: [s1]: FAILED! => no memory\\nTASK [Destroy] ***\\nok: [s1]\\n"
    with (tmp_path / "log").open("w") as log:
        scenario = run_stage(stage("k3s-ha", f"print('{said}'); raise SystemExit(2)"), ENVIRONMENT, log)
        types = run_stage(stage("mypy", "print('a.py:1: wrong'); raise SystemExit(1)"), ENVIRONMENT, log)
        passed = run_stage(stage("docs", "print('fatal: not at all')"), ENVIRONMENT, log)
    scenarios.write_report([scenario], tmp_path / "m.xml")
    molecule = Outcome(Stage("molecule", "", [], report=tmp_path / "m.xml"), 1, 1.0, Count(failed=1))
    not_run = Outcome(stage("unit", ""), None, 0.0, None)
    assert failures([molecule, types, passed, not_run]).splitlines() == [
        "FAILED molecule: k3s-ha: FAILED (exit 2): TASK [k3s : Start it]: fatal: [s1]: FAILED! => no memory",
        "FAILED mypy: a.py:1: wrong",
    ]


def test_a_reason_is_cut_and_has_no_colours() -> None:
    assert reason(["\x1b[0;31mfatal: [a]: " + "x" * 9000 + "\x1b[0m"]).startswith("fatal: [a]: xxx")
    assert len(reason(["fatal: " + "x" * 9000])) == 600
    assert reason(["something\n", "\n"]) == "something"
    molecule = [
        "  \x1b[2m│\x1b[0m TASK [Run pytest] ***\n",
        "  \x1b[2m│\x1b[0m \x1b[31mfatal: [a]: no\x1b[0m\n",
        "ERROR    x\n",
    ]
    assert reason(molecule) == "TASK [Run pytest]: fatal: [a]: no"


def test_a_failure_that_was_ignored_is_no_reason() -> None:
    lines = ["fatal: [a]: one", "fatal: [a]: two", "...ignoring", "ok: [b]", "CRITICAL Ansible return code was 2"]
    assert reason(lines) == "fatal: [a]: one"
    assert reason(lines[1:]) == "CRITICAL Ansible return code was 2"


def test_a_scenario_names_the_playbooks_that_molecule_would_pass_over(tmp_path: Path) -> None:
    sequence = ["destroy", "create", "check", "idempotence", "verify kills.yml", "verify power.yml", "destroy"]
    (tmp_path / "molecule.yml").write_text(json.dumps({"scenario": {"test_sequence": sequence}}))
    for name in ("destroy.yml", "create.yml", "kills.yml"):
        (tmp_path / name).touch()
    assert scenarios.missing_playbooks(tmp_path) == ["converge.yml", "verify.yml", "power.yml"]


def test_two_runs_share_the_scenarios(tmp_path: Path) -> None:
    claims = tmp_path / "claims"
    with pytest.raises(TimeoutError, match="--beside is for a second one"):
        scenarios.wait_for_first_claim(claims, 0)
    one, other = scenarios.unclaimed(["a", "b", "c"], claims), scenarios.unclaimed(["a", "b", "c"], claims)
    assert [next(one), next(other), next(one)] == ["a", "b", "c"]
    assert [*one, *other] == []
    scenarios.wait_for_first_claim(claims, 0)
    scenarios.forget_claims(claims)
    assert [*scenarios.unclaimed(["a"], claims)] == ["a"]


def test_the_longest_scenarios_come_first(tmp_path: Path) -> None:
    for name, steps in {"short": ["verify"], "long": ["verify a.yml", "verify b.yml"], "also": ["verify"]}.items():
        (tmp_path / "molecule" / name).mkdir(parents=True)
        text = json.dumps({"scenario": {"test_sequence": ["create", *steps]}})
        (tmp_path / "molecule" / name / "molecule.yml").write_text(text)
    assert scenarios.scenarios(tmp_path) == ["long", "also", "short"]


def test_only_a_stage_that_takes_work_off_another_may_be_idle(tmp_path: Path) -> None:
    report = tmp_path / "r.xml"
    idle = stage("idle", f"open({str(report)!r}, 'w').write('<testsuite tests=\"0\"/>')", report=report)
    assert not run_stage(idle, ENVIRONMENT).ok
    assert run_stage(replace(idle, may_be_idle=True), ENVIRONMENT).ok


def test_our_scenarios_have_their_playbooks() -> None:
    names = scenarios.scenarios()
    assert names
    assert {name: scenarios.missing_playbooks(ROOT / "molecule" / name) for name in names} == {
        name: [] for name in names
    }
