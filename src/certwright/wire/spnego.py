"""SPNEGO: which mechanism, and the mechanism's tokens inside. RFC 4178, [MS-SPNG] 2.2, RFC 2743 3.1 (outer frame).

Values in, bytes out, and back; `auth.spnego` holds the conversation. Parsers are bounded and raise `BadRequest` only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Self

from certwright.adcs.errors import BadRequest
from certwright.pki import der, oids
from certwright.pki.errors import EncodingError

MAX_TOKEN: Final = 64 * 1024
"""Longest token taken, in bytes: a Kerberos ticket with many groups is the largest."""
MAX_MECHANISMS: Final = 16

_FRAME = 0x60  # [APPLICATION 0]
_INIT = 0xA0
_RESPONSE = 0xA1


class NegState(IntEnum):
    ACCEPT_COMPLETED = 0
    ACCEPT_INCOMPLETE = 1
    REJECT = 2
    REQUEST_MIC = 3


@dataclass(frozen=True, slots=True)
class NegTokenInit:
    """The client's first token. RFC 4178 4.2.1; the hints a server may send there ([MS-SPNG] 2.2.1) are passed over.

    `mechanism_list` is the DER of MechTypeList as it was received: what a mechListMIC covers.
    """

    mechanisms: tuple[str, ...]
    token: bytes | None = None
    mic: bytes | None = None
    mechanism_list: bytes = field(default=b"", repr=False, compare=False)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """With the frame of RFC 2743 around it or, as some clients send it, without.

        Raises:
            BadRequest: not a NegTokenInit in DER, or no mechanism in it, or too many.
        """
        _require_size(data)
        try:
            if data[:1] == bytes((_FRAME,)):
                frame = der.Reader.of(data, _FRAME, "GSS token")
                if frame.oid() != oids.SPNEGO:
                    raise BadRequest("a GSS token of another mechanism, not SPNEGO")
                choice = frame.enter(_INIT)
                frame.finish()
            else:
                choice = der.Reader.of(data, _INIT, "NegTokenInit")
            return cls._read(choice)
        except EncodingError as error:
            raise BadRequest(f"SPNEGO: {error}") from error

    @classmethod
    def _read(cls, choice: der.Reader) -> Self:
        content = choice.enter()
        choice.finish()
        wrapped = content.enter(0xA0)
        mechanism_list = wrapped.whole(der.SEQUENCE)
        wrapped.finish()
        elements = list(der.children(mechanism_list, der.read_tlv(mechanism_list), limit=MAX_MECHANISMS))
        if not elements or any(element.tag != der.OBJECT_IDENTIFIER for element in elements):
            raise EncodingError("the list of mechanisms is empty or holds something else")
        mechanisms = tuple(der.decode_oid(element.content(mechanism_list)) for element in elements)
        content.optional(0xA1)  # reqFlags: "should not be used", RFC 4178 4.2.1
        token = _octets(content, 0xA2)
        mic = None
        for tag in (0xA3, 0xA4):  # mechListMIC; with [MS-SPNG]'s hints in its place it moves one up
            part = content.optional(tag)
            if part is not None and content.data[part.start : part.start + 1] == bytes((der.OCTET_STRING,)):
                mic = der.require_single(part.content(content.data), der.OCTET_STRING).content(
                    part.content(content.data)
                )
        content.finish()
        return cls(mechanisms, token, mic, mechanism_list)

    def encode(self) -> bytes:
        parts = [der.explicit(0, encode_mechanisms(self.mechanisms))]
        if self.token is not None:
            parts.append(der.explicit(2, der.octet_string(self.token)))
        if self.mic is not None:
            parts.append(der.explicit(3, der.octet_string(self.mic)))
        return der.tlv(_FRAME, der.oid(oids.SPNEGO) + der.explicit(0, der.sequence(*parts)))


@dataclass(frozen=True, slots=True)
class NegTokenResp:
    """Every later token, of either side. RFC 4178 4.2.2."""

    state: NegState | None = None
    mechanism: str | None = None
    token: bytes | None = None
    mic: bytes | None = None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises:
        BadRequest: not a NegTokenResp in DER.
        """
        _require_size(data)
        try:
            choice = der.Reader.of(data, _RESPONSE, "NegTokenResp")
            content = choice.enter()
            choice.finish()
            state = mechanism = None
            if content.next_tag == 0xA0:
                state = NegState(der.decode_integer(_single(content, 0xA0, der.ENUMERATED)))
            if content.next_tag == 0xA1:
                mechanism = der.decode_oid(_single(content, 0xA1, der.OBJECT_IDENTIFIER))
            token = _octets(content, 0xA2)
            mic = _octets(content, 0xA3)
            content.finish()
        except ValueError as error:
            raise BadRequest(f"SPNEGO: {error}") from error
        if mic is not None and mic == token:
            mic = None  # Windows 2000 repeats the token there
        return cls(state, mechanism, token, mic)

    def encode(self) -> bytes:
        parts = []
        if self.state is not None:
            parts.append(der.explicit(0, der.enumerated(self.state)))
        if self.mechanism is not None:
            parts.append(der.explicit(1, der.oid(self.mechanism)))
        if self.token is not None:
            parts.append(der.explicit(2, der.octet_string(self.token)))
        if self.mic is not None:
            parts.append(der.explicit(3, der.octet_string(self.mic)))
        return der.explicit(1, der.sequence(*parts))


def encode_mechanisms(mechanisms: tuple[str, ...]) -> bytes:
    """MechTypeList in DER: what a mechListMIC covers."""
    return der.sequence(*(der.oid(mechanism) for mechanism in mechanisms))


def is_initial(token: bytes) -> bool:
    """Whether a token begins a conversation: framed by RFC 2743, or a bare NegTokenInit."""
    return token[:1] in (b"\x60", b"\xa0")


def framed_mechanism(token: bytes) -> str | None:
    """The mechanism an initial token is framed for (RFC 2743 3.1), None when it is not framed or not DER."""
    try:
        return der.Reader.of(token, _FRAME, "GSS token").oid()
    except EncodingError:
        return None


def _require_size(data: bytes) -> None:
    if len(data) > MAX_TOKEN:
        raise BadRequest(f"SPNEGO token of {len(data)} bytes; {MAX_TOKEN} are taken")


def _single(reader: der.Reader, wrapper: int, tag: int) -> bytes:
    inner = reader.enter(wrapper)
    content = inner.content(tag)
    inner.finish()
    return content


def _octets(reader: der.Reader, wrapper: int) -> bytes | None:
    return _single(reader, wrapper, der.OCTET_STRING) if reader.next_tag == wrapper else None
