"""PostgreSQL through psycopg 3: prepared statements, binary values, pipelines for many rows.

A lost connection is replaced at its next use. What only reads is then asked once more; what writes is not, because
nobody can know how far it came.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from certwright.database.base import (
    STREAM_CHUNK,
    Connection,
    ConstraintViolated,
    DatabaseBusy,
    DatabaseError,
    DatabaseUnavailable,
    Dialect,
    Driver,
    Params,
    Result,
    Row,
    UnknownOutcome,
)

try:
    import psycopg
    from psycopg import pq
    from psycopg.types.numeric import Int8BinaryDumper
    from psycopg.types.string import StrBinaryDumper
except ImportError as error:
    raise DatabaseError("PostgreSQL needs its driver: pip install 'certwright[postgres]'") from error

_Raw = psycopg.Connection[Row]

_CONNECT_TIMEOUT: Final = 10
_SESSION: Final = (
    "SET client_min_messages = warning;"
    "SET lock_timeout = 0;"
    # never weaker than `on`: what is answered must survive a power failure; a stronger choice of the server is kept
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
)


class PostgresqlConnection(Connection):
    __slots__ = ("_cursor", "_driver", "_raw")

    dialect: ClassVar[Dialect] = "postgresql"

    def __init__(self, driver: PostgresqlDriver) -> None:
        super().__init__()
        self._driver = driver
        self._raw = driver.connect_raw()
        self._cursor = psycopg.RawCursor(self._raw)

    def execute(self, sql: str, params: Params = ()) -> Result:
        self._revive()
        try:
            return _result(self._cursor.execute(_numbered(sql), params, binary=True))
        except psycopg.Error as error:
            raise self._driver.explained(error) from error

    def executemany(self, sql: str, rows: Sequence[Params]) -> int:
        self._revive()
        insert = _INSERT.fullmatch(sql)
        try:
            if insert is None:
                self._cursor.executemany(_numbered(sql), rows)
                return max(self._cursor.rowcount, 0)
            return self._insert_many(insert, rows)
        except psycopg.Error as error:
            raise self._driver.explained(error) from error

    def _insert_many(self, insert: re.Match[str], rows: Sequence[Params]) -> int:
        """Many rows with one statement: a third of the time of a pipeline of single rows.

        The sizes are few, so that each statement is prepared once.
        """
        head, values, tail = insert.groups(default="")
        written = at = 0
        for size in _INSERT_SIZES:
            if len(rows) - at < size:
                continue
            statement = _numbered(f"{head}{', '.join([values] * size)}{tail}")
            while len(rows) - at >= size:
                params = list(itertools.chain.from_iterable(rows[at : at + size]))
                written += max(self._cursor.execute(statement, params).rowcount, 0)
                at += size
        return written

    def many(self, sql: str, params: Params = ()) -> list[Row]:
        self._revive()
        try:
            return self._cursor.execute(_numbered(sql), params, binary=True).fetchall()
        except psycopg.Error as error:
            if self.in_transaction or not self._raw.broken:
                raise self._driver.explained(error) from error
        self._revive()  # the server was restarted, or closed what was idle for long
        try:
            return self._cursor.execute(_numbered(sql), params, binary=True).fetchall()
        except psycopg.Error as error:
            raise self._driver.explained(error) from error

    def stream(self, sql: str, params: Params = ()) -> Iterator[Row]:
        raw = self._raw if self.in_transaction else self._driver.connect_raw(autocommit=False)
        try:
            with psycopg.RawServerCursor(raw, f"stream_{next(_stream_numbers)}") as cursor:
                cursor.execute(_numbered(sql), params, binary=True)
                while chunk := cursor.fetchmany(STREAM_CHUNK):
                    yield from chunk
        except psycopg.Error as error:
            raise self._driver.explained(error) from error
        finally:
            if raw is not self._raw:
                raw.close()

    def begin(self, deadline: float, *, flushed: bool = True) -> None:
        milliseconds = max(1, int((deadline - time.monotonic()) * 1000))
        start = f"BEGIN; SET LOCAL lock_timeout = {milliseconds}"
        if not flushed:
            start += "; SET LOCAL synchronous_commit = off"
        self._revive()
        try:
            try:
                self._cursor.execute(start)
            except psycopg.OperationalError:
                if not self._raw.broken:
                    raise
                self._revive()
                self._cursor.execute(start)
        except psycopg.Error as error:
            raise self._driver.explained(error) from error
        self.in_transaction = True

    def commit(self) -> None:
        self.in_transaction = False
        try:
            self._cursor.execute("COMMIT")
        except psycopg.Error as error:
            if self._raw.broken:
                raise UnknownOutcome(
                    f"{self._driver.name} was lost during a commit; look whether it happened before repeating it"
                ) from error
            self.rollback()
            raise self._driver.explained(error) from error
        if self._cursor.statusmessage != "COMMIT":  # the server answers ROLLBACK after a failed statement
            raise DatabaseError("a statement of the transaction had failed, and all of it was undone")

    def rollback(self) -> None:
        self.in_transaction = False
        try:
            if not self._raw.closed and self._raw.info.transaction_status != pq.TransactionStatus.IDLE:
                self._cursor.execute("ROLLBACK")
        except psycopg.Error:
            self._raw.close()

    def close(self) -> None:
        self._raw.close()

    def _revive(self) -> None:
        if self._raw.closed and not self.in_transaction:
            self._raw.close()  # a broken one is closed for use, not for the garbage collector
            self._raw = self._driver.connect_raw()
            self._cursor = psycopg.RawCursor(self._raw)


class PostgresqlDriver(Driver):
    """One PostgreSQL database."""

    dialect: ClassVar[Dialect] = "postgresql"

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = _shown(url)

    def connect(self) -> PostgresqlConnection:
        return PostgresqlConnection(self)

    def connect_raw(self, *, autocommit: bool = True) -> _Raw:
        try:
            raw: _Raw = psycopg.connect(
                self._url,
                autocommit=True,
                prepare_threshold=1,
                connect_timeout=_CONNECT_TIMEOUT,
                application_name="certwright",
            )
            # one type for all whole numbers, or each size of number prepares a statement of its own
            raw.adapters.register_dumper(int, Int8BinaryDumper)
            raw.adapters.register_dumper(str, StrBinaryDumper)
            raw.execute(_SESSION)
            raw.autocommit = autocommit
        except psycopg.Error as error:
            raise DatabaseUnavailable(
                f"{self.name} cannot be reached; start it or correct the database URL ({_first_line(error)})"
            ) from error
        return raw

    def explained(self, error: psycopg.Error) -> DatabaseError:
        """The error in words an administrator can act on."""
        reason = _first_line(error)
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return DatabaseBusy(f"another process kept rows of {self.name} locked for too long; try again")
        if isinstance(error, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
            return DatabaseBusy(f"another process changed the same rows of {self.name}; try again")
        if isinstance(error, psycopg.IntegrityError):
            return ConstraintViolated(f"the database refused a row: {reason}")
        if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
            return DatabaseError(
                f"{self.name} is not of this version ({reason}); run `certwright init` or restore it"
            )
        if isinstance(error, psycopg.errors.DiskFull):
            return DatabaseUnavailable(f"there is no space left for {self.name}; make room on its file system")
        if isinstance(error, psycopg.errors.ReadOnlySqlTransaction | psycopg.errors.InsufficientPrivilege):
            return DatabaseUnavailable(f"{self.name} may not be written; use the primary and its owner ({reason})")
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return DatabaseUnavailable(f"{self.name} was lost ({reason}); it is tried again at the next request")
        return DatabaseError(f"{self.name} failed: {reason}")


_stream_numbers = itertools.count(1)

_INSERT: Final = re.compile(r"(INSERT INTO \w+ \([^()]*\) VALUES )(\((?:\?, )*\?\))( ON CONFLICT [^?]*)?")
_INSERT_SIZES: Final = (64, 16, 4, 1)

_MARKS: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\?")


@lru_cache(maxsize=1024)
def _numbered(sql: str) -> bytes:
    """The statement with `$1`, `$2` ... for its question marks; those inside quotes are left alone."""
    number = itertools.count(1)
    return _MARKS.sub(lambda mark: f"${next(number)}" if mark[0] == "?" else mark[0], sql).encode()


def _result(cursor: psycopg.Cursor[Any]) -> Result:
    rows = cursor.fetchall() if cursor.description is not None else ()
    return Result(rows, max(cursor.rowcount, 0))


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _shown(url: str) -> str:
    """The database's place without its password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"the PostgreSQL database {parts.path.lstrip('/') or '(default)'} at {host or 'the local socket'}"
