"""Everything that is refused has one shape: problem details (RFC 9457) with the HRESULT that AD CS has for it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

import structlog
from django.core.exceptions import PermissionDenied, SuspiciousOperation, TooManyFilesSent
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from pydantic import BaseModel, Field

from certwright.adcs.errors import AdcsError, HResult, InvalidArgument
from certwright.console import answers
from certwright.database import DatabaseError
from certwright.directory.security_audit.findings import RiskySettings
from certwright.directory.template_administration import RiskyTemplate

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
MAX_ERRORS: Final = 50

ADVICE: Final[Mapping[int, str]] = {
    400: "Send well-formed JSON, as the OpenAPI document describes it.",
    401: "Send the header Authorization: Bearer TOKEN. Tokens are made in the account settings of the console.",
    403: "Ask a console administrator for the role, or a CA administrator where it concerns a CA.",
    404: "Look it up in its list: it does not exist, was deleted, or is somebody else's.",
    405: "Use one of the methods that the header Allow names.",
    409: "Read it again: it has changed, or is in a state in which this cannot be done.",
    413: "Send less at once.",
    415: "Send the Content-Type that the OpenAPI document names for this operation.",
    422: "Change what is named above and send it again.",
    500: "Nothing was changed unless a list says so. The server's log holds what happened under the incident number.",
    503: "Try again later; the header Retry-After says when, in seconds.",
}
"""What to do, where the sentence itself does not say it."""
RETRY_AFTER: Final = 30  # seconds


class Fault(BaseModel):
    """One thing that is wrong about what was sent, or one reason."""

    where: str = Field(description="`body.priority`, `query.limit`, `path.order_id`, or what the rule is called")
    what: str


class Problem(BaseModel):
    """What was refused, why, and what to do."""

    type: str = Field(default="about:blank", description="Always about:blank: the HTTP status and symbol say it all")
    title: str = Field(description="The HTTP status in words")
    status: int
    detail: str = Field(description="One sentence for a person")
    advice: str = Field(description="What to do")
    hresult: str | None = Field(default=None, description="The result code of AD CS, as in 0x80070005")
    symbol: str | None = Field(default=None, description="Its symbol, as in E_ACCESSDENIED")
    errors: list[Fault] | None = Field(
        default=None, description="Each thing that is wrong, where there may be several"
    )
    incident: str | None = Field(default=None, description="The number in the server's log, of a fault of its own")


class Refused(Exception):
    """Ends an operation with a problem."""

    def __init__(
        self,
        status: int,
        detail: str,
        advice: str = "",
        *,
        result: HResult | int | None = None,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        incident: str = "",
    ) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})
        self.problem = Problem(
            title=HTTPStatus(status).phrase,
            status=status,
            detail=detail,
            advice=advice or ADVICE[status],
            hresult=None if result is None else f"0x{int(result):08X}",
            symbol=result.name if isinstance(result, HResult) else None,
            errors=list(errors[:MAX_ERRORS]) or None,
            incident=incident or None,
        )

    @property
    def response(self) -> HttpResponse:
        body = json.dumps(self.problem.model_dump(exclude_none=True), ensure_ascii=False)
        response = HttpResponse(body.encode("utf-8", "replace"), status=self.problem.status, content_type=MEDIA_TYPE)
        for name, value in self.headers.items():
            response[name] = value
        return response


def of_error(error: AdcsError) -> Refused:
    """The room behind refused it. The sentence says what would be accepted; the status is the pages'."""
    status = answers.status_of(error)
    faults: Sequence[Fault] = ()
    if isinstance(error, RiskyTemplate):
        status = 409
        faults = [Fault(where=risk.id, what=f"{risk.sentence} {risk.fix}") for risk in error.risks]
    if isinstance(error, RiskySettings):
        status = 409
        faults = [Fault(where=each.number, what=f"{each.sentence} {each.fix}") for each in error.findings]
    headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else {}
    return Refused(status, error.message, result=error.status, errors=faults, headers=headers)


@contextmanager
def named_in_the_path() -> Iterator[None]:
    """For looking up what the path names: where it does not exist, that is 404 and no bad argument."""
    try:
        yield
    except InvalidArgument as error:
        raise Refused(404, error.message, result=error.status) from error


def not_there(what: str) -> Refused:
    """Nothing of that name; somebody else's is as if it were not there."""
    return Refused(404, f"There is no {what}.", result=HResult.E_INVALIDARG)


# -- whatever flies out of an operation ------------------------------------------------------------------------------


def handle_all(api: NinjaAPI) -> None:
    """Let every exception become a problem."""
    handlers: Mapping[type[Exception], Any] = {
        Refused: lambda request, error: error.response,
        AdcsError: lambda request, error: of_error(error).response,
        ValidationError: _invalid,
        HttpError: lambda request, error: Refused(error.status_code, f"{error}.").response,
        Http404: lambda request, error: Refused(404, "There is nothing at this address.").response,
        PermissionDenied: lambda request, error: Refused(403, "This is not allowed.").response,
        MultiPartParserError: lambda request, error: Refused(400, "The form data cannot be read.").response,
        TooManyFilesSent: lambda request, error: Refused(413, "These are too many files.").response,
        SuspiciousOperation: lambda request, error: Refused(413, "This is too much at once.").response,
        DatabaseError: _database,
        Exception: _fault,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    del request
    faults = [
        Fault(where=".".join(str(part) for part in each["loc"])[:200], what=str(each["msg"])[:500])
        for each in error.errors[:MAX_ERRORS]
    ]
    return Refused(422, "What was sent does not have the described shape.", errors=faults).response


def _database(request: HttpRequest, error: DatabaseError) -> HttpResponse:
    log.warning("api_database", path=request.path, error=str(error))
    detail = "The database is busy or cannot be reached."
    return Refused(503, detail, result=HResult.ERROR_BUSY, headers={"Retry-After": str(RETRY_AFTER)}).response


def _fault(request: HttpRequest, error: Exception) -> HttpResponse:
    incident = secrets.token_hex(4).upper()
    log.error("api_fault", incident=incident, path=request.path, exc_info=error)
    return Refused(500, "The server could not do this.", result=HResult.E_UNEXPECTED, incident=incident).response
