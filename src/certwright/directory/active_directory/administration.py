"""The administration of an installation that belongs to a domain: accounts of its own, templates of the domain.

Templates, their permissions and what a CA publishes live in Active Directory and are changed there, through the same
gate and with the same events as in the embedded directory: `TemplateAdministration` decides, `_DomainChange` writes.
What was accepted about a template and its name rules are kept here: Active Directory has no place for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Final, NoReturn

import structlog

from certwright.adcs.errors import AccessDenied, AdcsError, InvalidArgument, NotSupported
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.requester import BUILTIN_ADMINISTRATORS, Requester, Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate
from certwright.adcs.template_settings import with_new_version
from certwright.database.opening import Database
from certwright.directory import store
from certwright.directory.account_names import key
from certwright.directory.active_directory import public_key_services, template_writing
from certwright.directory.active_directory.composite import JoinedDirectory
from certwright.directory.active_directory.ldap import LdapConnection, LdapError, LdapPool
from certwright.directory.active_directory.members import count_members
from certwright.directory.administration import DirectoryAdministration
from certwright.directory.base import Domain, EnrollmentService
from certwright.directory.changes import MAX_FACT, Record, TemplateChange
from certwright.directory.default_templates import default_templates, new_forest_arcs
from certwright.directory.risks import Place, Risk, risks
from certwright.directory.security_audit.audience import Audience
from certwright.directory.store import KeptHere
from certwright.directory.template_administration import Examination, demand_storable, refused_risks
from certwright.directory.well_known import ANONYMOUS, EVERY_ACCOUNT, Rid
from certwright.keystores.sealing import Sealer
from certwright.pki.names import sanitized_short_name

log = structlog.get_logger(__name__)

_ADMINISTRATORS: Final = (Rid.DOMAIN_ADMINS, Rid.ENTERPRISE_ADMINS)
_RIGHTS: Final = "Create, Delete, Write and Modify Permissions in the containers Certificate Templates and OID"

_COUNT_FOR: Final = 60.0  # seconds for which the number of a group's members is good
_MAX_COUNTS: Final = 10_000
_EVERYBODY: Final = EVERY_ACCOUNT | {ANONYMOUS}
_MAX_TOLD: Final = 40  # events named in the one before

_Write = Callable[[LdapConnection, str], None]
"""Something to do at a controller, below the container Public Key Services."""


class JoinedAdministration(DirectoryAdministration):
    """As its base, with the domain's templates instead of those of the embedded directory."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        record: Record,
        clock: Callable[[], datetime],
        directory: JoinedDirectory,
    ) -> None:
        super().__init__(database, sealer, record, clock, directory.local)
        self.joined = directory
        self._other_writer: LdapPool | None = None
        self._counted: dict[Sid, tuple[float, int | None]] = {}

    # -- who writes ----------------------------------------------------------------------------------------------

    def write_as(self, account: str, password: str) -> None:
        """Change the domain as another account than the one that reads it, from now on; it is kept nowhere."""
        self.close_writer()
        settings = replace(self.joined.active_directory.settings, account=account, password=password, keytab=None)
        self._other_writer = LdapPool(settings)

    @property
    def writer(self) -> LdapPool:
        """Connections of the account that changes the domain."""
        return self._other_writer or self.joined.active_directory.pool

    @property
    def writing_account(self) -> str:
        r"""`CORP\svc-pki`."""
        return f"{self.joined.domain.netbios_name}\\{self.writer.account}"

    def close_writer(self) -> None:
        if self._other_writer is not None:
            self._other_writer.close()
            self._other_writer = None

    def require_template_administrator(self, requester: Requester) -> str:
        """As in the embedded directory, and the administrators of the domain and the forest.

        Raises:
            AccessDenied: it is none of them.
        """
        if self.joined.is_local(requester.sid):
            return super().require_template_administrator(requester)
        principal = self.joined.principal(requester.sid)
        allowed = {rid.in_domain(self.joined.domain.sid) for rid in _ADMINISTRATORS}
        if principal is None or not principal.enabled or not principal.sids & allowed:
            groups = ", ".join(sorted(self.joined.sid_names(frozenset(allowed)).values()))
            raise AccessDenied(
                f"{requester.account} may not change certificate templates; members of these groups may: {groups}."
            )
        return requester.account

    # -- reading -------------------------------------------------------------------------------------------------

    def templates(self) -> Mapping[str, CertificateTemplate]:
        return self.joined.templates()

    def template(self, cn: str) -> CertificateTemplate:
        """Raises:
        InvalidArgument: there is none of that name.
        """
        wanted = key(cn)
        found = next((each for name, each in self.templates().items() if key(name) == wanted), None)
        if found is None:
            broken = {key(each.cn): each for each in self.joined.active_directory.findings()}.get(wanted)
            hint = f" There is one in Active Directory that cannot be used: {broken.reason}." if broken else ""
            raise InvalidArgument(f"There is no certificate template called {cn[:80]!r}.{hint}")
        return found

    def risks(self, template: CertificateTemplate) -> tuple[Risk, ...]:
        """Where another CA publishes the template too, it is as dangerous as there: no name rules, ESC15.

        Raises:
            InvalidArgument: its security descriptor cannot be read.
        """
        place = Place.MICROSOFT if self._foreign_publishers(template.cn) else Place.ACTIVE_DIRECTORY
        try:
            security = SecurityDescriptor.from_sddl(template.security_descriptor, self.joined.domain.sid)
            sids = frozenset(ace.sid for ace in security.dacl.entries) if security.dacl is not None else frozenset()
            audience = Audience.active_directory((self.joined.domain.sid,), self.joined.sid_names(sids))
            return risks(
                template,
                self.joined.domain,
                linked_policies=self._linked_policies() if template.issuance_policies else {},
                place=place,
                audience=audience,
            )
        except ValueError as error:
            raise InvalidArgument(f"{template.cn}: {error}.") from error

    def accepted_risks(self, cn: str) -> frozenset[str]:
        return self.accepted_of(self.template(cn))

    def examine(self, template: CertificateTemplate) -> Examination:
        before = self.templates().get(template.cn)
        try:
            demand_storable(template)
            found = self.risks(template)
            known = self.risks(before) if before is not None else ()
        except InvalidArgument as error:
            return Examination((), (), error.message)
        already = self.accepted_risks(before.cn) if before is not None else frozenset()
        return Examination(found, refused_risks(found, known, already, frozenset()))

    def effective_members(self, sids: Iterable[Sid]) -> Mapping[Sid, int | None]:
        """As of the last minute; None also while no controller answers. For what is shown, and nothing else."""
        found: dict[Sid, int | None] = {}
        for sid in sids:
            if self.joined.is_local(sid) or sid == BUILTIN_ADMINISTRATORS:  # which means ours, as on a member server
                found |= super().effective_members((sid,))
            elif sid in _EVERYBODY:
                found[sid] = None
            else:
                found[sid] = self._members(sid)
        return found

    def _members(self, sid: Sid) -> int | None:
        now = time.monotonic()
        known = self._counted.get(sid)
        if known is not None and now - known[0] < _COUNT_FOR:
            return known[1]
        directory = self.joined.active_directory
        try:
            base, domain = directory.names.domain, directory.domain
            count = directory.pool.run(lambda connection: count_members(connection, domain, base, sid))
        except AdcsError as error:
            log.warning("members_not_counted", sid=sid, reason=error.message)
            return None
        if len(self._counted) >= _MAX_COUNTS:
            self._counted.clear()
        self._counted[sid] = now, count
        return count

    # -- changing ------------------------------------------------------------------------------------------------

    def install_default_templates(
        self, web_server_dns_suffixes: Sequence[str] = (), *, actor: str
    ) -> tuple[CertificateTemplate, ...]:
        """Write the 33 templates of a new forest into a domain that has none; those that are there stay as they are.

        Each is a change of its own, so that what was written before a failure is in the audit trail.
        """
        arcs = self._forest_arcs()
        there = {key(cn) for cn in (*self.templates(), *(each.cn for each in self._findings()))}
        made = []
        for template in default_templates(self.joined.domain.sid, arcs, web_server_dns_suffixes):
            if key(template.cn) not in there:
                with self._template_change(actor) as change:
                    self._put(change, template, None, frozenset())
                made.append(template)
        return tuple(made)

    def set_enrollment_service(self, ca_name: str, host: str, certificate: bytes, *, actor: str) -> NoReturn:
        """Not alone: publication writes this entry with all that belongs to it."""
        raise NotSupported(f"Let clients find {ca_name} in the domain with: certwright domain publish")

    def _linked_policies(self) -> Mapping[str, str]:
        """Issuance policies that stand for a group of the domain: as of now, for it is a gate that asks."""
        return self.joined.active_directory.pool.run(
            lambda connection: template_writing.linked_policies(connection, self._base)
        )

    def _foreign_publishers(self, cn: str) -> Sequence[str]:
        """CAs that publish a template and are not of this installation."""
        ours = {sanitized_short_name(service.ca_name).casefold() for service in self.directory.enrollment_services()}
        return [
            service.ca_name
            for service in self.joined.enrollment_services()
            if key(cn) in map(key, service.templates) and sanitized_short_name(service.ca_name).casefold() not in ours
        ]

    def _findings(self) -> Sequence[public_key_services.TemplateFinding]:
        return self.joined.active_directory.findings()

    def _forest_arcs(self) -> str:
        """Those of the forest; drawn now where no CA of Windows has done so."""

        def read_or_make(connection: LdapConnection) -> str:
            base = self._base
            return template_writing.read_forest_arcs(connection, base) or template_writing.make_forest_arcs(
                connection, base
            )

        known = self.joined.active_directory.pool.run(
            lambda connection: template_writing.read_forest_arcs(connection, self._base)
        )
        if known:
            return known
        try:
            with self.writer.connection() as connection:
                return read_or_make(connection)
        except LdapError as error:
            raise self._refusal(error, "the container OID") from error

    @property
    def _base(self) -> str:
        return public_key_services.container(self.joined.active_directory.names.configuration)

    def _refusal(self, error: LdapError, where: str) -> Exception:
        grant = f'dsacls "{self._base}" /I:T /G "{self.writing_account}:CCDCSDRPWPWD"'
        return template_writing.missing_right(error, self.writing_account, where, _RIGHTS, grant)

    def _template_change(self, actor: str) -> AbstractContextManager[TemplateChange]:
        return self._domain_change(actor)

    @contextmanager
    def _domain_change(self, actor: str) -> Iterator[TemplateChange]:
        """One change: checked against what is there now, said in the audit trail, written into the domain, audited.

        LDAP has no transaction to share. So the trail says first that the domain is about to be written, and by which
        account; then what was done, or that it was refused. Nothing is done without a record (docs/adr/0011).
        """
        directory = self.joined.active_directory
        directory.forget_services()
        change = _DomainChange(self, actor)
        yield change
        if change.writes:
            self._write(change)
        if change.events or change.kept:
            with self._database.transaction() as database:
                if change.kept:
                    store.raise_version(database)  # readers of the name rules notice
                for (cn, oid), kept in change.kept.items():
                    store.keep_in_domain(database, self.joined.domain.sid, cn, oid, kept)
                for event in change.events:
                    self._record(database, event)
            self.directory.refresh()

    def _write(self, change: _DomainChange) -> None:
        """What the change collected, at a domain controller.

        Raises:
            AdcsError: refused, or no controller answers; the audit trail says so.
        """
        self._say(change.begun())
        try:
            with self.writer.connection() as connection:
                for write in change.writes:
                    write(connection, self._base)
        except AdcsError as error:
            self._say(change.refused(error.message))
            if isinstance(error, LdapError):
                raise self._refusal(error, "certificate templates") from error
            raise
        finally:
            self.joined.active_directory.forget_services()

    def _say(self, event: CaEvent) -> None:
        with self._database.transaction() as database:
            self._record(database, event)

    def accepted_of(self, template: CertificateTemplate) -> frozenset[str]:
        return self.kept_of(template).accepted_risks

    def kept_of(self, template: CertificateTemplate) -> KeptHere:
        """What is kept here about a template of the domain."""
        return self.directory.snapshot().kept_in_domain(self.joined.domain.sid, template.cn, template.oid)

    def _versioned(self, before: CertificateTemplate, after: CertificateTemplate) -> CertificateTemplate:
        """Name rules are no part of the domain's object: changing them is no new version of it."""
        ruled = replace(before, name_rules=after.name_rules)
        if after in (ruled, with_new_version(before, ruled)):  # editors raise the version by themselves
            return ruled
        return super()._versioned(before, after)

    def now(self) -> datetime:
        return self._clock()

    def draw_arcs(self) -> str:
        """The forest's part for the OID of one new template; another random one where it cannot be known."""
        try:
            return self._forest_arcs()
        except AccessDenied:
            return new_forest_arcs()


class _DomainChange:
    """Implements `TemplateChange`; what it collects is done when it ends."""

    def __init__(self, administration: JoinedAdministration, actor: str) -> None:
        self._administration = administration
        self._actor = actor
        joined = administration.joined
        self.domain: Domain = joined.domain
        self.templates = joined.templates()
        self.services: Collection[EnrollmentService] = joined.enrollment_services()
        self.writes: list[_Write] = []
        self.events: list[CaEvent] = []
        self.kept: dict[tuple[str, str], KeptHere] = {}

    @property
    def forest_arcs(self) -> str:
        return self._administration.draw_arcs()

    def template(self, cn: str) -> CertificateTemplate | None:
        wanted = key(cn)
        return next((each for name, each in self.templates.items() if key(name) == wanted), None)

    def service(self, ca_name: str) -> EnrollmentService | None:
        found = self._administration.joined.enrollment_service(ca_name)
        return replace(found, ca_name=ca_name) if found is not None else None

    def accepted_risks(self, cn: str) -> frozenset[str]:
        template = self.template(cn)
        return self._administration.accepted_of(template) if template is not None else frozenset()

    def begun(self) -> CaEvent:
        """Said before the domain is written: everything that is about to be said of it after."""
        return self._told(AuditEvent.DOMAIN_WRITE_BEGUN, "to be written", {})

    def refused(self, reason: str) -> CaEvent:
        """Said when it could not be written, or not all of it."""
        return self._told(AuditEvent.DOMAIN_WRITE_REFUSED, "not written", {"reason": reason[:MAX_FACT]})

    def _told(self, event: AuditEvent, word: str, more: Mapping[str, str]) -> CaEvent:
        facts: dict[str, str | int] = {"change": word, **more}
        facts |= {"domain": self.domain.dns_name, "written_as": self._administration.writing_account}
        for number, each in enumerate(self.events[:_MAX_TOLD], 1):
            named = each.details.get("template", each.ca)
            facts[f"event {number}"] = f"{int(each.event)} {named}: {each.details.get('change', '')}"
        chain = self.events[0].ca if self.events else ""
        return CaEvent(event, self._administration.now(), chain, self._actor, facts)

    def risks(self, template: CertificateTemplate) -> tuple[Risk, ...]:
        return self._administration.risks(template)

    def put_template(self, template: CertificateTemplate, accepted_risks: frozenset[str]) -> None:
        sid = self.domain.sid
        before = self.template(template.cn)

        def write(connection: LdapConnection, base: str) -> None:
            if before is None:
                template_writing.add_template(connection, base, template, sid)
            else:
                template_writing.replace_template(connection, base, before, template, sid)

        if before is None or replace(before, name_rules=template.name_rules) != template:
            self.writes.append(write)
        kept = KeptHere(accepted_risks, template.name_rules)
        if kept != self._administration.kept_of(template):
            self.kept[template.cn, template.oid] = kept

    def delete_template(self, template: CertificateTemplate) -> None:
        self.writes.append(
            lambda connection, base: template_writing.delete_template(connection, base, template),
        )
        self.kept[template.cn, template.oid] = KeptHere()

    def put_service(self, service: EnrollmentService) -> None:
        before = self.service(service.ca_name)
        if before is None:
            raise InvalidArgument(
                f"Active Directory has no enrollment service {service.ca_name} yet: make it with certwright domain"
                " publish."
            )
        self.writes.append(
            lambda connection, base: template_writing.publish_templates(connection, base, before, service)
        )

    def record(self, event: AuditEvent, facts: Mapping[str, str | int], *, ca: str = "") -> None:
        said = {"domain": self.domain.dns_name, "written_as": self._administration.writing_account, **facts}
        details = {name: value[:MAX_FACT] if isinstance(value, str) else value for name, value in said.items()}
        self.events.append(CaEvent(event, self._administration.now(), ca, self._actor, details))
