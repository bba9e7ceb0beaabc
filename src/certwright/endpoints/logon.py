"""Who sends a message, by the kind of endpoint it came to. [MS-WSTEP] 3.1.1.1, [MS-XCEP] 3.1.4.1.3.5.

One endpoint, one way to log on: where the transport says who it is, nothing in a message counts, and the other way
round.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from certwright.adcs.errors import AdcsError
from certwright.adcs.requester import Requester
from certwright.auth.client_certificate import CertificateCaller
from certwright.auth.connection import Connection
from certwright.auth.http import BUSY_RETRY, Authenticated, Challenge
from certwright.auth.mechanism import Overloaded, Refused
from certwright.endpoints.asgi import HeaderPairs, Reply
from certwright.pki.certificate import CertificateView
from certwright.wire.soap import Fault, Message
from certwright.wire.xcep import ClientAuthentication

PATH_WORDS: Final = {
    ClientAuthentication.KERBEROS: "Kerberos",
    ClientAuthentication.USER_NAME: "UsernamePassword",
    ClientAuthentication.CERTIFICATE: "Certificate",
}
"""How the addresses of endpoints end."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a message. `holds`: no account, but the key of this certificate, which may be renewed by it alone."""

    requester: Requester
    holds: CertificateView | None = None
    headers: HeaderPairs = ()  # to go with the answer


class NotLoggedOn(Exception):
    """Nobody yet: answer with this and read nothing more."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Negotiate(Protocol):
    """`auth.http.HttpAuthenticator`, with the schemes of these endpoints."""

    async def authenticate(
        self, authorization: bytes | None, connection: Connection
    ) -> Authenticated | Challenge: ...


class UserNames(Protocol):
    """`auth.user_name.UserNameAuthenticator`."""

    async def authenticate(self, user: str, password: str, connection: Connection) -> Requester: ...


class Certificates(Protocol):
    """`auth.client_certificate.CertificateAuthenticator`."""

    async def authenticate(self, connection: Connection) -> CertificateCaller: ...


@dataclass(frozen=True, slots=True)
class Logons:
    """The three ways. `certificates` is None where no listener asks clients for theirs."""

    negotiate: Negotiate
    user_names: UserNames
    certificates: Certificates | None = None

    async def by_transport(
        self, kind: ClientAuthentication, authorization: bytes | None, connection: Connection
    ) -> Caller | None:
        """The caller where HTTP or TLS says it; None where the message does.

        Raises:
            NotLoggedOn: with the challenge or refusal to send.
        """
        match kind:
            case ClientAuthentication.KERBEROS:
                return await self._negotiated(authorization, connection)
            case ClientAuthentication.CERTIFICATE:
                return await self._certified(connection)
        return None

    async def _negotiated(self, authorization: bytes | None, connection: Connection) -> Caller:
        outcome = await self.negotiate.authenticate(authorization, connection)
        if isinstance(outcome, Authenticated):
            return Caller(outcome.requester, headers=tuple(outcome.headers))
        if outcome.status == 401 and not outcome.headers:
            text = "This server has no Kerberos to log on with; use the UsernamePassword endpoint."
            raise NotLoggedOn(Reply.plain(403, text))
        raise NotLoggedOn(Reply.plain(outcome.status, outcome.reason, tuple(outcome.headers)))

    async def _certified(self, connection: Connection) -> Caller:
        if self.certificates is None or connection.peer_certificate is None:
            text = "This address needs a client certificate: use the port that asks for one (certificate-port)."
            raise NotLoggedOn(Reply.plain(403, text))
        try:
            found = await self.certificates.authenticate(connection)
        except Refused as refused:
            raise NotLoggedOn(Reply.plain(403, "The client certificate was not accepted.")) from refused
        except (AdcsError, Overloaded) as error:
            raise NotLoggedOn(_busy()) from error
        return Caller(found.requester, found.certificate if found.is_holder else None)

    async def by_message(self, message: Message, connection: Connection, now: datetime) -> Caller:
        """The caller whose user name and password the message holds.

        Raises:
            Fault: none there, expired, or not right.
            NotLoggedOn: it could not be checked, or is not checked after too many failures.
        """
        token = message.user_name_token(now)
        try:
            return Caller(await self.user_names.authenticate(token.user, token.password, connection))
        except Refused as refused:
            fault = Fault.failed_authentication()
            if refused.retry_after is not None:
                fault.retry_after = max(1, round(refused.retry_after))
            raise fault from refused
        except (AdcsError, Overloaded) as error:
            raise NotLoggedOn(_busy()) from error


def _busy() -> Reply:
    return Reply.plain(503, "The logon could not be checked. Try again.", ((b"retry-after", b"%d" % BUSY_RETRY),))
