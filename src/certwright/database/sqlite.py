"""SQLite: WAL with synchronous FULL, so that a commit survives a power failure and readers never wait.

`BEGIN IMMEDIATE` is repeated by ourselves until the deadline: SQLite's own busy handler sleeps up to 100 ms between
two looks, which starves whoever competes with a process that commits all the time.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import quote

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
)

_BUSY_TIMEOUT: Final = "PRAGMA busy_timeout=5000"
_NO_BUSY_TIMEOUT: Final = "PRAGMA busy_timeout=0"
_FLUSHED: Final = "PRAGMA synchronous=FULL"
_NOT_FLUSHED: Final = "PRAGMA synchronous=NORMAL"  # in WAL mode: the log is written, and synced with the next commit
_PRAGMAS: Final = (
    _BUSY_TIMEOUT,
    "PRAGMA journal_mode=WAL",
    _FLUSHED,
    "PRAGMA foreign_keys=ON",
    "PRAGMA wal_autocheckpoint=4000",  # pages: 16 MiB of log before it is folded into the file
    "PRAGMA cache_size=-65536",  # KiB, per connection at most
    "PRAGMA temp_store=MEMORY",
)
_FIRST_NAP: Final = 0.0005
_LONGEST_NAP: Final = 0.01
_LARGE_LOG: Final = 64 << 20


class SqliteConnection(Connection):
    __slots__ = ("_driver", "_flushes", "_raw")

    dialect: ClassVar[Dialect] = "sqlite"

    def __init__(self, driver: SqliteDriver, raw: sqlite3.Connection) -> None:
        super().__init__()
        self._driver = driver
        self._raw = raw
        self._flushes = True

    def execute(self, sql: str, params: Params = ()) -> Result:
        try:
            cursor = self._raw.execute(sql, params)
            return Result(cursor.fetchall(), cursor.rowcount)
        except sqlite3.Error as error:
            raise self._driver.explained(error) from error

    def executemany(self, sql: str, rows: Sequence[Params]) -> int:
        try:
            return self._raw.executemany(sql, rows).rowcount
        except sqlite3.Error as error:
            raise self._driver.explained(error) from error

    def many(self, sql: str, params: Params = ()) -> list[Row]:
        try:
            return self._raw.execute(sql, params).fetchall()
        except sqlite3.Error as error:
            raise self._driver.explained(error) from error

    def stream(self, sql: str, params: Params = ()) -> Iterator[Row]:
        # a half-read query pins its snapshot: on this connection the next write would fail as outdated
        raw = self._raw if self.in_transaction else self._driver.connect_raw()
        try:
            cursor = raw.execute(sql, params)
            while chunk := cursor.fetchmany(STREAM_CHUNK):
                yield from chunk
        except sqlite3.Error as error:
            raise self._driver.explained(error) from error
        finally:
            if raw is not self._raw:
                raw.close()

    def begin(self, deadline: float, *, flushed: bool = True) -> None:
        nap = _FIRST_NAP
        try:
            self._flush_again()
            if not flushed:
                self._raw.execute(_NOT_FLUSHED)
                self._flushes = False
            self._raw.execute(_NO_BUSY_TIMEOUT)
            while True:
                try:
                    self._raw.execute("BEGIN IMMEDIATE")
                    break
                except sqlite3.OperationalError as error:
                    if not _is_busy(error):
                        raise
                    left = deadline - time.monotonic()
                    if left <= 0:
                        self._flush_again()
                        raise DatabaseBusy(
                            f"another process kept {self._driver.path} locked for too long; try again"
                        ) from error
                    time.sleep(min(nap, left))
                    nap = min(nap * 1.5, _LONGEST_NAP)
            self.in_transaction = True
            self._raw.execute(_BUSY_TIMEOUT)
        except sqlite3.Error as error:
            self._flush_again()
            raise self._driver.explained(error) from error

    def commit(self) -> None:
        try:
            self._raw.execute("COMMIT")
        except sqlite3.Error as error:
            self.rollback()
            raise self._driver.explained(error) from error
        self.in_transaction = False
        self._flush_again()

    def rollback(self) -> None:
        self.in_transaction = False
        with suppress(sqlite3.Error):
            self._raw.rollback()  # nothing to do when the error (full disk) has rolled back by itself
        self._flush_again()

    def _flush_again(self) -> None:
        """After a transaction that was not to be flushed: this cannot be changed inside one."""
        if not self._flushes:
            with suppress(sqlite3.Error):  # then at the next one's beginning
                self._raw.execute(_FLUSHED)
                self._flushes = True

    def close(self) -> None:
        self._raw.close()

    def log_pages(self) -> int:
        """Fold the log into the file as far as readers allow; returns the pages that are left in it."""
        row = self.one("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(row[1]) if row else 0


class SqliteDriver(Driver):
    """One SQLite file.

    Raises:
        DatabaseUnavailable: the file is missing and may not be made.
    """

    dialect: ClassVar[Dialect] = "sqlite"

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        if not path.exists():
            if not create:
                raise DatabaseUnavailable(f"there is no database {path}; run `certwright init` or correct its path")
            make_private_file(path)

    def connect(self) -> SqliteConnection:
        return SqliteConnection(self, self.connect_raw())

    def connect_raw(self) -> sqlite3.Connection:
        try:
            # closed from the thread that closes the database; used by one thread only until then
            raw = sqlite3.connect(
                f"file:{quote(str(self.path))}?mode=rw",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
        except sqlite3.Error as error:
            raise self.explained(error) from error
        try:
            for pragma in _PRAGMAS:
                raw.execute(pragma)
        except sqlite3.Error as error:
            raw.close()
            raise self.explained(error) from error
        return raw

    def maintain(self, connection: Connection) -> None:
        """Truncate the write-ahead log once a long reader made it large; it keeps its size otherwise."""
        log = self.path.with_name(self.path.name + "-wal")
        if isinstance(connection, SqliteConnection) and log.exists() and log.stat().st_size > _LARGE_LOG:
            connection.log_pages()

    def explained(self, error: sqlite3.Error) -> DatabaseError:
        """The error in words an administrator can act on."""
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith("SQLITE_CONSTRAINT"):
            return ConstraintViolated(f"the database refused a row: {error}")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return DatabaseBusy(f"another process kept {self.path} locked for too long; try again")
        if name.startswith("SQLITE_FULL"):
            return DatabaseUnavailable(f"there is no space left for {self.path}; make room on its file system")
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
            return DatabaseUnavailable(
                f"{self.path} cannot be opened for writing; give this account the file and its folder ({error})"
            )
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return DatabaseUnavailable(f"{self.path} is damaged or no SQLite database; restore it from a backup")
        if name.startswith("SQLITE_IOERR"):
            return DatabaseUnavailable(f"{self.path} cannot be read or written; look at the disk ({error})")
        if "no such table" in str(error) or "no such column" in str(error):
            return DatabaseError(f"{self.path} is not of this version ({error}); run `certwright init` or restore it")
        return DatabaseError(f"the database failed: {error}")


def make_private_file(path: Path) -> None:
    """An empty file that only its owner may read; SQLite gives its log the same mode.

    Raises:
        DatabaseUnavailable: the folder is missing or closed to this account.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise DatabaseUnavailable(f"{path} cannot be made: {error.strerror}; correct its folder") from error


def _is_busy(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorname", "") or "").startswith("SQLITE_BUSY")
