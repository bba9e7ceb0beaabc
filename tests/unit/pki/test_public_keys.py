"""Kinds of keys, their sizes and names. RFC 3279 2.3, RFC 5480, RFC 8410."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.pki import der, oids
from certwright.pki.errors import EncodingError
from certwright.pki.public_keys import KeyKind, load_public_key, parse_public_key
from tests.support import requests

CURVES: list[tuple[ec.EllipticCurve, str, int]] = [
    (ec.SECP224R1(), "P-224", 224),
    (ec.SECP256R1(), "P-256", 256),
    (ec.SECP384R1(), "P-384", 384),
    (ec.SECP521R1(), "P-521", 521),
    (ec.SECP256K1(), "secp256k1", 256),
    (ec.BrainpoolP256R1(), "brainpoolP256r1", 256),
    (ec.BrainpoolP512R1(), "brainpoolP512r1", 512),
]


@pytest.mark.parametrize(("curve", "name", "bits"), CURVES, ids=[name for _, name, _ in CURVES])
def test_curves_are_known_by_name(curve: ec.EllipticCurve, name: str, bits: int) -> None:
    key = parse_public_key(requests.spki(ec.generate_private_key(curve)))
    assert (key.kind, key.curve, key.bits, key.kind_name, str(key)) == (KeyKind.EC, name, bits, f"EC {name}", name)


def test_a_curve_without_a_name_keeps_its_identifier() -> None:
    key = parse_public_key(requests.spki(ec.generate_private_key(ec.SECP192R1())))
    assert (key.kind, key.curve, key.bits) == (KeyKind.EC, "1.2.840.10045.3.1.1", 0)


@pytest.mark.parametrize("bits", [2048, 3072])
def test_an_rsa_key_has_the_length_of_its_modulus(bits: int) -> None:
    private = requests.rsa_key(bits)
    key = parse_public_key(requests.spki(private))
    assert (key.kind, key.bits, key.exponent, key.kind_name) == (KeyKind.RSA, bits, 65537, "RSA")
    assert key.modulus == private.public_key().public_numbers().n
    assert str(key) == f"RSA {bits} bits"


def test_other_kinds_are_named_and_never_taken_for_ours() -> None:
    for private, kind, name, bits in (
        (ed25519.Ed25519PrivateKey.generate(), KeyKind.EDWARDS, "Ed25519", 256),
        (ed448.Ed448PrivateKey.generate(), KeyKind.EDWARDS, "Ed448", 456),
        (x25519.X25519PrivateKey.generate(), KeyKind.OTHER, "X25519", 0),
        (dsa.generate_private_key(1024), KeyKind.OTHER, "DSA", 0),
    ):
        spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        key = parse_public_key(spki)
        assert (key.kind, key.kind_name, key.bits) == (kind, name, bits)
    unknown = requests.sequence(requests.sequence(requests.oid("1.2.3.4")), requests.tlv(0x03, b"\x00x"))
    assert (parse_public_key(unknown).kind, parse_public_key(unknown).kind_name) == (KeyKind.OTHER, "1.2.3.4")


def test_the_key_identifier_is_that_of_rfc_5280() -> None:
    """Method 1 of 4.2.1.2: SHA-1 over the BIT STRING's contents."""
    for private in (requests.rsa_key(), requests.ec_key()):
        key = parse_public_key(requests.spki(private))
        assert key.key_identifier == x509.SubjectKeyIdentifier.from_public_key(private.public_key()).digest
        assert key.key_identifier == hashlib.sha1(key.key).digest()


def rsa_info(*numbers: int, parameters: bytes = b"\x05\x00") -> bytes:
    key = requests.sequence(*map(requests.integer, numbers))
    return requests.sequence(
        requests.sequence(requests.oid(oids.RSA_ENCRYPTION), parameters), requests.tlv(0x03, b"\0", key)
    )


@pytest.mark.parametrize(
    "spki",
    [
        b"",
        requests.sequence(),
        rsa_info(-5, 65537),
        rsa_info(0, 65537),
        rsa_info(1 << 2047 | 1, -1),
        rsa_info(1 << 2047 | 1),
        rsa_info(1 << 2047 | 1, 65537, 1),
        rsa_info(1 << 2047 | 1, 65537, parameters=requests.oid("1.2.3")),
        rsa_info(1 << 20000 | 1, 65537),
        requests.sequence(requests.sequence(requests.oid(oids.EC_PUBLIC_KEY)), requests.tlv(0x03, b"\0\x04")),
        requests.sequence(requests.sequence(requests.oid("1.2.3")), requests.tlv(0x03, b"\x01\x02")),
        requests.spki(requests.ec_key()) + b"\0",
    ],
)
def test_a_malformed_key_is_refused(spki: bytes) -> None:
    with pytest.raises(EncodingError):
        parse_public_key(spki)


@pytest.mark.parametrize(
    "spki",
    [
        b"",
        rsa_info(1, 3),
        rsa_info(1 << 2047 | 1, 2),
        rsa_info(1 << 2047 | 1, 1 << 2047 | 3),  # beyond the modulus
        requests.spki(requests.ec_key())[:-1] + b"\x00",
        x25519.X25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["nothing", "modulus 1", "even exponent", "exponent beyond the modulus", "point off the curve", "X25519"],
)
def test_a_key_that_makes_no_signatures_does_not_load(spki: bytes) -> None:
    with pytest.raises(EncodingError):
        load_public_key(spki)


@given(st.binary(max_size=100))
@settings(max_examples=200)
def test_arbitrary_bytes_raise_only_encoding_errors(data: bytes) -> None:
    for oid in (oids.RSA_ENCRYPTION, oids.EC_PUBLIC_KEY, oids.ED25519):
        candidate = der.sequence(der.sequence(der.oid(oid), data[:4]), der.bit_string(data))
        for read in (parse_public_key, load_public_key):
            try:
                read(candidate)
            except EncodingError:
                continue
