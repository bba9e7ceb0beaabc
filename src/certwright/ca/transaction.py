"""Writing to the CA database in SQL: `CaTransaction`, under the lock of the CA's row. [MS-CSRA] 3.1.1.1.

What a transaction inserts is collected and written with one statement per table before the commit or the next read,
so that a batch of submissions costs little more than its bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from certwright.adcs.errors import AdcsError, BadRequestState, HResult, NoSuchRequest
from certwright.adcs.events import CaEvent
from certwright.adcs.roles import RevocationReason
from certwright.audit.trail import AuditTrail
from certwright.ca import rows
from certwright.ca.database import (
    CaCertificateRecord,
    CaRecord,
    CertificateRecord,
    CertificateRequestRecord,
    CrlRecord,
    DuplicateSerial,
    RequestRecord,
    RequestState,
)
from certwright.database import Connection


class SqlCaTransaction:
    """Writing to one CA's rows under its lock: implements `CaTransaction`. Made by `SqlCaDatabase` alone."""

    def __init__(self, connection: Connection, committed: CaRecord, next_request_id: int) -> None:
        self.committed = committed  # the CA's row as others see it
        self._connection = connection
        self._record = committed
        self._ca_id = committed.ca_id
        self._next_request_id = next_request_id
        self._numbers_moved = False
        self._audited: list[CaEvent] = []
        self._requests: list[Sequence[Any]] = []
        self._raw_requests: list[tuple[int, bytes]] = []
        self._certificates: dict[int, Sequence[Any]] = {}
        self._ders: list[tuple[int, bytes]] = []
        self._serials: set[str] = set()

    # -- the CA's row ------------------------------------------------------------------------------------------

    def ca(self) -> CaRecord:
        return self._record

    def save_settings(self, settings: Mapping[str, object]) -> None:
        kept = json.loads(rows.encode_settings(dict(settings)))  # what a reader of the row will see
        self._record = replace(self._record, settings=kept, version=self._record.version + 1)
        self._connection.execute(
            "UPDATE ca SET settings = ?, version = ? WHERE id = ?",
            (rows.encode_settings(kept), self._record.version, self._ca_id),
        )

    def add_ca_certificate(self, record: CaCertificateRecord) -> None:
        self._connection.execute(
            f"INSERT INTO ca_ca_certificate (ca_id, {rows.CA_CERTIFICATE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                self._ca_id,
                record.index,
                record.key_index,
                record.der,
                record.key_name,
                rows.seconds(record.not_before),
                rows.seconds(record.not_after),
            ),
        )
        companions = [("chain", der) for der in record.chain] + [("cross", der) for der in record.crosses]
        for position, (role, der) in enumerate(companions):
            self._connection.execute(
                "INSERT INTO ca_companion_certificate (ca_id, certificate_index, role, position, der)"
                " VALUES (?, ?, ?, ?, ?)",
                (self._ca_id, record.index, role, position, der),
            )
        certificates = tuple(sorted((*self._record.certificates, record), key=lambda certificate: certificate.index))
        self._record = replace(self._record, certificates=certificates, version=self._record.version + 1)
        self._connection.execute("UPDATE ca SET version = ? WHERE id = ?", (self._record.version, self._ca_id))

    def set_parent(self, name: str) -> None:
        self._record = replace(self._record, parent=rows.text(name), version=self._record.version + 1)
        self._connection.execute(
            "UPDATE ca SET parent = ?, version = ? WHERE id = ?",
            (self._record.parent, self._record.version, self._ca_id),
        )

    def set_certificate_request(self, record: CertificateRequestRecord | None) -> None:
        self._connection.execute("DELETE FROM ca_certificate_request WHERE ca_id = ?", (self._ca_id,))
        if record is not None:
            self._connection.execute(
                "INSERT INTO ca_certificate_request (ca_id, key_name, request, made_when) VALUES (?, ?, ?, ?)",
                (self._ca_id, record.key_name, record.request, rows.seconds(record.made_when)),
            )

    def beside(self, write: Callable[[Connection], None]) -> None:
        write(self._connection)

    # -- requests ----------------------------------------------------------------------------------------------

    def next_request_id(self) -> int:
        request_id = self._next_request_id
        if request_id > rows.MAX_REQUEST_ID:
            raise AdcsError(f"the CA {self._record.name} has no request IDs left; install another CA")
        self._next_request_id += 1
        self._numbers_moved = True
        return request_id

    def add_request(self, record: RequestRecord, raw_request: bytes) -> int:
        request_id = record.request_id or self.next_request_id()
        if not 0 < request_id < self._next_request_id:
            raise ValueError(f"request ID {request_id} was not allocated by this CA")
        self._requests.append(rows.request_row(self._ca_id, request_id, record))
        self._raw_requests.append((self._ca_id << 32 | request_id, raw_request))
        if record.certificate is not None:
            self._add_columns(request_id, record.certificate)
        return request_id

    def add_certificate(self, request_id: int, record: CertificateRecord, der: bytes) -> None:
        """Insert the certificate of a row.

        Asking costs a look-up, on PostgreSQL a round trip, so only the first certificate of a transaction is asked
        for at once; a collision of a later one shows when the rows are written, and nothing of the transaction stays.
        The issuer then runs each submission alone, where each is the first.

        Raises:
            DuplicateSerial: a certificate of this CA has this serial number; the transaction can go on.
        """
        row_id = rows.row_id(self._ca_id, request_id)
        known = self._certificates.get(row_id)
        if known is None or known[2] != record.serial_number:
            self._add_columns(request_id, record)
        self._ders.append((row_id, der))

    def _add_columns(self, request_id: int, record: CertificateRecord) -> None:
        serial = record.serial_number
        if serial in self._serials or self._is_taken(serial):
            raise DuplicateSerial(f"the serial number {serial} is taken")
        self._serials.add(serial)
        row_id = rows.row_id(self._ca_id, request_id)
        self._certificates[row_id] = rows.certificate_row(self._ca_id, row_id, record)

    def _is_taken(self, serial_number: str) -> bool:
        if self._serials:
            return False
        sql = "SELECT 1 FROM ca_certificate WHERE ca_id = ? AND serial_number = ?"
        return self._connection.one(sql, (self._ca_id, serial_number)) is not None

    def request(self, request_id: int) -> RequestRecord | None:
        self.flush()
        return read_request_row(self._connection, self._ca_id, request_id)

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
        """Move a row to another state; empty arguments leave their columns as they are.

        Raises:
            NoSuchRequest: there is no such row.
            BadRequestState: the move is not legal. [MS-CSRA] 3.1.1.1.1.
        """
        before = self._state(request_id)
        if not before.may_become(state):
            raise BadRequestState(
                f"request {request_id} is {before.name.lower()} and cannot become {state.name.lower()}"
            )
        changes: dict[str, int | str | None] = {
            "state": int(state),
            "status": int(status),
            "message": rows.text(message),
            "resolved_when": rows.seconds(when),
            **{
                column: rows.text(value)
                for column, value in (
                    ("officer", officer),
                    ("template", template),
                    ("template_oid", template_oid),
                )
                if value
            },
            **{
                column: rows.text(value)
                for column, value in (
                    ("subject", subject),
                    ("common_name", common_name),
                    ("alternative_names", alternative_names),
                )
                if value is not None
            },
        }
        self._update(request_id, changes)

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
        """Revoke, change a revocation, or release from hold (reason None).

        Raises:
            NoSuchRequest: there is no such row.
            BadRequestState: it holds no certificate, or is released without being on hold.
            ValueError: a revocation lacks its date or its CRL entry.
        """
        record = self.request(request_id)
        if record is None:
            raise NoSuchRequest(f"there is no request {request_id}")
        state = RequestState.ISSUED if reason is None else RequestState.REVOKED
        on_hold = record.certificate and record.certificate.revoked_reason is RevocationReason.CERTIFICATE_HOLD
        if record.certificate is None or not record.state.may_become(state) or (reason is None and not on_hold):
            raise BadRequestState(
                f"request {request_id} is {record.state.name.lower()}; "
                + ("only certificates on hold can be released" if reason is None else "there is nothing to revoke"),
                HResult.ERROR_INVALID_DATA,
            )
        row_id = rows.row_id(self._ca_id, request_id)
        self._update(
            request_id,
            {
                "state": int(state),
                "message": rows.text(message),
                "resolved_when": rows.seconds(when),
                "officer": rows.text(officer),
            },
        )
        self._connection.execute("DELETE FROM ca_revocation WHERE id = ?", (row_id,))
        if reason is None:
            self._connection.execute(
                "UPDATE ca_certificate SET revoked_when = NULL, revoked_effective = NULL, revoked_reason = NULL,"
                " released_when = ? WHERE id = ?",
                (rows.seconds(when), row_id),
            )
            return
        if effective is None or entry is None:
            raise ValueError("a revocation needs its effective date and its CRL entry")
        self._connection.execute(
            "UPDATE ca_certificate SET revoked_when = ?, revoked_effective = ?, revoked_reason = ?,"
            " released_when = NULL WHERE id = ?",
            (rows.seconds(when), rows.seconds(effective), int(reason), row_id),
        )
        self._connection.execute(
            "INSERT INTO ca_revocation"
            " (id, ca_id, ca_key_index, serial_number, not_after, effective, reason, entry, crl_partition)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row_id,
                self._ca_id,
                record.certificate.ca_key_index,
                record.certificate.serial_number,
                rows.seconds(record.certificate.not_after),
                rows.seconds(effective),
                int(reason),
                entry,
                record.certificate.crl_partition,
            ),
        )

    def set_attributes(self, request_id: int, attributes: str) -> None:
        """Raises:
        NoSuchRequest: there is no such row.
        """
        self._state(request_id)
        self._update(request_id, {"attributes": rows.text(attributes)})

    def set_extension(self, request_id: int, oid: str, value: bytes, critical: bool) -> None:
        """Add an extension, or replace the one of the same OID.

        Raises:
            NoSuchRequest: there is no such row.
        """
        self._state(request_id)
        self._connection.execute(
            "INSERT INTO ca_extension (row_id, oid, critical, value) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (row_id, oid) DO UPDATE SET critical = excluded.critical, value = excluded.value",
            (rows.row_id(self._ca_id, request_id), oid, int(critical), value),
        )

    # -- CRLs --------------------------------------------------------------------------------------------------

    def next_crl_number(self) -> int:
        self._record = replace(self._record, crl_number=self._record.crl_number + 1)
        self._numbers_moved = True
        return self._record.crl_number

    def add_crl(self, record: CrlRecord) -> None:
        crl_id = self._connection.insert_returning(
            f"INSERT INTO ca_crl (ca_id, {rows.CRL_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                self._ca_id,
                record.number,
                record.min_base,
                record.key_index,
                rows.seconds(record.this_update),
                rows.seconds(record.next_update),
                rows.seconds(record.next_publish),
                record.entry_count,
                rows.optional_seconds(record.published_when),
                rows.text(record.publish_error),
                record.partition,
            ),
        )
        self._connection.execute("INSERT INTO ca_crl_der (id, der) VALUES (?, ?)", (crl_id, record.der))

    # -- audit -------------------------------------------------------------------------------------------------

    def audit(self, event: CaEvent) -> None:
        self._audited.append(event)

    @property
    def audited(self) -> Sequence[CaEvent]:
        return self._audited

    # -- for `SqlCaDatabase` -----------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what was collected; every read of the same transaction begins with it.

        Raises:
            DuplicateSerial: a serial number is taken after all.
        """
        if self._requests:
            self._connection.executemany(rows.INSERT_REQUEST, self._requests)
            self._connection.executemany(rows.INSERT_RAW_REQUEST, self._raw_requests)
            self._requests, self._raw_requests = [], []
        if self._certificates:
            written = self._connection.executemany(rows.INSERT_CERTIFICATE, list(self._certificates.values()))
            if written != len(self._certificates):
                raise DuplicateSerial("a serial number came up twice")
            self._certificates = {}
        if self._ders:
            self._connection.executemany(rows.INSERT_CERTIFICATE_DER, self._ders)
            self._ders = []

    def finish(self, trail: AuditTrail) -> None:
        """The last writes before the commit."""
        self.flush()
        if self._audited:
            trail.append_all(self._connection, self._audited)
        if self._numbers_moved:
            self._connection.execute(
                "UPDATE ca SET next_request_id = ?, crl_number = ? WHERE id = ?",
                (self._next_request_id, self._record.crl_number, self._ca_id),
            )

    def _state(self, request_id: int) -> RequestState:
        self.flush()
        row = self._connection.one(
            "SELECT state FROM ca_request WHERE id = ?", (rows.row_id(self._ca_id, request_id),)
        )
        if row is None:
            raise NoSuchRequest(f"there is no request {request_id}")
        return rows.state_of(row[0])

    def _update(self, request_id: int, changes: Mapping[str, int | str | None]) -> None:
        assignments = ", ".join(f"{column} = ?" for column in changes)
        self._connection.execute(
            f"UPDATE ca_request SET {assignments} WHERE id = ?",  # noqa: S608
            (*changes.values(), rows.row_id(self._ca_id, request_id)),
        )


def read_request_row(connection: Connection, ca_id: int, request_id: int) -> RequestRecord | None:
    """A request with its certificate's columns, or None."""
    if not 0 < request_id <= rows.MAX_REQUEST_ID:
        return None
    row = connection.one(rows.SELECT_REQUEST, (rows.row_id(ca_id, request_id),))
    return None if row is None else rows.request_record(row)
