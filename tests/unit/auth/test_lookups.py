"""Work that may wait for a domain controller: away from the event loop, and bounded."""

from __future__ import annotations

import asyncio
import threading

import pytest

from certwright.adcs.errors import CaUnreachable
from certwright.auth.lookups import Lookups
from certwright.auth.mechanism import Overloaded


def test_work_is_done_in_another_thread_and_its_error_comes_back() -> None:
    def fail() -> None:
        raise CaUnreachable("no domain controller answers")

    async def main() -> None:
        lookups = Lookups(1)
        assert await lookups.run(threading.get_ident) != threading.get_ident()
        with pytest.raises(CaUnreachable):
            await lookups.run(fail)
        lookups.close()

    asyncio.run(main())


def test_more_than_can_wait_is_refused_and_room_comes_back() -> None:
    async def main() -> None:
        release = threading.Event()
        lookups = Lookups(1, max_waiting=2)
        held = [asyncio.create_task(lookups.run(release.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await lookups.run(release.wait)
        release.set()
        assert await asyncio.gather(*held) == [True, True]
        await asyncio.sleep(0)
        assert await lookups.run(release.wait)
        lookups.close()

    asyncio.run(main())


def test_work_that_nobody_waits_for_any_more_still_counts_until_it_is_done() -> None:
    """Clients that leave must not make room for more than the threads can do."""

    async def main() -> None:
        release = threading.Event()
        lookups = Lookups(1, max_waiting=1)
        left = asyncio.create_task(lookups.run(release.wait))
        await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        with pytest.raises(Overloaded):
            await lookups.run(release.wait)
        release.set()
        lookups.close()

    asyncio.run(main())
