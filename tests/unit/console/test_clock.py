"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone, translation

from certwright.console import clock

NOW = datetime(2026, 11, 22, 9, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (timedelta(seconds=20), "just now"),
        (timedelta(seconds=-30), "just now"),
        (timedelta(minutes=4, seconds=59), "4 min ago"),
        (timedelta(hours=1), "1 h ago"),
        (timedelta(hours=23, minutes=59), "23 h ago"),
        (timedelta(hours=24), "21 Nov 09:14"),
        (timedelta(days=365), "22 Nov 2025"),
        (timedelta(days=-3), "25 Nov 09:14"),
    ],
)
def test_lists_show_a_time_relative_up_to_a_day(before: timedelta, text: str) -> None:
    with translation.override("en"), timezone.override(UTC):
        assert clock.short(NOW - before, NOW) == text


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(days=4 * 365 + 61), "4 y 2 mo"),
        (timedelta(days=196, hours=5), "196 d"),
        (timedelta(days=5, hours=3, minutes=50), "5 d 3 h"),
        (timedelta(hours=2, minutes=5), "2 h 5 min"),
        (timedelta(minutes=41, seconds=59), "41 min"),
        (timedelta(seconds=-1), "0 min"),
    ],
)
def test_a_duration_has_two_units_at_most_and_is_rounded_down(length: timedelta, text: str) -> None:
    with translation.override("en"):
        assert clock.span(length) == text


def test_the_whole_time_names_utc_beside_the_accounts_zone() -> None:
    pytest.importorskip("zoneinfo")
    zone = clock.zone_of("Europe/Istanbul")
    with translation.override("en"):
        with timezone.override(UTC):
            assert clock.whole(NOW) == "22 Nov 2026, 09:14:00 UTC"
        if zone is not UTC:
            with timezone.override(zone):
                assert clock.whole(NOW) == "22 Nov 2026, 12:14:00 (09:14:00 UTC)"


def test_an_unknown_zone_is_utc() -> None:
    assert clock.zone_of("Nowhere/At-All") is UTC
    assert clock.zone_of("../etc/passwd") is UTC


@pytest.mark.parametrize(
    ("after", "days"), [(timedelta(hours=23), 0), (timedelta(days=7), 7), (timedelta(hours=-1), -1)]
)
def test_days_left_are_rounded_down(after: timedelta, days: int) -> None:
    assert clock.days_left(NOW + after, NOW) == days
