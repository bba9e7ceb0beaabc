"""What happened lately and concerns whoever looks: the bell in the header, and its drawer.

A page module defines `recent_events = [function]`: viewer -> iterable of `Event`. Only what the viewer may see anyway
is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext as _

from certwright.adcs.errors import AdcsError
from certwright.console import accounts, answers
from certwright.console.access import PageRequest, Viewer, page
from certwright.console.pages.finding import modules
from certwright.console.rooms import rooms
from certwright.console.states import State

log = structlog.get_logger(__name__)

SHOWN: Final = 30
RECENT: Final = timedelta(days=7)
_SEEN: Final = "events_seen"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    when: datetime
    state: State
    text: Any
    more: Any
    href: str


def recent(viewer: Viewer) -> list[Event]:
    """The newest first."""
    since = rooms().clock() - RECENT
    found: list[Event] = []
    for module in modules():
        for provider in getattr(module, "recent_events", ()):
            try:
                told: Iterable[Event] = provider(viewer)
                found += [event for event in told if event.when >= since]
            except AdcsError as error:  # one that cannot be had must not cost the others
                log.warning("events_provider_failed", provider=provider.__qualname__, error=error.message)
    return sorted(found, key=lambda event: event.when, reverse=True)[:SHOWN]


def unseen(viewer: Viewer, events: Iterable[Event]) -> int:
    """How many are newer than the viewer's last look."""
    seen = float(viewer.preferences.get(_SEEN, 0))
    return sum(event.when.timestamp() > seen for event in events)


@page(anybody=True)
def events(request: PageRequest) -> HttpResponse:
    """The drawer, or the same as a page; looking at them makes them seen."""
    found = recent(request.viewer)
    count = unseen(request.viewer, found)
    context = {
        "title": _("Events"),
        "events": [(event, number < count) for number, event in enumerate(found)],
    }
    if found:
        accounts.set_preferences(request.viewer.id, {_SEEN: max(event.when.timestamp() for event in found)})
    return answers.answer(request, "console/events/page.html", context, rows="console/events/drawer.html")


@page(anybody=True)
def bell(request: PageRequest) -> HttpResponse:
    """The bell again, with a dot where something is new."""
    return render(request, "console/events/bell.html", {"unseen": unseen(request.viewer, recent(request.viewer))})


urls = [path("events/", events), path("events/bell/", bell)]
