"""The queue: once per event and channel, again until it is taken, and a line that says what became of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from certwright.adcs.errors import BadRequestState, InvalidArgument
from certwright.adcs.events import AuditEvent, CaEvent, LifecycleEvent, LifecycleKind
from certwright.database import Database
from certwright.manager.tasks import NOTICE_DAYS
from certwright.notifications.messages import EVENT_NUMBERS, SENTENCES
from certwright.notifications.queue import GIVE_UP_AFTER, KEPT, LAST_RETRY, retry_after
from certwright.notifications.rules import matches
from certwright.notifications.values import BANDS, DeliveryState, HistoryQuery, RuleFields, RuleView, WebhookFields
from certwright.server.schema import migrate
from tests.support.notifying import ACTOR, NOW, SIGNING_KEY, Notifying, event
from tests.support.postgresql import PostgresqlServer
from tests.support.receivers import Receiver

MINUTE = timedelta(minutes=1)
EXPIRING = LifecycleKind.CERTIFICATE_EXPIRING
ISSUED = LifecycleKind.ORDER_ISSUED


def states(world: Notifying) -> list[DeliveryState]:
    return [line.state for line in world.room.history()]


# -- rules -----------------------------------------------------------------------------------------------------------

RULE = RuleFields("Rule", 1, (ISSUED, EXPIRING))
VIEW = RuleView(5, "web", '{"tag": "web"}')


@pytest.mark.parametrize(
    ("rule", "what", "goes"),
    [
        (RULE, event(ISSUED), True),
        (RULE, event(LifecycleKind.ORDER_DENIED), False),
        (replace(RULE, template="webserver"), event(template="WebServer"), True),
        (replace(RULE, template="WebServer"), event(template="User"), False),
        (replace(RULE, template="WebServer"), event(), False),
        (replace(RULE, domain="CORP.example"), event(domain="corp.example"), True),
        (replace(RULE, domain="corp.example"), event(domain="other.example"), False),
        (replace(RULE, tag="Web"), event(tags="db, web"), True),
        (replace(RULE, tag="web"), event(tags="website"), False),
        (replace(RULE, bands=(7,)), event(EXPIRING, band=7), True),
        (replace(RULE, bands=(7,)), event(EXPIRING, band=30), False),
        (replace(RULE, bands=(7,)), event(ISSUED), True),
        (replace(RULE, view=VIEW), event(certificate=12), True),
        (replace(RULE, view=VIEW), event(certificate=13), False),
        (replace(RULE, view=VIEW), event(), False),
        (replace(RULE, view=VIEW, bands=(7,)), event(EXPIRING, band=7, certificate=12), True),
        (replace(RULE, view=VIEW, bands=(7,)), event(EXPIRING, band=30, certificate=12), False),
        (replace(RULE, view=replace(VIEW, filter="even ones")), event(certificate=12), False),
    ],
)
def test_all_filters_must_match(rule: RuleFields, what: LifecycleEvent, goes: bool) -> None:
    """A view is asked for by its filter; an event about no certificate is in none."""
    assert matches(rule, what, lambda text, number: (text, number) == (VIEW.filter, 12)) is goes


def test_a_rule_keeps_its_view_and_follows_it(world: Notifying) -> None:
    channel = world.room.channels.add(WebhookFields("ops", "https://hooks.example/"), SIGNING_KEY, actor=ACTOR)
    rules = world.room.rules
    rule = rules.add(replace(RULE, channel_id=channel.id, view=VIEW), actor=ACTOR)
    other = rules.add(RuleFields("Other", channel.id, (ISSUED,)), actor=ACTOR)
    assert rules.get(rule.id).fields.view == VIEW
    assert [each.id for each in rules.using_view(VIEW.id)] == [rule.id]
    changed = replace(VIEW, name="web servers", filter="others")
    rules.follow_view(changed, actor=ACTOR)
    assert rules.get(rule.id).fields.view == changed
    assert rules.get(other.id).fields.view is None


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (replace(RULE, kinds=()), "no event"),
        (replace(RULE, name=""), "name is missing"),
        (replace(RULE, bands=(8,)), "1, 3, 7, 14, 30"),
        (replace(RULE, kinds=(ISSUED,), bands=(7,)), "certificate-expiring"),
        (replace(RULE, channel_id=9), "channel number 9"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(
    world: Notifying, receiver: Receiver, fields: RuleFields, sentence: str
) -> None:
    world.webhook(receiver)

    with pytest.raises(InvalidArgument, match=sentence):
        world.room.rules.add(fields, actor=ACTOR)


def test_a_rule_that_is_off_sends_nothing(world: Notifying, receiver: Receiver) -> None:
    rule = world.rule(world.webhook(receiver))
    world.room.rules.set_enabled(rule.id, False, actor=ACTOR)
    world.room.notify(event())
    world.room.rules.set_enabled(rule.id, True, actor=ACTOR)
    world.room.notify(event(identity="order/2"))
    world.room.rules.delete(rule.id, actor=ACTOR)
    world.room.notify(event(identity="order/3"))

    world.room.deliver(world.now)

    assert len(receiver.calls) == 1


def test_rules_offer_the_bands_that_the_manager_tells_of() -> None:
    assert sorted(BANDS) == sorted(set(NOTICE_DAYS) - {0})


def test_every_kind_of_event_has_a_sentence() -> None:
    assert set(SENTENCES) == set(LifecycleKind)


# -- once ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(LifecycleKind))
def test_every_kind_of_event_can_be_chosen_and_arrives(
    world: Notifying, receiver: Receiver, kind: LifecycleKind
) -> None:
    world.rule(world.webhook(receiver), kind)
    for each in LifecycleKind:
        world.room.notify(event(each, band=7))

    world.room.deliver(world.now)

    (call,) = receiver.calls
    document = json.loads(call.body)
    assert document["event"] == kind.value
    assert document.get("windows_event") == EVENT_NUMBERS.get(kind)


def test_a_band_is_told_once_per_certificate_and_channel(world: Notifying, receiver: Receiver) -> None:
    """Two rules that lead to the same channel are one message; the next band is another one."""
    channel = world.webhook(receiver)
    world.rule(channel, EXPIRING, name="One")
    world.rule(channel, EXPIRING, name="Two")
    for _day in range(3):
        for band in (30, 7):
            world.room.notify(event(EXPIRING, f"certificate/5/expiring/{band}", band=band))
        world.room.deliver(world.now)
        world.pass_time(timedelta(days=1))

    assert len(receiver.calls) == 2
    assert states(world) == [DeliveryState.DELIVERED] * 2


def test_two_workers_deliver_it_once(world: Notifying, receiver: Receiver) -> None:
    world.rule(world.webhook(receiver))
    for number in range(10):
        world.room.notify(event(identity=f"order/{number}"))

    threads = [threading.Thread(target=world.room.deliver, args=(world.now,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(receiver.calls) == 10


# -- again -----------------------------------------------------------------------------------------------------------


def test_pauses_grow_from_a_minute_to_six_hours() -> None:
    pauses = [retry_after(attempts) for attempts in range(1, 12)]

    assert pauses[:3] == [MINUTE, 2 * MINUTE, 4 * MINUTE]
    assert pauses[-1] == LAST_RETRY == timedelta(hours=6)


def test_what_is_refused_is_tried_again_later_under_the_same_id(world: Notifying, receiver: Receiver) -> None:
    receiver.statuses = [500, 503]
    world.rule(world.webhook(receiver))
    world.room.notify(event())

    first = world.room.deliver(world.now)
    too_early = world.room.deliver(world.pass_time(MINUTE - timedelta(seconds=1)))
    second = world.room.deliver(world.pass_time(timedelta(seconds=1)))
    third = world.room.deliver(world.pass_time(2 * MINUTE))

    assert [each.failed for each in (first, too_early, second, third)] == [1, 0, 1, 0]
    assert first.next_due == NOW + MINUTE
    assert third.delivered == 1
    assert third.next_due is None
    assert len({call.headers["x-certwright-delivery"] for call in receiver.calls}) == 1
    (line,) = world.room.history()
    assert (line.state, line.attempts) == (DeliveryState.DELIVERED, 3)


def test_after_a_day_it_is_given_up_and_the_history_says_why(world: Notifying, receiver: Receiver) -> None:
    receiver.statuses = [500] * 100
    world.rule(world.webhook(receiver))
    world.room.notify(event())

    while (due := world.room.deliver(world.now).next_due) is not None:
        world.now = due

    (line,) = world.room.history()
    assert world.now == NOW + GIVE_UP_AFTER
    assert line.state is DeliveryState.GIVEN_UP
    assert "500" in line.result
    assert line.attempts == len(receiver.calls) > 10
    assert world.audited[-1].event is AuditEvent.NOTIFICATION_GIVEN_UP


def test_what_was_given_up_can_be_sent_again(world: Notifying, receiver: Receiver) -> None:
    channel = world.webhook(receiver)
    world.rule(channel)
    world.room.notify(event())
    world.room.channels.set_enabled(channel.id, False, actor=ACTOR)
    world.room.deliver(world.now)
    given_up = world.room.history()[0]
    world.room.channels.set_enabled(channel.id, True, actor=ACTOR)

    world.room.try_again(given_up.id, actor=ACTOR)
    world.room.deliver(world.now)

    assert given_up.result == "the channel is switched off"
    assert states(world) == [DeliveryState.DELIVERED]
    with pytest.raises(BadRequestState, match="delivered"):
        world.room.try_again(given_up.id, actor=ACTOR)


def test_a_channel_that_cannot_be_reached_holds_up_nobody_else(world: Notifying, receiver: Receiver) -> None:
    """One attempt a run for the dead one, all of the others'."""
    dead = world.room.channels.add(WebhookFields("Dead", "https://localhost:1/"), SIGNING_KEY, actor=ACTOR)
    world.rule(dead, name="Dead")
    world.rule(world.webhook(receiver), name="Alive")
    for number in range(4):
        world.room.notify(event(identity=f"order/{number}"))

    report = world.room.deliver(world.now)

    assert (report.delivered, report.failed) == (4, 1)
    attempts = [line.attempts for line in world.room.history() if line.channel_id == dead.id]
    assert sorted(attempts) == [0, 0, 0, 1]


def test_the_history_outlives_channel_and_rule(world: Notifying, receiver: Receiver) -> None:
    channel = world.webhook(receiver)
    world.rule(channel)
    world.room.notify(event())
    world.room.deliver(world.now)
    world.room.notify(event(identity="order/2"))
    world.room.channels.delete(channel.id, confirmed=True, actor=ACTOR)
    world.room.deliver(world.now)

    assert [(line.channel_name, line.state) for line in world.room.history()] == [
        ("Hook", DeliveryState.GIVEN_UP),
        ("Hook", DeliveryState.DELIVERED),
    ]
    assert world.room.history(HistoryQuery(state=DeliveryState.DELIVERED))[0].rule_name == "Rule"
    assert world.room.prune(world.now + KEPT + MINUTE) == 2
    assert world.room.history() == []


def test_a_crash_between_sending_and_noting_repeats_it_later(world: Notifying, receiver: Receiver) -> None:
    world.rule(world.webhook(receiver))
    world.room.notify(event())
    with world.database.transaction() as connection:  # claimed by a worker that is no more
        connection.execute("UPDATE notifications_delivery SET next_try = next_try + 600")

    at_once = world.room.deliver(world.now)
    later = world.room.deliver(world.pass_time(10 * MINUTE))

    assert (at_once.delivered, later.delivered) == (0, 1)


# -- our own CAs -----------------------------------------------------------------------------------------------------


def ca_event(number: AuditEvent, **details: str | int) -> CaEvent:
    return CaEvent(number, NOW, "Corp CA", r"CORP\alice", details)


def test_events_of_a_ca_are_told(world: Notifying, receiver: Receiver) -> None:
    world.rule(world.webhook(receiver), LifecycleKind.CA_ISSUED, LifecycleKind.CA_DENIED, template="WebServer")
    module = world.room.exit_module()
    module.notify(ca_event(AuditEvent.REQUEST_RECEIVED, request_id=4))
    module.notify(ca_event(AuditEvent.CERTIFICATE_ISSUED, request_id=4, template="WebServer", serial_number="1f"))
    module.notify(ca_event(AuditEvent.CERTIFICATE_ISSUED, request_id=5, template="User"))
    module.notify(ca_event(AuditEvent.REQUEST_DENIED_BY_MANAGER, request_id=6, template="WebServer"))
    module.notify(ca_event(AuditEvent.CERTIFICATE_REVOKED, request_id=4))
    module.close()

    assert sorted(str(line.kind) for line in world.room.history()) == ["ca-denied", "ca-issued"]


def test_a_ca_whose_events_nobody_wants_costs_nothing(world: Notifying) -> None:
    before = threading.active_count()
    module = world.room.exit_module()

    for number in range(100):
        module.notify(ca_event(AuditEvent.CERTIFICATE_ISSUED, request_id=number))

    assert threading.active_count() == before
    module.close()
    assert world.room.history() == []


# -- PostgreSQL ------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_postgresql(postgresql: PostgresqlServer, world: Notifying, tmp_path: Path) -> Iterator[Notifying]:
    url = postgresql.create()
    migrate(url)
    database = Database.open(url)
    yield Notifying(database, world.sealer)
    database.close()
    postgresql.drop(url)


def test_it_is_the_same_on_postgresql(on_postgresql: Notifying, receiver: Receiver) -> None:
    world = on_postgresql
    receiver.statuses = [500]
    channel = world.webhook(receiver)
    world.rule(channel)
    for _ in range(2):
        world.room.notify(event())

    world.room.deliver(world.now)
    report = world.room.deliver(world.pass_time(MINUTE))

    assert report.delivered == 1
    assert states(world) == [DeliveryState.DELIVERED]
    with pytest.raises(InvalidArgument, match="already"):
        world.webhook(receiver)
    assert world.room.channels.delete(channel.id, confirmed=True, actor=ACTOR) == 1
