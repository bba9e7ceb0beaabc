"""Renewal and Notifications: rules, channels and history, every act with its refusal, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from certwright.adcs.events import LifecycleEvent, LifecycleKind
from certwright.console import access
from certwright.console.access import Role
from certwright.console.pages.inventory import query_of_text
from certwright.console.rooms import rooms
from certwright.manager.importing import ImportFile
from certwright.manager.inventory_values import InventoryQuery
from certwright.manager.values import RuleFields as RenewalFields
from certwright.notifications.values import EmailFields, RuleFields, WebhookFields
from certwright.server.composition import Installation
from tests.support.installation import People
from tests.support.inventory_files import certificate
from tests.support.receivers import webhook_receiver
from tests.support.server import certwright
from tests.web.console.conftest import Browser, text_of

ACTOR = r"CORP\Administrator"
KEY = "a signing key of the canary 4711"


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """No rule, channel or certificate of an earlier test."""
    yield
    manager, notifications = rooms().manager, rooms().notifications
    for rule in manager.renewal.list():
        manager.renewal.delete(rule.id, actor=ACTOR)
    for channel in notifications.channels.list():
        notifications.channels.delete(channel.id, confirmed=True, actor=ACTOR)
    manager.inventory.delete(manager.inventory.ids(InventoryQuery()), with_key=True, actor=ACTOR)


@pytest.fixture
def administrator(sign_in: Callable[..., Browser]) -> Browser:
    return sign_in(People.ADMINISTRATOR)


def imported(name: str, days: float, tag: str = "legacy") -> int:
    """A managed certificate that was not ordered here."""
    data = certificate(name, days=days, now=rooms().clock())
    result = rooms().manager.importing.store([ImportFile("x.cer", data)], tags=[tag], managed=True, actor=ACTOR)
    number: int = result.added[0]
    return number


# -- renewal ---------------------------------------------------------------------------------------------------------

RULE = {"name": "legacy ones", "tag": "legacy", "days_before": "20", "key": "new", "enabled": "on"}


def test_a_renewal_rule_is_added_changed_and_deleted(administrator: Browser) -> None:
    assert "No renewal rule yet" in text_of(administrator.get("/renewal/"))
    assert administrator.post("/renewal/add/", RULE).status_code == 302
    rule = rooms().manager.renewal.list()[0]
    assert (rule.fields.tag, rule.fields.days_before, rule.fields.enabled) == ("legacy", 20, True)
    assert "legacy ones" in text_of(administrator.get("/renewal/"))
    changed = administrator.post(f"/renewal/{rule.id}/edit/", RULE | {"days_before": "10", "enabled": ""})
    assert changed.status_code == 302
    assert rooms().manager.renewal.get(rule.id).fields.days_before == 10
    assert administrator.part(f"/renewal/{rule.id}/delete/").status_code == 200
    assert administrator.post(f"/renewal/{rule.id}/delete/").status_code == 302
    assert list(rooms().manager.renewal.list()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tag": ""}, "matches everything"),
        ({"days_before": "0"}, "greater than or equal to 1"),
        ({"days_before": "366"}, "less than or equal to 365"),
        ({"name": ""}, "required"),
        ({"issuer": "CN=Nobody"}, "not one of the available choices"),
    ],
)
def test_a_renewal_rule_that_breaks_a_rule_is_refused_beside_its_form(
    administrator: Browser, changes: dict[str, str], said: str
) -> None:
    answer = administrator.post("/renewal/add/", RULE | changes)
    assert answer.status_code == 422
    assert said in text_of(answer)
    assert list(rooms().manager.renewal.list()) == []


def test_a_rule_for_one_certificate_stays_with_it_when_it_is_edited(administrator: Browser) -> None:
    number = imported("one.corp.example", 100)
    rule = rooms().manager.renewal.add(RenewalFields("only one", certificate_id=number), actor=ACTOR)
    assert f"number {number}" in text_of(administrator.get(f"/renewal/{rule.id}/edit/"))
    assert administrator.post(f"/renewal/{rule.id}/edit/", RULE | {"tag": ""}).status_code == 302
    assert rooms().manager.renewal.get(rule.id).fields.certificate_id == number


def test_a_dry_run_says_what_would_be_ordered_and_orders_nothing(administrator: Browser) -> None:
    imported("soon.corp.example", 25)
    imported("later.corp.example", 120)
    rooms().manager.renewal.add(RenewalFields("legacy", 20, tag="legacy"), actor=ACTOR)
    page = text_of(administrator.get("/renewal/dry-run/"))
    assert "soon.corp.example" in page
    assert "Would fail" in page
    assert "was not ordered here" in page
    assert "later.corp.example" not in page
    assert "later.corp.example" in text_of(administrator.get("/renewal/dry-run/?days=365"))
    assert list(rooms().manager.orders.list().rows) == []


def test_failed_renewals_are_shown_and_counted_at_the_menu(administrator: Browser) -> None:
    number = imported("soon.corp.example", 5)
    rooms().manager.renewal.add(RenewalFields("legacy", 20, tag="legacy"), actor=ACTOR)
    rooms().manager.renewal.run(actor=ACTOR)
    page = administrator.get("/renewal/")
    assert "Failed renewals" in text_of(page)
    assert f'href="/inventory/{number}/"' in page.content.decode()
    assert re.search(r'cw-count-red" title="renewals failed">1<', page.content.decode())


# -- notifications ---------------------------------------------------------------------------------------------------

MAIL = {
    "name": "PKI team",
    "host": "mail.corp.example",
    "port": "587",
    "security": "starttls",
    "sender": "pki@corp.example",
    "recipients": "a@corp.example, b@corp.example",
    "enabled": "on",
}
HOOK = {"name": "Chat", "url": "https://hooks.chat.example/secret-part", "signing_key": KEY, "enabled": "on"}


def channel_id() -> int:
    number: int = rooms().notifications.channels.list()[0].id
    return number


def test_a_mail_channel_is_added_changed_switched_and_deleted(administrator: Browser) -> None:
    assert "No channel yet" in text_of(administrator.get("/notifications/channels/"))
    assert administrator.post("/notifications/channels/add/email/", MAIL).status_code == 302
    number = channel_id()
    assert "a@corp.example, b@corp.example" in text_of(administrator.get("/notifications/channels/"))
    changed = administrator.post(f"/notifications/channels/{number}/edit/", MAIL | {"port": "25", "security": "none"})
    assert changed.status_code == 302, text_of(changed)
    assert rooms().notifications.channels.get(number).fields.port == 25
    assert administrator.post(f"/notifications/channels/{number}/off/").status_code == 302
    assert not rooms().notifications.channels.get(number).fields.enabled
    assert administrator.post(f"/notifications/channels/{number}/on/").status_code == 302
    assert administrator.post(f"/notifications/channels/{number}/delete/").status_code == 302
    assert list(rooms().notifications.channels.list()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipients": ""}, "required"),
        ({"sender": "nobody"}, "no mail address"),
        ({"username": "svc", "password": ""}, "user name and a password"),
        ({"username": "svc", "password": "x", "security": "none"}, "No password is sent without TLS"),
    ],
)
def test_a_mail_channel_that_breaks_a_rule_is_refused(
    administrator: Browser, changes: dict[str, str], said: str
) -> None:
    answer = administrator.post("/notifications/channels/add/email/", MAIL | changes)
    assert answer.status_code == 422
    assert said in text_of(answer)
    assert list(rooms().notifications.channels.list()) == []


def test_a_webhooks_key_and_url_are_never_shown_again(administrator: Browser) -> None:
    assert administrator.post("/notifications/channels/add/webhook/", HOOK).status_code == 302
    number = channel_id()
    for path in ("", "add/webhook/", f"{number}/edit/", f"{number}/secret/"):
        page = administrator.get(f"/notifications/channels/{path}").content.decode()
        assert KEY not in page, path
        assert "secret-part" not in page, path
    kept = administrator.post(f"/notifications/channels/{number}/edit/", {"name": "Talk", "url": "", "enabled": "on"})
    assert kept.status_code == 302
    assert rooms().notifications.channels.get(number).fields.url == HOOK["url"]
    elsewhere = {"name": "Talk", "url": "https://elsewhere.example/x", "enabled": "on"}
    refused = administrator.post(f"/notifications/channels/{number}/edit/", elsewhere)
    assert refused.status_code == 422
    assert "would hand its secret" in text_of(refused)


def test_a_key_that_is_made_here_is_shown_once(administrator: Browser) -> None:
    answer = administrator.post("/notifications/channels/add/webhook/", HOOK | {"signing_key": ""})
    found = re.search(r'data-copy="([\w-]{40,})"', answer.content.decode())
    assert found is not None
    assert "only time" in text_of(answer)
    assert found[1] not in administrator.get("/notifications/channels/").content.decode()
    again = administrator.post(f"/notifications/channels/{channel_id()}/secret/", {"secret": ""})
    other = re.search(r'data-copy="([\w-]{40,})"', again.content.decode())
    assert other is not None
    assert other[1] != found[1]
    short = administrator.post(f"/notifications/channels/{channel_id()}/secret/", {"secret": "short"})
    assert short.status_code == 422


def test_a_test_is_sent_and_its_outcome_shown(administrator: Browser) -> None:
    """To a real receiver, which is listed; and to a host inside, which is not (server-side request forgery)."""
    targets = rooms().notifications.targets
    targets._add("localhost")
    try:
        with webhook_receiver() as receiver:
            url = f"https://localhost:{receiver.port}/in"
            channel = rooms().notifications.channels.add(
                WebhookFields("Listed", url, receiver.ca_pem), KEY, actor=ACTOR
            )
            answer = administrator.post(f"/notifications/channels/{channel.id}/test/")
            assert "was taken" in text_of(answer)
    finally:
        targets._hosts.discard("localhost")
    inside = rooms().notifications.channels.add(WebhookFields("Inside", "https://127.0.0.1:9/x"), KEY, actor=ACTOR)
    answer = administrator.post(f"/notifications/channels/{inside.id}/test/")
    assert "was not taken" in text_of(answer)
    assert "not public" in text_of(answer)


def test_a_channel_goes_with_its_rules_only_when_its_name_is_typed(administrator: Browser) -> None:
    channel = rooms().notifications.channels.add(
        EmailFields("PKI team", "mail.corp.example", "pki@corp.example", ("a@corp.example",)), actor=ACTOR
    )
    rooms().notifications.rules.add(RuleFields("Lost", channel.id, (LifecycleKind.ORDER_LOST,)), actor=ACTOR)
    assert "Lost" in text_of(administrator.part(f"/notifications/channels/{channel.id}/delete/"))
    refused = administrator.post(f"/notifications/channels/{channel.id}/delete/", {"word": "PKI"})
    assert refused.status_code == 422
    assert (
        administrator.post(f"/notifications/channels/{channel.id}/delete/", {"word": "PKI team"}).status_code == 302
    )
    assert list(rooms().notifications.rules.list()) == []


def test_a_notification_rule_is_added_changed_and_deleted(administrator: Browser) -> None:
    assert "First add a channel" in text_of(administrator.get("/notifications/"))
    administrator.post("/notifications/channels/add/email/", MAIL)
    data = {
        "name": "Expiry",
        "channel": str(channel_id()),
        "kinds": ["certificate-expiring", "renewal-failed"],
        "bands": ["7", "30"],
        "enabled": "on",
    }
    assert administrator.post("/notifications/add/", data).status_code == 302
    rule = rooms().notifications.rules.list()[0]
    assert rule.fields.kinds == (LifecycleKind.CERTIFICATE_EXPIRING, LifecycleKind.RENEWAL_FAILED)
    assert "7, 30 days" in text_of(administrator.get("/notifications/"))
    for wrong, said in (({"kinds": []}, "required"), ({"kinds": ["order-lost"]}, "Bands belong to the event")):
        answer = administrator.post(f"/notifications/{rule.id}/edit/", data | wrong)
        assert answer.status_code == 422
        assert said in text_of(answer)
    assert administrator.post(f"/notifications/{rule.id}/edit/", data | {"tag": "prod"}).status_code == 302
    assert rooms().notifications.rules.get(rule.id).fields.tag == "prod"
    assert administrator.post(f"/notifications/{rule.id}/delete/").status_code == 302
    assert list(rooms().notifications.rules.list()) == []


def given_up() -> int:
    """A delivery that a day of attempts did not get rid of."""
    notifications = rooms().notifications
    channel = notifications.channels.add(WebhookFields("Inside", "https://127.0.0.1:9/x"), KEY, actor=ACTOR)
    notifications.rules.add(RuleFields("Lost", channel.id, (LifecycleKind.ORDER_LOST,)), actor=ACTOR)
    now = rooms().clock()
    notifications.notify(LifecycleEvent(LifecycleKind.ORDER_LOST, "order 12", now, f"test/{now.timestamp()}"))
    notifications.deliver(now + timedelta(days=2))
    number: int = notifications.history()[0].id
    return number


def test_what_was_given_up_is_told_again_on_demand(administrator: Browser) -> None:
    number = given_up()
    page = text_of(administrator.get("/notifications/history/"))
    assert "order 12" in page
    assert "Given up" in page
    assert "order 12" not in text_of(administrator.part("/notifications/history/?state=2"))
    assert administrator.post(f"/notifications/history/{number}/retry/").status_code == 302
    assert "Waiting" in text_of(administrator.part("/notifications/history/?state=1"))
    again = administrator.post(f"/notifications/history/{number}/retry/")
    assert again.status_code == 409
    assert "only given up ones are repeated" in text_of(again)


# -- who may ---------------------------------------------------------------------------------------------------------

READ = ("/renewal/", "/renewal/dry-run/", "/notifications/", "/notifications/channels/", "/notifications/history/")
CHANGE = (
    "/renewal/add/",
    "/notifications/add/",
    "/notifications/channels/add/email/",
    "/notifications/channels/add/webhook/",
)


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("rita", {Role.REQUESTER}),
        ("oscar", {Role.OPERATOR}),
        ("adam", {Role.ADMINISTRATOR}),
        (People.AUDITOR, {Role.AUDITOR}),
        (People.OFFICER, {Role.CERTIFICATE_MANAGER}),
    ],
)
def test_operators_and_auditors_read_and_only_administrators_change(
    sign_in: Callable[..., Browser], local: Callable[..., str], name: str, roles: set[Role]
) -> None:
    browser = sign_in(local(name, *roles) if name in ("rita", "oscar", "adam") else name)
    reads, changes = not access.AUTOMATION.isdisjoint(roles), Role.ADMINISTRATOR in roles
    for path in READ:
        assert browser.get(path).status_code == (200 if reads else 403), path
    for path in CHANGE:
        assert browser.get(path).status_code == (200 if changes else 403), path


def test_who_only_reads_cannot_act(sign_in: Callable[..., Browser], local: Callable[..., str]) -> None:
    delivery = given_up()
    channel, rule = channel_id(), rooms().notifications.rules.list()[0].id
    renewal = rooms().manager.renewal.add(RenewalFields("legacy", 20, tag="legacy"), actor=ACTOR).id
    acts = [
        f"/renewal/{renewal}/edit/",
        f"/renewal/{renewal}/delete/",
        f"/notifications/{rule}/edit/",
        f"/notifications/{rule}/delete/",
        f"/notifications/history/{delivery}/retry/",
        *(f"/notifications/channels/{channel}/{act}/" for act in ("edit", "secret", "test", "on", "off", "delete")),
    ]
    for name in (local("oscar", Role.OPERATOR), People.AUDITOR, local("rita", Role.REQUESTER)):
        browser: Any = sign_in(name)
        assert [browser.post(path).status_code for path in acts] == [403] * len(acts)


def test_a_rule_is_given_a_saved_view_on_its_page(sign_in: Callable[..., Browser], clean: None) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    browser.post("/views/", {"page": "/inventory/", "name": "web servers", "query": "tag=web", "shared": "1"})
    channel = rooms().notifications.channels.add(
        WebhookFields("ops", "https://hooks.example/"), "k" * 32, actor=ACTOR
    )
    page = browser.get("/notifications/add/").content.decode()
    number = page.partition(">web servers<")[0].rpartition('value="')[2].partition('"')[0]
    entered = {"name": "web", "channel": channel.id, "kinds": "certificate-revoked", "view": number, "enabled": "on"}
    assert browser.post("/notifications/add/", entered).status_code == 302
    assert "View web servers" in text_of(browser.get("/notifications/"))
    [rule] = rooms().notifications.rules.list()
    assert rule.fields.view is not None
    assert f'value="{number}" selected' in browser.get(f"/notifications/{rule.id}/edit/").content.decode()


def test_a_rule_is_given_a_saved_view_at_the_command_line(
    sign_in: Callable[..., Browser], installation: Installation
) -> None:
    """One's own or a shared one, by its name, as the page offers them."""
    view = {"page": "/inventory/", "query": "tag=web&status=active"}
    sign_in(People.ADMINISTRATOR).post("/views/", {**view, "name": "cli mine"})
    sign_in(People.OFFICER).post("/views/", {**view, "name": "cli shared", "shared": "1"})
    sign_in(People.OFFICER).post("/views/", {**view, "name": "cli of the officer"})
    rooms().notifications.channels.add(WebhookFields("ops", "https://hooks.example/"), "k" * 32, actor=ACTOR)

    def add(name: str) -> Any:
        words = ("notification", "rule", "add", name, "--channel", "ops", "-e", "certificate-revoked", "--view", name)
        return certwright(installation.home.folder, *words)

    assert [add(name).returncode for name in ("cli mine", "cli shared")] == [0, 0]
    refused = add("cli of the officer")
    assert refused.returncode == 1
    assert "no saved view" in refused.stderr
    held = {rule.fields.name: rule.fields.view for rule in rooms().notifications.rules.list()}
    assert {name: found.name for name, found in held.items() if found} == {name: name for name in held}
    assert {found.filter for found in held.values() if found} == {query_of_text(view["query"]).as_text}
    listed = certwright(installation.home.folder, "notification", "rule", "list").stdout
    assert "cli shared" in listed
