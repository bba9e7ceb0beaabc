"""CEP and CES as a client sees them: one TLS connection that logs on in one of three ways."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certwright.adcs.request import template_attributes
from certwright.adcs.requester import AuthMethod, Requester
from certwright.adcs.template import EnrollmentFlag
from certwright.pki import armor, oids
from certwright.server.composition import Installation
from certwright.server.home import Home
from certwright.wire import soap, xcep
from certwright.wire.soap import Message, UserNameToken
from certwright.wire.wstep import EnrollmentDetail, RequestSecurityToken, RequestType, TokenResponse
from certwright.wire.xcep import GetPolicies, PolicyResponse
from tests.support import envelopes
from tests.support.installation import ISSUING, OPERATOR, PASSWORD, People
from tests.support.requests import PrivateKey, make_request
from tests.support.server import NETBIOS, RunningServer, free_ports

USER_NAME: Final = "UsernamePassword"
CERTIFICATE: Final = "Certificate"
NEGOTIATE: Final = "Kerberos"

CEP: Final = "/ADPolicyProvider_CEP_{}/service.svc/CEP"
KEY_BASED_CEP: Final = "/KeyBasedRenewal_ADPolicyProvider_CEP_{}/service.svc/CEP"
CES: Final = "/" + ISSUING.replace(" ", "%20") + "_CES_{}/service.svc/CES"
HEADERS: Final = {"Content-Type": soap.CONTENT_TYPE}
WORKGROUP: Final = "WorkgroupMachine"
"""A template for machines without an account, which renew by their old key."""


def with_certificate_port(home: Home) -> Home:
    """The same home, with a listener that asks clients for a certificate."""
    settings = replace(home.settings, certificate_port=free_ports(1)[0])
    home.configuration.write_text(settings.to_toml())
    return Home.open(home.folder)


def offer_renewal_by_key(installation: Installation) -> None:
    directory = installation.directory_administration
    flags = (
        EnrollmentFlag.PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT
        | EnrollmentFlag.ALLOW_PREVIOUS_APPROVAL_KEYBASEDRENEWAL_VALIDATE_REENROLLMENT
    )
    template = replace(
        directory.template("WebServer"),
        cn=WORKGROUP,
        display_name="Workgroup machine",
        oid="",
        schema_version=2,
        enrollment_flag=flags,
        extended_key_usage=(oids.EKU_CLIENT_AUTH, oids.EKU_SERVER_AUTH),
        application_policies=(oids.EKU_CLIENT_AUTH, oids.EKU_SERVER_AUTH),
    )
    wanda = installation.directory.principal(People.ENROLLEE)
    assert wanda is not None
    risks = ["ESC1", "ESC2", "ESC9", "ESC15", "ESC17"]
    directory.put_template(template, accept_risks=risks, actor=OPERATOR)
    directory.publish(ISSUING, WORKGROUP, actor=OPERATOR)
    directory.grant(WORKGROUP, wanda.sid, enroll=True, accept_risks=risks, actor=OPERATOR)


@dataclass(frozen=True)
class Refusal:
    """A fault, or what HTTP alone said: `detail` is None then."""

    status: int
    code: str = ""
    reason: str = ""
    detail: EnrollmentDetail | None = None
    envelope: bytes = b""


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, as TLS clients hold them."""

    certificate: bytes
    key: PrivateKey

    def load(self, context: ssl.SSLContext, folder: Path) -> None:
        path = folder / f"{self.certificate[-8:].hex()}.pem"
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        path.write_text(pem + armor.armor("CERTIFICATE", self.certificate))
        context.load_cert_chain(path)


def identity_of(installation: Installation, account: str, key: PrivateKey) -> Identity:
    """A certificate with the account's SID, for client authentication, enrolled within this process."""
    principal = installation.directory.principal(account)
    assert principal is not None
    requester = Requester(principal.account, principal.sid, principal.groups, AuthMethod.LOCAL)
    template = "Machine" if account.endswith("$") else "User"
    door = installation.registry.connect("", requester)
    issued = door.submit(make_request(key), template_attributes(template))
    assert issued.certificate is not None, issued.message
    return Identity(issued.certificate, key)


class Client:
    """One connection. Answers are validated against the schemas before anybody looks at them."""

    def __init__(
        self,
        server: RunningServer,
        how: str,
        account: str = "",
        password: str = PASSWORD,
        *,
        identity: Identity | None = None,
        folder: Path | None = None,
    ) -> None:
        self.how = how
        self._logged_on = False
        self._account, self._password = account, password
        settings = Home.open(server.home).settings
        context = server.tls_context()
        if identity is not None:
            assert folder is not None
            identity.load(context, folder)
        port = settings.certificate_port if how == CERTIFICATE else server.https_port
        self.connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=context)

    def close(self) -> None:
        self.connection.close()

    def post(self, path: str, body: bytes, headers: Mapping[str, str] = HEADERS) -> tuple[int, bytes]:
        self.connection.request("POST", path, body, dict(headers))
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def ask(self, path: str, action: str, body: str, token: UserNameToken | None = None) -> Message | Refusal:
        """Send one message, logging on first where that takes legs of its own."""
        if self.how == USER_NAME and token is None:
            token = UserNameToken(rf"{NETBIOS}\{self._account}", self._password)
        envelope, message_id = soap.request(action, "https://localhost" + path, body, token=token)
        if self.how == NEGOTIATE:
            status, answer = self._negotiate(path, envelope)
        else:
            status, answer = self.post(path, envelope)
        if status not in (200, 500):
            return Refusal(status, reason=answer.decode())
        envelopes.validate(answer)
        message = Message.parse(answer, xcep.MAX_RESPONSE, xcep.MAX_RESPONSE_ELEMENTS)
        assert message.relates_to == message_id
        if soap.is_fault(message.body):
            assert status == 500
            code, reason, detail = soap.parse_fault(message.body)
            return Refusal(status, code, reason, EnrollmentDetail.parse(detail), answer)
        assert status == 200
        return message

    def _negotiate(self, path: str, envelope: bytes) -> tuple[int, bytes]:
        """NTLM inside Negotiate with channel binding, once for the connection."""
        import spnego
        from spnego.channel_bindings import GssChannelBindings

        if self.connection.sock is None:
            self.connection.connect()
            self._logged_on = False
        if self._logged_on:
            return self.post(path, envelope)
        assert isinstance(self.connection.sock, ssl.SSLSocket)
        certificate = x509.load_der_x509_certificate(self.connection.sock.getpeercert(True) or b"")
        client: Any = spnego.client(
            rf"{NETBIOS}\{self._account}",
            self._password,
            hostname="localhost",
            service="HTTP",
            protocol="negotiate",
            options=spnego.NegotiateOptions.use_negotiate,
            channel_bindings=GssChannelBindings(
                application_data=b"tls-server-end-point:" + certificate.fingerprint(hashes.SHA256())
            ),
        )
        token = client.step()
        while True:
            headers = HEADERS | ({"Authorization": f"Negotiate {base64.b64encode(token).decode()}"} if token else {})
            self.connection.request("POST", path, envelope, headers)
            answer = self.connection.getresponse()
            body = answer.read()
            offered = (answer.getheader("WWW-Authenticate") or "").partition("Negotiate ")[2]
            token = client.step(base64.b64decode(offered)) if offered else None
            if answer.status != 401 or not token:
                self._logged_on = answer.status != 401
                return answer.status, body

    # -- the services

    def policies(self, request: GetPolicies | None = None, path: str = CEP) -> PolicyResponse | Refusal:
        answer = self.ask(path.format(self.how), xcep.GET_POLICIES, (request or GetPolicies()).encode())
        return answer if isinstance(answer, Refusal) else PolicyResponse.parse(answer.body)

    def enroll(self, request: bytes, *context: tuple[str, str]) -> TokenResponse | Refusal:
        return self.token(RequestSecurityToken(RequestType.ISSUE, request, context=context))

    def query(self, request_id: int, uri: str = "") -> TokenResponse | Refusal:
        asked = RequestSecurityToken(RequestType.QUERY, request_id=request_id)
        return self.token(asked, urlsplit(uri).path or CES)

    def token(self, asked: RequestSecurityToken, path: str = CES) -> TokenResponse | Refusal:
        answer = self.ask(path.format(self.how), asked.action, asked.encode())
        return answer if isinstance(answer, Refusal) else TokenResponse.parse(answer.body)
