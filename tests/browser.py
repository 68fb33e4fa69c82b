# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real browser without a window, driven by the DevTools protocol over a pair of pipes."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_SECONDS = 60.0


class BrowserError(Exception):
    """The browser ended, or did not answer in time."""


def program() -> str | None:
    """Return the browser of this machine, or None."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@dataclass
class Browser:
    """One page of a browser; use it in a `with` statement.

    `requests` are the addresses that it asked for, `complaints` what it wrote to its console and exceptions that nobody
    caught, both since the last `open`.
    """

    program: str
    directory: Path
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        # some of its processes write there for a moment after it has ended
        self._profile = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        ours, theirs = os.pipe(), os.pipe()  # (read, write): what it reads from us, what it writes to us
        switches = ["--headless", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        switches += ["--disable-dev-shm-usage", f"--user-data-dir={self._profile.name}"]
        # its own sandbox cannot be set up by root; what it is shown here is ours
        switches += ["--no-sandbox"] if os.geteuid() == 0 else []

        def place_pipes() -> None:
            # the protocol is spoken on descriptors 3 and 4; first out of the way of each other
            one, two = os.dup(ours[0]), os.dup(theirs[1])
            os.dup2(one, 3)
            os.dup2(two, 4)

        self._log = (self.directory / "browser.log").open("wb")
        self._process = subprocess.Popen(
            [self.program, *switches],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            close_fds=False,
            preexec_fn=place_pipes,  # noqa: PLW1509 -- no threads here, and only descriptors are moved
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._send_to, self._read_from = ours[1], theirs[0]
        self._buffer = b""
        self._numbers = itertools.count(1)
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        # without its pipe it ends, in good order
        os.close(self._send_to)
        os.close(self._read_from)
        try:
            self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result. Raises BrowserError."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send_to, json.dumps(message).encode() + b"\0")
        ends = time.monotonic() + _SECONDS
        while True:
            answer = self._next(ends)
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                found: dict[str, Any] = answer["result"]
                return found

    def open(self, file: Path, *, width: int, height: int, scheme: str, scale: float = 1.0) -> None:
        """Open a file in a window of so many pixels, with the colour scheme `light` or `dark`."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.requests.clear()
        self.complaints.clear()
        self.call("Page.navigate", url=file.as_uri())
        ends = time.monotonic() + _SECONDS
        while self._next(ends).get("method") != "Page.loadEventFired":
            pass

    def run(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self, *, whole: bool = False) -> bytes:
        """Return what is seen as a PNG; with `whole` also what lies below the window's edge."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])

    def _next(self, ends: float) -> dict[str, Any]:
        """Return the next message, and note what it tells."""
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read_from], [], [], max(0.0, ends - time.monotonic()))
            part = os.read(self._read_from, 1 << 20) if ready else b""
            if not part:
                log = (self.directory / "browser.log").read_text(errors="replace")[-2000:]
                raise BrowserError(f"{self.program} {'ended' if ready else 'does not answer'}: {log}")
            self._buffer += part
        raw, _end, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        told = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(told["exceptionDetails"].get("text")))
            case "Runtime.consoleAPICalled":
                self.complaints.append(" ".join(str(one.get("value")) for one in told["args"]))
            case "Log.entryAdded":
                self.complaints.append(str(told["entry"]["text"]))
        return message
