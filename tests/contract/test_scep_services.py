"""NDES with several services: paths, templates, CAs, policy modules; what happens when a CA gets a new key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from wsgiref.simple_server import make_server

import pytest

from certwright.adcs.errors import AccessDenied, AdcsError, ConfigurationError, InvalidArgument
from certwright.adcs.properties import CaType
from certwright.keystores.base import KeyAlgorithm
from certwright.ndes import modules
from certwright.ndes.policy import (
    ChallengeAsked,
    Disposition,
    ModuleContext,
    Outcome,
    PolicyUnavailable,
    RequestAsked,
    Verdict,
)
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import parse_certs_only
from certwright.pki.public_keys import load_public_key
from certwright.pki.signed_data import SignedData
from certwright.server import authorities, device_setup
from certwright.server.composition import Installation
from certwright.server.device_setup import DeviceSetup
from certwright.wire.scep import FailInfo, PkiStatus
from tests.support.doors import Local
from tests.support.installation import ISSUING, GateTemplates, Mold, People
from tests.support.requests import key_usage
from tests.support.scep import Ask, Device, serving
from tests.support.scep_house import House, key_numbers, refused
from tests.support.server import DOMAIN
from tests.unit.ndes.test_policy_modules import Silent, listening, shown

SECOND: Final = "Branch CA"


@contextmanager
def service(house: House, name: str, **changes: str) -> Iterator[Ask]:
    """A service with a name, and the way to ask it."""
    setup, operator = DeviceSetup(house.installation), house.installation.operator()
    setup.add(name, operator)
    try:
        setup.change({key.replace("_", "-"): value for key, value in changes.items()}, operator, name)
        setup.enable(operator, name)
        with serving(house.installation, service_path=b"/" + name.encode()) as ask:
            yield ask
    finally:
        setup.remove(name, operator)


def device_of(ask: Ask, host: str = f"kiosk.{DOMAIN}") -> Device:
    return Device(ask, host, next(key_numbers))


def challenge_of(house: House, name: str) -> str:
    return DeviceSetup(house.installation).challenge(house.installation.operator(), name)


# -- paths -----------------------------------------------------------------------------------------------------------


def test_each_service_has_its_own_templates_and_challenges(house: House) -> None:
    with service(house, "kiosks", general_purpose_template=GateTemplates.SHORT, challenge_minutes="5") as ask:
        device = device_of(ask)
        refused(device.enroll(house.challenge()), FailInfo.BAD_REQUEST, "not accepted")
        issued = device.enroll(challenge_of(house, "kiosks"))
        assert issued.status is PkiStatus.SUCCESS
        life = issued.certificate.not_after - issued.certificate.not_before
        assert life < timedelta(days=10)
        refused(house.device().enroll(challenge_of(house, "kiosks")), FailInfo.BAD_REQUEST, "not accepted")
        rows = DeviceSetup(house.installation).devices(10, "kiosks")
        assert [row.template for row in rows] == [GateTemplates.SHORT]


def test_a_transaction_of_one_service_is_none_of_another(house: House) -> None:
    with service(house, "kiosks", general_purpose_template="WebServer") as ask:
        device = device_of(ask)
        device.enroll(challenge_of(house, "kiosks"))
        device.ask = house.ask
        refused(device.poll(), FailInfo.BAD_CERT_ID, "no such transaction")


def test_what_one_service_issued_another_renews_only_from_its_own_templates(house: House) -> None:
    device = house.device(f"moving.{DOMAIN}")
    device.take(device.enroll(house.challenge()))
    with service(house, "kiosks", general_purpose_template=GateTemplates.SHORT) as ask:
        device.ask = ask
        refused(device.renew(), FailInfo.BAD_REQUEST, "template that is not renewed here")
    with service(house, "same", general_purpose_template="WebServer") as ask:
        device.ask = ask
        assert device.renew().status is PkiStatus.SUCCESS


def test_key_usage_leads_to_a_template_in_each_service(house: House) -> None:
    with service(
        house, "kiosks", general_purpose_template="WebServer", signature_template=GateTemplates.SHORT
    ) as ask:
        device_of(ask).enroll(challenge_of(house, "kiosks"), extensions=[key_usage(b"\x80")])
        assert DeviceSetup(house.installation).devices(1)[0].template == GateTemplates.SHORT


@pytest.mark.parametrize("path", [b"/nobody", b"", b"/..", b"/a%00b", b"/UPPER_CASE"])
def test_a_service_that_is_not_there_is_not_found(house: House, path: bytes) -> None:
    with serving(house.installation, service_path=path or b"/") as ask:
        assert ask("GET", b"operation=GetCACaps", b"").status == 404


def test_names_of_services_are_for_paths(house: House) -> None:
    setup, operator = DeviceSetup(house.installation), house.installation.operator()
    for name in ("", "Upper", "a b", "-a", "a" * 33, "ä"):
        with pytest.raises(InvalidArgument, match="lower-case letters"):
            setup.add(name, operator)
    setup.add("twice", operator)
    with pytest.raises(InvalidArgument, match="already"):
        setup.add("twice", operator)
    setup.remove("twice", operator)
    removed, added = house.installation.audit.events(limit=2)
    assert [each.details["change"] for each in (added, removed)] == ["service added", "service removed"]
    with pytest.raises(InvalidArgument, match="no service"):
        setup.standing("twice")
    with pytest.raises(InvalidArgument, match="always there"):
        setup.remove("", operator)


def test_only_a_ca_administrator_adds_and_removes_services(house: House) -> None:
    setup, officer = DeviceSetup(house.installation), Local(house.installation).requester(People.OFFICER)
    with pytest.raises(AccessDenied):
        setup.add("forbidden", officer)
    setup.add("kept", house.installation.operator())
    for act in (setup.remove,):
        with pytest.raises(AccessDenied):
            act("kept", officer)
    with pytest.raises(AccessDenied):
        setup.change({"des": "on"}, officer, "kept")
    setup.remove("kept", house.installation.operator())


# -- policy modules --------------------------------------------------------------------------------------------------


class Scripted:
    """A module that answers as it is told."""

    def __init__(self) -> None:
        self.verdict: Verdict | Exception | None = Verdict.yes()
        self.asked: list[RequestAsked] = []
        self.told: list[Outcome] = []

    def initialize(self, context: ModuleContext) -> None:
        assert CertificateView.parse(context.ca_certificate()).is_ca

    def generate_challenge(self, asked: ChallengeAsked) -> str:
        return f"for {asked.parameters}"

    def verify_request(self, asked: RequestAsked) -> Verdict:
        self.asked.append(asked)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict  # type: ignore[return-value]

    def notify(self, outcome: Outcome) -> None:
        self.told.append(outcome)
        raise RuntimeError("nobody listens")

    def uninitialize(self) -> None:
        pass


@pytest.fixture
def module(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Scripted, Ask]]:
    scripted = Scripted()

    class Entry:
        name = "scripted"

        @staticmethod
        def load() -> Callable[[], Scripted]:
            return lambda: scripted

    monkeypatch.setattr(modules, "_installed", lambda: (Entry,))
    with service(house, "mdm", policy="scripted", general_purpose_template="WebServer") as ask:
        yield scripted, ask


def test_a_module_decides_and_is_told(house: House, module: tuple[Scripted, Ask]) -> None:
    scripted, ask = module
    device = device_of(ask)
    given = DeviceSetup(house.installation).challenge(house.installation.operator(), "mdm", parameters="SN-1")
    assert given == "for SN-1"

    issued = device.enroll(given)

    assert issued.status is PkiStatus.SUCCESS
    (asked,) = scripted.asked
    assert (asked.challenge, asked.template, asked.signer) == ("for SN-1", "WebServer", None)
    assert asked.names == (device.host, f"{device.host}")
    (told,) = scripted.told
    assert (told.disposition, told.certificate) == (Disposition.SUCCESS, issued.certificates[0])
    assert device.send(device.message(device.request(given))).status is PkiStatus.SUCCESS
    assert len(scripted.asked) == len(scripted.told) == 1


def test_a_module_sees_who_renews(module: tuple[Scripted, Ask]) -> None:
    scripted, ask = module
    device = device_of(ask)
    device.take(device.enroll("x"))
    assert device.renew().status is PkiStatus.SUCCESS
    assert scripted.asked[1].signer == device.credentials.certificate.der
    scripted.verdict = Verdict.no("retired", "This device is retired.")
    refused(device.renew(), FailInfo.BAD_REQUEST, "is retired")


def test_a_module_hears_of_a_decision_that_a_poll_finds(house: House, module: tuple[Scripted, Ask]) -> None:
    scripted, ask = module
    DeviceSetup(house.installation).change(
        {"general-purpose-template": GateTemplates.APPROVAL}, house.installation.operator(), "mdm"
    )
    device = device_of(ask)
    assert device.enroll("x").status is PkiStatus.PENDING
    house.approve(house.newest_request())
    assert device.poll().status is PkiStatus.SUCCESS
    assert device.poll().status is PkiStatus.SUCCESS
    assert [each.disposition for each in scripted.told] == [Disposition.PENDING, Disposition.SUCCESS]


@pytest.mark.parametrize("answer", [PolicyUnavailable("down"), RuntimeError("bug"), None], ids=repr)
def test_what_is_no_answer_issues_nothing(
    house: House, module: tuple[Scripted, Ask], answer: Exception | None
) -> None:
    scripted, ask = module
    scripted.verdict = answer
    device, before = device_of(ask), house.requests()
    message = device.message(device.request("x"))
    reply = ask("POST", b"operation=PKIOperation", message)
    assert reply.status == 503
    assert b"retry-after" in reply.headers.lower()
    assert house.requests() == before
    scripted.verdict = Verdict.yes()
    assert device.send(message).status is PkiStatus.SUCCESS


def test_refusals_of_a_module_slow_guessing_down(module: tuple[Scripted, Ask]) -> None:
    scripted, ask = module
    scripted.verdict = Verdict.no("stranger")
    device = device_of(ask)
    statuses = set()
    for number in range(60):
        statuses.add(ask("POST", b"operation=PKIOperation", device.message(device.request(f"{number}"))).status)
        if 429 in statuses:
            break
    assert statuses == {200, 429}


def test_a_module_that_is_not_installed_cannot_be_chosen(house: House) -> None:
    setup, operator = DeviceSetup(house.installation), house.installation.operator()
    for changes, pattern in (
        ({"policy": "nobody"}, "no policy module"),
        ({"policy": "webhook"}, "webhook-url"),
        ({"policy": "webhook", "webhook-url": "http://mdm.example/"}, "plain http"),
        ({"policy": "webhook", "webhook-url": "https://mdm.example/"}, "signing key"),
    ):
        with pytest.raises((InvalidArgument, ConfigurationError), match=pattern):
            setup.change(changes, operator)
    assert setup.standing("").settings.policy == "built-in"


def test_the_signing_key_of_a_webhook_is_sealed(house: House) -> None:
    setup, operator = DeviceSetup(house.installation), house.installation.operator()
    setup.add("hooked", operator)
    key = setup.webhook_key(operator, "hooked")
    setup.change({"policy": "webhook", "webhook-url": "https://mdm.example/"}, operator, "hooked")
    with house.installation.database.read() as connection:
        stored = repr(connection.many("SELECT * FROM ndes_setting"))
    assert key not in stored
    assert key.encode().hex() not in stored
    events = house.installation.audit.events(limit=5)
    assert key not in repr(events)
    assert setup.standing("hooked").settings.webhook_key not in repr(events)
    setup.remove("hooked", operator)


def test_the_validator_of_the_guide_decides_on_devices(house: House) -> None:
    """The webhook from end to end: sealed key, signed questions, a device that gets its certificate, a notice."""
    setup, operator = DeviceSetup(house.installation), house.installation.operator()
    program: dict[str, Any] = {"__name__": "validator"}
    exec(shown("validator.py"), program)
    program["DEVICES"] = {"SN-1": f"kiosk1.{DOMAIN}"}
    server = make_server("127.0.0.1", 0, program["application"], handler_class=Silent)
    setup.add("validated", operator)
    program["KEY"] = setup.webhook_key(operator, "validated")
    with listening(server) as port:
        changes = {"policy": "webhook", "webhook-url": f"http://127.0.0.1:{port}/", "webhook-timeout": "5"}
        setup.change({"general-purpose-template": "WebServer", **changes}, operator, "validated")
        setup.enable(operator, "validated")
        challenge = setup.challenge(operator, "validated", parameters="SN-1")
        with pytest.raises(AccessDenied, match="no device SN-2"):
            setup.challenge(operator, "validated", parameters="SN-2")
        with serving(house.installation, service_path=b"/validated") as ask:
            stranger, device = device_of(ask, f"other.{DOMAIN}"), device_of(ask, f"kiosk1.{DOMAIN}")
            refused(stranger.enroll(challenge), FailInfo.BAD_REQUEST, "SN-1 is called kiosk1")
            issued = device.enroll(challenge)
            assert issued.status is PkiStatus.SUCCESS
        # `serving` has ended the module, which told what it had to tell first
    assert (device.transaction, "success") in [each[:2] for each in program["told"]]
    rule = setup.failures(1, "validated")[0].rule
    assert rule == "webhook: name"
    setup.remove("validated", operator)


# -- what was refused ------------------------------------------------------------------------------------------------


def test_a_refused_message_is_kept_with_its_rule(house: House) -> None:
    device = house.device()
    message = device.message(device.request("guess"))
    device.send(message)
    house.ask("POST", b"operation=PKIOperation", b"\x30\x03\x02\x01\x05")
    setup = DeviceSetup(house.installation)
    unreadable, wrong = setup.failures(2)
    assert (wrong.rule, wrong.fail_info, wrong.transaction) == (
        "challenge wrong",
        "BAD_REQUEST",
        device.transaction,
    )
    found = setup.failure(wrong.id)
    assert found is not None
    assert found.message == message
    assert (unreadable.rule, unreadable.fail_info) == ("message", "")


def test_failures_are_forgotten(house: House) -> None:
    house.device().enroll("guess")
    now = house.installation.clock()
    device_setup.prune(house.installation, now)
    assert DeviceSetup(house.installation).failures(10)
    device_setup.prune(house.installation, now + timedelta(days=device_setup.KEPT_DAYS + 1))
    assert not DeviceSetup(house.installation).failures(10)


# -- two CAs, and new keys -------------------------------------------------------------------------------------------


@pytest.fixture
def mold_opened(molds: Callable[[str], Mold], new_folder: Callable[[], Path]) -> Iterator[Path]:
    mold = molds("sqlite")
    home = mold.copy(new_folder())
    yield home.folder
    mold.drop(home)


@contextmanager
def reopened(folder: Path) -> Iterator[Installation]:
    from certwright.server.home import Home

    with Installation.open(Home.open(folder)) as installation:
        installation.start()
        yield installation


def test_a_service_issues_from_the_ca_it_names(mold_opened: Path) -> None:
    with reopened(mold_opened) as installation:
        operator = installation.operator()
        authorities.create_below(
            installation, SECOND, CaType.ENTERPRISE_SUBORDINATE, "CORP Root CA", KeyAlgorithm.ECDSA_P256, operator
        )
    with reopened(mold_opened) as installation:
        operator = installation.operator()
        authorities.follow(installation, SECOND, operator)
        setup = DeviceSetup(installation)
        setup.change({"general-purpose-template": "WebServer"}, operator)
        setup.enable(operator)
        setup.add("branch", operator, ca=SECOND)
        setup.change({"general-purpose-template": "WebServer"}, operator, "branch")
        setup.enable(operator, "branch")
        with serving(installation) as ask, serving(installation, service_path=b"/BRANCH") as ask_branch:
            first, second = device_of(ask, f"a.{DOMAIN}"), device_of(ask_branch, f"b.{DOMAIN}")
            issued = first.enroll(setup.challenge(operator)), second.enroll(setup.challenge(operator, "branch"))
            assert [
                each.certificate.issuer_name.rpartition("CN=")[2][: len(name)]
                for each, name in zip(issued, (ISSUING, SECOND), strict=True)
            ] == [ISSUING, SECOND]
            assert first.bundle()[0].der != second.bundle()[0].der
            for device, answer in zip((first, second), issued, strict=True):
                answer.certificate.verify_signed_by(device.bundle()[2])
                device.bundle()[0].verify_signed_by(device.bundle()[2])
            second.take(issued[1])
            second.ask = ask
            refused(second.renew(), FailInfo.BAD_REQUEST, "another CA")
            second.ask = ask_branch
            assert second.renew().status is PkiStatus.SUCCESS
        assert [each.ca for each in setup.services()] == [ISSUING, SECOND]


def test_devices_that_trust_the_certificate_before_are_told_of_the_next(mold_opened: Path) -> None:
    """GetNextCACert is signed by the last certificate that the CA's old key signed. RFC 8894 4.7."""
    with reopened(mold_opened) as installation:
        operator = installation.operator()
        setup = DeviceSetup(installation)
        setup.change({"general-purpose-template": "WebServer"}, operator)
        setup.enable(operator)
        with serving(installation) as ask:
            device = device_of(ask)
            before = device.bundle()
            message = device.message(device.request(setup.challenge(operator)))
            assert b"GetNextCACert" not in ask("GET", b"operation=GetCACaps", b"").body
            assert ask("GET", b"operation=GetNextCACert", b"").status == 404

            authorities.renew(installation, ISSUING, KeyAlgorithm.ECDSA_P256, None, operator)
    with reopened(mold_opened) as installation:
        setup = DeviceSetup(installation)
        with serving(installation) as ask:
            device.ask = ask
            told_early = next_of(ask, before[2])
            between = device.bundle()
            between[0].verify_signed_by(before[2])
            assert before[2].der in [each.der for each in between]
            assert told_early == [each.der for each in between[2:] if each.der != before[2].der]
            device_setup.renew_when_due(installation, installation.clock())

            after = device.bundle()
            assert after[2].public_key_info != before[2].public_key_info
            after[0].verify_signed_by(after[2])
            assert before[2].der not in [each.der for each in after]
            assert b"GetNextCACert\n" in ask("GET", b"operation=GetCACaps", b"").body
            assert next_of(ask, before[2]) == [each.der for each in after]
            issued = device.send(message)  # encrypted for the certificate before
            assert issued.status is PkiStatus.SUCCESS
            issued.certificate.verify_signed_by(after[2])
            device_setup.renew_when_due(installation, installation.clock())
            assert device.bundle() == after

            setup.change({"rollover-days": "0"}, operator)
            assert ask("GET", b"operation=GetNextCACert", b"").status == 404


def next_of(ask: Ask, trusted: CertificateView) -> list[bytes]:
    """The answer to GetNextCACert, as a device that trusts one CA certificate verifies it."""
    reply = ask("GET", b"operation=GetNextCACert", b"")
    assert reply.status == 200
    assert b"application/x-x509-next-ca-cert" in reply.headers
    signed = SignedData.parse(reply.body)
    signer = signed.certificate_of(signed.signers[0])
    assert signer is not None
    signer.verify_signed_by(trusted)
    signed.verify(signed.signers[0], load_public_key(signer.public_key_info))
    assert signed.content is not None
    return list(parse_certs_only(signed.content))


def test_the_account_of_the_service_may_be_another_one(house: House) -> None:
    setup, operator = DeviceSetup(house.installation), house.installation.operator()
    setup.add("other", operator)
    with pytest.raises(AdcsError, match="there is no account"):
        setup.enable(operator, "other", account="nobody")
    setup.change({"general-purpose-template": "WebServer"}, operator, "other")
    standing = setup.enable(operator, "other", account=People.ENROLLEE)
    assert standing.settings.account == rf"CORP\{People.ENROLLEE}"
    with serving(house.installation, service_path=b"/other") as ask:
        assert device_of(ask).enroll(challenge_of(house, "other")).status is PkiStatus.SUCCESS
    record = house.installation.cas[0].authority.database.request(house.newest_request())
    assert record is not None
    assert record.caller_name == rf"CORP\{People.ENROLLEE}"
    setup.remove("other", operator)


def test_what_keeps_devices_from_certificates_is_said(house: House) -> None:
    setup, operator = DeviceSetup(house.installation), house.installation.operator()
    assert setup.standing("").obstacles == ()
    directory = house.installation.directory_administration
    directory.unpublish(ISSUING, "WebServer", actor=operator.account)
    try:
        assert setup.standing("").obstacles == (
            f"{ISSUING} does not publish WebServer; run: certwright template publish WebServer",
        )
    finally:
        directory.publish(ISSUING, "WebServer", actor=operator.account)
