"""Sign what was prepared, once, and read it back before anybody sees it. [MS-WCCE] 3.2.1.4.2.1.4.6 to .8.

`CaSigner` belongs to one certificate of a CA and the key it certifies. `prepare` makes the exact certificate;
`redeem` takes it and its signature, and gives out nothing that a second parser does not read as what was prepared.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certwright.adcs.errors import AdcsError, CaUnreachable, HResult
from certwright.adcs.template import CertificateTemplate
from certwright.ca.issuance import builder
from certwright.ca.issuance.compiling import MAX_COMPILED, CompiledProfile, can_compile, examine
from certwright.ca.issuance.preparing import (
    AlreadyRedeemed,
    CertificateFacts,
    IssuingCertificate,
    PreparedCertificate,
    WrongSigner,
    check_spec,
)
from certwright.ca.policy.base import CertificateSpec
from certwright.ca.urls import IssuanceUrls
from certwright.keystores.base import SigningKey
from certwright.pki import der
from certwright.pki.certificate import CertificateView, assemble_signed
from certwright.pki.errors import SignatureError
from certwright.pki.public_keys import PublicKeyInfo, load_public_key
from certwright.pki.signatures import SignatureScheme, Signer, default_scheme

__all__ = [
    "AlreadyRedeemed",
    "CaSigner",
    "CertificateFacts",
    "PreparedCertificate",
    "UnsoundCertificate",
    "WrongSigner",
    "new_serial_number",
    "self_sign",
]


_PARTITIONS: Final = 8
"""CRL partitions whose compiled profiles are kept: certificates are issued into one or two at a time."""


class UnsoundCertificate(AdcsError):
    """What was signed is not what was prepared: a fault in this program or in a key device. Nothing left the CA."""

    status = HResult.NTE_BAD_SIGNATURE


def new_serial_number() -> int:
    """A serial number of 16 to 19 random octets: positive, and the first octet is never 0. RFC 5280 4.1.2.2.

    [MS-WCCE] 3.2.1.4.2.1.4.6 puts the request ID into it; ours tells nothing.
    """
    while True:
        drawn = secrets.token_bytes(20)
        serial = int.from_bytes(drawn[1 : 17 + (drawn[0] & 3)])
        serial &= ~(0x80 << (8 * (15 + (drawn[0] & 3))))
        if drawn[1] & 0x7F:
            return serial


class CaSigner:
    """Makes certificates under one CA certificate."""

    def __init__(
        self,
        certificate: bytes,
        certificate_index: int,
        key_index: int,
        key: SigningKey,
        urls: IssuanceUrls,
        partition_urls: Callable[[int], IssuanceUrls] | None = None,
    ) -> None:
        """Args:
            partition_urls: what certificates of a CRL partition carry instead, by its number.

        Raises:
        CaUnreachable: the key is not the one the certificate is for.
        ConfigurationError: the certificate is no CA certificate.
        """
        view = CertificateView.parse(certificate)
        if key.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != view.public_key_info:
            raise CaUnreachable(
                f"the key {key.name} is not the one that {view.subject_name} (serial {view.serial_number}) is for",
                HResult.CERTSRV_E_INVALID_CA_CERTIFICATE,
            )
        self.certificate = view
        self.certificate_index = certificate_index
        self.key_index = key_index
        self._key = key
        self._scheme = default_scheme(key.public_key)
        self._issuer = IssuingCertificate.of(view, self._scheme.algorithm, urls)
        self._engine = _Engine(self._issuer)
        self._partition_urls = partition_urls
        self._partitions: dict[int, _Engine] = {}

    @property
    def in_process(self) -> bool:
        """Does the key sign inside this process? Otherwise a row must be durable before `redeem`."""
        return self._key.in_process

    @property
    def issuing_certificate(self) -> IssuingCertificate:
        return self._issuer

    @property
    def crl_signer(self) -> Signer:
        """The key with its scheme, for CRLs."""
        return Signer(self._key.private_key, self._scheme)

    def urls(self, partition: int = 0) -> IssuanceUrls:
        """What certificates of a CRL partition carry; 0 for those that name the list of everything."""
        if not partition or self._partition_urls is None:
            return self._issuer.urls
        return self._partition_urls(partition)

    def prepare(
        self, spec: CertificateSpec, public_key: PublicKeyInfo, serial: int, partition: int = 0
    ) -> PreparedCertificate:
        """The exact certificate for a decision of the policy, unsigned.

        Args:
            partition: of the CRLs; the certificate names that one.

        Raises:
            BadRequest: the spec breaks a rule no policy may waive, or holds something that cannot be encoded.
            ConfigurationError: the template does.
        """
        check_spec(spec, self._issuer)
        engine = self._engine if not partition else self._engine_of(partition)
        tbs = engine.assemble(spec, public_key, serial)
        return PreparedCertificate(tbs, spec, public_key, serial, self, partition)

    def _engine_of(self, partition: int) -> _Engine:
        engine = self._partitions.get(partition)
        if engine is None:
            if len(self._partitions) >= _PARTITIONS:
                self._partitions.clear()
            engine = _Engine(replace(self._issuer, urls=self.urls(partition)))
            self._partitions[partition] = engine
        return engine

    def redeem(self, prepared: PreparedCertificate) -> bytes:
        """Sign a prepared certificate.

        Raises:
            AlreadyRedeemed: it was signed before.
            WrongSigner: another signer prepared it.
            UnsoundCertificate: the result reads differently than it was prepared.
        """
        prepared.claim(self)
        return _signed(prepared, self._key, self._scheme)


def self_sign(key: SigningKey, spec: CertificateSpec, public_key: PublicKeyInfo, serial: int) -> bytes:
    """A root's own certificate; errors as `CaSigner.prepare` and `CaSigner.redeem`."""
    scheme = default_scheme(key.public_key)
    issuer = IssuingCertificate(spec.subject, None, scheme.algorithm, spec.not_after)
    check_spec(spec, issuer)
    tbs = _Engine(issuer).assemble(spec, public_key, serial)
    prepared = PreparedCertificate(tbs, spec, public_key, serial, key)
    prepared.claim(key)
    return _signed(prepared, key, scheme)


class _Engine:
    """Chooses between compiled profiles and the builder."""

    __slots__ = ("_compiled", "_issuer")

    def __init__(self, issuer: IssuingCertificate) -> None:
        self._issuer = issuer
        self._compiled: dict[tuple[int, bytes], CompiledProfile] = {}

    def assemble(self, spec: CertificateSpec, public_key: PublicKeyInfo, serial: int) -> bytes:
        if not can_compile(spec):
            return builder.build_tbs(spec, public_key, serial, self._issuer)
        template = spec.template
        profile = self._compiled.get((id(template), spec.key_usage))
        if profile is not None and profile.template is template:
            return profile.assemble(spec, public_key, serial)
        return self._compile(template, spec, public_key, serial)

    def _compile(
        self, template: CertificateTemplate | None, spec: CertificateSpec, public_key: PublicKeyInfo, serial: int
    ) -> bytes:
        profile = CompiledProfile(template, spec.key_usage, self._issuer)
        tbs = profile.assemble(spec, public_key, serial)
        examine(tbs, self._issuer.algorithm)
        if len(self._compiled) >= MAX_COMPILED:
            self._compiled.clear()
        self._compiled[id(template), spec.key_usage] = profile
        return tbs


def _signed(prepared: PreparedCertificate, key: SigningKey, scheme: SignatureScheme) -> bytes:
    signature = key.sign(prepared.tbs, scheme)
    certificate = assemble_signed(prepared.tbs, scheme.algorithm, signature)
    _read_back(certificate, prepared)
    if not key.in_process:  # what left the process and came back is trusted only after a look
        spki = key.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        try:
            scheme.verify(load_public_key(spki), signature, prepared.tbs)
        except SignatureError as error:
            raise UnsoundCertificate(f"the key {key.name} made a signature that does not verify") from error
    return certificate


def _read_back(certificate: bytes, prepared: PreparedCertificate) -> None:
    """Compare what was signed with what was prepared, by two readers that are not the writer.

    The other library decodes the whole structure by type, strictly as DER, and tells the serial number. Our own
    reader then finds subject and key where they belong. (Encoding again what the other library read and comparing
    that would find nothing more: DER has one form for everything.)

    Raises:
        UnsoundCertificate: something differs.
    """
    try:
        serial = x509.load_der_x509_certificate(certificate).serial_number
    except ValueError as error:
        raise UnsoundCertificate(f"the certificate {prepared.facts.serial_number} cannot be read: {error}") from error
    if serial != prepared.serial or _subject_and_key(prepared.tbs) != prepared.subject + prepared.public_key_info:
        raise UnsoundCertificate(f"the certificate {prepared.facts.serial_number} is not what was prepared")


def _subject_and_key(tbs: bytes) -> bytes:
    """Walks lengths only: the other library has just proved the bytes to be well-formed DER."""
    # version, serial number, signature, issuer, validity, subject, key
    places = der.boundaries(tbs, der.start_of(tbs, 0), 7)
    return tbs[places[5] : places[7]]
