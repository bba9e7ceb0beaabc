"""Health > Locations: every CDP, AIA and OCSP location that certificates name, as the watch found it (pkiview).

Of our own CAs and of those that this installation orders from. What is shown was found by the worker; one location
can be asked at once, all of them are left to the worker.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from certwright.adcs.errors import InvalidArgument
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.rooms import CaHealth, rooms
from certwright.location_watch.values import KIND_WORDS, State, WatchedLocation

PAGE: Final = "/health/locations/"
ASKING: Final = frozenset({Role.CA_ADMINISTRATOR})
"""Who may have locations asked."""


@page(access.HEALTH)
def overview(request: PageRequest) -> HttpResponse:
    """All of them by CA."""
    rows = rooms().watch.all()
    now = rooms().clock()
    asked = any(row.next_check <= now for row in rows)
    context = {
        "title": _("Locations"),
        "crumbs": [(_("Health"), "/health/")],
        "groups": [(ca, [_drawn(row) for row in of]) for ca, of in groupby(rows, key=lambda row: row.ca)],
        "down": sum(row.state is State.DOWN for row in rows),
        "warning": sum(row.state is State.WARNING for row in rows),
        "may_ask": request.viewer.is_any(ASKING),
        "asked": asked and request.viewer.is_any(ASKING),
    }
    return answers.answer(
        request, "console/health/locations.html", context, rows="console/health/locations_rows.html"
    )


def _drawn(row: WatchedLocation) -> dict[str, Any]:
    return {
        "id": row.id,
        "url": row.url,
        "kind": KIND_WORDS[row.kind],
        "state": row.state.value,
        "detail": row.detail,
        "until": row.until,
        "since": row.since if row.checked is not None else None,
        "checked": row.checked,
        "href": f"{PAGE}{row.id}/",
    }


@page(access.HEALTH)
def location(request: PageRequest, number: int) -> HttpResponse:
    """One location, and how it came to stand as it stands."""
    row = _found(number)
    context = {
        "title": _("%(kind)s of %(ca)s") % {"kind": KIND_WORDS[row.kind], "ca": row.ca},
        "crumbs": [(_("Health"), "/health/"), (_("Locations"), PAGE)],
        "row": _drawn(row),
        "changes": [
            {"occurred": change.occurred, "state": change.state.value, "detail": change.detail}
            for change in rooms().watch.history(number)
        ],
        "may_ask": request.viewer.is_any(ASKING),
    }
    return answers.answer(request, "console/health/location.html", context)


def _found(number: int) -> WatchedLocation:
    try:
        return rooms().watch.get(number)
    except InvalidArgument:
        raise Http404 from None


@page(ASKING, methods=("POST",))
def ask(request: PageRequest, number: int) -> HttpResponse:
    """Ask one location now."""
    row = _found(number)
    found = rooms().watch.check(row.id)
    return answers.done(request, f"{PAGE}{number}/", _said(found))


def _said(row: WatchedLocation) -> str:
    match row.state:
        case State.OK:
            return _("It is well.")
        case State.UNKNOWN:
            return _("It cannot be asked from here.")
        case _:
            return _("It is not well.")


@page(ASKING, methods=("POST",))
def ask_all(request: PageRequest) -> HttpResponse:
    """Let the worker ask all of them."""
    rooms().watch.ask_for_all()
    return answers.done(request, PAGE, _("The worker asks all of them within half a minute."))


# -- for Health ------------------------------------------------------------------------------------------------------


def _lines(_viewer: Viewer) -> Iterable[tuple[str, CaHealth]]:
    """Those that are not well, each; the others as one line a CA."""
    for ca, group in groupby(rooms().watch.all(), key=lambda row: row.ca):
        rows = list(group)
        for row in rows:
            if row.state.is_bad:
                what = f"{KIND_WORDS[row.kind]} {row.url}"
                yield ca, CaHealth(what, row.state.value, row.detail, row.until, f"{PAGE}{row.id}/")
        well = [row for row in rows if row.state is State.OK]
        if well:
            what = ngettext("%(count)s location", "%(count)s locations", len(well)) % {"count": len(well)}
            ends = min((row.until for row in well if row.until is not None), default=None)
            yield ca, CaHealth(what, State.OK.value, "", ends, PAGE)


health_lines = [_lines]

urls = [
    path("health/locations/", overview),
    path("health/locations/check/", ask_all),
    path("health/locations/<int:number>/", location),
    path("health/locations/<int:number>/check/", ask),
]
