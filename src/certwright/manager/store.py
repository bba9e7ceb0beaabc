"""Rows of device users, services and request forms. The `store` files write the manager's tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from certwright.connectors.reading import OfferedTemplate
from certwright.connectors.service import AuthScheme, CredentialKind
from certwright.database import Connection, Row
from certwright.keystores.base import KeyAlgorithm
from certwright.manager.values import (
    AlternativeName,
    DeviceUser,
    DeviceUserFields,
    FormFields,
    NameKind,
    OrderState,
    RequestForm,
    Service,
    ServiceFields,
    ServiceKind,
    TrustKind,
    Via,
    key,
    moment,
    optional_moment,
    optional_seconds,
    seconds,
)

# -- device users ------------------------------------------------------------------------------------------------

_DEVICE_USER: Final = "id, name, username, realm, kind, expires, created, secret_changed"


def device_users(connection: Connection, user_id: int | None = None) -> list[DeviceUser]:
    """All device users by name, or the one."""
    used: dict[int, list[str]] = {}
    for each, hostname, domain in connection.many(
        "SELECT device_user_id, hostname, domain FROM manager_service ORDER BY domain_key, priority, id"
    ):
        used.setdefault(each, []).append(f"{hostname} ({domain})")
    where, params = ("", ()) if user_id is None else (" WHERE id = ?", (user_id,))
    return [
        DeviceUser(
            row[0],
            row[1],
            row[2],
            row[3],
            CredentialKind(row[4]),
            optional_moment(row[5]),
            tuple(used.get(row[0], ())),
            moment(row[6]),
            moment(row[7]),
        )
        for row in connection.many(
            f"SELECT {_DEVICE_USER} FROM manager_device_user{where} ORDER BY name_key",  # noqa: S608
            params,
        )
    ]


def insert_device_user(connection: Connection, fields: DeviceUserFields, when: int) -> int:
    """The row without its secret, which is sealed for the number this returns."""
    return connection.insert_returning(
        "INSERT INTO manager_device_user"
        " (name, name_key, username, realm, kind, secret, expires, created, secret_changed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            fields.name,
            key(fields.name),
            fields.username,
            fields.realm,
            fields.kind.value,
            b"",
            optional_seconds(fields.expires),
            when,
            when,
        ),
    )


def update_device_user(connection: Connection, user_id: int, fields: DeviceUserFields) -> None:
    connection.execute(
        "UPDATE manager_device_user SET name = ?, name_key = ?, username = ?, realm = ?, expires = ? WHERE id = ?",
        (
            fields.name,
            key(fields.name),
            fields.username,
            fields.realm,
            optional_seconds(fields.expires),
            user_id,
        ),
    )


def put_secret(connection: Connection, user_id: int, kind: CredentialKind, sealed: bytes, when: int) -> None:
    connection.execute(
        "UPDATE manager_device_user SET secret = ?, kind = ?, secret_changed = ? WHERE id = ?",
        (sealed, kind.value, when, user_id),
    )


def sealed_secret(connection: Connection, user_id: int) -> tuple[str, str, CredentialKind, bytes] | None:
    """User name, realm, kind and the sealed secret."""
    row = connection.one("SELECT username, realm, kind, secret FROM manager_device_user WHERE id = ?", (user_id,))
    return None if row is None else (row[0], row[1], CredentialKind(row[2]), bytes(row[3]))


def delete_device_user(connection: Connection, user_id: int) -> None:
    connection.execute("DELETE FROM manager_device_user WHERE id = ?", (user_id,))


def expiring_device_users(connection: Connection, until: datetime) -> list[tuple[int, str, datetime]]:
    """Those whose secret ends before `until` and of whom nobody was told."""
    return [
        (row[0], row[1], moment(row[2]))
        for row in connection.many(
            "SELECT id, name, expires FROM manager_device_user WHERE expires IS NOT NULL AND expires <= ?"
            " AND (expiry_told IS NULL OR expiry_told <> expires) ORDER BY id",
            (seconds(until),),
        )
    ]


def mark_expiry_told(connection: Connection, user_id: int) -> None:
    connection.execute("UPDATE manager_device_user SET expiry_told = expires WHERE id = ?", (user_id,))


# -- services ----------------------------------------------------------------------------------------------------

_SERVICE: Final = (
    "s.id, s.domain, s.hostname, s.port, s.priority, s.auth_method, s.kind, s.trust, s.trust_data, s.ca,"
    " s.approve_templates, s.device_user_id, u.username, s.config, s.ca_name, s.ca_sha256, s.ca_not_after,"
    " (SELECT COUNT(*) FROM manager_service_template t WHERE t.service_id = s.id), s.refreshed, s.last_contact,"
    " s.last_error, s.last_error_when, s.last_request_id, s.created, s.via"
    " FROM manager_service s JOIN manager_device_user u ON u.id = s.device_user_id"
)


def _service(row: Row) -> Service:
    return Service(
        id=row[0],
        domain=row[1],
        hostname=row[2],
        port=row[3],
        priority=row[4],
        auth_method=AuthScheme(row[5]),
        kind=ServiceKind(row[6]),
        trust=TrustKind(row[7]),
        trust_data=row[8],
        ca=row[9],
        approve_templates=tuple(json.loads(row[10])),
        device_user_id=row[11],
        username=row[12],
        config=row[13],
        ca_name=row[14],
        ca_sha256=row[15],
        ca_not_after=optional_moment(row[16]),
        template_count=None if row[18] is None else row[17],
        refreshed=optional_moment(row[18]),
        last_contact=optional_moment(row[19]),
        last_error=row[20],
        last_error_when=optional_moment(row[21]),
        last_request_id=row[22],
        created=moment(row[23]),
        via=Via(row[24]),
    )


def services(connection: Connection, domain: str | None = None) -> list[Service]:
    """By domain, then in the order in which they are asked."""
    where, params = ("", ()) if domain is None else (" WHERE s.domain_key = ?", (key(domain),))
    rows = connection.many(
        f"SELECT {_SERVICE}{where} ORDER BY s.domain_key, s.priority, s.id",
        params,
    )
    return [_service(row) for row in rows]


def service(connection: Connection, service_id: int) -> Service | None:
    row = connection.one(f"SELECT {_SERVICE} WHERE s.id = ?", (service_id,))
    return None if row is None else _service(row)


def _written(fields: ServiceFields) -> tuple[Any, ...]:
    return (
        fields.domain,
        key(fields.domain),
        fields.hostname,
        key(fields.hostname),
        fields.port,
        fields.priority,
        fields.auth_method.value,
        fields.kind.value,
        fields.trust.value,
        fields.trust_data,
        fields.ca,
        json.dumps(list(fields.approve_templates)),
        fields.via.value,
        fields.device_user_id,
    )


def insert_service(connection: Connection, fields: ServiceFields, when: int) -> int:
    return connection.insert_returning(
        "INSERT INTO manager_service (domain, domain_key, hostname, host_key, port, priority, auth_method, kind,"
        " trust, trust_data, ca, approve_templates, via, device_user_id, config, ca_name, ca_sha256, ca_chain,"
        " last_error, last_request_id, next_refresh, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '', '', ?, '', 0, ?, ?)",
        (*_written(fields), b"", when, when),
    )


def update_service(connection: Connection, service_id: int, fields: ServiceFields, *, elsewhere: bool) -> None:
    """Write what people enter. With `elsewhere`, forget what was read: it is another CA now."""
    forget = (
        ", config = '', ca_name = '', ca_sha256 = '', ca_not_after = NULL, refreshed = NULL, last_contact = NULL,"
        " last_error = '', last_error_when = NULL, last_request_id = 0, next_refresh = 0"
    )
    connection.execute(
        "UPDATE manager_service SET domain = ?, domain_key = ?, hostname = ?, host_key = ?, port = ?, priority = ?,"  # noqa: S608
        " auth_method = ?, kind = ?, trust = ?, trust_data = ?, ca = ?, approve_templates = ?, via = ?,"
        " device_user_id = ?"
        f"{forget if elsewhere else ''} WHERE id = ?",
        (*_written(fields), service_id),
    )
    if elsewhere:
        connection.execute("DELETE FROM manager_service_template WHERE service_id = ?", (service_id,))


def delete_service(connection: Connection, service_id: int) -> None:
    connection.execute("DELETE FROM manager_service_template WHERE service_id = ?", (service_id,))
    connection.execute("DELETE FROM manager_service WHERE id = ?", (service_id,))


def offered_templates(connection: Connection, service_id: int) -> tuple[OfferedTemplate, ...]:
    return tuple(
        OfferedTemplate(row[0], row[1], bool(row[2]), row[3], row[4], row[5])
        for row in connection.many(
            "SELECT name, display_name, supplies_subject, oid, minimal_key_size, ra_signatures"
            " FROM manager_service_template WHERE service_id = ? ORDER BY position",
            (service_id,),
        )
    )


def put_information(
    connection: Connection,
    service_id: int,
    *,
    config: str,
    ca_name: str,
    ca_sha256: str,
    ca_chain: bytes,
    ca_not_after: datetime | None,
    templates: Sequence[OfferedTemplate],
    when: int,
    next_refresh: int,
) -> None:
    connection.execute(
        "UPDATE manager_service SET config = ?, ca_name = ?, ca_sha256 = ?, ca_chain = ?, ca_not_after = ?,"
        " refreshed = ?, next_refresh = ?, last_contact = ?, last_error = '', last_error_when = NULL WHERE id = ?",
        (
            config,
            ca_name,
            ca_sha256,
            ca_chain,
            optional_seconds(ca_not_after),
            when,
            next_refresh,
            when,
            service_id,
        ),
    )
    connection.execute("DELETE FROM manager_service_template WHERE service_id = ?", (service_id,))
    connection.executemany(
        "INSERT INTO manager_service_template (service_id, position, name, name_key, display_name, supplies_subject,"
        " oid, minimal_key_size, ra_signatures) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                service_id,
                position,
                template.name,
                key(template.name),
                template.display_name,
                template.supplies_subject,
                template.oid,
                template.minimal_key_size,
                template.ra_signatures,
            )
            for position, template in enumerate(templates)
        ],
    )


def service_chain(connection: Connection, service_id: int) -> bytes:
    """Certs-only CMS; empty when it was never read."""
    row = connection.one("SELECT ca_chain FROM manager_service WHERE id = ?", (service_id,))
    return b"" if row is None else bytes(row[0])


def put_contact(connection: Connection, service_id: int, when: int, error: str = "") -> None:
    """Note that a service answered, or why it did not."""
    if error:
        connection.execute(
            "UPDATE manager_service SET last_error = ?, last_error_when = ? WHERE id = ?", (error, when, service_id)
        )
    else:
        connection.execute(
            "UPDATE manager_service SET last_contact = ?, last_error = '', last_error_when = NULL WHERE id = ?",
            (when, service_id),
        )


def raise_request_id(connection: Connection, service_id: int, request_id: int) -> None:
    """Note a request ID that the service's CA has given."""
    connection.execute(
        "UPDATE manager_service SET last_request_id = ? WHERE id = ? AND last_request_id < ?",
        (request_id, service_id, request_id),
    )


def put_next_refresh(connection: Connection, service_id: int, when: int) -> None:
    connection.execute("UPDATE manager_service SET next_refresh = ? WHERE id = ?", (when, service_id))


def due_refreshes(connection: Connection, now: int) -> list[int]:
    return [
        row[0]
        for row in connection.many(
            "SELECT id FROM manager_service WHERE next_refresh <= ? ORDER BY next_refresh, id", (now,)
        )
    ]


def next_refresh(connection: Connection) -> int | None:
    row = connection.one("SELECT MIN(next_refresh) FROM manager_service")
    return None if row is None else row[0]


def open_orders_of(connection: Connection, service_id: int) -> int:
    """Orders that wait for an answer of this service."""
    waiting = (int(OrderState.SUBMITTING), int(OrderState.LOST), int(OrderState.PENDING))
    row = connection.one(
        "SELECT COUNT(*) FROM manager_order WHERE service_id = ? AND state IN (?, ?, ?) AND deleted IS NULL",
        (service_id, *waiting),
    )
    return int(row[0]) if row else 0


# -- request forms -----------------------------------------------------------------------------------------------

_FORM: Final = "id, fields, used, last_used, created"


def _form(row: Row) -> RequestForm:
    stored = json.loads(row[1])
    fields = FormFields(
        name=stored["name"],
        domain=stored["domain"],
        template=stored["template"],
        algorithm=KeyAlgorithm(stored["algorithm"]),
        subject=stored["subject"],
        names=tuple(AlternativeName(NameKind(each["kind"]), each["value"]) for each in stored["names"]),
        owner=stored["owner"],
        tags=tuple(stored["tags"]),
    )
    return RequestForm(row[0], fields, row[2], optional_moment(row[3]), moment(row[4]))


def forms(connection: Connection) -> list[RequestForm]:
    return [
        _form(row)
        for row in connection.many(f"SELECT {_FORM} FROM manager_request_form ORDER BY name_key")  # noqa: S608
    ]


def form(connection: Connection, form_id: int) -> RequestForm | None:
    row = connection.one(f"SELECT {_FORM} FROM manager_request_form WHERE id = ?", (form_id,))  # noqa: S608
    return None if row is None else _form(row)


def insert_form(connection: Connection, fields: FormFields, when: int) -> int:
    return connection.insert_returning(
        "INSERT INTO manager_request_form (name, name_key, fields, used, created) VALUES (?, ?, ?, 0, ?)",
        (fields.name, key(fields.name), json.dumps(asdict(fields)), when),
    )


def update_form(connection: Connection, form_id: int, fields: FormFields) -> None:
    connection.execute(
        "UPDATE manager_request_form SET name = ?, name_key = ?, fields = ? WHERE id = ?",
        (fields.name, key(fields.name), json.dumps(asdict(fields)), form_id),
    )


def count_form_use(connection: Connection, form_id: int, when: int) -> None:
    connection.execute("UPDATE manager_request_form SET used = used + 1, last_used = ? WHERE id = ?", (when, form_id))


def delete_form(connection: Connection, form_id: int) -> None:
    connection.execute("DELETE FROM manager_request_form WHERE id = ?", (form_id,))
