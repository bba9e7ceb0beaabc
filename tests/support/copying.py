"""A responder that copies CRLs of a CA elsewhere, in one process: the CA, its lists, who copies and who answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp as peer

from certwright.online_responder.service import WorryState
from certwright.pki import ocsp
from certwright.pki.certificate import CertificateView
from certwright.server.composition import Installation
from certwright.server.responder import OnlineResponder
from certwright.server.responder_setup import ResponderSetup
from tests.support.foreign_ca import COMPROMISED, ON_HOLD, ForeignCa

SERIAL: Final = 0x5EED
"""A certificate that nobody revoked."""


class Clock:
    """The host's, moved on by the test."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Elsewhere:
    """A CA elsewhere whose CRLs lie in a folder, and the installation that copies them."""

    def __init__(self, installation: Installation, clock: Clock, folder: Path, number: int) -> None:
        self.installation = installation
        self.clock = clock
        self.folder = folder
        self.ca = ForeignCa(f"Elsewhere CA {number}")
        self.setup = ResponderSetup(installation)
        self.operator = installation.operator()
        self.base, self.delta = folder / "base.crl", folder / "delta.crl"
        self.base.write_bytes(self.ca.crl({1: COMPROMISED, 2: ON_HOLD}, number=5))

    @property
    def name(self) -> str:
        return self.ca.name

    def add(self, **sources: str) -> None:
        chosen = {"crl-urls": self.base.as_uri()} | {key.replace("_", "-"): text for key, text in sources.items()}
        self.setup.add("", self.ca.pem, chosen, self.operator, at_host=True)

    def install_signer(self, days: int = 30) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.ca.sign_responder(key.public_key(), days=days)
        self.setup.install_signer(self.name, with_key(certificate, key), "", self.operator)

    def enable(self, **sources: str) -> OnlineResponder:
        """Answered for, in this process."""
        self.add(**sources)
        self.install_signer()
        self.setup.enable(self.name, self.operator)
        responder = OnlineResponder(self.installation)
        responder.tick()
        return responder

    def ask(self, responder: OnlineResponder, serial: int) -> peer.OCSPResponse:
        return asked(responder, self.ca.view, serial)

    def status(self, responder: OnlineResponder, serial: int) -> str:
        """In one word, with the reason behind it."""
        return word_of(self.ask(responder, serial))

    def worries(self) -> dict[str, WorryState]:
        return {each.what: each.state for each in self.setup.worries() if each.ca == self.name}


def asked(responder: OnlineResponder, issuer: CertificateView, serial: int) -> peer.OCSPResponse:
    """The answer about a certificate of a CA."""
    answer = responder.responder.answer(ocsp.encode_request([ocsp.cert_id(issuer, serial)]))
    assert answer is not None
    return peer.load_der_ocsp_response(answer.der)


def word_of(read: peer.OCSPResponse) -> str:
    """What an answer says, in one word, with the reason behind it."""
    if read.response_status is not peer.OCSPResponseStatus.SUCCESSFUL:
        return read.response_status.name.lower()
    reason = f" {read.revocation_reason.value}" if read.revocation_reason is not None else ""
    return f"{read.certificate_status.name.lower()}{reason}"


def with_key(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    return certificate.public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
