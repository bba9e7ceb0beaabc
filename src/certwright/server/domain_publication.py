"""Our CAs in the domain: planned from what this installation knows, written once by people, kept so by the clock.

`directory.active_directory.publication` knows the objects; here they meet our CAs, their settings, and who writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

import structlog

from certwright.adcs.enrollment_servers import ClientAuthentication, EnrollmentServer
from certwright.adcs.errors import AccessDenied, AdcsError, ConfigurationError, InvalidArgument, NotSupported
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.interfaces import Comparison, Restriction, Table
from certwright.adcs.requester import Sid
from certwright.adcs.roles import CaAccess
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import EnrollmentFlag
from certwright.auth.keytab import read_keytab
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaDatabase, CaRecord
from certwright.ca.revocation.publication import CrlScope, scopes_of
from certwright.directory.active_directory import public_key_services, publication
from certwright.directory.active_directory.administration import JoinedAdministration
from certwright.directory.active_directory.ldap import LdapConnection, LdapError, LdapPool, escape_rdn
from certwright.directory.active_directory.netlogon import ask_site
from certwright.directory.active_directory.publication import (
    Action,
    CaPublication,
    DesiredObject,
    MissingRight,
    ObjectChange,
    Plan,
)
from certwright.directory.active_directory.template_writing import missing_right
from certwright.directory.changes import MAX_FACT
from certwright.pki.certificate_pair import CertificatePair
from certwright.wire import xcep as wire_xcep

if TYPE_CHECKING:
    from certwright.server.composition import Installation

log = structlog.get_logger(__name__)

MAX_AGENTS: Final = 50
"""Key recovery agents of one CA."""
_MAX_STEPS: Final = 40  # told in one audit event
_PARTITION: Final = re.compile(r"_Partition([0-9]{5,9})\+?\.crl\Z")


class DomainPublication:
    """Of one installation that belongs to a domain."""

    def __init__(self, installation: Installation, writer: LdapPool | None = None) -> None:
        """Args:
            writer: connections of the account that writes; those of the administration without.

        Raises:
            NotSupported: the installation belongs to no domain.
        """
        administration = installation.directory_administration
        if installation.active_directory is None or not isinstance(administration, JoinedAdministration):
            raise NotSupported("This installation belongs to no domain; join one with: certwright domain join")
        self._installation = installation
        self._administration = administration
        self._directory = installation.active_directory
        self._writer = writer

    @property
    def account(self) -> str:
        r"""Who writes: `CORP\svc-pki`."""
        if self._writer is not None:
            return f"{self._directory.domain.netbios_name}\\{self._writer.account}"
        return self._administration.writing_account

    @property
    def writer(self) -> LdapPool:
        """Connections of who writes."""
        return self._writer or self._administration.writer

    # -- what people ask for -------------------------------------------------------------------------------------

    def plan(self, ca: str = "", *, site: str | None = None) -> Plan:
        """What publishing a CA would change; nothing is changed.

        Args:
            site: what is to be written instead of what the CA's setting directory-site says; empty: this host's.

        Raises:
            InvalidArgument: there is no such CA, it is none of an enterprise, or another CA has its name; or the
                domain has no such site.
            LdapUnavailable: no domain controller answers.
        """
        record = self._enterprise_ca(ca)
        templates, left_out = self._first_templates(record.name)

        def look(connection: LdapConnection) -> Plan:
            if site and not self._is_site(connection, site):
                raise InvalidArgument(f"the domain has no site {site}; see Active Directory Sites and Services")
            desired = self._desired(connection, record, templates, site)
            changes = tuple(publication.plan_publication(connection, desired))
            is_new = any(
                change.action is Action.ADD and change.object_class == "pKIEnrollmentService" for change in changes
            )
            missing = tuple(publication.missing_rights(connection, changes))
            objects = tuple(each.dn for each in desired)
            return Plan(record.name, changes, missing, left_out if is_new else {}, objects)

        return self.writer.run(look)

    def plan_removal(self, ca: str = "") -> Plan:
        """What taking a CA back would change. Raises as `plan`."""
        record = self._enterprise_ca(ca)

        def look(connection: LdapConnection) -> Plan:
            names = [each.name for each in self._with_ancestors(record)]
            changes = tuple(publication.plan_removal(connection, self._desired(connection, record, ()), names))
            return Plan(record.name, changes, (), {})

        return self.writer.run(look)

    def publish(self, plan: Plan, actor: str) -> None:
        """Write a plan, and keep the CA published from now on.

        Raises:
            AccessDenied: the account lacks rights, all of which are named; nothing was changed.
            LdapError: a controller refused a step; those before it are done, and doing it again is safe.
        """
        self._refuse_missing(plan.missing)
        self._apply(plan, actor, "published")

    def unpublish(self, plan: Plan, actor: str) -> None:
        """Take a CA back. Raises as `publish`."""
        self._apply(plan, actor, "taken back")

    def settings_after(self, ca: str, *, published: bool, site: str | None = None) -> Mapping[str, str]:
        """The CA's settings that follow from publishing it, or taking it back; those that are so already left out.

        Args:
            site: as it was given to `plan`.
        """
        forest = self._directory.names.configuration.removeprefix("CN=Configuration,")
        wanted = {"directory-publication": "on" if published else "off"}
        if published:
            wanted["directory-dn"] = forest  # LDAP URLs mean the forest's objects from now on
            if site is not None:
                wanted["directory-site"] = site
        there = self._installation.configuration(ca).as_text()
        return {key: value for key, value in wanted.items() if there[key] != value}

    # -- the clock -----------------------------------------------------------------------------------------------

    def keep(self, actor: str) -> None:
        """Bring up to date what is published, as the service account. What it may not write holds up nothing else.

        Raises:
            AdcsError: something could not be written; it will be tried again.
        """
        refused: list[AdcsError] = []
        for ca in self._installation.cas:
            record = ca.authority.database.ca()
            if record.ca_type.is_enterprise and CaConfiguration.load(record.settings).directory_publication:
                plan = self.plan(record.name)
                allowed = _allowed(plan)
                if allowed:
                    self.publish(replace(plan, changes=allowed, missing=()), actor)
                    log.info("published_in_domain", ca=record.name, changes=len(allowed))
                try:
                    self._refuse_missing(plan.missing)
                except AccessDenied as error:
                    refused.append(error)
        if refused:
            raise refused[0]

    # -- inside --------------------------------------------------------------------------------------------------

    def _enterprise_ca(self, name: str) -> CaRecord:
        record = self._installation.ca(name).authority.database.ca()
        if not record.ca_type.is_enterprise:
            raise InvalidArgument(
                f"{record.name} is no enterprise CA: it is published together with the enterprise CAs below it"
            )
        return record

    def _desired(
        self, connection: LdapConnection, record: CaRecord, templates: Sequence[str], site: str | None = None
    ) -> Sequence[DesiredObject]:
        """The CA with those above it that live here, the root first."""
        base = public_key_services.container(self._directory.names.configuration)
        sid = self._directory.domain.sid
        found: list[DesiredObject] = []
        for each in reversed(self._with_ancestors(record)):
            described = self._described(each)
            if each.name == record.name:
                named = CaConfiguration.load(record.settings).directory_site if site is None else site
                described = replace(described, templates=tuple(templates), site=named or self._site(connection))
            found += [wanted for wanted in publication.desired_objects(described, base, sid) if wanted not in found]
        return found

    def _with_ancestors(self, record: CaRecord) -> Sequence[CaRecord]:
        by_name = {each.name: each for each in self._installation.records()}
        found = [record]
        while (above := by_name.get(found[-1].parent)) is not None and above not in found:
            found.append(above)
        return found

    def _described(self, record: CaRecord) -> CaPublication:
        configuration = CaConfiguration.load(record.settings)
        if not configuration.dns_name:
            raise ConfigurationError(f"{record.name} has no dns-name, by which clients find it: set dns-name")
        now = self._installation.clock()
        database = self._installation.ca(record.name).authority.database
        newest_first = sorted(record.certificates, key=lambda certificate: -certificate.index)
        scopes: dict[str, CrlScope] = {}
        for scope in scopes_of(database, now):
            variables = configuration.url_variables(record, scope.certificate)
            scopes[replace(variables, partition=scope.partition).value("8")] = scope
        service_account = self._directory.principal(self._directory.settings.account)
        return CaPublication(
            name=record.name,
            host=configuration.dns_name,
            is_root=record.ca_type.is_root,
            is_enterprise=record.ca_type.is_enterprise,
            certificates=tuple(each.der for each in newest_first if each.not_after > now),
            crls=_newest(database, scopes),
            deltas=_newest(database, scopes, delta=True),
            crosses=tuple(CertificatePair(*each.crosses[:2]) for each in newest_first if each.crosses),
            enrollment_servers=self._enrollment_servers(record, configuration),
            recovery_agents=self._recovery_agents(record, now) if record.ca_type.is_enterprise else (),
            enroll=self._enroll_sids(configuration),
            writer=service_account.sid if service_account is not None else None,
        )

    def _enrollment_servers(self, record: CaRecord, configuration: CaConfiguration) -> tuple[EnrollmentServer, ...]:
        """Those that are named, or our own at which a member of the domain can log on."""
        if configuration.enrollment_servers is not None:
            return configuration.enrollment_servers
        if not record.ca_type.is_enterprise:
            return ()
        from certwright.ces.application import address  # a web service: not for every command
        from certwright.server.domain_logons import http_keytab_path

        settings = self._installation.home.settings
        keytab = http_keytab_path(self._installation.home)
        by_ticket = keytab is not None and any(key.service == "HTTP" for key in read_keytab(keytab))
        only = configuration.renewal_only
        kinds = [
            (ClientAuthentication.KERBEROS, "kerberos", by_ticket),
            (ClientAuthentication.CERTIFICATE, "certificate", bool(settings.certificate_port)),
            (ClientAuthentication.PASSWORD, "username", True),
        ]
        return tuple(
            EnrollmentServer(
                priority,
                kind,
                (settings.certificate_url if word == "certificate" else settings.https_url)
                + address(record.name, wire_xcep.ClientAuthentication(kind)),
                word in only,
            )
            for priority, (kind, word, usable) in enumerate(kinds, 1)
            if usable
        )

    def _enroll_sids(self, configuration: CaConfiguration) -> tuple[Sid, ...]:
        security = SecurityDescriptor.from_sddl(configuration.security_descriptor, self._directory.domain.sid)
        return tuple(sorted(security.sids_with(int(CaAccess.ENROLL))))

    def _recovery_agents(self, record: CaRecord, now: datetime) -> tuple[bytes, ...]:
        """Certificates issued from templates that say so. [MS-CRTD] 2.4, CT_FLAG_PUBLISH_TO_KRA_CONTAINER."""
        database = self._installation.ca(record.name).authority.database
        found: list[bytes] = []
        for cn, template in self._directory.templates().items():
            if EnrollmentFlag.PUBLISH_TO_KRA_CONTAINER not in template.enrollment_flag:
                continue
            issued = database.view(
                Table.ISSUED_CERTIFICATES,
                [
                    Restriction("template", Comparison.EQUAL, cn),
                    Restriction("not_after", Comparison.GREATER, int(now.timestamp())),
                ],
                ("request_id",),
                None,
                MAX_AGENTS,
            )
            for row in list(issued):
                der = database.certificate_der(int(str(row["request_id"])))
                if der is not None:
                    found.append(der)
        return tuple(found)

    def _first_templates(self, ca_name: str) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """What the CA published before it was joined, where the domain has it and it is not dangerous there."""
        ours = self._installation.local_directory.enrollment_service(ca_name)
        theirs = self._directory.templates()
        chosen, left_out = [], {}
        for cn in ours.templates if ours is not None else ():
            template = theirs.get(cn)
            if template is None:
                left_out[cn] = "the domain has no such template"
                continue
            accepted = self._administration.accepted_of(template)
            open_risks = [
                risk.id
                for risk in self._administration.risks(template)
                if risk.needs_acceptance and risk.id not in accepted
            ]
            if open_risks:
                left_out[cn] = f"dangerous in the domain: {', '.join(open_risks)}"
            else:
                chosen.append(cn)
        return tuple(chosen), left_out

    def _is_site(self, connection: LdapConnection, name: str) -> bool:
        dn = f"CN={escape_rdn(name)},CN=Sites,{self._directory.names.configuration}"
        return connection.read(dn, ["cn"]) is not None

    def _site(self, connection: LdapConnection) -> str:
        settings, controller = self._directory.settings, connection.controller
        return (
            settings.site
            or controller.site
            or ask_site(controller.host, settings.dns_domain, min(settings.timeout, 1.0))
        )

    def _apply(self, plan: Plan, actor: str, word: str) -> None:
        """The intent is in the audit trail before the first step, and what became of it after the last."""
        if not plan.changes:
            return
        self._audit(AuditEvent.DOMAIN_WRITE_BEGUN, plan, plan.changes, actor, {"change": f"to be {word}"})
        done: list[ObjectChange] = []
        try:
            with self.writer.connection() as connection:
                for change in plan.changes:
                    try:
                        publication.apply(connection, change)
                    except LdapError as error:
                        raise self._refused(change, error) from error
                    done.append(change)
        except AdcsError as error:
            facts = {"change": f"not {word}", "reason": error.message[:MAX_FACT]}
            self._audit(AuditEvent.DOMAIN_WRITE_REFUSED, plan, done, actor, facts)
            raise
        finally:
            self._directory.forget_services()
        self._audit(AuditEvent.DOMAIN_PUBLICATION_CHANGED, plan, done, actor, {"change": word})

    def _audit(
        self, event: AuditEvent, plan: Plan, steps: Sequence[ObjectChange], actor: str, more: Mapping[str, str]
    ) -> None:
        facts: dict[str, str | int] = {
            **more,
            "domain": self._directory.domain.dns_name,
            "written_as": self.account,
            "objects": len(steps),
            **{f"object {at}": f"{each.action.value} {each.dn}" for at, each in enumerate(steps[:_MAX_STEPS], 1)},
        }
        recorded = CaEvent(event, self._installation.clock(), plan.ca_name, actor, facts)
        with self._installation.database.transaction() as connection:
            self._installation.audit.append(connection, recorded)

    def _refuse_missing(self, missing: Sequence[MissingRight]) -> None:
        if missing:
            account = self.account
            raise AccessDenied(
                f"{account} lacks rights in Active Directory. Let an administrator of the forest do it once (--user,"
                f" --user-password-file), or give them: {'; '.join(grants(missing, account))}"
            )

    def _refused(self, change: ObjectChange, error: LdapError) -> AdcsError:
        account = self.account
        where = publication.parent_dn(change.dn) if change.action is not Action.CHANGE else change.dn
        right = {
            Action.ADD: MissingRight(where, f"Create {change.object_class} objects", f"CC;{change.object_class}"),
            Action.CHANGE: MissingRight(where, "Write all properties", "WP"),
            Action.DELETE: MissingRight(where, f"Delete {change.object_class} objects", f"DC;{change.object_class}"),
        }[change.action]
        return missing_right(error, account, change.dn, f"{right.right} on {where}", *grants([right], account))


def _allowed(plan: Plan) -> tuple[ObjectChange, ...]:
    """The steps of a plan for which the account lacks nothing, and none that stands on one of the others."""
    lacking = {each.dn for each in plan.missing}
    allowed: list[ObjectChange] = []
    for change in plan.changes:
        where = change.dn if change.action is Action.CHANGE else publication.parent_dn(change.dn)
        if where in lacking:
            lacking.add(change.dn)
        else:
            allowed.append(change)
    return tuple(allowed)


def _newest(database: CaDatabase, scopes: Mapping[str, CrlScope], *, delta: bool = False) -> Mapping[str, bytes]:
    """The newest lists of each scope, by what stands behind the CA's name."""
    found = {suffix: scope.latest(database, delta=delta) for suffix, scope in scopes.items()}
    return {suffix: crl.der for suffix, crl in found.items() if crl is not None}


def grants(missing: Sequence[MissingRight], account: str) -> Sequence[str]:
    """The commands by which an administrator gives rights."""
    return [f'dsacls "{each.dn}" /G "{account}:{each.grant}"' for each in missing]


class DirectoryTarget:
    """CRLs into the domain as soon as they are made: implements `ca.revocation.publication.PublicationTarget`.

    Only of CAs that are published there; certificates follow with the next round of the clock.
    """

    is_directory = True

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    @property
    def description(self) -> str:
        return f"Active Directory {self._installation.home.settings.directory.dns_domain}"

    def put(self, name: str, content: bytes) -> bool:
        """False when it is none that the domain holds.

        Raises:
            OSError: it was not written.
        """
        directory = self._installation.active_directory
        if directory is None or not name.endswith(".crl"):
            return False
        found = self._distribution_point(name)
        if found is None:
            return False
        ca_name, host, suffix, delta = found
        try:
            base = public_key_services.container(directory.names.configuration)
            dn = publication.distribution_point_dn(ca_name, host, suffix, base)
            attribute = "deltaRevocationList" if delta else "certificateRevocationList"
            account = directory.principal(directory.settings.account)
            security = publication.crl_security(account.sid if account is not None else None, directory.domain.sid)
            wanted = publication.distribution_point(dn, {attribute: (content,)}, security)
            with directory.pool.connection() as connection:
                for change in publication.plan_publication(connection, [wanted]):
                    publication.apply(connection, change)
        except AdcsError as error:
            raise OSError(error.message) from error
        return True

    def _distribution_point(self, name: str) -> tuple[str, str, str, bool] | None:
        """Whose CRL the file is: CA, its host, what follows the CA's name, is it a delta; none if not published."""
        in_partition = _PARTITION.search(name)
        partition = int(in_partition[1]) if in_partition is not None else 0
        records = self._installation.records()
        wanted = self._published(records)
        for record in records:
            configuration = CaConfiguration.load(record.settings)
            for certificate in record.certificates:
                if record.name not in wanted or not configuration.dns_name:
                    continue
                variables = replace(configuration.url_variables(record, certificate), partition=partition)
                for delta in (False, True):
                    if replace(variables, delta=delta).crl_file == name:
                        return record.name, configuration.dns_name, variables.value("8"), delta
        return None

    @staticmethod
    def _published(records: Sequence[CaRecord]) -> Set[str]:
        """Those that are published in the domain, and the CAs above them."""
        by_name = {record.name: record for record in records}
        wanted: set[str] = set()
        for record in records:
            if record.ca_type.is_enterprise and CaConfiguration.load(record.settings).directory_publication:
                above: CaRecord | None = record
                while above is not None and above.name not in wanted:
                    wanted.add(above.name)
                    above = by_name.get(above.parent)
        return wanted
