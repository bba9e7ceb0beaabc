"""Renewals, enrollment agents and restricted officers through the door, with certificates this CA really issued.

[MS-WCCE] 3.2.1.4.2.1.4.2, 3.2.2.6.2.1.2.1; [MS-CSRA] 3.1.1.7.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certwright.adcs.errors import AccessDenied, HResult
from certwright.adcs.request import Disposition, RequestAttributes, Response, template_attributes
from certwright.adcs.roles import RevocationReason
from certwright.adcs.template import GeneralFlag, NameFlag
from certwright.ca.intake.request import StoredRequestFlag
from certwright.pki import armor, oids
from certwright.pki.certificate import CertificateView
from tests.support import requests as make
from tests.support.doors import OUTSIDE, Site
from tests.support.installation import ISSUING, OPERATOR, People
from tests.support.messages import by_certificate, by_new_key, in_cmc, in_cms, renewing
from tests.support.requests import web_server_request

AGENT_KEY, NEW, OLD = (make.ec_key("P-256", number) for number in (11, 12, 13))
CARD = "AgentsCard"


def offer(site: Site) -> None:
    """An agent template for wanda, and one for which an agent's signature is wanted."""
    directory = site.installation.directory_administration
    wanda = site.installation.directory.principal(People.ENROLLEE)
    assert wanda is not None
    card = replace(
        directory.template("WebServer"),
        cn=CARD,
        display_name=CARD,
        oid="",
        schema_version=2,
        flags=GeneralFlag(0),
        name_flag=NameFlag.REQUIRE_COMMON_NAME,
        extended_key_usage=(oids.EKU_CLIENT_AUTH,),
        application_policies=(oids.EKU_CLIENT_AUTH,),
        ra_signatures=1,
        ra_application_policies=(oids.EKU_ENROLLMENT_AGENT,),
    )
    everything = ["ESC1", "ESC2", "ESC3", "ESC4", "ESC9", "ESC13", "ESC15", "ESC17"]
    directory.put_template(card, accept_risks=everything, actor=OPERATOR)
    for cn in (CARD, "EnrollmentAgent"):
        directory.publish(ISSUING, cn, actor=OPERATOR)
        directory.grant(cn, wanda.sid, enroll=True, accept_risks=everything, actor=OPERATOR)


def agent_certificate(site: Site) -> bytes:
    """Wanda's, which a manager approved: nobody becomes an agent alone."""
    waiting = site.submit(request=make.make_request(key=AGENT_KEY), attributes=template_attributes("EnrollmentAgent"))
    assert waiting.disposition is Disposition.UNDER_SUBMISSION
    issued = site.door.administer(People.OFFICER).resubmit(waiting.request_id)
    assert issued.certificate is not None
    return issued.certificate


def for_account(name: str, certificate: bytes) -> bytes:
    signing = by_certificate(AGENT_KEY, certificate, ("requestername", name))
    return in_cms(make.make_request(key=NEW), signing, certificates=(certificate,))


def ask(site: Site, raw: bytes, template: str = CARD, account: str = People.ENROLLEE) -> Response:
    return site.submit(account, raw, template_attributes(template))


def test_an_agent_enrolls_for_alice_until_its_certificate_is_revoked(own: Site) -> None:
    offer(own)
    certificate = agent_certificate(own)
    alice = own.installation.directory.principal(People.PLAIN)
    assert alice is not None

    issued = ask(own, for_account(r"CORP\alice", certificate))
    stranger = ask(own, for_account(r"CORP\alice", certificate), account=People.OFFICER)
    own.door.administer(People.OFFICER).revoke(
        CertificateView.parse(certificate).serial_number, RevocationReason.KEY_COMPROMISE
    )
    revoked = ask(own, for_account(r"CORP\alice", certificate))

    assert issued.is_issued, issued.message
    view = CertificateView.parse(issued.certificate or b"")
    assert (view.common_name, view.sid) == (alice.common_name, alice.sid)
    record = own.row(issued.request_id)["record"]
    assert (record.requester_name, record.caller_name) == (r"CORP\alice", r"CORP\wanda")
    assert StoredRequestFlag(record.request_flags) is StoredRequestFlag.ENROLL_ON_BEHALF_OF
    assert stranger.status is HResult.CERTSRV_E_SIGNATURE_REJECTED
    assert revoked.status is HResult.CRYPT_E_REVOKED


def test_the_same_through_cmc_and_in_pem(own: Site) -> None:
    offer(own)
    certificate = agent_certificate(own)
    raw = in_cmc(
        make.make_request(key=NEW),
        signings=(by_new_key(NEW), by_certificate(AGENT_KEY, certificate)),
        certificates=(certificate,),
        pairs=(("RequesterName", r"CORP\alice"), ("CertificateTemplate", CARD)),
    )

    issued = own.submit(
        request=armor.armor(armor.NEW_CERTIFICATE_REQUEST, raw).encode(), attributes=RequestAttributes()
    )

    assert issued.is_issued, issued.message
    assert own.row(issued.request_id)["record"].requester_name == r"CORP\alice"


def test_an_approved_request_of_an_agent_is_issued_to_the_account_it_names(own: Site) -> None:
    """It is read again as it was made: by the agent, for the other account."""
    offer(own)
    certificate = agent_certificate(own)
    directory = own.installation.directory_administration
    card = directory.template(CARD)
    directory.put_template(
        replace(card, enrollment_flag=card.enrollment_flag | 2), accept_risks=["ESC3"], actor=OPERATOR
    )

    waiting = ask(own, for_account(r"CORP\alice", certificate))
    admin = own.door.administer(People.OFFICER)
    preview = admin.preview(waiting.request_id)
    issued = admin.resubmit(waiting.request_id, fingerprint=preview.fingerprint)

    assert waiting.disposition is Disposition.UNDER_SUBMISSION
    assert CertificateView.parse(issued.certificate or b"").common_name == "alice"


def test_agents_are_restricted_by_a_setting(own: Site) -> None:
    """CERTSRV_E_RESTRICTEDOFFICER, 0x80094009."""
    offer(own)
    certificate = agent_certificate(own)
    directory = own.installation.directory
    wanda, bob = directory.principal(People.ENROLLEE), directory.principal(People.OTHER)
    assert wanda is not None
    assert bob is not None
    with own.setting(enrollment_agents=f"{wanda.sid}:{CARD}:{bob.sid}"):
        allowed = ask(own, for_account(r"CORP\bob", certificate))
        refused = ask(own, for_account(r"CORP\alice", certificate))

    assert allowed.is_issued
    assert refused.status is HResult.CERTSRV_E_RESTRICTEDOFFICER


def test_a_certificate_is_renewed_by_its_owner_alone(own: Site) -> None:
    """Byte for byte the one this CA issued; whoever else holds its key is somebody else."""
    host = f"renew.{own.installation.directory.domain.dns_name}"
    first = own.submit(request=web_server_request(host, key=OLD)).certificate or b""
    inner = web_server_request(host, key=NEW, attributes=[renewing(first)])
    raw = in_cms(inner, by_certificate(OLD, first), certificates=(first,))

    renewed = ask(own, raw, "WebServer")
    stolen = ask(own, raw, "WebServer", account=People.OFFICER)

    assert renewed.is_issued, renewed.message
    record = own.row(renewed.request_id)["record"]
    assert StoredRequestFlag(record.request_flags) is StoredRequestFlag.RENEWAL
    assert stolen.status is HResult.E_ACCESSDENIED


def test_a_look_alike_of_a_certificate_renews_nothing(own: Site) -> None:
    """Same serial number, same names, another key: not the one this CA issued."""
    host = f"renew.{own.installation.directory.domain.dns_name}"
    first = CertificateView.parse(own.submit(request=web_server_request(host, key=OLD)).certificate or b"")
    forger = make.ec_key("P-256", 99)
    parsed = x509.load_der_x509_certificate(first.der)
    builder = x509.CertificateBuilder(
        parsed.issuer, parsed.subject, forger.public_key(), parsed.serial_number,
        parsed.not_valid_before_utc, parsed.not_valid_after_utc, list(parsed.extensions),
    )  # fmt: skip
    forged = builder.sign(forger, hashes.SHA256()).public_bytes(Encoding.DER)
    inner = web_server_request(host, key=NEW, attributes=[renewing(forged)])

    response = ask(own, in_cms(inner, by_certificate(forger, forged), certificates=(forged,)), "WebServer")

    assert response.status is HResult.CERT_E_UNTRUSTEDROOT


def test_name_rules_hold_for_renewals_too(own: Site) -> None:
    first = own.submit(request=web_server_request(f"renew.{own.installation.directory.domain.dns_name}", key=OLD))
    old = first.certificate or b""
    inner = web_server_request(OUTSIDE, key=NEW, attributes=[renewing(old)])

    response = ask(own, in_cms(inner, by_certificate(OLD, old), certificates=(old,)), "WebServer")

    assert response.disposition is Disposition.UNDER_SUBMISSION


def test_officers_are_restricted_by_template_and_requester(own: Site) -> None:
    """CERTSRV_E_RESTRICTEDOFFICER for every verb; nothing changes. [MS-CSRA] 3.1.1.7."""
    waiting, issued = own.pending(), own.submit()
    serial = CertificateView.parse(issued.certificate or b"").serial_number
    directory = own.installation.directory
    olga, bob = directory.principal(People.OFFICER), directory.principal(People.OTHER)
    assert olga is not None
    assert bob is not None
    admin = own.door.administer(People.OFFICER)

    with own.setting(officer_rights=f"{olga.sid}:*:{bob.sid}"):
        for act in (
            lambda: admin.preview(waiting.request_id),
            lambda: admin.resubmit(waiting.request_id),
            lambda: admin.deny(waiting.request_id),
            lambda: admin.set_attributes(waiting.request_id, template_attributes("WebServer")),
            lambda: admin.set_extension(waiting.request_id, "1.3.6.1.5.5.7.1.24", bytes.fromhex("3003020105"), False),
            lambda: admin.revoke(serial, RevocationReason.SUPERSEDED),
        ):
            with pytest.raises(AccessDenied) as refused:
                act()
            assert refused.value.status is HResult.CERTSRV_E_RESTRICTEDOFFICER
    with own.setting(officer_rights=f"{olga.sid}:WebServer:*"):
        admin.deny(waiting.request_id)
        admin.revoke(serial, RevocationReason.SUPERSEDED)

    assert own.row(waiting.request_id)["record"].state.name == "DENIED"
    assert own.row(issued.request_id)["record"].state.name == "REVOKED"


def test_nobody_approves_its_own_request_where_the_ca_wants_four_eyes(own: Site) -> None:
    """approve-own-requests=off. Ours."""
    mine = own.submit(People.OFFICER, web_server_request(OUTSIDE))
    admin = own.door.administer(People.OFFICER)
    with own.setting(approve_own_requests="off"):
        with pytest.raises(AccessDenied, match="own; another certificate manager"):
            admin.resubmit(mine.request_id)
        others = admin.resubmit(own.pending().request_id)
    then = admin.resubmit(mine.request_id)

    assert others.is_issued
    assert then.is_issued
