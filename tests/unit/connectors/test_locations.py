"""CRLs, issuers and responders that a certificate names: asked over real sockets, believed only when signed.

RFC 5280 4.2.1.13, 4.2.2.1; RFC 6960. A certificate comes from a stranger, so where its URLs lead is judged first.
"""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from certwright.connectors import fetching
from certwright.connectors.fetching import Fetcher, LocationError, Question
from certwright.connectors.locations import (
    CrlFound,
    IssuerFound,
    Location,
    LocationKind,
    Locations,
    OcspFound,
    OcspStatus,
    is_fresh,
    locations_of,
)
from certwright.notifications.targets import Targets
from certwright.pki.certificate import CertificateView
from tests.support.certificates import CA_NAME, ca_certificate, make_certificate
from tests.support.requests import ec_key

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CA_KEY = ec_key("P-256", 100)
SERIAL = 0x1F00000007


@dataclass
class Site:
    """A web server that says what a test wants, in as many pieces as it wants."""

    port: int = 0
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drip: float = 0.0  # seconds between octets
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)

    def url(self, path: str = "/x") -> str:
        return f"http://localhost:{self.port}{path}"


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            made.asked.append((self.command, self.path, self.rfile.read(length)))
            self.send_response(made.status)
            for name, value in made.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                if not made.drip:
                    self.wfile.write(made.body)
                for octet in made.body if made.drip else b"":
                    self.wfile.write(bytes((octet,)))
                    time.sleep(made.drip)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join(5)


def here(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def fetcher(*allowed: str) -> Fetcher:
    return Fetcher(Targets(allowed, here), resolver=here)


@pytest.fixture
def locations() -> Locations:
    return Locations(fetcher("localhost"))


def leaf(site: Site, *, serial: int = SERIAL) -> CertificateView:
    access = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(method, x509.UniformResourceIdentifier(site.url(path)))
            for method, path in (
                (AuthorityInformationAccessOID.CA_ISSUERS, "/ca.crt"),
                (AuthorityInformationAccessOID.OCSP, "/ocsp"),
            )
        ]
    )
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(site.url("/ca.crl"))], None, None, None)
    extensions = [(access, False), (x509.CRLDistributionPoints([point]), False)]
    return CertificateView.parse(make_certificate(extensions=extensions, serial=serial))


def issuer() -> CertificateView:
    return CertificateView.parse(ca_certificate())


def place(view: CertificateView, kind: LocationKind) -> Location:
    return next(each for each in locations_of(view) if each.kind is kind)


def crl(*revoked: int, key: ec.EllipticCurvePrivateKey | None = None, ends: timedelta = timedelta(days=7)) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.Name.from_rfc4514_string(CA_NAME))
        .last_update(NOW - timedelta(days=1))
        .next_update(NOW + ends)
        .add_extension(x509.CRLNumber(1182), False)
    )
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - timedelta(hours=5))
        reason = x509.CRLReason(x509.ReasonFlags.key_compromise)
        builder = builder.add_revoked_certificate(entry.add_extension(reason, False).build())
    return builder.sign(key or CA_KEY, hashes.SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]


# -- what stands there -----------------------------------------------------------------------------------------------


def test_the_locations_of_a_certificate_are_read_in_their_order(site: Site) -> None:
    assert [each.kind for each in locations_of(leaf(site))] == [
        LocationKind.CRL,
        LocationKind.ISSUER,
        LocationKind.OCSP,
    ]


def test_a_crl_says_whether_the_certificate_is_on_it(site: Site, locations: Locations) -> None:
    view = leaf(site)
    for revoked in ((), (SERIAL, 5)):
        site.body = crl(*revoked)
        found = locations.ask(place(view, LocationKind.CRL), view, issuer())
        assert isinstance(found, CrlFound)
        assert (found.number, found.signed, is_fresh(found, NOW)) == (1182, True, True)
        assert (found.entry is not None) is bool(revoked)
    assert found.entry is not None
    assert found.entry.reason is not None
    assert found.entry.reason.label == "keyCompromise"
    assert [asked[:2] for asked in site.asked] == [("GET", "/ca.crl")] * 2


def test_a_crl_of_somebody_else_is_not_believed(site: Site, locations: Locations) -> None:
    view = leaf(site)
    site.body = crl(key=ec.generate_private_key(ec.SECP256R1()))
    found = locations.ask(place(view, LocationKind.CRL), view, issuer())
    assert isinstance(found, CrlFound)
    assert found.signed is False
    unknown = locations.ask(place(view, LocationKind.CRL), view, None)
    assert isinstance(unknown, CrlFound)
    assert unknown.signed is None


def test_an_old_crl_is_not_fresh(site: Site, locations: Locations) -> None:
    view = leaf(site)
    site.body = crl(ends=-timedelta(hours=1))
    found = locations.ask(place(view, LocationKind.CRL), view, issuer())
    assert isinstance(found, CrlFound)
    assert not is_fresh(found, NOW)


def test_an_issuer_is_one_by_its_signature(site: Site, locations: Locations) -> None:
    view = leaf(site)
    for body, expected in ((ca_certificate(), True), (make_certificate("CN=Somebody Else"), False)):
        site.body = body
        found = locations.ask(place(view, LocationKind.ISSUER), view, None)
        assert isinstance(found, IssuerFound)
        assert found.signed is expected


def response(
    signer: ec.EllipticCurvePrivateKey,
    responder: bytes,
    *,
    serial: int = SERIAL,
    revoked: bool = False,
    with_certificate: bool = False,
) -> bytes:
    certificate = x509.load_der_x509_certificate(make_certificate(serial=serial))
    status = ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD
    builder = ocsp.OCSPResponseBuilder().add_response(
        certificate,
        x509.load_der_x509_certificate(ca_certificate()),
        hashes.SHA1(),
        status,
        NOW - timedelta(minutes=1),
        NOW + timedelta(hours=1),
        NOW - timedelta(hours=2) if revoked else None,
        x509.ReasonFlags.superseded if revoked else None,
    )
    loaded = x509.load_der_x509_certificate(responder)
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, loaded)
    if with_certificate:
        builder = builder.certificates([loaded])
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_responder_is_asked_for_exactly_this_certificate(site: Site, locations: Locations) -> None:
    view = leaf(site)
    site.body = response(CA_KEY, ca_certificate())  # type: ignore[arg-type]
    found = locations.ask(place(view, LocationKind.OCSP), view, issuer())
    assert isinstance(found, OcspFound)
    assert (found.status, found.signed, is_fresh(found, NOW)) == (OcspStatus.GOOD, True, True)
    method, path, body = site.asked[0]
    asked = ocsp.load_der_ocsp_request(body)
    assert (method, path, asked.serial_number) == ("POST", "/ocsp", SERIAL)
    assert asked.issuer_key_hash == issuer().public_key.key_identifier


def test_a_revoked_certificate_comes_with_its_time_and_reason(site: Site, locations: Locations) -> None:
    view = leaf(site)
    site.body = response(CA_KEY, ca_certificate(), revoked=True)  # type: ignore[arg-type]
    found = locations.ask(place(view, LocationKind.OCSP), view, issuer())
    assert isinstance(found, OcspFound)
    assert (found.status, found.reason) == (OcspStatus.REVOKED, "superseded")
    assert found.revoked_when == NOW - timedelta(hours=2)


@pytest.mark.parametrize("usage", [ExtendedKeyUsageOID.OCSP_SIGNING, ExtendedKeyUsageOID.SERVER_AUTH])
def test_a_responder_needs_the_issuers_leave(site: Site, locations: Locations, usage: x509.ObjectIdentifier) -> None:
    """RFC 6960 4.2.2.2: a certificate of the same CA for OCSP signing; any other one of it will not do."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = make_certificate("CN=Responder", key, extensions=[(x509.ExtendedKeyUsage([usage]), False)], serial=77)
    view = leaf(site)
    site.body = response(key, own, with_certificate=True)
    found = locations.ask(place(view, LocationKind.OCSP), view, issuer())
    assert isinstance(found, OcspFound)
    assert found.signed is (usage == ExtendedKeyUsageOID.OCSP_SIGNING)


def test_an_answer_for_another_certificate_is_none(site: Site, locations: Locations) -> None:
    view = leaf(site)
    site.body = response(CA_KEY, ca_certificate(), serial=99)  # type: ignore[arg-type]
    with pytest.raises(LocationError, match="another certificate"):
        locations.ask(place(view, LocationKind.OCSP), view, issuer())


def test_without_the_issuer_no_responder_is_asked(site: Site, locations: Locations) -> None:
    view = leaf(site)
    with pytest.raises(LocationError, match="not in the inventory"):
        locations.ask(place(view, LocationKind.OCSP), view, None)
    assert site.asked == []


@pytest.mark.parametrize("kind", list(LocationKind))
def test_nonsense_is_said_to_be_none(site: Site, locations: Locations, kind: LocationKind) -> None:
    site.body = b"<html>not found</html>"
    with pytest.raises(LocationError):
        locations.ask(Location(kind, site.url()), leaf(site), issuer())


def test_only_a_few_are_asked_at_once(site: Site, locations: Locations) -> None:
    """Whoever has slow locations asked must not keep the console's threads from others."""
    view = leaf(site)
    with locations._turn(), locations._turn(), pytest.raises(LocationError, match="others"):
        locations.ask(place(view, LocationKind.CRL), view, None)


# -- where it may lead -----------------------------------------------------------------------------------------------


def test_a_host_that_is_not_public_is_not_asked_unless_it_is_listed(site: Site) -> None:
    site.body = b"secret"
    with pytest.raises(LocationError, match="not public"):
        fetcher().fetch(Question(site.url(), 100))
    assert site.asked == []
    assert fetcher("localhost").fetch(Question(site.url(), 100)) == b"secret"


def test_our_own_listeners_are_asked_and_no_other_port_of_this_host(site: Site) -> None:
    site.body = b"crl"
    own = Fetcher(Targets([], here), [f"localhost:{site.port}"], here)
    assert own.fetch(Question(site.url(), 100)) == b"crl"
    with pytest.raises(LocationError, match="not public"):
        own.fetch(Question(f"http://localhost:{site.port ^ 1}/x", 100))


@pytest.mark.parametrize(
    "url",
    [
        "ldap:///CN=CA?certificateRevocationList",
        "file:///etc/passwd",
        "gopher://localhost/x",
        "http:///x",
        "http://user:password@localhost/x",
        "http://localhost:0/x",
        "http://localhost:99999/x",
        "http://localhost/a b",
        "http://localhost/a\r\nX-Injected: 1",
        "http://localhost/\u00fc",
        "http://[::1",
        "nothing",
    ],
)
def test_other_urls_are_not_asked(url: str) -> None:
    with pytest.raises(LocationError):
        fetcher("localhost").fetch(Question(url, 100))


def test_redirects_are_not_followed(site: Site) -> None:
    site.status, site.headers = 302, {"Location": site.url("/inside")}
    with pytest.raises(LocationError, match="leads elsewhere"):
        fetcher("localhost").fetch(Question(site.url(), 100))
    assert len(site.asked) == 1


def test_an_answer_is_bounded_in_length(site: Site) -> None:
    site.body = b"x" * 101
    with pytest.raises(LocationError, match="more than 100 bytes"):
        fetcher("localhost").fetch(Question(site.url(), 100))


def test_an_answer_is_bounded_in_time_however_it_drips(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PATIENCE", 0.2)
    site.body, site.drip = b"x" * 50, 0.05
    started = time.monotonic()
    with pytest.raises(LocationError, match="nothing came within"):
        fetcher("localhost").fetch(Question(site.url(), 100))
    assert time.monotonic() - started < 1.5


def test_an_error_page_is_no_answer(site: Site) -> None:
    site.status = 404
    with pytest.raises(LocationError, match="HTTP status 404"):
        fetcher("localhost").fetch(Question(site.url(), 100))
