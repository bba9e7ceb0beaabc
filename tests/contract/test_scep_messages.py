"""The gate for devices, continued: renewals, certificates and CRLs, and what is wrong with messages. RFC 8894."""

from __future__ import annotations

from datetime import timedelta

import pytest

from certwright.adcs.errors import AccessDenied
from certwright.adcs.interfaces import CrlKind
from certwright.adcs.roles import RevocationReason
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.crl import CrlView
from certwright.pki.enveloped_data import seal
from certwright.server import device_setup, network_devices
from certwright.server.device_setup import DeviceSetup
from certwright.wire.scep import FailInfo, IssuerAndSerial, MessageType, PkiStatus
from tests.support.doors import Local
from tests.support.installation import GateTemplates, People
from tests.support.requests import (
    ec_key,
    rsa_key,
    web_server_request,
)
from tests.support.scep import Device
from tests.support.scep_house import House, key_numbers, refused
from tests.support.server import DOMAIN

# -- renewal ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def enrolled(house: House) -> Device:
    device = house.device(f"renewing.{DOMAIN}")
    device.take(device.enroll(house.challenge()))
    return device


def test_a_certificate_renews_itself_without_a_challenge(house: House, enrolled: Device) -> None:
    old = enrolled.credentials.certificate
    renewed = enrolled.renew()
    assert renewed.status is PkiStatus.SUCCESS
    assert renewed.certificate.serial != old.serial
    assert renewed.certificate.subject == old.subject


def test_a_renewal_may_bring_a_new_key(house: House, enrolled: Device) -> None:
    key = rsa_key(2048, next(key_numbers))
    renewed = enrolled.renew(key=key)
    assert renewed.status is PkiStatus.SUCCESS
    enrolled.take(renewed, key)
    assert enrolled.renew().status is PkiStatus.SUCCESS


def test_a_first_request_signed_by_a_certificate_of_ours_is_a_renewal(house: House, enrolled: Device) -> None:
    """sscep and certmonger renew with PKCSReq."""
    enrolled.transaction += "x"
    assert enrolled.send(enrolled.message(enrolled.request())).status is PkiStatus.SUCCESS


def test_a_renewal_names_nothing_new(house: House, enrolled: Device) -> None:
    refused(enrolled.renew(enrolled.host, f"dc1.{DOMAIN}"), FailInfo.BAD_REQUEST, "names nothing")
    refused(enrolled.renew(f"dc1.{DOMAIN}"), FailInfo.BAD_REQUEST, "keeps its subject")


def test_a_revoked_certificate_renews_nothing(house: House, enrolled: Device) -> None:
    serial = enrolled.credentials.certificate.serial_number
    Local(house.installation).administer(People.OFFICER).revoke(serial, RevocationReason.KEY_COMPROMISE)
    refused(enrolled.renew(), FailInfo.BAD_REQUEST, "revoked")


def test_a_foreign_certificate_renews_nothing(house: House) -> None:
    from certwright.wire.scep import Credentials
    from tests.support.certificates import make_certificate

    device = house.device()
    foreign = make_certificate(f"CN={device.host}", device.key, issuer="CN=Somebody else")
    device.credentials = Credentials(CertificateView.parse(foreign), device.key)
    refused(device.renew(), FailInfo.BAD_REQUEST, "not issued by a CA of this installation")
    refused(device.enroll(house.challenge()), FailInfo.BAD_REQUEST, "not issued by a CA of this installation")


def test_a_certificate_of_another_template_renews_nothing(house: House, enrolled: Device) -> None:
    """Who holds any certificate of ours must not get one of a device's template by it."""
    house.set(general_purpose_template=GateTemplates.SHORT)
    refused(enrolled.renew(), FailInfo.BAD_REQUEST, "template that is not renewed here")


# -- certificates and CRLs -------------------------------------------------------------------------------------------


def test_a_holder_gets_a_certificate_back(house: House, enrolled: Device) -> None:
    own = enrolled.credentials.certificate
    asked = IssuerAndSerial(own.issuer, own.serial).encode()
    assert enrolled.send(enrolled.message(asked, MessageType.GET_CERT)).certificates == (own.der,)
    unknown = IssuerAndSerial(own.issuer, own.serial + 1).encode()
    refused(enrolled.send(enrolled.message(unknown, MessageType.GET_CERT)), FailInfo.BAD_CERT_ID, "no such")
    stranger = house.device()
    refused(stranger.send(stranger.message(asked, MessageType.GET_CERT)), FailInfo.BAD_REQUEST, "for holders")


def test_anybody_gets_the_crl(house: House, enrolled: Device) -> None:
    Local(house.installation).administer(People.CA_ADMINISTRATOR).publish_crls(CrlKind.BASE)
    own = enrolled.credentials.certificate
    answer = enrolled.send(enrolled.message(IssuerAndSerial(own.issuer, own.serial).encode(), MessageType.GET_CRL))
    assert answer.status is PkiStatus.SUCCESS
    assert answer.certificates == ()
    latest = house.installation.cas[0].authority.database.latest_crl(0)
    assert latest is not None
    assert CrlView.parse(latest.der).der in answer.contents


# -- what is wrong with a message ------------------------------------------------------------------------------------


def test_whatever_does_not_open_is_answered_alike(house: House) -> None:
    """Wrong padding, wrong contents, somebody else's request under another signature: one failure, one sentence."""
    device, victim = house.device(), house.device()
    encryption = device.bundle()[1]
    good = victim.request(house.challenge())
    told = {
        (answer.fail_info, answer.text)
        for answer in (
            device.send(device.message(b"", envelope=seal(b"no request", encryption))),
            device.send(device.message(b"", envelope=seal(good, encryption))),
            device.send(device.message(b"", envelope=seal(good[:-1] + b"\x00", encryption))),
            device.send(device.message(b"", envelope=seal(good, encryption)[:-16] + b"\x00" * 16)),
            device.send(device.message(b"", envelope=wrong_key(seal(good, encryption)))),
            device.send(device.message(b"", envelope=b"\x30\x00")),
        )
    }
    assert len(told) == 1
    assert next(iter(told))[0] is FailInfo.BAD_MESSAGE_CHECK


def wrong_key(envelope: bytes) -> bytes:
    """With a content key that no longer unwraps."""
    start = envelope.index(b"\x04\x82\x01\x00") + 4
    return envelope[:start] + bytes(256) + envelope[start + 256 :]


def test_a_message_for_another_certificate_says_so(house: House) -> None:
    device = house.device()
    envelope = seal(device.request(house.challenge()), device.bundle()[0])
    refused(device.send(device.message(b"", envelope=envelope)), FailInfo.BAD_MESSAGE_CHECK, "GetCACert again")


def test_the_encryption_key_before_still_opens(house: House) -> None:
    device = house.device()
    message = device.message(device.request(house.challenge()))
    before = device.bundle()[:2]
    DeviceSetup(house.installation).renew(house.installation.operator())
    assert device.bundle()[:2] != before
    assert device.send(message).status is PkiStatus.SUCCESS


def test_certificates_renew_themselves_after_two_thirds_of_their_life(house: House) -> None:
    authority = network_devices.registration_authority(house.installation)
    before = authority.current()
    device_setup.renew_when_due(house.installation, before.renew_after - timedelta(seconds=1))
    assert authority.current() == before
    device_setup.renew_when_due(house.installation, before.renew_after)
    after = authority.current()
    assert after.signing.certificate.serial != before.signing.certificate.serial
    assert after.encryption[1].certificate == before.encryption[0].certificate


def test_a_key_that_is_not_rsa_is_refused(house: House) -> None:
    device = house.device()
    request = web_server_request(device.host, key=ec_key())
    refused(device.send(device.message(request)), FailInfo.BAD_MESSAGE_CHECK, "cannot be opened")


def test_a_tampered_message_is_refused(house: House) -> None:
    device = house.device()
    message = device.message(device.request(house.challenge()))
    reply = device.ask("POST", b"operation=PKIOperation", message.replace(b"12", b"13", 1)[:-2] + message[-2:])
    assert reply.status in (200, 400)
    broken = message[:-1] + bytes([message[-1] ^ 1])
    refused(device.send(broken), FailInfo.BAD_MESSAGE_CHECK, "does not verify")


@pytest.mark.parametrize(
    ("method", "query", "body", "status"),
    [
        ("POST", b"operation=PKIOperation", b"no message", 400),
        ("POST", b"operation=PKIOperation", b"", 400),
        ("POST", b"operation=PKIOperation", b"\x30\x80" * 20_000, 400),
        ("GET", b"operation=PKIOperation&message=!!", b"", 400),
        ("GET", b"operation=Frobnicate", b"", 400),
        ("GET", b"operation=GetNextCACert", b"", 404),
        ("GET", b"", b"", 200),
        ("GET", b"operation=GetCACaps&message=%ff%00", b"", 200),
        ("GET", b"operation=getcacertchain&message=0", b"", 200),
    ],
)
def test_what_is_no_message_is_answered_by_http(
    house: House, method: str, query: bytes, body: bytes, status: int
) -> None:
    assert house.ask(method, query, body).status == status


def test_a_disabled_service_is_not_there(house: House) -> None:
    DeviceSetup(house.installation).disable(house.installation.operator())
    assert house.ask("GET", b"operation=GetCACaps", b"").status == 404
    DeviceSetup(house.installation).enable(house.installation.operator())
    assert house.ask("GET", b"operation=GetCACaps", b"").status == 200


def test_only_a_ca_administrator_switches_it_on(house: House) -> None:
    officer = Local(house.installation).requester(People.OFFICER)
    setup = DeviceSetup(house.installation)
    for act in (setup.enable, setup.disable, setup.renew, setup.webhook_key):
        with pytest.raises(AccessDenied):
            act(officer)
    with pytest.raises(AccessDenied):
        DeviceSetup(house.installation).change({"des": "on"}, officer)


def test_the_bundle_is_in_the_order_clients_need(house: House) -> None:
    signing, encryption, issuing, *above = house.device().bundle()
    assert (signing.key_usage[0], encryption.key_usage[0]) == (0x80, 0x20)
    assert not signing.is_ca
    assert issuing.is_ca
    assert above[-1].is_self_issued
    for each in (signing, encryption):
        each.verify_signed_by(issuing)
        assert each.extended_key_usage == (oids.EKU_CMC_RA,)
