"""CEP as HTTP and SOAP: who sees which templates, filters, what did not change. [MS-XCEP] 3.1.4.1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from certwright.adcs.requester import AUTHENTICATED_USERS
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate, EnrollmentFlag, PrivateKeyFlag
from certwright.cep.application import PolicyWebService, address, is_address
from certwright.cep.offer import Offer, OfferedCa, PolicyOffer
from certwright.pki.certificate import CertificateView
from certwright.wire import xcep
from certwright.wire.xcep import CaUri, ClientAuthentication, GetPolicies, PolicyResponse
from tests.support import requests as make
from tests.support.certificates import make_certificate
from tests.support.certsrv import ALICE as ALICE_LOGGED_ON
from tests.support.certsrv import Answer, Client
from tests.support.fake_directory import (
    DOMAIN_COMPUTERS,
    DOMAIN_SID,
    FakeDirectory,
    enroll_sddl,
    make_template,
    make_user,
)
from tests.support.soap_client import StubLogons, fault, read, send

PATH: Final = "/ADPolicyProvider_CEP_UsernamePassword/service.svc/CEP"
BY_CERTIFICATE: Final = "/ADPolicyProvider_CEP_Certificate/service.svc/CEP"
KEY_BASED: Final = "/KeyBasedRenewal_ADPolicyProvider_CEP_Certificate/service.svc/CEP"
BY_KEY: Final = EnrollmentFlag.ALLOW_PREVIOUS_APPROVAL_KEYBASEDRENEWAL_VALIDATE_REENROLLMENT
AUTOENROLL: Final = "a05b8cc2-17bc-4802-a710-e7c15ab866a2"
NOW: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)
URIS: Final = (
    CaUri(ClientAuthentication.KERBEROS, "https://ca/a_CES_Kerberos/service.svc/CES", 1, False),
    CaUri(ClientAuthentication.USER_NAME, "https://ca/a_CES_UsernamePassword/service.svc/CES", 3, True),
)
ALICE_ORIGIN: Final = ALICE_LOGGED_ON.origin
ALICE, BOB = make_user("alice", 1101), make_user("bob", 1102)
OPEN: Final = enroll_sddl(AUTHENTICATED_USERS)


class Snapshots(FakeDirectory):
    """As the directories are: the same mapping as long as nothing changed."""

    seen: Mapping[str, CertificateTemplate] = MappingProxyType({})

    def templates(self) -> Mapping[str, CertificateTemplate]:
        found = super().templates()
        if dict(found) != dict(self.seen):
            self.seen = found
        return self.seen


class Place:
    """A service over two CAs, both of which publish what they are told to."""

    def __init__(self, *templates: CertificateTemplate, stub: StubLogons | None = None, **offer: Any) -> None:
        self.directory = Snapshots((ALICE, BOB), templates)
        self.directory.publish("a", *(template.cn for template in templates))
        security = SecurityDescriptor.from_sddl("D:(A;;0x200;;;AU)", DOMAIN_SID)
        cas = (
            OfferedCa("a", make_certificate("CN=a"), URIS, security),
            OfferedCa("b", make_certificate("CN=b"), URIS[:1], SecurityDescriptor.from_sddl("D:", DOMAIN_SID)),
        )
        self.offer = Offer(cas, **offer)
        self.now = NOW
        self.sites: dict[str, str] = {}
        offers = PolicyOffer(
            self.directory, lambda: self.offer, lambda: self.now, lambda address: self.sites.get(address, "")
        )
        service = PolicyWebService(offers, (stub or StubLogons()).logons(), blocks=False)
        self.client = Client(service, account="")
        self.client.connection.peer_certificate = make_certificate(
            "CN=machine", extensions=[(make_template_extension("1.2.3.4.1"), False)]
        )

    def send(self, request: GetPolicies | None = None, path: str = PATH) -> Answer:
        return send(self.client, path, xcep.GET_POLICIES, (request or GetPolicies()).encode())

    def ask(self, request: GetPolicies | None = None, path: str = PATH) -> PolicyResponse:
        answer = self.send(request, path)
        assert answer.status == 200, answer
        message = read(answer)
        assert message.action == xcep.GET_POLICIES_RESPONSE
        return PolicyResponse.parse(message.body)

    def names(self, request: GetPolicies | None = None, path: str = PATH) -> list[str]:
        return [policy.common_name for policy in self.ask(request, path).policies]


def make_template_extension(oid: str) -> Any:
    value = make.sequence(make.oid(oid), make.integer(1), make.integer(0))
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(make.CERTIFICATE_TEMPLATE), value)


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PATH, PATH.lower(), PATH.upper(), PATH + "/"])
def test_addresses_in_any_case(path: str) -> None:
    assert is_address(path)
    assert Place(make_template()).names(path=path) == ["WebServer"]


@pytest.mark.parametrize(
    "path",
    [
        "/KeyBasedRenewal_ADPolicyProvider_CEP_Kerberos/service.svc/CEP",
        "/ADPolicyProvider_CEP_Anonymous/service.svc/CEP",
        "/x/ADPolicyProvider_CEP_Kerberos/service.svc/CEP",
        "/ADPolicyProvider_CEP_Kerberos/service.svc",
    ],
)
def test_there_are_no_others(path: str) -> None:
    """Key-based renewal has no Kerberos variant."""
    assert Place().client.call("POST", path).status == 404


def test_addresses_as_they_are_told() -> None:
    assert address(ClientAuthentication.USER_NAME) == PATH
    assert address(ClientAuthentication.CERTIFICATE, key_based=True) == KEY_BASED


# -- who sees what ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_every_answer_follows_the_schema(count: int) -> None:
    """However many templates; `send` validates. The CAs stand there even without any: cepces cannot do without."""
    place = Place(*(make_template(f"Template{number:02}") for number in range(count)))
    answer = place.ask()

    assert [policy.common_name for policy in answer.policies] == [f"Template{number:02}" for number in range(count)]
    assert [ca.enroll_permission for ca in answer.cas] == [True, False]
    assert answer.cas[0].uris == URIS
    assert answer.next_update_hours == 8
    assert len({policy.oid for policy in answer.policies}) == count


def test_a_template_is_listed_for_whoever_may_enroll_or_autoenroll() -> None:
    place = Place(
        make_template("Enroll", security_descriptor=OPEN),
        make_template("Auto", security_descriptor=f"D:(OA;;CR;{AUTOENROLL};;{AUTHENTICATED_USERS})"),
        make_template("Others", security_descriptor=enroll_sddl(DOMAIN_COMPUTERS)),
        make_template("Denied", security_descriptor=f"D:(OD;;CR;;;{AUTHENTICATED_USERS})"),
        make_template("Broken", security_descriptor="nonsense"),
    )
    with capture_logs() as logs:
        found = {policy.common_name: (policy.enroll, policy.auto_enroll) for policy in place.ask().policies}

    assert found == {"Auto": (False, True), "Enroll": (True, False)}
    assert [entry["template"] for entry in logs if entry["event"] == "template_descriptor_unreadable"] == ["Broken"]


def test_all_are_listed_where_a_setting_says_so() -> None:
    place = Place(make_template("Others", security_descriptor=enroll_sddl(DOMAIN_COMPUTERS)), list_all=True)
    (policy,) = place.ask().policies

    assert (policy.enroll, policy.auto_enroll) == (False, False)


def test_only_published_templates_are_listed_with_the_cas_that_publish_them() -> None:
    place = Place(make_template("One"), make_template("Two"), make_template("Three"))
    place.directory.publish("a", "One", "Two", "Gone")
    place.directory.publish("b", "Two")

    assert {policy.common_name: policy.cas for policy in place.ask().policies} == {"One": (0,), "Two": (0, 1)}


def test_groups_of_today_count() -> None:
    """A caller's session may be older than its groups."""
    place = Place(make_template(security_descriptor=enroll_sddl(DOMAIN_COMPUTERS)))
    assert place.names() == []
    place.directory.put(replace(ALICE, groups=ALICE.groups | {DOMAIN_COMPUTERS}))

    assert place.names() == ["WebServer"]


@pytest.mark.parametrize(
    "change",
    [
        lambda place: place.directory.put(make_template(minor_version=9)),
        lambda place: place.directory.publish("a", "Nothing"),
        lambda place: setattr(place, "offer", replace(place.offer, cas=place.offer.cas[:1])),
    ],
    ids=["template", "publication", "settings"],
)
def test_a_change_counts_at_the_next_question(change: Any) -> None:
    place = Place(make_template())
    before = place.ask()
    change(place)

    assert place.ask() != before


def test_the_policy_id_stays() -> None:
    """Clients keep what they learned under it. The same at every address of one domain, after every start."""
    one, other = Place(make_template()), Place()
    found = {one.ask().policy_id, other.ask().policy_id, one.ask(path=KEY_BASED).policy_id}

    assert len(found) == 1
    (policy_id,) = found
    assert policy_id == policy_id.upper()
    assert (policy_id[0], policy_id[-1], len(policy_id)) == ("{", "}", 38)


def test_a_template_that_cannot_be_said_is_left_out_and_named_in_the_log() -> None:
    place = Place(make_template("Good"), make_template("Bad", key_usage=b"\x01\x02\x03"))
    with capture_logs() as logs:
        assert place.names() == ["Good"]
    assert [entry["template"] for entry in logs if entry["event"] == "template_not_listed"] == ["Bad"]


# -- key-based renewal -----------------------------------------------------------------------------------------------


def test_cas_of_the_callers_site_stand_first_and_are_preferred() -> None:
    """[MS-WCCE] 2.2.2.11, msPKI-Site-Name. Who is in no site that has a CA sees them as they are."""
    place = Place(make_template("one", oid="1.2.3.4.11"), make_template("two", oid="1.2.3.4.12"))
    place.directory.publish("a", "one", "two", site="Paris")
    place.directory.publish("b", "two", site="Rome")
    as_they_are = place.ask()

    place.sites = {ALICE_ORIGIN: "Rome"}
    near = place.ask()
    place.sites = {ALICE_ORIGIN: "Oslo"}
    elsewhere = place.ask()

    def names(answer: PolicyResponse) -> list[str]:
        return [CertificateView.parse(ca.certificate).common_name for ca in answer.cas]

    def publishing(answer: PolicyResponse) -> dict[str, set[str]]:
        return {each.common_name: {names(answer)[number] for number in each.cas} for each in answer.policies}

    assert names(as_they_are) == names(elsewhere) == ["a", "b"]
    assert names(near) == ["b", "a"]
    assert publishing(near) == publishing(as_they_are) == {"one": {"a"}, "two": {"a", "b"}}
    assert [[uri.priority for uri in ca.uris] for ca in near.cas] == [[1], [101, 103]]
    assert [[uri.priority for uri in ca.uris] for ca in elsewhere.cas] == [[1, 3], [1]]


def test_key_based_renewal_lists_its_templates_alone() -> None:
    place = Place(make_template("ByKey", enrollment_flag=BY_KEY), make_template("Other"))

    assert place.names(path=KEY_BASED) == ["ByKey"]
    assert place.names(path=BY_CERTIFICATE) == ["ByKey", "Other"]


def test_a_holder_is_told_of_its_own_template_alone() -> None:
    templates = (
        make_template("Mine", oid="1.2.3.4.1", enrollment_flag=BY_KEY, security_descriptor="D:"),
        make_template("Other", oid="1.2.3.4.2", enrollment_flag=BY_KEY),
    )
    holder = StubLogons(is_holder=True)
    (policy,) = Place(*templates, stub=holder, by_key=True).ask(path=KEY_BASED).policies

    assert (policy.common_name, policy.enroll, policy.auto_enroll) == ("Mine", True, True)
    assert Place(*templates, stub=holder, by_key=False).names(path=KEY_BASED) == []
    assert Place(*templates, stub=holder, by_key=True).names(path=BY_CERTIFICATE) == []
    without = replace(templates[0], enrollment_flag=EnrollmentFlag(0))
    assert Place(without, stub=holder, by_key=True).names(path=KEY_BASED) == []


# -- filters ---------------------------------------------------------------------------------------------------------


def test_filters() -> None:
    """3.1.4.1.3.22. Zero, as cepces sends it, filters nothing; 0x06060000 is Windows 10 and Server 2016."""
    old = make_template("Old", oid="1.2.3.1")
    new = make_template("New", oid="1.2.3.2", private_key_flag=PrivateKeyFlag(0x06060000))
    place = Place(old, new)

    assert place.names(GetPolicies(oids=frozenset({"1.2.3.2", "9.9"}))) == ["New"]
    assert place.names(GetPolicies(client_version=5)) == ["Old"]
    assert place.names(GetPolicies(server_version=5)) == ["Old"]
    assert place.names(GetPolicies(client_version=6, server_version=6)) == ["New", "Old"]
    zero = GetPolicies().encode().replace(
        '<requestFilter xsi:nil="true"/>',
        '<requestFilter><policyOIDs xsi:nil="true"/><clientVersion>0</clientVersion>'
        "<serverVersion>0</serverVersion></requestFilter>",
    )  # fmt: skip
    answer = send(place.client, PATH, xcep.GET_POLICIES, zero)
    assert len(PolicyResponse.parse(read(answer).body).policies) == 2


# -- not changed -----------------------------------------------------------------------------------------------------


def knowing(when: datetime) -> GetPolicies:
    return GetPolicies(last_update=when)


def test_whoever_has_the_answer_already_is_told_so() -> None:
    place = Place(make_template())
    place.ask()
    place.now += timedelta(hours=1)
    answer = place.ask(knowing(place.now - timedelta(minutes=30)))

    assert answer.not_changed
    assert (answer.policies, answer.cas) == ((), ())


@pytest.mark.parametrize(
    ("told", "asked", "known"),
    [
        (False, timedelta(hours=1), timedelta(minutes=30)),  # this process never told it anything
        (True, timedelta(hours=1), None),
        (True, timedelta(hours=1), timedelta(minutes=-30)),  # from before it was told, or another clock
        (True, timedelta(minutes=2), timedelta(minutes=1)),  # too close together for two clocks
        (True, timedelta(hours=9), timedelta(minutes=30)),  # older than an answer may be used
        (True, timedelta(hours=1), timedelta(hours=2)),  # from the future
    ],
)
def test_otherwise_it_is_told_everything(told: bool, asked: timedelta, known: timedelta | None) -> None:
    place = Place(make_template())
    if told:
        place.ask()
    place.now += asked
    answer = place.ask(GetPolicies(last_update=NOW + known) if known is not None else GetPolicies())

    assert not answer.not_changed
    assert len(answer.policies) == 1


def test_what_is_another_answer_for_this_caller_is_told() -> None:
    """Also where the very same answer was made long ago, for somebody else."""
    place = Place(make_template("Open"), make_template("Closed", security_descriptor=enroll_sddl(DOMAIN_COMPUTERS)))
    place.ask()
    place.now += timedelta(hours=1)
    place.directory.put(replace(ALICE, groups=ALICE.groups | {DOMAIN_COMPUTERS}))

    assert len(place.ask(knowing(place.now - timedelta(minutes=10))).policies) == 2


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        f'<GetPolicies xmlns="{xcep.NAMESPACE}"/>',
        f'<GetPolicies xmlns="{xcep.NAMESPACE}"><client/><requestFilter/></GetPolicies>',
        f'<GetPolicies xmlns="{xcep.NAMESPACE}"><client xsi:nil="true"/></GetPolicies>',
        GetPolicies().encode().replace("</client>", "</client><client><lastUpdate/></client>"),
        '<x xmlns="urn:x"/>',
    ],
)
def test_a_request_without_a_client_is_a_fault(body: str) -> None:
    """The only fault that the specification demands. 3.1.4.1.2.1."""
    said = fault(send(Place(make_template()).client, PATH, xcep.GET_POLICIES, body))

    assert (said.code, said.detail) == ("Sender", None)


def test_another_action_is_a_fault() -> None:
    said = fault(send(Place().client, PATH, "urn:other", GetPolicies().encode()))

    assert said.code == "Sender"
