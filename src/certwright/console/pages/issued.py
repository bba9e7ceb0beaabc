"""Issued Certificates of one CA."""

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
    Column("requester", lazy("Requester Name"), css="cw-short"),
    Column("common_name", lazy("Issued Common Name"), css="cw-lead"),
    Column("template", lazy("Certificate Template"), css="cw-short"),
    Column("not_before", lazy("Certificate Effective Date"), css="cw-tight cw-hide-s"),
    Column("not_after", lazy("Certificate Expiration Date"), css="cw-tight"),
    Column("serial_number", lazy("Serial Number"), css="cw-tight cw-hide-s"),
    Column("binary", lazy("Binary Certificate"), css="cw-tight cw-hide-s", sortable=False, off=True),
    Column("alternative_names", lazy("Subject Alternative Name"), css="cw-wrap", off=True),
    Column("key", lazy("Key"), css="cw-tight", sortable=False, off=True),
    Column("method", lazy("Came by"), css="cw-tight", off=True),
    Column("message", lazy("Request Disposition Message"), css="cw-wrap", off=True),
)
WANTED: Final = (
    "request_id",
    "requester",
    "common_name",
    "subject",
    "template",
    "not_before",
    "not_after",
    "serial_number",
    "alternative_names",
    "key_algorithm",
    "key_size",
    "method",
    "message",
)


@page(access.QUEUES)
def issued(request: PageRequest, ca: str) -> HttpResponseBase:
    """What the CA issued and has not revoked."""
    revoke = {"href": f"/ca/{ca}/issued/revoke/", "label": _("Revoke…"), "icon": "ban"}
    return answer_list(
        request,
        ca,
        Table.ISSUED_CERTIFICATES,
        COLUMNS,
        name="issued",
        title=_("Issued Certificates"),
        template="console/ca/issued_rows.html",
        wanted=WANTED,
        context={"bulk": [revoke]},
    )


urls = [path("ca/<str:ca>/issued/", issued)]
