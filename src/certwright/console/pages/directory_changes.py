"""Changes to accounts and groups of the embedded directory. It asks itself who may, and audits each."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import access, answers
from certwright.console.access import PageRequest, page, reauthenticated
from certwright.console.authority import ca_of
from certwright.console.pages.directory import account_of, all_accounts, all_groups, base, group_of
from certwright.console.rooms import rooms
from certwright.directory.administration import DirectoryAdministration
from certwright.directory.base import PrincipalKind

MAX_NAME: Final = 256
_PASSWORD_HINT: Final = lazy("At least 12 characters. Kept as an argon2id hash.")
_NTLM_HINT: Final = lazy(
    "Keeps an NT hash, sealed. Browsers and scripts that sign in to /certsrv with NTLM need it; see the guide."
)


def _entered(request: PageRequest) -> tuple[DirectoryAdministration, str]:
    """The directory's administration, and by what name it is changed.

    Raises:
        AccessDenied: the viewer may not change accounts and groups.
    """
    administration = rooms().directory_administration
    return administration, administration.require_account_administrator(request.viewer.requester)


def _password_field(label: Any, *, required: bool) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=required,
        max_length=256,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_PASSWORD_HINT,
    )


class NamesForm(forms.Form):
    """Names that stand in certificates."""

    common_name = forms.CharField(label=lazy("Common name"), required=False, max_length=64)
    upn = forms.CharField(label=lazy("User principal name"), required=False, max_length=MAX_NAME)
    mail = forms.CharField(label=lazy("Mail"), required=False, max_length=MAX_NAME)
    dns_host_name = forms.CharField(label=lazy("DNS host name, of a computer"), required=False, max_length=255)
    additional_host_names = forms.CharField(
        label=lazy("Further DNS names and IP addresses, one a line"),
        required=False,
        max_length=4096,
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def without(self, kind: PrincipalKind) -> None:
        """Leave out what this kind of account does not have."""
        dropped = ("upn",) if kind is PrincipalKind.COMPUTER else ("dns_host_name", "additional_host_names")
        for name in dropped:
            del self.fields[name]

    @property
    def names(self) -> dict[str, Any]:
        found = {name: self.cleaned_data[name].strip() for name in self.fields if name in NamesForm.base_fields}
        if "additional_host_names" in found:
            found["additional_host_names"] = found["additional_host_names"].split()
        return found


class AccountForm(NamesForm):
    field_order = ("name", "common_name", "password", "ntlm", "upn", "mail", "dns_host_name", "additional_host_names")

    name = forms.CharField(
        label=lazy("Name"), max_length=MAX_NAME, help_text=lazy("As in DOMAIN\\name. It cannot be changed later.")
    )
    password = _password_field(lazy("Password; without one it cannot sign in"), required=False)
    ntlm = forms.BooleanField(label=lazy("May sign in with NTLM"), required=False, help_text=_NTLM_HINT)


@page(access.CA_SETTINGS, methods=("GET", "POST"))
def add(request: PageRequest, ca: str, kind: PrincipalKind) -> HttpResponse:
    """A user or a computer."""
    standing = ca_of(request, ca)
    administration, actor = _entered(request)
    form = AccountForm(request.POST if request.method == "POST" else None)
    form.without(kind)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            made = administration.add_account(
                data["name"], kind, data["password"] or None, ntlm=data["ntlm"], **form.names, actor=actor
            )
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            url = f"{base(standing)}accounts/{made.sid}/"
            return answers.done(request, url, _("Account added: %(name)s") % {"name": made.account})
    titles = {PrincipalKind.USER: _("Add a user"), PrincipalKind.COMPUTER: _("Add a computer")}
    return _form(request, titles[kind], form, _("Add account"), base(standing))


@page(access.CA_SETTINGS, methods=("GET", "POST"))
def edit(request: PageRequest, ca: str, sid: str) -> HttpResponse:
    """The names that stand in certificates."""
    standing = ca_of(request, ca)
    administration, actor = _entered(request)
    info = account_of(sid)
    principal = info.principal
    back = f"{base(standing)}accounts/{sid}/"
    initial = {
        "common_name": principal.common_name,
        "upn": principal.upn,
        "mail": principal.mail,
        "dns_host_name": principal.dns_host_name,
        "additional_host_names": "\n".join(principal.additional_host_names),
    }
    form = NamesForm(request.POST if request.method == "POST" else None, initial=initial)
    form.without(principal.kind)
    if request.method == "POST" and form.is_valid():
        try:
            administration.set_attributes(sid, **form.names, actor=actor)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, back, _("Names changed: %(name)s") % {"name": principal.account})
    return _form(request, _("Names of %(name)s") % {"name": principal.account}, form, _("Change names"), back)


class PasswordForm(forms.Form):
    password = _password_field(lazy("New password"), required=True)
    ntlm = forms.BooleanField(label=lazy("May sign in with NTLM"), required=False, help_text=_NTLM_HINT)


@page(access.CA_SETTINGS, methods=("GET", "POST"))
@reauthenticated
def password(request: PageRequest, ca: str, sid: str) -> HttpResponse:
    """A new password, and with it whether an NT hash is kept."""
    standing = ca_of(request, ca)
    administration, actor = _entered(request)
    info = account_of(sid)
    back = f"{base(standing)}accounts/{sid}/"
    form = PasswordForm(request.POST if request.method == "POST" else None, initial={"ntlm": info.ntlm})
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            if info.ntlm and not data["ntlm"]:
                administration.forget_nt_hash(sid, actor=actor)
            administration.set_password(sid, data["password"], ntlm=data["ntlm"], actor=actor)
        except AdcsError as error:
            form.add_error("password", error.message)
        else:
            return answers.done(request, back, _("Password set: %(name)s") % {"name": info.principal.account})
    title = _("Set the password of %(name)s?") % {"name": info.principal.account}
    return _form(request, title, form, _("Set password"), back)


@page(access.CA_SETTINGS, methods=("POST",))
def enable(request: PageRequest, ca: str, sid: str) -> HttpResponse:
    """Enable, or disable: no logons and no certificates from then on."""
    standing = ca_of(request, ca)
    administration, actor = _entered(request)
    info = account_of(sid)
    wanted = request.POST.get("enabled") == "1"
    administration.set_enabled(sid, wanted, actor=actor)
    text = _("Account enabled: %(name)s") if wanted else _("Account disabled: %(name)s")
    return answers.done(request, f"{base(standing)}accounts/{sid}/", text % {"name": info.principal.account})


# -- groups ----------------------------------------------------------------------------------------------------------


class GroupForm(forms.Form):
    name = forms.CharField(label=lazy("Name"), max_length=MAX_NAME)


@page(access.CA_SETTINGS, methods=("GET", "POST"))
def add_group(request: PageRequest, ca: str) -> HttpResponse:
    """A group, without members yet."""
    standing = ca_of(request, ca)
    administration, actor = _entered(request)
    form = GroupForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            made = administration.add_group(form.cleaned_data["name"], actor=actor)
        except AdcsError as error:
            form.add_error("name", error.message)
        else:
            url = f"{base(standing)}groups/{made.sid}/"
            return answers.done(request, url, _("Group added: %(name)s") % {"name": made.account})
    return _form(request, _("Add a group"), form, _("Add group"), f"{base(standing)}groups/")


class MemberForm(forms.Form):
    member = forms.CharField(
        label=lazy("Account or group"),
        max_length=MAX_NAME,
        widget=forms.TextInput(attrs={"list": "principals", "autocomplete": "off"}),
        help_text=lazy("A name, DOMAIN\\name, a user principal name or a SID."),
    )


@page(access.CA_SETTINGS, methods=("GET", "POST"))
@reauthenticated
def add_member(request: PageRequest, ca: str, sid: str) -> HttpResponse:
    """Put an account or a group into a group: it may then do what the group may."""
    standing = ca_of(request, ca)
    administration, actor = _entered(request)
    info = group_of(sid)
    back = f"{base(standing)}groups/{sid}/"
    form = MemberForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            administration.add_to_group(sid, form.cleaned_data["member"].strip(), actor=actor)
        except AdcsError as error:
            form.add_error("member", error.message)
        else:
            return answers.done(request, back, _("Member added to %(name)s") % {"name": info.principal.account})
    names = [each.principal.account for each in all_accounts()] + [each.principal.account for each in all_groups()]
    title = _("Add a member to %(name)s") % {"name": info.principal.account}
    return _form(request, title, form, _("Add member"), back, names)


@page(access.CA_SETTINGS, methods=("POST",))
@reauthenticated
def remove_member(request: PageRequest, ca: str, sid: str) -> HttpResponse:
    """Take an account or a group out of a group."""
    standing = ca_of(request, ca)
    administration, actor = _entered(request)
    info = group_of(sid)
    administration.remove_from_group(sid, request.POST.get("member", "")[:MAX_NAME], actor=actor)
    return answers.done(
        request,
        f"{base(standing)}groups/{sid}/",
        _("Member removed from %(name)s") % {"name": info.principal.account},
    )


def _form(
    request: PageRequest, title: str, form: forms.Form, submit: str, back: str, principals: list[str] | None = None
) -> HttpResponse:
    context = {"title": title, "form": form, "submit": submit, "back": back, "principals": principals or []}
    return answers.dialog(request, "console/directory/form.html", context, status=422 if form.errors else 200)


_AT: Final = "ca/<str:ca>/directory/"
urls = [
    path(f"{_AT}add/", add, {"kind": PrincipalKind.USER}),
    path(f"{_AT}add-computer/", add, {"kind": PrincipalKind.COMPUTER}),
    path(f"{_AT}add-group/", add_group),
    path(f"{_AT}accounts/<str:sid>/edit/", edit),
    path(f"{_AT}accounts/<str:sid>/password/", password),
    path(f"{_AT}accounts/<str:sid>/enable/", enable),
    path(f"{_AT}groups/<str:sid>/add/", add_member),
    path(f"{_AT}groups/<str:sid>/remove/", remove_member),
]
