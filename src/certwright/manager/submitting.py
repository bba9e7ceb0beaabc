"""An order on its way: sent once, answered, lost and found, approved. The rows come first, then what they tell of.

What keeps an order from being lost or doubled, whenever this process ends:

1. `sent` is written before anything leaves this machine. A row without it was never sent; one with it may exist at
   its CA, and is looked for before it is sent again.
2. Only a service that was certainly not reached lets the next one have the order.
3. Every step compares the state it expects and sets the next one. A late answer belongs to the attempt it answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog

from certwright.adcs.errors import AdcsError, BadRequestState, CaUnreachable, HResult, NoSuchRequest
from certwright.adcs.events import AuditEvent, LifecycleKind
from certwright.adcs.interfaces import CertRequest
from certwright.adcs.request import Response, template_attributes
from certwright.connectors.errors import AnswerLost, WrongCertificate
from certwright.manager import store
from certwright.manager import store_orders as rows
from certwright.manager import store_renewal as renewals
from certwright.manager.answers import Noted, chain_of, judged, line_of, order_facts, unknown_order
from certwright.manager.changes import Change, Changes
from certwright.manager.services import Services
from certwright.manager.store_orders import Attempt
from certwright.manager.values import Order, OrderState, Service, key, seconds
from certwright.pki.pkcs10 import CertificationRequest

log = structlog.get_logger(__name__)

LEASE: Final = timedelta(minutes=5)
"""How long whoever submits an order may take; longer than any connector waits for an answer."""
FIRST_CHECK: Final = timedelta(minutes=1)
LAST_CHECK: Final = timedelta(hours=1)
"""Pending and lost orders are asked after at growing intervals, from the first to the last."""
RENEW_AGAIN: Final = timedelta(days=1)

_TOLD: Final = {
    OrderState.ISSUED: LifecycleKind.ORDER_ISSUED,
    OrderState.PENDING: LifecycleKind.ORDER_PENDING,
    OrderState.DENIED: LifecycleKind.ORDER_DENIED,
    OrderState.FAILED: LifecycleKind.ORDER_FAILED,
    OrderState.LOST: LifecycleKind.ORDER_LOST,
}


def back_off(checks: int) -> timedelta:
    """How long to wait after so many looks."""
    return min(FIRST_CHECK * (1 << min(checks, 20)), LAST_CHECK)


class Submissions:
    """Sends orders, and takes in what becomes of them."""

    def __init__(self, changes: Changes, services: Services) -> None:
        self._changes = changes
        self._services = services

    # -- sending -----------------------------------------------------------------------------------------------

    def route(self, domain: str, template: str) -> list[Service]:
        """The services of a domain in the order in which they are asked.

        Those that are known not to offer the template are left out, unless none is known to offer it: a CA may issue
        what its pages do not list.
        """
        wanted = key(template)
        every = list(self._services.list(domain))
        offering = []
        for service in every:
            offered = {key(each.name) for each in self._services.templates(service.id)}
            if service.template_count is None or wanted in offered:
                offering.append(service)
        return offering or every

    def submit(self, order_id: int, *, actor: str) -> None:
        """Send an order that is *submitting* to the first service that is reached."""
        attempt = self._attempt(order_id)
        tried: list[int] = []
        problems: list[str] = []
        for service in self.route(attempt.order.domain, attempt.order.template):
            try:
                door = self._services.door(service)
            except AdcsError as error:  # nobody was asked: its secret does not open, or its account is gone
                problems.append(f"{service.hostname}: {error.message}")
                self._line(order_id, f"{service.hostname} cannot be used: {error.message}", actor)
                continue
            sent = self._about_to_send(order_id, service, door, actor)
            if sent is None:
                return
            try:
                response = door.submit(attempt.csr, template_attributes(attempt.order.template))
            except AnswerLost as error:
                self._lost(order_id, service, sent, error.message, error.request_id, actor)
                return
            except CaUnreachable as error:
                tried.append(service.id)
                problems.append(f"{service.hostname}: {error.message}")
                self._services.note(service, error.message)
                if not self._not_reached(order_id, service, tried, error.message, actor):
                    return
            except AdcsError as error:
                self._refused(order_id, service, sent, error, actor)
                return
            else:
                self._services.note(service, "")
                self.answered(order_id, service, response, actor=actor, attempt=sent)
                return
        self._nobody(order_id, attempt.order, problems, actor)

    def _about_to_send(self, order_id: int, service: Service, door: CertRequest, actor: str) -> int | None:
        with self._changes.change(actor) as change:
            taken = rows.about_to_send(
                change.connection,
                order_id,
                service_id=service.id,
                hostname=service.hostname,
                priority=service.priority,
                config=service.config or door.config,
                requester=service.username,
                last_known_id=service.last_request_id,
                when=change.when,
                lease=change.when + int(LEASE.total_seconds()),
            )
            if not taken:
                return None
            rows.add_line(
                change.connection,
                order_id,
                change.when,
                f"Sent to {service.hostname} (priority {service.priority}) as {service.username}.",
            )
            return change.when

    def _not_reached(self, order_id: int, service: Service, tried: list[int], why: str, actor: str) -> bool:
        with self._changes.change(actor) as change:
            lease = change.when + int(LEASE.total_seconds())
            if not rows.not_sent(change.connection, order_id, tried, lease):
                return False
            rows.add_line(
                change.connection,
                order_id,
                change.when,
                f"{service.hostname} was not reached, nothing was sent: {why}",
            )
            return True

    def _lost(self, order_id: int, service: Service, sent: int, why: str, request_id: int | None, actor: str) -> None:
        self._services.note(service, why)
        with self._changes.change(actor) as change:
            moved = rows.settle(
                change.connection,
                order_id,
                (OrderState.SUBMITTING,),
                OrderState.LOST,
                request_id=request_id,
                status=int(HResult.ERROR_TIMEOUT),
                message=why,
                settled=None,
                next_check=change.when + int(FIRST_CHECK.total_seconds()),
                attempt=sent,
            )
            if moved:
                rows.add_line(
                    change.connection,
                    order_id,
                    change.when,
                    f"Sent, but no answer was seen: {why} It is looked for before it is sent again.",
                )
                self._tell(change, order_id)
        self._changes.deliver()

    def _refused(self, order_id: int, service: Service, sent: int, error: AdcsError, actor: str) -> None:
        """An answer that is no decision about a request: it failed before there was one."""
        exists = isinstance(error, WrongCertificate)
        with self._changes.change(actor) as change:
            self._settle(
                change,
                order_id,
                (OrderState.SUBMITTING, OrderState.LOST),
                OrderState.FAILED,
                status=int(error.status),
                message=error.message,
                request_id=error.request_id if isinstance(error, WrongCertificate) else None,
                sent=exists,
                attempt=sent,
                line=f"{service.hostname} refused it: {error.message}",
            )
        self._changes.deliver()

    def _nobody(self, order_id: int, order: Order, problems: Sequence[str], actor: str) -> None:
        message = (
            f"No service of {order.domain} was reached, and nothing was sent. {' '.join(problems)}"
            if problems
            else f"{order.domain} has no AD CS service any more; add one under Accounts."
        )
        with self._changes.change(actor) as change:
            self._settle(
                change,
                order_id,
                (OrderState.SUBMITTING,),
                OrderState.FAILED,
                status=int(HResult.RPC_S_SERVER_UNAVAILABLE),
                message=message,
                request_id=None,
                sent=False,
                line=message,
            )
        self._changes.deliver()

    # -- answers -----------------------------------------------------------------------------------------------

    def answered(
        self,
        order_id: int,
        service: Service,
        response: Response,
        *,
        actor: str,
        attempt: int | None = None,
        may_approve: bool = True,
    ) -> OrderState | None:
        """Take in a CA's answer; the order's new state, or None when nothing changed by it."""
        with self._changes.change(actor) as change:
            current = rows.attempt(change.connection, order_id)
            if current is None:
                return None
            state, message = judged(current, response)
            if state is current.order.state:
                if message != current.order.message:
                    rows.put_message(change.connection, order_id, message)
                return None
            store.raise_request_id(change.connection, service.id, response.request_id)
            open_states = (OrderState.SUBMITTING, OrderState.LOST, OrderState.PENDING)
            moved = self._settle(
                change,
                order_id,
                open_states,
                state,
                status=int(response.status),
                message=message,
                request_id=response.request_id,
                attempt=attempt,
                line=line_of(state, response, message),
            )
            if not moved:
                return None
            if state is OrderState.ISSUED:
                rows.put_answer(change.connection, order_id, response.certificate, chain_of(response))
        self._changes.deliver()
        if state is OrderState.PENDING and may_approve:
            return self._approve_if_configured(order_id, actor) or state
        return state

    def _settle(
        self,
        change: Change,
        order_id: int,
        from_states: Sequence[OrderState],
        to: OrderState,
        *,
        status: int,
        message: str,
        request_id: int | None,
        line: str,
        sent: bool = True,
        attempt: int | None = None,
    ) -> bool:
        order = rows.order(change.connection, order_id)
        if order is None:
            return False
        next_check: int | None = None
        if to is OrderState.PENDING:
            next_check = change.when + int(FIRST_CHECK.total_seconds())
        elif to is OrderState.ISSUED and order.fetch:
            next_check = change.when  # a crash before it is fetched leaves that to the clock
        moved = rows.settle(
            change.connection,
            order_id,
            from_states,
            to,
            request_id=request_id,
            status=status,
            message=message,
            settled=change.when if to.is_settled else None,
            next_check=next_check,
            sent=sent,
            attempt=attempt,
        )
        if not moved:
            return False
        rows.add_line(change.connection, order_id, change.when, line)
        change.record(
            AuditEvent.ORDER_SETTLED,
            {
                "order": order_id,
                "state": to.word,
                "hostname": order.hostname,
                "config": order.config,
                "request_id": request_id or order.request_id or 0,
                "template": order.template,
                "common_name": order.common_name,
                "message": message,
            },
        )
        self._tell(change, order_id)
        if order.renews is not None and to in (OrderState.DENIED, OrderState.FAILED):
            self._renewal_failed(change, order, message)
        return True

    @staticmethod
    def _renewal_failed(change: Change, order: Order, message: str) -> None:
        found = renewals.renewal_by_order(change.connection, order.id)
        if found is None:
            return
        failures = renewals.put_failed(
            change.connection, found.certificate_id, found.rule_id, message, change.now + RENEW_AGAIN, change.when
        )
        if found.rule_id is not None:
            renewals.count_failure(change.connection, found.rule_id, f"{order.common_name}: {message}")
        change.tell(
            LifecycleKind.RENEWAL_FAILED,
            order.common_name,
            f"renewal/{found.certificate_id}/failed/{failures}",
            {**order_facts(order), "certificate": found.certificate_id, "message": message},
        )

    @staticmethod
    def _tell(change: Change, order_id: int) -> None:
        order = rows.order(change.connection, order_id)
        if order is None or order.state not in _TOLD:
            return
        sent = seconds(order.sent) if order.sent is not None else change.when
        change.tell(
            _TOLD[order.state],
            order.common_name or f"order {order.id}",
            f"order/{order.id}/{order.state.name.lower()}/{sent}",
            {**order_facts(order), "message": order.message},
        )

    # -- approval ----------------------------------------------------------------------------------------------

    def _approve_if_configured(self, order_id: int, actor: str) -> OrderState | None:
        with self._changes.database.read() as connection:
            order = rows.order(connection, order_id)
            service = store.service(connection, order.service_id or 0) if order is not None else None
        if order is None or service is None or order.approval or order.request_id is None:
            return None
        if key(order.template) not in {key(name) for name in service.approve_templates}:
            return None
        try:
            return self.approve(order_id, actor=actor, automatic=True)
        except AdcsError as error:
            log.info("order_not_approved", order=order_id, reason=error.message)
            return None

    def approve(self, order_id: int, *, actor: str, automatic: bool = False) -> OrderState | None:
        """Issue a pending order as this installation's officer.

        Raises:
            BadRequestState: it is not pending, or its service is gone.
            AdcsError: this may not be done there; the order stays pending, with the reason.
        """
        order, service = self._at_service(order_id)
        if order.state is not OrderState.PENDING or order.request_id is None:
            raise BadRequestState(f"Order {order_id} is not pending; it is {order.state.word.lower()}.")
        kind = "Automatic approval" if automatic else "Approval"
        with self._changes.change(actor) as change:
            rows.put_approval(change.connection, order_id, "asked")
            rows.add_line(change.connection, order_id, change.when, f"{kind} asked for by {actor}.")
        try:
            response = self._services.reach.approve(service, order.request_id)
        except AdcsError as error:
            with self._changes.change(actor) as change:
                rows.put_approval(change.connection, order_id, f"not approved: {error.message}")
                rows.add_line(change.connection, order_id, change.when, f"Not approved: {error.message}")
            raise
        with self._changes.change(actor) as change:
            rows.put_approval(change.connection, order_id, "approved")
            change.record(
                AuditEvent.ORDER_APPROVED,
                {
                    "order": order_id,
                    "request_id": order.request_id,
                    "config": order.config,
                    "template": order.template,
                    "common_name": order.common_name,
                    "automatic": "yes" if automatic else "no",
                },
            )
        return self.answered(order_id, service, response, actor=actor, may_approve=False)

    # -- asking again ------------------------------------------------------------------------------------------

    def ask(self, order_id: int, *, actor: str) -> OrderState | None:
        """Ask after a pending order; its new state, or None when it is still pending.

        Raises:
            BadRequestState: it is not pending, or its service is gone.
            AdcsError: the service could not be asked.
        """
        order, service = self._at_service(order_id)
        if order.state is not OrderState.PENDING or order.request_id is None:
            raise BadRequestState(f"Order {order_id} is not pending; it is {order.state.word.lower()}.")
        with self._noted(service):
            response = self._services.door(service).retrieve(order.request_id)
        return self.answered(order_id, service, response, actor=actor)

    def look_for(self, order_id: int, *, actor: str) -> OrderState | None:
        """Look for an order whose answer was lost; its new state when it was found.

        Where it certainly is not there, `Order.absent` is set and it may be sent again.

        Raises:
            BadRequestState: its answer is not lost, or its service is gone.
            AdcsError: the service could not be asked.
        """
        order, service = self._at_service(order_id)
        if order.state is not OrderState.LOST or order.sent is None:
            raise BadRequestState(f"The answer to order {order_id} is not lost; it is {order.state.word.lower()}.")
        attempt = self._attempt(order_id)
        with self._changes.database.read() as connection:
            known = rows.request_ids_of_others(connection, service.id, order_id, attempt.last_known_id)
            later = rows.first_id_sent_after(connection, service.id, seconds(order.sent + LEASE))
        with self._noted(service):
            response = self._told(service, order)
            if response is not None:
                return self.answered(order_id, service, response, actor=actor)
            found = self._services.reach.find_lost(
                service,
                self._services.credential(service),
                CertificationRequest.parse(attempt.csr).public_key_info,
                order.sent,
                attempt.last_known_id,
                known,
            )
            if found.request_id is not None:
                response = self._services.door(service).retrieve(found.request_id)
        if response is not None:
            return self.answered(order_id, service, response, actor=actor)
        quiet = self._changes.clock() - order.sent >= LEASE
        passed = later is not None and found.searched_to >= later
        absent = quiet and not found.undecided and (found.certain or passed)
        with self._changes.change(actor) as change:
            change.record(
                AuditEvent.ORDER_LOOKED_FOR,
                {"order": order_id, "config": order.config, "found": "no", "certain": "yes" if absent else "no"},
            )
            if absent and rows.put_absent(change.connection, order_id):
                line = f"Looked for: {service.hostname} certainly does not have it. It may be sent again."
                if order.renews is not None:
                    self._renewal_failed(change, order, "The answer was lost, and the CA does not have the request.")
            elif found.undecided:
                ids = ", ".join(map(str, found.undecided[:10]))
                line = f"Looked for: it may be one of the pending requests {ids}; their keys cannot be seen yet."
            else:
                line = f"Looked for up to request ID {found.searched_to}: not found yet."
            rows.add_line(change.connection, order_id, change.when, line)
        return None

    def _told(self, service: Service, order: Order) -> Response | None:
        """The request whose number the lost answer still told."""
        if order.request_id is None:
            return None
        try:
            return self._services.door(service).retrieve(order.request_id)
        except NoSuchRequest:
            return None

    def recover(self, *, actor: str, everything: bool = False) -> list[int]:
        """Orders that somebody began to submit and did not finish: what may have been sent is lost, the rest failed.

        Args:
            everything: do not wait for leases to end; for the only process of an installation, at its start.

        Returns:
            The orders.
        """
        now = self._changes.clock()
        with self._changes.database.read() as connection:
            found = rows.abandoned(connection, None if everything else seconds(now))
        for order_id in found:
            with self._changes.change(actor) as change:
                order = rows.order(change.connection, order_id)
                if order is None or order.state is not OrderState.SUBMITTING:
                    continue
                if order.sent is None:
                    self._settle(
                        change,
                        order_id,
                        (OrderState.SUBMITTING,),
                        OrderState.FAILED,
                        status=int(HResult.E_UNEXPECTED),
                        message="This program ended before anything was sent. It may be sent again.",
                        request_id=None,
                        sent=False,
                        line="This program ended before anything was sent.",
                    )
                    continue
                moved = rows.settle(
                    change.connection,
                    order_id,
                    (OrderState.SUBMITTING,),
                    OrderState.LOST,
                    request_id=None,
                    status=int(HResult.ERROR_TIMEOUT),
                    message="This program ended while the order was being sent.",
                    settled=None,
                    next_check=change.when,
                )
                if moved:
                    rows.add_line(
                        change.connection,
                        order_id,
                        change.when,
                        "This program ended while it was being sent; it is looked for before it is sent again.",
                    )
                    self._tell(change, order_id)
        if found:
            self._changes.deliver()
        return found

    # -- small things ------------------------------------------------------------------------------------------

    def _attempt(self, order_id: int) -> Attempt:
        with self._changes.database.read() as connection:
            found = rows.attempt(connection, order_id)
        if found is None:
            raise unknown_order(order_id)
        return found

    def _at_service(self, order_id: int) -> tuple[Order, Service]:
        with self._changes.database.read() as connection:
            order = rows.order(connection, order_id)
            service = store.service(connection, order.service_id) if order is not None and order.service_id else None
        if order is None:
            raise unknown_order(order_id)
        if service is None:
            raise BadRequestState(
                f"The AD CS service {order.hostname or 'of this order'} was deleted, so order {order_id} is no longer"
                " tracked; add the service again and order anew."
            )
        return order, service

    def _line(self, order_id: int, text: str, actor: str) -> None:
        with self._changes.change(actor) as change:
            rows.add_line(change.connection, order_id, change.when, text)

    def _noted(self, service: Service) -> Noted:
        return Noted(self._services, service)
