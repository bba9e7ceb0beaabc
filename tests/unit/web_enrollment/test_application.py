"""/certsrv as HTTP: addresses, methods, TLS, origin, limits, headers, and what a stranger may see."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import structlog

from certwright.adcs.errors import AccessDenied, AdcsError, HResult
from certwright.adcs.interfaces import AsyncCertRequest
from certwright.adcs.requester import Requester
from certwright.auth.connection import Connection
from certwright.auth.http import Authenticated
from certwright.connectors.registry import Registry
from certwright.web_enrollment.application import create
from tests.support.certsrv import ALICE, Client, FakeCa, StubAuthenticator, make_site, submission
from tests.support.fake_directory import make_template, make_user, requester_for

SAME_SITE = {"sec-fetch-site": "same-origin", "origin": "https://ca.corp.example"}
PAGES = (
    *("", "default.asp", "certrqus.asp", "certrqad.asp", "certrqma.asp", "certrqxt.asp"),
    *("certckpn.asp", "certrmpn.asp", "certcarc.asp"),
)

# -- addresses and methods -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("prefix", ["/certsrv/", "/CertSrv/", "/tenant/CERTSRV/"])
def test_pages_answer_in_any_case_and_under_any_prefix(prefix: str, page: str) -> None:
    client, _ = make_site()

    for name in (page, page.upper()):
        answer = client.get(prefix + name)
        assert answer.status == 200
        assert answer.text.startswith("<!doctype html>")


def test_parameters_are_taken_in_any_case() -> None:
    client, _ = make_site()
    client.post("/certsrv/certfnsh.asp", submission())

    assert client.get("/certsrv/certnew.cer?reqid=1234&ENC=BIN").body[:1] == b"\x30"


@pytest.mark.parametrize(
    ("path", "location"), [("/certsrv", "certsrv/"), ("/CertSrv", "CertSrv/"), ("//evil.example/certsrv", "certsrv/")]
)
def test_the_address_without_its_slash_is_redirected_on_the_same_host(path: str, location: str) -> None:
    answer = make_site()[0].get(path)

    assert answer.status == 301
    assert answer.header("location") == location  # relative: it cannot name another host


@pytest.mark.parametrize(
    "path", ["/certsrv/nothing.asp", "/certsrv/mscep/mscep.dll", "/elsewhere", "/certsrv/../x", "/certsrv/\x00"]
)
def test_what_does_not_exist_is_404_in_the_same_look(path: str) -> None:
    answer = make_site()[0].get(path)

    assert answer.status == 404
    assert "There is no such page here." in answer.text


def test_the_submit_address_takes_forms_only() -> None:
    answer = make_site()[0].get("/certsrv/certfnsh.asp")

    assert answer.status == 405
    assert answer.header("allow") == "POST"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_refused(method: str) -> None:
    assert make_site()[0].call(method, "/certsrv/", headers=SAME_SITE).status == 405


@pytest.mark.parametrize("path", ["/certsrv/", "/certsrv/certnew.cer?ReqID=CACert", "/certsrv/certcarc.asp"])
def test_head_has_the_headers_of_get_and_no_body(path: str) -> None:
    client, _ = make_site()

    head, get = client.get(path, method="HEAD"), client.get(path)

    assert head.body == b""
    assert (head.status, head.headers) == (get.status, get.headers)
    assert head.header("content-length") == str(len(get.body))


# -- who is asking ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*PAGES, "certnew.cer", "certfnsh.asp", "nothing.asp"])
def test_a_stranger_gets_the_challenge_and_learns_nothing(page: str) -> None:
    client, _ = make_site()
    client.account = ""

    answer = client.get(f"/certsrv/{page}")

    assert answer.status == 401
    assert [value for name, value in answer.headers if name == "www-authenticate"] == ["Negotiate", "NTLM"]
    assert answer.header("content-type").startswith("text/html")
    assert "Corp Issuing CA" not in answer.text


def test_a_strangers_body_is_not_read() -> None:
    client, ca = make_site()
    client.account = ""

    assert client.call("POST", "/certsrv/certfnsh.asp", [b"x" * 1000] * 200).status == 401
    assert client.left_body == [200]
    assert ca.submitted == []


def test_headers_of_the_handshake_go_with_the_answer() -> None:
    assert make_site()[0].get("/certsrv/").header("x-mutual") == "token"


def test_nobody_is_asked_for_credentials_without_tls() -> None:
    authenticator = StubAuthenticator()
    client = Client(create(Registry(FakeCa()), authenticator), tls=False)

    answer = client.get("/certsrv/")

    assert answer.status == 403
    assert answer.header("www-authenticate") == ""
    assert authenticator.asked == 0


def test_the_request_is_made_as_the_authenticated_caller() -> None:
    client, ca = make_site()

    client.post("/certsrv/certfnsh.asp", submission(CertAttrib="CertificateTemplate:WebServer\r\nRequesterName:bob"))

    assert ca.submitted[0][0] == ALICE


# -- other sites -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://ca.corp.example"},
        {"origin": "https://ca.corp.example:8444"},
        {"origin": "https://ca.corp.example.evil.example"},
        {"origin": "https://[not-an-address"},
        {"origin": "https://ca.corp.example:99999"},
        {"referer": "https://evil.example/certsrv/certrqxt.asp"},
        {"referer": "about:blank"},
        {"host": "", "referer": "about:blank"},
        {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
    ],
)
@pytest.mark.parametrize("page", ["certfnsh.asp", "certrmpn.asp"])
def test_a_form_that_another_site_sends_is_refused(page: str, headers: Mapping[str, str]) -> None:
    client, ca = make_site()

    answer = client.post(f"/certsrv/{page}", submission(), headers)

    assert answer.status == 403
    assert ca.submitted == []


@pytest.mark.parametrize(
    "headers",
    [
        {},  # scripts
        {"sec-fetch-site": "none"},
        SAME_SITE,
        {"origin": "https://CA.corp.example:443"},
        {"referer": "https://ca.corp.example/certsrv/certrqxt.asp"},
        {"referer": "http://ca.corp.example/certsrv/certrqxt.asp"},  # written by hand in a copied script
        {"referer": ""},
        {"host": "ca.corp.example:8443", "origin": "https://ca.corp.example:8443"},
    ],
)
def test_forms_of_our_own_and_of_scripts_are_taken(headers: Mapping[str, str]) -> None:
    client, ca = make_site()

    assert client.post("/certsrv/certfnsh.asp", submission(), headers).status == 200
    assert len(ca.submitted) == 1


def test_reading_from_another_site_is_harmless_and_allowed() -> None:
    """A link on another page may lead here."""
    assert make_site()[0].get("/certsrv/", {"sec-fetch-site": "cross-site"}).status == 200


# -- limits and faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "headers"),
    [
        ([b"x" * 65_537], {}),
        ([b"x" * 40_000, b"x" * 40_000], {}),
        ([b""], {"content-length": "65537"}),
        ([b""], {"content-length": "9" * 40}),
    ],
)
def test_a_body_above_64_kib_is_413_and_ends_the_connection(parts: list[bytes], headers: Mapping[str, str]) -> None:
    client, ca = make_site()

    answer = client.call("POST", "/certsrv/certfnsh.asp", parts, headers)

    assert answer.status == 413
    assert answer.header("connection") == "close"
    assert ca.submitted == []


def test_an_announced_excess_is_refused_before_anything_is_read() -> None:
    client, _ = make_site()

    client.call("POST", "/certsrv/certfnsh.asp", [b"x"] * 3, {"content-length": "100000"})

    assert client.left_body == [3]


def test_a_body_in_pieces_is_put_together() -> None:
    client, ca = make_site()
    whole = b"Mode=newreq&CertRequest=abc&CertAttrib=CertificateTemplate%3AWebServer"

    client.call("POST", "/certsrv/certfnsh.asp", [whole[:10], b"", whole[10:]])

    assert ca.submitted[0][1] == b"abc"


@pytest.mark.parametrize("parts", [[b"Mode=new"], []])
def test_a_client_that_leaves_is_not_answered_and_not_a_fault(parts: list[bytes]) -> None:
    client, ca = make_site()

    with structlog.testing.capture_logs() as logs:
        answer = client.call("POST", "/certsrv/certfnsh.asp", parts, complete=False)

    assert answer.status == 0
    assert ca.submitted == []
    assert logs == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Mode=newreq",
        b"Mode=newreq&CertRequest=%0d%0a%00",
        b"Mode=chkpnd",
        b"Mode=chkpnd&ReqID=abc",
        b"Mode=chkpnd&ReqID=-1",
        b"&".join(b"a%d=1" % i for i in range(100)),
        b"Mode=newreq&CertRequest=x&CertAttrib=" + b"a" * 2000,
        b"\xff\xfe%ff%zz=&&&===",
    ],
)
def test_a_form_that_makes_no_sense_is_an_error_page(body: bytes) -> None:
    client, ca = make_site()

    answer = client.post("/certsrv/certfnsh.asp", body)

    assert answer.status == 200
    assert re.search(r"LastStatus:[^\t]+\t\t.* 0x800700[0-9a-f]{2} \(-\d+ [A-Z_]+\)\n", answer.text)
    assert ca.submitted == []


@pytest.mark.parametrize("query", ["", "ReqID=", "ReqID=0", "ReqID=x&Enc=b64", "ReqID=1&Enc=xml", "a" * 3000])
def test_a_query_that_makes_no_sense_is_an_error_page(query: str) -> None:
    answer = make_site()[0].get(f"/certsrv/certnew.cer?{query}")

    assert answer.status == 200
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert "LastStatus:" in answer.text


def test_a_refusal_of_the_ca_is_a_page_with_its_code_and_a_log_line() -> None:
    client, ca = make_site()
    ca.failure = AccessDenied("CORP\\alice may not enroll here", HResult.CERTSRV_E_ENROLL_DENIED)

    with structlog.testing.capture_logs() as logs:
        answer = client.post("/certsrv/certfnsh.asp", submission("Down"))

    assert answer.status == 200
    assert "0x80094011 (-2146877423 CERTSRV_E_ENROLL_DENIED)" in answer.text
    assert [(line["event"], line["requester"], line["status"]) for line in logs] == [
        ("enrollment_call_failed", "CORP\\alice", "0x80094011")
    ]


class _BrokenRegistry(Registry):
    def connect_async(self, config: str, requester: Requester) -> AsyncCertRequest:
        raise RuntimeError("secret internals")

    def config(self, config: str) -> str:
        raise RuntimeError("secret internals")


def test_a_fault_of_ours_is_a_number_in_page_and_log_and_no_traceback() -> None:
    client = Client(create(_BrokenRegistry(), StubAuthenticator()))

    with structlog.testing.capture_logs() as logs:
        answer = client.get("/certsrv/")

    assert answer.status == 500
    assert logs[0]["event"] == "web_enrollment_failed"
    assert logs[0]["incident"] in answer.text
    assert "secret internals" not in answer.text
    assert "Traceback" not in answer.text


def test_an_installation_without_a_ca_says_so() -> None:
    answer = Client(create(Registry(), StubAuthenticator())).get("/certsrv/")

    assert answer.status == 200
    assert "RPC_S_SERVER_UNAVAILABLE" in answer.text
    assert "run: certwright init" in answer.text


# -- headers and static files ----------------------------------------------------------------------------------------


def test_every_page_forbids_foreign_content_and_framing() -> None:
    client, _ = make_site()

    for answer in (
        *(client.get(f"/certsrv/{page}") for page in (*PAGES, "nothing")),
        client.post("/certsrv/certfnsh.asp", submission()),
        client.post("/certsrv/certfnsh.asp", submission("Down")),
    ):
        policy = answer.header("content-security-policy")
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("x-frame-options") == "DENY"
        assert answer.header("cache-control") == "no-store"
        assert answer.header("referrer-policy") == "same-origin"
        assert answer.header("content-length") == str(len(answer.body))


def test_no_page_carries_a_script_or_style_that_the_policy_would_stop() -> None:
    """Scripts inside a page are data blocks for scrapers; nothing inline runs."""
    client, _ = make_site()

    for page in (*PAGES, "nothing"):
        text = client.get(f"/certsrv/{page}").text
        assert re.findall(r'<script(?! src=| type="text/plain"| type="module" src=)[^>]*>', text) == []
        assert not re.search(r"\s(style|on[a-z]+)=", text)
        assert "<style" not in text


def test_static_files_are_served_to_anybody_and_kept_for_ever() -> None:
    client, _ = make_site()
    page = client.get("/certsrv/certrqxt.asp").text
    client.account = ""

    addresses = re.findall(r'(?:href|src)="(static/[^"]+)"', page)
    assert len(addresses) == 5
    for address in addresses:
        answer = client.get(f"/certsrv/{address}")
        assert answer.status == 200
        assert "immutable" in answer.header("cache-control")
        assert answer.header("content-type").split(";")[0] in ("text/css", "text/javascript", "image/svg+xml")
    module = client.get(f"/certsrv/{addresses[-1].rpartition('/')[0]}/pkcs10.mjs")
    assert module.header("content-type") == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("path", ["static/", "static/x/certsrv.css", "static/000000000000/../../__init__.py"])
def test_nothing_else_is_reachable_under_static(path: str) -> None:
    assert make_site()[0].get(f"/certsrv/{path}").status == 404


# -- what people type never becomes markup ---------------------------------------------------------------------------

NASTY = "\"'><script>alert(1)</script>&amp;%(account)s"


class Everybody(StubAuthenticator):
    """Takes every connection for the same caller's."""

    def __init__(self, requester: Requester) -> None:
        super().__init__(requester)
        self._requester = requester

    async def authenticate(self, authorization: bytes | None, connection: Connection) -> Authenticated:
        return Authenticated(self._requester)


def test_nothing_that_is_sent_comes_back_as_markup() -> None:
    """Account, template, message, query, path and User-Agent."""
    ca = FakeCa(templates=(make_template("x", display_name=NASTY),), failure=AdcsError(f"{NASTY}\r\nX-Injected: 1"))
    client = Client(create(Registry(ca), Everybody(requester_for(make_user(f"<b>{NASTY}")))))
    agent = {"user-agent": "Agent/0.99" + NASTY}

    answers = [
        client.post("/certsrv/certfnsh.asp", submission("Down"), agent),
        client.post("/certsrv/certfnsh.asp", submission(NASTY), agent),
        client.post("/certsrv/certfnsh.asp", submission("Approval"), agent),
        client.post("/certsrv/certfnsh.asp", {"Mode": "chkpnd", "ReqID": NASTY}, agent),
        *(client.get(f"/certsrv/{page}?{NASTY}", agent) for page in PAGES),
        client.get(f"/certsrv/certnew.cer?ReqID={NASTY}", agent),
        client.get("/certsrv/<script>alert(1)</script>", agent),
    ]

    for answer in answers:
        assert "<script>alert" not in answer.text
        assert "<b>\"'" not in answer.text
        assert "CORP\\&lt;b&gt;&#34;" in answer.text or "CORP\\&lt;b&gt;&quot;" in answer.text
        assert answer.header("x-injected") == ""
        assert "Agent/0.99" not in answer.text  # the User-Agent is not echoed at all


def test_percent_signs_are_text() -> None:
    """Prepared pages are filled in by name; what is filled in is not looked at again."""
    client, _ = make_site(FakeCa(failure=AdcsError("100 % %(ca)s %s")))

    assert "\t\t100 % %(ca)s %s\n" in client.post("/certsrv/certfnsh.asp", submission("Down")).text
