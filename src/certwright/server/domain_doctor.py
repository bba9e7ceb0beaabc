"""`doctor domain`, and the checks before joining: the pieces of `directory.active_directory.doctor` in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from certwright.adcs.errors import AdcsError, ConfigurationError, NotSupported
from certwright.auth.keytab import KeytabEntry, read_keytab
from certwright.auth.winbind import find_ntlm_auth
from certwright.directory.active_directory import doctor
from certwright.directory.active_directory.directory import Names, read_domain, read_names
from certwright.directory.active_directory.doctor import Check, Verdict
from certwright.directory.active_directory.ldap import LdapConnection, LdapError
from certwright.directory.active_directory.locating import DomainController
from certwright.directory.active_directory.settings import DomainSettings
from certwright.directory.base import Domain

if TYPE_CHECKING:
    from certwright.server.composition import Installation

MAX_CONTROLLERS: Final = 5
"""Looked at; more of one site are seldom wrong in different ways."""

Report = Callable[[Check], None]
"""Told of every check as soon as it is made."""


def _unseen(_check: Check) -> None:
    return


class Examination:
    """The checks of one run.

    Args:
        settings: the domain, as it is or shall be configured.
        hosts: the names by which clients reach this host.
        http_keytab: of the listeners; None without one.
        report: told of each check at once: some take their time.
    """

    def __init__(
        self,
        settings: DomainSettings,
        hosts: Sequence[str],
        http_keytab: Path | None,
        *,
        report: Report = _unseen,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._hosts = hosts
        self._http_keytab = http_keytab
        self._report = report
        self._clock = clock
        self.checks: list[Check] = []
        self.domain: Domain | None = None

    @property
    def is_sound(self) -> bool:
        return not any(check.verdict is Verdict.WRONG for check in self.checks)

    def connections(self) -> None:
        """DNS, ports, TLS and binds of every controller; then accounts, names and keys, of the first that answers."""
        checks, controllers = doctor.find_controllers(self._settings)
        self._note(*checks)
        for host in self._hosts:
            self._note(doctor.check_own_name(host))
        examined = False
        for controller in controllers[:MAX_CONTROLLERS]:
            ports = doctor.check_ports(controller, self._settings.timeout)
            self._note(*ports)
            self._note(doctor.check_tls(controller, self._settings, self._clock()))
            if ports[0].verdict is not Verdict.GOOD:
                continue
            bound, connection = doctor.bind(controller, self._settings, _connect)
            self._note(*bound)
            if connection is not None:
                with closing(connection):
                    self._note(doctor.check_clock(connection.root_dse(), self._clock(), controller.host))
                    if not examined:
                        self._accounts(connection)
                        examined = True

    def forest(self, installation: Installation) -> None:
        """Containers, templates, and the rights that publication needs."""
        directory = installation.active_directory
        if directory is None or self.domain is None:
            return
        try:
            self._note(
                *directory.pool.run(lambda connection: doctor.check_containers(connection, directory.names)),
                *doctor.check_templates(directory),
                *_publication(installation),
            )
        except LdapError as error:
            self._note(doctor.unreadable("rights", directory.settings.account, error))
        except AdcsError as error:
            self._note(
                Check(
                    "time-out",
                    directory.settings.dns_domain,
                    Verdict.WRONG,
                    error.message,
                    "see the findings about the controllers above",
                )
            )

    def winbind(self, configured: str) -> None:
        """NTLM takes Samba's helper."""
        program = find_ntlm_auth(configured)
        if program is not None:
            self._note(Check("winbind", str(program), Verdict.GOOD, "NTLM for the domain's accounts can be offered"))
            return
        self._note(
            Check(
                "winbind",
                configured or "ntlm_auth",
                Verdict.NOTE,
                "winbind's ntlm_auth is not on this host: NTLM is not offered to the domain's accounts; Kerberos and"
                " Basic are",
                "only if clients without Kerberos need it: install winbind, join this host (net ads join), and let"
                " this account into the group winbindd_priv",
            )
        )

    # -- inside --------------------------------------------------------------------------------------------------

    def _accounts(self, connection: LdapConnection) -> None:
        try:
            names = read_names(connection.root_dse())
            self.domain = read_domain(connection, names, self._settings)
            self._note(
                Check("domain", self.domain.dns_name, Verdict.GOOD, f"{self.domain.netbios_name}, {self.domain.sid}")
            )
            self._keys(connection, names)
        except LdapError as error:
            self._note(doctor.unreadable("account", self._settings.account, error))
        except ConfigurationError as error:
            fix = "join the right domain, or give the account the rights that Authenticated Users have by default"
            self._note(Check("domain", self._settings.dns_domain, Verdict.WRONG, error.message, fix))

    def _keys(self, connection: LdapConnection, names: Names) -> None:
        own = self._read_keys(self._settings.keytab)
        self._note(*doctor.check_service_account(connection, names, self._settings, own or ()))
        served = own if self._http_keytab == self._settings.keytab else self._read_keys(self._http_keytab)
        holders = {key.principal for key in served or () if key.service}
        if self._http_keytab is not None and served is not None and not holders:
            served = None  # a keytab of the service account alone serves no web page
        self._note(*doctor.check_service_names(connection, names, self._settings, self._hosts, served))

    def _read_keys(self, path: Path | None) -> Sequence[KeytabEntry] | None:
        if path is None:
            return None
        try:
            return read_keytab(path)
        except ConfigurationError as error:
            self._note(
                Check("keytab", str(path), Verdict.WRONG, error.message, "correct keytab, or export it once more")
            )
            return None

    def _note(self, *checks: Check) -> None:
        for check in checks:
            self.checks.append(check)
            self._report(check)


def examine(installation: Installation, aliases: Sequence[str] = (), report: Report = _unseen) -> Examination:
    """Everything that `certwright doctor domain` looks at.

    Args:
        aliases: further names of this host for clients.

    Raises:
        NotSupported: the installation belongs to no domain.
    """
    from certwright.server.domain_logons import http_keytab_path

    settings = installation.home.domain
    if settings is None:
        raise NotSupported("this installation belongs to no domain; join one with: certwright domain join")
    hosts = tuple(dict.fromkeys((installation.home.settings.hostname, *(name.lower() for name in aliases))))
    examination = Examination(settings, hosts, http_keytab_path(installation.home), report=report)
    examination.connections()
    examination.forest(installation)
    examination.winbind(installation.home.settings.authentication.ntlm_auth)
    return examination


def _publication(installation: Installation) -> Sequence[Check]:
    """What is published, and what the service account could not keep so."""
    from certwright.ca.configuration import CaConfiguration
    from certwright.server.domain_publication import DomainPublication, grants

    publishing = DomainPublication(installation)
    checks: list[Check] = []
    for record in installation.records():
        if not record.ca_type.is_enterprise:
            continue
        if not CaConfiguration.load(record.settings).directory_publication:
            sentence = "it is not published in the domain: its members do not find it"
            checks.append(Check("publication", record.name, Verdict.NOTE, sentence, "certwright domain publish"))
            continue
        plan = publishing.plan(record.name)
        account = installation.home.settings.directory.account
        for missing, command in zip(plan.missing, grants(plan.missing, account), strict=True):
            sentence = f"{account} lacks {missing.right} on {missing.dn}"
            fix = f"certwright domain publish --user Administrator, or {command}"
            checks.append(Check("rights", record.name, Verdict.WRONG, sentence, fix))
        if plan.changes and not plan.missing:
            sentence = f"{len(plan.changes)} objects in the domain are not as they should be"
            checks.append(Check("publication", record.name, Verdict.NOTE, sentence, "certwright domain publish"))
        if not plan.changes:
            checks.append(Check("publication", record.name, Verdict.GOOD, "published, and up to date"))
    return checks


def _connect(controller: DomainController, settings: DomainSettings) -> LdapConnection:
    from certwright.directory.active_directory.bonsai_connection import connect  # compiled: when first used

    return connect(controller, settings)
