"""Single attributes from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.requester import Sid
from certwright.adcs.template import (
    CertificateTemplate,
    EnrollmentFlag,
    GeneralFlag,
    NameFlag,
    NameRule,
    NameRules,
    OutsideRules,
    PrivateKeyFlag,
)
from certwright.adcs.template_settings import _SETTINGS, SETTINGS, apply_settings, setting_text
from certwright.directory.default_templates import default_templates
from tests.support.fake_directory import DOMAIN_SID, DOMAIN_USERS, make_template

GROUP = Sid("S-1-5-21-1-2-3-1201")


SEVERAL_STORED_VALUES = {
    *("purpose", "providers", "minimum-ca", "minimum-client"),
    *("enrollee-supplies-subject", "subject", "alternative-names"),
}
"""Settings where stock templates store the same meaning in another way."""


def changed(settings: Mapping[str, str], **template: Any) -> CertificateTemplate:
    return apply_settings(make_template(**template), settings)


@pytest.mark.parametrize(
    ("key", "text", "field", "value"),
    [
        ("display-name", "Corp Web", "display_name", "Corp Web"),
        ("validity-period", "2 years", "validity_period", timedelta(days=730)),
        ("renewal-period", "10 days", "renewal_period", timedelta(days=10)),
        ("approval", "on", "enrollment_flag", EnrollmentFlag.PEND_ALL_REQUESTS),
        ("minimal-key-size", "3072", "minimal_key_size", 3072),
        ("key-usage", "digitalSignature,keyAgreement", "key_usage", b"\x88\x00"),
        ("eku", "clientAuth, 1.3.6.1.5.5.7.3.1", "extended_key_usage", ("1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1")),
        ("eku", "", "extended_key_usage", ()),
        ("application-policies", "codesigning", "application_policies", ("1.3.6.1.5.5.7.3.3",)),
        ("issuance-policies", "1.2.3,1.2.3", "issuance_policies", ("1.2.3",)),
        ("critical-extensions", "2.5.29.15", "critical_extensions", ("2.5.29.15",)),
        ("subject", "common-name,email", "name_flag", NameFlag.REQUIRE_COMMON_NAME | NameFlag.REQUIRE_EMAIL),
        ("alternative-names", "dns,upn", "name_flag", NameFlag.ALT_REQUIRE_DNS | NameFlag.ALT_REQUIRE_UPN),
        ("sid-extension", "off", "enrollment_flag", EnrollmentFlag.NO_SECURITY_EXTENSION),
        ("signatures", "2", "ra_signatures", 2),
        ("signature-application-policies", "enrollmentAgent", "ra_application_policies", ("1.3.6.1.4.1.311.20.2.1",)),
        ("signature-issuance-policies", "1.2.3", "ra_policies", ("1.2.3",)),
        ("exportable-key", "yes", "private_key_flag", PrivateKeyFlag.EXPORTABLE_KEY),
        ("same-key-renewal", "true", "private_key_flag", PrivateKeyFlag.REQUIRE_SAME_KEY_RENEWAL),
        ("revocation-information", "off", "enrollment_flag", EnrollmentFlag.NOREVOCATIONINFOINISSUEDCERTS),
        ("superseded-templates", "User, Machine", "superseded_templates", ("User", "Machine")),
        ("security-descriptor", "D:(A;;GA;;;DA)", "security_descriptor", "D:(A;;GA;;;DA)"),
        ("archive-key", "on", "private_key_flag", PrivateKeyFlag.REQUIRE_PRIVATE_KEY_ARCHIVAL),
        ("strong-key-protection", "on", "private_key_flag", PrivateKeyFlag.STRONG_KEY_PROTECTION_REQUIRED),
        ("alternate-signature", "on", "private_key_flag", PrivateKeyFlag.REQUIRE_ALTERNATE_SIGNATURE_ALGORITHM),
        ("key-attestation", "required", "private_key_flag", PrivateKeyFlag.ATTEST_REQUIRED),
        ("attestation-trust", "hardware-key", "private_key_flag", PrivateKeyFlag.EK_VALIDATE_KEY),
        ("attestation-policies", "off", "private_key_flag", PrivateKeyFlag.ATTESTATION_WITHOUT_POLICY),
        ("purpose", "signature", "default_key_spec", 2),
        ("purpose", "encryption", "key_usage", b"\x20\x00"),
        ("providers", "Second CSP, First CSP", "default_csps", ("1,Second CSP", "2,First CSP")),
        ("path-length", "any", "max_issuing_depth", -1),
        ("path-length", "1", "max_issuing_depth", 1),
        ("user-interaction", "on", "enrollment_flag", EnrollmentFlag.USER_INTERACTION_REQUIRED),
        ("issuance-policies-from-request", "on", "enrollment_flag", EnrollmentFlag.ISSUANCE_POLICIES_FROM_REQUEST),
    ],
)
def test_setting_changes_its_attribute(key: str, text: str, field: str, value: object) -> None:
    assert getattr(changed({key: text}), field) == value


def test_every_setting_has_a_sentence_and_every_sentence_a_setting() -> None:
    assert {key for key in SETTINGS if not key.startswith("name-rules.")} == set(_SETTINGS)
    assert all(SETTINGS.values())


@pytest.mark.parametrize("key", [key for key in SETTINGS if not key.startswith("name-rules.")])
def test_no_setting_takes_any_text_silently_or_fails_otherwise_than_by_name(key: str) -> None:
    """Garbage is refused with the setting's name, except where every text is a value."""
    if key in ("display-name", "providers", "security-descriptor", "superseded-templates"):
        return
    with pytest.raises(InvalidArgument, match=f"^{key}: "):
        changed({key: "§ no value §"})


def test_supplied_subject_goes_both_ways_and_is_mirrored_in_the_flags() -> None:
    supplied = changed({"enrollee-supplies-subject": "on"})
    assert supplied.enrollee_supplies_subject
    assert supplied.flags & 1
    taken_back = apply_settings(supplied, {"enrollee-supplies-subject": "off"})
    assert not taken_back.enrollee_supplies_subject
    assert not taken_back.flags & 1
    assert not apply_settings(supplied, {"subject": "common-name"}).enrollee_supplies_subject


def test_subject_and_alternative_names_leave_each_other_alone() -> None:
    both = changed({"subject": "dns-name", "alternative-names": "dns"})
    assert both.name_flag == NameFlag.REQUIRE_DNS_AS_CN | NameFlag.ALT_REQUIRE_DNS
    assert apply_settings(both, {"subject": "none"}).name_flag == NameFlag.ALT_REQUIRE_DNS


def test_application_policies_follow_the_extended_key_usage_from_schema_2_on() -> None:
    """[MS-CRTD] 2.25."""
    assert changed({"eku": "clientAuth"}).application_policies == ("1.3.6.1.5.5.7.3.2",)
    old = changed({"eku": "clientAuth"}, schema_version=1, application_policies=())
    assert old.application_policies == ()


def test_change_raises_the_minor_version_and_marks_the_template() -> None:
    before = make_template()
    after = apply_settings(before, {"approval": "on", "minimal-key-size": "4096"})
    assert (after.major_version, after.minor_version) == (before.major_version, before.minor_version + 1)
    assert GeneralFlag.IS_MODIFIED in after.flags


def test_setting_what_is_set_already_changes_nothing() -> None:
    before = make_template()
    assert apply_settings(before, {"approval": "off", "minimal-key-size": "2048"}) == before


def test_permissions_alone_do_not_raise_the_version() -> None:
    after = changed({"security-descriptor": "D:"})
    assert after.minor_version == make_template().minor_version
    assert GeneralFlag.IS_MODIFIED not in after.flags


def test_minor_version_at_its_end_raises_the_major_one() -> None:
    after = changed({"approval": "on"}, minor_version=0x7FFFFFFF)
    assert (after.major_version, after.minor_version) == (101, 0)


@pytest.mark.parametrize("key", _SETTINGS)
def test_a_setting_read_and_set_again_changes_nothing(key: str) -> None:
    """Over all stock templates; what has no word of its own is read, and only not taken back."""
    for template in default_templates(DOMAIN_SID, "1.2.3.4.5.6"):
        text = setting_text(template, key)
        if text in ("other", "sha1") or (key.endswith("-algorithm") and template.schema_version < 3):
            continue
        again = apply_settings(template, {key: text})
        assert setting_text(again, key) == text
        if key not in SEVERAL_STORED_VALUES:
            assert again == template, template.cn


def test_names_supplied_by_the_enrollee_take_the_place_of_the_directorys() -> None:
    """As certtmpl does: CT_FLAG_ENROLLEE_SUPPLIES_SUBJECT stands alone."""
    before = changed({"subject": "dns-name", "alternative-names": "dns"})
    assert apply_settings(before, {"enrollee-supplies-subject": "on"}).name_flag == NameFlag.ENROLLEE_SUPPLIES_SUBJECT


# -- schema versions and key policy ----------------------------------------------------------------------------------


def test_key_algorithm_is_pinned_in_the_triplets_of_newer_templates() -> None:
    """[MS-CRTD] 2.23.2; the other triplets stay."""
    stored = "msPKI-Hash-Algorithm`PZPWSTR`SHA256`msPKI-Key-Usage`DWORD`2`"
    after = changed({"key-algorithm": "ecdsa-p256"}, schema_version=4, ra_application_policies=(stored,))
    assert after.ra_application_policies == (f"{stored}msPKI-Asymmetric-Algorithm`PZPWSTR`ECDSA_P256`",)
    assert after.key_policy["msPKI-Asymmetric-Algorithm"] == "ECDSA_P256"


@pytest.mark.parametrize(
    "template", [{"schema_version": 2}, {"schema_version": 4, "private_key_flag": PrivateKeyFlag.USE_LEGACY_PROVIDER}]
)
def test_key_algorithm_needs_the_newer_syntax(template: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="schema-version=4"):
        changed({"key-algorithm": "rsa"}, **template)


def test_signature_policies_move_into_the_triplets_with_the_schema_version() -> None:
    agent = "1.3.6.1.4.1.311.20.2.1"
    after = changed({"schema-version": "4"}, ra_application_policies=(agent,))
    assert after.ra_application_policies == (f"msPKI-RA-Application-Policies`PZPWSTR`{agent}`",)
    assert after.ra_extended_key_usage == (agent,)
    cleared = apply_settings(after, {"signature-application-policies": ""})
    assert cleared.ra_application_policies == ()


def test_schema_version_is_raised_never_lowered() -> None:
    old = {"schema_version": 1, "application_policies": (), "extended_key_usage": ("1.3.6.1.5.5.7.3.1",)}
    assert changed({"schema-version": "2"}, **old).application_policies == ("1.3.6.1.5.5.7.3.1",)
    for version in ("1", "5"):
        with pytest.raises(InvalidArgument, match="never lowered"):
            changed({"schema-version": version}, schema_version=2)


@pytest.mark.parametrize(
    ("ca", "client", "schema"),
    [("2003", "2016", 2), ("2008", "2008r2", 3), ("2016", "2008", 3), ("2012", "2012", 4), ("2016", "2016", 4)],
)
def test_the_older_of_ca_and_client_says_the_schema_version(ca: str, client: str, schema: int) -> None:
    """[MS-CRTD] 2.27: the nibbles say who may use the template."""
    after = changed({"minimum-ca": ca, "minimum-client": client}, schema_version=1)
    assert after.schema_version == schema
    assert (setting_text(after, "minimum-ca"), setting_text(after, "minimum-client")) == (ca, client)


def test_compatibility_never_lowers_the_schema_version() -> None:
    assert changed({"minimum-ca": "2003", "minimum-client": "2003"}, schema_version=4).schema_version == 4


def test_policies_of_signers_move_with_the_kind_of_provider() -> None:
    """[MS-CRTD] 2.23: schema 4 with USE_LEGACY_PROVIDER has the plain list again."""
    agent = "1.3.6.1.4.1.311.20.2.1"
    newer = changed({"schema-version": "4", "signature-application-policies": agent})
    legacy = apply_settings(newer, {"legacy-provider": "on"})
    assert legacy.ra_application_policies == (agent,)
    assert apply_settings(legacy, {"legacy-provider": "off"}).ra_extended_key_usage == (agent,)


# -- name rules ------------------------------------------------------------------------------------------------------


def test_name_rules_are_set_for_everyone_and_for_groups() -> None:
    after = apply_settings(
        make_template(),
        {
            "name-rules.dns-suffixes": "Corp.Example, lab.example",
            f"name-rules.{GROUP}.ip-ranges": "10.0.0.0/8",
            "name-rules.Domain Users.upn-domains": "corp.example",
            "name-rules.outside": "deny",
        },
        resolve_group={"Domain Users": DOMAIN_USERS}.__getitem__,
    )
    assert after.name_rules == NameRules(
        (
            NameRule(dns_suffixes=("corp.example", "lab.example")),
            NameRule(group=GROUP, ip_ranges=("10.0.0.0/8",)),
            NameRule(group=DOMAIN_USERS, upn_domains=("corp.example",)),
        ),
        OutsideRules.DENY,
    )


def test_group_with_a_dot_in_its_name_has_name_rules_too() -> None:
    after = apply_settings(
        make_template(),
        {"name-rules.web.admins.dns-suffixes": "corp.example"},
        resolve_group=lambda name: f"S-1-{name}",
    )
    assert after.name_rules.rules[0].group == "S-1-web.admins"


def test_emptied_name_rule_disappears() -> None:
    rules = NameRules((NameRule(dns_suffixes=("corp.example",)), NameRule(group=GROUP, ip_ranges=("10.0.0.0/8",))))
    after = changed({"name-rules.dns-suffixes": ""}, name_rules=rules)
    assert after.name_rules.rules == (NameRule(group=GROUP, ip_ranges=("10.0.0.0/8",)),)


def test_name_rule_of_a_named_group_needs_somebody_who_knows_the_name() -> None:
    with pytest.raises(InvalidArgument, match="by its SID"):
        changed({"name-rules.Staff.dns-suffixes": "corp.example"})


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"aproval": "on"}, "no setting 'aproval'. Did you mean approval?"),
        ({"§": "on"}, "There are: display-name, validity-period"),
        ({"name-rules.dns-sufixes": "x"}, "Did you mean name-rules.dns-suffixes?"),
        ({"approval": "maybe"}, "approval: 'maybe' is neither on nor off"),
        ({"validity-period": "long"}, "validity-period: 'long' is no period"),
        ({"minimal-key-size": "-1"}, "minimal-key-size: '-1' is no number"),
        ({"minimal-key-size": "9" * 40}, "is no number"),
        ({"eku": "serverauthentication"}, "is no object identifier and none of serverAuth"),
        ({"subject": "everything"}, "'everything' is none of none, directory-path"),
        ({"name-rules.outside": "issue"}, "neither pend nor deny"),
    ],
)
def test_wrong_setting_is_told_with_what_would_be_right(settings: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        changed(settings)
    assert told in refused.value.message
