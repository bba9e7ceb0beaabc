"""The issuer thread: submissions of one CA, many to a commit.

Requests wait in a queue; the thread takes all that wait, reads them, decides on all and signs all inside one
transaction, commits, and only then hands out the answers. No answer leaves before it is durable; every waiter is
answered exactly once, on every path.

Under load it gathers before the next batch: clients that were just answered come again at once, and the event loop
needs the interpreter to read them. Beginning with the first to arrive would cut every batch in two and make both
threads fight for the interpreter. Waiting for all saves a fifth of the CPU of a P-256 certificate and costs no time,
since the loop's work has to be done anyway. A few requests at a time never wait.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import structlog

from certwright.adcs.errors import AdcsError, CaUnreachable, HResult
from certwright.adcs.request import Response
from certwright.ca.authority import Authority, Recorded, Unsigned
from certwright.ca.database import CaTransaction
from certwright.ca.submissions import Submission

log = structlog.get_logger(__name__)

MAX_BATCH = 256
GATHERED_FROM = 4
"""A smaller batch was no load, and the next one begins with whoever comes first."""
LONGEST_GATHERING = 0.008
"""Seconds; never longer than half of what the last batch took."""
DEFAULT_PATIENCE = 30.0
"""Seconds a submission may wait for its commit."""

_Answer = Response | BaseException


@dataclass(slots=True, eq=False)
class _Job:
    submission: Submission
    deadline: float
    future: Future[Response] | asyncio.Future[Response]
    loop: asyncio.AbstractEventLoop | None = None
    answer: _Answer | None = field(default=None)


class Issuer:
    """Runs one `Authority`'s submissions on a thread of its own."""

    def __init__(self, authority: Authority, *, patience: float = DEFAULT_PATIENCE) -> None:
        self.authority = authority
        self._patience = patience
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"issuer {authority.name}", daemon=True)
        self._closed = False
        self._gate = threading.Lock()
        self._expected = 0  # jobs that are worth waiting for; 0 while nobody waits
        self._gathered = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """Finish what was accepted, then end. Later submissions are refused."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
            self._gathered.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    def submit(self, submission: Submission) -> Response:
        """Queue a submission and wait for its durable answer. For threads, never for an event loop."""
        future = self.submit_soon(submission)
        try:
            return future.result(self._patience + 5.0)
        except TimeoutError:
            raise CaUnreachable(
                "the CA did not answer in time; the request may have been recorded: look for it before repeating it",
                HResult.ERROR_TIMEOUT,
            ) from None

    async def submit_async(self, submission: Submission) -> Response:
        """The same for callers on an event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Response] = loop.create_future()
        self._enqueue(_Job(submission, time.monotonic() + self._patience, future, loop))
        return await future

    def submit_soon(self, submission: Submission) -> Future[Response]:
        """Queue a submission; the answer is durable when it is there. For who waits for several at a time."""
        future: Future[Response] = Future()
        self._enqueue(_Job(submission, time.monotonic() + self._patience, future))
        return future

    def _enqueue(self, job: _Job) -> None:
        with self._gate:
            if self._closed:
                raise CaUnreachable(f"the CA {self.authority.name} is stopping", HResult.RPC_S_SERVER_UNAVAILABLE)
            self._queue.put(job)
            if self._expected and self._queue.qsize() >= self._expected:
                self._gathered.set()

    def _gather(self, served: int, took: float) -> None:
        """Wait until those who were answered last have come again, beside those who wait already; not for long."""
        with self._gate:
            if self._closed:
                return
            self._expected = served + self._queue.qsize()
            self._gathered.clear()
        self._gathered.wait(min(took / 2, LONGEST_GATHERING))
        self._expected = 0

    def _run(self) -> None:
        ending = False
        served, took = 0, 0.0
        while not ending:
            if served >= GATHERED_FROM:
                self._gather(served, took)
            batch: list[_Job] = []
            item = self._queue.get()
            while True:
                if item is None:
                    ending = True
                    break
                batch.append(item)
                if len(batch) >= MAX_BATCH:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            begun = time.monotonic()
            if batch:
                self._serve(batch)
            served, took = len(batch), time.monotonic() - begun

    def _serve(self, batch: list[_Job]) -> None:
        now = time.monotonic()
        live = []
        for job in batch:
            if job.deadline <= now:
                job.answer = CaUnreachable("the CA was too busy to take the request", HResult.ERROR_BUSY)
            else:
                live.append(job)
        if live:
            try:
                self._attempt(live)
            except AdcsError as error:  # the lock could not be had: nobody's own fault, everybody's answer
                for job in live:
                    job.answer = error
            except Exception as error:
                if len(live) == 1:
                    log.error("submission_failed", ca=self.authority.name, exc_info=error)
                    live[0].answer = error
                else:
                    log.warning(
                        "batch_failed_retrying_singly", ca=self.authority.name, size=len(live), error=str(error)
                    )
                    for job in live:
                        self._alone(job)
        self._deliver(batch)
        self.authority.notify_exits()

    def _alone(self, job: _Job) -> None:
        try:
            self._attempt([job])
        except Exception as error:
            if not isinstance(error, AdcsError):
                log.error("submission_failed", ca=self.authority.name, exc_info=error)
            job.answer = error

    def _attempt(self, jobs: Sequence[_Job]) -> None:
        """Read all jobs, then decide all and sign all in one transaction. Raises only while nothing is committed."""
        for job, submission in zip(jobs, self.authority.read([job.submission for job in jobs]), strict=True):
            job.submission = submission
        with self.authority.transaction(deadline=max(job.deadline for job in jobs)) as transaction:
            decided = [self._decide(transaction, job) for job in jobs]
            answers = [self._sign(transaction, job, each) for job, each in zip(jobs, decided, strict=True)]
        unsigned = []
        for job, answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Recorded):
                unsigned.append((job, answer))
            else:
                job.answer = answer
        if unsigned:
            self._sign_elsewhere(unsigned)

    def _sign_elsewhere(self, unsigned: Sequence[tuple[_Job, Recorded]]) -> None:
        """The rows are durable; sign with a key outside this process, then record the certificates."""
        signed = [self.authority.sign_elsewhere(recorded) for _, recorded in unsigned]
        try:
            with self.authority.transaction(deadline=max(job.deadline for job, _ in unsigned)) as transaction:
                finished = [self.authority.finish(transaction, each) for each in signed]
                for (job, _), answer in zip(unsigned, finished, strict=True):
                    _tell_along(transaction, job, answer)
        except Exception as error:  # rows stay ACTIVE: `Authority.recover` closes them, nothing is issued twice
            log.error("certificates_not_recorded", ca=self.authority.name, exc_info=error)
            for job, _ in unsigned:
                job.answer = CaUnreachable("the certificate was signed but could not be recorded; it was withheld")
            return
        for (job, _), answer in zip(unsigned, finished, strict=True):
            job.answer = answer

    def _decide(self, transaction: CaTransaction, job: _Job) -> Response | Unsigned | Recorded | AdcsError:
        along = job.submission.along
        try:
            if along is not None:
                transaction.beside(along.begin)
        except AdcsError as error:
            return error
        try:
            return self.authority.decide(transaction, job.submission)
        except AdcsError as error:  # refused before a row was written: the job's own answer
            if along is not None:
                transaction.beside(along.undo)
            return error

    def _sign(
        self, transaction: CaTransaction, job: _Job, decided: Response | Unsigned | Recorded | AdcsError
    ) -> Response | Recorded | AdcsError:
        answer: Response | Recorded | AdcsError
        if isinstance(decided, Unsigned):
            try:
                answer = self.authority.sign(transaction, decided)
            except AdcsError as error:
                if job.submission.along is not None:
                    transaction.beside(job.submission.along.undo)
                return error
        else:
            answer = decided
        if isinstance(answer, Response):
            _tell_along(transaction, job, answer)
        return answer

    def _deliver(self, batch: Sequence[_Job]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        for job in batch:
            if job.answer is None:  # cannot happen; a waiter must not hang if it does
                job.answer = RuntimeError("the issuer left a submission without an answer")
            if job.loop is not None:
                by_loop.setdefault(job.loop, []).append(job)
            else:
                _settle(job)
        for loop, jobs in by_loop.items():
            try:
                loop.call_soon_threadsafe(_settle_all, jobs)
            except RuntimeError:  # the loop closed while its callers waited: there is nobody left to tell
                log.warning("answers_without_listener", ca=self.authority.name, count=len(jobs))


def _tell_along(transaction: CaTransaction, job: _Job, response: Response) -> None:
    along = job.submission.along
    if along is not None:
        transaction.beside(lambda connection: along.decided(connection, response))


def _settle(job: _Job) -> None:
    future, answer = job.future, job.answer
    if future.done():  # the caller went away (timeout, closed connection); the row is in the table all the same
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    elif answer is not None:
        future.set_result(answer)


def _settle_all(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        _settle(job)
