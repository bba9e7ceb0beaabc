"""How services are reached: what the manager needs of the connectors, handed in by the wiring.

The manager orders through `connect` alone. The rest are powers that not every way of reaching a CA has: those without
one raise `NotSupported` with a sentence that says why, which people then read beside the order or certificate.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from certwright.adcs.interfaces import CertRequest, Forecast
from certwright.adcs.request import Response
from certwright.adcs.roles import RevocationReason
from certwright.connectors.probing import ProbeStep
from certwright.connectors.reading import ServiceInformation
from certwright.connectors.service import ServiceCredential
from certwright.manager.values import LostAnswer, Service


class Reach(Protocol):
    """The way to a service. All methods may block, and may be called by several threads."""

    def connect(self, service: Service, credential: ServiceCredential) -> CertRequest:
        """The CA behind a service, as its device user. Talks to nobody yet.

        For a local service the user name is an account of this installation's directory.
        """

    def information(self, service: Service, credential: ServiceCredential) -> ServiceInformation:
        """CA name, chain and templates. Raises `AdcsError`."""

    def probe(self, service: Service, credential: ServiceCredential) -> Sequence[ProbeStep]:
        """Every step on the way, to the first that fails. Does not raise for what it looks for."""

    def forecast(self, service: Service, credential: ServiceCredential, request: bytes, template: str) -> Forecast:
        """What the CA behind a service would decide on a request (DER); nothing is handed in.

        Raises:
            NotSupported: it is not one of ours, and others do not tell.
            AdcsError: the account would be refused.
        """

    def find_lost(
        self,
        service: Service,
        credential: ServiceCredential,
        public_key: bytes,
        since: datetime,
        last_known_id: int,
        known: Collection[int],
    ) -> LostAnswer:
        """Look for a request that was sent and whose answer was not seen.

        Args:
            public_key: SubjectPublicKeyInfo of the request.
            since: when it was sent.
            last_known_id: highest request ID that the CA was known to have given before.
            known: request IDs that belong to other orders.
        """

    def approve(self, service: Service, request_id: int) -> Response:
        """Issue a pending request as this installation's own officer. Raises `AdcsError` where that may not be."""

    def revoke(self, service: Service, serial_number: str, reason: RevocationReason) -> None:
        """Revoke at the CA, as this installation's own officer. Raises `AdcsError` where that may not be."""
