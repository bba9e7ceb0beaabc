"""The same for several rows that were ticked in a list: each is acted on by itself, refused ones are marked."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy
from django.utils.translation import ngettext

from certwright.adcs.errors import AdcsError, BadRequestState, InvalidArgument
from certwright.adcs.interfaces import CrlKind
from certwright.adcs.request import Disposition
from certwright.console import answers
from certwright.console.access import PageRequest, page
from certwright.console.authority import Outcome, administer, after_all, ca_of, may_configure, picked
from certwright.console.pages.ca_request import MANAGERS, approvals_of
from certwright.console.pages.deciding import DenyForm, RevokeForm


def _ticked(request: PageRequest) -> list[int]:
    """Raises:
    InvalidArgument: none.
    """
    numbers = picked(request)
    if not numbers:
        raise InvalidArgument(_("Tick at least one row first."))
    return numbers


@page(MANAGERS, methods=("GET", "POST"))
def issue(request: PageRequest, ca: str) -> HttpResponse:
    """Issue each as it was previewed in the dialog."""
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    numbers = _ticked(request)
    if request.method == "POST":

        def one(number: int) -> None:
            response = admin.resubmit(number, fingerprint=request.POST.get(f"fingerprint-{number}", ""))
            if response.disposition is not Disposition.ISSUED:
                raise BadRequestState(response.message)

        outcome = Outcome()
        outcome.each(numbers, one)
        count = len(outcome.done)
        done = ngettext("%(count)s issued", "%(count)s issued", count) % {"count": count}
        return after_all(request, standing, f"/ca/{standing.slug}/pending/list/", outcome, done)
    rows: list[dict[str, Any]] = []
    for number in numbers:
        row: dict[str, Any] = {"number": number}
        try:
            record: Any = admin.request_row(number)["record"]
            row |= {"name": record.common_name or record.subject, "requester": record.requester_name}
            preview = admin.preview(number)
            row |= {"fingerprint": preview.fingerprint, "approvals": approvals_of(preview.checks)}
            row["stop"] = "" if preview.would_issue else _("A rule refuses it.")
        except AdcsError as error:
            row["stop"] = error.message
        rows.append(row)
    title = ngettext("Issue %(count)s request?", "Issue %(count)s requests?", len(rows)) % {"count": len(rows)}
    context = {
        "title": title,
        "rows": rows,
        "warned": sum(bool(row.get("approvals")) for row in rows),
        "submit": ngettext("Issue %(count)s request", "Issue %(count)s requests", len(rows)) % {"count": len(rows)},
        "back": f"/ca/{standing.slug}/pending/list/",
    }
    return answers.dialog(request, "console/ca/issue_many.html", context)


@page(MANAGERS, methods=("GET", "POST"))
def deny(request: PageRequest, ca: str) -> HttpResponse:
    """Deny all of them, with one reason."""
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    numbers = _ticked(request)
    form = DenyForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        outcome = Outcome()
        outcome.each(numbers, lambda number: admin.deny(number, form.cleaned_data["reason"]))
        count = len(outcome.done)
        done = ngettext("%(count)s denied", "%(count)s denied", count) % {"count": count}
        return after_all(request, standing, f"/ca/{standing.slug}/pending/list/", outcome, done)
    count = len(numbers)
    context = {
        "title": ngettext("Deny %(count)s request?", "Deny %(count)s requests?", count) % {"count": count},
        "text": _(
            "The requesters see “Denied by %(account)s” (0x80094014) and the reason. A denied request can still be"
            " issued later from Failed Requests."
        )
        % {"account": request.viewer.account},
        "records": _records(request, ca, numbers),
        "numbers": numbers,
        "form": form,
        "submit": ngettext("Deny %(count)s request", "Deny %(count)s requests", count) % {"count": count},
        "back": f"/ca/{standing.slug}/pending/list/",
    }
    return answers.dialog(request, "console/ca/act_many.html", context, status=422 if form.errors else 200)


@page(MANAGERS, methods=("GET", "POST"))
def revoke(request: PageRequest, ca: str) -> HttpResponse:
    """Revoke all of them, for one reason; their number has to be typed."""
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    numbers = _ticked(request)
    count = len(numbers)
    form = RevokeForm(request.POST if request.method == "POST" else None)
    form.fields["word"].label = lazy("Their number, to confirm")
    form.confirm(str(count))
    if not may_configure(request, standing):
        del form.fields["publish"]
    if request.method == "POST" and form.is_valid():
        if form.cleaned_data["word"].strip() != str(count):
            form.add_error("word", _("%(count)s are ticked; type that number.") % {"count": count})
        else:

            def one(number: int) -> None:
                record: Any = admin.request_row(number)["record"]
                if record.certificate is None or record.certificate.revoked_reason is not None:
                    raise BadRequestState(_("It is not an issued certificate (any more)."))
                admin.revoke(record.certificate.serial_number, form.chosen, form.when)

            outcome = Outcome()
            outcome.each(numbers, one)
            if form.cleaned_data.get("publish"):
                admin.publish_crls(CrlKind.BASE)
            revoked = len(outcome.done)
            done = ngettext("%(count)s revoked", "%(count)s revoked", revoked) % {"count": revoked}
            return after_all(request, standing, f"/ca/{standing.slug}/issued/", outcome, done)
    records = _records(request, ca, numbers)
    templates = Counter(record["template"] for record in records)
    context = {
        "title": ngettext("Revoke %(count)s certificate?", "Revoke %(count)s certificates?", count)
        % {"count": count},
        "text": _(
            "Everything that presents one of them will be refused as soon as the next answer or CRL is read. This"
            " cannot be undone, except for reason Certificate Hold."
        ),
        "records": records,
        "by_template": ", ".join(f"{number} × {template or '–'}" for template, number in templates.most_common()),
        "numbers": numbers,
        "form": form,
        "submit": ngettext("Revoke %(count)s certificate", "Revoke %(count)s certificates", count) % {"count": count},
        "back": f"/ca/{standing.slug}/issued/",
    }
    return answers.dialog(request, "console/ca/act_many.html", context, status=422 if form.errors else 200)


def _records(request: PageRequest, ca: str, numbers: list[int]) -> list[dict[str, Any]]:
    """Names of what was ticked, for the dialog."""
    admin = administer(request, ca_of(request, ca))
    found = []
    for number in numbers:
        record: Any = admin.request_row(number)["record"]
        name = record.common_name or record.subject
        found.append({"number": number, "name": name, "template": record.template})
    return found


urls = [
    path("ca/<str:ca>/pending/issue/", issue),
    path("ca/<str:ca>/pending/deny/", deny),
    path("ca/<str:ca>/issued/revoke/", revoke),
]
