"""New request: one that is pasted or uploaded, or key and request made here, ordered from a domain's services."""

from __future__ import annotations

import secrets
from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, page
from certwright.console.listing import Column, Listing, in_memory
from certwright.console.rooms import rooms
from certwright.keystores.base import KeyAlgorithm
from certwright.manager.keys import subject_and_names
from certwright.manager.values import AlternativeName, FormFields, KeyFields, OrderFields, key
from certwright.manager.values import RequestForm as SavedForm
from certwright.pki import names as dn
from certwright.pki import oids

ORDERING: Final = access.ORDERS - {Role.CA_ADMINISTRATOR, Role.AUDITOR}
"""Who may order: everybody who sees orders but those who only read."""
MAX_CSR: Final = 64 * 1024

ALGORITHM_WORDS: Final = {
    KeyAlgorithm.RSA_3072: "RSA 3072",
    KeyAlgorithm.RSA_2048: "RSA 2048",
    KeyAlgorithm.RSA_4096: "RSA 4096",
    KeyAlgorithm.ECDSA_P256: "ECDSA P-256",
    KeyAlgorithm.ECDSA_P384: "ECDSA P-384",
}


class RequestForm(forms.Form):
    """An order. A request and names of one to be made here exclude each other."""

    domain = forms.ChoiceField(label=lazy("ADCS Domain"))
    template = forms.CharField(
        label=lazy("Template"),
        max_length=64,
        widget=forms.TextInput(attrs={"list": "offered", "autocomplete": "off"}),
        help_text=lazy("Its name; those that the services offer are suggested."),
    )
    csr = forms.CharField(
        label=lazy("Certificate request (PKCS#10, PEM or base64)"),
        required=False,
        max_length=MAX_CSR,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "class": "cw-mono cw-csr"}),
    )
    file = forms.FileField(label=lazy("Or its file"), required=False)
    common_name = forms.CharField(label=lazy("Common Name"), required=False, max_length=255)
    algorithm = forms.ChoiceField(
        label=lazy("Key"),
        required=False,
        choices=[(each.value, words) for each, words in ALGORITHM_WORDS.items()],
        help_text=lazy("It stays here, encrypted."),
    )
    subject = forms.CharField(
        label=lazy("Rest of the subject"), required=False, max_length=1000, help_text=lazy("As in O=Corp,C=DE.")
    )
    names = forms.CharField(
        label=lazy("Subject alternative names"),
        required=False,
        max_length=32_000,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=lazy("One on each line: DNS:web.corp.example, IP:192.0.2.1, email:, UPN: or URI:."),
    )
    owner = forms.CharField(label=lazy("Owner"), required=False, max_length=255)
    tags = forms.CharField(
        label=lazy("Tags"), required=False, max_length=1000, help_text=lazy("Separated by commas.")
    )
    fetch = forms.BooleanField(
        label=lazy("Fetch into the inventory as soon as it is Issued"), required=False, initial=True
    )
    token = forms.CharField(widget=forms.HiddenInput, max_length=64, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        domains = rooms().manager.services.domains()
        self.fields["domain"].choices = [(each, each) for each in domains]  # type: ignore[attr-defined]

    def clean_file(self) -> bytes:
        file = self.cleaned_data.get("file")
        if not file:
            return b""
        if file.size > MAX_CSR:
            raise forms.ValidationError(_("The file is too large to be a request."))
        data: bytes = file.read(MAX_CSR)
        return data

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        given = sum(
            (
                bool(data.get("csr", "").strip()),
                bool(data.get("file")),
                any(data.get(each, "").strip() for each in ("common_name", "names", "subject")),
            )
        )
        if given != 1 and not self.errors:
            raise forms.ValidationError(
                _("Paste a request, upload one, or enter the names of one to be made here; one of the three.")
            )
        return data

    @property
    def order(self) -> OrderFields:
        """What to place.

        Raises:
            InvalidArgument: a name cannot be read.
        """
        data = self.cleaned_data
        csr = data["csr"].strip().encode() or data["file"]
        return OrderFields(
            domain=data["domain"],
            template=data["template"],
            csr=csr,
            key=None if csr else self.key_fields,
            owner=data["owner"],
            tags=tuple(tag for part in data["tags"].split(",") if (tag := part.strip())),
            fetch=data["fetch"],
            token=data["token"],
        )

    @property
    def key_fields(self) -> KeyFields:
        data = self.cleaned_data
        common_name = data.get("common_name", "").strip()
        first = dn.format_name(dn.name_of((oids.COMMON_NAME, common_name))) if common_name else ""
        lines = data.get("names", "").splitlines()
        return KeyFields(
            KeyAlgorithm(data.get("algorithm") or KeyAlgorithm.RSA_3072),
            ",".join(part for part in (first, data.get("subject", "").strip()) if part),
            tuple(AlternativeName.parse(line) for line in lines if line.strip()),
        )


@page(ORDERING, methods=("GET", "POST"))
def new_request(request: PageRequest) -> HttpResponse:
    """The form; submitted, the order's page follows, whatever the CA answered."""
    if request.method == "POST":
        form = RequestForm(request.POST, request.FILES)
        if form.is_valid():
            try:
                order = rooms().manager.orders.place(form.order, actor=request.viewer.account)
            except AdcsError as error:
                form.add_error(None, error.message)
            else:
                return answers.done(request, f"/adcs/orders/{order.id}/")
    else:
        asked = {name: request.GET[name][:1000] for name in ("domain", "template") if name in request.GET}
        form = RequestForm(initial={"token": secrets.token_urlsafe(24), "owner": request.viewer.account, **asked})
    services = rooms().manager.services
    offered = {key(each.name): each for domain in services.domains() for each in services.domain_templates(domain)}
    context = {
        "title": _("New request"),
        "crumbs": [(_("Certificate Authorities (CA)"), ""), (_("ADCS"), ""), (_("Orders"), "/adcs/orders/")],
        "form": form,
        "offered": [offered[each] for each in sorted(offered)],
        "has_services": bool(services.list()),
        "may_add_service": request.viewer.may(Role.ADMINISTRATOR),
    }
    return answers.answer(request, "console/new_request/page.html", context, status=422 if form.errors else 200)


@page(ORDERING, methods=("POST",))
def check(request: PageRequest) -> HttpResponse:
    """What the form says so far: read, and sent to nobody."""
    form = RequestForm(request.POST, request.FILES)
    form.is_valid()
    data = form.cleaned_data
    asked: list[tuple[Any, Any]] = []
    problem = ""
    try:
        csr = data.get("csr", "").strip().encode() or data.get("file") or b""
        if csr:
            asked = _read(csr)
        elif data.get("common_name") or data.get("names") or data.get("subject"):
            asked = _to_be_made(form.key_fields)
    except AdcsError as error:
        problem = error.message
    domain, template = data.get("domain", ""), data.get("template", "")
    route = rooms().manager.orders.route(domain, template) if domain and template else ()
    return render(request, "console/new_request/check.html", {"asked": asked, "problem": problem, "route": route})


def _read(csr: bytes) -> list[tuple[Any, Any]]:
    facts = rooms().manager.orders.read_request(csr)
    return [
        (_("Subject"), facts.subject),
        (_("SAN"), ", ".join(facts.names)),
        (_("Key"), _("%(key)s, signature valid") % {"key": facts.key_name}),
        (_("Template named in it"), facts.template),
    ]


def _to_be_made(fields: KeyFields) -> list[tuple[Any, Any]]:
    subject, names = subject_and_names(fields)
    return [
        (_("Subject"), dn.format_name(subject)),
        (_("SAN"), ", ".join(map(str, names))),
        (_("Key"), _("%(key)s, made here") % {"key": ALGORITHM_WORDS[fields.algorithm]}),
    ]


# -- request forms ---------------------------------------------------------------------------------------------------

_FORMS: Final = "/inventory/forms/"
_KEEPING: Final = frozenset({Role.OPERATOR, Role.ADMINISTRATOR})
"""Who changes and deletes forms, which everybody uses; whoever orders may add one."""
FORM_COLUMNS: Final = (
    Column("name", lazy("Name"), css="cw-lead"),
    Column("domain", lazy("Domain"), css="cw-tight"),
    Column("template", lazy("Template"), css="cw-tpl"),
    Column("key", lazy("Key"), css="cw-tight"),
    Column("defaults", lazy("Defaults"), css="cw-why", sortable=False),
    Column("used", lazy("Used"), css="cw-tight cw-num"),
    Column("last_used", lazy("Last used"), css="cw-tight", off=True),
)


@page(access.ORDERS)
def request_forms(request: PageRequest) -> HttpResponse:
    """Saved forms: a repeat asks only for the names."""
    listing = Listing.read(request, "request-forms", FORM_COLUMNS, sort="name", search=lazy("Name, template"))
    found = [_form_row(form) for form in rooms().manager.forms.list()]
    in_memory(listing, found, searched=("name", "domain", "template"))
    context = {
        "title": _("Request Forms"),
        "crumbs": [(_("Inventory"), "")],
        "listing": listing,
        "may_order": request.viewer.is_any(ORDERING),
        "may_change": request.viewer.is_any(_KEEPING),
    }
    template = "console/new_request/forms.html"
    return answers.answer(request, template, context, rows="console/new_request/forms_rows.html")


def _form_row(form: SavedForm) -> dict[str, Any]:
    fields = form.fields
    return {
        "id": form.id,
        "name": fields.name,
        "domain": fields.domain,
        "template": fields.template,
        "key": ALGORITHM_WORDS[fields.algorithm],
        "defaults": ", ".join(part for part in (fields.subject, *map(str, fields.names), *fields.tags) if part),
        "used": form.used,
        "last_used": form.last_used,
    }


class SavedFormForm(forms.Form):
    """A request form as people enter it."""

    name = forms.CharField(label=lazy("Name"), max_length=255)
    domain = forms.CharField(label=lazy("ADCS Domain"), max_length=255)
    template = forms.CharField(label=lazy("Template"), max_length=64)
    algorithm = RequestForm.base_fields["algorithm"]
    subject = RequestForm.base_fields["subject"]
    names = RequestForm.base_fields["names"]
    owner = RequestForm.base_fields["owner"]
    tags = RequestForm.base_fields["tags"]

    @property
    def values(self) -> FormFields:
        data = self.cleaned_data
        return FormFields(
            name=data["name"],
            domain=data["domain"],
            template=data["template"],
            algorithm=KeyAlgorithm(data["algorithm"] or KeyAlgorithm.RSA_3072),
            subject=data["subject"].strip(),
            names=_names(data["names"]),
            owner=data["owner"],
            tags=tuple(tag for part in data["tags"].split(",") if (tag := part.strip())),
        )


def _names(text: str) -> tuple[AlternativeName, ...]:
    return tuple(AlternativeName.parse(line) for line in text.splitlines() if line.strip())


@page(ORDERING, methods=("GET", "POST"))
def add_form(request: PageRequest) -> HttpResponse:
    """A new request form."""
    form = SavedFormForm(request.POST if request.method == "POST" else None)
    return _saved(request, form, _("Add request form"), None)


@page(_KEEPING, methods=("GET", "POST"))
def edit_form(request: PageRequest, form_id: int) -> HttpResponse:
    """Change a request form."""
    fields: FormFields = rooms().manager.forms.get(form_id).fields
    initial = {
        "name": fields.name,
        "domain": fields.domain,
        "template": fields.template,
        "algorithm": fields.algorithm.value,
        "subject": fields.subject,
        "names": "\n".join(map(str, fields.names)),
        "owner": fields.owner,
        "tags": ", ".join(fields.tags),
    }
    form = SavedFormForm(request.POST if request.method == "POST" else None, initial=initial)
    return _saved(request, form, fields.name, form_id)


def _saved(request: PageRequest, form: SavedFormForm, title: str, form_id: int | None) -> HttpResponse:
    """The form page; a valid one is kept."""
    if form.is_bound and form.is_valid():
        kept = rooms().manager.forms
        try:
            if form_id is None:
                kept.add(form.values, actor=request.viewer.account)
            else:
                kept.edit(form_id, form.values, actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(
                request, _FORMS, _("Request form kept: %(name)s") % {"name": form.cleaned_data["name"]}
            )
    context = {
        "title": title,
        "crumbs": [(_("Inventory"), ""), (_("Request Forms"), _FORMS)],
        "form": form,
        "submit": _("Save"),
        "back": _FORMS,
    }
    status = 422 if form.errors else 200
    return answers.answer(request, "console/adcs_accounts/form_page.html", context, status=status)


class GenerateForm(forms.Form):
    """All that a repeat asks for."""

    common_name = RequestForm.base_fields["common_name"]
    names = RequestForm.base_fields["names"]
    token = RequestForm.base_fields["token"]


@page(ORDERING, methods=("GET", "POST"))
def generate(request: PageRequest, form_id: int) -> HttpResponse:
    """Order by a request form."""
    saved = rooms().manager.forms.get(form_id)
    initial = {"token": secrets.token_urlsafe(24)}
    form = GenerateForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_bound and form.is_valid():
        data, manager, actor = form.cleaned_data, rooms().manager, request.viewer.account
        try:
            fields = manager.forms.order(form_id, data["common_name"], _names(data["names"]), token=data["token"])
            order = manager.orders.place(fields, actor=actor)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, f"/adcs/orders/{order.id}/")
    context = {
        "title": _("Generate from %(name)s") % {"name": saved.fields.name},
        "form": form,
        "submit": _("Submit request"),
        "back": _FORMS,
    }
    return answers.dialog(request, "console/new_request/generate.html", context, status=422 if form.errors else 200)


@page(_KEEPING, methods=("GET", "POST"))
def delete_form(request: PageRequest, form_id: int) -> HttpResponse:
    """Remove a request form; what was ordered with it stays."""
    saved = rooms().manager.forms.get(form_id)
    if request.method == "POST":
        rooms().manager.forms.delete(form_id, actor=request.viewer.account)
        return answers.done(request, _FORMS, _("Request form deleted: %(name)s") % {"name": saved.fields.name})
    context = {
        "title": _("Delete %(name)s?") % {"name": saved.fields.name},
        "text": _("What was ordered with it stays."),
        "submit": _("Delete request form"),
        "back": _FORMS,
    }
    return answers.dialog(request, "console/ca/act.html", context)


urls = [
    path("adcs/orders/new/", new_request),
    path("adcs/orders/new/check/", check),
    path("inventory/forms/", request_forms),
    path("inventory/forms/add/", add_form),
    path("inventory/forms/<int:form_id>/edit/", edit_form),
    path("inventory/forms/<int:form_id>/generate/", generate),
    path("inventory/forms/<int:form_id>/delete/", delete_form),
]
