"""How much and how long the listeners wait for anybody, and the one header they do not let through. RFC 9112.

Shared by both protocol classes; no framework is imported here.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

HEAD_BYTES: Final = 72 << 10
"""Request line and headers. The longest Kerberos token Windows sends, 48,000 bytes in base64, has room in it."""
BODY_BYTES: Final = 10 << 20
"""Where the connection ends without an answer from a role service; each of them has a lower limit of its own."""
HEAD_SECONDS: Final = 10.0
BODY_SECONDS: Final = 30.0
READER_SECONDS: Final = 60.0
"""How long somebody may take nothing of an answer that waits for them."""
LINGER_SECONDS: Final = 2.0
"""How long the rest of a body that is too large is read and dropped, so that the refusal reaches its sender."""
KEEP_ALIVE_SECONDS: Final = 75
HANDSHAKE_SECONDS: Final = 10.0
TLS_SHUTDOWN_SECONDS: Final = 2.0
GRACE_SECONDS: Final = 10
"""How long requests under way may take after the stop was asked for."""
HTTPS_CONNECTIONS: Final = 4000
BULK_HEAD_BYTES: Final = 20 << 10
"""SCEP by GET carries its message in the request line: some 8 KB, percent-encoded."""
BULK_CONNECTIONS: Final = 8000
"""When more come, the oldest that waits for nothing gives way."""
BULK_PIPELINE: Final = 16
BULK_WAITING: Final = 500
"""Questions to role services of the plain listener that wait for a thread; further ones are told to come later."""

END_OF_HEAD: Final = b"\r\n\r\n"
_UPGRADE: Final = re.compile(rb"(\n)(upgrade[ \t]*:)", re.IGNORECASE)


def connections_for(files: int) -> int:
    """How many connections the plain listener may have where the process may have so many open files."""
    return max(64, min(BULK_CONNECTIONS, files // 2))


def raise_file_limit() -> int:
    """Let this process open as many files as it may; how many those are. Systems without such limits have room."""
    try:
        import resource
    except ImportError:
        return 4 * BULK_CONNECTIONS
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * BULK_CONNECTIONS if hard == resource.RLIM_INFINITY else hard
    with suppress(ValueError, OSError):  # a kernel that grants less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def without_upgrade(head: bytes) -> bytes:
    """The same request head with its Upgrade header renamed, so that nobody acts on it.

    A server may ignore Upgrade (RFC 9110 7.8). The parser would not: it stops at the end of the head and drops the
    body, which Java's HTTP client always sends along with `Upgrade: h2c`.
    """
    return _UPGRADE.sub(rb"\1x-\2", head)
