"""What the console is given to work with. `server.console` furnishes it once; pages ask `rooms()`.

Django makes views out of functions that nobody hands anything to, so this is the one global of the room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, Final, Protocol

from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.ca_life import CaLife
from certwright.adcs.events import CaEvent
from certwright.adcs.requester import Requester, Sid
from certwright.adcs.roles import CaAccess
from certwright.adcs.template import NameRules
from certwright.audit.trail import AuditTrail
from certwright.connectors.locations import Locations
from certwright.connectors.registry import Registry
from certwright.console.domain_desk import DomainDesk
from certwright.database import Database
from certwright.directory.administration import DirectoryAdministration
from certwright.directory.base import LogonDirectory, Principal
from certwright.directory.security_audit.audit import SecurityReport
from certwright.keystores.sealing import Sealer
from certwright.location_watch.watch import LocationWatch
from certwright.ndes.administration import NdesAdministration
from certwright.online_responder.service import ResponderAdministration

# What `CaHealth` is about, in words that are translated when they are shown.
CA_CERTIFICATE: Final = lazy("CA certificate")
PRIVATE_KEY: Final = lazy("Private key")
OFFLINE: Final = lazy("offline")
ON_THIS_HOST: Final = lazy("on this host")
BASE_CRL: Final = lazy("Base CRL %(number)s")
DELTA_CRL: Final = lazy("Delta CRL %(number)s")
PARTITION_CRL: Final = lazy("Base CRL %(number)s of partition %(partition)s")
NO_CRL: Final = lazy("none published")


@dataclass(frozen=True, slots=True)
class CaStanding:
    """One of our CAs, as one caller stands to it. Only for what is drawn: the CA checks every act itself."""

    name: str
    config: str  # configuration string
    slug: str  # sanitized name, in URLs
    access: CaAccess
    is_root: bool = False
    in_conflict: bool = False  # two roles while roles are to be separated: the CA refuses everything


@dataclass(frozen=True, slots=True)
class CaHealth:
    """One line of a CA's health: what, how it stands (`ok`, `warning`, `down`, `unknown`), until when."""

    what: Any
    state: str
    detail: Any = ""
    until: datetime | None = None
    href: str = ""


@dataclass(frozen=True, slots=True)
class OpenIdProvider:
    """An OpenID Connect provider, as certwright.toml names it."""

    name: str
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)

    @property
    def origin(self) -> str:
        scheme, _, rest = self.issuer.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"


class SignInRefused(Exception):
    """A name and a password that were not accepted; with `retry_after`, they were not even checked (seconds)."""

    def __init__(self, retry_after: float = 0.0) -> None:
        super().__init__("refused")
        self.retry_after = retry_after


class PasswordCheck(Protocol):
    """Checks a directory account's password, throttled together with every other door of this host."""

    def __call__(self, name: str, password: str, peer: str) -> Principal:
        """Raises `SignInRefused`."""


class NameTrial(Protocol):
    """Asks name rules about one name, as the CA's policy would."""

    def __call__(self, rules: NameRules, text: str, sids: frozenset[Sid]) -> Sequence[tuple[str, str]]:
        """What it could be (dns, ip, mail, upn) and why that is outside, empty when it is inside.

        Raises ValueError for a rule that cannot be read.
        """


class FailureCounter(Protocol):
    """`auth.throttle.Throttle`."""

    def wait(self, account: str, peer: str) -> float: ...

    def failed(self, account: str, peer: str) -> None: ...

    def succeeded(self, account: str, peer: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Rooms:
    """Everything behind the pages."""

    registry: Registry
    directory: LogonDirectory
    directory_administration: DirectoryAdministration
    audit: AuditTrail
    database: Database
    sealer: Sealer
    clock: Callable[[], datetime]
    hostname: str
    standings: Callable[[Requester], Sequence[CaStanding]]
    check_password: PasswordCheck
    throttle: FailureCounter
    root_certificate: Callable[[], bytes]  # PEM
    ca_health: Callable[[str], Sequence[CaHealth]]  # by configuration string
    listeners: Callable[[], Mapping[str, bool]]
    try_name: NameTrial
    ca_life: CaLife
    backup: Callable[[str, Requester], IO[bytes]]  # of everything, encrypted under a password
    locations: Locations
    watch: LocationWatch
    responder: ResponderAdministration
    ndes: NdesAdministration
    security: Callable[[float], SecurityReport]  # what would let somebody escalate; at most so many seconds old
    openid: OpenIdProvider | None = None
    manager: Any = None
    notifications: Any = None
    domain: DomainDesk | None = None  # the Active Directory it belongs to; None: the embedded directory alone
    certificate_url: str = ""  # of the listener for client certificates; empty where there is none

    def record(self, event: CaEvent) -> None:
        """Put an event of the console into the audit trail, in a transaction of its own.

        Never inside Django's `transaction.atomic`: on SQLite each would wait for the other.
        """
        with self.database.transaction() as connection:
            self.audit.append(connection, event)


_furnished: list[Rooms] = []


def furnish(rooms: Rooms) -> None:
    """Say what the pages work with. A later call replaces the earlier one, as tests do."""
    _furnished[:] = [rooms]


def rooms() -> Rooms:
    """What `furnish` was given.

    Raises:
        LookupError: nothing yet.
    """
    if not _furnished:
        raise LookupError("the console is not furnished; server.console does it")
    return _furnished[0]
