"""An empty database of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from certwright.database import Database, sqlite_url
from tests.support.postgresql import PostgresqlServer


@pytest.fixture(scope="session")
def shared_postgresql(postgresql: PostgresqlServer) -> str:
    """One database for many tests: making one takes longer than most of them."""
    return postgresql.create()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """With one table, `note`."""
    url = sqlite_url(tmp_path / "test.db")
    if request.param == "postgresql":
        url = request.getfixturevalue("shared_postgresql")
    opened = Database.open(url, create=True)
    with opened.read() as connection:
        numbered = "INTEGER PRIMARY KEY" if opened.dialect == "sqlite" else "BIGSERIAL PRIMARY KEY"
        blob = "BLOB" if opened.dialect == "sqlite" else "BYTEA"
        connection.execute("DROP TABLE IF EXISTS note")
        connection.execute(
            f"CREATE TABLE note (id {numbered}, name TEXT NOT NULL UNIQUE, number BIGINT, data {blob})"
        )
    yield opened
    opened.close()
