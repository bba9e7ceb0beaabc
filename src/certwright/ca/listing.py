"""Views of the CA database: columns, restrictions and sort order -> SQL. [MS-CSRA] 3.1.4.1.12 (OpenView).

Column names are Microsoft's in snake case. Every name comes from the lists below and every value goes in as a
parameter. Lists are made to be paged by key: `request_id > last`, sorted by request ID, with a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.interfaces import Comparison, Restriction, Sort, Table
from certwright.adcs.roles import RevocationReason
from certwright.ca.database import RequestState
from certwright.ca.rows import MAX_REQUEST_ID, reason_of, row_id, state_of, status_of
from certwright.database import Dialect, Row

_INT64: Final = 2**63 - 1


class _Kind(Enum):
    TEXT = "text"
    NUMBER = "number"
    TIME = "time"
    REQUEST_ID = "request ID"
    STATE = "disposition"
    STATUS = "HRESULT"
    REASON = "revocation reason"
    SERIAL = "serial number"


@dataclass(frozen=True, slots=True)
class _Column:
    sql: str
    kind: _Kind
    begins: bool = False  # an index holds its first 64 characters

    @property
    def of_certificate(self) -> bool:
        return self.sql.startswith("c.")


_REQUEST_COLUMNS: Final[Mapping[str, _Column]] = {
    "request_id": _Column("r.id", _Kind.REQUEST_ID),
    "disposition": _Column("r.state", _Kind.STATE),
    "status": _Column("r.status", _Kind.STATUS),
    "message": _Column("r.message", _Kind.TEXT),
    "submitted_when": _Column("r.submitted_when", _Kind.TIME),
    "resolved_when": _Column("r.resolved_when", _Kind.TIME),
    "requester": _Column("r.requester_name", _Kind.TEXT, begins=True),
    "requester_sid": _Column("r.requester_sid", _Kind.TEXT),
    "caller": _Column("r.caller_name", _Kind.TEXT),
    "caller_sid": _Column("r.caller_sid", _Kind.TEXT),
    "method": _Column("r.caller_method", _Kind.TEXT),
    "request_type": _Column("r.request_type", _Kind.NUMBER),
    "request_flags": _Column("r.request_flags", _Kind.NUMBER),
    "attributes": _Column("r.attributes", _Kind.TEXT),
    "template": _Column("r.template", _Kind.TEXT),
    "template_oid": _Column("r.template_oid", _Kind.TEXT),
    "subject": _Column("r.subject", _Kind.TEXT),
    "common_name": _Column("r.common_name", _Kind.TEXT, begins=True),
    "alternative_names": _Column("r.alternative_names", _Kind.TEXT),
    "key_algorithm": _Column("r.key_algorithm", _Kind.TEXT),
    "key_size": _Column("r.key_size", _Kind.NUMBER),
    "officer": _Column("r.officer", _Kind.TEXT),
    "serial_number": _Column("c.serial_number", _Kind.SERIAL),
    "not_before": _Column("c.not_before", _Kind.TIME),
    "not_after": _Column("c.not_after", _Kind.TIME),
    "ski": _Column("c.subject_key_identifier", _Kind.TEXT),
    "sha1": _Column("c.sha1", _Kind.TEXT),
    "ca_certificate_index": _Column("c.ca_certificate_index", _Kind.NUMBER),
    "ca_key_index": _Column("c.ca_key_index", _Kind.NUMBER),
    "revoked_when": _Column("c.revoked_when", _Kind.TIME),
    "revoked_effective": _Column("c.revoked_effective", _Kind.TIME),
    "revoked_reason": _Column("c.revoked_reason", _Kind.REASON),
}
_CRL_COLUMNS: Final[Mapping[str, _Column]] = {
    "number": _Column("l.number", _Kind.NUMBER),
    "min_base": _Column("l.min_base", _Kind.NUMBER),
    "key_index": _Column("l.key_index", _Kind.NUMBER),
    "partition": _Column("l.crl_partition", _Kind.NUMBER),
    "this_update": _Column("l.this_update", _Kind.TIME),
    "next_update": _Column("l.next_update", _Kind.TIME),
    "next_publish": _Column("l.next_publish", _Kind.TIME),
    "entry_count": _Column("l.entry_count", _Kind.NUMBER),
    "size": _Column("(SELECT LENGTH(d.der) FROM ca_crl_der d WHERE d.id = l.id)", _Kind.NUMBER),  # in octets
    "published_when": _Column("l.published_when", _Kind.TIME),
    "publish_error": _Column("l.publish_error", _Kind.TEXT),
}

_REQUEST: Final = ("request_id", "disposition", "requester", "caller", "template", "common_name", "alternative_names")
USUAL_COLUMNS: Final[Mapping[Table, Sequence[str]]] = {
    Table.REQUESTS: (*_REQUEST, "serial_number", "submitted_when", "resolved_when", "status", "message"),
    Table.PENDING_REQUESTS: (*_REQUEST, "subject", "submitted_when", "message"),
    Table.FAILED_REQUESTS: (*_REQUEST, "submitted_when", "resolved_when", "status", "message"),
    Table.ISSUED_CERTIFICATES: (*_REQUEST, "serial_number", "not_before", "not_after"),
    Table.REVOKED_CERTIFICATES: (
        *_REQUEST,
        "serial_number",
        "not_after",
        "revoked_when",
        "revoked_effective",
        "revoked_reason",
    ),
    Table.CRLS: tuple(_CRL_COLUMNS),
}
"""What a view shows when no columns are named."""

# Literals, not parameters: only so does a planner see that a partial index applies.
_STATES: Final[Mapping[Table, str]] = {
    Table.PENDING_REQUESTS: f"r.state = {int(RequestState.PENDING)}",
    Table.FAILED_REQUESTS: f"r.state >= {int(RequestState.ERROR)}",
    Table.ISSUED_CERTIFICATES: f"r.state = {int(RequestState.ISSUED)} AND c.revoked_when IS NULL",
    Table.REVOKED_CERTIFICATES: f"r.state = {int(RequestState.REVOKED)} AND c.revoked_when IS NOT NULL",
}
# The state says it alone, and an index has when and by which template: no row is read.
_COUNTED_IN_AN_INDEX: Final[Mapping[Table, str]] = {
    Table.ISSUED_CERTIFICATES: f"r.state = {int(RequestState.ISSUED)}",
    Table.FAILED_REQUESTS: _STATES[Table.FAILED_REQUESTS],
}
_WITH_CERTIFICATE: Final = (Table.ISSUED_CERTIFICATES, Table.REVOKED_CERTIFICATES)

_WORDS: Final = {state.name.lower(): state for state in RequestState}


@dataclass(frozen=True, slots=True)
class Listing:
    """A view as one SQL statement, and how a result row becomes a view row."""

    sql: str
    params: tuple[int | str, ...]
    columns: tuple[str, ...]
    _readers: tuple[Callable[[Any], object], ...]

    def row(self, values: Row) -> Mapping[str, object]:
        return {
            name: None if value is None else read(value)
            for name, read, value in zip(self.columns, self._readers, values, strict=True)
        }


def make_listing(
    ca_id: int,
    dialect: Dialect,
    table: Table,
    where: Sequence[Restriction],
    columns: Sequence[str],
    sort: Sort | None,
    limit: int | None,
) -> Listing:
    """The statement for a view of one CA.

    Raises:
        InvalidArgument: a column that the table does not have, a value that does not fit its column, a bad limit.
    """
    known = _CRL_COLUMNS if table is Table.CRLS else _REQUEST_COLUMNS
    names = tuple(columns) or tuple(USUAL_COLUMNS[table])
    chosen = [_column(known, name) for name in names]
    conditions: list[str] = []
    params: list[int | str] = []
    restricted = [_column(known, restriction.column) for restriction in where]
    if table is Table.CRLS:
        conditions.append("l.ca_id = ?")
        params.append(ca_id)
    else:
        bound, params = _bound_to_ca(ca_id, where, restricted, table in _WITH_CERTIFICATE)
        conditions.append(bound)
        if table in _STATES:
            conditions.append(_STATES[table])
    for restriction, column in zip(where, restricted, strict=True):
        if column.kind is not _Kind.REQUEST_ID:  # those are the bounds
            _restrict(dialect, restriction, column, conditions, params)
    order_by = _order(known, table, sort, dialect)
    sort_column = _column(known, sort.column) if sort else None
    joined = table in _WITH_CERTIFICATE or any(
        column.of_certificate for column in (*chosen, *restricted, *([sort_column] if sort_column else []))
    )
    tail = ""
    if limit is not None:
        if not 0 < limit <= _INT64:
            raise InvalidArgument("the limit must be a positive number")
        tail = " LIMIT ?"
        params.append(limit)
    sql = (
        f"SELECT {', '.join(column.sql for column in chosen)} FROM {_source(table, joined)}"  # noqa: S608
        f" WHERE {' AND '.join(conditions)} ORDER BY {order_by}{tail}"
    )
    return Listing(sql, tuple(params), names, tuple(_READERS[column.kind] for column in chosen))


def make_count(
    ca_id: int, dialect: Dialect, table: Table, where: Sequence[Restriction], by: str
) -> tuple[str, tuple[int | str, ...], Callable[[Any], object]]:
    """The statement that counts the rows of a view by the values of a column, and what reads such a value.

    Raises:
        InvalidArgument: a column that requests do not have, a value that does not fit its column.
    """
    if table is Table.CRLS:
        raise InvalidArgument("CRLs are not counted by a column")
    column = _column(_REQUEST_COLUMNS, by)
    restricted = [_column(_REQUEST_COLUMNS, restriction.column) for restriction in where]
    joined = any(each.of_certificate for each in (column, *restricted))
    conditions: list[str] = []
    params: list[int | str] = []
    if table in _COUNTED_IN_AN_INDEX and not joined and column.kind is not _Kind.REQUEST_ID:
        conditions += [_COUNTED_IN_AN_INDEX[table], "r.ca_id = ?"]
        params.append(ca_id)
        if any(each.kind is _Kind.REQUEST_ID for each in restricted):
            low, high = _bounds(ca_id, where)
            conditions.append("r.id > ? AND r.id < ?")
            params += [low, high]
    else:
        joined = joined or table in _WITH_CERTIFICATE
        bound, params = _bound_to_ca(ca_id, where, restricted, joined and table in _WITH_CERTIFICATE)
        conditions.append(bound)
        if table in _STATES:
            conditions.append(_STATES[table])
    for restriction, of in zip(where, restricted, strict=True):
        if of.kind is not _Kind.REQUEST_ID:
            _restrict(dialect, restriction, of, conditions, params)
    sql = (
        f"SELECT {column.sql}, COUNT(*) FROM {_source(table, joined) if joined else 'ca_request r'}"  # noqa: S608
        f" WHERE {' AND '.join(conditions)} GROUP BY {column.sql}"
    )
    return sql, tuple(params), _READERS[column.kind]


def _source(table: Table, joined: bool) -> str:
    if table is Table.CRLS:
        return "ca_crl l"
    if table in _WITH_CERTIFICATE:
        return "ca_request r JOIN ca_certificate c ON c.id = r.id"
    return "ca_request r LEFT JOIN ca_certificate c ON c.id = r.id" if joined else "ca_request r"


def _bounds(ca_id: int, where: Sequence[Restriction]) -> tuple[int, int]:
    """The keys between which (exclusive) the rows lie: this CA's, and what is asked of the request ID."""
    least, most = 1, MAX_REQUEST_ID
    for restriction in where:
        if restriction.column != "request_id":
            continue
        number = min(max(_number("request_id", restriction.value), -1), MAX_REQUEST_ID + 1)
        match restriction.comparison:
            case Comparison.EQUAL:
                least, most = max(least, number), min(most, number)
            case Comparison.GREATER:
                least = max(least, number + 1)
            case Comparison.GREATER_OR_EQUAL:
                least = max(least, number)
            case Comparison.LESS:
                most = min(most, number - 1)
            case Comparison.LESS_OR_EQUAL:
                most = min(most, number)
    return row_id(ca_id, 0) + least - 1, row_id(ca_id, 0) + most + 1


def _bound_to_ca(
    ca_id: int, where: Sequence[Restriction], restricted: Sequence[_Column], certificates: bool
) -> tuple[str, list[int | str]]:
    """Keep to this CA's rows, in the way that leads to the index the restrictions want."""
    kinds = {column.kind for column in restricted}
    if _Kind.REQUEST_ID not in kinds:
        if any(column.of_certificate for column in restricted):
            return "c.ca_id = ?", [ca_id]
        if any(
            column.begins and restriction.comparison is not Comparison.CONTAINS  # which no index helps
            for restriction, column in zip(where, restricted, strict=True)
        ):
            return "r.ca_id = ?", [ca_id]
    low, high = _bounds(ca_id, where)
    if certificates:  # said twice, or a planner that merges both tables reads one of them from its beginning
        return "r.id > ? AND r.id < ? AND c.id > ? AND c.id < ?", [low, high, low, high]
    return "r.id > ? AND r.id < ?", [low, high]


def _restrict(
    dialect: Dialect,
    restriction: Restriction,
    column: _Column,
    conditions: list[str],
    params: list[int | str],
) -> None:
    value = _value(restriction, column)
    if restriction.comparison is Comparison.CONTAINS:
        if column.kind not in (_Kind.TEXT, _Kind.SERIAL):
            raise InvalidArgument(f"{restriction.column} is no text that could contain something")
        position = "STRPOS" if dialect == "postgresql" else "INSTR"
        conditions.append(f"{position}(LOWER({column.sql}), LOWER(?)) > 0")
        value = _sought(restriction.value, column)
    elif restriction.comparison is not Comparison.EQUAL:
        conditions.append(f"{_ordered(column, dialect)} {restriction.comparison.value} ?")
    elif not column.begins:
        conditions.append(f"{column.sql} = ?")
    else:
        # As the index was made; and the whole value besides, which SQLite must not see as a plain column: it would
        # put the constant in place of the column in the first condition, and no longer recognise its index.
        begin, whole = ("SUBSTRING", "") if dialect == "postgresql" else ("SUBSTR", "+")
        conditions.append(f"{begin}({column.sql}, 1, 64) = ? AND {whole}{column.sql} = ?")
        params.append(str(value)[:64])
    params.append(value)


def _order(known: Mapping[str, _Column], table: Table, sort: Sort | None, dialect: Dialect) -> str:
    tie = "l.number, l.key_index, l.crl_partition, l.min_base" if table is Table.CRLS else "r.id"
    if sort is None:
        return tie
    column = _column(known, sort.column)
    direction = "DESC" if sort.descending else "ASC"
    if column.sql == tie:
        return f"{tie} {direction}"
    # rows without a value come last, in both databases and both directions alike
    return f"{_ordered(column, dialect)} {direction} NULLS LAST, {tie}"


def _ordered(column: _Column, dialect: Dialect) -> str:
    """The column as it is compared: text by code points, whatever language the database server speaks."""
    if dialect == "postgresql" and column.kind in (_Kind.TEXT, _Kind.SERIAL):
        return f'{column.sql} COLLATE "C"'
    return column.sql


def _column(known: Mapping[str, _Column], name: str) -> _Column:
    try:
        return known[name]
    except KeyError:
        raise InvalidArgument(f"there is no column {name!r}; there are {', '.join(known)}") from None


def _value(restriction: Restriction, column: _Column) -> int | str:
    """The value in the form its column is stored in."""
    value = restriction.value
    match column.kind:
        case _Kind.TEXT:
            return str(value).replace("\x00", "\\x00")
        case _Kind.SERIAL:
            digits = str(value).replace(" ", "").replace(":", "").lower().removeprefix("0x").lstrip("0") or "0"
            return digits.zfill(len(digits) + len(digits) % 2)
        case _Kind.STATE:
            return _state(value)
        case _Kind.REASON:
            return _reason(value)
        case _Kind.TIME:
            return _time(restriction.column, value)
        case _:
            return _number(restriction.column, value)


def _sought(value: int | str, column: _Column) -> str:
    """What is looked for inside a text; of a serial number, its digits. The database folds the case on both sides."""
    text = str(value).replace("\x00", "\\x00")
    return text.replace(" ", "").replace(":", "") if column.kind is _Kind.SERIAL else text


def _number(name: str, value: int | str) -> int:
    try:
        number = int(value, 0) if isinstance(value, str) else int(value)
    except ValueError:
        raise InvalidArgument(f"{name} is a number, not {value!r}") from None
    if not -_INT64 <= number <= _INT64:
        raise InvalidArgument(f"{name} is never as large as {value}")
    return number


def _state(value: int | str) -> int:
    word = str(value).strip().lower().replace(" ", "_")
    if word.isdecimal():
        return _number("disposition", word.lstrip("0") or "0")
    if word not in _WORDS:
        raise InvalidArgument(f"{value!r} is no disposition; there are {', '.join(_WORDS)}")
    return int(_WORDS[word])


def _reason(value: int | str) -> int:
    if isinstance(value, int) or value.isdecimal():
        return _number("revoked_reason", int(value))
    try:
        return int(RevocationReason.from_rfc_name(value))
    except ValueError as error:
        raise InvalidArgument(str(error)) from None


def _time(name: str, value: int | str) -> int:
    """Seconds since the epoch, or a date and time as ISO 8601 writes it; without a zone it is UTC."""
    if isinstance(value, int):
        return _number(name, value)
    try:
        when = datetime.fromisoformat(value.strip())
    except ValueError:
        raise InvalidArgument(f"{name} is a time such as 2026-01-31 or 2026-01-31T12:00:00Z, not {value!r}") from None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def _as_it_is(value: object) -> object:
    return value


def _read_reason(value: int) -> object:
    reason = reason_of(value)
    return reason.rfc_name if reason is not None else None


_READERS: Final[Mapping[_Kind, Callable[[Any], object]]] = {
    _Kind.TEXT: _as_it_is,
    _Kind.SERIAL: _as_it_is,
    _Kind.NUMBER: _as_it_is,
    _Kind.TIME: lambda value: datetime.fromtimestamp(value, UTC),
    _Kind.REQUEST_ID: lambda value: value & 0xFFFF_FFFF,
    _Kind.STATE: lambda value: state_of(value).name.lower(),
    _Kind.STATUS: status_of,
    _Kind.REASON: _read_reason,
}
