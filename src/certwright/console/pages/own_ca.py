"""This installation's own CA as an AD CS service, and a template to order by: the newcomer's shortest way.

Nothing here is more than the pages for device users, services and templates do one after the other; whoever may not
do one of these steps there may not do it here.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AccessDenied, AdcsError, InvalidArgument
from certwright.adcs.requester import Sid
from certwright.adcs.template import CertificateTemplate, NameRule, NameRules
from certwright.console import answers
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.dashboard import Step
from certwright.console.pages.adcs_accounts import read_anew
from certwright.console.rooms import rooms
from certwright.manager.values import DeviceUserFields, ServiceFields, TrustKind, key

_NEW: Final = "new"
_ACCOUNT: Final = "svc-orders"
_SUGGESTED: Final = "WebServer"
_ACCOUNTS: Final = "/adcs/accounts/"


class OwnCaForm(forms.Form):
    """Where the CA is, and as whom it is asked."""

    device_user = forms.ChoiceField(label=lazy("Ask it as"))
    account = forms.CharField(
        label=lazy("Name of the new account"),
        required=False,
        max_length=64,
        initial=_ACCOUNT,
        help_text=lazy("It is added to the domain with a random password that only the device user knows."),
    )
    template = forms.ChoiceField(
        label=lazy("Let it enroll for"),
        required=False,
        help_text=lazy("Others are granted under Certificate Templates."),
    )
    hostname = forms.CharField(label=lazy("Hostname"), max_length=255)
    port = forms.IntegerField(label=lazy("Port"), min_value=1, max_value=65535)

    def __init__(self, *args: Any, may_add_account: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        users = [
            (str(user.id), f"{user.name} ({user.username})")
            for user in rooms().manager.device_users.list()
            if rooms().directory.principal(user.username) is not None
        ]
        new = [(_NEW, _("a new account of this domain"))] if may_add_account else []
        self.fields["device_user"].choices = [*new, *users]  # type: ignore[attr-defined]
        self.fields["template"].choices = [  # type: ignore[attr-defined]
            *((each.cn, each.display_name) for each in _published()),
            ("", _("nothing more than it may already")),
        ]
        if not may_add_account:
            del self.fields["account"]


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def use_this_ca(request: PageRequest) -> HttpResponse:
    """Use this CA: device user and service in one go, reached over /certsrv as every other AD CS."""
    may_add = _may_change_accounts(request.viewer)
    initial = {"hostname": rooms().hostname, "port": request.get_port(), "template": _SUGGESTED}
    bound = request.POST if request.method == "POST" else None
    form = OwnCaForm(bound, initial=initial, may_add_account=may_add)
    if form.is_bound and form.is_valid():
        try:
            service_id = _set_up(request.viewer, form.cleaned_data)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, f"{_ACCOUNTS}{service_id}/", read_anew(request, service_id))
    context = {
        "title": _("Use this CA as an AD CS service?"),
        "text": _("Orders then go to this CA as to any other AD CS, over its /certsrv, with its own root trusted."),
        "form": form,
        "submit": _("Use this CA"),
        "back": _ACCOUNTS,
    }
    return answers.dialog(request, "console/adcs_accounts/own_ca.html", context, status=422 if form.errors else 200)


def _set_up(viewer: Viewer, data: Mapping[str, Any]) -> int:
    """Account, right to enroll, device user, service; its number.

    Raises:
        AdcsError: one of them may not be, or is there already.
    """
    manager, directory = rooms().manager, rooms().directory_administration
    domain = rooms().directory.domain
    where = (key(data["hostname"]), data["port"])
    if any((key(each.hostname), each.port) == where for each in manager.services.list(domain.dns_name)):
        raise InvalidArgument(_("This CA is a service already; see Accounts."))
    sid: Sid | None
    if data["device_user"] == _NEW:
        actor = directory.require_account_administrator(viewer.requester)
        name, password = data["account"].strip() or _ACCOUNT, secrets.token_urlsafe(32)
        principal = directory.add_account(name, password=password, ntlm=True, actor=actor)
        fields = DeviceUserFields(name, principal.account)
        user_id = manager.device_users.add(fields, password, actor=viewer.account).id
        sid = principal.sid
    else:
        user = manager.device_users.get(int(data["device_user"]))
        found = rooms().directory.principal(user.username)
        user_id, sid = user.id, found.sid if found is not None else None
    if data.get("template") and sid is not None:
        _let_enroll(viewer, data["template"], sid)
    service = ServiceFields(
        domain=domain.dns_name,
        hostname=data["hostname"],
        device_user_id=user_id,
        port=data["port"],
        trust=TrustKind.PINNED,
        trust_data=rooms().root_certificate().decode(),
    )
    number: int = manager.services.add(service, actor=viewer.account).id
    return number


def _let_enroll(viewer: Viewer, cn: str, sid: Sid) -> None:
    directory = rooms().directory_administration
    directory.grant(cn, sid, enroll=True, actor=directory.require_template_administrator(viewer.requester))


def _may_change_accounts(viewer: Viewer) -> bool:
    try:
        rooms().directory_administration.require_account_administrator(viewer.requester)
    except AccessDenied:
        return False
    return True


# -- the first template ----------------------------------------------------------------------------------------------


class FirstTemplateForm(forms.Form):
    """A template, the names it may certify without approval, and who may enroll for it."""

    template = forms.ChoiceField(label=lazy("Certificate template"))
    suffixes = forms.CharField(
        label=lazy("DNS suffixes"),
        max_length=1000,
        help_text=lazy("Names below them are issued at once; all others wait for a certificate manager."),
    )
    accounts = forms.MultipleChoiceField(
        label=lazy("Who may enroll"), required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["template"].choices = [  # type: ignore[attr-defined]
            (each.cn, each.display_name) for each in _for_servers()
        ]
        self.fields["accounts"].choices = [  # type: ignore[attr-defined]
            (user.username, f"{user.name} ({user.username})")
            for user in rooms().manager.device_users.list()
            if rooms().directory.principal(user.username) is not None
        ]


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def first_template(request: PageRequest) -> HttpResponse:
    """Publish a certificate template, with name rules for the domain."""
    form = FirstTemplateForm(
        request.POST if request.method == "POST" else None,
        initial={
            "template": _SUGGESTED,
            "suffixes": rooms().directory.domain.dns_name,
            "accounts": [user.username for user in rooms().manager.device_users.list()],
        },
    )
    if form.is_bound and form.is_valid():
        try:
            _publish(request.viewer, form.cleaned_data)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            for service in rooms().manager.services.list():
                read_anew(request, service.id)
            return answers.done(request, "/", _("Published: %(name)s") % {"name": form.cleaned_data["template"]})
    context = {
        "title": _("Publish a certificate template"),
        "form": form,
        "submit": _("Publish"),
        "back": "/",
    }
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


def _publish(viewer: Viewer, data: Mapping[str, Any]) -> None:
    directory = rooms().directory_administration
    actor = directory.require_template_administrator(viewer.requester)
    issuing = next((ca for ca in viewer.cas if not ca.is_root and viewer.on(ca, Role.CA_ADMINISTRATOR)), None)
    if issuing is None:
        raise AccessDenied(_("You are CA administrator of no issuing CA of this installation."))
    suffixes = tuple(part for part in data["suffixes"].replace(",", " ").split() if part)

    def with_rules(template: CertificateTemplate) -> CertificateTemplate:
        return replace(template, name_rules=replace(template.name_rules, rules=(NameRule(dns_suffixes=suffixes),)))

    cn = data["template"]
    if _suffixes_of(cn) != suffixes:
        directory.change_template(cn, with_rules, actor=actor)
    directory.publish(issuing.name, cn, actor=actor)
    for username in data["accounts"]:
        principal = rooms().directory.principal(username)
        if principal is not None:
            directory.grant(cn, principal.sid, enroll=True, actor=actor)


def _suffixes_of(cn: str) -> tuple[str, ...]:
    rules: NameRules = rooms().directory.templates()[cn].name_rules
    return rules.rules[0].dns_suffixes if len(rules.rules) == 1 else ()


def _for_servers() -> list[CertificateTemplate]:
    """Templates by which a request brings its own names, but none that makes a CA."""
    found = [each for each in rooms().directory.templates().values() if each.enrollee_supplies_subject]
    return sorted((each for each in found if not each.is_ca), key=lambda each: each.display_name.casefold())


def _published() -> list[CertificateTemplate]:
    names = {cn for service in rooms().registry.enrollment_services() for cn in service.templates}
    return [each for each in _for_servers() if each.cn in names]


def _publish_step(viewer: Viewer) -> Step | None:
    """Row 4 of the checklist: done once a service offers something."""
    if not viewer.may(Role.CA_ADMINISTRATOR):
        return None
    services = rooms().manager.services
    return Step(
        _("Publish a certificate template"),
        _("Web Server is suggested, with the names that are issued without approval, and who may enroll for it."),
        done=any(services.domain_templates(domain) for domain in services.domains()),
        act=_("Publish…"),
        href="/first-run/template/",
        dialog=True,
    )


first_run_steps = {4: _publish_step}

urls = [
    path("adcs/accounts/use-this-ca/", use_this_ca),
    path("first-run/template/", first_template),
]
