"""People & Access: who may sign in, their roles in the console, what they may do in sentences, sessions, tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from django.db.models import Max, Q, QuerySet
from ninja import Query, Router
from pydantic import Field, SecretStr

from certwright.console import accounts
from certwright.console.access import CONSOLE_ROLES, Role, viewer_of
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.own_account import Ended, Session, Token, sessions_of, token_of
from certwright.console.api.problems import not_there
from certwright.console.api.shapes import Entered, Flag, Line, PageSize, PathId, QueryId, Told, line
from certwright.console.models import Account
from certwright.console.rooms import rooms

router = Router(tags=["People & Access"])

MAX_PASSWORD: Final = 256

Password = Annotated[
    SecretStr, Field(min_length=1, max_length=MAX_PASSWORD, description="At least 12 characters; never told again")
]


class ConsoleRole(StrEnum):
    """Roles that are given here. Those on a CA follow from the CA's security descriptor."""

    REQUESTER = Role.REQUESTER.value
    OPERATOR = Role.OPERATOR.value
    ADMINISTRATOR = Role.ADMINISTRATOR.value


Roles = Annotated[tuple[ConsoleRole, ...], Field(max_length=len(CONSOLE_ROLES))]


class AccountKind(StrEnum):
    LOCAL = "local"
    DIRECTORY = "directory"
    OPENID = "openid"


class PeopleFilters(Entered):
    kind: AccountKind | None = None
    text: Annotated[Line, Field(description="Part of the name, display name or mail address")] = ""
    after: Annotated[QueryId | None, Field(description="The member next of the page before")] = None
    limit: PageSize = 100


class Person(Told):
    """An account as lists show it. `roles` are all it holds now, those on CAs among them."""

    id: int
    name: str
    kind: AccountKind
    display_name: str
    email: str
    enabled: bool
    roles: list[str]
    may_export_keys: bool
    second_factor: bool
    created: datetime
    seen: datetime | None


class PersonPage(Told):
    """In the order in which they came to be."""

    rows: list[Person]
    next: int | None


class PersonDetails(Person):
    given_roles: list[str]  # in the console
    rights: list[str]  # what it may do, a sentence each
    groups: list[str]  # of a directory account
    sessions: list[Session]
    tokens: list[Token]


class PersonEntered(Entered):
    """A local account. Accounts of the directory need none: they sign in as they are."""

    name: Annotated[str, line(64, least=1), Field(description="Signs in with it; none of \\ @ / :")]
    password: Password
    display_name: Annotated[str, line(128)] = ""
    roles: Roles = ()


class RolesEntered(Entered):
    """Both are replaced."""

    roles: Roles
    may_export_keys: Flag


class PasswordEntered(Entered):
    password: Password


class Enabled(Entered):
    enabled: Flag


@operation(router, "GET", "/people", PersonPage)
def list_people(request: ApiRequest, asked: Query[PeopleFilters]) -> PersonPage:
    """List everybody who has signed in, and local accounts."""
    found = _accounts()
    if asked.kind is not None:
        found = found.filter(kind=asked.kind.value)
    if asked.text:
        found = found.filter(
            Q(username__icontains=asked.text) | Q(display_name__icontains=asked.text) | Q(email__icontains=asked.text)
        )
    if asked.after is not None:
        found = found.filter(pk__gt=asked.after)
    rows = list(found.order_by("pk")[: asked.limit + 1])
    page = rows[: asked.limit]
    return PersonPage(rows=[_told(each) for each in page], next=page[-1].pk if len(rows) > asked.limit else None)


@operation(router, "POST", "/people", PersonDetails, status=201)
def add_person(request: ApiRequest, entered: PersonEntered) -> PersonDetails:
    """Add a local account of the console."""
    made = accounts.add_local(
        request.viewer,
        entered.name,
        entered.password.get_secret_value(),
        entered.display_name,
        _roles(entered.roles),
    )
    return _details(_found(made.pk))


@operation(router, "GET", "/people/{int:account_id}", PersonDetails)
def get_person(request: ApiRequest, account_id: PathId) -> PersonDetails:
    """Show an account: what it may do, where it is signed in, which tokens speak for it."""
    return _details(_found(account_id))


@operation(router, "PUT", "/people/{int:account_id}/roles", PersonDetails)
def set_person_roles(request: ApiRequest, account_id: PathId, entered: RolesEntered) -> PersonDetails:
    """Say what an account may do in the console."""
    chosen = list(_roles(entered.roles))
    accounts.set_roles(request.viewer, _found(account_id), chosen, may_export_keys=entered.may_export_keys)
    return _details(_found(account_id))


@operation(router, "PUT", "/people/{int:account_id}/password", PersonDetails)
def set_person_password(request: ApiRequest, account_id: PathId, entered: PasswordEntered) -> PersonDetails:
    """Give a local account a new password; its sessions end."""
    accounts.set_password(request.viewer, _found(account_id), entered.password.get_secret_value())
    return _details(_found(account_id))


@operation(router, "PUT", "/people/{int:account_id}/enabled", PersonDetails)
def enable_person(request: ApiRequest, account_id: PathId, entered: Enabled) -> PersonDetails:
    """Let an account sign in, or not any more. Disabling ends its sessions."""
    accounts.set_enabled(request.viewer, _found(account_id), entered.enabled)
    return _details(_found(account_id))


@operation(router, "DELETE", "/people/{int:account_id}/sessions", Ended)
def end_person_sessions(request: ApiRequest, account_id: PathId) -> Ended:
    """Sign an account out everywhere; a browser that asks this stays signed in."""
    keep = request.session.session_key or ""
    return Ended(ended=accounts.end_sessions(_found(account_id), besides=keep))


@operation(router, "DELETE", "/people/{int:account_id}/second-factor")
def remove_second_factor(request: ApiRequest, account_id: PathId) -> None:
    """Remove an account's second factors, because they were lost. Its sessions end."""
    accounts.forget_second_factor(request.viewer, _found(account_id))


# -- as it is told ---------------------------------------------------------------------------------------------------


def _accounts() -> QuerySet[Account]:
    return Account.objects.annotate(last_seen=Max("sign_ins__seen")).prefetch_related("authenticator_set")


def _found(account_id: int) -> Account:
    found = _accounts().filter(pk=account_id).first()
    if found is None:
        raise not_there(f"account number {account_id}")
    return found


def _roles(entered: Iterable[ConsoleRole]) -> Sequence[Role]:
    return [Role(each.value) for each in entered]


def _told(account: Account) -> Person:
    viewer = viewer_of(account, "")
    return Person(
        id=account.pk,
        name=account.username,
        kind=AccountKind(account.kind),
        display_name=account.display_name,
        email=account.email,
        enabled=viewer is not None,
        roles=[role.value for role in Role if viewer is not None and role in viewer.roles],
        may_export_keys=viewer is not None and viewer.may_export_keys,
        second_factor=bool(account.authenticator_set.all()),
        created=account.created,
        seen=getattr(account, "last_seen", None) or account.last_login,
    )


def _details(account: Account) -> PersonDetails:
    viewer = viewer_of(account, "")
    principal = rooms().directory.principal(account.sid) if account.sid else None
    groups = rooms().directory.sid_names(principal.groups).values() if principal is not None else ()
    return PersonDetails(
        **_told(account).model_dump(),
        given_roles=[role.value for role in CONSOLE_ROLES if role.value in account.roles],
        rights=list(accounts.rights_in_sentences(viewer)) if viewer is not None else [],
        groups=sorted(groups),
        sessions=sessions_of(account),
        tokens=[token_of(each) for each in account.tokens.order_by("name", "id")],
    )
