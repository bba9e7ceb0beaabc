"""What `CertAdmin` promises of certificates and CRLs. [MS-CSRA] 3.1.4.1.6, 3.1.4.1.8."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from certwright.adcs.errors import (
    BadRequestState,
    CaUnreachable,
    HResult,
    InvalidArgument,
    NotSupported,
)
from certwright.adcs.interfaces import CrlKind, Sort, Table
from certwright.adcs.request import template_attributes
from certwright.adcs.roles import RevocationReason
from tests.support.doors import Site
from tests.support.installation import GateTemplates, People
from tests.support.officers import crl, entry, events_of, reason_in, serial_of

REASONS = [
    reason
    for reason in RevocationReason
    if reason not in (RevocationReason.REMOVE_FROM_CRL, RevocationReason.RELEASE_FROM_HOLD)
]


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.rfc_name)
def test_a_certificate_is_revoked_for_a_reason(site: Site, reason: RevocationReason) -> None:
    """RFC 5280 5.3.1; the row, the event, and the next CRL."""
    issued = site.submit()
    serial = serial_of(issued)

    site.door.administer(People.OFFICER).revoke(serial, reason)
    site.door.administer(People.CA_ADMINISTRATOR).publish_crls(CrlKind.BASE)

    record = site.row(issued.request_id)["record"]
    assert record.state.name == "REVOKED"
    assert record.certificate.revoked_reason is reason
    assert record.message == rf"Revoked by CORP\{People.OFFICER}"
    assert reason_in(entry(site, serial)) == reason.rfc_name
    assert events_of(site, issued.request_id)[-1] == "CERTIFICATE_REVOKED"


def test_a_suspended_ca_issues_nothing_and_goes_on_with_the_rest(site: Site) -> None:
    """CERTSRV_E_SERVER_SUSPENDED; what was issued is given out and can be revoked."""
    issued, pending = site.submit(), site.submit(attributes=template_attributes(GateTemplates.APPROVAL))
    administrator = site.door.administer(People.CA_ADMINISTRATOR)
    administrator.set_configuration({"suspended": "on"})
    try:
        for asking in (site.submit, lambda: site.door.administer(People.OFFICER).resubmit(pending.request_id)):
            with pytest.raises(CaUnreachable) as refused:
                asking()
            assert refused.value.status is HResult.CERTSRV_E_SERVER_SUSPENDED
        assert site.door.connect().retrieve(issued.request_id).is_issued
        site.door.administer(People.OFFICER).revoke(serial_of(issued), RevocationReason.SUPERSEDED)
        administrator.publish_crls(CrlKind.BASE)
    finally:
        administrator.set_configuration({"suspended": "off"})
    assert site.submit().is_issued


def test_nothing_is_on_the_crl_before_the_next_one(site: Site) -> None:
    serial = serial_of(site.submit())
    before = crl(site)

    site.door.administer(People.OFFICER).revoke(serial, RevocationReason.KEY_COMPROMISE)

    assert crl(site) == before


def test_a_hold_can_be_released_and_leaves_the_crl(site: Site) -> None:
    issued = site.submit()
    serial = serial_of(issued)
    officer, publisher = site.door.administer(People.OFFICER), site.door.administer(People.CA_ADMINISTRATOR)

    officer.revoke(serial, RevocationReason.CERTIFICATE_HOLD)
    publisher.publish_crls(CrlKind.BASE)
    held = entry(site, serial)
    officer.revoke(serial, RevocationReason.RELEASE_FROM_HOLD)
    publisher.publish_crls(CrlKind.BASE)

    assert reason_in(held) == "certificateHold"
    assert entry(site, serial) is None
    assert site.door.connect().retrieve(issued.request_id).is_issued


def test_a_hold_may_become_final(site: Site) -> None:
    serial = serial_of(site.submit())
    officer = site.door.administer(People.OFFICER)
    officer.revoke(serial, RevocationReason.CERTIFICATE_HOLD)
    officer.revoke(serial, RevocationReason.KEY_COMPROMISE)
    site.door.administer(People.CA_ADMINISTRATOR).publish_crls(CrlKind.BASE)

    assert reason_in(entry(site, serial)) == "keyCompromise"
    with pytest.raises(BadRequestState):
        officer.revoke(serial, RevocationReason.RELEASE_FROM_HOLD)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (None, RevocationReason.RELEASE_FROM_HOLD),
        (RevocationReason.KEY_COMPROMISE, RevocationReason.RELEASE_FROM_HOLD),
        (RevocationReason.KEY_COMPROMISE, RevocationReason.CERTIFICATE_HOLD),
        (None, RevocationReason.REMOVE_FROM_CRL),
    ],
    ids=["release of a valid one", "release of a revoked one", "hold of a revoked one", "removeFromCRL"],
)
def test_what_makes_no_sense_is_invalid_data(
    site: Site, first: RevocationReason | None, second: RevocationReason
) -> None:
    """ERROR_INVALID_DATA. [MS-CSRA] 3.1.4.1.8."""
    issued = site.submit()
    officer = site.door.administer(People.OFFICER)
    if first is not None:
        officer.revoke(serial_of(issued), first)

    with pytest.raises(BadRequestState) as refused:
        officer.revoke(serial_of(issued), second)

    assert refused.value.status is HResult.ERROR_INVALID_DATA
    assert (first is not None) == (site.row(issued.request_id)["record"].state.name == "REVOKED")


def test_an_effective_date_is_on_the_crl(site: Site) -> None:
    serial = serial_of(site.submit())
    yesterday = (datetime.now(UTC) - timedelta(days=1)).replace(microsecond=0)

    site.door.administer(People.OFFICER).revoke(serial, RevocationReason.KEY_COMPROMISE, yesterday)
    site.door.administer(People.CA_ADMINISTRATOR).publish_crls(CrlKind.BASE)

    found = entry(site, serial)
    assert found is not None
    assert found.revocation_date_utc == yesterday


@pytest.mark.parametrize("form", ["{0}", "0x{0}", "00{0}", " {0} "])
def test_a_serial_number_may_be_written_as_people_do(site: Site, form: str) -> None:
    issued = site.submit()

    site.door.administer(People.OFFICER).revoke(form.format(serial_of(issued).upper()), RevocationReason.SUPERSEDED)

    assert site.row(issued.request_id)["record"].state.name == "REVOKED"


@pytest.mark.parametrize("serial", ["0badc0ffee", "xyz", "", "1" * 60])
def test_an_unknown_serial_number_is_refused(site: Site, serial: str) -> None:
    with pytest.raises(InvalidArgument):
        site.door.administer(People.OFFICER).revoke(serial, RevocationReason.SUPERSEDED)


def test_crls_rise_in_number_and_are_on_record(site: Site) -> None:
    admin = site.door.administer(People.CA_ADMINISTRATOR)
    numbers = []
    for kind in (CrlKind.BASE, CrlKind.BASE_AND_DELTA):
        admin.publish_crls(kind)
        numbers.append(crl(site).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)

    assert numbers[1] == numbers[0] + 1
    newest = next(admin.view(Table.CRLS, sort=Sort("number", descending=True)))
    assert newest["number"] == numbers[1]
    assert newest["publish_error"] == ""
    with pytest.raises(NotSupported):
        admin.publish_crls(CrlKind.DELTA)
