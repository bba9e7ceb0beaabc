"""Messages that real clients sent, whole: signature, contents, request. See tests/vectors/scep/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key

from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.enveloped_data import ContentCipher, EnvelopedData
from certwright.pki.pkcs10 import CertificationRequest
from certwright.wire.explain_scep import explain_any
from certwright.wire.scep import MessageType, PkiMessage, challenge_password

FOLDER: Final = Path(__file__).parents[2] / "vectors/scep"
MESSAGES: Final = {
    "strongswan-aes-sha256-pkcs-req": (MessageType.PKCS_REQ, ContentCipher.AES_128, oids.SHA256, True),
    "strongswan-3des-sha512-pkcs-req": (MessageType.PKCS_REQ, ContentCipher.TRIPLE_DES, oids.SHA512, True),
    "strongswan-renewal-renewal-req": (MessageType.RENEWAL_REQ, ContentCipher.AES_128, oids.SHA256, False),
    "certmonger-pkcs-req": (MessageType.PKCS_REQ, ContentCipher.AES_256, oids.SHA256, True),
}


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    loaded = load_der_private_key((FOLDER / "ra.key").read_bytes(), None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    return loaded


def test_every_recorded_message_is_in_the_table() -> None:
    assert {path.stem for path in FOLDER.glob("*.der")} == set(MESSAGES)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_recorded_message_is_read_whole(name: str, key: rsa.RSAPrivateKey) -> None:
    kind, cipher, digest, by_challenge = MESSAGES[name]
    message = PkiMessage.parse((FOLDER / f"{name}.der").read_bytes())
    message.verify()
    assert message.kind is kind
    assert message.signature.digest_algorithm == digest
    assert message.signer.is_self_issued is by_challenge

    enveloped = EnvelopedData.parse(message.envelope or b"")
    assert enveloped.cipher is cipher
    recipient = enveloped.recipient_of(CertificateView.parse((FOLDER / "ra.crt").read_bytes()))
    assert recipient is not None
    request = CertificationRequest.parse(enveloped.open(recipient, key, set(ContentCipher)))
    request.verify_signature()
    assert request.public_key_info == message.signer.public_key_info
    assert (len(challenge_password(request)) == 16) is by_challenge
    assert explain_any((FOLDER / f"{name}.der").read_bytes()).label == "SCEP message"
