"""The door over pages: one POST and what may become of it, retrieval, properties, the search for a lost request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from spnego._ntlm_raw.crypto import ntowfv1

from certwright.adcs.errors import (
    AccessDenied,
    BadRequest,
    CaUnreachable,
    HResult,
    InvalidArgument,
    NoSuchRequest,
    NotSupported,
)
from certwright.adcs.properties import LATEST, CaProperty
from certwright.adcs.request import Disposition, RequestAttributes, RequestFlags, template_attributes
from certwright.connectors import http
from certwright.connectors.certsrv import CertsrvConnection
from certwright.connectors.errors import (
    AnswerLost,
    ConnectionFailed,
    NotEnrollmentPages,
    PagesForbidden,
    ServiceFault,
    WrongCertificate,
)
from certwright.connectors.reading import read_information
from certwright.connectors.service import ServiceAddress
from certwright.connectors.trust import PinnedFile
from certwright.pki.cms import parse_certs_only
from tests.support.localized_pages import Site
from tests.support.requests import web_server_request
from tests.support.scripted_https import Cut, Identity, Reply, ScriptedServer, Seen
from tests.support.server import free_ports
from tests.unit.connectors.conftest import CREDENTIAL, PASSWORD, Serve, address_of

Connect = Callable[..., CertsrvConnection]

CSR = web_server_request("www.corp.example")
SPKI = x509.load_der_x509_csr(CSR).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_a_request_is_posted_once_after_a_small_logon_on_the_same_connection(
    serve: Serve, connect: Connect, site: Site
) -> None:
    """GET, NTLM, POST and certificate on one TCP connection; the POST needs no handshake of its own."""
    server = serve(site)

    response = connect(server).submit(CSR, template_attributes("WebServer"))

    assert response.is_issued
    certificate = x509.load_der_x509_certificate(response.certificate or b"")
    assert certificate.public_key() == x509.load_der_x509_csr(CSR).public_key()
    assert {each.connection for each in server.seen} == {1}
    assert [each.method for each in server.seen] == ["GET", "GET", "GET", "POST", "GET"]
    assert len(server.posts) == 1
    assert "authorization" not in server.posts[0].headers
    assert server.posts[0].headers["user-agent"].startswith("Mozilla/")
    form = parse_qs(server.posts[0].body.decode())
    assert form["Mode"] == ["newreq"]
    assert form["CertAttrib"] == ["CertificateTemplate:WebServer\r\n"]
    assert form["TargetStoreFlags"] == ["0"]
    assert x509.load_pem_x509_csr(form["CertRequest"][0].encode()).public_bytes(Encoding.DER) == CSR


def test_a_value_cannot_add_an_attribute_line(serve: Serve, connect: Connect, site: Site) -> None:
    server = serve(site)

    connect(server).submit(CSR, RequestAttributes((("CertificateTemplate", "A\r\nSAN:dns=evil.example"),)))

    form = parse_qs(server.posts[0].body.decode())
    assert form["CertAttrib"] == ["CertificateTemplate:A SAN:dns=evil.example\r\n"]


def test_every_operation_has_a_connection_of_its_own(serve: Serve, connect: Connect, site: Site) -> None:
    """NTLM belongs to a connection: thirty at once do not disturb each other."""
    site.rows[7] = "pending"
    server = serve(site)
    found: list[Disposition] = []
    threads = [
        threading.Thread(target=lambda: found.append(connect(server).retrieve(7).disposition)) for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert found == [Disposition.UNDER_SUBMISSION] * 30
    assert len({each.connection for each in server.seen}) == 30


# -- what becomes of a POST ------------------------------------------------------------------------------------------


def answering(site: Site, reply: Callable[[Seen], Reply]) -> Callable[[Seen], Reply]:
    """The site, with another answer to the POST: the request is recorded all the same."""

    def pages(seen: Seen) -> Reply:
        if seen.method != "POST":
            return site(seen)
        site.record(seen)
        return reply(seen)

    return pages


def cut(seen: Seen) -> Reply:
    raise Cut


LOST = {
    "cut before the answer": cut,
    "cut in the middle of the answer": lambda seen: Reply("<html>" + 500 * "x", cut_after=100),
    "internal error": lambda seen: Reply("<h1>500</h1>", 500),
    "bad gateway": lambda seen: Reply("<h1>502</h1>", 502),
    "a redirect": lambda seen: Reply("", 302, headers=(("Location", "/login"),)),
    "no page": lambda seen: Reply(b"\x00\x01", content_type="application/octet-stream"),
    "an endless page": lambda seen: Reply("x" * (http.MAX_ANSWER + 1)),
    "a length beyond all bounds": lambda seen: Reply("", headers=(("Content-Length", "9" * 30),), cut_after=0),
    "compressed": lambda seen: Reply(b"\x1f\x8b", headers=(("Content-Encoding", "gzip"),)),
    "an error that may have come too late": lambda seen: Reply(
        "<pre>A:</b>\t\tx\r\nB:</b>\t\ty. 0x800705b4 (-1)</pre>"
    ),
}


@pytest.mark.parametrize("reply", LOST.values(), ids=LOST.keys())
def test_after_the_post_every_failure_is_a_lost_answer_and_nothing_is_sent_again(
    serve: Serve, connect: Connect, site: Site, reply: Callable[[Seen], Reply]
) -> None:
    server = serve(answering(site, reply))

    with pytest.raises(AnswerLost) as lost:
        connect(server).submit(CSR)

    assert len(server.posts) == 1
    assert isinstance(lost.value, CaUnreachable)
    assert lost.value.request_id is None


def test_a_server_that_takes_too_long_is_a_lost_answer(
    serve: Serve, connect: Connect, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MIN_SUBMIT_TIMEOUT", 0.2)
    servers: list[ScriptedServer] = []

    def silent(seen: Seen) -> Reply:
        servers[0].wait_for_close(10)
        raise Cut

    servers.append(serve(answering(site, silent)))

    with pytest.raises(AnswerLost, match="answer in time"):
        connect(servers[0], timeout=0.2).submit(CSR)


def test_a_body_that_drips_is_given_up(
    serve: Serve, connect: Connect, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time for an answer counts for the whole of it, not anew for each byte."""
    times = iter(range(0, 10_000, 100))
    monkeypatch.setattr("certwright.connectors.http.time.monotonic", lambda: float(next(times)))

    with pytest.raises(NotEnrollmentPages, match="too slowly"):
        connect(serve(site)).retrieve(7)


def test_at_least_a_minute_is_given_to_the_answer_of_a_post() -> None:
    session = http.Session(ServiceAddress("ca.corp.example"), CREDENTIAL, PinnedFile(_PEM), timeout=5)

    assert session._submit_timeout == 60
    assert session._read_timeout == 5


def test_what_fails_before_the_post_is_not_lost(serve: Serve, connect: Connect, site: Site) -> None:
    """The page before is an error, or no AD CS at all: nothing was handed in, another service may be asked."""
    down = serve(lambda seen: Reply("<h1>503</h1>", 503))
    portal = serve(lambda seen: Reply("<h1>Welcome to nginx</h1>"))
    missing = serve(lambda seen: Reply("<h1>404</h1>", 404))
    moved = serve(lambda seen: Reply("", 301, headers=(("Location", "https://elsewhere.example/"),)))

    for server, error in (
        (down, ServiceFault),
        (portal, NotEnrollmentPages),
        (missing, NotEnrollmentPages),
        (moved, NotEnrollmentPages),
    ):
        with pytest.raises(error) as raised:
            connect(server).submit(CSR)
        assert not isinstance(raised.value, AnswerLost)
        assert raised.value.fix
        assert not server.posts


def test_nobody_listening_is_said_with_the_port(root: Identity) -> None:
    port = free_ports(1)[0]
    connection = CertsrvConnection(ServiceAddress("localhost", port), CREDENTIAL, PinnedFile(root.pem))

    with pytest.raises(ConnectionFailed, match=f"refuses connections to port {port}"):
        connection.submit(CSR)


def test_a_post_that_is_refused_by_status_was_not_taken(serve: Serve, connect: Connect, site: Site) -> None:
    server = serve(lambda seen: Reply("", 403) if seen.method == "POST" else site(seen))

    with pytest.raises(PagesForbidden):
        connect(server).submit(CSR)


def test_a_denial_by_access_rights_says_which_right(serve: Serve, connect: Connect, site: Site) -> None:
    server = serve(answering(site, lambda seen: site.pages.error(0x80070005, "E_ACCESSDENIED")))

    with pytest.raises(AccessDenied, match="Request Certificates"):
        connect(server).submit(CSR)


def test_an_error_page_with_a_code_about_the_request_is_a_decision(
    serve: Serve, connect: Connect, site: Site
) -> None:
    server = serve(answering(site, lambda seen: site.pages.error(0x80094012, "CERTSRV_E_TEMPLATE_DENIED")))

    response = connect(server).submit(CSR)

    assert response.disposition is Disposition.DENIED
    assert response.status is HResult.CERTSRV_E_TEMPLATE_DENIED


def test_a_code_without_a_name_stays_in_the_message(serve: Serve, connect: Connect, site: Site) -> None:
    site.decision, site.code = "deny", 0x80094999

    response = connect(serve(site)).submit(CSR)

    assert response.disposition is Disposition.DENIED
    assert "0x80094999" in response.message


# -- what was issued -------------------------------------------------------------------------------------------------


def test_a_certificate_for_another_key_is_refused(serve: Serve, connect: Connect, site: Site) -> None:
    site.decision = "wrong key"

    with pytest.raises(WrongCertificate) as wrong:
        connect(serve(site)).submit(CSR)

    assert wrong.value.request_id == 4711


@pytest.mark.parametrize("reply", [None, Reply("", 500), Reply(b"\x30\x03abc", content_type="application/pkix-cert")])
def test_a_certificate_that_cannot_be_fetched_is_lost_with_its_number(
    serve: Serve, connect: Connect, site: Site, reply: Reply | None
) -> None:
    """It need not be searched: `retrieve` with that number is enough."""

    def pages(seen: Seen) -> Reply:
        if seen.page == "certnew.cer":
            if reply is None:
                raise Cut
            return reply
        return site(seen)

    with pytest.raises(AnswerLost) as lost:
        connect(serve(pages)).submit(CSR)

    assert lost.value.request_id == 4711


def test_a_denial_stands_even_where_its_code_cannot_be_asked_for(serve: Serve, connect: Connect, site: Site) -> None:
    site.decision = "deny in words"

    def pages(seen: Seen) -> Reply:
        return Reply("", 500) if seen.page == "certnew.cer" else site(seen)

    response = connect(serve(pages)).submit(CSR)

    assert response.disposition is Disposition.DENIED
    assert response.request_id == 4711


# -- what cannot be asked --------------------------------------------------------------------------------------------


def test_only_what_the_pages_can_do_is_attempted(serve: Serve, connect: Connect, site: Site) -> None:
    server = serve(site)
    connection = connect(server)

    with pytest.raises(NotSupported):
        connection.submit(CSR, flags=RequestFlags.CMC)
    with pytest.raises(NotSupported):
        connection.submit(CSR, flags=RequestFlags.FULL_RESPONSE)
    with pytest.raises(BadRequest):
        connection.submit(b"\x30\x03abc")
    with pytest.raises(NotSupported):
        connection.retrieve(serial_number="01")
    with pytest.raises(NoSuchRequest):
        connection.retrieve(0)
    with pytest.raises(NoSuchRequest):
        connection.retrieve(1 << 32)

    assert not server.seen


# -- properties ------------------------------------------------------------------------------------------------------


def test_properties_are_read_from_the_pages(
    serve: Serve, connect: Connect, site: Site, issuing: Identity, root: Identity
) -> None:
    connection = connect(serve(site), ca_name="Corp Issuing CA 1")

    assert connection.config == r"localhost\Corp Issuing CA 1"
    assert connection.ca_property(CaProperty.CA_NAME) == "Corp Issuing CA 1"
    assert connection.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE_COUNT) == 1
    assert connection.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, LATEST) == issuing.der
    chain = connection.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN)
    assert isinstance(chain, bytes)
    assert parse_certs_only(chain) == (issuing.der, root.der)  # the server sends the root first
    templates = connection.ca_property(CaProperty.TEMPLATES)
    assert templates == ("WebServer", "1.3.6.1.4.1.311.21.8.0", "User", "1.3.6.1.4.1.311.21.8.1")
    crl = connection.ca_property(CaProperty.BASE_CRL)
    assert isinstance(crl, bytes)
    assert x509.load_der_x509_crl(crl).issuer == issuing.certificate.subject
    with pytest.raises(InvalidArgument):
        connection.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, 1)
    with pytest.raises(NotSupported):
        connection.ca_property(CaProperty.EXIT_COUNT)


def test_a_crl_that_is_not_there_is_an_empty_property(serve: Serve, connect: Connect, site: Site) -> None:
    server = serve(lambda seen: site.pages.error(0x80070002) if seen.page == "certcrl.crl" else site(seen))

    with pytest.raises(InvalidArgument) as missing:
        connect(server).ca_property(CaProperty.DELTA_CRL)

    assert missing.value.status is HResult.ERROR_FILE_NOT_FOUND


def test_information_is_read_in_one_logon(serve: Serve, site: Site, issuing: Identity, root: Identity) -> None:
    server = serve(site)

    information = read_information(address_of(server), CREDENTIAL, PinnedFile(root.pem))

    assert information.ca_name == "Corp Issuing CA 1"
    assert information.chain == (issuing.der, root.der)
    assert information.certificate_not_after == issuing.certificate.not_valid_after_utc
    assert [(each.name, each.supplies_subject) for each in information.templates] == [
        ("WebServer", True),
        ("User", False),
    ]
    assert information.templates[0].minimal_key_size == 2048
    assert len(server.authenticated) == 1


# -- a lost request --------------------------------------------------------------------------------------------------


def test_a_lost_request_is_found_by_its_key(serve: Serve, connect: Connect, site: Site) -> None:
    """IDs that show nothing are passed over, others' certificates too; one connection for the whole search."""
    sent = datetime.now(UTC)
    other = x509.load_der_x509_csr(web_server_request("other.corp.example"))
    subject = x509.load_der_x509_csr(CSR).subject
    site.rows |= {
        101: site.issue(other.subject, site.issuer.key.public_key()),
        103: "pending",
        105: 0x80094800,
        110: site.issue(subject, x509.load_der_x509_csr(CSR).public_key()),
    }
    server = serve(site)

    search = connect(server).search(SPKI, sent, 100, known={103})
    unfiltered = connect(server).search(SPKI, sent, 100)
    found = connect(server).find_lost(SPKI, sent, 100)

    assert search.found is not None
    assert search.found == found
    assert search.found.request_id == search.searched_to == 110
    assert search.undecided == ()
    assert unfiltered.undecided == (103,)
    assert {each.connection for each in server.seen} == {1, 2, 3}
    assert not [each for each in server.seen if each.connection == 1 and "ReqID=103&" in each.query]


def test_the_search_is_bounded_and_starts_above_what_is_known(serve: Serve, connect: Connect, site: Site) -> None:
    server = serve(site)

    search = connect(server).search(SPKI, datetime.now(UTC), 50, limit=5)

    assert search == type(search)(None, (), 55)
    assert [each.query for each in server.seen[2:]] == [f"ReqID={number}&Enc=bin" for number in range(51, 56)]


def test_an_older_certificate_of_the_same_key_is_not_the_lost_one(serve: Serve, connect: Connect, site: Site) -> None:
    """Renewal with the same key: what began days before the request was sent is another request."""
    request = x509.load_der_x509_csr(CSR)
    site.rows[101] = site.issue(request.subject, request.public_key())

    assert connect(serve(site)).find_lost(SPKI, datetime.now(UTC) + timedelta(days=3), 100) is None


def test_a_search_does_not_end_in_nothing_where_the_ca_is_down(serve: Serve, connect: Connect, site: Site) -> None:
    server = serve(lambda seen: site.pages.error(0x800706BA) if seen.page == "certnew.cer" else site(seen))

    with pytest.raises(CaUnreachable):
        connect(server).find_lost(SPKI, datetime.now(UTC), 100)


# -- secrets ---------------------------------------------------------------------------------------------------------


def test_no_secret_shows(serve: Serve, connect: Connect, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Not in reprs, addresses, messages, or logs at their most talkative; neither the NT hash and the tokens."""
    caplog.set_level(logging.DEBUG)
    server = serve(site)
    connection = connect(server)

    connection.submit(CSR)
    refusing = serve(site, refusal=Reply("", 401))
    with pytest.raises(AccessDenied) as refused:
        connect(refusing).retrieve(1)

    nt_hash = ntowfv1(PASSWORD).hex()
    tokens = [each.headers["authorization"].split()[1] for each in server.seen if "authorization" in each.headers]
    shown = caplog.text + repr(CREDENTIAL) + repr(connection) + str(vars(connection)) + str(refused.value)
    assert tokens
    for secret in (PASSWORD, nt_hash, *tokens):
        assert secret not in shown
    assert all(PASSWORD not in each.target for each in server.seen)


_PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
