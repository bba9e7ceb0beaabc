"""Messages that real clients sent, whole: signature, contents, request. See tests/vectors/scep/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
from hypothesis import given
from hypothesis import strategies as st

from certwright.pki import der, enveloped_data, oids, signed_data
from certwright.pki.certificate import CertificateView
from certwright.pki.enveloped_data import ContentCipher, EnvelopedData
from certwright.pki.errors import EncodingError
from certwright.pki.names import format_name
from certwright.pki.pkcs10 import CertificationRequest
from certwright.pki.signed_data import SignedData
from certwright.wire.explain_scep import explain_any
from certwright.wire.scep import MessageType, PkiMessage, challenge_password

FOLDER: Final = Path(__file__).parents[2] / "vectors/scep"


class Recorded(NamedTuple):
    """What a message is, and whose key opens it."""

    kind: MessageType
    cipher: ContentCipher
    digest: str
    by_challenge: bool
    ra: str = "ra"


MESSAGES: Final = {
    "strongswan-aes-sha256-pkcs-req": Recorded(MessageType.PKCS_REQ, ContentCipher.AES_128, oids.SHA256, True),
    "strongswan-3des-sha512-pkcs-req": Recorded(MessageType.PKCS_REQ, ContentCipher.TRIPLE_DES, oids.SHA512, True),
    "strongswan-renewal-renewal-req": Recorded(MessageType.RENEWAL_REQ, ContentCipher.AES_128, oids.SHA256, False),
    "certmonger-pkcs-req": Recorded(MessageType.PKCS_REQ, ContentCipher.AES_256, oids.SHA256, True),
    "certmonger-renewal-pkcs-req": Recorded(MessageType.PKCS_REQ, ContentCipher.AES_256, oids.SHA256, False, "ra-2"),
    "certmonger-rekey-pkcs-req": Recorded(MessageType.PKCS_REQ, ContentCipher.AES_256, oids.SHA256, False, "ra-2"),
    "certmonger-cert-poll": Recorded(MessageType.CERT_POLL, ContentCipher.AES_256, oids.SHA256, True, "ra-2"),
}
REQUESTS: Final = [name for name, recorded in MESSAGES.items() if recorded.kind is not MessageType.CERT_POLL]


def message_of(name: str) -> PkiMessage:
    message = PkiMessage.parse((FOLDER / f"{name}.der").read_bytes())
    message.verify()
    return message


def opened(name: str) -> bytes:
    """What is inside."""
    ra = MESSAGES[name].ra
    key = load_der_private_key((FOLDER / f"{ra}.key").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    enveloped = EnvelopedData.parse(message_of(name).envelope or b"")
    recipient = enveloped.recipient_of(CertificateView.parse((FOLDER / f"{ra}.crt").read_bytes()))
    assert recipient is not None
    return enveloped.open(recipient, key, set(ContentCipher))


def test_every_recorded_message_is_in_the_table() -> None:
    assert {path.stem for path in FOLDER.glob("*.der")} == set(MESSAGES)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_recorded_message_is_read(name: str) -> None:
    recorded, message = MESSAGES[name], message_of(name)
    assert message.kind is recorded.kind
    assert message.signature.digest_algorithm == recorded.digest
    assert message.signer.is_self_issued is recorded.by_challenge
    assert EnvelopedData.parse(message.envelope or b"").cipher is recorded.cipher
    assert opened(name)
    assert explain_any((FOLDER / f"{name}.der").read_bytes()).label == "SCEP message"


@pytest.mark.parametrize("name", REQUESTS)
def test_a_recorded_request_is_read_whole(name: str) -> None:
    request, message = CertificationRequest.parse(opened(name)), message_of(name)
    request.verify_signature()
    assert (request.public_key_info == message.signer.public_key_info) is ("rekey" not in name)
    # certmonger leaves the challenge of the first request in those that follow, which need none
    has_challenge = MESSAGES[name].by_challenge or name.startswith("certmonger")
    assert (len(challenge_password(request)) == 16) is has_challenge


def test_certmonger_names_its_transaction_by_its_key_and_keeps_it_for_a_renewal() -> None:
    """So the row of the first request becomes that of the renewal: another request of the same transaction."""
    names = ("certmonger-renewal-pkcs-req", "certmonger-rekey-pkcs-req", "certmonger-cert-poll")
    texts = [message_of(name).transaction_text for name in names]
    assert all(text.isdigit() and 70 < len(text) < 80 for text in texts)
    assert len(set(texts)) == 3


def test_certmonger_polls_with_the_name_of_the_root() -> None:
    """RFC 8894 3.3.3 asks for the issuing CA's. A server goes by the transaction."""
    name = "certmonger-cert-poll"
    reader = der.Reader.of(opened(name), what="issuer and subject")
    issuer, subject = reader.whole(der.SEQUENCE), reader.whole(der.SEQUENCE)
    reader.finish()
    assert format_name(issuer) == "CN=CORP Root CA,DC=corp,DC=example"
    assert issuer != CertificateView.parse((FOLDER / "ra-2.crt").read_bytes()).issuer
    assert subject == message_of(name).signer.subject


@pytest.mark.parametrize("name", MESSAGES)
def test_both_readers_find_the_same(name: str) -> None:
    """The one that takes strict DER in one call, and the one that takes everything."""
    data = (FOLDER / f"{name}.der").read_bytes()
    strict, found = signed_data._read_strict(data), SignedData._read(data)
    sorts = name not in ("certmonger-renewal-pkcs-req", "certmonger-rekey-pkcs-req")  # several certificates
    assert strict == (found if sorts else None)
    envelope = enveloped_data._read_strict(found.content or b"")
    assert envelope == EnvelopedData._read(found.content or b"")
    assert envelope is not None


@given(name=st.sampled_from(sorted(MESSAGES)), place=st.integers(0, 2500), octet=st.integers(0, 255))
def test_both_readers_agree_about_what_is_bent(name: str, place: int, octet: int) -> None:
    """Where both take a message they find the same in it, whatever was done to it."""
    data = bytearray((FOLDER / f"{name}.der").read_bytes())
    data[place % len(data)] = octet
    strict = signed_data._read_strict(bytes(data))
    try:
        found = SignedData._read(bytes(data))
    except EncodingError:
        return
    assert strict is None or strict == found
