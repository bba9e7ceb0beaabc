"""What makes a template dangerous: one test per way in, and one per way it is closed."""

from __future__ import annotations

from typing import Any, Final

import pytest

from certwright.adcs.requester import AUTHENTICATED_USERS, BUILTIN_ADMINISTRATORS, LOCAL_SYSTEM, Sid
from certwright.adcs.template import (
    CertificateTemplate,
    EnrollmentFlag,
    GeneralFlag,
    NameFlag,
    NameRule,
    NameRules,
)
from certwright.adcs.template_checks import check_template
from certwright.directory.risks import KNOWN_RISKS, Remedy, Severity, Way, remedied, risks
from certwright.directory.well_known import Rid
from certwright.pki import oids
from tests.support.fake_directory import DOMAIN, DOMAIN_SID, DOMAIN_USERS, enroll_sddl, make_template

ESS = NameFlag.ENROLLEE_SUPPLIES_SUBJECT
LOGON_USAGES = [oids.EKU_CLIENT_AUTH, oids.EKU_PKINIT_CLIENT, oids.EKU_SMART_CARD_LOGON]
ADMIN_SIDS = [
    Rid.DOMAIN_ADMINS.in_domain(DOMAIN_SID),
    Rid.ENTERPRISE_ADMINS.in_domain(DOMAIN_SID),
    Rid.CA_ADMINISTRATORS.in_domain(DOMAIN_SID),
    Rid.ADMINISTRATOR.in_domain(DOMAIN_SID),
    BUILTIN_ADMINISTRATORS,
    LOCAL_SYSTEM,
]


def template(*usages: str, **changes: Any) -> CertificateTemplate:
    values: dict[str, Any] = {
        "extended_key_usage": usages,
        "application_policies": usages,
        "security_descriptor": enroll_sddl(DOMAIN_USERS),
    }
    return make_template("Test", **(values | changes))


def found(subject: CertificateTemplate) -> dict[str, Severity]:
    return {risk.id: risk.severity for risk in risks(subject, DOMAIN)}


def rules(**allowed: tuple[str, ...]) -> NameRules:
    return NameRules((NameRule(**allowed),))  # type: ignore[arg-type]


# -- ESC1 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("usage", LOGON_USAGES)
def test_enrollee_supplied_subject_of_a_logon_certificate_is_esc1(usage: str) -> None:
    assert found(template(usage, name_flag=ESS)) == {"ESC1": Severity.HIGH}


@pytest.mark.parametrize(
    "closed",
    [
        {"name_flag": NameFlag.ALT_REQUIRE_UPN},
        {"enrollment_flag": EnrollmentFlag.PEND_ALL_REQUESTS},
        {"ra_signatures": 1},
        {"security_descriptor": enroll_sddl(*ADMIN_SIDS)},
        {"security_descriptor": "D:"},
        {"extended_key_usage": (oids.EKU_CODE_SIGNING,), "application_policies": (oids.EKU_CODE_SIGNING,)},
        {"name_rules": rules(ip_ranges=("10.0.0.0/8",))},
        {"name_rules": rules(dns_suffixes=("web.corp.example",))},
        {"name_rules": rules(mail_domains=("corp.example",))},
    ],
)
def test_esc1_is_closed_by_any_one_of_its_conditions(closed: dict[str, Any]) -> None:
    assert "ESC1" not in found(
        template(*(closed.pop("extended_key_usage", None) or LOGON_USAGES), **({"name_flag": ESS} | closed))
    )


@pytest.mark.parametrize(
    "allowed",
    [
        {"upn_domains": ("corp.example",)},
        {"dns_suffixes": ("corp.example",)},
        {"dns_suffixes": (".Corp.Example",)},
        {"dns_suffixes": ("example",)},
    ],
)
def test_name_rules_that_allow_logon_names_do_not_close_esc1(allowed: dict[str, tuple[str, ...]]) -> None:
    """A user principal name, or the name of a domain's host, is how a domain controller finds the account."""
    subject = template(oids.EKU_CLIENT_AUTH, name_flag=ESS, name_rules=rules(**allowed))
    assert found(subject) == {"ESC1": Severity.HIGH}


def test_name_rule_of_administrators_alone_opens_nothing() -> None:
    rule = NameRule(group=Rid.DOMAIN_ADMINS.in_domain(DOMAIN_SID), upn_domains=("corp.example",))
    assert found(template(oids.EKU_CLIENT_AUTH, name_flag=ESS, name_rules=NameRules((rule,)))) == {}


@pytest.mark.parametrize(
    "sddl",
    [
        "D:(A;;GA;;;AU)",
        "D:(A;;CR;;;WD)",
        "D:(OA;;CR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;S-1-5-21-1004336348-1177238915-682003330-1101)",
    ],
)
def test_every_kind_of_entry_that_lets_others_enroll_counts(sddl: str) -> None:
    """[MS-CRTD] 2.5.1: all extended rights and full control include Enroll; one account is enough."""
    assert "ESC1" in found(template(oids.EKU_CLIENT_AUTH, name_flag=ESS, security_descriptor=sddl))


def test_denied_enroll_right_is_no_risk() -> None:
    sddl = f"D:(OD;;CR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;{DOMAIN_USERS})" + enroll_sddl(DOMAIN_USERS)[2:]
    assert found(template(oids.EKU_CLIENT_AUTH, name_flag=ESS, security_descriptor=sddl)) == {}


# -- the others ------------------------------------------------------------------------------------------------------


def test_certificate_for_any_purpose_is_esc2() -> None:
    assert found(template(oids.EKU_ANY)) == {"ESC2": Severity.HIGH}
    assert found(template()) == {"ESC2": Severity.HIGH}
    assert found(template(flags=GeneralFlag.IS_CA)) == {"ESC2": Severity.HIGH}
    assert found(template(oids.EKU_ANY, enrollment_flag=EnrollmentFlag.PEND_ALL_REQUESTS)) == {}


def test_enrollment_agent_certificate_is_esc3() -> None:
    assert found(template(oids.EKU_ENROLLMENT_AGENT)) == {"ESC3": Severity.HIGH}
    assert found(template(oids.EKU_ENROLLMENT_AGENT, security_descriptor=enroll_sddl(*ADMIN_SIDS))) == {}


def test_logon_certificate_on_an_agents_signature_is_the_other_half_of_esc3() -> None:
    subject = template(
        oids.EKU_SMART_CARD_LOGON, ra_signatures=1, ra_application_policies=(oids.EKU_ENROLLMENT_AGENT,)
    )
    assert found(subject) == {"ESC3": Severity.MEDIUM}
    assert (
        found(
            template(oids.EKU_EMAIL_PROTECTION, ra_signatures=1, ra_application_policies=(oids.EKU_ENROLLMENT_AGENT,))
        )
        == {}
    )


def test_logon_certificate_without_the_sid_is_esc9_whoever_enrolls() -> None:
    subject = template(oids.EKU_CLIENT_AUTH, enrollment_flag=EnrollmentFlag.NO_SECURITY_EXTENSION)
    assert found(subject) == {"ESC9": Severity.HIGH}
    assert "ESC9" in found(
        template(
            oids.EKU_CLIENT_AUTH,
            enrollment_flag=EnrollmentFlag.NO_SECURITY_EXTENSION,
            security_descriptor=enroll_sddl(*ADMIN_SIDS),
        )
    )
    assert found(template(oids.EKU_SERVER_AUTH, enrollment_flag=EnrollmentFlag.NO_SECURITY_EXTENSION)) == {}


def test_issuance_policy_that_stands_for_a_group_is_esc13() -> None:
    policy = "1.3.6.1.4.1.311.21.8.1.400"
    subject = template(oids.EKU_CLIENT_AUTH, issuance_policies=(policy,))
    assert risks(subject, DOMAIN) == ()
    (risk,) = risks(subject, DOMAIN, linked_policies={policy: r"CORP\High Assurance"})
    assert risk.id == "ESC13"
    assert r"CORP\High Assurance" in risk.sentence


def test_enrollee_supplied_host_name_without_rules_is_esc17() -> None:
    assert found(template(oids.EKU_SERVER_AUTH, name_flag=ESS)) == {"ESC17": Severity.HIGH}
    bounded = template(oids.EKU_SERVER_AUTH, name_flag=ESS, name_rules=rules(dns_suffixes=("corp.example",)))
    assert found(bounded) == {}


def test_schema_version_1_with_supplied_subject_is_told_but_not_refused() -> None:
    """ESC15: this CA takes no usages from a request."""
    subject = template(
        oids.EKU_SERVER_AUTH, name_flag=ESS, schema_version=1, name_rules=rules(dns_suffixes=("corp.example",))
    )
    (risk,) = risks(subject, DOMAIN)
    assert (risk.id, risk.needs_acceptance) == ("ESC15", False)


def test_write_permission_of_others_is_told_but_not_refused() -> None:
    """ESC4: our directory goes by the role, not by these bits."""
    sddl = enroll_sddl(*ADMIN_SIDS) + f"(A;;WD;;;{AUTHENTICATED_USERS})"
    (risk,) = risks(template(oids.EKU_CODE_SIGNING, security_descriptor=sddl), DOMAIN)
    assert (risk.id, risk.needs_acceptance) == ("ESC4", False)


def test_every_risk_says_who_what_and_how_to_close_it() -> None:
    alice = Sid(f"{DOMAIN_SID}-1101")
    subject = template(
        name_flag=ESS,
        security_descriptor=enroll_sddl(alice, DOMAIN_USERS),
        schema_version=1,
        enrollment_flag=EnrollmentFlag.NO_SECURITY_EXTENSION,
    )
    made = risks(subject, DOMAIN, {alice: r"CORP\alice"})
    assert [risk.id for risk in made] == ["ESC1", "ESC2", "ESC9", "ESC17", "ESC15"]
    for risk in made:
        assert risk.id in KNOWN_RISKS
        assert risk.sentence.endswith(".")
        assert "template set Test " in risk.fix
        assert r"Enroll=CORP\alice" in risk.evidence
        assert risk.principals == {alice, DOMAIN_USERS}


def test_unreadable_security_descriptor_is_an_error_not_a_clean_bill() -> None:
    with pytest.raises(ValueError, match="expected O:, G:, D: or S:"):
        risks(template(oids.EKU_CLIENT_AUTH, security_descriptor="nonsense"), DOMAIN)


# -- ways out --------------------------------------------------------------------------------------------------------

DANGEROUS: Final = {
    "ESC1": template(oids.EKU_CLIENT_AUTH, oids.EKU_EMAIL_PROTECTION, name_flag=ESS),
    "ESC1 by name rules": template(
        oids.EKU_CLIENT_AUTH, name_flag=ESS, name_rules=rules(upn_domains=("corp.example",))
    ),
    "ESC2": template(oids.EKU_ANY, oids.EKU_CODE_SIGNING),
    "ESC2 of a CA": template(flags=GeneralFlag.IS_CA),
    "ESC3": template(oids.EKU_ENROLLMENT_AGENT, oids.EKU_CODE_SIGNING),
    "ESC3 by signature": template(
        oids.EKU_SMART_CARD_LOGON, ra_signatures=1, ra_application_policies=(oids.EKU_ENROLLMENT_AGENT,)
    ),
    "ESC9": template(
        oids.EKU_CLIENT_AUTH, oids.EKU_CODE_SIGNING, enrollment_flag=EnrollmentFlag.NO_SECURITY_EXTENSION
    ),
    "ESC17": template(oids.EKU_SERVER_AUTH, oids.EKU_CODE_SIGNING, name_flag=ESS),
    "ESC15": template(oids.EKU_SERVER_AUTH, name_flag=ESS, schema_version=1),
    "ESC4": template(
        oids.EKU_CODE_SIGNING, security_descriptor=enroll_sddl(*ADMIN_SIDS) + f"(A;;GA;;;{AUTHENTICATED_USERS})"
    ),
}
WAYS: Final = [
    pytest.param(name, remedy, id=f"{name}: {remedy.way.value}")
    for name, subject in DANGEROUS.items()
    for risk in risks(subject, DOMAIN)
    if risk.id == name.partition(" ")[0]
    for remedy in risk.remedies
]


@pytest.mark.parametrize(("name", "remedy"), WAYS)
def test_every_way_out_is_one_change_that_ends_the_risk(name: str, remedy: Remedy) -> None:
    identifier = name.partition(" ")[0]
    changed = remedied(DANGEROUS[name], remedy, DOMAIN)
    check_template(changed)
    assert identifier not in {risk.id for risk in risks(changed, DOMAIN)}
    assert changed != DANGEROUS[name]


@pytest.mark.parametrize("name", DANGEROUS)
def test_every_risk_has_a_way_out_and_says_what_is_true(name: str) -> None:
    (risk,) = (risk for risk in risks(DANGEROUS[name], DOMAIN) if risk.id == name.partition(" ")[0])
    assert risk.remedies
    assert len(risk.conditions) > 1 or risk.id == "ESC4"


def test_the_last_usage_is_not_taken_away_because_none_means_any() -> None:
    (risk,) = risks(template(oids.EKU_CLIENT_AUTH, enrollment_flag=EnrollmentFlag.NO_SECURITY_EXTENSION), DOMAIN)
    assert [remedy.way for remedy in risk.remedies] == [Way.CARRY_SID]
