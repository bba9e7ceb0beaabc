"""Acts on several certificates of the inventory: each is acted on by itself, and each that is refused is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from ninja import Router
from pydantic import Field

from certwright.adcs.errors import AdcsError
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.certificates import Reason
from certwright.console.api.inventory import changeable
from certwright.console.api.operations import operation
from certwright.console.api.shapes import BulkAnswer, Entered, Flag, Id, Ids
from certwright.console.pages.inventory import MAX_PICKED
from certwright.console.pages.inventory_bulk import MAX_RENEWED
from certwright.console.rooms import rooms
from certwright.manager.inventory_values import BulkResult
from certwright.manager.values import RenewalKey

router = Router(tags=["Inventory"])


class CertificatesToRenew(Entered):
    ids: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MAX_RENEWED)]
    key: RenewalKey = RenewalKey.NEW


class CertificatesToRevoke(Entered):
    ids: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MAX_PICKED)]
    reason: Reason = Reason.UNSPECIFIED


class CertificatesToDelete(Entered):
    ids: Ids
    with_key: Annotated[Flag, Field(description="Also those whose private key exists only here")] = False


@operation(router, "POST", "/inventory/renew", BulkAnswer)
def renew_certificates(request: ApiRequest, entered: CertificatesToRenew) -> BulkAnswer:
    """Order the successors of up to 25 certificates; a renewal rule does more."""
    renewal, actor = rooms().manager.renewal, request.viewer.account
    return _each(request, entered.ids, lambda number: renewal.renew(number, key=entered.key, actor=actor))


@operation(router, "POST", "/inventory/revoke", BulkAnswer)
def revoke_certificates(request: ApiRequest, entered: CertificatesToRevoke) -> BulkAnswer:
    """Revoke up to 100 certificates at the CAs that issued them, where this installation may."""
    inventory, actor = rooms().manager.inventory, request.viewer.account
    return _each(request, entered.ids, lambda number: inventory.revoke(number, entered.reason.reason, actor=actor))


@operation(router, "POST", "/inventory/delete", BulkAnswer)
def delete_certificates(request: ApiRequest, entered: CertificatesToDelete) -> BulkAnswer:
    """Forget up to 500 certificates. They stay valid."""
    allowed, refused = changeable(request.viewer, entered.ids)
    result: BulkResult = rooms().manager.inventory.delete(
        allowed, with_key=entered.with_key, actor=request.viewer.account
    )
    return BulkAnswer.of(result, refused)


def _each(request: ApiRequest, ids: Sequence[int], act: Callable[[int], Any]) -> BulkAnswer:
    allowed, refused = changeable(request.viewer, ids)
    done: list[int] = []
    for number in allowed:
        try:
            act(number)
        except AdcsError as error:
            refused[number] = error.message
        else:
            done.append(number)
    return BulkAnswer.of(BulkResult(tuple(done), {}), refused)
