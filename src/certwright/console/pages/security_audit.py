"""Security audit: the known escalations ESC1 to ESC17, which of them are open here, and how each is closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.console import access, answers, borrowed
from certwright.console.access import PageRequest, Viewer, page
from certwright.console.rooms import CaHealth, rooms
from certwright.directory.security_audit.audit import Standing
from certwright.directory.security_audit.findings import Finding, Severity

PAGE: Final = "/health/security/"
HEALTH_AGE: Final = 60.0
"""Seconds that Health's lines may be old: the page is looked at often, and a forest takes a second to read."""
TITLES: Final[Mapping[str, Any]] = {
    "ESC1": lazy("Enrollee names the subject of a logon certificate"),
    "ESC2": lazy("Certificate for any purpose"),
    "ESC3": lazy("Enrollment agents that nobody chose"),
    "ESC4": lazy("Template that others may change"),
    "ESC5": lazy("PKI objects that others may change"),
    "ESC6": lazy("Names taken from the request's attributes"),
    "ESC7": lazy("Roles on the CA for everybody"),
    "ESC8": lazy("Logons relayed to web enrollment"),
    "ESC9": lazy("Logon certificate without the SID of its account"),
    "ESC10": lazy("Domain controllers that map certificates weakly"),
    "ESC11": lazy("Logons relayed to the CA's RPC interface"),
    "ESC12": lazy("Key of the CA for whoever has a shell on it"),
    "ESC13": lazy("Issuance policy that stands for a group"),
    "ESC14": lazy("Account with a weak explicit mapping"),
    "ESC15": lazy("Usages taken from the request (CVE-2024-49019)"),
    "ESC16": lazy("CA that leaves the SID out of every certificate"),
    "ESC17": lazy("Enrollee names the host of a server certificate"),
}
_STANDINGS: Final[Mapping[Standing, tuple[str, Any]]] = {
    Standing.OPEN: ("down", lazy("Open")),
    Standing.CLOSED: ("ok", lazy("Not found")),
    Standing.IMPOSSIBLE: ("ok", lazy("Cannot happen here")),
    Standing.NOT_VISIBLE: ("unknown", lazy("Not visible")),
}
_STATES: Final[Mapping[Severity, tuple[str, Any]]] = {
    Severity.HIGH: ("down", lazy("High")),
    Severity.MEDIUM: ("warning", lazy("Medium")),
    Severity.LOW: ("unknown", lazy("Worth knowing")),
}


@page(access.AUDIT)
def overview(request: PageRequest) -> HttpResponse:
    """Every finding with who, why and the step that ends it; then how each of the seventeen stands."""
    report = rooms().security(0)
    context = {
        "title": _("Security audit"),
        "crumbs": [(_("Health"), "/health/")],
        "findings": [_drawn(finding) for finding in report.findings],
        "standings": [
            {
                "number": line.number,
                "title": TITLES[line.number],
                "state": _STANDINGS[line.standing][0],
                "word": _STANDINGS[line.standing][1],
                "reason": borrowed.standing_reason(line.number, line.reason),
            }
            for line in report.coverage
        ],
        "unreadable": report.unreadable,
        "checked": rooms().clock(),
    }
    return answers.answer(request, "console/security_audit.html", context, rows="console/security_audit/rows.html")


def _drawn(finding: Finding) -> dict[str, Any]:
    state, word = ("warning", lazy("Overridden")) if finding.accepted else _STATES[finding.severity]
    return {"finding": finding, "title": TITLES[finding.number], "state": state, "word": word}


def security_findings(viewer: Viewer) -> Iterable[tuple[str, CaHealth]]:
    """What Health shows of it: everything that is open, and settings of a CA that somebody accepted.

    Accepted risks of templates stand under Overrides already.
    """
    if not viewer.is_any(access.AUDIT):
        return
    for finding in rooms().security(HEALTH_AGE).findings:
        if not finding.needs_acceptance or (finding.accepted and finding.risk is not None):
            continue
        group = _("Overrides") if finding.accepted else _("Security audit")
        what = _("%(number)s: %(object)s") % {"number": finding.number, "object": finding.object}
        state = "warning" if finding.accepted else _STATES[finding.severity][0]
        yield group, CaHealth(what, state, TITLES[finding.number], href=PAGE)


health_lines = [security_findings]

urls = [path("health/security/", overview)]
