"""What the frame itself asks for: the menu's counts, saved views, chosen columns."""

from __future__ import annotations

import re

from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext as _

from certwright.adcs.errors import InvalidArgument
from certwright.console import accounts, answers, saved_views
from certwright.console.access import PageRequest, page

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
    return HttpResponseRedirect(saved_views.own_path(request.POST.get("next", "/")))


@page(anybody=True, methods=("POST",))
def save_view(request: PageRequest) -> HttpResponse:
    """Name a query. The same name again replaces the earlier one."""
    query = request.POST.get("query", "")
    view = saved_views.save(
        request.viewer,
        request.POST.get("page", "/"),
        request.POST.get("name", ""),
        query,
        shared=bool(request.POST.get("shared")),
    )
    where = f"{view.page}?{query}" if query else view.page
    return answers.done(request, where, _("View saved: %(name)s") % {"name": view.name})


@page(anybody=True, methods=("POST",))
def delete_view(request: PageRequest, view_id: int) -> HttpResponse:
    return answers.done(request, saved_views.delete(request.viewer, view_id).page)


urls = [
    path("menu/", menu),
    path("columns/<name>/", columns),
    path("views/", save_view),
    path("views/<int:view_id>/delete/", delete_view),
]
