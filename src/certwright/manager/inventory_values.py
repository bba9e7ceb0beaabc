"""What the inventory speaks of: certificates, questions about them, and answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

MAX_COUNT: Final = 10_000
"""Where counting ends: a larger count reads "more than 10,000"."""
MAX_PAGE: Final = 500
BANDS: Final = (7, 30, 90)
"""Days: the upper ends of the expiry bands 0-7, 8-30, 31-90."""
WEEKS: Final = 26
"""Bars of the expiry timeline."""

T = TypeVar("T")


class CertificateStatus(StrEnum):
    ACTIVE = "active"  # more than 90 days
    EXPIRING = "expiring"  # 90 days or less
    EXPIRED = "expired"
    REVOKED = "revoked"
    SUPERSEDED = "superseded"  # a newer certificate took its place


class Source(StrEnum):
    """How a certificate came here."""

    ORDER = "order"
    CHAIN = "chain"  # came with another one
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """A certificate as lists show it."""

    id: int
    subject: str
    common_name: str
    names: str  # `DNS:a, DNS:b`
    issuer: str
    serial: str
    template: str
    not_before: datetime
    not_after: datetime
    key_name: str
    key_held: bool
    managed: bool  # else monitored
    source: Source
    owner: str
    tags: tuple[str, ...]
    sha1: str
    sha256: str
    spki_sha256: str
    purposes: str
    is_ca: bool
    revoked: datetime | None
    revoked_reason: str
    superseded_by: int | None
    renewal: str  # "", "ordered", "renewed", "failed: why"
    renewal_order: int | None
    order_id: int | None
    service_id: int | None
    domain: str
    created: datetime
    created_by: str

    def status(self, now: datetime) -> CertificateStatus:
        if self.revoked is not None:
            return CertificateStatus.REVOKED
        if self.superseded_by is not None:
            return CertificateStatus.SUPERSEDED
        if self.not_after <= now:
            return CertificateStatus.EXPIRED
        soon = self.not_after - now < timedelta(days=BANDS[-1] + 1)
        return CertificateStatus.EXPIRING if soon else CertificateStatus.ACTIVE

    def days_left(self, now: datetime) -> int:
        """Whole days until it ends, rounded down; negative afterwards."""
        return (self.not_after - now).days


@dataclass(frozen=True, slots=True)
class CertificateDetails:
    """A certificate's page: `chain` is what is above it in the inventory, nearest first (DER)."""

    row: CertificateRow
    der: bytes
    chain: tuple[bytes, ...]
    history: tuple[CertificateLine, ...]


@dataclass(frozen=True, slots=True)
class CertificateLine:
    when: datetime
    actor: str
    text: str


class Operator(StrEnum):
    IS = "is"
    CONTAINS = "contains"
    BEGINS = "begins"
    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class ColumnFilter:
    """A filter on any column. Times and numbers as ISO 8601 text and digits, booleans as `true` or `false`."""

    column: str
    operator: Operator
    value: str


@dataclass(frozen=True, slots=True)
class Sort:
    column: str = "not_after"
    descending: bool = False


@dataclass(frozen=True, slots=True)
class InventoryQuery:
    """A question about the inventory. Nothing is left out that no filter leaves out.

    Args:
        text: words; each begins a name, or a domain a name ends in, or is hex of a serial number or thumbprint.
        band: upper end of one of `BANDS`: valid, and at most so many days left.
        week: number of a bar of the timeline, from 0.
        hide_old: leave out what is superseded, or expired for 30 days.
        ids: only these numbers.
        owner: exactly this one; `visible_to` the same, for those who may see only their own.
        cursor: from a page before.
    """

    text: str = ""
    status: CertificateStatus | None = None
    band: int | None = None
    week: int | None = None
    issuer: str = ""
    template: str = ""
    owner: str = ""
    visible_to: str = ""
    tag: str = ""
    key_name: str = ""
    source: Source | None = None
    managed: bool | None = None
    key_held: bool | None = None
    is_ca: bool | None = None
    hide_old: bool = False
    ids: tuple[int, ...] | None = None
    filters: tuple[ColumnFilter, ...] = ()
    sort: Sort = Sort()
    cursor: str = ""
    limit: int = 25

    @property
    def as_text(self) -> str:
        """What it filters by, as JSON; neither whose it is nor which page."""
        usual = InventoryQuery()
        told: dict[str, Any] = {
            name: value for name in _KEPT if (value := getattr(self, name)) != getattr(usual, name)
        }
        if self.filters:
            told["filters"] = [[each.column, each.operator.value, each.value] for each in self.filters]
        return json.dumps(told, ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> InventoryQuery:
        """Raises:
        ValueError: it is none.
        """
        told = json.loads(text)
        filters = tuple(
            ColumnFilter(column, Operator(word), value) for column, word, value in told.pop("filters", ())
        )
        if not told.keys() <= set(_KEPT):
            raise ValueError("a filter of another version")
        if "status" in told:
            told["status"] = CertificateStatus(told["status"])
        if "source" in told:
            told["source"] = Source(told["source"])
        return cls(**told, filters=filters)


_KEPT: Final = (
    *("text", "status", "band", "week", "issuer", "template", "owner", "tag", "key_name"),
    *("source", "managed", "key_held", "is_ca", "hide_old"),
)
"""Members of a query that filter, but for those on any column."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list: at most `MAX_COUNT` are counted, and `count` is None where nobody asked for it.

    `next` and `previous` are cursors; empty where there is no such page.
    """

    rows: tuple[T, ...]
    count: int | None
    next: str
    previous: str

    @property
    def more_than_counted(self) -> bool:
        return self.count is not None and self.count > MAX_COUNT


@dataclass(frozen=True, slots=True)
class Band:
    """An expiry band: `first` to `last` days left."""

    first: int
    last: int
    total: int
    with_renewal: int  # a renewal is ordered, or a rule will order one

    @property
    def without_renewal(self) -> int:
        return self.total - self.with_renewal


@dataclass(frozen=True, slots=True)
class Week:
    """A bar of the expiry timeline."""

    number: int
    starts: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A value that filters offer, and how many certificates have it (at most `MAX_COUNT`)."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of each of many rows: an act on many is acted on each by itself."""

    done: tuple[int, ...]
    refused: Mapping[int, str]
