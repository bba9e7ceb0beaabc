"""Certificate templates: what there is, what a CA issues, what is dangerous, and changing one by settings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Any

from ninja import Query, Router
from pydantic import Field

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.periods import period_text
from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate
from certwright.adcs.template_json import template_from_json, template_to_json
from certwright.adcs.template_settings import apply_settings, with_new_version
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.authorities import CaName, Settings, ca_of
from certwright.console.api.operations import operation
from certwright.console.api.problems import not_there
from certwright.console.api.risks import Accepting
from certwright.console.api.shapes import Entered, Flag, Line, Name, QueryFlag, Told, line
from certwright.console.rooms import CaStanding, rooms
from certwright.directory.risks import Risk as FoundRisk
from certwright.pki import oids

router = Router(tags=["Certificate templates"])

TemplatePath = Annotated[str, line(64, least=1), Field(description="The template's name (cn)")]


class Template(Told):
    cn: str
    display_name: str
    oid: str
    schema_version: int
    version: str
    purposes: list[str]
    approval: bool
    enrollee_supplies_subject: bool
    validity_period: str
    renewal_period: str
    published: bool  # this CA issues from it
    risks: list[str]  # that need to be accepted by name
    accepted_risks: list[str]


class Risk(Told):
    id: str
    severity: str
    sentence: str
    fix: str
    needs_acceptance: bool
    accepted: bool


class Right(Told):
    sid: str
    name: str
    enroll: bool
    autoenroll: bool
    write: bool


class TemplateDetails(Template):
    definition: dict[str, Any]  # as `certwright template export` writes it
    risk_details: list[Risk]
    rights: list[Right]


class TemplateFilters(Entered):
    published: Annotated[
        QueryFlag | None, Field(description="Only those that this CA issues from, or only others")
    ] = None


class TemplateChanges(Entered):
    """Settings by their names on the command line, as in validity-period."""

    settings: Settings


class TemplateOverride(TemplateChanges):
    accept_risks: Annotated[
        tuple[Annotated[str, line(32, least=1)], ...],
        Field(min_length=1, max_length=20, description="Each by its name, as in ESC1"),
    ]
    reason: Annotated[str, line(500, least=1), Field(description="For the audit trail")]


class TemplateDocument(Accepting):
    definition: dict[str, Any]


class TemplateDuplicate(Accepting):
    cn: Annotated[str, line(64, least=1), Field(description="Its name in requests")]
    display_name: Line = ""


class Permit(Entered):
    principal: Annotated[Name, Field(description="Account, group, or SID")]
    enroll: Flag = False
    autoenroll: Flag = False


class PermitGranted(Permit, Accepting):
    """A right for an account or a group."""


class TrialAnswer(Told):
    """What changing the settings would come to. Nothing is stored."""

    would_be_stored: bool
    fault: str  # why the values make no sense
    risk_details: list[Risk]
    refused: list[str]  # risks that nobody accepted
    definition: dict[str, Any]


class NameAsked(Entered):
    name: Name
    account: Annotated[Line, Field(description="Whose groups count; empty: nobody's")] = ""


class NameTried(Told):
    kind: str  # dns, ip, mail, upn
    inside: bool
    why_not: str


class NameAnswer(Told):
    """What the name could be, and whether it is inside the rules as that; outside, the request waits or is denied."""

    outside: str
    tried: list[NameTried]


@operation(router, "GET", "/cas/{ca}/templates", list[Template])
def list_templates(request: ApiRequest, ca: CaName, asked: Query[TemplateFilters]) -> Sequence[Template]:
    """List all templates of the directory, and which of them this CA issues from."""
    standing = ca_of(request.viewer, ca)
    found = [_told(standing, each) for each in rooms().directory_administration.templates().values()]
    wanted = [each for each in found if asked.published is None or each.published is asked.published]
    return sorted(wanted, key=lambda each: each.cn.casefold())


@operation(router, "POST", "/cas/{ca}/templates", TemplateDetails, status=201)
def import_template(request: ApiRequest, ca: CaName, entered: TemplateDocument) -> TemplateDetails:
    """Add a template from a document, or replace the one of the same name.

    The document is the `definition` of a template, or what `certwright template export` writes. No CA issues from a
    new one until it is published. Refused with 409 where it would newly open a risk; accepting it by name needs the
    scope override.
    """
    standing = ca_of(request.viewer, ca)
    administration = rooms().directory_administration
    actor = administration.require_template_administrator(request.viewer.requester)
    entered.demand_scope(request.viewer)
    stored = administration.put_template(
        template_from_json(entered.definition),
        accept_risks=entered.accept_risks,
        reason=entered.reason,
        actor=actor,
    )
    return _details(standing, stored)


@operation(router, "POST", "/cas/{ca}/templates/{cn}/duplicate", TemplateDetails, status=201)
def duplicate_template(
    request: ApiRequest, ca: CaName, cn: TemplatePath, entered: TemplateDuplicate
) -> TemplateDetails:
    """Add a template like another one, with a name and an OID of its own; no CA issues from it yet.

    Refused with 409 where the other one has a risk; accepting it by name needs the scope override.
    """
    standing, template = ca_of(request.viewer, ca), _template(cn)
    administration = rooms().directory_administration
    actor = administration.require_template_administrator(request.viewer.requester)
    entered.demand_scope(request.viewer)
    made = administration.duplicate_template(
        template.cn,
        entered.cn,
        entered.display_name,
        accept_risks=entered.accept_risks,
        reason=entered.reason,
        actor=actor,
    )
    return _details(standing, made)


@operation(router, "DELETE", "/cas/{ca}/templates/{cn}")
def delete_template(request: ApiRequest, ca: CaName, cn: TemplatePath) -> None:
    """Remove a template that is none of the default ones and that no CA issues from."""
    ca_of(request.viewer, ca)
    template = _template(cn)
    administration = rooms().directory_administration
    actor = administration.require_template_administrator(request.viewer.requester)
    administration.delete_template(template.cn, actor=actor)


@operation(router, "GET", "/cas/{ca}/templates/{cn}", TemplateDetails)
def get_template(request: ApiRequest, ca: CaName, cn: TemplatePath) -> TemplateDetails:
    """Show a template: its definition, its dangers, who may enroll."""
    return _details(ca_of(request.viewer, ca), _template(cn))


@operation(router, "PATCH", "/cas/{ca}/templates/{cn}", TemplateDetails)
def change_template(request: ApiRequest, ca: CaName, cn: TemplatePath, entered: TemplateChanges) -> TemplateDetails:
    """Change settings of a template.

    Refused with 409 where that would newly open a risk; the errors name each risk and what would mend it.
    """
    standing, template = ca_of(request.viewer, ca), _template(cn)
    administration = rooms().directory_administration
    actor = administration.require_template_administrator(request.viewer.requester)
    changed = administration.change_template(
        template.cn, lambda before: apply_settings(before, entered.settings), actor=actor
    )
    return _details(standing, changed)


@operation(router, "POST", "/cas/{ca}/templates/{cn}/override", TemplateDetails)
def override_template(
    request: ApiRequest, ca: CaName, cn: TemplatePath, entered: TemplateOverride
) -> TemplateDetails:
    """Change settings in spite of risks: each is named, with the reason, and stands in the audit trail."""
    standing, template = ca_of(request.viewer, ca), _template(cn)
    administration = rooms().directory_administration
    actor = administration.require_template_administrator(request.viewer.requester)
    changed = administration.change_template(
        template.cn,
        lambda before: apply_settings(before, entered.settings),
        accept_risks=entered.accept_risks,
        reason=entered.reason,
        actor=actor,
    )
    return _details(standing, changed)


@operation(router, "POST", "/cas/{ca}/templates/{cn}/check", TrialAnswer)
def check_template(request: ApiRequest, ca: CaName, cn: TemplatePath, entered: TemplateChanges) -> TrialAnswer:
    """Say what changing settings would come to: the template as it would be, and its risks. Nothing is stored."""
    ca_of(request.viewer, ca)
    template = _template(cn)
    administration = rooms().directory_administration
    after = with_new_version(template, apply_settings(template, entered.settings))
    examined = administration.examine(after)
    accepted = administration.accepted_risks(template.cn)
    return TrialAnswer(
        would_be_stored=not examined.refused and not examined.fault,
        fault=examined.fault,
        risk_details=[_risk(risk, accepted) for risk in examined.risks],
        refused=list(dict.fromkeys(risk.id for risk in examined.refused)),
        definition=template_to_json(after),
    )


@operation(router, "POST", "/cas/{ca}/templates/{cn}/try-name", NameAnswer)
def try_name(request: ApiRequest, ca: CaName, cn: TemplatePath, entered: NameAsked) -> NameAnswer:
    """Say whether a name is inside a template's name rules, as the CA's policy would."""
    ca_of(request.viewer, ca)
    rules = _template(cn).name_rules
    principal = rooms().directory.principal(entered.account) if entered.account.strip() else None
    if entered.account.strip() and principal is None:
        raise InvalidArgument(f"There is no account or group called {entered.account[:80]!r}.")
    sids = principal.sids if principal is not None else frozenset()
    try:
        tried = rooms().try_name(rules, entered.name.strip(), sids)
    except ValueError as error:
        raise InvalidArgument(f"{error}.") from error
    return NameAnswer(
        outside=rules.outside.value,
        tried=[NameTried(kind=kind, inside=not why, why_not=str(why)) for kind, why in tried],
    )


@operation(router, "POST", "/cas/{ca}/templates/{cn}/publish", TemplateDetails)
def publish_template(request: ApiRequest, ca: CaName, cn: TemplatePath) -> TemplateDetails:
    """Let a CA issue from a template. Everybody with the right to enroll can then request certificates."""
    standing, template = ca_of(request.viewer, ca), _template(cn)
    administration = rooms().directory_administration
    actor = administration.require_template_administrator(request.viewer.requester)
    administration.publish(standing.name, template.cn, actor=actor)
    return _details(standing, _template(template.cn))


@operation(router, "POST", "/cas/{ca}/templates/{cn}/unpublish", TemplateDetails)
def unpublish_template(request: ApiRequest, ca: CaName, cn: TemplatePath) -> TemplateDetails:
    """Stop a CA from issuing from a template. Issued certificates stay valid; renewals are refused."""
    standing, template = ca_of(request.viewer, ca), _template(cn)
    administration = rooms().directory_administration
    actor = administration.require_template_administrator(request.viewer.requester)
    administration.unpublish(standing.name, template.cn, actor=actor)
    return _details(standing, _template(template.cn))


@operation(router, "POST", "/cas/{ca}/templates/{cn}/grant", TemplateDetails)
def grant_template(request: ApiRequest, ca: CaName, cn: TemplatePath, entered: PermitGranted) -> TemplateDetails:
    """Let an account or a group enroll, autoenroll, or both.

    Refused with 409 where that would newly open a risk; accepting it by name needs the scope override.
    """
    entered.demand_scope(request.viewer)
    return _permit(request, ca, cn, entered, accept=entered.accept_risks, reason=entered.reason)


@operation(router, "POST", "/cas/{ca}/templates/{cn}/revoke", TemplateDetails)
def revoke_template(request: ApiRequest, ca: CaName, cn: TemplatePath, entered: Permit) -> TemplateDetails:
    """Take the right to enroll, to autoenroll, or both from an account or a group."""
    return _permit(request, ca, cn, entered, take=True)


def _permit(
    request: ApiRequest,
    ca: str,
    cn: str,
    entered: Permit,
    *,
    take: bool = False,
    accept: tuple[str, ...] = (),
    reason: str = "",
) -> TemplateDetails:
    standing, template = ca_of(request.viewer, ca), _template(cn)
    administration = rooms().directory_administration
    actor = administration.require_template_administrator(request.viewer.requester)
    who = entered.principal.strip()
    principal = rooms().directory.principal(who)
    if principal is None and not who.upper().startswith("S-1-"):
        raise InvalidArgument(f"There is no account or group called {who[:80]!r}.")
    sid = principal.sid if principal is not None else Sid(who.upper())
    rights: dict[str, bool] = {"enroll": entered.enroll, "autoenroll": entered.autoenroll}
    if take:
        changed = administration.revoke(template.cn, sid, **rights, actor=actor)
    else:
        changed = administration.grant(template.cn, sid, **rights, accept_risks=accept, reason=reason, actor=actor)
    return _details(standing, changed)


# -- as it is told ---------------------------------------------------------------------------------------------------


def _template(cn: str) -> CertificateTemplate:
    found = rooms().directory_administration.templates().get(cn)
    if found is None:
        raise not_there(f"certificate template called {cn[:80]!r}")
    return found


def _told(ca: CaStanding, template: CertificateTemplate) -> Template:
    administration = rooms().directory_administration
    service = rooms().directory.enrollment_service(ca.name)
    return Template(
        cn=template.cn,
        display_name=template.display_name,
        oid=template.oid,
        schema_version=template.schema_version,
        version=f"{template.major_version}.{template.minor_version}",
        purposes=list(map(oids.name_of, template.extended_key_usage)),
        approval=template.requires_approval,
        enrollee_supplies_subject=template.enrollee_supplies_subject,
        validity_period=period_text(template.validity_period),
        renewal_period=period_text(template.renewal_period),
        published=service is not None and template.cn in service.templates,
        risks=[risk.id for risk in administration.risks(template) if risk.needs_acceptance],
        accepted_risks=sorted(administration.accepted_risks(template.cn)),
    )


def _details(ca: CaStanding, template: CertificateTemplate) -> TemplateDetails:
    accepted = rooms().directory_administration.accepted_risks(template.cn)
    found: Sequence[FoundRisk] = rooms().directory_administration.risks(template)
    return TemplateDetails(
        **_told(ca, template).model_dump(),
        definition=template_to_json(template),
        risk_details=[_risk(risk, accepted) for risk in found],
        rights=_rights(template),
    )


def _risk(risk: FoundRisk, accepted: Collection[str]) -> Risk:
    return Risk(
        id=risk.id,
        severity=risk.severity.name.lower(),
        sentence=risk.sentence,
        fix=risk.fix,
        needs_acceptance=risk.needs_acceptance,
        accepted=risk.id in accepted,
    )


def _rights(template: CertificateTemplate) -> list[Right]:
    security = SecurityDescriptor.from_sddl(template.security_descriptor, rooms().directory.domain.sid)
    enroll, auto, write = security.enroll_sids(), security.autoenroll_sids(), security.write_sids()
    names = rooms().directory.sid_names(enroll | auto | write)
    rights = [
        Right(
            sid=str(sid),
            name=str(names.get(sid, sid)),
            enroll=sid in enroll,
            autoenroll=sid in auto,
            write=sid in write,
        )
        for sid in enroll | auto | write
    ]
    return sorted(rights, key=lambda right: (right.name.casefold(), right.sid))
