"""What administrators do with the services for devices, and what they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from certwright.adcs.requester import Requester
from certwright.ndes.settings import NdesSettings
from certwright.ndes.store import Challenge, Failure, Notice, Transaction


@dataclass(frozen=True, slots=True)
class ServiceStanding:
    """How one service stands, for people."""

    name: str  # empty: the one at the classic addresses
    settings: NdesSettings
    ca: str  # the CA's name
    devices: str  # address
    people: str  # address
    ca_fingerprint: str  # SHA-256, hex
    not_after: datetime | None  # of the registration authority's certificates; None while there are none
    renew_after: datetime | None
    obstacles: tuple[str, ...]  # sentences: what keeps devices from their certificates


class NdesAdministration(Protocol):
    """Everything but looking and challenges takes the role CA administrator on the CA of the service.

    Raises:
        AccessDenied: the operator has no right to.
        InvalidArgument: there is no such service, CA, setting or value.
    """

    def services(self) -> Sequence[ServiceStanding]:
        """The one at the classic addresses first."""

    def standing(self, service: str) -> ServiceStanding: ...

    def add(self, service: str, operator: Requester, *, ca: str = "") -> ServiceStanding:
        """Another service, off at first."""

    def remove(self, service: str, operator: Requester) -> None:
        """With its settings and challenges; what its devices asked for stays in the lists."""

    def enable(self, operator: Requester, service: str = "", *, account: str = "") -> ServiceStanding:
        """Make what is missing of account, templates and certificates, and answer from now on. Safe to repeat.

        Args:
            account: whose requests the CA sees devices' as; needed in a domain.
        """

    def disable(self, operator: Requester, service: str = "") -> None:
        """Answer no device any more; everything else stays as it is."""

    def change(self, changes: Mapping[str, str], operator: Requester, service: str = "") -> NdesSettings: ...

    def renew(self, operator: Requester, service: str = "") -> ServiceStanding:
        """New certificates for the registration authority."""

    def challenge(
        self,
        requester: Requester,
        service: str = "",
        *,
        template: str = "",
        names: Sequence[str] = (),
        parameters: str = "",
    ) -> str:
        """A challenge for one device, for whoever may enroll for every template of the service."""

    def static_challenge(self, requester: Requester, service: str = "") -> str: ...

    def webhook_key(self, operator: Requester, service: str = "") -> str:
        """A new signing key for the webhook, told this once."""

    def devices(self, limit: int, service: str | None = None) -> Sequence[Transaction]:
        """What devices asked for, the latest first; of every service where none is named."""

    def challenges(self, limit: int, service: str = "") -> Sequence[Challenge]: ...

    def notices(self, limit: int, service: str | None = None) -> Sequence[Notice]:
        """What policy modules that miss nothing were told, and what waits for them."""

    def failures(self, limit: int, service: str | None = None) -> Sequence[Failure]: ...

    def failure(self, failure_id: int) -> Failure | None:
        """With its message."""
