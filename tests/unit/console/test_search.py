"""What somebody typed, sorted into what it can be."""

from __future__ import annotations

import pytest

from certwright.console.search import Query


@pytest.mark.parametrize("text", ["1a2b3c", "1A 2B 3C", "1a:2b:3c"])
def test_six_hexadecimal_digits_may_be_a_serial_number(text: str) -> None:
    assert Query.of(text).hexadecimal == "1a2b3c"


@pytest.mark.parametrize("text", ["12", "1a2b3", "web17.corp.example", "1a2b3g"])
def test_fewer_or_others_are_none(text: str) -> None:
    assert Query.of(text).hexadecimal == ""


def test_digits_are_a_request_id_or_an_order() -> None:
    assert Query.of("4920").number == 4920
    assert Query.of("49201234567890").number is None
    assert Query.of("٣").number is None


@pytest.mark.parametrize("text", [r"CORP\m.kaya", "m.kaya@corp.example", "S-1-5-21-1-2-3-500"])
def test_an_account_is_known_by_its_form(text: str) -> None:
    assert Query.of(text).account == text


def test_what_is_typed_is_bounded_and_tidied() -> None:
    assert Query.of("  a \t b\0 ").text == "a b"
    assert len(Query.of("x" * 5000).text) == 200
