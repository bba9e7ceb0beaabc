"""What public clients of /certsrv make of our pages: each client's way of reading, in short expressions of our own.

The table runs every outcome past every client. A client that stops at its first hit is written as such.
"""

from __future__ import annotations

import html.parser
import re
import shutil
import subprocess
from collections.abc import Callable

import pytest
from cryptography import x509

from certwright.adcs.errors import CaUnreachable, HResult
from certwright.adcs.properties import CaType
from certwright.adcs.request import Disposition, Response
from certwright.adcs.template import NameFlag
from certwright.wire.certsrv import (
    Denied,
    Error,
    Issued,
    Pending,
    Retrieved,
    Unknown,
    parse_ca_page,
    parse_outcome,
    parse_retrieval,
    parse_templates,
)
from tests.support.certsrv import ALICE, BOB, DENIAL, Answer, Client, FakeCa, make_site, submission
from tests.support.fake_directory import make_template

Verdict = tuple[str, object]


def first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


# -- the clients: what certfnsh.asp said -----------------------------------------------------------------------------


def pypi_certsrv(text: str) -> Verdict:
    """PyPI certsrv and, with the same three expressions, acme2certifier."""
    if number := first(r"certnew.cer\?ReqID=(\d+)&", text):
        return "issued", int(number)
    if re.search(r"Certificate Pending", text):
        return "pending", int(first(r"Your Request Id is (\d+).", text) or "")
    return "denied", first(r'The disposition message is "([^"]+)', text)


def go_issuer(text: str) -> Verdict:
    """The issuer for Kubernetes: link, then any request ID (to be polled), then the message."""
    if number := first(r".*certnew.cer\?ReqID=([0-9]+)&", text):
        return "issued", int(number)
    if number := first(r".*Your Request Id is ([0-9]+).", text):
        return "poll", int(number)
    return "denied", first(r'The disposition message is "([^"]+)', text)


def certipy(text: str) -> Verdict:
    """Branches by substrings, then reads the ID, the code of a denial, and the code of an error page."""
    if number := first(r"certnew.cer\?ReqID=([0-9]+)&", text):
        return "issued", int(number)
    if "template that is not supported" in text:
        return "unsupported template", first(r"Denied by Policy Module  (0x[0-9a-fA-F]+),", text)
    number = first(r"Your Request Id is (\d+)", text)
    if "Certificate Pending" in text:
        return "pending", int(number or "")
    if '"Denied by Policy Module"' in text:
        return "fetch code", int(number or "")
    if code := first(r"Denied by Policy Module  (0x[0-9a-fA-F]+),", text):
        return "denied", code
    return "error", first(r"(0x[a-zA-Z0-9]+) \([-]?[0-9]+ ", text)


def relay_tool(text: str) -> Verdict:
    """Searches the literal location assignment."""
    number = first(r'location="certnew.cer\?ReqID=(.*?)&', text)
    return ("issued", int(number)) if number else ("other", None)


def our_own(text: str) -> Verdict:
    match parse_outcome(text):
        case Issued(number):
            return "issued", number
        case Pending(number, certain=True):
            return "pending", number
        case Denied(message):
            return "denied", message
        case Error(_, status):
            return "error", status
    return "nothing", None


OUTCOMES: dict[str, dict[str, Verdict]] = {
    "WebServer": {
        "pypi": ("issued", 1234),
        "go": ("issued", 1234),
        "certipy": ("issued", 1234),
        "relay": ("issued", 1234),
        "ours": ("issued", 1234),
    },
    "Approval": {
        "pypi": ("pending", 1234),
        "go": ("poll", 1234),
        "certipy": ("pending", 1234),
        "relay": ("other", None),
        "ours": ("pending", 1234),
    },
    "Nope": {
        "pypi": ("denied", DENIAL),
        "go": ("poll", 1234),
        "certipy": ("unsupported template", "0x80094800"),
        "relay": ("other", None),
        "ours": ("denied", DENIAL),
    },
    "Refused": {
        "pypi": ("denied", "Denied by Policy Module"),
        "go": ("poll", 1234),
        "certipy": ("fetch code", 1234),
        "relay": ("other", None),
        "ours": ("denied", "Denied by Policy Module"),
    },
    "Down": {
        "pypi": ("denied", None),
        "go": ("denied", None),
        "certipy": ("error", "0x800706ba"),
        "relay": ("other", None),
        "ours": ("error", HResult.RPC_S_SERVER_UNAVAILABLE),
    },
}
READERS: dict[str, Callable[[str], Verdict]] = {
    "pypi": pypi_certsrv,
    "go": go_issuer,
    "certipy": certipy,
    "relay": relay_tool,
    "ours": our_own,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("template", OUTCOMES)
@pytest.mark.parametrize("browser", [False, True], ids=["script", "browser"])
def test_every_client_reads_every_outcome(template: str, reader: str, browser: bool) -> None:
    client, ca = make_site()
    ca.failure = CaUnreachable("the CA does not answer")
    headers = {"sec-fetch-mode": "navigate", "sec-fetch-site": "same-origin"} if browser else {}

    answer = client.post("/certsrv/certfnsh.asp", submission(template), headers)

    assert answer.status == 200
    assert READERS[reader](answer.text) == OUTCOMES[template][reader]


def test_a_garbage_request_gives_the_denied_page_with_its_message() -> None:
    """The CA makes a row of it; the page is a denial with Error Parsing Request."""
    client, ca = make_site()

    answer = client.post("/certsrv/certfnsh.asp", submission(request="this is no request"))

    kind, message = pypi_certsrv(answer.text)
    assert kind == "denied"
    assert str(message).startswith("Error Parsing Request")
    assert ca.submitted[0][1] == b"this is no request"


@pytest.mark.parametrize("template", OUTCOMES)
def test_a_page_carries_the_markers_of_its_own_outcome_only(template: str) -> None:
    client, _ = make_site()
    own = {
        "WebServer": {"Certificate Issued", "certnew.cer?ReqID="},
        "Approval": {"Certificate Pending", "Your Request Id is", "you must wait for an administrator"},
        "Nope": {
            "Certificate Request Denied",
            "Your Request Id is",
            "The disposition message is",
            "Denied by",
            "template that is not supported",
        },
        "Refused": {"Certificate Request Denied", "Your Request Id is", "The disposition message is", "Denied by"},
        "Down": {"Disposition message:", "LastStatus:"},
    }[template]

    text = client.post("/certsrv/certfnsh.asp", submission(template)).text

    everything = set().union(
        {"Certificate Issued", "certnew.cer?ReqID=", "Certificate Pending", "you must wait for an administrator"},
        {"Certificate Request Denied", "Your Request Id is", "The disposition message is", "Denied by"},
        {"template that is not supported", "Disposition message:", "LastStatus:", "Taken Under Submission"},
        {"property value is empty", "Error Parsing Request"},
    )
    assert {marker for marker in everything if marker in text} == own


# -- the shell script, with its own tools ----------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("grep") or not shutil.which("cut"), reason="grep and cut are not here")
def test_the_shell_pipeline_finds_a_link_that_downloads_pem() -> None:
    client, _ = make_site()
    text = client.post("/certsrv/certfnsh.asp", submission()).text

    pipeline = "grep -A 1 'function handleGetCert() {' | tail -n 1 | cut -d '\"' -f 2"
    link = subprocess.run(
        ["sh", "-c", pipeline], input=text, capture_output=True, text=True, check=True
    ).stdout.strip()

    assert link == "certnew.cer?ReqID=1234&"
    certificate = client.get(f"/certsrv/{link}")
    assert certificate.body.startswith(b"-----BEGIN CERTIFICATE-----\r\n")
    x509.load_pem_x509_certificate(certificate.body)


class _Document(html.parser.HTMLParser):
    """The little that browser automation asks for: ids, and links by their visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.headlines: list[str] = []
        self._href = ""
        self._text: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            assert values["id"] not in self.ids, f"id {values['id']} stands twice"
            self.ids[values["id"]] = tag
        if "name" in values and "id" in values:
            self.names[values["name"]] = values["id"]
        if tag in ("a", "h1"):
            self._href, self._text = values.get("href", ""), []

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("a", "h1") and self._text is not None:
            text = " ".join("".join(self._text).split())
            if tag == "h1":
                self.headlines.append(text)
            else:
                self.links[text] = self._href
            self._text = None


def test_browser_automation_finds_its_ids_and_link_texts() -> None:
    client, _ = make_site()

    issued = _Document(client.post("/certsrv/certfnsh.asp", submission()).text)
    form = _Document(client.get("/certsrv/certrqxt.asp").text)

    assert issued.ids["rbDerEnc"] == issued.ids["rbB64Enc"] == "input"
    assert "locB64Enc0" in issued.ids
    assert issued.headlines == ["Certificate Issued"]
    assert issued.links["Download certificate"] == "certnew.cer?ReqID=1234&Enc=b64"
    assert issued.links["Download certificate chain"] == "certnew.p7b?ReqID=1234&Enc=b64"
    assert form.ids["locTaRequest"] == form.ids["locTaAttrib"] == "textarea"
    assert form.ids["btnSubmit"] == "button"
    assert form.names["lbCertTemplate"] == "lbCertTemplateID"


# -- certnew.cer: pending, denied, unknown ---------------------------------------------------------------------------


def pypi_retrieval(answer: Answer) -> Verdict:
    if answer.header("content-type") == "application/pkix-cert":
        return "certificate", None
    return "no certificate", first(r"Disposition message:[^\t]+\t\t([^\r\n]+)", answer.text)


def go_retrieval(answer: Answer) -> Verdict:
    match answer.header("content-type").split(";")[0]:
        case "application/pkix-cert":
            return "ready", None
        case "text/html":
            if re.search(".*Taken Under Submission*.", answer.text):
                return "pending", None
            if re.search(".*Denied by*.", answer.text):
                return "denied", first(r"LastStatus:[^\t]+\t\t([^\r\n]+)", answer.text)
            return "unknown", first(r"Disposition message:[^\t]+\t\t([^\r\n]+)", answer.text)
    return "error", None


def certipy_retrieval(answer: Answer) -> Verdict:
    text = answer.body.decode("latin-1")
    if "BEGIN CERTIFICATE" in text:
        return "certificate", None
    if "Taken Under Submission" in text:
        return "pending", None
    if "The requested property value is empty" in text:
        return "empty", None
    return "error", first(r" (0x[0-9a-fA-F]+) \(", text)


DENIED_TEXT = "Denied by Policy Module  0x80094012, The permissions do not allow it."
STATUS_TEXT = (
    "Your account has no Enroll right on this certificate template. "
    "0x80094012 (-2146877422 CERTSRV_E_TEMPLATE_DENIED)"
)


@pytest.mark.parametrize(
    ("disposition", "status", "message", "pypi", "go", "certipy_says", "ours"),
    [
        (
            Disposition.UNDER_SUBMISSION,
            HResult.S_OK,
            "Taken Under Submission",
            "Taken Under Submission",
            ("pending", None),
            ("pending", None),
            Pending,
        ),
        (
            Disposition.DENIED,
            HResult.CERTSRV_E_TEMPLATE_DENIED,
            DENIED_TEXT,
            DENIED_TEXT,
            ("denied", STATUS_TEXT),
            ("error", "0x80094012"),
            Denied,
        ),
    ],
)
def test_a_request_without_certificate_says_why_on_certnew(
    disposition: Disposition,
    status: HResult,
    message: str,
    pypi: str,
    go: Verdict,
    certipy_says: Verdict,
    ours: type,
) -> None:
    client, ca = make_site()
    ca.answer(99, ALICE, Response(99, disposition, status, message))

    for page in ("certnew.cer", "certnew.p7b"):
        answer = client.get(f"/certsrv/{page}?ReqID=99&Enc=b64")

        assert answer.status == 200
        assert pypi_retrieval(answer) == ("no certificate", pypi)
        assert go_retrieval(answer) == go
        assert certipy_retrieval(answer) == certipy_says
        assert isinstance(parse_retrieval(answer.header("content-type"), answer.body), ours)


def test_unknown_and_other_peoples_requests_look_alike() -> None:
    """The text is the one that clients know; nothing tells the two cases apart."""
    client, ca = make_site()
    ca.answer(50, BOB, Response(50, Disposition.ISSUED, HResult.S_OK, "Issued", ca.certificate()))

    others, nobodys = (client.get(f"/certsrv/certnew.cer?ReqID={number}&Enc=b64") for number in (50, 51))

    assert others.body == nobodys.body
    assert others.headers == nobodys.headers
    assert "The requested property value is empty. 0x80094004 (-2146877436 CERTSRV_E_PROPERTY_EMPTY)" in others.text
    assert certipy_retrieval(others) == ("empty", None)
    assert isinstance(parse_retrieval(others.header("content-type"), others.body), Unknown)


def test_a_revoked_certificate_is_still_handed_out() -> None:
    client, ca = make_site()
    ca.answer(60, ALICE, Response(60, Disposition.REVOKED, HResult.S_OK, "Revoked", ca.certificate()))

    answer = client.get("/certsrv/certnew.cer?ReqID=60&Enc=bin")

    assert parse_retrieval(answer.header("content-type"), answer.body) == Retrieved(ca.certificate())


# -- the CA's certificate and the template list ----------------------------------------------------------------------


@pytest.mark.parametrize("renewals", [0, 2])
def test_ca_certificate_is_fetched_by_the_number_that_certcarc_gives(renewals: int) -> None:
    client, ca = make_site(FakeCa(renewals=renewals))

    page = client.get("/certsrv/certcarc.asp").text
    number = first(r"var nRenewals=(\d+);", page)
    answer = client.get(f"/certsrv/certnew.cer?ReqID=CACert&Renewal={number}&Enc=bin")

    assert number == str(renewals)
    assert parse_ca_page(page).newest == renewals
    assert answer.header("content-type") == "application/pkix-cert"
    assert answer.body == ca.certificate()


def template_client(*names: str, ca_type: CaType = CaType.ENTERPRISE_SUBORDINATE) -> Client:
    made = [make_template(name, display_name=f"{name} Certificate") for name in names]
    made.append(make_template("WebServer", display_name="Web Server", name_flag=NameFlag.ENROLLEE_SUPPLIES_SUBJECT))
    made.append(make_template("Signed", ra_signatures=1))
    return make_site(FakeCa(templates=made, ca_type=ca_type))[0]


def test_template_scrapers_find_what_they_look_for() -> None:
    text = template_client("User", "Machine").get("/certsrv/certrqxt.asp").text

    metasploit = [found[1] for line in text.splitlines() if (found := re.search('Option Value="E;(.*?);', line))]
    relay = [
        re.search(r'<Option Value="(.*?)">', option)[1]  # type: ignore[index]
        for option in re.findall(r"<Option Value.*?>", text)
    ]
    generic = re.findall(r'<Option\s+Value="([^"]+)"', text, re.IGNORECASE)

    assert metasploit == ["Machine", "User"]
    assert [len(value.split(";")) for value in relay] == [14, 14, 14]
    assert [value.split(";")[:2] for value in relay] == [["E", "Machine"], ["E", "User"], ["O", "WebServer"]]
    assert set(relay) <= set(generic)
    assert '<select name="lbCertTemplate" id="lbCertTemplateID"' in text
    assert [option.display_name for option in parse_templates(text)] == [
        "Machine Certificate",
        "User Certificate",
        "Web Server",
    ]


def test_templates_that_want_signatures_beforehand_are_not_offered() -> None:
    assert "Signed" not in {
        option.name for option in parse_templates(template_client().get("/certsrv/certrqxt.asp").text)
    }


def test_a_standalone_ca_has_no_template_select() -> None:
    text = template_client(ca_type=CaType.STANDALONE_ROOT).get("/certsrv/certrqxt.asp").text

    assert "lbCertTemplate" not in text
    assert 'id="locTaRequest"' in text
