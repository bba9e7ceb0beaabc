"""What a revocation provider is: it knows the certificates of one CA, and says when something changed.

Our own CA's database is one; CRLs of any CA can be another. The responder asks for a certificate once, keeps the
answer, and asks `changes` many times a second.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class ProviderUnavailable(Exception):
    """The provider cannot say now; what is known stays good until its end."""


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """A certificate that was issued.

    Args:
        revoked: since when it is revoked; None for a good one.
        reason: CRLReason, 0 for none; 6 while it is on hold.
        until: when this ceases to be so by itself: a revocation that takes effect later; the end of a CRL.
        known: the moment for which this is known, where that is not now: a CRL's thisUpdate.
    """

    revoked: datetime | None = None
    reason: int = 0
    until: datetime | None = None
    known: datetime | None = None


GOOD = CertificateStatus()


class RevocationProvider(Protocol):
    """Thread-safe."""

    @property
    def ca(self) -> str:
        """Whose certificates it knows."""

    def status(self, serial: int, key_index: int, now: datetime) -> CertificateStatus | None:
        """How a certificate stands that this key of the CA signed; None when it signed none with that number.

        Raises:
            ProviderUnavailable: it cannot be found out.
        """

    def changes(self) -> Collection[int] | None:
        """Serial numbers whose status changed since this was asked last; None when any may have.

        Called by one thread.

        Raises:
            ProviderUnavailable: as above. The next call tells of these changes too.
        """

    def newest(self, limit: int, now: datetime) -> Iterator[tuple[int, int]]:
        """Serial number and key of certificates that have not expired, the newest first.

        Raises:
            ProviderUnavailable: as above.
        """
