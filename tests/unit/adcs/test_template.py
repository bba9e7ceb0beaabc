"""Templates: flags by their numbers, compatibility nibbles, the triplets of schema 3. [MS-CRTD] 2."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from certwright.adcs.template import (
    CertificateTemplate,
    EnrollmentFlag,
    GeneralFlag,
    NameFlag,
    NameRules,
    OutsideRules,
    PrivateKeyFlag,
)

TEMPLATE = CertificateTemplate(
    cn="WebServer",
    display_name="Web Server",
    oid="1.3.6.1.4.1.311.21.8.1.2.1.16",
    schema_version=2,
    major_version=4,
    minor_version=1,
    flags=GeneralFlag.MACHINE_TYPE,
    enrollment_flag=EnrollmentFlag(0),
    private_key_flag=PrivateKeyFlag(0),
    name_flag=NameFlag.ENROLLEE_SUPPLIES_SUBJECT,
    validity_period=timedelta(days=730),
    renewal_period=timedelta(days=42),
    key_usage=b"\xa0",
    extended_key_usage=("1.3.6.1.5.5.7.3.1",),
    application_policies=(),
    issuance_policies=(),
    critical_extensions=("2.5.29.15",),
    minimal_key_size=2048,
    max_issuing_depth=0,
    default_key_spec=1,
    default_csps=(),
    ra_signatures=0,
    ra_application_policies=(),
    ra_policies=(),
    superseded_templates=(),
    security_descriptor="D:",
)
TRIPLETS = "msPKI-Asymmetric-Algorithm`PZPWSTR`RSA`msPKI-Hash-Algorithm`PZPWSTR`SHA256`msPKI-Key-Usage`DWORD`2`"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        (GeneralFlag.MACHINE_TYPE, 0x40),
        (GeneralFlag.IS_CA, 0x80),
        (GeneralFlag.ADD_TEMPLATE_NAME, 0x200),
        (EnrollmentFlag.PEND_ALL_REQUESTS, 0x2),
        (EnrollmentFlag.NO_SECURITY_EXTENSION, 0x80000),
        (PrivateKeyFlag.USE_LEGACY_PROVIDER, 0x100),
        (PrivateKeyFlag.ATTEST_REQUIRED, 0x2000),
        (NameFlag.ALT_REQUIRE_DNS, 0x8000000),
        (NameFlag.REQUIRE_DIRECTORY_PATH, 0x80000000),
    ],
)
def test_flags_have_the_numbers_of_the_specification(flag: int, value: int) -> None:
    assert int(flag) == value


def test_flags_nobody_defined_survive() -> None:
    """Default objects carry bits outside the specification; a template is written back as it was read."""
    assert int(GeneralFlag(0x10241 | 0x404)) == 0x10645
    assert int(PrivateKeyFlag(0x1010000 | 0x10)) == 0x1010010


@pytest.mark.parametrize(
    ("flags", "server", "client"),
    [(0, 0, 0), (0x0101_0000, 1, 1), (0x0506_0000, 6, 5), (0x0606_0010, 6, 6), (0xF0F0_0000, 0, 0)],
)
def test_the_compatibility_nibbles_are_bits_16_and_24(flags: int, server: int, client: int) -> None:
    """[MS-CRTD] 2.27: 0x000F0000 server, 0x0F000000 client."""
    template = replace(TEMPLATE, private_key_flag=PrivateKeyFlag(flags))
    assert (template.minimum_server_version, template.minimum_client_version) == (server, client)


def test_triplets_are_read_by_name() -> None:
    """[MS-CRTD] 2.23."""
    template = replace(TEMPLATE, schema_version=4, ra_application_policies=(TRIPLETS,))
    assert template.key_policy == {
        "msPKI-Asymmetric-Algorithm": "RSA",
        "msPKI-Hash-Algorithm": "SHA256",
        "msPKI-Key-Usage": "2",
    }
    assert template.ra_extended_key_usage == ()


def test_a_security_descriptor_inside_a_triplet_is_not_split() -> None:
    sddl = "D:P(A;;GA;;;BA)(A;;GA;;;SY)"
    text = f"msPKI-Key-Security-Descriptor`PZPWSTR`{sddl}`msPKI-RA-Application-Policies`PZPWSTR`1.2.3,1.2.4`"
    template = replace(TEMPLATE, ra_application_policies=(text,))
    assert template.key_policy["msPKI-Key-Security-Descriptor"] == sddl
    assert template.ra_extended_key_usage == ("1.2.3", "1.2.4")


def test_plain_identifiers_are_the_usages_of_a_registration_authority() -> None:
    template = replace(TEMPLATE, ra_application_policies=("1.2.3", "1.2.4"))
    assert template.key_policy == {}
    assert template.ra_extended_key_usage == ("1.2.3", "1.2.4")


@pytest.mark.parametrize("text", ["`", "a`PZPWSTR", "a`PZPWSTR`b", "a`b`c`d"])
def test_a_damaged_triplet_string_does_not_raise(text: str) -> None:
    assert isinstance(dict(replace(TEMPLATE, ra_application_policies=(text,)).key_policy), dict)


def test_the_questions_a_reader_asks_have_answers() -> None:
    assert TEMPLATE.is_machine
    assert TEMPLATE.enrollee_supplies_subject
    assert not TEMPLATE.requires_approval
    assert replace(TEMPLATE, enrollment_flag=EnrollmentFlag.PEND_ALL_REQUESTS).requires_approval
    assert not TEMPLATE.is_ca
    for changed in (
        replace(TEMPLATE, flags=GeneralFlag.IS_CA),
        replace(TEMPLATE, flags=GeneralFlag.IS_CROSS_CA),
        replace(TEMPLATE, cn="SubCA"),
    ):
        assert changed.is_ca


def test_without_name_rules_every_request_waits() -> None:
    assert TEMPLATE.name_rules == NameRules((), OutsideRules.PEND)
