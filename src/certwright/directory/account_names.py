"""How accounts, groups and hosts may be called, and when two names are the same. [MS-SAMR] 3.1.1.6.

Names are compared without regard to case and to how accents are composed, so that no two accounts look alike to a
directory and different to a person.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from certwright.adcs.errors import InvalidArgument
from certwright.pki.errors import EncodingError
from certwright.pki.general_names import host_name_to_ascii, is_host_name

MAX_USER_NAME: Final = 20
MAX_COMPUTER_NAME: Final = 15  # NetBIOS; the $ comes on top
MAX_GROUP_NAME: Final = 64
MAX_COMMON_NAME: Final = 64  # X.520 ub-common-name: a longer one could not stand in a certificate
MAX_UPN: Final = 256
MAX_MAIL: Final = 255
MAX_HOST_NAMES: Final = 64

_FORBIDDEN: Final = frozenset('"/\\[]:;|=,+*?<>@')
_NETBIOS = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,14}")
_LIKE_A_SID = re.compile(r"(?i)S-1-")
_MAIL_LOCAL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_RESERVED_AUTHORITIES: Final = frozenset({"builtin", "nt authority"})


def key(name: str) -> str:
    """The form in which names are compared."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def user_name(name: str) -> str:
    """A user's sAMAccountName.

    Raises:
        InvalidArgument: says which rule it breaks.
    """
    return _account_name(name, "user", MAX_USER_NAME)


def group_name(name: str) -> str:
    """Raises:
    InvalidArgument: says which rule it breaks.
    """
    return _account_name(name, "group", MAX_GROUP_NAME)


def computer_name(name: str) -> str:
    """A computer's sAMAccountName, which ends with a $; it is put there if it is missing.

    Raises:
        InvalidArgument: says which rule it breaks.
    """
    bare = name.removesuffix("$")
    if not _NETBIOS.fullmatch(bare) or bare.isdigit() or _LIKE_A_SID.match(bare):
        raise InvalidArgument(
            f"{_shown(name)} cannot be a computer's name: 1 to {MAX_COMPUTER_NAME} letters, digits and hyphens, not"
            " digits alone. The DNS name is given separately."
        )
    return f"{bare}$"


def _account_name(name: str, what: str, longest: int) -> str:
    bad = sorted({char for char in name if char in _FORBIDDEN or not char.isprintable()})
    if bad:
        raise InvalidArgument(f"{_shown(name)} cannot be a {what}'s name: it contains {' '.join(map(repr, bad))}.")
    if not 1 <= len(name) <= longest or name != name.strip() or name.endswith((".", "$")) or not name.strip(". "):
        raise InvalidArgument(
            f"{_shown(name)} cannot be a {what}'s name: 1 to {longest} characters, no blank at either end, no '.' or"
            " '$' at the end."
        )
    if _LIKE_A_SID.match(name):
        raise InvalidArgument(f"{_shown(name)} cannot be a {what}'s name: it reads like a SID.")
    return unicodedata.normalize("NFC", name)


def common_name(name: str) -> str:
    """Raises:
    InvalidArgument: it could not stand in a certificate.
    """
    if not 1 <= len(name) <= MAX_COMMON_NAME or not name.isprintable() or name != name.strip():
        raise InvalidArgument(f"{_shown(name)} cannot be a common name: 1 to {MAX_COMMON_NAME} printable characters.")
    return unicodedata.normalize("NFC", name)


def user_principal_name(upn: str) -> str:
    """Raises:
    InvalidArgument: it is not name@domain.
    """
    local, at, domain = upn.rpartition("@")
    if (
        not at
        or not local
        or len(upn) > MAX_UPN
        or not local.isprintable()
        or any(char in _FORBIDDEN or char.isspace() for char in local)
        or not is_host_name(domain)
    ):
        raise InvalidArgument(f"{_shown(upn)} is no user principal name; write name@domain.example.")
    return unicodedata.normalize("NFC", upn)


def mail_address(mail: str) -> str:
    """Raises:
    InvalidArgument: it is no mail address that a certificate can carry (RFC 5280 4.2.1.6: ASCII).
    """
    local, at, domain = mail.rpartition("@")
    if not at or len(mail) > MAX_MAIL or not _MAIL_LOCAL.fullmatch(local) or not is_host_name(domain):
        raise InvalidArgument(f"{_shown(mail)} is no mail address; write name@domain.example in ASCII.")
    return mail


def host_name(name: str) -> str:
    """A DNS name in the form certificates carry.

    Raises:
        InvalidArgument: it is none.
    """
    try:
        ascii_name = host_name_to_ascii(name)
    except EncodingError as error:
        raise InvalidArgument(f"{_shown(name)} is no DNS host name.") from error
    if not is_host_name(ascii_name):
        raise InvalidArgument(f"{_shown(name)} is no DNS host name of one host.")
    return ascii_name


def additional_host_names(names: Iterable[str]) -> tuple[str, ...]:
    """DNS names and IP addresses a computer answers to beside its DNS host name.

    Raises:
        InvalidArgument: one of them is neither, or there are too many.
    """
    found = tuple(dict.fromkeys(_address(name) or host_name(name) for name in names))
    if len(found) > MAX_HOST_NAMES:
        raise InvalidArgument(f"A computer has at most {MAX_HOST_NAMES} additional host names.")
    return found


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def domain_dns_name(name: str) -> str:
    """Raises:
    InvalidArgument: it is no DNS name.
    """
    return host_name(name)


def netbios_name(name: str) -> str:
    """The domain's short name, in capitals as Windows shows it.

    Raises:
        InvalidArgument: it is none, or Windows uses it for something else.
    """
    if not _NETBIOS.fullmatch(name) or name.isdigit() or key(name) in _RESERVED_AUTHORITIES:
        raise InvalidArgument(
            f"{_shown(name)} cannot be a domain's NetBIOS name: 1 to {MAX_COMPUTER_NAME} letters, digits and hyphens."
        )
    return name.upper()


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "...")
