"""Refuses requests that another site makes a browser send.

Browsers attach Negotiate credentials by themselves, the pages of /certsrv have no token and scripts send none. So the
headers that only browsers set decide: whoever states a foreign origin is refused, whoever states none is no browser.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

_OWN = (b"same-origin", b"none")


def is_cross_site(headers: Mapping[bytes, bytes]) -> bool:
    """Whether Sec-Fetch-Site, Origin or, where there is no Origin, Referer names another place than Host.

    Origin must be https and name the same host and port. Of a Referer only host and port are compared: scripts
    write it by hand.
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None and site.strip().lower() not in _OWN:
        return True
    origin, referer = headers.get(b"origin"), headers.get(b"referer", b"").strip()
    if origin is None and not referer:
        return False
    host = _authority("https://" + headers.get(b"host", b"").decode("latin-1"))
    if host is None:
        return True
    if origin is not None:
        text = origin.decode("latin-1").strip()
        return not text.lower().startswith("https://") or _authority(text) != host
    return _authority(referer.decode("latin-1")) != host


def _authority(url: str) -> tuple[str, int] | None:
    """Host and port of a URL, None when it has none."""
    try:
        parts = urlsplit(url)
        default = {"https": 443, "http": 443}.get(parts.scheme.lower())  # a hand-written http:// Referer is taken
        port = parts.port or default
    except ValueError:
        return None
    if not parts.hostname or port is None:
        return None
    return parts.hostname.casefold().rstrip("."), port
