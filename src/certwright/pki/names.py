"""X.500 names: DER, strings for people, upper bounds, and the sanitized names of [MS-WCCE] 3.1.1.4.1.1.

A Name's DER lists the most significant RDN first (C, O, ..., CN); its string lists it last, as RFC 4514 and Active
Directory write it: `CN=web,O=Corp` and `CN=alice,CN=Users,DC=corp,DC=example`. Both directions turn the order.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from certwright.pki import der, oids
from certwright.pki.errors import EncodingError, TooLarge

EMPTY: Final = der.sequence()
"""The Name without any RDN."""

MAX_RDNS: Final = 64
MAX_ATTRIBUTES: Final = 256
MAX_STRING: Final = 8192

_SHORT_NAMES: Final = {
    oids.name_of(oid): oid
    for oid in (
        oids.COMMON_NAME,
        oids.SURNAME,
        oids.SERIAL_NUMBER,
        oids.COUNTRY,
        oids.LOCALITY,
        oids.STATE,
        oids.STREET,
        oids.ORGANIZATION,
        oids.ORGANIZATIONAL_UNIT,
        oids.TITLE,
        oids.DESCRIPTION,
        oids.BUSINESS_CATEGORY,
        oids.POSTAL_CODE,
        oids.TELEPHONE_NUMBER,
        oids.GIVEN_NAME,
        oids.INITIALS,
        oids.GENERATION_QUALIFIER,
        oids.DN_QUALIFIER,
        oids.PSEUDONYM,
        oids.ORGANIZATION_IDENTIFIER,
        oids.USER_ID,
        oids.DOMAIN_COMPONENT,
        oids.EMAIL_ADDRESS,
        oids.UNSTRUCTURED_NAME,
        oids.UNSTRUCTURED_ADDRESS,
    )
}
_ALIASES: Final = {
    "S": oids.STATE,  # how Windows writes it
    "STREETADDRESS": oids.STREET,
    "TITLE": oids.TITLE,
    "GN": oids.GIVEN_NAME,
    "GIVENNAME": oids.GIVEN_NAME,
    "SURNAME": oids.SURNAME,
    "INITIALS": oids.INITIALS,
    "EMAIL": oids.EMAIL_ADDRESS,
    "EMAILADDRESS": oids.EMAIL_ADDRESS,
    "DNQUALIFIER": oids.DN_QUALIFIER,
    "DEVICESERIALNUMBER": oids.SERIAL_NUMBER,
    "TELEPHONENUMBER": oids.TELEPHONE_NUMBER,
}
_TYPES: Final = _SHORT_NAMES | _ALIASES
_ATTRIBUTE_NAMES: Final = {oid: name for name, oid in _SHORT_NAMES.items()}

_PRINTABLE_TYPES: Final = frozenset({oids.COUNTRY, oids.SERIAL_NUMBER, oids.DN_QUALIFIER})
_IA5_TYPES: Final = frozenset({oids.DOMAIN_COMPONENT, oids.EMAIL_ADDRESS})

_UPPER_BOUNDS: Final = {  # RFC 5280 appendix A.1; X.520 and RFC 1274 where that is silent
    oids.COMMON_NAME: 64,
    oids.SERIAL_NUMBER: 64,
    oids.COUNTRY: 2,
    oids.LOCALITY: 128,
    oids.STATE: 128,
    oids.STREET: 128,
    oids.ORGANIZATION: 64,
    oids.ORGANIZATIONAL_UNIT: 64,
    oids.TITLE: 64,
    oids.DESCRIPTION: 1024,
    oids.BUSINESS_CATEGORY: 128,
    oids.POSTAL_CODE: 40,
    oids.TELEPHONE_NUMBER: 32,
    oids.PSEUDONYM: 128,
    oids.USER_ID: 256,
    oids.DOMAIN_COMPONENT: 63,  # a DNS label
    oids.EMAIL_ADDRESS: 255,
    oids.UNSTRUCTURED_NAME: 255,
    oids.UNSTRUCTURED_ADDRESS: 1024,
}
_DEFAULT_BOUND: Final = 32768


class NameAttribute(NamedTuple):
    """One AttributeTypeAndValue. `encoded` is the value's own DER: an unchanged name stays unchanged bytes."""

    oid: str
    value: str  # text; "#" and hex of `encoded` when the value is no string
    encoded: bytes

    @classmethod
    def of(cls, oid: str, value: str) -> NameAttribute:
        """An attribute in the string type RFC 5280 4.1.2.4 and 4.1.2.6 want for it: UTF8String where they let choose.

        Raises:
            EncodingError: the attribute's type cannot hold the value.
        """
        if oid in _PRINTABLE_TYPES:
            return cls(oid, value, der.printable(value))
        if oid in _IA5_TYPES and value.isascii():
            return cls(oid, value, der.ia5(value))
        return cls(oid, value, der.utf8(value))

    @property
    def name(self) -> str:
        """`CN`, `O`, ...; the OID when there is no short name."""
        return _ATTRIBUTE_NAMES.get(self.oid, self.oid)

    def encode(self) -> bytes:
        return der.sequence(der.oid(self.oid), self.encoded)

    def __str__(self) -> str:
        if self.oid not in _ATTRIBUTE_NAMES or self.encoded[0] not in der.STRING_TAGS:
            return f"{self.name}=#{self.encoded.hex()}"
        return f"{self.name}={_escape(self.value)}"


RelativeDistinguishedName = tuple[NameAttribute, ...]
Rdns = tuple[RelativeDistinguishedName, ...]


# -- DER -------------------------------------------------------------------------------------------------------------

_REMEMBERED: Final = 1024
"""Longest Name, in bytes, that is kept parsed; what strangers send must not fill the memory."""


def parse_name(name: bytes) -> Rdns:
    """The RDNs of a Name in the order of its DER.

    Raises:
        EncodingError: it is no Name, has an empty RDN, a NUL inside a value, or more RDNs than `MAX_RDNS` or
            attributes than `MAX_ATTRIBUTES`.
    """
    return _parse_remembered(name) if len(name) <= _REMEMBERED else _parse(name)


def _parse(name: bytes) -> Rdns:
    outer = der.Reader.of(name, what="name")
    rdns: list[RelativeDistinguishedName] = []
    count = 0
    while outer.next_tag != -1:
        if len(rdns) == MAX_RDNS:
            raise TooLarge(f"name: more than {MAX_RDNS} components")
        if count < MAX_ATTRIBUTES and (lone := _lone_attribute(name, outer.offset)) is not None:
            count += 1
            outer.offset += name[outer.offset + 1] + 2
            rdns.append((lone,))
            continue
        inner = outer.enter(der.SET)
        attributes: list[NameAttribute] = []
        while inner.next_tag != -1:
            count += 1
            if count > MAX_ATTRIBUTES:
                raise TooLarge(f"name: more than {MAX_ATTRIBUTES} attributes")
            attributes.append(_parse_attribute(inner.enter()))
        if not attributes:
            raise EncodingError("name: a component without any attribute")
        rdns.append(tuple(attributes))
    return tuple(rdns)


_parse_remembered = functools.lru_cache(maxsize=256)(_parse)  # a batch of requests; more would only cool down


def _lone_attribute(name: bytes, offset: int) -> NameAttribute | None:
    """The attribute of a component that has one only, a short text, as nearly all have; None for any other."""
    head = name[offset : offset + 6]
    if len(head) < 6:
        return None
    tag, length, inner_tag, inner_length, oid_tag, oid_length = head
    value, end = offset + 6 + oid_length, offset + 2 + length
    if (
        (tag, inner_tag, oid_tag) != (der.SET, der.SEQUENCE, der.OBJECT_IDENTIFIER)
        or length >= 0x80
        or inner_length != length - 2
        or not value + 2 <= end <= len(name)
        or name[value + 1] != end - value - 2
        or name[value] not in der.STRING_TAGS
    ):
        return None
    text = der.decode_string(name[value], name[value + 2 : end])
    if "\x00" in text:
        return None
    return NameAttribute(der.decode_oid(name[offset + 6 : value]), text, name[value:end])


def _parse_attribute(reader: der.Reader) -> NameAttribute:
    oid, element = reader.oid(), reader.read()
    reader.finish()
    encoded = element.whole(reader.data)
    if element.tag not in der.STRING_TAGS:
        return NameAttribute(oid, "#" + encoded.hex(), encoded)
    value = der.decode_string(element.tag, element.content(reader.data))
    if "\x00" in value:
        raise EncodingError(f"name: a NUL inside {oids.name_of(oid)}")
    return NameAttribute(oid, value, encoded)


def encode_name(rdns: Iterable[Iterable[NameAttribute]]) -> bytes:
    """The Name made of `rdns`, most significant first."""
    return der.sequence(*(der.set_of(*(attribute.encode() for attribute in rdn)) for rdn in rdns))


def name_of(*attributes: tuple[str, str]) -> bytes:
    """A Name with one attribute to an RDN, most significant first: `name_of((oids.ORGANIZATION, "Corp"), ...)`."""
    return encode_name((NameAttribute.of(oid, value),) for oid, value in attributes)


def certifiable_name(name: bytes) -> bytes:
    """A Name out of a request as a certificate may carry it: the same bytes where they are right already.

    Clients put values into string types that cannot hold them (`*` in a PrintableString) or that RFC 5280 4.1.2.4
    wants no longer (BMPString), and sort a component's attributes as they please. Such values are written again.

    Raises:
        EncodingError: a value is no text, or a component has two attributes of one type (X.501 9.3).
    """
    rdns = parse_name(name)
    for rdn in rdns:
        if len(rdn) != 1 or _certifiable(rdn[0]).encoded != rdn[0].encoded:
            break
    else:
        return name
    clean = [[_certifiable(attribute) for attribute in rdn] for rdn in rdns]
    for component in clean:
        if len({attribute.oid for attribute in component}) != len(component):
            raise EncodingError("name: a component has two attributes of one type")
    return encode_name(clean)


def _certifiable(attribute: NameAttribute) -> NameAttribute:
    oid, tag = attribute.oid, attribute.encoded[0]
    if tag not in der.STRING_TAGS:
        raise EncodingError(f"name: {oids.name_of(oid)} is no text")
    if oid not in _IA5_TYPES:
        if tag == der.PRINTABLE_STRING and der.is_printable(attribute.value):
            return attribute
        if tag == der.UTF8_STRING and oid not in _PRINTABLE_TYPES:
            return attribute
    try:
        return NameAttribute.of(oid, attribute.value)
    except EncodingError:
        return NameAttribute(oid, attribute.value, der.utf8(attribute.value))


def attributes(name: bytes) -> Sequence[NameAttribute]:
    """Every attribute of a Name, in the order of its DER."""
    return [attribute for rdn in parse_name(name) for attribute in rdn]


def values(name: bytes, oid: str) -> tuple[str, ...]:
    return tuple([attribute.value for attribute in attributes(name) if attribute.oid == oid])


def common_name(name: bytes) -> str:
    """The last, most specific CN; empty when there is none."""
    found = values(name, oids.COMMON_NAME)
    return found[-1] if found else ""


# -- strings ---------------------------------------------------------------------------------------------------------


def format_name(name: bytes) -> str:
    """`CN=web.corp.example,O=Corp`: most specific first, escaped as RFC 4514 2.4 asks. `parse_dn` reads it back."""
    return ",".join(["+".join(map(str, rdn)) for rdn in reversed(parse_name(name))])


_NEEDS_ESCAPE: Final = re.compile(r'[,+"\\<>;=\x00-\x1f\x7f]|^[ #]| $')


def _escape(value: str) -> str:
    if not _NEEDS_ESCAPE.search(value):
        return value
    out: list[str] = []
    for index, char in enumerate(value):
        if char in ',+"\\<>;=' or (char in " #" and index == 0) or (char == " " and index == len(value) - 1):
            out.append("\\" + char)
        elif char < " " or char == "\x7f":
            out.append(f"\\{ord(char):02X}")
        else:
            out.append(char)
    return "".join(out)


def parse_dn(text: str) -> bytes:
    """The Name that a distinguished name string means, by RFC 4514 and as Active Directory writes it.

    Accepts quoted values (`O="Corp, Inc."`), escapes, multi-valued RDNs with `+`, OIDs (also `OID.1.2.3`) and `#hex`.

    Raises:
        EncodingError: the string cannot be read; the message says where.
    """
    if len(text) > MAX_STRING:
        raise EncodingError(f"the distinguished name is longer than {MAX_STRING} characters")
    if not text.strip():
        return EMPTY
    rdns: list[list[NameAttribute]] = [[]]
    scanner = _DnScanner(text)
    while True:
        rdns[-1].append(scanner.attribute())
        separator = scanner.separator()
        if not separator:
            break
        if separator != "+":
            rdns.append([])
    if len(rdns) > MAX_RDNS:
        raise EncodingError(f"the distinguished name has more than {MAX_RDNS} components")
    return encode_name(reversed(rdns))


_BLANKS: Final = (" ", "\r", "\n", "\t")


class _DnScanner:
    """Walks a distinguished name string."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def attribute(self) -> NameAttribute:
        stop = self._text.find("=", self._at)
        if stop < 0:
            raise EncodingError(f"distinguished name: no '=' after {self._text[self._at :].strip()!r}")
        oid = _attribute_type(self._text[self._at : stop].strip())
        self._at = stop + 1
        self._skip_blanks()
        if self._peek() == "#":
            attribute = self._hex_value(oid)
        else:
            attribute = NameAttribute.of(oid, self._quoted() if self._peek() == '"' else self._plain())
        if "\x00" in attribute.value:
            raise EncodingError("distinguished name: a NUL inside a value")
        return attribute

    def separator(self) -> str:
        """`,`, `;` or `+`; empty at the end."""
        self._skip_blanks()
        char = self._peek()
        self._at += 1
        if char not in ",;+":
            raise EncodingError(f"distinguished name: unexpected {char!r} at character {self._at}")
        return char

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip_blanks(self) -> None:
        while self._peek() in _BLANKS:
            self._at += 1

    def _hex_value(self, oid: str) -> NameAttribute:
        stop = self._at + 1
        while self._text[stop : stop + 1] in tuple("0123456789abcdefABCDEF"):
            stop += 1
        try:
            encoded = bytes.fromhex(self._text[self._at + 1 : stop])
        except ValueError as error:
            raise EncodingError("distinguished name: '#' is not followed by pairs of hex digits") from error
        element = der.require_single(encoded, what="distinguished name")
        self._at = stop
        value = "#" + encoded.hex()
        if element.tag in der.STRING_TAGS:
            value = der.decode_string(element.tag, element.content(encoded))
        return NameAttribute(oid, value, encoded)

    def _quoted(self) -> str:
        self._at += 1
        octets = bytearray()
        while (char := self._peek()) != '"':
            if not char:
                raise EncodingError("distinguished name: a quoted value does not end")
            octets += self._escaped() if char == "\\" else self._literal(char)
        self._at += 1
        return _utf8(octets)

    def _plain(self) -> str:
        octets = bytearray()
        kept = 0  # trailing blanks count only when escaped
        while (char := self._peek()) and char not in ",;+":
            if char in '"<>':
                raise EncodingError(f"distinguished name: {char!r} must be escaped")
            blank = char in _BLANKS
            octets += self._escaped() if char == "\\" else self._literal(char)
            kept = kept if blank else len(octets)
        return _utf8(octets[:kept])

    def _literal(self, char: str) -> bytes:
        self._at += 1
        return char.encode("utf-8", "surrogatepass")

    def _escaped(self) -> bytes:
        pair = self._text[self._at + 1 : self._at + 3]
        if len(pair) == 2 and all(char in "0123456789abcdefABCDEF" for char in pair):
            self._at += 3
            return bytes.fromhex(pair)
        if not pair:
            raise EncodingError("distinguished name: it ends in a backslash")
        self._at += 2
        return pair[0].encode("utf-8", "surrogatepass")


def _utf8(octets: bytearray) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EncodingError("distinguished name: a value is not UTF-8") from error


def _attribute_type(text: str) -> str:
    upper = text.upper()
    oid = _TYPES.get(upper)
    if oid is not None:
        return oid
    dotted = upper.removeprefix("OID.")
    try:
        der.oid(dotted)
    except EncodingError as error:
        raise EncodingError(f"distinguished name: {text!r} is no attribute we know") from error
    return dotted


# -- bounds ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BrokenBound:
    """An attribute that is longer than its upper bound, or empty."""

    attribute: str  # "CN"
    length: int
    limit: int

    def __str__(self) -> str:
        if not self.length:
            return f"{self.attribute} is empty"
        return f"{self.attribute} has {self.length} characters, {self.limit} are allowed"


def broken_upper_bound(name: bytes) -> BrokenBound | None:
    """The first attribute outside the bounds of X.520 (RFC 5280 appendix A.1). EnforceX500NameLengths on Windows."""
    for attribute in attributes(name):
        limit = _UPPER_BOUNDS.get(attribute.oid, _DEFAULT_BOUND)
        length = len(attribute.value)
        if not 1 <= length <= limit or (attribute.oid == oids.COUNTRY and length != 2):
            return BrokenBound(attribute.name, length, limit)
    return None


# -- sanitized names -------------------------------------------------------------------------------------------------

_UNSAFE: Final = frozenset("!\"#%&'()*+,/:;<=>?[\\]^`{|}")
_SHORT_NAME_LENGTH: Final = 51


def sanitized_name(name: str) -> str:
    """A CA's name as it may stand in files and URLs. [MS-WCCE] 3.1.1.4.1.1."""
    out: list[str] = []
    for char in name:
        if char in _UNSAFE or not " " <= char < "\x7f":
            units = char.encode("utf-16-be", "surrogatepass")
            out.extend(f"!{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
        else:
            out.append(char)
    return "".join(out)


def sanitized_short_name(name: str) -> str:
    """The sanitized name cut to 57 characters, as Active Directory's cn holds it. [MS-WCCE] 3.1.1.4.1.1."""
    long = sanitized_name(name)
    if len(long) <= _SHORT_NAME_LENGTH:
        return long
    kept = long[:_SHORT_NAME_LENGTH]
    escape = kept.rfind("!", _SHORT_NAME_LENGTH - 4)
    if escape >= 0:  # the cut went through an escape
        kept = kept[:escape]
    digest = 0
    for char in long[len(kept) :]:
        digest = ((digest << 1 | digest >> 15) & 0xFFFF) + ord(char) & 0xFFFF
    return f"{kept}-{digest:05d}"
