"""The audit trail: who did what, in a chain that shows when somebody changed it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from django.http import HttpResponse, HttpResponseBase
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.events import AuditEvent
from certwright.audit.trail import OS_USER, AuditRecord
from certwright.console import access, borrowed, exports
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.answers import answer
from certwright.console.listing import Column, Filter, Listing
from certwright.console.menu import Badge
from certwright.console.rooms import rooms

COLUMNS: Final = (
    Column("when", lazy("Time"), css="cw-tight"),
    Column("event", lazy("Event"), css="cw-lead", sortable=False),
    Column("actor", lazy("Account"), css="cw-tight", sortable=False),
    Column("object", lazy("Object"), css="cw-why", sortable=False),
    Column("outcome", lazy("Outcome"), css="cw-tight cw-mark-s", sortable=False),
    Column("chain", lazy("CA"), css="cw-tight cw-hide-s", sortable=False),
    Column("sequence", lazy("Sequence"), css="cw-tight cw-num", sortable=False, off=True),
    Column("hash", lazy("Hash"), css="cw-mono cw-tight", sortable=False, off=True),
)
MAX_SEARCHED: Final = 5000
"""How many of the newest events a search reads through."""
INSTALLATION: Final = "-"
"""What stands for the chain of the installation itself in a query."""

_REFUSALS: Final = frozenset(
    {
        AuditEvent.REQUEST_DENIED,
        AuditEvent.REQUEST_DENIED_BY_MANAGER,
        AuditEvent.REQUEST_FAILED,
        AuditEvent.CONSOLE_SIGN_IN_REFUSED,
    }
)
"""Events that tell of something that did not come about; of all others, what their name says was done."""
_SINCE: Final = {"1": timedelta(days=1), "7": timedelta(days=7), "30": timedelta(days=30)}
_last: dict[str, object] = {}  # what the last verification found, in this process


def _filters(viewer: Viewer) -> list[Filter]:
    events = sorted((str(int(event)), f"{int(event)} {words(event.name)}") for event in AuditEvent)
    chains = [(ca.name, ca.name) for ca in viewer.cas] + [(INSTALLATION, _("Installation"))]
    since = [("1", _("Last 24 hours")), ("7", _("Last 7 days")), ("30", _("Last 30 days"))]
    return [
        Filter("event", _("Event"), _("All events"), events),
        Filter("ca", _("CA"), _("All CAs"), chains),
        Filter("since", _("Time"), _("Any time"), since, wide_only=True),
    ]


_OWN_WORDS: Final = {
    "CONSOLE_SIGNED_IN": lazy("Signed in to the console"),
    "CONSOLE_SIGN_IN_REFUSED": lazy("Sign-in to the console refused"),
    "CONSOLE_SIGNED_OUT": lazy("Signed out of the console"),
    "CONSOLE_ROLES_CHANGED": lazy("Roles in the console changed"),
    "CONSOLE_ACCOUNT_CHANGED": lazy("Account of the console changed"),
}


def words(name: str) -> str:
    """`CERTIFICATE_ISSUED` as people read it; the event's own number stands beside it."""
    if name in _OWN_WORDS:
        return str(_OWN_WORDS[name])
    return _(borrowed.event_name(name))


@page(access.AUDIT)
def trail(request: PageRequest) -> HttpResponse:
    """Events, the newest first."""
    listing = Listing.read(
        request,
        "audit",
        COLUMNS,
        sort="-when",
        filters=_filters(request.viewer),
        search=lazy("Account, object, request"),
    )
    found = _events(listing, MAX_SEARCHED if listing.q else listing.offset + listing.size + 1)
    shown = [_row(record) for record in found if _matches(record, listing.q)]
    window = shown[listing.offset : listing.offset + listing.size]
    more = len(shown) > listing.offset + listing.size
    listing.fill(window, None if more else listing.offset + len(window), has_more=more)
    query = listing.url().partition("?")[2]
    listing.exports = [("JSON", f"/audit/export/?{query}"), ("CSV", f"/audit/export/?{query}&as=csv")]
    context = {
        "title": _("Audit"),
        "listing": listing,
        "verified": _last.get("verified"),
        "may_verify": _may_verify(request.viewer),
    }
    return answer(request, "console/audit.html", context, rows="console/audit/rows.html")


@page({Role.AUDITOR, Role.CA_ADMINISTRATOR, Role.ADMINISTRATOR}, methods=("POST",))
def verify(request: PageRequest) -> HttpResponse:
    """Recompute every hash of every chain."""
    result = rooms().audit.verify([ca.name for ca in request.viewer.cas])
    _last["verified"] = {"when": rooms().clock(), "result": result}
    context = {"verified": _last["verified"], "may_verify": True}
    return answer(
        request, "console/audit/verified.html", {**context, "title": _("Audit")}, rows="console/audit/chain.html"
    )


@page(access.AUDIT)
def export(request: PageRequest) -> HttpResponseBase:
    """Everything that the filters leave, streamed: each event with the hash that chains it to the one before."""
    listing = Listing.read(request, "audit", COLUMNS, sort="-when", filters=_filters(request.viewer))
    since = _SINCE.get(listing.value("since"))
    every = rooms().audit.stream(
        ca=_chain(listing),
        event=int(listing.value("event")) if listing.value("event") else None,
        since=rooms().clock() - since if since else None,
    )
    found = (record for record in every if _matches(record, listing.q))
    if request.GET.get("as") == "csv":
        header = ("when", "chain", "sequence", "event", "name", "actor", "details", "hash")
        rows = ([*_plain(record).values()] for record in found)
        return exports.csv("audit", header, rows)
    return exports.json_lines("audit", _plain_all(found))


def _plain_all(found: Iterator[AuditRecord]) -> Iterator[dict[str, object]]:
    for record in found:
        yield _plain(record) | {"details": dict(record.details)}


def _plain(record: AuditRecord) -> dict[str, object]:
    return {
        "when": record.when.isoformat(),
        "chain": record.chain,
        "sequence": record.sequence,
        "event": record.event,
        "name": record.name,
        "actor": record.actor,
        "details": "; ".join(f"{key}={value}" for key, value in record.details.items()),
        "hash": record.hash,
    }


def _events(listing: Listing, limit: int) -> Iterator[AuditRecord]:
    since = _SINCE.get(listing.value("since"))
    yield from rooms().audit.events(
        ca=_chain(listing),
        event=int(listing.value("event")) if listing.value("event") else None,
        since=rooms().clock() - since if since else None,
        limit=limit,
        newest_first=listing.descending,
    )


def _chain(listing: Listing) -> str | None:
    chosen = listing.value("ca")
    return ("" if chosen == INSTALLATION else chosen) if chosen else None


def _matches(record: AuditRecord, needle: str) -> bool:
    if not needle:
        return True
    text = f"{record.actor} {' '.join(map(str, record.details.values()))} {words(record.name)}".casefold()
    return all(word in text for word in needle.casefold().split())


def _row(record: AuditRecord) -> dict[str, object]:
    details = dict(record.details)
    request_id = details.get("request_id")
    first = next(
        (
            str(details[key])
            for key in ("account", "subject", "template", "serial_number", "name")
            if details.get(key)
        ),
        "",
    )
    return {
        "record": record,
        "words": words(record.name),
        "refused": record.event in _REFUSALS,
        "object": first or (_("request %(id)s") % {"id": request_id} if request_id else ""),
        "request_id": request_id if isinstance(request_id, int) else None,
        "details": "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in details.items() if key != OS_USER),
    }


def _may_verify(viewer: Viewer) -> bool:
    return viewer.may(Role.AUDITOR, Role.CA_ADMINISTRATOR, Role.ADMINISTRATOR)


def _broken(viewer: Viewer) -> Badge | None:
    """Red at the menu entry when the last verification found a broken chain."""
    verified = _last.get("verified")
    if not isinstance(verified, dict) or verified["result"].is_intact:
        return None
    return Badge(len(verified["result"].broken), "red", lazy("breaks in the chain"))


badges = {"/audit/": _broken}

urls = [
    path("audit/", trail),
    path("audit/verify/", verify),
    path("audit/export/", export),
]
