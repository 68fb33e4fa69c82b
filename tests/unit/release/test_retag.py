# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags follow what was promoted, and nothing beside it; what is told is what was done."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import retag
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.live import Image

from tests.unit.release.lab import IMAGE, Lab, kustomization

STAGING = "clusters/staging/podinfo/kustomization.yaml"
PRODUCTION = "clusters/production/podinfo/kustomization.yaml"
MANIFEST = b'{"schemaVersion": 2}'
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
TAGS = retag.Options(("production-latest",))


class Registry:
    """What two registries hold; the one of the sidecar is somebody else's."""

    def __init__(self) -> None:
        self.held = {("ghcr.io/v2/x/podinfo", DIGEST): MANIFEST, ("ghcr.io/v2/x/web", DIGEST): MANIFEST}
        self.asked: list[str] = []
        self.refuses = "ghcr.io/v2/x/zebra"

    def request(self, method: str, address: str, **given: Any) -> SimpleNamespace:
        name, _slash, tag = address.removeprefix("https://").partition("/manifests/")
        self.asked.append(f"{method} {name}:{tag}")
        if method == "PUT":
            if name == self.refuses:
                return SimpleNamespace(status=403, data=b"denied", headers={})
            self.held[name, tag] = given["body"]
        found = self.held.get((name, tag))
        return SimpleNamespace(status=404 if found is None else 200, data=found or b"", headers={})

    @property
    def written(self) -> list[str]:
        return [one for one in self.asked if one.startswith("PUT")]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    found = Registry()
    monkeypatch.setattr(urllib3, "request", found.request)
    return found


def test_only_what_was_promoted_gets_the_tag(lab: Lab, registry: Registry) -> None:
    """The sidecar stands in the same file, is the same in both environments, and is not ours to tag."""
    lab.commit({STAGING: kustomization("6.7.0", DIGEST)})
    wanted = [{"image": IMAGE, "tag": "production-latest", "digest": DIGEST, "changed": True}]
    told = lab.promote(retag=TAGS, check_mode=True)
    planned = lab.promote(retag=TAGS, strategy="plan")
    assert told["retagged"] == planned["retagged"] == wanted
    assert registry.written == []
    assert "retagged" not in lab.promote(retag=TAGS, check_mode=True, strategy="pull_request")
    done = lab.promote(retag=TAGS)
    assert done.get("failed") is None, done["msg"]
    assert done["retagged"] == wanted
    assert registry.written == ["PUT ghcr.io/v2/x/podinfo:production-latest"]


def test_a_run_with_nothing_to_promote_gives_the_tags_that_are_missing(lab: Lab, registry: Registry) -> None:
    lab.commit({STAGING: kustomization("6.7.0", DIGEST)})
    lab.promote()
    for mode in ({"check_mode": True}, {"strategy": "plan"}):
        told = lab.promote(retag=TAGS, **mode)
        assert (told["changed"], [one["image"] for one in told["retagged"]]) == (True, [IMAGE])
    assert registry.written == []
    done = lab.promote(retag=TAGS)
    assert (done["changed"], done["retagged"][0]["changed"], len(registry.written)) == (True, True, 1)
    again = lab.promote(retag=TAGS)
    assert (again["changed"], again["retagged"][0]["changed"], len(registry.written)) == (False, False, 1)


def test_what_got_no_tag_is_told_with_what_got_one(lab: Lab, registry: Registry) -> None:
    lab.commit({STAGING: kustomization("6.7.0", DIGEST)})
    lab.promote()
    registry.refuses = "ghcr.io/v2/x/podinfo"
    failed = lab.promote(retag=TAGS)
    assert failed["failed"]
    assert failed["msg"].startswith("its images did not get all tags: PUT https://ghcr.io/v2/x/podinfo/manifests/")
    images = [Image("ghcr.io/x/web", "1", DIGEST), Image(IMAGE, "6.7.0", DIGEST)]
    with pytest.raises(ReleaseError, match=r"403: denied.* Before it ghcr\.io/x/web:production-latest was written\."):
        retag.retag(images, TAGS)
