"""The registration authority's two certificates: one signs answers, the other opens requests. RFC 8894 2.1.2.

Always RSA, whatever the CA's key: nothing else can be encrypted to. Keys lie sealed in a folder, one name per
generation: `signing-00001.key` with `signing-00001.der`. Both are enrolled through the door that everybody uses. The
encryption key of the generation before still opens what was encrypted to it, and after the CA got a new key the last
certificate that its old key signed still signs, for devices that trust nothing else yet.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.interfaces import CertRequest
from certwright.adcs.request import template_attributes
from certwright.keystores.base import KeyAlgorithm, KeyStore, KeyStoreError
from certwright.keystores.sealing import replace
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError
from certwright.wire.scep import Credentials

log = structlog.get_logger(__name__)

SIGNING: Final = "signing"
ENCRYPTION: Final = "encryption"
TEMPLATES: Final = {SIGNING: "NDESSigning", ENCRYPTION: "NDESEncryption"}
"""Ours. Those of Windows make enrollment agents, which this service need not be: it asks for itself."""
_NAME: Final = re.compile(r"(signing|encryption)-(\d{5})")
_KEPT: Final = 2
_LOOKED_BACK: Final = 4
_SETTLED: Final = 2_000_000_000


@dataclass(frozen=True, slots=True)
class RaCertificates:
    """What the service works with now; the newest encryption certificate first."""

    signing: Credentials
    encryption: tuple[Credentials, ...]
    signing_before: Credentials | None = None  # the newest one under another key of the CA

    @property
    def renew_after(self) -> datetime:
        """Two thirds of the shorter life."""
        newest = (self.signing.certificate, self.encryption[0].certificate)
        return min(each.not_before + (each.not_after - each.not_before) * 2 / 3 for each in newest)

    @property
    def not_after(self) -> datetime:
        return min(self.signing.certificate.not_after, self.encryption[0].certificate.not_after)


class RegistrationAuthority:
    """The folder `ndes/`. Any process may renew; the others notice by `current()`. Thread-safe."""

    def __init__(self, folder: Path, keys: Callable[[], KeyStore]) -> None:
        self._folder = folder
        self._make_keys = keys
        self._lock = threading.Lock()
        self._names: tuple[str, ...] = ()
        self._current: RaCertificates | None = None
        self._looked: tuple[int, RaCertificates] | None = None  # when the folder had changed last

    def current(self) -> RaCertificates:
        """Raises:
        ConfigurationError: nothing is enrolled, or it cannot be read.
        """
        changed = self._changed()
        if self._looked is not None and self._looked[0] == changed:
            return self._looked[1]
        names = self._complete()
        with self._lock:
            if self._current is None or names != self._names:
                self._current, self._names = self._load(names), names
            settled = time.time_ns() - changed > _SETTLED  # two changes within a tick of the clock look like one
            self._looked = (changed, self._current) if settled else None
            return self._current

    def _changed(self) -> int:
        try:
            return os.stat(self._folder).st_mtime_ns
        except OSError:
            return 0

    def enroll(self, door: CertRequest, approve: Callable[[int], None]) -> RaCertificates:
        """New keys and certificates for both uses.

        Args:
            approve: called with the number of a request that waits for a certificate manager; asking again follows.

        Raises:
            AdcsError: the CA cannot be reached or refuses.
            ConfigurationError: a request was denied, or still waits.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        taken = [int(match[2]) for match in map(_NAME.fullmatch, self._stems()) if match]
        number = max(taken, default=0) + 1
        for use in (ENCRYPTION, SIGNING):
            self._enroll(use, f"{use}-{number:05}", door, approve)
        self._forget_old()
        enrolled = self.current()
        log.info("ra_certificates_enrolled", not_after=enrolled.not_after.isoformat())
        return enrolled

    def _enroll(self, use: str, name: str, door: CertRequest, approve: Callable[[int], None]) -> None:
        keys = self._make_keys()
        key = keys.create(name, KeyAlgorithm.RSA_2048)
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        encoded = request.sign(key.private_key, hashes.SHA256()).public_bytes(Encoding.DER)
        try:
            response = door.submit(encoded, template_attributes(TEMPLATES[use]))
            if not response.is_issued and response.certificate is None and response.request_id:
                approve(response.request_id)
                response = door.retrieve(response.request_id)
            if not response.is_issued or response.certificate is None:
                raise ConfigurationError(
                    f"the certificate for {use} was not issued (request {response.request_id}): {response.message};"
                    f" the template {TEMPLATES[use]} must let the service's account enroll without approval"
                )
        except BaseException:
            keys.delete(name)
            raise
        replace(self._folder / f"{name}.der", response.certificate)

    def _load(self, names: tuple[str, ...]) -> RaCertificates:
        signing = [name for name in names if name.startswith(SIGNING)]
        encryption = [name for name in names if name.startswith(ENCRYPTION)]
        if not signing or not encryption:
            raise ConfigurationError("NDES has no certificates; run: certwright ndes enable")
        opened = tuple(self._open(name) for name in reversed(encryption[-_KEPT:]))
        before = self._under_another_key(signing)
        return RaCertificates(self._open(signing[-1]), opened, self._open(before) if before else None)

    def _under_another_key(self, signing: list[str]) -> str:
        """The newest of a signing certificate's predecessors that another key of the CA signed; empty for none."""
        issuers = {name: self._issuing_key(name) for name in signing[-_LOOKED_BACK:]}
        return next((name for name in reversed(issuers) if issuers[name] != issuers[signing[-1]]), "")

    def _issuing_key(self, name: str) -> bytes | None:
        try:
            return CertificateView.parse((self._folder / f"{name}.der").read_bytes()).authority_key_identifier
        except (OSError, EncodingError):
            return None

    def _open(self, name: str) -> Credentials:
        path = self._folder / f"{name}.der"
        try:
            certificate = CertificateView.parse(path.read_bytes())
            key = self._make_keys().open(name).private_key
        except (OSError, EncodingError, KeyStoreError) as error:
            raise ConfigurationError(f"{path} cannot be used ({error}); run: certwright ndes renew") from error
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ConfigurationError(f"the key of {path} is not RSA; run: certwright ndes renew")
        return Credentials(certificate, key)

    def _complete(self) -> tuple[str, ...]:
        """Names of generations whose certificate is here, in order."""
        return tuple(sorted(path.stem for path in self._folder.glob("*.der") if _NAME.fullmatch(path.stem)))

    def _stems(self) -> list[str]:
        return [path.stem for path in self._folder.glob("*-*")]

    def _forget_old(self) -> None:
        keys = self._make_keys()
        names = self._complete()
        keep = {name for use in TEMPLATES for name in [each for each in names if each.startswith(use)][-_KEPT:]}
        keep.add(self._under_another_key([name for name in names if name.startswith(SIGNING)]))
        for name in keys.names():
            if _NAME.fullmatch(name) and name not in keep:
                (self._folder / f"{name}.der").unlink(missing_ok=True)
                keys.delete(name)
