"""Request forms: what a repeated request always has, so that it asks only for the names."""

from __future__ import annotations

import secrets
from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, page
from certwright.console.listing import Column, Listing, in_memory
from certwright.console.pages.new_request import ALGORITHM_WORDS, ORDERING, RequestForm, names_of, tags_of
from certwright.console.rooms import rooms
from certwright.keystores.base import KeyAlgorithm
from certwright.manager.values import FormFields
from certwright.manager.values import RequestForm as SavedForm

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
            names=names_of(data["names"]),
            owner=data["owner"],
            tags=tags_of(data["tags"]),
        )


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
            fields = manager.forms.order(form_id, data["common_name"], names_of(data["names"]), token=data["token"])
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


class DuplicateForm(forms.Form):
    name = SavedFormForm.base_fields["name"]


@page(ORDERING, methods=("GET", "POST"))
def duplicate(request: PageRequest, form_id: int) -> HttpResponse:
    """The same form under another name."""
    saved = rooms().manager.forms.get(form_id)
    initial = {"name": _("%(name)s, copy") % {"name": saved.fields.name}}
    form = DuplicateForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_bound and form.is_valid():
        try:
            rooms().manager.forms.duplicate(form_id, form.cleaned_data["name"], actor=request.viewer.account)
        except AdcsError as error:
            form.add_error("name", error.message)
        else:
            said = _("Request form kept: %(name)s") % {"name": form.cleaned_data["name"]}
            return answers.done(request, _FORMS, said)
    context = {
        "title": _("Duplicate %(name)s") % {"name": saved.fields.name},
        "form": form,
        "submit": _("Duplicate"),
        "back": _FORMS,
    }
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


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
    path("inventory/forms/", request_forms),
    path("inventory/forms/add/", add_form),
    path("inventory/forms/<int:form_id>/edit/", edit_form),
    path("inventory/forms/<int:form_id>/generate/", generate),
    path("inventory/forms/<int:form_id>/duplicate/", duplicate),
    path("inventory/forms/<int:form_id>/delete/", delete_form),
]
