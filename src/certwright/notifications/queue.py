"""The queue between events and channels: once per event and channel, tried again until it is taken or a day is over.

A delivery is claimed before it is sent and settled afterwards. A crash in between repeats it, under the same delivery
ID and Message-ID; nothing is ever lost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from certwright.adcs.errors import BadRequestState, ConfigurationError, InvalidArgument
from certwright.adcs.events import AuditEvent, LifecycleEvent, LifecycleKind
from certwright.notifications import store
from certwright.notifications.changes import Changes
from certwright.notifications.channel_administration import Channels
from certwright.notifications.channels.base import ChannelError
from certwright.notifications.messages import compose
from certwright.notifications.rules import matches
from certwright.notifications.values import (
    Channel,
    Delivered,
    Delivery,
    DeliveryState,
    HistoryQuery,
    InView,
    optional_moment,
    seconds,
)

log = structlog.get_logger(__name__)

FIRST_RETRY: Final = timedelta(minutes=1)
LAST_RETRY: Final = timedelta(hours=6)
GIVE_UP_AFTER: Final = timedelta(hours=24)
KEPT: Final = timedelta(days=400)
"""How long the history is kept; until then an event of the same identity is not told again."""
MAX_PAGE: Final = 500
MAX_FACT: Final = 2000  # characters of one fact
MAX_FACTS: Final = 50

_CLAIM: Final = timedelta(minutes=10)
_BATCH: Final = 100
_RUN_TIME: Final = 60.0  # seconds that one run takes at most, beside the message under way
_KINDS_KNOWN_FOR: Final = 2.0  # seconds


class Queue:
    def __init__(self, changes: Changes, channels: Channels, hostname: str, actor: str, in_view: InView) -> None:
        self._in_view = in_view
        self._changes = changes
        self._channels = channels
        self._hostname = hostname
        self._actor = actor
        self._kinds: frozenset[LifecycleKind] = frozenset()
        self._kinds_until = 0.0

    # -- in ------------------------------------------------------------------------------------------------------

    def put(self, events: Iterable[LifecycleEvent]) -> int:
        """Queue events for every channel that a rule leads to; returns how many deliveries are new."""
        with self._changes.database.read() as connection:
            rules = store.active_rules(connection)
        bounded = [_bounded(event) for event in events]
        wanted = [(event, rule) for event in bounded for rule in rules if matches(rule.fields, event, self._in_view)]
        if not wanted:
            return 0
        new = 0
        with self._changes.database.transaction() as connection:
            when = seconds(self._changes.clock())
            for event, rule in wanted:
                facts = json.dumps(dict(event.facts), ensure_ascii=False)
                new += store.put_event(connection, event, rule, facts, when)
        return new

    def wanted_kinds(self) -> frozenset[LifecycleKind]:
        """Kinds that some rule names, as of a moment ago: for those who see very many events."""
        now = time.monotonic()
        if now >= self._kinds_until:
            with self._changes.database.read() as connection:
                rules = store.active_rules(connection)
            self._kinds = frozenset(kind for rule in rules for kind in rule.fields.kinds)
            self._kinds_until = now + _KINDS_KNOWN_FOR
        return self._kinds

    # -- out -----------------------------------------------------------------------------------------------------

    def deliver(self, now: datetime) -> Delivered:
        """Send what is due. A channel that cannot be reached is left alone until the next run."""
        report = Delivered()
        out_of_reach: set[int] = set()
        started = time.monotonic()
        with self._changes.database.read() as connection:
            waiting = store.due(connection, seconds(now), _BATCH)
            channels = {channel.id: channel for channel in store.channels(connection)}
        for delivery in waiting:
            if delivery.channel_id in out_of_reach or time.monotonic() - started > _RUN_TIME:
                continue
            until = seconds(now + _CLAIM)
            with self._changes.database.transaction() as connection:
                if not store.claim(connection, delivery.id, delivery.next_try, until):
                    continue
            report = self._attempt(delivery, channels.get(delivery.channel_id), now, out_of_reach, report)
        with self._changes.database.read() as connection:
            due = optional_moment(store.next_due(connection))
        if due is not None:
            due = max(due, now + FIRST_RETRY) if out_of_reach else max(due, now)
        return replace(report, next_due=due)

    def _attempt(
        self,
        delivery: store.Waiting,
        channel: Channel | None,
        now: datetime,
        out_of_reach: set[int],
        report: Delivered,
    ) -> Delivered:
        dropped = _reason_to_drop(delivery, channel)
        if dropped or channel is None or delivery.event is None:
            self._give_up(delivery, delivery.attempts, now, dropped)
            return replace(report, given_up=report.given_up + 1)
        message = compose(delivery.event, f"delivery-{delivery.id}", self._hostname, delivery.rule_name)
        attempts = delivery.attempts + 1
        try:
            taken = self._channels.sender(channel).send(message)
        except (ChannelError, ConfigurationError) as error:
            if not isinstance(error, ChannelError) or error.unreachable:
                out_of_reach.add(channel.id)
            return self._failed(delivery, attempts, now, str(error), report)
        with self._changes.database.transaction() as connection:
            store.settle(
                connection, delivery.id, DeliveryState.DELIVERED, seconds(now), attempts=attempts, result=taken
            )
            store.put_outcome(connection, channel.id, seconds(now), "")
        log.info(
            "notification_delivered",
            delivery=delivery.id,
            notification=message.kind,
            channel=channel.name,
            attempts=attempts,
        )
        return replace(report, delivered=report.delivered + 1)

    def _failed(
        self, delivery: store.Waiting, attempts: int, now: datetime, why: str, report: Delivered
    ) -> Delivered:
        end = delivery.created + GIVE_UP_AFTER
        with self._changes.database.transaction() as connection:
            store.put_outcome(connection, delivery.channel_id, seconds(now), why)
        if now >= end:
            self._give_up(delivery, attempts, now, why)
            return replace(report, failed=report.failed + 1, given_up=report.given_up + 1)
        again = min(now + retry_after(attempts), end)
        with self._changes.database.transaction() as connection:
            store.put_back(connection, delivery.id, seconds(again), attempts=attempts, result=why)
        log.warning(
            "notification_not_taken",
            delivery=delivery.id,
            channel=delivery.channel_name,
            attempts=attempts,
            reason=why,
            again_at=again.isoformat(),
        )
        return replace(report, failed=report.failed + 1)

    def _give_up(self, delivery: store.Waiting, attempts: int, now: datetime, why: str) -> None:
        with self._changes.change(self._actor) as change:
            store.settle(
                change.connection,
                delivery.id,
                DeliveryState.GIVEN_UP,
                seconds(now),
                attempts=attempts,
                result=why,
            )
            change.record(
                AuditEvent.NOTIFICATION_GIVEN_UP,
                {
                    "delivery": delivery.id,
                    "channel": delivery.channel_name,
                    "event": delivery.event.kind.value if delivery.event is not None else "",
                    "object": delivery.event.object if delivery.event is not None else "",
                    "attempts": attempts,
                    "reason": why,
                },
            )
        log.error(
            "notification_given_up",
            delivery=delivery.id,
            channel=delivery.channel_name,
            attempts=attempts,
            reason=why,
        )

    # -- history -------------------------------------------------------------------------------------------------

    def history(self, query: HistoryQuery = HistoryQuery()) -> Sequence[Delivery]:  # noqa: B008 - a frozen value
        """Deliveries, the newest first; what waits is among them."""
        if not 1 <= query.limit <= MAX_PAGE:
            raise InvalidArgument(f"A page has from 1 to {MAX_PAGE} lines.")
        with self._changes.database.read() as connection:
            return store.history(connection, query)

    def try_again(self, delivery_id: int, *, actor: str) -> Delivery:
        """Queue anew what was given up.

        Raises:
            InvalidArgument: there is none of that number.
            BadRequestState: it waits, or was delivered.
        """
        with self._changes.change(actor) as change:
            delivery = store.delivery(change.connection, delivery_id)
            if delivery is None:
                raise InvalidArgument(f"There is no delivery number {delivery_id}.")
            if delivery.state is not DeliveryState.GIVEN_UP:
                raise BadRequestState(
                    f"Delivery {delivery_id} is {delivery.state.word}; only given up ones are repeated."
                )
            store.try_again(change.connection, delivery_id, change.when)
            change.record(
                AuditEvent.NOTIFICATION_CHANNEL_CHANGED,
                {"change": "delivery repeated", "delivery": delivery_id, "channel": delivery.channel_name},
            )
            found = store.delivery(change.connection, delivery_id)
            assert found is not None
            return found

    def prune(self, now: datetime) -> int:
        """Forget the history of long ago; returns how many lines."""
        with self._changes.database.transaction() as connection:
            return store.delete_settled(connection, seconds(now - KEPT))


def retry_after(attempts: int) -> timedelta:
    """How long after so many attempts the next one is made: 1, 2, 4 ... minutes, 6 hours at most."""
    return min(FIRST_RETRY * (1 << min(attempts - 1, 20)), LAST_RETRY)


def _reason_to_drop(delivery: store.Waiting, channel: Channel | None) -> str:
    if channel is None:
        return "the channel was deleted"
    if not channel.fields.enabled:
        return "the channel is switched off"
    if delivery.event is None:
        return "this version knows no such event"
    return ""


def _bounded(event: LifecycleEvent) -> LifecycleEvent:
    """The event with what others wrote into it cut to size."""
    facts = {
        str(name)[:64]: value[:MAX_FACT] if isinstance(value, str) else value
        for name, value in list(event.facts.items())[:MAX_FACTS]
    }
    return replace(event, object=event.object[:MAX_FACT], identity=event.identity[:500], facts=facts)
