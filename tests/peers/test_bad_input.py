"""Bad input over the wire: each gets its page, its marker, its HRESULT, a row where AD CS makes one, and a log line.

Never a 500, never a traceback: the fixture of this folder reads the server's log at its end.
"""

from __future__ import annotations

import base64
import http.client
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from certwright.adcs.errors import HResult
from certwright.adcs.interfaces import Comparison, Restriction, Sort, Table
from certwright.cli.output import plain
from certwright.cli.requests import COLUMNS
from certwright.pki import armor
from certwright.server.composition import Installation
from certwright.wire.certsrv.answers import Denied, Error, parse_outcome
from tests.support.installation import PASSWORD, People
from tests.support.load import BasicSession
from tests.support.requests import (
    ec_key,
    integer,
    make_request,
    name,
    oid,
    rsa_key,
    sequence,
    signed,
    spki,
    tlv,
    web_server_request,
)
from tests.support.server import DOMAIN, RunningServer
from tests.support.weak_keys import roca_key

HOST: Final = f"bad.{DOMAIN}"
GOOD: Final = web_server_request(HOST)


def sha1_signed() -> bytes:
    """A request as old software makes it: SHA-1 with RSA."""
    key = rsa_key(2048)
    info = sequence(integer(0), name(("CN", HOST)), spki(key), tlv(0xA0))
    signature = key.sign(info, padding.PKCS1v15(), hashes.SHA1())
    algorithm = sequence(oid("1.2.840.113549.1.1.5"), b"\x05\x00")
    return sequence(info, algorithm, tlv(0x03, b"\x00", signature))


def wrong_signature() -> bytes:
    """Signed with another key than the one inside: no proof of possession."""
    info = sequence(integer(0), name(("CN", HOST)), spki(ec_key()), tlv(0xA0))
    return signed(info, ec_key("P-256", 5))


@dataclass(frozen=True)
class Case:
    """What is sent in `CertRequest`, and what has to come of it."""

    request: Callable[[], bytes | str]
    state: str  # of the row: denied or error
    status: HResult | None  # None: whichever says that it cannot be read
    marker: str
    rule: str
    template: str = "WebServer"
    account: str = People.ENROLLEE


PARSING: Final = "Error Parsing Request"
SIGNATURE: Final = "Error Verifying Request Signature or Signing Certificate  "
POLICY: Final = "Denied by Policy Module  "

CASES: Final = {
    "garbage": Case(lambda: "this is no request!", "error", None, PARSING, "intake"),
    "base64 of garbage": Case(lambda: bytes(range(200)), "error", None, PARSING, "intake"),
    "random PEM": Case(
        lambda: armor.armor(armor.CERTIFICATE_REQUEST, b"\x30\x05hello"), "error", None, PARSING, "intake"
    ),
    "truncated": Case(lambda: GOOD[: len(GOOD) // 2], "error", None, PARSING, "intake"),
    "one byte short": Case(lambda: GOOD[:-1], "error", None, PARSING, "intake"),
    "one byte more": Case(lambda: GOOD + b"\x00", "error", None, PARSING, "intake"),
    "a certificate": Case(lambda: sequence(GOOD, GOOD), "error", None, PARSING, "intake"),
    "wrong signature": Case(
        wrong_signature, "error", HResult.NTE_BAD_SIGNATURE, f"{SIGNATURE}0x80090006, ", "intake"
    ),
    "SHA-1": Case(
        sha1_signed, "error", HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY, f"{SIGNATURE}0x80094016, ", "intake"
    ),
    "unsupported template": Case(
        lambda: GOOD,
        "denied",
        HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
        f"{POLICY}0x80094800, The request was for a certificate template that is not supported",
        "template_published",
        template="NoSuchTemplate",
    ),
    "no template": Case(
        lambda: GOOD,
        "denied",
        HResult.CERTSRV_E_NO_CERT_TYPE,
        f"{POLICY}0x80094801, ",
        "template_named",
        template="",
    ),
    "no right": Case(
        lambda: GOOD,
        "denied",
        HResult.CERTSRV_E_TEMPLATE_DENIED,
        f"{POLICY}0x80094012, The permissions on the certificate template",
        "enroll_right",
        account=People.PLAIN,
    ),
    "RSA-1024": Case(
        lambda: web_server_request(HOST, key=rsa_key(1024)),
        "denied",
        HResult.CERTSRV_E_KEY_LENGTH,
        f"{POLICY}0x80094811, ",
        "key_quality",
    ),
    "ROCA": Case(
        lambda: web_server_request(HOST, key=roca_key()),
        "denied",
        HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY,
        f"{POLICY}0x80094016, ",
        "key_quality",
    ),
    "P-224": Case(
        lambda: web_server_request(HOST, key=ec_key("P-224")),
        "denied",
        HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY,
        f"{POLICY}0x80094016, ",
        "key_quality",
    ),
    "nobody named": Case(lambda: make_request(subject=b"\x30\x00"), "denied", None, POLICY, "subject"),
}


class Client(BasicSession):
    """One account's connection; every answer must be a page."""

    def post(self, fields: dict[str, str]) -> tuple[int, str]:
        status, body = self.submit(urlencode(fields))
        return status, body.decode()


@pytest.fixture
def connect(server: RunningServer) -> Iterator[Callable[[str], Client]]:
    opened: list[Client] = []

    def opener(account: str) -> Client:
        opened.append(Client(server, account))
        return opened[-1]

    yield opener
    for each in opened:
        each.close()


def text_of(request: bytes | str) -> str:
    return request if isinstance(request, str) else base64.b64encode(request).decode()


@pytest.mark.parametrize("label", list(CASES))
def test_a_bad_request_gets_page_marker_code_row_and_log_line(
    server: RunningServer, beside: Installation, connect: Callable[[str], Client], label: str
) -> None:
    case = CASES[label]
    client = connect(case.account)
    fields = {"Mode": "newreq", "CertRequest": text_of(case.request())}
    if case.template:
        fields["CertAttrib"] = f"CertificateTemplate:{case.template}\r\n"

    status, page = client.post(fields)

    assert status == 200
    outcome = parse_outcome(page)
    assert isinstance(outcome, Denied)
    assert outcome.request_id is not None
    shown = re.search(r'The disposition message is "([^"]+)"', page)
    assert shown is not None
    assert shown[1].startswith(case.marker), shown[1]
    assert "certnew.cer?ReqID=" not in page
    assert "Traceback" not in page
    row = row_of(beside, outcome.request_id)
    assert (row["disposition"], row["caller"]) == (case.state, rf"CORP\{case.account}")
    assert int(row["status"], 16) & 0x8000_0000
    if case.status is not None:
        assert row["status"] == case.status.hex
    assert row["message"].startswith(case.marker)
    lines = server.awaited_events(lambda event: event.get("request_id") == outcome.request_id)
    assert [(event["level"], event["rule"], event["status"]) for event in lines] == [
        ("warning", case.rule, row["status"])
    ]
    fetched, body = client.fetch(outcome.request_id)
    assert fetched == 200
    assert row["status"] in body.decode() or "Denied by" in body.decode()


def row_of(beside: Installation, request_id: int) -> dict[str, Any]:
    """One row as `certwright request list --json` shows it."""
    admin = beside.registry.administer("", beside.operator())
    rows = list(admin.view(Table.REQUESTS, [Restriction("request_id", Comparison.EQUAL, request_id)], COLUMNS))
    assert len(rows) == 1
    row = plain(rows[0])
    assert isinstance(row, dict)
    return row


def test_the_command_line_lists_all_of_them(server: RunningServer, beside: Installation) -> None:
    """After the table above: `request list --failed --json`, one row each, with its code."""
    listed = server.json("request", "list", "--failed")

    assert listed
    codes = {int(row["status"], 16) for row in listed}
    assert codes >= {int(case.status) for case in CASES.values() if case.status is not None}
    assert all(row_of(beside, row["request_id"])["message"] == row["message"] for row in listed)


# -- forms that are none ---------------------------------------------------------------------------------------------


def newest_id(beside: Installation) -> int:
    admin = beside.registry.administer("", beside.operator())
    newest = next(admin.view(Table.REQUESTS, (), ("request_id",), Sort("request_id", descending=True), 1))
    return int(str(newest["request_id"]))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Mode": "newreq"},
        {"Mode": "newreq", "CertRequest": ""},
        {"Mode": "newreq", "CertRequest": " \r\n "},
        {"Mode": "chkpnd"},
        {"Mode": "chkpnd", "ReqID": "none"},
        {"Mode": "chkpnd", "ReqID": "99999999999999999999"},
        {"Mode": "chkpnd", "ReqID": "-1"},
        {"Mode": "newreq", "CertRequest": base64.b64encode(GOOD).decode(), "CertAttrib": "x:" + "y" * 2000},
    ],
    ids=["nothing", "mode alone", "empty", "blank", "no id", "word", "huge id", "negative id", "long attributes"],
)
def test_a_form_that_says_nothing_is_an_error_page_without_a_row(
    server: RunningServer, beside: Installation, connect: Callable[[str], Client], fields: dict[str, str]
) -> None:
    """Disposition message and LastStatus lines; the log says why."""
    before, seen = newest_id(beside), len(server.events())

    status, page = connect(People.ENROLLEE).post(fields)

    assert status == 200
    outcome = parse_outcome(page)
    assert isinstance(outcome, Error)
    assert outcome.status is not None
    assert re.search(r"LastStatus:[^\t]+\t\t[^\r\n]+0x8[0-9a-f]{7} \(-\d+ \w+\)", page)
    assert newest_id(beside) == before
    events = server.awaited_events(lambda event: event["event"] == "enrollment_call_failed", seen)
    assert len(events) == 1
    assert events[0]["reason"]


@pytest.mark.parametrize("page", ["certnew.cer", "certnew.p7b", "certcrl.crl", "certcarc.asp", "certckpn.asp"])
@pytest.mark.parametrize(
    "query",
    ["", "?ReqID=", "?ReqID=abc", "?ReqID=-5", "?ReqID=99999999999", "?ReqID=1&Enc=xyz", "?%00%ff=&&&=&ReqID=%zz"],
)
def test_a_query_that_makes_no_sense_is_a_page(
    server: RunningServer, connect: Callable[[str], Client], page: str, query: str
) -> None:
    client = connect(People.ENROLLEE)
    client._connection.request("GET", f"/certsrv/{page}{query}", headers=client._headers)
    answer = client._connection.getresponse()
    body = answer.read()

    assert answer.status == 200
    assert body


def test_a_form_of_64_kib_is_read_and_one_byte_more_is_not(
    server: RunningServer, beside: Installation, connect: Callable[[str], Client]
) -> None:
    """413, no row, and the connection ends."""
    client = connect(People.ENROLLEE)
    head = urlencode({"Mode": "newreq", "CertRequest": "garbage", "CertAttrib": "CertificateTemplate:WebServer"})
    longest = head + "&x=" + "y" * (64 * 1024 - len(head) - 3)
    read, page = client.submit(longest)
    before, seen = newest_id(beside), len(server.events())

    refused, refusal = client.submit(longest + "y")

    assert read == 200
    assert isinstance(parse_outcome(page.decode()), Denied)
    assert refused == 413
    assert b"64 KiB" in refusal
    assert newest_id(beside) == before
    lines = server.awaited_events(lambda event: event.get("rule") == "body_size", seen)
    assert [event["requester"] for event in lines] == [rf"CORP\{People.ENROLLEE}"]


def test_the_largest_request_of_all_is_read(server: RunningServer, connect: Callable[[str], Client]) -> None:
    """As many names as go into 64 KiB; refused or issued, but by a rule."""
    request = web_server_request(*(f"{number}.{DOMAIN}" for number in range(1800)))
    text = text_of(request)
    assert 40_000 < len(text) < 60_000

    status, page = connect(People.ENROLLEE).post(
        {"Mode": "newreq", "CertRequest": text, "CertAttrib": "CertificateTemplate:WebServer"}
    )

    assert status == 200
    assert parse_outcome(page)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_another_method_is_refused_in_words(server: RunningServer, method: str) -> None:
    connection = http.client.HTTPSConnection("localhost", server.https_port, timeout=10, context=server.tls_context())
    credentials = base64.b64encode(f"CORP\\{People.ENROLLEE}:{PASSWORD}".encode()).decode()
    connection.request(method, "/certsrv/certfnsh.asp", headers={"Authorization": f"Basic {credentials}"})
    answer = connection.getresponse()
    answer.read()
    connection.close()

    assert answer.status == 405
    assert answer.getheader("allow") == "POST"
