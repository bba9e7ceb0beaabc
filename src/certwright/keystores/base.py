"""What a key store is: it makes, opens and gives up private keys by name. The interface an HSM has to fit.

A `SigningKey` hands out a `private_key` object that `cryptography` accepts. For keys outside this process that is a
subclass of `RSAPrivateKey` or `EllipticCurvePrivateKey` whose `sign` asks the device; `in_process` is then False, and
the CA makes its row durable before it asks for the signature.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, rsa

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class KeyStoreError(Exception):
    """A key store refuses or fails; the message says what to do."""


class KeyUnavailable(KeyStoreError):
    """There is no such key here, it is offline, or it cannot be opened."""


class KeyExists(KeyStoreError):
    """The name is taken. Keys are never overwritten."""


class KeyAlgorithm(StrEnum):
    """The keys we make, by the names the command line uses."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"

    def generate(self) -> PrivateKey:
        """A new key in memory. RSA takes 0.1 to 2 seconds: never inside an event loop."""
        match self:
            case KeyAlgorithm.ECDSA_P256:
                return ec.generate_private_key(ec.SECP256R1())
            case KeyAlgorithm.ECDSA_P384:
                return ec.generate_private_key(ec.SECP384R1())
            case _:
                return rsa.generate_private_key(65537, int(self.value.removeprefix("rsa-")))


class Scheme(Protocol):
    """How to sign: any object that can use a private key on data."""

    def sign(self, private_key: PrivateKey, data: bytes) -> bytes: ...


class SigningKey(Protocol):
    """An opened key."""

    @property
    def name(self) -> str: ...

    @property
    def in_process(self) -> bool:
        """Does the key itself lie in this process's memory?"""

    @property
    def private_key(self) -> PrivateKey:
        """What `cryptography` signs with."""

    @property
    def public_key(self) -> PublicKey: ...

    def sign(self, data: bytes, scheme: Scheme) -> bytes: ...


class KeyStore(Protocol):
    """Keys by name. Names are letters, digits, `.`, `_` and `-`."""

    def create(self, name: str, algorithm: KeyAlgorithm) -> SigningKey:
        """Make a key that is durable when this returns. Raises `KeyExists`."""

    def open(self, name: str) -> SigningKey:
        """Raises:
        KeyUnavailable: no such key, or it is offline.
        """

    def exists(self, name: str) -> bool: ...

    def names(self) -> Iterable[str]:
        """The keys that can be opened, sorted."""

    def delete(self, name: str) -> None:
        """Destroy a key. Raises `KeyUnavailable` when there is none."""

    def export(self, name: str, path: Path, passphrase: bytes) -> None:
        """Write the key to a new file, encrypted. Raises `KeyStoreError` where keys may not leave."""

    def import_(self, name: str, pem: bytes, passphrase: bytes) -> SigningKey:
        """Take a key in. Raises `KeyExists`, or `KeyStoreError` when the file cannot be opened."""
