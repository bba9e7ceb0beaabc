"""The domain as the console and the REST API see it: implements `console.domain_desk.DomainDesk`.

What `certwright domain` and `certwright doctor domain` do, for whoever sits at a browser. Who may is asked here, as
the command line asks it; who writes is the service account, or an account whose password is given for this once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from certwright.adcs.errors import AdcsError, CaUnreachable, ConfigurationError, InvalidArgument
from certwright.adcs.requester import Requester
from certwright.adcs.roles import CaAccess
from certwright.auth.keytab import read_keytab
from certwright.ca.configuration import CaConfiguration
from certwright.console.domain_desk import DomainDesk, DomainWriter, Grant, KeytabState, Membership
from certwright.directory.active_directory.directory import ActiveDirectory
from certwright.directory.active_directory.doctor import Check
from certwright.directory.active_directory.group_policy import RegistryValue
from certwright.directory.active_directory.ldap import LdapPool
from certwright.directory.active_directory.publication import Plan, PlanChanged
from certwright.server.composition import Installation
from certwright.server.domain_doctor import examine
from certwright.server.domain_logons import http_keytab_path
from certwright.server.domain_policy import policy_values
from certwright.server.domain_publication import DomainPublication, grants


def desk_of(installation: Installation) -> DomainDesk | None:
    """None with the embedded directory alone."""
    directory = installation.active_directory
    return JoinedDesk(installation, directory) if directory is not None else None


class JoinedDesk:
    """Of one installation that belongs to a domain."""

    def __init__(self, installation: Installation, directory: ActiveDirectory) -> None:
        self._installation = installation
        self._directory = directory

    def membership(self) -> Membership:
        written = self._installation.home.settings.directory
        controller = self._controller()
        known = self._directory.domain if controller else None
        return Membership(
            dns_domain=written.dns_domain,
            realm=written.realm,
            netbios=known.netbios_name if known is not None else written.netbios,
            sid=known.sid if known is not None else written.sid,
            account=written.account,
            has_password=not written.keytab,
            controllers=written.controllers,
            controller=controller,
            site=written.site,
            ca_file=written.ca_file,
            keytabs=tuple(self._keytabs()),
        )

    def examine(self) -> Sequence[Check]:
        return examine(self._installation).checks

    def is_published(self, ca_name: str) -> bool:
        return self._configuration(ca_name).directory_publication

    def plan(self, ca_name: str, *, removal: bool = False, writer: DomainWriter | None = None) -> Plan:
        with self._publication(writer) as publication:
            return publication.plan_removal(ca_name) if removal else publication.plan(ca_name)

    def grants(self, plan: Plan) -> Sequence[Grant]:
        account = f"{self._directory.domain.netbios_name}\\{self._directory.settings.account}"
        commands = grants(plan.missing, account)
        return [
            Grant(account, missing.right, missing.dn, command)
            for missing, command in zip(plan.missing, commands, strict=True)
        ]

    def apply(
        self,
        ca_name: str,
        requester: Requester,
        *,
        removal: bool = False,
        writer: DomainWriter | None = None,
        agreed: str = "",
    ) -> Plan:
        self._installation.demand(requester, CaAccess.ADMINISTRATOR, ca_name)
        actor = self._installation.directory_administration.require_template_administrator(requester)
        with self._publication(writer) as publication:
            now = publication.plan_removal(ca_name) if removal else publication.plan(ca_name)
            if agreed and now.digest != agreed:
                raise PlanChanged(
                    "The domain, or this CA, changed since the steps were shown: look at them again, and repeat."
                )
            if removal:
                publication.unpublish(now, actor)
            else:
                publication.publish(now, actor)
            changed = publication.settings_after(ca_name, published=not removal)
        if changed:
            self._installation.registry.administer(self._config(ca_name), requester).set_configuration(changed)
        return now

    def policy(self, servers: Sequence[str]) -> Sequence[RegistryValue]:
        return policy_values(self._installation, servers)

    # -- inside --------------------------------------------------------------------------------------------------

    @contextmanager
    def _publication(self, writer: DomainWriter | None) -> Iterator[DomainPublication]:
        if writer is None:
            yield DomainPublication(self._installation)
            return
        if not writer.account or not writer.password:
            raise InvalidArgument("Give the account of the domain and its password, or neither.")
        settings = self._directory.settings
        account = writer.account.rpartition("\\")[2].partition("@")[0]
        pool = LdapPool(replace(settings, account=account, password=writer.password, keytab=None))
        try:
            yield DomainPublication(self._installation, pool)
        finally:
            pool.close()

    def _controller(self) -> str:
        try:
            return self._directory.pool.run(lambda connection: connection.controller.host)
        except CaUnreachable:
            return ""
        except AdcsError:
            return ""  # it answers, and refuses: the doctor says why

    def _keytabs(self) -> Iterator[KeytabState]:
        home = self._installation.home
        try:
            settings = home.domain
        except ConfigurationError as error:
            yield KeytabState(home.settings.directory.keytab, (), error.message, of_account=True)
            settings = None
        own = settings.keytab if settings is not None else None
        listeners = http_keytab_path(home)
        paths: dict[Path, None] = dict.fromkeys(path for path in (own, listeners) if path is not None)
        for path in paths:
            try:
                keys, problem = tuple(read_keytab(path)), ""
            except ConfigurationError as error:
                keys, problem = (), error.message
            serves = path == listeners and any(key.service == "HTTP" for key in keys)
            yield KeytabState(str(path), keys, problem, of_listeners=serves, of_account=path == own)

    def _configuration(self, ca_name: str) -> CaConfiguration:
        return CaConfiguration.load(self._installation.ca(ca_name).authority.database.ca().settings)

    def _config(self, ca_name: str) -> str:
        return self._installation.ca(ca_name).config
