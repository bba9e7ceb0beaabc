"""What notifications speak of: channels, rules, deliveries. `...Fields` come from people and are checked when made.

Secrets are in none of these values: a password or a signing key is a parameter of its own on its way in, and nobody
gets it out again but the channel that uses it.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Final
from urllib.parse import urlsplit

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import LifecycleKind

BANDS: Final = (1, 3, 7, 14, 30)
"""Days before its end in which a certificate is told of: `manager.tasks.NOTICE_DAYS`."""
MIN_SIGNING_KEY: Final = 16
"""Characters of a webhook's signing key; `make_key` makes good ones."""
MAX_NAME: Final = 255
MAX_RECIPIENTS: Final = 50
MAX_URL: Final = 2000
MAX_PEM: Final = 512 * 1024
MAX_PASSWORD: Final = 1024

_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


class ChannelKind(StrEnum):
    EMAIL = "email"
    WEBHOOK = "webhook"


class MailSecurity(StrEnum):
    """How the way to a mail server is protected."""

    STARTTLS = "starttls"  # usually port 587
    TLS = "tls"  # from the first octet, usually port 465; RFC 8314 3.3
    NONE = "none"  # usually port 25; no password is ever sent over it


@dataclass(frozen=True, slots=True)
class EmailFields:
    """Mail by SMTP. `ca_pem` pins the CA of the mail server's certificate; empty means the system's CAs."""

    name: str
    host: str
    sender: str
    recipients: tuple[str, ...]
    port: int = 587
    security: MailSecurity = MailSecurity.STARTTLS
    username: str = ""  # empty: the server takes our mail without a logon
    ca_pem: str = ""
    enabled: bool = True

    @property
    def kind(self) -> ChannelKind:
        return ChannelKind.EMAIL

    @property
    def target(self) -> str:
        """Where it leads, for people."""
        return ", ".join(self.recipients)


@dataclass(frozen=True, slots=True)
class WebhookFields:
    """A signed HTTP POST. `ca_pem` as for mail. Part of the URL may be secret, so only its host is shown in logs."""

    name: str
    url: str
    ca_pem: str = ""
    enabled: bool = True

    @property
    def kind(self) -> ChannelKind:
        return ChannelKind.WEBHOOK

    @property
    def host(self) -> str:
        return (urlsplit(self.url).hostname or "").rstrip(".")

    @property
    def target(self) -> str:
        return self.host


ChannelFields = EmailFields | WebhookFields


@dataclass(frozen=True, slots=True)
class Channel:
    id: int
    fields: ChannelFields
    has_secret: bool
    last_success: datetime | None
    last_error: str
    last_error_when: datetime | None
    created: datetime

    @property
    def name(self) -> str:
        return self.fields.name

    @property
    def kind(self) -> ChannelKind:
        return self.fields.kind


@dataclass(frozen=True, slots=True)
class RuleView:
    """A saved view of the inventory, as it was when the rule was saved: which certificates it holds.

    Args:
        filter: for the inventory alone.
    """

    id: int
    name: str
    filter: str


InView = Callable[[str, int], bool]
"""Does a view's filter hold a certificate of the inventory, by its number?"""


@dataclass(frozen=True, slots=True)
class RuleFields:
    """Which events go to a channel. All filters that are given must match; one of several values is enough.

    A filter on something that an event does not tell (the tag of a CRL) does not match it.

    Args:
        bands: of `certificate-expiring`: upper ends of bands in days; none means all of them.
        view: only events about certificates that it holds when they happen.
    """

    name: str
    channel_id: int
    kinds: tuple[LifecycleKind, ...]
    template: str = ""
    domain: str = ""
    tag: str = ""
    bands: tuple[int, ...] = ()
    enabled: bool = True
    view: RuleView | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    id: int
    fields: RuleFields
    channel_name: str
    created: datetime


class DeliveryState(IntEnum):
    WAITING = 1
    DELIVERED = 2
    GIVEN_UP = 3

    @property
    def word(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A line of the history: an event and what became of telling it."""

    id: int
    kind: LifecycleKind | str  # a kind of a later version stays text
    object: str
    occurred: datetime
    channel_id: int
    channel_name: str
    rule_name: str
    state: DeliveryState
    attempts: int
    next_try: datetime | None
    result: str
    created: datetime
    settled: datetime | None


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Newest first. `before` is the ID of the last line of the page before."""

    channel_id: int | None = None
    state: DeliveryState | None = None
    kind: LifecycleKind | None = None
    before: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """What came of sending a test."""

    ok: bool
    message: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a run of the queue did, and when the next line is due."""

    delivered: int = 0
    failed: int = 0
    given_up: int = 0
    next_due: datetime | None = None


# -- checks ----------------------------------------------------------------------------------------------------------


def key(text: str) -> str:
    """A name as it is compared: NFC, casefolded, blanks squeezed."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def line(text: str, what: str, *, required: bool = True, limit: int = MAX_NAME) -> str:
    """One line of printable text.

    Raises:
        InvalidArgument: it is missing, too long or holds control characters.
    """
    found = text.strip()
    if required and not found:
        raise InvalidArgument(f"{what} is missing; enter one.")
    if len(found) > limit:
        raise InvalidArgument(f"{what} has {len(found)} characters; at most {limit} are allowed.")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in found):
        raise InvalidArgument(f"{what} contains a control character.")
    return found


def address(text: str, what: str) -> str:
    """A mail address as SMTP knows them without extensions. RFC 5321 4.1.2.

    Raises:
        InvalidArgument: it is none.
    """
    found = text.strip()
    if not _ADDRESS.fullmatch(found) or ".." in found:
        raise InvalidArgument(f"{what} {found[:80]!r} is no mail address; write it as pki@corp.example")
    return found


def host(text: str, what: str) -> str:
    """A DNS name or IP address.

    Raises:
        InvalidArgument: it is none.
    """
    found = text.strip().rstrip(".").lower()
    if found.count(":") > 1 and re.fullmatch(r"[0-9a-f:.]{2,45}", found):
        return found
    if not 0 < len(found) <= 253 or not all(_LABEL.fullmatch(label) for label in found.split(".")):
        raise InvalidArgument(f"{what} {found[:80]!r} is no host name; write it as mail.corp.example")
    return found


def port(number: int, what: str) -> int:
    if isinstance(number, bool) or not 1 <= number <= 65535:
        raise InvalidArgument(f"{what} is {number}; it is a number from 1 to 65535.")
    return number


def chosen_bands(bands: Sequence[int]) -> tuple[int, ...]:
    unknown = [band for band in bands if band not in BANDS]
    if unknown:
        known = ", ".join(map(str, BANDS))
        raise InvalidArgument(f"There is no band of {unknown[0]} days; choose among {known}.")
    return tuple(sorted(set(bands)))


def make_key() -> str:
    """A new signing key of 256 bits."""
    return secrets.token_urlsafe(32)


def moment(value: int) -> datetime:
    return datetime.fromtimestamp(value, UTC)


def optional_moment(value: int | None) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(value, UTC)


def seconds(when: datetime) -> int:
    return int(when.timestamp())
