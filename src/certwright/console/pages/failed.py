"""Failed Requests of one CA: denied and failed ones."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponseBase
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.interfaces import Table
from certwright.console import access
from certwright.console.access import PageRequest, page
from certwright.console.authority import answer_list
from certwright.console.listing import Column

COLUMNS: Final = (
    Column("request_id", lazy("Request ID"), css="cw-tight cw-num"),
    Column("status", lazy("Request Status Code"), css="cw-tight"),
    Column("message", lazy("Request Disposition Message"), css="cw-why", sortable=False),
    Column("submitted_when", lazy("Request Submission Date"), css="cw-tight"),
    Column("requester", lazy("Requester Name"), css="cw-tight"),
    Column("template", lazy("Certificate Template"), css="cw-tight"),
    Column("common_name", lazy("Requested Common Name"), css="cw-lead"),
    Column("officer", lazy("Decided by"), css="cw-tight", off=True),
)
WANTED: Final = (
    "request_id",
    "disposition",
    "status",
    "message",
    "submitted_when",
    "requester",
    "template",
    "common_name",
    "subject",
    "officer",
)


@page(access.QUEUES)
def failed(request: PageRequest, ca: str) -> HttpResponseBase:
    """What the CA refused; a denied request can still be issued, by a CA administrator."""
    return answer_list(
        request,
        ca,
        Table.FAILED_REQUESTS,
        COLUMNS,
        name="failed",
        title=_("Failed Requests"),
        template="console/ca/failed_rows.html",
        wanted=WANTED,
    )


urls = [path("ca/<str:ca>/failed/", failed)]
