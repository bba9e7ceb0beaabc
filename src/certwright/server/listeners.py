"""The sockets and the servers behind them, started and stopped as one.

Order: every socket is bound before a thread or a server starts, so that a port in use is one sentence and leaves
nothing behind. uvicorn is driven by its parts, not by `serve()`: each `serve()` takes the process's signals.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
import uvicorn

from certwright.adcs.errors import ConfigurationError
from certwright.server.bulk import BulkProtocol, BulkService
from certwright.server.home import LOOPBACK, Settings
from certwright.server.limits import (
    GRACE_SECONDS,
    HANDSHAKE_SECONDS,
    KEEP_ALIVE_SECONDS,
    TLS_SHUTDOWN_SECONDS,
)
from certwright.server.protocol import HttpProtocol

log = structlog.get_logger(__name__)

Scope = MutableMapping[str, Any]
AsgiApplication = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

_BACKLOG: Final = 1024


class BoundSockets:
    """Both listeners' sockets, bound and not yet served. Closes them all when one cannot be had."""

    def __init__(self, settings: Settings, bind: Sequence[str] = ()) -> None:
        """Raises:
        ConfigurationError: an address or port cannot be bound; the sentence says which and why.
        """
        self.addresses = listening_addresses(settings, bind)
        self.https: list[socket.socket] = []
        self.http: list[socket.socket] = []
        self.certificate: list[socket.socket] = []
        wanted = [(settings.https_port, "https-port", self.https), (settings.http_port, "http-port", self.http)]
        if settings.certificate_port:
            wanted.append((settings.certificate_port, "certificate-port", self.certificate))
        try:
            for port, key, sockets in wanted:
                sockets += [
                    bound for address in self.addresses if (bound := _bind(address, port, key, bind)) is not None
                ]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for bound in (*self.https, *self.http, *self.certificate):
            bound.close()

    @property
    def loopback(self) -> str:
        """An address under which this host reaches the listeners itself."""
        for address in self.addresses:
            if address in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
                return LOOPBACK[0] if address == "0.0.0.0" else LOOPBACK[1]  # noqa: S104
        return self.addresses[0]


def listening_addresses(settings: Settings, bind: Sequence[str] = ()) -> tuple[str, ...]:
    """What to bind: as asked for, else loopback with every loopback address the host name stands for.

    Debian's installer gives the host's own name 127.0.1.1; URLs with that name have to work on this host.
    """
    chosen = tuple(bind) or settings.bind
    if chosen:
        for address in chosen:
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise ConfigurationError(f"--bind: {address!r} is no IP address; use 0.0.0.0 for all") from None
        return chosen
    named = [address for address in resolve(settings.hostname) if ipaddress.ip_address(address).is_loopback]
    return tuple(dict.fromkeys((*LOOPBACK, *named)))


def resolve(name: str) -> tuple[str, ...]:
    """The addresses of a host name; none when it does not resolve."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    addresses = (str(entry[4][0]).partition("%")[0] for entry in found)
    return tuple(dict.fromkeys(addresses))


def _bind(address: str, port: int, key: str, asked: Sequence[str]) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if address == LOOPBACK[1]:
            return None  # this host has no IPv6
        raise ConfigurationError(f"{address}: {error.strerror}") from error
    try:
        if os.name != "nt":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        if address == LOOPBACK[1] and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        raise ConfigurationError(_why_not_bound(error, address, port, key)) from error
    return bound


def _why_not_bound(error: OSError, address: str, port: int, key: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {address} is in use; stop what listens there, or change {key} in certwright.toml"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this account has; use a port above 1023 for {key}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address} is no address of this host; change bind in certwright.toml or --bind"
    return f"port {port} on {address} cannot be bound: {error.strerror}"


class _HttpsServer(uvicorn.Server):
    """uvicorn's server with the two time limits that it does not pass on, and without its logging and signals."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.lifespan = self.config.lifespan_class(self.config)

        def protocol() -> HttpProtocol:
            return HttpProtocol(self.config, self.server_state, {}, loop)

        self.servers = [
            await loop.create_server(
                protocol,
                sock=bound,
                ssl=self.config.ssl,
                backlog=_BACKLOG,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
            )
            for bound in sockets or ()
        ]
        self.started = True


@dataclass(frozen=True, slots=True)
class Secured:
    """What answers behind an HTTPS listener, and how it shows who it is."""

    application: AsgiApplication
    context: ssl.SSLContext

    def server(self) -> _HttpsServer:
        config = uvicorn.Config(
            self.application,
            http=HttpProtocol,
            ssl_context_factory=lambda _config, _default: self.context,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nobody's X-Forwarded-For is believed
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        config.load()
        return _HttpsServer(config)


class Listeners:
    """The HTTPS listeners of the role services and the bulk listener, in the running loop.

    Args:
        certificate: behind the listener that asks clients for a certificate; None where there is none.
    """

    def __init__(
        self, sockets: BoundSockets, https: Secured, bulk: BulkService, certificate: Secured | None = None
    ) -> None:
        self._sockets = sockets
        self._bulk = bulk
        self._https = [(https.server(), sockets.https)]
        if certificate is not None:
            self._https.append((certificate.server(), sockets.certificate))
        self._bulk_servers: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        for server, bound_to in self._https:
            await server.startup(bound_to)
        for bound in self._sockets.http:
            self._bulk_servers.append(
                await loop.create_server(lambda: BulkProtocol(self._bulk, loop), sock=bound, backlog=_BACKLOG)
            )
        self._tasks = [
            *(loop.create_task(server.main_loop(), name="date header") for server, _ in self._https),
            loop.create_task(self._sweep(), name="time limits"),
        ]

    async def stop(self) -> None:
        """Take nothing new, finish what is under way, close every connection."""
        self._bulk.closing = True
        for server in self._bulk_servers:
            server.close()
        for secured, _ in self._https:
            secured.should_exit = True
        await asyncio.gather(*(secured.shutdown(bound_to) for secured, bound_to in self._https))
        for connection in tuple(self._bulk.connections):
            connection.close_when_done()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sockets.close()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            now = loop.time()
            for server, _ in self._https:
                for connection in tuple(server.server_state.connections):
                    if isinstance(connection, HttpProtocol):
                        connection.sweep(now)
            self._bulk.sweep(now)

    async def answering(self) -> Mapping[str, bool]:
        """Does each listener answer a request of ours?"""
        asked = {
            "https": self._answers(self._sockets.https[0], tls=True),
            "http": self._answers(self._sockets.http[0], tls=False),
        }
        if self._sockets.certificate:
            asked["certificate"] = self._answers(self._sockets.certificate[0], tls=True, demanding=True)
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    async def _answers(self, bound: socket.socket, *, tls: bool, demanding: bool = False) -> bool:
        """Asks for a page that is not there: any well-formed answer will do.

        Where a certificate is demanded we have none to show: that TLS is spoken there is the answer.
        """
        address, port = bound.getsockname()[:2]
        host = {"0.0.0.0": LOOPBACK[0], "::": LOOPBACK[1]}.get(address, address)  # noqa: S104
        context = None
        if tls:  # liveness of our own listener, not its identity: nothing is sent and nothing believed
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            async with asyncio.timeout(5.0):
                reader, writer = await asyncio.open_connection(host, port, ssl=context)
                try:
                    if demanding:
                        return True
                    writer.write(b"HEAD /listening HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    status = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            if demanding and isinstance(error, ssl.SSLError):
                return True
            log.warning("listener_does_not_answer", port=port, error=str(error))
            return False
        return status.startswith(b"HTTP/1.1 ")


def route(
    applications: Iterable[tuple[str | Callable[[str], bool], AsgiApplication]], otherwise: AsgiApplication
) -> AsgiApplication:
    """One application over several: the first that a path belongs to, else `otherwise`.

    A path belongs where its prefix (whole segments, any case) says so, or where a function says yes to it.
    """
    table = [(_below(where) if isinstance(where, str) else where, application) for where, application in applications]

    async def dispatch(
        scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        path = scope["path"]
        for is_theirs, application in table:
            if is_theirs(path):
                await application(scope, receive, send)
                return
        await otherwise(scope, receive, send)

    return dispatch


def _below(prefix: str) -> Callable[[str], bool]:
    wanted = prefix.lower()

    def is_below(path: str) -> bool:
        path = path.lower()
        return path == wanted or path.startswith(f"{wanted}/")

    return is_below
