"""What the pages of one CA share: the CA of a URL, the way to act on it, and lists of its database's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final

from django.http import Http404, HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy
from django.utils.translation import ngettext

from certwright.adcs.errors import AdcsError
from certwright.adcs.interfaces import CertAdmin, Comparison, Restriction, Sort, Table
from certwright.console import answers, exports
from certwright.console.access import PageRequest, Role
from certwright.console.conditions import EXACT, NUMBER, TIME, Condition, Field
from certwright.console.listing import Column, Filter, Listing
from certwright.console.rooms import CaStanding, rooms
from certwright.console.search import Query

_REQUEST_FIELDS: Final = (
    Field("request_id", lazy("Request ID"), NUMBER),
    Field("requester", lazy("Requester Name")),
    Field("caller", lazy("Caller Name")),
    Field("template", lazy("Certificate Template")),
    Field("common_name", lazy("Common Name")),
    Field("subject", lazy("Subject")),
    Field("alternative_names", lazy("Subject Alternative Name")),
    Field("submitted_when", lazy("Request Submission Date"), TIME),
    Field("resolved_when", lazy("Request Resolution Date"), TIME),
    Field("status", lazy("Request Status Code"), EXACT),
    Field("message", lazy("Request Disposition Message")),
    Field("attributes", lazy("Request Attributes")),
    Field("method", lazy("Came by"), EXACT),
    Field("officer", lazy("Decided by")),
    Field("key_algorithm", lazy("Public Key Algorithm")),
    Field("key_size", lazy("Public Key Length"), NUMBER),
)
_CERTIFICATE_FIELDS: Final = (
    Field("serial_number", lazy("Serial Number")),
    Field("not_before", lazy("Certificate Effective Date"), TIME),
    Field("not_after", lazy("Certificate Expiration Date"), TIME),
    Field("sha1", lazy("Thumbprint (SHA-1)")),
)
_REVOCATION_FIELDS: Final = (
    Field("revoked_when", lazy("Revocation Date"), TIME),
    Field("revoked_effective", lazy("Effective Revocation Date"), TIME),
    Field("revoked_reason", lazy("Revocation Reason"), EXACT),
)
FIELDS: Final[Mapping[Table, Sequence[Field]]] = {
    Table.PENDING_REQUESTS: _REQUEST_FIELDS,
    Table.FAILED_REQUESTS: _REQUEST_FIELDS,
    Table.ISSUED_CERTIFICATES: (*_REQUEST_FIELDS, *_CERTIFICATE_FIELDS),
    Table.REVOKED_CERTIFICATES: (*_REQUEST_FIELDS, *_CERTIFICATE_FIELDS, *_REVOCATION_FIELDS),
}
"""What each list can be filtered by, beside its search field: any column, shown or not."""

MAX_PICKED: Final = 100
"""Rows that one act is done to at once."""
_BEYOND: Final = "\U0010ffff"
_REFUSED: Final = "cw_refused"
"""Where the session keeps why rows were refused, until their list is drawn once more."""


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


# -- lists -----------------------------------------------------------------------------------------------------------


def restrictions(listing: Listing) -> list[Restriction]:
    """What the search field, the template and the filters on any column leave."""
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
    for condition in listing.conditions.holding:
        found += _restricted(condition)
    return found


def _restricted(condition: Condition) -> list[Restriction]:
    """A filter on a column, as the CA database is asked."""
    column = condition.field.key
    if condition.field.kind not in (NUMBER, TIME):
        comparison = Comparison.CONTAINS if condition.operator == "contains" else Comparison.EQUAL
        return [Restriction(column, comparison, condition.value)]
    bounds = condition.bounds
    ends = ((Comparison.GREATER_OR_EQUAL, bounds.least), (Comparison.LESS, bounds.beyond))
    return [Restriction(column, comparison, _number(end)) for comparison, end in ends if end is not None]


def _number(end: int | datetime) -> int:
    return int(end.timestamp()) if isinstance(end, datetime) else end


def read_list(
    request: PageRequest, name: str, table: Table, columns: Sequence[Column], *, sort: str = "-request_id"
) -> Listing:
    """The query of a list of requests."""
    templates = sorted(rooms().directory_administration.templates().values(), key=lambda each: each.cn.casefold())
    choices = [(each.cn, each.display_name) for each in templates]
    return Listing.read(
        request,
        name,
        columns,
        sort=sort,
        filters=[Filter("template", _("Template"), _("All templates"), choices)],
        search=_("Name, request ID, serial number, DOMAIN\\requester"),
        fields=FIELDS[table],
    )


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
    sort: str = "-request_id",
    shown: Callable[[dict[str, Any]], None] | None = None,
    context: Mapping[str, Any] | None = None,
) -> HttpResponseBase:
    """A page of a list of requests, or its export (`?as=csv`, `?as=xlsx`).

    Args:
        wanted: columns of the view, for the rows and for the export.
        shown: puts into a row what only the page shows.
    """
    ca = ca_of(request, slug)
    admin = administer(request, ca)
    listing = read_list(request, name, table, columns, sort=sort)
    where = restrictions(listing)
    order = Sort(listing.sort, listing.descending)
    as_ = request.GET.get("as", "")
    if as_ in ("csv", "xlsx"):
        rows = ([row[column] for column in wanted] for row in admin.view(table, where, wanted, order))
        write = exports.csv if as_ == "csv" else exports.xlsx
        return write(name, wanted, rows)
    found = admin.view(table, where, wanted, order, listing.offset + listing.size + 1)
    window = list(islice(found, listing.offset, None))
    more = len(window) > listing.size
    refused = taken_refusals(request, ca)
    drawn = [{**row, "refused": refused.get(str(row["request_id"]), "")} for row in window[: listing.size]]
    for row in drawn:
        if shown is not None:
            shown(row)
    listing.fill(drawn, None if more else listing.offset + len(window), has_more=more)
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
        "filtered": bool(where),
    }
    return answers.answer(request, "console/ca/list.html", {**page, **(context or {})}, rows=template)


# -- one act on several rows -----------------------------------------------------------------------------------------


def picked(request: PageRequest) -> list[int]:
    """Request IDs that were ticked, each once."""
    given = (request.POST if request.method == "POST" else request.GET).getlist("pick")
    numbers = (int(text) for text in given if text.isascii() and text.isdigit() and len(text) < 11)
    return list(dict.fromkeys(numbers))[:MAX_PICKED]


@dataclass(slots=True)
class Outcome:
    """What became of one act on several rows."""

    done: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)  # request ID: why

    def each(self, numbers: Iterable[int], act: Callable[[int], None]) -> None:
        """Act on each row by itself; one that is refused keeps no other from being done."""
        for number in numbers:
            try:
                act(number)
            except AdcsError as error:
                self.refused[number] = error.message
            else:
                self.done.append(number)


def after_all(request: PageRequest, ca: CaStanding, url: str, outcome: Outcome, done: str) -> HttpResponse:
    """Back to the list: how many were done and refused, and the refused rows marked with the reason.

    Args:
        done: "2 issued", already counted and translated.
    """
    text = done
    if outcome.refused:
        count = len(outcome.refused)
        text = f"{done}, {ngettext('%(count)s refused', '%(count)s refused', count) % {'count': count}}"
        kept = {str(number): reason[:300] for number, reason in outcome.refused.items()}
        request.session[_REFUSED] = {**request.session.get(_REFUSED, {}), ca.slug: kept}
    return answers.done(request, url, text)


def taken_refusals(request: PageRequest, ca: CaStanding) -> Mapping[str, str]:
    """Why rows were refused just now, by request ID; said once."""
    kept = request.session.get(_REFUSED, {})
    if ca.slug not in kept:
        return {}
    request.session[_REFUSED] = {slug: reasons for slug, reasons in kept.items() if slug != ca.slug}
    found: Mapping[str, str] = kept[ca.slug]
    return found


def download(name: str, data: bytes, content_type: str = "application/octet-stream") -> HttpResponse:
    """One file."""
    response = HttpResponse(data, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
