"""The lean engine: everything that is the same for a template is encoded once, the rest is spliced in.

[MS-WCCE] 3.2.2.6.2.1.4.5, [MS-CRTD] 2; RFC 5280 4.1. Per certificate only serial number, validity, subject, public
key, key identifier, alternative names and SID are new; X.509 is forgiving enough to let them be put between finished
parts. What cannot be compiled (`can_compile`) goes to `builder`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from cryptography import x509

from certwright.adcs.errors import BadRequest, ConfigurationError
from certwright.adcs.template import CertificateTemplate, EnrollmentFlag, GeneralFlag
from certwright.ca.issuance.preparing import (
    IssuingCertificate,
    consistent_key_usage,
    is_critical,
    path_length,
    signs_ocsp,
    whole_seconds,
)
from certwright.ca.policy.base import CertificateSpec
from certwright.pki import der, names, oids
from certwright.pki.certificate import assemble_signed
from certwright.pki.errors import EncodingError
from certwright.pki.extensions import (
    application_policies,
    authority_information_access,
    authority_key_identifier,
    basic_constraints,
    ca_version,
    certificate_policies,
    certificate_template,
    crl_distribution_points,
    extended_key_usage,
    extension,
    key_usage,
    ocsp_no_check,
    sid_extension,
    smime_capabilities,
    subject_alternative_name,
    template_name,
)
from certwright.pki.general_names import UnknownName
from certwright.pki.public_keys import PublicKeyInfo

MAX_COMPILED: Final = 1024
"""Compiled templates kept at once; a forest has some dozens, an edited template leaves stale ones behind."""

_VERSION_3: Final = der.explicit(0, der.integer(2))
_SKI_LENGTH: Final = 20
_SKI_HEAD: Final = extension(oids.SUBJECT_KEY_IDENTIFIER, der.octet_string(bytes(_SKI_LENGTH)))[:-_SKI_LENGTH]


def can_compile(spec: CertificateSpec) -> bool:
    """Are there only parts the compiler knows? Foreign extensions are re-encoded by the builder, never copied."""
    return not spec.extensions and UnknownName not in [type(name) for name in spec.subject_alternative_names]


class CompiledProfile:
    """One template (or none) under one CA certificate and one key usage, as bytes."""

    __slots__ = ("_after", "_before", "_san_critical", "_signature_and_issuer", "template")

    def __init__(self, template: CertificateTemplate | None, usage: bytes, issuer: IssuingCertificate) -> None:
        """Raises:
        ConfigurationError: the template holds something that cannot be encoded, or is for CAs we may not certify.
        """
        self.template = template  # kept, so that its identity stays taken while this is cached
        try:
            self._before = b"".join(_template_extensions(template, usage, issuer)) + _SKI_HEAD
            self._after = b"".join(_issuer_extensions(template, issuer))
        except EncodingError as error:
            called = f"the template {template.cn}" if template else "the CA's URLs"
            raise ConfigurationError(f"{called} cannot be put into a certificate: {error}") from error
        self._san_critical = is_critical(template, oids.SUBJECT_ALTERNATIVE_NAME)
        self._signature_and_issuer = issuer.algorithm + issuer.name

    def assemble(self, spec: CertificateSpec, public_key: PublicKeyInfo, serial: int) -> bytes:
        """The TBSCertificate.

        Raises:
            BadRequest: a name or the SID cannot be encoded.
        """
        parts = [self._before, public_key.key_identifier, self._after]
        try:
            if spec.subject_alternative_names:
                value = subject_alternative_name(spec.subject_alternative_names)
                critical = self._san_critical or spec.subject == names.EMPTY
                parts.append(extension(oids.SUBJECT_ALTERNATIVE_NAME, value, critical))
            if spec.sid:
                parts.append(_sid_extension(spec.sid))
        except EncodingError as error:
            raise BadRequest(f"the certificate's names cannot be encoded: {error}") from error
        extensions = b"".join(parts)
        validity = _time(whole_seconds(spec.not_before)) + _time(whole_seconds(spec.not_after))
        inner = der.header(der.SEQUENCE, len(extensions)) + extensions
        content = b"".join(
            (
                _VERSION_3,
                der.integer(serial),
                self._signature_and_issuer,
                der.header(der.SEQUENCE, len(validity)),
                validity,
                spec.subject,
                public_key.der,
                der.header(0xA3, len(inner)),
                inner,
            )
        )
        return der.header(der.SEQUENCE, len(content)) + content


def examine(tbs: bytes, algorithm: bytes) -> None:
    """Let the other library read every extension: done once for each compiled profile, on its first certificate.

    Raises:
        ConfigurationError: it cannot; what the template says makes no certificate.
    """
    try:
        _ = x509.load_der_x509_certificate(assemble_signed(tbs, algorithm, b"\x00")).extensions
    except (ValueError, x509.DuplicateExtension) as error:
        raise ConfigurationError(f"the template's extensions cannot be read back: {error}") from error


# -- what is constant ------------------------------------------------------------------------------------------------


def _template_extensions(
    template: CertificateTemplate | None, usage: bytes, issuer: IssuingCertificate
) -> Iterator[bytes]:
    """What the template puts on a certificate, in AD CS's order. [MS-WCCE] 3.2.2.6.2.1.4.5.1 to .8."""
    is_ca = template is not None and template.is_ca

    def made(oid: str, value: bytes, *, critical: bool = False) -> bytes:
        return extension(oid, value, critical or is_critical(template, oid))

    bits = consistent_key_usage(usage, is_ca=is_ca)
    if template is None:
        if bits:
            yield made(oids.KEY_USAGE, key_usage(bits), critical=True)
        return
    if template.schema_version >= 2:
        value = certificate_template(template.oid, template.major_version, template.minor_version)
        yield made(oids.CERTIFICATE_TEMPLATE, value)
    elif GeneralFlag.ADD_TEMPLATE_NAME in template.flags:
        yield made(oids.CERTIFICATE_TEMPLATE_NAME, template_name(template.cn))
    if template.extended_key_usage:
        yield made(oids.EXTENDED_KEY_USAGE, extended_key_usage(template.extended_key_usage))
    if bits:
        yield made(oids.KEY_USAGE, key_usage(bits), critical=is_ca)
    if template.schema_version >= 2 and template.application_policies:
        yield made(oids.APPLICATION_POLICIES, application_policies(template.application_policies))
    if template.issuance_policies:
        yield made(oids.CERTIFICATE_POLICIES, certificate_policies(template.issuance_policies))
    if is_ca:
        yield made(
            oids.BASIC_CONSTRAINTS,
            basic_constraints(ca=True, path_length=path_length(template, issuer)),
            critical=True,
        )
        yield made(oids.CA_VERSION, ca_version(0, 0))
    elif EnrollmentFlag.INCLUDE_BASIC_CONSTRAINTS_FOR_EE_CERTS in template.enrollment_flag:
        yield made(oids.BASIC_CONSTRAINTS, basic_constraints(ca=False))
    if EnrollmentFlag.INCLUDE_SYMMETRIC_ALGORITHMS in template.enrollment_flag:
        yield made(oids.SMIME_CAPABILITIES, smime_capabilities())
    if EnrollmentFlag.ADD_OCSP_NOCHECK in template.enrollment_flag and signs_ocsp(template):
        yield made(oids.OCSP_NO_CHECK, ocsp_no_check())


def _issuer_extensions(template: CertificateTemplate | None, issuer: IssuingCertificate) -> Iterator[bytes]:
    """What the CA puts on every certificate, as far as the template lets it. [MS-CRTD] 2.26, 0x1000 and 0x4000."""
    if issuer.key_identifier is not None:
        yield extension(oids.AUTHORITY_KEY_IDENTIFIER, authority_key_identifier(issuer.key_identifier))
    flags = template.enrollment_flag if template is not None else EnrollmentFlag(0)
    if template is not None and EnrollmentFlag.ADD_OCSP_NOCHECK in flags and signs_ocsp(template):
        return
    revocation = EnrollmentFlag.NOREVOCATIONINFOINISSUEDCERTS not in flags
    urls = issuer.urls
    if revocation and urls.cdp:
        critical = is_critical(template, oids.CRL_DISTRIBUTION_POINTS)
        yield extension(oids.CRL_DISTRIBUTION_POINTS, crl_distribution_points(urls.cdp), critical)
    if revocation and urls.freshest:  # never critical, RFC 5280 4.2.1.15
        yield extension(oids.FRESHEST_CRL, crl_distribution_points(urls.freshest))
    ocsp = urls.ocsp if revocation else ()
    if urls.aia or ocsp:
        yield extension(oids.AUTHORITY_INFORMATION_ACCESS, authority_information_access(urls.aia, ocsp))


# -- what comes back often -------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _time(when: datetime) -> bytes:
    return der.utc_or_generalized_time(when)


@functools.lru_cache(maxsize=4096)
def _sid_extension(sid: str) -> bytes:
    return extension(oids.NTDS_CA_SECURITY, sid_extension(sid))
