"""Requests for security tokens and their answers, read and written. [MS-WSTEP] 3.1.4."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwright.adcs.errors import AdcsError, BadRequest, HResult, InvalidArgument
from certwright.pki.pkcs10 import CertificationRequest
from certwright.wire import soap, wstep
from certwright.wire.soap import Fault, Message
from certwright.wire.wstep import EnrollmentDetail, RequestSecurityToken, RequestType, TokenResponse
from certwright.wire.xml import Element
from tests.support import envelopes
from tests.support.messages import by_new_key, in_cmc
from tests.support.requests import ec_key, make_request

LIMIT = 1 << 20
ISSUE = RequestSecurityToken(RequestType.ISSUE, make_request())


def body_of(encoded: str) -> Element:
    return Message.parse(soap.envelope("urn:act", encoded), LIMIT).body


def asked(name: str) -> RequestSecurityToken:
    return RequestSecurityToken.parse(Message.parse(envelopes.example(name), LIMIT).body)


# -- requests --------------------------------------------------------------------------------------------------------


def test_a_pkcs10_is_read_whatever_it_is_labelled() -> None:
    """[MS-WSTEP] 4.1.1.1 itself labels one #PKCS7."""
    plain = asked("wstep-01-issue-request-pkcs10-usernametoken")
    mislabelled = asked("wstep-02-issue-request-pkcs10-as-pkcs7-valuetype-kerberos")

    assert plain.kind is RequestType.ISSUE
    assert plain.request == mislabelled.request
    CertificationRequest.parse(plain.request).verify_signature()


def test_cepces_is_read() -> None:
    """Prefixes of its own, base64 in lines, an empty wsu:Id, no request ID; an empty token when it polls."""
    CertificationRequest.parse(asked("cepces-03-issue-request").request).verify_signature()
    polled = asked("cepces-04-query-token-status")
    assert polled.kind is RequestType.QUERY
    assert polled.request_id


def test_status_and_key_exchange_are_read() -> None:
    assert asked("wstep-08-query-token-status-request") == RequestSecurityToken(RequestType.QUERY, request_id=43)
    assert asked("wstep-11-ket-request").kind is RequestType.KET


def test_only_listed_names_of_the_context_reach_the_ca() -> None:
    """Above all no SAN: ESC6 by SOAP."""
    context = (
        ("cdc", "dc01"),
        ("SAN", "upn=administrator@corp"),
        ("CertificateTemplate", "Web"),
        ("ValidityPeriod", "Years"),
    )
    token = RequestSecurityToken.parse(
        body_of(RequestSecurityToken(RequestType.ISSUE, b"0", context=context).encode())
    )

    assert token.attributes == (("cdc", "dc01"), ("CertificateTemplate", "Web"))
    assert token.dropped == ("SAN", "ValidityPeriod")


def test_a_context_value_stays_one_line() -> None:
    """It becomes a line of the attributes string."""
    context = (("rmd", "web01\nSAN:dns=evil.example"),)
    token = RequestSecurityToken.parse(
        body_of(RequestSecurityToken(RequestType.ISSUE, b"0", context=context).encode())
    )
    assert token.attributes == (("rmd", "web01 SAN:dns=evil.example"),)


@pytest.mark.parametrize(
    "token",
    [
        ISSUE,
        RequestSecurityToken(RequestType.ISSUE, in_cmc(make_request(), signings=(by_new_key(ec_key()),))),
        RequestSecurityToken(RequestType.ISSUE, b"0", context=(("ccm", "a<b>&"), ("rmd", "x"))),
        RequestSecurityToken(RequestType.QUERY, request_id=0xFFFF_FFFF),
        RequestSecurityToken(RequestType.KET),
    ],
)
def test_our_requests_follow_the_schema_and_come_back(token: RequestSecurityToken) -> None:
    encoded = token.encode()
    envelopes.validate(soap.envelope(token.action, encoded))
    assert RequestSecurityToken.parse(body_of(encoded)) == token


def test_our_requests_are_labelled_truly() -> None:
    assert f'ValueType="{wstep.PKCS10}"' in ISSUE.encode()
    cmc = in_cmc(make_request(), signings=(by_new_key(ec_key()),))
    assert f'ValueType="{wstep.PKCS7}"' in RequestSecurityToken(RequestType.ISSUE, cmc).encode()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda xml: xml.replace("/Issue<", "/Renew<"), HResult.E_INVALIDARG),
        (lambda xml: xml.replace(f"<RequestType>{RequestType.ISSUE.value}</RequestType>", ""), HResult.E_INVALIDARG),
        (lambda xml: xml.replace("#X509v3<", "#X509PKIPathv1<"), HResult.E_INVALIDARG),
        (lambda xml: _without_token(xml), HResult.E_INVALIDARG),
        (lambda xml: xml.replace("</BinarySecurityToken>", "!</BinarySecurityToken>"), HResult.ERROR_INVALID_DATA),
        (lambda xml: xml.replace("<RequestID", _token_of(xml) + "<RequestID"), HResult.ERROR_INVALID_DATA),
    ],
    ids=["renew", "no type", "other token", "no request", "no base64", "two requests"],
)
def test_a_request_that_says_too_little_or_too_much_is_refused(change: object, status: HResult) -> None:
    assert callable(change)
    made = change(ISSUE.encode())
    assert made != ISSUE.encode()
    with pytest.raises(AdcsError) as found:
        RequestSecurityToken.parse(body_of(made))
    assert found.value.status is status


def _token_of(xml: str) -> str:
    start = xml.index("<BinarySecurityToken")
    return xml[start : xml.index("</BinarySecurityToken>") + len("</BinarySecurityToken>")]


def _without_token(xml: str) -> str:
    return xml.replace(_token_of(xml), "")


@pytest.mark.parametrize("number", ["", "0", "-1", "4294967296", "12345678901", "1x", "1 2", "\u0661"])
def test_a_request_id_is_a_positive_number_of_32_bits(number: str) -> None:
    encoded = RequestSecurityToken(RequestType.QUERY, request_id=7).encode().replace(">7<", f">{number}<")
    with pytest.raises(InvalidArgument):
        RequestSecurityToken.parse(body_of(encoded))


def test_another_body_is_a_fault() -> None:
    with pytest.raises(Fault):
        RequestSecurityToken.parse(body_of(f'<RequestSecurityToken xmlns="urn:{wstep.TRUST}"/>'))


def test_a_context_is_bounded() -> None:
    many = tuple((f"n{number}", "v") for number in range(wstep.MAX_CONTEXT_ITEMS + 1))
    long = (("n", "v" * (wstep.MAX_CONTEXT_VALUE + 1)),)
    for context in (many, long):
        with pytest.raises(BadRequest):
            RequestSecurityToken.parse(
                body_of(RequestSecurityToken(RequestType.ISSUE, b"0", context=context).encode())
            )


# -- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["wstep-05-issued-response", "wstep-06-renewed-response", "wstep-07-pending-response", "wstep-12-ket-response"],
)
def test_the_examples_are_written_as_they_were_read(name: str) -> None:
    """Our answers have the order and the attributes of Microsoft's."""
    theirs = Message.parse(envelopes.example(name), LIMIT)
    response = TokenResponse.parse(theirs.body)

    encoded = response.encode()

    envelopes.validate(soap.envelope(response.action, encoded))
    assert response.action == theirs.action
    assert _plain(body_of(encoded)) == _plain(theirs.body)


def _plain(element: Element) -> tuple[object, ...]:
    return (
        element.name,
        element.text.strip(),
        sorted(element.attributes.items()),
        [_plain(c) for c in element.children],
    )


def test_answers_come_back() -> None:
    for response in (
        TokenResponse("Issued", b"\x30\x01", b"\x30\x02", request_id=42),
        TokenResponse("Taken <&> Under", b"\x30\x01", reference="https://ca/a?b&c", request_id=43),
        TokenResponse(exchange_certificate=b"\x30\x03"),
    ):
        parsed = TokenResponse.parse(body_of(response.encode()))
        assert (parsed.message, parsed.certificate, parsed.reference) == (
            response.message, response.certificate, response.reference,
        )  # fmt: skip
        assert (parsed.request_id, parsed.exchange_certificate) == (
            response.request_id,
            response.exchange_certificate,
        )


# -- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wstep-09-fault-denied", "wstep-10-fault-bad-request"])
def test_fault_details_are_those_of_the_examples(name: str) -> None:
    theirs = Message.parse(envelopes.example(name), LIMIT)
    code, reason, detail = soap.parse_fault(theirs.body)
    read = EnrollmentDetail.parse(detail)
    assert read is not None

    made = Message.parse(read.fault(reason).encode(), LIMIT)

    envelopes.validate(read.fault(reason).encode())
    assert code == "Receiver"
    assert made.action == theirs.action
    assert _plain(made.body) == _plain(theirs.body)


def test_an_error_code_is_a_signed_number() -> None:
    detail = EnrollmentDetail(HResult.CERTSRV_E_TEMPLATE_DENIED, True, request_id=44)
    assert "<ErrorCode>-2146877422</ErrorCode><InvalidRequest>true</InvalidRequest>" in detail.encode()
    fault = Message.parse(detail.fault("Denied").encode(), LIMIT)
    assert EnrollmentDetail.parse(soap.parse_fault(fault.body)[2]) == detail
    assert EnrollmentDetail.parse(None) is None


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else(data: bytes) -> None:
    text = data.decode("latin-1")
    encoded = ISSUE.encode().replace("</BinarySecurityToken>", soap.xml.text(text) + "</BinarySecurityToken>")
    with contextlib.suppress(BadRequest, Fault, InvalidArgument):
        RequestSecurityToken.parse(body_of(encoded))
