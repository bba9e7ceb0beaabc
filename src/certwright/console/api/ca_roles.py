"""Who holds which role on a CA. [MS-CSRA] 3.1.1.7. Changing it goes through the CA's own gate: ESC7 is refused."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from ninja import Router
from pydantic import Field

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.requester import Sid
from certwright.adcs.roles import CaAccess
from certwright.adcs.security import SecurityDescriptor
from certwright.console import ca_permissions
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.authorities import CaName, administer, ca_of
from certwright.console.api.operations import operation
from certwright.console.api.risks import Accepting
from certwright.console.api.shapes import Entered, Name, Told
from certwright.console.rooms import rooms

router = Router(tags=["CAs"])

_SETTING: Final = "security-descriptor"


class CaRole(StrEnum):
    """The words of the MMC: Manage CA, Issue and Manage Certificates, Audit, Back up, Read, Request Certificates."""

    MANAGE_CA = "manage CA"
    MANAGE_CERTIFICATES = "manage certificates"
    AUDIT = "audit"
    BACK_UP = "back up"
    READ = "read"
    ENROLL = "enroll"

    @property
    def mask(self) -> CaAccess:
        return _MASKS[self]


_MASKS: Final = {
    CaRole.MANAGE_CA: CaAccess.ADMINISTRATOR,
    CaRole.MANAGE_CERTIFICATES: CaAccess.OFFICER,
    CaRole.AUDIT: CaAccess.AUDITOR,
    CaRole.BACK_UP: CaAccess.OPERATOR,
    CaRole.READ: CaAccess.READ,
    CaRole.ENROLL: CaAccess.ENROLL,
}

Roles = Annotated[tuple[CaRole, ...], Field(min_length=1, max_length=len(CaRole))]


class RoleHolder(Told):
    sid: str
    name: str
    roles: list[CaRole]
    members: int | None  # enabled accounts that it reaches; null: many, or everybody


class CaRoles(Told):
    holders: list[RoleHolder]
    denials: list[str]  # whom an entry denies something
    separated: bool  # nobody uses two roles at once


class RolesTaken(Entered):
    principal: Annotated[Name, Field(description="Account, group, or SID")]
    roles: Roles


class RolesGranted(RolesTaken, Accepting):
    """Roles for an account or a group."""


@operation(router, "GET", "/cas/{ca}/roles", CaRoles)
def list_ca_roles(request: ApiRequest, ca: CaName) -> CaRoles:
    """List who holds which role on a CA."""
    return _told(request, ca)


@operation(router, "POST", "/cas/{ca}/roles/grant", CaRoles)
def grant_ca_roles(request: ApiRequest, ca: CaName, entered: RolesGranted) -> CaRoles:
    """Give an account or a group roles on a CA.

    Refused with 409 where that would open an escalation; accepting it needs the scope override.
    """
    entered.demand_scope(request.viewer)
    return _change(request, ca, entered, give=True, accept=entered.accept_risks, reason=entered.reason)


@operation(router, "POST", "/cas/{ca}/roles/revoke", CaRoles)
def revoke_ca_roles(request: ApiRequest, ca: CaName, entered: RolesTaken) -> CaRoles:
    """Take roles on a CA from an account or a group. The last administrator of a CA stays."""
    return _change(request, ca, entered, give=False)


def _change(
    request: ApiRequest, ca: str, entered: RolesTaken, *, give: bool, accept: tuple[str, ...] = (), reason: str = ""
) -> CaRoles:
    admin = administer(request.viewer, ca)
    stored = wanted = _descriptor(request, ca)
    who = entered.principal.strip()
    principal = rooms().directory.principal(who)
    if principal is None and not who.upper().startswith("S-1-"):
        raise InvalidArgument(f"There is no account or group called {who[:80]!r}.")
    sid = principal.sid if principal is not None else Sid(who.upper())
    for role in entered.roles:
        wanted = (wanted.grant_access if give else wanted.revoke_access)(int(role.mask), sid)
    if wanted != stored:
        admin.set_configuration({_SETTING: wanted.to_sddl()}, override=accept, reason=reason)
    return _told(request, ca)


def _descriptor(request: ApiRequest, ca: str) -> SecurityDescriptor:
    ca_of(request.viewer, ca)
    settings = administer(request.viewer, ca).configuration()
    return SecurityDescriptor.from_sddl(settings[_SETTING], rooms().directory.domain.sid)


def _told(request: ApiRequest, ca: str) -> CaRoles:
    stored = _descriptor(request, ca)
    members = rooms().directory_administration.effective_members
    drawn = ca_permissions.drawn_roles(stored, stored, rooms().directory, members)
    by_mask = {int(role.mask): role for role in CaRole}
    settings = administer(request.viewer, ca).configuration()
    return CaRoles(
        holders=[
            RoleHolder(
                sid=row.sid,
                name=row.name,
                roles=[by_mask[mask] for mask, _label, held in row.roles if held],
                members=row.members,
            )
            for row in drawn.rows
        ],
        denials=list(drawn.denials),
        separated=settings["role-separation"] == "on",
    )
