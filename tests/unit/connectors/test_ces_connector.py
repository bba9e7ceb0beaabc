"""CEP and CES of a server that answers what it likes: what was sent is lost, refused or decided, never misread."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from certwright.adcs.errors import (
    AccessDenied,
    AdcsError,
    BadRequest,
    CaUnreachable,
    ConfigurationError,
    HResult,
    InvalidArgument,
    NoSuchRequest,
    NotSupported,
)
from certwright.adcs.request import Disposition, RequestFlags, template_attributes
from certwright.connectors.ces import CesConnection, NoWay, PolicyServer, place_of, policy_of
from certwright.connectors.errors import (
    AnswerLost,
    LogonRefused,
    NotEnrollmentServices,
    PagesForbidden,
    WrongCertificate,
)
from certwright.connectors.soap import Endpoint, UserNameLogon
from certwright.connectors.trust import PinnedFile
from certwright.wire import soap, wstep, xcep
from certwright.wire.soap import Fault
from certwright.wire.wstep import EnrollmentDetail, TokenResponse
from certwright.wire.xcep import Ca, CaUri, ClientAuthentication, Oid, OidGroup, Policy, PolicyResponse
from tests.support.requests import ec_key, spki, web_server_request
from tests.support.scripted_https import Cut, Identity, Reply, ScriptedServer, Seen
from tests.unit.connectors.conftest import ACCOUNT, CREDENTIAL, PASSWORD, Serve

KEY = ec_key("P-256", 71)
REQUEST = web_server_request("web.corp.example", key=KEY)
WEB_SERVER = template_attributes("WebServer")
CEP = "/ADPolicyProvider_CEP_UsernamePassword/service.svc/CEP"
CES = "/ca_CES_UsernamePassword/service.svc/CES"
POLICY = Policy(
    Oid("1.3.6.1.4.1.311.21.8.1", OidGroup.TEMPLATE, "Web Server"), "WebServer", 1, 86400, 3600, True, False, 2048,
    100, 4, (0,),
)  # fmt: skip

Answer = Callable[[Seen], Reply]


def envelope(seen: Seen, action: str, body: str) -> Reply:
    found = re.search(rb"<a:MessageID>([^<]*)</a:MessageID>", seen.body)
    assert found is not None
    made = soap.envelope(action, body, relates_to=found[1].decode())
    return Reply(made, content_type=soap.CONTENT_TYPE)


def faulty(fault: Fault) -> Answer:
    def answer(seen: Seen) -> Reply:
        found = re.search(rb"<a:MessageID>([^<]*)</a:MessageID>", seen.body)
        assert found is not None
        return Reply(fault.encode(found[1].decode()), 500, soap.CONTENT_TYPE)

    return answer


def token(response: TokenResponse) -> Answer:
    return lambda seen: envelope(seen, response.action, response.encode())


class Site:
    """A server whose CEP names its CES, which answers as a test says."""

    def __init__(self, serve: Serve, root: Identity, issuing: Identity, answer: Answer, **changes: Any) -> None:
        self.answer = answer
        self.issuing = issuing
        self.changes = changes
        self.server: ScriptedServer = serve(self._serve, logon=False)
        self.root = root

    def _serve(self, seen: Seen) -> Reply:
        if seen.target == CES:
            return self.answer(seen)
        uri = CaUri(ClientAuthentication.USER_NAME, f"https://localhost:{self.server.port}{CES}", 1, False)
        response = PolicyResponse("{1}", "", 8, (POLICY,), (Ca(self.issuing.der, (uri,), True),))
        return envelope(seen, xcep.GET_POLICIES_RESPONSE, replace(response, **self.changes).encode())

    @property
    def connection(self) -> CesConnection:
        endpoint = Endpoint(f"https://localhost:{self.server.port}{CEP}")
        return CesConnection(PolicyServer(endpoint, UserNameLogon(CREDENTIAL), PinnedFile(self.root.pem)))

    def submit(self) -> Any:
        return self.connection.submit(REQUEST, WEB_SERVER)


@pytest.fixture
def site(serve: Serve, root: Identity, issuing: Identity) -> Callable[..., Site]:
    return lambda answer, **changes: Site(serve, root, issuing, answer, **changes)


def cut(_: Seen) -> Reply:
    raise Cut


# -- answers that are none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        cut,
        lambda _: Reply("x" * 1000, content_type=soap.CONTENT_TYPE, cut_after=10),
        lambda _: Reply("<html>an error page</html>", 500),
        lambda _: Reply("<html>a portal</html>"),
        lambda _: Reply("<a><b></a>", content_type=soap.CONTENT_TYPE),
        lambda _: Reply("<!DOCTYPE x><x/>", content_type=soap.CONTENT_TYPE),
        lambda _: Reply(soap.envelope("urn:x", "<x/>"), content_type=soap.CONTENT_TYPE),
        lambda _: Reply(soap.envelope(wstep.RSTRC, "<x/>", relates_to="urn:uuid:1"), content_type=soap.CONTENT_TYPE),
        lambda _: Reply(b"", 200, soap.CONTENT_TYPE, (("Content-Length", str(xcep.MAX_RESPONSE + 1)),)),
        lambda _: Reply(b"", 200, soap.CONTENT_TYPE, (("Content-Encoding", "gzip"),)),
        token(TokenResponse("Issued", certificate=b"\x30\x00", request_id=7)),
        faulty(Fault.internal("4711")),
        faulty(EnrollmentDetail(0x80004005, invalid_request=False).fault("Unspecified error")),
    ],
)  # fmt: skip
def test_what_was_sent_and_is_not_answered_is_lost(site: Callable[..., Site], answer: Answer) -> None:
    """It may have become a certificate: whoever handed it in looks for it before it does so again."""
    with pytest.raises(AnswerLost):
        site(answer).submit()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda _: Reply(status=403), PagesForbidden),
        (lambda _: Reply(status=404), NotEnrollmentServices),
        (lambda _: Reply(status=302, headers=(("Location", "https://elsewhere.example/"),)), NotEnrollmentServices),
        (lambda _: Reply(status=413), BadRequest),
        (lambda _: Reply(status=503), CaUnreachable),
        (faulty(Fault.failed_authentication()), LogonRefused),
        (faulty(Fault.addressing("ActionNotSupported", "no")), BadRequest),
        (faulty(EnrollmentDetail(HResult.CERTSRV_E_ENROLL_DENIED, invalid_request=True).fault("no")), AccessDenied),
        (faulty(EnrollmentDetail(HResult.CERTSRV_E_SERVER_SUSPENDED, False).fault("no")), CaUnreachable),
        (faulty(EnrollmentDetail(HResult.E_INVALIDARG, invalid_request=False).fault("no")), InvalidArgument),
    ],
)  # fmt: skip
def test_what_was_refused_before_it_was_a_request_is_not_lost(
    site: Callable[..., Site], answer: Answer, error: type[AdcsError]
) -> None:
    with pytest.raises(error) as refused:
        site(answer).submit()
    assert not isinstance(refused.value, AnswerLost)


def test_a_denial_has_the_cas_words_and_code(site: Callable[..., Site]) -> None:
    detail = EnrollmentDetail(HResult.CERTSRV_E_KEY_LENGTH, invalid_request=True, request_id=12)
    response = site(faulty(detail.fault("The key is too short. (0x80094811)"))).submit()

    assert (response.request_id, response.disposition) == (12, Disposition.DENIED)
    assert (response.status, response.message) == (HResult.CERTSRV_E_KEY_LENGTH, "The key is too short.")


def test_a_code_without_a_name_stays_in_the_words(site: Callable[..., Site]) -> None:
    detail = EnrollmentDetail(0x80094899, invalid_request=False, request_id=12)
    response = site(faulty(detail.fault("Something."))).submit()

    assert (response.disposition, response.status) == (Disposition.ERROR, HResult.E_UNEXPECTED)
    assert response.message == "Something. (0x80094899)"


def test_a_certificate_for_another_key_is_not_taken(site: Callable[..., Site], web: Identity) -> None:
    with pytest.raises(WrongCertificate) as refused:
        site(token(TokenResponse("Issued", certificate=web.der, request_id=7))).submit()
    assert refused.value.request_id == 7


def test_nothing_is_posted_twice_and_no_password_shows(site: Callable[..., Site]) -> None:
    place = site(cut)
    with pytest.raises(AnswerLost) as lost:
        place.submit()

    assert [seen.target for seen in place.server.posts] == [CEP, CES]
    assert PASSWORD.encode() in place.server.posts[0].body
    assert PASSWORD not in str(lost.value)
    assert PASSWORD not in repr(place.connection.__dict__)
    assert repr(ACCOUNT) in repr(place.connection.__dict__)


# -- questions -------------------------------------------------------------------------------------------------------


def test_a_question_that_is_not_answered_is_nobodys_decision(site: Callable[..., Site]) -> None:
    for answer in (cut, lambda _: Reply("<html/>", 500), faulty(Fault.internal("4711"))):
        with pytest.raises(CaUnreachable) as refused:
            site(answer).connection.retrieve(7)
        assert not isinstance(refused.value, AnswerLost)


@pytest.mark.parametrize("number", [0, -1, 2**32])
def test_a_request_id_that_is_none_is_not_asked_for(site: Callable[..., Site], number: int) -> None:
    place = site(cut)
    with pytest.raises(NoSuchRequest):
        place.connection.retrieve(number)
    assert place.server.posts == []


def test_what_ces_has_no_word_for_is_not_sent(site: Callable[..., Site]) -> None:
    place = site(cut)
    with pytest.raises(NotSupported):
        place.connection.submit(REQUEST, WEB_SERVER, RequestFlags.CRLS)
    with pytest.raises(NotSupported):
        place.connection.retrieve(serial_number="00")
    with pytest.raises(BadRequest):
        place.connection.submit(b"garbage", WEB_SERVER)
    assert place.server.posts == []


# -- where to go -----------------------------------------------------------------------------------------------------


def uri(kind: ClientAuthentication, name: str, priority: int, *, renewal_only: bool = False) -> CaUri:
    return CaUri(kind, f"https://{name}.corp.example/CES", priority, renewal_only)


@pytest.fixture
def offered(root: Identity, issuing: Identity) -> PolicyResponse:
    """Two CAs; the second alone publishes `Other`, and lets the account not in."""
    kerberos, user = ClientAuthentication.KERBEROS, ClientAuthentication.USER_NAME
    first = Ca(issuing.der, (uri(kerberos, "far", 9), uri(kerberos, "near", 1), uri(user, "road", 1)), True)
    second = Ca(root.der, (uri(kerberos, "cheap", 0), uri(user, "renew", 0, renewal_only=True)), False)
    other = replace(POLICY, common_name="Other", cas=(1,), oid=POLICY.oid._replace(name="The other one"))
    return PolicyResponse("{1}", "", 8, (replace(POLICY, cas=(0, 1)), other), (first, second))


@pytest.mark.parametrize(
    ("kind", "options", "host"),
    [
        (ClientAuthentication.KERBEROS, {}, "near"),
        (ClientAuthentication.USER_NAME, {}, "road"),
        (ClientAuthentication.KERBEROS, {"ca_name": "corp root CA"}, "cheap"),
        (ClientAuthentication.KERBEROS, {"template": "Other"}, "cheap"),
        (ClientAuthentication.KERBEROS, {"template": "the OTHER one"}, "cheap"),
        (ClientAuthentication.USER_NAME, {"template": "Other", "renewal": True}, "renew"),
    ],
)
def test_the_place_publishes_the_template_and_is_the_preferred_one(
    offered: PolicyResponse, kind: ClientAuthentication, options: dict[str, Any], host: str
) -> None:
    assert place_of(offered, kind, **options).endpoint.url == f"https://{host}.corp.example/CES"


def test_where_there_is_no_way_it_is_said_why(offered: PolicyResponse) -> None:
    with pytest.raises(NoWay, match="certificate"):
        place_of(offered, ClientAuthentication.CERTIFICATE)
    with pytest.raises(NoWay, match="user name"):
        place_of(offered, ClientAuthentication.USER_NAME, template="Other")
    with pytest.raises(NoWay, match="it names: Corp Issuing CA 1, Corp Root CA"):
        place_of(offered, ClientAuthentication.KERBEROS, ca_name="Another")
    with pytest.raises(InvalidArgument, match="WebServer, Other"):
        policy_of(offered, "Smartcard")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://ca.corp.example/CEP",
        "https:///CEP",
        "https://user:pass@ca.corp.example/CEP",
        "https://ca.corp.example/CEP?x=1",
        "https://ca.corp.example:0/CEP",
        "https://ca.corp.example:99999/CEP",
        "https://ca.corp.example/C EP",
        "https://c\u0430.corp.example/CEP",
        "https://ca.corp.example/" + "x" * 3000,
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Endpoint(url)


def test_a_lost_request_is_found_by_its_key(site: Callable[..., Site]) -> None:
    """What CES shows nothing of lies between."""
    from datetime import UTC, datetime

    def answer(seen: Seen) -> Reply:
        number = int((re.search(rb"RequestID[^>]*>(\d+)<", seen.body) or [b"", b"0"])[1])
        if number == 12:
            return token(TokenResponse("Pending", reference="https://localhost/x", request_id=12))(seen)
        detail = EnrollmentDetail(HResult.CERTSRV_E_PROPERTY_EMPTY, invalid_request=False)
        return faulty(detail.fault("No such request."))(seen)

    found = site(answer).connection.search(spki(KEY), datetime.now(UTC), 10)

    assert (found.found, found.undecided, found.searched_to) == (None, (12,), 510)
