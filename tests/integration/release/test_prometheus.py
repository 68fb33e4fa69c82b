# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits for metrics on a real Prometheus, Debian's: error rates and latencies, and what has no data."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest

from tests.programs import debian_program, free_port
from tests.serving import serving
from tests.unit.release.metrics import expect

#: One request of ten fails, and the others take half a second; nobody has ever asked for /idle.
METRICS = """\
# TYPE http_requests_total counter
http_requests_total{{path="/",code="200"}} {good}
http_requests_total{{path="/",code="500"}} {bad}
http_requests_total{{path="/idle",code="200"}} 0
http_requests_total{{path="/idle",code="500"}} 0
# TYPE seconds histogram
seconds_bucket{{path="/",le="0.1"}} 0
seconds_bucket{{path="/",le="1"}} {good}
seconds_bucket{{path="/",le="+Inf"}} {good}
seconds_bucket{{path="/idle",le="0.1"}} 0
seconds_bucket{{path="/idle",le="+Inf"}} 0
"""
RATE = (
    'sum(rate(http_requests_total{{path="{0}",code=~"5.."}}[15s])) / sum(rate(http_requests_total{{path="{0}"}}[15s]))'
)
LATENCY = 'histogram_quantile(0.9, sum by (le) (rate(seconds_bucket{{path="{0}"}}[15s])))'


@pytest.fixture(scope="module")
def application() -> Iterator[str]:
    asked = [0]

    def answer(_path: str) -> tuple[int, bytes]:
        asked[0] += 1
        return 200, METRICS.format(good=90 * asked[0], bad=10 * asked[0]).encode()

    with serving(answer, "text/plain; version=0.0.4") as address:
        yield address


def number(address: str, query: str) -> str:
    """What the query gives, "" where there is nothing yet."""
    url = f"{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = json.load(answer)["data"]["result"]
    except (urllib.error.URLError, ConnectionError):
        return ""
    return str(found[0]["value"][1]) if found else ""


@pytest.fixture(scope="module")
def prometheus(application: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("prometheus")
    program = debian_program("prometheus", directory / "package")
    jobs = [{"job_name": "app", "scrape_interval": "1s", "static_configs": [{"targets": [application]}]}]
    (directory / "prometheus.yml").write_text(json.dumps({"scrape_configs": jobs}))
    listen = f"127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={listen}",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            address, until = f"http://{listen}", time.monotonic() + 60
            while number(address, RATE.format("/")) in ("", "NaN"):
                assert server.poll() is None, "prometheus ended"
                assert time.monotonic() < until, "prometheus has no rate after 60 s"
                time.sleep(0.2)
            yield address
        finally:
            server.terminate()


@pytest.mark.parametrize(
    ("query", "limits", "failure", "warning"),
    [
        (RATE.format("/"), {"max": 0.2}, "", ""),
        (RATE.format("/"), {"max": 0.01}, "metric m is 0.1, wanted at most 0.01", ""),
        (RATE.format("/idle"), {"max": 0.01, "min": 1}, "", "metric m has no data, which says nothing"),
        (RATE.format("/nobody"), {"max": 0.01, "min": 1}, "", "metric m has no data, which says nothing"),
        (LATENCY.format("/"), {"max": 1}, "", ""),
        (LATENCY.format("/"), {"max": 0.5}, "metric m is 0.91, wanted at most 0.5", ""),
        (LATENCY.format("/idle"), {"max": 0.5, "min": 1}, "", "metric m has no data, which says nothing"),
        ("up", {"min": 2}, "metric m is 1, wanted at least 2", ""),
        ("1 / 0", {"max": 1}, "metric m is inf, wanted at most 1", ""),
        ("scalar(nobody)", {"max": 0}, "", "metric m has no data, which says nothing"),
        ("up[1m]", {"max": 0}, "", "the query gives a matrix"),
        ('"text"', {"max": 0}, "", "the query gives a string"),
        ("sum(", {"max": 0}, "", "parse error"),
    ],
)
def test_only_a_number_over_a_limit_is_a_failure(
    prometheus: str, query: str, limits: dict[str, float], failure: str, warning: str
) -> None:
    expect(prometheus, query, limits, failure, warning)
