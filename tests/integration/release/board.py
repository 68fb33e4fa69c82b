# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases as a small team has them, for the page; `make picture` shows them to a browser and keeps what it paints."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import page
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.status import Row

from tests.browser import Browser, program

WIDTH, HEIGHT = 1180, 400
MINUTE, HOUR, DAY = 60, 3600, 86400
#: Component, environment, version, age in seconds, who, action, verified, healthy.
_RELEASES = (
    ("shop", "local", "2.9.0-rc.1", 20 * MINUTE, "ada", "commit", None, True),
    ("shop", "staging", "2.8.0", 5 * HOUR, "ada", "promote", True, True),
    ("shop", "production", "2.7.3", 11 * MINUTE, "ada", "auto-rollback", True, True),
    ("payments", "staging", "1.14.2", 2 * DAY, "ben", "promote", True, True),
    ("payments", "production", "1.14.2", 26 * HOUR, "ben", "promote", True, True),
    ("nextcloud", "staging", "33.0.1", 3 * HOUR, "ada", "promote", True, False),
    ("nextcloud", "production", "32.0.6", 12 * DAY, "ben", "promote", True, True),
    ("grafana", "local", "12.4.1", 9 * DAY, "renovate", "commit", None, True),
    ("grafana", "staging", "12.4.1", 8 * DAY, "ben", "promote", True, True),
    ("grafana", "production", "12.4.1", 8 * DAY, "ben", "promote", True, True),
    ("cert-manager", "staging", "v1.20.0", 30 * DAY, "ada", "promote", True, None),
    ("cert-manager", "production", "v1.20.0", 29 * DAY, "ada", "promote", None, None),
)
_BEHIND = {
    ("shop", "staging"): 1,
    ("shop", "production"): 1,
    ("nextcloud", "production"): 2,
}
_BEFORE = {"staging": "local", "production": "staging"}
_TROUBLE = {
    ("nextcloud", "staging"): (
        "pod nextcloud/nextcloud-7c9d8f6b5-x2lqz is not ready: container nextcloud: CrashLoopBackOff",
    )
}


def rows(now: datetime) -> list[Row]:
    """Return the releases as `status.collect` would, as old at `now` as they are meant to be."""
    there = {(component, environment) for component, environment, *_ in _RELEASES}
    found = []
    for component, environment, version, age, who, action, verified, healthy in _RELEASES:
        key = (component, environment)
        before = _BEFORE.get(environment, "")
        held = ""
        if key == ("shop", "production"):
            held = "shop 2.8.0 is held in production since 2026-11-21 by ada: 0 of 5 answers of https://shop.example.com were right"
        found.append(
            Row(
                environment=environment,
                component=component,
                version=version,
                selectors={},
                since=f"{(now - timedelta(seconds=age)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
                by=f"{who} (laptop, ansible-core 2.21.0)",
                action=action,
                commit=hashlib.sha256("".join(key).encode()).hexdigest()[:40],
                verified=verified,
                healthy=healthy,
                trouble=_TROUBLE.get(key, ()),
                held=held,
                behind=_BEHIND.get(key, 0) if (component, before) in there else None,
                behind_of=before if (component, before) in there else "",
            )
        )
    return sorted(found, key=lambda row: ["local", *_BEFORE].index(row.environment))


def main() -> int:
    """Write the picture to the file that is named."""
    found = program()
    if found is None:
        raise SystemExit(
            "wanted a browser, found none: apt-get install --no-install-recommends chromium-headless-shell"
        )
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="board-") as work:
        file = Path(work, "releases.html")
        file.write_text(page.render(rows(now), now, "Releases"), encoding="utf-8")
        with Browser(found, Path(work)) as browser:
            browser.open(file, width=WIDTH, height=HEIGHT, scheme="light")
            height = int(browser.run("document.documentElement.scrollHeight"))
            browser.open(file, width=WIDTH, height=height, scheme="light")
            Path(sys.argv[1]).write_bytes(browser.picture())
    if smaller := shutil.which("pngquant"):
        subprocess.run([smaller, "--force", "--strip", "--output", sys.argv[1], "64", sys.argv[1]], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
