"""Risks in the template editor's words: where the template lives decides what its permissions are worth."""

from __future__ import annotations

import pytest

from certwright.adcs.requester import Sid
from certwright.console.template_editor.findings import finding
from certwright.directory.risks import Risk, Severity

STAFF = Sid("S-1-5-21-1-2-3-1200")


def sentence(number: str, severity: Severity, members: int | None) -> str:
    risk = Risk(number, severity, "as the rule says it", (), "", frozenset({STAFF}))
    return finding(risk, lambda _: (r"CORP\Staff", members), refused=False, accepted=False).sentence


@pytest.mark.parametrize(
    ("number", "severity", "said"),
    [
        ("ESC4", Severity.HIGH, r"CORP\Staff (12 members) could change the template"),
        ("ESC4", Severity.LOW, "here they cannot"),
        ("ESC15", Severity.MEDIUM, r"CORP\Staff (12 members) could choose the purposes"),
        ("ESC15", Severity.LOW, "this CA does not"),
        ("ESC1", Severity.HIGH, r"CORP\Staff (12 members) could get a logon certificate"),
    ],
)
def test_a_risk_of_a_domain_says_what_the_domain_allows(number: str, severity: Severity, said: str) -> None:
    """In the embedded directory the role decides who changes a template, not its list."""
    assert said in sentence(number, severity, 12)


def test_more_members_than_anybody_counts_are_many() -> None:
    assert r"CORP\Staff (many members)" in sentence("ESC1", Severity.HIGH, None)
    assert sentence("ESC1", Severity.HIGH, 1).startswith(r"CORP\Staff could")
