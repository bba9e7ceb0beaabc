"""From an issued order into the inventory: once, with its chain, beside its key."""

from __future__ import annotations

from dataclasses import replace

from certwright.adcs.errors import AdcsError, BadRequestState
from certwright.adcs.events import AuditEvent, LifecycleKind
from certwright.manager import store
from certwright.manager import store_inventory as certificates
from certwright.manager import store_orders as rows
from certwright.manager import store_renewal as renewals
from certwright.manager.answers import Noted, chain_of, judged, order_facts, unknown_order
from certwright.manager.changes import Change, Changes
from certwright.manager.inventory_values import Source
from certwright.manager.services import Services
from certwright.manager.store_inventory import NewCertificate
from certwright.manager.values import Order, OrderState, RuleFields, key
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import parse_certs_only
from certwright.pki.errors import EncodingError


class Fetching:
    """Puts what orders brought into the inventory."""

    def __init__(self, changes: Changes, services: Services) -> None:
        self._changes = changes
        self._services = services

    def fetch(self, order_id: int, *, actor: str) -> int:
        """The certificate's number in the inventory; the same one however often it is fetched.

        Raises:
            BadRequestState: the order is not issued.
            AdcsError: the CA did not hand out the certificate.
        """
        order = self._order(order_id)
        if order.certificate_id is not None:
            return order.certificate_id
        if order.state is not OrderState.ISSUED:
            raise BadRequestState(
                f"Order {order_id} is {order.state.word.lower()}; there is a certificate to fetch once it is issued."
            )
        view, chain = self._obtain(order, actor)
        with self._changes.change(actor) as change:
            order = rows.order(change.connection, order_id) or order  # somebody may have fetched it meanwhile
            if order.certificate_id is not None:
                return order.certificate_id
            certificate_id = self._put(change, order, view)
            for above in chain:
                self._put_above(change, above)
            rows.put_fetched(change.connection, order_id, certificate_id)
            rows.put_next_check(change.connection, order_id, None)
            rows.add_line(
                change.connection,
                order_id,
                change.when,
                f"Fetched into the inventory as certificate {certificate_id}.",
            )
            if order.renews is not None:
                self._supersede(change, order, certificate_id)
            if order.renew_days:
                self._renew_later(change, order, certificate_id, view)
            change.record(
                AuditEvent.ORDER_FETCHED,
                {
                    "order": order_id,
                    "certificate": certificate_id,
                    "common_name": view.common_name,
                    "serial": view.serial_number,
                    "sha256": view.sha256,
                },
            )
        self._changes.deliver()
        return certificate_id

    def _order(self, order_id: int) -> Order:
        with self._changes.database.read() as connection:
            found = rows.order(connection, order_id)
        if found is None:
            raise unknown_order(order_id)
        return found

    def _obtain(self, order: Order, actor: str) -> tuple[CertificateView, list[CertificateView]]:
        """The certificate, from the order or from its CA, and what is above it as far as anybody knows."""
        with self._changes.database.read() as connection:
            certificate, chain = rows.answer(connection, order.id)
            service = store.service(connection, order.service_id) if order.service_id is not None else None
            read_before = store.service_chain(connection, service.id) if service is not None else b""
        if certificate is None:
            if service is None or order.request_id is None:
                raise BadRequestState(
                    f"The CA did not hand out the certificate of order {order.id}, and its service was deleted; add"
                    " the service again."
                )
            with Noted(self._services, service):
                response = self._services.door(service).retrieve(order.request_id)
            certificate, chain = response.certificate, chain_of(response)
            with self._changes.change(actor) as change:
                attempt = rows.attempt(change.connection, order.id)
                if attempt is None or certificate is None:
                    raise AdcsError(
                        f"{service.hostname} hands out no certificate: {response.message}", response.status
                    )
                state, message = judged(attempt, response)
                if state is not OrderState.ISSUED:
                    raise AdcsError(message, response.status)
                rows.put_answer(change.connection, order.id, certificate, chain)
        try:
            view = CertificateView.parse(certificate)
        except EncodingError as error:
            raise AdcsError(f"The certificate of order {order.id} cannot be read: {error}.") from error
        return view, _above(view, [stored for stored in (chain, read_before) if stored])

    @staticmethod
    def _put(change: Change, order: Order, view: CertificateView) -> int:
        new = NewCertificate(
            source=Source.ORDER,
            managed=True,
            owner=order.owner,
            created_by=order.created_by,
            tags=order.tags,
            template=order.template,
            service_id=order.service_id,
            order_id=order.id,
            domain=order.domain,
        )
        certificate_id = certificates.insert_certificate(change.connection, view, new, change.when)
        if certificate_id is None:
            certificate_id = certificates.id_of(change.connection, view.sha256)
            if certificate_id is None:
                raise BadRequestState("The inventory changed while the certificate was fetched; fetch it again.")
            certificates.adopt(change.connection, certificate_id, new)
        held = certificates.has_key(change.connection, certificates.spki_sha256(view))
        certificates.add_line(
            change.connection,
            certificate_id,
            change.when,
            change.actor,
            f"Fetched from order {order.id}, request {order.request_id} at {order.hostname}"
            f"{'; paired with its private key.' if held else '; its private key is kept elsewhere.'}",
        )
        return certificate_id

    @staticmethod
    def _put_above(change: Change, view: CertificateView) -> None:
        new = NewCertificate(source=Source.CHAIN, managed=False, created_by=change.actor)
        added = certificates.insert_certificate(change.connection, view, new, change.when)
        if added is not None:
            certificates.add_line(change.connection, added, change.when, change.actor, "Came with a chain.")

    @staticmethod
    def _renew_later(change: Change, order: Order, certificate_id: int, view: CertificateView) -> None:
        """The rule of its own that an order asked for, once."""
        rules = renewals.rules(change.connection)
        if any(rule.fields.certificate_id == certificate_id for rule in rules):
            return
        shown = order.common_name or view.serial_number
        name = f"{shown[:200]}, order {order.id}"
        if any(key(rule.fields.name) == key(name) for rule in rules):
            return
        fields = RuleFields(name, order.renew_days, certificate_id=certificate_id)
        rule_id = renewals.insert_rule(change.connection, fields, change.when)
        change.record(
            AuditEvent.RENEWAL_RULE_CHANGED,
            {"change": "added", "rule": rule_id, "name": name, "certificate": certificate_id, "order": order.id},
        )
        line = f"To be renewed {order.renew_days} days before it expires."
        certificates.add_line(change.connection, certificate_id, change.when, change.actor, line)

    @staticmethod
    def _supersede(change: Change, order: Order, certificate_id: int) -> None:
        if order.renews is None or order.renews == certificate_id:
            return
        old = certificates.certificate(change.connection, order.renews)
        if old is None:
            return
        certificates.put_superseded(change.connection, old.id, certificate_id)
        renewals.put_renewed(change.connection, old.id, change.when)
        _hand_on(change, old.id, certificate_id)
        line = f"Renewed by order {order.id}: certificate {certificate_id}."
        certificates.add_line(change.connection, old.id, change.when, change.actor, line)
        change.tell(
            LifecycleKind.CERTIFICATE_RENEWED,
            old.common_name or old.serial,
            f"certificate/{old.sha256}/renewed/{order.id}",
            {**order_facts(order), "certificate": certificate_id, "old_certificate": old.id},
        )


def _hand_on(change: Change, old: int, new: int) -> None:
    """A renewal rule for one certificate goes on with its successor."""
    for rule in renewals.rules(change.connection):
        if rule.fields.certificate_id == old:
            renewals.update_rule(change.connection, rule.id, replace(rule.fields, certificate_id=new))
            change.record(
                AuditEvent.RENEWAL_RULE_CHANGED,
                {"change": "handed on", "rule": rule.id, "name": rule.fields.name, "certificate": new},
            )


def _above(view: CertificateView, stored: list[bytes]) -> list[CertificateView]:
    """The issuers of a certificate among what was handed over, the nearest first; nothing else of it."""
    known: list[CertificateView] = []
    for each in stored:
        for der in parse_certs_only(each):
            try:
                known.append(CertificateView.parse(der))
            except EncodingError:  # one strange certificate does not spoil the others
                continue
    chain: list[CertificateView] = []
    current = view
    while not current.is_self_issued and len(chain) < certificates.MAX_CHAIN:
        above = next((each for each in known if certificates.issued_by(current, each)), None)
        if above is None:
            break
        chain.append(above)
        current = above
    return chain
