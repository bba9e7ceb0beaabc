"""The filter on any column: what a query says, what is kept, what is not understood."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.http import QueryDict
from django.utils import timezone

from certwright.console.clock import zone_of
from certwright.console.conditions import EXACT, MAX_CONDITIONS, NUMBER, TIME, Conditions, Field

FIELDS = (
    Field("name", "Name"),
    Field("code", "Code", EXACT),
    Field("size", "Size", NUMBER),
    Field("when", "When", TIME),
)
ROWS = [
    {"name": "web01.corp.example", "code": "a", "size": 1, "when": datetime(2026, 1, 30, 23, 59, tzinfo=UTC)},
    {"name": "WEB02.corp.example", "code": "b", "size": 2, "when": datetime(2026, 1, 31, 0, 0, tzinfo=UTC)},
    {"name": "mail", "code": "ab", "size": 3, "when": datetime(2026, 2, 1, 0, 0, tzinfo=UTC)},
    {"name": "", "code": "", "size": None, "when": None},
]


def read(query: str) -> Conditions:
    return Conditions.read(QueryDict(query), FIELDS)


def kept(query: str) -> list[int]:
    """Which rows are left, by their place."""
    return [ROWS.index(dict(row)) for row in read(query).keep(ROWS)]


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("f=name:contains:web", [0, 1]),
        ("f=name:is:MAIL", [2]),
        ("f=name:is:", [3]),
        ("f=code:is:a", [0]),
        ("f=size:before:3", [0, 1]),
        ("f=size:after:1", [1, 2]),
        ("f=size:between:2..3", [1, 2]),
        ("f=size:is:2", [1]),
        ("f=when:is:2026-01-31", [1]),
        ("f=when:before:2026-01-31", [0]),
        ("f=when:after:2026-01-31", [2]),
        ("f=when:between:2026-01-30..2026-01-31", [0, 1]),
        ("f=name:contains:web&f=size:after:1", [1]),
        ("fc=name&fo=contains&fv=web", [0, 1]),
        ("fc=when&fo=between&fv=2026-01-31&fw=2026-02-01", [1, 2]),
        ("", [0, 1, 2, 3]),
    ],
)
def test_all_conditions_hold_of_what_is_kept(query: str, left: list[int]) -> None:
    assert kept(query) == left


def test_days_are_the_accounts_own() -> None:
    """Midnight in Istanbul is three hours before that of UTC."""
    with timezone.override(zone_of("Europe/Istanbul")):
        assert kept("f=when:is:2026-01-31") == [0, 1]


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("f=when:is:soon", "a day such as 2026-01-31"),
        ("f=size:after:many", "a whole number"),
        ("f=size:contains:1", "is, before, after, between"),
        ("f=size:between:3..2", "must not be the smaller one"),
        ("f=size:between:3", "a whole number"),
        ("f=name:contains:", "say what it is to contain"),
        ("f=when:after:9999-12-31", "a day such as"),
    ],
)
def test_what_makes_no_sense_is_left_out_and_said(query: str, why: str) -> None:
    conditions = read(query)
    assert conditions.holding == ()
    assert why in conditions.misunderstood


@pytest.mark.parametrize("query", ["f=password:is:x", "f=", "f=:::", "fc=password&fo=is&fv=x"])
def test_other_columns_are_as_if_they_were_not_there(query: str) -> None:
    assert read(query) == Conditions()


def test_a_condition_reads_back_as_it_was_written() -> None:
    texts = ["name:contains:a:b", "size:between:1..2", "when:before:2026-01-31"]
    query = QueryDict(mutable=True)
    query.setlist("f", texts)
    conditions = Conditions.read(query, FIELDS)
    assert [condition.as_query for condition in conditions.holding] == texts
    assert conditions.without(conditions.holding[1]) == [texts[0], texts[2]]


def test_there_are_only_so_many() -> None:
    query = "&".join(f"f=size:is:{number}" for number in range(50))
    assert len(read(query).holding) == MAX_CONDITIONS
    assert len(read("f=size:is:1&f=size:is:1").holding) == 1


def test_a_chip_says_it_in_words() -> None:
    words = [condition.words for condition in read("f=size:before:3&f=when:before:2026-01-31&f=name:is:x").holding]
    assert words == ["below 3", "before 2026-01-31", "is x"]
