"""What is dangerous about a certificate template: the escalations ESC1 to ESC17 that begin with one.

A pure look at one template: who may enroll for it without anybody's approval, and what the certificate could then be
used for. Everybody outside the administrators' groups (`well_known.privileged_sids`) counts as an attacker: an
account that was meant may be taken over.

ESC numbers: "Certified Pre-Owned" (ESC1 to ESC8) and later public research. Not about templates, so not here: 5 to 8,
10 to 12, 14 and 16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate, EnrollmentFlag, NameRule
from certwright.directory.base import Domain
from certwright.directory.well_known import privileged_sids
from certwright.pki import oids

KNOWN_RISKS: Final = ("ESC1", "ESC2", "ESC3", "ESC4", "ESC9", "ESC13", "ESC15", "ESC17")

_LOGON_USAGES: Final = frozenset(
    {oids.EKU_CLIENT_AUTH, oids.EKU_PKINIT_CLIENT, oids.EKU_SMART_CARD_LOGON, oids.EKU_ANY}
)
_MAX_NAMED: Final = 8


class Severity(Enum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"  # worth knowing; this CA is not open to it


@dataclass(frozen=True, slots=True)
class Risk:
    """One way a template can be abused."""

    id: str
    severity: Severity
    sentence: str  # who could do what
    evidence: tuple[str, ...]  # attribute=value
    fix: str
    principals: frozenset[Sid]  # who could

    @property
    def needs_acceptance(self) -> bool:
        """Is the template refused unless somebody accepts this risk by its name?"""
        return self.severity is not Severity.LOW


@dataclass(frozen=True, slots=True)
class _Case:
    """What all rules look at, worked out once."""

    template: CertificateTemplate
    domain: Domain
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

    def risk(self, name: str, severity: Severity, sentence: str, evidence: Iterable[str], fix: str) -> Risk:
        return Risk(
            name,
            severity,
            sentence,
            (*evidence, *self.principals_shown),
            fix.replace("{}", self.template.cn),
            self.enrollers,
        )


def risks(
    template: CertificateTemplate,
    domain: Domain,
    names: Mapping[Sid, str] = MappingProxyType({}),
    linked_policies: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Risk, ...]:
    """The risks of one template, worst first.

    Args:
        names: how SIDs are shown.
        linked_policies: issuance policies that stand for a group in some directory (msDS-OIDToGroupLink); an embedded
            directory links none.

    Raises:
        ValueError: the security descriptor cannot be read.
    """
    security = SecurityDescriptor.from_sddl(template.security_descriptor, domain.sid)
    privileged = frozenset(privileged_sids(domain.sid))
    enrollers = security.enroll_sids() - privileged
    shown = sorted(names.get(sid, sid) for sid in enrollers)
    case = _Case(
        template=template,
        domain=domain,
        usages=frozenset(template.extended_key_usage) | frozenset(template.application_policies),
        enrollers=enrollers,
        writers=security.write_sids() - privileged,
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
    rules = case.template.name_rules.rules
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
    )


def _reachable(case: _Case) -> Iterable[NameRule]:
    """The name rules that somebody outside the administrators is under."""
    privileged = frozenset(privileged_sids(case.domain.sid))
    return (rule for rule in case.template.name_rules.rules if not rule.group or Sid(rule.group) not in privileged)


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
    )


def _poses_as_server(case: _Case) -> Risk | None:
    """ESC17: the enrollee names the host in a certificate for TLS servers. Name rules, whichever, settle it."""
    template = case.template
    serves = case.any_usage or oids.EKU_SERVER_AUTH in case.usages
    if not (template.enrollee_supplies_subject and serves and case.unattended) or template.name_rules.rules:
        return None
    return case.risk(
        "ESC17",
        Severity.HIGH,
        f"{case.who} may name any host in a certificate for servers, and nobody looks at the request.",
        ("msPKI-Certificate-Name-Flag=ENROLLEE_SUPPLIES_SUBJECT", _usage_shown(case), "nameRules=none"),
        "Say what may be named (template set {} name-rules.dns-suffixes=...), or require approval"
        " (template set {} approval=on).",
    )


def _writable(case: _Case) -> Risk | None:
    """ESC4: others may change the object. Our own directory lets only CA administrators do that, whatever it says."""
    if not case.writers:
        return None
    return case.risk(
        "ESC4",
        Severity.LOW,
        "In Active Directory these permissions would let others than administrators change the template.",
        tuple(f"Write={sid}" for sid in sorted(case.writers)[:_MAX_NAMED]),
        "Take the write permissions out of the security descriptor.",
    )


def _usages_from_request(case: _Case) -> Risk | None:
    """ESC15 (CVE-2024-49019): unpatched CAs take application policies from the request. Ours never does."""
    template = case.template
    if template.schema_version != 1 or not template.enrollee_supplies_subject or not case.unattended:
        return None
    return case.risk(
        "ESC15",
        Severity.LOW,
        "An AD CS CA without the update of November 2024 would let the enrollee choose the usages; this CA does not.",
        ("msPKI-Template-Schema-Version=1", "msPKI-Certificate-Name-Flag=ENROLLEE_SUPPLIES_SUBJECT"),
        "Raise the schema version (template set {} schema-version=2) before such a CA publishes it.",
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
