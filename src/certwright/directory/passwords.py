"""Passwords of the embedded directory: argon2id (RFC 9106), rules for new ones, random ones.

Checking takes some 30 ms on purpose, and as long for an account that does not exist. Length is the only rule for a
chosen password (NIST SP 800-63B 5.1.1.2 asks for no mixture of characters).
"""

from __future__ import annotations

import base64
import secrets
import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from certwright.adcs.errors import InvalidArgument

MINIMUM_LENGTH: Final = 12
MAXIMUM_LENGTH: Final = 256  # what Active Directory takes

_MEMORY_KIB, _PASSES, _LANES = 19 * 1024, 2, 1
_HASHER: Final = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES)

_ALPHABET: Final = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without l, I, O, 0 and 1
_GROUPS, _GROUP_LENGTH = 5, 5


def generate_password() -> str:
    """A random password that can be read out and typed: five groups of five, 145 bits."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))
    return "-".join(groups)


def check_new_password(password: str, minimum_length: int = MINIMUM_LENGTH) -> None:
    """Raises:
    InvalidArgument: too short, too long, or with characters nobody can type.
    """
    length = len(canonical(password))
    if not minimum_length <= length <= MAXIMUM_LENGTH:
        raise InvalidArgument(
            f"The password has {length} characters; it needs at least {minimum_length} and at most {MAXIMUM_LENGTH}."
        )
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in password):
        raise InvalidArgument("The password contains a control character; a file may end with a line break only.")


def canonical(password: str) -> str:
    """One form for a password however it was typed: Unicode NFC."""
    return unicodedata.normalize("NFC", password)


def hash_password(password: str) -> str:
    """The encoded argon2id hash, salt and parameters included."""
    return _HASHER.hash(_octets(password))


def verify(encoded: str, password: str) -> bool:
    """Is it the password? An empty or unreadable hash is none, and takes as long to find out."""
    if len(password) > 2 * MAXIMUM_LENGTH:  # nobody could set it, whatever its normal form
        encoded, password = "", password[:MAXIMUM_LENGTH]
    try:
        return _HASHER.verify(encoded or _dummy(), _octets(password)) and encoded != ""
    except InvalidHashError:
        return verify("", password)
    except VerificationError:
        return False


def _octets(password: str) -> bytes:
    return canonical(password).encode("utf-8", "surrogatepass")


def _dummy() -> str:
    """A hash of no known password with today's parameters."""
    salt, value = (
        base64.b64encode(secrets.token_bytes(octets)).rstrip(b"=").decode() for octets in (16, _HASHER.hash_len)
    )
    return f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p={_LANES}${salt}${value}"
