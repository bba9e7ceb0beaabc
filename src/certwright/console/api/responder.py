"""The Online Responder: for which of our CAs it answers, and how. `responder_elsewhere` has all others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from ninja import Router
from pydantic import Field

from certwright.console.api.authentication import ApiRequest
from certwright.console.api.authorities import CaName, Settings, ca_of
from certwright.console.api.operations import operation
from certwright.console.api.shapes import Entered, Flag, Told
from certwright.console.rooms import CaStanding, rooms
from certwright.online_responder.configuration import SETTINGS

router = Router(tags=["Online Responder"])


class ResponderSetting(Told):
    key: str
    value: str
    meaning: str


class Responder(Told):
    """How the responder stands to one CA."""

    ca: str  # its name in paths
    name: str
    enabled: bool
    url: str
    announced: list[str]  # responders that certificates to come name
    serial_number: str  # of the signing certificate; empty while there is none
    not_after: datetime | None
    renew_after: datetime | None  # null: by people
    settings: list[ResponderSetting]


class ResponderChanges(Entered):
    """Settings by their names on the command line; all are changed, or none.

    A new profile brings its own defaults.
    """

    settings: Settings


class Enabling(Entered):
    announce: Annotated[
        Flag, Field(description="Let certificates to come name this responder, unless they name one already")
    ] = True


class Refreshing(Entered):
    certificate: Annotated[Flag, Field(description="Enroll for a new signing certificate, too")] = False


@operation(router, "GET", "/responders", list[Responder])
def list_responders(request: ApiRequest) -> Sequence[Responder]:
    """List the CAs of this installation, with how the Online Responder answers for each."""
    return [_told(ca) for ca in request.viewer.cas]


@operation(router, "GET", "/cas/{ca}/responder", Responder)
def get_responder(request: ApiRequest, ca: CaName) -> Responder:
    """Show how the Online Responder answers for a CA."""
    return _told(ca_of(request.viewer, ca))


@operation(router, "PATCH", "/cas/{ca}/responder", Responder)
def change_responder(request: ApiRequest, ca: CaName, entered: ResponderChanges) -> Responder:
    """Change how the Online Responder answers for a CA, all or none."""
    standing = ca_of(request.viewer, ca)
    rooms().responder.change(standing.name, entered.settings, request.viewer.requester)
    return _told(standing)


@operation(router, "POST", "/cas/{ca}/responder/enable", Responder)
def enable_responder(request: ApiRequest, ca: CaName, entered: Enabling) -> Responder:
    """Answer for a CA from now on; enrolls for a signing certificate where one is needed."""
    standing = ca_of(request.viewer, ca)
    rooms().responder.enable(standing.name, request.viewer.requester, announce=entered.announce)
    return _told(standing)


@operation(router, "POST", "/cas/{ca}/responder/disable", Responder)
def disable_responder(request: ApiRequest, ca: CaName) -> Responder:
    """Cease to answer for a CA: clients that ask are told unauthorized."""
    standing = ca_of(request.viewer, ca)
    rooms().responder.disable(standing.name, request.viewer.requester)
    return _told(standing)


@operation(router, "POST", "/cas/{ca}/responder/refresh", Responder)
def refresh_responder(request: ApiRequest, ca: CaName, entered: Refreshing) -> Responder:
    """Make every answer for a CA anew, under a new signing certificate where that is wanted."""
    standing = ca_of(request.viewer, ca)
    rooms().responder.refresh(standing.name, request.viewer.requester, certificate=entered.certificate)
    return _told(standing)


def _told(ca: CaStanding) -> Responder:
    found = rooms().responder.standing(ca.name)
    texts = found.configuration.texts
    return Responder(
        ca=ca.slug,
        name=ca.name,
        enabled=found.enabled,
        url=found.url,
        announced=list(found.announced),
        serial_number=found.serial_number,
        not_after=found.not_after,
        renew_after=found.renew_after,
        settings=[
            ResponderSetting(key=key, value=texts[key], meaning=setting.meaning) for key, setting in SETTINGS.items()
        ],
    )
