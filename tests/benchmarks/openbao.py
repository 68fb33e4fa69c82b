# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of OpenBao: back after a power cut, and an environment's restore drill."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import backup, keys

from tests.benchmarks.hosts import BenchError, Sandbox, connections, sandbox, timed
from tests.benchmarks.report import Row, Target
from tests.benchmarks.secrets import ITEMS, seal, seal_task
from tests.integration.openbao.bao import Missing
from tests.integration.openbao_host.site import DRILL, Bao, Site, static_seal
from tests.integration.play import Play

FILES = 100
SEALED_DRILL = "playbooks/drill-sealed-secrets.yml"
_SERVES = 120.0


def host(name: str, environment: str, *groups: str) -> dict[str, Any]:
    """Return a host of an environment that OpenBao goes on."""
    return {"name": name, "environment": environment, "groups": ["openbao", *groups], "memory_mb": 768, "cpus": 2}


def server(place: Sandbox, site: Site, name: str, environment: str) -> Bao:
    """Return the server that is to run on a host."""
    there = place.of(environment)
    return Bao(site, environment, name, there.hosts()[name], there.inventory)


def install(bao: Bao, seal_settings: dict[str, Any], **declared: Any) -> None:
    """Run the playbook."""
    try:
        bao.declare(seal_settings, **declared)
    except Missing as missing:
        raise BenchError(str(missing)) from missing
    bao.run().must_work()


def back(place: Sandbox, bao: Bao, specification: Sequence[dict[str, Any]], log: str) -> float:
    """Cut a host's power and give it back; return the seconds from its boot until the server serves a client elsewhere."""
    place.power("powered-off", bao.host, specification, f"{log}-off")
    served: list[float] = []
    watching = threading.Thread(target=lambda: served.append(bao.wait_until_active(_SERVES)))
    watching.start()
    try:
        place.power("present", bao.host, specification, f"{log}-on")
    finally:
        watching.join()
    if not served:
        raise BenchError(f"{bao.environment}: the server did not serve {_SERVES:g} s after its power was cut")
    bao.serves()
    # The hosts' monotonic clock is the machine's.
    boot = place.of(bao.environment).ssh(bao.host, "systemctl show --value --property=UserspaceTimestampMonotonic")
    return served[0] - int(boot) / 1e6


def bao_back(rounds: int) -> Row:
    """The seal is a static key."""
    name, hosts = "bao-back", [host("b1", "staging")]
    with tempfile.TemporaryDirectory(prefix="bench-") as work, sandbox(name, *hosts) as place:
        bao = server(place, Site(Path(work, "site")), "b1", "staging")
        install(bao, static_seal())
        times = [back(place, bao, hosts, f"{name}-{number}") for number in range(rounds)]
    return Row(name, Target(10.0, "seconds"), times)


def bao_back_transit(rounds: int) -> Row:
    """The seal is another environment's server, which runs."""
    name, hosts = "bao-back-transit", [host("b1", "staging"), host("b2", "production")]
    with tempfile.TemporaryDirectory(prefix="bench-") as work, sandbox("bao-transit", *hosts) as place:
        site = Site(Path(work, "site"))
        staging, production = server(place, site, "b1", "staging"), server(place, site, "b2", "production")
        install(staging, static_seal())
        install(production, staging.seal_for("production"), openbao_seal_ca_file=str(site.ca_file))
        times = [back(place, production, hosts, f"{name}-{number}") for number in range(rounds)]
    return Row(name, Target(10.0, "seconds"), times)


def drill(rounds: int) -> Row:
    """Everything of one environment: OpenBao saved and restored, and 1,000 sealed items opened by their backup."""
    name, environment = "drill", "bench"
    times = []
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        site = Site(Path(work, "site"))
        sealed = _sealed(Path(work), site)
        with sandbox(name, host("b1", environment, "control_plane")) as place:
            bao = server(place, site, "b1", environment)
            install(bao, static_seal())
            for number in range(rounds):
                with connections() as control:
                    extra = {**site.environment, "ANSIBLE_SSH_CONTROL_PATH_DIR": control}
                    openbao = timed(["ansible-playbook", *bao.arguments(DRILL)], f"{name}-openbao-{number}", **extra)
                    given = bao.arguments(SEALED_DRILL, "-e", json.dumps(sealed))
                    opened = timed(["ansible-playbook", *given], f"{name}-sealed-{number}", **extra)
                if f"{ITEMS} items of {FILES} sealed secrets" not in opened.output:
                    raise BenchError(f"the drill: wanted {ITEMS} items opened, found {opened.output[-800:]}")
                times.append(openbao.seconds + opened.seconds)
    what = f"no rival; OpenBao saved and restored, {ITEMS} sealed items of {FILES} files"
    return Row(name, Target(60.0, "seconds"), times, what=what)


def _sealed(work: Path, site: Site) -> dict[str, Any]:
    """Seal items, back the key up, and return what the inventory says of them."""
    key = keys.generate("bench", datetime.now(tz=UTC) - timedelta(minutes=1))
    repository, play = work / "repository", work / "play"
    for directory in (repository, play):
        directory.mkdir()
    (task,) = seal_task(repository, key.certificate.pem, FILES)
    task["stagecraft.gitops.sealed_secret"]["certificate_path"] = "sealed-secrets.crt"
    seal(Play(play), [task], 0)
    record = backup.KeyRecord(key, "active", "sealed-secrets-key", "kube-system")
    path = work / "bench-sealing.age"
    recipients = [str(one.to_public()) for one in (site.admin, site.safe)]
    file.write(path, backup.encode(backup.Backup("bench", (record,))), recipients, [site.admin])
    return {
        "stagecraft_repository": {"path": ""},
        "sealed_secrets_certificate_path": "sealed-secrets.crt",
        "sealed_secrets_directory": str(repository),
        "sealed_secrets_backup": str(path),
        "sealed_secrets_identity_files": [str(site.identity_file)],
        "sealed_secrets_drill_at_least": ITEMS,
        "sealed_secrets_drill_cluster": False,
    }
