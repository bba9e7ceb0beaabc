"""Role services behind the plain HTTP listener: bodies, order, limits. RFC 9110, RFC 9112."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from certwright.endpoints.plain import Question, Reply
from certwright.server.bulk import BulkProtocol, BulkService
from certwright.server.limits import BULK_WAITING, HEAD_SECONDS
from certwright.server.published import PublishedFiles
from tests.unit.server.transports import KeepingTransport

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Echo:
    """Answers with what it was asked. What begins with `slow` takes a thread, which waits to be let go."""

    body_limit = 100

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self.let_go = threading.Event()

    def answer(self, question: Question) -> Reply | None:
        self.questions.append(question)
        if question.body.startswith(b"slow"):
            return None
        return Reply(200, b"Content-Type: text/plain\r\n", question.path + question.body)

    def work_out(self, question: Question) -> Reply:
        self.let_go.wait(5)
        return Reply(200, b"", b"worked out: " + question.body)

    def busy(self) -> Reply:
        return Reply(503, b"", b"busy")


class Bench:
    def __init__(self, folder: Path) -> None:
        async def health() -> tuple[bool, dict[str, object]]:
            return True, {}

        self.echo = Echo()
        files = PublishedFiles(folder, lambda: 0.0)
        self.service = BulkService(files, health, "https://ca", lambda: NOW, {b"/echo": self.echo})
        self.transport = KeepingTransport()
        self.protocol = BulkProtocol(self.service, asyncio.get_running_loop())
        self.protocol.connection_made(self.transport)

    def send(self, data: bytes) -> bytes:
        self.protocol.data_received(data)
        return self.transport.taken()

    async def settled(self) -> bytes:
        """What was sent once everything under way is done."""
        while self.service.waiting or self.protocol._answering is not None:
            await asyncio.sleep(0.001)
        return self.transport.taken()


def run(folder: Path, script: Callable[[Bench], Coroutine[Any, Any, Any]]) -> Any:
    async def main() -> Any:
        return await script(Bench(folder))

    return asyncio.run(main())


def post(body: bytes, *headers: str, path: str = "/echo") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def body_of(answer: bytes) -> bytes:
    return answer.split(b"\r\n\r\n", 1)[1]


def test_a_body_arrives_whole_however_it_is_cut(tmp_path: Path) -> None:
    async def script(bench: Bench) -> list[bytes]:
        whole = post(b"hello world")
        answers = [bench.send(whole)]
        answers.append(b"".join(bench.send(bytes([each])) for each in whole))
        answers.append(bench.send(whole[:-3]) + bench.send(whole[-3:]))
        return answers

    for answer in run(tmp_path, script):
        assert answer.startswith(b"HTTP/1.1 200 OK\r\nDate: Sun, 01 Mar 2026 12:00:00 GMT\r\nContent-Length: 11\r\n")
        assert body_of(answer) == b"hello world"


def test_a_body_may_look_like_a_request(tmp_path: Path) -> None:
    """It is as long as was announced, whatever is in it."""

    async def script(bench: Bench) -> bytes:
        return bench.send(post(b"GET /echo/inner HTTP/1.1\r\n\r\n") + b"GET /echo/outer HTTP/1.1\r\nHost: x\r\n\r\n")

    answer = run(tmp_path, script)

    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.endswith(b"/outer")


def test_paths_are_handed_on_as_they_came(tmp_path: Path) -> None:
    """Percent-encoded still: what is a slash in base64 and what is one in the path is the service's to know."""

    async def script(bench: Bench) -> list[bytes]:
        for path in ("/echo/a%2Fb//c?x=1", "/ECHO/y", "http://ca:8080/echo/z", "/echo", "/echoes", "/echo%2Fa"):
            bench.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return [question.path for question in bench.echo.questions]

    assert run(tmp_path, script) == [b"/a%2Fb//c", b"/y", b"/z", b""]


def test_head_is_answered_without_a_body(tmp_path: Path) -> None:
    async def script(bench: Bench) -> bytes:
        return bench.send(b"HEAD /echo/abc HTTP/1.1\r\nHost: x\r\n\r\n")

    answer = run(tmp_path, script)

    assert b"Content-Length: 4\r\n" in answer
    assert body_of(answer) == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post(bytes(101)), 413),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999\r\n\r\n", 413),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 411),
        (b"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", 405),
        (b"GET /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", 413),
        (b"DELETE /echo HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (post(b"x", path="/CertEnroll/a.crl"), 405),
    ],
)
def test_bodies_that_nobody_takes_are_refused(tmp_path: Path, request_bytes: bytes, status: int) -> None:
    async def script(bench: Bench) -> tuple[bytes, list[Question]]:
        return bench.send(request_bytes), bench.echo.questions

    answer, asked = run(tmp_path, script)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert asked == []


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(tmp_path: Path) -> None:
    """RFC 9110 10.1.1; clients on .NET do so."""

    async def script(bench: Bench) -> tuple[bytes, bytes]:
        whole = post(b"hello", "Expect: 100-continue")
        return bench.send(whole[:-5]), bench.send(whole[-5:])

    leave, answer = run(tmp_path, script)

    assert leave == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert body_of(answer) == b"hello"


def test_what_takes_longer_holds_up_its_own_connection_and_keeps_the_order(tmp_path: Path) -> None:
    async def script(bench: Bench) -> tuple[bytes, bytes]:
        at_once = bench.send(post(b"slow") + post(b"quick"))
        bench.echo.let_go.set()
        return at_once, await bench.settled()

    at_once, answers = run(tmp_path, script)

    assert at_once == b""
    assert answers.index(b"worked out: slow") < answers.index(b"quick")


def test_when_too_many_wait_the_next_is_told_to_come_later(tmp_path: Path) -> None:
    async def script(bench: Bench) -> bytes:
        bench.service.waiting = BULK_WAITING
        answer = bench.send(post(b"slow"))
        bench.service.waiting = 0
        return answer

    assert run(tmp_path, script).startswith(b"HTTP/1.1 503 ")


def test_who_never_finishes_a_body_is_let_go(tmp_path: Path) -> None:
    async def script(bench: Bench) -> bool:
        bench.send(post(b"hello")[:-1])
        bench.protocol.sweep(asyncio.get_running_loop().time() + HEAD_SECONDS + 1)
        return bench.transport.aborted

    assert run(tmp_path, script) is True


def test_an_old_client_is_answered_and_let_go(tmp_path: Path) -> None:
    """HTTP/1.0 without keep-alive: nginx fetches its staples so."""

    async def script(bench: Bench) -> tuple[bytes, bool]:
        return bench.send(b"GET /echo/x HTTP/1.0\r\n\r\n"), bench.transport.closed

    answer, closed = run(tmp_path, script)

    assert b"Connection: close\r\n" in answer
    assert closed
