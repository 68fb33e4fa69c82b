# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give an image in its registry another tag: the same manifest, byte for byte, so the same digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import selectors
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.live import Image

try:
    import urllib3
except ImportError as error:
    urllib3 = missing("urllib3", error)

_TIMEOUT = 20.0
_OCI, _DOCKER = "application/vnd.oci.image", "application/vnd.docker.distribution"
_ACCEPT = f"{_OCI}.index.v1+json, {_DOCKER}.manifest.list.v2+json, {_OCI}.manifest.v1+json, {_DOCKER}.manifest.v2+json"
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")
_HOSTS = {"docker.io": "registry-1.docker.io"}
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Options:
    """Which tags to give. `user` and the content of `password_file` log in to the registry; nobody without them."""

    tags: tuple[str, ...] = ()
    user: str = ""
    password_file: str = ""


@dataclass
class _Registry:
    """One repository of a registry."""

    image: Image
    options: Options
    _headers: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def base(self) -> str:
        host, _slash, repository = self.image.name.partition("/")
        scheme = "http" if _LOOPBACK.fullmatch(host) else "https"
        return f"{scheme}://{_HOSTS.get(host, host)}/v2/{repository}"

    def manifest(self, name: str) -> tuple[bytes, str] | None:
        """Return a manifest and its media type; None where there is none."""
        answer = self._ask("GET", name)
        if answer.status == 404:
            return None
        self._check(answer, "GET", name)
        return answer.data, str(answer.headers.get("Content-Type", "")).partition(";")[0]

    def put(self, tag: str, content: bytes, media_type: str) -> None:
        """Let a tag point to a manifest."""
        self._check(self._ask("PUT", tag, content, media_type), "PUT", tag)

    def _ask(self, method: str, name: str, body: bytes | None = None, media_type: str = "") -> Any:
        answer = self._send(method, f"{self.base}/manifests/{name}", body, media_type)
        if answer.status == 401:
            self._log_in(str(answer.headers.get("WWW-Authenticate", "")))
            answer = self._send(method, f"{self.base}/manifests/{name}", body, media_type)
        return answer

    def _send(self, method: str, address: str, body: bytes | None = None, media_type: str = "") -> Any:
        headers = {"Accept": _ACCEPT, **self._headers, **({"Content-Type": media_type} if media_type else {})}
        try:
            return urllib3.request(
                method, address, headers=headers, body=body, timeout=_TIMEOUT, retries=False, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise ReleaseError(f"{method} {address}: the registry does not answer: {error}.") from error

    def _log_in(self, challenge: str) -> None:
        """Do what the registry asks for: a password, or a token that a password gives."""
        basic = self._basic()
        scheme, _space, rest = challenge.partition(" ")
        if scheme.lower() == "basic" and basic:
            self._headers = basic
            return
        found = dict(_PARAMETER.findall(rest))
        if scheme.lower() != "bearer" or "realm" not in found:
            raise ReleaseError(f"{self.base}: the registry wants a login: give user and password_file.")
        repository = self.image.name.partition("/")[2]
        query = {"scope": f"repository:{repository}:pull,push"}
        query |= {"service": found["service"]} if "service" in found else {}
        try:
            answer = urllib3.request(
                "GET", f"{found['realm']}?{urlencode(query)}", headers=basic, timeout=_TIMEOUT, retries=False
            )
            body = json.loads(answer.data)
            token = body.get("token") or body.get("access_token")
        except (urllib3.exceptions.HTTPError, ValueError, AttributeError) as error:
            raise ReleaseError(f"{found['realm']}: no token of the registry: {error}.") from error
        self._headers = {"Authorization": f"Bearer {token}"}

    def _basic(self) -> dict[str, str]:
        if not self.options.password_file:
            return {}
        try:
            password = Path(self.options.password_file).expanduser().read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ReleaseError(f"the registry's password cannot be read: {error}.") from error
        made: Mapping[str, str] = urllib3.make_headers(basic_auth=f"{self.options.user}:{password}")
        return {"Authorization": made["authorization"]}

    def _check(self, answer: Any, method: str, name: str) -> None:
        if not 200 <= answer.status < 300:
            said = " ".join(answer.data.decode("utf-8", "replace").split())[:300]
            advice = {401: " The login is not accepted.", 403: " It may not push there."}.get(answer.status, "")
            raise ReleaseError(f"{method} {self.base}/manifests/{name}: {answer.status}: {said}.{advice}")


def retag(images: Iterable[Image], options: Options, *, check_mode: bool = False) -> list[dict[str, Any]]:
    """Give each image the tags; return what was done. Raises ReleaseError before anything is written where it can.

    The digest is checked before and after. A tag that is a version is made, and never moved. With `check_mode` nothing is
    written, and what would be done is returned.
    """
    wrong = [tag for tag in options.tags if not _TAG.fullmatch(tag)]
    if wrong:
        raise ReleaseError(f"retag: {', '.join(wrong)}: no tag can be called that.")
    plans = []
    for image in images:
        registry = _Registry(image, options)
        found = registry.manifest(image.digest or image.tag)
        if found is None:
            raise ReleaseError(f"{image.name}: the registry has no {image.digest or image.tag}.")
        content, media_type = found
        digest = _digest(content)
        if image.digest and digest != image.digest:
            raise ReleaseError(f"{image.name}: wanted {image.digest}, the registry sent {digest}.")
        for tag in options.tags:
            there = registry.manifest(tag)
            now = None if there is None else _digest(there[0])
            if now not in (None, digest) and selectors.semver(tag) is not None:
                raise ReleaseError(
                    f"{image.name}:{tag} is a version and points to {now}: it is never moved. Give {digest[:19]} another one."
                )
            plans.append((registry, tag, content, media_type, digest, now))
    done: list[dict[str, Any]] = []
    for registry, tag, content, media_type, digest, now in plans:
        if now != digest and not check_mode:
            try:
                _point(registry, tag, content, media_type)
            except ReleaseError as error:
                before = ", ".join(f"{one['image']}:{one['tag']}" for one in done if one["changed"])
                raise ReleaseError(f"{error}" + (f" Before it {before} was written." if before else "")) from error
        done.append({"image": registry.image.name, "tag": tag, "digest": digest, "changed": now != digest})
    return done


def _point(registry: _Registry, tag: str, content: bytes, media_type: str) -> None:
    """Let a tag point to a manifest, and see that it does."""
    registry.put(tag, content, media_type)
    check = registry.manifest(tag)
    if check is None or check[0] != content:
        raise ReleaseError(f"{registry.image.name}:{tag} does not point to {_digest(content)} after it was written.")


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
