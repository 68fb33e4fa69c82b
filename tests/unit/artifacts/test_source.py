# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role's variables turn into, and what they cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import SourceError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Settings, Source, default_cache


def test_nothing_said_means_upstream() -> None:
    settings = Settings.from_options(
        {"mirror": "", "bundle": None, "cache": "", "lock": "", "trust_built_mirror": False}
    )
    assert settings.source.kind == "upstream"
    assert settings.cache == default_cache()
    assert settings.lock is None
    assert settings.jobs == 4


@pytest.mark.parametrize(
    ("options", "kind", "local"),
    [
        ({"mirror": "/srv/mirror"}, "mirror", True),
        ({"mirror": "https://mirror.example/artefacts/"}, "mirror", False),
        ({"bundle": "~/bundle"}, "bundle", True),
        ({}, "upstream", False),
    ],
)
def test_kinds_of_sources(options: dict[str, Any], kind: str, local: bool) -> None:
    source = Settings.from_options(options).source
    assert (source.kind, source.is_local) == (kind, local)
    assert "~" not in source.root


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"mirror": "/a", "bundle": "/b"}, ["both a mirror (/a) and a bundle (/b)"]),
        ({"mirrror": "/a", "jobs": 0.5, "trust_built_mirror": "yes"}, ["'mirrror'", "jobs", "trust_built_mirror"]),
        ({"jobs": 33}, ["from 1 to 32"]),
        ({"jobs": "many"}, ["from 1 to 32"]),
        ({"mirror": "ftp://mirror.example"}, ["only a directory or an http(s) URL"]),
    ],
)
def test_all_wrong_settings_are_named(options: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(SourceError) as caught:
        Settings.from_options(options)
    for part in parts:
        assert part in str(caught.value)


def test_passwords_in_a_mirrors_url_are_not_shown() -> None:
    source = Source.mirror("https://me:secret@mirror.example/a")
    assert str(source) == "mirror https://mirror.example/a"
    assert source.url("github.com/k3s/v1+k3s1/k3s", "").endswith("mirror.example/a/github.com/k3s/v1+k3s1/k3s")


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.delenv("STAGECRAFT_CACHE", raising=False)
    assert default_cache() == Path("/xdg/stagecraft/artifacts")
    monkeypatch.setenv("STAGECRAFT_CACHE", "/elsewhere")
    assert default_cache() == Path("/elsewhere/artifacts")
