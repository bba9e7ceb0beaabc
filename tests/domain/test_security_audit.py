"""The security audit over LDAP, in a real domain, with the rights of an ordinary account."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate, EnrollmentFlag, NameFlag
from certwright.directory.active_directory.directory import ActiveDirectory
from certwright.directory.active_directory.ldap import LdapConnection, Modification, Operation, Scope
from certwright.directory.default_templates import new_template, new_template_oid
from certwright.directory.security_audit.audit import Standing, audit_security
from certwright.directory.security_audit.catalogue import ESCALATIONS
from certwright.directory.security_audit.over_ldap import LdapMembership, security_facts
from certwright.pki import oids
from certwright.server.security_audit import domain_security
from tests.support.fake_directory import enroll_sddl
from tests.support.joined import (
    READER,
    JoinedServer,
    add_template,
    administrator_of,
    directory_of,
    publish_ca,
    service_dn,
    services_dn,
    settings_of,
    template_dn,
)
from tests.support.lab import Lab

ESS: Final = NameFlag.ENROLLEE_SUPPLIES_SUBJECT
CA: Final = "Audited CA"
POLICY: Final = "1.3.6.1.4.1.311.21.8.77.400"
WEAK: Final = "X509:<I>DC=example,CN=Other CA<S>CN=carol"
SERVER, LOGON = oids.EKU_SERVER_AUTH, oids.EKU_CLIENT_AUTH

TEMPLATES: Final[dict[str, dict[str, Any]]] = {
    "ESC1": {"name_flag": ESS},
    "ESC2": {"extended_key_usage": (oids.EKU_ANY,), "application_policies": (oids.EKU_ANY,)},
    "ESC3": {
        "extended_key_usage": (oids.EKU_ENROLLMENT_AGENT,),
        "application_policies": (oids.EKU_ENROLLMENT_AGENT,),
    },
    "ESC4": {"security_descriptor": "O:DAG:DAD:(A;;RPLCRCWP;;;AU)"},
    "ESC9": {"enrollment_flag": EnrollmentFlag.NO_SECURITY_EXTENSION},
    "ESC13": {"issuance_policies": (POLICY,)},
    "ESC15": {
        "schema_version": 1,
        "name_flag": ESS,
        "extended_key_usage": (oids.EKU_EMAIL_PROTECTION,),
        "application_policies": (oids.EKU_EMAIL_PROTECTION,),
    },
    "ESC17": {"name_flag": ESS, "extended_key_usage": (SERVER,), "application_policies": (SERVER,)},
    "Sound": {},
}
"""What is wrong with each: templates for client authentication that Domain Users enroll for."""


@pytest.fixture(scope="module")
def directory(ad: Lab) -> Iterator[ActiveDirectory]:
    with directory_of(ad) as opened:
        yield opened


@pytest.fixture(scope="module")
def seeded(ad: Lab, directory: ActiveDirectory) -> Iterator[dict[str, str]]:
    """Every misconfiguration that LDAP shows, by the object it is at. Gone with the module."""
    domain_sid = directory.domain.sid
    expected: dict[str, str] = {}
    made: list[str] = []
    root = f"CN=Audited Root,CN=Certification Authorities,{services_dn(ad)}"
    policy = f"CN=400.77,CN=OID,{services_dn(ad)}"
    with administrator_of(ad) as connection:
        carol = next(connection.search(ad.base_dn, Scope.SUBTREE, "(sAMAccountName=carol)", ["cn"])).dn
    publish_ca(ad, CA, f"nowhere.{ad.dns_domain}", b"\x30\x00", [f"Audit{name}" for name in TEMPLATES])
    made.append(service_dn(ad, CA))
    try:
        with administrator_of(ad) as connection:
            for name, changes in TEMPLATES.items():
                add_template(connection, ad, _template(f"Audit{name}", domain_sid, changes), domain_sid)
                made.append(template_dn(ad, f"Audit{name}"))
                expected |= {made[-1]: name} if name in ESCALATIONS else {}
            group = f"CN=High Assurance,CN=Users,{ad.base_dn}"
            connection.add(group, {"objectClass": (b"group",), "groupType": (b"-2147483640",)})
            made.append(group)
            connection.add(
                policy,
                {
                    "objectClass": (b"top", b"msPKI-Enterprise-Oid"),
                    "msPKI-Cert-Template-OID": (POLICY.encode(),),
                    "msDS-OIDToGroupLink": (group.encode(),),
                    "flags": (b"2",),
                },
            )
            made.append(policy)
            connection.add(
                root,
                {
                    "objectClass": (b"top", b"certificationAuthority"),
                    "cACertificate": (b"\x30\x00",),
                    "authorityRevocationList": (b"\x00",),
                    "certificateRevocationList": (b"\x00",),
                    "nTSecurityDescriptor": (
                        _octets("O:DAG:DAD:(A;;GA;;;DA)(A;;RPLCRC;;;AU)(A;;WP;;;DU)", domain_sid),
                    ),
                },
            )
            made.append(root)
            expected[root] = "ESC5"
            mapping = Modification(Operation.REPLACE, "altSecurityIdentities", (WEAK.encode(),))
            connection.modify(carol, [mapping])
            expected[carol] = "ESC14"
        yield expected
    finally:
        with administrator_of(ad) as connection:
            connection.modify(carol, [Modification(Operation.REPLACE, "altSecurityIdentities", ())])
            for dn in reversed(made):
                connection.delete(dn)


def _template(cn: str, domain_sid: Sid, changes: dict[str, Any]) -> CertificateTemplate:
    sound = replace(
        new_template(cn, cn, domain_sid),
        oid=new_template_oid("1.2.3.4.5.6"),
        security_descriptor=f"O:DAG:DA{enroll_sddl('DU')}(A;;RPLCRC;;;AU)",
    )
    return replace(sound, **changes)


def _octets(sddl: str, domain_sid: Sid) -> bytes:
    return SecurityDescriptor.from_sddl(sddl, domain_sid).to_bytes()


def test_a_domain_as_it_was_made_has_nothing_open_around_its_cas(ad: Lab, directory: ActiveDirectory) -> None:
    """Containers, accounts and administrators as Samba's provisioning leaves them."""
    with administrator_of(ad) as connection:
        facts = security_facts(connection, directory.domain)
        findings = audit_security(replace(facts, templates=(), mappings=()))
    assert facts.objects
    assert facts.protected
    assert [(finding.number, finding.object, finding.aces) for finding in findings] == []


def test_everything_that_ldap_shows_gets_its_number(
    ad: Lab, directory: ActiveDirectory, seeded: dict[str, str]
) -> None:
    report = domain_security(settings_of(ad))
    found = {finding.object: finding for finding in report.findings if finding.object in seeded}

    assert {dn: finding.number for dn, finding in found.items()} == seeded
    assert template_dn(ad, "AuditSound") not in {finding.object for finding in report.findings}
    assert rf"{ad.netbios}\Domain Users: Enroll" in found[template_dn(ad, "AuditESC1")].aces
    assert f"published by {CA}" in found[template_dn(ad, "AuditESC1")].why
    assert "High Assurance" in found[template_dn(ad, "AuditESC13")].sentence
    hidden = {line.number for line in report.coverage if line.standing is Standing.NOT_VISIBLE}
    assert hidden == {f"ESC{number}" for number in (6, 7, 8, 10, 11, 12, 16)}


def test_members_are_those_the_domain_counts(ad: Lab, directory: ActiveDirectory) -> None:
    """Staff lie in All Staff; members by primary group count too."""
    domain = directory.domain

    def look(connection: LdapConnection) -> tuple[frozenset[Sid] | None, frozenset[Sid] | None, frozenset[Sid]]:
        membership = LdapMembership(connection, domain)
        everybody, users = (directory.principal(name) for name in ("All Staff", "Domain Users"))
        assert everybody is not None
        assert users is not None
        alice = directory.principal("alice")
        assert alice is not None
        return membership.members(everybody.sid), membership.members(users.sid), membership.groups_of(alice.sid)

    staff, users, groups = directory.pool.run(look)
    alice, outer = directory.principal("alice"), directory.principal("All Staff")
    assert alice is not None
    assert outer is not None
    assert staff == {alice.sid}
    assert users is not None
    assert alice.sid in users
    assert {outer.sid, Sid(f"{domain.sid}-513")} <= groups


def test_the_command_reads_a_domain_that_it_does_not_belong_to(ad: Lab, seeded: dict[str, str]) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "certwright", "audit", "security", "--domain", ad.dns_domain),
            *("--server", ad.controller, "--user", READER, "--keytab", ad.keytab(READER), "--ca-file", ad.tls_ca),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=dict(ad.environment),
    )
    assert done.returncode == 1, done.stderr
    assert f"ESC1 (high) {template_dn(ad, 'AuditESC1')}: {ESCALATIONS['ESC1'].title}" in done.stdout
    assert "ESC6 not visible over LDAP: " in done.stderr
    assert "ESC1 not visible" not in done.stderr
    assert "not visible" not in done.stdout


def test_the_own_service_account_is_expected_and_told_so(ad: Lab, directory: ActiveDirectory, tmp_path: Path) -> None:
    """What publication gave it is no escalation to the installation whose account it is; to anybody else it is."""
    dn = f"CN=Watched Root,CN=AIA,{services_dn(ad)}"
    account = directory.principal(READER)
    assert account is not None
    with administrator_of(ad) as connection:
        connection.add(
            dn,
            {
                "objectClass": (b"top", b"certificationAuthority"),
                "cACertificate": (b"\x30\x00",),
                "authorityRevocationList": (b"\x00",),
                "certificateRevocationList": (b"\x00",),
                "nTSecurityDescriptor": (
                    _octets(f"O:DAG:DAD:(A;;GA;;;DA)(A;;RPLCRC;;;AU)(A;;WP;;;{account.sid})", directory.domain.sid),
                ),
            },
        )
    try:
        stranger = {each.object: each for each in domain_security(settings_of(ad)).findings}[dn]
        ours = {each.object: each for each in domain_security(settings_of(ad), (), READER).findings}[dn]
        server = JoinedServer.prepare(tmp_path, ad)
        done = server.run(
            *("audit", "security", "--domain", ad.dns_domain, "--json", "--server", ad.controller),
            *("--user", READER, "--keytab", str(ad.keytab(READER)), "--ca-file", str(ad.tls_ca)),
        )
    finally:
        with administrator_of(ad) as connection:
            connection.delete(dn)
    assert (stranger.number, stranger.accepted, stranger.needs_acceptance) == ("ESC5", False, True)
    assert (ours.number, ours.accepted, ours.needs_acceptance) == ("ESC5", True, False)
    assert "it is the service account of this installation" in ours.why[0]
    (told,) = [each for each in json.loads(done.stdout)["findings"] if each["object"] == dn]
    assert told["accepted"]


def test_an_installation_of_the_domain_audits_itself_and_the_forest(
    ad: Lab, seeded: dict[str, str], tmp_path: Path
) -> None:
    """Our own CA says what no directory shows; the other one stays partly invisible."""
    server = JoinedServer.prepare(tmp_path, ad)
    done = server.run("audit", "security", "--json")
    report = json.loads(done.stdout)

    assert done.returncode == 1, done.stderr
    assert seeded.items() <= {each["object"]: each["number"] for each in report["findings"]}.items()
    lines = {each["number"]: each for each in report["coverage"]}
    assert lines["ESC6"]["standing"] == Standing.NOT_VISIBLE.value
    assert lines["ESC6"]["reason"].startswith(f"{CA}: ")  # and nothing about our own
    assert lines["ESC10"]["standing"] == Standing.NOT_VISIBLE.value
