"""The contract of `CertRequest` over web services: our connector on one side, our own CEP and CES on the other.

Every rule of `test_cert_request` that CES can carry holds here too. Not here: serial numbers, properties that CEP
does not say, attributes that CES drops, and what our connector refuses before it is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certwright.adcs.errors import HResult, NoSuchRequest, NotSupported
from certwright.adcs.interfaces import CertRequest
from certwright.adcs.properties import LATEST, CaProperty
from certwright.adcs.request import Disposition, RequestFlags, template_attributes
from certwright.connectors.certsrv import CertsrvConnection
from certwright.connectors.ces import CesConnection, Places, PolicyServer
from certwright.connectors.either_way import EitherWay
from certwright.connectors.errors import AnswerLost, LogonRefused, PagesForbidden
from certwright.connectors.probing import PAGE_STEPS, WEB_SERVICE_STEPS, Outcome, Step, probe, probe_web_services
from certwright.connectors.service import AuthScheme, ServiceAddress, ServiceCredential
from certwright.connectors.soap import (
    CertificateLogon,
    Endpoint,
    Logon,
    NegotiateLogon,
    SoapSession,
    UserNameLogon,
)
from certwright.connectors.trust import PinnedFile
from certwright.pki import armor
from certwright.pki.cmc import CmcStatus, PkiResponse
from certwright.pki.signed_data import SignedData
from certwright.server.composition import Installation
from tests.contract import test_cert_request as contract
from tests.support import requests as make
from tests.support.doors import OUTSIDE, Local, Site, new_host
from tests.support.installation import ISSUING, PASSWORD, Mold, People
from tests.support.requests import ec_key, spki, web_server_request
from tests.support.server import RunningServer
from tests.support.web_services import identity_of, with_certificate_port

# -- the rules that hold over web services ---------------------------------------------------------------------------

test_a_door_says_which_ca_it_leads_to = contract.test_a_door_says_which_ca_it_leads_to
test_an_issued_request_comes_back_with_its_certificate = (
    contract.test_an_issued_request_comes_back_with_its_certificate
)
test_a_pending_request_has_an_id_and_no_certificate = contract.test_a_pending_request_has_an_id_and_no_certificate
test_a_denied_request_says_by_which_code = contract.test_a_denied_request_says_by_which_code
test_request_ids_rise = contract.test_request_ids_rise
test_whoever_may_not_enroll_at_this_ca_leaves_no_row = contract.test_whoever_may_not_enroll_at_this_ca_leaves_no_row
test_the_row_is_the_callers_whatever_the_request_says = contract.test_the_row_is_the_callers_whatever_the_request_says
test_two_doors_of_one_ca_keep_their_callers_apart = contract.test_two_doors_of_one_ca_keep_their_callers_apart
test_its_events_are_in_the_audit_trail = contract.test_its_events_are_in_the_audit_trail
test_a_template_is_found_whatever_its_case = contract.test_a_template_is_found_whatever_its_case
test_no_attribute_adds_a_name_a_usage_or_a_day = contract.test_no_attribute_adds_a_name_a_usage_or_a_day
test_a_request_of_the_claimed_format_is_taken = contract.test_a_request_of_the_claimed_format_is_taken
test_an_unknown_request_is_one_of_nobody = contract.test_an_unknown_request_is_one_of_nobody
test_officers_see_every_request = contract.test_officers_see_every_request
test_other_roles_do_not = contract.test_other_roles_do_not
test_a_decision_reaches_whoever_asks_again = contract.test_a_decision_reaches_whoever_asks_again
test_the_chain_begins_with_the_ca_and_ends_with_the_root = (
    contract.test_the_chain_begins_with_the_ca_and_ends_with_the_root
)
test_rows_of_every_door_are_one_table = contract.test_rows_of_every_door_are_one_table


class OverWebServices(Local):
    """Our own CA, reached as a stranger's is: TLS, a logon, CEP, CES. Officers stay inside."""

    def connect(self, account: str = People.ENROLLEE) -> CertRequest:
        return self.services(account)

    def logon(self, account: str, password: str) -> Logon:
        return UserNameLogon(ServiceCredential.password(rf"CORP\{account}", password))

    def policy_server(self, account: str = People.ENROLLEE, password: str = PASSWORD) -> PolicyServer:
        logon = self.logon(account, password)
        word = "UsernamePassword" if isinstance(logon, UserNameLogon) else "Kerberos"
        return PolicyServer(self.endpoint(word), logon, self.trust)

    def endpoint(self, word: str) -> Endpoint:
        settings = self.installation.home.settings
        port = settings.certificate_port if word == "Certificate" else settings.https_port
        return Endpoint(f"https://localhost:{port}/ADPolicyProvider_CEP_{word}/service.svc/CEP")

    @property
    def trust(self) -> PinnedFile:
        return PinnedFile((self.installation.home.folder / "root-ca.crt").read_text())

    def services(self, account: str = People.ENROLLEE, password: str = PASSWORD) -> CesConnection:
        return CesConnection(self.policy_server(account, password), ca_name=ISSUING)

    def either_way(self, password: str = PASSWORD, scheme: AuthScheme = AuthScheme.BASIC) -> EitherWay:
        credential = ServiceCredential.password(rf"CORP\{People.ENROLLEE}", password)
        address = ServiceAddress("localhost", self.installation.home.settings.https_port, scheme)
        pages = CertsrvConnection(address, credential, self.trust, ca_name=ISSUING)
        return EitherWay(self.services(password=password), pages)


class OverWebServicesWithNtlm(OverWebServices):
    def logon(self, account: str, password: str) -> Logon:
        return NegotiateLogon(AuthScheme.NTLM, ServiceCredential.password(rf"CORP\{account}", password))


@pytest.fixture(scope="module")
def installation(mold: Mold, new_folder: Callable[[], Path]) -> Iterator[Installation]:
    """A copy that another process serves; this one looks at its rows and holds its officers."""
    home = with_certificate_port(mold.copy(new_folder()))
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port)
    with Installation.open(home) as opened:
        opened.start_issuers()
        Local(opened).administer(People.CA_ADMINISTRATOR).set_configuration({"enrollment-ntlm": "on"})
        server.start()
        try:
            yield opened
        finally:
            server.stop()


@pytest.fixture(params=[OverWebServices, OverWebServicesWithNtlm], ids=["user name", "ntlm"])
def site(request: pytest.FixtureRequest, installation: Installation) -> Site:
    door = request.param(installation)
    awaited(lambda: _is_let_in(door))
    return Site(door, installation)


@pytest.fixture
def door(installation: Installation) -> OverWebServices:
    return OverWebServices(installation)


# -- and what is said otherwise there --------------------------------------------------------------------------------


def test_what_was_submitted_is_what_is_retrieved(site: Site) -> None:
    issued, pending = site.submit(), site.pending()
    denied = site.submit(attributes=template_attributes("NoSuchTemplate"))
    failed = site.door.connect(People.ENROLLEE)

    assert [failed.retrieve(each.request_id) for each in (issued, pending, denied)] == [issued, pending, denied]


def test_other_peoples_requests_look_like_unknown_ones(site: Site) -> None:
    issued = site.submit()
    refusals = []
    for asked in (issued.request_id, 2**31 - 1):
        with pytest.raises(NoSuchRequest) as refused:
            site.door.connect(People.OTHER).retrieve(asked)
        refusals.append((refused.value.status, refused.value.message))

    assert refusals[0] == refusals[1]


def test_the_full_response_comes_when_it_is_asked_for(site: Site) -> None:
    issued = site.door.connect().submit(
        web_server_request(new_host()), template_attributes("WebServer"), RequestFlags.FULL_RESPONSE
    )

    assert issued.full_response is not None
    content = SignedData.parse(issued.full_response).content or b""
    assert PkiResponse.parse(content).status is CmcStatus.SUCCESS


def test_a_revoked_certificate_is_said_to_be(site: Site) -> None:
    """CES hands it out no more."""
    issued = site.submit()
    serial = f"{x509.load_der_x509_certificate(issued.certificate or b'').serial_number:x}"
    site.door.administer(People.OFFICER).revoke(serial, contract.RevocationReason.SUPERSEDED)

    answer = site.door.connect().retrieve(issued.request_id)

    assert (answer.disposition, answer.status) == (Disposition.REVOKED, HResult.CRYPT_E_REVOKED)


def test_properties_are_those_of_the_ca(door: OverWebServices) -> None:
    connection = door.services()
    names = cast(tuple[str, ...], connection.ca_property(CaProperty.TEMPLATES))

    assert connection.ca_property(CaProperty.CA_NAME) == ISSUING
    assert connection.ca_property(CaProperty.DNS_NAME) == "localhost"
    assert "WebServer" in names[::2]
    with pytest.raises(NotSupported):
        connection.ca_property(CaProperty.BASE_CRL)


def test_the_chain_is_found_where_the_ca_says_when_the_root_alone_is_missing(door: OverWebServices) -> None:
    """The administrator pinned the issuing CA: the root comes from its AIA location, on the service's own host."""
    connection = door.services()
    issuing = cast(bytes, connection.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, LATEST))
    server = replace(door.policy_server(), trust=PinnedFile(armor.armor("CERTIFICATE", issuing)))

    chain = CesConnection(server).information().chain

    own, root = (x509.load_der_x509_certificate(each) for each in chain)
    own.verify_directly_issued_by(root)


def test_a_lost_request_is_found_among_other_peoples(door: OverWebServices, installation: Installation) -> None:
    site = Site(door, installation)
    before = site.submit().request_id
    sent = datetime.now(UTC)
    site.submit(People.COMPUTER)
    waiting = site.pending()
    key = ec_key("P-256", 43)
    lost = site.submit(request=web_server_request(new_host(), key=key))

    search = door.services().search(spki(key), sent, before)

    assert search.found == lost
    assert search.undecided == (waiting.request_id,)


def test_an_answer_that_does_not_come_may_be_a_certificate(
    door: OverWebServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = door.services()
    connection.locate()
    real = SoapSession._body
    monkeypatch.setattr(SoapSession, "_body", lambda self, *rest: real(self, *rest[:-1], "urn:uuid:another"))

    with pytest.raises(AnswerLost, match="another message"):
        connection.submit(web_server_request(new_host()), template_attributes("WebServer"))


def test_whom_the_templates_are_not_for_is_told_of_none(door: OverWebServices) -> None:
    offered = door.services(People.PLAIN).information().templates

    assert "WebServer" not in [each.name for each in offered]


def test_a_wrong_password_is_a_refused_logon(site: Site) -> None:
    door = cast(OverWebServices, site.door)
    with pytest.raises(LogonRefused):
        door.services(password="not the password").retrieve(1)


def test_a_client_certificate_logs_on_too(door: OverWebServices, installation: Installation, tmp_path: Path) -> None:
    identity = identity_of(installation, People.ENROLLEE, make.rsa_key(2048, 8))
    certificate, key = tmp_path / "wanda.crt", tmp_path / "wanda.key"
    certificate.write_text(armor.armor("CERTIFICATE", identity.certificate))
    key.write_bytes(identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    server = PolicyServer(door.endpoint("Certificate"), CertificateLogon(certificate, key), door.trust)

    issued = CesConnection(server).submit(web_server_request(new_host()), template_attributes("WebServer"))

    assert issued.is_issued
    assert Site(door, installation).row(issued.request_id)["record"].requester_name == rf"CORP\{People.ENROLLEE}"


def test_where_the_account_has_no_web_services_the_pages_are_used(
    door: OverWebServices, installation: Installation
) -> None:
    """No Kerberos and no NTLM at CEP; the pages take NTLM as ever."""
    site = Site(door, installation)
    with site.setting(enrollment_ntlm="off"):
        ntlm = OverWebServicesWithNtlm(installation)
        awaited(lambda: not _is_let_in(ntlm))
        way = ntlm.either_way(scheme=AuthScheme.NTLM)
        issued = way.submit(web_server_request(new_host()), template_attributes("WebServer"))

    assert isinstance(way.chosen(), CertsrvConnection)
    assert issued.is_issued


def awaited(happened: Callable[[], bool]) -> None:
    """The server is another process, and learns of a setting a moment later."""
    deadline = time.monotonic() + 5.0
    while not happened():
        assert time.monotonic() < deadline


def _is_let_in(door: OverWebServices) -> bool:
    try:
        door.services().locate()
    except PagesForbidden:
        return False
    return True


def test_where_there_are_web_services_they_are_used(door: OverWebServices) -> None:
    way = door.either_way()

    assert way.submit(web_server_request(OUTSIDE), template_attributes("WebServer")).disposition is (
        Disposition.UNDER_SUBMISSION
    )
    assert isinstance(way.chosen(), CesConnection)


def test_a_refused_logon_is_not_tried_at_the_other_door(door: OverWebServices) -> None:
    with pytest.raises(LogonRefused, match="CEP"):
        door.either_way(password="not the password").retrieve(1)


def test_what_cep_said_is_used_again_for_some_minutes(door: OverWebServices) -> None:
    now = [0.0]
    places = Places(lambda: now[0])
    server = door.policy_server()
    CesConnection(server, places=places).locate()
    nowhere = replace(server, endpoint=server.endpoint)

    assert places.get((nowhere.endpoint, nowhere.logon, ""))[0]
    now[0] = 601.0
    assert not places.get((nowhere.endpoint, nowhere.logon, ""))[0]


def test_every_step_of_the_test_passes(site: Site) -> None:
    steps = probe_web_services(cast(OverWebServices, site.door).policy_server(), "wanda", ca_name=ISSUING)

    assert [each.step for each in steps] == list(WEB_SERVICE_STEPS)
    unbound = {Step.CHANNEL_BINDING} if site.door.__class__ is OverWebServices else set()
    assert {each.step for each in steps if not each.ok} == unbound, steps


def test_the_step_that_fails_is_named(door: OverWebServices) -> None:
    wrong = probe_web_services(door.policy_server(password="not the password"), "wanda")
    elsewhere = probe_web_services(door.policy_server(), "wanda", ca_name="Another CA")
    plain = probe_web_services(door.policy_server(People.GONE), "gone")

    assert [each.step for each in wrong if each.outcome is Outcome.FAILED] == [Step.AUTHENTICATION]
    assert [each.step for each in elsewhere if each.outcome is Outcome.FAILED] == [Step.CA_NAME]
    assert [each.step for each in plain if each.outcome is Outcome.FAILED] == [Step.AUTHENTICATION]


def test_the_test_says_when_the_pages_are_used_instead(door: OverWebServices, installation: Installation) -> None:
    credential = ServiceCredential.password(rf"CORP\{People.ENROLLEE}", PASSWORD)
    address = ServiceAddress("localhost", installation.home.settings.https_port, AuthScheme.NTLM)
    with Site(door, installation).setting(enrollment_ntlm="off"):
        awaited(lambda: not _is_let_in(OverWebServicesWithNtlm(installation)))
        server = OverWebServicesWithNtlm(installation).policy_server()
        steps = probe_web_services(server, "wanda", otherwise=lambda: probe(address, credential, door.trust))

    assert (steps[0].step, steps[0].outcome) == (Step.CEP, Outcome.SKIPPED)
    assert "/certsrv" in steps[0].sentence
    assert [each.step for each in steps if each.ok] == list(PAGE_STEPS)
