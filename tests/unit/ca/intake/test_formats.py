"""Intake: formats, proof of possession, templates and attributes. [MS-WCCE] 3.2.1.4.2.1.4, 3.2.1.4.3.1.1, 2.2.2.7."""

from __future__ import annotations

import base64
import contextlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from hypothesis import given
from hypothesis import strategies as st

from certwright.adcs.errors import HResult
from certwright.adcs.request import (
    MAX_ATTRIBUTES_LENGTH,
    NO_ATTRIBUTES,
    RequestAttributes,
    RequestFlags,
    template_attributes,
)
from certwright.ca.intake.errors import MAX_REQUEST, IntakeError
from certwright.ca.intake.formats import MAX_FACT, detect_format, read_request
from certwright.ca.intake.request import EnrollmentRequest, NameFacts
from certwright.pki.public_keys import KeyKind
from tests.support import requests as make
from tests.support.certificates import make_certificate
from tests.support.fake_directory import make_user, requester_for

ALICE = make_user()
TEMPLATE_OID = "1.3.6.1.4.1.311.21.8.7.7.7"


def read(
    raw: bytes, attributes: RequestAttributes = NO_ATTRIBUTES, flags: RequestFlags = RequestFlags.DETECT
) -> EnrollmentRequest:
    return read_request(raw, requester_for(ALICE), ALICE, attributes, flags)


def refusal(
    raw: bytes, attributes: RequestAttributes = NO_ATTRIBUTES, flags: RequestFlags = RequestFlags.DETECT
) -> IntakeError:
    with pytest.raises(IntakeError) as caught:
        read(raw, attributes, flags)
    return caught.value


def signed_cms(content: bytes, content_type: bytes | None = None) -> bytes:
    """A SignedData around `content`, made by the other library; `content_type` replaces id-data."""
    key = make.ec_key()
    certificate = x509.load_der_x509_certificate(make_certificate(key=key, issuer_key=key))
    made = (
        pkcs7.PKCS7SignatureBuilder()
        .set_data(content)
        .add_signer(certificate, key, hashes.SHA256())
        .sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])
    )
    if content_type is not None:
        data = make.oid("1.2.840.113549.1.7.1")
        assert len(content_type) <= len(data) + 1
        at = made.index(data, 40)
        made = made[:at] + content_type + made[at + len(data) :]
    return made


def spkac() -> bytes:
    """SignedPublicKeyAndChallenge, as the KEYGEN element made it."""
    return make.sequence(
        make.sequence(make.spki(make.ec_key()), make.ia5("challenge")),
        make.sequence(make.oid("1.2.840.10045.4.3.2")),
        make.tlv(0x03, b"\x00" * 65),
    )


# -- what is read ----------------------------------------------------------------------------------------------------


def test_request_keeps_its_bytes_and_its_caller() -> None:
    raw = make.web_server_request("web.corp.example", "www.corp.example", key=make.rsa_key())

    request = read(raw, template_attributes("WebServer"))

    assert request.der == request.raw == raw
    assert request.caller.account == r"CORP\alice"
    assert request.subject_principal is ALICE
    assert (request.public_key.kind, request.public_key.bits) == (KeyKind.RSA, 2048)
    assert request.signature_algorithm == "1.2.840.113549.1.1.11"
    assert request.display_names() == NameFacts(
        "CN=web.corp.example", "web.corp.example", "DNS:web.corp.example, DNS:www.corp.example"
    )


def armored(der: bytes, label: str) -> bytes:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


DISGUISES: dict[str, Callable[[bytes], bytes]] = {
    "new header": lambda der: armored(der, "NEW CERTIFICATE REQUEST"),
    "header": lambda der: armored(der, "CERTIFICATE REQUEST"),
    "base64 with breaks": base64.encodebytes,
    "base64 in one line": base64.b64encode,
    "blanks for plus signs": lambda der: base64.b64encode(der).replace(b"+", b" "),
    "carriage returns": lambda der: armored(der, "CERTIFICATE REQUEST").replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_every_disguise_of_a_request_is_seen_through(disguise: str) -> None:
    """Bare base64, PEM with either header, sloppy form encodings."""
    der = make.web_server_request()

    raw = DISGUISES[disguise](der)

    assert read(raw).der == der
    assert read(raw).raw == raw


def test_request_of_openssl_is_read(tmp_path: Path) -> None:
    command = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -subj /O=Corp/CN=app.corp.example"
    names = "subjectAltName=DNS:app.corp.example,IP:10.0.0.1,email:a@corp.example"
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "csr")]
    subprocess.run([*command.split(), "-addext", names, *files], check=True, capture_output=True)

    request = read((tmp_path / "csr").read_bytes())

    assert request.public_key.curve == "P-384"
    assert request.display_names().alternative_names == "DNS:app.corp.example, IP:10.0.0.1, email:a@corp.example"


# -- which format ----------------------------------------------------------------------------------------------------

CMC_TYPE = make.oid("1.3.6.1.5.5.7.12.2")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (make.make_request(), RequestFlags.PKCS10),
        (spkac(), RequestFlags.KEYGEN),
        (
            make.sequence(
                make.oid("1.2.840.113549.1.7.2"),
                make.tlv(0xA0, make.sequence(make.integer(3), make.set_of(), make.sequence(CMC_TYPE))),
            ),
            RequestFlags.CMC,
        ),
    ],
)
def test_format_is_detected_from_its_first_elements(raw: bytes, expected: RequestFlags) -> None:
    """[MS-WCCE] 3.2.1.4.2.1.4."""
    assert detect_format(raw) is expected


def test_cms_of_another_library_is_detected() -> None:
    assert detect_format(signed_cms(make.make_request())) is RequestFlags.CMS


@pytest.mark.parametrize("flags", [RequestFlags.DETECT, RequestFlags.PKCS10, RequestFlags.PKCS10 | RequestFlags.CRLS])
def test_type_that_fits_the_request_is_accepted(flags: RequestFlags) -> None:
    assert read(make.make_request(), flags=flags).der


@pytest.mark.parametrize(
    ("claimed", "raw", "sentence"),
    [
        (RequestFlags.CMC, make.make_request(), "said to be CMC, but it is PKCS#10"),
        (RequestFlags.CMS, make.make_request(), "said to be CMS, but it is PKCS#10"),
        (RequestFlags.KEYGEN, make.make_request(), "said to be KEYGEN"),
        (RequestFlags.CHALLENGE_RESPONSE, make.make_request(), "a response to an attestation challenge"),
        (RequestFlags.SIGNED_CERTIFICATE_TIMESTAMP_LIST, make.make_request(), "timestamps"),
        (RequestFlags(0x900), make.make_request(), "of type 0x900"),
        (RequestFlags.PKCS10, signed_cms(make.make_request()), "said to be of type 0x100, but it is CMS"),
        (RequestFlags.CMC, signed_cms(make.make_request()), "said to be of type 0x400, but it is CMS"),
        (RequestFlags.DETECT, spkac(), "KEYGEN requests"),
        (RequestFlags.RENEWAL_ON_BEHALF_OF, make.make_request(), "signed with the old certificate"),
    ],
)
def test_other_formats_are_refused_by_name(claimed: RequestFlags, raw: bytes, sentence: str) -> None:
    """CRYPT_E_INVALID_MSG_TYPE. [MS-WCCE] 3.2.1.4.3.1.1."""
    error = refusal(raw, flags=claimed)

    assert error.status is HResult.CRYPT_E_INVALID_MSG_TYPE
    assert sentence in error.message
    assert error.disposition_message.startswith("Error Parsing Request  0x80091004, ")


@pytest.mark.parametrize("flag", [RequestFlags.PRECERTIFICATE, RequestFlags.PRESIGN])
def test_certificate_transparency_is_not_enabled(flag: RequestFlags) -> None:
    assert refusal(make.make_request(), flags=flag).status is HResult.ERROR_NOT_SUPPORTED


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage",
        b"\x00" * 100,
        b"\x30\x00",
        b"\x30\x03\x02\x01\x00",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        make.make_request()[:-1],
        make.make_request() + b"\x00",
        make.make_request(version=1),
        make_certificate(),
        make.sequence(make.oid("1.2.840.113549.1.7.3"), make.tlv(0xA0, make.sequence())),
        make.make_request(attributes=[make.attribute(make.PKCS9_EXTENSIONS, make.octets(b"?"))]),
    ],
    ids=range(12),
)
def test_garbage_is_an_error_of_parsing(raw: bytes) -> None:
    """CRYPT_E_ASN1_BADTAG, `Error Parsing Request`."""
    error = refusal(raw)

    assert error.status is HResult.CRYPT_E_ASN1_BADTAG
    assert error.disposition_message.startswith("Error Parsing Request  0x8009310b, ")
    assert '"' not in error.disposition_message


def test_certificate_in_place_of_a_request_is_called_one() -> None:
    assert "looks like a certificate" in refusal(make_certificate()).message


def test_oversized_request_is_refused_before_it_is_read() -> None:
    """CERTSRV_E_ENCODING_LENGTH beyond 64 KiB."""
    error = refusal(b"\x30" + b"\x00" * MAX_REQUEST)

    assert error.status is HResult.CERTSRV_E_ENCODING_LENGTH


def test_request_with_too_many_elements_is_refused() -> None:
    error = refusal(make.make_request(attributes=[make.attribute("1.2.3", make.octets(b""))] * 101))

    assert error.status is HResult.CRYPT_E_ASN1_BADTAG
    assert "100" in error.message


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_an_intake_error(raw: bytes) -> None:
    with contextlib.suppress(IntakeError):
        read(raw)


BASE = make.web_server_request(extensions=[make.template_name_extension("WebServer")])


@given(st.integers(0, len(BASE) - 1), st.integers(0, 255))
def test_no_damage_is_accepted_or_raises_anything_else(position: int, value: int) -> None:
    """Whatever byte is changed, the signature or the structure is broken."""
    damaged = bytearray(BASE)
    if damaged[position] == value:
        return
    damaged[position] = value

    try:
        request = read(bytes(damaged))
    except IntakeError:
        return
    assert request.der[: position + 1] == bytes(damaged[: position + 1])
    assert position > len(BASE) - 75, "only the ECDSA signature itself has several spellings"


# -- proof of possession ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "other"),
    [
        (make.rsa_key(), make.rsa_key(2048, 1)),
        (make.ec_key(), make.ec_key("P-256", 1)),
        (make.ec_key("P-384"), make.ec_key("P-256", 1)),
        (make.rsa_key(), make.ec_key()),
    ],
    ids=["RSA", "EC", "another curve", "another algorithm"],
)
def test_signature_of_another_key_is_refused(key: make.PrivateKey, other: make.PrivateKey) -> None:
    """NTE_BAD_SIGNATURE. [MS-WCCE] 3.2.1.4.2.1.4.1.1."""
    error = refusal(make.make_request(key, public_key=make.spki(other)))

    assert error.status is HResult.NTE_BAD_SIGNATURE
    assert error.disposition_message.startswith(
        "Error Verifying Request Signature or Signing Certificate  0x80090006, "
    )


def test_null_signature_is_refused_on_a_bare_request() -> None:
    """A hash in place of a signature is for CMC only. [MS-WCCE] 2.2.2.6.5."""
    info = make.sequence(make.integer(0), make.sequence(), make.spki(make.ec_key()), make.tlv(0xA0))
    digest = hashes.Hash(hashes.SHA256())
    digest.update(info)
    sha256 = make.sequence(make.oid("2.16.840.1.101.3.4.2.1"))

    error = refusal(make.sequence(info, sha256, make.tlv(0x03, b"\x00", digest.finalize())))

    assert error.status is HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY


@pytest.mark.parametrize("algorithm", ["1.2.840.113549.1.1.5", "1.2.840.113549.1.1.4"])
def test_signatures_by_sha1_and_md5_prove_nothing(algorithm: str) -> None:
    """CERTSRV_E_WEAK_SIGNATURE_OR_KEY: ours."""
    info = make.sequence(make.integer(0), make.sequence(), make.spki(make.rsa_key()), make.tlv(0xA0))
    weak = make.sequence(make.oid(algorithm), b"\x05\x00")

    error = refusal(make.sequence(info, weak, make.tlv(0x03, b"\x00" * 257)))

    assert error.status is HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY
    assert error.disposition_message.startswith("Error Verifying Request Signature")


# -- duplicates, archival --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attribute", [make.os_version, make.csp_provider, make.client_info])
def test_attribute_that_may_stand_once_stands_once(attribute: Callable[[], bytes]) -> None:
    """ERROR_INVALID_DATA. [MS-WCCE] 3.2.1.4.2.1.4.2."""
    error = refusal(make.make_request(attributes=[attribute(), attribute()]))

    assert error.status is HResult.ERROR_INVALID_DATA


def test_extension_may_not_stand_twice_over_both_attributes() -> None:
    extension = make.template_name_extension("User")
    both = [
        make.extensions_attribute(extension),
        make.extensions_attribute(extension, identifier=make.MICROSOFT_EXTENSIONS),
    ]

    assert refusal(make.make_request(attributes=both)).status is HResult.ERROR_INVALID_DATA


def test_extensions_of_both_attributes_are_merged() -> None:
    """Some clients write one attribute per extension."""
    both = [
        make.extensions_attribute(make.template_name_extension("User")),
        make.extensions_attribute(make.sid_extension(ALICE.sid), identifier=make.MICROSOFT_EXTENSIONS),
    ]

    request = read(make.make_request(attributes=both))

    assert set(request.extensions) == {make.ENROLL_CERTTYPE, make.SID_EXTENSION}


def test_private_key_for_archival_is_misplaced_in_a_pkcs10() -> None:
    """CERTSRV_E_BAD_REQUEST_KEY_ARCHIVAL; archival is for CMC. [MS-WCCE] 3.2.2.6.2.1.2."""
    error = refusal(make.make_request(attributes=[make.attribute("1.3.6.1.4.1.311.21.13", make.octets(b"key"))]))

    assert error.status is HResult.CERTSRV_E_BAD_REQUEST_KEY_ARCHIVAL
    assert error.disposition_message.startswith("Error Archiving Private Key  0x8009400c, ")


# -- templates -------------------------------------------------------------------------------------------------------


def test_templates_are_collected_from_all_four_places() -> None:
    """[MS-WCCE] 3.2.2.6.2.1.4.1."""
    raw = make.make_request(
        attributes=[make.name_value_pairs(("CertificateTemplate", "Second"))],
        extensions=[make.template_name_extension("Third"), make.template_extension(TEMPLATE_OID, 100, 3)],
    )

    templates = read(raw, template_attributes("First")).templates

    assert [(t.name, t.oid, t.source) for t in templates] == [
        ("First", "", "attributes"),
        ("Second", "", "name-value pairs"),
        ("Third", "", "extension 20.2"),
        ("", TEMPLATE_OID, "extension 21.7"),
    ]
    assert (templates[-1].major_version, templates[-1].minor_version) == (100, 3)


def test_same_name_counts_once() -> None:
    raw = make.make_request(
        attributes=[make.name_value_pairs(("Certificate-Template", "webserver"))],
        extensions=[make.template_name_extension("WEBSERVER")],
    )

    assert [t.name for t in read(raw, template_attributes("WebServer")).templates] == ["WebServer"]


def test_template_may_be_asked_for_by_its_oid() -> None:
    raw = make.make_request(extensions=[make.template_extension(TEMPLATE_OID, 100)])

    (template,) = read(raw, template_attributes(TEMPLATE_OID)).templates

    assert (template.oid, template.name, template.major_version) == (TEMPLATE_OID, "", 100)


@pytest.mark.parametrize("form", [make.bmp, make.utf8, make.printable, lambda text: make.sequence(make.utf8(text))])
def test_template_name_extension_is_read_in_every_form(form: Callable[[str], bytes]) -> None:
    """[MS-WCCE] 2.2.2.7.7.1 prints one form, Windows writes another."""
    raw = make.make_request(extensions=[make.extension(make.ENROLL_CERTTYPE, form("User"))])

    assert [t.name for t in read(raw).templates] == ["User"]


def test_request_without_a_template_is_no_error_of_intake() -> None:
    assert read(make.make_request()).templates == ()


# -- attributes ------------------------------------------------------------------------------------------------------


def test_name_value_pairs_follow_the_attributes_string_and_repeat_nothing() -> None:
    """[MS-WCCE] 3.2.1.4.2.1.2."""
    raw = make.make_request(
        attributes=[make.name_value_pairs(("ccm", "pc1"), ("certificatetemplate", "User"), ("rmd", "pc2"))]
    )

    merged = read(raw, RequestAttributes((("CertificateTemplate", "User"), ("rmd", "pc1")))).attributes

    assert merged.items == (("CertificateTemplate", "User"), ("rmd", "pc1"), ("ccm", "pc1"), ("rmd", "pc2"))


def test_reading_a_stored_request_again_gives_the_same_attributes() -> None:
    """An approved request meets every rule again: what is stored must mean what was sent."""
    raw = make.make_request(
        attributes=[make.name_value_pairs(("a", "1\nCertificateTemplate:SubCA"), ("b:c", "x"), (" - ", "y"))]
    )

    once = read(raw, template_attributes("User"))
    stored = RequestAttributes.parse(str(once.attributes))
    again = read(raw, stored)

    assert again.attributes == once.attributes == stored
    assert [t.name for t in again.templates] == ["User"]


def test_attributes_nobody_honours_are_kept() -> None:
    """SAN, requestername and validity are stored, not obeyed: ESC6."""
    attributes = RequestAttributes.parse("SAN:upn=admin@corp.example\nrequestername:CORP\\bob\nValidityPeriod:Years")

    request = read(make.make_request(), attributes)

    assert request.attributes == attributes
    assert request.alternative_names == ()
    assert request.subject_principal is ALICE


def test_attributes_too_long_to_be_stored_are_refused() -> None:
    raw = make.make_request(attributes=[make.name_value_pairs(("note", "x" * MAX_ATTRIBUTES_LENGTH))])

    assert refusal(raw).status is HResult.CERTSRV_E_ENCODING_LENGTH


def test_what_windows_says_of_itself_is_kept() -> None:
    """[MS-WCCE] 2.2.2.7: stored, shown, never believed."""
    raw = make.make_request(
        attributes=[
            *make.windows_attributes(),
            make.attribute("1.3.6.1.4.1.311.21.24", make.octets(b"statement")),
            make.attribute("1.3.6.1.4.1.311.99.1", make.utf8("later")),
        ]
    )

    assert read(raw).client_facts == {
        "os_version": "10.0.20348.2",
        "csp_provider": "Microsoft Software Key Storage Provider",
        "key_spec": "1",
        "client_id": "5",
        "machine": "pc1.corp.example",
        "user": r"CORP\alice",
        "process": "certreq.exe",
        "attestation_statement": make.octets(b"statement").hex(),
        "1.3.6.1.4.1.311.99.1": make.utf8("later").hex(),
    }


def test_facts_are_bounded_and_printable() -> None:
    """A NUL would be refused by the database, and a megabyte by the reader."""
    raw = make.make_request(
        attributes=[
            make.client_info(machine="a\x00b\x1b[2J", user="x" * 5000),
            make.attribute("1.2.3.4", make.octets(b"z" * 5000)),
        ]
    )

    facts = read(raw).client_facts

    assert facts["machine"] == "a?b?[2J"
    assert len(facts["user"]) == MAX_FACT + 3
    assert len(facts["1.2.3.4"]) == MAX_FACT + 3


def test_challenge_password_is_not_stored() -> None:
    raw = make.make_request(attributes=[make.attribute("1.2.840.113549.1.9.7", make.printable("secret"))])

    assert read(raw).client_facts == {}
