"""The WSGI adapter: CGI's variables, limits, one pool thread for an answer, clients that leave. PEP 3333."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from certwright.auth.connection import Connection
from certwright.server.wsgi import CONNECTION, LARGE_BODY, STREAMS, Environ, WsgiAdapter, environ

Message = dict[str, Any]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def scope(method: str = "GET", path: str = "/", *headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    connection = Connection(id=1, peer="192.0.2.7", tls=True)
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"q=1",
        "headers": list(headers),
        "scheme": "https",
        "http_version": "1.1",
        "server": ("127.0.0.1", 8443),
        "client": ("198.51.100.9", 5000),
        "extensions": {CONNECTION: connection},
        **more,
    }


def ask(adapter: WsgiAdapter, asked: dict[str, Any], *body: bytes, leaves_after: int | None = None) -> list[Message]:
    """One request; every message the adapter sent. The client leaves after so many of them, if at all."""
    sent: list[Message] = []

    async def run() -> None:
        gone = asyncio.Event()
        pieces = list(body) or [b""]

        async def receive() -> Message:
            if pieces:
                piece = pieces.pop(0)
                return {"type": "http.request", "body": piece, "more_body": bool(pieces)}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)
            if leaves_after is not None and len(sent) >= leaves_after:
                gone.set()
                await asyncio.sleep(0.05)

        await adapter(asked, receive, send)

    asyncio.run(run())
    return sent


class Application:
    """Answers with what it is told, and remembers what it was asked."""

    def __init__(
        self, body: Iterable[bytes] = (b"hello",), status: str = "200 OK", *headers: tuple[str, str]
    ) -> None:
        self.body, self.status, self.headers = body, status, list(headers)
        self.environ: Environ = {}

    def __call__(self, environment: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.environ = environment
        start_response(self.status, self.headers)
        return self.body


class Stream:
    """A body that is made while it is sent, and says on which threads."""

    streaming = True

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.threads: set[int] = set()
        self.closed = 0
        self.made = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.threads.add(threading.get_ident())
            self.made += 1
            yield chunk

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed += 1


def test_an_answer_goes_out_whole_with_its_length(pool: ThreadPoolExecutor) -> None:
    application = Application([b"hel", b"lo"], "201 Created", ("X-Thing", "1"))
    head, body = ask(WsgiAdapter(application, pool), scope())
    assert head["status"] == 201
    assert dict(head["headers"]) == {b"x-thing": b"1", b"content-length": b"5"}
    assert body["body"] == b"hello"


def test_head_has_the_headers_and_no_body(pool: ThreadPoolExecutor) -> None:
    application = Application([b"hello"], "200 OK", ("Content-Length", "5"))
    head, body = ask(WsgiAdapter(application, pool), scope("HEAD"))
    assert dict(head["headers"])[b"content-length"] == b"5"
    assert body["body"] == b""


def test_the_variables_are_those_of_cgi(pool: ThreadPoolExecutor) -> None:
    application = Application()
    asked = scope("POST", "/caf\u00e9/", (b"host", b"ca.example"), (b"content-type", b"text/plain"))
    ask(WsgiAdapter(application, pool), asked, b"one", b"two")
    environment = application.environ
    assert environment["PATH_INFO"] == "/caf\u00e9/".encode().decode("latin-1")
    assert environment["QUERY_STRING"] == "q=1"
    assert environment["CONTENT_TYPE"] == "text/plain"
    assert environment["HTTP_HOST"] == "ca.example"
    assert environment["wsgi.url_scheme"] == "https"
    assert environment["CONTENT_LENGTH"] == "6"
    assert environment["wsgi.input"].read() == b"onetwo"


def test_the_connection_is_handed_on_and_its_peer_is_the_client(pool: ThreadPoolExecutor) -> None:
    application = Application()
    ask(WsgiAdapter(application, pool), scope())
    assert application.environ[CONNECTION].id == 1
    assert application.environ["REMOTE_ADDR"] == "192.0.2.7"


def test_a_header_with_an_underscore_is_dropped() -> None:
    """`X_Peer` would become the same variable as `X-Peer`."""
    environment = environ(
        scope("GET", "/", (b"x_peer", b"evil"), (b"x-peer", b"good"), (b"remote_addr", b"evil")), b""
    )
    assert environment["HTTP_X_PEER"] == "good"
    assert "HTTP_REMOTE_ADDR" not in environment


def test_cookies_that_come_in_pieces_are_one_header() -> None:
    """RFC 9113 8.2.3."""
    environment = environ(scope("GET", "/", (b"cookie", b"a=1"), (b"cookie", b"b=2")), b"")
    assert environment["HTTP_COOKIE"] == "a=1; b=2"
    accepted = environ(scope("GET", "/", (b"accept", b"text/html"), (b"accept", b"*/*")), b"")
    assert accepted["HTTP_ACCEPT"] == "text/html,*/*"


def test_the_length_is_that_of_the_body_that_came(pool: ThreadPoolExecutor) -> None:
    application = Application()
    ask(WsgiAdapter(application, pool), scope("POST", "/", (b"transfer-encoding", b"chunked")), b"abc")
    assert application.environ["CONTENT_LENGTH"] == "3"


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_beyond_the_limit_is_refused(pool: ThreadPoolExecutor, announced: bool) -> None:
    application = Application()
    header = (b"content-length", b"101") if announced else (b"transfer-encoding", b"chunked")
    head, _ = ask(WsgiAdapter(application, pool, limit=100), scope("POST", "/", header), b"x" * 60, b"x" * 41)
    assert head["status"] == 413
    assert dict(head["headers"])[b"connection"] == b"close"
    assert application.environ == {}


def test_large_bodies_wait_for_their_turn(pool: ThreadPoolExecutor) -> None:
    application = Application()
    body = b"x" * (LARGE_BODY + 1)
    head, _ = ask(WsgiAdapter(application, pool), scope("POST", "/", (b"content-length", b"%d" % len(body))), body)
    assert head["status"] == 200
    assert application.environ["CONTENT_LENGTH"] == str(len(body))


def test_a_client_that_leaves_before_its_request_is_complete_is_nobody(pool: ThreadPoolExecutor) -> None:
    application = Application()
    sent: list[Message] = []

    async def run() -> None:
        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await WsgiAdapter(application, pool)(scope("POST"), receive, send)

    asyncio.run(run())
    assert sent == []
    assert application.environ == {}


def test_close_is_called_whatever_happens(pool: ThreadPoolExecutor) -> None:
    """Django ends the request and lets go of its connection there."""

    class Body(list[bytes]):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    body = Body([b"x"])
    ask(WsgiAdapter(Application(body), pool), scope())
    assert body.closed == 1

    class Broken(Body):
        def __iter__(self) -> Iterator[bytes]:
            raise RuntimeError("broken")

    broken = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        ask(WsgiAdapter(Application(broken), pool), scope())
    assert broken.closed == 1


def test_a_stream_is_made_by_one_thread_piece_by_piece(pool: ThreadPoolExecutor) -> None:
    """A database connection belongs to its thread: the application, its stream and its end must share one."""
    stream = Stream([b"a", b"", b"b", b"c"])
    head, *pieces = ask(WsgiAdapter(Application(stream), pool), scope())
    assert head["status"] == 200
    assert [piece["body"] for piece in pieces] == [b"a", b"b", b"c", b""]
    assert [piece["more_body"] for piece in pieces] == [True, True, True, False]
    assert len(stream.threads) == 1
    assert stream.closed == 1


def test_a_stream_ends_when_its_client_leaves(pool: ThreadPoolExecutor) -> None:
    stream = Stream(b"x" * 10 for _ in range(1000))
    ask(WsgiAdapter(Application(stream), pool), scope(), leaves_after=3)
    assert stream.made < 20
    assert stream.closed == 1


def test_only_so_many_streams_at_a_time(pool: ThreadPoolExecutor) -> None:
    """The other threads of the pool stay free for pages."""
    release = threading.Event()
    running = threading.Semaphore(0)

    def slowly() -> Iterator[bytes]:
        running.release()
        release.wait(10)
        yield b"x"

    statuses: list[int] = []

    async def run() -> None:
        adapter = WsgiAdapter(lambda environment, start: Application(Stream(slowly()))(environment, start), pool)

        async def one() -> None:
            async def receive() -> Message:
                if not asked:
                    asked.append(1)
                    return {"type": "http.request", "body": b"", "more_body": False}
                return await asyncio.Future()

            async def send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])

            asked: list[int] = []
            await adapter(scope(), receive, send)

        busy = [asyncio.create_task(one()) for _ in range(STREAMS)]
        for _ in range(STREAMS):
            await asyncio.to_thread(running.acquire)
        await one()
        assert statuses[-1] == 503
        release.set()
        await asyncio.gather(*busy)

    asyncio.run(run())
    assert sorted(statuses) == [200] * STREAMS + [503]
