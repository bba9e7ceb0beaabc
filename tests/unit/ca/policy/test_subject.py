"""Names from the directory, flag by flag. [MS-WCCE] 3.2.2.6.2.1.4.5.9, [MS-CRTD] 2.28."""

from __future__ import annotations

import ipaddress
import uuid
from typing import Any

import pytest

from certwright.adcs.template import GeneralFlag, NameFlag, NameRule
from certwright.ca.policy.base import CertificateSpec, Issue
from certwright.pki import names
from certwright.pki.general_names import (
    DirectoryGuid,
    DnsName,
    EmailAddress,
    GeneralName,
    IpAddress,
    UserPrincipalName,
)
from tests.support import requests as make
from tests.support.deciding import enrollee_template, verdict_on, would_issue
from tests.support.fake_directory import make_computer, make_template, make_user

ALICE = make_user(mail="alice@corp.example")
WEB1 = make_computer()
USER_TEMPLATES = NameFlag(0xA6000000)
"""User, Administrator: directory path, mail in the subject, UPN and mail as alternative names."""


def issued(flags: NameFlag, principal: Any, *, machine: bool = False) -> CertificateSpec:
    template = make_template(
        "Template", name_flag=flags, flags=GeneralFlag.MACHINE_TYPE if machine else GeneralFlag(0)
    )
    return would_issue(verdict_on(template, make.make_request(), principal)).spec


@pytest.mark.parametrize(
    ("flags", "principal", "machine", "expected"),
    [
        (NameFlag.REQUIRE_COMMON_NAME, ALICE, False, "CN=Alice"),
        (NameFlag.REQUIRE_DNS_AS_CN, ALICE, False, "CN=Alice"),
        (NameFlag.REQUIRE_COMMON_NAME, WEB1, True, "CN=web1.corp.example"),
        (NameFlag.REQUIRE_DNS_AS_CN, WEB1, True, "CN=web1.corp.example"),
        (NameFlag.REQUIRE_COMMON_NAME, WEB1, False, "CN=WEB1"),
        (NameFlag.REQUIRE_DIRECTORY_PATH, ALICE, False, "CN=Alice,OU=Staff,DC=corp,DC=example"),
        (
            NameFlag.REQUIRE_DIRECTORY_PATH | NameFlag.REQUIRE_COMMON_NAME,
            ALICE,
            False,
            "CN=Alice,OU=Staff,DC=corp,DC=example",
        ),
        (
            NameFlag.REQUIRE_DIRECTORY_PATH | NameFlag.REQUIRE_EMAIL,
            ALICE,
            False,
            "E=alice@corp.example,CN=Alice,OU=Staff,DC=corp,DC=example",
        ),
        (NameFlag.REQUIRE_EMAIL, ALICE, False, "E=alice@corp.example"),
        (NameFlag.ALT_REQUIRE_DNS, WEB1, True, ""),
    ],
)
def test_subject_is_what_the_flags_choose(flags: NameFlag, principal: Any, machine: bool, expected: str) -> None:
    assert names.format_name(issued(flags, principal, machine=machine).subject) == expected


def test_directory_path_stands_in_the_order_of_x500() -> None:
    """The domain first, mail last: the string lists the most specific component first."""
    spec = issued(NameFlag.REQUIRE_DIRECTORY_PATH | NameFlag.REQUIRE_EMAIL, ALICE)

    assert [a.name for a in names.attributes(spec.subject)] == ["DC", "DC", "OU", "CN", "E"]


@pytest.mark.parametrize(
    ("flags", "principal", "machine", "expected"),
    [
        (NameFlag.ALT_REQUIRE_UPN, ALICE, False, (UserPrincipalName("alice@corp.example"),)),
        (NameFlag.ALT_REQUIRE_SPN, ALICE, False, (UserPrincipalName("alice@corp.example"),)),
        (NameFlag.ALT_REQUIRE_UPN, make_user(upn=""), False, (UserPrincipalName("alice@corp.example"),)),
        (NameFlag.ALT_REQUIRE_UPN, WEB1, True, (UserPrincipalName("WEB1$@corp.example"),)),
        (NameFlag.ALT_REQUIRE_EMAIL, ALICE, False, (EmailAddress("alice@corp.example"),)),
        (
            NameFlag.ALT_REQUIRE_DIRECTORY_GUID,
            ALICE,
            False,
            (DirectoryGuid(uuid.UUID(bytes_le=ALICE.guid)),),
        ),
        (NameFlag.ALT_REQUIRE_DNS, WEB1, True, (DnsName("web1.corp.example"),)),
        (
            NameFlag.ALT_REQUIRE_DNS,
            make_computer(additional_host_names=("WWW.Corp.Example", "10.0.0.5", "2001:db8::5", "web1.corp.example")),
            True,
            (
                DnsName("web1.corp.example"),
                DnsName("www.corp.example"),
                IpAddress(ipaddress.ip_address("10.0.0.5")),
                IpAddress(ipaddress.ip_address("2001:db8::5")),
            ),
        ),
        (NameFlag.ALT_REQUIRE_DOMAIN_DNS, WEB1, True, (DnsName("corp.example"), DnsName("CORP"))),
        (
            NameFlag.ALT_REQUIRE_DNS | NameFlag.ALT_REQUIRE_DIRECTORY_GUID,
            WEB1,
            True,
            (DirectoryGuid(uuid.UUID(bytes_le=WEB1.guid)), DnsName("web1.corp.example")),
        ),
        (
            USER_TEMPLATES,
            ALICE,
            False,
            (UserPrincipalName("alice@corp.example"), EmailAddress("alice@corp.example")),
        ),
        (NameFlag.REQUIRE_COMMON_NAME, ALICE, False, ()),
    ],
)
def test_alternative_names_are_what_the_flags_choose(
    flags: NameFlag, principal: Any, machine: bool, expected: tuple[GeneralName, ...]
) -> None:
    """[MS-WCCE] 3.2.2.6.2.1.4.5.9; the UPN that Active Directory implies stands in for one that is not set."""
    if not flags & NameFlag.REQUIRE_COMMON_NAME:
        flags |= NameFlag.REQUIRE_COMMON_NAME

    assert issued(flags, principal, machine=machine).subject_alternative_names == expected


def test_host_names_are_certified_in_lower_case() -> None:
    spec = issued(
        NameFlag.ALT_REQUIRE_DNS | NameFlag.REQUIRE_DNS_AS_CN,
        make_computer(dns_host_name="WEB1.Corp.Example"),
        machine=True,
    )

    assert spec.subject_alternative_names == (DnsName("web1.corp.example"),)
    assert names.common_name(spec.subject) == "web1.corp.example"


def test_old_certificate_supplies_names_in_renewals_only() -> None:
    """0x8 speaks of renewals; a new request is treated by the other flags."""
    flags = NameFlag.OLD_CERT_SUPPLIES_SUBJECT_AND_ALT_NAME | NameFlag.REQUIRE_COMMON_NAME

    assert names.format_name(issued(flags, ALICE).subject) == "CN=Alice"


def test_enrollee_supplied_alternative_name_flag_supplies_nothing() -> None:
    """0x10000: the CA ignores it. [MS-CRTD] 2.28."""
    flags = NameFlag.ENROLLEE_SUPPLIES_SUBJECT_ALT_NAME | NameFlag.REQUIRE_COMMON_NAME
    template = make_template("Template", name_flag=flags)

    spec = would_issue(verdict_on(template, make.web_server_request("evil.example"))).spec

    assert (names.format_name(spec.subject), spec.subject_alternative_names) == ("CN=Alice", ())


# -- supplied by the enrollee ----------------------------------------------------------------------------------------


def test_subject_in_the_request_keeps_its_bytes() -> None:
    subject = make.name(("C", "DE"), ("O", "Corp"), ("OU", "Web"), ("CN", "web.corp.example"))

    spec = would_issue(
        verdict_on(
            enrollee_template(NameRule(dns_suffixes=("corp.example",))), make.web_server_request(subject=subject)
        )
    ).spec

    assert spec.subject == subject


def test_alternative_name_alone_is_enough() -> None:
    """[MS-WCCE] 3.2.1.4.2.1.4.7: neither subject nor alternative name is refused, one of them suffices."""
    rules = enrollee_template(NameRule(dns_suffixes=("corp.example",)))

    verdict = verdict_on(rules, make.web_server_request(subject=make.name()))

    assert isinstance(verdict, Issue)
    assert verdict.spec.subject == names.EMPTY


@pytest.mark.parametrize("cn", ["ExchangeUser", "ExchangeUserSignature", "Other"])
def test_exchange_templates_lose_the_bare_common_name_beside_a_mail_address(cn: str) -> None:
    directory_name = make.tlv(0xA4, make.name(("CN", "Alice")))
    raw = make.make_request(extensions=[make.alternative_names(directory_name, make.mail("alice@corp.example"))])

    spec = would_issue(verdict_on(enrollee_template(cn=cn), raw)).spec

    assert (spec.subject_alternative_names == (EmailAddress("alice@corp.example"),)) is (cn != "Other")
