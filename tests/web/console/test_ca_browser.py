"""A certificate manager approves in a browser: the strict policy holds, and axe finds nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import sync_playwright

from certwright.pki.names import sanitized_name
from tests.support.installation import ISSUING, PASSWORD, GateTemplates, Mold, People
from tests.support.requests import web_server_request
from tests.support.server import RunningServer

AXE = next((Path(__file__).parents[2] / "support/axe").glob("axe-core-*/axe.min.js"))
CHROMIUM = Path("/usr/bin/chromium")
RULES = "axe.run(document, {runOnly: ['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa','best-practice']})"
CA = f"/ca/{quote(sanitized_name(ISSUING))}"
PAGES = (
    "/issued/",
    "/revoked/",
    "/failed/",
    "/requests/{number}/",
    "/templates/",
    "/templates/WebServer/subject/",
    "/templates/WebServer/security/",
    "/revocation/",
    "/revocation/responder/",
    "/properties/general/",
)


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's Chromium is not installed")
def test_approving_a_pending_request(mold: Mold, new_folder: Callable[[], Path], tmp_path: Path) -> None:
    home = mold.copy(new_folder())
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port)
    server.start()
    try:
        file = tmp_path / "request.der"
        file.write_bytes(web_server_request("web17.corp.example"))
        options = ("--template", GateTemplates.APPROVAL, "--as", People.ENROLLEE, "--json")
        number = server.json("request", "submit", file, *options)["request_id"]
        assert _approve(server.https, number, tmp_path) == []
        assert server.json("request", "show", str(number))["disposition"] == "issued"
    finally:
        server.stop()
        mold.drop(home)


def _approve(origin: str, number: int, shots: Path) -> list[str]:
    """What was wrong on the way."""
    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))

        def look(name: str) -> None:
            page.screenshot(path=str(shots / f"{name}.png"))
            page.evaluate(AXE.read_text())
            for finding in page.evaluate(RULES)["violations"]:
                wrong.append(f"{name}: {finding['id']}: {[node['html'][:160] for node in finding['nodes'][:3]]}")

        page.goto(f"{origin}/sign-in/")
        page.fill("#id_login", People.ADMINISTRATOR)
        page.fill("#id_password", PASSWORD)
        page.click("button[type=submit].btn-primary")
        page.goto(f"{origin}{CA}/pending/")
        look("pending")
        page.emulate_media(color_scheme="dark")
        page.reload()
        look("pending-dark")
        page.set_viewport_size({"width": 390, "height": 844})
        page.reload()
        look("pending-narrow")
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wrong.append("pending: overflow at 390 px")
        page.set_viewport_size({"width": 1280, "height": 800})
        page.click(".cw-btn-issue")  # the template wants a decision: it is named before
        page.click("dialog[open] .cw-btn-issue")
        page.wait_for_load_state()
        page.get_by_text("is issued").first.wait_for()
        for path in PAGES:
            page.goto(f"{origin}{CA}{path.format(number=number)}")
            look(path.strip("/").replace("/", "-").format(number="request"))
        browser.close()
    return wrong
