"""What a revocation provider promises, by our own CA's database; and an array of responders on one database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as peer

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.request import template_attributes
from certwright.adcs.roles import RevocationReason
from certwright.database import DatabaseError
from certwright.online_responder.revocation import GOOD, CertificateStatus, ProviderUnavailable
from certwright.pki import ocsp
from certwright.pki.certificate import CertificateView
from certwright.server.composition import Installation
from certwright.server.home import Home
from certwright.server.responder import CaProvider, OnlineResponder
from certwright.server.responder_setup import ResponderSetup, renew_signing_certificates
from tests.support.doors import DATABASES
from tests.support.installation import Mold
from tests.support.requests import web_server_request

FAR = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module", params=DATABASES)
def home(
    request: pytest.FixtureRequest, molds: Callable[[str], Mold], new_folder: Callable[[], Path]
) -> Iterator[Home]:
    mold = molds(request.param)
    copied = mold.copy(new_folder())
    yield copied
    mold.drop(copied)


@pytest.fixture(scope="module")
def installation(home: Home) -> Iterator[Installation]:
    """Where certificates are issued and revoked; its responder is enabled."""
    with Installation.open(home) as opened:
        opened.start()
        ResponderSetup(opened).enable("", opened.operator())
        yield opened


@pytest.fixture
def other(home: Home, installation: Installation) -> Iterator[Installation]:
    """The same home, opened by another process as far as anybody can tell."""
    with Installation.open(home) as opened:
        yield opened


def issue(installation: Installation) -> int:
    door = installation.registry.connect("", installation.operator())
    issued = door.submit(web_server_request("www.corp.example"), template_attributes("WebServer"))
    assert issued.certificate is not None
    return CertificateView.parse(issued.certificate).serial


def revoke(
    installation: Installation,
    serial: int,
    reason: RevocationReason = RevocationReason.KEY_COMPROMISE,
    effective: datetime | None = None,
) -> None:
    admin = installation.registry.administer("", installation.operator())
    admin.revoke(f"{serial:x}", reason, effective)


def provider_of(installation: Installation) -> CaProvider:
    provider = CaProvider(installation, installation.ca().authority.database.ca())
    assert provider.changes() == []
    return provider


def now() -> datetime:
    return datetime.now(UTC)


def test_an_issued_certificate_is_good_and_another_number_is_none(
    installation: Installation, other: Installation
) -> None:
    provider, serial = provider_of(other), issue(installation)

    assert provider.status(serial, 0, now()) == GOOD
    assert provider.status(serial, 1, now()) is None  # another key did not sign it
    for never in (serial + 1, 0, -1, 1 << 200):
        assert provider.status(never, 0, now()) is None


def test_a_revocation_is_told_of_once_with_its_reason(installation: Installation, other: Installation) -> None:
    provider, serial = provider_of(other), issue(installation)
    assert list(provider.changes()) == []
    revoke(installation, serial)

    assert list(provider.changes()) == [serial]
    assert list(provider.changes()) == []
    status = provider.status(serial, 0, now())
    assert status is not None
    assert status.reason == 1
    assert status.revoked is not None


def test_hold_and_release_are_changes_both(installation: Installation, other: Installation) -> None:
    provider, serial = provider_of(other), issue(installation)
    revoke(installation, serial, RevocationReason.CERTIFICATE_HOLD)
    revoke(installation, serial, RevocationReason.RELEASE_FROM_HOLD)

    assert list(provider.changes()) == [serial, serial]
    assert provider.status(serial, 0, now()) == GOOD


def test_a_revocation_from_tomorrow_on_is_none_yet(installation: Installation, other: Installation) -> None:
    provider, serial = provider_of(other), issue(installation)
    tomorrow = (now() + timedelta(days=1)).replace(microsecond=0)
    revoke(installation, serial, RevocationReason.SUPERSEDED, tomorrow)

    assert provider.status(serial, 0, now()) == CertificateStatus(until=tomorrow)
    assert provider.status(serial, 0, tomorrow) == CertificateStatus(tomorrow, 4)


def test_the_newest_certificates_come_first_and_expired_ones_not_at_all(
    installation: Installation, other: Installation
) -> None:
    provider = provider_of(other)
    serials = [issue(installation) for _ in range(3)]

    assert list(provider.newest(2, now())) == [(serials[2], 0), (serials[1], 0)]
    assert list(provider.newest(10, FAR)) == []


def test_a_database_that_does_not_answer_is_said_to_be_unavailable(
    other: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = provider_of(other)

    def refuse() -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(other.database, "read", refuse)

    with pytest.raises(ProviderUnavailable, match="gone"):
        provider.changes()
    with pytest.raises(ProviderUnavailable, match="gone"):
        provider.status(1, 0, now())
    with pytest.raises(ProviderUnavailable, match="gone"):
        list(provider.newest(1, now()))


# -- an array


def asked(responder: OnlineResponder, serial: int) -> peer.OCSPResponse:
    ca = responder.responder.issuers[0].certificate
    answer = responder.responder.answer(ocsp.encode_request([ocsp.cert_id(ca, serial)]))
    assert answer is not None
    return peer.load_der_ocsp_response(answer.der)


def test_every_responder_of_an_array_hears_of_a_revocation(installation: Installation, other: Installation) -> None:
    array = [OnlineResponder(installation), OnlineResponder(other)]
    serial = issue(installation)
    for responder in array:
        responder.tick()
        assert asked(responder, serial).certificate_status is peer.OCSPCertStatus.GOOD
    revoke(installation, serial)

    for responder in array:
        responder.tick()

    assert [asked(each, serial).certificate_status for each in array] == [peer.OCSPCertStatus.REVOKED] * 2


def test_answers_are_there_before_anybody_asks(installation: Installation, other: Installation) -> None:
    serial = issue(installation)
    responder = OnlineResponder(other)
    responder.tick()
    ca = responder.responder.issuers[0].certificate

    assert responder.responder.answer(ocsp.encode_request([ocsp.cert_id(ca, serial)]), ask=False) is not None


def test_a_setting_changes_every_responder(installation: Installation, other: Installation) -> None:
    responder = OnlineResponder(other)
    responder.tick()
    setup, operator = ResponderSetup(installation), installation.operator()
    setup.change("", {"responder-id": "name"}, operator)
    responder.tick()
    assert asked(responder, issue(installation)).responder_name is not None

    setup.change("", {"responder-id": "key"}, operator)
    setup.disable("", operator)
    responder.tick()
    assert responder.responder.issuers == ()
    setup.enable("", operator)


def test_a_signing_certificate_is_renewed_after_two_thirds_of_its_life(installation: Installation) -> None:
    setup = ResponderSetup(installation)
    before = setup.standing("")
    assert before.renew_after is not None
    renew_signing_certificates(installation, before.renew_after - timedelta(seconds=1))
    assert setup.standing("").serial_number == before.serial_number

    renew_signing_certificates(installation, before.renew_after)

    assert setup.standing("").serial_number != before.serial_number


def test_a_chosen_signing_certificate_signs_instead(installation: Installation, other: Installation) -> None:
    """As in ocsp.msc: selected by hand. The CA in question has to have issued it, and it has to be here."""
    setup, operator = ResponderSetup(installation), installation.operator()
    with pytest.raises(ConfigurationError, match="no signing certificate"):
        setup.change("", {"signed-with": "chosen"}, operator)
    request = setup.request_signer("", operator)
    issued = installation.host_door().submit(request, template_attributes("OCSPResponseSigning"))
    assert issued.certificate is not None
    setup.install_signer("", issued.certificate, "", operator)

    setup.change("", {"signed-with": "chosen"}, operator)

    responder = OnlineResponder(other)
    responder.tick()
    shown = asked(responder, issue(installation)).certificates
    assert [each.public_bytes(Encoding.DER) for each in shown] == [issued.certificate]
    renew_signing_certificates(installation, FAR)  # not by itself
    standing = setup.standing("")
    assert standing.serial_number == CertificateView.parse(issued.certificate).serial_number
    assert standing.renew_after is None
    setup.change("", {"signed-with": "certificate"}, operator)


def test_a_lost_signing_key_is_enrolled_for_again(installation: Installation, other: Installation) -> None:
    """The folder is gone, as on a new member of an array."""
    for path in installation.home.responder.iterdir():
        path.unlink()
    responder = OnlineResponder(other)
    responder.tick()
    assert asked(responder, issue(installation)).response_status is peer.OCSPResponseStatus.TRY_LATER

    renew_signing_certificates(installation, now())
    responder.tick()

    assert asked(responder, issue(installation)).certificate_status is peer.OCSPCertStatus.GOOD
