"""What a request asks for, what would become of it, and where it would go: for people who are about to order.

Nothing is sent by looking. Our own CAs are asked what they would decide; others are asked nothing, and what cannot be
known of them is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy
from django.utils.translation import ngettext

from certwright.adcs.errors import AdcsError, NotSupported
from certwright.adcs.interfaces import Check, Forecast, PreviewField
from certwright.adcs.request import Disposition
from certwright.adcs.template import CertificateTemplate
from certwright.connectors.reading import OfferedTemplate
from certwright.console import borrowed, clock
from certwright.console.rooms import rooms
from certwright.console.states import STATES, State
from certwright.manager.keys import subject_and_names, trial_request
from certwright.manager.orders import RequestFacts, RouteStep
from certwright.manager.values import KeyFields, Service, ServiceKind, key
from certwright.pki import names as dn
from certwright.pki import oids

_OUTCOMES: Final[Mapping[Disposition, tuple[Any, str]]] = {
    Disposition.ISSUED: (lazy("Will be Issued"), "issued"),
    Disposition.UNDER_SUBMISSION: (lazy("Will be Pending"), "pending"),
    Disposition.DENIED: (lazy("Would be Denied"), "denied"),
    Disposition.ERROR: (lazy("Would fail"), "failed"),
}
_WAITING: Final = frozenset({"approval", "name_rules"})
"""Checks that a certificate manager passes over."""
_SHOWN_PASSES: Final = 4
CHECK_WORDS: Final[Mapping[str, Any]] = {
    "template_published": lazy("The CA issues this template"),
    "account_enabled": lazy("The device user's account is enabled"),
    "enroll_right": lazy("The device user may enroll"),
    "key_size": lazy("Key length and algorithm"),
    "name_rules": lazy("The names are inside the template's rules"),
    "validity_period": lazy("The validity fits into that of the CA"),
}
"""The checks people look for, as one line each when they pass."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the forecast, with what would end it: a field of the form and the value it should have."""

    kind: str  # stop, warn, info, pass
    rule: Any
    more: Any = ""
    code: str = ""
    fix: Any = ""
    fix_field: str = ""
    fix_value: str = ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """All that the right-hand column shows."""

    asked: Sequence[tuple[Any, Any]] = ()
    problem: str = ""
    outcome: Any = ""
    state: State | None = None
    findings: Sequence[Finding] = ()
    route: Sequence[RouteStep] = ()
    unknown: str = ""
    hint: str = ""  # of the template


@dataclass(slots=True)
class Question:
    """What the form says so far: a request, or what one is to be made of."""

    domain: str = ""
    template: str = ""
    csr: bytes = b""
    made: KeyFields | None = None
    names_text: str = ""  # the alternative names as they were typed
    facts: RequestFacts | None = field(default=None)


def look(question: Question) -> Outlook:
    """The whole column. What cannot be read is the column's message; it raises nothing for that."""
    orders = rooms().manager.orders
    route = orders.route(question.domain, question.template) if question.domain and question.template else ()
    hint = template_hint(question.domain, question.template, route)
    try:
        asked = _asked(question)
        if not asked:
            return Outlook(route=route, hint=hint)
        csr = question.csr or trial_request(_made(question))
    except AdcsError as error:
        return Outlook(problem=error.message, route=route, hint=hint)
    own = _own_findings(question)
    if not route:
        return Outlook(asked, findings=own, hint=hint)
    try:
        service, forecast = orders.forecast(question.domain, question.template, csr)
    except NotSupported as error:
        return Outlook(asked, findings=own, route=route, unknown=error.message, hint=hint)
    except AdcsError as error:
        stop = Finding("stop", error.message, code=f"{error.status.hex} {error.status.name}")
        word, state = _OUTCOMES[Disposition.DENIED]
        return Outlook(asked, outcome=word, state=STATES[state], findings=(stop, *own), route=route, hint=hint)
    word, state = _OUTCOMES.get(forecast.disposition, (_("Would fail"), "failed"))
    return Outlook(
        asked,
        outcome=word,
        state=STATES[state],
        findings=sorted((*_findings(question, service, forecast), *own), key=lambda each: each.kind == "pass"),
        route=route,
        hint=hint,
    )


def _made(question: Question) -> KeyFields:
    assert question.made is not None
    return question.made


def _asked(question: Question) -> list[tuple[Any, Any]]:
    if question.csr:
        facts: RequestFacts = rooms().manager.orders.read_request(question.csr)
        question.facts = facts
        return [
            (_("Subject"), facts.subject),
            (_("SAN"), "\n".join(facts.names)),
            (_("Key"), _("%(key)s, signature valid") % {"key": facts.key_name}),
            *([(_("Template named in it"), facts.template)] if facts.template else []),
        ]
    if question.made is None:
        return []
    subject, names = subject_and_names(question.made)
    return [
        (_("Subject"), dn.format_name(subject)),
        (_("SAN"), "\n".join(map(str, names))),
        (_("Key"), _("%(key)s, made here") % {"key": question.made.algorithm.value.upper().replace("-", " ")}),
    ]


# -- findings --------------------------------------------------------------------------------------------------------


def _findings(question: Question, service: Service, forecast: Forecast) -> list[Finding]:
    """What is in the way first, then what passed; the rest of the passed checks in one line."""
    found = [_failed(question, check, forecast) for check in forecast.checks if not check.passed]
    if not found and forecast.disposition in (Disposition.DENIED, Disposition.ERROR):
        code = f"{forecast.status.hex} {forecast.status.name}"
        found = [Finding("stop", borrowed.said(forecast.message), code=code)]
    passed = [check for check in forecast.checks if check.passed]
    found += _changes(forecast)
    shown = [Finding("pass", CHECK_WORDS[check.rule]) for check in passed if check.rule in CHECK_WORDS]
    found += shown[-_SHOWN_PASSES:]
    others = len(passed) - len(shown[-_SHOWN_PASSES:])
    if others > 0:
        words = ngettext("%(count)s more check passes", "%(count)s more checks pass", others) % {"count": others}
        found.append(Finding("pass", words))
    if forecast.disposition is Disposition.UNDER_SUBMISSION and _is_approved_here(question, service):
        found.insert(0, Finding("info", _("It is approved by itself, as this service is set up.")))
    return found


def _failed(question: Question, check: Check, forecast: Forecast) -> Finding:
    waits = check.rule in _WAITING and forecast.disposition is Disposition.UNDER_SUBMISSION
    more = _("A certificate manager must issue it.") if waits else ""
    code = "" if waits else f"{forecast.status.hex} {forecast.status.name}"
    finding = Finding("warn" if waits else "stop", borrowed.said(check.message), more, code)
    return _with_fix(question, check, finding)


def _with_fix(question: Question, check: Check, finding: Finding) -> Finding:
    """One click that ends it, where the form can do that."""
    if question.made is None:
        return finding
    if check.rule == "name_rules":
        lines = [line.strip() for line in question.names_text.splitlines() if line.strip()]
        bad = [line for line in lines if line.partition(":")[2].strip() and _value(line) in check.message]
        if bad and len(bad) < len(lines):
            kept = "\n".join(line for line in lines if line not in bad)
            words = _("Remove %(names)s") % {"names": ", ".join(map(_value, bad))}
            return Finding(
                finding.kind, finding.rule, finding.more, finding.code, words, fix_field="names", fix_value=kept
            )
    if check.rule in ("key_size", "key_algorithm"):
        return Finding(
            finding.kind,
            finding.rule,
            finding.more,
            finding.code,
            _("Use RSA 3072"),
            fix_field="algorithm",
            fix_value="rsa-3072",
        )
    return finding


def _value(line: str) -> str:
    return line.partition(":")[2].strip() or line.strip()


def _own_findings(question: Question) -> list[Finding]:
    """What no CA objects to, and people do."""
    if question.made is None:
        return []
    common_name = _common_name(question.made.subject)
    if "." in common_name and " " not in common_name and not question.made.names:
        return [
            Finding(
                "warn",
                _("The request has no alternative name"),
                _("Browsers look at nothing else: a server certificate without one is refused by them."),
                fix=_("Add DNS:%(name)s") % {"name": common_name},
                fix_field="names",
                fix_value=f"DNS:{common_name}",
            )
        ]
    return []


def _common_name(subject: str) -> str:
    try:
        return dn.common_name(dn.parse_dn(subject))
    except ValueError:
        return ""


def _is_approved_here(question: Question, service: Service) -> bool:
    return service.kind is ServiceKind.LOCAL and key(question.template) in map(key, service.approve_templates)


def _changes(forecast: Forecast) -> list[Finding]:
    """What of the request the certificate will not have, or not so."""
    return [_change(each) for each in forecast.fields if each.requested and each.requested != each.issued]


def _change(field: PreviewField) -> Finding:
    asked = _("Asked for: %(value)s") % {"value": field.requested.replace("\n", ", ")}
    if not field.issued:
        return Finding("info", _("%(field)s: not taken over") % {"field": field.name}, asked)
    issued = {"field": field.name, "value": field.issued.replace("\n", ", ")}
    return Finding("info", _("%(field)s: the CA sets %(value)s") % issued, asked)


# -- templates -------------------------------------------------------------------------------------------------------


def offered_templates(domain: str) -> Sequence[OfferedTemplate]:
    """What the services of a domain offer, by display name."""
    found: Sequence[OfferedTemplate] = rooms().manager.services.domain_templates(domain) if domain else ()
    return found


def domain_hint(domain: str) -> str:
    """`2 services: ca01 first, then ca02`."""
    names = list(dict.fromkeys(each.hostname for each in rooms().manager.services.list(domain))) if domain else []
    if len(names) < 2:
        return names[0] if names else ""
    return _("%(count)s services: %(first)s first, then %(others)s") % {
        "count": len(names),
        "first": names[0],
        "others": ", ".join(names[1:4]),
    }


def template_hint(domain: str, template: str, route: Sequence[RouteStep]) -> str:
    """`1 year, Server Authentication, RSA from 2048, needs approval`; less, where a CA shows less."""
    wanted = key(template)
    offered = next((each for each in offered_templates(domain) if key(each.name) == wanted), None)
    own = _own_template(template, route)
    if own is not None:
        return ", ".join(_facts_of(own))
    if offered is None:
        return ""
    parts = [_("subject in the request") if offered.supplies_subject else _("subject from the directory")]
    if offered.minimal_key_size:
        parts.append(_("keys from %(bits)s bits") % {"bits": offered.minimal_key_size})
    if offered.ra_signatures:
        parts.append(_("needs signatures of enrollment agents"))
    return ", ".join(parts)


def _own_template(name: str, route: Sequence[RouteStep]) -> CertificateTemplate | None:
    """The template itself, where the service that is asked first is a CA of this installation."""
    if not route:
        return None
    service = route[0].service
    known = {config.casefold() for config in rooms().registry.configs()}
    if service.kind is not ServiceKind.LOCAL and service.config.casefold() not in known:
        return None
    wanted = key(name)
    templates = rooms().directory.templates()
    return next((each for cn, each in templates.items() if key(cn) == wanted), None)


def _facts_of(template: CertificateTemplate) -> list[str]:
    parts = [clock.period(template.validity_period)]
    purposes = [oids.name_of(oid) for oid in template.extended_key_usage[:2]]
    parts += purposes
    if template.minimal_key_size:
        parts.append(_("keys from %(bits)s bits") % {"bits": template.minimal_key_size})
    if not template.enrollee_supplies_subject:
        parts.append(_("subject from the directory"))
    if template.requires_approval:
        parts.append(_("needs approval"))
    return parts
