"""HTTP/1.1 on the listeners of role services: uvicorn's protocol with one object per connection and with limits.

RFC 9112; the recipe's reasons: NTLM is bound to its TCP connection, so what is known about a connection travels as
`scope["extensions"]["certwright.connection"]`, is never found by address and port, and ends with the connection.
uvicorn bounds neither a request's head nor the time a client takes, and its parser drops the body of a request
that offers an upgrade. The attributes used here are internals of uvicorn 0.54: `tests/unit/server/test_protocol.py`
fails when an upgrade of it changes them.
"""

from __future__ import annotations

import asyncio
import itertools
from enum import Enum
from typing import Any, cast

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from certwright.auth.connection import Connection
from certwright.server.limits import (
    BODY_BYTES,
    BODY_SECONDS,
    END_OF_HEAD,
    HEAD_BYTES,
    HEAD_SECONDS,
    HTTPS_CONNECTIONS,
    LINGER_SECONDS,
    READER_SECONDS,
    without_upgrade,
)
from certwright.server.refusals import refusal
from certwright.server.tls import bindings_of

log = structlog.get_logger(__name__)

CONNECTION = "certwright.connection"
_IDS = itertools.count(1)


class _Phase(Enum):
    IDLE = "between requests"
    HEAD = "in a request's head"
    BODY = "in a request's body"
    REFUSED = "answered for good"


class _JoinedWrites:
    """A transport on which what is written in one step of the loop leaves as one piece.

    uvicorn writes an answer's head and body apart: two TLS records, two system calls.
    """

    __slots__ = ("_loop", "_pieces", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def _flush(self) -> None:
        if self._pieces:
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._pieces.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()


class HttpProtocol(HttpToolsProtocol):
    """One connection. `sweep` has to be called about once a second to hold the time limits."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._phase = _Phase.HEAD
        self._since = self.loop.time()
        self._head = bytearray()
        self._body_expected: int | None = None  # None: chunked, the parser finds its end
        self._body_seen = 0
        self._unread = (0, self._since)
        self.client_connection: Connection | None = None

    # -- the connection's life

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, _JoinedWrites(transport, self.loop))
        self._since = self.loop.time()
        if len(self.connections) > HTTPS_CONNECTIONS:
            log.warning("connection_refused", reason="too many connections", peer=self._peer)
            self._phase = _Phase.REFUSED
            transport.abort()
            return
        ssl_object = transport.get_extra_info("ssl_object")
        self.client_connection = Connection(
            id=next(_IDS),
            peer=self._peer,
            tls=ssl_object is not None,
            bindings=bindings_of(ssl_object.context) if ssl_object is not None else (),
            peer_certificate=ssl_object.getpeercert(True) if ssl_object is not None else None,
        )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.client_connection is not None:
            self.client_connection.auth = None
            self.client_connection = None
        self._head.clear()

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""

    # -- bytes in

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        while data and self._phase is not _Phase.REFUSED and not self.transport.is_closing():
            data = self._feed_body(data) if self._phase is _Phase.BODY else self._feed_head(data)

    def _feed_head(self, data: bytes) -> bytes:
        """Take bytes of a head; it reaches the parser in one piece. Returns what comes after it."""
        if self._phase is _Phase.IDLE:
            self._phase, self._since = _Phase.HEAD, self.loop.time()
        searched = max(0, len(self._head) - len(END_OF_HEAD) + 1)
        self._head += data
        end = self._head.find(END_OF_HEAD, searched)
        if end < 0 or end > HEAD_BYTES:
            if len(self._head) > HEAD_BYTES:
                self._refuse(431, b"Request Header Fields Too Large")
            return b""
        end += len(END_OF_HEAD)
        head, rest = bytes(self._head[:end]), bytes(self._head[end:])
        self._head.clear()
        if b"pgrade" in head or b"PGRADE" in head:
            head = without_upgrade(head)
        self._feed(head)
        return rest

    def _feed_body(self, data: bytes) -> bytes:
        """Take bytes of a body, no more than belongs to it. Returns the rest."""
        rest = b""
        if self._body_expected is not None:
            missing = self._body_expected - self._body_seen
            data, rest = data[:missing], data[missing:]
        self._body_seen += len(data)
        if self._body_seen > BODY_BYTES:
            self._too_large()
            return b""
        self._feed(data)
        return rest

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            log.info("request_malformed", peer=self._peer, error=str(error)[:200])
            self._refuse(400, b"Bad Request")

    def _too_large(self) -> None:
        text = f"The body is larger than {BODY_BYTES >> 20} MiB."
        self._refuse(413, b"Content Too Large", text, path=self.url.decode("latin-1"), lingering=True)

    def _refuse(self, status: int, reason: bytes, text: str = "", *, path: str = "", lingering: bool = False) -> None:
        """Answer and end the connection, unless an answer is on its way already: then only end it.

        Args:
            text: for people; the reason, if empty.
            path: what was asked for, where that is known.
            lingering: what the client still sends is read for a moment, and dropped.
        """
        self._phase, self._since = _Phase.REFUSED, self.loop.time()
        log.info("connection_ended", peer=self._peer, status=status, reason=reason.decode())
        if self._may_answer:
            content_type, body = refusal(path, status, text or reason.decode())
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (status, reason, content_type, len(body), body)
            )
            if self.cycle is not None and not self.cycle.response_complete:  # whoever waits for the body is told
                self.cycle.disconnected = True
                self.cycle.message_event.set()
        if lingering:  # closed at once, the rest of the body would be answered with a reset that overtakes the answer
            self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()

    @property
    def _may_answer(self) -> bool:
        """Is no answer on its way, nor one before it?"""
        cycle = self.cycle
        return cycle is None or cycle.response_complete or not (cycle.response_started or self.pipeline)

    # -- the parser's callbacks

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: self.client_connection}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        self._body_expected, self._body_seen = 0, 0
        for name, value in self.headers:
            if name == b"content-length":
                self._body_expected = int(value)  # the parser has refused what is no number
            elif name == b"transfer-encoding":
                self._body_expected = None
                break
        self._phase, self._since = _Phase.BODY, self.loop.time()
        if self._body_expected is not None and self._body_expected > BODY_BYTES:
            self._too_large()
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._phase is not _Phase.REFUSED:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._phase is _Phase.REFUSED:
            return
        self._phase, self._since = _Phase.IDLE, self.loop.time()
        super().on_message_complete()

    # -- time limits

    def sweep(self, now: float) -> None:
        """End the connection when its client is too slow: in a head, in a body, or in taking an answer."""
        limit = {_Phase.HEAD: HEAD_SECONDS, _Phase.BODY: BODY_SECONDS}.get(self._phase)
        if limit is not None and now - self._since > limit:
            log.info("connection_ended", peer=self._peer, reason=f"too slow, {self._phase.value}")
            self._phase = _Phase.REFUSED
            self.transport.abort()
            return
        unread = self.transport.get_write_buffer_size()
        if unread == 0 or unread != self._unread[0]:
            self._unread = (unread, now)
        elif now - self._unread[1] > READER_SECONDS:
            log.info("connection_ended", peer=self._peer, reason="the answer is not taken")
            self.transport.abort()
