"""CAs that answer as a test says: the production interfaces (`CertRequest`, `Reach`) in memory, real certificates.

A `ScriptedCa` is one AD CS; `ScriptedReach` is the way to several of them, by host name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certwright.adcs.errors import AccessDenied, CaUnreachable, HResult, NoSuchRequest, NotSupported
from certwright.adcs.interfaces import Forecast
from certwright.adcs.properties import CaProperty, PropertyValue
from certwright.adcs.request import NO_ATTRIBUTES, Disposition, RequestAttributes, RequestFlags, Response
from certwright.adcs.roles import RevocationReason
from certwright.connectors.errors import AnswerLost
from certwright.connectors.probing import Outcome, ProbeStep, Step
from certwright.connectors.reading import OfferedTemplate, ServiceInformation
from certwright.connectors.service import ServiceCredential
from certwright.manager.values import LostAnswer, Service
from certwright.pki.cms import certs_only
from certwright.pki.pkcs10 import CertificationRequest
from tests.support.requests import ec_key

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Killed(BaseException):
    """The process ends here: nobody catches it, nothing after it happens."""


class Answer(Enum):
    """What the next submissions get."""

    ISSUED = auto()
    PENDING = auto()
    DENIED = auto()
    UNREACHABLE = auto()
    REFUSED = auto()  # an error before there is a request
    LOST = auto()  # recorded, and the answer does not arrive
    LOST_BEFORE = auto()  # did not arrive, and nobody can tell
    KILLED = auto()  # recorded, and our process ends before it sees the answer
    KILLED_BEFORE = auto()  # our process ends before anything arrives
    WRONG_KEY = auto()


@dataclass
class Recorded:
    """A request row of a scripted CA."""

    request: bytes
    template: str
    disposition: Disposition
    certificate: bytes | None = None


class ScriptedCa:
    """One CA. `answers` are used up one by one; the last one stays."""

    def __init__(self, name: str = "Scripted CA", answer: Answer = Answer.ISSUED, first_id: int = 100) -> None:
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.answers = [answer]
        self.rows: dict[int, Recorded] = {}
        self.submissions = 0
        self.retrievals = 0
        self.revoked: list[str] = []
        self.down = False
        self.approves = True
        self.templates = ("WebServer", "User")
        self.lifetime = timedelta(days=365)
        self.now = NOW
        self.hide_certificates = False  # as /certsrv, where a page only links to it
        self._next_id = first_id
        self.certificate = self._self_signed()

    def _self_signed(self) -> bytes:
        name = x509.Name.from_rfc4514_string(f"CN={self.name},O=Corp")
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .not_valid_before(NOW - timedelta(days=1000))
            .not_valid_after(NOW + timedelta(days=5000))
            .serial_number(x509.random_serial_number())
            .public_key(self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def new_key(self) -> None:
        """The CA is renewed with a new key."""
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._self_signed()

    def take(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def record(self, request: bytes, template: str, disposition: Disposition, *, wrong_key: bool = False) -> int:
        request_id = self._next_id
        self._next_id += 1
        row = Recorded(request, template, disposition)
        if disposition is Disposition.ISSUED:
            row.certificate = self.sign(request, wrong_key=wrong_key)
        self.rows[request_id] = row
        return request_id

    def others(self, count: int = 1) -> None:
        """Somebody else uses the CA: request IDs that show us nothing."""
        self._next_id += count

    def sign(self, request: bytes, *, wrong_key: bool = False) -> bytes:
        csr = x509.load_der_x509_csr(request)
        public_key = ec_key("P-256", 77).public_key() if wrong_key else csr.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(csr.subject)
            .issuer_name(x509.load_der_x509_certificate(self.certificate).subject)
            .not_valid_before(self.now - timedelta(minutes=10))
            .not_valid_after(self.now + self.lifetime)
            .serial_number(x509.random_serial_number())
            .public_key(public_key)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        )
        for extension in csr.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def issue(self, request_id: int) -> None:
        """A certificate manager issues a pending request."""
        row = self.rows[request_id]
        row.disposition, row.certificate = Disposition.ISSUED, self.sign(row.request)

    def deny(self, request_id: int) -> None:
        self.rows[request_id].disposition = Disposition.DENIED

    def response(self, request_id: int) -> Response:
        row = self.rows[request_id]
        match row.disposition:
            case Disposition.ISSUED:
                if self.hide_certificates:
                    return Response(request_id, Disposition.ISSUED, HResult.S_OK, "Issued")
                chain = certs_only([row.certificate or b"", self.certificate])
                return Response(request_id, Disposition.ISSUED, HResult.S_OK, "Issued", row.certificate, chain)
            case Disposition.UNDER_SUBMISSION:
                return Response(request_id, row.disposition, HResult.S_OK, "Taken Under Submission")
            case _:
                return Response(
                    request_id, row.disposition, HResult.CERTSRV_E_ADMIN_DENIED_REQUEST, r"Denied by CORP\officer"
                )


class ScriptedDoor:
    """`CertRequest` of a scripted CA."""

    def __init__(self, ca: ScriptedCa, hostname: str) -> None:
        self._ca = ca
        self._hostname = hostname

    @property
    def config(self) -> str:
        return f"{self._hostname}\\{self._ca.name}"

    def submit(
        self,
        request: bytes,
        attributes: RequestAttributes = NO_ATTRIBUTES,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        ca = self._ca
        answer = Answer.UNREACHABLE if ca.down else ca.take()
        template = attributes.get("CertificateTemplate") or ""
        match answer:
            case Answer.UNREACHABLE:
                raise CaUnreachable(f"{self._hostname} does not answer.")
            case Answer.REFUSED:
                raise AccessDenied(f"{self._hostname} lets this account in no more.")
            case Answer.LOST_BEFORE:
                raise AnswerLost(f"{self._hostname} sent no answer.")
            case Answer.KILLED_BEFORE:
                raise Killed
            case _:
                ca.submissions += 1
        if answer is Answer.PENDING:
            return ca.response(ca.record(request, template, Disposition.UNDER_SUBMISSION))
        if answer is Answer.DENIED:
            return ca.response(ca.record(request, template, Disposition.DENIED))
        request_id = ca.record(request, template, Disposition.ISSUED, wrong_key=answer is Answer.WRONG_KEY)
        if answer is Answer.LOST:
            raise AnswerLost(f"{self._hostname} sent no answer.")
        if answer is Answer.KILLED:
            raise Killed
        return ca.response(request_id)

    def retrieve(
        self,
        request_id: int | None = None,
        *,
        serial_number: str | None = None,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        if self._ca.down:
            raise CaUnreachable(f"{self._hostname} does not answer.")
        self._ca.retrievals += 1
        if request_id is None or request_id not in self._ca.rows:
            raise NoSuchRequest(f"There is no request {request_id}.")
        hidden, self._ca.hide_certificates = self._ca.hide_certificates, False
        try:
            return self._ca.response(request_id)
        finally:
            self._ca.hide_certificates = hidden

    def ca_property(self, prop: CaProperty, index: int = 0) -> PropertyValue:
        raise NotSupported("a scripted CA has no properties")


@dataclass
class ScriptedReach:
    """`Reach` over scripted CAs, by host name."""

    cas: dict[str, ScriptedCa] = field(default_factory=dict)
    credentials: list[ServiceCredential] = field(default_factory=list)
    certain: bool = False  # as our own CA, whose database says
    undecided: bool = False

    def connect(self, service: Service, credential: ServiceCredential) -> ScriptedDoor:
        self.credentials.append(credential)
        return ScriptedDoor(self.cas[service.hostname], service.hostname)

    def information(self, service: Service, credential: ServiceCredential) -> ServiceInformation:
        ca = self.cas[service.hostname]
        if ca.down:
            raise CaUnreachable(f"{service.hostname} does not answer.")
        offered = tuple(OfferedTemplate(name, name, True) for name in ca.templates)
        not_after = x509.load_der_x509_certificate(ca.certificate).not_valid_after_utc
        return ServiceInformation(ca.name, (ca.certificate,), not_after, offered)

    def probe(self, service: Service, credential: ServiceCredential) -> Sequence[ProbeStep]:
        if self.cas[service.hostname].down:
            return [ProbeStep(Step.TCP, Outcome.FAILED, "nobody listens", "start the server")]
        return [ProbeStep(Step.TCP, Outcome.OK, "port 443 takes connections")]

    def forecast(self, service: Service, credential: ServiceCredential, request: bytes, template: str) -> Forecast:
        raise NotSupported("This CA does not tell.")

    def find_lost(
        self,
        service: Service,
        credential: ServiceCredential,
        public_key: bytes,
        since: datetime,
        last_known_id: int,
        known: Collection[int],
    ) -> LostAnswer:
        ca = self.cas[service.hostname]
        if ca.down:
            raise CaUnreachable(f"{service.hostname} does not answer.")
        highest = max(ca.rows, default=last_known_id)
        for request_id, row in ca.rows.items():
            if request_id <= last_known_id or request_id in known:
                continue
            if CertificationRequest.parse(row.request).public_key_info == public_key and row.certificate:
                return LostAnswer(request_id, (), request_id)
        return LostAnswer(None, (1, 2) if self.undecided else (), highest, self.certain)

    def approve(self, service: Service, request_id: int) -> Response:
        ca = self.cas[service.hostname]
        if not ca.approves:
            raise AccessDenied("You are no certificate manager of this CA.")
        ca.issue(request_id)
        return ca.response(request_id)

    def revoke(self, service: Service, serial_number: str, reason: RevocationReason) -> None:
        ca = self.cas[service.hostname]
        if not ca.approves:
            raise AccessDenied("You are no certificate manager of this CA.")
        ca.revoked.append(serial_number)
