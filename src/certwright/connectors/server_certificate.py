"""The certificate that a server showed, as people are asked whether they believe it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from certwright.pki.certificate import CertificateView


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """What a server showed of itself; worth nothing until it is trusted."""

    subject: str
    issuer: str
    sha256: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]
    chain: tuple[tuple[str, str], ...] = ()  # subject and SHA-256 of the certificates shown above it

    @classmethod
    def of(cls, chain: tuple[bytes, ...]) -> ServerCertificate:
        """Raises:
        EncodingError: a certificate cannot be read.
        """
        leaf, *above = [CertificateView.parse(der) for der in chain]
        return cls(
            subject=leaf.subject_name,
            issuer=leaf.issuer_name,
            sha256=leaf.sha256,
            not_before=leaf.not_before,
            not_after=leaf.not_after,
            names=tuple(str(name) for name in leaf.alternative_names)[:20],
            chain=tuple((view.subject_name, view.sha256) for view in above),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 as people compare it: pairs with colons."""
        return colons(self.sha256)


def colons(digits: str) -> str:
    upper = digits.upper()
    return ":".join(upper[at : at + 2] for at in range(0, len(upper), 2))
