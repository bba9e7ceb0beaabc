"""One HTTP answer from an address that a stranger wrote down, and nothing more of it than was asked for.

Certificates name where their CRLs and issuers are found, and anybody can make a certificate. So where such a URL
leads is judged as a webhook's is (`notifications.targets`): to the internet, or where the installer allowed it; the
connection goes to exactly the address that was judged. Redirects are not followed, proxies of the environment are
not used; head, body and time are bounded.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import SplitResult, urlsplit

from certwright import __version__
from certwright.notifications.channels.base import ChannelError, verifying_context
from certwright.notifications.targets import Resolver, Targets, system_resolver

PATIENCE: Final = 6.0
"""Seconds that a whole exchange may take, the name's resolution aside."""
_CHUNK: Final = 64 << 10
_PORTS: Final = {"http": 80, "https": 443}
_ABSENT: Final = (404, 410)
_ETAG: Final = re.compile(r'(?:W/)?"[!#-~]{0,200}"')
_DATE: Final = re.compile(r"[A-Za-z]{3}, [0-9]{2} [A-Za-z]{3} [0-9]{4} [0-9:]{8} GMT")


class LocationError(Exception):
    """A location gives nothing. The sentence is for people.

    `is_not_asked`: nobody was asked, so nothing is known of it. `is_absent`: whoever was asked says that there is
    nothing.
    """

    def __init__(self, message: str, *, is_not_asked: bool = False, is_absent: bool = False) -> None:
        super().__init__(message)
        self.is_not_asked = is_not_asked
        self.is_absent = is_absent


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a URL. A `body` makes it a POST."""

    url: str
    limit: int  # octets of the answer
    body: bytes = b""
    content_type: str = ""
    patience: float = 0.0  # seconds that the exchange may take; the usual where it is 0


@dataclass(frozen=True, slots=True)
class Validators:
    """By what a server tells whether an answer is still the one it gave before. RFC 9110 8.8."""

    etag: str = ""
    modified: str = ""

    def __bool__(self) -> bool:
        return bool(self.etag or self.modified)

    @classmethod
    def of(cls, headers: http.client.HTTPMessage) -> Validators:
        """Those of an answer; what is no validator is left out: it would be sent back as it came."""
        etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        return cls(etag if _ETAG.fullmatch(etag) else "", modified if _DATE.fullmatch(modified) else "")


NO_VALIDATORS: Final = Validators()


@dataclass(frozen=True, slots=True)
class Found:
    """What a location gave. `is_same`: what its validators came with still stands there, and was not sent again."""

    body: bytes
    validators: Validators = NO_VALIDATORS
    is_same: bool = False


class Source(Protocol):
    """Whoever reads locations."""

    def fetch(self, question: Question) -> bytes:
        """What stands there. Raises `LocationError`."""


class Fetcher:
    """Asks URLs of strangers.

    Args:
        targets: where they may lead.
        own: `host:port` of this installation's own listeners, which may always be asked.
    """

    def __init__(self, targets: Targets, own: Collection[str] = (), resolver: Resolver = system_resolver) -> None:
        self._targets = targets
        self._own = frozenset(own)
        self._resolver = resolver

    def fetch(self, question: Question) -> bytes:
        """The body of an answer with status 200. Raises as `ask`."""
        return self.ask(question).body

    def ask(self, question: Question, known: Validators = NO_VALIDATORS) -> Found:
        """An answer with status 200, or 304 where it is the `known` one. RFC 9110 13.1.

        Raises:
            LocationError: the URL may not be asked, nobody answers, or the answer is none.
        """
        parts = _checked(question.url)
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or _PORTS[parts.scheme]
        address = self._address(host, port)
        patience = question.patience or PATIENCE
        deadline = time.monotonic() + patience
        try:
            with _connected(parts.scheme, host, address, port, deadline) as channel:
                return _exchange(channel, question, parts, deadline, known)
        except (OSError, http.client.HTTPException) as error:
            raise LocationError(f"{host} gives no answer: {_why(error, patience)}") from error

    def _address(self, host: str, port: int) -> str:
        try:
            if f"{host.lower()}:{port}" in self._own:
                return self._resolver(host, port)[0]
            return self._targets.resolve(host, port)
        except ChannelError as error:
            raise LocationError(str(error)) from error
        except (OSError, UnicodeError, IndexError) as error:
            raise LocationError(f"the name {host} cannot be resolved") from error


def _checked(url: str) -> SplitResult:
    """Raises:
    LocationError: it is no URL that is asked from here.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise LocationError(f"this is no URL: {error}") from error
    if parts.scheme == "ldap" or parts.scheme == "ldaps":
        raise LocationError(
            "LDAP locations are read by members of the domain; nothing is asked from here", is_not_asked=True
        )
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise LocationError("only http:// and https:// are asked from here", is_not_asked=True)
    if parts.username is not None or parts.password is not None:
        raise LocationError("a URL with a user name in it is not asked")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise LocationError("the URL holds characters that no URL holds")
    return parts


class _Wire(io.RawIOBase):
    """A socket as a file whose every read ends by a deadline."""

    def __init__(self, channel: socket.socket, deadline: float) -> None:
        self._channel = channel
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._channel.settimeout(left)
        return self._channel.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What `http.client` asks of a socket."""
        return io.BufferedReader(self, _CHUNK)


@contextlib.contextmanager
def _connected(scheme: str, host: str, address: str, port: int, deadline: float) -> Iterator[socket.socket]:
    with socket.create_connection((address, port), timeout=PATIENCE) as plain:
        if scheme == "http":
            yield plain
            return
        plain.settimeout(max(0.001, deadline - time.monotonic()))
        with verifying_context("").wrap_socket(plain, server_hostname=host) as secured:
            yield secured


def _exchange(
    channel: socket.socket, question: Question, parts: SplitResult, deadline: float, known: Validators
) -> Found:
    method = "POST" if question.body else "GET"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: {parts.netloc}",
        f"User-Agent: Certwright/{__version__}",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: close",
    ]
    if question.body:
        lines += [f"Content-Type: {question.content_type}", f"Content-Length: {len(question.body)}"]
    if known.etag:
        lines.append(f"If-None-Match: {known.etag}")
    if known.modified:
        lines.append(f"If-Modified-Since: {known.modified}")
    channel.settimeout(max(0.001, deadline - time.monotonic()))
    channel.sendall("\r\n".join([*lines, "", ""]).encode("ascii") + question.body)
    with http.client.HTTPResponse(_Wire(channel, deadline), method=method) as response:  # type: ignore[arg-type]
        response.begin()
        if response.status == 304 and known:
            return Found(b"", known, is_same=True)
        if response.status in range(300, 400):
            raise LocationError(f"{parts.hostname} leads elsewhere (HTTP status {response.status})")
        if response.status != 200:
            raise LocationError(
                f"{parts.hostname} answers with HTTP status {response.status}", is_absent=response.status in _ABSENT
            )
        body = response.read(question.limit + 1)
    if len(body) > question.limit:
        raise LocationError(f"the answer has more than {question.limit} bytes")
    return Found(body, Validators.of(response.headers))


def _why(error: BaseException, patience: float) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({error.verify_message})"
        case ssl.SSLError():
            return f"TLS fails ({error.reason or 'no reason given'})"
        case ConnectionRefusedError():
            return "it refuses connections to the port"
        case TimeoutError():
            return f"nothing came within {patience:.0f} s"
        case http.client.HTTPException():
            return "what it says is not HTTP"
        case _:
            return "the connection broke off"
