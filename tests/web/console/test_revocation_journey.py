"""A certificate is revoked in the console, in a browser: OpenSSL is told within a second; the next delta has it."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from cryptography import x509

from certwright.pki.certificate import serial_hex
from certwright.pki.names import sanitized_name
from certwright.server.composition import Installation
from certwright.server.home import Home
from tests.support.browser import Visitor, chromium
from tests.support.installation import ISSUING, Mold, People
from tests.support.ocsp_site import Site, site_of
from tests.support.server import RunningServer

pytestmark = [pytest.mark.peer, pytest.mark.slow]

CA: Final = f"/ca/{quote(sanitized_name(ISSUING))}"
DIALOG: Final = "dialog[open] button[type=submit]"
WITHIN: Final = 1.0  # seconds from the answer to the click to what OpenSSL says


@pytest.fixture(scope="module")
def site(mold: Mold, new_folder: Callable[[], Path]) -> Iterator[Site]:
    """A running server that makes delta CRLs and answers by OCSP."""
    folder = new_folder()
    home = mold.copy(folder)
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port).start("serve")
    try:
        server.cli("responder", "enable")
        server.cli("ca", "set", "delta-crl-period=1 days")
        server.cli("ca", "publish-crl")
        with Installation.open(Home.open(server.home)) as installation:
            installation.start_issuers()
            yield site_of(server, installation, folder)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


def crl(site: Site, name: str) -> x509.CertificateRevocationList:
    with urllib.request.urlopen(f"{site.server.http}/CertEnroll/{quote(name)}", timeout=10) as answer:
        return x509.load_der_x509_crl(answer.read())


def test_revoked_in_the_console_openssl_is_told_within_a_second_and_the_next_delta_has_it(
    browser: Any, site: Site
) -> None:
    certificate = site.issue("revoked.corp.example")
    serial = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
    row = site.installation.ca().authority.database.request_by_serial(serial_hex(serial))
    assert row is not None
    assert "good" in site.ask(certificate)
    before = crl(site, f"{ISSUING}+.crl")

    with Visitor.at(browser, site.server.https) as visitor:
        page = visitor.page
        visitor.sign_in(People.ADMINISTRATOR)
        visitor.go(f"{CA}/requests/{row.request_id}/")
        page.click(f"a[href$='/requests/{row.request_id}/revoke/']:visible")
        page.select_option("#id_reason", "keyCompromise")
        page.fill("#id_word", serial_hex(serial)[-4:])
        page.click(DIALOG)
        page.wait_for_selector("text=Certificate revoked")
        deadline = time.monotonic() + WITHIN
        while "revoked" not in (said := site.ask(certificate)):
            assert time.monotonic() < deadline, said
        assert "keyCompromise" in said

        visitor.go(f"{CA}/revocation/")
        page.click("a:has-text('Publish delta…'):visible")
        page.click(DIALOG)
        page.wait_for_selector("text=A new delta CRL is published")
        assert visitor.complaints == []

    after = crl(site, f"{ISSUING}+.crl")
    assert before.get_revoked_certificate_by_serial_number(serial) is None
    entry = after.get_revoked_certificate_by_serial_number(serial)
    assert entry is not None
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise
    assert crl(site, f"{ISSUING}.crl").get_revoked_certificate_by_serial_number(serial) is None, "the base is older"
