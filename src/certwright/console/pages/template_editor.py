"""The template editor: one form over all tabs, checked while it is filled in, saved whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.translation import gettext as _

from certwright.adcs.errors import BadRequestState, InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, page
from certwright.console.authority import ca_of, may_configure
from certwright.console.rooms import CaStanding, rooms
from certwright.console.template_editor import changes, draft, findings, names, rights
from certwright.console.template_editor.draft import Draft
from certwright.console.template_editor.fields import NAMES, OUTSIDE, SECURITY, TABS
from certwright.console.template_editor.widgets import OTHER, EditorForm
from certwright.directory.risks import remedied
from certwright.directory.template_administration import RiskyTemplate, is_default

_EVENTS: Final = (AuditEvent.TEMPLATE_UPDATED, AuditEvent.TEMPLATE_SECURITY_UPDATED)
_LOOKED_THROUGH: Final = 200  # newest events, for who changed a template meanwhile
KINDS: Final[Mapping[str, str]] = {"dns": "DNS", "ip": "IP", "mail": "mail", "upn": "UPN"}


class _ChangedMeanwhile(BadRequestState):
    """The stored template is not the one that the form was drawn from."""


@page(access.CA_SETTINGS, methods=("GET", "POST"))
def edit(request: PageRequest, ca: str, cn: str, tab: str = "general") -> HttpResponse:
    """One tab of a template; a POST saves the changes of all tabs."""
    standing, template = ca_of(request, ca), template_called(cn)
    if request.method != "POST":
        return _draw(request, standing, draft.unchanged(template), tab)
    return _save(request, standing, template, tab, accept=[], reason="")


@page({Role.CA_ADMINISTRATOR}, methods=("POST",))
def override(request: PageRequest, ca: str, cn: str, tab: str) -> HttpResponse:
    """Save in spite of risks: each is typed by its number, with the reason, and stands in the audit trail.

    Whoever did not confirm lately who they are keeps the form, and is asked to do that first.
    """
    standing, template = ca_of(request, ca), template_called(cn)
    if access.confirmation_is_due(request):
        made = draft.read_draft(template, request.POST, rooms().directory)
        return _draw(request, standing, made, tab, status=403, unconfirmed=True)
    typed = request.POST.get("override-word", "").replace(",", " ").upper().split()
    reason = " ".join(request.POST.get("override-reason", "").split())[:500]
    if not reason or not typed:
        made = draft.read_draft(template, request.POST, rooms().directory)
        sentence = _("Type the number of each risk, such as ESC1, and give a reason.")
        return _draw(request, standing, made, tab, status=422, refusal=sentence)
    return _save(request, standing, template, tab, accept=typed, reason=reason)


@page(access.CA_SETTINGS, methods=("POST",))
def check(request: PageRequest, ca: str, cn: str, tab: str) -> HttpResponse:
    """What saving the form as it stands would come to; stores nothing."""
    standing, template = ca_of(request, ca), template_called(cn)
    made = draft.read_draft(template, request.POST, rooms().directory, typing=True)
    context = _context(request, standing, made, tab)
    return answers.parts(
        *(
            answers.part(request, f"#{name}", f"console/ca/template_{name}.html", context, swap="innerHTML")
            for name in ("rail", "findings", "savebar", "stored")
        )
    )


@page(access.CA_SETTINGS, methods=("POST",))
def look(request: PageRequest, ca: str, cn: str, tab: str) -> HttpResponse:
    """The form drawn again as it stands: another tab, other choices, a line more or less, or a way out taken."""
    standing, template = ca_of(request, ca), template_called(cn)
    made = draft.read_draft(template, request.POST, rooms().directory)
    if value := request.POST.get("fix", ""):
        remedy = findings.remedy_of(rooms().directory_administration.risks(made.after), value)
        if remedy is not None:
            after = remedied(made.after, remedy, rooms().directory.domain)
            made = Draft(made.before, draft.versioned(made.before, after), made.errors, made.texts)
    return _draw(request, standing, made, tab)


@page(access.CA_SETTINGS, methods=("POST",))
def try_name(request: PageRequest, ca: str, cn: str) -> HttpResponse:
    """Is a name inside the rules as the form has them?"""
    ca_of(request, ca)
    made = draft.read_draft(template_called(cn), request.POST, rooms().directory, typing=True)
    text, who = (" ".join(request.POST.get(key, "").split())[:256] for key in ("try-name", "try-account"))
    principal = rooms().directory.principal(who) if who else None
    context: dict[str, Any] = {"name": text, "outside": made.after.name_rules.outside.value}
    if NAMES.key in made.errors:
        context["error"] = made.errors[NAMES.key]
    elif who and principal is None:
        context["error"] = _("There is no account or group called %(name)s.") % {"name": who}
    elif text:
        sids = principal.sids if principal is not None else frozenset()
        tried = rooms().try_name(made.after.name_rules, text, sids)
        context["tried"] = [(KINDS.get(kind, kind), why) for kind, why in tried]
    return answers.answer(request, "console/ca/template_tried.html", context)


def template_called(cn: str) -> CertificateTemplate:
    """Raises:
    Http404: there is no such template.
    """
    found = rooms().directory_administration.templates().get(cn)
    if found is None:
        raise Http404
    return found


# -- saving ----------------------------------------------------------------------------------------------------------


def _save(
    request: PageRequest, ca: CaStanding, template: CertificateTemplate, tab: str, *, accept: list[str], reason: str
) -> HttpResponse:
    """Store the form; the stored template is looked at again inside the transaction."""
    administration = rooms().directory_administration
    actor = administration.require_template_administrator(request.viewer.requester)
    made = draft.read_draft(template, request.POST, rooms().directory)
    if made.errors:
        return _draw(request, ca, made, tab, status=422)
    base = request.POST.get("base", "")

    def changed(before: CertificateTemplate) -> CertificateTemplate:
        if draft.fingerprint(before) != base:
            raise _ChangedMeanwhile("changed meanwhile")
        return draft.read_draft(before, request.POST, rooms().directory).after

    try:
        administration.change_template(template.cn, changed, accept_risks=accept, reason=reason, actor=actor)
    except _ChangedMeanwhile:
        newest = template_called(template.cn)
        made = draft.read_draft(newest, request.POST, rooms().directory)
        return _draw(request, ca, made, tab, status=409, meanwhile=_last_change(newest))
    except RiskyTemplate:
        return _draw(request, ca, made, tab, status=409)
    except InvalidArgument as error:
        return _draw(request, ca, made, tab, status=422, refusal=error.message)
    saved = _("Saved with override.") if accept else _("Saved.")
    return answers.done(request, f"{_base(ca, template)}{tab}/", saved if made.changed else "")


def _last_change(template: CertificateTemplate) -> tuple[str, datetime] | None:
    """Who changed a template last, and when, if the trail still knows it among its newest events."""
    found = [
        record
        for event in _EVENTS
        for record in rooms().audit.events(event=int(event), limit=_LOOKED_THROUGH)
        if record.details.get("template") == template.cn
    ]
    newest = max(found, key=lambda record: record.when, default=None)
    return (newest.actor, newest.when) if newest is not None else None


# -- drawing ---------------------------------------------------------------------------------------------------------


def _base(ca: CaStanding, template: CertificateTemplate) -> str:
    return f"/ca/{ca.slug}/templates/{template.cn}/"


def _draw(
    request: PageRequest, ca: CaStanding, made: Draft, tab: str, *, status: int = 200, **more: Any
) -> HttpResponse:
    context = _context(request, ca, made, tab) | more
    return answers.answer(
        request, "console/ca/template.html", context, rows="console/ca/template_editor.html", status=status
    )


def _context(request: PageRequest, ca: CaStanding, made: Draft, tab: str) -> dict[str, Any]:
    administration = rooms().directory_administration
    directory = rooms().directory
    template, after, domain = made.before, made.after, directory.domain
    base = _base(ca, template)
    configures = may_configure(request, ca)
    service = directory.enrollment_service(ca.name)
    examined = administration.examine(after)
    accepted = administration.accepted_risks(template.cn)
    named = _namer()
    who = _counted(named, [sid for risk in examined.risks for sid in risk.principals])
    found = [
        findings.finding(risk, who, refused=risk in examined.refused, accepted=risk.id in accepted)
        for risk in examined.risks
    ]
    differing = changes.differences(template, after, domain.sid, named)
    wrong = made.tabs_with_errors()
    marked = {each.tab for each in found if each.refused} | wrong
    altered = {each.tab for each in differing}
    templates = administration.templates().values()
    redraw = {
        "hx-post": f"{base}{tab}/look/",
        "hx-trigger": "change",
        "hx-target": "#editor",
        "hx-swap": "outerHTML",
    }
    form = EditorForm(
        after,
        texts=made.texts,
        errors=made.errors,
        superseded=sorted((each.cn, each.display_name) for each in templates if each.cn != template.cn),
        redraw=redraw,
        read_only=not configures,
    )
    return {
        "title": template.display_name,
        "crumbs": [(ca.name, ""), (_("Certificate Templates"), f"/ca/{ca.slug}/templates/")],
        "ca": ca,
        "template": template,
        "after": after,
        "base": base,
        "base_fingerprint": draft.fingerprint(template),
        "tab": tab,
        "rail": [(key, each.label, key in marked, key in altered) for key, each in TABS.items()],
        "panels": [(each, _groups(form, each.fields)) for each in TABS.values()],
        "form": form,
        "open": [key for key in form.own if not form.fields[key].disabled],
        "may_configure": configures,
        "may_override": configures and bool(examined.refused) and not wrong and not examined.fault,
        "published": service is not None and template.cn in service.templates,
        "is_default": is_default(template),
        "findings": found,
        "refused": [each for each in found if each.refused],
        "refused_ids": " ".join(dict.fromkeys(each.id for each in found if each.refused)),
        "fault": examined.fault,
        "wrong": [(TABS[key].label, key) for key in TABS if key in wrong],
        "changes": differing,
        "version": f"{template.major_version}.{template.minor_version}",
        "next_version": f"{after.major_version}.{after.minor_version}",
        "stored": changes.attributes(template, after, TABS[tab].attributes),
        "rule_rows": _rule_rows(made, named),
        "rule_kinds": names.KINDS,
        "rule_error": made.errors.get(NAMES.key, ""),
        "outside": [(value, label, value == after.name_rules.outside.value) for value, label in OUTSIDE],
        "rights_columns": list(rights.COLUMNS.values()),
        "rights": _rights(after, named),
        "rights_error": made.errors.get(SECURITY.key, ""),
        "added": made.texts.get(SECURITY.key, ""),
        "groups": _groups_of_directory() if tab in (NAMES.key, SECURITY.key) else [],
    }


def _groups(form: EditorForm, wanted: Any) -> list[tuple[Any, Any, Any]]:
    """The fields of one tab as (heading, bound field, its second control)."""
    return [
        (each.heading, form[each.key], form[each.key + OTHER] if each.key + OTHER in form.fields else None)
        for each in wanted
        if each.key in form.fields
    ]


def _namer() -> Callable[[Sid], str]:
    known: dict[Sid, str] = {}

    def named(sid: Sid) -> str:
        if sid not in known:
            known[sid] = rooms().directory.sid_names(frozenset((sid,))).get(sid, sid)
        return known[sid]

    return named


def _counted(named: Callable[[Sid], str], sids: list[Sid]) -> Callable[[Sid], tuple[str, int | None]]:
    counts = rooms().directory_administration.effective_members(sids)
    return lambda sid: (named(sid), counts[sid])


def _rule_rows(made: Draft, named: Callable[[Sid], str]) -> list[names.RuleRow]:
    """The rules, and an empty line for one more."""
    if made.rule_rows is not None:
        rows = list(made.rule_rows)
    else:
        groups = [Sid(rule.group) for rule in made.after.name_rules.rules if rule.group]
        rows = names.rows_of(made.after.name_rules, {sid: named(sid) for sid in groups})
    return [*rows, names.RuleRow("dns_suffixes", "", "")]


def _rights(template: CertificateTemplate, named: Callable[[Sid], str]) -> list[rights.RightsRow]:
    security = SecurityDescriptor.from_sddl(template.security_descriptor, rooms().directory.domain.sid)
    entries = security.dacl.entries if security.dacl is not None else ()
    known = {ace.sid: named(ace.sid) for ace in entries}
    return rights.rows_of(security, known, rooms().directory_administration.effective_members)


def _groups_of_directory() -> list[str]:
    return sorted(group.principal.account for group in rooms().directory_administration.list_groups())[:500]


AT: Final = "ca/<str:ca>/templates/<str:cn>/"
urls = [
    path(AT, edit),
    path(f"{AT}try/", try_name),
    *(path(f"{AT}{tab}/", edit, {"tab": tab}) for tab in TABS),
    *(path(f"{AT}{tab}/check/", check, {"tab": tab}) for tab in TABS),
    *(path(f"{AT}{tab}/look/", look, {"tab": tab}) for tab in TABS),
    *(path(f"{AT}{tab}/override/", override, {"tab": tab}) for tab in TABS),
]
