"""Accounts and groups of the embedded directory: the half of its administration that makes people and computers.

Accounts are disabled, not removed, so that a SID in a certificate or an access list names one account for ever.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.adcs.requester import (
    AUTHENTICATED_USERS,
    BUILTIN_ADMINISTRATORS,
    EVERYONE,
    Sid,
)
from certwright.directory import account_names as names
from certwright.directory import passwords, store
from certwright.directory.account_names import key
from certwright.directory.base import Principal, PrincipalKind
from certwright.directory.changes import Change, DirectoryChanges, before_and_after
from certwright.directory.default_templates import new_forest_arcs
from certwright.directory.local import nt_hash_context
from certwright.directory.nt_hash import nt_hash
from certwright.directory.snapshot import Snapshot
from certwright.directory.store import AccountRow, DomainRow, GroupRow
from certwright.directory.well_known import DOMAIN_GROUPS, Rid

MAX_MEMBERS_SHOWN = 64
_PRIMARY_GROUPS = {PrincipalKind.USER: Rid.DOMAIN_USERS, PrincipalKind.COMPUTER: Rid.DOMAIN_COMPUTERS}
_MEMBERS_WITHOUT_A_ROW = frozenset({AUTHENTICATED_USERS, EVERYONE})


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """An account as an administrator sees it."""

    principal: Principal
    groups: tuple[str, ...]  # the ones it is directly in, by name
    ntlm: bool  # marked for NTLM
    has_password: bool
    created: int  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group as an administrator sees it."""

    principal: Principal
    members: tuple[str, ...]  # direct ones, by name
    groups: tuple[str, ...]  # the ones it is directly in, by name


@dataclass(frozen=True, slots=True)
class _NewPassword:
    encoded: str = field(repr=False)
    nt_hash: bytes = field(repr=False)


class AccountAdministration(DirectoryChanges):
    """Users, computers, groups and their passwords."""

    minimum_password_length: int = passwords.MINIMUM_LENGTH

    # -- the domain ----------------------------------------------------------------------------------------------

    def create_domain(
        self,
        dns_name: str,
        netbios_name: str = "",
        *,
        administrator_password: str | None = None,
        administrator_ntlm: bool = False,
        actor: str,
    ) -> Principal:
        """Make the domain, its groups and the account Administrator, which is returned.

        Args:
            netbios_name: the short name; the first label of the DNS name if empty.
            administrator_password: `passwords.generate_password()` makes one; without it, Administrator cannot log on
                until it is given a password.

        Raises:
            InvalidArgument: there is a domain already, or a name or the password breaks a rule.
        """
        dns = names.domain_dns_name(dns_name)
        netbios = names.netbios_name(netbios_name or dns.split(".")[0][: names.MAX_COMPUTER_NAME])
        secret = self._new_password(administrator_password)
        sid = Sid("S-1-5-21-" + "-".join(str(secrets.randbelow(0xFFFFFFFF - 1000) + 1000) for _ in range(3)))
        with self._change(actor) as change:
            if change.before.has_domain:
                raise InvalidArgument(f"The directory has a domain already: {change.domain.dns_name}.")
            store.insert_domain(
                change.connection, DomainRow(dns, netbios, sid, new_forest_arcs(), int(Rid.FIRST_FREE))
            )
            groups = [GroupRow(BUILTIN_ADMINISTRATORS, "Administrators", _new_guid(), change.when)]
            groups += [
                GroupRow(rid.in_domain(sid), name, _new_guid(), change.when) for rid, name in DOMAIN_GROUPS.items()
            ]
            store.insert_group(change.connection, *groups)
            administrator = self._with_password(
                AccountRow(
                    sid=Rid.ADMINISTRATOR.in_domain(sid),
                    kind=PrincipalKind.USER,
                    name="Administrator",
                    common_name="Administrator",
                    guid=_new_guid(),
                    enabled=True,
                    upn=f"Administrator@{dns}",
                    mail="",
                    dns_host_name="",
                    additional_host_names=(),
                    password="",
                    ntlm=administrator_ntlm,
                    nt_hash=None,
                    created=change.when,
                ),
                secret,
            )
            store.insert_account(change.connection, administrator)
            domain_admins, enterprise_admins, domain_users = (
                rid.in_domain(sid) for rid in (Rid.DOMAIN_ADMINS, Rid.ENTERPRISE_ADMINS, Rid.DOMAIN_USERS)
            )
            store.insert_memberships(
                change.connection,
                [
                    *((group, administrator.sid) for group in (domain_users, domain_admins, enterprise_admins)),
                    *(
                        (BUILTIN_ADMINISTRATORS, member)
                        for member in (administrator.sid, domain_admins, enterprise_admins)
                    ),
                ],
            )
            change.record(
                AuditEvent.ACCOUNT_CHANGED,
                {
                    "change": "domain created",
                    "domain": dns,
                    "netbios_name": netbios,
                    "sid": sid,
                    "account": f"{netbios}\\Administrator",
                },
            )
        return self._principal(administrator.sid)

    # -- accounts ------------------------------------------------------------------------------------------------

    def add_account(
        self,
        name: str,
        kind: PrincipalKind = PrincipalKind.USER,
        password: str | None = None,
        *,
        groups: Sequence[str] = (),
        ntlm: bool = False,
        mail: str = "",
        upn: str = "",
        dns_host_name: str = "",
        additional_host_names: Iterable[str] = (),
        common_name: str = "",
        actor: str,
    ) -> Principal:
        """Add a user or a computer, which is returned.

        A user is in Domain Users and has `name@domain` as its user principal name unless told otherwise; a computer
        is in Domain Computers, its name ends with a $, and its DNS host name is `name.domain` unless told otherwise.
        An account without a password cannot log on until it is given one.

        Args:
            groups: further groups, by name or SID.
            ntlm: keep an NT hash, so that the account can log on with NTLM.
            additional_host_names: DNS names and IP addresses that stand in a computer's certificates beside its own.

        Raises:
            InvalidArgument: a name is taken or breaks a rule, a group does not exist, the password is too short.
        """
        if kind is PrincipalKind.GROUP:
            raise InvalidArgument("A group is added with add_group.")
        computer = kind is PrincipalKind.COMPUTER
        sam = names.computer_name(name) if computer else names.user_name(name)
        shown = names.common_name(common_name or sam.removesuffix("$"))
        secret = self._new_password(password)
        with self._change(actor) as change:
            domain = change.domain
            host = names.host_name(dns_host_name or f"{sam[:-1].lower()}.{domain.dns_name}") if computer else ""
            if not computer and (dns_host_name or tuple(additional_host_names)):
                raise InvalidArgument("Only computers have host names.")
            # an account name need not fit into a user principal name; then the account simply has none
            own_upn = names.user_principal_name(upn) if upn else self._default_upn(sam, computer, domain.dns_name)
            sid = Sid(f"{domain.sid}-{store.take_rid(change.connection)}")
            account = AccountRow(
                sid=sid,
                kind=kind,
                name=sam,
                common_name=shown,
                guid=_new_guid(),
                enabled=True,
                upn=own_upn,
                mail=names.mail_address(mail) if mail else "",
                dns_host_name=host,
                additional_host_names=names.additional_host_names(additional_host_names) if computer else (),
                password="",
                ntlm=ntlm,
                nt_hash=None,
                created=change.when,
            )
            _refuse_taken_name(change.before, sam)
            _refuse_duplicates(change.before, account)
            account = self._with_password(account, secret)
            chosen = [_PRIMARY_GROUPS[kind].in_domain(domain.sid)]
            for group in groups:
                found = _group(change, group)
                if found.sid not in chosen:
                    chosen.append(found.sid)
            store.insert_account(change.connection, account)
            store.insert_memberships(change.connection, [(group, sid) for group in chosen])
            change.record(
                AuditEvent.ACCOUNT_CHANGED,
                {
                    "change": "account added",
                    "account": f"{domain.netbios_name}\\{sam}",
                    "sid": sid,
                    "kind": kind.value,
                    "groups": ", ".join(change.before.sid_names(chosen).values()),
                    "ntlm": _word(ntlm),
                    "password": _word(bool(account.password)),
                }
                | {name: value for name, value in _facts(account).items() if value},
            )
        return self._principal(sid)

    def set_password(self, name: str, password: str, *, ntlm: bool | None = None, actor: str) -> None:
        """Give an account a password.

        Args:
            ntlm: mark the account for NTLM, or not any more; None leaves the mark as it is.

        Raises:
            InvalidArgument: no such account, or the password breaks a rule.
        """
        secret = self._new_password(password)
        with self._change(actor) as change:
            row = _account(change, name)
            marked = row.ntlm if ntlm is None else ntlm
            changed = self._with_password(replace(row, ntlm=marked), secret)
            store.update_account(change.connection, changed)
            facts = {"change": "password set", **_named(change, row)}
            change.record(
                AuditEvent.ACCOUNT_CHANGED,
                facts | before_and_after({"ntlm": _word(row.ntlm)}, {"ntlm": _word(marked)}),
            )

    def forget_nt_hash(self, name: str, *, actor: str) -> None:
        """Take the mark for NTLM away and destroy the hash. Marking it again takes `set_password`.

        Raises:
            InvalidArgument: no such account.
        """
        with self._change(actor) as change:
            row = _account(change, name)
            store.update_account(change.connection, replace(row, ntlm=False, nt_hash=None))
            change.record(
                AuditEvent.ACCOUNT_CHANGED,
                {"change": "NTLM switched off", **_named(change, row)}
                | before_and_after({"ntlm": _word(row.ntlm)}, {"ntlm": "off"}),
            )

    def set_enabled(self, name: str, enabled: bool, *, actor: str) -> None:
        """Enable or disable an account. A disabled one logs on nowhere and gets no certificate.

        Raises:
            InvalidArgument: no such account, or it is the last enabled member of Domain Admins.
        """
        with self._change(actor) as change:
            row = _account(change, name)
            store.update_account(change.connection, replace(row, enabled=enabled))
            if not enabled:
                _keep_an_administrator(change, change.before, without=row.sid)
            change.record(
                AuditEvent.ACCOUNT_CHANGED,
                {"change": "account enabled" if enabled else "account disabled", **_named(change, row)}
                | before_and_after({"enabled": _word(row.enabled)}, {"enabled": _word(enabled)}),
            )

    def set_attributes(
        self,
        name: str,
        *,
        common_name: str | None = None,
        upn: str | None = None,
        mail: str | None = None,
        dns_host_name: str | None = None,
        additional_host_names: Iterable[str] | None = None,
        actor: str,
    ) -> None:
        """Change names that stand in certificates; None leaves one as it is, an empty text clears it.

        Raises:
            InvalidArgument: no such account, a name is taken or breaks a rule.
        """
        with self._change(actor) as change:
            row = changed = _account(change, name)
            if common_name is not None:
                changed = replace(changed, common_name=names.common_name(common_name))
            if upn is not None:
                changed = replace(changed, upn=names.user_principal_name(upn) if upn else "")
            if mail is not None:
                changed = replace(changed, mail=names.mail_address(mail) if mail else "")
            if dns_host_name is not None or additional_host_names is not None:
                if row.kind is not PrincipalKind.COMPUTER:
                    raise InvalidArgument(f"{row.name} is a user; only computers have host names.")
                if dns_host_name is not None:
                    changed = replace(changed, dns_host_name=names.host_name(dns_host_name) if dns_host_name else "")
                if additional_host_names is not None:
                    changed = replace(
                        changed, additional_host_names=names.additional_host_names(additional_host_names)
                    )
            _refuse_duplicates(change.before, changed)
            store.update_account(change.connection, changed)
            change.record(
                AuditEvent.ACCOUNT_CHANGED,
                {"change": "attributes changed", **_named(change, row)}
                | before_and_after(_facts(row), _facts(changed)),
            )

    def list_accounts(self) -> tuple[AccountInfo, ...]:
        """Every account, by name."""
        self.directory.refresh()
        snapshot = self.directory.snapshot()
        direct = _direct_groups(snapshot)
        return tuple(
            AccountInfo(
                snapshot.principals[row.sid],
                direct.get(row.sid, ()),
                row.ntlm,
                bool(row.password),
                row.created,
            )
            for row in snapshot.contents.accounts
        )

    # -- groups --------------------------------------------------------------------------------------------------

    def add_group(self, name: str, *, members: Sequence[str] = (), actor: str) -> Principal:
        """Add a group, which is returned.

        Raises:
            InvalidArgument: the name is taken or breaks a rule, or a member does not exist.
        """
        checked = names.group_name(name)
        with self._change(actor) as change:
            domain = change.domain
            _refuse_taken_name(change.before, checked)
            chosen = dict.fromkeys(_member(change, member).sid for member in members)
            group = GroupRow(
                Sid(f"{domain.sid}-{store.take_rid(change.connection)}"), checked, _new_guid(), change.when
            )
            store.insert_group(change.connection, group)
            store.insert_memberships(change.connection, [(group.sid, member) for member in chosen])
            change.record(
                AuditEvent.ACCOUNT_CHANGED,
                {
                    "change": "group added",
                    "group": f"{domain.netbios_name}\\{checked}",
                    "sid": group.sid,
                    "members": ", ".join(change.before.sid_names(chosen).values()),
                },
            )
        return self._principal(group.sid)

    def add_to_group(self, group: str, member: str, *, actor: str) -> None:
        """Put an account or a group into a group; nothing happens if it is there already.

        Raises:
            InvalidArgument: one of them does not exist, or the group would contain itself.
        """
        with self._change(actor) as change:
            container, newcomer = _group(change, group), _member(change, member)
            if newcomer.sid in change.before.members.get(container.sid, ()):
                return
            if newcomer.sid == container.sid or newcomer.sid in container.groups:
                raise InvalidArgument(
                    f"{newcomer.account} cannot become a member of {container.account}: it would contain itself."
                )
            store.insert_memberships(change.connection, [(container.sid, newcomer.sid)])
            change.record(AuditEvent.ACCOUNT_CHANGED, _membership("member added", container, newcomer))

    def remove_from_group(self, group: str, member: str, *, actor: str) -> None:
        """Take an account or a group out of a group.

        Raises:
            InvalidArgument: it is not directly in the group, the group is its primary group, or nobody enabled would
                be left in Domain Admins.
        """
        with self._change(actor) as change:
            container, leaving = _group(change, group), change.find(member)
            if leaving.sid not in change.before.members.get(container.sid, ()):
                raise InvalidArgument(f"{leaving.account} is not directly a member of {container.account}.")
            primary = _PRIMARY_GROUPS.get(leaving.kind)
            if primary is not None and container.sid == primary.in_domain(change.domain.sid):
                raise InvalidArgument(
                    f"{container.account} is the primary group of {leaving.account}; it stays there."
                )
            store.delete_membership(change.connection, container.sid, leaving.sid)
            if Rid.DOMAIN_ADMINS.in_domain(change.domain.sid) in container.sids:
                _keep_an_administrator(change, Snapshot(store.read(change.connection), change.before))
            change.record(AuditEvent.ACCOUNT_CHANGED, _membership("member removed", container, leaving))

    def list_groups(self) -> tuple[GroupInfo, ...]:
        """Every group with a list of members, by name."""
        self.directory.refresh()
        snapshot = self.directory.snapshot()
        direct = _direct_groups(snapshot)
        return tuple(
            GroupInfo(
                snapshot.principals[row.sid],
                tuple(snapshot.sid_names(snapshot.members.get(row.sid, ())).values()),
                direct.get(row.sid, ()),
            )
            for row in snapshot.contents.groups
        )

    # -- inside --------------------------------------------------------------------------------------------------

    def _new_password(self, password: str | None) -> _NewPassword | None:
        """Check and hash a password: before the transaction, which would hold everybody up that long."""
        if password is None:
            return None
        passwords.check_new_password(password, self.minimum_password_length)
        canonical = passwords.canonical(password)
        return _NewPassword(passwords.hash_password(canonical), nt_hash(canonical))

    def _with_password(self, row: AccountRow, new: _NewPassword | None) -> AccountRow:
        """The row with this password; an NT hash is kept if, and only if, the account is marked for NTLM."""
        if new is None:
            return row
        sealed = self._sealer.seal(new.nt_hash, nt_hash_context(row.sid)) if row.ntlm else None
        return replace(row, password=new.encoded, nt_hash=sealed)

    def _default_upn(self, sam: str, computer: bool, dns_name: str) -> str:
        if computer or any(char.isspace() for char in sam):
            return ""
        return names.user_principal_name(f"{sam}@{dns_name}")

    def _principal(self, sid: Sid) -> Principal:
        return self.directory.snapshot().principals[sid]


def _new_guid() -> bytes:
    return uuid.uuid4().bytes_le


def _word(value: bool) -> str:
    return "on" if value else "off"


def _account(change: Change, name: str) -> AccountRow:
    found = change.find(name)
    row = change.before.accounts.get(found.sid)
    if row is None:
        raise InvalidArgument(f"{found.account} is a group; name a user or a computer.")
    return row


def _group(change: Change, name: str) -> Principal:
    """A group with a list of members."""
    found = change.find(name)
    if found.sid in change.before.accounts:
        raise InvalidArgument(f"{found.account} is no group.")
    if found.sid not in change.before.groups:
        raise InvalidArgument(f"Who is in {found.account} follows from the accounts; it has no list of members.")
    return found


def _member(change: Change, name: str) -> Principal:
    found = change.find(name)
    if (
        found.sid not in change.before.accounts
        and found.sid not in change.before.groups
        and found.sid not in _MEMBERS_WITHOUT_A_ROW
    ):
        raise InvalidArgument(f"{found.account} cannot be a member of a group.")
    return found


def _refuse_taken_name(snapshot: Snapshot, name: str) -> None:
    """One name space for users, computers and groups, the built-in ones included."""
    wanted = key(name)
    taken = [row.name for row in snapshot.contents.accounts]
    taken += [row.name for row in snapshot.contents.groups]
    if any(key(other) == wanted for other in taken):
        raise InvalidArgument(f"The name {name!r} is taken; accounts and groups share one name space.")
    found = snapshot.find_exactly(name)
    if found is not None:
        raise InvalidArgument(f"{found.account} is a name every domain has; choose another.")


def _refuse_duplicates(snapshot: Snapshot, account: AccountRow) -> None:
    """No two accounts may share a name that tells them apart in a certificate."""
    others = [row for row in snapshot.contents.accounts if row.sid != account.sid]
    if account.upn:
        holder = snapshot.find_exactly(account.upn)
        if holder is not None and holder.sid != account.sid:
            raise InvalidArgument(f"The user principal name {account.upn} belongs to {holder.account}.")
    common_name, host = key(account.common_name), account.dns_host_name
    implied = key(f"{account.name}@{snapshot.domain.dns_name}")
    for row in others:
        if row.kind is account.kind and key(row.common_name) == common_name:
            raise InvalidArgument(f"The common name {account.common_name!r} belongs to {row.name}; choose another.")
        if host and row.dns_host_name == host:
            raise InvalidArgument(f"The DNS host name {host} belongs to {row.name}.")
        if row.upn and key(row.upn) == implied:
            raise InvalidArgument(
                f"{row.name} has the user principal name {row.upn}, which is that of an account {account.name}."
            )


def _keep_an_administrator(change: Change, after: Snapshot, without: Sid | None = None) -> None:
    """Refuse to leave Domain Admins without an enabled user: nobody could undo that."""
    admins = Rid.DOMAIN_ADMINS.in_domain(change.domain.sid)
    for sid in after.transitive_members(admins):
        row = after.accounts[sid]
        if row.enabled and row.kind is PrincipalKind.USER and sid != without:
            return
    raise InvalidArgument(
        "That would leave no enabled user in Domain Admins; add or enable another administrator first."
    )


def _direct_groups(snapshot: Snapshot) -> dict[Sid, tuple[str, ...]]:
    direct: dict[Sid, tuple[str, ...]] = {}
    for group, members in snapshot.members.items():
        for member in members:
            direct[member] = (*direct.get(member, ()), snapshot.principals[group].account)
    return direct


def _named(change: Change, row: AccountRow) -> dict[str, str | int]:
    return {"account": f"{change.domain.netbios_name}\\{row.name}", "sid": row.sid}


def _facts(row: AccountRow) -> dict[str, str]:
    """What certificates say of an account."""
    return {
        "common_name": row.common_name,
        "upn": row.upn,
        "mail": row.mail,
        "dns_host_name": row.dns_host_name,
        "additional_host_names": json.dumps(row.additional_host_names) if row.additional_host_names else "",
    }


def _membership(what: str, group: Principal, member: Principal) -> dict[str, str | int]:
    return {
        "change": what,
        "group": group.account,
        "group_sid": group.sid,
        "member": member.account,
        "member_sid": member.sid,
    }
