"""Who showed this certificate in the TLS handshake: an account, or whoever holds its key. [MS-WSTEP] 3.1.1.1.2.

TLS has proved possession of the key, so nothing can be relayed and no channel binding is asked for. A certificate
that is ours, valid and meant for client authentication but maps strongly (KB5014754) to no account proves only that
somebody holds its key: such a holder may ask for one thing, a renewal of that very certificate ([MS-WCCE]
3.2.2.6.2.1.2.4).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import structlog

from certwright.adcs.requester import AuthMethod, Credential, Requester, Sid
from certwright.auth.certificate_mapping import Unmapped
from certwright.auth.connection import Connection
from certwright.auth.domain import CertificateMapper
from certwright.auth.http import REVIEW_SECONDS
from certwright.auth.lookups import Lookups
from certwright.auth.mechanism import Refused
from certwright.pki.certificate import CertificateView

log = structlog.get_logger(__name__)

NOBODY: Final = Sid("S-1-0-0")
"""The SID of whoever has no account. [MS-DTYP] 2.4.2.4."""


@dataclass(frozen=True, slots=True)
class CertificateCaller:
    """Who showed a certificate. `is_holder`: the certificate is nobody's account, and good for its renewal alone."""

    requester: Requester
    certificate: CertificateView
    is_holder: bool


@dataclass(slots=True, eq=False)
class _Shown:
    caller: CertificateCaller
    reviewed: float
    ends: float  # monotonic, with the certificate


class CertificateAuthenticator:
    """For the connections of one event loop."""

    def __init__(self, mapper: CertificateMapper, lookups: Lookups) -> None:
        self._mapper = mapper
        self._lookups = lookups

    async def authenticate(self, connection: Connection) -> CertificateCaller:
        """Who opened this connection. Revocation and account are looked at again every few seconds.

        Raises:
            Refused: no certificate was shown, or it proves nobody.
            Overloaded: too many wait to be checked.
            AdcsError: the directory does not answer.
        """
        certificate, shown = connection.peer_certificate, connection.auth
        if certificate is None:
            raise Refused("the client showed no certificate")
        now = time.monotonic()
        if type(shown) is _Shown and now < shown.ends and now - shown.reviewed < REVIEW_SECONDS:
            return shown.caller
        connection.auth = None
        try:
            caller, lifetime = await self._lookups.run(lambda: self._identify(certificate, connection.peer))
        except Refused as refused:
            log.warning(
                "logon_refused",
                reason=refused.reason,
                account=refused.account[:512],
                method=AuthMethod.CLIENT_CERTIFICATE.value,
                peer=connection.peer,
                connection=connection.id,
            )
            raise
        if type(shown) is not _Shown:
            log.info(
                "logon_accepted",
                account=caller.requester.account,
                method=AuthMethod.CLIENT_CERTIFICATE.value,
                holder=caller.is_holder,
                peer=connection.peer,
                connection=connection.id,
            )
        connection.auth = _Shown(caller, now, now + lifetime)
        return caller

    def _identify(self, certificate: bytes, peer: str) -> tuple[CertificateCaller, float]:
        method = AuthMethod.CLIENT_CERTIFICATE
        try:
            principal, lifetime = self._mapper.map(certificate)
        except Unmapped as unmapped:
            view = CertificateView.parse(certificate)
            account = f"the holder of certificate {view.serial_number}"
            credential = Credential("certificate", certificate)
            requester = Requester(account, NOBODY, frozenset(), method, credential, origin=peer)
            return CertificateCaller(requester, view, is_holder=True), unmapped.lifetime
        requester = Requester(principal.account, principal.sid, principal.groups, method, origin=peer)
        return CertificateCaller(requester, CertificateView.parse(certificate), is_holder=False), lifetime
