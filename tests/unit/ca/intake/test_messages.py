"""Signed messages around requests: what is read, who signed, and what proves possession. [MS-WCCE] 3.2.1.4.2.1.4."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certwright.adcs.errors import HResult
from certwright.adcs.request import NO_ATTRIBUTES, RequestFlags, template_attributes
from certwright.ca.intake.errors import IntakeError
from certwright.ca.intake.formats import read_request
from certwright.ca.intake.messages import Message, is_message, read_message
from certwright.ca.intake.request import EnrollmentRequest, StoredRequestFlag
from certwright.pki import armor, der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.signed_data import Signing, sign
from tests.support import requests as make
from tests.support.certificates import make_certificate
from tests.support.fake_directory import make_user, requester_for
from tests.support.messages import by_certificate, by_new_key, in_cmc, in_cms, renewing, with_null_signature

VECTORS = Path(__file__).parents[3] / "vectors" / "cms"
NEW, OLD, AGENT = make.ec_key("P-256", 1), make.ec_key("P-256", 2), make.rsa_key()
OLD_CERTIFICATE = make_certificate("CN=web01.corp.example", OLD, serial=0x1001)
AGENT_CERTIFICATE = make_certificate("CN=agent", AGENT, serial=0x1002)
REQUEST = make.make_request(key=NEW)
PLAIN = in_cms(REQUEST, by_certificate(AGENT, AGENT_CERTIFICATE), certificates=(AGENT_CERTIFICATE,))


def refused(raw: bytes, flags: RequestFlags = RequestFlags.DETECT) -> IntakeError:
    with pytest.raises(IntakeError) as error:
        read_message(raw, flags)
    return error.value


def accepted(raw: bytes, flags: RequestFlags = RequestFlags.DETECT) -> EnrollmentRequest:
    user = make_user()
    return read_request(raw, requester_for(user), user, NO_ATTRIBUTES, flags)


def signers(message: Message | EnrollmentRequest) -> list[str]:
    return [signature.certificate.subject_name for signature in message.signatures]


# -- which format ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        lambda data: data,
        lambda data: armor.armor(armor.PKCS7, data).encode(),
        lambda data: armor.armor(armor.NEW_CERTIFICATE_REQUEST, data).replace("\n", "\r\n").encode(),
        lambda data: armor.armor(armor.CMC, data).split("\n", 1)[1].rsplit("-----END", 1)[0].encode(),
    ],
    ids=["DER", "PKCS7", "as certreq writes CMC", "bare base64"],
)
def test_a_message_is_known_in_every_armor(form: object) -> None:
    assert callable(form)
    raw = form(PLAIN)
    assert is_message(raw)
    assert read_message(raw, RequestFlags.DETECT).parsed.der == REQUEST


@pytest.mark.parametrize(
    "raw",
    [REQUEST, armor.armor(armor.CERTIFICATE_REQUEST, REQUEST).encode(), b"", b"-----", b"0", b"MII", b"\xff" * 99],
)
def test_anything_else_is_no_message(raw: bytes) -> None:
    assert not is_message(raw)


def test_a_streamed_message_is_read() -> None:
    """Indefinite lengths around the same content."""
    inner = der.Reader.of(PLAIN)
    content_type, wrapped = inner.whole(der.OBJECT_IDENTIFIER), inner.content(0xA0)
    streamed = b"\x30\x80" + content_type + b"\xa0\x80" + wrapped + b"\x00\x00" * 2
    assert is_message(streamed)
    assert accepted(streamed).der == REQUEST


def test_the_format_must_be_what_the_flags_say() -> None:
    """CRYPT_E_INVALID_MSG_TYPE, 0x80091004. [MS-WCCE] 3.2.1.4.3.1.1."""
    assert read_message(PLAIN, RequestFlags.CMS).kind is RequestFlags.CMS
    assert refused(PLAIN, RequestFlags.CMC).status is HResult.CRYPT_E_INVALID_MSG_TYPE


# -- contents --------------------------------------------------------------------------------------------------------


def test_a_windows_cmc_request_is_read() -> None:
    """Signed by its own key, the template in the registration information."""
    raw = (VECTORS / "cmc-request.der").read_bytes()

    request = accepted(raw, RequestFlags.CMC)

    assert [each.name for each in request.templates if each.name] == ["ExampleWebServer"]
    assert request.attributes.get("CertificateTemplate") == "ExampleWebServer"
    assert request.signatures == ()
    assert request.flags is StoredRequestFlag.NONE
    assert request.raw == raw


def test_a_renewal_names_the_certificate_that_signed_it() -> None:
    """[MS-WSTEP] 4.1.5.1."""
    request = accepted((VECTORS / "renewal-request.der").read_bytes())

    assert request.flags is StoredRequestFlag.RENEWAL
    assert request.renewed is not None
    assert request.renewed.certificate.der == request.renewal_of


@pytest.mark.parametrize("requests", [(), (REQUEST, REQUEST)], ids=["none", "two"])
def test_cmc_holds_exactly_one_request(requests: tuple[bytes, ...]) -> None:
    """ERROR_INVALID_DATA, 0x8007000d. [MS-WCCE] 3.2.1.4.2.1.4.1.3."""
    assert refused(in_cmc(*requests, signings=(by_new_key(NEW),))).status is HResult.ERROR_INVALID_DATA


def test_cms_holds_a_pkcs10() -> None:
    """ERROR_INVALID_DATA. [MS-WCCE] 3.2.1.4.2.1.4.1.2."""
    for content in (b"", OLD_CERTIFICATE, REQUEST + b"\0"):
        raw = in_cms(content, by_certificate(AGENT, AGENT_CERTIFICATE), certificates=(AGENT_CERTIFICATE,))
        assert refused(raw).status is HResult.ERROR_INVALID_DATA
    other = sign(oids.CMC_PKI_RESPONSE, REQUEST, [by_new_key(NEW)])
    assert refused(other).status is HResult.ERROR_INVALID_DATA


def test_the_number_of_the_request_is_kept_for_the_answer() -> None:
    assert accepted(in_cmc(REQUEST, signings=(by_new_key(NEW),), body_part=7)).body_part == 7


# -- who signed ------------------------------------------------------------------------------------------------------


def test_an_unsigned_message_is_refused() -> None:
    """CRYPT_E_NO_SIGNER, 0x8009200e."""
    assert refused(sign(oids.CMS_DATA, REQUEST, [])).status is HResult.CRYPT_E_NO_SIGNER


def test_the_new_keys_signature_is_nobodys() -> None:
    """It proves possession; it is no agent's and no old certificate's."""
    raw = in_cmc(
        REQUEST,
        signings=(by_new_key(NEW), by_certificate(OLD, OLD_CERTIFICATE)),
        certificates=(AGENT_CERTIFICATE, OLD_CERTIFICATE),
    )
    assert signers(read_message(raw, RequestFlags.DETECT)) == ["CN=web01.corp.example"]


def test_a_self_signed_certificate_of_the_new_key_is_nobodys() -> None:
    own = make_certificate("CN=x", NEW, issuer="CN=x", issuer_key=NEW, serial=0x55)
    assert (
        read_message(in_cms(REQUEST, by_certificate(NEW, own), certificates=(own,)), RequestFlags(0)).signatures == ()
    )


@pytest.mark.parametrize("wrong", ["key", "content", "certificate"])
def test_a_signature_that_does_not_verify_fails_the_request(wrong: str) -> None:
    """NTE_BAD_SIGNATURE, 0x80090006."""
    signing = by_certificate(OLD if wrong == "key" else AGENT, AGENT_CERTIFICATE)
    raw = in_cms(REQUEST, signing, certificates=(AGENT_CERTIFICATE,))
    if wrong == "content":
        raw = raw.replace(b"web.corp.example", b"www.corp.example") if b"web.corp.example" in raw else raw
        raw = raw.replace(REQUEST, make.make_request(key=OLD)[: len(REQUEST)].ljust(len(REQUEST), b"\0"))
    if wrong == "certificate":
        raw = in_cms(REQUEST, by_certificate(AGENT, AGENT_CERTIFICATE))
    assert refused(raw).status in (HResult.NTE_BAD_SIGNATURE, HResult.ERROR_INVALID_DATA)


def test_a_renewal_without_the_old_certificate_says_so() -> None:
    """CERTSRV_E_BAD_RENEWAL_CERT_ATTRIBUTE, 0x8009400e. [MS-WCCE] 3.2.1.4.2.1.4.2.1."""
    request = make.make_request(key=NEW, attributes=[renewing(OLD_CERTIFICATE)])
    error = refused(in_cms(request, by_certificate(OLD, OLD_CERTIFICATE)))
    assert error.status is HResult.CERTSRV_E_BAD_RENEWAL_CERT_ATTRIBUTE


def test_one_bad_signature_among_good_ones_fails_the_request() -> None:
    raw = in_cmc(
        REQUEST,
        signings=(by_new_key(NEW), by_certificate(OLD, AGENT_CERTIFICATE)),
        certificates=(AGENT_CERTIFICATE,),
    )
    assert refused(raw).status is HResult.NTE_BAD_SIGNATURE


# -- possession ------------------------------------------------------------------------------------------------------


def test_the_null_signature_counts_when_its_key_signed_the_message() -> None:
    """[MS-WCCE] 2.2.2.6.5."""
    null = with_null_signature(REQUEST)
    assert accepted(in_cmc(null, signings=(by_new_key(NEW),))).der == null


@pytest.mark.parametrize(
    "raw",
    [
        in_cmc(
            with_null_signature(REQUEST),
            signings=(by_certificate(AGENT, AGENT_CERTIFICATE),),
            certificates=(AGENT_CERTIFICATE,),
        ),
        in_cmc(with_null_signature(REQUEST), signings=(Signing.nobody(b"key"),)),
        in_cmc(with_null_signature(REQUEST)[:-1] + b"\0", signings=(by_new_key(NEW),)),
    ],
    ids=["signed by another", "no signature at all", "not its hash"],
)
def test_the_null_signature_alone_proves_nothing(raw: bytes) -> None:
    assert refused(raw).status is HResult.NTE_BAD_SIGNATURE


def test_a_null_signature_by_sha1_is_weak() -> None:
    raw = in_cmc(with_null_signature(REQUEST, oids.SHA1), signings=(by_new_key(NEW),))
    assert refused(raw).status is HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY


def test_the_null_signature_is_refused_on_a_bare_request() -> None:
    user = make_user()
    with pytest.raises(IntakeError) as error:
        read_request(with_null_signature(REQUEST), requester_for(user), user, NO_ATTRIBUTES, RequestFlags.DETECT)
    assert error.value.status is HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY


def test_a_request_inside_is_signed_by_its_own_key_whoever_signed_the_message() -> None:
    forged = REQUEST[:-2] + bytes((REQUEST[-2] ^ 1, REQUEST[-1]))
    raw = in_cms(forged, by_certificate(AGENT, AGENT_CERTIFICATE), certificates=(AGENT_CERTIFICATE,))
    assert refused(raw).status is HResult.NTE_BAD_SIGNATURE


# -- for whom --------------------------------------------------------------------------------------------------------


def test_an_agent_names_the_account_in_its_signed_attributes() -> None:
    """CMS. [MS-WCCE] 3.2.2.6.2.1.2.1.1."""
    signing = by_certificate(
        AGENT, AGENT_CERTIFICATE, ("RequesterName", r"CORP\bob"), ("CertificateTemplate", "Card")
    )
    request = accepted(in_cms(REQUEST, signing, certificates=(AGENT_CERTIFICATE,)))

    assert request.on_behalf_of == r"CORP\bob"
    assert request.flags is StoredRequestFlag.ENROLL_ON_BEHALF_OF
    assert [each.name for each in request.templates] == ["Card"]
    assert "requestername" not in str(request.attributes).lower()  # it is no attribute that anybody could set


def test_an_agent_names_the_account_in_the_registration_information() -> None:
    """CMC. [MS-WCCE] 3.2.2.6.2.1.2.1.2."""
    raw = in_cmc(
        REQUEST,
        signings=(by_new_key(NEW), by_certificate(AGENT, AGENT_CERTIFICATE)),
        certificates=(AGENT_CERTIFICATE,),
        pairs=(("requestername", r"CORP\bob"),),
    )
    assert accepted(raw).on_behalf_of == r"CORP\bob"


@pytest.mark.parametrize("where", ["string", "pair of the request", "unsigned"])
def test_nothing_else_names_the_account(where: str) -> None:
    user, attributes = make_user(), NO_ATTRIBUTES
    inside = REQUEST
    if where == "string":
        attributes = template_attributes("Web", ("RequesterName", r"CORP\bob"))
    if where == "pair of the request":
        inside = make.make_request(key=NEW, attributes=[make.name_value_pairs(("requestername", r"CORP\bob"))])
    signing = by_certificate(AGENT, AGENT_CERTIFICATE)
    if where == "unsigned":
        signing = signing._replace(
            unsigned_attributes=by_certificate(AGENT, AGENT_CERTIFICATE, ("requestername", "bob")).attributes
        )
    raw = in_cms(inside, signing, certificates=(AGENT_CERTIFICATE,))

    request = read_request(raw, requester_for(user), user, attributes, RequestFlags.DETECT)

    assert request.on_behalf_of == ""
    assert StoredRequestFlag.ENROLL_ON_BEHALF_OF not in request.flags


# -- malformed -------------------------------------------------------------------------------------------------------


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_one_wrong_octet_never_changes_who_signed_what(place: int, change: int) -> None:
    made = bytearray(PLAIN)
    made[place % len(made)] ^= change
    try:
        message = read_message(bytes(made), RequestFlags.DETECT)
    except IntakeError:
        return
    assert message.parsed.der == REQUEST
    for signature in message.signatures:
        assert signature.certificate.public_key_info == CertificateView.parse(AGENT_CERTIFICATE).public_key_info


def test_the_test_certificates_are_certificates() -> None:
    assert x509.load_der_x509_certificate(AGENT_CERTIFICATE).serial_number == 0x1002
