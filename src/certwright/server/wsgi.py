"""A synchronous WSGI application behind the asynchronous listener. PEP 3333.

The whole body is read first, within a limit; one hop into a small pool; the whole answer out. An answer that streams
(an export) is made piece by piece in its pool thread, which waits for the client: the pool's other threads go on.
"""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Executor
from typing import Any, Final

import structlog

from certwright.server.listeners import Scope
from certwright.server.refusals import refusal

log = structlog.get_logger(__name__)

BODY_BYTES: Final = 10 << 20
LARGE_BODY: Final = 256 << 10
"""A body larger than this waits for its turn, so that many of them at once are not all in memory."""
LARGE_BODIES: Final = 4
STREAMS: Final = 2
"""Answers that may stream at a time; more are answered 503."""
CONNECTION: Final = "certwright.connection"

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
WsgiApplication = Callable[[Environ, StartResponse], Iterable[bytes]]
Headers = list[tuple[bytes, bytes]]


class BodyTooLarge(Exception):
    """More than the limit."""


class ClientGone(Exception):
    """The client left before its request was complete, or before it had the answer."""


class WsgiAdapter:
    """One WSGI application as an ASGI one."""

    def __init__(self, application: WsgiApplication, pool: Executor, *, limit: int = BODY_BYTES) -> None:
        self._application = application
        self._pool = pool
        self._limit = limit
        self._large = asyncio.Semaphore(LARGE_BODIES)
        self._streams = threading.BoundedSemaphore(STREAMS)

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        try:
            if _announced(scope) > LARGE_BODY:
                async with self._large:
                    await self._answer(scope, receive, send)
            else:
                await self._answer(scope, receive, send)
        except ClientGone:
            log.info("console_client_left", path=scope["path"])

    async def _answer(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        try:
            body = await _read(scope, receive, self._limit)
        except BodyTooLarge:
            text = f"The body is larger than {self._limit >> 20} MiB." if self._limit >> 20 else "Content Too Large"
            await _refuse(send, scope["path"], 413, text, [(b"connection", b"close")])
            return
        loop = asyncio.get_running_loop()
        gone = threading.Event()

        def stream(message: Mapping[str, Any]) -> None:
            """From the pool: send, and wait until the client has taken enough of it."""
            if gone.is_set():
                raise ClientGone
            asyncio.run_coroutine_threadsafe(_sent(send, message), loop).result()

        watching = loop.create_task(_watch(receive, gone))
        try:
            call = loop.run_in_executor(self._pool, self._call, environ(scope, body), stream)
            answered = await call
        finally:
            watching.cancel()
        if answered is not None:
            status, headers, content = answered
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": content})

    def _call(
        self, environment: Environ, stream: Callable[[Mapping[str, Any]], None]
    ) -> tuple[int, Headers, bytes] | None:
        """In the pool: run the application. None when its answer was streamed."""
        started: list[tuple[int, Headers]] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: object = None
        ) -> Callable[..., Any]:
            del exc_info
            started[:] = [
                (int(status[:3]), [(name.lower().encode(), value.encode("latin-1")) for name, value in headers])
            ]
            return _no_write

        result = self._application(environment, start_response)
        try:
            if not getattr(result, "streaming", False):
                content = b"".join(result)
                status, headers = started[0]
                if environment["REQUEST_METHOD"] == "HEAD":
                    return status, headers, b""
                if not any(name == b"content-length" for name, _ in headers) and status not in (204, 304):
                    headers.append((b"content-length", b"%d" % len(content)))
                return status, headers, content
            if not self._streams.acquire(blocking=False):
                content_type, content = refusal(environment["PATH_INFO"], 503, _BUSY)
                return 503, [(b"retry-after", b"30"), (b"content-type", content_type)], content
            try:
                self._stream(result, started[0], stream)
            finally:
                self._streams.release()
            return None
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()  # Django ends the request here

    @staticmethod
    def _stream(
        result: Iterable[bytes], head: tuple[int, Headers], stream: Callable[[Mapping[str, Any]], None]
    ) -> None:
        stream({"type": "http.response.start", "status": head[0], "headers": head[1]})
        for chunk in result:
            if chunk:
                stream({"type": "http.response.body", "body": chunk, "more_body": True})
        stream({"type": "http.response.body", "body": b"", "more_body": False})


_BUSY: Final = "Other exports are running. Try again in a minute."


def environ(scope: Scope, body: bytes) -> Environ:
    """CGI's variables of a request.

    A header name with an underscore is dropped: it could not be told from the one with a hyphen. Repeated Cookie
    headers become one (RFC 9113 8.2.3 does the same), other repeated ones are joined with a comma (RFC 9110 5.3).
    """
    server = scope.get("server") or ("", 0)
    client = scope.get("client") or ("", 0)
    connection = scope.get("extensions", {}).get(CONNECTION)
    variables: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "SERVER_NAME": server[0] or "localhost",
        "SERVER_PORT": str(server[1] or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "REMOTE_ADDR": connection.peer if connection is not None else client[0],
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        CONNECTION: connection,
    }
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if "_" in name or name == "content-length":
            continue
        key = "CONTENT_TYPE" if name == "content-type" else f"HTTP_{name.upper().replace('-', '_')}"
        if key in variables:
            separator = "; " if key == "HTTP_COOKIE" else ","
            value = f"{variables[key]}{separator}{value}"
        variables[key] = value
    return variables


def _announced(scope: Scope) -> int:
    """The length of the body as far as it is known before it comes; a chunked one counts as large."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
        if name == b"transfer-encoding":
            return LARGE_BODY + 1
    return 0


async def _read(scope: Scope, receive: Callable[[], Awaitable[Any]], limit: int) -> bytes:
    if 0 <= limit < _announced(scope) and any(name == b"content-length" for name, _ in scope["headers"]):
        raise BodyTooLarge
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise BodyTooLarge
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _watch(receive: Callable[[], Awaitable[Any]], gone: threading.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


async def _sent(send: Callable[[Any], Awaitable[None]], message: Mapping[str, Any]) -> None:
    await send(message)


async def _refuse(
    send: Callable[[Any], Awaitable[None]], path: str, status: int, text: str, headers: Headers
) -> None:
    content_type, body = refusal(path, status, text)
    head = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def _no_write(_data: bytes) -> object:
    raise NotImplementedError("write() is not offered; return the body")
