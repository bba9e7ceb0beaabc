"""A ticket reader whose tickets are values: `auth.tickets.TicketReader` without Kerberos."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from certwright.auth.mechanism import Refused
from certwright.auth.tickets import Ticket, WrongBinding
from certwright.pki import der, oids


class KeyedIntegrity:
    """GSS_GetMIC and GSS_VerifyMIC by HMAC, the same in both directions."""

    def sign(self, message: bytes) -> bytes:
        return hmac.digest(b"key", message, "sha256")

    def verify(self, message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(message), signature)


def make_ticket(
    client: str = "alice@CORP.EXAMPLE",
    logon_info: bytes | None = None,
    *,
    has_pac: bool | None = None,
    anonymous: bool = False,
    lifetime: float = 36000.0,
    answer: bytes | None = b"AP-REP",
) -> Ticket:
    return Ticket(
        client=client,
        lifetime=lifetime,
        is_bound=False,
        is_anonymous=anonymous,
        has_pac=logon_info is not None if has_pac is None else has_pac,
        logon_info=logon_info,
        answer=answer,
        integrity=KeyedIntegrity(),
    )


def kerberos_token(body: bytes) -> bytes:
    """A raw token of Kerberos, in the frame of RFC 2743 3.1."""
    return der.tlv(0x60, der.oid(oids.KERBEROS) + body)


@dataclass
class ScriptedTickets:
    """Tokens that are known open; what was opened is remembered. `sent` is the binding a client put into it."""

    known: dict[bytes, Ticket] = field(default_factory=dict)
    sent: dict[bytes, bytes] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)
    is_ready: bool = True

    def add(self, ticket: Ticket, binding: bytes = b"") -> bytes:
        """The token of a ticket."""
        token = kerberos_token(len(self.known).to_bytes(4, "big"))
        self.known[token] = ticket
        if binding:
            self.sent[token] = binding
        return token

    def open(self, token: bytes, bindings: Sequence[bytes]) -> Ticket:
        ticket = self.known.get(token)
        if ticket is None:
            raise Refused("Kerberos: the token is malformed or cut off")
        if token in self.seen:
            raise Refused("Kerberos: the token was used before: a replay")
        self.seen.add(token)
        sent = self.sent.get(token, b"")
        if bindings and sent and sent not in bindings:
            raise WrongBinding("the channel binding is that of another TLS connection")
        return Ticket(
            ticket.client,
            ticket.lifetime,
            bool(sent and bindings),
            ticket.is_anonymous,
            ticket.has_pac,
            ticket.logon_info,
            ticket.answer,
            ticket.integrity,
        )
