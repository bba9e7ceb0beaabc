"""Whenever this process ends, no order is lost and none is doubled.

Every database transaction has three points at which a process can end: before it, inside it, and right after its
commit. The tests end it at each of them in turn, start again, and let the clock run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from certwright.adcs.errors import BadRequestState
from certwright.adcs.events import LifecycleKind
from certwright.database import Connection, Database
from certwright.manager.inventory_values import InventoryQuery
from certwright.manager.values import Order, OrderState, RuleFields
from certwright.pki.pkcs10 import CertificationRequest
from tests.support.managing import ALICE, CLOCK, Managed, managed
from tests.support.scripted_ca import Answer, Killed, ScriptedCa

MOST_POINTS = 200


class Mortal(Database):
    """A database whose process ends at a chosen point."""

    def __init__(self, inner: Database) -> None:
        self.inner = inner
        self.points_left = MOST_POINTS * 10

    @property
    def dialect(self):  # type: ignore[no-untyped-def,override]
        return self.inner.dialect

    def read(self) -> AbstractContextManager[Connection]:
        return self.inner.read()

    @contextmanager
    def transaction(self, *, deadline: float | None = None) -> Iterator[Connection]:
        self._point()
        with self.inner.transaction(deadline=deadline) as connection:
            yield connection
            self._point()
        self._point()

    def _point(self) -> None:
        self.points_left -= 1
        if self.points_left < 0:
            raise Killed


def recorded(ca: ScriptedCa) -> list[str]:
    """Public keys of the requests a CA has."""
    return [
        hashlib.sha256(CertificationRequest.parse(row.request).public_key_info).hexdigest()
        for row in ca.rows.values()
    ]


def settle(desk: Managed) -> None:
    """Start again and let the clock run for a while."""
    desk.restart()
    desk.manager.orders.recover(actor=CLOCK, everything=True)
    for _ in range(8):
        desk.later(minutes=10)
        desk.manager.tasks.track()


def killed(folder: Path, act: Callable[[Managed], object], prepare: Callable[[Managed], object]) -> Iterator[Managed]:
    """The same act, killed at one point after the other, until it comes through."""
    for point in range(MOST_POINTS):
        place = folder / str(point)
        place.mkdir()
        with managed(place) as desk:
            prepare(desk)
            mortal = Mortal(desk.database)
            desk.database = mortal
            desk.restart()
            mortal.points_left = point
            try:
                act(desk)
            except Killed:
                came_through = False
            else:
                came_through = True
            desk.database = mortal.inner
            settle(desk)
            yield desk
        if came_through:
            return
    pytest.fail("the act has more points than the test looks at")


def check_orders(desk: Managed, ca: ScriptedCa) -> list[Order]:
    """Nothing doubled, nothing lost; returns the orders."""
    keys = recorded(ca)
    assert len(keys) == len(set(keys)), "a request was handed in twice"
    orders = list(desk.manager.orders.list().rows)
    assert len(orders) >= len(keys), "the CA has a request that nobody here knows of"
    stored = list(desk.manager.inventory.stream(InventoryQuery(is_ca=False)))
    assert len({row.sha256 for row in stored}) == len(stored)
    for order in orders:
        assert order.state is not OrderState.SUBMITTING
        assert order.key_held, "the key of an order is gone"
        if order.state is OrderState.ISSUED:
            assert order.fetched
    issued = [order for order in orders if order.state is OrderState.ISSUED]
    assert len(stored) == len(issued)
    return orders


@pytest.mark.parametrize("answer", [Answer.ISSUED, Answer.PENDING, Answer.LOST])
def test_an_order_is_neither_lost_nor_doubled(tmp_path: Path, answer: Answer) -> None:
    states = set()
    for desk in killed(
        tmp_path, lambda desk: desk.order("web.corp.example"), lambda desk: desk.service(answer=answer)
    ):
        [ca] = desk.reach.cas.values()
        for request_id in [number for number, row in ca.rows.items() if row.certificate is None]:
            ca.issue(request_id)
        settle(desk)
        orders = check_orders(desk, ca)
        states |= {order.state for order in orders}
        if ca.rows:
            [order] = orders
            assert order.state is OrderState.ISSUED, "the CA has it, so it was found"
        elif orders and orders[0].may_resubmit:
            ca.answers = [Answer.ISSUED]
            assert desk.manager.orders.resubmit(orders[0].id, actor=ALICE).fetched
            check_orders(desk, ca)
        assert len({event.identity for event in desk.told}) <= len(desk.told)
    assert {OrderState.ISSUED, OrderState.FAILED} <= states


@pytest.mark.parametrize("answer", [Answer.KILLED, Answer.KILLED_BEFORE])
def test_killed_while_it_is_sent(tmp_path: Path, answer: Answer) -> None:
    """`kill -9` between submission and storing."""
    with managed(tmp_path) as desk:
        _, ca = desk.service(answer=answer)
        with pytest.raises(Killed):
            desk.order("web.corp.example")
        desk.restart()
        [order] = desk.manager.orders.list().rows
        assert order.state is OrderState.SUBMITTING
        assert desk.manager.orders.recover(actor=CLOCK) == [], "somebody else may still be sending it"
        assert desk.manager.orders.recover(actor=CLOCK, everything=True) == [order.id]
        assert desk.manager.orders.get(order.id).state is OrderState.LOST
        with pytest.raises(BadRequestState, match="look for it before it is sent again"):
            desk.manager.orders.resubmit(order.id, actor=ALICE)
        desk.manager.tasks.track()
        after = desk.manager.orders.get(order.id)
        if answer is Answer.KILLED:
            assert after.state is OrderState.ISSUED
            assert after.fetched
            assert after.key_held
        else:
            assert after.state is OrderState.LOST
            assert not after.may_resubmit, "nothing says yet that the CA does not have it"
        assert ca.submissions == (1 if answer is Answer.KILLED else 0)


def test_a_lease_that_ended_makes_an_abandoned_order_lost(tmp_path: Path) -> None:
    with managed(tmp_path) as desk:
        _, ca = desk.service(answer=Answer.KILLED)
        with pytest.raises(Killed):
            desk.order()
        ca.down = True
        desk.restart()
        assert desk.manager.tasks.track().next_due > desk.now
        desk.later(minutes=6)
        desk.manager.tasks.track()
        assert desk.manager.orders.list().rows[0].state is OrderState.LOST
        assert LifecycleKind.ORDER_LOST in desk.told_kinds()


# -- answers that were lost ----------------------------------------------------------------------------------------


def test_a_lost_answer_is_looked_for_and_found(tmp_path: Path) -> None:
    with managed(tmp_path) as desk:
        _, ca = desk.service(answer=Answer.LOST)
        order = desk.order()
        assert order.state is OrderState.LOST
        assert "looked for before it is sent again" in desk.stories(order.id)[-1]
        found = desk.manager.orders.look_for(order.id, actor=ALICE)
        assert (found.state, found.request_id, found.fetched) == (OrderState.ISSUED, 100, True)
        assert ca.submissions == 1


def test_a_lost_answer_does_not_go_to_the_next_service(tmp_path: Path) -> None:
    with managed(tmp_path) as desk:
        desk.service("ca01.corp.example", Answer.LOST_BEFORE, priority=1)
        _, second = desk.service("ca02.corp.example", priority=2)
        assert desk.order().state is OrderState.LOST
        assert second.submissions == 0


def test_what_is_not_found_may_not_be_sent_again_until_it_is_certain(tmp_path: Path) -> None:
    """An ID that shows nothing may be somebody else's, and ours may lie behind it."""
    with managed(tmp_path) as desk:
        _, ca = desk.service(answer=Answer.LOST_BEFORE)
        lost = desk.order()
        desk.later(minutes=10)
        assert not desk.manager.orders.look_for(lost.id, actor=ALICE).may_resubmit
        ca.answers = [Answer.ISSUED]
        later = desk.order()  # a request that came after it, and whose ID is known
        assert later.request_id == 100
        found = desk.manager.orders.look_for(lost.id, actor=ALICE)
        assert found.may_resubmit
        assert "certainly does not have it" in desk.stories(lost.id)[-1]
        assert desk.manager.orders.resubmit(lost.id, actor=ALICE).state is OrderState.ISSUED


def test_our_own_ca_says_for_certain_but_not_before_whoever_sent_it_must_have_ended(tmp_path: Path) -> None:
    with managed(tmp_path) as desk:
        desk.service(answer=Answer.LOST_BEFORE)
        desk.reach.certain = True
        lost = desk.order()
        assert not desk.manager.orders.look_for(lost.id, actor=ALICE).may_resubmit
        desk.later(minutes=5)
        assert desk.manager.orders.look_for(lost.id, actor=ALICE).may_resubmit


def test_pending_requests_that_may_be_it_keep_it_from_being_sent_again(tmp_path: Path) -> None:
    with managed(tmp_path) as desk:
        desk.service(answer=Answer.LOST_BEFORE)
        desk.reach.certain = desk.reach.undecided = True
        lost = desk.order()
        desk.later(minutes=10)
        assert not desk.manager.orders.look_for(lost.id, actor=ALICE).may_resubmit
        assert "may be one of the pending requests 1, 2" in desk.stories(lost.id)[-1]


def test_a_late_answer_to_an_earlier_attempt_moves_nothing(tmp_path: Path) -> None:
    """Process one is slow; process two gave the order up, looked, and sent it again."""
    with managed(tmp_path) as desk:
        service, ca = desk.service()
        desk.reach.certain = True
        submit = type(desk.reach.connect(service, desk.manager.services.credential(service))).submit
        late: list[Order] = []

        def slow(door, request, attributes, *rest):  # type: ignore[no-untyped-def]
            if not late:
                late.append(desk.manager.orders.list().rows[0])
                desk.later(minutes=20)
                desk.manager.orders.recover(actor=CLOCK)
                assert desk.manager.orders.look_for(late[0].id, actor=ALICE).may_resubmit
                ca.answers = [Answer.PENDING]
                desk.manager.orders.resubmit(late[0].id, actor=ALICE)
                ca.answers = [Answer.DENIED]
            return submit(door, request, attributes, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.support.scripted_ca.ScriptedDoor.submit", slow)
            desk.order("web.corp.example")
        [order] = desk.manager.orders.list().rows
        assert (order.state, order.request_id) == (OrderState.PENDING, 100)


def test_two_processes_never_take_the_same_step(tmp_path: Path) -> None:
    """The other process settles the order while ours is asking."""
    with managed(tmp_path) as desk:
        _, ca = desk.service(answer=Answer.PENDING)
        order = desk.order()
        ca.issue(100)
        desk.later(minutes=1)
        first = desk.manager
        desk.restart()
        assert len(first.tasks.track().what) == 1
        assert desk.manager.tasks.track().what == ()
        assert [line for line in desk.stories(order.id) if line.startswith("Issued")] == [
            "Issued as request 100: Issued"
        ]


# -- renewal -------------------------------------------------------------------------------------------------------


def test_a_renewal_is_ordered_once(tmp_path: Path) -> None:
    def prepare(desk: Managed) -> None:
        desk.service()
        desk.order("web.corp.example", tags=("web",))
        desk.manager.renewal.add(RuleFields("web", days_before=30, tag="web"), actor=ALICE)
        desk.later(days=340)

    renewed = 0
    for desk in killed(tmp_path, lambda desk: desk.manager.tasks.renew(), prepare):
        [ca] = desk.reach.cas.values()
        check_orders(desk, ca)
        for _ in range(3):
            desk.later(days=1)
            desk.manager.tasks.renew()
            desk.manager.tasks.track()
        orders = check_orders(desk, ca)
        issued = [order for order in orders if order.state is OrderState.ISSUED]
        if len(issued) == 2:
            renewed += 1
            rows = list(desk.manager.inventory.stream(InventoryQuery(is_ca=False)))
            assert sorted(row.superseded_by is None for row in rows) == [False, True]
            assert [event.kind for event in desk.told].count(LifecycleKind.CERTIFICATE_RENEWED) >= 1
        assert len(issued) <= 2
        assert len(ca.rows) <= 2, "it was ordered twice"
    assert renewed >= 5


# -- what people are told ------------------------------------------------------------------------------------------


def test_what_was_committed_is_told_after_a_crash(tmp_path: Path) -> None:
    with managed(tmp_path) as desk:
        desk.service(answer=Answer.DENIED)

        def crash(event: object) -> None:
            raise Killed

        told = desk.told
        desk.told = _Crashing(crash)  # type: ignore[assignment]
        desk.restart()
        with pytest.raises(Killed):
            desk.order("web.corp.example")
        desk.told = told
        desk.restart()
        assert desk.told_kinds() == []
        desk.manager.tasks.track()
        assert desk.told_kinds() == [LifecycleKind.ORDER_DENIED]


class _Crashing:
    def __init__(self, append: Callable[[object], None]) -> None:
        self.append = append
