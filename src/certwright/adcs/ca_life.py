"""The life of our own CAs as whoever administers them sees it: from a request file to the last renewal.

Values, and the interface behind the console's pages and the REST API. Every act takes the one who acts; the CA
concerned checks that it is a CA administrator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from certwright.adcs.properties import CaType
from certwright.adcs.requester import Requester
from certwright.keystores.base import KeyAlgorithm


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """One certificate of a CA."""

    index: int
    key_index: int
    serial_number: str
    sha256: str
    not_before: datetime
    not_after: datetime
    key_is_here: bool


@dataclass(frozen=True, slots=True)
class LivingCa:
    """A CA of this installation, also one that has no certificate yet."""

    name: str
    config: str  # configuration string; empty without a certificate
    ca_type: CaType
    parent: str  # the CA of this installation that signs it; empty for roots, and where that is elsewhere
    certificates: tuple[OwnCertificate, ...]  # the newest first
    is_signed_elsewhere: bool
    waits: bool  # for a certificate from elsewhere
    suspended: bool


@dataclass(frozen=True, slots=True)
class ImportedCrl:
    """The CRL of a CA above ours, as it was published."""

    issuer: str
    number: int
    next_update: datetime | None
    files: tuple[str, ...]


class CaLife(Protocol):
    """What can be done with CAs as a whole. All raise `AdcsError`s whose sentences say what to do.

    `told` are sentences about what could not follow at once.
    """

    def all(self) -> Sequence[LivingCa]:
        """Issuing CAs first, then roots, then those that wait."""

    def create(
        self, name: str, ca_type: CaType, parent: str, algorithm: KeyAlgorithm, operator: Requester
    ) -> Sequence[str]:
        """A root, or with a parent a CA below one of this installation; what was `told`."""

    def ask(self, name: str, ca_type: CaType, algorithm: KeyAlgorithm, operator: Requester) -> bytes:
        """A CA that another one signs: its request (PKCS#10, DER)."""

    def request(self, name: str, operator: Requester) -> bytes:
        """The request of a CA that waits, once more."""

    def install(self, name: str, answer: bytes, operator: Requester) -> Sequence[str]:
        """Install what came back: PEM, DER or PKCS#7, the chain with it; what was `told`."""

    def withdraw(self, name: str, operator: Requester) -> None:
        """Give up a request, with the key that was made for it."""

    def sign(self, ca: str, request: bytes, validity: str, path_length: int, operator: Requester) -> Sequence[bytes]:
        """Certify another CA by its request file; its certificate and those above it."""

    def renew(
        self, ca: str, algorithm: KeyAlgorithm | None, validity: str, operator: Requester, *, by_request: bool = False
    ) -> tuple[bytes, Sequence[str]]:
        """Renew a CA's certificate, with a new key where an algorithm is named.

        Returns:
            a request (DER) where a CA elsewhere has to sign it, else nothing; what was `told`.
        """

    def suspend(self, ca: str, operator: Requester) -> None: ...

    def resume(self, ca: str, operator: Requester) -> None: ...

    def import_crl(self, data: bytes, operator: Requester) -> ImportedCrl:
        """Publish the CRL of a CA elsewhere that stands above one of ours, PEM or DER."""
