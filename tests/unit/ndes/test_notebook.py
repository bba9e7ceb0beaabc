"""A device's row in the transaction of the CA's: begun, decided or undone, and never by halves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from certwright.adcs.errors import HResult
from certwright.adcs.request import Disposition, Response
from certwright.database import Connection, Database
from certwright.ndes import store
from certwright.ndes.notebook import Entry, Kept, Note, Notebook, NotNoted, Settled
from certwright.ndes.policy import Claim, Rejected
from certwright.ndes.store import State, Transaction
from tests.support.tables import new_sqlite_url

NOW: Final = 1_800_000_000
ISSUED: Final = Response(7, Disposition.ISSUED, HResult.S_OK, "Issued", b"certificate")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(new_sqlite_url(tmp_path))
    yield opened
    opened.close()


def entry(
    name: str,
    claim: Claim | None = None,
    instead_of: Transaction | None = None,
    digest: bytes = b"r",
    kept: Kept | None = None,
) -> Entry:
    note = Note(("", name, b"k"), digest, "WebServer", f"CN={name}", False, "192.0.2.7", NOW, instead_of, claim)
    return Entry(
        note,
        "ours",
        lambda response: Settled(State.ISSUED, response.request_id, response.message, NOW + 1),
        lambda response: kept,
    )


def row(database: Database, name: str) -> Transaction | None:
    with database.read() as connection:
        return next(iter(store.transactions_called(connection, "", name)), None)


def issue(database: Database, made: Entry) -> None:
    with database.transaction() as connection:
        made.begin(connection)
        made.decided(connection, ISSUED)


class Once:
    """Something that can be taken once."""

    def __init__(self) -> None:
        self.taken = 0
        self.given_back = 0

    def take(self, connection: Connection) -> None:
        if self.taken:
            raise Rejected("challenge used")
        self.taken += 1

    def give_back(self, connection: Connection) -> None:
        self.given_back += 1


def test_what_was_decided_is_there(database: Database) -> None:
    issue(database, entry("a"))
    found = row(database, "a")
    assert found is not None
    assert (found.state, found.request_id, found.message, found.changed) == (State.ISSUED, 7, "Issued", NOW + 1)


def test_what_waits_for_a_key_elsewhere_is_under_way_until_then(database: Database) -> None:
    made = entry("a")
    with database.transaction() as connection:
        made.begin(connection)
    found = row(database, "a")
    assert found is not None
    assert (found.state, found.owner) == (State.SUBMITTING, "ours")
    with database.transaction() as connection:
        made.decided(connection, ISSUED)
    found = row(database, "a")
    assert found is not None
    assert found.state is State.ISSUED


def test_the_same_at_the_same_moment_is_one(database: Database) -> None:
    again = entry("a")
    with database.transaction() as connection:
        entry("a").begin(connection)
        with pytest.raises(NotNoted):
            again.begin(connection)
    assert again.is_doubled
    assert again.rejected is None


def test_a_request_whose_challenge_is_gone_is_not_noted(database: Database) -> None:
    claim = Once()
    issue(database, entry("a", claim))
    second = entry("b", claim)
    with database.transaction() as connection, pytest.raises(NotNoted):
        second.begin(connection)
    assert second.rejected is not None
    assert second.rejected.rule == "challenge used"
    assert row(database, "b") is None


def test_two_of_one_transaction_share_a_challenge_only_once(database: Database) -> None:
    """As the CA decides on a batch."""
    claim = Once()
    first, second = entry("a", claim), entry("b", claim)
    with database.transaction() as connection:
        first.begin(connection)
        with pytest.raises(NotNoted):
            second.begin(connection)
        first.decided(connection, ISSUED)
    assert row(database, "a") is not None
    assert row(database, "b") is None


def test_what_was_there_before_stays_when_the_challenge_is_gone(database: Database) -> None:
    issue(database, entry("a"))
    before = row(database, "a")
    claim = Once()
    claim.taken = 1
    with database.transaction() as connection, pytest.raises(NotNoted):
        entry("a", claim, before, b"other").begin(connection)
    assert row(database, "a") == before


@pytest.mark.parametrize("there_before", [True, False])
def test_what_never_became_a_request_uses_up_nothing(database: Database, there_before: bool) -> None:
    if there_before:
        issue(database, entry("a"))
    before = row(database, "a")
    claim = Once()
    made = entry("a", claim, before, b"other")
    with database.transaction() as connection:
        made.begin(connection)
        made.undo(connection)
    assert row(database, "a") == before
    assert claim.given_back == 1


def test_a_batch_that_is_repeated_begins_anew(database: Database) -> None:
    """A fault of another request undid the transaction."""
    claim = Once()
    made = entry("a", claim)

    def broken() -> None:
        with database.transaction() as connection:
            made.begin(connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert row(database, "a") is None
    claim.taken = 0  # as the database has it again
    issue(database, made)
    assert row(database, "a") is not None


class Told:
    def __init__(self) -> None:
        self.put_in: list[bool] = []
        self.is_written = False

    def put(self, connection: Connection) -> None:
        self.put_in.append(connection.in_transaction)

    def written(self) -> None:
        self.is_written = True


def test_what_is_to_be_told_is_in_the_same_transaction(database: Database) -> None:
    told = Told()
    made = entry("a", kept=told)
    issue(database, made)
    assert made.kept is told
    assert told.put_in == [True]


def test_an_answer_that_is_found_later_is_noted_with_what_is_to_be_told(database: Database) -> None:
    issue(database, entry("a"))
    told = Told()
    notebook = Notebook(database)
    notebook.settle(("", "a", b"k"), Settled(State.DENIED, 7, "Denied", NOW + 2), told)
    found = row(database, "a")
    assert found is not None
    assert found.state is State.DENIED
    assert told.put_in == [True]
    assert told.is_written
    other = Told()
    notebook.keep(other)
    assert other.is_written
