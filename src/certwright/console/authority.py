"""What the pages of one CA share: the CA of a URL, the way to act on it, and lists of its database's rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from django.http import Http404, HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _

from certwright.adcs.interfaces import CertAdmin, Comparison, Restriction, Sort, Table
from certwright.console import answers, exports
from certwright.console.access import PageRequest, Role
from certwright.console.listing import Column, Filter, Listing
from certwright.console.rooms import CaStanding, rooms
from certwright.console.search import Query

ANY_COLUMN: Final = (
    "request_id",
    "requester",
    "caller",
    "template",
    "common_name",
    "subject",
    "alternative_names",
    "serial_number",
    "submitted_when",
    "resolved_when",
    "not_before",
    "not_after",
    "status",
    "message",
    "officer",
    "key_algorithm",
    "key_size",
    "revoked_when",
    "revoked_reason",
    "sha1",
)
"""Columns that a list may be filtered by, beside its own."""
COMPARISONS: Final = {
    "is": Comparison.EQUAL,
    "from": Comparison.GREATER_OR_EQUAL,
    "until": Comparison.LESS_OR_EQUAL,
}
_BEYOND: Final = "\U0010ffff"


def ca_of(request: PageRequest, slug: str) -> CaStanding:
    """The CA that a URL names.

    Raises:
        Http404: there is none.
    """
    found = request.viewer.ca(slug)
    if found is None:
        raise Http404
    return found


def administer(request: PageRequest, ca: CaStanding) -> CertAdmin:
    """The CA, administered as whoever looks. It checks every call itself."""
    return rooms().registry.administer(ca.config, request.viewer.requester)


def may_manage(request: PageRequest, ca: CaStanding) -> bool:
    """Issue, deny, revoke."""
    return request.viewer.on(ca, Role.CERTIFICATE_MANAGER)


def may_configure(request: PageRequest, ca: CaStanding) -> bool:
    return request.viewer.on(ca, Role.CA_ADMINISTRATOR)


def restrictions(listing: Listing) -> list[Restriction]:
    """What the search field, the template and the filter on any column leave."""
    found = []
    if template := listing.value("template"):
        found.append(Restriction("template", Comparison.EQUAL, template))
    query = Query.of(listing.q)
    if query.number is not None and query.number < 2**31:
        found.append(Restriction("request_id", Comparison.EQUAL, query.number))
    elif query.hexadecimal:
        found.append(Restriction("serial_number", Comparison.EQUAL, query.hexadecimal))
    elif "\\" in query.account:
        found.append(Restriction("requester", Comparison.EQUAL, query.account))
    elif query.text:  # names that begin with it
        found.append(Restriction("common_name", Comparison.GREATER_OR_EQUAL, query.text))
        found.append(Restriction("common_name", Comparison.LESS, query.text + _BEYOND))
    if listing.params.get("column") in ANY_COLUMN and listing.params.get("value"):
        comparison = COMPARISONS.get(listing.params.get("op", ""), Comparison.EQUAL)
        found.append(Restriction(listing.params["column"], comparison, listing.params["value"]))
    return found


def read_list(request: PageRequest, name: str, columns: Sequence[Column], *, sort: str = "-request_id") -> Listing:
    """The query of a list of requests, with its filter on any column."""
    templates = sorted(rooms().directory_administration.templates().values(), key=lambda each: each.cn.casefold())
    choices = [(each.cn, each.display_name) for each in templates]
    listing = Listing.read(
        request,
        name,
        columns,
        sort=sort,
        filters=[Filter("template", _("Template"), _("All templates"), choices)],
        search=_("Name, request ID, serial number, DOMAIN\\requester"),
    )
    for key in ("column", "op", "value"):
        if given := request.GET.get(key, "")[:200].replace("\0", "").strip():
            listing.params[key] = given
    return listing


def answer_list(
    request: PageRequest,
    slug: str,
    table: Table,
    columns: Sequence[Column],
    *,
    name: str,
    title: Any,
    template: str,
    wanted: Sequence[str],
    context: dict[str, Any] | None = None,
) -> HttpResponseBase:
    """A page of a list of requests, or its export (`?as=csv`, `?as=xlsx`)."""
    ca = ca_of(request, slug)
    admin = administer(request, ca)
    listing = read_list(request, name, columns)
    where = restrictions(listing)
    sort = Sort(listing.sort, listing.descending)
    as_ = request.GET.get("as", "")
    if as_ in ("csv", "xlsx"):
        rows = ([row[column] for column in wanted] for row in admin.view(table, where, wanted, sort))
        write = exports.csv if as_ == "csv" else exports.xlsx
        return write(name, wanted, rows)
    found = admin.view(table, where, wanted, sort, listing.offset + listing.size + 1)
    window = list(islice(found, listing.offset, None))
    more = len(window) > listing.size
    listing.fill(window[: listing.size], None if more else listing.offset + len(window), has_more=more)
    query = listing.url().partition("?")[2]
    listing.exports = [("CSV", f"{request.path}?{query}&as=csv"), ("XLSX", f"{request.path}?{query}&as=xlsx")]
    page = {
        "title": title,
        "crumbs": [(ca.name, "")],
        "ca": ca,
        "listing": listing,
        "rows_template": template,
        "may_manage": may_manage(request, ca),
        "may_configure": may_configure(request, ca),
        "any_column": ANY_COLUMN,
        "filtered": bool(where),
    }
    return answers.answer(request, "console/ca/list.html", {**page, **(context or {})}, rows=template)


def download(name: str, data: bytes, content_type: str = "application/octet-stream") -> HttpResponse:
    """One file."""
    response = HttpResponse(data, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
