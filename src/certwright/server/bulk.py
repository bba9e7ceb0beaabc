"""The plain HTTP listener: CRLs, CA certificates and OCSP for machines, a health report, the way to HTTPS. RFC 9112.

A bare `asyncio.Protocol`: no framework, no session, no database on the way. `GET` and `HEAD` of
`/CertEnroll/<file>` and `/healthz`; `/` and `/certsrv` lead to the HTTPS listener; role services that answer machines
are asked for what stands below their paths, and only they take bodies, whose length has to be announced. Answers
leave in the order of their requests.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import unquote_to_bytes

import httptools
import structlog

from certwright.endpoints.plain import OwnThreads, PlainService, Question, Reply, SteadyService
from certwright.server.limits import (
    BULK_CONNECTIONS,
    BULK_HEAD_BYTES,
    BULK_PIPELINE,
    BULK_WAITING,
    END_OF_HEAD,
    HEAD_SECONDS,
    KEEP_ALIVE_SECONDS,
    LINGER_SECONDS,
    READER_SECONDS,
    without_upgrade,
)
from certwright.server.published import PublishedFile, PublishedFiles

log = structlog.get_logger(__name__)

PREFIX: Final = "/certenroll/"
_CHUNK: Final = 256 << 10
_REPEATED: Final = 4096
_MOST_REPEATED: Final = 2048
"""How many answers are repeated within a second, and how many octets the requests for them have at most."""
_NO_STORE: Final = b"no-store"
_AT_ONCE: Final = 32
"""Requests of one connection that are taken before others have their turn."""
_JSON: Final = "application/json"
_ABSOLUTE: Final = re.compile(rb"\Ahttps?://[^/?]*", re.IGNORECASE)
_REASONS: Final = {200: b"OK"}

Health = Callable[[], Awaitable[tuple[bool, Mapping[str, object]]]]


@dataclass(slots=True)
class BulkService:
    """What all connections of the listener share."""

    files: PublishedFiles
    health: Health
    https_url: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    services: Mapping[bytes, PlainService] = field(default_factory=dict)  # by path, lower-case: b"/ocsp"
    pool: Executor | None = None  # for what they do not have at hand
    connections: dict[BulkProtocol, None] = field(default_factory=dict)  # the oldest first
    most_connections: int = BULK_CONNECTIONS
    closing: bool = False
    waiting: int = 0  # questions that a thread works on, or that wait for one
    _date: tuple[int, bytes] = (0, b"")
    _repeated: dict[bytes, bytes] = field(default_factory=dict)  # whole requests to whole answers, of this second
    _second_ends: float = 0.0
    _steady: list[tuple[SteadyService, int]] = field(default_factory=list)  # with the generation they are repeated of

    def date(self) -> bytes:
        """The Date header's value, made once a second."""
        now = self.clock()
        second = int(now.timestamp())
        if second != self._date[0]:
            self._date = (second, format_datetime(now, usegmt=True).encode())
        return self._date[1]

    def repeated(self, data: bytes) -> bytes | None:
        """The answer that the same octets got within this second, where everybody gets that one."""
        if self.clock().timestamp() >= self._second_ends:
            self._forget_repeated()
            return None
        for service, generation in self._steady:
            if service.generation != generation:
                self._forget_repeated()
                return None
        return self._repeated.get(data)

    def _forget_repeated(self) -> None:
        self._repeated.clear()
        self._second_ends = int(self.clock().timestamp()) + 1.0
        self._steady = [(each, each.generation) for each in self.services.values() if isinstance(each, SteadyService)]

    def generation_of(self, service: PlainService) -> int | None:
        """The generation of a service whose answers are repeated; None of any other."""
        return next((generation for each, generation in self._steady if each is service), None)

    def repeat(self, data: bytes, answer: bytes, service: PlainService, generation: int) -> None:
        """Give this answer to the same octets again.

        Args:
            generation: what `generation_of` said before the service was asked; another one now says that something
                changed meanwhile.
        """
        has_room = len(data) <= _MOST_REPEATED and len(self._repeated) < _REPEATED
        if has_room and self.generation_of(service) == generation:
            self._repeated[data] = answer

    def find(self, url: bytes) -> tuple[PlainService, bytes] | None:
        """The role service behind an address, and what of the path is its own."""
        path = _ABSOLUTE.sub(b"", url, count=1).partition(b"?")[0]
        for prefix, service in self.services.items():
            length = len(prefix)
            if path[:length].lower() == prefix and path[length : length + 1] in (b"", b"/"):
                return service, path[length:]
        return None

    def make_room(self) -> None:
        """End the oldest connection on which nobody waits for an answer: whoever comes now has something to ask.

        Where all of them take answers, the oldest has had the longest time for it.
        """
        oldest = next(iter(self.connections))
        next((each for each in self.connections if each.is_waiting), oldest).give_way()

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
    service: PlainService | None = None
    service_path: bytes = b""
    body: bytes = b""
    query: bytes = b""
    whole: bytes = b""  # its octets, where they came alone and at once


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
        self._alone = b""
        self._resting = False
        self._lingering = False
        self._body_left = 0
        self.transport: asyncio.Transport

    # -- the connection's life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are of another class
        self._service.connections[self] = None
        if len(self._service.connections) > self._service.most_connections:
            self._service.make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.connections.pop(self, None)
        self._ended = True
        self._writable.set()
        self._queue.clear()
        if self._answering is not None:
            self._answering.cancel()

    def pause_writing(self) -> None:
        """Whoever does not take answers is not read either: what waits for them stays bounded."""
        self._writable.clear()
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable.set()
        if not self._resting:
            self._go_on()

    def close_when_done(self) -> None:
        """The server stops: finish the answer under way, take nothing more."""
        if self._answering is None and not self._queue:
            self.transport.close()

    @property
    def is_waiting(self) -> bool:
        """For a request, or for the rest of one; nothing of an answer is under way."""
        return self._answering is None and not self._queue and self.transport.get_write_buffer_size() == 0

    def give_way(self) -> None:
        self._ended = True
        self._service.connections.pop(self, None)
        self.transport.abort()

    def sweep(self, now: float) -> None:
        limit = KEEP_ALIVE_SECONDS if self._idle else HEAD_SECONDS
        if self._lingering:
            limit = LINGER_SECONDS
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
        self._alone = b""
        if self._idle and self._answering is None and not self._head and self._writable.is_set():
            again = self._service.repeated(data)
            if again is not None and not self._service.closing:
                self._since = self._loop.time()
                self.transport.write(again)
                return
            self._alone = data
        if self._idle:
            self._idle, self._since = False, self._loop.time()
        self._head += data
        if not self._resting:
            self._read_on()

    def _go_on(self) -> None:
        """After a rest, or once answers are taken again: first what has arrived, then what comes."""
        self._resting = False
        self._read_on()
        if not self._ended and not self._resting and self._writable.is_set() and not self.transport.is_closing():
            self.transport.resume_reading()

    def _rest(self) -> None:
        """Let others have their turn: whoever sends many requests ahead does not get all of this process."""
        self._resting = True
        if not self.transport.is_closing():
            self.transport.pause_reading()
        self._loop.call_soon(self._go_on)

    def _read_on(self) -> None:
        """Take what has arrived, as long as its answers are taken."""
        taken = 0
        while not self._ended and self._writable.is_set():
            if self._body_left:
                if not self._head:
                    break
                self._take_body()
                continue
            end = self._head.find(END_OF_HEAD)
            if end < 0 or end > BULK_HEAD_BYTES:
                if len(self._head) > BULK_HEAD_BYTES:
                    self._refuse(431)
                break
            taken += 1
            if taken > _AT_ONCE:
                self._rest()
                break
            head = bytes(self._head[: end + len(END_OF_HEAD)])
            del self._head[: end + len(END_OF_HEAD)]
            if b"pgrade" in head or b"PGRADE" in head:
                head = without_upgrade(head)
            try:
                self._parser.feed_data(head)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade):
                self._refuse(400)

    def _take_body(self) -> None:
        part = bytes(self._head[: self._body_left])
        del self._head[: len(part)]
        self._body_left -= len(part)
        try:
            self._parser.feed_data(part)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(400)

    def on_message_begin(self) -> None:
        self._url = b""
        self._none_match = self._modified_since = b""
        self._has_body = self._is_chunked = self._expects_continue = False
        self._length = b""
        self._found: tuple[PlainService, bytes] | None = None
        self._body = bytearray()

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
                self._length = value
            case b"transfer-encoding":
                self._has_body = self._is_chunked = True
            case b"expect":
                self._expects_continue = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        method = self._parser.get_method()
        self._found = self._service.find(self._url) if self._service.services else None
        if not self._has_body:
            return
        if self._found is None or method != b"POST":  # nobody takes it, and its end need not be looked for
            self._refuse(405 if method not in (b"GET", b"HEAD") else 413)
        elif self._is_chunked:
            self._refuse(411)
        elif len(self._length) > 10 or int(self._length) > self._found[0].body_limit:  # digits: the parser looked
            self._refuse(413)
        else:
            self._body_left = int(self._length)
            if self._expects_continue and self._answering is None and not self._queue:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._ended:
            return
        self._idle, self._since = True, self._loop.time()
        if self._found is not None:
            service, service_path = self._found
            self._take(self._request("", service, service_path, bytes(self._body)))
            return
        try:
            path = unquote_to_bytes(httptools.parse_url(self._url).path or b"/").decode("utf-8")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            self._refuse(400)
            return
        self._take(self._request(path))

    def _request(
        self, path: str, service: PlainService | None = None, service_path: bytes = b"", body: bytes = b""
    ) -> _Request:
        whole, self._alone = self._alone if not self._head else b"", b""  # what follows it is another one
        return _Request(
            self._parser.get_method(),
            path,
            self._none_match,
            self._modified_since,
            self._parser.should_keep_alive() and not self._service.closing,
            service,
            service_path,
            body,
            self._url.partition(b"?")[2],
            whole,
        )

    def _take(self, request: _Request) -> None:
        if self._answering is not None or self._queue:
            if len(self._queue) >= BULK_PIPELINE:
                self._refuse(429)
                return
            self._queue.append(request)
        else:
            self._answer(request)

    # -- answers out

    def _answer(self, request: _Request) -> None:
        if request.service is not None:
            self._ask(request, request.service)
            return
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

    def _ask(self, request: _Request, service: PlainService) -> None:
        """Let a role service answer, at once where it can."""
        if request.method not in (b"GET", b"HEAD", b"POST"):
            self._text(request, 405, {"Allow": "GET, HEAD, POST"})
            return
        question = Question(
            request.method,
            request.service_path,
            request.body,
            request.none_match,
            request.modified_since,
            request.query,
            str((self.transport.get_extra_info("peername") or ("",))[0]),
        )
        generation = self._service.generation_of(service) if request.whole and request.keep_alive else None
        reply = service.answer(question)
        if reply is None and self._service.waiting < BULK_WAITING:
            self._later(self._work_out(request, service, question))
            return
        sent = self._reply(request, reply or service.busy())
        if generation is not None and reply is not None and _NO_STORE not in reply.headers:
            self._service.repeat(request.whole, sent, service, generation)

    async def _work_out(self, request: _Request, service: PlainService, question: Question) -> None:
        self._service.waiting += 1
        try:
            if isinstance(service, OwnThreads):
                reply = await service.answer_later(question)
            else:
                reply = await self._loop.run_in_executor(self._service.pool, service.work_out, question)
        finally:
            self._service.waiting -= 1
        self._reply(request, reply)

    def _reply(self, request: _Request, reply: Reply) -> bytes:
        """Send a reply; gives the octets."""
        reason = _REASONS.get(reply.status) or HTTPStatus(reply.status).phrase.encode()
        length = b"" if reply.status == 304 else b"Content-Length: %d\r\n" % len(reply.body)
        head = b"HTTP/1.1 %d %s\r\nDate: %s\r\n%s%sX-Content-Type-Options: nosniff\r\n%s\r\n" % (
            reply.status,
            reason,
            self._service.date(),
            length,
            reply.headers,
            b"" if request.keep_alive else b"Connection: close\r\n",
        )
        whole = head if request.method == b"HEAD" else head + reply.body
        self.transport.write(whole)
        if not request.keep_alive:
            self._end()
        return whole

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
            self._lingering = status in (411, 413)
            self._text(_Request(b"GET", "", b"", b"", keep_alive=False), status)
        else:
            self._ended = True
            self.transport.close()

    def _end(self) -> None:
        """Close; but whoever still sends a body that is refused is let send it, so that the refusal reaches them."""
        self._ended = True
        self._queue.clear()
        if self._lingering:
            self._since = self._loop.time()
            self.transport.write_eof()
        else:
            self.transport.close()


def _is_unchanged(request: _Request, file: PublishedFile) -> bool:
    """Preconditions: If-None-Match rules over If-Modified-Since. RFC 9110 13.2.2."""
    if request.none_match:
        known = {tag.strip().removeprefix(b"W/") for tag in request.none_match.split(b",")}
        return b"*" in known or file.etag.encode() in known
    return bool(request.modified_since) and request.modified_since == file.last_modified.encode()
