"""Notifications on a real SQLite file, with a clock in the test's hand and their audit events in a list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from certwright.adcs.events import CaEvent, LifecycleEvent, LifecycleKind
from certwright.database import Connection, Database
from certwright.keystores.sealing import Sealer
from certwright.notifications.service import Notifications
from certwright.notifications.targets import Targets
from certwright.notifications.values import Channel, EmailFields, MailSecurity, Rule, RuleFields, WebhookFields
from tests.support.receivers import Inbox, Receiver
from tests.support.tables import new_sqlite_url

NOW: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ACTOR: Final = r"CORP\Administrator"
HOSTNAME: Final = "ca.corp.example"
SIGNING_KEY: Final = "canary-signing-key-0123456789"
PASSWORD: Final = "canary-mail-password"


@dataclass
class Notifying:
    """A room of notifications."""

    database: Database
    sealer: Sealer
    targets: Targets = field(default_factory=lambda: Targets(["localhost"]))
    now: datetime = NOW
    audited: list[CaEvent] = field(default_factory=list)
    room: Notifications = field(init=False)

    def __post_init__(self) -> None:
        self.room = Notifications(
            self.database, self.sealer, self._record, hostname=HOSTNAME, clock=lambda: self.now, targets=self.targets
        )

    def _record(self, _connection: Connection, event: CaEvent) -> None:
        self.audited.append(event)

    def webhook(self, receiver: Receiver, name: str = "Hook", *, path: str = "/in", scheme: str = "https") -> Channel:
        url = f"{scheme}://localhost:{receiver.port}{path}"
        ca_pem = receiver.ca_pem if scheme == "https" else ""
        return self.room.channels.add(WebhookFields(name, url, ca_pem), SIGNING_KEY, actor=ACTOR)

    def email(self, inbox: Inbox, name: str = "Mail", *, security: MailSecurity = MailSecurity.STARTTLS) -> Channel:
        fields = EmailFields(
            name,
            "localhost",
            "ca@corp.example",
            ("ops@corp.example", "pki@corp.example"),
            port=inbox.port,
            security=security,
            username="mailer" if inbox.password else "",
            ca_pem=inbox.ca_pem,
        )
        return self.room.channels.add(fields, inbox.password, actor=ACTOR)

    def rule(self, channel: Channel, *kinds: LifecycleKind, name: str = "Rule", **filters: object) -> Rule:
        chosen = kinds or tuple(LifecycleKind)
        return self.room.rules.add(RuleFields(name, channel.id, chosen, **filters), actor=ACTOR)  # type: ignore[arg-type]

    def pass_time(self, by: timedelta) -> datetime:
        self.now += by
        return self.now


@contextmanager
def notifying(folder: Path, targets: Targets | None = None) -> Iterator[Notifying]:
    database = Database.open(new_sqlite_url(folder))
    try:
        sealer = Sealer.create(folder / "master.key")
        yield Notifying(database, sealer, targets) if targets is not None else Notifying(database, sealer)
    finally:
        database.close()


def event(
    kind: LifecycleKind = LifecycleKind.ORDER_ISSUED, identity: str = "order/1/issued", **facts: str | int
) -> LifecycleEvent:
    return LifecycleEvent(kind, "www.corp.example", NOW, identity, facts)
