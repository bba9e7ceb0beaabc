"""English first; Turkish as the second language; the account's choice before the browser's."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from certwright.console import states
from tests.support.installation import People
from tests.web.console.conftest import Browser, text_of

LOCALE = Path("src/certwright/console/locale/tr/LC_MESSAGES")


def test_the_browser_is_asked_for_the_language(anybody: Browser) -> None:
    page = anybody.get("/sign-in/", headers={"Accept-Language": "tr-TR,tr;q=0.9,en;q=0.5"})
    assert 'lang="tr"' in page.content.decode()
    assert "Oturum aç" in text_of(page)
    assert "Sign in" in text_of(anybody.get("/sign-in/", headers={"Accept-Language": "ja"}))


def test_the_accounts_choice_goes_first(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.ENROLLEE)
    data = {"zone": "UTC", "theme": "", "density": "", "page_size": "25", "shortcuts": "on"}
    browser.post("/account/", data | {"language": "tr"})
    page = browser.get("/account/", headers={"Accept-Language": "en"})
    assert 'lang="tr"' in page.content.decode()
    assert "Hesap ayarları" in text_of(page)
    browser.post("/account/", data | {"language": ""})


def test_words_are_translated_and_values_are_not() -> None:
    from django.utils import translation

    with translation.override("tr"):
        state = states.state_of("pending")
        assert str(state.word) == "Beklemede"
        assert (state.colour, state.icon) == ("yellow", "clock-hour-4")


def test_the_compiled_catalogue_is_the_one_that_is_written() -> None:
    """`msgfmt` makes the same of the .po as is committed; skipped where it is not installed."""
    try:
        made = subprocess.run(
            ["msgfmt", "--check-format", "-o", "-", str(LOCALE / "django.po")], capture_output=True, check=True
        ).stdout
    except FileNotFoundError:
        pytest.skip("msgfmt is not installed")
    assert made == (LOCALE / "django.mo").read_bytes(), "run scripts/messages"


STILL_ENGLISH = 480
"""Entries of the catalogue without a Turkish text: the newest pages. May only become fewer; 0 is the goal."""


def test_no_more_is_left_untranslated_than_before() -> None:
    """What a person reads in Turkish is Turkish, but for pages counted here; no entry is doubtful."""
    text = (LOCALE / "django.po").read_text()
    entries = text.split("\n\n")[1:]
    assert not [entry for entry in entries if "#, fuzzy" in entry]
    empty = [
        entry for entry in entries if re.search(r'msgstr(?:\[0\])? ""\n(?!")', entry + "\n") and "#~" not in entry
    ]
    assert len(empty) <= STILL_ENGLISH


def test_every_marked_string_is_in_the_catalogue() -> None:
    """A string that was marked and not collected; `scripts/messages check` names it."""
    done = subprocess.run([sys.executable, "scripts/messages", "check"], capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip("xgettext is not installed")
    assert done.returncode == 0, done.stderr
