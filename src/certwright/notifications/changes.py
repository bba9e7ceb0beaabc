"""How notifications are changed: one transaction, with its audit event."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from certwright.adcs.events import AuditEvent, CaEvent
from certwright.database import Connection, Database

Record = Callable[[Connection, CaEvent], None]
Clock = Callable[[], datetime]


class Change:
    """A change under way."""

    __slots__ = ("_record", "actor", "connection", "now")

    def __init__(self, connection: Connection, actor: str, now: datetime, record: Record) -> None:
        self.connection = connection
        self.actor = actor
        self.now = now
        self._record = record

    @property
    def when(self) -> int:
        """Now, in seconds since the epoch."""
        return int(self.now.timestamp())

    def record(self, event: AuditEvent, facts: Mapping[str, str | int]) -> None:
        """Audit, in this transaction. Never a secret."""
        self._record(self.connection, CaEvent(event, self.now, "", self.actor, dict(facts)))


class Changes:
    """The database, the audit trail and the clock."""

    def __init__(self, database: Database, record: Record, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._record = record

    @contextmanager
    def change(self, actor: str) -> Iterator[Change]:
        """One change, all or nothing."""
        with self.database.transaction() as connection:
            yield Change(connection, actor, self.clock(), self._record)


def differing(before: Mapping[str, str | int], after: Mapping[str, str | int]) -> dict[str, str | int]:
    """The facts that differ, as `name (before)` and `name (after)`."""
    facts: dict[str, str | int] = {}
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            facts[f"{name} (before)"], facts[f"{name} (after)"] = old, new
    return facts
