"""General names, host names, SIDs in URIs. RFC 5280 4.2.1.6, [MS-WCCE] 2.2.2.7.5, 2.2.2.7.6."""

from __future__ import annotations

import ipaddress
import time
import uuid

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.pki import der, general_names, names, oids
from certwright.pki.errors import EncodingError, TooLarge
from certwright.pki.general_names import (
    DirectoryGuid,
    DirectoryName,
    DnsName,
    EmailAddress,
    GeneralName,
    IpAddress,
    OtherName,
    RegisteredId,
    UnknownName,
    Uri,
    UserPrincipalName,
)
from tests.support import requests

GUID = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
SID = "S-1-5-21-1004336348-1177238915-682003330-1104"
EVERY_KIND: list[tuple[GeneralName, str]] = [
    (DnsName("*.corp.example"), "DNS:*.corp.example"),
    (EmailAddress("alice@corp.example"), "email:alice@corp.example"),
    (UserPrincipalName("alice@Zoë.example"), "UPN:alice@Zoë.example"),
    (DirectoryGuid(GUID), f"GUID:{GUID}"),
    (IpAddress(ipaddress.IPv4Address("192.0.2.1")), "IP:192.0.2.1"),
    (IpAddress(ipaddress.IPv6Address("2001:db8::1")), "IP:2001:db8::1"),
    (Uri("https://corp.example/"), "URI:https://corp.example/"),
    (DirectoryName(names.parse_dn("CN=alice,DC=corp")), "DirName:CN=alice,DC=corp"),
    (RegisteredId("1.2.3.4"), "RID:1.2.3.4"),
    (OtherName("1.2.3.4", der.integer(5)), "other:1.2.3.4=020105"),
    (UnknownName(b"\xa5\x02\x05\x00"), "unknown:a5020500"),
]


@pytest.mark.parametrize(("name", "text"), EVERY_KIND)
def test_every_kind_of_name_reads_back_and_shows(name: GeneralName, text: str) -> None:
    assert general_names.parse_general_name(name.encode()) == name
    assert str(name) == text


def test_the_other_library_reads_what_we_write() -> None:
    encoded = general_names.encode_general_names(name for name, _ in EVERY_KIND[:-1])
    extension = x509.Extensions([x509.Extension(x509.OID_SUBJECT_ALTERNATIVE_NAME, False, parsed(encoded))])
    found = list(extension[0].value)
    assert x509.DNSName("*.corp.example") in found
    assert x509.OtherName(x509.ObjectIdentifier(oids.NTDS_REPLICATION), b"\x04\x10" + GUID.bytes_le) in found
    assert x509.OtherName(x509.ObjectIdentifier(oids.USER_PRINCIPAL_NAME), der.utf8("alice@Zoë.example")) in found
    assert x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4")) in found


def parsed(encoded: bytes) -> x509.SubjectAlternativeName:
    """GeneralNames by way of a request, the only place the other library reads them from."""
    request = requests.make_request(extensions=[requests.extension("2.5.29.17", encoded)])
    return x509.load_der_x509_csr(request).extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_the_names_of_a_windows_client_are_read() -> None:
    data = requests.sequence(requests.upn("alice@corp.example"), requests.dns("pc1.corp.example"))
    assert general_names.parse_general_names(data) == (
        UserPrincipalName("alice@corp.example"),
        DnsName("pc1.corp.example"),
    )


@pytest.mark.parametrize(
    "name",
    [
        requests.dns("a\0.corp.example"),
        requests.dns(""),
        requests.dns("zoë.example"),  # must be xn--
        requests.dns("a\nb"),
        requests.mail("a\0@b"),
        requests.mail(""),
        requests.uri("http://a\x7f"),
        requests.ip(b"\x01\x02\x03"),
        requests.ip(bytes(8)),  # an address and a mask: name constraints only
        requests.upn(""),
        requests.upn("a\0b@c"),
        requests.upn("a\u202eb@c"),  # turns the text around on the screen
        requests.upn("a\x85b@c"),
        requests.tlv(0x88, b"\x2a\x80"),
        requests.tlv(0xA4, b"\x31\x00"),
        requests.tlv(0xA0, requests.oid("1.2.3")),  # no value
        requests.tlv(0xA0, requests.oid("1.2.3"), requests.tlv(0xA0)),  # an empty one
        requests.tlv(0xA0, requests.oid("1.2.3"), requests.tlv(0xA0, requests.utf8("a"), requests.utf8("b"))),
        requests.tlv(0xA0, requests.oid("1.2.3"), requests.tlv(0xA0, requests.utf8("a")), requests.utf8("b")),
        b"",
    ],
)
def test_a_malformed_name_is_refused(name: bytes) -> None:
    with pytest.raises(EncodingError):
        general_names.parse_general_name(name)


def test_a_principal_name_of_another_string_type_stays_an_other_name() -> None:
    """The policy refuses what it does not know; taking it for a UPN would let the spelling decide."""
    name = requests.other_name(oids.USER_PRINCIPAL_NAME, requests.ia5("alice@corp.example"))
    assert isinstance(general_names.parse_general_name(name), OtherName)


def test_an_empty_and_an_endless_list_are_refused() -> None:
    with pytest.raises(EncodingError, match="empty"):
        general_names.parse_general_names(requests.sequence())
    with pytest.raises(TooLarge):
        general_names.parse_general_names(requests.sequence(*[requests.dns("a")] * (general_names.MAX_NAMES + 1)))


@given(st.binary(max_size=60))
@settings(max_examples=300)
def test_arbitrary_bytes_raise_only_encoding_errors(data: bytes) -> None:
    for candidate in (data, der.sequence(data), der.sequence(der.tlv(0xA0, data)), der.sequence(der.tlv(0xA4, data))):
        try:
            found = general_names.parse_general_names(candidate)
        except EncodingError:
            continue
        assert general_names.encode_general_names(found) == candidate


# -- host names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a", "web.corp.example", "1.example", "a-b.c", "xn--bcher-kva.example", "A.B"])
def test_host_names_in_preferred_syntax_are_taken(text: str) -> None:
    assert general_names.is_host_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "-a.b",
        "a-.b",
        "a_b.c",
        "a b.c",
        "zoë.example",
        "10.0.0.1",
        "a" * 64 + ".example",
        ".".join(["a" * 60] * 5),
        "*.example",
        "a.*.example",
        "a\n",
        "１.example",
    ],
)
def test_what_is_no_host_name_is_refused(text: str) -> None:
    assert not general_names.is_host_name(text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("*.corp.example", True),
        ("*.example", False),  # a whole top-level domain
        ("*", False),
        ("*.*.corp.example", False),
        ("a*.corp.example", False),
        ("*.10.1", False),
    ],
)
def test_a_wildcard_is_the_whole_leftmost_label(text: str, answer: bool) -> None:
    """RFC 9525 6.3."""
    assert general_names.is_host_name(text, wildcard=True) is answer


@pytest.mark.parametrize(
    ("text", "ascii_form"),
    [
        ("Web.Corp.Example", "web.corp.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
    ],
)
def test_an_international_host_name_gets_its_ascii_form(text: str, ascii_form: str) -> None:
    assert general_names.host_name_to_ascii(text) == ascii_form


@pytest.mark.parametrize(
    "text", ["", "zo ë.example", "ë" * 64 + ".example", "a..ë", "*.ë", "\ud800.example", "ë" * 100_000]
)
def test_a_name_without_an_ascii_form_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    with pytest.raises(EncodingError):
        general_names.host_name_to_ascii(text)
    assert time.process_time() - started < 0.5


def test_a_host_name_is_shown_decoded_where_that_is_possible() -> None:
    assert general_names.host_name_for_people("xn--bcher-kva.example") == "bücher.example"
    assert general_names.host_name_for_people("xn--\xff") == "xn--\xff"
    assert general_names.host_name_for_people("xn--" + "a" * 70_000 + "-b") == "xn--" + "a" * 70_000 + "-b"


# -- SIDs ------------------------------------------------------------------------------------------------------------


def test_the_sid_of_a_uri_is_found() -> None:
    """[MS-PKCA] 3.1.5.2.1.6."""
    assert general_names.sid_of_uri(str(general_names.sid_uri(SID).value)) == SID
    assert general_names.sid_of_uri("TAG:microsoft.com,2022-09-14:SID:" + SID) == SID
    assert general_names.sid_of_uri("https://corp.example/" + SID) is None


@pytest.mark.parametrize(
    "tail", ["", "S-1-5", "S-1-5-21-x", SID + " ", SID + "\n", "s-1-5-21-1", "S-1-5-" + "1-" * 20 + "1"]
)
def test_a_uri_with_the_prefix_and_no_sid_is_refused(tail: str) -> None:
    with pytest.raises(EncodingError):
        general_names.sid_of_uri(general_names.SID_URI_PREFIX + tail)
    with pytest.raises(EncodingError):
        general_names.sid_uri(tail)
