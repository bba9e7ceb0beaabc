"""The three messages of NTLM, and what stands inside them. [MS-NLMP] 2.2.1, 2.2.2.

Values in, bytes out, and back; no secret is known here and nothing is proved: that is `auth.ntlm`. Every parser is
bounded and raises `BadRequest` only. Responses of NTLM version 1 can be read (as bytes), never be made.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final, Self

from certwright.adcs.errors import BadRequest

SIGNATURE: Final = b"NTLMSSP\x00"
MAX_MESSAGE: Final = 8 * 1024
"""Longest message taken, in bytes: names and target information of a real one need less than 2 KiB."""
MAX_NAME: Final = 512
"""Longest domain, user or workstation name taken, in bytes."""
MAX_PAIRS: Final = 64
CHALLENGE_LENGTH: Final = 8
MIC_LENGTH: Final = 16
V1_RESPONSE_LENGTH: Final = 24

VERSION: Final = bytes((10, 0)) + (20348).to_bytes(2, "little") + bytes((0, 0, 0, 15))
"""Windows 10.0, any build, NTLMSSP_REVISION_W2K3: for debugging only, nobody may rely on it. 2.2.2.10."""

_NEGOTIATE_HEADER = 32
_CHALLENGE_HEADER = 48
_AUTHENTICATE_HEADER = 64
_VERSION_LENGTH = 8
_FIELDS = struct.Struct("<HHI")
_UINT32 = struct.Struct("<I")


class MessageType(IntEnum):
    NEGOTIATE = 1
    CHALLENGE = 2
    AUTHENTICATE = 3


class NegotiateFlags(IntFlag):
    """NEGOTIATE of every message. [MS-NLMP] 2.2.2.5."""

    UNICODE = 0x00000001
    OEM = 0x00000002
    REQUEST_TARGET = 0x00000004
    SIGN = 0x00000010
    SEAL = 0x00000020
    DATAGRAM = 0x00000040
    LM_KEY = 0x00000080
    NTLM = 0x00000200
    ANONYMOUS = 0x00000800
    OEM_DOMAIN_SUPPLIED = 0x00001000
    OEM_WORKSTATION_SUPPLIED = 0x00002000
    ALWAYS_SIGN = 0x00008000
    TARGET_TYPE_DOMAIN = 0x00010000
    TARGET_TYPE_SERVER = 0x00020000
    EXTENDED_SESSION_SECURITY = 0x00080000
    IDENTIFY = 0x00100000
    REQUEST_NON_NT_SESSION_KEY = 0x00400000
    TARGET_INFO = 0x00800000
    VERSION = 0x02000000
    KEY_128 = 0x20000000
    KEY_EXCHANGE = 0x40000000
    KEY_56 = 0x80000000


class AvId(IntEnum):
    """What an AV pair holds. [MS-NLMP] 2.2.2.1."""

    EOL = 0
    NETBIOS_COMPUTER_NAME = 1
    NETBIOS_DOMAIN_NAME = 2
    DNS_COMPUTER_NAME = 3
    DNS_DOMAIN_NAME = 4
    DNS_TREE_NAME = 5
    FLAGS = 6
    TIMESTAMP = 7
    SINGLE_HOST = 8
    TARGET_NAME = 9
    CHANNEL_BINDINGS = 10


class AvFlags(IntFlag):
    """MsvAvFlags."""

    CONSTRAINED = 0x1
    MIC_PRESENT = 0x2
    UNTRUSTED_SPN = 0x4


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """A list of AV pairs without its end mark, in the order in which they stand. [MS-NLMP] 2.2.2.1."""

    pairs: tuple[tuple[int, bytes], ...] = ()
    _by_id: Mapping[int, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", dict(self.pairs))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Pairs up to the end mark; what follows it is padding.

        Raises:
            BadRequest: cut off, more than `MAX_PAIRS`, or a pair stands twice (which of the two would be meant?).
        """
        pairs: list[tuple[int, bytes]] = []
        seen: set[int] = set()
        offset = 0
        while offset + 4 <= len(data):
            av_id = data[offset] | data[offset + 1] << 8
            length = data[offset + 2] | data[offset + 3] << 8
            offset += 4
            if av_id == AvId.EOL:
                return cls(tuple(pairs))
            if offset + length > len(data):
                raise BadRequest("NTLM target information: a pair is cut off")
            if av_id in seen or len(pairs) == MAX_PAIRS:
                raise BadRequest(f"NTLM target information: pair {av_id} stands twice, or there are too many")
            seen.add(av_id)
            pairs.append((av_id, data[offset : offset + length]))
            offset += length
        raise BadRequest("NTLM target information: the end mark is missing")

    def encode(self) -> bytes:
        parts = [struct.pack("<HH", av_id, len(value)) + value for av_id, value in self.pairs]
        return b"".join(parts) + bytes(4)

    def get(self, av_id: AvId) -> bytes | None:
        return self._by_id.get(av_id)

    @property
    def flags(self) -> AvFlags:
        """MsvAvFlags; none when the pair is absent or has not four bytes."""
        value = self._by_id.get(AvId.FLAGS, b"")
        return AvFlags(int.from_bytes(value, "little")) if len(value) == 4 else AvFlags(0)

    @property
    def channel_bindings(self) -> bytes | None:
        """MsvAvChannelBindings; None when the client sent none, which all zeroes mean as well. 2.2.2.1."""
        value = self._by_id.get(AvId.CHANNEL_BINDINGS)
        return value if value is not None and any(value) else None

    @property
    def target_name(self) -> str:
        """The service principal name the client believes to talk to; empty when it said nothing."""
        return self._by_id.get(AvId.TARGET_NAME, b"").decode("utf-16-le", "replace")


@dataclass(frozen=True, slots=True)
class NegotiateMessage:
    """Type 1: what the client can. [MS-NLMP] 2.2.1.1. The names are OEM bytes; nobody needs them."""

    flags: NegotiateFlags
    domain: bytes = b""
    workstation: bytes = b""
    version: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Old clients send the first 16 bytes only.

        Raises:
            BadRequest: not a type 1 message, or cut off.
        """
        _require(data, MessageType.NEGOTIATE, 16)
        flags = NegotiateFlags(_UINT32.unpack_from(data, 12)[0])
        domain = workstation = version = b""
        if len(data) >= _NEGOTIATE_HEADER:
            domain = _payload(data, 16, MAX_NAME)
            workstation = _payload(data, 24, MAX_NAME)
        if flags & NegotiateFlags.VERSION and len(data) >= _NEGOTIATE_HEADER + _VERSION_LENGTH:
            version = data[_NEGOTIATE_HEADER : _NEGOTIATE_HEADER + _VERSION_LENGTH]
        return cls(flags, domain, workstation, version)

    def encode(self) -> bytes:
        writer = _Writer(MessageType.NEGOTIATE, _NEGOTIATE_HEADER + len(self.version))
        workstation = writer.put(self.workstation)
        domain = writer.put(self.domain)
        return writer.finish(_UINT32.pack(self.flags) + domain + workstation + self.version)


@dataclass(frozen=True, slots=True)
class ChallengeMessage:
    """Type 2: the server's challenge and what it is called. [MS-NLMP] 2.2.1.2."""

    flags: NegotiateFlags
    server_challenge: bytes
    target_name: str = ""
    target_info: TargetInfo = TargetInfo()
    version: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises:
        BadRequest: not a type 2 message, or cut off.
        """
        _require(data, MessageType.CHALLENGE, _CHALLENGE_HEADER)
        flags = NegotiateFlags(_UINT32.unpack_from(data, 20)[0])
        name = _text(_payload(data, 12, MAX_NAME), flags)
        info = _payload(data, 40, MAX_MESSAGE)
        version = b""
        if flags & NegotiateFlags.VERSION and _first_payload(data, (12, 40)) >= _CHALLENGE_HEADER + _VERSION_LENGTH:
            version = data[_CHALLENGE_HEADER : _CHALLENGE_HEADER + _VERSION_LENGTH]
        return cls(flags, data[24:32], name, TargetInfo.parse(info) if info else TargetInfo(), version)

    def encode(self) -> bytes:
        writer = _Writer(MessageType.CHALLENGE, _CHALLENGE_HEADER + len(self.version))
        name = writer.put(_bytes(self.target_name, self.flags))
        info = writer.put(self.target_info.encode() if self.target_info.pairs else b"")
        return writer.finish(name + _UINT32.pack(self.flags) + self.server_challenge + bytes(8) + info + self.version)


@dataclass(frozen=True, slots=True)
class AuthenticateMessage:
    """Type 3: the client's answer. [MS-NLMP] 2.2.1.3.

    `mic` is None where the message has no place for one; `mic_offset` says where it lies in the bytes.
    """

    flags: NegotiateFlags
    lm_response: bytes
    nt_response: bytes
    domain: str
    user: str
    workstation: str = ""
    session_key: bytes = b""  # EncryptedRandomSessionKey
    version: bytes = b""
    mic: bytes | None = None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises:
        BadRequest: not a type 3 message, cut off, too long, or a name is no text.
        """
        _require(data, MessageType.AUTHENTICATE, _AUTHENTICATE_HEADER)
        flags = NegotiateFlags(_UINT32.unpack_from(data, 60)[0])
        version = b""
        if flags & NegotiateFlags.VERSION and _first_payload(data, _AUTHENTICATE_FIELDS) >= 72:
            version = data[_AUTHENTICATE_HEADER : _AUTHENTICATE_HEADER + _VERSION_LENGTH]
        offset = mic_offset(data)
        return cls(
            flags=flags,
            lm_response=_payload(data, 12, MAX_MESSAGE),
            nt_response=_payload(data, 20, MAX_MESSAGE),
            domain=_text(_payload(data, 28, MAX_NAME), flags),
            user=_text(_payload(data, 36, MAX_NAME), flags),
            workstation=_text(_payload(data, 44, MAX_NAME), flags),
            session_key=_payload(data, 52, MAX_NAME),
            version=version,
            mic=None if offset is None else data[offset : offset + MIC_LENGTH],
        )

    def encode(self) -> bytes:
        version = self.version if self.mic is None else self.version or bytes(_VERSION_LENGTH)
        writer = _Writer(MessageType.AUTHENTICATE, _AUTHENTICATE_HEADER + len(version) + len(self.mic or b""))
        domain = writer.put(_bytes(self.domain, self.flags))
        user = writer.put(_bytes(self.user, self.flags))
        workstation = writer.put(_bytes(self.workstation, self.flags))
        lm = writer.put(self.lm_response)
        nt = writer.put(self.nt_response)
        key = writer.put(self.session_key)
        fields = lm + nt + domain + user + workstation + key
        return writer.finish(fields + _UINT32.pack(self.flags) + version + (self.mic or b""))


_AUTHENTICATE_FIELDS: Final = (12, 20, 28, 36, 44, 52)


def mic_offset(authenticate: bytes) -> int | None:
    """Where the MIC of a type 3 message lies, None when the payload leaves no place for one.

    Behind the version field, which Windows reserves even when it says nothing in it; clients that do not reserve it
    put the MIC right behind the flags.
    """
    first = _first_payload(authenticate, _AUTHENTICATE_FIELDS)
    with_version = _AUTHENTICATE_HEADER + _VERSION_LENGTH
    if first >= with_version + MIC_LENGTH:
        return with_version
    says_version = _UINT32.unpack_from(authenticate, 60)[0] & NegotiateFlags.VERSION.value
    if not says_version and first >= _AUTHENTICATE_HEADER + MIC_LENGTH:
        return _AUTHENTICATE_HEADER
    return None


@dataclass(frozen=True, slots=True)
class NtlmV2Response:
    """NTLMv2_RESPONSE: the proof and the blob it covers. [MS-NLMP] 2.2.2.7, 2.2.2.8."""

    proof: bytes
    blob: bytes  # NTLMv2_CLIENT_CHALLENGE as the client wrote it
    target_info: TargetInfo

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises:
        BadRequest: too short for version 2, or of another version.
        """
        if len(data) < 16 + 28 + 4:
            raise BadRequest("NTLM response: shorter than an NTLMv2 response can be")
        if data[16:18] != b"\x01\x01":
            raise BadRequest("NTLM response: the client challenge is of an unknown version")
        return cls(data[:16], data[16:], TargetInfo.parse(data[44:]))


def message_type(data: bytes) -> MessageType | None:
    """Which of the three messages this is, None when it is no NTLM message at all."""
    if len(data) < 12 or not data.startswith(SIGNATURE):
        return None
    number = _UINT32.unpack_from(data, 8)[0]
    return MessageType(number) if 1 <= number <= 3 else None


# -- fields and texts ------------------------------------------------------------------------------------------------


class _Writer:
    """A header of known length with its payload behind it."""

    def __init__(self, kind: MessageType, header: int) -> None:
        self._kind = kind
        self._offset = header
        self._payload: list[bytes] = []

    def put(self, value: bytes) -> bytes:
        """Append to the payload; returns the field that points at it."""
        entry = _FIELDS.pack(len(value), len(value), self._offset)
        self._payload.append(value)
        self._offset += len(value)
        return entry

    def finish(self, fields: bytes) -> bytes:
        return b"".join((SIGNATURE, _UINT32.pack(self._kind), fields, *self._payload))


def _require(data: bytes, kind: MessageType, length: int) -> None:
    if len(data) > MAX_MESSAGE:
        raise BadRequest(f"NTLM message of {len(data)} bytes; {MAX_MESSAGE} are taken")
    if message_type(data) is not kind:
        raise BadRequest(f"not an NTLM message of type {kind.value}")
    if len(data) < length:
        raise BadRequest(f"NTLM message of type {kind.value}: cut off after {len(data)} bytes")


def _payload(data: bytes, position: int, limit: int) -> bytes:
    length, _, offset = _FIELDS.unpack_from(data, position)
    if not length:
        return b""
    if length > limit or offset + length > len(data):
        raise BadRequest(f"NTLM message: the field at {position} is longer than {limit} bytes or than its message")
    return data[offset : offset + length]


def _first_payload(data: bytes, positions: tuple[int, ...]) -> int:
    """Offset of the first byte any field points at; the length of the message when all are empty."""
    offsets = [_FIELDS.unpack_from(data, position) for position in positions]
    return min((offset for length, _, offset in offsets if length), default=len(data))


def _text(value: bytes, flags: NegotiateFlags) -> str:
    """Unicode where negotiated, else OEM: of that only ASCII, since no code page is ever agreed. 2.2.2.5 (A, B)."""
    try:
        return value.decode("utf-16-le" if flags & NegotiateFlags.UNICODE else "ascii")
    except UnicodeDecodeError as error:
        raise BadRequest("NTLM message: a name is not text in the negotiated character set") from error


def _bytes(value: str, flags: NegotiateFlags) -> bytes:
    return value.encode("utf-16-le") if flags & NegotiateFlags.UNICODE else value.encode("ascii", "replace")
