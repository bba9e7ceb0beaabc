"""A request's body and its reply, straight over ASGI: a handful of fixed addresses need no framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
HeaderPairs = tuple[tuple[bytes, bytes], ...]

CLOSE: Final[HeaderPairs] = ((b"connection", b"close"),)
_PLAIN: Final = b"text/plain; charset=utf-8"
_ALWAYS: Final[HeaderPairs] = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class ClientGone(Exception):
    """The client left before its body was complete; nobody is there to answer."""


class BodyTooLarge(Exception):
    """The body is longer than the limit; the connection cannot be used further."""


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The whole body, at most `limit` bytes, whether its length was announced or not.

    Raises:
        BodyTooLarge: announced or counted above the limit.
        ClientGone: the connection ended first.
    """
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and (len(announced) > 12 or int(announced) > limit):
        raise BodyTooLarge
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge
        return body
    parts, length = [], 0
    while True:
        if message["type"] != "http.request":
            raise ClientGone
        part = message.get("body", b"")
        parts.append(part)
        length += len(part)
        if length > limit:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back."""

    status: int
    body: bytes
    content_type: bytes
    headers: HeaderPairs = ()

    @classmethod
    def plain(cls, status: int, text: str = "", headers: HeaderPairs = ()) -> Reply:
        """A sentence, for whoever looks at HTTP."""
        return cls(status, f"{text}\n".encode() if text else b"", _PLAIN, headers)

    async def send(self, send: Send, *, without_body: bool = False) -> None:
        """Write the reply; `without_body` answers HEAD with the headers that GET would have."""
        headers = [
            (b"content-type", self.content_type),
            (b"content-length", b"%d" % len(self.body)),
            *_ALWAYS,
            *self.headers,
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if without_body else self.body})
