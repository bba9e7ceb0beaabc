"""What an answer of a CA means for an order, and how it is told."""

from __future__ import annotations

from typing import Final

from certwright.adcs.errors import CaUnreachable, InvalidArgument
from certwright.adcs.request import Disposition, Response
from certwright.manager.services import Services
from certwright.manager.store_orders import Attempt
from certwright.manager.values import Order, OrderState, Service
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import certs_only, parse_certs_only
from certwright.pki.errors import EncodingError
from certwright.pki.pkcs10 import CertificationRequest

STATES: Final = {
    Disposition.ISSUED: OrderState.ISSUED,
    Disposition.ISSUED_OUT_OF_BAND: OrderState.ISSUED,
    Disposition.UNDER_SUBMISSION: OrderState.PENDING,
    Disposition.DENIED: OrderState.DENIED,
}


class Noted:
    """Notes a contact: an answer that refuses is an answer, only who is not reached is down."""

    def __init__(self, services: Services, service: Service) -> None:
        self._services = services
        self._service = service

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CaUnreachable):
            self._services.note(self._service, error.message)
        elif error is None:
            self._services.note(self._service, "")


def unknown_order(order_id: int) -> InvalidArgument:
    return InvalidArgument(f"There is no order number {order_id}.")


def judged(attempt: Attempt, response: Response) -> tuple[OrderState, str]:
    """What an answer means for an order. A certificate for another key is no success, whatever the CA calls it."""
    state = STATES.get(response.disposition, OrderState.FAILED)
    message = response.message or response.disposition.name.replace("_", " ").capitalize()
    if state is OrderState.ISSUED and response.certificate is not None:
        try:
            view = CertificateView.parse(response.certificate)
        except EncodingError as error:
            return OrderState.FAILED, f"The CA's answer holds no certificate that can be read: {error}."
        if view.public_key_info != CertificationRequest.parse(attempt.csr).public_key_info:
            return OrderState.FAILED, (
                f"The CA answered with the certificate {view.serial_number}, which is for another key than the"
                " request's."
            )
    return state, message


def chain_of(response: Response) -> bytes | None:
    """What came with the certificate, as certs-only CMS."""
    if not response.full_response:
        return None
    try:
        certificates = parse_certs_only(response.full_response)
    except EncodingError:  # a challenge, or something newer: the service's chain will do
        return None
    return certs_only(certificates) if certificates else None


def line_of(state: OrderState, response: Response, message: str) -> str:
    match state:
        case OrderState.ISSUED:
            return f"Issued as request {response.request_id}: {message}"
        case OrderState.PENDING:
            return f"Pending as request {response.request_id}: {message}"
        case OrderState.DENIED:
            return f"Denied as request {response.request_id}: {message}"
        case _:
            return f"Failed as request {response.request_id}: {message}"


def order_facts(order: Order) -> dict[str, str | int]:
    return {
        "order": order.id,
        "common_name": order.common_name,
        "domain": order.domain,
        "hostname": order.hostname,
        "template": order.template,
        "request_id": order.request_id or 0,
        "owner": order.owner,
        "ordered_by": order.created_by,
        "tags": ", ".join(order.tags),
    }
