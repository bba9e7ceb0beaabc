"""Rows of renewal rules, and of what became of each certificate's renewal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final

from certwright.database import Connection, Row
from certwright.manager.store_inventory import MAX_KEY
from certwright.manager.values import (
    FailedRenewal,
    RenewalKey,
    RenewalRule,
    RuleFields,
    key,
    moment,
    optional_moment,
    optional_seconds,
    seconds,
)

Param = int | float | str | bytes | None
_RULE: Final = "id, fields, last_run, ordered, failures, last_failure, created"


class RenewalState(IntEnum):
    ORDERED = 1
    RENEWED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class RenewalRow:
    """What became of the renewal of one certificate."""

    certificate_id: int
    rule_id: int | None
    order_id: int | None
    state: RenewalState
    failures: int
    next_try: datetime | None
    message: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A certificate that a rule matches."""

    id: int
    common_name: str
    not_after: datetime
    failures: int
    next_try: datetime | None


# -- rules -------------------------------------------------------------------------------------------------------


def _rule(row: Row) -> RenewalRule:
    stored = json.loads(row[1])
    fields = RuleFields(**{**stored, "key": RenewalKey(stored["key"])})
    return RenewalRule(row[0], fields, optional_moment(row[2]), row[3], row[4], row[5], moment(row[6]))


def rules(connection: Connection, *, enabled_only: bool = False) -> list[RenewalRule]:
    found = [
        _rule(row)
        for row in connection.many(f"SELECT {_RULE} FROM manager_renewal_rule ORDER BY name_key")  # noqa: S608
    ]
    return [rule for rule in found if rule.fields.enabled or not enabled_only]


def rule(connection: Connection, rule_id: int) -> RenewalRule | None:
    row = connection.one(f"SELECT {_RULE} FROM manager_renewal_rule WHERE id = ?", (rule_id,))  # noqa: S608
    return None if row is None else _rule(row)


def insert_rule(connection: Connection, fields: RuleFields, when: int) -> int:
    return connection.insert_returning(
        "INSERT INTO manager_renewal_rule (name, name_key, fields, enabled, ordered, failures, last_failure, created)"
        " VALUES (?, ?, ?, ?, 0, 0, '', ?)",
        (fields.name, key(fields.name), json.dumps(asdict(fields)), fields.enabled, when),
    )


def update_rule(connection: Connection, rule_id: int, fields: RuleFields) -> None:
    connection.execute(
        "UPDATE manager_renewal_rule SET name = ?, name_key = ?, fields = ?, enabled = ? WHERE id = ?",
        (fields.name, key(fields.name), json.dumps(asdict(fields)), fields.enabled, rule_id),
    )


def delete_rule(connection: Connection, rule_id: int) -> None:
    connection.execute("DELETE FROM manager_renewal_rule WHERE id = ?", (rule_id,))


def put_run(connection: Connection, rule_id: int, when: int) -> None:
    connection.execute("UPDATE manager_renewal_rule SET last_run = ? WHERE id = ?", (when, rule_id))


def count_ordered(connection: Connection, rule_id: int) -> None:
    connection.execute("UPDATE manager_renewal_rule SET ordered = ordered + 1 WHERE id = ?", (rule_id,))


def count_failure(connection: Connection, rule_id: int, message: str) -> None:
    connection.execute(
        "UPDATE manager_renewal_rule SET failures = failures + 1, last_failure = ? WHERE id = ?",
        (message[:500], rule_id),
    )


# -- what rules match --------------------------------------------------------------------------------------------


def rule_condition(fields: RuleFields) -> tuple[str, tuple[Param, ...]]:
    """The certificates `c` that a rule is for, whatever their dates."""
    parts: list[str] = []
    params: list[Param] = []
    if fields.certificate_id is not None:
        parts.append("c.id = ?")
        params.append(fields.certificate_id)
    if fields.tag:
        parts.append(
            "EXISTS (SELECT 1 FROM manager_certificate_tag t WHERE t.certificate_id = c.id AND t.tag_key = ?)"
        )
        params.append(key(fields.tag))
    if fields.match_template:
        parts.append("c.template_key = ?")
        params.append(key(fields.match_template)[:MAX_KEY])
    if fields.issuer:
        parts.append("c.issuer_key = ?")
        params.append(key(fields.issuer)[:MAX_KEY])
    return " AND ".join(parts), tuple(params)


def renewal_ahead(connection: Connection) -> tuple[str, tuple[Param, ...]]:
    """The certificates `c` whose renewal is ordered, or which a rule will renew."""
    parts = [
        "EXISTS (SELECT 1 FROM manager_renewal w WHERE w.certificate_id = c.id AND w.state = ?)",
    ]
    params: list[Param] = [int(RenewalState.ORDERED)]
    for each in rules(connection, enabled_only=True):
        sql, its_params = rule_condition(each.fields)
        parts.append(f"({sql} AND c.managed)")
        params += its_params
    return " OR ".join(parts), tuple(params)


def candidates(
    connection: Connection,
    fields: RuleFields,
    now: datetime,
    until: datetime,
    limit: int,
    max_failures: int | None = None,
    only: int | None = None,
) -> list[Candidate]:
    """Valid managed certificates that a rule is for, that end before `until` and whose renewal is open.

    The nearest come first. With `max_failures`, only those that are to be tried now; with `only`, that one.
    """
    sql, params = rule_condition(fields)
    if only is not None:
        sql, params = f"{sql} AND c.id = ?", (*params, only)
    is_open = f"(r.state IS NULL OR r.state = {int(RenewalState.FAILED)})"
    if max_failures is not None:
        is_open = (
            f"(r.state IS NULL OR (r.state = {int(RenewalState.FAILED)} AND r.failures < ? AND r.next_try <= ?))"
        )
    tried = () if max_failures is None else (max_failures, seconds(now))
    return [
        Candidate(
            row[0],
            row[1],
            moment(row[2]),
            row[3] or 0,
            optional_moment(row[4]),
        )
        for row in connection.many(
            "SELECT c.id, c.common_name, c.not_after, r.failures, r.next_try FROM manager_certificate c"  # noqa: S608
            f" LEFT JOIN manager_renewal r ON r.certificate_id = c.id WHERE {sql} AND c.managed AND NOT c.is_ca"
            " AND c.revoked IS NULL AND c.superseded_by IS NULL AND c.not_after > ? AND c.not_after <= ?"
            f" AND {is_open} ORDER BY c.not_after, c.id LIMIT ?",
            (*params, seconds(now), seconds(until), *tried, limit),
        )
    ]


# -- renewals ----------------------------------------------------------------------------------------------------

_RENEWAL: Final = "certificate_id, rule_id, order_id, state, failures, next_try, message"


def _renewal(row: Row) -> RenewalRow:
    return RenewalRow(row[0], row[1], row[2], RenewalState(row[3]), row[4], optional_moment(row[5]), row[6])


def renewal(connection: Connection, certificate_id: int) -> RenewalRow | None:
    row = connection.one(
        f"SELECT {_RENEWAL} FROM manager_renewal WHERE certificate_id = ?",  # noqa: S608
        (certificate_id,),
    )
    return None if row is None else _renewal(row)


def renewal_by_order(connection: Connection, order_id: int) -> RenewalRow | None:
    row = connection.one(f"SELECT {_RENEWAL} FROM manager_renewal WHERE order_id = ?", (order_id,))  # noqa: S608
    return None if row is None else _renewal(row)


def claim(connection: Connection, certificate_id: int, rule_id: int | None, order_id: int, when: int) -> bool:
    """Tie a certificate's renewal to an order. False when one is ordered, or was done, already."""
    return bool(
        connection.execute(
            "INSERT INTO manager_renewal (certificate_id, rule_id, order_id, state, failures, message, changed)"
            " VALUES (?, ?, ?, ?, 0, '', ?)"
            " ON CONFLICT (certificate_id) DO UPDATE SET rule_id = excluded.rule_id, order_id = excluded.order_id,"
            " state = excluded.state, next_try = NULL, message = '', changed = excluded.changed"
            " WHERE manager_renewal.state = ? RETURNING certificate_id",
            (certificate_id, rule_id, order_id, int(RenewalState.ORDERED), when, int(RenewalState.FAILED)),
        )
    )


def put_renewed(connection: Connection, certificate_id: int, when: int) -> None:
    connection.execute(
        f"UPDATE manager_renewal SET state = {int(RenewalState.RENEWED)}, message = '', next_try = NULL, changed = ?"  # noqa: S608
        " WHERE certificate_id = ?",
        (when, certificate_id),
    )


def put_failed(
    connection: Connection,
    certificate_id: int,
    rule_id: int | None,
    message: str,
    next_try: datetime | None,
    when: int,
) -> int:
    """Note that a renewal failed; returns how often it did."""
    row = connection.execute(
        "INSERT INTO manager_renewal (certificate_id, rule_id, state, failures, next_try, message, changed)"
        " VALUES (?, ?, ?, 1, ?, ?, ?)"
        " ON CONFLICT (certificate_id) DO UPDATE SET state = excluded.state,"
        " failures = manager_renewal.failures + 1, next_try = excluded.next_try, message = excluded.message,"
        " changed = excluded.changed RETURNING failures",
        (certificate_id, rule_id, int(RenewalState.FAILED), optional_seconds(next_try), message[:500], when),
    )
    return int(row[0][0])


def forget_order(connection: Connection, order_ids: Sequence[int]) -> None:
    """Orders whose record is removed renew nothing any more, unless they did already."""
    for order_id in order_ids:
        connection.execute(
            f"DELETE FROM manager_renewal WHERE order_id = ? AND state = {int(RenewalState.ORDERED)}",  # noqa: S608
            (order_id,),
        )


def failed_count(connection: Connection) -> int:
    row = connection.one(
        f"SELECT COUNT(*) FROM manager_renewal WHERE state = {int(RenewalState.FAILED)}"  # noqa: S608
    )
    return int(row[0]) if row else 0


def failed(connection: Connection, limit: int) -> list[FailedRenewal]:
    """Failed renewals, the certificate that ends first on top."""
    return [
        FailedRenewal(row[0], row[1], moment(row[2]), row[3] or "", row[4], optional_moment(row[5]), row[6])
        for row in connection.many(
            "SELECT c.id, CASE WHEN c.common_name = '' THEN c.subject ELSE c.common_name END, c.not_after, u.name,"  # noqa: S608
            " r.failures, r.next_try, r.message FROM manager_renewal r"
            " JOIN manager_certificate c ON c.id = r.certificate_id"
            " LEFT JOIN manager_renewal_rule u ON u.id = r.rule_id"
            f" WHERE r.state = {int(RenewalState.FAILED)} ORDER BY c.not_after, c.id LIMIT ?",
            (limit,),
        )
    ]
