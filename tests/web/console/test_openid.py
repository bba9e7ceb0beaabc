"""Signing in with an OpenID Connect provider: a real one, over TLS, with PKCE; and what it does not give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from certwright.adcs.events import AuditEvent
from certwright.console.models import Account
from certwright.console.rooms import OpenIdProvider, furnish, rooms
from certwright.server.composition import Installation
from certwright.server.console import _openid_app, openid_provider
from certwright.server.home import CONFIGURATION, Home
from tests.support.installation import Mold, People
from tests.support.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdServer, openid_server, trust_file
from tests.web.console.conftest import Browser, text_of

SIGN_IN = "/sign-in/with/openid/"


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdServer]:
    with openid_server() as running:
        yield running


@pytest.fixture
def configured(
    provider: OpenIdServer, furnished: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> OpenIdServer:
    """The console knows the provider, and this system trusts its CA."""
    from django.conf import settings

    known = OpenIdProvider("Corp Login", provider.issuer, CLIENT_ID, CLIENT_SECRET)
    furnish(replace(rooms(), openid=known))
    monkeypatch.setattr(settings, "SOCIALACCOUNT_PROVIDERS", {"openid_connect": {"APPS": [_openid_app(known)]}})
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(trust_file(provider, tmp_path)))
    monkeypatch.setattr(provider, "person", {"sub": "4711", "name": "Ayla Demir", "email": "ayla@corp.example"})
    return provider


def sign_in(browser: Browser, provider: OpenIdServer, **form: str) -> Any:
    """All the way: the button, the provider, and back."""
    sent = browser.post(SIGN_IN, form)
    assert sent.status_code == 302
    back = urlsplit(provider.authorize(sent["Location"]))
    assert back.netloc == "localhost"
    assert back.path == f"{SIGN_IN}callback/"
    return browser.get(f"{back.path}?{back.query}")


def test_the_page_of_signing_in_offers_it_and_its_policy_lets_the_form_lead_there(
    anybody: Browser, configured: OpenIdServer
) -> None:
    page = anybody.get("/sign-in/")
    assert "Sign in with Corp Login" in text_of(page)
    assert f"form-action 'self' {configured.issuer}" in page["Content-Security-Policy"]


def test_whoever_is_new_gets_in_and_has_no_role(
    anybody: Browser, configured: OpenIdServer, installation: Installation
) -> None:
    answer = sign_in(anybody, configured)
    assert answer["Location"] == "/"
    page = text_of(anybody.get("/account/"))
    assert r"CONSOLE\openid\ayla@corp.example" in page
    assert "it has no role yet" in page
    assert anybody.get("/health/").status_code == 403
    events = installation.audit.events(ca="", event=AuditEvent.CONSOLE_ACCOUNT_CHANGED, limit=1)
    assert events[0].details["change"] == "added at the first sign-in with an OpenID provider"


def test_the_same_person_has_the_same_account_and_the_roles_it_was_given(
    anybody: Browser, configured: OpenIdServer
) -> None:
    configured.person = {"sub": "0815", "name": "Second Person"}
    sign_in(anybody, configured)
    account = Account.objects.get(display_name="Second Person")
    account.roles = ["operator"]
    account.save()
    again = Browser()
    configured.person = {"sub": "0815", "name": "Second Person, renamed"}
    sign_in(again, configured)
    assert "Sees and works on every order" in text_of(again.get("/account/"))
    assert Account.objects.filter(kind=Account.Kind.OPENID, display_name__startswith="Second").count() == 1


def test_it_leads_back_to_where_one_came_from(anybody: Browser, configured: OpenIdServer) -> None:
    assert sign_in(anybody, configured, next="/audit/?event=4887")["Location"] == "/audit/?event=4887"


def test_a_disabled_account_stays_out(anybody: Browser, configured: OpenIdServer) -> None:
    configured.person = {"sub": "42", "name": "Third Person"}
    sign_in(anybody, configured)
    Account.objects.filter(display_name="Third Person").update(is_active=False)
    late = Browser()
    sign_in(late, configured)
    assert late.get("/account/").status_code == 302


def test_a_mail_address_that_somebody_else_has_takes_no_account_over(
    anybody: Browser, configured: OpenIdServer
) -> None:
    Browser().sign_in(People.ADMINISTRATOR)
    configured.person = {
        "sub": "66",
        "name": "Mallory",
        "email": "administrator@corp.example",
        "email_verified": True,
    }
    sign_in(anybody, configured)
    assert "no role yet" in text_of(anybody.get("/account/"))


def test_a_refusal_and_a_stolen_answer_let_nobody_in(anybody: Browser, configured: OpenIdServer) -> None:
    configured.person = None
    sign_in(anybody, configured)
    assert anybody.get("/account/").status_code == 302
    configured.person = {"sub": "4711"}
    sent = anybody.post(SIGN_IN)
    stolen = urlsplit(configured.authorize(sent["Location"]))
    thief = Browser()
    thief.get(f"{stolen.path}?{stolen.query}")
    assert thief.get("/account/").status_code == 302


def test_a_provider_that_this_system_does_not_trust_is_not_believed(
    anybody: Browser, configured: OpenIdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    answer = anybody.post(SIGN_IN)
    assert answer.status_code == 503
    assert "Corp Login does not answer" in text_of(answer)


def test_without_a_provider_there_is_no_such_address(anybody: Browser) -> None:
    assert "Sign in with" not in text_of(anybody.get("/sign-in/"))
    assert anybody.post(SIGN_IN).status_code == 404


def test_the_provider_is_named_in_certwright_toml(mold: Mold, new_folder: Callable[[], Path]) -> None:
    home = mold.copy(new_folder())
    file = home.folder / CONFIGURATION
    table = (
        '\n[openid]\nname = "Corp Login"\nissuer = "https://login.corp.example"\nclient-id = "certwright"\n'
        'client-secret-file = "openid-secret"\n'
    )
    file.write_text(file.read_text() + table)
    (home.folder / "openid-secret").write_text("between the two\n")
    with Installation.open(Home.open(home.folder)) as installation:
        found = openid_provider(installation)
    mold.drop(home)
    assert found == OpenIdProvider("Corp Login", "https://login.corp.example", "certwright", "between the two")
    assert "between the two" not in repr(found)
