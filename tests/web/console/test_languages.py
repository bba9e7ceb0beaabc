"""English first; Turkish as the second language; the account's choice before the browser's."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from certwright.console import borrowed, clock, states
from certwright.console.access import Role
from tests.web.console.conftest import Browser, text_of

LOCALE = Path("src/certwright/console/locale/tr/LC_MESSAGES")
_PLACE: Final = re.compile(r"%\(\w+\)s|%[%\d]|</?\w+>")
_NAME: Final = re.compile(
    r"ADCS|ASN\.1|Basic|CA|(?:Delta )?CRL|KiB|Kerberos|NTLM|Negotiate|OCSP|OID|OpenID|PEM|REST API|SAN|SHA-1|SHA-256"
    r"|SID|URL|Webhook|Windows (?:(?:XP|Vista|[\d.]+) / )?Server \d{4}(?: R2)?|certwright [a-z].*"
)
"""What is called the same in every language: products, protocols, formats, units, command lines."""


def test_the_browser_is_asked_for_the_language(anybody: Browser) -> None:
    page = anybody.get("/sign-in/", headers={"Accept-Language": "tr-TR,tr;q=0.9,en;q=0.5"})
    assert 'lang="tr"' in page.content.decode()
    assert "Oturum aç" in text_of(page)
    assert "Sign in" in text_of(anybody.get("/sign-in/", headers={"Accept-Language": "ja"}))


def test_the_accounts_choice_goes_first(sign_in: Callable[..., Browser], local: Callable[..., str]) -> None:
    browser = sign_in(local("linguist", Role.AUDITOR))
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


def catalogue() -> Iterator[tuple[str, str]]:
    """Every English text with its Turkish one; of a plural, the first form."""
    for entry in (LOCALE / "django.po").read_text().split("\n\n")[1:]:
        found = dict(re.findall(r'^(msgid|msgstr)(?:\[0\])? ((?:".*"\n?)+)', entry, re.MULTILINE))
        yield _text(found["msgid"]), _text(found["msgstr"])


def _text(lines: str) -> str:
    return "".join(ast.literal_eval(line) for line in lines.splitlines())


def test_nothing_is_left_untranslated() -> None:
    """What a person reads in Turkish is Turkish; no entry is doubtful."""
    assert "#, fuzzy" not in (LOCALE / "django.po").read_text()
    assert [english for english, turkish in catalogue() if not turkish] == []


def test_what_reads_the_same_in_turkish_is_a_name() -> None:
    same = [_PLACE.sub("", english).strip(": ") for english, turkish in catalogue() if english == turkish]
    assert [each for each in same if each and not _NAME.fullmatch(each)] == []


def test_a_translation_keeps_places_tags_and_the_end_of_its_line() -> None:
    """A lost `%(name)s` hides what a sentence is about; a lost tag or an added `"` breaks the page around it."""
    for english, turkish in catalogue():
        assert sorted(_PLACE.findall(turkish)) == sorted(_PLACE.findall(english)), english
        assert not [mark for mark in '"<>' if mark in turkish and mark not in english], english
        assert english.endswith("\n") == turkish.endswith("\n"), english


def test_what_other_rooms_say_is_translated_here() -> None:
    """Fields of a preview, periods of templates, why an escalation cannot happen here."""
    from django.utils import translation

    with translation.override("tr"):
        assert borrowed.field_name("Not before") == "Başlangıç"
        assert borrowed.field_name("SAN, DNS") == "SAN, DNS"
        assert borrowed.standing_reason("ESC11", "there is no RPC interface") == "RPC arabirimi yok"
        assert borrowed.standing_reason("ESC11", "CA One: read it yourself") == "CA One: read it yourself"
        assert borrowed.object_name("template WebServer") == "WebServer şablonu"
        assert borrowed.entry(r"CORP\all: Full Control, inherited") == r"CORP\all: Tam Denetim, devralınmış"
        assert (
            borrowed.said("the certificate may be used for any purpose") == "sertifika her amaç için kullanılabilir"
        )
        assert borrowed.diagnosed("the clocks differ by 400 seconds; Kerberos allows 300") == (
            "saatler arasında 400 saniye fark var; Kerberos 300 saniyeye izin verir"
        )
        assert clock.period(timedelta(days=730)) == "2 yıl"
        assert clock.period(timedelta(seconds=1.5)) == "1.5 seconds"
    assert borrowed.event_name("ADCS_SERVICE_CHANGED") == "AD CS service changed"


def test_every_marked_string_is_in_the_catalogue() -> None:
    """A string that was marked and not collected; `scripts/messages check` names it."""
    done = subprocess.run([sys.executable, "scripts/messages", "check"], capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip("xgettext is not installed")
    assert done.returncode == 0, done.stderr
