# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a running control plane to a changed configuration: certificate names, flags of the static pods, kube-proxy."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.api import LocalApi
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import (
    Host,
    KubeadmError,
    last_lines,
    remove_file,
    write_file,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.initialize import (
    CONFIG_FILE,
    ensure_encryption_key,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.observe import ENCRYPTION_FILE
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.inspect import process


def phase(host: Host, *words: str, timeout: float = 120.0) -> None:
    """Run one phase of ``kubeadm init`` with this cluster's configuration file."""
    done = host.run(["kubeadm", "init", "phase", *words, "--config", str(host.path(CONFIG_FILE))], timeout=timeout)
    if done.rc != 0:
        raise KubeadmError(
            f"kubeadm init phase {' '.join(words)} ended with status {done.rc}:\n{last_lines(done.stderr)}"
        )


def renew_serving_certificate(host: Host, address: str, port: int, timeout: float = 150.0) -> None:
    """Issue the API server's certificate anew, with the names that the configuration asks for.

    The old pair lies beside it until the new one is complete, and comes back when kubeadm fails or the run is cut
    short (see restore_serving_certificate). The API server picks the new files up by itself within a minute
    (DynamicServingCertificate); that is waited for, so that the run ends only when clients really get the new names.
    """
    pair = _serving_pair(host)
    for path, mode in pair.items():
        write_file(_old(path), path.read_bytes(), mode)
    for path in pair:
        path.unlink()
    try:
        phase(host, "certs", "apiserver")
    except BaseException:
        restore_serving_certificate(host)
        raise
    certificate = next(iter(pair))
    wanted = ssl.PEM_cert_to_DER_cert(_first_certificate(certificate.read_text(encoding="utf-8")))
    deadline = time.monotonic() + timeout
    while _served(address, port) != wanted:
        if time.monotonic() >= deadline:
            raise KubeadmError(
                f"the API server at {address}:{port} still shows its old certificate {timeout:.0f} s after the new one was "
                f"written to {certificate}. Restart it by moving its manifest out of /etc/kubernetes/manifests and back."
            )
        time.sleep(1.0)
    for path in pair:
        _old(path).unlink()


def restore_serving_certificate(host: Host) -> None:
    """Put back the pair that a renewal which was cut short has left, so that the next one begins from a whole one.

    Both copies are complete before the first original goes, and stay until the new pair is served: two copies mean
    that the originals cannot be trusted, one alone that they can.
    """
    pair = _serving_pair(host)
    if all(_old(path).exists() for path in pair):
        for path, mode in pair.items():
            write_file(path, _old(path).read_bytes(), mode)
    for path in pair:
        remove_file(_old(path))


def _serving_pair(host: Host) -> dict[Path, int]:
    """The API server's certificate and key, each with its mode."""
    pki = host.kubernetes / "pki"
    return {pki / "apiserver.crt": 0o644, pki / "apiserver.key": 0o600}


def _old(path: Path) -> Path:
    return path.with_name(path.name + ".old")


def _first_certificate(text: str) -> str:
    end = "-----END CERTIFICATE-----"
    return text[: text.index(end) + len(end)] + "\n"


def _served(address: str, port: int) -> bytes:
    """The certificate (DER) that ``address:port`` shows; empty while nobody answers."""
    try:
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((address, port)))
    except (OSError, ValueError):
        return b""


def apply_settings(host: Host, address: str, port: int, timeout: float, first: bool) -> None:
    """Write the static pods anew from the configuration, wait until the API server runs with them, and tell the cluster.

    ``first`` is true on one control plane only: that one also uploads the configuration for later joins and renews
    kube-proxy, which are the cluster's and not the host's.
    """
    before = process("kube-apiserver")
    manifest = host.kubernetes / "manifests" / "kube-apiserver.yaml"
    text = manifest.read_text(encoding="utf-8")
    phase(host, "control-plane", "all")
    api = LocalApi(host, address, port)
    if manifest.read_text(encoding="utf-8") != text:
        deadline = time.monotonic() + timeout
        while process("kube-apiserver") in (None, before):
            if time.monotonic() >= deadline:
                raise KubeadmError(
                    f"kubelet did not start the API server with its new flags within {timeout:.0f} s: "
                    "see crictl logs of kube-apiserver; the flags come from kubeadm_cluster_config"
                )
            time.sleep(0.25)
    api.wait_ready(timeout)
    if first:
        phase(host, "upload-config", "kubeadm")
        phase(host, "addon", "kube-proxy")
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        patch: dict[str, Any] = {
            "spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": stamp}}}}
        }
        api.request(
            "PATCH",
            "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy",
            json.dumps(patch),
            "application/strategic-merge-patch+json",
        )


def provide_encryption_key(host: Host, content: str | None, first: bool) -> None:
    """Put the cluster's encryption file in place where it is missing; one that is there is never replaced.

    It is made anew on the first control plane; the others take ``content`` (base64), which is that one's.
    """
    path = host.path(ENCRYPTION_FILE)
    if path.exists():
        return
    if first:
        ensure_encryption_key(host)
    elif content:
        write_file(path, base64.b64decode(content))
    else:
        raise KubeadmError(
            f"the cluster's encryption key is missing here ({path}), and the first control plane gave none"
        )


def record(host: Host, member: Mapping[str, Any]) -> None:
    """Write down the configuration that this host runs with now."""
    write_file(host.state / "member.json", json.dumps(dict(member), sort_keys=True).encode())
