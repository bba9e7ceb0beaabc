"""Filters of the inventory as SQL: what each lets through, and along which index that is found.

`sql` is about a certificate `c`; `@c.` stands for its column, with or without what keeps the database from using an
index for it. How a list is put together from them is `listing`'s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from certwright.adcs.errors import InvalidArgument
from certwright.database import Dialect
from certwright.manager.inventory_values import ColumnFilter, Operator
from certwright.manager.store_inventory import MAX_KEY
from certwright.manager.values import key, seconds, storable

DAY: Final = 86_400
_LAST: Final = "\U0010ffff"
_KIND: Final = re.compile(r"^(?:DNS|IP|URI|UPN|EMAIL):\s*", re.IGNORECASE)

Param = int | float | str | bytes | None

_TEXTS: Final = {
    "subject": "subject",
    "common_name": "common_name",
    "names": "names",
    "issuer": "issuer",
    "template": "template",
    "owner": "owner",
    "serial": "serial",
    "key": "key_name",
    "sha1": "sha1",
    "sha256": "sha256",
    "purposes": "purposes",
    "source": "source",
    "created_by": "created_by",
    "domain": "domain",
    "revoked_reason": "revoked_reason",
}
_KEYS: Final = {"issuer": "issuer_key", "template": "template_key", "owner": "owner_key"}
_COVERED: Final = {**_KEYS, "subject": "subject_key", "common_name": "subject_key"}
"""Columns whose compared form stands in an index; the common name is a part of the subject's."""
_HEXADECIMAL: Final = ("serial", "sha1", "sha256")
_INDEXED: Final = ("key", "source")
_TIMES: Final = ("not_before", "not_after", "created", "revoked")
_NUMBERS: Final = ("id", "order_id", "service_id", "superseded_by")
_FLAGS: Final = ("managed", "is_ca")
COLUMNS: Final = (*_TEXTS, *_TIMES, *_NUMBERS, *_FLAGS, "tag", "key_held")
"""What `ColumnFilter` takes."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter. In `sql`, `@c.` is the certificate's column, with or without what keeps an index from being used.

    `driver` selects the IDs of what it lets through, along an index of its own.
    """

    sql: str
    params: tuple[Param, ...] = ()
    driver: str = ""
    driver_params: tuple[Param, ...] | None = None
    measure: str = ""  # has about as many rows as the driver, for less
    scan: str = ""  # selects the IDs of all that it may let through, by reading an index through
    scan_params: tuple[Param, ...] = ()
    anchor: bool = False  # `column = ?` with an index that goes on with not_after, id

    def driven(self) -> tuple[str, tuple[Param, ...]]:
        return self.driver, self.params if self.driver_params is None else self.driver_params


def equals(column: str, value: str) -> Condition:
    return Condition(
        f"@c.{column} = ?",
        (value,),
        f"SELECT id FROM manager_certificate WHERE {column} = ?",  # noqa: S608
        anchor=True,
    )


def tagged(tag: str) -> Condition:
    return Condition(
        "EXISTS (SELECT 1 FROM manager_certificate_tag t WHERE t.certificate_id = c.id AND t.tag_key = ?)",
        (key(tag),),
        "SELECT certificate_id FROM manager_certificate_tag WHERE tag_key = ?",
    )


def key_held(wanted: bool) -> Condition:
    sql = "EXISTS (SELECT 1 FROM manager_private_key k WHERE k.spki_sha256 = c.spki_sha256)"
    if not wanted:
        return Condition(f"NOT {sql}")
    return Condition(
        sql,
        (),
        "SELECT h.id FROM manager_private_key k JOIN manager_certificate h ON h.spki_sha256 = k.spki_sha256",
        measure="SELECT id FROM manager_private_key",
    )


def numbered(ids: Sequence[int]) -> Condition:
    """Exactly these rows."""
    marks = ", ".join("?" * len(ids)) or "NULL"
    return Condition(
        f"@c.id IN ({marks})",
        tuple(ids),
        f"SELECT id FROM manager_certificate WHERE id IN ({marks})",  # noqa: S608
    )


def begins(word: str, dialect: Dialect) -> Condition:
    """One of the names begins with a word."""
    limits = (word[:MAX_KEY], word[:MAX_KEY] + _LAST)
    # by octets, as the index is ordered, whatever the database's language sorts like
    begins = "{} >= ? AND {} < ?" if dialect == "sqlite" else "{} ~>=~ ? AND {} ~<~ ?"
    in_names = begins.format("name_key", "name_key")
    of_row = f"n.certificate_id = c.id AND {begins.format('n.name_key', 'n.name_key')}"
    return Condition(
        f"EXISTS (SELECT 1 FROM manager_certificate_name n WHERE {of_row})",  # noqa: S608
        limits,
        f"SELECT certificate_id FROM manager_certificate_name WHERE {in_names}",  # noqa: S608
    )


# -- a filter on any column ------------------------------------------------------------------------------------------


def column_filter(each: ColumnFilter, dialect: Dialect) -> tuple[Condition, ...]:
    """What has to hold for one filter.

    Raises:
        InvalidArgument: there is no such column, or it cannot be compared like that.
    """
    column, operator, value = each.column, each.operator, storable(each.value).strip()
    if column in _TEXTS:
        return _text_filter(column, operator, value, dialect)
    return (_other_filter(column, operator, value),)


def _other_filter(column: str, operator: Operator, value: str) -> Condition:
    if column == "tag" and operator is Operator.IS:
        return tagged(value)
    if column in _TIMES:
        return _time_filter(column, operator, value)
    if column in _NUMBERS and operator is Operator.IS:
        if not value.isdecimal() or len(value) > 18:
            raise InvalidArgument(f"{column} is compared with a number, not with {value[:80]!r}.")
        return Condition(f"@c.{column} = ?", (int(value),))
    if column in (*_FLAGS, "key_held") and operator is Operator.IS:
        wanted = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(value.lower())
        if wanted is None:
            raise InvalidArgument(f"{column} is true or false, not {value[:80]!r}.")
        return key_held(wanted) if column == "key_held" else Condition(f"@c.{column} = ?", (wanted,))
    if column not in COLUMNS:
        raise InvalidArgument(f"The inventory has no column {column[:80]!r}; it has {', '.join(COLUMNS)}.")
    raise InvalidArgument(f"{column} cannot be filtered with {operator.value!r}.")


def _text_filter(column: str, operator: Operator, value: str, dialect: Dialect) -> tuple[Condition, ...]:
    if operator not in (Operator.IS, Operator.CONTAINS, Operator.BEGINS):
        raise InvalidArgument(f"{column} is text; it cannot be filtered with {operator.value!r}.")
    if column in _HEXADECIMAL:
        return (_hex_filter(column, operator, re.sub(r"[:\s]", "", value).lower()),)
    if operator is not Operator.IS and column == "names":
        return (_name_filter(operator, value, dialect),)
    if operator is Operator.IS and column in _KEYS:
        return (equals(_KEYS[column], key(value)[:MAX_KEY]),)
    if operator is Operator.IS and column in _INDEXED:
        name = _TEXTS[column]
        return (Condition(f"@c.{name} = ?", (value,), f"SELECT id FROM manager_certificate WHERE {name} = ?"),)  # noqa: S608
    exact = _compared(_TEXTS[column], operator, value)
    if operator is not Operator.CONTAINS and column == "common_name":  # it is among the names, which have an index
        return (begins(key(value), dialect), exact)
    return (exact,) if operator is Operator.IS else (_read_through(exact, column, operator, value),)


def _compared(column: str, operator: Operator, value: str) -> Condition:
    if operator is Operator.IS:
        return Condition(f"LOWER(@c.{column}) = LOWER(?)", (value,))
    pattern = f"{_escaped(value)}%" if operator is Operator.BEGINS else f"%{_escaped(value)}%"
    return Condition(f"LOWER(@c.{column}) LIKE LOWER(?) ESCAPE '\\'", (pattern,))


def _read_through(exact: Condition, column: str, operator: Operator, value: str) -> Condition:
    """Where the column's compared form stands in an index, that is read through faster than the table."""
    compared = _COVERED.get(column)
    if compared is None:
        return exact
    inside = (f"%{_escaped(key(value))}%",)
    scan = f"SELECT id FROM manager_certificate WHERE {compared} LIKE ? ESCAPE '\\'"  # noqa: S608
    if column == "common_name" or operator is Operator.BEGINS:  # the index lets a little more through
        return replace(exact, scan=scan, scan_params=inside)
    return Condition(f"@c.{compared} LIKE ? ESCAPE '\\'", inside, scan=scan, scan_params=inside)


def _hex_filter(column: str, operator: Operator, value: str) -> Condition:
    """Serial numbers and thumbprints: how they begin is looked up, what stands inside is read through."""
    if operator is Operator.CONTAINS:
        inside = (f"%{_escaped(value)}%",)
        scan = f"SELECT id FROM manager_certificate WHERE {column} LIKE ? ESCAPE '\\'"  # noqa: S608
        return Condition(f"@c.{column} LIKE ? ESCAPE '\\'", inside, scan=scan, scan_params=inside)
    sql, params = f"@c.{column} = ?", (value,)
    if operator is Operator.BEGINS:
        sql, params = f"@c.{column} >= ? AND @c.{column} < ?", (value, value + "g")  # type: ignore[assignment]
    return Condition(sql, params, f"SELECT id FROM manager_certificate WHERE {sql.replace('@c.', '')}")  # noqa: S608


def _name_filter(operator: Operator, value: str, dialect: Dialect) -> Condition:
    """Names: one of them begins with the value, or holds it. `DNS:` and the like may stand before it."""
    wanted = key(_KIND.sub("", value))[:MAX_KEY]
    if operator is Operator.BEGINS:
        return begins(wanted, dialect)
    inside = (f"%{_escaped(wanted)}%",)
    return Condition(
        "EXISTS (SELECT 1 FROM manager_certificate_name n WHERE n.certificate_id = c.id"
        " AND n.name_key LIKE ? ESCAPE '\\')",
        inside,
        scan="SELECT DISTINCT certificate_id FROM manager_certificate_name WHERE name_key LIKE ? ESCAPE '\\'",
        scan_params=inside,
    )


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


def _time_filter(column: str, operator: Operator, value: str) -> Condition:
    try:
        when = datetime.fromisoformat(value)
    except ValueError as error:
        raise InvalidArgument(
            f"{value[:80]!r} is no time; write it as 2026-03-01 or 2026-03-01T12:00:00Z."
        ) from error
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    at = seconds(when)
    limits: tuple[Param, ...]
    match operator:
        case Operator.BEFORE:
            sql, limits = f"@c.{column} < ?", (at,)
        case Operator.AFTER:
            sql, limits = f"@c.{column} > ?", (at,)
        case Operator.IS:
            sql, limits = f"@c.{column} >= ? AND @c.{column} < ?", (at, at + (DAY if len(value) == 10 else 1))
        case _:
            raise InvalidArgument(f"{column} is a time; it can be before, after or on a day.")
    if column in ("not_after", "not_before"):
        plain = sql.replace("@c.", "")
        return Condition(sql, limits, f"SELECT id FROM manager_certificate WHERE {plain}")  # noqa: S608
    return Condition(sql, limits)
