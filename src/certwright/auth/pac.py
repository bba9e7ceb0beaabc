"""Who a Kerberos ticket is for, as its KDC says: KERB_VALIDATION_INFO inside the PAC. [MS-PAC] 2.5, 2.2.2.

The structure is NDR ([C706] chapter 14, [MS-RPCE] 2.2.6): fixed parts first, then what their pointers lead to, in
order. The reader goes through it once, from front to back; every count is checked against what may be and against the
bytes that are left before anything is read. Whether the PAC is genuine was decided before: its signature is made with
the service's key, and GSSAPI verifies it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from certwright.adcs.errors import BadRequest
from certwright.adcs.requester import Sid

MAX_SIZE: Final = 64 * 1024
"""Longest structure read, in bytes: no HTTP header that fits our limits carries more."""
MAX_SIDS: Final = 2048
"""Most groups of one kind. A Windows logon has 1015 at most ([MS-KILE] knows no higher number either)."""
MAX_TEXT: Final = 2048
"""Longest text, in bytes."""

_VERSION: Final = b"\x01\x10\x08\x00"  # version 1, little-endian with ASCII and IEEE, header of 8 bytes
_HEADER: Final = 16
_SUB_AUTHORITIES: Final = 15
_UINT16 = struct.Struct("<H")
_UINT32 = struct.Struct("<I")
_PAIR = struct.Struct("<II")
_TEXT = struct.Struct("<HHI")


class GroupFlags(IntFlag):
    """SE_GROUP_* of a membership. [MS-PAC] 2.2.1."""

    ENABLED = 0x4
    DENY_ONLY = 0x10


class AccountFlags(IntFlag):
    """USER_* of UserAccountControl: not those of the directory's attribute of that name. [MS-SAMR] 2.2.1.12."""

    DISABLED = 0x1
    NORMAL = 0x10
    WORKSTATION = 0x80
    SERVER = 0x100
    LOCKED = 0x400


@dataclass(frozen=True, slots=True)
class LogonInfo:
    """One account as its domain controller described it when the ticket was made."""

    account_name: str
    domain_name: str  # NetBIOS
    domain_sid: Sid
    user_rid: int
    groups: frozenset[Sid]
    """Global and universal groups of the account's domain, the primary group, domain local groups of ours, SIDs of
    other domains: all that are switched on."""
    flags: AccountFlags

    @property
    def sid(self) -> Sid:
        return Sid(f"{self.domain_sid}-{self.user_rid}")

    @property
    def account(self) -> str:
        return f"{self.domain_name}\\{self.account_name}"

    @property
    def is_computer(self) -> bool:
        return bool(self.flags & (AccountFlags.WORKSTATION | AccountFlags.SERVER))

    @classmethod
    def parse(cls, data: bytes) -> LogonInfo:
        """Read the buffer of type 1 of a PAC.

        Raises:
            BadRequest: it is cut off, too long, has too many groups, or is something else.
        """
        if len(data) > MAX_SIZE:
            raise BadRequest(f"PAC: the logon information has {len(data)} bytes; {MAX_SIZE} are taken")
        return _read(_Reader(data))


def _read(reader: _Reader) -> LogonInfo:
    """[MS-PAC] 2.5, in the order of the wire."""
    reader.header()
    reader.require_pointer("KERB_VALIDATION_INFO")
    reader.skip(6 * 8)  # LogonTime to PasswordMustChange: GSSAPI has checked the ticket's own times
    texts = [reader.text_field() for _ in range(6)]  # EffectiveName to HomeDirectoryDrive
    reader.skip(2 * 2)  # LogonCount, BadPasswordCount
    user_rid, primary_group = reader.pair()
    group_count, groups_pointer = reader.pair()
    reader.skip(4 + 16)  # UserFlags, UserSessionKey
    server, domain = reader.text_field(), reader.text_field()
    domain_pointer = reader.uint32()
    reader.skip(8)  # Reserved1
    flags = reader.uint32()
    reader.skip(4 + 8 + 8 + 4 + 4)  # SubAuthStatus to Reserved3
    extra_count, extra_pointer = reader.pair()
    resource_domain_pointer = reader.uint32()
    resource_count, resource_pointer = reader.pair()

    effective_name, *_ = [reader.text(field) for field in texts]
    rids = reader.memberships(groups_pointer, group_count, "GroupIds")
    reader.text(server)
    domain_name = reader.text(domain)
    domain_sid = reader.sid() if domain_pointer else None
    extra = reader.extra_sids(extra_pointer, extra_count)
    resource_domain = reader.sid() if resource_domain_pointer else None
    resource_rids = reader.memberships(resource_pointer, resource_count, "ResourceGroupIds")
    reader.finish()

    if domain_sid is None or not user_rid or not effective_name or not domain_name:
        raise BadRequest("PAC: it does not say for which account of which domain it is")
    if resource_rids and resource_domain is None:
        raise BadRequest("PAC: groups of a resource domain without that domain")
    found = {Sid(f"{domain_sid}-{rid}") for rid in rids} | set(extra)
    found |= {Sid(f"{resource_domain}-{rid}") for rid in resource_rids}
    if primary_group:
        found.add(Sid(f"{domain_sid}-{primary_group}"))
    return LogonInfo(effective_name, domain_name, domain_sid, user_rid, frozenset(found), AccountFlags(flags))


def _require_usable(attributes: int) -> bool:
    """Whether a membership is switched on.

    Raises:
        BadRequest: it counts for denials only; access checks here have no place for that, and to leave it out would
            grant what should be denied. KDCs put no such groups into tickets.
    """
    if attributes & GroupFlags.DENY_ONLY:
        raise BadRequest("PAC: a group counts for denials only, which is not supported")
    return bool(attributes & GroupFlags.ENABLED)


class _Reader:
    """NDR, little-endian, from front to back. Numbers stand at multiples of their own size."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    # -- fixed parts

    def header(self) -> None:
        """Common and private type header. [MS-RPCE] 2.2.6.1, 2.2.6.2."""
        if len(self._data) < _HEADER or not self._data.startswith(_VERSION):
            raise BadRequest("PAC: the logon information does not begin as NDR version 1 does")
        length = _UINT32.unpack_from(self._data, 8)[0]
        if length > len(self._data) - _HEADER:
            raise BadRequest("PAC: the logon information is cut off")
        self._data = self._data[_HEADER : _HEADER + length]  # alignment counts from here, and what follows is padding

    def require_pointer(self, name: str) -> None:
        if not self.uint32():
            raise BadRequest(f"PAC: {name} is not there")

    def skip(self, count: int) -> None:
        self._take(count)

    def uint32(self) -> int:
        self._at += -self._at % 4
        value: int = _UINT32.unpack_from(self._data, self._take(4))[0]
        return value

    def pair(self) -> tuple[int, int]:
        self._at += -self._at % 4
        first, second = _PAIR.unpack_from(self._data, self._take(8))
        return first, second

    def text_field(self) -> tuple[int, int]:
        """RPC_UNICODE_STRING without its characters: their length in bytes, and the pointer. [MS-DTYP] 2.3.10."""
        self._at += -self._at % 4
        length, maximum, pointer = _TEXT.unpack_from(self._data, self._take(8))
        if length > maximum or length > MAX_TEXT or length % 2:
            raise BadRequest(f"PAC: a text has {length} bytes of {maximum}; {MAX_TEXT} are taken")
        if length and not pointer:
            raise BadRequest("PAC: a text has a length and no characters")
        return length, pointer

    # -- what pointers lead to

    def text(self, field: tuple[int, int]) -> str:
        """A conformant and varying array of UTF-16 characters. [C706] 14.3.3.4."""
        length, pointer = field
        if not pointer:
            return ""
        maximum, offset = self.pair()
        actual = self.uint32()
        if offset or actual > maximum or actual * 2 != length:
            raise BadRequest("PAC: the characters of a text are not as many as it says")
        start = self._take(length)
        try:
            return self._data[start : start + length].decode("utf-16-le")
        except UnicodeDecodeError as error:
            raise BadRequest("PAC: a text is not UTF-16") from error

    def memberships(self, pointer: int, count: int, name: str) -> list[int]:
        """An array of GROUP_MEMBERSHIP, [MS-PAC] 2.2.2: the RIDs that are switched on."""
        if not self._is_array(pointer, count, name):
            return []
        pairs = [self.pair() for _ in range(count)]
        return [rid for rid, attributes in pairs if _require_usable(attributes)]

    def extra_sids(self, pointer: int, count: int) -> list[Sid]:
        """An array of KERB_SID_AND_ATTRIBUTES, [MS-PAC] 2.2.1, and behind it the SIDs its pointers lead to."""
        if not self._is_array(pointer, count, "ExtraSids"):
            return []
        pairs = [self.pair() for _ in range(count)]
        if not all(sid_pointer for sid_pointer, _ in pairs):
            raise BadRequest("PAC: a SID of ExtraSids is not there")
        sids = [self.sid() for _ in pairs]
        return [sid for sid, (_, attributes) in zip(sids, pairs, strict=True) if _require_usable(attributes)]

    def sid(self) -> Sid:
        """RPC_SID, its number of sub-authorities in front as NDR has it. [MS-DTYP] 2.4.2.3."""
        count = self.uint32()
        start = self._take(8)
        revision, again = self._data[start], self._data[start + 1]
        if revision != 1 or again != count or not 0 < count <= _SUB_AUTHORITIES:
            raise BadRequest("PAC: a SID is not one")
        authority = int.from_bytes(self._data[start + 2 : start + 8], "big")
        if authority >= 1 << 32:
            raise BadRequest("PAC: a SID has an authority that nobody issued")
        numbers = struct.unpack_from(f"<{count}I", self._data, self._take(4 * count))
        return Sid("-".join(map(str, ("S-1", authority, *numbers))))

    def finish(self) -> None:
        if len(self._data) - self._at > 8:  # the encoder pads to a multiple of eight
            raise BadRequest("PAC: something follows the logon information")

    def _is_array(self, pointer: int, count: int, name: str) -> bool:
        """Whether there is an array; its own count, in front of it, has to be the field's."""
        if not pointer:
            if count:
                raise BadRequest(f"PAC: {name} has a number and no members")
            return False
        if count > MAX_SIDS:
            raise BadRequest(f"PAC: {count} members of {name}; {MAX_SIDS} are taken")
        if self.uint32() != count:
            raise BadRequest(f"PAC: {name} has two different numbers of members")
        return True

    def _take(self, count: int) -> int:
        """Where the next `count` bytes begin."""
        start = self._at
        if start + count > len(self._data):
            raise BadRequest("PAC: the logon information is cut off")
        self._at = start + count
        return start
