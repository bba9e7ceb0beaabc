"""One request of a CA, whatever became of it: what was asked, what would be issued, and how it went."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.adcs.interfaces import CertAdmin, Check, Comparison, Preview, PreviewField, Restriction, Table
from certwright.adcs.roles import RevocationReason
from certwright.console import access, answers, borrowed
from certwright.console.access import PageRequest, Role, page
from certwright.console.authority import administer, ca_of, download, may_configure, may_manage
from certwright.console.pages.audit import words as event_words
from certwright.console.rooms import CaStanding, rooms
from certwright.pki import armor
from certwright.pki.errors import EncodingError
from certwright.pki.explain import explain_certificate, explain_extension, explain_request
from certwright.pki.extensions import Extension

TABS: Final = (
    ("", lazy("Requested / would be issued")),
    ("checks", lazy("Checks")),
    ("attributes", lazy("Attributes")),
    ("extensions", lazy("Extensions")),
    ("history", lazy("History")),
)
MANAGERS: Final = {Role.CERTIFICATE_MANAGER, Role.CA_ADMINISTRATOR}
UNFOLDED: Final = 10
"""With more rows than this, those that are issued as asked are folded away."""
COUNTED: Final = 1000
_APPROVED: Final = "Approved: "
"""How a check begins that only an approval passes."""
_NAME_RULES: Final = "name_rules"
_OWN_REQUESTS: Final = "approve-own-requests"
"""The CA's setting, where it has one, by which managers are kept from their own requests."""
_BY: Final = {
    "as asked": lazy("as asked"),
    "template": lazy("template"),
    "directory": lazy("directory"),
    "CA": lazy("CA"),
    "replaced": lazy("replaced"),
    "removed": lazy("removed"),
}


def base(ca: CaStanding, number: int) -> str:
    return f"/ca/{ca.slug}/requests/{number}/"


@page(access.QUEUES)
def show(request: PageRequest, ca: str, number: int, tab: str = "") -> HttpResponse:
    """One request: a page, or the half of the queue's page that shows it."""
    in_queue = request.htmx and "queue" in request.GET
    context = picture_of(request, ca_of(request, ca), number, tab, in_queue=bool(in_queue))
    context["heading"] = context["title"]
    return answers.answer(request, "console/ca/request.html", context, rows="console/ca/detail.html")


def picture_of(
    request: PageRequest, ca: CaStanding, number: int, tab: str = "", *, in_queue: bool = False
) -> dict[str, Any]:
    """Everything that the page and the queue's right half show of one request.

    Raises:
        NoSuchRequest: there is none.
    """
    admin = administer(request, ca)
    stored = admin.request_row(number)
    record: Any = stored["record"]
    word = record.state.name.lower()
    certificate = record.certificate
    on_hold = certificate is not None and certificate.revoked_reason is RevocationReason.CERTIFICATE_HOLD
    preview, why_not = _preview(admin, number) if word in ("pending", "denied") else (None, "")
    manages, configures = may_manage(request, ca), may_configure(request, ca)
    extensions = _contents(stored)
    attributes = _attributes(record.attributes)
    set_by_officer: Sequence[tuple[str, bool, bytes]] = stored["extensions"]  # type: ignore[assignment]
    history = _history(ca, number)
    checks = list(preview.checks) if preview else []
    approvals = approvals_of(checks)
    broken = _names_in(check.message for check in checks if _needs_decision(check) and check.rule == _NAME_RULES)
    rows = [_diff(field, broken) for field in preview.fields] if preview else []
    counts = {
        "checks": len(checks),
        "attributes": len(attributes) + len(record.client_facts),
        "extensions": len(set_by_officer),
        "history": len(history),
    }
    own = request.viewer.account.casefold() in (record.requester_name.casefold(), record.caller_name.casefold())
    return {
        "title": record.common_name or record.subject or _("Request %(id)s") % {"id": number},
        "crumbs": [(ca.name, ""), _queue_of(ca, word)],
        "ca": ca,
        "base": base(ca, number),
        "record": record,
        "state": "on hold" if on_hold else word,
        "certificate": certificate,
        "on_hold": on_hold,
        "is_pending": word == "pending",
        "preview": preview,
        "shown": json.dumps([[field.name, field.issued] for field in preview.fields]) if preview else "",
        "why_not": why_not,
        "approvals": approvals,
        "diff": [row for row in rows if row["differs"]] if len(rows) > UNFOLDED else rows,
        "folded": [row for row in rows if not row["differs"]] if len(rows) > UNFOLDED else [],
        "checks": sorted(checks, key=lambda check: (check.passed, not _needs_decision(check))),
        "passed": sum(check.passed and not _needs_decision(check) for check in checks),
        "own": own,
        "own_refused": own and word == "pending" and not _may_issue_own(admin),
        "requester_facts": _requester_facts(admin, record) if word == "pending" else "",
        "template": rooms().directory_administration.templates().get(record.template),
        "facts": [(key.replace("_", " "), value) for key, value in record.client_facts.items()],
        "attributes": attributes,
        "extensions": extensions,
        "set_by_officer": [_explained(*entry) for entry in set_by_officer],
        "history": history,
        "tab": tab if preview or tab not in ("", "checks") else "extensions",
        "tabs": [
            {"key": key, "label": label, "count": counts.get(key), **_tab_links(ca, number, key)}
            for key, label in TABS
            if preview or key not in ("", "checks")
        ],
        "in_queue": in_queue,
        "may_issue": manages if word == "pending" else configures and word == "denied",
        "may_deny": manages and word == "pending",
        "may_change": manages and word == "pending",
        "may_revoke": manages and word == "issued",
        "may_release": manages and on_hold,
        "status_code": f"0x{int(record.status):08X}",
        "status_symbol": record.status.name,
    }


def _tab_links(ca: CaStanding, number: int, key: str) -> dict[str, str]:
    """A tab of the request's own page, and of the queue's."""
    alone = f"{base(ca, number)}{key}/" if key else base(ca, number)
    queue = f"/ca/{ca.slug}/pending/?request={number}{f'&tab={key}' if key else ''}"
    return {"href": alone, "queue_href": queue, "part": f"{alone}?queue"}


def _queue_of(ca: CaStanding, word: str) -> tuple[str, str]:
    queues = {
        "pending": (_("Pending Requests"), "pending"),
        "revoked": (_("Revoked Certificates"), "revoked"),
        "denied": (_("Failed Requests"), "failed"),
        "error": (_("Failed Requests"), "failed"),
    }
    label, name = queues.get(word, (_("Issued Certificates"), "issued"))
    return label, f"/ca/{ca.slug}/{name}/"


def _preview(admin: CertAdmin, number: int) -> tuple[Preview | None, str]:
    """What would be issued now; a reader without the right to issue sees why there is none."""
    try:
        return admin.preview(number), ""
    except AdcsError as error:
        return None, error.message


def _needs_decision(check: Check) -> bool:
    """Does it pass only because a certificate manager decides so?"""
    return check.passed and check.message.startswith(_APPROVED)


def approvals_of(checks: Sequence[Check]) -> list[str]:
    """What a certificate manager decides on by issuing: the sentences."""
    return [check.message.removeprefix(_APPROVED) for check in checks if _needs_decision(check)]


def _may_issue_own(admin: CertAdmin) -> bool:
    return admin.configuration().get(_OWN_REQUESTS, "on") == "on"


def _requester_facts(admin: CertAdmin, record: Any) -> str:
    """`member of Web Enrollers · 41 issued, 1 denied so far`."""
    said = []
    principal = rooms().directory.principal(record.requester_sid)
    if principal is not None:
        domain = rooms().directory.domain
        names = rooms().directory.sid_names(frozenset(sid for sid in principal.groups if sid.startswith(domain.sid)))
        groups = sorted(name.removeprefix(f"{domain.netbios_name}\\") for name in names.values())
        if groups:
            said.append(_("member of %(groups)s") % {"groups": ", ".join(groups[:3])})
    of_requester = (Restriction("requester", Comparison.EQUAL, record.requester_name),)
    issued, refused = (
        sum(1 for _row in admin.view(table, of_requester, ("request_id",), None, COUNTED))
        for table in (Table.ISSUED_CERTIFICATES, Table.FAILED_REQUESTS)
    )
    said.append(_("%(issued)s issued, %(refused)s denied or failed so far") % {"issued": issued, "refused": refused})
    return " · ".join(said)


def _history(ca: CaStanding, number: int) -> list[dict[str, Any]]:
    """What the audit trail says of the request, oldest first."""
    events = rooms().audit.events(ca=ca.name, request_id=number, limit=50)
    shown = ("reason", "attributes", "extension", "rule", "serial_number")
    return [
        {
            "when": event.when,
            "words": event_words(event.name),
            "actor": event.actor,
            "details": "; ".join(
                f"{key.replace('_', ' ')}: {event.details[key]}" for key in shown if event.details.get(key)
            ),
        }
        for event in reversed(events)
    ]


def _diff(field: PreviewField, outside: Collection[str]) -> dict[str, Any]:
    """One row of requested and issued, value by value: what is on one side only is marked."""
    asked, given = field.requested.splitlines(), field.issued.splitlines()
    if field.name in ("Not before", "Not after"):
        given = [f"{datetime.fromisoformat(line):%Y-%m-%d %H:%M:%S} UTC" for line in given]
    icons = {
        "as asked": ("equal", ""),  # icon:equal
        "replaced": ("arrows-exchange", "cw-t-orange"),  # icon:arrows-exchange
        "removed": ("minus", "cw-t-red"),  # icon:minus
    }
    icon, colour = icons.get(field.by, ("plus", "cw-t-green"))  # icon:plus
    is_name = field.name == "Subject" or field.name.startswith("SAN")
    broken = {line for line in given if line in outside} if is_name else set()
    return {
        "name": borrowed.field_name(field.name),
        "asked": [(line, line not in given) for line in asked],
        "given": [(line, line not in asked, line in broken) for line in given],
        "by": _BY.get(field.by, field.by),
        "icon": icon,
        "colour": colour,
        "differs": field.by != "as asked" or bool(broken),
    }


def _names_in(sentences: Iterable[str]) -> frozenset[str]:
    """The names that sentences about broken name rules speak of: they stand in them as words of their own."""
    return frozenset(word.strip(";,.:") for sentence in sentences for word in sentence.split())


def _contents(stored: Mapping[str, object]) -> list[tuple[str, int]]:
    """The decoded certificate, or the request: lines with their depth."""
    data, read = stored["certificate"], explain_certificate
    if data is None:
        data, read = stored["raw_request"], explain_request
    if not isinstance(data, bytes):
        return []
    try:
        return [(line.strip(), (len(line) - len(line.lstrip())) // 2) for line in read(data).lines()]
    except EncodingError as error:  # a CMS around the request, or nothing that can be read
        return [(str(error), 0)]


def _attributes(text: str) -> list[tuple[str, str]]:
    lines = (line.partition(":") for line in text.splitlines())
    return [(name, value) for name, colon, value in lines if colon]


def _explained(oid: str, critical: bool, value: bytes) -> list[tuple[str, int]]:
    """An extension that a certificate manager set: lines with their depth."""
    lines = explain_extension(Extension(oid, critical, value)).lines()
    return [(line.strip(), (len(line) - len(line.lstrip())) // 2) for line in lines]


@page(access.QUEUES)
def binary(request: PageRequest, ca: str, number: int, what: str) -> HttpResponse:
    """Export Binary Data: the request as it came, or the certificate, in DER or PEM."""
    stored = administer(request, ca_of(request, ca)).request_row(number)
    wanted = {
        "request": ("raw_request", f"{number}.req"),
        "certificate": ("certificate", f"{number}.cer"),
        "pem": ("certificate", f"{number}.pem"),
    }
    key, name = wanted[what]
    data = stored[key]
    if not isinstance(data, bytes):
        raise Http404
    if what == "pem":
        return download(name, armor.armor(armor.CERTIFICATE, data).encode(), "application/x-pem-file")
    return download(name, data)


_AT = "ca/<str:ca>/requests/<int:number>/"
urls = [
    path(_AT, show),
    *(path(f"{_AT}{key}/", show, {"tab": key}) for key, _label in TABS if key),
    *(path(f"{_AT}export/{what}/", binary, {"what": what}) for what in ("request", "certificate", "pem")),
]
