# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API client against a stand-in API server with real TLS, directly and through a real sshd."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiAccess, connect
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeconfigError, KubeError

from tests.integration.kube.api_server import ApiServer, items, node

if TYPE_CHECKING:
    from tests.integration.ssh.conftest import Server


def get(path: Path, **access: Any) -> Any:
    with connect(ApiAccess(path, timeout=3.0, **access)) as client:
        return client.get("/version")


def test_many_requests_take_one_connection(api: ApiServer) -> None:
    with connect(ApiAccess(api.kubeconfig())) as client:
        for _ in range(5):
            assert client.get("/version") == {"gitVersion": "v1.36.3"}
        assert client.text("/readyz") == "ok"
    assert api.connections == 1


def test_long_lists_come_whole(api: ApiServer) -> None:
    api.answers["/api/v1/nodes"] = (200, items(*(node(f"n{number}") for number in range(7))))
    api.page_size = 3
    with connect(ApiAccess(api.kubeconfig())) as client:
        assert [o["metadata"]["name"] for o in client.items("/api/v1/nodes")] == [f"n{number}" for number in range(7)]
    assert [path for _, path in api.asked].count("/api/v1/nodes") == 3


def test_token_is_sent_and_never_told(api: ApiServer) -> None:
    api.token = "canary-4711"
    assert get(api.kubeconfig()) == {"gitVersion": "v1.36.3"}
    api.answers["/version"] = (403, {"message": "token canary-4711 may not do this"})
    with pytest.raises(ApiError, match=r"403 Forbidden: token \(token\) may not") as caught:
        get(api.kubeconfig())
    assert caught.value.status == 403
    with pytest.raises(
        ApiError, match=r"401 Unauthorized: Unauthorized. The credentials of context 'admin' of /.* not"
    ):
        get(api.kubeconfig(user_token="wrong"))


def test_certificates_may_stand_in_files_beside_the_kubeconfig(api: ApiServer) -> None:
    (api.directory / "c.crt").write_bytes(api.client.pem)
    (api.directory / "c.key").write_bytes(api.client.key_pem)
    data = yaml.safe_load(api.admin_conf())
    data["users"][0]["user"] = {"client-certificate": "c.crt", "client-key": str(api.directory / "c.key")}
    path = api.directory / "by-file"
    path.write_text(yaml.safe_dump(data))
    assert get(path) == {"gitVersion": "v1.36.3"}


def test_certificate_for_another_name_is_told_with_its_names(api: ApiServer) -> None:
    path = api.kubeconfig(server=f"https://localhost:{api.port}")
    with pytest.raises(ApiError, match=r"certificate is not for 'localhost'; it is for 127.0.0.1, kubernetes. Add the"):
        get(path)
    path = api.kubeconfig(server=f"https://localhost:{api.port}", tls_server_name="kubernetes")
    assert get(path) == {"gitVersion": "v1.36.3"}
    with pytest.raises(ApiError, match=r"certificate is not for 'other'; it is for 127.0.0.1, kubernetes"):
        get(api.kubeconfig(tls_server_name="other"))


def test_certificate_of_another_ca_is_refused(api: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    other = ApiServer(tmp_path / "second")
    try:
        path = api.kubeconfig(server=f"https://127.0.0.1:{other.port}")
        with pytest.raises(
            ApiError, match=r"is not trusted: .*the cluster was made anew \(run the kubeconfig role again\)"
        ):
            get(path)
        assert other.asked == []
    finally:
        other.close()


def test_nobody_there_is_told_with_the_address(api: ApiServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(
        ApiError, match=rf"no API server answers at 127.0.0.1:{port}: .*refused.*api_access: ssh"
    ) as caught:
        get(api.kubeconfig(server=f"https://127.0.0.1:{port}"))
    assert caught.value.status is None


def test_something_else_there_is_told(api: ApiServer) -> None:
    api.answers["/version"] = (200, "<html>hello</html>")
    with pytest.raises(ApiError, match=r"wanted JSON, found b'<html>hello</html>'. Is it an API server"):
        get(api.kubeconfig())


def test_silence_is_told_after_the_timeout(api: ApiServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        path = api.kubeconfig(server=f"https://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ApiError, match=r"no API server answers|no answer within|no TLS session"):
            get(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user_exec": {"command": "x"}}, "a credential plugin"),
        ({"proxy_url": "http://proxy"}, "asks for a proxy"),
        ({"server": "http://127.0.0.1"}, "wanted https://HOST:PORT"),
        ({"user_client_key_data": "!"}, "client-key-data is not base64"),
        ({"user_client_key_data": "QUJD"}, "its certificates or key cannot be used"),
        ({"certificate_authority_data": "QUJD"}, "its certificates or key cannot be used"),
    ],
)
def test_login_that_cannot_be_used_is_told_before_anything_is_sent(
    api: ApiServer, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(KubeconfigError, match=r"context 'admin' of") as caught:
        get(api.kubeconfig(**changes))
    assert message in str(caught.value)
    assert api.asked == []


def test_missing_file_or_context_is_told(api: ApiServer, tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match=r"there is no kubeconfig"):
        get(tmp_path / "none")
    with pytest.raises(KubeconfigError, match=r"wanted the context 'prod', but the file has admin"):
        get(api.kubeconfig(), context="prod")


def test_the_same_through_ssh(api: ApiServer, sshd: Server) -> None:
    # The address of the kubeconfig is one that only its certificate knows: it is not looked up on the controller.
    path = api.kubeconfig(server=f"https://kubernetes:{api.port}")
    api.answers["/api/v1/nodes"] = (200, items(*(node(f"n{number}") for number in range(400))))
    with connect(ApiAccess(path, access="ssh", ssh=sshd.target())) as client:
        for _ in range(3):
            assert client.get("/version") == {"gitVersion": "v1.36.3"}
        assert len(client.items("/api/v1/nodes")) == 400
    assert api.connections == 1
    with pytest.raises(ApiError, match=r"is not for 'other'; it is for 127.0.0.1, kubernetes"):
        get(api.kubeconfig(tls_server_name="other"), access="ssh", ssh=sshd.target())


def test_ssh_host_where_nothing_listens_is_told(api: ApiServer, sshd: Server) -> None:
    path = api.kubeconfig()
    api.close()
    with pytest.raises(ApiError, match=r"over SSH: .*nothing accepts connections there"):
        get(path, access="ssh", ssh=sshd.target())


def test_ssh_without_a_host_or_with_an_unknown_key_is_told(api: ApiServer, sshd: Server) -> None:
    with pytest.raises(KubeError, match=r"no host to go through"):
        get(api.kubeconfig(), access="ssh")
    sshd.known_hosts.write_text("")
    with pytest.raises(ApiError, match=r"over SSH: "):
        get(api.kubeconfig(), access="ssh", ssh=sshd.target())
    assert api.asked == []
