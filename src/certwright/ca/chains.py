"""The certificates above a CA's own, by what each of them says. RFC 5280 6.1.

A CA may have several certificates, and the one above it too: which of them signed is told by the key identifier.
Rows are read when a chain is asked for, so that it follows a renewal whichever process made it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from certwright.ca.database import CaCertificateRecord, CaRecord
from certwright.pki.certificate import CertificateView

Above = Callable[[CaCertificateRecord], tuple[bytes, ...]]
"""The certificates above one of a CA's own, nearest first; none for a root."""


def certificates_above(
    certificate: CaCertificateRecord, parent: str, records: Callable[[], Sequence[CaRecord]]
) -> tuple[bytes, ...]:
    """The chain above a certificate, nearest first, as far as it is known.

    Args:
        parent: the name of the CA above; empty for a root.
        records: every CA of this installation.
    """
    chain: list[bytes] = []
    by_name: dict[str, CaRecord] | None = None
    seen: set[str] = set()
    while True:
        if certificate.chain:  # signed elsewhere: what was installed with it
            return (*chain, *certificate.chain)
        if not parent or parent in seen:
            return tuple(chain)
        if by_name is None:
            by_name = {record.name: record for record in records()}
        above = by_name.get(parent)
        signer = _signer(CertificateView.parse(certificate.der), above.certificates) if above is not None else None
        if above is None or signer is None:
            return tuple(chain)
        seen.add(parent)
        chain.append(signer.der)
        certificate, parent = signer, above.parent


def _signer(below: CertificateView, candidates: Sequence[CaCertificateRecord]) -> CaCertificateRecord | None:
    """The newest of a CA's certificates for the key that signed."""
    wanted = below.authority_key_identifier
    for candidate in sorted(candidates, key=lambda each: each.index, reverse=True):
        view = CertificateView.parse(candidate.der)
        if view.subject == below.issuer and wanted in (None, view.subject_key_identifier):
            return candidate
    return None
