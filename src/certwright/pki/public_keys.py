"""SubjectPublicKeyInfo: which algorithm, how long, which curve. RFC 5280 4.1.2.7, RFC 3279 2.3, RFC 5480, RFC 8410.

`parse_public_key` reads the values only: `weak_keys` tells what is known against a key, whether it is good enough is
the policy's decision. That a point lies on its curve shows when the key is loaded: `load_public_key`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from certwright.pki import der, oids
from certwright.pki.errors import EncodingError
from certwright.pki.signatures import PublicKey


class KeyKind(StrEnum):
    RSA = "RSA"
    EC = "EC"
    EDWARDS = "EdDSA"
    OTHER = "other"


_CURVE_BITS: Final = {
    oids.CURVE_P224: 224,
    oids.CURVE_P256: 256,
    oids.CURVE_P384: 384,
    oids.CURVE_P521: 521,
    oids.CURVE_SECP256K1: 256,
    oids.CURVE_BRAINPOOL_P256R1: 256,
    oids.CURVE_BRAINPOOL_P384R1: 384,
    oids.CURVE_BRAINPOOL_P512R1: 512,
}
_EDWARDS_BITS: Final = {oids.ED25519: 256, oids.ED448: 456}


class PublicKeyInfo(NamedTuple):
    """A public key as a request or certificate carries it."""

    der: bytes  # SubjectPublicKeyInfo
    algorithm: str  # OID
    kind: KeyKind
    bits: int  # RSA: length of the modulus; EC: of the curve's field; 0 when unknown
    key: bytes  # contents of the BIT STRING
    curve: str = ""  # EC: "P-256", "P-384", ... or the OID of a curve we have no name for; "" for explicit parameters
    exponent: int = 0  # RSA
    modulus: int = 0  # RSA

    @property
    def algorithm_name(self) -> str:
        return oids.name_of(self.algorithm)

    @property
    def kind_name(self) -> str:
        """How the request table names the kind: `RSA`, `EC P-256`, `Ed25519`."""
        return f"EC {self.curve}".rstrip() if self.kind is KeyKind.EC else self.algorithm_name

    @property
    def key_identifier(self) -> bytes:
        """SHA-1 of the BIT STRING's contents. RFC 5280 4.2.1.2, method 1."""
        return hashlib.sha1(self.key, usedforsecurity=False).digest()

    def __str__(self) -> str:
        if self.kind is KeyKind.RSA:
            return f"RSA {self.bits} bits"
        return self.curve or self.algorithm_name if self.kind is KeyKind.EC else self.algorithm_name


def parse_public_key(spki: bytes) -> PublicKeyInfo:
    """Read a SubjectPublicKeyInfo.

    Raises:
        EncodingError: it is malformed. An algorithm we do not know is no error: its kind is OTHER.
    """
    usual = _USUAL_HEADS.get(len(spki))
    if usual is not None and spki.startswith(usual.head):
        if usual.curve:
            key = spki[len(usual.head) :]
            return PublicKeyInfo(spki, oids.EC_PUBLIC_KEY, KeyKind.EC, usual.bits, key, usual.curve)
        if spki[len(usual.head)] & 0x80 and spki.endswith(_F4):
            modulus = int.from_bytes(spki[len(usual.head) : -len(_F4)], "big")
            key = spki[usual.key_start :]
            return PublicKeyInfo(spki, oids.RSA_ENCRYPTION, KeyKind.RSA, usual.bits, key, "", 65537, modulus)
    return _parse(spki)


def _parse(spki: bytes) -> PublicKeyInfo:
    outer = der.Reader.of(spki, what="public key")
    algorithm = outer.enter()
    oid = algorithm.oid()
    parameters = algorithm.read() if algorithm.next_tag != -1 else None
    algorithm.finish()
    key, unused = der.decode_bit_string(outer.content(der.BIT_STRING))
    outer.finish()
    if unused:
        raise EncodingError("public key: its BIT STRING is not whole octets")
    if oid == oids.RSA_ENCRYPTION:
        if parameters is not None and parameters.tag != der.NULL:
            raise EncodingError("public key: RSA parameters are not NULL")
        return _rsa(spki, oid, key)
    if oid == oids.EC_PUBLIC_KEY:
        if parameters is None:
            raise EncodingError("public key: an EC key without its curve")
        if parameters.tag != der.OBJECT_IDENTIFIER:  # explicit curve parameters: no name, no size we would believe
            return PublicKeyInfo(spki, oid, KeyKind.EC, 0, key)
        curve = der.decode_oid(parameters.content(spki))
        return PublicKeyInfo(spki, oid, KeyKind.EC, _CURVE_BITS.get(curve, 0), key, oids.name_of(curve))
    if oid in _EDWARDS_BITS:
        return PublicKeyInfo(spki, oid, KeyKind.EDWARDS, _EDWARDS_BITS[oid], key)
    return PublicKeyInfo(spki, oid, KeyKind.OTHER, 0, key)


def _rsa(spki: bytes, oid: str, key: bytes) -> PublicKeyInfo:
    reader = der.Reader.of(key, what="RSA public key")
    modulus, exponent = reader.integer(), reader.integer()
    reader.finish()
    if modulus <= 0 or exponent <= 0:
        raise EncodingError("RSA public key: modulus and exponent must be positive")
    return PublicKeyInfo(spki, oid, KeyKind.RSA, modulus.bit_length(), key, "", exponent, modulus)


@dataclass(frozen=True, slots=True)
class _UsualHead:
    """What all keys of one usual kind begin with: everything before the point, or the digits of the modulus."""

    head: bytes
    bits: int
    curve: str = ""  # RSA without
    key_start: int = 0  # RSA: where the contents of the BIT STRING begin


def _usual_heads() -> Iterator[tuple[int, _UsualHead]]:
    """By the length of the SubjectPublicKeyInfo, which tells them apart."""
    for curve, bits in ((oids.CURVE_P256, 256), (oids.CURVE_P384, 384), (oids.CURVE_P521, 521)):
        point = bytes(1 + 2 * ((bits + 7) // 8))
        algorithm = der.sequence(der.oid(oids.EC_PUBLIC_KEY), der.oid(curve))
        spki = der.sequence(algorithm, der.bit_string(point))
        yield len(spki), _UsualHead(spki[: -len(point)], bits, oids.name_of(curve))
    for bits in (2048, 3072, 4096):
        key = der.sequence(der.integer(1 << (bits - 1)), _F4)
        spki = der.sequence(der.sequence(der.oid(oids.RSA_ENCRYPTION), der.null()), der.bit_string(key))
        yield len(spki), _UsualHead(spki[: -(bits // 8 + len(_F4))], bits, key_start=len(spki) - len(key))


_F4: Final = der.integer(65537)
_USUAL_HEADS: Final = dict(_usual_heads())
_NAMED_CURVE: Final = der.oid(oids.EC_PUBLIC_KEY) + bytes((der.OBJECT_IDENTIFIER,))


def load_public_key(spki: bytes) -> PublicKey:
    """The key object of a SubjectPublicKeyInfo.

    Raises:
        EncodingError: it is none we can use; also a curve spelled out as parameters, which can be made to fit any
            signature (CVE-2020-0601) and which RFC 5480 2.1.1 forbids.
    """
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EncodingError(f"public key: {error}") from error
    if isinstance(key, ec.EllipticCurvePublicKey):
        if _NAMED_CURVE not in spki[:32]:
            raise EncodingError("public key: its curve is spelled out as parameters; it must be named")
        return key
    if isinstance(key, rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        return key
    raise EncodingError(f"public key: {type(key).__name__} makes no signatures we know")
