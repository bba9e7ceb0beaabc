"""What an answer of a location means: RFC 5280 6.3, RFC 6960 3.2, judged with real CRLs, certificates and answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from certwright.connectors.fetching import LocationError, Question
from certwright.connectors.locations import Location, LocationKind, Locations
from certwright.location_watch.judging import judge
from certwright.location_watch.values import State, Subject
from certwright.pki.certificate import CertificateView
from tests.support.certificates import CA_NAME, ca_certificate, make_certificate
from tests.support.requests import ec_key

NOW: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY: Final = ec_key("P-256", 100)
URL: Final = "http://pki.corp.example/ca.crl"
CA: Final = CertificateView.parse(ca_certificate())
LEAF: Final = CertificateView.parse(make_certificate(serial=0x4711))


@dataclass
class Shelf:
    """What stands where."""

    found: dict[str, bytes | LocationError] = field(default_factory=dict)

    def fetch(self, question: Question) -> bytes:
        found = self.found.get(question.url, LocationError("nobody answers"))
        if isinstance(found, LocationError):
            raise found
        return found


def verdict(
    content: bytes | LocationError,
    kind: LocationKind = LocationKind.CRL,
    *,
    issuer: CertificateView | None = CA,
    is_example: bool = True,
    now: datetime = NOW,
) -> tuple[State, str]:
    location = Location(kind, URL)
    subject = Subject("CA", LEAF if is_example else CA, issuer, (location,), is_example)
    found = judge(Locations(Shelf({URL: content})), location, subject, now)
    return found.state, found.detail


def crl(
    begins: timedelta = -timedelta(days=1),
    ends: timedelta = timedelta(days=7),
    key: ec.EllipticCurvePrivateKey | None = None,
    *extensions: tuple[x509.ExtensionType, bool],
) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.Name.from_rfc4514_string(CA_NAME))
        .last_update(NOW + begins)
        .next_update(NOW + ends)
        .add_extension(x509.CRLNumber(1182), False)
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(key or KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def for_point(url: str) -> tuple[x509.ExtensionType, bool]:
    full_name = [x509.UniformResourceIdentifier(url)]
    point = x509.IssuingDistributionPoint(
        full_name=full_name,
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
    return point, True


@pytest.mark.parametrize(
    ("made", "state", "said"),
    [
        (lambda: crl(), State.OK, "CRL 1182"),
        (lambda: crl(key=ec.generate_private_key(ec.SECP256R1())), State.DOWN, "not signed by the CA"),
        (lambda: crl(ends=-timedelta(seconds=1)), State.DOWN, "has ended"),
        (lambda: crl(ends=timedelta(minutes=30)), State.WARNING, "ends soon"),
        (lambda: crl(-timedelta(days=100), timedelta(days=2)), State.WARNING, "ends soon"),
        (lambda: crl(-timedelta(days=100), timedelta(days=30)), State.OK, "CRL 1182"),
        (lambda: crl(timedelta(hours=1)), State.DOWN, "begins in the future"),
        (lambda: crl(-timedelta(days=1), timedelta(days=7), None, for_point(URL)), State.OK, "CRL 1182"),
        (
            lambda: crl(-timedelta(days=1), timedelta(days=7), None, for_point("http://other/part.crl")),
            State.DOWN,
            "clients refuse it here",
        ),
        (
            lambda: crl(-timedelta(days=1), timedelta(days=7), None, (x509.DeltaCRLIndicator(1), True)),
            State.DOWN,
            "a delta CRL where the other one should be",
        ),
        (lambda: b"<html>", State.DOWN, "no CRL"),
    ],
)
def test_a_crl_is_judged(made: Callable[[], bytes], state: State, said: str) -> None:
    found, detail = verdict(made())
    assert (found, said in detail) == (state, True), detail


def test_a_delta_must_be_one() -> None:
    delta = crl(-timedelta(days=1), timedelta(days=1), None, (x509.DeltaCRLIndicator(1), True))

    assert verdict(delta, LocationKind.DELTA_CRL)[0] is State.OK
    assert verdict(crl(), LocationKind.DELTA_CRL)[0] is State.DOWN


def test_without_the_issuer_a_crl_is_not_trusted() -> None:
    assert verdict(crl(), issuer=None)[0] is State.WARNING


def test_a_silent_location_is_down_and_one_that_is_not_asked_is_unknown() -> None:
    assert verdict(LocationError("pki.corp.example gives no answer")) == (
        State.DOWN,
        "pki.corp.example gives no answer.",
    )
    assert verdict(LocationError("not from here", is_not_asked=True))[0] is State.UNKNOWN


def test_the_issuer_has_to_be_the_one_that_signed() -> None:
    assert verdict(ca_certificate(), LocationKind.ISSUER)[0] is State.OK
    state, detail = verdict(make_certificate("CN=Somebody Else"), LocationKind.ISSUER)
    assert (state, "did not issue ours" in detail) == (State.DOWN, True)


def test_a_ca_that_issued_nothing_yet_has_exactly_its_own_certificate_there() -> None:
    assert verdict(ca_certificate(), LocationKind.ISSUER, is_example=False)[0] is State.OK


def test_the_issuer_s_end_is_told_in_time() -> None:
    ends = CA.not_after
    for left, state in ((31, State.OK), (29, State.WARNING), (-1, State.DOWN)):
        now = ends - timedelta(days=left)
        assert verdict(ca_certificate(), LocationKind.ISSUER, now=now)[0] is state


def answer(status: ocsp.OCSPCertStatus, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    builder = ocsp.OCSPResponseBuilder().add_response(
        x509.load_der_x509_certificate(LEAF.der),
        x509.load_der_x509_certificate(CA.der),
        hashes.SHA1(),
        status,
        NOW - timedelta(minutes=1),
        NOW + timedelta(hours=1),
        None,
        None,
    )
    responder = CA.der if key is None else make_certificate("CN=Stranger", key)
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, x509.load_der_x509_certificate(responder))
    return builder.sign(key or KEY, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("made", "now", "state"),
    [
        (lambda: answer(ocsp.OCSPCertStatus.GOOD), NOW, State.OK),
        (lambda: answer(ocsp.OCSPCertStatus.UNKNOWN), NOW, State.WARNING),
        (lambda: answer(ocsp.OCSPCertStatus.GOOD, ec.generate_private_key(ec.SECP256R1())), NOW, State.DOWN),
        (lambda: answer(ocsp.OCSPCertStatus.GOOD), NOW + timedelta(hours=2), State.DOWN),
        (lambda: answer(ocsp.OCSPCertStatus.GOOD), NOW - timedelta(hours=2), State.DOWN),
        (
            lambda: ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(
                Encoding.DER
            ),
            NOW,
            State.DOWN,
        ),
    ],
)
def test_a_responder_is_judged(made: Callable[[], bytes], now: datetime, state: State) -> None:
    assert verdict(made(), LocationKind.OCSP, now=now)[0] is state


def test_a_responder_is_asked_with_a_certificate_only() -> None:
    assert verdict(b"", LocationKind.OCSP, is_example=False)[0] is State.UNKNOWN
