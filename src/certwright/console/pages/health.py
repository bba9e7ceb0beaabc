"""Health: what pkiview shows as a tree, as a table; then findings.

Page modules add rows with `health_lines = [function]`; such a function takes the viewer and returns
an iterable of (group, `CaHealth`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import access
from certwright.console.access import PageRequest, Viewer, page
from certwright.console.answers import answer
from certwright.console.menu import Badge
from certwright.console.rooms import CaHealth, rooms


@page(access.HEALTH)
def overview(request: PageRequest) -> HttpResponse:
    """Everything that is watched, grouped by CA and room."""
    rows = sorted(_rows(request.viewer), key=lambda row: row[0])
    groups = [(name, [line for _group, line in lines]) for name, lines in groupby(rows, key=lambda row: row[0])]
    states = [line.state for _group, line in rows]
    context = {
        "title": _("Health"),
        "groups": groups,
        "down": states.count("down"),
        "warning": states.count("warning"),
        "checked": rooms().clock(),
    }
    return answer(request, "console/health.html", context, rows="console/health/rows.html")


def _rows(viewer: Viewer) -> list[tuple[str, CaHealth]]:
    from certwright.console.pages import modules

    found = [(ca.name, line) for ca in viewer.cas for line in rooms().ca_health(ca.config)]
    words = {
        "https": _("HTTPS listener"),
        "http": _("HTTP listener"),
        "database": _("Database"),
        "issuers": _("Issuer"),
    }
    for name, well in rooms().listeners().items():
        found.append((_("This host"), CaHealth(words.get(name, name), "ok" if well else "down")))
    for module in modules():
        for provider in getattr(module, "health_lines", ()):
            try:
                lines: Iterable[tuple[str, CaHealth]] = provider(viewer)
                found += lines
            except AdcsError as error:
                found.append(
                    (_("This host"), CaHealth(provider.__module__.rpartition(".")[2], "unknown", error.message))
                )
    return found


def _failing(viewer: Viewer) -> Badge | None:
    down = sum(line.state == "down" for ca in viewer.cas for line in rooms().ca_health(ca.config))
    return Badge(down, "red", lazy("failing"))


badges = {"/health/": _failing}

urls = [path("health/", overview)]
