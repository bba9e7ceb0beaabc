"""How certificates of a CA stand, for whoever has to say so quickly: one indexed row a question, and what changed.

What changed is read from the audit trail, where every revocation and release leaves its event in the transaction that
made it: its numbers rise without gaps in the order of the commits, in every process, on every database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from certwright.adcs.events import AuditEvent
from certwright.audit.trail import AuditTrail
from certwright.database import Database


@dataclass(frozen=True, slots=True)
class KnownCertificate:
    """One issued certificate. `revoked` is when its revocation takes effect, which may lie ahead."""

    key_index: int
    revoked: datetime | None
    reason: int


class CertificateStatuses:
    """One CA's. Thread-safe but for `changes`. Raises `DatabaseError` where the database does not answer."""

    def __init__(self, database: Database, audit: AuditTrail, ca_id: int, name: str) -> None:
        self._database = database
        self._audit = audit
        self._ca_id = ca_id
        self._name = name
        self._heard: int | None = None  # the last audit event that was looked at

    def find(self, serial_number: str) -> KnownCertificate | None:
        """A certificate by its serial number in lower-case hex; None when this CA issued none of that number."""
        with self._database.read() as connection:
            row = connection.one(
                "SELECT ca_key_index, revoked_effective, revoked_reason FROM ca_certificate"
                " WHERE ca_id = ? AND serial_number = ?",
                (self._ca_id, serial_number),
            )
        if row is None:
            return None
        key_index, effective, reason = row
        revoked = None if effective is None else datetime.fromtimestamp(effective, UTC)
        return KnownCertificate(key_index, revoked, reason or 0)

    def changes(self) -> Sequence[str]:
        """Serial numbers that were revoked or released since the last call; the first call only begins to listen."""
        self._heard, events = self._audit.newer(self._name, AuditEvent.CERTIFICATE_REVOKED, self._heard)
        return [str(event.details.get("serial_number", "")) for event in events]

    def newest(self, limit: int, now: datetime) -> Sequence[tuple[str, int]]:
        """Serial number and key of certificates that have not expired, the newest first."""
        with self._database.read() as connection:
            rows = connection.many(
                "SELECT serial_number, ca_key_index FROM ca_certificate WHERE id > ? AND id < ? AND not_after > ?"
                " ORDER BY id DESC LIMIT ?",
                (self._ca_id << 32, (self._ca_id + 1) << 32, int(now.timestamp()), limit),
            )
        return [(serial, key_index) for serial, key_index in rows]
