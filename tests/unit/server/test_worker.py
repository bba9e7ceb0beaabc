"""Timed duties: done when due, tried again when they fail, on a clock that a test holds in its hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from certwright.server.worker import FIRST_RETRY, Duty, Worker

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class Work:
    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.done: list[datetime] = []
        self.tried = 0

    def __call__(self, now: datetime) -> None:
        self.tried += 1
        if self.failures > 0:
            self.failures -= 1
            raise OSError("the disk is full")
        self.done.append(now)


def test_a_duty_is_done_at_the_start_and_then_once_per_period() -> None:
    clock, work = Clock(), Work()
    worker = Worker([Duty("a", HOUR, work)], clock)

    assert worker.run_due() == START + HOUR
    clock.now += HOUR - timedelta(seconds=1)
    worker.run_due()
    clock.now += timedelta(seconds=1)
    worker.run_due()

    assert work.done == [START, START + HOUR]


def test_a_failure_is_tried_again_less_and_less_often_and_never_later_than_due() -> None:
    clock, work = Clock(), Work(failures=20)
    worker = Worker([Duty("a", HOUR, work)], clock)

    waits = []
    for _ in range(10):
        due = worker.run_due()
        waits.append(due - clock.now)
        clock.now = due

    assert waits[:4] == [FIRST_RETRY, FIRST_RETRY * 2, FIRST_RETRY * 4, FIRST_RETRY * 8]
    assert waits[-1] == HOUR
    assert work.tried == 10


def test_one_that_fails_keeps_nobody_else_from_being_done() -> None:
    bad, good = Work(failures=1), Work()

    Worker([Duty("bad", HOUR, bad), Duty("good", HOUR, good)], Clock()).run_due()

    assert good.done == [START]


def test_a_clock_set_back_delays_nothing() -> None:
    clock, work = Clock(), Work()
    worker = Worker([Duty("a", HOUR, work)], clock)
    worker.run_due()

    clock.now -= timedelta(days=365)
    worker.run_due()

    assert len(work.done) == 2


def test_nothing_more_is_begun_after_the_stop() -> None:
    work = Work()
    worker = Worker([Duty("a", HOUR, work)], Clock())

    worker.stop()
    worker.run()

    assert work.tried == 0
