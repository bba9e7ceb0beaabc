"""What this host enrolled for: one file each in a state folder, so that a clock can renew it. No secret is in there.

A certificate and its key are replaced so that whoever reads them meanwhile, or after a crash, finds a pair: what is
new waits beside the old (`.new`), and `Files.settle` brings an interrupted replacement to its end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from certwright.adcs.errors import ConfigurationError, InvalidArgument
from certwright.client.requests import public_key_of
from certwright.keystores.base import KeyAlgorithm, PrivateKey
from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError

MAX_FILE: Final = 64 * 1024
MAX_ENROLLMENTS: Final = 1000
_PRIVATE: Final = 0o600


class Auth(StrEnum):
    """How to log on at the policy server and at the CA."""

    KERBEROS = "kerberos"
    PASSWORD = "password"  # noqa: S105 - a kind, not a password
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True)
class Enrollment:
    """One certificate of this host: what was asked for, where and as whom, and how that stands.

    Args:
        renewal_uris: addresses of CES that take the old certificate, as the policy server named them.
        renew_seconds: how long before its end the template wants the certificate renewed.
        pending_id: request ID of what waits for an approval, 0 for nothing.
        pending_renews: it renews the certificate that is in place.
        pending_by_certificate: it was handed in by the old certificate, and is asked for by it.
    """

    policy: str
    template: str
    auth: Auth
    key_file: str
    certificate_file: str
    chain_file: str
    names: tuple[str, ...] = ()
    subject: str = ""
    key: str = ""  # KeyAlgorithm; empty for what the template wants
    user: str = ""
    secret_file: str = ""  # a password's, or a keytab
    client_certificate: str = ""
    client_key: str = ""
    ca_file: str = ""
    fingerprint: str = ""
    ca: str = ""
    renewal_uris: tuple[str, ...] = ()
    renew_seconds: int = 0
    keep_key: bool = False
    pending_id: int = 0
    pending_uri: str = ""
    pending_renews: bool = False
    pending_by_certificate: bool = False

    @property
    def id(self) -> str:
        """From where its certificate is: a file belongs to one enrollment."""
        digest = hashlib.sha256(os.fsencode(self.certificate_file)).hexdigest()[:12]
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", Path(self.certificate_file).stem)[:40]
        return f"{stem}-{digest}"

    @property
    def files(self) -> Files:
        return Files(Path(self.key_file), Path(self.certificate_file), Path(self.chain_file))

    def due(self, certificate: CertificateView) -> datetime:
        """When the certificate is to be renewed: as the template says, but not in the first half of its life."""
        lifetime = certificate.not_after - certificate.not_before
        return certificate.not_after - min(timedelta(seconds=self.renew_seconds), lifetime / 2)

    def encode(self) -> bytes:
        return (json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> Enrollment:
        """Raises:
        ConfigurationError: it is none of ours.
        """
        try:
            found: dict[str, Any] = json.loads(data)
            known = {each.name: found[each.name] for each in dataclasses.fields(cls) if each.name in found}
            known["auth"] = Auth(known["auth"])
            for name in ("names", "renewal_uris"):
                known[name] = tuple(map(str, known.get(name, ())))
            return cls(**known)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigurationError(f"this is no state of an enrollment: {error}") from error


class State:
    """The folder with one file for each enrollment. Made when it is first written to, for its owner alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def usual(cls) -> Path:
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            return Path("/var/lib/certwright/enrollments")
        base = os.environ.get("XDG_STATE_HOME", "")
        return (Path(base) if base else Path.home() / ".local" / "state") / "certwright" / "enrollments"

    def get(self, enrollment: Enrollment) -> Enrollment | None:
        """What is known of an enrollment by the place of its certificate."""
        path = self._path(enrollment)
        return Enrollment.decode(_read(path)) if path.exists() else None

    def put(self, enrollment: Enrollment) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(self._path(enrollment), enrollment.encode())

    def all(self) -> Sequence[tuple[Path, Enrollment | ConfigurationError]]:
        """Every enrollment, by the name of its file; those that cannot be read with the reason."""
        found: list[tuple[Path, Enrollment | ConfigurationError]] = []
        if self.folder.is_dir():
            for path in sorted(self.folder.glob("*.json"))[:MAX_ENROLLMENTS]:
                try:
                    found.append((path, Enrollment.decode(_read(path))))
                except ConfigurationError as error:
                    found.append((path, error))
        return found

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else enrolls or renews out of this folder meanwhile, where the system has locks for that."""
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _path(self, enrollment: Enrollment) -> Path:
        return self.folder / f"{enrollment.id}.json"


@dataclass(frozen=True, slots=True)
class Files:
    """Key, certificate and chain of one enrollment."""

    key: Path
    certificate: Path
    chain: Path

    @property
    def new_key(self) -> Path:
        return self.key.with_name(self.key.name + ".new")

    @property
    def new_certificate(self) -> Path:
        return self.certificate.with_name(self.certificate.name + ".new")

    def current(self) -> CertificateView | None:
        """The certificate that is in place; None without one, or without its key."""
        if not self.certificate.exists() or not self.key.exists():
            return None
        certificate = read_certificate(self.certificate)
        return certificate if public_key_of(read_key(self.key)) == certificate.public_key_info else None

    def key_to_use(self, algorithm: KeyAlgorithm, *, renews: bool) -> PrivateKey:
        """The key to ask with: the one that is there, or a new one, which only its owner can read."""
        path = self.new_key if renews else self.key
        if path.exists():
            return read_key(path)
        key = algorithm.generate()
        write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), new=True)
        return key

    def put(self, certificate: CertificateView, chain: Sequence[bytes]) -> None:
        """Put a certificate into place, with the new key where it is for that one.

        Raises:
            ConfigurationError: no key here is its.
        """
        if self._key_of(certificate) is None:
            raise ConfigurationError(f"the certificate is for another key than those in {self.key}")
        write(self.new_certificate, armor.armor(armor.CERTIFICATE, certificate.der).encode(), mode=0o644)
        self.settle()
        if chain:
            text = "".join(armor.armor(armor.CERTIFICATE, each) for each in chain)
            write(self.chain, text.encode(), mode=0o644)

    def settle(self) -> None:
        """Bring a replacement to its end, or back to its beginning where it cannot be."""
        if not self.new_certificate.exists():
            return
        path = self._key_of(read_certificate(self.new_certificate))
        if path is None:
            self.new_certificate.unlink()
            return
        if path == self.new_key:
            path.replace(self.key)
        self.new_certificate.replace(self.certificate)

    def _key_of(self, certificate: CertificateView) -> Path | None:
        for path in (self.new_key, self.key):
            if path.exists() and public_key_of(read_key(path)) == certificate.public_key_info:
                return path
        return None


def read_key(path: Path) -> PrivateKey:
    """Raises:
    InvalidArgument: it is no RSA or EC key in PEM without a passphrase.
    """
    try:
        key = load_pem_private_key(_read(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidArgument(f"{path} is no private key in PEM without a passphrase") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise InvalidArgument(f"{path} is neither an RSA key nor one of an elliptic curve")
    return key


def read_certificate(path: Path) -> CertificateView:
    """The first certificate of a file. Raises `InvalidArgument` where there is none."""
    try:
        return CertificateView.parse(armor.dearmor(_read(path), MAX_FILE))
    except EncodingError as error:
        raise InvalidArgument(f"{path} holds no certificate: {error}") from error


def write(path: Path, data: bytes, *, mode: int = _PRIVATE, new: bool = False) -> None:
    """Write a file whole and durably, or not at all.

    Raises:
        OSError: it cannot be written, or, where it has to be new, exists.
    """
    draft = path if new else path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if not new:
        draft.replace(path)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise InvalidArgument(f"{path} is larger than {MAX_FILE} bytes")
    return data
