"""Times as people read them: relative up to a day, then shorter and shorter; the whole of it on demand."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, ngettext_lazy

from certwright.adcs.periods import period_text

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
_PERIODS: Final[Mapping[str, Any]] = {
    "year": ngettext_lazy("%(count)s year", "%(count)s years", "count"),
    "week": ngettext_lazy("%(count)s week", "%(count)s weeks", "count"),
    "day": ngettext_lazy("%(count)s day", "%(count)s days", "count"),
    "hour": ngettext_lazy("%(count)s hour", "%(count)s hours", "count"),
    "minute": ngettext_lazy("%(count)s minute", "%(count)s minutes", "count"),
    "second": ngettext_lazy("%(count)s second", "%(count)s seconds", "count"),
}


def zone_of(name: str) -> tzinfo:
    """A time zone by its name; UTC when this host does not know it."""
    try:
        return zoneinfo.ZoneInfo(name) if name else UTC
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return UTC


def zones() -> list[str]:
    """Names of the zones this host knows, UTC first."""
    return ["UTC", *sorted(name for name in zoneinfo.available_timezones() if "/" in name and name[0].isupper())]


def iso(when: datetime) -> str:
    """`2026-11-22T09:14:11Z`: as machines read it."""
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def short(when: datetime, now: datetime) -> str:
    """`4 min ago`, `21 Nov 16:20`, `21 Nov 2025`: as lists show a time."""
    since = now - when
    if -MINUTE < since < MINUTE:
        return _("just now")
    if timedelta() <= since < HOUR:
        return ngettext("%(count)s min ago", "%(count)s min ago", since // MINUTE) % {"count": since // MINUTE}
    if timedelta() <= since < DAY:
        return ngettext("%(count)s h ago", "%(count)s h ago", since // HOUR) % {"count": since // HOUR}
    local = timezone.localtime(when)
    if abs(since) < 180 * DAY:
        return date_format(local, "j M H:i")
    return date_format(local, "j M Y")


def whole(when: datetime) -> str:
    """`22 Nov 2026, 11:33:19 (08:33:19 UTC)`: as drawers and tool tips show it."""
    local = timezone.localtime(when)
    text = date_format(local, "j M Y, H:i:s")
    if local.utcoffset() == timedelta():
        return f"{text} UTC"
    return f"{text} ({when.astimezone(UTC):%H:%M:%S} UTC)"


def day(when: datetime) -> str:
    """`21 Nov 2025`."""
    return date_format(timezone.localtime(when), "j M Y")


def span(length: timedelta) -> str:
    """`4 y 2 mo`, `5 d 3 h`, `41 min`: two units at most, rounded down."""
    length = max(length, timedelta())
    days = length.days
    if days >= 365:
        months = (days % 365) // 30
        return _("%(years)s y %(months)s mo") % {"years": days // 365, "months": months}
    if days >= 60:
        return _("%(days)s d") % {"days": days}
    if days:
        return _("%(days)s d %(hours)s h") % {"days": days, "hours": (length - days * DAY) // HOUR}
    hours = length // HOUR
    if hours:
        return _("%(hours)s h %(minutes)s min") % {"hours": hours, "minutes": (length - hours * HOUR) // MINUTE}
    return _("%(minutes)s min") % {"minutes": length // MINUTE}


def days_left(until: datetime, now: datetime) -> int:
    """Whole days, rounded down; negative once it has passed."""
    return (until - now) // DAY


def period(length: timedelta) -> str:
    """`2 years`, `6 weeks`, `90 days`: a period as templates have it, exact. Fields take it in English only."""
    count, _space, unit = period_text(length).partition(" ")
    words = _PERIODS[unit.removesuffix("s")]
    return str(words % {"count": int(count)}) if count.isdecimal() else f"{count} {unit}"
