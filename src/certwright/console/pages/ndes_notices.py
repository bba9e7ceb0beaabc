"""What the policy module of a service for devices was told, and what waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.console import access, answers
from certwright.console.access import PageRequest, page
from certwright.console.listing import Column, Filter, Listing, in_memory
from certwright.console.pages.ndes import HERE, SHOWN, found_at, framed, moment
from certwright.console.rooms import rooms
from certwright.ndes.store import NoticeState

NOTICES: Final = (
    Column("created", lazy("When"), css="cw-tight"),
    Column("disposition", lazy("Told of"), css="cw-lead"),
    Column("state", lazy("State"), css="cw-tight"),
    Column("attempts", lazy("Attempts"), css="cw-tight cw-num"),
    Column("next_try", lazy("Next attempt"), css="cw-tight"),
    Column("result", lazy("Why it was not taken"), css="cw-why"),
    Column("transaction", lazy("Transaction"), css="cw-why"),
)
NOTICE_STATES: Final[Mapping[NoticeState, tuple[str, Any]]] = {
    NoticeState.WAITING: ("pending", lazy("waiting")),
    NoticeState.TAKEN: ("done", lazy("taken")),
    NoticeState.GIVEN_UP: ("failed", lazy("given up")),
}
_DISPOSITIONS: Final[Mapping[str, Any]] = {
    "success": lazy("issued"),
    "pending": lazy("pending"),
    "failure": lazy("denied"),
}


@page(access.CA_SETTINGS)
def notices(request: PageRequest, ca: str, service: str) -> HttpResponse:
    """What the policy module was told, and what waits for it."""
    standing, found = found_at(request, ca, service)
    filters = [
        Filter("state", _("State"), _("All"), [(key.name, words) for key, (_look, words) in NOTICE_STATES.items()])
    ]
    listing = Listing.read(
        request, "ndes-notices", NOTICES, sort="-created", search=lazy("Transaction, reason"), filters=filters
    )
    rows = [
        {
            "created": moment(each.created),
            "transaction": each.transaction,
            "disposition": str(_DISPOSITIONS.get(each.disposition, each.disposition)),
            "state": each.state.name,
            "look": NOTICE_STATES[each.state][0],
            "words": NOTICE_STATES[each.state][1],
            "attempts": each.attempts,
            "next_try": moment(each.next_try) if each.next_try is not None else None,
            "result": each.result,
        }
        for each in rooms().ndes.notices(SHOWN, found.name)
        if listing.value("state") in ("", each.state.name)
    ]
    in_memory(listing, rows, searched=("transaction", "result"))
    context = framed(request, standing, found, "notices") | {"listing": listing}
    return answers.answer(request, "console/ca/ndes/list.html", context, rows="console/ca/ndes/notices_rows.html")


urls = [path(HERE + "notices/", notices)]
