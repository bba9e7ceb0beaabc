"""What the frame's template needs beside what a view hands in."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from certwright import __version__
from certwright.console.menu import Menu, menu_for
from certwright.console.rooms import rooms


def frame(request: HttpRequest) -> dict[str, Any]:
    """Viewer, menu and waiting toasts; each is made when a template asks for it."""
    viewer = getattr(request, "viewer", None)

    def menu() -> Menu | None:
        return menu_for(viewer, request.path, request.session.get("cw_ca", "")) if viewer is not None else None

    def toasts() -> list[dict[str, str]]:
        found: list[dict[str, str]] = request.session.pop("cw_toasts", []) if "cw_toasts" in request.session else []
        return found

    return {
        "request": request,
        "viewer": viewer,
        "menu": menu,
        "waiting_toasts": toasts,
        "now": rooms().clock(),
        "version": __version__,
    }
