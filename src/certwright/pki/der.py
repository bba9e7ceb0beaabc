"""DER, and only DER: a bounded reader of tag-length-value and the encoders for what we write. ITU-T X.690 8, 10, 11.

Refused: indefinite and non-minimal lengths, tag numbers above 30 (nothing we read has them), lengths beyond the
enclosing value, trailing bytes. The reader never recurses. Values are slices of the original bytes, so that what was
signed stays what was signed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from certwright.pki.errors import EncodingError, TooLarge

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
ENUMERATED: Final = 0x0A
UTF8_STRING: Final = 0x0C
NUMERIC_STRING: Final = 0x12
PRINTABLE_STRING: Final = 0x13
TELETEX_STRING: Final = 0x14
IA5_STRING: Final = 0x16
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
VISIBLE_STRING: Final = 0x1A
UNIVERSAL_STRING: Final = 0x1C
BMP_STRING: Final = 0x1E
SEQUENCE: Final = 0x30
SET: Final = 0x31

MAX_CHILDREN: Final = 10_000
MAX_INTEGER_OCTETS: Final = 2_100  # an RSA modulus of 16384 bits and its sign octet
MAX_OID_OCTETS: Final = 64
_MAX_OID_CHARACTERS: Final = 4 * MAX_OID_OCTETS  # an octet of contents is at most three digits and a dot

_TAG_NAMES: Final = {
    BOOLEAN: "BOOLEAN",
    INTEGER: "INTEGER",
    BIT_STRING: "BIT STRING",
    OCTET_STRING: "OCTET STRING",
    NULL: "NULL",
    OBJECT_IDENTIFIER: "OBJECT IDENTIFIER",
    ENUMERATED: "ENUMERATED",
    UTF8_STRING: "UTF8String",
    NUMERIC_STRING: "NumericString",
    PRINTABLE_STRING: "PrintableString",
    TELETEX_STRING: "TeletexString",
    IA5_STRING: "IA5String",
    UTC_TIME: "UTCTime",
    GENERALIZED_TIME: "GeneralizedTime",
    VISIBLE_STRING: "VisibleString",
    UNIVERSAL_STRING: "UniversalString",
    BMP_STRING: "BMPString",
    SEQUENCE: "SEQUENCE",
    SET: "SET",
}
_STRING_CODECS: Final = {
    UTF8_STRING: "utf-8",
    NUMERIC_STRING: "ascii",
    PRINTABLE_STRING: "ascii",
    TELETEX_STRING: "latin-1",  # what everybody writes into it, whatever T.61 says
    IA5_STRING: "ascii",
    VISIBLE_STRING: "ascii",
    UNIVERSAL_STRING: "utf-32-be",
    BMP_STRING: "utf-16-be",
}
STRING_TAGS: Final = frozenset(_STRING_CODECS)
_PRINTABLE: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")


def tag_name(tag: int) -> str:
    """`SEQUENCE`, `[0]`, ...: how messages for people call a tag."""
    if tag & 0xC0:
        return f"[{tag & 0x1F}]"
    return _TAG_NAMES.get(tag, f"tag {tag:#04x}")


# -- reading ---------------------------------------------------------------------------------------------------------


class Tlv(NamedTuple):
    """Where one element lies in its data: header at `header_start`, contents from `start` to `end`."""

    tag: int
    header_start: int
    start: int
    end: int

    def content(self, data: bytes) -> bytes:
        return data[self.start : self.end]

    def whole(self, data: bytes) -> bytes:
        return data[self.header_start : self.end]

    @property
    def is_constructed(self) -> bool:
        return bool(self.tag & 0x20)


def read_tlv(data: bytes, offset: int = 0, end: int | None = None) -> Tlv:
    """The element at `offset`, which must end by `end`.

    Raises:
        EncodingError: it is cut off, not DER, or reaches beyond `end`.
    """
    limit = len(data) if end is None else end
    if offset + 2 > limit:
        raise EncodingError(f"cut off at offset {offset}: an element was expected")
    tag = data[offset]
    length = data[offset + 1]
    start = offset + 2
    if tag & 0x1F == 0x1F:
        raise EncodingError(f"tag number above 30 at offset {offset}")
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4:
            raise EncodingError(f"length form {length:#04x} at offset {offset} is not DER")
        start += count
        if start > limit:
            raise EncodingError(f"cut off at offset {offset}: the length is incomplete")
        length = int.from_bytes(data[offset + 2 : start], "big")
        if length < 0x80 or length >> (8 * count - 8) == 0:
            raise EncodingError(f"length at offset {offset} is not minimal")
    stop = start + length
    if stop > limit:
        raise EncodingError(f"element at offset {offset} is {stop - limit} bytes longer than what holds it")
    return Tlv(tag, offset, start, stop)


def children(data: bytes, parent: Tlv | None = None, *, limit: int = MAX_CHILDREN) -> Iterator[Tlv]:
    """The elements directly inside `parent`, or those that make up `data`.

    Raises:
        EncodingError: one of them is not DER.
        TooLarge: there are more than `limit`.
    """
    offset, end = (0, len(data)) if parent is None else (parent.start, parent.end)
    count = 0
    while offset < end:
        if count == limit:
            raise TooLarge(f"more than {limit} elements in one value")
        element = read_tlv(data, offset, end)
        yield element
        offset = element.end
        count += 1


def require_single(data: bytes, tag: int | None = None, what: str = "data") -> Tlv:
    """The one element that `data` is, whole and with nothing behind it.

    Raises:
        EncodingError: it is none, another one, or something follows.
    """
    start = _start_of_all(data)
    if start and (tag is None or data[0] == tag):
        return Tlv(data[0], 0, start, len(data))
    element = read_tlv(data)
    if tag is not None and element.tag != tag:
        raise EncodingError(f"{what}: expected {tag_name(tag)}, found {tag_name(element.tag)}")
    if element.end != len(data):
        raise EncodingError(f"{what}: {len(data) - element.end} bytes follow its end")
    return element


def _start_of_all(data: bytes) -> int:
    """Where the contents of the one element begin that `data` is; 0 when a closer look is needed."""
    length = len(data)
    if length < 2 or data[0] & 0x1F == 0x1F:
        return 0
    if data[1] == length - 2 < 0x80:
        return 2
    if length > 0x102 and data[1] == 0x82 and data[2] << 8 | data[3] == length - 4 >= 0x100:
        return 4
    return 0


def start_of(data: bytes, offset: int) -> int:
    """Where the contents of the element at `offset` begin. Only for what is known to be DER."""
    length = data[offset + 1]
    return offset + 2 if length < 0x80 else offset + 2 + (length & 0x7F)


def end_of(data: bytes, offset: int) -> int:
    """Where the element at `offset` ends. Only for what is known to be DER."""
    return boundaries(data, offset, 1)[1]


def boundaries(data: bytes, offset: int, count: int) -> list[int]:
    """Where each of `count` elements in a row begins, and where the last ends. Only for what is known to be DER."""
    found = [offset]
    for _ in range(count):
        length = data[offset + 1]
        if length < 0x80:
            offset += 2 + length
        else:
            start = offset + 2 + (length & 0x7F)
            offset = start + int.from_bytes(data[offset + 2 : start], "big")
        found.append(offset)
    return found


class Reader:
    """Takes the elements of one value in order; `what` is how errors call that value."""

    __slots__ = ("_end", "data", "offset", "what")

    def __init__(self, data: bytes, offset: int = 0, end: int | None = None, what: str = "data") -> None:
        self.data = data
        self.offset = offset
        self._end = len(data) if end is None else end
        self.what = what

    @classmethod
    def of(cls, data: bytes, tag: int = SEQUENCE, what: str = "data") -> Reader:
        """A reader inside the one element that `data` is."""
        element = require_single(data, tag, what)
        return cls(data, element.start, element.end, what)

    @property
    def next_tag(self) -> int:
        """Tag of the next element, -1 at the end."""
        return self.data[self.offset] if self.offset < self._end else -1

    def read(self, tag: int | None = None) -> Tlv:
        """The next element. Raises `EncodingError` when there is none or it has another tag."""
        try:
            element = read_tlv(self.data, self.offset, self._end)
        except EncodingError as error:
            raise EncodingError(f"{self.what}: {error}") from error
        if tag is not None and element.tag != tag:
            raise EncodingError(
                f"{self.what}: expected {tag_name(tag)} at offset {self.offset}, found {tag_name(element.tag)}"
            )
        self.offset = element.end
        return element

    def optional(self, tag: int) -> Tlv | None:
        """The next element if it has `tag`."""
        return self.read(tag) if self.next_tag == tag else None

    def whole(self, tag: int | None = None) -> bytes:
        """Header and contents of the next element."""
        begin = self.offset
        self._pass(tag)
        return self.data[begin : self.offset]

    def content(self, tag: int | None = None) -> bytes:
        """Contents of the next element."""
        start = self._pass(tag)
        return self.data[start : self.offset]

    def enter(self, tag: int = SEQUENCE) -> Reader:
        """A reader inside the next element."""
        start = self._pass(tag)
        return Reader(self.data, start, self.offset, self.what)

    def _pass(self, tag: int | None) -> int:
        """Go to the end of the next element; gives where its contents start. Short ones, the most, by a short way."""
        data, offset = self.data, self.offset
        start = offset + 2
        if start <= self._end and (tag is None or data[offset] == tag):
            stop = start + data[offset + 1]
            if stop - start < 0x80 and stop <= self._end and data[offset] & 0x1F != 0x1F:
                self.offset = stop
                return start
        return self.read(tag).start

    def oid(self) -> str:
        return decode_oid(self.content(OBJECT_IDENTIFIER))

    def integer(self) -> int:
        return decode_integer(self.content(INTEGER))

    def string(self) -> str:
        element = self.read()
        return decode_string(element.tag, element.content(self.data))

    def time(self) -> datetime:
        element = self.read()
        return decode_time(element.tag, element.content(self.data))

    def finish(self) -> None:
        """Raises:
        EncodingError: something is left.
        """
        if self.offset != self._end:
            raise EncodingError(f"{self.what}: unexpected {tag_name(self.next_tag)} at offset {self.offset}")


# -- decoding contents -----------------------------------------------------------------------------------------------


def decode_boolean(content: bytes) -> bool:
    if content not in (b"\x00", b"\xff"):
        raise EncodingError("a BOOLEAN is neither TRUE nor FALSE")
    return content == b"\xff"


def decode_integer(content: bytes) -> int:
    if not content:
        raise EncodingError("an INTEGER has no contents")
    if len(content) > MAX_INTEGER_OCTETS:
        raise TooLarge(f"an INTEGER of {len(content)} octets")
    if len(content) > 1 and (content[0], content[1] & 0x80) in ((0x00, 0x00), (0xFF, 0x80)):
        raise EncodingError("an INTEGER is not minimal")
    return int.from_bytes(content, "big", signed=True)


def decode_bit_string(content: bytes) -> tuple[bytes, int]:
    """The octets of a BIT STRING and how many of the last bits are unused."""
    if not content or content[0] > 7 or (content[0] and len(content) == 1):
        raise EncodingError("a BIT STRING has a wrong count of unused bits")
    unused, octets = content[0], content[1:]
    if unused and octets[-1] & ((1 << unused) - 1):
        raise EncodingError("unused bits of a BIT STRING are set")
    return octets, unused


@functools.lru_cache(maxsize=4096)
def decode_oid(content: bytes) -> str:
    """An OBJECT IDENTIFIER's contents as a dotted string."""
    if not content or content[-1] & 0x80:
        raise EncodingError("an OBJECT IDENTIFIER is incomplete")
    if len(content) > MAX_OID_OCTETS:
        raise TooLarge(f"an OBJECT IDENTIFIER of {len(content)} octets")
    arcs: list[int] = []
    value = 0
    fresh = True
    for octet in content:
        if fresh and octet == 0x80:
            raise EncodingError("an OBJECT IDENTIFIER is not minimal")
        value = value << 7 | octet & 0x7F
        fresh = not octet & 0x80
        if fresh:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def decode_string(tag: int, content: bytes) -> str:
    """Any of the ASN.1 string types as text."""
    codec = _STRING_CODECS.get(tag)
    if codec is None:
        raise EncodingError(f"expected a string, found {tag_name(tag)}")
    try:
        return content.decode(codec)
    except UnicodeDecodeError as error:
        raise EncodingError(f"a {tag_name(tag)} holds bytes that are no text") from error


def decode_time(tag: int, content: bytes) -> datetime:
    """A UTCTime or GeneralizedTime in the one form RFC 5280 4.1.2.5 allows: seconds, and Z."""
    text = content.decode("ascii", "replace")
    if tag == UTC_TIME and len(text) == 13:
        text = ("20" if text[:2] < "50" else "19") + text
    elif not (tag == GENERALIZED_TIME and len(text) == 15):
        raise EncodingError(f"expected a time, found {tag_name(tag)} of {len(content)} octets")
    if text[-1] != "Z" or not (text[:-1].isascii() and text[:-1].isdigit()):
        raise EncodingError("a time is not written as digits and Z")
    parts = (text[0:4], text[4:6], text[6:8], text[8:10], text[10:12], text[12:14])
    try:
        return datetime(*map(int, parts), tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError as error:
        raise EncodingError(f"the time {text} does not exist") from error


# -- encoding --------------------------------------------------------------------------------------------------------


def header(tag: int, length: int) -> bytes:
    """Tag and length of an element whose contents are `length` bytes."""
    if length < 0x80:
        return bytes((tag, length))
    if length < 0x100:
        return bytes((tag, 0x81, length))
    if length < 0x10000:
        return bytes((tag, 0x82, length >> 8, length & 0xFF))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets


def tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    return (bytes((tag, length)) if length < 0x80 else header(tag, length)) + content


def sequence(*parts: bytes) -> bytes:
    return tlv(SEQUENCE, b"".join(parts))


def set_of(*parts: bytes) -> bytes:
    """SET OF: the elements sorted by their encodings. X.690 11.6."""
    return tlv(SET, b"".join(sorted(parts)))


def integer(value: int) -> bytes:
    return tlv(INTEGER, _integer_content(value))


def enumerated(value: int) -> bytes:
    return tlv(ENUMERATED, _integer_content(value))


def _integer_content(value: int) -> bytes:
    bits = value.bit_length() if value >= 0 else (value + 1).bit_length()
    return value.to_bytes(bits // 8 + 1, "big", signed=True)


@functools.lru_cache(maxsize=4096)
def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER. Raises `EncodingError` when `dotted` is none."""
    if len(dotted) > _MAX_OID_CHARACTERS:
        raise TooLarge(f"an object identifier of {len(dotted)} characters")
    parts = dotted.split(".")
    if len(parts) < 2 or not all(part.isascii() and part.isdigit() and str(int(part)) == part for part in parts):
        raise EncodingError(f"{dotted!r} is no object identifier")
    first, second, *rest = map(int, parts)
    if first > 2 or (first < 2 and second > 39):
        raise EncodingError(f"{dotted!r} is no object identifier")
    content = bytearray()
    for arc in (first * 40 + second, *rest):
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(arc & 0x7F | 0x80)
        content += bytes(reversed(octets))
    if len(content) > MAX_OID_OCTETS:
        raise TooLarge(f"an object identifier of {len(content)} octets")
    return tlv(OBJECT_IDENTIFIER, bytes(content))


def octet_string(value: bytes) -> bytes:
    return tlv(OCTET_STRING, value)


def bit_string(value: bytes, unused: int = 0) -> bytes:
    return tlv(BIT_STRING, bytes((unused,)) + value)


def named_bits(value: bytes) -> bytes:
    """A BIT STRING of named bits: trailing zero bits are not written. X.690 11.2.2."""
    value = value.rstrip(b"\x00")
    if not value:
        return bit_string(b"")
    unused = (value[-1] & -value[-1]).bit_length() - 1
    return bit_string(value, unused)


def boolean(value: bool) -> bytes:
    return b"\x01\x01\xff" if value else b"\x01\x01\x00"


def null() -> bytes:
    return b"\x05\x00"


def utf8(text: str) -> bytes:
    return _text(UTF8_STRING, text)


def bmp(text: str) -> bytes:
    """A BMPString as Windows writes it: UTF-16, characters beyond the plane as surrogates."""
    return _text(BMP_STRING, text)


def ia5(text: str, tag: int = IA5_STRING) -> bytes:
    """`tag`: what it is written as where its own tag is replaced (IMPLICIT)."""
    return tlv(tag, text.encode()) if text.isascii() else _text(IA5_STRING, text)


def is_printable(text: str) -> bool:
    """Can a PrintableString hold `text`? X.680 41.4."""
    return _PRINTABLE.issuperset(text)


def printable(text: str) -> bytes:
    """Raises:
    EncodingError: a character is not in PrintableString's alphabet.
    """
    if not is_printable(text):
        raise EncodingError(f"{text!r} has characters that a PrintableString cannot hold")
    return _text(PRINTABLE_STRING, text)


def _text(tag: int, text: str) -> bytes:
    try:
        return tlv(tag, text.encode(_STRING_CODECS[tag]))
    except UnicodeEncodeError as error:
        raise EncodingError(f"{text!r} has characters that a {tag_name(tag)} cannot hold") from error


def utc_or_generalized_time(when: datetime) -> bytes:
    """A Time: UTCTime from 1950 to 2049, GeneralizedTime otherwise; whole seconds. RFC 5280 4.1.2.5.

    Raises:
        ValueError: `when` has no time zone.
    """
    if when.tzinfo is None:
        raise ValueError("a time without a time zone cannot be encoded")
    when = when if when.tzinfo is UTC else when.astimezone(UTC)
    digits = f"{when.year:04d}{when.month:02d}{when.day:02d}{when.hour:02d}{when.minute:02d}{when.second:02d}Z"
    if 1950 <= when.year < 2050:
        return tlv(UTC_TIME, digits[2:].encode("ascii"))
    return tlv(GENERALIZED_TIME, digits.encode("ascii"))


def explicit(number: int, element: bytes) -> bytes:
    """`[number] EXPLICIT`: the element in one more wrapping."""
    return tlv(0xA0 | number, element)


def implicit(number: int, element: bytes) -> bytes:
    """`[number] IMPLICIT`: the element with its tag replaced."""
    return bytes((0x80 | number | element[0] & 0x20,)) + element[1:]
