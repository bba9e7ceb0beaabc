"""Extensions of certificates, their values encoded and decoded. RFC 5280 4.2, [MS-WCCE] 2.2.2.7.7, wincrypt.h.

`xxx(...)` gives the DER that goes into extnValue, `decode_xxx(value)` reads it back; `extension` wraps a value into
an Extension. Which extensions a certificate gets, and which are critical, is decided above.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from certwright.pki import der, oids
from certwright.pki.errors import DuplicateAttribute, EncodingError
from certwright.pki.general_names import (
    GeneralName,
    OtherName,
    Uri,
    encode_general_names,
    is_sid,
    parse_general_name,
    parse_general_names,
)


class Extension(NamedTuple):
    oid: str
    critical: bool
    value: bytes  # contents of extnValue, DER

    def encode(self) -> bytes:
        return extension(self.oid, self.value, self.critical)


def extension(oid: str, value: bytes, critical: bool = False) -> bytes:
    """One Extension; `critical` is written only when true, as DER wants a DEFAULT."""
    return der.sequence(der.oid(oid), der.boolean(True) if critical else b"", der.octet_string(value))


def parse_extensions(data: bytes) -> dict[str, Extension]:
    """Read Extensions, in their order.

    Raises:
        EncodingError: malformed.
        DuplicateAttribute: an OID stands twice.
    """
    found: dict[str, Extension] = {}
    merge_extensions(found, data)
    return found


def merge_extensions(found: dict[str, Extension], data: bytes) -> None:
    """Add the members of one Extensions to `found`; errors as `parse_extensions`."""
    outer = der.Reader.of(data, what="extensions")
    while outer.next_tag != -1:
        inner = outer.enter()
        oid = inner.oid()
        flag = inner.optional(der.BOOLEAN)
        critical = flag is not None and der.decode_boolean(flag.content(data))
        if flag is not None and not critical:
            raise EncodingError(f"extension {oids.name_of(oid)}: FALSE is the default and must not be written")
        value = inner.content(der.OCTET_STRING)
        inner.finish()
        if oid in found:
            raise DuplicateAttribute(f"the extension {oids.name_of(oid)} ({oid}) stands twice")
        found[oid] = Extension(oid, critical, value)


# -- key identifiers -------------------------------------------------------------------------------------------------


def subject_key_identifier(key_identifier: bytes) -> bytes:
    return der.octet_string(key_identifier)


def decode_subject_key_identifier(value: bytes) -> bytes:
    return der.require_single(value, der.OCTET_STRING, "subject key identifier").content(value)


def authority_key_identifier(key_identifier: bytes) -> bytes:
    """With the key identifier only (EDITF_ENABLEAKIKEYID)."""
    return der.sequence(der.tlv(0x80, key_identifier))


def decode_authority_key_identifier(value: bytes) -> bytes | None:
    """The key identifier, None when issuer and serial stand alone."""
    reader = der.Reader.of(value, what="authority key identifier")
    key = reader.optional(0x80)
    return None if key is None else key.content(value)


# -- what the key may do ---------------------------------------------------------------------------------------------

KEY_USAGES: Final = (
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)
KEY_CERT_SIGN: Final = 0x04
CRL_SIGN: Final = 0x02


def key_usage(bits: bytes) -> bytes:
    """KeyUsage from pKIKeyUsage: one or two bytes, the highest bit first is digitalSignature. [MS-CRTD] 2.9."""
    if not 1 <= len(bits) <= 2 or (len(bits) == 2 and bits[1] & 0x7F) or not any(bits):
        raise EncodingError(f"key usage: {bits.hex()!r} is not one or two bytes of key usage bits")
    return der.named_bits(bits)


def decode_key_usage(value: bytes) -> bytes:
    """The bits as pKIKeyUsage holds them; empty when none is set."""
    octets, _ = der.decode_bit_string(der.require_single(value, der.BIT_STRING, "key usage").content(value))
    if len(octets) > 2:
        raise EncodingError("key usage: more than nine bits")
    return octets


def key_usage_names(bits: bytes) -> tuple[str, ...]:
    """`digitalSignature`, ... for the bits of `decode_key_usage`."""
    return tuple(name for i, name in enumerate(KEY_USAGES) if i // 8 < len(bits) and bits[i // 8] & 0x80 >> i % 8)


def extended_key_usage(usages: Iterable[str]) -> bytes:
    return _oid_sequence(usages, "extended key usage")


def decode_extended_key_usage(value: bytes) -> tuple[str, ...]:
    return _decode_oid_sequence(value, "extended key usage")


def _oid_sequence(values: Iterable[str], what: str) -> bytes:
    encoded = [der.oid(value) for value in values]
    if not encoded:
        raise EncodingError(f"{what}: an empty list cannot be encoded; leave the extension out")
    return der.sequence(*encoded)


def _decode_oid_sequence(value: bytes, what: str) -> tuple[str, ...]:
    reader = der.Reader.of(value, what=what)
    found: list[str] = []
    while reader.next_tag != -1:
        found.append(reader.oid())
    if not found:
        raise EncodingError(f"{what}: the list is empty")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class BasicConstraints:
    ca: bool
    path_length: int | None = None


def basic_constraints(ca: bool, path_length: int | None = None) -> bytes:
    """`path_length` only with `ca`; None writes no limit. RFC 5280 4.2.1.9."""
    if not ca:
        return der.sequence()
    return der.sequence(der.boolean(True), b"" if path_length is None else der.integer(path_length))


def decode_basic_constraints(value: bytes) -> BasicConstraints:
    """Also takes a written-out FALSE, which is not DER but which half the world writes."""
    reader = der.Reader.of(value, what="basic constraints")
    flag = reader.optional(der.BOOLEAN)
    length = reader.integer() if reader.next_tag == der.INTEGER else None
    reader.finish()
    ca = flag is not None and der.decode_boolean(flag.content(value))
    if length is not None and length < 0:
        raise EncodingError("basic constraints: the path length is negative")
    return BasicConstraints(ca, length)


# -- policies --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PolicyInformation:
    """One issuance policy with the places of its certification practice statement."""

    oid: str
    cps: tuple[str, ...] = ()  # URIs


def certificate_policies(policies: Iterable[PolicyInformation | str]) -> bytes:
    """Issuance policies. RFC 5280 4.2.1.4."""
    encoded: list[bytes] = []
    for policy in policies:
        oid, cps = (policy, ()) if isinstance(policy, str) else (policy.oid, policy.cps)
        qualifiers = [der.sequence(der.oid(oids.QUALIFIER_CPS), der.ia5(uri)) for uri in cps]
        encoded.append(der.sequence(der.oid(oid), der.sequence(*qualifiers) if qualifiers else b""))
    if not encoded:
        raise EncodingError("certificate policies: an empty list cannot be encoded; leave the extension out")
    return der.sequence(*encoded)


def decode_certificate_policies(value: bytes) -> tuple[PolicyInformation, ...]:
    """Policies with their CPS URIs; user notices are left out."""
    reader = der.Reader.of(value, what="certificate policies")
    found: list[PolicyInformation] = []
    while reader.next_tag != -1:
        policy = reader.enter()
        oid = policy.oid()
        cps: list[str] = []
        if policy.next_tag != -1:
            qualifiers = policy.enter()
            while qualifiers.next_tag != -1:
                qualifier = qualifiers.enter()
                if qualifier.oid() == oids.QUALIFIER_CPS:
                    cps.append(qualifier.string())
        policy.finish()
        found.append(PolicyInformation(oid, tuple(cps)))
    return tuple(found)


def application_policies(usages: Iterable[str]) -> bytes:
    """1.3.6.1.4.1.311.21.10: EKUs in the syntax of certificate policies, no qualifiers. [MS-WCCE] 2.2.2.7.7.3."""
    return certificate_policies(usages)


def decode_application_policies(value: bytes) -> tuple[str, ...]:
    return tuple(policy.oid for policy in decode_certificate_policies(value))


# -- where to look ---------------------------------------------------------------------------------------------------


def crl_distribution_points(urls: Sequence[str]) -> bytes:
    """One DistributionPoint with all URLs in its fullName, as AD CS does it; also for freshest CRL and 21.14."""
    if not urls:
        raise EncodingError("CRL distribution points: without a URL the extension must be left out")
    return der.sequence(der.sequence(distribution_point_name(urls)))


def distribution_point_name(urls: Iterable[str]) -> bytes:
    """`distributionPoint [0] { fullName [0] { URIs } }`."""
    full_name = der.implicit(0, encode_general_names(Uri(url) for url in urls))
    return der.explicit(0, full_name)


def decode_crl_distribution_points(value: bytes) -> tuple[str, ...]:
    """The URIs of all points; points named relative to the issuer are left out."""
    reader = der.Reader.of(value, what="CRL distribution points")
    found: list[str] = []
    while reader.next_tag != -1:
        point = reader.enter()
        if point.next_tag == 0xA0:
            found += decode_distribution_point_name(point.content(0xA0))
    return tuple(found)


def decode_distribution_point_name(content: bytes) -> list[str]:
    """The URIs inside the contents of `distributionPoint [0]`."""
    name = der.require_single(content, what="distribution point")
    if name.tag != 0xA0:
        return []
    general_names = [parse_general_name(child.whole(content)) for child in der.children(content, name)]
    return [general_name.value for general_name in general_names if isinstance(general_name, Uri)]


def authority_information_access(ca_issuers: Iterable[str] = (), ocsp: Iterable[str] = ()) -> bytes:
    """caIssuers first, then OCSP, each in its order. RFC 5280 4.2.2.1."""
    descriptions = [
        der.sequence(der.oid(method), Uri(url).encode())
        for method, urls in ((oids.ACCESS_CA_ISSUERS, ca_issuers), (oids.ACCESS_OCSP, ocsp))
        for url in urls
    ]
    if not descriptions:
        raise EncodingError("authority information access: without a URL the extension must be left out")
    return der.sequence(*descriptions)


def decode_authority_information_access(value: bytes) -> tuple[tuple[str, GeneralName], ...]:
    """(access method OID, location) in order."""
    reader = der.Reader.of(value, what="authority information access")
    found: list[tuple[str, GeneralName]] = []
    while reader.next_tag != -1:
        description = reader.enter()
        found.append((description.oid(), parse_general_name(description.whole())))
        description.finish()
    return tuple(found)


# -- Microsoft: the template -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TemplateInformation:
    """1.3.6.1.4.1.311.21.7."""

    oid: str
    major_version: int | None = None
    minor_version: int | None = None


def template_name(cn: str) -> bytes:
    """1.3.6.1.4.1.311.20.2 as Windows writes it: a bare BMPString. [MS-WCCE] 2.2.2.7.7.1 prints another form."""
    return der.bmp(cn)


def decode_template_name(value: bytes) -> str:
    """Any string type, bare or inside a SEQUENCE; a closing NUL is dropped."""
    element = der.require_single(value, what="certificate template name")
    if element.tag == der.SEQUENCE:
        reader = der.Reader.of(value, what="certificate template name")
        text = reader.string()
        reader.finish()
    else:
        text = der.decode_string(element.tag, element.content(value))
    text = text.removesuffix("\x00")
    if not text or not text.isprintable():
        raise EncodingError("certificate template name: it is empty or holds control characters")
    return text


def certificate_template(oid: str, major_version: int | None = None, minor_version: int | None = None) -> bytes:
    """1.3.6.1.4.1.311.21.7. [MS-WCCE] 2.2.2.7.7.2."""
    if major_version is None and minor_version is not None:
        raise EncodingError("certificate template: a minor version without a major one")
    versions = (major_version, minor_version)
    return der.sequence(der.oid(oid), *(der.integer(version) for version in versions if version is not None))


def decode_certificate_template(value: bytes) -> TemplateInformation:
    reader = der.Reader.of(value, what="certificate template")
    oid = reader.oid()
    major = reader.integer() if reader.next_tag == der.INTEGER else None
    minor = reader.integer() if reader.next_tag == der.INTEGER else None
    reader.finish()
    if any(version is not None and not 0 <= version < 1 << 32 for version in (major, minor)):
        raise EncodingError("certificate template: a version is not a 32-bit number")
    return TemplateInformation(oid, major, minor)


# -- Microsoft: the SID ----------------------------------------------------------------------------------------------


def sid_extension(sid: str) -> bytes:
    """1.3.6.1.4.1.311.25.2: GeneralNames with one otherName, nothing behind the SID. [MS-WCCE] 2.2.2.7.7.4.

    Raises:
        EncodingError: `sid` is no SID in string form.
    """
    if not is_sid(sid):
        raise EncodingError(f"{sid!r} is no SID")
    return encode_general_names((OtherName(oids.NTDS_OBJECT_SID, der.octet_string(sid.encode("ascii"))),))


def decode_sid(value: bytes) -> str:
    """The SID, from exactly the form that `sid_extension` writes."""
    general_names = parse_general_names(value)
    if len(general_names) == 1 and isinstance(general_names[0], OtherName):
        other = general_names[0]
        if other.type_id == oids.NTDS_OBJECT_SID:
            element = der.require_single(other.value, der.OCTET_STRING, "SID security extension")
            sid = element.content(other.value).decode("latin-1")
            if is_sid(sid):
                return sid
    raise EncodingError("SID security extension: it does not hold one SID")


# -- Microsoft: CA certificates and CRLs -----------------------------------------------------------------------------


def ca_version(certificate_index: int, key_index: int) -> bytes:
    """1.3.6.1.4.1.311.21.1: certificate index, key index in the upper half. [MS-WCCE] 3.2.1.4.3.2.39."""
    if not (0 <= certificate_index <= 0xFFFF and 0 <= key_index <= 0x7FFF):
        raise EncodingError(f"CA version {certificate_index}.{key_index} does not fit")
    return der.integer(key_index << 16 | certificate_index)


def decode_ca_version(value: bytes) -> tuple[int, int]:
    """(certificate index, key index)."""
    number = der.decode_integer(der.require_single(value, der.INTEGER, "CA version").content(value))
    if not 0 <= number < 1 << 32:
        raise EncodingError("CA version: it is not a 32-bit number")
    return number & 0xFFFF, number >> 16


def previous_ca_hash(sha1: bytes) -> bytes:
    """1.3.6.1.4.1.311.21.2: SHA-1 of the CA's previous certificate."""
    return der.octet_string(sha1)


def decode_previous_ca_hash(value: bytes) -> bytes:
    return der.require_single(value, der.OCTET_STRING, "previous CA certificate hash").content(value)


def next_crl_publish(when: datetime) -> bytes:
    """1.3.6.1.4.1.311.21.4: a bare Time."""
    return der.utc_or_generalized_time(when)


def decode_next_crl_publish(value: bytes) -> datetime:
    element = der.require_single(value, what="next CRL publish")
    return der.decode_time(element.tag, element.content(value))


# -- others ----------------------------------------------------------------------------------------------------------

DEFAULT_SMIME_CAPABILITIES: Final = (oids.AES256_CBC, oids.AES192_CBC, oids.AES128_CBC)


def smime_capabilities(algorithms: Iterable[str] = DEFAULT_SMIME_CAPABILITIES) -> bytes:
    """1.2.840.113549.1.9.15: strongest first, without parameters. RFC 4262, RFC 8551 2.5.2."""
    return der.sequence(*(der.sequence(der.oid(algorithm)) for algorithm in algorithms))


def decode_smime_capabilities(value: bytes) -> tuple[str, ...]:
    """The algorithms; parameters are left out."""
    reader = der.Reader.of(value, what="S/MIME capabilities")
    found: list[str] = []
    while reader.next_tag != -1:
        found.append(reader.enter().oid())
    return tuple(found)


def ocsp_no_check() -> bytes:
    """1.3.6.1.5.5.7.48.1.5. RFC 6960 4.2.2.2.1."""
    return der.null()


def subject_alternative_name(general_names: Sequence[GeneralName]) -> bytes:
    """RFC 5280 4.2.1.6."""
    if not general_names:
        raise EncodingError("subject alternative name: an empty list cannot be encoded; leave the extension out")
    return encode_general_names(general_names)


def template_of(found: Mapping[str, Extension]) -> TemplateInformation | None:
    """The template a set of extensions names by OID."""
    entry = found.get(oids.CERTIFICATE_TEMPLATE)
    return None if entry is None else decode_certificate_template(entry.value)


def template_name_of(found: Mapping[str, Extension]) -> str:
    """The template a set of extensions names by cn; empty when it names none."""
    entry = found.get(oids.CERTIFICATE_TEMPLATE_NAME)
    return "" if entry is None else decode_template_name(entry.value)


def alternative_names_of(found: Mapping[str, Extension]) -> tuple[GeneralName, ...]:
    """The subject alternative names in a set of extensions."""
    entry = found.get(oids.SUBJECT_ALTERNATIVE_NAME)
    return () if entry is None else parse_general_names(entry.value)


def sid_of(found: Mapping[str, Extension]) -> str:
    """The SID of the SID security extension; empty when there is none."""
    entry = found.get(oids.NTDS_CA_SECURITY)
    return "" if entry is None else decode_sid(entry.value)
