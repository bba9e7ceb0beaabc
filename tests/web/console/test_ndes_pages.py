"""NDES in the console and over the API: services, challenges shown once, devices, what was refused, by roles."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from certwright.ndes.policy import Disposition, Outcome
from certwright.ndes.settings import MEANINGS
from certwright.server import device_upkeep
from certwright.server.composition import Installation
from certwright.server.device_setup import DeviceSetup
from certwright.wire.scep import PkiStatus
from tests.support.api import Caller, refused, said, token
from tests.support.installation import People
from tests.support.scep import Device, serving
from tests.support.scep_house import key_numbers
from tests.support.server import DOMAIN
from tests.web.console.conftest import Browser, text_of
from tests.web.console.test_ca_pages import CA

pytestmark = pytest.mark.usefixtures("console")
SignIn = Callable[..., Browser]
HERE: Final = f"{CA}/enrollment/ndes"
API: Final = "/device-services"


@pytest.fixture
def setup(installation: Installation) -> Iterator[DeviceSetup]:
    """The service at the classic addresses, enabled; afterwards off."""
    made = DeviceSetup(installation)
    operator = installation.operator()
    wanted = dict.fromkeys(("general-purpose-template", "signature-template", "encryption-template"), "WebServer")
    made.change({**wanted, "challenge-cache": "100"}, operator)
    made.enable(operator)
    yield made
    made.disable(operator)


def device(installation: Installation, host: str) -> Iterator[Device]:
    with serving(installation) as ask:
        yield Device(ask, f"{host}.{DOMAIN}", next(key_numbers))


def test_a_service_is_added_set_enabled_and_removed(sign_in: SignIn, installation: Installation) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    assert "Lower-case" in text_of(browser.get(f"{HERE}/-/add/"))
    assert browser.post(f"{HERE}/-/add/", {"name": "Branch"}).status_code == 422
    assert browser.post(f"{HERE}/-/add/", {"name": "branch"})["Location"] == f"{HERE}/branch/"
    shown = text_of(browser.get(f"{HERE}/branch/edit/"))
    assert "How long a challenge is good" in shown
    texts = DeviceSetup(installation).standing("branch").settings.as_text()
    form = {key: texts[key] for key in MEANINGS}
    refused = browser.post(f"{HERE}/branch/edit/", form | {"challenge-minutes": "0"})
    assert refused.status_code == 422
    assert "number from 1" in text_of(refused)
    wanted = form | {"general-purpose-template": "WebServer", "challenge-minutes": "7"}
    assert browser.post(f"{HERE}/branch/edit/", wanted).status_code == 302
    assert browser.post(f"{HERE}/branch/enable/", {"account": "NDES"}).status_code == 302
    text = text_of(browser.get(f"{HERE}/branch/"))
    for words in ("/ndes/branch/mscep.dll", "answers", "WebServer", "challenge-minutes", "7"):
        assert words in text
    assert "branch" in text_of(browser.get(f"{HERE}/"))
    browser.post(f"{HERE}/branch/disable/")
    assert browser.post(f"{HERE}/branch/remove/")["Location"] == f"{HERE}/"
    assert browser.get(f"{HERE}/branch/").status_code == 404


def test_a_challenge_is_shown_once_and_works(sign_in: SignIn, installation: Installation, setup: DeviceSetup) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    answer = browser.post(f"{HERE}/-/challenge/", {"names": f"kiosk.{DOMAIN}", "template": ""})
    found = re.search(r"\b[0-9A-F]{16}\b", answer.content.decode())
    assert found is not None
    listed = text_of(browser.get(f"{HERE}/-/challenges/"))
    assert f"kiosk.{DOMAIN}" in listed
    assert found[0] not in listed
    for each in device(installation, "kiosk"):
        assert each.enroll(found[0]).status is PkiStatus.SUCCESS
    assert f"CN=kiosk.{DOMAIN}" in text_of(browser.get(f"{HERE}/-/devices/"))
    assert "No device matches" in text_of(browser.get(f"{HERE}/-/devices/?state=PENDING"))


def test_who_may_not_enroll_for_the_templates_gets_no_challenge(sign_in: SignIn, setup: DeviceSetup) -> None:
    """The page is for certificate managers; whether they may is the service's own question."""
    answer = sign_in(People.OFFICER).post(f"{HERE}/-/challenge/", {"names": "", "template": ""})
    assert answer.status_code in (200, 422)
    said = text_of(answer)
    assert ("needs Enroll on" in said) is (answer.status_code == 422)


def test_a_failure_is_listed_by_its_rule_and_decoded(
    sign_in: SignIn, installation: Installation, setup: DeviceSetup
) -> None:
    for each in device(installation, "guessing"):
        each.enroll("guess")
        transaction = each.transaction
    browser = sign_in(People.AUDITOR)
    listed = browser.get(f"{HERE}/-/failures/?rule=challenge+wrong")
    number = setup.failures(1)[0].id
    assert "challenge wrong" in text_of(listed)
    shown = text_of(browser.get(f"{HERE}/-/failures/{number}/"))
    for words in ("SCEP message: PKCSReq", transaction, "AES-128-CBC", "self-signed"):
        assert words in shown
    assert browser.get(f"{HERE}/-/failures/999999/").status_code == 404
    assert browser.get(f"{HERE}/nobody/failures/{number}/").status_code == 404


def test_secrets_of_a_service_are_shown_once(sign_in: SignIn, installation: Installation, setup: DeviceSetup) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    browser.post(f"{HERE}/-/add/", {"name": "hook"})
    key = re.search(r"\b[0-9a-f]{64}\b", browser.post(f"{HERE}/hook/webhook-key/").content.decode())
    assert key is not None
    assert key[0] not in browser.get(f"{HERE}/hook/").content.decode()
    assert key[0] not in browser.get(f"{HERE}/hook/edit/").content.decode()
    setup.remove("hook", installation.operator())


def test_what_a_policy_module_is_told_is_listed(
    sign_in: SignIn, installation: Installation, setup: DeviceSetup
) -> None:
    """A webhook that nobody answers: its notices wait, and the page says why."""
    operator = installation.operator()
    setup.add("told", operator)
    setup.webhook_key(operator, "told")
    setup.change(
        {"policy": "webhook", "webhook-url": "http://127.0.0.1:1/", "webhook-timeout": "1"}, operator, "told"
    )
    own = device_upkeep.challenges(installation, "told")
    telling = device_upkeep.ServiceTelling(installation, own, device_upkeep.policy_keeper(installation, own))
    outcome = Outcome(Disposition.SUCCESS, "transaction-7", "WebServer", b"", "", 7, 0, "Issued", None)
    kept = telling.notice(outcome)
    assert kept is not None
    with installation.database.transaction() as connection:
        kept.put(connection)
    telling.notices.tell_due()
    telling.close()
    browser = sign_in(People.AUDITOR)
    shown = text_of(browser.get(f"{HERE}/told/notices/"))
    for words in ("transaction-7", "issued", "waiting", "cannot be asked"):
        assert words in shown
    assert "Notices" in text_of(browser.get(f"{HERE}/told/"))
    assert "Notices" not in text_of(browser.get(f"{HERE}/-/"))
    assert "No notice matches" in text_of(browser.get(f"{HERE}/told/notices/?state=TAKEN"))
    (told,) = said(Caller(token(People.ADMINISTRATOR)).get(f"{API}/told/notices"))
    assert (told["transaction"], told["state"], told["attempts"]) == ("transaction-7", "waiting", 1)
    setup.remove("told", operator)


# -- the API ---------------------------------------------------------------------------------------------------------


def test_a_program_keeps_services_and_gives_challenges(installation: Installation, setup: DeviceSetup) -> None:
    caller = Caller(token(People.ADMINISTRATOR))
    made = said(caller.post(API, {"name": "lab"}), 201)
    assert (made["name"], made["enabled"], made["settings"]["challenge"]) == ("lab", False, "one-time")
    assert "webhook-key" not in made["settings"]
    assert "already" in refused(caller.post(API, {"name": "lab"}), 422)["detail"]
    changed = said(caller.patch(f"{API}/lab", {"settings": {"general-purpose-template": "WebServer"}}))
    assert changed["settings"]["general-purpose-template"] == "WebServer"
    assert "no setting" in refused(caller.patch(f"{API}/lab", {"settings": {"no-such": "1"}}), 422)["detail"]
    assert said(caller.post(f"{API}/lab/enable", {}))["enabled"]
    secret = said(caller.post(f"{API}/lab/challenges", {"names": [f"*.{DOMAIN}"]}), 201)["secret"]
    with serving(installation, service_path=b"/lab") as ask:
        machine = Device(ask, f"bench.{DOMAIN}", next(key_numbers))
        machine.enroll("guess")
        assert machine.enroll(secret).status is PkiStatus.SUCCESS
    (request,) = said(caller.get(f"{API}/lab/requests"))
    assert (request["subject"], request["state"]) == (f"CN=bench.{DOMAIN}", "issued")
    (challenge,) = said(caller.get(f"{API}/lab/challenges", limit=5))
    assert challenge["used_by"] == machine.transaction
    (failure,) = said(caller.get(f"{API}/lab/failures"))
    decoded = said(caller.get(f"{API}/lab/failures/{failure['id']}"))
    assert decoded["message"]["value"] == "PKCSReq"
    assert len(said(caller.post(f"{API}/lab/webhook-key"))["secret"]) == 64
    assert said(caller.post(f"{API}/lab/renew"))["not_after"]
    assert len(said(caller.post(f"{API}/lab/static-challenge"), 201)["secret"]) == 16
    assert not said(caller.post(f"{API}/lab/disable"))["enabled"]
    assert caller.delete(f"{API}/lab").status_code == 204
    assert "no service" in refused(caller.get(f"{API}/lab"), 404)["detail"]
    assert "-" in [each["name"] for each in said(caller.get(API))]


def test_the_classic_service_is_not_removed(setup: DeviceSetup) -> None:
    assert "always there" in refused(Caller(token(People.ADMINISTRATOR)).delete(f"{API}/-"), 422)["detail"]


def test_whoever_may_enroll_for_the_templates_gets_a_challenge_over_the_api(setup: DeviceSetup) -> None:
    secret = said(Caller(token(People.ENROLLEE)).post(f"{API}/-/challenges", {}), 201)["secret"]
    assert len(secret) == 16
    assert "Enroll on" in refused(Caller(token(People.PLAIN)).post(f"{API}/-/challenges", {}), 403)["detail"]
