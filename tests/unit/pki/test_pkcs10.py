"""PKCS#10 as Windows and others send it, and everything that is refused. RFC 2986, [MS-WCCE] 2.2.2.6.1, 2.2.2.7."""

from __future__ import annotations

import hashlib
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.pki import der, names, oids
from certwright.pki.errors import DuplicateAttribute, EncodingError, SignatureError, TooLarge, WeakAlgorithm
from certwright.pki.extensions import TemplateInformation
from certwright.pki.general_names import DirectoryName, DnsName, UserPrincipalName
from certwright.pki.pkcs10 import CertificationRequest, ClientInfo, CspProvider
from tests.support import requests
from tests.support.certificates import make_certificate

SID = "S-1-5-21-1004336348-1177238915-682003330-1104"


def windows_request() -> bytes:
    """A request as certreq makes it for a template with a subject of its own."""
    return requests.make_request(
        subject=requests.name(("CN", "web.corp.example"), ("O", "Corp")),
        attributes=requests.windows_attributes(),
        extensions=[
            requests.template_extension("1.3.6.1.4.1.311.21.8.1.2.3", 100, 4),
            requests.template_name_extension("WebServer"),
            requests.alternative_names(requests.dns("web.corp.example"), requests.upn("alice@corp.example")),
            requests.sid_extension(SID),
        ],
    )


# -- what is read ----------------------------------------------------------------------------------------------------


def test_everything_a_windows_client_sends_is_read() -> None:
    request = CertificationRequest.parse(windows_request())
    request.verify_signature()
    assert names.format_name(request.subject) == "O=Corp,CN=web.corp.example"
    assert request.os_version == "10.0.20348.2"
    assert request.client_info == ClientInfo(5, "pc1.corp.example", "CORP\\alice", "certreq.exe")
    assert request.csp_provider == CspProvider(1, "Microsoft Software Key Storage Provider")
    assert request.template == TemplateInformation("1.3.6.1.4.1.311.21.8.1.2.3", 100, 4)
    assert request.template_name == "WebServer"
    assert request.alternative_names == (DnsName("web.corp.example"), UserPrincipalName("alice@corp.example"))
    assert request.sid == SID
    assert request.signature_algorithm == oids.ECDSA_SHA256
    assert request.public_key_info == requests.spki(requests.ec_key())
    assert request.sha256 == hashlib.sha256(request.der).hexdigest()
    assert request.renewal_certificate is None


def test_a_request_without_any_attribute_is_read() -> None:
    request = CertificationRequest.parse(requests.make_request())
    request.verify_signature()
    assert (request.subject, request.attributes, dict(request.extensions)) == (names.EMPTY, (), {})


def test_a_request_without_the_attributes_field_is_read() -> None:
    """RFC 2986 4.1 asks for it; some clients leave it out."""
    info = requests.sequence(requests.integer(0), b"\x30\x00", requests.spki(requests.ec_key()))
    request = CertificationRequest.parse(requests.signed(info, requests.ec_key()))
    request.verify_signature()
    assert request.attributes == ()


@pytest.mark.parametrize("identifier", [requests.PKCS9_EXTENSIONS, requests.MICROSOFT_EXTENSIONS])
def test_extensions_come_under_either_identifier(identifier: str) -> None:
    attribute = requests.extensions_attribute(requests.template_name_extension("User"), identifier=identifier)
    assert CertificationRequest.parse(requests.make_request(attributes=[attribute])).template_name == "User"


def test_several_extension_attributes_are_merged() -> None:
    """Some clients write one attribute per extension."""
    request = CertificationRequest.parse(
        requests.make_request(
            attributes=[
                requests.extensions_attribute(requests.template_name_extension("User")),
                requests.extensions_attribute(requests.alternative_names(requests.dns("a.example"))),
                requests.extensions_attribute(requests.sid_extension(SID), identifier=requests.MICROSOFT_EXTENSIONS),
            ]
        )
    )
    request.verify_signature()
    assert list(request.extensions) == [requests.ENROLL_CERTTYPE, "2.5.29.17", requests.SID_EXTENSION]


@pytest.mark.parametrize("other", [requests.PKCS9_EXTENSIONS, requests.MICROSOFT_EXTENSIONS])
def test_the_same_extension_in_two_attributes_is_refused(other: str) -> None:
    first = requests.extensions_attribute(requests.template_name_extension("User"))
    second = requests.extensions_attribute(requests.template_name_extension("Machine"), identifier=other)
    with pytest.raises(DuplicateAttribute):
        CertificationRequest.parse(requests.make_request(attributes=[first, second]))


@pytest.mark.parametrize(
    "attribute",
    [
        requests.os_version(),
        requests.client_info(),
        requests.csp_provider(),
        requests.attribute("1.2.840.113549.1.9.7", requests.utf8("secret")),
    ],
)
def test_an_attribute_that_stands_once_may_not_stand_twice(attribute: bytes) -> None:
    """[MS-WCCE] 3.2.1.4.2.1.4.2: ERROR_INVALID_DATA."""
    with pytest.raises(DuplicateAttribute):
        CertificationRequest.parse(requests.make_request(attributes=[attribute, attribute]))


def test_an_attribute_that_stands_once_may_not_have_two_values() -> None:
    attribute = requests.attribute(requests.OS_VERSION, requests.ia5("1"), requests.ia5("2"))
    with pytest.raises(DuplicateAttribute):
        CertificationRequest.parse(requests.make_request(attributes=[attribute]))


def test_unknown_attributes_are_kept_and_may_repeat() -> None:
    attribute = requests.attribute("1.2.3.4", requests.utf8("a"), requests.utf8("b"))
    request = CertificationRequest.parse(requests.make_request(attributes=[attribute, attribute]))
    assert [a.values for a in request.attributes] == [(requests.utf8("a"), requests.utf8("b"))] * 2


def pair(key: str, value: str) -> bytes:
    return requests.sequence(requests.bmp(key), requests.bmp(value))


@pytest.mark.parametrize(
    "attributes",
    [
        [requests.name_value_pairs(("CertificateTemplate", "User"), ("rmd", "pc1"))],
        [requests.name_value_pairs(("CertificateTemplate", "User")), requests.name_value_pairs(("rmd", "pc1"))],
        [
            requests.attribute(
                requests.NAME_VALUE_PAIR, requests.sequence(pair("CertificateTemplate", "User"), pair("rmd", "pc1"))
            )
        ],
    ],
)
def test_name_value_pairs_are_read_in_each_form(attributes: list[bytes]) -> None:
    """[MS-WCCE] 2.2.2.7.10: a value per pair, an attribute per pair, or a SEQUENCE OF pairs."""
    request = CertificationRequest.parse(requests.make_request(attributes=attributes))
    request.verify_signature()
    assert sorted(request.name_value_pairs) == [("CertificateTemplate", "User"), ("rmd", "pc1")]


def test_the_closing_nul_of_a_pair_is_dropped() -> None:
    attribute = requests.name_value_pairs(("CertificateTemplate\0", "User\0"))
    request = CertificationRequest.parse(requests.make_request(attributes=[attribute]))
    assert request.name_value_pairs == (("CertificateTemplate", "User"),)


def test_client_information_may_be_incomplete() -> None:
    for value, expected in (
        (requests.sequence(requests.integer(9), requests.utf8("pc1")), ClientInfo(9, "pc1", "", "")),
        (requests.sequence(requests.utf8("pc1"), requests.utf8("CORP\\a")), ClientInfo(0, "pc1", "CORP\\a", "")),
        (requests.sequence(), ClientInfo(0, "", "", "")),
    ):
        attribute = requests.attribute(requests.CLIENT_INFO, value)
        assert CertificationRequest.parse(requests.make_request(attributes=[attribute])).client_info == expected


def test_the_renewal_certificate_is_found() -> None:
    old = make_certificate()
    attribute = requests.attribute("1.3.6.1.4.1.311.13.1", old)
    assert CertificationRequest.parse(requests.make_request(attributes=[attribute])).renewal_certificate == old


def test_the_subject_is_one_a_certificate_may_carry() -> None:
    """A client that puts `*` into a PrintableString, or sorts nothing, still gets a certificate others can read."""
    subject = requests.sequence(
        requests.tlv(0x31, requests.sequence(requests.oid("2.5.4.3"), requests.printable("*.corp.example")))
    )
    request = CertificationRequest.parse(requests.make_request(subject=subject))
    request.verify_signature()
    assert request.subject == requests.name(("CN", "*.corp.example"))


def test_a_directory_name_is_one_a_certificate_may_carry() -> None:
    wrong = requests.sequence(
        requests.tlv(0x31, requests.sequence(requests.oid("2.5.4.3"), requests.printable("a_b")))
    )
    extension = requests.alternative_names(requests.tlv(0xA4, wrong), requests.dns("a.example"))
    request = CertificationRequest.parse(requests.make_request(extensions=[extension]))
    assert request.alternative_names == (DirectoryName(requests.name(("CN", "a_b"))), DnsName("a.example"))


# -- the proof of possession -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hash_name", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("kind", ["rsa", "P-256", "P-384", "P-521"])
def test_requests_signed_by_their_key_are_accepted(kind: str, hash_name: str) -> None:
    key = requests.rsa_key() if kind == "rsa" else requests.ec_key(kind)
    request = CertificationRequest.parse(requests.make_request(key, hash_name=hash_name))
    request.verify_signature()


def test_an_ed25519_request_is_accepted() -> None:
    CertificationRequest.parse(requests.make_request(ed25519.Ed25519PrivateKey.generate())).verify_signature()


@pytest.mark.parametrize("salt", [32, 0, 222], ids=["as long as the hash", "none", "as long as the key lets"])
def test_a_pss_request_is_accepted_with_any_salt(salt: int) -> None:
    """OpenSSL takes the longest salt unless told otherwise; Windows one as long as the hash."""
    key = requests.rsa_key()
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), salt)
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256(), rsa_padding=scheme)
        .public_bytes(Encoding.DER)
    )
    request = CertificationRequest.parse(made)
    assert request.signature_algorithm == oids.RSA_PSS
    request.verify_signature()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 3, 0, 1)])
def test_attributes_in_any_order_are_accepted(order: tuple[int, ...]) -> None:
    """X.690 11.6 asks for sorted ones; clients do not care, and [MS-WSTEP] 4.1.1.1 shows an order of its own."""
    attributes = [
        *requests.windows_attributes(),
        requests.extensions_attribute(requests.template_name_extension("User")),
    ]
    CertificationRequest.parse(
        requests.make_request(attributes=[attributes[index] for index in order])
    ).verify_signature()


def test_a_changed_request_does_not_verify() -> None:
    good = windows_request()
    at = good.index(b"web.corp.example")
    forged = CertificationRequest.parse(good[:at] + b"www" + good[at + 3 :])
    with pytest.raises(SignatureError, match="not signed by the key"):
        forged.verify_signature()


def test_a_request_signed_by_another_key_does_not_verify() -> None:
    for key, other in (
        (requests.ec_key(), requests.ec_key("P-256", 1)),
        (requests.rsa_key(), requests.rsa_key(2048, 1)),
        (requests.ec_key(), requests.rsa_key()),
    ):
        request = CertificationRequest.parse(requests.make_request(key, public_key=requests.spki(other)))
        with pytest.raises(SignatureError):
            request.verify_signature()


@pytest.mark.parametrize("signature", [b"", b"\0", b"\x30\x06\x02\x01\x00\x02\x01\x00", bytes(256), bytes(5000)])
def test_a_signature_of_nonsense_does_not_verify(signature: bytes) -> None:
    for key in (requests.ec_key(), requests.rsa_key()):
        with pytest.raises(SignatureError):
            CertificationRequest.parse(requests.make_request(key, signature=signature)).verify_signature()


@pytest.mark.parametrize(
    "algorithm",
    [
        "1.2.840.113549.1.1.5",
        "1.2.840.113549.1.1.4",
        "1.2.840.10045.4.1",
        "1.2.840.10045.4.3.1",
        "1.2.840.10040.4.3",
        "1.2.3.4",
    ],
    ids=["RSA SHA-1", "RSA MD5", "ECDSA SHA-1", "ECDSA SHA-224", "DSA SHA-1", "unknown"],
)
def test_weak_and_unknown_signature_algorithms_are_refused(algorithm: str) -> None:
    request = CertificationRequest.parse(with_algorithm(requests.sequence(requests.oid(algorithm), b"\x05\x00")))
    with pytest.raises(WeakAlgorithm):
        request.verify_signature()


def with_algorithm(algorithm: bytes, signature: bytes = b"x") -> bytes:
    info = requests.sequence(requests.integer(0), b"\x30\x00", requests.spki(requests.ec_key()), requests.tlv(0xA0))
    return requests.sequence(info, algorithm, requests.tlv(0x03, b"\x00", signature))


def test_a_null_signature_is_refused() -> None:
    """[MS-WCCE] 2.2.2.6.5 allows it inside CMS and CMC only: anybody can make one."""
    info = requests.sequence(requests.integer(0), b"\x30\x00", requests.spki(requests.ec_key()), requests.tlv(0xA0))
    digest = hashlib.sha256(info).digest()
    request = CertificationRequest.parse(with_algorithm(requests.sequence(requests.oid(oids.SHA256)), digest))
    with pytest.raises(WeakAlgorithm):
        request.verify_signature()


def test_a_dsa_key_is_refused() -> None:
    key = dsa.generate_private_key(1024)
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    with pytest.raises((WeakAlgorithm, EncodingError)):
        CertificationRequest.parse(made).verify_signature()


def test_a_point_that_is_not_on_the_curve_is_refused() -> None:
    good = requests.spki(requests.ec_key())
    request = CertificationRequest.parse(requests.make_request(public_key=good[:-1] + bytes([good[-1] ^ 1])))
    with pytest.raises(EncodingError):
        request.verify_signature()


def test_explicit_curve_parameters_are_refused() -> None:
    """A curve of one's own can make any signature right (CVE-2020-0601)."""
    explicit = requests.sequence(
        requests.sequence(requests.oid(oids.EC_PUBLIC_KEY), requests.sequence(requests.integer(1))),
        requests.tlv(0x03, b"\x00\x04", bytes(64)),
    )
    request = CertificationRequest.parse(requests.make_request(public_key=explicit))
    assert (request.public_key.bits, request.public_key.curve) == (0, "")
    with pytest.raises(EncodingError):
        request.verify_signature()


def test_the_most_expensive_key_does_not_cost_seconds() -> None:
    """The exponent, too, decides how long verifying takes: a long one with a long modulus is an attack."""
    modulus = (1 << 16383) | (1 << 8000) | 1
    for exponent in (65537, modulus - 2):
        number = requests.sequence(requests.integer(modulus), requests.integer(exponent))
        public_key = requests.sequence(
            requests.sequence(requests.oid(oids.RSA_ENCRYPTION), b"\x05\x00"), requests.tlv(0x03, b"\x00", number)
        )
        made = requests.make_request(requests.rsa_key(), public_key=public_key, signature=b"\x01" + bytes(2047))
        started = time.process_time()
        with pytest.raises((SignatureError, EncodingError)):
            CertificationRequest.parse(made).verify_signature()
        assert time.process_time() - started < 0.25


# -- refused ---------------------------------------------------------------------------------------------------------

EC_KEY = requests.spki(requests.ec_key())


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (b"", "cut off"),
        (requests.sequence(), "cut off"),
        (windows_request() + b"\0", "follow its end"),
        (windows_request()[:-1], "longer than"),
        (requests.make_request(version=1), "version 1"),
        (requests.make_request(subject=b"\x31\x00"), "expected SEQUENCE"),
        (requests.make_request(subject=requests.name(("CN", "a\0b"))), "NUL"),
        (requests.make_request(public_key=requests.sequence()), "public key|cut off"),
        (requests.make_request(attributes=[requests.tlv(0x04)]), "expected SEQUENCE"),
        (requests.make_request(attributes=[requests.attribute("1.2.3")]), "no value"),
        (requests.make_request(attributes=[requests.sequence(requests.oid("1.2.3"))]), "cut off"),
        (
            requests.make_request(attributes=[requests.attribute(requests.OS_VERSION, requests.octets(b"x"))]),
            "string",
        ),
        (requests.make_request(attributes=[requests.attribute(requests.CSP_PROVIDER, requests.sequence())]), "CSP"),
        (
            requests.make_request(attributes=[requests.attribute(requests.CLIENT_INFO, requests.octets(b""))]),
            "client",
        ),
        (
            requests.make_request(attributes=[requests.attribute(requests.NAME_VALUE_PAIR, requests.sequence())]),
            "pair",
        ),
        (requests.make_request(extensions=[requests.alternative_names()]), "empty"),
        (requests.make_request(extensions=[requests.alternative_names(requests.dns("a\0.corp.example"))]), "ASCII"),
        (
            requests.make_request(extensions=[requests.extension(requests.SID_EXTENSION, b"\x05\x00")]),
            "general names",
        ),
        (requests.make_request(extensions=[requests.extension(requests.ENROLL_CERTTYPE, b"")]), "cut off"),
        (with_algorithm(requests.sequence()), "algorithm"),
        (with_algorithm(requests.sequence(requests.integer(1))), "algorithm"),
        (
            requests.sequence(requests.sequence(), requests.sequence(), requests.tlv(0x03, b"\x01\x02")),
            "whole octets",
        ),
    ],
)
def test_a_malformed_request_is_refused_with_its_reason(made: bytes, reason: str) -> None:
    with pytest.raises(EncodingError, match=reason):
        CertificationRequest.parse(made)


def test_endless_attributes_and_values_are_refused() -> None:
    many = [requests.attribute("1.2.3", b"\x05\x00")] * 101
    with pytest.raises(EncodingError, match="more than 100"):
        CertificationRequest.parse(requests.make_request(attributes=many))
    with pytest.raises(TooLarge):
        CertificationRequest.parse(
            requests.make_request(attributes=[requests.attribute("1.2.3", *[b"\x05\x00"] * 101)])
        )


@given(st.data())
@settings(max_examples=400)
def test_a_request_with_changed_bytes_raises_only_our_errors(data: st.DataObject) -> None:
    """Any bytes anywhere: read, or refused with a reason, or not verified; never anything else."""
    made = bytearray(SEED)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(made) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change":
                made[at] = data.draw(st.integers(0, 255))
            case "cut":
                del made[at : at + data.draw(st.integers(1, 5))]
            case _:
                made[at:at] = data.draw(st.binary(min_size=1, max_size=5))
    try:
        CertificationRequest.parse(bytes(made)).verify_signature()
    except (EncodingError, SignatureError):
        return
    assert bytes(made) == SEED


SEED = windows_request()


@given(st.binary(max_size=120))
@settings(max_examples=200)
def test_arbitrary_bytes_raise_only_encoding_errors(data: bytes) -> None:
    for candidate in (data, der.sequence(der.sequence(data), der.sequence(data), der.bit_string(data))):
        with pytest.raises(EncodingError):
            CertificationRequest.parse(candidate)


def test_our_reading_agrees_with_the_other_library() -> None:
    """Where both read a request, they read the same."""
    key = ec.generate_private_key(ec.SECP384R1())
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name.from_rfc4514_string("CN=web,OU=a\\, b,C=DE"))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("web.corp.example")]), False)
        .add_extension(x509.MSCertificateTemplate(x509.ObjectIdentifier("1.2.3"), 1, 2), False)
        .add_attribute(x509.oid.AttributeOID.CHALLENGE_PASSWORD, b"secret")
        .sign(key, hashes.SHA384())
    )
    ours = CertificationRequest.parse(made.public_bytes(Encoding.DER))
    ours.verify_signature()
    assert ours.subject == made.subject.public_bytes()
    assert ours.info == made.tbs_certrequest_bytes
    assert ours.signature == made.signature
    assert ours.alternative_names == (DnsName("web.corp.example"),)
    assert ours.template == TemplateInformation("1.2.3", 1, 2)
    assert (ours.public_key.kind_name, ours.public_key.bits) == ("EC P-384", 384)
