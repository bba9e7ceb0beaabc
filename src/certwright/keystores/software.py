"""Private keys as sealed files, one a key: PKCS#8 (RFC 5958) inside `sealing`, mode 0600, written atomically.

A key can be taken offline: exported under a passphrase, read back, then removed. Its public half stays behind in
`<name>.offline`, so that the store can say what is missing and takes only the same key back.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from certwright.keystores.base import (
    KeyAlgorithm,
    KeyExists,
    KeyStoreError,
    KeyUnavailable,
    PrivateKey,
    PublicKey,
    Scheme,
)
from certwright.keystores.sealing import Sealer, SealingError, remove, replace, write_new

MIN_PASSPHRASE: Final = 12
MIN_RSA_BITS: Final = 2048
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class SoftwareSigningKey:
    """A key in this process's memory."""

    name: str
    private_key: PrivateKey
    in_process: bool = True

    @property
    def public_key(self) -> PublicKey:
        return self.private_key.public_key()

    def sign(self, data: bytes, scheme: Scheme) -> bytes:
        return scheme.sign(self.private_key, data)

    def __repr__(self) -> str:
        return f"SoftwareSigningKey({self.name!r})"


class SoftwareKeyStore:
    """Sealed key files in one folder. Thread-safe; each key is loaded once."""

    def __init__(self, folder: Path, sealer: Sealer) -> None:
        self._folder = folder
        self._sealer = sealer
        self._lock = threading.Lock()
        self._loaded: dict[str, SoftwareSigningKey] = {}

    def create(self, name: str, algorithm: KeyAlgorithm) -> SoftwareSigningKey:
        """Make a key; it is on the disk when this returns.

        Raises:
            KeyExists: the name is taken, also by a key that is offline.
        """
        self._refuse_taken(name, offline=True)
        return self._store(name, algorithm.generate())

    def open(self, name: str) -> SoftwareSigningKey:
        """The key.

        Raises:
            KeyUnavailable: no such key, it is offline, or its file does not open.
        """
        path = self._path(name)
        with self._lock:
            if not path.exists():
                self._loaded.pop(name, None)  # taken offline by another process
                raise KeyUnavailable(self._why_missing(name))
            key = self._loaded.get(name)
            if key is None:
                key = self._loaded[name] = self._load(name, path)
            return key

    def exists(self, name: str) -> bool:
        """Can it be opened here? False for a key that is offline."""
        return self._path(name).exists()

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(path.stem for path in self._folder.glob("*.key")))

    def offline_names(self) -> tuple[str, ...]:
        """Keys that were taken offline and did not come back."""
        gone = (path.stem for path in self._folder.glob("*.offline"))
        return tuple(sorted(name for name in gone if not self.exists(name)))

    def delete(self, name: str) -> None:
        """Destroy a key and forget that it was here.

        Raises:
            KeyUnavailable: there is neither the key nor a trace of it.
        """
        if not self._unlink(name, self._path(name), self._trace(name)):
            raise KeyUnavailable(self._why_missing(name))

    def export(self, name: str, path: Path, passphrase: bytes) -> None:
        """Write the key to a new file as encrypted PKCS#8 PEM, mode 0600; the key stays.

        Raises:
            KeyUnavailable: no such key.
            KeyStoreError: the passphrase is shorter than 12 bytes, or the file exists or cannot be written.
        """
        if len(passphrase) < MIN_PASSPHRASE:
            raise KeyStoreError(f"the passphrase is too short: at least {MIN_PASSPHRASE} characters are needed")
        pem = self.open(name).private_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase)
        )
        try:
            write_new(path, pem)
        except FileExistsError as error:
            raise KeyStoreError(f"{path} exists already; a key is never written over a file") from error
        except OSError as error:
            raise KeyStoreError(f"{path} cannot be written: {error.strerror}") from error

    def remove(self, name: str) -> None:
        """Remove a key that is kept elsewhere, leaving its public half behind: the key is offline now.

        Raises:
            KeyUnavailable: no such key.
        """
        public = _public_bytes(self.open(name).public_key)
        replace(self._trace(name), public)
        self._unlink(name, self._path(name))

    def take_offline(self, name: str, path: Path, passphrase: bytes) -> None:
        """Export, read the export back, and only then remove; errors as `export`."""
        self.export(name, path, passphrase)
        copy = _load_pem(path.read_bytes(), passphrase)
        if _public_bytes(copy.public_key()) != _public_bytes(self.open(name).public_key):
            raise KeyStoreError(f"{path} does not hold the key {name}; nothing was removed")
        self.remove(name)

    def import_(self, name: str, pem: bytes, passphrase: bytes) -> SoftwareSigningKey:
        """Take a key in from PKCS#8 PEM, or bring an offline one back.

        Raises:
            KeyExists: the name is taken.
            KeyStoreError: wrong passphrase, no key a CA may have, or another one than was taken offline.
        """
        self._refuse_taken(name, offline=False)
        private_key = _load_pem(pem, passphrase)
        trace = self._trace(name)
        if trace.exists() and trace.read_bytes() != _public_bytes(private_key.public_key()):
            raise KeyStoreError(f"this is another key than the {name} that was taken offline")
        key = self._store(name, private_key)
        remove(trace)
        return key

    # -- files

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise KeyUnavailable(f"{name!r} is no key name: letters, digits, '.', '_' and '-' only")
        return self._folder / f"{name}.key"

    def _trace(self, name: str) -> Path:
        return self._path(name).with_suffix(".offline")

    def _refuse_taken(self, name: str, *, offline: bool) -> None:
        if self._path(name).exists() or (offline and self._trace(name).exists()):
            raise KeyExists(f"there is a key {name} already")

    def _why_missing(self, name: str) -> str:
        if self._trace(name).exists():
            return f"the key {name} is offline: import the file it was exported to, use it, and take it offline again"
        return f"there is no key {name} in {self._folder}"

    def _store(self, name: str, private_key: PrivateKey) -> SoftwareSigningKey:
        encoded = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                write_new(self._path(name), self._sealer.seal(encoded, _context(name)))
            except FileExistsError as error:
                raise KeyExists(f"there is a key {name} already") from error
            key = self._loaded[name] = SoftwareSigningKey(name, private_key)
        return key

    def _unlink(self, name: str, *paths: Path) -> bool:
        with self._lock:
            self._loaded.pop(name, None)
            found = [path for path in paths if path.exists()]
            for path in found:
                remove(path)
            return bool(found)

    def _load(self, name: str, path: Path) -> SoftwareSigningKey:
        try:
            encoded = self._sealer.open(path.read_bytes(), _context(name))
        except (SealingError, OSError) as error:
            raise KeyUnavailable(f"the key {name} cannot be opened: {error}") from error
        # Only this store writes such files, and they are authenticated: checking RSA numbers (50 ms) proves nothing.
        private_key = load_der_private_key(encoded, None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(private_key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise KeyUnavailable(f"the key {name} is neither RSA nor EC")
        return SoftwareSigningKey(name, private_key)


def _context(name: str) -> str:
    return f"keystore/{name}"


def _public_bytes(public_key: PublicKey) -> bytes:
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _load_pem(pem: bytes, passphrase: bytes) -> PrivateKey:
    try:
        key = load_pem_private_key(pem, passphrase or None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyStoreError("the key file does not open: wrong passphrase, or no private key in PEM") from error
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            raise KeyStoreError(f"an RSA key of {key.key_size} bits is too short: {MIN_RSA_BITS} are needed at least")
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return key
    raise KeyStoreError("the key is neither RSA nor on one of the curves P-256, P-384 and P-521")
