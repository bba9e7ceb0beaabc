"""Negotiate, the server's side: agree on a mechanism, then pass its tokens. RFC 4178, RFC 4559, [MS-SPNG] 3.3.

The first mechanism of the client's list that we have is taken. If that is not the client's favourite, or if the
client sends a mechListMIC, the list must be proved not to have been tampered with (RFC 4178 5). Raw NTLM tokens are
taken too: Windows sends them under this scheme when it has nothing else to offer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum

from certwright.adcs.errors import BadRequest
from certwright.auth.mechanism import Continue, Established, Integrity, Mechanism, Refused
from certwright.pki import oids
from certwright.wire import ntlm, spnego
from certwright.wire.spnego import NegState, NegTokenInit, NegTokenResp

Mechanisms = Mapping[str, Callable[[], Mechanism]]
"""Mechanisms on offer by OID, each made when it is chosen."""


class _Frame(Enum):
    UNKNOWN = 0
    RAW = 1
    SPNEGO = 2


class Negotiation:
    """One negotiation on one connection. It is a mechanism itself, as RFC 4178 has it."""

    def __init__(self, mechanisms: Mechanisms) -> None:
        self._mechanisms = mechanisms
        self._frame = _Frame.UNKNOWN
        self._mechanism: Mechanism | None = None
        self._mechanism_list = b""
        self._must_protect = False

    async def step(self, token: bytes) -> Continue | Established:
        """Raises:
        Refused: no mechanism in common, the mechanism refused, or the list of mechanisms was tampered with.
        """
        try:
            if self._frame is _Frame.UNKNOWN:
                return await self._begin(token)
            if self._frame is _Frame.RAW:
                return await self._inner().step(token)
            return await self._continue(NegTokenResp.parse(token))
        except BadRequest as error:
            raise Refused(error.message) from error

    async def _begin(self, token: bytes) -> Continue | Established:
        if ntlm.message_type(token) is not None:
            self._frame = _Frame.RAW
            self._mechanism = self._make(oids.NTLM)
            return await self._mechanism.step(token)
        framed = spnego.framed_mechanism(token)
        if framed is not None and framed != oids.SPNEGO:
            self._frame = _Frame.RAW
            self._mechanism = self._make(framed)
            return await self._mechanism.step(token)
        self._frame = _Frame.SPNEGO
        return await self._choose(NegTokenInit.parse(token))

    async def _choose(self, offer: NegTokenInit) -> Continue | Established:
        """Take the first of the client's mechanisms that we have. RFC 4178 4.2.2 (supportedMech), 5 (c)."""
        chosen = next((oid for oid in offer.mechanisms if oid in self._mechanisms), None)
        if chosen is None:
            raise Refused(
                f"no mechanism in common; the client offers {', '.join(map(oids.name_of, offer.mechanisms))}"
            )
        self._mechanism = self._make(chosen)
        self._mechanism_list = offer.mechanism_list
        if chosen != offer.mechanisms[0]:
            self._must_protect = True  # and the optimistic token, if any, was for another mechanism
            return Continue(NegTokenResp(NegState.REQUEST_MIC, chosen).encode())
        if offer.token is None:
            return Continue(NegTokenResp(NegState.ACCEPT_INCOMPLETE, chosen).encode())
        return await self._advance(offer.token, offer.mic, chosen)

    async def _continue(self, answer: NegTokenResp) -> Continue | Established:
        if answer.state is NegState.REJECT or answer.token is None:
            raise Refused("the client ended the negotiation")
        return await self._advance(answer.token, answer.mic, None)

    async def _advance(self, token: bytes, mic: bytes | None, chosen: str | None) -> Continue | Established:
        """Hand a token to the mechanism and wrap its answer; `chosen` goes with the first answer only."""
        result = await self._inner().step(token)
        if isinstance(result, Continue):
            return Continue(NegTokenResp(NegState.ACCEPT_INCOMPLETE, chosen, result.token).encode())
        try:
            own_mic = self._check_list(result.integrity, mic)
        except Refused as refused:
            raise Refused(refused.reason, result.principal.account) from refused
        final = NegTokenResp(NegState.ACCEPT_COMPLETED, chosen, result.token, own_mic).encode()
        return replace(result, token=final)

    def _check_list(self, integrity: Integrity | None, mic: bytes | None) -> bytes | None:
        """Verify the client's mechListMIC and answer with ours. RFC 4178 5."""
        if mic is None:
            if self._must_protect:
                raise Refused("the client did not protect its list of mechanisms, though it had to")
            return None
        if integrity is None or not integrity.verify(self._mechanism_list, mic):
            raise Refused("the list of mechanisms was changed on its way")
        return integrity.sign(self._mechanism_list)

    def _make(self, oid: str) -> Mechanism:
        make = self._mechanisms.get(oid)
        if make is None:
            raise Refused(f"{oids.name_of(oid)} is not set up on this server")
        return make()

    def _inner(self) -> Mechanism:
        if self._mechanism is None:  # a negotiation that failed is dropped, never continued
            raise Refused("the negotiation is over")
        return self._mechanism
