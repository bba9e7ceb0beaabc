"""Signed messages around certificate requests, as renewing clients and enrollment agents send them."""

from __future__ import annotations

import hashlib

from certwright.pki import cmc, der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.cmc import PkiData
from certwright.pki.pkcs10 import CertificationRequest
from certwright.pki.pkcs10_reading import Attribute
from certwright.pki.signatures import default_scheme
from certwright.pki.signed_data import SignerIdentifier, Signing, sign
from tests.support import requests as make
from tests.support.requests import PrivateKey

KEY_IDENTIFIER = b"the new key"


def by_certificate(key: PrivateKey, certificate: bytes, *pairs: tuple[str, str]) -> Signing:
    """A signature by the holder of a certificate; `pairs` are signed along with it."""
    scheme = default_scheme(key)
    values = tuple(der.sequence(der.bmp(name), der.bmp(value)) for name, value in pairs)
    attributes = (Attribute(oids.ENROLLMENT_NAME_VALUE_PAIR, values),) if values else ()
    return Signing(
        SignerIdentifier.of(CertificateView.parse(certificate)),
        scheme.algorithm,
        scheme.hash_oid,
        lambda data: scheme.sign(key, data),
        attributes,
    )


def by_new_key(key: PrivateKey) -> Signing:
    """A signature by the key that the request is for, which has no certificate yet."""
    scheme = default_scheme(key)
    return Signing(
        SignerIdentifier(key_identifier=KEY_IDENTIFIER),
        scheme.algorithm,
        scheme.hash_oid,
        lambda data: scheme.sign(key, data),
    )


def in_cms(request: bytes, *signings: Signing, certificates: tuple[bytes, ...] = ()) -> bytes:
    return sign(oids.CMS_DATA, request, signings, certificates)


def in_cmc(
    *requests: bytes,
    signings: tuple[Signing, ...],
    certificates: tuple[bytes, ...] = (),
    pairs: tuple[tuple[str, str], ...] = (),
    body_part: int = 1,
) -> bytes:
    controls = (cmc.registration_information(9, pairs),) if pairs else ()
    numbered = tuple((body_part + number, request) for number, request in enumerate(requests))
    return sign(oids.CMC_PKI_DATA, PkiData(controls, numbered).encode(), signings, certificates)


def renewing(old: bytes) -> bytes:
    """The attribute by which a request names the certificate it renews."""
    return make.attribute(oids.RENEWAL_CERTIFICATE, old)


def with_null_signature(request: bytes, hash_oid: str = oids.SHA256) -> bytes:
    """The request with its hash in the place of a signature. [MS-WCCE] 2.2.2.6.5."""
    parsed = CertificationRequest.parse(request)
    name = {oids.SHA256: "sha256", oids.SHA1: "sha1"}[hash_oid]
    digest = hashlib.new(name, parsed.info).digest()
    return der.sequence(parsed.info, der.sequence(der.oid(hash_oid)), der.bit_string(digest))
