"""Orders: placed, listed, asked after, fetched, removed. How one travels stands in `submitting`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from certwright.adcs.errors import AdcsError, BadRequest, BadRequestState, CaUnreachable, InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.adcs.interfaces import Forecast
from certwright.database import Connection, ConstraintViolated
from certwright.manager import store
from certwright.manager import store_orders as rows
from certwright.manager import store_renewal as renewals
from certwright.manager.answers import unknown_order
from certwright.manager.changes import Change, Changes
from certwright.manager.fetching import Fetching
from certwright.manager.inventory_values import MAX_PAGE, BulkResult
from certwright.manager.keys import Keys, MadeKey
from certwright.manager.services import Services
from certwright.manager.store_orders import NewOrder
from certwright.manager.store_renewal import RenewalState
from certwright.manager.submitting import FIRST_CHECK, LEASE, Submissions, back_off
from certwright.manager.values import (
    MAX_DAYS,
    Health,
    Order,
    OrderFields,
    OrderQuery,
    OrderState,
    OrderTab,
    Service,
    StoryLine,
    clean_tags,
    key,
    optional_text,
    required_text,
    seconds,
    storable,
)
from certwright.pki.armor import dearmor
from certwright.pki.errors import EncodingError, SignatureError
from certwright.pki.names import common_name, format_name
from certwright.pki.pkcs10 import CertificationRequest

log = structlog.get_logger(__name__)

MAX_BULK: Final = 500
UNDO: Final = timedelta(hours=1)
"""How long a deleted record can be brought back."""
_BATCH: Final = 200  # orders asked after in one go
_MAX_SHOWN: Final = 4000


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What a request asks for, for people: nothing of it is sent by reading it."""

    subject: str
    common_name: str
    names: tuple[str, ...]
    key_name: str
    template: str
    sha256: str
    key_held: bool


@dataclass(frozen=True, slots=True)
class RouteStep:
    """A service an order would be sent to, in turn. `offers` is None where its templates were never read."""

    service: Service
    offers: bool | None

    @property
    def alive(self) -> bool:
        return self.service.health is not Health.DOWN


@dataclass(frozen=True, slots=True)
class OrderPage:
    """A page of orders, the newest first; `next` is `OrderQuery.before` of the next one."""

    rows: tuple[Order, ...]
    count: int
    next: int | None


class Orders:
    """Everything people and the clock do with orders."""

    def __init__(self, changes: Changes, services: Services, keys: Keys) -> None:
        self._changes = changes
        self._services = services
        self._keys = keys
        self._submissions = Submissions(changes, services)
        self._fetching = Fetching(changes, services)

    # -- reading -----------------------------------------------------------------------------------------------

    def get(self, order_id: int) -> Order:
        """Raises:
        InvalidArgument: there is none of that number.
        """
        with self._changes.database.read() as connection:
            return _found(connection, order_id)

    def list(self, query: OrderQuery = OrderQuery()) -> OrderPage:  # noqa: B008 - a frozen value
        """A page of orders.

        Raises:
            InvalidArgument: the page would be too long.
        """
        if not 1 <= query.limit <= MAX_PAGE:
            raise InvalidArgument(f"A page has 1 to {MAX_PAGE} rows, not {query.limit}.")
        with self._changes.database.read() as connection:
            found = rows.orders(connection, query)
            counted = rows.count_orders(connection, query)
        page = tuple(found[: query.limit])
        return OrderPage(page, counted, page[-1].id if len(found) > query.limit else None)

    def tabs(self, query: OrderQuery = OrderQuery()) -> OrderTab:  # noqa: B008 - a frozen value
        """How many orders each tab has, under the other filters of a query."""
        with self._changes.database.read() as connection:
            return rows.tab_counts(connection, query)

    def story(self, order_id: int) -> Sequence[StoryLine]:
        """What happened to an order, in its order."""
        with self._changes.database.read() as connection:
            _found(connection, order_id)
            return rows.story(connection, order_id)

    def csr(self, order_id: int) -> bytes:
        """The request (DER)."""
        with self._changes.database.read() as connection:
            attempt = rows.attempt(connection, order_id)
        if attempt is None:
            raise unknown_order(order_id)
        return attempt.csr

    def read_request(self, csr: bytes) -> RequestFacts:
        """What a request asks for.

        Raises:
            BadRequest: it cannot be read, or is not signed by its own key.
        """
        request = _parsed(csr)
        return RequestFacts(
            subject=format_name(request.subject),
            common_name=common_name(request.subject),
            names=tuple(map(str, request.alternative_names)),
            key_name=str(request.public_key),
            template=request.template_name,
            sha256=request.sha256,
            key_held=self._keys.holds(hashlib.sha256(request.public_key_info).hexdigest()),
        )

    def route(self, domain: str, template: str) -> Sequence[RouteStep]:
        """Where an order would go, in turn."""
        wanted = key(template)
        return [
            RouteStep(
                service,
                None
                if service.template_count is None
                else wanted in {key(each.name) for each in self._services.templates(service.id)},
            )
            for service in self._submissions.route(domain, template)
        ]

    def forecast(self, domain: str, template: str, csr: bytes) -> tuple[Service, Forecast]:
        """What the service that would be asked first would decide, now; it is handed nothing.

        Raises:
            BadRequest: the request cannot be read.
            NotSupported: that CA does not tell.
            AdcsError: it would refuse the device user.
        """
        route = self.route(domain, template)
        if not route:
            raise InvalidArgument(f"{domain} has no AD CS service; add one under Accounts.")
        service = next((step.service for step in route if step.alive), route[0].service)
        credential = self._services.credential(service)
        return service, self._services.reach.forecast(service, credential, _parsed(csr).der, template)

    # -- placing -----------------------------------------------------------------------------------------------

    def place(self, fields: OrderFields, *, actor: str) -> Order:
        """Write an order down, send it, and take in the answer.

        The order is there when this raises for a reason of the way, too: its state says how far it came.

        Raises:
            BadRequest: the request cannot be read.
            InvalidArgument: a field breaks a rule, or the domain has no service.
        """
        return self.place_renewal(fields, actor=actor)

    def place_renewal(
        self,
        fields: OrderFields,
        *,
        actor: str,
        renews: int | None = None,
        claim: Callable[[Connection, int], None] = lambda connection, order_id: None,
    ) -> Order:
        """As `place`, for the renewal of a certificate.

        Args:
            renews: the certificate's number.
            claim: called with the order's number in the transaction that writes it; what it raises undoes that.
        """
        if fields.token and (existing := self._by_token(fields.token)) is not None:
            return existing
        made = self._made(fields)
        new = self._checked(fields, made.csr if made is not None else fields.csr, actor, renews)
        try:
            with self._changes.change(actor) as change:
                order_id = self._insert(change, fields, new, made)
                claim(change.connection, order_id)
        except ConstraintViolated:
            if fields.token and (existing := self._by_token(fields.token)) is not None:
                return existing  # the same page, sent twice at once
            raise
        self._send(order_id, actor)
        return self.get(order_id)

    def resubmit(self, order_id: int, *, actor: str) -> Order:
        """Send an order again of which nothing exists at any CA.

        Raises:
            BadRequestState: something may exist: it is looked for first.
        """
        order = self.get(order_id)
        if not order.may_resubmit:
            raise BadRequestState(
                f"Order {order_id} may exist at {order.hostname or 'its CA'}: look for it before it is sent again."
                if order.state is OrderState.LOST
                else f"Order {order_id} is {order.state.word.lower()} and is not sent again; place a new order."
            )
        with self._changes.change(actor) as change:
            lease = change.when + int(LEASE.total_seconds())
            if not rows.begin_again(change.connection, order_id, order.state, lease):
                raise BadRequestState(f"Order {order_id} was changed meanwhile; look at it again.")
            rows.add_line(change.connection, order_id, change.when, f"Sent again by {actor}.")
            change.record(
                AuditEvent.ORDER_PLACED,
                {"order": order_id, "again": "yes", "template": order.template, "common_name": order.common_name},
            )
            self._claim_again(change, order)
        self._send(order_id, actor)
        return self.get(order_id)

    @staticmethod
    def _claim_again(change: Change, order: Order) -> None:
        """A renewal is sent again only while no other order renews the same certificate."""
        if order.renews is None:
            return
        current = renewals.renewal(change.connection, order.renews)
        if current is not None and current.order_id == order.id and current.state is RenewalState.ORDERED:
            return
        if not renewals.claim(change.connection, order.renews, None, order.id, change.when):
            raise BadRequestState(f"Another order renews the certificate of order {order.id} already.")

    def _send(self, order_id: int, actor: str) -> None:
        self._submissions.submit(order_id, actor=actor)
        self._fetch_if_wanted(order_id, actor)

    def _fetch_if_wanted(self, order_id: int, actor: str) -> None:
        """An order that is issued and wants that goes into the inventory; where it fails, the clock tries again."""
        order = self.get(order_id)
        if order.state is not OrderState.ISSUED or not order.fetch or order.fetched:
            return
        try:
            self._fetching.fetch(order_id, actor=actor)
        except AdcsError as error:
            with self._changes.change(actor) as change:
                line = f"Not fetched yet: {error.message}"
                rows.add_line(change.connection, order_id, change.when, line)
                later = change.when + int(back_off(order.checks).total_seconds())
                rows.put_next_check(change.connection, order_id, later)

    def _by_token(self, token: str) -> Order | None:
        with self._changes.database.read() as connection:
            return rows.order_by_token(connection, token)

    def _made(self, fields: OrderFields) -> MadeKey | None:
        if (fields.key is None) == (not fields.csr):
            raise InvalidArgument("An order has either a request, or a key to be made here.")
        return self._keys.make(fields.key) if fields.key is not None else None

    def _checked(self, fields: OrderFields, csr: bytes, actor: str, renews: int | None) -> NewOrder:
        domain = required_text(fields.domain, "The domain")
        services = self._services.list(domain)
        if not services:
            known = ", ".join(self._services.domains()) or "none"
            raise InvalidArgument(f"{domain} has no AD CS service; add one under Accounts. Known domains: {known}.")
        request = _parsed(csr)
        owner = optional_text(fields.owner, "The owner") or actor
        names = [*map(str, request.alternative_names)]
        shown = common_name(request.subject) or (names[0].partition(":")[2] if names else "")
        return NewOrder(
            created_by=actor,
            domain=services[0].domain,
            template=required_text(fields.template, "The template", 64),
            common_name=storable(shown)[:255],
            subject=storable(format_name(request.subject))[:_MAX_SHOWN],
            names=storable(", ".join(names))[:_MAX_SHOWN],
            key_name=str(request.public_key),
            csr=request.der,
            csr_sha256=request.sha256,
            spki_sha256=hashlib.sha256(request.public_key_info).hexdigest(),
            owner=owner,
            tags=clean_tags(fields.tags),
            fetch=fields.fetch,
            token=storable(fields.token)[:100],
            renews=renews,
            renew_days=_renew_days(fields.renew_days),
        )

    def _insert(self, change: Change, fields: OrderFields, new: NewOrder, made: MadeKey | None) -> int:
        lease = change.when + int(LEASE.total_seconds())
        order_id = rows.insert_order(change.connection, new, change.when, lease)
        if made is not None:
            self._keys.insert(change.connection, made, change.when, change.actor)
            change.record(
                AuditEvent.PRIVATE_KEY_MADE,
                {"order": order_id, "algorithm": made.algorithm, "public_key_sha256": made.spki_sha256},
            )
        if fields.form_id is not None:
            store.count_form_use(change.connection, fields.form_id, change.when)
        made_here = "; its key was made here" if made is not None else ""
        rows.add_line(change.connection, order_id, change.when, f"Ordered by {change.actor}{made_here}.")
        change.record(
            AuditEvent.ORDER_PLACED,
            {
                "order": order_id,
                "domain": new.domain,
                "template": new.template,
                "common_name": new.common_name,
                "names": new.names,
                "csr_sha256": new.csr_sha256,
                "renews": new.renews or 0,
            },
        )
        return order_id

    # -- afterwards --------------------------------------------------------------------------------------------

    def check(self, order_id: int, *, actor: str) -> Order:
        """Ask after a pending order, or look for a lost one, now.

        Raises:
            BadRequestState: there is nothing to ask.
            AdcsError: the service could not be asked.
        """
        if self.get(order_id).state is OrderState.LOST:
            self._submissions.look_for(order_id, actor=actor)
        else:
            self._submissions.ask(order_id, actor=actor)
        self._fetch_if_wanted(order_id, actor)
        return self.get(order_id)

    def hasten(self, order_id: int) -> None:
        """Somebody watches an order that is not settled: the clock asks after it soon, at most once a minute."""
        order = self.get(order_id)
        if order.state not in (OrderState.PENDING, OrderState.LOST) or order.next_check is None:
            return
        now = self._changes.clock()
        asked = order.next_check - back_off(max(order.checks - 1, 0))
        if order.next_check > now and now - asked >= FIRST_CHECK:
            with self._changes.database.transaction() as connection:
                rows.put_next_check(connection, order_id, seconds(now))

    def look_for(self, order_id: int, *, actor: str) -> Order:
        """Look for an order whose answer was lost. Where it certainly is not there, `Order.may_resubmit` says so.

        Raises:
            BadRequestState: its answer is not lost.
            AdcsError: the service could not be asked.
        """
        self._submissions.look_for(order_id, actor=actor)
        self._fetch_if_wanted(order_id, actor)
        return self.get(order_id)

    def approve(self, order_id: int, *, actor: str) -> Order:
        """Issue a pending order as this installation's officer, where its CA is one of ours.

        Raises:
            AdcsError: this may not be done there; the order stays pending, with the reason.
        """
        self._submissions.approve(order_id, actor=actor)
        self._fetch_if_wanted(order_id, actor)
        return self.get(order_id)

    def fetch(self, order_id: int, *, actor: str) -> int:
        """Put certificate and chain into the inventory, once; its number there.

        Raises:
            BadRequestState: the order is not issued.
            AdcsError: the CA did not hand out the certificate.
        """
        return self._fetching.fetch(order_id, actor=actor)

    def fetch_many(self, order_ids: Sequence[int], *, actor: str) -> BulkResult:
        return self._each(order_ids, lambda order_id: self.fetch(order_id, actor=actor))

    def delete(self, order_ids: Sequence[int], *, actor: str) -> BulkResult:
        """Remove records, and nothing else: the CA keeps its requests. `restore` brings them back for an hour."""
        return self._each(order_ids, lambda order_id: self._delete(order_id, actor))

    def _delete(self, order_id: int, actor: str) -> None:
        with self._changes.change(actor) as change:
            order = _found(change.connection, order_id)
            if order.state is OrderState.SUBMITTING:
                raise BadRequestState(f"Order {order_id} is being sent; delete its record when it is answered.")
            rows.hide(change.connection, order_id, change.when, actor)
            renewals.forget_order(change.connection, [order_id])
            change.record(
                AuditEvent.ORDER_DELETED,
                {
                    "order": order_id,
                    "state": order.state.word,
                    "config": order.config,
                    "request_id": order.request_id or 0,
                    "common_name": order.common_name,
                },
            )

    def deleted(self, order_id: int) -> tuple[Order, str]:
        """An order whose record was removed and can be restored, and who removed it.

        Raises:
            InvalidArgument: there is no such record.
        """
        with self._changes.database.read() as connection:
            by, order = rows.deleted_by(connection, order_id), rows.order(connection, order_id, deleted=True)
        if by is None or order is None:
            raise unknown_order(order_id)
        return order, by

    def restore(self, order_id: int, *, actor: str) -> Order:
        """Undo a deletion.

        Raises:
            InvalidArgument: there is no such record any more.
        """
        with self._changes.change(actor) as change:
            if not rows.unhide(change.connection, order_id):
                raise unknown_order(order_id)
            change.record(AuditEvent.ORDER_DELETED, {"order": order_id, "undone": "yes"})
            return _found(change.connection, order_id)

    def _each(self, order_ids: Sequence[int], act: Callable[[int], object]) -> BulkResult:
        wanted = [*dict.fromkeys(order_ids)]
        if len(wanted) > MAX_BULK:
            raise InvalidArgument(f"{len(wanted)} orders are too many at once; at most {MAX_BULK} are taken.")
        finished: dict[int, None] = {}
        refused: dict[int, str] = {}
        for order_id in wanted:
            try:
                act(order_id)
                finished[order_id] = None
            except AdcsError as error:
                refused[order_id] = error.message
        return BulkResult(tuple(finished), refused)

    # -- on a clock --------------------------------------------------------------------------------------------

    def recover(self, *, actor: str, everything: bool = False) -> Sequence[int]:
        """Close what a crash left *submitting*: lost where it may have been sent, failed where it was not.

        Args:
            everything: do not wait for leases to end; for the only process of an installation, at its start.
        """
        return self._submissions.recover(actor=actor, everything=everything)

    def track(self, *, actor: str) -> tuple[Sequence[str], int | None]:
        """Ask after every order that is due; sentences of what came out, and when the next is due.

        A service that is not reached is not asked again in the same round.
        """
        said = [f"order {order_id}: its sender ended" for order_id in self.recover(actor=actor)]
        now = self._changes.clock()
        with self._changes.database.read() as connection:
            due = rows.due(connection, seconds(now), _BATCH)
        down: set[int] = set()
        for order_id, _, next_check in due:
            with self._changes.database.transaction() as connection:
                order = rows.order(connection, order_id)
                if order is None:
                    continue
                later = seconds(now + back_off(order.checks))
                if not rows.claim_check(connection, order_id, next_check, later):
                    continue
            if order.service_id in down:
                continue
            said += self._look(order, down, actor)
        with self._changes.database.transaction() as connection:
            gone = rows.purge(connection, seconds(now - UNDO))
        said += [f"order {order_id}: deleted record removed" for order_id in gone]
        with self._changes.database.read() as connection:
            times = [at for at in (rows.next_due(connection), rows.next_lease(connection)) if at is not None]
        return said, min(times, default=None)

    def _look(self, order: Order, down: set[int], actor: str) -> Sequence[str]:
        try:
            if order.state is OrderState.PENDING:
                self._submissions.ask(order.id, actor=actor)
            elif order.state is OrderState.LOST:
                self._submissions.look_for(order.id, actor=actor)
            self._fetch_if_wanted(order.id, actor)
        except CaUnreachable as error:
            if order.service_id is not None:
                down.add(order.service_id)
            return [f"order {order.id}: {error.message}"]
        except AdcsError as error:
            if isinstance(error, BadRequestState):  # its service is gone: nothing will change by asking
                with self._changes.database.transaction() as connection:
                    rows.put_next_check(connection, order.id, None)
            self._note(order, error.message, actor)
            return [f"order {order.id}: {error.message}"]
        after = self.get(order.id)
        if (after.state, after.fetched) == (order.state, order.fetched):
            return []
        return [f"order {order.id}: {after.state.word}{', fetched' if after.fetched else ''}"]

    def _note(self, order: Order, text: str, actor: str) -> None:
        """A line of the story, unless the last one says the same."""
        with self._changes.change(actor) as change:
            lines = rows.story(change.connection, order.id)
            line = f"Asked after: {text}"
            if not lines or lines[-1].text != line:
                rows.add_line(change.connection, order.id, change.when, line)


def _renew_days(days: int) -> int:
    """Raises:
    InvalidArgument: it is no number of days before expiry.
    """
    if not 0 <= days <= MAX_DAYS:
        raise InvalidArgument(f"{days} days before expiry; a number from 1 to {MAX_DAYS} is possible.")
    return days


def _parsed(csr: bytes) -> CertificationRequest:
    try:
        request = CertificationRequest.parse(dearmor(csr))
        request.verify_signature()
    except (EncodingError, SignatureError) as error:
        raise BadRequest(f"The certificate request cannot be used: {error}.") from error
    return request


def _found(connection: Connection, order_id: int) -> Order:
    found = rows.order(connection, order_id)
    if found is None:
        raise unknown_order(order_id)
    return found
