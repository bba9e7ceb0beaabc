"""CES as HTTP and SOAP: addresses, issue, pending, denied, status, and faults of [MS-WSTEP] 3.1.4.1.3.7."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from certwright.adcs.errors import AccessDenied, AdcsError, CaUnreachable, HResult
from certwright.adcs.request import Disposition, RequestFlags, Response
from certwright.ces.application import EnrollmentWebService, ServedCa, address, is_address
from certwright.connectors.registry import Registry
from certwright.wire import soap, wstep
from certwright.wire.wstep import RequestSecurityToken, RequestType, TokenResponse
from certwright.wire.xcep import ClientAuthentication
from tests.support.certsrv import ALICE, BOB, CA_NAME, CONFIG, Answer, Client, FakeCa
from tests.support.messages import by_new_key, in_cmc
from tests.support.requests import ec_key, make_request, web_server_request
from tests.support.soap_client import CERTIFICATE, Said, StubLogons, fault, read, send

PATH = "/Corp%20Issuing%20CA%201_CES_{}/service.svc/CES"
USER_NAME = "/Corp Issuing CA 1_CES_UsernamePassword/service.svc/CES"
BY_CERTIFICATE = "/Corp Issuing CA 1_CES_Certificate/service.svc/CES"
URI = "https://ca.corp.example"
REQUEST = web_server_request()
WEB_SERVER = ("CertificateTemplate", "WebServer")


def make(
    ca: FakeCa | None = None,
    stub: StubLogons | None = None,
    renewal_only: frozenset[ClientAuthentication] = frozenset(),
    name: str = CA_NAME,
) -> tuple[Client, FakeCa]:
    ca = ca or FakeCa()
    served = ServedCa(name, CONFIG, lambda kind: URI + address(name, kind), lambda: renewal_only)
    service = EnrollmentWebService(Registry(ca), (stub or StubLogons()).logons(), [served])
    client = Client(service, account="")
    client.connection.peer_certificate = CERTIFICATE
    return client, ca


def ask(client: Client, token: RequestSecurityToken, path: str = USER_NAME, action: str = "") -> Answer:
    return send(client, path, action or token.action, token.encode())


def enroll(
    client: Client, *context: tuple[str, str], request: bytes = REQUEST, path: str = USER_NAME
) -> TokenResponse | Said:
    return outcome(ask(client, RequestSecurityToken(RequestType.ISSUE, request, context=context), path))


def query(client: Client, request_id: int, path: str = USER_NAME) -> TokenResponse | Said:
    return outcome(ask(client, RequestSecurityToken(RequestType.QUERY, request_id=request_id), path))


def outcome(answer: Answer) -> TokenResponse | Said:
    if answer.status != 200:
        return fault(answer)
    message = read(answer)
    assert message.action == wstep.RSTRC
    return TokenResponse.parse(message.body)


def refused(found: TokenResponse | Said) -> Said:
    assert isinstance(found, Said), found
    assert found.action == wstep.DETAIL_FAULT
    assert found.code == "Receiver"
    assert found.detail is not None
    return found


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (CA_NAME, "/Corp%20Issuing%20CA%201_CES_Kerberos/service.svc/CES"),
        ("R&D \u00dcnit", "/R!0026D%20!00dcnit_CES_Kerberos/service.svc/CES"),
        ("a/b", "/a!002fb_CES_Kerberos/service.svc/CES"),
    ],
)
def test_the_address_has_the_sanitized_name(name: str, path: str) -> None:
    """[MS-WCCE] 3.1.1.4.1.1; a blank is percent-encoded."""
    assert address(name, ClientAuthentication.KERBEROS) == path


@pytest.mark.parametrize(
    "path",
    [
        USER_NAME,
        USER_NAME.lower(),
        USER_NAME.upper() + "/",
        "/R!0026D_CES_UsernamePassword/service.svc/CES",
        "/R&D_CES_UsernamePassword/service.svc/CES",
    ],
)
def test_plain_and_sanitized_names_are_taken_in_any_case(path: str) -> None:
    client, _ = make(name="R&D" if path[1] == "R" and "D" in path[:8] else CA_NAME)

    assert is_address(path)
    assert isinstance(enroll(client, WEB_SERVER, path=path), TokenResponse)


@pytest.mark.parametrize(
    "path",
    [
        "/Other CA_CES_UsernamePassword/service.svc/CES",
        "/Corp Issuing CA 1_CES_UsernamePassword/service.svc/CEP",
        "/Corp Issuing CA 1_CES_Anonymous/service.svc/CES",
        "/x/Corp Issuing CA 1_CES_UsernamePassword/service.svc/CES",
        "/Corp Issuing CA 1_CES_UsernamePassword/service.svc/CES//",
    ],
)
def test_other_addresses_are_nobodys(path: str) -> None:
    assert make()[0].call("POST", path).status == 404


# -- outcomes --------------------------------------------------------------------------------------------------------


def test_issued() -> None:
    client, ca = make()
    answer = enroll(client, WEB_SERVER)

    assert isinstance(answer, TokenResponse)
    assert answer.certificate
    assert (answer.message, answer.request_id) == ("Issued", 1234)
    requester, raw, attributes = ca.submitted[0]
    assert (requester, raw, attributes.items) == (ALICE, REQUEST, (WEB_SERVER,))
    assert ca.flags == [RequestFlags.FULL_RESPONSE]


def test_bytes_reach_the_ca_as_they_are() -> None:
    """What they are is found out there, whatever their label."""
    client, ca = make()
    cmc = in_cmc(make_request(), signings=(by_new_key(ec_key()),))
    enroll(client, request=cmc)

    assert ca.submitted[0][1] == cmc


def test_pending_names_the_address_to_ask_again_at() -> None:
    """Absolute, and of the same kind of logon: clients keep it. [MS-WSTEP] 3.1.4.1.3.2."""
    client, _ = make()
    waiting = enroll(client, ("CertificateTemplate", "Approval"))
    assert isinstance(waiting, TokenResponse)
    assert waiting.reference == URI + PATH.format("UsernamePassword")
    assert waiting.message.startswith("Taken Under Submission")
    assert waiting.request_id is not None
    polled = query(client, waiting.request_id)

    assert polled == waiting


def test_denied() -> None:
    said = refused(enroll(make()[0], ("CertificateTemplate", "Nope")))

    assert said.reason.startswith("Denied by Policy Module  0x80094800, The request was for")
    assert said.detail is not None
    assert (said.detail.status, said.detail.invalid_request, said.detail.request_id) == (
        HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
        True,
        1234,
    )


def test_a_code_that_the_words_lack_is_added() -> None:
    said = refused(enroll(make()[0], ("CertificateTemplate", "Refused")))

    assert said.reason == "Denied by Policy Module (0x80094014)"


def test_unreadable_is_no_denial_and_has_a_row() -> None:
    said = refused(enroll(make()[0], request=b"\x30\x00"))

    assert said.detail is not None
    assert (said.detail.status, said.detail.invalid_request) == (HResult.CRYPT_E_ASN1_BADTAG, False)
    assert said.detail.request_id == 1234


@pytest.mark.parametrize(
    ("error", "denied"),
    [
        (CaUnreachable("the CA is down"), False),
        (AccessDenied("no right to enroll", HResult.CERTSRV_E_ENROLL_DENIED), True),
        (AdcsError("queue full", HResult.ERROR_BUSY), False),
    ],
)
def test_what_failed_before_a_row_has_no_request_id(error: AdcsError, denied: bool) -> None:
    said = refused(enroll(make(FakeCa(failure=error))[0], ("CertificateTemplate", "Down")))

    assert said.reason == f"{error.message} ({error.status.hex})"
    assert said.detail is not None
    assert (said.detail.status, said.detail.invalid_request) == (error.status, denied)
    assert said.detail.request_id is None


def test_revoked_meanwhile() -> None:
    client, ca = make()
    ca.answer(7, ALICE, Response(7, Disposition.REVOKED, HResult.S_OK, "Revoked", b"\x30\x00"))

    said = refused(query(client, 7))
    assert said.detail is not None
    assert said.detail.status is HResult.CRYPT_E_REVOKED


def test_an_unknown_request_looks_like_somebody_elses() -> None:
    client, ca = make()
    ca.answer(7, BOB, Response(7, Disposition.ISSUED, HResult.S_OK, "Issued", b"\x30\x00"))

    others, unknown = refused(query(client, 7)), refused(query(client, 8))

    assert others == unknown
    assert others.detail is not None
    assert (others.detail.status, others.detail.invalid_request) == (HResult.CERTSRV_E_PROPERTY_EMPTY, False)


def test_no_key_exchange_certificate() -> None:
    said = refused(outcome(ask(make()[0], RequestSecurityToken(RequestType.KET))))

    assert said.detail is not None
    assert said.detail.status is HResult.ERROR_NOT_SUPPORTED


# -- what is asked ---------------------------------------------------------------------------------------------------


def test_unlisted_names_of_the_context_are_dropped_and_logged() -> None:
    client, ca = make()
    with capture_logs() as logs:
        enroll(client, WEB_SERVER, ("SAN", "dns=evil"), ("cdc", "dc01"), ("ValidityPeriod", "Years"))

    assert ca.submitted[0][2].items == (WEB_SERVER, ("cdc", "dc01"))
    (entry,) = [entry for entry in logs if entry["event"] == "context_dropped"]
    assert (entry["rule"], entry["names"]) == ("AdditionalContext", ["SAN", "ValidityPeriod"])


def test_a_context_too_long_for_the_ca_is_refused() -> None:
    said = refused(enroll(make()[0], ("cdc", "x" * 1000), ("rmd", "y" * 1000)))

    assert said.detail is not None
    assert said.detail.status is HResult.E_INVALIDARG


TOKEN = f'<BinarySecurityToken xmlns="{soap.SECURITY}">{base64.b64encode(REQUEST).decode()}</BinarySecurityToken>'


def rst(*parts: str, kind: str = RequestType.ISSUE.value) -> str:
    named = f"<RequestType>{kind}</RequestType>" if kind else ""
    return f'<RequestSecurityToken xmlns="{wstep.TRUST}">{named}{"".join(parts)}</RequestSecurityToken>'


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (rst(), HResult.E_INVALIDARG),
        (rst(TOKEN, kind=""), HResult.E_INVALIDARG),
        (rst(TOKEN, kind="urn:Renew"), HResult.E_INVALIDARG),
        (rst("<TokenType>urn:saml</TokenType>", TOKEN), HResult.E_INVALIDARG),
        (rst(TOKEN, TOKEN), HResult.ERROR_INVALID_DATA),
        (rst(f'<BinarySecurityToken xmlns="{soap.SECURITY}">*</BinarySecurityToken>'), HResult.ERROR_INVALID_DATA),
        (rst(kind=RequestType.QUERY.value), HResult.E_INVALIDARG),
        (rst(kind=RequestType.KET.value), HResult.E_INVALIDARG),
    ],
)
def test_tokens_that_mean_nothing(body: str, status: HResult) -> None:
    client, ca = make()
    said = refused(outcome(send(client, USER_NAME, wstep.RST, body)))

    assert said.detail is not None
    assert (said.detail.status, said.detail.invalid_request) == (status, False)
    assert ca.submitted == []


def test_the_action_belongs_to_the_request_type() -> None:
    client, _ = make()
    asked = RequestSecurityToken(RequestType.ISSUE, REQUEST)

    said = refused(outcome(ask(client, asked, action=wstep.RST_KET)))
    assert said.detail is not None
    assert said.detail.status is HResult.E_INVALIDARG


def test_another_body_is_no_request() -> None:
    said = fault(send(make()[0], USER_NAME, wstep.RST, '<x xmlns="urn:x"/>'))

    assert (said.code, said.detail) == ("Sender", None)


# -- renewals --------------------------------------------------------------------------------------------------------


def test_an_address_for_renewals_refuses_everything_else() -> None:
    client, ca = make(renewal_only=frozenset({ClientAuthentication.USER_NAME}))
    with capture_logs() as logs:
        said = refused(enroll(client, WEB_SERVER))

    assert said.detail is not None
    assert (said.detail.status, said.detail.invalid_request) == (HResult.CERTSRV_E_ENROLL_DENIED, True)
    assert ca.submitted == []
    assert [entry["rule"] for entry in logs if entry["event"] == "enrollment_refused"] == ["renewal-only"]
    assert isinstance(enroll(client, WEB_SERVER, path=BY_CERTIFICATE), TokenResponse)


def test_whoever_holds_a_key_alone_asks_by_the_key() -> None:
    """dwFlags 0x00200000: the CA finds out who that is. [MS-WCCE] 3.2.2.6.2.1.2.4."""
    client, ca = make(stub=StubLogons(is_holder=True))
    enroll(client, WEB_SERVER, path=BY_CERTIFICATE)

    assert ca.flags == [RequestFlags.FULL_RESPONSE | RequestFlags.RENEWAL_ON_BEHALF_OF]
    assert ca.submitted[0][0].credential is not None
    assert ca.submitted[0][0].credential.secret == CERTIFICATE


def test_an_account_with_a_certificate_asks_as_itself() -> None:
    client, ca = make()
    enroll(client, WEB_SERVER, path=BY_CERTIFICATE)

    assert ca.flags == [RequestFlags.FULL_RESPONSE]
    assert ca.submitted[0][0] == BOB


def test_a_holder_asks_for_no_requests() -> None:
    """Not even for those of its own name: every holder is the same nobody."""
    client, ca = make(stub=StubLogons(is_holder=True))
    holder = replace(ALICE, account="holder")
    ca.answer(7, holder, Response(7, Disposition.ISSUED, HResult.S_OK, "Issued", b"\x30\x00"))

    said = refused(query(client, 7, BY_CERTIFICATE))
    assert said.detail is not None
    assert said.detail.status is HResult.CERTSRV_E_PROPERTY_EMPTY
