"""A device that speaks SCEP, whole and broken, over any way to hand a message in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric import rsa

from certwright.auth.throttle import Throttle
from certwright.endpoints import plain
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import parse_certs_only
from certwright.pki.enveloped_data import ContentCipher, EnvelopedData, KeyTransport, seal
from certwright.pki.pkcs10_reading import Attribute
from certwright.server import network_devices
from certwright.server.composition import Installation
from certwright.wire.scep import (
    Credentials,
    FailInfo,
    MessageType,
    PkiMessage,
    PkiStatus,
    issuer_and_subject,
)
from tests.support.certificates import make_certificate
from tests.support.requests import attribute, printable, rsa_key, spki, web_server_request
from tests.support.server import DOMAIN

CHALLENGE: Final = "1.2.840.113549.1.9.7"
DEVICES: Final = b"/certsrv/mscep"
NAMED: Final = b"/ndes"

Ask = Callable[[str, bytes, bytes], plain.Reply]
"""Method, query and body of one HTTP request."""


@dataclass(frozen=True)
class Answer:
    """What came back inside SCEP, verified and opened."""

    status: PkiStatus | None
    fail_info: FailInfo | None
    text: str
    certificates: tuple[bytes, ...] = ()
    contents: bytes = b""

    @property
    def certificate(self) -> CertificateView:
        return CertificateView.parse(self.certificates[0])


class Device:
    """One device with its key. `certificate` is what it signs with: at first one that it made itself."""

    def __init__(self, ask: Ask, host: str = f"router1.{DOMAIN}", number: int = 0) -> None:
        self.ask = ask
        self.host = host
        self.key: rsa.RSAPrivateKey = rsa_key(2048, number)
        subject = f"CN={host}"
        self.credentials = Credentials(
            CertificateView.parse(
                make_certificate(subject, self.key, issuer=subject, issuer_key=self.key, serial=number + 1)
            ),
            self.key,
        )
        self.transaction = hashlib.sha256(spki(self.key)).hexdigest()

    # -- what it asks

    def bundle(self) -> tuple[CertificateView, ...]:
        """GetCACert: signing, encryption, CA and above."""
        reply = self.ask("GET", b"operation=GetCACert", b"")
        assert reply.status == 200, reply.body
        return tuple(CertificateView.parse(each) for each in parse_certs_only(reply.body))

    def request(
        self,
        challenge: str = "",
        *hosts: str,
        key: rsa.RSAPrivateKey | None = None,
        extensions: Sequence[bytes] = (),
    ) -> bytes:
        """A PKCS#10 with a challenge."""
        return web_server_request(
            *(hosts or (self.host,)),
            key=key or self.key,
            attributes=[attribute(CHALLENGE, printable(challenge))] if challenge else [],
            extensions=extensions,
        )

    def envelope(self, contents: bytes, **how: Any) -> bytes:
        return seal(contents, self.bundle()[1], **how)

    def message(
        self,
        contents: bytes,
        kind: MessageType = MessageType.PKCS_REQ,
        *,
        envelope: bytes | None = None,
        cipher: ContentCipher = ContentCipher.AES_128,
        transport: KeyTransport = KeyTransport.PKCS1,
        digest_algorithm: str = oids.SHA256,
    ) -> bytes:
        return PkiMessage.request(
            kind,
            self.transaction,
            envelope or self.envelope(contents, cipher=cipher, transport=transport),
            self.credentials,
            digest_algorithm=digest_algorithm,
        )

    def send(self, message: bytes, method: str = "POST") -> Answer:
        if method == "POST":
            reply = self.ask("POST", b"operation=PKIOperation", message)
        else:
            import base64

            encoded = quote(base64.b64encode(message), safe="").encode()
            reply = self.ask("GET", b"operation=PKIOperation&message=" + encoded, b"")
        assert reply.status == 200, (reply.status, reply.body)
        return self.read(reply.body, PkiMessage.parse(message))

    def read(self, data: bytes, asked: PkiMessage) -> Answer:
        """Check an answer as strict clients do."""
        answer = PkiMessage.parse(data)
        answer.verify()
        assert answer.signer.der == self.bundle()[0].der
        assert answer.kind is MessageType.CERT_REP
        assert answer.transaction == asked.transaction
        assert answer.recipient_nonce == asked.sender_nonce
        assert len(answer.sender_nonce) == 16
        contents, certificates = b"", tuple[bytes, ...]()
        if answer.envelope is not None:
            assert answer.status is PkiStatus.SUCCESS
            enveloped = EnvelopedData.parse(answer.envelope)
            recipient = enveloped.recipient_of(self.credentials.certificate)
            assert recipient is not None
            contents = enveloped.open(recipient, self.credentials.private_key, set(ContentCipher))
            certificates = parse_certs_only(contents)
        return Answer(answer.status, answer.fail_info, answer.fail_text, certificates, contents)

    def enroll(self, challenge: str = "", *hosts: str, **more: Any) -> Answer:
        return self.send(self.message(self.request(challenge, *hosts, **more)))

    def poll(self) -> Answer:
        """With the RA's name for the CA's, as sscep does."""
        signing = self.bundle()[0]
        contents = issuer_and_subject(signing.subject, self.credentials.certificate.subject)
        return self.send(self.message(contents, MessageType.CERT_POLL))

    def take(self, answer: Answer, key: rsa.RSAPrivateKey | None = None) -> None:
        """Sign with what was issued from now on."""
        self.key = key or self.key
        self.credentials = Credentials(answer.certificate, self.key)

    def renew(self, *hosts: str, key: rsa.RSAPrivateKey | None = None, **more: Any) -> Answer:
        self.transaction = hashlib.sha256(self.transaction.encode()).hexdigest()
        return self.send(self.message(self.request("", *hosts, key=key, **more), MessageType.RENEWAL_REQ))


def signed_attributes(message: bytes) -> Iterable[Attribute]:
    return PkiMessage.parse(message).signature.attributes or ()


@contextmanager
def serving(installation: Installation, peer: str = "192.0.2.7", service_path: bytes = b"") -> Iterator[Ask]:
    """The service in this process, as the plain HTTP listener asks it; one with a name by `b"/name"`."""
    devices = network_devices.NetworkDevices(installation, Throttle())
    service = devices.plain()[NAMED if service_path else DEVICES]
    try:
        yield lambda method, query, body: service.work_out(
            plain.Question(method.encode(), service_path + b"/mscep.dll", body, b"", b"", query, peer)
        )
    finally:
        devices.close()
