"""Ways to a CA, as the contract suites see them: one class each, and every contract runs over all of them.

A new connector is a class with `DoorToCa`'s methods and a line in `CERT_REQUEST` (and in `CERT_ADMIN`, when it can
administer).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from certwright.adcs.interfaces import AsyncCertRequest, CertAdmin, CertRequest
from certwright.adcs.properties import CaProperty, PropertyValue
from certwright.adcs.request import NO_ATTRIBUTES, RequestAttributes, RequestFlags, Response, template_attributes
from certwright.adcs.requester import AuthMethod, Requester
from certwright.server.composition import Installation
from tests.support.installation import People
from tests.support.requests import web_server_request
from tests.support.server import DOMAIN


class DoorToCa(Protocol):
    """One CA, as anybody in `People`."""

    @property
    def config(self) -> str: ...

    def connect(self, account: str = People.ENROLLEE) -> CertRequest: ...

    def administer(self, account: str = People.OFFICER) -> CertAdmin: ...


class Local:
    """Our own CA in this process."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    @property
    def config(self) -> str:
        return self.installation.cas[0].config

    def connect(self, account: str = People.ENROLLEE) -> CertRequest:
        return self.installation.registry.connect(self.config, self.requester(account))

    def administer(self, account: str = People.OFFICER) -> CertAdmin:
        return self.installation.registry.administer(self.config, self.requester(account))

    def requester(self, account: str) -> Requester:
        """What authentication makes of an account; also of one that was disabled after its log-on."""
        principal = self.installation.directory.principal(account)
        assert principal is not None, account
        return Requester(principal.account, principal.sid, principal.groups, AuthMethod.NTLM, origin="192.0.2.1")


class LocalAsynchronous(Local):
    """The same CA through the door for event loops."""

    def connect(self, account: str = People.ENROLLEE) -> CertRequest:
        return _Blocking(self.installation.registry.connect_async(self.config, self.requester(account)))


class _Blocking:
    """An asynchronous door with a loop of its own for every call."""

    def __init__(self, door: AsyncCertRequest) -> None:
        self._door = door

    @property
    def config(self) -> str:
        return self._door.config

    def submit(
        self,
        request: bytes,
        attributes: RequestAttributes = NO_ATTRIBUTES,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        return asyncio.run(self._door.submit(request, attributes, flags))

    def retrieve(
        self,
        request_id: int | None = None,
        *,
        serial_number: str | None = None,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        return asyncio.run(self._door.retrieve(request_id, serial_number=serial_number, flags=flags))

    def ca_property(self, prop: CaProperty, index: int = 0) -> PropertyValue:
        return asyncio.run(self._door.ca_property(prop, index))


Opener = Callable[[Installation], DoorToCa]

CERT_REQUEST: Final[dict[str, Opener]] = {"local": Local, "local-async": LocalAsynchronous}
CERT_ADMIN: Final[dict[str, Opener]] = {"local": Local}
DATABASES: Final = ("sqlite", "postgresql")

OUTSIDE: Final = "www.elsewhere.example"
"""A host that is in nobody's name rules."""

_numbers = itertools.count(1)


def new_host() -> str:
    """A host of the domain that no other request names."""
    return f"host{next(_numbers)}.{DOMAIN}"


@dataclass(frozen=True)
class Site:
    """A CA behind one connector, and what lies behind it."""

    door: DoorToCa
    installation: Installation

    def submit(
        self, account: str = People.ENROLLEE, request: bytes = b"", attributes: RequestAttributes | None = None
    ) -> Response:
        return self.door.connect(account).submit(
            request or web_server_request(new_host()),
            template_attributes("WebServer") if attributes is None else attributes,
        )

    def pending(self, account: str = People.ENROLLEE) -> Response:
        return self.submit(account, web_server_request(OUTSIDE))

    def row(self, request_id: int) -> Any:
        """The row as another process finds it: through a database connection of its own."""
        with Installation.open(self.installation.home) as other:
            return other.registry.administer("", other.operator()).request_row(request_id)

    @contextmanager
    def setting(self, **changes: str) -> Iterator[None]:
        admin = self.door.administer(People.CA_ADMINISTRATOR)
        wanted = {key.replace("_", "-"): value for key, value in changes.items()}
        before = admin.configuration()
        admin.set_configuration(wanted)
        try:
            yield
        finally:
            admin.set_configuration({key: before[key] for key in wanted})
