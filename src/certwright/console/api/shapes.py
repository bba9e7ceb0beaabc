"""What all nouns of the API share: text, numbers and times as they come in, and how values go out.

Whole numbers end at 2^53 - 1, where JSON stops being exact for everybody (RFC 8259 6). Times are ISO 8601 with their
zone (RFC 3339); they go out in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints, WithJsonSchema

from certwright.adcs.errors import HResult
from certwright.manager.inventory_values import BulkResult

MAX_NUMBER: Final = 2**53 - 1
MAX_PAGE: Final = 500
"""Rows of a page at most: `manager.inventory_values.MAX_PAGE`."""
PEM: Final = "application/x-pem-file"

_CONTROLS: Final = r"\x00-\x1f\x7f-\x9f"
_PRINTABLE: Final = rf"^[^{_CONTROLS}]*$"
_DIGITS: Final = re.compile(r"-?[0-9]{1,18}")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class Entered(BaseModel):
    """What comes in. A member that nobody knows is refused: it would be something somebody meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Told(BaseModel):
    """What goes out; made of values of the rooms behind."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


def _whole(value: object) -> object:
    """The number in a query, where everything is text; what is none stays text, and is refused as that."""
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value


def _flag(value: object) -> object:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _moment(value: object) -> datetime:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("a time is written as 2026-03-01T12:00:00Z, with its zone")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("no calendar has this time") from error


def line(limit: int, *, least: int = 0) -> Any:
    """One line of text."""
    return StringConstraints(min_length=least or None, max_length=limit, pattern=_PRINTABLE)


Line = Annotated[str, line(255)]
Name = Annotated[str, line(255, least=1)]
TemplateName = Annotated[str, line(64, least=1)]
Tag = Annotated[str, line(64, least=1)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=50)]
Number = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Id = Annotated[int, Strict(), Field(ge=1, le=MAX_NUMBER)]
Ids = Annotated[tuple[Id, ...], Field(min_length=1, max_length=MAX_PAGE)]
Moment = Annotated[
    datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation")
]

PathId = Annotated[int, Field(ge=1, le=MAX_NUMBER)]
QueryNumber = Annotated[int, Strict(), BeforeValidator(_whole)]
QueryId = Annotated[int, Strict(), Field(ge=1, le=MAX_NUMBER), BeforeValidator(_whole)]
QueryFlag = Annotated[bool, Strict(), BeforeValidator(_flag)]
PageSize = Annotated[int, Strict(), Field(ge=1, le=MAX_PAGE), BeforeValidator(_whole)]


def status_of(status: HResult | int) -> dict[str, str]:
    """A result code as two members of an answer."""
    symbol = status.name if isinstance(status, HResult) else ""
    return {"status": f"0x{int(status) & 0xFFFFFFFF:08X}", "symbol": symbol}


class BulkAnswer(Told):
    """What became of each of many: an act on many is acted on each by itself."""

    done: list[int]
    refused: dict[str, str]  # number -> why not

    @classmethod
    def of(cls, result: BulkResult, others: Mapping[int, str] | None = None) -> BulkAnswer:
        """With `others`, those that were refused before."""
        refused = {**(others or {}), **result.refused}
        return cls(done=list(result.done), refused={str(number): why for number, why in refused.items()})
