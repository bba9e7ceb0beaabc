"""A directory in memory that checks passwords, and NT hashes computed by somebody else's code."""

from __future__ import annotations

import threading

from spnego._ntlm_raw.crypto import ntowfv1

from certwright.directory.base import LogonFailure, LogonRefused, Principal, PrincipalKind
from tests.support.fake_directory import FakeDirectory


class FakeLogonDirectory(FakeDirectory):
    """Implements `directory.base.LogonDirectory`; `password_checks` counts what would have been argon2."""

    def __init__(self) -> None:
        super().__init__()
        self._passwords: dict[str, str] = {}
        self._ntlm: set[str] = set()
        self.password_checks = 0
        self.checking: threading.Semaphore | None = None  # where given, every check waits for a permit

    def add(self, principal: Principal, password: str, *, ntlm: bool = True) -> Principal:
        self.put(principal)
        self._passwords[principal.sid] = password
        if ntlm:
            self._ntlm.add(principal.sid)
        return principal

    def verify_password(self, name: str, password: str) -> Principal:
        self.password_checks += 1
        if self.checking is not None:
            self.checking.acquire()
        principal = self._logon_account(name)
        if self._passwords[principal.sid] != password:
            raise LogonRefused(LogonFailure.WRONG_PASSWORD)
        return principal

    def nt_hash(self, name: str) -> tuple[Principal, bytes]:
        principal = self._logon_account(name)
        if principal.sid not in self._ntlm:
            raise LogonRefused(LogonFailure.NO_NTLM)
        return principal, ntowfv1(self._passwords[principal.sid])

    def _logon_account(self, name: str) -> Principal:
        principal = self.principal(name)
        if principal is None or principal.sid not in self._passwords:
            raise LogonRefused(LogonFailure.UNKNOWN_ACCOUNT)
        if principal.kind is PrincipalKind.GROUP:
            raise LogonRefused(LogonFailure.NOT_A_LOGON_ACCOUNT)
        if not principal.enabled:
            raise LogonRefused(LogonFailure.DISABLED)
        return principal
