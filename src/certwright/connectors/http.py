"""One logical operation on somebody's Web Enrollment: one client, one connection, one logon.

NTLM belongs to a TCP connection (and so does a handshake of Negotiate), therefore nothing here is shared: a `Session`
is opened for an operation, used by one thread, and closed. HTTP/1.1 only. Proxies, bundles and credentials that the
environment names are ignored. What a server sends is bounded in length and time.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import httpx2

from certwright import __version__
from certwright.adcs.errors import BadRequest
from certwright.connectors.errors import (
    AnswerLost,
    ConnectionFailed,
    NotEnrollmentPages,
    PagesForbidden,
    ServiceFault,
)
from certwright.connectors.logon import NOTED, ConnectionLogon, note_connection
from certwright.connectors.service import ServiceAddress, ServiceCredential
from certwright.connectors.trust import Trust, explain, verifying_context
from certwright.pki.errors import EncodingError
from certwright.wire.certsrv import decode_page

MAX_ANSWER: Final = 1024 * 1024
"""Longest answer read, in bytes: a CRL or a chain is the longest."""
CONNECT_TIMEOUT: Final = 10.0
READ_TIMEOUT: Final = 30.0
SUBMIT_TIMEOUT: Final = 90.0
"""How long the answer to a request may take, in seconds: a CA may ask an HSM, a module and a domain first."""
MIN_SUBMIT_TIMEOUT: Final = 60.0

USER_AGENT: Final = f"Mozilla/5.0 (compatible; Certwright/{__version__})"
"""Servers choose content types by it: to what is not called Mozilla, some hand certificates out as something else."""

_FORM: Final = "application/x-www-form-urlencoded"
NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_REDIRECTS: Final = range(300, 400)
_SERVER_FAULTS: Final = range(500, 600)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer with status 200."""

    content_type: str
    body: bytes

    @property
    def kind(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        return decode_page(self.body, self.content_type)


class Session:
    """A connection to one server as one account, for one operation. Opens at the first page.

    Args:
        timeout: seconds that the answer to a POST may take; at least `MIN_SUBMIT_TIMEOUT`.

    Raises:
        CaUnreachable: on entering, where a pinned fingerprint has to be looked up and cannot be.
    """

    def __init__(
        self, address: ServiceAddress, credential: ServiceCredential, trust: Trust, *, timeout: float = SUBMIT_TIMEOUT
    ) -> None:
        self.address = address
        self._trust = trust
        self._submit_timeout = max(timeout, MIN_SUBMIT_TIMEOUT)
        self._read_timeout = min(timeout, READ_TIMEOUT)
        self._connect_timeout = min(timeout, CONNECT_TIMEOUT)
        self.logon = ConnectionLogon(address, credential)
        self._client: httpx2.Client | None = None

    def __enter__(self) -> Self:
        context = verifying_context(self._trust, self.address, self._connect_timeout)
        self._client = one_connection(context, self.logon)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def get(self, page: str, query: str = "") -> Page:
        """Fetch a page of the virtual directory.

        Raises:
            LogonRefused, PagesForbidden: the account.
            CaUnreachable: everything else; nothing was changed on the server.
        """
        target = f"{page}?{query}" if query else page
        try:
            response = self._send("GET", target, self._read_timeout)
        except httpx2.HTTPError as error:
            raise explain(error, self.address, self._connect_timeout) from error
        except Unreadable as error:
            raise NotEnrollmentPages(f"{self.address} answered {page or 'its first page'} {error}") from error
        return self._page(page, response)

    def post(self, page: str, form: bytes) -> Page:
        """Send a form once.

        Raises:
            AnswerLost: it was sent, or may have been, and no answer to it came that can be used.
            CaUnreachable: it was not sent.
            LogonRefused, PagesForbidden: it was refused before it was read.
        """
        try:
            response = self._send("POST", page, self._submit_timeout, form)
        except NOT_SENT as error:
            raise explain(error, self.address, self._connect_timeout) from error
        except httpx2.HTTPError as error:
            reason = explain(error, self.address, self._connect_timeout)
            raise AnswerLost(f"the request was sent and its answer was lost: {reason.what}") from error
        except Unreadable as error:
            raise AnswerLost(f"the request was sent; {self.address} answered {error}") from error
        except ConnectionFailed as error:  # of the logon: what it was refused for may have been done
            raise AnswerLost(f"the request was sent and its answer is not believed: {error.what}") from error
        status = response.status_code
        if status in _SERVER_FAULTS or status in _REDIRECTS or status in range(201, 300):
            raise AnswerLost(f"the request was sent; {self.address} answered with HTTP status {status}")
        return self._page(page, response)

    def _send(self, method: str, target: str, timeout: float, form: bytes | None = None) -> httpx2.Response:
        if self._client is None:
            raise RuntimeError("a session is used inside its with statement")
        return self._client.request(
            method,
            self.address.url + target,
            content=form,
            headers={} if form is None else {"Content-Type": _FORM},
            timeout=httpx2.Timeout(timeout, connect=self._connect_timeout),
        )

    def _page(self, page: str, response: httpx2.Response) -> Page:
        status, where = response.status_code, f"{self.address}{self.address.path}{page}"
        if status == 200:
            return Page(response.headers.get("content-type", ""), response.content)
        if status == 403:
            raise PagesForbidden(
                f"{where} is forbidden (403) to the account",
                "give it access to the virtual directory, and check that this asks for no client certificate and "
                "restricts no addresses",
            )
        if status == 404:
            raise NotEnrollmentPages(
                f"there is no {where} (404)",
                "install the role service Certification Authority Web Enrollment there, or correct host and port",
            )
        if status in _REDIRECTS:
            raise NotEnrollmentPages(
                f"{where} leads elsewhere (HTTP status {status})",
                "give the address that serves Web Enrollment itself",
            )
        if status == 429 or status in _SERVER_FAULTS:
            raise ServiceFault(
                f"{where} cannot be served now (HTTP status {status})",
                "check the application pool of the web site and its event log, or try again later",
            )
        raise NotEnrollmentPages(
            f"{where} answered with HTTP status {status}, which Web Enrollment never does",
            "check host name and port",
        )


# -- bounds ----------------------------------------------------------------------------------------------------------


def one_connection(context: ssl.SSLContext, logon: httpx2.Auth | None, limit: int = MAX_ANSWER) -> httpx2.Client:
    """A client with one connection, whose answers have at most `limit` bytes."""
    limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=120.0)
    transport = httpx2.HTTPTransport(
        verify=context, trust_env=False, http1=True, http2=False, limits=limits, retries=0
    )
    return httpx2.Client(
        transport=_BoundedTransport(transport, limit),
        auth=logon,
        headers={
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Language": "en-US,en;q=0.8",
            "Accept-Encoding": "identity",
        },
        follow_redirects=False,
        trust_env=False,
    )


class Unreadable(Exception):
    """An answer that is not read to its end; the text goes on from `answered`."""


class _BoundedTransport(httpx2.BaseTransport):
    """Cuts every answer off at so many bytes and at a time, those to a handshake's legs included."""

    def __init__(self, inner: httpx2.BaseTransport, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = self._inner.handle_request(request)
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        length = response.headers.get("content-length", "0").strip()
        if encoding not in ("", "identity") or not length.isascii() or not length.isdigit():
            response.close()
            raise Unreadable("in a content encoding that was not asked for, or of a length that is no number")
        if int(length[:12]) > self._limit:
            response.close()
            raise Unreadable(f"with more than {self._limit} bytes")
        patience = request.extensions.get("timeout", {}).get("read") or READ_TIMEOUT
        assert isinstance(response.stream, httpx2.SyncByteStream)
        return httpx2.Response(
            status_code=response.status_code,
            headers=response.headers,
            stream=_BoundedStream(response.stream, self._limit, time.monotonic() + patience),
            extensions={**response.extensions, NOTED: note_connection(response)},
        )

    def close(self) -> None:
        self._inner.close()


class _BoundedStream(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, limit: int, deadline: float) -> None:
        self._inner = inner
        self._limit = limit
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        length = 0
        for part in self._inner:
            length += len(part)
            if length > self._limit:
                raise Unreadable(f"with more than {self._limit} bytes")
            if time.monotonic() > self._deadline:
                raise Unreadable("too slowly to wait for its end")
            yield part

    def close(self) -> None:
        self._inner.close()


_OTHER_PAGES: Final = "check that host name and port lead to Web Enrollment, and that no portal stands before it"


def readable(page: Page, address: ServiceAddress) -> str:
    """The text of an HTML page.

    Raises:
        NotEnrollmentPages: it is none.
    """
    if page.kind != "text/html":
        kind = page.kind or "no type at all"
        raise NotEnrollmentPages(
            f"{address} answered with {kind[:80]} where a page of Web Enrollment should be", _OTHER_PAGES
        )
    return page.text


def misunderstood(error: BadRequest | EncodingError, address: ServiceAddress, name: str) -> NotEnrollmentPages:
    """The page of that name does not hold what it should."""
    return NotEnrollmentPages(f"{address} answered {name} with something else: {error}", _OTHER_PAGES)
