"""A Microsoft CA read over LDAP: nothing on a new forest, the right number for everything that LDAP shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from certwright.adcs.template import CertificateTemplate, EnrollmentFlag, NameFlag, NameRule, NameRules
from certwright.directory.security_audit.audit import Standing, audit_security, coverage
from certwright.directory.security_audit.authorities import authority_findings
from certwright.directory.security_audit.catalogue import ESCALATIONS
from certwright.directory.security_audit.facts import AuthorityFacts
from certwright.directory.security_audit.findings import Finding, Severity
from certwright.directory.security_audit.over_ldap import LdapMembership, security_facts
from certwright.directory.store import KeptHere
from certwright.pki import oids
from tests.support.fake_directory import DOMAIN, DOMAIN_USERS, enroll_sddl
from tests.support.fake_forest import ALICE, BASE, BOSS, CA, HELPDESK, PKI, PKI_TEAM, TEMPLATES, FakeForest, rid

ESS: Final = NameFlag.ENROLLEE_SUPPLIES_SUBJECT
SAFE: Final = "O:EAG:EAD:"
NOT_VISIBLE: Final = {"ESC6", "ESC7", "ESC8", "ESC10", "ESC11", "ESC12", "ESC16"}
POLICY: Final = "1.3.6.1.4.1.311.21.8.1.400"
ALT: Final = "00fbf30c-91fe-11d1-aebc-0000f80367c1"


def open_to(*trustees: str) -> str:
    return f"{SAFE}{enroll_sddl(*trustees)[2:]}"


def found(forest: FakeForest) -> tuple[Finding, ...]:
    return audit_security(security_facts(forest, DOMAIN))


def linked(forest: FakeForest) -> None:
    group = f"CN=High Assurance,CN=Users,{BASE}"
    forest.add(
        f"CN=400.1,CN=OID,{PKI}",
        ("msPKI-Enterprise-Oid",),
        sddl="O:EAG:EAD:(A;;GA;;;EA)",
        msPKI_Cert_Template_OID=POLICY,
        msDS_OIDToGroupLink=group,
    )
    forest.change_template("User", issuance_policies=(POLICY,))


Seed = Callable[[FakeForest], object]
SEEDS: Final[dict[str, tuple[Seed, str]]] = {
    # name, beginning with the number: what is done to a new forest, and what the entry or condition must say
    "ESC1": (
        lambda forest: forest.change_template("User", name_flag=ESS, schema_version=2),
        r"CORP\Domain Users: Enroll",
    ),
    "ESC1 although name rules": (
        lambda forest: forest.change_template(
            "User", name_flag=ESS, schema_version=2, name_rules=NameRules((NameRule(mail_domains=("corp.example",)),))
        ),
        "the enrollee supplies the subject",
    ),
    "ESC1 by all extended rights": (
        lambda forest: forest.change_template(
            "ClientAuth", name_flag=ESS, schema_version=2, security_descriptor=f"{SAFE}(A;;CR;;;AU)"
        ),
        r"NT AUTHORITY\Authenticated Users: All Extended Rights",
    ),
    "ESC2": (
        lambda forest: forest.change_template(
            "CodeSigning",
            schema_version=2,
            extended_key_usage=(),
            application_policies=(),
            security_descriptor=open_to("DU"),
        ),
        "the certificate may be used for any purpose",
    ),
    "ESC3": (
        lambda forest: forest.change_template("EnrollmentAgent", security_descriptor=open_to("DU")),
        r"CORP\Domain Users: Enroll",
    ),
    "ESC3 by signature": (
        lambda forest: forest.change_template(
            "SmartcardLogon",
            schema_version=2,
            ra_signatures=1,
            ra_application_policies=(oids.EKU_ENROLLMENT_AGENT,),
            security_descriptor=open_to("DU"),
        ),
        "an enrollment agent's signature is accepted",
    ),
    "ESC4": (
        lambda forest: forest.change_template("WebServer", security_descriptor=f"{SAFE}(A;;RPWP;;;DU)"),
        r"CORP\Domain Users: Write All Properties",
    ),
    "ESC4 by owner": (
        lambda forest: forest.change_template("WebServer", security_descriptor=f"O:{ALICE}G:EAD:(A;;GA;;;EA)"),
        r"CORP\alice: owner",
    ),
    "ESC4 by permissions": (
        lambda forest: forest.change_template("WebServer", security_descriptor=f"{SAFE}(A;ID;WDWO;;;{HELPDESK})"),
        r"CORP\Helpdesk: Modify Permissions and Modify Owner, inherited",
    ),
    "ESC5": (
        lambda forest: forest.allow(forest.ntauth, "(A;;WP;;;AU)"),
        r"NT AUTHORITY\Authenticated Users: Write All Properties",
    ),
    "ESC5 by a new template": (
        lambda forest: forest.allow(TEMPLATES, f"(A;;CC;;;{HELPDESK})"),
        r"CORP\Helpdesk: Create Objects Below",
    ),
    "ESC5 by what is published": (
        lambda forest: forest.allow(forest.service, "(OA;;WP;2a39c5b1-8960-11d1-aebc-0000f80367c1;;DU)"),
        r"CORP\Domain Users: Write certificateTemplates",
    ),
    "ESC5 by the CA's computer": (
        lambda forest: forest.allow(forest.computer, f"(OA;;WP;3f78c3e5-f79a-46bd-a0b8-9d18116ddc79;;{HELPDESK})"),
        r"CORP\Helpdesk: Write msDS-AllowedToActOnBehalfOfOtherIdentity",
    ),
    "ESC5 by an OID": (
        lambda forest: forest.add(
            f"CN=7.1,CN=OID,{PKI}", ("msPKI-Enterprise-Oid",), sddl=f"O:{ALICE}G:DUD:(A;;RP;;;AU)"
        ),
        r"CORP\alice: owner",
    ),
    "ESC9": (
        lambda forest: forest.change_template("User", enrollment_flag=EnrollmentFlag.NO_SECURITY_EXTENSION),
        "no SID in the certificate",
    ),
    "ESC13": (linked, "its issuance policy stands for membership in CN=High Assurance,CN=Users"),
    "ESC14": (
        lambda forest: forest.set(forest.boss, altSecurityIdentities=["X509:<I>DC=example,CN=CA<S>CN=boss"]),
        "altSecurityIdentities=X509:<I>DC=example,CN=CA<S>CN=boss",
    ),
    "ESC14 by mail": (
        lambda forest: forest.set(forest.alice, altSecurityIdentities=["X509:<RFC822>alice@corp.example"]),
        "it names no single certificate",
    ),
    "ESC14 by writing": (
        lambda forest: forest.allow(forest.boss, f"(OA;;WP;{ALT};;{HELPDESK})"),
        r"CORP\Helpdesk: Write altSecurityIdentities",
    ),
    "ESC15": (
        lambda forest: forest.change_template(
            "WebServer",
            extended_key_usage=(oids.EKU_EMAIL_PROTECTION,),
            application_policies=(oids.EKU_EMAIL_PROTECTION,),
            security_descriptor=open_to("DC"),
        ),
        "schema version 1",
    ),
    "ESC17": (
        lambda forest: forest.change_template("WebServer", schema_version=2, security_descriptor=open_to("DC")),
        r"CORP\Domain Computers: Enroll",
    ),
}


def test_a_new_forest_has_no_finding() -> None:
    """All 33 default templates, and every object as the installation of AD CS leaves it."""
    forest = FakeForest()
    facts = security_facts(forest, DOMAIN)

    assert len(facts.templates) == 33
    assert facts.unreadable == ()
    assert audit_security(facts) == ()


def test_what_ldap_does_not_show_is_never_told_as_closed() -> None:
    facts = security_facts(FakeForest(), DOMAIN)
    lines = {line.number: line for line in coverage(facts, audit_security(facts))}

    assert list(lines) == list(ESCALATIONS)
    assert {number for number, line in lines.items() if line.standing is Standing.NOT_VISIBLE} == NOT_VISIBLE
    assert {line.standing for number, line in lines.items() if number not in NOT_VISIBLE} == {Standing.CLOSED}
    assert all(line.reason for number, line in lines.items() if number in NOT_VISIBLE)
    assert CA in lines["ESC6"].reason
    assert "EDITF_ATTRIBUTESUBJECTALTNAME2" in lines["ESC6"].reason


@pytest.mark.parametrize("name", SEEDS)
def test_every_seeded_misconfiguration_gets_its_number(name: str) -> None:
    number = name.partition(" ")[0]
    seed, said = SEEDS[name]
    forest = FakeForest()

    seed(forest)
    findings = found(forest)

    assert {finding.number for finding in findings} == {number}
    (finding,) = findings
    assert finding.needs_acceptance
    assert any(said in text for text in (*finding.aces, *finding.why)), (finding.aces, finding.why)
    assert f",{BASE}" in finding.object
    assert finding.title == ESCALATIONS[number].title
    assert finding.fix.endswith((".", ")"))


def test_everything_ldap_shows_is_seeded() -> None:
    assert {name.partition(" ")[0] for name in SEEDS} == set(ESCALATIONS) - NOT_VISIBLE


# -- who is really in ------------------------------------------------------------------------------------------------


def test_a_group_of_administrators_alone_lets_nobody_in() -> None:
    forest = FakeForest()
    forest.change_template("User", name_flag=ESS, schema_version=2, security_descriptor=open_to(PKI_TEAM))
    safe = found(forest)
    forest.join(forest.pki_team, forest.alice)

    assert safe == ()
    assert [finding.number for finding in found(forest)] == ["ESC1"]


def test_a_group_without_members_lets_in_whoever_is_added_next() -> None:
    forest = FakeForest()
    empty = rid(1700)
    forest.add(f"CN=Later,CN=Users,{BASE}", ("group",), sid=empty, sAMAccountName="Later")
    forest.change_template("User", name_flag=ESS, schema_version=2, security_descriptor=open_to(empty))

    assert [finding.aces for finding in found(forest)] == [(r"CORP\Later: Enroll",)]


def test_operators_of_the_domain_are_nobody_until_somebody_is_added() -> None:
    """Every computer account lets Account Operators write."""
    forest = FakeForest()
    forest.join(forest.operators, forest.alice)
    (finding,) = found(forest)

    assert (finding.number, finding.object) == ("ESC5", forest.computer)
    assert finding.aces == (r"BUILTIN\Account Operators: Full Control",)


def test_membership_goes_through_any_number_of_groups() -> None:
    forest = FakeForest()
    outer = forest.add(f"CN=Outer,CN=Users,{BASE}", ("group",), sid=rid(1701), sAMAccountName="Outer")
    forest.join(outer, forest.helpdesk)
    membership = LdapMembership(forest, DOMAIN)

    assert membership.members(rid(1701)) == {ALICE}
    assert membership.members(DOMAIN_USERS) == {ALICE, BOSS}  # by their primary group
    assert membership.members(ALICE) is None
    assert membership.groups_of(ALICE) == {HELPDESK, rid(1701), DOMAIN_USERS}
    assert membership.members(rid(9999)) is None


def test_a_group_that_holds_domain_users_is_everybody() -> None:
    forest = FakeForest()
    forest.join(forest.helpdesk, forest.domain_users)
    audience = security_facts(forest, DOMAIN).audience

    assert audience.means_everybody(HELPDESK)
    assert not audience.means_everybody(PKI_TEAM)


def test_a_further_group_may_count_as_everybody() -> None:
    """ESC7 asks for everybody's groups: contractors may be as many."""
    forest = FakeForest()
    usual = security_facts(forest, DOMAIN).audience
    strict = security_facts(forest, DOMAIN, low_privileged=[HELPDESK]).audience

    assert (usual.means_everybody(HELPDESK), strict.means_everybody(HELPDESK)) == (False, True)


# -- what is told and what is not ------------------------------------------------------------------------------------


def test_a_template_that_no_ca_publishes_is_worth_knowing_only() -> None:
    forest = FakeForest()
    forest.put_template(replace(forest.templates["ClientAuth"], name_flag=ESS, schema_version=2), published=False)
    (finding,) = found(forest)

    assert (finding.number, finding.severity) == ("ESC1", Severity.LOW)
    assert "no CA publishes it" in finding.why[-1]


def test_what_cannot_be_read_is_told() -> None:
    forest = FakeForest()
    del forest.entries[f"CN=User,{TEMPLATES}"]["nTSecurityDescriptor"]
    del forest.entries[forest.ntauth]["nTSecurityDescriptor"]
    facts = security_facts(forest, DOMAIN)

    assert len(facts.templates) == 32
    assert {re.sub(r",.*", "", text) for text in facts.unreadable} == {"CN=User", "CN=NTAuthCertificates"}


def test_a_ca_of_ours_in_the_forest_speaks_for_itself() -> None:
    """Its templates are under its rules: name rules count, and usages never come from a request."""
    forest = FakeForest()
    forest.change_template("WebServer", security_descriptor=open_to("DU"), schema_version=1)
    ours = AuthorityFacts(
        CA,
        ours=True,
        security=None,
        endpoints=(),
        takes_names_from_attributes=False,
        encrypts_rpc=True,
        key_secret_in_clear=False,
        omits_sid=False,
    )
    facts = security_facts(forest, DOMAIN, own={CA: ours})
    lines = {line.number: line.standing for line in coverage(facts, audit_security(facts))}

    assert {finding.number: finding.severity for finding in audit_security(facts)} == {
        "ESC17": Severity.HIGH,
        "ESC15": Severity.LOW,
    }
    assert (lines["ESC6"], lines["ESC10"]) == (Standing.IMPOSSIBLE, Standing.NOT_VISIBLE)
    assert authority_findings(ours, facts.audience) == ()


def test_accounts_that_publish_for_our_ca_may_write() -> None:
    forest = FakeForest()
    forest.allow(forest.ntauth, f"(A;;WP;;;{ALICE})")

    assert [finding.number for finding in found(forest)] == ["ESC5"]
    assert audit_security(security_facts(forest, DOMAIN, trusted=[ALICE])) == ()


def test_an_expected_account_is_told_with_its_reason_and_warned_of_together_with_others() -> None:
    """The service account of an installation that reads the forest as a stranger would."""
    forest = FakeForest()
    forest.allow(forest.ntauth, f"(A;;WP;;;{ALICE})")
    facts = security_facts(forest, DOMAIN, expected={ALICE: "it publishes"})
    (finding,) = audit_security(facts)
    assert (finding.number, finding.severity, finding.accepted) == ("ESC5", Severity.LOW, True)
    assert finding.why == ("it publishes",)
    lines = {line.number: line.standing for line in coverage(facts, (finding,))}
    assert lines["ESC5"] is Standing.CLOSED

    forest.allow(forest.ntauth, "(A;;WP;;;AU)")
    (finding,) = audit_security(security_facts(forest, DOMAIN, expected={ALICE: "it publishes"}))
    assert (finding.severity, finding.accepted) == (Severity.HIGH, False)


def test_name_rules_kept_here_count_for_a_ca_of_ours_and_for_no_other() -> None:
    forest = FakeForest()
    forest.change_template("WebServer", security_descriptor=open_to("DU"), schema_version=2)
    rules = NameRules((NameRule(dns_suffixes=("corp.example",)),))

    def kept(template: CertificateTemplate) -> KeptHere:
        return KeptHere(name_rules=rules) if template.cn == "WebServer" else KeptHere()

    ours = AuthorityFacts(CA, ours=True)
    assert "ESC17" in [each.number for each in audit_security(security_facts(forest, DOMAIN, own={CA: ours}))]
    ruled = security_facts(forest, DOMAIN, own={CA: ours}, kept=kept)
    assert "ESC17" not in [each.number for each in audit_security(ruled)]
    foreign = security_facts(forest, DOMAIN, kept=kept)
    assert "ESC17" in [each.number for each in audit_security(foreign)]


def test_publishers_of_certificates_are_trusted_as_long_as_they_are_cas() -> None:
    forest = FakeForest()
    forest.join(forest.publishers, forest.alice)
    findings = found(forest)

    assert {finding.number for finding in findings} == {"ESC5"}
    assert all(r"CORP\Cert Publishers: Full Control" in finding.aces[0] for finding in findings)
