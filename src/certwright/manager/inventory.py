"""The inventory: every certificate known here, once, with its key where that is kept, its owner, tags and history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import structlog

from certwright.adcs.errors import AdcsError, BadRequestState, InvalidArgument, NotSupported
from certwright.adcs.events import AuditEvent, LifecycleKind
from certwright.adcs.roles import RevocationReason
from certwright.database import Connection
from certwright.manager import listing
from certwright.manager import store_inventory as rows
from certwright.manager import store_renewal as renewals
from certwright.manager.changes import Change, Changes
from certwright.manager.inventory_values import (
    BANDS,
    MAX_COUNT,
    WEEKS,
    Band,
    BulkResult,
    CertificateDetails,
    CertificateRow,
    Choice,
    InventoryQuery,
    Page,
    Week,
)
from certwright.manager.services import Services
from certwright.manager.values import clean_tags, key, moment, optional_text, seconds

MAX_BULK: Final = 1000
"""Certificates that one act changes at most."""
_CHOICES: Final = 200
_STREAMED: Final = 500  # rows whose tags are read at once

_COLUMN_OF: Final = {"issuer": "issuer", "template": "template", "owner": "owner", "key": "key_name"}
_KEY_OF: Final = {"issuer": "issuer_key", "template": "template_key", "owner": "owner_key", "key": "key_name"}

log = structlog.get_logger(__name__)


class Inventory:
    """Lists, shows and changes certificates. What may be seen and done is the caller's to check."""

    def __init__(self, changes: Changes, services: Services) -> None:
        self._changes = changes
        self._services = services

    # -- lists -------------------------------------------------------------------------------------------------

    def search(self, query: InventoryQuery, *, with_count: bool = True) -> Page[CertificateRow]:
        """A page of what a question finds.

        Args:
            with_count: count too, up to `MAX_COUNT`; one more means that there are more.

        Raises:
            InvalidArgument: the question names something that there is not.
        """
        with self._changes.database.read() as connection:
            plan = listing.make_plan(connection, query, self._changes.clock())
            ids, following, preceding = listing.page_ids(connection, plan, query)
            counted = listing.count(connection, plan, MAX_COUNT) if with_count else None
            return Page(self._rows(connection, ids), counted, following, preceding)

    def stream(self, query: InventoryQuery) -> Iterator[CertificateRow]:
        """Everything a question finds, in its order, without holding it all: for exports. Its cursor does not count.

        Raises:
            InvalidArgument: the question names something that there is not; at once, not at the first row.
        """
        with self._changes.database.read() as connection:
            plan = listing.make_plan(connection, query, self._changes.clock())
        return self._streamed(plan, descending=query.sort.descending)

    def _streamed(self, plan: listing.Plan, *, descending: bool) -> Iterator[CertificateRow]:
        sql = f"SELECT {rows.COLUMNS} FROM {rows.FROM}{plan.page.sql} ORDER BY {plan.order_by(descending=descending)}"  # noqa: S608
        with self._changes.database.read() as connection:
            gathered = []
            for row in connection.stream(sql, plan.page.params):
                gathered.append(row)
                if len(gathered) == _STREAMED:
                    yield from rows.certificate_rows(connection, gathered)
                    gathered.clear()
            yield from rows.certificate_rows(connection, gathered)

    def ids(self, query: InventoryQuery, limit: int = MAX_BULK) -> Sequence[int]:
        """The IDs of what a question finds, for "select all that match"; at most so many."""
        with self._changes.database.read() as connection:
            plan = listing.make_plan(connection, query, self._changes.clock())
            return [
                row[0]
                for row in connection.many(
                    f"SELECT c.id FROM manager_certificate c{plan.page.sql}"  # noqa: S608
                    f" ORDER BY {plan.order_by(descending=query.sort.descending)} LIMIT ?",
                    (*plan.page.params, limit),
                )
            ]

    def holds(self, text: str, certificate_id: int) -> bool:
        """Does a filter, as `InventoryQuery.as_text` writes it, find a certificate now?"""
        try:
            query = InventoryQuery.from_text(text)
        except (ValueError, TypeError, KeyError) as error:
            log.warning("inventory_filter_unreadable", error=str(error)[:200])
            return False
        return bool(self.ids(replace(query, ids=(certificate_id,)), 1))

    def rows(self, ids: Sequence[int]) -> tuple[CertificateRow, ...]:
        """These certificates, in this order; numbers that there are not are left out."""
        with self._changes.database.read() as connection:
            return self._rows(connection, _bounded(ids))

    def with_renewal(self, ids: Sequence[int]) -> frozenset[int]:
        """Those of these certificates whose renewal is ordered, or which a rule will renew."""
        if not ids:
            return frozenset()
        at = seconds(self._changes.clock())
        with self._changes.database.read() as connection:
            ahead, params = renewals.renewal_ahead(connection)
            marks = ", ".join("?" * len(ids))
            return frozenset(
                row[0]
                for row in connection.many(
                    "SELECT c.id FROM manager_certificate c WHERE c.revoked IS NULL AND c.superseded_by IS NULL"  # noqa: S608
                    f" AND NOT c.is_ca AND c.not_after > ? AND c.id IN ({marks}) AND ({ahead})",
                    (at, *ids, *params),
                )
            )

    @staticmethod
    def _rows(connection: Connection, ids: Sequence[int]) -> tuple[CertificateRow, ...]:
        """Rows in the order of their IDs' list."""
        if not ids:
            return ()
        found = connection.many(
            f"SELECT {rows.COLUMNS} FROM {rows.FROM} WHERE c.id IN ({', '.join('?' * len(ids))})",  # noqa: S608
            ids,
        )
        by_id = {row.id: row for row in rows.certificate_rows(connection, found)}
        return tuple(by_id[each] for each in ids if each in by_id)

    def choices(self, column: str) -> Sequence[Choice]:
        """What a filter offers: `issuer`, `template`, `owner`, `key` or `tag`, the most frequent first.

        Raises:
            InvalidArgument: no filter offers that column.
        """
        with self._changes.database.read() as connection:
            if column == "tag":
                found = connection.many(
                    "SELECT MIN(tag), COUNT(*) FROM manager_certificate_tag GROUP BY tag_key"
                    " ORDER BY COUNT(*) DESC, tag_key LIMIT ?",
                    (_CHOICES,),
                )
            elif column in _COLUMN_OF:
                found = self._distinct(connection, _COLUMN_OF[column], _KEY_OF[column])
            else:
                raise InvalidArgument(f"No filter offers the column {column[:80]!r}.")
        return [Choice(value, int(count)) for value, count in found if value]

    @staticmethod
    def _distinct(connection: Connection, column: str, column_key: str) -> list[tuple[str, int]]:
        """Each value once, by jumps along the index: counting a million rows takes longer than a page may."""
        found: list[tuple[str, int]] = []
        after = ""
        while len(found) < _CHOICES:
            row = connection.one(
                f"SELECT {column}, {column_key} FROM manager_certificate WHERE {column_key} > ?"  # noqa: S608
                f" ORDER BY {column_key} LIMIT 1",
                (after,),
            )
            if row is None:
                break
            after = row[1]
            counted = connection.one(
                f"SELECT COUNT(*) FROM (SELECT 1 FROM manager_certificate WHERE {column_key} = ?"  # noqa: S608
                f" LIMIT {MAX_COUNT + 1}) AS x",
                (after,),
            )
            found.append((row[0], int(counted[0]) if counted else 0))
        return sorted(found, key=lambda each: (-each[1], each[0]))

    # -- the dashboard -----------------------------------------------------------------------------------------

    def bands(self, visible_to: str = "") -> Sequence[Band]:
        """Certificates that end within 7, 30 and 90 days, with and without a renewal ahead."""
        at = seconds(self._changes.clock())
        owner, owner_params = _of_owner(visible_to)
        limits = [listing.band_limits(band, at) for band in BANDS]
        cases = " ".join(f"WHEN c.not_after < ? THEN {position}" for position in range(len(BANDS)))
        ends: list[int] = [end for _, end in limits]
        current = (
            f"SELECT CASE {cases} END, COUNT(*) FROM manager_certificate c"  # noqa: S608
            " WHERE c.revoked IS NULL AND c.superseded_by IS NULL"
            f" AND c.not_after >= ? AND c.not_after < ?{owner}"
        )
        params: tuple[int | str, ...] = (*ends, limits[0][0], ends[-1], *owner_params)
        with self._changes.database.read() as connection:
            ahead, ahead_params = renewals.renewal_ahead(connection)
            total: dict[int, int] = dict(connection.many(f"{current} GROUP BY 1", params))
            renewed: dict[int, int] = dict(
                connection.many(f"{current} AND ({ahead}) GROUP BY 1", (*params, *ahead_params))
            )
        return [
            Band(
                first=0 if position == 0 else BANDS[position - 1] + 1,
                last=last,
                total=int(total.get(position, 0)),
                with_renewal=int(renewed.get(position, 0)),
            )
            for position, last in enumerate(BANDS)
        ]

    def urgent(self, visible_to: str = "") -> int:
        """Certificates that end within the nearest band without a renewal ahead, up to `MAX_COUNT`: for a badge."""
        first, end = listing.band_limits(BANDS[0], seconds(self._changes.clock()))
        owner, owner_params = _of_owner(visible_to)
        with self._changes.database.read() as connection:
            ahead, ahead_params = renewals.renewal_ahead(connection)
            row = connection.one(
                "SELECT COUNT(*) FROM (SELECT 1 FROM manager_certificate c WHERE c.revoked IS NULL"  # noqa: S608
                f" AND c.superseded_by IS NULL AND c.not_after >= ? AND c.not_after < ?{owner} AND NOT ({ahead})"
                f" LIMIT {MAX_COUNT}) AS x",
                (first, end, *owner_params, *ahead_params),
            )
        return int(row[0]) if row else 0

    def timeline(self, visible_to: str = "") -> Sequence[Week]:
        """How many certificates end in each of the next 26 weeks; week 0 begins now."""
        at = seconds(self._changes.clock())
        owner, owner_params = _of_owner(visible_to)
        with self._changes.database.read() as connection:
            counted: dict[int, int] = dict(
                connection.many(
                    f"SELECT (c.not_after - ?) / {listing.WEEK}, COUNT(*) FROM manager_certificate c"  # noqa: S608
                    " WHERE c.revoked IS NULL AND c.superseded_by IS NULL"
                    f" AND c.not_after >= ? AND c.not_after < ?{owner} GROUP BY 1",
                    (at, at, at + WEEKS * listing.WEEK, *owner_params),
                )
            )
        return [
            Week(number, moment(at + number * listing.WEEK), int(counted.get(number, 0))) for number in range(WEEKS)
        ]

    # -- one certificate ---------------------------------------------------------------------------------------

    def get(self, certificate_id: int) -> CertificateDetails:
        """Raises:
        InvalidArgument: there is none of that number.
        """
        with self._changes.database.read() as connection:
            row = _found(connection, certificate_id)
            der = rows.certificate_der(connection, certificate_id) or b""
            return CertificateDetails(
                row, der, rows.chain_above(connection, der), rows.lines(connection, certificate_id)
            )

    def find(self, sha256: str) -> int | None:
        """The number of a certificate by its SHA-256, hex."""
        with self._changes.database.read() as connection:
            return rows.id_of(connection, sha256.replace(":", "").lower())

    # -- changing ----------------------------------------------------------------------------------------------

    def tag(self, ids: Sequence[int], tags: Sequence[str], *, actor: str) -> BulkResult:
        """Add tags."""
        wanted = clean_tags(tags)

        def act(change: Change, row: CertificateRow) -> str:
            return f"Tagged {', '.join(wanted)}." if rows.add_tags(change.connection, row.id, wanted) else ""

        return self._each(ids, actor, act, {"change": "tagged", "tags": ", ".join(wanted)})

    def untag(self, ids: Sequence[int], tag: str, *, actor: str) -> BulkResult:
        """Take a tag away."""

        def act(change: Change, row: CertificateRow) -> str:
            return f"Tag {tag} removed." if rows.remove_tag(change.connection, row.id, tag) else ""

        return self._each(ids, actor, act, {"change": "tag removed", "tags": tag})

    def set_owner(self, ids: Sequence[int], owner: str, *, actor: str) -> BulkResult:
        wanted = optional_text(owner, "The owner")

        def act(change: Change, row: CertificateRow) -> str:
            if row.owner == wanted:
                return ""
            rows.put_owner(change.connection, row.id, wanted)
            return f"Owner {row.owner or 'nobody'} -> {wanted or 'nobody'}."

        return self._each(ids, actor, act, {"change": "owner", "owner": wanted})

    def set_managed(self, ids: Sequence[int], managed: bool, *, actor: str) -> BulkResult:
        """Managed certificates are renewed and looked after; monitored ones are watched."""
        word = "managed" if managed else "monitored"

        def act(change: Change, row: CertificateRow) -> str:
            if row.managed == managed:
                return ""
            rows.put_managed(change.connection, row.id, managed)
            return f"Now {word}."

        return self._each(ids, actor, act, {"change": word})

    def note_revoked(self, certificate_id: int, reason: RevocationReason, *, actor: str) -> None:
        """Write down that a certificate was revoked somewhere else; taking a hold back is `note_released`."""
        self._each([certificate_id], actor, lambda change, row: _revoke(change, row, reason), {"change": "revoked"})

    def note_released(self, certificate_id: int, *, actor: str) -> None:
        """Write down that a certificate was released from hold."""

        def act(change: Change, row: CertificateRow) -> str:
            rows.put_revoked(change.connection, row.id, None, "")
            return "Released from hold."

        self._each([certificate_id], actor, act, {"change": "released from hold"})

    def revoke(self, certificate_id: int, reason: RevocationReason, *, actor: str) -> None:
        """Revoke at the CA that issued it, where this installation may, and write it down.

        The attempt is in the history before the CA is asked: what happened at the CA is known after a crash.

        Raises:
            NotSupported: it did not come from a service, or that service takes no such order from here.
            AdcsError: the CA refused.
        """
        with self._changes.change(actor) as change:
            row = _found(change.connection, certificate_id)
            if row.revoked is not None and row.revoked_reason != _word(RevocationReason.CERTIFICATE_HOLD):
                raise BadRequestState(f"{row.common_name or row.serial} is revoked already.")
            if row.service_id is None:
                raise NotSupported(
                    f"{row.common_name or row.serial} did not come from an AD CS service of this installation; revoke"
                    " it at the CA that issued it."
                )
            rows.add_line(change.connection, row.id, change.when, actor, f"Asked the CA to revoke: {_word(reason)}.")
        service = self._services.get(row.service_id)
        self._services.reach.revoke(service, row.serial, reason)
        self._each([certificate_id], actor, lambda change, row: _revoke(change, row, reason), {"change": "revoked"})
        self._changes.deliver()

    def delete(self, ids: Sequence[int], *, with_key: bool = False, actor: str) -> BulkResult:
        """Forget certificates. One whose private key exists only here needs `with_key`, and then loses it.

        Raises:
            InvalidArgument: too many at once.
        """
        done: list[int] = []
        refused: dict[int, str] = {}
        for certificate_id in _bounded(ids):
            try:
                with self._changes.change(actor) as change:
                    self._delete(change, _found(change.connection, certificate_id), with_key)
                done.append(certificate_id)
            except AdcsError as error:
                refused[certificate_id] = error.message
        return BulkResult(tuple(done), refused)

    @staticmethod
    def _delete(change: Change, row: CertificateRow, with_key: bool) -> None:
        last = row.key_held and rows.key_users(change.connection, row.spki_sha256) <= 1
        if last and not with_key:
            raise BadRequestState(
                f"The private key of {row.common_name or row.serial} exists only here and would be lost; confirm to"
                " delete both, or export it first."
            )
        facts: dict[str, str | int] = {
            "certificate": row.id,
            "common_name": row.common_name,
            "serial": row.serial,
            "sha256": row.sha256,
        }
        rows.delete_certificate(change.connection, row.id)
        change.record(AuditEvent.INVENTORY_DELETED, facts)
        if last:
            rows.delete_key(change.connection, row.spki_sha256)
            change.record(AuditEvent.PRIVATE_KEY_DELETED, facts)

    def _each(
        self,
        ids: Sequence[int],
        actor: str,
        act: Callable[[Change, CertificateRow], str],
        facts: dict[str, str | int],
    ) -> BulkResult:
        """Act on each certificate by itself; `act` returns the line of its history, empty for no change."""
        done: list[int] = []
        refused: dict[int, str] = {}
        for certificate_id in _bounded(ids):
            try:
                with self._changes.change(actor) as change:
                    row = _found(change.connection, certificate_id)
                    line = act(change, row)
                    if line:
                        rows.add_line(change.connection, row.id, change.when, actor, line)
                        change.record(
                            AuditEvent.INVENTORY_CHANGED,
                            {**facts, "certificate": row.id, "common_name": row.common_name, "sha256": row.sha256},
                        )
                done.append(certificate_id)
            except AdcsError as error:
                refused[certificate_id] = error.message
        return BulkResult(tuple(done), refused)


def _revoke(change: Change, row: CertificateRow, reason: RevocationReason) -> str:
    rows.put_revoked(change.connection, row.id, change.when, _word(reason))
    change.tell(
        LifecycleKind.CERTIFICATE_REVOKED,
        row.common_name or row.serial,
        f"certificate/{row.sha256}/revoked/{change.when}",
        {
            "certificate": row.id,
            "common_name": row.common_name,
            "serial": row.serial,
            "reason": _word(reason),
            "owner": row.owner,
            "tags": ", ".join(row.tags),
        },
    )
    return f"Revoked: {_word(reason)}."


def _word(reason: RevocationReason) -> str:
    return reason.name.lower().replace("_", " ")


def _of_owner(owner: str) -> tuple[str, tuple[str, ...]]:
    return (" AND c.owner_key = ?", (key(owner)[: rows.MAX_KEY],)) if owner else ("", ())


def _bounded(ids: Sequence[int]) -> Sequence[int]:
    wanted = list(dict.fromkeys(ids))
    if len(wanted) > MAX_BULK:
        raise InvalidArgument(f"{len(wanted)} certificates are too many at once; at most {MAX_BULK} are changed.")
    return wanted


def _found(connection: Connection, certificate_id: int) -> CertificateRow:
    found = rows.certificate(connection, certificate_id)
    if found is None:
        raise InvalidArgument(f"There is no certificate number {certificate_id} in the inventory.")
    return found
