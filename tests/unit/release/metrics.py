# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What verification makes of a metric: the same demands on served answers and on a real Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import verify


def expect(prometheus: str, query: str, limits: Mapping[str, float], failure: str, warning: str) -> None:
    """Ask for metric m; `failure` is all that may fail, `warning` a part of what is told, "" for none."""
    answer = verify._Answer()
    verify._promql({"url": prometheus, "query": query, "name": "m", **limits}, answer)
    assert answer.failures == ([failure] if failure else [])
    assert bool(answer.warnings) is bool(warning), answer.warnings
    assert warning in "".join(answer.warnings)
