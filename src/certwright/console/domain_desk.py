"""What the console sees of the Active Directory domain this installation belongs to, and what it may do there.

`server.domain_desk` implements it; pages and the REST API ask `rooms().domain`, which is None without a domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from certwright.adcs.requester import Requester
from certwright.auth.keytab import KeytabEntry
from certwright.directory.active_directory.doctor import Check
from certwright.directory.active_directory.group_policy import RegistryValue
from certwright.directory.active_directory.publication import Plan


@dataclass(frozen=True, slots=True)
class DomainWriter:
    """An account of the domain that writes instead of the service account, once. Kept nowhere."""

    account: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeytabState:
    """A keytab as it is read now: what it is for, its keys, and why it cannot be used."""

    path: str
    keys: tuple[KeytabEntry, ...]
    problem: str = ""
    of_listeners: bool = False  # tickets for our web pages are opened with it
    of_account: bool = False  # the directory is read with it


@dataclass(frozen=True, slots=True)
class Membership:
    """The domain as this installation is joined to it."""

    dns_domain: str
    realm: str
    netbios: str
    sid: str
    account: str  # the service account
    has_password: bool  # instead of a keytab
    controllers: tuple[str, ...]  # as configured; empty: found by DNS
    controller: str  # that answers now; empty: none does
    site: str
    ca_file: str
    keytabs: tuple[KeytabState, ...]


@dataclass(frozen=True, slots=True)
class Grant:
    """A right that the account which writes lacks, and the command by which an administrator gives it."""

    account: str
    right: str
    dn: str
    command: str


class DomainDesk(Protocol):
    """All of it may wait for a domain controller, and raises `CaUnreachable` when none answers."""

    def membership(self) -> Membership:
        """Never raises: what is configured is known without a controller."""

    def examine(self) -> Sequence[Check]:
        """What `certwright doctor domain` looks at."""

    def is_published(self, ca_name: str) -> bool:
        """Is the CA kept in the domain by the clock?"""

    def plan(self, ca_name: str, *, removal: bool = False, writer: DomainWriter | None = None) -> Plan:
        """What publishing the CA would change now, or taking it back; nothing is changed.

        Raises:
            InvalidArgument: it is no CA of an enterprise, or another one has its name.
        """

    def grants(self, plan: Plan) -> Sequence[Grant]:
        """The rights that the service account lacks for a plan."""

    def apply(
        self,
        ca_name: str,
        requester: Requester,
        *,
        removal: bool = False,
        writer: DomainWriter | None = None,
        agreed: str = "",
    ) -> Plan:
        """Publish a CA, or take it back; what was done.

        Args:
            agreed: the digest of the plan somebody agreed to; a plan that is another one by now is not carried out.

        Raises:
            AccessDenied: the requester may not, or who writes lacks a right.
            PlanChanged: it is another plan by now.
        """

    def policy(self, servers: Sequence[str]) -> Sequence[RegistryValue]:
        """What a Group Policy has to say so that members enroll by themselves."""
