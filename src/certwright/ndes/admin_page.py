"""The page that shows a challenge, as programs that read it expect it. UTF-16LE without a mark, like Microsoft's.

Scrapers look for whole sentences and for `<B> `: letters, blanks and case are part of the format.
"""

from __future__ import annotations

import hashlib
from html import escape
from typing import Final

TITLE: Final = "Network Device Enrollment Service"
CONTENT_TYPE: Final = b"text/html; charset=utf-16le"

_HEAD: Final = (
    '<HTML><HEAD><META HTTP-EQUIV="Content-Type" CONTENT="text/html; charset=UTF-16"><TITLE>'
    + TITLE
    + "</TITLE></HEAD><BODY BGCOLOR=#FFFFFF><P><B> "
    + TITLE
    + " </B></P><P> Network Device Enrollment Service allows you to obtain certificates for routers or other network"
    " devices using the Simple Certificate Enrollment Protocol (SCEP). </P>"
)
_TAIL: Final = "</BODY></HTML>"


def with_challenge(ca_certificate: bytes, password: str, minutes: int) -> bytes:
    return _page(
        "<P> To complete certificate enrollment for your network device you will need the following information:"
        " </P>"
        f"<P> The thumbprint (hash value) for the CA certificate is: <B> {thumbprint(ca_certificate)} </B></P>"
        f"<P> The enrollment challenge password is: <B> {escape(password)} </B></P>"
        f"<P> This password can be used only once and will expire within {minutes} minutes. </P>"
        "<P> Each enrollment requires a new challenge password. You can refresh this web page to obtain a new"
        " challenge password. </P>"
    )


def without_challenge(ca_certificate: bytes, *, static: bool) -> bytes:
    """Where challenges are not one-time; a static one is kept as a hash, so nobody can show it."""
    said = (
        "This password can be used multiple times and will not expire. It was shown when it was made."
        if static
        else "No challenge password is required."
    )
    return _page(
        f"<P> The thumbprint (hash value) for the CA certificate is: <B> {thumbprint(ca_certificate)} </B></P>"
        f"<P> {said} </P>"
    )


def cache_full(minutes: int) -> bytes:
    return _page(
        "<P> The password cache is full. </P><P> The Network Device Enrollment Service stores unused password for"
        f" later use. By default, passwords are stored for {minutes} minutes. </P>"
    )


def not_permitted() -> bytes:
    return _page(
        "<P> You do not have sufficient permission to enroll with SCEP.  Please contact your system administrator."
        " </P>"
    )


def for_devices(admin_url: str) -> bytes:
    """What a person sees who opens the address of the devices."""
    return _page(
        "<P> This URL is used by network devices to submit certificate requests. To obtain an enrollment challenge"
        f' password, go to the admin page: <A HREF="{escape(admin_url)}">{escape(admin_url)}</A> </P>'
    )


def _page(body: str) -> bytes:
    return (_HEAD + body + _TAIL).encode("utf-16-le")


def thumbprint(certificate: bytes) -> str:
    """MD5 in four groups of eight: so short because people compare it; it secures nothing here."""
    text = hashlib.md5(certificate, usedforsecurity=False).hexdigest().upper()
    return " ".join(text[start : start + 8] for start in range(0, 32, 8))
