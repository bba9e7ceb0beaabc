"""What the frame itself asks for: the menu's counts, saved views, chosen columns."""

from __future__ import annotations

import re

from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from certwright.adcs.errors import InvalidArgument
from certwright.console import accounts, answers
from certwright.console.access import PageRequest, page
from certwright.console.models import SavedView

MAX_VIEWS = 50
_COLUMN = re.compile(r"[a-z_]{1,40}")


@page(anybody=True)
def menu(request: PageRequest) -> HttpResponse:
    """The menu again, with today's counts, for the page that asks."""
    current = request.htmx.current_url_abs_path if request.htmx else None
    if current:
        request.path = current.partition("?")[0]
    return render(request, "console/parts/menu.html")


@page(anybody=True, methods=("POST",))
def columns(request: PageRequest, name: str) -> HttpResponse:
    """Remember which columns a list shows, in which order."""
    chosen = [key for key in request.POST.getlist("column")[:60] if _COLUMN.fullmatch(key)]
    if not _COLUMN.fullmatch(name.replace("-", "_")):
        raise InvalidArgument(_("There is no such list."))
    every = dict(request.viewer.preferences.get("columns", {}))
    if "usual" in request.POST or not chosen:
        every.pop(name, None)
    else:
        every[name] = chosen
    accounts.set_preferences(request.viewer.id, {"columns": dict(list(every.items())[-100:])})
    return HttpResponseRedirect(_own_path(request.POST.get("next", "/")))


@page(anybody=True, methods=("POST",))
def save_view(request: PageRequest) -> HttpResponse:
    """Name a query. The same name again replaces the earlier one."""
    name, query = request.POST.get("name", "").strip(), request.POST.get("query", "")
    where = _own_path(request.POST.get("page", "/")).partition("?")[0]
    if not name or len(name) > 64 or len(query) > 2000:
        raise InvalidArgument(_("A view has a name of 1 to 64 characters."))
    if SavedView.objects.filter(account_id=request.viewer.id).count() >= MAX_VIEWS:
        raise InvalidArgument(_("An account keeps at most %(count)s views; delete one first.") % {"count": MAX_VIEWS})
    SavedView.objects.update_or_create(
        account_id=request.viewer.id,
        page=where,
        name=name,
        defaults={"query": query, "shared": bool(request.POST.get("shared"))},
    )
    return answers.done(request, f"{where}?{query}" if query else where, _("View saved: %(name)s") % {"name": name})


@page(anybody=True, methods=("POST",))
def delete_view(request: PageRequest, view_id: int) -> HttpResponse:
    view = SavedView.objects.filter(pk=view_id, account_id=request.viewer.id).first()
    if view is None:
        raise InvalidArgument(_("There is no such view."))
    view.delete()
    return answers.done(request, view.page)


def _own_path(url: str) -> str:
    """A path of this host, never another's address."""
    return url if url.startswith("/") and url_has_allowed_host_and_scheme(url, allowed_hosts=None) else "/"


urls = [
    path("menu/", menu),
    path("columns/<name>/", columns),
    path("views/", save_view),
    path("views/<int:view_id>/delete/", delete_view),
]
