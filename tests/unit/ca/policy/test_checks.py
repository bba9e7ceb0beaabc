"""Every rule and its refusal: one row per HRESULT that this policy can give. [MS-WCCE] 3.2.2.6.2.1.4."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from certwright.adcs.errors import HResult
from certwright.adcs.request import template_attributes
from certwright.adcs.requester import AUTHENTICATED_USERS, Sid
from certwright.adcs.template import (
    EnrollmentFlag,
    GeneralFlag,
    NameFlag,
    NameRule,
    OutsideRules,
    PrivateKeyFlag,
)
from certwright.ca.policy.base import SERVER_VERSION, Deny, Issue, Verdict
from certwright.ca.policy.case import Refused
from certwright.ca.policy.checks import refuse_weak_key
from certwright.ca.policy.enterprise import ORDER, EnterprisePolicy
from certwright.directory.base import PrincipalKind
from certwright.pki import public_keys
from tests.support import deciding
from tests.support import requests as make
from tests.support.deciding import (
    NOW,
    ask,
    denied,
    directory_template,
    enrollee_template,
    make_facts,
    verdict_on,
    would_issue,
)
from tests.support.fake_directory import (
    DOMAIN_COMPUTERS,
    enroll_sddl,
    make_computer,
    make_user,
)

CORP = NameRule(dns_suffixes=("corp.example",))
COMMON_NAME = NameFlag.REQUIRE_COMMON_NAME


def key_of(kind: str) -> bytes:
    """A request with this key."""
    match kind.partition(" "):
        case "RSA", _, bits:
            return make.make_request(make.rsa_key(int(bits)))
        case "Ed25519", _, _:
            return make.make_request(ed25519.Ed25519PrivateKey.generate())
        case _:
            return make.make_request(make.ec_key(kind))


@functools.cache
def exponent_three() -> bytes:
    return make.make_request(rsa.generate_private_key(3, 2048))


# -- one row per refusal ---------------------------------------------------------------------------------------------

WEAK = HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY
SHORT = HResult.CERTSRV_E_KEY_LENGTH
MACHINE = GeneralFlag.MACHINE_TYPE

REFUSALS: list[tuple[str, HResult, str, Callable[[], Verdict]]] = [
    (
        "account is disabled",
        HResult.E_ACCESSDENIED,
        "account_enabled",
        lambda: verdict_on(directory_template(), principal=make_user(enabled=False)),
    ),
    (
        "account is a group",
        HResult.E_ACCESSDENIED,
        "account_enabled",
        lambda: verdict_on(directory_template(), principal=make_user(kind=PrincipalKind.GROUP)),
    ),
    (
        "account is unknown",
        HResult.E_ACCESSDENIED,
        "account_enabled",
        lambda: EnterprisePolicy().verify(
            ask(attributes=template_attributes("Template"))._replace(subject_principal=None),
            make_facts(directory_template()),
        ),
    ),
    (
        "account is not the caller's",
        HResult.E_ACCESSDENIED,
        "account_enabled",
        lambda: EnterprisePolicy().verify(
            ask(attributes=template_attributes("Template"))._replace(subject_principal=make_user("bob", 1102)),
            make_facts(directory_template()),
        ),
    ),
    (
        "no Enroll right on the template",
        HResult.CERTSRV_E_TEMPLATE_DENIED,
        "enroll_right",
        lambda: verdict_on(directory_template(security_descriptor=enroll_sddl(DOMAIN_COMPUTERS))),
    ),
    (
        "AutoEnroll is not Enroll",
        HResult.CERTSRV_E_TEMPLATE_DENIED,
        "enroll_right",
        lambda: verdict_on(
            directory_template(security_descriptor="D:(OA;;CR;a05b8cc2-17bc-4802-a710-e7c15ab866a2;;AU)")
        ),
    ),
    (
        "template asks for a newer CA",
        HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
        "server_version",
        lambda: verdict_on(directory_template(private_key_flag=PrivateKeyFlag((SERVER_VERSION + 1) << 16))),
    ),
    (
        "RSA 1024",
        SHORT,
        "key_quality",
        lambda: verdict_on(directory_template(minimal_key_size=512), key_of("RSA 1024")),
    ),
    ("exponent 3", WEAK, "key_quality", lambda: verdict_on(directory_template(), exponent_three())),
    ("Ed25519", WEAK, "key_quality", lambda: verdict_on(directory_template(), key_of("Ed25519"))),
    ("curve secp256k1", WEAK, "key_quality", lambda: verdict_on(directory_template(), key_of("secp256k1"))),
    ("curve P-224", WEAK, "key_quality", lambda: verdict_on(directory_template(minimal_key_size=0), key_of("P-224"))),
    (
        "RSA shorter than the template wants",
        SHORT,
        "key_size",
        lambda: verdict_on(directory_template(minimal_key_size=3072), key_of("RSA 2048")),
    ),
    (
        "P-256 where RSA 4096 is wanted",
        SHORT,
        "key_size",
        lambda: verdict_on(directory_template(minimal_key_size=4096), key_of("P-256")),
    ),
    (
        "P-384 where RSA 8192 is wanted",
        SHORT,
        "key_size",
        lambda: verdict_on(directory_template(minimal_key_size=8192), key_of("P-384")),
    ),
    (
        "P-256 where an EC key of 384 bits is wanted",
        SHORT,
        "key_size",
        lambda: verdict_on(
            directory_template(
                schema_version=3,
                minimal_key_size=384,
                ra_application_policies=("msPKI-Asymmetric-Algorithm`PZPWSTR`ECDSA`",),
            ),
            key_of("P-256"),
        ),
    ),
    (
        "EC where RSA is wanted",
        SHORT,
        "key_algorithm",
        lambda: verdict_on(
            directory_template(
                schema_version=3, ra_application_policies=("msPKI-Asymmetric-Algorithm`PZPWSTR`RSA`",)
            ),
            key_of("P-256"),
        ),
    ),
    (
        "P-256 where P-384 is wanted",
        SHORT,
        "key_algorithm",
        lambda: verdict_on(
            directory_template(
                schema_version=3,
                minimal_key_size=256,
                ra_application_policies=("msPKI-Asymmetric-Algorithm`PZPWSTR`ECDH_P384`",),
            ),
            key_of("P-256"),
        ),
    ),
    (
        "an algorithm nobody knows is wanted",
        SHORT,
        "key_algorithm",
        lambda: verdict_on(
            directory_template(
                schema_version=3, ra_application_policies=("msPKI-Asymmetric-Algorithm`PZPWSTR`DSA`",)
            ),
            key_of("RSA 2048"),
        ),
    ),
    (
        "authorized signatures",
        HResult.CERTSRV_E_SIGNATURE_POLICY_REQUIRED,
        "authorized_signatures",
        lambda: verdict_on(directory_template(ra_signatures=2)),
    ),
    (
        "key archival",
        HResult.CERTSRV_E_ARCHIVED_KEY_REQUIRED,
        "key_archival",
        lambda: verdict_on(directory_template(private_key_flag=PrivateKeyFlag.REQUIRE_PRIVATE_KEY_ARCHIVAL)),
    ),
    (
        "attestation, none offered",
        HResult.CERTSRV_E_KEY_ATTESTATION,
        "key_attestation",
        lambda: verdict_on(directory_template(private_key_flag=PrivateKeyFlag.ATTEST_REQUIRED)),
    ),
    (
        "attestation, which this CA does not check",
        HResult.CERTSRV_E_KEY_ATTESTATION_NOT_SUPPORTED,
        "key_attestation",
        lambda: verdict_on(
            directory_template(private_key_flag=PrivateKeyFlag.ATTEST_REQUIRED),
            make.make_request(attributes=[make.attribute("1.3.6.1.4.1.311.21.24", make.octets(b"statement"))]),
        ),
    ),
    (
        "a CA below one that allows none",
        HResult.CERTSRV_E_INVALID_CA_CERTIFICATE,
        "ca_below",
        lambda: verdict_on(directory_template(flags=GeneralFlag.IS_CA), path_length=0),
    ),
    (
        "issuance policies where the template has none",
        HResult.CERTSRV_E_TEMPLATE_CONFLICT,
        "issuance_policies",
        lambda: verdict_on(
            directory_template(enrollment_flag=EnrollmentFlag.ISSUANCE_POLICIES_FROM_REQUEST),
            policies_request("1.2.3.4"),
        ),
    ),
    (
        "issuance policies that cannot be read",
        HResult.ERROR_INVALID_DATA,
        "issuance_policies",
        lambda: verdict_on(
            directory_template(
                enrollment_flag=EnrollmentFlag.ISSUANCE_POLICIES_FROM_REQUEST, issuance_policies=("1.2.3.4",)
            ),
            make.make_request(extensions=[make.extension("2.5.29.32", make.octets(b"?"))]),
        ),
    ),
    (
        "computer without a DNS host name",
        HResult.CERTSRV_E_SUBJECT_DNS_REQUIRED,
        "subject_dns",
        lambda: verdict_on(directory_template(flags=MACHINE), principal=make_computer(dns_host_name="")),
    ),
    (
        "user at a template for computers",
        HResult.CERTSRV_E_SUBJECT_DNS_REQUIRED,
        "subject_dns",
        lambda: verdict_on(directory_template(flags=MACHINE), principal=make_user(dns_host_name="pc1.corp.example")),
    ),
    (
        "DNS host name that is none",
        HResult.CERTSRV_E_SUBJECT_DNS_REQUIRED,
        "subject_dns",
        lambda: verdict_on(directory_template(flags=MACHINE), principal=make_computer(dns_host_name="pc 1")),
    ),
    (
        "DNS name wanted of a user",
        HResult.CERTSRV_E_SUBJECT_DNS_REQUIRED,
        "subject_dns",
        lambda: verdict_on(directory_template(name_flag=NameFlag.ALT_REQUIRE_DNS)),
    ),
    (
        "additional host name that is none",
        HResult.CERTSRV_E_SUBJECT_DNS_REQUIRED,
        "subject_dns",
        lambda: verdict_on(
            directory_template(name_flag=NameFlag.ALT_REQUIRE_DNS, flags=MACHINE),
            principal=make_computer(additional_host_names=("a b",)),
        ),
    ),
    (
        "mail in the subject, none in the directory",
        HResult.CERTSRV_E_SUBJECT_EMAIL_REQUIRED,
        "subject_mail",
        lambda: verdict_on(
            directory_template(name_flag=COMMON_NAME | NameFlag.REQUIRE_EMAIL), principal=make_user(mail="")
        ),
    ),
    (
        "mail as alternative name, none in the directory",
        HResult.CERTSRV_E_SUBJECT_EMAIL_REQUIRED,
        "subject_mail",
        lambda: verdict_on(
            directory_template(name_flag=COMMON_NAME | NameFlag.ALT_REQUIRE_EMAIL), principal=make_user(mail="")
        ),
    ),
    (
        "mail address that no certificate can carry",
        HResult.CERTSRV_E_SUBJECT_EMAIL_REQUIRED,
        "subject_mail",
        lambda: verdict_on(
            directory_template(name_flag=COMMON_NAME | NameFlag.ALT_REQUIRE_EMAIL),
            principal=make_user(mail="älice@corp.example"),
        ),
    ),
    (
        "no user principal name, none to be made",
        HResult.CERTSRV_E_SUBJECT_UPN_REQUIRED,
        "subject_upn",
        lambda: verdict_on(
            directory_template(name_flag=COMMON_NAME | NameFlag.ALT_REQUIRE_UPN),
            principal=make_user(upn="", account="CORP\\"),
        ),
    ),
    (
        "no objectGUID",
        HResult.CERTSRV_E_SUBJECT_DIRECTORY_GUID_REQUIRED,
        "subject_guid",
        lambda: verdict_on(
            directory_template(name_flag=COMMON_NAME | NameFlag.ALT_REQUIRE_DIRECTORY_GUID),
            principal=make_user(guid=b""),
        ),
    ),
    (
        "no SID for the security extension",
        HResult.CERTSRV_E_SEC_EXT_DIRECTORY_SID_REQUIRED,
        "security_extension",
        lambda: verdict_on(directory_template(), principal=make_user(sid=Sid(""))),
    ),
    (
        "no name at all from the directory",
        HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
        "subject",
        lambda: verdict_on(directory_template(name_flag=NameFlag(0))),
    ),
    (
        "no name at all from the enrollee",
        HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
        "subject",
        lambda: verdict_on(enrollee_template(CORP), make.make_request()),
    ),
    (
        "common name too long in the request",
        HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
        "subject",
        lambda: verdict_on(enrollee_template(CORP), make.make_request(subject=make.name(("CN", "x" * 65)))),
    ),
    (
        "common name too long in the directory",
        HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
        "subject",
        lambda: verdict_on(
            directory_template(flags=MACHINE), principal=make_computer(dns_host_name=f"{'a' * 60}.corp.example")
        ),
    ),
    (
        "no common name in the directory",
        HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
        "subject",
        lambda: verdict_on(directory_template(), principal=make_user(common_name="")),
    ),
    (
        "distinguished name that cannot be read",
        HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
        "subject",
        lambda: verdict_on(
            directory_template(name_flag=NameFlag.REQUIRE_DIRECTORY_PATH),
            principal=make_user(distinguished_name="alice"),
        ),
    ),
    (
        "DNS name that is none",
        HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
        "subject",
        lambda: verdict_on(enrollee_template(CORP), make.web_server_request("web_1.corp.example")),
    ),
    (
        "mail address that is none",
        HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
        "subject",
        lambda: verdict_on(
            enrollee_template(CORP), make.make_request(extensions=[make.alternative_names(make.mail("alice"))])
        ),
    ),
    (
        "user principal name that is none",
        HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
        "subject",
        lambda: verdict_on(
            enrollee_template(CORP), make.make_request(extensions=[make.alternative_names(make.upn("a@b@c"))])
        ),
    ),
    (
        "name outside rules that deny",
        HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
        "name_rules",
        lambda: verdict_on(
            enrollee_template(CORP, outside=OutsideRules.DENY), make.web_server_request("evilcorp.example")
        ),
    ),
    (
        "CA certificate that has ended",
        HResult.CERTSRV_E_INVALID_CA_CERTIFICATE,
        "ca_certificate",
        lambda: verdict_on(directory_template(), not_after=NOW),
    ),
    (
        "CA certificate that has not begun",
        HResult.CERTSRV_E_INVALID_CA_CERTIFICATE,
        "ca_certificate",
        lambda: verdict_on(directory_template(), not_before=NOW + timedelta(seconds=1)),
    ),
    (
        "renewal period longer than what is left of the CA",
        HResult.CERTSRV_E_CERT_TYPE_OVERLAP,
        "validity_period",
        lambda: verdict_on(directory_template(), not_after=NOW + timedelta(days=41)),
    ),
]


def policies_request(*policies: str) -> bytes:
    value = make.sequence(*(make.sequence(make.oid(policy)) for policy in policies))
    return make.make_request(extensions=[make.extension("2.5.29.32", value)])


@pytest.mark.parametrize(
    ("status", "rule", "decide"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_refusal(status: HResult, rule: str, decide: Callable[[], Verdict]) -> None:
    """Each HRESULT of the table is met by a request that breaks one rule."""
    denied(decide(), status, rule)


@pytest.mark.parametrize(
    ("status", "rule", "decide"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_approval_lifts_no_refusal(
    status: HResult, rule: str, decide: Callable[[], Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An officer's approval passes over the approval step and nothing else."""
    monkeypatch.setattr(deciding, "make_facts", functools.partial(make_facts, approved=True))

    denied(decide(), status, rule)


def test_every_rule_of_the_order_has_a_refusal() -> None:
    tested = {row[2] for row in REFUSALS} | {"template_version"}
    tested |= {"renewal", "on_behalf_of"}  # test_signatures

    assert {rule.name for rule in ORDER} <= tested


def test_rules_refuse_in_the_order_of_the_specification() -> None:
    """A client meets the first rule it breaks: right before key, key before signatures, those before names."""
    broken = directory_template(security_descriptor="D:", ra_signatures=1, flags=MACHINE, minimal_key_size=4096)
    steps: list[tuple[HResult, dict[str, Any]]] = [
        (HResult.CERTSRV_E_TEMPLATE_DENIED, {"security_descriptor": enroll_sddl(AUTHENTICATED_USERS)}),
        (HResult.CERTSRV_E_KEY_LENGTH, {"minimal_key_size": 2048}),
        (HResult.CERTSRV_E_SIGNATURE_POLICY_REQUIRED, {"ra_signatures": 0}),
        (HResult.CERTSRV_E_SUBJECT_DNS_REQUIRED, {"flags": GeneralFlag(0)}),
    ]

    for status, repair in steps:
        verdict = verdict_on(broken)
        assert isinstance(verdict, Deny)
        assert verdict.status is status
        broken = replace(broken, **repair)
    assert isinstance(verdict_on(broken), Issue)


def test_denial_names_the_template_once_it_is_known() -> None:
    verdict = verdict_on(directory_template(ra_signatures=1))

    assert isinstance(verdict, Deny)
    assert verdict.template == "Template"
    assert [check.rule for check in verdict.checks][:2] == ["template_published", "account_enabled"]


# -- keys ------------------------------------------------------------------------------------------------------------


def test_flawed_rsa_keys_are_refused() -> None:
    """CERTSRV_E_WEAK_SIGNATURE_OR_KEY: small factors, neighbouring primes, ROCA. CVE-2017-15361, CVE-2022-26320."""
    small = make.rsa_key().private_numbers()
    first = _prime_below(1 << 1024)
    flaws = {
        "small prime factor": small.p * small.q * 3,
        "next to each other": first * _prime_below(first),
        "ROCA": _roca_modulus(),
    }

    for words, modulus in flaws.items():
        with pytest.raises(Refused, match=words) as caught:
            refuse_weak_key(public_keys.parse_public_key(rsa_spki(modulus)))
        assert caught.value.status is HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY


def _prime_below(number: int) -> int:
    """The next number below that passes Fermat's test: good enough to be no small prime's multiple."""
    candidate = number - 1 - number % 2
    while any(pow(base, candidate - 1, candidate) != 1 for base in (2, 3)):
        candidate -= 2
    return candidate


def _roca_modulus() -> int:
    """A number of the flawed library's form, modulo all primes to 751. Nemec et al., section 3."""
    primes = math.prod(n for n in range(2, 752) if all(n % d for d in range(2, math.isqrt(n) + 1)))
    return pow(65537, 7, primes) + (1 << 2047) // primes * primes + primes


def rsa_spki(modulus: int) -> bytes:
    """A SubjectPublicKeyInfo with this modulus, whoever may have its factors."""
    key = make.sequence(make.integer(modulus), make.integer(65537))
    algorithm = make.sequence(make.oid("1.2.840.113549.1.1.1"), b"\x05\x00")
    return make.sequence(algorithm, make.tlv(0x03, b"\x00", key))


@pytest.mark.parametrize(
    ("minimum", "key"),
    [
        (2048, "RSA 2048"),
        (2048, "P-256"),
        (3072, "P-256"),
        (3073, "P-384"),
        (7680, "P-384"),
        (16384, "P-521"),
        (0, "P-256"),
    ],
)
def test_curve_as_strong_as_the_rsa_key_asked_for_is_enough(minimum: int, key: str) -> None:
    """NIST SP 800-57 part 1, table 2."""
    assert isinstance(verdict_on(directory_template(minimal_key_size=minimum), key_of(key)), Issue)


@pytest.mark.parametrize(
    ("algorithm", "minimum", "key"),
    [
        ("RSA", 2048, "RSA 2048"),
        ("ECDSA_P256", 256, "P-256"),
        ("ECDH_P384", 384, "P-384"),
        ("ECDSA_P521", 521, "P-521"),
        ("ecdsa_p256", 256, "P-256"),
    ],
)
def test_key_of_the_algorithm_asked_for_is_accepted(algorithm: str, minimum: int, key: str) -> None:
    """msPKI-Asymmetric-Algorithm; the size counts in the bits of that algorithm. [MS-CRTD] 2.23."""
    policy = (f"msPKI-Asymmetric-Algorithm`PZPWSTR`{algorithm}`msPKI-Key-Usage`DWORD`2`",)
    wanted = directory_template(schema_version=3, minimal_key_size=minimum, ra_application_policies=policy)

    assert isinstance(verdict_on(wanted, key_of(key)), Issue)


@pytest.mark.parametrize(
    ("key", "usage", "expected"),
    [
        ("RSA 2048", b"\xa0", b"\xa0"),
        ("P-256", b"\xa0", b"\x80"),
        ("P-256", b"\x20", b"\x08"),
        ("RSA 2048", b"\x88", b"\x80"),
    ],
)
def test_key_usage_is_what_the_key_can_do(key: str, usage: bytes, expected: bytes) -> None:
    """RFC 8813 3, RFC 3279 2.3.1."""
    assert would_issue(verdict_on(directory_template(key_usage=usage), key_of(key))).spec.key_usage == expected
