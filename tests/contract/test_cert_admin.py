"""What `CertAdmin` promises: officers' verbs, their rights, what no officer can do. [MS-CSRA] 3.1.4.1, 3.1.4.2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certwright.adcs.errors import (
    AccessDenied,
    AdcsError,
    BadRequestState,
    ConfigurationError,
    HResult,
    InvalidArgument,
    NoSuchRequest,
)
from certwright.adcs.interfaces import CertAdmin, Comparison, Restriction, Sort, Table
from certwright.adcs.properties import LATEST, CaProperty
from certwright.adcs.request import Disposition, RequestAttributes, template_attributes
from certwright.adcs.roles import RevocationReason
from certwright.pki import oids
from certwright.server.composition import Installation
from tests.support.doors import CERT_ADMIN, OUTSIDE, Site, new_host
from tests.support.installation import ISSUING, OPERATOR, GateTemplates, Mold, People
from tests.support.officers import events_of, serial_of
from tests.support.requests import make_request, name, web_server_request

MUST_STAPLE = bytes.fromhex("3003020105")  # TLS feature status_request: RFC 7633
EVERYBODY = (
    People.ADMINISTRATOR,
    People.CA_ADMINISTRATOR,
    People.OFFICER,
    People.AUDITOR,
    People.BACKUP,
    People.ENROLLEE,
    People.PLAIN,
)


# -- who may do what -------------------------------------------------------------------------------------------------

Call = Callable[[Site, CertAdmin], object]

READERS = (People.OFFICER, People.CA_ADMINISTRATOR, People.AUDITOR)
CALLS: dict[str, tuple[Call, tuple[str, ...]]] = {
    # call: what is done, and who may besides Administrator, who holds every role
    "resubmit": (lambda site, admin: admin.resubmit(site.pending().request_id), (People.OFFICER,)),
    "resubmit denied": (
        lambda site, admin: admin.resubmit(denied_by_manager(site)),
        (People.CA_ADMINISTRATOR,),
    ),
    "deny": (lambda site, admin: admin.deny(site.pending().request_id), (People.OFFICER,)),
    "preview": (
        lambda site, admin: admin.preview(site.pending().request_id),
        (People.OFFICER, People.CA_ADMINISTRATOR),
    ),
    "revoke": (
        lambda site, admin: admin.revoke(serial_of(site.submit()), RevocationReason.SUPERSEDED),
        (People.OFFICER,),
    ),
    "release": (lambda site, admin: release(site, admin), (People.OFFICER,)),
    "publish_crls": (lambda site, admin: admin.publish_crls(), (People.CA_ADMINISTRATOR,)),
    "deliveries": (lambda site, admin: admin.deliveries(), READERS),
    "view": (lambda site, admin: list(admin.view(Table.REQUESTS, limit=1)), READERS),
    "count": (lambda site, admin: admin.count(Table.ISSUED_CERTIFICATES, "template"), READERS),
    "request_row": (lambda site, admin: admin.request_row(site.submit().request_id), READERS),
    "set_attributes": (
        lambda site, admin: admin.set_attributes(site.pending().request_id, template_attributes("WebServer")),
        (People.OFFICER,),
    ),
    "set_extension": (
        lambda site, admin: admin.set_extension(site.pending().request_id, oids.TLS_FEATURE, MUST_STAPLE, False),
        (People.OFFICER,),
    ),
    "configuration": (
        lambda site, admin: admin.configuration(),
        (People.OFFICER, People.CA_ADMINISTRATOR, People.AUDITOR),
    ),
    "set_configuration": (
        lambda site, admin: admin.set_configuration({"clock-skew": "10 minutes"}),
        (People.CA_ADMINISTRATOR,),
    ),
}


def denied_by_manager(site: Site) -> int:
    waiting = site.pending()
    site.door.administer(People.OFFICER).deny(waiting.request_id)
    return waiting.request_id


def release(site: Site, admin: CertAdmin) -> None:
    serial = serial_of(site.submit())
    site.door.administer(People.OFFICER).revoke(serial, RevocationReason.CERTIFICATE_HOLD)
    admin.revoke(serial, RevocationReason.RELEASE_FROM_HOLD)


def test_the_table_of_rights_names_every_call() -> None:
    methods = {label for label in vars(CertAdmin) if not label.startswith("_")}

    assert methods <= CALLS.keys() | {"release", "describe_settings"}  # the latter says nothing of a CA


@pytest.mark.parametrize("account", EVERYBODY)
@pytest.mark.parametrize("call", list(CALLS))
def test_every_role_may_do_its_own_and_nothing_else(site: Site, call: str, account: str) -> None:
    """[MS-CSRA] 3.1.1.7; the digest's table of roles. Enroll implies reading properties, not other people's rows."""
    do, allowed = CALLS[call]
    refused: AdcsError | None = None

    try:
        do(site, site.door.administer(account))
    except (AccessDenied, BadRequestState) as error:
        refused = error

    may = account in (People.ADMINISTRATOR, *allowed)
    assert (refused is None) == may, refused
    if refused is not None and (call, account) != ("resubmit denied", People.OFFICER):
        assert refused.status is HResult.E_ACCESSDENIED


def test_an_officer_may_not_take_a_denial_back(site: Site) -> None:
    """Only a CA administrator may, else CERTSRV_E_BAD_REQUESTSTATUS. [MS-CSRA] 3.1.4.1.3."""
    number = denied_by_manager(site)

    with pytest.raises(BadRequestState) as refused:
        site.door.administer(People.OFFICER).resubmit(number)

    assert refused.value.status is HResult.CERTSRV_E_BAD_REQUESTSTATUS


# -- role separation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", list(CALLS))
def test_with_role_separation_whoever_holds_two_roles_does_nothing(site: Site, call: str) -> None:
    """CERTSRV_E_ROLECONFLICT, 0x80094008. [MS-CSRA] 3.1.1.7."""
    do, _ = CALLS[call]
    with site.setting(role_separation="on"), pytest.raises(AccessDenied) as refused:
        do(site, site.door.administer(People.ADMINISTRATOR))

    assert refused.value.status is HResult.CERTSRV_E_ROLECONFLICT == 0x80094008


@pytest.mark.parametrize(
    ("account", "call"),
    [
        (People.CA_ADMINISTRATOR, "publish_crls"),
        (People.OFFICER, "revoke"),
        (People.OFFICER, "resubmit"),
        (People.AUDITOR, "view"),
    ],
)
def test_with_role_separation_single_roles_work(site: Site, account: str, call: str) -> None:
    do, _ = CALLS[call]
    with site.setting(role_separation="on"):
        do(site, site.door.administer(account))


def test_with_role_separation_everybody_may_still_enroll(site: Site) -> None:
    """Roles separate administration; a certificate of one's own is none."""
    with site.setting(role_separation="on"):
        assert site.submit(People.ADMINISTRATOR).is_issued


# -- resubmit, deny, preview -----------------------------------------------------------------------------------------


def test_an_approved_request_is_issued_as_its_requesters(site: Site) -> None:
    waiting = site.pending()

    response = site.door.administer(People.OFFICER).resubmit(waiting.request_id)
    record = site.row(waiting.request_id)["record"]

    assert response.request_id == waiting.request_id
    assert response.is_issued
    certificate = x509.load_der_x509_certificate(response.certificate or b"")
    assert certificate.subject.rfc4514_string() == f"CN={OUTSIDE}"
    assert (record.requester_name, record.officer) == (rf"CORP\{People.ENROLLEE}", rf"CORP\{People.OFFICER}")
    assert record.message == rf"Issued  Resubmitted by CORP\{People.OFFICER}"
    assert events_of(site, waiting.request_id) == [
        "REQUEST_RECEIVED",
        "REQUEST_PENDED",
        "REQUEST_RESUBMITTED",
        "CERTIFICATE_ISSUED",
    ]


def test_a_denied_request_says_who_and_why(site: Site) -> None:
    waiting = site.pending()

    site.door.administer(People.OFFICER).deny(waiting.request_id, "  not\nours ")
    record = site.row(waiting.request_id)["record"]

    assert record.message == rf"Denied by CORP\{People.OFFICER}  not ours"
    assert record.status is HResult.CERTSRV_E_ADMIN_DENIED_REQUEST
    assert record.state.name == "DENIED"
    assert events_of(site, waiting.request_id)[-1] == "REQUEST_DENIED_BY_MANAGER"


def test_a_ca_administrator_may_take_a_denial_back(site: Site) -> None:
    response = site.door.administer(People.CA_ADMINISTRATOR).resubmit(denied_by_manager(site))

    assert response.is_issued


@pytest.mark.parametrize("state", ["issued", "error", "revoked"])
def test_what_is_not_pending_can_be_neither_issued_nor_denied(site: Site, state: str) -> None:
    """CERTSRV_E_BAD_REQUESTSTATUS; rows in state error never become anything else."""
    response = site.submit(request=b"garbage" if state == "error" else b"")
    admin = site.door.administer(People.ADMINISTRATOR)
    if state == "revoked":
        admin.revoke(serial_of(response), RevocationReason.UNSPECIFIED)
    calls: list[Callable[[], object]] = [
        lambda: admin.resubmit(response.request_id),
        lambda: admin.deny(response.request_id),
        lambda: admin.preview(response.request_id),
        lambda: admin.set_attributes(response.request_id, template_attributes("User")),
        lambda: admin.set_extension(response.request_id, oids.TLS_FEATURE, MUST_STAPLE, False),
    ]

    for call in calls:
        with pytest.raises(BadRequestState) as refused:
            call()
        assert refused.value.status is HResult.CERTSRV_E_BAD_REQUESTSTATUS
    assert site.row(response.request_id)["record"].state.name.lower() == state


def test_a_request_that_does_not_exist_is_nobodys(site: Site) -> None:
    admin = site.door.administer(People.ADMINISTRATOR)
    calls: list[Callable[[], object]] = [
        lambda: admin.resubmit(2**31 - 1),
        lambda: admin.deny(2**31 - 1),
        lambda: admin.preview(2**31 - 1),
        lambda: admin.request_row(2**31 - 1),
        lambda: admin.set_attributes(2**31 - 1, RequestAttributes()),
        lambda: admin.set_extension(2**31 - 1, oids.TLS_FEATURE, MUST_STAPLE, False),
    ]

    for call in calls:
        with pytest.raises(NoSuchRequest):
            call()


def test_a_preview_shows_what_is_signed(site: Site) -> None:
    waiting = site.pending()
    admin = site.door.administer(People.OFFICER)

    preview = admin.preview(waiting.request_id)
    response = admin.resubmit(waiting.request_id, fingerprint=preview.fingerprint)

    fields = {field.name: field.issued for field in preview.fields}
    certificate = x509.load_der_x509_certificate(response.certificate or b"")
    assert preview.would_issue
    assert fields["Subject"] == certificate.subject.rfc4514_string()
    assert fields["Template"] == "WebServer"
    until = datetime.fromisoformat(fields["Not after"])
    assert abs(until - certificate.not_valid_after_utc) < timedelta(minutes=1)
    assert any(check.rule == "name_rules" and OUTSIDE in check.message for check in preview.checks)
    assert all(check.passed for check in preview.checks)


def test_a_preview_changes_nothing_and_stays_the_same(site: Site) -> None:
    waiting = site.pending()
    admin = site.door.administer(People.OFFICER)

    fingerprints = {admin.preview(waiting.request_id).fingerprint for _ in range(3)}

    assert len(fingerprints) == 1
    assert site.row(waiting.request_id)["record"].state.name == "PENDING"
    assert events_of(site, waiting.request_id) == ["REQUEST_RECEIVED", "REQUEST_PENDED"]


def shorter_template(site: Site, _: int) -> None:
    site.installation.directory_administration.change_template(
        "WebServer",
        lambda template: replace(template, validity_period=timedelta(days=90), renewal_period=timedelta(days=9)),
        actor=OPERATOR,
    )


CHANGES: dict[str, Callable[[Site, int], object]] = {
    "attributes": lambda site, number: site.door.administer(People.OFFICER).set_attributes(
        number, template_attributes(GateTemplates.APPROVAL)
    ),
    "extension": lambda site, number: site.door.administer(People.OFFICER).set_extension(
        number, oids.TLS_FEATURE, MUST_STAPLE, False
    ),
    "configuration": lambda site, _: site.door.administer(People.CA_ADMINISTRATOR).set_configuration(
        {"ocsp-urls": "http://ocsp.corp.example/"}
    ),
    "template": shorter_template,
    "enroll right": lambda site, _: site.installation.directory_administration.revoke(
        "WebServer",
        site.installation.directory.principal("Web Enrollees").sid,  # type: ignore[union-attr]
        enroll=True,
        actor=OPERATOR,
    ),
    "denied meanwhile": lambda site, number: site.door.administer(People.OFFICER).deny(number),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_what_would_be_issued_differently_than_shown_is_not_issued(own: Site, change: str) -> None:
    """The officer approved what the preview showed, nothing else."""
    waiting = own.pending()
    admin = own.door.administer(People.ADMINISTRATOR)
    shown = admin.preview(waiting.request_id).fingerprint
    CHANGES[change](own, waiting.request_id)
    before = own.row(waiting.request_id)["record"].state

    with pytest.raises(BadRequestState) as refused:
        admin.resubmit(waiting.request_id, fingerprint=shown)

    assert "differently than shown" in refused.value.message
    assert own.row(waiting.request_id)["record"].state is before
    assert own.row(waiting.request_id)["certificate"] is None


def test_a_fingerprint_holds_while_time_goes_by(molds: Callable[[str], Mold], tmp_path: Path) -> None:
    """Also where the certificate ends with the CA's own, and so grows shorter by the second."""
    home = molds("sqlite").copy(tmp_path)
    now = [datetime.now(UTC)]
    with Installation.open(home, clock=lambda: now[0]) as opened:
        site = Site(CERT_ADMIN["local"](opened), opened)
        opened.start()
        for years in (0, 9):
            now[0] += timedelta(days=365 * years)
            waiting = site.pending()
            admin = site.door.administer(People.OFFICER)
            preview = admin.preview(waiting.request_id)
            now[0] += timedelta(seconds=90)
            response = admin.resubmit(waiting.request_id, fingerprint=preview.fingerprint)
            certificate = x509.load_der_x509_certificate(response.certificate or b"")
        issuer = site.door.connect().ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, LATEST)

    assert isinstance(issuer, bytes)
    assert certificate.not_valid_after_utc == x509.load_der_x509_certificate(issuer).not_valid_after_utc


BROKEN: dict[str, tuple[Callable[[Site], object], HResult]] = {
    "right taken away": (lambda site: CHANGES["enroll right"](site, 0), HResult.CERTSRV_E_TEMPLATE_DENIED),
    "account disabled": (
        lambda site: site.installation.directory_administration.set_enabled(People.ENROLLEE, False, actor=OPERATOR),
        HResult.E_ACCESSDENIED,
    ),
    "template unpublished": (
        lambda site: site.installation.directory_administration.unpublish(ISSUING, "WebServer", actor=OPERATOR),
        HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
    ),
    "longer keys wanted": (
        lambda site: site.installation.directory_administration.change_template(
            "WebServer", lambda template: replace(template, minimal_key_size=15360), actor=OPERATOR
        ),
        HResult.CERTSRV_E_KEY_LENGTH,
    ),
}


@pytest.mark.parametrize("rule", list(BROKEN))
def test_approval_passes_over_no_other_rule(own: Site, rule: str) -> None:
    """An approved request meets the rules of today, as its original caller."""
    waiting = own.pending()
    change, status = BROKEN[rule]
    change(own)

    response = own.door.administer(People.ADMINISTRATOR).resubmit(waiting.request_id)

    assert (response.disposition, response.status) == (Disposition.DENIED, status)
    assert response.certificate is None
    row = own.row(waiting.request_id)
    assert (row["record"].state.name, row["record"].status) == ("DENIED", status)
    assert events_of(own, waiting.request_id)[-2:] == ["REQUEST_RESUBMITTED", "REQUEST_DENIED"]


def test_a_preview_of_a_request_that_would_be_denied_says_so(own: Site) -> None:
    waiting = own.pending()
    BROKEN["right taken away"][0](own)

    preview = own.door.administer(People.OFFICER).preview(waiting.request_id)

    assert not preview.would_issue
    assert [check.rule for check in preview.checks if not check.passed] == ["enroll_right"]


def test_approval_is_not_asked_for_where_it_could_not_help(site: Site) -> None:
    """A CA below one whose path length is 0. RFC 5280 4.2.1.9 forbids it, whoever approves."""
    request = make_request(subject=name(("CN", "Corp Policy CA")))

    denied = site.submit(request=request, attributes=template_attributes("SubCA"))
    preview = site.door.administer(People.ADMINISTRATOR).preview(denied.request_id)

    assert (denied.disposition, denied.status) == (Disposition.DENIED, HResult.CERTSRV_E_INVALID_CA_CERTIFICATE)
    assert not preview.would_issue
    assert [check.rule for check in preview.checks if not check.passed] == ["ca_below"]
    assert "path length 0" in denied.message


# -- attributes and extensions ---------------------------------------------------------------------------------------


def test_an_officers_attributes_count_and_meet_every_rule(site: Site) -> None:
    waiting = site.pending()
    admin = site.door.administer(People.OFFICER)

    admin.set_attributes(waiting.request_id, template_attributes(GateTemplates.SHORT, ("SAN", "dns=evil.example")))
    response = admin.resubmit(waiting.request_id)

    certificate = x509.load_der_x509_certificate(response.certificate or b"")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [OUTSIDE]
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=7)
    assert "REQUEST_ATTRIBUTES_SET" in events_of(site, waiting.request_id)


def test_an_officers_template_must_let_the_requester_enroll(site: Site) -> None:
    """Officers cannot lend their own rights: it stays the requester's request."""
    waiting = site.pending()
    admin = site.door.administer(People.ADMINISTRATOR)

    admin.set_attributes(waiting.request_id, template_attributes("DomainController"))
    response = admin.resubmit(waiting.request_id)

    assert (response.disposition, response.status) == (Disposition.DENIED, HResult.CERTSRV_E_TEMPLATE_DENIED)


def test_an_officers_extension_is_in_the_certificate(site: Site) -> None:
    waiting = site.pending()
    admin = site.door.administer(People.OFFICER)

    admin.set_extension(waiting.request_id, oids.TLS_FEATURE, MUST_STAPLE, False)
    admin.set_extension(waiting.request_id, "1.3.6.1.4.1.99999.1", b"\x05\x00", False)
    response = admin.resubmit(waiting.request_id)

    certificate = x509.load_der_x509_certificate(response.certificate or b"")
    feature = certificate.extensions.get_extension_for_class(x509.TLSFeature)
    assert list(feature.value) == [x509.TLSFeatureType.status_request]
    other = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"))
    assert other.value == x509.UnrecognizedExtension(other.oid, b"\x05\x00")
    assert events_of(site, waiting.request_id).count("REQUEST_EXTENSION_SET") == 2


@pytest.mark.parametrize(
    "oid",
    [
        oids.SUBJECT_ALTERNATIVE_NAME,
        oids.NTDS_CA_SECURITY,
        oids.NTDS_REPLICATION,
        oids.BASIC_CONSTRAINTS,
        oids.KEY_USAGE,
        oids.EXTENDED_KEY_USAGE,
        oids.APPLICATION_POLICIES,
        oids.CERTIFICATE_POLICIES,
        oids.CERTIFICATE_TEMPLATE,
        oids.CERTIFICATE_TEMPLATE_NAME,
        oids.SUBJECT_KEY_IDENTIFIER,
        oids.AUTHORITY_KEY_IDENTIFIER,
        oids.CRL_DISTRIBUTION_POINTS,
        oids.FRESHEST_CRL,
        oids.AUTHORITY_INFORMATION_ACCESS,
        oids.OCSP_NO_CHECK,
    ],
    ids=oids.name_of,
)
def test_names_usages_and_revocation_are_no_officers_to_set(site: Site, oid: str) -> None:
    """Who the certificate names, what it may do, where its revocation is found: the template's and the CA's alone."""
    waiting = site.pending()

    with pytest.raises(AccessDenied) as refused:
        site.door.administer(People.ADMINISTRATOR).set_extension(waiting.request_id, oid, b"\x30\x00", False)

    assert oid in refused.value.message
    assert site.row(waiting.request_id)["extensions"] == ()


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        ("hello", b"\x05\x00"),
        ("1", b"\x05\x00"),
        ("3.1.1", b"\x05\x00"),
        (oids.TLS_FEATURE, b"garbage"),
        ("1.3.6.1.4.1.99999.1", bytes(20_000)),
    ],
    ids=["word", "one arc", "root arc 3", "malformed", "too long"],
)
def test_an_extension_that_could_not_be_issued_is_refused_at_once(site: Site, oid: str, value: bytes) -> None:
    """Otherwise the request could neither be issued nor repaired."""
    waiting = site.pending()
    admin = site.door.administer(People.OFFICER)

    with pytest.raises(AdcsError):
        admin.set_extension(waiting.request_id, oid, value, False)

    assert admin.resubmit(waiting.request_id).is_issued


# -- views -----------------------------------------------------------------------------------------------------------


def test_every_request_is_in_the_views_it_belongs_to(own: Site) -> None:
    admin = own.door.administer(People.OFFICER)
    numbers = {
        "issued": own.submit().request_id,
        "pending": own.pending().request_id,
        "denied": own.submit(attributes=RequestAttributes()).request_id,
        "error": own.submit(request=b"garbage").request_id,
    }
    revoked = own.submit()
    admin.revoke(serial_of(revoked), RevocationReason.SUPERSEDED)

    def listed(table: Table) -> set[Any]:
        return {row["request_id"] for row in admin.view(table)} & {*numbers.values(), revoked.request_id}

    assert listed(Table.REQUESTS) == {*numbers.values(), revoked.request_id}
    assert listed(Table.ISSUED_CERTIFICATES) == {numbers["issued"]}
    assert listed(Table.PENDING_REQUESTS) == {numbers["pending"]}
    assert listed(Table.FAILED_REQUESTS) == {numbers["denied"], numbers["error"]}
    assert listed(Table.REVOKED_CERTIFICATES) == {revoked.request_id}


def test_a_view_is_restricted_sorted_and_bounded(own: Site) -> None:
    admin = own.door.administer(People.AUDITOR)
    numbers = [own.submit().request_id for _ in range(4)]
    where = [
        Restriction("request_id", Comparison.GREATER, numbers[0]),
        Restriction("requester", Comparison.EQUAL, rf"CORP\{People.ENROLLEE}"),
    ]

    rows = list(admin.view(Table.REQUESTS, where, ("request_id", "template"), Sort("request_id", True), 2))

    assert rows == [{"request_id": number, "template": "WebServer"} for number in (numbers[3], numbers[2])]


@pytest.mark.parametrize("column", ["password", "request_id; DROP TABLE ca", "", "raw"])
def test_a_column_that_is_not_there_is_refused(site: Site, column: str) -> None:
    admin = site.door.administer(People.AUDITOR)

    with pytest.raises(InvalidArgument):
        list(admin.view(Table.REQUESTS, columns=(column,)))
    with pytest.raises(InvalidArgument):
        list(admin.view(Table.REQUESTS, [Restriction(column, Comparison.EQUAL, 1)]))


def test_a_row_holds_everything_of_a_request(site: Site) -> None:
    request = web_server_request(new_host())
    issued = site.submit(request=request)

    row = site.door.administer(People.AUDITOR).request_row(issued.request_id)

    assert row["raw_request"] == request
    assert row["certificate"] == issued.certificate
    assert row["extensions"] == ()


# -- settings --------------------------------------------------------------------------------------------------------


def test_a_change_of_settings_is_audited_with_before_and_after(own: Site) -> None:
    """4891; 4882 for the security descriptor."""
    admin = own.door.administer(People.CA_ADMINISTRATOR)
    sddl = admin.configuration()["security-descriptor"]

    admin.set_configuration({"crl-period": "3 days", "clock-skew": "10 minutes"})
    admin.set_configuration({"security-descriptor": sddl + "(A;;0x100;;;WD)"})

    events = own.installation.audit.events(ca=ISSUING, limit=2)
    assert [event.name for event in events] == ["CA_SECURITY_CHANGED", "CONFIGURATION_CHANGED"]
    assert dict(events[1].details) == {"key": "crl-period", "before": "1 weeks", "after": "3 days"}
    assert events[0].details["before"] == sddl
    assert {event.actor for event in events} == {rf"CORP\{People.CA_ADMINISTRATOR}"}
    assert own.installation.audit.verify().broken == ()


def test_settings_are_changed_all_or_none(site: Site) -> None:
    admin = site.door.administer(People.CA_ADMINISTRATOR)
    before = admin.configuration()

    with pytest.raises(ConfigurationError):
        admin.set_configuration({"crl-period": "2 days", "channel-binding": "perhaps"})
    with pytest.raises(ConfigurationError):
        admin.set_configuration({"crl-perod": "2 days"})
    with pytest.raises(ConfigurationError):
        admin.set_configuration({})

    assert admin.configuration() == before


def test_a_changed_setting_holds_for_the_next_request(own: Site) -> None:
    own.door.administer(People.CA_ADMINISTRATOR).set_configuration({"validity-period": "100 days"})

    certificate = x509.load_der_x509_certificate(own.submit().certificate or b"")

    assert certificate.not_valid_after_utc <= datetime.now(UTC) + timedelta(days=100)


def test_a_setting_goes_back_to_what_the_ca_was_made_with(own: Site) -> None:
    admin = own.door.administer(People.CA_ADMINISTRATOR)
    first = admin.configuration()

    admin.set_configuration({"dns-name": "other.corp.example", "ntlm": "off"})
    admin.set_configuration({"dns-name": "", "ntlm": ""})

    assert first["dns-name"] != ""
    assert admin.configuration() == first


def test_role_separation_is_not_turned_on_by_whom_it_would_shut_out(own: Site) -> None:
    """CERTSRV_E_ROLECONFLICT, 0x80094008; nobody could take it back."""
    everything, alone = own.door.administer(People.ADMINISTRATOR), own.door.administer(People.CA_ADMINISTRATOR)

    with pytest.raises(ConfigurationError, match="CA administrator and nothing else") as refused:
        everything.set_configuration({"role-separation": "on"})
    alone.set_configuration({"role-separation": "on"})
    separated = alone.configuration()["role-separation"]
    alone.set_configuration({"role-separation": "off"})

    assert refused.value.status is HResult.CERTSRV_E_ROLECONFLICT
    assert separated == "on"


@pytest.mark.parametrize(
    "sddl",
    [
        "O:BAG:BAD:(A;;0x200;;;AU)",
        "O:BAG:BAD:(A;;0xe;;;BA)(A;;0x200;;;AU)",
        "O:BAG:BAD:(D;;0x1;;;BA)(A;;0x1;;;BA)",
        "O:BAG:BAD:",
    ],
    ids=["nobody", "every other role", "denied first", "empty"],
)
def test_the_last_administrator_stays(site: Site, sddl: str) -> None:
    """CERTSRV_E_NO_CAADMIN_DEFINED, 0x8009400d."""
    admin = site.door.administer(People.ADMINISTRATOR)
    before = admin.configuration()["security-descriptor"]

    with pytest.raises(ConfigurationError) as refused:
        admin.set_configuration({"security-descriptor": sddl})

    assert refused.value.status is HResult.CERTSRV_E_NO_CAADMIN_DEFINED
    assert admin.configuration()["security-descriptor"] == before
