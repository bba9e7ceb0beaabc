"""SQLite or PostgreSQL behind one connection. Knows no table, no room and no framework.

SQL is written once with `?` placeholders. Whole numbers for times (seconds since the epoch, UTC), bytes for blobs.
Every thread has its own connection; a transaction takes the write lock at its start or says that it could not.
"""

from certwright.database.base import (
    DEFAULT_PATIENCE,
    Connection,
    ConstraintViolated,
    DatabaseBusy,
    DatabaseError,
    DatabaseUnavailable,
    Dialect,
    Params,
    Result,
    Row,
    UnknownOutcome,
)
from certwright.database.opening import Database, sqlite_url

__all__ = [
    "DEFAULT_PATIENCE",
    "Connection",
    "ConstraintViolated",
    "Database",
    "DatabaseBusy",
    "DatabaseError",
    "DatabaseUnavailable",
    "Dialect",
    "Params",
    "Result",
    "Row",
    "UnknownOutcome",
    "sqlite_url",
]
