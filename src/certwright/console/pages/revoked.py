"""Revoked Certificates of one CA."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpResponseBase
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.interfaces import Table
from certwright.console import access
from certwright.console.access import PageRequest, page
from certwright.console.authority import answer_list
from certwright.console.listing import Column
from certwright.console.pages.deciding import HOLD, REASON_WORDS

COLUMNS: Final = (
    Column("request_id", lazy("Request ID"), css="cw-tight cw-num"),
    Column("requester", lazy("Requester Name"), css="cw-short"),
    Column("common_name", lazy("Issued Common Name"), css="cw-lead"),
    Column("template", lazy("Certificate Template"), css="cw-short"),
    Column("not_before", lazy("Certificate Effective Date"), css="cw-tight", off=True),
    Column("not_after", lazy("Certificate Expiration Date"), css="cw-tight cw-hide-s", off=True),
    Column("revoked_when", lazy("Revocation Date"), css="cw-tight"),
    Column("revoked_effective", lazy("Effective Revocation Date"), css="cw-tight cw-hide-s"),
    Column("revoked_reason", lazy("Revocation Reason"), css="cw-tight cw-mark-s"),
    Column("serial_number", lazy("Serial Number"), css="cw-tight cw-hide-s"),
    Column("binary", lazy("Binary Certificate"), css="cw-tight cw-hide-s", sortable=False, off=True),
    Column("alternative_names", lazy("Subject Alternative Name"), css="cw-wrap", off=True),
    Column("key", lazy("Key"), css="cw-tight", sortable=False, off=True),
    Column("method", lazy("Came by"), css="cw-tight", off=True),
    Column("message", lazy("Request Disposition Message"), css="cw-wrap", off=True),
    Column("officer", lazy("Revoked by"), css="cw-tight", off=True),
)
WANTED: Final = (
    "request_id",
    "requester",
    "common_name",
    "subject",
    "template",
    "not_before",
    "not_after",
    "revoked_when",
    "revoked_effective",
    "revoked_reason",
    "serial_number",
    "alternative_names",
    "key_algorithm",
    "key_size",
    "method",
    "message",
    "officer",
)


@page(access.QUEUES)
def revoked(request: PageRequest, ca: str) -> HttpResponseBase:
    """What the CA revoked, or has on hold."""
    return answer_list(
        request,
        ca,
        Table.REVOKED_CERTIFICATES,
        COLUMNS,
        name="revoked",
        title=_("Revoked Certificates"),
        template="console/ca/revoked_rows.html",
        wanted=WANTED,
        sort="-revoked_when",
        shown=_shown,
        context={"may_publish": True},
    )


def _shown(row: dict[str, Any]) -> None:
    """The reason in the words of the MMC."""
    row["on_hold"] = row["revoked_reason"] == HOLD.rfc_name
    row["reason_words"] = REASON_WORDS.get(row["revoked_reason"], row["revoked_reason"])


urls = [path("ca/<str:ca>/revoked/", revoked)]
