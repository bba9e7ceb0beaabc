"""How the issuer thread goes through a batch. The faults that end one are in tests/faults."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from certwright.adcs.errors import AdcsError, HResult
from certwright.adcs.request import NO_ATTRIBUTES, Disposition, RequestFlags, Response
from certwright.ca import issuer as issuing
from certwright.ca.authority import Unsigned
from certwright.ca.issuer import Issuer, _Job
from certwright.ca.submissions import Submission
from tests.support.fake_directory import make_user, requester_for


class Broken(Exception):
    """A fault nobody foresaw."""


@dataclass
class RecordingAuthority:
    """Stands where `Authority` does and notes what is asked of it, in order."""

    name: str = "Corp Issuing CA"
    steps: list[str] = field(default_factory=list)
    failing: dict[str, Exception] = field(default_factory=dict)

    def read(self, submissions: list[Submission]) -> list[Submission]:
        for submission in submissions:
            self._note("read", submission)
        return submissions

    def decide(self, transaction: Any, submission: Submission) -> Response | Unsigned:
        self._note("decide", submission)
        if submission.raw == b"denied":
            return _answer(Disposition.DENIED)
        return Unsigned(1, None, None, submission, None, None)  # type: ignore[arg-type]

    def sign(self, transaction: Any, unsigned: Unsigned) -> Response:
        self._note("sign", unsigned.submission)
        return _answer(Disposition.ISSUED)

    @contextmanager
    def transaction(self, *, deadline: float | None = None) -> Iterator[Any]:
        self.steps.append("begin")
        yield self
        self.steps.append("commit")

    def beside(self, write: Callable[[Any], None]) -> None:
        write("connection")

    def notify_exits(self) -> None:
        pass

    def _note(self, step: str, submission: Submission) -> None:
        called = f"{step} {submission.raw.decode()}"
        self.steps.append(called)
        if called in self.failing:
            raise self.failing[called]


def _answer(disposition: Disposition) -> Response:
    return Response(1, disposition, HResult.S_OK, disposition.name)


def answers(authority: RecordingAuthority, *raws: str) -> list[Any]:
    """What the submissions of one batch are answered."""
    issuer = Issuer(authority)  # type: ignore[arg-type]
    user = make_user()
    jobs = []
    for raw in raws:
        submission = Submission(
            requester_for(user), user, raw.encode(), NO_ATTRIBUTES, RequestFlags.DETECT, {}, frozenset()
        )
        jobs.append(_Job(submission, float("inf"), Future()))
    issuer._serve(jobs)
    return [job.answer for job in jobs]


def test_a_batch_is_read_before_its_lock_is_taken_then_decided_then_signed() -> None:
    authority = RecordingAuthority()

    told = answers(authority, "a", "denied", "b")

    assert [answer.disposition.name for answer in told] == ["ISSUED", "DENIED", "ISSUED"]
    assert authority.steps == [
        *("read a", "read denied", "read b", "begin"),
        *("decide a", "decide denied", "decide b", "sign a", "sign b", "commit"),
    ]


@pytest.mark.parametrize("step", ["decide a", "sign a"])
def test_a_refusal_on_the_way_is_that_jobs_answer_alone(step: str) -> None:
    error = AdcsError("not this one", HResult.NTE_BAD_SIGNATURE)
    authority = RecordingAuthority(failing={step: error})

    told = answers(authority, "a", "b")

    assert told[0] is error
    assert told[1].is_issued
    assert authority.steps.count("begin") == 1


@pytest.mark.parametrize("step", ["read a", "decide a", "sign a"])
def test_a_fault_sends_each_job_on_its_own_way(step: str) -> None:
    """Nothing is committed by the attempt that broke."""
    authority = RecordingAuthority(failing={step: Broken()})

    told = answers(authority, "a", "b")

    assert isinstance(told[0], Broken)
    assert told[1].is_issued
    assert authority.steps.count("commit") == 1


# -- what goes along -------------------------------------------------------------------------------------------------


@dataclass
class Beside:
    """Another room's rows."""

    name: str
    steps: list[str]
    refuses: bool = False

    def begin(self, connection: Any) -> None:
        self.steps.append(f"{self.name} begins")
        if self.refuses:
            raise AdcsError("not this one")

    def undo(self, connection: Any) -> None:
        self.steps.append(f"{self.name} undone")

    def decided(self, connection: Any, response: Response) -> None:
        self.steps.append(f"{self.name} {response.disposition.name}")


def with_rows(authority: RecordingAuthority, *raws: str, refusing: str = "") -> list[Any]:
    """As `answers`, each with rows of another room along."""
    jobs = [_job(raw) for raw in raws]
    for raw, job in zip(raws, jobs, strict=True):
        job.submission = job.submission._replace(along=Beside(raw, authority.steps, raw == refusing))
    Issuer(authority)._serve(jobs)  # type: ignore[arg-type]
    return [job.answer for job in jobs]


def test_what_goes_along_is_written_in_the_same_transaction() -> None:
    authority = RecordingAuthority()
    with_rows(authority, "a", "denied")
    assert authority.steps[2:] == [
        *("begin", "a begins", "decide a", "denied begins", "decide denied"),
        *("sign a", "a ISSUED", "denied DENIED", "commit"),
    ]


def test_who_may_not_begin_is_not_decided_on_and_keeps_no_other_from_it() -> None:
    authority = RecordingAuthority()
    told = with_rows(authority, "a", "b", refusing="a")
    assert isinstance(told[0], AdcsError)
    assert told[1].is_issued
    assert "decide a" not in authority.steps
    assert "a undone" not in authority.steps
    assert authority.steps.count("begin") == 1


@pytest.mark.parametrize("step", ["decide a", "sign a"])
def test_what_began_is_taken_back_where_no_row_was_made(step: str) -> None:
    authority = RecordingAuthority(failing={step: AdcsError("refused", HResult.NTE_BAD_SIGNATURE)})
    told = with_rows(authority, "a", "b")
    assert isinstance(told[0], AdcsError)
    assert "a undone" in authority.steps
    assert "a ISSUED" not in authority.steps
    assert "b ISSUED" in authority.steps


def test_a_batch_that_breaks_begins_again_for_each() -> None:
    authority = RecordingAuthority(failing={"decide a": Broken()})
    told = with_rows(authority, "a", "b")
    assert isinstance(told[0], Broken)
    assert told[1].is_issued
    assert authority.steps.count("b begins") == 1
    assert authority.steps.count("a begins") == 2
    assert authority.steps.count("commit") == 1


# -- gathering -------------------------------------------------------------------------------------------------------


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Issuer, threading.Thread]]:
    """An issuer that has answered two, has one more in its queue, and waits for the two to come again."""
    monkeypatch.setattr(issuing, "LONGEST_GATHERING", 30.0)
    issuer = Issuer(RecordingAuthority())  # type: ignore[arg-type]
    issuer._enqueue(_job("waiting"))
    thread = threading.Thread(target=issuer._gather, args=(2, 60.0), daemon=True)
    thread.start()
    while not issuer._expected:
        pass
    yield issuer, thread
    issuer.stop()
    thread.join(5)


def _job(raw: str) -> _Job:
    user = make_user()
    submission = Submission(
        requester_for(user), user, raw.encode(), NO_ATTRIBUTES, RequestFlags.DETECT, {}, frozenset()
    )
    return _Job(submission, float("inf"), Future())


def test_the_next_batch_begins_when_everybody_has_come_again(gathering: tuple[Issuer, threading.Thread]) -> None:
    issuer, thread = gathering

    issuer._enqueue(_job("a"))
    early = issuer._gathered.is_set()
    issuer._enqueue(_job("b"))
    thread.join(5)

    assert not early
    assert not thread.is_alive()


def test_a_stop_ends_the_gathering(gathering: tuple[Issuer, threading.Thread]) -> None:
    issuer, thread = gathering

    issuer.stop()
    thread.join(5)

    assert not thread.is_alive()


def test_gathering_takes_half_a_batchs_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to come again."""
    issuer = Issuer(RecordingAuthority())  # type: ignore[arg-type]
    waited: list[float] = []
    monkeypatch.setattr(issuer._gathered, "wait", waited.append)

    issuer._gather(200, 0.004)
    issuer._gather(200, 4.0)

    assert waited == [0.002, issuing.LONGEST_GATHERING]


def test_few_at_a_time_never_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = Issuer(RecordingAuthority())  # type: ignore[arg-type]
    few, many = issuing.GATHERED_FROM - 1, issuing.GATHERED_FROM
    then: dict[int, list[_Job | None]] = {few: [_job("b")] * many, many: [None]}
    gathered: list[int] = []
    monkeypatch.setattr(issuer, "_gather", lambda served, took: gathered.append(served))
    monkeypatch.setattr(issuer, "_serve", lambda batch: [issuer._queue.put(job) for job in then[len(batch)]])

    for _ in range(few):
        issuer._queue.put(_job("a"))
    issuer._run()

    assert gathered == [many]
