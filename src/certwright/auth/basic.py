"""Basic: name and password in one header. RFC 7617, inside TLS only."""

from __future__ import annotations

from typing import Final

from certwright.auth.mechanism import Refused

MAX_CREDENTIALS: Final = 2048
"""Longest name and password taken together, in bytes."""


def parse_credentials(data: bytes) -> tuple[str, str, str]:
    r"""Domain, user and password of a decoded `user:password`; `DOMAIN\user` is taken apart, `user@realm` is not.

    UTF-8, as RFC 7617 3 would have it; where the bytes are none, Latin-1, which older clients send.

    Raises:
        Refused: no colon, no name, or longer than `MAX_CREDENTIALS`.
    """
    if len(data) > MAX_CREDENTIALS:
        raise Refused("name and password are too long")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    name, colon, password = text.partition(":")
    domain, backslash, user = name.partition("\\")
    if not backslash:
        domain, user = "", name
    if not colon or not user:
        raise Refused("the credentials are not name, colon and password", name)
    return domain, user, password


def challenge(realm: str) -> bytes:
    """The value of WWW-Authenticate."""
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'Basic realm="{quoted}"'.encode("ascii", "replace")
