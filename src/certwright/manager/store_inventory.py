"""Rows of certificates, their names, tags and history, and of private keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from certwright.database import Connection, Row
from certwright.manager.inventory_values import CertificateLine, CertificateRow, Source
from certwright.manager.values import key, moment, optional_moment, storable
from certwright.pki import names
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError, SignatureError
from certwright.pki.general_names import DnsName, EmailAddress, IpAddress, Uri, UserPrincipalName
from certwright.pki.oids import name_of

MAX_KEY: Final = 400
"""Characters of a name that is compared and sorted; longer ones are told apart by their row."""
MAX_NAMES: Final = 200
"""Names by which one certificate is found."""
MAX_SHOWN: Final = 4000
MAX_CHAIN: Final = 10

COLUMNS: Final = (
    "c.id, c.subject, c.common_name, c.names, c.issuer, c.serial, c.template, c.not_before, c.not_after, c.key_name,"
    " EXISTS (SELECT 1 FROM manager_private_key k WHERE k.spki_sha256 = c.spki_sha256), c.managed, c.source, c.owner,"
    " c.sha1, c.sha256, c.spki_sha256, c.purposes, c.is_ca, c.revoked, c.revoked_reason, c.superseded_by, r.state,"
    " r.message, r.order_id, c.order_id, c.service_id, c.domain, c.created, c.created_by"
)
FROM: Final = "manager_certificate c LEFT JOIN manager_renewal r ON r.certificate_id = c.id"

_RENEWAL_WORDS: Final = {1: "ordered", 2: "renewed"}


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """What is written with a certificate beside what it says itself."""

    source: Source
    managed: bool
    owner: str = ""
    created_by: str = ""
    tags: tuple[str, ...] = ()
    template: str = ""  # where the certificate does not name its template
    service_id: int | None = None
    order_id: int | None = None
    domain: str = ""


# -- reading -----------------------------------------------------------------------------------------------------


def certificate_row(row: Row, tags: tuple[str, ...]) -> CertificateRow:
    """A row of `COLUMNS` as a value."""
    renewal = "" if row[22] is None else _RENEWAL_WORDS.get(row[22], f"failed: {row[23]}")
    return CertificateRow(
        id=row[0],
        subject=row[1],
        common_name=row[2],
        names=row[3],
        issuer=row[4],
        serial=row[5],
        template=row[6],
        not_before=moment(row[7]),
        not_after=moment(row[8]),
        key_name=row[9],
        key_held=bool(row[10]),
        managed=bool(row[11]),
        source=Source(row[12]),
        owner=row[13],
        tags=tags,
        sha1=row[14],
        sha256=row[15],
        spki_sha256=row[16],
        purposes=row[17],
        is_ca=bool(row[18]),
        revoked=optional_moment(row[19]),
        revoked_reason=row[20],
        superseded_by=row[21],
        renewal=renewal,
        renewal_order=row[24],
        order_id=row[25],
        service_id=row[26],
        domain=row[27],
        created=moment(row[28]),
        created_by=row[29],
    )


def certificate_rows(connection: Connection, found: Sequence[Row]) -> tuple[CertificateRow, ...]:
    tags = tags_of(connection, [row[0] for row in found])
    return tuple(certificate_row(row, tags.get(row[0], ())) for row in found)


def certificate(connection: Connection, certificate_id: int) -> CertificateRow | None:
    row = connection.one(f"SELECT {COLUMNS} FROM {FROM} WHERE c.id = ?", (certificate_id,))  # noqa: S608
    return None if row is None else certificate_rows(connection, [row])[0]


def certificate_der(connection: Connection, certificate_id: int) -> bytes | None:
    row = connection.one("SELECT der FROM manager_certificate_der WHERE certificate_id = ?", (certificate_id,))
    return None if row is None else bytes(row[0])


def id_of(connection: Connection, sha256: str) -> int | None:
    row = connection.one("SELECT id FROM manager_certificate WHERE sha256 = ?", (sha256,))
    return None if row is None else row[0]


def by_serial(connection: Connection, serial: str) -> list[int]:
    return [row[0] for row in connection.many("SELECT id FROM manager_certificate WHERE serial = ?", (serial,))]


def tags_of(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    found: dict[int, list[str]] = {}
    for start in range(0, len(ids), 200):
        part = ids[start : start + 200]
        for certificate_id, tag in connection.many(
            "SELECT certificate_id, tag FROM manager_certificate_tag"  # noqa: S608
            f" WHERE certificate_id IN ({', '.join('?' * len(part))}) ORDER BY tag_key",
            part,
        ):
            found.setdefault(certificate_id, []).append(tag)
    return {certificate_id: tuple(tags) for certificate_id, tags in found.items()}


def chain_above(connection: Connection, der: bytes) -> tuple[bytes, ...]:
    """The certificates above one, as far as the inventory holds them, each verified; the nearest first."""
    chain: list[bytes] = []
    current = CertificateView.parse(der)
    while len(chain) < MAX_CHAIN and not current.is_self_issued:
        above = _issuer_of(connection, current)
        if above is None:
            break
        chain.append(above.der)
        current = above
    return tuple(chain)


def _issuer_of(connection: Connection, view: CertificateView) -> CertificateView | None:
    identifier = view.authority_key_identifier
    if identifier is None:
        found = connection.many(
            "SELECT d.der FROM manager_certificate c JOIN manager_certificate_der d ON d.certificate_id = c.id"
            " WHERE c.subject_key = ? AND c.is_ca = ? ORDER BY c.not_after DESC LIMIT 20",
            (subject_key(view.issuer), True),
        )
    else:
        found = connection.many(
            "SELECT d.der FROM manager_certificate c JOIN manager_certificate_der d ON d.certificate_id = c.id"
            " WHERE c.ski = ? AND c.is_ca = ? ORDER BY c.not_after DESC LIMIT 20",
            (identifier.hex(), True),
        )
    for (der,) in found:
        candidate = CertificateView.parse(bytes(der))
        if issued_by(view, candidate):
            return candidate
    return None


def issued_by(view: CertificateView, candidate: CertificateView) -> bool:
    """Is `candidate` the issuer? By name and by signature; dates do not matter."""
    if candidate.subject != view.issuer:
        return False
    try:
        view.verify_signed_by(candidate)
    except (SignatureError, EncodingError):
        return False
    return True


def lines(connection: Connection, certificate_id: int, limit: int = 500) -> tuple[CertificateLine, ...]:
    """The history, newest first."""
    return tuple(
        CertificateLine(moment(row[0]), row[1], row[2])
        for row in connection.many(
            "SELECT occurred, actor, text FROM manager_certificate_line WHERE certificate_id = ?"
            " ORDER BY id DESC LIMIT ?",
            (certificate_id, limit),
        )
    )


# -- writing -----------------------------------------------------------------------------------------------------


def insert_certificate(connection: Connection, view: CertificateView, new: NewCertificate, when: int) -> int | None:
    """Add a certificate with its DER, names and tags. None when it is there already.

    Two transactions that add the same one cannot both: the unique index on SHA-256 lets one of them in.
    """
    template = view.template_name or new.template
    if not template and (information := view.template) is not None:
        template = information.oid
    found = connection.execute(
        "INSERT INTO manager_certificate (sha256, sha1, serial, subject, subject_key, common_name, names, issuer,"
        " issuer_key, template, template_key, not_before, not_after, key_name, spki_sha256, ski, aki, purposes,"
        " is_ca, managed, source, owner, owner_key, created, created_by, revoked_reason, service_id, order_id,"
        " domain)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?, ?)"
        " ON CONFLICT (sha256) DO NOTHING RETURNING id",
        (
            view.sha256,
            view.sha1,
            view.serial_number,
            storable(view.subject_name)[:MAX_SHOWN],
            subject_key(view.subject),
            storable(view.common_name)[:MAX_SHOWN],
            storable(", ".join(map(str, _shown_names(view))))[:MAX_SHOWN],
            storable(view.issuer_name)[:MAX_SHOWN],
            key(storable(view.issuer_name))[:MAX_KEY],
            storable(template),
            key(storable(template))[:MAX_KEY],
            int(view.not_before.timestamp()),
            int(view.not_after.timestamp()),
            key_name(view),
            spki_sha256(view),
            (view.subject_key_identifier or b"").hex(),
            (_authority_key(view) or b"").hex(),
            _purposes(view),
            view.is_ca,
            new.managed,
            new.source.value,
            new.owner,
            key(new.owner)[:MAX_KEY],
            when,
            new.created_by,
            new.service_id,
            new.order_id,
            new.domain,
        ),
    )
    if not found:
        return None
    certificate_id: int = found[0][0]
    connection.execute(
        "INSERT INTO manager_certificate_der (certificate_id, der) VALUES (?, ?)", (certificate_id, view.der)
    )
    connection.executemany(
        "INSERT INTO manager_certificate_name (name_key, certificate_id) VALUES (?, ?)",
        [(name, certificate_id) for name in search_names(view)],
    )
    add_tags(connection, certificate_id, new.tags)
    return certificate_id


def adopt(connection: Connection, certificate_id: int, new: NewCertificate) -> None:
    """Complete the row of a certificate that was known before it was ordered here: it becomes a managed one."""
    connection.execute(
        "UPDATE manager_certificate SET managed = ?, order_id = ?, service_id = ?, domain = ?,"
        " template = CASE WHEN template = '' THEN ? ELSE template END,"
        " template_key = CASE WHEN template_key = '' THEN ? ELSE template_key END,"
        " owner = CASE WHEN owner = '' THEN ? ELSE owner END,"
        " owner_key = CASE WHEN owner_key = '' THEN ? ELSE owner_key END WHERE id = ?",
        (
            new.managed,
            new.order_id,
            new.service_id,
            new.domain,
            new.template,
            key(new.template)[:MAX_KEY],
            new.owner,
            key(new.owner)[:MAX_KEY],
            certificate_id,
        ),
    )
    add_tags(connection, certificate_id, new.tags)


def add_tags(connection: Connection, certificate_id: int, tags: Iterable[str]) -> int:
    return connection.executemany(
        "INSERT INTO manager_certificate_tag (tag, tag_key, certificate_id) VALUES (?, ?, ?)"
        " ON CONFLICT (certificate_id, tag_key) DO NOTHING",
        [(tag, key(tag), certificate_id) for tag in tags],
    )


def remove_tag(connection: Connection, certificate_id: int, tag: str) -> bool:
    return (
        connection.execute(
            "DELETE FROM manager_certificate_tag WHERE certificate_id = ? AND tag_key = ?", (certificate_id, key(tag))
        ).rowcount
        > 0
    )


def put_owner(connection: Connection, certificate_id: int, owner: str) -> None:
    connection.execute(
        "UPDATE manager_certificate SET owner = ?, owner_key = ? WHERE id = ?",
        (owner, key(owner)[:MAX_KEY], certificate_id),
    )


def put_managed(connection: Connection, certificate_id: int, managed: bool) -> None:
    connection.execute("UPDATE manager_certificate SET managed = ? WHERE id = ?", (managed, certificate_id))


def put_revoked(connection: Connection, certificate_id: int, when: int | None, reason: str) -> None:
    connection.execute(
        "UPDATE manager_certificate SET revoked = ?, revoked_reason = ? WHERE id = ?", (when, reason, certificate_id)
    )


def put_superseded(connection: Connection, certificate_id: int, by: int) -> None:
    connection.execute("UPDATE manager_certificate SET superseded_by = ? WHERE id = ?", (by, certificate_id))


def add_line(connection: Connection, certificate_id: int, when: int, actor: str, text: str) -> None:
    connection.execute(
        "INSERT INTO manager_certificate_line (certificate_id, occurred, actor, text) VALUES (?, ?, ?, ?)",
        (certificate_id, when, actor, text[:2000]),
    )


def delete_certificate(connection: Connection, certificate_id: int) -> None:
    for table in ("line", "tag", "name", "der"):
        connection.execute(
            f"DELETE FROM manager_certificate_{table} WHERE certificate_id = ?",  # noqa: S608
            (certificate_id,),
        )
    connection.execute("DELETE FROM manager_renewal WHERE certificate_id = ?", (certificate_id,))
    connection.execute(
        "UPDATE manager_certificate SET superseded_by = NULL WHERE superseded_by = ?", (certificate_id,)
    )
    connection.execute("UPDATE manager_order SET certificate_id = NULL WHERE certificate_id = ?", (certificate_id,))
    connection.execute("DELETE FROM manager_certificate WHERE id = ?", (certificate_id,))


# -- expiry notices ----------------------------------------------------------------------------------------------


def unannounced(
    connection: Connection, since: int, bands: Sequence[tuple[int, int]], limit: int
) -> tuple[CertificateRow, ...]:
    """Certificates that are in a narrower band than the last one that was told of.

    Args:
        since: what ended before is no news; nor is what had ended when it came here.
        bands: days, and when (exclusive) a certificate in it ends; the narrowest first.
    """
    cases = " ".join("WHEN c.not_after < ? THEN ?" for _ in bands)
    found = connection.many(
        f"SELECT {COLUMNS} FROM {FROM} WHERE c.revoked IS NULL AND c.superseded_by IS NULL AND c.not_after > ?"  # noqa: S608
        " AND c.not_after < ? AND c.created < c.not_after"
        f" AND (c.told_band IS NULL OR c.told_band > CASE {cases} END)"
        " ORDER BY c.not_after, c.id LIMIT ?",
        (since, bands[-1][1], *(value for days, end in bands for value in (end, days)), limit),
    )
    return certificate_rows(connection, found)


def put_told(connection: Connection, certificate_id: int, band: int) -> None:
    connection.execute("UPDATE manager_certificate SET told_band = ? WHERE id = ?", (band, certificate_id))


# -- private keys ------------------------------------------------------------------------------------------------


def insert_key(
    connection: Connection, spki_digest: str, algorithm: str, sealed: bytes, when: int, actor: str
) -> bool:
    """False when the key is here already; it stays as it is."""
    return bool(
        connection.execute(
            "INSERT INTO manager_private_key (spki_sha256, algorithm, sealed, created, created_by)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (spki_sha256) DO NOTHING RETURNING id",
            (spki_digest, algorithm, sealed, when, actor),
        )
    )


def has_key(connection: Connection, spki_digest: str) -> bool:
    return connection.one("SELECT 1 FROM manager_private_key WHERE spki_sha256 = ?", (spki_digest,)) is not None


def sealed_key(connection: Connection, spki_digest: str) -> bytes | None:
    row = connection.one("SELECT sealed FROM manager_private_key WHERE spki_sha256 = ?", (spki_digest,))
    return None if row is None else bytes(row[0])


def key_users(connection: Connection, spki_digest: str) -> int:
    """Certificates and orders that are of this key."""
    row = connection.one(
        "SELECT (SELECT COUNT(*) FROM manager_certificate WHERE spki_sha256 = ?)"
        " + (SELECT COUNT(*) FROM manager_order WHERE spki_sha256 = ? AND deleted IS NULL"
        " AND certificate_id IS NULL)",
        (spki_digest, spki_digest),
    )
    return int(row[0]) if row else 0


def delete_key(connection: Connection, spki_digest: str) -> bool:
    return connection.execute("DELETE FROM manager_private_key WHERE spki_sha256 = ?", (spki_digest,)).rowcount > 0


# -- what a certificate says -------------------------------------------------------------------------------------


def subject_key(name: bytes) -> str:
    """How subjects sort: by common name, then by the rest."""
    text = storable(names.format_name(name))
    common = storable(names.common_name(name))
    return key(f"{common} {text}")[:MAX_KEY]


def key_name(view: CertificateView) -> str:
    try:
        return str(view.public_key)
    except EncodingError:
        return "unreadable"


def spki_sha256(view: CertificateView) -> str:
    return hashlib.sha256(view.public_key_info).hexdigest()


def search_names(view: CertificateView) -> tuple[str, ...]:
    """What a search by how a word begins finds: each name, and for host names each domain they end in."""
    found: dict[str, None] = {}
    for text in _found_by(view):
        name = key(storable(text))[:MAX_KEY]
        if name:
            found[name] = None
        separator = "@" if "@" in name else "." if " " not in name else " "
        rest = name
        while separator in rest:
            rest = rest.partition(separator)[2]
            separator = "." if " " not in rest else " "
            if rest and ("." in rest or " " in name):  # a top level domain alone finds nothing worth finding
                found[rest] = None
    return tuple(found)[:MAX_NAMES]


def _found_by(view: CertificateView) -> Iterator[str]:
    if view.common_name:
        yield view.common_name
    for name in _shown_names(view):
        match name:
            case DnsName() | EmailAddress() | UserPrincipalName() | Uri():
                yield name.value.removeprefix("*.")
            case IpAddress():
                yield str(name.value)
            case _:
                continue


def _shown_names(view: CertificateView) -> tuple[object, ...]:
    try:
        return view.alternative_names[:MAX_NAMES]
    except EncodingError:  # a certificate from elsewhere; the rest of it is worth keeping
        return ()


def _authority_key(view: CertificateView) -> bytes | None:
    try:
        return view.authority_key_identifier
    except EncodingError:
        return None


def _purposes(view: CertificateView) -> str:
    try:
        return ", ".join(name_of(oid) for oid in view.extended_key_usage[:50])
    except EncodingError:
        return ""
