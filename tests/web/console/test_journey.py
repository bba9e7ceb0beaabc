"""The manager's journey in a real browser, from nothing to a certificate in the inventory, through our own /certsrv.

The server runs without its worker; the ticks of the clock are made here, minutes ahead of the wall, so that what
changes by itself does so while a page is looked at. The tests of this module go on where the one before ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from certwright.server.composition import Installation
from certwright.server.duties import outward_duties
from certwright.server.home import Home
from certwright.server.worker import Worker
from tests.integration.clients import request_pem
from tests.support.browser import NARROW, WIDE, Visitor, chromium
from tests.support.installation import PASSWORD, GateTemplates, Mold, People
from tests.support.localized_pages import LocalizedPages, Site
from tests.support.scripted_https import Reply, ScriptedServer, Seen, make_authority, make_server, serving
from tests.support.server import DOMAIN, RunningServer, free_ports

pytestmark = [pytest.mark.peer, pytest.mark.slow]

NAME: Final = f"web01.{DOMAIN}"


@pytest.fixture(scope="module")
def served(mold: Mold, new_folder: Callable[[], Path]) -> Iterator[RunningServer]:
    home = mold.copy(new_folder())
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port).start("serve")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def visitor(browser: Any, served: RunningServer) -> Iterator[Visitor]:
    """One manager, who is an officer of the CA too, for the whole story."""
    with Visitor.at(browser, served.https) as somebody:
        somebody.sign_in(People.ADMINISTRATOR)
        yield somebody
        assert somebody.complaints == []


def tick(server: RunningServer, ahead: timedelta) -> None:
    """Every outward duty once, some minutes from now."""
    with Installation.open(Home.open(server.home), clock=lambda: datetime.now(UTC) + ahead) as installation:
        Worker(outward_duties(installation), installation.clock).run_due()


def add_service(visitor: Visitor, domain: str, port: int, *, priority: int = 1) -> None:
    """Add New ADCS Service, trusted by the fingerprint that is shown."""
    page = visitor.page
    visitor.go("/adcs/accounts/add/")
    page.fill("#id_domain", domain)
    page.fill("#id_hostname", "localhost")
    page.fill("#id_port", str(port))
    page.fill("#id_priority", str(priority))
    page.select_option("#id_device_user", label=rf"Orders (CORP\{People.ENROLLEE})")
    page.select_option("#id_trust", "fingerprint")
    page.click("text=Add service")


def order(visitor: Visitor, template: str, name: str, domain: str = DOMAIN) -> str:
    """A new request whose key is made here; the order's page."""
    page = visitor.page
    visitor.go("/adcs/orders/new/")
    page.select_option("#id_domain", domain)
    page.wait_for_selector(f"[name=listed][value='{domain}']", state="attached")
    page.select_option("#id_template", template)
    page.check("input[value=make]", force=True)  # the label covers it
    page.fill("#id_common_name", name)
    page.fill("#id_names", f"DNS:{name}")
    page.select_option("#id_algorithm", "ecdsa-p256")
    page.click("text=Submit request")
    page.wait_for_url(lambda url: url.rstrip("/").rsplit("/", 1)[1].isdigit())
    return str(page.url.removeprefix(visitor.base))


def row(visitor: Visitor, name: str) -> Any:
    return visitor.page.locator("#rows tbody tr", has_text=name)


# -- a service -------------------------------------------------------------------------------------------------------


def test_the_first_sign_in_leads_to_the_checklist(visitor: Visitor) -> None:
    visitor.go("/")
    text = visitor.page.inner_text("main")

    assert "Getting started" in text
    assert "Order the first certificate" in text


def test_a_device_user_is_added_and_its_password_shown_nowhere(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go("/device-users/")
    assert "No device user yet" in page.inner_text("main")
    page.click("main .cw-empty >> text=Add device user")
    page.fill("#id_name", "Orders")
    page.fill("#id_username", rf"CORP\{People.ENROLLEE}")
    page.fill("#id_password", PASSWORD)
    page.click(".cw-dfoot >> text=Add device user")
    page.wait_for_url("**/device-users/")

    assert "Orders" in page.inner_text("#rows")
    assert PASSWORD not in page.content()
    assert visitor.findings() == []


def test_test_says_which_step_fails_and_offers_the_fingerprint(visitor: Visitor, served: RunningServer) -> None:
    page = visitor.page
    visitor.go("/adcs/accounts/add/")
    page.fill("#id_domain", DOMAIN)
    page.fill("#id_hostname", "localhost")
    page.fill("#id_port", str(served.https_port))
    page.click("main .cw-savebar >> text=Test")
    page.wait_for_selector("#test-result .cw-stop")

    result = page.inner_text("#test-result")
    assert "TLS trust: the certificate of localhost" in result
    assert "Not tried: Logon, Channel binding, Policies (CEP), CA, Templates, Enrollment (CES)" in result
    assert visitor.findings() == []
    page.click("text=Trust this certificate")
    assert len(page.input_value("#id_fingerprint")) == 64
    page.click("main .cw-savebar >> text=Test")
    page.wait_for_selector("#test-result >> text=on offer")
    assert not page.query_selector("#test-result .cw-stop")


def test_a_service_is_added_by_its_fingerprint_tested_and_refreshed(visitor: Visitor, served: RunningServer) -> None:
    page = visitor.page
    add_service(visitor, DOMAIN, served.https_port)
    page.wait_for_selector("text=Is this the server?")
    assert "CN=localhost" in page.inner_text("main .cw-notice")
    assert visitor.findings() == []
    page.click("text=Accept it and add the service")
    page.wait_for_url("**/adcs/accounts/1/")

    assert "CORP Issuing CA" in page.inner_text("main")
    assert GateTemplates.APPROVAL in page.inner_text("main")
    page.click("main .cw-acts >> text=Test")
    page.wait_for_selector("#test-result >> text=on offer")
    assert "the logon was bound to certificate" in page.inner_text("#test-result")
    assert visitor.findings() == []
    page.click("main .cw-acts >> text=Refresh")
    page.wait_for_selector("#toasts >> text=templates unchanged, CA certificate unchanged")


# -- an order --------------------------------------------------------------------------------------------------------


def test_the_forecast_says_what_will_happen_and_sends_nothing(visitor: Visitor, served: RunningServer) -> None:
    page = visitor.page
    visitor.go("/adcs/orders/new/")
    page.select_option("#id_template", "WebServer")
    page.check("input[value=make]", force=True)
    page.fill("#id_common_name", NAME)
    page.wait_for_selector("#forecast >> text=Will be Issued")
    assert "keys from 2048 bits" in page.inner_text("#template-hint")
    page.click(f"text=Add DNS:{NAME}")
    assert page.input_value("#id_names") == f"DNS:{NAME}"
    page.fill("#id_names", f"DNS:{NAME}\nDNS:web.partner.example")
    page.wait_for_selector("#forecast >> text=Will be Pending")
    assert "A certificate manager must issue it." in page.inner_text("#forecast")
    assert visitor.findings() == []
    page.click("text=Remove web.partner.example")
    page.wait_for_selector("#forecast >> text=Will be Issued")
    page.select_option("#id_template", GateTemplates.STRICT)
    page.fill("#id_names", "DNS:web.partner.example")
    page.wait_for_selector("#forecast >> text=Would be Denied")
    assert "CERTSRV_E_BAD_REQUESTSUBJECT" in page.inner_text("#forecast")

    assert served.json("request", "list", "--where", "common_name=" + NAME) == []


def test_a_request_that_cannot_be_read_is_not_sent(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go("/adcs/orders/new/")
    page.fill("#id_csr", "this is no request")
    page.wait_for_selector("#forecast >> text=Cannot be read")

    assert page.is_disabled("text=Submit request")
    page.fill("#id_csr", request_pem(NAME))
    page.wait_for_selector("#forecast >> text=Will be")
    assert page.is_enabled("text=Submit request")


def test_an_order_waits_is_issued_at_the_ca_and_turns_issued_by_itself(
    visitor: Visitor, served: RunningServer
) -> None:
    page = visitor.page
    visitor.go("/adcs/orders/new/")
    page.select_option("#id_template", GateTemplates.APPROVAL)
    page.check("input[value=make]", force=True)
    page.fill("#id_common_name", NAME)
    page.fill("#id_names", f"DNS:{NAME}")
    page.uncheck("#id_fetch")
    page.wait_for_selector("#forecast >> text=Will be Pending")
    page.click("text=Submit request")
    page.wait_for_url("**/adcs/orders/1/")
    assert "Pending" in page.inner_text("main .cw-head")
    assert "Taken Under Submission" in page.inner_text("main")
    assert visitor.findings() == []

    page.click("#menu >> text=Pending Requests")
    page.wait_for_url("**/pending/")
    page.click("main .cw-btn-issue")
    page.click("dialog[open] [type=submit]")
    page.wait_for_selector("dialog[open]", state="hidden")

    visitor.go("/adcs/orders/1/")
    tick(served, timedelta(minutes=5))
    page.wait_for_selector("main .cw-head >> text=Issued")  # the page asks every ten seconds
    assert "Issued as request" in page.inner_text("main")


def test_it_is_fetched_once_and_is_in_the_inventory_with_its_key(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go("/adcs/orders/to-fetch/")
    row(visitor, NAME).locator("text=Fetch").click()
    page.wait_for_url("**/inventory/*/")
    first = page.url
    assert NAME in page.inner_text("main")

    visitor.go("/adcs/orders/1/")
    page.evaluate("htmx.ajax('POST', '/adcs/orders/1/fetch/', {swap: 'none'})")
    page.wait_for_url(first)
    visitor.go("/inventory/?q=" + NAME)
    assert row(visitor, NAME).count() == 1


def test_a_deleted_record_is_gone_and_comes_back_with_undo(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go("/adcs/orders/")
    row(visitor, NAME).locator(".cw-kebab").click()
    page.click(".dropdown-menu.show >> text=Delete record…")
    page.wait_for_selector("dialog[open]")
    assert "The CA keeps the request" in page.inner_text("dialog[open]")
    page.click("dialog[open] .btn-danger")
    page.wait_for_selector("#toasts >> text=Record deleted")
    assert row(visitor, NAME).count() == 0
    page.click("#toasts >> text=Undo")
    page.wait_for_url("**/adcs/orders/1/")
    assert NAME in page.inner_text("main")


def test_a_denied_order_is_red_and_says_the_officers_reason(visitor: Visitor, served: RunningServer) -> None:
    page = visitor.page
    path = order(visitor, GateTemplates.APPROVAL, f"denied.{DOMAIN}")
    visitor.go("/ca/CORP%20Issuing%20CA/pending/")
    page.click("main .cw-btn-deny")
    page.fill("dialog[open] textarea", "retired in October")
    page.click("dialog[open] [type=submit]")
    page.wait_for_selector("dialog[open]", state="hidden")
    tick(served, timedelta(minutes=30))
    visitor.go(path)

    assert page.query_selector("main .cw-head .cw-state-red")
    assert "retired in October" in page.inner_text("main .cw-notice-red")
    assert visitor.findings() == []
    page.click("main .card >> text=New request with these names")
    page.wait_for_url("**/adcs/orders/new/*")
    assert page.input_value("#id_common_name") == f"denied.{DOMAIN}"
    assert page.input_value("#id_names") == f"DNS:denied.{DOMAIN}"


def test_a_pasted_request_is_ordered_and_its_key_stays_elsewhere(visitor: Visitor) -> None:
    page = visitor.page
    name = f"pasted.{DOMAIN}"
    visitor.go("/adcs/orders/new/")
    page.select_option("#id_template", "WebServer")
    page.fill("#id_csr", request_pem(name))
    page.check("#id_renew")
    page.click("text=Submit request")
    page.wait_for_url("**/adcs/orders/*/")
    assert "Fetched into the inventory" in page.inner_text("main")
    page.click("main .cw-acts >> text=In inventory")
    page.wait_for_url("**/inventory/*/")
    assert "To be renewed 30 days before it expires" in page.inner_text("main")


def test_a_request_form_asks_only_for_the_names(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go("/adcs/orders/new/")
    page.select_option("#id_template", "WebServer")
    page.check("input[value=make]", force=True)
    page.select_option("#id_algorithm", "ecdsa-p256")
    page.fill("#id_subject", "O=Corp")
    page.fill("#id_tags", "dmz")
    page.click("text=Save as form")
    page.fill("dialog[open] #id_name", "Web, DMZ")
    page.click("dialog[open] [type=submit]")
    page.wait_for_selector("#toasts >> text=Request form kept")
    assert page.input_value("#id_subject") == "O=Corp"  # what was typed is still there

    visitor.go("/inventory/forms/")
    assert visitor.findings() == []
    row(visitor, "Web, DMZ").locator("text=Generate").click()
    page.fill("dialog[open] #id_common_name", f"repeat.{DOMAIN}")
    page.fill("dialog[open] #id_names", f"DNS:repeat.{DOMAIN}")
    page.click("dialog[open] [type=submit]")
    page.wait_for_url("**/adcs/orders/*/")
    text = page.inner_text("main")
    assert f"CN=repeat.{DOMAIN},O=Corp" in text.replace(", ", ",")
    assert "ECDSA" in text or "P-256" in text


def test_the_next_service_gets_the_order_when_the_first_does_not_answer(
    visitor: Visitor, served: RunningServer
) -> None:
    """Priority fail-over, told in the order's story."""
    page = visitor.page
    (closed,) = free_ports(1)
    served.cli(
        *("service", "add", "localhost", "-d", "failover.example", "-u", "Orders", "--port", str(closed)),
        *("--ca-file", served.root_certificate, "--priority", "1"),
    )
    add_service(visitor, "failover.example", served.https_port, priority=2)
    page.click("text=Accept it and add the service")
    page.wait_for_url("**/adcs/accounts/*/")
    order(visitor, "WebServer", f"failover.{DOMAIN}", "failover.example")

    text = page.inner_text("main")
    assert "localhost, priority 2" in text
    assert "was not reached, nothing was sent" in text
    assert "Issued" in page.inner_text("main .cw-head")
    visitor.go("/adcs/accounts/?domain=failover.example")
    assert sorted(page.locator("#rows .cw-state").all_inner_texts()) == ["Down", "OK"]
    assert visitor.findings() == []


# -- other people's CAs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["German", "Japanese", "Turkish"])
def test_a_ca_that_answers_in_another_language_is_ordered_from_all_the_same(
    visitor: Visitor, served: RunningServer, new_folder: Callable[[], Path], language: str
) -> None:
    """Issued, denied, and an answer that is lost and looked for: known by links and codes, whatever the words say."""
    page = visitor.page
    root = make_authority("Corp Root CA")
    site = Site(make_authority("Corp Issuing CA 1", root), LocalizedPages(language))
    cut = threading.Event()

    def pages(seen: Seen) -> Reply:
        answer = site(seen)
        return site.pages.page("<p>:-)</p>") if cut.is_set() and seen.method == "POST" else answer

    pinned = new_folder() / "root.pem"
    pinned.write_text(root.pem)
    domain = f"{language.lower()}.example"
    with serving(ScriptedServer(make_server(site.issuer), pages)) as server:
        add = ("service", "add", "localhost", "-d", domain, "-u", "Orders", "--port", str(server.port))
        number = served.json(*add, "--ca-file", pinned)["id"]
        served.cli("service", "refresh", str(number))

        order(visitor, "WebServer", f"issued.{domain}", domain)
        assert "Issued" in page.inner_text("main .cw-head")
        site.decision = "deny"
        order(visitor, "WebServer", f"denied.{domain}", domain)
        assert page.query_selector("main .cw-head .cw-state-red")
        assert "CERTSRV_E_UNSUPPORTED_CERT_TYPE" in page.inner_text("main .cw-notice-red")
        site.decision = "issue"
        cut.set()
        order(visitor, "WebServer", f"lost.{domain}", domain)
        assert "Answer lost" in page.inner_text("main .cw-head")
        assert "Submit" not in page.inner_text("main")
        assert visitor.findings() == []
        cut.clear()
        page.click("main .cw-head >> text=Look for it")
        page.wait_for_selector("main .cw-head >> text=Issued")
        assert len([each for each in server.posts if each.page == "certfnsh.asp"]) == 3  # nothing was sent twice


def test_use_this_ca_makes_account_device_user_and_service_in_one_go(
    browser: Any, mold: Mold, new_folder: Callable[[], Path], served: RunningServer
) -> None:
    """From nothing to an issued certificate with the browser alone, as the guide has it."""
    served.stop()
    home = mold.copy(new_folder())
    fresh = RunningServer(home.folder, home.settings.https_port, home.settings.http_port).start("serve")
    try:
        with Visitor.at(browser, fresh.https) as somebody:
            page = somebody.page
            somebody.sign_in(People.ADMINISTRATOR)
            somebody.go("/adcs/accounts/")
            page.click("main .cw-empty >> text=Use this CA")
            page.wait_for_selector("dialog[open] #id_device_user")
            assert somebody.findings() == []
            page.click("dialog[open] [type=submit]")
            page.wait_for_url("**/adcs/accounts/1/")
            assert "CORP\\svc-orders" in page.inner_text("main")
            assert "WebServer" in page.inner_text("main")
            order(somebody, "WebServer", f"first.{DOMAIN}")
            page.click("main .cw-acts >> text=In inventory")
            page.wait_for_url("**/inventory/*/")
            assert f"first.{DOMAIN}" in page.inner_text("main")
            assert somebody.complaints == []
    finally:
        fresh.stop()
        served.start("serve")


PATHS: Final = (
    "/adcs/accounts/",
    "/adcs/accounts/add/",
    "/adcs/accounts/1/",
    "/adcs/accounts/1/edit/",
    "/adcs/orders/",
    "/adcs/orders/denied/",
    "/adcs/orders/1/",
    "/adcs/orders/new/?form=1",
    "/device-users/",
    "/device-users/add/",
    "/device-users/1/edit/",
    "/inventory/forms/",
    "/inventory/forms/add/",
)


@pytest.mark.parametrize("size", [WIDE, NARROW, (320, 800)], ids=["wide", "narrow", "320"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_on_the_way_is_clean(
    browser: Any, served: RunningServer, visitor: Visitor, theme: str, size: tuple[int, int]
) -> None:
    """With the rows that the journey left: axe, the policy, and whether it fits."""
    with Visitor.at(browser, served.https, theme=theme, size=size) as somebody:
        somebody.sign_in(People.ADMINISTRATOR)
        for path in PATHS:
            somebody.go(path)
            assert somebody.findings() == [], path
            assert somebody.overflow() <= 0, path
        assert somebody.complaints == []
