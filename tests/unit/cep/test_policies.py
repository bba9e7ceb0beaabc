"""Templates as enrollment policies, attribute by attribute. [MS-XCEP] 3.1.4.1.3, [MS-CRTD] 2."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from certwright.adcs.template import EnrollmentFlag, GeneralFlag, NameFlag, PrivateKeyFlag
from certwright.cep.policies import SMALLEST_KEY, may_renew_by_key, policy_of
from certwright.directory.default_templates import default_templates, new_forest_arcs
from certwright.pki import oids
from certwright.wire.xcep import Oid, OidGroup, Policy
from tests.support.fake_directory import DOMAIN_SID, make_template

CNG = (
    "msPKI-Asymmetric-Algorithm`PZPWSTR`ECDSA_P256`msPKI-Hash-Algorithm`PZPWSTR`SHA256`"
    "msPKI-Key-Usage`DWORD`2`msPKI-Key-Security-Descriptor`PZPWSTR`D:P(A;;GA;;;SY)`"
)


def policy(**changes: Any) -> Policy:
    return policy_of(make_template(**changes), enroll=True, auto_enroll=False, cas=(0,))


def extensions(found: Policy) -> dict[str, tuple[bool, str]]:
    return {each.oid.value: (each.critical, each.value.hex()) for each in found.extensions}


def test_the_template_itself() -> None:
    found = policy(display_name="Web Server", oid="1.3.6.1.4.1.311.21.8.7", validity_period=timedelta(days=2))

    assert found.oid == Oid("1.3.6.1.4.1.311.21.8.7", OidGroup.TEMPLATE, "Web Server")
    assert (found.common_name, found.schema, found.major_revision, found.minor_revision) == ("WebServer", 2, 100, 2)
    assert (found.validity_seconds, found.renewal_seconds) == (172_800, 42 * 86_400)
    assert (found.enroll, found.auto_enroll, found.cas) == (True, False, (0,))


def test_flags_are_unsigned() -> None:
    """Active Directory stores -2147483648 for the full distinguished name."""
    found = policy(
        name_flag=NameFlag.REQUIRE_DIRECTORY_PATH,
        enrollment_flag=EnrollmentFlag.AUTO_ENROLLMENT,
        private_key_flag=PrivateKeyFlag.EXPORTABLE_KEY | PrivateKeyFlag(0x06060000),
        flags=GeneralFlag.MACHINE_TYPE,
    )

    assert (found.subject_name_flags, found.enrollment_flags) == (0x8000_0000, 0x20)
    assert (found.private_key_flags, found.general_flags) == (0x0606_0010, 0x40)


def test_a_legacy_template_has_key_specification_and_providers_and_nothing_of_cng() -> None:
    found = policy(
        schema_version=1,
        default_csps=("2,Microsoft DH SChannel", "1,Microsoft RSA SChannel Cryptographic Provider"),
        ra_application_policies=(CNG,),
    )

    assert (found.key_spec, found.key_usage, found.hash_algorithm, found.algorithm) == (1, None, None, None)
    assert found.providers == ("Microsoft RSA SChannel Cryptographic Provider", "Microsoft DH SChannel")


def test_a_cng_template_has_algorithms_and_no_key_specification() -> None:
    found = policy(schema_version=4, ra_application_policies=(CNG,))

    assert found.key_spec is None
    assert found.key_usage == 2
    assert found.key_permissions == "D:P(A;;GA;;;SY)"
    assert found.algorithm == Oid("1.2.840.10045.3.1.7", OidGroup.PUBLIC_KEY, "ECDSA_P256")
    assert found.hash_algorithm == Oid(oids.SHA256, OidGroup.HASH, "SHA256")


def test_a_newer_template_for_a_legacy_provider_keeps_its_key_specification() -> None:
    assert policy(schema_version=4, private_key_flag=PrivateKeyFlag.USE_LEGACY_PROVIDER).key_spec == 1


def test_a_key_length_is_always_above_zero() -> None:
    assert policy(minimal_key_size=0).minimal_key_length == SMALLEST_KEY


def test_authorized_signatures() -> None:
    found = policy(ra_signatures=1, ra_application_policies=(oids.EKU_ENROLLMENT_AGENT,), ra_policies=("1.2.3",))

    assert found.ra_signatures == 1
    assert [(oid.value, oid.group) for oid in found.ra_usages] == [
        (oids.EKU_ENROLLMENT_AGENT, OidGroup.EXTENDED_KEY_USAGE)
    ]
    assert [(oid.value, oid.group) for oid in found.ra_policies] == [("1.2.3", OidGroup.POLICY)]


def test_key_archival() -> None:
    archived = policy(private_key_flag=PrivateKeyFlag.REQUIRE_PRIVATE_KEY_ARCHIVAL)

    assert archived.archival == (Oid("1.2.840.113549.3.7", OidGroup.ENCRYPTION, "3DES"), 168)
    assert policy().archival is None


def test_extensions_of_version_1_name_the_template() -> None:
    found = extensions(policy(cn="Machine", schema_version=1))

    assert found[oids.CERTIFICATE_TEMPLATE_NAME] == (False, "1e0e004d0061006300680069006e0065")
    assert found[oids.KEY_USAGE] == (True, "030205a0")
    assert oids.APPLICATION_POLICIES not in found
    assert oids.CERTIFICATE_TEMPLATE not in found


def test_extensions_of_later_versions_number_it() -> None:
    found = extensions(policy(issuance_policies=("1.2.3.4",)))

    assert set(found) == {
        oids.CERTIFICATE_TEMPLATE,
        oids.EXTENDED_KEY_USAGE,
        oids.APPLICATION_POLICIES,
        oids.CERTIFICATE_POLICIES,
        oids.KEY_USAGE,
    }


def test_a_ca_template_has_basic_constraints() -> None:
    ca = extensions(policy(cn="SubCA", flags=GeneralFlag.IS_CA, max_issuing_depth=-1))
    bounded = extensions(policy(cn="SubCA", flags=GeneralFlag.IS_CA, max_issuing_depth=0))

    assert ca[oids.BASIC_CONSTRAINTS][1] == "30030101ff"
    assert bounded[oids.BASIC_CONSTRAINTS][1] == "30060101ff020100"


@pytest.mark.parametrize("template", default_templates(DOMAIN_SID, new_forest_arcs()), ids=lambda one: one.cn)
def test_every_default_template_can_be_said(template: Any) -> None:
    found = policy_of(template, enroll=True, auto_enroll=True, cas=(0,))

    assert found.validity_seconds > 0
    assert found.renewal_seconds > 0
    assert found.minimal_key_length > 0


def test_renewal_by_key_is_a_flag() -> None:
    flag = EnrollmentFlag.ALLOW_PREVIOUS_APPROVAL_KEYBASEDRENEWAL_VALIDATE_REENROLLMENT

    assert may_renew_by_key(make_template(enrollment_flag=flag))
    assert not may_renew_by_key(make_template())
