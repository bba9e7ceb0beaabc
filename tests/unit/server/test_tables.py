"""Whose migrations this version knows, without Django; and that an older home gets the console's tables."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from certwright.adcs.errors import ConfigurationError
from certwright.server.composition import Installation
from certwright.server.tables import LIBRARIES, ROOMS, known_migrations
from tests.support.installation import Mold


def test_the_known_migrations_are_those_that_django_finds() -> None:
    from django.db.migrations.loader import MigrationLoader

    from certwright.server.django_settings import configure

    configure()
    labels = {application.rpartition(".")[2] for application in (*ROOMS, *LIBRARIES)}
    found = {f"{label}.{name}" for label, name in MigrationLoader(None).disk_migrations if label in labels}
    assert known_migrations() == found


def test_counting_them_loads_no_application() -> None:
    program = (
        "import sys\n"
        "from certwright.server.tables import known_migrations\n"
        "assert known_migrations()\n"
        "loaded = {name for name in sys.modules if name.startswith(('django.db', 'django.conf', 'allauth.'))}\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_opening_an_installation_imports_no_django() -> None:
    """A command that needs no page does not wait for it."""
    program = (
        "import sys\n"
        "import certwright.cli.application, certwright.server.composition\n"
        "loaded = {name for name in sys.modules if name.startswith(('django.db', 'django.conf', 'allauth'))}\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_home_from_before_the_console_gets_its_tables(mold: Mold, tmp_path: Path) -> None:
    home = mold.copy(tmp_path)
    path = home.folder / "database.sqlite3"
    labels = ["console", *(library.rpartition(".")[2] for library in LIBRARIES)]
    with sqlite3.connect(path) as plain:
        tables = [name for (name,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        gone = ("console_", "account_", "socialaccount_", "mfa_", "auth_", "django_session", "django_content_type")
        for table in tables:
            if table.startswith(gone):
                plain.execute(f"DROP TABLE {table}")
        marks = ", ".join("?" * len(labels))
        plain.execute(f"DELETE FROM django_migrations WHERE app IN ({marks})", labels)
    plain.close()
    with pytest.raises(ConfigurationError, match="made by an older Certwright"):
        Installation.open(home)
    with Installation.open(home, upgrade=True) as installation, installation.database.read() as connection:
        assert connection.one("SELECT COUNT(*) FROM console_account") == (0,)
        assert connection.one("SELECT COUNT(*) FROM mfa_authenticator") == (0,)
    with Installation.open(home):
        pass
