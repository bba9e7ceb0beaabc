"""The operation x role table of the REST API, its scopes, and that it lets nobody do what pages do not let them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest

from certwright.console import accounts
from certwright.console.access import Role
from tests.support.api import Caller, refused, said, token
from tests.support.installation import People
from tests.web.console.conftest import Browser
from tests.web.console.test_permissions import DOMAIN, LOCAL, held

PAGES: Final = {
    "getHealth": "/health/",
    "listServices": "/adcs/accounts/",
    "getService": "/adcs/accounts/1/",
    "addService": "/adcs/accounts/add/",
    "editService": "/adcs/accounts/1/edit/",
    "deleteService": "/adcs/accounts/1/delete/",
    "refreshService": "/adcs/accounts/1/refresh/",
    "testService": "/adcs/accounts/1/test/",
    "listDeviceUsers": "/device-users/",
    "addDeviceUser": "/device-users/add/",
    "editDeviceUser": "/device-users/1/edit/",
    "replaceDeviceUserSecret": "/device-users/1/secret/",
    "deleteDeviceUser": "/device-users/1/delete/",
    "listOrders": "/adcs/orders/",
    "getOrder": "/adcs/orders/1/",
    "placeOrder": "/adcs/orders/new/",
    "examineRequest": "/adcs/orders/new/check/",
    "checkOrder": "/adcs/orders/1/check/",
    "fetchOrder": "/adcs/orders/1/fetch/",
    "resubmitOrder": "/adcs/orders/1/resubmit/",
    "deleteOrder": "/adcs/orders/1/delete/",
    "listRequestForms": "/inventory/forms/",
    "addRequestForm": "/inventory/forms/add/",
    "editRequestForm": "/inventory/forms/1/edit/",
    "deleteRequestForm": "/inventory/forms/1/delete/",
    "orderByRequestForm": "/inventory/forms/1/generate/",
    "listRenewalRules": "/renewal/",
    "planRenewals": "/renewal/dry-run/",
    "addRenewalRule": "/renewal/add/",
    "editRenewalRule": "/renewal/1/edit/",
    "deleteRenewalRule": "/renewal/1/delete/",
    "listNotificationRules": "/notifications/",
    "addNotificationRule": "/notifications/add/",
    "editNotificationRule": "/notifications/1/edit/",
    "deleteNotificationRule": "/notifications/1/delete/",
    "listDeliveries": "/notifications/history/",
    "repeatDelivery": "/notifications/history/1/retry/",
    "listChannels": "/notifications/channels/",
    "addChannel": "/notifications/channels/add/webhook/",
    "editChannel": "/notifications/channels/1/edit/",
    "replaceChannelSecret": "/notifications/channels/1/secret/",
    "testChannel": "/notifications/channels/1/test/",
    "deleteChannel": "/notifications/channels/1/delete/",
    "searchInventory": "/inventory/",
    "exportInventory": "/inventory/export/csv/",
    "importCertificates": "/inventory/import/",
    "getCertificate": "/inventory/1/",
    "renewCertificate": "/inventory/1/renew/",
    "revokeCertificate": "/inventory/1/revoke/",
    "deleteCertificate": "/inventory/1/delete/",
    "exportKey": "/inventory/1/key/",
    "listRequests": "/ca/x/issued/",
    "getRequest": "/ca/x/requests/1/",
    "issueRequest": "/ca/x/requests/1/issue/",
    "denyRequest": "/ca/x/requests/1/deny/",
    "revokeRequest": "/ca/x/requests/1/revoke/",
    "releaseRequest": "/ca/x/requests/1/release/",
    "listCrls": "/ca/x/revocation/",
    "setRequestAttributes": "/ca/x/requests/1/attributes/edit/",
    "addRequestExtension": "/ca/x/requests/1/extensions/add/",
    "publishCrl": "/ca/x/revocation/publish/",
    "getCaConfiguration": "/ca/x/properties/general/",
    "listTemplates": "/ca/x/templates/",
    "getTemplate": "/ca/x/templates/User/",
    "overrideTemplate": "/ca/x/templates/User/general/override/",
    "publishTemplate": "/ca/x/templates/User/publish/",
    "unpublishTemplate": "/ca/x/templates/User/unpublish/",
    "duplicateTemplate": "/ca/x/templates/User/duplicate/",
    "importTemplate": "/ca/x/templates/-/import/",
    "deleteTemplate": "/ca/x/templates/User/delete/",
    "listAuditEvents": "/audit/",
    "exportAudit": "/audit/export/",
    "verifyAudit": "/audit/verify/",
}
"""The page that does the same as an operation."""
NOWHERE: Final = {"ca": "nowhere", "cn": "Nothing", "column": "issuer"}


class Operation(NamedTuple):
    name: str
    method: str
    path: str  # of something that does not exist
    security: list[dict[str, list[str]]]
    has_body: bool


def operations() -> list[Operation]:
    """Every operation of the published document, at an address of nothing: an allowed one does no harm."""
    from certwright.console.api.application import document

    found = []
    for path, methods in document()["paths"].items():
        for method, described in methods.items():
            values = {each["name"]: NOWHERE.get(each["name"], 999_999) for each in described["parameters"]}
            found.append(
                Operation(
                    described["operationId"],
                    method.upper(),
                    path.removeprefix("/api/v1").format(**values),
                    described["security"],
                    "requestBody" in described,
                )
            )
    return found


def call(caller: Caller, operation: Operation) -> Any:
    """With a body that no shape has."""
    return caller.send(operation.method, operation.path, {"nothing": 1} if operation.has_body else None)


@pytest.fixture(params=[*LOCAL, *DOMAIN], ids=lambda role: role.value)
def role(request: pytest.FixtureRequest) -> Role:
    found: Role = request.param
    return found


@pytest.fixture
def caller(role: Role, local: Callable[..., str]) -> Caller:
    """A token for everything, of somebody who holds one role."""
    return Caller(token(local(LOCAL[role], role) if role in LOCAL else DOMAIN[role]))


def test_every_operation_has_its_permission_and_no_permission_is_left_over(console: object) -> None:
    from certwright.console.api.permissions import PERMISSIONS

    names = [each.name for each in operations()]
    assert sorted(names) == sorted(set(names))
    assert set(names) == set(PERMISSIONS)
    assert {each.scope for each in PERMISSIONS.values()} - {""} == set(accounts.SCOPES)


def test_an_operation_answers_the_roles_of_its_row_and_no_other(role: Role, caller: Caller) -> None:
    from certwright.console.api.permissions import PERMISSIONS

    for operation in operations():
        answer = call(caller, operation)
        allowed = not PERMISSIONS[operation.name].roles.isdisjoint(held(role))
        none_of_them = answer.status_code == 403 and "holds none of the roles" in answer.content.decode()
        assert none_of_them is not allowed, f"{role.value} at {operation.name}: {answer.content.decode()}"
        assert answer.status_code < 500, operation.name


def test_roles_are_those_of_the_page_that_does_the_same(console: object) -> None:
    from django.urls import resolve

    from certwright.console.api.permissions import PERMISSIONS

    for name, path in PAGES.items():
        page: Any = resolve(path).func
        assert PERMISSIONS[name].roles == page.cw_roles, f"{name} and {path}"


def test_what_pages_ask_a_password_for_again_needs_a_scope_of_its_own(console: object) -> None:
    from django.urls import resolve

    from certwright.console.api.permissions import PERMISSIONS, TOKENS_ONLY

    for name, path in PAGES.items():
        if name != "overrideTemplate":  # its page asks inside, so that nothing typed is lost
            asks_again = hasattr(resolve(path).func, "cw_reauthenticated")
            assert (PERMISSIONS[name].scope in TOKENS_ONLY) is asks_again, name
    assert PERMISSIONS["overrideTemplate"].scope in TOKENS_ONLY


def test_a_token_without_the_scope_is_refused_whatever_its_account_may(console: object) -> None:
    for operation in operations():
        [needed] = [scope for each in operation.security if "token" in each for scope in each["token"]] or [""]
        if not needed:
            continue
        others = [scope for scope in accounts.SCOPES if scope != needed]
        answer = call(Caller(token(People.ADMINISTRATOR, *others)), operation)
        problem = refused(answer, 403)
        assert f"scope {needed}" in problem["detail"], operation.name
        assert f'scope="{needed}"' in answer["WWW-Authenticate"]


def test_nobody_is_answered_without_a_token(console: object) -> None:
    for operation in operations():
        answer = call(Caller(), operation)
        assert refused(answer, 401)["symbol"] == "E_ACCESSDENIED", operation.name
        assert answer["WWW-Authenticate"].startswith("Bearer"), operation.name


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer cw_nobody", "Basic Q09SUDphbGljZQ==", "cw_x", "Bearer cw_" + "x" * 5000, "Bearer é"]
)
def test_a_token_that_is_none_is_nobodys(console: object, header: str) -> None:
    caller = Caller()
    answer = caller.client.get("/api/v1/me", secure=True, headers={"Authorization": header})
    assert "invalid_token" in answer["WWW-Authenticate"]
    refused(answer, 401)


def test_a_token_ends_with_its_account(local: Callable[..., str]) -> None:
    from certwright.console.models import Account

    caller = Caller(token(local("passing", Role.OPERATOR)))
    assert said(caller.get("/me"))["roles"] == ["operator"]
    Account.objects.filter(username="passing").update(is_active=False)
    refused(caller.get("/me"), 401)


def test_a_session_reads_and_changes_with_its_csrf_token_only(sign_in: Callable[..., Browser]) -> None:
    """Another site's page can make a browser send its cookie, and neither read the answer nor know the token."""
    client = sign_in(People.ADMINISTRATOR).client
    assert client.get("/api/v1/me", secure=True).json()["scopes"] is None
    client.handler.enforce_csrf_checks = True
    body = {"name": "x", "username": "x", "secret": "x"}
    options: dict[str, Any] = {"content_type": "application/json", "secure": True}
    answer = client.post("/api/v1/device-users", {"nothing": 1}, **options)
    assert "CSRF" in refused(answer, 403)["detail"]
    page = client.get("/account/", secure=True).content.decode()
    csrf = page.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    headers = {"X-CSRFToken": csrf, "Referer": "https://localhost/account/"}
    refused(client.post("/api/v1/device-users", {**body, "nothing": 1}, headers=headers, **options), 422)


def test_a_session_does_nothing_that_pages_ask_a_password_for_again(sign_in: Callable[..., Browser]) -> None:
    client = sign_in(People.ADMINISTRATOR).client
    answer = client.post("/api/v1/inventory/1/key", {}, content_type="application/json", secure=True)
    assert "scope keys" in refused(answer, 403)["detail"]


def test_the_page_of_the_api_lists_every_operation(sign_in: Callable[..., Browser]) -> None:
    answer = sign_in(People.PLAIN).get("/api/")
    assert answer.status_code == 200
    page = answer.content.decode()
    for operation in operations():
        assert f'id="{operation.name}"' in page
