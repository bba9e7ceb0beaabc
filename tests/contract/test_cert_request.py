"""What `CertRequest` promises, whichever way the CA is reached. [MS-WCCE] 3.2.1.4.2.1, 3.2.1.4.3."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certwright.adcs.errors import AccessDenied, AdcsError, HResult, InvalidArgument, NoSuchRequest
from certwright.adcs.interfaces import AsyncCertRequest, CertRequest, Comparison, Restriction, Table
from certwright.adcs.properties import LATEST, CaProperty, CaType
from certwright.adcs.request import (
    MAX_ATTRIBUTES_LENGTH,
    NO_ATTRIBUTES,
    Disposition,
    RequestAttributes,
    RequestFlags,
    Response,
    template_attributes,
)
from certwright.adcs.roles import RevocationReason
from certwright.server.composition import Installation
from tests.support.doors import CERT_REQUEST, DATABASES, OUTSIDE, Site, new_host
from tests.support.installation import ISSUING, ROOT, GateTemplates, Mold, People
from tests.support.programs import openssl
from tests.support.requests import ec_key, issued_names, make_request, name, spki, web_server_request
from tests.support.server import DOMAIN

WEB_SERVER = template_attributes("WebServer")


@pytest.fixture(scope="module", params=DATABASES)
def installation(
    request: pytest.FixtureRequest, molds: Callable[[str], Mold], new_folder: Callable[[], Path]
) -> Iterator[Installation]:
    with molds(request.param).opened(new_folder()) as opened:
        yield opened


@pytest.fixture(params=list(CERT_REQUEST))
def site(request: pytest.FixtureRequest, installation: Installation) -> Site:
    return Site(CERT_REQUEST[request.param](installation), installation)


# -- the shape of the door ------------------------------------------------------------------------------------------


def test_the_two_doors_have_the_same_methods() -> None:
    """Same names, same parameters, same defaults; one of them awaited."""

    def methods(door: type) -> dict[str, list[inspect.Parameter]]:
        return {
            label: list(inspect.signature(member).parameters.values())
            for label, member in vars(door).items()
            if inspect.isfunction(member) and not label.startswith("_")
        }

    assert methods(CertRequest) == methods(AsyncCertRequest)
    assert all(inspect.iscoroutinefunction(getattr(AsyncCertRequest, label)) for label in methods(AsyncCertRequest))


def test_nobody_says_again_who_they_are() -> None:
    """Identity is the connection's: no method has a parameter for it."""
    parameters = {
        parameter
        for member in vars(CertRequest).values()
        if inspect.isfunction(member)
        for parameter in inspect.signature(member).parameters
    }

    assert not parameters & {"requester", "caller", "account", "user", "sid", "identity"}


def test_a_door_says_which_ca_it_leads_to(site: Site) -> None:
    assert site.door.connect().config == f"localhost\\{ISSUING}"


# -- submit --------------------------------------------------------------------------------------------------------


def test_an_issued_request_comes_back_with_its_certificate(site: Site) -> None:
    host = new_host()
    key = ec_key("P-256", 7)

    response = site.submit(request=web_server_request(host, key=key))

    assert (response.disposition, response.status, response.message) == (Disposition.ISSUED, HResult.S_OK, "Issued")
    assert response.is_issued
    assert response.request_id > 0
    certificate = x509.load_der_x509_certificate(response.certificate or b"")
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public == spki(key)
    assert issued_names(response.certificate or b"")[1] == [x509.DNSName(host)]
    issuer = x509.load_der_x509_certificate(
        _octets(site.door.connect().ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, LATEST))
    )
    certificate.verify_directly_issued_by(issuer)


def test_a_pending_request_has_an_id_and_no_certificate(site: Site) -> None:
    response = site.pending()

    assert response.disposition is Disposition.UNDER_SUBMISSION
    assert response.status is HResult.S_OK
    assert response.message.startswith("Taken Under Submission")
    assert OUTSIDE in response.message
    assert response.certificate is None
    assert response.request_id > 0


def test_a_denied_request_says_by_which_code(site: Site) -> None:
    """Two blanks, lowercase code, comma: clients' regular expressions rely on it."""
    response = site.submit(attributes=template_attributes("NoSuchTemplate"))

    assert response.disposition is Disposition.DENIED
    assert response.status is HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE
    assert re.match(r"Denied by Policy Module  0x80094800, \S", response.message)
    assert response.certificate is None


def test_what_is_no_request_is_an_error_with_a_row(site: Site) -> None:
    """[MS-WCCE] 3.2.1.4.2.1.4.1."""
    response = site.submit(request=b"\x30\x03\x02\x01\x00")

    assert response.disposition is Disposition.ERROR
    assert response.message.startswith("Error Parsing Request")
    assert response.status & 0x8000_0000
    assert site.row(response.request_id)["raw_request"] == b"\x30\x03\x02\x01\x00"


def test_a_request_that_was_changed_after_signing_is_refused(site: Site) -> None:
    """Proof of possession. RFC 2986 4.2."""
    changed = bytearray(web_server_request(f"signed.{DOMAIN}"))
    changed[changed.index(b"signed") + 2] ^= 1

    response = site.submit(request=bytes(changed))

    assert response.disposition is Disposition.ERROR
    assert response.status is HResult.NTE_BAD_SIGNATURE
    assert response.certificate is None


def test_request_ids_rise(site: Site) -> None:
    identifiers = [site.submit().request_id for _ in range(4)]

    assert identifiers == list(range(identifiers[0], identifiers[0] + 4))


def test_serial_numbers_differ_and_have_a_random_look(site: Site) -> None:
    """At least 64 bits nobody can foresee (CA/Browser Forum baseline requirements 7.1), positive, 20 octets."""
    serials = [x509.load_der_x509_certificate(site.submit().certificate or b"").serial_number for _ in range(8)]

    assert len(set(serials)) == len(serials)
    assert all(0 < serial < 1 << 159 for serial in serials)
    assert max(serial.bit_length() for serial in serials) > 64


def test_whoever_may_not_enroll_at_this_ca_leaves_no_row(site: Site) -> None:
    """CERTSRV_E_ENROLL_DENIED before anything is recorded. [MS-WCCE] 3.2.1.4.2.1.1."""
    before = site.submit().request_id
    sddl = site.door.administer(People.CA_ADMINISTRATOR).configuration()["security-descriptor"]
    with (
        site.setting(security_descriptor=sddl.replace("(A;;0x200;;;AU)", "")),
        pytest.raises(AccessDenied) as refused,
    ):
        site.submit()

    assert refused.value.status is HResult.CERTSRV_E_ENROLL_DENIED
    assert site.submit().request_id == before + 1


# -- identity ------------------------------------------------------------------------------------------------------


def test_the_row_is_the_callers_whatever_the_request_says(site: Site) -> None:
    request = make_request(
        subject=name(("CN", f"identity.{DOMAIN}")),
        attributes=[],
    )
    attributes = RequestAttributes(
        (("CertificateTemplate", "WebServer"), ("RequesterName", r"CORP\Administrator"), ("cdc", "other"))
    )

    response = site.submit(request=request, attributes=attributes)
    record = site.row(response.request_id)["record"]

    assert record.requester_name == record.caller_name == rf"CORP\{People.ENROLLEE}"
    principal = site.installation.directory.principal(People.ENROLLEE)
    assert principal is not None
    assert record.requester_sid == record.caller_sid == principal.sid


def test_two_doors_of_one_ca_keep_their_callers_apart(site: Site) -> None:
    first, second = site.door.connect(People.ENROLLEE), site.door.connect(People.COMPUTER)
    answers = [door.submit(web_server_request(new_host()), WEB_SERVER) for door in (first, second, first)]

    callers = [site.row(answer.request_id)["record"].caller_name for answer in answers]

    assert callers == [rf"CORP\{People.ENROLLEE}", rf"CORP\{People.COMPUTER}", rf"CORP\{People.ENROLLEE}"]


def test_an_account_disabled_since_it_logged_on_gets_nothing(site: Site) -> None:
    response = site.submit(People.GONE)

    assert (response.disposition, response.status) == (Disposition.DENIED, HResult.E_ACCESSDENIED)
    assert response.certificate is None


# -- durable -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["issued", "pending", "denied", "error"])
def test_the_row_is_there_when_the_answer_is(site: Site, outcome: str) -> None:
    """Read by another process's eyes, the moment the answer is back."""
    answers: dict[str, Callable[[], Response]] = {
        "issued": site.submit,
        "pending": site.pending,
        "denied": lambda: site.submit(attributes=NO_ATTRIBUTES),
        "error": lambda: site.submit(request=b"garbage"),
    }

    response = answers[outcome]()
    row = site.row(response.request_id)

    assert row["record"].state.name.lower() == outcome
    assert row["record"].status is response.status
    assert row["record"].message == response.message
    assert row["certificate"] == response.certificate
    assert row["raw_request"]


def test_its_events_are_in_the_audit_trail(site: Site) -> None:
    response = site.submit()
    with Installation.open(site.installation.home) as other:
        events = other.audit.events(request_id=response.request_id, ca=ISSUING)
        assert other.audit.verify().broken == ()

    assert [event.name for event in reversed(events)] == ["REQUEST_RECEIVED", "CERTIFICATE_ISSUED"]
    assert {event.actor for event in events} == {rf"CORP\{People.ENROLLEE}"}


# -- attributes and flags ------------------------------------------------------------------------------------------


def test_attributes_reach_the_row_as_they_were_sent(site: Site) -> None:
    attributes = RequestAttributes.parse(f"CertificateTemplate:WebServer\r\nccm: pc1.{DOMAIN}\r\nOther Name: a:b")

    record = site.row(site.submit(attributes=attributes).request_id)["record"]

    assert record.attributes == f"CertificateTemplate:WebServer\nccm:pc1.{DOMAIN}\nOtherName:a:b"


@pytest.mark.parametrize("template", ["WebServer", "webserver", "WEBSERVER"])
def test_a_template_is_found_whatever_its_case(site: Site, template: str) -> None:
    response = site.submit(attributes=template_attributes(template))

    assert response.is_issued
    assert site.row(response.request_id)["record"].template == "WebServer"


@pytest.mark.parametrize(
    "greedy",
    [
        ("SAN", f"dns={OUTSIDE}&upn=administrator@{DOMAIN}"),
        ("ExpirationDate", "Wed, 19 May 2049 11:30:00 GMT"),
        ("ValidityPeriod", "Years"),
        ("ValidityPeriodUnits", "30"),
        ("CertificateUsage", "1.3.6.1.5.5.7.3.2,1.3.6.1.4.1.311.20.2.1"),
        ("ApplicationPolicies", "1.3.6.1.5.5.7.3.2"),
        ("RequesterName", r"CORP\Administrator"),
    ],
    ids=lambda pair: pair[0],
)
def test_no_attribute_adds_a_name_a_usage_or_a_day(site: Site, greedy: tuple[str, str]) -> None:
    """Ours: what an attribute could ask for beyond the template is never honoured."""
    host = new_host()
    more = (greedy,) if greedy[0] != "ValidityPeriod" else (greedy, ("ValidityPeriodUnits", "30"))

    response = site.submit(
        request=web_server_request(host), attributes=template_attributes(GateTemplates.SHORT, *more)
    )

    certificate = x509.load_der_x509_certificate(response.certificate or b"")
    assert issued_names(response.certificate or b"")[1] == [x509.DNSName(host)]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    assert certificate.not_valid_after_utc <= datetime.now(UTC) + timedelta(days=7)


def test_the_longest_attributes_string_is_taken(site: Site) -> None:
    """1536 characters. [MS-WCCE] 3.2.1.4.2.1."""
    text = "CertificateTemplate:WebServer\nx:"
    attributes = RequestAttributes.parse(text + "y" * (MAX_ATTRIBUTES_LENGTH - len(text)))

    assert site.submit(attributes=attributes).is_issued


@pytest.mark.parametrize("flags", [RequestFlags.DETECT, RequestFlags.PKCS10])
def test_a_request_of_the_claimed_format_is_taken(site: Site, flags: RequestFlags) -> None:
    response = site.door.connect().submit(web_server_request(new_host()), WEB_SERVER, flags)

    assert response.is_issued
    assert site.row(response.request_id)["record"].request_type == RequestFlags.PKCS10


@pytest.mark.parametrize("flags", [RequestFlags.KEYGEN, RequestFlags.CMC])
def test_a_request_of_another_format_than_claimed_gets_no_certificate(site: Site, flags: RequestFlags) -> None:
    """[MS-WCCE] 3.2.1.4.2.1.4.1: the flags say how to read it."""
    response = site.door.connect().submit(web_server_request(new_host()), WEB_SERVER, flags)

    assert response.certificate is None
    assert response.disposition in (Disposition.ERROR, Disposition.DENIED)


# -- retrieve ------------------------------------------------------------------------------------------------------


def test_a_request_can_be_asked_for_again(site: Site) -> None:
    issued, pending = site.submit(), site.pending()
    denied = site.submit(attributes=NO_ATTRIBUTES)
    failed = site.submit(request=b"garbage")
    door = site.door.connect()

    assert [door.retrieve(each.request_id) for each in (issued, pending, denied, failed)] == [
        issued,
        pending,
        denied,
        failed,
    ]


def test_a_certificate_can_be_asked_for_by_serial_number(site: Site) -> None:
    issued = site.submit()
    serial = f"{x509.load_der_x509_certificate(issued.certificate or b'').serial_number:x}"
    colons = ":".join(re.findall("..", serial.zfill(len(serial) + len(serial) % 2)))
    door = site.door.connect()

    forms = [serial, serial.upper(), f"0x{serial}", f"00{serial}", colons, f" {serial} "]

    assert [door.retrieve(serial_number=form) for form in forms] == [issued] * len(forms)


@pytest.mark.parametrize("request_id", [0, -1, 2**31 - 1, 2**31, 2**63, 10**30])
def test_an_unknown_request_is_one_of_nobody(site: Site, request_id: int) -> None:
    with pytest.raises(NoSuchRequest) as refused:
        site.door.connect().retrieve(request_id)

    assert refused.value.status is HResult.CERTSRV_E_PROPERTY_EMPTY


def test_an_unknown_serial_number_is_one_of_nobody(site: Site) -> None:
    with pytest.raises(NoSuchRequest):
        site.door.connect().retrieve(serial_number="0badc0ffee")


@pytest.mark.parametrize("serial", ["", "xyz", "0x", "12 34 gh", "1" * 100])
def test_a_serial_number_is_hexadecimal(site: Site, serial: str) -> None:
    with pytest.raises(InvalidArgument):
        site.door.connect().retrieve(serial_number=serial)


def test_a_retrieval_names_something(site: Site) -> None:
    with pytest.raises(InvalidArgument):
        site.door.connect().retrieve()


@pytest.mark.parametrize("by", ["request_id", "serial_number"])
def test_other_peoples_requests_look_like_unknown_ones(site: Site, by: str) -> None:
    """Same exception, same words: nothing tells whether the request exists."""
    issued = site.submit()
    serial = f"{x509.load_der_x509_certificate(issued.certificate or b'').serial_number:x}"
    theirs: dict[str, Any] = {"request_id": issued.request_id, "serial_number": serial}
    nobodys: dict[str, Any] = {"request_id": 2**31 - 1, "serial_number": "0badc0ffee"}
    refusals = []
    for asked in (theirs, nobodys):
        with pytest.raises(NoSuchRequest) as refused:
            site.door.connect(People.OTHER).retrieve(**{by: asked[by]})
        refusals.append((refused.value.status, refused.value.message))

    assert refusals[0] == refusals[1]


@pytest.mark.parametrize("account", [People.OFFICER, People.CA_ADMINISTRATOR, People.ADMINISTRATOR])
def test_officers_see_every_request(site: Site, account: str) -> None:
    issued = site.submit()

    assert site.door.connect(account).retrieve(issued.request_id) == issued


@pytest.mark.parametrize("account", [People.AUDITOR, People.BACKUP, People.COMPUTER])
def test_other_roles_do_not(site: Site, account: str) -> None:
    """Auditors read rows as auditors (`CertAdmin.view`), not as requesters."""
    issued = site.submit()

    with pytest.raises(NoSuchRequest):
        site.door.connect(account).retrieve(issued.request_id)


def test_a_ca_may_show_requests_to_everybody_as_ad_cs_does(site: Site) -> None:
    """The compatibility switch, off by default."""
    issued = site.submit()
    with site.setting(retrieval_by_anyone="on"):
        assert site.door.connect(People.OTHER).retrieve(issued.request_id) == issued
    with pytest.raises(NoSuchRequest):
        site.door.connect(People.OTHER).retrieve(issued.request_id)


def test_a_decision_reaches_whoever_asks_again(site: Site) -> None:
    approved, refused = site.pending(), site.pending()
    officer = site.door.administer(People.OFFICER)
    officer.resubmit(approved.request_id)
    officer.deny(refused.request_id, "not today")
    door = site.door.connect()

    first, second = door.retrieve(approved.request_id), door.retrieve(refused.request_id)

    assert first.is_issued
    assert first.certificate
    assert (second.disposition, second.status) == (Disposition.DENIED, HResult.CERTSRV_E_ADMIN_DENIED_REQUEST)
    assert "not today" in second.message


def test_a_revoked_certificate_is_still_handed_out(site: Site) -> None:
    issued = site.submit()
    serial = f"{x509.load_der_x509_certificate(issued.certificate or b'').serial_number:x}"
    site.door.administer(People.OFFICER).revoke(serial, RevocationReason.SUPERSEDED)

    response = site.door.connect().retrieve(issued.request_id)

    assert response.disposition is Disposition.REVOKED
    assert response.certificate == issued.certificate


# -- properties ----------------------------------------------------------------------------------------------------


def test_properties_say_which_ca_it_is(site: Site) -> None:
    """[MS-WCCE] 3.2.1.4.3.2."""
    door = site.door.connect()
    read = {prop: door.ca_property(prop) for prop in (CaProperty.CA_NAME, CaProperty.PARENT_CA, CaProperty.DNS_NAME)}

    assert read == {CaProperty.CA_NAME: ISSUING, CaProperty.PARENT_CA: ROOT, CaProperty.DNS_NAME: "localhost"}
    assert door.ca_property(CaProperty.CA_TYPE) == CaType.ENTERPRISE_SUBORDINATE
    assert door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE_COUNT) == 1
    assert door.ca_property(CaProperty.CA_CERTIFICATE_STATE, 0) == 3  # CA_DISP_VALID
    assert door.ca_property(CaProperty.CRL_STATE, 0) == 3


def test_the_chain_begins_with_the_ca_and_ends_with_the_root(site: Site) -> None:
    door = site.door.connect()
    message = _octets(door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN, LATEST))
    chain = x509.load_pem_x509_certificates(openssl("pkcs7", "-inform", "DER", "-print_certs", data=message).encode())
    own = x509.load_der_x509_certificate(_octets(door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, 0)))

    assert chain[0] == own
    own.verify_directly_issued_by(chain[1])
    chain[1].verify_directly_issued_by(chain[1])


def test_the_base_crl_is_signed_by_the_ca(site: Site) -> None:
    door = site.door.connect()
    own = x509.load_der_x509_certificate(_octets(door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, 0)))
    crl = x509.load_der_x509_crl(_octets(door.ca_property(CaProperty.BASE_CRL, 0)))

    assert crl.is_signature_valid(own.public_key())  # type: ignore[arg-type]
    assert crl.issuer == own.subject


def test_templates_come_as_name_and_oid(site: Site) -> None:
    """CR_PROP_TEMPLATES: pairs, in the order of publication."""
    listed = site.door.connect().ca_property(CaProperty.TEMPLATES)

    assert not isinstance(listed, int | bytes | str)
    pairs = dict(zip(listed[::2], listed[1::2], strict=True))
    assert {"WebServer", "User", "SubCA", GateTemplates.APPROVAL} <= pairs.keys()
    assert "Workstation" not in pairs
    assert all(re.fullmatch(r"1\.3\.6\.1\.4\.1\.311\.21\.8\.[0-9.]+", oid) for oid in pairs.values())


@pytest.mark.parametrize(
    ("prop", "index"),
    [(CaProperty.CA_SIGNATURE_CERTIFICATE, 1), (CaProperty.BASE_CRL, 7), (CaProperty.DELTA_CRL, 0)],
)
def test_a_property_that_is_not_there_is_an_error(site: Site, prop: CaProperty, index: int) -> None:
    with pytest.raises(AdcsError) as refused:
        site.door.connect().ca_property(prop, index)

    assert refused.value.status in (HResult.E_INVALIDARG, HResult.ERROR_FILE_NOT_FOUND)


def test_every_property_is_answered_or_refused_in_words(site: Site) -> None:
    door = site.door.connect(People.PLAIN)
    answers: list[object] = []
    refusals: list[str] = []
    for prop in CaProperty:
        try:
            answers.append(door.ca_property(prop, 0))
        except AdcsError as refused:
            refusals.append(refused.message)

    assert len(answers) > 20
    assert all(isinstance(value, int | str | bytes | list | tuple) for value in answers)
    assert all(refusals)


# -- nothing is lost between the doors -------------------------------------------------------------------------------


def test_rows_of_every_door_are_one_table(site: Site) -> None:
    response = site.submit()

    rows = list(
        site.door.administer(People.AUDITOR).view(
            Table.REQUESTS, [Restriction("request_id", Comparison.EQUAL, response.request_id)]
        )
    )

    assert [row["disposition"] for row in rows] == ["issued"]


def _octets(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
