"""Chromium on the enrollment pages: a key made in the page by WebCrypto, a request, a certificate.

The key never leaves the browser; what it saves is held against what the CA signed. Its own TLS errors are ignored for
our listener's key alone (the root is not in its store), so the page is a secure context as with a trusted root.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tests.support.installation import PASSWORD, People
from tests.support.server import DOMAIN, NETBIOS, RunningServer

pytestmark = [pytest.mark.peer, pytest.mark.slow]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
)


@pytest.fixture(scope="module")
def browser(server: RunningServer) -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    certificate = x509.load_der_x509_certificate(server.shown_certificate())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(spki).digest()).decode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the driver's own event loop
        with playwright.sync_playwright() as driver:
            launched = driver.chromium.launch(
                executable_path=CHROMIUM, args=[*FLAGS, f"--ignore-certificate-errors-spki-list={pin}"]
            )
            yield launched
            launched.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A new window of an account that may enroll; scripts' errors and refused resources fail the test."""
    context = browser.new_context(
        http_credentials={"username": rf"{NETBIOS}\{People.ENROLLEE}", "password": PASSWORD}, accept_downloads=True
    )
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    assert [fault for fault in faults if "401" not in fault] == []


@pytest.mark.parametrize("algorithm", ["P-256", "RSA-2048"])
def test_a_key_made_in_the_page_gets_its_certificate(
    server: RunningServer, page: Any, tmp_path: Path, algorithm: str
) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or ""))
    page.goto(f"{server.https}/certsrv/certrqma.asp")
    assert page.evaluate("isSecureContext")
    page.select_option("#lbCertTemplateID", label="Web Server")
    page.fill("#mkCN", f"browser-{algorithm.lower()}.{DOMAIN}")
    page.select_option("#mkAlg", algorithm)
    page.click("#btnMake")
    page.wait_for_selector("#btnSaveKey:visible", timeout=60_000)
    assert page.is_disabled("#btnSubmit")
    with page.expect_download() as saving:
        page.click("#btnSaveKey")
    saving.value.save_as(tmp_path / "saved.key")
    page.click("#btnSubmit")
    page.wait_for_selector("text=Certificate Issued")
    page.check("#rbB64Enc", force=True)
    with page.expect_download() as fetching:
        page.click("text=Download certificate >> nth=0")
    fetching.value.save_as(tmp_path / "certificate.pem")

    key = load_pem_private_key((tmp_path / "saved.key").read_bytes(), None)
    certificate = x509.load_pem_x509_certificate((tmp_path / "certificate.pem").read_bytes())
    assert certificate.public_key() == key.public_key()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [f"browser-{algorithm.lower()}.{DOMAIN}"]
    assert any("CertRequest=" in body for body in sent)
    assert not any("PRIVATE" in body for body in sent)


def test_chromium_logs_on_by_ntlm_with_bindings_where_it_may_choose(server: RunningServer, page: Any) -> None:
    """The strongest scheme on offer; channel binding is required by default."""
    seen = len(server.events())
    page.goto(f"{server.https}/certsrv/certcarc.asp")

    accepted = server.awaited_events(lambda event: event["event"] == "logon_accepted", seen)
    assert accepted[-1]["method"] == "NTLM"
    assert accepted[-1]["binding"] != "not needed"


def test_basic_is_enough_where_nothing_else_is_offered(server: RunningServer, browser: Any, page: Any) -> None:
    seen = len(server.events())
    server.cli("ca", "set", "ntlm=off", "negotiate=off")
    try:
        page.goto(f"{server.https}/certsrv/")
        title = page.title()
    finally:
        server.cli("ca", "set", "ntlm=on", "negotiate=on")

    accepted = server.awaited_events(lambda event: event["event"] == "logon_accepted", seen)
    assert accepted[-1]["method"] == "Basic"
    assert "Certwright" in title


def test_a_request_that_waits_is_on_the_list_and_its_certificate_can_be_fetched(
    server: RunningServer, page: Any
) -> None:
    """Paste a request, wait, look at the list of this browser's requests, be approved, fetch."""
    from tests.integration.clients import request_pem

    page.goto(f"{server.https}/certsrv/certrqxt.asp")
    page.select_option("#lbCertTemplateID", label="Web Server")
    page.fill("#locTaRequest", request_pem("www.elsewhere.example"))
    page.click("#btnSubmit")
    page.wait_for_selector("text=Certificate Pending")
    number = str(server.json("request", "list", "--limit", "1")[0]["request_id"])
    page.goto(f"{server.https}/certsrv/certckpn.asp")
    listed = page.inner_text("main")
    server.cli("request", "issue", number, "--as", People.OFFICER)
    page.reload()
    decided = page.inner_text("main")

    assert number in listed
    assert "Issued" in decided
    with page.expect_download() as fetching:
        page.evaluate(f"location = 'certnew.cer?ReqID={number}&Enc=b64'")
    assert b"BEGIN CERTIFICATE" in Path(fetching.value.path()).read_bytes()
