"""All seventeen rules over values: what opens each, on a CA of ours and on one of AD CS, and what closes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import EnrollmentFlag, NameFlag
from certwright.directory.security_audit.audience import Audience, Membership
from certwright.directory.security_audit.audit import Standing, audit_security, coverage
from certwright.directory.security_audit.authorities import authority_findings, newly_open
from certwright.directory.security_audit.catalogue import ESCALATIONS, number_of
from certwright.directory.security_audit.facts import (
    AuthorityFacts,
    ControllerFacts,
    ExplicitMapping,
    PkiObject,
    SecurityFacts,
    TemplateFacts,
    WebEndpoint,
)
from certwright.directory.security_audit.findings import Place, Severity
from certwright.directory.security_audit.objects import is_weak
from certwright.directory.security_audit.template_risks import risks
from certwright.pki import oids
from tests.support.fake_directory import DOMAIN, DOMAIN_SID, DOMAIN_USERS, enroll_sddl, make_template

ESS: Final = NameFlag.ENROLLEE_SUPPLIES_SUBJECT
POLICY: Final = "1.3.6.1.4.1.311.21.8.1.400"
AUDIENCE: Final = Audience.active_directory([DOMAIN_SID])
ALICE: Final = Sid(f"{DOMAIN_SID}-1601")
OFFICERS: Final = Sid(f"{DOMAIN_SID}-1602")


def descriptor(sddl: str) -> SecurityDescriptor:
    return SecurityDescriptor.from_sddl(sddl, DOMAIN_SID)


SOUND: Final = AuthorityFacts(
    "Corp CA",
    ours=False,
    security=descriptor("O:BAG:BAD:(A;;0x3;;;BA)(A;;0x200;;;AU)"),
    endpoints=(WebEndpoint("https://ca.corp.example/certsrv/", ("NTLM", "Negotiate"), "require"),),
    takes_names_from_attributes=False,
    encrypts_rpc=True,
    key_secret_in_clear=False,
    omits_sid=False,
)


def template(*usages: str, **changes: Any) -> dict[str, Any]:
    made = make_template(
        "Test",
        **(
            {
                "extended_key_usage": usages,
                "application_policies": usages,
                "security_descriptor": f"O:EAG:EA{enroll_sddl(DOMAIN_USERS)}",
            }
            | changes
        ),
    )
    return {"templates": (TemplateFacts(made, ("Corp CA",)),)}


def authority(**changes: Any) -> dict[str, Any]:
    return {"authorities": (replace(SOUND, **changes),)}


def endpoint(url: str, binding: str | None) -> dict[str, Any]:
    return authority(endpoints=(WebEndpoint(url, ("NTLM",), binding),))


OPEN: Final[dict[str, dict[str, Any]]] = {
    "ESC1": template(oids.EKU_CLIENT_AUTH, name_flag=ESS),
    "ESC2": template(oids.EKU_ANY),
    "ESC3": template(oids.EKU_ENROLLMENT_AGENT),
    "ESC4": template(oids.EKU_CODE_SIGNING, security_descriptor="O:EAG:EAD:(A;;WP;;;AU)"),
    "ESC5": {"objects": (PkiObject("CN=NTAuthCertificates", "NTAuth", descriptor("O:EAG:EAD:(A;;GA;;;AU)")),)},
    "ESC6": authority(takes_names_from_attributes=True),
    "ESC7": authority(security=descriptor("O:BAG:BAD:(A;;0x1;;;BA)(A;;0x202;;;DU)")),
    "ESC8 without binding": endpoint("https://ca.corp.example/certsrv/", "off"),
    "ESC8 with binding left out": endpoint("https://ca.corp.example/certsrv/", "allow"),
    "ESC8 over HTTP": endpoint("http://ca.corp.example/certsrv/", None),
    "ESC9": template(oids.EKU_CLIENT_AUTH, enrollment_flag=EnrollmentFlag.NO_SECURITY_EXTENSION),
    "ESC10 by binding": {"controllers": (ControllerFacts("DC1", 0, 0x18),)},
    "ESC10 by method": {"controllers": (ControllerFacts("DC1", 2, 0x1F),)},
    "ESC11": authority(encrypts_rpc=False),
    "ESC12": authority(key_secret_in_clear=True),
    "ESC13": template(oids.EKU_CLIENT_AUTH, issuance_policies=(POLICY,)),
    "ESC14": {"mappings": (ExplicitMapping(r"CORP\alice", "CN=alice", ALICE, "X509:<S>CN=alice"),)},
    "ESC15": template(oids.EKU_EMAIL_PROTECTION, name_flag=ESS, schema_version=1),
    "ESC16": authority(omits_sid=True),
    "ESC17": template(oids.EKU_SERVER_AUTH, name_flag=ESS),
    "ESC17 of a standalone CA": authority(issues_unseen=True),
}


def facts(**changes: Any) -> SecurityFacts:
    values: dict[str, Any] = {
        "place": Place.MICROSOFT,
        "domain": DOMAIN,
        "audience": AUDIENCE,
        "authorities": (SOUND,),
        "linked_policies": {POLICY: r"CORP\High Assurance"},
        "objects": (),
        "mappings": (),
        "protected": (),
        "controllers": (ControllerFacts("DC1", 2, 0x18),),
    }
    return SecurityFacts(**(values | changes))


@pytest.mark.parametrize("name", OPEN)
def test_each_of_the_seventeen_is_named_by_its_number(name: str) -> None:
    findings = audit_security(facts(**OPEN[name]))

    assert [finding.number for finding in findings] == [name.partition(" ")[0]]
    for finding in findings:
        assert finding.needs_acceptance
        assert finding.object
        assert finding.sentence.endswith(".")
        assert finding.why
        assert finding.fix


def test_all_seventeen_have_a_rule() -> None:
    assert {name.partition(" ")[0] for name in OPEN} == set(ESCALATIONS)
    assert list(ESCALATIONS) == [f"ESC{number}" for number in range(1, 18)]


def test_nothing_open_and_everything_seen_is_closed() -> None:
    sound = facts()
    assert audit_security(sound) == ()
    assert {line.standing for line in coverage(sound, ())} == {Standing.CLOSED}


def test_what_nobody_could_look_at_is_not_visible() -> None:
    unseen = facts(
        authorities=(AuthorityFacts("Corp CA", ours=False),),
        linked_policies=None,
        objects=None,
        mappings=None,
        controllers=None,
    )
    hidden = {line.number for line in coverage(unseen, ()) if line.standing is Standing.NOT_VISIBLE}
    assert hidden == {f"ESC{number}" for number in (5, 6, 7, 8, 10, 11, 12, 13, 14, 16)}


def test_our_own_ca_has_no_such_switches() -> None:
    """ESC6, 11, 12, 16 and, in the embedded directory, 4, 5, 10, 13 and 14: told with the reason."""
    ours = facts(
        place=Place.EMBEDDED,
        authorities=(replace(SOUND, ours=True),),
        audience=Audience.embedded(DOMAIN_SID),
        objects=None,
        mappings=None,
        controllers=None,
    )
    lines = [line for line in coverage(ours, ()) if line.standing is Standing.IMPOSSIBLE]
    assert {line.number for line in lines} == {f"ESC{number}" for number in (4, 5, 6, 10, 11, 12, 13, 14, 15, 16)}
    assert all(line.reason == ESCALATIONS[line.number].here for line in lines)


# -- the CA's roles --------------------------------------------------------------------------------------------------


class Nested:
    """Domain Users lie in one group, another one has alice alone."""

    def members(self, group: Sid) -> frozenset[Sid] | None:
        return frozenset({ALICE}) if group == OFFICERS else None

    def groups_of(self, sid: Sid) -> frozenset[Sid]:
        return frozenset({Sid(f"{DOMAIN_SID}-1603")}) if sid == DOMAIN_USERS else frozenset()


@pytest.mark.parametrize(
    ("holder", "is_open"),
    [("AU", True), ("WD", True), ("DC", True), (f"{DOMAIN_SID}-1603", True), (OFFICERS, False), (ALICE, False)],
)
def test_a_role_is_for_few_and_everybodys_groups_count_wherever_they_lie(holder: str, is_open: bool) -> None:
    """ESC7. A role has to be somebody's: a group of certificate managers is no escalation."""
    membership: Membership = Nested()
    audience = Audience.active_directory([DOMAIN_SID], membership=membership)
    subject = replace(SOUND, security=descriptor(f"O:BAG:BAD:(A;;0x1;;;BA)(A;;0x2;;;{holder})"))

    found = authority_findings(subject, audience)

    assert [each.number for each in found] == (["ESC7"] if is_open else [])
    assert all("Issue and Manage Certificates" in each.aces[0] for each in found)


def test_a_role_that_is_denied_to_everybody_is_nobodys() -> None:
    subject = replace(SOUND, security=descriptor("O:BAG:BAD:(D;;0x3;;;AU)(A;;0x3;;;AU)(A;;0x1;;;BA)"))
    assert authority_findings(subject, AUDIENCE) == ()


def test_worse_than_before_is_new() -> None:
    """What the gate asks: opened by this change, or made worse by it."""
    allow = authority_findings(OPEN["ESC8 with binding left out"]["authorities"][0], AUDIENCE)
    off = authority_findings(OPEN["ESC8 without binding"]["authorities"][0], AUDIENCE)

    assert [each.severity for each in (*allow, *off)] == [Severity.MEDIUM, Severity.HIGH]
    assert newly_open((), allow) == allow
    assert newly_open(allow, allow) == ()
    assert newly_open(off, allow) == ()
    assert newly_open(allow, off) == off
    assert newly_open(allow, off, ["ESC8"]) == ()


# -- the place a template lives in -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "severities"),
    [("ESC4", ("low", "high", "high")), ("ESC15", ("low", "low", "medium")), ("ESC1", ("high", "high", "high"))],
)
def test_the_same_template_is_as_dangerous_as_its_place_lets_it(name: str, severities: tuple[str, ...]) -> None:
    subject = OPEN[name]["templates"][0].template
    found = [risks(subject, DOMAIN, place=place, audience=AUDIENCE) for place in Place]
    assert tuple(each.severity.value for (each,) in found) == severities


def test_no_relative_identifier_of_ours_is_privileged_in_a_real_domain() -> None:
    """There RID 1000 is whoever came first."""
    subject = OPEN["ESC1"]["templates"][0].template
    first = replace(subject, security_descriptor=f"O:EAG:EA{enroll_sddl(f'{DOMAIN_SID}-1000')}")

    assert risks(first, DOMAIN) == ()
    assert [each.id for each in risks(first, DOMAIN, audience=AUDIENCE)] == ["ESC1"]


def test_the_fix_is_one_step_in_the_words_of_the_place() -> None:
    ours = audit_security(facts(place=Place.EMBEDDED, audience=Audience.embedded(DOMAIN_SID), **OPEN["ESC1"]))
    theirs = audit_security(facts(**OPEN["ESC1"]))
    assert ours[0].fix.startswith("certwright template set Test enrollee-supplies-subject=off")
    assert theirs[0].fix == "certtmpl.msc, Test, Subject Name: build from this Active Directory information."


@pytest.mark.parametrize(
    ("mapping", "weak"),
    [
        ("X509:<I>DC=example,DC=corp,CN=CA<S>CN=alice", True),
        ("X509:<S>CN=alice", True),
        ("x509:<rfc822>alice@corp.example", True),
        ("X509:", True),
        ("X509:<I>DC=example,DC=corp,CN=CA<SR>1200000000AC11", False),
        ("X509:<SKI>0123456789abcdef", False),
        ("X509:<SHA1-PUKEY>0123456789abcdef", False),
        ("X509:<I>DC=example,DC=corp,CN=CA<SID>S-1-5-21-1-2-3-1601", False),
        ("Kerberos:alice@OTHER.EXAMPLE", False),
    ],
)
def test_mappings_that_name_one_certificate_or_account_are_strong(mapping: str, weak: bool) -> None:
    """KB5014754; [MS-PKCA] 3.1.5.2.1.5."""
    assert is_weak(mapping) is weak


def test_numbers_are_read_as_people_write_them() -> None:
    assert number_of(" esc8 ") == "ESC8"
    with pytest.raises(ValueError, match="there are ESC1 to ESC17"):
        number_of("ESC18")
