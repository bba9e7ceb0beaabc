"""Opening a database by its URL, and a connection of its own for every thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from certwright.database.base import DEFAULT_PATIENCE, Connection, DatabaseError, Dialect, Driver
from certwright.database.sqlite import SqliteDriver


class Database:
    """One database, shared by all threads of this process."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, Connection] = {}
        self._closed = False

    @classmethod
    def open(cls, url: str, *, create: bool = False) -> Database:
        """Open a database and try it.

        Args:
            url: `sqlite:///absolute/path` or `postgresql://user:password@host/name`.
            create: make a missing SQLite file (empty, readable by its owner alone).

        Raises:
            DatabaseError: the URL is wrong, a driver is missing, or the database cannot be reached.
        """
        database = cls(_driver(url, create=create))
        with database.read() as connection:
            connection.one("SELECT 1")
        return database

    @property
    def dialect(self) -> Dialect:
        return self._driver.dialect

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """This thread's connection, each statement on its own.

        Inside a `transaction` of the same thread it is that transaction's connection and sees its changes.
        """
        yield self._connection()

    @contextmanager
    def transaction(self, *, deadline: float | None = None, flushed: bool = True) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back when an exception passes through.

        SQLite takes the write lock at once; on PostgreSQL the caller locks its rows (`SELECT ... FOR UPDATE`).

        Args:
            deadline: `time.monotonic()` value until which locks are waited for; default in 30 seconds.
            flushed: on disk when this ends. Without, a power failure may undo it until the next transaction that is:
                logs are written in order, so whatever comes after it is never there without it.

        Raises:
            DatabaseBusy: a lock could not be had in time.
            UnknownOutcome: the connection was lost during the commit.
            DatabaseError: anything else; nothing was changed.
        """
        connection = self._connection()
        if connection.in_transaction:
            raise DatabaseError("this thread has a transaction open already; finish it before starting another")
        connection.begin(time.monotonic() + DEFAULT_PATIENCE if deadline is None else deadline, flushed=flushed)
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.commit()

    def maintain(self) -> None:
        """Housekeeping, to be called every few minutes by whoever has time."""
        self._driver.maintain(self._connection())

    def close(self) -> None:
        """Close the connections of all threads; to be called when their work is done."""
        with self._lock:
            self._closed = True
            connections = list(self._connections.values())
            self._connections.clear()
        for connection in connections:
            connection.close()

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._mine, "connection", None)
        if connection is not None and not self._closed:
            return connection
        if self._closed:
            raise DatabaseError("the database was closed")
        connection = self._driver.connect()
        with self._lock:
            for thread in [thread for thread in self._connections if not thread.is_alive()]:
                self._connections.pop(thread).close()
            self._connections[threading.current_thread()] = connection
        self._mine.connection = connection
        return connection


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite://{quote(str(path.absolute()))}"


def sqlite_path(url: str) -> Path:
    """The file a SQLite URL names.

    Raises:
        DatabaseError: it names none, or one that depends on the working directory.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme != "sqlite" or parts.netloc or not path.startswith("/") or path.endswith("/"):
        raise DatabaseError(f"{url!r} names no SQLite file; write sqlite:///absolute/path/to/file.db")
    return Path("/" + path.lstrip("/"))


def _driver(url: str, *, create: bool) -> Driver:
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        return SqliteDriver(sqlite_path(url), create=create)
    if scheme in ("postgresql", "postgres"):
        # the driver is an extra, and its absence is told by a sentence instead of a traceback
        from certwright.database.postgresql import PostgresqlDriver

        return PostgresqlDriver(url)
    raise DatabaseError(
        "the database URL begins neither with sqlite:/// nor with postgresql://; correct it, for instance"
        " sqlite:///var/lib/certwright/certwright.db or postgresql://certwright@localhost/certwright"
    )
