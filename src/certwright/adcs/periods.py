"""Periods, as directories store them and as people write them. [MS-CRTD] 2.11 pKIExpirationPeriod, 2.15 overlap.

A stored period is a negative count of 100 ns in eight octets, little-endian. A year is 365 days and a month 30 days,
as in Windows' own templates; calendars play no part.
"""

from __future__ import annotations

import re
import struct
from datetime import timedelta
from typing import Final

PERIOD_OCTETS: Final = 8
MAX_PERIOD: Final = timedelta(days=365 * 100)
"""No certificate of ours lives longer: RFC 5280 stops at the year 9999, keys stop long before."""

_TICKS_PER_MICROSECOND: Final = 10
_UNITS: Final = {
    "year": timedelta(days=365),
    "month": timedelta(days=30),
    "week": timedelta(weeks=1),
    "day": timedelta(days=1),
    "hour": timedelta(hours=1),
    "minute": timedelta(minutes=1),
    "second": timedelta(seconds=1),
}
_SHOWN_UNITS: Final = ("year", "week", "day", "hour", "minute", "second")  # a month is read, never shown
_PERIOD = re.compile(r"(\d{1,9})\s*([A-Za-z]+)")


def encode_period(period: timedelta) -> bytes:
    """The eight octets a directory stores."""
    return struct.pack("<q", -(period // timedelta(microseconds=1)) * _TICKS_PER_MICROSECOND)


def decode_period(stored: bytes) -> timedelta:
    """Raises:
    ValueError: not eight octets, not negative, or finer than a microsecond (nobody stores that).
    """
    if len(stored) != PERIOD_OCTETS:
        raise ValueError(f"a stored period has {PERIOD_OCTETS} octets, not {len(stored)}")
    (ticks,) = struct.unpack("<q", stored)
    if ticks > 0:
        raise ValueError("a stored period is a negative number of 100 ns")
    microseconds, rest = divmod(-ticks, _TICKS_PER_MICROSECOND)
    if rest:
        raise ValueError("the period is not a whole number of microseconds")
    return timedelta(microseconds=microseconds)


def parse_period(text: str) -> timedelta:
    """`1 year`, `6 weeks`, `90 days`, `8 hours`; singular or plural, in any case.

    Raises:
        ValueError: it does not read like that, or is longer than a hundred years.
    """
    found = _PERIOD.fullmatch(text.strip())
    unit = _UNITS.get(found[2].lower().removesuffix("s")) if found else None
    if found is None or unit is None:
        raise ValueError(
            f"{text!r} is no period; write a number and a unit, such as 2 years, 6 weeks, 90 days, 8 hours"
        )
    if int(found[1]) > MAX_PERIOD // unit:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return int(found[1]) * unit


def period_text(period: timedelta) -> str:
    """The period in the largest unit that divides it: `2 years`, `6 weeks`, `90 days`."""
    for name in _SHOWN_UNITS:
        count, rest = divmod(period, _UNITS[name])
        if count and not rest:
            return f"{count} {name}" if count == 1 else f"{count} {name}s"
    return f"{period.total_seconds():g} seconds"
