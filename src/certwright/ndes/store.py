"""Rows of NDES' tables <-> values. SQL in both dialects; decides nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from certwright.database import Connection, Row


class State(IntEnum):
    """Where a device's request stands."""

    SUBMITTING = 0  # handed to the CA; its answer is not known here yet
    PENDING = 1
    ISSUED = 2
    DENIED = 3


# -- settings --------------------------------------------------------------------------------------------------------


def settings(connection: Connection) -> dict[str, str]:
    return dict(connection.many("SELECT name, value FROM ndes_setting"))


def put_settings(connection: Connection, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        connection.execute(
            "INSERT INTO ndes_setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = ?",
            (name, value, value),
        )


# -- challenges ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Challenge:
    """A one-time challenge that was given out. The password itself is not here."""

    id: int
    template: str
    names: tuple[str, ...]
    issued_to: str
    created: int
    expires: int
    used: int | None
    used_by: str


_CHALLENGE = "id, template, names, issued_to, created, expires, used, used_by"


def lock_challenges(connection: Connection) -> None:
    """Nobody else gives out challenges until this transaction ends. On SQLite every transaction is alone anyway."""
    if connection.dialect == "postgresql":
        connection.execute("LOCK TABLE ndes_challenge IN SHARE ROW EXCLUSIVE MODE")


def insert_challenge(
    connection: Connection,
    digest: bytes,
    template: str,
    names: Sequence[str],
    issued_to: str,
    when: int,
    expires: int,
) -> int:
    return connection.insert_returning(
        "INSERT INTO ndes_challenge (digest, template, names, issued_to, created, expires, used_by)"
        " VALUES (?, ?, ?, ?, ?, ?, '')",
        (digest, template, json.dumps(list(names)), issued_to, when, expires),
    )


def challenge(connection: Connection, digest: bytes) -> Challenge | None:
    row = connection.one(f"SELECT {_CHALLENGE} FROM ndes_challenge WHERE digest = ?", (digest,))  # noqa: S608
    return None if row is None else _challenge(row)


def challenges(connection: Connection, limit: int) -> list[Challenge]:
    """The latest first."""
    rows = connection.many(f"SELECT {_CHALLENGE} FROM ndes_challenge ORDER BY id DESC LIMIT ?", (limit,))  # noqa: S608
    return [_challenge(row) for row in rows]


def count_unused(connection: Connection, now: int) -> int:
    row = connection.one("SELECT COUNT(*) FROM ndes_challenge WHERE used IS NULL AND expires > ?", (now,))
    return 0 if row is None else int(row[0])


def use_challenge(connection: Connection, challenge_id: int, now: int, used_by: str) -> bool:
    """Take it, once. False when somebody did before, or it has expired meanwhile."""
    return (
        connection.execute(
            "UPDATE ndes_challenge SET used = ?, used_by = ? WHERE id = ? AND used IS NULL AND expires > ?",
            (now, used_by, challenge_id, now),
        ).rowcount
        == 1
    )


def give_back_challenge(connection: Connection, challenge_id: int) -> None:
    connection.execute("UPDATE ndes_challenge SET used = NULL, used_by = '' WHERE id = ?", (challenge_id,))


def delete_challenges(connection: Connection, before: int) -> int:
    return connection.execute("DELETE FROM ndes_challenge WHERE expires < ?", (before,)).rowcount


def _challenge(row: Row) -> Challenge:
    challenge_id, template, names, issued_to, created, expires, used, used_by = row
    return Challenge(challenge_id, template, tuple(json.loads(names)), issued_to, created, expires, used, used_by)


# -- transactions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Transaction:
    """A device's request as it stands."""

    id: int
    name: str  # transaction ID
    key_hash: bytes
    request_hash: bytes
    request_id: int | None
    state: State
    template: str
    subject: str
    renewal: bool
    peer: str
    message: str
    created: int
    changed: int


_TRANSACTION = (
    "id, name, key_hash, request_hash, request_id, state, template, subject, renewal, peer, message, created, changed"
)


def transactions_called(connection: Connection, name: str) -> list[Transaction]:
    """Of every key; there is one as a rule."""
    rows = connection.many(
        f"SELECT {_TRANSACTION} FROM ndes_transaction WHERE name = ? ORDER BY id",  # noqa: S608
        (name,),
    )
    return [_transaction(row) for row in rows]


def latest_transactions(connection: Connection, limit: int) -> list[Transaction]:
    rows = connection.many(
        f"SELECT {_TRANSACTION} FROM ndes_transaction ORDER BY changed DESC, id DESC LIMIT ?",  # noqa: S608
        (limit,),
    )
    return [_transaction(row) for row in rows]


def begin(
    connection: Connection,
    name: str,
    key_hash: bytes,
    request_hash: bytes,
    template: str,
    subject: str,
    *,
    renewal: bool,
    peer: str,
    when: int,
    instead_of: Transaction | None,
) -> bool:
    """Note a request that is about to be submitted. False when the same device did so at this very moment."""
    values = (request_hash, int(State.SUBMITTING), template, subject, renewal, peer, when, when)
    if instead_of is not None:
        return (
            connection.execute(
                "UPDATE ndes_transaction SET request_hash = ?, state = ?, template = ?, subject = ?, renewal = ?,"
                " peer = ?, created = ?, changed = ?, request_id = NULL, message = ''"
                " WHERE id = ? AND state = ? AND changed = ?",
                (*values, instead_of.id, int(instead_of.state), instead_of.changed),
            ).rowcount
            == 1
        )
    return (
        connection.execute(
            "INSERT INTO ndes_transaction (name, key_hash, request_hash, state, template, subject, renewal,"
            " peer, created, changed, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '')"
            " ON CONFLICT (name, key_hash) DO NOTHING",
            (name, key_hash, *values),
        ).rowcount
        == 1
    )


def settle(
    connection: Connection,
    name: str,
    key_hash: bytes,
    state: State,
    request_id: int | None,
    message: str,
    when: int,
) -> None:
    connection.execute(
        "UPDATE ndes_transaction SET state = ?, request_id = ?, message = ?, changed = ?"
        " WHERE name = ? AND key_hash = ?",
        (int(state), request_id, message, when, name, key_hash),
    )


def forget(connection: Connection, name: str, key_hash: bytes) -> None:
    """A request that never reached the CA."""
    connection.execute("DELETE FROM ndes_transaction WHERE name = ? AND key_hash = ?", (name, key_hash))


def delete_settled(connection: Connection, before: int) -> int:
    """Requests that were decided, and not looked at since."""
    return connection.execute(
        "DELETE FROM ndes_transaction WHERE changed < ? AND state >= ?", (before, int(State.ISSUED))
    ).rowcount


def _transaction(row: Row) -> Transaction:
    row_id, name, key_hash, request_hash, request_id, state, *rest = row
    template, subject, renewal, peer, message, created, changed = rest
    return Transaction(
        row_id,
        name,
        bytes(key_hash),
        bytes(request_hash),
        request_id,
        State(state),
        template,
        subject,
        bool(renewal),
        peer,
        message,
        created,
        changed,
    )
