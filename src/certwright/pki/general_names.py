"""GeneralNames: what stands in a subject alternative name. RFC 5280 4.2.1.6, [MS-WCCE] 2.2.2.7.10.

One value type per kind of name; `str()` is what people see, `encode()` the DER. Parsing accepts every kind, so that
somebody above can refuse what it does not know; nothing here decides whether a name may be certified.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from certwright.pki import der, names, oids
from certwright.pki.errors import EncodingError, TooLarge

MAX_NAMES: Final = 1000
SID_URI_PREFIX: Final = "tag:microsoft.com,2022-09-14:sid:"


@dataclass(frozen=True, slots=True)
class DnsName:
    value: str

    def encode(self) -> bytes:
        return der.ia5(self.value, 0x82)

    def __str__(self) -> str:
        return f"DNS:{self.value}"


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """An rfc822Name."""

    value: str

    def encode(self) -> bytes:
        return der.ia5(self.value, 0x81)

    def __str__(self) -> str:
        return f"email:{self.value}"


@dataclass(frozen=True, slots=True)
class UserPrincipalName:
    """otherName 1.3.6.1.4.1.311.20.2.3 with a UTF8String."""

    value: str

    def encode(self) -> bytes:
        return _other(oids.USER_PRINCIPAL_NAME, der.utf8(self.value))

    def __str__(self) -> str:
        return f"UPN:{self.value}"


@dataclass(frozen=True, slots=True)
class DirectoryGuid:
    """otherName 1.3.6.1.4.1.311.25.1: an objectGUID as Active Directory stores it, little-endian."""

    value: uuid.UUID

    def encode(self) -> bytes:
        return _other(oids.NTDS_REPLICATION, der.octet_string(self.value.bytes_le))

    def __str__(self) -> str:
        return f"GUID:{self.value}"


@dataclass(frozen=True, slots=True)
class IpAddress:
    value: ipaddress.IPv4Address | ipaddress.IPv6Address

    def encode(self) -> bytes:
        return der.tlv(0x87, self.value.packed)

    def __str__(self) -> str:
        return f"IP:{self.value}"


@dataclass(frozen=True, slots=True)
class Uri:
    value: str

    def encode(self) -> bytes:
        return der.ia5(self.value, 0x86)

    def __str__(self) -> str:
        return f"URI:{self.value}"


@dataclass(frozen=True, slots=True)
class DirectoryName:
    der: bytes  # Name

    def encode(self) -> bytes:
        return der.explicit(4, self.der)

    def __str__(self) -> str:
        return f"DirName:{names.format_name(self.der)}"


@dataclass(frozen=True, slots=True)
class RegisteredId:
    value: str  # OID

    def encode(self) -> bytes:
        return der.implicit(8, der.oid(self.value))

    def __str__(self) -> str:
        return f"RID:{self.value}"


@dataclass(frozen=True, slots=True)
class OtherName:
    """An otherName without a type of its own here."""

    type_id: str  # OID
    value: bytes  # DER of the value inside its [0]

    def encode(self) -> bytes:
        return _other(self.type_id, self.value)

    def __str__(self) -> str:
        return f"other:{self.type_id}={self.value.hex()}"


@dataclass(frozen=True, slots=True)
class UnknownName:
    """x400Address, ediPartyName, or a tag nobody defined."""

    der: bytes

    def encode(self) -> bytes:
        return self.der

    def __str__(self) -> str:
        return f"unknown:{self.der.hex()}"


GeneralName = (
    DnsName
    | EmailAddress
    | UserPrincipalName
    | DirectoryGuid
    | IpAddress
    | Uri
    | DirectoryName
    | RegisteredId
    | OtherName
    | UnknownName
)


def _other(type_id: str, value: bytes) -> bytes:
    return der.implicit(0, der.sequence(der.oid(type_id), der.explicit(0, value)))


# -- DER -------------------------------------------------------------------------------------------------------------


def encode_general_names(general_names: Iterable[GeneralName]) -> bytes:
    """GeneralNames: also the value of a subject alternative name extension."""
    return der.sequence(*[name.encode() for name in general_names])


def parse_general_names(data: bytes) -> tuple[GeneralName, ...]:
    """Read GeneralNames.

    Raises:
        EncodingError: it is malformed, empty, or has more than `MAX_NAMES` names.
    """
    outer = der.require_single(data, der.SEQUENCE, "general names")
    found: list[GeneralName] = []
    offset, end = outer.start, outer.end
    while offset < end:
        if len(found) == MAX_NAMES:
            raise TooLarge(f"general names: more than {MAX_NAMES}")
        start = offset + 2
        stop = start + data[offset + 1] if start <= end else end + 1
        if stop > end or data[offset + 1] >= 0x80 or data[offset] & 0x1F == 0x1F:  # not short, or not right
            element = der.Reader(data, offset, end, "general names").read()
            start, stop = element.start, element.end
        found.append(_general_name(data[offset], data[start:stop], data[offset:stop]))
        offset = stop
    if not found:
        raise EncodingError("general names: the list is empty")
    return tuple(found)


def parse_general_name(data: bytes) -> GeneralName:
    """Read one GeneralName. Raises `EncodingError` when it is malformed."""
    element = der.require_single(data, what="general name")
    return _general_name(element.tag, element.content(data), data)


def _general_name(tag: int, content: bytes, whole: bytes) -> GeneralName:
    match tag:
        case 0x82:
            return DnsName(_ascii(content, "DNS name"))
        case 0x81:
            return EmailAddress(_ascii(content, "mail address"))
        case 0x86:
            return Uri(_ascii(content, "URI"))
        case 0x87:
            return _ip_address(content)
        case 0xA0:
            return _other_name(content)
        case 0xA4:
            names.parse_name(content)
            return DirectoryName(content)
        case 0x88:
            return RegisteredId(der.decode_oid(content))
        case _:
            return UnknownName(whole)


def _ascii(content: bytes, what: str) -> str:
    """Text without control characters: a NUL in a name is an attack, never a typing error."""
    text = content.decode("ascii", "replace")
    if not text or not text.isprintable() or not text.isascii():
        raise EncodingError(f"general name: a {what} is empty or holds bytes that are not printable ASCII")
    return text


def _ip_address(content: bytes) -> IpAddress:
    match len(content):
        case 4:
            return IpAddress(ipaddress.IPv4Address(content))
        case 16:
            return IpAddress(ipaddress.IPv6Address(content))
    raise EncodingError(f"general name: an IP address of {len(content)} octets")


def _other_name(content: bytes) -> GeneralName:
    reader = der.Reader(content, what="other name")
    type_id = reader.oid()
    value = reader.content(0xA0)
    reader.finish()
    inner = der.require_single(value, what="other name")
    if type_id == oids.USER_PRINCIPAL_NAME and inner.tag == der.UTF8_STRING:
        text = der.decode_string(inner.tag, inner.content(value))
        if not text or not text.isprintable():
            raise EncodingError("general name: a user principal name is empty or holds characters nobody can see")
        return UserPrincipalName(text)
    if type_id == oids.NTDS_REPLICATION and inner.tag == der.OCTET_STRING and inner.end - inner.start == 16:
        return DirectoryGuid(uuid.UUID(bytes_le=inner.content(value)))
    return OtherName(type_id, value)


# -- syntax of host names --------------------------------------------------------------------------------------------

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}")  # the last label is no number
MAX_HOST_NAME: Final = 253


def is_host_name(text: str, *, wildcard: bool = False) -> bool:
    """Is `text` a DNS name in preferred syntax (RFC 1123 2.1, RFC 5280 4.2.1.6)?

    With `wildcard` the leftmost label may be `*`, if at least two labels follow it (RFC 9525 6.3).
    """
    if len(text) > MAX_HOST_NAME:
        return False
    if wildcard and text.startswith("*.") and text.count(".") > 1:
        text = text[2:]
    return _is_host_name(text)


@functools.lru_cache(maxsize=256)
def _is_host_name(text: str) -> bool:
    """Remembered, because one name comes by several times: in the SAN, as common name, before each name rule."""
    return _HOST_NAME.fullmatch(text) is not None


def host_name_to_ascii(text: str) -> str:
    """The form a certificate carries: lower case, international labels as `xn--` (IDNA 2003, RFC 3490).

    Raises:
        EncodingError: no such form exists.
    """
    if len(text) > MAX_HOST_NAME:
        raise EncodingError(f"a DNS name of {len(text)} characters; at most {MAX_HOST_NAME} are allowed")
    prefix, rest = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    try:
        name = rest.lower() if rest.isascii() else rest.encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise EncodingError(f"{text!r} is no DNS name") from error
    if not is_host_name(prefix + name, wildcard=True):
        raise EncodingError(f"{text!r} is no DNS name")
    return prefix + name


def host_name_for_people(text: str) -> str:
    """`xn--` labels decoded where that is possible; for display, never for a decision."""
    if len(text) > MAX_HOST_NAME:
        return text
    try:
        return text.encode("ascii").decode("idna")
    except UnicodeError:
        return text


# -- SIDs in URIs ----------------------------------------------------------------------------------------------------

_SID: Final = re.compile(r"S-1-\d{1,14}(?:-\d{1,10}){1,15}")


def is_sid(text: str) -> bool:
    """Is `text` a security identifier in string form? [MS-DTYP] 2.4.2.1."""
    return text.isascii() and _SID.fullmatch(text) is not None


def sid_of_uri(uri: str) -> str | None:
    """The SID that `tag:microsoft.com,2022-09-14:sid:<SID>` names; None for any other URI. [MS-PKCA] 3.1.5.2.1.6.

    Raises:
        EncodingError: the prefix is there, but no SID follows it.
    """
    if uri[: len(SID_URI_PREFIX)].lower() != SID_URI_PREFIX:
        return None
    sid = uri[len(SID_URI_PREFIX) :]
    if not is_sid(sid):
        raise EncodingError(f"{uri!r} names no SID")
    return sid


def sid_uri(sid: str) -> Uri:
    """The companion form of the SID extension for names in a request."""
    if not is_sid(sid):
        raise EncodingError(f"{sid!r} is no SID")
    return Uri(SID_URI_PREFIX + sid)
