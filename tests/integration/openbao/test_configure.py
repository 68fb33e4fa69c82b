# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuring a real server, killed at every request, and logging in to it with accounts of a real API server."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import admin, configure, declaration, initialize
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Reply, Server
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.escrow import Escrow
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.observe import observe
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.plan import plan
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.integration.controlplane import control_plane
from tests.integration.controlplane.control_plane import ControlPlane, send
from tests.integration.openbao.bao import MOMENTS, Bao, Cut
from tests.integration.openbao.site import (
    ADMIN,
    AUTHORITY,
    PASSWORD,
    POLICY,
    PUBLIC,
    RECIPIENTS,
    REVIEWER,
    ROLE,
    as_admin,
    jwt,
    kept_of,
    kubernetes,
    run,
    whole,
)
from tests.integration.play import Play
from tests.programs import lacking


def test_from_a_fresh_server_to_one_without_a_root_token(bao: Bao) -> None:
    root = kept_of(bao).root_token
    first = run(bao, whole())
    assert "create secret kv/apps/shop" in first
    assert first[-2:] == ["credential", "revoke_root_token"]
    kept = kept_of(bao)
    assert kept.root_token == ""
    assert kept.secret_id
    assert kept.secret_id not in repr(kept)
    assert bao.server().send("GET", "auth/token/lookup-self", token=root).status == 403
    assert run(bao, whole()) == []
    with as_admin(bao) as api:
        assert api.get("kv/data/apps/shop")["data"] == {"password": PASSWORD, "port": 5432}  # type: ignore[index]
        assert api.get("kv/metadata/apps/shop")["current_version"] == 1  # type: ignore[index]
        assert api.get("auth/kubernetes-staging/config")["token_reviewer_jwt_set"] is True  # type: ignore[index]
        token = api.token
    assert bao.server().send("GET", "auth/token/lookup-self", token=token).status == 403, "its token is revoked"


def test_what_differs_is_changed_and_nothing_else(bao: Bao) -> None:
    run(bao, whole())
    changed = whole(
        policies={"eso-staging": POLICY.replace('"read"', '"read", "list"')},
        secrets=[{"mount": "kv", "path": "apps/shop", "data": {"password": "another-9Kd"}}],
        auth_methods=[kubernetes(token_reviewer_jwt="another-reviewer"), jwt(PUBLIC)],
    )
    changed["mounts"] = [
        {**changed["mounts"][0], "max_versions": 5, "description": "all secrets"},
        changed["mounts"][1],
    ]
    assert run(bao, changed) == [
        "update policy eso-staging",
        "update mount kv",
        "update settings of kv",
        "update configuration of auth/kubernetes-staging",
        "update secret kv/apps/shop",
    ]
    assert run(bao, changed) == []
    with as_admin(bao) as api:
        assert api.get("kv/metadata/apps/shop")["current_version"] == 2  # type: ignore[index]
        # what another hand does is noticed
        role = {**ROLE, "token_ttl": "1h", "token_bound_cidrs": ["10.0.0.0/8"]}
        api.write("POST", "auth/kubernetes-staging/role/eso", role, "change")
        api.write("DELETE", "kv/data/apps/shop", {}, "delete")
        lone = {"kubernetes_host": "https://127.0.0.1:6443", "kubernetes_ca_cert": AUTHORITY}
        api.write("POST", "auth/kubernetes-staging/config", lone, "lose the reviewer")
    assert run(bao, changed) == [
        "update configuration of auth/kubernetes-staging",
        "update role auth/kubernetes-staging/eso",
        "create secret kv/apps/shop",
    ]
    assert run(bao, changed) == []


class Killed(BaseException):
    """The process is gone."""


def is_configured_once(bao: Bao) -> None:
    """Nothing is left to do, nothing was done twice, and no root token and no credential without an owner is left."""
    assert run(bao, whole()) == []
    assert kept_of(bao).root_token == ""
    with as_admin(bao) as api:
        assert len(api.keys("auth/stagecraft/role/ansible/secret-id")) == 1
        assert api.get("kv/metadata/apps/shop")["current_version"] == 1  # type: ignore[index]
        accessors = api.keys("auth/token/accessors")
        policies = [
            api.write("POST", "auth/token/lookup-accessor", {"accessor": accessor}, "look").data["policies"]
            for accessor in accessors
        ]
    assert ["root"] not in policies


def test_killed_at_every_step_the_next_run_finishes(bao: Bao, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    left = [-1]
    real_send, real_write = Server.send, file.write

    def tick(what: str) -> None:
        sent.append(what)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    def send(self: Server, method: str, path: str, *arguments: Any, **options: Any) -> Reply:
        writes = method in ("PUT", "POST", "DELETE")
        # alternately it has arrived, and has not
        if writes and len(sent) % 2:
            tick(path)
        reply = real_send(self, method, path, *arguments, **options)
        if writes and not len(sent) % 2:
            tick(path)
        return reply

    def write(*arguments: Any) -> None:
        tick("escrow")
        real_write(*arguments)

    monkeypatch.setattr(Server, "send", send)
    monkeypatch.setattr(file, "write", write)
    runs = 0
    while True:
        # each run gets a little further than the one before, as it finds done what that one did
        runs += 1
        left[0] = 3 + runs % 3
        try:
            run(bao, whole())
        except Killed:
            assert runs < 60, sent
        else:
            break
    assert runs > 8
    left[0] = -1
    monkeypatch.undo()
    is_configured_once(bao)


def test_the_server_is_killed_again_and_again_and_the_next_run_finishes(
    bao: Bao, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process, by SIGKILL: before a write, while it is at it, or after it; what only reads, and logins, are no writes."""
    cut = Cut(bao, monkeypatch, ("PUT ", "POST ", "DELETE "), ("/login", "/lookup", "/revoke-self"))
    killed = 0
    while True:
        # one of the first four that are left: what takes three writes and was cut short is begun anew
        cut.at(1 + killed % 4, MOMENTS[killed % len(MOMENTS)])
        with contextlib.suppress(OpenBaoError):
            run(bao, whole())
        if not cut.start_again():
            break
        if bao.server().status().sealed:
            initialize.unseal(bao.server(), bao.server().status(), kept_of(bao), ["unseal"], 30)
        killed += 1
        assert killed < 40
    assert killed > 6
    is_configured_once(bao)


def test_a_server_that_does_not_fit_is_left_as_it_is(bao: Bao) -> None:
    run(bao, whole())
    with pytest.raises(OpenBaoError) as caught:
        run(
            bao,
            whole(
                mounts=[{"path": "kv", "type": "kv", "version": 1}, {"path": "transit", "type": "kv"}],
                secrets=[],
                policies={"new": POLICY},
                auth_methods=[{**kubernetes(), "roles": {"eso": {**ROLE, "token_policies": ["nobody-wrote"]}}}],
            ),
        )
    assert "kv is kv of version 2 there, wanted 1" in str(caught.value)
    assert "transit is of type transit there, wanted kv" in str(caught.value)
    assert "names the policy nobody-wrote" in str(caught.value)
    with as_admin(bao) as api:
        assert "new" not in api.keys("sys/policies/acl")
    with pytest.raises(OpenBaoError, match=r"it took everything, and still differs: role .*bound_service_acount_names"):
        run(bao, whole(auth_methods=[{**kubernetes(), "roles": {"a": {**ROLE, "bound_service_acount_names": ["x"]}}}]))


def test_an_audit_device_is_made_or_the_message_says_where_it_goes(bao: Bao) -> None:
    run(bao, whole())
    device = {"path": "file", "type": "file", "options": {"file_path": str(bao.directory / "audit.log")}}
    if bao.kind == "bao":
        with pytest.raises(
            OpenBaoError, match=r"create audit device file, and it refuses.*the role openbao writes them"
        ):
            run(bao, whole(audit=[device]))
        return
    assert run(bao, whole(audit=[device])) == ["create audit device file"]
    assert run(bao, whole(audit=[device])) == []
    other = {**device, "options": {"file_path": str(bao.directory / "other.log")}}
    with pytest.raises(OpenBaoError, match="audit: file is there with other settings"):
        run(bao, whole(audit=[other]))
    written = (bao.directory / "audit.log").read_text()
    assert "kv/data/apps/shop" in written
    assert PASSWORD not in written


def test_a_secret_that_somebody_else_wrote_in_between_is_not_lost(bao: Bao) -> None:
    run(bao, whole())
    other = declaration.read(whole(secrets=[{"mount": "kv", "path": "apps/shop", "data": {"password": "mine-4f"}}]))
    with as_admin(bao) as api:
        changes = plan(other, observe(api, other, bao.server().status().cluster))
        body = {"data": {"password": "theirs"}, "options": {"cas": 1}}
        api.write("POST", "kv/data/apps/shop", body, "write")
        with pytest.raises(OpenBaoError, match="Somebody else wrote it in between") as caught:
            configure.apply(api, changes, 5)
        assert "mine-4f" not in str(caught.value)
        assert api.get("kv/data/apps/shop")["data"] == {"password": "theirs"}  # type: ignore[index]


def test_the_escrow_of_another_server_and_a_sealed_one_are_told(bao: Bao) -> None:
    server = bao.server()
    other = Escrow("staging", "https://other", "answered", "shamir", 1, ("k",), "no-such-token")
    with pytest.raises(OpenBaoError, match=r"neither the credential .* which was written for https://other"):
        admin.enter(server, other)
    bao.kill()
    bao.start()
    with pytest.raises(OpenBaoError, match=r"it is sealed\. Run openbao_unseal"):
        configure.ready(bao.server())


def test_the_module_shows_no_value_and_changes_nothing_in_check_mode(bao: Bao, tmp_path: Path) -> None:
    (tmp_path / "identity.txt").write_text(str(ADMIN))
    (tmp_path / "play").mkdir()
    play = Play(tmp_path / "play")
    options = {
        "url": bao.url,
        "ca_file": bao.ca_file,
        "environment": "staging",
        "escrow": str(tmp_path / "keys.age"),
        "recipients": RECIPIENTS,
        "identity_files": [str(tmp_path / "identity.txt")],
        **whole(secrets="{{ secrets }}"),
    }
    options["auth_methods"][0]["config"]["token_reviewer_jwt"] = "{{ reviewer }}"
    # as an admin has them in a vault, so that they are in no argument
    (tmp_path / "play" / "vault.yml").write_text(yaml.safe_dump({"secrets": whole()["secrets"], "reviewer": REVIEWER}))
    tasks = [{"name": "Configure", "stagecraft.gitops.openbao_config": options}]
    before = kept_of(bao)
    shown = ""
    for arguments, changed in ((("--check",), 1), ((), 1), ((), 0), (("--check",), 0)):
        ran = play.run(tasks, "-vvvv", "--diff", "-e", "@vault.yml", *arguments)
        assert (ran["code"], ran["changed"]) == (0, changed), play.output
        shown += play.output
        if "--check" in arguments and changed:
            assert kept_of(bao) == before
            assert bao.server().send("GET", "sys/mounts", token=before.root_token).data.get("kv/") is None
            assert "(hidden)" in play.output
    # before it is unsealed there is nothing to compare; a playbook does that first, and in check mode only says so
    bao.kill()
    bao.start()
    for arguments, code, words in (("--check",), 0, "is sealed, so what is configured"), ((), 2, "Run openbao_unseal"):
        ran = play.run(tasks, "-vvvv", "-e", "@vault.yml", *arguments)
        assert (ran["code"], ran["changed"]) == (code, 0), play.output
        assert words in " ".join(play.output.split())
        shown += play.output
    after = kept_of(bao)
    secrets = [REVIEWER, PASSWORD, before.root_token, after.secret_id, after.role_id, *after.keys]
    assert [secret for secret in secrets if secret in shown] == []
    (tmp_path / "play" / "vault.yml").unlink()
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "identity.txt"]
    plain = [(secret[:4], path) for path in left for secret in secrets if secret.encode() in path.read_bytes()]
    assert plain == []


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    try:
        running = control_plane.up(workloads=False, flux=False)
    except control_plane.Missing as missing:
        lacking(str(missing))
    try:
        yield running
    finally:
        running.down()


def token_of(plane: ControlPlane, namespace: str, name: str, audience: str = "") -> str:
    """Ask the API server for a token, as External Secrets does."""
    spec = {"expirationSeconds": 600, **({"audiences": [audience]} if audience else {})}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    with plane.session() as session:
        made = session.call(lambda api: api.request("POST", path, body=body))
    return str(made["status"]["token"])


def accounts(plane: ControlPlane) -> None:
    """The reviewer that may ask for reviews, and the accounts that log in."""
    with plane.session() as session:
        names = ("openbao", "external-secrets", "shop")
        send(session, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names])
        for namespace, name in (("openbao", "reviewer"), ("external-secrets", "eso"), ("shop", "eso")):
            metadata = {"name": name, "namespace": namespace}
            send(session, [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}])
        send(
            session,
            [
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRoleBinding",
                    "metadata": {"name": "reviewer"},
                    "roleRef": {
                        "apiGroup": "rbac.authorization.k8s.io",
                        "kind": "ClusterRole",
                        "name": "system:auth-delegator",
                    },
                    "subjects": [{"kind": "ServiceAccount", "name": "reviewer", "namespace": "openbao"}],
                }
            ],
        )


def test_an_account_of_a_real_cluster_logs_in_and_no_other_does(bao: Bao, plane: ControlPlane) -> None:
    accounts(plane)
    with plane.session() as session:
        keys = json.loads(session.call(lambda api: api.text("/openid/v1/jwks")))["keys"]
    api_server = f"https://{plane.address('api')}"
    authority = (plane.directory / "pki" / "ca.crt").read_text()
    reviewer = token_of(plane, "openbao", "reviewer")
    signing = rsa.RSAPublicNumbers(_number(keys[0]["e"]), _number(keys[0]["n"])).public_key()
    pem = signing.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    offline = jwt(pem)
    offline["config"]["bound_issuer"] = "https://kubernetes.default.svc"
    offline["roles"]["deploy"] = {
        "user_claim": "sub",
        "bound_audiences": ["openbao-production"],
        "bound_subject": "system:serviceaccount:external-secrets:eso",
        "token_policies": ["eso-staging"],
    }
    method = kubernetes(kubernetes_host=api_server, kubernetes_ca_cert=authority, token_reviewer_jwt=reviewer)
    declared = whole(auth_methods=[method, offline])
    run(bao, declared)
    assert run(bao, declared) == []

    def login(mount: str, role: str, namespace: str, audience: str) -> Reply:
        token = token_of(plane, namespace, "eso", audience)
        return bao.server().send("POST", f"auth/{mount}/login", {"role": role, "jwt": token})

    for mount, role, audience in (
        ("kubernetes-staging", "eso", "openbao-staging"),
        ("jwt-production", "deploy", "openbao-production"),
    ):
        done = login(mount, role, "external-secrets", audience)
        assert done.status == 200, done.errors
        token = done.body["auth"]["client_token"]
        assert bao.server().send("GET", "kv/data/apps/shop", token=token).data["data"]["password"] == PASSWORD
        assert bao.server().send("POST", "kv/data/apps/shop", {"data": {"a": "b"}}, token).status == 403
        assert login(mount, role, "external-secrets", "openbao-other").status in (400, 403), "another environment's"
        assert login(mount, role, "shop", audience).status in (400, 403), "another namespace's account"
    assert done.body["auth"]["lease_duration"] > 0


def _number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")
