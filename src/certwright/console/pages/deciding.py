"""What certificate managers do with a request or a certificate: issue, deny, change, revoke, release."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AccessDenied, BadRequest, BadRequestState
from certwright.adcs.events import AuditEvent
from certwright.adcs.interfaces import Comparison, CrlKind, Restriction, Sort, Table
from certwright.adcs.request import Disposition, RequestAttributes
from certwright.adcs.roles import RevocationReason
from certwright.console import answers, borrowed
from certwright.console.access import PageRequest, page
from certwright.console.authority import administer, ca_of, may_configure, may_manage
from certwright.console.pages.ca_request import MANAGERS, base, picture_of
from certwright.console.rooms import CaStanding, rooms

HOLD: Final = RevocationReason.CERTIFICATE_HOLD
REASONS: Final = (
    (RevocationReason.UNSPECIFIED, lazy("Unspecified")),
    (RevocationReason.KEY_COMPROMISE, lazy("Key Compromise")),
    (RevocationReason.CA_COMPROMISE, lazy("CA Compromise")),
    (RevocationReason.AFFILIATION_CHANGED, lazy("Change of Affiliation")),
    (RevocationReason.SUPERSEDED, lazy("Superseded")),
    (RevocationReason.CESSATION_OF_OPERATION, lazy("Cease of Operation")),
    (HOLD, lazy("Certificate Hold")),
)
REASON_WORDS: Final[Mapping[str, Any]] = {reason.rfc_name: words for reason, words in REASONS}
_CHANGING: Final = (
    AuditEvent.REQUEST_ATTRIBUTES_SET,
    AuditEvent.REQUEST_EXTENSION_SET,
    AuditEvent.REQUEST_RESUBMITTED,
    AuditEvent.REQUEST_DENIED_BY_MANAGER,
)
MAX_SHOWN_BEFORE: Final = 65_536
"""Longest picture, in characters, that a form may hand back for comparison."""


# -- issuing ---------------------------------------------------------------------------------------------------------


@page(MANAGERS, methods=("GET", "POST"))
def issue(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """Issue as previewed: refused, with both pictures, when it would be issued differently by now."""
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    if request.method != "POST":
        context = picture_of(request, standing, number) | _issue_words(standing, number)
        return answers.dialog(request, "console/ca/issue.html", context)
    record: Any = admin.request_row(number)["record"]
    was_pending = record.state.name == "PENDING"
    try:
        response = admin.resubmit(number, fingerprint=request.POST.get("fingerprint", ""))
    except BadRequestState as error:
        context = picture_of(request, standing, number)
        if not context["preview"] or not (context["is_pending"] or context["state"] == "denied"):
            raise  # decided by somebody else: there is nothing to compare
        return _conflict(request, standing, number, error, context)
    if response.disposition is not Disposition.ISSUED:
        return answers.done(request, base(standing, number), response.message)
    url = next_after(request, standing, number) if was_pending else base(standing, number)
    return answers.done(request, url, _("Request %(id)s is issued.") % {"id": number})


def _issue_words(ca: CaStanding, number: int) -> dict[str, Any]:
    return {"title": _("Issue request %(id)s?") % {"id": number}, "back": base(ca, number)}


def _conflict(
    request: PageRequest, ca: CaStanding, number: int, error: BadRequestState, context: dict[str, Any]
) -> HttpResponse:
    """What was shown before and what would be issued now, side by side, and who changed it when."""
    context |= {
        "conflict": {
            "rows": _differences(request.POST.get("shown", ""), context["shown"]),
            "by": _changed_by(ca, number, context["record"].template),
            "message": error.message,
        },
        "code": f"0x{int(error.status):08X}",
        "symbol": error.status.name,
        "heading": context["title"],
    }
    if request.htmx or "_dialog" in request.POST:
        context |= _issue_words(ca, number)
        return answers.dialog(request, "console/ca/issue.html", context, status=409)
    return answers.answer(request, "console/ca/request.html", context, status=409)


def _differences(before: str, now: str) -> list[tuple[str, str, str]]:
    """(field, as it was shown, as it would be now), of what differs. What the form handed back is only shown."""
    try:
        earlier = {str(name): str(value) for name, value in json.loads(before[:MAX_SHOWN_BEFORE])}
    except (ValueError, TypeError):
        return []
    today = dict(json.loads(now))
    names = dict.fromkeys((*today, *earlier))
    clock = ("Not before", "Not after")  # the running clock alone is no conflict
    return [
        (borrowed.field_name(name), earlier.get(name, ""), today.get(name, ""))
        for name in names
        if name not in clock and earlier.get(name, "") != today.get(name, "")
    ]


def _changed_by(ca: CaStanding, number: int, template: str) -> Any:
    """The event that changed the request, or its template, last; None when neither has one."""
    audit = rooms().audit
    events = [event for event in audit.events(ca=ca.name, request_id=number, limit=20) if event.event in _CHANGING]
    for kind in (AuditEvent.TEMPLATE_UPDATED, AuditEvent.TEMPLATE_SECURITY_UPDATED):
        events += [each for each in audit.events(event=kind, limit=20) if each.details.get("template") == template]
    return max(events, key=lambda event: event.when, default=None)


def next_after(request: PageRequest, ca: CaStanding, number: int) -> str:
    """After an act the next one of the queue is selected: the one behind it, else the first."""
    admin = administer(request, ca)
    behind = (Restriction("request_id", Comparison.GREATER, number),)
    for where in (behind, ()):
        row = next(iter(admin.view(Table.PENDING_REQUESTS, where, ("request_id",), Sort("request_id"), 1)), None)
        if row is not None:
            return f"/ca/{ca.slug}/pending/?request={row['request_id']}"
    return base(ca, number)


# -- denying ---------------------------------------------------------------------------------------------------------


class DenyForm(forms.Form):
    reason = forms.CharField(
        label=lazy("Reason, for the requester and the audit trail"),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2, "autofocus": True}),
    )


@page(MANAGERS, methods=("GET", "POST"))
def deny(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """Deny, with a reason."""
    standing = ca_of(request, ca)
    form = DenyForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        administer(request, standing).deny(number, form.cleaned_data["reason"])
        text = _("Request %(id)s is denied.") % {"id": number}
        return answers.done(request, next_after(request, standing, number), text)
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


# -- changing a pending request --------------------------------------------------------------------------------------


class AttributesForm(forms.Form):
    attributes = forms.CharField(
        label=lazy("Attributes, one a line, as Name:Value"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 6, "class": "cw-mono", "spellcheck": "false", "autofocus": True}),
        help_text=lazy("They replace those that the request came with. Who changed them stands in the audit trail."),
    )

    def clean_attributes(self) -> RequestAttributes:
        """Raises:
        ValidationError: a line has no name or no colon, or all together are too long.
        """
        text: str = self.cleaned_data["attributes"]
        for line in text.splitlines():
            name, colon, _value = line.partition(":")
            if line.strip() and not (colon and name.strip(" -\t")):
                raise forms.ValidationError(
                    _("“%(line)s” is no attribute; write Name:Value.") % {"line": line.strip()[:80]}
                )
        try:
            return RequestAttributes.parse(text)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


@page(MANAGERS, methods=("GET", "POST"))
def set_attributes(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """Replace the attributes of a pending request."""
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    record: Any = admin.request_row(number)["record"]
    back = f"/ca/{standing.slug}/pending/?request={number}&tab=attributes"
    form = AttributesForm(
        request.POST if request.method == "POST" else None, initial={"attributes": record.attributes}
    )
    if request.method == "POST" and form.is_valid():
        admin.set_attributes(number, form.cleaned_data["attributes"])
        return answers.done(request, back, _("Attributes of request %(id)s changed.") % {"id": number})
    context = {
        "title": _("Attributes of request %(id)s") % {"id": number},
        "form": form,
        "submit": _("Change attributes"),
        "back": back,
    }
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


class ExtensionForm(forms.Form):
    oid = forms.RegexField(
        r"\A[0-2](\.(0|[1-9][0-9]*))+\Z",
        label=lazy("Object identifier (OID)"),
        max_length=128,
        widget=forms.TextInput(attrs={"class": "cw-mono", "autofocus": True}),
        error_messages={"invalid": lazy("An OID is written as 1.3.6.1.5.5.7.1.24.")},
    )
    value = forms.CharField(
        label=lazy("Value: the DER of the extension, as hexadecimal or base64"),
        max_length=65_536,
        widget=forms.Textarea(attrs={"rows": 3, "class": "cw-mono", "spellcheck": "false"}),
    )
    critical = forms.BooleanField(label=lazy("Critical"), required=False)

    def clean_value(self) -> bytes:
        """Raises:
        ValidationError: it is neither.
        """
        text = "".join(self.cleaned_data["value"].replace(":", "").split())
        try:
            return bytes.fromhex(text)
        except ValueError:
            pass
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:
            raise forms.ValidationError(_("This is neither hexadecimal nor base64.")) from None


@page(MANAGERS, methods=("GET", "POST"))
def set_extension(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """Add an extension to a pending request. What the CA refuses stands at the form, with its reason."""
    standing = ca_of(request, ca)
    back = f"/ca/{standing.slug}/pending/?request={number}&tab=extensions"
    form = ExtensionForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            administer(request, standing).set_extension(number, data["oid"], data["value"], data["critical"])
        except (AccessDenied, BadRequest) as error:
            if not may_manage(request, standing):
                raise
            form.add_error(None, f"{error.message} (0x{int(error.status):08X} {error.status.name})")
        else:
            return answers.done(request, back, _("Extension added to request %(id)s.") % {"id": number})
    context = {
        "title": _("Add an extension to request %(id)s") % {"id": number},
        "form": form,
        "submit": _("Add extension"),
        "back": back,
    }
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


# -- revoking --------------------------------------------------------------------------------------------------------


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
    word = forms.CharField(label=lazy("The last four characters of the serial number"), max_length=20)

    def confirm(self, word: str) -> None:
        """Say what has to be typed."""
        self.fields["word"].widget.attrs |= {"data-confirm-word": word, "autocomplete": "off"}

    @property
    def chosen(self) -> RevocationReason:
        return RevocationReason.from_rfc_name(self.cleaned_data["reason"])

    @property
    def when(self) -> datetime | None:
        effective: datetime | None = self.cleaned_data["effective"]
        return effective.replace(tzinfo=UTC) if effective else None


@page(MANAGERS, methods=("GET", "POST"))
def revoke(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """Revoke a certificate, or say another reason for one on hold."""
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    record: Any = admin.request_row(number)["record"]
    if record.certificate is None:
        raise BadRequestState(_("Request %(id)s has no certificate.") % {"id": number})
    serial = record.certificate.serial_number
    on_hold = record.certificate.revoked_reason is HOLD
    form = RevokeForm(request.POST if request.method == "POST" else None)
    form.confirm(serial[-4:])
    if not may_configure(request, standing):
        del form.fields["publish"]
    if request.method == "POST" and form.is_valid():
        if form.cleaned_data["word"].lower() != serial[-4:]:
            form.add_error("word", _("These are not its last four characters."))
        else:
            admin.revoke(serial, form.chosen, form.when)
            if form.cleaned_data.get("publish"):
                admin.publish_crls(CrlKind.BASE)
            done = _("Reason changed.") if on_hold else _("Certificate revoked.")
            return answers.done(request, base(standing, number), done)
    name = record.common_name or record.subject
    until = f"{record.certificate.not_after:%Y-%m-%d}"
    text = _(
        "Serial number %(serial)s, valid until %(until)s. Everything that presents it will be refused as soon as"
        " the next answer or CRL is read. This cannot be undone, except for reason Certificate Hold."
    )
    if on_hold:
        text = _(
            "Serial number %(serial)s, valid until %(until)s. It is on hold; with any other reason it stays revoked"
            " for good."
        )
    title = _("Change the reason of %(name)s?") if on_hold else _("Revoke %(name)s?")
    context = {
        "title": title % {"name": name},
        "text": text % {"serial": serial, "until": until},
        "form": form,
        "submit": _("Change reason") if on_hold else _("Revoke certificate"),
        "back": base(standing, number),
    }
    return answers.dialog(request, "console/ca/act.html", context, status=422 if form.errors else 200)


@page(MANAGERS, methods=("POST",))
def release(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """Release a certificate from hold."""
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    record: Any = admin.request_row(number)["record"]
    if record.certificate is None:
        raise BadRequestState(_("Request %(id)s has no certificate.") % {"id": number})
    admin.revoke(record.certificate.serial_number, RevocationReason.RELEASE_FROM_HOLD)
    return answers.done(request, base(standing, number), _("Released from hold."))


_AT: Final = "ca/<str:ca>/requests/<int:number>/"
urls: Sequence[Any] = [
    path(f"{_AT}issue/", issue),
    path(f"{_AT}deny/", deny),
    path(f"{_AT}attributes/edit/", set_attributes),
    path(f"{_AT}extensions/add/", set_extension),
    path(f"{_AT}revoke/", revoke),
    path(f"{_AT}release/", release),
]
