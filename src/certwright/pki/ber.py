"""BER made DER, for messages of clients that stream: indefinite and padded lengths, strings in pieces.

ITU-T X.690 8.1.3, 8.7.3, 10.1, 10.2. Cisco devices and Bouncy Castle write CMS so, and OpenSSL does with `-stream`.
What is DER already comes back unchanged, byte for byte. Order inside sets is kept: what was signed must stay in it.
One thing needs knowledge of the type and is left to whoever has it: an OCTET STRING in pieces under an IMPLICIT tag.
"""

from __future__ import annotations

from typing import Final

from certwright.pki import der
from certwright.pki.errors import EncodingError, TooLarge

MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 50_000
MAX_OCTETS: Final = 4 << 20

_CONSTRUCTED: Final = 0x20
_STRING_IN_PIECES: Final = der.OCTET_STRING | _CONSTRUCTED


def to_der(data: bytes, *, max_depth: int = MAX_DEPTH, max_octets: int = MAX_OCTETS) -> bytes:
    """The one element that `data` is, in definite minimal lengths and with whole strings.

    Raises:
        EncodingError: it is no BER, is cut off, or something follows it.
        TooLarge: it is longer, deeper or has more elements than allowed.
    """
    if len(data) > max_octets:
        raise TooLarge(f"{len(data)} octets; at most {max_octets} are read")
    if _is_der(data, max_depth):
        return data
    element, end = _Normaliser(data, max_depth).element()
    if end != len(data):
        raise EncodingError(f"{len(data) - end} bytes follow the end")
    return element if element != data else data


def _is_der(data: bytes, max_depth: int) -> bool:
    """Is there nothing to do? A quick look at every length, since most messages are DER; False where in doubt."""
    ends: list[int] = []
    offset, end, size = 0, len(data), len(data)
    for _ in range(MAX_ELEMENTS):
        if offset + 2 > end:
            return False
        tag, length, start = data[offset], data[offset + 1], offset + 2
        if tag & 0x1F == 0x1F or tag in (0, _STRING_IN_PIECES):
            return False
        if length >= 0x80:
            start += length & 0x7F
            if length > 0x84 or length == 0x80 or start > end:
                return False
            length = int.from_bytes(data[offset + 2 : start])
            if length < 0x80 or data[offset + 2] == 0:
                return False
        stop = start + length
        if stop > end or (offset == 0 and stop != size):
            return False
        if tag & _CONSTRUCTED:
            if len(ends) == max_depth:
                return False
            ends.append(end)
            offset, end = start, stop
        else:
            offset = stop
        while offset == end:
            if not ends:
                return True
            end = ends.pop()
    return False


class _Open:
    """A constructed element whose contents are being read."""

    __slots__ = ("end", "parts", "tag")

    def __init__(self, tag: int, end: int) -> None:
        self.tag = tag
        self.end = end  # -1: until the end-of-contents octets
        self.parts: list[bytes] = []

    def closed(self) -> bytes:
        if self.tag == _STRING_IN_PIECES:
            return der.tlv(der.OCTET_STRING, b"".join(map(_piece, self.parts)))
        return der.tlv(self.tag, b"".join(self.parts))


def _piece(element: bytes) -> bytes:
    if element[0] != der.OCTET_STRING:
        raise EncodingError(f"an OCTET STRING in pieces holds {der.tag_name(element[0])}")
    return element[der.start_of(element, 0) :]


class _Normaliser:
    """Walks without recursion: how deep the data goes is the sender's choice."""

    def __init__(self, data: bytes, max_depth: int) -> None:
        self._data = data
        self._max_depth = max_depth

    def element(self) -> tuple[bytes, int]:
        """The first element as DER, and where it ends."""
        data, offset, count = self._data, 0, 0
        stack: list[_Open] = []
        while True:
            count += 1
            if count > MAX_ELEMENTS:
                raise TooLarge(f"more than {MAX_ELEMENTS} elements")
            limit = next((opened.end for opened in reversed(stack) if opened.end >= 0), len(data))
            tag, start, end = self._header(offset, limit)
            finished: bytes | None = None
            if tag == 0 and start == end:
                if not stack or stack[-1].end >= 0:
                    raise EncodingError(f"end of contents at offset {offset} where nothing is open")
                offset, finished = start, stack.pop().closed()
            elif tag & _CONSTRUCTED:
                if len(stack) == self._max_depth:
                    raise TooLarge(f"nested deeper than {self._max_depth}")
                offset = start
                stack.append(_Open(tag, end))
            else:
                if end < 0:
                    raise EncodingError(f"a primitive element of indefinite length at offset {offset}")
                offset, finished = end, der.tlv(tag, data[start:end])
            while finished is not None or (stack and stack[-1].end == offset):
                if finished is None:
                    finished = stack.pop().closed()
                if not stack:
                    return finished, offset
                stack[-1].parts.append(finished)
                finished = None

    def _header(self, offset: int, limit: int) -> tuple[int, int, int]:
        """Tag, where the contents start and where they end; -1 for an end not known yet."""
        data = self._data
        if offset + 2 > limit:
            raise EncodingError(f"cut off at offset {offset}: an element was expected")
        tag, length = data[offset], data[offset + 1]
        if tag & 0x1F == 0x1F:
            raise EncodingError(f"tag number above 30 at offset {offset}")
        start = offset + 2
        if length == 0x80:
            return tag, start, -1
        if length & 0x80:
            count = length & 0x7F
            start += count
            if count > 8 or start > limit:
                raise EncodingError(f"the length at offset {offset} is incomplete or too long")
            length = int.from_bytes(data[offset + 2 : start])
        end = start + length
        if end > limit:
            raise EncodingError(f"element at offset {offset} is {end - limit} bytes longer than what holds it")
        return tag, start, end
