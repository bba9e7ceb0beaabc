"""The OpenAPI 3.1 document: what ninja writes of the shapes, with permissions and the one shape of problems."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ninja import NinjaAPI
from ninja.openapi.schema import REF_TEMPLATE

from certwright.console import accounts
from certwright.console.api.permissions import PERMISSIONS, TOKENS_ONLY
from certwright.console.api.problems import MEDIA_TYPE, Problem

BASE: Final = "/api/v1"
TEXT: Final = (
    "Everything the console's pages do, for programs. Times are ISO 8601 in UTC. What is refused has one shape,"
    " application/problem+json (RFC 9457). Lists page by key and set no filter by themselves."
)
_BY_HAND: Final = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token from the account settings of the console, with the scope of the operation.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-certwright-session",
        "description": "The browser's session, for scripts of this host; changes need its CSRF token in X-CSRFToken.",
    },
}
_REFERENCE: Final = re.compile(r'"#/components/schemas/([^"]+)"')
_PROBLEMS: Final[Mapping[str, str]] = {
    "400": "The request cannot be read",
    "401": "Nobody known asks",
    "403": "Scope, role or right is missing",
    "404": "It does not exist, or is somebody else's",
    "409": "In its state this cannot be done",
    "413": "Too much at once",
    "415": "Another media type",
    "422": "What was sent breaks a rule",
    "500": "A fault of the server",
    "503": "Try again later",
}


class Described(NamedTuple):
    """One operation, for the page."""

    method: str
    path: str
    name: str
    summary: str
    description: str
    scope: str
    roles: tuple[str, ...]
    tag: str


def describe(api: NinjaAPI) -> dict[str, Any]:
    """The whole document. Made once in a process: nothing in it depends on who asks."""
    document: dict[str, Any] = copy.deepcopy(dict(api.get_openapi_schema(path_prefix=f"{BASE[1:]}/")))
    schemas = document["components"].setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template=REF_TEMPLATE)
    schemas |= problem.pop("$defs", {})
    schemas["Problem"] = problem
    document["components"]["securitySchemes"] = _BY_HAND
    document["components"]["responses"] = {
        f"Problem{status}": {
            "description": words,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, words in _PROBLEMS.items()
    }
    for _method, _path, operation in _operations(document):
        _mend_parameters(operation["parameters"])
        permission = PERMISSIONS[operation["operationId"]]
        operation["security"] = [{"token": [permission.scope] if permission.scope else []}]
        if permission.scope not in TOKENS_ONLY:
            operation["security"].append({"session": []})
        operation["x-roles"] = sorted(role.value for role in permission.roles)
        answers = {str(status): answer for status, answer in operation["responses"].items()}
        answers |= {
            status: {"$ref": f"#/components/responses/Problem{status}"}
            for status in _PROBLEMS
            if "requestBody" in operation or status not in ("413", "415")
        }
        operation["responses"] = answers
    document["tags"] = [{"name": tag} for tag in _tags(document)]
    if not document["servers"]:  # none means this one
        del document["servers"]
    _drop_unused(document)
    return document


def _mend_parameters(parameters: list[dict[str, Any]]) -> None:
    """A query has no null: what may be left out is not required. A list of examples belongs into the schema only."""
    for parameter in parameters:
        parameter.pop("examples", None)
        schema = parameter["schema"]
        kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
        if len(kinds) == 1:
            del schema["anyOf"]
            schema |= kinds[0]


def _drop_unused(document: dict[str, Any]) -> None:
    """Shapes of queries are written out where they are asked; nothing refers to them any more."""
    schemas = document["components"]["schemas"]
    while unused := schemas.keys() - set(_REFERENCE.findall(json.dumps(document))):
        for name in unused:
            del schemas[name]


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def _tags(document: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(tag for _m, _p, operation in _operations(document) for tag in operation["tags"]))


def operations_of(document: Mapping[str, Any]) -> list[tuple[str, list[Described]]]:
    """The operations by their noun, in the order of the document."""
    grouped: dict[str, list[Described]] = {tag: [] for tag in _tags(document)}
    for method, path, operation in _operations(document):
        permission = PERMISSIONS[operation["operationId"]]
        grouped[operation["tags"][0]].append(
            Described(
                method.upper(),
                path,
                operation["operationId"],
                operation["summary"],
                operation.get("description", ""),
                permission.scope,
                tuple(operation["x-roles"]),
                operation["tags"][0],
            )
        )
    return list(grouped.items())


@lru_cache(maxsize=1)
def scopes() -> tuple[str, ...]:
    return tuple(accounts.SCOPES)
