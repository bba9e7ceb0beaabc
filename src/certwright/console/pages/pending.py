"""Pending Requests of one CA: the queue beside the request that is looked at."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.adcs.interfaces import Sort, Table
from certwright.console import access, answers
from certwright.console.access import PageRequest, Viewer, page
from certwright.console.authority import administer, ca_of, may_manage, read_list, restrictions
from certwright.console.listing import Column
from certwright.console.menu import Badge
from certwright.console.pages.ca_request import picture_of
from certwright.console.rooms import rooms

SHOWN: Final = 100
"""Requests in the queue's list; the search field finds the others."""
COUNTED: Final = 999
_COLUMNS: Final = (Column("request_id", lazy("Request ID")),)
_WANTED: Final = ("request_id", "requester", "template", "common_name", "subject", "submitted_when", "message")


@page(access.QUEUES)
def pending(request: PageRequest, ca: str) -> HttpResponse:
    """The oldest first, and the first or the chosen one in full."""
    standing = ca_of(request, ca)
    listing = read_list(request, "pending", _COLUMNS, sort="request_id")
    where = restrictions(listing)
    found = administer(request, standing).view(
        Table.PENDING_REQUESTS, where, _WANTED, Sort("request_id", listing.descending), SHOWN + 1
    )
    queue = list(islice(found, SHOWN + 1))
    chosen = _chosen(request, queue)
    detail: dict[str, Any] = {}
    if chosen:
        try:
            detail = picture_of(request, standing, chosen)
        except AdcsError:  # decided by somebody else just now
            detail = {}
    context = {
        **detail,
        "title": _("Pending Requests"),
        "crumbs": [(standing.name, "")],
        "ca": standing,
        "heading": detail.get("title", ""),
        "listing": listing,
        "queue": queue[:SHOWN],
        "more": len(queue) > SHOWN,
        "chosen": chosen if detail else 0,
        "may_manage": may_manage(request, standing),
    }
    return answers.answer(request, "console/ca/pending.html", context)


def _chosen(request: PageRequest, queue: list[Any]) -> int:
    asked = request.GET.get("request", "")
    if asked.isascii() and asked.isdigit() and len(asked) < 11:
        return int(asked)
    return int(queue[0]["request_id"]) if queue else 0


def _waiting(viewer: Viewer, slug: str) -> Badge | None:
    """How many wait, at the menu's entry."""
    ca = viewer.ca(slug)
    if ca is None:
        return None
    admin = rooms().registry.administer(ca.config, viewer.requester)
    count = sum(1 for _row in admin.view(Table.PENDING_REQUESTS, (), ("request_id",), None, COUNTED))
    return Badge(count, "yellow", lazy("requests pending"))


badges = {"/ca/<ca>/pending/": _waiting}

urls = [path("ca/<str:ca>/pending/", pending)]
