"""The home folder: everything of one installation in one place, and the file that describes it.

    certwright.toml            names, listeners, database, log: what whoever installs it decides
    database.sqlite3           unless the database is PostgreSQL
    master.key                 seals everything secret; keep it apart from backups of the rest
    keys/                      private keys of the CAs, sealed
    tls/                       keys and certificates of our own listeners
    kerberos.replay            Kerberos tickets that were used, as long as they are good
    published/                 CRLs and CA certificates, served as /CertEnroll/
    root-ca.crt                the certificate clients have to trust
    console.key                signs the console's sessions, sealed
    administrator-password     the first password, until somebody removes it

A CA's own settings lie in the database, where officers change them. A mistake in the file is one sentence that says
what to change.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from certwright.adcs.errors import ConfigurationError
from certwright.directory.active_directory.settings import DomainSettings
from certwright.pki.general_names import is_host_name
from certwright.server import directory_settings
from certwright.server.directory_settings import EMBEDDED_DIRECTORY, DirectorySettings

FORMAT: Final = 1
"""Version of the layout; a newer one is refused by an older program."""
DEFAULT_HOME: Final = Path("certwright-home")
CONFIGURATION: Final = "certwright.toml"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("auto", "console", "json")
LOOPBACK: Final = ("127.0.0.1", "::1")
SQLITE: Final = "sqlite"

_SECTIONS: Final[Mapping[str, frozenset[str]]] = {
    "installation": frozenset({"format", "hostname"}),
    "listeners": frozenset({"bind", "https-port", "http-port", "certificate-port"}),
    "database": frozenset({"url"}),
    directory_settings.SECTION: directory_settings.KEYS,
    "log": frozenset({"level", "format"}),
    "manager": frozenset({"officer"}),
    "notifications": frozenset({"webhook-allow"}),
    "openid": frozenset({"name", "issuer", "client-id", "client-secret-file"}),
    "authentication": frozenset({"keytab", "allow-rc4", "ntlm-auth", "client-certificates"}),
}
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_LARGEST_FILE: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class OpenIdSettings:
    """An OpenID Connect provider that people may sign in to the console with. The secret is in a file of its own."""

    name: str
    issuer: str
    client_id: str
    client_secret_file: str  # in the home folder, or an absolute path

    def check(self, where: str) -> None:
        """Raises `ConfigurationError` with the key's name."""
        if not (self.name and self.client_id and self.client_secret_file):
            raise ConfigurationError(f"{where}: [openid] needs name, issuer, client-id and client-secret-file")
        parts = urlsplit(self.issuer)
        if parts.scheme != "https" or not parts.hostname or not re.fullmatch(r"[!-~]+", self.issuer):
            raise ConfigurationError(f"{where}: issuer: {self.issuer!r} is no address that starts with https://")


@dataclass(frozen=True, slots=True)
class AuthenticationSettings:
    """How accounts of a domain log on at the listeners, besides what the CA's settings say.

    `keytab` is in the home folder or an absolute path, empty for that of [directory]; `ntlm_auth` is Samba's program,
    empty for the one on the path.
    """

    keytab: str = ""
    allow_rc4: bool = False
    ntlm_auth: str = ""
    client_certificates: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What certwright.toml says.

    `certificate_port` is where CEP and CES take clients that show a certificate; 0 means nowhere.
    `bind` are IP addresses; none means loopback and, where the host name stands for loopback too, that address.
    `officer` is the account by which the manager approves and revokes at CAs of this installation; empty for none.
    `webhook_allow` are hosts and networks that webhooks may call although they are not public.
    """

    hostname: str
    https_port: int = 8443
    http_port: int = 8080
    bind: tuple[str, ...] = ()
    database_url: str = SQLITE
    log_level: str = "info"
    log_format: str = "auto"
    officer: str = ""
    webhook_allow: tuple[str, ...] = ()
    openid: OpenIdSettings | None = None
    authentication: AuthenticationSettings = AuthenticationSettings()
    directory: DirectorySettings = EMBEDDED_DIRECTORY
    certificate_port: int = 0

    @property
    def https_url(self) -> str:
        """`https://host[:port]`, the port left out where it goes without saying."""
        return f"https://{self.hostname}" + ("" if self.https_port == 443 else f":{self.https_port}")

    @property
    def certificate_url(self) -> str:
        """Of the listener that asks clients for a certificate; empty where there is none."""
        return f"https://{self.hostname}:{self.certificate_port}" if self.certificate_port else ""

    @property
    def http_url(self) -> str:
        return f"http://{self.hostname}" + ("" if self.http_port == 80 else f":{self.http_port}")

    def to_toml(self) -> str:
        """The file `init` writes."""
        bind = ", ".join(_quoted(address) for address in self.bind)
        webhook_allow = ", ".join(_quoted(target) for target in self.webhook_allow)
        return f"""\
# One Certwright installation. Read at every start; settings of a CA are changed with: certwright ca set

[installation]
format = {FORMAT}
hostname = {_quoted(self.hostname)}  # stands in certificates already issued (CDP, AIA): do not change it lightly

[listeners]
bind = [{bind}]  # empty: this host only; "0.0.0.0", "::": every interface
https-port = {self.https_port}
http-port = {self.http_port}  # CRLs and CA certificates; stands in certificates already issued
certificate-port = {self.certificate_port}  # CEP and CES for clients that show a certificate; 0: nowhere

[database]
url = {_quoted(self.database_url)}  # "sqlite", or postgresql://user:password@host/database

[log]
level = {_quoted(self.log_level)}  # {", ".join(LOG_LEVELS)}
format = {_quoted(self.log_format)}  # {", ".join(LOG_FORMATS)}

[manager]
officer = {_quoted(self.officer)}  # a certificate manager's account, for approvals and revocations by the manager

[notifications]
webhook-allow = [{webhook_allow}]  # inside targets that webhooks may call: "hooks.corp.example", "10.1.0.0/16"

{self.directory.to_toml()}
{self._authentication_section()}
{self._openid_section()}"""

    def _authentication_section(self) -> str:
        chosen = self.authentication
        lines = (
            "[authentication]  # of accounts of an Active Directory domain",
            f"keytab = {_quoted(chosen.keytab)}  # of HTTP/ and this host's names; empty: the one of [directory]",
            f"allow-rc4 = {_switch(chosen.allow_rc4)}  # Kerberos for accounts without AES keys",
            f"ntlm-auth = {_quoted(chosen.ntlm_auth)}  # Samba's program for NTLM; empty: ntlm_auth on the path",
            f"client-certificates = {_switch(chosen.client_certificates)}  # ask TLS clients for theirs",
        )
        unset = chosen == AuthenticationSettings()
        return "".join(f"# {line}\n" if unset else f"{line}\n" for line in lines)

    def _openid_section(self) -> str:
        chosen = self.openid or OpenIdSettings(
            "Corp Login", "https://login.corp.example", "certwright", "openid-secret"
        )
        lines = (
            "[openid]  # who else may sign in to the console; they have no role until somebody gives them one",
            f"name = {_quoted(chosen.name)}",
            f"issuer = {_quoted(chosen.issuer)}",
            f"client-id = {_quoted(chosen.client_id)}",
            f"client-secret-file = {_quoted(chosen.client_secret_file)}  # in this folder, or an absolute path",
        )
        return "".join(f"{line}\n" if self.openid else f"# {line}\n" for line in lines)

    @classmethod
    def from_toml(cls, text: str, name: str = CONFIGURATION) -> Settings:
        """Read and check the file.

        Raises:
            ConfigurationError: it is no TOML, has an unknown key, lacks one, or a value cannot be.
        """
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{name} is no TOML: {error}") from error
        reader = _Tables(tables, name)
        reader.refuse_unknown()
        found = reader.integer("installation", "format", FORMAT, 1, 10**6)
        if found > FORMAT:
            raise ConfigurationError(
                f"{name}: format {found} is newer than this program's {FORMAT}; install a newer Certwright"
            )
        settings = cls(
            hostname=reader.text("installation", "hostname", ""),
            https_port=reader.integer("listeners", "https-port", 8443, 1, 65535),
            http_port=reader.integer("listeners", "http-port", 8080, 1, 65535),
            certificate_port=reader.integer("listeners", "certificate-port", 0, 0, 65535),
            bind=reader.texts("listeners", "bind"),
            database_url=reader.text("database", "url", SQLITE),
            log_level=reader.text("log", "level", "info"),
            log_format=reader.text("log", "format", "auto"),
            officer=reader.text("manager", "officer", ""),
            webhook_allow=reader.texts("notifications", "webhook-allow"),
            openid=_openid(reader) if "openid" in tables else None,
            authentication=AuthenticationSettings(
                keytab=reader.text("authentication", "keytab", ""),
                allow_rc4=reader.switch("authentication", "allow-rc4"),
                ntlm_auth=reader.text("authentication", "ntlm-auth", ""),
                client_certificates=reader.switch("authentication", "client-certificates"),
            ),
            directory=DirectorySettings.read(reader),
        )
        settings.check(name)
        return settings

    def check(self, where: str = CONFIGURATION) -> None:
        """Refuse values that cannot work. Raises `ConfigurationError` with the key's name."""
        check_hostname(self.hostname, f"{where}: hostname")
        if self.https_port == self.http_port:
            raise ConfigurationError(
                f"{where}: https-port and http-port are both {self.http_port}; give each its own port"
            )
        if self.certificate_port in (self.https_port, self.http_port):
            raise ConfigurationError(
                f"{where}: certificate-port is {self.certificate_port}, as another listener's; give each its own port"
            )
        for address in self.bind:
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise ConfigurationError(
                    f"{where}: bind: {address!r} is no IP address; use one of this host, or 0.0.0.0 for all"
                ) from None
        check_database_url(self.database_url, f"{where}: database url")
        _one_of(self.log_level, LOG_LEVELS, f"{where}: log level")
        _one_of(self.log_format, LOG_FORMATS, f"{where}: log format")
        self.directory.check(where)
        if self.openid is not None:
            self.openid.check(where)


def check_hostname(name: str, where: str) -> None:
    """Raises `ConfigurationError` when `name` cannot stand in a URL and in a certificate as a DNS name."""
    if not name:
        raise ConfigurationError(
            f"{where} is missing; name this host as clients reach it, for example ca.corp.example"
        )
    if not is_host_name(name) or re.fullmatch(r"[0-9.]+", name):
        raise ConfigurationError(f"{where}: {name!r} is no host name; use a DNS name such as ca.corp.example")


def check_database_url(url: str, where: str) -> None:
    """Raises `ConfigurationError` unless it is `sqlite` or a PostgreSQL URL that names a database."""
    if url == SQLITE:
        return
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigurationError(
            f'{where}: {parts.scheme or "it"!r} is not supported; use "sqlite" or postgresql://user:password@host/name'
        )
    if not parts.path.strip("/"):
        raise ConfigurationError(f"{where} names no database; write postgresql://user:password@host/name")


class Home:
    """The paths of one home folder. Opening it reads nothing but certwright.toml."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings

    @classmethod
    def open(cls, folder: Path) -> Home:
        """An initialised home folder.

        Raises:
            ConfigurationError: there is none, or its file is wrong.
        """
        folder = folder.absolute()
        path = folder / CONFIGURATION
        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise ConfigurationError(f"{path} is too large to be a configuration file")
            text = path.read_text("utf-8")
        except FileNotFoundError:
            raise ConfigurationError(
                f"{folder} is no Certwright home: run certwright init, or name the folder with --home"
            ) from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"{path} is not UTF-8 text") from None
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
        return cls(folder, Settings.from_toml(text, str(path)))

    @property
    def database_url(self) -> str:
        """As `database.Database.open` takes it."""
        if self.settings.database_url == SQLITE:
            return f"sqlite:///{self.folder / 'database.sqlite3'}"
        return self.settings.database_url

    @property
    def domain(self) -> DomainSettings | None:
        """The Active Directory this installation belongs to; none with the embedded directory alone.

        Raises:
            ConfigurationError: the keytab or the password file cannot be read.
        """
        directory = self.settings.directory
        return directory.domain_settings(self.folder) if directory.is_joined else None

    @property
    def configuration(self) -> Path:
        return self.folder / CONFIGURATION

    @property
    def master_key(self) -> Path:
        return self.folder / "master.key"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def tls(self) -> Path:
        return self.folder / "tls"

    @property
    def responder(self) -> Path:
        """Signing certificates of the Online Responder and their keys."""
        return self.folder / "responder"

    @property
    def ndes(self) -> Path:
        return self.folder / "ndes"

    @property
    def published(self) -> Path:
        return self.folder / "published"

    @property
    def root_certificate(self) -> Path:
        return self.folder / "root-ca.crt"

    @property
    def administrator_password(self) -> Path:
        return self.folder / "administrator-password"

    @contextmanager
    def locked(self, duty: str) -> Iterator[None]:
        """Hold the only lock for a duty (`serve`, `worker`) of this home as long as the context lasts.

        Raises:
            ConfigurationError: another process holds it; the sentence names the process.
        """
        path = self.folder / f"{duty}.lock"
        with _open_lock(path) as file:
            if not _try_lock(file):
                file.seek(0)
                owner = file.read(32).decode("ascii", "replace").strip() or "unknown"
                raise ConfigurationError(
                    f"process {owner} runs on {self.folder} already (certwright {duty}); stop it first"
                )
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)  # the lock itself goes with the descriptor, after a crash too

    def lock_identity(self, duty: str) -> str:
        """Names the lock of a duty for as long as this system runs; empty where it cannot be told.

        Whoever holds that lock knows that every process which called itself so before has ended: a lock is a file of
        one running kernel, and this is its number there. After a restart of the system it is called otherwise.
        """
        try:
            boot = _BOOT_ID.read_text("ascii").strip()
            with _open_lock(self.folder / f"{duty}.lock") as file:
                found = os.fstat(file.fileno())
        except (OSError, ConfigurationError):
            return ""
        return f"{boot}:{found.st_dev:x}:{found.st_ino:x}"


def is_initialised(folder: Path) -> bool:
    return (folder / CONFIGURATION).exists()


def _open_lock(path: Path) -> IO[bytes]:
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b", buffering=0)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error


def _try_lock(file: IO[bytes]) -> bool:
    if os.name == "nt":  # pragma: no cover - POSIX is what the tests run on
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Tables:
    """Values of a TOML file, fetched by section and key, with sentences for what is wrong."""

    def __init__(self, tables: Mapping[str, object], name: str) -> None:
        self._tables = tables
        self._name = name

    def refuse_unknown(self) -> None:
        for section, values in self._tables.items():
            if section not in _SECTIONS:
                raise ConfigurationError(f"{self._name}: unknown section [{section}]; known: {_listed(_SECTIONS)}")
            if not isinstance(values, dict):
                raise ConfigurationError(f"{self._name}: {section} is a section, write [{section}]")
            for key in values:
                if key not in _SECTIONS[section]:
                    known = _listed(_SECTIONS[section])
                    raise ConfigurationError(f"{self._name}: [{section}] has no key {key!r}; known: {known}")

    def text(self, section: str, key: str, default: str) -> str:
        value = self._value(section, key, default)
        if not isinstance(value, str):
            raise ConfigurationError(f'{self._name}: {key} must be text in quotes, such as "{default}"')
        return value

    def texts(self, section: str, key: str) -> tuple[str, ...]:
        value = self._value(section, key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigurationError(f'{self._name}: {key} must be a list of addresses, such as ["0.0.0.0"]')
        return tuple(value)

    def integer(self, section: str, key: str, default: int, least: int, most: int) -> int:
        value = self._value(section, key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ConfigurationError(f"{self._name}: {key} must be a number from {least} to {most}, not {value!r}")
        return value

    def switch(self, section: str, key: str) -> bool:
        """True or false; false where nothing is said."""
        value = self._value(section, key, False)
        if not isinstance(value, bool):
            raise ConfigurationError(f"{self._name}: {key} must be true or false, not {value!r}")
        return value

    def _value(self, section: str, key: str, default: object) -> object:
        table = self._tables.get(section, {})
        return table.get(key, default) if isinstance(table, dict) else default


def _openid(reader: _Tables) -> OpenIdSettings:
    return OpenIdSettings(
        name=reader.text("openid", "name", ""),
        issuer=reader.text("openid", "issuer", ""),
        client_id=reader.text("openid", "client-id", ""),
        client_secret_file=reader.text("openid", "client-secret-file", ""),
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _switch(is_on: bool) -> str:
    return "true" if is_on else "false"


def _listed(names: Mapping[str, object] | frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _one_of(value: str, known: tuple[str, ...], where: str) -> None:
    if value not in known:
        raise ConfigurationError(f"{where}: {value!r} is none of {', '.join(known)}")
