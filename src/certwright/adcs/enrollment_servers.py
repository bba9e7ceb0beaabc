"""Where the Certificate Enrollment Web Services of a CA are found: values of msPKI-Enrollment-Servers.

[MS-ADA2] 2.612: five lines - priority, authentication, renewal only, URI, key-based renewal. People write them on one
line, as the setting `enrollment-servers` does.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

MAX_SERVERS: Final = 20
_RENEWAL_ONLY: Final = "renewal-only"
_KEY_BASED: Final = "key-based-renewal"


class ClientAuthentication(IntEnum):
    """How a client proves who it is. [MS-XCEP] 3.1.4.1.3.5."""

    ANONYMOUS = 1
    KERBEROS = 2
    PASSWORD = 4
    CERTIFICATE = 8


class EnrollmentServer(NamedTuple):
    """One of them. Clients try the lowest priority first."""

    priority: int
    authentication: ClientAuthentication
    uri: str
    renewal_only: bool = False
    key_based_renewal: bool = False

    @classmethod
    def parse(cls, text: str) -> EnrollmentServer:
        """`1 kerberos https://... [renewal-only] [key-based-renewal]`.

        Raises:
            ValueError: it is written otherwise.
        """
        priority, authentication, uri, *flags = (*text.split(), "", "", "")[: max(3, len(text.split()))]
        try:
            kind = ClientAuthentication[authentication.upper()]
        except KeyError:
            names = ", ".join(each.name.lower() for each in ClientAuthentication)
            raise ValueError(f"{text!r}: after the priority comes one of {names}, then the URL") from None
        if not priority.isdecimal() or len(priority) > 9:
            raise ValueError(f"{text!r} does not begin with a priority, such as 1")
        if not uri.startswith("https://") or not (uri.isascii() and uri.isprintable()):
            raise ValueError(f"{text!r}: {uri!r} is no URL that starts with https://")
        unknown = [flag for flag in flags if flag not in (_RENEWAL_ONLY, _KEY_BASED)]
        if unknown:
            raise ValueError(f"{text!r}: {unknown[0]} is neither {_RENEWAL_ONLY} nor {_KEY_BASED}")
        return cls(int(priority), kind, uri, _RENEWAL_ONLY in flags, _KEY_BASED in flags)

    def encode(self) -> bytes:
        """The attribute's value."""
        lines = (
            *(str(self.priority), str(int(self.authentication)), str(int(self.renewal_only))),
            *(self.uri, str(int(self.key_based_renewal))),
        )
        return "\n".join(lines).encode()

    def __str__(self) -> str:
        flags = (_RENEWAL_ONLY if self.renewal_only else "", _KEY_BASED if self.key_based_renewal else "")
        return " ".join(filter(None, (str(self.priority), self.authentication.name.lower(), self.uri, *flags)))


def parse_enrollment_servers(text: str) -> tuple[EnrollmentServer, ...]:
    """Several of them, separated by semicolons; none in an empty text.

    Raises:
        ValueError: one is written otherwise, or there are more than `MAX_SERVERS`.
    """
    found = tuple(EnrollmentServer.parse(part) for part in text.split(";") if part.strip())
    if len(found) > MAX_SERVERS:
        raise ValueError(f"at most {MAX_SERVERS} are possible")
    return found


def write_enrollment_servers(servers: tuple[EnrollmentServer, ...]) -> str:
    return "; ".join(map(str, servers))
