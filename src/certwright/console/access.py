"""Who looks at a page, what they may do, and the decorator that every page has.

Two worlds: roles of the console are given to accounts here; roles on a CA are the CA's own, follow from its security
descriptor, are checked inside the CA, and are only mirrored for what is drawn ([MS-CSRA] 3.1.1.7).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Concatenate, Final, ParamSpec, cast
from urllib.parse import urlsplit

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django_htmx.middleware import HtmxDetails

from certwright.adcs.errors import AdcsError
from certwright.adcs.requester import BUILTIN_ADMINISTRATORS, EVERYONE, AuthMethod, Requester, Sid
from certwright.adcs.roles import CaAccess
from certwright.console.models import Account
from certwright.console.rooms import CaStanding, rooms
from certwright.directory.base import PrincipalKind
from certwright.directory.well_known import Rid

_P = ParamSpec("_P")


class Role(Enum):
    """What somebody may be in the console. The value is what is stored and what the API calls it."""

    REQUESTER = "requester"
    OPERATOR = "operator"
    ADMINISTRATOR = "console administrator"
    CERTIFICATE_MANAGER = "certificate manager"
    CA_ADMINISTRATOR = "CA administrator"
    AUDITOR = "auditor"
    BACKUP_OPERATOR = "backup operator"


CONSOLE_ROLES: Final = (Role.REQUESTER, Role.OPERATOR, Role.ADMINISTRATOR)
"""Given in People & Access; the others follow from a CA's security descriptor."""

CA_ROLES: Final[Mapping[CaAccess, Role]] = {
    CaAccess.ADMINISTRATOR: Role.CA_ADMINISTRATOR,
    CaAccess.OFFICER: Role.CERTIFICATE_MANAGER,
    CaAccess.AUDITOR: Role.AUDITOR,
    CaAccess.OPERATOR: Role.BACKUP_OPERATOR,
    CaAccess.ENROLL: Role.REQUESTER,
}

ROLE_WORDS: Final = {
    Role.REQUESTER: _("Requester"),
    Role.OPERATOR: _("Operator"),
    Role.ADMINISTRATOR: _("Console administrator"),
    Role.CERTIFICATE_MANAGER: _("Certificate manager"),
    Role.CA_ADMINISTRATOR: _("CA administrator"),
    Role.AUDITOR: _("Auditor"),
    Role.BACKUP_OPERATOR: _("Backup operator"),
}

# Who sees what: console.md's table, one constant for each column. What a role may *do* there is asked with `may`.
EVERYBODY: Final = frozenset(Role)
ORDERS: Final = EVERYBODY - {Role.BACKUP_OPERATOR}  # dashboard, orders, inventory
AUTOMATION: Final = frozenset(
    {Role.OPERATOR, Role.ADMINISTRATOR, Role.AUDITOR}
)  # services, device users, renewal ...
QUEUES: Final = frozenset({Role.CERTIFICATE_MANAGER, Role.CA_ADMINISTRATOR, Role.AUDITOR})  # pending, issued ...
CA_SETTINGS: Final = QUEUES  # templates, revocation, enrollment services, directory
CA_PROPERTIES: Final = CA_SETTINGS | {Role.BACKUP_OPERATOR}
HEALTH: Final = EVERYBODY - {Role.REQUESTER}
AUDIT: Final = frozenset({Role.ADMINISTRATOR, Role.CA_ADMINISTRATOR, Role.AUDITOR})
PEOPLE: Final = AUDIT


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whoever is signed in, for one request."""

    id: int
    account: str  # DOMAIN\name of a directory account, else the name signed in with
    display_name: str
    requester: Requester  # as whom a CA is asked
    roles: frozenset[Role]
    cas: tuple[CaStanding, ...]
    may_export_keys: bool = False
    scopes: frozenset[str] | None = None  # of an API token; None in the browser
    preferences: Mapping[str, Any] = field(default_factory=dict)

    def is_any(self, roles: Iterable[Role]) -> bool:
        return not self.roles.isdisjoint(roles)

    def may(self, *roles: Role) -> bool:
        """Does the viewer hold one of them?"""
        return self.is_any(roles)

    @property
    def role_words(self) -> str:
        """The highest role, as the account menu shows it."""
        for role in (
            Role.CA_ADMINISTRATOR,
            Role.ADMINISTRATOR,
            Role.CERTIFICATE_MANAGER,
            Role.AUDITOR,
            Role.OPERATOR,
            Role.BACKUP_OPERATOR,
            Role.REQUESTER,
        ):
            if role in self.roles:
                return str(ROLE_WORDS[role])
        return str(_("No role yet"))

    @property
    def initials(self) -> str:
        name = self.display_name or self.account.rpartition("\\")[2]
        words = [word for word in name.replace(".", " ").replace("-", " ").split() if word]
        return "".join(word[0] for word in words[:2]).upper() or "?"

    @property
    def sees_everything(self) -> bool:
        """Or only their own orders and certificates."""
        return bool(self.roles - {Role.REQUESTER, Role.BACKUP_OPERATOR})

    def ca(self, slug: str) -> CaStanding | None:
        """A CA by the name in its URLs."""
        return next((ca for ca in self.cas if ca.slug == slug), None)

    def on(self, ca: CaStanding, role: Role) -> bool:
        """Does the viewer hold a role on one CA? A mirror of the CA's answer, for what is drawn."""
        return any(given is role and mask & ca.access for mask, given in CA_ROLES.items()) and not ca.in_conflict


class PageRequest(HttpRequest):
    """The request as a page gets it."""

    viewer: Viewer
    htmx: HtmxDetails


View = Callable[Concatenate[PageRequest, _P], HttpResponseBase]


def viewer_of(account: Account, peer: str, scopes: frozenset[str] | None = None) -> Viewer | None:
    """An account with everything it may do right now; None when it may not be here (any more)."""
    if not account.is_active:
        return None
    requester = _requester(account, peer)
    if requester is None:
        return None
    standings = tuple(rooms().standings(requester))
    given = {role for role in CONSOLE_ROLES if role.value in account.roles}
    for standing in standings:
        if not standing.in_conflict:
            given |= {role for mask, role in CA_ROLES.items() if mask & standing.access}
    if account.kind == Account.Kind.DIRECTORY and _administers_the_domain(requester):
        given |= {Role.ADMINISTRATOR, Role.OPERATOR}
    return Viewer(
        id=account.pk,
        account=requester.account,
        display_name=account.display_name,
        requester=requester,
        roles=frozenset(given),
        cas=standings,
        may_export_keys=account.may_export_keys or Role.ADMINISTRATOR in given,
        scopes=scopes,
        preferences=account.preferences,
    )


def _requester(account: Account, peer: str) -> Requester | None:
    origin = f"{peer} (console)"
    if account.kind != Account.Kind.DIRECTORY:
        # An account the directory does not know: a name that is nobody's there, and in no group that grants anything.
        sid = Sid(f"S-1-5-113-{account.pk}")
        return Requester(f"CONSOLE\\{account.username}", sid, frozenset({EVERYONE}), AuthMethod.LOCAL, origin=origin)
    principal = rooms().directory.principal(account.sid)
    if principal is None or not principal.enabled or principal.kind is PrincipalKind.GROUP:
        return None
    return Requester(principal.account, principal.sid, principal.groups, AuthMethod.LOCAL, origin=origin)


def _administers_the_domain(requester: Requester) -> bool:
    domain = rooms().directory.domain.sid
    return not requester.sids.isdisjoint(
        {BUILTIN_ADMINISTRATORS, Rid.DOMAIN_ADMINS.in_domain(domain), Rid.ENTERPRISE_ADMINS.in_domain(domain)}
    )


# -- the decorators --------------------------------------------------------------------------------------------------


def page(
    roles: Iterable[Role] = EVERYBODY, *, methods: Iterable[str] = ("GET",), anybody: bool = False
) -> Callable[[View[_P]], View[_P]]:
    """A view for signed-in people who hold one of `roles`.

    Args:
        methods: what it answers; HEAD goes with GET.
        anybody: also for accounts that hold no role yet (their own settings).

    Whoever is not signed in is sent to sign in, and comes back; a page asked for by htmx is answered 401 instead. An
    `AdcsError` that the view does not handle becomes a finding with its rule and code (`console.answers.refused`).
    """
    wanted = frozenset(roles)
    allowed = frozenset(methods) | ({"HEAD"} if "GET" in methods else set())

    def decorate(view: View[_P]) -> View[_P]:
        @functools.wraps(view)
        def checked(request: PageRequest, *args: _P.args, **kwargs: _P.kwargs) -> HttpResponseBase:
            from certwright.console import answers
            from certwright.console.pages import errors

            viewer = getattr(request, "viewer", None)
            if viewer is None:
                return _to_sign_in(request)
            if not anybody and not viewer.is_any(wanted):
                return errors.forbidden(request)
            if request.method not in allowed:
                return errors.wrong_method(request, allowed)
            try:
                return view(request, *args, **kwargs)
            except AdcsError as error:
                return answers.refused(request, error)

        checked.cw_roles = EVERYBODY if anybody else wanted  # type: ignore[attr-defined]
        checked.cw_methods = allowed  # type: ignore[attr-defined]
        return cast(View[_P], checked)

    return decorate


def public(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A view that asks for no account: signing in, and nothing that tells anything."""
    view.cw_public = True  # type: ignore[attr-defined]
    return view


def confirmation_is_due(request: PageRequest) -> bool:
    """Does an act that is worth it have to be preceded by the password or the second factor? For views that keep a
    form rather than send somebody away from it; all others are decorated with `reauthenticated`."""
    from allauth.account.internal.flows.reauthentication import is_reauthentication_required

    return bool(is_reauthentication_required(request, app="console"))


def reauthenticated(view: View[_P]) -> View[_P]:
    """Asks for the password or the second factor again, unless that was within the last five minutes.

    Put it below `page`. Afterwards the form is there again, empty: what was posted is kept nowhere meanwhile, because
    it may hold a password.
    """

    @functools.wraps(view)
    def checked(request: PageRequest, *args: _P.args, **kwargs: _P.kwargs) -> HttpResponseBase:
        from allauth.account.adapter import get_adapter

        if not confirmation_is_due(request):
            return view(request, *args, **kwargs)
        ways = get_adapter().get_reauthentication_methods(request.user)
        confirm = ways[0]["url"] if ways else reverse("account_login")
        target = redirect_to_login(_back_to(request), confirm)
        if not request.htmx:
            return target
        response = HttpResponse(status=204)
        response["HX-Redirect"] = target.url
        return response

    checked.cw_reauthenticated = True  # type: ignore[attr-defined]
    return cast(View[_P], checked)


def _back_to(request: PageRequest) -> str:
    """Where somebody goes on after they were asked: the page itself, or the one that a form was on."""
    if request.htmx:
        return request.htmx.current_url_abs_path or "/"
    if request.method in ("GET", "HEAD"):
        return request.get_full_path()
    referer = urlsplit(request.headers.get("Referer", ""))
    return referer.path if referer.netloc == request.get_host() and referer.path else "/"


def _to_sign_in(request: PageRequest) -> HttpResponseBase:
    if request.htmx:
        return HttpResponse(status=401)  # the script opens a dialog
    return redirect_to_login(request.get_full_path(), reverse("account_login"))
