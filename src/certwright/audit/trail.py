"""The audit trail: every event in a SHA-256 hash chain; each CA has a chain, the installation one without a name.

**What the hash is made of**, so that an auditor can recompute it with any tool:

    hash = SHA-256( previous hash || canonical JSON of the event, as ASCII )

The previous hash is 32 zero octets for the first event of a chain, which has sequence number 1. The canonical JSON
is an object with these six members in this order, no white space outside strings, every character that is not ASCII
written `\\uXXXX`:

    {"actor":"CORP\\\\alice","chain":"Corp CA","details":{...},"event":4887,"sequence":7,"when":1767225600}

`details` is the text of the column of the same name, octet for octet (an object, its keys sorted); `when` is the
column `occurred`, in seconds since the epoch. The table `audit_chain` holds sequence number and hash of the newest.

A changed, deleted or inserted row breaks the chain where it stands; a cut-off tail no longer meets the head. What a
chain inside the same database cannot show is somebody who may write every table and computes all hashes anew: note
the heads that `verify` reports somewhere else now and then, and compare.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Final

from certwright.adcs.events import AuditEvent, CaEvent
from certwright.database import Connection, Database, Row

FIRST_PREVIOUS: Final = bytes(32)
"""What stands for the previous hash before the first event."""

OS_USER: Final = "os_user"
"""The detail that names the user of the operating system behind an act at the command line."""

_SEQUENCE_BITS: Final = 40
_MAX_BROKEN: Final = 100
_NAMES: Final = {int(event): event.name for event in AuditEvent}
_FREQUENT: Final = (int(AuditEvent.REQUEST_RECEIVED), int(AuditEvent.CERTIFICATE_ISSUED))

_encode_details = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode

_INSERT: Final = (
    "INSERT INTO audit_event (id, chain_id, sequence, event, occurred, actor, request_id, details, hash)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_COLUMNS: Final = "id, chain_id, sequence, event, occurred, actor, request_id, details, hash"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One event of the trail. `chain` is the CA's common name; empty for events of the installation."""

    sequence: int
    chain: str
    event: int  # an `AuditEvent`, or a number of a later version
    when: datetime
    actor: str
    details: Mapping[str, str | int]
    hash: str  # hex

    @property
    def name(self) -> str:
        """The event in words, as `AuditEvent` names it."""
        return _NAMES.get(self.event, str(self.event))

    @property
    def os_user(self) -> str:
        """Who gave the command, as the operating system knows it; empty for what came in by a listener or a clock."""
        return str(self.details.get(OS_USER, ""))


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Where a chain stands: worth noting outside this database."""

    chain: str
    sequence: int
    hash: str  # hex


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """How many events were checked, and a sentence for each place where the chain is broken (the first hundred)."""

    checked: int
    broken: tuple[str, ...]
    heads: tuple[ChainHead, ...] = ()

    @property
    def is_intact(self) -> bool:
        return not self.broken


class AuditTrail:
    """Writes, reads and verifies the trail of one database. Thread-safe."""

    def __init__(self, database: Database, os_user: str = "") -> None:
        """Args:
        os_user: who gives the commands of this process, where a person does; goes into the details of every event.
        """
        self._database = database
        self._beside: Mapping[str, str | int] = {OS_USER: _printable(os_user)} if os_user else {}

    # -- writing -----------------------------------------------------------------------------------------------

    def append(self, connection: Connection, event: CaEvent) -> None:
        """Record one event inside the caller's transaction; it is there if, and only if, that commits."""
        self.append_all(connection, (event,))

    def append_all(self, connection: Connection, events: Sequence[CaEvent]) -> None:
        """Record many events inside the caller's transaction, each chain's in the order given.

        The heads of the chains stay locked until the transaction ends; they are taken in the order of their names, so
        that two transactions cannot wait for each other.
        """
        by_chain: dict[str, list[CaEvent]] = {}
        for event in events:
            by_chain.setdefault(_printable(event.ca), []).append(event)
        for chain in sorted(by_chain):
            self._extend(connection, chain, by_chain[chain])

    def _extend(self, connection: Connection, chain: str, events: Sequence[CaEvent]) -> None:
        chain_id, sequence, previous = _locked_head(connection, chain)
        base = chain_id << _SEQUENCE_BITS
        chain_json = encode_basestring_ascii(chain)
        rows = []
        for event in events:
            sequence += 1
            actor = _printable(event.actor)
            details = _encode_details({**event.details, **self._beside})
            when = int(event.when.timestamp())
            number = int(event.event)
            previous = _hash(previous, chain_json, sequence, number, when, actor, details)
            request_id = event.details.get("request_id")
            rows.append(
                (
                    base | sequence,
                    chain_id,
                    sequence,
                    number,
                    when,
                    actor,
                    request_id if isinstance(request_id, int) else None,
                    details,
                    previous,
                )
            )
        connection.executemany(_INSERT, rows)
        connection.execute(
            "UPDATE audit_chain SET sequence = ?, hash = ? WHERE id = ?", (sequence, previous, chain_id)
        )

    # -- reading -----------------------------------------------------------------------------------------------

    def events(
        self,
        *,
        ca: str | None = None,
        event: int | None = None,
        request_id: int | None = None,
        since: datetime | None = None,
        limit: int | None = 100,
        newest_first: bool = True,
    ) -> Sequence[AuditRecord]:
        """Events by time, those of one chain always in its order.

        Args:
            ca: a CA's common name, or empty for the installation; None for all.
            limit: at most so many; None for all, which may be millions.
        """
        with self._database.read() as connection:
            chains = connection.many("SELECT id, name FROM audit_chain ORDER BY id")
            found = [
                self._of_chain(connection, chain_id, name, event, request_id, since, limit, newest_first)
                for chain_id, name in chains
                if ca is None or name == ca
            ]
        merged = heapq.merge(*found, key=lambda record: record.when, reverse=newest_first)
        return list(itertools.islice(merged, limit))

    def stream(
        self, *, ca: str | None = None, event: int | None = None, since: datetime | None = None
    ) -> Iterator[AuditRecord]:
        """Every event, chain after chain, each in its order; as many as there are, without holding them."""
        with self._database.read() as connection:
            chains = connection.many("SELECT id, name FROM audit_chain ORDER BY id")
            for chain_id, name in chains:
                if ca is None or name == ca:
                    sql, params = _chain_query(chain_id, event, None, since, None, newest_first=False)
                    for row in connection.stream(sql, params):
                        yield _record(name, row)

    def newer(self, ca: str, event: int, after: int | None) -> tuple[int, Sequence[AuditRecord]]:
        """Events of one kind in a CA's chain behind `after`, and the number to go on from; None only gives that.

        Sequence numbers rise in the order of the commits, so nothing comes later with a smaller one.
        """
        with self._database.read() as connection:
            chain = connection.one("SELECT id, sequence FROM audit_chain WHERE name = ?", (_printable(ca),))
            if chain is None:
                return 0, ()
            chain_id, head = chain
            if after is None or head <= after:
                return head, ()
            base = chain_id << _SEQUENCE_BITS
            rows = connection.many(
                f"SELECT {_COLUMNS} FROM audit_event WHERE id > ? AND id <= ? AND event = ? ORDER BY id",  # noqa: S608
                (base | after, base | head, event),
            )
        return head, [_record(ca, row) for row in rows]

    @staticmethod
    def _of_chain(
        connection: Connection,
        chain_id: int,
        name: str,
        event: int | None,
        request_id: int | None,
        since: datetime | None,
        limit: int | None,
        newest_first: bool,
    ) -> list[AuditRecord]:
        sql, params = _chain_query(chain_id, event, request_id, since, limit, newest_first=newest_first)
        return [_record(name, row) for row in connection.many(sql, params)]

    # -- verifying ---------------------------------------------------------------------------------------------

    def verify(self, expected: Collection[str] = ()) -> VerifyResult:
        """Recompute every hash.

        Args:
            expected: chains that must exist (the names of the installation's CAs): a removed one is missed.
        """
        checked = 0
        broken: list[str] = []
        heads: list[ChainHead] = []
        with self._database.read() as connection:
            chains = connection.many("SELECT id, name, sequence, hash FROM audit_chain ORDER BY id")
            known = {name for _, name, _, _ in chains}
            broken += [f"the chain of {_named(name)} is missing" for name in sorted(set(expected) - known)]
            for chain_id, name, sequence, digest in chains:
                heads.append(ChainHead(name, sequence, bytes(digest).hex()))
                for problem in _check_chain(connection, chain_id, name, sequence, bytes(digest)):
                    if problem is None:
                        checked += 1
                    elif len(broken) < _MAX_BROKEN:
                        broken.append(problem)
            strangers = connection.one(
                "SELECT COUNT(*) FROM audit_event"
                " WHERE NOT EXISTS (SELECT 1 FROM audit_chain WHERE audit_chain.id = audit_event.chain_id)"
            )
        if strangers and strangers[0]:
            broken.append(f"{strangers[0]} events belong to no chain: its head was deleted, or they were inserted")
        return VerifyResult(checked, tuple(broken), tuple(heads))


def _chain_query(
    chain_id: int,
    event: int | None,
    request_id: int | None,
    since: datetime | None,
    limit: int | None,
    *,
    newest_first: bool,
) -> tuple[str, list[int]]:
    """Events of one chain: SQL and its parameters."""
    where = ["id > ? AND id < ?"]
    params: list[int] = [chain_id << _SEQUENCE_BITS, (chain_id + 1) << _SEQUENCE_BITS]
    if event is not None:
        where.append("chain_id = ? AND event = ?")
        params += [chain_id, int(event)]
        if event not in _FREQUENT:
            where.append("NOT (event IN (4886, 4887))")  # word for word the condition of the partial index
    if request_id is not None:
        where.append("chain_id = ? AND request_id = ?")
        params += [chain_id, request_id]
    if since is not None:
        where.append("occurred >= ?")
        params.append(int(since.timestamp()))
    order = "DESC" if newest_first else "ASC"
    tail = ""
    if limit is not None:
        tail = " LIMIT ?"
        params.append(limit)
    return f"SELECT {_COLUMNS} FROM audit_event WHERE {' AND '.join(where)} ORDER BY id {order}{tail}", params  # noqa: S608


def _locked_head(connection: Connection, chain: str) -> tuple[int, int, bytes]:
    lock = " FOR UPDATE" if connection.dialect == "postgresql" else ""  # SQLite has one writer anyway
    query = f"SELECT id, sequence, hash FROM audit_chain WHERE name = ?{lock}"  # noqa: S608
    row = connection.one(query, (chain,))
    if row is None:
        connection.execute(
            "INSERT INTO audit_chain (name, sequence, hash) VALUES (?, 0, ?) ON CONFLICT (name) DO NOTHING",
            (chain, FIRST_PREVIOUS),
        )
        row = connection.one(query, (chain,))
        assert row is not None
    return row[0], row[1], bytes(row[2])


def _check_chain(
    connection: Connection, chain_id: int, name: str, head_sequence: int, head_hash: bytes
) -> Iterator[str | None]:
    """None for every event in its place, a sentence for every one that is not."""
    previous, expected = FIRST_PREVIOUS, 1
    chain_json = encode_basestring_ascii(name)
    rows = connection.stream(
        f"SELECT {_COLUMNS} FROM audit_event WHERE chain_id = ? AND sequence <= ? ORDER BY sequence, id",  # noqa: S608
        (chain_id, head_sequence),  # what others append meanwhile comes after the head that was read
    )
    for row_id, _, sequence, event, occurred, actor, request_id, details, digest in rows:
        where = f"event {sequence} of {_named(name)}"
        problem = None
        if sequence > expected:
            missing = f"{expected}" if sequence == expected + 1 else f"{expected} to {sequence - 1}"
            yield f"events of {_named(name)} are missing: {missing}"
        elif sequence < expected or row_id != chain_id << _SEQUENCE_BITS | sequence:
            problem = f"{where} was inserted"
        if problem is None and sequence == expected:
            computed = _hash(previous, chain_json, sequence, event, occurred, actor, details)
            if computed != bytes(digest) or _request_id_of(details) != request_id:
                problem = f"{where} was changed (or the one before it, with its hash)"
        yield problem
        previous, expected = bytes(digest), max(expected, sequence + 1)
    beyond = connection.one(
        "SELECT COUNT(*) FROM audit_event e JOIN audit_chain c ON c.id = e.chain_id"
        " WHERE e.id > ? AND e.id < ? AND e.sequence > c.sequence",  # one statement: one moment of both tables
        (chain_id << _SEQUENCE_BITS | head_sequence, (chain_id + 1) << _SEQUENCE_BITS),
    )
    if beyond and beyond[0]:
        yield f"{beyond[0]} events of {_named(name)} stand after the last one that its head remembers"
    if expected != head_sequence + 1:
        yield f"the end of {_named(name)} is cut off: events {expected} to {head_sequence} are missing"
    elif previous != head_hash:
        yield f"the last event of {_named(name)} is not the one its head remembers"


def _hash(previous: bytes, chain_json: str, sequence: int, event: int, when: int, actor: str, details: str) -> bytes:
    canonical = (
        f'{{"actor":{encode_basestring_ascii(actor)},"chain":{chain_json},"details":{details},'
        f'"event":{event},"sequence":{sequence},"when":{when}}}'
    )
    return hashlib.sha256(previous + canonical.encode("utf-8", "surrogatepass")).digest()


def _request_id_of(details: str) -> int | None:
    try:
        parsed = json.loads(details)
    except ValueError:
        return None
    value = parsed.get("request_id") if isinstance(parsed, dict) else None
    return value if isinstance(value, int) else None


def _record(chain: str, row: Row) -> AuditRecord:
    _, _, sequence, event, occurred, actor, _, details, digest = row
    when = datetime.fromtimestamp(occurred, UTC)
    return AuditRecord(sequence, chain, event, when, actor, json.loads(details), bytes(digest).hex())


def _named(chain: str) -> str:
    return chain or "the installation"


def _printable(text: str) -> str:
    """Text that both databases store: no NUL, no lone surrogates."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
