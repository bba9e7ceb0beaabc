"""Requests that a process left in the middle: settled by what the CA has, and never those that somebody is at."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from certwright.adcs.errors import AdcsError, HResult
from certwright.adcs.request import Disposition, Response
from certwright.database import Connection, Database
from certwright.ndes import store
from certwright.ndes.notebook import Entry, Note, Settled
from certwright.ndes.policy import Outcome
from certwright.ndes.requests import PROMISED, attributes_of
from certwright.ndes.store import State, Transaction
from certwright.ndes.unfinished import NEVER_REACHED, Unfinished
from tests.support.tables import new_sqlite_url

NOW: Final = 1_800_000_000
OURS: Final = "boot:1:2"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(new_sqlite_url(tmp_path))
    yield opened
    opened.close()


class Told:
    """A policy module that keeps notices, or is told directly."""

    def __init__(self, *, keeps: bool) -> None:
        self.keeps = keeps
        self.kept: list[Outcome] = []
        self.direct: list[Outcome] = []

    def notice(self, outcome: Outcome) -> KeptHere | None:
        return KeptHere(self, outcome) if self.keeps else None

    def directly(self, outcome: Outcome) -> None:
        self.direct.append(outcome)


class KeptHere:
    def __init__(self, told: Told, outcome: Outcome) -> None:
        self.told = told
        self.outcome = outcome

    def put(self, connection: Connection) -> None:
        assert connection.in_transaction
        self.told.kept.append(self.outcome)

    def written(self) -> None:
        pass


def begin(database: Database, note: Note, owner: str) -> None:
    """Noted, and not decided yet: as for a CA whose key is outside its process."""
    with database.transaction() as connection:
        Entry(note, owner, lambda response: Settled(State.ISSUED, 1, "", NOW)).begin(connection)


class House:
    """Rows under way, and a CA that has some of them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.answers: dict[str, Response] = {}
        self.told: Told | None = None
        self.now = NOW
        self.looked: list[tuple[str, int]] = []
        self.unfinished = Unfinished(
            database, self.look, lambda service: self.told, lambda: datetime.fromtimestamp(self.now, UTC)
        )

    def begin(self, name: str, owner: str = OURS, when: int = NOW, service: str = "") -> Transaction:
        key = (service, name, b"k" + name.encode())
        note = Note(key, b"r", "WebServer", f"CN={name}", False, "192.0.2.7", when, None, None)
        begin(self.database, note, owner)
        return self.row(name)

    def at_the_ca(self, row: Transaction, disposition: Disposition, message: str = "said") -> None:
        certificate = b"certificate" if disposition is Disposition.ISSUED else None
        number = len(self.answers) + 1
        self.answers[attributes_of(row)] = Response(number, disposition, HResult.S_OK, message, certificate)

    def look(self, service: str, attributes: Collection[str], since: int) -> Mapping[str, Response]:
        self.looked.append((service, since))
        return {marked: self.answers[marked] for marked in attributes if marked in self.answers}

    def row(self, name: str) -> Transaction:
        with self.database.read() as connection:
            return next(row for row in store.latest_transactions(connection, 100) if row.name == name)


@pytest.fixture
def house(database: Database) -> House:
    return House(database)


@pytest.mark.parametrize(
    ("disposition", "state"),
    [
        (Disposition.ISSUED, State.ISSUED),
        (Disposition.UNDER_SUBMISSION, State.PENDING),
        (Disposition.DENIED, State.DENIED),
        (Disposition.ERROR, State.DENIED),
    ],
)
def test_what_the_ca_has_is_what_became_of_it(house: House, disposition: Disposition, state: State) -> None:
    house.at_the_ca(house.begin("a"), disposition)
    assert house.unfinished.after_start(OURS.__eq__) == 1
    row = house.row("a")
    assert (row.state, row.request_id, row.message) == (state, 1, "said")


def test_what_never_reached_the_ca_failed_and_says_so(house: House) -> None:
    house.begin("a")
    house.unfinished.after_start(OURS.__eq__)
    row = house.row("a")
    assert (row.state, row.request_id, row.message) == (State.FAILED, None, NEVER_REACHED)


def test_what_is_being_signed_elsewhere_stays_open(house: House) -> None:
    house.at_the_ca(house.begin("a"), Disposition.INCOMPLETE)
    assert house.unfinished.after_start(OURS.__eq__) == 0
    assert house.row("a").state is State.SUBMITTING


def test_rows_of_another_process_are_left_alone_until_nobody_can_be_at_them(house: House) -> None:
    """Several servers on one PostgreSQL: the start of one settles nothing that another is at."""
    house.begin("a", owner="other:1:2")
    house.begin("b")
    assert house.unfinished.after_start(OURS.__eq__) == 1
    assert (house.row("a").state, house.row("b").state) == (State.SUBMITTING, State.FAILED)
    house.now = NOW + PROMISED - 1
    assert house.unfinished.overdue() == 0
    house.now = NOW + PROMISED
    assert house.unfinished.overdue() == 1
    assert house.row("a").state is State.FAILED


def test_a_row_that_its_device_took_up_meanwhile_stays_the_devices(house: House) -> None:
    before = house.begin("a")
    again = Note(("", "a", before.key_hash), b"other", "WebServer", "CN=a", False, "192.0.2.7", NOW + 1, before, None)

    def look(service: str, attributes: Collection[str], since: int) -> Mapping[str, Response]:
        begin(house.database, again, OURS)
        return {}

    unfinished = Unfinished(house.database, look, lambda service: None, lambda: datetime.fromtimestamp(NOW, UTC))
    assert unfinished.after_start(OURS.__eq__) == 0
    assert house.row("a").request_hash == b"other"
    assert house.row("a").state is State.SUBMITTING


def test_a_service_whose_ca_cannot_be_asked_keeps_no_other_from_its_settlement(house: House) -> None:
    house.begin("a", service="broken")
    house.begin("b")
    asked = house.look

    def look(service: str, attributes: Collection[str], since: int) -> Mapping[str, Response]:
        if service == "broken":
            raise AdcsError("no such CA")
        return asked(service, attributes, since)

    unfinished = Unfinished(house.database, look, lambda service: None, lambda: datetime.fromtimestamp(NOW, UTC))
    assert unfinished.after_start(OURS.__eq__) == 1
    assert (house.row("a").state, house.row("b").state) == (State.SUBMITTING, State.FAILED)


@pytest.mark.parametrize("keeps", [True, False])
def test_the_policy_module_hears_of_what_was_decided_and_of_nothing_else(house: House, keeps: bool) -> None:
    house.told = Told(keeps=keeps)
    house.at_the_ca(house.begin("a"), Disposition.ISSUED)
    house.begin("b")
    house.unfinished.after_start(OURS.__eq__)
    told, not_told = (house.told.kept, house.told.direct) if keeps else (house.told.direct, house.told.kept)
    assert [(each.transaction, each.certificate) for each in told] == [("a", b"certificate")]
    assert not_told == []


def test_the_search_at_the_ca_goes_back_to_the_first_of_them(house: House) -> None:
    house.begin("a", when=NOW - 500)
    house.begin("b", when=NOW - 100)
    house.unfinished.after_start(OURS.__eq__)
    assert house.looked == [("", NOW - 500)]


def test_many_are_settled_in_one_go(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from certwright.ndes import unfinished

    monkeypatch.setattr(unfinished, "_BATCH", 3)
    for number in range(8):
        house.begin(f"d{number}")
    assert house.unfinished.after_start(OURS.__eq__) == 8
