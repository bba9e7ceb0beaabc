"""Questions about the inventory -> SQL that answers within a second at a million rows.

A page is found in one of two ways. When one of the filters lets few rows through, these are fetched and sorted;
else the index of the sort order is walked until the page is full. Which of both, a capped count of each filter
decides (`_driver_of`), not the database's statistics. Pages are cut by key: the last row's sort values are the next
page's start.

A filter on what stands somewhere inside a text has no index to look it up in. It reads an index through instead of
the table, once, up to `FEW` rows: if that is all, those are the rows from then on; if not, so many rows have it that
walking along the order fills a page soon.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from certwright.adcs.errors import InvalidArgument
from certwright.database import Connection, Dialect
from certwright.manager.conditions import (
    DAY,
    Condition,
    Param,
    begins,
    column_filter,
    equals,
    key_held,
    numbered,
    tagged,
)
from certwright.manager.inventory_values import BANDS, MAX_PAGE, WEEKS, CertificateStatus, InventoryQuery, Sort
from certwright.manager.store_inventory import MAX_KEY
from certwright.manager.values import key, seconds, storable

SELECTIVE: Final = 50_000
"""Rows that may be fetched, and sorted where that is wanted, instead of walking over all of them."""
FEW: Final = 500
"""Rows that a filter without an index names one by one, if it lets no more through."""
WEEK: Final = 7 * DAY
OLD: Final = timedelta(days=30)
_MAX_WORDS: Final = 8
_MAX_FILTERS: Final = 20
MAX_IDS: Final = 1000
_MAX_CURSOR: Final = 2000
_HEX: Final = re.compile(r"[0-9a-f]{6,64}")

_SORTS: Final[Mapping[str, tuple[str, ...]]] = {
    "status": ("not_after", "id"),
    "not_after": ("not_after", "id"),
    "not_before": ("not_before", "id"),
    "subject": ("subject_key", "id"),
    "common_name": ("subject_key", "id"),
    "issuer": ("issuer_key", "not_after", "id"),
    "template": ("template_key", "not_after", "id"),
    "owner": ("owner_key", "not_after", "id"),
    "key": ("key_name", "not_after", "id"),
    "source": ("source", "not_after", "id"),
    "serial": ("serial", "id"),
    "sha256": ("sha256",),
    "created": ("id",),
    "id": ("id",),
}
SORTABLE: Final = tuple(_SORTS)


@dataclass(frozen=True, slots=True)
class Where:
    """The filters as SQL, with what keeps the database to the way that was chosen."""

    sql: str
    params: tuple[Param, ...]
    driven: bool  # begins at a filter, so that its rows are sorted afterwards


@dataclass(frozen=True, slots=True)
class Plan:
    """How a question is answered: `page` in the order of the list, `whole` in no order, for counts."""

    page: Where
    whole: Where
    order: tuple[str, ...]
    hint: str

    def columns(self) -> list[str]:
        """The sort columns; where rows are sorted afterwards, SQLite must not walk their index."""
        return [f"{self.hint if self.page.driven else ''}c.{column}" for column in self.order]

    def order_by(self, *, descending: bool) -> str:
        return ", ".join(f"{column}{' DESC' if descending else ''}" for column in self.columns())


def make_plan(connection: Connection, query: InventoryQuery, now: datetime) -> Plan:
    """Choose how a question is answered.

    Raises:
        InvalidArgument: a column, value, band or week that there is not.
    """
    order = _SORTS.get(query.sort.column)
    if order is None:
        raise InvalidArgument(f"{query.sort.column[:80]!r} is no order of the list; there are {', '.join(SORTABLE)}.")
    conditions = [one for each in _conditions(query, now, connection.dialect) for one in _looked_up(connection, each)]
    hint = "+" if connection.dialect == "sqlite" else ""  # SQLite: no index for this term
    measured = _measured(connection, conditions)
    driver = _driver_of(connection, measured, order, query.limit)
    anchor = _anchor(measured) if order == ("not_after", "id") else None
    least = min(measured, key=lambda each: each[1], default=None)
    whole_driver = least[0] if least is not None and least[1] <= SELECTIVE else None
    return Plan(
        page=_where(conditions, driver, anchor, hint, order[0]),
        whole=_where(conditions, whole_driver, None, hint, order[0]),
        order=order,
        hint=hint,
    )


def _where(
    conditions: Sequence[Condition], driver: Condition | None, anchor: Condition | None, hint: str, first: str
) -> Where:
    parts: list[str] = []
    params: list[Param] = []
    for condition in conditions:
        if condition is driver:
            sql, its_params = condition.driven()
            parts.append(f"c.id IN ({sql})")
            params += its_params
            continue
        free = driver is None and (condition is anchor or f"@c.{first} " in condition.sql)
        parts.append(condition.sql.replace("@", "" if free else hint))
        params += condition.params
    return Where(f" WHERE {' AND '.join(parts)}" if parts else "", tuple(params), driver is not None)


def _looked_up(connection: Connection, condition: Condition) -> tuple[Condition, ...]:
    """A condition, and beside it the few rows that it may let through, where it reads an index through."""
    if not condition.scan:
        return (condition,)
    found = [row[0] for row in connection.many(f"{condition.scan} LIMIT {FEW + 1}", condition.scan_params)]
    return (condition,) if len(found) > FEW else (condition, numbered(found))


def _measured(connection: Connection, conditions: Sequence[Condition]) -> list[tuple[Condition, int]]:
    """How many rows each filter with an index lets through, counted up to `SELECTIVE` and one more."""
    found = []
    for condition in conditions:
        if condition.driver:
            sql, params = condition.driven()
            row = connection.one(
                f"SELECT COUNT(*) FROM ({condition.measure or sql} LIMIT {SELECTIVE + 1}) AS x",  # noqa: S608
                params,
            )
            found.append((condition, int(row[0]) if row else 0))
    return found


def _driver_of(
    connection: Connection, measured: Sequence[tuple[Condition, int]], order: tuple[str, ...], limit: int
) -> Condition | None:
    """The filter to start from, or None where it is shorter to walk along the order until a page is full.

    How far that is, is estimated as if the filters had nothing to do with each other.
    """
    row = connection.one("SELECT MAX(id) FROM manager_certificate")
    total = max(1, int(row[0]) if row and row[0] is not None else 1)
    walked = float(limit + 1)
    best: Condition | None = None
    fewest = SELECTIVE + 1
    for condition, count in measured:
        if f"@c.{order[0]} " in condition.sql:  # a part of the order's own index
            continue
        walked *= max(1.0, total / max(1, count))
        if count < fewest:
            best, fewest = condition, count
    return best if best is not None and fewest <= SELECTIVE and fewest < walked else None


def _anchor(measured: Sequence[tuple[Condition, int]]) -> Condition | None:
    """The `column = ?` whose index goes on in the wanted order, the rarest of them."""
    anchors = [each for each in measured if each[0].anchor]
    return min(anchors, key=lambda each: each[1])[0] if anchors else None


# -- filters -----------------------------------------------------------------------------------------------------


def _conditions(query: InventoryQuery, now: datetime, dialect: Dialect) -> list[Condition]:
    at = seconds(now)
    found: list[Condition] = [_word(word, dialect) for word in key(query.text).split()[:_MAX_WORDS]]
    for column, value in (
        ("issuer_key", key(query.issuer)[:MAX_KEY]),
        ("template_key", key(query.template)[:MAX_KEY]),
        ("owner_key", key(query.owner)[:MAX_KEY]),
        ("owner_key", key(query.visible_to)[:MAX_KEY]),
        ("key_name", storable(query.key_name)),
        ("source", query.source.value if query.source is not None else ""),
    ):
        if value:
            found.append(equals(column, value))
    if query.tag:
        found.append(tagged(query.tag))
    if query.status is not None:
        found += _of_status(query.status, at)
    if query.band is not None:
        found += _current(*band_limits(query.band, at))
    if query.week is not None:
        if not 0 <= query.week < WEEKS:
            raise InvalidArgument(f"The timeline has no week {query.week}; it has {WEEKS}, counted from 0.")
        found += _current(at + query.week * WEEK, at + (query.week + 1) * WEEK)
    if query.ids is not None:
        found.append(numbered(query.ids[:MAX_IDS]))
    if query.hide_old:
        found.append(Condition("@c.superseded_by IS NULL"))
        found.append(Condition("@c.not_after >= ?", (at - int(OLD.total_seconds()),)))
    if query.managed is not None:
        found.append(Condition("@c.managed = ?", (query.managed,)))
    if query.is_ca is not None:
        found.append(_authority(query.is_ca))
    if query.key_held is not None:
        found.append(key_held(query.key_held))
    if len(query.filters) > _MAX_FILTERS:
        raise InvalidArgument(f"{len(query.filters)} filters are too many; at most {_MAX_FILTERS} are taken.")
    for each in query.filters:
        found += column_filter(each, dialect)
    return found


def band_limits(band: int, at: int) -> tuple[int, int]:
    """First and last second (exclusive) at which what is in a band ends: days left are rounded down.

    Raises:
        InvalidArgument: there is no such band.
    """
    if band not in BANDS:
        raise InvalidArgument(f"There is no expiry band {band}; there are {', '.join(map(str, BANDS))} days.")
    position = BANDS.index(band)
    first = at + 1 if position == 0 else at + (BANDS[position - 1] + 1) * DAY
    return first, at + (band + 1) * DAY


def _current(first: int, end: int) -> list[Condition]:
    """Ends in [first, end), and neither revoked nor superseded."""
    limits = (first, end)
    driver = (
        "SELECT id FROM manager_certificate"
        " WHERE revoked IS NULL AND superseded_by IS NULL AND not_after >= ? AND not_after < ?"
    )
    return [
        Condition("@c.revoked IS NULL AND @c.superseded_by IS NULL"),
        Condition("@c.not_after >= ? AND @c.not_after < ?", limits, driver),
    ]


def _of_status(status: CertificateStatus, at: int) -> list[Condition]:
    soon = at + (BANDS[-1] + 1) * DAY
    match status:
        case CertificateStatus.ACTIVE:
            return _current(soon, 2**62)
        case CertificateStatus.EXPIRING:
            return _current(at + 1, soon)
        case CertificateStatus.EXPIRED:
            return _current(-(2**62), at + 1)
        case CertificateStatus.REVOKED:
            return [
                Condition(
                    "@c.revoked IS NOT NULL", (), "SELECT id FROM manager_certificate WHERE revoked IS NOT NULL"
                )
            ]
        case CertificateStatus.SUPERSEDED:
            return [
                Condition("@c.revoked IS NULL"),
                Condition(
                    "@c.superseded_by IS NOT NULL",
                    (),
                    "SELECT id FROM manager_certificate WHERE superseded_by IS NOT NULL",
                ),
            ]


def _word(word: str, dialect: Dialect) -> Condition:
    """One of the names begins with a word, or it is the beginning of a serial number or thumbprint."""
    named = begins(word, dialect)
    sql, driver, limits = named.sql, named.driver, named.params
    digits = word.replace(":", "")
    if not _HEX.fullmatch(digits):
        return named
    for column in ("serial", "sha1", "sha256"):
        sql += f" OR @c.{column} >= ? AND @c.{column} < ?"
        driver += f" UNION SELECT id FROM manager_certificate WHERE {column} >= ? AND {column} < ?"  # noqa: S608
        limits += (digits, digits + "g")
    return Condition(f"({sql})", limits, driver)


def _authority(wanted: bool) -> Condition:
    if not wanted:
        return Condition("@c.is_ca = ?", (False,))
    return Condition("@c.is_ca = ?", (True,), "SELECT id FROM manager_certificate WHERE is_ca", ())


# -- pages by key ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: after (or, backward, before) the row with these sort values."""

    backward: bool
    values: tuple[int | str, ...]

    def encode(self, sort: Sort) -> str:
        text = json.dumps([sort.column, sort.descending, self.backward, *self.values])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, sort: Sort) -> Cursor | None:
        """None without text.

        Raises:
            InvalidArgument: it is no cursor of this sort order.
        """
        if not text:
            return None
        try:
            if len(text) > _MAX_CURSOR:
                raise ValueError("too long")
            column, descending, backward, *values = json.loads(
                base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            )
            order = _SORTS[column]
            whole = [name == "id" or name.startswith("not_") for name in order]
            fits = len(values) == len(order) and all(map(_fits, values, whole))
            if not fits or (column, descending) != (sort.column, sort.descending) or not isinstance(backward, bool):
                raise ValueError("another order")
        except (ValueError, KeyError, TypeError, binascii.Error, RecursionError) as error:
            raise InvalidArgument(
                "This page does not belong to this list any more; begin at the first one."
            ) from error
        return cls(backward, tuple(values))


def _fits(value: object, number: bool) -> bool:
    if number:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return isinstance(value, str) and value == storable(value)


def page_ids(connection: Connection, plan: Plan, query: InventoryQuery) -> tuple[list[int], str, str]:
    """The IDs of a page, with the cursors of the next and the previous page.

    Raises:
        InvalidArgument: the cursor belongs to another list, or the page would be too long.
    """
    if not 1 <= query.limit <= MAX_PAGE:
        raise InvalidArgument(f"A page has 1 to {MAX_PAGE} rows, not {query.limit}.")
    cursor = Cursor.decode(query.cursor, query.sort)
    backward = cursor is not None and cursor.backward
    descending = query.sort.descending != backward
    where, params = plan.page.sql, list(plan.page.params)
    if cursor is not None:
        left = ", ".join(plan.columns())
        marks = ", ".join("?" * len(plan.order))
        where += f"{' AND' if where else ' WHERE'} ({left}) {'<' if descending else '>'} ({marks})"
        params += cursor.values
    rows: list[Any] = connection.many(
        f"SELECT c.id, {', '.join(f'c.{column}' for column in plan.order)} FROM manager_certificate c{where}"  # noqa: S608
        f" ORDER BY {plan.order_by(descending=descending)} LIMIT {query.limit + 1}",
        params,
    )
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    if backward:
        rows.reverse()
    if not rows:
        return [], "", ""
    has_next = more if not backward else True
    has_previous = more if backward else cursor is not None
    following = Cursor(False, tuple(rows[-1][1:])).encode(query.sort) if has_next else ""
    preceding = Cursor(True, tuple(rows[0][1:])).encode(query.sort) if has_previous else ""
    return [row[0] for row in rows], following, preceding


def count(connection: Connection, plan: Plan, limit: int) -> int:
    """How many there are; `limit` + 1 when there are more."""
    row = connection.one(
        f"SELECT COUNT(*) FROM (SELECT 1 FROM manager_certificate c{plan.whole.sql} LIMIT {limit + 1}) AS x",  # noqa: S608
        plan.whole.params,
    )
    return int(row[0]) if row else 0
