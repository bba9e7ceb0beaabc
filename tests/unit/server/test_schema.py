"""Tables are made by migrations, without a Django project."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from certwright.database import DatabaseError, DatabaseUnavailable, sqlite_url
from certwright.server.schema import is_current, migrate, missing_migrations
from certwright.server.tables import ROOMS


def test_the_migrations_say_what_the_models_say() -> None:
    """What `makemigrations --check` tests."""
    assert missing_migrations() == {}


def test_an_empty_database_is_not_current_and_a_migrated_one_is(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "certwright.db")
    assert not is_current(url)
    migrate(url)
    assert is_current(url)
    migrate(url)
    assert is_current(url)


def test_every_room_has_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "certwright.db"
    migrate(sqlite_url(path))
    plain = sqlite3.connect(path)
    tables = {name for (name,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    plain.close()
    assert {"ca", "ca_request", "ca_certificate", "ca_crl", "audit_event", "audit_chain"} <= tables
    assert any(name.startswith("directory_") for name in tables)


def test_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "certwright.db"
    migrate(sqlite_url(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_database_of_a_later_version_is_not_current(tmp_path: Path) -> None:
    path = tmp_path / "certwright.db"
    migrate(sqlite_url(path))
    with sqlite3.connect(path) as plain:
        plain.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('ca', '9999_later', '2030-01-01')")
    plain.close()
    assert not is_current(sqlite_url(path))


def test_two_databases_are_migrated_by_one_process(tmp_path: Path) -> None:
    first, second = sqlite_url(tmp_path / "first.db"), sqlite_url(tmp_path / "second.db")
    migrate(first)
    assert (is_current(first), is_current(second)) == (True, False)
    migrate(second)
    assert (is_current(first), is_current(second)) == (True, True)


def test_postgresql_is_migrated_too(postgresql_with_tables: Callable[[], str]) -> None:
    assert is_current(postgresql_with_tables())


def test_what_cannot_be_reached_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="correct its folder"):
        migrate(sqlite_url(tmp_path / "nowhere" / "certwright.db"))
    with pytest.raises(DatabaseError, match="sqlite:///"):
        migrate("mysql://localhost/ca")
    pytest.importorskip("psycopg")
    with pytest.raises(DatabaseUnavailable, match="cannot be made or read"):
        is_current(f"postgresql:///ca?host={tmp_path}")


def _run(program: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_it_works_inside_a_configured_django_project(tmp_path: Path) -> None:
    """As in a console: its own settings stay, and its default database is not touched."""
    _run(f"""
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", *{list(ROOMS)!r}],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {str(tmp_path / "default.db")!r}}}}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()
from certwright.server.schema import is_current, migrate
migrate({sqlite_url(tmp_path / "ours.db")!r})
assert is_current({sqlite_url(tmp_path / "ours.db")!r})
from django.db import connections
assert list(connections) == ["default"]
""")
    assert not (tmp_path / "default.db").exists()


def test_serving_needs_no_django() -> None:
    """The CA's store, the audit trail and the database leave Django alone."""
    _run("""
import sys
import certwright.audit.trail, certwright.ca.store, certwright.database
assert not [name for name in sys.modules if name.partition(".")[0] == "django"]
""")
