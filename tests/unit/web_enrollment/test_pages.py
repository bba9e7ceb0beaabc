"""The words of the pages for people, and what a scripted submission costs."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from certwright.adcs.errors import HResult
from certwright.adcs.request import Disposition, Response
from certwright.adcs.template import EnrollmentFlag, NameFlag
from certwright.web_enrollment.assets import Assets
from certwright.web_enrollment.pages import Frame, Pages, choice_of, duration_words, key_words
from tests.support.certsrv import ALICE, CONFIG, FakeCa, make_site, submission
from tests.support.fake_directory import make_template


@pytest.mark.parametrize(
    ("period", "words"),
    [
        (timedelta(days=365), "1 year"),
        (timedelta(days=730), "2 years"),
        (timedelta(days=90), "3 months"),
        (timedelta(weeks=6), "6 weeks"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=45), "45 days"),
        (timedelta(hours=36), "36 hours"),
        (timedelta(minutes=5), "1 hour"),
    ],
)
def test_periods_are_written_as_people_say_them(period: timedelta, words: str) -> None:
    assert duration_words(period) == words


@pytest.mark.parametrize(
    ("algorithm", "bits", "words"),
    [
        ("", 2048, "RSA 2048 or stronger"),
        ("RSA", 4096, "RSA from 4096 bits"),
        ("ECDSA_P256", 256, "ECDSA P256"),
        ("", 0, "any"),
    ],
)
def test_keys_are_described_by_what_the_template_takes(algorithm: str, bits: int, words: str) -> None:
    assert key_words(algorithm, bits) == words


def test_a_template_says_what_it_is_for() -> None:
    template = make_template(
        display_name="Web Server",
        name_flag=NameFlag.ENROLLEE_SUPPLIES_SUBJECT,
        enrollment_flag=EnrollmentFlag.PEND_ALL_REQUESTS,
    )

    choice = choice_of(template)

    assert choice.supplies_subject
    assert choice.hint == (
        "Server Authentication; valid for 1 year; key: RSA 2048 or stronger; a certificate manager has to approve."
    )


def test_a_caller_without_any_template_is_told_who_can_help() -> None:
    text = make_site(FakeCa())[0].get("/certsrv/certrqxt.asp").text

    assert "No certificate template is open to CORP\\alice on this CA" in text
    assert '<select name="lbCertTemplate" id="lbCertTemplateID"' in text


def test_a_browser_is_shown_what_was_issued() -> None:
    client, _ = make_site()

    shown = client.post("/certsrv/certfnsh.asp", submission(), {"sec-fetch-mode": "navigate"}).text
    plain = client.post("/certsrv/certfnsh.asp", submission()).text

    for text in ("CN=web.corp.example", "DNS:web.corp.example", "1 Jul 2026", "SHA-1 thumbprint"):
        assert text in shown
        assert text not in plain


def test_a_pending_page_says_why_the_request_waits() -> None:
    text = make_site()[0].post("/certsrv/certfnsh.asp", submission("Approval")).text

    assert "Why it waits: The template wants the approval of a certificate manager." in text


def test_form_without_a_script_posts_what_the_server_reads() -> None:
    """The select's own value names the template when no script does."""
    client, ca = make_site()

    client.post(
        "/certsrv/certfnsh.asp",
        submission("", lbCertTemplate="O;WebServer;1;134217728;0;0;1;0;;;4;;;Web Server"),
    )

    assert ca.submitted[0][2].get("CertificateTemplate") == "WebServer"


def test_the_page_a_script_gets_is_filled_in_within_microseconds() -> None:
    """Issued pages are prepared: jinja2 does not run per request. The bound is generous for a busy machine."""
    pages = Pages(Assets())
    frame = Frame(ALICE, CONFIG)
    response = Response(1234, Disposition.ISSUED, HResult.S_OK, "Issued", b"")
    best = min(_seconds_per_page(pages, frame, response) for _ in range(5))

    assert best < 100e-6


def _seconds_per_page(pages: Pages, frame: Frame, response: Response) -> float:
    start = time.process_time()
    for _ in range(500):
        pages.issued(frame, response, with_facts=False)
    return (time.process_time() - start) / 500
