"""Testing an AD CS service step by step, for the person who sets it up: how far it comes, what fails, what to do.

The steps are those of a real order up to the request itself; each runs only when the one before succeeded. The logon
is tried once: a second try with another binding or scheme would tell more and could lock the account.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from certwright.adcs.errors import AdcsError, NoSuchRequest
from certwright.connectors.ces import CesConnection, Place, PolicyServer, offered_templates, place_of
from certwright.connectors.errors import (
    LogonCause,
    LogonRefused,
    NotEnrollmentPages,
    NotEnrollmentServices,
    PagesForbidden,
    ServiceFault,
)
from certwright.connectors.http import CONNECT_TIMEOUT, SUBMIT_TIMEOUT, Session
from certwright.connectors.reading import CaReader, OfferedTemplate
from certwright.connectors.server_certificate import ServerCertificate
from certwright.connectors.service import AuthScheme, ServiceAddress, ServiceCredential
from certwright.connectors.soap import Refused, SoapSession
from certwright.connectors.trust import Trust, explain, look_at, verifying_context
from certwright.pki.certificate import CertificateView
from certwright.wire.xcep import ClientAuthentication, PolicyResponse


class Step(StrEnum):
    """In the order in which they are taken."""

    DNS = "dns"
    TCP = "tcp"
    TLS = "tls"
    AUTHENTICATION = "authentication"
    CHANNEL_BINDING = "channel_binding"
    CEP = "cep"
    CES = "ces"
    PAGE = "page"
    CA_NAME = "ca_name"
    TEMPLATES = "templates"


_TO_THE_SERVER: Final = (Step.DNS, Step.TCP, Step.TLS, Step.AUTHENTICATION, Step.CHANNEL_BINDING)
PAGE_STEPS: Final = (*_TO_THE_SERVER, Step.PAGE, Step.CA_NAME, Step.TEMPLATES)
"""Over /certsrv."""
WEB_SERVICE_STEPS: Final = (*_TO_THE_SERVER, Step.CEP, Step.CA_NAME, Step.TEMPLATES, Step.CES)
"""Over CEP and CES."""


class Outcome(StrEnum):
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"  # an earlier step failed, or it cannot be told


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """One step and how it came out. `seen` is the server's certificate, at the TLS step, trusted or not."""

    step: Step
    outcome: Outcome
    sentence: str
    fix: str = ""
    seen: ServerCertificate | None = None

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK


_NOT_REACHED: Final = "not tried, because an earlier step failed"


def probe(
    service: ServiceAddress, credential: ServiceCredential, trust: Trust, *, timeout: float = SUBMIT_TIMEOUT
) -> Sequence[ProbeStep]:
    """Take all steps of /certsrv up to the first that fails; always as many results as there are steps."""
    run = _PageProbe(service, credential, trust, timeout)
    for take in (run.dns, run.tcp, run.tls, run.log_on):
        if not take():
            break
    return run.results(PAGE_STEPS)


def probe_web_services(
    server: PolicyServer,
    account: str,
    *,
    ca_name: str = "",
    otherwise: Callable[[], Sequence[ProbeStep]] | None = None,
) -> Sequence[ProbeStep]:
    """Take all steps of CEP and CES up to the first that fails; always as many results as there are steps.

    Args:
        account: who logs on, for the sentences.
        otherwise: what is taken instead where the server has no web services for this account.
    """
    run = _WebServiceProbe(server, account, ca_name, optional=otherwise is not None)
    for take in (run.dns, run.tcp, run.tls, run.log_on):
        if not take():
            break
    if otherwise is not None and run.absent is not None:
        return [run.absent, *otherwise()]
    return run.results(WEB_SERVICE_STEPS)


class _Probe:
    """The steps that every way has."""

    def __init__(self, service: ServiceAddress, account: str, trust: Trust, timeout: float) -> None:
        self._service = service
        self._account = account
        self._trust = trust
        self._timeout = timeout
        self._connect_timeout = min(timeout, CONNECT_TIMEOUT)
        self.steps: list[ProbeStep] = []

    def results(self, steps: Sequence[Step]) -> Sequence[ProbeStep]:
        done = {each.step: each for each in self.steps}
        return [done.get(step) or ProbeStep(step, Outcome.SKIPPED, _NOT_REACHED) for step in steps]

    # -- to the server

    def dns(self) -> bool:
        try:
            found = socket.getaddrinfo(self._service.hostname, self._service.port, type=socket.SOCK_STREAM)
        except OSError as error:
            return self._failed(Step.DNS, explain(error, self._service))
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        return self._ok(Step.DNS, f"{self._service.hostname} is {', '.join(addresses[:4])}")

    def tcp(self) -> bool:
        try:
            socket.create_connection((self._service.hostname, self._service.port), self._connect_timeout).close()
        except OSError as error:
            return self._failed(Step.TCP, explain(error, self._service))
        return self._ok(Step.TCP, f"port {self._service.port} takes connections")

    def tls(self) -> bool:
        """Look first, so that there is a fingerprint to show; then verify as an order would."""
        seen: ServerCertificate | None = None
        try:
            seen = look_at(self._service, self._connect_timeout)
            context = verifying_context(self._trust, self._service, self._connect_timeout)
            version = self._handshake(context)
        except OSError as error:
            return self._failed(Step.TLS, explain(error, self._service, self._connect_timeout), seen)
        except AdcsError as error:
            return self._failed(Step.TLS, error, seen)
        sentence = f"{version}; {seen.subject or 'a certificate without a subject'} is trusted"
        return self._ok(Step.TLS, f"{sentence}, until {seen.not_after:%Y-%m-%d}", seen)

    def _handshake(self, context: ssl.SSLContext) -> str:
        host = self._service.hostname
        with (
            socket.create_connection((host, self._service.port), self._connect_timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            version = secured.version() or "TLS"
            with contextlib.suppress(OSError):
                secured.unwrap()
        return version

    # -- the logon

    def _bound(self, certificate: bytes) -> None:
        fingerprint = CertificateView.parse(certificate).sha256
        self._ok(Step.CHANNEL_BINDING, f"the logon was bound to certificate {fingerprint[:16]}... and accepted")

    def _refused(self, error: LogonRefused, *, binds: bool) -> bool:
        if error.cause is LogonCause.CHANNEL_BINDING:
            self._ok(Step.AUTHENTICATION, f"the server took the handshake of {self._account} to its end")
            return self._failed(Step.CHANNEL_BINDING, error)
        if error.cause is LogonCause.UNKNOWN and binds:
            self._skipped(
                Step.CHANNEL_BINDING, "it was sent; whether it is what was refused, the server does not say"
            )
        return self._failed(Step.AUTHENTICATION, error)

    # -- results

    def _read(self, step: Step, call: Callable[[], str]) -> bool:
        try:
            return self._ok(step, call())
        except AdcsError as error:
            return self._failed(step, error)

    def _ok(self, step: Step, sentence: str, seen: ServerCertificate | None = None) -> bool:
        self.steps.append(ProbeStep(step, Outcome.OK, sentence, seen=seen))
        return True

    def _skipped(self, step: Step, sentence: str) -> None:
        self.steps.append(ProbeStep(step, Outcome.SKIPPED, sentence))

    def _failed(self, step: Step, error: AdcsError, seen: ServerCertificate | None = None) -> bool:
        what, fix = _told(error)
        self.steps.append(ProbeStep(step, Outcome.FAILED, what, fix, seen))
        return False


class _PageProbe(_Probe):
    def __init__(self, service: ServiceAddress, credential: ServiceCredential, trust: Trust, timeout: float) -> None:
        super().__init__(service, credential.username, trust, timeout)
        self._credential = credential

    def log_on(self) -> bool:
        """Everything that one logon shows."""
        try:
            with Session(self._service, self._credential, self._trust, timeout=self._timeout) as session:
                reader = CaReader(session)
                return (
                    self._page(session, reader)
                    and self._read(Step.CA_NAME, lambda: f"the CA is called {reader.name()}")
                    and self._read(Step.TEMPLATES, lambda: _offered(reader))
                )
        except AdcsError as error:
            return self._failed(Step.AUTHENTICATION, error)

    def _page(self, session: Session, reader: CaReader) -> bool:
        try:
            reader.require_pages()
        except LogonRefused as error:
            return self._refused(error, binds=self._service.scheme is not AuthScheme.BASIC)
        except (PagesForbidden, NotEnrollmentPages) as error:  # the logon is behind us
            self._logged_on(session)
            return self._failed(Step.PAGE, error)
        self._logged_on(session)
        return self._ok(Step.PAGE, f"{self._service}{self._service.path} is Web Enrollment")

    def _logged_on(self, session: Session) -> None:
        logon = session.logon
        if not logon.offered:
            self._ok(Step.AUTHENTICATION, "the server asks for no logon")
            self._skipped(Step.CHANNEL_BINDING, "there was no logon to bind")
            return
        scheme = self._service.scheme
        self._ok(Step.AUTHENTICATION, f"{self._account} is logged on with {scheme.label}")
        if scheme is AuthScheme.BASIC:
            self._skipped(Step.CHANNEL_BINDING, "Basic binds nothing: the server is handed the password itself")
            return
        self._bound(logon.binding_certificate)


class _WebServiceProbe(_Probe):
    def __init__(self, server: PolicyServer, account: str, ca_name: str, *, optional: bool) -> None:
        super().__init__(server.endpoint.address(), account, server.trust, server.timeout)
        self._server = server
        self._ca_name = ca_name
        self._optional = optional
        self.absent: ProbeStep | None = None

    def log_on(self) -> bool:
        """CEP with one logon; then CES, which is asked for a request that nobody has."""
        try:
            with self._server.session() as session:
                policies = self._policies(session)
        except AdcsError as error:
            return self._not_there(error) or self._failed(Step.AUTHENTICATION, error)
        if policies is None:
            return False
        kind = self._server.logon.kind
        try:
            place = place_of(policies, kind, ca_name=self._ca_name)
        except AdcsError as error:
            self._ok(Step.CEP, f"{self._server.endpoint} is a policy server")
            return self._not_there(error) or self._failed(Step.CA_NAME, error)
        self._ok(Step.CEP, f"{self._server.endpoint} is a policy server")
        self._ok(Step.CA_NAME, f"the CA is called {place.ca_name}")
        return self._read(Step.TEMPLATES, lambda: _listed(offered_templates(policies))) and self._enrollment(place)

    def _policies(self, session: SoapSession) -> PolicyResponse | None:
        try:
            policies = self._server.policies(session)
        except LogonRefused as error:
            if error.cause is LogonCause.NOT_OFFERED and self._not_there(error):
                return None
            self._refused(error, binds=self._server.logon.kind is ClientAuthentication.KERBEROS)
            return None
        except (PagesForbidden, NotEnrollmentServices, Refused) as error:
            if not self._not_there(error):
                self._skipped(Step.AUTHENTICATION, "the policy server answered before it was known who asks")
                self._failed(Step.CEP, error)
            return None
        self._ok(Step.AUTHENTICATION, f"{self._account} is logged on by {_WAYS[self._server.logon.kind]}")
        if session.negotiation is not None and session.negotiation.binding_certificate:
            self._bound(session.negotiation.binding_certificate)
        else:
            self._skipped(Step.CHANNEL_BINDING, "this logon is not bound: TLS itself carries it")
        return policies

    def _enrollment(self, place: Place) -> bool:
        """Nobody has the largest request ID; that the service says so is its answer."""
        door = CesConnection(self._server, place=place)
        try:
            door.retrieve(0xFFFF_FFFF)
        except NoSuchRequest:
            pass
        except AdcsError as error:
            return self._failed(Step.CES, error)
        return self._ok(Step.CES, f"{place.endpoint} answers")

    def _not_there(self, error: AdcsError) -> bool:
        """Remember that the web services are not there for this account, where there is another way."""
        if not self._optional or not isinstance(error, LogonRefused | PagesForbidden | NotEnrollmentServices):
            return False
        if isinstance(error, LogonRefused) and error.cause is not LogonCause.NOT_OFFERED:
            return False
        self.absent = ProbeStep(Step.CEP, Outcome.SKIPPED, f"{error.what}; /certsrv is used instead")
        return True


_WAYS: Final = {
    ClientAuthentication.KERBEROS: "Negotiate",
    ClientAuthentication.USER_NAME: "user name and password",
    ClientAuthentication.CERTIFICATE: "certificate",
}


def _told(error: AdcsError) -> tuple[str, str]:
    """What was seen, and what would help."""
    if isinstance(error, ServiceFault | LogonRefused | PagesForbidden):
        return error.what, error.fix
    return error.message, ""


def _offered(reader: CaReader) -> str:
    """Raises:
    PagesForbidden: none, which an enterprise CA shows to those who may enroll for nothing.
    """
    return _listed(reader.templates())


def _listed(templates: Sequence[OfferedTemplate]) -> str:
    if not templates:
        raise PagesForbidden(
            "this account is offered no template",
            "give the account Read and Enroll on a template that the CA publishes; a standalone CA has none, and "
            "then requests are sent without",
        )
    names = ", ".join(each.name for each in templates[:5])
    more = f" and {len(templates) - 5} more" if len(templates) > 5 else ""
    return f"{len(templates)} on offer: {names}{more}"
