"""Who signed, and what it is worth: renewals, enrollment agents, authorized signatures. [MS-WCCE] 3.2.2.6.2.1.2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from certwright.adcs.errors import HResult
from certwright.adcs.request import NO_ATTRIBUTES, RequestFlags, template_attributes
from certwright.adcs.requester import AUTHENTICATED_USERS, Sid
from certwright.adcs.restrictions import Restrictions
from certwright.adcs.template import CertificateTemplate, EnrollmentFlag, NameFlag, PrivateKeyFlag
from certwright.ca.intake.formats import read_request
from certwright.ca.intake.request import EnrollmentRequest, Standing
from certwright.ca.policy.base import Deny, Issue, Pend, Verdict
from certwright.ca.policy.enterprise import EnterprisePolicy
from certwright.ca.policy.standalone import StandalonePolicy
from certwright.directory.base import Principal
from certwright.pki import oids
from tests.support import requests as make
from tests.support.certificates import NOT_AFTER, make_certificate
from tests.support.deciding import directory_template, make_facts
from tests.support.fake_directory import DOMAIN_SID, enroll_sddl, make_user, requester_for
from tests.support.messages import by_certificate, by_new_key, in_cmc, in_cms, renewing

ALICE, BOB, EVE = make_user("alice", 1101), make_user("bob", 1102), make_user("eve", 1103)
NEW, OLD, AGENT, OTHER = (make.ec_key("P-256", number) for number in range(1, 5))

AGENT_EKU = x509.ExtendedKeyUsage([x509.ObjectIdentifier(oids.EKU_ENROLLMENT_AGENT)])
AGENT_CERTIFICATE = make_certificate("CN=agent", AGENT, serial=0x2001, extensions=[(AGENT_EKU, False)])
SECOND_CERTIFICATE = make_certificate("CN=second", OTHER, serial=0x2002, extensions=[(AGENT_EKU, False)])
OTHER_CERTIFICATE = make_certificate("CN=no agent", OTHER, serial=0x2003)


def called(cn: str, **changes: Any) -> CertificateTemplate:
    return replace(directory_template(**changes), cn=cn, oid=changes.get("oid", f"1.3.6.1.4.1.311.21.8.7.{len(cn)}"))


CARD = called("Card", ra_signatures=1, ra_application_policies=(oids.EKU_ENROLLMENT_AGENT,))


def issued_to(principal: Principal, template: CertificateTemplate = CARD, *, revoked: bool = False) -> Standing:
    return Standing(template.cn, template.oid, principal.sid, revoked)


def stand(
    request: EnrollmentRequest, *standings: Standing | None, agent: Principal | None = None
) -> EnrollmentRequest:
    """What the CA's table says of each signer, in their order."""
    assert len(standings) == len(request.signatures)
    pairs = zip(request.signatures, standings, strict=True)
    return request._replace(
        signatures=tuple(replace(each, standing=standing) for each, standing in pairs), agent=agent
    )


def asked(raw: bytes, template: CertificateTemplate, caller: Principal, subject: Principal) -> EnrollmentRequest:
    return read_request(raw, requester_for(caller), subject, template_attributes(template.cn), RequestFlags.DETECT)


def verdict(request: EnrollmentRequest, template: CertificateTemplate, **changes: Any) -> Verdict:
    return EnterprisePolicy().verify(request, make_facts(template, **changes))


def denied(found: Verdict, status: HResult, rule: str) -> Deny:
    assert isinstance(found, Deny), found
    assert (found.status, found.rule) == (status, rule), found.reason
    return found


# -- enroll on behalf of ---------------------------------------------------------------------------------------------


def for_bob(
    *,
    template: CertificateTemplate = CARD,
    caller: Principal = ALICE,
    standing: Standing | None = None,
    **changes: Any,
) -> Verdict:
    """Alice's agent certificate signs a request for Bob."""
    pairs = (("requestername", r"CORP\bob"),)
    signing = by_certificate(AGENT, AGENT_CERTIFICATE, *pairs)
    raw = in_cms(make.make_request(key=NEW), signing, certificates=(AGENT_CERTIFICATE,))
    request = asked(raw, template, caller, BOB)
    agent = changes.pop("agent", caller)
    return verdict(stand(request, standing or issued_to(caller), agent=agent), template, **changes)


def test_an_agent_enrolls_for_another_account() -> None:
    """The certificate is the other's: subject, alternative names and SID."""
    found = for_bob()

    assert isinstance(found, Issue)
    assert found.spec.sid == BOB.sid


def test_the_enroll_right_is_the_agents() -> None:
    """Per_Request.Caller_SID. [MS-WCCE] 3.2.2.6.2.1.4."""
    only_bob = replace(CARD, security_descriptor=enroll_sddl(BOB.sid))
    only_alice = replace(CARD, security_descriptor=enroll_sddl(ALICE.sid))

    denied(for_bob(template=only_bob), HResult.CERTSRV_E_TEMPLATE_DENIED, "enroll_right")
    assert isinstance(for_bob(template=only_alice), Issue)


def test_no_signature_no_request_for_others() -> None:
    raw = in_cmc(make.make_request(key=NEW), signings=(by_new_key(NEW),), pairs=(("requestername", r"CORP\bob"),))
    request = asked(raw, CARD, ALICE, BOB)._replace(agent=ALICE)

    denied(verdict(request, CARD), HResult.CERTSRV_E_SIGNATURE_POLICY_REQUIRED, "on_behalf_of")


def test_a_certificate_that_is_no_agents_does_not_count() -> None:
    signing = by_certificate(OTHER, OTHER_CERTIFICATE, ("requestername", r"CORP\bob"))
    raw = in_cms(make.make_request(key=NEW), signing, certificates=(OTHER_CERTIFICATE,))
    request = stand(asked(raw, CARD, ALICE, BOB), issued_to(ALICE), agent=ALICE)

    denied(verdict(request, CARD), HResult.CERTSRV_E_SIGNATURE_REJECTED, "on_behalf_of")


@pytest.mark.parametrize(
    ("standing", "status"),
    [
        (None, HResult.CERT_E_UNTRUSTEDROOT),
        (issued_to(ALICE, revoked=True), HResult.CRYPT_E_REVOKED),
        (issued_to(EVE), HResult.CERTSRV_E_SIGNATURE_REJECTED),
    ],
    ids=["foreign or look-alike", "revoked", "somebody else's"],
)
def test_the_agents_certificate_is_ours_valid_and_the_callers(standing: Standing | None, status: HResult) -> None:
    pairs = (("requestername", r"CORP\bob"),)
    raw = in_cms(
        make.make_request(key=NEW),
        by_certificate(AGENT, AGENT_CERTIFICATE, *pairs),
        certificates=(AGENT_CERTIFICATE,),
    )
    request = stand(asked(raw, CARD, ALICE, BOB), standing, agent=ALICE)
    denied(verdict(request, CARD), status, "on_behalf_of")


def test_an_expired_agent_is_none() -> None:
    later = NOT_AFTER + timedelta(seconds=1)
    found = for_bob(now=later, not_after=later + timedelta(days=1000))
    denied(found, HResult.CERT_E_EXPIRED, "on_behalf_of")


def test_a_disabled_or_unknown_agent_is_none() -> None:
    disabled = replace(ALICE, enabled=False)
    denied(for_bob(agent=disabled), HResult.E_ACCESSDENIED, "on_behalf_of")
    denied(for_bob(agent=None), HResult.CERTSRV_E_TEMPLATE_DENIED, "enroll_right")


def test_a_template_must_ask_for_an_agents_signature() -> None:
    """0x80094806: any other template would let every agent be anybody."""
    for template in (
        called("Card"),
        called("Card", ra_signatures=1, ra_application_policies=(oids.EKU_CODE_SIGNING,)),
    ):
        denied(for_bob(template=template), HResult.CERTSRV_E_BAD_RENEWAL_SUBJECT, "on_behalf_of")


def test_a_template_of_schema_1_is_for_named_agents_only() -> None:
    """It cannot ask for a signature: ESC3 by any agent certificate."""
    user = called("User", schema_version=1)
    named = Restrictions.parse(f"{ALICE.sid}:User:*")
    any_template = Restrictions.parse(f"{ALICE.sid}:*:*")

    denied(for_bob(template=user), HResult.CERTSRV_E_RESTRICTEDOFFICER, "on_behalf_of")
    denied(
        for_bob(template=user, settings={"enrollment-agents": any_template}),
        HResult.CERTSRV_E_RESTRICTEDOFFICER,
        "on_behalf_of",
    )
    assert isinstance(for_bob(template=user, settings={"enrollment-agents": named}), Issue)


@pytest.mark.parametrize(
    ("restrictions", "allowed"),
    [
        ("", True),
        (f"{ALICE.sid}:Card:{BOB.sid}", True),
        (f"{AUTHENTICATED_USERS}:*:{DOMAIN_SID}-513", True),
        (f"{EVE.sid}:Card:*", False),
        (f"{ALICE.sid}:Other:*", False),
        (f"{ALICE.sid}:Card:{DOMAIN_SID}-512", False),
    ],
    ids=["none", "exactly", "by groups", "another agent", "another template", "another target"],
)
def test_agents_are_restricted_by_template_and_target(restrictions: str, allowed: bool) -> None:
    """CERTSRV_E_RESTRICTEDOFFICER, 0x80094009. [MS-WCCE] 3.2.2.6.2.1.2.1."""
    found = for_bob(settings={"enrollment-agents": Restrictions.parse(restrictions)})
    if allowed:
        assert isinstance(found, Issue)
    else:
        denied(found, HResult.CERTSRV_E_RESTRICTEDOFFICER, "on_behalf_of")


def test_an_account_nobody_knows_gets_nothing() -> None:
    signing = by_certificate(AGENT, AGENT_CERTIFICATE, ("requestername", r"CORP\ghost"))
    raw = in_cms(make.make_request(key=NEW), signing, certificates=(AGENT_CERTIFICATE,))
    request = read_request(raw, requester_for(ALICE), None, template_attributes("Card"), RequestFlags.DETECT)
    found = verdict(stand(request, issued_to(ALICE), agent=ALICE), CARD)
    denied(found, HResult.E_ACCESSDENIED, "account_enabled")


def test_without_a_name_signed_along_nobody_asks_for_another() -> None:
    """The principal of a request is the caller's, whatever else the message says."""
    raw = in_cms(
        make.make_request(key=NEW), by_certificate(AGENT, AGENT_CERTIFICATE), certificates=(AGENT_CERTIFICATE,)
    )
    request = stand(asked(raw, CARD, ALICE, BOB), issued_to(ALICE))
    denied(verdict(request, CARD), HResult.E_ACCESSDENIED, "account_enabled")


def test_a_standalone_ca_takes_no_requests_for_others() -> None:
    """No template, no agent's signature asked for: whoever asks would name whom it likes."""
    signing = by_certificate(AGENT, AGENT_CERTIFICATE, ("requestername", r"CORP\bob"))
    raw = in_cms(make.make_request(key=NEW), signing, certificates=(AGENT_CERTIFICATE,))
    request = stand(asked(raw, CARD, ALICE, BOB), issued_to(ALICE), agent=ALICE)

    for setting in ("pend", "issue"):
        found = StandalonePolicy().verify(request, make_facts(settings={"request-disposition": setting}))
        denied(found, HResult.E_ACCESSDENIED, "on_behalf_of")


# -- authorized signatures -------------------------------------------------------------------------------------------


def co_signed(template: CertificateTemplate, *signers: tuple[bytes, Any, Standing | None]) -> Verdict:
    raw = in_cmc(
        make.make_request(key=NEW),
        signings=(by_new_key(NEW), *(by_certificate(key, certificate) for certificate, key, _ in signers)),
        certificates=tuple(certificate for certificate, _, _ in signers),
    )
    request = asked(raw, template, ALICE, ALICE)
    return verdict(stand(request, *(standing for _, _, standing in signers)), template)


def test_the_signatures_that_a_template_wants_are_counted_by_account() -> None:
    two = replace(CARD, ra_signatures=2)
    first, second = (AGENT_CERTIFICATE, AGENT), (SECOND_CERTIFICATE, OTHER)

    assert isinstance(co_signed(CARD, (*first, issued_to(BOB))), Issue)
    assert isinstance(co_signed(two, (*first, issued_to(BOB)), (*second, issued_to(EVE))), Issue)
    denied(co_signed(two, (*first, issued_to(BOB))), HResult.CERTSRV_E_SIGNATURE_COUNT, "authorized_signatures")
    denied(
        co_signed(two, (*first, issued_to(BOB)), (*second, issued_to(BOB))),
        HResult.CERTSRV_E_SIGNATURE_COUNT,
        "authorized_signatures",
    )


def test_a_signature_counts_with_every_usage_and_policy_asked_for() -> None:
    """CERTSRV_E_SIGNATURE_REJECTED, 0x8009480b. [MS-WCCE] 3.2.2.6.2.1.4.5.3, .4."""
    signer = (AGENT_CERTIFICATE, AGENT, issued_to(BOB))
    for changes in (
        {"ra_application_policies": (oids.EKU_CODE_SIGNING,)},
        {"ra_application_policies": (oids.EKU_ENROLLMENT_AGENT, oids.EKU_CODE_SIGNING)},
        {"ra_policies": ("1.2.3.4",)},
    ):
        found = co_signed(replace(CARD, **changes), signer)
        denied(found, HResult.CERTSRV_E_SIGNATURE_REJECTED, "authorized_signatures")


def test_the_new_keys_signature_authorizes_nothing() -> None:
    denied(co_signed(CARD), HResult.CERTSRV_E_SIGNATURE_POLICY_REQUIRED, "authorized_signatures")


def test_a_revoked_signer_is_refused_by_name() -> None:
    signer = (AGENT_CERTIFICATE, AGENT, issued_to(BOB, revoked=True))
    found = denied(co_signed(CARD, signer), HResult.CRYPT_E_REVOKED, "authorized_signatures")
    assert "2001" in found.reason


# -- renewal ---------------------------------------------------------------------------------------------------------

WEB = called("Web")


def old_certificate(
    template: CertificateTemplate = WEB, *names: x509.GeneralName, subject: str = "CN=alice"
) -> bytes:
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.MSCertificateTemplate(x509.ObjectIdentifier(template.oid), 100, 1), False)
    ]
    if names:
        extensions.append((x509.SubjectAlternativeName(names), False))
    return make_certificate(subject, OLD, serial=0x3001, extensions=extensions)


def renewal(
    template: CertificateTemplate = WEB,
    standing: Standing | None = None,
    *,
    old: bytes | None = None,
    named: bytes | None = None,
    key: Any = NEW,
    subject: bytes = b"\x30\x00",
    extensions: tuple[bytes, ...] = (),
    foreign: bool = False,
    **changes: Any,
) -> Verdict:
    old = old or old_certificate(template)
    inner = make.make_request(key=key, subject=subject, attributes=[renewing(named or old)], extensions=extensions)
    raw = in_cms(inner, by_certificate(OLD, old), certificates=(old,))
    request = asked(raw, template, ALICE, ALICE)
    known = None if foreign else standing or issued_to(ALICE, template)
    return verdict(stand(request, known), template, **changes)


def test_a_certificate_is_renewed_with_its_own_key() -> None:
    assert isinstance(renewal(), Issue)


@pytest.mark.parametrize(
    ("decide", "status"),
    [
        (lambda: renewal(named=AGENT_CERTIFICATE), HResult.CERTSRV_E_BAD_RENEWAL_CERT_ATTRIBUTE),
        (lambda: renewal(foreign=True), HResult.CERT_E_UNTRUSTEDROOT),
        (lambda: renewal(standing=issued_to(ALICE, WEB, revoked=True)), HResult.CRYPT_E_REVOKED),
        (lambda: renewal(standing=issued_to(BOB, WEB)), HResult.E_ACCESSDENIED),
        (lambda: renewal(standing=issued_to(ALICE, CARD)), HResult.CERTSRV_E_TEMPLATE_CONFLICT),
        (
            lambda: renewal(now=NOT_AFTER + timedelta(days=1), not_after=NOT_AFTER + timedelta(days=2000)),
            HResult.CERT_E_EXPIRED,
        ),
        (
            lambda: renewal(called("Web", private_key_flag=PrivateKeyFlag.REQUIRE_SAME_KEY_RENEWAL)),
            HResult.CERTSRV_E_RENEWAL_BAD_PUBLIC_KEY,
        ),
    ],
    ids=["another certificate named", "foreign", "revoked", "another's", "another template", "expired", "new key"],
)
def test_what_may_not_be_renewed(decide: Callable[[], Verdict], status: HResult) -> None:
    """[MS-WCCE] 3.2.1.4.2.1.4.2, 3.2.2.6.2.1.2.3."""
    denied(decide(), status, "renewal")


def test_renewal_with_the_same_key_where_the_template_asks_for_it() -> None:
    same = called("Web", private_key_flag=PrivateKeyFlag.REQUIRE_SAME_KEY_RENEWAL)
    assert isinstance(renewal(same, key=OLD), Issue)


VALIDATED = EnrollmentFlag.PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT


def approved_once(**changes: Any) -> CertificateTemplate:
    """A template that wants approval, once."""
    return called("Web", enrollment_flag=EnrollmentFlag.PEND_ALL_REQUESTS | VALIDATED, **changes)


def upn(value: str) -> x509.OtherName:
    encoded = make.utf8(value)
    return x509.OtherName(x509.ObjectIdentifier(oids.USER_PRINCIPAL_NAME), encoded)


def test_a_renewal_whose_names_are_the_accounts_needs_no_second_approval() -> None:
    """CT_FLAG_PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT. [MS-WCCE] 3.2.2.6.2.1.4.8."""
    template = approved_once()
    assert isinstance(renewal(template, old=old_certificate(template, upn("alice@corp.example"))), Issue)


@pytest.mark.parametrize(
    "old",
    [
        lambda template: old_certificate(template),
        lambda template: old_certificate(template, upn("bob@corp.example")),
        lambda template: old_certificate(template, upn("alice@corp.example"), x509.RFC822Name("eve@corp.example")),
        lambda template: old_certificate(WEB_OF_ANOTHER_OID, upn("alice@corp.example")),
    ],
    ids=["no name", "another UPN", "another mail", "another template OID"],
)
def test_any_other_renewal_waits_for_approval(old: Callable[[CertificateTemplate], bytes]) -> None:
    template = approved_once()
    assert isinstance(renewal(template, old=old(template)), Pend)


WEB_OF_ANOTHER_OID = called("Web", oid="1.3.6.1.4.1.311.21.8.99")


def test_a_first_request_always_waits() -> None:
    template = approved_once()
    request = read_request(
        make.make_request(key=NEW), requester_for(ALICE), ALICE, template_attributes("Web"), RequestFlags.DETECT
    )
    assert isinstance(verdict(request, template), Pend)


@pytest.mark.parametrize(
    ("subject", "hosts", "issued"),
    [
        ("web01", ("web01.corp.example",), True),
        ("web01", ("web01.corp.example", "dc1.corp.example"), False),
        ("web01", (), False),
        ("dc1", ("web01.corp.example",), False),
    ],
    ids=["the same", "one more", "none", "another subject"],
)
def test_names_that_were_approved_may_not_widen(subject: str, hosts: tuple[str, ...], issued: bool) -> None:
    """Where the enrollee supplies them, the names of the old certificate and no others need no approval."""
    template = approved_once(name_flag=NameFlag.ENROLLEE_SUPPLIES_SUBJECT)
    old = old_certificate(template, x509.DNSName("web01.corp.example"), subject="CN=web01")
    extensions = (make.alternative_names(*map(make.dns, hosts)),) if hosts else ()

    found = renewal(template, old=old, subject=make.name(("CN", subject)), extensions=extensions)

    assert isinstance(found, Issue if issued else Pend)


def test_a_previous_approval_spares_authorized_signatures_too() -> None:
    template = called(
        "Web",
        enrollment_flag=VALIDATED,
        ra_signatures=1,
        ra_application_policies=(oids.EKU_ENROLLMENT_AGENT,),
    )
    with_name, without = old_certificate(template, upn("alice@corp.example")), old_certificate(template)

    assert isinstance(renewal(template, old=with_name), Issue)
    found = renewal(template, old=without)
    denied(found, HResult.CERTSRV_E_SIGNATURE_POLICY_REQUIRED, "authorized_signatures")


# -- restrictions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ; ", f"{ALICE.sid}:Card:*", f"*:*:{BOB.sid}; {EVE.sid}:Card:*"])
def test_restrictions_come_back_as_they_were(text: str) -> None:
    parsed = Restrictions.parse(text)
    assert Restrictions.parse(str(parsed)) == parsed
    assert bool(parsed) is bool(text.strip(" ;"))


@pytest.mark.parametrize("text", ["alice:Card:*", f"{ALICE.sid}:Card", f"{ALICE.sid}::*", "*:Card:bob", "a:b:c:d"])
def test_what_is_no_restriction_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"restriction|security identifier"):
        Restrictions.parse(text)


def test_sids_of_the_tests_are_sids() -> None:
    assert Sid(ALICE.sid).startswith("S-1-5-21-")
    assert NO_ATTRIBUTES.items == ()
