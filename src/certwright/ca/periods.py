"""Periods as settings write them: `10 minutes`, `1 weeks`, `2 years`. ValidityPeriod and ValidityPeriodUnits.

Months and years are calendar ones, so how long a period is depends on where it starts.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final

MAX_COUNT: Final = 100_000
MAX_YEARS: Final = 200


class Unit(StrEnum):
    MINUTES = "minutes"
    HOURS = "hours"
    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months"
    YEARS = "years"


_FIXED: Final = {
    Unit.MINUTES: timedelta(minutes=1),
    Unit.HOURS: timedelta(hours=1),
    Unit.DAYS: timedelta(days=1),
    Unit.WEEKS: timedelta(weeks=1),
}


@dataclass(frozen=True, slots=True)
class Period:
    """A count of units; `str()` is the form settings have."""

    count: int
    unit: Unit

    @classmethod
    def parse(cls, text: str) -> Period:
        """Read `2 years`; one of something may be written without s.

        Raises:
            ValueError: no period; the message says what one looks like.
        """
        number, _, word = " ".join(text.lower().split()).partition(" ")
        unit = next((unit for unit in Unit if word in (unit.value, unit.value[:-1])), None)
        if unit is None or not (number.isascii() and number.isdigit() and len(number) <= 6):
            raise ValueError(f"{text!r} is no period: write a number and one of {', '.join(Unit)}, as in '2 years'")
        period = cls(int(number), unit)
        if period.count > MAX_COUNT or period.longest > timedelta(days=366 * MAX_YEARS):
            raise ValueError(f"{text!r} is too long: at most {MAX_YEARS} years are possible")
        return period

    @property
    def longest(self) -> timedelta:
        """An upper bound, wherever it starts."""
        if self.unit is Unit.MONTHS:
            return timedelta(days=31 * self.count)
        if self.unit is Unit.YEARS:
            return timedelta(days=366 * self.count)
        return _FIXED[self.unit] * self.count

    def after(self, when: datetime) -> datetime:
        """The moment it ends when it begins at `when`; in a shorter month the last day stands for the 31st."""
        fixed = _FIXED.get(self.unit)
        if fixed is not None:
            return when + fixed * self.count
        months = when.month - 1 + self.count * (12 if self.unit is Unit.YEARS else 1)
        year, month = when.year + months // 12, months % 12 + 1
        return when.replace(year=year, month=month, day=min(when.day, calendar.monthrange(year, month)[1]))

    def length(self, start: datetime) -> timedelta:
        """How long it is when it begins at `start`; of that moment only the date counts."""
        fixed = _FIXED.get(self.unit)
        return fixed * self.count if fixed is not None else _from_date(self, start.date())

    def __str__(self) -> str:
        return f"{self.count} {self.unit}"


@lru_cache(maxsize=64)  # asked for every certificate, and a day has many
def _from_date(period: Period, start: date) -> timedelta:
    begin = datetime.combine(start, time(), UTC)
    return period.after(begin) - begin
