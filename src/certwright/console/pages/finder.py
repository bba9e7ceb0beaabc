"""Global search: the list under the field, and a page of its own."""

from __future__ import annotations

from itertools import groupby

from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext as _

from certwright.console import search
from certwright.console.access import PageRequest, page


@page(anybody=True)
def results(request: PageRequest) -> HttpResponse:
    """What was found; Enter opens the only hit, or the only one that is exactly what was typed."""
    query = search.Query.of(request.GET.get("q", ""))
    hits = search.search(request.viewer, query)
    if not request.htmx and [hit.exact for hit in hits[:2]] in ([True], [True, False]):
        return HttpResponseRedirect(hits[0].href)
    shown = hits[: search.MAX_HITS] if request.htmx else hits
    groups = [
        (search.GROUPS[group], list(found))
        for group, found in groupby(sorted(shown, key=lambda hit: hit.group), key=lambda hit: hit.group)
    ]
    context = {"title": _("Search"), "query": query, "groups": groups}
    return render(request, "console/search/hits.html" if request.htmx else "console/search.html", context)


urls = [path("search/", results)]
