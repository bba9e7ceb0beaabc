"""The directory's accounts and groups, and the entry under which clients find a CA.

Who may change accounts is the directory's own question, as for the pages. In an Active Directory domain these are the
installation's own few accounts; the domain's are the domain's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, TypeVar

from ninja import Query, Router
from pydantic import Field, SecretStr

from certwright.adcs.errors import BadRequestState, InvalidArgument
from certwright.adcs.properties import LATEST, CaProperty, CaType
from certwright.adcs.requester import Sid
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.authorities import CaName, administer, ca_of
from certwright.console.api.operations import operation
from certwright.console.api.people import MAX_PASSWORD, Enabled, Password
from certwright.console.api.problems import not_there
from certwright.console.api.shapes import Entered, Flag, Line, Name, PageSize, Told, line
from certwright.console.rooms import rooms
from certwright.directory.account_administration import AccountInfo, GroupInfo
from certwright.directory.administration import DirectoryAdministration
from certwright.directory.base import EnrollmentService, PrincipalKind
from certwright.pki.certificate import CertificateView

router = Router(tags=["Directory"])

MAX_HOST_NAMES: Final = 50
_Named = TypeVar("_Named", AccountInfo, GroupInfo)

SidPath = Annotated[
    str, Field(pattern=r"^[Ss]-1(-[0-9]{1,15})+$", max_length=184, description="As in S-1-5-21-1-2-3-1104")
]
HostNames = Annotated[
    tuple[Name, ...],
    Field(max_length=MAX_HOST_NAMES, description="Of a computer: further DNS names and IP addresses"),
]
_NTLM_TEXT: Final = "Keeps an NT hash, sealed, for logons with NTLM"


class DirectoryAccountKind(StrEnum):
    USER = PrincipalKind.USER.value
    COMPUTER = PrincipalKind.COMPUTER.value


class DirectoryDomain(Told):
    dns_name: str
    netbios_name: str
    sid: str
    users: int
    computers: int
    disabled: int
    groups: int


class AccountFilters(Entered):
    kind: DirectoryAccountKind | None = None
    text: Annotated[Line, Field(description="Part of a name, mail address or group")] = ""
    after: Annotated[Line, Field(description="The member next of the page before")] = ""
    limit: PageSize = 100


class DirectoryAccount(Told):
    """A user or a computer. Accounts are disabled, never removed: a SID names one account for ever."""

    sid: str
    account: str  # DOMAIN\name
    kind: DirectoryAccountKind
    enabled: bool
    common_name: str
    upn: str
    mail: str
    dns_host_name: str
    additional_host_names: list[str]
    groups: list[str]  # that it is directly in
    ntlm: bool  # may log on with NTLM
    has_password: bool
    created: datetime


class DirectoryAccountPage(Told):
    rows: list[DirectoryAccount]
    next: str | None


class AccountEntered(Entered):
    name: Annotated[Name, Field(description="As in DOMAIN\\name; it cannot be changed later")]
    kind: DirectoryAccountKind = DirectoryAccountKind.USER
    password: Annotated[
        SecretStr, Field(max_length=MAX_PASSWORD, description="Without one it cannot log on; never told again")
    ] = SecretStr("")
    ntlm: Annotated[Flag, Field(description=_NTLM_TEXT)] = False
    common_name: Annotated[str, line(64)] = ""
    upn: Line = ""
    mail: Line = ""
    dns_host_name: Line = ""
    additional_host_names: HostNames = ()
    groups: Annotated[tuple[Name, ...], Field(max_length=100, description="Further groups, by name or SID")] = ()


class AccountChanges(Entered):
    """Names that stand in certificates. What is left out stays; an empty text clears."""

    common_name: Annotated[str, line(64)] | None = None
    upn: Line | None = None
    mail: Line | None = None
    dns_host_name: Line | None = None
    additional_host_names: HostNames | None = None


class AccountPassword(Entered):
    password: Password
    ntlm: Annotated[Flag | None, Field(description=f"{_NTLM_TEXT}; left out: as it is")] = None


class GroupFilters(Entered):
    text: Annotated[Line, Field(description="Part of its name, or of a member's")] = ""
    after: Annotated[Line, Field(description="The member next of the page before")] = ""
    limit: PageSize = 100


class DirectoryGroup(Told):
    sid: str
    account: str  # DOMAIN\name
    members: list[str]  # direct ones
    groups: list[str]  # that it is directly in


class DirectoryGroupPage(Told):
    rows: list[DirectoryGroup]
    next: str | None


class GroupEntered(Entered):
    name: Name
    members: Annotated[tuple[Name, ...], Field(max_length=500)] = ()


class DirectoryMember(Entered):
    member: Annotated[Name, Field(description="A name, DOMAIN\\name, a user principal name or a SID")]


class DirectoryEntryAttribute(Told):
    """One attribute of a CA's entry: as published, and as the CA's own word is."""

    attribute: str
    published: list[str]
    wanted: list[str]
    differs: bool


class DirectoryEntry(Told):
    exists: bool
    differs: bool
    attributes: list[DirectoryEntryAttribute]


# -- the domain ------------------------------------------------------------------------------------------------------


@operation(router, "GET", "/directory", DirectoryDomain)
def get_directory(request: ApiRequest) -> DirectoryDomain:
    """Show the domain, and how many accounts and groups it has."""
    domain = rooms().directory.domain
    found = rooms().directory_administration.list_accounts()
    users = sum(each.principal.kind is PrincipalKind.USER for each in found)
    return DirectoryDomain(
        dns_name=domain.dns_name,
        netbios_name=domain.netbios_name,
        sid=domain.sid,
        users=users,
        computers=len(found) - users,
        disabled=sum(not each.principal.enabled for each in found),
        groups=len(rooms().directory_administration.list_groups()),
    )


def _page(
    every: Iterable[_Named], after: str, limit: int, matches: Callable[[_Named], bool]
) -> tuple[list[_Named], str | None]:
    """A page by name, and the name after which the next one begins."""

    def key(each: _Named) -> tuple[str, str]:
        return each.principal.account.casefold(), each.principal.account

    start = (after.casefold(), after)
    rows = sorted((each for each in every if (not after or key(each) > start) and matches(each)), key=key)
    page = rows[:limit]
    return page, page[-1].principal.account if len(rows) > limit else None


def _entered(request: ApiRequest) -> tuple[DirectoryAdministration, str]:
    """The directory's administration, and by what name it is changed.

    Raises:
        AccessDenied: the caller may not change accounts and groups.
    """
    administration = rooms().directory_administration
    return administration, administration.require_account_administrator(request.viewer.requester)


# -- accounts --------------------------------------------------------------------------------------------------------


@operation(router, "GET", "/directory/accounts", DirectoryAccountPage)
def list_directory_accounts(request: ApiRequest, asked: Query[AccountFilters]) -> DirectoryAccountPage:
    """List users and computers, by name."""
    needle = asked.text.casefold()

    def matches(info: AccountInfo) -> bool:
        principal = info.principal
        texts = (principal.account, principal.common_name, principal.mail, principal.upn, *info.groups)
        return (asked.kind is None or principal.kind.value == asked.kind.value) and (
            not needle or any(needle in text.casefold() for text in texts)
        )

    page, after = _page(rooms().directory_administration.list_accounts(), asked.after, asked.limit, matches)
    return DirectoryAccountPage(rows=[_account(each) for each in page], next=after)


@operation(router, "POST", "/directory/accounts", DirectoryAccount, status=201)
def add_directory_account(request: ApiRequest, entered: AccountEntered) -> DirectoryAccount:
    """Add a user or a computer."""
    administration, actor = _entered(request)
    made = administration.add_account(
        entered.name,
        PrincipalKind(entered.kind.value),
        entered.password.get_secret_value() or None,
        groups=entered.groups,
        ntlm=entered.ntlm,
        mail=entered.mail,
        upn=entered.upn,
        dns_host_name=entered.dns_host_name,
        additional_host_names=entered.additional_host_names,
        common_name=entered.common_name,
        actor=actor,
    )
    return _account(_found_account(made.sid))


@operation(router, "GET", "/directory/accounts/{sid}", DirectoryAccount)
def get_directory_account(request: ApiRequest, sid: SidPath) -> DirectoryAccount:
    """Show a user or a computer."""
    return _account(_found_account(sid))


@operation(router, "PATCH", "/directory/accounts/{sid}", DirectoryAccount)
def change_directory_account(request: ApiRequest, sid: SidPath, entered: AccountChanges) -> DirectoryAccount:
    """Change names that stand in certificates."""
    administration, actor = _entered(request)
    found = _found_account(sid).principal.sid
    administration.set_attributes(found, **entered.model_dump(exclude_none=True), actor=actor)
    return _account(_found_account(found))


@operation(router, "PUT", "/directory/accounts/{sid}/password", DirectoryAccount)
def set_directory_password(request: ApiRequest, sid: SidPath, entered: AccountPassword) -> DirectoryAccount:
    """Give an account a password, and with it say whether it may log on with NTLM."""
    administration, actor = _entered(request)
    info = _found_account(sid)
    if info.ntlm and entered.ntlm is False:
        administration.forget_nt_hash(info.principal.sid, actor=actor)
    administration.set_password(
        info.principal.sid, entered.password.get_secret_value(), ntlm=entered.ntlm, actor=actor
    )
    return _account(_found_account(info.principal.sid))


@operation(router, "DELETE", "/directory/accounts/{sid}/nt-hash", DirectoryAccount)
def forget_nt_hash(request: ApiRequest, sid: SidPath) -> DirectoryAccount:
    """Take the mark for NTLM from an account and destroy its NT hash; with a password it can be marked again."""
    administration, actor = _entered(request)
    found = _found_account(sid).principal.sid
    administration.forget_nt_hash(found, actor=actor)
    return _account(_found_account(found))


@operation(router, "PUT", "/directory/accounts/{sid}/enabled", DirectoryAccount)
def enable_directory_account(request: ApiRequest, sid: SidPath, entered: Enabled) -> DirectoryAccount:
    """Enable an account, or disable it: no logons and no certificates from then on."""
    administration, actor = _entered(request)
    found = _found_account(sid).principal.sid
    administration.set_enabled(found, entered.enabled, actor=actor)
    return _account(_found_account(found))


def _found_account(sid: str) -> AccountInfo:
    wanted = Sid(sid.upper())
    for each in rooms().directory_administration.list_accounts():
        if each.principal.sid == wanted:
            return each
    raise not_there(f"account with the SID {wanted}")


def _account(info: AccountInfo) -> DirectoryAccount:
    principal = info.principal
    return DirectoryAccount(
        sid=principal.sid,
        account=principal.account,
        kind=DirectoryAccountKind(principal.kind.value),
        enabled=principal.enabled,
        common_name=principal.common_name,
        upn=principal.upn,
        mail=principal.mail,
        dns_host_name=principal.dns_host_name,
        additional_host_names=list(principal.additional_host_names),
        groups=list(info.groups),
        ntlm=info.ntlm,
        has_password=info.has_password,
        created=datetime.fromtimestamp(info.created, UTC),
    )


# -- groups ----------------------------------------------------------------------------------------------------------


@operation(router, "GET", "/directory/groups", DirectoryGroupPage)
def list_directory_groups(request: ApiRequest, asked: Query[GroupFilters]) -> DirectoryGroupPage:
    """List groups that have a list of members, by name."""
    needle = asked.text.casefold()

    def matches(info: GroupInfo) -> bool:
        return not needle or any(needle in text.casefold() for text in (info.principal.account, *info.members))

    page, after = _page(rooms().directory_administration.list_groups(), asked.after, asked.limit, matches)
    return DirectoryGroupPage(rows=[_group(each) for each in page], next=after)


@operation(router, "POST", "/directory/groups", DirectoryGroup, status=201)
def add_directory_group(request: ApiRequest, entered: GroupEntered) -> DirectoryGroup:
    """Add a group. Members here need the scope access, as adding them to a group does."""
    administration, actor = _entered(request)
    if entered.members and "access" not in (request.viewer.scopes or ()):
        raise InvalidArgument("Members are added with the operation addDirectoryMember and its scope, access.")
    return _group(_found_group(administration.add_group(entered.name, members=entered.members, actor=actor).sid))


@operation(router, "GET", "/directory/groups/{sid}", DirectoryGroup)
def get_directory_group(request: ApiRequest, sid: SidPath) -> DirectoryGroup:
    """Show a group with its direct members."""
    return _group(_found_group(sid))


@operation(router, "POST", "/directory/groups/{sid}/members", DirectoryGroup)
def add_directory_member(request: ApiRequest, sid: SidPath, entered: DirectoryMember) -> DirectoryGroup:
    """Put an account or a group into a group: it may then do what the group may."""
    administration, actor = _entered(request)
    found = _found_group(sid).principal.sid
    administration.add_to_group(found, entered.member.strip(), actor=actor)
    return _group(_found_group(found))


@operation(router, "DELETE", "/directory/groups/{sid}/members/{member}", DirectoryGroup)
def remove_directory_member(request: ApiRequest, sid: SidPath, member: SidPath) -> DirectoryGroup:
    """Take an account or a group out of a group, by its SID."""
    administration, actor = _entered(request)
    found = _found_group(sid).principal.sid
    administration.remove_from_group(found, member.upper(), actor=actor)
    return _group(_found_group(found))


def _found_group(sid: str) -> GroupInfo:
    wanted = Sid(sid.upper())
    for each in rooms().directory_administration.list_groups():
        if each.principal.sid == wanted:
            return each
    raise not_there(f"group with the SID {wanted}")


def _group(info: GroupInfo) -> DirectoryGroup:
    principal = info.principal
    return DirectoryGroup(
        sid=principal.sid, account=principal.account, members=list(info.members), groups=list(info.groups)
    )


# -- the entry of a CA -----------------------------------------------------------------------------------------------


@operation(router, "GET", "/cas/{ca}/directory-entry", DirectoryEntry)
def get_directory_entry(request: ApiRequest, ca: CaName) -> DirectoryEntry:
    """Show what the directory says of a CA, against what it should say; a standalone CA has no entry."""
    return _entry(request, ca)


@operation(router, "POST", "/cas/{ca}/directory-entry", DirectoryEntry)
def publish_directory_entry(request: ApiRequest, ca: CaName) -> DirectoryEntry:
    """Write the directory's entry of a CA as it should be."""
    standing = ca_of(request.viewer, ca)
    administration = rooms().directory_administration
    actor = administration.require_template_administrator(request.viewer.requester)
    if not _is_enterprise(request, ca):
        raise BadRequestState("A standalone CA has no entry in the directory.")
    host, certificate = _wanted(request, ca)
    if not host:
        raise InvalidArgument("The CA has no DNS name: set dns-name in its configuration first.")
    administration.set_enrollment_service(standing.name, host, certificate, actor=actor)
    known = administration.templates()
    published = rooms().directory.enrollment_service(standing.name)
    for cn in published.templates if published else ():
        if cn not in known:
            administration.unpublish(standing.name, cn, actor=actor)
    return _entry(request, ca)


def _wanted(request: ApiRequest, ca: str) -> tuple[str, bytes]:
    """The CA's own word: its host name and its newest certificate."""
    standing = ca_of(request.viewer, ca)
    host = administer(request.viewer, ca).configuration()["dns-name"]
    door = rooms().registry.connect(standing.config, request.viewer.requester)
    certificate = door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, LATEST)
    assert isinstance(certificate, bytes)
    return host, certificate


def _is_enterprise(request: ApiRequest, ca: str) -> bool:
    door = rooms().registry.connect(ca_of(request.viewer, ca).config, request.viewer.requester)
    kind = door.ca_property(CaProperty.CA_TYPE)
    assert isinstance(kind, int)
    return CaType(kind).is_enterprise


def _entry(request: ApiRequest, ca: str) -> DirectoryEntry:
    standing = ca_of(request.viewer, ca)
    if not _is_enterprise(request, ca):
        return DirectoryEntry(exists=False, differs=False, attributes=[])
    host, certificate = _wanted(request, ca)
    published: EnrollmentService | None = rooms().directory.enrollment_service(standing.name)
    templates = list(published.templates) if published else []
    known = rooms().directory.templates()
    rows: Sequence[tuple[str, list[str], list[str]]] = (
        ("dNSHostName", [published.dns_host_name] if published else [], [host]),
        ("cACertificate", _fingerprint(published.certificate if published else b""), _fingerprint(certificate)),
        ("certificateTemplates", templates, [cn for cn in templates if cn in known]),
    )
    attributes = [
        DirectoryEntryAttribute(attribute=name, published=now, wanted=wanted, differs=now != wanted)
        for name, now, wanted in rows
    ]
    differs = any(each.differs for each in attributes)
    return DirectoryEntry(exists=published is not None, differs=differs, attributes=attributes)


def _fingerprint(der: bytes) -> list[str]:
    """A certificate by its SHA-256."""
    return [f"SHA-256 {CertificateView.parse(der).sha256}"] if der else []
