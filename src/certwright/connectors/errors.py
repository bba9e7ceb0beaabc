"""What goes wrong on the way to somebody else's CA, in words its administrator can act on.

Every error says what was seen (`what`) and what to do about it (`fix`); its message is both. Neither holds a secret.
"""

from __future__ import annotations

from enum import StrEnum

from certwright.adcs.errors import AccessDenied, AdcsError, CaUnreachable, HResult
from certwright.connectors.server_certificate import ServerCertificate


class ServiceFault(CaUnreachable):
    """The service cannot be used now, and nothing was handed in."""

    def __init__(self, what: str, fix: str = "", status: HResult | None = None) -> None:
        super().__init__(joined(what, fix), status)
        self.what = what
        self.fix = fix


class NameNotResolved(ServiceFault):
    """DNS knows no address of the server."""


class ConnectionFailed(ServiceFault):
    """Nobody listens, nobody answers in time, or the connection broke."""


class TlsFailed(ServiceFault):
    """The server answers, but not with TLS that can be used."""


class CertificateNotTrusted(TlsFailed):
    """The server's certificate does not lead to what the service trusts. `seen` is that certificate."""

    def __init__(self, what: str, fix: str, seen: ServerCertificate | None = None) -> None:
        super().__init__(what, fix)
        self.seen = seen


class NotEnrollmentPages(ServiceFault):
    """The server answers with something that is not Web Enrollment, or with a fault of its own."""


class NotEnrollmentServices(ServiceFault):
    """The server answers, but not with the enrollment web services."""


class AnswerLost(CaUnreachable):
    """A request was sent and no usable answer came back: it may have been recorded, or even issued.

    Look for it before handing it in again. `request_id` is its number where the answer still told it.
    """

    def __init__(self, message: str, request_id: int | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class LogonCause(StrEnum):
    """Why a logon was refused, as far as it is known."""

    UNKNOWN = "unknown"  # after a complete handshake the server said no and nothing else
    NOT_OFFERED = "scheme not offered"
    NOT_CHALLENGED = "scheme refused before its challenge"
    CHANNEL_BINDING = "channel binding refused"
    WRONG_PASSWORD = "wrong name or password"  # noqa: S105 - a cause, not a password
    LOCKED = "account locked"
    DISABLED = "account disabled"
    EXPIRED = "account expired"
    PASSWORD_EXPIRED = "password expired"  # noqa: S105 - a cause, not a password
    NOT_PERMITTED = "logon not permitted"
    SERVICE_NAME = "service principal name unknown"
    KDC = "no KDC reached"
    CLOCK = "clocks differ"
    KEYTAB = "keytab does not fit"
    NOT_INSTALLED = "Kerberos libraries missing"


class LogonRefused(AccessDenied):
    """The server, or the KDC, did not accept the account.

    Args:
        offered: schemes of the server's WWW-Authenticate headers, as written there.
    """

    def __init__(self, what: str, fix: str, cause: LogonCause, offered: tuple[str, ...] = ()) -> None:
        super().__init__(joined(what, fix))
        self.what = what
        self.fix = fix
        self.cause = cause
        self.offered = offered


class PagesForbidden(AccessDenied):
    """The account logged on, but may not use the pages (403)."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(joined(what, fix))
        self.what = what
        self.fix = fix


class WrongCertificate(AdcsError):
    """The CA handed out a certificate for another key than the request's."""

    status = HResult.ERROR_INVALID_DATA

    def __init__(self, message: str, request_id: int) -> None:
        super().__init__(message)
        self.request_id = request_id


def joined(what: str, fix: str) -> str:
    return f"{what}. {fix[0].upper()}{fix[1:]}" if fix else what
