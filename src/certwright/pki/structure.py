"""DER as it lies there: every element with its tag, place, length and value, for people who look inside. X.690.

Octet and bit strings that hold DER themselves are opened, as in extensions and keys. What is read is bounded in depth
and number of elements; nothing is verified, and what cannot be read any further is shown as hex with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from certwright.pki import der, oids
from certwright.pki.der import Tlv
from certwright.pki.errors import EncodingError

MAX_NODES: Final = 2000
MAX_DEPTH: Final = 24
_HEX_SHOWN: Final = 32
_WRAPPERS: Final = {der.OCTET_STRING: 0, der.BIT_STRING: 1}
"""Strings that may hold DER, with the octets before it: a bit string's count of unused bits."""


@dataclass(frozen=True, slots=True)
class Node:
    """One element. `offset` is where its header begins, `length` that of its contents, both in octets."""

    depth: int
    offset: int
    length: int
    tag: str
    value: str
    opened: bool = False  # what follows lies inside a string


def structure(data: bytes, limit: int = MAX_NODES) -> tuple[Node, ...]:
    """The elements of `data` in their order, at most `limit`; the last one says so where more follow."""
    found: list[Node] = []
    for node in _walk(data, 0, len(data), 0):
        if len(found) == limit:
            found.append(Node(0, node.offset, len(data) - node.offset, "...", f"more than {limit} elements"))
            break
        found.append(node)
    return tuple(found)


def _walk(data: bytes, start: int, end: int, depth: int) -> Iterator[Node]:
    offset = start
    while offset < end:
        try:
            element = der.read_tlv(data, offset, end)
        except EncodingError as error:
            yield Node(depth, offset, end - offset, "unreadable", f"{error}: {_hex(data[offset:end])}")
            return
        yield from _element(data, element, depth)
        offset = element.end


def _element(data: bytes, element: Tlv, depth: int) -> Iterator[Node]:
    tag, length = der.tag_name(element.tag), element.end - element.start
    deeper = depth + 1 < MAX_DEPTH
    if element.is_constructed and deeper:
        yield Node(depth, element.header_start, length, tag, "")
        yield from _walk(data, element.start, element.end, depth + 1)
        return
    inside = element.start + _WRAPPERS.get(element.tag, 0)
    if deeper and element.tag in _WRAPPERS and _holds_der(data, element, inside):
        yield Node(depth, element.header_start, length, tag, "", opened=True)
        yield from _walk(data, inside, element.end, depth + 1)
        return
    yield Node(depth, element.header_start, length, tag, _value(element.tag, element.content(data)))


def _holds_der(data: bytes, element: Tlv, start: int) -> bool:
    """Does a string hold one SEQUENCE or SET, whose members can be read? Anything else is taken for octets."""
    if start >= element.end or data[start] not in (der.SEQUENCE, der.SET):
        return False
    if element.tag == der.BIT_STRING and data[element.start] != 0:
        return False
    try:
        inner = der.read_tlv(data, start, element.end)
        return inner.end == element.end and sum(1 for _child in der.children(data, inner)) >= 0
    except EncodingError:
        return False


def _value(tag: int, content: bytes) -> str:
    reader = _READERS.get(tag)
    if reader is None and tag in der.STRING_TAGS:
        reader = lambda octets: der.decode_string(tag, octets)  # noqa: E731 - one for each kind of string
    if reader is None and tag & 0xC0 and content.isascii() and content.decode("latin-1").isprintable():
        return content.decode("ascii")  # an implicit string, such as a URL in general names
    if reader is None:
        return _hex(content)
    try:
        text = reader(content)
    except EncodingError as error:
        return f"{error}: {_hex(content)}"
    return text if text.isprintable() else _hex(content)


def _hex(content: bytes) -> str:
    if len(content) <= _HEX_SHOWN:
        return content.hex()
    return f"{content[:_HEX_SHOWN].hex()}... ({len(content)} bytes)"


def _oid(content: bytes) -> str:
    oid = der.decode_oid(content)
    return f"{oid} ({oids.name_of(oid)})" if oids.is_known(oid) else oid


def _integer(content: bytes) -> str:
    return str(der.decode_integer(content)) if len(content) <= 8 else _hex(content)


def _time(tag: int) -> Callable[[bytes], str]:
    return lambda content: der.decode_time(tag, content).strftime("%Y-%m-%d %H:%M:%S UTC")


_READERS: Final[dict[int, Callable[[bytes], str]]] = {
    der.BOOLEAN: lambda content: "TRUE" if der.decode_boolean(content) else "FALSE",
    der.INTEGER: _integer,
    der.ENUMERATED: _integer,
    der.NULL: lambda content: "",
    der.OBJECT_IDENTIFIER: _oid,
    der.UTC_TIME: _time(der.UTC_TIME),
    der.GENERALIZED_TIME: _time(der.GENERALIZED_TIME),
}
