# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Distribution packages: what counts as installed, and how the missing ones get there."""

from __future__ import annotations

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import errors, packages, spec, store
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.system import Completed

from .fake_host import ARCH, FakeHost, tar_of

STATUS = """\
Package: iptables
Status: install ok installed
Architecture: amd64
Provides: firewall, ip-filter (= 1.8)
Version: 1.8.9-2
Description: packet filter
 with a long text
 Package: not-a-package

Package: removed
Status: deinstall ok config-files
Version: 1.0

Package: half
Status: install ok half-configured
Version: 2.0
"""


def _installed(host: FakeHost) -> list[tuple[str, ...]]:
    return [command for command in host.commands if command[0] in ("apt-get", "dpkg")]


def test_what_counts_as_installed() -> None:
    versions, provided, interrupted = packages.parse_dpkg_status(STATUS)
    assert versions == {"iptables": "1.8.9-2", "iptables:amd64": "1.8.9-2"}
    assert provided == {"firewall", "ip-filter"}
    assert interrupted


def test_installed_packages_cost_no_command(host: FakeHost) -> None:
    host.write("/var/lib/dpkg/status", STATUS)
    result = host.apply({"packages": ["iptables", "firewall", "iptables:amd64", "iptables=1.8.9-2"]})
    assert result["plan"] == []
    assert host.commands == []


def test_another_version_is_missing(host: FakeHost) -> None:
    host.write("/var/lib/dpkg/status", STATUS)
    assert host.apply({"packages": ["iptables=2.0"]}, check=True)["missing_packages"] == ["iptables=2.0"]


def test_missing_packages_are_installed_without_questions(host: FakeHost) -> None:
    result = host.apply({"packages": ["chrony", "iptables"]})
    assert result["missing_packages"] == ["chrony", "iptables"]
    (command,) = _installed(host)
    assert command[:5] == ("apt-get", "install", "-y", "-q", "--no-install-recommends")
    assert "DPkg::Lock::Timeout=120" in command
    assert command[-2:] == ("chrony", "iptables")
    assert host.apply({"packages": ["chrony", "iptables"]})["plan"] == []


def test_lists_are_fetched_when_there_are_none(host: FakeHost) -> None:
    host.path("/var/lib/apt/lists/example_Packages").unlink()
    host.apply({"packages": ["chrony"]})
    assert [command[1] for command in _installed(host)] == ["update", "install"]


def test_lists_are_fetched_again_when_they_do_not_know_a_package(host: FakeHost) -> None:
    data = host.state
    data["after_update"] = ["conntrack"]
    host.replace_state(data)
    host.apply({"packages": ["conntrack"]})
    assert [command[1] for command in _installed(host)] == ["install", "update", "install"]


def test_a_package_that_nobody_has_is_named(host: FakeHost) -> None:
    with pytest.raises(
        errors.HostStateError, match=r"packages nonsense could not be installed .*Unable to locate package nonsense"
    ):
        host.apply({"packages": ["nonsense"]})


def test_an_interrupted_installation_is_finished_first(host: FakeHost) -> None:
    host.write("/var/lib/dpkg/status", STATUS)
    data = host.state
    data["available"].append("half")
    host.replace_state(data)
    host.apply({"packages": ["half"]})
    assert [command[:2] for command in _installed(host)] == [("dpkg", "--configure"), ("apt-get", "install")]
    assert host.apply({"packages": ["half"]})["plan"] == []


def test_another_failure_is_not_retried(host: FakeHost) -> None:
    host.answers["apt-get install"] = Completed(100, "", "E: Sub-process /usr/bin/dpkg returned an error code (1)")
    with pytest.raises(errors.HostStateError, match="returned an error code"):
        host.apply({"packages": ["chrony"]})
    assert [command[1] for command in _installed(host)] == ["install"]


def test_a_host_without_a_package_manager_is_refused_but_may_be_planned(host: FakeHost) -> None:
    host.path("/var/lib/dpkg/status").unlink()
    assert host.apply({"packages": ["chrony"]}, check=True)["missing_packages"] == ["chrony"]
    with pytest.raises(errors.ProblemsError, match="none of apt, dnf, zypper"):
        host.apply({"packages": ["chrony"]})


def test_rpm_is_asked_once(host: FakeHost) -> None:
    host.path("/var/lib/dpkg/status").unlink()
    host.write("/usr/bin/dnf", "")
    host.answers["rpm -q"] = Completed(1, "chrony-4.3-1.el9.x86_64\nno package provides conntrack-tools\n", "")
    assert host.apply({"packages": ["chrony", "conntrack-tools"]}, check=True)["missing_packages"] == [
        "conntrack-tools"
    ]
    assert len(host.commands) == 1
    host.answers["dnf -y install"] = Completed(1, "", "No match for argument: conntrack-tools")
    with pytest.raises(errors.HostStateError, match="No match for argument"):
        host.apply({"packages": ["chrony", "conntrack-tools"]})
    assert host.commands[-1] == ("dnf", "-y", "install", "conntrack-tools")


BUNDLED = tar_of({"Packages": "Package: chrony\n", "chrony_1.0_all.deb": "deb"})


def _repositories(host: FakeHost, push: bool = True, release: str = "debian/bookworm") -> dict[str, dict[str, object]]:
    sha256 = host.push(BUNDLED)
    if not push:
        host.path(store.incoming_path(sha256)).unlink()
    return {f"{release}/{ARCH}": {"sha256": sha256, "size": len(BUNDLED)}}


def test_packages_of_a_bundle_have_to_be_pushed_before_anything_is_changed(host: FakeHost) -> None:
    repositories = _repositories(host, push=False)
    before = host.snapshot()
    result = host.apply({"packages": ["chrony"]}, repositories=repositories)
    (need,) = result["needs"]
    assert (need["key"], need["install"], need["size"]) == (
        f"packages of debian/bookworm/{ARCH}",
        "packages",
        len(BUNDLED),
    )
    assert not result["changed"]
    assert host.snapshot() == before


def test_packages_are_installed_from_the_bundle_and_nothing_else_is_asked(host: FakeHost) -> None:
    host.path("/var/lib/apt/lists/example_Packages").unlink()
    repositories = _repositories(host)
    seen: list[str] = []

    def look(step: str) -> None:
        if host.path(spec.REPOSITORY + "/sources.list").exists() and not seen:
            seen.append(host.read(spec.REPOSITORY + "/sources.list") + host.read(spec.REPOSITORY + "/Packages"))

    result = host.apply({"packages": ["chrony"]}, repositories=repositories, hook=look)
    assert result["changed"]
    assert seen == [f"deb [trusted=yes] file:{spec.REPOSITORY} ./\nPackage: chrony\n"]
    update, install = _installed(host)
    for command in (update, install):
        assert f"Dir::Etc::sourcelist={spec.REPOSITORY}/sources.list" in command
        assert "Dir::Etc::sourceparts=-" in command
        assert f"Dir::State::lists={spec.REPOSITORY}/lists" in command
    assert (update[1], install[1]) == ("update", "install")
    assert not host.path(spec.REPOSITORY).exists()
    assert list(host.path(spec.INCOMING).iterdir()) == []
    again = host.apply({"packages": ["chrony"]}, repositories=repositories)
    assert (again["changed"], again["needs"]) == (False, [])


def test_a_release_that_the_bundle_does_not_have_is_told_with_those_that_it_has(host: FakeHost) -> None:
    repositories = _repositories(host, release="debian/trixie")
    with pytest.raises(
        errors.ProblemsError,
        match=rf"packages chrony are missing, .* none for debian/bookworm/{ARCH}, only for debian/trixie/{ARCH}: make the"
        r" bundle again with artifacts_package_releases: \[debian/bookworm\]",
    ):
        host.apply({"packages": ["chrony"]}, repositories=repositories)
    assert host.commands == []


def test_a_repository_that_is_not_the_bundles_is_refused_and_removed(host: FakeHost) -> None:
    repositories = _repositories(host)
    sha256 = str(repositories[f"debian/bookworm/{ARCH}"]["sha256"])
    host.write(store.incoming_path(sha256), b"x" * len(BUNDLED))
    with pytest.raises(errors.ProblemsError, match=r"the repository of packages was refused and removed"):
        host.apply({"packages": ["chrony"]}, repositories=repositories)
    assert host.commands == []
    assert not host.path(store.incoming_path(sha256)).exists()


def test_what_a_killed_installation_left_goes_with_the_next_run(host: FakeHost) -> None:
    repositories = _repositories(host)
    host.apply({"packages": ["chrony"]}, repositories=repositories)
    host.push(BUNDLED)
    host.write(spec.REPOSITORY + "/Packages", "left")
    host.apply({"packages": ["chrony"]}, repositories=repositories)
    assert not host.path(spec.REPOSITORY).exists()
    assert list(host.path(spec.INCOMING).iterdir()) == []


def test_nothing_of_the_bundle_stays_where_apt_fails(host: FakeHost) -> None:
    repositories = _repositories(host)
    host.answers["apt-get install"] = Completed(100, "", "E: Sub-process /usr/bin/dpkg returned an error code (1)")
    with pytest.raises(errors.HostStateError, match="returned an error code"):
        host.apply({"packages": ["chrony"]}, repositories=repositories)
    assert not host.path(spec.REPOSITORY).exists()
