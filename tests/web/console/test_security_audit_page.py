"""The security audit in the console: what is open and how it is closed, and Health's lines about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.utils import translation

from certwright.console.pages.security_audit import TITLES
from certwright.directory.security_audit.catalogue import ESCALATIONS
from certwright.server.composition import Installation
from tests.support.installation import ISSUING, People
from tests.web.console.conftest import Browser, text_of

SignIn = Callable[..., Browser]


@pytest.fixture
def relayable(installation: Installation) -> Iterator[None]:
    """Channel binding may be left out, which somebody accepted."""
    admin = installation.registry.administer(installation.ca(ISSUING).config, installation.operator())
    admin.set_configuration({"channel-binding": "allow"}, override=["ESC8"], reason="an old client")
    yield
    admin.set_configuration({"channel-binding": "require"})


def test_the_page_shows_all_seventeen(sign_in: SignIn) -> None:
    page = text_of(sign_in(People.AUDITOR).get("/health/security/"))
    for number, title in TITLES.items():
        assert f"{number} {title}" in page
    assert "there is no RPC interface" in page
    assert "Cannot happen here" in page


def test_a_finding_is_shown_with_why_and_how(sign_in: SignIn, relayable: None) -> None:
    page = text_of(sign_in(People.CA_ADMINISTRATOR).get("/health/security/"))
    assert "ESC8 Logons relayed to web enrollment" in page
    assert "Overridden" in page
    assert "channel binding may be left out (allow)" in page
    assert f"certwright ca set channel-binding=require --ca '{ISSUING}'" in page


def test_health_lists_what_was_overridden(sign_in: SignIn, relayable: None) -> None:
    answer = sign_in(People.AUDITOR).get("/health/")
    assert f"ESC8: CA {ISSUING}" in text_of(answer)
    assert 'href="/health/security/"' in answer.content.decode()


def test_health_keeps_findings_from_whoever_may_not_audit(sign_in: SignIn, relayable: None) -> None:
    answer = sign_in(People.BACKUP).get("/health/")
    assert "ESC8" not in text_of(answer)
    assert "/health/security/" not in answer.content.decode()


def test_titles_are_those_of_the_command_line() -> None:
    with translation.override("en"):
        assert {number: str(title) for number, title in TITLES.items()} == {
            number: escalation.title for number, escalation in ESCALATIONS.items()
        }
