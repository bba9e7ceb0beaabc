"""Requests at our CAs: the queues, one request, and what certificate managers do with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any, Final

from django.http import HttpResponse
from ninja import Query, Router
from pydantic import Field, field_validator

from certwright.adcs.errors import BadRequestState, InvalidArgument
from certwright.adcs.interfaces import CertAdmin, Comparison, Preview, Restriction, Sort, Table
from certwright.adcs.request import MAX_ATTRIBUTES_LENGTH, RequestAttributes
from certwright.adcs.roles import RevocationReason
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.authorities import CaName, administer
from certwright.console.api.certificates import DER, Reason
from certwright.console.api.operations import operation
from certwright.console.api.orders import PolicyCheck
from certwright.console.api.shapes import PEM, Entered, Flag, Moment, PageSize, QueryId, Told, line, status_of
from certwright.console.authority import download
from certwright.pki import armor

router = Router(tags=["Requests at a CA"])

PKCS10: Final = "application/pkcs10"
_ATTRIBUTE: Final = r"^[A-Za-z][^\x00-\x1f\x7f-\x9f:]*:[^\x00-\x1f\x7f-\x9f]*$"
_RESTRICTION: Final = re.compile(r"([a-z0-9_]+)(<=|>=|=|<|>|~)(.*)", re.DOTALL)

RequestId = Annotated[int, Field(ge=1, le=2**32 - 1)]


class Queue(StrEnum):
    """The views of the CA database, as the MMC names them."""

    ALL = "all"
    PENDING = "pending"
    ISSUED = "issued"
    REVOKED = "revoked"
    FAILED = "failed"

    @property
    def table(self) -> Table:
        return {
            Queue.ALL: Table.REQUESTS,
            Queue.PENDING: Table.PENDING_REQUESTS,
            Queue.ISSUED: Table.ISSUED_CERTIFICATES,
            Queue.REVOKED: Table.REVOKED_CERTIFICATES,
            Queue.FAILED: Table.FAILED_REQUESTS,
        }[self]


class RequestFilters(Entered):
    queue: Queue = Queue.ALL
    where: Annotated[
        tuple[Annotated[str, line(400, least=1)], ...],
        Field(
            max_length=10,
            description="A column of the answer, one of = < <= > >= ~ and a value; ~ is contains. May be repeated",
            examples=[["template=WebServer", "not_after<2027-01-01"]],
        ),
    ] = ()
    before: Annotated[QueryId | None, Field(description="The member next of the page before")] = None
    limit: PageSize = 25


class Request(Told):
    """A row of the CA database, with its certificate's columns."""

    request_id: int
    disposition: str
    status: str  # HRESULT
    symbol: str
    message: str
    submitted_when: datetime | None
    resolved_when: datetime | None
    requester: str
    caller: str
    method: str
    template: str
    subject: str
    common_name: str
    alternative_names: str
    key_algorithm: str
    key_size: int | None
    officer: str
    serial_number: str | None
    not_before: datetime | None
    not_after: datetime | None
    sha1: str | None
    revoked_when: datetime | None
    revoked_effective: datetime | None
    revoked_reason: str | None


class RequestPage(Told):
    """The newest first."""

    rows: list[Request]
    next: int | None


class RequestDetails(Request):
    attributes: list[str]  # name:value, as they came
    facts: dict[str, str]  # what the client said of itself


class PreviewField(Told):
    """One field as asked for and as it would be issued; several values stand on lines of their own."""

    name: str
    requested: str
    issued: str
    by: str


class PreviewAnswer(Told):
    request_id: int
    would_issue: bool
    fingerprint: str  # changes when what would be signed changes
    fields: list[PreviewField]
    checks: list[PolicyCheck]


class Issue(Entered):
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="Of the preview that was decided upon")]


class Decision(Told):
    request_id: int
    disposition: str
    status: str
    symbol: str
    message: str


class Denial(Entered):
    reason: Annotated[str, line(500, least=1), Field(description="For the requester and the audit trail")]


class AttributesEntered(Entered):
    attributes: Annotated[
        tuple[Annotated[str, Field(pattern=_ATTRIBUTE, max_length=2000)], ...],
        Field(max_length=100, examples=[["CertificateTemplate:WebServer"]]),
    ]

    @field_validator("attributes")
    @classmethod
    def _together(cls, attributes: tuple[str, ...]) -> tuple[str, ...]:
        if sum(map(len, attributes)) + len(attributes) > MAX_ATTRIBUTES_LENGTH:
            raise ValueError(f"together they are longer than {MAX_ATTRIBUTES_LENGTH} characters")
        return attributes


class ExtensionEntered(Entered):
    oid: Annotated[str, Field(pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$", max_length=128)]
    value: Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})+$", max_length=65_536, description="DER in hexadecimal")]
    critical: Flag = False


class RevocationEntered(Entered):
    reason: Reason = Reason.UNSPECIFIED
    effective: Annotated[Moment | None, Field(description="From when on; now, if left out")] = None


class RequestFile(StrEnum):
    REQUEST = "request"  # as it came, DER
    CERTIFICATE = "certificate"  # DER
    PEM = "pem"  # the certificate


class RequestFileAsked(Entered):
    form: RequestFile = RequestFile.PEM


_COLUMNS: Final = tuple(name for name in Request.model_fields if name != "symbol")


@operation(router, "GET", "/cas/{ca}/requests", RequestPage)
def list_requests(request: ApiRequest, ca: CaName, asked: Query[RequestFilters]) -> RequestPage:
    """List requests of a CA, the newest first: all of them, or one of its queues."""
    where = [_restriction(text) for text in asked.where]
    if asked.before is not None:
        where.append(Restriction("request_id", Comparison.LESS, min(asked.before, 2**32)))
    admin = administer(request.viewer, ca)
    found = admin.view(asked.queue.table, where, _COLUMNS, Sort("request_id", True), asked.limit + 1)
    rows = [_row(row) for row in islice(found, asked.limit + 1)]
    page = rows[: asked.limit]
    return RequestPage(rows=page, next=page[-1].request_id if len(rows) > asked.limit else None)


def _restriction(text: str) -> Restriction:
    found = _RESTRICTION.fullmatch(text)
    if found is None:
        raise InvalidArgument(f"{text[:80]!r} is no filter; write COLUMN=VALUE, or with < <= > >= ~ in the middle.")
    return Restriction(found[1], Comparison(found[2]), found[3].strip())


def _row(row: Mapping[str, Any]) -> Request:
    return Request(**dict(row) | status_of(row["status"]) | {"key_size": row["key_size"] or None})


@operation(router, "GET", "/cas/{ca}/requests/{int:request_id}", RequestDetails)
def get_request(request: ApiRequest, ca: CaName, request_id: RequestId) -> RequestDetails:
    """Show one request, with its attributes."""
    return _details(administer(request.viewer, ca), request_id)


def _details(admin: CertAdmin, request_id: int) -> RequestDetails:
    record: Any = admin.request_row(request_id)["record"]
    certificate = record.certificate
    reason: RevocationReason | None = certificate.revoked_reason if certificate else None
    return RequestDetails(
        **status_of(record.status),
        request_id=record.request_id,
        disposition=record.state.name.lower(),
        message=record.message,
        submitted_when=record.submitted_when,
        resolved_when=record.resolved_when,
        requester=record.requester_name,
        caller=record.caller_name,
        method=record.caller_method,
        template=record.template,
        subject=record.subject,
        common_name=record.common_name,
        alternative_names=record.alternative_names,
        key_algorithm=record.key_algorithm,
        key_size=record.key_size or None,
        officer=record.officer,
        serial_number=certificate.serial_number if certificate else None,
        not_before=certificate.not_before if certificate else None,
        not_after=certificate.not_after if certificate else None,
        sha1=certificate.sha1 if certificate else None,
        revoked_when=certificate.revoked_when if certificate else None,
        revoked_effective=certificate.revoked_effective if certificate else None,
        revoked_reason=reason.rfc_name if reason is not None else None,
        attributes=[each for each in record.attributes.splitlines() if each],
        facts={str(name): str(value) for name, value in record.client_facts.items()},
    )


@operation(router, "GET", "/cas/{ca}/requests/{int:request_id}/file", produces=(PEM, DER, PKCS10))
def get_request_file(
    request: ApiRequest, ca: CaName, request_id: RequestId, asked: Query[RequestFileAsked]
) -> HttpResponse:
    """Download the request as it came, or the certificate."""
    stored = administer(request.viewer, ca).request_row(request_id)
    data = stored["raw_request" if asked.form is RequestFile.REQUEST else "certificate"]
    if not isinstance(data, bytes):
        raise BadRequestState(f"Request {request_id} has no certificate.")
    if asked.form is RequestFile.REQUEST:
        return download(f"{request_id}.req", data, PKCS10)
    if asked.form is RequestFile.CERTIFICATE:
        return download(f"{request_id}.cer", data, DER)
    return download(f"{request_id}.pem", armor.armor(armor.CERTIFICATE, data).encode(), PEM)


@operation(router, "GET", "/cas/{ca}/requests/{int:request_id}/preview", PreviewAnswer)
def preview_request(request: ApiRequest, ca: CaName, request_id: RequestId) -> PreviewAnswer:
    """Show what would be issued now, and every rule's verdict.

    The picture comes from the real preparing step. Issue with its fingerprint.
    """
    found: Preview = administer(request.viewer, ca).preview(request_id)
    return PreviewAnswer(
        request_id=found.request_id,
        would_issue=found.would_issue,
        fingerprint=found.fingerprint,
        fields=[PreviewField.model_validate(each) for each in found.fields],
        checks=[PolicyCheck.model_validate(each) for each in found.checks],
    )


# -- acts ------------------------------------------------------------------------------------------------------------


@operation(router, "POST", "/cas/{ca}/requests/{int:request_id}/issue", Decision)
def issue_request(request: ApiRequest, ca: CaName, request_id: RequestId, entered: Issue) -> Decision:
    """Issue a pending request as previewed; a denied one as CA administrator.

    Refused with 409 where it would now be issued differently. The policy runs again: the decision may be a denial.
    """
    response = administer(request.viewer, ca).resubmit(request_id, fingerprint=entered.fingerprint)
    return Decision(
        **status_of(response.status),
        request_id=response.request_id,
        disposition=response.disposition.name.lower(),
        message=response.message,
    )


@operation(router, "POST", "/cas/{ca}/requests/{int:request_id}/deny", RequestDetails)
def deny_request(request: ApiRequest, ca: CaName, request_id: RequestId, entered: Denial) -> RequestDetails:
    """Deny a pending request, with a reason."""
    admin = administer(request.viewer, ca)
    admin.deny(request_id, entered.reason)
    return _details(admin, request_id)


@operation(router, "PUT", "/cas/{ca}/requests/{int:request_id}/attributes", RequestDetails)
def set_request_attributes(
    request: ApiRequest, ca: CaName, request_id: RequestId, entered: AttributesEntered
) -> RequestDetails:
    """Replace the attributes of a pending request."""
    admin = administer(request.viewer, ca)
    admin.set_attributes(request_id, RequestAttributes.parse("\n".join(entered.attributes)))
    return _details(admin, request_id)


@operation(router, "POST", "/cas/{ca}/requests/{int:request_id}/extensions", RequestDetails)
def add_request_extension(
    request: ApiRequest, ca: CaName, request_id: RequestId, entered: ExtensionEntered
) -> RequestDetails:
    """Add an extension to a pending request. What comes from the template cannot be set by hand."""
    admin = administer(request.viewer, ca)
    admin.set_extension(request_id, entered.oid, bytes.fromhex(entered.value), entered.critical)
    return _details(admin, request_id)


@operation(router, "POST", "/cas/{ca}/requests/{int:request_id}/revoke", RequestDetails)
def revoke_request(
    request: ApiRequest, ca: CaName, request_id: RequestId, entered: RevocationEntered
) -> RequestDetails:
    """Revoke a certificate, or give another reason for one on hold.

    Clients learn of it with the next CRL.
    """
    admin = administer(request.viewer, ca)
    admin.revoke(_serial(admin, request_id), entered.reason.reason, entered.effective)
    return _details(admin, request_id)


@operation(router, "POST", "/cas/{ca}/requests/{int:request_id}/release", RequestDetails)
def release_request(request: ApiRequest, ca: CaName, request_id: RequestId) -> RequestDetails:
    """Release a certificate from hold."""
    admin = administer(request.viewer, ca)
    admin.revoke(_serial(admin, request_id), RevocationReason.RELEASE_FROM_HOLD)
    return _details(admin, request_id)


def _serial(admin: CertAdmin, request_id: int) -> str:
    record: Any = admin.request_row(request_id)["record"]
    if record.certificate is None:
        raise BadRequestState(f"Request {request_id} has no certificate.")
    return str(record.certificate.serial_number)
