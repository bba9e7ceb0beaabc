"""What the dashboard shows: numbers that need somebody, what was issued, how long requests wait, what to do first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ninja import Router

from certwright.console import access, dashboard
from certwright.console.access import Role
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.shapes import Told
from certwright.console.pages.dashboard_cards import issued_by_template, queue_ages
from certwright.console.pages.events import recent
from certwright.console.rooms import rooms
from certwright.directory.security_audit.audit import SecurityReport

router = Router(tags=["System"])


class Tile(Told):
    label: str
    value: int
    more: str
    href: str  # the filtered list in the console
    colour: str  # red, orange, yellow, blue, gray


class IssuedTemplate(Told):
    template: str  # empty: without a template
    count: int


class QueueAge(Told):
    """Pending requests that have waited no longer than `up_to` seconds; of the last entry it is null: the others."""

    up_to: int | None
    count: int


class ChecklistStep(Told):
    """A row of the first-run checklist."""

    title: str
    text: str
    done: bool


class Dashboard(Told):
    """Of issued certificates and of the queue only what the caller may read on a CA."""

    tiles: list[Tile]
    issued: list[IssuedTemplate]  # in the last 30 days, every one counted; the most first
    queue: list[QueueAge]
    checklist: list[ChecklistStep]  # empty where the caller sets nothing up


class Happened(Told):
    when: datetime
    state: str
    text: str
    more: str
    href: str


class SecurityFinding(Told):
    number: str  # as in ESC1
    severity: str
    object: str
    sentence: str
    entries: list[str]  # whose right it is
    conditions: list[str]
    fix: str
    accepted: bool


class Escalation(Told):
    number: str
    standing: str  # open, closed, impossible or not visible
    reason: str


class SecurityAnswer(Told):
    checked: datetime
    findings: list[SecurityFinding]
    escalations: list[Escalation]
    unreadable: list[str]


@operation(router, "GET", "/dashboard", Dashboard)
def get_dashboard(request: ApiRequest) -> Dashboard:
    """Show the numbers of the dashboard; expiries stand under /inventory/expiry, states under /health."""
    viewer = request.viewer
    limits, counts = queue_ages(viewer)
    ends = [*(int(limit.total_seconds()) for limit in limits), None]
    steps = dashboard.steps_for(viewer) if viewer.may(Role.ADMINISTRATOR, Role.CA_ADMINISTRATOR) else []
    return Dashboard(
        tiles=[
            Tile(label=str(tile.label), value=tile.value, more=str(tile.more), href=tile.href, colour=tile.colour)
            for tile in dashboard.tiles_for(viewer)
        ],
        issued=[
            IssuedTemplate(template=template, count=count)
            for template, count in issued_by_template(viewer).most_common()
        ],
        queue=[QueueAge(up_to=end, count=count) for end, count in zip(ends, counts, strict=True)]
        if viewer.is_any(access.QUEUES)
        else [],
        checklist=[ChecklistStep(title=str(step.title), text=str(step.text), done=step.done) for step in steps],
    )


@operation(router, "GET", "/events", list[Happened])
def list_events(request: ApiRequest) -> Sequence[Happened]:
    """List what happened in the last seven days and concerns the caller, the newest first."""
    return [
        Happened(
            when=each.when,
            state=str(each.state.word),
            text=str(each.text),
            more=str(each.more),
            href=each.href,
        )
        for each in recent(request.viewer)
    ]


@operation(router, "GET", "/health/security", SecurityAnswer)
def get_security_audit(request: ApiRequest) -> SecurityAnswer:
    """Look for the escalations ESC1 to ESC17, and say of each how it stands here."""
    report: SecurityReport = rooms().security(0)
    return SecurityAnswer(
        checked=rooms().clock(),
        findings=[
            SecurityFinding(
                number=each.number,
                severity=each.severity.name.lower(),
                object=each.object,
                sentence=each.sentence,
                entries=list(each.aces),
                conditions=list(each.why),
                fix=each.fix,
                accepted=each.accepted,
            )
            for each in report.findings
        ],
        escalations=[
            Escalation(
                number=each.number,
                standing=each.standing.name.lower().replace("_", " "),
                reason=each.reason,
            )
            for each in report.coverage
        ],
        unreadable=list(report.unreadable),
    )
