"""Revocation & Responder: the CRLs of one CA, and publishing a new one."""

from __future__ import annotations

from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _

from certwright.adcs.interfaces import CrlKind, Sort, Table
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, page
from certwright.console.authority import administer, ca_of, may_configure
from certwright.console.rooms import rooms

SHOWN = 50


@page(access.CA_SETTINGS)
def revocation(request: PageRequest, ca: str) -> HttpResponse:
    """The newest CRLs first."""
    standing = ca_of(request, ca)
    rows = list(administer(request, standing).view(Table.CRLS, (), (), Sort("number", True), SHOWN))
    context = {
        "title": _("Revocation & Responder"),
        "crumbs": [(standing.name, "")],
        "ca": standing,
        "crls": rows,
        "now": rooms().clock(),
        "may_configure": may_configure(request, standing),
    }
    return answers.answer(request, "console/ca/revocation.html", context)


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def publish(request: PageRequest, ca: str) -> HttpResponse:
    """Publish a new base CRL of every key."""
    standing = ca_of(request, ca)
    back = f"/ca/{standing.slug}/revocation/"
    admin = administer(request, standing)
    if request.method == "POST":
        admin.publish_crls(CrlKind.BASE)
        return answers.done(request, back, _("A new base CRL is published."))
    newest = next(iter(admin.view(Table.CRLS, (), (), Sort("number", True), 1)), None)
    text = (
        _("It replaces number %(number)s, which is good until %(until)s UTC.")
        % {"number": newest["number"], "until": f"{newest['next_update']:%Y-%m-%d %H:%M}"}
        if newest
        else _("It is the first one of this CA.")
    )
    context = {
        "title": _("Publish a new base CRL?"),
        "text": text,
        "submit": _("Publish"),
        "harmless": True,
        "back": back,
    }
    return answers.dialog(request, "console/ca/act.html", context)


urls = [path("ca/<str:ca>/revocation/", revocation), path("ca/<str:ca>/revocation/publish/", publish)]
