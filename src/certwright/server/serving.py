"""The listeners over one installation: what answers behind them, and whether everything is well."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import structlog

from certwright.adcs.errors import AdcsError, ConfigurationError
from certwright.auth.http import HttpAuthenticator
from certwright.auth.policy import AuthenticationPolicy
from certwright.auth.throttle import Throttle
from certwright.ca.configuration import CaConfiguration
from certwright.database import DatabaseError
from certwright.endpoints.plain_asgi import over_asgi
from certwright.online_responder.views import PATH, OcspService
from certwright.server.bulk import BulkService
from certwright.server.composition import Installation
from certwright.server.domain_logons import domain_logons, own_ca_certificates, trusted_for_clients
from certwright.server.enrollment_services import EnrollmentServices, nothing_here
from certwright.server.home import LOOPBACK
from certwright.server.limits import connections_for, raise_file_limit
from certwright.server.listeners import AsgiApplication, BoundSockets, Listeners, Secured, resolve, route
from certwright.server.network_devices import NetworkDevices
from certwright.server.published import PublishedFiles
from certwright.server.responder import OnlineResponder
from certwright.server.tls import ServerTls
from certwright.web_enrollment import application as web_enrollment

log = structlog.get_logger(__name__)

PASSWORD_THREADS: Final = 2
ANSWER_THREADS: Final = 2
"""For OCSP answers that take a look into the database."""
HEALTH_TRUSTED: Final = 1.0
"""Seconds for which a health report is repeated instead of made anew: asking often must cost nothing."""
RELOAD_EVERY: Final = 15.0
"""Seconds after which a renewed certificate is noticed."""
NEW_CAS_EVERY: Final = 2.0
"""Seconds after which a CA that another process installed is served."""


class Serving:
    """Everything that answers clients, in the running event loop."""

    def __init__(self, installation: Installation, sockets: BoundSockets) -> None:
        """Raises:
        ConfigurationError: there is no usable TLS certificate, or the issuing CA cannot sign.
        """
        self._installation = installation
        self._pool = ThreadPoolExecutor(PASSWORD_THREADS, thread_name_prefix="passwords")
        self._domain = domain_logons(installation)
        self._client_tls: ServerTls | None = None
        self._tls = ServerTls(
            installation.listener_certificates,
            lambda name: log.info("listener_certificate_shown", name=name),
            trusted_for_clients(installation),
        )
        self._responder = OnlineResponder(installation)
        self._answering = ThreadPoolExecutor(ANSWER_THREADS, thread_name_prefix="answers")
        self._ocsp = OcspService(self._responder.responder, installation.clock)
        bulk = BulkService(
            PublishedFiles(installation.home.published, time.monotonic),
            self.health,
            installation.home.settings.https_url,
            installation.clock,
            {PATH.encode(): self._ocsp},
            self._answering,
            most_connections=connections_for(raise_file_limit()),
        )
        names = local_names(installation, sockets)
        throttle = Throttle()
        self._devices = NetworkDevices(installation, throttle)
        bulk.services = {**bulk.services, **self._devices.plain()}
        self._services = EnrollmentServices(installation, throttle, self._pool, lambda: names, self._domain)
        https = Secured(self._application(names, throttle), self._tls.context)
        self._listeners = Listeners(sockets, https, bulk, self._for_certificates())
        self._reloading: tuple[asyncio.Task[None], ...] = ()
        self._cas_served = installation.cas
        self._look_now = asyncio.Event()
        self._last_report: tuple[float, bool, Mapping[str, object]] | None = None
        self._asking = asyncio.Lock()

    def _for_certificates(self) -> Secured | None:
        """Behind the listener that demands a certificate of ours; None where it has no port."""
        if not self._installation.home.settings.certificate_port:
            return None
        self._client_tls = ServerTls(
            self._installation.listener_certificates,
            client_cas=own_ca_certificates(self._installation),
            demanding=True,
        )
        return Secured(route(self._services.applications, nothing_here), self._client_tls.context)

    def _application(self, names: frozenset[str], throttle: Throttle) -> AsgiApplication:
        from certwright.server.console import Console  # Django: only where listeners are served

        authenticator = HttpAuthenticator(
            self._installation.directory,
            authentication_policy(self._installation),
            throttle,
            self._pool,
            lambda: names,
            self._installation.clock,
            self._domain,
        )
        self._console = Console(self._installation, names, throttle, self._standing)
        certsrv = web_enrollment.create(self._installation.registry, authenticator)
        devices = self._devices.application(authenticator)
        ocsp = over_asgi(PATH, self._ocsp, self._answering)  # where only HTTPS gets through
        return route(
            [*devices, *self._services.applications, ("/certsrv", certsrv), (PATH, ocsp)], self._console.application
        )

    async def start(self) -> None:
        await asyncio.to_thread(self._responder.start)
        await asyncio.to_thread(self._devices.start)
        await self._listeners.start()
        loop = asyncio.get_running_loop()
        self._reloading = (
            loop.create_task(self._reload(), name="certificate reload"),
            loop.create_task(self._look_for_cas(), name="new CAs"),
        )

    async def stop(self) -> None:
        """Finish what is under way."""
        for task in self._reloading:
            task.cancel()
        await asyncio.gather(*self._reloading, return_exceptions=True)
        await self._listeners.stop()
        await asyncio.to_thread(self._responder.stop)
        self._answering.shutdown(wait=True, cancel_futures=True)
        self._services.close()
        self._devices.close()
        if self._domain is not None:
            await self._domain.close()
        await asyncio.to_thread(self._console.close)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def look_again(self) -> None:
        """Show a renewed certificate now instead of within seconds, and ask the domain anew (SIGHUP)."""
        if self._installation.active_directory is not None:
            self._installation.active_directory.forget()
        self._look_now.set()

    async def _reload(self) -> None:
        while True:
            if self._domain is not None:
                await self._domain.probe()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), RELOAD_EVERY)
            self._look_now.clear()
            try:
                await asyncio.to_thread(self._tls.trust, trusted_for_clients(self._installation))
                await asyncio.to_thread(self._tls.reload)
                if self._client_tls is not None:
                    await asyncio.to_thread(self._reload_client_tls, self._client_tls)
            except (ConfigurationError, OSError) as error:  # go on with the certificate we have
                log.error("listener_certificate_not_loaded", error=str(error))

    async def _look_for_cas(self) -> None:
        """Serve a CA from its first certificate on; the console's own acts are seen here too."""
        while True:
            await asyncio.sleep(NEW_CAS_EVERY)
            try:
                for name in await asyncio.to_thread(self._installation.look_for_cas):
                    log.info("ca_served", ca=name)
            except (AdcsError, DatabaseError) as error:
                log.error("new_cas_not_looked_for", error=str(error))
                continue
            if self._cas_served is not self._installation.cas:
                self._cas_served = self._installation.cas
                self._services.serve_new_cas()

    def _reload_client_tls(self, tls: ServerTls) -> None:
        tls.trust(own_ca_certificates(self._installation))
        tls.reload()

    async def health(self) -> tuple[bool, Mapping[str, object]]:
        """Do the listeners answer, do the issuers live, does the database answer?"""
        async with self._asking:
            now = time.monotonic()
            if self._last_report is None or now - self._last_report[0] >= HEALTH_TRUSTED:
                listeners = await self._listeners.answering()
                database = await asyncio.to_thread(self._database_answers)
                issuers = self._installation.connector.is_alive
                well = all(listeners.values()) and database and issuers
                report: Mapping[str, object] = {
                    "status": "ok" if well else "failing",
                    "listeners": dict(listeners),
                    "issuers": issuers,
                    "database": database,
                }
                self._last_report = (time.monotonic(), well, report)
            return self._last_report[1], self._last_report[2]

    def _standing(self) -> Mapping[str, bool]:
        """What the console's Health page shows of this process."""
        return {
            "https": True,  # it has just carried the question
            "issuers": self._installation.connector.is_alive,
            "database": self._database_answers(),
        }

    def _database_answers(self) -> bool:
        try:
            with self._installation.database.read() as connection:
                return connection.one("SELECT 1 FROM ca") is not None
        except DatabaseError as error:
            log.error("database_does_not_answer", error=str(error))
            return False


def authentication_policy(installation: Installation) -> Callable[[], AuthenticationPolicy]:
    """What the issuing CA's settings say about authentication; the same object until they change."""
    known: tuple[tuple[int, int], AuthenticationPolicy] | None = None

    def policy() -> AuthenticationPolicy:
        nonlocal known
        record = installation.ca().authority.database.ca()
        if known is None or known[0] != (record.ca_id, record.version):
            configuration = CaConfiguration.load(record.settings)
            chosen = AuthenticationPolicy.from_settings(
                configuration.channel_binding,
                ntlm=configuration.ntlm,
                negotiate=configuration.negotiate,
                basic=configuration.basic,
                ntlm_mic=configuration.ntlm_mic,
            )
            known = ((record.ca_id, record.version), chosen)
        return known[1]

    return policy


def local_names(installation: Installation, sockets: BoundSockets) -> frozenset[str]:
    """Every name and address under which clients may mean this host: an NTLM client says which it meant."""
    hostname = installation.home.settings.hostname
    names = {hostname, hostname.partition(".")[0], "localhost", *LOOPBACK, *sockets.addresses}
    try:
        account = installation.host_account()
    except AdcsError as error:
        log.warning("host_account_unusable", error=error.message)
    else:
        principal = installation.directory.principal(account.sid)
        if principal is not None:
            names |= {principal.dns_host_name, *principal.additional_host_names}
    own = {socket.gethostname(), socket.getfqdn()}
    names |= own
    for name in (hostname, *own):
        names.update(resolve(name))
    return frozenset(name.lower() for name in names if name)
