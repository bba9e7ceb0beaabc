"""The two engines are two readings of one specification: over random templates and requests they must agree."""

from __future__ import annotations

import ipaddress
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.adcs.template import CertificateTemplate, EnrollmentFlag, GeneralFlag
from certwright.ca.issuance import builder
from certwright.ca.issuance.compiling import CompiledProfile, can_compile
from certwright.ca.issuance.preparing import IssuingCertificate
from certwright.ca.policy.base import CertificateSpec
from certwright.ca.urls import IssuanceUrls
from certwright.pki import general_names as g
from certwright.pki import names, oids
from certwright.pki.certificate import assemble_signed
from certwright.pki.public_keys import PublicKeyInfo, parse_public_key
from tests.support import requests
from tests.support.fake_directory import make_template

_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
_TEXT = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x2FFF, exclude_categories=("Cs", "Cn")), min_size=1, max_size=20
)
_OID = st.builds(
    lambda arcs: "1.3.6.1.4.1." + ".".join(map(str, arcs)), st.lists(st.integers(0, 2**31), min_size=1, max_size=5)
)
_USAGES = st.lists(
    st.sampled_from((oids.EKU_SERVER_AUTH, oids.EKU_CLIENT_AUTH, oids.EKU_OCSP_SIGNING, oids.EKU_ANY)) | _OID,
    max_size=4,
    unique=True,
).map(tuple)
_CRITICAL = st.lists(
    st.sampled_from(
        (
            oids.KEY_USAGE,
            oids.EXTENDED_KEY_USAGE,
            oids.APPLICATION_POLICIES,
            oids.SUBJECT_ALTERNATIVE_NAME,
            oids.BASIC_CONSTRAINTS,
            oids.CERTIFICATE_TEMPLATE,
            oids.CERTIFICATE_TEMPLATE_NAME,
            oids.CERTIFICATE_POLICIES,
            oids.AUTHORITY_KEY_IDENTIFIER,
            oids.AUTHORITY_INFORMATION_ACCESS,
            oids.CRL_DISTRIBUTION_POINTS,
            oids.NTDS_CA_SECURITY,
        )
    ),
    unique=True,
).map(tuple)
_KEY_USAGE = st.one_of(
    st.just(b""),
    st.binary(min_size=1, max_size=1),
    st.builds(lambda first, second: bytes((first, second & 0x80)), st.integers(0, 255), st.integers(0, 255)),
)
_URLS = st.lists(st.builds("http://{}/{}.crl".format, _WORD, _WORD), max_size=3, unique=True).map(tuple)

_TEMPLATES = st.builds(
    make_template,
    cn=_TEXT,
    oid=_OID,
    schema_version=st.integers(1, 4),
    major_version=st.integers(0, 2**31),
    minor_version=st.integers(0, 2**31),
    flags=st.sampled_from(
        (GeneralFlag(0), GeneralFlag.ADD_TEMPLATE_NAME, GeneralFlag.IS_CA, GeneralFlag.IS_CROSS_CA)
    ),
    enrollment_flag=st.lists(
        st.sampled_from(
            (
                EnrollmentFlag.INCLUDE_SYMMETRIC_ALGORITHMS,
                EnrollmentFlag.INCLUDE_BASIC_CONSTRAINTS_FOR_EE_CERTS,
                EnrollmentFlag.ADD_OCSP_NOCHECK,
                EnrollmentFlag.NOREVOCATIONINFOINISSUEDCERTS,
            )
        )
    ).map(lambda flags: EnrollmentFlag(sum(set(flags)))),
    extended_key_usage=_USAGES,
    application_policies=_USAGES,
    issuance_policies=st.lists(_OID, max_size=3, unique=True).map(tuple),
    critical_extensions=_CRITICAL,
    max_issuing_depth=st.integers(-1, 5),
)

_GENERAL_NAMES = st.one_of(
    st.builds(lambda a, b: g.DnsName(f"{a}.{b}.example"), _WORD, _WORD),
    st.builds(lambda a, b: g.EmailAddress(f"{a}@{b}.example"), _WORD, _WORD),
    st.builds(lambda a, b: g.UserPrincipalName(f"{a}@{b}.example"), _TEXT, _WORD),
    st.builds(lambda a: g.Uri(f"https://{a}.example/"), _WORD),
    st.builds(lambda n: g.IpAddress(ipaddress.IPv4Address(n)), st.integers(0, 2**32 - 1)),
    st.builds(lambda n: g.IpAddress(ipaddress.IPv6Address(n)), st.integers(0, 2**128 - 1)),
    st.builds(lambda n: g.DirectoryGuid(uuid.UUID(int=n)), st.integers(0, 2**128 - 1)),
    st.builds(g.RegisteredId, _OID),
    st.builds(lambda text: g.DirectoryName(names.name_of((oids.COMMON_NAME, text))), _TEXT),
    st.builds(lambda oid, text: g.OtherName(oid, b"\x0c" + bytes((len(text),)) + text.encode()), _OID, _WORD),
)
_NAME_TYPES = (oids.COMMON_NAME, oids.ORGANIZATION, oids.ORGANIZATIONAL_UNIT, oids.LOCALITY, oids.TITLE)
_SUBJECTS = st.lists(st.tuples(st.sampled_from(_NAME_TYPES), _TEXT), max_size=4).map(
    lambda pairs: names.name_of(*pairs)
)
_KEYS = st.sampled_from(("P-256", "P-384", "RSA"))
_BEGINNINGS = st.integers(0, 40 * 365 * 86_400).map(
    lambda late: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(0, late)
)
_SIDS = st.just("") | st.builds("S-1-5-21-{}-{}-{}-{}".format, *(st.integers(0, 2**32 - 1) for _ in range(4)))


def _key(kind: str) -> PublicKeyInfo:
    key: Any = requests.rsa_key() if kind == "RSA" else requests.ec_key(kind)
    return parse_public_key(requests.spki(key))


@settings(max_examples=120, deadline=None)
@given(
    template=st.none() | _TEMPLATES,
    subject=_SUBJECTS,
    sans=st.lists(_GENERAL_NAMES, max_size=4).map(tuple),
    begin=_BEGINNINGS,
    days=st.integers(1, 9000),
    sid=_SIDS,
    usage=_KEY_USAGE,
    kind=_KEYS,
    serial=st.integers(1, 2**159 - 1),
    cdp=_URLS,
    aia=_URLS,
    ocsp=_URLS,
    freshest=_URLS,
    path_length=st.none() | st.integers(1, 3),
)
def test_lean_engine_and_builder_make_the_same_certificate(
    template: CertificateTemplate | None,
    subject: bytes,
    sans: tuple[g.GeneralName, ...],
    begin: datetime,
    days: int,
    sid: str,
    usage: bytes,
    kind: str,
    serial: int,
    cdp: tuple[str, ...],
    aia: tuple[str, ...],
    ocsp: tuple[str, ...],
    freshest: tuple[str, ...],
    path_length: int | None,
) -> None:
    """[MS-WCCE] 3.2.2.6.2.1.4.5: field by field, extension by extension, and in the end byte by byte."""
    spec = CertificateSpec(subject, sans, begin, begin + timedelta(days=days), template, sid, usage)
    issuer = IssuingCertificate(
        name=names.name_of((oids.COMMON_NAME, "Corp Issuing CA")),
        key_identifier=bytes(range(20)),
        algorithm=_ECDSA_SHA256,
        not_after=begin + timedelta(days=10_000),
        path_length=path_length,
        urls=IssuanceUrls(cdp, aia, ocsp, freshest),
    )
    key = _key(kind)
    assert can_compile(spec)

    lean = CompiledProfile(template, usage, issuer).assemble(spec, key, serial)
    built = builder.build_tbs(spec, key, serial, issuer)

    ours, theirs = _read(lean), _read(built)
    assert theirs.serial_number == ours.serial_number
    assert theirs.subject == ours.subject
    assert theirs.not_valid_before_utc == ours.not_valid_before_utc
    assert theirs.not_valid_after_utc == ours.not_valid_after_utc
    expected = {extension.oid: (extension.critical, extension.value) for extension in theirs.extensions}
    assert expected == {extension.oid: (extension.critical, extension.value) for extension in ours.extensions}
    assert built == lean


def _read(tbs: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(assemble_signed(tbs, _ECDSA_SHA256, b"\x00"))


def test_the_comparison_notices_a_difference() -> None:
    """A property test that cannot fail proves nothing."""
    issuer = IssuingCertificate(names.EMPTY, bytes(20), _ECDSA_SHA256, datetime(2040, 1, 1, tzinfo=UTC))
    begin = datetime(2031, 1, 1, tzinfo=UTC)
    template = make_template()
    spec = CertificateSpec(names.EMPTY, (g.DnsName("a.example"),), begin, begin + timedelta(days=1), template)

    built = builder.build_tbs(spec, _key("P-256"), 1, issuer)

    other = replace(template, minor_version=template.minor_version + 1)
    assert built == CompiledProfile(template, b"", issuer).assemble(spec, _key("P-256"), 1)
    assert built != CompiledProfile(other, b"", issuer).assemble(spec, _key("P-256"), 1)
