"""Work that may wait for a domain controller, done away from the event loop. One object for one event loop.

Bounded in both directions: a domain that does not answer costs a few threads and answers 503, never memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from certwright.auth.mechanism import Overloaded

THREADS: Final = 8
"""A look-up that is not cached waits for one answer of a domain controller, some milliseconds."""
MAX_WAITING: Final = 256
"""Pieces of work under way or waiting; more are answered 503."""

_T = TypeVar("_T")


class Lookups:
    """A few threads for what may block. Close it when the event loop is done."""

    def __init__(self, threads: int = THREADS, max_waiting: int = MAX_WAITING) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="domain")
        self._max_waiting = max_waiting
        self._waiting = 0

    async def run(self, work: Callable[[], _T]) -> _T:
        """What `work` returns or raises. It is finished even when the client no longer waits for it.

        Raises:
            Overloaded: so much waits already that no more is taken.
        """
        if self._waiting >= self._max_waiting:
            raise Overloaded
        self._waiting += 1
        running = asyncio.get_running_loop().run_in_executor(self._pool, work)
        running.add_done_callback(self._finished)
        return await asyncio.shield(running)

    def _finished(self, _: asyncio.Future[_T]) -> None:
        self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
