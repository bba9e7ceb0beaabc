"""How the embedded directory changes: one transaction, one new version, one audit event for what was changed.

Base of the two halves of `directory.administration`. Who may change what is asked at the door
(`administration.DirectoryAdministration.require_...`); `actor` is who the audit trail names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.database.base import Connection
from certwright.database.opening import Database
from certwright.directory import store
from certwright.directory.base import Domain, Principal
from certwright.directory.local import EmbeddedDirectory
from certwright.directory.snapshot import Snapshot
from certwright.keystores.sealing import Sealer

MAX_FACT: Final = 2000  # characters of one fact in the audit trail

Record = Callable[[Connection, CaEvent], None]


class Change:
    """A change under way: the directory before it, and where its rows and its event go."""

    __slots__ = ("_now", "_record", "actor", "before", "connection")

    def __init__(self, connection: Connection, before: Snapshot, actor: str, now: datetime, record: Record) -> None:
        self.connection = connection
        self.before = before
        self.actor = actor
        self._now = now
        self._record = record

    @property
    def domain(self) -> Domain:
        return self.before.domain

    @property
    def when(self) -> int:
        """Now, in seconds since the epoch."""
        return int(self._now.timestamp())

    def record(self, event: AuditEvent, facts: Mapping[str, str | int], *, ca: str = "") -> None:
        """Audit, in this transaction. Never a secret."""
        details = {name: value[:MAX_FACT] if isinstance(value, str) else value for name, value in facts.items()}
        self._record(self.connection, CaEvent(event, self._now, ca, self.actor, details))

    def find(self, name_or_sid: str) -> Principal:
        """Raises:
        InvalidArgument: there is no such account or group.
        """
        found = self.before.find(name_or_sid)
        if found is None:
            raise InvalidArgument(f"There is no account and no group called {name_or_sid[:80]!r}.")
        return found


class DirectoryChanges:
    """What both halves of the administration share.

    Args:
        record: writes an event into the audit trail, inside the change's transaction.
        clock: the time, aware, UTC.
        directory: the directory whose readers have to see the changes; one is made if none is given.
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        record: Record,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        directory: EmbeddedDirectory | None = None,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._record = record
        self._clock = clock
        self.directory = directory if directory is not None else EmbeddedDirectory(database, sealer)

    @contextmanager
    def _change(self, actor: str) -> Iterator[Change]:
        """One change, all or nothing; this process's readers see it when the block is left."""
        with self._database.transaction() as connection:
            version = store.raise_version(connection)
            before = self.directory.known  # never `snapshot()`: in here it would read what is not committed
            if before.version != version - 1:
                before = Snapshot(store.read(connection), before)
            yield Change(connection, before, actor, self._clock(), self._record)
        self.directory.refresh()


def before_and_after(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, str | int]:
    """The facts that differ, as `name (before)` and `name (after)`."""
    facts: dict[str, str | int] = {}
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            facts[f"{name} (before)"] = old if isinstance(old, int) else str(old)
            facts[f"{name} (after)"] = new if isinstance(new, int) else str(new)
    return facts
