"""Callers of the REST API: Django's test client with a token of some account, speaking JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from certwright.console import accounts
from certwright.console.access import Viewer, viewer_of
from certwright.console.models import Account
from certwright.console.rooms import rooms
from certwright.manager.inventory_values import MAX_PAGE, InventoryQuery
from certwright.manager.values import OrderQuery

HOST: Final = "localhost"
BASE: Final = "/api/v1"
ACTOR: Final = r"CORP\Administrator"
EVERY_SCOPE: Final = tuple(accounts.SCOPES)
_tokens: dict[tuple[int, str, tuple[str, ...]], str] = {}


def viewer(name: str) -> Viewer:
    """A local account of the console, or one of the domain, as it is now."""
    account = Account.objects.filter(username=name, kind=Account.Kind.LOCAL).first()
    if account is None:
        principal = rooms().directory.principal(name)
        assert principal is not None, name
        account = accounts.of_principal(principal)
    found = viewer_of(account, "192.0.2.1")
    assert found is not None, name
    return found


def token(name: str, *scopes: str) -> str:
    """A token of an account; made once."""
    wanted = scopes or EVERY_SCOPE
    key = (id(rooms().database), name, wanted)
    if key not in _tokens:
        _tokens[key] = accounts.create_token(viewer(name), f"tests {len(_tokens)}", wanted, None)[1]
    return _tokens[key]


def clean_up() -> None:
    """Remove what callers made in the manager and of notifications."""
    manager, notifications = rooms().manager, rooms().notifications
    while numbers := [order.id for order in manager.orders.list(OrderQuery(limit=MAX_PAGE)).rows]:
        manager.orders.delete(numbers, actor=ACTOR)
    manager.inventory.delete(manager.inventory.ids(InventoryQuery()), with_key=True, actor=ACTOR)
    for form in manager.forms.list():
        manager.forms.delete(form.id, actor=ACTOR)
    for rule in manager.renewal.list():
        manager.renewal.delete(rule.id, actor=ACTOR)
    for service in manager.services.list():
        manager.services.delete(service.id, confirmed=True, actor=ACTOR)
    for user in manager.device_users.list():
        manager.device_users.delete(user.id, actor=ACTOR)
    for channel in notifications.channels.list():
        notifications.channels.delete(channel.id, confirmed=True, actor=ACTOR)


class Caller:
    """Somebody who calls with a token; with none, nobody."""

    def __init__(self, token: str = "") -> None:
        from django.test import Client

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.client = Client(
            enforce_csrf_checks=True, raise_request_exception=True, SERVER_NAME=HOST, headers=headers
        )

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(BASE + path, query, secure=True)

    def delete(self, path: str, **query: str) -> Any:
        return self.client.delete(BASE + path, query_params=query, secure=True)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        data = "" if body is None else json.dumps(body)
        return self.client.generic(method, BASE + path, data, "application/json", secure=True)

    def post(self, path: str, body: Any = None) -> Any:
        return self.send("POST", path, body)

    def put(self, path: str, body: Any) -> Any:
        return self.send("PUT", path, body)

    def patch(self, path: str, body: Any) -> Any:
        return self.send("PATCH", path, body)


def said(answer: Any, status: int = 200) -> Any:
    """The JSON of an answer, once it has the status that is expected."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.content.decode(errors='replace')}"
    return json.loads(answer.content)


def refused(answer: Any, status: int) -> Mapping[str, Any]:
    """The problem of an answer."""
    found: Mapping[str, Any] = said(answer, status)
    assert answer["Content-Type"] == "application/problem+json"
    assert found["status"] == status
    assert found["detail"]
    assert found["advice"]
    return found
