"""Certificate Management over CMS: full PKI requests and responses. RFC 5272 3.2, 6; [MS-WCCE] 2.2.2.6, 2.2.2.8.

What travels is signed data (`signed_data`) whose content these classes are. Who signed, and whether that counts, is
for the CA to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final

from certwright.pki import der, oids
from certwright.pki.errors import EncodingError, TooLarge
from certwright.pki.pkcs10_reading import Attribute

MAX_CONTROLS: Final = 50
MAX_REQUESTS: Final = 10
MAX_VALUES: Final = 50
MAX_PAIRS: Final = 100
MAX_REG_INFO: Final = 16 * 1024
_BODY_PARTS: Final = 1 << 32


class CmcStatus(IntEnum):
    """RFC 5272 6.1.3."""

    SUCCESS = 0
    FAILED = 2
    PENDING = 3
    NO_SUPPORT = 4
    CONFIRM_REQUIRED = 5
    POP_REQUIRED = 6
    PARTIAL = 7


@dataclass(frozen=True, slots=True)
class Control:
    """A TaggedAttribute; `values` are DER."""

    body_part: int
    oid: str
    values: tuple[bytes, ...]

    def encode(self) -> bytes:
        return der.sequence(der.integer(self.body_part), der.oid(self.oid), der.set_of(*self.values))


# -- requests --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PkiData:
    """The content of a full PKI request: controls, and PKCS#10 requests by their body part number. RFC 5272 3.2.1."""

    controls: tuple[Control, ...]
    requests: tuple[tuple[int, bytes], ...]
    other_requests: int = 0  # how many of a kind other than PKCS#10: CRMF and what is registered elsewhere

    @classmethod
    def parse(cls, data: bytes) -> PkiData:
        """Raises:
        EncodingError: malformed; TooLarge beyond the limits of this module.
        """
        reader = der.Reader.of(data, what="CMC request")
        controls = tuple(_controls(reader.enter()))
        requests: list[tuple[int, bytes]] = []
        others = 0
        holder = reader.enter()
        while holder.next_tag != -1:
            if len(requests) + others == MAX_REQUESTS:
                raise TooLarge(f"CMC request: more than {MAX_REQUESTS} requests in one message")
            if holder.next_tag != 0xA0:
                holder.read()
                others += 1
                continue
            tagged = holder.enter(0xA0)
            requests.append((_body_part(tagged), tagged.whole(der.SEQUENCE)))
            tagged.finish()
        reader.read(der.SEQUENCE)  # CMS messages along with it
        reader.read(der.SEQUENCE)  # other messages
        reader.finish()
        return cls(controls, tuple(requests), others)

    def encode(self) -> bytes:
        tagged = (der.implicit(0, der.sequence(der.integer(part), request)) for part, request in self.requests)
        return der.sequence(
            der.sequence(*(control.encode() for control in self.controls)),
            der.sequence(*tagged),
            der.sequence(),
            der.sequence(),
        )

    def registration_information(self) -> tuple[tuple[str, str], ...]:
        """The pairs of every RegInfo control, `Name=Value&Name=Value` in UTF-8. [MS-WCCE] 2.2.2.6.3.

        Raises:
            EncodingError: one is no OCTET STRING of UTF-8; TooLarge when there is too much of it.
        """
        pairs: list[tuple[str, str]] = []
        for control in self.controls:
            if control.oid == oids.CMC_REG_INFO:
                for value in control.values:
                    pairs += parse_registration_information(value)
        if len(pairs) > MAX_PAIRS:
            raise TooLarge(f"CMC request: more than {MAX_PAIRS} name-value pairs")
        return tuple(pairs)

    def added_attributes(self, body_part: int) -> tuple[Attribute, ...]:
        """Attributes that szOID_CMC_ADD_ATTRIBUTES controls add to one request. [MS-WCCE] 2.2.2.6.3.

        Raises:
            EncodingError: such a control is malformed.
        """
        found: list[Attribute] = []
        for control in self.controls:
            if control.oid != oids.CMC_ADD_ATTRIBUTES:
                continue
            for value in control.values:
                parts, attributes = _added(value)
                if body_part in parts:
                    found += attributes
        return tuple(found)


def parse_registration_information(value: bytes) -> list[tuple[str, str]]:
    """The pairs of one RegInfo value; text without `=` is ignored, as in the attribute string.

    Raises:
        EncodingError: it is no OCTET STRING of UTF-8; TooLarge when it is too long.
    """
    element = der.require_single(value, der.OCTET_STRING, "registration information")
    content = element.content(value)
    if len(content) > MAX_REG_INFO:
        raise TooLarge(f"registration information of {len(content)} octets")
    try:
        text = content.decode().rstrip("\0")
    except UnicodeDecodeError:
        raise EncodingError("registration information is not UTF-8") from None
    split = (pair.partition("=") for pair in text.split("&"))
    return [(name.strip(), value.strip()) for name, equals, value in split if equals and name.strip()]


def registration_information(body_part: int, pairs: tuple[tuple[str, str], ...]) -> Control:
    """Raises:
    ValueError: a name or value holds a character that separates pairs.
    """
    for name, value in pairs:
        if "&" in name + value or "=" in name:
            raise ValueError(f"{name}={value} cannot be written into registration information")
    text = "&".join(f"{name}={value}" for name, value in pairs)
    return Control(body_part, oids.CMC_REG_INFO, (der.octet_string(text.encode()),))


# -- responses -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PkiResponse:
    """The content of a full PKI response, as AD CS makes it. RFC 5272 3.2.2; [MS-WCCE] 3.2.1.4.2.1.4.8.2."""

    status: CmcStatus
    text: str
    body_parts: tuple[int, ...] = (1,)
    pend_token: bytes = b""  # with PENDING
    pend_time: datetime | None = None
    fail_info: int | None = None  # with FAILED
    certificate_hash: bytes = b""  # SHA-1 of what was issued: how clients find it among the certificates

    def encode(self) -> bytes:
        other = b""
        if self.status is CmcStatus.PENDING and self.pend_time is not None:
            other = der.sequence(der.octet_string(self.pend_token), _generalized_time(self.pend_time))
        elif self.status is CmcStatus.FAILED and self.fail_info is not None:
            other = der.integer(self.fail_info)
        parts = der.sequence(*map(der.integer, self.body_parts))
        text = der.utf8(self.text) if self.text else b""
        status = der.sequence(der.integer(self.status), parts, text, other)
        controls = [Control(1, oids.CMC_STATUS_INFO, (status,))]
        if self.certificate_hash:
            attribute = der.sequence(
                der.oid(oids.ISSUED_CERT_HASH), der.set_of(der.octet_string(self.certificate_hash))
            )
            added = der.sequence(der.integer(0), parts, der.set_of(attribute))
            controls.append(Control(2, oids.CMC_ADD_ATTRIBUTES, (added,)))
        return der.sequence(der.sequence(*(control.encode() for control in controls)), der.sequence(), der.sequence())

    @classmethod
    def parse(cls, data: bytes) -> PkiResponse:
        """Raises:
        EncodingError: malformed, or without a status.
        """
        reader = der.Reader.of(data, what="CMC response")
        controls = tuple(_controls(reader.enter()))
        reader.read(der.SEQUENCE)
        reader.read(der.SEQUENCE)
        reader.finish()
        status = next((each for each in controls if each.oid == oids.CMC_STATUS_INFO and each.values), None)
        if status is None:
            raise EncodingError("CMC response: it has no status")
        return cls._with_status(status.values[0], _issued_hash(controls))

    @classmethod
    def _with_status(cls, value: bytes, certificate_hash: bytes) -> PkiResponse:
        reader = der.Reader.of(value, what="CMC status")
        number = reader.integer()
        if number not in CmcStatus.__members__.values():
            raise EncodingError(f"CMC status: {number} is not known")
        holder = reader.enter()
        parts: list[int] = []
        while holder.next_tag != -1:
            if len(parts) == MAX_REQUESTS:
                raise TooLarge("CMC status: too many body parts")
            parts.append(_body_part(holder))
        text = reader.string() if reader.next_tag == der.UTF8_STRING else ""
        token, when, fail_info = b"", None, None
        if reader.next_tag == der.INTEGER:
            fail_info = reader.integer()
        elif reader.next_tag == der.SEQUENCE:
            pending = reader.enter()
            token, when = pending.content(der.OCTET_STRING), pending.time()
            pending.finish()
        reader.finish()
        return cls(CmcStatus(number), text, tuple(parts), token, when, fail_info, certificate_hash)


def _issued_hash(controls: tuple[Control, ...]) -> bytes:
    for control in controls:
        if control.oid == oids.CMC_ADD_ATTRIBUTES:
            for value in control.values:
                for attribute in _added(value)[1]:
                    if attribute.oid == oids.ISSUED_CERT_HASH and len(attribute.values) == 1:
                        element = der.require_single(attribute.values[0], der.OCTET_STRING, "certificate hash")
                        return element.content(attribute.values[0])
    return b""


# -- shared ----------------------------------------------------------------------------------------------------------


def _controls(reader: der.Reader) -> Iterator[Control]:
    count = 0
    while reader.next_tag != -1:
        count += 1
        if count > MAX_CONTROLS:
            raise TooLarge(f"{reader.what}: more than {MAX_CONTROLS} controls")
        tagged = reader.enter()
        body_part, oid = _body_part(tagged), tagged.oid()
        holder = tagged.read(der.SET)
        tagged.finish()
        values = tuple(child.whole(reader.data) for child in der.children(reader.data, holder, limit=MAX_VALUES))
        yield Control(body_part, oid, values)


def _body_part(reader: der.Reader) -> int:
    number = reader.integer()
    if not 0 <= number < _BODY_PARTS:
        raise EncodingError(f"{reader.what}: {number} is no body part number")
    return number


def _added(value: bytes) -> tuple[frozenset[int], list[Attribute]]:
    """The body parts that one CmcAddAttributes speaks of, and the attributes."""
    reader = der.Reader.of(value, what="CMC added attributes")
    _body_part(reader)
    holder = reader.enter()
    parts: set[int] = set()
    while holder.next_tag != -1:
        parts.add(_body_part(holder))
    attributes: list[Attribute] = []
    listed = reader.enter(der.SET)
    reader.finish()
    while listed.next_tag != -1:
        if len(attributes) == MAX_VALUES:
            raise TooLarge(f"CMC added attributes: more than {MAX_VALUES}")
        attribute = listed.enter()
        oid = attribute.oid()
        values = attribute.read(der.SET)
        attribute.finish()
        attributes.append(
            Attribute(oid, tuple(each.whole(value) for each in der.children(value, values, limit=MAX_VALUES)))
        )
    return frozenset(parts), attributes


def _generalized_time(when: datetime) -> bytes:
    if when.tzinfo is None:
        raise ValueError("a time without a time zone cannot be encoded")
    encoded = der.utc_or_generalized_time(when)
    if encoded[0] == der.GENERALIZED_TIME:
        return encoded
    century = b"20" if encoded[2:4] < b"50" else b"19"
    return der.tlv(der.GENERALIZED_TIME, century + encoded[2:])
