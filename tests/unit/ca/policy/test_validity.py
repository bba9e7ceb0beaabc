"""Validity periods. [MS-WCCE] 3.2.2.6.2.1.4.4.2; the sums of the certificates printed in [MS-WSTEP] 4.1."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwright.ca.policy.case import Refused
from certwright.ca.policy.validity import validity
from tests.support.deciding import NOW, make_facts

START = NOW.replace(microsecond=0) - timedelta(minutes=10)
YEAR = timedelta(days=365)
DAY = timedelta(days=1)


def lifetime(period: timedelta | None, overlap: timedelta = DAY, **facts: Any) -> timedelta:
    not_before, not_after = validity(make_facts(**facts), period, overlap, "Template")
    assert not_before.microsecond == not_after.microsecond == 0
    return not_after - not_before


def test_template_period_counts_from_the_beginning() -> None:
    """`User` lasts exactly 365 days 0:00:00."""
    assert validity(make_facts(), YEAR, DAY, "User") == (START, START + YEAR)


def test_maximum_of_the_ca_counts_from_now() -> None:
    """A subordinate CA capped by the registry lasts 730 days 0:10:00."""
    assert lifetime(5 * YEAR) == timedelta(days=730, minutes=10)


def test_certificate_ends_with_the_ca_at_the_latest() -> None:
    """Cut silently, as Windows does."""
    end = NOW.replace(microsecond=0) + 100 * DAY

    assert validity(make_facts(not_after=end), YEAR, DAY, "Template") == (START, end)


def test_certificate_does_not_begin_before_its_ca() -> None:
    begin = NOW.replace(microsecond=0) - timedelta(minutes=1)

    assert validity(make_facts(not_before=begin), YEAR, DAY, "Template") == (begin, begin + YEAR)


def test_standalone_ca_has_no_template_period() -> None:
    assert lifetime(None, timedelta(0), maximum_validity=YEAR) == YEAR + timedelta(minutes=10)


def test_renewal_period_may_fill_the_validity_but_not_exceed_it() -> None:
    """CERTSRV_E_CERT_TYPE_OVERLAP 0x80094814."""
    assert lifetime(42 * DAY, 42 * DAY) == 42 * DAY

    with pytest.raises(Refused, match="renewal period of Template"):
        lifetime(42 * DAY, 42 * DAY + timedelta(seconds=1))


@pytest.mark.parametrize("period", [timedelta(0), timedelta(minutes=5), -DAY])
def test_certificate_that_would_have_ended_already_is_refused(period: timedelta) -> None:
    with pytest.raises(Refused):
        lifetime(period, timedelta(0))


@given(
    period=st.timedeltas(timedelta(hours=1), timedelta(days=40_000)),
    maximum=st.timedeltas(timedelta(hours=1), timedelta(days=40_000)),
    left=st.timedeltas(timedelta(hours=1), timedelta(days=40_000)),
    skew=st.timedeltas(timedelta(0), timedelta(hours=12)),
)
def test_no_certificate_outlives_template_maximum_or_ca(
    period: timedelta, maximum: timedelta, left: timedelta, skew: timedelta
) -> None:
    facts = make_facts(maximum_validity=maximum, not_after=NOW + left, clock_skew=skew)

    try:
        not_before, not_after = validity(facts, period, timedelta(0), "Template")
    except Refused:
        assert period <= skew + timedelta(seconds=1)
        return

    assert NOW - skew - timedelta(seconds=1) <= not_before <= NOW < not_after
    assert not_after <= facts.not_after
    assert not_after - not_before <= period
    assert not_after <= NOW + maximum
