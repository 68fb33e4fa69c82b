# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a cluster through its API server, and wait until it is as expected."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import client, health
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeconfigError

if TYPE_CHECKING:
    from collections.abc import Callable

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 2.0
#: Answers that waiting does not change.
_FINAL = (401, 403)


@dataclass(frozen=True)
class Finding:
    """The last look: what it showed, what does not hold (empty: healthy), and how long it took in seconds."""

    seen: health.Cluster
    problems: tuple[str, ...]
    seconds: float

    @property
    def healthy(self) -> bool:
        """Say whether everything holds."""
        return not self.problems


def look(api: client.ApiClient, expected: health.Expected) -> health.Cluster:
    """Read everything that `expected` speaks of, in a handful of requests. Raises ApiError."""
    try:
        readyz = ""
        api.text("/readyz")
    except ApiError as error:
        if error.status is None or error.status in _FINAL:
            raise
        readyz = str(error)
    namespaces = dict.fromkeys((*expected.namespaces, *(["kube-system"] if expected.control_plane else [])))
    named = dict.fromkeys(workload.split("/")[1] for workload in expected.workloads)
    everywhere = dict.fromkeys((*expected.namespaces, *named))
    return health.Cluster(
        version=str(api.get("/version").get("gitVersion") or ""),
        readyz=readyz,
        nodes=tuple(api.items("/api/v1/nodes")),
        daemon_sets=tuple(o for n in everywhere for o in api.items(f"/apis/apps/v1/namespaces/{n}/daemonsets")),
        deployments=tuple(o for n in everywhere for o in api.items(f"/apis/apps/v1/namespaces/{n}/deployments")),
        stateful_sets=tuple(o for n in everywhere for o in api.items(f"/apis/apps/v1/namespaces/{n}/statefulsets")),
        absent_namespaces=tuple(n for n in dict.fromkeys(expected.namespaces) if not _has_namespace(api, n)),
        pods=tuple(o for n in namespaces for o in api.items(f"/api/v1/namespaces/{n}/pods")),
    )


def _has_namespace(api: client.ApiClient, name: str) -> bool:
    """Ask for the namespace itself: a list below one that does not exist is an empty one, and no error."""
    try:
        api.get(f"/api/v1/namespaces/{name}")
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True


def wait(
    access: client.ApiAccess,
    expected: health.Expected,
    timeout: float,
    progress: Callable[[str], None] | None = None,
) -> Finding:
    """Look until everything holds or `timeout` seconds are over; a timeout of 0 is one look.

    An API server that does not answer yet is waited for like anything else; what cannot get better by waiting (no or
    damaged kubeconfig, refused credentials) is raised at once as KubeconfigError or ApiError. `progress` is told
    each time the problems change.
    """
    start = time.monotonic()
    pause = _FIRST_PAUSE
    told: tuple[str, ...] = ()
    with _Connection(access) as connection:
        while True:
            seen, problems = connection.judge(expected)
            elapsed = time.monotonic() - start
            if not problems or elapsed + pause > timeout:
                return Finding(seen, tuple(problems), elapsed)
            if progress is not None and tuple(problems) != told:
                told = tuple(problems)
                progress("; ".join(problems))
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)


class _Connection:
    """An ApiClient that is made again after a failure, because an SSH connection may have died with the host."""

    def __init__(self, access: client.ApiAccess) -> None:
        self._access = access
        self._client: client.ApiClient | None = None

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def judge(self, expected: health.Expected) -> tuple[health.Cluster, list[str]]:
        """Look once; an API server that does not answer is a problem like any other."""
        try:
            if self._client is None:
                self._client = client.connect(self._access)
            seen = look(self._client, expected)
        except KubeconfigError:
            raise
        except ApiError as error:
            self._drop()
            if error.status in _FINAL:
                raise
            return health.Cluster(), [str(error)]
        return seen, health.verdict(expected, seen)

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
