"""The nouns put together: ninja's application, its URLs, and what surrounds every operation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.utils import translation
from ninja import NinjaAPI

from certwright.console.api import (
    audit,
    authorities,
    backups,
    ca_life,
    ca_roles,
    certificates,
    certificates_many,
    device_users,
    directory,
    domain,
    enrollment_services,
    finding,
    inventory,
    locations,
    ndes,
    notifications,
    orders,
    overview,
    own_account,
    people,
    renewal,
    request_forms,
    requests,
    requests_many,
    responder,
    responder_elsewhere,
    services,
    system,
    templates,
    watched_locations,
)
from certwright.console.api.description import TEXT, describe
from certwright.console.api.parsing import StrictParser
from certwright.console.api.problems import Refused, handle_all

VERSION: Final = "1"

api: Final = NinjaAPI(
    title="Certwright",
    version=VERSION,
    description=TEXT,
    openapi_url=None,  # served below, with permissions in it
    docs_url=None,  # its pages need scripts from elsewhere; the console has a page of its own
    urls_namespace="api",
    parser=StrictParser(),
)
for noun in (
    orders,
    request_forms,
    inventory,
    certificates,
    certificates_many,
    locations,
    renewal,
    notifications,
    services,
    device_users,
    authorities,
    ca_life,
    ca_roles,
    requests,
    requests_many,
    templates,
    responder,
    responder_elsewhere,
    enrollment_services,
    ndes,
    directory,
    domain,
    people,
    own_account,
    finding,
    audit,
    overview,
    system,
    watched_locations,
    backups,
):
    api.add_router("", noun.router)
handle_all(api)


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return describe(api)


def _openapi(request: HttpRequest) -> HttpResponse:
    """The document is for everybody: it is the same in every installation."""
    if request.method not in ("GET", "HEAD"):
        return _wrong_method("GET")
    return JsonResponse(document(), json_dumps_params={"indent": 1})


def _nothing(request: HttpRequest) -> HttpResponse:
    del request
    return Refused(404, "There is nothing at this address; /api/v1/openapi.json describes what there is.").response


def _wrong_method(allowed: str) -> HttpResponse:
    return Refused(
        405, "This address answers other requests.", headers={"Allow": ", ".join(sorted(allowed.split(", ")))}
    ).response


def _framed(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """English, and one shape also for what ninja answers itself."""

    @functools.wraps(view)
    def framed(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with translation.override("en"):
            response = view(request, *args, **kwargs)
        return _wrong_method(response["Allow"]) if response.status_code == 405 else response

    framed.csrf_exempt = True  # type: ignore[attr-defined]  # tokens need none; `Guard` checks sessions
    return framed


def _patterns() -> list[URLPattern | URLResolver]:
    """ninja's URLs, each framed; several methods of a path are one view already."""
    found: list[URLPattern | URLResolver] = []
    seen: set[str] = set()
    for pattern in api.urls[0]:
        route = str(pattern.pattern)
        if isinstance(pattern, URLPattern) and route and route not in seen:
            seen.add(route)
            found.append(path(route, _framed(pattern.callback), name=pattern.name))
    return found


urls: Final[list[URLPattern | URLResolver]] = [
    path(
        "api/v1/",
        include(
            (
                [
                    path("openapi.json", _framed(_openapi), name="openapi"),
                    *_patterns(),
                    re_path("", _framed(_nothing)),
                ],
                "api",
            )
        ),
    ),
]
