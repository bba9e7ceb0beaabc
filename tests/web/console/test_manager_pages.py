"""The manager's pages: services, orders and the inventory, from nothing to a certificate, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from certwright.console import access
from certwright.console.access import Role
from certwright.console.rooms import rooms
from certwright.manager.values import DeviceUserFields, OrderState, ServiceFields, ServiceKind, Via
from tests.support.installation import PASSWORD, GateTemplates, People
from tests.support.server import DOMAIN
from tests.web.console.conftest import Browser, text_of

ACTOR = r"CORP\Administrator"
NAME = f"web7.{DOMAIN}"


@pytest.fixture
def clean() -> Iterator[None]:
    """No service, order or device user of an earlier test."""
    yield
    manager = rooms().manager
    manager.orders.delete([order.id for order in manager.orders.list().rows], actor=ACTOR)
    manager.inventory.delete(manager.inventory.ids(_everything()), with_key=True, actor=ACTOR)
    for service in manager.services.list():
        manager.services.delete(service.id, confirmed=True, actor=ACTOR)
    for user in manager.device_users.list():
        manager.device_users.delete(user.id, actor=ACTOR)


def _everything() -> Any:
    from certwright.manager.inventory_values import InventoryQuery

    return InventoryQuery()


@pytest.fixture
def service(clean: None) -> int:
    """A local service in the name of somebody who may enroll."""
    manager = rooms().manager
    user = manager.device_users.add(DeviceUserFields("svc", People.ENROLLEE), PASSWORD, actor=ACTOR)
    fields = ServiceFields(DOMAIN, rooms().hostname, user.id, kind=ServiceKind.LOCAL)
    number: int = manager.services.add(fields, actor=ACTOR).id
    manager.services.refresh(number, actor=ACTOR)
    return number


def order_data(template: str = "WebServer", name: str = NAME, **more: str) -> dict[str, str]:
    """The form of a new request whose key is made here."""
    return {
        "domain": DOMAIN,
        "template": template,
        "common_name": name,
        "algorithm": "ecdsa-p256",
        "names": f"DNS:{name}",
        "fetch": "",
        **more,
    }


def ordered(browser: Browser, **data: str) -> int:
    """Order; the order's number."""
    answer = browser.post("/adcs/orders/new/", order_data(**data))
    assert answer.status_code == 302, text_of(answer)
    found = re.fullmatch(r"/adcs/orders/(\d+)/", answer["Location"])
    assert found is not None
    return int(found[1])


def test_from_nothing_to_a_certificate_in_the_inventory(sign_in: Callable[..., Browser], clean: None) -> None:
    """Issue 3's walk: device user, service, Refresh, order, Issued, Fetch, inventory, Delete."""
    browser = sign_in(People.ADMINISTRATOR)
    data = {"name": "enroller", "username": People.ENROLLEE, "password": PASSWORD}
    assert browser.post("/device-users/add/", data).status_code == 302
    page = browser.get("/device-users/")
    assert "enroller" in text_of(page)
    assert PASSWORD not in page.content.decode()
    user = rooms().manager.device_users.list()[0]

    data = {
        "kind": "local",
        "domain": DOMAIN,
        "hostname": rooms().hostname,
        "device_user": str(user.id),
        "port": "443",
        "priority": "1",
        "auth_method": "ntlm",
        "trust": "system",
    }
    answer = browser.post("/adcs/accounts/add/", data)
    assert answer.status_code == 302, text_of(answer)
    assert "WebServer" in text_of(browser.get(answer["Location"]))
    assert "OK" in text_of(browser.get("/adcs/accounts/"))

    number = ordered(browser)
    page = browser.get(f"/adcs/orders/{number}/")
    assert "Issued" in text_of(page), text_of(page)
    assert "Fetch" in text_of(browser.get("/adcs/orders/"))

    fetched = browser.post(f"/adcs/orders/{number}/fetch/")
    assert fetched.status_code == 302
    again = browser.post(f"/adcs/orders/{number}/fetch/")
    assert again["Location"] == fetched["Location"]
    assert NAME in text_of(browser.get("/inventory/"))
    assert NAME in text_of(browser.get(fetched["Location"]))

    deleted = browser.post(f"/adcs/orders/{number}/delete/")
    assert deleted.status_code == 302
    assert browser.get(f"/adcs/orders/{number}/").status_code == 404
    assert browser.post(f"/adcs/orders/{number}/restore/").status_code == 302
    assert browser.get(f"/adcs/orders/{number}/").status_code == 200


def test_a_device_users_secret_is_replaced_and_a_used_one_is_kept(
    sign_in: Callable[..., Browser], service: int
) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    user = rooms().manager.device_users.list()[0]
    assert browser.post(f"/device-users/{user.id}/secret/", {"password": ""}).status_code == 422
    assert browser.post(f"/device-users/{user.id}/secret/", {"password": "something new"}).status_code == 302
    assert rooms().manager.device_users.credential(user.id).secret == "something new"
    refused = browser.post(f"/device-users/{user.id}/delete/")
    assert refused.status_code == 409
    assert "is used by" in text_of(refused)


def test_a_priority_beyond_ten_is_refused(sign_in: Callable[..., Browser], service: int) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    before = rooms().manager.services.get(service)
    data = {
        "kind": "local",
        "domain": before.domain,
        "hostname": before.hostname,
        "device_user": str(before.device_user_id),
        "port": "443",
        "priority": "11",
        "auth_method": "ntlm",
        "trust": "system",
    }
    assert browser.post(f"/adcs/accounts/{service}/edit/", data).status_code == 422
    assert browser.post(f"/adcs/accounts/{service}/edit/", data | {"priority": "4"}).status_code == 302
    assert rooms().manager.services.get(service).priority == 4


def test_a_service_says_by_which_role_service_it_is_reached(sign_in: Callable[..., Browser], service: int) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    before = rooms().manager.services.get(service)
    data = {
        "kind": "certsrv",
        "via": "ces",
        "domain": before.domain,
        "hostname": "ca02.corp.example",
        "device_user": str(before.device_user_id),
        "port": "443",
        "priority": "1",
        "auth_method": "kerberos",
        "trust": "system",
    }
    assert browser.post(f"/adcs/accounts/{service}/edit/", data).status_code == 302
    assert rooms().manager.services.get(service).via is Via.CES
    assert "Enrollment web services (CES)" in text_of(browser.get(f"/adcs/accounts/{service}/"))
    assert browser.post(f"/adcs/accounts/{service}/edit/", data | {"via": "smoke"}).status_code == 422


def test_a_test_shows_each_step(sign_in: Callable[..., Browser], service: int) -> None:
    page = sign_in(People.ADMINISTRATOR).post(f"/adcs/accounts/{service}/test/")
    assert page.status_code == 200
    assert page.content.decode().count("cw-finding") >= 1


def test_a_service_where_orders_wait_is_deleted_only_when_its_name_is_typed(
    sign_in: Callable[..., Browser], service: int
) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    ordered(browser, template=GateTemplates.APPROVAL)
    assert browser.post(f"/adcs/accounts/{service}/delete/", {"word": ""}).status_code == 422
    assert browser.post(f"/adcs/accounts/{service}/delete/", {"word": rooms().hostname}).status_code == 302
    assert list(rooms().manager.services.list()) == []


def test_a_pending_order_asks_for_its_row_again_and_a_settled_one_does_not(
    sign_in: Callable[..., Browser], service: int
) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    number = ordered(browser, template=GateTemplates.APPROVAL)
    row = browser.part(f"/adcs/orders/{number}/row/").content.decode()
    assert "every 20s" in row
    assert "Pending" in row
    assert "<table" not in row
    issued = ordered(browser)
    assert "every 20s" not in browser.part(f"/adcs/orders/{issued}/row/").content.decode()
    assert browser.part(f"/adcs/orders/{number}/").content.decode().lstrip().startswith('<div class="cw-dhead"')
    assert NAME in text_of(browser.get("/adcs/orders/pending/"))
    assert "No order" in text_of(browser.get("/adcs/orders/denied/"))


def test_what_cannot_be_read_is_said_beside_the_form(sign_in: Callable[..., Browser], service: int) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    data = {"domain": DOMAIN, "template": "WebServer", "csr": "no request"}
    assert browser.post("/adcs/orders/new/", data).status_code == 422
    assert browser.post("/adcs/orders/new/", order_data(csr="x")).status_code == 422
    assert "cw-stop" in browser.post("/adcs/orders/new/check/", data).content.decode()
    said = text_of(browser.post("/adcs/orders/new/check/", order_data()))
    assert NAME in said
    assert rooms().hostname in said
    assert rooms().manager.orders.list().rows == ()


def test_the_same_page_sent_twice_is_one_order(sign_in: Callable[..., Browser], service: int) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    assert ordered(browser, token="t-1") == ordered(browser, token="t-1")


def test_a_requester_sees_and_touches_only_their_own_orders(
    sign_in: Callable[..., Browser], local: Callable[..., str], service: int
) -> None:
    theirs = ordered(sign_in(People.ADMINISTRATOR), name=f"other.{DOMAIN}")
    rita = sign_in(local("rita", Role.REQUESTER))
    own = ordered(rita)
    page = text_of(rita.get("/adcs/orders/"))
    assert NAME in page
    assert "other." not in page
    assert rita.get(f"/adcs/orders/{own}/").status_code == 200
    for path in ("", "row/", "request.pem", "delete/"):
        assert rita.get(f"/adcs/orders/{theirs}/{path}").status_code == 404, path
    for path in ("fetch/", "check/", "delete/", "restore/", "resubmit/"):
        assert rita.post(f"/adcs/orders/{theirs}/{path}").status_code == 404, path
    assert rita.post("/adcs/orders/delete/", {"pick": [str(theirs)]}).status_code == 404
    assert rooms().manager.orders.get(theirs).state is OrderState.ISSUED
    fetched = sign_in(People.ADMINISTRATOR).post(f"/adcs/orders/{theirs}/fetch/")["Location"]
    assert rita.get(fetched).status_code == 404
    assert "other." not in text_of(rita.get("/inventory/"))


LISTS = {
    "/device-users/": access.AUTOMATION,
    "/device-users/add/": {Role.ADMINISTRATOR},
    "/adcs/accounts/": access.AUTOMATION,
    "/adcs/accounts/add/": {Role.ADMINISTRATOR},
    "/adcs/orders/": access.ORDERS,
    "/adcs/orders/pending/": access.ORDERS,
    "/adcs/orders/new/": access.ORDERS - {Role.CA_ADMINISTRATOR, Role.AUDITOR},
    "/inventory/": access.ORDERS,
    "/inventory/import/": {Role.REQUESTER, Role.OPERATOR, Role.ADMINISTRATOR},
    "/inventory/export/csv/": access.ORDERS,
    "/inventory/forms/": access.ORDERS,
}
"""Pages and who is answered; every account of the domain is a requester too, as its CA lets it enroll."""


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("rita", {Role.REQUESTER}),
        ("oscar", {Role.OPERATOR}),
        ("adam", {Role.ADMINISTRATOR}),
        (People.AUDITOR, {Role.AUDITOR, Role.REQUESTER}),
        (People.OFFICER, {Role.CERTIFICATE_MANAGER, Role.REQUESTER}),
    ],
)
def test_a_page_answers_its_roles_and_no_other(
    sign_in: Callable[..., Browser], local: Callable[..., str], service: int, name: str, roles: set[Role]
) -> None:
    browser = sign_in(name if Role.REQUESTER in roles and len(roles) > 1 else local(name, *roles))
    for path, answered in LISTS.items():
        assert browser.get(path).status_code == (403 if answered.isdisjoint(roles) else 200), path


def test_who_only_reads_cannot_act(sign_in: Callable[..., Browser], local: Callable[..., str], service: int) -> None:
    """console.md, who sees what: operators read services, auditors everything; only administrators change them."""
    user = rooms().manager.device_users.list()[0].id
    acts = [
        f"/device-users/{user}/secret/",
        f"/device-users/{user}/delete/",
        f"/adcs/accounts/{service}/refresh/",
        f"/adcs/accounts/{service}/test/",
        f"/adcs/accounts/{service}/delete/",
    ]
    for name in (local("oscar", Role.OPERATOR), People.AUDITOR):
        browser = sign_in(name)
        assert browser.get("/device-users/").status_code == 200
        assert browser.get(f"/adcs/accounts/{service}/").status_code == 200
        assert [browser.post(path).status_code for path in acts] == [403] * len(acts)
    rita = sign_in(local("rita", Role.REQUESTER))
    assert rita.get("/device-users/").status_code == 403
    assert rita.get("/adcs/accounts/").status_code == 403


def fetched(browser: Browser) -> str:
    """Order and fetch; the certificate's address."""
    answer = browser.post(f"/adcs/orders/{ordered(browser)}/fetch/")
    location: str = answer["Location"]
    return location


def test_the_list_filters_tags_and_exports(sign_in: Callable[..., Browser], service: int) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    at = fetched(browser)
    number = at.split("/")[2]
    assert browser.post("/inventory/bulk/tag/", {"pick": [number], "value": "prod"}).status_code == 302
    assert NAME in text_of(browser.part("/inventory/?tag=prod"))
    assert NAME not in text_of(browser.part("/inventory/?status=revoked"))
    assert NAME not in text_of(browser.part("/inventory/?q=elsewhere"))
    assert NAME.encode() in browser.get("/inventory/export/csv/?tag=prod").getvalue()
    assert browser.get("/inventory/export/xlsx/").getvalue().startswith(b"PK")
    assert b"BEGIN CERTIFICATE" in browser.get("/inventory/export/pem/?tag=prod").content
    assert browser.post("/inventory/bulk/untag/", {"pick": [number], "value": "prod"}).status_code == 302
    assert rooms().manager.inventory.get(int(number)).row.tags == ()


def test_a_certificate_is_downloaded_edited_and_renewed(sign_in: Callable[..., Browser], service: int) -> None:
    from cryptography import x509

    browser = sign_in(People.ADMINISTRATOR)
    at = fetched(browser)
    assert x509.load_der_x509_certificate(browser.get(f"{at}certificate.der").content).subject is not None
    assert len(x509.load_pem_x509_certificates(browser.get(f"{at}chain.pem").content)) == 3
    assert "BEGIN CERTIFICATE" in browser.get(f"{at}pem/").content.decode()
    assert browser.part(f"{at}edit/").status_code == 200
    assert browser.post(f"{at}edit/", {"owner": "Web", "tags": "a, b"}).status_code == 302
    page = text_of(browser.get(at))
    assert "Owner CORP" in page
    assert "Web" in page
    renewed = browser.post(f"{at}renew/", {"key": "new"})
    assert renewed.status_code == 302, text_of(renewed)
    assert "Issued" in text_of(browser.get(renewed["Location"]))


def test_a_key_leaves_only_after_proof_and_protected(sign_in: Callable[..., Browser], service: int) -> None:
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

    browser = sign_in(People.ADMINISTRATOR)
    at = fetched(browser)
    data = {"form": "pfx", "password": PASSWORD, "again": PASSWORD, "reason": "moves to web7"}
    browser.confirm()
    assert browser.get(f"{at}key/").status_code == 200
    assert browser.post(f"{at}key/", data | {"again": "another one"}).status_code == 422
    answer = browser.post(f"{at}key/", data)
    assert answer["Content-Type"] == "application/x-pkcs12"
    assert load_pkcs12(answer.content, PASSWORD.encode()).key is not None


def test_a_certificate_with_its_key_is_deleted_only_when_its_name_is_typed(
    sign_in: Callable[..., Browser], service: int
) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    at = fetched(browser)
    assert browser.part(f"{at}delete/").status_code == 200
    assert browser.post(f"{at}delete/", {"word": "web"}).status_code == 422
    assert browser.post(f"{at}delete/", {"word": NAME}).status_code == 302
    assert browser.get(at).status_code == 404


def test_a_file_is_shown_before_it_is_imported(sign_in: Callable[..., Browser], service: int) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    browser = sign_in(People.ADMINISTRATOR)
    root = rooms().root_certificate()

    def sent(**more: str) -> Any:
        return browser.post("/inventory/import/", {"uploads": SimpleUploadedFile("root.pem", root), **more})

    before = set(rooms().manager.inventory.ids(_everything()))
    looked = sent(look="1")
    assert "nothing is stored yet" in text_of(looked)
    assert set(rooms().manager.inventory.ids(_everything())) == before
    assert "What was imported" in text_of(sent())
    assert "known already" in text_of(sent(look="1"))


def test_a_request_form_asks_only_for_the_names(sign_in: Callable[..., Browser], service: int) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    data = {"name": "Web server", "domain": DOMAIN, "template": "WebServer", "algorithm": "ecdsa-p256"}
    assert browser.post("/inventory/forms/add/", data).status_code == 302
    assert "Web server" in text_of(browser.get("/inventory/forms/"))
    number = rooms().manager.forms.list()[0].id
    try:
        assert browser.post(f"/inventory/forms/{number}/edit/", data | {"tags": "prod"}).status_code == 302
        assert browser.part(f"/inventory/forms/{number}/generate/").status_code == 200
        names = {"common_name": NAME, "names": NAME, "token": "g-1"}
        answer = browser.post(f"/inventory/forms/{number}/generate/", names)
        assert answer.status_code == 302, text_of(answer)
        order = rooms().manager.orders.get(int(answer["Location"].split("/")[3]))
        assert (order.state, order.tags, order.owner) == (OrderState.ISSUED, ("prod",), ACTOR)
    finally:
        assert browser.post(f"/inventory/forms/{number}/delete/").status_code == 302
