"""Messages answered many at a time, each step for all of them before the next one.

What a message needs is a generator (`Steps`) that stops between its steps. One thread takes all messages that wait
and goes on with each by turns: it reads all, verifies all, opens all, hands all to the CA, which does the same, and
makes all answers. By turns with everything else, an RSA operation takes half as long again, because its tables and
the program's own are driven out of the processor's caches; so do Python's. One message alone goes through the same
steps at once.

What may wait for somebody else, a policy module that asks over the network for one, says so (`APART`) and goes on in
a thread of its own: nobody waits with it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")
M = TypeVar("M")


class Apart(Enum):
    """What follows may wait for others."""

    APART = 0


APART: Final = Apart.APART
Step = Future[Any] | Apart | None
"""What is waited for, or that what follows takes its time; None between two steps."""
Steps = Generator[Step, Any, T]

MAX_BATCH: Final = 64
PATIENCE: Final = 60.0
"""Seconds for what is waited for; whoever gives it gives up sooner."""


def alone(steps: Steps[T]) -> T:
    """All steps, in the calling thread."""
    run = _Run(steps)
    while not run.go_on():
        pass
    return run.result()


class _Run(Generic[T]):
    """Steps under way. One thread at a time."""

    __slots__ = ("_error", "_result", "_steps", "_waits_for", "is_apart")

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self._waits_for: Future[Any] | None = None
        self._error: BaseException | None = None
        self._result: T | None = None
        self.is_apart = False

    def go_on(self) -> bool:
        """To the end of the next step. Is that all?"""
        waits_for, self._waits_for = self._waits_for, None
        try:
            if waits_for is None:
                step = next(self._steps)
            else:
                error = waits_for.exception(PATIENCE)
                step = self._steps.throw(error) if error is not None else self._steps.send(waits_for.result())
        except StopIteration as end:
            self._result = end.value
            return True
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
            self._error = error
            return True
        if isinstance(step, Future):
            self._waits_for = step
        elif step is APART:
            self.is_apart = True
        return False

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # what the generator returned

    def settle(self, future: asyncio.Future[T]) -> None:
        if future.done():  # nobody waits any more
            return
        if self._error is not None:
            future.set_exception(self._error)
        else:
            future.set_result(self._result)  # type: ignore[arg-type]


@dataclass(slots=True, eq=False)
class _Job(Generic[T, M]):
    make: Callable[[M], Steps[T]]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[T]
    run: _Run[T] | None = None


class Desk(Generic[T, M]):
    """Threads that do so.

    Args:
        threads: so many batches may be under way; while one waits for the CA, another goes on.
        apart: so many may wait for others.
        moment: made for each batch, and given to all its steps: what they look at is looked at once.
    """

    def __init__(self, name: str, threads: int, apart: int, moment: Callable[[], M]) -> None:
        self._moment = moment
        self._queue: queue.SimpleQueue[_Job[T, M] | None] = queue.SimpleQueue()
        self._apart = ThreadPoolExecutor(apart, thread_name_prefix=f"{name} apart")
        self._threads = [
            threading.Thread(target=self._run, name=f"{name} {number}", daemon=True) for number in range(threads)
        ]
        self._gate = threading.Lock()
        self._begun = self._closed = False

    async def do(self, make: Callable[[M], Steps[T]]) -> T:
        """The outcome of steps, which are made in the thread that does them."""
        loop = asyncio.get_running_loop()
        job: _Job[T, M] = _Job(make, loop, loop.create_future())
        with self._gate:
            if self._closed:
                raise RuntimeError("the desk is closed")
            if not self._begun:
                self._begun = True
                for thread in self._threads:
                    thread.start()
            self._queue.put(job)
        return await job.future

    async def aside(self, work: Callable[[], T]) -> T:
        """Something that takes its time, where nobody waits for it."""
        return await asyncio.get_running_loop().run_in_executor(self._apart, work)

    def close(self) -> None:
        """Finish what was taken, and end."""
        with self._gate:
            self._closed = True
            begun = self._begun
            for _ in self._threads:
                self._queue.put(None)
        if begun:
            for thread in self._threads:
                thread.join()
        self._apart.shutdown(wait=True)

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            batch: list[_Job[T, M]] = []
            while item is not None:
                batch.append(item)
                if len(batch) == MAX_BATCH:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            else:  # each thread takes one such word, and ends
                self._do(batch)
                return
            self._do(batch)

    def _do(self, batch: list[_Job[T, M]]) -> None:
        """Every step for all of them."""
        moment = self._moment()
        for job in batch:
            job.run = _Run(job.make(moment))
        while batch:
            left: list[_Job[T, M]] = []
            done: list[_Job[T, M]] = []
            for job in batch:
                run = job.run
                assert run is not None
                if run.go_on():
                    done.append(job)
                elif run.is_apart:
                    self._apart.submit(self._alone, job)
                else:
                    left.append(job)
            if done:
                _deliver(done)
            batch = left

    @staticmethod
    def _alone(job: _Job[T, M]) -> None:
        run = job.run
        assert run is not None
        while not run.go_on():
            pass
        _deliver([job])


def _deliver(jobs: Sequence[_Job[Any, Any]]) -> None:
    """The answers of one loop leave together."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job[Any, Any]]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, theirs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, theirs)
        except RuntimeError:  # the loop closed while they waited: there is nobody left to tell
            log.warning("answers_without_listener", count=len(theirs))


def _settle(jobs: Sequence[_Job[Any, Any]]) -> None:
    for job in jobs:
        if job.run is not None:
            job.run.settle(job.future)
