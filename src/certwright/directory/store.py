"""The embedded directory's rows. The only file of this room that speaks SQL.

Every writer raises the version first: that locks the version's row, so changes of two processes never mix, and it is
how readers notice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from certwright.adcs.requester import Sid
from certwright.adcs.template import CertificateTemplate, NameRules
from certwright.adcs.template_json import name_rules_from_json, name_rules_to_json, template_to_json
from certwright.database.base import Connection
from certwright.database.opening import Database
from certwright.directory.account_names import key
from certwright.directory.base import EnrollmentService, PrincipalKind

_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class DomainRow:
    dns_name: str
    netbios_name: str
    sid: Sid
    forest_arcs: str
    next_rid: int


@dataclass(frozen=True, slots=True)
class AccountRow:
    sid: Sid
    kind: PrincipalKind  # user or computer
    name: str
    common_name: str
    guid: bytes
    enabled: bool
    upn: str
    mail: str
    dns_host_name: str
    additional_host_names: tuple[str, ...]
    password: str  # argon2id, encoded
    ntlm: bool
    nt_hash: bytes | None  # sealed
    created: int


@dataclass(frozen=True, slots=True)
class GroupRow:
    sid: Sid
    name: str
    guid: bytes
    created: int


@dataclass(frozen=True, slots=True)
class TemplateRow:
    document: str
    accepted_risks: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeptHere:
    """What is kept here about a template of an Active Directory domain, which has no place for it."""

    accepted_risks: frozenset[str] = frozenset()
    name_rules: NameRules = field(default_factory=NameRules)


@dataclass(frozen=True, slots=True)
class DomainTemplateRow:
    """By the domain, and the OID: another template of the same name is another one."""

    cn_key: str
    domain_sid: Sid
    oid: str
    kept: KeptHere


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything, as one version of the directory says it."""

    version: int
    domain: DomainRow | None
    accounts: tuple[AccountRow, ...]
    groups: tuple[GroupRow, ...]
    memberships: tuple[tuple[Sid, Sid], ...]  # group, member
    templates: tuple[TemplateRow, ...]
    services: tuple[EnrollmentService, ...]
    domain_templates: tuple[DomainTemplateRow, ...] = ()


# -- reading -----------------------------------------------------------------------------------------------------


def version(connection: Connection) -> int:
    """The number of the last change; 0 before the first."""
    row = connection.one("SELECT version FROM directory_version WHERE id = 1")
    return int(row[0]) if row else 0


def load(database: Database) -> Contents:
    """Read everything as of one version, without holding up writers.

    Each statement sees the newest commit; that the version is the same before and after shows that all saw one.
    """
    with database.read() as connection:
        for _ in range(_ATTEMPTS):
            contents = read(connection)
            if version(connection) == contents.version:
                return contents
    with database.transaction() as connection:  # somebody writes without a pause: make them wait once
        lock(connection)
        return read(connection)


def read(connection: Connection) -> Contents:
    """Read everything; consistent while the version is locked."""
    current = version(connection)
    domain = connection.one("SELECT dns_name, netbios_name, sid, forest_arcs, next_rid FROM directory_domain")
    return Contents(
        version=current,
        domain=DomainRow(domain[0], domain[1], Sid(domain[2]), domain[3], int(domain[4])) if domain else None,
        accounts=tuple(
            AccountRow(
                Sid(row[0]),
                PrincipalKind(row[1]),
                row[2],
                row[3],
                bytes(row[4]),
                bool(row[5]),
                row[6],
                row[7],
                row[8],
                tuple(json.loads(row[9])) if row[9] else (),
                row[10],
                bool(row[11]),
                bytes(row[12]) if row[12] is not None else None,
                int(row[13]),
            )
            for row in connection.many(
                "SELECT sid, kind, name, common_name, guid, enabled, upn, mail, dns_host_name, additional_host_names,"
                " password, ntlm, nt_hash, created FROM directory_account ORDER BY name_key"
            )
        ),
        groups=tuple(
            GroupRow(Sid(row[0]), row[1], bytes(row[2]), int(row[3]))
            for row in connection.many("SELECT sid, name, guid, created FROM directory_group ORDER BY name_key")
        ),
        memberships=tuple(
            (Sid(row[0]), Sid(row[1]))
            for row in connection.many("SELECT group_sid, member_sid FROM directory_membership ORDER BY id")
        ),
        templates=tuple(
            TemplateRow(row[0], frozenset(json.loads(row[1])))
            for row in connection.many("SELECT document, accepted_risks FROM directory_template ORDER BY cn_key")
        ),
        services=tuple(
            EnrollmentService(row[0], row[1], bytes(row[2]), tuple(json.loads(row[3])))
            for row in connection.many(
                "SELECT ca_name, dns_host_name, certificate, templates FROM directory_enrollment_service"
                " ORDER BY ca_key"
            )
        ),
        domain_templates=tuple(
            DomainTemplateRow(row[0], Sid(row[1]), row[2], KeptHere(frozenset(json.loads(row[3])), _rules(row[4])))
            for row in connection.many(
                "SELECT cn_key, domain_sid, oid, accepted_risks, name_rules FROM directory_domain_template"
                " ORDER BY cn_key"
            )
        ),
    )


def _rules(document: str) -> NameRules:
    return name_rules_from_json(json.loads(document)) if document else NameRules()


# -- writing: inside a transaction -------------------------------------------------------------------------------


def lock(connection: Connection) -> None:
    """Hold the version's row until the transaction ends, without a change."""
    connection.execute(
        "INSERT INTO directory_version (id, version) VALUES (1, 0)"
        " ON CONFLICT (id) DO UPDATE SET version = directory_version.version"
    )


def raise_version(connection: Connection) -> int:
    """The first statement of every change. Locks the row and returns the new version."""
    row = connection.execute(
        "INSERT INTO directory_version (id, version) VALUES (1, 1)"
        " ON CONFLICT (id) DO UPDATE SET version = directory_version.version + 1 RETURNING version"
    )[0]
    return int(row[0])


def insert_domain(connection: Connection, row: DomainRow) -> None:
    connection.execute(
        "INSERT INTO directory_domain (id, dns_name, netbios_name, sid, forest_arcs, next_rid)"
        " VALUES (1, ?, ?, ?, ?, ?)",
        (row.dns_name, row.netbios_name, row.sid, row.forest_arcs, row.next_rid),
    )


def take_rid(connection: Connection) -> int:
    """The next relative identifier; none is ever given twice."""
    row = connection.execute("UPDATE directory_domain SET next_rid = next_rid + 1 WHERE id = 1 RETURNING next_rid")[0]
    return int(row[0]) - 1


def insert_account(connection: Connection, *rows: AccountRow) -> None:
    connection.executemany(
        "INSERT INTO directory_account (sid, kind, name, name_key, common_name, guid, enabled, upn, mail,"
        " dns_host_name, additional_host_names, password, ntlm, nt_hash, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                row.sid,
                row.kind.value,
                row.name,
                key(row.name),
                row.common_name,
                row.guid,
                row.enabled,
                row.upn,
                row.mail,
                row.dns_host_name,
                _host_names(row),
                row.password,
                row.ntlm,
                row.nt_hash,
                row.created,
            )
            for row in rows
        ],
    )


def update_account(connection: Connection, row: AccountRow) -> None:
    """Write what may change of an account: all but SID, kind, name and GUID."""
    connection.execute(
        "UPDATE directory_account SET common_name = ?, enabled = ?, upn = ?, mail = ?, dns_host_name = ?,"
        " additional_host_names = ?, password = ?, ntlm = ?, nt_hash = ? WHERE sid = ?",
        (
            row.common_name,
            row.enabled,
            row.upn,
            row.mail,
            row.dns_host_name,
            _host_names(row),
            row.password,
            row.ntlm,
            row.nt_hash,
            row.sid,
        ),
    )


def _host_names(row: AccountRow) -> str:
    return json.dumps(row.additional_host_names) if row.additional_host_names else ""


def insert_group(connection: Connection, *rows: GroupRow) -> None:
    connection.executemany(
        "INSERT INTO directory_group (sid, name, name_key, guid, created) VALUES (?, ?, ?, ?, ?)",
        [(row.sid, row.name, key(row.name), row.guid, row.created) for row in rows],
    )


def insert_memberships(connection: Connection, pairs: Iterable[tuple[Sid, Sid]]) -> None:
    """Pairs of group and member."""
    connection.executemany("INSERT INTO directory_membership (group_sid, member_sid) VALUES (?, ?)", list(pairs))


def delete_membership(connection: Connection, group: Sid, member: Sid) -> None:
    connection.execute("DELETE FROM directory_membership WHERE group_sid = ? AND member_sid = ?", (group, member))


def put_template(connection: Connection, template: CertificateTemplate, accepted_risks: frozenset[str]) -> None:
    """Add a template, or replace the one with the same name."""
    connection.execute(
        "INSERT INTO directory_template (cn_key, oid, document, accepted_risks) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (cn_key) DO UPDATE SET oid = excluded.oid, document = excluded.document,"
        " accepted_risks = excluded.accepted_risks",
        (
            key(template.cn),
            template.oid,
            json.dumps(template_to_json(template), ensure_ascii=False),
            json.dumps(sorted(accepted_risks)),
        ),
    )


def delete_template(connection: Connection, cn: str) -> None:
    connection.execute("DELETE FROM directory_template WHERE cn_key = ?", (key(cn),))


def keep_in_domain(connection: Connection, domain_sid: Sid, cn: str, oid: str, kept: KeptHere) -> None:
    """What is kept from now on about a template of an Active Directory domain; of nothing nothing is kept."""
    if kept == KeptHere():
        connection.execute("DELETE FROM directory_domain_template WHERE cn_key = ?", (key(cn),))
        return
    document = name_rules_to_json(kept.name_rules)
    rules = json.dumps(document, ensure_ascii=False) if kept.name_rules != NameRules() else ""
    connection.execute(
        "INSERT INTO directory_domain_template (cn_key, domain_sid, oid, accepted_risks, name_rules)"
        " VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (cn_key) DO UPDATE SET domain_sid = excluded.domain_sid, oid = excluded.oid,"
        " accepted_risks = excluded.accepted_risks, name_rules = excluded.name_rules",
        (key(cn), domain_sid, oid, json.dumps(sorted(kept.accepted_risks)), rules),
    )


def put_service(connection: Connection, service: EnrollmentService) -> None:
    """Add an enrollment service, or replace the one of the same CA."""
    connection.execute(
        "INSERT INTO directory_enrollment_service (ca_key, ca_name, dns_host_name, certificate, templates)"
        " VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (ca_key) DO UPDATE SET ca_name = excluded.ca_name, dns_host_name = excluded.dns_host_name,"
        " certificate = excluded.certificate, templates = excluded.templates",
        (
            key(service.ca_name),
            service.ca_name,
            service.dns_host_name,
            service.certificate,
            json.dumps(_listed(service.templates)),
        ),
    )


def _listed(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))
