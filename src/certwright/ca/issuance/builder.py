"""The fall-back engine: the same certificate through `cryptography`'s builder, for what the compiler does not know.

Foreign extensions (an officer's, or a standalone request's) are read by the other library and written anew from what
it understood; nothing is copied blind. This is also the second reading of [MS-CRTD] that the compiler is tested
against, so it shares no encoder with it. Slower, and meant to be.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import AuthorityInformationAccessOID

from certwright.adcs.errors import BadRequest, ConfigurationError
from certwright.adcs.template import CertificateTemplate, EnrollmentFlag, GeneralFlag
from certwright.ca.issuance.preparing import (
    ALWAYS_OURS,
    FROM_TEMPLATE,
    IssuingCertificate,
    consistent_key_usage,
    is_critical,
    path_length,
    signs_ocsp,
    whole_seconds,
)
from certwright.ca.policy.base import CertificateSpec, SpecExtension
from certwright.pki import der, names, oids
from certwright.pki.certificate import assemble_signed, assemble_tbs
from certwright.pki.errors import EncodingError
from certwright.pki.extensions import extension
from certwright.pki.general_names import (
    DirectoryGuid,
    DirectoryName,
    DnsName,
    EmailAddress,
    GeneralName,
    IpAddress,
    OtherName,
    RegisteredId,
    Uri,
    UserPrincipalName,
)
from certwright.pki.public_keys import PublicKeyInfo

_Extensions = dict[str, tuple[x509.ExtensionType, bool]]

_SOME_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
_SMIME_CAPABILITIES: Final = bytes.fromhex(
    "3027300b060960864801650304012a300b0609608648016503040116300b0609608648016503040102"
)
"""AES-256, AES-192 and AES-128 in CBC mode, without parameters. RFC 8551 2.5.2."""


def build_tbs(spec: CertificateSpec, public_key: PublicKeyInfo, serial: int, issuer: IssuingCertificate) -> bytes:
    """The TBSCertificate, by way of a certificate signed with a throw-away key.

    Raises:
        BadRequest: an extension or name that cannot be read, or one that only the CA may write.
        ConfigurationError: the template cannot be made into a certificate.
    """
    found = _template_extensions(spec, issuer)
    found[oids.SUBJECT_KEY_IDENTIFIER] = (x509.SubjectKeyIdentifier(public_key.key_identifier), False)
    _add_issuer_extensions(found, spec.template, issuer)
    if spec.subject_alternative_names:
        critical = spec.subject == names.EMPTY or is_critical(spec.template, oids.SUBJECT_ALTERNATIVE_NAME)
        found[oids.SUBJECT_ALTERNATIVE_NAME] = (_alternative_names(spec.subject_alternative_names), critical)
    if spec.sid:
        found[oids.NTDS_CA_SECURITY] = (_opaque(oids.NTDS_CA_SECURITY, _sid(spec.sid)), False)
    for oid, (value, critical) in _foreign(spec, public_key).items():
        found.pop(oid, None)  # what is added later stands last
        found[oid] = (value, critical)
    return _assembled(spec, public_key, serial, issuer, found)


def _assembled(
    spec: CertificateSpec, public_key: PublicKeyInfo, serial: int, issuer: IssuingCertificate, found: _Extensions
) -> bytes:
    try:
        builder = (
            x509.CertificateBuilder()
            .serial_number(serial)
            .issuer_name(_name(issuer.name))
            .subject_name(_name(spec.subject))
            .not_valid_before(whole_seconds(spec.not_before))
            .not_valid_after(whole_seconds(spec.not_after))
            .public_key(load_der_public_key(public_key.der))  # type: ignore[arg-type]
        )
        for value, critical in found.values():
            builder = builder.add_extension(value, critical)
        made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    except (ValueError, TypeError) as error:
        raise BadRequest(f"the certificate cannot be built: {error}") from error
    tbs = made.tbs_certificate_bytes
    parts = [child.whole(tbs) for child in der.children(tbs, der.require_single(tbs, der.SEQUENCE))]
    parts[2] = issuer.algorithm  # the builder wrote the throw-away key's
    parts[6] = public_key.der  # and, it may be, an equal key in other words
    return der.sequence(*parts)


# -- the template, read by the other library's types -----------------------------------------------------------------


def _template_extensions(spec: CertificateSpec, issuer: IssuingCertificate) -> _Extensions:
    template = spec.template
    found: _Extensions = {}
    is_ca = template is not None and template.is_ca

    def add(value: x509.ExtensionType, *, critical: bool = False) -> None:
        oid = value.oid.dotted_string
        found[oid] = (value, critical or is_critical(template, oid))

    bits = consistent_key_usage(spec.key_usage, is_ca=is_ca)
    if template is None:
        if bits:
            add(_key_usage(bits), critical=True)
        return found
    try:
        if template.schema_version >= 2:
            add(
                x509.MSCertificateTemplate(
                    x509.ObjectIdentifier(template.oid), template.major_version, template.minor_version
                )
            )
        elif GeneralFlag.ADD_TEMPLATE_NAME in template.flags:
            add(_opaque(oids.CERTIFICATE_TEMPLATE_NAME, der.tlv(der.BMP_STRING, template.cn.encode("utf-16-be"))))
        if template.extended_key_usage:
            add(x509.ExtendedKeyUsage(map(x509.ObjectIdentifier, template.extended_key_usage)))
        if bits:
            add(_key_usage(bits), critical=is_ca)
        if template.schema_version >= 2 and template.application_policies:
            policies = _policies(template.application_policies)
            add(_opaque(oids.APPLICATION_POLICIES, policies.public_bytes()))
        if template.issuance_policies:
            add(_policies(template.issuance_policies))
        if is_ca:
            add(x509.BasicConstraints(True, path_length(template, issuer)), critical=True)
            add(_opaque(oids.CA_VERSION, b"\x02\x01\x00"))
        elif EnrollmentFlag.INCLUDE_BASIC_CONSTRAINTS_FOR_EE_CERTS in template.enrollment_flag:
            add(x509.BasicConstraints(False, None))
        if EnrollmentFlag.INCLUDE_SYMMETRIC_ALGORITHMS in template.enrollment_flag:
            add(_opaque(oids.SMIME_CAPABILITIES, _SMIME_CAPABILITIES))
        if EnrollmentFlag.ADD_OCSP_NOCHECK in template.enrollment_flag and signs_ocsp(template):
            add(x509.OCSPNoCheck())
    except (ValueError, UnicodeEncodeError) as error:
        raise ConfigurationError(f"the template {template.cn} cannot be put into a certificate: {error}") from error
    return found


def _add_issuer_extensions(
    found: _Extensions, template: CertificateTemplate | None, issuer: IssuingCertificate
) -> None:
    if issuer.key_identifier is not None:
        value = x509.AuthorityKeyIdentifier(issuer.key_identifier, None, None)
        found[oids.AUTHORITY_KEY_IDENTIFIER] = (value, False)
    if oids.OCSP_NO_CHECK in found:
        return
    revocation = template is None or (EnrollmentFlag.NOREVOCATIONINFOINISSUEDCERTS not in template.enrollment_flag)
    if revocation and issuer.urls.cdp:
        full_name = [x509.UniformResourceIdentifier(url) for url in issuer.urls.cdp]
        points = x509.CRLDistributionPoints([x509.DistributionPoint(full_name, None, None, None)])
        critical = is_critical(template, oids.CRL_DISTRIBUTION_POINTS)
        found[oids.CRL_DISTRIBUTION_POINTS] = (points, critical)
    if revocation and issuer.urls.freshest:
        full_name = [x509.UniformResourceIdentifier(url) for url in issuer.urls.freshest]
        freshest = x509.FreshestCRL([x509.DistributionPoint(full_name, None, None, None)])
        found[oids.FRESHEST_CRL] = (freshest, False)
    places = [(AuthorityInformationAccessOID.CA_ISSUERS, url) for url in issuer.urls.aia]
    if revocation:
        places += [(AuthorityInformationAccessOID.OCSP, url) for url in issuer.urls.ocsp]
    if places:
        descriptions = [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method, url in places]
        found[oids.AUTHORITY_INFORMATION_ACCESS] = (x509.AuthorityInformationAccess(descriptions), False)


def _key_usage(bits: bytes) -> x509.KeyUsage:
    first, second = bits[0], bits[1] if len(bits) > 1 else 0
    return x509.KeyUsage(
        digital_signature=bool(first & 0x80),
        content_commitment=bool(first & 0x40),
        key_encipherment=bool(first & 0x20),
        data_encipherment=bool(first & 0x10),
        key_agreement=bool(first & 0x08),
        key_cert_sign=bool(first & 0x04),
        crl_sign=bool(first & 0x02),
        encipher_only=bool(first & 0x01),
        decipher_only=bool(second & 0x80),
    )


def _policies(policies: Iterable[str]) -> x509.CertificatePolicies:
    return x509.CertificatePolicies(
        [x509.PolicyInformation(x509.ObjectIdentifier(policy), None) for policy in policies]
    )


def _opaque(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


def _sid(sid: str) -> bytes:
    """[MS-WCCE] 2.2.2.7.7.4, written out as the specification prints it."""
    text = sid.encode("ascii")
    value = der.tlv(0x04, text)
    return der.tlv(0x30, der.tlv(0xA0, bytes.fromhex("060a2b060104018237190201") + der.tlv(0xA0, value)))


# -- names -----------------------------------------------------------------------------------------------------------


def _alternative_names(found: Iterable[GeneralName]) -> x509.SubjectAlternativeName:
    try:
        return x509.SubjectAlternativeName([_general_name(name) for name in found])
    except ValueError as error:
        raise BadRequest(f"the certificate's names cannot be encoded: {error}") from error


def _general_name(name: GeneralName) -> x509.GeneralName:
    match name:
        case DnsName(value):
            return x509.DNSName(value)
        case EmailAddress(value):
            return x509.RFC822Name(value)
        case Uri(value):
            return x509.UniformResourceIdentifier(value)
        case IpAddress(value) if isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address):
            return x509.IPAddress(value)
        case UserPrincipalName(value):
            encoded = der.tlv(der.UTF8_STRING, value.encode())
            return x509.OtherName(x509.ObjectIdentifier(oids.USER_PRINCIPAL_NAME), encoded)
        case DirectoryGuid(value):
            encoded = der.tlv(der.OCTET_STRING, value.bytes_le)
            return x509.OtherName(x509.ObjectIdentifier(oids.NTDS_REPLICATION), encoded)
        case DirectoryName(encoded):
            return x509.DirectoryName(_name(encoded))
        case RegisteredId(value):
            return x509.RegisteredID(x509.ObjectIdentifier(value))
        case OtherName(type_id, encoded):
            return x509.OtherName(x509.ObjectIdentifier(type_id), encoded)
    raise BadRequest(f"the name {name} is of a kind that cannot be certified")


# -- what came from outside ------------------------------------------------------------------------------------------


def _foreign(spec: CertificateSpec, public_key: PublicKeyInfo) -> _Extensions:
    """`spec.extensions` as the other library understands them; of one OID twice, the later one counts."""
    latest: dict[str, SpecExtension] = {}
    for added in spec.extensions:
        reserved = ALWAYS_OURS | FROM_TEMPLATE if spec.template is not None else ALWAYS_OURS
        twice = added.oid == oids.SUBJECT_ALTERNATIVE_NAME and spec.subject_alternative_names
        if added.oid in reserved or twice:
            raise BadRequest(f"the extension {oids.name_of(added.oid)} ({added.oid}) is written by the CA alone")
        latest[added.oid] = added
    return _understood(tuple(latest.values()), public_key.der) if latest else {}


def check_readable(added: SpecExtension) -> None:
    """Could this extension be issued?

    Raises:
        BadRequest: its OID is none, or its value is malformed for what it is.
    """
    _understood((added,), _SOME_KEY)


def _understood(added: tuple[SpecExtension, ...], spki: bytes) -> _Extensions:
    try:
        encoded = b"".join(extension(each.oid, each.value, each.critical) for each in added)
        parsed = _throwaway(names.EMPTY, encoded, spki).extensions
    except (ValueError, x509.DuplicateExtension, EncodingError) as error:
        called = ", ".join(oids.name_of(each.oid) for each in added)
        raise BadRequest(f"an extension of the request cannot be read ({called}): {error}") from error
    return {found.oid.dotted_string: (found.value, found.critical) for found in parsed}


def _name(encoded: bytes) -> x509.Name:
    """A Name as the other library holds it, string types and all: it reads them only inside something."""
    return _throwaway(encoded, b"", _SOME_KEY).subject


def _throwaway(subject: bytes, extensions: bytes, spki: bytes) -> x509.Certificate:
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    tbs = assemble_tbs(1, algorithm, names.EMPTY, _SOME_TIME, _SOME_TIME, subject, spki, extensions)
    return x509.load_der_x509_certificate(assemble_signed(tbs, algorithm, b"\x00"))


_SOME_KEY: Final = bytes.fromhex("302a300506032b6570032100") + bytes(32)
"""An Ed25519 key that nobody has: a certificate has to have one to be read."""
