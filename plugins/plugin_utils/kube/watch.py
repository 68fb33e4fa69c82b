# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a picture of some objects of a cluster up to date by watching them, through every loss of the connection.

Each watched list has a thread that lists, follows the changes, and lists again where it lost the thread. What they see
goes through one queue, so that whoever looks at the picture does so in one thread.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeconfigError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref, ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import Watch
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Resource, Session

#: For how many seconds one watch runs: a connection that died silently is noticed soon after.
_WATCH = 30
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0
#: Answers that asking again does not change.
_FINAL = (401, 403)


@dataclass(frozen=True)
class Scope:
    """A list to follow: a resource, in one namespace or ("") in all; `name` narrows it to one object."""

    resource: Resource
    namespace: str = ""
    name: str = ""

    @property
    def query(self) -> dict[str, str]:
        """What the server is to select."""
        return {"fieldSelector": f"metadata.name={self.name}"} if self.name else {}


@dataclass
class Picture:
    """What is known. `missing` are the scopes that have not been listed yet; `trouble` says why, scope by scope."""

    objects: dict[Ref, Object] = field(default_factory=dict)
    missing: set[Scope] = field(default_factory=set)
    trouble: dict[Scope, str] = field(default_factory=dict)
    #: When an object with this uid was first seen, by our own clock.
    since: dict[str, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Say whether every scope has been listed and nothing is lost at the moment."""
        return not self.missing and not self.trouble


@dataclass(frozen=True)
class _Listed:
    scope: Scope
    objects: tuple[Object, ...]


@dataclass(frozen=True)
class _Changed:
    scope: Scope
    kind: str
    item: Object


@dataclass(frozen=True)
class _Lost:
    scope: Scope
    error: KubeError


class Follower:
    """Follows scopes in threads of its own; use it in a `with` statement."""

    def __init__(self, session: Session, scopes: Iterable[Scope]) -> None:
        self._session = session
        self._news: queue.SimpleQueue[_Listed | _Changed | _Lost] = queue.SimpleQueue()
        self._end = threading.Event()
        self._open: set[Watch] = set()
        self._lock = threading.Lock()
        self._of: dict[Ref, Scope] = {}
        self.picture = Picture()
        self._scopes: set[Scope] = set()
        self._first = tuple(scopes)

    def __enter__(self) -> Self:
        for scope in self._first:
            self.add(scope)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        with self._lock:
            for watch in self._open:
                watch.stop()

    def add(self, scope: Scope) -> None:
        """Follow one more list; nothing happens where it is followed already."""
        if scope in self._scopes:
            return
        self._scopes.add(scope)
        self.picture.missing.add(scope)
        name = f"watch-{scope.resource.plural}"
        threading.Thread(target=self._follow, args=(scope,), name=name, daemon=True).start()

    def update(self, timeout: float) -> bool:
        """Wait for news, put all there are into the picture, and say whether there were any.

        Raises KubeconfigError and ApiError where waiting is of no use: credentials refused.
        """
        try:
            news = self._news.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            return False
        while True:
            self._take(news)
            try:
                news = self._news.get_nowait()
            except queue.Empty:
                return True

    def _take(self, news: _Listed | _Changed | _Lost) -> None:
        if isinstance(news, _Lost):
            if isinstance(news.error, KubeconfigError) or getattr(news.error, "status", None) in _FINAL:
                raise news.error
            self.picture.trouble[news.scope] = str(news.error)
            return
        self.picture.trouble.pop(news.scope, None)
        if isinstance(news, _Listed):
            for named in [named for named, scope in self._of.items() if scope == news.scope]:
                self._forget(named)
            for item in news.objects:
                self._keep(news.scope, item)
            self.picture.missing.discard(news.scope)
        elif news.kind == "DELETED":
            self._forget(ref(news.item))
        elif news.kind != "BOOKMARK":
            self._keep(news.scope, news.item)

    def _keep(self, scope: Scope, item: Object) -> None:
        named = ref(item)
        self._of[named] = scope
        self.picture.objects[named] = item
        self.picture.since.setdefault(str(item["metadata"].get("uid")), time.monotonic())

    def _forget(self, named: Ref) -> None:
        self._of.pop(named, None)
        self.picture.objects.pop(named, None)

    def _follow(self, scope: Scope) -> None:
        pause = _FIRST_PAUSE
        while not self._end.is_set():
            try:
                version = self._list(scope)
                pause = _FIRST_PAUSE
                while version and not self._end.is_set():
                    version = self._watch(scope, version)
            except (KubeError, OSError) as error:
                said = error if isinstance(error, KubeError) else ApiError(str(error))
                self._news.put(_Lost(scope, said))
                self._end.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _list(self, scope: Scope) -> str:
        resource = scope.resource
        found = self._session.get(resource.collection(scope.namespace), **scope.query)
        defaults = {"apiVersion": resource.version, "kind": resource.kind}
        self._news.put(_Listed(scope, tuple(defaults | item for item in found.get("items") or [])))
        return str(found["metadata"]["resourceVersion"])

    def _watch(self, scope: Scope, version: str) -> str:
        """Follow one watch to its end and return the version to go on from; "" to list again."""
        api = self._session.api()
        try:
            path = scope.resource.collection(scope.namespace)
            with api.watch(path, version, _WATCH, **scope.query) as watch, self._noted(watch):
                for kind, item in watch:
                    if self._end.is_set():
                        return ""
                    version = str(item["metadata"]["resourceVersion"])
                    self._news.put(_Changed(scope, kind, item))
        except ApiError as error:
            if error.status == 410:
                return ""
            if error.status is None:
                self._session.give_up(api)
            raise
        return version

    @contextlib.contextmanager
    def _noted(self, watch: Watch) -> Iterator[None]:
        with self._lock:
            self._open.add(watch)
        try:
            if self._end.is_set():
                watch.stop()
            yield
        finally:
            with self._lock:
                self._open.discard(watch)
