"""Who a permission lets in: administrators, everybody, or somebody in between.

Everybody outside the administrators counts as an attacker: an account that was meant may be taken over. With
`Membership`, it is asked who really is in a group: a group of administrators alone lets nobody else in, and a group
that holds Domain Users lets everybody in, through any number of groups between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Final, Protocol

from certwright.adcs.requester import (
    AUTHENTICATED_USERS,
    BUILTIN_ADMINISTRATORS,
    ENTERPRISE_DOMAIN_CONTROLLERS,
    EVERYONE,
    LOCAL_SYSTEM,
    Sid,
)
from certwright.directory.well_known import ANONYMOUS, BUILTIN_GUESTS, BUILTIN_USERS, privileged_sids

CREATOR_OWNER: Final = Sid("S-1-3-0")
OWNER_RIGHTS: Final = Sid("S-1-3-4")
PRINCIPAL_SELF: Final = Sid("S-1-5-10")

# RIDs of groups that hold an Active Directory domain anyway. [MS-ADTS] 6.1.1.6
_ADMINISTRATORS: Final = (498, 500, 512, 516, 518, 519, 521)
CERT_PUBLISHERS: Final = 517

_OPERATORS: Final = tuple(Sid(f"S-1-5-32-{rid}") for rid in (548, 549, 550, 551))
"""Account, Server, Print and Backup Operators."""
_KEY_ADMINS: Final = (526, 527)

_DOMAIN_USERS, _DOMAIN_GUESTS, _DOMAIN_COMPUTERS = 513, 514, 515
_EVERYBODY: Final[Mapping[Sid, str]] = {
    EVERYONE: "Everyone",
    ANONYMOUS: r"NT AUTHORITY\ANONYMOUS LOGON",
    Sid("S-1-5-2"): r"NT AUTHORITY\NETWORK",
    Sid("S-1-5-4"): r"NT AUTHORITY\INTERACTIVE",
    AUTHENTICATED_USERS: r"NT AUTHORITY\Authenticated Users",
    Sid("S-1-5-15"): r"NT AUTHORITY\This Organization",
    BUILTIN_USERS: r"BUILTIN\Users",
    BUILTIN_GUESTS: r"BUILTIN\Guests",
    Sid("S-1-5-32-554"): r"BUILTIN\Pre-Windows 2000 Compatible Access",
}


class Membership(Protocol):
    """Who is in which group, through any number of groups."""

    def members(self, group: Sid) -> frozenset[Sid] | None:
        """The accounts in a group; None when `group` is none, or nobody can say."""

    def groups_of(self, sid: Sid) -> frozenset[Sid]:
        """The groups that an account or group is in; empty when nobody can say."""


class _Unknown:
    def members(self, group: Sid) -> frozenset[Sid] | None:
        del group
        return None

    def groups_of(self, sid: Sid) -> frozenset[Sid]:
        del sid
        return frozenset()


UNKNOWN: Final[Membership] = _Unknown()
"""Nobody looks into groups: the permission counts, not who holds it today. The gate judges so."""


@dataclass(frozen=True)
class Audience:
    """Whom permissions may let in without harm, who is everybody, and how SIDs are called."""

    privileged: frozenset[Sid]
    everybody: frozenset[Sid]
    operators: frozenset[Sid] = frozenset()  # whom a new domain gives rights: nobody until somebody is added
    names: Mapping[Sid, str] = field(default_factory=lambda: MappingProxyType({}))
    membership: Membership = UNKNOWN

    @classmethod
    def embedded(
        cls,
        domain_sid: Sid,
        names: Mapping[Sid, str] = MappingProxyType({}),
        membership: Membership = UNKNOWN,
        low_privileged: Iterable[Sid] = (),
    ) -> Audience:
        """For the embedded directory, which has groups of its own for the roles of a CA."""
        everybody = frozenset((*_EVERYBODY, *_everybody_of(domain_sid), *low_privileged))
        privileged = frozenset(privileged_sids(domain_sid))
        return cls(privileged, everybody, names={**_EVERYBODY, **names}, membership=membership)

    @classmethod
    def active_directory(
        cls,
        domain_sids: Iterable[Sid],
        names: Mapping[Sid, str] = MappingProxyType({}),
        membership: Membership = UNKNOWN,
        low_privileged: Iterable[Sid] = (),
    ) -> Audience:
        """For a forest: its root domain and the domain that is looked at."""
        sids = tuple(domain_sids)
        privileged = {BUILTIN_ADMINISTRATORS, LOCAL_SYSTEM, ENTERPRISE_DOMAIN_CONTROLLERS}
        privileged |= {Sid(f"{domain}-{rid}") for domain in sids for rid in _ADMINISTRATORS}
        everybody = {*_EVERYBODY, *low_privileged, *(each for domain in sids for each in _everybody_of(domain))}
        operators = {*_OPERATORS, *(Sid(f"{domain}-{rid}") for domain in sids for rid in _KEY_ADMINS)}
        named = {**_EVERYBODY, **names}
        return cls(frozenset(privileged), frozenset(everybody), frozenset(operators), named, membership)

    def named(self, sid: Sid) -> str:
        return self.names.get(sid, sid)

    # -- who is let in -------------------------------------------------------------------------------------------

    def outsiders(self, sids: Iterable[Sid]) -> frozenset[Sid]:
        """Of these SIDs those by which somebody outside the administrators comes in.

        A group without members counts: whoever is added to it next comes in, and nothing asks again.
        """
        return frozenset(sid for sid in sids if self._lets_others_in(sid))

    def means_everybody(self, sid: Sid) -> bool:
        """Is it everybody's group, or does one of everybody's groups lie in it?"""
        return sid in self.everybody or sid in self._groups_of_everybody

    def is_administrator(self, sid: Sid) -> bool:
        """Is the account one of the administrators, as far as anybody can say?"""
        return sid in self._administrators or not self.privileged.isdisjoint(self.membership.groups_of(sid))

    def _lets_others_in(self, sid: Sid) -> bool:
        if sid in self.privileged or sid in (CREATOR_OWNER, OWNER_RIGHTS, PRINCIPAL_SELF):
            return False  # placeholders: they stand for somebody only on objects that inherit the entry
        if self.means_everybody(sid):
            return True
        members = self.membership.members(sid)
        if members is None:
            return sid not in self._administrators
        if sid in self.operators and not members:
            return False
        return not members or not members <= self._administrators

    @cached_property
    def _groups_of_everybody(self) -> frozenset[Sid]:
        return frozenset().union(*(self.membership.groups_of(sid) for sid in self.everybody))

    @cached_property
    def _administrators(self) -> frozenset[Sid]:
        """The accounts in the administrators' groups, and those groups."""
        inside = (self.membership.members(sid) or frozenset() for sid in self.privileged)
        return self.privileged.union(*inside)


def _everybody_of(domain_sid: Sid) -> Iterator[Sid]:
    for rid in (_DOMAIN_USERS, _DOMAIN_GUESTS, _DOMAIN_COMPUTERS):
        yield Sid(f"{domain_sid}-{rid}")
