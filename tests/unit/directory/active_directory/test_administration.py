r"""Templates of a domain changed from here: the same gate and the same events, written by LDAP. [MS-CRTD] 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from certwright.adcs.acl import sid_to_bytes
from certwright.adcs.errors import AccessDenied, InvalidArgument, NotSupported
from certwright.adcs.events import AuditEvent
from certwright.adcs.requester import AuthMethod, Requester, Sid
from certwright.adcs.template import ENROLL_RIGHT, NameRule, NameRules
from certwright.adcs.template_settings import apply_settings
from certwright.directory.active_directory.administration import JoinedAdministration
from certwright.directory.active_directory.composite import JoinedDirectory
from certwright.directory.active_directory.directory import ActiveDirectory
from certwright.directory.active_directory.ldap import LdapError, LdapPool, ResultCode
from certwright.directory.active_directory.locating import DomainController
from certwright.directory.active_directory.settings import DomainSettings
from certwright.directory.active_directory.template_writing import OIDS
from certwright.directory.template_administration import RiskyTemplate
from certwright.directory.well_known import Rid
from certwright.pki import oids
from tests.support.embedded_directory import NOW, Installed
from tests.support.fake_ldap import FakeConnection, FakeTree

SID = Sid("S-1-5-21-7-8-9")
BASE = "CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"
TEMPLATES = f"CN=Certificate Templates,{BASE}"
SERVICE = f"CN=Corp CA,CN=Enrollment Services,{BASE}"
ACTOR = r".\Administrator"
USERS = Rid.DOMAIN_USERS.in_domain(SID)


@pytest.fixture
def tree() -> FakeTree:
    """A forest with its containers, and one CA in it."""
    tree = FakeTree()
    tree.put("DC=corp,DC=example", {"objectSid": [sid_to_bytes(SID)]})
    tree.put(
        "CN=CORP,CN=Partitions,CN=Configuration,DC=corp,DC=example",
        {
            "objectClass": ["top", "crossRef"],
            "nCName": ["DC=corp,DC=example"],
            "nETBIOSName": ["CORP"],
            "dnsRoot": ["corp.example"],
        },
    )
    for name in ("CN=Certificate Templates", "CN=Enrollment Services"):
        tree.put(f"{name},{BASE}", {"objectClass": ["top", "container"], "cn": [name[3:]]})
    tree.put(f"{OIDS},{BASE}", {"objectClass": ["top", "msPKI-Enterprise-Oid"], "cn": ["OID"]})
    tree.put(
        SERVICE,
        {
            "objectClass": ["top", "pKIEnrollmentService"],
            "cn": ["Corp CA"],
            "dNSHostName": ["ca.corp.example"],
            "cACertificate": [b"\x30\x00"],
            "certificateTemplates": ["User"],
        },
    )
    return tree


@pytest.fixture
def administration(corp: Installed, tree: FakeTree) -> Iterator[JoinedAdministration]:
    settings = DomainSettings(
        "CORP.EXAMPLE", "corp.example", "svc-pki", netbios_name="CORP", domain_sid=SID, cache_seconds=0.0
    )
    controller = DomainController("dc1.corp.example")
    pool = LdapPool(settings, connect=lambda at, _: FakeConnection(tree, at), locate=lambda _: [controller])
    directory = ActiveDirectory(pool, settings)
    yield JoinedAdministration(
        corp.database, corp.sealer, corp._record, lambda: NOW, JoinedDirectory(directory, corp.directory)
    )
    directory.close()


def test_defaults_are_written_with_the_objects_of_their_oids(
    administration: JoinedAdministration, tree: FakeTree, corp: Installed
) -> None:
    made = administration.install_default_templates(actor=ACTOR)
    assert len(made) == 33
    stored = {dn for dn in tree.entries if dn.endswith(f",{TEMPLATES}")}
    assert len(stored) == 33
    oids = [entry for dn, entry in tree.entries.items() if dn.endswith(f",{OIDS},{BASE}")]
    assert {entry.text("msPKI-Cert-Template-OID") for entry in oids} == {template.oid for template in made}
    arcs = tree.entries[f"{OIDS},{BASE}"].text("msPKI-Cert-Template-OID")
    assert all(template.oid.startswith(f"{arcs}.") for template in made)
    added = [event for event in corp.events if event.event is AuditEvent.TEMPLATE_LOADED]
    assert len(added) == 33
    assert added[0].details["written_as"] == r"CORP\svc-pki"
    assert administration.install_default_templates(actor=ACTOR) == ()


def test_owner_is_left_to_the_controller(administration: JoinedAdministration, tree: FakeTree) -> None:
    """For members of Enterprise Admins it is that group; naming it takes a privilege others do not have."""
    administration.create_template("Vpn", actor=ACTOR)
    descriptor = tree.entries[f"CN=Vpn,{TEMPLATES}"].value("nTSecurityDescriptor")
    assert descriptor is not None
    assert descriptor[4:12] == bytes(8)  # offsets of owner and group. [MS-DTYP] 2.4.6


def test_change_sends_what_differs_only(administration: JoinedAdministration, tree: FakeTree) -> None:
    """What we do not understand survives."""
    administration.create_template("Vpn", actor=ACTOR)
    dn = f"CN=Vpn,{TEMPLATES}"
    tree.put(dn, {**tree.entries[dn].attributes, "adminDescription": ["kept"], "x-octets": [b"\xff\x00"]})
    administration.change_template("Vpn", lambda it: replace(it, minimal_key_size=4096), actor=ACTOR)
    entry = tree.entries[dn]
    assert entry.text("msPKI-Minimal-Key-Size") == "4096"
    assert entry.text("msPKI-Template-Minor-Revision") == "1"
    assert entry.text("adminDescription") == "kept"
    assert entry.value("x-octets") == b"\xff\x00"


def test_change_of_somebody_else_meanwhile_is_not_overwritten(
    administration: JoinedAdministration, tree: FakeTree, corp: Installed
) -> None:
    administration.create_template("Vpn", actor=ACTOR)
    dn = f"CN=Vpn,{TEMPLATES}"
    events = len(corp.events)

    def change(it: object) -> object:
        tree.put(dn, {**tree.entries[dn].attributes, "msPKI-Minimal-Key-Size": ["3072"]})
        return replace(it, minimal_key_size=4096)  # type: ignore[type-var]

    with pytest.raises(InvalidArgument, match="changed in Active Directory meanwhile"):
        administration.change_template("Vpn", change, actor=ACTOR)  # type: ignore[arg-type]
    assert tree.entries[dn].text("msPKI-Minimal-Key-Size") == "3072"
    begun, refused = corp.events[events:]
    assert (begun.event, refused.event) == (AuditEvent.DOMAIN_WRITE_BEGUN, AuditEvent.DOMAIN_WRITE_REFUSED)
    assert "meanwhile" in str(refused.details["reason"])


def test_risk_is_refused_and_an_accepted_one_is_remembered_here(
    administration: JoinedAdministration, tree: FakeTree, corp: Installed
) -> None:
    administration.install_default_templates(actor=ACTOR)
    before = dict(tree.entries)
    with pytest.raises(RiskyTemplate, match="ESC17"):
        administration.grant("WebServer", USERS, enroll=True, actor=ACTOR)
    assert tree.entries == before
    administration.grant("WebServer", USERS, enroll=True, accept_risks=["ESC17"], actor=ACTOR)
    assert administration.accepted_risks("WebServer") == {"ESC17"}
    assert corp.events[-1].details["accepted_risks"] == "ESC17"
    assert ENROLL_RIGHT in administration.template("WebServer").security_descriptor


def test_accepted_risk_is_not_that_of_a_later_template_of_the_same_name(
    administration: JoinedAdministration,
) -> None:
    administration.install_default_templates(actor=ACTOR)
    administration.duplicate_template("WebServer", "Any", "Any", actor=ACTOR)
    administration.grant("Any", USERS, enroll=True, accept_risks=["ESC17"], actor=ACTOR)
    administration.delete_template("Any", actor=ACTOR)
    administration.duplicate_template("WebServer", "Any", "Any", actor=ACTOR)
    assert administration.accepted_risks("Any") == frozenset()


def test_published_templates_are_added_and_taken_away_one_by_one(
    administration: JoinedAdministration, tree: FakeTree
) -> None:
    administration.install_default_templates(actor=ACTOR)
    administration.publish("Corp CA", "Workstation", actor=ACTOR)
    assert tree.entries[SERVICE].texts("certificateTemplates") == ("User", "Workstation")
    administration.unpublish("Corp CA", "User", actor=ACTOR)
    assert tree.entries[SERVICE].texts("certificateTemplates") == ("Workstation",)
    with pytest.raises(InvalidArgument, match="There is no CA called"):
        administration.publish("Nowhere", "User", actor=ACTOR)


def test_deleted_template_takes_its_oid_along(administration: JoinedAdministration, tree: FakeTree) -> None:
    oid = administration.create_template("Vpn", actor=ACTOR).oid
    administration.delete_template("Vpn", actor=ACTOR)
    assert f"CN=Vpn,{TEMPLATES}" not in tree.entries
    assert oid not in [entry.text("msPKI-Cert-Template-OID") for entry in tree.entries.values()]


RULES = NameRules((NameRule(dns_suffixes=("corp.example",)),))


def test_name_rules_are_kept_here_and_go_with_the_domains_template(
    administration: JoinedAdministration, tree: FakeTree, corp: Installed
) -> None:
    """Active Directory has no attribute for them: its object stays untouched, and so does its version."""
    administration.create_template("Vpn", actor=ACTOR)
    made = administration.template("Vpn")
    before = dict(tree.entries[f"CN=Vpn,{TEMPLATES}"].attributes)
    setting = {"name-rules.dns-suffixes": "corp.example"}
    ruled = administration.change_template("Vpn", lambda each: apply_settings(each, setting), actor=ACTOR)
    assert ruled == replace(made, name_rules=RULES)
    assert tree.entries[f"CN=Vpn,{TEMPLATES}"].attributes == before
    assert administration.template("Vpn").name_rules == RULES
    assert administration.joined.templates()["Vpn"] is administration.joined.templates()["Vpn"]
    assert [event.event for event in corp.events[-2:]] == [AuditEvent.TEMPLATE_LOADED, AuditEvent.TEMPLATE_UPDATED]


def test_name_rules_survive_an_edit_of_the_template_and_end_with_it(
    administration: JoinedAdministration, tree: FakeTree
) -> None:
    """They belong to the OID: a template of the same name that somebody makes later has none."""
    administration.create_template("Vpn", actor=ACTOR)
    administration.change_template("Vpn", lambda each: replace(each, name_rules=RULES), actor=ACTOR)
    administration.change_template("Vpn", lambda each: replace(each, display_name="Remote"), actor=ACTOR)
    assert administration.template("Vpn").name_rules == RULES
    entry = tree.entries[f"CN=Vpn,{TEMPLATES}"]
    tree.put(
        f"CN=Vpn,{TEMPLATES}",
        {name: list(values) for name, values in entry.attributes.items()}
        | {"msPKI-Cert-Template-OID": ["1.3.6.1.4.1.311.21.8.9.9.9"]},
    )
    administration.joined.active_directory.forget_services()
    assert administration.template("Vpn").name_rules == NameRules()


def test_name_rules_say_nothing_where_another_ca_publishes_the_template(
    administration: JoinedAdministration, tree: FakeTree
) -> None:
    """A CA of AD CS does not know them: enrollees could name anybody there."""
    administration.install_default_templates(actor=ACTOR)
    stock = administration.template("WebServer")
    granted = f"{stock.security_descriptor}(OA;;CR;{ENROLL_RIGHT};;{USERS})"
    ruled = replace(stock, name_rules=RULES, security_descriptor=granted)
    assert "ESC17" not in [risk.id for risk in administration.risks(ruled)]
    service = {name: list(values) for name, values in tree.entries[SERVICE].attributes.items()}
    tree.put(SERVICE, service | {"certificateTemplates": ["User", "WebServer"]})
    administration.joined.active_directory.forget_services()
    assert "ESC17" in [risk.id for risk in administration.risks(ruled)]


POLICY = "1.3.6.1.4.1.311.21.8.77.400"


def test_an_issuance_policy_gets_an_object_that_names_it(
    administration: JoinedAdministration, tree: FakeTree
) -> None:
    """Without it Certificate Templates shows no policy. One that is there stays. [MS-CRTD] 2.20."""
    administration.create_template("Vpn", actor=ACTOR)
    for policies in ((POLICY, oids.POLICY_ANY), (), (POLICY,)):
        administration.change_template(
            "Vpn", lambda each, policies=policies: replace(each, issuance_policies=policies), actor=ACTOR
        )
    found = [
        entry
        for entry in tree.entries.values()
        if entry.text("msPKI-Cert-Template-OID") in (POLICY, oids.POLICY_ANY) and "flags" in entry.attributes
    ]
    assert [(entry.text("flags"), entry.text("displayName")) for entry in found] == [("2", POLICY)]


def test_an_issuance_policy_that_stands_for_a_group_is_refused_at_the_gate(
    administration: JoinedAdministration, tree: FakeTree
) -> None:
    """ESC13: msDS-OIDToGroupLink of the policy's object."""
    group = "CN=High Assurance,CN=Users,DC=corp,DC=example"
    tree.put(
        f"CN=400.77,{OIDS},{BASE}",
        {
            "objectClass": ["top", "msPKI-Enterprise-Oid"],
            "flags": ["2"],
            "msPKI-Cert-Template-OID": [POLICY],
            "msDS-OIDToGroupLink": [group],
        },
    )
    administration.create_template("Vpn", actor=ACTOR)
    administration.grant("Vpn", USERS, enroll=True, actor=ACTOR)
    with pytest.raises(RiskyTemplate, match="ESC13"):
        administration.change_template("Vpn", lambda each: replace(each, issuance_policies=(POLICY,)), actor=ACTOR)


def test_the_audit_trail_knows_before_the_domain_does(
    administration: JoinedAdministration, corp: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is done without a record: the intent first, then what became of it."""
    seen: list[AuditEvent] = []
    add = FakeConnection.add

    def look(self: FakeConnection, dn: str, attributes: object) -> None:
        seen.extend(event.event for event in corp.events[-1:])
        add(self, dn, attributes)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeConnection, "add", look)
    administration.create_template("Vpn", actor=ACTOR)
    assert set(seen) == {AuditEvent.DOMAIN_WRITE_BEGUN}
    begun, done = corp.events[-2:]
    assert begun.details["event 1"] == "4898 Vpn: template added"
    assert (begun.actor, begun.details["written_as"]) == (ACTOR, r"CORP\svc-pki")
    assert done.event is AuditEvent.TEMPLATE_LOADED


def test_refusal_of_the_controller_names_the_right(
    administration: JoinedAdministration, tree: FakeTree, corp: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: FakeConnection, dn: str, attributes: object) -> None:
        raise LdapError("Adding failed: Insufficient access", ResultCode.INSUFFICIENT_ACCESS_RIGHTS)

    tree.put(
        f"{OIDS},{BASE}",
        {
            **tree.entries[f"{OIDS},{BASE}"].attributes,
            "msPKI-Cert-Template-OID": ["1.3.6.1.4.1.311.21.8.1.2.3.4.5.6"],
        },
    )
    monkeypatch.setattr(FakeConnection, "add", refuse)
    with pytest.raises(AccessDenied, match=r'dsacls "CN=Public Key Services.*CORP\\svc-pki:'):
        administration.create_template("Vpn", actor=ACTOR)
    assert [event.event for event in corp.events] == [
        AuditEvent.DOMAIN_WRITE_BEGUN,
        AuditEvent.DOMAIN_WRITE_REFUSED,
    ]


def test_only_administrators_of_either_directory_change_templates(
    administration: JoinedAdministration, corp: Installed
) -> None:
    ours = Rid.ADMINISTRATOR.in_domain(corp.directory.domain.sid)
    requester = Requester(ACTOR, ours, frozenset(), AuthMethod.LOCAL)
    assert administration.require_template_administrator(requester) == ACTOR
    stranger = Requester(r"CORP\alice", Sid(f"{SID}-1103"), frozenset(), AuthMethod.KERBEROS)
    with pytest.raises(AccessDenied, match="may not change certificate templates"):
        administration.require_template_administrator(stranger)


def test_enrollment_service_is_made_by_publication_alone(administration: JoinedAdministration) -> None:
    with pytest.raises(NotSupported, match="domain publish"):
        administration.set_enrollment_service("Corp CA", "ca.corp.example", b"", actor=ACTOR)
