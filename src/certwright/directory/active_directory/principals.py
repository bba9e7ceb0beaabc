"""Accounts and groups of the domain as `Principal`. [MS-ADTS] 3.1.1.4.5.19 (tokenGroups), 2.2.16 (account controls).

An account's groups are those a member server of the domain would see in its token: all transitive ones, and the
well-known ones that follow from what it is. Groups of the domain controllers themselves (BUILTIN) are left out: on
another machine they mean others. [MS-DTYP] 2.4.2.4.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import IntEnum, IntFlag
from typing import Final

from certwright.adcs.acl import sid_from_bytes, sid_to_bytes
from certwright.adcs.requester import ENTERPRISE_DOMAIN_CONTROLLERS, Sid, parse_sid
from certwright.directory.active_directory.ldap import Entry, LdapConnection, Scope, escape
from certwright.directory.base import Domain, LogonFailure, Principal, PrincipalKind
from certwright.directory.well_known import BUILTIN, EVERY_ACCOUNT, Rid

ATTRIBUTES: Final = (
    *("objectSid", "objectGUID", "objectClass", "sAMAccountName", "sAMAccountType", "cn", "userPrincipalName"),
    *("mail", "dNSHostName", "userAccountControl", "msDS-User-Account-Control-Computed", "accountExpires"),
    "tokenGroups",
)
"""With tokenGroups, so only for reading one object by its name."""

BUILTIN_SIDS: Final = "S-1-5-32-"
_OF_DOMAINS: Final = "S-1-5-21-"
_EPOCH: Final = datetime(1601, 1, 1, tzinfo=UTC)
_NEVER: Final = int((datetime.max.replace(tzinfo=UTC) - _EPOCH).total_seconds()) * 10_000_000
"""accountExpires of this and more, or of zero, is no date. [MS-ADA1] 2.3."""


class AccountType(IntEnum):
    """sAMAccountType. [MS-SAMR] 2.2.1.9. Accounts of managed services are machines."""

    GROUP = 0x1000_0000
    NON_SECURITY_GROUP = 0x1000_0001
    ALIAS = 0x2000_0000
    NON_SECURITY_ALIAS = 0x2000_0001
    USER = 0x3000_0000
    MACHINE = 0x3000_0001
    TRUST = 0x3000_0002


class AccountControl(IntFlag):
    """userAccountControl, and what is computed beside it. [MS-ADTS] 2.2.16."""

    DISABLED = 0x2
    LOCKED_OUT = 0x10
    PASSWORD_EXPIRED = 0x80_0000


_KINDS: Final = {
    AccountType.GROUP: PrincipalKind.GROUP,
    AccountType.ALIAS: PrincipalKind.GROUP,
    AccountType.USER: PrincipalKind.USER,
    AccountType.MACHINE: PrincipalKind.COMPUTER,
}


def principal_from_entry(entry: Entry, domain: Domain, now: datetime) -> Principal:
    """One account or security group, read with `ATTRIBUTES`.

    Raises:
        ValueError: it is neither, or what makes it one cannot be read.
    """
    sid_octets = entry.value("objectSid")
    if sid_octets is None:
        raise ValueError(f"{entry.dn} has no objectSid")
    sid = sid_from_bytes(sid_octets)[0]
    kind = _KINDS.get(AccountType(entry.number("sAMAccountType")))
    if kind is None:
        raise ValueError(f"{entry.dn} is neither an account nor a security group")
    name = entry.text("sAMAccountName")
    authority = BUILTIN if sid.startswith(BUILTIN_SIDS) else domain.netbios_name
    obstacle = None if kind is PrincipalKind.GROUP else _obstacle(entry, now)
    return Principal(
        sid=sid,
        kind=kind,
        account=f"{authority}\\{name}",
        common_name=entry.text("cn"),
        distinguished_name=entry.dn,
        guid=entry.value("objectGUID") or b"",
        enabled=obstacle is None,
        groups=_groups(entry, domain, is_account=kind is not PrincipalKind.GROUP),
        upn=entry.text("userPrincipalName"),
        mail=entry.text("mail"),
        dns_host_name=entry.text("dNSHostName"),
        obstacle=obstacle,
    )


def _obstacle(entry: Entry, now: datetime) -> LogonFailure | None:
    """Why the account may not be used; none when it may. Controls that cannot be read count as disabled."""
    stored = AccountControl(entry.number("userAccountControl", AccountControl.DISABLED) & 0xFFFF_FFFF)
    computed = AccountControl(entry.number("msDS-User-Account-Control-Computed", 0) & 0xFFFF_FFFF)
    expires = entry.number("accountExpires", 0)
    if AccountControl.DISABLED in stored:
        return LogonFailure.DISABLED
    if AccountControl.LOCKED_OUT in computed:
        return LogonFailure.LOCKED_OUT
    if 0 < expires < _NEVER and _EPOCH + timedelta(microseconds=expires // 10) <= now:
        return LogonFailure.EXPIRED
    return None


def _groups(entry: Entry, domain: Domain, *, is_account: bool) -> frozenset[Sid]:
    """Of domains alone: whatever else an account's sidHistory may say, no domain gives what is local to a host."""
    groups = {sid_from_bytes(value)[0] for value in entry.values("tokenGroups")}
    groups = {sid for sid in groups if sid.startswith(_OF_DOMAINS)}
    if is_account:
        groups |= EVERY_ACCOUNT
    if Rid.DOMAIN_CONTROLLERS.in_domain(domain.sid) in groups:
        groups.add(ENTERPRISE_DOMAIN_CONTROLLERS)
    return frozenset(groups)


# -- finding ---------------------------------------------------------------------------------------------------------


def find(connection: LdapConnection, text: str, domain: Domain, base: str) -> str | None:
    r"""The distinguished name of whoever is meant by a SID, `DOMAIN\name`, `name@suffix` or `name`.

    As logons find accounts: a user principal name first by its attribute, then as `sAMAccountName@domain`
    ([MS-ADTS] 5.1.1.1.1); a computer also without its $.

    Raises:
        ValueError: it begins like a SID, and is none.
    """
    if text[:4].upper() == "S-1-":
        return f"<SID={parse_sid(text.upper())}>"
    authority, backslash, name = text.rpartition("\\")
    own = (domain.netbios_name.casefold(), domain.dns_name.casefold())
    if backslash:
        if authority.casefold() not in (*own, BUILTIN.casefold()):
            return None
        return _by_account_name(connection, name, base)
    if "@" in text:
        found = _search(connection, f"(userPrincipalName={escape(text)})", base)
        name, _, suffix = text.rpartition("@")
        if found is None and suffix.casefold() in own:
            return _by_account_name(connection, name, base)
        return found
    return _by_account_name(connection, text, base)


def is_of_another_domain(text: str, domain: Domain) -> bool:
    r"""Is it `OTHER\name`? A user principal name may have any suffix, and says nothing about that."""
    authority = text.rpartition("\\")[0].casefold()
    return bool(authority) and authority not in (
        domain.netbios_name.casefold(),
        domain.dns_name.casefold(),
        BUILTIN.casefold(),
    )


def _by_account_name(connection: LdapConnection, name: str, base: str) -> str | None:
    if not name:
        return None
    found = _search(connection, f"(sAMAccountName={escape(name)})", base)
    if found is None and not name.endswith("$"):
        machine = f"(sAMAccountType={int(AccountType.MACHINE)})"
        found = _search(connection, f"(&{machine}(sAMAccountName={escape(name)}$))", base)
    return found


def _search(connection: LdapConnection, condition: str, base: str) -> str | None:
    """The name of the only match; two of them are nobody, as for a domain controller."""
    found = [
        entry.dn
        for entry in connection.search(
            base, Scope.SUBTREE, f"(&(objectSid=*){condition})", ["sAMAccountName"], size_limit=2
        )
    ]
    return found[0] if len(found) == 1 else None


def sid_filter(sids: frozenset[Sid]) -> str:
    return "(|" + "".join(f"(objectSid={escape(sid_to_bytes(sid))})" for sid in sorted(sids)) + ")"
