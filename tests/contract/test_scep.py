"""The gate for devices: template x challenge x key. No device and no challenge skips a rule of the CA.

A device has no account, so the callers of this table are challenges and certificates: the CA sees the account of the
service, whose rights and name rules hold. RFC 8894; `tests/contract/test_gate.py` is the table for accounts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import pytest

from certwright.adcs.errors import AccessDenied, AdcsError, HResult, InvalidArgument
from certwright.auth.throttle import Throttle
from certwright.ca.authority import Authority
from certwright.ca.transaction import SqlCaTransaction
from certwright.ndes import store
from certwright.ndes.challenges import CacheFull
from certwright.ndes.policy import Rejected
from certwright.ndes.store import State, Transaction
from certwright.ndes.unfinished import NEVER_REACHED
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.enveloped_data import ContentCipher, EnvelopedData, KeyTransport
from certwright.pki.pkcs10 import CertificationRequest
from certwright.server import device_upkeep, network_devices
from certwright.server.device_setup import DeviceSetup
from certwright.wire.scep import FailInfo, PkiMessage, PkiStatus, challenge_password
from tests.support.doors import Local
from tests.support.installation import GateTemplates, People
from tests.support.requests import (
    key_usage,
    rsa_key,
    spki,
)
from tests.support.scep import Device, serving
from tests.support.scep_house import House, refused
from tests.support.server import DOMAIN
from tests.support.weak_keys import roca_key

OUTSIDE: Final = "router.elsewhere.example"
SERVICE: Final = "NDES"


# -- the table -------------------------------------------------------------------------------------------------------

CASES: Final[dict[str, tuple[str, str, Callable[[], object] | None, PkiStatus, str]]] = {
    "inside the rules": ("WebServer", f"inside.{DOMAIN}", None, PkiStatus.SUCCESS, ""),
    "outside": ("WebServer", OUTSIDE, None, PkiStatus.PENDING, ""),
    "strict, outside": (GateTemplates.STRICT, OUTSIDE, None, PkiStatus.FAILURE, "0x80094001"),
    "approval required": (GateTemplates.APPROVAL, f"approved.{DOMAIN}", None, PkiStatus.PENDING, ""),
    "no name rules": ("IPSECIntermediateOffline", f"vpn.{DOMAIN}", None, PkiStatus.PENDING, ""),
    "RSA-1024": ("WebServer", f"short.{DOMAIN}", lambda: rsa_key(1024), PkiStatus.FAILURE, "0x80094811"),
    "ROCA": ("WebServer", f"weak.{DOMAIN}", roca_key, PkiStatus.FAILURE, "0x80094016"),
}


@pytest.mark.parametrize("case", CASES)
def test_no_device_skips_a_rule(house: House, case: str) -> None:
    template, host, key, status, code = CASES[case]
    house.set(general_purpose_template=template)
    device = house.device(host)
    if key is not None:
        device = with_key(house, host, key())

    answer = device.enroll(house.challenge())

    assert answer.status is status, answer
    assert code in answer.text
    assert (answer.certificates != ()) == (status is PkiStatus.SUCCESS)
    record = house.installation.cas[0].authority.database.request(house.newest_request())
    assert record is not None
    assert record.caller_name == rf"CORP\{SERVICE}"
    if status is PkiStatus.SUCCESS:
        issued = answer.certificate
        assert issued.common_name == host
        assert [str(each) for each in issued.alternative_names] == [f"DNS:{host}"]
        issued.verify_signed_by(device.bundle()[2])


def with_key(house: House, host: str, key: object) -> Device:
    from cryptography.hazmat.primitives.asymmetric import rsa

    from certwright.wire.scep import Credentials
    from tests.support.certificates import make_certificate

    assert isinstance(key, rsa.RSAPrivateKey)
    device = house.device(host)
    subject = f"CN={host}"
    made = make_certificate(subject, key, issuer=subject, issuer_key=key)
    device.key, device.credentials = key, Credentials(CertificateView.parse(made), key)
    return device


# -- challenges ------------------------------------------------------------------------------------------------------


def test_without_the_right_challenge_nothing_reaches_the_ca(house: House) -> None:
    before = house.requests()
    for challenge in ("", "0" * 16, house.challenge().lower() + "x"):
        refused(house.device().enroll(challenge), FailInfo.BAD_REQUEST, "challenge password is not accepted")
    assert house.requests() == before


def test_a_challenge_is_used_once(house: House) -> None:
    challenge = house.challenge()
    assert house.device().enroll(challenge).status is PkiStatus.SUCCESS
    refused(house.device().enroll(challenge), FailInfo.BAD_REQUEST, "not accepted")


def test_two_devices_cannot_share_a_challenge_at_the_same_moment(house: House) -> None:
    challenge = house.challenge()
    devices = [house.device(f"twin{number}.{DOMAIN}") for number in range(4)]
    messages = [device.message(device.request(challenge)) for device in devices]
    with ThreadPoolExecutor(len(devices)) as pool:
        answers = list(pool.map(Device.send, devices, messages))

    assert sorted(answer.status.name for answer in answers if answer.status is not None) == ["FAILURE"] * 3 + [
        "SUCCESS"
    ]


def test_an_expired_challenge_is_refused_to_the_second(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now = house.installation.clock()
    password = house.challenge()
    settings = house.challenges.settings()
    end = now.replace(microsecond=0) + timedelta(minutes=settings.challenge_minutes)
    with house.installation.database.transaction() as connection:
        connection.execute("UPDATE ndes_challenge SET expires = ? WHERE used IS NULL", (int(end.timestamp()),))

    monkeypatch.setattr(house.challenges, "_clock", lambda: end)
    with pytest.raises(Rejected, match="expired"):
        house.challenges.check(password, settings, "WebServer", (), "t")
    monkeypatch.setattr(house.challenges, "_clock", lambda: end - timedelta(seconds=1))
    claim = house.challenges.check(password, settings, "WebServer", (), "t")
    assert claim is not None
    with house.installation.database.transaction() as connection:
        with pytest.raises(Rejected, match="used"):
            replace(claim, clock=lambda: end).take(connection)
        claim.take(connection)


def test_a_challenge_for_one_machine_names_no_other(house: House) -> None:
    bound = house.challenge("", f"printer7.{DOMAIN}")
    other = house.device(f"dc1.{DOMAIN}")
    refused(other.enroll(bound), FailInfo.BAD_REQUEST, "not accepted")
    refused(
        house.device(f"printer7.{DOMAIN}").enroll(bound, f"printer7.{DOMAIN}", f"dc1.{DOMAIN}"),
        FailInfo.BAD_REQUEST,
        "not accepted",
    )
    assert house.device(f"printer7.{DOMAIN}").enroll(bound).status is PkiStatus.SUCCESS


def test_a_challenge_may_hold_for_names_like_one(house: House) -> None:
    bound = house.challenge("", f"*.branch.{DOMAIN}")
    refused(house.device(f"branch.{DOMAIN}").enroll(bound), FailInfo.BAD_REQUEST, "not accepted")
    assert house.device(f"cam1.BRANCH.{DOMAIN}".lower()).enroll(bound).status is PkiStatus.SUCCESS


def test_a_challenge_for_one_template_opens_no_other(house: House) -> None:
    house.set(signature_template=GateTemplates.SHORT)
    bound = house.challenge(GateTemplates.SHORT)
    device = house.device()
    refused(device.enroll(bound), FailInfo.BAD_REQUEST, "not accepted")
    assert device.enroll(bound, extensions=[key_usage(b"\x80")]).status is PkiStatus.SUCCESS


def test_so_many_challenges_are_out_and_no_more(house: House) -> None:
    with house.installation.database.transaction() as connection:
        connection.execute("DELETE FROM ndes_challenge")
    house.set(challenge_cache="2")
    first = house.challenge()
    house.challenge()
    with pytest.raises(CacheFull, match="2 challenges are out"):
        house.challenge()
    house.device().enroll(first)
    assert re.fullmatch("[0-9A-F]{16}", house.challenge())


def test_only_who_may_enroll_for_every_template_gives_challenges_out(house: House) -> None:
    with pytest.raises(AccessDenied, match="Enroll on"):
        house.challenges.give(Local(house.installation).requester(People.PLAIN))


def test_challenges_are_kept_as_hashes(house: House) -> None:
    password = house.challenge()
    with house.installation.database.read() as connection:
        rows = connection.many("SELECT * FROM ndes_challenge")
    assert rows
    assert password not in repr(rows)
    assert password.encode() not in b"".join(bytes(row[1]) for row in rows if isinstance(row[1], bytes))


def test_a_static_challenge_is_good_until_the_next_one(house: House) -> None:
    operator = house.installation.operator()
    first = house.challenges.renew_static(operator)
    assert house.device().enroll(first).status is PkiStatus.SUCCESS
    assert house.device().enroll(first).status is PkiStatus.SUCCESS
    with pytest.raises(InvalidArgument, match="one static challenge"):
        house.challenge()
    second = house.challenges.renew_static(operator)
    refused(house.device().enroll(first), FailInfo.BAD_REQUEST, "not accepted")
    assert house.device().enroll(second).status is PkiStatus.SUCCESS


def test_no_challenge_is_asked_for_where_the_administrator_says_so(house: House) -> None:
    house.set(challenge="none")
    assert house.device().enroll().status is PkiStatus.SUCCESS


def test_guessing_is_slowed_down(house: House) -> None:
    message = house.device().message(house.device().request("guess"))
    device = house.device()
    with serving(house.installation, "198.51.100.9") as ask:
        device.ask = ask
        statuses = []
        for number in range(60):
            guess = device.message(device.request(f"{number:016X}"))
            statuses.append(ask("POST", b"operation=PKIOperation", guess).status)
            if statuses[-1] == 429:
                break
        assert statuses[-1] == 429, statuses
        assert ask("POST", b"operation=PKIOperation", message).status == 429


# -- templates by key usage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "template"),
    [
        (b"\x80", GateTemplates.SHORT),
        (b"\xc0", GateTemplates.SHORT),
        (b"\x20", GateTemplates.STRICT),
        (b"\xa0", "WebServer"),
        (None, "WebServer"),
    ],
)
def test_key_usage_leads_to_a_template(house: House, usage: bytes | None, template: str) -> None:
    house.set(signature_template=GateTemplates.SHORT, encryption_template=GateTemplates.STRICT)
    house.device().enroll(house.challenge(), extensions=[key_usage(usage)] if usage else [])
    record = house.installation.cas[0].authority.database.request(house.newest_request())
    assert record is not None
    assert record.template == template


# -- ways to write it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("transport", KeyTransport, ids=lambda each: each.name)
@pytest.mark.parametrize(
    "cipher",
    [ContentCipher.AES_128, ContentCipher.AES_192, ContentCipher.AES_256, ContentCipher.TRIPLE_DES],
    ids=lambda each: each.name,
)
def test_every_dialect_is_read(house: House, cipher: ContentCipher, transport: KeyTransport, method: str) -> None:
    device = house.device()
    message = device.message(
        device.request(house.challenge()), cipher=cipher, transport=transport, digest_algorithm=oids.SHA512
    )
    assert device.send(message, method).status is PkiStatus.SUCCESS


def test_des_is_read_only_where_it_is_allowed(house: House) -> None:
    device, challenge = house.device(), house.challenge()
    message = device.message(device.request(challenge), cipher=ContentCipher.DES)
    refused(device.send(message), FailInfo.BAD_ALG, "DES")
    house.set(des="on")
    assert device.send(message).status is PkiStatus.SUCCESS


# -- the same again, and polling -------------------------------------------------------------------------------------


def test_the_same_message_again_gets_the_same_certificate(house: House) -> None:
    device = house.device()
    message = device.message(device.request(house.challenge()))
    first = device.send(message)
    before = house.requests()

    again = device.send(message)

    assert again.certificate == first.certificate
    assert house.requests() == before


def test_the_same_message_at_the_same_moment_is_one_request(house: House) -> None:
    """Devices that get no answer in time send again."""
    device = house.device()
    message = device.message(device.request(house.challenge()))
    before = house.requests()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(device.send, [message] * 4))

    assert {answer.status for answer in answers} <= {PkiStatus.SUCCESS, PkiStatus.PENDING}
    assert device.poll().status is PkiStatus.SUCCESS
    assert house.requests() == before + 1


def test_a_transaction_belongs_to_its_key(house: House) -> None:
    device, other = house.device(), house.device()
    device.enroll(house.challenge())
    other.transaction = device.transaction
    refused(other.enroll(house.challenge()), FailInfo.BAD_REQUEST, "another key")
    refused(other.poll(), FailInfo.BAD_CERT_ID, "no such transaction")


def test_an_approved_request_is_collected_by_polling(house: House) -> None:
    house.set(general_purpose_template=GateTemplates.APPROVAL)
    device = house.device()
    assert device.enroll(house.challenge()).status is PkiStatus.PENDING
    assert device.poll().status is PkiStatus.PENDING

    house.approve(house.newest_request())

    collected = device.poll()
    assert collected.status is PkiStatus.SUCCESS
    assert collected.certificate.public_key_info == device.credentials.certificate.public_key_info
    assert device.poll().certificate == collected.certificate


def test_a_denied_request_fails_at_the_next_poll(house: House) -> None:
    house.set(general_purpose_template=GateTemplates.APPROVAL)
    device = house.device()
    device.enroll(house.challenge())
    Local(house.installation).administer(People.OFFICER).deny(house.newest_request(), "not ours")
    refused(device.poll(), FailInfo.BAD_REQUEST, "0x80094014")


def test_a_poll_for_nothing_says_so(house: House) -> None:
    refused(house.device().poll(), FailInfo.BAD_CERT_ID, "no such transaction")


def test_an_answer_lost_by_a_crash_is_found_again(house: House) -> None:
    """The process died after the CA's commit and before its own: the retry gets that certificate, no second one."""
    device = house.device()
    message = device.message(device.request(house.challenge()))
    first = device.send(message)
    before = house.requests()
    with house.installation.database.transaction() as connection:
        connection.execute(
            "UPDATE ndes_transaction SET state = 0, request_id = NULL, changed = changed - 120 WHERE name = ?",
            (device.transaction,),
        )

    again = device.send(message)

    assert again.certificate == first.certificate
    assert house.requests() == before


def test_a_ca_that_takes_nothing_uses_up_no_challenge(house: House) -> None:
    device, challenge = house.device(), house.challenge()

    def suspended(*_: object, **__: object) -> None:
        raise AdcsError("the CA is suspended", HResult.CERTSRV_E_SERVER_SUSPENDED)

    before = house.requests()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Authority, "decide", suspended)
        message = device.message(device.request(challenge))
        reply = device.ask("POST", b"operation=PKIOperation", message)
    assert DeviceSetup(house.installation).devices(1)[0].name != device.transaction
    assert house.requests() == before
    assert reply.status == 503
    assert b"Retry-After" in reply.headers or b"retry-after" in reply.headers

    assert device.enroll(challenge).status is PkiStatus.SUCCESS


@dataclass
class Left:
    """A request that a process noted, with its challenge, and died before its CA had it."""

    device: Device
    message: bytes

    @classmethod
    def by(cls, house: House, owner: str) -> Left:
        device, challenge = house.device(), house.challenge()
        request, now = device.request(challenge), int(house.installation.clock().timestamp())
        claim = house.challenges.check(challenge, house.challenges.settings(), "WebServer", (), device.transaction)
        assert claim is not None
        key, digest = (hashlib.sha256(each).digest() for each in (spki(device.key), request))
        with house.installation.database.transaction() as connection:
            claim.take(connection)
            assert store.begin(
                connection,
                *("", device.transaction, key, digest, "WebServer", f"CN={device.host}"),
                renewal=False,
                peer="192.0.2.7",
                when=now,
                instead_of=None,
                owner=owner,
            )
        return cls(device, device.message(request))

    def row(self, house: House) -> Transaction:
        return next(
            row for row in DeviceSetup(house.installation).devices(1000) if row.name == self.device.transaction
        )


def test_a_request_that_never_reached_the_ca_is_made_by_the_retry(house: House) -> None:
    """Its process may be alive for a minute; then it is known to have died."""
    left = Left.by(house, "somebody")
    assert left.device.send(left.message).status is PkiStatus.PENDING
    assert left.device.poll().status is PkiStatus.PENDING
    with house.installation.database.transaction() as connection:
        connection.execute(
            "UPDATE ndes_transaction SET changed = changed - 120, created = created - 120 WHERE name = ?",
            (left.device.transaction,),
        )

    assert left.device.send(left.message).status is PkiStatus.SUCCESS
    assert left.row(house).state is State.ISSUED


@contextmanager
def started(house: House) -> Iterator[network_devices.NetworkDevices]:
    """The services as a server that starts has them."""
    devices = network_devices.NetworkDevices(house.installation, Throttle())
    try:
        devices.start()
        yield devices
    finally:
        devices.close()


def test_after_a_start_nobody_waits_for_the_process_before(house: House) -> None:
    left = Left.by(house, house.installation.home.lock_identity("serve"))
    with started(house):
        row = left.row(house)
    assert (row.state, row.message) == (State.FAILED, NEVER_REACHED)
    refused(left.device.poll(), FailInfo.BAD_CERT_ID, "lost; send it again")
    assert left.device.send(left.message).status is PkiStatus.SUCCESS
    assert left.row(house).state is State.ISSUED


def test_a_challenge_that_a_failed_request_used_is_good_for_nothing_else(house: House) -> None:
    left = Left.by(house, house.installation.home.lock_identity("serve"))
    with started(house):
        pass
    asked = challenge_password(CertificationRequest.parse(opened_by_ra(house, left)))
    refused(house.device().enroll(asked), FailInfo.BAD_REQUEST, "not accepted")
    assert left.device.send(left.message).status is PkiStatus.SUCCESS


def opened_by_ra(house: House, left: Left) -> bytes:
    ra = network_devices.registration_authority(house.installation).current().encryption[0]
    enveloped = EnvelopedData.parse(PkiMessage.parse(left.message).envelope or b"")
    recipient = enveloped.recipient_of(ra.certificate)
    assert recipient is not None
    return enveloped.open(recipient, ra.private_key)


def test_a_start_settles_what_the_ca_issued(house: House) -> None:
    device = house.device()
    first = device.enroll(house.challenge())
    with house.installation.database.transaction() as connection:
        connection.execute(
            "UPDATE ndes_transaction SET state = 0, request_id = NULL, owner = ? WHERE name = ?",
            (house.installation.home.lock_identity("serve"), device.transaction),
        )
    before = house.requests()
    with started(house):
        row = next(row for row in DeviceSetup(house.installation).devices(10) if row.name == device.transaction)
    assert row.state is State.ISSUED
    assert device.poll().certificate == first.certificate
    assert house.requests() == before


def test_a_start_leaves_alone_what_another_server_is_at(house: House) -> None:
    """Several servers may share a database: other homes of this system, and with PostgreSQL other hosts."""
    boot = house.installation.home.lock_identity("serve").partition(":")[0]
    beside, elsewhere = Left.by(house, f"{boot}:1:2"), Left.by(house, "another start:1:2")
    shared = house.installation.database.dialect == "postgresql"
    with started(house):
        assert beside.row(house).state is State.SUBMITTING
        assert elsewhere.row(house).state is (State.SUBMITTING if shared else State.FAILED)
    device_upkeep.settle_overdue(house.installation, house.installation.clock())
    assert beside.row(house).state is State.SUBMITTING


def test_the_worker_settles_what_a_dead_server_left_a_minute_ago(house: House) -> None:
    left = Left.by(house, "another host's")
    with house.installation.database.transaction() as connection:
        connection.execute("UPDATE ndes_transaction SET created = created - 120 WHERE state = 0")
    device_upkeep.settle_overdue(house.installation, house.installation.clock())
    assert left.row(house).state is State.FAILED


def test_the_devices_row_is_in_the_transaction_of_the_cas(house: House) -> None:
    """What breaks before the commit leaves neither, and the challenge unused."""
    device, challenge = house.device(), house.challenge()
    message = device.message(device.request(challenge))
    before = house.requests()

    def broken(*_: object, **__: object) -> None:
        raise AdcsError("no room", HResult.NTE_BAD_SIGNATURE)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqlCaTransaction, "finish", broken)
        assert device.ask("POST", b"operation=PKIOperation", message).status == 503
    assert house.requests() == before
    assert all(row.name != device.transaction for row in DeviceSetup(house.installation).devices(1000))
    assert device.send(message).status is PkiStatus.SUCCESS
