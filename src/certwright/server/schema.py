"""The database's tables: made and kept current by Django's migrations.

Used by `init`, by upgrades and by tests. The command line needs none of it otherwise, so nothing there imports this
module: with Django and its applications it costs half a second.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState
from django.db.utils import DatabaseError as DjangoDatabaseError

from certwright.database.base import DatabaseError, DatabaseUnavailable
from certwright.database.opening import sqlite_path
from certwright.database.sqlite import make_private_file
from certwright.server.django_settings import configure
from certwright.server.tables import LABELS, ROOM_LABELS

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_MIGRATION_LOCK: Final = 0x63657274  # any number of our own: one migration at a time on a PostgreSQL database
_numbers = itertools.count(1)


def migrate(database_url: str) -> None:
    """Create or update all tables. Does nothing when they are current; safe to repeat after an interruption.

    Raises:
        DatabaseError: the database cannot be reached or changed.
    """
    with _connection(database_url) as connection, _one_at_a_time(connection):
        executor = MigrationExecutor(connection)
        executor.migrate(_targets(executor))


def is_current(database_url: str) -> bool:
    """Do the tables fit this version? A database without tables, or a newer one, does not.

    Raises:
        DatabaseError: the database cannot be reached.
    """
    with _connection(database_url) as connection:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(_targets(executor)):
            return False
        known = executor.loader.disk_migrations
        return all(key in known for key in executor.loader.applied_migrations if key[0] in LABELS)


def missing_migrations() -> dict[str, list[str]]:
    """What models say and migrations do not yet, by room. Always empty in a release; a test sees to it."""
    configure()
    executor = MigrationExecutor(None)
    detector = MigrationAutodetector(executor.loader.project_state(), ProjectState.from_apps(apps))
    changes = detector.changes(graph=executor.loader.graph, trim_to_apps=set(ROOM_LABELS))
    return {
        label: [operation.describe() for migration in migrations for operation in migration.operations]
        for label, migrations in changes.items()
    }


def _targets(executor: MigrationExecutor) -> list[tuple[str, str]]:
    return [key for key in executor.loader.graph.leaf_nodes() if key[0] in LABELS]


@contextmanager
def _connection(database_url: str) -> Iterator[BaseDatabaseWrapper]:
    """A Django connection to any URL, under a name of its own beside those of the settings."""
    description = django_database(database_url)
    configure()
    alias = f"certwright_schema_{next(_numbers)}"
    known: dict[str, Any] = connections.settings
    filled = connections.configure_settings({DEFAULT_DB_ALIAS: known[DEFAULT_DB_ALIAS], alias: description})
    known[alias] = filled[alias]
    connection = connections[alias]
    try:
        connection.ensure_connection()
        yield connection
    except DjangoDatabaseError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DatabaseUnavailable(f"the tables cannot be made or read: {reason}") from error
    finally:
        connection.close()
        del connections[alias]
        del known[alias]


def django_database(url: str) -> dict[str, Any]:
    """Django's words for a database URL."""
    if url.startswith("sqlite:"):
        path = sqlite_path(url)
        make_private_file(path)
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(path),
            "OPTIONS": {
                "timeout": 30,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
            },
        }
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise DatabaseError("the database URL begins neither with sqlite:/// nor with postgresql://; correct it")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "OPTIONS": {"connect_timeout": 10, **dict(parse_qsl(parts.query))},
    }


@contextmanager
def _one_at_a_time(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Two processes that start together after an upgrade must not both make the tables."""
    if connection.vendor != "postgresql":
        yield  # the home folder of a SQLite database has one installer
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATION_LOCK])
