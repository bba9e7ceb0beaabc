"""A CA elsewhere, made by the other library: its certificate, its CRLs as files, and whatever it is asked to sign."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certwright.pki.certificate import CertificateView

ON_HOLD = x509.ReasonFlags.certificate_hold
RELEASED = x509.ReasonFlags.remove_from_crl
COMPROMISED = x509.ReasonFlags.key_compromise

Revoked = Mapping[int, x509.ReasonFlags | None]
Extensions = Iterable[tuple[x509.ExtensionType, bool]]


@dataclass
class ForeignCa:
    """Signs certificates and CRLs. Times are those of the host unless `now` is given."""

    name: str = "Elsewhere CA"
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = self._builder(self.subject, self.key.public_key(), 3650)
        builder = builder.add_extension(x509.BasicConstraints(True, None), True).add_extension(usage, True)
        self.certificate = builder.sign(self.key, hashes.SHA256())

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def view(self) -> CertificateView:
        return CertificateView.parse(self.der)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - timedelta(days=1))
            .not_valid_after(self.now + timedelta(days=days))
            .public_key(key)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        )

    def issue(
        self,
        name: str = "www.elsewhere.example",
        key: ec.EllipticCurvePrivateKey | None = None,
        points: Iterable[str] = (),
    ) -> x509.Certificate:
        """A certificate for a server; `points` are where its CRL lies."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        public = (key or ec.generate_private_key(ec.SECP256R1())).public_key()
        builder = self._builder(subject, public, 90).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), False
        )
        urls = [x509.UniformResourceIdentifier(url) for url in points]
        if urls:
            point = x509.DistributionPoint(urls, None, None, None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), False)
        return builder.sign(self.key, hashes.SHA256())

    def sign_responder(
        self, key: ec.EllipticCurvePublicKey, *, days: int = 30, usage: bool = True
    ) -> x509.Certificate:
        """A certificate for OCSP signing."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "responder")])
        builder = self._builder(subject, key, days).add_extension(x509.OCSPNoCheck(), False)
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)
        return builder.sign(self.key, hashes.SHA256())

    def crl(
        self,
        revoked: Revoked | None = None,
        *,
        number: int | None = 1,
        base: int | None = None,
        begins: timedelta = timedelta(hours=-1),
        ends: timedelta | None = timedelta(days=7),
        extensions: Extensions = (),
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> bytes:
        """A base CRL, or the delta of `base` (DER)."""
        entries = [_entry(serial, self.now, reason) for serial, reason in (revoked or {}).items()]
        end = self.now + (ends if ends is not None else timedelta(days=7))
        built = x509.CertificateRevocationListBuilder(self.subject, self.now + begins, end, [], entries)
        signer = key or self.key
        built = built.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
        if number is not None:
            built = built.add_extension(x509.CRLNumber(number), False)
        if base is not None:
            built = built.add_extension(x509.DeltaCRLIndicator(base), True)
        for extension, critical in extensions:
            built = built.add_extension(extension, critical)
        return built.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)


def _entry(serial: int, when: datetime, reason: x509.ReasonFlags | None) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when - timedelta(hours=2))
    if reason is not None:
        builder = builder.add_extension(x509.CRLReason(reason), False)
    return builder.build()


def named(*urls: str, **limits: bool) -> tuple[x509.ExtensionType, bool]:
    """An issuing distribution point, critical."""
    flags = {
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    } | limits
    names = [x509.UniformResourceIdentifier(url) for url in urls] or None
    return x509.IssuingDistributionPoint(names, None, only_some_reasons=None, **flags), True
