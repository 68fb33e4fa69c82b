# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing keys and their certificates: made, read, identified. Pure but for the system's random numbers.

Extensions of a certificate are never read: those that the controller issues have a KeyUsage (encipher only, without key
agreement) that the library refuses to decode.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509 import oid
except ImportError as error:
    x509 = hashes = serialization = rsa = oid = missing("cryptography", error)

if TYPE_CHECKING:
    from collections.abc import Iterable

SIZE = 4096
LIFETIME = timedelta(days=3650)


@dataclass(frozen=True)
class Certificate:
    """What a ciphertext is made with.

    `environment` is the certificate's common name, "" where it has none (the controller's own have none).
    `fingerprint` is that of the public key, as OpenSSH writes it (``SHA256:`` and 43 characters).
    """

    pem: str
    environment: str
    fingerprint: str
    not_before: datetime
    not_after: datetime
    key: rsa.RSAPublicKey = field(repr=False, compare=False)


@dataclass(frozen=True)
class SealingKey:
    """A private key with its certificate; the private half is in no representation."""

    certificate: Certificate
    pem: str = field(repr=False)
    key: rsa.RSAPrivateKey = field(repr=False, compare=False)

    @property
    def fingerprint(self) -> str:
        """That of the certificate."""
        return self.certificate.fingerprint


def generate(environment: str, now: datetime, size: int = SIZE, lifetime: timedelta = LIFETIME) -> SealingKey:
    """Make a key and a certificate for an environment, valid from `now` (with a time zone) on. Takes a second or two."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=size)
    name = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, environment)])
    start = now.astimezone(UTC).replace(microsecond=0)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return read_key(pem.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode(), "the new key")


def read_certificate(text: str, where: str) -> Certificate:
    """Read the first certificate of a PEM text, as kubeseal does. Raises SealError, which names `where`."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    start = text.find(begin)
    stop = text.find(end, start)
    if start < 0 or stop < 0:
        raise SealError(f"{where}: wanted a certificate in PEM form, found none")
    pem = text[start : stop + len(end)] + "\n"
    try:
        found = x509.load_pem_x509_certificate(pem.encode())
        key = found.public_key()
    except ValueError as error:
        raise SealError(f"{where}: the certificate cannot be read: {error}") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise SealError(f"{where}: wanted a certificate with an RSA key, found {type(key).__name__}")
    names = found.subject.get_attributes_for_oid(oid.NameOID.COMMON_NAME)
    return Certificate(
        pem,
        str(names[0].value) if names else "",
        fingerprint(key),
        found.not_valid_before_utc,
        found.not_valid_after_utc,
        key,
    )


def read_key(private_pem: str, certificate_pem: str, where: str) -> SealingKey:
    """Read a private key with its certificate. Raises SealError where one is none, or they do not belong together."""
    try:
        key = serialization.load_pem_private_key(private_pem.encode(), None)
    except (ValueError, TypeError):
        # what the library says of a damaged key may quote it
        raise SealError(f"{where}: wanted an unencrypted private key in PEM form, found something else") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SealError(f"{where}: wanted an RSA key, found another kind")
    certificate = read_certificate(certificate_pem, where)
    if fingerprint(key.public_key()) != certificate.fingerprint:
        raise SealError(f"{where}: the private key and the certificate do not belong together")
    return SealingKey(certificate, private_pem, key)


def fingerprint(key: rsa.RSAPublicKey) -> str:
    """Return ``SHA256:`` and the digest of a public key, as ``ssh-keygen -l`` shows it and the controller logs it."""
    text = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    digest = hashlib.sha256(base64.b64decode(text.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def newest(keys: Iterable[SealingKey]) -> SealingKey | None:
    """Return the key that the controller seals with: the one whose certificate begins last."""
    return max(keys, key=lambda key: (key.certificate.not_before, key.fingerprint), default=None)


def check_certificate(certificate: Certificate, environment: str, pinned: str, now: datetime, where: str) -> list[str]:
    """Return why a certificate must not be sealed with: of another environment, not the pinned one, expired."""
    problems = []
    if pinned and certificate.fingerprint != pinned:
        problems.append(
            f"{where}: wanted the pinned key {pinned} of {environment}, found {certificate.fingerprint}. Is it another"
            " environment's certificate? After a rotation, pin the new fingerprint"
        )
    if certificate.environment and certificate.environment != environment:
        problems.append(
            f"{where}: wanted the certificate of {environment}, found that of {certificate.environment}: what is sealed"
            f" with it can be read there, and not in {environment}. Name the certificate of {environment}"
        )
    if not certificate.environment and not pinned:
        problems.append(
            f"{where}: the certificate does not say of which environment it is. Pin its fingerprint"
            f" ({certificate.fingerprint}) after you made sure that it is that of {environment}"
        )
    if now > certificate.not_after:
        problems.append(
            f"{where}: the certificate expired on {certificate.not_after:%Y-%m-%d}. Rotate the key of {environment}"
        )
    if now < certificate.not_before:
        problems.append(
            f"{where}: the certificate is valid from {certificate.not_before:%Y-%m-%d %H:%M} UTC on only. Is this"
            " machine's clock right?"
        )
    return problems
