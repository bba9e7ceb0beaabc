"""The console over one installation: Django's settings, what the pages work with, and the ASGI application.

Importing this imports Django; nothing does so before a listener is to serve the console.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache, partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import structlog

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.requester import Requester
from certwright.adcs.roles import CaAccess
from certwright.adcs.security import SecurityDescriptor
from certwright.auth.accounts import Accounts
from certwright.auth.mechanism import Refused
from certwright.auth.throttle import Throttle
from certwright.ca.configuration import CaConfiguration
from certwright.ca.policy.name_rules import try_name
from certwright.ca.revocation.publication import scopes_of
from certwright.connectors.fetching import Fetcher
from certwright.connectors.local import LocalCa
from certwright.connectors.locations import Locations
from certwright.directory.base import Principal
from certwright.keystores.sealing import SealingError, write_new
from certwright.notifications.values import RuleView
from certwright.pki.names import sanitized_name
from certwright.server.backup import make_passing
from certwright.server.ca_life import OurCas
from certwright.server.composition import Installation
from certwright.server.device_setup import DeviceSetup
from certwright.server.django_settings import configure
from certwright.server.listeners import AsgiApplication, Scope
from certwright.server.locations import location_watch, own_addresses
from certwright.server.responder_setup import ResponderSetup
from certwright.server.security_audit import SecurityAudit
from certwright.server.wsgi import WsgiAdapter

configure()

from django.conf import settings  # noqa: E402 - they have to be in place before anything of Django's looks at them
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.db import DEFAULT_DB_ALIAS, connections  # noqa: E402
from django.urls import set_script_prefix  # noqa: E402

from certwright.console import rooms as words  # noqa: E402
from certwright.console import saved_views  # noqa: E402
from certwright.console.rooms import CaHealth, CaStanding, OpenIdProvider, Rooms, SignInRefused, furnish  # noqa: E402
from certwright.server.domain_desk import desk_of  # noqa: E402
from certwright.server.schema import django_database  # noqa: E402

log = structlog.get_logger(__name__)

THREADS: Final = 4
STATIC: Final = "/static/"
SECRET_KEY: Final = "console/secret-key"  # noqa: S105 - what the key is bound to, not the key
"""What the sealed key of sessions and form tokens is bound to."""
_TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_ROLE_BITS: Final = (CaAccess.ADMINISTRATOR, CaAccess.OFFICER, CaAccess.AUDITOR, CaAccess.OPERATOR)


class Console:
    """The pages of one installation. Close it when the listeners have stopped."""

    def __init__(
        self,
        installation: Installation,
        names: frozenset[str],
        throttle: Throttle | None = None,
        listeners: Callable[[], Mapping[str, bool]] = dict,
    ) -> None:
        """Args:
        names: host names and addresses under which browsers may ask.
        throttle: shared with the other doors of this host.
        listeners: how each stands, for the Health page.
        """
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="console")
        self._assets = Assets()
        _apply(installation, names, self._assets)
        furnish(rooms_of(installation, throttle or Throttle(), listeners))
        self._pages = WsgiAdapter(WSGIHandler(), self._pool)

    @property
    def application(self) -> AsgiApplication:
        """Everything below `/`."""

        async def serve(
            scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
        ) -> None:
            if scope["path"].startswith(STATIC):
                await self._assets.answer(scope, send)
            else:
                await self._pages(scope, receive, send)

        return serve

    def close(self) -> None:
        """Finish the pages that are being made, then let go of their threads and connections."""
        for _number in range(THREADS):
            self._pool.submit(connections.close_all)
        self._pool.shutdown(wait=True)


# -- settings --------------------------------------------------------------------------------------------------------


def _apply(installation: Installation, names: frozenset[str], assets: Assets) -> None:
    """Say which installation this process serves. Tests do so several times, one after the other."""
    settings.SECRET_KEY = _secret_key(installation)
    settings.ALLOWED_HOSTS = sorted(f"[{name}]" if ":" in name else name for name in names)
    settings.STATIC_URL = assets.url
    provider = openid_provider(installation)
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [_openid_app(provider)] if provider else []}}
    _connect(installation)
    set_script_prefix("/")


def _connect(installation: Installation) -> None:
    """Let the console's own tables be those of this installation."""
    known: dict[str, Any] = connections.settings
    description = {**django_database(installation.home.database_url), "CONN_MAX_AGE": None}
    filled = connections.configure_settings({DEFAULT_DB_ALIAS: description})
    known[DEFAULT_DB_ALIAS] = filled[DEFAULT_DB_ALIAS]
    settings.DATABASES = {DEFAULT_DB_ALIAS: description}
    for earlier in connections.all(initialized_only=True):  # this thread's connection of another installation
        if earlier.alias == DEFAULT_DB_ALIAS:
            if earlier.connection is not None:
                earlier.close()
            del connections[DEFAULT_DB_ALIAS]


def _secret_key(installation: Installation) -> str:
    """The key that signs sessions' messages and form tokens: made once, kept sealed in the home folder.

    Raises:
        ConfigurationError: the file is there and cannot be opened.
    """
    path = installation.home.folder / "console.key"
    with suppress(FileExistsError):  # made earlier, or by another process right now
        write_new(path, installation.sealer.seal(secrets.token_bytes(48), SECRET_KEY))
    try:
        return installation.sealer.open(path.read_bytes(), SECRET_KEY).hex()
    except (OSError, SealingError) as error:
        raise ConfigurationError(
            f"{path} cannot be opened ({error}); remove it to have a new one made, which ends every session"
        ) from error


def openid_provider(installation: Installation) -> OpenIdProvider | None:
    """The OpenID provider of certwright.toml.

    Raises:
        ConfigurationError: the file with the client's secret cannot be read.
    """
    home = installation.home
    chosen = home.settings.openid
    if chosen is None:
        return None
    path = home.folder / chosen.client_secret_file
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{home.configuration}: client-secret-file: {path} cannot be read: {error}"
        ) from error
    return OpenIdProvider(chosen.name, chosen.issuer, chosen.client_id, secret)


def _openid_app(provider: OpenIdProvider) -> dict[str, Any]:
    return {
        "provider_id": "openid",
        "name": provider.name,
        "client_id": provider.client_id,
        "secret": provider.client_secret,
        "settings": {"server_url": provider.issuer, "oauth_pkce_enabled": True},
    }


# -- what the pages work with ----------------------------------------------------------------------------------------


def rooms_of(
    installation: Installation, throttle: Throttle, listeners: Callable[[], Mapping[str, bool]] = dict
) -> Rooms:
    """An installation as the pages see it."""
    accounts = Accounts(installation.directory, throttle, ThreadPoolExecutor(1))

    def check_password(name: str, password: str, peer: str) -> Principal:
        domain, _, user = name.rpartition("\\")
        try:
            return accounts.check_password_here(domain, user, password, peer)
        except Refused as refused:
            raise SignInRefused(math.ceil(refused.retry_after or 0.0)) from None

    return Rooms(
        registry=installation.registry,
        directory=installation.directory,
        directory_administration=installation.directory_administration,
        audit=installation.audit,
        database=installation.database,
        sealer=installation.sealer,
        clock=installation.clock,
        hostname=installation.home.settings.hostname,
        standings=lambda requester: _standings(installation, requester),
        check_password=check_password,
        throttle=throttle,
        root_certificate=installation.home.root_certificate.read_bytes,
        ca_health=lambda config: _ca_health(installation, config),
        listeners=listeners,
        try_name=lambda rules, text, sids: [(each.kind, each.why_outside) for each in try_name(rules, text, sids)],
        responder=ResponderSetup(installation),
        ndes=DeviceSetup(installation),
        security=SecurityAudit(installation),
        locations=Locations(Fetcher(installation.notifications.targets, own_addresses(installation))),
        ca_life=OurCas(installation),
        backup=partial(make_passing, installation),
        watch=location_watch(installation),
        openid=openid_provider(installation),
        manager=installation.manager,
        notifications=installation.notifications,
        domain=desk_of(installation),
        certificate_url=installation.home.settings.certificate_url,
    )


def views_for_rules(installation: Installation, account: str) -> Sequence[RuleView]:
    """The saved views that an account may let a notification rule filter by, outside the console."""
    _connect(installation)
    try:
        return saved_views.filters_of(account)
    finally:
        connections.close_all()


def _standings(installation: Installation, requester: Requester) -> Sequence[CaStanding]:
    """How a caller stands to each CA, from the security descriptors that the CAs check themselves."""
    found = []
    for ca in installation.cas:
        record = ca.authority.database.ca()
        configuration = CaConfiguration.load(record.settings)
        security = _security(configuration.security_descriptor, installation)
        access = security.granted_ca_access(requester.sids)
        roles = sum(bool(access & bit) for bit in _ROLE_BITS)
        found.append(
            CaStanding(
                name=record.name,
                config=ca.config,
                slug=sanitized_name(record.name),
                access=access.implied,
                is_root=record.ca_type.is_root,
                in_conflict=configuration.role_separation and roles > 1,
            )
        )
    return found


def _security(sddl: str, installation: Installation) -> SecurityDescriptor:
    return _parsed(sddl, installation.directory.domain.sid)


@lru_cache(maxsize=64)
def _parsed(sddl: str, domain_sid: Any) -> SecurityDescriptor:
    return SecurityDescriptor.from_sddl(sddl, domain_sid)


def _ca_health(installation: Installation, config: str) -> Sequence[CaHealth]:
    """A CA's certificate, its key and its newest CRLs."""
    ca = installation.ca(config)
    record = ca.authority.database.ca()
    now = installation.clock()
    newest = max(record.certificates, key=lambda certificate: certificate.index)
    lines = [CaHealth(words.CA_CERTIFICATE, _by_time(newest.not_after, now, days=90), until=newest.not_after)]
    offline = newest.key_name in installation.key_store.offline_names()
    if offline:
        lines.append(CaHealth(words.PRIVATE_KEY, "ok" if record.ca_type.is_root else "down", words.OFFLINE))
    elif record.ca_type.is_root:
        lines.append(CaHealth(words.PRIVATE_KEY, "warning", words.ON_THIS_HOST))
    crl = ca.authority.database.latest_crl(newest.key_index)
    if crl is None:
        lines.append(CaHealth(words.BASE_CRL % {"number": ""}, "down", words.NO_CRL))
        return lines
    state = _by_time(crl.next_update, now, days=0)
    if crl.publish_error:
        lines.append(CaHealth(words.BASE_CRL % {"number": crl.number}, "down", crl.publish_error, crl.next_update))
    else:
        lines.append(CaHealth(words.BASE_CRL % {"number": crl.number}, state, until=crl.next_update))
    delta = ca.authority.database.latest_crl(newest.key_index, delta=True)
    if delta is not None and delta.number > crl.number:
        what = words.DELTA_CRL % {"number": delta.number}
        lines.append(CaHealth(what, _by_time(delta.next_update, now, days=0), until=delta.next_update))
    return [*lines, *_partition_health(ca, now)]


def _partition_health(ca: LocalCa, now: datetime) -> Iterator[CaHealth]:
    """The base CRLs of partitions that are not well; of those that are nothing is said."""
    for scope in scopes_of(ca.authority.database, now):
        crl = scope.latest(ca.authority.database) if scope.partition else None
        if crl is not None and (crl.publish_error or crl.next_update <= now):
            what = words.PARTITION_CRL % {"number": crl.number, "partition": crl.partition}
            yield CaHealth(what, "down", crl.publish_error, crl.next_update)


def _by_time(until: datetime, now: datetime, *, days: int) -> str:
    if until <= now:
        return "down"
    return "warning" if until - now < max(timedelta(days=days), timedelta(hours=1)) else "ok"


# -- static files ----------------------------------------------------------------------------------------------------


class Assets:
    """Style sheets, scripts and icons, in memory. Their folder is named by their contents, so browsers keep them."""

    def __init__(self) -> None:
        self._bodies: dict[str, tuple[bytes, bytes]] = {}
        digest = hashlib.sha256()
        for name, file in sorted(_files(files("certwright.console").joinpath("static"))):
            content_type = _TYPES.get(name[name.rfind(".") :])
            if content_type is not None:
                body = file.read_bytes()
                digest.update(name.encode() + b"\0" + body)
                self._bodies[name] = (content_type, body)
        self.url: Final = f"{STATIC}{digest.hexdigest()[:12]}/"
        self._zipped = lru_cache(maxsize=None)(self._zip)

    def _zip(self, name: str) -> bytes:
        return gzip.compress(self._bodies[name][1], 6, mtime=0)

    async def answer(self, scope: Scope, send: Callable[[Any], Awaitable[None]]) -> None:
        """One file, or 404. They hold nothing secret and are served to anybody."""
        found = self._bodies.get(scope["path"].removeprefix(self.url)) if scope["path"].startswith(self.url) else None
        if scope["method"] not in ("GET", "HEAD") or found is None:
            await _send(
                send, 405 if found else 404, [(b"content-type", b"text/plain; charset=utf-8")], b"Not Found\n"
            )
            return
        content_type, body = found
        headers = [
            (b"content-type", content_type),
            (b"cache-control", b"public, max-age=31536000, immutable"),
            (b"x-content-type-options", b"nosniff"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"vary", b"accept-encoding"),
        ]
        accepted = b", ".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        if b"gzip" in accepted:
            body = self._zipped(scope["path"].removeprefix(self.url))
            headers.append((b"content-encoding", b"gzip"))
        await _send(send, 200, headers, body, with_body=scope["method"] == "GET")


def _files(folder: Traversable, prefix: str = "") -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        found += _files(entry, f"{name}/") if entry.is_dir() else [(name, entry)]
    return found


async def _send(
    send: Callable[[Any], Awaitable[None]],
    status: int,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    *,
    with_body: bool = True,
) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body if with_body else b""})
