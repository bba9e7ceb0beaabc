"""Answers of a steady service that the plain listener repeats within a second: the same octets get the same."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from certwright.endpoints.plain import Question, Reply
from certwright.server.bulk import BulkProtocol, BulkService
from certwright.server.published import PublishedFiles
from tests.unit.server.transports import KeepingTransport

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Steady:
    """Says how often it was asked. What begins with `own` is for one request alone."""

    body_limit = 100

    def __init__(self) -> None:
        self.generation = 0
        self.asked = 0
        self.while_asked: Callable[[], None] = lambda: None

    def answer(self, question: Question) -> Reply | None:
        self.asked += 1
        headers = b"Cache-Control: no-store\r\n" if question.body.startswith(b"own") else b"ETag: 1\r\n"
        self.while_asked()
        return Reply(200, headers, question.path + question.body)

    def work_out(self, question: Question) -> Reply:
        raise AssertionError

    def busy(self) -> Reply:
        raise AssertionError


class Bench:
    def __init__(self) -> None:
        async def health() -> tuple[bool, dict[str, object]]:
            return True, {}

        self.now = NOW
        self.steady = Steady()
        files = PublishedFiles(Path("/nowhere"), lambda: 0.0)
        self.service = BulkService(files, health, "https://ca", lambda: self.now, {b"/x": self.steady})
        self.connect()

    def connect(self) -> None:
        self.transport = KeepingTransport()
        self.protocol = BulkProtocol(self.service, asyncio.get_running_loop())
        self.protocol.connection_made(self.transport)

    def send(self, *parts: bytes) -> bytes:
        for part in parts:
            self.protocol.data_received(part)
        return self.transport.taken()


def run(script: Callable[[Bench], Any]) -> Any:
    async def main() -> Any:
        return script(Bench())

    return asyncio.run(main())


def post(body: bytes, *headers: str) -> bytes:
    lines = ["POST /x/p HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_the_same_octets_are_answered_without_asking_again() -> None:
    def script(bench: Bench) -> None:
        bench.send(post(b"warm"))  # the first one begins a second
        first, asked = bench.send(post(b"a")), bench.steady.asked
        assert bench.send(post(b"a")) == first
        bench.connect()
        assert bench.send(post(b"a")) == first  # whoever sends them
        assert bench.steady.asked == asked
        assert bench.send(post(b"b")) != first
        assert bench.send(post(b"a", "User-Agent: another")).endswith(b"/pa")
        assert bench.steady.asked == asked + 2

    run(script)


def test_another_generation_or_second_asks_again() -> None:
    def script(bench: Bench) -> list[int]:
        counts = []
        for change in ("none", "generation", "second"):
            for _ in range(4):
                bench.send(post(b"a"))
            counts.append(bench.steady.asked)
            if change == "none":
                bench.steady.generation += 1
            else:
                bench.now += timedelta(seconds=1)
        return counts

    first, second, third = run(script)

    assert first <= 2
    assert first < second < third


def test_what_changed_while_it_was_answered_is_not_repeated() -> None:
    """The answer was made before the change was heard of: whoever asks next is told of it."""

    def script(bench: Bench) -> int:
        bench.send(post(b"warm"))

        def change() -> None:
            bench.steady.generation += 1

        bench.steady.while_asked = change
        bench.send(post(b"a"))
        bench.steady.while_asked = lambda: None
        asked = bench.steady.asked
        bench.send(post(b"a"))
        return bench.steady.asked - asked

    assert run(script) == 1


def test_what_is_for_one_request_alone_and_what_ends_a_connection_is_not_repeated() -> None:
    def script(bench: Bench) -> None:
        bench.send(post(b"warm"))
        for request in (post(b"own"), post(b"a", "Connection: close")):
            asked = bench.steady.asked
            for _ in range(2):
                bench.connect()
                bench.send(request)
            assert bench.steady.asked == asked + 2

    run(script)


def test_a_server_that_closes_repeats_nothing() -> None:
    def script(bench: Bench) -> bytes:
        for _ in range(3):
            bench.send(post(b"a"))
        bench.service.closing = True
        return bench.send(post(b"a"))

    assert b"Connection: close" in run(script)


@given(
    some.lists(some.sampled_from([b"a", b"b", b"own1", b""]), min_size=1, max_size=12),
    some.lists(some.integers(1, 400), max_size=30),
)
def test_however_requests_arrive_each_gets_its_own_answer(bodies: Sequence[bytes], cuts: Sequence[int]) -> None:
    """Cut anywhere, joined anyhow: what is repeated is never another request's."""
    whole = b"".join(post(body) for body in bodies)
    places = sorted({min(sum(cuts[: number + 1]), len(whole)) for number in range(len(cuts))} | {0, len(whole)})

    def script(bench: Bench) -> list[bytes]:
        for body in (b"a", b"b", b"a", b"b"):
            bench.send(post(body))
        parts = [whole[begin:end] for begin, end in itertools.pairwise(places)]
        return bench.send(*parts).split(b"HTTP/1.1 200 OK\r\n")[1:]

    answers = run(script)

    assert [answer.rpartition(b"\r\n\r\n")[2] for answer in answers] == [b"/p" + body for body in bodies]
