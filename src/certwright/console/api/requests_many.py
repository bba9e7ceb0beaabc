"""Acts on several requests of a CA: each is acted on by itself, and each that is refused is named with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

from ninja import Router
from pydantic import Field

from certwright.adcs.errors import AdcsError, BadRequestState
from certwright.adcs.interfaces import CrlKind
from certwright.adcs.request import Disposition
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.authorities import CaName, administer
from certwright.console.api.operations import operation
from certwright.console.api.requests import Denial, Issue, RevocationEntered
from certwright.console.api.shapes import BulkAnswer, Entered, Flag, Number
from certwright.console.authority import MAX_PICKED

router = Router(tags=["Requests at a CA"])

OneRequest = Annotated[Number, Field(ge=1, le=2**32 - 1)]
SomeRequests = Annotated[tuple[OneRequest, ...], Field(min_length=1, max_length=MAX_PICKED)]


class Previewed(Issue):
    request_id: OneRequest


class RequestsToIssue(Entered):
    requests: Annotated[tuple[Previewed, ...], Field(min_length=1, max_length=MAX_PICKED)]


class RequestsToDeny(Denial):
    request_ids: SomeRequests


class RequestsToRevoke(RevocationEntered):
    request_ids: SomeRequests
    publish: Annotated[Flag, Field(description="Publish a new base CRL afterwards; as CA administrator")] = False


@operation(router, "POST", "/cas/{ca}/requests/issue", BulkAnswer)
def issue_requests(request: ApiRequest, ca: CaName, entered: RequestsToIssue) -> BulkAnswer:
    """Issue up to 100 pending requests, each as it was previewed.

    Those that would now be issued differently, or are denied by the policy after all, are refused.
    """
    admin = administer(request.viewer, ca)
    previews = {each.request_id: each.fingerprint for each in entered.requests}

    def issue(number: int) -> None:
        response = admin.resubmit(number, fingerprint=previews[number])
        if response.disposition is not Disposition.ISSUED:
            raise BadRequestState(response.message)

    return _each(previews, issue)


@operation(router, "POST", "/cas/{ca}/requests/deny", BulkAnswer)
def deny_requests(request: ApiRequest, ca: CaName, entered: RequestsToDeny) -> BulkAnswer:
    """Deny up to 100 pending requests, with one reason."""
    admin = administer(request.viewer, ca)
    return _each(entered.request_ids, lambda number: admin.deny(number, entered.reason))


@operation(router, "POST", "/cas/{ca}/requests/revoke", BulkAnswer)
def revoke_requests(request: ApiRequest, ca: CaName, entered: RequestsToRevoke) -> BulkAnswer:
    """Revoke up to 100 issued certificates, for one reason."""
    admin = administer(request.viewer, ca)

    def revoke(number: int) -> None:
        record: Any = admin.request_row(number)["record"]
        if record.certificate is None or record.certificate.revoked_reason is not None:
            raise BadRequestState(f"Request {number} has no issued certificate (any more).")
        admin.revoke(record.certificate.serial_number, entered.reason.reason, entered.effective)

    answer = _each(entered.request_ids, revoke)
    if entered.publish:
        admin.publish_crls(CrlKind.BASE)
    return answer


def _each(numbers: Iterable[int], act: Callable[[int], None]) -> BulkAnswer:
    """One that is refused keeps no other from being done."""
    done: list[int] = []
    refused: dict[str, str] = {}
    for number in dict.fromkeys(numbers):
        try:
            act(number)
        except AdcsError as error:
            refused[str(number)] = error.message
        else:
            done.append(number)
    return BulkAnswer(done=done, refused=refused)
