# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of releases as a browser shows it: light, dark and narrow, with no request and no complaint."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import page

from tests.browser import Browser, program
from tests.integration.release import board
from tests.programs import lacking

WIDE, NARROW = (1280, 800), (390, 844)
#: How dark the page's ground may be at most, and how light at least: sums of red, green and blue.
DARK, LIGHT = 150, 600


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = program()
    if found is None:
        lacking("no browser is here: apt-get install --no-install-recommends chromium-headless-shell")
    with Browser(found, tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path, datetime.now(UTC))


def write(directory: Path, now: datetime) -> Path:
    made = directory / "releases.html"
    made.write_text(page.render(board.rows(now), now, "Releases"), encoding="utf-8")
    return made


def first_pixel(png: bytes) -> tuple[int, ...]:
    """The colour of the upper left corner; only whole PNGs are read, of 8 bits a channel, as browsers write them."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    position, data, kind = 8, b"", 0
    while position < len(png):
        size, name = struct.unpack(">I4s", png[position : position + 8])
        body = png[position + 8 : position + 8 + size]
        kind = body[9] if name == b"IHDR" else kind
        data += body if name == b"IDAT" else b""
        position += size + 12
    assert kind in (2, 6), "neither RGB nor RGBA"
    # the very first pixel is the same under each of PNG's filters
    return tuple(zlib.decompress(data)[1:4])


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_asks_nobody_and_complains_of_nothing(
    browser: Browser, file: Path, size: tuple[int, int], scheme: str
) -> None:
    browser.open(file, width=size[0], height=size[1], scheme=scheme)
    told = browser.run("document.body.innerText")
    assert [one for one in browser.requests if not one.startswith("data:")] == [file.as_uri()]
    assert browser.complaints == []
    assert browser.run("document.documentElement.scrollWidth") == size[0], "it has to be scrolled sideways"
    for said in ("nextcloud in staging", "CrashLoopBackOff", "2.7.3", "held", "1 behind staging", "11 min ago"):
        assert said in told
    ground = sum(first_pixel(browser.picture()))
    assert ground < DARK if scheme == "dark" else ground > LIGHT


def test_every_text_stands_out_from_its_ground(browser: Browser, file: Path) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 for text of this size."""
    for scheme in ("light", "dark"):
        browser.open(file, width=WIDE[0], height=WIDE[1], scheme=scheme)
        assert browser.run(CONTRAST) == [], scheme


def test_narrow_it_names_the_environment_of_each_version(browser: Browser, file: Path) -> None:
    browser.open(file, width=NARROW[0], height=NARROW[1], scheme="light")
    label = 'getComputedStyle(document.getElementById("production/shop"),"::before").content'
    assert browser.run(label) == '"production"'
    assert browser.run('getComputedStyle(document.querySelector("tr")).display') == "block"
    browser.open(file, width=WIDE[0], height=WIDE[1], scheme="light")
    assert browser.run(label) == "none"


def test_ages_grow_and_a_page_that_nobody_writes_any_more_says_so(browser: Browser, tmp_path: Path, file: Path) -> None:
    browser.open(file, width=WIDE[0], height=WIDE[1], scheme="light")
    assert browser.run('document.querySelector(".read").classList.contains("old")') is False
    old = write(tmp_path, datetime.now(UTC) - timedelta(hours=3))
    browser.open(old, width=WIDE[0], height=WIDE[1], scheme="light")
    assert browser.run('document.querySelector(".read").innerText') == "read 3 h ago"
    assert browser.run('document.querySelector(".read").classList.contains("old")') is True


def test_a_link_leads_to_what_needs_somebody(browser: Browser, file: Path) -> None:
    browser.open(file, width=WIDE[0], height=WIDE[1], scheme="light")
    missing = '[...document.querySelectorAll(".needs a")].filter(a=>!document.getElementById(a.hash.slice(1))).length'
    assert browser.run('document.querySelectorAll(".needs a").length') == 2
    assert browser.run(missing) == 0


CONTRAST = """(() => {
const part = v => {v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4};
const light = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
const parse = said => said.match(/[\\d.]+/g).map(Number);
const ground = element => {
  for (; element; element = element.parentElement) {
    const found = parse(getComputedStyle(element).backgroundColor);
    if (found.length === 3 || found[3] === 1) return found.slice(0, 3);
  }
  return [255, 255, 255]};
const bad = [];
for (const one of document.body.querySelectorAll("*")) {
  if (one.tagName === "SCRIPT" || ![...one.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
  const [low, high] = [light(parse(getComputedStyle(one).color)), light(ground(one))].sort((a, b) => a - b);
  if ((high + .05) / (low + .05) < 4.5) bad.push(one.tagName + "." + one.className + " " + one.textContent.slice(0, 30));
}
return bad})()"""
