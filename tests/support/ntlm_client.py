"""Clients that log on over one connection: pyspnego's, and one whose messages a test can bend."""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import spnego
from spnego._ntlm_raw.crypto import ntowfv1
from spnego.channel_bindings import GssChannelBindings

from certwright.auth.connection import Connection
from certwright.auth.http import Authenticated, Challenge, HttpAuthenticator
from certwright.pki.channel_binding import gss_channel_bindings_hash
from certwright.wire.ntlm import (
    AuthenticateMessage,
    AvId,
    ChallengeMessage,
    NegotiateFlags,
    NegotiateMessage,
    TargetInfo,
)

BINDING = b"tls-server-end-point:" + bytes(range(32))
OTHER_BINDING = b"tls-server-end-point:" + bytes(32)
UNICODE_CLIENT = (
    NegotiateFlags.UNICODE
    | NegotiateFlags.REQUEST_TARGET
    | NegotiateFlags.NTLM
    | NegotiateFlags.ALWAYS_SIGN
    | NegotiateFlags.EXTENDED_SESSION_SECURITY
    | NegotiateFlags.KEY_128
)
ZEROES = bytes(16)


def client(
    user: str = "CORP\\alice",
    password: str = "correct horse",
    *,
    protocol: str = "ntlm",
    binding: bytes | None = BINDING,
    hostname: str = "ca.corp.example",
    service: str = "HTTP",
) -> Any:
    """pyspnego's initiator, as requests-ntlm and friends use it."""
    return spnego.client(
        user,
        password,
        hostname=hostname,
        service=service,
        protocol=protocol,
        channel_bindings=None if binding is None else GssChannelBindings(application_data=binding),
        options=spnego.NegotiateOptions.use_ntlm if protocol == "ntlm" else spnego.NegotiateOptions.use_negotiate,
    )


def header(scheme: str, token: bytes) -> bytes:
    return scheme.encode() + b" " + base64.b64encode(token)


def basic(user: str, password: str, encoding: str = "utf-8") -> bytes:
    return header("Basic", f"{user}:{password}".encode(encoding))


def token_of(answer: Authenticated | Challenge, scheme: str) -> bytes | None:
    """The token a server's answer carries for this scheme."""
    prefix = scheme.encode() + b" "
    for name, value in answer.headers:
        if name == b"www-authenticate" and value.startswith(prefix):
            return base64.b64decode(value[len(prefix) :])
    return None


async def log_on(
    authenticator: HttpAuthenticator, connection: Connection, initiator: Any, scheme: str = "NTLM"
) -> Authenticated | Challenge:
    """All legs of one handshake; the last answer."""
    token = initiator.step()
    for _ in range(5):
        answer = await authenticator.authenticate(header(scheme, token), connection)
        received = token_of(answer, scheme)
        if received is None:
            return answer
        token = initiator.step(received)
        if isinstance(answer, Authenticated):
            assert initiator.complete, "the client does not accept our last token"
            return answer
    raise AssertionError("the handshake does not end")


class BentClient:
    """NTLM by hand, so that a test can say what stands in each message. [MS-NLMP] 3.1.5, 3.3.2."""

    def __init__(
        self,
        user: str = "alice",
        domain: str = "CORP",
        password: str = "correct horse",
        *,
        flags: NegotiateFlags = UNICODE_CLIENT,
        pairs: Iterable[tuple[int, bytes]] = ((AvId.CHANNEL_BINDINGS, gss_channel_bindings_hash(BINDING)),),
        mic: bool = True,
        bend: Callable[[AuthenticateMessage], AuthenticateMessage] = lambda message: message,
    ) -> None:
        self._user, self._domain, self._password = user, domain, password
        self._flags = flags
        self._pairs = tuple(pairs)
        self._mic = mic
        self._bend = bend
        self.negotiate = NegotiateMessage(flags).encode()
        self.challenge: ChallengeMessage | None = None

    def authenticate(self, challenge: bytes) -> bytes:
        """The type 3 message for this type 2 message."""
        self.challenge = ChallengeMessage.parse(challenge)
        info = tuple(self.challenge.target_info.pairs) + self._pairs
        if self._mic:
            info += ((AvId.FLAGS, (2).to_bytes(4, "little")),)
        names = (self._user.upper() + self._domain).encode("utf-16-le")
        key = hmac.digest(ntowfv1(self._password), names, "md5")
        blob = b"\x01\x01" + bytes(6) + bytes(8) + os.urandom(8) + bytes(4) + TargetInfo(info).encode() + bytes(4)
        proof = hmac.digest(key, self.challenge.server_challenge + blob, "md5")
        message = AuthenticateMessage(
            flags=self.challenge.flags,
            lm_response=bytes(24),
            nt_response=proof + blob,
            domain=self._domain,
            user=self._user,
            mic=bytes(16) if self._mic else None,
        )
        if self._mic:
            session_key = hmac.digest(key, proof, "md5")
            seen = self.negotiate + challenge + message.encode()
            message = replace(message, mic=hmac.digest(session_key, seen, "md5"))
        return self._bend(message).encode()

    async def log_on(self, authenticator: HttpAuthenticator, connection: Connection) -> Authenticated | Challenge:
        first = await authenticator.authenticate(header("NTLM", self.negotiate), connection)
        challenge = token_of(first, "NTLM")
        assert challenge is not None, first
        return await authenticator.authenticate(header("NTLM", self.authenticate(challenge)), connection)
