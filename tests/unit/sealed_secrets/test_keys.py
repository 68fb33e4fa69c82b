# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import timedelta

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import keys
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import CertificateBuilder, Name, random_serial_number

from tests.unit.sealed_secrets.samples import NOW, key, vector_key, vectors


def test_upstreams_certificate_can_be_read_and_has_upstreams_fingerprint() -> None:
    """The controller's certificates have a KeyUsage that the library refuses to decode."""
    found = vector_key()
    assert found.fingerprint == vectors()["fingerprint"]
    assert found.certificate.environment == ""
    with pytest.raises(ValueError, match="key_agreement"):
        _ = __import__("cryptography.x509").x509.load_pem_x509_certificate(vectors()["cert_pem"].encode()).extensions


def test_a_new_key_says_whose_it_is() -> None:
    own = keys.generate("staging", NOW, size=2048)
    assert own.certificate.environment == "staging"
    assert (own.certificate.not_before, own.certificate.not_after) == (NOW, NOW + timedelta(days=3650))
    assert own.pem.startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert keys.read_key(own.pem, own.certificate.pem, "here").fingerprint == own.fingerprint


def test_no_representation_has_the_private_half() -> None:
    own = key()
    body = own.pem.splitlines()[5]
    assert body not in repr(own)
    assert body not in str(own)


def test_the_default_size_is_that_of_the_controller() -> None:
    assert (4096, timedelta(days=3650)) == (keys.SIZE, keys.LIFETIME)


def test_the_first_certificate_of_several_counts() -> None:
    one, other = key("staging").certificate, key("production").certificate
    assert keys.read_certificate("words\n" + one.pem + other.pem, "x").fingerprint == one.fingerprint


def test_the_key_that_begins_last_is_the_current_one() -> None:
    assert keys.newest([key(number=1), key(number=2), key(number=0)]) == key(number=2)
    assert keys.newest([]) is None


@pytest.mark.parametrize(
    ("private", "certificate", "words"),
    [
        ("nonsense", "own", "here: wanted an unencrypted private key in PEM form"),
        ("own", "nonsense", "here: wanted a certificate in PEM form, found none"),
        ("own", "damaged", "here: the certificate cannot be read"),
        ("own", "other", "here: the private key and the certificate do not belong together"),
        ("elliptic", "own", "here: wanted an RSA key"),
        ("own", "elliptic", "here: wanted a certificate with an RSA key"),
    ],
)
def test_what_is_no_key_is_refused_without_quoting_it(private: str, certificate: str, words: str) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    builder = CertificateBuilder(Name([]), Name([]), curve.public_key(), random_serial_number(), NOW, NOW)
    privates = {
        "own": key().pem,
        "nonsense": "-----BEGIN RSA PRIVATE KEY-----\nMIIsecret\n-----END RSA PRIVATE KEY-----\n",
        "elliptic": curve.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    }
    own = key().certificate.pem
    certificates = {
        "own": own,
        "other": key("production").certificate.pem,
        "nonsense": "hello",
        "damaged": own[:100] + "AAAA" + own[104:],
        "elliptic": builder.sign(curve, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode(),
    }
    with pytest.raises(SealError, match=words) as caught:
        keys.read_key(privates[private], certificates[certificate], "here")
    assert "secret" not in str(caught.value)


def test_a_certificate_that_must_not_be_used_is_refused_with_all_reasons() -> None:
    staging, own = key("staging").certificate, key("staging").fingerprint
    other = key("production").fingerprint
    check = keys.check_certificate
    assert check(staging, "staging", "", NOW, "c") == []
    assert check(staging, "staging", own, NOW, "c") == []
    (wrong,) = check(staging, "production", "", NOW, "c")
    assert "wanted the certificate of production, found that of staging" in wrong
    both = check(staging, "production", other, NOW + timedelta(days=3651), "c")
    assert len(both) == 3
    assert f"wanted the pinned key {other} of production, found {own}" in both[0]
    assert "expired on 2036-04-28. Rotate the key of production" in both[2]
    assert "clock" in check(staging, "staging", "", NOW - timedelta(days=1), "c")[0]
    (unnamed,) = check(vector_key().certificate, "staging", "", vector_key().certificate.not_before, "c")
    assert "does not say of which environment it is. Pin its fingerprint" in unnamed
    assert (
        check(vector_key().certificate, "staging", vectors()["fingerprint"], vector_key().certificate.not_before, "c")
        == []
    )
