r"""Names that clients send, the accounts they mean, and the one place where a credential is compared.

Every comparison is throttled here, whatever the mechanism, and every refusal counted; nobody else calls
`verify_password` or `nt_hash`. Forms of a name: `DOMAIN\name` with the NetBIOS or DNS name of the domain, `name`,
`name@suffix` ([MS-NLMP] 3.2.5.1.2; [MS-ADTS] 5.1.1.1.1).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, TypeVar

from certwright.auth.lookups import Lookups
from certwright.auth.mechanism import Overloaded, Refused
from certwright.auth.throttle import Throttle
from certwright.directory.base import LogonDirectory, LogonFailure, LogonRefused, Principal, PrincipalKind

MAX_NAME: Final = 256
"""Longest account or domain name looked up, in characters: what sAMAccountName and DNS allow."""
MAX_CHECKS: Final = 2
"""Password hashes computed at a time: each fills a core and tens of MiB of memory."""
MAX_WAITING: Final = 64
"""Password checks that may wait for their turn; more are answered 503."""

_GUEST: Final = "-501"  # RID of the Guest account, [MS-DTYP] 2.4.2.4
_T = TypeVar("_T")


class WrongProof(Refused):
    """Whoever checked it says that the client does not know the password, or may not log on: counted as a guess."""


@dataclass(frozen=True, slots=True)
class _Account:
    """Whom a name means. `key` is what failures are counted under: the SID, however the name was spelled."""

    spelled: str
    lookup: str
    key: str


class Accounts:
    """The accounts of one directory, for one process.

    Args:
        lookups: where look-ups in the directory are made that may block; none where they never do.
    """

    def __init__(
        self, directory: LogonDirectory, throttle: Throttle, pool: Executor, lookups: Lookups | None = None
    ) -> None:
        self._directory = directory
        self._throttle = throttle
        self._pool = pool
        self._lookups = lookups
        self._slots = asyncio.Semaphore(MAX_CHECKS)
        self._waiting = 0

    @property
    def directory(self) -> LogonDirectory:
        return self._directory

    def prove_nt_hash(self, domain: str, user: str, peer: str, proves: Callable[[bytes], bool]) -> Principal:
        """The account, if `proves` says that the client knows its NT hash. Costs microseconds, blocks nobody.

        Raises:
            Refused: it does not, there is no such account, it may not use NTLM, or too many attempts failed.
        """
        account = self._find(domain, user)
        self._require_patience(account, peer)
        try:
            principal, nt_hash = self._directory.nt_hash(account.lookup)
            reason = why_unfit(principal)
        except LogonRefused as refused:
            principal, nt_hash, reason = None, secrets.token_bytes(16), refused.reason.value
        proved = proves(nt_hash)  # for nobody's hash too, so that the time taken does not tell who exists
        if principal is None or reason or not proved:
            self._throttle.failed(account.key, peer)
            raise Refused(reason or "wrong password", account.spelled)
        return principal

    async def prove_elsewhere(
        self, domain: str, user: str, peer: str, prove: Callable[[], Awaitable[bytes]]
    ) -> tuple[Principal, bytes]:
        """The account and what `prove` returns, if somebody else who knows the password says that the proof is right.

        Raises:
            Refused: it is not, the directory does not know the account, or too many attempts failed.
            AdcsError: the directory does not answer.
        """
        account, principal = await self._look_up(domain, user)
        self._require_patience(account, peer)
        try:
            proof = await prove()  # for nobody's name too, as in `prove_nt_hash`
            reason = "unknown account" if principal is None else why_unfit(principal)
        except WrongProof as wrong:
            proof, reason = b"", wrong.reason
        except Refused as refused:
            raise Refused(refused.reason, account.spelled) from refused
        if principal is None or reason:
            self._throttle.failed(account.key, peer)
            raise Refused(reason, account.spelled)
        return principal, proof

    def note_success(self, principal: Principal, peer: str) -> None:
        """Say that a logon is complete: forget the account's failures from this address.

        Apart from the proof, because a right proof may be somebody else's, passed on (`auth.channel_binding`).
        """
        self._throttle.succeeded(principal.sid, peer)

    async def check_password(self, domain: str, user: str, password: str, peer: str) -> Principal:
        """The account, if the password is right. The hash is computed in the pool, at most `MAX_CHECKS` at a time.

        Raises:
            Refused: it is wrong, there is no such account, or too many attempts failed.
            Overloaded: too many wait already.
        """
        if self._lookups is not None:
            return await self._in_pool(lambda: self._check(self._find(domain, user), password, peer))
        account = self._find(domain, user)
        self._require_patience(account, peer)
        return await self._in_pool(lambda: self._check(account, password, peer))

    def check_password_here(self, domain: str, user: str, password: str, peer: str) -> Principal:
        """The same in the calling thread, for callers that have few of them (the console's pages).

        Raises:
            Refused: as `check_password`.
        """
        return self._check(self._find(domain, user), password, peer)

    def _check(self, account: _Account, password: str, peer: str) -> Principal:
        self._require_patience(account, peer)  # others may have failed while this one waited
        try:
            principal = self._directory.verify_password(account.lookup, password)
            reason = why_unfit(principal)
        except LogonRefused as refused:
            self._throttle.failed(account.key, peer)
            raise Refused(refused.reason.value, account.spelled) from None
        if reason:
            self._throttle.failed(account.key, peer)
            raise Refused(reason, account.spelled)
        self.note_success(principal, peer)
        return principal

    async def _in_pool(self, check: Callable[[], _T]) -> _T:
        """Run in the pool. A slot is held until the work is done, even if the client no longer waits for it."""
        if self._waiting >= MAX_WAITING:
            raise Overloaded
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            work = asyncio.get_running_loop().run_in_executor(self._pool, check)
        except BaseException:
            self._slots.release()
            raise
        work.add_done_callback(lambda _: self._slots.release())
        return await asyncio.shield(work)

    async def _look_up(self, domain: str, user: str) -> tuple[_Account, Principal | None]:
        def look_up() -> tuple[_Account, Principal | None]:
            account = self._find(domain, user)
            return account, self._directory.principal(account.lookup)

        return look_up() if self._lookups is None else await self._lookups.run(look_up)

    def _find(self, domain: str, user: str) -> _Account:
        """The account a client's two names mean; one that is not there gets a name nobody has.

        Raises:
            Refused: the names cannot be those of an account.
        """
        spelled = f"{domain}\\{user}" if domain else user
        if not user or max(len(user), len(domain)) > MAX_NAME or "\\" in user or not spelled.isprintable():
            raise Refused("the name cannot be an account's", spelled[:MAX_NAME])
        ours = self._directory.domain
        own_names = (ours.netbios_name.lower(), ours.dns_name.lower())
        lookup = spelled
        if not domain and "@" in user:
            name, _, suffix = user.rpartition("@")
            if self._directory.principal(user) is None and suffix.lower() in own_names:
                lookup = f"{ours.netbios_name}\\{name}"
        elif not domain or domain.lower() in own_names:
            lookup = f"{ours.netbios_name}\\{user}"
        principal = self._directory.principal(lookup)
        return _Account(spelled, lookup, lookup.lower() if principal is None else principal.sid)

    def _require_patience(self, account: _Account, peer: str) -> None:
        wait = self._throttle.wait(account.key, peer)
        if wait > 0.0:
            raise Refused("too many failed attempts: not checked", account.spelled, retry_after=wait)


def why_unfit(principal: Principal) -> str:
    """Why an account that proved itself may not log on all the same; empty when it may."""
    if principal.kind is PrincipalKind.GROUP:
        return "a group cannot log on"
    if principal.sid.endswith(_GUEST):
        return "Guest cannot log on"
    if principal.enabled:
        return ""
    return (principal.obstacle or LogonFailure.DISABLED).value
