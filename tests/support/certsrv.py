"""/certsrv in one process: a CA that does what the template's name says, and a client without a socket.

The CA is small and its certificates are real: `cryptography` makes them, so that whatever the pages hand out can be
read by any other program.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certwright.adcs.errors import AdcsError, HResult, InvalidArgument, NoSuchRequest, NotSupported
from certwright.adcs.interfaces import CertAdmin, CertRequest, Forecast
from certwright.adcs.properties import LATEST, CaProperty, CaType, PropertyValue
from certwright.adcs.request import NO_ATTRIBUTES, Disposition, RequestAttributes, RequestFlags, Response
from certwright.adcs.requester import Requester
from certwright.adcs.template import CertificateTemplate
from certwright.auth.connection import Connection
from certwright.auth.http import Authenticated, Challenge
from certwright.connectors.registry import Registry
from certwright.directory.base import EnrollmentService
from certwright.endpoints.asgi import Asgi
from certwright.pki.cms import certs_only
from certwright.web_enrollment.application import create
from tests.support.fake_directory import make_template, make_user, requester_for
from tests.support.requests import web_server_request

CA_NAME = "Corp Issuing CA 1"
CONFIG = f"ca.corp.example\\{CA_NAME}"
ALICE = requester_for(make_user("alice", 1101))
BOB = requester_for(make_user("bob", 1102))

DENIAL = (
    "Denied by Policy Module  0x80094800, The request was for a certificate template that is not supported by the "
    "Active Directory Certificate Services policy: Nope."
)


def certificate_authority(
    common_name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None, years: int = 10
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A CA certificate and its key; self-signed without an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    above, signing_key = (issuer[0].subject, issuer[1]) if issuer else (name, key)
    builder = (
        x509.CertificateBuilder(above, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365 * years))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(signing_key, hashes.SHA256()), key


@dataclass
class FakeCa:
    """A `Connector` with one CA. Its decision follows the name of the template asked for.

    WebServer issues, Approval pends, Nope is denied with a code, Refused is denied in words alone, Down raises what
    `failure` holds, and what is no request at all fails. Requests are shown to their requester only.
    """

    renewals: int = 0
    ca_type: CaType = CaType.ENTERPRISE_SUBORDINATE
    templates: Sequence[CertificateTemplate] = ()
    failure: AdcsError | None = None
    next_id: int = 1234
    rows: dict[int, tuple[str, Response]] = field(default_factory=dict)
    submitted: list[tuple[Requester, bytes, RequestAttributes]] = field(default_factory=list)
    flags: list[RequestFlags] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = certificate_authority("Corp Root CA", years=20)
        self.cas = [certificate_authority(CA_NAME, self.root) for _ in range(self.renewals + 1)]

    # -- Connector -----------------------------------------------------------------------------------------------

    def configs(self) -> Sequence[str]:
        return [CONFIG]

    def connect(self, config: str, requester: Requester) -> CertRequest:
        raise NotImplementedError("these pages use the asynchronous door")

    def connect_async(self, config: str, requester: Requester) -> FakeDoor:
        return FakeDoor(self, requester)

    def administer(self, config: str, requester: Requester) -> CertAdmin:
        raise NotSupported("nobody administers this CA")

    def enrollment_services(self) -> Sequence[EnrollmentService]:
        return []

    def enrollable_templates(self, config: str, requester: Requester) -> Sequence[CertificateTemplate]:
        return self.templates

    def forecast(self, config: str, requester: Requester, request: bytes, attributes: RequestAttributes) -> Forecast:
        raise NotSupported("this CA tells its mind about no request")

    # -- the CA ----------------------------------------------------------------------------------------------------

    def decide(self, requester: Requester, request: bytes, attributes: RequestAttributes) -> Response:
        self.submitted.append((requester, request, attributes))
        template = attributes.get("CertificateTemplate") or ""
        if template == "Down":
            raise self.failure or AdcsError("the CA is down", HResult.RPC_S_SERVER_UNAVAILABLE)
        number, self.next_id = self.next_id, self.next_id + 1
        try:
            csr = x509.load_der_x509_csr(request)
        except ValueError:
            response = Response(
                number,
                Disposition.ERROR,
                HResult.CRYPT_E_ASN1_BADTAG,
                "Error Parsing Request  The request is no ASN.1 structure.",
            )
        else:
            response = self._decided(number, template, csr)
        self.rows[number] = (requester.account, response)
        return response

    def _decided(self, number: int, template: str, csr: x509.CertificateSigningRequest) -> Response:
        match template:
            case "Approval":
                reason = "The template wants the approval of a certificate manager."
                return Response(
                    number, Disposition.UNDER_SUBMISSION, HResult.S_OK, f"Taken Under Submission  {reason}"
                )
            case "Nope":
                return Response(number, Disposition.DENIED, HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE, DENIAL)
            case "Refused":
                return Response(
                    number, Disposition.DENIED, HResult.CERTSRV_E_ADMIN_DENIED_REQUEST, "Denied by Policy Module"
                )
            case _:
                return Response(number, Disposition.ISSUED, HResult.S_OK, "Issued", self.issue(csr))

    def issue(self, csr: x509.CertificateSigningRequest, signer: int = -1) -> bytes:
        ca, key = self.cas[signer]
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = (
            x509.CertificateBuilder(ca.subject, csr.subject, csr.public_key(), x509.random_serial_number())
            .not_valid_before(datetime(2026, 7, 1, tzinfo=UTC))
            .not_valid_after(datetime(2027, 7, 1, tzinfo=UTC))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        )
        for extension in csr.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    def answer(self, request_id: int, requester: Requester, response: Response) -> None:
        """Put a row there, decided as given."""
        self.rows[request_id] = (requester.account, response)

    def crl(self, index: int) -> bytes:
        ca, key = self.cas[index]
        builder = x509.CertificateRevocationListBuilder(
            ca.subject, datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 7, 8, tzinfo=UTC)
        )
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    def certificate(self, index: int = -1) -> bytes:
        return self.cas[index][0].public_bytes(Encoding.DER)

    @property
    def root_certificate(self) -> bytes:
        return self.root[0].public_bytes(Encoding.DER)


class FakeDoor:
    """`AsyncCertRequest` of `FakeCa`."""

    config = CONFIG

    def __init__(self, ca: FakeCa, requester: Requester) -> None:
        self._ca = ca
        self._requester = requester

    async def submit(
        self,
        request: bytes,
        attributes: RequestAttributes = NO_ATTRIBUTES,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        self._ca.flags.append(flags)
        return self._ca.decide(self._requester, request, attributes)

    async def retrieve(
        self,
        request_id: int | None = None,
        *,
        serial_number: str | None = None,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        account, response = self._ca.rows.get(request_id or 0, ("", None))
        if response is None or account != self._requester.account:
            raise NoSuchRequest("There is no such request, or it was made by somebody else.")
        return response

    async def ca_property(self, prop: CaProperty, index: int = 0) -> PropertyValue:
        newest = len(self._ca.cas) - 1
        index = newest if index == LATEST else index
        if index > newest:
            raise InvalidArgument(f"{CA_NAME} has no CA certificate number {index}")
        match prop:
            case CaProperty.CA_TYPE:
                return int(self._ca.ca_type)
            case CaProperty.CA_SIGNATURE_CERTIFICATE_COUNT:
                return newest + 1
            case CaProperty.CA_SIGNATURE_CERTIFICATE:
                return self._ca.certificate(index)
            case CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN:
                return certs_only((self._ca.certificate(index), self._ca.root_certificate))
            case CaProperty.BASE_CRL:
                return self._ca.crl(index)
            case _:
                raise InvalidArgument(f"{CA_NAME} has published no such CRL", HResult.ERROR_FILE_NOT_FOUND)


class StubAuthenticator:
    """Knows callers by what stands in their Authorization header."""

    def __init__(self, *requesters: Requester) -> None:
        self.requesters = {requester.account.split("\\")[-1]: requester for requester in requesters or (ALICE, BOB)}
        self.asked = 0

    async def authenticate(self, authorization: bytes | None, connection: Connection) -> Authenticated | Challenge:
        self.asked += 1
        requester = self.requesters.get((authorization or b"").decode("latin-1"))
        if requester is None:
            headers = ((b"www-authenticate", b"Negotiate"), (b"www-authenticate", b"NTLM"))
            return Challenge(401, headers, "Sign in to continue.")
        return Authenticated(requester, ((b"x-mutual", b"token"),))


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """The one header of this name; empty when absent."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} stands twice: {values}"
        return values[0] if values else ""

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")


@dataclass
class Client:
    """Calls an ASGI application as one connection of one account would."""

    application: Asgi
    account: str = "alice"
    tls: bool = True
    cookie: str = ""
    left_body: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connection = Connection(id=1, peer="192.0.2.1", tls=self.tls)

    def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        return self.call(method, path, headers=headers)

    def post(
        self, path: str, fields: Mapping[str, str] | bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        if isinstance(fields, bytes):
            body = fields
        else:
            body = "&".join(f"{name}={quote_plus(value)}" for name, value in fields.items()).encode()
        return self.call("POST", path, [body], headers)

    def call(
        self,
        method: str,
        path: str,
        body: Iterable[bytes] = (b"",),
        headers: Mapping[str, str] | None = None,
        *,
        complete: bool = True,
    ) -> Answer:
        """One exchange, its body in the given pieces; unless `complete`, the client leaves after them."""
        return asyncio.run(self._call(method, path, list(body), headers or {}, complete))

    async def _call(
        self, method: str, path: str, parts: list[bytes], headers: Mapping[str, str], complete: bool
    ) -> Answer:
        path, _, query = path.partition("?")
        given = {"host": "ca.corp.example", **headers}
        if self.account:
            given.setdefault("authorization", self.account)
        if self.cookie:
            given.setdefault("cookie", self.cookie)
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": not complete or i < len(parts) - 1}
            for i, part in enumerate(parts)
        ]
        if not complete:
            messages.append({"type": "http.disconnect"})
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
            "extensions": {"certwright.connection": self.connection},
        }
        await self.application(scope, receive, send)
        self.left_body.append(len(messages))
        if not sent:
            return Answer(0, (), b"")
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
        decoded = [(name.decode(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        answer = Answer(sent[0]["status"], decoded, sent[1]["body"])
        for name, value in decoded:
            if name == "set-cookie":
                self.cookie = value.partition(";")[0]
        return answer


def make_site(ca: FakeCa | None = None, *requesters: Requester) -> tuple[Client, FakeCa]:
    """The application over one fake CA, and alice's connection to it."""
    ca = ca or FakeCa(templates=(make_template("WebServer"),))
    return Client(create(Registry(ca), StubAuthenticator(*requesters))), ca


def csr_pem(*hosts: str) -> str:
    """A request as people paste it."""
    text = base64.b64encode(web_server_request(*hosts)).decode()
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE REQUEST-----", *lines, "-----END CERTIFICATE REQUEST-----", ""])


def submission(template: str = "WebServer", request: str | None = None, **fields: str) -> dict[str, str]:
    """The form as the PyPI client sends it."""
    return {
        "Mode": "newreq",
        "CertRequest": csr_pem() if request is None else request,
        "CertAttrib": f"CertificateTemplate:{template}\r\n" if template else "",
        "FriendlyType": "Saved-Request Certificate",
        "TargetStoreFlags": "0",
        "SaveCert": "yes",
        **fields,
    }
