"""Rows of the notifications' tables <-> values. SQL in both dialects; knows nothing of sending."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from certwright.adcs.events import LifecycleEvent, LifecycleKind
from certwright.database import Connection, Row
from certwright.notifications.values import (
    Channel,
    ChannelFields,
    ChannelKind,
    Delivery,
    DeliveryState,
    EmailFields,
    HistoryQuery,
    MailSecurity,
    Rule,
    RuleFields,
    RuleView,
    WebhookFields,
    key,
    moment,
    optional_moment,
)

# -- channels --------------------------------------------------------------------------------------------------------

_CHANNEL: Final = (
    "id, name, kind, settings, enabled, secret IS NOT NULL, last_success, last_error, last_error_when, created"
)


def channels(connection: Connection, channel_id: int | None = None) -> list[Channel]:
    where, params = ("WHERE id = ?", (channel_id,)) if channel_id is not None else ("", ())
    sql = f"SELECT {_CHANNEL} FROM notifications_channel {where} ORDER BY name_key"  # noqa: S608
    return [_channel(row) for row in connection.many(sql, params)]


def _channel(row: Row) -> Channel:
    row_id, name, kind, settings, enabled, has_secret, success, error, error_when, created = row
    stored = json.loads(settings)
    return Channel(
        row_id,
        _fields(ChannelKind(kind), name, stored, bool(enabled)),
        bool(has_secret),
        optional_moment(success),
        error,
        optional_moment(error_when),
        moment(created),
    )


def _fields(kind: ChannelKind, name: str, stored: dict[str, Any], enabled: bool) -> ChannelFields:
    if kind is ChannelKind.WEBHOOK:
        return WebhookFields(name, stored["url"], stored["ca_pem"], enabled)
    return EmailFields(
        name=name,
        host=stored["host"],
        sender=stored["sender"],
        recipients=tuple(stored["recipients"]),
        port=stored["port"],
        security=MailSecurity(stored["security"]),
        username=stored["username"],
        ca_pem=stored["ca_pem"],
        enabled=enabled,
    )


def _settings(fields: ChannelFields) -> str:
    return json.dumps({name: value for name, value in asdict(fields).items() if name not in ("name", "enabled")})


def insert_channel(connection: Connection, fields: ChannelFields, when: int) -> int:
    return connection.insert_returning(
        "INSERT INTO notifications_channel (name, name_key, kind, settings, enabled, last_error, created)"
        " VALUES (?, ?, ?, ?, ?, '', ?)",
        (fields.name, key(fields.name), fields.kind.value, _settings(fields), fields.enabled, when),
    )


def update_channel(connection: Connection, channel_id: int, fields: ChannelFields) -> None:
    connection.execute(
        "UPDATE notifications_channel SET name = ?, name_key = ?, settings = ?, enabled = ? WHERE id = ?",
        (fields.name, key(fields.name), _settings(fields), fields.enabled, channel_id),
    )


def delete_channel(connection: Connection, channel_id: int) -> None:
    connection.execute("DELETE FROM notifications_rule WHERE channel_id = ?", (channel_id,))
    connection.execute("DELETE FROM notifications_channel WHERE id = ?", (channel_id,))


def put_secret(connection: Connection, channel_id: int, sealed: bytes | None) -> None:
    connection.execute("UPDATE notifications_channel SET secret = ? WHERE id = ?", (sealed, channel_id))


def sealed_secret(connection: Connection, channel_id: int) -> bytes | None:
    row = connection.one("SELECT secret FROM notifications_channel WHERE id = ?", (channel_id,))
    return None if row is None or row[0] is None else bytes(row[0])


def put_outcome(connection: Connection, channel_id: int, when: int, error: str) -> None:
    """Note how a channel did the last time."""
    if error:
        connection.execute(
            "UPDATE notifications_channel SET last_error = ?, last_error_when = ? WHERE id = ?",
            (error, when, channel_id),
        )
    else:
        connection.execute(
            "UPDATE notifications_channel SET last_success = ?, last_error = '', last_error_when = NULL WHERE id = ?",
            (when, channel_id),
        )


# -- rules -----------------------------------------------------------------------------------------------------------

_RULE: Final = "r.id, r.name, r.filters, r.channel_id, r.enabled, c.name, r.created"


def rules(connection: Connection, rule_id: int | None = None) -> list[Rule]:
    where, params = ("WHERE r.id = ?", (rule_id,)) if rule_id is not None else ("", ())
    sql = (
        f"SELECT {_RULE} FROM notifications_rule r JOIN notifications_channel c ON c.id = r.channel_id"  # noqa: S608
        f" {where} ORDER BY r.name_key"
    )
    return [_rule(row) for row in connection.many(sql, params)]


def active_rules(connection: Connection) -> list[Rule]:
    """Rules that are on and whose channel is on."""
    sql = (
        f"SELECT {_RULE} FROM notifications_rule r JOIN notifications_channel c ON c.id = r.channel_id"  # noqa: S608
        " WHERE r.enabled = ? AND c.enabled = ? ORDER BY r.id"
    )
    return [_rule(row) for row in connection.many(sql, (True, True))]


def _rule(row: Row) -> Rule:
    row_id, name, filters, channel_id, enabled, channel_name, created = row
    stored = json.loads(filters)
    known = {kind.value for kind in LifecycleKind}
    fields = RuleFields(
        name=name,
        channel_id=channel_id,
        kinds=tuple(LifecycleKind(kind) for kind in stored["kinds"] if kind in known),
        template=stored["template"],
        domain=stored["domain"],
        tag=stored["tag"],
        bands=tuple(stored["bands"]),
        enabled=bool(enabled),
        view=RuleView(**stored["view"]) if stored.get("view") else None,
    )
    return Rule(row_id, fields, channel_name, moment(created))


def _filters(fields: RuleFields) -> str:
    return json.dumps(
        {
            "kinds": [kind.value for kind in fields.kinds],
            "template": fields.template,
            "domain": fields.domain,
            "tag": fields.tag,
            "bands": list(fields.bands),
            "view": asdict(fields.view) if fields.view else None,
        }
    )


def insert_rule(connection: Connection, fields: RuleFields, when: int) -> int:
    return connection.insert_returning(
        "INSERT INTO notifications_rule (name, name_key, filters, channel_id, enabled, created)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (fields.name, key(fields.name), _filters(fields), fields.channel_id, fields.enabled, when),
    )


def update_rule(connection: Connection, rule_id: int, fields: RuleFields) -> None:
    connection.execute(
        "UPDATE notifications_rule SET name = ?, name_key = ?, filters = ?, channel_id = ?, enabled = ? WHERE id = ?",
        (fields.name, key(fields.name), _filters(fields), fields.channel_id, fields.enabled, rule_id),
    )


def delete_rule(connection: Connection, rule_id: int) -> None:
    connection.execute("DELETE FROM notifications_rule WHERE id = ?", (rule_id,))


# -- deliveries ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery with its event, as the queue works on it."""

    id: int
    channel_id: int
    channel_name: str
    rule_name: str
    event: LifecycleEvent | None  # None: of a kind this version does not know
    attempts: int
    next_try: int
    created: datetime


def put_event(connection: Connection, event: LifecycleEvent, rule: Rule, facts: str, when: int) -> bool:
    """Queue an event for a rule's channel. False when it was told there before."""
    result = connection.execute(
        "INSERT INTO notifications_delivery (identity, channel_id, channel_name, rule_name, kind, object, occurred,"
        " facts, event_identity, state, attempts, next_try, result, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, '', ?) ON CONFLICT (identity) DO NOTHING",
        (
            f"{rule.fields.channel_id}/{event.identity}",
            rule.fields.channel_id,
            rule.channel_name,
            rule.fields.name,
            event.kind.value,
            event.object,
            int(event.when.timestamp()),
            facts,
            event.identity,
            int(DeliveryState.WAITING),
            when,
            when,
        ),
    )
    return result.rowcount > 0


def due(connection: Connection, now: int, limit: int) -> list[Waiting]:
    """What is due, the longest first."""
    rows = connection.many(
        "SELECT id, channel_id, channel_name, rule_name, kind, object, occurred, facts, event_identity, attempts,"
        " next_try, created FROM notifications_delivery WHERE next_try <= ? ORDER BY next_try, id LIMIT ?",
        (now, limit),
    )
    known = {kind.value for kind in LifecycleKind}
    return [
        Waiting(
            id=row_id,
            channel_id=channel_id,
            channel_name=channel_name,
            rule_name=rule_name,
            event=LifecycleEvent(LifecycleKind(kind), about, moment(occurred), identity, json.loads(facts))
            if kind in known
            else None,
            attempts=attempts,
            next_try=next_try,
            created=moment(created),
        )
        for (
            row_id,
            channel_id,
            channel_name,
            rule_name,
            kind,
            about,
            occurred,
            facts,
            identity,
            attempts,
            next_try,
            created,
        ) in rows
    ]


def claim(connection: Connection, delivery_id: int, next_try: int, until: int) -> bool:
    """Take a delivery to work on; another worker may have it again from `until` on. False when somebody has it."""
    return (
        connection.execute(
            "UPDATE notifications_delivery SET next_try = ? WHERE id = ? AND next_try = ?",
            (until, delivery_id, next_try),
        ).rowcount
        == 1
    )


def put_back(connection: Connection, delivery_id: int, next_try: int, *, attempts: int, result: str) -> None:
    connection.execute(
        "UPDATE notifications_delivery SET next_try = ?, attempts = ?, result = ? WHERE id = ?",
        (next_try, attempts, result, delivery_id),
    )


def settle(
    connection: Connection, delivery_id: int, state: DeliveryState, when: int, *, attempts: int, result: str
) -> None:
    connection.execute(
        "UPDATE notifications_delivery SET state = ?, next_try = NULL, attempts = ?, result = ?, settled = ?"
        " WHERE id = ?",
        (int(state), attempts, result, when, delivery_id),
    )


def next_due(connection: Connection) -> int | None:
    row = connection.one("SELECT MIN(next_try) FROM notifications_delivery WHERE next_try IS NOT NULL")
    return None if row is None else row[0]


def delete_settled(connection: Connection, before: int) -> int:
    return connection.execute("DELETE FROM notifications_delivery WHERE settled < ?", (before,)).rowcount


_DELIVERY: Final = (
    "id, kind, object, occurred, channel_id, channel_name, rule_name, state, attempts, next_try, result, created,"
    " settled"
)


def history(connection: Connection, query: HistoryQuery) -> Sequence[Delivery]:
    where: list[str] = []
    params: list[int | str] = []
    for condition, value in (
        ("channel_id = ?", query.channel_id),
        ("state = ?", int(query.state) if query.state is not None else None),
        ("kind = ?", query.kind.value if query.kind is not None else None),
        ("id < ?", query.before),
    ):
        if value is not None:
            where.append(condition)
            params.append(value)
    clause = f"WHERE {' AND '.join(where)}" if where else ""
    sql = f"SELECT {_DELIVERY} FROM notifications_delivery {clause} ORDER BY id DESC LIMIT ?"  # noqa: S608
    return [_delivery(row) for row in connection.many(sql, (*params, query.limit))]


def delivery(connection: Connection, delivery_id: int) -> Delivery | None:
    row = connection.one(f"SELECT {_DELIVERY} FROM notifications_delivery WHERE id = ?", (delivery_id,))  # noqa: S608
    return None if row is None else _delivery(row)


def _delivery(row: Row) -> Delivery:
    known = {kind.value for kind in LifecycleKind}
    return Delivery(
        id=row[0],
        kind=LifecycleKind(row[1]) if row[1] in known else row[1],
        object=row[2],
        occurred=moment(row[3]),
        channel_id=row[4],
        channel_name=row[5],
        rule_name=row[6],
        state=DeliveryState(row[7]),
        attempts=row[8],
        next_try=optional_moment(row[9]),
        result=row[10],
        created=moment(row[11]),
        settled=optional_moment(row[12]),
    )


def try_again(connection: Connection, delivery_id: int, when: int) -> None:
    """Let a delivery that was given up wait anew."""
    connection.execute(
        "UPDATE notifications_delivery SET state = ?, attempts = 0, next_try = ?, settled = NULL, created = ?"
        " WHERE id = ?",
        (int(DeliveryState.WAITING), when, when, delivery_id),
    )
