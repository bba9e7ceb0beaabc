"""What views answer with: pages or the part htmx asked for, several parts at once, dialogs, refusals, toasts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from certwright.adcs.errors import (
    AccessDenied,
    AdcsError,
    BadRequestState,
    CaUnreachable,
    NoSuchRequest,
    NotSupported,
)
from certwright.console.access import PageRequest

Context = Mapping[str, Any]

_STATUS: Final[tuple[tuple[type[AdcsError], int], ...]] = (
    (AccessDenied, 403),
    (NoSuchRequest, 404),
    (BadRequestState, 409),
    (NotSupported, 409),
    (CaUnreachable, 503),
)


def answer(
    request: PageRequest, template: str, context: Context | None = None, *, rows: str = "", status: int = 200
) -> HttpResponse:
    """A page; or only the template `rows`, when htmx asked for the element with the id `rows` (or its neighbours).

    The page extends `console/base.html`. Its filter form has `hx-target="#rows"`.
    """
    part = rows and request.htmx and not request.htmx.boosted and not request.htmx.history_restore_request
    return render(request, rows if part else template, dict(context or {}), status=status)


def part(
    request: PageRequest, target: str, template: str, context: Context | None = None, swap: str = ""
) -> SafeString:
    """One `<hx-partial>`: a template for the element that `target` (a CSS selector) names."""
    body = render_to_string(template, dict(context or {}), request)
    return format_html(
        '<hx-partial hx-target="{}"{}>{}</hx-partial>',
        target,
        format_html(' hx-swap="{}"', swap) if swap else "",
        mark_safe(body),  # noqa: S308 - a rendered template of ours
    )


def parts(*several: SafeString, status: int = 200) -> HttpResponse:
    """Several places changed at once."""
    return HttpResponse(mark_safe("".join(several)), status=status)  # noqa: S308 - made by `part`


def dialog(request: PageRequest, template: str, context: Context | None = None, *, status: int = 200) -> HttpResponse:
    """A dialog: the fragment for htmx, which the script opens; else the same form on a page of its own.

    The template extends `dialog_base`: `{% extends dialog_base %}` with the blocks `title`, `body` and `act`.
    """
    frame = "console/dialog.html" if request.htmx else "console/dialog_page.html"
    return render(request, template, {**(context or {}), "dialog_base": frame}, status=status)


def done(request: PageRequest, url: str, text: str = "", *, undo: str = "") -> HttpResponse:
    """After an act: to `url`, with a toast where the page does not show what happened.

    Args:
        undo: URL that takes it back when it is posted to.
    """
    if request.htmx:
        response = HttpResponse(status=204)
        response["HX-Redirect"] = url
    else:
        response = HttpResponseRedirect(url)
    if text:
        leave_toast(request, text, undo)
    return response


def toast(response: HttpResponse, text: str, *, undo: str = "") -> HttpResponse:
    """Show a toast with this answer, which stays on the page."""
    response["HX-Trigger"] = json.dumps({"cw:toast": {"text": text, "undo": undo}})
    return response


def leave_toast(request: PageRequest, text: str, undo: str = "") -> None:
    """Show a toast on the next page."""
    request.session["cw_toasts"] = [*request.session.get("cw_toasts", []), {"text": text, "undo": undo}][-5:]


def status_of(error: AdcsError) -> int:
    """The HTTP status of what a room behind the pages refused."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 422)


def refused(request: PageRequest, error: AdcsError) -> HttpResponse:
    """What was refused, by which rule, with which code: beside the act for htmx, else as a page."""
    status = status_of(error)
    context = {
        "error": error,
        "code": f"0x{int(error.status):08X}",
        "symbol": error.status.name,
        "retry": status == 503,
    }
    if request.htmx:
        response = render(request, "console/parts/refusal.html", context, status=409)  # one that htmx swaps in
        response["HX-Retarget"] = "dialog[open] [data-refusal]" if "_dialog" in request.POST else "#refusal"
        response["HX-Reswap"] = "innerHTML"
        return response
    return render(request, "console/refused.html", {**context, "title": _("Refused")}, status=status)


def invalid(request: PageRequest, template: str, context: Context | None = None) -> HttpResponse:
    """A form with its errors; htmx swaps it in."""
    return render(request, template, dict(context or {}), status=422)
