# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a download says while it runs."""

from __future__ import annotations

import io

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.progress import (
    Event,
    PlainReporter,
    TerminalReporter,
    reporter,
)

MIB = 1 << 20


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_stream_decides_the_reporter() -> None:
    assert isinstance(reporter(io.StringIO(), 1), PlainReporter)
    assert isinstance(reporter(_Terminal(), 1), TerminalReporter)


def test_plain_lines_count_what_is_finished() -> None:
    stream = io.StringIO()
    say = PlainReporter(stream, 3, every=0.0)
    say(Event("a/1/amd64", "start"))
    say(Event("a/1/amd64", "bytes", MIB, 4 * MIB))
    say(Event("a/1/amd64", "retry", text="connection reset"))
    say(Event("a/1/amd64", "done", 4 * MIB, 4 * MIB))
    say(Event("b/1/amd64", "cached", MIB, MIB))
    say(Event("c/1/amd64", "failed", text="HTTP 404"))
    assert stream.getvalue().splitlines() == [
        "a/1/amd64: 1.0 of 4.0 MiB (25 %)",
        "a/1/amd64: trying again: connection reset",
        "[1/3] a/1/amd64: 4.0 MiB",
        "[2/3] b/1/amd64: already here",
        "[3/3] c/1/amd64: FAILED: HTTP 404",
    ]


def test_plain_lines_do_not_flood() -> None:
    stream = io.StringIO()
    say = PlainReporter(stream, 1, every=60.0)
    for done in range(1000):
        say(Event("a/1/amd64", "bytes", done, 1000))
    assert stream.getvalue() == ""


def test_a_terminals_line_changes_in_place_and_ends_once() -> None:
    stream = _Terminal()
    say = TerminalReporter(stream, 1, every=0.0)
    say(Event("kubelet/1/amd64", "start"))
    say(Event("kubelet/1/amd64", "bytes", MIB, 2 * MIB))
    say(Event("kubelet/1/amd64", "done", 2 * MIB, 2 * MIB))
    painted = stream.getvalue().split("\r\x1b[K")
    assert "0/1 kubelet 1.0 of 2.0 MiB (50 %)" in painted
    assert painted[-1] == "1/1 \n"
    assert stream.getvalue().count("\n") == 1
