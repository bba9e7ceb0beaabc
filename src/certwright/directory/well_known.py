"""Groups and accounts every domain has, and their SIDs. [MS-DTYP] 2.4.2.4, [MS-ADTS] 6.1.1.4.12 (RIDs).

Our own groups for the roles of a CA have fixed RIDs too, below those given to new accounts; what they may do is
said by the CA's security descriptor, not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from certwright.adcs.requester import (
    AUTHENTICATED_USERS,
    BUILTIN_ADMINISTRATORS,
    ENTERPRISE_DOMAIN_CONTROLLERS,
    EVERYONE,
    LOCAL_SYSTEM,
    Sid,
)

ANONYMOUS: Final = Sid("S-1-5-7")
BUILTIN_USERS: Final = Sid("S-1-5-32-545")
BUILTIN_GUESTS: Final = Sid("S-1-5-32-546")


class Rid(IntEnum):
    """The last part of a SID of this domain."""

    ENTERPRISE_READ_ONLY_DOMAIN_CONTROLLERS = 498
    ADMINISTRATOR = 500
    DOMAIN_ADMINS = 512
    DOMAIN_USERS = 513
    DOMAIN_GUESTS = 514
    DOMAIN_COMPUTERS = 515
    DOMAIN_CONTROLLERS = 516
    CERT_PUBLISHERS = 517
    ENTERPRISE_ADMINS = 519
    RAS_AND_IAS_SERVERS = 553
    CA_ADMINISTRATORS = 1000
    CERTIFICATE_MANAGERS = 1001
    CA_AUDITORS = 1002
    CA_BACKUP_OPERATORS = 1003
    FIRST_FREE = 1100

    def in_domain(self, domain_sid: Sid) -> Sid:
        return Sid(f"{domain_sid}-{int(self)}")


BUILTIN: Final = "BUILTIN"
DOMAIN_GROUPS: Final = {
    Rid.DOMAIN_ADMINS: "Domain Admins",
    Rid.ENTERPRISE_ADMINS: "Enterprise Admins",
    Rid.DOMAIN_USERS: "Domain Users",
    Rid.DOMAIN_COMPUTERS: "Domain Computers",
    Rid.DOMAIN_CONTROLLERS: "Domain Controllers",
    Rid.ENTERPRISE_READ_ONLY_DOMAIN_CONTROLLERS: "Enterprise Read-only Domain Controllers",
    Rid.CERT_PUBLISHERS: "Cert Publishers",
    Rid.RAS_AND_IAS_SERVERS: "RAS and IAS Servers",
    Rid.CA_ADMINISTRATORS: "CA Administrators",
    Rid.CERTIFICATE_MANAGERS: "Certificate Managers",
    Rid.CA_AUDITORS: "CA Auditors",
    Rid.CA_BACKUP_OPERATORS: "CA Backup Operators",
}
"""Groups that `create_domain` makes. There is no Guest account and no Domain Guests group."""


class WellKnownGroup(NamedTuple):
    """A group without a list of members: who is in it follows from what an account is."""

    sid: Sid
    authority: str  # before the backslash; empty: the name stands alone
    name: str


COMPUTED_GROUPS: Final = (
    WellKnownGroup(EVERYONE, "", "Everyone"),
    WellKnownGroup(AUTHENTICATED_USERS, "NT AUTHORITY", "Authenticated Users"),
    WellKnownGroup(ENTERPRISE_DOMAIN_CONTROLLERS, "NT AUTHORITY", "ENTERPRISE DOMAIN CONTROLLERS"),
    WellKnownGroup(ANONYMOUS, "NT AUTHORITY", "ANONYMOUS LOGON"),
    WellKnownGroup(LOCAL_SYSTEM, "NT AUTHORITY", "SYSTEM"),
    WellKnownGroup(BUILTIN_USERS, BUILTIN, "Users"),
    WellKnownGroup(BUILTIN_GUESTS, BUILTIN, "Guests"),
)

EVERY_ACCOUNT: Final = frozenset({EVERYONE, AUTHENTICATED_USERS, BUILTIN_USERS})
"""The computed groups of every account that has logged on."""


def privileged_sids(domain_sid: Sid) -> Iterator[Sid]:
    """Those who hold the domain or its CAs anyway: what they may do is no escalation. Everybody else's rights are."""
    yield from (BUILTIN_ADMINISTRATORS, LOCAL_SYSTEM, ENTERPRISE_DOMAIN_CONTROLLERS)
    for rid in (
        Rid.ADMINISTRATOR,
        Rid.DOMAIN_ADMINS,
        Rid.ENTERPRISE_ADMINS,
        Rid.DOMAIN_CONTROLLERS,
        Rid.ENTERPRISE_READ_ONLY_DOMAIN_CONTROLLERS,
        Rid.CA_ADMINISTRATORS,
    ):
        yield rid.in_domain(domain_sid)
