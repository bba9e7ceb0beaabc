"""Revocation configurations, CAs elsewhere, their CRLs <-> rows. The only reader and writer of the room's tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from certwright.connectors.fetching import NO_VALIDATORS, Validators
from certwright.database import Connection, Database
from certwright.online_responder.configuration import RevocationConfiguration
from certwright.online_responder.lists import ListFacts, ListRefused, demand_progress
from certwright.online_responder.partitions import Slot
from certwright.online_responder.sources import CaElsewhere, ListSources
from certwright.pki.certificate import CertificateView

_COLUMNS = "ca, enabled, settings, version"
_LIST = (
    "ca_id, partition, is_delta, number, base_number, this_update, next_update, next_publish, entries, size, digest,"
    " url, taken_when, tried_when, error, points, etag, modified, absent_when"
)
_OF_SLOT = "ca_id = ? AND partition = ? AND is_delta = ?"


@dataclass(frozen=True, slots=True)
class StoredConfiguration:
    """One row. `version` is raised by every change."""

    ca: str
    enabled: bool
    configuration: RevocationConfiguration
    version: int


@dataclass(frozen=True, slots=True)
class StoredList:
    """What is known of a copied CRL without its bytes; `facts` is None until one was taken.

    `validators` are those that the server at `url` gave with it. `absent_when`: when the server of a partition that
    is looked for said that there is none.
    """

    ca_id: int
    slot: Slot
    facts: ListFacts | None
    entries: int
    size: int
    digest: str
    url: str
    taken_when: datetime | None
    tried_when: datetime
    error: str
    validators: Validators = NO_VALIDATORS
    absent_when: datetime | None = None

    @property
    def partition(self) -> int:
        return self.slot.partition

    @property
    def is_delta(self) -> bool:
        return self.slot.is_delta


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


def lists_of(database: Database, ca_id: int) -> Mapping[Slot, StoredList]:
    """What is known of every list of a CA."""
    with database.read() as connection:
        return _read(connection, ca_id)


def _read(connection: Connection, ca_id: int) -> Mapping[Slot, StoredList]:
    rows = connection.many(f"SELECT {_LIST} FROM online_responder_crl WHERE ca_id = ?", (ca_id,))  # noqa: S608
    return {found.slot: found for found in map(_list, rows)}


def _list(row: Sequence[object]) -> StoredList:
    ca_id, partition, is_delta, number, base, this_update, next_update, next_publish, *rest = row
    entries, size, digest, url, taken_when, tried_when, error, points, etag, modified, absent_when = rest
    facts = None
    if this_update is not None:
        facts = ListFacts(
            _number(number),
            _number(base),
            _time(this_update),
            _time(next_update),
            _optional(next_publish),
            tuple(json.loads(str(points))) if points else (),
        )
    return StoredList(
        _int(ca_id),
        Slot(_int(partition), bool(is_delta)),
        facts,
        _int(entries),
        _int(size),
        str(digest),
        str(url),
        _optional(taken_when),
        _time(tried_when),
        str(error),
        Validators(str(etag), str(modified)),
        _optional(absent_when),
    )


def list_bytes(database: Database, ca_id: int, slot: Slot) -> tuple[str, bytes] | None:
    """Digest and bytes of a list, together; None while there is none."""
    with database.read() as connection:
        row = connection.one(
            f"SELECT digest, data FROM online_responder_crl WHERE {_OF_SLOT}",  # noqa: S608
            (ca_id, *slot),
        )
    return None if row is None or row[1] is None else (row[0], bytes(row[1]))


def keep_list(
    database: Database,
    ca: CaElsewhere,
    slot: Slot,
    data: bytes,
    facts: ListFacts,
    entries: int,
    url: str,
    now: datetime,
    validators: Validators = NO_VALIDATORS,
) -> bool:
    """Keep a list instead of the one before; False when it is the same one.

    Raises:
        ListRefused: it is a step back from the one that is kept, or another partition's.
    """
    digest = hashlib.sha256(data).hexdigest()
    with database.transaction() as connection:
        _lock(connection, ca.ca_id)
        all_kept = _read(connection, ca.ca_id)
        kept = all_kept.get(slot)
        if kept is not None and kept.digest == digest:
            _note(connection, ca.ca_id, slot, now, "", "url = ?, etag = ?, modified = ?", url, *_texts(validators))
            return False
        demand_progress(facts, kept.facts if kept is not None else None)
        _demand_own_points(slot, facts, all_kept, ca)
        connection.execute(f"DELETE FROM online_responder_crl WHERE {_OF_SLOT}", (ca.ca_id, *slot))  # noqa: S608
        values = (
            *(ca.ca_id, *slot, _text(facts.number), _text(facts.base_number)),
            *(_seconds(facts.this_update), _seconds(facts.next_update)),
            None if facts.next_publish is None else _seconds(facts.next_publish),
            *(entries, len(data), digest, url, _seconds(now), _seconds(now), ""),
            *(json.dumps(facts.points) if facts.points else "", *_texts(validators), None, data),
        )
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO online_responder_crl ({_LIST}, data) VALUES ({marks})", values)  # noqa: S608
    return True


def _demand_own_points(slot: Slot, facts: ListFacts, kept: Mapping[Slot, StoredList], ca: CaElsewhere) -> None:
    """A partition's list is for no other partition, and its delta is for the same certificates. RFC 5280 5.2.4.

    Otherwise a server that gives one list for every name would have all certificates of the others called good.

    Raises:
        ListRefused: so it is not.
    """
    if ca.sources.partitions is None:
        return
    if slot.partition and not facts.points:
        raise ListRefused("it names no distribution point, so it is no partition")
    there = set(ca.sources.slots([each for each, stored in kept.items() if stored.facts is not None]))
    for other, stored in kept.items():
        if stored.facts is None or other not in there or set(facts.points).isdisjoint(stored.facts.points):
            continue
        if other.partition != slot.partition:
            raise ListRefused(f"it is the list of partition {other.partition}: it is for {facts.points[0]}")
    base = kept.get(Slot(slot.partition, False))
    known = base.facts if base is not None else None
    if slot.is_delta and known is not None and set(known.points) != set(facts.points):
        raise ListRefused("it is not for the same distribution points as the base CRL of its partition")


def note_same(database: Database, ca_id: int, slot: Slot, now: datetime) -> None:
    """Note that the list that is kept still stands where it was copied from."""
    with database.transaction() as connection:
        _note(connection, ca_id, slot, now, "")


def note_failure(database: Database, ca_id: int, slot: Slot, now: datetime, error: str) -> None:
    """Note that no list could be copied; the one that is kept stays."""
    _note_or_insert(database, ca_id, slot, now, error, absent=False)


def note_absence(database: Database, ca_id: int, slot: Slot, now: datetime) -> None:
    """Note that there is no such partition yet."""
    _note_or_insert(database, ca_id, slot, now, "", absent=True)


def _note_or_insert(database: Database, ca_id: int, slot: Slot, now: datetime, error: str, *, absent: bool) -> None:
    changes = ("absent_when = ?", _seconds(now)) if absent else ()
    with database.transaction() as connection:
        _lock(connection, ca_id)
        if not _note(connection, ca_id, slot, now, error, *changes):
            connection.execute(
                "INSERT INTO online_responder_crl"
                " (ca_id, partition, is_delta, entries, size, digest, url, tried_when, error, absent_when)"
                " SELECT id, ?, ?, 0, 0, '', '', ?, ?, ? FROM online_responder_elsewhere WHERE id = ?",
                (*slot, _seconds(now), error, _seconds(now) if absent else None, ca_id),
            )


def forget_validators(connection: Connection, ca_id: int) -> None:
    """What is taken changed: a list that is the same has to be looked at again."""
    connection.execute("UPDATE online_responder_crl SET etag = '', modified = '' WHERE ca_id = ?", (ca_id,))


def forget_delta(connection: Connection, ca_id: int) -> None:
    """The CA makes no delta CRLs any more, or nobody is told where they are."""
    connection.execute("DELETE FROM online_responder_crl WHERE ca_id = ? AND is_delta = ?", (ca_id, True))


def _note(
    connection: Connection, ca_id: int, slot: Slot, now: datetime, error: str, changes: str = "", *values: str | int
) -> bool:
    more = f", {changes}" if changes else ""
    done = connection.execute(
        f"UPDATE online_responder_crl SET tried_when = ?, error = ?{more} WHERE {_OF_SLOT}",  # noqa: S608
        (_seconds(now), error, *values, ca_id, *slot),
    )
    return bool(done.rowcount)


def _texts(validators: Validators) -> tuple[str, str]:
    return validators.etag, validators.modified


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
