"""Renewal by the key of the old certificate alone, through the door. [MS-WCCE] 3.2.2.6.2.1.2.4, 3.2.2.6.2.1.4.5.6."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import pytest

from certwright.adcs.errors import AccessDenied, HResult
from certwright.adcs.events import AuditEvent
from certwright.adcs.request import Disposition, RequestFlags, Response, template_attributes
from certwright.adcs.requester import AuthMethod, Credential, Requester
from certwright.adcs.roles import RevocationReason
from certwright.adcs.template import CertificateTemplate, EnrollmentFlag
from certwright.auth.client_certificate import NOBODY
from certwright.ca.intake.request import StoredRequestFlag
from certwright.pki.certificate import CertificateView
from tests.support import requests as make
from tests.support.doors import Site, new_host
from tests.support.installation import ISSUING, OPERATOR, People
from tests.support.messages import by_certificate, by_new_key, in_cmc, in_cms, renewing
from tests.support.requests import web_server_request

NEW, OLD, OTHER = (make.ec_key("P-256", number) for number in (41, 42, 43))
TEMPLATE: Final = "MachineByKey"
FLAGS: Final = (
    EnrollmentFlag.PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT
    | EnrollmentFlag.ALLOW_PREVIOUS_APPROVAL_KEYBASEDRENEWAL_VALIDATE_REENROLLMENT
)
RISKS: Final = ["ESC1", "ESC2", "ESC9", "ESC15", "ESC17"]


def put(site: Site, **changes: Any) -> CertificateTemplate:
    directory = site.installation.directory_administration
    changed = {"enrollment_flag": FLAGS} | changes
    template = replace(directory.template("WebServer"), cn=TEMPLATE, oid="", schema_version=2, **changed)
    known = site.installation.directory.templates().get(TEMPLATE)
    if known is not None:
        template = replace(known, **changed)
    directory.put_template(template, accept_risks=RISKS, actor=OPERATOR)
    return template


@pytest.fixture
def machine(own: Site) -> Site:
    """A CA that renews for whoever holds the key, and a template that wanda may enroll for."""
    put(own)
    wanda = own.installation.directory.principal(People.ENROLLEE)
    assert wanda is not None
    directory = own.installation.directory_administration
    directory.publish(ISSUING, TEMPLATE, actor=OPERATOR)
    directory.grant(TEMPLATE, wanda.sid, enroll=True, accept_risks=RISKS, actor=OPERATOR)
    own.door.administer(People.CA_ADMINISTRATOR).set_configuration({"renewal-on-behalf": "on"})
    return own


def first(site: Site, host: str) -> bytes:
    issued = site.submit(request=web_server_request(host, key=OLD), attributes=template_attributes(TEMPLATE))
    assert issued.certificate is not None, issued.message
    return issued.certificate


def renewal(old: bytes, *hosts: str, **changes: Any) -> bytes:
    request = web_server_request(*hosts, key=NEW, attributes=[renewing(old)], **changes)
    return in_cms(request, by_certificate(OLD, old), certificates=(old,))


def ask(site: Site, raw: bytes, shown: bytes | None = None, flags: RequestFlags | None = None) -> Response:
    """As somebody without an account, who showed a certificate in the TLS handshake."""
    credential = Credential("certificate", shown) if shown is not None else None
    nobody = Requester("holder", NOBODY, frozenset(), AuthMethod.CLIENT_CERTIFICATE, credential, "192.0.2.1")
    door = site.installation.registry.connect(site.door.config, nobody)
    return door.submit(
        raw, template_attributes(TEMPLATE), RequestFlags.RENEWAL_ON_BEHALF_OF if flags is None else flags
    )


@contextmanager
def without_right(site: Site) -> Iterator[None]:
    wanda = site.installation.directory.principal(People.ENROLLEE)
    assert wanda is not None
    directory = site.installation.directory_administration
    directory.revoke(TEMPLATE, wanda.sid, enroll=True, actor=OPERATOR)
    group = site.installation.directory.principal("Web Enrollees")
    assert group is not None
    directory.revoke(TEMPLATE, group.sid, enroll=True, actor=OPERATOR)
    yield


@pytest.mark.parametrize("form", ["CMS", "CMC"])
def test_the_old_key_is_the_logon_and_the_right_to_enroll(machine: Site, form: str) -> None:
    """The request is its requester's, as if that account had made it; its Enroll right is not asked for."""
    host = new_host()
    old = first(machine, host)
    raw = renewal(old, host)
    if form == "CMC":
        inner = web_server_request(host, key=NEW, attributes=[renewing(old)])
        raw = in_cmc(inner, signings=(by_new_key(NEW), by_certificate(OLD, old)), certificates=(old,))
    with without_right(machine):
        denied = machine.submit(request=web_server_request(host), attributes=template_attributes(TEMPLATE))
        renewed = ask(machine, raw, old)

    assert denied.status is HResult.CERTSRV_E_TEMPLATE_DENIED
    assert renewed.is_issued, renewed.message
    record = machine.row(renewed.request_id)["record"]
    assert (record.requester_name, record.caller_name) == (r"CORP\wanda", r"CORP\wanda")
    assert record.caller_method == AuthMethod.CLIENT_CERTIFICATE.value
    assert StoredRequestFlag.RENEWAL in StoredRequestFlag(record.request_flags)


def test_the_account_itself_renews_without_the_right_too(machine: Site) -> None:
    """The template's flag says so, whoever logs on. [MS-WCCE] 3.2.2.6.2.1.4.5.6, 0x10000."""
    host = new_host()
    old = first(machine, host)
    with without_right(machine):
        renewed = machine.submit(request=renewal(old, host), attributes=template_attributes(TEMPLATE))
        wider = machine.submit(request=renewal(old, host, f"more.{host}"), attributes=template_attributes(TEMPLATE))

    assert renewed.is_issued, renewed.message
    assert wider.status is HResult.CERTSRV_E_TEMPLATE_DENIED


def test_no_approval_is_asked_for_again(machine: Site) -> None:
    """CT_FLAG_PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT: what a manager approved once is renewed."""
    host = new_host()
    put(machine, enrollment_flag=FLAGS | EnrollmentFlag.PEND_ALL_REQUESTS)
    waiting = machine.submit(request=web_server_request(host, key=OLD), attributes=template_attributes(TEMPLATE))
    assert waiting.disposition is Disposition.UNDER_SUBMISSION
    old = machine.door.administer(People.OFFICER).resubmit(waiting.request_id).certificate
    assert old is not None

    assert ask(machine, renewal(old, host), old).is_issued


def test_it_is_off_unless_an_administrator_switches_it_on(machine: Site) -> None:
    """Config_CA_Allow_RenewOnBehalfOf_Requests."""
    host = new_host()
    old = first(machine, host)
    with machine.setting(renewal_on_behalf="off"), pytest.raises(AccessDenied, match="renewal-on-behalf") as refused:
        ask(machine, renewal(old, host), old)

    assert refused.value.status is HResult.CERTSRV_E_ENROLL_DENIED


def test_whoever_cannot_be_identified_is_nobody(machine: Site) -> None:
    """A new request; a renewal signed by another key; one of a certificate other than the one shown."""
    host = new_host()
    old, others = first(machine, host), first(machine, new_host())
    inner = web_server_request(host, key=NEW, attributes=[renewing(old)])
    for raw, shown in (
        (web_server_request(host), old),
        (in_cms(inner, by_certificate(OLD, others), certificates=(others,)), old),
        (renewal(others, host), old),
        (b"\x30\x00", old),
    ):
        with pytest.raises(AccessDenied) as refused:
            ask(machine, raw, shown)
        assert refused.value.status is HResult.CERTSRV_E_ENROLL_DENIED


@pytest.mark.parametrize(
    "flag",
    [
        EnrollmentFlag.PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT,
        EnrollmentFlag.ALLOW_PREVIOUS_APPROVAL_KEYBASEDRENEWAL_VALIDATE_REENROLLMENT,
        EnrollmentFlag(0),
    ],
)
def test_the_template_has_to_allow_it(machine: Site, flag: EnrollmentFlag) -> None:
    host = new_host()
    old = first(machine, host)
    put(machine, enrollment_flag=flag)

    assert ask(machine, renewal(old, host), old).status is HResult.CERTSRV_E_BAD_RENEWAL_SUBJECT


def test_names_do_not_change(machine: Site) -> None:
    """Neither subject nor alternative names; not even within the name rules, and not fewer of them."""
    host = new_host()
    old = first(machine, host)
    answers = [
        ask(machine, renewal(old, host, f"more.{host}"), old),
        ask(machine, renewal(old, host, subject=make.name(("CN", "somebody else"))), old),
        ask(machine, renewal(old, new_host()), old),
        ask(machine, in_cms(make.make_request(NEW, subject=make.name(("CN", host)), attributes=[renewing(old)]),
                            by_certificate(OLD, old), certificates=(old,)), old),
    ]  # fmt: skip

    assert {answer.status for answer in answers} == {HResult.CERTSRV_E_BAD_RENEWAL_SUBJECT}


def test_a_revoked_certificate_renews_nothing(machine: Site) -> None:
    host = new_host()
    old = first(machine, host)
    serial = CertificateView.parse(old).serial_number
    machine.door.administer(People.OFFICER).revoke(serial, RevocationReason.SUPERSEDED)

    assert ask(machine, renewal(old, host), old).status is HResult.CRYPT_E_REVOKED


def test_an_account_that_was_disabled_renews_nothing(machine: Site) -> None:
    host = new_host()
    old = first(machine, host)
    machine.installation.directory_administration.set_enabled(People.ENROLLEE, False, actor=OPERATOR)

    assert ask(machine, renewal(old, host), old).status is HResult.E_ACCESSDENIED


def test_the_trail_says_which_certificate_took_the_place_of_which(machine: Site) -> None:
    host = new_host()
    old = first(machine, host)
    renewed = ask(machine, renewal(old, host), old)
    events = machine.installation.audit.events(request_id=renewed.request_id, event=AuditEvent.CERTIFICATE_ISSUED)

    assert events[0].details["renewed_serial_number"] == CertificateView.parse(old).serial_number
    assert events[0].details["requester"] == r"CORP\wanda"
