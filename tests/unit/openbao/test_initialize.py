# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import initialize
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Server, Status
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.escrow import Escrow
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.initialize import Wanted

NEW = Status(False, True, "shamir", 0, 0, 0, "2.7.2", "")
SEALED = Status(True, True, "shamir", 3, 2, 0, "2.7.2", "")
OPEN = replace(SEALED, sealed=False, cluster="c")
ANSWERED = Escrow("staging", "https://bao", "answered", "shamir", 2, ("a", "b", "c"), "t")
ASKED = Escrow("staging", "https://bao", "asked")
WANTED = Wanted("staging", Path("keys.age"), ("age1a", "age1b"))


@pytest.mark.parametrize(
    ("status", "escrow", "steps"),
    [
        (NEW, None, ["initialize", "unseal"]),
        (NEW, ASKED, ["initialize", "unseal"]),
        (replace(NEW, seal="static"), None, ["initialize"]),
        (SEALED, ANSWERED, []),
        (OPEN, ANSWERED, []),
    ],
)
def test_what_is_done(status: Status, escrow: Escrow | None, steps: list[str]) -> None:
    assert initialize.plan_initialize(status, escrow, WANTED) == steps


@pytest.mark.parametrize(
    ("status", "escrow", "words"),
    [
        (NEW, ANSWERED, "its data are gone, or it is another server"),
        (SEALED, None, "wanted the keys of a server that is initialised, found no file"),
        (OPEN, ASKED, "a run was killed between the question and its answer"),
    ],
)
def test_what_must_not_be_done(status: Status, escrow: Escrow | None, words: str) -> None:
    with pytest.raises(OpenBaoError, match=words):
        initialize.plan_initialize(status, escrow, WANTED)


@pytest.mark.parametrize(("shares", "threshold"), [(3, 4), (3, 1), (3, 0), (0, 0)])
def test_numbers_that_make_no_sense_are_refused_before_the_server_is_asked(shares: int, threshold: int) -> None:
    with pytest.raises(OpenBaoError, match="wanted a threshold of 2 to"):
        initialize.plan_initialize(NEW, None, replace(WANTED, shares=shares, threshold=threshold))
    assert initialize.plan_initialize(NEW, None, replace(WANTED, shares=1, threshold=1))


def test_unsealing() -> None:
    assert initialize.plan_unseal(OPEN, ANSWERED) == []
    assert initialize.plan_unseal(SEALED, ANSWERED) == ["unseal"]
    assert initialize.plan_unseal(replace(SEALED, progress=1), ANSWERED) == ["reset", "unseal"]
    for status, escrow, words in (
        (NEW, ANSWERED, "it is not initialised"),
        (replace(SEALED, seal="transit"), ANSWERED, "unseals itself by transit, and is sealed"),
        (SEALED, ASKED, "wanted 2 keys to unseal the server, the escrow has 0"),
        (replace(SEALED, threshold=4), ANSWERED, "wanted 4 keys"),
    ):
        with pytest.raises(OpenBaoError, match=words):
            initialize.plan_unseal(status, escrow)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://bao.example.com:8200", "keys would be sent in clear"),
        ("http://192.0.2.1:8200", "keys would be sent in clear"),
        ("bao.example.com", "is no address of a server"),
        ("ftp://bao", "is no address of a server"),
    ],
)
def test_an_address_over_which_keys_would_be_read_is_refused(url: str, words: str) -> None:
    with pytest.raises(OpenBaoError, match=words):
        Server(url)


def test_where_nobody_answers_it_is_said() -> None:
    with pytest.raises(
        OpenBaoError, match=r"http://127.0.0.1:1: wanted to read its status, and no answer came: .*Does it run\?"
    ):
        Server("http://127.0.0.1:1", timeout=1).status()
