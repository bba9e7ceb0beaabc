"""From what people and scripts paste to DER, and back. RFC 7468, as loosely as /certsrv's clients need it.

Forgiven: any header for requests, certificates and CMS, no header, no closing line, no line breaks (not even after
the header), line ends or `+` that a form's encoder turned into blanks, indentation, wrong padding, a byte order mark,
UTF-16, trailing NULs. Not forgiven: private keys, several blocks, a decoded value that is not exactly one element.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Final

from certwright.pki import der
from certwright.pki.errors import EncodingError, TooLarge

DEFAULT_LIMIT: Final = 65536

CERTIFICATE: Final = "CERTIFICATE"
CERTIFICATE_REQUEST: Final = "CERTIFICATE REQUEST"
NEW_CERTIFICATE_REQUEST: Final = "NEW CERTIFICATE REQUEST"
PKCS7: Final = "PKCS7"
CMC: Final = "CMC"
X509_CRL: Final = "X509 CRL"

_LABELS: Final = frozenset(
    {"", CERTIFICATE, CERTIFICATE_REQUEST, NEW_CERTIFICATE_REQUEST, PKCS7, CMC, X509_CRL, "CMS", "X509 CERTIFICATE"}
)
_BEGIN: Final = re.compile(r"-----[ +]?BEGIN([ +A-Z0-9#]{0,40})-----", re.IGNORECASE)
_END: Final = re.compile(r"-----[ +]?END", re.IGNORECASE)
_BREAKS: Final = re.compile(r"[ \t]*[\r\n]+[ \t]*")
_NO_CONTROLS: Final = str.maketrans("", "", "\r\n\t\v\f\x00")
_LINE_LENGTHS: Final = (64, 76)  # RFC 7468 2, RFC 2045 6.8
_INDEFINITE: Final = b"\x30\x80"
_END_OF_CONTENTS: Final = b"\x00\x00"


def dearmor(data: str | bytes, limit: int = DEFAULT_LIMIT, *, indefinite: bool = False) -> bytes:
    """The DER inside PEM, base64 or DER.

    Args:
        indefinite: take BER of indefinite length too (X.690 8.1.3.6); whether it is whole its reader finds out.

    Raises:
        TooLarge: the input is longer than `limit` characters or bytes.
        EncodingError: it is none of those, or holds a private key or several blocks.
    """
    if len(data) > limit:
        raise TooLarge(f"the input is longer than {limit} bytes")
    if isinstance(data, bytes) and data[:1] == b"\x30":  # base64 of DER begins with M, never with 0
        if not (indefinite and _is_indefinite(data)):
            der.require_single(data, der.SEQUENCE, "input")
        return data
    text = data if isinstance(data, str) else _text(data)
    if not text.strip("\ufeff\x00 \t\r\n"):
        raise EncodingError("the input is empty")
    return _decode(_body(text.lstrip("\ufeff")), indefinite)


def _text(data: bytes) -> str:
    codec = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise EncodingError("the input is neither DER nor PEM nor base64") from error


def _body(text: str) -> str:
    """What stands between header and closing line; everything where there is no header."""
    headers = list(_BEGIN.finditer(text))
    labels = [" ".join(header[1].replace("+", " ").upper().split()) for header in headers]
    if any("PRIVATE KEY" in label for label in labels):
        raise EncodingError("this is a private key: keep it, and send the request that was made with it")
    if len(headers) > 1:
        raise EncodingError(f"expected one PEM block, found {len(headers)}")
    if not headers:
        return text
    if labels[0] not in _LABELS:
        raise EncodingError(f"a PEM block of type {labels[0]!r} is not accepted here")
    end = _END.search(text, headers[0].end())
    return text[headers[0].end() : end.start() if end else len(text)]


def _decode(body: str, indefinite: bool) -> bytes:
    streamed: list[bytes] = []
    for candidate in _candidates(body):
        try:
            decoded = base64.b64decode(candidate + "=" * (-len(candidate) % 4), validate=True)
            if indefinite and _is_indefinite(decoded):
                streamed.append(decoded)
                continue
            der.require_single(decoded, der.SEQUENCE)
        except ValueError:  # no base64, no ASCII, or no complete DER
            continue
        return decoded
    if streamed:
        return streamed[1] if len(streamed) > 1 else streamed[0]  # no length tells; a blank was more often a plus
    raise EncodingError("the base64 does not decode to one complete DER value: it is cut off or damaged")


def _is_indefinite(data: bytes) -> bool:
    return data.startswith(_INDEFINITE) and data.endswith(_END_OF_CONTENTS)


def _candidates(body: str) -> Iterator[str]:
    """The readings of a body, without padding. A blank is layout, was a `+`, or was a line end."""
    flat = body.translate(_NO_CONTROLS)
    yield flat.replace(" ", "").rstrip("=")
    stripped = flat.strip(" ")
    if " " not in flat:
        return
    yield stripped.replace(" ", "+").rstrip("=")
    yield flat.replace(" ", "+").rstrip("=")  # the very last character was a plus
    yield _BREAKS.sub("", body.strip("\x00 \t\r\n")).replace(" ", "+").rstrip("=")  # indented lines
    for width in _LINE_LENGTHS:
        if stripped[width : width + 1] == " ":
            lines = (stripped[start : start + width] for start in range(0, len(stripped), width + 1))
            yield "".join(lines).replace(" ", "+").rstrip("=")


def armor(label: str, der_bytes: bytes, line_ending: str = "\n") -> str:
    """PEM with lines of 64 characters, the last one ended too."""
    body = base64.b64encode(der_bytes).decode("ascii")
    lines = [
        f"-----BEGIN {label}-----",
        *(body[i : i + 64] for i in range(0, len(body), 64)),
        f"-----END {label}-----",
    ]
    return line_ending.join(lines) + line_ending
