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
from certwright.console.certificate_columns import CONTENTS, WANTED, WHOSE
from certwright.console.listing import Column
from certwright.console.pages.deciding import HOLD, REASON_WORDS

COLUMNS: Final = (
    *WHOSE,
    Column("not_before", lazy("Certificate Effective Date"), css="cw-tight", off=True),
    Column("not_after", lazy("Certificate Expiration Date"), css="cw-tight cw-hide-s", off=True),
    Column("revoked_when", lazy("Revocation Date"), css="cw-tight"),
    Column("revoked_effective", lazy("Effective Revocation Date"), css="cw-tight cw-hide-s"),
    Column("revoked_reason", lazy("Revocation Reason"), css="cw-tight cw-mark-s"),
    *CONTENTS,
    Column("officer", lazy("Revoked by"), css="cw-tight", off=True),
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
        wanted=(*WANTED, "revoked_when", "revoked_effective", "revoked_reason", "officer"),
        sort="-revoked_when",
        shown=_shown,
        context={"may_publish": True},
    )


def _shown(row: dict[str, Any]) -> None:
    """The reason in the words of the MMC."""
    row["on_hold"] = row["revoked_reason"] == HOLD.rfc_name
    row["reason_words"] = REASON_WORDS.get(row["revoked_reason"], row["revoked_reason"])


urls = [path("ca/<str:ca>/revoked/", revoked)]
