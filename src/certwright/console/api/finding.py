"""Global search: certificates, requests, orders, accounts and templates by whatever is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from ninja import Query, Router
from pydantic import Field

from certwright.console import search
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.shapes import Entered, Told, line

router = Router(tags=["Search"])

_KINDS: Final = {
    search.CERTIFICATES: "certificate",
    search.REQUESTS: "request",
    search.ORDERS: "order",
    search.REQUESTERS: "requester",
    search.TEMPLATES: "template",
    search.ACCOUNTS: "account",
    search.PAGES: "page",
}


class Sought(Entered):
    q: Annotated[
        str,
        line(search.MAX_TEXT, least=1),
        Field(description="A name, serial number, thumbprint, request ID, order number, account or SID"),
    ]


class Hit(Told):
    kind: str
    title: str
    detail: str
    href: str  # its page in the console
    exact: bool  # it is exactly what was asked for


@operation(router, "GET", "/search", list[Hit])
def search_everything(request: ApiRequest, asked: Query[Sought]) -> Sequence[Hit]:
    """Search everything that the caller may see; exact matches first, a handful of each kind."""
    return [
        Hit(
            kind=_KINDS[hit.group],
            title=str(hit.title),
            detail=str(hit.detail),
            href=hit.href,
            exact=hit.exact,
        )
        for hit in search.search(request.viewer, search.Query.of(asked.q))
    ]
