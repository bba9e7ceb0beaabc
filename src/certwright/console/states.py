"""States: one table, one tag. The word is translated, the value is not; colour never stands alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy
from django.utils.translation import ngettext

from certwright.console.clock import days_left


@dataclass(frozen=True, slots=True)
class State:
    """How a value is shown."""

    word: object  # translated when it is shown
    colour: str  # green, yellow, orange, red, purple, blue, gray
    icon: str


STATES: Final = {
    "issued": State(lazy("Issued"), "green", icon="circle-check"),
    "pending": State(lazy("Pending"), "yellow", icon="clock-hour-4"),
    "denied": State(lazy("Denied"), "red", icon="circle-x"),
    "failed": State(lazy("Failed"), "red", icon="alert-triangle"),
    "error": State(lazy("Failed"), "red", icon="alert-triangle"),
    "revoked": State(lazy("Revoked"), "purple", icon="ban"),
    "on hold": State(lazy("On hold"), "purple", icon="hand-stop"),
    "expired": State(lazy("Expired"), "red", icon="calendar-x"),
    "expired unmanaged": State(lazy("Expired"), "gray", icon="calendar-x"),
    "superseded": State(lazy("Superseded"), "gray", icon="replace"),
    "submitting": State(lazy("Submitting"), "blue", icon="send"),
    "lost": State(lazy("Answer lost"), "orange", icon="help-circle"),
    "active": State(lazy("Active"), "green", icon="circle-check"),
    "ok": State(lazy("OK"), "green", icon="circle-check"),
    "warning": State(lazy("Warning"), "orange", icon="alert-triangle"),
    "down": State(lazy("Down"), "red", icon="circle-x"),
    "unknown": State(lazy("Unknown"), "gray", icon="help-circle"),
    "enabled": State(lazy("Enabled"), "green", icon="circle-check"),
    "disabled": State(lazy("Disabled"), "gray", icon="ban"),
    "done": State(lazy("Done"), "green", icon="circle-check"),
    "open": State(lazy("To do"), "blue", icon="circle"),
}


def state_of(value: object) -> State:
    """By name, or by a member of an enumeration. An unknown value shows itself, in gray."""
    if isinstance(value, Enum):
        value = value.value if isinstance(value.value, str) else value.name
    key = str(value).lower().replace("_", " ")
    return STATES.get(key) or State(str(value), "gray", icon="help-circle")


def expiry_state(not_after: datetime, now: datetime, *, managed: bool = True) -> State:
    """Active, one of the bands 0-7, 8-30, 31-90 days, or expired. Days count from now, rounded down."""
    days = days_left(not_after, now)
    if days < 0:
        return STATES["expired" if managed else "expired unmanaged"]
    if days > 90:
        return STATES["active"]
    word = _("Expires today") if days == 0 else ngettext("Expires in %(days)s day", "Expires in %(days)s days", days)
    word = word % {"days": days} if days else word
    if days <= 7:
        return State(word, "red", icon="alert-triangle")
    return State(word, "orange" if days <= 30 else "yellow", icon="clock")
