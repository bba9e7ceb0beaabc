"""Our own CA as a service: ordered from, approved, searched and revoked through the same values as a remote one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certwright.adcs.errors import AccessDenied, InvalidArgument, NotSupported
from certwright.adcs.interfaces import Comparison, Restriction, Table
from certwright.adcs.request import Disposition, template_attributes
from certwright.adcs.roles import RevocationReason
from certwright.connectors.service import AuthScheme, ServiceCredential
from certwright.connectors.trust import Fingerprint, PinnedFile, SystemTrust
from certwright.manager.reaching import ServiceReach, address_of, trust_of
from certwright.manager.values import LostAnswer, Service, ServiceKind, TrustKind
from certwright.pki.armor import armor
from certwright.pki.certificate import CertificateView
from certwright.pki.pkcs10 import CertificationRequest
from certwright.server.composition import Installation
from tests.support.installation import ISSUING, GateTemplates, Mold, People
from tests.support.inventory_files import certificate
from tests.support.requests import ec_key, web_server_request
from tests.support.server import DOMAIN

CREDENTIAL = ServiceCredential.password(People.ENROLLEE, "unused here")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def service(kind: ServiceKind = ServiceKind.LOCAL, **fields: object) -> Service:
    values: dict[str, object] = {
        "id": 1,
        "domain": "CORP",
        "hostname": "ca01.corp.example",
        "port": 443,
        "priority": 1,
        "auth_method": AuthScheme.NTLM,
        "kind": kind,
        "trust": TrustKind.SYSTEM,
        "trust_data": "",
        "ca": "",
        "approve_templates": (),
        "device_user_id": 1,
        "username": People.ENROLLEE,
        "config": "",
        "ca_name": "",
        "ca_sha256": "",
        "ca_not_after": None,
        "template_count": None,
        "refreshed": None,
        "last_contact": None,
        "last_error": "",
        "last_error_when": None,
        "last_request_id": 0,
        "created": NOW,
        **fields,
    }
    return Service(**values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def installation(mold: Mold, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder: Path = tmp_path_factory.mktemp("reaching")
    with mold.opened(folder) as opened:
        yield opened


@pytest.fixture
def reach(installation: Installation) -> ServiceReach:
    return ServiceReach(installation.registry, installation.requester, lambda: installation.requester(People.OFFICER))


def test_information_names_ca_chain_and_what_the_account_may_enroll_for(reach: ServiceReach) -> None:
    information = reach.information(service(), CREDENTIAL)
    assert information.ca_name == ISSUING
    assert len(information.chain) == 2
    assert {"WebServer", GateTemplates.APPROVAL} <= {template.name for template in information.templates}


def test_a_probe_of_our_own_ca_says_what_is_wrong(reach: ServiceReach) -> None:
    assert all(step.ok for step in reach.probe(service(), CREDENTIAL))
    stranger = ServiceCredential.password("nobody", "x")
    assert [step.ok for step in reach.probe(service(), stranger)] == [False]
    assert [step.ok for step in reach.probe(service(ca="No CA"), CREDENTIAL)] == [True, False]


def test_order_search_approval_and_revocation(reach: ServiceReach) -> None:
    request = web_server_request("web9.other.test", key=ec_key("P-256", 91))
    public_key = CertificationRequest.parse(request).public_key_info
    door = reach.connect(service(), CREDENTIAL)
    assert reach.find_lost(service(), CREDENTIAL, public_key, NOW, 0, ()).certain
    pending = door.submit(request, template_attributes(GateTemplates.APPROVAL))
    assert pending.disposition is Disposition.UNDER_SUBMISSION
    number = pending.request_id
    found = reach.find_lost(service(), CREDENTIAL, public_key, NOW, 0, ())
    assert found == LostAnswer(number, (), number)
    assert reach.find_lost(service(), CREDENTIAL, public_key, NOW, 0, (number,)).request_id is None
    issued = reach.approve(service(), number)
    assert issued.is_issued
    assert issued.certificate is not None
    reach.revoke(service(), CertificateView.parse(issued.certificate).serial_number, RevocationReason.SUPERSEDED)


@pytest.mark.parametrize(
    ("name", "template", "decision", "rule"),
    [
        (f"web1.{DOMAIN}", "WebServer", Disposition.ISSUED, ""),
        (f"web1.{DOMAIN}", GateTemplates.APPROVAL, Disposition.UNDER_SUBMISSION, "approval"),
        ("www.other.test", "WebServer", Disposition.UNDER_SUBMISSION, "name_rules"),
        ("www.other.test", GateTemplates.STRICT, Disposition.DENIED, "name_rules"),
        (f"web1.{DOMAIN}", "NoSuchTemplate", Disposition.DENIED, "template_published"),
    ],
)
def test_a_forecast_is_what_the_ca_then_does(
    reach: ServiceReach, name: str, template: str, decision: Disposition, rule: str
) -> None:
    request = web_server_request(name, key=ec_key("P-256", 93))
    forecast = reach.forecast(service(), CREDENTIAL, request, template)
    response = reach.connect(service(), CREDENTIAL).submit(request, template_attributes(template))

    assert forecast.disposition is response.disposition is decision
    assert forecast.status == response.status
    assert [check.rule for check in forecast.checks if not check.passed] == ([rule] if rule else [])
    assert forecast.message in response.message
    assert bool(forecast.fields) is (decision is not Disposition.DENIED)


def test_a_forecast_leaves_no_trace(installation: Installation, reach: ServiceReach) -> None:
    database = installation.cas[0].authority.database
    before = database.ca(), len(installation.audit.events(limit=10_000))
    for template in ("WebServer", GateTemplates.APPROVAL, "NoSuchTemplate"):
        reach.forecast(service(), CREDENTIAL, web_server_request("web2.other.test"), template)
    reach.forecast(service(), CREDENTIAL, b"no request", "WebServer")
    assert (database.ca(), len(installation.audit.events(limit=10_000))) == before
    admin = installation.registry.administer("", installation.requester(People.OFFICER))
    where = (Restriction("common_name", Comparison.EQUAL, "web2.other.test"),)
    assert list(admin.view(Table.REQUESTS, where)) == []


def test_our_ca_is_known_behind_its_own_pages_and_another_tells_nothing(reach: ServiceReach) -> None:
    chain = reach.information(service(), CREDENTIAL).chain
    request = web_server_request(f"web1.{DOMAIN}")
    ours = service(ServiceKind.CERTSRV, ca_sha256=CertificateView.parse(chain[0]).sha256)
    assert reach.forecast(ours, CREDENTIAL, request, "WebServer").disposition is Disposition.ISSUED
    for digest in ("", "00" * 32):
        with pytest.raises(NotSupported, match="decides when the request is there"):
            reach.forecast(service(ServiceKind.CERTSRV, ca_sha256=digest), CREDENTIAL, request, "WebServer")


def test_an_account_that_is_no_officer_approves_nothing(installation: Installation) -> None:
    reach = ServiceReach(installation.registry, installation.requester, lambda: installation.requester(People.PLAIN))
    request = web_server_request("web8.other.test", key=ec_key("P-256", 92))
    pending = reach.connect(service(), CREDENTIAL).submit(request, template_attributes(GateTemplates.APPROVAL))
    with pytest.raises(AccessDenied):
        reach.approve(service(), pending.request_id)


def test_an_account_that_does_not_exist_orders_nothing(reach: ServiceReach) -> None:
    with pytest.raises(InvalidArgument):
        reach.connect(service(), ServiceCredential.password("nobody", "x"))


def test_a_remote_ca_is_not_administered_over_its_pages(reach: ServiceReach) -> None:
    with pytest.raises(NotSupported, match="as an enrollee"):
        reach.approve(service(ServiceKind.CERTSRV), 7)
    with pytest.raises(NotSupported, match="as an enrollee"):
        reach.revoke(service(ServiceKind.CERTSRV), "00", RevocationReason.UNSPECIFIED)


def test_address_and_trust_are_those_of_the_service() -> None:
    remote = service(ServiceKind.CERTSRV, port=8443, auth_method=AuthScheme.KERBEROS)
    assert address_of(remote).url == "https://ca01.corp.example:8443/certsrv/"
    assert address_of(remote).scheme is AuthScheme.KERBEROS
    pem = armor("CERTIFICATE", certificate())
    assert trust_of(remote) == SystemTrust()
    assert trust_of(service(trust=TrustKind.PINNED, trust_data=pem)) == PinnedFile(pem)
    assert trust_of(service(trust=TrustKind.FINGERPRINT, trust_data="ab" * 32)) == Fingerprint("ab" * 32)
