"""Rows written many at a time: what was noted is durable, what was refused is not, and nothing waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from certwright.database import Connection, Database, DatabaseError, sqlite_url
from certwright.ndes import store
from certwright.ndes.notebook import Note, Notebook, Settled
from certwright.ndes.policy import Claim, Rejected
from certwright.ndes.store import State, Transaction

NOW: Final = 1_800_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    from certwright.server.schema import migrate

    url = sqlite_url(tmp_path / "ndes.db")
    migrate(url)
    opened = Database.open(url)
    yield opened
    opened.close()


@pytest.fixture
def notebook(database: Database) -> Notebook:
    return Notebook(database)


def note(name: str, claim: Claim | None = None, instead_of: Transaction | None = None, digest: bytes = b"r") -> Note:
    return Note(("", name, b"k"), digest, "WebServer", f"CN={name}", False, "192.0.2.7", NOW, instead_of, claim)


def settled(name: str, state: State = State.ISSUED) -> Settled:
    return Settled(("", name, b"k"), state, 7, "Issued", NOW + 1)


def row(database: Database, name: str) -> Transaction | None:
    with database.read() as connection:
        return next(iter(store.transactions_called(connection, "", name)), None)


def test_what_is_noted_is_there(database: Database, notebook: Notebook) -> None:
    assert notebook.begin(note("a"))
    found = row(database, "a")
    assert found is not None
    assert found.state is State.SUBMITTING
    assert not notebook.begin(note("a"))  # the same at this very moment
    notebook.settle(settled("a"), begun=True)
    found = row(database, "a")
    assert found is not None
    assert (found.state, found.request_id) == (State.ISSUED, 7)


def test_an_answer_waits_for_the_next_commit_while_others_are_at_it(database: Database, notebook: Notebook) -> None:
    notebook.begin(note("a"))
    notebook.begin(note("b"))
    notebook.settle(settled("a"), begun=True)
    stored = row(database, "a")
    assert stored is not None
    assert stored.state is State.SUBMITTING
    assert notebook.as_known(stored).state is State.ISSUED
    notebook.begin(note("c"))
    stored = row(database, "a")
    assert stored is not None
    assert stored.state is State.ISSUED
    notebook.settle(settled("b"), begun=True)
    notebook.settle(settled("c"), begun=True)  # the last one writes down what is left
    assert [each.state for name in "bc" if (each := row(database, name)) is not None] == [State.ISSUED] * 2


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


def test_a_request_whose_challenge_is_gone_is_not_noted(database: Database, notebook: Notebook) -> None:
    claim = Once()
    assert notebook.begin(note("a", claim))
    with pytest.raises(Rejected, match="used"):
        notebook.begin(note("b", claim))
    assert row(database, "b") is None


def test_what_was_there_before_stays_when_the_challenge_is_gone(database: Database, notebook: Notebook) -> None:
    notebook.begin(note("a"))
    notebook.settle(settled("a", State.DENIED), begun=True)
    before = row(database, "a")
    claim = Once()
    claim.taken = 1
    with pytest.raises(Rejected):
        notebook.begin(note("a", claim, before, b"other"))
    assert row(database, "a") == before


def test_what_never_became_a_request_uses_up_nothing(database: Database, notebook: Notebook) -> None:
    claim = Once()
    notebook.begin(note("a", claim))
    notebook.gave_up(("", "a", b"k"), claim)
    assert row(database, "a") is None
    assert claim.given_back == 1


def test_many_at_once_share_a_challenge_only_once(database: Database, notebook: Notebook) -> None:
    claims = [Once() for _ in range(4)]
    barrier = threading.Barrier(16)

    def one(number: int) -> str:
        barrier.wait()
        try:
            notebook.begin(note(f"d{number}", claims[number % 4]))
        except Rejected:
            return "rejected"
        notebook.settle(settled(f"d{number}"), begun=True)
        return "noted"

    with ThreadPoolExecutor(16) as pool:
        said = list(pool.map(one, range(16)))
    assert sorted(said) == ["noted"] * 4 + ["rejected"] * 12
    with database.read() as connection:
        assert [each.state for each in store.latest_transactions(connection, 100)] == [State.ISSUED] * 4


def test_everybody_hears_of_a_database_that_fails(
    database: Database, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> bool:
        raise DatabaseError("disk full")

    monkeypatch.setattr(store, "begin", broken)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(notebook.begin, note(f"f{number}")) for number in range(4)]
    for future in futures:
        with pytest.raises(DatabaseError, match="disk full"):
            future.result()
    monkeypatch.undo()
    assert notebook.begin(note("again"))
