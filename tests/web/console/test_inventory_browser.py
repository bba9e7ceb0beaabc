"""Acts on many certificates, import, and asking a certificate's locations, as a person does them in Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from certwright.manager.importing import ImportFile
from certwright.server.composition import Installation
from tests.support.browser import NARROW, Visitor, chromium
from tests.support.installation import OPERATOR, Mold, People
from tests.support.inventory_files import certificate
from tests.support.server import RunningServer

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture(scope="module")
def served(mold: Mold, new_folder: Callable[[], Path]) -> Iterator[RunningServer]:
    """A server over a home with three imported certificates and the listener's own chain."""
    home = mold.copy(new_folder())
    with Installation.open(home) as installation:
        now = installation.clock()
        files = [ImportFile(f"{n}.cer", certificate(f"web{n}.corp.example", days=n + 2, now=now)) for n in range(3)]
        installation.manager.importing.store(files, tags=["prod"], managed=True, actor=OPERATOR)
        root = ImportFile("root.pem", home.root_certificate.read_bytes())
        installation.manager.importing.store([root], actor=OPERATOR)
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


def test_ticked_certificates_are_tagged_in_a_dialog(visitor: Visitor) -> None:
    visitor.go("/inventory/?tag=prod")
    visitor.page.check("tbody tr:nth-child(1) td.cw-pick input")
    visitor.page.check("tbody tr:nth-child(2) td.cw-pick input")
    assert visitor.page.inner_text("[data-bulk-count]") == "2 selected"
    visitor.page.click("text=Label")
    visitor.page.click("text=Tag…")
    visitor.page.wait_for_selector("dialog[open] #id_value")
    assert "Tag 2 certificates" in visitor.page.inner_text("dialog[open]")
    assert visitor.findings() == []
    visitor.page.fill("#id_value", "from-the-browser")
    visitor.page.click("dialog[open] .btn-primary")
    visitor.page.wait_for_selector("#rows >> text=from-the-browser")
    assert visitor.page.url.endswith("?tag=prod")
    assert visitor.complaints == []


def test_all_that_match_are_taken_with_the_filters(visitor: Visitor) -> None:
    visitor.go("/inventory/?tag=prod")
    visitor.page.check("tbody tr:nth-child(1) td.cw-pick input")
    visitor.page.check("#bulk-all")
    visitor.page.click("text=Delete…")
    visitor.page.wait_for_selector("dialog[open]")
    assert "Delete 3 certificates?" in visitor.page.inner_text("dialog[open]")
    with visitor.page.expect_download() as started:
        visitor.page.keyboard.press("Escape")
        visitor.page.click("text=Download")
    assert started.value.suggested_filename == "certificates.zip"
    assert visitor.complaints == []


def test_an_import_is_looked_at_before_it_is_stored(visitor: Visitor, tmp_path: Path) -> None:
    file = tmp_path / "new.cer"
    file.write_bytes(certificate("new.corp.example"))
    visitor.go("/inventory/import/")
    visitor.page.set_input_files("#id_uploads", str(file))
    visitor.page.click("text=Show what is in them")
    visitor.page.wait_for_selector("#read :text('nothing is stored yet')")
    assert "new.corp.example" in visitor.page.inner_text("#read")
    assert visitor.findings() == []
    visitor.page.click("#read button[name=store]")
    visitor.page.wait_for_selector("#read :text('What was imported')")
    assert visitor.complaints == []


@pytest.mark.parametrize("size", [None, NARROW], ids=["wide", "narrow"])
def test_every_tab_of_a_certificate_is_clean(
    browser: Any, served: RunningServer, size: tuple[int, int] | None
) -> None:
    with Visitor.at(browser, served.https, theme="dark", **({"size": size} if size else {})) as somebody:
        somebody.sign_in(People.ADMINISTRATOR)
        for tab in ("", "fields/", "revocation/", "lint/", "asn1/", "pem/"):
            somebody.go(f"/inventory/1/{tab}")
            assert somebody.findings() == [], tab
            assert somebody.overflow() <= 0, tab
        assert somebody.complaints == []


def test_a_charts_numbers_are_saved_as_a_file(visitor: Visitor) -> None:
    visitor.go("/?all")
    visitor.page.click(".cw-bar:has-text('Expiry timeline') [data-bs-toggle]")
    with visitor.page.expect_download() as started:
        visitor.page.click(".cw-bar:has-text('Expiry timeline') [data-chart-file=csv]")
    text = Path(started.value.path()).read_text("utf-8-sig")
    assert len(text.splitlines()) == 26
    assert visitor.complaints == []
