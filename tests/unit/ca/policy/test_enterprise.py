"""The enterprise policy module: approval, and what is issued. [MS-WCCE] 3.2.2.6.2.1.4."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certwright.adcs.errors import HResult
from certwright.adcs.request import RequestAttributes, template_attributes
from certwright.adcs.template import (
    EnrollmentFlag,
    GeneralFlag,
    NameFlag,
    NameRule,
    OutsideRules,
)
from certwright.ca.policy.base import Deny, Issue, Pend
from certwright.ca.policy.enterprise import ORDER, EnterprisePolicy
from certwright.pki import names, oids
from certwright.pki.general_names import DnsName
from tests.support import requests as make
from tests.support.deciding import (
    ask,
    denied,
    directory_template,
    enrollee_template,
    make_facts,
    verdict_on,
    would_issue,
)
from tests.support.fake_directory import (
    DOMAIN_SID,
    make_template,
)

CORP = NameRule(dns_suffixes=("corp.example",))
COMMON_NAME = NameFlag.REQUIRE_COMMON_NAME


def make_policies_request(*policies: str) -> bytes:
    value = make.sequence(*(make.sequence(make.oid(policy)) for policy in policies))
    return make.make_request(extensions=[make.extension("2.5.29.32", value)])


# -- approval --------------------------------------------------------------------------------------------------------

APPROVALS = {
    "the template asks for approval": (
        directory_template(enrollment_flag=EnrollmentFlag.PEND_ALL_REQUESTS),
        None,
        "requires a manager's approval",
    ),
    "the template is for CAs": (
        make_template("SubCA", name_flag=NameFlag.ENROLLEE_SUPPLIES_SUBJECT, flags=GeneralFlag.IS_CA),
        make.make_request(subject=make.name(("O", "Corp"), ("CN", "Corp CA 2"))),
        "makes a Certification Authority",
    ),
    "the template is called SubCA": (
        make_template("SubCA", name_flag=NameFlag.ENROLLEE_SUPPLIES_SUBJECT),
        None,
        "makes a Certification Authority",
    ),
    "the template is for enrollment agents": (
        directory_template(extended_key_usage=(oids.EKU_ENROLLMENT_AGENT,), application_policies=()),
        None,
        "makes an enrollment agent",
    ),
    "a name is outside": (
        enrollee_template(CORP),
        make.web_server_request("evilcorp.example"),
        "do not allow the DNS name evilcorp.example; allowed by DNS rule: corp.example",
    ),
    "there is no name rule": (enrollee_template(), None, "the template has no name rule"),
    "no name rule is for this account": (
        enrollee_template(replace(CORP, group=f"{DOMAIN_SID}-999")),
        None,
        "no name rule of the template is for this account",
    ),
}


@pytest.mark.parametrize("why", APPROVALS)
def test_request_waits_for_a_manager_and_approval_issues_the_same(why: str) -> None:
    """Row 9, `Taken Under Submission`; approval passes over this step only. [MS-WCCE] 3.2.2.6.2.1.4.5.6."""
    wanted, raw, sentence = APPROVALS[why]

    verdict = verdict_on(wanted, raw)
    approved = verdict_on(wanted, raw, approved=True)

    assert isinstance(verdict, Pend)
    assert sentence in verdict.reason
    assert not verdict.checks[-1].passed
    assert isinstance(approved, Issue)
    assert approved.spec == verdict.spec
    assert all(check.passed for check in approved.checks)
    assert len(approved.checks) == len(verdict.checks)


def test_approval_does_not_lift_rules_that_deny() -> None:
    wanted = enrollee_template(CORP, outside=OutsideRules.DENY)

    verdict = verdict_on(wanted, make.web_server_request("evilcorp.example"), approved=True)

    denied(verdict, HResult.CERTSRV_E_BAD_REQUESTSUBJECT, "name_rules", "evilcorp.example")


def test_every_reason_to_wait_is_told() -> None:
    wanted = enrollee_template(CORP, enrollment_flag=EnrollmentFlag.PEND_ALL_REQUESTS)

    verdict = verdict_on(wanted, make.web_server_request("evilcorp.example"))

    assert isinstance(verdict, Pend)
    assert [check.rule for check in verdict.checks if not check.passed] == ["name_rules", "approval"]
    assert "evilcorp.example" in verdict.reason
    assert "approval" in verdict.reason


def test_names_of_a_ca_are_a_managers_business_and_not_the_name_rules() -> None:
    wanted = enrollee_template(CORP, outside=OutsideRules.DENY, flags=GeneralFlag.IS_CA)

    verdict = verdict_on(wanted, make.make_request(subject=make.name(("CN", "CorpCA2"))))

    assert isinstance(verdict, Pend)
    assert "name" not in verdict.reason


# -- what is issued --------------------------------------------------------------------------------------------------


def test_names_inside_the_rules_are_issued_at_once() -> None:
    raw = make.web_server_request("WEB.corp.example", "web.corp.example.", "*.Corp.Example")

    verdict = verdict_on(enrollee_template(CORP), raw)

    assert isinstance(verdict, Issue)
    assert verdict.spec.subject_alternative_names == (DnsName("web.corp.example"), DnsName("*.corp.example"))
    assert names.format_name(verdict.spec.subject) == "CN=WEB.corp.example"
    assert verdict.checks[-1].rule == "name_rules"
    assert all(check.passed for check in verdict.checks)


def test_all_checks_are_listed_once() -> None:
    """A preview shows every rule that was asked."""
    verdict = would_issue(verdict_on(directory_template()))

    listed = [check.rule for check in verdict.checks]
    assert listed == [
        "template_published",
        "account_enabled",
        *(rule.name for rule in ORDER),
        "subject",
        "validity_period",
    ]


def test_names_and_usages_in_the_request_do_not_matter_when_the_directory_supplies_them() -> None:
    """ESC1, ESC15: names, EKU, policies, basic constraints and SID of the request are not looked at."""
    greedy = make.make_request(
        subject=make.name(("CN", "Administrator"), ("O", "x" * 100)),
        extensions=[
            make.alternative_names(make.upn("administrator@corp.example"), make.dns("not a name")),
            make.extended_key_usage("2.5.29.37.0"),
            make.key_usage(b"\x06"),
            make.sid_extension(f"{DOMAIN_SID}-500"),
            make.extension("2.5.29.19", make.sequence(b"\x01\x01\xff"), critical=True),
            make.extension("2.5.29.32", b"rubbish"),
        ],
    )

    spec = would_issue(verdict_on(directory_template(), greedy)).spec

    assert spec == would_issue(verdict_on(directory_template())).spec
    assert names.format_name(spec.subject) == "CN=Alice"
    assert (spec.sid, spec.extensions) == (f"{DOMAIN_SID}-1101", ())


@pytest.mark.parametrize(
    "attribute",
    [
        ("SAN", "upn=administrator@corp.example&dns=evil.example"),
        ("CertificateUsage", "2.5.29.37.0"),
        ("ValidityPeriod", "Years"),
        ("ValidityPeriodUnits", "100"),
        ("ExpirationDate", "Tue, 21 Nov 2090 01:06:53 GMT"),
        ("requestername", "CORP\\Administrator"),
        ("CN", "Administrator"),
    ],
)
def test_attributes_of_the_request_are_never_honoured(attribute: tuple[str, str]) -> None:
    """ESC6: there is no EDITF_ATTRIBUTESUBJECTALTNAME2 here."""
    wanted = enrollee_template(CORP)
    attributes = RequestAttributes((("CertificateTemplate", wanted.cn), attribute))

    verdict = EnterprisePolicy().verify(ask(attributes=attributes), make_facts(wanted))

    assert isinstance(verdict, Issue)
    assert verdict.spec == would_issue(verdict_on(wanted)).spec


@pytest.mark.parametrize(
    ("enrollment", "names_from", "expected"),
    [
        (EnrollmentFlag(0), COMMON_NAME, f"{DOMAIN_SID}-1101"),
        (EnrollmentFlag.NO_SECURITY_EXTENSION, COMMON_NAME, ""),
        (EnrollmentFlag(0), NameFlag.ENROLLEE_SUPPLIES_SUBJECT, ""),
    ],
)
def test_sid_extension_is_the_accounts_own_or_none(
    enrollment: EnrollmentFlag, names_from: NameFlag, expected: str
) -> None:
    """[MS-WCCE] 2.2.2.7.7.4; a SID in a request is never copied."""
    raw = make.web_server_request(extensions=[make.sid_extension(f"{DOMAIN_SID}-500")])

    verdict = verdict_on(directory_template(enrollment_flag=enrollment, name_flag=names_from), raw)

    assert would_issue(verdict).spec.sid == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((), ()),
        (("1.2.3.2",), ("1.2.3.2",)),
        (("1.2.3.9", "1.2.3.2", "1.2.3.1"), ("1.2.3.1", "1.2.3.2")),
        (("1.2.3.9",), ()),
    ],
)
def test_issuance_policies_asked_for_are_cut_to_those_of_the_template(
    asked: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """CT_FLAG_ISSUANCE_POLICIES_FROM_REQUEST. [MS-WCCE] 3.2.2.6.2.1.4.5.8."""
    wanted = directory_template(
        enrollment_flag=EnrollmentFlag.ISSUANCE_POLICIES_FROM_REQUEST, issuance_policies=("1.2.3.1", "1.2.3.2")
    )
    request = ask(
        make_policies_request(*asked) if asked else make.make_request(), attributes=template_attributes(wanted.cn)
    )
    policy, facts = EnterprisePolicy(), make_facts(wanted)

    first, second = (would_issue(policy.verify(request, facts)).spec.template for _ in range(2))

    assert first is not None
    assert (first.cn, first.issuance_policies) == (wanted.cn, expected)
    assert first is second, "compiled profiles are kept by template object"


def test_issuance_policies_of_the_template_do_not_depend_on_the_request() -> None:
    wanted = directory_template(issuance_policies=("1.2.3.1",))

    spec = would_issue(verdict_on(wanted, make_policies_request("1.2.3.9"))).spec

    assert spec.template is wanted


def test_edited_template_counts_at_once() -> None:
    """Requirements are kept by template object; a new object is looked at anew."""
    policy, request = EnterprisePolicy(), ask(attributes=template_attributes("Template"))

    assert isinstance(policy.verify(request, make_facts(directory_template())), Issue)
    assert isinstance(policy.verify(request, make_facts(directory_template(security_descriptor="D:"))), Deny)
    assert isinstance(policy.verify(request, make_facts(directory_template())), Issue)
