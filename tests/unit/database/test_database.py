"""One set of rules for both databases."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from certwright.database import (
    Connection,
    ConstraintViolated,
    Database,
    DatabaseBusy,
    DatabaseError,
)

INSERT = "INSERT INTO note (name, number, data) VALUES (?, ?, ?)"


def names(connection: Connection) -> list[str]:
    return [name for (name,) in connection.many("SELECT name FROM note ORDER BY id")]


def in_other_thread(work: object) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(10)  # type: ignore[arg-type]


def test_values_come_back_as_they_went_in(database: Database) -> None:
    rows = [("a", 0, b""), ("b", 2**62, b"\x00\xff"), ("ü", -1, None), ("d", None, b"x")]
    with database.transaction() as connection:
        for row in rows:
            connection.execute(INSERT, row)
    with database.read() as connection:
        found = connection.many("SELECT name, number, data FROM note ORDER BY id")
    assert rows == [(name, number, None if data is None else bytes(data)) for name, number, data in found]


def flushes(connection: Connection) -> bool:
    """Does a commit on this connection wait for the disk?"""
    if connection.dialect == "sqlite":
        return connection.one("PRAGMA synchronous") == (2,)
    return connection.one("SHOW synchronous_commit") == ("on",)


def test_a_transaction_waits_for_no_disk_only_where_it_is_said(database: Database) -> None:
    for fails in (False, True):
        try:
            with database.transaction(flushed=False) as connection:
                assert not flushes(connection)
                connection.execute(INSERT, (f"a{fails}", 1, b""))
                if fails:
                    raise LookupError
        except LookupError:
            pass
        with database.read() as connection:
            assert flushes(connection)
            assert names(connection) == ["aFalse"]
        with database.transaction() as connection:
            assert flushes(connection)


def test_a_question_mark_inside_quotes_is_no_placeholder(database: Database) -> None:
    with database.read() as connection:
        assert connection.one("SELECT '?', 'it''s ?', ? AS \"why?\", '100%'", ("here",)) == (
            "?",
            "it's ?",
            "here",
            "100%",
        )


def test_one_row_or_none(database: Database) -> None:
    with database.read() as connection:
        assert connection.one("SELECT name FROM note WHERE id = ?", (1,)) is None
        connection.execute(INSERT, ("a", 1, b""))
        connection.execute(INSERT, ("b", 2, b""))
        assert connection.one("SELECT name FROM note ORDER BY id") == ("a",)


def test_a_statement_tells_how_many_rows_it_changed(database: Database) -> None:
    with database.transaction() as connection:
        connection.executemany(INSERT, [("a", 1, b""), ("b", 1, b""), ("c", 2, b"")])
        assert connection.execute("UPDATE note SET number = 5 WHERE number = ?", (1,)).rowcount == 2
        assert connection.execute("DELETE FROM note WHERE number = ?", (7,)).rowcount == 0


def test_insert_returning_gives_the_number_of_the_row(database: Database) -> None:
    with database.transaction() as connection:
        first = connection.insert_returning(INSERT, ("a", 1, b""))
        second = connection.insert_returning(INSERT, ("b", 1, b""))
        assert connection.one("SELECT name FROM note WHERE id = ?", (second,)) == ("b",)
    assert second > first


@pytest.mark.parametrize("count", [0, 1, 5, 64, 150])
def test_many_rows_keep_their_order(database: Database, count: int) -> None:
    rows = [(f"name {number}", number, bytes([number])) for number in range(count)]
    with database.transaction() as connection:
        assert connection.executemany(INSERT, rows) == count
        assert [name for name, _, _ in rows] == names(connection)


def test_many_rows_count_only_those_written(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(INSERT, ("taken", 1, b""))
        written = connection.executemany(
            f"{INSERT} ON CONFLICT (name) DO NOTHING", [("new", 1, b""), ("taken", 2, b""), ("newer", 3, b"")]
        )
    assert written == 2


def test_many_updates_are_done_one_after_the_other(database: Database) -> None:
    with database.transaction() as connection:
        connection.executemany(INSERT, [("a", 1, b""), ("b", 2, b"")])
        assert (
            connection.executemany("UPDATE note SET number = ? WHERE name = ?", [(7, "a"), (8, "b"), (9, "c")]) == 2
        )


def test_what_is_committed_stays(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(INSERT, ("a", 1, b""))
    with database.read() as connection:
        assert names(connection) == ["a"]


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.transaction() as connection:
            connection.execute(INSERT, ("a", 1, b""))
            raise KeyError("something else went wrong")

    with pytest.raises(KeyError):
        fail()
    with database.read() as connection:
        assert names(connection) == []


def test_a_refused_row_names_the_constraint_and_undoes_the_transaction(database: Database) -> None:
    def repeat() -> None:
        with database.transaction() as connection:
            connection.execute(INSERT, ("a", 1, b""))
            connection.execute(INSERT, ("a", 2, b""))

    with pytest.raises(ConstraintViolated, match="note"):
        repeat()
    with database.read() as connection:
        assert names(connection) == []


def test_a_swallowed_error_does_not_look_like_a_commit(database: Database) -> None:
    """PostgreSQL answers COMMIT with ROLLBACK after a failed statement; SQLite keeps what went well."""

    def swallow() -> None:
        with database.transaction() as connection:
            connection.execute(INSERT, ("a", 1, b""))
            with pytest.raises(DatabaseError):
                connection.execute("SELECT nonsense FROM nowhere")

    if database.dialect == "postgresql":
        with pytest.raises(DatabaseError, match="undone"):
            swallow()
    else:
        swallow()
        with database.read() as connection:
            assert names(connection) == ["a"]


def test_reading_inside_a_transaction_sees_its_changes_and_other_threads_do_not(database: Database) -> None:
    def seen_elsewhere() -> list[str]:
        with database.read() as connection:
            return names(connection)

    with database.transaction() as connection:
        connection.execute(INSERT, ("a", 1, b""))
        with database.read() as again:
            assert names(again) == ["a"]
        assert in_other_thread(seen_elsewhere) == []


def test_a_transaction_inside_a_transaction_is_refused(database: Database) -> None:
    with (
        database.transaction(),
        pytest.raises(DatabaseError, match="open already"),
        database.transaction(),
    ):
        pass


def test_each_thread_has_its_own_connection_and_keeps_it(database: Database) -> None:
    def mine() -> Connection:
        with database.read() as first, database.read() as second:
            assert first is second
            return first

    assert in_other_thread(mine) is not mine()


def test_connections_of_threads_that_ended_are_closed(database: Database) -> None:
    for _ in range(5):
        thread = threading.Thread(target=lambda: database.maintain())
        thread.start()
        thread.join()
    in_other_thread(database.maintain)
    assert len(database._connections) <= 3


def test_a_lock_that_comes_free_in_time_is_waited_for(database: Database) -> None:
    with database.read() as connection:
        connection.execute(INSERT, ("a", 0, b""))
    locked, release = threading.Event(), threading.Event()
    lock = "" if database.dialect == "sqlite" else " FOR UPDATE"

    def hold() -> None:
        with database.transaction() as connection:
            connection.one(f"SELECT id FROM note{lock}")
            connection.execute("UPDATE note SET number = 1")
            locked.set()
            release.wait(10)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(hold)
        assert locked.wait(10)
        threading.Timer(0.05, release.set).start()
        with database.transaction() as connection:
            assert connection.one(f"SELECT number FROM note{lock}") == (1,)
        held.result(10)


def test_a_lock_that_stays_taken_is_given_up_at_the_deadline(database: Database) -> None:
    with database.read() as connection:
        connection.execute(INSERT, ("a", 0, b""))
    locked, release = threading.Event(), threading.Event()
    lock = "" if database.dialect == "sqlite" else " FOR UPDATE"

    def hold() -> None:
        with database.transaction() as connection:
            connection.one(f"SELECT id FROM note{lock}")
            locked.set()
            release.wait(10)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(hold)
        assert locked.wait(10)
        started = time.monotonic()
        with (
            pytest.raises(DatabaseBusy, match="locked"),
            database.transaction(deadline=time.monotonic() + 0.1) as connection,
        ):
            connection.one(f"SELECT id FROM note{lock}")
        assert time.monotonic() - started < 5
        release.set()
        held.result(10)
    with database.transaction() as connection:
        assert names(connection) == ["a"]


def test_streaming_gives_all_rows_and_leaves_the_connection_free(database: Database) -> None:
    with database.transaction() as connection:
        connection.executemany(INSERT, [(f"{number:05}", number, b"") for number in range(4500)])
    total = 0
    with database.read() as connection:
        for (number,) in connection.stream("SELECT number FROM note WHERE number >= ? ORDER BY id", (0,)):
            if number in (0, 4000):
                with database.transaction() as writing:
                    writing.execute("UPDATE note SET data = ? WHERE number = ?", (b"seen", number))
            total += number
    assert total == sum(range(4500))


def test_streaming_inside_a_transaction_sees_its_changes(database: Database) -> None:
    with database.transaction() as connection:
        connection.executemany(INSERT, [("a", 1, b""), ("b", 2, b"")])
        rows = connection.stream("SELECT name FROM note ORDER BY id")
        assert next(rows) == ("a",)
        connection.execute("UPDATE note SET number = 3")
        assert list(rows) == [("b",)]


def test_an_abandoned_stream_holds_nothing(database: Database) -> None:
    with database.transaction() as connection:
        connection.executemany(INSERT, [(f"{number:05}", number, b"") for number in range(3000)])
    with database.read() as connection:
        rows = connection.stream("SELECT number FROM note")
        next(rows)
        rows.close()  # type: ignore[attr-defined]
    with database.transaction() as connection:
        connection.execute("DELETE FROM note")


def test_writers_in_many_threads_all_get_through(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(INSERT, ("counter", 0, b""))

    def count(_: int) -> None:
        lock = "" if database.dialect == "sqlite" else " FOR UPDATE"
        with database.transaction() as connection:
            row = connection.one(f"SELECT number FROM note{lock}")
            assert row is not None
            connection.execute("UPDATE note SET number = ?", (row[0] + 1,))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(100)))
    with database.read() as connection:
        assert connection.one("SELECT number FROM note") == (100,)


def test_after_closing_nothing_works_any_more(database: Database) -> None:
    database.close()
    with pytest.raises(DatabaseError, match="closed"), database.read() as connection:
        connection.one("SELECT 1")


def test_a_missing_table_says_what_to_do(database: Database) -> None:
    with database.read() as connection, pytest.raises(DatabaseError, match="certwright init"):
        connection.one("SELECT * FROM ca_requests")


def test_housekeeping_does_no_harm(database: Database) -> None:
    database.maintain()
    with database.transaction() as connection:
        connection.execute(INSERT, ("a", 1, b""))
