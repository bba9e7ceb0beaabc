"""The CA's settings: typed, documented, and wrong ones refused with a sentence. [MS-CSRA] 3.1.1.10."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.properties import CaType
from certwright.adcs.restrictions import Restrictions
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaCertificateRecord, CaRecord
from certwright.ca.periods import Period, Unit
from certwright.ca.settings import DEFAULT_SECURITY, SETTINGS
from certwright.ca.urls import UrlVariables, parse_urls

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


def record(name: str = "Corp Issuing CA", index: int = 0, key_index: int = 0) -> tuple[CaRecord, CaCertificateRecord]:
    certificate = CaCertificateRecord(index, key_index, b"", "key", NOW, NOW)
    return CaRecord(1, name, CaType.ENTERPRISE_SUBORDINATE, "", {}, (certificate,), 0, 1), certificate


def test_no_settings_mean_the_defaults() -> None:
    """Strict where security is concerned, Windows' numbers otherwise."""
    configuration = CaConfiguration.load({})

    assert configuration.channel_binding == "require"
    assert not configuration.retrieval_by_anyone
    assert not configuration.role_separation
    assert configuration.clock_skew == timedelta(minutes=10)
    assert configuration.crl_period == Period(1, Unit.WEEKS)
    assert configuration.security_descriptor == DEFAULT_SECURITY
    assert configuration.policy_settings == {"request-disposition": "pend", "enrollment-agents": Restrictions()}
    assert not configuration.officer_rights
    assert configuration.as_settings() == {}


def test_every_setting_is_documented_and_reads_its_own_default() -> None:
    """`certwright ca show` prints the meaning; what it prints can be set again."""
    texts = CaConfiguration.load({}).as_text()

    assert list(texts) == list(SETTINGS)
    for key, setting in SETTINGS.items():
        assert len(setting.meaning) > 20
        assert texts[key] == setting.default
        assert setting.write(setting.read(texts[key])) == texts[key]


def test_every_setting_has_a_field() -> None:
    names = {field.name for field in fields(CaConfiguration)} - {"_texts"}

    expected = {setting.attribute for setting in SETTINGS.values()} - {"clock_skew"} | {"clock_skew_period"}
    assert names == expected


def test_changes_are_kept_and_given_back() -> None:
    """The row keeps what differs from the default; texts come back in one form."""
    before = CaConfiguration.for_new_ca(CaType.ENTERPRISE_SUBORDINATE, dns_name="ca.corp.example")

    after = before.changed({"channel-binding": "ALLOW", "crl-period": " 2  Week ", "role-separation": "yes"})

    assert after.as_settings() == {
        "dns-name": "ca.corp.example",
        "channel-binding": "allow",
        "crl-period": "2 weeks",
        "role-separation": "on",
    }
    assert CaConfiguration.load(after.as_settings()) == after
    assert before.channel_binding == "require"


def test_an_empty_text_takes_a_setting_back() -> None:
    changed = CaConfiguration.for_new_ca(CaType.ENTERPRISE_SUBORDINATE, dns_name="ca.corp.example", ntlm="off")

    assert changed.changed({"ntlm": ""}).ntlm


def test_none_means_no_urls() -> None:
    configuration = CaConfiguration.load({}).changed({"cdp-urls": "none", "aia-urls": "None"})

    assert configuration.issuance_urls(*record()).cdp == ()
    assert configuration.as_text()["aia-urls"] == "none"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chanel-binding": "off"}, "did you mean channel-binding?"),
        ({"channel_binding": "off"}, "did you mean channel-binding?"),
        ({"xyzzy": "1"}, "there are aia-urls"),
        ({"channel-binding": "maybe"}, "channel-binding: 'maybe' is none of off, allow, require"),
        ({"ntlm": "perhaps"}, "neither on nor off"),
        ({"crl-period": "3 moons"}, "no period: write a number and one of minutes"),
        ({"crl-period": "0 days"}, "longer than nothing"),
        ({"clock-skew": "3 days"}, "at most 24 hours"),
        ({"validity-period": "900 years"}, "at most 200 years"),
        ({"crl-overlap": "3 weeks", "dns-name": "ca.corp.example"}, "must not be longer than crl-period"),
        ({"dns-name": "no host"}, "no DNS host name"),
        ({"security-descriptor": "everyone"}, "needs a DACL"),
        ({"directory-dn": "corp.example"}, "no distinguished name"),
        ({"cdp-urls": "https://%1/x.crl"}, "over http, never over https"),
        ({"cdp-urls": "gopher://%1/x.crl"}, "no URL that starts with http://"),
        ({"cdp-urls": "http://%1/%20.crl"}, "%20 is no variable"),
        ({"cdp-urls": "http://%1/%x.crl"}, "a percent sign is written %%"),
        ({"cdp-urls": " ".join(f"http://a{n}/" for n in range(11))}, "at most 10 URLs"),
        ({"cdp-urls": "http://%1/x.crl"}, "cdp-urls: a URL uses %1, but dns-name is not set"),
        ({"aia-urls": "ldap:///CN=%7,%6%11", "dns-name": "ca.corp.example"}, "directory-dn is not set"),
    ],
)
def test_wrong_settings_are_refused_with_what_would_be_accepted(changes: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        CaConfiguration.load({}).changed(changes)

    assert words in refused.value.message


def test_a_stored_setting_of_another_kind_is_refused() -> None:
    """The row is JSON: a number there was written by nobody of ours."""
    with pytest.raises(ConfigurationError, match="ntlm: a setting is a text, not int"):
        CaConfiguration.load({"ntlm": 1})


def test_roots_publish_twice_a_year() -> None:
    root = CaConfiguration.for_new_ca(CaType.STANDALONE_ROOT, dns_name="ca.corp.example")

    assert (root.crl_period, root.validity_period) == (Period(26, Unit.WEEKS), Period(10, Unit.YEARS))
    assert CaConfiguration.for_new_ca(
        CaType.STANDALONE_SUBORDINATE, dns_name="ca.corp.example"
    ).validity_period == Period(1, Unit.YEARS)


def test_maximum_validity_counts_calendar_years() -> None:
    """ValidityPeriodUnits from now: two years from here hold a leap day. [MS-WCCE] 3.2.2.6.2.1.4.4.2."""
    assert CaConfiguration.load({}).maximum_validity(NOW) == timedelta(days=731)


# -- URLs ------------------------------------------------------------------------------------------------------------


def test_default_urls_name_what_is_published() -> None:
    """Blanks are encoded; certificates count by certificate, CRLs by key. [MS-WCCE] 3.2.1.4.3.2.39."""
    configuration = CaConfiguration.for_new_ca(CaType.ENTERPRISE_SUBORDINATE, dns_name="ca.corp.example")

    first = configuration.issuance_urls(*record())
    later = configuration.issuance_urls(*record(index=6, key_index=5))

    assert first.cdp == ("http://ca.corp.example/CertEnroll/Corp%20Issuing%20CA.crl",)
    assert first.aia == ("http://ca.corp.example/CertEnroll/ca.corp.example_Corp%20Issuing%20CA.crt",)
    assert first.ocsp == ()
    assert later.cdp == ("http://ca.corp.example/CertEnroll/Corp%20Issuing%20CA(5).crl",)
    assert later.aia == ("http://ca.corp.example/CertEnroll/ca.corp.example_Corp%20Issuing%20CA(6).crt",)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://%1/%3%8%9.crl", "http://ca.corp.example/Corp%20%21002b%20CA(1)+.crl"),
        (
            "ldap:///CN=%7%8,CN=%2,CN=CDP,CN=Public%%20Key%%20Services,CN=Services,%6%10",
            "ldap:///CN=Corp%20%21002b%20CA(1),CN=CA,CN=CDP,CN=Public%20Key%20Services,CN=Services,"
            "CN=Configuration,DC=corp,DC=example?deltaRevocationList?base?objectClass=cRLDistributionPoint",
        ),
        ("ldap:///%5%11", "ldap:///DC=corp,DC=example?cACertificate?base?objectClass=certificationAuthority"),
        ("file://%1/%1_%3%4.crt", "file://ca.corp.example/ca.corp.example_Corp%20%21002b%20CA(2).crt"),
    ],
)
def test_variables_stand_for_what_windows_says(url: str, expected: str) -> None:
    """CRLPublicationURLs and CACertPublicationURLs. [MS-CSRA] 3.1.4.1.6."""
    variables = UrlVariables("ca.corp.example", "Corp + CA", 2, 1, "DC=corp,DC=example", delta=True)

    (parsed,) = parse_urls(url)

    assert variables.expand(parsed).replace("!", "%21") == expected


def test_file_names_are_those_of_the_default_urls() -> None:
    variables = UrlVariables("ca.corp.example", "Corp/CA", 1, 1)

    assert variables.crl_file == "Corp!002fCA(1).crl"
    assert variables.certificate_file == "ca.corp.example_Corp!002fCA(1).crt"


# -- periods ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90 minutes", datetime(2024, 1, 31, 1, 30, tzinfo=UTC)),
        ("1 week", datetime(2024, 2, 7, tzinfo=UTC)),
        ("1 months", datetime(2024, 2, 29, tzinfo=UTC)),
        ("13 months", datetime(2025, 2, 28, tzinfo=UTC)),
        ("2 years", datetime(2026, 1, 31, tzinfo=UTC)),
    ],
)
def test_periods_follow_the_calendar(text: str, expected: datetime) -> None:
    start = datetime(2024, 1, 31, tzinfo=UTC)
    period = Period.parse(text)

    assert period.after(start) == expected
    assert period.length(start) <= period.longest
    assert Period.parse(str(period)) == period


@pytest.mark.parametrize(
    "text", ["", "week", "1.5 years", "-1 days", "1 fortnight", "1234567 minutes", "\u0663 days"]
)
def test_other_texts_are_no_periods(text: str) -> None:
    with pytest.raises(ValueError, match="no period"):
        Period.parse(text)
