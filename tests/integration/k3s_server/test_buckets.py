# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of etcd in a bucket, with the configuration that role k3s writes and the modules that it runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s import snapshot
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import NodeError

from tests.integration.cluster.lab import cache
from tests.integration.k3s.lab import NEW
from tests.integration.k3s_server.host import K3s, Managed, Network, Program, ending, until
from tests.integration.kube.api_server import issue
from tests.integration.play import Play
from tests.programs import lacking

ACCESS, SECRET, BUCKET = "an-access-key", "a-secret-key", "snapshots"
PORT = 9000


@pytest.fixture
def bucket(place: Path, network: Network) -> Iterator[Program]:
    """A server with one bucket; its log has a line for every request."""
    program = cache() / "mirror/test/s3-server-linux-amd64"
    if not program.exists():
        lacking("the mirror has no s3-server: run `python -m tests.mirror build`")
    authority = issue("an authority of the admin's own")
    serving = issue("bucket", authority, ("127.0.0.1",))
    for name, text in (("ca.crt", authority.pem), ("s3.crt", serving.pem), ("s3.key", serving.key_pem)):
        (place / name).write_bytes(text)
    command = [str(program), f"127.0.0.1:{PORT}", BUCKET, str(place / "s3.crt"), str(place / "s3.key")]
    keys = {"S3_ACCESS_KEY": ACCESS, "S3_SECRET_KEY": SECRET}
    with ending(Program(network.inside(command), place / "s3.log", keys)) as running:
        until("the bucket answers", lambda: network.answers(PORT))
        yield running


def settings(place: Path, **more: Any) -> dict[str, Any]:
    """What an admin writes into k3s_config."""
    own = {"endpoint": f"127.0.0.1:{PORT}", "endpoint-ca": str(place / "ca.crt"), "bucket": BUCKET, "folder": "staging"}
    keys = {"access-key": ACCESS, "secret-key": SECRET}
    return {"etcd-s3": True, **{f"etcd-s3-{name}": value for name, value in {**own, **keys, **more}.items()}}


def places(k3s: K3s) -> dict[str, str]:
    """Where each snapshot is that K3s lists, by the kind of place."""
    done = k3s.run("etcd-snapshot", "ls", "-o", "json")
    assert done.returncode == 0, done.stderr
    locations = [item["spec"]["location"] for item in json.loads(done.stdout)["items"]]
    return {location.partition("://")[0]: location for location in locations}


def test_a_snapshot_goes_to_the_bucket_and_comes_back(k3s: K3s, place: Path, bucket: Program, play: Play) -> None:
    k3s.configure(play, "etcd", k3s_config=settings(place))
    assert SECRET not in k3s.config.read_text()
    assert ACCESS not in k3s.config.read_text()
    assert SECRET in k3s.secrets.read_text()
    assert k3s.secrets.stat().st_mode & 0o777 == 0o600
    k3s.ready()
    host = Managed.of(k3s)

    k3s.write("kept")
    name = snapshot.save(host, NEW, 120)
    found = places(k3s)
    assert found == {
        "file": f"file://{k3s.data}/server/db/snapshots/{name}",
        "s3": f"s3://{BUCKET}/staging/{name}",
    }
    k3s.write("lost")

    # the way back takes the file on the server and leaves the bucket alone
    asked = bucket.output()
    snapshot.restore(host, name, NEW, 120)
    assert bucket.output() == asked
    k3s.ready()
    assert (k3s.read("kept"), k3s.read("lost")) == ("kept", "")

    # by hand, after the disk is lost: by its name in the bucket
    k3s.stop()
    shutil.rmtree(k3s.data / "server" / "db")
    done = k3s.run("server", "--cluster-reset", f"--cluster-reset-restore-path={name}")
    assert done.returncode == 0, done.stderr
    assert f"GET /{BUCKET}/staging/{name}" in bucket.output()
    k3s.ready()
    assert (k3s.read("kept"), k3s.read("lost")) == ("kept", "")
    assert SECRET not in k3s.log.read_text()


WRONG = {
    "failed to test for existence of bucket snapshots": {"secret-key": "wrong-horse"},
    "bucket nowhere does not exist": {"bucket": "nowhere"},
    "certificate signed by unknown authority": {"endpoint-ca": ""},
}


def test_a_bucket_that_cannot_be_had_is_told(k3s: K3s, place: Path, bucket: Program, play: Play) -> None:
    """An upgrade ends here, with everything still as it was: it begins by saving the datastore."""
    k3s.configure(play, "etcd", k3s_config=settings(place))
    k3s.ready()
    for told, wrong in WRONG.items():
        k3s.configure(play, "etcd", k3s_config=settings(place, **wrong))
        with pytest.raises(NodeError, match=told) as error:
            snapshot.save(Managed.of(k3s), NEW, 120)
        assert "wrong-horse" not in str(error.value)
    assert "PUT" not in bucket.output()
