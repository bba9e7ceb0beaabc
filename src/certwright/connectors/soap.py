"""One conversation with somebody's enrollment web services: one connection, one logon, messages in turn.

SOAP 1.2 over HTTPS, [MS-XCEP] 2.1, [MS-WSTEP] 2.1. The account logs on by Negotiate (with channel binding), by a user
name in every message, or by a TLS client certificate; nothing falls back to another way. Answers are bounded, and
belong to the message they relate to.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import httpx2

from certwright.adcs.errors import AdcsError, BadRequest, ConfigurationError
from certwright.connectors.errors import (
    AnswerLost,
    ConnectionFailed,
    LogonCause,
    LogonRefused,
    NotEnrollmentServices,
    PagesForbidden,
    ServiceFault,
    TlsFailed,
)
from certwright.connectors.http import (
    CONNECT_TIMEOUT,
    MIN_SUBMIT_TIMEOUT,
    NOT_SENT,
    READ_TIMEOUT,
    SUBMIT_TIMEOUT,
    Unreadable,
    one_connection,
)
from certwright.connectors.logon import ConnectionLogon
from certwright.connectors.service import AuthScheme, CredentialKind, ServiceAddress, ServiceCredential
from certwright.connectors.trust import Trust, explain, verifying_context
from certwright.pki.certificate import CertificateView
from certwright.wire import soap, xcep
from certwright.wire.soap import Fault, Message, UserNameToken
from certwright.wire.wstep import EnrollmentDetail
from certwright.wire.xcep import ClientAuthentication
from certwright.wire.xml import Element

MAX_URL: Final = 2000
_MEDIA_TYPE: Final = "application/soap+xml"
_NO_LOGON: Final = frozenset({"FailedAuthentication", "InvalidSecurity", "InvalidSecurityToken", "MessageExpired"})
_WHERE: Final = "check host name and port, and that the role service is installed there"


# -- where, and as whom ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address of a web service, as an administrator writes it or CEP names it.

    Raises:
        ConfigurationError: it is no https address with a host and a path.
    """

    url: str

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"{self.url[:120]!r} is no address: {error}") from error
        plain = self.url.isascii() and self.url.isprintable() and " " not in self.url and len(self.url) <= MAX_URL
        if parts.scheme.lower() != "https" or not parts.hostname or port == 0 or not plain:
            raise ConfigurationError(f"{self.url[:120]!r} is no address that begins with https://")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ConfigurationError(f"{self.url[:120]!r} has more in it than a host and a path")
        ServiceAddress(parts.hostname, port or 443)

    def address(self, scheme: AuthScheme = AuthScheme.KERBEROS) -> ServiceAddress:
        parts = urlsplit(self.url)
        return ServiceAddress(parts.hostname or "", parts.port or 443, scheme)

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    def __str__(self) -> str:
        return f"{self.address()}{self.path}"


@dataclass(frozen=True, slots=True)
class NegotiateLogon:
    """Kerberos, or NTLM inside Negotiate. Without a credential with the tickets of this process."""

    scheme: AuthScheme = AuthScheme.KERBEROS
    credential: ServiceCredential | None = None
    kind = ClientAuthentication.KERBEROS


@dataclass(frozen=True, slots=True)
class UserNameLogon:
    """User name and password in every message, inside TLS.

    Raises:
        ConfigurationError: the credential is a keytab.
    """

    credential: ServiceCredential
    kind = ClientAuthentication.USER_NAME

    def __post_init__(self) -> None:
        if self.credential.kind is not CredentialKind.PASSWORD:
            raise ConfigurationError("a user name in the message needs a password; this account has a keytab")

    @property
    def token(self) -> UserNameToken:
        return UserNameToken(self.credential.logon_name, str(self.credential.secret))


@dataclass(frozen=True, slots=True)
class CertificateLogon:
    """A TLS client certificate, in PEM files: the certificate (its chain may follow) and its key."""

    certificate: Path
    key: Path
    kind = ClientAuthentication.CERTIFICATE

    def load(self, context: ssl.SSLContext) -> None:
        """Raises:
        ConfigurationError: the files do not hold a certificate and its key.
        """
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_passphrase)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ConfigurationError(
                f"{self.certificate} and {self.key} are no certificate with its key, in PEM without a passphrase: "
                f"{getattr(error, 'reason', None) or error}"
            ) from error


Logon = NegotiateLogon | UserNameLogon | CertificateLogon


def _no_passphrase() -> str:
    """Instead of OpenSSL's question at the terminal."""
    raise ValueError("the key has a passphrase")


# -- answers ---------------------------------------------------------------------------------------------------------


class Refused(AdcsError):
    """The service answered with a fault: its own words, and what programs read of it, where it says that."""

    def __init__(self, code: str, reason: str, detail: EnrollmentDetail | None) -> None:
        super().__init__(reason or f"the service answered with a fault ({code or 'without a code'})")
        self.code = code
        self.detail = detail


class SoapSession:
    """A connection to one host as one account. Opens at the first message; used by one thread, then closed.

    Args:
        timeout: seconds that the answer to a submission may take.

    Raises:
        CaUnreachable: on entering, where a pinned fingerprint has to be looked up and cannot be.
        ConfigurationError: on entering, where the files of a client certificate cannot be used.
    """

    def __init__(self, endpoint: Endpoint, logon: Logon, trust: Trust, *, timeout: float = SUBMIT_TIMEOUT) -> None:
        scheme = logon.scheme if isinstance(logon, NegotiateLogon) else AuthScheme.BASIC
        self.address = endpoint.address(scheme)
        self._logon = logon
        self._trust = trust
        self._submit_timeout = max(timeout, MIN_SUBMIT_TIMEOUT)
        self._read_timeout = min(timeout, READ_TIMEOUT)
        self._connect_timeout = min(timeout, CONNECT_TIMEOUT)
        self._client: httpx2.Client | None = None
        self.negotiation: ConnectionLogon | None = None
        if isinstance(logon, NegotiateLogon):
            self.negotiation = ConnectionLogon(self.address, logon.credential)

    def __enter__(self) -> Self:
        context = verifying_context(self._trust, self.address, self._connect_timeout)
        if isinstance(self._logon, CertificateLogon):
            self._logon.load(context)
        self._client = one_connection(context, self.negotiation, xcep.MAX_RESPONSE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def ask(self, endpoint: Endpoint, action: str, body: str) -> Element:
        """A question that changes nothing: the body of its answer.

        Raises:
            Refused: a fault.
            LogonRefused, PagesForbidden: the account.
            CaUnreachable: everything else.
        """
        envelope, message_id = self._message(endpoint, action, body)
        try:
            response = self._post(endpoint, envelope, self._read_timeout)
        except httpx2.HTTPError as error:
            raise self._explained(error) from error
        except Unreadable as error:
            raise NotEnrollmentServices(f"{endpoint} answered {error}", _WHERE) from error
        return self._body(endpoint, response, message_id)

    def hand_in(self, endpoint: Endpoint, action: str, body: str) -> Element:
        """A request, sent once: the body of its answer.

        Raises:
            AnswerLost: it was sent, or may have been, and no answer came that can be used.
            Refused, LogonRefused, PagesForbidden, CaUnreachable: as `ask`; nothing became of it.
        """
        envelope, message_id = self._message(endpoint, action, body)
        try:
            response = self._post(endpoint, envelope, self._submit_timeout)
        except NOT_SENT as error:
            raise self._explained(error) from error
        except httpx2.HTTPError as error:
            reason = self._explained(error)
            raise AnswerLost(f"the request was sent and its answer was lost: {reason.what}") from error
        except Unreadable as error:
            raise AnswerLost(f"the request was sent; {endpoint} answered {error}") from error
        except ConnectionFailed as error:  # of the logon: what it was refused for may have been done
            raise AnswerLost(f"the request was sent and its answer is not believed: {error.what}") from error
        try:
            return self._body(endpoint, response, message_id)
        except NotEnrollmentServices as error:
            if response.status_code in (200, 500, 502, 504):
                raise AnswerLost(f"the request was sent and its answer is not understood: {error.what}") from error
            raise

    # -- inside

    def _message(self, endpoint: Endpoint, action: str, body: str) -> tuple[bytes, str]:
        token = self._logon.token if isinstance(self._logon, UserNameLogon) else None
        return soap.request(action, endpoint.url, body, token=token)

    def _post(self, endpoint: Endpoint, envelope: bytes, timeout: float) -> httpx2.Response:
        if self._client is None:
            raise RuntimeError("a session is used inside its with statement")
        if (endpoint.address().hostname, endpoint.address().port) != (self.address.hostname, self.address.port):
            raise RuntimeError("a session is for one host")
        return self._client.request(
            "POST",
            endpoint.url,
            content=envelope,
            headers={"Content-Type": soap.CONTENT_TYPE, "Accept": _MEDIA_TYPE},
            timeout=httpx2.Timeout(timeout, connect=self._connect_timeout),
        )

    def _explained(self, error: httpx2.HTTPError) -> ServiceFault:
        """TLS 1.3 tells a client only afterwards that its certificate was not taken."""
        found = explain(error, self.address, self._connect_timeout)
        if not isinstance(self._logon, CertificateLogon) or isinstance(error, httpx2.ConnectTimeout):
            return found
        if type(found) not in (ConnectionFailed, TlsFailed):
            return found
        fix = f"{self._logon.certificate} may not be accepted there: revoked, expired, or of another CA"
        return type(found)(found.what, f"{fix}; or {found.fix}" if found.fix else fix)

    def _body(self, endpoint: Endpoint, response: httpx2.Response, message_id: str) -> Element:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status_code not in (200, 500) or kind != _MEDIA_TYPE:
            raise self._no_soap(endpoint, response.status_code, kind)
        try:
            message = Message.parse(response.content, xcep.MAX_RESPONSE, xcep.MAX_RESPONSE_ELEMENTS)
        except Fault as error:  # an envelope whose headers break rules, not one that holds a fault
            raise NotEnrollmentServices(
                f"{endpoint} answered with an envelope that is none: {error.message}"
            ) from error
        except BadRequest as error:
            raise NotEnrollmentServices(f"{endpoint} answered with XML that is not read: {error.message}") from error
        if message.relates_to and message.relates_to != message_id:
            raise NotEnrollmentServices(f"{endpoint} answered another message", "try again")
        if not soap.is_fault(message.body):
            return message.body
        raise self._fault(endpoint, message.body)

    def _fault(self, endpoint: Endpoint, body: Element) -> AdcsError:
        code, reason, detail = soap.parse_fault(body)
        if soap.subcode(body) in _NO_LOGON and isinstance(self._logon, UserNameLogon):
            account = self._logon.credential.username
            return LogonRefused(
                f"{endpoint} refused the logon of {account}: {reason}",
                "check name and password, whether the account is locked or disabled, and the clocks of both machines",
                LogonCause.UNKNOWN,
            )
        try:
            return Refused(code, reason, EnrollmentDetail.parse(detail))
        except AdcsError:  # the reason counts all the same
            return Refused(code, reason, None)

    def _no_soap(self, endpoint: Endpoint, status: int, kind: str) -> AdcsError:
        if status == 403:
            fix = {
                ClientAuthentication.KERBEROS: "the service may have no Kerberos, or no NTLM: choose another logon",
                ClientAuthentication.USER_NAME: "give the account access to it",
                ClientAuthentication.CERTIFICATE: "the certificate is not accepted there, or the port asks for none",
            }[self._logon.kind]
            return PagesForbidden(f"{endpoint} is forbidden (403) to this logon", fix)
        if status == 404:
            return NotEnrollmentServices(f"there is no {endpoint} (404)", _WHERE)
        if status == 413:
            return BadRequest(f"{endpoint} says that the request is too long")
        if status in (429, 503):
            return ServiceFault(f"{endpoint} cannot be served now (HTTP status {status})", "try again later")
        what = f"HTTP status {status}" if status != 200 else f"{kind[:80] or 'no type at all'} where SOAP should be"
        return NotEnrollmentServices(f"{endpoint} answered with {what}", _WHERE)


def binding_of(session: SoapSession) -> str:
    """SHA-256 of the certificate that the session's logon was bound to; empty where nothing was bound."""
    negotiation = session.negotiation
    if negotiation is None or not negotiation.binding_certificate:
        return ""
    return CertificateView.parse(negotiation.binding_certificate).sha256
