"""Templates as JSON: what goes out comes in again, and what cannot be meant is refused by name. [MS-CRTD] 2."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.periods import decode_period, encode_period, parse_period, period_text
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
from certwright.adcs.template_checks import check_template
from certwright.adcs.template_json import (
    DEFAULT_SECURITY,
    flag_names,
    template_from_json,
    template_from_text,
    template_to_json,
    template_to_text,
)
from tests.support.fake_directory import DOMAIN_USERS, make_template

WINDOWS_TRIPLETS = "msPKI-Asymmetric-Algorithm`PZPWSTR`RSA`msPKI-Hash-Algorithm`PZPWSTR`SHA256`"
RICH = make_template(
    "Rich",
    display_name='Rich "Ü" Template',
    schema_version=4,
    flags=GeneralFlag(0x100D1),
    enrollment_flag=EnrollmentFlag.PEND_ALL_REQUESTS | EnrollmentFlag(0x80),
    private_key_flag=PrivateKeyFlag(0x06060010),
    name_flag=NameFlag(0xA6000000),
    ra_application_policies=(WINDOWS_TRIPLETS,),
    issuance_policies=("1.3.6.1.4.1.311.21.8.1.400",),
    superseded_templates=("User",),
    default_csps=("1,Microsoft Software Key Storage Provider",),
    name_rules=NameRules(
        (
            NameRule(dns_suffixes=("corp.example", ".lab.example"), ip_ranges=("10.0.0.0/8",)),
            NameRule(group=DOMAIN_USERS, upn_domains=("corp.example",), mail_domains=("corp.example",)),
        ),
        OutsideRules.DENY,
    ),
    unknown=MappingProxyType({"msPKI-New": ("a", 1, MappingProxyType({"b": None})), "x": True}),
)


def document(**changes: Any) -> dict[str, Any]:
    return template_to_json(RICH) | changes


# -- round trip ------------------------------------------------------------------------------------------------------


def test_template_survives_the_round_trip_through_text() -> None:
    assert template_from_text(template_to_text(RICH)) == RICH
    assert template_from_text(template_to_text(RICH).encode()) == RICH


def test_every_field_of_a_template_is_in_the_document() -> None:
    """A field that was forgotten here would be lost by the directory: each one changes the document."""
    other: dict[str, Any] = {
        "cn": "Other",
        "display_name": "Other",
        "oid": "1.2.3",
        "schema_version": 1,
        "major_version": 7,
        "minor_version": 8,
        "flags": GeneralFlag(0),
        "enrollment_flag": EnrollmentFlag(0),
        "private_key_flag": PrivateKeyFlag(0),
        "name_flag": NameFlag(0),
        "validity_period": timedelta(days=1),
        "renewal_period": timedelta(hours=1),
        "key_usage": b"\x80",
        "extended_key_usage": (),
        "application_policies": (),
        "issuance_policies": (),
        "critical_extensions": (),
        "minimal_key_size": 4096,
        "max_issuing_depth": -1,
        "default_key_spec": 2,
        "default_csps": (),
        "ra_signatures": 2,
        "ra_application_policies": (),
        "ra_policies": ("1.2.3",),
        "superseded_templates": (),
        "security_descriptor": "D:",
        "name_rules": NameRules(),
        "unknown": MappingProxyType({}),
    }
    assert set(other) == {field.name for field in fields(CertificateTemplate)}
    for name, value in other.items():
        changed = replace(RICH, **{name: value})
        assert template_to_json(changed) != template_to_json(RICH), name
        assert template_from_json(template_to_json(changed)) == changed, name


flags = st.integers(0, 0xFFFF_FFFF)
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=5,
)


@given(
    general=flags,
    enrollment=flags,
    private_key=flags,
    names=flags,
    hours=st.integers(1, 876_000),
    usage=st.binary(max_size=2),
    display=texts.filter(bool),
    unknown=st.dictionaries(st.from_regex(r"zz-[a-z]{1,8}", fullmatch=True), json_values, max_size=4),
)
@settings(max_examples=50, deadline=None)
def test_any_template_survives_the_round_trip(
    general: int,
    enrollment: int,
    private_key: int,
    names: int,
    hours: int,
    usage: bytes,
    display: str,
    unknown: dict[str, Any],
) -> None:
    template = make_template(
        "Any",
        display_name=display,
        flags=GeneralFlag(general),
        enrollment_flag=EnrollmentFlag(enrollment),
        private_key_flag=PrivateKeyFlag(private_key),
        name_flag=NameFlag(names),
        validity_period=timedelta(hours=hours),
        key_usage=usage,
    )
    text = json.dumps(template_to_json(template) | unknown)
    read = template_from_text(text)
    assert json.loads(template_to_text(read)) == json.loads(text)
    assert replace(read, unknown=MappingProxyType({})) == template


# -- how values are written ------------------------------------------------------------------------------------------


def test_values_are_written_as_active_directory_returns_them() -> None:
    """Flags are signed 32-bit numbers in LDAP; periods and key usage are octets."""
    written = template_to_json(RICH)
    assert written["msPKI-Certificate-Name-Flag"] == -1509949440
    assert written["msPKI-Certificate-Name-FlagNames"] == [
        "ALT_REQUIRE_UPN",
        "ALT_REQUIRE_EMAIL",
        "REQUIRE_EMAIL",
        "REQUIRE_DIRECTORY_PATH",
    ]
    assert written["pKIExpirationPeriod"] == "004039872ee1feff"
    assert written["pKIExpirationPeriodText"] == "1 year"
    assert written["pKIKeyUsage"] == "a000"
    assert written["pKIKeyUsageNames"] == ["digitalSignature", "keyEncipherment"]


def test_bits_without_a_name_are_shown_in_hexadecimal() -> None:
    assert flag_names(GeneralFlag(0x10051)) == ["MACHINE_TYPE", "IS_DEFAULT", "0x11"]
    assert flag_names(GeneralFlag(0)) == []


@pytest.mark.parametrize(
    "value",
    [
        -1509949440,
        0xA6000000,
        ["ALT_REQUIRE_UPN", "ALT_REQUIRE_EMAIL", "REQUIRE_EMAIL", "REQUIRE_DIRECTORY_PATH"],
        ["CT_FLAG_SUBJECT_ALT_REQUIRE_UPN", "subject_alt_require_email", "0x20000000", "REQUIRE_DIRECTORY_PATH"],
    ],
)
def test_flags_are_read_as_number_signed_or_not_and_as_names(value: object) -> None:
    given_document = document(**{"msPKI-Certificate-Name-Flag": value})
    del given_document["msPKI-Certificate-Name-FlagNames"]
    assert template_from_json(given_document).name_flag == NameFlag(0xA6000000)


@pytest.mark.parametrize("value", ["004039872ee1feff", "1 year", "365 days", "8760 Hours"])
def test_periods_are_read_as_octets_and_as_text(value: str) -> None:
    assert template_from_json(document(pKIExpirationPeriod=value)).validity_period == timedelta(days=365)


def test_key_usage_is_read_as_octets_and_as_names() -> None:
    for value in ("a000", "a0", ["digitalSignature", "keyencipherment"]):
        assert template_from_json(document(pKIKeyUsage=value)).key_usage.ljust(2, b"\0") == b"\xa0\x00"


def test_missing_attributes_have_the_value_of_a_missing_attribute() -> None:
    """[MS-CRTD] 2.16: no schema version means 1. Without permissions only administrators enroll."""
    template = template_from_json(
        {
            "cn": "Small",
            "flags": [],
            "msPKI-Enrollment-Flag": 0,
            "msPKI-Private-Key-Flag": 0,
            "msPKI-Certificate-Name-Flag": ["REQUIRE_COMMON_NAME"],
            "pKIExpirationPeriod": "1 year",
            "pKIOverlapPeriod": "6 weeks",
            "pKIKeyUsage": "80",
            "msPKI-Minimal-Key-Size": 2048,
        }
    )
    assert (template.schema_version, template.display_name, template.oid) == (1, "Small", "")
    assert template.security_descriptor == DEFAULT_SECURITY
    assert template.name_rules == NameRules()
    check_template(template)


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cn": None}, "no cn"),
        ({"cn": 5}, "cn has to be a string"),
        ({"cn": "a\0b"}, "cn has to be a string"),
        ({"displayName": "\ud800"}, "displayName has to be a string"),
        ({"flags": None}, "no flags"),
        ({"flags": "0x40"}, "flags has to be a number of 32 bits or a list"),
        ({"flags": True}, "flags has to be a number of 32 bits or a list"),
        ({"flags": 2**32}, "flags has to be a number of 32 bits or a list"),
        ({"flags": ["MACHINE"]}, "'MACHINE' is no flag; there are AUTO_ENROLLMENT, MACHINE_TYPE"),
        ({"flags": 0x40}, "flags and flagsNames contradict each other"),
        ({"pKIExpirationPeriod": "two years"}, "pKIExpirationPeriod: 'two years' is no period"),
        ({"pKIExpirationPeriod": "2 years"}, "pKIExpirationPeriod and pKIExpirationPeriodText contradict"),
        ({"pKIExpirationPeriod": "00c0bf78d11e0100"}, "negative"),
        ({"pKIKeyUsage": "a00000"}, "pKIKeyUsage has to be one or two octets"),
        ({"pKIKeyUsage": ["signing"]}, "'signing' is no key usage; there are digitalSignature"),
        ({"pKIExtendedKeyUsage": "1.2.3"}, "pKIExtendedKeyUsage has to be a list"),
        ({"pKIExtendedKeyUsage": [1]}, "every entry of pKIExtendedKeyUsage has to be a string"),
        ({"pKIExtendedKeyUsage": ["1.2.3"] * 300}, "at most 256"),
        ({"msPKI-Minimal-Key-Size": "2048"}, "msPKI-Minimal-Key-Size has to be a whole number"),
        ({"msPKI-RA-Signature": 1.5}, "msPKI-RA-Signature has to be a whole number"),
        ({"nameRules": []}, 'nameRules has to be an object with "rules" and "outside"'),
        ({"nameRules": {"rules": {}}}, "nameRules.rules has to be a list"),
        ({"nameRules": {"outside": "issue"}}, 'nameRules.outside has to be "pend" or "deny"'),
        ({"nameRules": {"rules": [{"dns": []}]}}, r"nameRules.rules\[0\] may say group, dnsSuffixes"),
        ({"zz": [[[[[[1]]]]]]}, "nested too deeply"),
        ({"zz": "x" * 20_000}, "16384 characters"),
        ({f"zz{number}": 1 for number in range(100)}, "unknown attributes; at most 64"),
    ],
)
def test_wrong_attribute_is_named_with_what_would_be_right(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        template_from_json(document(**change))


def test_misspelt_attribute_is_not_kept_as_an_unknown_one() -> None:
    misspelt = document()
    misspelt["msPKI-RA-Signatures"] = misspelt.pop("msPKI-RA-Signature")
    with pytest.raises(InvalidArgument, match="did you mean msPKI-RA-Signature"):
        template_from_json(misspelt)
    misspelt = document()
    misspelt["msPKI-Enrolment-Flag"] = misspelt.pop("msPKI-Enrollment-Flag")
    with pytest.raises(InvalidArgument, match=r"no msPKI-Enrollment-Flag\. Is 'msPKI-Enrolment-Flag' meant"):
        template_from_json(misspelt)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not JSON"),
        ("[]", "one JSON object"),
        ('{"cn": "A", "cn": "B"}', "names 'cn' twice"),
        ('{"cn": NaN}', "NaN is no JSON number"),
        (b"\xff\xfe", "is not JSON"),
        ("[" * 100_000, "nested too deeply|is not JSON"),
        (f'{{"cn": {"9" * 5000}}}', "is not JSON"),
        ('{"zz": "' + "x" * 300_000 + '"}', "256 KiB"),
    ],
)
def test_text_that_is_no_document_is_refused(text: str | bytes, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        template_from_text(text)


@given(st.dictionaries(st.sampled_from([*template_to_json(RICH), "other"]), json_values, max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_document_is_read_or_refused(garbage: dict[str, Any]) -> None:
    with suppress(InvalidArgument):
        template_from_json(document() | garbage)


# -- checks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cn": ""}, "cannot be a template's name"),
        ({"cn": "Web Server"}, "no blanks"),
        ({"cn": "a" * 65}, "cannot be a template's name"),
        ({"display_name": "a\nb"}, "printable"),
        ({"schema_version": 0}, "there are 1 to 4"),
        ({"validity_period": timedelta(days=40_000)}, "at most 100 years"),
        ({"renewal_period": timedelta(days=365)}, r"the renewal period \(1 year\) has to be shorter"),
        ({"minimal_key_size": -1}, "0 to 16384"),
        ({"key_usage": b"abc"}, "at most two octets"),
        ({"oid": "1.2.x"}, "no object identifier"),
        ({"extended_key_usage": ("serverAuth",)}, r"'serverAuth' is no object identifier \(extended key usage\)"),
        ({"issuance_policies": ("1.2.3", "1.2.3")}, "stands there twice"),
        ({"ra_signatures": 17}, "0 to 16"),
        ({"schema_version": 1, "ra_signatures": 1}, "schema version 1 cannot require signatures"),
        ({"ra_application_policies": ("a`b",)}, "triplets"),
        ({"name_rules": NameRules((NameRule(dns_suffixes=("*.corp.example",)),))}, "no DNS suffix"),
        ({"name_rules": NameRules((NameRule(dns_suffixes=("",)),))}, "no DNS suffix"),
        ({"name_rules": NameRules((NameRule(ip_ranges=("10.0.0.1/8",)),))}, "no IP range"),
        ({"name_rules": NameRules((NameRule(upn_domains=("@corp.example",)),))}, "no domain"),
        ({"name_rules": NameRules((NameRule(group="Domain Users"),))}, "by its SID"),
    ],
)
def test_values_that_make_no_sense_are_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        check_template(replace(RICH, **change))


def test_sensible_template_passes() -> None:
    check_template(RICH)
    check_template(replace(RICH, oid=""))


# -- periods ---------------------------------------------------------------------------------------------------------


@given(st.timedeltas(timedelta(0), timedelta(days=36_500)))
def test_stored_period_reads_back(period: timedelta) -> None:
    assert decode_period(encode_period(period)) == period


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("2 years", timedelta(days=730)),
        ("1 Year", timedelta(days=365)),
        ("6 weeks", timedelta(weeks=6)),
        ("3 months", timedelta(days=90)),
        ("90days", timedelta(days=90)),
        (" 8 hours ", timedelta(hours=8)),
    ],
)
def test_period_is_read_as_people_write_it(text: str, period: timedelta) -> None:
    assert parse_period(text) == period


@pytest.mark.parametrize("text", ["", "5", "years", "-1 year", "1.5 years", "1 yr", "101 years", "999999999 years"])
def test_text_that_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no period|hundred years"):
        parse_period(text)


@given(st.integers(1, 876_000).map(lambda hours: timedelta(hours=hours)))
def test_shown_period_is_what_it_says(period: timedelta) -> None:
    assert parse_period(period_text(period)) == period


@pytest.mark.parametrize("stored", [b"", b"\0" * 7, b"\1" + b"\0" * 7, (-15).to_bytes(8, "little", signed=True)])
def test_octets_that_are_no_stored_period_are_refused(stored: bytes) -> None:
    reader: Callable[[bytes], timedelta] = decode_period
    with pytest.raises(ValueError, match="period"):
        reader(stored)
