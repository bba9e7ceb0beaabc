"""What a client makes of /certsrv's pages, in whatever language they are written.

Signals that no translation touches come first: the certificate link, the content type, result codes, the shape of the
error page's lines, a message in straight double quotes. English texts come second, and only a request ID that no text
marks is taken on trust (`Pending.certain` is false then: ask certnew.cer for it before believing it).
HTTP status codes are never used to guess an outcome. Every page is bounded, every expression is linear.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from certwright.adcs.errors import BadRequest, HResult
from certwright.pki.cms import parse_certs_only
from certwright.pki.errors import EncodingError
from certwright.wire.certsrv import markers
from certwright.wire.certsrv.options import MAX_VALUE, TemplateOption

MAX_PAGE: Final = 512 * 1024
"""Longest page read, in bytes or characters."""
MAX_OPTIONS: Final = 2000
MAX_ERROR_TEXT: Final = 500
CERTIFICATE_TYPE: Final = "application/pkix-cert"
CHAIN_TYPES: Final = frozenset({"application/x-pkcs7-certificates", "application/pkcs7-mime"})

_LINK: Final = re.compile(r"certnew\.cer\?ReqID=(\d{1,10})&", re.IGNORECASE)
_ENGLISH_ID: Final = re.compile(r"Your Request Id is (\d{1,10})\.")
_CODE: Final = re.compile(r"0x([89a-f][0-9a-f]{7})\b", re.IGNORECASE)
_ANY_CODE: Final = re.compile(r"\b0x[0-9a-f]{1,8}\b", re.IGNORECASE)
_CODE_WITH_DECIMAL: Final = re.compile(r"0x([0-9a-f]{1,8}) \((?:WIN32: )?-?\d{1,10}\b", re.IGNORECASE)
_ENGLISH_QUOTED: Final = re.compile(r'The disposition message is "([^"]{1,2000})')
_QUOTED: Final = re.compile(r'"([^"<>]{3,2000})"')
_LINE: Final = re.compile(r":[^\t:\r\n]{0,200}\t\t([^\t\r\n]{1,2000})")
_ENGLISH_LINE: Final = re.compile(r"Disposition message:[^\t]{1,200}\t\t([^\r\n]{1,2000})")
_NUMBER: Final = re.compile(r"(?<![A-Za-z0-9_.,/-])(?<!\d:)([0-9]{1,10})(?![A-Za-z0-9_,:/]|[.-][A-Za-z0-9])")
_NEAR_ID: Final = re.compile(r"(?<![A-Z])ID(?![A-Z])|\bId\b")
_SENTENCE_END: Final = re.compile(r"\s{0,3}(?:[.。．]|です|$)")
_HIDDEN: Final = re.compile(r"<(script|style|head|title|select|textarea)\b", re.IGNORECASE)
_CLOSING: Final = {
    name: re.compile(rf"</{name}\s{{0,8}}>", re.IGNORECASE)
    for name in ("script", "style", "head", "title", "select", "textarea")
}
_TAG: Final = re.compile(r"<[^<>]{0,4096}>")
_CHARSET: Final = re.compile(
    r"charset\s{0,8}=\s{0,8}[\"']?"
    r"(utf-?(?:8|16)|us-ascii|(?:windows|iso-8859)-\d{1,4}|shift_jis|iso-2022-jp|euc-(?:jp|kr)|gb2312|gbk|big5|koi8-r)",
    re.IGNORECASE,
)
_RENEWALS: Final = re.compile(r"var\s{1,4}nRenewals\s{0,4}=\s{0,4}(\d{1,5})\s{0,4};")
_SELECT: Final = re.compile(r"<select\b[^<>]{0,400}\blbCertTemplate(?:ID)?\b[^<>]{0,400}>", re.IGNORECASE)
_SELECT_END: Final = re.compile(r"</select\b|<select\b", re.IGNORECASE)
_OPTION: Final = re.compile(
    r"<option\b(?P<before>[^<>\"']{0,200})value\s{0,8}=\s{0,8}"
    r"(?:\"(?P<double>[^\"]{0,8192})\"|'(?P<single>[^']{0,8192})'|(?P<bare>[^\s\"'<>]{1,8192}))"
    r"[^<>]{0,200}>(?P<text>[^<]{0,1000})",
    re.IGNORECASE,
)
_PEM: Final = re.compile(
    r"-----BEGIN (CERTIFICATE|X509 CERTIFICATE|PKCS7|CMS)-----([A-Za-z0-9+/=\s]{1,700000})-----END \1-----"
)

_FACILITY_CERTIFICATES: Final = (0x8009, 0x800B)  # FACILITY_SECURITY and FACILITY_CERT: a decision, not an outage


@dataclass(frozen=True, slots=True)
class Issued:
    """The page links to the certificate of this request."""

    request_id: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A certificate manager decides. `certain`: the ID stands in a text that says so."""

    request_id: int | None
    message: str = ""
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Denied:
    """Refused, or failed, as a decision about the request."""

    message: str
    status: int | None = None  # HRESULT as an unsigned number
    request_id: int | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such request, or somebody else's."""


@dataclass(frozen=True, slots=True)
class Error:
    """The CA could not be asked, or the page is none of the known ones. `message` is text, never markup."""

    message: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A certificate (DER) came back."""

    certificate: bytes


@dataclass(frozen=True, slots=True)
class CaPage:
    """certcarc.asp: the number of the newest CA certificate, counted from 0."""

    newest: int


Outcome = Issued | Pending | Denied | Error
Retrieval = Retrieved | Pending | Denied | Unknown | Error


def parse_outcome(page: str, last_known_id: int = 0) -> Outcome:
    """Classify the answer of certfnsh.asp.

    Args:
        page: the page, decoded.
        last_known_id: the highest request ID known of this CA; smaller numbers in a page are something else.

    Raises:
        BadRequest: longer than `MAX_PAGE`.
    """
    _bounded(len(page))
    link = _LINK.search(page)
    if link:
        return Issued(int(link[1]))
    text = visible_text(page)
    english_id = _ENGLISH_ID.search(text)
    identifier = int(english_id[1]) if english_id else None
    english = _ENGLISH_QUOTED.search(text)
    if english:
        return Denied(markers.plain(english[1]), _first_code(english[1]), identifier)
    lines = _LINE.findall(text)
    if lines:  # an error page, in any language
        return Error(_error_message(text, lines), _first_code(" ".join(lines)))
    if identifier is not None and markers.CERTIFICATE_PENDING in text:
        return Pending(identifier)
    if (code := _CODE_WITH_DECIMAL.search(text)) is not None:
        return Error(_line_of(text, code.start()), int(code[1], 16))
    quoted = next((found for found in _QUOTED.findall(text) if _CODE.search(found)), None)
    quoted = quoted or next(iter(_QUOTED.findall(text)), None)
    if quoted is not None or markers.REQUEST_DENIED in text:
        if identifier is None:
            identifier = _likely_id(_QUOTED.sub(" ", text), last_known_id)
        return Denied(markers.plain(quoted or markers.REQUEST_DENIED), _first_code(quoted or text), identifier)
    if (status := _first_code(text)) is not None:
        return Error(_squeezed(text), status)
    if identifier is not None:
        return Pending(identifier)
    likely = _likely_id(text, last_known_id)
    if likely is not None:
        return Pending(likely, certain=False)
    return Error(_squeezed(text))


def parse_retrieval(content_type: str, body: bytes, request_id: int | None = None) -> Retrieval:
    """Classify the answer of certnew.cer.

    Raises:
        BadRequest: longer than `MAX_PAGE`, or called a certificate and none.
    """
    _bounded(len(body))
    kind = content_type.partition(";")[0].strip().lower()
    if kind == CERTIFICATE_TYPE:
        return Retrieved(decode_certificate(body))
    if kind != "text/html":
        return Error(f"the answer is {kind or 'of no type'}, neither a certificate nor a page")
    text = visible_text(decode_page(body, content_type))
    lines = _LINE.findall(text)
    everything = " ".join(lines) if lines else text
    status = _first_code(everything)
    message = _error_message(text, lines) if lines else _squeezed(text)
    if status == HResult.CERTSRV_E_PROPERTY_EMPTY or "property value is empty" in everything:
        return Unknown()
    if markers.TAKEN_UNDER_SUBMISSION in everything:
        return Pending(request_id, message)
    if "Denied by" in everything or markers.ERROR_PARSING in everything:
        return Denied(message, status, request_id)
    if status is not None:
        if status >> 16 in _FACILITY_CERTIFICATES:
            return Denied(message, status, request_id)
        return Error(message, status)
    if lines:  # an error page without an error: the request waits
        return Pending(request_id, message)
    return Error(message)


def parse_ca_page(page: str) -> CaPage:
    """Read certcarc.asp. Raises `BadRequest` when it does not say which CA certificate is the newest."""
    _bounded(len(page))
    found = _RENEWALS.search(page)
    if found is None:
        raise BadRequest("the page does not say how many CA certificates there are (var nRenewals)")
    return CaPage(int(found[1]))


def parse_templates(page: str) -> tuple[TemplateOption, ...]:
    """The templates that certrqxt.asp offers, in its order; options that name none are left out.

    A template that is missing here may still be issued to those who name it.

    Raises:
        BadRequest: longer than `MAX_PAGE`.
    """
    _bounded(len(page))
    start = _SELECT.search(page)
    if start is None:
        return ()
    end = _SELECT_END.search(page, start.end())
    return tuple(_options(page[start.end() : end.start() if end else len(page)]))


def decode_certificate(data: bytes) -> bytes:
    """The DER of a certificate, from DER, PEM or bare base64.

    Raises:
        BadRequest: it is none of these.
    """
    _bounded(len(data))
    if data[:1] == b"\x30":
        return data
    try:
        text = data.decode("ascii").strip("\x00 \t\r\n")
    except UnicodeDecodeError:
        raise BadRequest("the answer is neither a certificate in DER nor in PEM") from None
    block = _PEM.search(text)
    try:
        der = base64.b64decode("".join((block[2] if block else text).split()), validate=True)
    except (binascii.Error, ValueError):
        der = b""
    if der[:1] != b"\x30":
        raise BadRequest("the answer is neither a certificate in DER nor in PEM")
    return der


def decode_chain(data: bytes) -> tuple[bytes, ...]:
    """The certificates (DER) of certnew.p7b, which real servers label CERTIFICATE in PEM.

    Raises:
        BadRequest: no certificates in it.
    """
    try:
        certificates = parse_certs_only(decode_certificate(data))
    except EncodingError as error:
        raise BadRequest(f"the chain cannot be read: {error}") from error
    if not certificates:
        raise BadRequest("the chain holds no certificate")
    return certificates


def visible_text(page: str) -> str:
    """A page without its head, scripts, styles, lists and tags, entities decoded. For reading, not for showing."""
    kept, position = [], 0
    while (start := _HIDDEN.search(page, position)) is not None:
        kept.append(page[position : start.start()])
        closing = _CLOSING[start[1].lower()].search(page, start.end())
        position = closing.end() if closing else len(page)  # as browsers do: an unclosed one hides the rest
    kept.append(page[position:])
    return html.unescape(_TAG.sub(" ", " ".join(kept)))


def _options(part: str) -> Iterator[TemplateOption]:
    for count, found in enumerate(_OPTION.finditer(part)):
        if count == MAX_OPTIONS:
            return
        value = found["double"] if found["double"] is not None else found["single"]
        value = value if value is not None else found["bare"]
        try:
            yield TemplateOption.parse(value[:MAX_VALUE], found["text"])
        except BadRequest:
            continue


def _likely_id(text: str, last_known_id: int) -> int | None:
    """The number that is most probably the request ID: near `ID`, else ending a sentence, else the first."""
    text = _ANY_CODE.sub(" ", text)
    candidates = [found for found in _NUMBER.finditer(text) if last_known_id < int(found[1]) <= 0xFFFF_FFFF]
    for found in candidates:
        if _NEAR_ID.search(text, max(0, found.start() - 60), found.start()):
            return int(found[1])
    for found in candidates:
        if _SENTENCE_END.match(text, found.end()):
            return int(found[1])
    return int(candidates[0][1]) if candidates else None


def _error_message(text: str, lines: list[str]) -> str:
    """The disposition message of an error page; where no text marks it, the line with the code."""
    english = _ENGLISH_LINE.search(text)
    if english and english[1].strip() != markers.NO_DISPOSITION_MESSAGE:
        return markers.plain(english[1])
    return markers.plain(next((line for line in lines if _CODE.search(line)), lines[-1]))


def _first_code(text: str) -> int | None:
    found = _CODE.search(text)
    return int(found[1], 16) if found else None


def _line_of(text: str, position: int) -> str:
    end = text.find("\n", position)
    return _squeezed(text[text.rfind("\n", 0, position) + 1 : end if end >= 0 else len(text)])


def _squeezed(text: str) -> str:
    """The beginning of a page's text on one line."""
    return " ".join(text[: 8 * MAX_ERROR_TEXT].split())[:MAX_ERROR_TEXT]


def decode_page(body: bytes, content_type: str = "") -> str:
    """A page as text, by the character set of its header or of itself; UTF-8 unless one is named."""
    charset = _CHARSET.search(content_type) or _CHARSET.search(body[:4096].decode("latin-1"))
    try:
        return body.decode(charset[1] if charset else "utf-8")
    except (LookupError, UnicodeDecodeError):
        return body.decode("latin-1")


def _bounded(length: int) -> None:
    if length > MAX_PAGE:
        raise BadRequest(f"the page is longer than {MAX_PAGE} bytes")
