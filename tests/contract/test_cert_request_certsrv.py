"""The contract of `CertRequest` over pages: our connector on one side, our own running /certsrv on the other.

Every rule of `test_cert_request` that pages can carry holds here too, logged on with NTLM and channel bindings as the
CA demands. Not here: rules about requests that are no PKCS #10 (refused before they are sent), serial numbers, flags,
properties that no page shows, revocation, of which a page says nothing, and how soon another process sees a setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from certwright.adcs.errors import NoSuchRequest
from certwright.adcs.interfaces import CertRequest
from certwright.adcs.properties import LATEST, CaProperty
from certwright.adcs.request import Disposition, template_attributes
from certwright.connectors.certsrv import CertsrvConnection
from certwright.connectors.errors import LogonCause, LogonRefused
from certwright.connectors.probing import PAGE_STEPS, Outcome, Step, probe
from certwright.connectors.reading import read_information
from certwright.connectors.service import AuthScheme, ServiceAddress, ServiceCredential
from certwright.connectors.trust import Fingerprint, PinnedFile, look_at
from certwright.server.composition import Installation
from tests.contract import test_cert_request as contract
from tests.support.doors import Local, Site, new_host
from tests.support.installation import ISSUING, PASSWORD, Mold, People
from tests.support.requests import ec_key, spki, web_server_request
from tests.support.server import RunningServer

# -- the rules that hold over pages ----------------------------------------------------------------------------------

test_a_door_says_which_ca_it_leads_to = contract.test_a_door_says_which_ca_it_leads_to
test_an_issued_request_comes_back_with_its_certificate = (
    contract.test_an_issued_request_comes_back_with_its_certificate
)
test_a_denied_request_says_by_which_code = contract.test_a_denied_request_says_by_which_code
test_request_ids_rise = contract.test_request_ids_rise
test_whoever_may_not_enroll_at_this_ca_leaves_no_row = contract.test_whoever_may_not_enroll_at_this_ca_leaves_no_row
test_the_row_is_the_callers_whatever_the_request_says = contract.test_the_row_is_the_callers_whatever_the_request_says
test_two_doors_of_one_ca_keep_their_callers_apart = contract.test_two_doors_of_one_ca_keep_their_callers_apart
test_its_events_are_in_the_audit_trail = contract.test_its_events_are_in_the_audit_trail
test_attributes_reach_the_row_as_they_were_sent = contract.test_attributes_reach_the_row_as_they_were_sent
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
test_the_base_crl_is_signed_by_the_ca = contract.test_the_base_crl_is_signed_by_the_ca
test_a_property_that_is_not_there_is_an_error = contract.test_a_property_that_is_not_there_is_an_error
test_rows_of_every_door_are_one_table = contract.test_rows_of_every_door_are_one_table


class OverPages(Local):
    """Our own CA, reached as a stranger's is: TLS, NTLM, pages. Officers stay inside."""

    scheme = AuthScheme.NTLM

    def connect(self, account: str = People.ENROLLEE) -> CertRequest:
        return self.pages(account)

    def pages(self, account: str = People.ENROLLEE, password: str = PASSWORD) -> CertsrvConnection:
        home = self.installation.home
        return CertsrvConnection(
            ServiceAddress("localhost", home.settings.https_port, self.scheme),
            ServiceCredential.password(rf"CORP\{account}", password),
            PinnedFile((home.folder / "root-ca.crt").read_text()),
            ca_name=ISSUING,
        )


class OverPagesWithBasic(OverPages):
    scheme = AuthScheme.BASIC


@pytest.fixture(scope="module")
def installation(mold: Mold, new_folder: Callable[[], Path]) -> Iterator[Installation]:
    """A copy that another process serves; this one looks at its rows and holds its officers."""
    home = mold.copy(new_folder())
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port).start()
    try:
        with Installation.open(home) as opened:
            yield opened
    finally:
        server.stop()


@pytest.fixture(params=[OverPages, OverPagesWithBasic], ids=["ntlm", "basic"])
def site(request: pytest.FixtureRequest, installation: Installation) -> Site:
    return Site(request.param(installation), installation)


@pytest.fixture
def door(installation: Installation) -> OverPages:
    return OverPages(installation)


# -- and what is said otherwise there --------------------------------------------------------------------------------


def test_a_pending_request_is_issued_by_an_officer_and_fetched(site: Site) -> None:
    pending = site.pending()
    assert pending.disposition is Disposition.UNDER_SUBMISSION
    site.door.administer(People.OFFICER).resubmit(pending.request_id)

    issued = site.door.connect().retrieve(pending.request_id)

    assert issued.is_issued
    assert site.row(pending.request_id)["certificate"] == issued.certificate


def test_what_was_submitted_is_what_is_retrieved(site: Site) -> None:
    issued, denied = site.submit(), site.submit(attributes=template_attributes("NoSuchTemplate"))
    door = site.door.connect()

    assert door.retrieve(issued.request_id) == issued
    again = door.retrieve(denied.request_id)
    assert (again.disposition, again.status) == (denied.disposition, denied.status)


def test_other_peoples_requests_are_not_shown(site: Site) -> None:
    issued = site.submit()

    with pytest.raises(NoSuchRequest):
        site.door.connect(People.OTHER).retrieve(issued.request_id)


def test_a_lost_request_is_found_among_other_peoples(door: OverPages, installation: Installation) -> None:
    """Its answer never came; the ID is looked for upward from the last one known, past what nobody shows us."""
    site = Site(door, installation)
    before = site.submit().request_id
    sent = datetime.now(UTC)
    site.submit(People.COMPUTER)
    waiting = site.pending()
    key = ec_key("P-256", 41)
    lost = site.submit(request=web_server_request(new_host(), key=key))

    search = door.pages().search(spki(key), sent, before)

    assert search.found == lost
    assert search.undecided == (waiting.request_id,)
    assert door.pages().find_lost(spki(ec_key("P-256", 42)), sent, before) is None


def test_a_service_is_read(door: OverPages) -> None:
    connection = door.pages()
    information = read_information(connection.service, _credential(), _trust(door))

    assert information.ca_name == ISSUING
    assert information.chain[0] == connection.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, LATEST)
    own, root = (x509.load_der_x509_certificate(each) for each in information.chain)
    own.verify_directly_issued_by(root)
    assert information.certificate_not_after == own.not_valid_after_utc
    assert "WebServer" in [each.name for each in information.templates]
    assert all(each.display_name for each in information.templates)


def test_only_templates_that_the_account_may_enroll_for_are_offered(door: OverPages) -> None:
    offered = read_information(door.pages().service, _credential(People.PLAIN), _trust(door)).templates

    assert "WebServer" not in [each.name for each in offered]


def test_the_servers_certificate_can_be_accepted_by_its_fingerprint(door: OverPages) -> None:
    address = door.pages().service
    seen = look_at(address, 10)

    connection = CertsrvConnection(address, _credential(), Fingerprint(seen.sha256))

    assert connection.ca_property(CaProperty.CA_NAME) == ISSUING


def test_every_step_of_the_test_passes(door: OverPages) -> None:
    steps = probe(door.pages().service, _credential(), _trust(door))

    assert [each.step for each in steps if each.ok] == list(PAGE_STEPS), steps


def test_a_wrong_password_is_not_guessed_at(door: OverPages) -> None:
    """The CA answers every refusal alike; what is said is what can be known."""
    with pytest.raises(LogonRefused) as refused:
        door.pages(password="not the password").retrieve(1)

    assert refused.value.cause is LogonCause.UNKNOWN
    assert {"NTLM", "Negotiate", "Basic"} <= set(refused.value.offered)


def test_an_account_that_is_disabled_cannot_log_on(door: OverPages) -> None:
    steps = probe(door.pages().service, _credential(People.GONE), _trust(door))

    assert [each.step for each in steps if each.outcome is Outcome.FAILED] == [Step.AUTHENTICATION]


def test_a_logon_bound_to_another_certificate_is_refused(door: OverPages, monkeypatch: pytest.MonkeyPatch) -> None:
    """The binding matters: with that of somebody in between, the same account does not get in."""
    monkeypatch.setattr(
        "certwright.connectors.logon.tls_server_end_point", lambda certificate: b"tls-server-end-point:" + bytes(32)
    )

    with pytest.raises(LogonRefused):
        door.pages().retrieve(1)


def test_ntlm_inside_negotiate_gets_in_too(door: OverPages, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a server offers Negotiate alone."""
    monkeypatch.setattr("certwright.connectors.logon._offered", lambda response: ("Negotiate",))

    assert door.pages().ca_property(CaProperty.CA_NAME) == ISSUING


def _credential(account: str = People.ENROLLEE) -> ServiceCredential:
    return ServiceCredential.password(rf"CORP\{account}", PASSWORD)


def _trust(door: OverPages) -> PinnedFile:
    return PinnedFile((door.installation.home.folder / "root-ca.crt").read_text())
