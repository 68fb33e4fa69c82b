# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties: after any sequence of promotions, rollbacks, holds and commits by hand nothing but versions has changed."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.release.lab import A, B, C, Lab, kustomization

STAGING = "clusters/staging/podinfo/kustomization.yaml"
PRODUCTION = "clusters/production/podinfo/kustomization.yaml"
HOLDS = "clusters/production/gitops-holds.yaml"
MARKER = '      # {"$imagepolicy": "flux-system:podinfo:tag"}'
_VERSION = re.compile(r"^( +)(newTag|digest):.*\n", re.MULTILINE)

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("release"), st.sampled_from(["6.7.0", "6.8.0", "1.10", "7.0.0-rc.1"]), st.sampled_from(["", A, C])
        ),
        st.tuples(st.just("promote"), st.booleans(), st.just("")),
        st.tuples(st.just("rollback"), st.sampled_from(["previous", "6.5.4", "6.6.0"]), st.booleans()),
        st.tuples(st.just("hold"), st.sampled_from(["present", "absent"]), st.just("")),
        st.tuples(st.just("hand"), st.just(""), st.just("")),
    ),
    min_size=1,
    max_size=5,
)


def without_versions(text: str) -> str:
    """A file without the lines of its versions; a marker in either form counts as none."""
    return _VERSION.sub("", text)


def step(lab: Lab, action: str, one: object, other: object, *, check_mode: bool) -> dict[str, Any]:
    if action == "promote":
        return lab.promote(force=bool(one), reason="because", gates={"no_downgrade": "off"}, check_mode=check_mode)
    if action == "rollback":
        return lab.rollback(str(one), hold=bool(other), force=True, check_mode=check_mode)
    run = lab.run(reason="because", check_mode=check_mode)
    return run.hold("production", ["podinfo"], str(one))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_any_sequence_changes_versions_only_and_check_mode_tells_it(steps: list[tuple[str, object, object]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab(Path(directory))
        lab.commit(
            {PRODUCTION: kustomization("6.5.4", A, replicas=3, marker=MARKER), STAGING: kustomization("6.6.0", B)}
        )
        rest = without_versions(lab.text(PRODUCTION))
        others = {
            path: blob for path, blob in lab.tree().items() if path not in (PRODUCTION, STAGING, HOLDS, "README.md")
        }
        for number, (action, one, other) in enumerate(steps):
            if action == "release":
                lab.commit({STAGING: kustomization(f'"{one}"', str(other))})
                continue
            if action == "hand":
                lab.commit({"README.md": f"{number}\n"})
                continue
            try:
                told = step(lab, action, one, other, check_mode=True)
                done = step(lab, action, one, other, check_mode=False)
            except (ReleaseError, GitError):
                continue
            assert {key: told.get(key) for key in ("changed", "failed", "plan_id", "diff")} == {
                key: done.get(key) for key in ("changed", "failed", "plan_id", "diff")
            }
            if done.get("changed"):
                for entry in done["diff"]:
                    path = entry["after_header"]
                    assert entry["after"] == (lab.text(path) if path in lab.tree() else "")
            text = lab.text(PRODUCTION)
            assert without_versions(text) == rest
            assert text.count(MARKER) + text.count("# gitops-held flux-system:podinfo:tag") == 1
        now = lab.tree()
        assert {path: now[path] for path in others} == others
