"""HTTP/1.1 at the listeners of role services: one object per connection, and limits. Guards uvicorn's internals."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from certwright.auth.connection import Connection
from certwright.server import protocol
from certwright.server.limits import (
    BODY_BYTES,
    BODY_SECONDS,
    HEAD_BYTES,
    HEAD_SECONDS,
    READER_SECONDS,
    without_upgrade,
)
from certwright.server.protocol import HttpProtocol
from tests.unit.server.transports import KeepingTransport


class Bench:
    """A connection in front of an application that answers with the length of the body it got."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Connection, bytes]] = []
        self.config = uvicorn.Config(
            self._application, http=HttpProtocol, interface="asgi3", lifespan="off", ws="none", log_config=None
        )
        self.config.load()
        self.transport, self.protocol = self.connect()

    def connect(self, **extra: Any) -> tuple[KeepingTransport, HttpProtocol]:
        transport = KeepingTransport(**extra)
        protocol = HttpProtocol(self.config, ServerState(), {}, asyncio.get_running_loop())
        protocol.connection_made(transport)
        return transport, protocol

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", scope["path"] != "/unread"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        self.seen.append((scope["path"], scope["extensions"]["certwright.connection"], body))
        answer = f"{len(body)} octets\n".encode()
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def feed(self, *pieces: bytes) -> bytes:
        for piece in pieces:
            self.protocol.data_received(piece)
            await self.settle()
        return self.transport.taken()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


def run(script: Callable[[Bench], Any]) -> Any:
    async def main() -> Any:
        return await script(Bench())

    return asyncio.run(main())


def post(path: str = "/", body: bytes = b"hello", *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_all_requests_of_a_connection_carry_the_same_object() -> None:
    async def script(bench: Bench) -> Bench:
        await bench.feed(post("/1"), post("/2") + post("/3"))
        bench.transport, bench.protocol = bench.connect()
        await bench.feed(post("/4"))
        return bench

    bench = run(script)
    connections = [connection for _, connection, _ in bench.seen]

    assert [path for path, _, _ in bench.seen] == ["/1", "/2", "/3", "/4"]
    assert connections[0] is connections[1] is connections[2]
    assert connections[3] is not connections[0]
    assert connections[3].id != connections[0].id
    assert connections[0].peer == "192.0.2.7"
    assert not connections[0].tls


def test_what_was_proved_on_a_connection_ends_with_it() -> None:
    async def script(bench: Bench) -> Connection:
        await bench.feed(post())
        connection = bench.seen[0][1]
        connection.auth = object()
        bench.protocol.connection_lost(None)
        return connection

    assert run(script).auth is None


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_request_may_come_in_pieces(size: int) -> None:
    async def script(bench: Bench) -> tuple[bytes, Bench]:
        data = post("/a", b"x" * 100) + post("/b", b"y" * 200)
        answer = await bench.feed(*(data[at : at + size] for at in range(0, len(data), size)))
        return answer, bench

    answer, bench = run(script)

    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert [body for _, _, body in bench.seen] == [b"x" * 100, b"y" * 200]


def test_an_offered_upgrade_costs_no_body() -> None:
    """Java's HTTP client offers h2c with every request; the parser would drop the body. RFC 9110 7.8."""

    async def script(bench: Bench) -> tuple[bytes, Bench]:
        upgrade = ("Connection: Upgrade, HTTP2-Settings", "UPGRADE: h2c", "HTTP2-Settings: AAMAAABkAAQ")
        data = post("/a", b"hello", *upgrade) + post("/b", b"world!", *upgrade)
        return await bench.feed(data[:70], data[70:]), bench

    answer, bench = run(script)

    assert b"5 octets" in answer
    assert b"6 octets" in answer
    assert [body for _, _, body in bench.seen] == [b"hello", b"world!"]


def test_only_the_header_called_upgrade_is_renamed() -> None:
    head = (
        b"GET /upgrade: HTTP/1.1\r\nConnection: upgrade\r\nUpGrade : h2c\r\n"
        b"X-Upgrade: 1\r\nUpgrade-Insecure-Requests: 1\r\n\r\n"
    )

    assert without_upgrade(head) == head.replace(b"UpGrade :", b"x-UpGrade :")


def test_a_chunked_body_arrives_whole() -> None:
    async def script(bench: Bench) -> tuple[bytes, Bench]:
        head = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        return await bench.feed(head + b"5\r\nhel", b"lo\r\n1\r\n!\r\n0\r\n\r\n", post("/b")), bench

    answer, bench = run(script)

    assert answer.count(b"200 OK") == 2
    assert bench.seen[0][2] == b"hello!"


@pytest.mark.parametrize("step", [100, 5000, 200_000])
def test_a_head_without_end_is_refused(step: int) -> None:
    async def script(bench: Bench) -> tuple[bytes, bool]:
        data = b"GET / HTTP/1.1\r\nCookie: " + b"a" * (HEAD_BYTES + 1)
        answer = await bench.feed(*(data[at : at + step] for at in range(0, len(data), step)))
        return answer, bench.transport.closed

    answer, closed = run(script)

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert closed


def test_a_large_head_in_one_piece_is_refused_too() -> None:
    async def script(bench: Bench) -> bytes:
        return await bench.feed(b"GET / HTTP/1.1\r\nCookie: " + b"a" * (HEAD_BYTES + 1) + b"\r\n\r\n")

    assert run(script).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    ("path", "content_type"), [("/", b"text/plain; charset=utf-8"), ("/api/v1/orders", b"application/problem+json")]
)
def test_an_announced_body_beyond_all_limits_is_refused_before_it_comes(
    path: str, content_type: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the client sends nevertheless is dropped for a moment: a reset would overtake the answer."""
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.0)

    async def script(bench: Bench) -> tuple[bytes, bool, Bench]:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES + 1}\r\n\r\n".encode()
        bench.protocol.data_received(head + b"x" * 1000)
        at_once = bench.transport.closed
        return await bench.feed(b"x" * 1000), at_once, bench

    answer, closed_at_once, bench = run(script)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"content-type: " + content_type in answer
    assert b"larger than 10 MiB" in answer
    assert (closed_at_once, bench.transport.closed) == (False, True)
    assert bench.seen == []


def test_a_chunked_body_beyond_all_limits_is_refused_once_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.0)
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"

    async def script(bench: Bench) -> tuple[bytes, Bench]:
        head = b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        return await bench.feed(head, *[chunk] * (BODY_BYTES // 65536 + 1)), bench

    answer, bench = run(script)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert bench.transport.closed
    assert bench.seen == []


def test_a_chunked_body_beyond_all_limits_ends_the_connection_of_whoever_is_answered_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.0)

    async def script(bench: Bench) -> Bench:
        head = b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
        await bench.feed(head, *[chunk] * (BODY_BYTES // 65536 + 1))
        return bench

    assert run(script).transport.closed


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(data: bytes) -> None:
    """RFC 9112 6.3, 11.2: request smuggling begins with a message whose length is a matter of opinion."""

    async def script(bench: Bench) -> tuple[bytes, Bench]:
        return await bench.feed(data), bench

    answer, bench = run(script)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert bench.transport.closed
    assert bench.seen == []


@pytest.mark.parametrize(
    ("begun", "limit"),
    [(b"", HEAD_SECONDS), (b"GET / HT", HEAD_SECONDS), (post("/a", b"hello")[:-1], BODY_SECONDS)],
)
def test_a_slow_client_is_let_go(begun: bytes, limit: float) -> None:
    """Silence after the handshake, a dripping head, a dripping body."""

    async def script(bench: Bench) -> tuple[bool, bool]:
        now = asyncio.get_running_loop().time()
        if begun:
            await bench.feed(begun)
        bench.protocol.sweep(now + limit - 1)
        patient = not bench.transport.aborted
        bench.protocol.sweep(now + limit + 1)
        return patient, bench.transport.aborted

    assert run(script) == (True, True)


def test_a_body_nobody_reads_ends_on_time() -> None:
    """A 401 answers before the body came; the client may not drip it for ever."""

    async def script(bench: Bench) -> bool:
        now = asyncio.get_running_loop().time()
        answer = await bench.feed(post("/unread", b"hello")[:-1])
        assert answer.startswith(b"HTTP/1.1 200")
        bench.protocol.sweep(now + BODY_SECONDS + 1)
        return bench.transport.aborted

    assert run(script)


def test_a_connection_that_waits_for_its_next_request_is_left_alone() -> None:
    async def script(bench: Bench) -> bool:
        now = asyncio.get_running_loop().time()
        await bench.feed(post())
        bench.protocol.sweep(now + BODY_SECONDS + HEAD_SECONDS)
        return bench.transport.closed

    assert not run(script)


def test_a_client_that_takes_no_answer_is_let_go() -> None:
    async def script(bench: Bench) -> bool:
        now = asyncio.get_running_loop().time()
        await bench.feed(post())
        bench.transport.unsent = 4096
        bench.protocol.sweep(now)
        bench.protocol.sweep(now + READER_SECONDS - 1)
        assert not bench.transport.aborted
        bench.protocol.sweep(now + READER_SECONDS + 1)
        return bench.transport.aborted

    assert run(script)


def test_bindings_come_from_the_context_of_the_handshake() -> None:
    """Read from the context that served it, so they are right when a renewal falls into a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.certwright_bindings = (b"new", b"old")  # type: ignore[attr-defined]

    class Handshake:
        def __init__(self) -> None:
            self.context = context

        def getpeercert(self, binary_form: bool) -> bytes | None:
            return None

    async def script(bench: Bench) -> Connection:
        bench.transport, bench.protocol = bench.connect(ssl_object=Handshake(), sslcontext=context)
        await bench.feed(post())
        return bench.seen[0][1]

    connection = run(script)

    assert connection.tls
    assert connection.bindings == (b"new", b"old")
