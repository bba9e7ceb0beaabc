"""The dashboard: what needs me, in five seconds. Until it is done or dismissed, the first-run checklist instead."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext as _

from certwright.adcs.events import AuditEvent
from certwright.console import access, accounts, dashboard
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.dashboard import Card, Step
from certwright.console.menu import menu_for
from certwright.console.rooms import rooms
from certwright.notifications.values import ChannelKind


@page(anybody=True)
def home(request: PageRequest) -> HttpResponse:
    """Tiles and cards; the checklist for whoever sets the installation up; nothing for whoever has no role."""
    viewer = request.viewer
    if not viewer.roles:
        return render(request, "console/no_role.html", {"title": _("Welcome")})
    if not viewer.is_any(access.ORDERS):
        entries = [entry for block in menu_for(viewer, "/").below for entry in block.entries]
        return HttpResponseRedirect(entries[0].href if entries else "/account/")
    steps = _open_steps(viewer)
    if steps and "all" not in request.GET:
        return render(request, "console/first_run.html", _checklist(steps))
    context = {
        "title": _("Dashboard"),
        "tiles": dashboard.tiles_for(viewer),
        "cards": dashboard.cards_for(viewer),
        "steps_left": sum(not step.done for step in steps),
    }
    return render(request, "console/dashboard.html", context)


@page(access.ORDERS)
def tiles(request: PageRequest) -> HttpResponse:
    """The tiles again, once a minute."""
    return render(request, "console/parts/tiles.html", {"tiles": dashboard.tiles_for(request.viewer)})


@page({Role.ADMINISTRATOR, Role.CA_ADMINISTRATOR}, methods=("POST",))
def dismiss(request: PageRequest) -> HttpResponse:
    """No checklist any more, for this account."""
    accounts.set_preferences(request.viewer.id, {"first_run": "dismissed"})
    return HttpResponseRedirect("/")


@page({Role.ADMINISTRATOR, Role.CA_ADMINISTRATOR})
def root_certificate(request: PageRequest) -> HttpResponse:
    """The certificate that clients have to trust, as a file."""
    response = HttpResponse(rooms().root_certificate(), content_type="application/x-pem-file")
    response["Content-Disposition"] = 'attachment; filename="root-ca.crt"'
    accounts.set_preferences(request.viewer.id, {"root_saved": True})
    return response


@page({Role.ADMINISTRATOR, Role.CA_ADMINISTRATOR}, methods=("POST",))
def root_offline(request: PageRequest) -> HttpResponse:
    """Somebody says that the root key is offline, or stays for now."""
    accounts.set_preferences(request.viewer.id, {"root_key_seen": True})
    return HttpResponseRedirect("/")


@page({Role.ADMINISTRATOR, Role.CA_ADMINISTRATOR}, methods=("POST",))
def backup_made(request: PageRequest) -> HttpResponse:
    """Somebody says that the installation is backed up by other means."""
    accounts.set_preferences(request.viewer.id, {"backup_seen": True})
    return HttpResponseRedirect("/")


def _open_steps(viewer: Viewer) -> list[Step]:
    if viewer.preferences.get("first_run") == "dismissed":
        return []
    if not viewer.may(Role.ADMINISTRATOR, Role.CA_ADMINISTRATOR):
        return []
    steps = dashboard.steps_for(viewer)
    return steps if any(not step.done for step in steps) else []


def _checklist(steps: list[Step]) -> dict[str, object]:
    """Each row with how it is drawn: done, the next one, or open; later rows can be read and wait."""
    rows, seen_open = [], False
    for number, step in enumerate(steps, 1):
        how = "done" if step.done else "locked" if seen_open else "next"
        seen_open = seen_open or not step.done
        rows.append({"number": number, "step": step, "how": how})
    done = sum(step.done for step in steps)
    return {"title": _("Getting started"), "rows": rows, "done": done, "count": len(steps)}


# -- the steps of the frame; the others come from the pages they lead to ---------------------------------------------


def _save_root(viewer: Viewer) -> Step:
    return Step(
        _("Save the root certificate and put it on your machines"),
        _("Machines that have it trust everything this PKI issues. In a domain: a group policy distributes it."),
        done=bool(viewer.preferences.get("root_saved")),
        act=_("Download"),
        href="/root-ca.crt",
        extra="console/first_run/root.html",
    )


def _root_offline(viewer: Viewer) -> Step | None:
    root = next((ca for ca in viewer.cas if ca.is_root), None)
    if root is None:
        return None
    return Step(
        _("Take the root key offline"),
        _("The root CA signs one certificate in years. Its key belongs on a stick in a safe, not on this host."),
        done=bool(viewer.preferences.get("root_key_seen")) or _is_offline(root.name),
        extra="console/first_run/offline.html",
        context={"ca": root.name},
    )


def _is_offline(ca: str) -> bool:
    """What the audit trail says last about the key."""
    moves = [
        record
        for event in (AuditEvent.CA_KEY_REMOVED, AuditEvent.CA_KEY_RETURNED)
        for record in rooms().audit.events(ca=ca, event=event, limit=1)
    ]
    newest = max(moves, key=lambda record: record.sequence, default=None)
    return newest is not None and newest.event == AuditEvent.CA_KEY_REMOVED


def _mail_and_backup(viewer: Viewer) -> Step | None:
    """Done once mail has somewhere to go, and a backup was made: by the audit trail, or by somebody's word."""
    if not viewer.may(Role.ADMINISTRATOR):
        return None
    has_mail = any(channel.kind is ChannelKind.EMAIL for channel in rooms().notifications.channels.list())
    backups = rooms().audit.events(event=AuditEvent.BACKUP_COMPLETED, limit=1)
    has_backup = bool(backups) or bool(viewer.preferences.get("backup_seen"))
    return Step(
        _("Set e-mail for notifications, and make the first backup"),
        _("Mail tells of certificates that end and of what waits; a backup brings everything back."),
        done=has_mail and has_backup,
        act="" if has_mail else _("Add mail server"),
        href="/notifications/channels/add/email/",
        extra="" if has_backup else "console/first_run/backup.html",
        context={"next": has_mail},
    )


first_run_steps = {1: _save_root, 2: _root_offline, 6: _mail_and_backup}


# -- a card every viewer of a CA has ---------------------------------------------------------------------------------


def _ca_health(viewer: Viewer) -> Iterable[Card]:
    """How the CAs stand: certificate, CRLs, listeners."""
    if not viewer.is_any(access.HEALTH):
        return
    for number, ca in enumerate(viewer.cas[:2]):
        lines = rooms().ca_health(ca.config)
        context = {"ca": ca, "lines": lines, "soon": rooms().clock() + timedelta(hours=1)}
        yield Card("console/cards/ca_health.html", context, width=4, order=(70 if ca.is_root else 20) + number)


dashboard_cards = [_ca_health]

urls = [
    path("", home),
    path("dashboard/tiles/", tiles),
    path("dashboard/dismiss/", dismiss),
    path("dashboard/root-key/", root_offline),
    path("dashboard/backup/", backup_made),
    path("root-ca.crt", root_certificate),
]
