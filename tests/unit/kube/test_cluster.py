# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of an API server, with one that answers as a real one does: lists of any namespace, even of none."""

from __future__ import annotations

from typing import Any, cast

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import client, cluster
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.health import Expected, verdict


class Api:
    """Has the namespace shop with one StatefulSet, and no other."""

    def __init__(self, refusal: int = 404) -> None:
        self.refusal = refusal

    def text(self, path: str) -> str:
        return "ok"

    def get(self, path: str) -> dict[str, Any]:
        if path.startswith("/api/v1/namespaces/") and path != "/api/v1/namespaces/shop":
            raise ApiError(f"{path}: {self.refusal}", self.refusal)
        return {"gitVersion": "v1.36.3"}

    def items(self, path: str) -> list[dict[str, Any]]:
        meta = {"name": "db", "namespace": "shop"}
        return [{"metadata": meta}] if path == "/apis/apps/v1/namespaces/shop/statefulsets" else []


def look(expected: Expected, api: Api) -> list[str]:
    return verdict(expected, cluster.look(cast(client.ApiClient, api), expected))


def test_a_look_sees_stateful_sets_and_which_namespaces_are_not_there() -> None:
    assert look(Expected(namespaces=("shop", "typo")), Api()) == [
        "namespace typo: not in the cluster",
        "StatefulSet shop/db: 0 of 1 replicas",
    ]
    assert look(Expected(namespaces=(), workloads=("StatefulSet/shop/web",)), Api()) == [
        "StatefulSet shop/web: is not there"
    ]


def test_a_namespace_that_may_not_be_read_is_not_taken_for_one_that_is_not_there() -> None:
    with pytest.raises(ApiError, match="403"):
        look(Expected(namespaces=("shop", "other")), Api(refusal=403))
