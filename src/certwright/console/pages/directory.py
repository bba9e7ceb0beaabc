"""Directory: the embedded domain with its accounts and groups, and the entry under which clients find a CA.

The directory is one for all CAs of an installation; it stands in each CA's block because there it is looked for.
What somebody may change is the directory's own question (`require_account_administrator`). In an installation that
belongs to an Active Directory domain, the first page and the entry are those of `pages.domain`, and the accounts and
groups here are the installation's own few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AccessDenied, InvalidArgument
from certwright.adcs.properties import LATEST, CaProperty, CaType, PropertyValue
from certwright.console import access, answers, search
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.authority import administer, ca_of, may_configure
from certwright.console.conditions import EXACT, TIME, Field
from certwright.console.listing import Column, Filter, Listing, in_memory
from certwright.console.rooms import CaStanding, rooms
from certwright.directory.account_administration import AccountInfo, GroupInfo
from certwright.directory.base import PrincipalKind
from certwright.pki.certificate import CertificateView

TABS: Final = (("", lazy("Accounts")), ("groups", lazy("Groups")), ("service", lazy("Enrollment service")))
JOINED_TABS: Final = (
    ("", lazy("Domain")),
    ("service", lazy("Publication")),
    ("accounts", lazy("Own accounts")),
    ("groups", lazy("Own groups")),
)
KIND_WORDS: Final = {PrincipalKind.USER: lazy("User"), PrincipalKind.COMPUTER: lazy("Computer")}
ACCOUNT_COLUMNS: Final = (
    Column("name", lazy("Account"), css="cw-lead"),
    Column("kind", lazy("Kind"), css="cw-tight"),
    Column("upn", lazy("UPN or host name"), css="cw-tight"),
    Column("groups", lazy("Groups"), css="cw-why", sortable=False),
    Column("ntlm", lazy("NTLM"), css="cw-tight", sortable=False),
    Column("state", lazy("State"), css="cw-tight cw-mark-s"),
    Column("mail", lazy("Mail"), css="cw-tight", off=True),
    Column("sid", lazy("SID"), css="cw-mono cw-tight", off=True),
    Column("created", lazy("Added"), css="cw-tight", off=True),
)
ACCOUNT_FIELDS: Final = (
    Field("name", lazy("Account")),
    Field("upn", lazy("UPN or host name")),
    Field("group_text", lazy("Groups")),
    Field("mail", lazy("Mail")),
    Field("sid", lazy("SID"), EXACT),
    Field("created", lazy("Added"), TIME),
)
GROUP_COLUMNS: Final = (
    Column("name", lazy("Group"), css="cw-lead"),
    Column("count", lazy("Members"), css="cw-tight cw-num"),
    Column("members", lazy("Direct members"), css="cw-why", sortable=False),
    Column("groups", lazy("Member of"), css="cw-why", sortable=False),
    Column("sid", lazy("SID"), css="cw-mono cw-tight", off=True),
)
SHOWN_MEMBERS: Final = 5


def base(ca: CaStanding) -> str:
    return f"/ca/{ca.slug}/directory/"


def may_change(viewer: Viewer) -> bool:
    """May they change accounts and groups? The directory decides; this is for what is drawn."""
    try:
        rooms().directory_administration.require_account_administrator(viewer.requester)
    except AccessDenied:
        return False
    return True


def frame(request: PageRequest, ca: CaStanding, tab: str) -> dict[str, Any]:
    """What every tab shows: the domain and its counts."""
    joined = rooms().domain is not None
    accounts = all_accounts()
    users = sum(each.principal.kind is PrincipalKind.USER for each in accounts)
    return {
        "title": _("Directory"),
        "crumbs": [(ca.name, "")],
        "ca": ca,
        "base": base(ca),
        "domain": rooms().directory_administration.directory.domain,
        "joined": joined,
        "users": users,
        "computers": len(accounts) - users,
        "disabled": sum(not each.principal.enabled for each in accounts),
        "group_count": len(all_groups()),
        "tab": tab,
        "tabs": [
            (key, label, f"{base(ca)}{key}/" if key else base(ca)) for key, label in (JOINED_TABS if joined else TABS)
        ],
        "may_change": may_change(request.viewer),
    }


def all_accounts() -> Sequence[AccountInfo]:
    """Users and computers."""
    return rooms().directory_administration.list_accounts()


def all_groups() -> Sequence[GroupInfo]:
    """Groups that have a list of members."""
    return rooms().directory_administration.list_groups()


# -- accounts --------------------------------------------------------------------------------------------------------


@page(access.CA_SETTINGS)
def accounts(request: PageRequest, ca: str) -> HttpResponse:
    """Users and computers."""
    return _accounts(request, ca)


def _accounts(request: PageRequest, ca: str) -> HttpResponse:
    standing = ca_of(request, ca)
    listing = Listing.read(
        request,
        "directory-accounts",
        ACCOUNT_COLUMNS,
        sort="name",
        filters=[
            Filter("kind", _("Kind"), _("All kinds"), [(kind.value, word) for kind, word in KIND_WORDS.items()]),
            Filter("state", _("State"), _("All states"), [("enabled", _("Enabled")), ("disabled", _("Disabled"))]),
        ],
        search=lazy("Account, name, mail, group"),
        fields=ACCOUNT_FIELDS,
    )
    kind, state = listing.value("kind"), listing.value("state")
    rows = [
        row
        for row in map(_account_row, all_accounts())
        if kind in ("", row["kind_value"]) and state in ("", row["state"])
    ]
    in_memory(listing, rows, searched=("name", "common_name", "mail", "upn", "group_text"))
    tab = "accounts" if rooms().domain is not None else ""
    context = frame(request, standing, tab) | {"listing": listing, "rows_template": "console/directory/accounts.html"}
    return answers.answer(request, "console/directory/list.html", context, rows="console/directory/accounts.html")


def _account_row(info: AccountInfo) -> dict[str, Any]:
    principal = info.principal
    return {
        "sid": str(principal.sid),
        "name": principal.account.partition("\\")[2],
        "common_name": principal.common_name,
        "kind": KIND_WORDS[principal.kind],
        "kind_value": principal.kind.value,
        "upn": principal.upn or principal.dns_host_name,
        "groups": [name.partition("\\")[2] or name for name in info.groups],
        "group_text": ", ".join(info.groups),
        "ntlm": info.ntlm,
        "has_password": info.has_password,
        "state": "enabled" if principal.enabled else "disabled",
        "mail": principal.mail,
        "created": datetime.fromtimestamp(info.created, UTC),
    }


def account_of(sid: str) -> AccountInfo:
    """Raises:
    Http404: there is none.
    """
    info = next((each for each in all_accounts() if each.principal.sid == sid), None)
    if info is None:
        raise Http404
    return info


@page(access.CA_SETTINGS)
def account(request: PageRequest, ca: str, sid: str) -> HttpResponse:
    """One account: names that stand in certificates, groups, signing in."""
    standing = ca_of(request, ca)
    info = account_of(sid)
    row = _account_row(info)
    groups = {group.principal.account: str(group.principal.sid) for group in all_groups()}
    context = {
        "title": row["name"],
        "crumbs": [(standing.name, ""), (_("Directory"), base(standing))],
        "ca": standing,
        "base": base(standing),
        "at": f"{base(standing)}accounts/{sid}/",
        "info": info,
        "row": row,
        "principal": info.principal,
        "is_computer": info.principal.kind is PrincipalKind.COMPUTER,
        "groups": [{"name": name, "sid": groups.get(name, "")} for name in info.groups],
        "may_change": may_change(request.viewer),
        "itself": info.principal.sid == request.viewer.requester.sid,
    }
    return answers.answer(request, "console/directory/account.html", context)


# -- groups ----------------------------------------------------------------------------------------------------------


@page(access.CA_SETTINGS)
def groups(request: PageRequest, ca: str) -> HttpResponse:
    """Groups that have a list of members."""
    standing = ca_of(request, ca)
    listing = Listing.read(
        request, "directory-groups", GROUP_COLUMNS, sort="name", search=lazy("Group, member"), fields=()
    )
    in_memory(listing, map(_group_row, all_groups()), searched=("name", "member_text"))
    context = frame(request, standing, "groups") | {
        "listing": listing,
        "rows_template": "console/directory/groups.html",
    }
    return answers.answer(request, "console/directory/list.html", context, rows="console/directory/groups.html")


def _group_row(info: GroupInfo) -> dict[str, Any]:
    names = [name.partition("\\")[2] or name for name in info.members]
    more = len(names) - SHOWN_MEMBERS
    shown = ", ".join(names[:SHOWN_MEMBERS])
    return {
        "sid": str(info.principal.sid),
        "name": info.principal.account.partition("\\")[2],
        "count": len(names),
        "members": _("%(names)s and %(count)s more") % {"names": shown, "count": more} if more > 0 else shown,
        "member_text": ", ".join(info.members),
        "groups": ", ".join(name.partition("\\")[2] or name for name in info.groups),
    }


def group_of(sid: str) -> GroupInfo:
    """Raises:
    Http404: there is none.
    """
    info = next((each for each in all_groups() if each.principal.sid == sid), None)
    if info is None:
        raise Http404
    return info


@page(access.CA_SETTINGS)
def group(request: PageRequest, ca: str, sid: str) -> HttpResponse:
    """One group with its direct members."""
    standing = ca_of(request, ca)
    info = group_of(sid)
    known = {each.principal.account: str(each.principal.sid) for each in all_accounts()}
    nested = {each.principal.account: str(each.principal.sid) for each in all_groups()}
    context = {
        "title": info.principal.account.partition("\\")[2],
        "crumbs": [(standing.name, ""), (_("Directory"), base(standing)), (_("Groups"), f"{base(standing)}groups/")],
        "ca": standing,
        "base": base(standing),
        "at": f"{base(standing)}groups/{sid}/",
        "principal": info.principal,
        "members": [
            {"name": name, "href": _member_href(standing, known.get(name, ""), nested.get(name, ""))}
            for name in info.members
        ],
        "groups": info.groups,
        "may_change": may_change(request.viewer),
    }
    return answers.answer(request, "console/directory/group.html", context)


def _member_href(ca: CaStanding, account_sid: str, group_sid: str) -> str:
    if account_sid:
        return f"{base(ca)}accounts/{account_sid}/"
    return f"{base(ca)}groups/{group_sid}/" if group_sid else ""


# -- the enrollment service ------------------------------------------------------------------------------------------


def service(request: PageRequest, ca: str) -> HttpResponse:
    """What the directory says of the CA, against what it should say."""
    standing = ca_of(request, ca)
    door = rooms().registry.connect(standing.config, request.viewer.requester)
    is_enterprise = CaType(_whole_number(door.ca_property(CaProperty.CA_TYPE))).is_enterprise
    rows = _differences(request, standing) if is_enterprise else []
    context = frame(request, standing, "service") | {
        "is_enterprise": is_enterprise,
        "rows": rows,
        "differs": any(row["differs"] for row in rows),
        "exists": rooms().directory.enrollment_service(standing.name) is not None,
        "may_publish": may_configure(request, standing),
    }
    return answers.answer(request, "console/directory/service.html", context)


def _whole_number(value: PropertyValue) -> int:
    assert isinstance(value, int)
    return value


def _differences(request: PageRequest, ca: CaStanding) -> list[dict[str, Any]]:
    """The entry's attributes: as published, and as they should be."""
    published = rooms().directory.enrollment_service(ca.name)
    host, certificate = _desired(request, ca)
    known = rooms().directory.templates()
    templates = published.templates if published else ()
    pairs = [
        ("dNSHostName", _("Host of the CA"), published.dns_host_name if published else "", host),
        (
            "cACertificate",
            _("Certificate of the CA"),
            _described(published.certificate) if published else "",
            _described(certificate),
        ),
        (
            "certificateTemplates",
            _("Templates it issues"),
            "\n".join(templates),
            "\n".join(cn for cn in templates if cn in known),
        ),
    ]
    return [
        {
            "attribute": attribute,
            "label": label,
            "is": [(line, line not in wanted.splitlines()) for line in now.splitlines()],
            "wanted": [(line, line not in now.splitlines()) for line in wanted.splitlines()],
            "differs": now != wanted,
        }
        for attribute, label, now, wanted in pairs
    ]


def _desired(request: PageRequest, ca: CaStanding) -> tuple[str, bytes]:
    """The CA's own word: its host name and its newest certificate."""
    host = administer(request, ca).configuration()["dns-name"]
    door = rooms().registry.connect(ca.config, request.viewer.requester)
    certificate = door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, LATEST)
    assert isinstance(certificate, bytes)
    return host, certificate


def _described(der: bytes) -> str:
    if not der:
        return ""
    view = CertificateView.parse(der)
    until = _("valid until %(until)s") % {"until": f"{view.not_after:%Y-%m-%d}"}
    return f"{view.subject_name}, {until}\nSHA-256 {view.sha256}"


@page({Role.CA_ADMINISTRATOR}, methods=("POST",))
def publish_service(request: PageRequest, ca: str) -> HttpResponse:
    """Write the entry as it should be."""
    standing = ca_of(request, ca)
    administration = rooms().directory_administration
    actor = administration.require_template_administrator(request.viewer.requester)
    host, certificate = _desired(request, standing)
    if not host:
        raise InvalidArgument(_("The CA has no DNS name: set dns-name in CA Properties first."))
    administration.set_enrollment_service(standing.name, host, certificate, actor=actor)
    known = administration.templates()
    entry = rooms().directory.enrollment_service(standing.name)
    for cn in entry.templates if entry else ():
        if cn not in known:
            administration.unpublish(standing.name, cn, actor=actor)
    return answers.done(request, f"{base(standing)}service/", _("Published in the directory."))


# -- search ----------------------------------------------------------------------------------------------------------


def _find(viewer: Viewer, query: search.Query) -> Iterator[search.Hit]:
    """Accounts and groups of the domain by name, and by SID."""
    if not viewer.is_any(access.CA_SETTINGS) or not viewer.cas:
        return
    ca = viewer.cas[0]
    needle = (query.account or query.text).rpartition("\\")[2].casefold()
    entries = [
        *((each.principal, "accounts", "user") for each in all_accounts()),  # icon:user
        *((each.principal, "groups", "users") for each in all_groups()),  # icon:users
    ]
    for principal, kind, icon in entries:
        name = principal.account.rpartition("\\")[2].casefold()
        if needle in name or needle == principal.sid.casefold():
            yield search.Hit(
                search.ACCOUNTS,
                principal.account,
                _("Directory"),
                f"{base(ca)}{kind}/{principal.sid}/",
                icon,
                exact=needle in (name, principal.sid.casefold()),
            )


finders = [_find]


@page(access.CA_SETTINGS)
def landing(request: PageRequest, ca: str) -> HttpResponse:
    """What is looked for first: the accounts, or the domain that the installation belongs to."""
    from certwright.console.pages import domain

    return _accounts(request, ca) if rooms().domain is None else domain.overview(request, ca)


@page(access.CA_SETTINGS)
def entry(request: PageRequest, ca: str) -> HttpResponse:
    """How clients find the CA: one entry of the embedded directory, or everything it publishes in its domain."""
    from certwright.console.pages import domain

    return service(request, ca) if rooms().domain is None else domain.publication(request, ca)


_AT: Final = "ca/<str:ca>/directory/"
urls = [
    path(_AT, landing),
    path(f"{_AT}accounts/", accounts),
    path(f"{_AT}groups/", groups),
    path(f"{_AT}service/", entry),
    path(f"{_AT}service/publish/", publish_service),
    path(f"{_AT}accounts/<str:sid>/", account),
    path(f"{_AT}groups/<str:sid>/", group),
]
