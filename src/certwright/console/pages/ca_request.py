"""One request of a CA, whatever became of it; and what certificate managers do with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from django import forms
from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError, BadRequestState
from certwright.adcs.interfaces import CertAdmin, CrlKind, Preview, Sort, Table
from certwright.adcs.request import Disposition
from certwright.adcs.roles import RevocationReason
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, page
from certwright.console.authority import administer, ca_of, download, may_configure, may_manage
from certwright.console.rooms import CaStanding, rooms
from certwright.pki import armor
from certwright.pki.errors import EncodingError
from certwright.pki.explain import explain_certificate, explain_request

TABS: Final = (
    ("", lazy("Requested / would be issued")),
    ("checks", lazy("Checks")),
    ("attributes", lazy("Attributes")),
    ("extensions", lazy("Extensions")),
    ("history", lazy("History")),
)
REASONS: Final = (
    (RevocationReason.UNSPECIFIED, lazy("Unspecified")),
    (RevocationReason.KEY_COMPROMISE, lazy("Key Compromise")),
    (RevocationReason.CA_COMPROMISE, lazy("CA Compromise")),
    (RevocationReason.AFFILIATION_CHANGED, lazy("Change of Affiliation")),
    (RevocationReason.SUPERSEDED, lazy("Superseded")),
    (RevocationReason.CESSATION_OF_OPERATION, lazy("Cease of Operation")),
    (RevocationReason.CERTIFICATE_HOLD, lazy("Certificate Hold")),
)
_MANAGERS: Final = {Role.CERTIFICATE_MANAGER, Role.CA_ADMINISTRATOR}
_APPROVED: Final = "Approved: "
"""How a check begins that only an approval passes."""


def base(ca: CaStanding, number: int) -> str:
    return f"/ca/{ca.slug}/requests/{number}/"


@page(access.QUEUES)
def show(request: PageRequest, ca: str, number: int, tab: str = "") -> HttpResponse:
    """One request."""
    return answers.answer(request, "console/ca/request.html", picture_of(request, ca_of(request, ca), number, tab))


def picture_of(request: PageRequest, ca: CaStanding, number: int, tab: str = "") -> dict[str, Any]:
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
    extensions, attributes = _contents(stored, tab)
    checks = list(preview.checks) if preview else []
    approvals = [check.message.removeprefix(_APPROVED) for check in checks if check.message.startswith(_APPROVED)]
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
        "why_not": why_not,
        "approvals": approvals,
        "failing": [check for check in checks if not check.passed],
        "diff": [_diff(field) for field in preview.fields] if preview else [],
        "checks": sorted(checks, key=lambda check: (check.passed, not check.message.startswith(_APPROVED))),
        "own": record.requester_name.casefold() == request.viewer.account.casefold(),
        "template": rooms().directory_administration.templates().get(record.template),
        "facts": [(key.replace("_", " "), value) for key, value in record.client_facts.items()],
        "attributes": attributes,
        "extensions": extensions,
        "set_by_officer": stored["extensions"],
        "history": [
            (event.when, event.name.replace("_", " ").capitalize(), event.actor, event.details)
            for event in rooms().audit.events(ca=ca.name, request_id=number, limit=50)
        ],
        "tab": tab if preview or tab else "extensions",
        "tabs": [
            (key, label, f"{base(ca, number)}{key}/" if key else base(ca, number))
            for key, label in TABS
            if preview or key not in ("", "checks")
        ],
        "may_issue": manages if word == "pending" else configures and word == "denied",
        "may_deny": manages and word == "pending",
        "may_revoke": manages and word == "issued",
        "may_release": manages and on_hold,
        "pem": armor.armor(armor.CERTIFICATE, stored["certificate"]) if stored["certificate"] else "",  # type: ignore[arg-type]
        "status_code": f"0x{int(record.status):08X}",
        "status_symbol": record.status.name,
    }


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


def _diff(field: Any) -> dict[str, Any]:
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
    return {
        "name": field.name,
        "asked": [(line, line not in given) for line in asked],
        "given": [(line, line not in asked) for line in given],
        "by": field.by,
        "icon": icon,
        "colour": colour,
    }


def _contents(stored: Any, tab: str) -> tuple[list[Any], list[tuple[str, str]]]:
    """The decoded request or certificate, and the attributes by name."""
    pairs = [tuple(line.split(":", 1)) for line in stored["record"].attributes.splitlines() if ":" in line]
    data, read = stored["certificate"], explain_certificate
    if data is None:
        data, read = stored["raw_request"], explain_request
    try:
        lines = [(line.strip(), (len(line) - len(line.lstrip())) // 2) for line in read(data).lines()] if data else []
    except EncodingError as error:  # a CMS around the request, or nothing that can be read
        lines = [(str(error), 0)]
    return lines, [(name, value) for name, value in pairs]


# -- acts ------------------------------------------------------------------------------------------------------------


@page(_MANAGERS, methods=("GET", "POST"))
def issue(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """Issue as previewed: refused, with the new picture, when it would be issued differently by now."""
    standing = ca_of(request, ca)
    if request.method != "POST":
        context = picture_of(request, standing, number)
        context |= {"title": _("Issue request %(id)s?") % {"id": number}, "back": base(standing, number)}
        return answers.dialog(request, "console/ca/issue.html", context)
    try:
        response = administer(request, standing).resubmit(number, fingerprint=request.POST.get("fingerprint", ""))
    except BadRequestState as error:
        if request.htmx:
            answers.leave_toast(request, error.message)
            return answers.done(request, base(standing, number))
        context = picture_of(request, standing, number)
        code = {"refusal": error, "code": f"0x{int(error.status):08X}", "symbol": error.status.name}
        return answers.answer(request, "console/ca/request.html", context | code, status=409)
    if response.disposition is not Disposition.ISSUED:
        return answers.done(request, base(standing, number), response.message)
    return answers.done(request, _next(request, standing, number), _("Request %(id)s is issued.") % {"id": number})


class DenyForm(forms.Form):
    reason = forms.CharField(
        label=lazy("Reason, for the requester and the audit trail"),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2, "autofocus": True}),
    )


@page(_MANAGERS, methods=("GET", "POST"))
def deny(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """Deny, with a reason."""
    standing = ca_of(request, ca)
    form = DenyForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        administer(request, standing).deny(number, form.cleaned_data["reason"])
        return answers.done(
            request, _next(request, standing, number), _("Request %(id)s is denied.") % {"id": number}
        )
    record: Any = administer(request, standing).request_row(number)["record"]
    context = {
        "title": _("Deny request %(id)s?") % {"id": number},
        "text": _(
            "%(name)s, for %(requester)s. The requester sees “Denied by %(account)s” (0x80094014). A denied request"
            " can still be issued later from Failed Requests."
        )
        % {
            "name": record.common_name or record.subject,
            "requester": record.requester_name,
            "account": request.viewer.account,
        },
        "form": form,
        "submit": _("Deny request %(id)s") % {"id": number},
        "back": base(standing, number),
    }
    return answers.dialog(request, "console/ca/act.html", context, status=422 if form.errors else 200)


class RevokeForm(forms.Form):
    reason = forms.ChoiceField(
        label=lazy("Reason code"), choices=[(reason.rfc_name, words) for reason, words in REASONS]
    )
    effective = forms.DateTimeField(
        label=lazy("Date and time (UTC)"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text=lazy("From when on it is revoked; empty means now."),
    )
    publish = forms.BooleanField(label=lazy("Publish a new CRL now"), required=False)
    word = forms.CharField(label=lazy("The last four characters of the serial number"), max_length=4)


@page(_MANAGERS, methods=("GET", "POST"))
def revoke(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """Revoke a certificate, or say another reason for one on hold."""
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    record: Any = admin.request_row(number)["record"]
    if record.certificate is None:
        raise BadRequestState(_("Request %(id)s has no certificate.") % {"id": number})
    serial = record.certificate.serial_number
    form = RevokeForm(request.POST if request.method == "POST" else None)
    form.fields["word"].widget.attrs["data-confirm-word"] = serial[-4:]
    if not may_configure(request, standing):
        del form.fields["publish"]
    if request.method == "POST" and form.is_valid():
        if form.cleaned_data["word"].lower() != serial[-4:]:
            form.add_error("word", _("These are not its last four characters."))
        else:
            effective: datetime | None = form.cleaned_data["effective"]
            reason = RevocationReason.from_rfc_name(form.cleaned_data["reason"])
            admin.revoke(serial, reason, effective.replace(tzinfo=UTC) if effective else None)
            if form.cleaned_data.get("publish"):
                admin.publish_crls(CrlKind.BASE)
            return answers.done(request, base(standing, number), _("Certificate revoked."))
    name = record.common_name or record.subject
    context = {
        "title": _("Revoke %(name)s?") % {"name": name},
        "text": _(
            "Serial number %(serial)s, valid until %(until)s. Everything that presents it will be refused as soon as"
            " the next answer or CRL is read. This cannot be undone, except for reason Certificate Hold."
        )
        % {"serial": serial, "until": f"{record.certificate.not_after:%Y-%m-%d}"},
        "form": form,
        "submit": _("Revoke certificate"),
        "back": base(standing, number),
    }
    return answers.dialog(request, "console/ca/act.html", context, status=422 if form.errors else 200)


@page(_MANAGERS, methods=("POST",))
def release(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """Release a certificate from hold."""
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    record: Any = admin.request_row(number)["record"]
    if record.certificate is None:
        raise BadRequestState(_("Request %(id)s has no certificate.") % {"id": number})
    admin.revoke(record.certificate.serial_number, RevocationReason.RELEASE_FROM_HOLD)
    return answers.done(request, base(standing, number), _("Released from hold."))


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


def _next(request: PageRequest, ca: CaStanding, number: int) -> str:
    """After an act the next one of the queue is selected."""
    waiting = administer(request, ca).view(Table.PENDING_REQUESTS, (), ("request_id",), Sort("request_id"), 1)
    return f"/ca/{ca.slug}/pending/" if next(iter(waiting), None) else base(ca, number)


_AT = "ca/<str:ca>/requests/<int:number>/"
urls = [
    path(_AT, show),
    *(path(f"{_AT}{key}/", show, {"tab": key}) for key, _label in TABS if key),
    path(f"{_AT}issue/", issue),
    path(f"{_AT}deny/", deny),
    path(f"{_AT}revoke/", revoke),
    path(f"{_AT}release/", release),
    *(path(f"{_AT}export/{what}/", binary, {"what": what}) for what in ("request", "certificate", "pem")),
]
