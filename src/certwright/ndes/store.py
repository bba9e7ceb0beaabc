"""Rows of NDES' tables <-> values. SQL in both dialects; decides nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from certwright.database import Connection, Row


class State(IntEnum):
    """Where a device's request stands."""

    SUBMITTING = 0  # handed to the CA; its answer is not known here yet
    PENDING = 1
    ISSUED = 2
    DENIED = 3
    FAILED = 4  # it never reached the CA: the same request sent again is taken up


MAX_RESULT: Final = 500
"""Characters of why a notice was not taken."""


class NoticeState(IntEnum):
    """Where a notice to a policy module stands."""

    WAITING = 0
    TAKEN = 1
    GIVEN_UP = 2


# -- settings --------------------------------------------------------------------------------------------------------


def settings(connection: Connection, service: str) -> list[tuple[str, str]]:
    """Of one service: those that differ from their defaults."""
    rows = connection.many("SELECT name, value FROM ndes_setting WHERE service = ? ORDER BY name", (service,))
    return [(name, value) for name, value in rows]


def put_settings(connection: Connection, service: str, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        connection.execute(
            "INSERT INTO ndes_setting (service, name, value) VALUES (?, ?, ?)"
            " ON CONFLICT (service, name) DO UPDATE SET value = ?",
            (service, name, value, value),
        )


# -- services --------------------------------------------------------------------------------------------------------


def services(connection: Connection) -> list[str]:
    """Names of all that there are beside the one at the classic addresses."""
    return [name for (name,) in connection.many("SELECT name FROM ndes_service ORDER BY name")]


def insert_service(connection: Connection, name: str, when: int) -> bool:
    """False where there is one of that name."""
    return (
        connection.execute(
            "INSERT INTO ndes_service (name, created) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (name, when)
        ).rowcount
        == 1
    )


def delete_service(connection: Connection, name: str) -> bool:
    """With its settings and challenges. What its devices asked for stays in the lists. False where there is none."""
    connection.execute("DELETE FROM ndes_setting WHERE service = ?", (name,))
    connection.execute("DELETE FROM ndes_challenge WHERE service = ?", (name,))
    return connection.execute("DELETE FROM ndes_service WHERE name = ?", (name,)).rowcount == 1


# -- challenges ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Challenge:
    """A one-time challenge that was given out. The password itself is not here."""

    id: int
    service: str
    template: str
    names: tuple[str, ...]
    issued_to: str
    created: int
    expires: int
    used: int | None
    used_by: str


_CHALLENGE = "id, service, template, names, issued_to, created, expires, used, used_by"


def lock_challenges(connection: Connection) -> None:
    """Nobody else gives out challenges until this transaction ends. On SQLite every transaction is alone anyway."""
    if connection.dialect == "postgresql":
        connection.execute("LOCK TABLE ndes_challenge IN SHARE ROW EXCLUSIVE MODE")


def insert_challenge(
    connection: Connection,
    service: str,
    digest: bytes,
    template: str,
    names: Sequence[str],
    issued_to: str,
    when: int,
    expires: int,
) -> int:
    return connection.insert_returning(
        "INSERT INTO ndes_challenge (service, digest, template, names, issued_to, created, expires, used_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, '')",
        (service, digest, template, json.dumps(list(names)), issued_to, when, expires),
    )


def challenge(connection: Connection, service: str, digest: bytes) -> Challenge | None:
    row = connection.one(
        f"SELECT {_CHALLENGE} FROM ndes_challenge WHERE digest = ? AND service = ?",  # noqa: S608
        (digest, service),
    )
    return None if row is None else _challenge(row)


def challenges(connection: Connection, service: str, limit: int) -> list[Challenge]:
    """The latest first."""
    rows = connection.many(
        f"SELECT {_CHALLENGE} FROM ndes_challenge WHERE service = ? ORDER BY id DESC LIMIT ?",  # noqa: S608
        (service, limit),
    )
    return [_challenge(row) for row in rows]


def count_unused(connection: Connection, service: str, now: int) -> int:
    row = connection.one(
        "SELECT COUNT(*) FROM ndes_challenge WHERE service = ? AND used IS NULL AND expires > ?", (service, now)
    )
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
    challenge_id, service, template, names, *rest = row
    return Challenge(challenge_id, service, template, tuple(json.loads(names)), *rest)


# -- transactions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Transaction:
    """A device's request as it stands."""

    id: int
    service: str
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
    owner: str = ""  # which process noted it, as `server.home` tells processes apart


_TRANSACTION = (
    "id, service, name, key_hash, request_hash, request_id, state, template, subject, renewal, peer, message,"
    " created, changed, owner"
)


def transactions_called(connection: Connection, service: str, name: str) -> list[Transaction]:
    """Of every key; there is one as a rule."""
    rows = connection.many(
        f"SELECT {_TRANSACTION} FROM ndes_transaction WHERE service = ? AND name = ? ORDER BY id",  # noqa: S608
        (service, name),
    )
    return [_transaction(row) for row in rows]


def latest_transactions(connection: Connection, limit: int, service: str | None = None) -> list[Transaction]:
    """Of one service, or of all."""
    where, values = ("", ()) if service is None else ("WHERE service = ? ", (service,))
    rows = connection.many(
        f"SELECT {_TRANSACTION} FROM ndes_transaction {where}ORDER BY changed DESC, id DESC LIMIT ?",  # noqa: S608
        (*values, limit),
    )
    return [_transaction(row) for row in rows]


def begin(
    connection: Connection,
    service: str,
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
    owner: str,
) -> bool:
    """Note a request that is about to be submitted. False when the same device did so at this very moment.

    Args:
        owner: which process is at it, as `server.home` tells processes apart.
    """
    values = (request_hash, int(State.SUBMITTING), template, subject, renewal, peer, when, when, owner)
    if instead_of is not None:
        return (
            connection.execute(
                "UPDATE ndes_transaction SET request_hash = ?, state = ?, template = ?, subject = ?, renewal = ?,"
                " peer = ?, created = ?, changed = ?, owner = ?, request_id = NULL, message = ''"
                " WHERE id = ? AND state = ? AND changed = ?",
                (*values, instead_of.id, int(instead_of.state), instead_of.changed),
            ).rowcount
            == 1
        )
    return (
        connection.execute(
            "INSERT INTO ndes_transaction (service, name, key_hash, request_hash, state, template, subject, renewal,"
            " peer, created, changed, owner, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '')"
            " ON CONFLICT (service, name, key_hash) DO NOTHING",
            (service, name, key_hash, *values),
        ).rowcount
        == 1
    )


def settle(
    connection: Connection,
    service: str,
    name: str,
    key_hash: bytes,
    state: State,
    request_id: int | None,
    message: str,
    when: int,
) -> None:
    connection.execute(
        "UPDATE ndes_transaction SET state = ?, request_id = ?, message = ?, changed = ?"
        " WHERE service = ? AND name = ? AND key_hash = ?",
        (int(state), request_id, message, when, service, name, key_hash),
    )


def under_way(connection: Connection, before: int, limit: int) -> list[Transaction]:
    """Requests handed to the CA whose answer is not known here, noted at `before` or earlier; the oldest first."""
    rows = connection.many(
        f"SELECT {_TRANSACTION} FROM ndes_transaction WHERE state = 0 AND created <= ?"  # noqa: S608
        " ORDER BY created, id LIMIT ?",
        (before, limit),
    )
    return [_transaction(row) for row in rows]


def settle_left(
    connection: Connection, row: Transaction, state: State, request_id: int | None, message: str, when: int
) -> bool:
    """Settle what was read, unless somebody has taken it up meanwhile."""
    return (
        connection.execute(
            "UPDATE ndes_transaction SET state = ?, request_id = ?, message = ?, changed = ?"
            " WHERE id = ? AND state = ? AND changed = ? AND request_hash = ?",
            (int(state), request_id, message, when, row.id, int(row.state), row.changed, row.request_hash),
        ).rowcount
        == 1
    )


def restore(connection: Connection, row: Transaction) -> None:
    """As it was read before something else was begun in its place."""
    connection.execute(
        "UPDATE ndes_transaction SET request_hash = ?, request_id = ?, state = ?, template = ?, subject = ?,"
        " renewal = ?, peer = ?, message = ?, created = ?, changed = ? WHERE id = ?",
        (
            row.request_hash,
            row.request_id,
            int(row.state),
            row.template,
            row.subject,
            row.renewal,
            row.peer,
            row.message,
            row.created,
            row.changed,
            row.id,
        ),
    )


def forget(connection: Connection, service: str, name: str, key_hash: bytes) -> None:
    """A request that never reached the CA."""
    connection.execute(
        "DELETE FROM ndes_transaction WHERE service = ? AND name = ? AND key_hash = ?", (service, name, key_hash)
    )


def delete_settled(connection: Connection, before: int) -> int:
    """Requests that were decided, and not looked at since."""
    return connection.execute(
        "DELETE FROM ndes_transaction WHERE changed < ? AND state >= ?", (before, int(State.ISSUED))
    ).rowcount


def _transaction(row: Row) -> Transaction:
    row_id, service, name, key_hash, request_hash, request_id, state, *rest = row
    template, subject, renewal, peer, message, created, changed, owner = rest
    return Transaction(
        row_id,
        service,
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
        owner,
    )


# -- failures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failure:
    """A message that was refused. `message` is empty in lists, and where nobody keeps it any more."""

    id: int
    service: str
    occurred: int
    rule: str
    reason: str
    fail_info: str
    transaction: str
    signer: str
    peer: str
    message: bytes = b""


_FAILURE = "id, service, occurred, rule, reason, fail_info, transaction_name, signer, peer"


def insert_failure(connection: Connection, failure: Failure) -> None:
    connection.execute(
        "INSERT INTO ndes_failure"
        " (service, occurred, rule, reason, fail_info, transaction_name, signer, peer, message)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            failure.service,
            failure.occurred,
            failure.rule,
            failure.reason,
            failure.fail_info,
            failure.transaction,
            failure.signer,
            failure.peer,
            failure.message,
        ),
    )


def failures(connection: Connection, service: str | None, limit: int) -> list[Failure]:
    """Of one service, or of all; the latest first."""
    where, values = ("", ()) if service is None else ("WHERE service = ? ", (service,))
    rows = connection.many(
        f"SELECT {_FAILURE} FROM ndes_failure {where}ORDER BY id DESC LIMIT ?",  # noqa: S608
        (*values, limit),
    )
    return [Failure(*row) for row in rows]


def failure(connection: Connection, failure_id: int) -> Failure | None:
    """With its message."""
    row = connection.one(f"SELECT {_FAILURE}, message FROM ndes_failure WHERE id = ?", (failure_id,))  # noqa: S608
    if row is None:
        return None
    *fields, message = row
    return replace(Failure(*fields), message=bytes(message))


def delete_failures(connection: Connection, before: int, keep: int) -> int:
    """Those that are old, and all but the `keep` latest."""
    return connection.execute(
        "DELETE FROM ndes_failure WHERE occurred < ? OR id <="
        " (SELECT id FROM ndes_failure ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (before, keep),
    ).rowcount


# -- notices to policy modules ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notice:
    """What a policy module is told of a request. `body` is empty once it is settled."""

    id: int
    service: str
    transaction: str
    disposition: str
    body: str
    state: NoticeState
    attempts: int
    next_try: int | None
    result: str
    created: int
    settled: int | None


_NOTICE = "id, service, transaction_name, disposition, body, state, attempts, next_try, result, created, settled"


def insert_notice(
    connection: Connection, service: str, transaction: str, disposition: str, body: str, when: int
) -> int:
    return connection.insert_returning(
        "INSERT INTO ndes_notice (service, transaction_name, disposition, body, state, attempts, next_try, result,"
        " created) VALUES (?, ?, ?, ?, ?, 0, ?, '', ?)",
        (service, transaction, disposition, body, int(NoticeState.WAITING), when, when),
    )


def count_waiting_notices(connection: Connection, service: str) -> int:
    row = connection.one("SELECT COUNT(*) FROM ndes_notice WHERE service = ? AND next_try IS NOT NULL", (service,))
    return 0 if row is None else int(row[0])


def services_with_notices(connection: Connection, now: int) -> list[str]:
    """Those for which something is due."""
    rows = connection.many(
        "SELECT DISTINCT service FROM ndes_notice WHERE next_try IS NOT NULL AND next_try <= ? ORDER BY service",
        (now,),
    )
    return [service for (service,) in rows]


def due_notices(connection: Connection, service: str, now: int, limit: int) -> list[Notice]:
    """In order; of one transaction the first that waits alone, for a module hears of *pending* before *issued*."""
    rows = connection.many(
        f"SELECT {_NOTICE} FROM ndes_notice n WHERE service = ? AND next_try IS NOT NULL AND next_try <= ?"  # noqa: S608
        " AND NOT EXISTS (SELECT 1 FROM ndes_notice e WHERE e.service = n.service AND e.next_try IS NOT NULL"
        " AND e.transaction_name = n.transaction_name AND e.id < n.id) ORDER BY id LIMIT ?",
        (service, now, limit),
    )
    return [_notice(row) for row in rows]


def claim_notice(connection: Connection, notice: Notice, until: int) -> bool:
    """Take one to tell it; another process may have it again from `until` on. False when somebody has it."""
    return (
        connection.execute(
            "UPDATE ndes_notice SET next_try = ? WHERE id = ? AND next_try = ?", (until, notice.id, notice.next_try)
        ).rowcount
        == 1
    )


def put_notice_back(connection: Connection, notice_id: int, next_try: int, attempts: int, result: str) -> None:
    connection.execute(
        "UPDATE ndes_notice SET next_try = ?, attempts = ?, result = ? WHERE id = ?",
        (next_try, attempts, result, notice_id),
    )


def settle_notice(
    connection: Connection, notice_id: int, state: NoticeState, attempts: int, result: str, when: int
) -> None:
    connection.execute(
        "UPDATE ndes_notice SET state = ?, body = '', next_try = NULL, attempts = ?, result = ?, settled = ?"
        " WHERE id = ?",
        (int(state), attempts, result, when, notice_id),
    )


def notices(connection: Connection, service: str | None, limit: int) -> list[Notice]:
    """Of one service, or of all; the latest first."""
    where, values = ("", ()) if service is None else ("WHERE service = ? ", (service,))
    rows = connection.many(
        f"SELECT {_NOTICE} FROM ndes_notice {where}ORDER BY id DESC LIMIT ?",  # noqa: S608
        (*values, limit),
    )
    return [_notice(row) for row in rows]


def delete_notices(connection: Connection, before: int) -> int:
    return connection.execute("DELETE FROM ndes_notice WHERE settled < ?", (before,)).rowcount


def _notice(row: Row) -> Notice:
    row_id, service, transaction, disposition, body, state, *rest = row
    return Notice(row_id, service, transaction, disposition, body, NoticeState(state), *rest)
