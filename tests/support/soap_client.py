"""CEP and CES in one process: who logs on how is a stub's word, and messages are sent without a socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from certwright.adcs.errors import AdcsError
from certwright.adcs.requester import AuthMethod, Credential, Requester
from certwright.auth.client_certificate import NOBODY, CertificateCaller
from certwright.auth.connection import Connection
from certwright.auth.http import Authenticated, Challenge
from certwright.auth.mechanism import Overloaded, Refused
from certwright.endpoints.logon import Logons
from certwright.pki.certificate import CertificateView
from certwright.wire import soap, xcep
from certwright.wire.soap import Message, UserNameToken
from certwright.wire.wstep import EnrollmentDetail
from tests.support import envelopes
from tests.support.certificates import make_certificate
from tests.support.certsrv import ALICE, BOB, Answer, Client

PASSWORD: Final = "correct horse"
TOKEN: Final = UserNameToken("alice", PASSWORD)
SOAP: Final = {"content-type": soap.CONTENT_TYPE}
CERTIFICATE: Final = make_certificate("CN=machine.corp.example", serial=0x4711)


@dataclass
class StubLogons:
    """Negotiate knows the account in the header; the password is alice's; the certificate is a holder's or bob's."""

    asked: list[str] = field(default_factory=list)
    failure: Exception | None = None
    is_holder: bool = False

    def logons(self, *, certificates: bool = True) -> Logons:
        return Logons(_Negotiate(self), _UserNames(self), _Certificates(self) if certificates else None)


@dataclass
class _Negotiate:
    stub: StubLogons

    async def authenticate(self, authorization: bytes | None, connection: Connection) -> Authenticated | Challenge:
        self.stub.asked.append("negotiate")
        if authorization == b"Negotiate alice":
            return Authenticated(ALICE, ((b"www-authenticate", b"Negotiate done"),))
        if authorization == b"nothing offered":
            return Challenge(401, (), "no")
        return Challenge(401, ((b"www-authenticate", b"Negotiate"),), "You are not logged on.")


@dataclass
class _UserNames:
    stub: StubLogons

    async def authenticate(self, user: str, password: str, connection: Connection) -> Requester:
        self.stub.asked.append("user name")
        if self.stub.failure is not None:
            raise self.stub.failure
        if (user, password) != (TOKEN.user, TOKEN.password):
            raise Refused("wrong password", user)
        return ALICE


@dataclass
class _Certificates:
    stub: StubLogons

    async def authenticate(self, connection: Connection) -> CertificateCaller:
        self.stub.asked.append("certificate")
        if self.stub.failure is not None:
            raise self.stub.failure
        view = CertificateView.parse(connection.peer_certificate or b"")
        if not self.stub.is_holder:
            return CertificateCaller(BOB, view, is_holder=False)
        credential = Credential("certificate", view.der)
        nobody = Requester("holder", NOBODY, frozenset(), AuthMethod.CLIENT_CERTIFICATE, credential, "192.0.2.1")
        return CertificateCaller(nobody, view, is_holder=True)


FAILURES: Final[tuple[Exception, ...]] = (Overloaded(), AdcsError("the directory is down"))


@dataclass(frozen=True)
class Said:
    """A fault, taken apart."""

    code: str
    reason: str
    detail: EnrollmentDetail | None
    action: str


def send(
    client: Client,
    path: str,
    action: str,
    body: str,
    *,
    token: UserNameToken | None = TOKEN,
    headers: Mapping[str, str] = SOAP,
) -> Answer:
    """One message. What comes back as an envelope is held against the schemas and relates to the message."""
    envelope, message_id = soap.request(action, "https://ca.corp.example" + path, body, token=token)
    answer = client.call("POST", path, [envelope], headers)
    if answer.status in (200, 500):
        envelopes.validate(answer.body)
        assert read(answer).relates_to == message_id
    return answer


def read(answer: Answer) -> Message:
    assert answer.header("content-type") == soap.CONTENT_TYPE
    return Message.parse(answer.body, xcep.MAX_RESPONSE, xcep.MAX_RESPONSE_ELEMENTS)


def fault(answer: Answer) -> Said:
    assert answer.status == 500, answer
    message = read(answer)
    assert soap.is_fault(message.body)
    code, reason, detail = soap.parse_fault(message.body)
    return Said(code, reason, EnrollmentDetail.parse(detail), message.action)
