"""The newcomer's shortcuts: what they do, and that nobody does by them what their roles do not allow elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from certwright.adcs.requester import AuthMethod, Requester
from certwright.console.access import Role
from certwright.console.rooms import rooms
from tests.support.installation import GateTemplates, People
from tests.support.server import DOMAIN
from tests.web.console.conftest import Browser, text_of

ACTOR = r"CORP\Administrator"
USE = "/adcs/accounts/use-this-ca/"
PUBLISH = "/first-run/template/"


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """No service and no device user is left for other tests."""
    yield
    manager = rooms().manager
    for service in manager.services.list():
        manager.services.delete(service.id, confirmed=True, actor=ACTOR)
    for user in manager.device_users.list():
        manager.device_users.delete(user.id, actor=ACTOR)


def wanted(**more: str) -> dict[str, str]:
    """The dialog as it is offered; the port is closed, so that nothing is asked."""
    return {"device_user": "new", "account": "svc-shop", "template": "WebServer", "hostname": "localhost"} | {
        "port": "1",
        **more,
    }


def test_account_right_device_user_and_service_are_made_together(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    answer = browser.post(USE, wanted())
    assert answer.status_code == 302, text_of(answer)
    principal = rooms().directory.principal("svc-shop")
    (user,) = rooms().manager.device_users.list()
    (service,) = rooms().manager.services.list()
    assert principal is not None
    assert (user.username, service.domain, service.port) == (principal.account, DOMAIN, 1)
    templates = rooms().registry.enrollable_templates("", _requester("svc-shop"))
    assert "WebServer" in {template.cn for template in templates}
    again = browser.post(USE, wanted(account="svc-other"))
    assert again.status_code == 422
    assert "is a service already" in text_of(again)
    assert rooms().directory.principal("svc-other") is None  # nothing is made when something is in the way


def _requester(name: str) -> Requester:
    principal = rooms().directory.principal(name)
    assert principal is not None
    return Requester(principal.account, principal.sid, principal.groups, AuthMethod.LOCAL)


def test_a_console_administrator_adds_no_account_to_the_domain(
    sign_in: Callable[..., Browser], local: Callable[..., str]
) -> None:
    """Accounts are the domain's; whoever administers the console alone chooses a device user that is there."""
    browser = sign_in(local("carl", Role.ADMINISTRATOR))
    assert "a new account of this domain" not in text_of(browser.get(USE))
    refused = browser.post(USE, wanted(account="svc-carl"))
    assert refused.status_code == 422
    assert rooms().directory.principal("svc-carl") is None
    assert rooms().manager.services.list() == []


def test_a_template_is_published_with_its_suffixes_and_for_whom(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    page = browser.get(PUBLISH)
    assert "Web Server" in text_of(page)
    data = {"template": GateTemplates.SHORT, "suffixes": f"shop.{DOMAIN}, {DOMAIN}"}
    answer = browser.post(PUBLISH, data)
    assert answer.status_code == 302, text_of(answer)
    rules = rooms().directory.templates()[GateTemplates.SHORT].name_rules
    assert rules.rules[0].dns_suffixes == (f"shop.{DOMAIN}", DOMAIN)


def test_an_officer_publishes_no_template(sign_in: Callable[..., Browser]) -> None:
    assert sign_in(People.OFFICER).get(PUBLISH).status_code == 403
