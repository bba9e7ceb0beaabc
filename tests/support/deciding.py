"""What a policy module is asked: real requests read by intake, and the CA's facts at a frozen time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from certwright.adcs.errors import HResult
from certwright.adcs.properties import CaType
from certwright.adcs.request import NO_ATTRIBUTES, RequestAttributes, RequestFlags, template_attributes
from certwright.adcs.template import CertificateTemplate, NameFlag, NameRule, NameRules, OutsideRules
from certwright.ca.intake.formats import read_request
from certwright.ca.intake.request import EnrollmentRequest
from certwright.ca.policy.base import CaFacts, Deny, Issue, Pend, Verdict
from certwright.ca.policy.enterprise import EnterprisePolicy
from certwright.directory.base import Principal
from tests.support.fake_directory import DOMAIN, make_template, make_user, requester_for
from tests.support.requests import web_server_request

NOW = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)


def make_facts(*templates: CertificateTemplate, **changes: Any) -> CaFacts:
    """An enterprise CA with five years left that publishes `templates`."""
    values: dict[str, Any] = {
        "name": "Corp Issuing CA",
        "ca_type": CaType.ENTERPRISE_SUBORDINATE,
        "not_before": NOW - timedelta(days=365),
        "not_after": NOW + timedelta(days=5 * 365),
        "now": NOW,
        "clock_skew": timedelta(minutes=10),
        "maximum_validity": timedelta(days=730),
        "domain": DOMAIN,
        "templates": {template.cn: template for template in templates},
        "published": frozenset(template.cn for template in templates),
    }
    values.update(changes)
    return CaFacts(**values)


def ask(
    raw: bytes | None = None,
    principal: Principal | None = None,
    attributes: RequestAttributes = NO_ATTRIBUTES,
    flags: RequestFlags = RequestFlags.DETECT,
) -> EnrollmentRequest:
    """A request as intake hands it on; made by alice for a web server unless told otherwise."""
    account = principal or make_user()
    return read_request(raw or web_server_request(), requester_for(account), account, attributes, flags)


def verdict_on(
    template: CertificateTemplate,
    raw: bytes | None = None,
    principal: Principal | None = None,
    **changes: Any,
) -> Verdict:
    """What the enterprise module says when the attributes ask for `template`; `changes` are the CA's facts."""
    request = ask(raw, principal, template_attributes(template.cn))
    return EnterprisePolicy().verify(request, make_facts(template, **changes))


def enrollee_template(
    *rules: NameRule, outside: OutsideRules = OutsideRules.PEND, **changes: Any
) -> CertificateTemplate:
    """A template whose enrollee supplies the names."""
    flags = changes.pop("name_flag", NameFlag(0)) | NameFlag.ENROLLEE_SUPPLIES_SUBJECT
    return make_template(name_flag=flags, name_rules=NameRules(rules, outside), **changes)


def would_issue(verdict: Verdict) -> Issue | Pend:
    """The verdict, which must not be a denial."""
    assert isinstance(verdict, Issue | Pend), verdict
    return verdict


def published_also(facts: CaFacts, templates: Iterable[CertificateTemplate]) -> CaFacts:
    """The same CA with more templates in the forest that it does not publish."""
    return facts._replace(templates={**facts.templates, **{template.cn: template for template in templates}})


def directory_template(**changes: Any) -> CertificateTemplate:
    """A template called Template with names from the directory: nothing in the request can be wrong."""
    return make_template("Template", **{"name_flag": NameFlag.REQUIRE_COMMON_NAME, **changes})


def denied(verdict: Verdict, status: HResult, rule: str, *sentence: str) -> None:
    """A denial by this rule, as the last check a preview shows, fit for a page."""
    assert isinstance(verdict, Deny), verdict
    assert (verdict.status, verdict.rule) == (status, rule), verdict
    for words in sentence:
        assert words in verdict.reason
    assert verdict.checks[-1].rule == rule
    assert not verdict.checks[-1].passed
    assert all(check.passed for check in verdict.checks[:-1])
    assert '"' not in verdict.reason
    assert verdict.reason.endswith((".", ")"))
