"""Signing certificates of the responder: enrolled through the door, renewed by themselves. [MS-OCSP] 3.1.5.

One for each CA, of the template OCSPResponseSigning, with a P-256 key: such an answer costs a twentieth of an RSA one
and is half as long. Keys lie sealed in one folder with their certificates beside them, one name per generation:
`ca-1-00001.key` with `ca-1-00001.crt`. A key without a certificate is an enrollment that was interrupted, and is made
again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.interfaces import CertRequest
from certwright.adcs.request import template_attributes
from certwright.keystores.base import KeyAlgorithm, KeyStore, KeyStoreError
from certwright.keystores.sealing import replace
from certwright.pki import armor, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError, SignatureError
from certwright.pki.ocsp import ResponseSigner
from certwright.pki.signatures import Signer

log = structlog.get_logger(__name__)

TEMPLATE: Final = "OCSPResponseSigning"
KEY_ALGORITHM: Final = KeyAlgorithm.ECDSA_P256
_NAME: Final = re.compile(r"ca-(\d+)-(\d{5})")
_KEPT: Final = 2
"""Generations of one CA that stay: what was signed with the one before may still be looked at."""


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """One generation."""

    name: str  # of the key
    view: CertificateView

    @property
    def renew_after(self) -> datetime:
        """Two thirds of the lifetime: days are left to find out why it could not be renewed."""
        return self.view.not_before + (self.view.not_after - self.view.not_before) * 2 / 3


class SigningCertificates:
    """The folder. Any process may renew; the others notice by `current`."""

    def __init__(self, folder: Path, keys: KeyStore) -> None:
        self._folder = folder
        self._keys = keys

    def generations(self, ca_id: int) -> list[SigningCertificate]:
        """Every certificate for one CA, the newest last.

        Raises:
            ConfigurationError: a file is damaged.
        """
        return [
            _read(path)
            for path in sorted(self._folder.glob(f"ca-{ca_id}-*.crt"))
            if _NAME.fullmatch(path.stem) and self._keys.exists(path.stem)
        ]

    def current(self, ca_id: int) -> SigningCertificate | None:
        """The newest one. Raises as `generations`."""
        found = self.generations(ca_id)
        return found[-1] if found else None

    def signer(self, certificate: SigningCertificate, *, by_name: bool = False) -> ResponseSigner:
        """Raises:
        ConfigurationError: its key does not open.
        """
        try:
            key = self._keys.open(certificate.name)
        except KeyStoreError as error:
            raise ConfigurationError(f"the responder's key: {error}") from error
        return ResponseSigner.of(Signer.of(key.private_key), certificate.view, by_name=by_name)

    def enroll(self, door: CertRequest, ca_id: int, issuer: CertificateView) -> SigningCertificate:
        """Make a key, have it certified through the door, and make it the current one.

        Args:
            issuer: the CA's newest certificate. Clients take a signer only if the key signed it that signed what they
                check. [MS-OCSP] 3.1.5.

        Raises:
            AdcsError: the CA cannot be reached or refuses to take the request.
            ConfigurationError: it was denied, waits for a certificate manager, or is no signing certificate.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        taken = [int(match[2]) for match in map(_NAME.fullmatch, self._names()) if match and int(match[1]) == ca_id]
        name = f"ca-{ca_id}-{max(taken, default=0) + 1:05}"
        key = self._keys.create(name, KEY_ALGORITHM)
        try:
            request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
            signed = request.sign(key.private_key, hashes.SHA256()).public_bytes(Encoding.DER)
            response = door.submit(signed, template_attributes(TEMPLATE))
            if not response.is_issued or response.certificate is None:
                raise ConfigurationError(
                    f"the responder's signing certificate was not issued (request {response.request_id}): "
                    f"{response.message}; see to it with: certwright responder enable"
                )
            view = CertificateView.parse(response.certificate)
            _demand_use(view, issuer)
        except BaseException:
            self._keys.delete(name)
            raise
        replace(self._folder / f"{name}.crt", armor.armor(armor.CERTIFICATE, view.der).encode())
        self._forget_old(ca_id)
        log.info("signing_certificate_enrolled", request_id=response.request_id, not_after=str(view.not_after))
        return SigningCertificate(name, view)

    def _names(self) -> list[str]:
        return [*self._keys.names(), *(path.stem for path in self._folder.glob("ca-*.crt"))]

    def _forget_old(self, ca_id: int) -> None:
        keep = {certificate.name for certificate in self.generations(ca_id)[-_KEPT:]}
        for name in self._keys.names():
            match = _NAME.fullmatch(name)
            if match and int(match[1]) == ca_id and name not in keep:
                (self._folder / f"{name}.crt").unlink(missing_ok=True)
                self._keys.delete(name)


def _demand_use(view: CertificateView, issuer: CertificateView) -> None:
    """Refuse a certificate that no client would take. RFC 6960 4.2.2.2.

    Raises:
        ConfigurationError: it is not for OCSP signing, or another key signed it.
    """
    if oids.EKU_OCSP_SIGNING not in view.extended_key_usage:
        raise ConfigurationError(
            f"the template {TEMPLATE} makes certificates that are not for OCSP signing; restore it"
        )
    try:
        view.verify_signed_by(issuer)
    except SignatureError as error:
        raise ConfigurationError(f"the signing certificate was issued by another CA key: {error}") from error


def _read(path: Path) -> SigningCertificate:
    try:
        return SigningCertificate(path.stem, CertificateView.parse(armor.dearmor(path.read_text("ascii"))))
    except (OSError, UnicodeDecodeError, EncodingError) as error:
        raise ConfigurationError(
            f"{path} is damaged ({error}); remove it and its key, then run: certwright responder refresh"
        ) from error
