"""The audit trail: complete, in order, and every tampering shows."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certwright.adcs.events import AuditEvent, CaEvent
from certwright.audit.trail import AuditTrail
from certwright.database import Database, sqlite_url
from tests.support.tables import new_sqlite_url

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
CA = "Corp Issuing CA"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    new_sqlite_url(tmp_path, "audit.db")
    return tmp_path / "audit.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database.open(sqlite_url(path))
    yield opened
    opened.close()


@pytest.fixture
def trail(database: Database) -> AuditTrail:
    return AuditTrail(database)


def event(
    number: AuditEvent = AuditEvent.REQUEST_RECEIVED, ca: str = CA, minutes: int = 0, **details: str | int
) -> CaEvent:
    return CaEvent(number, NOW + timedelta(minutes=minutes), ca, r"CORP\alice", details)


def record(database: Database, *events: CaEvent) -> None:
    with database.transaction() as connection:
        AuditTrail(database).append_all(connection, events)


def tamper(path: Path, sql: str, *params: Any) -> None:
    """Somebody with the file and another program."""
    with sqlite3.connect(path) as connection:
        assert connection.execute(sql, params).rowcount > 0
    connection.close()


# -- recording -------------------------------------------------------------------------------------------------


def test_an_event_comes_back_as_it_was_recorded(database: Database, trail: AuditTrail) -> None:
    details: dict[str, str | int] = {"request_id": 7, "subject": 'CN=ü "quoted"', "nul": "a\x00b", "half": "\ud800"}
    with database.transaction() as connection:
        trail.append(connection, CaEvent(AuditEvent.CERTIFICATE_ISSUED, NOW, CA, r"CORP\alice", details))
    (found,) = trail.events()
    assert (found.sequence, found.chain, found.event, found.when, found.actor) == (
        1,
        CA,
        AuditEvent.CERTIFICATE_ISSUED,
        NOW,
        r"CORP\alice",
    )
    assert found.details == details
    assert found.name == "CERTIFICATE_ISSUED"
    assert trail.verify().is_intact


def test_an_act_at_the_command_line_names_the_user_of_the_operating_system(database: Database) -> None:
    """Beside the account that was chosen, inside what is hashed; and nothing where no person gives the commands."""
    by_hand, served = AuditTrail(database, "root, logged in as alice"), AuditTrail(database)
    with database.transaction() as connection:
        by_hand.append(connection, event(request_id=1))
        served.append(connection, event(request_id=2))
    first, second = served.events(newest_first=False)
    assert (first.os_user, second.os_user) == ("root, logged in as alice", "")
    assert first.details == {"request_id": 1, "os_user": "root, logged in as alice"}
    assert second.details == {"request_id": 2}
    assert served.verify().is_intact


def test_an_event_of_an_undone_transaction_never_happened(database: Database, trail: AuditTrail) -> None:
    def undone() -> None:
        with database.transaction() as connection:
            trail.append(connection, event())
            raise KeyError

    with pytest.raises(KeyError):
        undone()
    assert list(trail.events()) == []
    record(database, event())
    assert [found.sequence for found in trail.events()] == [1]


def test_each_ca_and_the_installation_have_a_chain_of_their_own(database: Database, trail: AuditTrail) -> None:
    record(database, event(), event(ca=""), event(), event(ca="Corp Root CA"), event(ca=""))
    places = [(found.chain, found.sequence) for found in trail.events(newest_first=False)]
    assert sorted(places) == [("", 1), ("", 2), (CA, 1), (CA, 2), ("Corp Root CA", 1)]


def test_the_hash_can_be_recomputed_from_the_description(database: Database, trail: AuditTrail, path: Path) -> None:
    """By a program that shares nothing with ours but the module's docstring."""
    record(database, event(request_id=1, subject="CN=ü"), event(ca=""), event(minutes=1, request_id=2))
    record(database, event(minutes=2, request_id=3))
    plain = sqlite3.connect(path)
    previous = bytes(32)
    for sequence, number, when, actor, details, digest in plain.execute(
        "SELECT e.sequence, e.event, e.occurred, e.actor, e.details, e.hash FROM audit_event e"
        " JOIN audit_chain c ON c.id = e.chain_id WHERE c.name = ? ORDER BY e.sequence",
        (CA,),
    ):
        body = {
            "actor": actor,
            "chain": CA,
            "details": json.loads(details),
            "event": number,
            "sequence": sequence,
            "when": when,
        }
        canonical = json.dumps(body, ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode("ascii")
        previous = hashlib.sha256(previous + canonical).digest()
        assert digest == previous
    assert plain.execute("SELECT sequence, hash FROM audit_chain WHERE name = ?", (CA,)).fetchone() == (3, previous)
    plain.close()
    assert (CA, 3, previous.hex()) in [(head.chain, head.sequence, head.hash) for head in trail.verify().heads]


def test_writers_in_several_threads_make_one_chain(database: Database, trail: AuditTrail) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: record(database, event(request_id=number), event(ca="")), range(30)))
    assert trail.verify().checked == 60
    assert trail.verify().is_intact


def test_two_rooms_that_write_several_chains_do_not_wait_for_each_other(
    postgresql_with_tables: Callable[[], str],
) -> None:
    """Heads are locked in one order, or PostgreSQL would report a deadlock."""
    database = Database.open(postgresql_with_tables())
    trail = AuditTrail(database)

    def write(number: int) -> None:
        chains = ["", CA, "Corp Root CA"]
        record(database, *(event(ca=chain) for chain in (chains if number % 2 else reversed(chains))))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(40)))
    result = trail.verify(expected=["", CA, "Corp Root CA"])
    assert (result.checked, result.broken) == (120, ())
    tampered = "UPDATE audit_event SET actor = 'x' WHERE sequence = 7"
    with database.transaction() as connection:
        connection.execute(tampered)
    assert len(trail.verify().broken) == 3
    database.close()


# -- reading ---------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(database: Database, trail: AuditTrail) -> AuditTrail:
    record(
        database,
        event(AuditEvent.SERVICE_STARTED, ca="", minutes=0),
        event(AuditEvent.REQUEST_RECEIVED, minutes=1, request_id=1),
        event(AuditEvent.CERTIFICATE_ISSUED, minutes=1, request_id=1),
        event(AuditEvent.ACCOUNT_CHANGED, ca="", minutes=2),
        event(AuditEvent.REQUEST_RECEIVED, minutes=3, request_id=2),
        event(AuditEvent.REQUEST_DENIED, minutes=3, request_id=2),
        event(AuditEvent.REQUEST_RECEIVED, ca="Other CA", minutes=4, request_id=2),
    )
    return trail


def numbers(events: Any) -> list[int]:
    return [int(found.event) for found in events]


def test_events_are_listed_newest_first_across_chains(filled: AuditTrail) -> None:
    assert numbers(filled.events()) == [4886, 4888, 4886, 9010, 4887, 4886, 4880]
    assert numbers(filled.events(newest_first=False)) == [4880, 4886, 4887, 9010, 4886, 4888, 4886]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"ca": CA}, [4888, 4886, 4887, 4886]),
        ({"ca": ""}, [9010, 4880]),
        ({"ca": "nobody"}, []),
        ({"event": AuditEvent.REQUEST_RECEIVED}, [4886, 4886, 4886]),
        ({"event": AuditEvent.REQUEST_DENIED}, [4888]),
        ({"event": 4870}, []),
        ({"request_id": 2}, [4886, 4888, 4886]),
        ({"request_id": 2, "ca": CA}, [4888, 4886]),
        ({"request_id": 2, "event": 4888}, [4888]),
        ({"since": NOW + timedelta(minutes=3)}, [4886, 4888, 4886]),
        ({"limit": 2}, [4886, 4888]),
        ({"limit": None}, [4886, 4888, 4886, 9010, 4887, 4886, 4880]),
        ({"limit": 2, "newest_first": False}, [4880, 4886]),
    ],
)
def test_events_can_be_filtered(filled: AuditTrail, wanted: dict[str, Any], expected: list[int]) -> None:
    assert numbers(filled.events(**wanted)) == expected


# -- verifying -------------------------------------------------------------------------------------------------


@pytest.fixture
def chain(database: Database, trail: AuditTrail) -> AuditTrail:
    record(database, *(event(minutes=number, request_id=number) for number in range(1, 6)))
    record(database, event(ca=""))
    return trail


def test_an_untouched_trail_is_intact(chain: AuditTrail) -> None:
    result = chain.verify(expected=[CA, ""])
    assert (result.checked, result.broken, result.is_intact) == (6, (), True)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", "CORP\\mallory"),
        ("event", 4870),
        ("occurred", 1),
        ("details", '{"request_id":3 }'),
        ("details", '{"request_id":4}'),
        ("request_id", 99),
        ("request_id", None),
        ("hash", bytes(32)),
        ("sequence", 77),
    ],
)
def test_a_changed_event_shows(chain: AuditTrail, path: Path, column: str, value: Any) -> None:
    tamper(path, f"UPDATE audit_event SET {column} = ? WHERE sequence = 3", value)
    result = chain.verify()
    assert not result.is_intact
    assert result.checked < 6
    assert any(CA in sentence for sentence in result.broken)


def test_a_deleted_event_shows(chain: AuditTrail, path: Path) -> None:
    tamper(path, "DELETE FROM audit_event WHERE sequence IN (2, 3)")
    (sentence,) = chain.verify().broken
    assert sentence == f"events of {CA} are missing: 2 to 3"


def test_a_cut_off_end_shows(chain: AuditTrail, path: Path) -> None:
    tamper(path, "DELETE FROM audit_event WHERE sequence > 3")
    (sentence,) = chain.verify().broken
    assert "events 4 to 5 are missing" in sentence


def test_a_cut_off_end_with_a_turned_back_head_shows_by_the_hash(chain: AuditTrail, path: Path) -> None:
    tamper(path, "DELETE FROM audit_event WHERE sequence > 3")
    tamper(path, "UPDATE audit_chain SET sequence = 3 WHERE name = ?", CA)
    (sentence,) = chain.verify().broken
    assert "not the one its head remembers" in sentence


def test_an_inserted_event_shows(chain: AuditTrail, path: Path) -> None:
    copied = "chain_id, {}, event, occurred, 'CORP\\mallory', request_id, details, hash FROM audit_event"
    tamper(path, f"INSERT INTO audit_event SELECT id + 1000, {copied.format('sequence')} WHERE sequence = 2")
    assert any("inserted" in sentence for sentence in chain.verify().broken)


def test_an_event_after_the_end_shows(chain: AuditTrail, path: Path) -> None:
    copied = "chain_id, sequence + 1, event, occurred, actor, request_id, details, hash FROM audit_event"
    tamper(path, f"INSERT INTO audit_event SELECT id + 1, {copied} WHERE sequence = 5")
    assert any("after the last one" in sentence for sentence in chain.verify().broken)


def test_exchanged_events_show(chain: AuditTrail, path: Path) -> None:
    for old, new in ((2, 200), (3, 2), (200, 3)):
        tamper(path, "UPDATE audit_event SET id = id + ?, sequence = ? WHERE sequence = ?", new - old, new, old)
    assert not chain.verify().is_intact


def test_a_removed_chain_is_missed(chain: AuditTrail, path: Path) -> None:
    tamper(path, "DELETE FROM audit_chain WHERE name = ?", CA)
    assert any("belong to no chain" in sentence for sentence in chain.verify().broken)
    tamper(path, "DELETE FROM audit_event WHERE request_id IS NOT NULL")
    assert chain.verify().is_intact
    assert chain.verify(expected=[CA, ""]).broken == (f"the chain of {CA} is missing",)


def test_a_rewritten_chain_no_longer_has_the_head_that_was_noted(chain: AuditTrail, path: Path) -> None:
    """All that remains against somebody who may write every table: heads noted elsewhere."""
    before = {head.chain: head.hash for head in chain.verify().heads}
    tamper(path, "DELETE FROM audit_event WHERE sequence = 5")
    digest = sqlite3.connect(path).execute("SELECT hash FROM audit_event WHERE sequence = 4").fetchone()[0]
    tamper(path, "UPDATE audit_chain SET sequence = 4, hash = ? WHERE name = ?", digest, CA)
    result = chain.verify()
    assert result.is_intact
    assert {head.chain: head.hash for head in result.heads} != before


def test_an_endless_list_of_breaks_is_cut_short(database: Database, trail: AuditTrail, path: Path) -> None:
    record(database, *(event() for _ in range(150)))
    tamper(path, "UPDATE audit_event SET actor = 'x'")
    assert (trail.verify().checked, len(trail.verify().broken)) == (0, 100)
