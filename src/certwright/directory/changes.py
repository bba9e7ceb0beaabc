"""How the embedded directory changes: one transaction, one new version, one audit event for what was changed.

Base of the two halves of `directory.administration`. Who may change what is asked at the door
(`administration.DirectoryAdministration.require_...`); `actor` is who the audit trail names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Final, Protocol

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.template import CertificateTemplate
from certwright.database.base import Connection
from certwright.database.opening import Database
from certwright.directory import store
from certwright.directory.base import Domain, EnrollmentService, Principal
from certwright.directory.local import EmbeddedDirectory
from certwright.directory.risks import Risk, risks
from certwright.directory.snapshot import Snapshot
from certwright.keystores.sealing import Sealer

MAX_FACT: Final = 2000  # characters of one fact in the audit trail

Record = Callable[[Connection, CaEvent], None]


class TemplateChange(Protocol):
    """A change of templates or of what a CA publishes, under way: what is there before it, and where it goes.

    What it is asked is as of its beginning. Nothing is stored before it ends without an error.
    """

    @property
    def domain(self) -> Domain: ...

    @property
    def forest_arcs(self) -> str:
        """The forest's part of template OIDs."""

    @property
    def templates(self) -> Mapping[str, CertificateTemplate]: ...

    @property
    def services(self) -> Collection[EnrollmentService]: ...

    def template(self, cn: str) -> CertificateTemplate | None: ...

    def service(self, ca_name: str) -> EnrollmentService | None: ...

    def accepted_risks(self, cn: str) -> frozenset[str]: ...

    def risks(self, template: CertificateTemplate) -> tuple[Risk, ...]:
        """Raises:
        InvalidArgument: its security descriptor cannot be read.
        """

    def put_template(self, template: CertificateTemplate, accepted_risks: frozenset[str]) -> None:
        """Add a template, or replace the one of the same name."""

    def delete_template(self, template: CertificateTemplate) -> None: ...

    def put_service(self, service: EnrollmentService) -> None: ...

    def record(self, event: AuditEvent, facts: Mapping[str, str | int], *, ca: str = "") -> None:
        """Audit. Never a secret."""


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

    # -- TemplateChange ------------------------------------------------------------------------------------------

    @property
    def forest_arcs(self) -> str:
        row = self.before.contents.domain
        return row.forest_arcs if row is not None else self.domain.dns_name  # `domain` raises: there is none

    @property
    def templates(self) -> Mapping[str, CertificateTemplate]:
        return self.before.templates

    @property
    def services(self) -> Collection[EnrollmentService]:
        return self.before.services.values()

    def template(self, cn: str) -> CertificateTemplate | None:
        return self.before.template(cn)

    def service(self, ca_name: str) -> EnrollmentService | None:
        return self.before.service(ca_name)

    def accepted_risks(self, cn: str) -> frozenset[str]:
        return self.before.accepted_risks(cn)

    def risks(self, template: CertificateTemplate) -> tuple[Risk, ...]:
        names = {sid: principal.account for sid, principal in self.before.principals.items()}
        try:
            return risks(template, self.domain, names)
        except ValueError as error:
            raise InvalidArgument(f"{template.cn}: {error}.") from error

    def put_template(self, template: CertificateTemplate, accepted_risks: frozenset[str]) -> None:
        store.put_template(self.connection, template, accepted_risks)

    def delete_template(self, template: CertificateTemplate) -> None:
        store.delete_template(self.connection, template.cn)

    def put_service(self, service: EnrollmentService) -> None:
        store.put_service(self.connection, service)


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

    def _template_change(self, actor: str) -> AbstractContextManager[TemplateChange]:
        """One change of templates or publication, wherever they are kept."""
        return self._change(actor)


def before_and_after(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, str | int]:
    """The facts that differ, as `name (before)` and `name (after)`."""
    facts: dict[str, str | int] = {}
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            facts[f"{name} (before)"] = old if isinstance(old, int) else str(old)
            facts[f"{name} (after)"] = new if isinstance(new, int) else str(new)
    return facts
