"""What the policy makes of every stock template, for a user and for a computer that may enroll for all of them."""

from __future__ import annotations

import functools

import pytest

from certwright.adcs.requester import AUTHENTICATED_USERS, ENTERPRISE_DOMAIN_CONTROLLERS, EVERYONE, Sid
from certwright.adcs.template import CertificateTemplate
from certwright.ca.policy.base import Deny
from certwright.directory.default_templates import default_templates
from tests.support import requests as make
from tests.support.deciding import verdict_on
from tests.support.fake_directory import DOMAIN_SID, make_computer, make_user

ENROLLING_RIDS = (498, 512, 513, 515, 516, 519, 553)
GROUPS = frozenset(
    {EVERYONE, AUTHENTICATED_USERS, ENTERPRISE_DOMAIN_CONTROLLERS}
    | {Sid(f"{DOMAIN_SID}-{rid}") for rid in ENROLLING_RIDS}
)
ISSUED, WAITS = "Issue", "Pend"
NO_COMPUTER, NO_MAIL, SIGNATURES = "subject_dns", "subject_mail", "authorized_signatures"

EXPECTED = {
    "Administrator": (ISSUED, NO_MAIL),
    "CA": (WAITS, WAITS),
    "CAExchange": (WAITS, WAITS),
    "CEPEncryption": (WAITS, WAITS),
    "ClientAuth": (ISSUED, ISSUED),
    "CodeSigning": (ISSUED, ISSUED),
    "CrossCA": (SIGNATURES, SIGNATURES),
    "CTLSigning": (ISSUED, ISSUED),
    "DirectoryEmailReplication": (NO_COMPUTER, ISSUED),
    "DomainController": (NO_COMPUTER, ISSUED),
    "DomainControllerAuthentication": (NO_COMPUTER, ISSUED),
    "EFS": (ISSUED, ISSUED),
    "EFSRecovery": (ISSUED, ISSUED),
    "EnrollmentAgent": (WAITS, WAITS),
    "EnrollmentAgentOffline": (WAITS, WAITS),
    "ExchangeUser": (WAITS, WAITS),
    "ExchangeUserSignature": (WAITS, WAITS),
    "IPSECIntermediateOffline": (WAITS, WAITS),
    "IPSECIntermediateOnline": (NO_COMPUTER, ISSUED),
    "KerberosAuthentication": (NO_COMPUTER, ISSUED),
    "KeyRecoveryAgent": (WAITS, WAITS),
    "Machine": (NO_COMPUTER, ISSUED),
    "MachineEnrollmentAgent": (NO_COMPUTER, WAITS),
    "OCSPResponseSigning": (NO_COMPUTER, ISSUED),
    "OfflineRouter": (WAITS, WAITS),
    "RASAndIASServer": (NO_COMPUTER, ISSUED),
    "SmartcardLogon": (ISSUED, ISSUED),
    "SmartcardUser": (ISSUED, NO_MAIL),
    "SubCA": (WAITS, WAITS),
    "User": (ISSUED, NO_MAIL),
    "UserSignature": (ISSUED, NO_MAIL),
    "WebServer": (ISSUED, ISSUED),
    "Workstation": (NO_COMPUTER, ISSUED),
}


@functools.cache
def stock() -> dict[str, CertificateTemplate]:
    found = default_templates(DOMAIN_SID, "1.3.6.1.4.1.311.21.8.1.2.3.4.5.6", ("corp.example",))
    return {template.cn: template for template in found}


def outcome(template: CertificateTemplate, *, computer: bool, member: bool = True) -> str:
    groups = GROUPS if member else frozenset({EVERYONE})
    principal = make_computer(groups=groups) if computer else make_user(groups=groups, mail="alice@corp.example")
    verdict = verdict_on(template, make.web_server_request(key=make.rsa_key()), principal)
    return verdict.rule if isinstance(verdict, Deny) else type(verdict).__name__


@pytest.mark.parametrize("cn", EXPECTED)
def test_stock_template_does_what_its_attributes_say(cn: str) -> None:
    """Names from the directory are issued, names of the enrollee wait, CAs and agents always wait."""
    template = stock()[cn]

    assert (outcome(template, computer=False), outcome(template, computer=True)) == EXPECTED[cn]


@pytest.mark.parametrize("cn", EXPECTED)
def test_stock_template_is_for_those_who_may_enroll_only(cn: str) -> None:
    assert outcome(stock()[cn], computer=True, member=False) == "enroll_right"


def test_table_has_every_stock_template() -> None:
    assert set(EXPECTED) == set(stock())
