"""Who asks and what they may do; how everything is."""

from __future__ import annotations

from datetime import datetime

from ninja import Router

from certwright.console.access import CA_ROLES
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.shapes import Told
from certwright.console.pages.health import lines_for
from certwright.console.rooms import CaStanding, rooms

router = Router(tags=["System"])


class Standing(Told):
    """One of our CAs, as the caller stands to it. Only told: the CA checks every act itself."""

    ca: str  # its name in paths
    name: str
    roles: list[str]


class Me(Told):
    account: str
    display_name: str
    roles: list[str]
    scopes: list[str] | None  # of the token; null for a browser's session
    may_export_keys: bool
    sees_everything: bool  # or only the account's own orders and certificates
    cas: list[Standing]


class HealthLine(Told):
    group: str
    what: str
    state: str  # ok, warning, down or unknown
    detail: str
    until: datetime | None


class HealthAnswer(Told):
    checked: datetime
    lines: list[HealthLine]


def roles_on(ca: CaStanding) -> list[str]:
    """The caller's roles on a CA, as the CA gives them."""
    return [] if ca.in_conflict else [role.value for mask, role in CA_ROLES.items() if mask & ca.access]


@operation(router, "GET", "/me", Me)
def get_me(request: ApiRequest) -> Me:
    """Show who asks.

    The account of the token, its roles in the console and on each CA, and what the token is good for.
    """
    viewer = request.viewer
    return Me(
        account=viewer.account,
        display_name=viewer.display_name,
        roles=sorted(role.value for role in viewer.roles),
        scopes=sorted(viewer.scopes) if viewer.scopes is not None else None,
        may_export_keys=viewer.may_export_keys,
        sees_everything=viewer.sees_everything,
        cas=[Standing(ca=ca.slug, name=ca.name, roles=roles_on(ca)) for ca in viewer.cas],
    )


@operation(router, "GET", "/health", HealthAnswer)
def get_health(request: ApiRequest) -> HealthAnswer:
    """Show how everything is.

    The CAs' certificates, keys and CRLs, the listeners of this host, and what else the page Health watches.
    """
    lines = [
        HealthLine(group=group, what=str(line.what), state=line.state, detail=str(line.detail), until=line.until)
        for group, line in lines_for(request.viewer)
    ]
    return HealthAnswer(checked=rooms().clock(), lines=lines)
