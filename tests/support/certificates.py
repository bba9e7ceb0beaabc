"""Certificates made by the other library: a test CA and whatever it is asked to sign."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.requests import PrivateKey, ec_key

Hash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512

NOT_BEFORE = datetime(2025, 1, 1, tzinfo=UTC)
NOT_AFTER = datetime(2035, 1, 1, tzinfo=UTC)
CA_NAME = "CN=Test CA,O=Corp,C=DE"


def make_certificate(
    subject: str = "CN=web.corp.example",
    key: PrivateKey | None = None,
    *,
    issuer: str = CA_NAME,
    issuer_key: PrivateKey | None = None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    serial: int = 0x1F00000007,
    hash_algorithm: Hash | None = None,
    pss: bool = False,
) -> bytes:
    """A version 3 certificate, DER."""
    issuer_key = issuer_key or ec_key("P-256", 100)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(subject))
        .issuer_name(x509.Name.from_rfc4514_string(issuer))
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .serial_number(serial)
        .public_key((key or ec_key()).public_key())
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return sign(builder, issuer_key, hash_algorithm, pss=pss).public_bytes(Encoding.DER)


def sign(
    builder: x509.CertificateBuilder,
    key: PrivateKey,
    hash_algorithm: Hash | None = None,
    *,
    pss: bool = False,
) -> x509.Certificate:
    algorithm: Hash = hash_algorithm or hashes.SHA256()
    match key:
        case rsa.RSAPrivateKey():
            scheme = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size) if pss else padding.PKCS1v15()
            return builder.sign(key, algorithm, rsa_padding=scheme)
        case ec.EllipticCurvePrivateKey():
            return builder.sign(key, algorithm)
        case ed25519.Ed25519PrivateKey():
            return builder.sign(key, None)


@functools.cache
def ca_certificate() -> bytes:
    """The certificate of the CA that `make_certificate` signs with unless told otherwise."""
    key = ec_key("P-256", 100)
    return make_certificate(
        CA_NAME,
        key,
        issuer_key=key,
        extensions=[
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        ],
        serial=1,
    )


def other(oid: str, value: bytes, critical: bool = False) -> tuple[x509.ExtensionType, bool]:
    """An extension the other library has no type for."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical
