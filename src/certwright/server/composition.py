"""One installation, put together: what is made of which, and nothing else.

The one place where rooms meet their implementations: SQL behind `CaDatabase`, the embedded directory behind
`Directory`, sealed files behind `KeyStore`, our own CAs behind the registry. The command line and the listeners both
stand on this.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from certwright.adcs.errors import AccessDenied, ConfigurationError, InvalidArgument
from certwright.adcs.events import CaEvent
from certwright.adcs.interfaces import CertRequest
from certwright.adcs.requester import AuthMethod, Requester
from certwright.adcs.roles import ROLE_NAMES, CaAccess
from certwright.adcs.security import SecurityDescriptor
from certwright.audit.trail import AuditTrail
from certwright.ca.administration import Administration
from certwright.ca.authority import Authority
from certwright.ca.chains import certificates_above
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaCertificateRecord, CaRecord
from certwright.ca.generation import GenerationSource
from certwright.ca.issuer import Issuer
from certwright.ca.own_certificates import newest_of
from certwright.ca.properties import CaProperties
from certwright.ca.replies import Replies
from certwright.ca.revocation.publication import CrlPublisher, FolderTarget
from certwright.ca.store import SqlCaDatabase, list_cas
from certwright.connectors.local import LocalCa, LocalCertRequest, LocalConnector
from certwright.connectors.registry import Registry
from certwright.database import Connection, Database, DatabaseError
from certwright.directory.active_directory.administration import JoinedAdministration
from certwright.directory.active_directory.composite import LOCAL, JoinedDirectory
from certwright.directory.active_directory.directory import ActiveDirectory
from certwright.directory.active_directory.ldap import LdapPool
from certwright.directory.administration import DirectoryAdministration
from certwright.directory.base import Directory, LogonDirectory
from certwright.directory.local import EmbeddedDirectory
from certwright.directory.well_known import Rid
from certwright.keystores.sealing import Sealer, SealingError
from certwright.keystores.software import SoftwareKeyStore
from certwright.notifications.service import Notifications
from certwright.online_responder.service import RevocationConfigurations
from certwright.online_responder.signing import SigningCertificates
from certwright.server.domain_publication import DirectoryTarget
from certwright.server.home import Home
from certwright.server.system_user import system_user
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

    def __init__(self, home: Home, clock: Clock = _utc_now, os_user: str = "") -> None:
        """Use `open`; this expects current tables."""
        self.home = home
        self.clock = clock
        self.sealer = Sealer(home.master_key)
        self.database = Database.open(home.database_url)
        self.audit = AuditTrail(self.database, os_user)
        self.local_directory = EmbeddedDirectory(self.database, self.sealer)
        self.active_directory = _active_directory(home, clock)
        self.directory: LogonDirectory
        self.directory_administration: DirectoryAdministration
        if self.active_directory is None:
            self.directory = self.local_directory
            self.directory_administration = DirectoryAdministration(
                self.database, self.sealer, self._record, clock, self.local_directory
            )
        else:
            joined = JoinedDirectory(self.active_directory, self.local_directory)
            self.directory = joined
            self.directory_administration = JoinedAdministration(
                self.database, self.sealer, self._record, clock, joined
            )
        self.key_store = SoftwareKeyStore(home.keys, self.sealer)
        self.listener_keys = SoftwareKeyStore(home.tls, self.sealer)
        self.listener_certificates = ListenerCertificates(home.tls, self.listener_keys)
        self.publisher = CrlPublisher([FolderTarget(home.published), DirectoryTarget(self)])
        self.notifications = Notifications(
            self.database,
            self.sealer,
            self._record,
            hostname=home.settings.hostname,
            webhook_allow=home.settings.webhook_allow,
            clock=clock,
            actor=SYSTEM,
            in_view=lambda text, number: self.manager.inventory.holds(text, number),
        )
        self.revocation_configurations = RevocationConfigurations(self.database, self._record, clock)
        self.signing_certificates = SigningCertificates(home.responder, SoftwareKeyStore(home.responder, self.sealer))
        self.exit_module = self.notifications.exit_module()
        self._gate = threading.Lock()
        self._issuing = False
        self.cas: Sequence[LocalCa] = _cas(self)
        self._own_cas: dict[str, LocalCa] = {}  # decided on by the embedded directory alone
        self.connector = LocalConnector(self.cas, inline_directory=self.active_directory is None)
        self.registry = Registry(self.connector)

    @classmethod
    def open(cls, home: Home, *, upgrade: bool = False, clock: Clock = _utc_now, os_user: str = "") -> Self:
        """Open an initialised home.

        Args:
            upgrade: bring older tables up to date first.
            os_user: who gives the commands of this process; stands beside the account in every event.

        Raises:
            ConfigurationError: the database, its tables or the master key cannot be used; the sentence says why.
        """
        try:
            _check_tables(home, upgrade=upgrade)
            return cls(home, clock, os_user)
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
        for ca in self._own_cas.values():
            ca.issuer.stop()
        if self.active_directory is not None:
            self.active_directory.close()
        if isinstance(self.directory_administration, JoinedAdministration):
            self.directory_administration.close_writer()
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

    def look_for_cas(self) -> Sequence[str]:
        """Serve the CAs that got their first certificate meanwhile, whichever process installed it; their names.

        Those that are there follow their own renewals; see `ca.generation`. When nothing is new it costs a query.
        """
        with self._gate:
            known = {ca.authority.name: ca for ca in self.cas}
            records = {record.name: record for record in _with_certificate(self)}
            added = [name for name in records if name not in known]
            if not added:
                return ()
            made = {
                name: known.get(name) or _local_ca(self, record, self.directory) for name, record in records.items()
            }
            if self._issuing:
                for name in added:
                    made[name].issuer.start()
            self.cas = list(made.values())
            self.connector.offer(self.cas)
        return added

    # -- accounts --------------------------------------------------------------------------------------------

    def operator(self, account: str = "") -> Requester:
        """Whoever works at the command line: this installation's Administrator, or the account that was named.

        Raises:
            InvalidArgument: there is no such account, or it is disabled.
        """
        administrator = Rid.ADMINISTRATOR.in_domain(self.local_directory.domain.sid)
        return self.requester(account or administrator, system_user())

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
        name = host_account_name(self.home.settings.hostname)
        try:
            return self.requester(name if self.active_directory is None else LOCAL + name, "listeners")
        except InvalidArgument as error:
            raise ConfigurationError(f"the listeners' certificate cannot be enrolled for: {error.message}") from error

    def host_door(self) -> CertRequest:
        """The issuing CA as this host's account reaches it."""
        return self.own_door(self.host_account())

    def own_door(self, account: Requester, name: str = "") -> CertRequest:
        """A CA, the issuing one when none is named, as an account of this installation itself reaches it.

        In a domain the embedded directory still decides about these few accounts, so that the listeners' certificate
        depends on no domain controller and on no right in the domain (docs/adr/0008).
        """
        ca = self.ca(name)
        if self.active_directory is None:
            self.start_issuers()
            return self.registry.connect(ca.config, account)
        with self._gate:
            own = self._own_cas.get(ca.config)
            if own is None:
                own = self._own_cas[ca.config] = _local_ca(self, ca.authority.database.ca(), self.local_directory)
                own.issuer.start()
        return LocalCertRequest(own, account)

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
        newest = newest_of(record)
        return (newest.der, *certificates_above(newest, record.parent, self.records))

    def top(self) -> CaRecord | None:
        """The root in which the chain of the issuing CA ends; None when it is elsewhere."""
        end = self.chain()[-1]
        found = (record for record in self.records() if end in [each.der for each in record.certificates])
        return next(found, None)

    def cross_certificates(self) -> tuple[bytes, ...]:
        """What that root's earlier keys signed of its later ones, the newest first (DER)."""
        root = self.top()
        return tuple(each.crosses[0] for each in reversed(root.certificates) if each.crosses) if root else ()

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


def _cas(installation: Installation) -> Sequence[LocalCa]:
    return [_local_ca(installation, record, installation.directory) for record in _with_certificate(installation)]


def _with_certificate(installation: Installation) -> Sequence[CaRecord]:
    """The CAs that can be served, issuing ones first."""
    records = [record for record in list_cas(installation.database) if record.certificates]
    return sorted(records, key=lambda record: (record.ca_type.is_root, record.ca_id))


def _local_ca(installation: Installation, record: CaRecord, directory: Directory) -> LocalCa:
    database = SqlCaDatabase(installation.database, installation.audit, record.ca_id)
    generations = GenerationSource(database, installation.key_store.open, directory.domain.sid)
    exits = (installation.exit_module,)
    authority = Authority(database, directory, generations, exits, installation.clock)
    configuration = CaConfiguration.load(record.settings)

    def above(certificate: CaCertificateRecord) -> tuple[bytes, ...]:
        return certificates_above(certificate, database.ca().parent, installation.records)

    return LocalCa(
        config=f"{configuration.dns_name or installation.home.settings.hostname}\\{record.name}",
        authority=authority,
        issuer=Issuer(authority),
        administration=Administration(authority, installation.publisher),
        properties=CaProperties(authority, above),
        replies=Replies(authority, above),
    )


def _active_directory(home: Home, clock: Clock) -> ActiveDirectory | None:
    settings = home.domain
    return ActiveDirectory(LdapPool(settings), settings, clock=clock) if settings is not None else None


def host_account_name(hostname: str) -> str:
    """sAMAccountName of a host: the first label of its name, 15 characters at most, and a dollar sign."""
    label = hostname.partition(".")[0][:15].rstrip("-").upper()
    return f"HOST-{label[:10]}$" if label.isdigit() else f"{label}$"  # a number alone is no account name


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
