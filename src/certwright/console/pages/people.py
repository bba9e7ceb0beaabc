"""People & Access: who may sign in, what they may do in sentences, their sessions and API tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django import forms
from django.db.models import Max
from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import access, accounts, answers, search
from certwright.console.access import (
    CONSOLE_ROLES,
    ROLE_WORDS,
    PageRequest,
    Role,
    Viewer,
    page,
    reauthenticated,
    viewer_of,
)
from certwright.console.conditions import TIME, Field
from certwright.console.listing import Column, Filter, Listing, in_memory
from certwright.console.models import Account
from certwright.console.rooms import rooms
from certwright.directory.base import Principal

COLUMNS: Final = (
    Column("name", lazy("Account"), css="cw-lead"),
    Column("kind", lazy("Kind"), css="cw-tight"),
    Column("roles", lazy("Roles"), css="cw-why", sortable=False),
    Column("second_factor", lazy("Second factor"), css="cw-tight", sortable=False),
    Column("seen", lazy("Last seen"), css="cw-tight"),
    Column("state", lazy("State"), css="cw-tight cw-mark-s", sortable=False),
    Column("email", lazy("Mail"), css="cw-tight", off=True),
    Column("created", lazy("Added"), css="cw-tight", off=True),
)
FIELDS: Final = (
    Field("name", lazy("Account")),
    Field("display_name", lazy("Display name")),
    Field("role_text", lazy("Roles")),
    Field("email", lazy("Mail")),
    Field("seen", lazy("Last seen"), TIME),
    Field("created", lazy("Added"), TIME),
)
KIND_WORDS: Final = {"local": lazy("Local"), "directory": lazy("Directory"), "openid": lazy("OpenID")}


@page(access.PEOPLE)
def people(request: PageRequest) -> HttpResponse:
    """Everybody who has signed in, and local accounts."""
    kinds = [(kind, words) for kind, words in KIND_WORDS.items()]
    listing = Listing.read(
        request,
        "people",
        COLUMNS,
        sort="name",
        filters=[Filter("kind", _("Kind"), _("All kinds"), kinds)],
        search=lazy("Name, mail, role"),
        fields=FIELDS,
    )
    in_memory(listing, _rows(listing.value("kind")), searched=("name", "display_name", "email", "role_text"))
    context = {"title": _("People & Access"), "listing": listing, "may_change": _may_change(request.viewer)}
    return answers.answer(request, "console/people.html", context, rows="console/people/rows.html")


def _rows(kind: str) -> Iterator[dict[str, object]]:
    found = Account.objects.annotate(last_seen=Max("sign_ins__seen")).prefetch_related("authenticator_set")
    for account in found.filter(kind=kind) if kind else found:
        viewer = viewer_of(account, "")
        roles = [str(ROLE_WORDS[role]) for role in Role if viewer is not None and role in viewer.roles]
        yield {
            "id": account.pk,
            "name": account.username,
            "display_name": account.display_name,
            "email": account.email,
            "kind": KIND_WORDS[account.kind],
            "roles": roles,
            "role_text": " ".join(roles),
            "second_factor": bool(account.authenticator_set.all()),
            "seen": getattr(account, "last_seen", None) or account.last_login,
            "enabled": viewer is not None,
            "created": account.created,
        }


@page(access.PEOPLE)
def person(request: PageRequest, account_id: int) -> HttpResponse:
    """One account: what it may do, where it is signed in, which tokens speak for it."""
    account = _account(account_id)
    viewer = viewer_of(account, "")
    context = {
        "title": account.display_name or account.username,
        "crumbs": [(_("People & Access"), "/people/")],
        "account": account,
        "kind": KIND_WORDS[account.kind],
        "rights": accounts.rights_in_sentences(viewer) if viewer is not None else [_("Disabled: may not sign in.")],
        "enabled": viewer is not None,
        "roles": [(role, ROLE_WORDS[role], viewer is not None and role in viewer.roles) for role in CONSOLE_ROLES],
        "groups": _groups(account),
        "sign_ins": account.sign_ins.order_by("-seen"),
        "tokens": account.tokens.order_by("name"),
        "second_factor": account.authenticator_set.exists(),
        "may_change": _may_change(request.viewer),
        "current_session": request.session.session_key,
    }
    return answers.answer(request, "console/people/person.html", context)


class RolesForm(forms.Form):
    roles = forms.MultipleChoiceField(
        label=lazy("Roles in the console"),
        choices=[(role.value, ROLE_WORDS[role]) for role in CONSOLE_ROLES],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text=lazy("Roles on a CA follow from the CA's security: CA Properties, Security."),
    )
    may_export_keys = forms.BooleanField(label=lazy("May export private keys"), required=False)


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
@reauthenticated
def roles(request: PageRequest, account_id: int) -> HttpResponse:
    """Say what an account may do in the console."""
    account = _account(account_id)
    initial = {"roles": account.roles, "may_export_keys": account.may_export_keys}
    form = RolesForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        chosen = [Role(value) for value in form.cleaned_data["roles"]]
        exporting = form.cleaned_data["may_export_keys"]
        accounts.set_roles(request.viewer, account, chosen, may_export_keys=exporting)
        return answers.done(
            request, f"/people/{account.pk}/", _("Roles changed: %(name)s") % {"name": account.username}
        )
    context = {
        "title": _("What may %(name)s do here?") % {"name": account.username},
        "form": form,
        "submit": _("Change roles"),
        "back": f"/people/{account.pk}/",
    }
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


class LocalForm(forms.Form):
    name = forms.CharField(
        label=lazy("Name"), max_length=64, help_text=lazy("Signs in with it; it cannot be changed later.")
    )
    display_name = forms.CharField(label=lazy("Display name"), max_length=128, required=False)
    password = forms.CharField(
        label=lazy("Password"),
        max_length=256,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=lazy("At least 12 characters."),
    )
    roles = RolesForm.base_fields["roles"]


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
@reauthenticated
def add(request: PageRequest) -> HttpResponse:
    """A local account. Accounts of the directory need none: they sign in as they are."""
    form = LocalForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            account = accounts.add_local(
                request.viewer,
                data["name"],
                data["password"],
                data["display_name"],
                [Role(value) for value in data["roles"]],
            )
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, f"/people/{account.pk}/")
    context = {
        "title": _("Add a local account"),
        "form": form,
        "submit": _("Add account"),
        "back": "/people/",
    }
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


class PasswordForm(forms.Form):
    password = forms.CharField(
        label=lazy("New password"),
        max_length=256,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=lazy("At least 12 characters. Every session of the account ends."),
    )


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
@reauthenticated
def password(request: PageRequest, account_id: int) -> HttpResponse:
    """A new password for a local account."""
    account = _account(account_id)
    form = PasswordForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            accounts.set_password(request.viewer, account, form.cleaned_data["password"])
        except AdcsError as error:
            form.add_error("password", error.message)
        else:
            return answers.done(
                request, f"/people/{account.pk}/", _("Password set: %(name)s") % {"name": account.username}
            )
    context = {
        "title": _("Set the password of %(name)s?") % {"name": account.username},
        "form": form,
        "submit": _("Set password"),
        "back": f"/people/{account.pk}/",
    }
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


@page({Role.ADMINISTRATOR}, methods=("POST",))
def enable(request: PageRequest, account_id: int) -> HttpResponse:
    accounts.set_enabled(request.viewer, _account(account_id), request.POST.get("enabled") == "1")
    return answers.done(request, f"/people/{account_id}/")


@page({Role.ADMINISTRATOR}, methods=("POST",))
def end_sessions(request: PageRequest, account_id: int) -> HttpResponse:
    """Sign an account out everywhere, this browser left alone."""
    count = accounts.end_sessions(_account(account_id), besides=request.session.session_key or "")
    return answers.done(request, f"/people/{account_id}/", _("Sessions ended: %(count)s") % {"count": count})


@page({Role.ADMINISTRATOR}, methods=("POST",))
@reauthenticated
def forget_second_factor(request: PageRequest, account_id: int) -> HttpResponse:
    """For somebody who lost theirs: they sign in with the password alone and make a new one."""
    account = _account(account_id)
    accounts.forget_second_factor(request.viewer, account)
    return answers.done(
        request, f"/people/{account_id}/", _("Second factor removed: %(name)s") % {"name": account.username}
    )


def _account(account_id: int) -> Account:
    account = Account.objects.filter(pk=account_id).first()
    if account is None:
        raise Http404
    return account


def _groups(account: Account) -> list[str]:
    """Names of a directory account's groups, all of them."""
    principal: Principal | None = rooms().directory.principal(account.sid) if account.sid else None
    if principal is None:
        return []
    return sorted(rooms().directory.sid_names(principal.groups).values())


def _may_change(viewer: Viewer) -> bool:
    return viewer.may(Role.ADMINISTRATOR)


def _find(viewer: Viewer, query: search.Query) -> Iterator[search.Hit]:
    """Accounts by name."""
    if not viewer.is_any(access.PEOPLE):
        return
    for account in Account.objects.filter(username__icontains=query.account or query.text)[: search.MAX_HITS]:
        exact = account.username.casefold() == query.text.casefold()
        yield search.Hit(
            search.ACCOUNTS,
            account.username,
            account.display_name,
            f"/people/{account.pk}/",
            icon="user",
            exact=exact,
        )


finders = [_find]

urls = [
    path("people/", people),
    path("people/add/", add),
    path("people/<int:account_id>/", person),
    path("people/<int:account_id>/roles/", roles),
    path("people/<int:account_id>/password/", password),
    path("people/<int:account_id>/enable/", enable),
    path("people/<int:account_id>/sessions/end/", end_sessions),
    path("people/<int:account_id>/second-factor/remove/", forget_second_factor),
]
