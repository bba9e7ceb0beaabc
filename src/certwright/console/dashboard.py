"""What the dashboard shows: who counts it is said in one place, so that a page module only has to add a provider.

A page module defines any of

    dashboard_tiles = [function]       # viewer -> iterable of Tile
    dashboard_cards = [function]       # viewer -> iterable of Card
    first_run_steps = {number: function}  # the first-run checklist: viewer -> Step

A provider that has nothing to say yet returns nothing; one that fails is left out and logged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from certwright.adcs.errors import AdcsError
from certwright.console.access import Viewer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tile:
    """A number that needs somebody, and the filtered list behind it."""

    label: Any
    value: int
    more: Any
    href: str
    icon: str
    colour: str  # red, orange, yellow, blue, gray
    order: int = 100


@dataclass(frozen=True, slots=True)
class Card:
    """A card: a template with its context. `width` in twelfths: 3, 4, 5, 7, 8, 12."""

    template: str
    context: Mapping[str, Any]
    width: int = 4
    order: int = 100


@dataclass(frozen=True, slots=True)
class Step:
    """A row of the first-run checklist."""

    title: Any
    text: Any
    done: bool
    act: Any = ""
    href: str = ""
    dialog: bool = False  # `href` is a dialog
    second: tuple[Any, str] = ("", "")  # another way: its word, and the dialog it opens
    extra: str = ""  # template with more, such as the steps of taking a key offline
    context: Mapping[str, Any] = field(default_factory=dict)


STEP_COUNT: Final = 6


def tiles_for(viewer: Viewer) -> list[Tile]:
    return sorted(_collected("dashboard_tiles", viewer), key=lambda tile: tile.order)


def cards_for(viewer: Viewer) -> list[Card]:
    return sorted(_collected("dashboard_cards", viewer), key=lambda card: card.order)


def steps_for(viewer: Viewer) -> list[Step]:
    """The checklist's rows that this viewer can do something about, in their order."""
    from certwright.console.pages import modules

    providers: dict[int, Callable[[Viewer], Step | None]] = {}
    for module in modules():
        providers |= getattr(module, "first_run_steps", {})
    found = (_asked(providers[number], viewer) for number in sorted(providers))
    return [step for step in found if step is not None]


def _collected(name: str, viewer: Viewer) -> list[Any]:
    from certwright.console.pages import modules

    found: list[Any] = []
    for module in modules():
        for provider in getattr(module, name, ()):
            answer: Iterable[Any] | None = _asked(provider, viewer)
            found += answer or ()
    return found


def _asked(provider: Callable[[Viewer], Any], viewer: Viewer) -> Any:
    try:
        return provider(viewer)
    except AdcsError as error:  # one number that cannot be had must not cost the others
        log.warning("dashboard_provider_failed", provider=provider.__qualname__, error=error.message)
        return None
