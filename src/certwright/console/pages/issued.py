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
from certwright.console.certificate_columns import CONTENTS, WANTED, WHOSE
from certwright.console.listing import Column

COLUMNS: Final = (
    *WHOSE,
    Column("not_before", lazy("Certificate Effective Date"), css="cw-tight cw-hide-s"),
    Column("not_after", lazy("Certificate Expiration Date"), css="cw-tight"),
    *CONTENTS,
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
