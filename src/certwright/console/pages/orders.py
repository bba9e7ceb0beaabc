"""Orders: what was asked of which AD CS service, how it stands, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import HResult, InvalidArgument
from certwright.console import access, answers, search
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.authority import download
from certwright.console.dashboard import Step, Tile
from certwright.console.listing import Column, Filter, Listing
from certwright.console.menu import Badge
from certwright.console.pages.events import Event
from certwright.console.pages.new_request import ORDERING
from certwright.console.rooms import CaStanding, rooms
from certwright.console.states import STATES
from certwright.manager.inventory_values import BulkResult
from certwright.manager.values import Order, OrderFilter, OrderQuery, OrderState, OrderTab, StoryLine, key
from certwright.pki import armor

_HERE: Final = "/adcs/orders/"
_EVERYBODYS: Final = frozenset({Role.OPERATOR, Role.ADMINISTRATOR, Role.CERTIFICATE_MANAGER})
"""Who acts on everybody's orders; requesters act on their own."""

COLUMNS: Final = (
    Column("created", lazy("Created At"), css="cw-tight", sortable=False),
    Column("request_id", lazy("Request ID"), css="cw-tight cw-num", sortable=False),
    Column("common_name", lazy("Common Name"), css="cw-lead", sortable=False),
    Column("domain", lazy("ADCS Domain"), css="cw-tight", sortable=False),
    Column("template", lazy("Template"), css="cw-tpl", sortable=False),
    Column("status", lazy("Status"), css="cw-why cw-mark-s", sortable=False),
    Column("order", lazy("Order"), css="cw-tight cw-num", sortable=False, off=True),
    Column("hostname", lazy("Hostname"), css="cw-tight", sortable=False, off=True),
    Column("created_by", lazy("Ordered by"), css="cw-tight", sortable=False, off=True),
    Column("owner", lazy("Owner"), css="cw-tight", sortable=False, off=True),
    Column("settled", lazy("Settled At"), css="cw-tight", sortable=False, off=True),
)
TABS: Final = (
    (OrderFilter.ALL, lazy("All"), "all"),
    (OrderFilter.PENDING, lazy("Pending"), "pending"),
    (OrderFilter.TO_FETCH, lazy("Issued, not fetched"), "to_fetch"),
    (OrderFilter.ISSUED, lazy("Issued"), "issued"),
    (OrderFilter.DENIED, lazy("Denied"), "denied"),
    (OrderFilter.UNSETTLED, lazy("Unsettled"), "unsettled"),
)
_DAYS: Final = {"1": 1, "7": 7, "30": 30}
_ADVICE: Final = {
    OrderState.LOST: lazy(
        "It was sent and the answer was not seen. It is looked for at the CA; before that it is never sent again."
    ),
    OrderState.PENDING: lazy("A certificate manager of the CA decides. It is asked after by itself."),
    OrderState.DENIED: lazy("Change what the CA objects to, and place a new order."),
    OrderState.FAILED: lazy("Nothing was issued. Change what stands above, then order again."),
}


@page(access.ORDERS)
def orders(request: PageRequest, tab: OrderFilter = OrderFilter.ALL) -> HttpResponse:
    """The newest orders first; only their own for requesters."""
    services = rooms().manager.services
    domains = services.domains()
    templates = {each.name for domain in domains for each in services.domain_templates(domain)}
    listing = Listing.read(
        request,
        "orders",
        COLUMNS,
        sort="-created",
        search=lazy("Name, request ID, order"),
        filters=[
            Filter("domain", _("ADCS Domain"), _("All domains"), [(each, each) for each in domains]),
            Filter("template", _("Template"), _("All templates"), [(each, each) for each in sorted(templates)]),
            Filter(
                "created",
                _("Created At"),
                _("Any time"),
                [("1", _("Last 24 hours")), ("7", _("Last 7 days")), ("30", _("Last 30 days"))],
                wide_only=True,
            ),
        ],
    )
    query = _query(request.viewer, listing, tab)
    found = rooms().manager.orders.list(query)
    rows = [_row(request.viewer, order) for order in found.rows]
    listing.fill(rows, next_key=str(found.next) if found.next is not None else "")
    counts = rooms().manager.orders.tabs(replace(query, tab=OrderFilter.ALL, before=None))
    context = {
        "title": _("Orders"),
        "crumbs": [(_("Certificate Authorities (CA)"), ""), (_("ADCS"), "")],
        "listing": listing,
        "tabs": [
            {
                "label": label,
                "href": f"{_HERE}{each.value}/" if each is not OrderFilter.ALL else _HERE,
                "current": each is tab,
                "count": getattr(counts, name),
            }
            for each, label, name in TABS
        ],
        "may_order": request.viewer.is_any(ORDERING),
    }
    return answers.answer(request, "console/orders/list.html", context, rows="console/orders/rows.html")


def _query(viewer: Viewer, listing: Listing, tab: OrderFilter) -> OrderQuery:
    days = _DAYS.get(listing.value("created"))
    since: datetime | None = rooms().clock() - timedelta(days=days) if days else None
    before = listing.after
    return OrderQuery(
        tab=tab,
        text=listing.q,
        domain=listing.value("domain"),
        template=listing.value("template"),
        owner=_own(viewer),
        created_from=since,
        before=int(before) if before.isascii() and before.isdigit() and len(before) < 18 else None,
        limit=listing.size,
    )


def _own(viewer: Viewer) -> str:
    """Whose orders a viewer sees; empty for everybody's."""
    return "" if viewer.sees_everything else viewer.account


def _row(viewer: Viewer, order: Order) -> dict[str, Any]:
    return {
        "order": order,
        "name": _name(order),
        "more_names": max(0, len([each for each in order.names.split(", ") if each]) - 1),
        "state": order.state.name.lower(),
        "settled": order.state.is_settled,
        "message": order.message if order.state is not OrderState.ISSUED else "",
        **_acts(viewer, order),
    }


def _acts(viewer: Viewer, order: Order) -> dict[str, Any]:
    """What the viewer may do with an order, for its buttons and its menu."""
    own = _own_ca(viewer, order)
    officer = own is not None and viewer.on(own, Role.CERTIFICATE_MANAGER)
    again = {"domain": order.domain, "template": order.template, "common_name": order.common_name}
    names = "\n".join(name for name in order.names.split(", ") if name)
    return {
        "may_act": may_act(viewer, order),
        "may_order": viewer.is_any(ORDERING),
        "request_at_ca": f"/ca/{own.slug}/requests/{order.request_id}/" if officer and own is not None else "",
        "again": f"{_HERE}new/?{urlencode({**again, 'names': names})}",
    }


def _own_ca(viewer: Viewer, order: Order) -> CaStanding | None:
    """The CA of this installation that has the order's request; it checks itself who may do what there."""
    if order.request_id is None:
        return None
    wanted = order.config.casefold()
    return next((ca for ca in viewer.cas if ca.config.casefold() == wanted), None)


def _name(order: Order) -> str:
    return order.common_name or order.subject or _("Order %(id)s") % {"id": order.id}


def is_own(viewer: Viewer, order: Order) -> bool:
    return key(viewer.account) in (key(order.owner), key(order.created_by))


def may_act(viewer: Viewer, order: Order) -> bool:
    return viewer.is_any(_EVERYBODYS) or (viewer.may(Role.REQUESTER) and is_own(viewer, order))


def may_restore(viewer: Viewer, order_id: int) -> bool:
    """Is this a deletion that the viewer may take back? Requesters may where they deleted themselves."""
    try:
        order, deleted_by = rooms().manager.orders.deleted(order_id)
    except InvalidArgument:
        return False
    return may_act(viewer, order) and (viewer.is_any(_EVERYBODYS) or key(deleted_by) == key(viewer.account))


def _order(viewer: Viewer, order_id: int) -> Order:
    """An order that the viewer may see.

    Raises:
        Http404: there is none; somebody else's is as if it were not there.
    """
    try:
        order: Order = rooms().manager.orders.get(order_id)
    except InvalidArgument as error:
        raise Http404 from error
    if not viewer.sees_everything and not is_own(viewer, order):
        raise Http404
    return order


def _to_act_on(viewer: Viewer, order_id: int) -> Order:
    order = _order(viewer, order_id)
    if not may_act(viewer, order):
        raise Http404
    return order


@page(access.ORDERS)
def show(request: PageRequest, order_id: int) -> HttpResponse:
    """One order: a page, or what the drawer shows."""
    context = _picture(request.viewer, _order(request.viewer, order_id))
    return answers.answer(request, "console/orders/order.html", context, rows="console/orders/drawer.html")


@page(access.ORDERS)
def body(request: PageRequest, order_id: int) -> HttpResponse:
    """The order's page again, while it is not settled; the whole page once it is."""
    order = _order(request.viewer, order_id)
    if order.state.is_settled:
        return answers.done(request, f"{_HERE}{order_id}/")
    rooms().manager.orders.hasten(order_id)
    return render(request, "console/orders/page_body.html", _picture(request.viewer, order))


def _picture(viewer: Viewer, order: Order) -> dict[str, Any]:
    status = order.status
    service = _("%(host)s, priority %(priority)s") % {"host": order.hostname, "priority": order.priority}
    return {
        "title": _name(order),
        "name": _name(order),
        "crumbs": [(_("Certificate Authorities (CA)"), ""), (_("ADCS"), ""), (_("Orders"), _HERE)],
        "order": order,
        "state": order.state.name.lower(),
        "settled": order.state.is_settled,
        "code": f"0x{int(status) & 0xFFFFFFFF:08X}" if int(status) else "",
        "symbol": status.name if isinstance(status, HResult) else "",
        "advice": _ADVICE.get(order.state, ""),
        "facts": [
            (_("Request ID"), order.request_id),
            (_("Ordered by"), order.created_by),
            (_("Owner"), order.owner),
            (_("ADCS Domain"), order.domain),
            (_("AD CS service"), service if order.hostname else ""),
            (_("Requester"), order.requester),
            (_("Template"), order.template),
            (_("Disposition message"), order.message),
            (_("Subject"), order.subject),
            (_("SAN"), order.names),
            (
                _("Key"),
                _("%(key)s, stored here, encrypted") % {"key": order.key_name} if order.key_held else order.key_name,
            ),
            (_("Tags"), ", ".join(order.tags)),
        ],
        "story": _story(rooms().manager.orders.story(order.id)),
        **_acts(viewer, order),
    }


_LINES: Final = {
    "Issued": "green",
    "Fetched": "green",
    "Pending": "yellow",
    "Denied": "red",
    "Failed": "red",
    "Not ": "yellow",
    "Sent": "blue",
    "Ordered": "blue",
}
"""The dots of a story, by how its lines begin."""


def _story(lines: Sequence[StoryLine]) -> list[dict[str, Any]]:
    """The newest line first."""

    def colour(text: str) -> str:
        if "was not reached" in text or "no answer was seen" in text:
            return "yellow"
        return next((colour for start, colour in _LINES.items() if text.startswith(start)), "")

    return [{"text": line.text, "when": line.when, "colour": colour(line.text)} for line in reversed(lines)]


@page(access.ORDERS)
def row(request: PageRequest, order_id: int) -> HttpResponse:
    """One row of the list again, for rows that are not settled."""
    order = _order(request.viewer, order_id)
    rooms().manager.orders.hasten(order_id)
    listing = Listing.read(request, "orders", COLUMNS, sort="-created", path=_HERE)
    listing.only_rows = True
    listing.fill([_row(request.viewer, order)])
    return render(request, "console/orders/rows.html", {"listing": listing})


@page(access.ORDERS)
def csr(request: PageRequest, order_id: int) -> HttpResponse:
    """The request as it was sent, in PEM."""
    _order(request.viewer, order_id)
    data = armor.armor(armor.CERTIFICATE_REQUEST, rooms().manager.orders.csr(order_id)).encode()
    return download(f"order-{order_id}.csr", data, "application/x-pem-file")


# -- acts ------------------------------------------------------------------------------------------------------------


@page(ORDERING, methods=("POST",))
def fetch(request: PageRequest, order_id: int) -> HttpResponse:
    """Certificate and chain into the inventory; a second time leads to the same place."""
    _to_act_on(request.viewer, order_id)
    certificate_id = rooms().manager.orders.fetch(order_id, actor=request.viewer.account)
    return answers.done(request, f"/inventory/{certificate_id}/", _("Fetched into the inventory."))


@page(ORDERING, methods=("POST",))
def check(request: PageRequest, order_id: int) -> HttpResponse:
    """Ask after a pending order, or look for one whose answer was lost, now."""
    _to_act_on(request.viewer, order_id)
    order: Order = rooms().manager.orders.check(order_id, actor=request.viewer.account)
    return answers.done(request, f"{_HERE}{order_id}/", _("Order %(id)s: %(state)s") % _said(order))


def _said(order: Order) -> dict[str, Any]:
    return {"id": order.id, "state": order.state.word}


@page(ORDERING, methods=("POST",))
def resubmit(request: PageRequest, order_id: int) -> HttpResponse:
    """Send an order again that certainly exists nowhere."""
    _to_act_on(request.viewer, order_id)
    order: Order = rooms().manager.orders.resubmit(order_id, actor=request.viewer.account)
    return answers.done(request, f"{_HERE}{order_id}/", _("Order %(id)s: %(state)s") % _said(order))


@page(ORDERING, methods=("GET", "POST"))
def delete(request: PageRequest, order_id: int) -> HttpResponse:
    """Remove the record, and nothing else; it can be taken back for an hour."""
    order = _to_act_on(request.viewer, order_id)
    if request.method == "POST":
        result: BulkResult = rooms().manager.orders.delete([order.id], actor=request.viewer.account)
        if order.id in result.refused:
            return answers.done(request, _HERE, result.refused[order.id])
        return answers.done(request, _HERE, _("Record deleted"), undo=f"{_HERE}{order.id}/restore/")
    context = {
        "title": _("Delete the record of order %(id)s?") % {"id": order.id},
        "text": _("The CA keeps the request. If it is issued later, this console will not know."),
        "submit": _("Delete record"),
        "back": _HERE,
    }
    return answers.dialog(request, "console/ca/act.html", context)


@page(ORDERING, methods=("POST",))
def restore(request: PageRequest, order_id: int) -> HttpResponse:
    """Take a deletion back, within an hour."""
    if not may_restore(request.viewer, order_id):
        raise Http404
    rooms().manager.orders.restore(order_id, actor=request.viewer.account)
    return answers.done(request, f"{_HERE}{order_id}/")


def _picked(request: PageRequest) -> list[int]:
    """The ticked orders that the viewer may act on."""
    numbers = [int(each) for each in request.POST.getlist("pick")[:100] if each.isascii() and each.isdigit()]
    return [_to_act_on(request.viewer, number).id for number in numbers]


@page(ORDERING, methods=("POST",))
def fetch_many(request: PageRequest) -> HttpResponse:
    """Fetch the ticked ones, each by itself."""
    result: BulkResult = rooms().manager.orders.fetch_many(_picked(request), actor=request.viewer.account)
    return answers.done(request, _HERE, _summary(_("Fetched: %(count)s"), result))


@page(ORDERING, methods=("POST",))
def delete_many(request: PageRequest) -> HttpResponse:
    """Delete the records of the ticked ones."""
    result: BulkResult = rooms().manager.orders.delete(_picked(request), actor=request.viewer.account)
    return answers.done(request, _HERE, _summary(_("Records deleted: %(count)s"), result))


def _summary(words: str, result: BulkResult) -> str:
    reasons: Sequence[str] = list(dict.fromkeys(result.refused.values()))[:2]
    return " ".join((words % {"count": len(result.done)}, *reasons))


# -- elsewhere -------------------------------------------------------------------------------------------------------


def _tabs(viewer: Viewer) -> OrderTab:
    found: OrderTab = rooms().manager.orders.tabs(OrderQuery(owner=_own(viewer)))
    return found


def _badge(viewer: Viewer) -> Badge:
    return Badge(_tabs(viewer).pending, "yellow", _("orders pending"))


def _tiles(viewer: Viewer) -> list[Tile]:
    counts = _tabs(viewer)
    return [
        Tile(
            _("Orders to fetch"),
            counts.to_fetch,
            _("%(count)s pending") % {"count": counts.pending},
            f"{_HERE}to-fetch/",
            icon="download",
            colour="blue" if counts.to_fetch else "gray",
            order=50,
        )
    ]


def _find(viewer: Viewer, query: search.Query) -> list[search.Hit]:
    """Orders by name, number or request ID."""
    if not viewer.is_any(access.ORDERS) or not query.text:
        return []
    wanted = OrderQuery(text=query.text, owner=_own(viewer), limit=search.MAX_HITS)
    return [
        search.Hit(
            search.ORDERS,
            _name(order),
            _("Order %(id)s, %(template)s") % {"id": order.id, "template": order.template},
            f"{_HERE}{order.id}/",
            icon="clipboard-list",
            exact=query.number in (order.id, order.request_id),
        )
        for order in rooms().manager.orders.list(wanted).rows
    ]


def _first_order(viewer: Viewer) -> Step:
    """Row 5 of the checklist."""
    return Step(
        _("Order the first certificate"),
        _("Paste a request, or have key and request made here; once it is issued it is in the inventory."),
        done=bool(rooms().manager.orders.list(OrderQuery(limit=1)).rows),
        act=_("New request") if viewer.is_any(ORDERING) else "",
        href=f"{_HERE}new/" if viewer.is_any(ORDERING) else "",
    )


def _events(viewer: Viewer) -> Iterable[Event]:
    """What became of the newest orders."""
    if not viewer.is_any(access.ORDERS):
        return
    for order in rooms().manager.orders.list(OrderQuery(owner=_own(viewer), limit=50)).rows:
        if order.settled is None and order.state is not OrderState.LOST:
            continue
        more = order.message if order.state is not OrderState.ISSUED else _("Order %(id)s") % {"id": order.id}
        if order.state is OrderState.ISSUED and not order.fetched:
            more = _("Order %(id)s, not fetched yet") % {"id": order.id}
        yield Event(
            order.settled or order.sent or order.created,
            STATES[order.state.name.lower()],
            _name(order),
            more,
            f"{_HERE}{order.id}/",
        )


badges = {_HERE: _badge}
recent_events = [_events]
first_run_steps = {5: _first_order}
dashboard_tiles = [_tiles]
finders = [_find]

urls = [
    path("adcs/orders/", orders),
    *(
        path(f"adcs/orders/{each.value}/", orders, {"tab": each})
        for each in OrderFilter
        if each is not OrderFilter.ALL
    ),
    path("adcs/orders/fetch/", fetch_many),
    path("adcs/orders/delete/", delete_many),
    path("adcs/orders/<int:order_id>/", show),
    path("adcs/orders/<int:order_id>/row/", row),
    path("adcs/orders/<int:order_id>/body/", body),
    path("adcs/orders/<int:order_id>/request.pem", csr),
    path("adcs/orders/<int:order_id>/fetch/", fetch),
    path("adcs/orders/<int:order_id>/check/", check),
    path("adcs/orders/<int:order_id>/resubmit/", resubmit),
    path("adcs/orders/<int:order_id>/delete/", delete),
    path("adcs/orders/<int:order_id>/restore/", restore),
]
