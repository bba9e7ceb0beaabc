"""One HTTP exchange: what a view may know of the request, and the reply it hands back.

Straight over ASGI: a dozen fixed paths need no router, and the framework's own layers would cost a scripted
submission more than the page it gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from certwright.auth.connection import Connection
from certwright.endpoints.asgi import HeaderPairs, Receive, Scope, Send, read_body

HTML: Final = b"text/html; charset=utf-8"

CONTENT_SECURITY_POLICY: Final = (
    b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action 'self'; "
    b"base-uri 'none'; frame-ancestors 'none'"
)
_EVERYWHERE: Final[HeaderPairs] = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_PAGE: Final[HeaderPairs] = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    *_EVERYWHERE,
)


@dataclass(slots=True)
class Exchange:
    """One request. `page` is what follows `/certsrv/`, in lower case."""

    method: str
    page: str
    query: bytes
    headers: Mapping[bytes, bytes]
    connection: Connection
    receive: Receive

    @classmethod
    def of(cls, scope: Scope, receive: Receive, page: str) -> Exchange:
        return cls(
            method=scope["method"],
            page=page,
            query=scope["query_string"],
            headers=dict(scope["headers"]),
            connection=scope["extensions"]["certwright.connection"],
            receive=receive,
        )

    @property
    def is_navigation(self) -> bool:
        """A browser shows the answer to a person; scripts do not send this header."""
        return self.headers.get(b"sec-fetch-mode") == b"navigate"

    async def body(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes, whether its length was announced or not.

        Raises:
            BodyTooLarge: announced or counted above the limit.
            ClientGone: the connection ended first.
        """
        return await read_body(self.headers, self.receive, limit)


class Reply(NamedTuple):
    """What goes back. Headers that every reply of its kind carries are added by `page` and `file`."""

    body: bytes
    content_type: bytes
    status: int = 200
    headers: HeaderPairs = ()

    @classmethod
    def page(cls, body: bytes, status: int = 200, headers: HeaderPairs = ()) -> Reply:
        """An HTML page."""
        return cls(body, HTML, status, _PAGE + headers)

    @classmethod
    def file(cls, body: bytes, content_type: bytes, name: bytes) -> Reply:
        """A download. Clients compare the whole content type, so it carries no parameter."""
        return cls(body, content_type, 200, (*_EVERYWHERE, (b"content-disposition", b"attachment; filename=" + name)))

    @classmethod
    def redirect(cls, location: bytes, status: int) -> Reply:
        return cls(b"", HTML, status, ((b"location", location), *_EVERYWHERE))

    def adding(self, headers: HeaderPairs) -> Reply:
        return Reply(self.body, self.content_type, self.status, self.headers + headers) if headers else self

    async def send(self, send: Send, *, without_body: bool = False) -> None:
        """Write the reply; `without_body` answers HEAD with the headers that GET would have."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status,
                "headers": [
                    (b"content-type", self.content_type),
                    (b"content-length", b"%d" % len(self.body)),
                    *self.headers,
                ],
            }
        )
        await send({"type": "http.response.body", "body": b"" if without_body else self.body})
