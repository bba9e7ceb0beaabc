"""Kerberos, the server's side: one token, and the account and groups it proves. RFC 4121, RFC 4559, [MS-KILE] 3.4.5.

Who somebody is says the PAC of the ticket: SID and groups, signed by the domain controller ([MS-PAC]). Whether they
may still log on says the directory, since a ticket lives for hours. Where a ticket has no PAC at all, name and groups
come from the directory; a PAC that is damaged is never passed over.

A ticket cannot be guessed, so a right one is never slowed down; wrong tokens count against the address they are from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from certwright.adcs.errors import AdcsError, BadRequest
from certwright.adcs.requester import AuthMethod, Sid
from certwright.auth.accounts import why_unfit
from certwright.auth.connection import Connection
from certwright.auth.lookups import Lookups
from certwright.auth.mechanism import Continue, Established, Refused
from certwright.auth.pac import AccountFlags, LogonInfo
from certwright.auth.policy import AuthenticationPolicy, Binding, ChannelBinding
from certwright.auth.throttle import Throttle
from certwright.auth.tickets import Ticket, TicketReader, WrongBinding
from certwright.directory.base import Directory, Principal, PrincipalKind
from certwright.directory.well_known import EVERY_ACCOUNT

log = structlog.get_logger(__name__)

_MAX_NAME: Final = 256
_OF_DOMAINS: Final = ("S-1-5-21-", "S-1-18-")  # the latter: how the domain controller was shown who it is


@dataclass(frozen=True, slots=True)
class _Proved:
    """Whom a ticket proves. `groups` where the ticket says them; else the directory's hold."""

    principal: Principal
    groups: frozenset[Sid] | None


class KerberosAcceptor:
    """One Kerberos authentication on one connection: one token in, one out.

    Args:
        tickets: opens the token; runs in `lookups`, as does the directory.
        local_sid: of the directory beside the domain: its groups are in no ticket, whatever a domain controller says.
    """

    def __init__(
        self,
        tickets: TicketReader,
        directory: Directory,
        throttle: Throttle,
        lookups: Lookups,
        connection: Connection,
        policy: AuthenticationPolicy,
        local_sid: Sid | None = None,
    ) -> None:
        self._tickets = tickets
        self._directory = directory
        self._throttle = throttle
        self._lookups = lookups
        self._connection = connection
        self._policy = policy
        self._local = f"{local_sid}-" if local_sid is not None else ""
        self._is_over = False

    async def step(self, token: bytes) -> Continue | Established:
        """Raises:
        Refused: the token is no ticket for us, its binding is wrong or missing, or the account may not log on.
        AdcsError: the directory cannot say whose ticket it is.
        """
        if self._is_over:
            raise Refused("Kerberos takes one token, and this is another")
        self._is_over = True
        return await self._lookups.run(lambda: self._accept(token))

    def _accept(self, token: bytes) -> Established:
        ticket = self._open(token)
        binding = self._binding(ticket)
        proved = self._prove(ticket)
        return Established(
            proved.principal,
            AuthMethod.KERBEROS,
            binding,
            ticket.integrity,
            ticket.answer,
            groups=proved.groups,
            lifetime=ticket.lifetime,
        )

    def _open(self, token: bytes) -> Ticket:
        """Open the token; a wrong one counts against its address, and from one that sends many it is answered 429."""
        bindings = () if self._policy.channel_binding is ChannelBinding.OFF else self._connection.bindings
        try:
            return self._tickets.open(token, bindings)
        except WrongBinding:
            raise  # the ticket was right: nobody guesses
        except Refused as refused:
            wait = self._throttle.wait_from(self._connection.peer)
            if wait > 0.0:
                raise Refused(refused.reason, retry_after=wait) from refused
            self._throttle.failed_from(self._connection.peer)
            raise

    def _binding(self, ticket: Ticket) -> Binding:
        """Whether the client was bound to this connection. RFC 4121 4.1.1.2: no binding is no error by itself."""
        wanted = self._policy.channel_binding
        if wanted is ChannelBinding.OFF:
            return Binding.UNCHECKED
        if ticket.is_bound:
            return Binding.MATCHED
        if wanted is ChannelBinding.REQUIRE:
            raise Refused("the client sent no channel binding, and channel-binding=require", ticket.client)
        return Binding.ABSENT

    def _prove(self, ticket: Ticket) -> _Proved:
        if ticket.is_anonymous:
            raise Refused("anonymous tickets are never accepted", ticket.client)
        if not ticket.has_pac:
            return _Proved(self._named(ticket.client), None)
        if ticket.logon_info is None:
            raise Refused(
                "the ticket's PAC is not signed for this service, or has no logon information", ticket.client
            )
        try:
            info = LogonInfo.parse(ticket.logon_info)
        except BadRequest as error:
            raise Refused(error.message, ticket.client) from error
        return _Proved(self._described(info), self._groups_of(info))

    def _described(self, info: LogonInfo) -> Principal:
        """The account of a PAC as the directory has it today.

        While the directory does not answer, the PAC alone says who it is: the CA asks again before it issues.
        """
        if info.flags & (AccountFlags.DISABLED | AccountFlags.LOCKED):
            raise Refused("the account was disabled or locked when its ticket was made", info.account)
        try:
            if info.domain_sid != self._directory.domain.sid:
                raise Refused("the ticket is for an account of another domain than the directory's", info.account)
            principal = self._directory.principal(info.sid)
        except AdcsError as error:
            log.warning("logon_without_directory", account=info.account, reason=error.message)
            return self._from_ticket(info)
        if principal is None:
            raise Refused("the directory does not know the account of this ticket", info.account)
        reason = why_unfit(principal)
        if reason:
            raise Refused(reason, principal.account)
        return principal

    def _named(self, client: str) -> Principal:
        """The account of a ticket without a PAC: by the very name and realm in it, nothing else.

        Raises:
            AdcsError: the directory does not answer.
        """
        name, _, realm = client.rpartition("@")
        domain = self._directory.domain
        if realm.lower() != domain.dns_name.lower():
            raise Refused("the ticket is of another realm and says nothing about its account (no PAC)", client)
        if not 0 < len(name) <= _MAX_NAME or not name.isprintable() or set(name) & set("/\\@"):
            raise Refused("the ticket's name cannot be an account's, and it has no PAC", client)
        principal = self._directory.principal(f"{domain.netbios_name}\\{name}")
        if principal is None or principal.account.rpartition("\\")[2].lower() != name.lower():
            raise Refused("the directory does not know the account of this ticket", client)
        reason = why_unfit(principal)
        if reason:
            raise Refused(reason, principal.account)
        return principal

    def _from_ticket(self, info: LogonInfo) -> Principal:
        return Principal(
            sid=info.sid,
            kind=PrincipalKind.COMPUTER if info.is_computer else PrincipalKind.USER,
            account=info.account,
            common_name=info.account_name,
            distinguished_name="",
            guid=b"",
            enabled=True,
            groups=self._groups_of(info),
        )

    def _groups_of(self, info: LogonInfo) -> frozenset[Sid]:
        """Groups of domains, and what every account is in.

        What is local to a host no ticket gives: neither BUILTIN nor the groups of the directory beside the domain, as
        an account's sidHistory might name them. SID filtering of [MS-PAC] 4.1.2.2, as far as it is ours to do.
        """
        found = {sid for sid in info.groups if sid.startswith(_OF_DOMAINS)}
        if self._local:
            found = {sid for sid in found if not sid.startswith(self._local)}
        return EVERY_ACCOUNT | found
