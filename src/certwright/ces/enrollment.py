"""What CES does with a message: issue, renew, say how a request stands. [MS-WSTEP] 3.1.4.1.

The bytes go to the CA as they are; what they are, and whether they may be, is found out there. Words and codes of a
refusal are the CA's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from certwright.adcs.errors import AccessDenied, AdcsError, HResult, InvalidArgument, NoSuchRequest
from certwright.adcs.request import MAX_ATTRIBUTES_LENGTH, Disposition, RequestAttributes, RequestFlags, Response
from certwright.ces.renewals import is_renewal
from certwright.connectors.registry import Registry
from certwright.endpoints.logon import Caller
from certwright.endpoints.soap_service import Answer
from certwright.wire import wstep
from certwright.wire.soap import Fault, Message
from certwright.wire.wstep import EnrollmentDetail, RequestSecurityToken, RequestType, TokenResponse

log = structlog.get_logger(__name__)

_FULL = RequestFlags.FULL_RESPONSE


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of CES.

    Args:
        config: configuration string of the CA.
        uri: absolute; where a pending request is asked for again.
        renewal_only: everything but renewals is refused.
    """

    config: str
    uri: str
    renewal_only: Callable[[], bool]


class Enrollment:
    """The operations, for every endpoint."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def answer(self, message: Message, caller: Caller, endpoint: Endpoint) -> Answer:
        """Do what a message asks for.

        Raises:
            Fault: it cannot be read, or the CA says no.
        """
        action = message.demand_action(wstep.RST, wstep.RST_KET)
        try:
            token = RequestSecurityToken.parse(message.body)
            if token.action != action:
                raise InvalidArgument("the action and the request type do not belong together")
            if token.kind is RequestType.KET:
                raise AdcsError(
                    "This CA archives no private keys, so it has no key exchange certificate.",
                    HResult.ERROR_NOT_SUPPORTED,
                )
            response = await self._ask(token, caller, endpoint)
        except AdcsError as error:
            if isinstance(error, Fault):
                raise
            raise _failed(error) from error
        return _said(response, endpoint)

    async def _ask(self, token: RequestSecurityToken, caller: Caller, endpoint: Endpoint) -> Response:
        door = self._registry.connect_async(endpoint.config, caller.requester)
        if token.request_id is not None:
            if caller.holds is not None:  # without an account nobody can be told apart from the requester
                raise NoSuchRequest("There is no such request, or it was made by somebody else.")
            return await door.retrieve(token.request_id, flags=_FULL)
        if token.dropped:
            log.warning(
                "context_dropped",
                rule="AdditionalContext",
                names=[name[:64] for name in token.dropped],
                requester=caller.requester.account,
            )
        if endpoint.renewal_only() and not is_renewal(token.request):
            log.warning("enrollment_refused", rule="renewal-only", requester=caller.requester.account)
            raise AccessDenied(
                "This address takes renewals only: sign the request with the certificate that is to be renewed.",
                HResult.CERTSRV_E_ENROLL_DENIED,
            )
        attributes = RequestAttributes(token.attributes)
        if len(str(attributes)) > MAX_ATTRIBUTES_LENGTH:
            raise InvalidArgument("the attributes in the context are too long")
        flags = _FULL if caller.holds is None else _FULL | RequestFlags.RENEWAL_ON_BEHALF_OF
        return await door.submit(token.request, attributes, flags)


def _said(response: Response, endpoint: Endpoint) -> Answer:
    """The CA's answer as a token, or as a fault.

    Raises:
        Fault: denied, failed, or revoked meanwhile.
    """
    full = response.full_response or b""
    if response.is_issued and response.certificate is not None:
        answer = TokenResponse(response.message, full, response.certificate, request_id=response.request_id)
    elif response.disposition is Disposition.UNDER_SUBMISSION:
        answer = TokenResponse(response.message, full, reference=endpoint.uri, request_id=response.request_id)
    else:
        revoked = response.disposition is Disposition.REVOKED
        status = HResult.CRYPT_E_REVOKED if revoked else response.status
        detail = EnrollmentDetail(
            status,
            invalid_request=response.disposition is not Disposition.ERROR,
            full_response=full,
            request_id=response.request_id,
        )
        text = "The certificate is revoked." if revoked else response.message
        raise detail.fault(_with_code(text, status))
    return Answer(answer.action, answer.encode())


def _failed(error: AdcsError) -> Fault:
    """There is no row: the request never became one, or is not to be shown."""
    detail = EnrollmentDetail(error.status, invalid_request=isinstance(error, AccessDenied))
    fault = detail.fault(_with_code(error.message, error.status))
    fault.status = error.status
    return fault


def _with_code(text: str, status: HResult) -> str:
    """People see the sentence alone; many clients show nothing else."""
    return text if status.hex in text.lower() else f"{text} ({status.hex})"
