"""What MDM products ask at /certsrv/mscep_admin and read out of its page, each in its own way.

The readers below are written after what their programs are known to do (Fleet, scripts around Jamf and others): they
take the page apart, they do not look for what we know to be there.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any, Final

import pytest

from certwright.wire.scep import PkiStatus
from tests.support.devices import over_http
from tests.support.installation import PASSWORD, GateTemplates, People
from tests.support.scep import Device
from tests.support.server import DOMAIN, NETBIOS, RunningServer

pytestmark = pytest.mark.peer

PAGE: Final = "/certsrv/mscep_admin/"
ACCOUNT: Final = rf"{NETBIOS}\{People.ADMINISTRATOR}"


# -- ways to log on --------------------------------------------------------------------------------------------------


def by_basic(server: RunningServer, path: str, account: str = ACCOUNT) -> tuple[str, bytes]:
    """Media type and body."""
    request = urllib.request.Request(f"{server.https}{path}")
    request.add_header("Authorization", "Basic " + b64encode(f"{account}:{PASSWORD}".encode()).decode())
    with urllib.request.urlopen(request, context=server.tls_context(), timeout=20) as answer:
        body: bytes = answer.read()
        return answer.headers["Content-Type"], body


def by_ntlm(server: RunningServer, path: str) -> tuple[str, bytes]:
    requests = pytest.importorskip("requests", reason="requests is not installed")
    requests_ntlm = pytest.importorskip("requests_ntlm", reason="requests-ntlm is not installed")
    with requests.Session() as session:
        session.trust_env = False
        session.auth = requests_ntlm.HttpNtlmAuth(ACCOUNT, PASSWORD)
        answer = session.get(f"{server.https}{path}", verify=str(server.root_certificate), timeout=20)
        assert answer.status_code == 200
        return answer.headers["Content-Type"], answer.content


# -- ways to read the page -------------------------------------------------------------------------------------------


def fleet(body: bytes) -> str:
    """UTF-16 by its look, since there is no mark; then a regular expression over the sentence."""
    assert body[1::2].count(0) > len(body) // 3
    found = re.search(r"(?i)The enrollment challenge password is: <B> (?P<password>\S*)", body.decode("utf-16-le"))
    assert found is not None
    return found["password"]


def by_words(body: bytes) -> str:
    """The first word of sixteen hex digits: the thumbprint's have eight."""
    return next(word for word in body.decode("utf-16-le").split() if re.fullmatch("[A-F0-9]{16}", word))


def by_tags(body: bytes) -> str:
    """Python's `utf-16`, which takes the order of this machine without a mark, and pieces between tags."""
    pieces = body.decode("utf-16").split(">")
    following = next(place for place, piece in enumerate(pieces) if "challenge password is:" in piece) + 1
    assert pieces[following - 1].endswith("<B")
    return pieces[following].removesuffix("</B").strip()


class _Bold(HTMLParser):
    """As libraries for broken HTML give the page: tags in lower case."""

    def __init__(self) -> None:
        super().__init__()
        self.bold: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "b"

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.bold.append(data)


def by_parser(body: bytes) -> str:
    parser = _Bold()
    parser.feed(body.decode("utf-16-le"))
    return [text.strip() for text in parser.bold if re.fullmatch(" [A-Z0-9]+ ", text)][-1]


READERS: Final[tuple[Callable[[bytes], str], ...]] = (fleet, by_words, by_tags, by_parser)


# -- the page --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@pytest.mark.parametrize("log_on", [by_basic, by_ntlm], ids=lambda log_on: log_on.__name__)
def test_every_reader_finds_the_challenge(
    ndes: RunningServer, log_on: Callable[[RunningServer, str], tuple[str, bytes]], read: Callable[[bytes], str]
) -> None:
    media_type, body = log_on(ndes, PAGE)
    assert media_type.startswith("text/html")
    assert body[:2] == b"<\x00"  # UTF-16LE and no mark
    password = read(body)
    assert re.fullmatch("[0-9A-F]{16}", password)
    assert password == fleet(body)


@pytest.mark.parametrize("path", ["/certsrv/mscep_admin", "/CertSrv/mscep_admin/", "/certsrv/mscep_admin/mscep.dll"])
def test_the_page_is_where_each_of_them_looks(ndes: RunningServer, path: str) -> None:
    assert fleet(by_basic(ndes, path)[1])


def test_each_visit_gives_out_another_challenge_that_enrolls_one_device(ndes: RunningServer) -> None:
    passwords = [fleet(by_basic(ndes, PAGE)[1]) for _ in range(2)]
    assert passwords[0] != passwords[1]
    for number, password in enumerate(passwords):
        device = Device(over_http(ndes), f"phone{number}.{DOMAIN}", 7100 + number)
        assert device.enroll(password).status is PkiStatus.SUCCESS
        other = Device(over_http(ndes), f"thief{number}.{DOMAIN}", 7200 + number)
        assert other.enroll(password).status is PkiStatus.FAILURE


def test_only_a_get_gives_one_out(ndes: RunningServer) -> None:
    """HEAD looks whether the page is there."""
    before = ndes.json("ndes", "list", "--challenges", "--limit", "1000")
    for method in ("HEAD", "POST"):
        request = urllib.request.Request(f"{ndes.https}{PAGE}", method=method)
        request.add_header("Authorization", "Basic " + b64encode(f"{ACCOUNT}:{PASSWORD}".encode()).decode())
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(request, context=ndes.tls_context(), timeout=20)
    assert ndes.json("ndes", "list", "--challenges", "--limit", "1000") == before


def test_who_does_not_log_on_is_told_every_way_to(ndes: RunningServer) -> None:
    """Programs choose by the challenge they find first and know: Negotiate, NTLM, Basic."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{ndes.https}{PAGE}", context=ndes.tls_context(), timeout=20)
    assert refused.value.code == 401
    ways = [value.split()[0] for value in refused.value.headers.get_all("WWW-Authenticate")]
    assert ways == ["Negotiate", "NTLM", "Basic"]
    assert b"password is" not in refused.value.read()


@pytest.fixture
def full(ndes: RunningServer) -> Iterator[RunningServer]:
    out = [row for row in ndes.json("ndes", "list", "--challenges", "--limit", "1000") if row["used"] is None]
    ndes.cli("ndes", "set", f"challenge-cache={max(1, len(out))}")
    if not out:
        by_basic(ndes, PAGE)
    yield ndes
    ndes.cli("ndes", "set", "challenge-cache=100")


def test_a_full_cache_is_said_on_the_page(full: RunningServer) -> None:
    """With status 200, as on Windows: readers tell the pages apart by their sentences."""
    text = by_basic(full, PAGE)[1].decode("utf-16-le")
    assert "The password cache is full." in text
    assert "The enrollment challenge password is" not in text
    for read in (by_words, by_tags):
        with pytest.raises(StopIteration):
            read(text.encode("utf-16-le"))


# -- what a policy module adds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_on", [by_basic, by_ntlm], ids=lambda log_on: log_on.__name__)
def test_an_mdm_gets_a_challenge_as_the_whole_body(ndes: RunningServer, log_on: Any) -> None:
    media_type, body = log_on(ndes, f"{PAGE}?operation=NDESGenerateChallenge&keyUsage=160&params=SN%2D1001")
    assert media_type.startswith("text/plain")
    assert re.fullmatch(b"[0-9A-F]{16}", body)


def test_the_key_usage_binds_the_challenge_to_its_template(ndes: RunningServer) -> None:
    ndes.cli("ndes", "set", f"signature-template={GateTemplates.SHORT}")
    try:
        _, body = by_basic(ndes, f"{PAGE}?OPERATION=ndesgeneratechallenge&keyusage=128&params=")
        device = Device(over_http(ndes), f"phone9.{DOMAIN}", 7300)
        assert device.enroll(body.decode()).status is PkiStatus.FAILURE  # asks for the general purpose template
    finally:
        ndes.cli("ndes", "set", "signature-template=IPSECIntermediateOffline")


def test_the_thumbprint_is_that_of_the_page(ndes: RunningServer) -> None:
    _, body = by_basic(ndes, f"{PAGE}?operation=NDESGetCACertThumbprint")
    assert re.fullmatch(b"[0-9A-F]{32}", body)
    text = by_basic(ndes, PAGE)[1].decode("utf-16-le")
    shown = re.search("CA certificate is: <B> ([0-9A-F ]+) </B>", text)
    assert shown is not None
    assert shown[1].replace(" ", "") == body.decode()


@pytest.mark.parametrize(
    "query", ["operation=Nothing", "operation=NDESGenerateChallenge&keyUsage=many", "operation=NDESRevoke&x=%ff"]
)
def test_nonsense_is_refused_and_gives_out_nothing(ndes: RunningServer, query: str) -> None:
    before = ndes.json("ndes", "list", "--challenges", "--limit", "1000")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        by_basic(ndes, f"{PAGE}?{query}")
    assert ndes.json("ndes", "list", "--challenges", "--limit", "1000") == before


def test_who_may_not_is_told_so_and_gets_nothing_by_the_operation_either(ndes: RunningServer) -> None:
    account = rf"{NETBIOS}\{People.PLAIN}"
    for query in ("", "?operation=NDESGenerateChallenge&keyUsage=160&params=x", "?operation=NDESGetCACertThumbprint"):
        text = by_basic(ndes, PAGE + query, account)[1].decode("utf-16-le")
        assert "You do not have sufficient permission to enroll with SCEP." in text
        assert not re.search("[A-F0-9]{16}", text)


def test_the_address_of_devices_names_the_page(ndes: RunningServer) -> None:
    """Where a person opens it by mistake."""
    with urllib.request.urlopen(f"{ndes.http}/certsrv/mscep/mscep.dll", timeout=20) as answer:
        assert PAGE in answer.read().decode("utf-16-le")
