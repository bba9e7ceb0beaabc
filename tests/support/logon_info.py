"""KERB_VALIDATION_INFO written from values, so that a test can say what stands in it. [MS-PAC] 2.5."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

ENABLED = 0x7


@dataclass
class LogonInfoWriter:
    """Values of one account. Groups are RIDs with attributes, `extra` are SIDs with attributes."""

    account: str = "alice"
    domain: str = "CORP"
    domain_sid: str = "S-1-5-21-1-2-3"
    rid: int = 1101
    primary_group: int = 513
    groups: Sequence[tuple[int, int]] = ((513, ENABLED),)
    extra: Sequence[tuple[str, int]] = ()
    resource_domain: str = ""
    resource_groups: Sequence[tuple[int, int]] = ()
    flags: int = 0x10

    def encode(self) -> bytes:
        deferred = b""
        pointers = iter(range(0x20004, 0x30000, 4))

        def padded(data: bytes) -> bytes:
            return data + bytes(-len(data) % 4)

        def text(value: str) -> bytes:
            nonlocal deferred
            octets = value.encode("utf-16-le")
            deferred += padded(struct.pack("<III", len(value), 0, len(value)) + octets)
            return struct.pack("<HHI", len(octets), len(octets), next(pointers))

        def array(entries: Sequence[tuple[int, int]]) -> bytes:
            nonlocal deferred
            if not entries:
                return struct.pack("<II", 0, 0)
            deferred += struct.pack("<I", len(entries)) + b"".join(struct.pack("<II", *entry) for entry in entries)
            return struct.pack("<II", len(entries), next(pointers))

        fixed = struct.pack("<I", 0x20000) + bytes(48)
        fixed += b"".join(text(value) for value in (self.account, "", "", "", "", ""))
        fixed += bytes(4) + struct.pack("<II", self.rid, self.primary_group)
        fixed += array(self.groups) + bytes(20)
        fixed += text("DC1") + text(self.domain)
        fixed += struct.pack("<I", next(pointers) if self.domain_sid else 0)
        deferred += conformant_sid(self.domain_sid) if self.domain_sid else b""
        fixed += bytes(8) + struct.pack("<I", self.flags) + bytes(28)
        fixed += array([(next(pointers), attributes) for _, attributes in self.extra])
        deferred += b"".join(conformant_sid(sid) for sid, _ in self.extra)
        fixed += struct.pack("<I", next(pointers) if self.resource_domain else 0)
        deferred += conformant_sid(self.resource_domain) if self.resource_domain else b""
        fixed += array(self.resource_groups)
        body = fixed + deferred
        body += bytes(-len(body) % 8)
        return b"\x01\x10\x08\x00\xcc\xcc\xcc\xcc" + struct.pack("<II", len(body), 0) + body


def conformant_sid(text: str) -> bytes:
    _, _, authority, *numbers = text.split("-")
    head = struct.pack("<IBB", len(numbers), 1, len(numbers)) + int(authority).to_bytes(6, "big")
    return head + struct.pack(f"<{len(numbers)}I", *map(int, numbers))
