"""`init`: a new installation, unattended, all or nothing.

Everything is made in a folder beside the home to be and renamed in one step at the end, so that an interruption
leaves nothing that looks like an installation. In PostgreSQL there is no such step: `init` takes an empty database
only, and after an interruption asks for a new one.
"""

from __future__ import annotations

import re
import secrets
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.properties import CaType
from certwright.adcs.requester import Requester
from certwright.ca import installation as ca_installation
from certwright.ca.database import CaCertificateRecord
from certwright.ca.store import SqlCaDatabase
from certwright.database import Database, DatabaseError
from certwright.directory import passwords
from certwright.directory.base import PrincipalKind
from certwright.keystores.base import KeyAlgorithm
from certwright.keystores.sealing import Sealer, write_new
from certwright.pki import armor
from certwright.pki.general_names import is_host_name
from certwright.server.authorities import new_row, subject
from certwright.server.composition import SYSTEM, Installation, host_account_name
from certwright.server.duties import enroll_listener_certificate
from certwright.server.home import CONFIGURATION, LOOPBACK, SQLITE, Home, Settings, is_initialised
from certwright.server.listeners import resolve
from certwright.server.system_user import system_user

DEFAULT_DOMAIN: Final = "corp.example"
"""Where the host's own name has no domain. The zone is reserved for examples (RFC 2606): it is nobody's."""
ROOT_KEY: Final = "root-ca"
ISSUING_KEY: Final = "issuing-ca"
_NETBIOS: Final = re.compile(r"[A-Z0-9](?:[A-Z0-9-]{0,13}[A-Z0-9])?")

Step = Callable[[str], None]


class Cas(StrEnum):
    """Which CAs a new installation has."""

    TWO_TIER = "two-tier"  # a root and an issuing CA below it
    ROOT = "root"  # the root alone, for a host without a network; no listeners
    NONE = "none"  # none yet: one that is signed elsewhere follows


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be made, checked."""

    settings: Settings
    dns_domain: str
    netbios: str
    root_key: KeyAlgorithm
    ca_key: KeyAlgorithm
    password: str  # empty: one is made up
    cas: Cas = Cas.TWO_TIER

    @classmethod
    def make(
        cls,
        settings: Settings,
        *,
        dns_domain: str = "",
        netbios: str = "",
        root_key: KeyAlgorithm = KeyAlgorithm.RSA_4096,
        ca_key: KeyAlgorithm = KeyAlgorithm.RSA_3072,
        password: str = "",
        cas: Cas = Cas.TWO_TIER,
    ) -> Self:
        """Fill in what was not said.

        Raises:
            ConfigurationError: a name cannot be used.
        """
        dns_domain = (dns_domain or default_domain(settings.hostname)).lower().rstrip(".")
        if not is_host_name(dns_domain):
            raise ConfigurationError(f"--dns-domain: {dns_domain!r} is no domain name; use one such as corp.example")
        netbios = (netbios or default_netbios(dns_domain)).upper()
        if not _NETBIOS.fullmatch(netbios):
            raise ConfigurationError(
                f"--netbios: {netbios!r} is no short domain name; use 1 to 15 letters, digits and hyphens"
            )
        return cls(settings, dns_domain, netbios, root_key, ca_key, password, cas)

    @property
    def steps(self) -> int:
        """How often `initialize` calls its step."""
        return {Cas.TWO_TIER: 7, Cas.ROOT: 5, Cas.NONE: 3}[self.cas]

    @property
    def root_name(self) -> str:
        return f"{self.netbios} Root CA"

    @property
    def issuing_name(self) -> str:
        return f"{self.netbios} Issuing CA"

    @property
    def domain_name(self) -> str:
        """`DC=corp,DC=example`."""
        return ",".join(f"DC={label}" for label in self.dns_domain.split("."))


def plan_settings(hostname: str, https_port: int, http_port: int, bind: tuple[str, ...], database: str) -> Settings:
    """Settings of the new home. A host name that was given and leads to more than loopback is served there too.

    Raises:
        ConfigurationError: one of them cannot be used.
    """
    named = hostname.lower().rstrip(".")
    if named and not bind:
        addresses = resolve(named)
        if any(address not in LOOPBACK and not address.startswith("127.") for address in addresses):
            bind = tuple(dict.fromkeys((LOOPBACK[0], *addresses)))
    settings = Settings(named or default_hostname(bind), https_port, http_port, bind, database)
    settings.check("the options")
    return settings


def default_hostname(bind: tuple[str, ...]) -> str:
    """This host's full name where it leads to a listener, else `localhost`."""
    name = socket.getfqdn().lower().rstrip(".")
    if "." not in name or not is_host_name(name) or name.startswith("localhost."):
        return "localhost"
    addresses = resolve(name)
    reachable = bool(bind) or all(address in LOOPBACK or address.startswith("127.") for address in addresses)
    return name if addresses and reachable else "localhost"


def default_domain(hostname: str) -> str:
    """The domain of the host, with a label of its own where that is a top-level domain."""
    _, _, domain = hostname.partition(".")
    if not domain:
        return DEFAULT_DOMAIN
    return domain if "." in domain else f"corp.{domain}"


def default_netbios(dns_domain: str) -> str:
    label = re.sub(r"[^A-Z0-9-]", "", dns_domain.partition(".")[0].upper())[:15].strip("-")
    return label or "CORP"


def initialize(folder: Path, plan: Plan, step: Step = lambda _: None) -> Home:
    """Make a new home.

    Raises:
        ConfigurationError: the folder or the database is in use already, or cannot be used.
    """
    folder = folder.absolute()
    refuse_used(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigurationError(f"{folder.parent} cannot be written: {error.strerror}") from error
    try:
        _fill(Home(draft, plan.settings), plan, step)
        refuse_used(folder)
        _put_in_place(draft, folder)
    except DatabaseError as error:
        raise ConfigurationError(str(error)) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Home.open(folder)


def _put_in_place(draft: Path, folder: Path) -> None:
    """One rename. An empty folder that cannot be replaced (a volume of a container) is filled instead, the file that
    makes it an installation last."""
    try:
        if folder.exists():
            folder.rmdir()
    except OSError:
        for path in sorted(draft.iterdir(), key=lambda path: path.name == CONFIGURATION):
            shutil.move(path, folder / path.name)
        folder.chmod(0o700)
    else:
        draft.rename(folder)


def refuse_used(folder: Path) -> None:
    """Raises:
    ConfigurationError: there is an installation, or anything else, in the folder.
    """
    if is_initialised(folder):
        raise ConfigurationError(
            f"{folder} is initialised already; it is left as it is: name another folder with --home"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is not empty; name another folder with --home")


def _fill(home: Home, plan: Plan, step: Step) -> None:
    step("tables")
    home.published.mkdir(mode=0o755)
    Sealer.create(home.master_key)
    _make_tables(home)
    write_new(home.configuration, plan.settings.to_toml().encode())

    step("domain, accounts and templates")
    with Installation.open(home, os_user=system_user()) as installation:
        password = plan.password or passwords.generate_password()
        _make_domain(installation, plan, password)
        if plan.cas is not Cas.NONE:
            step(f"key of the root CA ({plan.root_key})")
            root = _install_root(installation, plan)
            write_new(home.root_certificate, armor.armor(armor.CERTIFICATE, root.der).encode())
            home.root_certificate.chmod(0o644)
        if plan.cas is Cas.TWO_TIER:
            step(f"key of the issuing CA ({plan.ca_key})")
            _offer(installation, plan, _install_issuing(installation, plan))

    with Installation.open(home, os_user=system_user()) as installation:  # with its CAs this time
        if installation.cas:
            step("CRLs")
        for ca in installation.cas:
            installation.publisher.publish(ca.authority, SYSTEM)
        if plan.cas is Cas.TWO_TIER:
            step("certificate of the listeners")
            enroll_listener_certificate(installation)
    if not plan.password:
        write_new(home.administrator_password, f"{password}\n".encode())
    step("done")


def _make_tables(home: Home) -> None:
    """Raises:
    ConfigurationError: the database holds something already.
    """
    from certwright.server.schema import migrate

    if home.settings.database_url != SQLITE:
        database = Database.open(home.database_url)
        try:
            with database.read() as connection:
                tables = connection.many(
                    "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
                )
        finally:
            database.close()
        if tables:
            raise ConfigurationError(
                "the database of --database holds tables already; init needs an empty one (after an interrupted"
                " init: drop it and create it anew)"
            )
    migrate(home.database_url)


def _make_domain(installation: Installation, plan: Plan, password: str) -> None:
    """The domain with its Administrator, the host's account and the default templates."""
    administration = installation.directory_administration
    administration.create_domain(
        plan.dns_domain,
        plan.netbios,
        administrator_password=password,
        administrator_ntlm=True,  # browsers and scripts of Windows know nothing better than NTLM here
        actor=SYSTEM,
    )
    hostname = plan.settings.hostname
    local = tuple(name for name in ("localhost", LOOPBACK[0], LOOPBACK[1]) if name != hostname)
    own = tuple(address for address in plan.settings.bind if address not in ("0.0.0.0", "::", *LOOPBACK))  # noqa: S104
    administration.add_account(
        host_account_name(hostname),
        PrincipalKind.COMPUTER,
        dns_host_name=hostname,
        additional_host_names=(*local, *own),
        actor=SYSTEM,
    )
    administration.install_default_templates((plan.dns_domain,), actor=SYSTEM)


def _install_root(installation: Installation, plan: Plan) -> CaCertificateRecord:
    database = new_row(installation, plan.root_name, CaType.STANDALONE_ROOT, "", plan.domain_name)
    new = ca_installation.root(ROOT_KEY, plan.root_key, subject(plan.root_name, plan.domain_name))
    return ca_installation.install_root(
        database, installation.key_store, new, _installer(installation), installation.clock()
    )


def _install_issuing(installation: Installation, plan: Plan) -> CaCertificateRecord:
    parent = SqlCaDatabase(installation.database, installation.audit, 1)
    database = new_row(
        installation, plan.issuing_name, CaType.ENTERPRISE_SUBORDINATE, plan.root_name, plan.domain_name
    )
    new = ca_installation.issuing(ISSUING_KEY, plan.ca_key, subject(plan.issuing_name, plan.domain_name))
    return ca_installation.install_subordinate(
        parent, database, installation.key_store, new, _installer(installation), installation.clock()
    )


def _offer(installation: Installation, plan: Plan, issuing: CaCertificateRecord) -> None:
    """Let clients find the issuing CA, with the templates AD CS publishes on a new one."""
    administration = installation.directory_administration
    administration.set_enrollment_service(plan.issuing_name, plan.settings.hostname, issuing.der, actor=SYSTEM)
    administration.publish_defaults(plan.issuing_name, actor=SYSTEM)


def _installer(installation: Installation) -> Requester:
    return installation.operator()
