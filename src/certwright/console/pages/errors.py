"""Pages for what cannot be shown: never a traceback; a fault of ours has a number that stands in the log."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from certwright.console.access import PageRequest, public

log = structlog.get_logger(__name__)


def _page(request: HttpRequest, status: int, title: str, text: str, *, icon: str, incident: str = "") -> HttpResponse:
    """In the frame for somebody signed in, alone for everybody else."""
    signed_in = getattr(request, "viewer", None) is not None and status != 500
    context = {"title": title, "text": text, "icon": icon, "incident": incident, "status": status}
    context["frame"] = "console/base.html" if signed_in else "console/bare.html"
    return render(request, "console/error.html", context, status=status)


def forbidden(request: HttpRequest) -> HttpResponse:
    return _page(
        request,
        403,
        _("Your roles do not allow this"),
        _("Ask a console administrator for the role, or a CA administrator where the page belongs to a CA."),
        icon="lock",
    )


def wrong_method(request: PageRequest, allowed: Collection[str]) -> HttpResponse:
    response = _page(request, 405, _("Not this way"), _("This address answers other requests."), icon="circle-x")
    response["Allow"] = ", ".join(sorted(allowed))
    return response


def fault(request: HttpRequest, incident: str) -> HttpResponse:
    title = _("The server could not do this")
    text = _("The log holds what happened under this number. Nothing was changed unless a page says so.")
    if getattr(request, "htmx", None):
        body = render_to_string("console/parts/fault.html", {"title": title, "incident": incident})
        return HttpResponse(body, status=500)
    try:
        return _page(request, 500, title, text, icon="alert-triangle", incident=incident)
    except Exception:  # the page of the fault has one itself
        log.exception("fault_page_failed", incident=incident)
        return HttpResponse(f"{title} ({incident})\n", status=500, content_type="text/plain; charset=utf-8")


@public
def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    del exception
    text = _("The request cannot be understood, or names a host that this server is not.")
    return HttpResponse(f"{text}\n", status=400, content_type="text/plain; charset=utf-8")


@public
def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    del exception
    return forbidden(request)


@public
def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    del exception
    return _page(
        request,
        404,
        _("There is no such page"),
        _("The address is wrong, or what it showed was deleted. The search finds certificates, requests and orders."),
        icon="map-off",
    )


@public
def server_error(request: HttpRequest) -> HttpResponse:
    incident = secrets.token_hex(4).upper()
    log.error("console_fault", incident=incident, path=request.path, exc_info=True)
    return fault(request, incident)


@public
def csrf_failed(request: HttpRequest, reason: str = "", **_ignored: Any) -> HttpResponse:
    log.warning("csrf_refused", path=request.path, reason=reason)
    return _page(
        request,
        403,
        _("The form is not from this session"),
        _("Go back, reload the page and send it again. Cookies of this host must be allowed."),
        icon="lock",
    )
