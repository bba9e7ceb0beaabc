"""Pending Requests of one CA: the queue beside the request that is looked at, or all of them as a list."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from django.http import HttpResponse, HttpResponseBase
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.adcs.interfaces import Sort, Table
from certwright.console import access, answers
from certwright.console.access import PageRequest, Viewer, page
from certwright.console.authority import (
    administer,
    answer_list,
    ca_of,
    may_manage,
    read_list,
    restrictions,
    taken_refusals,
)
from certwright.console.listing import Column
from certwright.console.menu import Badge
from certwright.console.pages.ca_request import TABS, picture_of
from certwright.console.rooms import rooms

SHOWN: Final = 100
"""Requests in the queue; the search field finds the others."""
COUNTED: Final = 999
_QUEUE: Final = (Column("request_id", lazy("Request ID")),)
_QUEUED: Final = (
    "request_id",
    "requester",
    "caller",
    "template",
    "common_name",
    "subject",
    "submitted_when",
    "message",
)
COLUMNS: Final = (
    Column("request_id", lazy("Request ID"), css="cw-tight cw-num"),
    Column("requester", lazy("Requester Name"), css="cw-short"),
    Column("template", lazy("Certificate Template"), css="cw-short"),
    Column("common_name", lazy("Requested Common Name"), css="cw-lead"),
    Column("submitted_when", lazy("Request Submission Date"), css="cw-tight"),
    Column("message", lazy("Request Disposition Message"), css="cw-why", sortable=False),
    Column("binary", lazy("Binary Request"), css="cw-tight", sortable=False, off=True),
    Column("attributes", lazy("Request Attributes"), css="cw-wrap", sortable=False, off=True),
    Column("method", lazy("Came by"), css="cw-tight", off=True),
    Column("status", lazy("Request Status Code"), css="cw-code", off=True),
)
WANTED: Final = (
    "request_id",
    "requester",
    "template",
    "common_name",
    "subject",
    "submitted_when",
    "message",
    "attributes",
    "method",
    "status",
)


@page(access.QUEUES)
def pending(request: PageRequest, ca: str) -> HttpResponse:
    """The oldest first, and the first or the chosen one in full."""
    standing = ca_of(request, ca)
    listing = read_list(request, "pending", Table.PENDING_REQUESTS, _QUEUE, sort="request_id")
    found = administer(request, standing).view(
        Table.PENDING_REQUESTS,
        restrictions(listing),
        _QUEUED,
        Sort("request_id", listing.descending),
        SHOWN + 1,
    )
    refused = taken_refusals(request, standing)
    rows = [_queued(request, row, refused.get(str(row["request_id"]), "")) for row in islice(found, SHOWN + 1)]
    asked = _asked(request)
    chosen = asked or (rows[0]["request_id"] if rows else 0)
    tab = request.GET.get("tab", "")
    detail: dict[str, Any] = {}
    if chosen:
        try:
            known = tab if tab in dict(TABS) else ""
            detail = picture_of(request, standing, chosen, known, in_queue=True)
        except AdcsError:  # there is none of that number
            detail = {}
    context = {
        **detail,
        "title": _("Pending Requests"),
        "crumbs": [(standing.name, "")],
        "ca": standing,
        "heading": detail.get("title", ""),
        "listing": listing,
        "queue": rows[:SHOWN],
        "more": len(rows) > SHOWN,
        "chosen": chosen if detail else 0,
        "asked": bool(asked),
        "may_manage": may_manage(request, standing),
        "now": rooms().clock(),
    }
    return answers.answer(request, "console/ca/pending.html", context)


def _queued(request: PageRequest, row: Any, refused: str) -> dict[str, Any]:
    """A row of the queue, with what wants a second look before it is even opened."""
    own = request.viewer.account.casefold()
    warning = refused
    if not warning and own in (row["requester"].casefold(), row["caller"].casefold()):
        warning = _("Your own request")
    elif not warning and row["caller"] != row["requester"]:
        warning = _("On behalf of another account")
    return {**row, "warning": warning}


def _asked(request: PageRequest) -> int:
    asked = request.GET.get("request", "")
    return int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 11 else 0


@page(access.QUEUES)
def as_list(request: PageRequest, ca: str) -> HttpResponseBase:
    """All that wait, with the columns of the MMC, for acts on several at once."""
    bulk = [
        {"href": f"/ca/{ca}/pending/deny/", "label": _("Deny…"), "icon": "x"},
        {"href": f"/ca/{ca}/pending/issue/", "label": _("Issue…"), "icon": "check"},
    ]
    return answer_list(
        request,
        ca,
        Table.PENDING_REQUESTS,
        COLUMNS,
        name="pending-list",
        title=_("Pending Requests"),
        template="console/ca/pending_rows.html",
        wanted=WANTED,
        sort="request_id",
        context={"bulk": bulk, "view_toggle": True},
    )


def _waiting(viewer: Viewer, slug: str) -> Badge | None:
    """How many wait, at the menu's entry."""
    ca = viewer.ca(slug)
    if ca is None:
        return None
    admin = rooms().registry.administer(ca.config, viewer.requester)
    count = sum(1 for _row in admin.view(Table.PENDING_REQUESTS, (), ("request_id",), None, COUNTED))
    return Badge(count, "yellow", lazy("requests pending"))


badges = {"/ca/<ca>/pending/": _waiting}

urls = [path("ca/<str:ca>/pending/", pending), path("ca/<str:ca>/pending/list/", as_list)]
