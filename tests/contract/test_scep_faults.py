"""What devices and strangers get wrong: refused by its rule, said where SCEP or HTTP can say it. RFC 8894 3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from structlog.testing import capture_logs

from certwright.pki import der, oids, signed_data
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import certs_only
from certwright.server.device_setup import DeviceSetup
from certwright.wire import scep
from certwright.wire.explain_scep import explain_any, explained
from certwright.wire.scep import Credentials, FailInfo, MessageType, PkiStatus
from tests.support.certificates import make_certificate
from tests.support.scep_house import House, refused
from tests.support.server import DOMAIN

POST: Final = b"operation=PKIOperation"


# -- what is read ----------------------------------------------------------------------------------------------------


def streamed(data: bytes) -> bytes:
    """The same in BER: indefinite lengths throughout, as Bouncy Castle and Cisco write."""
    made = b""
    for element in der.children(data):
        content = element.content(data)
        if element.is_constructed:
            made += bytes((element.tag, 0x80)) + streamed(content) + b"\x00\x00"
        else:
            made += der.tlv(element.tag, content)
    return made


def test_a_message_in_ber_is_read(house: House) -> None:
    device = house.device()
    envelope = streamed(device.envelope(device.request(house.challenge())))
    message = streamed(device.message(b"", envelope=envelope))
    assert b"\x30\x80" in message
    reply = house.ask("POST", POST, message)
    assert device.read(reply.body, scep.PkiMessage.parse(message)).status is PkiStatus.SUCCESS


def test_an_update_request_is_read_as_the_old_drafts_have_it(house: House) -> None:
    device = house.device()
    device.take(device.enroll(house.challenge()))
    device.transaction += "u"
    assert device.send(device.message(device.request(), MessageType.UPDATE_REQ)).status is PkiStatus.SUCCESS


class _Sha1:
    """Makes what old devices make, and we never do."""

    @staticmethod
    def sign(key: Any, data: bytes) -> bytes:
        signature: bytes = key.sign(data, padding.PKCS1v15(), hashes.SHA1())
        return signature


@contextmanager
def making_sha1() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scep._SCHEMES, oids.SHA1, _Sha1)  # type: ignore[misc]
        patch.setitem(signed_data._HASHES, oids.SHA1, "sha1")  # type: ignore[misc]
        yield


def test_sha1_is_read_only_where_it_is_allowed_and_answered_with_better(house: House) -> None:
    device = house.device()
    with making_sha1():
        message = device.message(device.request(house.challenge()), digest_algorithm=oids.SHA1)
    refused(device.send(message), FailInfo.BAD_ALG, "SHA-1")
    house.set(sha1="on")
    assert b"SHA-1\n" in house.ask("GET", b"operation=GetCACaps", b"").body
    reply = house.ask("POST", POST, message)
    answer = scep.PkiMessage.parse(reply.body)
    assert answer.status is PkiStatus.SUCCESS
    assert answer.signature.digest_algorithm == oids.SHA256


# -- what is not -----------------------------------------------------------------------------------------------------


def test_what_nobody_signed_is_no_message(house: House) -> None:
    device = house.device()
    unsigned = certs_only((device.credentials.certificate.der,))
    reply = house.ask("POST", POST, unsigned)
    assert reply.status == 400
    assert b"one signer" in reply.body


def test_a_message_signed_twice_is_none(house: House) -> None:
    device = house.device()
    message = scep.PkiMessage.parse(device.message(device.request("x")))
    signing = signed_data.Signing(
        message.signature.identifier,
        message.signature.signature_algorithm,
        oids.SHA256,
        lambda data: device.key.sign(data, padding.PKCS1v15(), hashes.SHA256()),
    )
    both = signed_data.sign(oids.CMS_DATA, b"x", [signing, signing], [device.credentials.certificate.der])
    assert house.ask("POST", POST, both).status == 400


def test_an_answer_is_no_question(house: House) -> None:
    device = house.device()
    refused(device.send(device.message(b"x", MessageType.CERT_REP)), FailInfo.BAD_REQUEST, "asks for nothing")


def test_a_certificate_that_has_ended_renews_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    device = house.device(f"ended.{DOMAIN}")
    device.take(device.enroll(house.challenge()))
    end = device.credentials.certificate.not_after + timedelta(seconds=1)
    from certwright.ndes.enrollment import Enrollment

    built = Enrollment.__init__

    def later(self: Enrollment, *args: Any) -> None:
        built(self, *args)
        self._clock = lambda: end

    monkeypatch.setattr(Enrollment, "__init__", later)
    from tests.support.scep import serving

    with serving(house.installation) as ask:
        device.ask = ask
        refused(device.renew(), FailInfo.BAD_TIME, "not valid now")


def test_a_key_generation_too_old_opens_no_more(house: House) -> None:
    device = house.device()
    challenge = house.challenge()
    message = device.message(device.request(challenge))
    setup, operator = DeviceSetup(house.installation), house.installation.operator()
    setup.renew(operator)
    setup.renew(operator)
    refused(device.send(message), FailInfo.BAD_MESSAGE_CHECK, "GetCACert again")
    assert device.enroll(challenge).status is PkiStatus.SUCCESS


def test_a_self_signed_certificate_that_calls_itself_the_ca_is_a_new_device(house: House) -> None:
    """Names prove nothing: it needs a challenge like everybody."""
    device = house.device()
    name = device.bundle()[2].subject_name
    forged = make_certificate(name, device.key, issuer=name, issuer_key=device.key)
    device.credentials = Credentials(CertificateView.parse(forged), device.key)
    refused(device.enroll(), FailInfo.BAD_REQUEST, "not accepted")


def test_every_refusal_names_its_rule_in_the_log(house: House) -> None:
    device = house.device()
    with capture_logs() as logs:
        device.enroll("guess")
        house.ask("POST", POST, b"nonsense")
        house.ask("GET", b"operation=Dance", b"")
    rules = [(each["event"], each["rule"]) for each in logs if "rule" in each]
    assert rules == [
        ("scep_refused", "challenge wrong"),
        ("scep_message_unreadable", "http 400"),
        ("scep_operation_unknown", "http 400"),
    ]
    assert "guess" not in repr(logs)


# -- for people ------------------------------------------------------------------------------------------------------


def test_a_message_is_explained_without_being_opened(house: House) -> None:
    device = house.device()
    message = device.message(device.request(house.challenge()))
    shown = "\n".join(explain_any(message).lines())
    for words in (
        "SCEP message: PKCSReq",
        f"Transaction ID: {device.transaction}",
        "Digest algorithm: SHA-256",
        "Signed by: self-signed",
        "Contents: encrypted with AES-128-CBC",
        "Encrypted for: CN=CORP Issuing CA",
    ):
        assert words in shown
    from certwright.pki import armor

    assert "PKCSReq" in explain_any(armor.armor(armor.PKCS7, streamed(message)).encode()).value


def test_answers_are_explained_too(house: House) -> None:
    device = house.device()
    failed = house.ask("POST", POST, device.message(device.request("guess"))).body
    shown = "\n".join(explain_any(failed).lines())
    for words in (
        "CertRep (3)",
        "Status: FAILURE (2)",
        "Failure: BAD_REQUEST (2)",
        "Recipient nonce",
        "Contents: none",
    ):
        assert words in shown
    bundle = explain_any(house.ask("GET", b"operation=GetCACert", b"").body)
    assert [child.label for child in bundle.children][:2] == ["Certificate", "Certificate"]
    following = scep.next_ca(certs_only((device.bundle()[2].der,)), device.credentials)
    assert "signed by CN=" in explain_any(following).value


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x30\x80" * 500, b"\x30\x03\x02\x01\x05"])
def test_what_strangers_send_is_shown_whatever_it_is(data: bytes) -> None:
    assert explained(data).label in ("No message", "Unreadable")
