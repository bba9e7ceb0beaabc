"""Logging on to a connection with NTLM, Kerberos or Basic, bound to that very connection.

RFC 4559 (Negotiate), [MS-NTHT] (NTLM), RFC 7617 (Basic), RFC 5929 4 (tls-server-end-point). The binding is computed
from the certificate of the connection on which the challenge came, and a handshake that wanders to another connection
ends.

A refusal says what is known: what the server offers, a result code in its answer, the KDC's own code. What stands in
prose is not read.
"""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx2
from spnego.channel_bindings import GssChannelBindings

from certwright.adcs.errors import BadRequest, CaUnreachable, ConfigurationError
from certwright.connectors.errors import ConnectionFailed, LogonCause, LogonRefused, TlsFailed
from certwright.connectors.handshake import Initiator, KerberosInitiator, NtlmInitiator, require_kerberos
from certwright.connectors.server_certificate import colons
from certwright.connectors.service import AuthScheme, CredentialKind, ServiceAddress, ServiceCredential
from certwright.pki.certificate import CertificateView
from certwright.pki.channel_binding import tls_server_end_point
from certwright.pki.errors import EncodingError
from certwright.wire.ntlm import AvId, ChallengeMessage, MessageType, message_type

_T = TypeVar("_T")

NOTED: Final = "certwright.connection"
"""The extension of an answer that holds its `TlsConnection`."""
MAX_LEGS: Final = 4
MAX_TOKEN: Final = 64 * 1024

_RESULT_CODES: Final = {
    0x80090346: LogonCause.CHANNEL_BINDING,  # SEC_E_BAD_BINDINGS
    0x8009030C: LogonCause.WRONG_PASSWORD,  # SEC_E_LOGON_DENIED
    0x8007052E: LogonCause.WRONG_PASSWORD,
    0xC000006D: LogonCause.WRONG_PASSWORD,  # STATUS_LOGON_FAILURE
    0xC000006A: LogonCause.WRONG_PASSWORD,
    0xC0000064: LogonCause.WRONG_PASSWORD,
    0xC0000234: LogonCause.LOCKED,
    0x80070775: LogonCause.LOCKED,
    0xC0000072: LogonCause.DISABLED,
    0x80070533: LogonCause.DISABLED,
    0xC0000193: LogonCause.EXPIRED,
    0x80070701: LogonCause.EXPIRED,
    0xC0000071: LogonCause.PASSWORD_EXPIRED,
    0xC0000224: LogonCause.PASSWORD_EXPIRED,
    0x80070532: LogonCause.PASSWORD_EXPIRED,
    0x80070773: LogonCause.PASSWORD_EXPIRED,
    0xC000006E: LogonCause.NOT_PERMITTED,
    0xC000006F: LogonCause.NOT_PERMITTED,
    0xC0000070: LogonCause.NOT_PERMITTED,
    0xC000015B: LogonCause.NOT_PERMITTED,
    0x80090322: LogonCause.SERVICE_NAME,  # SEC_E_WRONG_PRINCIPAL
}
"""Windows' codes of a refused logon, which IIS writes into detailed error pages."""
_CODE: Final = re.compile(rb"0x([8c][0-9a-f]{7})\b", re.IGNORECASE)

_KRB5_BASE: Final = -1765328384  # ERROR_TABLE_BASE_krb5
_KRB5_CODES: Final = {
    1: LogonCause.EXPIRED,  # KDC_ERR_NAME_EXP; RFC 4120 7.5.9, and krb5_err.et above 127
    6: LogonCause.WRONG_PASSWORD,  # the account is unknown
    7: LogonCause.SERVICE_NAME,
    12: LogonCause.NOT_PERMITTED,
    18: LogonCause.LOCKED,  # locked or disabled: the KDC does not tell them apart
    23: LogonCause.PASSWORD_EXPIRED,
    24: LogonCause.WRONG_PASSWORD,
    31: LogonCause.WRONG_PASSWORD,  # decrypt integrity check failed: another key
    37: LogonCause.CLOCK,
    154: LogonCause.KDC,  # realm unknown
    156: LogonCause.KDC,  # KDC unreachable
    181: LogonCause.KEYTAB,  # no key of that principal in it
    213: LogonCause.KEYTAB,  # not a keytab
}

_ADVICE: Final = {
    LogonCause.CHANNEL_BINDING: (
        "it does not accept the channel binding",
        "something between here and the server ends TLS (a proxy or load balancer): let the service's address lead "
        "to the server itself, or show the same certificate on both",
    ),
    LogonCause.WRONG_PASSWORD: ("the name or the password is wrong", "correct the device user"),
    LogonCause.LOCKED: (
        "the account is locked or disabled",
        "unlock it in the directory, and find out who tried wrong passwords",
    ),
    LogonCause.DISABLED: ("the account is disabled", "enable it in the directory"),
    LogonCause.EXPIRED: ("the account has expired", "extend it in the directory"),
    LogonCause.PASSWORD_EXPIRED: (
        "the password has expired or must be changed",
        "set a new one in the directory and store it with the device user",
    ),
    LogonCause.NOT_PERMITTED: (
        "the account may not log on there",
        "check logon hours, workstations, and the right to access that computer from the network",
    ),
    LogonCause.SERVICE_NAME: (
        "the domain knows no service principal name HTTP/{host}, or another account holds it",
        "use the server's own name, or register this one with setspn -S HTTP/{host}",
    ),
    LogonCause.KDC: (
        "no domain controller of the realm answers",
        "check the realm's name, and its records _kerberos._tcp in DNS",
    ),
    LogonCause.KEYTAB: (
        "the keytab holds no key for it, or is none",
        "make it again with ktpass or ktutil for exactly this principal, and store it with the device user",
    ),
    LogonCause.CLOCK: (
        "the clocks of this machine and of the domain differ by more than five minutes",
        "synchronise them",
    ),
}
"""What a cause means, and what to do about it."""


@dataclass(frozen=True, slots=True)
class TlsConnection:
    """The connection an answer came on, as it was when the answer began: read to its end, it may be closed."""

    identity: object  # the connection's own TLS object
    certificate: bytes = field(repr=False)  # DER, the server's


def note_connection(response: httpx2.Response) -> TlsConnection:
    """For the transport: which connection this answer comes on.

    Raises:
        TlsFailed: one without TLS, on which nobody logs on.
    """
    stream = response.extensions.get("network_stream")
    found: Any = stream.get_extra_info("ssl_object") if stream is not None else None
    certificate = found.getpeercert(True) if found is not None else None
    if not certificate:
        raise TlsFailed("the answer did not come over TLS")
    return TlsConnection(found, certificate)


def connection_of(response: httpx2.Response) -> TlsConnection:
    noted = response.extensions[NOTED]
    assert isinstance(noted, TlsConnection)
    return noted


class ConnectionLogon(httpx2.Auth):
    """Logs one account on to the connection of a client that has only one.

    Args:
        address: of the server; its host name is the target the logon is made out to.
        credential: the account; None for whose tickets this process has (Kerberos only).
    """

    requires_response_body = True

    def __init__(self, address: ServiceAddress, credential: ServiceCredential | None) -> None:
        self._address = address
        self._credential = credential
        self._account = credential.username if credential is not None else "the owner of the tickets here"
        self.offered: tuple[str, ...] = ()
        self.binding_certificate = b""
        self._server_domain = ""

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send; where the answer is 401, log on and send again. A connection that is logged on needs nothing.

        Raises:
            LogonRefused: with everything known about why.
            ConnectionFailed: the connection did not outlive the handshake.
        """
        request.headers.pop("Authorization", None)
        response = yield request
        if response.status_code != 401:
            return
        self.offered = _offered(response)
        bound = connection_of(response)
        if self._address.scheme is AuthScheme.BASIC:
            yield from self._basic(request)
            return
        with self._initiator(bound.certificate) as initiator:
            token: bytes | None = self._guarded(initiator.first)
            for leg in range(MAX_LEGS):
                if token is None:
                    break
                request.headers["Authorization"] = f"{initiator.scheme} {base64.b64encode(token).decode('ascii')}"
                response = yield request
                received = _token(response, initiator.scheme)
                if response.status_code != 401:
                    if received is not None:
                        self._finish(initiator, received)
                    return
                current = connection_of(response)
                if leg == 0 and current.certificate == bound.certificate:
                    bound = current  # the first 401 may close its connection; the handshake begins here
                if current != bound:
                    raise ConnectionFailed(
                        f"{self._address} closed the connection in the middle of the {self._label} handshake",
                        "allow keep-alive on the web site and on every proxy before it",
                    )
                if received is None:
                    raise self._refused(response, initiator)
                self._note(received)
                token = self._guarded(partial(initiator.next, received))
        raise self._refused(response, initiator)

    # -- schemes

    @property
    def _label(self) -> str:
        return self._address.scheme.label

    def _basic(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        self._require(("basic",))
        if self._credential is None or self._credential.kind is not CredentialKind.PASSWORD:
            raise ConfigurationError("Basic needs a password; this device user has a keytab")
        pair = f"{self._credential.logon_name}:{self._credential.secret!s}".encode()
        request.headers["Authorization"] = f"Basic {base64.b64encode(pair).decode('ascii')}"
        response = yield request
        if response.status_code == 401:
            raise self._refusal(_cause_in(response), "it does not say why", _UNKNOWN_FIX)

    @contextmanager
    def _initiator(self, certificate: bytes) -> Iterator[Initiator]:
        bindings = self._bindings(certificate)
        if self._address.scheme is AuthScheme.NTLM:
            scheme = self._require(("ntlm", "negotiate"))
            if self._credential is None or self._credential.kind is not CredentialKind.PASSWORD:
                raise ConfigurationError("NTLM needs a password; choose Kerberos for a device user with a keytab")
            yield NtlmInitiator(scheme, self._address.hostname, self._credential, bindings)
            return
        self._require(("negotiate",))
        require_kerberos()
        with tempfile.TemporaryDirectory(prefix="certwright-") as folder:
            make = partial(KerberosInitiator, self._address.hostname, self._credential, bindings, Path(folder))
            yield self._guarded(make)

    def _require(self, wanted: tuple[str, ...]) -> str:
        """The first wanted scheme that the server offers, as the header names it."""
        offered = {name.lower(): name for name in self.offered}
        for name in wanted:
            if name in offered:
                return offered[name]
        what = f"it offers {', '.join(self.offered)}" if offered else "it offers no scheme at all"
        raise LogonRefused(
            f"{self._address} does not offer {self._label} for its logon (401); {what}",
            "choose a scheme that it offers, or enable Windows Authentication with its providers Negotiate and NTLM "
            "on the web site",
            LogonCause.NOT_OFFERED,
            self.offered,
        )

    def _bindings(self, certificate: bytes) -> GssChannelBindings:
        self.binding_certificate = certificate
        try:
            return GssChannelBindings(application_data=tls_server_end_point(certificate))
        except EncodingError as error:
            raise TlsFailed(
                f"no channel binding can be made for the certificate of {self._address} ({error})",
                "give the web site a certificate that is signed with RSA or ECDSA",
            ) from error

    # -- refusals

    def _guarded(self, call: Callable[[], _T]) -> _T:
        """Call into the security libraries, whose exceptions have no common ancestor below Exception."""
        try:
            return call()
        except (LogonRefused, ConfigurationError, CaUnreachable):
            raise
        except Exception as error:
            kind, code = type(error).__name__, _code_of(error)
            unknown = f"the {self._label} logon could not be made on this side ({kind}, code {code})"
            fix = "check the account's name and realm, and the Kerberos configuration of this machine"
            if self._credential is None:
                fix = (
                    "get a ticket with kinit, or name a keytab; then check the Kerberos configuration of this machine"
                )
            raise self._refusal(_kerberos_cause(error), unknown, fix) from error

    def _finish(self, initiator: Initiator, received: bytes) -> None:
        """Check the server's own proof."""
        try:
            self._guarded(partial(initiator.next, received))
        except LogonRefused as error:
            raise ConnectionFailed(
                f"{self._address} took the logon and does not prove to be the server it was made out to",
                "check what stands between here and the server",
            ) from error

    def _note(self, received: bytes) -> None:
        """Remember which domain an NTLM challenge speaks for; it helps to see a wrong one."""
        if message_type(received) is MessageType.CHALLENGE:
            try:
                value = ChallengeMessage.parse(received).target_info.get(AvId.DNS_DOMAIN_NAME)
            except BadRequest:
                return
            text = (value or b"").decode("utf-16-le", "replace")
            self._server_domain = text if text.isprintable() else ""

    def _refused(self, response: httpx2.Response, initiator: Initiator) -> LogonRefused:
        cause = _cause_in(response)
        if cause is LogonCause.UNKNOWN and not initiator.is_spent:
            return LogonRefused(
                f"{self._address} offers {initiator.scheme} and refuses it before its challenge",
                f"{self._label} may be switched off by policy there; choose the other scheme",
                LogonCause.NOT_CHALLENGED,
                self.offered,
            )
        unknown = f"the {self._label} handshake was complete and the server does not say why"
        if self._server_domain:
            unknown += f" (it speaks for the domain {self._server_domain})"
        sha256 = CertificateView.parse(self.binding_certificate).sha256
        return self._refusal(cause, unknown, _UNKNOWN_FIX + _UNKNOWN_BINDING.format(sha256=colons(sha256)))

    def _refusal(self, cause: LogonCause, unknown: str, unknown_fix: str) -> LogonRefused:
        known, fix = _ADVICE.get(cause, (unknown, unknown_fix))
        host, account = self._address.hostname, self._account
        return LogonRefused(
            f"{self._address} refused the logon of {account}: {known.replace('{host}', host)}",
            fix.replace("{host}", host),
            cause,
            self.offered,
        )


_UNKNOWN_FIX: Final = (
    "check the password, and whether the account is locked, disabled, expired, or not permitted to log on there"
)
_UNKNOWN_BINDING: Final = (
    "; and compare the certificate on the server with the one that the logon was bound to (SHA-256 {sha256}): where "
    "they differ, something in between ends TLS, and the channel binding is refused"
)


# -- reading answers -------------------------------------------------------------------------------------------------


def _offered(response: httpx2.Response) -> tuple[str, ...]:
    """Names of the schemes, each once. Commas separate parameters as well as schemes (RFC 9110 11.6.1): parameters
    have an equals sign, scheme names have none."""
    names: dict[str, str] = {}
    for value in response.headers.get_list("www-authenticate"):
        for part in value.split(","):
            name = part.strip().partition(" ")[0]
            if re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,31}", name):
                names.setdefault(name.lower(), name)
    return tuple(names.values())[:8]


def _token(response: httpx2.Response, scheme: str) -> bytes | None:
    """The token of the challenge for this scheme.

    Raises:
        ConnectionFailed: it is longer than any, or not base64.
    """
    prefix = scheme.lower() + " "
    for value in response.headers.get_list("www-authenticate"):
        if value.lower().startswith(prefix):
            try:
                token = binascii.a2b_base64(value[len(prefix) :].strip().encode("ascii"), strict_mode=True)
            except ValueError as error:
                raise ConnectionFailed(f"the server's {scheme} challenge is not base64") from error
            if len(token) > MAX_TOKEN:
                raise ConnectionFailed(f"the server's {scheme} challenge is longer than {MAX_TOKEN} bytes")
            return token
    return None


def _cause_in(response: httpx2.Response) -> LogonCause:
    for found in _CODE.findall(response.content[: 64 * 1024]):
        cause = _RESULT_CODES.get(int(found, 16))
        if cause is not None:
            return cause
    return LogonCause.UNKNOWN


def _code_of(error: BaseException) -> str:
    for name in ("err_code", "min_code", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int):
            return str(value)
    base = getattr(error, "base_error", None)
    return _code_of(base) if isinstance(base, BaseException) else "unknown"


def _kerberos_cause(error: BaseException) -> LogonCause:
    """By the KDC's or the library's number, which GSS carries unsigned."""
    code = _code_of(error)
    if not code.lstrip("-").isdigit():
        return LogonCause.UNKNOWN
    number = int(code)
    if number >= 1 << 31:
        number -= 1 << 32
    return _KRB5_CODES.get(number - _KRB5_BASE, LogonCause.UNKNOWN)
