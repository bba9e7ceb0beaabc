"""What clients send to /certsrv: the form of certfnsh.asp and the queries of certnew.* and certcrl.crl.

Form bodies are split here and not by a web framework, because the request inside may be base64 whose plus signs a
client forgot to escape. Field names are compared without case, as IIS does; of a repeated field the first counts.
Nothing is decided here: an attribute that asks for a name or a validity is carried, whether it counts is the CA's
matter. The only claim made about the bytes of a request is that they are one ASN.1 SEQUENCE.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_plus, unquote_to_bytes

from certwright.adcs.errors import BadRequest, InvalidArgument
from certwright.adcs.properties import LATEST
from certwright.adcs.request import RequestAttributes
from certwright.pki.armor import CERTIFICATE_REQUEST, armor

MAX_BODY = 64 * 1024
"""Longest form body taken, in bytes."""
MAX_QUERY = 2048
MAX_FIELDS = 64

NEW_REQUEST = "newreq"
CHECK_PENDING = "chkpnd"
SAVED_REQUEST = "Saved-Request Certificate"

_BEGIN = re.compile(r"-----\s*BEGIN[ +A-Z0-9]*-----", re.IGNORECASE)
_END = re.compile(r"-----\s*END", re.IGNORECASE)
_LINE_ENDS = "\r\n\t\x0b\x0c\x00"
_ESCAPES = tuple((f"%{ord(c):02X}".encode(), c.encode()) for c in "+/=\r\n: ")
"""What browsers and scripts escape in a request: replaced each at once, since one by one is slow. None of them is a
hexadecimal digit or a percent sign, so no replacement makes or breaks another escape."""
_LONGEST_KNOWN_NAME = 32
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_ATTRIBUTE_NAME = re.compile(r"[A-Za-z0-9._ -]{1,64}")


class Encoding(Enum):
    """The `Enc` parameter."""

    BASE64 = "b64"
    BINARY = "bin"


class SubmitForm(NamedTuple):
    """The form of certfnsh.asp. Texts are as the client sent them, already percent-decoded.

    `template` is the extra form field some clients send; it counts only where the attributes name no template.
    """

    request: str = ""
    attributes: str = ""
    mode: str = NEW_REQUEST
    target_store_flags: str = "0"
    save_cert: str = "yes"
    friendly_type: str | None = None
    thumbprint: str | None = None
    template: str | None = None
    request_id: str | None = None  # Mode=chkpnd

    @classmethod
    def parse(cls, body: bytes) -> SubmitForm:
        """Read a form body.

        Raises:
            BadRequest: longer than `MAX_BODY`, or more than `MAX_FIELDS` fields.
        """
        if len(body) > MAX_BODY:
            raise BadRequest(f"the form is longer than {MAX_BODY} bytes")
        fields = parse_fields(body)
        template = fields.get("certificatetemplate")
        if template is None and "lbcerttemplate" in fields:  # the select of certrqxt.asp, sent without a script
            value = fields["lbcerttemplate"].split(";")
            template = value[1] if len(value) > 1 else value[0]
        return cls(
            request=fields.get("certrequest") or fields.get("tarequest", ""),
            attributes=fields.get("certattrib") or fields.get("taattrib", ""),
            mode=fields.get("mode", NEW_REQUEST),
            target_store_flags=fields.get("targetstoreflags", "0"),
            save_cert=fields.get("savecert", "yes"),
            friendly_type=fields.get("friendlytype"),
            thumbprint=fields.get("thumbprint"),
            template=template,
            request_id=fields.get("reqid"),
        )

    def encode(self) -> bytes:
        """The form body as browsers write it, fields in the order of certrqxt.asp's own form."""
        fields: list[tuple[str, str | None]] = [
            ("Mode", self.mode),
            ("CertRequest", self.request),
            ("CertAttrib", self.attributes),
            ("TargetStoreFlags", self.target_store_flags),
            ("SaveCert", self.save_cert),
            ("FriendlyType", self.friendly_type),
            ("ThumbPrint", self.thumbprint),
            ("CertificateTemplate", self.template),
            ("ReqID", self.request_id),
        ]
        return "&".join(f"{name}={quote_plus(value)}" for name, value in fields if value is not None).encode("ascii")

    @classmethod
    def for_request(cls, request: bytes, attributes: RequestAttributes) -> SubmitForm:
        """The form a client sends for a request (DER) and its attributes.

        Line breaks and other control characters are taken out of values, so that no value can add a line.

        Raises:
            InvalidArgument: an attribute's name would be read as something else.
        """
        lines = []
        for name, value in attributes.items:
            if not _ATTRIBUTE_NAME.fullmatch(name):
                raise InvalidArgument(f"{name!r} cannot be the name of a request attribute")
            lines.append(f"{name}:{_CONTROLS.sub(' ', value).strip()}\r\n")
        return cls(
            request=armor(CERTIFICATE_REQUEST, request),
            attributes="".join(lines),
            friendly_type=SAVED_REQUEST,
            thumbprint="",
        )

    @property
    def is_status_check(self) -> bool:
        return self.mode.strip().lower() == CHECK_PENDING

    def request_der(self) -> bytes:
        """The request as DER. Raises `BadRequest` when no ASN.1 can be found in the text."""
        return decode_request(self.request)

    def request_attributes(self) -> RequestAttributes:
        """The attributes, completed by the `CertificateTemplate` field where they name no template.

        Raises:
            BadRequest: longer than the interface takes ([MS-WCCE] 3.2.1.4.2.1).
        """
        try:
            attributes = _attributes(self.attributes)
        except ValueError as error:
            raise BadRequest(f"{error}") from error
        template = _CONTROLS.sub(" ", self.template or "").strip()
        if template and attributes.get("CertificateTemplate") is None:
            attributes = RequestAttributes((("CertificateTemplate", template), *attributes.items))
        return attributes

    def polled_id(self) -> int:
        """The request ID of a status check. Raises `InvalidArgument`."""
        return parse_request_id(self.request_id or "")


@dataclass(frozen=True, slots=True)
class RetrieveQuery:
    """`?ReqID=<n>&Enc=b64` or `?ReqID=CACert&Renewal=<i>&Enc=bin`; `request_id` None means the CA itself."""

    request_id: int | None
    renewal: int = LATEST
    encoding: Encoding | None = None

    @classmethod
    def parse(cls, query: bytes) -> RetrieveQuery:
        """Read a query string.

        Raises:
            InvalidArgument: no request ID, or a parameter that is no number.
            BadRequest: too long.
        """
        fields = _query_fields(query)
        identifier = fields.get("reqid", "").strip()
        return cls(
            request_id=None if identifier.lower() == "cacert" else parse_request_id(identifier),
            renewal=_renewal(fields),
            encoding=_encoding(fields),
        )

    def encode(self) -> str:
        parts = ["ReqID=CACert" if self.request_id is None else f"ReqID={self.request_id}"]
        if self.renewal != LATEST:
            parts.append(f"Renewal={self.renewal}")
        if self.encoding is not None:
            parts.append(f"Enc={self.encoding.value}")
        return "&".join(parts)


@dataclass(frozen=True, slots=True)
class CrlQuery:
    """`?Type=base|delta&Renewal=<i>&Enc=bin|b64` of certcrl.crl."""

    delta: bool = False
    renewal: int = LATEST
    encoding: Encoding | None = None

    @classmethod
    def parse(cls, query: bytes) -> CrlQuery:
        """Read a query string. Raises `InvalidArgument` or `BadRequest`."""
        fields = _query_fields(query)
        kind = fields.get("type", "base").strip().lower()
        if kind not in ("base", "delta", ""):
            raise InvalidArgument("the CRL's Type is base or delta")
        return cls(delta=kind == "delta", renewal=_renewal(fields), encoding=_encoding(fields))

    def encode(self) -> str:
        parts = [f"Type={'delta' if self.delta else 'base'}"]
        if self.renewal != LATEST:
            parts.append(f"Renewal={self.renewal}")
        if self.encoding is not None:
            parts.append(f"Enc={self.encoding.value}")
        return "&".join(parts)


def parse_fields(data: bytes) -> dict[str, str]:
    """Split `a=b&c=d`, names in lower case; the first of several equal names counts.

    Raises:
        BadRequest: more than `MAX_FIELDS` fields.
    """
    parts = data.split(b"&", MAX_FIELDS)
    if len(parts) > MAX_FIELDS:
        raise BadRequest(f"more than {MAX_FIELDS} fields")
    fields: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition(b"=")
        if equals:
            known = _name(name) if len(name) <= _LONGEST_KNOWN_NAME else _text(name).strip().lower()
            fields.setdefault(known, _text(value))
    return fields


def parse_request_id(text: str) -> int:
    """A request ID as the pages write it: a positive number of 32 bits. Raises `InvalidArgument`."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) <= 0xFFFF_FFFF):
        raise InvalidArgument("ReqID is the number of a request, or CACert")
    return int(text)


def decode_request(text: str) -> bytes:
    """Find the DER in what people and scripts paste: PEM with any header, bare base64, one line or many.

    A blank inside a line is a plus sign that a client forgot to escape, unless only its removal makes the bytes one
    complete ASN.1 element (then it stood for a line end).

    Raises:
        BadRequest: no reading gives an ASN.1 SEQUENCE.
    """
    begin = _BEGIN.search(text)
    if begin:
        text = text[begin.end() : _end_of_block(text, begin.end())]
    flat = text
    for character in _LINE_ENDS:
        flat = flat.replace(character, "")
    streaming = None
    for candidate in _readings(flat):
        data = _strict_base64(candidate)
        if data is None or data[:1] != b"\x30":
            continue
        if _is_one_element(data):
            return data
        if data[1:2] == b"\x80":  # BER of indefinite length: its end is the CA's business
            streaming = streaming or data
    if streaming is None:
        raise BadRequest(
            "the request is neither base64 nor PEM of an ASN.1 structure; paste a PKCS #10, PKCS #7 or CMC"
        )
    return streaming


def _end_of_block(text: str, start: int) -> int:
    """Where the closing line begins, or the text's end. Dashes are looked for first: rare, and quick to find."""
    place = text.find("-----", start)
    while place >= 0:
        if _END.match(text, place):
            return place
        place = text.find("-----", place + 1)
    return len(text)


def _readings(flat: str) -> Iterator[str]:
    stripped = flat.strip(" ")
    yield stripped.replace(" ", "+")
    if " " not in flat:
        return
    yield stripped.replace(" ", "")
    for width in (64, 76):  # line ends became blanks, and so did the plus signs
        if len(stripped) > width and stripped[width] == " ":
            lines = (stripped[i : i + width] for i in range(0, len(stripped), width + 1))
            yield "".join(lines).replace(" ", "+")
    yield flat.replace(" ", "+")


def _strict_base64(text: str) -> bytes | None:
    text = text.rstrip("=")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except (binascii.Error, ValueError):
        return None


def _is_one_element(data: bytes) -> bool:
    """One definite-length element and nothing after it (X.690 8.1.3)."""
    if len(data) < 2:
        return False
    first = data[1]
    if first < 0x80:
        return len(data) == 2 + first
    count = first & 0x7F
    return 0 < count <= 4 and len(data) == 2 + count + int.from_bytes(data[2 : 2 + count])


def _text(value: bytes) -> str:
    raw = value.replace(b"+", b" ")
    if b"%" in raw:
        for escape, plain in _ESCAPES:
            raw = raw.replace(escape, plain)
        if b"%" in raw:
            raw = unquote_to_bytes(raw)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


@lru_cache(maxsize=256)  # clients send the same names and attributes in every form
def _name(value: bytes) -> str:
    return _text(value).strip().lower()


@lru_cache(maxsize=256)
def _attributes(text: str) -> RequestAttributes:
    return RequestAttributes.parse(text)


def _query_fields(query: bytes) -> Mapping[str, str]:
    if len(query) > MAX_QUERY:
        raise BadRequest(f"the query is longer than {MAX_QUERY} bytes")
    return parse_fields(query)


def _renewal(fields: Mapping[str, str]) -> int:
    text = fields.get("renewal", "").strip()
    if not text:
        return LATEST
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise InvalidArgument("Renewal is the number of a CA certificate, counted from 0")
    return int(text)


def _encoding(fields: Mapping[str, str]) -> Encoding | None:
    text = fields.get("enc", "").strip().lower()
    if not text:
        return None
    try:
        return Encoding(text)
    except ValueError:
        raise InvalidArgument("Enc is b64 or bin") from None
