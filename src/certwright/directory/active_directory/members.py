"""How many accounts a group of the domain reaches, for people who set permissions: counted up to a limit.

[MS-ADTS] 3.1.1.3.4.4.3 (LDAP_MATCHING_RULE_TRANSITIVE_EVAL); members by primary group stand in no list.
"""

from __future__ import annotations

from typing import Final

from certwright.adcs.acl import sid_from_bytes
from certwright.adcs.requester import Sid
from certwright.directory.active_directory.ldap import LdapConnection, Scope, escape
from certwright.directory.active_directory.principals import AccountControl, AccountType
from certwright.directory.base import Domain
from certwright.directory.well_known import Rid

MAX_COUNTED: Final = 1000
"""More are many: nobody needs the number, and a domain may have a hundred thousand."""
_MAX_GROUPS: Final = 200  # groups within a group that are looked at for members by primary group

_EVERYBODY: Final = (Rid.DOMAIN_USERS, Rid.DOMAIN_GUESTS, Rid.DOMAIN_COMPUTERS)

_IN_CHAIN: Final = "1.2.840.113556.1.4.1941"
_ALL_BITS: Final = "1.2.840.113556.1.4.803"
_ACCOUNTS: Final = "".join(f"(sAMAccountType={int(kind)})" for kind in (AccountType.USER, AccountType.MACHINE))
_ENABLED: Final = f"(|{_ACCOUNTS})(!(userAccountControl:{_ALL_BITS}:={int(AccountControl.DISABLED)}))"


def count_members(connection: LdapConnection, domain: Domain, base: str, sid: Sid) -> int | None:
    """Enabled users and computers that hold a SID, through any number of groups; None: many, or everybody.

    An account holds its own SID. Nobody holds one that the domain does not know.

    Raises:
        LdapError: the controller refuses, or does not answer.
    """
    entry = connection.read(f"<SID={sid}>", ["sAMAccountType"])
    if entry is None:
        return 0
    if entry.number("sAMAccountType", 0) in (AccountType.USER, AccountType.MACHINE):
        return _counted(connection, base, f"(&(distinguishedName={escape(entry.dn)}){_ENABLED})")
    inside = f"(memberOf:{_IN_CHAIN}:={escape(entry.dn)})"
    groups = {sid}
    for group in connection.search(
        base, Scope.SUBTREE, f"(&(objectClass=group){inside})", ["objectSid"], size_limit=_MAX_GROUPS
    ):
        octets = group.value("objectSid")
        if octets is not None:
            groups.add(sid_from_bytes(octets)[0])
    ours = sorted(each.rpartition("-")[2] for each in groups if each.rpartition("-")[0] == domain.sid)
    if groups & {rid.in_domain(domain.sid) for rid in _EVERYBODY}:
        return None  # not even counted: a controller would go through every account of the domain
    primary = "".join(f"(primaryGroupID={rid})" for rid in ours)
    return _counted(connection, base, f"(&(|{inside}{primary}){_ENABLED})")


def _counted(connection: LdapConnection, base: str, condition: str) -> int | None:
    found = connection.search(base, Scope.SUBTREE, condition, ["cn"], size_limit=MAX_COUNTED + 1)
    count = sum(1 for _ in found)
    return count if count <= MAX_COUNTED else None
