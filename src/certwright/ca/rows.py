"""Rows of the CA database <-> the values of `ca.database`.

A row's key is the CA's number in the upper half and the request ID in the lower (`row_id`). Times are whole seconds
since the epoch; what a row cannot hold as text in both databases (NUL, lone surrogates) is written escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from certwright.adcs.errors import HResult
from certwright.adcs.interfaces import Delivery
from certwright.adcs.roles import RevocationReason
from certwright.ca.database import (
    CaCertificateRecord,
    CertificateRecord,
    CrlRecord,
    RequestRecord,
    RequestState,
    RevokedEntry,
)
from certwright.database import Row
from certwright.pki.crl import encode_entry

MAX_REQUEST_ID: Final = 0x7FFF_FFFF
"""Request IDs are positive 32-bit numbers on the wire. [MS-WCCE] 3.2.1.4.2.1."""

REQUEST_COLUMNS: Final = (
    "state, status, message, submitted_when, resolved_when, requester_name, requester_sid, caller_name, caller_sid,"
    " caller_method, request_type, request_flags, attributes, template, template_oid, subject, common_name,"
    " alternative_names, key_algorithm, key_size, officer, client_facts"
)
CERTIFICATE_COLUMNS: Final = (
    "serial_number, not_before, not_after, subject_key_identifier, sha1, ca_certificate_index, ca_key_index,"
    " revoked_when, revoked_effective, revoked_reason, crl_partition"
)


def qualified(columns: str, alias: str) -> str:
    """The columns with their table's alias."""
    return ", ".join(f"{alias}.{column.strip()}" for column in columns.split(","))


def _insert(table: str, columns: str) -> str:
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(columns.split(',')))})"  # noqa: S608


INSERT_REQUEST: Final = _insert("ca_request", f"id, ca_id, request_id, {REQUEST_COLUMNS}")
INSERT_RAW_REQUEST: Final = _insert("ca_raw_request", "id, raw")
INSERT_CERTIFICATE: Final = (
    _insert("ca_certificate", f"id, ca_id, {CERTIFICATE_COLUMNS}") + " ON CONFLICT (ca_id, serial_number) DO NOTHING"
)
INSERT_CERTIFICATE_DER: Final = _insert("ca_certificate_der", "id, der")
SELECT_REQUEST: Final = (
    f"SELECT r.request_id, {qualified(REQUEST_COLUMNS, 'r')}, {qualified(CERTIFICATE_COLUMNS, 'c')}"  # noqa: S608
    " FROM ca_request r LEFT JOIN ca_certificate c ON c.id = r.id WHERE r.id = ?"
)
CRL_COLUMNS: Final = (
    "number, min_base, key_index, this_update, next_update, next_publish, entry_count, published_when,"
    " publish_error, crl_partition"
)
CA_CERTIFICATE_COLUMNS: Final = "certificate_index, key_index, der, key_name, not_before, not_after"

_STATES: Final = {int(state): state for state in RequestState}
_REASONS: Final = {int(reason): reason for reason in RevocationReason}
_STATUSES: Final = {int(status): status for status in HResult}

_encode_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def row_id(ca_id: int, request_id: int) -> int:
    """The key that all tables of one request share."""
    return ca_id << 32 | request_id


def seconds(when: datetime) -> int:
    return int(when.timestamp())


def optional_seconds(when: datetime | None) -> int | None:
    return None if when is None else int(when.timestamp())


def moment(value: int) -> datetime:
    return datetime.fromtimestamp(value, UTC)


def optional_moment(value: int | None) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(value, UTC)


def text(value: str) -> str:
    """The text as both databases can store it; requests may hold anything."""
    if value.isascii() and "\x00" not in value:
        return value
    return value.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def status_of(value: int) -> HResult:
    """The HRESULT; one that only a later version knows reads as "unexpected"."""
    return _STATUSES.get(value, HResult.E_UNEXPECTED)


def state_of(value: int) -> RequestState:
    return _STATES[value]


def reason_of(value: int | None) -> RevocationReason | None:
    return None if value is None else _REASONS[value]


def request_row(ca_id: int, request_id: int, record: RequestRecord) -> Sequence[Any]:
    """A request as `INSERT_REQUEST` takes it."""
    return (
        ca_id << 32 | request_id,
        ca_id,
        request_id,
        int(record.state),
        int(record.status),
        text(record.message),
        int(record.submitted_when.timestamp()),
        None if record.resolved_when is None else int(record.resolved_when.timestamp()),
        text(record.requester_name),
        record.requester_sid,
        text(record.caller_name),
        record.caller_sid,
        record.caller_method,
        record.request_type,
        record.request_flags,
        text(record.attributes),
        text(record.template),
        record.template_oid,
        text(record.subject),
        text(record.common_name),
        text(record.alternative_names),
        record.key_algorithm,
        record.key_size,
        text(record.officer),
        _encode_json(dict(record.client_facts)) if record.client_facts else "{}",
    )


def certificate_row(ca_id: int, row: int, record: CertificateRecord) -> Sequence[Any]:
    """A certificate as `INSERT_CERTIFICATE` takes it."""
    return (
        row,
        ca_id,
        record.serial_number,
        int(record.not_before.timestamp()),
        int(record.not_after.timestamp()),
        record.subject_key_identifier,
        record.sha1,
        record.ca_certificate_index,
        record.ca_key_index,
        optional_seconds(record.revoked_when),
        optional_seconds(record.revoked_effective),
        None if record.revoked_reason is None else int(record.revoked_reason),
        record.crl_partition,
    )


def request_record(row: Row) -> RequestRecord:
    """A row of `SELECT_REQUEST`."""
    certificate = None
    if row[23] is not None:
        certificate = CertificateRecord(
            serial_number=row[23],
            not_before=moment(row[24]),
            not_after=moment(row[25]),
            subject_key_identifier=row[26],
            sha1=row[27],
            ca_certificate_index=row[28],
            ca_key_index=row[29],
            revoked_when=optional_moment(row[30]),
            revoked_effective=optional_moment(row[31]),
            revoked_reason=reason_of(row[32]),
            crl_partition=row[33],
        )
    return RequestRecord(
        request_id=row[0],
        state=_STATES[row[1]],
        status=status_of(row[2]),
        message=row[3],
        submitted_when=moment(row[4]),
        resolved_when=optional_moment(row[5]),
        requester_name=row[6],
        requester_sid=row[7],
        caller_name=row[8],
        caller_sid=row[9],
        caller_method=row[10],
        request_type=row[11],
        request_flags=row[12],
        attributes=row[13],
        template=row[14],
        template_oid=row[15],
        subject=row[16],
        common_name=row[17],
        alternative_names=row[18],
        key_algorithm=row[19],
        key_size=row[20],
        officer=row[21],
        client_facts=json.loads(row[22]),
        certificate=certificate,
    )


def revoked_entry(row: Row) -> RevokedEntry:
    """A row of (serial number, effective, reason, entry)."""
    return RevokedEntry(int(row[0], 16), datetime.fromtimestamp(row[1], UTC), _REASONS[row[2]], bytes(row[3]))


def released_entry(serial_number: str, released: int) -> RevokedEntry:
    """How a delta CRL takes a certificate off the list. RFC 5280 5.3.1."""
    serial, when, reason = int(serial_number, 16), moment(released), RevocationReason.REMOVE_FROM_CRL
    return RevokedEntry(serial, when, reason, encode_entry(serial, when, int(reason)))


def crl_record(row: Row) -> CrlRecord:
    """A row of `CRL_COLUMNS` and the DER."""
    return CrlRecord(
        number=row[0],
        min_base=row[1],
        key_index=row[2],
        this_update=moment(row[3]),
        next_update=moment(row[4]),
        next_publish=moment(row[5]),
        entry_count=row[6],
        published_when=optional_moment(row[7]),
        publish_error=row[8],
        partition=row[9],
        der=bytes(row[10]),
    )


def ca_certificate_record(row: Row, companions: Iterable[Row] = ()) -> CaCertificateRecord:
    """A row of `CA_CERTIFICATE_COLUMNS`, with the (index, role, DER) of what belongs to the CA's certificates."""

    def of(role: str) -> tuple[bytes, ...]:
        return tuple(bytes(der) for index, kind, der in companions if (index, kind) == (row[0], role))

    times = moment(row[4]), moment(row[5])
    return CaCertificateRecord(row[0], row[1], bytes(row[2]), row[3], *times, of("chain"), of("cross"))


def encode_settings(settings: object) -> str:
    """A CA's settings as stored: JSON, its keys sorted."""
    return _encode_json(settings)


def delivery(row: Row) -> Delivery:
    """target, file, number, delivered_when, tried_when, error."""
    target, file, number, delivered_when, tried_when, error = row
    return Delivery(target, file, number, optional_moment(delivered_when), moment(tried_when), error)


def delivery_values(each: Delivery) -> tuple[int | str | None, ...]:
    """As `delivery` reads them."""
    when = optional_seconds(each.delivered_when), seconds(each.tried_when)
    return (each.target, each.file, each.number, *when, text(each.error))
