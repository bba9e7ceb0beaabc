"""Signing certificates of the responder: enrolled through the door and renewed by themselves, or brought by people.
[MS-OCSP] 3.1.5, RFC 6960 4.2.2.2.

Ours are of the template OCSPResponseSigning, with a P-256 key: such an answer costs a twentieth of an RSA one and is
half as long. Keys lie sealed in one folder with their certificates beside them, one name per generation:
`ca-1-00001.key` with `ca-1-00001.crt`. What stands before the generation is the place: `ca-1` for what CA 1 issued
through the door, `chosen-1` for what was brought for it, `elsewhere-3` for a CA whose database is not here. A key
without a certificate waits for one; of a door it is an enrollment that was interrupted, and is made again.
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
from cryptography.x509.oid import ExtendedKeyUsageOID

from certwright.adcs.errors import ConfigurationError, InvalidArgument
from certwright.adcs.interfaces import CertRequest
from certwright.adcs.request import template_attributes
from certwright.keystores.base import KeyAlgorithm, KeyStore, KeyStoreError
from certwright.keystores.sealing import replace
from certwright.online_responder import signer_files
from certwright.online_responder.signer_files import public_key_info
from certwright.pki import armor, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError, SignatureError
from certwright.pki.ocsp import ResponseSigner
from certwright.pki.signatures import Signer

log = structlog.get_logger(__name__)

TEMPLATE: Final = "OCSPResponseSigning"
KEY_ALGORITHM: Final = KeyAlgorithm.ECDSA_P256
_NAME: Final = re.compile(r"((?:ca|chosen|elsewhere)-\d+)-(\d{5})")
_KEPT: Final = 2
"""Generations of one place that stay: what was signed with the one before may still be looked at."""
_REMINDER: Final = 0.9
"""The part of a certificate's life after which people are reminded. [MS-OCSPA] 3.2.1.1, ReminderDuration."""


def door_place(ca_id: int) -> str:
    return f"ca-{ca_id}"


def chosen_place(ca_id: int) -> str:
    return f"chosen-{ca_id}"


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """One generation."""

    name: str  # of the key
    view: CertificateView

    @property
    def renew_after(self) -> datetime:
        """Two thirds of the lifetime: days are left to find out why it could not be renewed."""
        return self.view.not_before + (self.view.not_after - self.view.not_before) * 2 / 3

    @property
    def remind_after(self) -> datetime:
        """From when on people are to hear that it ends."""
        return self.view.not_before + (self.view.not_after - self.view.not_before) * _REMINDER


class SigningCertificates:
    """The folder. Any process may renew; the others notice by `current`."""

    def __init__(self, folder: Path, keys: KeyStore) -> None:
        self._folder = folder
        self._keys = keys

    def generations(self, place: str) -> list[SigningCertificate]:
        """Every certificate of one place, the newest last.

        Raises:
            ConfigurationError: a file is damaged.
        """
        return [
            _read(path)
            for path in sorted(self._folder.glob(f"{place}-*.crt"))
            if _NAME.fullmatch(path.stem) and self._keys.exists(path.stem)
        ]

    def current(self, place: str) -> SigningCertificate | None:
        """The newest one. Raises as `generations`."""
        found = self.generations(place)
        return found[-1] if found else None

    def signer(
        self, certificate: SigningCertificate, issuer: CertificateView, *, by_name: bool = False
    ) -> ResponseSigner:
        """Whoever answers with it. The certificate is sent along, unless it is the CA's own.

        Raises:
            ConfigurationError: its key does not open.
        """
        try:
            key = self._keys.open(certificate.name)
        except KeyStoreError as error:
            raise ConfigurationError(f"the responder's key: {error}") from error
        own = certificate.view.public_key_info == issuer.public_key_info
        return ResponseSigner.of(Signer.of(key.private_key), certificate.view, by_name=by_name, send=not own)

    def enroll(self, door: CertRequest, place: str, issuer: CertificateView) -> SigningCertificate:
        """Make a key, have it certified through the door, and make it the current one.

        Args:
            issuer: the CA's newest certificate. Clients take a signer only if the key signed it that signed what they
                check. [MS-OCSP] 3.1.5.

        Raises:
            AdcsError: the CA cannot be reached or refuses to take the request.
            ConfigurationError: it was denied, waits for a certificate manager, or is no signing certificate.
        """
        name = self._next_name(place)
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
        self._put(name, view)
        self._forget_old(place)
        log.info("signing_certificate_enrolled", request_id=response.request_id, not_after=str(view.not_after))
        return SigningCertificate(name, view)

    # -- brought by people -------------------------------------------------------------------------------------

    def request(self, place: str, host: str) -> bytes:
        """Make a key and a request for a certificate of it, in DER: for the CA in question, which alone may issue it.

        RFC 6960 4.2.2.2: it asks for the purpose OCSPSigning, and for no check.
        """
        name = self._next_name(place)
        key = self._keys.create(name, KEY_ALGORITHM)
        usage = x509.KeyUsage(True, *(False,) * 8)
        builder = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host[:64])]))
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
            .add_extension(usage, critical=True)
            .add_extension(x509.OCSPNoCheck(), critical=False)
        )
        return builder.sign(key.private_key, hashes.SHA256()).public_bytes(Encoding.DER)

    def install(
        self, place: str, data: bytes, password: str, issuer: CertificateView, now: datetime
    ) -> SigningCertificate:
        """Take a signing certificate in, with its key or for one that waits here; it is the current one then.

        Raises:
            InvalidArgument: it cannot be read, has no key here, or no client would take what it signs.
        """
        found, key = signer_files.read(data, password)
        for view in found:
            if key is not None and public_key_info(key.public_key()) == view.public_key_info:
                break
            pending = self._waiting(place, view)
            if pending:
                key = self._keys.open(pending).private_key
                break
        else:
            raise InvalidArgument(
                "the file holds no certificate with its key, and no key here waits for one of its certificates;"
                " make a request first, or bring a PFX"
            )
        _demand_chosen(view, issuer, now)
        name = self._next_name(place)  # of its own, whenever its key was made: the newest name is the current one
        self._keys.import_(name, signer_files.unencrypted(key), b"")
        self._put(name, view)
        self._forget_old(place)
        log.info("signing_certificate_installed", place=place, not_after=str(view.not_after))
        return SigningCertificate(name, view)

    def forget(self, place: str) -> None:
        """Destroy every key of a place, with its certificates."""
        for name in self._of(place):
            (self._folder / f"{name}.crt").unlink(missing_ok=True)
            if self._keys.exists(name):
                self._keys.delete(name)

    def _waiting(self, place: str, view: CertificateView) -> str:
        """The key of a request that this certificate is the answer to; empty when there is none."""
        for name in self._of(place):
            if self._keys.exists(name):
                key = self._keys.open(name)
                if public_key_info(key.public_key) == view.public_key_info:
                    return name
        return ""

    def _next_name(self, place: str) -> str:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        taken = [int(name.rpartition("-")[2]) for name in self._of(place)]
        return f"{place}-{max(taken, default=0) + 1:05}"

    def _of(self, place: str) -> list[str]:
        matches = map(_NAME.fullmatch, dict.fromkeys(self._names()))
        return [match[0] for match in matches if match and match[1] == place]

    def _put(self, name: str, view: CertificateView) -> None:
        replace(self._folder / f"{name}.crt", armor.armor(armor.CERTIFICATE, view.der).encode())

    def _names(self) -> list[str]:
        return [*self._keys.names(), *(path.stem for path in self._folder.glob("ca-*.crt"))]

    def _forget_old(self, place: str) -> None:
        """Keys that wait for their certificate since the newest one came stay too."""
        kept = [certificate.name for certificate in self.generations(place)[-_KEPT:]]
        for name in self._of(place):
            if name not in kept and name < kept[-1]:
                (self._folder / f"{name}.crt").unlink(missing_ok=True)
                if self._keys.exists(name):
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


def _demand_chosen(view: CertificateView, issuer: CertificateView, now: datetime) -> None:
    """Refuse what no client would take. RFC 6960 4.2.2.2: the CA itself, or whom it authorized directly.

    Raises:
        InvalidArgument: with the reason.
    """
    if not view.not_before <= now < view.not_after:
        raise InvalidArgument(
            f"the certificate is valid from {view.not_before:%Y-%m-%d %H:%M} to {view.not_after:%Y-%m-%d %H:%M} UTC"
        )
    if view.public_key_info == issuer.public_key_info:
        return
    if oids.EKU_OCSP_SIGNING not in view.extended_key_usage:
        raise InvalidArgument(
            "the certificate is not for OCSP signing (extended key usage 1.3.6.1.5.5.7.3.9); clients refuse what it"
            " signs"
        )
    try:
        view.verify_signed_by(issuer)
    except SignatureError as error:
        raise InvalidArgument(
            "the certificate was issued by another CA, or another key of this one; clients take only what the CA in"
            f" question issued itself (RFC 6960 4.2.2.2): {error}"
        ) from error


def _read(path: Path) -> SigningCertificate:
    try:
        return SigningCertificate(path.stem, CertificateView.parse(armor.dearmor(path.read_text("ascii"))))
    except (OSError, UnicodeDecodeError, EncodingError) as error:
        raise ConfigurationError(
            f"{path} is damaged ({error}); remove it and its key, then run: certwright responder refresh"
        ) from error
