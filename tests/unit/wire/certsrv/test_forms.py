"""What clients send: sloppy base64, sloppy escapes, and what is left of it after parsing."""

from __future__ import annotations

import base64
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwright.adcs.errors import AdcsError, BadRequest, InvalidArgument
from certwright.adcs.properties import LATEST
from certwright.adcs.request import RequestAttributes, template_attributes
from certwright.pki.armor import CERTIFICATE_REQUEST, armor
from certwright.wire.certsrv import CrlQuery, Encoding, RetrieveQuery, SubmitForm, decode_request
from certwright.wire.certsrv.forms import MAX_BODY
from tests.support.requests import make_request, web_server_request

REQUEST = web_server_request()
BASE64 = base64.b64encode(REQUEST).decode()
PEM = armor(CERTIFICATE_REQUEST, REQUEST)


def body(request: str, attributes: str = "CertificateTemplate:WebServer\r\n", *, escape: bool = True) -> bytes:
    written = quote_plus(request) if escape else request
    return f"Mode=newreq&CertRequest={written}&CertAttrib={quote(attributes)}&SaveCert=yes&ThumbPrint=".encode()


@pytest.mark.parametrize(
    "form",
    [
        body(PEM),
        body(PEM.replace("\n", "\r\n")),
        body(PEM.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")),
        body(PEM.replace("\n", "")),  # not even a line end after the header
        body(BASE64),
        body(BASE64 + "\r\n\x00"),
        body(BASE64, escape=False),  # a plus sign that nobody escaped is a blank when it arrives
        body(PEM.replace("\n", ""), escape=False),
        body(PEM.replace("\n", "%0D%0A"), escape=False),
        body(PEM.replace("\n", " ")),
    ],
)
def test_every_way_in_which_clients_send_a_request_is_read(form: bytes) -> None:
    assert SubmitForm.parse(form).request_der() == REQUEST


@pytest.mark.parametrize("number", range(8))
def test_lost_plus_signs_are_found_again_in_any_request(number: int) -> None:
    """Different keys and signatures put plus signs at different places, line ends included."""
    request = make_request(
        subject=b"\x30\x00", signature=bytes([0x30, 0x02, 0x05, 0x00]) + bytes([0xFB, number] * 90)
    )
    text = base64.b64encode(request).decode()
    assert "+" in text

    for lines in (text, "\r\n".join(text[i : i + 64] for i in range(0, len(text), 64))):
        assert decode_request(lines.replace("+", " ")) == request


@pytest.mark.parametrize("text", ["", "garbage", "-----BEGIN CERTIFICATE REQUEST-----", "AAAA", "MIIB", "🦆" * 10])
def test_what_holds_no_asn1_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        decode_request(text)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_form_or_an_adcs_error(data: bytes) -> None:
    try:
        form = SubmitForm.parse(data)
        form.request_attributes()
        form.request_der()
    except AdcsError:
        pass


def test_field_names_have_no_case_and_the_first_counts() -> None:
    form = SubmitForm.parse(b"MODE=chkpnd&reqid=12&ReqID=13&mode=newreq")

    assert form.is_status_check
    assert form.polled_id() == 12


def test_the_template_field_counts_only_without_one_in_the_attributes() -> None:
    with_one = SubmitForm.parse(body(BASE64, "CertificateTemplate:User") + b"&CertificateTemplate=WebServer")
    without = SubmitForm.parse(body(BASE64, "") + b"&CertificateTemplate=WebServer")

    assert with_one.request_attributes().get("certificatetemplate") == "User"
    assert without.request_attributes().get("certificatetemplate") == "WebServer"


def test_a_form_reads_back_as_encoded() -> None:
    form = SubmitForm.for_request(REQUEST, template_attributes("Web & Server", ("Note", "a+b=c")))

    again = SubmitForm.parse(form.encode())

    assert again.request_der() == REQUEST
    assert again.request_attributes().items == (("CertificateTemplate", "Web & Server"), ("Note", "a+b=c"))


def test_no_value_can_add_an_attribute() -> None:
    """A line break in a value would be a line of its own at the CA."""
    form = SubmitForm.for_request(REQUEST, template_attributes("User\r\nSAN:dns=evil.example"))

    assert form.request_attributes().get("SAN") is None
    with pytest.raises(InvalidArgument):
        SubmitForm.for_request(REQUEST, RequestAttributes((("A:B\n", "c"),)))


def test_forms_are_bounded() -> None:
    with pytest.raises(BadRequest):
        SubmitForm.parse(b"x" * (MAX_BODY + 1))
    with pytest.raises(BadRequest):
        SubmitForm.parse(b"&".join([b"a=b"] * 100))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"ReqID=12&Enc=b64", RetrieveQuery(12, LATEST, Encoding.BASE64)),
        (b"reqid=12&ENC=BIN", RetrieveQuery(12, LATEST, Encoding.BINARY)),
        (b"ReqID=12&", RetrieveQuery(12)),
        (b"ReqID=CACert&Renewal=3&Enc=bin", RetrieveQuery(None, 3, Encoding.BINARY)),
        (b"ReqID=cacert", RetrieveQuery(None)),
    ],
)
def test_retrieval_queries(query: bytes, expected: RetrieveQuery) -> None:
    assert RetrieveQuery.parse(query) == expected
    assert RetrieveQuery.parse(expected.encode().encode()) == expected


def test_crl_queries() -> None:
    assert CrlQuery.parse(b"Type=delta&Renewal=0&Enc=b64") == CrlQuery(True, 0, Encoding.BASE64)
    assert CrlQuery.parse(b"") == CrlQuery()
    assert CrlQuery.parse(CrlQuery(True, 2).encode().encode()) == CrlQuery(True, 2)


@pytest.mark.parametrize("query", [b"", b"ReqID=0", b"ReqID=4294967296", b"ReqID=1e3", b"ReqID=12&Renewal=x"])
def test_queries_that_name_nothing_are_refused(query: bytes) -> None:
    with pytest.raises(InvalidArgument):
        RetrieveQuery.parse(query)
