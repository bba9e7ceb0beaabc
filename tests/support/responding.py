"""A responder over a CA that exists in memory only: its provider, its clock and its signer are the test's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp as peer

from certwright.online_responder.configuration import RevocationConfiguration
from certwright.online_responder.responder import Answer, Issuer, Responder
from certwright.online_responder.revocation import GOOD, CertificateStatus, ProviderUnavailable
from certwright.pki import ocsp, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.ocsp import ResponseSigner
from certwright.pki.signatures import Signer
from tests.support.certificates import ca_certificate, make_certificate
from tests.support.requests import ec_key

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CA = CertificateView.parse(ca_certificate())
OTHER_CA = CertificateView.parse(make_certificate("CN=Other", issuer="CN=Other"))
ISSUED = 0x1F0001
NEVER = 0xDEAD


class MemoryProvider:
    """Certificates in a dictionary. `down` makes it fail, `while_asked` runs inside every question."""

    def __init__(self, ca: str = "Test CA") -> None:
        self.ca = ca
        self.known: dict[int, CertificateStatus] = {ISSUED: GOOD, ISSUED + 1: GOOD}
        self.changed: list[int] = []
        self.down = False
        self.asked = 0
        self.while_asked: Callable[[], None] = lambda: None

    def put(self, serial: int, status: CertificateStatus) -> None:
        self.known[serial] = status
        self.changed.append(serial)

    def status(self, serial: int, key_index: int, now: datetime) -> CertificateStatus | None:
        self._demand()
        self.asked += 1
        found = self.known.get(serial) if key_index == 0 else None
        self.while_asked()
        return found

    def changes(self) -> Collection[int] | None:
        self._demand()
        changed, self.changed = self.changed, []
        return changed

    def newest(self, limit: int, now: datetime) -> Iterator[tuple[int, int]]:
        self._demand()
        yield from [(serial, 0) for serial in sorted(self.known, reverse=True)[:limit]]

    def _demand(self) -> None:
        if self.down:
            raise ProviderUnavailable("the database does not answer")


class Bench:
    """A responder with one CA, and a clock that the test moves."""

    def __init__(self, *, signs: bool = True, signer_days: int = 14, is_quick: bool = True, **settings: str) -> None:
        self.now = NOW
        self.provider = MemoryProvider()
        self.responder = Responder(lambda: self.now)
        self.key = ec_key("P-256", 101)
        self.signs, self.signer_until, self.is_quick = signs, NOW + timedelta(days=signer_days), is_quick
        self.version = 0
        self.configure(**settings)

    def configure(self, **settings: str) -> None:
        """Serve with these settings, as a new version of the configuration."""
        self.version += 1
        self.issuer = Issuer(
            ca=self.provider.ca,
            key_index=0,
            certificate=CA,
            configuration=RevocationConfiguration.load().changed(
                {key.replace("_", "-"): text for key, text in settings.items()}
            ),
            version=self.version,
            provider=self.provider,
            signer=ResponseSigner.of(Signer.of(self.key), signer_certificate()) if self.signs else None,
            signer_until=self.signer_until,
            is_quick=self.is_quick,
        )
        self.responder.serve([self.issuer])

    def ask(self, *serials: int, nonce: bytes | None = None, hash_oid: str = oids.SHA1) -> Answer:
        answer = self.responder.answer(question(*serials, nonce=nonce, hash_oid=hash_oid))
        assert answer is not None
        return answer

    def read(self, *serials: int, nonce: bytes | None = None) -> peer.OCSPResponse:
        """The answer as another library reads it, its signature verified."""
        read = peer.load_der_ocsp_response(self.ask(*serials, nonce=nonce).der)
        if read.response_status is peer.OCSPResponseStatus.SUCCESSFUL:
            algorithm = read.signature_hash_algorithm
            assert algorithm is not None
            key = self.key.public_key()
            assert isinstance(key, ec.EllipticCurvePublicKey)
            key.verify(read.signature, read.tbs_response_bytes, ec.ECDSA(algorithm))
        return read


def question(
    *serials: int, nonce: bytes | None = None, hash_oid: str = oids.SHA1, issuer: CertificateView = CA
) -> bytes:
    return ocsp.encode_request([ocsp.cert_id(issuer, serial, hash_oid) for serial in serials or (ISSUED,)], nonce)


def signer_certificate() -> CertificateView:
    return CertificateView.parse(make_certificate("CN=responder", ec_key("P-256", 101)))
