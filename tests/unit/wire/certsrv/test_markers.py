"""The texts that clients look for, held against short expressions of what they look for."""

from __future__ import annotations

import re

import pytest

from certwright.adcs.errors import HResult
from certwright.wire.certsrv import markers


def test_script_has_the_link_as_first_quoted_string_on_the_line_after_the_function() -> None:
    lines = markers.issued_script(1234).split("\n")

    assert lines[0] == "function handleGetCert() {"
    assert lines[1].split('"')[1] == "certnew.cer?ReqID=1234&"
    assert 'location="certnew.cer?ReqID=1234&' in lines[1]
    assert 'location="certnew.p7b?ReqID=1234&' in markers.issued_script(1234)


@pytest.mark.parametrize(
    ("message", "written"),
    [
        ("Denied by Policy Module", 'The disposition message is "Denied by Policy Module"'),
        ('He said "no"', "The disposition message is \"He said 'no'\""),
        ("<script>alert(1)</script>", 'The disposition message is "&lt;script&gt;alert(1)&lt;/script&gt;"'),
        ("one\r\ntwo\tthree", 'The disposition message is "one two three"'),
    ],
)
def test_disposition_sentence_has_one_pair_of_quotes_and_no_markup(message: str, written: str) -> None:
    assert markers.disposition_sentence(message) == written


def test_policy_denial_keeps_its_two_blanks_and_lowercase_code() -> None:
    sentence = markers.disposition_sentence("Denied by Policy Module  0x80094012, The permissions ...")

    found = re.search(r"Denied by Policy Module  (0x[0-9a-fA-F]+),", sentence)
    assert found is not None
    assert found[1] == "0x80094012"


@pytest.mark.parametrize("message", ["Taken Under Submission", "a\tb", "x\r\ny", "", "<b>bold</b>"])
def test_disposition_line_is_one_line_with_exactly_two_tabs_before_the_message(message: str) -> None:
    line = markers.disposition_line(message)

    found = re.search(r"Disposition message:[^\t]+\t\t([^\r\n]+)", line)
    assert found is not None
    assert line.count("\t") == 2
    assert "\n" not in line
    assert "<" not in found[1]


def test_last_status_has_the_code_a_blank_and_the_signed_decimal_in_parentheses() -> None:
    line = markers.last_status_line("No permission.", HResult.CERTSRV_E_TEMPLATE_DENIED)

    assert re.search(r" (0x[0-9a-fA-F]+) \(", line)
    assert line.endswith("No permission. 0x80094012 (-2146877422 CERTSRV_E_TEMPLATE_DENIED)")


def test_messages_are_bounded() -> None:
    assert len(markers.escaped("x" * 100_000)) == markers.MAX_MESSAGE
