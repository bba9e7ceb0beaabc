"""The standalone policy module: an officer decides. [MS-WCCE] 3.2.1.4.2.1.4.5, note <87>."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from certwright.adcs.errors import HResult
from certwright.adcs.properties import CaType
from certwright.ca.policy.base import Deny, Issue, Pend, Verdict
from certwright.ca.policy.standalone import StandalonePolicy
from certwright.directory.base import Principal
from certwright.pki import oids
from certwright.pki.general_names import DnsName
from tests.support import requests as make
from tests.support.deciding import NOW, ask, make_facts, would_issue
from tests.support.fake_directory import DOMAIN_SID, make_user

POLICY = make.sequence(make.sequence(make.oid("1.2.3")))
SERVER = make.extended_key_usage(oids.EKU_SERVER_AUTH)


def decide(
    raw: bytes | None = None, disposition: str = "pend", principal: Principal | None = None, **facts: Any
) -> Verdict:
    ca = make_facts(ca_type=CaType.STANDALONE_ROOT, settings={"request-disposition": disposition}, **facts)
    return StandalonePolicy().verify(ask(raw, principal), ca)


def request_with(*extensions: bytes) -> bytes:
    return make.web_server_request(extensions=extensions)


def test_request_waits_for_an_officer() -> None:
    """REQDISP_PENDINGFIRST is the default of a standalone CA."""
    verdict = decide()

    assert isinstance(verdict, Pend)
    assert "approval" in verdict.reason
    assert verdict.spec.template is None
    assert verdict.spec.sid == ""
    assert StandalonePolicy().verify(ask(), make_facts()) == decide()


def test_approved_request_is_issued_as_it_was_shown() -> None:
    verdict = decide(request_with(SERVER))

    approved = decide(request_with(SERVER), approved=True)

    assert isinstance(approved, Issue)
    assert approved.spec == would_issue(verdict).spec
    assert all(check.passed for check in approved.checks)


def test_ca_may_be_set_to_issue() -> None:
    verdict = decide(request_with(SERVER), "issue")

    assert isinstance(verdict, Issue)
    assert verdict.spec.subject_alternative_names == (DnsName("web.corp.example"),)


@pytest.mark.parametrize("approved", [False, True])
def test_ca_set_to_deny_denies_everything(approved: bool) -> None:
    verdict = decide(disposition="deny", approved=approved)

    assert isinstance(verdict, Deny)
    assert (verdict.status, verdict.rule) == (HResult.CERTSRV_E_ADMIN_DENIED_REQUEST, "request_disposition")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (request_with(make.extended_key_usage("2.5.29.37.0")), "Any Purpose"),
        (request_with(make.extended_key_usage(oids.EKU_SERVER_AUTH, oids.EKU_CODE_SIGNING)), "Code Signing"),
        (request_with(make.extended_key_usage(oids.EKU_SMART_CARD_LOGON)), "Smart Card Logon"),
        (
            request_with(make.extension(oids.CERTIFICATE_POLICIES, make.sequence(make.sequence(make.oid("1.2.3"))))),
            "Policies",
        ),
        (
            request_with(make.extension(oids.APPLICATION_POLICIES, make.sequence(make.sequence(make.oid("1.2.3"))))),
            "Policies",
        ),
        (make.make_request(extensions=[make.alternative_names(make.upn("administrator@corp.example"))]), "UPN"),
        (
            make.make_request(
                extensions=[make.alternative_names(make.uri(f"tag:microsoft.com,2022-09-14:sid:{DOMAIN_SID}-500"))]
            ),
            "URI",
        ),
    ],
)
def test_what_gives_power_waits_for_an_officer_even_then(raw: bytes, words: str) -> None:
    """Usages, policies and account names chosen by the requester are never issued unseen."""
    verdict = decide(raw, "issue")

    assert isinstance(verdict, Pend)
    assert words in verdict.reason


def test_only_harmless_extensions_are_taken_over() -> None:
    raw = request_with(
        make.extended_key_usage(oids.EKU_SERVER_AUTH),
        make.extension(oids.BASIC_CONSTRAINTS, make.sequence(b"\x01\x01\xff"), critical=True),
        make.sid_extension(f"{DOMAIN_SID}-500"),
        make.extension(oids.AUTHORITY_KEY_IDENTIFIER, make.sequence(make.tlv(0x80, b"x" * 20))),
        make.extension(oids.SUBJECT_KEY_IDENTIFIER, make.octets(b"x" * 20)),
        make.extension(oids.NAME_CONSTRAINTS, make.sequence(), critical=True),
        make.extension(oids.CA_VERSION, make.integer(0)),
        make.extension(oids.CRL_DISTRIBUTION_POINTS, make.sequence()),
        make.extension(oids.AUTHORITY_INFORMATION_ACCESS, make.sequence()),
        make.extension(oids.POLICY_MAPPINGS, make.sequence()),
        make.template_name_extension("SubCA"),
        make.key_usage(b"\x86"),
        make.extension("1.2.3.4", make.octets(b"?"), critical=True),
    )

    spec = would_issue(decide(raw)).spec

    assert [extension.oid for extension in spec.extensions] == [oids.EXTENDED_KEY_USAGE]
    assert not spec.extensions[0].critical


@pytest.mark.parametrize(
    ("asked", "key", "expected"),
    [
        (None, make.rsa_key(), b"\xa0"),
        (None, make.ec_key(), b"\x80"),
        (b"\xc0", make.rsa_key(), b"\xc0"),
        (b"\x86", make.rsa_key(), b"\x80"),
        (b"\x06", make.rsa_key(), b"\xa0"),
        (b"\x28", make.ec_key(), b"\x08"),
    ],
)
def test_key_usage_never_makes_a_ca(asked: bytes | None, key: make.PrivateKey, expected: bytes) -> None:
    extensions = [make.key_usage(asked)] if asked else []

    verdict = decide(make.web_server_request(key=key, extensions=extensions))

    assert would_issue(verdict).spec.key_usage == expected


@pytest.mark.parametrize("approved", [False, True])
@pytest.mark.parametrize(
    ("raw", "status", "rule"),
    [
        (make.make_request(), HResult.CERTSRV_E_BAD_REQUESTSUBJECT, "subject"),
        (
            make.make_request(subject=make.name(("CN", "x" * 65))),
            HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
            "subject",
        ),
        (make.web_server_request("a_b.corp.example"), HResult.CERTSRV_E_BAD_REQUESTSUBJECT, "subject"),
        (make.web_server_request(key=make.rsa_key(1024)), HResult.CERTSRV_E_KEY_LENGTH, "key_quality"),
        (
            make.web_server_request(key=ed25519.Ed25519PrivateKey.generate()),
            HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY,
            "key_quality",
        ),
        (
            make.web_server_request(key=make.ec_key("secp256k1")),
            HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY,
            "key_quality",
        ),
        (request_with(make.extension(oids.EXTENDED_KEY_USAGE, b"?")), HResult.ERROR_INVALID_DATA, "extensions"),
        (request_with(make.extension(oids.KEY_USAGE, b"?")), HResult.ERROR_INVALID_DATA, "extensions"),
    ],
)
def test_rules_that_no_officer_lifts(raw: bytes, status: HResult, rule: str, approved: bool) -> None:
    verdict = decide(raw, approved=approved)

    assert isinstance(verdict, Deny)
    assert (verdict.status, verdict.rule) == (status, rule)
    assert not verdict.checks[-1].passed


def test_disabled_account_gets_nothing() -> None:
    verdict = decide(principal=make_user(enabled=False))

    assert isinstance(verdict, Deny)
    assert verdict.status is HResult.E_ACCESSDENIED


def test_validity_is_the_maximum_of_the_ca() -> None:
    spec = would_issue(decide(maximum_validity=timedelta(days=365))).spec

    assert spec.not_after == NOW.replace(microsecond=0) + timedelta(days=365)


def test_ended_ca_issues_nothing() -> None:
    verdict = decide(not_after=NOW)

    assert isinstance(verdict, Deny)
    assert verdict.status is HResult.CERTSRV_E_INVALID_CA_CERTIFICATE
