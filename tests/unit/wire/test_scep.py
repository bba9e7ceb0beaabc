"""SCEP messages: what one side writes the other reads, and what HTTP requests of old devices say. RFC 8894 3, 4."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwright.pki import der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError, SignatureError, TooLarge
from certwright.wire.scep import (
    MAX_MESSAGE,
    Credentials,
    FailInfo,
    IssuerAndSerial,
    MessageType,
    Operation,
    PkiMessage,
    PkiStatus,
    Question,
    capabilities,
)
from tests.support import programs
from tests.support.certificates import make_certificate
from tests.support.requests import rsa_key

DEVICE = Credentials(CertificateView.parse(make_certificate("CN=device", rsa_key(), serial=5)), rsa_key())
RA = Credentials(CertificateView.parse(make_certificate("CN=RA", rsa_key(2048, 1), serial=6)), rsa_key(2048, 1))
ENVELOPE = b"\x30\x03\x02\x01\x07"
ASKED = PkiMessage.request(MessageType.PKCS_REQ, "1234", ENVELOPE, DEVICE, sender_nonce=b"n" * 16)


def test_a_request_says_what_it_is() -> None:
    message = PkiMessage.parse(ASKED)

    message.verify()

    assert (message.kind, message.transaction_text, message.sender_nonce) == (MessageType.PKCS_REQ, "1234", b"n" * 16)
    assert message.signer == DEVICE.certificate
    assert message.envelope == ENVELOPE
    assert message.status is None


@pytest.mark.parametrize("digest", [oids.SHA256, oids.SHA384, oids.SHA512])
def test_an_answer_echoes_transaction_nonce_and_hash(digest: str) -> None:
    asked = PkiMessage.parse(
        PkiMessage.request(MessageType.PKCS_REQ, "AB+/=", ENVELOPE, DEVICE, digest_algorithm=digest)
    )

    answer = PkiMessage.parse(asked.answer(RA, PkiStatus.SUCCESS, envelope=ENVELOPE))

    answer.verify()
    assert answer.kind is MessageType.CERT_REP
    assert answer.transaction == asked.transaction
    assert answer.recipient_nonce == asked.sender_nonce
    assert answer.sender_nonce != asked.sender_nonce
    assert answer.digest_algorithm == digest
    assert answer.status is PkiStatus.SUCCESS


def test_a_failure_has_no_contents_and_says_why() -> None:
    made = PkiMessage.parse(ASKED).answer(RA, PkiStatus.FAILURE, fail_info=FailInfo.BAD_TIME, fail_text="too late")

    answer = PkiMessage.parse(made)

    answer.verify()
    assert answer.envelope is None
    assert (answer.status, answer.fail_info, answer.fail_text) == (PkiStatus.FAILURE, FailInfo.BAD_TIME, "too late")


def test_openssl_verifies_what_we_sign(tmp_path: Path) -> None:
    made = tmp_path / "message.der"
    made.write_bytes(ASKED)
    said = programs.openssl("cms", "-verify", "-inform", "DER", "-in", made, "-noverify", "-binary", "-out", "-")
    assert "successful" in said


def test_a_tampered_message_does_not_verify() -> None:
    message = PkiMessage.parse(ASKED.replace(ENVELOPE, ENVELOPE[:-1] + b"\x08"))
    with pytest.raises(SignatureError):
        message.verify()


@pytest.mark.parametrize(
    ("what", "old", "new"),
    [
        ("message type", der.oid(oids.SCEP_MESSAGE_TYPE), der.oid("2.16.840.1.113733.1.9.99")),
        ("transaction", der.oid(oids.SCEP_TRANSACTION_ID), der.oid("2.16.840.1.113733.1.9.99")),
        ("number", der.printable("19"), der.printable("XX")),
        ("unknown", der.printable("19"), der.printable("99")),
        ("NUL", der.printable("1234"), b"\x0c\x0412\x004"),
        ("certificate", der.integer(5), der.integer(4)),
    ],
)
def test_a_message_without_what_every_message_has_is_none(what: str, old: bytes, new: bytes) -> None:
    broken = ASKED.replace(old, new, 1) if what == "certificate" else ASKED.replace(old, new)
    assert broken != ASKED
    with pytest.raises(EncodingError):
        PkiMessage.parse(broken)


def test_a_message_has_a_limit() -> None:
    with pytest.raises(TooLarge, match=str(MAX_MESSAGE)):
        PkiMessage.parse(b"\x30" * (MAX_MESSAGE + 1))


def test_nested_elements_have_a_limit() -> None:
    with pytest.raises(TooLarge, match="nested"):
        PkiMessage.parse(b"\x30\x80" * 1000)


@given(st.data())
def test_malformed_messages_raise_one_kind_of_error(data: st.DataObject) -> None:
    made = bytearray(ASKED)
    made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(EncodingError):
        PkiMessage.parse(bytes(made[: data.draw(st.integers(0, len(made)))]))


def test_issuer_and_serial_survive() -> None:
    asked = IssuerAndSerial(DEVICE.certificate.issuer, DEVICE.certificate.serial)
    assert IssuerAndSerial.parse(asked.encode()) == asked


# -- over HTTP -------------------------------------------------------------------------------------------------------

BASE64 = base64.b64encode(ASKED)


@pytest.mark.parametrize(
    "query",
    [
        b"operation=PKIOperation&message=" + quote(BASE64, safe="").encode(),
        b"operation=PKIOperation&message=" + BASE64,  # nothing encoded
        b"operation=PKIOperation&message=" + BASE64.replace(b"+", b"%20"),
        b"operation=PKIOperation&message=" + BASE64.rstrip(b"="),
        b"operation=PKIOperation&message=" + BASE64[:64] + b"%0d%0a" + BASE64[64:],
        b"OPERATION=pkioperation&Message=" + BASE64,
        b"message=" + BASE64 + b"&operation=PKIOperation",
    ],
    ids=["encoded", "bare", "blanks", "no padding", "lines", "another case", "another order"],
)
def test_every_way_to_write_a_message_into_an_address_is_read(query: bytes) -> None:
    question = Question.parse(query)
    assert question.operation is Operation.PKI_OPERATION
    assert question.decoded() == ASKED


def test_no_base64_is_no_message() -> None:
    with pytest.raises(EncodingError, match="base64"):
        Question.parse(b"operation=PKIOperation&message=!!").decoded()


@pytest.mark.parametrize("argument", [b"", b"&message=", b"&message=0", b"&message=default", b"&message=%ff"])
def test_what_stands_beside_an_operation_may_be_anything(argument: bytes) -> None:
    assert Question.parse(b"operation=getcacaps" + argument).operation is Operation.GET_CA_CAPS


def test_an_unknown_operation_is_kept_for_the_log() -> None:
    question = Question.parse(b"operation=Frobnicate")
    assert (question.operation, question.named) == (None, "Frobnicate")


def test_capabilities_stand_in_lines() -> None:
    words = capabilities(triple_des=True, sha1=False).decode()
    assert words.endswith("SCEPStandard\n")
    assert words.split("\n")[0] == "AES"
    assert "SHA-1\n" not in words
    assert "DES3" not in capabilities(triple_des=False, sha1=False).decode()
