"""Which requests this browser still waits for: a cookie with request IDs and the times they were sent.

The cookie is a note, not a right: every ID in it is asked through the door as the caller of the moment, so it needs
no signature. It is bounded, and anything in it that is no ID is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COOKIE: Final = "__Host-certsrv-pending"
MAX_ENTRIES: Final = 20
KEPT_DAYS: Final = 10
_MAX_COOKIE: Final = 4096


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request of the note: its ID, and when it was sent in seconds since the epoch."""

    request_id: int
    sent: int


@dataclass(frozen=True, slots=True)
class PendingNote:
    """The note, newest request first."""

    entries: tuple[Waiting, ...] = ()

    @classmethod
    def parse(cls, header: bytes) -> PendingNote:
        """Read the Cookie header."""
        if not header or len(header) > 4 * _MAX_COOKIE:
            return NOTHING_PENDING
        for part in header.decode("latin-1").split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE:
                return cls(_entries(value[:_MAX_COOKIE]))
        return cls()

    def adding(self, request_id: int, now: int) -> PendingNote:
        others = tuple(entry for entry in self.entries if entry.request_id != request_id)
        return PendingNote((Waiting(request_id, now), *others)[:MAX_ENTRIES])

    def without(self, request_id: int) -> PendingNote:
        return PendingNote(tuple(entry for entry in self.entries if entry.request_id != request_id))

    def __contains__(self, request_id: int) -> bool:
        return any(entry.request_id == request_id for entry in self.entries)

    def header(self) -> tuple[bytes, bytes]:
        """The Set-Cookie header; an empty note removes the cookie."""
        value = "_".join(f"{entry.request_id}-{entry.sent}" for entry in self.entries)
        age = KEPT_DAYS * 86400 if self.entries else 0
        return b"set-cookie", (
            f"{COOKIE}={value}; Path=/; Max-Age={age}; Secure; HttpOnly; SameSite=Strict".encode("ascii")
        )


NOTHING_PENDING: Final = PendingNote()


def _entries(value: str) -> tuple[Waiting, ...]:
    found: dict[int, Waiting] = {}
    for item in value.split("_")[:MAX_ENTRIES]:
        request_id, dash, sent = item.partition("-")
        if dash and _is_number(request_id) and _is_number(sent) and 0 < int(request_id) <= 0xFFFF_FFFF:
            found.setdefault(int(request_id), Waiting(int(request_id), int(sent)))
    return tuple(found.values())


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10
