"""The decorator that makes a function an operation: permission, shapes, operation ID."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ninja import Router
from ninja.operation import Operation

from certwright.console.api.authentication import Guard
from certwright.console.api.permissions import PERMISSIONS

JSON: Final = "application/json"
FORM: Final = "multipart/form-data"

View = TypeVar("View", bound=Callable[..., Any])


def operation(
    router: Router,
    method: str,
    path: str,
    answers: Any = None,
    *,
    status: int = 0,
    produces: tuple[str, ...] | str = JSON,
    takes: str = JSON,
) -> Callable[[View], View]:
    """Put a function at a path.

    Args:
        answers: the shape of its answer; None for no body.
        status: of success; 200, or 204 where there is no body.
        produces: media types of an answer that is a file and no JSON.
        takes: media type of its body, where it has one.
    """
    kinds = (produces,) if isinstance(produces, str) else produces
    is_file = kinds != (JSON,)
    code = status or (200 if answers is not None or is_file else 204)

    def decorate(view: View) -> View:
        name = camel_case(view.__name__)
        summary, _, description = (inspect.getdoc(view) or "").partition("\n")
        guard = Guard(PERMISSIONS[name], takes)
        extra: dict[str, Any] = {}
        if is_file:
            extra["responses"] = {code: {"content": {kind: {"schema": _FILE_SCHEMA[kind]} for kind in kinds}}}
        router.api_operation(
            [method],
            path,
            auth=guard,
            response={code: answers},
            operation_id=name,
            summary=summary.rstrip("."),
            description=description.strip() or summary,
            openapi_extra=extra or None,
        )(view)
        made: Operation = view._ninja_operation  # type: ignore[attr-defined]
        guard.parameters = frozenset(
            name
            for model in made.models
            if model.__ninja_param_source__ == "query"
            for name in model.__ninja_flatten_map__
        )
        return view

    return decorate


def camel_case(name: str) -> str:
    """`list_orders` -> `listOrders`."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


_TEXT: Final = {"type": "string"}
_OCTETS: Final = {"type": "string", "format": "binary"}
_FILE_SCHEMA: Final = {
    "application/x-pem-file": _TEXT,
    "application/jsonl": _TEXT,
    "text/csv": _TEXT,
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": _OCTETS,
    "application/zip": _OCTETS,
    "application/pkix-cert": _OCTETS,
    "application/pkix-crl": _OCTETS,
    "application/pkcs10": _OCTETS,
    "application/x-pkcs12": _OCTETS,
    "application/octet-stream": _OCTETS,
}
