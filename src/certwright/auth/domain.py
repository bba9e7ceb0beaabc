"""What a domain adds to authentication, put together by whoever knows the installation's settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from certwright.adcs.requester import Sid
from certwright.auth.connection import Connection
from certwright.auth.lookups import Lookups
from certwright.auth.tickets import TicketReader
from certwright.auth.winbind import NtlmAuthPool
from certwright.directory.base import Principal


class CertificateMapper(Protocol):
    """Whose a client's certificate is. May block."""

    def map(self, certificate: bytes) -> tuple[Principal, float]:
        """The account, and for how many seconds the certificate is good.

        Raises:
            Refused: nobody's, or not mapped strongly.
            AdcsError: the directory does not answer.
        """


@dataclass(frozen=True, slots=True)
class DomainLogons:
    """The ways in which accounts of a domain log on, besides Basic. One object for one event loop.

    Args:
        lookups: where work is done that waits for files or domain controllers.
        tickets: opens Kerberos tickets; None without a keytab.
        winbind: checks NTLM proofs; None without the helper program. There is no NTLM for the domain then.
        certificates: maps the certificates that TLS clients show; None where they are not asked for any.
        local_sid: of the directory that stands beside the domain; no ticket speaks for it.
    """

    lookups: Lookups = field(default_factory=Lookups)
    tickets: TicketReader | None = None
    winbind: NtlmAuthPool | None = None
    certificates: CertificateMapper | None = None
    local_sid: Sid | None = None

    @property
    def has_kerberos(self) -> bool:
        return self.tickets is not None and self.tickets.is_ready

    @property
    def has_ntlm(self) -> bool:
        return self.winbind is not None and self.winbind.names is not None

    def takes_certificate_of(self, connection: Connection) -> bool:
        return self.certificates is not None and connection.peer_certificate is not None

    async def probe(self) -> None:
        """Look for what was not there yet. To be called at the start and from time to time."""
        if self.winbind is not None:
            await self.winbind.probe()

    async def close(self) -> None:
        if self.winbind is not None:
            await self.winbind.close()
        self.lookups.close()
