"""How the manager changes: one transaction with its audit event, and with the event for people that follows from it.

Events for people are rows first (`store.put_outgoing`), written with what they tell of, and handed over afterwards:
what was committed is told, also after a crash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, TypeVar

import structlog

from certwright.adcs.events import AuditEvent, CaEvent, LifecycleEvent, LifecycleKind
from certwright.database import Connection, ConstraintViolated, Database
from certwright.manager.values import moment, seconds

log = structlog.get_logger(__name__)

MAX_FACT: Final = 2000  # characters of one fact
_DELIVERY: Final = 200  # events handed over at once

Record = Callable[[Connection, CaEvent], None]
Notify = Callable[[LifecycleEvent], None]
Clock = Callable[[], datetime]
_T = TypeVar("_T")


def utc_now() -> datetime:
    return datetime.now(UTC)


def tell_nobody(_event: LifecycleEvent) -> None:
    """The `notify` of an installation without notifications."""


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
        return seconds(self.now)

    def record(self, event: AuditEvent, facts: Mapping[str, str | int]) -> None:
        """Audit, in this transaction. Never a secret."""
        self._record(self.connection, CaEvent(event, self.now, "", self.actor, _bounded(facts)))

    def tell(self, kind: LifecycleKind, about: str, identity: str, facts: Mapping[str, str | int]) -> None:
        """Have people told, once this transaction is committed. An identity is told once."""
        self.connection.execute(
            "INSERT INTO manager_outgoing (identity, kind, object, occurred, facts) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (identity) DO NOTHING",
            (identity, kind.value, about[:MAX_FACT], self.when, json.dumps(_bounded(facts))),
        )


class Changes:
    """What all services of the manager share: the database, the audit trail, the clock, and whom to tell."""

    def __init__(self, database: Database, record: Record, notify: Notify, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._record = record
        self._notify = notify

    @contextmanager
    def change(self, actor: str) -> Iterator[Change]:
        """One change, all or nothing."""
        with self.database.transaction() as connection:
            yield Change(connection, actor, self.clock(), self._record)

    def deliver(self) -> int:
        """Hand over the events that wait; returns how many.

        One that cannot be handed over stays, and so do those behind it: they are tried again.
        """
        handed_over = 0
        while True:
            with self.database.read() as connection:
                rows = connection.many(
                    "SELECT id, identity, kind, object, occurred, facts FROM manager_outgoing ORDER BY id LIMIT ?",
                    (_DELIVERY,),
                )
            for row_id, identity, kind, about, occurred, facts in rows:
                self._notify(
                    LifecycleEvent(LifecycleKind(kind), about, moment(occurred), identity, json.loads(facts))
                )
                with self.database.transaction() as connection:
                    connection.execute("DELETE FROM manager_outgoing WHERE id = ?", (row_id,))
                handed_over += 1
            if len(rows) < _DELIVERY:
                return handed_over


def unique(write: Callable[[], _T], refusal: Exception) -> _T:
    """Run a write; what a unique index refuses is `refusal`."""
    try:
        return write()
    except ConstraintViolated as error:
        raise refusal from error


def differing(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, str | int]:
    """The facts that differ, as `name (before)` and `name (after)`."""
    facts: dict[str, str | int] = {}
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            facts[f"{name} (before)"] = old if isinstance(old, int) else str(old)
            facts[f"{name} (after)"] = new if isinstance(new, int) else str(new)
    return facts


def _bounded(facts: Mapping[str, str | int]) -> dict[str, str | int]:
    return {name: value[:MAX_FACT] if isinstance(value, str) else value for name, value in facts.items()}
