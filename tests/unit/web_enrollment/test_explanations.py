"""Sentences for people must never decide how a client classifies the page."""

from __future__ import annotations

import pytest

from certwright.adcs.errors import HResult
from certwright.web_enrollment.explanations import EXPLANATIONS, explain

MARKERS = (
    "Certificate Pending",
    "Certificate Issued",
    "Certificate Request Denied",
    "Your Request Id is",
    "The disposition message is",
    "Taken Under Submission",
    "Denied by",
    "property value is empty",
    "template that is not supported",
    "certnew.cer",
    "Disposition message:",
    "LastStatus:",
    "0x",
    '"',
)


@pytest.mark.parametrize("status", list(EXPLANATIONS), ids=lambda status: str(status.name))
def test_no_explanation_contains_a_marker(status: HResult) -> None:
    explanation = explain(status)
    text = f"{explanation.what} {explanation.remedy}"

    if status is HResult.CERTSRV_E_PROPERTY_EMPTY:
        assert explanation.what == "The requested property value is empty."  # the one marker that is a result text
        text = explanation.remedy
    assert [marker for marker in MARKERS if marker in text] == []


def test_codes_without_a_sentence_of_their_own_say_what_kind_of_trouble_it_is() -> None:
    assert "rule" in explain(HResult.CERTSRV_E_ALIGNMENT_FAULT, refusal=True).what
    assert "could not complete" in explain(HResult.CERTSRV_E_ALIGNMENT_FAULT).what
