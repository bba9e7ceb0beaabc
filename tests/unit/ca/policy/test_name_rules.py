"""Name rules: what is outside is never issued, however it is spelled. Ours; docs/adr/0006."""

from __future__ import annotations

import ipaddress
import unicodedata
import uuid

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from certwright.adcs.requester import Sid
from certwright.adcs.template import CertificateTemplate, NameRule, NameRules, OutsideRules
from certwright.ca.intake.errors import IntakeError
from certwright.ca.policy.base import Issue, Pend, Verdict
from certwright.ca.policy.name_rules import CompiledNameRules, describes
from certwright.pki import names, oids
from certwright.pki.general_names import (
    DirectoryGuid,
    DirectoryName,
    DnsName,
    EmailAddress,
    GeneralName,
    IpAddress,
    OtherName,
    RegisteredId,
    UnknownName,
    Uri,
    UserPrincipalName,
)
from tests.support import requests as make
from tests.support.deciding import enrollee_template, verdict_on, would_issue
from tests.support.fake_directory import DOMAIN_SID, WEB_ADMINS, make_user

CORP = NameRule(
    dns_suffixes=("corp.example",),
    ip_ranges=("10.0.0.0/8", "2001:db8::/32"),
    upn_domains=("corp.example",),
    mail_domains=("mail.example",),
)
ALICE = Sid(f"{DOMAIN_SID}-1101")


def outside(
    *alternatives: GeneralName,
    subject: bytes = names.EMPTY,
    rules: tuple[NameRule, ...] = (CORP,),
    sids: frozenset[Sid] = frozenset({ALICE}),
    describing_names: bool = False,
) -> str:
    compiled = CompiledNameRules.of(NameRules(rules))
    return compiled.why_outside(subject, alternatives, sids, describing_names=describing_names)


def common_name(value: str) -> bytes:
    return names.name_of((oids.COMMON_NAME, value))


# -- host names ------------------------------------------------------------------------------------------------------

INSIDE_HOSTS = ["corp.example", "web.corp.example", "a.b.c.corp.example", "*.corp.example", "*.web.corp.example"]
OUTSIDE_HOSTS = [
    "evilcorp.example",
    "evil-corp.example",
    "corp.example.evil.example",
    "corp.examples",
    "corp.exampl",
    "orp.example",
    "example",
    "*.example",
    "*",
    "*.*.corp.example",
    "web.*.corp.example",
    "w*.corp.example",
    ".corp.example",
    "..corp.example",
    "web..corp.example",
    "web.corp.example..",
    "web.corp.example\x00.evil.example",
    "evil.example\x00.corp.example",
    "evil.example .corp.example",
    "evil.example/.corp.example",
    "-web.corp.example",
    "web_1.corp.example",
    "xn--.corp.example",
    "",
    ".",
    "localhost",
    "corp",
    "10.0.0.1",
]


@pytest.mark.parametrize("host", INSIDE_HOSTS)
def test_host_below_the_suffix_is_inside(host: str) -> None:
    assert outside(DnsName(host)) == ""
    assert outside(subject=common_name(host)) == ""


@pytest.mark.parametrize("host", [*OUTSIDE_HOSTS, "x" * 5000, "ä" * 5000])
def test_host_outside_the_suffix_is_outside_in_both_places(host: str) -> None:
    assert outside(DnsName(host))
    if host not in ("", "10.0.0.1") and "\x00" not in host:
        assert outside(subject=common_name(host))


@pytest.mark.parametrize(
    "host",
    [
        "WEB.CORP.EXAMPLE",
        "web.Corp.Example",
        "web.corp.example.",
        "web．corp．example",
        "web。corp.example",
        "ｗeb.corp.example",
    ],
)
def test_spelling_does_not_matter(host: str) -> None:
    """Case, the root's dot, and what IDNA maps to the same name (RFC 3490 3.1)."""
    assert outside(subject=common_name(host)) == ""


@pytest.mark.parametrize(
    "host",
    ["cоrp.example", "web.cοrp.example", "corp。evil.example", "evil.example。", "corp.example․evil", "ⓒorp.evil"],
)
def test_lookalikes_are_outside(host: str) -> None:
    """Cyrillic and Greek letters, and the dots that IDNA and NFKC know."""
    assert outside(subject=common_name(host))


def test_international_suffix_is_compared_in_ascii() -> None:
    rules = (NameRule(dns_suffixes=("bücher.example",)),)

    assert outside(DnsName("www.xn--bcher-kva.example"), rules=rules) == ""
    assert outside(subject=common_name("www.BÜCHER.example"), rules=rules) == ""
    assert outside(DnsName("www.bucher.example"), rules=rules)


def test_leading_dot_allows_only_names_below() -> None:
    rules = (NameRule(dns_suffixes=(".corp.example",)),)

    assert outside(DnsName("web.corp.example"), rules=rules) == ""
    assert outside(DnsName("corp.example"), rules=rules)
    assert outside(DnsName("*.corp.example"), rules=rules), "the star's base itself is not allowed"
    assert outside(DnsName("*.web.corp.example"), rules=rules) == ""


def is_below(host: str, suffix: str) -> bool:
    """The rule said again, label by label and from the right, for the property tests."""
    labels, wanted = host.split("."), suffix.split(".")
    return len(labels) >= len(wanted) and labels[-len(wanted) :] == wanted


_LABELS = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\Z")
_HOSTS = st.lists(_LABELS, min_size=1, max_size=5).map(".".join)
_NEAR_MISSES = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "evil", "x.", "*.", ".", "-", "a.b.", "evil.example\u3002", "\u0435"]),
    st.sampled_from(
        ["corp.example", "CORP.example", "corp\uff0eexample", "c\u043erp.example", "corpexample", "example"]
    ),
    st.sampled_from(["", ".", "..", ".evil", ".evil.example", "\u3002evil", "x", ":443", "@corp.example"]),
)


@given(st.one_of(_HOSTS, _NEAR_MISSES, st.text(max_size=40)))
@example("evilcorp.example")
@example("corp.example.evil.example")
@settings(max_examples=400)
def test_host_that_is_issued_is_below_the_suffix(host: str) -> None:
    """A name outside is never issued, whatever is typed: compared label by label with the form a client resolves."""
    if outside(DnsName(host)):
        return
    resolved = unicodedata.normalize("NFKC", host).casefold().replace("。", ".").removesuffix(".").removeprefix("*.")

    assert is_below(resolved, "corp.example")
    assert all(label.strip("-") for label in resolved.split("."))


@given(_HOSTS)
def test_every_host_below_the_suffix_is_issued(prefix: str) -> None:
    assert outside(DnsName(f"{prefix}.corp.example")) == ""


@given(st.one_of(_HOSTS, _NEAR_MISSES, st.text(st.characters(codec="latin-1"), max_size=30)))
@settings(max_examples=200, deadline=None)
def test_certificate_with_a_host_outside_is_never_issued(host: str) -> None:
    """From real bytes to the verdict: intake, subject, name rules."""
    template = enrollee_template(NameRule(dns_suffixes=("corp.example",)))
    encoded = host.encode("utf-8", "replace").decode("latin-1")
    raw = make.make_request(extensions=[make.alternative_names(make.dns(encoded))])

    issued = decided(template, raw)

    if issued is not None:
        for name in issued.spec.subject_alternative_names:
            assert isinstance(name, DnsName)
            assert is_below(name.value.removeprefix("*."), "corp.example")
            assert name.value == name.value.lower()


def decided(template: CertificateTemplate, raw: bytes) -> Issue | None:
    """The certificate that would be issued without anybody asking; None when it is refused or waits."""
    try:
        verdict: Verdict = verdict_on(template, raw)
    except IntakeError:
        return None
    return verdict if isinstance(verdict, Issue) else None


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.0.0.1", True),
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("9.255.255.255", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::ffff:10.0.0.1", True),
        ("::ffff:11.0.0.1", False),
        ("::10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_addresses_are_held_against_ranges(address: str, inside: bool) -> None:
    assert (outside(IpAddress(ipaddress.ip_address(address))) == "") is inside
    assert (outside(subject=common_name(address)) == "") is inside


def test_mapped_address_is_the_ipv4_address_it_holds() -> None:
    """RFC 4291 2.5.5.2: a range of all IPv6 addresses lets no IPv4 address in."""
    rules = (NameRule(ip_ranges=("::/0",)),)

    assert outside(IpAddress(ipaddress.ip_address("2001:db8::1")), rules=rules) == ""
    assert outside(IpAddress(ipaddress.ip_address("::ffff:8.8.8.8")), rules=rules)


@given(st.ip_addresses())
def test_address_that_is_issued_is_in_a_range(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    number = int(address)
    mapped = address.version == 6 and number >> 32 == 0xFFFF
    expected = (number & 0xFFFFFFFF) >> 24 == 10 if address.version == 4 or mapped else number >> 96 == 0x2001_0DB8

    assert (outside(IpAddress(address)) == "") is expected


@pytest.mark.parametrize(
    "text", ["010.0.0.1", "10.1", "0x0a000001", "167772161", "10.0.0.1.", "10.0.0.1/8", "[2001:db8::1]"]
)
def test_other_spellings_of_addresses_are_outside(text: str) -> None:
    assert outside(subject=common_name(text))


# -- mail and accounts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        (EmailAddress("alice@mail.example"), True),
        (EmailAddress("Alice@MAIL.Example"), True),
        (EmailAddress("alice@sub.mail.example"), False),
        (EmailAddress("alice@evilmail.example"), False),
        (EmailAddress("alice@corp.example"), False),
        (EmailAddress("alice@mail.example@evil.example"), False),
        (EmailAddress("alice@evil.example@mail.example"), False),
        (EmailAddress("@mail.example"), False),
        (EmailAddress("mail.example"), False),
        (EmailAddress("alice@*.mail.example"), False),
        (UserPrincipalName("alice@corp.example"), True),
        (UserPrincipalName("ALICE@Corp.Example"), True),
        (UserPrincipalName("alice@ｃorp.example"), True),
        (UserPrincipalName("alice@mail.example"), False),
        (UserPrincipalName("alice@corp.example.evil"), False),
        (UserPrincipalName("alice@evil.example\\@corp.example"), False),
        (UserPrincipalName("alice"), False),
        (UserPrincipalName("alice@" + "ä" * 5000), False),
    ],
)
def test_mail_and_account_names_need_their_domain(name: GeneralName, inside: bool) -> None:
    assert (outside(name) == "") is inside


@pytest.mark.parametrize(
    "name",
    [
        Uri("https://web.corp.example/"),
        Uri(f"tag:microsoft.com,2022-09-14:sid:{DOMAIN_SID}-500"),
        DirectoryName(common_name("web.corp.example")),
        DirectoryGuid(uuid.UUID(int=1)),
        RegisteredId("1.2.3"),
        OtherName("1.3.6.1.5.2.2", b"\x05\x00"),
        OtherName("1.3.6.1.4.1.311.20.2.3", b"\x16\x12alice@corp.example"),
        UnknownName(b"\xa3\x00"),
    ],
)
def test_kinds_of_names_the_rules_do_not_know_are_outside(name: GeneralName) -> None:
    assert "No name rule covers" in outside(DnsName("web.corp.example"), name)


# -- the subject -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "inside"),
    [
        ("CN=web.corp.example,OU=Web,O=Corp,L=Berlin,ST=Berlin,STREET=Main 1,POSTALCODE=1,C=DE", True),
        ("CN=web.corp.example,DC=corp,DC=example", True),
        ("CN=web.corp.example,DC=evil,DC=example", False),
        ("CN=web.corp.example,DC=example", False),
        ("CN=web.corp.example+CN=evil.example", False),
        ("CN=evil.example,CN=web.corp.example", False),
        ("E=alice@mail.example", True),
        ("E=alice@evil.example,CN=web.corp.example", False),
        ("CN=alice@mail.example", True),
        ("CN=alice@corp.example", True),
        ("CN=alice@evil.example", False),
        ("CN=Administrator", False),
        ("CN=Corp Web Server", False),
        ("UID=administrator,CN=web.corp.example", False),
        ("SN=Smith,CN=web.corp.example", False),
        ("UNSTRUCTUREDNAME=web.corp.example", True),
        ("UNSTRUCTUREDNAME=evil.example", False),
        ("SERIALNUMBER=1,CN=web.corp.example", False),
        ("1.2.3.4=x,CN=web.corp.example", False),
        ("CN=#0401FF", False),
        ("O=#0401FF,CN=web.corp.example", False),
    ],
)
def test_subject_is_held_against_the_rules_too(subject: str, inside: bool) -> None:
    assert (outside(subject=names.parse_dn(subject)) == "") is inside


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ("Corp Web Server", True),
        ("Web server no. 5 (test), O'Neill", True),
        ("Müller Web-Server", True),
        ("web", False),
        ("Administrator", False),
        ("www.evil.example", False),
        ("Server www.evil.example", False),
        ("Server 10.9.8.7", False),
        ("Server *.evil", False),
        ("alice@evil.example x", False),
        ("http://evil x", False),
        ("evil.example\u00a0x", False),
        ("evil\u2024example x", False),
        ("CORP\\admin x", False),
    ],
)
def test_common_name_may_be_a_title_where_only_hosts_are_looked_for(value: str, allowed: bool) -> None:
    """Server certificates are often titled; what could be taken for a host, address or account needs a rule."""
    assert describes(value) is allowed
    assert (outside(subject=common_name(value), describing_names=True) == "") is allowed
    assert outside(subject=common_name(value))


@pytest.mark.parametrize(
    ("usages", "issued"),
    [
        ((oids.EKU_SERVER_AUTH,), True),
        ((oids.EKU_SERVER_AUTH, oids.EKU_CLIENT_AUTH), False),
        ((oids.EKU_CLIENT_AUTH,), False),
        ((oids.EKU_ANY,), False),
        ((), False),
    ],
)
def test_title_is_no_name_of_a_person(usages: tuple[str, ...], issued: bool) -> None:
    """Where clients authenticate, the common name is an identity: it waits for a manager."""
    template = enrollee_template(CORP, extended_key_usage=usages, application_policies=usages)
    raw = make.web_server_request("web.corp.example", subject=make.name(("CN", "Domain Admin")))

    assert isinstance(verdict_on(template, raw), Issue if issued else Pend)


# -- whose rules -----------------------------------------------------------------------------------------------------


def test_rule_for_a_group_is_for_its_members_only() -> None:
    rules = (NameRule(dns_suffixes=("corp.example",)), NameRule(group=WEB_ADMINS, dns_suffixes=("shop.example",)))
    template = enrollee_template(*rules)
    raw = make.web_server_request("www.shop.example", "www.corp.example")
    member = make_user(groups=make_user().groups | {WEB_ADMINS})

    assert isinstance(verdict_on(template, raw, member), Issue)
    assert isinstance(verdict_on(template, raw), Pend)


def test_message_names_the_name_and_the_rule() -> None:
    verdict = would_issue(
        verdict_on(enrollee_template(CORP), make.web_server_request("web.corp.example", "evil.example"))
    )

    assert isinstance(verdict, Pend)
    assert verdict.reason == (
        "The name rules do not allow the DNS name evil.example; allowed by DNS rule: corp.example."
    )


def test_message_does_not_list_rules_without_end() -> None:
    rules = (NameRule(dns_suffixes=tuple(f"d{n}.example" for n in range(50))),)

    assert len(outside(DnsName("x.example"), rules=rules)) < 200
    assert "rule: none." in outside(DnsName("x.example"), rules=(NameRule(ip_ranges=("10.0.0.0/8",)),))


def test_no_rule_means_everything_is_outside() -> None:
    assert "no name rule" in outside(DnsName("web.corp.example"), rules=())
    assert CompiledNameRules.of(NameRules()).outside is OutsideRules.PEND


# -- rules that cannot be read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (NameRule(dns_suffixes=("",)), "DNS suffix"),
        (NameRule(dns_suffixes=("*.corp.example",)), "wildcard"),
        (NameRule(dns_suffixes=("corp.example:443",)), "DNS suffix"),
        (NameRule(dns_suffixes=("..corp.example",)), "DNS suffix"),
        (NameRule(dns_suffixes=("10.0.0.1",)), "DNS suffix"),
        (NameRule(ip_ranges=("10.0.0.1/8",)), "IP range"),
        (NameRule(ip_ranges=("corp.example",)), "IP range"),
        (NameRule(upn_domains=("@corp.example",)), "UPN domain"),
        (NameRule(mail_domains=("corp example",)), "mail domain"),
        (NameRule(group="CORP\\Web Admins"), "security identifier"),
    ],
)
def test_rule_that_cannot_be_read_is_refused(rule: NameRule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompiledNameRules.of(NameRules((rule,)))


def test_rule_may_be_written_with_capitals_blanks_and_the_roots_dot() -> None:
    rules = (NameRule(dns_suffixes=(" Corp.Example. ",), mail_domains=("MAIL.example",)),)

    assert outside(DnsName("web.corp.example"), EmailAddress("a@mail.example"), rules=rules) == ""
