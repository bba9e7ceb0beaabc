"""Templates, their permissions and their publication: the other half of the embedded directory's administration.

A template that would newly let somebody escalate is refused unless the administrator accepts that risk by its name;
what was accepted is kept with the template and stands in the audit trail. See `directory.risks`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.adcs.requester import Sid, parse_sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import AUTOENROLL_RIGHT, ENROLL_RIGHT, CertificateTemplate, GeneralFlag
from certwright.adcs.template_checks import check_template
from certwright.adcs.template_json import template_from_json, template_to_json
from certwright.adcs.template_settings import apply_settings, with_new_version
from certwright.directory.account_names import host_name, key
from certwright.directory.base import EnrollmentService, PrincipalKind
from certwright.directory.changes import DirectoryChanges, TemplateChange, before_and_after
from certwright.directory.default_templates import (
    default_names,
    default_templates,
    new_template,
    new_template_oid,
    published_by_default,
)
from certwright.directory.risks import KNOWN_RISKS, Risk, risks

MAX_TEMPLATES = 1000

_SECURITY = "nTSecurityDescriptor"


class RiskyTemplate(InvalidArgument):
    """A template was refused because of risks that nobody accepted."""

    def __init__(self, message: str, found: tuple[Risk, ...]) -> None:
        super().__init__(message)
        self.risks = found


@dataclass(frozen=True, slots=True)
class Examination:
    """What storing a template would come to."""

    risks: tuple[Risk, ...]  # all there are, worst first
    refused: tuple[Risk, ...]  # of them those that nobody accepted
    fault: str = ""  # why the values make no sense


class TemplateAdministration(DirectoryChanges):
    """Certificate templates and enrollment services."""

    # -- templates -----------------------------------------------------------------------------------------------

    def install_default_templates(
        self, web_server_dns_suffixes: Sequence[str] = (), *, actor: str
    ) -> tuple[CertificateTemplate, ...]:
        """Install the 33 templates of a new forest; those that are there already stay as they are.

        Args:
            web_server_dns_suffixes: what WebServer's enrollees may name; without any, every request for it waits for
                a certificate manager.

        Returns:
            The templates that were installed now.
        """
        with self._template_change(actor) as change:
            missing = [
                template
                for template in default_templates(change.domain.sid, change.forest_arcs, web_server_dns_suffixes)
                if change.template(template.cn) is None
            ]
            for template in missing:
                self._put(change, template, None, frozenset())
        return tuple(missing)

    def templates(self) -> Mapping[str, CertificateTemplate]:
        """Every template by cn, as of now."""
        self.directory.refresh()
        return self.directory.templates()

    def template(self, cn: str) -> CertificateTemplate:
        """Raises:
        InvalidArgument: there is no such template.
        """
        self.directory.refresh()
        found = self.directory.snapshot().template(cn)
        if found is None:
            raise _no_such_template(cn, self.directory.templates())
        return found

    def risks(self, template: CertificateTemplate) -> tuple[Risk, ...]:
        """What is dangerous about a template here, accepted or not.

        Raises:
            InvalidArgument: its security descriptor cannot be read.
        """
        snapshot = self.directory.snapshot()
        names = {sid: principal.account for sid, principal in snapshot.principals.items()}
        try:
            return risks(template, snapshot.domain, names)
        except ValueError as error:
            raise InvalidArgument(f"{template.cn}: {error}.") from error

    def accepted_risks(self, cn: str) -> frozenset[str]:
        """The risks of a template that somebody accepted."""
        return self.directory.snapshot().accepted_risks(self.template(cn).cn)

    def examine(self, template: CertificateTemplate) -> Examination:
        """What storing the template would come to, as of now; nothing is stored."""
        snapshot = self.directory.snapshot()
        before = snapshot.template(template.cn)
        try:
            demand_storable(template)
            found = self.risks(template)
        except InvalidArgument as error:
            return Examination((), (), error.message)
        known = risks(before, snapshot.domain) if before is not None else ()
        return Examination(found, refused_risks(found, known, snapshot.accepted_risks(template.cn), frozenset()))

    def effective_members(self, sids: Iterable[Sid]) -> Mapping[Sid, int | None]:
        """How many enabled users and computers hold each SID, through any number of groups; None: many."""
        counts: dict[Sid, int] = dict.fromkeys(sids, 0)
        for principal in self.directory.snapshot().principals.values():
            if principal.kind is not PrincipalKind.GROUP and principal.enabled:
                for sid in principal.sids & counts.keys():
                    counts[sid] += 1
        return counts

    def create_template(
        self, cn: str, display_name: str = "", *, machine: bool = False, actor: str
    ) -> CertificateTemplate:
        """Add a new template of schema version 4 that only administrators may enroll for; see `new_template`.

        Raises:
            InvalidArgument: the name is taken or none.
        """
        with self._template_change(actor) as change:
            _refuse_taken_name(change, cn)
            made = new_template(cn, display_name or cn, change.domain.sid, machine=machine)
            return self._put(change, made, None, frozenset())

    def duplicate_template(
        self,
        cn: str,
        new_cn: str,
        display_name: str,
        *,
        accept_risks: Collection[str] = (),
        reason: str = "",
        actor: str,
    ) -> CertificateTemplate:
        """Add a template like another one, with an OID of its own; no CA publishes it yet.

        A duplicate of schema version 1 has version 2, as on Windows; its version begins at 100.0.

        Raises:
            RiskyTemplate: the other one has a risk, and nobody accepted it for this one.
            InvalidArgument: there is no such template, or the new name is taken or none.
        """
        with self._template_change(actor) as change:
            source = _template(change, cn)
            _refuse_taken_name(change, new_cn)
            if source.schema_version == 1:
                source = apply_settings(source, {"schema-version": "2"})
            made = replace(
                source,
                cn=new_cn,
                display_name=display_name or new_cn,
                oid="",
                major_version=100,
                minor_version=0,
                flags=GeneralFlag(source.flags & ~GeneralFlag.IS_DEFAULT | GeneralFlag.IS_MODIFIED),
            )
            return self._put(change, made, None, _accepted(accept_risks), reason, {"duplicate_of": source.cn})

    def delete_template(self, cn: str, *, actor: str) -> None:
        """Remove a template that came with no forest and that no CA publishes.

        Raises:
            InvalidArgument: there is no such template, it is one of the default ones, or a CA publishes it.
        """
        with self._template_change(actor) as change:
            template = _template(change, cn)
            if is_default(template):
                raise InvalidArgument(
                    f"{template.cn} is one of the default templates, which stay; stop issuing it instead."
                )
            publishers = [
                service.ca_name for service in change.services if key(template.cn) in map(key, service.templates)
            ]
            if publishers:
                raise InvalidArgument(
                    f"{template.cn} is issued by {', '.join(publishers)}; stop issuing it there first."
                )
            change.delete_template(template)
            facts: dict[str, str | int] = {"change": "template deleted", "template": template.cn, "oid": template.oid}
            change.record(AuditEvent.TEMPLATE_UPDATED, facts | before_and_after(_content(template), {}))

    def put_template(
        self,
        template: CertificateTemplate,
        *,
        accept_risks: Collection[str] = (),
        reason: str = "",
        actor: str,
    ) -> CertificateTemplate:
        """Add a template, or replace the one of the same name; returns it as it was stored.

        A template without an OID is given one. Replacing keeps the name's spelling and the OID, and raises the minor
        version if the document changed something but not its version.

        Args:
            accept_risks: identifiers such as "ESC1" of risks the administrator accepts.
            reason: why they are accepted, for the audit trail.

        Raises:
            RiskyTemplate: it has a risk nobody accepted.
            InvalidArgument: its values make no sense, or its OID belongs to another template.
        """
        with self._template_change(actor) as change:
            before = change.template(template.cn)
            if before is not None:
                template = self._versioned(before, replace(template, cn=before.cn))
            return self._put(change, template, before, _accepted(accept_risks), reason)

    def change_template(
        self,
        cn: str,
        change_it: Callable[[CertificateTemplate], CertificateTemplate],
        *,
        accept_risks: Collection[str] = (),
        reason: str = "",
        actor: str,
    ) -> CertificateTemplate:
        """Replace a template by what `change_it` makes of it, with nobody changing it in between.

        What `change_it` raises leaves everything as it was.

        Args:
            reason: why risks are accepted, for the audit trail.

        Raises:
            RiskyTemplate: it would newly have a risk.
            InvalidArgument: there is no such template, or the new values make no sense.
        """
        with self._template_change(actor) as change:
            before = _template(change, cn)
            after = change_it(before)
            if key(after.cn) != key(before.cn):
                raise InvalidArgument("A template cannot be renamed; import it under the new name.")
            return self._put(change, self._versioned(before, after), before, _accepted(accept_risks), reason)

    # -- permissions ---------------------------------------------------------------------------------------------

    def grant(
        self,
        cn: str,
        sid: Sid,
        *,
        enroll: bool = False,
        autoenroll: bool = False,
        accept_risks: Collection[str] = (),
        reason: str = "",
        actor: str,
    ) -> CertificateTemplate:
        """Let an account or a group enroll, autoenroll, or both.

        Args:
            reason: why risks are accepted, for the audit trail.

        Raises:
            RiskyTemplate: that would newly open a risk.
            InvalidArgument: there is no such template, or nothing to grant.
        """

        def granted(security: SecurityDescriptor, right: str) -> SecurityDescriptor:
            return security.grant_extended_right(right, sid)

        return self._permit(cn, sid, granted, enroll, autoenroll, accept_risks, actor, reason)

    def revoke(
        self, cn: str, sid: Sid, *, enroll: bool = False, autoenroll: bool = False, actor: str
    ) -> CertificateTemplate:
        """Take the right to enroll, to autoenroll, or both from an account or a group.

        Raises:
            InvalidArgument: there is no such template, or nothing to revoke.
        """

        def revoked(security: SecurityDescriptor, right: str) -> SecurityDescriptor:
            return security.revoke_extended_right(right, sid)

        return self._permit(cn, sid, revoked, enroll, autoenroll, (), actor)

    def _permit(
        self,
        cn: str,
        sid: Sid,
        apply: Callable[[SecurityDescriptor, str], SecurityDescriptor],
        enroll: bool,
        autoenroll: bool,
        accept_risks: Collection[str],
        actor: str,
        reason: str = "",
    ) -> CertificateTemplate:
        rights = [right for right, wanted in ((ENROLL_RIGHT, enroll), (AUTOENROLL_RIGHT, autoenroll)) if wanted]
        if not rights:
            raise InvalidArgument("Say which right: Enroll, AutoEnroll, or both.")
        try:
            parse_sid(sid)
        except ValueError as error:
            raise InvalidArgument(f"{error}.") from error
        with self._template_change(actor) as change:
            before = _template(change, cn)
            security = _security(before, change.domain.sid)
            for right in rights:
                security = apply(security, right)
            after = replace(before, security_descriptor=security.to_sddl())
            return self._put(change, after, before, _accepted(accept_risks), reason)

    # -- publication ---------------------------------------------------------------------------------------------

    def set_enrollment_service(self, ca_name: str, host: str, certificate: bytes, *, actor: str) -> EnrollmentService:
        """Make or renew the entry under which clients find a CA; what it publishes stays.

        Raises:
            InvalidArgument: the host name is none.
        """
        with self._template_change(actor) as change:
            before = change.service(ca_name)
            after = EnrollmentService(ca_name, host_name(host), certificate, before.templates if before else ())
            change.put_service(after)
            change.record(
                AuditEvent.CA_CERTIFICATE_PUBLISHED,
                {"change": "enrollment service set", "host": after.dns_host_name, "templates": len(after.templates)},
                ca=ca_name,
            )
        return after

    def publish(self, ca_name: str, cn: str, *, accept_risks: Collection[str] = (), actor: str) -> None:
        """Let a CA issue certificates from a template.

        Raises:
            RiskyTemplate: the template has a risk nobody accepted.
            InvalidArgument: there is no such CA or template.
        """
        with self._template_change(actor) as change:
            template = _template(change, cn)
            accepted = _accepted(accept_risks)
            stored = change.accepted_risks(template.cn)
            kept = self._gate(change, template, template, accepted)
            if kept != stored:
                change.put_template(template, kept)
            self._set_published(change, ca_name, [template.cn], [], kept - stored)

    def unpublish(self, ca_name: str, cn: str, *, actor: str) -> None:
        """Stop a CA from issuing certificates from a template.

        Raises:
            InvalidArgument: there is no such CA, or it does not publish the template.
        """
        with self._template_change(actor) as change:
            service = _service(change, ca_name)
            listed = next((name for name in service.templates if key(name) == key(cn)), None)
            if listed is None:
                raise InvalidArgument(f"{ca_name} does not publish a template called {cn[:80]!r}.")
            self._set_published(change, ca_name, [], [listed], frozenset())

    def publish_defaults(self, ca_name: str, *, actor: str) -> tuple[str, ...]:
        """Publish what a new enterprise CA publishes: 11 of the default templates. Returns their names.

        Raises:
            InvalidArgument: there is no such CA, or the default templates are not installed.
        """
        with self._template_change(actor) as change:
            chosen = [_template(change, cn) for cn in published_by_default()]
            for template in chosen:
                self._gate(change, template, template, frozenset())
            self._set_published(change, ca_name, [template.cn for template in chosen], [], frozenset())
        return tuple(template.cn for template in chosen)

    def _set_published(
        self,
        change: TemplateChange,
        ca_name: str,
        add: Sequence[str],
        remove: Sequence[str],
        accepted: frozenset[str],
    ) -> None:
        service = _service(change, ca_name)
        listed = tuple(name for name in dict.fromkeys((*service.templates, *add)) if name not in remove)
        if listed == service.templates:
            return
        change.put_service(replace(service, templates=listed))
        facts: dict[str, str | int] = {"change": "templates published" if add else "templates unpublished"}
        if accepted:
            facts["accepted_risks"] = ", ".join(sorted(accepted))
        change.record(
            AuditEvent.TEMPLATE_PUBLICATION_CHANGED,
            facts | before_and_after({"templates": ", ".join(service.templates)}, {"templates": ", ".join(listed)}),
            ca=service.ca_name,
        )

    # -- inside --------------------------------------------------------------------------------------------------

    def _versioned(self, before: CertificateTemplate, after: CertificateTemplate) -> CertificateTemplate:
        """`after` with the version that its differences call for."""
        return with_new_version(before, after)

    def _put(
        self,
        change: TemplateChange,
        template: CertificateTemplate,
        before: CertificateTemplate | None,
        accept: frozenset[str],
        reason: str = "",
        more: Mapping[str, str | int] | None = None,
    ) -> CertificateTemplate:
        """Check, gate, store and audit one template; `more` are further facts for the audit trail."""
        if before is not None:
            if template.oid not in ("", before.oid):
                raise InvalidArgument(
                    f"{before.cn} has the OID {before.oid}; it keeps it. Leave the OID out, or keep it."
                )
            template = replace(template, cn=before.cn, oid=before.oid)
        elif not template.oid:
            template = replace(template, oid=new_template_oid(change.forest_arcs))
        demand_storable(template)
        for other in change.templates.values():
            if template.oid and other.oid == template.oid and other.cn != template.cn:
                raise InvalidArgument(f"The OID {template.oid} belongs to the template {other.cn}; leave it out.")
        if before is None and len(change.templates) >= MAX_TEMPLATES:
            raise InvalidArgument(f"There are {MAX_TEMPLATES} templates already; that is all a directory holds.")
        security = _security(template, change.domain.sid)
        # kept with full SIDs: names such as DA would mean another domain's groups elsewhere
        template = replace(template, security_descriptor=security.to_sddl())
        if before == template and not accept:
            return template
        kept = self._gate(change, template, before, accept)
        change.put_template(template, kept)
        accepted = kept - change.accepted_risks(template.cn) | kept & accept
        facts: dict[str, str | int] = {"template": template.cn, "oid": template.oid, **(more or {})}
        if accepted:
            facts["accepted_risks"] = ", ".join(sorted(accepted))
        if reason:
            facts["reason"] = reason
        _audit(change, template, before, facts)
        return template

    def _gate(
        self,
        change: TemplateChange,
        template: CertificateTemplate,
        before: CertificateTemplate | None,
        accept: frozenset[str],
    ) -> frozenset[str]:
        """The risks that are accepted from now on.

        A risk accepted earlier is new again when it reaches somebody it did not reach before.

        Raises:
            RiskyTemplate: one is not accepted.
        """
        known = change.risks(before) if before is not None else ()
        found = change.risks(template)
        refused = refused_risks(found, known, change.accepted_risks(template.cn), accept)
        if refused:
            raise RiskyTemplate(_refusal(template, refused), refused)
        return frozenset(risk.id for risk in found if risk.needs_acceptance)


def demand_storable(template: CertificateTemplate) -> None:
    """Refuse what makes no sense, and what the directory could not read again: it would be lost with all the others.

    Raises:
        InvalidArgument: says which attribute, and what is wrong with it.
    """
    check_template(template)
    template_from_json(template_to_json(template))


def is_default(template: CertificateTemplate) -> bool:
    """Is it one of those that `install_default_templates` makes, whatever became of it?"""
    return key(template.cn) in map(key, default_names())


def refused_risks(
    found: Sequence[Risk], known: Sequence[Risk], already: Collection[str], accept: Collection[str]
) -> tuple[Risk, ...]:
    """Of the risks found those that nobody accepts now, or accepted for everybody they reach."""
    reached = {risk.id: risk.principals for risk in known if risk.needs_acceptance}
    return tuple(
        risk
        for risk in found
        if risk.needs_acceptance
        and risk.id not in accept
        and (risk.id not in already or not risk.principals <= reached.get(risk.id, frozenset()))
    )


def _refuse_taken_name(change: TemplateChange, cn: str) -> None:
    taken = change.template(cn)
    if taken is not None:
        raise InvalidArgument(f"There is a certificate template called {taken.cn} already; choose another name.")


def _refusal(template: CertificateTemplate, refused: tuple[Risk, ...]) -> str:
    identifiers = ", ".join(dict.fromkeys(risk.id for risk in refused))
    said = " ".join(f"{risk.id}: {risk.sentence} {risk.fix}" for risk in refused)
    return f"The template {template.cn} would be dangerous. {said} Or accept the risk by its name: {identifiers}."


def _accepted(accept_risks: Collection[str]) -> frozenset[str]:
    accepted = frozenset(name.strip().upper() for name in accept_risks)
    unknown = accepted - frozenset(KNOWN_RISKS)
    if unknown:
        raise InvalidArgument(
            f"{', '.join(sorted(unknown))[:80]} is no risk of a template; there are {', '.join(KNOWN_RISKS)}."
        )
    return accepted


def _security(template: CertificateTemplate, domain_sid: Sid) -> SecurityDescriptor:
    """The template's permissions. One without a list is refused: on Windows it would let everybody do everything."""
    try:
        security = SecurityDescriptor.from_sddl(template.security_descriptor, domain_sid)
    except ValueError as error:
        raise InvalidArgument(f"{template.cn}: the security descriptor cannot be read: {error}.") from error
    if security.dacl is None:
        raise InvalidArgument(f"{template.cn}: the security descriptor has no list of permissions (D:...).")
    return security


def _template(change: TemplateChange, cn: str) -> CertificateTemplate:
    found = change.template(cn)
    if found is None:
        raise _no_such_template(cn, change.templates)
    return found


def _no_such_template(cn: str, templates: Mapping[str, CertificateTemplate]) -> InvalidArgument:
    named_so = next((t.cn for t in templates.values() if key(t.display_name) == key(cn)), None)
    hint = f" That is the display name of {named_so}." if named_so else ""
    return InvalidArgument(f"There is no certificate template called {cn[:80]!r}.{hint}")


def _service(change: TemplateChange, ca_name: str) -> EnrollmentService:
    found = change.service(ca_name)
    if found is None:
        raise InvalidArgument(f"There is no CA called {ca_name[:80]!r} in the directory.")
    return found


def _audit(
    change: TemplateChange,
    template: CertificateTemplate,
    before: CertificateTemplate | None,
    facts: dict[str, str | int],
) -> None:
    """4898 for a new template, 4899 for changed attributes, 4900 for changed permissions; both if both changed."""
    if before is None:
        change.record(
            AuditEvent.TEMPLATE_LOADED,
            facts
            | {
                "change": "template added",
                "display_name": template.display_name,
                "version": f"{template.major_version}.{template.minor_version}",
                _SECURITY: template.security_descriptor,
            },
        )
        return
    old, new = _content(before), _content(template)
    old_security, new_security = {_SECURITY: old.pop(_SECURITY)}, {_SECURITY: new.pop(_SECURITY)}
    changed = before_and_after(old, new)
    if changed or old_security == new_security:
        change.record(AuditEvent.TEMPLATE_UPDATED, facts | {"change": "template updated"} | changed)
    if old_security != new_security:
        change.record(
            AuditEvent.TEMPLATE_SECURITY_UPDATED,
            facts | {"change": "template security updated"} | before_and_after(old_security, new_security),
        )


def _content(template: CertificateTemplate) -> dict[str, str | int]:
    """The template attribute by attribute, as short facts; what a reader's companion says is left out."""
    document = template_to_json(template)
    return {
        name: value if isinstance(value, str | int) else json.dumps(value, ensure_ascii=False)
        for name, value in document.items()
        if not (name.endswith(("Names", "Text")) and name.removesuffix("Names").removesuffix("Text") in document)
    }
