"""What a template puts on a certificate. [MS-WCCE] 3.2.2.6.2.1.4.5, [MS-CRTD] 2."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from certwright.adcs.errors import BadRequest, ConfigurationError
from certwright.adcs.template import EnrollmentFlag, GeneralFlag
from certwright.ca.issuance.preparing import consistent_key_usage
from certwright.ca.policy.base import SpecExtension
from certwright.ca.urls import IssuanceUrls
from certwright.pki import names, oids
from certwright.pki.extensions import (
    basic_constraints,
    certificate_policies,
    extended_key_usage,
    key_usage,
    sid_extension,
)
from certwright.pki.general_names import DnsName, OtherName, UnknownName
from tests.support import requests
from tests.support.fake_directory import make_template
from tests.support.issuing import NOW, URLS, issue, public_key, signer_for, spec_for

SID = "S-1-5-21-1004336348-1177238915-682003330-1101"


def extensions_of(certificate: x509.Certificate) -> dict[str, x509.Extension[Any]]:
    return {extension.oid.dotted_string: extension for extension in certificate.extensions}


def test_schema_1_carries_the_template_name() -> None:
    """1.3.6.1.4.1.311.20.2 is a bare BMPString; neither 21.7 nor 21.10. [MS-WCCE] 2.2.2.7.7.1."""
    template = make_template("User", schema_version=1, flags=GeneralFlag.ADD_TEMPLATE_NAME)

    found = extensions_of(issue(signer_for(), spec_for(template=template)))

    assert found[oids.CERTIFICATE_TEMPLATE_NAME].value.value == b"\x1e\x08\x00U\x00s\x00e\x00r"
    assert oids.CERTIFICATE_TEMPLATE not in found
    assert oids.APPLICATION_POLICIES not in found


def test_schema_2_carries_template_information_and_application_policies() -> None:
    """[MS-WCCE] 2.2.2.7.7.2 and 2.2.2.7.7.3; the name is not repeated."""
    template = make_template(schema_version=2, flags=GeneralFlag.ADD_TEMPLATE_NAME)

    found = extensions_of(issue(signer_for(), spec_for(template=template)))

    information = found[oids.CERTIFICATE_TEMPLATE].value
    assert template.oid == information.template_id.dotted_string
    assert (information.major_version, information.minor_version) == (100, 2)
    assert bytes.fromhex("300c300a06082b06010505070301") == found[oids.APPLICATION_POLICIES].value.value
    assert oids.CERTIFICATE_TEMPLATE_NAME not in found


def test_critical_is_what_the_template_lists() -> None:
    """PKICriticalExtensions. [MS-CRTD] 2.10."""
    template = make_template(critical_extensions=(oids.EXTENDED_KEY_USAGE,))

    found = extensions_of(issue(signer_for(), spec_for(template=template)))

    assert found[oids.EXTENDED_KEY_USAGE].critical
    assert not found[oids.KEY_USAGE].critical


def test_some_extensions_are_never_critical() -> None:
    """RFC 5280 4.2.1.1, 4.2.1.2, 4.2.2.1 and [MS-WCCE] 2.2.2.7.7.4 leave a template no choice."""
    never = (
        oids.AUTHORITY_KEY_IDENTIFIER,
        oids.SUBJECT_KEY_IDENTIFIER,
        oids.AUTHORITY_INFORMATION_ACCESS,
        oids.NTDS_CA_SECURITY,
    )

    found = extensions_of(issue(signer_for(), spec_for(template=make_template(critical_extensions=never), sid=SID)))

    assert [found[oid].critical for oid in never] == [False] * 4


def test_alternative_names_are_critical_without_a_subject() -> None:
    """RFC 5280 4.2.1.6."""
    sans = (DnsName("web.corp.example"),)

    with_subject = extensions_of(issue(signer_for(), spec_for(subject_alternative_names=sans)))
    without = extensions_of(issue(signer_for(), spec_for(subject=names.EMPTY, subject_alternative_names=sans)))

    assert not with_subject[oids.SUBJECT_ALTERNATIVE_NAME].critical
    assert without[oids.SUBJECT_ALTERNATIVE_NAME].critical


def test_sid_extension_has_the_exact_bytes() -> None:
    """[MS-WCCE] 2.2.2.7.7.4: what the KDC looks for runs from S-1-5 to the end of the value."""
    found = extensions_of(issue(signer_for(), spec_for(sid=SID)))

    value = found[oids.NTDS_CA_SECURITY].value.value
    head = (
        f"30{0x12 + len(SID):02x}a0{0x10 + len(SID):02x}060a2b060104018237190201a0{2 + len(SID):02x}04{len(SID):02x}"
    )
    assert bytes.fromhex(head) + SID.encode() == value


def test_key_identifier_and_places_of_the_issuer() -> None:
    """SKI is the SHA-1 of the key's bits, AKI the CA's; CDP, caIssuers and OCSP as configured. RFC 5280 4.2."""
    signer = signer_for()

    found = extensions_of(issue(signer, spec_for()))

    key = requests.ec_key().public_key()
    assert x509.SubjectKeyIdentifier.from_public_key(key) == found[oids.SUBJECT_KEY_IDENTIFIER].value
    issuer = x509.SubjectKeyIdentifier.from_public_key(requests.ec_key(number=1).public_key())
    assert issuer.digest == found[oids.AUTHORITY_KEY_IDENTIFIER].value.key_identifier
    points = found[oids.CRL_DISTRIBUTION_POINTS].value
    assert list(URLS.cdp) == [name.value for name in points[0].full_name]
    access = found[oids.AUTHORITY_INFORMATION_ACCESS].value
    assert [*URLS.aia, *URLS.ocsp] == [description.access_location.value for description in access]


def test_no_revocation_information_leaves_the_issuer_address() -> None:
    """NOREVOCATIONINFOINISSUEDCERTS: no CDP and no responder. [MS-CRTD] 2.26, 0x4000."""
    template = make_template(enrollment_flag=EnrollmentFlag.NOREVOCATIONINFOINISSUEDCERTS)

    found = extensions_of(issue(signer_for(), spec_for(template=template)))

    assert oids.CRL_DISTRIBUTION_POINTS not in found
    access = found[oids.AUTHORITY_INFORMATION_ACCESS].value
    assert list(URLS.aia) == [description.access_location.value for description in access]


def test_responder_certificates_are_not_looked_up() -> None:
    """ADD_OCSP_NOCHECK: the extension instead of CDP and AIA, for OCSP signing only. [MS-CRTD] 2.26, 0x1000."""
    usages: dict[str, Any] = dict.fromkeys(("extended_key_usage", "application_policies"), (oids.EKU_OCSP_SIGNING,))
    flag = EnrollmentFlag.ADD_OCSP_NOCHECK

    responder = extensions_of(issue(signer_for(), spec_for(template=make_template(enrollment_flag=flag, **usages))))
    server = extensions_of(issue(signer_for(), spec_for(template=make_template(enrollment_flag=flag))))

    assert oids.OCSP_NO_CHECK in responder
    assert not {oids.CRL_DISTRIBUTION_POINTS, oids.AUTHORITY_INFORMATION_ACCESS} & set(responder)
    assert oids.OCSP_NO_CHECK not in server
    assert oids.CRL_DISTRIBUTION_POINTS in server


def test_empty_lists_leave_their_extension_out() -> None:
    """RFC 5280 4.2 has no empty sequences; a CA without URLs, a template without usages."""
    template = make_template(extended_key_usage=(), application_policies=())

    found = extensions_of(issue(signer_for(urls=IssuanceUrls()), spec_for(template=template, key_usage=b"\x00")))

    assert {
        oids.CERTIFICATE_TEMPLATE,
        oids.SUBJECT_KEY_IDENTIFIER,
        oids.AUTHORITY_KEY_IDENTIFIER,
    } == set(found)


def test_end_entities_may_be_told_that_they_are_no_ca() -> None:
    """INCLUDE_BASIC_CONSTRAINTS_FOR_EE_CERTS, INCLUDE_SYMMETRIC_ALGORITHMS. [MS-CRTD] 2.26."""
    flags = EnrollmentFlag.INCLUDE_BASIC_CONSTRAINTS_FOR_EE_CERTS | EnrollmentFlag.INCLUDE_SYMMETRIC_ALGORITHMS

    found = extensions_of(issue(signer_for(), spec_for(template=make_template(enrollment_flag=flags))))

    assert x509.BasicConstraints(False, None) == found[oids.BASIC_CONSTRAINTS].value
    assert oids.SMIME_CAPABILITIES in found


def test_validity_turns_to_generalized_time_in_2050() -> None:
    """RFC 5280 4.1.2.5: UTCTime through 2049."""
    spec = spec_for(not_after=NOW.replace(year=2050, month=1, day=1))
    signer = signer_for()

    tbs = signer.prepare(spec, public_key(), 1).tbs

    assert b"\x17\x0d310506065809Z\x18\x0f20500101070809Z" in tbs


# -- CA certificates -------------------------------------------------------------------------------------------------


def sub_ca(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "schema_version": 1,
        "flags": GeneralFlag.IS_CA | GeneralFlag.ADD_TEMPLATE_NAME,
        "key_usage": b"\x86",
        "extended_key_usage": (),
        "application_policies": (),
        "critical_extensions": (oids.KEY_USAGE, oids.BASIC_CONSTRAINTS),
        "max_issuing_depth": -1,
    }
    return make_template("SubCA", **values | changes)


def test_subordinate_cas_get_what_a_ca_needs() -> None:
    """Critical basic constraints and key usage, CA version 0.0. [MS-WCCE] 3.2.2.6.2.1.4.5, RFC 5280 4.2.1.9."""
    template = sub_ca(critical_extensions=())

    found = extensions_of(issue(signer_for(), spec_for(template=template, key_usage=b"\x80")))

    assert found[oids.BASIC_CONSTRAINTS].critical
    assert x509.BasicConstraints(True, None) == found[oids.BASIC_CONSTRAINTS].value
    usage = found[oids.KEY_USAGE]
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert found[oids.CA_VERSION].value.value == b"\x02\x01\x00"


@pytest.mark.parametrize(
    ("depth", "own", "expected"), [(-1, None, None), (2, None, 2), (-1, 3, 2), (0, 3, 0), (5, 3, 2)]
)
def test_path_length_is_the_template_s_within_what_the_ca_has_left(
    depth: int, own: int | None, expected: int | None
) -> None:
    """PKIMaxIssuingDepth. [MS-CRTD] 2.12."""
    template = sub_ca(max_issuing_depth=depth)

    found = extensions_of(issue(signer_for(path_length=own), spec_for(template=template, key_usage=b"\x86")))

    assert expected == found[oids.BASIC_CONSTRAINTS].value.path_length


def test_a_ca_of_path_length_0_certifies_no_ca() -> None:
    """RFC 5280 4.2.1.9: such a certificate would verify nowhere, so it is not made."""
    with pytest.raises(ConfigurationError, match="path length 0"):
        signer_for(path_length=0).prepare(spec_for(template=sub_ca(), key_usage=b"\x86"), public_key(), 1)


@pytest.mark.parametrize(
    ("asked", "is_ca", "expected"),
    [
        (b"\xa0", False, b"\xa0"),
        (b"\x86", False, b"\x82"),  # nobody but a CA signs certificates
        (b"\x80", True, b"\x86"),
        (b"\x81\x80", False, b"\x80"),  # encipherOnly and decipherOnly need keyAgreement
        (b"\x88\x80", False, b"\x88\x80"),
        (b"\x00", False, b""),
        (b"", False, b""),
    ],
)
def test_key_usage_never_contradicts_itself(asked: bytes, is_ca: bool, expected: bytes) -> None:
    """RFC 5280 4.2.1.3."""
    assert expected == consistent_key_usage(asked, is_ca=is_ca)


# -- foreign extensions ----------------------------------------------------------------------------------------------


def test_foreign_extensions_take_the_place_of_the_template_s() -> None:
    """What an officer set counts ([MS-CSRA] 3.1.4.1.2), the later of two; it is written once."""
    template = make_template(issuance_policies=("1.2.3",))
    added = (
        SpecExtension(oids.CERTIFICATE_POLICIES, False, certificate_policies(("1.2.4",))),
        SpecExtension(oids.CERTIFICATE_POLICIES, True, certificate_policies(("1.2.5",))),
    )

    found = extensions_of(issue(signer_for(), spec_for(template=template, extensions=added)))

    policies = found[oids.CERTIFICATE_POLICIES]
    assert policies.critical
    assert [policy.policy_identifier.dotted_string for policy in policies.value] == ["1.2.5"]


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        (oids.EXTENDED_KEY_USAGE, extended_key_usage((oids.EKU_ANY,))),
        (oids.BASIC_CONSTRAINTS, basic_constraints(ca=True)),
        (oids.KEY_USAGE, key_usage(b"\x06")),
        (oids.NTDS_CA_SECURITY, sid_extension(SID)),
        (oids.SUBJECT_KEY_IDENTIFIER, b"\x04\x01\x00"),
        (oids.AUTHORITY_INFORMATION_ACCESS, b"\x30\x00"),
    ],
)
def test_nobody_adds_what_the_template_or_the_ca_decides(oid: str, value: bytes) -> None:
    """The engine refuses even when policy and administration let it pass (CVE-2024-49019)."""
    spec = spec_for(extensions=(SpecExtension(oid, False, value),))

    with pytest.raises(BadRequest, match="written by the CA alone"):
        signer_for().prepare(spec, public_key(), 1)


def test_foreign_extensions_are_never_copied_blind() -> None:
    """What another parser cannot read is refused."""
    spec = spec_for(extensions=(SpecExtension(oids.CERTIFICATE_POLICIES, False, b"\x30\x03\x02\x01"),))

    with pytest.raises(BadRequest, match="cannot be read"):
        signer_for().prepare(spec, public_key(), 1)


def test_standalone_requests_keep_their_extensions() -> None:
    """No template: what the policy let through is written anew. [MS-WCCE] 3.2.1.4.2.1.4.5."""
    usage = SpecExtension(oids.EXTENDED_KEY_USAGE, False, extended_key_usage((oids.EKU_SERVER_AUTH,)))
    other = SpecExtension("1.3.6.1.4.1.99999.1", False, b"\x05\x00")

    found = extensions_of(issue(signer_for(), spec_for(template=None, extensions=(usage, other))))

    assert x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]) == found[oids.EXTENDED_KEY_USAGE].value
    assert found[oids.KEY_USAGE].critical
    assert found["1.3.6.1.4.1.99999.1"].value.value == b"\x05\x00"
    assert oids.CERTIFICATE_TEMPLATE not in found


# -- what no policy may ask for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subject": names.EMPTY}, "name nobody"),
        ({"not_after": NOW - timedelta(days=1)}, "never be valid"),
        ({"not_after": NOW.replace(year=2051)}, "outlive"),
        ({"sid": "S-1-nonsense"}, "cannot be encoded"),
        ({"subject_alternative_names": (DnsName("bücher.example"),)}, "cannot be encoded"),
        ({"subject_alternative_names": (UnknownName(b"\xa3\x00"),)}, "cannot be certified"),
        ({"subject_alternative_names": (OtherName("9.9", b"\x05\x00"),)}, "cannot be encoded"),
    ],
)
def test_impossible_specs_are_refused_with_a_sentence(changes: dict[str, Any], words: str) -> None:
    """An `AdcsError`, so that every door knows how to say it."""
    with pytest.raises(BadRequest, match=words):
        signer_for().prepare(spec_for(**changes), public_key(), 1)


@pytest.mark.parametrize(
    "changes",
    [{"oid": "1.3.6.nonsense"}, {"extended_key_usage": ("server",)}, {"issuance_policies": ("",)}],
)
def test_templates_that_cannot_be_encoded_are_named(changes: dict[str, Any]) -> None:
    template = make_template("Broken", **changes)

    with pytest.raises(ConfigurationError, match="template Broken"):
        signer_for().prepare(spec_for(template=template), public_key(), 1)
