"""The operation x role table of the REST API, its scopes, and who asks. `test_api_completeness` has the pages."""

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


def test_every_shape_of_the_document_has_a_name_of_its_own(console: object) -> None:
    """The document calls a shape by its class; of two of one name it would show one in the other's place."""
    import inspect
    from enum import Enum

    from pydantic import BaseModel

    from certwright.console.api import application

    modules = [each for each in vars(application).values() if hasattr(each, "router")]
    named: dict[str, set[type]] = {}
    for module in modules:
        for found in vars(module).values():
            if inspect.isclass(found) and issubclass(found, BaseModel | Enum):
                named.setdefault(found.__name__, set()).add(found)
    assert {name: kinds for name, kinds in named.items() if len(kinds) > 1} == {}
