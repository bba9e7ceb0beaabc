"""What is dangerous about a certificate template: the escalations that begin with one.

A pure look at one template: who may enroll for it without anybody's approval, and what the certificate could then be
used for. Who counts as an attacker is the `Audience`'s answer; what a permission or a flag can do depends on the
`Place` where the template lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import (
    AUTOENROLL_RIGHT,
    ENROLL_RIGHT,
    CertificateTemplate,
    EnrollmentFlag,
    NameFlag,
    NameRule,
)
from certwright.adcs.template_rights import TemplateRight, rights_by_sid, with_rights
from certwright.adcs.template_settings import apply_settings
from certwright.directory.base import Domain
from certwright.directory.security_audit.audience import Audience
from certwright.directory.security_audit.findings import Cause, Condition, Place, Remedy, Risk, Severity, Way
from certwright.pki import oids

KNOWN_RISKS: Final = ("ESC1", "ESC2", "ESC3", "ESC4", "ESC9", "ESC13", "ESC15", "ESC17")

_LOGON_USAGES: Final = frozenset(
    {oids.EKU_CLIENT_AUTH, oids.EKU_PKINIT_CLIENT, oids.EKU_SMART_CARD_LOGON, oids.EKU_ANY}
)
_MAX_NAMED: Final = 8


@dataclass(frozen=True, slots=True)
class _Case:
    """What all rules look at, worked out once."""

    template: CertificateTemplate
    domain: Domain
    place: Place
    audience: Audience
    usages: frozenset[str]
    enrollers: frozenset[Sid]  # outside the administrators
    writers: frozenset[Sid]
    linked_policies: Mapping[str, str]
    who: str
    principals_shown: tuple[str, ...]

    @property
    def any_usage(self) -> bool:
        """No extended key usage means every usage. RFC 5280 4.2.1.12."""
        return not self.template.extended_key_usage or oids.EKU_ANY in self.usages

    @property
    def logs_on(self) -> bool:
        return self.any_usage or bool(self.usages & _LOGON_USAGES)

    @property
    def unattended(self) -> bool:
        """May somebody outside the administrators get a certificate that no second person has looked at?"""
        return bool(self.enrollers) and not self.template.requires_approval and not self.template.ra_signatures

    @property
    def name_rules(self) -> tuple[NameRule, ...]:
        """Name rules are ours: a Microsoft CA does not know them."""
        return () if self.place is Place.MICROSOFT else self.template.name_rules.rules

    def risk(
        self,
        name: str,
        severity: Severity,
        sentence: str,
        evidence: Iterable[str],
        fix: str,
        conditions: Iterable[Condition],
        remedies: Iterable[Remedy | None] = (),
        *,
        principals: frozenset[Sid] | None = None,
    ) -> Risk:
        who = tuple(Condition(Cause.ENROLLS, self.named(sid)) for sid in sorted(self.enrollers, key=self.named))
        return Risk(
            name,
            severity,
            sentence,
            (*evidence, *self.principals_shown),
            fix.replace("{}", self.template.cn),
            self.enrollers if principals is None else principals,
            (*conditions, *who),
            tuple(remedy for remedy in remedies if remedy is not None),
        )

    def named(self, sid: Sid) -> str:
        return self.audience.named(sid)

    # -- what is true, and the single change that ends it

    def usages_shown(self, dangerous: Iterable[str]) -> Iterable[Condition]:
        if not self.template.extended_key_usage:
            return (Condition(Cause.ANY_USAGE),)
        return [Condition(Cause.USAGE, oids.name_of(oid)) for oid in self.usages_in(dangerous)]

    def usages_in(self, dangerous: Iterable[str]) -> list[str]:
        listed = dict.fromkeys((*self.template.extended_key_usage, *self.template.application_policies))
        return [oid for oid in listed if oid in set(dangerous)]

    def without(self, dangerous: Iterable[str]) -> Remedy | None:
        """None where no usage would be left, which means any."""
        removed = self.usages_in(dangerous)
        left = [oid for oid in self.template.extended_key_usage if oid not in removed]
        if not removed or not left:
            return None
        settings = [("eku", ", ".join(left))]
        if self.template.schema_version == 1:
            policies = [oid for oid in self.template.application_policies if oid not in removed]
            settings.append(("application-policies", ", ".join(policies)))
        return Remedy(Way.WITHOUT_USAGES, tuple(settings), what=", ".join(map(oids.name_of, removed)))

    @property
    def from_directory(self) -> Remedy:
        machine = self.template.is_machine
        settings = [("enrollee-supplies-subject", "off")]
        if not self.template.name_flag & ~(
            NameFlag.ENROLLEE_SUPPLIES_SUBJECT | NameFlag.OLD_CERT_SUPPLIES_SUBJECT_AND_ALT_NAME
        ):
            settings += [
                ("subject", "dns-name" if machine else "directory-path"),
                ("alternative-names", "dns" if machine else "upn"),
            ]
        return Remedy(Way.FROM_DIRECTORY, tuple(settings))

    @property
    def without_enrollers(self) -> Remedy:
        return Remedy(Way.TAKE_ENROLL, sids=self.enrollers, what=self.who)


_APPROVE: Final = Remedy(Way.APPROVAL, (("approval", "on"),))


def remedied(template: CertificateTemplate, remedy: Remedy, domain: Domain) -> CertificateTemplate:
    """The template with the one change made."""
    changed = apply_settings(template, dict(remedy.settings))
    if not remedy.sids:
        return changed
    security = SecurityDescriptor.from_sddl(changed.security_descriptor, domain.sid)
    for sid in sorted(remedy.sids):
        if remedy.way is Way.TAKE_WRITE:
            left = rights_by_sid(security).get(sid, frozenset()) - {TemplateRight.WRITE, TemplateRight.FULL_CONTROL}
            security = with_rights(security, sid, left)
        else:
            for right in (ENROLL_RIGHT, AUTOENROLL_RIGHT):
                security = security.revoke_extended_right(right, sid)
    return replace(changed, security_descriptor=security.to_sddl())


def risks(
    template: CertificateTemplate,
    domain: Domain,
    names: Mapping[Sid, str] = MappingProxyType({}),
    linked_policies: Mapping[str, str] = MappingProxyType({}),
    *,
    place: Place = Place.EMBEDDED,
    audience: Audience | None = None,
) -> tuple[Risk, ...]:
    """The risks of one template, worst first.

    Args:
        names: how SIDs are shown.
        linked_policies: issuance policies that stand for a group in some directory (msDS-OIDToGroupLink); an embedded
            directory links none.
        audience: whom permissions let in; that of the embedded directory, which looks into no group, when left out.
            It brings its own names.

    Raises:
        ValueError: the security descriptor cannot be read.
    """
    security = SecurityDescriptor.from_sddl(template.security_descriptor, domain.sid)
    audience = audience or Audience.embedded(domain.sid, names)
    enrollers = audience.outsiders(security.enroll_sids())
    shown = sorted(map(audience.named, enrollers))
    case = _Case(
        template=template,
        domain=domain,
        place=place,
        audience=audience,
        usages=frozenset(template.extended_key_usage) | frozenset(template.application_policies),
        enrollers=enrollers,
        writers=audience.outsiders(security.write_sids()),
        linked_policies=linked_policies,
        who=_listed(shown),
        principals_shown=tuple(f"Enroll={name}" for name in shown[:_MAX_NAMED]),
    )
    found = [risk for rule in _RULES if (risk := rule(case)) is not None]
    order = list(Severity)
    return tuple(sorted(found, key=lambda risk: order.index(risk.severity)))


def _listed(shown: list[str]) -> str:
    if len(shown) > _MAX_NAMED:
        return f"{', '.join(shown[:_MAX_NAMED])} and {len(shown) - _MAX_NAMED} others"
    return ", ".join(shown)


# -- rules -------------------------------------------------------------------------------------------------------


def _logs_on_as_anybody(case: _Case) -> Risk | None:
    """ESC1: the enrollee names the subject of a certificate that logs on.

    Name rules help only as far as they keep logon names out: a user principal name, or the name of a host of the
    domain itself, is how a domain controller finds the account.
    """
    if not (case.template.enrollee_supplies_subject and case.logs_on and case.unattended):
        return None
    rules = case.name_rules
    logon_names = [name for rule in _reachable(case) for name in _logon_names(rule, case.domain)]
    if rules and not logon_names:
        return None
    return case.risk(
        "ESC1",
        Severity.HIGH,
        f"{case.who} may name anybody in a certificate that logs on, and nobody looks at the request.",
        (
            "msPKI-Certificate-Name-Flag=ENROLLEE_SUPPLIES_SUBJECT",
            _usage_shown(case),
            *(logon_names or ("nameRules=none",)),
        ),
        "Take the names from the directory (template set {} enrollee-supplies-subject=off), require approval"
        " (template set {} approval=on), or give it name rules that allow no logon names.",
        (
            Condition(Cause.ENROLLEE_NAMES),
            *case.usages_shown(_LOGON_USAGES),
            Condition(Cause.UNATTENDED),
            *(Condition(Cause.LOGON_NAMES, name.removeprefix("nameRules ")) for name in logon_names),
            *(() if rules else (Condition(Cause.NO_NAME_RULES),)),
        ),
        (case.from_directory, _APPROVE, case.without(_LOGON_USAGES), case.without_enrollers),
    )


def _reachable(case: _Case) -> Iterable[NameRule]:
    """The name rules that somebody outside the administrators is under."""
    return (rule for rule in case.name_rules if not rule.group or case.audience.outsiders([Sid(rule.group)]))


def _logon_names(rule: NameRule, domain: Domain) -> Iterable[str]:
    yield from (f"nameRules upnDomains={name}" for name in rule.upn_domains)
    for suffix in rule.dns_suffixes:
        bare = suffix.removeprefix(".").lower()
        if domain.dns_name == bare or domain.dns_name.endswith(f".{bare}"):
            yield f"nameRules dnsSuffixes={suffix}, which covers the hosts of {domain.dns_name}"


def _any_purpose(case: _Case) -> Risk | None:
    """ESC2: a certificate for every purpose, or of a CA."""
    if not (case.any_usage or case.template.is_ca) or not case.unattended:
        return None
    what = "a certificate of a CA" if case.template.is_ca else "a certificate for any purpose"
    return case.risk(
        "ESC2",
        Severity.HIGH,
        f"{case.who} may get {what} that nobody has looked at.",
        (_usage_shown(case),),
        "Name the usages it is for (template set {} eku=...), or require approval (template set {} approval=on).",
        (
            Condition(Cause.MAKES_CA) if case.template.is_ca else Condition(Cause.ANY_USAGE),
            Condition(Cause.UNATTENDED),
        ),
        (_APPROVE, None if case.template.is_ca else case.without({oids.EKU_ANY}), case.without_enrollers),
    )


def _enrollment_agent(case: _Case) -> Risk | None:
    """ESC3, first half: a certificate of an enrollment agent, who asks in other people's names."""
    if oids.EKU_ENROLLMENT_AGENT not in case.usages or not case.unattended:
        return None
    return case.risk(
        "ESC3",
        Severity.HIGH,
        f"{case.who} may become an enrollment agent, who requests certificates in other people's names.",
        (_usage_shown(case),),
        "Let the agents' own group enroll only, and require approval (template set {} approval=on).",
        (*case.usages_shown({oids.EKU_ENROLLMENT_AGENT}), Condition(Cause.UNATTENDED)),
        (_APPROVE, case.without({oids.EKU_ENROLLMENT_AGENT}), case.without_enrollers),
    )


def _takes_agent_signature(case: _Case) -> Risk | None:
    """ESC3, second half: a logon certificate for whomever an enrollment agent names."""
    template = case.template
    if not (
        case.enrollers
        and case.logs_on
        and template.ra_signatures
        and not template.requires_approval
        and oids.EKU_ENROLLMENT_AGENT in template.ra_extended_key_usage
        and oids.EKU_ENROLLMENT_AGENT not in case.usages
    ):
        return None
    return case.risk(
        "ESC3",
        Severity.MEDIUM,
        f"Whoever holds an enrollment agent's certificate and is in {case.who} may log on as anybody.",
        ("msPKI-RA-Application-Policies=enrollment agent", _usage_shown(case)),
        "Let the agents' own group enroll only, or require approval (template set {} approval=on).",
        (Condition(Cause.AGENT_SIGNS), *case.usages_shown(_LOGON_USAGES)),
        (_APPROVE, case.without(_LOGON_USAGES), case.without_enrollers),
    )


def _without_sid(case: _Case) -> Risk | None:
    """ESC9: a logon certificate that does not say whose account it was made for."""
    if EnrollmentFlag.NO_SECURITY_EXTENSION not in case.template.enrollment_flag or not case.logs_on:
        return None
    return case.risk(
        "ESC9",
        Severity.HIGH,
        "Certificates that log on would not carry the SID of their account, and could be used for another one.",
        ("msPKI-Enrollment-Flag=NO_SECURITY_EXTENSION", _usage_shown(case)),
        "Let certificates carry the SID (template set {} sid-extension=on).",
        (Condition(Cause.NO_SID), *case.usages_shown(_LOGON_USAGES)),
        (Remedy(Way.CARRY_SID, (("sid-extension", "on"),)), case.without(_LOGON_USAGES)),
    )


def _policy_means_group(case: _Case) -> Risk | None:
    """ESC13: an issuance policy that a directory takes for membership in a group."""
    linked = [oid for oid in case.template.issuance_policies if oid in case.linked_policies]
    if not linked or not case.logs_on or not case.unattended:
        return None
    groups = ", ".join(case.linked_policies[oid] for oid in linked)
    return case.risk(
        "ESC13",
        Severity.HIGH,
        f"{case.who} may log on as members of {groups} by the certificate's issuance policy.",
        tuple(f"msPKI-Certificate-Policy={oid}" for oid in linked),
        "Remove the policy (template set {} issuance-policies=), or require approval (template set {} approval=on).",
        (
            *(Condition(Cause.LINKED_POLICY, case.linked_policies[oid]) for oid in linked),
            *case.usages_shown(_LOGON_USAGES),
            Condition(Cause.UNATTENDED),
        ),
        (_APPROVE, case.without(_LOGON_USAGES), case.without_enrollers),
    )


def _poses_as_server(case: _Case) -> Risk | None:
    """ESC17: the enrollee names the host in a certificate for TLS servers. Name rules, whichever, settle it."""
    template = case.template
    serves = case.any_usage or oids.EKU_SERVER_AUTH in case.usages
    if not (template.enrollee_supplies_subject and serves and case.unattended) or case.name_rules:
        return None
    ruled = case.place is not Place.MICROSOFT  # whose CAs know no name rules
    return case.risk(
        "ESC17",
        Severity.HIGH,
        f"{case.who} may name any host in a certificate for servers, and nobody looks at the request.",
        ("msPKI-Certificate-Name-Flag=ENROLLEE_SUPPLIES_SUBJECT", _usage_shown(case), "nameRules=none"),
        (
            "Say what may be named (template set {} name-rules.dns-suffixes=...), or require approval"
            if ruled
            else "Take the names from the directory (template set {} subject=common-name), or require approval"
        )
        + " (template set {} approval=on).",
        (
            Condition(Cause.ENROLLEE_NAMES),
            *case.usages_shown({oids.EKU_SERVER_AUTH, oids.EKU_ANY}),
            Condition(Cause.UNATTENDED),
            Condition(Cause.NO_NAME_RULES),
        ),
        (
            None
            if case.logs_on or not ruled
            else Remedy(Way.NAME_RULES, (("name-rules.dns-suffixes", case.domain.dns_name),)),
            case.from_directory,
            _APPROVE,
            case.without({oids.EKU_SERVER_AUTH, oids.EKU_ANY}),
            case.without_enrollers,
        ),
    )


def _writable(case: _Case) -> Risk | None:
    """ESC4: others may change the object. Our own directory lets only CA administrators do that, whatever it says."""
    if not case.writers:
        return None
    embedded = case.place is Place.EMBEDDED
    shown = sorted(map(case.named, case.writers))
    return case.risk(
        "ESC4",
        Severity.LOW if embedded else Severity.HIGH,
        "In Active Directory these permissions would let others than administrators change the template."
        if embedded
        else f"{_listed(shown)} may change the template, and so make of it one that lets anybody log on as anybody.",
        tuple(f"Write={sid}" for sid in sorted(case.writers)[:_MAX_NAMED]),
        "Take the write permissions out of the security descriptor.",
        [Condition(Cause.WRITES, case.named(sid)) for sid in sorted(case.writers)],
        (Remedy(Way.TAKE_WRITE, sids=case.writers, what=_listed(shown)),),
        principals=case.writers,
    )


def _usages_from_request(case: _Case) -> Risk | None:
    """ESC15 (CVE-2024-49019): unpatched CAs take application policies from the request. Ours never does."""
    template = case.template
    if template.schema_version != 1 or not template.enrollee_supplies_subject or not case.unattended:
        return None
    ours = case.place is not Place.MICROSOFT
    return case.risk(
        "ESC15",
        Severity.LOW if ours else Severity.MEDIUM,
        "An AD CS CA without the update of November 2024 would let the enrollee choose the usages; this CA does not."
        if ours
        else f"{case.who} may choose the usages, those of a logon too, if the CA lacks the update of November 2024"
        " (CVE-2024-49019); LDAP does not show whether it has it.",
        ("msPKI-Template-Schema-Version=1", "msPKI-Certificate-Name-Flag=ENROLLEE_SUPPLIES_SUBJECT"),
        "Raise the schema version (template set {} schema-version=2) before such a CA publishes it.",
        (Condition(Cause.SCHEMA_1), Condition(Cause.ENROLLEE_NAMES), Condition(Cause.UNATTENDED)),
        (Remedy(Way.SCHEMA_2, (("schema-version", "2"),)),),
    )


def _usage_shown(case: _Case) -> str:
    usages = case.template.extended_key_usage
    return f"pKIExtendedKeyUsage={', '.join(oids.name_of(oid) for oid in usages) or 'none, which means any'}"


_RULES: Final[tuple[Callable[[_Case], Risk | None], ...]] = (
    _logs_on_as_anybody,
    _any_purpose,
    _enrollment_agent,
    _takes_agent_signature,
    _without_sid,
    _policy_means_group,
    _poses_as_server,
    _usages_from_request,
    _writable,
)
