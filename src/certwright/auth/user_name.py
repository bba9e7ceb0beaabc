r"""User name and password out of a message, checked once for each connection that sends them. WSS UsernameToken 1.1.

A connection on which they were right is that account's for messages with the very same two, as long as it lives;
every other pair is checked anew. Names are `DOMAIN\name` or `name@suffix`. Guesses are throttled together with those
at the other doors (`auth.accounts`).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from concurrent.futures import Executor
from dataclasses import dataclass, field

import structlog

from certwright.adcs.errors import AdcsError
from certwright.adcs.requester import AuthMethod, Requester
from certwright.auth.accounts import Accounts, why_unfit
from certwright.auth.connection import Connection
from certwright.auth.http import REVIEW_SECONDS
from certwright.auth.lookups import Lookups
from certwright.auth.mechanism import Overloaded, Refused
from certwright.auth.throttle import Throttle
from certwright.directory.base import LogonDirectory, Principal

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Proved:
    """Whose user name and password came over this connection."""

    digest: bytes = field(repr=False)  # keyed, of both
    principal: Principal
    reviewed: float


class UserNameAuthenticator:
    """For the connections of one event loop.

    Args:
        pool: where password hashes are computed.
        lookups: where look-ups are made that may block; None where the directory never does.
    """

    def __init__(
        self, directory: LogonDirectory, throttle: Throttle, pool: Executor, lookups: Lookups | None = None
    ) -> None:
        self._directory = directory
        self._accounts = Accounts(directory, throttle, pool, lookups)
        self._lookups = lookups
        self._key = secrets.token_bytes(32)

    async def authenticate(self, user: str, password: str, connection: Connection) -> Requester:
        """Who sends this message.

        Raises:
            Refused: not with this password, or too many attempts failed.
            Overloaded: too many wait to be checked.
            AdcsError: the directory does not answer.
        """
        digest = self._digest(user, password)
        proved = connection.auth
        if type(proved) is _Proved and hmac.compare_digest(proved.digest, digest):
            principal = await self._review(proved)
        else:
            connection.auth = None
            principal = await self._check(user, password, connection)
            connection.auth = _Proved(digest, principal, time.monotonic())
        return Requester(
            principal.account, principal.sid, principal.groups, AuthMethod.USER_NAME, origin=connection.peer
        )

    def _digest(self, user: str, password: str) -> bytes:
        """Keyed, so that what a connection keeps is worth nothing elsewhere.

        BLAKE2 and not HMAC, which lets go of the interpreter even for some bytes: in front of the issuer thread that
        cost more than all else here.
        """
        return hashlib.blake2b(f"{user}\0{password}".encode("utf-8", "surrogatepass"), key=self._key).digest()

    async def _check(self, user: str, password: str, connection: Connection) -> Principal:
        domain, backslash, name = user.partition("\\")
        if not backslash:
            domain, name = "", user
        try:
            principal = await self._accounts.check_password(domain, name, password, connection.peer)
        except Refused as refused:
            log.warning(
                "logon_refused",
                reason=refused.reason,
                account=_printable(refused.account),
                method=AuthMethod.USER_NAME.value,
                peer=connection.peer,
                connection=connection.id,
            )
            raise
        log.info(
            "logon_accepted",
            account=principal.account,
            method=AuthMethod.USER_NAME.value,
            peer=connection.peer,
            connection=connection.id,
        )
        return principal

    async def _review(self, proved: _Proved) -> Principal:
        """The account as it is today. A directory that does not answer leaves it as it was."""
        sid = proved.principal.sid
        if self._lookups is None:
            found = self._directory.principal(sid)
        elif time.monotonic() - proved.reviewed < REVIEW_SECONDS:
            return proved.principal
        else:
            try:
                found = await self._lookups.run(lambda: self._directory.principal(sid))
            except (AdcsError, Overloaded) as error:
                log.warning("account_not_reviewed", account=proved.principal.account, reason=str(error))
                return proved.principal
            proved.reviewed = time.monotonic()
        reason = "unknown account" if found is None else why_unfit(found)
        if found is None or reason:
            log.warning("logon_ended", reason=reason, account=proved.principal.account)
            raise Refused(reason, proved.principal.account)
        proved.principal = found
        return found


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:512])
