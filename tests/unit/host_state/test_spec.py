# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations that cannot be used are refused with everything that is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import errors, spec


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"directories": [{"path": "relative"}]}, r"directories\[0\] \(relative\): path must be an absolute path"),
        ({"directories": [{"path": "/a/"}]}, "without a slash at its end"),
        ({"directories": [{"path": "/a/../b"}]}, r"without '\.', '\.\.' or doubled slashes"),
        ({"directories": [{"path": "/a", "mode": 755}]}, "quoted octal text"),
        ({"directories": [{"path": "/a", "mode": "u=rwx"}]}, "quoted octal text"),
        ({"directories": [{"path": "/a", "owner": True}]}, "owner must be text"),
        ({"directories": "x"}, "directories must be a list"),
        ({"directories": ["x"]}, r"directories\[0\]: must be a mapping"),
        ({"directories": [{}]}, "needs path"),
        ({"files": [{"path": "/a"}]}, "needs content, or absent: true"),
        ({"files": [{"path": "/a", "content": "x", "absent": True}]}, "remove one of the two"),
        ({"files": [{"path": "/a", "content": "x", "notify": "kubelet"}]}, "notify must be a list"),
        ({"files": [{"path": "/a", "content": "x", "notify": ["a b"]}]}, "no unit name"),
        ({"files": [{"path": "/a", "contents": "x"}]}, "has no option 'contents'; options are path, content"),
        ({"files": [{"path": "/a", "content": "x", "sensitive": "maybe"}]}, "sensitive must be true or false"),
        ({"links": [{"path": "/a"}]}, "needs target"),
        ({"artifacts": [{"name": "a/b", "version": "1", "install": "binary"}]}, "name may hold letters"),
        ({"artifacts": [{"name": "a", "version": "../1", "install": "binary"}]}, "version may hold letters"),
        ({"artifacts": [{"name": "a", "version": "1", "install": "deb"}]}, "one of binary, archive, image, none"),
        ({"artifacts": [{"name": "a", "version": "1", "install": "binary", "strip": 1}]}, "are for install: archive"),
        ({"artifacts": [{"name": "a", "version": "1", "install": "archive", "strip": -1}]}, "strip must be a number"),
        ({"artifacts": [{"name": "a", "version": "1", "install": "archive", "directory": "/"}]}, "must not be /"),
        (
            {"artifacts": [{"name": "a", "version": "1", "install": "image", "links": {"/a": "a"}}]},
            "not for install: image",
        ),
        (
            {"artifacts": [{"name": "a", "version": "1", "install": "binary", "links": {"/a": "../x"}}]},
            "inside the artefact",
        ),
        ({"artifacts": [{"name": "a", "version": "1", "install": "binary", "links": ["/a"]}]}, "links must map a path"),
        ({"kernel_modules": ["a/b"]}, "kernel_modules holds 'a/b'"),
        ({"sysctl": {"a.b": True}, "sysctl_file": "/etc/sysctl.d/x.conf"}, "sysctl a.b: the value must be a number"),
        ({"sysctl": {"a;b": 1}, "sysctl_file": "/etc/sysctl.d/x.conf"}, "no sysctl key"),
        ({"sysctl": {"a.b": 1}}, "sysctl needs sysctl_file"),
        ({"sysctl": ["a.b=1"], "sysctl_file": "/x"}, "sysctl must map a key to a value"),
        ({"swap": "off"}, "one of disabled, keep"),
        ({"packages": ["--option"]}, "packages holds '--option'"),
        ({"units": [{"name": "a b"}]}, "no unit name"),
        ({"units": [{"name": "a", "state": "running"}]}, "one of started, stopped, absent, any"),
        ({"units": [{"name": "a", "state": "absent", "enabled": True}]}, "absent and enabled"),
        ({"units": [{"name": "a", "start_timeout": 0}]}, "above 0"),
        ({"units": [{"name": "a"}, {"name": "a.service"}]}, "a.service is declared more than once"),
        (
            {"files": [{"path": "/a", "content": ""}], "links": [{"path": "/a", "target": "b"}]},
            "/a is declared 2 times: files, links",
        ),
        ({"misspelt": []}, "has no option 'misspelt'"),
    ],
)
def test_refused(state: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.ProblemsError, match=message):
        spec.parse(state)


def test_all_problems_come_at_once() -> None:
    state = {"directories": [{"path": "x"}], "files": [{"path": "/y"}], "swap": "off", "units": [{"name": "a b"}]}
    with pytest.raises(errors.ProblemsError) as caught:
        spec.parse(state)
    assert len(caught.value.problems) == 4


def test_options_that_were_not_given_take_their_defaults() -> None:
    found = spec.parse(
        {"files": [{"path": "/a", "content": "", "mode": None, "notify": None}], "units": [{"name": "a"}]}
    )
    assert found.files == (spec.File("/a"),)
    assert found.units == (spec.Unit("a.service", enabled=True, state="started"),)


def test_absent_units_are_disabled() -> None:
    assert spec.parse({"units": [{"name": "a", "state": "absent"}]}).units[0].enabled is False


def test_notified_units_are_known_without_being_declared() -> None:
    found = spec.parse(
        {"files": [{"path": "/a", "content": "", "notify": ["chrony", "b.timer"]}], "units": [{"name": "chrony"}]}
    )
    assert [(unit.name, unit.state, unit.enabled) for unit in found.all_units] == [
        ("chrony.service", "started", True),
        ("b.timer", "any", None),
    ]


def test_sysctl_becomes_a_file() -> None:
    found = spec.parse({"sysctl": {"b.c": " 4096\t8192 ", "a.b": 1}, "sysctl_file": "/etc/sysctl.d/x.conf"})
    assert found.all_files[-1].content == "a.b = 1\nb.c = 4096 8192\n"


def test_content_is_not_part_of_a_representation() -> None:
    assert "s3cr3t" not in repr(spec.parse({"files": [{"path": "/a", "content": "s3cr3t", "sensitive": True}]}))


def test_damaged_digests_are_refused() -> None:
    state = {"artifacts": [{"name": "a", "version": "1", "install": "binary"}]}
    with pytest.raises(errors.ProblemsError, match="not 64 hexadecimal digits"):
        spec.parse(state, {"a/1": {"amd64": {"sha256": "abc"}}})
