"""Section [directory] of certwright.toml: which directory tells who is who, and how it is reached."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.requester import parse_sid
from certwright.directory.active_directory.settings import DomainSettings
from certwright.pki.general_names import is_host_name

EMBEDDED: Final = "embedded"
ACTIVE_DIRECTORY: Final = "active-directory"
KINDS: Final = (EMBEDDED, ACTIVE_DIRECTORY)

SECTION: Final = "directory"
KEYS: Final = frozenset(
    {
        *(
            "kind",
            "realm",
            "dns-domain",
            "netbios",
            "sid",
            "account",
            "keytab",
            "password-file",
            "controllers",
            "site",
        ),
        *("name-servers", "ca-file", "cache-seconds", "stale-seconds", "timeout-seconds"),
    }
)
_LARGEST_PASSWORD: Final = 1024


class Reader(Protocol):
    """Values of the file by section and key."""

    def text(self, section: str, key: str, default: str) -> str: ...
    def texts(self, section: str, key: str) -> tuple[str, ...]: ...
    def integer(self, section: str, key: str, default: int, least: int, most: int) -> int: ...


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """As written. Files are in the home folder, or absolute paths.

    `netbios` and `sid` are the domain's; with them the CA starts also while no domain controller answers.
    """

    kind: str = EMBEDDED
    realm: str = ""
    dns_domain: str = ""
    netbios: str = ""
    sid: str = ""
    account: str = ""
    keytab: str = ""
    password_file: str = ""
    controllers: tuple[str, ...] = ()
    site: str = ""
    name_servers: tuple[str, ...] = ()
    ca_file: str = ""
    cache_seconds: int = 30
    stale_seconds: int = 0
    timeout_seconds: int = 5

    @classmethod
    def read(cls, reader: Reader) -> DirectorySettings:
        dns_domain = reader.text(SECTION, "dns-domain", "").lower().rstrip(".")
        return cls(
            kind=reader.text(SECTION, "kind", EMBEDDED),
            realm=reader.text(SECTION, "realm", "").upper() or dns_domain.upper(),
            dns_domain=dns_domain,
            netbios=reader.text(SECTION, "netbios", "").upper(),
            sid=reader.text(SECTION, "sid", "").upper(),
            account=reader.text(SECTION, "account", ""),
            keytab=reader.text(SECTION, "keytab", ""),
            password_file=reader.text(SECTION, "password-file", ""),
            controllers=reader.texts(SECTION, "controllers"),
            site=reader.text(SECTION, "site", ""),
            name_servers=reader.texts(SECTION, "name-servers"),
            ca_file=reader.text(SECTION, "ca-file", ""),
            cache_seconds=reader.integer(SECTION, "cache-seconds", 30, 0, 3600),
            stale_seconds=reader.integer(SECTION, "stale-seconds", 0, 0, 86400),
            timeout_seconds=reader.integer(SECTION, "timeout-seconds", 5, 1, 60),
        )

    @property
    def is_joined(self) -> bool:
        return self.kind == ACTIVE_DIRECTORY

    def check(self, where: str) -> None:
        """Raises `ConfigurationError` with the key's name."""
        if self.kind not in KINDS:
            raise ConfigurationError(f"{where}: [directory] kind: {self.kind!r} is none of {', '.join(KINDS)}")
        if not self.is_joined:
            return
        if not is_host_name(self.dns_domain):
            raise ConfigurationError(f"{where}: [directory] dns-domain: name the domain, such as corp.example")
        if not self.account or re.search(r'[\\@/"]', self.account):
            raise ConfigurationError(
                f"{where}: [directory] account: give the service account's name without its domain, such as svc-pki"
            )
        if bool(self.keytab) == bool(self.password_file):
            raise ConfigurationError(f"{where}: [directory] needs either keytab or password-file, and not both")
        for address in self.name_servers:
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise ConfigurationError(f"{where}: [directory] name-servers: {address!r} is no IP address") from None
        if bool(self.sid) != bool(self.netbios):
            raise ConfigurationError(f"{where}: [directory] sid and netbios belong together; give both or neither")
        if self.sid and not re.fullmatch(r"S-1-5-21-\d{1,10}-\d{1,10}-\d{1,10}", self.sid):
            raise ConfigurationError(f"{where}: [directory] sid: {self.sid!r} is no domain's SID (S-1-5-21-...)")

    def domain_settings(self, folder: Path) -> DomainSettings:
        """With paths made whole, and the password read.

        Raises:
            ConfigurationError: the password file or the keytab cannot be read.
        """
        keytab = folder / self.keytab if self.keytab else None
        if keytab is not None and not keytab.is_file():
            raise ConfigurationError(f"[directory] keytab: there is no file {keytab}")
        return DomainSettings(
            realm=self.realm,
            dns_domain=self.dns_domain,
            account=self.account,
            controllers=self.controllers,
            site=self.site,
            keytab=keytab,
            password=_password(folder / self.password_file) if self.password_file else "",
            ca_file=folder / self.ca_file if self.ca_file else None,
            netbios_name=self.netbios,
            domain_sid=parse_sid(self.sid) if self.sid else None,
            name_servers=self.name_servers,
            cache_seconds=float(self.cache_seconds),
            stale_seconds=float(self.stale_seconds),
            timeout=float(self.timeout_seconds),
        )

    def to_toml(self) -> str:
        """The section as `init` and joining write it."""
        if self.kind == EMBEDDED:
            return f'[directory]\nkind = "{EMBEDDED}"  # or "{ACTIVE_DIRECTORY}": see the guide\n'
        lines = [
            "[directory]  # the domain this installation belongs to",
            f"kind = {_quoted(self.kind)}",
            f"realm = {_quoted(self.realm)}",
            f"dns-domain = {_quoted(self.dns_domain)}",
            f"netbios = {_quoted(self.netbios)}",
            f"sid = {_quoted(self.sid)}",
            f"account = {_quoted(self.account)}  # reads the directory",
            f"keytab = {_quoted(self.keytab)}",
            f"password-file = {_quoted(self.password_file)}",
            f"controllers = {_list(self.controllers)}  # none: found by DNS",
            f"site = {_quoted(self.site)}  # empty: a domain controller is asked",
            f"name-servers = {_list(self.name_servers)}  # none: those of this host",
            f"ca-file = {_quoted(self.ca_file)}  # trusted for LDAPS; empty: what the system trusts",
            f"cache-seconds = {self.cache_seconds}  # an account's answer is used so long without asking again",
            f"stale-seconds = {self.stale_seconds}  # and so much longer while no domain controller answers",
            f"timeout-seconds = {self.timeout_seconds}",
        ]
        return "".join(f"{line}\n" for line in lines)


EMBEDDED_DIRECTORY: Final = DirectorySettings()


def _password(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_PASSWORD:
            raise ConfigurationError(f"[directory] password-file: {path} is too large to hold a password")
        return path.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"[directory] password-file: {path} cannot be read: {error}") from error


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _list(items: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_quoted, items))}]"
