"""One CA by whichever role service there is: its enrollment web services, else its pages.

The choice is made before anything is handed in, by asking CEP. Only that nobody is there for this account leads to
the pages: a logon that was refused would be refused there too, and count twice.
"""

from __future__ import annotations

from certwright.adcs.properties import CaProperty, PropertyValue
from certwright.adcs.request import NO_ATTRIBUTES, RequestAttributes, RequestFlags, Response
from certwright.connectors.certsrv import CertsrvConnection
from certwright.connectors.ces import CesConnection
from certwright.connectors.errors import LogonCause, LogonRefused, NotEnrollmentServices, PagesForbidden
from certwright.connectors.reading import ServiceInformation


class EitherWay:
    """`CertRequest` over CES or /certsrv. Used by one thread at a time."""

    def __init__(self, web_services: CesConnection, pages: CertsrvConnection) -> None:
        self._web_services = web_services
        self._pages = pages
        self._chosen: CesConnection | CertsrvConnection | None = None

    @property
    def config(self) -> str:
        return self._pages.config

    def chosen(self) -> CesConnection | CertsrvConnection:
        """The way to this CA, found out at the first call.

        Raises:
            CaUnreachable, AccessDenied: the server cannot be reached, or the account is refused.
        """
        if self._chosen is None:
            try:
                self._web_services.locate()
                self._chosen = self._web_services
            except (NotEnrollmentServices, PagesForbidden):
                self._web_services.note_absent()
                self._chosen = self._pages
            except LogonRefused as error:
                if error.cause is not LogonCause.NOT_OFFERED:
                    raise
                self._web_services.note_absent()
                self._chosen = self._pages
        return self._chosen

    def information(self) -> ServiceInformation:
        """Name, chain and templates. Raises as `chosen`."""
        if self.chosen() is self._web_services:
            return self._web_services.information()
        return self._pages.information()

    def submit(
        self,
        request: bytes,
        attributes: RequestAttributes = NO_ATTRIBUTES,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        return self.chosen().submit(request, attributes, flags)

    def retrieve(
        self,
        request_id: int | None = None,
        *,
        serial_number: str | None = None,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        return self.chosen().retrieve(request_id, serial_number=serial_number, flags=flags)

    def ca_property(self, prop: CaProperty, index: int = 0) -> PropertyValue:
        return self.chosen().ca_property(prop, index)
