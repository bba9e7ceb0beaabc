"""Rows of orders, and the steps they take: each compares and sets, so that two processes never take the same one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from certwright.database import Connection, Row
from certwright.manager.values import (
    Order,
    OrderFilter,
    OrderQuery,
    OrderState,
    OrderTab,
    StoryLine,
    key,
    moment,
    optional_moment,
    seconds,
    status_of,
)

MAX_COUNT: Final = 10_000
_LAST: Final = "\U0010ffff"

_ORDER: Final = (
    "o.id, o.created, o.created_by, o.state, o.domain, o.template, o.common_name, o.subject, o.names, o.key_name,"
    " EXISTS (SELECT 1 FROM manager_private_key k WHERE k.spki_sha256 = o.spki_sha256), o.csr_sha256, o.service_id,"
    " o.hostname, o.priority, o.config, o.requester, o.request_id, o.status, o.message, o.approval, o.absent,"
    " o.settled, o.sent, o.next_check, o.checks, o.owner, o.tags, o.auto_fetch, o.certificate_id, o.renews,"
    " o.renew_days"
)

_IN_TAB: Final = {
    OrderFilter.ALL: "",
    OrderFilter.PENDING: f" AND o.state = {int(OrderState.PENDING)}",
    OrderFilter.TO_FETCH: f" AND o.state = {int(OrderState.ISSUED)} AND o.certificate_id IS NULL",
    OrderFilter.ISSUED: f" AND o.state = {int(OrderState.ISSUED)}",
    OrderFilter.DENIED: f" AND o.state = {int(OrderState.DENIED)}",
    OrderFilter.UNSETTLED: (
        f" AND o.state IN ({int(OrderState.SUBMITTING)}, {int(OrderState.LOST)}, {int(OrderState.FAILED)})"
    ),
}


@dataclass(frozen=True, slots=True)
class NewOrder:
    """What is written of an order before anything is sent."""

    created_by: str
    domain: str
    template: str
    common_name: str
    subject: str
    names: str
    key_name: str
    csr: bytes
    csr_sha256: str
    spki_sha256: str
    owner: str
    tags: tuple[str, ...]
    fetch: bool
    token: str
    renews: int | None
    renew_days: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a submission, or a search for one, needs of an order."""

    order: Order
    csr: bytes
    spki_sha256: str
    tried: tuple[int, ...]
    last_known_id: int


def _order(row: Row) -> Order:
    return Order(
        id=row[0],
        created=moment(row[1]),
        created_by=row[2],
        state=OrderState(row[3]),
        domain=row[4],
        template=row[5],
        common_name=row[6],
        subject=row[7],
        names=row[8],
        key_name=row[9],
        key_held=bool(row[10]),
        csr_sha256=row[11],
        service_id=row[12],
        hostname=row[13],
        priority=row[14],
        config=row[15],
        requester=row[16],
        request_id=row[17],
        status=status_of(row[18]),
        message=row[19],
        approval=row[20],
        absent=bool(row[21]),
        settled=optional_moment(row[22]),
        sent=optional_moment(row[23]),
        next_check=optional_moment(row[24]),
        checks=row[25],
        owner=row[26],
        tags=tuple(json.loads(row[27])),
        fetch=bool(row[28]),
        certificate_id=row[29],
        renews=row[30],
        renew_days=row[31],
    )


# -- reading -----------------------------------------------------------------------------------------------------


def order(connection: Connection, order_id: int, *, deleted: bool = False) -> Order | None:
    row = connection.one(
        f"SELECT {_ORDER} FROM manager_order o WHERE o.id = ?{'' if deleted else ' AND o.deleted IS NULL'}",  # noqa: S608
        (order_id,),
    )
    return None if row is None else _order(row)


def deleted_by(connection: Connection, order_id: int) -> str | None:
    """Whoever removed the record of an order; None where it is not removed, or gone for good."""
    row = connection.one("SELECT deleted_by FROM manager_order WHERE id = ? AND deleted IS NOT NULL", (order_id,))
    return None if row is None else str(row[0])


def order_by_token(connection: Connection, token: str) -> Order | None:
    row = connection.one(f"SELECT {_ORDER} FROM manager_order o WHERE o.token = ?", (token,))  # noqa: S608
    return None if row is None else _order(row)


def attempt(connection: Connection, order_id: int) -> Attempt | None:
    found = order(connection, order_id)
    row = connection.one(
        "SELECT d.csr, o.spki_sha256, o.tried, o.last_known_id FROM manager_order o"
        " JOIN manager_order_data d ON d.order_id = o.id WHERE o.id = ?",
        (order_id,),
    )
    if found is None or row is None:
        return None
    return Attempt(found, bytes(row[0]), row[1], tuple(json.loads(row[2])), row[3])


def orders(connection: Connection, query: OrderQuery) -> list[Order]:
    """The newest first; one more than asked for, when there are more."""
    where, params = _where(query)
    if query.before is not None:
        where += " AND o.id < ?"
        params.append(query.before)
    rows = connection.many(
        f"SELECT {_ORDER} FROM manager_order o WHERE {where} ORDER BY o.id DESC LIMIT ?",  # noqa: S608
        (*params, query.limit + 1),
    )
    return [_order(row) for row in rows]


def count_orders(connection: Connection, query: OrderQuery) -> int:
    where, params = _where(query)
    row = connection.one(
        f"SELECT COUNT(*) FROM (SELECT 1 FROM manager_order o WHERE {where} LIMIT {MAX_COUNT + 1}) AS x",  # noqa: S608
        params,
    )
    return int(row[0]) if row else 0


def _where(query: OrderQuery) -> tuple[str, list[int | str]]:
    where = f"o.deleted IS NULL{_IN_TAB[query.tab]}"
    params: list[int | str] = []
    if query.text:
        text = key(query.text)
        begins = "o.name_key >= ? AND o.name_key < ?"
        params += [text, text + _LAST]
        if text.isdecimal() and len(text) < 19:
            begins = f"({begins} OR o.id = ? OR o.request_id = ?)"
            params += [int(text), int(text)]
        where += f" AND {begins}"
    for column, value in (("domain_key", query.domain), ("template_key", query.template)):
        if value:
            where += f" AND o.{column} = ?"
            params.append(key(value))
    if query.owner:
        where += " AND (o.owner_key = ? OR o.created_by = ?)"
        params += [key(query.owner), query.owner]
    if query.created_from is not None:
        where += " AND o.created >= ?"
        params.append(seconds(query.created_from))
    if query.created_until is not None:
        where += " AND o.created < ?"
        params.append(seconds(query.created_until))
    return where, params


def tab_counts(connection: Connection, query: OrderQuery) -> OrderTab:
    counts = {tab: count_orders(connection, replace(query, tab=tab, before=None)) for tab in OrderFilter}
    return OrderTab(
        all=counts[OrderFilter.ALL],
        pending=counts[OrderFilter.PENDING],
        to_fetch=counts[OrderFilter.TO_FETCH],
        issued=counts[OrderFilter.ISSUED],
        denied=counts[OrderFilter.DENIED],
        unsettled=counts[OrderFilter.UNSETTLED],
    )


def story(connection: Connection, order_id: int) -> tuple[StoryLine, ...]:
    return tuple(
        StoryLine(moment(row[0]), row[1])
        for row in connection.many(
            "SELECT occurred, text FROM manager_order_line WHERE order_id = ? ORDER BY id LIMIT 1000", (order_id,)
        )
    )


def answer(connection: Connection, order_id: int) -> tuple[bytes | None, bytes | None]:
    """Certificate (DER) and chain (certs-only CMS), as far as the CA handed them out."""
    row = connection.one("SELECT certificate, chain FROM manager_order_data WHERE order_id = ?", (order_id,))
    if row is None:
        return None, None
    return (None if row[0] is None else bytes(row[0])), (None if row[1] is None else bytes(row[1]))


def request_ids_of_others(connection: Connection, service_id: int, order_id: int, after: int) -> list[int]:
    """Request IDs above `after` that belong to other orders at a service."""
    return [
        row[0]
        for row in connection.many(
            "SELECT request_id FROM manager_order WHERE service_id = ? AND id <> ? AND request_id > ?",
            (service_id, order_id, after),
        )
    ]


def first_id_sent_after(connection: Connection, service_id: int, when: int) -> int | None:
    """The lowest request ID that a service's CA gave to something that was sent after `when`."""
    row = connection.one(
        "SELECT MIN(request_id) FROM manager_order WHERE service_id = ? AND sent > ? AND request_id IS NOT NULL",
        (service_id, when),
    )
    return None if row is None else row[0]


# -- placing -----------------------------------------------------------------------------------------------------


def insert_order(connection: Connection, new: NewOrder, when: int, lease: int) -> int:
    order_id = connection.insert_returning(
        "INSERT INTO manager_order (created, created_by, state, domain, domain_key, template, template_key,"
        " common_name, name_key, subject, names, key_name, csr_sha256, spki_sha256, hostname, priority, config,"
        " requester, tried, last_known_id, status, message, approval, absent, lease, checks, owner, owner_key, tags,"
        " auto_fetch, renews, renew_days, token)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0, '', '', '[]', 0, 0, '', '', ?, ?, 0,"
        " ?, ?, ?, ?, ?, ?, ?)",
        (
            when,
            new.created_by,
            int(OrderState.SUBMITTING),
            new.domain,
            key(new.domain),
            new.template,
            key(new.template),
            new.common_name,
            key(new.common_name),
            new.subject,
            new.names,
            new.key_name,
            new.csr_sha256,
            new.spki_sha256,
            False,
            lease,
            new.owner,
            key(new.owner),
            json.dumps(list(new.tags)),
            new.fetch,
            new.renews,
            new.renew_days,
            new.token or None,
        ),
    )
    connection.execute("INSERT INTO manager_order_data (order_id, csr) VALUES (?, ?)", (order_id, new.csr))
    return order_id


def add_line(connection: Connection, order_id: int, when: int, text: str) -> None:
    connection.execute(
        "INSERT INTO manager_order_line (order_id, occurred, text) VALUES (?, ?, ?)", (order_id, when, text[:2000])
    )


def begin_again(connection: Connection, order_id: int, state: OrderState, lease: int) -> bool:
    """A new attempt of an order that no CA has. False when it is not in `state` any more."""
    return (
        connection.execute(
            "UPDATE manager_order SET state = ?, absent = ?, lease = ?, sent = NULL, settled = NULL,"
            " next_check = NULL, checks = 0, tried = '[]', status = 0, message = '', approval = '', request_id = NULL"
            " WHERE id = ? AND state = ? AND deleted IS NULL",
            (int(OrderState.SUBMITTING), False, lease, order_id, int(state)),
        ).rowcount
        == 1
    )


def about_to_send(
    connection: Connection,
    order_id: int,
    *,
    service_id: int,
    hostname: str,
    priority: int,
    config: str,
    requester: str,
    last_known_id: int,
    when: int,
    lease: int,
) -> bool:
    """Note where it goes, durably, before it goes there. False when somebody else has taken the order."""
    return (
        connection.execute(
            "UPDATE manager_order SET service_id = ?, hostname = ?, priority = ?, config = ?, requester = ?,"
            " last_known_id = ?, sent = ?, lease = ? WHERE id = ? AND state = ? AND sent IS NULL AND deleted IS NULL",
            (
                service_id,
                hostname,
                priority,
                config,
                requester,
                last_known_id,
                when,
                lease,
                order_id,
                int(OrderState.SUBMITTING),
            ),
        ).rowcount
        == 1
    )


def not_sent(connection: Connection, order_id: int, tried: Sequence[int], lease: int) -> bool:
    """The service was not reached: nothing is there. False when the order was declared lost meanwhile."""
    return (
        connection.execute(
            "UPDATE manager_order SET sent = NULL, tried = ?, lease = ? WHERE id = ? AND state = ?",
            (json.dumps(list(tried)), lease, order_id, int(OrderState.SUBMITTING)),
        ).rowcount
        == 1
    )


def abandoned(connection: Connection, now: int | None) -> list[int]:
    """Orders that somebody was submitting and whose lease ended; with None, all of them."""
    until, params = ("", ()) if now is None else (" AND lease <= ?", (now,))
    return [
        row[0]
        for row in connection.many(
            f"SELECT id FROM manager_order WHERE state = {int(OrderState.SUBMITTING)}{until}",  # noqa: S608
            params,
        )
    ]


def next_lease(connection: Connection) -> int | None:
    row = connection.one(f"SELECT MIN(lease) FROM manager_order WHERE state = {int(OrderState.SUBMITTING)}")  # noqa: S608
    return None if row is None else row[0]


# -- settling ----------------------------------------------------------------------------------------------------


def settle(
    connection: Connection,
    order_id: int,
    from_states: Sequence[OrderState],
    to: OrderState,
    *,
    request_id: int | None,
    status: int,
    message: str,
    settled: int | None,
    next_check: int | None,
    sent: bool = True,
    attempt: int | None = None,
) -> bool:
    """Move an order on. False when it is in none of `from_states` any more: somebody else was faster.

    Args:
        sent: False when nothing of it is at any CA.
        attempt: when what is answered was sent; an answer to an earlier attempt moves nothing.
    """
    states = ", ".join(str(int(state)) for state in from_states)
    return (
        connection.execute(
            "UPDATE manager_order SET state = ?, request_id = COALESCE(?, request_id), status = ?, message = ?,"  # noqa: S608
            f" settled = ?, next_check = ?, lease = NULL, absent = ?{'' if sent else ', sent = NULL'}"
            f" WHERE id = ? AND state IN ({states}) AND deleted IS NULL{'' if attempt is None else ' AND sent = ?'}",
            (
                int(to),
                request_id,
                status,
                message[:4000],
                settled,
                next_check,
                False,
                order_id,
                *(() if attempt is None else (attempt,)),
            ),
        ).rowcount
        == 1
    )


def put_answer(connection: Connection, order_id: int, certificate: bytes | None, chain: bytes | None) -> None:
    connection.execute(
        "UPDATE manager_order_data SET certificate = COALESCE(?, certificate), chain = COALESCE(?, chain)"
        " WHERE order_id = ?",
        (certificate, chain, order_id),
    )


def put_absent(connection: Connection, order_id: int) -> bool:
    """A lost one certainly does not exist at the CA."""
    return (
        connection.execute(
            "UPDATE manager_order SET absent = ?, next_check = NULL WHERE id = ? AND state = ?",
            (True, order_id, int(OrderState.LOST)),
        ).rowcount
        == 1
    )


def put_approval(connection: Connection, order_id: int, text: str) -> None:
    connection.execute("UPDATE manager_order SET approval = ? WHERE id = ?", (text[:500], order_id))


def put_message(connection: Connection, order_id: int, message: str) -> None:
    connection.execute("UPDATE manager_order SET message = ? WHERE id = ?", (message[:4000], order_id))


def put_fetched(connection: Connection, order_id: int, certificate_id: int) -> None:
    connection.execute("UPDATE manager_order SET certificate_id = ? WHERE id = ?", (certificate_id, order_id))


# -- on a clock --------------------------------------------------------------------------------------------------


def due(connection: Connection, now: int, limit: int) -> list[tuple[int, OrderState, int]]:
    """Orders to ask after: number, state, and the `next_check` by which they are claimed."""
    return [
        (row[0], OrderState(row[1]), row[2])
        for row in connection.many(
            "SELECT id, state, next_check FROM manager_order WHERE next_check IS NOT NULL AND next_check <= ?"
            " AND deleted IS NULL ORDER BY next_check, id LIMIT ?",
            (now, limit),
        )
    ]


def claim_check(connection: Connection, order_id: int, next_check: int, later: int) -> bool:
    """Take the next look at an order for this process. False when another one has it."""
    return (
        connection.execute(
            "UPDATE manager_order SET next_check = ?, checks = checks + 1 WHERE id = ? AND next_check = ?",
            (later, order_id, next_check),
        ).rowcount
        == 1
    )


def put_next_check(connection: Connection, order_id: int, when: int | None) -> None:
    connection.execute("UPDATE manager_order SET next_check = ? WHERE id = ?", (when, order_id))


def next_due(connection: Connection) -> int | None:
    row = connection.one("SELECT MIN(next_check) FROM manager_order WHERE next_check IS NOT NULL AND deleted IS NULL")
    return None if row is None else row[0]


# -- removing ----------------------------------------------------------------------------------------------------


def hide(connection: Connection, order_id: int, when: int, by: str) -> bool:
    return (
        connection.execute(
            "UPDATE manager_order SET deleted = ?, deleted_by = ? WHERE id = ? AND deleted IS NULL",
            (when, by, order_id),
        ).rowcount
        == 1
    )


def unhide(connection: Connection, order_id: int) -> bool:
    return (
        connection.execute(
            "UPDATE manager_order SET deleted = NULL WHERE id = ? AND deleted IS NOT NULL", (order_id,)
        ).rowcount
        == 1
    )


def purge(connection: Connection, before: int, limit: int = 500) -> list[int]:
    """Remove for good what was deleted before; returns the numbers."""
    ids = [
        row[0]
        for row in connection.many(
            "SELECT id FROM manager_order WHERE deleted IS NOT NULL AND deleted < ? LIMIT ?", (before, limit)
        )
    ]
    for order_id in ids:
        connection.execute("DELETE FROM manager_order_line WHERE order_id = ?", (order_id,))
        connection.execute("DELETE FROM manager_order_data WHERE order_id = ?", (order_id,))
        connection.execute("DELETE FROM manager_order WHERE id = ?", (order_id,))
    return ids
