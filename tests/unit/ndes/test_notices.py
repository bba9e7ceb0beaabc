"""Notices that are kept: in order, again until they are taken, given up after a day, and over any crash."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from certwright.adcs.errors import HResult
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.request import Disposition as CaDisposition
from certwright.adcs.request import Response
from certwright.database import Connection, Database
from certwright.ndes import notices, store
from certwright.ndes.notebook import Entry, Note, Settled
from certwright.ndes.notices import FIRST_RETRY, GIVE_UP_AFTER, LAST_RETRY, Notices, retry_after
from certwright.ndes.policy import Disposition, Outcome, PolicyUnavailable
from certwright.ndes.store import NoticeState, State
from tests.support.tables import new_sqlite_url

NOW: Final = 1_800_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(new_sqlite_url(tmp_path))
    yield opened
    opened.close()


class Module:
    """Takes notices, or does not."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str, str]] = []
        self.refuses: Callable[[Mapping[str, Any]], bool] = lambda notice: False
        self.heard = threading.Event()

    def initialize(self, context: object) -> None: ...

    def generate_challenge(self, asked: object) -> str:
        return ""

    def verify_request(self, asked: object) -> Any: ...

    def notify(self, outcome: Outcome) -> None:
        raise AssertionError("its notices are kept")

    def uninitialize(self) -> None: ...

    def notice_of(self, outcome: Outcome) -> Mapping[str, Any]:
        return {"transaction": outcome.transaction, "disposition": outcome.disposition.name}

    def tell(self, number: int, notice: Mapping[str, Any]) -> None:
        if self.refuses(notice):
            raise PolicyUnavailable("not now")
        self.told.append((number, notice["transaction"], notice["disposition"]))
        self.heard.set()


class Desk:
    """A service's notices with what is around them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.module: Any = Module()
        self.now = NOW
        self.events: list[CaEvent] = []
        self.notices = self.again()

    def again(self) -> Notices:
        """As another process, or the same after a crash, has them."""

        def record(connection: Connection, event: CaEvent) -> None:
            assert connection.in_transaction
            self.events.append(event)

        return Notices(
            self.database, "mdm", record, lambda: datetime.fromtimestamp(self.now, UTC), lambda: self.module
        )

    def put(self, transaction: str, disposition: Disposition = Disposition.SUCCESS) -> None:
        kept = self.notices.of(self.module, outcome(transaction, disposition))
        with self.database.transaction() as connection:
            kept.put(connection)

    def rows(self) -> list[store.Notice]:
        with self.database.read() as connection:
            return store.notices(connection, "mdm", 1000)[::-1]


def outcome(transaction: str, disposition: Disposition = Disposition.SUCCESS) -> Outcome:
    return Outcome(disposition, transaction, "WebServer", b"", "secret", 7, 0, "Issued", None)


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    made = Desk(database)
    yield made
    made.notices.close()


def test_what_is_kept_is_told_once(desk: Desk) -> None:
    desk.put("a")
    assert desk.notices.tell_due() == 1
    assert desk.notices.tell_due() == 0
    (row,) = desk.rows()
    assert desk.module.told == [(row.id, "a", "SUCCESS")]
    assert (row.state, row.attempts, row.body, row.settled) == (NoticeState.TAKEN, 1, "", NOW)


def test_a_notice_that_is_not_taken_comes_again_later_and_later(desk: Desk) -> None:
    desk.put("a")
    desk.module.refuses = lambda notice: True
    assert desk.notices.tell_due() == 0
    assert desk.notices.tell_due() == 0
    (row,) = desk.rows()
    assert (row.attempts, row.result, row.next_try) == (1, "not now", NOW + FIRST_RETRY)
    desk.now += FIRST_RETRY
    desk.module.refuses = lambda notice: False
    assert desk.again().tell_due() == 1
    assert [retry_after(attempt) for attempt in (1, 2, 3, 50)] == [60, 120, 240, LAST_RETRY]


def test_a_notice_outlives_the_process_that_kept_it(desk: Desk) -> None:
    desk.put("a")
    desk.notices.close()
    assert desk.again().tell_due() == 1


def test_a_process_that_died_while_it_told_one_repeats_it_under_its_number(desk: Desk) -> None:
    desk.put("a")

    class Died(BaseException):
        pass

    def dies(number: int, notice: Mapping[str, Any]) -> None:
        raise Died

    told, desk.module.tell = desk.module.tell, dies
    with pytest.raises(Died):
        desk.notices.tell_due()
    desk.module.tell = told
    assert desk.again().tell_due() == 0  # it may still be at it
    desk.now += notices._CLAIM
    assert desk.again().tell_due() == 1
    assert desk.module.told[0][0] == desk.rows()[0].id


def test_after_a_day_it_is_given_up_and_said_so(desk: Desk) -> None:
    desk.put("a")
    desk.module.refuses = lambda notice: True
    with capture_logs() as logs:
        for _ in range(60):
            desk.notices.tell_due()
            following = desk.rows()[0].next_try
            if following is None:
                break
            desk.now = following
    (row,) = desk.rows()
    assert row.state is NoticeState.GIVEN_UP
    assert (row.settled, row.body, row.result) == (NOW + GIVE_UP_AFTER, "", "not now")
    assert logs[-1]["event"] == "ndes_notice_given_up"
    (event,) = desk.events
    assert event.event is AuditEvent.NDES_CHANGED
    assert event.details["change"] == "notice given up"
    assert event.details["transaction"] == "a"


def test_of_one_transaction_the_second_waits_for_the_first(desk: Desk) -> None:
    desk.put("a", Disposition.PENDING)
    desk.put("b")
    desk.put("a", Disposition.SUCCESS)
    desk.module.refuses = lambda notice: notice["disposition"] == "PENDING"
    assert desk.notices.tell_due() == 1
    desk.now += FIRST_RETRY
    desk.module.refuses = lambda notice: False
    assert desk.notices.tell_due() == 2
    assert [each[1:] for each in desk.module.told] == [("b", "SUCCESS"), ("a", "PENDING"), ("a", "SUCCESS")]


def test_a_module_that_takes_nothing_is_left_alone_after_a_few(desk: Desk) -> None:
    for number in range(10):
        desk.put(f"d{number}")
    desk.module.refuses = lambda notice: True
    desk.notices.tell_due()
    assert sum(row.attempts for row in desk.rows()) == 3


def test_two_processes_tell_each_notice_once(desk: Desk) -> None:
    for number in range(20):
        desk.put(f"d{number}")
    others = [desk.again() for _ in range(3)]
    threads = [threading.Thread(target=each.tell_due) for each in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each[1] for each in desk.module.told) == sorted(f"d{number}" for number in range(20))


def test_only_so_many_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "MAX_WAITING", 2)
    for name in "abc":
        desk.put(name)
    assert [row.state for row in desk.rows()] == [NoticeState.WAITING, NoticeState.WAITING, NoticeState.GIVEN_UP]
    assert desk.events[0].details["reason"] == "too many wait"


def test_what_waits_for_a_module_that_is_gone_is_given_up(desk: Desk) -> None:
    desk.put("a")
    desk.module = object()
    assert desk.notices.tell_due() == 0
    assert desk.rows()[0].state is NoticeState.GIVEN_UP


def test_it_is_written_with_the_outcome_and_told_without_anybody_waiting(desk: Desk) -> None:
    key = ("mdm", "a", b"k")
    note = Note(key, b"r", "WebServer", "CN=a", False, "192.0.2.7", NOW, None, None)
    issued = Settled(State.ISSUED, 7, "Issued", NOW)
    entry = Entry(note, "", lambda response: issued, lambda response: desk.notices.of(desk.module, outcome("a")))
    with desk.database.transaction() as connection:
        entry.begin(connection)
        entry.decided(connection, Response(7, CaDisposition.ISSUED, HResult.S_OK, "Issued", b""))
    assert [row.state for row in desk.rows()] == [NoticeState.WAITING]
    assert entry.kept is not None
    entry.kept.written()
    assert desk.module.heard.wait(5)
    desk.notices.close()
    assert [row.state for row in desk.rows()] == [NoticeState.TAKEN]
