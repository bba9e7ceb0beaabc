"""A transport that keeps what is written to it: protocols are tested byte by byte, without a network."""

from __future__ import annotations

import asyncio
from typing import Any


class KeepingTransport(asyncio.Transport):
    """The other side of a connection, as a test sees it."""

    def __init__(self, **extra: Any) -> None:
        super().__init__({"peername": ("192.0.2.7", 50123), "sockname": ("192.0.2.1", 8080), **extra})
        self.sent = bytearray()
        self.unsent = 0
        self.closed = False
        self.aborted = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "written to after it was closed"
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def write_eof(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def taken(self) -> bytes:
        """What was written since the last call."""
        data = bytes(self.sent)
        self.sent.clear()
        return data
