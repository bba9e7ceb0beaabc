"""The REST API for acts on many, accepted risks, the Online Responder, enrollment services, search and overview."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any, Final
from urllib.parse import quote
from zipfile import ZipFile

import pytest

from certwright.adcs.events import AuditEvent, LifecycleEvent, LifecycleKind
from certwright.console.rooms import rooms
from certwright.pki.names import sanitized_name
from certwright.server.composition import Installation
from tests.support.api import EVERY_SCOPE, Caller, clean_up, refused, said, token
from tests.support.installation import ISSUING, PASSWORD, GateTemplates, People
from tests.support.server import DOMAIN
from tests.web.console.test_api import order
from tests.web.console.test_ca_pages import submit

pytestmark = pytest.mark.usefixtures("console")

CA: Final = f"/cas/{quote(sanitized_name(ISSUING))}"
WITHOUT: Final = tuple(scope for scope in EVERY_SCOPE if scope != "override")
NOBODY: Final = 4_000_000


@pytest.fixture
def administrator() -> Caller:
    return Caller(token(People.ADMINISTRATOR))


@pytest.fixture
def officer() -> Caller:
    return Caller(token(People.OFFICER))


@pytest.fixture
def service(administrator: Caller) -> Iterator[int]:
    user = {"name": "svc", "username": People.ENROLLEE, "secret": PASSWORD}
    user_id = said(administrator.post("/device-users", user), 201)["id"]
    entered = {"domain": DOMAIN, "hostname": rooms().hostname, "device_user_id": user_id, "kind": "local"}
    number: int = said(administrator.post("/services", entered), 201)["id"]
    said(administrator.post(f"/services/{number}/refresh"))
    yield number
    clean_up()


# -- acts on many ----------------------------------------------------------------------------------------------------


def test_several_requests_are_decided_each_by_itself(officer: Caller, installation: Installation) -> None:
    numbers = [submit(installation, GateTemplates.APPROVAL).request_id for _ in range(4)]
    prints = {each: said(officer.get(f"{CA}/requests/{each}/preview"))["fingerprint"] for each in numbers[:2]}
    asked = [{"request_id": each, "fingerprint": prints[each]} for each in numbers[:2]]
    wrong = {"request_id": numbers[2], "fingerprint": "0" * 64}
    answer = said(officer.post(f"{CA}/requests/issue", {"requests": [*asked, wrong]}))
    assert answer["done"] == numbers[:2]
    assert answer["refused"].keys() == {str(numbers[2])}

    denied = said(officer.post(f"{CA}/requests/deny", {"request_ids": [*numbers, NOBODY], "reason": "not ours"}))
    assert denied["done"] == numbers[2:]
    assert denied["refused"].keys() == {*map(str, numbers[:2]), str(NOBODY)}

    revoked = said(officer.post(f"{CA}/requests/revoke", {"request_ids": numbers, "reason": "superseded"}))
    assert revoked["done"] == numbers[:2]
    assert said(officer.get(f"{CA}/requests/{numbers[0]}"))["revoked_reason"] == "superseded"
    refused(officer.post(f"{CA}/requests/deny", {"request_ids": [], "reason": "x"}), 422)


def test_several_orders_and_certificates_are_acted_on_each_by_itself(administrator: Caller, service: int) -> None:
    numbers = [said(administrator.post("/orders", order(f"many{each}.{DOMAIN}")), 201)["id"] for each in range(3)]
    fetched = said(administrator.post("/orders/fetch", {"ids": [*numbers, NOBODY]}))
    assert fetched["done"] == numbers
    assert fetched["refused"].keys() == {str(NOBODY)}
    rows = said(administrator.get("/inventory"))["rows"]
    ids = sorted(each["id"] for each in rows if each["key_held"])

    archive = administrator.get("/inventory/export", form="zip", id=ids[:2])
    assert archive["Content-Type"] == "application/zip"
    assert len(ZipFile(BytesIO(archive.getvalue())).namelist()) == 2
    renewed = said(administrator.post("/inventory/renew", {"ids": [ids[0], NOBODY]}))
    assert (renewed["done"], list(renewed["refused"])) == ([ids[0]], [str(NOBODY)])
    revoked = said(administrator.post("/inventory/revoke", {"ids": [*ids[:2], NOBODY], "reason": "superseded"}))
    assert revoked["refused"].keys() == {*map(str, ids[:2]), str(NOBODY)}, "the device user is no officer of the CA"
    kept = said(administrator.post("/inventory/delete", {"ids": ids}))
    assert set(kept["refused"]) == set(map(str, ids)), "their keys exist only here"
    assert said(administrator.post("/inventory/delete", {"ids": ids, "with_key": True}))["done"] == ids
    deleted = said(administrator.post("/orders/delete", {"ids": numbers}))
    assert deleted["done"] == numbers


# -- risks -----------------------------------------------------------------------------------------------------------

RISKY: Final = {"accept_risks": ["ESC1"], "reason": "lab"}


def test_a_risk_is_accepted_by_name_when_a_template_is_made(administrator: Caller) -> None:
    definition = said(administrator.get(f"{CA}/templates/User"))["definition"]
    risky: dict[str, Any] = {**definition, "cn": "ApiRisky", "displayName": "Api Risky"}
    for name in ("msPKI-Cert-Template-OID", "msPKI-Certificate-Name-FlagNames"):
        risky.pop(name, None)
    risky["msPKI-Certificate-Name-Flag"] = ["ENROLLEE_SUPPLIES_SUBJECT"]
    body = {"definition": risky}
    problem = refused(administrator.post(f"{CA}/templates", body), 409)
    named = sorted({each["where"] for each in problem["errors"]})
    assert "ESC1" in named
    accepting = {**body, "accept_risks": named, "reason": "a lab without a domain"}
    assert (
        "scope override"
        in refused(Caller(token(People.ADMINISTRATOR, *WITHOUT)).post(f"{CA}/templates", accepting), 403)["detail"]
    )
    refused(administrator.post(f"{CA}/templates", {**accepting, "reason": ""}), 422)
    made = said(administrator.post(f"{CA}/templates", accepting), 201)
    assert made["accepted_risks"] == named

    copy = {"cn": "ApiRiskyToo", "display_name": "Api Risky Too"}
    refused(administrator.post(f"{CA}/templates/ApiRisky/duplicate", copy), 409)
    copied = said(
        administrator.post(f"{CA}/templates/ApiRisky/duplicate", {**copy, "accept_risks": named, "reason": "lab"}),
        201,
    )
    assert copied["accepted_risks"] == named
    [record] = [
        each
        for each in rooms().audit.events(event=AuditEvent.TEMPLATE_LOADED, limit=20)
        if each.details.get("template") == "ApiRisky"
    ]
    assert record.details["reason"] == "a lab without a domain"
    for cn in ("ApiRisky", "ApiRiskyToo"):
        assert administrator.delete(f"{CA}/templates/{cn}").status_code == 204


def test_a_risk_is_accepted_by_name_when_a_right_is_granted(administrator: Caller) -> None:
    said(administrator.post(f"{CA}/templates/WebServer/duplicate", {"cn": "ApiGrant"}), 201)
    at = f"{CA}/templates/ApiGrant"
    for name in {each["name"] for each in said(administrator.get(at))["rights"] if each["enroll"]}:
        said(administrator.post(f"{at}/revoke", {"principal": name, "enroll": True, "autoenroll": True}))
    said(administrator.patch(at, {"settings": {"eku": "clientAuth"}}))
    grant = {"principal": "Domain Users", "enroll": True}
    problem = refused(administrator.post(f"{at}/grant", grant), 409)
    named = sorted({each["where"] for each in problem["errors"]})
    granted = said(administrator.post(f"{at}/grant", {**grant, "accept_risks": named, "reason": "lab"}))
    assert set(named) <= set(granted["accepted_risks"])
    assert administrator.delete(at).status_code == 204


def test_what_a_change_would_come_to_is_said_without_storing_it(administrator: Caller) -> None:
    at = f"{CA}/templates/User"
    before = said(administrator.get(at))
    trial = said(administrator.post(f"{at}/check", {"settings": {"enrollee-supplies-subject": "on"}}))
    assert trial["would_be_stored"] is False
    assert "ESC1" in trial["refused"]
    assert said(administrator.get(at)) == before
    rules = said(administrator.post(f"{CA}/templates/WebServer/try-name", {"name": f"web.{DOMAIN}"}))
    assert {"kind": "dns", "inside": True, "why_not": ""} in rules["tried"]
    outside = said(administrator.post(f"{CA}/templates/WebServer/try-name", {"name": "web.evil.example"}))
    assert any(each["kind"] == "dns" and not each["inside"] and each["why_not"] for each in outside["tried"])


def test_roles_on_a_ca_are_given_and_taken_and_everybody_is_no_administrator(administrator: Caller) -> None:
    asked = {"principal": People.PLAIN, "roles": ["manage certificates", "read"]}
    roles = said(administrator.post(f"{CA}/roles/grant", asked))
    held = {each["name"]: each["roles"] for each in roles["holders"]}
    assert {"manage certificates", "read"} <= set(held[f"CORP\\{People.PLAIN}"])
    roles = said(administrator.post(f"{CA}/roles/revoke", asked))
    assert f"CORP\\{People.PLAIN}" not in {each["name"] for each in roles["holders"]}

    everybody = {"principal": "S-1-5-11", "roles": ["manage CA"]}
    problem = refused(administrator.post(f"{CA}/roles/grant", everybody), 409)
    assert [each["where"] for each in problem["errors"]] == ["ESC7"]
    accepting = {**everybody, "accept_risks": ["ESC7"], "reason": "lab"}
    refused(Caller(token(People.ADMINISTRATOR, *WITHOUT)).post(f"{CA}/roles/grant", accepting), 403)
    said(administrator.post(f"{CA}/roles/grant", accepting))
    said(administrator.post(f"{CA}/roles/revoke", everybody))
    assert (
        "nobody" in refused(administrator.post(f"{CA}/roles/grant", {**asked, "principal": "nobody"}), 422)["detail"]
    )


def test_settings_that_open_an_escalation_are_overridden_by_its_name(administrator: Caller) -> None:
    dangerous = {"settings": {"channel-binding": "off"}}
    at = f"{CA}/configuration"
    problem = refused(administrator.patch(at, dangerous), 409)
    [number] = {each["where"] for each in problem["errors"]}
    assert number == "ESC8"
    override = {**dangerous, "accept_risks": [number], "reason": "old clients"}
    refused(Caller(token(People.ADMINISTRATOR, *WITHOUT)).post(f"{at}/override", override), 403)
    assert said(administrator.post(f"{at}/override", override))["settings"]["channel-binding"] == "off"
    assert said(administrator.patch(at, {"settings": {"channel-binding": "require"}}))
    keys = {each["key"] for each in said(administrator.get(f"{at}/settings"))}
    assert {"channel-binding", "crl-period"} <= keys


# -- responder, enrollment services, locations -----------------------------------------------------------------------


def test_the_online_responder_is_configured_and_switched(administrator: Caller, officer: Caller) -> None:
    at = f"{CA}/responder"
    assert sanitized_name(ISSUING) in {each["ca"] for each in said(administrator.get("/responders"))}
    refused(officer.patch(at, {"settings": {"nonce": "ignore"}}), 403)
    changed = said(administrator.patch(at, {"settings": {"nonce": "ignore"}}))
    assert {"nonce": "ignore"}.items() <= {each["key"]: each["value"] for each in changed["settings"]}.items()
    refused(administrator.patch(at, {"settings": {"nonce": "perhaps"}}), 422)
    enabled = said(administrator.post(f"{at}/enable", {"announce": False}))
    assert (enabled["enabled"], bool(enabled["serial_number"])) == (True, True)
    said(administrator.post(f"{at}/refresh", {}))
    assert said(administrator.post(f"{at}/disable"))["enabled"] is False
    said(administrator.patch(at, {"settings": {"nonce": "echo"}}))


def test_the_doors_to_a_ca_are_told(officer: Caller) -> None:
    found = said(officer.get(f"{CA}/enrollment-services"))
    assert found["certsrv"]["url"] == "https://localhost/certsrv/"
    assert found["certsrv"]["channel_binding"] == "require"
    assert {each["logon"] for each in found["ces"]["addresses"]} == {"kerberos", "user name", "certificate"}
    assert "list-all-templates" in found["cep"]["settings"]


def test_locations_are_asked_by_number_and_never_by_a_url_of_ones_own(administrator: Caller, service: int) -> None:
    number = said(administrator.post("/orders", order(f"places.{DOMAIN}")), 201)["id"]
    certificate = said(administrator.post(f"/orders/{number}/fetch"))["certificate_id"]
    places = said(administrator.get(f"/inventory/{certificate}/locations"))
    assert {each["kind"] for each in places} >= {"crl", "issuer"}
    asked = said(administrator.post(f"/inventory/{certificate}/locations/{places[0]['number']}/ask"))
    assert (asked["url"], asked["state"]) == (places[0]["url"], "down"), "no listener runs here"
    refused(administrator.post(f"/inventory/{certificate}/locations/99/ask"), 404)
    both = said(administrator.post(f"/inventory/{certificate}/revocation/ask"))
    assert [each["kind"] for each in both] == ["crl", "ocsp"]
    assert {each["kind"] for each in said(administrator.post(f"{CA}/locations/ask"))} >= {"CDP", "AIA"}


# -- overview --------------------------------------------------------------------------------------------------------


def test_everything_is_found_by_what_is_known_of_it_and_only_by_who_may_see_it(administrator: Caller) -> None:
    def found(caller: Caller, text: str) -> set[tuple[str, str]]:
        return {(each["kind"], each["title"]) for each in said(caller.get("/search", q=text))}

    assert ("template", "Web Server") in found(administrator, "WebServer")
    assert ("account", f"CORP\\{People.ENROLLEE}") in found(administrator, f"CORP\\{People.ENROLLEE}")
    plain = Caller(token(People.PLAIN))
    assert not {kind for kind, _title in found(plain, "WebServer")} & {"template", "account"}
    refused(administrator.get("/search", q=""), 422)


def test_the_dashboard_counts_every_certificate(administrator: Caller, installation: Installation) -> None:
    before = {each["template"]: each["count"] for each in said(administrator.get("/dashboard"))["issued"]}
    submit(installation, "WebServer")
    dashboard = said(administrator.get("/dashboard"))
    after = {each["template"]: each["count"] for each in dashboard["issued"]}
    assert after["WebServer"] == before.get("WebServer", 0) + 1
    assert dashboard["checklist"]
    assert dashboard["queue"][-1]["up_to"] is None
    waiting = next(each["value"] for each in dashboard["tiles"] if each["label"] == "Pending Requests")
    assert waiting == sum(each["count"] for each in dashboard["queue"])


def test_events_and_the_security_audit_are_told(administrator: Caller) -> None:
    assert isinstance(said(administrator.get("/events")), list)
    audit = said(administrator.get("/health/security"))
    assert [each["number"] for each in audit["escalations"]] == [f"ESC{number}" for number in range(1, 18)]
    assert said(administrator.post(f"{CA}/crls?kind=base"), 201)


# -- a saved view as a filter of notifications -----------------------------------------------------------------------


def test_a_notification_rule_filters_by_a_saved_view(administrator: Caller, service: int) -> None:
    """Two certificates expire; the view holds one of them. The rule follows the view, and keeps it from deletion."""
    numbers = {}
    for tag in ("web", "lab"):
        placed = said(administrator.post("/orders", order(f"view-{tag}.{DOMAIN}", tags=[tag])), 201)["id"]
        numbers[tag] = said(administrator.post(f"/orders/{placed}/fetch"))["certificate_id"]
    entered = {"page": "/inventory/", "name": "web servers", "query": "tag=web&status=nonsense&sort=-not_after"}
    view = said(administrator.post("/views", entered), 201)
    hook = {"channel": {"kind": "webhook", "name": "ops", "url": "https://hooks.example/"}, "secret": PASSWORD}
    channel = said(administrator.post("/notifications/channels", hook), 201)["id"]
    rule = {"name": "web", "channel_id": channel, "kinds": ["certificate-revoked"], "view_id": view["id"]}
    made = said(administrator.post("/notifications/rules", rule), 201)
    assert (made["view_id"], made["view_name"]) == (view["id"], "web servers")

    def told() -> list[str]:
        for tag, number in numbers.items():
            facts = {"certificate": number}
            identity = f"test/{tag}/{len(said(administrator.get('/notifications/deliveries')))}"
            kind = LifecycleKind.CERTIFICATE_REVOKED
            rooms().notifications.notify(LifecycleEvent(kind, f"view-{tag}", rooms().clock(), identity, facts))
        return [each["object"] for each in said(administrator.get("/notifications/deliveries"))]

    assert told() == ["view-web"]
    said(administrator.post("/views", {**entered, "query": "tag=lab"}), 201)
    assert told() == ["view-lab", "view-web"]
    assert "web" in refused(administrator.delete(f"/views/{view['id']}"), 409)["detail"]
    refused(administrator.post("/notifications/rules", {**rule, "name": "x", "view_id": 999_999}), 422)
    orders = said(administrator.post("/views", {"page": "/adcs/orders/", "name": "mine"}), 201)
    refused(administrator.post("/notifications/rules", {**rule, "name": "x", "view_id": orders["id"]}), 422)
    at = f"/notifications/rules/{made['id']}"
    assert said(administrator.put(at, {**rule, "view_id": None}))["view_name"] == ""
    assert administrator.delete(f"/views/{view['id']}").status_code == 204
