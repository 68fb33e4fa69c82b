# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP for artefacts: small documents in memory, large files resumed by Range over any number of cut connections.

The only module of the package that opens sockets; it loads `requests` when the first one is needed.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from urllib.parse import urlsplit, urlunsplit

from .errors import ArtifactError, DownloadFailed, MissingArtifact

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    import requests

_CHUNK = 1 << 16  # what is lost at most when a server falls silent
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_DOCUMENT_LIMIT = 8 << 20
_RETRY_AFTER_MOST = 60.0

_T = TypeVar("_T")

OnBytes = Callable[[int, "int | None"], None]
OnRetry = Callable[[str], None]


class Unauthorized(DownloadFailed):
    """The server wants (another) token; `challenge` is its WWW-Authenticate header."""

    def __init__(self, message: str, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge


@dataclass(frozen=True)
class Policy:
    """How patient a download is. Times in seconds.

    A download gives up after `attempts` tries in a row that brought not one byte, or `most` tries in all.
    """

    attempts: int = 5
    most: int = 100
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    backoff: float = 0.5
    backoff_most: float = 15.0


@dataclass(frozen=True)
class Document:
    """A small answer, whole; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Again(Exception):
    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


def _libraries() -> tuple[ModuleType, ModuleType]:
    """Load requests and urllib3: only those who download need them."""
    try:
        import requests  # noqa: PLC0415
        import urllib3  # noqa: PLC0415
    except ImportError as error:
        raise DownloadFailed(
            f"downloads need the Python library {error.name} on the controller, which is not there:"
            " `python3 -m pip install requests` in Ansible's environment, or use a mirror directory or a bundle"
        ) from error
    return requests, urllib3


def redacted(url: str) -> str:
    """Give the URL without user and password, for messages."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class Transport:
    """One per fetch; threads may share it."""

    def __init__(self, policy: Policy | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self.policy = policy or Policy()
        self._sleep = sleep
        self._local = threading.local()

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Document:
        """Get a small document. Raises MissingArtifact (404), Unauthorized (401) or DownloadFailed, after retries."""

        def once() -> Document:
            with self._open(url, headers or {}) as response:
                self._check(response, url)
                body = bytearray()
                for chunk in self._chunks(response):
                    body += chunk
                    if len(body) > _DOCUMENT_LIMIT:
                        raise DownloadFailed(
                            f"{redacted(url)}: more than {_DOCUMENT_LIMIT} bytes where a small document belongs"
                        )
                _complete(len(body), _length(response))
                return Document(response.status_code, {k.lower(): v for k, v in response.headers.items()}, bytes(body))

        return self._retrying(url, once, lambda: 0, None)

    def download(
        self,
        url: str,
        part: Path,
        *,
        headers: Mapping[str, str] | None = None,
        on_bytes: OnBytes | None = None,
        on_retry: OnRetry | None = None,
    ) -> bool:
        """Bring `url` into `part`, continuing what is there already; True when any of it was continued.

        `on_bytes` hears (bytes so far, bytes in all or None). The contents are not verified: that is the caller's part,
        and where something was continued a wrong digest may only mean that the first half was of another file.
        """
        resumed = False

        def size() -> int:
            return part.stat().st_size if part.exists() else 0

        def once() -> None:
            nonlocal resumed
            offset = size()
            resumed = resumed or offset > 0
            self._continue(url, part, offset, headers or {}, on_bytes)

        self._retrying(url, once, size, on_retry)
        return resumed

    def _continue(
        self, url: str, part: Path, offset: int, headers: Mapping[str, str], on_bytes: OnBytes | None
    ) -> None:
        extra = {"Range": f"bytes={offset}-"} if offset else {}
        with self._open(url, {**headers, **extra}) as response:
            if offset and response.status_code == 416:
                if _total(response) == offset:
                    return
                part.unlink(missing_ok=True)
                raise _Again("the server's file is shorter than what is here; starting over")
            self._check(response, url)
            start, total = _span(response)
            if start not in (0, offset):
                part.unlink(missing_ok=True)
                raise _Again(f"asked for bytes from {offset}, got them from {start}; starting over")
            done = start
            with _open_part(part, append=start > 0) as file:
                for chunk in self._chunks(response):
                    try:
                        file.write(chunk)
                    except OSError as error:
                        raise _disk(part, error) from error
                    done += len(chunk)
                    if on_bytes is not None:
                        on_bytes(done, total)
            _complete(done, total)

    def _retrying(self, url: str, once: Callable[[], _T], size: Callable[[], int], on_retry: OnRetry | None) -> _T:
        fruitless = 0
        for attempt in range(1, self.policy.most + 1):
            before = size()
            try:
                return once()
            except _Again as again:
                fruitless = 0 if size() > before else fruitless + 1
                reason, after = str(again), again.after
            if fruitless >= self.policy.attempts or attempt == self.policy.most:
                raise DownloadFailed(
                    f"{redacted(url)}: gave up after {attempt} attempts with {size()} bytes here; last: {reason};"
                    " run again to continue from there"
                )
            if on_retry is not None:
                on_retry(reason)
            self._sleep(after if after is not None else self._pause(fruitless))
        raise AssertionError("unreachable: the loop returns or raises")

    def _pause(self, fruitless: int) -> float:
        longest = min(self.policy.backoff_most, self.policy.backoff * 2**fruitless)
        return float(longest * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, no secret

    @contextlib.contextmanager
    def _open(self, url: str, headers: Mapping[str, str]) -> Iterator[requests.Response]:
        requests, urllib3 = _libraries()

        timeout = (self.policy.connect_timeout, self.policy.read_timeout)
        everything = {"Accept-Encoding": "identity", **headers}
        permanent = (
            requests.exceptions.InvalidURL,
            requests.exceptions.MissingSchema,
            requests.exceptions.InvalidSchema,
            requests.exceptions.SSLError,
            requests.exceptions.TooManyRedirects,
        )
        try:
            with self._session().get(url, headers=everything, stream=True, timeout=timeout) as response:
                yield response
        except permanent as error:
            raise DownloadFailed(f"{redacted(url)}: {_plain(error, url)}") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _Again(_plain(error, url)) from error

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = _libraries()[0].Session()
            session.headers["User-Agent"] = "stagecraft.gitops"
        return session

    @staticmethod
    def _check(response: requests.Response, url: str) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status in _TRANSIENT:
            raise _Again(f"HTTP {status} {response.reason}", _retry_after(response))
        where = redacted(url)
        if status in (404, 410):
            raise MissingArtifact(f"{where}: HTTP {status}, there is no such file")
        if status == 401:
            raise Unauthorized(
                f"{where}: HTTP 401, the server wants credentials", response.headers.get("WWW-Authenticate", "")
            )
        raise DownloadFailed(f"{where}: HTTP {status} {response.reason}")

    @staticmethod
    def _chunks(response: requests.Response) -> Iterator[bytes]:
        # Not iter_content: it would undo a Content-Encoding, and then the bytes are not those that the digest is of.
        yield from response.raw.stream(_CHUNK, decode_content=False)


def _open_part(part: Path, *, append: bool) -> BinaryIO:
    try:
        return part.open("ab" if append else "wb")
    except OSError as error:
        raise _disk(part, error) from error


def _disk(part: Path, error: OSError) -> ArtifactError:
    return DownloadFailed(
        f"cannot write {part}: {error.strerror}; free some room there or choose another cache directory"
    )


def _length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _total(response: requests.Response) -> int | None:
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    return int(found[2]) if found and found[2] != "*" else None


def _span(response: requests.Response) -> tuple[int, int | None]:
    """Where the body starts in the file, and the file's size; both in bytes."""
    if response.status_code != 206:
        return 0, _length(response)
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if found is None or found[1] is None:
        return -1, None
    return int(found[1]), _total(response)


def _complete(done: int, total: int | None) -> None:
    if total is not None and done < total:
        raise _Again(f"the connection ended after {done} of {total} bytes")


def _retry_after(response: requests.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _RETRY_AFTER_MOST) if text.isdigit() else None


def _plain(error: Exception, url: str) -> str:
    return f"{type(error).__name__}: {error}".replace(url, redacted(url))
