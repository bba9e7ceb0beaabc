"""What a security mechanism is to the rest of this room: tokens in, tokens out, at last a principal. RFC 2743 1.2.

NTLM is one (`auth.ntlm`), Kerberos another (`auth.kerberos`). `auth.spnego` chooses between them by OID.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from certwright.adcs.requester import AuthMethod, Sid
from certwright.auth.policy import Binding
from certwright.directory.base import Principal


class Refused(Exception):
    """The caller did not prove who they are.

    Args:
        reason: why, for the log only: an answer that told it would help whoever guesses.
        account: whom they claimed to be, as they spelled it.
        retry_after: seconds until it makes sense to try again, where attempts are being slowed down.
    """

    def __init__(self, reason: str, account: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.account = account
        self.retry_after = retry_after


class Overloaded(Exception):
    """So much waits to be checked already that no more is taken."""


class Integrity(Protocol):
    """Message signatures with the keys of an established context: GSS_GetMIC and GSS_VerifyMIC."""

    def sign(self, message: bytes) -> bytes: ...

    def verify(self, message: bytes, signature: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class Continue:
    """The client has to answer `token`."""

    token: bytes


@dataclass(frozen=True, slots=True)
class Established:
    """The client is `principal`; `token`, where there is one, proves us to the client.

    `groups` are those the proof itself says, and hold instead of the directory's; `lifetime` is how many seconds the
    proof is good for, where it ends.
    """

    principal: Principal
    method: AuthMethod
    binding: Binding
    integrity: Integrity | None = None
    token: bytes | None = None
    groups: frozenset[Sid] | None = None
    lifetime: float | None = None


class Mechanism(Protocol):
    """One authentication in progress. It belongs to one connection and is dropped after any failure."""

    async def step(self, token: bytes) -> Continue | Established:
        """Take the client's next token.

        Raises:
            Refused: the authentication is over, without success.
        """
