"""The embedded directory: principals, templates and enrollment services of our own database, and their passwords.

Every question is answered from memory. The version in the database is looked at again after `RECHECK` seconds, so a
change by another process is seen that much later; changes by this process call `refresh`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.requester import Sid
from certwright.adcs.template import CertificateTemplate
from certwright.database.opening import Database
from certwright.directory import passwords, store
from certwright.directory.base import (
    Domain,
    EnrollmentService,
    LogonFailure,
    LogonRefused,
    Principal,
    PrincipalKind,
)
from certwright.directory.snapshot import Snapshot
from certwright.keystores.sealing import Sealer, SealingError

RECHECK: Final = 0.2  # seconds


class EmbeddedDirectory:
    """Implements `directory.base.LogonDirectory`. Thread-safe.

    Args:
        sealer: opens NT hashes.
        monotonic: the clock that says when to look at the version again.
    """

    def __init__(
        self, database: Database, sealer: Sealer, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._monotonic = monotonic
        self._loading = threading.Lock()
        self._snapshot = Snapshot(store.load(database))
        self._fresh_until = monotonic() + RECHECK

    # -- Directory -----------------------------------------------------------------------------------------------

    @property
    def domain(self) -> Domain:
        """Raises:
        ConfigurationError: the directory has not been set up.
        """
        return self.snapshot().domain

    def principal(self, name_or_sid: str) -> Principal | None:
        return self.snapshot().find(name_or_sid)

    def templates(self) -> Mapping[str, CertificateTemplate]:
        return self.snapshot().templates

    def enrollment_service(self, ca_name: str) -> EnrollmentService | None:
        return self.snapshot().service(ca_name)

    def enrollment_services(self) -> Sequence[EnrollmentService]:
        return tuple(self.snapshot().services.values())

    def sid_names(self, sids: frozenset[Sid]) -> Mapping[Sid, str]:
        return self.snapshot().sid_names(sids)

    # -- LogonDirectory ------------------------------------------------------------------------------------------

    def verify_password(self, name: str, password: str) -> Principal:
        """Check a password; some 30 ms, whether the account exists or not.

        Raises:
            LogonRefused: with the reason, which belongs in the log only.
        """
        snapshot = self.snapshot()
        principal = snapshot.find_exactly(name)
        row = snapshot.accounts.get(principal.sid) if principal is not None else None
        matches = passwords.verify(row.password if row is not None else "", password)
        if principal is None:
            raise LogonRefused(LogonFailure.UNKNOWN_ACCOUNT)
        if row is None:
            raise LogonRefused(LogonFailure.NOT_A_LOGON_ACCOUNT)
        if not matches:
            raise LogonRefused(LogonFailure.WRONG_PASSWORD)
        if not principal.enabled:
            raise LogonRefused(LogonFailure.DISABLED)
        return principal

    def nt_hash(self, name: str) -> tuple[Principal, bytes]:
        """The account and the hash that NTLM proofs are checked with.

        Raises:
            LogonRefused: with the reason, which belongs in the log only.
            ConfigurationError: the hash was sealed with a master key this installation does not have.
        """
        snapshot = self.snapshot()
        principal = snapshot.find_exactly(name)
        if principal is None:
            raise LogonRefused(LogonFailure.UNKNOWN_ACCOUNT)
        if principal.kind is PrincipalKind.GROUP:
            raise LogonRefused(LogonFailure.NOT_A_LOGON_ACCOUNT)
        if not principal.enabled:
            raise LogonRefused(LogonFailure.DISABLED)
        row = snapshot.accounts[principal.sid]
        if not row.ntlm or row.nt_hash is None:
            raise LogonRefused(LogonFailure.NO_NTLM)
        try:
            return principal, self._sealer.open(row.nt_hash, nt_hash_context(row.sid))
        except SealingError as error:
            raise ConfigurationError(f"The NT hash of {principal.account} does not open: {error}") from error

    # -- keeping up ----------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The directory as it is now, or was `RECHECK` seconds ago."""
        if self._monotonic() < self._fresh_until:
            return self._snapshot
        if not self._loading.acquire(blocking=False):
            return self._snapshot  # another thread is looking already
        try:
            self._look()
        finally:
            self._loading.release()
        return self._snapshot

    @property
    def known(self) -> Snapshot:
        """The directory as it was last read, without another look."""
        return self._snapshot

    def refresh(self) -> None:
        """See every change committed before this call."""
        with self._loading:
            self._look()

    def _look(self) -> None:
        asked = self._monotonic()
        with self._database.read() as connection:
            if connection.in_transaction:
                return  # this thread's own change, perhaps of the directory itself: not committed yet
            current = store.version(connection)
        if current != self._snapshot.version:
            self._snapshot = Snapshot(store.load(self._database), self._snapshot)
        self._fresh_until = asked + RECHECK


def nt_hash_context(sid: Sid) -> str:
    """What a sealed NT hash is bound to: moved to another account it does not open."""
    return f"directory/nt-hash/{sid}"
