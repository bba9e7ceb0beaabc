"""Around every page: headers, the language, who is signed in, and what happens when a page fails."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import structlog
from django.contrib.auth import logout
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.locale import LocaleMiddleware
from django.utils import timezone, translation

from certwright.console import accounts
from certwright.console.access import viewer_of
from certwright.console.clock import zone_of
from certwright.console.rooms import rooms
from certwright.console.sign_in import peer_of

log = structlog.get_logger(__name__)

Answer = Callable[[HttpRequest], HttpResponseBase]

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; form-action {forms}; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Referrer-Policy": "same-origin",  # Django's CSRF check reads the Referer of our own pages
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Vary": "HX-Request",
}


class Frame:
    """The outermost: security headers on every answer, an incident number for every fault.

    No Strict-Transport-Security: CRLs and CA certificates are fetched from the same host without TLS.
    """

    def __init__(self, get_response: Answer) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        for name, value in _HEADERS.items():
            if name == "Vary" and response.has_header("Vary"):
                response["Vary"] = f"{response['Vary']}, {value}"
            else:
                response.setdefault(name, value)
        response.setdefault("Cache-Control", "no-store")
        response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY.format(forms=_form_targets(request))
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A fault of ours: a number for the person, the rest for the log. What Django answers itself is none."""
        if isinstance(exception, Http404 | PermissionDenied | SuspiciousOperation):
            return None
        from certwright.console.pages import errors

        incident = secrets.token_hex(4).upper()
        log.error("console_fault", incident=incident, path=request.path, exc_info=exception)
        return errors.fault(request, incident)


def _form_targets(request: HttpRequest) -> str:
    """Signing in with an OpenID provider is a form whose answer leads there."""
    provider = rooms().openid if request.path.startswith("/sign-in/") else None
    return f"'self' {provider.origin}" if provider is not None else "'self'"


class Language(LocaleMiddleware):
    """By cookie, else as the browser asks; an account's own choice comes with `SignedIn`."""


class SignedIn:
    """Puts the viewer on the request: asks again, for every request, whether the account may (still) be here."""

    def __init__(self, get_response: Answer) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.viewer = None  # type: ignore[attr-defined]
        user = request.user
        if not isinstance(user, AnonymousUser):
            key = request.session.session_key or ""
            viewer = None
            if accounts.is_session_alive(key, rooms().clock()):
                viewer = viewer_of(user, peer_of(request))  # type: ignore[arg-type]
            if viewer is None:
                logout(request)
            else:
                request.viewer = viewer  # type: ignore[attr-defined]
                language = viewer.preferences.get("language")
                if language and translation.check_for_language(language):
                    translation.activate(language)
                    request.LANGUAGE_CODE = language
                with timezone.override(zone_of(viewer.preferences.get("zone", ""))):
                    return self._get_response(request)
        return self._get_response(request)
