"""Health: what pkiview shows as a tree, as a table; then findings.

Page modules add rows with `health_lines = [function]`; such a function takes the viewer and returns
an iterable of (group, `CaHealth`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Final

from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.adcs.events import AuditEvent
from certwright.console import access, borrowed, clock
from certwright.console.access import PageRequest, Viewer, page
from certwright.console.answers import answer
from certwright.console.menu import Badge
from certwright.console.rooms import CaHealth, rooms

LOOKED_THROUGH: Final = 200
"""Newest events of a kind among which is looked for who accepted a risk."""


@page(access.HEALTH)
def overview(request: PageRequest) -> HttpResponse:
    """Everything that is watched, grouped by CA and room."""
    rows = sorted(lines_for(request.viewer), key=lambda row: row[0])
    groups = [(name, [line for _group, line in lines]) for name, lines in groupby(rows, key=lambda row: row[0])]
    states = [line.state for _group, line in rows]
    context = {
        "title": _("Health"),
        "groups": groups,
        "down": states.count("down"),
        "warning": states.count("warning"),
        "checked": rooms().clock(),
        "may_audit": request.viewer.is_any(access.AUDIT),
    }
    return answer(request, "console/health.html", context, rows="console/health/rows.html")


def lines_for(viewer: Viewer) -> list[tuple[str, CaHealth]]:
    """Everything that is watched, each line with its group."""
    from certwright.console.pages import modules

    found = [(ca.name, line) for ca in viewer.cas for line in rooms().ca_health(ca.config)]
    words = {
        "https": _("HTTPS listener"),
        "http": _("HTTP listener"),
        "database": _("Database"),
        "issuers": _("Issuer"),
    }
    for name, well in rooms().listeners().items():
        found.append((_("This host"), CaHealth(words.get(name, name), "ok" if well else "down")))
    for module in modules():
        for provider in getattr(module, "health_lines", ()):
            try:
                lines: Iterable[tuple[str, CaHealth]] = provider(viewer)
                found += lines
            except AdcsError as error:
                found.append(
                    (_("This host"), CaHealth(provider.__module__.rpartition(".")[2], "unknown", error.message))
                )
    return found


def _overrides(viewer: Viewer) -> Iterable[tuple[str, CaHealth]]:
    """Templates that were saved although they are dangerous: listed until the danger is gone."""
    administration = rooms().directory_administration
    settings = (
        next((f"/ca/{ca.slug}/templates/" for ca in viewer.cas), "") if viewer.is_any(access.CA_SETTINGS) else ""
    )
    for cn, template in sorted(administration.templates().items()):
        accepted = administration.accepted_risks(cn)
        if not accepted:
            continue
        risks = [risk for risk in administration.risks(template) if risk.id in accepted]
        what = _("%(template)s: %(risks)s") % {
            "template": template.display_name,
            "risks": ", ".join(dict.fromkeys(risk.id for risk in risks)),
        }
        said = " ".join(borrowed.said(risk.sentence) for risk in risks)
        if risks:
            yield (
                _("Overrides"),
                CaHealth(what, "warning", f"{said} {_accepted_by(cn)}", href=f"{settings}{cn}/" if settings else ""),
            )


def _accepted_by(cn: str) -> str:
    """Who took the risk, and when: the last of the template's events that says so."""
    events = [
        record
        for kind in (AuditEvent.TEMPLATE_UPDATED, AuditEvent.TEMPLATE_SECURITY_UPDATED, AuditEvent.TEMPLATE_LOADED)
        for record in rooms().audit.events(ca="", event=kind, limit=LOOKED_THROUGH)
        if record.details.get("template") == cn and record.details.get("accepted_risks")
    ]
    newest = max(events, key=lambda record: record.sequence, default=None)
    if newest is None:
        return ""
    text = _("Accepted by %(account)s, %(when)s.") % {"account": newest.actor, "when": clock.day(newest.when)}
    reason = newest.details.get("reason")
    return f"{text} {_('Reason: %(reason)s') % {'reason': reason}}" if reason else text


health_lines = [_overrides]


def _failing(viewer: Viewer) -> Badge | None:
    down = sum(line.state == "down" for ca in viewer.cas for line in rooms().ca_health(ca.config))
    down += sum(row.state == "down" for row in rooms().watch.all())
    return Badge(down, "red", lazy("failing"))


badges = {"/health/": _failing}

urls = [path("health/", overview)]
