"""Revocation configurations, CAs elsewhere, their CRLs <-> rows. The only reader and writer of the room's tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from certwright.database import Connection, Database
from certwright.online_responder.configuration import RevocationConfiguration
from certwright.online_responder.lists import ListFacts, demand_progress
from certwright.online_responder.sources import CaElsewhere, ListSources
from certwright.pki.certificate import CertificateView

_COLUMNS = "ca, enabled, settings, version"
_LIST = (
    "ca_id, is_delta, number, base_number, this_update, next_update, next_publish, entries, size, digest, url,"
    " taken_when, tried_when, error"
)


@dataclass(frozen=True, slots=True)
class StoredConfiguration:
    """One row. `version` is raised by every change."""

    ca: str
    enabled: bool
    configuration: RevocationConfiguration
    version: int


@dataclass(frozen=True, slots=True)
class StoredList:
    """What is known of a copied CRL without its bytes; `facts` is None until one was taken."""

    ca_id: int
    is_delta: bool
    facts: ListFacts | None
    entries: int
    size: int
    digest: str
    url: str
    taken_when: datetime | None
    tried_when: datetime
    error: str


def configurations(database: Database) -> Sequence[StoredConfiguration]:
    """All of them, by the names of their CAs."""
    with database.read() as connection:
        rows = connection.many(f"SELECT {_COLUMNS} FROM online_responder_configuration ORDER BY ca")  # noqa: S608
    return [
        StoredConfiguration(ca, bool(enabled), RevocationConfiguration.load(json.loads(settings)), version)
        for ca, enabled, settings, version in rows
    ]


def put(connection: Connection, ca: str, enabled: bool, configuration: RevocationConfiguration) -> None:
    """Write one, and raise its version."""
    connection.execute(
        "INSERT INTO online_responder_configuration (ca, enabled, settings, version) VALUES (?, ?, ?, 1)"
        " ON CONFLICT (ca) DO UPDATE SET enabled = excluded.enabled, settings = excluded.settings,"
        " version = online_responder_configuration.version + 1",
        (ca, enabled, json.dumps(configuration.as_settings(), sort_keys=True)),
    )


# -- CAs elsewhere ---------------------------------------------------------------------------------------------------


def elsewhere(database: Database) -> Sequence[CaElsewhere]:
    """All of them, by name."""
    with database.read() as connection:
        rows = connection.many("SELECT id, name, certificate, sources FROM online_responder_elsewhere ORDER BY name")
    return [
        CaElsewhere(ca_id, name, CertificateView.parse(bytes(der)), ListSources.load(json.loads(sources)))
        for ca_id, name, der, sources in rows
    ]


def add_elsewhere(connection: Connection, name: str, certificate: bytes, sources: ListSources) -> int:
    """Write a new one; its number."""
    return connection.insert_returning(
        "INSERT INTO online_responder_elsewhere (name, certificate, sources) VALUES (?, ?, ?)",
        (name, certificate, json.dumps(sources.as_settings(), sort_keys=True)),
    )


def change_elsewhere(connection: Connection, ca_id: int, certificate: bytes, sources: ListSources) -> None:
    connection.execute(
        "UPDATE online_responder_elsewhere SET certificate = ?, sources = ? WHERE id = ?",
        (certificate, json.dumps(sources.as_settings(), sort_keys=True), ca_id),
    )


def remove_elsewhere(connection: Connection, ca_id: int, name: str) -> None:
    """With its lists and its configuration."""
    connection.execute("DELETE FROM online_responder_crl WHERE ca_id = ?", (ca_id,))
    connection.execute("DELETE FROM online_responder_elsewhere WHERE id = ?", (ca_id,))
    connection.execute("DELETE FROM online_responder_configuration WHERE ca = ?", (name,))


# -- their lists -----------------------------------------------------------------------------------------------------


def lists(database: Database) -> Mapping[tuple[int, bool], StoredList]:
    """What is known of every list, by CA and kind (True: delta)."""
    with database.read() as connection:
        return _read(connection, "")


def lists_of(database: Database, ca_id: int) -> Mapping[tuple[int, bool], StoredList]:
    """The same of one CA."""
    with database.read() as connection:
        return _read(connection, " WHERE ca_id = ?", ca_id)


def _read(connection: Connection, where: str, *params: int) -> Mapping[tuple[int, bool], StoredList]:
    rows = connection.many(f"SELECT {_LIST} FROM online_responder_crl{where}", params)  # noqa: S608
    found = [_list(row) for row in rows]
    return {(each.ca_id, each.is_delta): each for each in found}


def _list(row: Sequence[object]) -> StoredList:
    ca_id, is_delta, number, base, this_update, next_update, next_publish, entries, size, digest, url, *rest = row
    taken_when, tried_when, error = rest
    facts = None
    if this_update is not None:
        facts = ListFacts(
            _number(number), _number(base), _time(this_update), _time(next_update), _optional(next_publish)
        )
    return StoredList(
        _int(ca_id),
        bool(is_delta),
        facts,
        _int(entries),
        _int(size),
        str(digest),
        str(url),
        _optional(taken_when),
        _time(tried_when),
        str(error),
    )


def list_bytes(database: Database, ca_id: int, is_delta: bool) -> tuple[str, bytes] | None:
    """Digest and bytes of a list, together; None while there is none."""
    with database.read() as connection:
        row = connection.one(
            "SELECT digest, data FROM online_responder_crl WHERE ca_id = ? AND is_delta = ?", (ca_id, is_delta)
        )
    return None if row is None or row[1] is None else (row[0], bytes(row[1]))


def keep_list(
    database: Database, ca: CaElsewhere, data: bytes, facts: ListFacts, entries: int, url: str, now: datetime
) -> bool:
    """Keep a list instead of the one before; False when it is the same one.

    Raises:
        ListRefused: it is a step back from the one that is kept.
    """
    digest = hashlib.sha256(data).hexdigest()
    with database.transaction() as connection:
        _lock(connection, ca.ca_id)
        kept = _read(connection, " WHERE ca_id = ?", ca.ca_id).get((ca.ca_id, facts.is_delta))
        if kept is not None and kept.digest == digest:
            _note(connection, ca.ca_id, facts.is_delta, now, "")
            return False
        demand_progress(facts, kept.facts if kept is not None else None)
        connection.execute(
            "DELETE FROM online_responder_crl WHERE ca_id = ? AND is_delta = ?", (ca.ca_id, facts.is_delta)
        )
        connection.execute(
            f"INSERT INTO online_responder_crl ({_LIST}, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                *(ca.ca_id, facts.is_delta, _text(facts.number), _text(facts.base_number)),
                *(_seconds(facts.this_update), _seconds(facts.next_update)),
                None if facts.next_publish is None else _seconds(facts.next_publish),
                *(entries, len(data), digest, url, _seconds(now), _seconds(now), "", data),
            ),
        )
    return True


def note_failure(database: Database, ca_id: int, is_delta: bool, now: datetime, error: str) -> None:
    """Note that no list could be copied; the one that is kept stays."""
    with database.transaction() as connection:
        _lock(connection, ca_id)
        if not _note(connection, ca_id, is_delta, now, error):
            connection.execute(
                "INSERT INTO online_responder_crl (ca_id, is_delta, entries, size, digest, url, tried_when, error)"
                " SELECT id, ?, 0, 0, '', '', ?, ? FROM online_responder_elsewhere WHERE id = ?",
                (is_delta, _seconds(now), error, ca_id),
            )


def forget_delta(connection: Connection, ca_id: int) -> None:
    """The CA makes no delta CRLs any more, or nobody is told where they are."""
    connection.execute("DELETE FROM online_responder_crl WHERE ca_id = ? AND is_delta = ?", (ca_id, True))


def _note(connection: Connection, ca_id: int, is_delta: bool, now: datetime, error: str) -> bool:
    done = connection.execute(
        "UPDATE online_responder_crl SET tried_when = ?, error = ? WHERE ca_id = ? AND is_delta = ?",
        (_seconds(now), error, ca_id, is_delta),
    )
    return bool(done.rowcount)


def _lock(connection: Connection, ca_id: int) -> None:
    """Whoever else keeps a list of this CA waits: which one is newer is compared with what is there."""
    connection.execute("UPDATE online_responder_elsewhere SET name = name WHERE id = ?", (ca_id,))


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _number(text: object) -> int | None:
    return None if text is None else int(str(text))


def _seconds(when: datetime) -> int:
    return int(when.timestamp())


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _time(value: object) -> datetime:
    return datetime.fromtimestamp(_int(value), UTC)


def _optional(value: object) -> datetime | None:
    return None if value is None else _time(value)
