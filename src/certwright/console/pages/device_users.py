"""Device Users: the accounts that order. Their secrets are entered and replaced here, and never shown."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.urls import path
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.connectors.service import CredentialKind
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, page
from certwright.console.listing import Column, Listing, in_memory
from certwright.console.rooms import rooms
from certwright.manager.values import DeviceUser, DeviceUserFields

MAX_KEYTAB: Final = 64 * 1024
_HERE: Final = "/device-users/"
_FORM: Final = "console/adcs_accounts/form_page.html"
KIND_WORDS: Final = {CredentialKind.PASSWORD: lazy("Password"), CredentialKind.KEYTAB: lazy("Keytab")}

COLUMNS: Final = (
    Column("name", lazy("Name"), css="cw-lead"),
    Column("username", lazy("Username")),
    Column("kind", lazy("Kind"), css="cw-tight"),
    Column("realm", lazy("Realm"), css="cw-tight"),
    Column("used_by", lazy("Used by"), css="cw-why", sortable=False),
    Column("expires", lazy("Expires"), css="cw-tight"),
    Column("secret_changed", lazy("Secret replaced"), css="cw-tight", off=True),
    Column("created", lazy("Added"), css="cw-tight", off=True),
)


@page(access.AUTOMATION)
def device_users(request: PageRequest) -> HttpResponse:
    """Every device user, and which services are asked in its name."""
    listing = Listing.read(request, "device-users", COLUMNS, sort="name", search=lazy("Name, username, service"))
    found = [_row(user) for user in rooms().manager.device_users.list()]
    in_memory(listing, found, searched=("name", "username", "realm", "used_by"))
    context = {
        "title": _("Device Users"),
        "crumbs": [(_("Automation"), "")],
        "listing": listing,
        "may_change": request.viewer.may(Role.ADMINISTRATOR),
    }
    return answers.answer(request, "console/device_users/list.html", context, rows="console/device_users/rows.html")


def _row(user: DeviceUser) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "username": user.username,
        "kind": str(KIND_WORDS[user.kind]),
        "realm": user.realm,
        "used_by": user.used_by,
        "expires": user.expires,
        "secret_changed": user.secret_changed,
        "created": user.created,
    }


class SecretForm(forms.Form):
    """A password, or a keytab instead."""

    password = forms.CharField(
        label=lazy("Password"),
        max_length=256,
        strip=False,
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    keytab = forms.FileField(
        label=lazy("Keytab"),
        required=False,
        help_text=lazy("Instead of a password, for Kerberos: the file that ktpass or ktutil wrote."),
    )

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if bool(data.get("password")) == bool(data.get("keytab")):
            raise forms.ValidationError(_("Enter a password, or choose a keytab."))
        if data.get("keytab") and data["keytab"].size > MAX_KEYTAB:
            raise forms.ValidationError(_("The keytab is too large; at most 64 KiB are taken."))
        return data

    @property
    def secret(self) -> tuple[str | bytes, CredentialKind]:
        """What was entered, and what it is."""
        if self.cleaned_data.get("keytab"):
            return self.cleaned_data["keytab"].read(MAX_KEYTAB), CredentialKind.KEYTAB
        return self.cleaned_data["password"], CredentialKind.PASSWORD


class EditForm(forms.Form):
    """Everything but the secret."""

    name = forms.CharField(label=lazy("Name"), max_length=255, help_text=lazy("What it is called here."))
    username = forms.CharField(
        label=lazy("Username"), max_length=255, help_text=lazy(r"DOMAIN\name, or a user principal name.")
    )
    realm = forms.CharField(
        label=lazy("Realm"),
        max_length=255,
        required=False,
        help_text=lazy("DNS name of its domain, where the username has none."),
    )
    expires = forms.DateField(
        label=lazy("Secret expires"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=lazy("People are told before."),
    )

    def fields_of(self, kind: CredentialKind) -> DeviceUserFields:
        data = self.cleaned_data
        day = data["expires"]
        ends = datetime.combine(day, time(), UTC) if day is not None else None
        return DeviceUserFields(data["name"], data["username"], data["realm"], kind, ends)


class AddForm(SecretForm, EditForm):
    field_order = ("name", "username", "realm", "password", "keytab", "expires")


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def add(request: PageRequest) -> HttpResponse:
    """A new device user."""
    form = AddForm(request.POST, request.FILES) if request.method == "POST" else AddForm()
    if form.is_bound and form.is_valid():
        secret, kind = form.secret
        try:
            user = rooms().manager.device_users.add(form.fields_of(kind), secret, actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, _HERE, _("Device user added: %(name)s") % {"name": user.name})
    return _shown(request, form, _("Add a device user"), _("Add device user"))


class NewForm(forms.Form):
    """What a device user needs at least, asked for beside the form of a service."""

    name = EditForm.base_fields["name"]
    username = EditForm.base_fields["username"]
    new_password = forms.CharField(
        label=lazy("Password"),
        max_length=256,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=lazy("A keytab instead is added under Device Users."),
    )


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def new(request: PageRequest) -> HttpResponse:
    """A new device user from within the form of a service, where it is chosen at once."""
    form = NewForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        data = form.cleaned_data
        fields = DeviceUserFields(data["name"], data["username"])
        try:
            user = rooms().manager.device_users.add(fields, data["new_password"], actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            if not request.htmx:
                return answers.done(request, "/adcs/accounts/add/")
            users = rooms().manager.device_users.list()
            choice = answers.part(
                request, "#id_device_user", "console/device_users/options.html", {"users": users, "chosen": user.id}
            )
            response = answers.parts(SafeString("<span hidden></span>"), choice)
            said = _("Device user added: %(name)s") % {"name": user.name}
            return answers.toast(response, said)
    context = {
        "title": _("Add a device user"),
        "form": form,
        "submit": _("Add device user"),
        "back": "/adcs/accounts/add/",
    }
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def edit(request: PageRequest, user_id: int) -> HttpResponse:
    """Another name, account or realm."""
    user = rooms().manager.device_users.get(user_id)
    initial = {"name": user.name, "username": user.username, "realm": user.realm}
    if user.expires is not None:
        initial["expires"] = user.expires.date()
    form = EditForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_bound and form.is_valid():
        try:
            rooms().manager.device_users.edit(user_id, form.fields_of(user.kind), actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, _HERE, _("Device user changed: %(name)s") % {"name": user.name})
    return _shown(request, form, user.name, _("Save"))


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def secret(request: PageRequest, user_id: int) -> HttpResponse:
    """Another password or keytab; the old one is gone."""
    user = rooms().manager.device_users.get(user_id)
    form = SecretForm(request.POST, request.FILES) if request.method == "POST" else SecretForm()
    if form.is_bound and form.is_valid():
        entered, kind = form.secret
        try:
            rooms().manager.device_users.replace_secret(user_id, entered, kind=kind, actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, _HERE, _("Secret replaced: %(name)s") % {"name": user.name})
    title = _("Replace the secret of %(name)s") % {"name": user.name}
    return _shown(request, form, title, _("Replace secret"))


def _shown(request: PageRequest, form: forms.Form, title: str, submit: str) -> HttpResponse:
    context = {
        "title": title,
        "crumbs": [(_("Automation"), ""), (_("Device Users"), _HERE)],
        "form": form,
        "submit": submit,
        "back": _HERE,
    }
    return answers.answer(request, _FORM, context, status=422 if form.errors else 200)


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def delete(request: PageRequest, user_id: int) -> HttpResponse:
    """Remove a device user with its secret."""
    user = rooms().manager.device_users.get(user_id)
    if request.method == "POST":
        rooms().manager.device_users.delete(user_id, actor=request.viewer.account)
        return answers.done(request, _HERE, _("Device user deleted: %(name)s") % {"name": user.name})
    context = {
        "title": _("Delete %(name)s?") % {"name": user.name},
        "text": _("Its secret is destroyed. The account itself stays in its domain."),
        "submit": _("Delete device user"),
        "back": _HERE,
    }
    return answers.dialog(request, "console/ca/act.html", context)


urls = [
    path("device-users/", device_users),
    path("device-users/add/", add),
    path("device-users/new/", new),
    path("device-users/<int:user_id>/edit/", edit),
    path("device-users/<int:user_id>/secret/", secret),
    path("device-users/<int:user_id>/delete/", delete),
]
