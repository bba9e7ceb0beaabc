"""One installation, put together: what is made of which, and nothing else.

The one place where rooms meet their implementations: SQL behind `CaDatabase`, the embedded directory behind
`Directory`, sealed files behind `KeyStore`, our own CAs behind the registry. The command line and the listeners both
stand on this.
"""

from __future__ import annotations

import getpass
import os
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from certwright.adcs.errors import AccessDenied, ConfigurationError, InvalidArgument
from certwright.adcs.events import CaEvent
from certwright.adcs.requester import AuthMethod, Requester, Sid
from certwright.adcs.roles import ROLE_NAMES, CaAccess
from certwright.adcs.security import SecurityDescriptor
from certwright.audit.trail import AuditTrail
from certwright.ca.administration import Administration
from certwright.ca.authority import Authority
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaCertificateRecord, CaRecord
from certwright.ca.generation import GenerationSource
from certwright.ca.issuer import Issuer
from certwright.ca.properties import CaProperties
from certwright.ca.revocation.publication import CrlPublisher, FolderTarget
from certwright.ca.store import SqlCaDatabase, list_cas
from certwright.connectors.local import LocalCa, LocalConnector
from certwright.connectors.registry import Registry
from certwright.database import Connection, Database, DatabaseError
from certwright.directory.administration import DirectoryAdministration
from certwright.directory.local import EmbeddedDirectory
from certwright.directory.well_known import Rid
from certwright.keystores.sealing import Sealer, SealingError
from certwright.keystores.software import SoftwareKeyStore
from certwright.notifications.service import Notifications
from certwright.server.home import Home
from certwright.server.tables import LABELS, known_migrations
from certwright.server.tls import ListenerCertificates

if TYPE_CHECKING:
    from certwright.manager.facade import Manager

SYSTEM: Final = r"NT AUTHORITY\SYSTEM"
"""Who acts on a clock."""

Clock = Callable[[], datetime]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Installation:
    """An opened home folder. Close it when done; as a context manager it does so itself."""

    def __init__(self, home: Home, clock: Clock = _utc_now) -> None:
        """Use `open`; this expects current tables."""
        self.home = home
        self.clock = clock
        self.sealer = Sealer(home.master_key)
        self.database = Database.open(home.database_url)
        self.audit = AuditTrail(self.database)
        self.directory = EmbeddedDirectory(self.database, self.sealer)
        self.directory_administration = DirectoryAdministration(
            self.database, self.sealer, self._record, clock, self.directory
        )
        self.key_store = SoftwareKeyStore(home.keys, self.sealer)
        self.listener_keys = SoftwareKeyStore(home.tls, self.sealer)
        self.listener_certificates = ListenerCertificates(home.tls, self.listener_keys)
        self.publisher = CrlPublisher([FolderTarget(home.published)])
        self.notifications = Notifications(
            self.database,
            self.sealer,
            self._record,
            hostname=home.settings.hostname,
            webhook_allow=home.settings.webhook_allow,
            clock=clock,
            actor=SYSTEM,
        )
        self.exit_module = self.notifications.exit_module()
        self.cas = _cas(self)
        self.connector = LocalConnector(self.cas, inline_directory=True)
        self.registry = Registry(self.connector)
        self._gate = threading.Lock()
        self._issuing = False

    @classmethod
    def open(cls, home: Home, *, upgrade: bool = False, clock: Clock = _utc_now) -> Self:
        """Open an initialised home.

        Args:
            upgrade: bring older tables up to date first.

        Raises:
            ConfigurationError: the database, its tables or the master key cannot be used; the sentence says why.
        """
        try:
            _check_tables(home, upgrade=upgrade)
            return cls(home, clock)
        except (DatabaseError, SealingError) as error:
            raise ConfigurationError(str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish what was accepted, and let go of everything."""
        self.connector.stop()
        self.exit_module.close()
        self.database.close()

    @cached_property
    def manager(self) -> Manager:
        """Orders, services, inventory. Put together when it is first asked for: most commands need none of it."""
        from certwright.manager.facade import Manager
        from certwright.server.reaching import OwnCas, Reaching

        own = OwnCas(
            registry=self.registry,
            directory=self.directory,
            requester=self.requester,
            ca=self.ca,
            start_issuers=self.start_issuers,
            officer=self.home.settings.officer,
        )
        return Manager(
            self.database,
            self.sealer,
            Reaching(own),
            self._record,
            self.notifications.notify,
            self.clock,
            actor=SYSTEM,
        )

    def start_issuers(self) -> None:
        """Take submissions in this process, without closing what another process may have open."""
        with self._gate:
            if not self._issuing:
                for ca in self.cas:
                    ca.issuer.start()
                self._issuing = True

    def start(self) -> None:
        """Take submissions as the server: rows that a crash left open are closed first."""
        with self._gate:
            self.connector.start()
            self._issuing = True

    # -- accounts --------------------------------------------------------------------------------------------

    def operator(self, account: str = "") -> Requester:
        """Whoever works at the command line: the domain's Administrator, or the account that was named.

        Raises:
            InvalidArgument: there is no such account, or it is disabled.
        """
        return self.requester(account or Rid.ADMINISTRATOR.in_domain(self.directory.domain.sid), _system_user())

    def requester(self, account: str, origin: str = "") -> Requester:
        """An account of the directory as a caller of this host."""
        principal = self.directory.principal(account)
        if principal is None:
            raise InvalidArgument(f"there is no account {account}; see: certwright account list")
        if not principal.enabled:
            raise InvalidArgument(f"the account {principal.account} is disabled")
        return Requester(principal.account, principal.sid, principal.groups, AuthMethod.LOCAL, origin=origin)

    def host_account(self) -> Requester:
        """This host's computer account, which enrolls for the listeners' certificate.

        Raises:
            ConfigurationError: it is missing or disabled.
        """
        try:
            return self.requester(host_account_name(self.home.settings.hostname), "listeners")
        except InvalidArgument as error:
            raise ConfigurationError(f"the listeners' certificate cannot be enrolled for: {error.message}") from error

    def account_name(self, name: str) -> str:
        r"""`DOMAIN\name` of an account; the text itself when nobody is called that."""
        principal = self.directory.principal(name)
        return principal.account if principal is not None else name

    # -- CAs -------------------------------------------------------------------------------------------------

    def records(self) -> Sequence[CaRecord]:
        """Every CA's row, the issuing one first."""
        return [ca.authority.database.ca() for ca in self.cas]

    def ca(self, name: str = "") -> LocalCa:
        """A CA by name or configuration string; the issuing one when nothing is named.

        Raises:
            InvalidArgument: there is none of that name.
        """
        wanted = name.casefold()
        for ca in self.cas:
            if not wanted or wanted in (ca.config.casefold(), ca.authority.name.casefold()):
                return ca
        known = ", ".join(ca.authority.name for ca in self.cas) or "none"
        raise InvalidArgument(f"there is no CA called {name!r}; known: {known}")

    def chain(self, name: str = "") -> tuple[bytes, ...]:
        """The certificate of a CA and of those above it, the root last (DER)."""
        record = self.ca(name).authority.database.ca()
        return (_newest(record).der, *_parents(record, {each.name: each for each in self.records()}))

    def configuration(self, name: str = "") -> CaConfiguration:
        """A CA's settings; its key is not needed."""
        return CaConfiguration.load(self.ca(name).authority.database.ca().settings)

    def demand(self, caller: Requester, wanted: CaAccess, name: str = "") -> None:
        """Check a caller's roles on a CA, also when its key is offline.

        Raises:
            AccessDenied: none of the wanted ones is held.
        """
        sddl = self.configuration(name).security_descriptor
        security = SecurityDescriptor.from_sddl(sddl, self.directory.domain.sid)
        if not security.granted_ca_access(caller.sids).implied & wanted:
            roles = " or ".join(text for role, text in ROLE_NAMES.items() if role & wanted)
            raise AccessDenied(f"{caller.account} has no right to do this; it needs: {roles}")

    def _record(self, connection: Connection, event: CaEvent) -> None:
        self.audit.append(connection, event)


# -- putting together ----------------------------------------------------------------------------------------------


def _cas(installation: Installation) -> list[LocalCa]:
    records = [record for record in list_cas(installation.database) if record.certificates]
    by_name = {record.name: record for record in records}
    ordered = sorted(records, key=lambda record: (record.ca_type.is_root, record.ca_id))
    return [_local_ca(installation, record, _parents(record, by_name)) for record in ordered]


def _local_ca(installation: Installation, record: CaRecord, parents: tuple[bytes, ...]) -> LocalCa:
    database = SqlCaDatabase(installation.database, installation.audit, record.ca_id)
    domain_sid: Sid = installation.directory.domain.sid
    generations = GenerationSource(database, installation.key_store.open, domain_sid)
    exits = (installation.exit_module,)
    authority = Authority(database, installation.directory, generations, exits, installation.clock)
    configuration = CaConfiguration.load(record.settings)
    return LocalCa(
        config=f"{configuration.dns_name or installation.home.settings.hostname}\\{record.name}",
        authority=authority,
        issuer=Issuer(authority),
        administration=Administration(authority, installation.publisher),
        properties=CaProperties(authority, parents),
    )


def _parents(record: CaRecord, by_name: dict[str, CaRecord]) -> tuple[bytes, ...]:
    chain: list[bytes] = []
    seen = {record.name}
    while record.parent and record.parent not in seen and (above := by_name.get(record.parent)) is not None:
        chain.append(_newest(above).der)
        seen.add(above.name)
        record = above
    return tuple(chain)


def _newest(record: CaRecord) -> CaCertificateRecord:
    return max(record.certificates, key=lambda certificate: certificate.index)


def host_account_name(hostname: str) -> str:
    """sAMAccountName of a host: the first label of its name, 15 characters at most, and a dollar sign."""
    label = hostname.partition(".")[0][:15].rstrip("-").upper()
    return f"HOST-{label[:10]}$" if label.isdigit() else f"{label}$"  # a number alone is no account name


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        return f"uid {os.getuid()}"


# -- tables ----------------------------------------------------------------------------------------------------------


def _check_tables(home: Home, *, upgrade: bool) -> None:
    """Compare what was applied with what this version has; without Django, which costs more than a command.

    Raises:
        ConfigurationError: the tables are newer, or older and not to be upgraded, or not there.
    """
    applied = _applied_migrations(home)
    known = known_migrations()
    if applied - known:
        newer = ", ".join(sorted(applied - known))
        raise ConfigurationError(
            f"the database was made by a newer Certwright ({newer}); install that version or a later one"
        )
    if known - applied:
        if not upgrade:
            raise ConfigurationError(
                "the database was made by an older Certwright; certwright run (or serve) brings it up to date"
            )
        from certwright.server.schema import migrate  # Django: only when there is something to do

        migrate(home.database_url)


def _applied_migrations(home: Home) -> set[str]:
    database = Database.open(home.database_url)
    try:
        with database.read() as connection:
            rows = connection.many("SELECT app, name FROM django_migrations")
    except DatabaseError as error:
        raise ConfigurationError(
            f"the database holds no Certwright installation ({error}); correct its URL in {home.configuration}"
        ) from error
    finally:
        database.close()
    return {f"{app}.{name}" for app, name in rows if app in LABELS}
