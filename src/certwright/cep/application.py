"""The addresses of CEP, in any case, with or without a slash at the end. [MS-XCEP] 2.1, 3.1.4.1.

/ADPolicyProvider_CEP_Kerberos|_UsernamePassword|_Certificate/service.svc/CEP
/KeyBasedRenewal_ADPolicyProvider_CEP_UsernamePassword|_Certificate/service.svc/CEP
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Final

from certwright.cep.offer import PolicyOffer
from certwright.endpoints.asgi import Receive, Reply, Scope, Send
from certwright.endpoints.logon import PATH_WORDS, Caller, Logons
from certwright.endpoints.soap_service import Answer, SoapService
from certwright.wire import xcep
from certwright.wire.soap import Message
from certwright.wire.xcep import ClientAuthentication, GetPolicies

_ADDRESS: Final = re.compile(
    r"/(keybasedrenewal_)?adpolicyprovider_cep_(kerberos|usernamepassword|certificate)/service\.svc/cep/?",
    re.IGNORECASE,
)
_KINDS: Final = {word.lower(): kind for kind, word in PATH_WORDS.items()}


def is_address(path: str) -> bool:
    """Is this one of CEP's?"""
    return _ADDRESS.fullmatch(path) is not None


def address(kind: ClientAuthentication, *, key_based: bool = False) -> str:
    """The path of CEP for one kind of logon."""
    return f"/{'KeyBasedRenewal_' * key_based}ADPolicyProvider_CEP_{PATH_WORDS[kind]}/service.svc/CEP"


class PolicyWebService:
    """CEP as an ASGI application.

    Args:
        blocks: the directory may wait for others, so it is asked in a thread.
    """

    def __init__(self, offer: PolicyOffer, logons: Logons, *, blocks: bool) -> None:
        self._offer = offer
        self._blocks = blocks
        self._service = SoapService("CEP", xcep.MAX_REQUEST, logons)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        found = _ADDRESS.fullmatch(scope["path"])
        kind = _KINDS[found[2].lower()] if found is not None else ClientAuthentication.ANONYMOUS
        key_based = found is not None and found[1] is not None
        if found is None or (key_based and kind is ClientAuthentication.KERBEROS):
            await Reply.plain(404, "There is no such service here.").send(
                send, without_body=scope["method"] == "HEAD"
            )
            return
        await self._service.serve(scope, receive, send, kind, partial(self._answer, key_based=key_based))

    async def _answer(self, message: Message, caller: Caller, *, key_based: bool) -> Answer:
        message.demand_action(xcep.GET_POLICIES)
        request = GetPolicies.parse(message.body)
        make = partial(self._offer.body, request, caller, key_based=key_based)
        body = await asyncio.to_thread(make) if self._blocks else make()
        return Answer(xcep.GET_POLICIES_RESPONSE, body)
