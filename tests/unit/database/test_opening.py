"""Opening: what is wrong is said in one sentence that says what to change."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from certwright.database import Database, DatabaseError, DatabaseUnavailable, UnknownOutcome, sqlite_url
from certwright.database.opening import sqlite_path
from tests.support.postgresql import PostgresqlServer


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://localhost/ca",
        "sqlite://relative/path.db",
        "sqlite:///",
        "sqlite:",
        "/var/lib/certwright/certwright.db",
    ],
)
def test_a_wrong_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(DatabaseError, match="sqlite:///"):
        Database.open(url)


def test_paths_survive_their_url(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "50% ü?#.db"
    assert sqlite_path(sqlite_url(path)) == path
    path.parent.mkdir()
    Database.open(sqlite_url(path), create=True).close()
    assert path.exists()


def test_an_absolute_path_may_be_written_with_four_slashes() -> None:
    assert sqlite_path("sqlite:////var/lib/ca.db") == sqlite_path("sqlite:///var/lib/ca.db") == Path("/var/lib/ca.db")


def test_a_missing_file_is_not_made_unasked(tmp_path: Path) -> None:
    path = tmp_path / "missing.db"
    with pytest.raises(DatabaseUnavailable, match="certwright init"):
        Database.open(sqlite_url(path))
    assert not path.exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="correct its folder"):
        Database.open(sqlite_url(tmp_path / "nowhere" / "test.db"), create=True)


def test_a_new_file_and_its_log_are_private(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    database = Database.open(sqlite_url(path), create=True)
    with database.transaction() as connection:
        connection.execute("CREATE TABLE note (id INTEGER PRIMARY KEY)")
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) == 3
    database.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    path.write_bytes(b"certainly no database" * 100)
    with pytest.raises(DatabaseUnavailable, match="no SQLite database"):
        Database.open(sqlite_url(path))


def test_sqlite_is_durable_and_checks_foreign_keys(tmp_path: Path) -> None:
    """A commit must survive a power failure: WAL alone, without FULL, loses the last ones."""
    database = Database.open(sqlite_url(tmp_path / "test.db"), create=True)
    with database.read() as connection:
        settings = {
            name: connection.one(f"PRAGMA {name}")
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "wal_autocheckpoint")
        }
    database.close()
    assert settings == {
        "journal_mode": ("wal",),
        "synchronous": (2,),
        "foreign_keys": (1,),
        "busy_timeout": (5000,),
        "wal_autocheckpoint": (4000,),
    }


def test_the_busy_timeout_is_back_after_a_transaction(tmp_path: Path) -> None:
    database = Database.open(sqlite_url(tmp_path / "test.db"), create=True)
    with database.transaction() as connection:
        assert connection.one("PRAGMA busy_timeout") == (5000,)
    database.close()


def test_a_large_log_is_truncated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certwright.database.sqlite._LARGE_LOG", 4096)
    database = Database.open(sqlite_url(tmp_path / "test.db"), create=True)
    with database.transaction() as connection:
        connection.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, data BLOB)")
        connection.execute("INSERT INTO note (data) VALUES (?)", (bytes(100_000),))
    log = tmp_path / "test.db-wal"
    assert log.stat().st_size > 100_000
    database.maintain()
    assert log.stat().st_size == 0
    database.close()


def test_a_killed_process_leaves_what_it_committed_and_nothing_else(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "test.db")
    program = (
        "import os, signal\n"
        "from certwright.database import Database\n"
        f"database = Database.open({url!r}, create=True)\n"
        "with database.transaction() as connection:\n"
        "    connection.execute('CREATE TABLE note (name TEXT)')\n"
        "    connection.execute('INSERT INTO note VALUES (?)', ('committed',))\n"
        "with database.transaction() as connection:\n"
        "    connection.execute('INSERT INTO note VALUES (?)', ('not committed',))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr
    database = Database.open(url)
    with database.transaction() as connection:
        assert connection.many("SELECT name FROM note") == [("committed",)]
    database.close()


def test_another_program_reads_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    database = Database.open(sqlite_url(path), create=True)
    with database.transaction() as connection:
        connection.execute("CREATE TABLE note (name TEXT)")
        connection.execute("INSERT INTO note VALUES (?)", ("ü",))
    plain = sqlite3.connect(path)
    assert plain.execute("SELECT name FROM note").fetchall() == [("ü",)]
    plain.close()
    database.close()


def test_an_unreachable_server_is_named_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    url = f"postgresql://certwright:hunter2@/ca?host={tmp_path}"
    with pytest.raises(DatabaseUnavailable, match="cannot be reached") as caught:
        Database.open(url)
    assert "hunter2" not in str(caught.value)


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "certwright.database.postgresql", raising=False)
    with pytest.raises(DatabaseError, match=re.escape("certwright[postgres]")):
        Database.open("postgresql://localhost/ca")


def test_a_lost_connection_is_replaced_when_reading(postgresql: PostgresqlServer) -> None:
    url = postgresql.create()
    database = Database.open(url)
    for _ in range(3):
        postgresql.disconnect(url)
        with database.read() as connection:
            assert connection.one("SELECT 1") == (1,)
    database.close()


def test_a_lost_connection_is_replaced_before_a_transaction(postgresql: PostgresqlServer) -> None:
    url = postgresql.create()
    database = Database.open(url)
    with database.read() as connection:
        connection.execute("CREATE TABLE note (name TEXT)")
    postgresql.disconnect(url)
    with database.transaction() as connection:
        connection.execute("INSERT INTO note VALUES (?)", ("a",))
    with database.read() as connection:
        assert connection.many("SELECT name FROM note") == [("a",)]
    database.close()


def test_a_connection_lost_inside_a_transaction_fails_it_and_the_next_one_works(postgresql: PostgresqlServer) -> None:
    url = postgresql.create()
    database = Database.open(url)
    with database.read() as connection:
        connection.execute("CREATE TABLE note (name TEXT)")

    def lose() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO note VALUES (?)", ("a",))
            postgresql.disconnect(url)
            connection.many("SELECT name FROM note")

    with pytest.raises(DatabaseUnavailable, match="lost"):
        lose()
    with database.transaction() as connection:
        assert connection.many("SELECT name FROM note") == []
    database.close()


def test_a_connection_lost_while_committing_says_that_the_outcome_is_unknown(postgresql: PostgresqlServer) -> None:
    url = postgresql.create()
    database = Database.open(url)

    def lose() -> None:
        with database.transaction() as connection:
            connection.execute("CREATE TABLE note (name TEXT)")
            postgresql.disconnect(url)

    with pytest.raises(UnknownOutcome, match="look whether it happened"):
        lose()
    database.close()


def test_a_server_that_commits_without_the_disk_is_told_to_wait_for_it(postgresql: PostgresqlServer) -> None:
    url = postgresql.create()
    database = Database.open(url)
    with database.read() as connection:
        connection.execute(f"ALTER DATABASE {postgresql.name_of(url)} SET synchronous_commit = off")
    database.close()
    database = Database.open(url)
    with database.read() as connection:
        assert connection.one("SHOW synchronous_commit") == ("on",)
    database.close()
