"""`CaDatabase` in memory, for tests of the engine. The contract suite holds it to the same rules as the SQL one."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt
from typing import Any, Self

from certwright.adcs.errors import BadRequestState, CaUnreachable, HResult, InvalidArgument, NoSuchRequest
from certwright.adcs.events import CaEvent
from certwright.adcs.interfaces import Comparison, Delivery, Restriction, Row, Sort, Table
from certwright.adcs.properties import CaType
from certwright.adcs.roles import RevocationReason
from certwright.ca.database import (
    CaCertificateRecord,
    CaRecord,
    CertificateRecord,
    CertificateRequestRecord,
    CrlRecord,
    DuplicateSerial,
    EncodedEntries,
    RequestRecord,
    RequestState,
    RevokedEntry,
)
from certwright.pki.certificate import serial_hex
from certwright.pki.crl import encode_entry

_COMPARE: Mapping[Comparison, Callable[[Any, Any], bool]] = {
    Comparison.EQUAL: eq,
    Comparison.LESS: lt,
    Comparison.LESS_OR_EQUAL: le,
    Comparison.GREATER_OR_EQUAL: ge,
    Comparison.GREATER: gt,
}
_TABLE_STATES: Mapping[Table, frozenset[RequestState]] = {
    Table.REQUESTS: frozenset(RequestState),
    Table.PENDING_REQUESTS: frozenset({RequestState.PENDING}),
    Table.FAILED_REQUESTS: frozenset({RequestState.ERROR, RequestState.DENIED}),
    Table.ISSUED_CERTIFICATES: frozenset({RequestState.ISSUED}),
    Table.REVOKED_CERTIFICATES: frozenset({RequestState.REVOKED}),
}


@dataclass(slots=True)
class _Rows:
    """Everything that one commit replaces; its values are immutable, so a shallow copy is a snapshot."""

    ca: CaRecord
    next_request_id: int = 1
    requests: dict[int, RequestRecord] = field(default_factory=dict)
    raw: dict[int, bytes] = field(default_factory=dict)
    ders: dict[int, bytes] = field(default_factory=dict)
    entries: dict[int, bytes] = field(default_factory=dict)
    extensions: dict[int, dict[str, tuple[bool, bytes]]] = field(default_factory=dict)
    crls: list[CrlRecord] = field(default_factory=list)
    released: dict[int, datetime] = field(default_factory=dict)
    certificate_request: CertificateRequestRecord | None = None
    events: list[CaEvent] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    def copy(self) -> _Rows:
        return _Rows(
            self.ca,
            self.next_request_id,
            dict(self.requests),
            dict(self.raw),
            dict(self.ders),
            dict(self.entries),
            {request_id: dict(added) for request_id, added in self.extensions.items()},
            list(self.crls),
            dict(self.released),
            self.certificate_request,
            list(self.events),
            list(self.deliveries),
        )


class MemoryCaTransaction:
    """Implements `CaTransaction`."""

    def __init__(self, rows: _Rows) -> None:
        self.rows = rows
        self._audited: list[CaEvent] = []

    def ca(self) -> CaRecord:
        return self.rows.ca

    def save_settings(self, settings: Mapping[str, object]) -> None:
        self.rows.ca = replace(self.rows.ca, settings=dict(settings), version=self.rows.ca.version + 1)

    def add_ca_certificate(self, record: CaCertificateRecord) -> None:
        certificates = tuple(sorted((*self.rows.ca.certificates, record), key=lambda certificate: certificate.index))
        self.rows.ca = replace(self.rows.ca, certificates=certificates, version=self.rows.ca.version + 1)

    def set_parent(self, name: str) -> None:
        self.rows.ca = replace(self.rows.ca, parent=name, version=self.rows.ca.version + 1)

    def set_certificate_request(self, record: CertificateRequestRecord | None) -> None:
        self.rows.certificate_request = record

    def next_request_id(self) -> int:
        self.rows.next_request_id += 1
        return self.rows.next_request_id - 1

    def add_request(self, record: RequestRecord, raw_request: bytes) -> int:
        request_id = record.request_id or self.next_request_id()
        if not 0 < request_id < self.rows.next_request_id:
            raise ValueError(f"request ID {request_id} was not allocated by this CA")
        if record.certificate is not None:
            self._refuse_duplicate(record.certificate.serial_number, request_id)
        self.rows.requests[request_id] = record._replace(request_id=request_id)
        self.rows.raw[request_id] = raw_request
        return request_id

    def add_certificate(self, request_id: int, record: CertificateRecord, der: bytes) -> None:
        self._refuse_duplicate(record.serial_number, request_id)
        self.rows.requests[request_id] = self.rows.requests[request_id]._replace(certificate=record)
        self.rows.ders[request_id] = der

    def _refuse_duplicate(self, serial_number: str, request_id: int) -> None:
        for row in self.rows.requests.values():
            if row.certificate and row.certificate.serial_number == serial_number and row.request_id != request_id:
                raise DuplicateSerial(f"the serial number {serial_number} is taken")

    def request(self, request_id: int) -> RequestRecord | None:
        return self.rows.requests.get(request_id)

    def _existing(self, request_id: int) -> RequestRecord:
        if request_id not in self.rows.requests:
            raise NoSuchRequest(f"there is no request {request_id}")
        return self.rows.requests[request_id]

    def resolve(
        self,
        request_id: int,
        state: RequestState,
        status: HResult,
        message: str,
        *,
        when: datetime,
        officer: str = "",
        template: str = "",
        template_oid: str = "",
        subject: str | None = None,
        common_name: str | None = None,
        alternative_names: str | None = None,
    ) -> None:
        row = self._existing(request_id)
        if not row.state.may_become(state):
            raise BadRequestState(f"request {request_id} is {row.state.name}; it cannot become {state.name}")
        self.rows.requests[request_id] = row._replace(
            state=state,
            status=status,
            message=message,
            resolved_when=when,
            officer=officer or row.officer,
            template=template or row.template,
            template_oid=template_oid or row.template_oid,
            subject=row.subject if subject is None else subject,
            common_name=row.common_name if common_name is None else common_name,
            alternative_names=row.alternative_names if alternative_names is None else alternative_names,
        )

    def set_revocation(
        self,
        request_id: int,
        *,
        when: datetime,
        effective: datetime | None,
        reason: RevocationReason | None,
        entry: bytes | None,
        message: str,
        officer: str,
    ) -> None:
        row = self._existing(request_id)
        certificate = row.certificate
        state = RequestState.ISSUED if reason is None else RequestState.REVOKED
        on_hold = certificate and certificate.revoked_reason is RevocationReason.CERTIFICATE_HOLD
        if certificate is None or not row.state.may_become(state) or (reason is None and not on_hold):
            raise BadRequestState(f"request {request_id} is {row.state.name}", HResult.ERROR_INVALID_DATA)
        if reason is not None and (effective is None or entry is None):
            raise ValueError("a revocation needs its effective date and its CRL entry")
        self.rows.entries.pop(request_id, None)
        self.rows.released.pop(request_id, None)
        if reason is None:
            self.rows.released[request_id] = when
        if reason is not None and entry is not None:
            self.rows.entries[request_id] = entry
        self.rows.requests[request_id] = row._replace(
            state=state,
            message=message,
            officer=officer,
            resolved_when=when,
            certificate=certificate._replace(
                revoked_when=when if reason is not None else None,
                revoked_effective=effective if reason is not None else None,
                revoked_reason=reason,
            ),
        )

    def set_attributes(self, request_id: int, attributes: str) -> None:
        self.rows.requests[request_id] = self._existing(request_id)._replace(attributes=attributes)

    def set_extension(self, request_id: int, oid: str, value: bytes, critical: bool) -> None:
        self._existing(request_id)
        self.rows.extensions.setdefault(request_id, {})[oid] = (critical, value)

    def next_crl_number(self) -> int:
        self.rows.ca = replace(self.rows.ca, crl_number=self.rows.ca.crl_number + 1)
        return self.rows.ca.crl_number

    def add_crl(self, record: CrlRecord) -> None:
        self.rows.crls.append(record)

    def audit(self, event: CaEvent) -> None:
        self._audited.append(event)
        self.rows.events.append(event)

    def beside(self, write: object) -> None:
        raise NotImplementedError("there are no other tables here")

    @property
    def audited(self) -> Sequence[CaEvent]:
        return self._audited


class MemoryCaDatabase:
    """Implements `CaDatabase` for one CA that exists from the start."""

    def __init__(
        self,
        name: str = "Corp Issuing CA",
        ca_type: CaType = CaType.ENTERPRISE_SUBORDINATE,
        parent: str = "",
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self._rows = _Rows(CaRecord(1, name, ca_type, parent, dict(settings or {}), (), 0, 1, dict(settings or {})))
        self._lock = threading.Lock()
        self._mine = threading.local()

    @property
    def events(self) -> Sequence[CaEvent]:
        """The audit trail so far."""
        return self._rows.events

    @contextmanager
    def transaction(self, *, deadline: float | None = None) -> Iterator[MemoryCaTransaction]:
        wait = 30.0 if deadline is None else max(0.0, deadline - time.monotonic())
        if not self._lock.acquire(timeout=wait):
            raise CaUnreachable("the CA is locked by somebody else", HResult.ERROR_BUSY)
        try:
            transaction = self._mine.transaction = MemoryCaTransaction(self._rows.copy())
            yield transaction
            self._rows = transaction.rows
        finally:
            self._mine.transaction = None
            self._lock.release()

    @contextmanager
    def transaction_with(self, other: Self) -> Iterator[tuple[MemoryCaTransaction, MemoryCaTransaction]]:
        with self.transaction() as mine, other.transaction() as theirs:
            yield mine, theirs

    def certificate_request(self) -> CertificateRequestRecord | None:
        return self._seen().certificate_request

    def _seen(self) -> _Rows:
        """What a reader sees: inside a transaction of this thread, its changes too."""
        transaction: MemoryCaTransaction | None = getattr(self._mine, "transaction", None)
        return self._rows if transaction is None else transaction.rows

    def ca(self) -> CaRecord:
        return self._rows.ca

    def request(self, request_id: int) -> RequestRecord | None:
        return self._seen().requests.get(request_id)

    def request_by_serial(self, serial_number: str) -> RequestRecord | None:
        for row in self._seen().requests.values():
            if row.certificate and row.certificate.serial_number == serial_number.lower():
                return row
        return None

    def raw_request(self, request_id: int) -> bytes | None:
        return self._seen().raw.get(request_id)

    def request_ids_in(self, state: RequestState) -> Sequence[int]:
        return sorted(row.request_id for row in self._seen().requests.values() if row.state is state)

    def certificate_der(self, request_id: int) -> bytes | None:
        return self._seen().ders.get(request_id)

    def extensions(self, request_id: int) -> Sequence[tuple[str, bool, bytes]]:
        added = self._seen().extensions.get(request_id, {})
        return [(oid, critical, value) for oid, (critical, value) in added.items()]

    def revoked(
        self, *, key_index: int, now: datetime, partition: int = 0, expired: bool = False
    ) -> Iterator[RevokedEntry]:
        rows = self._seen()
        last = self.latest_crl(key_index, partition=partition)
        found = []
        for request_id, entry in sorted(rows.entries.items()):
            certificate = rows.requests[request_id].certificate
            assert certificate is not None
            effective, reason = certificate.revoked_effective, certificate.revoked_reason
            assert effective is not None
            assert reason is not None
            if certificate.ca_key_index != key_index or effective > now:
                continue
            if partition and certificate.crl_partition != partition:
                continue
            if expired or last is None or certificate.not_after >= last.this_update:
                found.append(RevokedEntry(int(certificate.serial_number, 16), effective, reason, entry))
        return iter(found)

    def revoked_encoded(
        self, *, key_index: int, now: datetime, partition: int = 0, expired: bool = False
    ) -> Iterator[EncodedEntries]:
        for entry in self.revoked(key_index=key_index, now=now, partition=partition, expired=expired):
            yield EncodedEntries(entry.encoded, 1)

    def revoked_since(
        self, since: datetime, *, key_index: int, now: datetime, partition: int = 0, expired: bool = False
    ) -> Iterator[RevokedEntry]:
        rows = self._seen()
        since, found = since.replace(microsecond=0), []
        for entry in self.revoked(key_index=key_index, now=now, partition=partition, expired=expired):
            row = self.request_by_serial(serial_hex(entry.serial_number))
            assert row
            assert row.certificate
            assert row.certificate.revoked_when
            if max(row.certificate.revoked_when, entry.revoked_effective) >= since:
                found.append(entry)
        for request_id, released in rows.released.items():
            certificate = rows.requests[request_id].certificate
            assert certificate is not None
            if partition and certificate.crl_partition != partition:
                continue
            if certificate.ca_key_index == key_index and released >= since:
                serial, reason = int(certificate.serial_number, 16), RevocationReason.REMOVE_FROM_CRL
                found.append(RevokedEntry(serial, released, reason, encode_entry(serial, released, int(reason))))
        return iter(found)

    def unexpired_bases(self, key_index: int, now: datetime, partition: int = 0) -> Sequence[CrlRecord]:
        return [
            replace(crl, der=b"")
            for crl in self._seen().crls
            if (crl.key_index, crl.partition) == (key_index, partition) and not crl.min_base and crl.next_update > now
        ]

    def latest_crl(self, key_index: int, *, delta: bool = False, partition: int = 0) -> CrlRecord | None:
        wanted = (key_index, partition, delta)
        crls = [crl for crl in self._seen().crls if (crl.key_index, crl.partition, bool(crl.min_base)) == wanted]
        return max(crls, key=lambda crl: crl.number, default=None)

    def deliveries(self) -> Sequence[Delivery]:
        return sorted(self._seen().deliveries, key=lambda each: (each.target, each.file))

    def note_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        self._seen().deliveries = list(deliveries)

    def crl_partitions(self, key_index: int, now: datetime) -> Sequence[int]:
        certificates = [row.certificate for row in self._seen().requests.values() if row.certificate is not None]
        return sorted(
            {
                each.crl_partition
                for each in certificates
                if each.crl_partition and each.ca_key_index == key_index and each.not_after > now
            }
        )

    def last_request_id(self) -> int:
        return self._seen().next_request_id - 1

    def mark_crl_published(
        self,
        number: int,
        key_index: int,
        *,
        delta: bool = False,
        partition: int = 0,
        when: datetime | None,
        error: str,
    ) -> None:
        rows = self._seen()
        rows.crls = [
            replace(crl, published_when=when, publish_error=error)
            if (crl.number, crl.key_index, crl.partition, bool(crl.min_base)) == (number, key_index, partition, delta)
            else crl
            for crl in rows.crls
        ]

    def view(
        self,
        table: Table,
        where: Sequence[Restriction],
        columns: Sequence[str],
        sort: Sort | None,
        limit: int | None,
    ) -> Iterator[Row]:
        shown: list[dict[str, Any]]
        if table is Table.CRLS:
            shown = [_crl_columns(crl) for crl in self._seen().crls]
        else:
            states = _TABLE_STATES[table]
            shown = [_columns(row) for _, row in sorted(self._seen().requests.items()) if row.state in states]
        names = list(_crl_columns(_NO_CRL)) if table is Table.CRLS else list(_columns(_NO_REQUEST))
        for name in (*columns, *(restriction.column for restriction in where), *([sort.column] if sort else [])):
            if name not in names:
                raise InvalidArgument(f"there is no column {name!r}; there are {', '.join(names)}")
        if limit is not None and limit <= 0:
            raise InvalidArgument("the limit must be a positive number")
        for restriction in where:
            shown = [row for row in shown if _fits(row, restriction)]
        if sort is not None:
            valued = [row for row in shown if row[sort.column] is not None]
            valued.sort(key=lambda row: _comparable(sort.column, row[sort.column]), reverse=sort.descending)
            shown = valued + [row for row in shown if row[sort.column] is None]
        return iter([{name: row[name] for name in columns or names} for row in shown[:limit]])

    def count(self, table: Table, where: Sequence[Restriction], by: str) -> Mapping[object, int]:
        if table is Table.CRLS:
            raise InvalidArgument("CRLs are not counted by a column")
        return Counter(row[by] for row in self.view(table, where, (by,), None, None))


def _columns(row: RequestRecord) -> dict[str, Any]:
    certificate = row.certificate
    reason = certificate.revoked_reason if certificate else None
    return {
        "request_id": row.request_id,
        "disposition": row.state.name.lower(),
        "status": row.status,
        "message": row.message,
        "submitted_when": row.submitted_when,
        "resolved_when": row.resolved_when,
        "requester": row.requester_name,
        "requester_sid": row.requester_sid,
        "caller": row.caller_name,
        "caller_sid": row.caller_sid,
        "method": row.caller_method,
        "request_type": row.request_type,
        "request_flags": row.request_flags,
        "attributes": row.attributes,
        "template": row.template,
        "template_oid": row.template_oid,
        "subject": row.subject,
        "common_name": row.common_name,
        "alternative_names": row.alternative_names,
        "key_algorithm": row.key_algorithm,
        "key_size": row.key_size,
        "officer": row.officer,
        "serial_number": certificate.serial_number if certificate else None,
        "not_before": certificate.not_before if certificate else None,
        "not_after": certificate.not_after if certificate else None,
        "ski": certificate.subject_key_identifier if certificate else None,
        "sha1": certificate.sha1 if certificate else None,
        "ca_certificate_index": certificate.ca_certificate_index if certificate else None,
        "ca_key_index": certificate.ca_key_index if certificate else None,
        "revoked_when": certificate.revoked_when if certificate else None,
        "revoked_effective": certificate.revoked_effective if certificate else None,
        "revoked_reason": reason.rfc_name if reason is not None else None,
    }


def _crl_columns(crl: CrlRecord) -> dict[str, Any]:
    return {
        "number": crl.number,
        "min_base": crl.min_base,
        "key_index": crl.key_index,
        "partition": crl.partition,
        "this_update": crl.this_update,
        "next_update": crl.next_update,
        "next_publish": crl.next_publish,
        "entry_count": crl.entry_count,
        "size": len(crl.der),
        "published_when": crl.published_when,
        "publish_error": crl.publish_error,
    }


def _fits(row: Mapping[str, Any], restriction: Restriction) -> bool:
    value = row[restriction.column]
    if value is None:
        return False
    wanted = restriction.value
    if restriction.column == "serial_number":
        digits = str(wanted).replace(" ", "").replace(":", "").lower().removeprefix("0x").lstrip("0") or "0"
        wanted = digits.zfill(len(digits) + len(digits) % 2)
    if isinstance(value, int) and isinstance(wanted, str) and restriction.column != "disposition":
        wanted = int(wanted, 0)
    if restriction.comparison is Comparison.CONTAINS:
        wanted = restriction.value  # of a serial number, part of its digits
        if not isinstance(value, str) or restriction.column in ("disposition", "revoked_reason"):
            raise InvalidArgument(f"{restriction.column} is no text")
        text = str(wanted).replace(" ", "").replace(":", "") if restriction.column == "serial_number" else str(wanted)
        return text.lower() in value.lower()
    compare = _COMPARE[restriction.comparison]
    return compare(_comparable(restriction.column, value), _comparable(restriction.column, wanted))


def _comparable(column: str, value: Any) -> Any:
    """Both sides of a comparison as numbers, or both as text."""
    if isinstance(value, datetime):
        return int(value.timestamp())
    if column == "disposition" and not isinstance(value, int):
        try:
            return int(RequestState[str(value).upper()])
        except KeyError:
            raise InvalidArgument(f"{value!r} is no disposition") from None
    if column == "revoked_reason" and not isinstance(value, int):
        return int(RevocationReason.from_rfc_name(value))
    if column.endswith(("_when", "_update", "_publish", "not_before", "not_after")) and isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidArgument(f"{column} is a time, not {value!r}") from None
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    return value


_EPOCH = datetime.fromtimestamp(0, UTC)
_NO_REQUEST = RequestRecord(0, RequestState.ERROR, HResult.S_OK, "", _EPOCH, None, "", "", "", "", "", 0, 0, "")
_NO_CRL = CrlRecord(0, 0, 0, _EPOCH, _EPOCH, _EPOCH, 0, b"")
