"""Revocation configurations as administrators keep them: each change in one transaction with its audit event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.requester import Requester
from certwright.database import Connection, Database
from certwright.online_responder import store
from certwright.online_responder.configuration import RevocationConfiguration
from certwright.online_responder.store import StoredConfiguration

Record = Callable[[Connection, CaEvent], None]


@dataclass(frozen=True, slots=True)
class ResponderStanding:
    """How the responder stands to one CA, for people."""

    ca: str
    enabled: bool
    url: str
    announced: tuple[str, ...]  # responders that certificates to come name
    configuration: RevocationConfiguration
    serial_number: str  # of the signing certificate; empty while there is none
    not_after: datetime | None
    renew_after: datetime | None


class ResponderAdministration(Protocol):
    """What administrators do with the responder. Everything but looking takes the role CA administrator on the CA.

    Raises:
        AccessDenied: the operator is no CA administrator.
        InvalidArgument: there is no such CA, or no such setting or value.
    """

    def standing(self, ca: str) -> ResponderStanding: ...

    def enable(self, ca: str, operator: Requester, *, announce: bool = True) -> None:
        """Answer for a CA from now on. With `announce`, certificates to come name this responder, unless the CA's
        setting names one already. Raises `AdcsError` when no signing certificate was issued."""

    def disable(self, ca: str, operator: Requester) -> None: ...

    def change(self, ca: str, changes: Mapping[str, str], operator: Requester) -> None: ...

    def refresh(self, ca: str, operator: Requester, *, certificate: bool = False) -> None:
        """Make every answer anew, under a new signing certificate where that is wanted."""


class RevocationConfigurations:
    """Who may change them is checked by whoever calls: it takes the role CA administrator on the CA."""

    def __init__(self, database: Database, record: Record, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._record = record
        self._clock = clock

    def all(self) -> Sequence[StoredConfiguration]:
        return store.configurations(self._database)

    def of(self, ca: str) -> StoredConfiguration:
        """That of one CA; the defaults, switched off, when nobody made one."""
        for stored in self.all():
            if stored.ca == ca:
                return stored
        return StoredConfiguration(ca, False, RevocationConfiguration.load(), 0)

    def switch(self, ca: str, enabled: bool, *, actor: str) -> None:
        """Begin or cease to answer for a CA."""
        before = self.of(ca)
        with self._database.transaction() as connection:
            store.put(connection, ca, enabled, before.configuration)
            self._audit(connection, ca, actor, {"change": "enabled" if enabled else "disabled"})

    def change(self, ca: str, changes: Mapping[str, str], *, actor: str) -> RevocationConfiguration:
        """Set settings.

        Raises:
            InvalidArgument: a key is not known, or its value cannot be.
        """
        before = self.of(ca)
        after = before.configuration.changed(changes)
        facts: dict[str, str] = {"change": "settings"}
        for key, text in after.texts.items():
            if text != before.configuration.texts[key]:
                facts[f"{key} (before)"], facts[f"{key} (after)"] = before.configuration.texts[key], text
        with self._database.transaction() as connection:
            store.put(connection, ca, before.enabled, after)
            self._audit(connection, ca, actor, facts)
        return after

    def renewed(self, ca: str, serial_number: str, *, actor: str) -> None:
        """There is a new signing certificate: every process makes its answers anew."""
        before = self.of(ca)
        with self._database.transaction() as connection:
            store.put(connection, ca, before.enabled, before.configuration)
            facts = {"serial_number": serial_number}
            self._record(
                connection, CaEvent(AuditEvent.RESPONDER_CERTIFICATE_UPDATED, self._clock(), ca, actor, facts)
            )

    def refresh(self, ca: str, *, actor: str) -> None:
        """Let every process drop its answers and make them anew."""
        before = self.of(ca)
        with self._database.transaction() as connection:
            store.put(connection, ca, before.enabled, before.configuration)
            self._audit(connection, ca, actor, {"change": "refreshed"})

    def _audit(self, connection: Connection, ca: str, actor: str, facts: Mapping[str, str]) -> None:
        event = CaEvent(AuditEvent.REVOCATION_CONFIGURATION_CHANGED, self._clock(), ca, actor, dict(facts))
        self._record(connection, event)
