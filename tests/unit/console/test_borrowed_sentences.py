"""What CAs and the security audit say is translated whole, though those rooms know nothing of languages."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from certwright.console import borrowed
from certwright.console.borrowed_sentences import DISPOSITIONS, DOCTOR, POLICY_AND_AUDIT, REFUSALS
from tests.support.sentences import said_by_administration, said_by_policy_and_audit, said_by_the_doctor


def with_gaps(sentence: str) -> str:
    return re.sub(r"%\([a-h]\)s", "{}", sentence)


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (POLICY_AND_AUDIT, said_by_policy_and_audit),
        (REFUSALS, said_by_administration),
        (DOCTOR, said_by_the_doctor),
    ],
)
def test_the_list_is_what_the_source_says(listed: tuple[str, ...], said: Callable[[], set[str]]) -> None:
    """A sentence that is new stands in no list and fails here: add it, with a letter for each gap."""
    in_list = set(map(with_gaps, listed))
    assert sorted(said() - in_list - set(map(with_gaps, DISPOSITIONS))) == []
    assert sorted(in_list - said()) == []


def test_gaps_have_letters_of_their_own_and_no_other_percent_sign_is_there() -> None:
    for sentence in (*POLICY_AND_AUDIT, *REFUSALS, *DISPOSITIONS, *DOCTOR):
        gaps = re.findall(r"%\(([a-h])\)s", sentence)
        assert gaps == list("abcdefgh"[: len(gaps)]), sentence
        assert sentence.count("%") == len(gaps), sentence
        assert not re.search(r"\)s%\(", sentence), f"two gaps without a word between them: {sentence}"


def test_a_sentence_is_recognised_and_what_fills_it_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """The translation is looked up whole; what fills a gap may be a sentence itself, or anybody's name."""
    monkeypatch.setattr(borrowed, "_", lambda text: f"<{text}>")
    monkeypatch.setattr(borrowed, "get_language", lambda: "tr")
    assert borrowed.said(r"Denied by CORP\olga") == r"<Denied by CORP\olga>"
    assert (
        borrowed.said("Taken Under Submission  The certificate template Web requires a manager's approval.")
        == "<Taken Under Submission  <The certificate template Web requires a manager's approval.>>"
    )
    assert (
        borrowed.said("The name rules do not allow the DNS name x.example; allowed by DNS rule: *.corp.example.")
        == "<The name rules do not allow <the DNS name x.example>; allowed by DNS rule: *.corp.example.>"
    )
    assert borrowed.said("one") == "one"
    assert borrowed.said("anything a stranger says") == "<anything a stranger says>"
    monkeypatch.setattr(borrowed, "get_language", lambda: "en")
    assert borrowed.said(r"Denied by CORP\olga") == r"Denied by CORP\olga"


def test_the_doctors_sentences_are_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short as they are, they are looked for in his words only, and not in those of a CA."""
    monkeypatch.setattr(borrowed, "_", lambda text: f"<{text}>")
    monkeypatch.setattr(borrowed, "get_language", lambda: "tr")
    assert borrowed.diagnosed("LDAP answers in 3 ms") == "<LDAP answers in <3 ms>>"
    assert borrowed.diagnosed("make it again: ktpass /princ x") == "<make it again: <ktpass /princ x>>"
    assert borrowed.said("LDAP answers in 3 ms") == "<LDAP answers in 3 ms>"  # looked up whole, and not found


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"CORP\Domain Users: Full Control", r"CORP\Domain Users: <Full Control>"),
        (r"CORP\x: y: Enroll, inherited", r"CORP\x: y: <Enroll><, inherited>"),
        (r"CORP\a: Issue and Manage Certificates", r"CORP\a: <Issue and Manage Certificates>"),
        (r"CORP\a: Modify Permissions and Modify Owner", r"CORP\a: <Modify Permissions>< and ><Modify Owner>"),
        (
            r"CORP\a: Manage CA and Issue and Manage Certificates",
            r"CORP\a: <Manage CA and Issue and Manage Certificates>",
        ),
        (r"CORP\a: Write msDS-KeyCredentialLink", r"CORP\a: <Write msDS-KeyCredentialLink>"),
        (r"CORP\a: msPKI-Certificate-Policy", r"CORP\a: msPKI-Certificate-Policy"),
        ("no entry", "no entry"),
    ],
)
def test_the_right_of_an_entry_is_translated_and_the_name_is_not(
    monkeypatch: pytest.MonkeyPatch, text: str, shown: str
) -> None:
    monkeypatch.setattr(borrowed, "_", lambda text: f"<{text}>")
    monkeypatch.setattr(borrowed, "get_language", lambda: "tr")
    assert borrowed.entry(text) == shown


def test_no_text_takes_long_to_be_no_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is filled in may come from a request: a search that goes back and forth could be made to stop pages."""
    monkeypatch.setattr(borrowed, "get_language", lambda: "tr")
    text = "The request names two certificate templates: " + " in its , " * 20_000
    started = time.monotonic()
    borrowed.said(text)
    assert time.monotonic() - started < 2
