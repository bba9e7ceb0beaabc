"""A CA in the forest: planned, written, written again, taken back. [MS-WCCE] 2.2.2.11, [MS-CSRA] 3.1.4.1.6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from certwright.adcs.enrollment_servers import ClientAuthentication, EnrollmentServer
from certwright.adcs.errors import InvalidArgument
from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.directory.active_directory.ldap import Modification, Operation
from certwright.directory.active_directory.locating import DomainController
from certwright.directory.active_directory.publication import (
    Action,
    CaPublication,
    apply,
    desired_objects,
    distribution_point_dn,
    missing_rights,
    parent_dn,
    plan_publication,
    plan_removal,
)
from certwright.pki.certificate_pair import CertificatePair
from tests.support.certificates import ca_certificate, make_certificate
from tests.support.fake_ldap import FakeConnection, FakeTree
from tests.support.requests import ec_key

SID = Sid("S-1-5-21-7-8-9")
WRITER = Sid(f"{SID}-1109")
BASE = "CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"
NTAUTH = f"CN=NTAuthCertificates,{BASE}"
SERVICE = f"CN=Test CA,CN=Enrollment Services,{BASE}"
CRL = b"\x30\x03\x02\x01\x05"
CA = CaPublication(
    name="Test CA",
    host="ca.corp.example",
    is_root=False,
    is_enterprise=True,
    certificates=(ca_certificate(),),
    crls={"": CRL, "(1)": CRL + b"\0"},
    templates=("User",),
    enrollment_servers=(EnrollmentServer(1, ClientAuthentication.KERBEROS, "https://ca.corp.example/CES"),),
    site="Izmir",
    writer=WRITER,
)


@pytest.fixture
def connection() -> FakeConnection:
    return FakeConnection(FakeTree(), DomainController("dc1.corp.example"))


def publish(connection: FakeConnection, ca: CaPublication = CA) -> Sequence[str]:
    changes = plan_publication(connection, desired_objects(ca, BASE, SID))
    for change in changes:
        apply(connection, change)
    return [change.dn for change in changes]


def test_everything_is_written_the_enrollment_service_last(connection: FakeConnection) -> None:
    written = publish(connection)
    assert written[-1] == SERVICE
    service = connection.tree.entries[SERVICE]
    assert service.text("cACertificateDN") == "CN=Test CA,O=Corp,C=DE"
    assert service.text("msPKI-Site-Name") == "Izmir"
    assert service.text("msPKI-Enrollment-Servers").splitlines()[1:3] == ["2", "0"]
    assert service.texts("certificateTemplates") == ("User",)
    assert connection.tree.entries[NTAUTH].values("cACertificate") == CA.certificates
    second = distribution_point_dn("Test CA", "ca.corp.example", "(1)", BASE)
    assert second == f"CN=Test CA(1),CN=CA,CN=CDP,{BASE}"
    assert connection.tree.entries[second].value("certificateRevocationList") == CRL + b"\0"


def test_partitions_and_deltas_have_objects_of_their_own(connection: FakeConnection) -> None:
    """`CN=<CA>_Partition00001`, as Windows' variables make it; the delta lies beside its base."""
    ca = replace(CA, crls={"": CRL, "(1)_Partition00002": CRL + b"\0"}, deltas={"(1)_Partition00002": CRL + b"\1"})
    publish(connection, ca)

    point = connection.tree.entries[f"CN=Test CA(1)_Partition00002,CN=CA,CN=CDP,{BASE}"]
    assert point.value("certificateRevocationList") == CRL + b"\0"
    assert point.value("deltaRevocationList") == CRL + b"\1"
    assert connection.tree.entries[f"CN=Test CA,CN=CA,CN=CDP,{BASE}"].value("deltaRevocationList") is None
    assert publish(connection, ca) == []


def test_cross_certificates_are_pairs_beside_the_ca_s_own(connection: FakeConnection) -> None:
    """RFC 4523 2.8; those of another installation stay."""
    aia = f"CN=Root,CN=AIA,{BASE}"
    issued_to, issued_by = (make_certificate("CN=Root", ec_key("P-256", number)) for number in (103, 104))
    ca = replace(CA, name="Root", is_root=True, is_enterprise=False, crosses=(CertificatePair(issued_to, issued_by),))
    publish(connection, ca)

    (value,) = connection.tree.entries[aia].values("crossCertificatePair")
    assert CertificatePair.parse(value) == (issued_to, issued_by)
    assert publish(connection, ca) == []

    other = CertificatePair(issued_by).encode()
    connection.modify(aia, [Modification(Operation.ADD, "crossCertificatePair", (other,))])
    for change in plan_removal(connection, desired_objects(ca, BASE, SID)):
        apply(connection, change)
    assert connection.tree.entries[aia].values("crossCertificatePair") == (other,)


def test_again_changes_nothing(connection: FakeConnection) -> None:
    publish(connection)
    assert publish(connection) == []


def test_published_templates_are_the_directorys_afterwards(connection: FakeConnection) -> None:
    publish(connection)
    publish(connection, replace(CA, templates=("Machine",), site="Ankara"))
    service = connection.tree.entries[SERVICE]
    assert service.texts("certificateTemplates") == ("User",)
    assert service.text("msPKI-Site-Name") == "Ankara"


def test_root_is_trusted_and_issues_to_nobody(connection: FakeConnection) -> None:
    written = publish(connection, replace(CA, name="Root", is_root=True, is_enterprise=False))
    assert f"CN=Root,CN=Certification Authorities,{BASE}" in written
    assert NTAUTH not in written
    assert not any("Enrollment Services" in dn for dn in written)


def test_permissions_are_those_that_keeping_it_takes(connection: FakeConnection) -> None:
    """Members enroll, the service account writes what changes, and never NTAuthCertificates or KRA."""
    publish(connection)

    def granted(dn: str) -> str:
        octets = connection.tree.entries[dn].value("nTSecurityDescriptor")
        return SecurityDescriptor.from_bytes(octets).to_sddl() if octets else ""

    assert f"(A;;WP;;;{WRITER})" in granted(SERVICE)
    assert "0e10c968-78fb-11d2-90d4-00c04f79dc55;;AU)" in granted(SERVICE)
    point = granted(distribution_point_dn("Test CA", "ca.corp.example", "", BASE))
    assert f"(OA;;WP;1677579f-47f3-11d1-a9c3-0000f80367c1;;{WRITER})" in point
    assert f"(OA;;WP;167757b5-47f3-11d1-a9c3-0000f80367c1;;{WRITER})" in point, "the delta"
    aia = granted(f"CN=Test CA,CN=AIA,{BASE}")
    assert f"(OA;;WP;167757b2-47f3-11d1-a9c3-0000f80367c1;;{WRITER})" in aia, "cross certificates"
    assert granted(NTAUTH) == granted(f"CN=Test CA,CN=KRA,{BASE}") == ""


def test_stores_that_cas_share_keep_the_others_values(connection: FakeConnection) -> None:
    other = make_certificate("CN=Other CA", ec_key("P-256", 101))
    connection.tree.put(NTAUTH, {"objectClass": ["certificationAuthority"], "cACertificate": [other]})
    publish(connection)
    assert set(connection.tree.entries[NTAUTH].values("cACertificate")) == {other, ca_certificate()}
    for change in plan_removal(connection, desired_objects(CA, BASE, SID)):
        apply(connection, change)
    assert {dn: entry.values("cACertificate") for dn, entry in connection.tree.entries.items()} == {NTAUTH: (other,)}


def test_objects_of_keys_and_partitions_that_ended_go_too(connection: FakeConnection) -> None:
    """Nobody plans them any more, and they would keep the host's container."""
    publish(connection, replace(CA, crls={"": CRL, "(1)": CRL, "_Partition00001": CRL}))
    neighbour = f"CN=Test CAs,CN=CA,CN=CDP,{BASE}"
    for change in plan_removal(connection, desired_objects(CA, BASE, SID), [CA.name]):
        apply(connection, change)
    assert not [dn for dn in connection.tree.entries if ",CN=CDP," in dn]

    publish(connection)
    connection.tree.put(neighbour, {"objectClass": ["cRLDistributionPoint"], "cn": ["Test CAs"]})
    for change in plan_removal(connection, desired_objects(CA, BASE, SID), [CA.name]):
        apply(connection, change)
    assert neighbour in connection.tree.entries


def test_container_of_a_host_with_another_ca_stays(connection: FakeConnection) -> None:
    publish(connection)
    neighbour = distribution_point_dn("Neighbour", "ca.corp.example", "", BASE)
    connection.tree.put(neighbour, {"objectClass": ["cRLDistributionPoint"], "cn": ["Neighbour"]})
    removed = [change.dn for change in plan_removal(connection, desired_objects(CA, BASE, SID))]
    assert f"CN=CA,CN=CDP,{BASE}" not in removed
    assert removed[0] == SERVICE


def test_ca_of_the_same_name_elsewhere_is_not_touched(connection: FakeConnection) -> None:
    theirs = make_certificate("CN=Test CA", ec_key("P-256", 102))
    connection.tree.put(
        SERVICE,
        {"objectClass": ["pKIEnrollmentService"], "dNSHostName": ["old.corp.example"], "cACertificate": [theirs]},
    )
    with pytest.raises(InvalidArgument, match=r"belongs to another CA, on old\.corp"):
        publish(connection)


def test_same_ca_on_a_new_host_moves(connection: FakeConnection) -> None:
    publish(connection)
    publish(connection, replace(CA, host="pki.corp.example"))
    assert connection.tree.entries[SERVICE].text("dNSHostName") == "pki.corp.example"


def test_plan_is_told_value_by_value(connection: FakeConnection) -> None:
    publish(connection)
    (change,) = plan_publication(connection, desired_objects(replace(CA, site="Ankara"), BASE, SID))
    assert change.action is Action.CHANGE
    assert change.sentences() == [
        f"change {SERVICE}",
        "  - msPKI-Site-Name: Izmir",
        "  + msPKI-Site-Name: Ankara",
    ]


def test_missing_rights_are_known_before_anything_is_written(connection: FakeConnection) -> None:
    """[MS-ADTS] 3.1.1.4.5.5, 3.1.1.4.5.7: what the controller would allow."""
    for name, allowed in (("CN=CDP", ["container"]), ("CN=AIA", []), ("CN=KRA", ["msPKI-PrivateKeyRecoveryAgent"])):
        connection.tree.put(f"{name},{BASE}", {"allowedChildClassesEffective": allowed})
    changes = plan_publication(connection, desired_objects(CA, BASE, SID))
    lacking = {(each.dn.partition(",")[0], each.grant) for each in missing_rights(connection, changes)}
    assert ("CN=AIA", "CC;certificationAuthority") in lacking
    assert not any(dn in ("CN=CDP", "CN=KRA", "CN=CA") for dn, _ in lacking)


def test_name_above_an_escaped_comma() -> None:
    assert parent_dn(r"CN=A\, B,CN=C,DC=d") == "CN=C,DC=d"
