"""Templates in the embedded directory: storing, permitting, publishing, and the gate before each."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.adcs.requester import AUTHENTICATED_USERS, Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import GeneralFlag, NameFlag, NameRules
from certwright.adcs.template_json import template_from_json, template_to_json
from certwright.adcs.template_settings import apply_settings
from certwright.directory import store
from certwright.directory.template_administration import RiskyTemplate
from certwright.directory.well_known import Rid
from certwright.pki.oids import EKU_CLIENT_AUTH
from tests.support.embedded_directory import ACTOR, Installed
from tests.support.fake_directory import enroll_sddl, make_template

ESS = NameFlag.ENROLLEE_SUPPLIES_SUBJECT
ESS = NameFlag.ENROLLEE_SUPPLIES_SUBJECT
ALICE = Sid("S-1-5-21-1-2-3-1101")


def domain_users(corp: Installed) -> Sid:
    return Rid.DOMAIN_USERS.in_domain(corp.directory.domain.sid)


# -- installing ------------------------------------------------------------------------------------------------------


def test_defaults_are_installed_once_and_changed_ones_stay(stocked: Installed) -> None:
    admin = stocked.administration
    assert len(admin.templates()) == 33
    admin.change_template("User", lambda t: apply_settings(t, {"validity-period": "90 days"}), actor=ACTOR)
    assert admin.install_default_templates(("other.example",), actor=ACTOR) == ()
    assert admin.template("User").validity_period == timedelta(days=90)
    assert admin.template("WebServer").name_rules.rules[0].dns_suffixes == ("corp.example",)


def test_all_default_templates_share_the_arcs_of_their_domain(stocked: Installed) -> None:
    heads = {template.oid.rsplit(".", 2)[0] for template in stocked.administration.templates().values()}
    assert len(heads) == 1
    assert stocked.administration.template("User").oid.endswith(".1.1")


def test_a_new_ca_publishes_the_usual_eleven(stocked: Installed) -> None:
    service = stocked.directory.enrollment_service("Corp CA")
    assert service is not None
    assert service.config == r"ca.corp.example\Corp CA"
    assert len(service.templates) == 11
    assert {"User", "Machine", "WebServer", "SubCA", "DomainController"} <= set(service.templates)


# -- storing ---------------------------------------------------------------------------------------------------------


def test_imported_template_gets_an_oid_of_the_forest(stocked: Installed) -> None:
    document = template_to_json(make_template("CorpCode", extended_key_usage=("1.3.6.1.5.5.7.3.3",)))
    del document["msPKI-Cert-Template-OID"]
    stored = stocked.administration.put_template(template_from_json(document), actor=ACTOR)
    arcs = stocked.administration.template("User").oid.rsplit(".", 2)[0]
    assert stored.oid.startswith(arcs + ".")
    assert stocked.administration.template("corpcode") == stored


def test_unknown_attributes_survive_the_database(stocked: Installed) -> None:
    document = template_to_json(make_template("Corp")) | {"msPKI-From-The-Future": [1, {"a": "ü"}]}
    stocked.administration.put_template(template_from_json(document), actor=ACTOR)
    stored = template_to_json(stocked.administration.template("Corp"))
    assert stored["msPKI-From-The-Future"] == [1, {"a": "ü"}]


def test_oid_belongs_to_one_template(stocked: Installed) -> None:
    oid = stocked.administration.template("User").oid
    with pytest.raises(InvalidArgument, match="belongs to the template User"):
        stocked.administration.put_template(make_template("Corp", oid=oid), actor=ACTOR)


def test_replacing_keeps_name_and_oid_and_raises_the_version(stocked: Installed) -> None:
    admin = stocked.administration
    before = admin.template("User")
    stored = admin.put_template(replace(before, cn="USER", oid="", minimal_key_size=3072), actor=ACTOR)
    assert (stored.cn, stored.oid, stored.minimal_key_size) == ("User", before.oid, 3072)
    assert (stored.major_version, stored.minor_version) == (before.major_version, before.minor_version + 1)
    assert GeneralFlag.IS_MODIFIED in stored.flags
    with pytest.raises(InvalidArgument, match="keeps it"):
        admin.put_template(replace(before, oid="1.3.6.1.4.1.311.21.8.1.2"), actor=ACTOR)
    assert len(admin.templates()) == 33


def test_storing_the_same_again_changes_and_audits_nothing(stocked: Installed) -> None:
    stocked.administration.put_template(stocked.administration.template("User"), actor=ACTOR)
    assert stocked.events == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"cn": "Web Server"},
        {"validity_period": timedelta(0)},
        {"renewal_period": timedelta(days=400)},
        {"security_descriptor": "D:(A;;GA;;;nobody)"},
        {"security_descriptor": ""},
        {"security_descriptor": "D:NO_ACCESS_CONTROL"},
        {"extended_key_usage": ("serverAuth",)},
        {"schema_version": 5},
        {"minimal_key_size": 100_000},
    ],
)
def test_template_that_makes_no_sense_is_refused_by_name(stocked: Installed, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match=r"Corp|Web Server"):
        stocked.administration.put_template(make_template(**({"cn": "Corp"} | wrong)), actor=ACTOR)
    assert len(stocked.administration.templates()) == 33


@pytest.mark.parametrize(
    "unreadable", [{"superseded_templates": ("A" * 20_000,)}, {"default_csps": tuple(map(str, range(300)))}]
)
def test_template_that_could_not_be_read_again_is_not_stored(stocked: Installed, unreadable: dict[str, Any]) -> None:
    """One unreadable document would take all templates with it."""
    with pytest.raises(InvalidArgument):
        stocked.administration.put_template(make_template("Corp", **unreadable), actor=ACTOR)
    assert "Corp" not in stocked.administration.templates()


def test_template_asked_for_by_its_display_name_is_hinted_at(stocked: Installed) -> None:
    with pytest.raises(InvalidArgument, match="display name of WebServer"):
        stocked.administration.template("Web Server")


def test_templates_are_an_immutable_picture_that_keeps_unchanged_objects(stocked: Installed) -> None:
    """The policy module keeps what it worked out per object; an edit of one template must not throw that away."""
    before = stocked.administration.templates()
    stocked.administration.change_template("User", lambda t: apply_settings(t, {"approval": "on"}), actor=ACTOR)
    after = stocked.administration.templates()
    assert not before["User"].requires_approval
    assert after["User"].requires_approval
    assert after["WebServer"] is before["WebServer"]


def test_template_cannot_be_renamed(stocked: Installed) -> None:
    with pytest.raises(InvalidArgument, match="renamed"):
        stocked.administration.change_template("User", lambda t: replace(t, cn="Other"), actor=ACTOR)


# -- new ones, and those that go -------------------------------------------------------------------------------------


def test_a_new_template_is_sound_and_nobody_elses(stocked: Installed) -> None:
    made = stocked.administration.create_template("Vpn", "VPN users", actor=ACTOR)
    assert (made.schema_version, made.minimal_key_size, made.enrollee_supplies_subject) == (4, 2048, False)
    assert stocked.administration.risks(made) == ()
    assert made.oid.startswith(stocked.administration.template("User").oid.rsplit(".", 2)[0])
    machine = stocked.administration.create_template("VpnHosts", machine=True, actor=ACTOR)
    assert machine.is_machine
    with pytest.raises(InvalidArgument, match="called Vpn already"):
        stocked.administration.create_template("VPN", actor=ACTOR)


def test_a_duplicate_has_an_oid_a_name_and_a_version_of_its_own(stocked: Installed) -> None:
    source = stocked.administration.template("User")
    made = stocked.administration.duplicate_template("user", "OurUser", "Our users", actor=ACTOR)
    assert made.oid != source.oid
    assert (made.schema_version, made.major_version, made.minor_version) == (2, 100, 0)
    assert made.application_policies == source.extended_key_usage
    assert GeneralFlag.IS_DEFAULT not in made.flags
    assert made.security_descriptor == source.security_descriptor
    (event,) = stocked.events
    assert event.event is AuditEvent.TEMPLATE_LOADED
    assert event.details["duplicate_of"] == "User"
    service = stocked.directory.enrollment_service("Corp CA")
    assert service is not None
    assert "OurUser" not in service.templates


def test_a_risk_is_accepted_for_the_duplicate_with_its_reason(stocked: Installed) -> None:
    admin = stocked.administration
    admin.put_template(make_template("Risky", name_flag=ESS), accept_risks={"ESC17"}, actor=ACTOR)
    with pytest.raises(RiskyTemplate, match="ESC17"):
        admin.duplicate_template("Risky", "Riskier", "", actor=ACTOR)
    admin.duplicate_template("Risky", "Riskier", "", accept_risks=["ESC17"], reason="a lab", actor=ACTOR)
    assert (stocked.events[-1].details["accepted_risks"], stocked.events[-1].details["reason"]) == ("ESC17", "a lab")


def test_only_own_templates_that_nobody_issues_are_deleted(stocked: Installed) -> None:
    admin = stocked.administration
    admin.duplicate_template("CodeSigning", "Ours", "", actor=ACTOR)
    admin.publish("Corp CA", "Ours", actor=ACTOR)
    with pytest.raises(InvalidArgument, match="issued by Corp CA"):
        admin.delete_template("ours", actor=ACTOR)
    with pytest.raises(InvalidArgument, match="default templates"):
        admin.delete_template("codesigning", actor=ACTOR)
    admin.unpublish("Corp CA", "Ours", actor=ACTOR)
    admin.delete_template("ours", actor=ACTOR)
    assert "Ours" not in admin.templates()
    assert stocked.events[-1].details["change"] == "template deleted"
    with pytest.raises(InvalidArgument, match="no certificate template"):
        admin.delete_template("Ours", actor=ACTOR)


def test_examining_tells_what_storing_would_refuse_and_stores_nothing(stocked: Installed) -> None:
    admin = stocked.administration
    user = admin.template("User")
    risky = apply_settings(user, {"enrollee-supplies-subject": "on"})
    examined = admin.examine(risky)
    assert [risk.id for risk in examined.refused] == ["ESC1"]
    assert "ESC15" in [risk.id for risk in examined.risks]
    assert admin.examine(replace(user, validity_period=timedelta(0))).fault
    admin.change_template("User", lambda _: risky, accept_risks=["ESC1"], actor=ACTOR)
    assert admin.examine(risky).refused == ()
    admin.change_template("User", lambda _: user, actor=ACTOR)
    assert stocked.events[-1].event is AuditEvent.TEMPLATE_UPDATED


def test_members_are_counted_through_groups_and_without_the_disabled(stocked: Installed) -> None:
    admin = stocked.administration
    inner = admin.add_group("Inner", actor=ACTOR)
    admin.add_account("alice", groups=["Inner"], actor=ACTOR)
    admin.add_account("gone", groups=["Inner"], actor=ACTOR)
    admin.set_enabled("gone", False, actor=ACTOR)
    outer = admin.add_group("Outer", members=["Inner"], actor=ACTOR)
    counted = admin.effective_members([inner.sid, outer.sid, ALICE])
    assert counted == {inner.sid: 1, outer.sid: 1, ALICE: 0}


# -- the gate --------------------------------------------------------------------------------------------------------


def test_dangerous_template_is_refused_with_rule_way_out_and_name(stocked: Installed) -> None:
    risky = make_template("Risky", extended_key_usage=(EKU_CLIENT_AUTH,), application_policies=(), name_flag=ESS)
    with pytest.raises(RiskyTemplate) as refused:
        stocked.administration.put_template(risky, actor=ACTOR)
    assert [risk.id for risk in refused.value.risks] == ["ESC1"]
    assert "ESC1" in refused.value.message
    assert "approval=on" in refused.value.message
    assert "Risky" not in stocked.administration.templates()


def test_accepted_risk_is_named_audited_and_remembered(stocked: Installed) -> None:
    admin = stocked.administration
    risky = make_template("Risky", name_flag=ESS)
    with pytest.raises(RiskyTemplate, match="ESC17"):
        admin.put_template(risky, accept_risks={"ESC1"}, actor=ACTOR)
    admin.put_template(risky, accept_risks={"esc17"}, actor=ACTOR)
    assert stocked.events[-1].details["accepted_risks"] == "ESC17"
    assert admin.accepted_risks("Risky") == {"ESC17"}
    admin.change_template("Risky", lambda t: apply_settings(t, {"validity-period": "30 weeks"}), actor=ACTOR)
    admin.publish("Corp CA", "Risky", actor=ACTOR)


def test_closed_risk_has_to_be_accepted_anew(stocked: Installed) -> None:
    admin = stocked.administration
    admin.put_template(make_template("Risky", name_flag=ESS), accept_risks={"ESC17"}, actor=ACTOR)
    admin.change_template("Risky", lambda t: apply_settings(t, {"approval": "on"}), actor=ACTOR)
    assert admin.accepted_risks("Risky") == frozenset()
    with pytest.raises(RiskyTemplate):
        admin.change_template("Risky", lambda t: apply_settings(t, {"approval": "off"}), actor=ACTOR)


def test_accepted_risk_is_new_again_for_somebody_else(stocked: Installed) -> None:
    """Accepted for one account, it is not accepted for everybody."""
    admin = stocked.administration
    alice = admin.add_account("alice", actor=ACTOR)
    admin.grant("OfflineRouter", alice.sid, enroll=True, accept_risks={"ESC1"}, actor=ACTOR)
    with pytest.raises(RiskyTemplate, match="Authenticated Users"):
        admin.grant("OfflineRouter", AUTHENTICATED_USERS, enroll=True, actor=ACTOR)
    admin.revoke("OfflineRouter", alice.sid, enroll=True, actor=ACTOR)


def test_unknown_risk_cannot_be_accepted(stocked: Installed) -> None:
    with pytest.raises(InvalidArgument, match="ESC99 is no risk"):
        stocked.administration.put_template(make_template("Corp"), accept_risks={"ESC99"}, actor=ACTOR)


def test_setting_that_opens_a_risk_is_refused(stocked: Installed) -> None:
    admin = stocked.administration
    for settings in (
        {"enrollee-supplies-subject": "on"},
        {"eku": ""},
        {"eku": "anyPurpose"},
        {"eku": "enrollmentAgent"},
        {"sid-extension": "off"},
    ):
        with pytest.raises(RiskyTemplate):
            admin.change_template("User", lambda t, s=settings: apply_settings(t, s), actor=ACTOR)
    assert admin.template("User").minor_version == 1


def test_removing_name_rules_from_a_granted_template_is_refused(stocked: Installed) -> None:
    admin = stocked.administration
    admin.grant("WebServer", domain_users(stocked), enroll=True, actor=ACTOR)
    with pytest.raises(RiskyTemplate, match="ESC17"):
        admin.change_template("WebServer", lambda t: replace(t, name_rules=NameRules()), actor=ACTOR)


def test_template_whose_risk_nobody_accepted_is_not_published(stocked: Installed) -> None:
    """It may stand in the database from elsewhere; the gate is before the publication too."""
    risky = replace(make_template("Risky", name_flag=ESS), security_descriptor=enroll_sddl(AUTHENTICATED_USERS))
    with stocked.database.transaction() as connection:
        store.raise_version(connection)
        store.put_template(connection, risky, frozenset())
    stocked.directory.refresh()
    with pytest.raises(RiskyTemplate, match="ESC17"):
        stocked.administration.publish("Corp CA", "Risky", actor=ACTOR)
    stocked.administration.publish("Corp CA", "Risky", accept_risks={"ESC17"}, actor=ACTOR)
    assert stocked.events[-1].details["accepted_risks"] == "ESC17"
    assert stocked.administration.accepted_risks("Risky") == {"ESC17"}


# -- permissions -----------------------------------------------------------------------------------------------------


def test_granted_right_is_held_and_revoked_right_is_not(stocked: Installed) -> None:
    admin, users = stocked.administration, frozenset({domain_users(stocked)})
    domain = stocked.directory.domain.sid

    def security(cn: str) -> SecurityDescriptor:
        return SecurityDescriptor.from_sddl(admin.template(cn).security_descriptor, domain)

    admin.grant("WebServer", domain_users(stocked), enroll=True, autoenroll=True, actor=ACTOR)
    assert security("WebServer").may_enroll(users)
    assert security("WebServer").may_autoenroll(users)
    admin.revoke("WebServer", domain_users(stocked), autoenroll=True, actor=ACTOR)
    assert security("WebServer").may_enroll(users)
    assert not security("WebServer").may_autoenroll(users)
    admin.revoke("WebServer", domain_users(stocked), enroll=True, actor=ACTOR)
    assert not security("WebServer").may_enroll(users)


def test_permissions_change_no_version_and_are_audited_before_and_after(stocked: Installed) -> None:
    before = stocked.administration.template("WebServer")
    after = stocked.administration.grant("WebServer", domain_users(stocked), enroll=True, actor=ACTOR)
    assert (after.major_version, after.minor_version) == (before.major_version, before.minor_version)
    (event,) = stocked.events
    assert event.event is AuditEvent.TEMPLATE_SECURITY_UPDATED
    assert event.details["nTSecurityDescriptor (before)"] == before.security_descriptor
    assert event.details["nTSecurityDescriptor (after)"] == after.security_descriptor


def test_grant_needs_a_right_a_sid_and_a_template(stocked: Installed) -> None:
    admin = stocked.administration
    with pytest.raises(InvalidArgument, match="Enroll, AutoEnroll"):
        admin.grant("User", ALICE, actor=ACTOR)
    with pytest.raises(InvalidArgument, match="not a security identifier"):
        admin.grant("User", Sid("alice"), enroll=True, actor=ACTOR)
    with pytest.raises(InvalidArgument, match="no certificate template called 'Nothing'"):
        admin.grant("Nothing", ALICE, enroll=True, actor=ACTOR)


# -- publication -----------------------------------------------------------------------------------------------------


def test_publication_is_per_ca_and_audited_in_its_chain(stocked: Installed) -> None:
    admin = stocked.administration
    admin.set_enrollment_service("Second CA", "ca2.corp.example", b"\x30\x00", actor=ACTOR)
    stocked.events.clear()
    admin.publish("Corp CA", "codesigning", actor=ACTOR)
    admin.unpublish("Corp CA", "EFS", actor=ACTOR)
    first, second = (stocked.directory.enrollment_service(name) for name in ("Corp CA", "Second CA"))
    assert first is not None
    assert second is not None
    assert "CodeSigning" in first.templates
    assert "EFS" not in first.templates
    assert second.templates == ()
    assert [(event.event, event.ca) for event in stocked.events] == [
        (AuditEvent.TEMPLATE_PUBLICATION_CHANGED, "Corp CA")
    ] * 2
    assert "CodeSigning" in str(stocked.events[0].details["templates (after)"])
    assert "CodeSigning" not in str(stocked.events[0].details["templates (before)"])


def test_publishing_twice_is_one_entry_and_one_event(stocked: Installed) -> None:
    stocked.administration.publish("Corp CA", "CodeSigning", actor=ACTOR)
    stocked.administration.publish("Corp CA", "CodeSigning", actor=ACTOR)
    assert len(stocked.events) == 1


def test_renewed_ca_certificate_keeps_what_is_published(stocked: Installed) -> None:
    stocked.administration.set_enrollment_service("Corp CA", "new.corp.example", b"\x30\x01\x00", actor=ACTOR)
    service = stocked.directory.enrollment_service("Corp CA")
    assert service is not None
    assert (service.dns_host_name, service.certificate, len(service.templates)) == (
        "new.corp.example",
        b"\x30\x01\x00",
        11,
    )
    assert stocked.events[-1].event is AuditEvent.CA_CERTIFICATE_PUBLISHED


def test_unknown_ca_or_template_is_not_published(stocked: Installed) -> None:
    admin = stocked.administration
    for attempt in (
        lambda: admin.publish("No CA", "User", actor=ACTOR),
        lambda: admin.publish("Corp CA", "Nothing", actor=ACTOR),
        lambda: admin.unpublish("Corp CA", "CodeSigning", actor=ACTOR),
    ):
        with pytest.raises(InvalidArgument):
            attempt()


# -- audit -----------------------------------------------------------------------------------------------------------


def test_changed_attributes_are_audited_one_by_one(stocked: Installed) -> None:
    stocked.administration.change_template(
        "User", lambda t: apply_settings(t, {"minimal-key-size": "3072", "approval": "on"}), actor=ACTOR
    )
    (event,) = stocked.events
    assert event.event is AuditEvent.TEMPLATE_UPDATED
    assert event.details["msPKI-Minimal-Key-Size (before)"] == 2048
    assert event.details["msPKI-Minimal-Key-Size (after)"] == 3072
    assert event.details["msPKI-Enrollment-Flag (after)"] == 0x2B
    assert "pKIExpirationPeriod (after)" not in event.details
    assert not any(name.startswith("flagsNames") for name in event.details)


def test_attributes_and_permissions_changed_together_leave_two_events(stocked: Installed) -> None:
    before = stocked.administration.template("User")
    changed = replace(before, minimal_key_size=3072, security_descriptor=enroll_sddl(AUTHENTICATED_USERS))
    stocked.administration.put_template(changed, actor=ACTOR)
    assert [event.event for event in stocked.events] == [
        AuditEvent.TEMPLATE_UPDATED,
        AuditEvent.TEMPLATE_SECURITY_UPDATED,
    ]
