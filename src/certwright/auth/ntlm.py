"""NTLM, the server's side: a challenge, then the proof. [MS-NLMP] 3.2.5.1, 3.3.2, 3.4; computed here, byte for byte.

Who knows the password checks the proof: `OwnHashes` with the NT hashes of our own directory, `auth.winbind` by asking
the domain. All else is checked here for both.

NTLM version 2 only. Version 1, LM, anonymous and guest logons are refused always, by no setting allowed. A MIC that
the client announced is always verified; where channel binding is required, a message without one is refused, since
nothing else protects the negotiated flags and the messages' order.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

from certwright.adcs.errors import BadRequest
from certwright.adcs.requester import AuthMethod
from certwright.auth.accounts import Accounts
from certwright.auth.channel_binding import check_binding, check_target_name
from certwright.auth.connection import Connection
from certwright.auth.mechanism import Continue, Established, Refused
from certwright.auth.policy import AuthenticationPolicy, ChannelBinding
from certwright.directory.base import Principal
from certwright.wire import ntlm
from certwright.wire.ntlm import AvFlags, AvId, NegotiateFlags, TargetInfo

_Flags = NegotiateFlags
_ECHOED: Final = (
    _Flags.SIGN
    | _Flags.SEAL
    | _Flags.ALWAYS_SIGN
    | _Flags.EXTENDED_SESSION_SECURITY
    | _Flags.VERSION
    | _Flags.KEY_128
    | _Flags.KEY_56
    | _Flags.KEY_EXCHANGE
)
"""What we grant when the client asks for it. 3.2.5.1.1."""
_FILETIME_EPOCH: Final = datetime(1601, 1, 1, tzinfo=UTC)
_NO_MIC: Final = bytes(ntlm.MIC_LENGTH)
_DUMMY_SIGNATURE: Final = b"\x01" + bytes(15)


class NtlmVerifier(Protocol):
    """Somebody who knows passwords, and says whether a client does."""

    async def names(self) -> tuple[str, TargetInfo]:
        """What a challenge calls the domain and this host: target name and AV pairs, without a time. 2.2.2.1."""

    async def verify(
        self, message: ntlm.AuthenticateMessage, server_challenge: bytes, peer: str
    ) -> tuple[Principal, bytes]:
        """The account, and the session base key that follows from the proof. 3.3.2. The response is of version 2.

        Raises:
            Refused: the proof is wrong, the account may not log on, or cannot be checked.
            Overloaded: too many wait.
        """


class OwnHashes:
    """Proofs checked with the NT hashes of our own directory. Costs microseconds, blocks nobody."""

    def __init__(self, accounts: Accounts, local_names: frozenset[str]) -> None:
        self._accounts = accounts
        self._local_names = local_names

    async def names(self) -> tuple[str, TargetInfo]:
        domain = self._accounts.directory.domain
        computer = computer_name(self._local_names, domain.dns_name)
        pairs = (
            (AvId.NETBIOS_DOMAIN_NAME, domain.netbios_name),
            (AvId.NETBIOS_COMPUTER_NAME, computer.partition(".")[0][:15].upper()),
            (AvId.DNS_DOMAIN_NAME, domain.dns_name),
            (AvId.DNS_COMPUTER_NAME, computer),
            (AvId.DNS_TREE_NAME, domain.dns_name),
        )
        return domain.netbios_name, TargetInfo(tuple((av_id, name.encode("utf-16-le")) for av_id, name in pairs))

    async def verify(
        self, message: ntlm.AuthenticateMessage, server_challenge: bytes, peer: str
    ) -> tuple[Principal, bytes]:
        response = ntlm.NtlmV2Response.parse(message.nt_response)
        session_base_key = b""

        def proves(nt_hash: bytes) -> bool:
            nonlocal session_base_key
            key = ntowf_v2(nt_hash, message.user, message.domain)
            proof = hmac.digest(key, server_challenge + response.blob, "md5")
            session_base_key = hmac.digest(key, proof, "md5")
            return hmac.compare_digest(proof, response.proof)

        principal = self._accounts.prove_nt_hash(message.domain, message.user, peer, proves)
        return principal, session_base_key


class NtlmAcceptor:
    """One NTLM authentication on one connection: type 1 in, type 2 out, type 3 in.

    Args:
        local_names: the names clients may know this server by, for the target name they claim to talk to.
    """

    def __init__(
        self,
        verifier: NtlmVerifier,
        accounts: Accounts,
        connection: Connection,
        policy: AuthenticationPolicy,
        local_names: frozenset[str],
        clock: Callable[[], datetime],
    ) -> None:
        self._verifier = verifier
        self._accounts = accounts
        self._connection = connection
        self._policy = policy
        self._local_names = local_names
        self._clock = clock
        self._negotiate = b""
        self._challenge = b""
        self._server_challenge = b""
        self._granted = _Flags(0)

    async def step(self, token: bytes) -> Continue | Established:
        """Raises:
        Refused: the message is out of order, malformed, or proves nothing.
        """
        try:
            if not self._challenge:
                return Continue(await self._answer(token))
            return await self._accept(token)
        except BadRequest as error:
            raise Refused(error.message) from error

    # -- type 1 -> type 2

    async def _answer(self, token: bytes) -> bytes:
        """Challenge a client. [MS-NLMP] 3.2.5.1.1. The timestamp obliges it to send a MIC (3.1.5.1.2)."""
        negotiate = ntlm.NegotiateMessage.parse(token)
        flags = negotiate.flags & _ECHOED
        if negotiate.flags & _Flags.UNICODE:
            flags |= _Flags.UNICODE
        elif negotiate.flags & _Flags.OEM:
            flags |= _Flags.OEM
        else:
            raise Refused("the client offers no character set")
        flags |= _Flags.NTLM | _Flags.REQUEST_TARGET | _Flags.TARGET_TYPE_DOMAIN | _Flags.TARGET_INFO
        target, names = await self._verifier.names()
        ticks = (self._clock() - _FILETIME_EPOCH).total_seconds() * 10_000_000
        info = TargetInfo((*names.pairs, (AvId.TIMESTAMP, int(ticks).to_bytes(8, "little"))))
        self._server_challenge = secrets.token_bytes(ntlm.CHALLENGE_LENGTH)
        version = ntlm.VERSION if flags & _Flags.VERSION else b""
        message = ntlm.ChallengeMessage(flags, self._server_challenge, target, info, version)
        self._granted = flags
        self._negotiate = token
        self._challenge = message.encode()
        return self._challenge

    # -- type 3

    async def _accept(self, token: bytes) -> Established:
        """Check the answer. [MS-NLMP] 3.2.5.1.2, 3.3.2. The challenge is ours and used once, so the client's own
        clock is not compared."""
        message = ntlm.AuthenticateMessage.parse(token)
        claimed = f"{message.domain}\\{message.user}" if message.domain else message.user
        if message.flags & _Flags.ANONYMOUS or not message.user or not message.nt_response:
            raise Refused("anonymous and LM logons are never accepted", claimed)
        if len(message.nt_response) <= ntlm.V1_RESPONSE_LENGTH:
            raise Refused(
                "NTLMv1 is never accepted: set the client to NTLMv2 (LmCompatibilityLevel 3 or more)", claimed
            )
        response = ntlm.NtlmV2Response.parse(message.nt_response)
        challenge, self._server_challenge = self._server_challenge, b""
        if not challenge:
            raise Refused("the challenge was answered before", claimed)
        principal, session_base_key = await self._verifier.verify(message, challenge, self._connection.peer)
        try:
            flags = message.flags & self._granted
            session_key = exported_session_key(flags, session_base_key, message.session_key)
            self._check_mic(token, message, response.target_info, session_key)
            wanted = self._policy.channel_binding
            binding = check_binding(response.target_info, self._connection.bindings, wanted)
            check_target_name(response.target_info, self._local_names, wanted)
        except Refused as refused:
            raise Refused(refused.reason, principal.account) from refused
        self._accounts.note_success(principal, self._connection.peer)
        return Established(principal, AuthMethod.NTLM, binding, NtlmIntegrity(flags, session_key))

    def _check_mic(
        self, token: bytes, message: ntlm.AuthenticateMessage, info: TargetInfo, session_key: bytes
    ) -> None:
        """A MIC the client announced must be right; required is one where a binding is. 3.2.5.1.2, 3.1.5.1.2."""
        if not info.flags & AvFlags.MIC_PRESENT:
            if self._policy.channel_binding is ChannelBinding.REQUIRE and self._policy.needs_mic:
                raise Refused("the client sent no MIC, and channel-binding=require asks for one unless ntlm-mic=off")
            return
        offset = ntlm.mic_offset(token)
        if message.mic is None or offset is None:
            raise Refused("the client announced a MIC and sent none")
        blanked = token[:offset] + _NO_MIC + token[offset + ntlm.MIC_LENGTH :]
        expected = hmac.digest(session_key, self._negotiate + self._challenge + blanked, "md5")
        if not hmac.compare_digest(expected, message.mic):
            raise Refused("the MIC is wrong: a message was changed on its way")


class NtlmIntegrity:
    """Signatures of messages in both directions, the first of each. [MS-NLMP] 3.4.4.2, 3.4.5.2, 3.4.5.3.

    Only mechListMIC needs them. As [MS-SPNG] 3.3.5.1 asks, each is made with a fresh cipher state and sequence
    number 0; nothing is signed after it.
    """

    def __init__(self, flags: NegotiateFlags, session_key: bytes) -> None:
        self._flags = flags
        self._key = session_key

    def sign(self, message: bytes) -> bytes:
        return self._signature(message, b"server-to-client")

    def verify(self, message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self._signature(message, b"client-to-server"), signature)

    def _signature(self, message: bytes, direction: bytes) -> bytes:
        """Raises:
        Refused: the client gave up extended session security; the signatures of before it are not written here.
        """
        if not self._flags & _Flags.SIGN:
            return _DUMMY_SIGNATURE  # what Windows sends where signing was not negotiated but ALWAYS_SIGN was
        if not self._flags & _Flags.EXTENDED_SESSION_SECURITY:
            raise Refused("a mechListMIC without extended session security is not accepted")
        sequence = bytes(4)
        key = _magic(self._key, direction, b"signing")
        checksum = hmac.digest(key, sequence + message, "md5")[:8]
        if self._flags & _Flags.KEY_EXCHANGE:
            checksum = rc4(_magic(self._weakened(), direction, b"sealing"), checksum)
        return b"\x01\x00\x00\x00" + checksum + sequence

    def _weakened(self) -> bytes:
        """The part of the session key that sealing keys are made of. 3.4.5.3 (SEALKEY)."""
        if self._flags & _Flags.KEY_128:
            return self._key
        return self._key[: 7 if self._flags & _Flags.KEY_56 else 5]


# -- arithmetic ------------------------------------------------------------------------------------------------------


def ntowf_v2(nt_hash: bytes, user: str, domain: str) -> bytes:
    """NTOWFv2, with both names as the client spelled them; only the user's is raised to capitals. 3.3.2."""
    return hmac.digest(nt_hash, (capitals(user) + domain).encode("utf-16-le"), "md5")


def capitals(text: str) -> str:
    """Upper case one character at a time, as Windows does: a letter whose capital is two letters stays."""
    if text.isascii():
        return text.upper()
    return "".join(upper if len(upper := character.upper()) == 1 else character for character in text)


def exported_session_key(flags: NegotiateFlags, session_base_key: bytes, encrypted: bytes) -> bytes:
    """ExportedSessionKey. 3.2.5.1.2: exchanged only where something is to be signed or sealed with it.

    Raises:
        Refused: the client announced a key and sent none of 16 bytes.
    """
    if not (flags & _Flags.KEY_EXCHANGE and flags & (_Flags.SIGN | _Flags.SEAL)):
        return session_base_key
    if len(encrypted) != 16:
        raise Refused("the client announced an exchanged session key and sent none")
    return rc4(session_base_key, encrypted)


def rc4(key: bytes, data: bytes) -> bytes:
    """RC4K. 6: for NTLM alone, whose keys and checksums are a few bytes; it must protect nothing else.

    Written out because OpenSSL builds without legacy algorithms have none.
    """
    state = list(range(256))
    j = 0
    size = len(key)
    for i, value in enumerate(state):
        j = (j + value + key[i % size]) & 0xFF
        state[i], state[j] = state[j], value
    i = j = 0
    out = bytearray(len(data))
    for position, octet in enumerate(data):
        i = (i + 1) & 0xFF
        j = (j + state[i]) & 0xFF
        state[i], state[j] = state[j], state[i]
        out[position] = octet ^ state[(state[i] + state[j]) & 0xFF]
    return bytes(out)


def computer_name(local_names: frozenset[str], dns_domain: str) -> str:
    """What we call ourselves in a challenge: our name in the domain, or another full name of ours."""
    full = sorted(
        name for name in local_names if "." in name and not name.replace(".", "").isdigit() and ":" not in name
    )
    inside = [name for name in full if name.lower().endswith("." + dns_domain.lower())]
    return (inside or full or sorted(local_names) or ["localhost"])[0]


def _magic(key: bytes, direction: bytes, purpose: bytes) -> bytes:
    """SIGNKEY and SEALKEY with extended session security. 3.4.5.2, 3.4.5.3."""
    text = b"session key to " + direction + b" " + purpose + b" key magic constant\x00"
    return hashlib.md5(key + text, usedforsecurity=False).digest()
