"""The list of this browser's requests: a cookie of IDs, each asked for as the caller of the moment."""

from __future__ import annotations

import re

import pytest

from certwright.adcs.errors import HResult
from certwright.adcs.request import Disposition, Response
from certwright.web_enrollment.pending import COOKIE, MAX_ENTRIES, PendingNote, Waiting
from tests.support.certsrv import ALICE, BOB, make_site, submission


def states(text: str) -> list[tuple[str, str]]:
    """Request ID and state word of each row."""
    rows = re.findall(r"<tr>\s*<th scope=\"row\">(\d+)</th>\s*<td>.*?</svg>([A-Za-z ]+)</span>", text, re.DOTALL)
    return [(number, word) for number, word in rows]


def test_a_pending_request_is_noted_and_listed() -> None:
    client, _ = make_site()

    client.post("/certsrv/certfnsh.asp", submission("Approval"))
    client.post("/certsrv/certfnsh.asp", submission("Approval"))

    assert client.cookie.startswith(f"{COOKIE}=1235-")
    assert states(client.get("/certsrv/certckpn.asp").text) == [("1235", "Pending"), ("1234", "Pending")]
    assert "2 requests noted" in client.get("/certsrv/").text


def test_the_cookie_is_bound_to_host_https_and_site() -> None:
    client, _ = make_site()

    header = client.post("/certsrv/certfnsh.asp", submission("Approval")).header("set-cookie")

    assert header.startswith("__Host-")
    for part in ("Path=/", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=864000"):
        assert part in header.split("; ")


@pytest.mark.parametrize("template", ["WebServer", "Nope"])
def test_a_decided_request_is_not_noted(template: str) -> None:
    client, _ = make_site()

    assert client.post("/certsrv/certfnsh.asp", submission(template)).header("set-cookie") == ""


def test_the_list_shows_the_states_of_now() -> None:
    client, ca = make_site()
    for _ in range(4):
        client.post("/certsrv/certfnsh.asp", submission("Approval"))
    ca.answer(1234, ALICE, Response(1234, Disposition.ISSUED, HResult.S_OK, "Issued", ca.certificate()))
    ca.answer(1235, ALICE, Response(1235, Disposition.DENIED, HResult.CERTSRV_E_ADMIN_DENIED_REQUEST, "Denied by x"))
    ca.answer(1236, BOB, Response(1236, Disposition.ISSUED, HResult.S_OK, "Issued", ca.certificate()))

    text = client.get("/certsrv/certckpn.asp").text

    assert states(text) == [("1237", "Pending"), ("1236", "Unknown"), ("1235", "Denied"), ("1234", "Issued")]
    assert 'href="certnew.cer?ReqID=1234&amp;Enc=b64"' in text


@pytest.mark.parametrize(
    ("disposition", "marker"),
    [
        (Disposition.ISSUED, "Certificate Issued"),
        (Disposition.DENIED, "Certificate Request Denied"),
        (Disposition.UNDER_SUBMISSION, "Certificate Pending"),
    ],
)
def test_a_status_check_answers_with_the_outcomes_page(disposition: Disposition, marker: str) -> None:
    """certfnsh.asp with Mode=chkpnd; once the reader knows the decision, the note lets it go."""
    client, ca = make_site()
    client.post("/certsrv/certfnsh.asp", submission("Approval"))
    certificate = ca.certificate() if disposition is Disposition.ISSUED else None
    ca.answer(1234, ALICE, Response(1234, disposition, HResult.S_OK, "Because", certificate))

    answer = client.post("/certsrv/certfnsh.asp", {"Mode": "chkpnd", "ReqID": "1234"})

    assert marker in answer.text
    assert (answer.header("set-cookie") == "") == (disposition is Disposition.UNDER_SUBMISSION)
    if answer.header("set-cookie"):
        assert "Max-Age=0" in answer.header("set-cookie")


def test_a_revoked_certificate_says_so_on_its_page() -> None:
    client, ca = make_site()
    ca.answer(5, ALICE, Response(5, Disposition.REVOKED, HResult.S_OK, "Revoked", ca.certificate()))

    assert "has been revoked since" in client.post("/certsrv/certfnsh.asp", {"Mode": "chkpnd", "ReqID": "5"}).text


def test_forgetting_takes_one_request_off_the_list_by_post_only() -> None:
    client, _ = make_site()
    for _ in range(2):
        client.post("/certsrv/certfnsh.asp", submission("Approval"))

    assert client.get("/certsrv/certrmpn.asp?ReqID=1234").header("set-cookie") == ""
    answer = client.post("/certsrv/certrmpn.asp", {"ReqID": "1234"})

    assert (answer.status, answer.header("location")) == (303, "certckpn.asp")
    assert states(client.get("/certsrv/certckpn.asp").text) == [("1235", "Pending")]


@pytest.mark.parametrize(
    "value",
    [
        *("", "x", "1", "1-", "-1", "1-x", "0-1", "99999999999-1", "1-99999999999", "٣-1"),
        *("<script>-1", "1-1;2-2" * 4000),
    ],
)
def test_a_cookie_that_was_tampered_with_is_an_empty_list(value: str) -> None:
    note = PendingNote.parse(f"{COOKIE}={value}".encode())

    assert [entry for entry in note.entries if entry != Waiting(1, 1)] == []


def test_a_stranger_cookie_beside_ours_does_not_matter() -> None:
    note = PendingNote.parse(f"a=b; {COOKIE}=7-1700000000; c".encode())

    assert note.entries == (Waiting(7, 1_700_000_000),)


def test_the_note_is_bounded_and_keeps_the_newest() -> None:
    note = PendingNote()
    for number in range(1, 50):
        note = note.adding(number, 1)

    assert len(note.entries) == MAX_ENTRIES
    assert note.entries[0].request_id == 49
    assert PendingNote.parse(note.header()[1].split(b"; ")[0]).entries == note.entries
    assert len(note.header()[1]) < 1024
