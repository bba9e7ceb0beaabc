"""The audit: every escalation that is open, and of the others whether they were looked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Final

from certwright.adcs.security import SecurityDescriptor
from certwright.directory.security_audit.authorities import authority_findings
from certwright.directory.security_audit.catalogue import ESCALATIONS
from certwright.directory.security_audit.entries import grants_to_enroll, grants_to_write, named
from certwright.directory.security_audit.facts import SecurityFacts, TemplateFacts
from certwright.directory.security_audit.findings import (
    Cause,
    Finding,
    Place,
    Remedy,
    Risk,
    Severity,
    Way,
    worst_first,
)
from certwright.directory.security_audit.objects import directory_findings
from certwright.directory.security_audit.template_risks import risks

UNPUBLISHED: Final = "no CA publishes it: whoever publishes it opens this"


class Standing(Enum):
    """How one escalation stands after an audit."""

    OPEN = "open"
    CLOSED = "not found"
    IMPOSSIBLE = "cannot happen here"
    NOT_VISIBLE = "not visible"


@dataclass(frozen=True, slots=True)
class Coverage:
    """One line for every number: looked at or not, and why not."""

    number: str
    standing: Standing
    reason: str = ""

    @property
    def title(self) -> str:
        return ESCALATIONS[self.number].title


@dataclass(frozen=True, slots=True)
class SecurityReport:
    """What is open, and how each of the seventeen escalations stands."""

    findings: tuple[Finding, ...]
    coverage: tuple[Coverage, ...]
    unreadable: tuple[str, ...] = ()  # what was there and could not be read


def security_report(facts: SecurityFacts) -> SecurityReport:
    """The audit of these facts."""
    findings = audit_security(facts)
    return SecurityReport(findings, coverage(facts, findings), facts.unreadable)


def audit_security(facts: SecurityFacts) -> tuple[Finding, ...]:
    """Everything that is open, worst first; what somebody accepted by its number is among it, marked.

    A template whose permissions cannot be read opens nothing here and is among `facts.unreadable`: the reader of the
    facts sees to that.
    """
    found = [finding for each in facts.templates for finding in template_findings(each, facts)]
    for authority in facts.authorities:
        found += authority_findings(authority, facts.audience)
    found += directory_findings(
        facts.objects or (), facts.controllers or (), facts.mappings or (), facts.protected or (), facts.audience
    )
    return worst_first(found)


def coverage(facts: SecurityFacts, findings: Iterable[Finding]) -> tuple[Coverage, ...]:
    """All seventeen numbers. What could not be looked at is never told as closed."""
    impossible = _impossible(facts)
    is_open = {
        each.number
        for each in findings
        if each.needs_acceptance or (each.number not in impossible and not each.accepted)
    }
    lines = []
    for number in ESCALATIONS:
        hidden = _not_visible(number, facts)
        if number in is_open:
            lines.append(Coverage(number, Standing.OPEN, hidden))
        elif hidden:
            lines.append(Coverage(number, Standing.NOT_VISIBLE, hidden))
        else:
            reason = ESCALATIONS[number].here if number in impossible else ""
            lines.append(Coverage(number, Standing.IMPOSSIBLE if reason else Standing.CLOSED, reason))
    return tuple(lines)


def _not_visible(number: str, facts: SecurityFacts) -> str:
    """What could not be looked at, and where one looks instead; empty when everything could be."""
    if number in _impossible(facts):
        return ""
    blind = [each.name for each in facts.authorities if _unseen(number, each)]
    absent = number in _AROUND and getattr(facts, _AROUND[number]) is None
    if not blind and not absent:
        return ""
    how = ESCALATIONS[number].look or "the directory could not be read"
    return f"{', '.join(blind)}: {how}" if blind else how


_OF_CA: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ESC6": "takes_names_from_attributes",
        "ESC7": "security",
        "ESC8": "endpoints",
        "ESC11": "encrypts_rpc",
        "ESC12": "key_secret_in_clear",
        "ESC16": "omits_sid",
    }
)
_AROUND: Final[Mapping[str, str]] = MappingProxyType(
    {"ESC5": "objects", "ESC10": "controllers", "ESC13": "linked_policies", "ESC14": "mappings"}
)


def _unseen(number: str, authority: object) -> bool:
    return number in _OF_CA and getattr(authority, _OF_CA[number]) is None


def _impossible(facts: SecurityFacts) -> frozenset[str]:
    """What cannot be open, whatever is configured: our CAs lack the switch, the embedded directory the object."""
    found: set[str] = set()
    if facts.authorities and all(authority.ours for authority in facts.authorities):
        found |= {"ESC6", "ESC11", "ESC12", "ESC16"}
    if facts.place is Place.EMBEDDED:
        found |= {"ESC4", "ESC5", "ESC10", "ESC13", "ESC14"}
    if facts.place is not Place.MICROSOFT:
        found.add("ESC15")
    return frozenset(found)


# -- templates -------------------------------------------------------------------------------------------------------


def template_findings(each: TemplateFacts, facts: SecurityFacts) -> Iterator[Finding]:
    """What is open by one template. One that no CA publishes is told as worth knowing, no more."""
    template, place = each.template, each.place or facts.place
    security = SecurityDescriptor.from_sddl(template.security_descriptor, facts.domain.sid)
    found = risks(
        template,
        facts.domain,
        linked_policies=facts.linked_policies or {},
        place=place,
        audience=facts.audience,
    )
    for risk in found:
        grants = (
            grants_to_write(security, risk.principals)
            if risk.id == "ESC4"
            else grants_to_enroll(security, risk.principals)
        )
        who = (Cause.ENROLLS, Cause.WRITES)
        conditions = tuple(dict.fromkeys(each.words for each in risk.conditions if each.cause not in who))
        finding = Finding(
            risk.id,
            risk.severity,
            each.where or f"template {template.cn}",
            risk.sentence,
            named(grants, facts.audience.named),
            conditions,
            step(risk, template.cn, place),
            risk.principals,
            accepted=risk.id in each.accepted,
            risk=risk,
        )
        if each.published_by:
            published = f"published by {', '.join(each.published_by)}"
            yield replace(finding, why=(*finding.why, published))
        else:
            yield replace(finding, severity=Severity.LOW, why=(*finding.why, UNPUBLISHED))


def step(risk: Risk, cn: str, place: Place) -> str:
    """The first way out as one concrete step: a command of ours, or a place in Microsoft's own screens."""
    remedy = risk.remedies[0]
    if place is Place.MICROSOFT:
        return f"certtmpl.msc, {cn}, {_in_certtmpl(remedy)}"
    if remedy.settings:
        return f"certwright template set {cn} {' '.join(f'{key}={_quoted(value)}' for key, value in remedy.settings)}"
    if remedy.way is Way.TAKE_ENROLL:
        return " && ".join(f"certwright template revoke {cn} {sid} --enroll" for sid in sorted(remedy.sids))
    return f"Take Write and Full control from {remedy.what} (console: Certificate Templates, {cn}, Security)."


def _quoted(value: str) -> str:
    return f"'{value}'" if " " in value else value


def _in_certtmpl(remedy: Remedy) -> str:
    """Where the change is made in the Certificate Templates console, in its words."""
    match remedy.way:
        case Way.FROM_DIRECTORY:
            return "Subject Name: build from this Active Directory information."
        case Way.APPROVAL | Way.NAME_RULES:  # which that CA does not know
            return "Issuance Requirements: CA certificate manager approval."
        case Way.WITHOUT_USAGES:
            return f"Extensions, Application Policies: remove {remedy.what}."
        case Way.CARRY_SID:
            return "then in ADSI Edit: take 0x80000 out of msPKI-Enrollment-Flag."
        case Way.SCHEMA_2:
            return "Duplicate Template: publish the duplicate and stop issuing this one."
        case Way.TAKE_ENROLL:
            return f"Security: take Enroll from {remedy.what}."
        case Way.TAKE_WRITE:
            return f"Security: take Write and Full control, and the ownership, from {remedy.what}."
