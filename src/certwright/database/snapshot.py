"""One moment of a database as files, taken while others write, and put back into an empty one.

SQLite's own backup interface copies the file page by page under a read lock; PostgreSQL gives one snapshot to every
table (REPEATABLE READ) and copies each as text, which any later server reads.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Final

from certwright.database.base import DatabaseError

_CHUNK: Final = 1 << 16


def snapshot_sqlite(path: Path, copy: Path) -> None:
    """Copy a SQLite database that is in use; the copy is a single file, readable by its owner alone.

    Raises:
        DatabaseError: it cannot be read or written.
    """
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise DatabaseError(f"the database cannot be copied: {error}") from error


def check_sqlite(path: Path) -> None:
    """Raises:
    DatabaseError: the file is no sound SQLite database.
    """
    try:
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as error:
        raise DatabaseError(f"the database in the backup is damaged: {error}") from error
    if found != ("ok",):
        raise DatabaseError(f"the database in the backup is damaged: {found[0]}")


class PostgresqlTables:
    """The tables of one PostgreSQL database, in one transaction.

    Args:
        url: as `Database.open` takes it.
    """

    def __init__(self, url: str) -> None:
        """Raises:
        DatabaseError: there is no driver, or the server does not answer.
        """
        try:
            import psycopg
        except ImportError as error:
            raise DatabaseError("PostgreSQL needs its driver: pip install 'certwright[postgres]'") from error
        self._error: type[Exception] = psycopg.Error
        try:
            self._raw: Any = psycopg.connect(url)
        except psycopg.Error as error:
            raise DatabaseError(f"the PostgreSQL server cannot be reached: {error}") from error

    def close(self) -> None:
        self._raw.close()

    @contextmanager
    def reading(self) -> Iterator[Mapping[str, Sequence[str]]]:
        """One moment of all tables as long as the context lasts: their names and columns."""
        from psycopg import IsolationLevel

        self._raw.isolation_level = IsolationLevel.REPEATABLE_READ
        self._raw.read_only = True
        with self._explained():
            yield self._tables()
            self._raw.rollback()

    def _tables(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = {}
        for table, column in self._raw.execute(
            "SELECT c.table_name, c.column_name FROM information_schema.columns c"
            " JOIN information_schema.tables t USING (table_schema, table_name)"
            " WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE'"
            " ORDER BY c.table_name, c.ordinal_position"
        ):
            found.setdefault(table, []).append(column)
        return found

    def copy_out(self, table: str, columns: Sequence[str], target: IO[bytes]) -> None:
        with (
            self._explained(),
            self._raw.cursor() as cursor,
            cursor.copy(self._copy(table, columns, "TO STDOUT")) as copy,
        ):
            for piece in copy:
                target.write(piece)

    @contextmanager
    def filling(self) -> Iterator[Mapping[str, Sequence[str]]]:
        """Empty every table, let them be filled, and commit: all or nothing. Gives their names and columns."""
        with self._explained():
            tables = self._tables()
            names = self._sql().SQL(", ").join(map(self._sql().Identifier, tables))
            self._raw.execute(self._sql().SQL("TRUNCATE {}").format(names))
            yield tables
            self._raise_sequences()
            self._raw.commit()

    def copy_in(self, table: str, columns: Sequence[str], source: IO[bytes]) -> None:
        statement = self._copy(table, columns, "FROM STDIN")
        with self._explained(), self._raw.cursor() as cursor, cursor.copy(statement) as copy:
            while piece := source.read(_CHUNK):
                copy.write(piece)

    def _raise_sequences(self) -> None:
        """Numbers that the database gives go on after the highest that there is."""
        for table, column in self._raw.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND (is_identity = 'YES' OR column_default LIKE 'nextval(%')"
        ).fetchall():
            sql = self._sql()
            self._raw.execute(
                sql.SQL(
                    "SELECT setval(pg_get_serial_sequence({name}, {text}), coalesce(max({column}), 1), max({column})"
                    " IS NOT NULL) FROM {table}"
                ).format(
                    name=sql.Literal(f'"{table}"'),
                    text=sql.Literal(column),
                    column=sql.Identifier(column),
                    table=sql.Identifier(table),
                )
            )

    def _copy(self, table: str, columns: Sequence[str], direction: str) -> Any:
        sql = self._sql()
        return sql.SQL("COPY {} ({}) " + direction).format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
        )

    @staticmethod
    def _sql() -> Any:
        from psycopg import sql

        return sql

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise DatabaseError(f"the tables cannot be copied: {error}") from error
