"""A real browser over the real listener: no complaint about the policy, nothing that axe-core finds, nothing that
does not fit, in both themes, wide and narrow; and what the scripts do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from certwright.console.pages.ca_properties import TABS as PROPERTIES_TABS
from certwright.console.template_editor.fields import TABS as TEMPLATE_TABS
from certwright.pki.names import sanitized_name
from tests.support.browser import NARROW, WIDE, Visitor, chromium
from tests.support.foreign_ca import ForeignCa
from tests.support.installation import ISSUING, PASSWORD, Mold, People
from tests.support.server import RunningServer

pytestmark = [pytest.mark.peer, pytest.mark.slow]

CA: Final = f"/ca/{quote(sanitized_name(ISSUING))}"
PAGES: Final = [
    "/",
    "/?all",
    "/audit/",
    "/people/",
    "/people/1/",
    "/account/",
    "/account/second-factor/",
    "/health/",
    "/health/security/",
    "/health/locations/",
    "/backup/",
    "/cas/",
    "/cas/CORP Root CA/",
    "/cas/-/import-crl/",
    "/events/",
    "/adcs/accounts/",
    "/adcs/accounts/add/",
    "/adcs/orders/",
    "/adcs/orders/new/",
    "/device-users/",
    "/device-users/add/",
    "/inventory/forms/",
    "/inventory/",
    "/inventory/?week=1",
    "/inventory/import/",
    "/renewal/",
    "/renewal/add/",
    "/renewal/dry-run/",
    "/notifications/",
    "/notifications/add/",
    "/notifications/channels/",
    "/notifications/channels/add/email/",
    "/notifications/channels/add/webhook/",
    "/notifications/history/",
    f"{CA}/pending/",
    f"{CA}/pending/list/",
    f"{CA}/templates/",
    f"{CA}/templates/?shown=all",
    f"{CA}/templates/-/import/",
    f"{CA}/templates/User/duplicate/",
    f"{CA}/templates/User/unpublish/",
    *(f"{CA}/templates/WebServer/{tab}/" for tab in TEMPLATE_TABS),
    *(f"{CA}/properties/{tab}/" for tab in PROPERTIES_TABS),
    f"{CA}/issued/",
    f"{CA}/issued/?f=common_name:contains:local&f=not_after:after:2026-01-01",
    f"{CA}/revoked/",
    f"{CA}/failed/",
    f"{CA}/requests/2/",
    f"{CA}/requests/2/history/",
    f"{CA}/revocation/",
    f"{CA}/revocation/responder/",
    f"{CA}/revocation/elsewhere/",
    f"{CA}/revocation/elsewhere/add/",
    f"{CA}/revocation/elsewhere/1/",
    f"{CA}/revocation/responder/install-signer/",
    f"{CA}/enrollment/",
    f"{CA}/enrollment/ndes/",
    f"{CA}/enrollment/ndes/-/",
    f"{CA}/enrollment/ndes/-/edit/",
    f"{CA}/enrollment/ndes/-/devices/",
    f"{CA}/enrollment/ndes/-/challenges/",
    f"{CA}/enrollment/ndes/-/challenge/",
    f"{CA}/enrollment/ndes/-/failures/",
    f"{CA}/enrollment/ndes/-/notices/",
    f"{CA}/directory/",
    f"{CA}/directory/groups/",
    f"{CA}/directory/service/",
    f"{CA}/directory/add/",
    "/api/",
    "/search/?q=a",
    "/nowhere/",
]
"""Pages of the frame. Those of other rooms are looked at in tests of their own, in the same way."""


@pytest.fixture(scope="module")
def served(mold: Mold, new_folder: Callable[[], Path]) -> Iterator[RunningServer]:
    home = mold.copy(new_folder())
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port)
    _add_ca_elsewhere(server, home.folder.parent)
    server.start()
    yield server
    server.stop()


def _add_ca_elsewhere(server: RunningServer, folder: Path) -> None:
    """One that the Online Responder knows from a CRL, for its pages."""
    ca, crl, certificate = ForeignCa(), folder / "elsewhere.crl", folder / "elsewhere.pem"
    crl.write_bytes(ca.crl({1: None}))
    certificate.write_bytes(ca.pem)
    server.cli("responder", "add", certificate, "--crl", crl.as_uri())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def visitor(browser: Any, served: RunningServer) -> Iterator[Visitor]:
    with Visitor.at(browser, served.https) as somebody:
        somebody.sign_in(People.ADMINISTRATOR)
        yield somebody


@pytest.mark.parametrize(("theme", "size"), [("light", WIDE), ("dark", NARROW)], ids=["light, wide", "dark, narrow"])
def test_every_page_is_clean_in_both_themes_wide_and_narrow(
    browser: Any, served: RunningServer, theme: str, size: tuple[int, int]
) -> None:
    with Visitor.at(browser, served.https, theme=theme, size=size) as somebody:
        somebody.go("/sign-in/")
        assert somebody.findings() == []
        somebody.sign_in(People.ADMINISTRATOR)
        for path in PAGES:
            somebody.go(path)
            somebody.confirm()
            assert somebody.findings() == [], path
            assert somebody.findings_in_the_other_theme() == [], path
            assert somebody.overflow() <= 0, path
        said = [line for line in somebody.complaints if "status of 404" not in line]  # /nowhere/ is not there
        assert said == []


def test_the_menu_and_the_header_stay_while_a_long_page_is_scrolled(visitor: Visitor) -> None:
    visitor.go("/notifications/add/")
    visitor.page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    visitor.page.wait_for_function("window.scrollY > 100")
    tops = "['.cw-side', '.cw-top'].map(part => document.querySelector(part).getBoundingClientRect().top)"
    assert visitor.page.evaluate(tops) == [0, 0]


@pytest.mark.parametrize("width", [320, 640, 1920])
def test_pages_fit_at_every_width(browser: Any, served: RunningServer, width: int) -> None:
    with Visitor.at(browser, served.https, size=(width, 800)) as somebody:
        somebody.sign_in(People.ADMINISTRATOR)
        for path in ("/", "/audit/", "/people/", "/account/"):
            somebody.go(path)
            assert somebody.overflow() <= 0, path


def test_pages_fit_in_turkish_whose_words_are_longer(browser: Any, served: RunningServer) -> None:
    with Visitor.at(browser, served.https, locale="tr-TR") as somebody:
        somebody.sign_in(People.ADMINISTRATOR)
        for path in PAGES:
            somebody.go(path)
            somebody.confirm()
            assert somebody.page.get_attribute("html", "lang") == "tr"
            for width, height in (WIDE, NARROW):
                somebody.page.set_viewport_size({"width": width, "height": height})
                assert somebody.overflow() <= 0, (path, width)


def test_a_filter_changes_the_rows_and_the_address_while_typing(visitor: Visitor) -> None:
    visitor.go("/audit/")
    visitor.page.fill("#q-audit", "wanda")
    visitor.page.wait_for_url("**/audit/?*q=wanda*")
    visitor.page.wait_for_function("!document.querySelector('#rows').innerText.includes('Service started')")
    assert "wanda" in visitor.page.inner_text("#rows")
    assert visitor.complaints == []


def test_dialogs_trap_the_focus_and_are_clean(visitor: Visitor) -> None:
    visitor.go("/people/")
    visitor.page.click("text=Add local account")
    visitor.page.wait_for_url("**/sign-in/confirm/**")
    visitor.confirm()
    visitor.page.click("text=Add local account")
    visitor.page.wait_for_selector("dialog[open] #id_name")
    assert visitor.page.evaluate("document.activeElement.id") == "id_name"
    assert visitor.findings() == []
    visitor.page.fill("#id_name", "from-the-browser")
    visitor.page.fill("#id_password", "short")
    visitor.page.click("dialog[open] .btn-primary")
    visitor.page.wait_for_selector("dialog[open] .cw-notice-red")
    assert "too short" in visitor.page.inner_text("dialog[open]")
    assert visitor.findings() == []
    visitor.page.keyboard.press("Escape")
    assert not visitor.page.query_selector("dialog[open]")
    visitor.page.click("text=Add local account")
    visitor.page.fill("#id_name", "from-the-browser")
    visitor.page.fill("#id_password", "a long enough password")
    visitor.page.click("dialog[open] .btn-primary")
    visitor.page.wait_for_url("**/people/*/")
    assert "from-the-browser" in visitor.page.inner_text("main")


def test_the_theme_is_switched_and_kept(visitor: Visitor) -> None:
    visitor.go("/audit/")
    assert visitor.page.get_attribute("html", "data-bs-theme") == "light"
    visitor.page.click("[data-theme-toggle]")
    assert visitor.page.get_attribute("html", "data-bs-theme") == "dark"
    visitor.go("/people/")
    assert visitor.page.get_attribute("html", "data-bs-theme") == "dark"


def test_keys_lead_to_pages_and_stay_out_of_fields(visitor: Visitor) -> None:
    visitor.go("/audit/")
    visitor.page.keyboard.press("g")
    visitor.page.keyboard.press("h")
    visitor.page.wait_for_url("**/health/")
    visitor.page.keyboard.press("/")
    assert visitor.page.evaluate("document.activeElement.id") == "find"
    visitor.page.keyboard.type("gd?")
    assert visitor.page.url.endswith("/health/")
    visitor.page.keyboard.press("Escape")
    visitor.page.evaluate("document.activeElement.blur()")
    visitor.page.keyboard.press("?")
    visitor.page.wait_for_selector("dialog#keys[open]")
    assert visitor.findings() == []


def test_the_search_shows_hits_under_its_field(visitor: Visitor) -> None:
    visitor.go("/")
    visitor.page.fill("#find", "pkiview")
    visitor.page.wait_for_selector("#found a[href='/health/']")
    assert visitor.findings() == []
    visitor.page.keyboard.press("ArrowDown")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**/health/")


def test_copying_says_so(visitor: Visitor) -> None:
    visitor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.go("/people/1/")
    visitor.page.click("[data-copy]")
    visitor.page.wait_for_function("document.querySelector('#live').textContent === 'Copied SID'")
    assert visitor.page.evaluate("navigator.clipboard.readText()").startswith("S-1-5-21-")


def test_a_session_that_ended_is_begun_again_in_a_dialog_and_nothing_is_lost(visitor: Visitor) -> None:
    """401: signing in beside what was typed, then the request that was refused is sent again."""
    page = visitor.page
    visitor.go("/audit/")
    page.context.clear_cookies()
    page.fill("#q-audit", "wanda")
    page.wait_for_selector("dialog#signed-out[open]")
    assert page.input_value("#q-audit") == "wanda"
    assert visitor.findings() == []
    page.fill("#again-login", People.ADMINISTRATOR)
    page.fill("#again-password", "not the password")
    page.click("dialog#signed-out [type=submit]")
    page.wait_for_selector("dialog#signed-out [data-sign-in-error]:not([hidden])")
    page.fill("#again-password", PASSWORD)
    page.click("dialog#signed-out [type=submit]")
    page.wait_for_selector("dialog#signed-out", state="hidden")
    page.wait_for_selector("#rows >> text=wanda")
    page.click("[data-open=save-view]")  # forms of the page carry the new session's token
    page.fill("#view-name", "after signing in again")
    page.click("dialog#save-view [type=submit]")
    page.wait_for_selector("main >> text=after signing in again")


def test_the_bell_opens_what_happened(visitor: Visitor) -> None:
    visitor.go("/audit/")
    visitor.page.click("#bell a")
    visitor.page.wait_for_selector("#drawer[open] >> text=Events")
    assert visitor.findings() == []


def test_a_security_key_is_added_and_used(browser: Any, served: RunningServer) -> None:
    """WebAuthn with Chromium's virtual authenticator."""
    with Visitor.at(browser, served.https) as somebody:
        session = somebody.page.context.new_cdp_session(somebody.page)
        session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "usb",
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        somebody.sign_in(People.PLAIN)
        somebody.go("/account/second-factor/keys/add/")
        somebody.confirm()
        somebody.page.click("[data-webauthn=create]")
        somebody.page.wait_for_url("**/account/second-factor/codes/")
        somebody.page.context.clear_cookies()
        somebody.go("/sign-in/")
        somebody.page.fill("#id_login", People.PLAIN)
        somebody.page.fill("#id_password", "correct horse battery staple")
        somebody.page.click("form .btn-primary")
        somebody.page.wait_for_url("**/sign-in/second-factor/")
        assert somebody.findings() == []
        somebody.page.click("[data-webauthn=get]")
        somebody.page.wait_for_url(lambda url: "/sign-in/" not in url)
        assert "alice" in somebody.page.inner_text("header")
