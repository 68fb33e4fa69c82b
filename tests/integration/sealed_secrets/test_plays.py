# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules, role and playbooks as a user runs them. A canary is looked for in everything that they write or show."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import mapping
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import keys, manifest, verify

from tests.integration.canary import Watch, forms_of, in_files
from tests.integration.controlplane import control_plane
from tests.integration.controlplane.control_plane import ControlPlane, Missing
from tests.integration.play import COLLECTION, Play
from tests.programs import lacking

CANARY = "kanarienvogel-4711-ß"
FORMS = forms_of(CANARY)
MAC_KEY = base64.b64encode(b"k" * 32).decode()
ADMIN, SAFE = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    """A control plane on which Deployments become ready."""
    try:
        running = control_plane.up(flux=False)
    except Missing as missing:
        lacking(str(missing))
    yield running
    running.down()


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """What an inventory of staging says."""
    (tmp_path / "identity.txt").write_text(f"# ours\n{ADMIN}\n")
    return {
        "stagecraft_environment": "staging",
        "sealed_secrets_backup": str(tmp_path / "staging.age"),
        "sealed_secrets_recipients": [str(ADMIN.to_public()), str(SAFE.to_public())],
        "sealed_secrets_identity_files": [str(tmp_path / "identity.txt")],
        "sealed_secrets_mac_key": MAC_KEY,
        "sealed_secrets_key_size": 2048,
        "sealed_secrets_wait_for_flux": False,
    }


def seal(directory: Path, certificate: str, **options: Any) -> list[dict[str, Any]]:
    secrets = [{"name": "db", "namespace": "shop", "string_data": {"password": "{{ vaulted }}", "port": "5432"}}]
    given = {
        "environment": "staging",
        "certificate": certificate,
        "mac_key": MAC_KEY,
        "directory": str(directory),
        "secrets": secrets,
    }
    return [{"name": "Seal", "stagecraft.gitops.sealed_secret": {**given, **options}}]


def shown_canary(play: Play, *places: Path) -> list[str]:
    """Where the canary is: in what was printed, and in files but for the inventory, the variables and the play themselves."""
    found = [f"output: {form!r}" for form in FORMS if form in play.output.encode()]
    given = ("hosts.yml", "play.yml", "variables.json")
    return found + in_files(FORMS, (play.directory, *play.temporary, *places), given)


@pytest.fixture
def certificate() -> str:
    return keys.generate("staging", datetime.now(tz=UTC) - timedelta(minutes=1), size=2048).certificate.pem


def test_a_second_run_changes_nothing_and_nothing_shows_a_value(play: Play, tmp_path: Path, certificate: str) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    tasks = seal(clone, certificate, certificate_path="sealed-secrets.crt")
    variables = {"vaulted": CANARY}
    with Watch(FORMS) as watch:
        checked = play.run(tasks, "--check", "--diff", "-vvvv", variables=variables)
        assert (checked["code"], checked["changed"]) == (0, 1), play.output
        assert list(clone.iterdir()) == []
        assert shown_canary(play) == []
        first = play.run(tasks, "--diff", "-vvvv", variables=variables)
        assert (first["code"], first["changed"]) == (0, 1), play.output
        assert "+password: sealed anew (new)" in play.output
        assert shown_canary(play, clone) == []
        written = {path: path.read_bytes() for path in clone.rglob("*") if path.is_file()}
        assert {path.relative_to(clone).as_posix() for path in written} == {
            "secrets/shop/db.yaml",
            "sealed-secrets.crt",
        }
        second = play.run(tasks, "--diff", "-vvvv", variables=variables)
        assert (second["code"], second["changed"]) == (0, 0), play.output
        assert play.result()["unchanged"] == 2
    assert {path: path.read_bytes() for path in written} == written
    assert watch.found == set()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"string_data": CANARY}, "unable to convert to dict"),
        ({"string_data": {"a": [CANARY]}}, "string_data.a is not text"),
        ({"data": {"a": CANARY}}, "data.a is not base64"),
        ({"string_data": {"a": CANARY}, "scope": "everywhere"}, "value of scope must be one of"),
        ({"string_data": {"a": CANARY}, "name": "Not A Name"}, "is no name of a Secret"),
        ({"string_data": {f"{CANARY} key": "x"}}, "is no name of an item"),
    ],
)
def test_what_is_wrong_is_told_without_the_value(
    play: Play, tmp_path: Path, certificate: str, change: dict[str, Any], words: str
) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    secret = {"name": "db", "namespace": "shop", **change}
    done = play.run(seal(clone, certificate, secrets=[secret]), "-vvvv")
    assert done["code"] != 0
    assert words in play.output
    if "key" not in str(change):
        assert shown_canary(play, clone) == []
    assert list(clone.iterdir()) == []


def test_the_certificate_of_another_environment_is_refused(play: Play, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    other = keys.generate("production", datetime.now(tz=UTC) - timedelta(minutes=1), size=2048)
    done = play.run(seal(clone, other.certificate.pem), variables={"vaulted": CANARY})
    assert done["code"] != 0
    assert "wanted the certificate of staging, found that of production" in play.output
    expired = keys.generate("staging", datetime.now(tz=UTC) - timedelta(days=20), 2048, timedelta(days=10))
    done = play.run(seal(clone, expired.certificate.pem), variables={"vaulted": CANARY})
    assert done["code"] != 0
    assert "the certificate expired on" in play.output
    assert list(clone.iterdir()) == []


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


class Environment:
    """An environment with a cluster and a repository, set up by the role's parts as setup-production.yml does."""

    def __init__(self, cluster: ControlPlane, play: Play, settings: dict[str, Any], directory: Path) -> None:
        self.play, self.server, self.cluster = play, directory / "server.git", cluster
        self.server.mkdir()
        git("init", "--quiet", "--bare", "--initial-branch=main", cwd=self.server)
        self.settings = {
            **settings,
            "kubeconfig_path": str(cluster.kubeconfig),
            "kubeconfig_name": "test",
            "stagecraft_repository": {"url": f"file://{self.server}", "branch": "main", "path": "clusters/staging"},
            "sealed_secrets_namespace": f"ns{time.monotonic_ns()}",
            "vaulted": CANARY,
            "sealed_secrets_secrets": [
                {"name": "db", "namespace": "shop", "string_data": {"password": "{{ vaulted }}"}},
                {
                    "name": "mail",
                    "namespace": "shop",
                    "string_data": {"token": "{{ vaulted }}-2"},
                    "scope": "namespace-wide",
                },
            ],
        }
        with cluster.session() as session:
            namespace = {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": self.settings["sealed_secrets_namespace"]},
            }
            control_plane.send(session, [namespace])

    def run(self, *parts: str, arguments: Sequence[str] = (), **changes: Any) -> dict[str, Any]:
        tasks = [
            {
                "name": part,
                "ansible.builtin.include_role": {
                    "name": "stagecraft.gitops.sealed_secrets",
                    "tasks_from": f"{part}.yml",
                },
            }
            for part in parts
        ]
        return self.play.run(tasks, *arguments, variables={**self.settings, **changes})

    def set_up(self, *arguments: str, **changes: Any) -> dict[str, Any]:
        done = self.run("key", "controller", "seal", arguments=arguments, **changes)
        assert done["code"] == 0, self.play.output
        return done

    def file(self, path: str) -> str:
        return git("show", f"main:clusters/staging/{path}", cwd=self.server) + "\n"

    def annotation(self) -> str:
        namespace = self.settings["sealed_secrets_namespace"]
        with self.cluster.session() as session:
            found = session.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/sealed-secrets-controller")
        return str(mapping(found, "spec", "template", "metadata", "annotations")["stagecraft.gitops/sealing-keys"])

    def key_states(self) -> list[str]:
        namespace, label = self.settings["sealed_secrets_namespace"], "sealedsecrets.bitnami.com/sealed-secrets-key"
        with self.cluster.session() as session:
            items = session.items(f"/api/v1/namespaces/{namespace}/secrets", labelSelector=label)
        return sorted(item["metadata"]["labels"][label] for item in items)


@pytest.fixture
def environment(cluster: ControlPlane, play: Play, settings: dict[str, Any], tmp_path: Path) -> Environment:
    return Environment(cluster, play, settings, tmp_path)


def test_the_role_from_nothing_to_the_drill(environment: Environment, tmp_path: Path) -> None:
    checked = environment.set_up("--check", "--diff")
    assert checked["changed"] > 0
    assert not (tmp_path / "staging.age").exists()
    assert environment.key_states() == []
    with Watch(FORMS) as watch:
        first = environment.set_up("-vvvv")
    assert first["changed"] == 3
    assert watch.found == set()
    assert shown_canary(environment.play, tmp_path / "server.git") == []
    assert environment.key_states() == ["active"]
    assert git("rev-list", "--count", "main", cwd=environment.server) == "1"
    assert manifest.find(environment.file("secrets/shop/mail.yaml"), "x")[0].scope == "namespace-wide"
    private = [line for line in environment.play.output.splitlines() if "PRIVATE KEY" in line]
    assert private == [], "no part of a private key is shown"

    second = environment.set_up("-vvv")
    assert second["changed"] == 0, environment.play.output
    drilled = environment.run("drill")
    assert drilled["code"] == 0, environment.play.output
    assert "2 items of 2 sealed secrets were opened" in environment.play.output


def test_a_change_needs_no_private_key_where_there_is_a_mac_key(environment: Environment, tmp_path: Path) -> None:
    environment.set_up()
    before = {name: environment.file(f"secrets/shop/{name}.yaml") for name in ("db", "mail")}
    (tmp_path / "staging.age").rename(tmp_path / "elsewhere.age")
    assert environment.run("change")["code"] != 0
    assert "wanted a backup of sealing keys, found no file" in environment.play.output
    (tmp_path / "identity.txt").unlink()
    without = {"sealed_secrets_backup": "", "sealed_secrets_identity_files": []}
    done = environment.run("change", **without)
    assert (done["code"], done["changed"]) == (0, 0), environment.play.output
    secrets = [{**environment.settings["sealed_secrets_secrets"][0], "string_data": {"password": f"{CANARY}-new"}}]
    done = environment.run("change", sealed_secrets_secrets=secrets, **without)
    assert (done["code"], done["changed"]) == (0, 1), environment.play.output
    assert environment.file("secrets/shop/db.yaml") != before["db"]
    assert environment.file("secrets/shop/mail.yaml") == before["mail"]
    assert environment.run("change", sealed_secrets_mac_key="", **without)["code"] != 0
    assert "or a mac_key, found neither" in environment.play.output
    (tmp_path / "elsewhere.age").rename(tmp_path / "staging.age")
    (tmp_path / "identity.txt").write_text(f"{ADMIN}\n")
    assert environment.run("drill")["code"] == 0, environment.play.output


def test_rotation_is_one_run_that_can_be_repeated(environment: Environment) -> None:
    environment.set_up()
    old = keys.read_certificate(environment.file("sealed-secrets.crt"), "x").fingerprint
    loaded = environment.annotation()
    before = environment.file("secrets/shop/db.yaml")

    checked = environment.run("rotate", arguments=("--check", "--diff"), sealed_secrets_replace_key=old)
    assert checked["code"] == 0, environment.play.output
    assert environment.file("secrets/shop/db.yaml") == before

    done = environment.run("rotate", sealed_secrets_replace_key=old)
    assert done["code"] == 0, environment.play.output
    new = keys.read_certificate(environment.file("sealed-secrets.crt"), "x").fingerprint
    assert new != old
    assert environment.key_states() == ["active", "retired"]
    assert environment.annotation() != loaded
    after = environment.file("secrets/shop/db.yaml")
    assert len(after.splitlines()) == len(before.splitlines())
    assert git("rev-list", "--count", "main", cwd=environment.server) == "2"

    again = environment.run("rotate", sealed_secrets_replace_key=old)
    assert (again["code"], again["changed"]) == (0, 0), environment.play.output
    assert environment.set_up()["changed"] == 0
    told = environment.run("rotate", sealed_secrets_replace_key=old, sealed_secrets_replaced_state="compromised")
    assert told["code"] == 0
    assert environment.key_states() == ["active", "compromised"]
    assert "Change these secrets where they are used" in environment.play.output


@pytest.mark.parametrize("step", ["kube_apply", "sealed_secret_info", "sealed_secret_reseal", "flux_wait"])
def test_a_rotation_that_is_cut_short_is_finished_by_the_next(
    environment: Environment, step: str, tmp_path: Path
) -> None:
    """The step is made to fail by taking away what it needs."""
    environment.set_up()
    old = keys.read_certificate(environment.file("sealed-secrets.crt"), "x").fingerprint
    broken: dict[str, dict[str, Any]] = {
        "sealed_secret_reseal": {"sealed_secrets_mac_key": ""},
        "kube_apply": {"sealed_secrets_resources": "nonsense"},
        "sealed_secret_info": {
            "stagecraft_repository": {**environment.settings["stagecraft_repository"], "branch": "gone"}
        },
        "flux_wait": {"sealed_secrets_wait_for_flux": True, "sealed_secrets_timeout": 1},
    }
    cut = environment.run("rotate", sealed_secrets_replace_key=old, **broken[step])
    assert cut["code"] != 0, environment.play.output
    assert "active" in environment.key_states()
    drilled = environment.run("drill")
    assert drilled["code"] == 0, environment.play.output

    done = environment.run("rotate", sealed_secrets_replace_key=old)
    assert done["code"] == 0, environment.play.output
    assert environment.key_states() == ["active", "retired"], "one new key, whatever happened before"
    drilled = environment.run("drill")
    assert drilled["code"] == 0, environment.play.output


def test_the_drill_finds_what_is_wrong(environment: Environment, tmp_path: Path) -> None:
    environment.set_up()
    (tmp_path / "other.txt").write_text(str(pyrage.x25519.Identity.generate()))
    backup = tmp_path / "staging.age"
    whole = backup.read_bytes()
    for data, changes, words in (
        (whole[: len(whole) // 2], {}, "the backup ends in the middle"),
        (
            whole,
            {"sealed_secrets_identity_files": [str(tmp_path / "other.txt")]},
            "not encrypted to the identities at hand",
        ),
        (whole, {"sealed_secrets_drill_at_least": 99}, "wanted 99 items at least below clusters/staging, found 2"),
        (whole, {"stagecraft_environment": "production"}, "it holds the keys of staging, wanted those of production"),
    ):
        backup.write_bytes(data)
        done = environment.run("drill", **changes)
        assert done["code"] != 0
        assert words in environment.play.output, environment.play.output
    backup.unlink()
    assert environment.run("drill")["code"] != 0
    assert "wanted a backup of sealing keys, found no file" in environment.play.output


def test_what_staging_has_is_sealed_for_production(play: Play, tmp_path: Path, certificate: str) -> None:
    """With the backup of staging, and of production the certificate alone."""
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import backup as backups
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import custody

    now = datetime.now(tz=UTC) - timedelta(minutes=1)
    staging, production = (keys.generate(name, now, size=2048) for name in ("staging", "production"))
    clone = tmp_path / "clone"
    (clone / "production").mkdir(parents=True)
    (clone / "production" / "sealed-secrets.crt").write_text(production.certificate.pem)
    (tmp_path / "identity.txt").write_text(str(ADMIN))
    record = backups.KeyRecord(staging, "active", "k", "kube-system")
    recipients = [str(ADMIN.to_public()), str(SAFE.to_public())]
    custody.write_backup(tmp_path / "staging.age", backups.Backup("staging", (record,)), recipients, [ADMIN])
    assert (
        play.run(seal(clone, staging.certificate.pem, folder="staging/secrets"), variables={"vaulted": CANARY})["code"]
        == 0
    )
    options = {
        "environment": "production",
        "path": "production/secrets",
        "certificate_path": "production/sealed-secrets.crt",
        "mac_key": MAC_KEY,
        "directory": str(clone),
        "source": {
            "environment": "staging",
            "path": "staging/secrets",
            "backup": str(tmp_path / "staging.age"),
            "identity_files": [str(tmp_path / "identity.txt")],
        },
    }
    tasks = [{"name": "Promote", "stagecraft.gitops.sealed_secret_reseal": options}]
    first = play.run(tasks, "--diff", "-vvvv")
    assert (first["code"], first["changed"]) == (0, 1), play.output
    text = (clone / "production/secrets/shop/db.yaml").read_text()
    assert verify.opened(manifest.find(text, "x")[0], [production]) == {"password": CANARY.encode(), "port": b"5432"}
    assert shown_canary(play, clone) == []
    assert play.run(tasks)["changed"] == 0


def test_the_leak_scan_as_a_task(play: Play, tmp_path: Path) -> None:
    root = tmp_path / "repository"
    root.mkdir()
    git("init", "--quiet", "--initial-branch=main", cwd=root)
    (root / "values.yaml").write_text(f"a: 1\nb: {base64.b64encode(f'u:{CANARY}'.encode()).decode()}\n")
    git("add", "-A", cwd=root)
    git("-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "x", cwd=root)
    tasks = [
        {
            "name": "Scan",
            "stagecraft.gitops.secrets_leak_scan": {
                "repository": str(root),
                "secrets": {"staging": {"shop": {"db": "{{ vaulted }}"}}},
            },
        }
    ]
    with Watch(FORMS) as watch:
        done = play.run(tasks, "-vvvv", variables={"vaulted": CANARY})
    assert done["code"] != 0
    assert "values.yaml:2: error: the secret staging: shop.db stands here (base64)" in play.output
    assert [form for form in FORMS[:1] if form in play.output.encode()] == []
    assert watch.found == set()


def test_the_playbooks_are_the_roles_parts() -> None:
    for name, part in (("rotate-sealing-key", "rotate"), ("drill-sealed-secrets", "drill")):
        (loaded,) = yaml.safe_load((COLLECTION / "playbooks" / f"{name}.yml").read_text())
        assert loaded["tasks"][-1]["ansible.builtin.import_role"]["tasks_from"] == f"{part}.yml"
