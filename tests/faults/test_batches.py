"""The issuer under errors: a batch that fails is run singly, and every waiter is answered exactly once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from certwright.adcs.errors import AdcsError, CaUnreachable, HResult
from certwright.adcs.request import NO_ATTRIBUTES, RequestFlags, Response, template_attributes
from certwright.ca.authority import Authority
from certwright.ca.database import CaDatabase, CaTransaction
from certwright.ca.issuer import Issuer
from certwright.ca.submissions import Submission
from certwright.database import DatabaseBusy
from certwright.server.composition import Installation
from tests.support.doors import Local, new_host
from tests.support.installation import Mold, People
from tests.support.requests import web_server_request

BATCH = 12
PATIENCE = 20.0

Answer = Response | BaseException


class Poison(Exception):
    """A fault nobody foresaw."""


@dataclass
class Workshop:
    """An issuer that has not begun: whatever is submitted meanwhile becomes one batch."""

    installation: Installation
    issuer: Issuer
    poisoned: set[bytes]

    def __post_init__(self) -> None:
        self.sizes: list[int] = []
        decide = self.issuer.authority.decide

        def watched(transaction: CaTransaction, submission: Submission) -> Any:
            if submission.raw in self.poisoned:
                raise Poison("this one breaks the engine")
            return decide(transaction, submission)

        self.issuer.authority.decide = watched  # type: ignore[method-assign]

    def submission(self, request: bytes = b"", template: str = "WebServer") -> Submission:
        return self.issuer.authority.look_up(
            Local(self.installation).requester(People.ENROLLEE),
            request or web_server_request(new_host()),
            template_attributes(template) if template else NO_ATTRIBUTES,
            RequestFlags.DETECT,
        )

    def answers(
        self, submissions: list[Submission], before_start: Callable[[], object] = lambda: None
    ) -> list[Answer]:
        """Submit all, from threads and from an event loop by turns, as one batch; what each waiter was told."""

        def by_thread(submission: Submission) -> Answer:
            try:
                return self.issuer.submit(submission)
            except Exception as error:  # noqa: BLE001 - the answer
                return error

        async def by_loop(chosen: list[Submission]) -> list[Any]:
            waiting = [asyncio.create_task(self.issuer.submit_async(submission)) for submission in chosen]
            return await asyncio.gather(*waiting, return_exceptions=True)

        with ThreadPoolExecutor(len(submissions) + 1) as pool:
            threads = [pool.submit(by_thread, submission) for submission in submissions[::2]]
            loop = pool.submit(asyncio.run, by_loop(submissions[1::2]))
            self.await_queue(len(submissions))
            before_start()
            self.issuer.start()
            told: list[Answer] = [Poison("never answered")] * len(submissions)
            told[::2] = [future.result(PATIENCE) for future in threads]
            told[1::2] = loop.result(PATIENCE)
        return told

    def await_queue(self, length: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.issuer._queue.qsize() < length:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def rows(self) -> dict[int, Any]:
        """Every row of the CA that an account of these tests asked for."""
        database = self.issuer.authority.database
        found = {}
        for request_id in range(1, 500):
            record = database.request(request_id)
            if record is not None and record.caller_name.endswith(People.ENROLLEE):
                found[request_id] = record
        return found


@pytest.fixture
def workshop(mold: Mold, tmp_path: Path) -> Iterator[Workshop]:
    with Installation.open(mold.copy(tmp_path)) as installation:
        made = Workshop(installation, Issuer(installation.cas[0].authority, patience=PATIENCE), set())
        yield made
        made.issuer.stop()


def issued(answers: list[Answer]) -> list[Response]:
    return [answer for answer in answers if isinstance(answer, Response) and answer.is_issued]


@contextmanager
def failing(authority: Authority, fail: Callable[[int], BaseException | None]) -> Iterator[list[int]]:
    """Let transactions of a CA fail at their commit; `fail` is given how often there was one before."""
    real: CaDatabase = authority.database
    begun: list[int] = []

    class Broken:
        @contextmanager
        def transaction(self, *, deadline: float | None = None) -> Iterator[CaTransaction]:
            with real.transaction(deadline=deadline) as transaction:
                yield transaction
                begun.append(len(begun))
                error = fail(begun[-1])
                if error is not None:
                    raise error

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    authority.database = Broken()  # type: ignore[assignment]
    try:
        yield begun
    finally:
        authority.database = real


# -- one bad job -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 1, BATCH // 2, BATCH - 1])
def test_a_job_that_breaks_takes_nobody_with_it(workshop: Workshop, position: int) -> None:
    submissions = [workshop.submission() for _ in range(BATCH)]
    workshop.poisoned.add(submissions[position].raw)

    answers = workshop.answers(submissions)

    assert isinstance(answers[position], Poison)
    others = issued(answers)
    assert len(others) == BATCH - 1
    rows = workshop.rows()
    assert sorted(rows) == sorted(answer.request_id for answer in others)
    assert len({answer.certificate for answer in others}) == BATCH - 1


def test_every_job_may_break(workshop: Workshop) -> None:
    submissions = [workshop.submission() for _ in range(BATCH)]
    workshop.poisoned.update(submission.raw for submission in submissions)

    answers = workshop.answers(submissions)

    assert all(isinstance(answer, Poison) for answer in answers)
    assert workshop.rows() == {}
    workshop.poisoned.clear()
    assert workshop.issuer.submit(workshop.submission()).is_issued


def test_a_refusal_without_a_row_is_its_own_jobs_answer(workshop: Workshop) -> None:
    """Denied, failed and issued ones in one batch, one commit."""
    submissions = [
        workshop.submission(),
        workshop.submission(template=""),
        workshop.submission(b"garbage"),
        workshop.submission(web_server_request("www.elsewhere.example")),
        workshop.submission(),
    ]
    with failing(workshop.issuer.authority, lambda _: None) as transactions:
        answers = workshop.answers(submissions)

    told = [answer.disposition.name for answer in answers if isinstance(answer, Response)]
    assert told == ["ISSUED", "DENIED", "ERROR", "UNDER_SUBMISSION", "ISSUED"]
    assert len(transactions) == 1


# -- a database that breaks ------------------------------------------------------------------------------------------


def test_a_commit_that_fails_once_is_repeated_singly(workshop: Workshop) -> None:
    """Nothing of the first attempt stays: as many rows as answers, no request ID and no serial number twice."""
    with failing(workshop.issuer.authority, lambda count: Poison("at the commit") if count == 0 else None) as begun:
        answers = workshop.answers([workshop.submission() for _ in range(BATCH)])

    made = issued(answers)
    assert len(made) == BATCH
    assert len(begun) == 1 + BATCH
    assert sorted(workshop.rows()) == sorted({answer.request_id for answer in made})
    assert len({answer.request_id for answer in made}) == BATCH
    database = workshop.issuer.authority.database
    assert all(database.certificate_der(answer.request_id) == answer.certificate for answer in made)
    assert workshop.installation.audit.verify().broken == ()


def test_a_commit_that_fails_for_one_again_is_that_ones_answer(workshop: Workshop) -> None:
    with failing(workshop.issuer.authority, lambda count: Poison("at the commit") if count in (0, 5) else None):
        answers = workshop.answers([workshop.submission() for _ in range(BATCH)])

    assert len(issued(answers)) == BATCH - 1
    assert sum(isinstance(answer, Poison) for answer in answers) == 1
    assert len(workshop.rows()) == BATCH - 1


def test_a_database_that_never_commits_leaves_nothing_and_the_issuer_goes_on(workshop: Workshop) -> None:
    with failing(workshop.issuer.authority, lambda _: Poison("at the commit")):
        answers = workshop.answers([workshop.submission() for _ in range(BATCH)])

    assert all(isinstance(answer, Poison) for answer in answers)
    assert workshop.rows() == {}
    assert workshop.issuer.is_alive
    assert workshop.issuer.submit(workshop.submission()).is_issued


def test_a_lock_that_cannot_be_had_is_everybodys_answer(workshop: Workshop) -> None:
    """Busy is nobody's own fault: no single run makes it better."""
    real = workshop.installation.database.transaction
    calls: list[float | None] = []

    @contextmanager
    def busy(*, deadline: float | None = None) -> Iterator[Any]:
        calls.append(deadline)
        raise DatabaseBusy("the database is locked by another process")
        yield

    workshop.installation.database.transaction = busy  # type: ignore[method-assign]
    answers = workshop.answers([workshop.submission() for _ in range(BATCH)])
    workshop.installation.database.transaction = real  # type: ignore[method-assign]

    assert len(calls) == 1
    assert all(isinstance(answer, CaUnreachable) and answer.status is HResult.ERROR_BUSY for answer in answers)
    assert workshop.issuer.submit(workshop.submission()).is_issued


# -- waiters ---------------------------------------------------------------------------------------------------------


def test_a_job_that_waited_too_long_is_not_begun(mold: Mold, tmp_path: Path) -> None:
    with Installation.open(mold.copy(tmp_path)) as installation:
        slow = Workshop(installation, Issuer(installation.cas[0].authority, patience=0.05), set())
        answers = slow.answers([slow.submission() for _ in range(4)], lambda: time.sleep(0.1))
        rows = slow.rows()
        slow.issuer.stop()

    assert all(isinstance(answer, AdcsError) and answer.status is HResult.ERROR_BUSY for answer in answers)
    assert rows == {}


def test_a_waiter_that_went_away_disturbs_nobody(workshop: Workshop) -> None:
    """A closed connection cancels its task; the request is decided all the same."""

    async def both() -> Response:
        gone = asyncio.create_task(workshop.issuer.submit_async(workshop.submission()))
        stays = asyncio.create_task(workshop.issuer.submit_async(workshop.submission()))
        await asyncio.sleep(0)
        gone.cancel()
        workshop.issuer.start()
        return await stays

    answer = asyncio.run(both())

    assert answer.is_issued
    assert len(workshop.rows()) == 2


def test_a_loop_that_closed_disturbs_nobody(workshop: Workshop) -> None:
    async def leave() -> None:
        task = asyncio.create_task(workshop.issuer.submit_async(workshop.submission()))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    answers = workshop.answers([workshop.submission() for _ in range(3)], lambda: None)

    assert len(issued(answers)) == 3
    assert len(workshop.rows()) == 4


def test_a_stop_finishes_what_was_accepted_and_refuses_the_rest(workshop: Workshop) -> None:
    outcomes: list[Answer] = []
    refusals: list[HResult] = []

    def flood() -> None:
        while True:
            try:
                outcomes.append(workshop.issuer.submit(workshop.submission()))
            except CaUnreachable as error:
                refusals.append(error.status)
                return

    workshop.issuer.start()
    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(outcomes) < 20:
        time.sleep(0.001)
    workshop.issuer.stop()
    for thread in threads:
        thread.join(PATIENCE)

    assert refusals == [HResult.RPC_S_SERVER_UNAVAILABLE] * 4
    assert not workshop.issuer.is_alive
    assert sorted(workshop.rows()) == sorted(answer.request_id for answer in issued(outcomes))
    assert len(issued(outcomes)) == len(outcomes)
