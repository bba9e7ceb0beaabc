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

from certwright.adcs.errors import AdcsError
from certwright.connectors.errors import (
    LogonCause,
    LogonRefused,
    NotEnrollmentPages,
    PagesForbidden,
    ServiceFault,
)
from certwright.connectors.http import CONNECT_TIMEOUT, SUBMIT_TIMEOUT, Session
from certwright.connectors.reading import CaReader
from certwright.connectors.service import AuthScheme, ServiceAddress, ServiceCredential
from certwright.connectors.trust import ServerCertificate, Trust, explain, look_at, verifying_context
from certwright.pki.certificate import CertificateView


class Step(StrEnum):
    """In the order in which they are taken."""

    DNS = "dns"
    TCP = "tcp"
    TLS = "tls"
    AUTHENTICATION = "authentication"
    CHANNEL_BINDING = "channel_binding"
    PAGE = "page"
    CA_NAME = "ca_name"
    TEMPLATES = "templates"


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
    """Take all steps up to the first that fails; always as many results as there are steps."""
    run = _Probe(service, credential, trust, timeout)
    for take in (run.dns, run.tcp, run.tls, run.log_on):
        if not take():
            break
    done = {each.step for each in run.steps}
    missing = [ProbeStep(step, Outcome.SKIPPED, _NOT_REACHED) for step in Step if step not in done]
    order = list(Step)
    return sorted([*run.steps, *missing], key=lambda each: order.index(each.step))


class _Probe:
    def __init__(self, service: ServiceAddress, credential: ServiceCredential, trust: Trust, timeout: float) -> None:
        self._service = service
        self._credential = credential
        self._trust = trust
        self._timeout = timeout
        self._connect_timeout = min(timeout, CONNECT_TIMEOUT)
        self.steps: list[ProbeStep] = []

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

    # -- as the account

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
            return self._refused(error)
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
        self._ok(Step.AUTHENTICATION, f"{self._credential.username} is logged on with {scheme.label}")
        if scheme is AuthScheme.BASIC:
            self._skipped(Step.CHANNEL_BINDING, "Basic binds nothing: the server is handed the password itself")
            return
        fingerprint = CertificateView.parse(logon.binding_certificate).sha256
        self._ok(Step.CHANNEL_BINDING, f"the logon was bound to certificate {fingerprint[:16]}... and accepted")

    def _refused(self, error: LogonRefused) -> bool:
        if error.cause is LogonCause.CHANNEL_BINDING:
            self._ok(Step.AUTHENTICATION, f"the server took the handshake of {self._credential.username} to its end")
            return self._failed(Step.CHANNEL_BINDING, error)
        if error.cause is LogonCause.UNKNOWN and self._service.scheme is not AuthScheme.BASIC:
            self._skipped(
                Step.CHANNEL_BINDING, "it was sent; whether it is what was refused, the server does not say"
            )
        return self._failed(Step.AUTHENTICATION, error)

    def _read(self, step: Step, call: Callable[[], str]) -> bool:
        try:
            return self._ok(step, call())
        except AdcsError as error:
            return self._failed(step, error)

    # -- results

    def _ok(self, step: Step, sentence: str, seen: ServerCertificate | None = None) -> bool:
        self.steps.append(ProbeStep(step, Outcome.OK, sentence, seen=seen))
        return True

    def _skipped(self, step: Step, sentence: str) -> None:
        self.steps.append(ProbeStep(step, Outcome.SKIPPED, sentence))

    def _failed(self, step: Step, error: AdcsError, seen: ServerCertificate | None = None) -> bool:
        if isinstance(error, ServiceFault | LogonRefused | PagesForbidden):
            what, fix = error.what, error.fix
        else:
            what, fix = error.message, ""
        self.steps.append(ProbeStep(step, Outcome.FAILED, what, fix, seen))
        return False


def _offered(reader: CaReader) -> str:
    """Raises:
    PagesForbidden: none, which an enterprise CA shows to those who may enroll for nothing.
    """
    templates = reader.templates()
    if not templates:
        raise PagesForbidden(
            "the request page offers this account no template",
            "give the account Read and Enroll on a template that the CA publishes; a standalone CA has none, and "
            "then requests are sent without",
        )
    names = ", ".join(each.name for each in templates[:5])
    more = f" and {len(templates) - 5} more" if len(templates) > 5 else ""
    return f"{len(templates)} on offer: {names}{more}"
