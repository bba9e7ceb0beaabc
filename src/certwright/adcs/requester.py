"""Who asks: the authenticated caller of a connection. [MS-WCCE] 3.2.1.4.2.1 (caller identity)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NewType

Sid = NewType("Sid", str)
"""A security identifier in string form, `S-1-5-21-...` ([MS-DTYP] 2.4.2.1)."""

_SID = re.compile(r"S-1-(\d{1,15}|0x[0-9a-fA-F]{12})(-\d{1,10}){0,15}", re.ASCII)

EVERYONE: Final = Sid("S-1-1-0")
AUTHENTICATED_USERS: Final = Sid("S-1-5-11")
LOCAL_SYSTEM: Final = Sid("S-1-5-18")
BUILTIN_ADMINISTRATORS: Final = Sid("S-1-5-32-544")
ENTERPRISE_DOMAIN_CONTROLLERS: Final = Sid("S-1-5-9")


def parse_sid(text: str) -> Sid:
    """Check and return a SID in string form.

    Raises:
        ValueError: not a SID.
    """
    if not _SID.fullmatch(text):
        raise ValueError(f"{text!r} is not a security identifier (S-1-...)")
    return Sid(text)


class AuthMethod(Enum):
    """How the caller proved who they are."""

    KERBEROS = "Kerberos"
    NTLM = "NTLM"
    BASIC = "Basic"
    USER_NAME = "UserName"  # user name and password in a message, WS-Security
    CLIENT_CERTIFICATE = "Certificate"
    LOCAL = "Local"  # an operator with access to the home folder, or one of our own services


@dataclass(frozen=True, slots=True)
class Credential:
    """What a remote connector may use to act for the caller. `secret` never shows in a repr or a log."""

    kind: str
    secret: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class Requester:
    """Who is on the connection; never a name found inside a request.

    `account` is `DOMAIN\\name`; `groups` are all transitive group SIDs, the well-known ones included.
    """

    account: str
    sid: Sid
    groups: frozenset[Sid]
    method: AuthMethod
    credential: Credential | None = None
    origin: str = ""  # peer address, or the name of the operator's session, for the audit trail

    @property
    def sids(self) -> frozenset[Sid]:
        """The SIDs an access check runs over: the account's own and its groups'."""
        return self.groups | {self.sid}
