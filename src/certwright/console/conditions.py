"""The filter on any column: which column, how it is compared, with what; as a query says it and as a chip shows it.

A list says what it can be filtered by (`Field`), the dialog "Add filter" offers that, and the query carries any
number of `f=COLUMN:OPERATOR:VALUE`. Days are days in the account's time zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

MAX_CONDITIONS: Final = 8
MAX_VALUE: Final = 200

TEXT, EXACT, NUMBER, TIME = "text", "exact", "number", "time"
"""What a column holds: text, text that is compared as a whole, a number, a point in time."""

OPERATORS: Final[Mapping[str, tuple[str, ...]]] = {
    TEXT: ("is", "contains"),
    EXACT: ("is",),
    NUMBER: ("is", "before", "after", "between"),
    TIME: ("is", "before", "after", "between"),
}
OPERATOR_WORDS: Final = {
    "is": lazy("is"),
    "contains": lazy("contains"),
    "before": lazy("before"),
    "after": lazy("after"),
    "between": lazy("between"),
}
_NUMBER_WORDS: Final = {"before": lazy("below"), "after": lazy("above")}
_RANGE: Final = ".."


@dataclass(frozen=True, slots=True)
class Field:
    """A column that a list can be filtered by, shown or not."""

    key: str
    label: Any
    kind: str = TEXT


@dataclass(frozen=True, slots=True)
class Bounds:
    """From `least` on, and below `beyond`. None is no bound."""

    least: Any = None
    beyond: Any = None

    def hold(self, value: Any) -> bool:
        if value is None:
            return False
        return (self.least is None or value >= self.least) and (self.beyond is None or value < self.beyond)


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter on one column."""

    field: Field
    operator: str
    value: str
    other: str = ""  # the other end of `between`

    @property
    def as_query(self) -> str:
        """As the parameter `f` carries it."""
        value = f"{self.value}{_RANGE}{self.other}" if self.operator == "between" else self.value
        return f"{self.field.key}:{self.operator}:{value}"

    @property
    def words(self) -> str:
        """`contains web`, `before 2026-01-31`: what the chip says behind the column's name."""
        word = _NUMBER_WORDS.get(self.operator) if self.field.kind == NUMBER else None
        value = f"{self.value} – {self.other}" if self.operator == "between" else self.value
        return f"{word or OPERATOR_WORDS[self.operator]} {value}"

    @property
    def bounds(self) -> Bounds:
        """What a number or a time must lie between."""
        if self.field.kind == TIME:
            first, last = _day(self.value), _day(self.other or self.value)
            ends: tuple[Any, Any] = (_start(first), _start(last + timedelta(days=1)))
        else:
            ends = (int(self.value), int(self.other or self.value) + 1)
        before, after = ends
        match self.operator:
            case "before":
                return Bounds(beyond=before)
            case "after":
                return Bounds(least=after)
            case _:
                return Bounds(before, after)

    def holds(self, row: Mapping[str, Any]) -> bool:
        """For lists that are in memory."""
        found = row.get(self.field.key)
        if self.field.kind in (NUMBER, TIME):
            return self.bounds.hold(found)
        text, wanted = str("" if found is None else found).casefold(), self.value.casefold()
        return wanted in text if self.operator == "contains" else wanted == text


@dataclass(frozen=True, slots=True)
class Conditions:
    """Every filter on any column that a query holds."""

    holding: tuple[Condition, ...] = ()
    misunderstood: str = ""  # a sentence about one that was left out

    @classmethod
    def read(cls, given: QueryDict, fields: Sequence[Field]) -> Conditions:
        """Read `f=...`, and what the dialog sent: `fc` (column), `fo` (operator), `fv` and `fw` (values)."""
        by_key = {field.key: field for field in fields}
        asked = [_parts(text) for text in given.getlist("f")[:MAX_CONDITIONS]]
        if given.get("fc"):
            asked.append(tuple(given.get(name, "") for name in ("fc", "fo", "fv", "fw")))
        found: list[Condition] = []
        misunderstood = ""
        for key, operator, value, other in asked:
            field = by_key.get(key)
            if field is None:
                continue
            try:
                condition = _condition(field, operator, _clean(value), _clean(other))
            except ValueError as error:
                misunderstood = str(error)
                continue
            if condition not in found and len(found) < MAX_CONDITIONS:
                found.append(condition)
        return cls(tuple(found), misunderstood)

    def without(self, condition: Condition) -> list[str]:
        """The query without one of them."""
        return [each.as_query for each in self.holding if each != condition]

    def keep(self, rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The rows for which all of them hold."""
        return [row for row in rows if all(condition.holds(row) for condition in self.holding)]


def _condition(field: Field, operator: str, value: str, other: str) -> Condition:
    """Raises:
    ValueError: it makes no sense; the text is a sentence for the person.
    """
    label = str(field.label)
    if operator not in OPERATORS[field.kind]:
        choices = ", ".join(str(OPERATOR_WORDS[name]) for name in OPERATORS[field.kind])
        raise ValueError(_("%(column)s can be filtered by: %(choices)s.") % {"column": label, "choices": choices})
    if operator != "between":
        other = ""
    condition = Condition(field, operator, value, other)
    if field.kind in (NUMBER, TIME):
        try:
            bounds = condition.bounds if other or operator != "between" else _incomplete()
        except (ValueError, OverflowError):
            example = _("a day such as 2026-01-31") if field.kind == TIME else _("a whole number")
            text = _("%(column)s is compared with %(example)s, not with “%(value)s”.")
            raise ValueError(
                text % {"column": label, "example": example, "value": f"{value} {other}".strip()}
            ) from None
        if bounds.least is not None and bounds.beyond is not None and bounds.least >= bounds.beyond:
            raise ValueError(_("%(column)s: the second value must not be the smaller one.") % {"column": label})
    elif operator == "contains" and not value:
        raise ValueError(_("%(column)s: say what it is to contain.") % {"column": label})
    return condition


def _incomplete() -> Bounds:
    raise ValueError


def _parts(text: str) -> tuple[str, ...]:
    key, _colon, rest = text.partition(":")
    operator, _colon, value = rest.partition(":")
    other = ""
    if operator == "between":
        value, _range, other = value.partition(_RANGE)
    return key, operator, value, other


def _clean(text: str) -> str:
    return " ".join(text[:MAX_VALUE].replace("\0", "").split())


def _day(text: str) -> date:
    return datetime.fromisoformat(text).date()


def _start(day: date) -> datetime:
    """When a day begins in the account's time zone."""
    return datetime.combine(day, time(), timezone.get_current_timezone())
