"""What is prepared: the exact to-be-signed bytes, the facts about them, and the rules no certificate may break.

[MS-WCCE] 3.2.1.4.2.1.4.6, RFC 5280 4.1. Both engines, `compiling` and `builder`, answer to the checks made here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from certwright.adcs.errors import BadRequest, ConfigurationError, HResult
from certwright.adcs.template import CertificateTemplate
from certwright.ca.policy.base import CertificateSpec
from certwright.ca.urls import NO_URLS, IssuanceUrls
from certwright.pki import names, oids
from certwright.pki.certificate import CertificateView, serial_hex
from certwright.pki.extensions import decode_basic_constraints
from certwright.pki.public_keys import PublicKeyInfo

DIGITAL_SIGNATURE: Final = 0x80
KEY_AGREEMENT: Final = 0x08
KEY_CERT_SIGN: Final = 0x04
CRL_SIGN: Final = 0x02
ENCIPHER_ONLY: Final = 0x01

ALWAYS_OURS: Final = frozenset(
    {
        oids.SUBJECT_KEY_IDENTIFIER,
        oids.AUTHORITY_KEY_IDENTIFIER,
        oids.CRL_DISTRIBUTION_POINTS,
        oids.FRESHEST_CRL,
        oids.AUTHORITY_INFORMATION_ACCESS,
        oids.NTDS_CA_SECURITY,
    }
)
"""Extensions that only the engine writes: nobody's `SpecExtension` may carry them."""

FROM_TEMPLATE: Final = frozenset(
    {
        oids.SUBJECT_ALTERNATIVE_NAME,
        oids.BASIC_CONSTRAINTS,
        oids.KEY_USAGE,
        oids.EXTENDED_KEY_USAGE,
        oids.APPLICATION_POLICIES,
        oids.CERTIFICATE_TEMPLATE,
        oids.CERTIFICATE_TEMPLATE_NAME,
    }
)
"""Extensions that a template decides alone, where there is one (CVE-2024-49019 was the other way)."""

NEVER_CRITICAL: Final = frozenset(
    {
        oids.SUBJECT_KEY_IDENTIFIER,
        oids.AUTHORITY_KEY_IDENTIFIER,
        oids.AUTHORITY_INFORMATION_ACCESS,
        oids.NTDS_CA_SECURITY,
        oids.OCSP_NO_CHECK,
    }
)
"""Whatever a template lists in pKICriticalExtensions: RFC 5280 4.2.1.1, 4.2.1.2, 4.2.2.1, [MS-WCCE] 2.2.2.7.7.4."""


@dataclass(frozen=True, slots=True)
class IssuingCertificate:
    """What of a CA certificate goes into the certificates under it."""

    name: bytes  # Name, DER
    key_identifier: bytes | None  # None: the certificate is self-signed and needs none
    algorithm: bytes  # AlgorithmIdentifier of its signatures
    not_after: datetime
    path_length: int | None = None
    urls: IssuanceUrls = NO_URLS

    @classmethod
    def of(cls, view: CertificateView, algorithm: bytes, urls: IssuanceUrls) -> IssuingCertificate:
        """Raises:
        ConfigurationError: it is no CA certificate.
        """
        constraints = view.extensions.get(oids.BASIC_CONSTRAINTS)
        if constraints is None or not view.is_ca:
            raise ConfigurationError(
                f"{view.subject_name} is no CA certificate: it has no basic constraints that say so",
                HResult.CERTSRV_E_INVALID_CA_CERTIFICATE,
            )
        return cls(
            name=view.subject,
            key_identifier=view.subject_key_identifier or view.public_key.key_identifier,
            algorithm=algorithm,
            not_after=view.not_after,
            path_length=decode_basic_constraints(constraints.value).path_length,
            urls=urls,
        )


class CertificateFacts(NamedTuple):
    """What the request table says of a certificate."""

    serial_number: str  # lowercase hex, whole octets
    subject: str
    common_name: str
    alternative_names: str  # "DNS:a, IP:..."
    not_before: datetime
    not_after: datetime
    subject_key_identifier: str  # lowercase hex

    @classmethod
    def of(cls, spec: CertificateSpec, public_key: PublicKeyInfo, serial: int) -> CertificateFacts:
        sans = spec.subject_alternative_names
        return cls(
            serial_hex(serial),
            names.format_name(spec.subject),
            names.common_name(spec.subject),
            ", ".join(map(str, sans)) if sans else "",
            whole_seconds(spec.not_before),
            whole_seconds(spec.not_after),
            public_key.key_identifier.hex(),
        )


class PreparedCertificate:
    """An exact certificate without its signature. It can be redeemed once, by the signer that prepared it."""

    __slots__ = (
        "_facts",
        "_maker",
        "_public_key",
        "_spec",
        "partition",
        "public_key_info",
        "serial",
        "subject",
        "tbs",
    )

    def __init__(
        self,
        tbs: bytes,
        spec: CertificateSpec,
        public_key: PublicKeyInfo,
        serial: int,
        maker: object,
        partition: int = 0,
    ) -> None:
        self.tbs = tbs
        self.partition = partition  # of the CRLs, which its CDP names
        self.subject = spec.subject
        self.public_key_info = public_key.der
        self.serial = serial
        self._spec = spec
        self._public_key = public_key
        self._facts: CertificateFacts | None = None
        self._maker = [maker]  # a list, because pop is atomic: two threads cannot both redeem

    @property
    def facts(self) -> CertificateFacts:
        """What the request table says of it; worked out when it is asked for first."""
        if self._facts is None:
            self._facts = CertificateFacts.of(self._spec, self._public_key, self.serial)
        return self._facts

    def claim(self, redeemer: object) -> None:
        """Use it up.

        Raises:
            AlreadyRedeemed: it was used before.
            WrongSigner: another signer prepared it; it stays usable by that one.
        """
        try:
            maker = self._maker.pop()
        except IndexError:
            raise AlreadyRedeemed(f"the certificate {self.facts.serial_number} was signed before") from None
        if maker is not redeemer:
            self._maker.append(maker)
            raise WrongSigner(f"the certificate {self.facts.serial_number} was prepared by another signer")


class AlreadyRedeemed(RuntimeError):
    """One prepared certificate, one signature: somebody asked for a second one."""


class WrongSigner(RuntimeError):
    """A prepared certificate was handed to another CA's signer."""


# -- rules -----------------------------------------------------------------------------------------------------------


def check_spec(spec: CertificateSpec, issuer: IssuingCertificate) -> None:
    """Refuse what no policy may ask for.

    Raises:
        BadRequest: nobody is named, the validity is empty, or the certificate would outlive its CA.
    """
    if spec.subject == names.EMPTY and not spec.subject_alternative_names and not spec.extensions:
        raise BadRequest("the certificate would name nobody", HResult.CERTSRV_E_BAD_REQUESTSUBJECT)
    if not spec.not_before < spec.not_after:
        raise BadRequest("the certificate would never be valid: its validity ends before it begins")
    if spec.not_after > issuer.not_after:
        raise BadRequest(
            f"the certificate would outlive the CA's own, which ends {issuer.not_after:%Y-%m-%d %H:%M} UTC"
        )


def path_length(template: CertificateTemplate, issuer: IssuingCertificate) -> int | None:
    """pathLen of a CA certificate by pKIMaxIssuingDepth, within what the CA itself has left. [MS-CRTD] 2.12.

    Raises:
        ConfigurationError: this CA may not issue CA certificates at all.
    """
    wanted = template.max_issuing_depth if template.max_issuing_depth >= 0 else None
    if issuer.path_length is None:
        return wanted
    if issuer.path_length == 0:
        raise ConfigurationError(
            f"the template {template.cn} is for CAs, but this CA's own certificate (path length 0) allows none below"
            " it; request the certificate from its parent",
            HResult.CERTSRV_E_INVALID_CA_CERTIFICATE,
        )
    left = issuer.path_length - 1
    return left if wanted is None else min(wanted, left)


def consistent_key_usage(bits: bytes, *, is_ca: bool) -> bytes:
    """Key usage without contradictions: one or two octets, empty for none. RFC 5280 4.2.1.3.

    A CA signs certificates and CRLs, and nobody else certificates; encipherOnly and decipherOnly mean nothing
    without keyAgreement.
    """
    first = bits[0] if bits else 0
    second = bits[1] & 0x80 if len(bits) > 1 else 0
    first = first | KEY_CERT_SIGN | CRL_SIGN if is_ca else first & ~KEY_CERT_SIGN
    if not first & KEY_AGREEMENT:
        first, second = first & ~ENCIPHER_ONLY, 0
    return (bytes((first, second)) if second else bytes((first,))) if first or second else b""


def is_critical(template: CertificateTemplate | None, oid: str) -> bool:
    """By pKICriticalExtensions, except where a specification leaves no choice. [MS-CRTD] 2.10."""
    return template is not None and oid in template.critical_extensions and oid not in NEVER_CRITICAL


def signs_ocsp(template: CertificateTemplate) -> bool:
    """Does the template make OCSP signing certificates that nobody shall look up? [MS-CRTD] 2.26, 0x1000."""
    return oids.EKU_OCSP_SIGNING in template.application_policies or (
        oids.EKU_OCSP_SIGNING in template.extended_key_usage
    )


def whole_seconds(when: datetime) -> datetime:
    """`when` as a certificate can carry it."""
    return when.replace(microsecond=0) if when.microsecond else when
