"""Renewal: rules that order a certificate's successor before it ends, what they would order, and what failed."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.listing import Column, Filter, Listing, in_memory
from certwright.console.menu import Badge
from certwright.console.rooms import rooms
from certwright.manager.values import PlannedRenewal, RenewalKey, RenewalRule, RuleFields

HERE: Final = "/renewal/"
DAYS_AHEAD: Final = 30
"""How far a dry run looks, unless somebody asks for one of the others."""
OTHER_DAYS: Final = (7, 90, 365)
_FORM: Final = "console/adcs_accounts/form_page.html"
KEY_WORDS: Final = {RenewalKey.NEW: lazy("New key"), RenewalKey.SAME: lazy("Same key")}

COLUMNS: Final = (
    Column("name", lazy("Rule"), css="cw-lead"),
    Column("match", lazy("Match"), css="cw-why", sortable=False),
    Column("days_before", lazy("Days before"), css="cw-tight cw-num"),
    Column("key", lazy("Key"), css="cw-tight"),
    Column("where", lazy("Domain and template"), css="cw-tight", sortable=False),
    Column("last_run", lazy("Last run"), css="cw-tight"),
    Column("failures", lazy("Failures"), css="cw-tight cw-mark-s"),
    Column("ordered", lazy("Ordered"), css="cw-tight cw-num", off=True),
    Column("created", lazy("Added"), css="cw-tight", off=True),
)
PLANNED: Final = (
    Column("when", lazy("When"), css="cw-tight"),
    Column("name", lazy("Certificate"), css="cw-lead"),
    Column("not_after", lazy("Not After"), css="cw-tight"),
    Column("rule", lazy("Rule"), css="cw-tight"),
    Column("key", lazy("Key"), css="cw-tight", off=True),
    Column("where", lazy("Domain and template"), css="cw-tpl", sortable=False),
    Column("problem", lazy("Outcome"), css="cw-why cw-mark-s"),
)


def _renewal() -> Any:
    return rooms().manager.renewal


@page(access.AUTOMATION)
def renewal(request: PageRequest) -> HttpResponse:
    """The rules, and below them what failed."""
    listing = Listing.read(request, "renewal", COLUMNS, sort="name", search=lazy("Rule, tag, template, issuer"))
    in_memory(listing, map(_row, _renewal().list()), searched=("name", "tag", "match_template", "issuer", "where"))
    context = {
        "title": _("Renewal"),
        "crumbs": [(_("Automation"), "")],
        "listing": listing,
        "failed": _renewal().failed(),
        "may_change": request.viewer.may(Role.ADMINISTRATOR),
        "may_renew": request.viewer.may(Role.ADMINISTRATOR, Role.OPERATOR),
    }
    return answers.answer(request, "console/renewal/list.html", context, rows="console/renewal/rows.html")


def _row(rule: RenewalRule) -> dict[str, Any]:
    fields = rule.fields
    return {
        "id": rule.id,
        "name": fields.name,
        "enabled": fields.enabled,
        "certificate": fields.certificate_id,
        "tag": fields.tag,
        "match_template": fields.match_template,
        "issuer": fields.issuer,
        "days_before": fields.days_before,
        "key": str(KEY_WORDS[fields.key]),
        "where": _where(fields.domain, fields.template),
        "last_run": rule.last_run,
        "failures": rule.failures,
        "last_failure": rule.last_failure,
        "ordered": rule.ordered,
        "created": rule.created,
    }


def _where(domain: str, template: str) -> str:
    """`CORP, WebServer`; what is empty is as the certificate was ordered before."""
    if not domain and not template:
        return _("as before")
    return f"{domain or _('same domain')}, {template or _('same template')}"


@page(access.AUTOMATION)
def dry_run(request: PageRequest) -> HttpResponse:
    """What the rules, or one of them, would order in the next days; nothing is ordered."""
    rules = [(str(rule.id), rule.fields.name) for rule in _renewal().list()]
    words = {days: _("Next %(days)s days") % {"days": days} for days in (DAYS_AHEAD, *OTHER_DAYS)}
    filters = [
        Filter("rule", _("Rule"), _("All rules that are on"), rules),
        Filter("days", _("Ahead"), words[DAYS_AHEAD], [(str(days), words[days]) for days in OTHER_DAYS]),
    ]
    listing = Listing.read(
        request, "renewal-dry-run", PLANNED, sort="when", search=lazy("Certificate"), filters=filters
    )
    chosen, ahead = listing.value("rule"), int(listing.value("days") or DAYS_AHEAD)
    planned = _renewal().dry_run(int(chosen) if chosen else None, ahead)
    in_memory(listing, map(_planned, planned), searched=("name", "rule"))
    context = {
        "title": _("Dry run"),
        "crumbs": [(_("Automation"), ""), (_("Renewal"), HERE)],
        "listing": listing,
        "ahead": ahead,
        "problems": sum(1 for each in planned if each.problem),
        "count": len(planned),
    }
    return answers.answer(request, "console/renewal/dry_run.html", context, rows="console/renewal/dry_run_rows.html")


def _planned(each: PlannedRenewal) -> dict[str, Any]:
    return {
        "when": each.when,
        "certificate": each.certificate_id,
        "name": each.common_name or _("Certificate %(id)s") % {"id": each.certificate_id},
        "not_after": each.not_after,
        "rule": each.rule,
        "rule_id": each.rule_id,
        "key": str(KEY_WORDS[each.key]),
        "where": f"{each.domain}, {each.template}" if each.domain else "",
        "problem": each.problem,
    }


# -- acts ------------------------------------------------------------------------------------------------------------


class RuleForm(forms.Form):
    """A rule as people enter it. What it matches, then what it orders."""

    name = forms.CharField(label=lazy("Name"), max_length=255)
    tag = forms.CharField(
        label=lazy("Tag"),
        required=False,
        max_length=64,
        help_text=lazy("All that is filled in of tag, template and issuer must match; one of them has to be."),
    )
    match_template = forms.CharField(label=lazy("Certificate template"), required=False, max_length=255)
    issuer = forms.ChoiceField(label=lazy("Issuer"), required=False)
    days_before = forms.IntegerField(
        label=lazy("Days before"),
        min_value=1,
        max_value=365,
        initial=30,
        help_text=lazy("So many days before a certificate expires, its successor is ordered."),
    )
    key = forms.ChoiceField(
        label=lazy("Key"),
        choices=[(each.value, words) for each, words in KEY_WORDS.items()],
        help_text=lazy("The same key only where it is stored here."),
    )
    domain = forms.ChoiceField(
        label=lazy("Domain"), required=False, help_text=lazy("Where to order; empty: as the certificate was before.")
    )
    template = forms.CharField(
        label=lazy("Template"),
        required=False,
        max_length=64,
        help_text=lazy("What to order; empty: as the certificate was before."),
    )
    enabled = forms.BooleanField(label=lazy("Rule is on"), required=False, initial=True)

    def __init__(self, *args: Any, before: RuleFields | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.certificate_id = before.certificate_id if before is not None else None
        manager = rooms().manager
        issuers = [each.value for each in manager.inventory.choices("issuer")]
        domains = list(manager.services.domains())
        if before is not None:  # what is gone from the choices stays what it was
            issuers += [before.issuer] if before.issuer and before.issuer not in issuers else []
            domains += [before.domain] if before.domain and before.domain not in domains else []
        self.fields["issuer"].choices = [("", _("Any issuer")), *((each, each) for each in issuers)]  # type: ignore[attr-defined]
        self.fields["domain"].choices = [("", _("As before")), *((each, each) for each in domains)]  # type: ignore[attr-defined]

    @property
    def values(self) -> RuleFields:
        data = self.cleaned_data
        return RuleFields(
            name=data["name"],
            days_before=data["days_before"],
            certificate_id=self.certificate_id,
            tag=data["tag"],
            match_template=data["match_template"],
            issuer=data["issuer"],
            key=RenewalKey(data["key"]),
            domain=data["domain"],
            template=data["template"],
            enabled=data["enabled"],
        )


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def add(request: PageRequest) -> HttpResponse:
    """A new rule; with `tag`, `match_template` or `issuer` in the query, filled in with it."""
    asked = {name: request.GET.get(name, "")[:255] for name in ("tag", "match_template", "issuer")}
    initial = {name: value for name, value in asked.items() if value}
    form = RuleForm(request.POST) if request.method == "POST" else RuleForm(initial=initial)
    if form.is_bound and form.is_valid():
        try:
            rule = _renewal().add(form.values, actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            text = _("Rule added: %(name)s. The dry run shows what it will order.") % {"name": rule.fields.name}
            return answers.done(request, HERE, text)
    return _shown(request, form, _("Add a renewal rule"), _("Add rule"))


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def edit(request: PageRequest, rule_id: int) -> HttpResponse:
    """Change a rule; what it ordered already stays ordered."""
    before: RuleFields = _renewal().get(rule_id).fields
    initial = {
        "name": before.name,
        "days_before": before.days_before,
        "tag": before.tag,
        "match_template": before.match_template,
        "issuer": before.issuer,
        "key": before.key.value,
        "domain": before.domain,
        "template": before.template,
        "enabled": before.enabled,
    }
    form = RuleForm(request.POST if request.method == "POST" else None, initial=initial, before=before)
    if form.is_bound and form.is_valid():
        try:
            _renewal().edit(rule_id, form.values, actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, HERE, _("Rule changed: %(name)s") % {"name": form.values.name})
    text = ""
    if before.certificate_id is not None:
        text = _("This rule is for one certificate: number %(id)s.") % {"id": before.certificate_id}
    return _shown(request, form, before.name, _("Save"), text)


def _shown(request: PageRequest, form: RuleForm, title: str, submit: str, text: str = "") -> HttpResponse:
    context = {
        "title": title,
        "crumbs": [(_("Automation"), ""), (_("Renewal"), HERE)],
        "form": form,
        "submit": submit,
        "back": HERE,
        "text": text,
    }
    return answers.answer(request, _FORM, context, status=422 if form.errors else 200)


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def delete(request: PageRequest, rule_id: int) -> HttpResponse:
    """Remove a rule."""
    rule: RenewalRule = _renewal().get(rule_id)
    if request.method == "POST":
        _renewal().delete(rule_id, actor=request.viewer.account)
        return answers.done(request, HERE, _("Rule deleted: %(name)s") % {"name": rule.fields.name})
    context = {
        "title": _("Delete the rule %(name)s?") % {"name": rule.fields.name},
        "text": _("What it ordered stays ordered. Certificates that no other rule matches are not renewed any more."),
        "submit": _("Delete rule"),
        "back": HERE,
    }
    return answers.dialog(request, "console/ca/act.html", context)


def _failed(_viewer: Viewer) -> Badge:
    return Badge(_renewal().failed_count(), "red", _("renewals failed"))


badges = {HERE: _failed}

urls = [
    path("renewal/", renewal),
    path("renewal/dry-run/", dry_run),
    path("renewal/add/", add),
    path("renewal/<int:rule_id>/edit/", edit),
    path("renewal/<int:rule_id>/delete/", delete),
]
