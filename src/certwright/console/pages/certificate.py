"""Certificate: one of the inventory, decoded, with its chain and history, and what may be done with it."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError, InvalidArgument
from certwright.adcs.roles import RevocationReason
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, Viewer, page, reauthenticated
from certwright.console.authority import download
from certwright.console.certificate_contents import contents_of, location_answer, revocation_answer, tab_urls
from certwright.console.pages.deciding import REASONS
from certwright.console.pages.inventory import (
    CHANGING,
    SOURCE_WORDS,
    is_own,
    may_change,
    name_of,
    state_word,
)
from certwright.console.pages.renewal import KEY_WORDS
from certwright.console.rooms import rooms
from certwright.manager.inventory_values import BulkResult, CertificateDetails, CertificateRow
from certwright.manager.values import Order, PlannedRenewal, RenewalKey
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError, SignatureError

_HERE: Final = "/inventory/"
_ACTING: Final = CHANGING | {Role.REQUESTER}


def base(row: CertificateRow) -> str:
    return f"{_HERE}{row.id}/"


def _details(viewer: Viewer, certificate_id: int) -> CertificateDetails:
    """A certificate that the viewer may see.

    Raises:
        Http404: there is none; somebody else's is as if it were not there.
    """
    try:
        found: CertificateDetails = rooms().manager.inventory.get(certificate_id)
    except InvalidArgument as error:
        raise Http404 from error
    if not viewer.sees_everything and not is_own(viewer, found.row):
        raise Http404
    return found


def _to_change(viewer: Viewer, certificate_id: int) -> CertificateRow:
    row = _details(viewer, certificate_id).row
    if not may_change(viewer, row):
        raise Http404
    return row


@page(access.ORDERS)
def show(request: PageRequest, certificate_id: int, tab: str = "") -> HttpResponse:
    """Everything known of one certificate."""
    viewer = request.viewer
    found = _details(viewer, certificate_id)
    row, now = found.row, rooms().clock()
    whole = max(1, (row.not_after - row.not_before).days)
    left = max(0, row.days_left(now))
    chain, complete = _chain(viewer, found)
    changes = may_change(viewer, row)
    context = {
        "title": name_of(row),
        "crumbs": [(_("Inventory"), ""), (_("Certificate List"), _HERE)],
        "row": row,
        "base": base(row),
        "state": state_word(row),
        "days_left": left,
        "days_all": whole,
        "days_used": min(whole, whole - left),
        "life": "red" if left <= 7 else "orange" if left <= 90 else "",
        "left": [
            (_("Subject"), row.subject),
            (_("SAN"), _names(row)),
            (_("Issuer"), row.issuer),
            (_("Template"), row.template),
            (
                _("Key"),
                _("%(key)s, stored here, encrypted") % {"key": row.key_name} if row.key_held else row.key_name,
            ),
            (_("Certificate Type"), row.purposes),
        ],
        "source": SOURCE_WORDS[row.source],
        "contents": contents_of(found.der, found.chain, tab, base(row)),
        "chain": chain,
        "chain_state": _chain_state(chain, complete),
        "renewal": _renewal(row),
        "history": found.history,
        "may_see_rules": viewer.is_any(access.AUTOMATION),
        "may_add_rules": viewer.may(Role.ADMINISTRATOR) and row.managed,
        "may_change": changes,
        "may_renew": changes and not row.is_ca and row.superseded_by is None,
        "may_revoke": viewer.is_any(CHANGING) and row.service_id is not None and state_word(row) != "revoked",
        "may_export": changes and viewer.may_export_keys and row.key_held,
    }
    return answers.answer(request, "console/inventory/certificate.html", context)


def _names(row: CertificateRow) -> SafeString:
    """Each on a line of its own; what kind of name it is where it is no host name."""
    names = row.names.split(", ") if row.names else []
    return format_html_join(mark_safe("<br>"), "{}", ((name.removeprefix("DNS:"),) for name in names))


def _renewal(row: CertificateRow) -> dict[str, Any]:
    """What became of its renewal, else what the rules will order and when."""
    planned: PlannedRenewal | None = None
    if not row.renewal or row.renewal.startswith("failed"):
        planned = rooms().manager.renewal.ahead(row.id)
    state, word = "unknown", _("Off")
    if row.superseded_by is not None:
        state, word = "ok", _("Renewed")
    elif row.renewal == "ordered":
        state, word = "pending", _("Ordered")
    elif row.renewal.startswith("failed"):
        state, word = "failed", _("Failed")
    elif planned is not None:
        state, word = ("warning", _("Would fail")) if planned.problem else ("ok", _("On"))
    return {
        "state": state,
        "word": word,
        "planned": planned,
        "days_before": (row.not_after - planned.when).days if planned is not None else 0,
        "key": KEY_WORDS[planned.key] if planned is not None else "",
        "failure": row.renewal.removeprefix("failed: ") if row.renewal.startswith("failed") else "",
    }


def _chain(viewer: Viewer, found: CertificateDetails) -> tuple[list[dict[str, Any]], bool]:
    """From the root down, each with what is wrong with its signature; and whether a root is there."""
    views = [CertificateView.parse(each) for each in (found.der, *found.chain)]
    drawn = []
    for position, view in enumerate(views):
        issuer = views[position + 1] if position + 1 < len(views) else view if view.is_self_issued else None
        problem = ""
        if issuer is not None:
            try:
                view.verify_signed_by(issuer)
            except (EncodingError, SignatureError) as error:
                problem = str(error)
        number = rooms().manager.inventory.find(view.sha256) if position and viewer.sees_everything else None
        drawn.append(
            {
                "name": view.common_name or view.subject_name,
                "key": str(view.public_key),
                "until": view.not_after,
                "problem": problem or _dated(view),
                "href": f"{_HERE}{number}/" if number is not None else "",
                "current": position == 0,
                "icon": "certificate" if not position else "shield-check",
            }
        )
    return drawn[::-1], views[-1].is_self_issued


def _dated(view: CertificateView) -> str:
    now = rooms().clock()
    if now < view.not_before:
        return _("not valid yet")
    return _("expired") if view.not_after <= now else ""


def _chain_state(chain: list[dict[str, Any]], complete: bool) -> dict[str, str]:
    """The chain in one word: every signature and date is looked at, revocation is a tab of its own."""
    if any(each["problem"] for each in chain):
        return {"state": "down", "word": _("Not valid"), "more": ""}
    if not complete:
        more = _("The issuer of %(name)s is not in the inventory.") % {"name": chain[0]["name"]}
        return {"state": "unknown", "word": _("Incomplete"), "more": more}
    return {"state": "ok", "word": _("Valid"), "more": ""}


# -- asking its locations --------------------------------------------------------------------------------------------


@page(access.ORDERS, methods=("POST",))
def ask_location(request: PageRequest, certificate_id: int, number: int) -> HttpResponse:
    """A CRL or issuer that the certificate names, fetched now."""
    found = _details(request.viewer, certificate_id)
    return location_answer(request, found.der, found.chain, number, base(found.row))


@page(access.ORDERS, methods=("POST",))
def ask_revocation(request: PageRequest, certificate_id: int) -> HttpResponse:
    """CRL and responder, asked now."""
    found = _details(request.viewer, certificate_id)
    return revocation_answer(request, found.der, found.chain, base(found.row))


# -- downloads -------------------------------------------------------------------------------------------------------


@page(access.ORDERS)
def export(request: PageRequest, certificate_id: int, form: str) -> HttpResponse:
    """The certificate alone, or with what is above it."""
    row = _details(request.viewer, certificate_id).row
    exporting = rooms().manager.exporting
    if form == "der":
        return download(f"{row.serial}.cer", exporting.der(row.id), "application/pkix-cert")
    data = exporting.pem([row.id], with_chain=form == "chain")
    return download(f"{row.serial}{'-chain' if form == 'chain' else ''}.pem", data, "application/x-pem-file")


class KeyForm(forms.Form):
    form = forms.ChoiceField(label=lazy("Format"), choices=[("pfx", "PFX"), ("pem", "PEM")])
    password = forms.CharField(
        label=lazy("Password"),
        max_length=200,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=lazy("At least 12 characters; it protects the file."),
    )
    again = forms.CharField(
        label=lazy("Once more"),
        max_length=200,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    reason = forms.CharField(label=lazy("Reason, for the audit trail"), max_length=500)
    for_old_windows = forms.BooleanField(
        label=lazy("Readable by Windows before Server 2019 (weaker encryption)"), required=False
    )

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("password") != data.get("again"):
            self.add_error("again", _("The two are different."))
        return data


@page(_ACTING, methods=("GET", "POST"))
@reauthenticated
def export_key(request: PageRequest, certificate_id: int) -> HttpResponse:
    """The private key with its certificate; a permission of its own, audited before it is handed out."""
    row = _to_change(request.viewer, certificate_id)
    if not request.viewer.may_export_keys:
        raise Http404
    form = KeyForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        data, keys = form.cleaned_data, rooms().manager.keys
        options = {"reason": data["reason"], "actor": request.viewer.account}
        try:
            if data["form"] == "pfx":
                file = keys.export_pfx(row.id, data["password"], for_old_windows=data["for_old_windows"], **options)
                return download(f"{row.serial}.pfx", file, "application/x-pkcs12")
            return download(
                f"{row.serial}-key.pem",
                keys.export_pem(row.id, data["password"], **options),
                "application/x-pem-file",
            )
        except AdcsError as error:
            form.add_error(None, error.message)
    context = {
        "title": _("Export the private key of %(name)s?") % {"name": name_of(row)},
        "crumbs": [(_("Inventory"), ""), (_("Certificate List"), _HERE), (name_of(row), base(row))],
        "form": form,
        "submit": _("Export"),
        "back": base(row),
    }
    status = 422 if form.errors else 200
    return answers.answer(request, "console/adcs_accounts/form_page.html", context, status=status)


# -- acts ------------------------------------------------------------------------------------------------------------


class EditForm(forms.Form):
    owner = forms.CharField(label=lazy("Owner"), required=False, max_length=255)
    tags = forms.CharField(
        label=lazy("Tags"), required=False, max_length=2000, help_text=lazy("Separated by commas.")
    )
    managed = forms.BooleanField(label=lazy("Managed here, not only watched"), required=False)


@page(_ACTING, methods=("GET", "POST"))
def edit(request: PageRequest, certificate_id: int) -> HttpResponse:
    """Owner, tags, managed or monitored."""
    row = _to_change(request.viewer, certificate_id)
    initial = {"owner": row.owner, "tags": ", ".join(row.tags), "managed": row.managed}
    form = EditForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_bound and form.is_valid():
        data, actor, inventory = form.cleaned_data, request.viewer.account, rooms().manager.inventory
        wanted = [tag for part in data["tags"].split(",") if (tag := part.strip())]
        try:
            if wanted:
                inventory.tag([row.id], wanted, actor=actor)
            for gone in set(row.tags) - set(wanted):
                inventory.untag([row.id], gone, actor=actor)
            inventory.set_managed([row.id], data["managed"], actor=actor)
            inventory.set_owner([row.id], data["owner"], actor=actor)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            still = request.viewer.sees_everything or is_own(request.viewer, inventory.get(row.id).row)
            return answers.done(request, base(row) if still else _HERE, _("Certificate changed."))
    context = {"title": name_of(row), "form": form, "submit": _("Save"), "back": base(row)}
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


class DeleteForm(forms.Form):
    word = forms.CharField(label=lazy("The name, to confirm that its private key is lost"), max_length=300)


@page(_ACTING, methods=("GET", "POST"))
def delete(request: PageRequest, certificate_id: int) -> HttpResponse:
    """Forget a certificate; where its key is held, its name has to be typed."""
    row = _to_change(request.viewer, certificate_id)
    name = name_of(row)
    form = DeleteForm(request.POST if request.method == "POST" else None) if row.key_held else None
    if form is not None:
        form.fields["word"].widget.attrs["data-confirm-word"] = name
    if request.method == "POST":
        if form is not None and (not form.is_valid() or form.cleaned_data["word"].strip() != name):
            form.add_error("word", _("Type %(name)s.") % {"name": name})
        else:
            result: BulkResult = rooms().manager.inventory.delete(
                [row.id], with_key=form is not None, actor=request.viewer.account
            )
            refused = result.refused.get(row.id)
            return answers.done(request, base(row) if refused else _HERE, refused or _("Certificate deleted."))
    context = {
        "title": (_("Delete %(name)s and its private key?") if row.key_held else _("Delete %(name)s?"))
        % {"name": name},
        "text": _("The key exists only here.") if row.key_held else _("The certificate stays valid."),
        "form": form,
        "submit": _("Delete certificate and key") if row.key_held else _("Delete certificate"),
        "back": base(row),
    }
    failed = form is not None and bool(form.errors)
    return answers.dialog(request, "console/ca/act.html", context, status=422 if failed else 200)


class RevokeForm(forms.Form):
    reason = forms.ChoiceField(
        label=lazy("Reason code"), choices=[(reason.rfc_name, words) for reason, words in REASONS]
    )
    word = forms.CharField(label=lazy("The last four characters of the serial number"), max_length=4)


@page(CHANGING, methods=("GET", "POST"))
def revoke(request: PageRequest, certificate_id: int) -> HttpResponse:
    """Revoke at the CA that issued it, where this installation may."""
    row = _to_change(request.viewer, certificate_id)
    form = RevokeForm(request.POST if request.method == "POST" else None)
    form.fields["word"].widget.attrs["data-confirm-word"] = row.serial[-4:]
    if form.is_bound and form.is_valid():
        if form.cleaned_data["word"].lower() != row.serial[-4:].lower():
            form.add_error("word", _("These are not its last four characters."))
        else:
            reason = RevocationReason.from_rfc_name(form.cleaned_data["reason"])
            rooms().manager.inventory.revoke(row.id, reason, actor=request.viewer.account)
            return answers.done(request, base(row), _("Certificate revoked."))
    context = {
        "title": _("Revoke %(name)s?") % {"name": name_of(row)},
        "text": _(
            "Serial number %(serial)s, valid until %(until)s. Everything that presents it will be refused as soon as"
            " the next answer or CRL is read. This cannot be undone, except for reason Certificate Hold."
        )
        % {"serial": row.serial, "until": f"{row.not_after:%Y-%m-%d}"},
        "form": form,
        "submit": _("Revoke certificate"),
        "back": base(row),
    }
    return answers.dialog(request, "console/ca/act.html", context, status=422 if form.errors else 200)


class RenewForm(forms.Form):
    key = forms.ChoiceField(
        label=lazy("Key"),
        choices=[(RenewalKey.NEW.value, lazy("A new key, made here")), (RenewalKey.SAME.value, lazy("The same key"))],
    )


@page(_ACTING, methods=("GET", "POST"))
def renew(request: PageRequest, certificate_id: int) -> HttpResponse:
    """Order its successor now."""
    row = _to_change(request.viewer, certificate_id)
    form = RenewForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        chosen = RenewalKey(form.cleaned_data["key"])
        order: Order = rooms().manager.renewal.renew(row.id, key=chosen, actor=request.viewer.account)
        return answers.done(request, f"/adcs/orders/{order.id}/")
    context = {
        "title": _("Renew %(name)s?") % {"name": name_of(row)},
        "form": form,
        "submit": _("Order the successor"),
        "back": base(row),
    }
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


_AT: Final = "inventory/<int:certificate_id>/"
urls = [
    *tab_urls(_AT, show),
    path(f"{_AT}location/<int:number>/", ask_location),
    path(f"{_AT}revocation/ask/", ask_revocation),
    path(f"{_AT}certificate.pem", export, {"form": "pem"}),
    path(f"{_AT}certificate.der", export, {"form": "der"}),
    path(f"{_AT}chain.pem", export, {"form": "chain"}),
    path(f"{_AT}key/", export_key),
    path(f"{_AT}edit/", edit),
    path(f"{_AT}delete/", delete),
    path(f"{_AT}revoke/", revoke),
    path(f"{_AT}renew/", renew),
]
