"""Orders: what is asked of which AD CS service, how it stands, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from django.http import HttpResponse
from ninja import Query, Router
from pydantic import Field, model_validator

from certwright.adcs.errors import BadRequestState, InvalidArgument, NotSupported
from certwright.console.access import Viewer
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.problems import Refused, named_in_the_path, not_there
from certwright.console.api.shapes import (
    PEM,
    BulkAnswer,
    Entered,
    Flag,
    Id,
    Line,
    Moment,
    Name,
    Number,
    PageSize,
    PathId,
    QueryId,
    Tags,
    TemplateName,
    Told,
    line,
    status_of,
)
from certwright.console.authority import MAX_PICKED, download
from certwright.console.pages.new_request import MAX_CSR
from certwright.console.pages.orders import is_own, may_act, may_restore
from certwright.console.rooms import rooms
from certwright.keystores.base import KeyAlgorithm
from certwright.manager import values
from certwright.manager.keys import trial_request
from certwright.manager.orders import OrderPage as FoundOrders
from certwright.manager.orders import RequestFacts, RouteStep
from certwright.manager.values import (
    MAX_ALTERNATIVE_NAMES,
    MAX_DAYS,
    AlternativeName,
    KeyFields,
    OrderFilter,
    OrderQuery,
)
from certwright.pki import armor, oids
from certwright.pki import names as dn

router = Router(tags=["Orders"])

MAX_TOKEN: Final = 64

AlternativeNames = Annotated[
    tuple[Annotated[str, line(1100, least=1)], ...],
    Field(
        max_length=MAX_ALTERNATIVE_NAMES,
        description="As in DNS:web.corp.example, IP:192.0.2.1, email:, UPN: or URI:",
        examples=[["DNS:web.corp.example"]],
    ),
]


class OrderState(StrEnum):
    SUBMITTING = "submitting"
    LOST = "lost"  # sent, and the answer was not seen
    PENDING = "pending"
    ISSUED = "issued"
    DENIED = "denied"
    FAILED = "failed"


class KeyToMake(Entered):
    """A key and request to be made here."""

    common_name: Line = ""
    subject: Annotated[str, line(1000), Field(description="What stands beside the common name: O=Corp,C=DE")] = ""
    names: AlternativeNames = ()
    algorithm: KeyAlgorithm = KeyAlgorithm.RSA_3072

    @property
    def fields(self) -> KeyFields:
        return KeyFields(
            self.algorithm,
            ",".join(part for part in (first_of_subject(self.common_name), self.subject.strip()) if part),
            alternative_names(self.names),
        )


class Asked(Entered):
    """Where it goes, and either a request or a key to make."""

    domain: Name
    template: TemplateName
    csr: Annotated[str, Field(max_length=MAX_CSR, description="PKCS#10 in PEM or base64")] = ""
    key: KeyToMake | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Asked:
        if bool(self.csr.strip()) == (self.key is not None):
            raise ValueError("send either csr or key")
        return self


class OrderEntered(Asked):
    owner: Annotated[Line, Field(description="Whoever orders, if empty")] = ""
    tags: Tags = ()
    fetch: Annotated[Flag, Field(description="Into the inventory by itself once it is issued")] = True
    renew_days: Annotated[
        Number, Field(ge=0, le=MAX_DAYS, description="Order its successor so many days before its end; 0: do not")
    ] = 0
    token: Annotated[
        str,
        line(MAX_TOKEN),
        Field(description="A number of your own: the same one again answers the same order, and orders nothing"),
    ] = ""


class OrderFilters(Entered):
    tab: OrderFilter = OrderFilter.ALL
    text: Annotated[Line, Field(description="The common name begins with it, or request ID or number is it")] = ""
    domain: Line = ""
    template: Line = ""
    owner: Annotated[Line, Field(description="Whoever owns or placed it")] = ""
    created_from: Moment | None = None
    created_until: Moment | None = None
    before: Annotated[QueryId | None, Field(description="The member next of the page before")] = None
    limit: PageSize = 25


class SomeOrders(Entered):
    ids: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MAX_PICKED)]


class Order(Told):
    id: int
    created: datetime
    created_by: str
    state: OrderState
    domain: str
    template: str
    common_name: str
    subject: str
    names: str
    key_name: str
    key_held: bool
    csr_sha256: str
    service_id: int | None
    hostname: str
    config: str
    requester: str
    request_id: int | None
    status: str  # HRESULT
    symbol: str
    message: str
    approval: str
    may_resubmit: bool
    settled: datetime | None
    sent: datetime | None
    next_check: datetime | None
    owner: str
    tags: list[str]
    fetch: bool
    certificate_id: int | None  # in the inventory, once fetched
    renews: int | None
    renew_days: int


class StoryLine(Told):
    when: datetime
    text: str


class OrderDetails(Order):
    story: list[StoryLine]


class OrderPage(Told):
    """The newest first. `count` ends at 10,001, which means more than 10,000."""

    rows: list[Order]
    count: int
    next: int | None


class OrderCounts(Told):
    all: int
    pending: int
    to_fetch: int
    issued: int
    denied: int
    unsettled: int


class Route(Told):
    """A service that the order would be sent to, in turn. `offers` is null where its templates were never read."""

    service_id: int
    hostname: str
    priority: int
    offers: bool | None
    alive: bool


class PolicyCheck(Told):
    rule: str
    passed: bool
    message: str


class Forecast(Told):
    """What the first service's CA would decide now. It is handed nothing, and promises nothing."""

    disposition: str
    status: str
    symbol: str
    message: str
    checks: list[PolicyCheck]


class Examined(Told):
    subject: str
    names: list[str]
    key_name: str
    template: str  # named in the request
    key_held: bool
    route: list[Route]
    forecast: Forecast | None  # null where that CA does not tell


class Fetched(Told):
    certificate_id: int


def first_of_subject(common_name: str) -> str:
    """The common name as the first part of a subject."""
    name = common_name.strip()
    return dn.format_name(dn.name_of((oids.COMMON_NAME, name))) if name else ""


def alternative_names(texts: Sequence[str]) -> tuple[AlternativeName, ...]:
    return tuple(AlternativeName.parse(text) for text in texts)


def order_of(order: values.Order) -> Order:
    return Order(**_members(order))


def _members(order: values.Order) -> dict[str, Any]:
    copied = {name: getattr(order, name) for name in Order.model_fields if hasattr(order, name)}
    return (
        copied
        | status_of(order.status)
        | {
            "state": OrderState(order.state.name.lower()),
            "tags": list(order.tags),
        }
    )


def order_for(viewer: Viewer, order_id: int, *, to_act: bool = False) -> values.Order:
    """An order that the caller may see, or act on; somebody else's is as if it were not there."""
    with named_in_the_path():
        order: values.Order = rooms().manager.orders.get(order_id)
    if not (viewer.sees_everything or is_own(viewer, order)) or (to_act and not may_act(viewer, order)):
        raise not_there(f"order number {order_id}")
    return order


@operation(router, "GET", "/orders", OrderPage)
def list_orders(request: ApiRequest, asked: Query[OrderFilters]) -> OrderPage:
    """List orders, the newest first; requesters get their own.

    The next page begins `before` the number that `next` names.
    """
    found: FoundOrders = rooms().manager.orders.list(_query(request.viewer, asked))
    return OrderPage(rows=[order_of(each) for each in found.rows], count=found.count, next=found.next)


@operation(router, "GET", "/orders/counts", OrderCounts)
def count_orders(request: ApiRequest) -> OrderCounts:
    """Count orders by how they stand; requesters count their own."""
    query = _query(request.viewer, OrderFilters())
    return OrderCounts.model_validate(rooms().manager.orders.tabs(query))


def _query(viewer: Viewer, asked: OrderFilters) -> OrderQuery:
    if not viewer.sees_everything and asked.owner and values.key(asked.owner) != values.key(viewer.account):
        raise InvalidArgument("Your own orders are all you see; leave the owner out.")
    return OrderQuery(
        tab=asked.tab,
        text=asked.text,
        domain=asked.domain,
        template=asked.template,
        owner=asked.owner if viewer.sees_everything else viewer.account,
        created_from=asked.created_from,
        created_until=asked.created_until,
        before=asked.before,
        limit=asked.limit,
    )


@operation(router, "POST", "/orders/examine", Examined)
def examine_request(request: ApiRequest, entered: Asked) -> Examined:
    """Read what would be ordered, and where it would go; nothing is sent.

    The signature of a request is checked too.
    """
    manager = rooms().manager
    route: Sequence[RouteStep] = manager.orders.route(entered.domain, entered.template)
    steps = [
        Route(
            service_id=each.service.id,
            hostname=each.service.hostname,
            priority=each.service.priority,
            offers=each.offers,
            alive=each.alive,
        )
        for each in route
    ]
    csr = entered.csr.encode() if entered.key is None else trial_request(entered.key.fields)
    facts: RequestFacts = manager.orders.read_request(csr)
    return Examined(
        subject=facts.subject,
        names=list(facts.names),
        key_name=facts.key_name if entered.key is None else entered.key.algorithm.value,
        template=facts.template,
        key_held=facts.key_held,
        route=steps,
        forecast=_forecast(entered, csr) if steps else None,
    )


def _forecast(entered: Asked, csr: bytes) -> Forecast | None:
    try:
        _service, found = rooms().manager.orders.forecast(entered.domain, entered.template, csr)
    except NotSupported:
        return None
    return Forecast(
        disposition=found.disposition.name.lower(),
        **status_of(found.status),
        message=found.message,
        checks=[PolicyCheck.model_validate(each) for each in found.checks],
    )


@operation(router, "POST", "/orders", Order, status=201)
def place_order(request: ApiRequest, entered: OrderEntered) -> Order:
    """Order a certificate.

    The order is written down, sent to the first service of the domain that can be reached, and answered as it then
    stands: issued, pending, denied, or failed with the reason. A repetition with the same `token` answers the same
    order.
    """
    viewer = request.viewer
    fields = values.OrderFields(
        domain=entered.domain,
        template=entered.template,
        csr=entered.csr.encode(),
        key=entered.key.fields if entered.key is not None else None,
        owner=entered.owner,
        tags=entered.tags,
        fetch=entered.fetch,
        renew_days=entered.renew_days,
        token=own_token(viewer, entered.token),
    )
    return order_of(rooms().manager.orders.place(fields, actor=viewer.account))


def own_token(viewer: Viewer, token: str) -> str:
    """A token counts for the account that sent it: nobody gets somebody else's order by guessing theirs."""
    return f"api:{viewer.id}:{token}" if token else ""


@operation(router, "GET", "/orders/{int:order_id}", OrderDetails)
def get_order(request: ApiRequest, order_id: PathId) -> OrderDetails:
    """Show an order with its story."""
    order = order_for(request.viewer, order_id)
    story = [StoryLine.model_validate(each) for each in rooms().manager.orders.story(order_id)]
    return OrderDetails(**_members(order), story=story)


@operation(router, "GET", "/orders/{int:order_id}/request", produces=PEM)
def get_order_request(request: ApiRequest, order_id: PathId) -> HttpResponse:
    """Download the certificate request as it was sent, in PEM."""
    order_for(request.viewer, order_id)
    text = armor.armor(armor.CERTIFICATE_REQUEST, rooms().manager.orders.csr(order_id))
    return download(f"order-{order_id}.csr", text.encode(), PEM)


@operation(router, "GET", "/orders/{int:order_id}/certificate", produces=PEM)
def get_order_certificate(request: ApiRequest, order_id: PathId) -> HttpResponse:
    """Download the certificate with its chain, in PEM, once it is fetched into the inventory."""
    order = order_for(request.viewer, order_id)
    if order.certificate_id is None:
        raise BadRequestState(
            f"Order {order_id} is {order.state.word.lower()} and not fetched; fetch it once it is issued."
        )
    text = rooms().manager.exporting.pem([order.certificate_id], with_chain=True)
    return download(f"order-{order_id}.pem", text, PEM)


@operation(router, "POST", "/orders/fetch", BulkAnswer)
def fetch_orders(request: ApiRequest, entered: SomeOrders) -> BulkAnswer:
    """Put the certificates of up to 100 issued orders into the inventory, each by itself."""
    allowed, refused = _to_act_on(request.viewer, entered.ids)
    return BulkAnswer.of(rooms().manager.orders.fetch_many(allowed, actor=request.viewer.account), refused)


@operation(router, "POST", "/orders/delete", BulkAnswer)
def delete_orders(request: ApiRequest, entered: SomeOrders) -> BulkAnswer:
    """Remove the records of up to 100 orders, and nothing else; within an hour each can be restored."""
    allowed, refused = _to_act_on(request.viewer, entered.ids)
    return BulkAnswer.of(rooms().manager.orders.delete(allowed, actor=request.viewer.account), refused)


def _to_act_on(viewer: Viewer, ids: Sequence[int]) -> tuple[list[int], dict[int, str]]:
    """Those that the caller may act on, each once; and why not the others."""
    allowed: list[int] = []
    refused: dict[int, str] = {}
    for number in dict.fromkeys(ids):
        try:
            allowed.append(order_for(viewer, number, to_act=True).id)
        except Refused as error:
            refused[number] = error.problem.detail
    return allowed, refused


@operation(router, "POST", "/orders/{int:order_id}/check", Order)
def check_order(request: ApiRequest, order_id: PathId) -> Order:
    """Ask after a pending order, or look for one whose answer was lost, now."""
    order_for(request.viewer, order_id, to_act=True)
    return order_of(rooms().manager.orders.check(order_id, actor=request.viewer.account))


@operation(router, "POST", "/orders/{int:order_id}/fetch", Fetched)
def fetch_order(request: ApiRequest, order_id: PathId) -> Fetched:
    """Put certificate and chain into the inventory; a second time answers the same certificate."""
    order_for(request.viewer, order_id, to_act=True)
    return Fetched(certificate_id=rooms().manager.orders.fetch(order_id, actor=request.viewer.account))


@operation(router, "POST", "/orders/{int:order_id}/resubmit", Order)
def resubmit_order(request: ApiRequest, order_id: PathId) -> Order:
    """Send an order again that certainly exists at no CA."""
    order_for(request.viewer, order_id, to_act=True)
    return order_of(rooms().manager.orders.resubmit(order_id, actor=request.viewer.account))


@operation(router, "DELETE", "/orders/{int:order_id}")
def delete_order(request: ApiRequest, order_id: PathId) -> None:
    """Remove the record of an order, and nothing else.

    The CA keeps the request. Within an hour the record can be restored.
    """
    order_for(request.viewer, order_id, to_act=True)
    result = rooms().manager.orders.delete([order_id], actor=request.viewer.account)
    if order_id in result.refused:
        raise BadRequestState(result.refused[order_id])


@operation(router, "POST", "/orders/{int:order_id}/restore", Order)
def restore_order(request: ApiRequest, order_id: PathId) -> Order:
    """Take a deletion back, within an hour; requesters take back their own."""
    if not may_restore(request.viewer, order_id):
        raise not_there(f"deleted order number {order_id}")
    with named_in_the_path():
        return order_of(rooms().manager.orders.restore(order_id, actor=request.viewer.account))
