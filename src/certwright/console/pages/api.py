"""REST API: its operations, what each needs, and where the OpenAPI document is. A page without anybody's scripts."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _

from certwright.console import accounts
from certwright.console.access import ROLE_WORDS, PageRequest, Role, page
from certwright.console.answers import answer


@page(anybody=True)
def operations(request: PageRequest) -> HttpResponse:
    """Every operation by its noun, as the OpenAPI document has them."""
    from certwright.console.api import application, description

    nouns: list[dict[str, Any]] = [
        {"name": name, "slug": name.lower().replace(" ", "-"), "operations": [_row(each) for each in found]}
        for name, found in description.operations_of(application.document())
    ]
    context = {
        "title": _("REST API"),
        "nouns": nouns,
        "scopes": list(accounts.SCOPES.items()),
        "may_make_token": bool(request.viewer.roles),
    }
    return answer(request, "console/api/operations.html", context)


def _row(operation: Any) -> dict[str, Any]:
    everybody = len(operation.roles) == len(Role)
    return {
        "method": operation.method,
        "path": operation.path,
        "name": operation.name,
        "summary": operation.summary,
        "description": operation.description if operation.description != operation.summary else "",
        "scope": operation.scope,
        "roles": [_("Everybody")] if everybody else [ROLE_WORDS[Role(each)] for each in operation.roles],
    }


urls = [path("api/", operations)]
