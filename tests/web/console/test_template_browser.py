"""The template editor in a browser: findings while typing, ways out at a click, an override that keeps the form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from certwright.pki.names import sanitized_name
from tests.support.browser import Visitor, chromium
from tests.support.installation import ISSUING, PASSWORD, Mold, People
from tests.support.server import RunningServer

pytestmark = [pytest.mark.peer, pytest.mark.slow]

CA: Final = f"/ca/{quote(sanitized_name(ISSUING))}"


@pytest.fixture(scope="module")
def served(mold: Mold, new_folder: Callable[[], Path]) -> Iterator[RunningServer]:
    home = mold.copy(new_folder())
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def visitor(browser: Any, served: RunningServer) -> Iterator[Visitor]:
    with Visitor.at(browser, served.https) as somebody:
        somebody.sign_in(People.ADMINISTRATOR)
        yield somebody


def test_changes_on_two_tabs_are_kept_checked_and_saved_together(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go(f"{CA}/templates/User/general/")
    page.fill("#id_validity-period", "2 years")
    page.wait_for_selector("#savebar:has-text('1 change.')")
    page.click("#rail >> text=Issuance Requirements")
    page.wait_for_url("**/templates/User/issuance/")
    assert page.query_selector("#rail a:has-text('General') .cw-changed")
    page.check("#id_approval")
    page.wait_for_selector("#savebar:has-text('2 changes.')")
    page.click("#savebar >> text=Save")
    page.wait_for_selector(".cw-toast:has-text('Saved.')")
    page.click("#rail >> text=General")
    page.wait_for_url("**/templates/User/general/")
    assert page.input_value("#id_validity-period") == "2 years"
    page.click("#rail >> text=Issuance Requirements")
    page.wait_for_url("**/templates/User/issuance/")
    assert page.is_checked("#id_approval")
    page.uncheck("#id_approval")
    page.wait_for_selector("#savebar:has-text('1 change.')")
    page.click("#savebar >> text=Save")
    page.wait_for_selector(".cw-toast:has-text('Saved.')")
    assert visitor.complaints == []


def test_a_finding_stops_the_save_and_a_click_ends_it(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go(f"{CA}/templates/User/subject/")
    page.click("text=Supply in the request")
    page.wait_for_selector("text=Cannot be saved: ESC1")
    assert page.is_disabled("#savebar .btn-primary")
    assert page.is_disabled("#id_alternative-names_0")
    assert visitor.findings() == []
    page.click(".cw-stopper >> text=Require approval")
    page.wait_for_selector("#savebar .btn-primary:not([disabled])")
    assert not page.query_selector("text=Cannot be saved: ESC1")
    assert page.is_checked("text=Supply in the request")
    assert visitor.complaints == []


def test_an_override_is_typed_confirmed_in_another_tab_and_saved(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go(f"{CA}/templates/UserSignature/subject/")
    page.click("text=Supply in the request")
    page.wait_for_selector("text=Cannot be saved: ESC1")
    page.click("text=Override…")
    page.wait_for_selector("dialog#override[open]")
    assert visitor.findings() == []
    page.fill("#override-reason", "A laboratory")
    page.fill("#override-word", "ESC1")
    page.click("dialog#override .btn-danger")
    page.wait_for_selector("text=Confirm first who you are.")
    with page.context.expect_page() as opened:
        page.click("text=Confirm in a new tab")
    other = opened.value
    other.fill("#id_password", PASSWORD)
    other.click("form .btn-primary")
    other.wait_for_url(lambda url: "/sign-in/" not in url)
    other.close()
    page.click("text=Override…")
    page.fill("#override-reason", "A laboratory")
    page.fill("#override-word", "ESC1")
    page.click("dialog#override .btn-danger")
    page.wait_for_selector(".cw-toast:has-text('Saved with override.')")
    assert page.query_selector("#findings:has-text('was accepted')")


def test_rows_come_and_go_and_a_name_is_tried_while_typing(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go(f"{CA}/templates/WebServer/names/")
    page.fill("tr:last-child [name=rule-value]", "lab.example")
    page.click("[aria-label='One more line']")
    page.wait_for_selector("tr:nth-child(3) [name=rule-value]")
    page.fill("#try-name", "web.lab.example")
    page.wait_for_selector("#tried:has-text('As DNS: inside the rules.')")
    page.click("[aria-label='Remove lab.example']")
    page.wait_for_selector("tr:nth-child(3) [name=rule-value]", state="detached")
    page.fill("#try-name", "web.lab.example")
    page.wait_for_selector("#tried:has-text('waits for a certificate manager')")
    page.click("#rail >> text=Security")
    page.wait_for_url("**/templates/WebServer/security/")
    page.fill("#ace-add", People.OTHER)
    page.click("text=Add >> nth=-1")
    page.wait_for_selector("th:has-text('bob')")
    assert visitor.findings() == []
    assert visitor.complaints == []
