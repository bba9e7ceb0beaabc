"""Failed Requests of one CA: denied and failed ones."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpResponseBase
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.interfaces import Sort, Table
from certwright.console import access
from certwright.console.access import PageRequest, page
from certwright.console.authority import administer, answer_list, ca_of
from certwright.console.listing import Column

COLUMNS: Final = (
    Column("request_id", lazy("Request ID"), css="cw-tight cw-num"),
    Column("status", lazy("Request Status Code"), css="cw-code"),
    Column("message", lazy("Request Disposition Message"), css="cw-why", sortable=False),
    Column("submitted_when", lazy("Request Submission Date"), css="cw-tight"),
    Column("requester", lazy("Requester Name"), css="cw-short"),
    Column("template", lazy("Certificate Template"), css="cw-short"),
    Column("common_name", lazy("Requested Common Name"), css="cw-lead"),
    Column("officer", lazy("Decided by"), css="cw-tight", off=True),
    Column("method", lazy("Came by"), css="cw-tight", off=True),
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
    "method",
)
GROUPED: Final = 1000
"""How many of the newest are counted by status code."""
MAX_GROUPS: Final = 5
_POLICY: Final = "Denied by Policy Module"


@page(access.QUEUES)
def failed(request: PageRequest, ca: str) -> HttpResponseBase:
    """What the CA refused; a denied request can still be issued, by a CA administrator."""
    grouped: dict[str, Any] = {} if request.htmx or "as" in request.GET else _groups(request, ca)
    return answer_list(
        request,
        ca,
        Table.FAILED_REQUESTS,
        COLUMNS,
        name="failed",
        title=_("Failed Requests"),
        template="console/ca/failed_rows.html",
        wanted=WANTED,
        shown=_shown,
        context=grouped,
    )


def _shown(row: dict[str, Any]) -> None:
    """The message without what stands in other columns already."""
    head, _comma, rest = str(row["message"]).partition(", ")
    row["said"] = rest if rest and head.startswith(_POLICY) else row["message"]


def _groups(request: PageRequest, ca: str) -> dict[str, Any]:
    """How often which code, and to whom: what is wrong in one place shows as one line."""
    newest = administer(request, ca_of(request, ca)).view(
        Table.FAILED_REQUESTS, (), ("status", "requester"), Sort("request_id", True), GROUPED
    )
    codes: Counter[Any] = Counter()
    requesters: dict[Any, Counter[str]] = {}
    for row in newest:
        codes[row["status"]] += 1
        requesters.setdefault(row["status"], Counter())[str(row["requester"])] += 1
    if codes.total() < 2:
        return {}
    groups = [
        {
            "count": count,
            "code": status.hex,
            "symbol": status.name,
            "requesters": _names(requesters[status]),
            "href": f"{request.path}?{urlencode({'f': f'status:is:{status.hex}'})}",
        }
        for status, count in codes.most_common(MAX_GROUPS)
    ]
    all_of_them = _("all of them") if codes.total() < GROUPED else _("of the newest %(count)s") % {"count": GROUPED}
    return {"groups": groups, "groups_of": all_of_them}


def _names(found: Counter[str]) -> str:
    """The two who come up most, and how many others."""
    names = ", ".join(name for name, _count in found.most_common(2))
    others = len(found) - 2
    return _("%(names)s and %(count)s more") % {"names": names, "count": others} if others > 0 else names


urls = [path("ca/<str:ca>/failed/", failed)]
