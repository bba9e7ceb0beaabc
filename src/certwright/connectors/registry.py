"""Which CA is reached how: configuration string -> connector. [MS-WCCE] 3.1.1.4.1 (CA configuration string)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from certwright.adcs.errors import CaUnreachable, InvalidArgument
from certwright.adcs.interfaces import AsyncCertRequest, CertAdmin, CertRequest, Forecast
from certwright.adcs.request import RequestAttributes
from certwright.adcs.requester import Requester
from certwright.adcs.template import CertificateTemplate
from certwright.directory.base import EnrollmentService


class Connector(Protocol):
    """A way to reach some CAs."""

    def configs(self) -> Sequence[str]:
        """Configuration strings of the CAs it reaches, the preferred one first."""

    def connect(self, config: str, requester: Requester) -> CertRequest: ...

    def connect_async(self, config: str, requester: Requester) -> AsyncCertRequest: ...

    def administer(self, config: str, requester: Requester) -> CertAdmin:
        """Raises `NotSupported` where the connector cannot act as an officer."""

    def enrollment_services(self) -> Sequence[EnrollmentService]: ...

    def enrollable_templates(self, config: str, requester: Requester) -> Sequence[CertificateTemplate]:
        """Raises `NotSupported` where the connector does not see templates and their rights."""

    def forecast(self, config: str, requester: Requester, request: bytes, attributes: RequestAttributes) -> Forecast:
        """Raises `NotSupported` where a CA tells its mind only about requests that are submitted."""


class Registry:
    """The connectors of this process, asked in the order in which they were added."""

    def __init__(self, *connectors: Connector) -> None:
        self._connectors = list(connectors)

    def add(self, connector: Connector) -> None:
        self._connectors.append(connector)

    def connect(self, config: str, requester: Requester) -> CertRequest:
        """One CA as one requester, for synchronous callers.

        Raises:
            InvalidArgument: no CA is called that.
        """
        connector, known = self._find(config)
        return connector.connect(known, requester)

    def connect_async(self, config: str, requester: Requester) -> AsyncCertRequest:
        """The same for callers on an event loop."""
        connector, known = self._find(config)
        return connector.connect_async(known, requester)

    def administer(self, config: str, requester: Requester) -> CertAdmin:
        """One CA as one officer."""
        connector, known = self._find(config)
        return connector.administer(known, requester)

    def enrollment_services(self) -> Sequence[EnrollmentService]:
        """Every CA that clients may be told of."""
        return [service for connector in self._connectors for service in connector.enrollment_services()]

    def enrollable_templates(self, config: str, requester: Requester) -> Sequence[CertificateTemplate]:
        """The templates that one CA publishes and this requester may enroll for.

        An offer, not a decision: the CA decides on every request anew. May block.
        """
        connector, known = self._find(config)
        return connector.enrollable_templates(known, requester)

    def forecast(self, config: str, requester: Requester, request: bytes, attributes: RequestAttributes) -> Forecast:
        """What a CA would decide on a request (DER) if it were submitted now; nothing is handed in. May block.

        Raises:
            NotSupported: the CA cannot be asked that.
            AdcsError: the requester may not enroll there, or the CA cannot be used.
        """
        connector, known = self._find(config)
        return connector.forecast(known, requester, request, attributes)

    def configs(self) -> Sequence[str]:
        return [config for connector in self._connectors for config in connector.configs()]

    def config(self, config: str) -> str:
        """The full configuration string of a CA. Raises as `connect`."""
        return self._find(config)[1]

    def _find(self, config: str) -> tuple[Connector, str]:
        r"""Match `host\name` or the CA's name alone, ignoring case; nothing given means the first CA."""
        wanted = config.casefold()
        names = []
        for connector in self._connectors:
            for known in connector.configs():
                if not wanted or wanted in (known.casefold(), known.partition("\\")[2].casefold()):
                    return connector, known
                names.append(known)
        if not names:
            raise CaUnreachable("this installation has no CA yet; run: certwright init")
        raise InvalidArgument(f"there is no CA called {config!r}; known: {', '.join(names)}")
