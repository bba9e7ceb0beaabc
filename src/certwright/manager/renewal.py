"""Renewal: rules that order again before a certificate ends, each certificate once, and the same by hand.

A renewal is an order like any other. Its claim on the certificate is written in the same transaction as the order, so
that neither two processes nor a crash between two steps orders twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from certwright.adcs.errors import AdcsError, BadRequestState, InvalidArgument
from certwright.adcs.events import AuditEvent, LifecycleKind
from certwright.database import Connection
from certwright.manager import store_inventory as certificates
from certwright.manager import store_orders as orders_rows
from certwright.manager import store_renewal as rows
from certwright.manager.changes import Changes, unique
from certwright.manager.inventory_values import CertificateRow
from certwright.manager.keys import Keys, similar_algorithm
from certwright.manager.orders import Orders
from certwright.manager.store_renewal import Candidate
from certwright.manager.submitting import RENEW_AGAIN
from certwright.manager.values import (
    MAX_DAYS,
    AlternativeName,
    FailedRenewal,
    KeyFields,
    NameKind,
    Order,
    OrderFields,
    PlannedRenewal,
    RenewalKey,
    RenewalRule,
    RuleFields,
    optional_text,
    required_text,
)
from certwright.pki.certificate import CertificateView
from certwright.pki.general_names import DnsName, EmailAddress, GeneralName, IpAddress, Uri, UserPrincipalName

MAX_FAILURES: Final = 5
"""After so many a rule leaves a certificate to people."""
_BATCH: Final = 500  # renewals that a rule orders in one go
_DRY_RUN: Final = 1000
_EVER: Final = datetime(9999, 12, 31, tzinfo=UTC)


class Renewal:
    """The rules, what they would do, and what they do."""

    def __init__(self, changes: Changes, orders: Orders, keys: Keys) -> None:
        self._changes = changes
        self._orders = orders
        self._keys = keys

    # -- rules -------------------------------------------------------------------------------------------------

    def list(self) -> Sequence[RenewalRule]:
        with self._changes.database.read() as connection:
            return rows.rules(connection)

    def get(self, rule_id: int) -> RenewalRule:
        """Raises:
        InvalidArgument: there is none of that number.
        """
        with self._changes.database.read() as connection:
            return _found(connection, rule_id)

    def add(self, fields: RuleFields, *, actor: str) -> RenewalRule:
        """Raises:
        InvalidArgument: a field breaks a rule, or the name is taken.
        """
        fields = _checked(fields)
        with self._changes.change(actor) as change:
            rule_id = unique(lambda: rows.insert_rule(change.connection, fields, change.when), _taken(fields.name))
            change.record(AuditEvent.RENEWAL_RULE_CHANGED, {"change": "added", "rule": rule_id, **_facts(fields)})
            return _found(change.connection, rule_id)

    def edit(self, rule_id: int, fields: RuleFields, *, actor: str) -> RenewalRule:
        """Raises:
        InvalidArgument: a field breaks a rule, or the name is taken.
        """
        fields = _checked(fields)
        with self._changes.change(actor) as change:
            _found(change.connection, rule_id)
            unique(lambda: rows.update_rule(change.connection, rule_id, fields), _taken(fields.name))
            change.record(AuditEvent.RENEWAL_RULE_CHANGED, {"change": "edited", "rule": rule_id, **_facts(fields)})
            return _found(change.connection, rule_id)

    def delete(self, rule_id: int, *, actor: str) -> None:
        with self._changes.change(actor) as change:
            rule = _found(change.connection, rule_id)
            rows.delete_rule(change.connection, rule_id)
            change.record(
                AuditEvent.RENEWAL_RULE_CHANGED, {"change": "deleted", "rule": rule_id, "name": rule.fields.name}
            )

    def failed_count(self) -> int:
        """Certificates whose renewal failed and was not repeated yet."""
        with self._changes.database.read() as connection:
            return rows.failed_count(connection)

    def failed(self, limit: int = 50) -> Sequence[FailedRenewal]:
        """Those, the certificate that ends first on top."""
        with self._changes.database.read() as connection:
            return rows.failed(connection, limit)

    def ahead(self, certificate_id: int) -> PlannedRenewal | None:
        """What the rules will order for one certificate, and when: by the rule that comes first. None: nothing."""
        now = self._changes.clock()
        with self._changes.database.read() as connection:
            planned = [
                self._plan(connection, rule, candidate, now)
                for rule in rows.rules(connection, enabled_only=True)
                for candidate in rows.candidates(connection, rule.fields, now, _EVER, 1, only=certificate_id)
            ]
        return min(planned, key=lambda each: (bool(each.problem), each.when), default=None)

    # -- what would be done ------------------------------------------------------------------------------------

    def dry_run(self, rule_id: int | None = None, days: int = 30) -> Sequence[PlannedRenewal]:
        """What the rules (or the one) would order in the next days, and what would keep them from it."""
        now = self._changes.clock()
        planned: dict[int, PlannedRenewal] = {}
        with self._changes.database.read() as connection:
            chosen = rows.rules(connection, enabled_only=True) if rule_id is None else [_found(connection, rule_id)]
            for rule in chosen:
                until = now + timedelta(days=rule.fields.days_before + days)
                for candidate in rows.candidates(connection, rule.fields, now, until, _DRY_RUN):
                    if candidate.id not in planned:
                        planned[candidate.id] = self._plan(connection, rule, candidate, now)
        return sorted(planned.values(), key=lambda each: (each.when, each.certificate_id))[:_DRY_RUN]

    def _plan(self, connection: Connection, rule: RenewalRule, candidate: Candidate, now: datetime) -> PlannedRenewal:
        row = certificates.certificate(connection, candidate.id)
        due = max(now, candidate.not_after - timedelta(days=rule.fields.days_before))
        if candidate.next_try is not None:
            due = max(due, candidate.next_try)
        problem = domain = template = ""
        try:
            if row is None:
                raise InvalidArgument("the certificate is gone")
            domain, template = self._place(connection, row, rule.fields.domain, rule.fields.template)
            if rule.fields.key is RenewalKey.SAME and not row.key_held:
                raise InvalidArgument("The private key of this certificate is not kept here.")
            if candidate.failures >= MAX_FAILURES:
                raise BadRequestState(f"It failed {candidate.failures} times; renew it by hand once that is mended.")
        except AdcsError as error:
            problem = error.message
        return PlannedRenewal(
            candidate.id,
            candidate.common_name,
            candidate.not_after,
            rule.id,
            rule.fields.name,
            due,
            rule.fields.key,
            domain,
            template,
            problem,
        )

    # -- doing it ----------------------------------------------------------------------------------------------

    def renew(
        self,
        certificate_id: int,
        *,
        key: RenewalKey = RenewalKey.NEW,
        domain: str = "",
        template: str = "",
        actor: str,
        rule: RenewalRule | None = None,
    ) -> Order:
        """Order a certificate's successor: the same names, a new key or the same.

        Args:
            domain, template: where to order; empty ones are those of the certificate's own order.

        Raises:
            BadRequestState: its renewal is ordered, or done, already.
            InvalidArgument: nobody knows where to order it, or the same key is wanted and not kept here.
        """
        with self._changes.database.read() as connection:
            row = certificates.certificate(connection, certificate_id)
            der = certificates.certificate_der(connection, certificate_id)
            if row is None or der is None:
                raise InvalidArgument(f"There is no certificate number {certificate_id} in the inventory.")
            wanted_domain, wanted_template = self._place(connection, row, domain, template)
        if row.superseded_by is not None:
            raise BadRequestState(f"{row.common_name or row.serial} was renewed already: {row.superseded_by}.")
        view = CertificateView.parse(der)
        made = KeyFields(similar_algorithm(row.key_name), row.subject if view.subject else "", _names(view))
        fields = OrderFields(
            domain=wanted_domain,
            template=wanted_template,
            owner=row.owner,
            tags=row.tags,
            fetch=True,
        )
        if key is RenewalKey.SAME:
            fields = replace(fields, csr=self._keys.again(row.spki_sha256, made))
        else:
            fields = replace(fields, key=made)

        def claim(connection: Connection, order_id: int) -> None:
            when = int(self._changes.clock().timestamp())
            if not rows.claim(connection, certificate_id, rule.id if rule is not None else None, order_id, when):
                raise BadRequestState(f"The renewal of {row.common_name or row.serial} is ordered already.")
            if rule is not None:
                rows.count_ordered(connection, rule.id)
                orders_rows.add_line(connection, order_id, when, f"Renewal rule {rule.fields.name}.")
            certificates.add_line(connection, certificate_id, when, actor, f"Renewal ordered: order {order_id}.")

        return self._orders.place_renewal(fields, actor=actor, renews=certificate_id, claim=claim)

    @staticmethod
    def _place(connection: Connection, row: CertificateRow, domain: str, template: str) -> tuple[str, str]:
        """Where a successor is ordered.

        Raises:
            InvalidArgument: neither the certificate nor anybody says.
        """
        order = orders_rows.order(connection, row.order_id, deleted=True) if row.order_id is not None else None
        wanted_domain = domain or row.domain or (order.domain if order is not None else "")
        wanted_template = template or (order.template if order is not None else row.template)
        if not wanted_domain or not wanted_template:
            missing = "domain" if not wanted_domain else "template"
            raise InvalidArgument(
                f"{row.common_name or row.serial} was not ordered here, so its {missing} has to be named: in the"
                " rule, or when it is renewed by hand."
            )
        return wanted_domain, wanted_template

    def run(self, *, actor: str) -> Sequence[str]:
        """Order what the rules want now; a sentence for each."""
        now = self._changes.clock()
        said: list[str] = []
        with self._changes.database.read() as connection:
            chosen = rows.rules(connection, enabled_only=True)
        for rule in chosen:
            with self._changes.database.transaction() as connection:
                rows.put_run(connection, rule.id, int(now.timestamp()))
                until = now + timedelta(days=rule.fields.days_before)
                found = rows.candidates(connection, rule.fields, now, until, _BATCH, MAX_FAILURES)
            for candidate in found:
                said += self._run_one(rule, candidate, actor)
        return said

    def _run_one(self, rule: RenewalRule, candidate: Candidate, actor: str) -> Sequence[str]:
        fields = rule.fields
        try:
            order = self.renew(
                candidate.id, key=fields.key, domain=fields.domain, template=fields.template, actor=actor, rule=rule
            )
        except BadRequestState:  # another rule, another process or a person was faster
            return []
        except AdcsError as error:
            self._failed(rule, candidate, error.message)
            return [f"{candidate.common_name}: not renewed: {error.message}"]
        return [f"{candidate.common_name}: order {order.id} is {order.state.word.lower()}"]

    def _failed(self, rule: RenewalRule, candidate: Candidate, message: str) -> None:
        """A renewal that did not even become an order."""
        with self._changes.change(rule.fields.name) as change:
            failures = rows.put_failed(
                change.connection, candidate.id, rule.id, message, change.now + RENEW_AGAIN, change.when
            )
            rows.count_failure(change.connection, rule.id, f"{candidate.common_name}: {message}")
            change.tell(
                LifecycleKind.RENEWAL_FAILED,
                candidate.common_name,
                f"renewal/{candidate.id}/failed/{failures}",
                {
                    "certificate": candidate.id,
                    "common_name": candidate.common_name,
                    "rule": rule.fields.name,
                    "message": message,
                },
            )
        self._changes.deliver()


def _names(view: CertificateView) -> tuple[AlternativeName, ...]:
    """The names a request can ask for; what the directory adds (GUID, SID), the CA adds again."""
    return tuple(name for each in view.alternative_names if (name := _asked(each)) is not None)


def _asked(name: GeneralName) -> AlternativeName | None:
    match name:
        case DnsName():
            return AlternativeName(NameKind.DNS, name.value)
        case IpAddress():
            return AlternativeName(NameKind.IP, str(name.value))
        case EmailAddress():
            return AlternativeName(NameKind.EMAIL, name.value)
        case UserPrincipalName():
            return AlternativeName(NameKind.UPN, name.value)
        case Uri() if not name.value.lower().startswith("tag:microsoft.com,2022-09-14:sid:"):
            return AlternativeName(NameKind.URI, name.value)
        case _:
            return None


def _checked(fields: RuleFields) -> RuleFields:
    checked = replace(
        fields,
        name=required_text(fields.name, "The name"),
        tag=optional_text(fields.tag, "The tag", 64),
        match_template=optional_text(fields.match_template, "The template"),
        issuer=optional_text(fields.issuer, "The issuer", 1024),
        domain=optional_text(fields.domain, "The domain"),
        template=optional_text(fields.template, "The template", 64),
    )
    if not 1 <= checked.days_before <= MAX_DAYS:
        raise InvalidArgument(f"{checked.days_before} days before expiry; a number from 1 to {MAX_DAYS} is possible.")
    if checked.certificate_id is None and not (checked.tag or checked.match_template or checked.issuer):
        raise InvalidArgument("The rule matches everything; name a certificate, tag, template or issuer.")
    return checked


def _facts(fields: RuleFields) -> dict[str, str | int]:
    return {name: value if isinstance(value, int) else str(value or "") for name, value in asdict(fields).items()}


def _found(connection: Connection, rule_id: int) -> RenewalRule:
    found = rows.rule(connection, rule_id)
    if found is None:
        raise InvalidArgument(f"There is no renewal rule number {rule_id}.")
    return found


def _taken(name: str) -> InvalidArgument:
    return InvalidArgument(f"There is a renewal rule called {name!r} already; choose another name.")
