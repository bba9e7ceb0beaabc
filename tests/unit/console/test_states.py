"""One table of states: a word, a colour and an icon for each; never colour alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path

import pytest
from django.utils import translation

from certwright.console.states import STATES, expiry_state, state_of
from certwright.manager.values import OrderState

NOW = datetime(2026, 11, 22, tzinfo=UTC)
CONSOLE = Path(__file__).parents[3] / "src/certwright/console"


@pytest.mark.parametrize("name", STATES)
def test_every_state_has_a_word_a_colour_and_an_icon(name: str) -> None:
    state = state_of(name)
    assert str(state.word)
    assert state.icon
    assert f".cw-state-{state.colour} " in (CONSOLE / "static/console/console.css").read_text()


@pytest.mark.parametrize(
    ("days", "word", "colour"),
    [
        (-1, "Expired", "red"),
        (0, "Expires today", "red"),
        (1, "Expires in 1 day", "red"),
        (7, "Expires in 7 days", "red"),
        (8, "Expires in 8 days", "orange"),
        (30, "Expires in 30 days", "orange"),
        (31, "Expires in 31 days", "yellow"),
        (90, "Expires in 90 days", "yellow"),
        (91, "Active", "green"),
    ],
)
def test_the_bands_are_0_to_7_8_to_30_and_31_to_90_days(days: int, word: str, colour: str) -> None:
    with translation.override("en"):
        state = expiry_state(NOW + timedelta(days=days, minutes=1 if days >= 0 else -1), NOW)
        assert (str(state.word), state.colour) == (word, colour)


def test_an_expired_certificate_that_nobody_manages_is_no_alarm() -> None:
    assert expiry_state(NOW - timedelta(days=1), NOW, managed=False).colour == "gray"


@pytest.mark.parametrize("state", list(OrderState))
def test_every_state_of_an_order_is_in_the_table(state: Enum) -> None:
    assert state_of(state) in STATES.values()


def test_an_unknown_state_shows_itself() -> None:
    state = state_of("quite new")
    assert (state.word, state.colour) == ("quite new", "gray")


def test_the_sprite_holds_every_icon_that_is_used() -> None:
    """`scripts/icons` makes it from the names."""
    sprite = next((CONSOLE / "static/console/vendor").glob("tabler-icons-*/icons.svg")).read_text()
    held = set(re.findall(r'<symbol id="([a-z0-9-]+)"', sprite))
    used: set[str] = set()
    for path in CONSOLE.rglob("*"):
        if path.suffix in (".html", ".py", ".js") and "vendor" not in path.parts:
            found = re.findall(
                r"""\bicon=["']([a-z0-9-]+)["']|\{%\s*icon\s+["']([a-z0-9-]+)["']|\bicon:([a-z0-9-]+)""",
                path.read_text(),
            )
            used |= {next(filter(None, names)) for names in found}
    assert used - held == set()
