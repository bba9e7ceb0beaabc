"""Signature schemes: which algorithm, with which hash, under which AlgorithmIdentifier. RFC 4055, 5758, 8017, 8410.

Schemes hold no keys; a `Signer` is a key and a scheme. SHA-1 and MD5 signatures are neither made nor accepted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from certwright.pki import der, oids
from certwright.pki.errors import EncodingError, SignatureError, WeakAlgorithm

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class SignatureKind(StrEnum):
    RSA_PKCS1 = "RSASSA-PKCS1-v1_5"
    RSA_PSS = "RSASSA-PSS"
    ECDSA = "ECDSA"
    ED25519 = "Ed25519"


_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    oids.SHA256: hashes.SHA256(),
    oids.SHA384: hashes.SHA384(),
    oids.SHA512: hashes.SHA512(),
}
_ECDSA: Final = {oid: ec.ECDSA(algorithm) for oid, algorithm in _HASHES.items()}
_PKCS1: Final = padding.PKCS1v15()


@dataclass(frozen=True, slots=True)
class SignatureScheme:
    """One way to sign. `algorithm` is the AlgorithmIdentifier, DER; `hash_oid` is empty for Ed25519."""

    kind: SignatureKind
    hash_oid: str
    algorithm: bytes
    salt_length: int = 0  # RSA_PSS

    @property
    def oid(self) -> str:
        return der.Reader.of(self.algorithm, what="algorithm").oid()

    @property
    def name(self) -> str:
        """`RSASSA-PKCS1-v1_5 SHA-256`."""
        return f"{self.kind} {oids.name_of(self.hash_oid)}" if self.hash_oid else str(self.kind)

    def hash_algorithm(self) -> hashes.HashAlgorithm | None:
        """None for Ed25519, which hashes twice and so cannot be fed piecewise."""
        return _HASHES[self.hash_oid] if self.hash_oid else None

    def sign(self, private_key: PrivateKey, data: bytes) -> bytes:
        """Raises:
        TypeError: the key is of another kind.
        """
        return self._sign(private_key, data, self.hash_algorithm())

    def sign_digest(self, private_key: PrivateKey, digest: bytes) -> bytes:
        """Sign what was hashed already.

        Raises:
            TypeError: the key is of another kind, or the scheme is Ed25519.
        """
        algorithm = self.hash_algorithm()
        if algorithm is None:
            raise TypeError(f"{self.name} cannot sign a digest")
        return self._sign(private_key, digest, Prehashed(algorithm))

    def _sign(
        self, private_key: PrivateKey, data: bytes, algorithm: hashes.HashAlgorithm | Prehashed | None
    ) -> bytes:
        if algorithm is None:
            if isinstance(private_key, ed25519.Ed25519PrivateKey):
                return private_key.sign(data)
        elif self.kind is SignatureKind.ECDSA:
            if isinstance(private_key, ec.EllipticCurvePrivateKey):
                whole = algorithm is _HASHES[self.hash_oid]
                return private_key.sign(data, _ECDSA[self.hash_oid] if whole else ec.ECDSA(algorithm))
        elif isinstance(private_key, rsa.RSAPrivateKey):
            return private_key.sign(data, self._padding(), algorithm)
        raise TypeError(f"a {type(private_key).__name__} cannot sign with {self.name}")

    def verify(self, public_key: PublicKey, signature: bytes, data: bytes) -> None:
        """Raises:
        SignatureError: the signature is not this key's over `data`, or the key is of another kind.
        """
        try:
            algorithm = self.hash_algorithm()
            if algorithm is None:
                if isinstance(public_key, ed25519.Ed25519PublicKey):
                    return public_key.verify(signature, data)
            elif self.kind is SignatureKind.ECDSA:
                if isinstance(public_key, ec.EllipticCurvePublicKey):
                    return public_key.verify(signature, data, _ECDSA[self.hash_oid])
            elif isinstance(public_key, rsa.RSAPublicKey):
                return public_key.verify(signature, data, self._padding(), algorithm)
        except InvalidSignature:
            raise SignatureError(f"the {self.name} signature does not verify") from None
        raise SignatureError(f"a {type(public_key).__name__} does not make {self.name} signatures")

    def _padding(self) -> padding.AsymmetricPadding:
        algorithm = self.hash_algorithm()
        if self.kind is SignatureKind.RSA_PKCS1 or algorithm is None:
            return _PKCS1
        return padding.PSS(padding.MGF1(algorithm), self.salt_length)


def _rsa(oid: str, hash_oid: str) -> SignatureScheme:
    return SignatureScheme(SignatureKind.RSA_PKCS1, hash_oid, der.sequence(der.oid(oid), der.null()))


def _pss(hash_oid: str) -> SignatureScheme:
    """The salt is as long as the hash; hash parameters are NULL, as RFC 4055 2.1 lets and Windows writes."""
    digest, salt_length = der.sequence(der.oid(hash_oid), der.null()), _HASHES[hash_oid].digest_size
    parameters = der.sequence(
        der.explicit(0, digest),
        der.explicit(1, der.sequence(der.oid(oids.MGF1), digest)),
        der.explicit(2, der.integer(salt_length)),
    )
    algorithm = der.sequence(der.oid(oids.RSA_PSS), parameters)
    return SignatureScheme(SignatureKind.RSA_PSS, hash_oid, algorithm, salt_length)


def _ecdsa(oid: str, hash_oid: str) -> SignatureScheme:
    return SignatureScheme(SignatureKind.ECDSA, hash_oid, der.sequence(der.oid(oid)))


RSA_SHA256: Final = _rsa(oids.RSA_SHA256, oids.SHA256)
RSA_SHA384: Final = _rsa(oids.RSA_SHA384, oids.SHA384)
RSA_SHA512: Final = _rsa(oids.RSA_SHA512, oids.SHA512)
RSA_PSS_SHA256: Final = _pss(oids.SHA256)
RSA_PSS_SHA384: Final = _pss(oids.SHA384)
RSA_PSS_SHA512: Final = _pss(oids.SHA512)
ECDSA_SHA256: Final = _ecdsa(oids.ECDSA_SHA256, oids.SHA256)
ECDSA_SHA384: Final = _ecdsa(oids.ECDSA_SHA384, oids.SHA384)
ECDSA_SHA512: Final = _ecdsa(oids.ECDSA_SHA512, oids.SHA512)
ED25519: Final = SignatureScheme(SignatureKind.ED25519, "", der.sequence(der.oid(oids.ED25519)))

SCHEMES: Final = (
    RSA_SHA256,
    RSA_SHA384,
    RSA_SHA512,
    RSA_PSS_SHA256,
    RSA_PSS_SHA384,
    RSA_PSS_SHA512,
    ECDSA_SHA256,
    ECDSA_SHA384,
    ECDSA_SHA512,
    ED25519,
)
_BY_ALGORITHM: Final = {scheme.algorithm: scheme for scheme in SCHEMES} | {
    der.sequence(der.oid(scheme.oid)): scheme  # RFC 4055 5: without parameters is as good as with NULL
    for scheme in (RSA_SHA256, RSA_SHA384, RSA_SHA512)
}


def scheme_of(algorithm: bytes) -> SignatureScheme:
    """The scheme that an AlgorithmIdentifier names, for verifying. Of PSS every salt length is known, not only ours.

    Raises:
        WeakAlgorithm: it uses SHA-1 or MD5, or is one we do not know.
        EncodingError: it is no AlgorithmIdentifier.
    """
    scheme = _BY_ALGORITHM.get(algorithm)
    if scheme is not None:
        return scheme
    reader = der.Reader.of(algorithm, what="algorithm")
    oid = reader.oid()
    if oid == oids.RSA_PSS:
        scheme = _pss_of(algorithm, reader)
        reader.finish()
        return scheme
    used = _HASH_OF.get(oid, "")
    if used and used not in _HASHES:
        raise WeakAlgorithm(f"signatures made with {oids.name_of(used)} are not accepted; use SHA-256 or better")
    raise WeakAlgorithm(f"signatures by {oids.name_of(oid)} with these parameters are not accepted")


def _pss_of(algorithm: bytes, reader: der.Reader) -> SignatureScheme:
    """RSASSA-PSS-params, every one of them with a default. RFC 4055 3.1."""
    parameters = reader.enter() if reader.next_tag != -1 else der.Reader(b"")
    hash_oid, mask, mask_hash, salt_length, trailer = oids.SHA1, oids.MGF1, oids.SHA1, 20, 1
    if parameters.next_tag == 0xA0:
        hash_oid = parameters.enter(0xA0).enter().oid()
    if parameters.next_tag == 0xA1:
        generator = parameters.enter(0xA1).enter()
        mask, mask_hash = generator.oid(), generator.enter().oid()
    if parameters.next_tag == 0xA2:
        salt_length = parameters.enter(0xA2).integer()
    if parameters.next_tag == 0xA3:
        trailer = parameters.enter(0xA3).integer()
    parameters.finish()
    if hash_oid not in _HASHES:
        raise WeakAlgorithm(f"signatures made with {oids.name_of(hash_oid)} are not accepted; use SHA-256 or better")
    if mask != oids.MGF1 or mask_hash != hash_oid or trailer != 1 or not 0 <= salt_length <= _MAX_SALT:
        raise WeakAlgorithm("RSASSA-PSS signatures are accepted with MGF1 over the same hash only")
    return SignatureScheme(SignatureKind.RSA_PSS, hash_oid, algorithm, salt_length)


_MAX_SALT: Final = 2048  # octets: no longer salt fits the longest key


def default_scheme(key: PrivateKey | PublicKey) -> SignatureScheme:
    """What a CA with this key signs with: SHA-256 under RSA, for curves the hash of their strength."""
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return RSA_SHA256
    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        return ED25519
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return _for_curve(key.curve.key_size)
    raise TypeError(f"there is no signature scheme for a {type(key).__name__}")


@functools.cache
def _for_curve(bits: int) -> SignatureScheme:
    if bits <= 256:
        return ECDSA_SHA256
    return ECDSA_SHA384 if bits <= 384 else ECDSA_SHA512


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and how it signs."""

    private_key: PrivateKey
    scheme: SignatureScheme

    @classmethod
    def of(cls, private_key: PrivateKey) -> Signer:
        return cls(private_key, default_scheme(private_key))

    @property
    def algorithm(self) -> bytes:
        return self.scheme.algorithm

    def sign(self, data: bytes) -> bytes:
        return self.scheme.sign(self.private_key, data)

    def ready(self) -> Callable[[bytes], bytes]:
        """`sign` with everything looked up already, for whoever signs twenty thousand times a second."""
        key, algorithm = self.private_key, self.scheme.hash_algorithm()
        if self.scheme.kind is SignatureKind.ECDSA and isinstance(key, ec.EllipticCurvePrivateKey) and algorithm:
            return functools.partial(key.sign, signature_algorithm=ec.ECDSA(algorithm))
        return self.sign


_HASH_OF: Final = {
    oids.RSA_MD5: oids.MD5,
    oids.RSA_SHA1: oids.SHA1,
    oids.DSA_SHA1: oids.SHA1,
    oids.ECDSA_SHA1: oids.SHA1,
    oids.RSA_SHA256: oids.SHA256,
    oids.RSA_SHA384: oids.SHA384,
    oids.RSA_SHA512: oids.SHA512,
    oids.ECDSA_SHA224: oids.SHA224,
    oids.ECDSA_SHA256: oids.SHA256,
    oids.ECDSA_SHA384: oids.SHA384,
    oids.ECDSA_SHA512: oids.SHA512,
    oids.ED25519: "",
    oids.ED448: "",
}


def hash_of(algorithm: bytes) -> str:
    """OID of the hash a signature's AlgorithmIdentifier uses, weak ones too; empty when it uses none of its own.

    Raises:
        EncodingError: the algorithm is not known.
    """
    reader = der.Reader.of(algorithm, what="algorithm")
    oid = reader.oid()
    if oid == oids.RSA_PSS:
        parameters = reader.enter()
        return parameters.enter(0xA0).enter().oid() if parameters.next_tag == 0xA0 else oids.SHA1
    if oid not in _HASH_OF:
        raise EncodingError(f"the signature algorithm {oids.name_of(oid)} is not known")
    return _HASH_OF[oid]
