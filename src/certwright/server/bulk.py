"""The plain HTTP listener: CRLs and CA certificates for machines, a health report, and the way to HTTPS. RFC 9112.

A bare `asyncio.Protocol`: no framework, no session, no database on the way. `GET` and `HEAD` of
`/CertEnroll/<file>` and `/healthz`; `/` and `/certsrv` lead to the HTTPS listener; nothing else is here. Answers
leave in the order of their requests.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import unquote_to_bytes

import httptools
import structlog

from certwright.server.limits import (
    BULK_CONNECTIONS,
    BULK_HEAD_BYTES,
    BULK_PIPELINE,
    END_OF_HEAD,
    HEAD_SECONDS,
    KEEP_ALIVE_SECONDS,
    READER_SECONDS,
    without_upgrade,
)
from certwright.server.published import PublishedFile, PublishedFiles

log = structlog.get_logger(__name__)

PREFIX: Final = "/certenroll/"
_CHUNK: Final = 256 << 10
_JSON: Final = "application/json"

Health = Callable[[], Awaitable[tuple[bool, Mapping[str, object]]]]


@dataclass(slots=True)
class BulkService:
    """What all connections of the listener share."""

    files: PublishedFiles
    health: Health
    https_url: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    connections: set[BulkProtocol] = field(default_factory=set)
    closing: bool = False
    _date: tuple[int, bytes] = (0, b"")

    def date(self) -> bytes:
        """The Date header's value, made once a second."""
        now = self.clock()
        second = int(now.timestamp())
        if second != self._date[0]:
            self._date = (second, format_datetime(now, usegmt=True).encode())
        return self._date[1]

    def sweep(self, now: float) -> None:
        """Hold the time limits; about once a second. `now` is the loop's time."""
        for connection in tuple(self.connections):
            connection.sweep(now)


@dataclass(frozen=True, slots=True)
class _Request:
    method: bytes
    path: str
    none_match: bytes
    modified_since: bytes
    keep_alive: bool


class BulkProtocol(asyncio.Protocol):
    """One connection of the plain HTTP listener."""

    def __init__(self, service: BulkService, loop: asyncio.AbstractEventLoop) -> None:
        self._service = service
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._head = bytearray()
        self._queue: deque[_Request] = deque()
        self._answering: asyncio.Task[None] | None = None
        self._since = loop.time()
        self._idle = True
        self._progress = (0, loop.time())
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False
        self.transport: asyncio.Transport

    # -- the connection's life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are of another class
        self._service.connections.add(self)
        if len(self._service.connections) > BULK_CONNECTIONS:
            self._ended = True
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.connections.discard(self)
        self._ended = True
        self._writable.set()
        self._queue.clear()
        if self._answering is not None:
            self._answering.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def close_when_done(self) -> None:
        """The server stops: finish the answer under way, take nothing more."""
        if self._answering is None and not self._queue:
            self.transport.close()

    def sweep(self, now: float) -> None:
        limit = KEEP_ALIVE_SECONDS if self._idle else HEAD_SECONDS
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._progress[0]:
            self._progress = (unsent, now)
        if self._answering is None and unsent == 0:
            if now - self._since > limit:
                self.transport.abort()
        elif unsent and now - self._progress[1] > READER_SECONDS:
            self.transport.abort()

    # -- bytes in

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        if self._idle:
            self._idle, self._since = False, self._loop.time()
        self._head += data
        while not self._ended:
            end = self._head.find(END_OF_HEAD)
            if end < 0 or end > BULK_HEAD_BYTES:
                if len(self._head) > BULK_HEAD_BYTES:
                    self._refuse(431)
                break
            head = bytes(self._head[: end + len(END_OF_HEAD)])
            del self._head[: end + len(END_OF_HEAD)]
            if b"pgrade" in head or b"PGRADE" in head:
                head = without_upgrade(head)
            try:
                self._parser.feed_data(head)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade):
                self._refuse(400)

    def on_message_begin(self) -> None:
        self._url = b""
        self._none_match = self._modified_since = b""
        self._has_body = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"if-none-match":
                self._none_match = value
            case b"if-modified-since":
                self._modified_since = value
            case b"content-length":
                self._has_body = self._has_body or value.strip(b"0 ") != b""
            case b"transfer-encoding":
                self._has_body = True

    def on_headers_complete(self) -> None:
        if self._has_body:  # nothing here takes one, and its end need not be looked for
            self._refuse(405 if self._parser.get_method() not in (b"GET", b"HEAD") else 413)

    def on_message_complete(self) -> None:
        if self._ended:
            return
        self._idle, self._since = True, self._loop.time()
        try:
            path = unquote_to_bytes(httptools.parse_url(self._url).path or b"/").decode("utf-8")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            self._refuse(400)
            return
        request = _Request(
            self._parser.get_method(),
            path,
            self._none_match,
            self._modified_since,
            self._parser.should_keep_alive() and not self._service.closing,
        )
        if self._answering is not None or self._queue:
            if len(self._queue) >= BULK_PIPELINE:
                self._refuse(429)
                return
            self._queue.append(request)
        else:
            self._answer(request)

    # -- answers out

    def _answer(self, request: _Request) -> None:
        if request.method not in (b"GET", b"HEAD"):
            self._text(request, 405, {"Allow": "GET, HEAD"})
            return
        path = request.path.lower()
        if path.startswith(PREFIX):
            file = self._service.files.find(request.path[len(PREFIX) :])
            if file is None:
                self._text(request, 404)
            else:
                self._send_file(request, file)
        elif path == "/healthz":
            self._later(self._report_health(request))
        elif path in ("/", "/certsrv") or path.startswith("/certsrv/"):
            self._text(request, 302, {"Location": f"{self._service.https_url}/certsrv/"})
        else:
            self._text(request, 404)

    def _send_file(self, request: _Request, file: PublishedFile) -> None:
        headers = {
            "Last-Modified": file.last_modified,
            "ETag": file.etag,
            "Cache-Control": f"public, max-age={file.max_age(self._service.clock())}, no-transform",
        }
        if _is_unchanged(request, file):
            self._send(request, 304, headers)
        elif file.body is not None:
            self._send(request, 200, headers, file.content_type, file.body, file.size)
        else:
            self._later(self._stream(request, file, headers))

    async def _stream(self, request: _Request, file: PublishedFile, headers: Mapping[str, str]) -> None:
        try:
            source = await self._loop.run_in_executor(None, file.path.open, "rb")
        except OSError:
            self._text(request, 404)
            return
        with source:
            self._send(request, 200, headers, file.content_type, b"", file.size, close=False)
            left = 0 if request.method == b"HEAD" else file.size
            while left > 0 and not self._ended:
                chunk = await self._loop.run_in_executor(None, source.read, min(_CHUNK, left))
                if not chunk:
                    self.transport.abort()  # shorter than announced: the client must not take it for whole
                    return
                left -= len(chunk)
                self.transport.write(chunk)
                await self._writable.wait()
        if not request.keep_alive:
            self._end()

    async def _report_health(self, request: _Request) -> None:
        healthy, report = await self._service.health()
        body = (json.dumps(report) + "\n").encode()
        self._send(request, 200 if healthy else 503, {"Cache-Control": "no-store"}, _JSON, body, len(body))

    def _later(self, work: Awaitable[None]) -> None:
        self._answering = asyncio.ensure_future(work)
        self._answering.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering = None
        if not task.cancelled() and task.exception() is not None:
            log.error("answer_failed", exc_info=task.exception())
            self._ended = True
            self.transport.abort()
        while self._queue and self._answering is None and not self._ended:
            self._answer(self._queue.popleft())
        if self._service.closing and self._answering is None and not self._ended:
            self.transport.close()

    def _text(self, request: _Request, status: int, headers: Mapping[str, str] | None = None) -> None:
        body = f"{HTTPStatus(status).phrase}\n".encode()
        self._send(request, status, headers or {}, "text/plain; charset=utf-8", body, len(body))

    def _send(
        self,
        request: _Request,
        status: int,
        headers: Mapping[str, str],
        content_type: str = "",
        body: bytes = b"",
        length: int = 0,
        *,
        close: bool = True,
    ) -> None:
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(), b"Date: " + self._service.date()]
        if content_type:
            lines.append(f"Content-Type: {content_type}\r\nContent-Length: {length}".encode())
        lines += [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
        lines.append(b"X-Content-Type-Options: nosniff")
        if not request.keep_alive:
            lines.append(b"Connection: close")
        head = b"\r\n".join(lines) + END_OF_HEAD
        self.transport.write(head if request.method == b"HEAD" else head + body)
        if close and not request.keep_alive:
            self._end()

    def _refuse(self, status: int) -> None:
        """Answer what cannot be understood, and end the connection."""
        if self._ended:
            return
        if self._answering is None and not self._queue:
            self._text(_Request(b"GET", "", b"", b"", keep_alive=False), status)
        else:
            self._ended = True
            self.transport.close()

    def _end(self) -> None:
        self._ended = True
        self._queue.clear()
        self.transport.close()


def _is_unchanged(request: _Request, file: PublishedFile) -> bool:
    """Preconditions: If-None-Match rules over If-Modified-Since. RFC 9110 13.2.2."""
    if request.none_match:
        known = {tag.strip().removeprefix(b"W/") for tag in request.none_match.split(b",")}
        return b"*" in known or file.etag.encode() in known
    return bool(request.modified_since) and request.modified_since == file.last_modified.encode()
