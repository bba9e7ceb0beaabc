"""The REST API: a story of an order, CAs' queues, paging, what is refused and how, and what is never told."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest

from certwright.console.access import Role
from certwright.console.rooms import rooms
from certwright.pki.certificate import CertificateView
from certwright.pki.names import sanitized_name
from certwright.server.composition import Installation
from certwright.server.refusals import refusal
from tests.support.api import Caller, clean_up, refused, said, token
from tests.support.installation import ISSUING, PASSWORD, GateTemplates, People
from tests.support.requests import web_server_request
from tests.support.server import DOMAIN
from tests.web.console.conftest import Browser
from tests.web.console.test_ca_pages import submit

ACTOR: Final = r"CORP\Administrator"
CA: Final = f"/cas/{quote(sanitized_name(ISSUING))}"
CANARY: Final = "canary-in-a-secret-9b1c"
NAME: Final = f"api1.{DOMAIN}"


@pytest.fixture
def administrator(console: object) -> Caller:
    return Caller(token(People.ADMINISTRATOR))


@pytest.fixture
def officer(console: object) -> Caller:
    return Caller(token(People.OFFICER))


@pytest.fixture
def requesters(local: Callable[..., str]) -> tuple[Caller, Caller]:
    """Two who order, and see their own."""
    return Caller(token(local("rita", Role.REQUESTER))), Caller(token(local("ron", Role.REQUESTER)))


@pytest.fixture
def clean() -> Iterator[None]:
    yield
    clean_up()


@pytest.fixture
def service(administrator: Caller, clean: None) -> int:
    """A device user and a service of this installation's CA, made by the API and read once."""
    user = {"name": "svc", "username": People.ENROLLEE, "secret": PASSWORD}
    user_id = said(administrator.post("/device-users", user), 201)["id"]
    entered = {"domain": DOMAIN, "hostname": rooms().hostname, "device_user_id": user_id, "kind": "local"}
    number: int = said(administrator.post("/services", entered), 201)["id"]
    refreshed = said(administrator.post(f"/services/{number}/refresh"))
    assert "WebServer" in refreshed["added"]
    return number


def order(name: str = NAME, template: str = "WebServer", **more: Any) -> dict[str, Any]:
    key = {"common_name": name, "names": [f"DNS:{name}"], "algorithm": "ecdsa-p256"}
    return {"domain": DOMAIN, "template": template, "key": key, "fetch": False, **more}


# -- stories ---------------------------------------------------------------------------------------------------------


def test_from_a_domain_to_a_certificate_with_its_key(administrator: Caller, service: int) -> None:
    """Domain, examine, order, fetch, inventory, files, key, renew, delete."""
    [domain] = said(administrator.get("/domains"))
    assert "WebServer" in {each["name"] for each in domain["templates"]}
    asked = {name: value for name, value in order().items() if name in ("domain", "template", "key")}
    examined = said(administrator.post("/orders/examine", asked))
    assert examined["names"] == [f"DNS:{NAME}"]
    assert examined["forecast"]["disposition"] == "issued"
    assert [step["service_id"] for step in examined["route"]] == [service]

    placed = said(administrator.post("/orders", order(token="nightly-7", tags=["web"])), 201)
    assert placed["state"] == "issued"
    assert said(administrator.post("/orders", order(token="nightly-7")), 201)["id"] == placed["id"]
    number = placed["id"]
    refused(administrator.get(f"/orders/{number}/certificate"), 409)
    fetched = said(administrator.post(f"/orders/{number}/fetch"))
    assert said(administrator.post(f"/orders/{number}/fetch")) == fetched
    pem = administrator.get(f"/orders/{number}/certificate")
    assert pem["Content-Type"] == "application/x-pem-file"
    assert pem.content.count(b"BEGIN CERTIFICATE") >= 2
    details = said(administrator.get(f"/orders/{number}"))
    assert details["story"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", details["created"])

    at = f"/inventory/{fetched['certificate_id']}"
    shown = said(administrator.get(at))
    assert (shown["common_name"], shown["key_held"], shown["tags"]) == (NAME, True, ["web"])
    assert shown["chain_complete"]
    assert [link["problem"] for link in shown["chain"]] == [""] * len(shown["chain"])
    der = administrator.get(f"{at}/file", form="der").content
    assert CertificateView.parse(der).sha256 == shown["sha256"]
    export = {"password": PASSWORD, "reason": "moved to the load balancer"}
    pfx = administrator.post(f"{at}/key", export)
    assert pfx["Content-Type"] == "application/x-pkcs12"
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

    assert load_pkcs12(pfx.content, PASSWORD.encode()).key is not None
    assert "PRIVATE_KEY_EXPORTED" in {each["name"] for each in said(administrator.get("/audit", ca="-"))}

    assert "would be lost" in refused(administrator.delete(at), 409)["detail"]
    renewal = said(administrator.post(f"{at}/renew", {"key": "same"}), 201)
    assert renewal["renews"] == fetched["certificate_id"]
    assert administrator.delete(f"/orders/{number}").status_code == 204
    refused(administrator.get(f"/orders/{number}"), 404)
    assert said(administrator.post(f"/orders/{number}/restore"))["id"] == number


def test_a_request_is_previewed_issued_revoked_and_released(officer: Caller, installation: Installation) -> None:
    number = submit(installation, GateTemplates.APPROVAL).request_id
    queue = said(officer.get(f"{CA}/requests", queue="pending", where=f"template={GateTemplates.APPROVAL}"))
    assert number in [row["request_id"] for row in queue["rows"]]
    at = f"{CA}/requests/{number}"
    preview = said(officer.get(f"{at}/preview"))
    assert preview["fields"]
    stale = refused(officer.post(f"{at}/issue", {"fingerprint": "0" * 64}), 409)
    assert "differently" in stale["detail"]
    decided = said(officer.post(f"{at}/issue", {"fingerprint": preview["fingerprint"]}))
    assert decided["disposition"] == "issued"
    assert b"BEGIN CERTIFICATE" in officer.get(f"{at}/file").content
    assert officer.get(f"{at}/file", form="request").content[:1] == b"\x30"
    on_hold = said(officer.post(f"{at}/revoke", {"reason": "certificateHold"}))
    assert (on_hold["disposition"], on_hold["revoked_reason"]) == ("revoked", "certificateHold")
    assert said(officer.post(f"{at}/release"))["disposition"] == "issued"
    revoked = said(
        officer.post(f"{at}/revoke", {"reason": "keyCompromise", "effective": "2026-01-31T12:00:00+02:00"})
    )
    assert revoked["revoked_effective"] == "2026-01-31T10:00:00Z"
    assert "nothing" not in refused(officer.post(f"{at}/release"), 409)["advice"]


def test_a_denial_has_its_reason(officer: Caller, installation: Installation) -> None:
    number = submit(installation, GateTemplates.APPROVAL).request_id
    refused(officer.post(f"{CA}/requests/{number}/deny", {}), 422)
    denied = said(officer.post(f"{CA}/requests/{number}/deny", {"reason": "no such host"}))
    assert denied["disposition"] == "denied"
    assert "no such host" in denied["message"]
    assert denied["symbol"] == "CERTSRV_E_ADMIN_DENIED_REQUEST"


def test_attributes_and_extensions_of_a_pending_request_are_set(officer: Caller, installation: Installation) -> None:
    at = f"{CA}/requests/{submit(installation, GateTemplates.APPROVAL).request_id}"
    attributes = [f"CertificateTemplate:{GateTemplates.APPROVAL}", "Purpose:tests"]
    assert said(officer.put(f"{at}/attributes", {"attributes": attributes}))["attributes"] == attributes
    extension = {"oid": "1.3.6.1.4.1.311.99.1", "value": "0500"}
    said(officer.post(f"{at}/extensions", extension))
    forbidden = {"oid": "2.5.29.37", "value": "3000"}
    refused(officer.post(f"{at}/extensions", forbidden), 403)


def test_a_ca_tells_its_certificate_and_publishes_its_crl(console: object) -> None:
    caller = Caller(token(People.CA_ADMINISTRATOR))
    [mine] = [each for each in said(caller.get("/cas")) if each["name"] == ISSUING]
    assert mine["roles"] == ["CA administrator", "requester"]
    assert caller.get(f"{CA}/certificate").content.count(b"BEGIN") == 1
    assert caller.get(f"{CA}/certificate", chain="true").content.count(b"BEGIN") == 2
    before = said(caller.get(f"{CA}/crls"))[0]["number"]
    assert said(caller.post(f"{CA}/crls"), 201)[0]["number"] == before + 1
    assert caller.get(f"{CA}/crl")["Content-Type"] == "application/pkix-crl"


def test_settings_are_changed_all_or_none(console: object) -> None:
    caller = Caller(token(People.CA_ADMINISTRATOR))
    before = said(caller.get(f"{CA}/configuration"))["settings"]
    wrong = {"settings": {"clock-skew": "5 minutes", "validity-period": "for ever"}}
    refused(caller.patch(f"{CA}/configuration", wrong), 422)
    assert said(caller.get(f"{CA}/configuration"))["settings"] == before
    changed = said(caller.patch(f"{CA}/configuration", {"settings": {"clock-skew": "5 minutes"}}))
    assert changed["settings"]["clock-skew"] == "5 minutes"
    said(caller.patch(f"{CA}/configuration", {"settings": {"clock-skew": before["clock-skew"]}}))
    refused(Caller(token(People.OFFICER)).patch(f"{CA}/configuration", wrong), 403)


def test_a_template_that_would_be_dangerous_needs_the_scope_for_it(administrator: Caller) -> None:
    made = said(administrator.post(f"{CA}/templates/User/duplicate", {"cn": "ApiUser"}), 201)
    at = f"{CA}/templates/ApiUser"
    assert made["definition"]["cn"] == "ApiUser"
    said(administrator.post(f"{at}/grant", {"principal": "Domain Users", "enroll": True}))
    settings = {"settings": {"enrollee-supplies-subject": "on"}}
    problem = refused(administrator.patch(at, settings), 409)
    assert "ESC1" in {each["where"] for each in problem["errors"]}
    accepted = {**settings, "accept_risks": ["ESC1"], "reason": "a test"}
    others = Caller(token(People.ADMINISTRATOR, "read", "settings", "ca"))
    assert "scope override" in refused(others.post(f"{at}/override", accepted), 403)["detail"]
    assert "ESC1" in said(administrator.post(f"{at}/override", accepted))["accepted_risks"]
    assert said(administrator.post(f"{CA}/templates/WebServer/unpublish"))["published"] is False
    assert said(administrator.post(f"{CA}/templates/WebServer/publish"))["published"] is True
    assert administrator.delete(at).status_code == 204
    refused(administrator.get(at), 404)
    again = said(administrator.post(f"{CA}/templates", {"definition": made["definition"]}), 201)
    assert again["cn"] == "ApiUser"
    assert administrator.delete(at).status_code == 204


def test_rules_forms_and_channels_are_kept_changed_and_removed(administrator: Caller, service: int) -> None:
    rule = {"name": "web", "tag": "web", "days_before": 20}
    number = said(administrator.post("/renewal-rules", rule), 201)["id"]
    assert said(administrator.put(f"/renewal-rules/{number}", {**rule, "enabled": False}))["enabled"] is False
    assert said(administrator.get("/renewal-rules/plan", rule_id=number)) == []
    assert said(administrator.get("/renewal-rules/failed")) == []
    refused(administrator.post("/renewal-rules", {"name": "all"}), 422)
    assert administrator.delete(f"/renewal-rules/{number}").status_code == 204

    form = {"name": "web", "domain": DOMAIN, "template": "WebServer", "algorithm": "ecdsa-p256", "subject": "O=Corp"}
    number = said(administrator.post("/request-forms", form), 201)["id"]
    repeat = {"common_name": NAME, "names": [f"DNS:{NAME}"]}
    ordered = said(administrator.post(f"/request-forms/{number}/orders", repeat), 201)
    assert ordered["subject"] == f"CN={NAME},O=Corp"
    assert administrator.delete(f"/request-forms/{number}").status_code == 204

    hook = {"channel": {"kind": "webhook", "name": "ops", "url": "https://hooks.example/t0k3n-in-a-path"}}
    channel = said(administrator.post("/notifications/channels", {**hook, "secret": CANARY}), 201)
    assert "t0k3n" not in str(channel)
    told = {"name": "to ops", "channel_id": channel["id"], "kinds": ["order-issued", "certificate-expiring"]}
    number = said(administrator.post("/notifications/rules", {**told, "bands": [7, 1]}), 201)["id"]
    assert said(administrator.get(f"/notifications/rules/{number}"))["bands"] == [1, 7]
    refused(administrator.delete(f"/notifications/channels/{channel['id']}"), 409)
    assert said(administrator.get("/notifications/deliveries", state="given up")) == []
    assert administrator.delete(f"/notifications/channels/{channel['id']}", confirmed="true").status_code == 204


def test_certificates_are_imported_labelled_and_exported(administrator: Caller, clean: None) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    pem = administrator.get(f"{CA}/certificate", chain="true").content
    before = said(administrator.get("/inventory"))["count"]

    def upload(**more: str) -> Any:
        files = {"files": SimpleUploadedFile("chain.pem", pem), **more}
        return administrator.client.post("/api/v1/inventory/import", files, secure=True)

    previewed = said(upload(preview="true"))
    assert [len(each["certificates"]) for each in previewed["files"]] == [2]
    assert said(administrator.get("/inventory"))["count"] == before
    added = said(upload(tags="chain, imported"))["added"]
    assert len(added) == 2
    changed = said(
        administrator.patch("/inventory", {"ids": [*added, 999_999], "owner": "pki", "remove_tags": ["chain"]})
    )
    assert changed["done"] == added
    assert list(changed["refused"]) == ["999999"]
    shown = said(administrator.get("/inventory", tag="imported", sort="-id"))["rows"][0]
    assert (shown["owner"], shown["tags"]) == ("pki", ["imported"])
    exported = administrator.get("/inventory/export", tag="imported", form="csv")
    lines = b"".join(exported.streaming_content).decode().splitlines()
    assert len(lines) == 3
    assert administrator.get("/inventory/export", tag="imported", form="pem").content.count(b"BEGIN") == 2
    assert {each["value"] for each in said(administrator.get("/inventory/choices/tag"))} == {"imported"}


# -- whose they are --------------------------------------------------------------------------------------------------


def test_requesters_see_and_touch_their_own_only(
    requesters: tuple[Caller, Caller], administrator: Caller, service: int
) -> None:
    """Somebody else's looks as if it were not there, by every operation."""
    rita, ron = requesters
    mine = said(rita.post("/orders", order(token="same")), 201)["id"]
    certificate = said(rita.post(f"/orders/{mine}/fetch"))["certificate_id"]
    assert [row["id"] for row in said(rita.get("/orders"))["rows"]] == [mine]
    assert [row["id"] for row in said(rita.get("/inventory"))["rows"]] == [certificate]
    assert said(ron.get("/orders"))["rows"] == []
    assert said(ron.get("/orders/counts"))["all"] == 0
    assert said(ron.get("/inventory"))["rows"] == []
    assert said(ron.get("/inventory/choices/owner")) == []
    refused(ron.get("/orders", owner=r"CONSOLE\rita"), 422)
    for method, path in (
        ("GET", f"/orders/{mine}"),
        ("GET", f"/orders/{mine}/request"),
        ("GET", f"/orders/{mine}/certificate"),
        ("POST", f"/orders/{mine}/fetch"),
        ("POST", f"/orders/{mine}/check"),
        ("POST", f"/orders/{mine}/resubmit"),
        ("DELETE", f"/orders/{mine}"),
        ("GET", f"/inventory/{certificate}"),
        ("GET", f"/inventory/{certificate}/file"),
        ("DELETE", f"/inventory/{certificate}"),
    ):
        refused(ron.send(method, path), 404)
    refused(ron.post(f"/inventory/{certificate}/renew", {}), 404)
    tagged = said(ron.patch("/inventory", {"ids": [certificate], "add_tags": ["mine"]}))
    assert list(tagged["refused"]) == [str(certificate)]
    assert said(ron.post("/orders", order(f"ron.{DOMAIN}", token="same")), 201)["id"] != mine
    export = {"password": PASSWORD, "reason": "mine"}
    assert "may not export" in refused(rita.post(f"/inventory/{certificate}/key", export), 403)["detail"]


def test_requesters_restore_what_they_deleted_themselves_and_nothing_else(
    requesters: tuple[Caller, Caller], administrator: Caller, service: int
) -> None:
    rita, ron = requesters
    mine = said(rita.post("/orders", order()), 201)["id"]
    refused(rita.post(f"/orders/{mine}/restore"), 404)  # it is not deleted
    assert rita.delete(f"/orders/{mine}").status_code == 204
    refused(ron.post(f"/orders/{mine}/restore"), 404)
    assert said(rita.post(f"/orders/{mine}/restore"))["id"] == mine
    assert administrator.delete(f"/orders/{mine}").status_code == 204
    refused(rita.post(f"/orders/{mine}/restore"), 404)
    assert said(administrator.post(f"/orders/{mine}/restore"))["id"] == mine


# -- pages -----------------------------------------------------------------------------------------------------------


def test_orders_are_paged_by_key_and_no_row_comes_twice(administrator: Caller, service: int) -> None:
    numbers = [said(administrator.post("/orders", order(f"p{each}.{DOMAIN}")), 201)["id"] for each in range(5)]
    found: list[int] = []
    page = said(administrator.get("/orders", limit=2))
    assert page["count"] == 5
    while True:
        found += [row["id"] for row in page["rows"]]
        if page["next"] is None:
            break
        page = said(administrator.get("/orders", limit=2, before=page["next"]))
    assert found == sorted(numbers, reverse=True)
    [one] = said(administrator.get("/orders", text=f"p3.{DOMAIN}"))["rows"]
    assert one["id"] == numbers[3]


def test_the_inventory_is_paged_both_ways(administrator: Caller, service: int) -> None:
    for each in range(3):
        number = said(administrator.post("/orders", order(f"i{each}.{DOMAIN}")), 201)["id"]
        said(administrator.post(f"/orders/{number}/fetch"))
    first = said(administrator.get("/inventory", limit=2, sort="-common_name", template="WebServer"))
    second = said(
        administrator.get("/inventory", limit=2, sort="-common_name", template="WebServer", cursor=first["next"])
    )
    assert [row["common_name"] for row in (*first["rows"], *second["rows"])] == [f"i{n}.{DOMAIN}" for n in (2, 1, 0)]
    assert (second["count"], second["next"]) == (None, "")
    back = said(
        administrator.get("/inventory", limit=2, sort="-common_name", template="WebServer", cursor=second["previous"])
    )
    assert back["rows"] == first["rows"]
    problem = refused(administrator.get("/inventory", cursor=first["next"]), 422)
    assert "does not belong" in problem["detail"]
    [one] = said(administrator.get("/inventory", where=["common_name:begins:i1", "managed:is:true"]))["rows"]
    assert one["common_name"] == f"i1.{DOMAIN}"


def test_a_queue_is_paged_by_request_id(officer: Caller, installation: Installation) -> None:
    numbers = [submit(installation, "WebServer").request_id for _each in range(3)]
    first = said(officer.get(f"{CA}/requests", queue="issued", limit=2))
    assert [row["request_id"] for row in first["rows"]] == numbers[:0:-1]
    second = said(officer.get(f"{CA}/requests", queue="issued", limit=1, before=first["next"]))
    assert second["rows"][0]["request_id"] == numbers[0]


def test_no_filter_is_set_by_itself(administrator: Caller, service: int) -> None:
    """The page of the inventory hides what is superseded; the API does not."""
    number = said(administrator.post("/orders", order()), 201)["id"]
    certificate = said(administrator.post(f"/orders/{number}/fetch"))["certificate_id"]
    renewal = said(administrator.post(f"/inventory/{certificate}/renew", {}), 201)["id"]
    said(administrator.post(f"/orders/{renewal}/fetch"))
    found = {row["id"]: row["status"] for row in said(administrator.get("/inventory"))["rows"]}
    assert found[certificate] == "superseded"


# -- what is refused, and how ----------------------------------------------------------------------------------------


def test_every_fault_of_a_body_is_named_at_once(administrator: Caller) -> None:
    body = {"hostname": "", "device_user_id": "1", "priority": 11, "colour": "red"}
    problem = refused(administrator.post("/services", body), 422)
    where = {each["where"] for each in problem["errors"]}
    assert where == {
        f"body.entered.{name}" for name in ("domain", "hostname", "device_user_id", "priority", "colour")
    }


@pytest.mark.parametrize(
    "query",
    [{"limit": "501"}, {"limit": "0"}, {"limit": "x"}, {"before": "-1"}, {"created_from": "5"}, {"colour": "1"}],
)
def test_a_query_that_nobody_understands_is_refused(administrator: Caller, query: dict[str, str]) -> None:
    """A filter that is misspelt must not mean everything."""
    problem = refused(administrator.get("/orders", **query), 422)
    assert next(iter(query)) in problem["errors"][0]["where"]


@pytest.mark.parametrize("body", ["{", "[1", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, "\xff"])
def test_what_is_no_json_is_refused(administrator: Caller, body: str) -> None:
    data = body.encode("latin-1")
    answer = administrator.client.generic("POST", "/api/v1/renewal-rules", data, "application/json", secure=True)
    refused(answer, 400)


def test_a_body_has_its_type_and_its_bounds(administrator: Caller) -> None:
    client = administrator.client
    answer = client.generic("POST", "/api/v1/orders", "{}", "text/plain", secure=True)
    assert "text/plain" in refused(answer, 415)["detail"]
    large = '{"csr": "' + "A" * (1 << 20) + '"}'
    assert (
        "1 MiB"
        in refused(client.generic("POST", "/api/v1/orders", large, "application/json", secure=True), 413)["detail"]
    )
    broken = client.generic("POST", "/api/v1/inventory/import", b"x", "multipart/form-data", secure=True)
    refused(broken, 400)


def test_what_is_not_there_has_the_same_shape(administrator: Caller) -> None:
    for path in ("/nothing", "/orders/999999", "/orders/x", "/inventory/999999", "/cas/nowhere", "/services/999999"):
        assert refused(administrator.get(path), 404)["advice"]
    assert refused(administrator.get(f"{CA}/requests/999999"), 404)["symbol"] == "CERTSRV_E_PROPERTY_EMPTY"
    answer = administrator.send("DELETE", "/orders")
    refused(answer, 405)
    assert answer["Allow"] == "GET, POST"


def test_a_fault_of_the_server_has_a_number_and_tells_nothing_else(
    administrator: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object, **_more: object) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(type(rooms().manager.orders), "list", fails)
    answer = administrator.get("/orders")
    problem = refused(answer, 500)
    assert re.fullmatch(r"[0-9A-F]{8}", problem["incident"])
    assert CANARY not in answer.content.decode()


def test_the_api_speaks_english_whatever_the_browser_asks(administrator: Caller) -> None:
    client = administrator.client
    answer = client.get("/api/v1/orders/999999", secure=True, headers={"Accept-Language": "tr"})
    assert "There is no order" in refused(answer, 404)["detail"]


# -- what is never told ----------------------------------------------------------------------------------------------


def test_secrets_go_in_and_never_out(administrator: Caller, clean: None, caplog: pytest.LogCaptureFixture) -> None:
    """Answers, refusals and the document are read for what was planted."""
    user = {"name": "canary", "username": "canary", "secret": CANARY}
    answers = [administrator.post("/device-users", user)]
    number = said(answers[0], 201)["id"]
    keytab = {"kind": "keytab", "secret": base64.b64encode(CANARY.encode()).decode()}
    answers += [
        administrator.get("/device-users"),
        administrator.get(f"/device-users/{number}"),
        administrator.put(f"/device-users/{number}/secret", {"secret": CANARY + "2"}),
        administrator.put(f"/device-users/{number}/secret", keytab),
        administrator.put(f"/device-users/{number}/secret", {"kind": "keytab", "secret": f"{CANARY}!"}),
        administrator.put(f"/device-users/{number}/secret", {"secret": [CANARY]}),
        administrator.post("/device-users", {**user, "more": CANARY}),
        administrator.post("/inventory/1/key", {"password": CANARY, "reason": "x", "more": 1}),
        administrator.get("/audit", limit=20),
    ]
    mail = {
        "kind": "email",
        "name": "mail",
        "host": "mail.corp.example",
        "sender": "pki@corp.example",
        "recipients": ["ops@corp.example"],
        "username": "pki",
    }
    answers.append(administrator.post("/notifications/channels", {"channel": mail, "secret": CANARY}))
    answers.append(administrator.get("/notifications/channels"))
    answers.append(administrator.get("/me"))
    for answer in answers:
        assert CANARY not in answer.content.decode(), answer.request["PATH_INFO"]
        assert answer["Cache-Control"] == "no-store"
    assert CANARY not in caplog.text


def test_a_csr_is_ordered_as_it_is(administrator: Caller, service: int) -> None:
    csr = base64.b64encode(web_server_request(NAME)).decode()
    placed = said(administrator.post("/orders", {"domain": DOMAIN, "template": "WebServer", "csr": csr}), 201)
    assert (placed["common_name"], placed["key_held"]) == (NAME, False)
    sent = administrator.get(f"/orders/{placed['id']}/request").content
    assert b"".join(sent.splitlines()[1:-1]) == csr.encode()
    both = {**order(), "csr": csr}
    assert "either csr or key" in str(refused(administrator.post("/orders", both), 422)["errors"])


def test_the_document_is_published_and_whole(anybody: Browser) -> None:
    """OpenAPI 3.1; every reference leads somewhere, and every shape of the nouns has a name of its own."""
    answer = anybody.get("/api/v1/openapi.json")
    document = answer.json()
    assert document["openapi"].startswith("3.1")
    text = answer.content.decode()
    references = set(re.findall(r'"#/components/(\w+)/([^"]+)"', text))
    assert references
    assert all(name in document["components"][kind] for kind, name in references)


def test_the_audit_trail_is_read_exported_and_verified(administrator: Caller) -> None:
    [newest] = said(administrator.get("/audit", ca=ISSUING, limit=1))
    assert newest["chain"] == ISSUING
    exported = b"".join(administrator.get("/audit/export", ca=ISSUING).streaming_content)
    assert exported.count(b"\n") == newest["sequence"]
    verified = said(administrator.post("/audit/verify"))
    assert verified["is_intact"], verified["broken"]
    assert {head["chain"] for head in verified["heads"]} >= {ISSUING}


def test_health_and_who_asks(administrator: Caller) -> None:
    assert said(administrator.get("/health"))["lines"]
    me = said(administrator.get("/me"))
    assert me["account"] == ACTOR
    assert "console administrator" in me["roles"]
    assert "keys" in me["scopes"]


@pytest.mark.parametrize("status", [413, 503])
def test_listeners_refuse_in_the_dialect_of_the_api(console: object, status: int) -> None:
    """What the listeners refuse before the API is asked has the members and the advice of its own problems."""
    from certwright.console.api.problems import ADVICE, MEDIA_TYPE, Problem

    content_type, body = refusal("/api/v1/orders", status, "The body is larger than 10 MiB.")
    problem = Problem.model_validate(json.loads(body))
    assert content_type == MEDIA_TYPE.encode()
    assert (problem.status, problem.advice) == (status, ADVICE[status])
    assert json.loads(body) == problem.model_dump(exclude_none=True)
