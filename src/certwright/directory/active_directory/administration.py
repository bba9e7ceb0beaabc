"""The administration of an installation that belongs to a domain: accounts of its own, templates of the domain.

Templates, their permissions and what a CA publishes live in Active Directory and are changed there, through the same
gate and with the same events as in the embedded directory: `TemplateAdministration` decides, `_DomainChange` writes.
What was accepted about a template is kept here: Active Directory has no place for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Final, NoReturn

from certwright.adcs.errors import AccessDenied, InvalidArgument, NotSupported
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.requester import Requester, Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate
from certwright.database.opening import Database
from certwright.directory import store
from certwright.directory.account_names import key
from certwright.directory.active_directory import public_key_services, template_writing
from certwright.directory.active_directory.composite import JoinedDirectory
from certwright.directory.active_directory.ldap import LdapConnection, LdapError, LdapPool
from certwright.directory.administration import DirectoryAdministration
from certwright.directory.base import Domain, EnrollmentService
from certwright.directory.changes import MAX_FACT, Record, TemplateChange
from certwright.directory.default_templates import default_templates, new_forest_arcs
from certwright.directory.risks import Place, Risk, risks
from certwright.directory.security_audit.audience import Audience
from certwright.directory.template_administration import Examination, demand_storable, refused_risks
from certwright.directory.well_known import Rid
from certwright.keystores.sealing import Sealer

_ADMINISTRATORS: Final = (Rid.DOMAIN_ADMINS, Rid.ENTERPRISE_ADMINS)
_RIGHTS: Final = "Create, Delete, Write and Modify Permissions in the containers Certificate Templates and OID"

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
        """Raises:
        InvalidArgument: its security descriptor cannot be read.
        """
        try:
            security = SecurityDescriptor.from_sddl(template.security_descriptor, self.joined.domain.sid)
            sids = frozenset(ace.sid for ace in security.dacl.entries) if security.dacl is not None else frozenset()
            audience = Audience.active_directory((self.joined.domain.sid,), self.joined.sid_names(sids))
            return risks(template, self.joined.domain, place=Place.ACTIVE_DIRECTORY, audience=audience)
        except ValueError as error:
            raise InvalidArgument(f"{template.cn}: {error}.") from error

    def accepted_risks(self, cn: str) -> frozenset[str]:
        template = self.template(cn)
        with self._database.read() as connection:
            return store.accepted_in_domain(connection, self.joined.domain.sid, template.cn, template.oid)

    def examine(self, template: CertificateTemplate) -> Examination:
        before = self.templates().get(template.cn)
        try:
            demand_storable(template)
            _demand_room(template)
            found = self.risks(template)
            known = self.risks(before) if before is not None else ()
        except InvalidArgument as error:
            return Examination((), (), error.message)
        already = self.accepted_risks(before.cn) if before is not None else frozenset()
        return Examination(found, refused_risks(found, known, already, frozenset()))

    def effective_members(self, sids: Iterable[Sid]) -> Mapping[Sid, int]:
        """Not counted: the groups of a domain may have a hundred thousand members."""
        return dict.fromkeys(sids, 0)

    # -- changing ------------------------------------------------------------------------------------------------

    def install_default_templates(
        self, web_server_dns_suffixes: Sequence[str] = (), *, actor: str
    ) -> tuple[CertificateTemplate, ...]:
        """Write the 33 templates of a new forest into a domain that has none; those that are there stay as they are.

        Each is a change of its own, so that what was written before a failure is in the audit trail. Name rules have
        no place in Active Directory; `web_server_dns_suffixes` says nothing here.
        """
        arcs = self._forest_arcs()
        there = {key(cn) for cn in (*self.templates(), *(each.cn for each in self._findings()))}
        made = []
        for template in default_templates(self.joined.domain.sid, arcs):
            if key(template.cn) not in there:
                with self._template_change(actor) as change:
                    self._put(change, template, None, frozenset())
                made.append(template)
        return tuple(made)

    def set_enrollment_service(self, ca_name: str, host: str, certificate: bytes, *, actor: str) -> NoReturn:
        """Not alone: publication writes this entry with all that belongs to it."""
        raise NotSupported(f"Let clients find {ca_name} in the domain with: certwright domain publish")

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
        """One change: checked against what is there now, written into the domain, then audited.

        The domain is written before the audit trail, which says what was done and by which account of the domain.
        """
        directory = self.joined.active_directory
        directory.forget_services()
        change = _DomainChange(self, actor)
        yield change
        if change.writes:
            try:
                with self.writer.connection() as connection:
                    for write in change.writes:
                        write(connection, self._base)
            except LdapError as error:
                raise self._refusal(error, "certificate templates") from error
            finally:
                directory.forget_services()
        if change.events or change.accepted:
            with self._database.transaction() as database:
                for (cn, oid), kept in change.accepted.items():
                    store.accept_in_domain(database, self.joined.domain.sid, cn, oid, kept)
                for event in change.events:
                    self._record(database, event)

    def accepted_of(self, template: CertificateTemplate) -> frozenset[str]:
        with self._database.read() as connection:
            return store.accepted_in_domain(connection, self.joined.domain.sid, template.cn, template.oid)

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
        self.accepted: dict[tuple[str, str], frozenset[str]] = {}

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

    def risks(self, template: CertificateTemplate) -> tuple[Risk, ...]:
        return self._administration.risks(template)

    def put_template(self, template: CertificateTemplate, accepted_risks: frozenset[str]) -> None:
        _demand_room(template)
        sid = self.domain.sid
        before = self.template(template.cn)

        def write(connection: LdapConnection, base: str) -> None:
            if before is None:
                template_writing.add_template(connection, base, template, sid)
            else:
                template_writing.replace_template(connection, base, before, template, sid)

        self.writes.append(write)
        if accepted_risks != (self.accepted_risks(template.cn) if before is not None else frozenset()):
            self.accepted[template.cn, template.oid] = accepted_risks

    def delete_template(self, template: CertificateTemplate) -> None:
        self.writes.append(
            lambda connection, base: template_writing.delete_template(connection, base, template),
        )
        self.accepted[template.cn, template.oid] = frozenset()

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


def _demand_room(template: CertificateTemplate) -> None:
    """Raises:
    InvalidArgument: it says what Active Directory has no attribute for.
    """
    if template.name_rules.rules:
        raise InvalidArgument(
            f"{template.cn}: name rules have no place in Active Directory; take them out. Without them a certificate"
            " manager decides on every request that names its subject."
        )
