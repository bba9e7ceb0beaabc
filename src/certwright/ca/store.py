"""The CA database in SQL: `CaDatabase` on SQLite and PostgreSQL. [MS-CSRA] 3.1.1.1 to 3.1.1.4.

Every write holds the CA's row (`docs/adr/0003`) and happens in a `transaction.SqlCaTransaction`. Nothing survives a
crash half: rows, numbers taken from the CA's row and audit events are one transaction.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Self

from certwright.adcs.errors import (
    CaUnreachable,
    ConfigurationError,
    HResult,
)
from certwright.adcs.interfaces import Delivery, Restriction, Row, Sort, Table
from certwright.adcs.properties import CaType
from certwright.audit.trail import AuditTrail
from certwright.ca import rows
from certwright.ca.database import (
    CaRecord,
    CertificateRequestRecord,
    CrlRecord,
    EncodedEntries,
    RequestRecord,
    RequestState,
    RevokedEntry,
)
from certwright.ca.listing import make_count, make_listing
from certwright.ca.transaction import SqlCaTransaction, read_request_row
from certwright.database import (
    Connection,
    Database,
    DatabaseBusy,
    DatabaseUnavailable,
    UnknownOutcome,
)

VERSION_CHECK_INTERVAL: Final = 0.2
"""Seconds for which `SqlCaDatabase.ca` trusts what it read last; inside a transaction it always knows."""

_ENCODED_AT_ONCE: Final = 2000
_SMALL_VIEW: Final = 1000
"""Views up to this many rows are read at once; larger ones are streamed."""


def list_cas(database: Database) -> Sequence[CaRecord]:
    """The CAs of this installation, in the order in which they were made."""
    with _explained(), database.read() as connection:
        return [_load(connection, ca_id) for (ca_id,) in connection.many("SELECT id FROM ca ORDER BY id")]


def create_ca(connection: Connection, name: str, ca_type: CaType, parent: str, settings: Mapping[str, object]) -> int:
    """Make the row of a new CA in the caller's transaction and return its number.

    Raises:
        ConfigurationError: there is a CA of this name already.
    """
    if connection.one("SELECT 1 FROM ca WHERE name = ?", (name,)) is not None:
        raise ConfigurationError(f"there is a CA named {name} already; choose another common name")
    return connection.insert_returning(
        "INSERT INTO ca (name, ca_type, parent, settings, initial_settings, crl_number, next_request_id, version)"
        " VALUES (?, ?, ?, ?, ?, 0, 1, 1)",
        (name, int(ca_type), parent, *[rows.encode_settings(dict(settings))] * 2),
    )


class SqlCaDatabase:
    """One CA's part of a SQL database: implements `CaDatabase`. Thread-safe.

    Raises:
        ConfigurationError: there is no such CA (at the first use).
    """

    def __init__(self, database: Database, audit: AuditTrail, ca_id: int) -> None:
        self._database = database
        self._audit = audit
        self._ca_id = ca_id
        self._mine = threading.local()
        self._gate = threading.Lock()
        self._cached: tuple[CaRecord, float] | None = None  # with the `time.monotonic()` of its last check

    # -- transactions ------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self, *, deadline: float | None = None) -> Iterator[SqlCaTransaction]:
        """Lock the CA's row, commit at the end.

        Raises:
            CaUnreachable: the lock could not be had before the deadline, or the database is gone.
        """
        with _explained():
            with self._database.transaction(deadline=deadline) as connection, self.within(connection) as transaction:
                yield transaction
            self._remember(transaction.ca())

    @contextmanager
    def transaction_with(self, other: Self) -> Iterator[tuple[SqlCaTransaction, SqlCaTransaction]]:
        """Lock two CAs of this database, this one first, and commit what is written to both at once.

        Raises:
            CaUnreachable: as `transaction`.
        """
        with _explained():
            with (
                self._database.transaction() as connection,
                self.within(connection) as mine,
                other.within(connection) as theirs,
            ):
                yield mine, theirs
            self._remember(mine.ca())
            other._remember(theirs.ca())

    @contextmanager
    def within(self, connection: Connection) -> Iterator[SqlCaTransaction]:
        """The same inside a transaction that the caller opened and commits: for what several rooms do together."""
        transaction = self._lock(connection)
        self._mine.transaction = transaction
        try:
            yield transaction
            transaction.finish(self._audit)
        finally:
            self._mine.transaction = None
            if transaction.ca() is not transaction.committed:
                self._cached = None

    def _lock(self, connection: Connection) -> SqlCaTransaction:
        lock = " FOR UPDATE" if connection.dialect == "postgresql" else ""  # SQLite locks the database
        row = connection.one(
            f"SELECT version, crl_number, next_request_id FROM ca WHERE id = ?{lock}",  # noqa: S608
            (self._ca_id,),
        )
        if row is None:
            raise _no_such_ca(self._ca_id)
        cached = self._cached
        if cached is None or cached[0].version != row[0]:
            record = _load(connection, self._ca_id)
        else:
            record = replace(cached[0], crl_number=row[1])
        return SqlCaTransaction(connection, record, row[2])

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """This thread's connection; inside a transaction, with everything written that was collected."""
        with _explained(), self._database.read() as connection:
            transaction = self._transaction_here()
            if transaction is not None:
                transaction.flush()
            yield connection

    def _transaction_here(self) -> SqlCaTransaction | None:
        transaction: SqlCaTransaction | None = getattr(self._mine, "transaction", None)
        return transaction

    def _remember(self, record: CaRecord) -> None:
        with self._gate:
            cached = self._cached
            if cached is None or (record.version, record.crl_number) >= (cached[0].version, cached[0].crl_number):
                self._cached = (record, time.monotonic())

    # -- the CA's row ------------------------------------------------------------------------------------------

    def ca(self) -> CaRecord:
        """The CA's row. Inside a transaction of this thread: as it was committed last, its own changes not yet."""
        transaction = self._transaction_here()
        if transaction is not None:
            return transaction.committed
        cached = self._cached
        if cached is not None and time.monotonic() - cached[1] < VERSION_CHECK_INTERVAL:
            return cached[0]
        with self._reading() as connection:
            if cached is not None:
                row = connection.one("SELECT version, crl_number FROM ca WHERE id = ?", (self._ca_id,))
                if row == (cached[0].version, cached[0].crl_number):
                    self._remember(cached[0])
                    return cached[0]
            record = _load(connection, self._ca_id)
        self._remember(record)
        return record

    def certificate_request(self) -> CertificateRequestRecord | None:
        with self._reading() as connection:
            row = connection.one(
                "SELECT key_name, request, made_when FROM ca_certificate_request WHERE ca_id = ?", (self._ca_id,)
            )
        return None if row is None else CertificateRequestRecord(row[0], bytes(row[1]), rows.moment(row[2]))

    # -- requests ----------------------------------------------------------------------------------------------

    def request(self, request_id: int) -> RequestRecord | None:
        with self._reading() as connection:
            return read_request_row(connection, self._ca_id, request_id)

    def request_by_serial(self, serial_number: str) -> RequestRecord | None:
        with self._reading() as connection:
            row = connection.one(
                "SELECT id FROM ca_certificate WHERE ca_id = ? AND serial_number = ?",
                (self._ca_id, serial_number.lower()),
            )
            return None if row is None else read_request_row(connection, self._ca_id, row[0] & 0xFFFF_FFFF)

    def raw_request(self, request_id: int) -> bytes | None:
        return self._blob("SELECT raw FROM ca_raw_request WHERE id = ?", request_id)

    def certificate_der(self, request_id: int) -> bytes | None:
        return self._blob("SELECT der FROM ca_certificate_der WHERE id = ?", request_id)

    def _blob(self, sql: str, request_id: int) -> bytes | None:
        if not 0 < request_id <= rows.MAX_REQUEST_ID:
            return None
        with self._reading() as connection:
            row = connection.one(sql, (rows.row_id(self._ca_id, request_id),))
        return None if row is None else bytes(row[0])

    def request_ids_in(self, state: RequestState) -> Sequence[int]:
        with self._reading() as connection:
            found = connection.many(
                f"SELECT id FROM ca_request WHERE state = {int(state)} AND id > ? AND id < ? ORDER BY id",  # noqa: S608
                (self._ca_id << 32, (self._ca_id + 1) << 32),
            )
        return [row_id & 0xFFFF_FFFF for (row_id,) in found]

    def extensions(self, request_id: int) -> Sequence[tuple[str, bool, bytes]]:
        with self._reading() as connection:
            found = connection.many(
                "SELECT oid, critical, value FROM ca_extension WHERE row_id = ? ORDER BY id",
                (rows.row_id(self._ca_id, request_id),),
            )
        return [(oid, bool(critical), bytes(value)) for oid, critical, value in found]

    # -- CRLs --------------------------------------------------------------------------------------------------

    def revoked(
        self, *, key_index: int, now: datetime, partition: int = 0, expired: bool = False
    ) -> Iterator[RevokedEntry]:
        """Entries for a base CRL. What expired stays until one CRL later than its expiry. [MS-CSRA] 3.1.4.1.6."""
        # bounds are read now, rows as they are asked for: the caller may record its CRL before the last row
        not_before = self._not_expired_before(key_index, partition, expired=expired)
        return self._entries(key_index, rows.seconds(now), not_before, partition)

    def revoked_encoded(
        self, *, key_index: int, now: datetime, partition: int = 0, expired: bool = False
    ) -> Iterator[EncodedEntries]:
        """What a list of a million entries is made of: nothing of a row is decoded."""
        bounds = rows.seconds(now), self._not_expired_before(key_index, partition, expired=expired)
        return self._encoded(key_index, bounds, partition)

    def _encoded(self, key_index: int, bounds: tuple[int, int], partition: int) -> Iterator[EncodedEntries]:
        only, params = _of_partition(partition)
        with self._reading() as connection:
            found = connection.stream(
                "SELECT entry FROM ca_revocation"  # noqa: S608
                f" WHERE ca_id = ? AND ca_key_index = ? AND effective <= ? AND not_after >= ?{only} ORDER BY id",
                (self._ca_id, key_index, *bounds, *params),
            )
            while part := [row[0] for row in itertools.islice(found, _ENCODED_AT_ONCE)]:
                yield EncodedEntries(b"".join(part), len(part))

    def _entries(self, key_index: int, now: int, not_expired_before: int, partition: int) -> Iterator[RevokedEntry]:
        only, params = _of_partition(partition)
        with self._reading() as connection:
            for row in connection.stream(
                "SELECT serial_number, effective, reason, entry FROM ca_revocation"  # noqa: S608
                f" WHERE ca_id = ? AND ca_key_index = ? AND effective <= ? AND not_after >= ?{only} ORDER BY id",
                (self._ca_id, key_index, now, not_expired_before, *params),
            ):
                yield rows.revoked_entry(row)

    def revoked_since(
        self, since: datetime, *, key_index: int, now: datetime, partition: int = 0, expired: bool = False
    ) -> Iterator[RevokedEntry]:
        """Entries for a delta CRL, each certificate once. [MS-CSRA] 3.1.4.1.6.

        What was revoked earlier but becomes effective only now counts too: no base could say it.
        """
        not_before = self._not_expired_before(key_index, partition, expired=expired)
        return self._changes(rows.seconds(since), key_index, rows.seconds(now), not_before, partition)

    def _changes(
        self, since: int, key_index: int, now: int, not_expired_before: int, partition: int
    ) -> Iterator[RevokedEntry]:
        only, params = _of_partition(partition, "c.")
        with self._reading() as connection:
            for row in connection.stream(
                "SELECT v.serial_number, v.effective, v.reason, v.entry FROM ca_certificate c"  # noqa: S608
                " JOIN ca_revocation v ON v.id = c.id"
                " WHERE c.ca_id = ? AND c.revoked_when >= ? AND c.ca_key_index = ? AND v.effective <= ?"
                f" AND c.not_after >= ?{only}"
                " UNION ALL "
                "SELECT v.serial_number, v.effective, v.reason, v.entry FROM ca_revocation v"
                " JOIN ca_certificate c ON c.id = v.id"
                " WHERE v.ca_id = ? AND v.effective >= ? AND v.effective <= ? AND v.ca_key_index = ?"
                f" AND c.revoked_when < ? AND v.not_after >= ?{only}",
                (
                    *(self._ca_id, since, key_index, now, not_expired_before, *params),
                    *(self._ca_id, since, now, key_index, since, not_expired_before, *params),
                ),
            ):
                yield rows.revoked_entry(row)
            for serial, released in connection.stream(
                "SELECT c.serial_number, c.released_when FROM ca_certificate c"  # noqa: S608
                f" WHERE c.ca_id = ? AND c.released_when >= ? AND c.ca_key_index = ? AND c.not_after >= ?{only}",
                (self._ca_id, since, key_index, not_expired_before, *params),
            ):
                yield rows.released_entry(serial, released)

    def unexpired_bases(self, key_index: int, now: datetime, partition: int = 0) -> Sequence[CrlRecord]:
        with self._reading() as connection:
            found = connection.many(
                f"SELECT {rows.CRL_COLUMNS} FROM ca_crl WHERE ca_id = ? AND key_index = ? AND min_base = 0"  # noqa: S608
                " AND crl_partition = ? AND next_update > ? ORDER BY number",
                (self._ca_id, key_index, partition, rows.seconds(now)),
            )
        return [rows.crl_record((*row, b"")) for row in found]

    def _not_expired_before(self, key_index: int, partition: int, *, expired: bool) -> int:
        """Certificates that ended earlier are left out; none where those that expired stay."""
        last = None if expired else self._last_base_update(key_index, partition)
        return -1 if last is None else rows.seconds(last)

    def _last_base_update(self, key_index: int, partition: int) -> datetime | None:
        """thisUpdate of the newest base CRL of a key, or of one of its partitions."""
        with self._reading() as connection:
            row = connection.one(
                "SELECT this_update FROM ca_crl WHERE ca_id = ? AND key_index = ? AND min_base = 0"
                " AND crl_partition = ? ORDER BY number DESC LIMIT 1",
                (self._ca_id, key_index, partition),
            )
        return None if row is None else rows.moment(row[0])

    def latest_crl(self, key_index: int, *, delta: bool = False, partition: int = 0) -> CrlRecord | None:
        with self._reading() as connection:
            row = connection.one(
                f"SELECT {rows.qualified(rows.CRL_COLUMNS, 'l')}, d.der"  # noqa: S608
                " FROM ca_crl l JOIN ca_crl_der d ON d.id = l.id"
                " WHERE l.ca_id = ? AND l.key_index = ? AND l.crl_partition = ?"
                f" AND l.min_base {'>' if delta else '='} 0 ORDER BY l.number DESC LIMIT 1",
                (self._ca_id, key_index, partition),
            )
        return None if row is None else rows.crl_record(row)

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
        sql = (
            "UPDATE ca_crl SET published_when = ?, publish_error = ? WHERE ca_id = ? AND key_index = ?"  # noqa: S608
            f" AND number = ? AND crl_partition = ? AND min_base {'>' if delta else '='} 0"
        )
        params = (rows.optional_seconds(when), rows.text(error), self._ca_id, key_index, number, partition)
        if self._transaction_here() is not None:
            with self._reading() as connection:
                connection.execute(sql, params)
            return
        with _explained(), self._database.transaction() as connection:
            self._lock(connection)
            connection.execute(sql, params)

    def deliveries(self) -> Sequence[Delivery]:
        with self._reading() as connection:
            found = connection.many(
                "SELECT target, file, number, delivered_when, tried_when, error FROM ca_delivery WHERE ca_id = ?",
                (self._ca_id,),
            )
        return sorted(map(rows.delivery, found), key=lambda each: (each.target, each.file))

    def note_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        before, now = (
            {(each.target, each.file): each for each in those} for those in (self.deliveries(), deliveries)
        )
        if before == now:
            return
        with _explained(), self._database.transaction() as connection:
            self._lock(connection)
            for key in before.keys() - now.keys():
                connection.execute(
                    "DELETE FROM ca_delivery WHERE ca_id = ? AND target = ? AND file = ?", (self._ca_id, *key)
                )
            changed = [each for key, each in now.items() if each != before.get(key)]
            if changed:
                connection.executemany(
                    "INSERT INTO ca_delivery (ca_id, target, file, number, delivered_when, tried_when, error)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (ca_id, target, file) DO UPDATE SET"
                    " number = excluded.number, delivered_when = excluded.delivered_when,"
                    " tried_when = excluded.tried_when, error = excluded.error",
                    [(self._ca_id, *rows.delivery_values(each)) for each in changed],
                )

    def crl_partitions(self, key_index: int, now: datetime) -> Sequence[int]:
        """One step through an index for each of them, however many certificates there are."""
        found: list[int] = []
        last = 0
        with self._reading() as connection:
            while True:
                row = connection.one(
                    "SELECT crl_partition FROM ca_certificate WHERE ca_id = ? AND crl_partition > 0"
                    " AND crl_partition > ? ORDER BY crl_partition LIMIT 1",
                    (self._ca_id, last),
                )
                if row is None:
                    return found
                last = row[0]
                alive = connection.one(
                    "SELECT 1 FROM ca_certificate WHERE ca_id = ? AND crl_partition > 0 AND crl_partition = ?"
                    " AND ca_key_index = ? AND not_after > ? LIMIT 1",
                    (self._ca_id, last, key_index, rows.seconds(now)),
                )
                if alive is not None:
                    found.append(last)

    def last_request_id(self) -> int:
        with self._reading() as connection:
            row = connection.one("SELECT next_request_id FROM ca WHERE id = ?", (self._ca_id,))
        return 0 if row is None else row[0] - 1

    # -- views -------------------------------------------------------------------------------------------------

    def view(
        self,
        table: Table,
        where: Sequence[Restriction],
        columns: Sequence[str],
        sort: Sort | None,
        limit: int | None,
    ) -> Iterator[Row]:
        """Rows of a table; what is wrong with the question is said at once, not at the first row.

        Raises:
            InvalidArgument: a column that the table does not have, or a value that does not fit its column.
        """
        listing = make_listing(self._ca_id, self._database.dialect, table, where, columns, sort, limit)
        if limit is not None and limit <= _SMALL_VIEW:
            with self._reading() as connection:
                return map(listing.row, connection.many(listing.sql, listing.params))
        return map(listing.row, self._streamed(listing.sql, listing.params))

    def count(self, table: Table, where: Sequence[Restriction], by: str) -> Mapping[object, int]:
        """How many rows of a table there are for each value of a column. Nothing is bounded, and every row counts.

        Raises:
            InvalidArgument: as `view`.
        """
        sql, params, read = make_count(self._ca_id, self._database.dialect, table, where, by)
        with self._reading() as connection:
            rows = connection.many(sql, params)
        return {None if value is None else read(value): int(count) for value, count in rows}

    def _streamed(self, sql: str, params: Sequence[int | str]) -> Iterator[tuple[Any, ...]]:
        with self._reading() as connection:
            yield from connection.stream(sql, params)


def _load(connection: Connection, ca_id: int) -> CaRecord:
    """The CA's row with its certificates, both of one version."""
    while True:
        row = connection.one(
            "SELECT name, ca_type, parent, settings, initial_settings, crl_number, version FROM ca WHERE id = ?",
            (ca_id,),
        )
        if row is None:
            raise _no_such_ca(ca_id)
        found = connection.many(
            f"SELECT {rows.CA_CERTIFICATE_COLUMNS} FROM ca_ca_certificate"  # noqa: S608
            " WHERE ca_id = ? ORDER BY certificate_index",
            (ca_id,),
        )
        companions = connection.many(
            "SELECT certificate_index, role, der FROM ca_companion_certificate"
            " WHERE ca_id = ? ORDER BY certificate_index, role, position",
            (ca_id,),
        )
        if connection.one("SELECT version FROM ca WHERE id = ?", (ca_id,)) == (row[6],):
            break
    name, ca_type, parent, settings, initial_settings, crl_number, version = row
    return CaRecord(
        ca_id=ca_id,
        name=name,
        ca_type=CaType(ca_type),
        parent=parent,
        settings=json.loads(settings),
        certificates=tuple(rows.ca_certificate_record(row, companions) for row in found),
        crl_number=crl_number,
        version=version,
        initial_settings=json.loads(initial_settings),
    )


def _no_such_ca(ca_id: int) -> ConfigurationError:
    return ConfigurationError(f"the database knows no CA number {ca_id}; was it initialised for this home folder?")


@contextmanager
def _explained() -> Iterator[None]:
    """A database that cannot be had, in the words of the door."""
    try:
        yield
    except UnknownOutcome as error:
        raise CaUnreachable(str(error), HResult.ERROR_TIMEOUT) from error
    except DatabaseBusy as error:
        raise CaUnreachable(str(error), HResult.ERROR_BUSY) from error
    except DatabaseUnavailable as error:
        raise CaUnreachable(str(error)) from error


def _of_partition(partition: int, alias: str = "") -> tuple[str, tuple[int, ...]]:
    """A condition on one CRL partition; the index on partitions is of those above 0."""
    return (f" AND {alias}crl_partition > 0 AND {alias}crl_partition = ?", (partition,)) if partition else ("", ())
