"""Signing certificates as people bring them: PKCS#12, or PEM with or without a key. RFC 7292, RFC 7468."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from certwright.adcs.errors import InvalidArgument
from certwright.keystores.base import PrivateKey, PublicKey
from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import parse_certs_only
from certwright.pki.errors import EncodingError

MAX_FILE: Final = 256 << 10
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----", re.DOTALL)


def read(data: bytes, password: str) -> tuple[Sequence[CertificateView], PrivateKey | None]:
    """The certificates of a file, and its private key where it holds one.

    Raises:
        InvalidArgument: it cannot be read, or its key is of a kind that signs nothing here.
    """
    if len(data) > MAX_FILE:
        raise InvalidArgument(f"the file has more than {MAX_FILE} bytes")
    try:
        if b"\x02\x01\x03\x30" in data[:12]:  # the version of PKCS#12, with which no certificate begins
            return _pfx(data, password)
        found = _CERTIFICATE.findall(data)
        key = _KEY.search(data)
        certificates = [CertificateView.parse(armor.dearmor(each, MAX_FILE)) for each in found[:32]]
        if not found:
            certificates = _der(armor.dearmor(data, MAX_FILE))
        if key is None:
            return certificates, None
        loaded = load_pem_private_key(key[0], password.encode() if b"ENCRYPTED" in key[0] else None)
        return certificates, _usable(loaded)
    except EncodingError as error:
        raise InvalidArgument(f"the file holds no certificate that can be read: {error}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(
            "the private key does not open: the password is wrong, or the file is damaged"
        ) from error


def _pfx(data: bytes, password: str) -> tuple[Sequence[CertificateView], PrivateKey | None]:
    loaded = load_pkcs12(data, password.encode() if password else None)
    certificates = [each.certificate for each in ([loaded.cert] if loaded.cert else []) + loaded.additional_certs]
    views = [CertificateView.parse(each.public_bytes(Encoding.DER)) for each in certificates]
    return views, None if loaded.key is None else _usable(loaded.key)


def _der(data: bytes) -> list[CertificateView]:
    """One certificate, or those of a PKCS#7."""
    try:
        return [CertificateView.parse(data)]
    except EncodingError:
        return [CertificateView.parse(each) for each in parse_certs_only(data)]


def _usable(key: object) -> PrivateKey:
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return key
    raise InvalidArgument("the private key is neither RSA nor EC")


def unencrypted(key: PrivateKey) -> bytes:
    """The key as PKCS#8 PEM, for the key store, which seals it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_key_info(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo (DER) of a key, as certificates hold it."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
