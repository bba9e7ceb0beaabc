"""Queues in a real browser: keys, several at once, filters, and what fits where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from certwright.pki.names import sanitized_name
from tests.support.browser import NARROW, Visitor, chromium
from tests.support.installation import ISSUING, GateTemplates, Mold, People
from tests.support.requests import web_server_request
from tests.support.server import RunningServer

pytestmark = [pytest.mark.peer, pytest.mark.slow]

CA: Final = f"/ca/{quote(sanitized_name(ISSUING))}"
WAITING: Final = 5


@pytest.fixture(scope="module")
def served(mold: Mold, new_folder: Callable[[], Path]) -> Iterator[RunningServer]:
    """Five requests that wait, and three certificates."""
    home = mold.copy(new_folder())
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port).start()
    for number in range(WAITING + 3):
        file = home.folder / f"{number}.der"
        file.write_bytes(web_server_request(f"a-rather-long-name-of-a-web-server-{number}.corp.example"))
        template = GateTemplates.APPROVAL if number < WAITING else GateTemplates.SHORT
        server.json("request", "submit", file, "--template", template, "--as", People.ENROLLEE, "--json")
    yield server
    server.stop()
    mold.drop(home)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def visitor(browser: Any, served: RunningServer) -> Iterator[Visitor]:
    with Visitor.at(browser, served.https) as somebody:
        somebody.sign_in(People.ADMINISTRATOR)
        yield somebody


def shown(visitor: Visitor) -> str:
    return str(visitor.page.get_attribute("#request", "data-number"))


def test_keys_walk_the_queue_and_act_on_what_is_shown(visitor: Visitor) -> None:
    visitor.go(f"{CA}/pending/")
    page = visitor.page
    first = shown(visitor)
    second = page.get_attribute(".cw-queue > li:nth-child(2)", "data-number")
    page.keyboard.press("j")
    page.wait_for_selector(f'#request[data-number="{second}"]')
    assert page.get_attribute(".cw-queue > li[aria-current]", "data-number") == second
    assert page.url.endswith(f"/pending/?request={second}")
    page.keyboard.press("k")
    page.wait_for_selector(f'#request[data-number="{first}"]')
    page.keyboard.press("d")
    page.wait_for_selector("dialog[open] #id_reason")
    assert f"Deny request {first}?" in page.inner_text("dialog[open]")
    assert visitor.findings() == []
    page.keyboard.press("Escape")
    page.keyboard.press("i")
    page.click("dialog[open] .cw-btn-issue")
    page.wait_for_selector(f'#request[data-number="{second}"]')  # the next one is selected
    assert visitor.complaints == []


def test_tabs_stay_in_the_queue(visitor: Visitor) -> None:
    visitor.go(f"{CA}/pending/")
    number = shown(visitor)
    visitor.page.click("#request .cw-tabs a:has-text('History')")
    visitor.page.wait_for_selector("#request .cw-story")
    assert visitor.page.url.endswith(f"/pending/?request={number}&tab=history")
    assert visitor.page.is_visible(".cw-queue")
    visitor.page.reload()
    assert visitor.page.is_visible("#request .cw-story")
    assert visitor.findings() == []


def test_several_are_ticked_and_issued(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go(f"{CA}/pending/list/")
    for place in (1, 2):
        page.check(f"#rows tbody tr:nth-child({place}) td.cw-pick input")
    assert "2 selected" in page.inner_text("[data-bulk]")
    page.click("[data-bulk] >> text=Issue…")
    page.wait_for_selector("dialog[open] .cw-many")
    assert visitor.findings() == []
    page.click("dialog[open] .cw-btn-issue")
    page.wait_for_selector("#toasts >> text=2 issued")
    assert visitor.complaints == []


def test_revoking_several_wants_their_number(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go(f"{CA}/issued/")
    page.check("[data-pick-all]")
    count = page.locator("#rows tbody tr").count()
    page.click("[data-bulk] >> text=Revoke…")
    page.wait_for_selector("dialog[open] .btn-danger")
    assert page.is_disabled("dialog[open] .btn-danger")
    page.fill("dialog[open] [data-confirm-word]", str(count))
    assert page.is_enabled("dialog[open] .btn-danger")
    box = page.locator("dialog[open]").bounding_box()
    assert box["y"] + box["height"] <= 800  # the button can be reached
    assert visitor.findings() == []


@pytest.mark.parametrize("page", ["issued", "revoked", "failed", "pending/list"])
def test_no_list_has_to_be_scrolled_sideways(visitor: Visitor, page: str) -> None:
    visitor.go(f"{CA}/{page}/")
    wider = (
        "[...document.querySelectorAll('.cw-table-wrap')].filter(each => each.scrollWidth > each.clientWidth).length"
    )
    assert visitor.page.evaluate(wider) == 0
    assert visitor.overflow() <= 0


def test_a_filter_on_any_column_is_put_together_and_taken_away(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go(f"{CA}/issued/")
    page.click("[data-open=add-filter]")
    page.select_option("#filter-column", "not_after")
    assert page.get_attribute("#filter-value", "type") == "date"
    assert page.locator("#filter-operator option:not([hidden])").all_inner_texts() == [
        "is",
        "before",
        "after",
        "between",
    ]
    assert visitor.findings() == []
    page.select_option("#filter-column", "template")
    page.select_option("#filter-operator", "contains")
    page.fill("#filter-value", "short")
    page.click("dialog[open] [type=submit]")
    page.wait_for_selector("text=Certificate Template: contains short")
    assert page.locator("#rows tbody tr").count() == 3
    page.fill("#q-issued", "a-rather-long-name-of-a-web-server-6")  # typing keeps it
    page.wait_for_url("**q=a-rather-long-name*")
    page.locator("#rows tbody tr:nth-child(2)").wait_for(state="detached")
    assert page.locator("#rows tbody tr").count() == 1
    assert "contains" in page.url
    page.click(".cw-foot .cw-chip-x")
    page.wait_for_selector("text=Certificate Template: contains short", state="detached")


def test_a_narrow_window_shows_the_queue_and_the_request_as_two_pages(browser: Any, served: RunningServer) -> None:
    with Visitor.at(browser, served.https, size=NARROW) as somebody:
        somebody.sign_in(People.ADMINISTRATOR)
        somebody.go(f"{CA}/pending/")
        assert not somebody.page.is_visible("#request")
        somebody.page.click(".cw-queue > li:last-child a")
        somebody.page.wait_for_selector("#request", state="visible")
        assert not somebody.page.is_visible(".cw-queue")
        assert somebody.overflow() <= 0
        somebody.page.click(".cw-back")
        somebody.page.wait_for_selector(".cw-queue", state="visible")


def test_locations_are_asked_while_the_page_is_there(visitor: Visitor) -> None:
    visitor.go(f"{CA}/revocation/locations/")
    visitor.page.wait_for_selector("#locations table")
    assert visitor.page.locator("#locations .cw-state-green").count() == 2
    assert visitor.findings() == []
    assert visitor.complaints == []
