"""Where an AD CS service is reached, and as whom: the values a remote connector is given.

Nothing here talks to anybody. Values are checked when they are made, so that what arrives at a connector can be put
into an address or a logon as it stands.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from certwright.adcs.errors import ConfigurationError

DEFAULT_PORT: Final = 443
DEFAULT_PATH: Final = "/certsrv/"
MAX_SECRET: Final = 64 * 1024
"""Longest password or keytab taken, in bytes."""

_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_PATH: Final = re.compile(r"/(?:(?!\.{1,2}/)[A-Za-z0-9._~-]{1,64}/){0,8}")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")


class AuthScheme(StrEnum):
    """How to log on. Basic hands the password itself to the server: only where an administrator asked for it."""

    NTLM = "ntlm"
    KERBEROS = "kerberos"
    BASIC = "basic"

    @property
    def label(self) -> str:
        return {"ntlm": "NTLM", "kerberos": "Kerberos", "basic": "Basic"}[self.value]


class CredentialKind(StrEnum):
    PASSWORD = "password"  # noqa: S105 - a kind, not a password
    KEYTAB = "keytab"


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Web Enrollment of one AD CS server.

    Args:
        hostname: DNS name as its certificate and its service principal name have it; an address only for tests and
            emergencies (Kerberos knows no addresses).
        path: the virtual directory, with slashes at both ends.

    Raises:
        ConfigurationError: a part cannot be an address.
    """

    hostname: str
    port: int = DEFAULT_PORT
    scheme: AuthScheme = AuthScheme.NTLM
    path: str = DEFAULT_PATH

    def __post_init__(self) -> None:
        if not _is_host(self.hostname):
            raise ConfigurationError(
                f"{self.hostname[:80]!r} is no host name; give the server's DNS name, as in ca.corp.example"
            )
        if not 0 < self.port < 65536:
            raise ConfigurationError(f"{self.port} is no port; give a number from 1 to 65535, usually {DEFAULT_PORT}")
        if not _PATH.fullmatch(self.path):
            raise ConfigurationError(f"{self.path[:80]!r} is no path of Web Enrollment; usually it is {DEFAULT_PATH}")

    @property
    def url(self) -> str:
        """Of the virtual directory, ending in a slash."""
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"https://{host}:{self.port}{self.path}"

    def __str__(self) -> str:
        return self.hostname if self.port == DEFAULT_PORT else f"{self.hostname}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServiceCredential:
    r"""The account that logs on. The secret shows in no repr.

    Args:
        username: `DOMAIN\name`, `name@realm`, or `name` where `realm` says of which domain.
        secret: the password, or the octets of a keytab.
        realm: DNS name of the domain, which Kerberos needs unless the user name ends in it.

    Raises:
        ConfigurationError: a part is missing or cannot be what it should be.
    """

    username: str
    kind: CredentialKind
    secret: str | bytes = field(repr=False)
    realm: str = ""

    def __post_init__(self) -> None:
        if not self.username or len(self.username) > 256 or _CONTROLS.search(self.username):
            raise ConfigurationError("the user name is empty, too long, or has control characters")
        if len(self.realm) > 255 or (self.realm and not _is_host(self.realm)):
            raise ConfigurationError(f"{self.realm[:80]!r} is no domain name; give it as in corp.example")
        expected: type = str if self.kind is CredentialKind.PASSWORD else bytes
        if not isinstance(self.secret, expected) or not 0 < len(self.secret) <= MAX_SECRET:
            raise ConfigurationError(f"the {self.kind.value} of {self.username} is empty or too long")

    @classmethod
    def password(cls, username: str, password: str, realm: str = "") -> ServiceCredential:
        return cls(username, CredentialKind.PASSWORD, password, realm)

    @classmethod
    def keytab(cls, username: str, keytab: bytes, realm: str = "") -> ServiceCredential:
        return cls(username, CredentialKind.KEYTAB, keytab, realm)

    @property
    def logon_name(self) -> str:
        r"""As NTLM and Basic send it: a bare name gets the realm as its domain."""
        if "\\" in self.username or "@" in self.username or not self.realm:
            return self.username
        return f"{self.realm}\\{self.username}"

    @property
    def principal(self) -> str:
        r"""`name@REALM`, as Kerberos wants it.

        Raises:
            ConfigurationError: the user name gives a NetBIOS domain only, and there is no realm.
        """
        domain, backslash, name = self.username.rpartition("\\")
        if not backslash and "@" in self.username:
            name, _, realm = self.username.rpartition("@")
            return f"{name}@{realm.upper()}"
        realm = self.realm or (domain if "." in domain else "")
        if not realm:
            raise ConfigurationError(
                f"Kerberos needs the DNS name of the domain: write the user name as {name}@corp.example"
            )
        return f"{name}@{realm.upper()}"


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return 0 < len(text) <= 253 and all(_LABEL.fullmatch(label) for label in text.split("."))
    return "%" not in text
