"""A manager on a real database, over scripted CAs, with a clock that tests move."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from certwright.adcs.events import AuditEvent, CaEvent, LifecycleEvent, LifecycleKind
from certwright.database import Connection, Database
from certwright.keystores.base import KeyAlgorithm
from certwright.keystores.sealing import Sealer
from certwright.manager.facade import Manager
from certwright.manager.values import (
    AlternativeName,
    DeviceUser,
    DeviceUserFields,
    KeyFields,
    Order,
    OrderFields,
    Service,
    ServiceFields,
)
from tests.support.scripted_ca import NOW, Answer, ScriptedCa, ScriptedReach
from tests.support.tables import new_sqlite_url

ALICE = r"CORP\alice"
CLOCK = r"NT AUTHORITY\SYSTEM"
PASSWORD = "the canary sings 4711"


@dataclass
class Managed:
    """A manager and everything around it that a test looks at."""

    database: Database
    sealer: Sealer
    reach: ScriptedReach = field(default_factory=ScriptedReach)
    now: datetime = NOW
    audited: list[CaEvent] = field(default_factory=list)
    told: list[LifecycleEvent] = field(default_factory=list)
    manager: Manager = field(init=False)
    _names: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Another process over the same database."""
        self.manager = Manager(
            self.database, self.sealer, self.reach, self._record, self.told.append, lambda: self.now, actor=CLOCK
        )

    def _record(self, connection: Connection, event: CaEvent) -> None:
        assert connection.in_transaction
        self.audited.append(event)

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)
        for ca in self.reach.cas.values():
            ca.now = self.now

    def user(self, name: str = "svc-web") -> DeviceUser:
        found = [each for each in self.manager.device_users.list() if each.name == name]
        if found:
            return found[0]
        fields = DeviceUserFields(name, rf"CORP\{name}")
        return self.manager.device_users.add(fields, PASSWORD, actor=ALICE)

    def service(
        self, hostname: str = "ca01.corp.example", answer: Answer = Answer.ISSUED, **fields: object
    ) -> tuple[Service, ScriptedCa]:
        ca = self.reach.cas.setdefault(hostname, ScriptedCa(f"CA of {hostname}", answer))
        ca.now = self.now
        values = {"domain": "CORP", "hostname": hostname, "device_user_id": self.user().id, **fields}
        service = self.manager.services.add(ServiceFields(**values), actor=ALICE)  # type: ignore[arg-type]
        return service, ca

    def order(self, name: str = "", **fields: object) -> Order:
        """Order with a key made here."""
        return self.manager.orders.place(
            order_fields(name or f"web{next(self._names)}.corp.example", **fields), actor=ALICE
        )

    def events(self, event: AuditEvent) -> list[CaEvent]:
        return [each for each in self.audited if each.event is event]

    def told_kinds(self) -> list[LifecycleKind]:
        return [each.kind for each in self.told]

    def stories(self, order_id: int) -> list[str]:
        return [line.text for line in self.manager.orders.story(order_id)]


def order_fields(name: str, **fields: object) -> OrderFields:
    key = KeyFields(KeyAlgorithm.ECDSA_P256, f"CN={name}", (AlternativeName.parse(f"DNS:{name}"),))
    values = {"domain": "CORP", "template": "WebServer", "key": key, **fields}
    return OrderFields(**values)  # type: ignore[arg-type]


@contextmanager
def managed(folder: Path, url: str = "") -> Iterator[Managed]:
    database = Database.open(url or new_sqlite_url(folder))
    try:
        yield Managed(database, Sealer.create(folder / "master.key"))
    finally:
        database.close()
