"""SOAP over HTTPS: methods, media types, who asks, limits, and which fault is whose. SOAP 1.2, WS-Addressing 1.0."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from certwright.adcs.errors import AdcsError, HResult
from certwright.auth.mechanism import Refused
from certwright.endpoints.asgi import Receive, Scope, Send
from certwright.endpoints.logon import Caller
from certwright.endpoints.soap_service import Answer, SoapService
from certwright.wire import soap
from certwright.wire.soap import Fault, Message, UserNameToken
from certwright.wire.xcep import ClientAuthentication
from tests.support.certsrv import Answer as Answered
from tests.support.certsrv import Client
from tests.support.soap_client import CERTIFICATE, FAILURES, SOAP, StubLogons, fault, read

ACTION = "urn:echo"
ELSEWHERE = "<a:{0}><a:Address>http://evil.example/</a:Address></a:{0}>"
LIMIT = 8192


class Echo:
    """A service whose one operation says who asked; bodies can ask for trouble."""

    def __init__(
        self, kind: ClientAuthentication, stub: StubLogons | None = None, *, certificates: bool = True
    ) -> None:
        self.kind = kind
        self.stub = stub or StubLogons()
        self.service = SoapService("echo", LIMIT, self.stub.logons())
        self.callers: list[Caller] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.service.serve(scope, receive, send, self.kind, self.operation)

    async def operation(self, message: Message, caller: Caller) -> Answer:
        message.demand_action(ACTION)
        self.callers.append(caller)
        match message.body.name:
            case "{urn:t}error":
                raise AdcsError("the CA is down", HResult.RPC_S_SERVER_UNAVAILABLE)
            case "{urn:t}bug":
                raise ZeroDivisionError("secret")
        return Answer("urn:echoed", f'<said xmlns="urn:t">{caller.requester.account}</said>')


def client(kind: ClientAuthentication = ClientAuthentication.USER_NAME, stub: StubLogons | None = None) -> Client:
    made = Client(Echo(kind, stub), account="")
    made.connection.peer_certificate = CERTIFICATE if kind is ClientAuthentication.CERTIFICATE else None
    return made


def post(made: Client, body: bytes, **headers: str) -> tuple[int, bytes]:
    answer = made.call("POST", "/x", [body], SOAP | headers)
    return answer.status, answer.body


def echo(made: Client, token: UserNameToken | None = None, name: str = "ask", **headers: str) -> Answered:
    envelope, _ = soap.request(ACTION, "https://x/", f'<{name} xmlns="urn:t"/>', token=token)
    return made.call("POST", "/x", [envelope], SOAP | headers)


GOOD = UserNameToken("alice", "correct horse")

# -- HTTP ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(ClientAuthentication)[1:])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS"])
def test_only_post_is_taken_and_nobody_is_asked_for_credentials_before(
    kind: ClientAuthentication, method: str
) -> None:
    made = client(kind)
    answer = made.call(method, "/x")

    assert (answer.status, answer.header("allow"), answer.header("www-authenticate")) == (405, "POST", "")
    assert made.application.stub.asked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "media_type",
    ["text/xml; charset=utf-8", "application/xml", "", "text/plain", "application/soap+xml; charset=koi8-r"],
)
def test_other_media_types_are_not_read(media_type: str) -> None:
    """Browsers may send some of them to other sites' servers unasked; SOAP 1.1 is another language."""
    assert client().call("POST", "/x", [b"<x/>"], {"content-type": media_type}).status == 415


def test_bodies_are_not_unpacked() -> None:
    assert post(client(), b"x", **{"content-encoding": "gzip"})[0] == 415


def test_nothing_is_said_without_tls() -> None:
    made = Client(Echo(ClientAuthentication.USER_NAME), account="", tls=False)

    assert made.call("POST", "/x", [b"<x/>"], SOAP).status == 403


def test_a_body_above_the_limit_ends_the_connection() -> None:
    with capture_logs() as logs:
        answer = client().call("POST", "/x", [b" " * 4096] * 3, SOAP)

    assert (answer.status, answer.header("connection")) == (413, "close")
    assert [entry["rule"] for entry in logs] == ["http 413"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no xml",
        b"<x/>",
        b"<!DOCTYPE x [<!ENTITY e 'e'>]><x>&e;</x>",
        b"<?xml-stylesheet href='x'?><x/>",
        b"<a>" * 100 + b"</a>" * 100,
    ],
)
def test_what_is_no_message_is_answered_below_soap(body: bytes) -> None:
    assert post(client(), body) == (400, b"")


def test_a_client_that_leaves_gets_no_answer() -> None:
    assert client().call("POST", "/x", [b"<s"], SOAP, complete=False).status == 0


# -- who asks --------------------------------------------------------------------------------------------------------


def test_a_user_name_in_the_message_logs_on_and_the_answer_carries_a_timestamp() -> None:
    """As WCF answers messages that came with one."""
    message = read(echo(client(), GOOD))

    assert message.body.text == r"CORP\alice"
    assert message.security is not None


def test_a_wrong_password_is_a_fault_that_says_nothing_more() -> None:
    said = fault(echo(client(), UserNameToken("alice", "wrong")))

    assert said.code == "Sender"
    assert said.reason == "The security token could not be authenticated or authorized."


def test_a_logon_that_is_not_checked_any_more_says_when_to_come_again() -> None:
    answer = echo(client(stub=StubLogons(failure=Refused("too many", retry_after=4.2))), GOOD)

    assert answer.status == 500
    assert answer.header("retry-after") == "4"


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("kind", [ClientAuthentication.USER_NAME, ClientAuthentication.CERTIFICATE])
def test_a_logon_that_cannot_be_checked_is_nobodys_fault(kind: ClientAuthentication, failure: Exception) -> None:
    answer = echo(client(kind, StubLogons(failure=failure)), GOOD)

    assert answer.status == 503


def test_a_message_without_a_user_name_is_refused() -> None:
    made = client()

    assert b"InvalidSecurity" in echo(made).body
    assert made.application.stub.asked == []  # type: ignore[attr-defined]


def test_negotiate_is_asked_for_before_the_message_is_read() -> None:
    made = client(ClientAuthentication.KERBEROS)
    answer = made.call("POST", "/x", [b"x"] * 3, SOAP)

    assert (answer.status, answer.header("www-authenticate")) == (401, "Negotiate")
    assert made.left_body == [3]


def test_the_last_word_of_a_handshake_goes_with_the_answer() -> None:
    answer = echo(client(ClientAuthentication.KERBEROS), authorization="Negotiate alice")

    assert answer.status == 200
    assert answer.header("www-authenticate") == "Negotiate done"


def test_a_security_header_counts_nothing_where_http_or_tls_say_who_asks() -> None:
    kerberos, certificate = client(ClientAuthentication.KERBEROS), client(ClientAuthentication.CERTIFICATE)

    assert echo(kerberos, GOOD).status == 401
    assert read(echo(certificate, GOOD)).body.text == r"CORP\bob"
    assert kerberos.application.stub.asked == ["negotiate"]  # type: ignore[attr-defined]


def test_where_nothing_can_be_offered_no_challenge_is_sent() -> None:
    """A 401 without a scheme would leave the client with nothing to try."""
    answer = echo(client(ClientAuthentication.KERBEROS), authorization="nothing offered")

    assert answer.status == 403


def test_without_a_certificate_the_way_to_the_right_port_is_told() -> None:
    made = client(ClientAuthentication.CERTIFICATE)
    made.connection.peer_certificate = None
    answer = made.call("POST", "/x", [b"x"], SOAP)

    assert answer.status == 403
    assert "certificate-port" in answer.text


def test_a_certificate_that_proves_nobody_is_refused() -> None:
    made = client(ClientAuthentication.CERTIFICATE, StubLogons(failure=Refused("is revoked")))

    assert made.call("POST", "/x", [b"x"], SOAP).status == 403


# -- faults ----------------------------------------------------------------------------------------------------------


def envelope(header: str = "", body: str = '<ask xmlns="urn:t"/>', action: str = ACTION) -> bytes:
    made = soap.envelope(action, body, headers=f"<a:MessageID>urn:uuid:7</a:MessageID>{header}")
    token = "<o:UsernameToken><o:Username>alice</o:Username><o:Password>correct horse</o:Password></o:UsernameToken>"
    security = soap.timestamp(datetime.now(UTC)).replace("</o:Security>", f"{token}</o:Security>")
    return made.replace(b"</s:Header>", security.encode() + b"</s:Header>")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (envelope(action="urn:other"), b"a:ActionNotSupported"),
        (envelope('<x:y xmlns:x="urn:x" s:mustUnderstand="1"/>'), b"s:MustUnderstand"),
        (envelope("<a:MessageID>urn:uuid:8</a:MessageID>"), b"a:InvalidAddressingHeader"),
        (envelope(ELSEWHERE.format("ReplyTo")), b"a:OnlyAnonymousAddressSupported"),
        (envelope(ELSEWHERE.format("FaultTo")), b"a:OnlyAnonymousAddressSupported"),
        (envelope(body='<ask xmlns="urn:t"/><ask xmlns="urn:t"/>'), b"d:DeserializationFailed"),
        (envelope(body=""), b"d:DeserializationFailed"),
    ],
)
def test_broken_rules_of_soap_and_addressing_are_faults_that_relate_to_the_message(
    message: bytes, said: bytes
) -> None:
    with capture_logs() as logs:
        status, body = post(client(), message)

    assert status == 500
    assert said in body
    assert b"<a:RelatesTo>urn:uuid:7</a:RelatesTo>" in body
    assert logs[-1]["event"] == "message_refused"
    assert logs[-1]["rule"]


def test_an_action_in_the_media_type_must_be_the_messages() -> None:
    right = {"content-type": f'application/soap+xml; charset=utf-8; action="{ACTION}"'}
    wrong = {"content-type": 'application/soap+xml; action="urn:other"'}

    assert client().call("POST", "/x", [envelope()], right).status == 200
    assert b"a:ActionMismatch" in client().call("POST", "/x", [envelope()], wrong).body


def test_an_error_of_the_operation_has_its_words_and_its_code() -> None:
    said = fault(echo(client(), GOOD, name="error"))

    assert said.reason == "the CA is down (0x800706ba)"


def test_a_fault_of_ours_is_an_incident_number_and_nothing_else() -> None:
    with capture_logs() as logs:
        answer = echo(client(), GOOD, name="bug")
    said = fault(answer)
    (entry,) = [entry for entry in logs if entry["event"] == "web_service_failed"]

    assert str(entry["incident"]) in said.reason
    assert b"secret" not in answer.body


def test_a_fault_may_be_raised_by_the_operation_itself() -> None:
    class Refusing(Echo):
        async def operation(self, message: Message, caller: Caller) -> Answer:
            raise Fault.deserialization("not this")

    answer = Client(Refusing(ClientAuthentication.USER_NAME), account="").call("POST", "/x", [envelope()], SOAP)

    assert fault(answer).reason == "not this"
