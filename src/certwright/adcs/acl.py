"""Access control entries and lists as values, with their binary form. [MS-DTYP] 2.4.2.2, 2.4.4, 2.4.5.

Every kind of entry survives a round trip, also those whose meaning is nobody's business here: conditions, resource
attributes, mandatory labels. What an entry grants is decided in `adcs.security`, how it is written in `adcs.sddl`.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from certwright.adcs.requester import Sid, parse_sid

MAX_SIZE: Final = 65535
"""Longest list or descriptor in bytes: its size field has 16 bits."""

MAX_ENTRIES: Final = 2000
NO_GUID: Final = "00000000-0000-0000-0000-000000000000"

_MAX_SUBAUTHORITIES: Final = 15
_OBJECT_TYPE_PRESENT, _INHERITED_OBJECT_TYPE_PRESENT = 0x1, 0x2


class AceType(IntEnum):
    """The kinds of entry that have a name in SDDL. [MS-DTYP] 2.4.4.1."""

    ALLOWED = 0x00
    DENIED = 0x01
    AUDIT = 0x02
    ALARM = 0x03
    ALLOWED_OBJECT = 0x05
    DENIED_OBJECT = 0x06
    AUDIT_OBJECT = 0x07
    ALARM_OBJECT = 0x08
    ALLOWED_CALLBACK = 0x09
    DENIED_CALLBACK = 0x0A
    ALLOWED_CALLBACK_OBJECT = 0x0B
    DENIED_CALLBACK_OBJECT = 0x0C
    AUDIT_CALLBACK = 0x0D
    MANDATORY_LABEL = 0x11
    RESOURCE_ATTRIBUTE = 0x12
    SCOPED_POLICY = 0x13
    PROCESS_TRUST_LABEL = 0x14
    ACCESS_FILTER = 0x15


class AceFlag(IntFlag):
    """How an entry is inherited, and what an audit entry records. [MS-DTYP] 2.4.4.1."""

    NONE = 0
    OBJECT_INHERIT = 0x01
    CONTAINER_INHERIT = 0x02
    NO_PROPAGATE = 0x04
    INHERIT_ONLY = 0x08
    INHERITED = 0x10
    SUCCESSFUL_ACCESS = 0x40
    FAILED_ACCESS = 0x80


OBJECT_TYPES: Final = frozenset(
    {
        AceType.ALLOWED_OBJECT,
        AceType.DENIED_OBJECT,
        AceType.AUDIT_OBJECT,
        AceType.ALARM_OBJECT,
        AceType.ALLOWED_CALLBACK_OBJECT,
        AceType.DENIED_CALLBACK_OBJECT,
    }
)
"""Kinds that may name a right, property or class by its GUID."""


@dataclass(frozen=True, slots=True)
class Ace:
    """One entry. `object_type` and `inherited_object_type` are GUIDs in lower case, empty when absent.

    What follows the SID is `data` as bytes, or `condition` as the text SDDL has for it; never both.
    """

    type: AceType
    flags: AceFlag
    mask: int
    sid: Sid
    object_type: str = ""
    inherited_object_type: str = ""
    data: bytes = b""
    condition: str = ""

    @property
    def applies_here(self) -> bool:
        """Does it count for the object itself, not only for those that inherit it?"""
        return not self.flags & AceFlag.INHERIT_ONLY

    @property
    def is_inherited(self) -> bool:
        return bool(self.flags & AceFlag.INHERITED)

    @property
    def names_object_type(self) -> bool:
        """Is it about one right or property? The zero GUID and no GUID mean all of them."""
        return self.type in OBJECT_TYPES and self.object_type not in ("", NO_GUID)

    def encode(self) -> bytes:
        """Raises:
        ValueError: its condition is known as text only.
        """
        if self.condition:
            raise ValueError(
                f"the condition {self.condition!r} is known as SDDL text only and has no binary form here"
            )
        body = struct.pack("<I", self.mask)
        if self.type in OBJECT_TYPES:
            present = (_OBJECT_TYPE_PRESENT if self.object_type else 0) | (
                _INHERITED_OBJECT_TYPE_PRESENT if self.inherited_object_type else 0
            )
            guids = (uuid.UUID(guid).bytes_le for guid in (self.object_type, self.inherited_object_type) if guid)
            body += struct.pack("<I", present) + b"".join(guids)
        body += sid_to_bytes(self.sid) + self.data
        body += bytes(-len(body) % 4)
        return struct.pack("<BBH", self.type, self.flags, len(body) + 4) + body


@dataclass(frozen=True, slots=True)
class Acl:
    """An access control list; its order is part of its meaning."""

    entries: tuple[Ace, ...] = ()

    def encode(self) -> bytes:
        """Raises:
        ValueError: it does not fit into 64 KiB.
        """
        body = b"".join(ace.encode() for ace in self.entries)
        if len(body) + 8 > MAX_SIZE:
            raise ValueError(f"the access control list has {len(body) + 8} bytes, {MAX_SIZE} are possible")
        revision = 4 if any(ace.type in OBJECT_TYPES for ace in self.entries) else 2
        return struct.pack("<BBHHH", revision, 0, len(body) + 8, len(self.entries), 0) + body

    @classmethod
    def decode(cls, data: bytes) -> Acl:
        """Read a list that begins with `data`.

        Raises:
            ValueError: it is cut off, inconsistent, or holds an entry of a kind nobody has named.
        """
        if len(data) < 8:
            raise ValueError("the access control list is cut off")
        revision, _, size, count, _ = struct.unpack_from("<BBHHH", data)
        if revision not in (2, 4) or not 8 <= size <= len(data):
            raise ValueError("the access control list has a wrong revision or size")
        if count > MAX_ENTRIES:
            raise ValueError(f"the access control list has {count} entries, {MAX_ENTRIES} are accepted")
        entries: list[Ace] = []
        offset = 8
        for _ in range(count):
            ace, offset = _decode_ace(data, offset, size)
            entries.append(ace)
        return cls(tuple(entries))


def _decode_ace(data: bytes, offset: int, end: int) -> tuple[Ace, int]:
    if offset + 8 > end:
        raise ValueError("the access control list ends before its last entry")
    number, flags, size, mask = struct.unpack_from("<BBHI", data, offset)
    stop = offset + size
    if size < 16 or size % 4 or stop > end:
        raise ValueError(f"an access control entry has a wrong size: {size}")
    try:
        kind = AceType(number)
    except ValueError:
        raise ValueError(f"an access control entry is of the unknown type {number:#04x}") from None
    at = offset + 8
    guids = ["", ""]
    if kind in OBJECT_TYPES:
        if at + 4 > stop:
            raise ValueError("an object access control entry is cut off")
        (present,) = struct.unpack_from("<I", data, at)
        at += 4
        for index, bit in enumerate((_OBJECT_TYPE_PRESENT, _INHERITED_OBJECT_TYPE_PRESENT)):
            if present & bit:
                if at + 16 > stop:
                    raise ValueError("an object access control entry is cut off")
                guids[index] = str(uuid.UUID(bytes_le=data[at : at + 16]))
                at += 16
    sid, at = sid_from_bytes(data, at, stop)
    return Ace(kind, AceFlag(flags), mask, sid, guids[0], guids[1], data[at:stop]), stop


# -- SIDs ------------------------------------------------------------------------------------------------------------


def canonical_sid(text: str) -> Sid:
    """A SID in its one canonical spelling: no leading zeros, the authority in hex from 2^32 on. [MS-DTYP] 2.4.2.1.

    Raises:
        ValueError: it is no SID.
    """
    parts = parse_sid(text).split("-")
    authority = int(parts[2], 16 if parts[2].startswith("0x") else 10)
    subauthorities = [int(part) for part in parts[3:]]
    if authority >= 1 << 48 or any(number >= 1 << 32 for number in subauthorities):
        raise ValueError(f"{text!r} is not a security identifier: a number in it is too large")
    first = f"0x{authority:012x}" if authority >= 1 << 32 else str(authority)
    return Sid("-".join(("S-1", first, *map(str, subauthorities))))


def sid_to_bytes(sid: Sid) -> bytes:
    """[MS-DTYP] 2.4.2.2. Raises `ValueError` when `sid` is none."""
    parts = canonical_sid(sid).split("-")
    authority = int(parts[2], 16 if parts[2].startswith("0x") else 10)
    subauthorities = [int(part) for part in parts[3:]]
    return (
        bytes((1, len(subauthorities)))
        + authority.to_bytes(6, "big")
        + struct.pack(f"<{len(subauthorities)}I", *subauthorities)
    )


def sid_from_bytes(data: bytes, offset: int = 0, end: int | None = None) -> tuple[Sid, int]:
    """The SID at `offset` and the offset behind it. Raises `ValueError` when there is none."""
    limit = len(data) if end is None else end
    if offset + 8 > limit or data[offset] != 1:
        raise ValueError("a security identifier is cut off or not of revision 1")
    count = data[offset + 1]
    stop = offset + 8 + 4 * count
    if count > _MAX_SUBAUTHORITIES or stop > limit:
        raise ValueError(f"a security identifier with {count} parts does not fit")
    authority = int.from_bytes(data[offset + 2 : offset + 8], "big")
    first = f"0x{authority:012x}" if authority >= 1 << 32 else str(authority)
    return Sid("-".join(("S-1", first, *map(str, struct.unpack_from(f"<{count}I", data, offset + 8))))), stop
