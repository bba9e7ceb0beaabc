"""Every URL of the console: each page module's `urls`, and the REST API's. Pages' paths end with a slash."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver

from certwright.console.api import application
from certwright.console.pages import modules

urlpatterns: list[URLPattern | URLResolver] = [
    *(pattern for module in modules() for pattern in getattr(module, "urls", ())),
    *application.urls,
]

handler400 = "certwright.console.pages.errors.bad_request"
handler403 = "certwright.console.pages.errors.permission_denied"
handler404 = "certwright.console.pages.errors.not_found"
handler500 = "certwright.console.pages.errors.server_error"
