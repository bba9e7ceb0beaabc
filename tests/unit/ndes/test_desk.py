"""Many at a time, step by step: each has its own outcome, nobody waits with who waits for others, nothing is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from certwright.ndes.desk import APART, Desk, Steps, alone

Waiting = tuple[asyncio.Task[str], threading.Event]


class Moment:
    """Counts how often what all look at is looked at."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1


@pytest.fixture
def desk() -> Iterator[Desk[str, Moment]]:
    Moment.made = 0
    made: Desk[str, Moment] = Desk("desk", 1, 2, Moment)
    yield made
    made.close()


async def held(desk: Desk[str, Moment]) -> Waiting:
    """Something that keeps the thread busy, so that what comes meanwhile is taken together."""
    begun, let_go = threading.Event(), threading.Event()

    def steps(moment: Moment) -> Steps[str]:
        begun.set()
        let_go.wait(5)
        yield None
        return "held"

    task = asyncio.create_task(desk.do(steps))
    await asyncio.to_thread(begun.wait, 5)
    return task, let_go


def writing(log: list[str], name: str, *steps: str) -> Callable[[Moment], Steps[str]]:
    def made(moment: Moment) -> Steps[str]:
        for step in steps:
            log.append(f"{step} {name}")
            yield None
        return name

    return made


async def together(desk: Desk[str, Moment], *makes: Callable[[Moment], Steps[str]]) -> list[Any]:
    holding, let_go = await held(desk)
    tasks = [asyncio.create_task(desk.do(make)) for make in makes]
    await asyncio.sleep(0)
    let_go.set()
    await holding
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_each_step_is_done_for_all_before_the_next(desk: Desk[str, Moment]) -> None:
    log: list[str] = []
    told = asyncio.run(together(desk, writing(log, "a", "read", "open"), writing(log, "b", "read", "open", "sign")))
    assert told == ["a", "b"]
    assert log == ["read a", "read b", "open a", "open b", "sign b"]


def test_what_all_look_at_is_looked_at_once(desk: Desk[str, Moment]) -> None:
    asyncio.run(together(desk, writing([], "a", "x"), writing([], "b", "x"), writing([], "c", "x")))
    assert Moment.made == 2  # for who held the thread, and for the three


def test_one_that_fails_keeps_no_other_from_its_answer(desk: Desk[str, Moment]) -> None:
    def broken(moment: Moment) -> Steps[str]:
        yield None
        raise ValueError("mine alone")

    failed, told = asyncio.run(together(desk, broken, writing([], "b", "x", "y", "z")))
    assert isinstance(failed, ValueError)
    assert told == "b"


def test_what_is_waited_for_comes_back_or_is_raised(desk: Desk[str, Moment]) -> None:
    good, bad = Future[str](), Future[str]()

    def asks(future: Future[str]) -> Callable[[Moment], Steps[str]]:
        def steps(moment: Moment) -> Steps[str]:
            try:
                answer: str = yield future
            except KeyError:
                return "refused"
            return answer

        return steps

    good.set_result("issued")
    bad.set_exception(KeyError())
    assert asyncio.run(together(desk, asks(good), asks(bad))) == ["issued", "refused"]


def test_all_are_handed_in_before_one_is_waited_for(desk: Desk[str, Moment]) -> None:
    """So that the CA has them in one batch."""
    handed: list[Future[str]] = []

    def steps(moment: Moment) -> Steps[str]:
        future = Future[str]()
        handed.append(future)
        if len(handed) == 3:
            for each in handed:
                each.set_result(str(len(handed)))
        answer: str = yield future
        return answer

    assert asyncio.run(together(desk, steps, steps, steps)) == ["3", "3", "3"]


def test_who_waits_for_others_does_so_apart(desk: Desk[str, Moment]) -> None:
    answered = threading.Event()

    def slow(moment: Moment) -> Steps[str]:
        yield APART
        assert answered.wait(5)
        yield None
        return "slow"

    async def both() -> tuple[str, str]:
        task = asyncio.create_task(desk.do(slow))
        quick = await desk.do(writing([], "quick", "x"))
        answered.set()
        return quick, await task

    assert asyncio.run(both()) == ("quick", "slow")


def test_what_was_taken_is_finished_at_the_end(desk: Desk[str, Moment]) -> None:
    async def closing() -> list[Any]:
        holding, let_go = await held(desk)
        tasks = [asyncio.create_task(desk.do(writing([], name, "x"))) for name in "ab"]
        await asyncio.sleep(0)
        closed = asyncio.create_task(asyncio.to_thread(desk.close))
        let_go.set()
        told = await asyncio.gather(holding, *tasks)
        await closed
        with pytest.raises(RuntimeError, match="closed"):
            await desk.do(writing([], "late", "x"))
        return told

    assert asyncio.run(closing()) == ["held", "a", "b"]


def test_whoever_went_away_holds_nobody_up(desk: Desk[str, Moment]) -> None:
    async def going() -> str:
        holding, let_go = await held(desk)
        gone = asyncio.create_task(desk.do(writing([], "gone", "x")))
        stays = asyncio.create_task(desk.do(writing([], "stays", "x")))
        await asyncio.sleep(0)
        gone.cancel()
        let_go.set()
        await holding
        return await stays

    assert asyncio.run(going()) == "stays"


def test_one_alone_goes_through_the_same_steps() -> None:
    log: list[str] = []
    assert alone(writing(log, "a", "read", "open")(Moment())) == "a"
    assert log == ["read a", "open a"]
