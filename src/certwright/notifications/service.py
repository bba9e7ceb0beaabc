"""The room's front: what pages, command line, worker, manager and CAs call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from certwright.adcs.events import LifecycleEvent
from certwright.database import Database
from certwright.keystores.sealing import Sealer
from certwright.notifications.ca_events import CaEventExit
from certwright.notifications.changes import Changes, Clock, Record
from certwright.notifications.channel_administration import Channels
from certwright.notifications.queue import Queue
from certwright.notifications.rules import Rules
from certwright.notifications.targets import Targets
from certwright.notifications.values import Delivered, Delivery, HistoryQuery, InView

SYSTEM: Final = r"NT AUTHORITY\SYSTEM"


class Notifications:
    """Channels, rules and the queue between them.

    Args:
        record: audits inside the transaction it is given.
        hostname: this host, as mails and documents name it.
        webhook_allow: hosts and networks that webhooks may call although they are not public.
        actor: who acts on a clock.
        in_view: asks the inventory, which is another room.
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        record: Record,
        *,
        hostname: str,
        webhook_allow: Sequence[str] = (),
        clock: Clock = lambda: datetime.now(UTC),
        actor: str = SYSTEM,
        targets: Targets | None = None,
        in_view: InView = lambda _filter, _certificate: False,
    ) -> None:
        changes = Changes(database, record, clock)
        self.targets = targets or Targets(webhook_allow)
        self.channels = Channels(changes, sealer, self.targets, hostname)
        self.rules = Rules(changes)
        self.queue = Queue(changes, self.channels, hostname, actor, in_view)

    def notify(self, event: LifecycleEvent) -> None:
        """Queue an event for everybody whom a rule wants told. The same event twice is told once."""
        self.queue.put((event,))

    def exit_module(self) -> CaEventExit:
        """For a CA: tells of its events. Whoever takes it closes it."""
        return CaEventExit(self.queue)

    def deliver(self, now: datetime) -> Delivered:
        """Send what is due; to be called every minute by whoever has a clock. Repeating it does no harm."""
        return self.queue.deliver(now)

    def history(self, query: HistoryQuery | None = None) -> Sequence[Delivery]:
        return self.queue.history(query or HistoryQuery())

    def try_again(self, delivery_id: int, *, actor: str) -> Delivery:
        return self.queue.try_again(delivery_id, actor=actor)

    def prune(self, now: datetime) -> int:
        return self.queue.prune(now)
