"""The connection as authentication sees it: one object per TCP connection, made by whoever accepts it.

NTLM authenticates a connection, not a request ([MS-NTHT] 3.1.1), so what is proved is kept here and nowhere else.
HTTP/1.1 only: on a connection that carries several requests at a time none of this is defined.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Connection:
    """One TCP connection, as long as it lives.

    Args:
        id: unique in this process; for logs.
        peer: the client's address, without a port.
        tls: whether the connection is protected. Nobody is asked for credentials where it is not.
        bindings: application data of tls-server-end-point for every certificate a client may have seen: the current
            one and, while resumed sessions may live, the one before (`pki.channel_binding.tls_server_end_point`).
        peer_certificate: DER of the client's certificate where the listener asked for one.
    """

    id: int
    peer: str
    tls: bool
    bindings: tuple[bytes, ...] = ()
    peer_certificate: bytes | None = None
    auth: object | None = field(default=None, repr=False)
    """What `auth.http` keeps here; whoever made the object sets it to None when the connection is gone."""
