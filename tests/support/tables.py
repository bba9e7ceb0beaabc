"""SQLite databases with all tables: migrated once for all tests of a process, then copied."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from certwright.database.opening import sqlite_url
from certwright.server.schema import migrate


@functools.cache
def _empty_tables() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "empty.db")
        migrate(sqlite_url(path))
        return path.read_bytes()


def new_sqlite_url(folder: Path, name: str = "certwright.db") -> str:
    """The URL of a new SQLite database with all tables."""
    path = folder / name
    path.touch(0o600)
    path.write_bytes(_empty_tables())
    return sqlite_url(path)
