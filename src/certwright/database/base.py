"""What both databases have in common: the connection as its users see it, and the ways in which it fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final, Literal

Dialect = Literal["sqlite", "postgresql"]
Row = tuple[Any, ...]
Value = int | float | str | bytes | None
Params = Sequence[Value]

DEFAULT_PATIENCE: Final = 30.0
"""Seconds a transaction waits for the write lock when its caller names no deadline."""

STREAM_CHUNK: Final = 2000
"""Rows that `Connection.stream` holds in memory at once."""


class DatabaseError(Exception):
    """The database refused or failed; the message is one sentence that says what to do about it."""


class DatabaseBusy(DatabaseError):
    """Somebody else held the lock until the deadline. Nothing was changed."""


class DatabaseUnavailable(DatabaseError):
    """The server, or the file, cannot be reached (any more). Nothing was changed."""


class UnknownOutcome(DatabaseUnavailable):
    """The connection was lost while committing: whether the transaction happened is for a reader to find out."""


class ConstraintViolated(DatabaseError):
    """A unique index, foreign key or NOT NULL refused a row."""


class Result(list[Row]):
    """The rows a statement returned; `rowcount` says how many it changed."""

    __slots__ = ("rowcount",)

    def __init__(self, rows: Iterable[Row] = (), rowcount: int = 0) -> None:
        super().__init__(rows)
        self.rowcount = rowcount


class Connection(ABC):
    """One connection of one thread. Statements use `?` whichever database is behind."""

    __slots__ = ("in_transaction",)

    dialect: ClassVar[Dialect]

    def __init__(self) -> None:
        self.in_transaction = False

    # -- statements --------------------------------------------------------------------------------------------

    @abstractmethod
    def execute(self, sql: str, params: Params = ()) -> Result:
        """Run one statement.

        Raises:
            ConstraintViolated: a constraint refused it.
            DatabaseError: anything else.
        """

    @abstractmethod
    def executemany(self, sql: str, rows: Sequence[Params]) -> int:
        """Run one statement once per row, in as few round trips as the driver can; returns the rows changed."""

    @abstractmethod
    def many(self, sql: str, params: Params = ()) -> list[Row]:
        """All rows of a query. Outside a transaction it survives a lost connection."""

    def one(self, sql: str, params: Params = ()) -> Row | None:
        """The first row of a query, or None."""
        rows = self.many(sql, params)
        return rows[0] if rows else None

    @abstractmethod
    def stream(self, sql: str, params: Params = ()) -> Iterator[Row]:
        """Rows of a query without holding them all in memory.

        Outside a transaction the rows come over a connection of their own, so that this one stays free.
        """

    def insert_returning(self, sql: str, params: Params = (), column: str = "id") -> int:
        """Insert one row and return the number the database gave it.

        Args:
            sql: an INSERT without RETURNING.
            column: the numbered column; a name of this program, never input.
        """
        return int(self.execute(f"{sql} RETURNING {column}", params)[0][0])

    # -- transactions: for `Database` --------------------------------------------------------------------------

    @abstractmethod
    def begin(self, deadline: float, *, flushed: bool = True) -> None:
        """Start a transaction. Raises `DatabaseBusy` when the lock cannot be had before `deadline`.

        Args:
            flushed: as of `Database.transaction`.
        """

    @abstractmethod
    def commit(self) -> None:
        """Make it durable. Raises `DatabaseError` with nothing changed, or `UnknownOutcome`."""

    @abstractmethod
    def rollback(self) -> None:
        """Undo. Never raises: a connection that cannot even do this is replaced at its next use."""

    @abstractmethod
    def close(self) -> None:
        """Give the connection back. Never raises."""


class Driver(ABC):
    """Makes connections to one database."""

    dialect: ClassVar[Dialect]

    @abstractmethod
    def connect(self) -> Connection:
        """A new connection. Raises `DatabaseUnavailable`."""

    def maintain(self, connection: Connection) -> None:  # noqa: B027  # nothing to do is a good default
        """Housekeeping from time to time."""
