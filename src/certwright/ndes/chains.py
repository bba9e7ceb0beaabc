"""The certificates above a device's: those of the service's CA, and of the CAs above that one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from certwright.adcs.interfaces import CertRequest
from certwright.adcs.properties import LATEST, CaProperty
from certwright.ndes.case import Case
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import parse_certs_only


@dataclass(frozen=True, slots=True)
class Chain:
    """A CA's certificate and those above it, the root last."""

    all: tuple[bytes, ...]
    ca: CertificateView
    without_root: tuple[bytes, ...]
    key_identifier: bytes

    @classmethod
    def read(cls, door: CertRequest) -> Chain:
        """As the CA has it now.

        Raises:
            AdcsError: it cannot be asked.
        """
        data = door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN, LATEST)
        found = parse_certs_only(data) if isinstance(data, bytes) else ()
        ca = CertificateView.parse(found[0])
        above = tuple(each for each in found[1:] if not CertificateView.parse(each).is_self_issued)
        return cls(found, ca, found[:1] + above, ca.subject_key_identifier or b"")


class Chains:
    """Chains by CA, kept as long as they fit."""

    def __init__(self) -> None:
        self._known: dict[str, Chain] = {}

    def now(self, door: CertRequest, ca: str) -> Chain:
        """Asked anew."""
        chain = self._known[ca] = Chain.read(door)
        return chain

    def of(self, case: Case, certificate: bytes) -> Sequence[bytes]:
        """Above a certificate that was issued just now: its issuer's key stands in it. Without the root."""
        known = self._known.get(case.settings.ca)
        if known is None or not known.key_identifier or known.key_identifier not in certificate:
            known = self.now(case.door, case.settings.ca)
        return known.without_root

    def subject(self, case: Case) -> bytes:
        """The CA's name, which renewals do not change."""
        known = self._known.get(case.settings.ca)
        return (known or self.now(case.door, case.settings.ca)).ca.subject
