"""Each extension as we write it, read by somebody else; and what we refuse. RFC 5280 4.2, [MS-WCCE] 2.2.2.7.7."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.x509 import oid as other_oids
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.pki import der, extensions, oids
from certwright.pki.errors import DuplicateAttribute, EncodingError
from certwright.pki.extensions import Extension, PolicyInformation, TemplateInformation
from certwright.pki.general_names import DnsName, Uri
from tests.support import programs, requests
from tests.support.certificates import make_certificate, other

SID = "S-1-5-21-1004336348-1177238915-682003330-1104"
T = TypeVar("T", bound=x509.ExtensionType)


def theirs(kind: type[T], oid: str, value: bytes) -> T:
    """The other library's reading of an extension's value, as it stands in a certificate."""
    made = make_certificate(extensions=[other(oid, value)])
    return x509.load_der_x509_certificate(made).extensions.get_extension_for_class(kind).value


# -- the wrapping ----------------------------------------------------------------------------------------------------


def test_an_extension_is_the_bytes_the_other_encoder_makes() -> None:
    assert extensions.extension("1.2.3", b"\x05\x00", True) == requests.extension("1.2.3", b"\x05\x00", critical=True)
    assert extensions.extension("1.2.3", b"\x05\x00") == requests.extension("1.2.3", b"\x05\x00")
    assert Extension("1.2.3", True, b"\x05\x00").encode() == extensions.extension("1.2.3", b"\x05\x00", True)


def test_extensions_keep_their_order() -> None:
    data = requests.sequence(requests.extension("1.2.4", b"a"), requests.extension("1.2.3", b"b", critical=True))
    found = extensions.parse_extensions(data)
    assert list(found.values()) == [Extension("1.2.4", False, b"a"), Extension("1.2.3", True, b"b")]


def test_an_extension_that_stands_twice_is_refused() -> None:
    """RFC 5280 4.2."""
    with pytest.raises(DuplicateAttribute, match="Key Usage"):
        extensions.parse_extensions(requests.sequence(*[requests.extension("2.5.29.15", b"\x05\x00")] * 2))


@pytest.mark.parametrize(
    "member",
    [
        requests.sequence(requests.oid("1.2.3"), b"\x01\x01\x00", requests.octets(b"")),  # DEFAULT FALSE written out
        requests.sequence(requests.oid("1.2.3"), b"\x01\x01\x01", requests.octets(b"")),
        requests.sequence(requests.oid("1.2.3")),
        requests.sequence(requests.oid("1.2.3"), requests.octets(b""), requests.octets(b"")),
        requests.octets(b""),
    ],
)
def test_a_malformed_extension_is_refused(member: bytes) -> None:
    with pytest.raises(EncodingError):
        extensions.parse_extensions(requests.sequence(member))


# -- keys and their use ----------------------------------------------------------------------------------------------


def test_key_identifiers() -> None:
    identifier = hashlib.sha1(b"key").digest()
    ours = extensions.subject_key_identifier(identifier)
    assert theirs(x509.SubjectKeyIdentifier, oids.SUBJECT_KEY_IDENTIFIER, ours).digest == identifier
    assert extensions.decode_subject_key_identifier(ours) == identifier
    authority = extensions.authority_key_identifier(identifier)
    read = theirs(x509.AuthorityKeyIdentifier, oids.AUTHORITY_KEY_IDENTIFIER, authority)
    assert (read.key_identifier, read.authority_cert_issuer) == (identifier, None)
    assert extensions.decode_authority_key_identifier(authority) == identifier
    by_serial = x509.AuthorityKeyIdentifier(None, [x509.DNSName("a")], 5).public_bytes()
    assert extensions.decode_authority_key_identifier(by_serial) is None


@pytest.mark.parametrize(
    ("bits", "usages"),
    [
        (b"\xa0", {"digital_signature", "key_encipherment"}),
        (b"\x86\x00", {"digital_signature", "key_cert_sign", "crl_sign"}),  # as the CA template stores it
        (b"\xc0", {"digital_signature", "content_commitment"}),
        (b"\x08\x80", {"key_agreement", "decipher_only"}),
        (b"\x10", {"data_encipherment"}),
    ],
)
def test_key_usage_bits_are_those_of_the_template(bits: bytes, usages: set[str]) -> None:
    """[MS-CRTD] 2.9."""
    ours = extensions.key_usage(bits)
    read = theirs(x509.KeyUsage, oids.KEY_USAGE, ours)
    found = {
        name
        for name in (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
        )
        if getattr(read, name)
    } | ({"decipher_only"} if read.key_agreement and read.decipher_only else set())
    assert found == usages
    assert extensions.decode_key_usage(ours) == bits.rstrip(b"\0")


def test_key_usage_is_shown_by_the_names_of_rfc_5280() -> None:
    assert extensions.key_usage_names(b"\xa0\x80") == ("digitalSignature", "keyEncipherment", "decipherOnly")
    assert extensions.key_usage_names(b"") == ()


@pytest.mark.parametrize("bits", [b"", b"\x00", b"\x00\x00", b"\x80\x40", b"\x80\x00\x80"])
def test_a_key_usage_of_no_bit_or_too_many_is_not_written(bits: bytes) -> None:
    """RFC 5280 4.2.1.3: at least one bit must be set."""
    with pytest.raises(EncodingError):
        extensions.key_usage(bits)


def test_extended_key_usage() -> None:
    usages = (oids.EKU_SERVER_AUTH, oids.EKU_SMART_CARD_LOGON)
    ours = extensions.extended_key_usage(usages)
    assert [u.dotted_string for u in theirs(x509.ExtendedKeyUsage, oids.EXTENDED_KEY_USAGE, ours)] == list(usages)
    assert extensions.decode_extended_key_usage(ours) == usages


@pytest.mark.parametrize(("ca", "length"), [(True, None), (True, 0), (True, 3), (False, None)])
def test_basic_constraints(ca: bool, length: int | None) -> None:
    ours = extensions.basic_constraints(ca, length)
    assert theirs(x509.BasicConstraints, oids.BASIC_CONSTRAINTS, ours) == x509.BasicConstraints(ca, length)
    assert extensions.decode_basic_constraints(ours) == extensions.BasicConstraints(ca, length)


def test_basic_constraints_of_an_end_entity_have_no_path_length() -> None:
    assert extensions.basic_constraints(False, 3) == b"\x30\x00"


def test_a_written_out_false_is_taken_in_basic_constraints_only() -> None:
    assert not extensions.decode_basic_constraints(b"\x30\x03\x01\x01\x00").ca


def test_a_negative_path_length_is_refused() -> None:
    with pytest.raises(EncodingError):
        extensions.decode_basic_constraints(b"\x30\x06\x01\x01\xff\x02\x01\xff")


# -- policies --------------------------------------------------------------------------------------------------------


def test_certificate_policies_with_the_place_of_their_statement() -> None:
    policies = (PolicyInformation("1.2.3", ("http://corp.example/cps",)), PolicyInformation("1.2.4"))
    ours = extensions.certificate_policies([policies[0], "1.2.4"])
    read = theirs(x509.CertificatePolicies, oids.CERTIFICATE_POLICIES, ours)
    assert [(p.policy_identifier.dotted_string, p.policy_qualifiers) for p in read] == [
        ("1.2.3", ["http://corp.example/cps"]),
        ("1.2.4", None),
    ]
    assert extensions.decode_certificate_policies(ours) == policies


def test_user_notices_are_passed_over() -> None:
    notice = x509.CertificatePolicies(
        [x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), [x509.UserNotice(None, "text"), "http://cps"])]
    ).public_bytes()
    assert extensions.decode_certificate_policies(notice) == (PolicyInformation("1.2.3", ("http://cps",)),)


def test_application_policies_are_usages_in_the_syntax_of_policies() -> None:
    """[MS-WCCE] 2.2.2.7.7.3; the bytes are those OpenSSL prints for policies."""
    usages = (oids.EKU_CLIENT_AUTH, oids.EKU_EFS)
    ours = extensions.application_policies(usages)
    read = theirs(x509.CertificatePolicies, oids.CERTIFICATE_POLICIES, ours)
    assert [p.policy_identifier.dotted_string for p in read] == list(usages)
    assert extensions.decode_application_policies(ours) == usages


# -- where to look ---------------------------------------------------------------------------------------------------


def test_distribution_points_are_one_point_with_all_urls() -> None:
    """As AD CS writes them: one DistributionPoint, the URLs in its fullName."""
    urls = ("http://pki.corp.example/ca.crl", "ldap:///CN=ca,DC=corp?certificateRevocationList")
    ours = extensions.crl_distribution_points(urls)
    (point,) = theirs(x509.CRLDistributionPoints, oids.CRL_DISTRIBUTION_POINTS, ours)
    assert [name.value for name in point.full_name or []] == list(urls)
    assert (point.relative_name, point.reasons, point.crl_issuer) == (None, None, None)
    assert extensions.decode_crl_distribution_points(ours) == urls


def test_points_without_urls_are_passed_over() -> None:
    relative = x509.RelativeDistinguishedName([x509.NameAttribute(other_oids.NameOID.COMMON_NAME, "x")])
    points = x509.CRLDistributionPoints(
        [
            x509.DistributionPoint(None, relative, None, None),
            x509.DistributionPoint([x509.UniformResourceIdentifier("http://a")], None, None, None),
            x509.DistributionPoint(None, None, None, [x509.DirectoryName(x509.Name([]))]),
        ]
    ).public_bytes()
    assert extensions.decode_crl_distribution_points(points) == ("http://a",)


def test_authority_information_access_names_issuers_before_ocsp() -> None:
    ours = extensions.authority_information_access(["http://a/ca.crt"], ["http://a/ocsp"])
    read = theirs(x509.AuthorityInformationAccess, oids.AUTHORITY_INFORMATION_ACCESS, ours)
    assert [(d.access_method.dotted_string, d.access_location.value) for d in read] == [
        (oids.ACCESS_CA_ISSUERS, "http://a/ca.crt"),
        (oids.ACCESS_OCSP, "http://a/ocsp"),
    ]
    assert extensions.decode_authority_information_access(ours) == (
        (oids.ACCESS_CA_ISSUERS, Uri("http://a/ca.crt")),
        (oids.ACCESS_OCSP, Uri("http://a/ocsp")),
    )


@pytest.mark.parametrize(
    "write",
    [
        lambda: extensions.extended_key_usage([]),
        lambda: extensions.certificate_policies([]),
        lambda: extensions.application_policies([]),
        lambda: extensions.crl_distribution_points([]),
        lambda: extensions.authority_information_access(),
        lambda: extensions.subject_alternative_name([]),
    ],
)
def test_an_empty_extension_is_never_written(write: Callable[[], bytes]) -> None:
    with pytest.raises(EncodingError):
        write()


@pytest.mark.parametrize("url", ["http://zoë.example/", "http://a\x80"])
def test_a_url_that_is_not_ascii_is_not_written(url: str) -> None:
    with pytest.raises(EncodingError):
        extensions.crl_distribution_points([url])


# -- Microsoft's -----------------------------------------------------------------------------------------------------


def test_the_template_name_is_a_bare_bmp_string() -> None:
    """As every certificate printed in [MS-WSTEP] 4.1 has it."""
    assert extensions.template_name("User").hex() == "1e080055007300650072"


@pytest.mark.parametrize(
    "value",
    [
        requests.bmp("WebServer"),
        requests.bmp("WebServer\0"),
        requests.utf8("WebServer"),
        requests.printable("WebServer"),
        requests.sequence(requests.utf8("WebServer")),  # what [MS-WCCE] 2.2.2.7.7.1 prints
    ],
)
def test_the_template_name_is_read_in_every_form_that_occurs(value: bytes) -> None:
    assert extensions.decode_template_name(value) == "WebServer"


@pytest.mark.parametrize(
    "value",
    [
        requests.bmp(""),
        requests.bmp("a\nb"),
        requests.octets(b"User"),
        requests.sequence(requests.utf8("a"), requests.utf8("b")),
        requests.sequence(),
        requests.bmp("User") + b"\0",
    ],
)
def test_a_template_name_that_is_none_is_refused(value: bytes) -> None:
    with pytest.raises(EncodingError):
        extensions.decode_template_name(value)


@pytest.mark.parametrize(("major", "minor"), [(100, 4), (100, None), (None, None), (0, 0), (2**31, 1)])
def test_the_template_information_is_what_the_other_library_reads(major: int | None, minor: int | None) -> None:
    template = "1.3.6.1.4.1.311.21.8.1.2.3.1.16"
    ours = extensions.certificate_template(template, major, minor)
    read = theirs(x509.MSCertificateTemplate, oids.CERTIFICATE_TEMPLATE, ours)
    assert read == x509.MSCertificateTemplate(x509.ObjectIdentifier(template), major, minor)
    assert read.public_bytes() == ours
    assert extensions.decode_certificate_template(ours) == TemplateInformation(template, major, minor)


def test_a_minor_version_needs_a_major_one() -> None:
    with pytest.raises(EncodingError):
        extensions.certificate_template("1.2.3", None, 1)


@pytest.mark.parametrize("number", [-1, 1 << 32])
def test_a_template_version_is_a_32_bit_number(number: int) -> None:
    with pytest.raises(EncodingError):
        extensions.decode_certificate_template(requests.sequence(requests.oid("1.2.3"), requests.integer(number)))


def test_the_sid_extension_is_exactly_the_bytes_of_ms_wcce() -> None:
    """[MS-WCCE] 2.2.2.7.7.4: one otherName, and nothing behind the SID, for readers take all that follows."""
    assert len(SID) == 45
    sid = "S-1-5-21-1004336348-1177238915-682003330-512"
    expected = bytes.fromhex("303ea03c060a2b060104018237190201a02e042c") + sid.encode()
    assert extensions.sid_extension(sid) == expected
    assert extensions.decode_sid(expected) == sid
    assert requests.sid_extension(SID) == extensions.extension(oids.NTDS_CA_SECURITY, extensions.sid_extension(SID))
    (name,) = theirs(x509.SubjectAlternativeName, oids.SUBJECT_ALTERNATIVE_NAME, expected)
    assert isinstance(name, x509.OtherName)
    assert name.type_id.dotted_string == oids.NTDS_OBJECT_SID


@pytest.mark.parametrize("sid", ["", "S-1-5", "alice", SID + "\n", "S-1-5-21-" + "1" * 11])
def test_the_sid_extension_holds_a_sid_only(sid: str) -> None:
    with pytest.raises(EncodingError):
        extensions.sid_extension(sid)


@pytest.mark.parametrize(
    "value",
    [
        requests.sequence(requests.other_name("1.3.6.1.4.1.311.25.2.1", requests.utf8(SID))),
        requests.sequence(requests.other_name("1.3.6.1.4.1.311.25.2.2", requests.octets(SID.encode()))),
        requests.sequence(requests.other_name("1.3.6.1.4.1.311.25.2.1", requests.octets(b"S-1-5-21-x"))),
        requests.sequence(*[requests.other_name("1.3.6.1.4.1.311.25.2.1", requests.octets(SID.encode()))] * 2),
        requests.sequence(requests.dns("a")),
        requests.octets(SID.encode()),
    ],
)
def test_any_other_form_of_the_sid_extension_is_refused(value: bytes) -> None:
    with pytest.raises(EncodingError):
        extensions.decode_sid(value)


@pytest.mark.parametrize(("certificate", "key", "number"), [(0, 0, 0), (2, 1, 0x10002), (0xFFFF, 0x7FFF, 0x7FFFFFFF)])
def test_the_ca_version_holds_the_key_index_in_its_upper_half(certificate: int, key: int, number: int) -> None:
    """[MS-WCCE] 3.2.1.4.3.2.39."""
    assert extensions.ca_version(certificate, key) == requests.integer(number)
    assert extensions.decode_ca_version(requests.integer(number)) == (certificate, key)


def test_a_ca_version_outside_its_range_is_refused() -> None:
    for certificate, key in ((-1, 0), (0x10000, 0), (0, 0x8000)):
        with pytest.raises(EncodingError):
            extensions.ca_version(certificate, key)
    for number in (-1, 1 << 32):
        with pytest.raises(EncodingError):
            extensions.decode_ca_version(requests.integer(number))


def test_the_previous_certificate_hash_and_the_next_publication() -> None:
    digest = hashlib.sha1(b"old").digest()
    assert extensions.previous_ca_hash(digest) == requests.octets(digest)
    assert extensions.decode_previous_ca_hash(requests.octets(digest)) == digest
    for when, tag in ((datetime(2025, 3, 4, tzinfo=UTC), 0x17), (datetime(2051, 3, 4, tzinfo=UTC), 0x18)):
        value = extensions.next_crl_publish(when)
        assert value[0] == tag
        assert extensions.decode_next_crl_publish(value) == when


def test_openssl_prints_what_we_wrote() -> None:
    made = make_certificate(
        extensions=[
            other(oids.CERTIFICATE_TEMPLATE, extensions.certificate_template("1.3.6.1.4.1.311.21.8.1.2", 100, 4)),
            other(oids.SMIME_CAPABILITIES, extensions.smime_capabilities()),
            other(oids.CERTIFICATE_TEMPLATE_NAME, extensions.template_name("WebServer")),
            other(oids.OCSP_NO_CHECK, extensions.ocsp_no_check()),
        ]
    )
    text = programs.openssl("x509", "-inform", "DER", "-noout", "-text", data=made)
    assert "OCSP No Check" in text
    tree = programs.openssl("asn1parse", "-inform", "DER", data=extensions.smime_capabilities())
    assert [line.split(":")[-1] for line in tree.splitlines() if "OBJECT" in line] == [
        "aes-256-cbc",
        "aes-192-cbc",
        "aes-128-cbc",
    ]
    assert (
        extensions.decode_smime_capabilities(extensions.smime_capabilities()) == extensions.DEFAULT_SMIME_CAPABILITIES
    )


# -- out of a set of extensions --------------------------------------------------------------------------------------


def test_facts_are_found_in_a_set_of_extensions() -> None:
    found = extensions.parse_extensions(
        requests.sequence(
            requests.template_name_extension("User"),
            requests.template_extension("1.2.3", 4, 5),
            requests.alternative_names(requests.dns("a.example")),
            requests.sid_extension(SID),
        )
    )
    assert extensions.template_name_of(found) == "User"
    assert extensions.template_of(found) == TemplateInformation("1.2.3", 4, 5)
    assert extensions.alternative_names_of(found) == (DnsName("a.example"),)
    assert extensions.sid_of(found) == SID
    assert (extensions.template_name_of({}), extensions.template_of({}), extensions.sid_of({})) == ("", None, "")
    assert extensions.alternative_names_of({}) == ()


DECODERS: list[Callable[[bytes], object]] = [
    extensions.parse_extensions,
    extensions.decode_subject_key_identifier,
    extensions.decode_authority_key_identifier,
    extensions.decode_key_usage,
    extensions.decode_extended_key_usage,
    extensions.decode_basic_constraints,
    extensions.decode_certificate_policies,
    extensions.decode_application_policies,
    extensions.decode_crl_distribution_points,
    extensions.decode_authority_information_access,
    extensions.decode_template_name,
    extensions.decode_certificate_template,
    extensions.decode_sid,
    extensions.decode_ca_version,
    extensions.decode_previous_ca_hash,
    extensions.decode_next_crl_publish,
    extensions.decode_smime_capabilities,
]


@given(st.binary(max_size=60))
@settings(max_examples=150)
def test_arbitrary_bytes_raise_only_encoding_errors(data: bytes) -> None:
    for decoder in DECODERS:
        for candidate in (data, der.sequence(data), der.sequence(der.sequence(data))):
            try:
                decoder(candidate)
            except EncodingError:
                continue
