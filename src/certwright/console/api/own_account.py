"""One's own account: API tokens, sessions, saved views. What only a person does - a password, a second factor, how
pages look - has no operation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from ninja import Query, Router
from pydantic import Field, field_validator

from certwright.adcs.errors import AccessDenied
from certwright.console import accounts, saved_views
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.problems import named_in_the_path
from certwright.console.api.shapes import Entered, Flag, Moment, PathId, Told, line
from certwright.console.models import Account, ApiToken, SavedView

router = Router(tags=["Own account"])

Scope = Literal["read", "orders", "inventory", "ca", "settings", "access", "keys", "override"]


class Token(Told):
    """An API token. Of its text only the beginning is kept."""

    id: int
    name: str
    prefix: str
    scopes: list[str]
    created: datetime
    expires: datetime | None
    used: datetime | None


class NewToken(Token):
    token: str  # told this once


class TokenEntered(Entered):
    name: Annotated[str, line(64, least=1), Field(description="What uses it")]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=len(accounts.SCOPES))]
    expires: Annotated[Moment | None, Field(description="Left out: it does not end")] = None


class Session(Told):
    """A browser that is signed in."""

    peer: str
    browser: str
    started: datetime
    seen: datetime


class Ended(Told):
    ended: int  # sessions


class ViewAnswer(Told):
    """A query of a page that somebody named."""

    id: int
    page: str  # path of the page
    name: str
    query: str
    shared: bool
    own: bool  # or somebody else's, who shares it


class ViewEntered(Entered):
    page: Annotated[str, line(saved_views.MAX_NAME, least=1), Field(description="As in /inventory/")]
    name: Annotated[str, line(saved_views.MAX_NAME, least=1)]
    query: Annotated[str, line(saved_views.MAX_QUERY), Field(description="As in the page's address behind ?")] = ""
    shared: Flag = False

    @field_validator("page")
    @classmethod
    def _of_this_host(cls, page: str) -> str:
        if saved_views.own_path(page) != page:
            raise ValueError("a page begins with one slash")
        return page


class ViewsOf(Entered):
    page: Annotated[str, line(saved_views.MAX_NAME), Field(description="Only those of this page")] = ""


# -- tokens ----------------------------------------------------------------------------------------------------------


@operation(router, "GET", "/me/tokens", list[Token])
def list_my_tokens(request: ApiRequest) -> Sequence[Token]:
    """List the tokens of the caller's own account."""
    return [token_of(each) for each in ApiToken.objects.filter(account_id=request.viewer.id).order_by("name", "id")]


@operation(router, "POST", "/me/tokens", NewToken, status=201)
def create_token(request: ApiRequest, entered: TokenEntered) -> NewToken:
    """Make a token for the caller's own account; its text is in this answer and nowhere else.

    It has no scope that the token which makes it does not have.
    """
    missing = sorted(set(entered.scopes) - (request.viewer.scopes or frozenset()))
    if missing:
        raise AccessDenied(f"A token gives no scope on that it does not have itself: {', '.join(missing)}.")
    made, text = accounts.create_token(request.viewer, entered.name, entered.scopes, entered.expires)
    return NewToken(**token_of(made).model_dump(), token=text)


@operation(router, "DELETE", "/tokens/{int:token_id}")
def delete_token(request: ApiRequest, token_id: PathId) -> None:
    """End a token: one's own, or as console administrator anybody's."""
    with named_in_the_path():
        accounts.delete_token(request.viewer, token_id)


def token_of(token: ApiToken) -> Token:
    return Token(
        id=token.pk,
        name=token.name,
        prefix=token.prefix,
        scopes=list(token.scopes),
        created=token.created,
        expires=token.expires,
        used=token.used,
    )


# -- sessions --------------------------------------------------------------------------------------------------------


@operation(router, "GET", "/me/sessions", list[Session])
def list_my_sessions(request: ApiRequest) -> Sequence[Session]:
    """List where the caller's own account is signed in."""
    return sessions_of(_own(request))


@operation(router, "DELETE", "/me/sessions", Ended)
def end_my_sessions(request: ApiRequest) -> Ended:
    """Sign the caller's own account out everywhere; a browser that asks this stays signed in."""
    return Ended(ended=accounts.end_sessions(_own(request), besides=request.session.session_key or ""))


def _own(request: ApiRequest) -> Account:
    return Account.objects.get(pk=request.viewer.id)


def sessions_of(account: Account) -> list[Session]:
    return [Session.model_validate(each) for each in account.sign_ins.order_by("-seen")]


# -- saved views -----------------------------------------------------------------------------------------------------


@operation(router, "GET", "/views", list[ViewAnswer])
def list_views(request: ApiRequest, asked: Query[ViewsOf]) -> Sequence[ViewAnswer]:
    """List saved views: the caller's own, and those that others share."""
    return [_view(request, each) for each in saved_views.visible(request.viewer, asked.page)]


@operation(router, "POST", "/views", ViewAnswer, status=201)
def save_view(request: ApiRequest, entered: ViewEntered) -> ViewAnswer:
    """Name a query of a page. The same name again replaces the earlier one."""
    return _view(
        request,
        saved_views.save(request.viewer, entered.page, entered.name, entered.query, shared=entered.shared),
    )


@operation(router, "DELETE", "/views/{int:view_id}")
def delete_view(request: ApiRequest, view_id: PathId) -> None:
    """Remove one of the caller's own views."""
    with named_in_the_path():
        saved_views.delete(request.viewer, view_id)


def _view(request: ApiRequest, view: SavedView) -> ViewAnswer:
    return ViewAnswer(
        id=view.pk,
        page=view.page,
        name=view.name,
        query=view.query,
        shared=view.shared,
        own=view.account_id == request.viewer.id,
    )
